//! Multicast DNS on the local network, one task for all connections of an endpoint.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use if_addrs::{IfAddr, Ifv4Addr};
use peerloom_transports_proto::mdns::{self, GROUP, Mdns};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{sleep, sleep_until};

use crate::clock;

/// Requests of connections on their way to the task. Filled by them; a name that finds no room
/// stays unresolved.
const REQUESTS: usize = 64;

/// Requests that wait for an answer. Filled by connections, whose peers name the candidates; a name
/// beyond them stays unresolved.
const MAX_WAITING: usize = 256;

/// How long the task sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// How long what was read of the interfaces is believed.
const FRESH: Duration = Duration::from_secs(2);

/// How long a socket rests that could not be read.
const RETRY: Duration = Duration::from_secs(1);

/// Longest packet (RFC 6762 §17).
const MAX_PACKET: usize = 9000;

/// What a connection asks of the task.
enum Request {
    /// To find the address behind a name.
    Resolve(Waiting),
    /// To answer for a name as long as somebody holds it.
    Answer(String, IpAddr, Weak<()>),
}

/// A name, and who asked for it.
type Waiting = (String, oneshot::Sender<Option<IpAddr>>);

/// A name that stands for an address of ours. The endpoint answers for it on the local network
/// until the last clone is dropped.
#[derive(Clone, Debug)]
pub struct HostName {
    name: String,
    _held: Arc<()>,
}

impl HostName {
    /// The name, which ends in `.local`.
    pub fn as_str(&self) -> &str {
        &self.name
    }
}

/// The way to an endpoint's task, which begins with the first name.
#[derive(Clone, Debug, Default)]
pub struct Resolver {
    requests: Arc<Mutex<Option<mpsc::Sender<Request>>>>,
}

impl Resolver {
    /// The address behind a `.local` name, when somebody on the network answers. Within a tokio
    /// runtime, which then carries the task.
    pub async fn resolve(&self, name: &str) -> Option<IpAddr> {
        if !mdns::is_mdns_name(name) {
            return None;
        }
        let (answer, answered) = oneshot::channel();
        let request = (name.to_ascii_lowercase(), answer);
        self.requests().try_send(Request::Resolve(request)).ok()?;
        answered.await.ok().flatten()
    }

    /// A fresh name for an address of ours (draft-ietf-mmusic-mdns-ice-candidates section 3.1.1). `None`
    /// when too much is asked of the task. Within a tokio runtime, which then carries the task.
    pub fn name(&self, address: IpAddr) -> Option<HostName> {
        let (name, held) = (mdns::uuid_name(rand::random()), Arc::new(()));
        let request = Request::Answer(name.clone(), address, Arc::downgrade(&held));
        self.requests().try_send(request).ok()?;
        Some(HostName { name, _held: held })
    }

    fn requests(&self) -> mpsc::Sender<Request> {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        match requests.as_ref().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender.clone(),
            None => {
                let (sender, receiver) = mpsc::channel(REQUESTS);
                tokio::spawn(serve(receiver));
                requests.insert(sender).clone()
            }
        }
    }
}

async fn serve(requests: mpsc::Receiver<Request>) {
    match open() {
        Ok(socket) => {
            let mut task = Task {
                engine: Mdns::new(rand::random()),
                socket,
                interfaces: Vec::new(),
                read_at: None,
                waiting: Vec::new(),
                names: Vec::new(),
            };
            task.read_interfaces();
            task.run(requests).await
        }
        Err(error) => tracing::warn!(%error, "no multicast DNS: names of peers stay unknown"),
    }
}

/// A socket beside those of other programs, in no group yet.
fn open() -> io::Result<UdpSocket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, GROUP.port())).into())?;
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(255)?;
    UdpSocket::from_std(socket.into())
}

struct Task {
    engine: Mdns,
    socket: UdpSocket,
    /// Those whose group we are in.
    interfaces: Vec<Ifv4Addr>,
    read_at: Option<Instant>,
    /// At most [`MAX_WAITING`].
    waiting: Vec<Waiting>,
    /// Names we answer for while they are held: as many as the engine keeps.
    names: Vec<(String, Weak<()>)>,
}

