//! The task of a relay: connects, feeds the client, carries batches.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use peerloom_transports_proto::engine::Transmit;
use peerloom_transports_proto::ice_server::ServerTransport;
use peerloom_transports_proto::id::Path;
use peerloom_transports_proto::stun::UNREACHABLE;
use peerloom_transports_proto::turn::{Client, Config, Event, Failure, Received};
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep_until, timeout};

use super::datagrams::DatagramLine;
use super::line::Line;
use super::stream::StreamLine;
use super::{RelayConfig, RelayEvent, tls};
use crate::carrier::Tunnel;
use crate::udp::{Delivery, Endpoint};
use crate::{clock, dns};

/// How long a TCP and TLS connection may take to come up. Guess: as long as browsers gather.
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);

/// Servers that one server may send us on to (RFC 8489 §10 asks to prevent loops).
const MAX_REDIRECTIONS: u32 = 2;

/// The error of a server that still has an allocation for our address and port, of whoever had them
/// before us (RFC 8656 §7.4).
const ALLOCATION_MISMATCH: u16 = 437;

/// Ports that are tried for that reason, beside the first one.
const MAX_MISMATCHES: u32 = 3;

/// How long the server may take to agree that the allocation is given back.
const GOODBYE: Duration = Duration::from_secs(2);

/// Batches sent in one turn, then others may run.
const BATCHES_PER_TURN: usize = 8;

/// Relays until it fails or nobody wants it any more. Tells `events` what happens:
/// [`RelayEvent::Allocated`] for each address, of which there is one of a family at most, and at most one [`RelayEvent::Failed`] at the end.
pub async fn relay(config: RelayConfig, events: mpsc::Sender<RelayEvent>) {
    if let Err(failed) = attempts(&config, &events).await {
        // Nobody has to listen any more.
        drop(events.send(failed).await);
    }
}

async fn attempts(
    config: &RelayConfig,
    events: &mpsc::Sender<RelayEvent>,
) -> Result<(), RelayEvent> {
    let url = &config.server.url;
    let found = dns::resolve(&url.host, url.port).await;
    let mut servers = found.map_err(|error| failed(&format!("{}: {error}", url.host), None))?;
    let (mut visited, mut redirections, mut mismatches) = (Vec::new(), 0, 0);
    let mut last = None;
    while !servers.is_empty() {
        let server = servers.remove(0);
        visited.push(server);
        let mut session = match connect(config, server).await {
            Ok(session) => session,
            Err(error) => {
                last = Some(failed(&format!("{server}: {error}"), None));
                continue;
            }
        };
        match session.run(events).await {
            End::Closed => return Ok(()),
            // RFC 8489 §10: not in circles. At most that many servers beside those of the name.
            End::Redirected(other)
                if redirections < MAX_REDIRECTIONS && !visited.contains(&other) =>
            {
                redirections += 1;
                servers.insert(0, other);
            }
            End::Redirected(_) => last = Some(failed("redirected too often", None)),
            End::Failed(failure)
                if failure.code == ALLOCATION_MISMATCH
                    && !session.allocated
                    && mismatches < MAX_MISMATCHES =>
            {
                mismatches += 1;
                servers.insert(0, server); // from another port
            }
            End::Failed(failure) => {
                let local = Some(session.line.local());
                let (code, reason) = (failure.code, failure.reason);
                last = Some(RelayEvent::Failed {
                    code,
                    reason,
                    local,
                });
                if code != UNREACHABLE || session.allocated {
                    break;
                }
            }
        }
    }
    Err(last.unwrap_or_else(|| failed("the server has no address", None)))
}

fn failed(reason: &str, local: Option<SocketAddr>) -> RelayEvent {
    RelayEvent::Failed {
        code: UNREACHABLE,
        reason: reason.to_owned(),
        local,
    }
}

