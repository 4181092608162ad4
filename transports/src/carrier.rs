//! What takes a connection's datagrams away: a UDP socket, or a task that puts them into
//! something else (a TURN server's channel, a TCP connection).

use std::io;
use std::net::SocketAddr;

use peerloom_transports_proto::candidate::Protocol;
use peerloom_transports_proto::engine::Transmit;
use peerloom_transports_proto::id::Path;
use tokio::sync::mpsc;

use crate::udp::{Blocked, Discarded, Socket};

/// Batches on their way to a tunnel's task. Filled by the connection; when full its sender keeps
/// what comes and its engines stop, as when a socket would block. 16 batches are at most 1 MiB.
pub const TUNNEL_BATCHES: usize = 16;

/// One way to the network.
#[derive(Debug, Clone)]
pub enum Carrier {
    /// Straight to a socket.
    Udp(Socket),
    /// Through a task.
    Tunnel(Tunnel),
}

impl Carrier {
    /// Whether datagrams of this path leave here.
    pub fn serves(&self, path: Path) -> bool {
        match self {
            Carrier::Udp(socket) => path.protocol == Protocol::Udp && socket.serves(path.local),
            Carrier::Tunnel(tunnel) => tunnel.end.serves(path),
        }
    }

    /// Waits until a blocked send may be tried again.
    pub async fn writable(&self) -> io::Result<()> {
        match self {
            Carrier::Udp(socket) => socket.writable().await,
            Carrier::Tunnel(tunnel) => match tunnel.batches.reserve().await {
                Ok(_) => Ok(()),
                Err(_) => Err(io::ErrorKind::BrokenPipe.into()),
            },
        }
    }

    /// Sends one batch, and tells what a socket refused or a tunnel that is gone should have
    /// carried: it is lost, as on the wire. `Err` only when it has to wait.
    pub(crate) fn try_send(&self, transmit: &Transmit) -> Result<Discarded, Blocked> {
        match self {
            Carrier::Udp(socket) => socket.try_send(transmit),
            Carrier::Tunnel(tunnel) => match tunnel.batches.try_send(transmit.clone()) {
                Ok(()) => Ok(Discarded::default()),
                Err(mpsc::error::TrySendError::Closed(lost)) => Ok(Discarded::batch(&lost)),
                Err(mpsc::error::TrySendError::Full(_)) => Err(Blocked),
            },
        }
    }
}

/// Which paths a tunnel carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// All that begin at this relayed address.
    Relayed(SocketAddr),
    /// This one, over TCP.
    Tcp(Path),
}

impl End {
    fn serves(self, path: Path) -> bool {
        match self {
            End::Relayed(local) => path.protocol == Protocol::Udp && path.local == local,
            End::Tcp(own) => path == own,
        }
    }
}

/// The way into a task that carries datagrams. The task ends when the last clone is gone.
#[derive(Debug, Clone)]
pub struct Tunnel {
    end: End,
    batches: mpsc::Sender<Transmit>,
}

impl Tunnel {
    /// For paths from `relayed`; what is sent comes out of the receiver.
    pub(crate) fn relayed(relayed: SocketAddr) -> (Self, mpsc::Receiver<Transmit>) {
        Self::new(End::Relayed(relayed))
    }

    /// For one TCP connection; what is sent comes out of the receiver.
    pub(crate) fn tcp(path: Path) -> (Self, mpsc::Receiver<Transmit>) {
        Self::new(End::Tcp(path))
    }

    /// The same task, for paths from another relayed address.
    pub(crate) fn also(&self, relayed: SocketAddr) -> Self {
        Self {
            end: End::Relayed(relayed),
            batches: self.batches.clone(),
        }
    }

    fn new(end: End) -> (Self, mpsc::Receiver<Transmit>) {
        let (batches, receiver) = mpsc::channel(TUNNEL_BATCHES);
        (Self { end, batches }, receiver)
    }
}