impl Task {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut buffer = vec![0; MAX_PACKET];
        loop {
            self.drain().await;
            let due = self.engine.poll_timeout();
            let due = due.unwrap_or_else(|| clock::now() + IDLE);
            tokio::select! {
                request = requests.recv() => match request {
                    Some(request) => self.take(request),
                    None => return,
                },
                received = self.socket.recv_from(&mut buffer) => {
                    match received {
                        Ok((len, from)) => self.take_packet(&buffer[..len], from),
                        Err(error) => {
                            tracing::warn!(%error, "multicast DNS cannot be read");
                            sleep(RETRY).await;
                        }
                    }
                }
                () = sleep_until(due.into()) => self.engine.handle_timeout(clock::now()),
            }
        }
    }

    /// What is not from the local network is nobody's business there (RFC 6762 section 11).
    fn take_packet(&mut self, packet: &[u8], from: SocketAddr) {
        if self.interfaces.iter().any(|it| is_link_of(it, from.ip())) {
            self.forget_names();
            self.engine.handle_packet(packet, clock::now());
        }
    }

    /// Joins the group on interfaces that have come.
    fn read_interfaces(&mut self) {
        let now = clock::now();
        if self.read_at.is_some_and(|at| now < at + FRESH) {
            return;
        }
        self.read_at = Some(now);
        let (IpAddr::V4(group), Ok(present)) = (GROUP.ip(), if_addrs::get_if_addrs()) else {
            return;
        };
        let present: Vec<Ifv4Addr> = present
            .into_iter()
            .filter_map(|interface| match interface.addr {
                IfAddr::V4(addr) => Some(addr),
                IfAddr::V6(_) => None,
            })
            .collect();
        self.interfaces.retain(|known| present.contains(known));
        for addr in present {
            let joined = || self.socket.join_multicast_v4(group, addr.ip).is_ok();
            if !self.interfaces.contains(&addr) && joined() {
                self.interfaces.push(addr);
            }
        }
    }

    fn take(&mut self, request: Request) {
        self.read_interfaces();
        self.forget_names();
        match request {
            Request::Resolve(waiting) => self.resolve(waiting),
            Request::Answer(name, address, held) => {
                if self.engine.answer_for(&name, address) {
                    self.names.push((name, held));
                } else {
                    tracing::warn!("too many names of our own: one is not answered for");
                }
            }
        }
    }

    /// Answers no more for names that nobody holds.
    fn forget_names(&mut self) {
        let engine = &mut self.engine;
        self.names.retain(|(name, held)| {
            let kept = held.strong_count() > 0;
            if !kept {
                engine.unregister(name);
            }
            kept
        });
    }

    fn resolve(&mut self, (name, answer): Waiting) {
        self.waiting.retain(|(_, waiting)| !waiting.is_closed());
        if self.waiting.len() < MAX_WAITING && self.engine.resolve(&name, clock::now()) {
            self.waiting.push((name, answer));
        }
    }

    async fn drain(&mut self) {
        while let Some(packet) = self.engine.poll_packet() {
            for Ifv4Addr { ip: interface, .. } in &self.interfaces {
                let chosen = SockRef::from(&self.socket).set_multicast_if_v4(interface);
                let sent = match chosen {
                    Ok(()) => self.socket.send_to(&packet, GROUP).await.map(drop),
                    Err(error) => Err(error),
                };
                if let Err(error) = sent {
                    tracing::debug!(%error, %interface, "no multicast DNS there");
                }
            }
        }
        while let Some(event) = self.engine.poll_event() {
            let (done, waiting) = std::mem::take(&mut self.waiting)
                .into_iter()
                .partition(|(name, _)| *name == event.name);
            self.waiting = waiting;
            for (_, answer) in done {
                if answer.send(event.address).is_err() {
                    tracing::trace!("who asked for a name is gone");
                }
            }
        }
    }
}

/// Whether `from` is on the link of this interface.
fn is_link_of(interface: &Ifv4Addr, from: IpAddr) -> bool {
    let IpAddr::V4(from) = from else { return false };
    let network = |ip: Ipv4Addr| ip.to_bits() & interface.netmask.to_bits();
    network(from) == network(interface.ip)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_as_wide_as_its_netmask() {
        let interface = Ifv4Addr {
            ip: Ipv4Addr::new(192, 0, 2, 7),
            netmask: Ipv4Addr::new(255, 255, 255, 0),
            prefixlen: 24,
            broadcast: None,
        };
        let on = |text: &str| is_link_of(&interface, text.parse().expect("an address"));
        assert!(on("192.0.2.200"));
        assert!(!on("192.0.3.7"));
        assert!(!on("2001:db8::1"));
    }
}