async fn connect(config: &RelayConfig, server: SocketAddr) -> io::Result<Session> {
    let url = &config.server.url;
    // A relay is for one address of ours: from another, the server would not know us.
    let mut home = Home::new(&config.udp);
    let ours = SocketAddr::new(config.udp.source(server)?, 0);
    home.settle(ours.ip());
    let line = match url.transport {
        ServerTransport::Udp => {
            let socket = config.udp.bind_extra(ours).map_err(io::Error::other)?;
            Line::Datagrams(Box::new(DatagramLine::new(socket, server)))
        }
        ServerTransport::Tcp | ServerTransport::Tls => {
            let connecting = connect_stream(config, server, ours);
            let late = || io::Error::new(io::ErrorKind::TimedOut, "the connection takes too long");
            let connected = timeout(CONNECT_PATIENCE, connecting).await;
            Line::Stream(connected.map_err(|_| late())??)
        }
        ServerTransport::Dtls => {
            let reason = "TURN over DTLS is not supported: use turns: with transport=tcp";
            return Err(io::Error::new(io::ErrorKind::Unsupported, reason));
        }
    };
    let client = Config {
        username: config.server.username.clone(),
        password: config.server.password.clone(),
        server,
        reliable: matches!(line, Line::Stream(_)),
        seed: rand::random(),
    };
    Ok(Session {
        client: Client::new(client, clock::now()),
        home,
        line,
        delivery: config.ingress.delivery(),
        relayed: Vec::new(),
        batches: None,
        allocated: false,
        leave_at: None,
    })
}

async fn connect_stream(
    config: &RelayConfig,
    server: SocketAddr,
    ours: SocketAddr,
) -> io::Result<StreamLine> {
    let socket = match server {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind(ours)?;
    let stream = socket.connect(server).await?;
    stream.set_nodelay(true)?;
    let local = stream.local_addr()?;
    if config.server.url.transport != ServerTransport::Tls {
        return Ok(StreamLine::new(stream, local));
    }
    let roots = config.tls_roots.clone();
    let stream = tls::connect(stream, &config.server.url.host, roots).await?;
    Ok(StreamLine::new(stream, local))
}

/// How a session ended.
enum End {
    /// We wanted it to.
    Closed,
    Redirected(SocketAddr),
    Failed(Failure),
}

/// One connection to one server.
struct Session {
    client: Client,
    line: Line,
    home: Home,
    delivery: Delivery,
    /// One of each family at most.
    relayed: Vec<SocketAddr>,
    /// From the tunnels, while there are any.
    batches: Option<mpsc::Receiver<Transmit>>,
    allocated: bool,
    /// Gone by then, whether or not the server agrees.
    leave_at: Option<Instant>,
}

impl Session {
    async fn run(&mut self, events: &mpsc::Sender<RelayEvent>) -> End {
        loop {
            if let Some(end) = self.drain(events).await {
                return end;
            }
            let now = clock::now();
            if self.leave_at.is_some_and(|at| at <= now) {
                return End::Closed;
            }
            let wakes = [self.client.poll_timeout(), self.leave_at];
            let wake = wakes.into_iter().flatten().min().unwrap_or(now + GOODBYE);
            let blocked = self.line.is_blocked();
            tokio::select! {
                worked = self.line.work() => {
                    if let Err(error) = worked.and_then(|()| self.receive()) {
                        return self.broken(&error);
                    }
                }
                batch = next(&mut self.batches), if !blocked => self.carry(batch),
                // Once a relay works it is the tunnels that keep it.
                () = events.closed(), if !self.allocated => self.client.close(clock::now()),
                () = self.home.lost() => {
                    let gone = io::Error::new(io::ErrorKind::AddrNotAvailable, "our address is gone");
                    return self.broken(&gone);
                }
                () = sleep_until(wake.into()) => self.client.handle_timeout(clock::now()),
            }
        }
    }

    /// Carries out what the client asks.
    async fn drain(&mut self, events: &mpsc::Sender<RelayEvent>) -> Option<End> {
        while let Some(packet) = self.client.poll_packet() {
            self.line.send(packet);
        }
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Allocated { relayed, mapped } => {
                    self.allocated(relayed, mapped, events).await;
                }
                Event::Failed(failure) => return Some(End::Failed(failure)),
                Event::Redirected(other) => return Some(End::Redirected(other)),
            }
        }
        self.client.is_over().then_some(End::Closed)
    }

    /// Tells of each address; all of them end with the last tunnel.
    async fn allocated(
        &mut self,
        relayed: Vec<SocketAddr>,
        mapped: SocketAddr,
        events: &mpsc::Sender<RelayEvent>,
    ) {
        let Some(first) = relayed.first() else {
            return; // the client reports no allocation without an address
        };
        let (tunnel, batches) = Tunnel::relayed(*first);
        self.batches = Some(batches);
        self.allocated = true;
        for relayed in &relayed {
            let allocated = RelayEvent::Allocated {
                relayed: *relayed,
                mapped,
                tunnel: tunnel.also(*relayed),
            };
            // When nobody listens, the tunnels are gone, which ends the session.
            drop(events.send(allocated).await);
        }
        self.relayed = relayed;
    }

    fn broken(&self, error: &io::Error) -> End {
        if self.allocated && self.batches.is_none() {
            return End::Closed; // it was being given back
        }
        End::Failed(Failure {
            code: UNREACHABLE,
            reason: format!("the connection to the TURN server broke: {error}"),
        })
    }

    fn receive(&mut self) -> io::Result<()> {
        let now = clock::now();
        let Self {
            client,
            line,
            delivery,
            relayed,
            ..
        } = self;
        line.received(|packet| {
            let received = client.handle_packet(packet, now);
            let Received::Data { peer, range } = received else {
                return;
            };
            let alike = relayed.iter().find(|it| it.is_ipv4() == peer.is_ipv4());
            if let Some(local) = alike {
                let path = Path::new(*local, peer);
                delivery.push(path, &packet[range], client.knows(peer));
            }
        })?;
        delivery.flush();
        Ok(())
    }

    fn carry(&mut self, batch: Option<Transmit>) {
        let now = clock::now();
        let Some(batch) = batch else {
            self.batches = None;
            self.leave_at = Some(now + GOODBYE);
            self.client.close(now);
            return;
        };
        self.line.carry(&batch, &mut self.client, now);
        for _ in 1..BATCHES_PER_TURN {
            if self.line.is_blocked() {
                return;
            }
            let more = self
                .batches
                .as_mut()
                .and_then(|batches| batches.try_recv().ok());
            let Some(batch) = more else {
                return;
            };
            self.line.carry(&batch, &mut self.client, now);
        }
    }
}

