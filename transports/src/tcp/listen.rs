//! Connections that come in, until it is known whose they are.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use peerloom_transports_proto::framing::first_check;
use peerloom_transports_proto::id::Path;
use socket2::{Domain, Protocol, Type};
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::Stream;
use crate::carrier::Tunnel;
use crate::udp::{BindError, Endpoint, Ingress};

/// Connections of one listener whose first frame has not come yet. Filled by anybody; when there are
/// so many, the one that has waited longest is closed, since those who mean it begin at once.
pub const MAX_WAITING: usize = 64;

/// How long the first frame may take. Guess: far longer than a round trip and a retransmission.
pub const FIRST_FRAME_PATIENCE: Duration = Duration::from_secs(10);

/// Connections the kernel keeps until they are accepted.
const BACKLOG: i32 = 128;

/// Bytes read before the first frame is whole: it and its length, and some of what follows.
const FIRST_READ: usize = 2 * 1024;

/// Where a connection of the endpoint takes TCP connections that are for it. Returns whether this one
/// was taken; a refused one is closed.
pub type StreamInlet = Arc<dyn Fn(Accepted) -> bool + Send + Sync>;

/// A connection whose first frame was a check for one of ours. Nothing about it has been verified.
pub struct Accepted {
    path: Path,
    stream: std::net::TcpStream,
    received: BytesMut,
}

impl fmt::Debug for Accepted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Accepted")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Accepted {
    /// From where to where, seen from here.
    pub fn path(&self) -> Path {
        self.path
    }

    /// The check that it began with.
    pub fn first(&self) -> &[u8] {
        let [high, low, rest @ ..] = &self.received[..] else {
            return &[];
        };
        let len = usize::from(u16::from_be_bytes([*high, *low]));
        rest.get(..len).unwrap_or(&[])
    }

    /// Lets it carry, the first check included, on the current thread's runtime.
    ///
    /// # Errors
    ///
    /// The connection is gone already, or the runtime has no driver for it.
    pub fn into_stream(self, udp: &Endpoint, ingress: &Ingress) -> io::Result<(Stream, Tunnel)> {
        let stream = TcpStream::from_std(self.stream)?;
        Stream::new(stream, self.path, self.received, udp, ingress)
    }
}

/// A TCP port that accepts for all connections of an endpoint. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Listener {
    inner: Arc<TcpListener>,
    local: SocketAddr,
}

impl Listener {
    /// Listens within the current tokio runtime, whose driver then serves the socket. Run
    /// [`Listener::accept`] afterwards.
    ///
    /// # Errors
    ///
    /// The address cannot be had.
    pub fn bind(addr: SocketAddr) -> Result<Self, BindError> {
        bind(addr).map_err(|source| BindError::tcp(addr, source))
    }

    /// The bound address; a wildcard stays a wildcard.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Accepts for the connections registered at `udp`, until the socket fails. Drop or abort it to
    /// stop.
    ///
    /// # Errors
    ///
    /// The system accepts no more, for instance for want of file descriptors: try again.
    pub async fn accept(self, udp: Endpoint) -> io::Result<()> {
        let mut waiting = Waiting::default();
        loop {
            let (stream, peer) = match self.inner.accept().await {
                Ok(accepted) => accepted,
                // It was gone before it was accepted.
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => continue,
                Err(error) => return Err(error),
            };
            tracing::trace!(%peer, "a TCP connection comes in");
            waiting.add(introduce(stream, udp.clone()));
        }
    }
}

fn bind(addr: SocketAddr) -> io::Result<Listener> {
    let socket =
        socket2::Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    if addr.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    #[cfg(unix)]
    socket.set_reuse_address(true)?; // connections of a former process may linger
    socket.set_nonblocking(true)?;
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    let inner = TcpListener::from_std(socket.into())?;
    let local = inner.local_addr()?;
    tracing::debug!(%local, "listening for ICE over TCP");
    Ok(Listener {
        inner: Arc::new(inner),
        local,
    })
}

/// Those whose first frame has not come yet, in order of arrival.
#[derive(Default)]
struct Waiting {
    tasks: JoinSet<()>,
    order: VecDeque<AbortHandle>,
}

impl Waiting {
    fn add(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        while self.tasks.try_join_next().is_some() {}
        self.order.retain(|handle| !handle.is_finished());
        if self.order.len() >= MAX_WAITING
            && let Some(oldest) = self.order.pop_front()
        {
            tracing::debug!("too many TCP connections wait; the oldest is closed");
            oldest.abort();
        }
        self.order.push_back(self.tasks.spawn(task));
    }
}

/// Finds out whose a connection is, and hands it over. Whatever goes wrong, it is closed.
async fn introduce(stream: TcpStream, udp: Endpoint) {
    let introduced = timeout(FIRST_FRAME_PATIENCE, receive_first(stream, &udp)).await;
    match introduced {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a TCP connection is closed"),
        Err(_) => tracing::debug!("a TCP connection is closed that did not begin"),
    }
}

async fn receive_first(mut stream: TcpStream, udp: &Endpoint) -> io::Result<()> {
    let mut received = BytesMut::with_capacity(FIRST_READ);
    let inlet = loop {
        if let Some(ufrag) = first_check(&received).map_err(io::Error::other)? {
            break udp.routes().stream_inlet(ufrag);
        }
        if stream.read_buf(&mut received).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    };
    let local = stream.local_addr()?;
    let Some(inlet) = inlet.filter(|_| !udp.is_cut(local.ip())) else {
        return Err(io::Error::other("for no connection of ours"));
    };
    let accepted = Accepted {
        path: Path::tcp(canonical(local), canonical(stream.peer_addr()?)),
        stream: stream.into_std()?,
        received,
    };
    if inlet(accepted) {
        Ok(())
    } else {
        Err(io::Error::other("the one it is for is busy"))
    }
}

/// As candidates are written: no scope, no mapped addresses.
fn canonical(addr: SocketAddr) -> SocketAddr {
    let ip: IpAddr = addr.ip().to_canonical();
    SocketAddr::new(ip, addr.port())
}
