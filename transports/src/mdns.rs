//! Multicast DNS on the local network, one task for all connections of an endpoint.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use peerloom_transports_proto::mdns::{self, GROUP, Mdns};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::UdpSocket;
use tokio::sync::{mpsc, oneshot};
use tokio::time::sleep_until;

use crate::clock;

/// Requests of connections on their way to the task. Filled by them; a name that finds no room
/// stays unresolved.
const REQUESTS: usize = 64;

/// Requests that wait for an answer. Filled by connections, whose peers name the candidates; a name
/// beyond them stays unresolved.
const MAX_WAITING: usize = 256;

/// How long the task sleeps when nothing is due.
const IDLE: Duration = Duration::from_secs(3600);

/// Longest packet (RFC 6762 §17).
const MAX_PACKET: usize = 9000;

/// A name, and who asked for it.
type Request = (String, oneshot::Sender<Option<IpAddr>>);

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
        self.requests().try_send(request).ok()?;
        answered.await.ok().flatten()
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
        Ok((socket, interfaces)) => {
            Task {
                engine: Mdns::new(rand::random()),
                socket,
                interfaces,
                waiting: Vec::new(),
            }
            .run(requests)
            .await
        }
        Err(error) => tracing::warn!(%error, "no multicast DNS: names of peers stay unknown"),
    }
}

/// A socket in the group on every interface, beside those of other programs.
fn open() -> io::Result<(UdpSocket, Vec<Ipv4Addr>)> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    #[cfg(unix)]
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::UNSPECIFIED, GROUP.port())).into())?;
    socket.set_multicast_loop_v4(true)?;
    socket.set_multicast_ttl_v4(255)?;
    let IpAddr::V4(group) = GROUP.ip() else {
        return Err(io::ErrorKind::Unsupported.into());
    };
    let mut interfaces = Vec::new();
    for interface in if_addrs::get_if_addrs()? {
        if let IpAddr::V4(ip) = interface.ip()
            && socket.join_multicast_v4(&group, &ip).is_ok()
        {
            interfaces.push(ip);
        }
    }
    Ok((UdpSocket::from_std(socket.into())?, interfaces))
}

struct Task {
    engine: Mdns,
    socket: UdpSocket,
    interfaces: Vec<Ipv4Addr>,
    /// At most [`MAX_WAITING`].
    waiting: Vec<Request>,
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
                    if let Ok((len, _)) = received {
                        self.engine.handle_packet(&buffer[..len], clock::now());
                    }
                }
                () = sleep_until(due.into()) => self.engine.handle_timeout(clock::now()),
            }
        }
    }

    fn take(&mut self, request: Request) {
        let (name, answer) = request;
        self.waiting.retain(|(_, waiting)| !waiting.is_closed());
        if self.waiting.len() < MAX_WAITING && self.engine.resolve(&name, clock::now()) {
            self.waiting.push((name, answer));
        }
    }

    async fn drain(&mut self) {
        while let Some(packet) = self.engine.poll_packet() {
            for interface in &self.interfaces {
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