/// Our own address towards the server. Neither socket nor connection notices that it is gone: what
/// is sent gets lost, and the allocation belongs to the old address (RFC 8656 §3.2).
struct Home {
    udp: Endpoint,
    changes: watch::Receiver<u64>,
    /// Those there were before ours was chosen.
    before: Vec<IpAddr>,
    /// `None` when it is not one of the machine's that come and go.
    address: Option<IpAddr>,
    /// Addresses have changed since it was looked for.
    doubtful: bool,
}

impl Home {
    fn new(udp: &Endpoint) -> Self {
        Self {
            changes: udp.changes(),
            before: present(udp),
            udp: udp.clone(),
            address: None,
            doubtful: true,
        }
    }

    /// Ours is this one. It may be gone already.
    fn settle(&mut self, address: IpAddr) {
        let known = self.before.contains(&address) || present(&self.udp).contains(&address);
        self.address = known.then_some(address);
    }

    fn is_there(&self) -> bool {
        self.address
            .is_none_or(|address| present(&self.udp).contains(&address))
    }

    /// Resolves once the address is gone.
    async fn lost(&mut self) {
        loop {
            if std::mem::take(&mut self.doubtful) && !self.is_there() {
                return;
            }
            if self.changes.changed().await.is_err() {
                return std::future::pending().await;
            }
            self.doubtful = true;
        }
    }
}

/// The machine's addresses, of both families.
fn present(udp: &Endpoint) -> Vec<IpAddr> {
    let any = [
        IpAddr::from(Ipv4Addr::UNSPECIFIED),
        IpAddr::from(Ipv6Addr::UNSPECIFIED),
    ];
    any.into_iter()
        .flat_map(|any| udp.host_addresses(SocketAddr::new(any, 0)))
        .collect()
}

/// Never resolves without tunnels; `None` when the last one is gone.
async fn next(batches: &mut Option<mpsc::Receiver<Transmit>>) -> Option<Transmit> {
    match batches {
        Some(batches) => batches.recv().await,
        None => std::future::pending().await,
    }
}
