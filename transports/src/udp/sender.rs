//! A connection's way out: straight to the socket, with a bounded backlog for the
//! moments when the socket would block.

use std::collections::VecDeque;

use peerloom_transports_proto::engine::Transmit;

use super::socket::{Blocked, Socket};

/// Bytes a connection keeps while its socket would block. Filled by the
/// connection's own engine; beyond it datagrams are lost, as they would be on the
/// wire, and the owner should stop producing long before ([`Sent::Kept`]).
pub const MAX_BACKLOG_BYTES: usize = 512 * 1024;

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub enum Sent {
    /// With the kernel.
    Done,
    /// In the backlog: stop producing, wait for [`Socket::writable`], then
    /// [`Sender::flush`].
    Kept,
    /// The backlog is full (or no socket serves the path): lost.
    Lost,
}

/// Sends one connection's datagrams through the sockets it may use.
#[derive(Debug, Default)]
pub struct Sender {
    sockets: Vec<Socket>,
    backlog: VecDeque<Transmit>,
    backlog_bytes: usize,
    lost: u64,
}

impl Sender {
    /// A sender over these sockets.
    pub fn new(sockets: Vec<Socket>) -> Sender {
        Sender {
            sockets,
            ..Sender::default()
        }
    }

    /// Allows one more socket.
    pub fn add_socket(&mut self, socket: Socket) {
        self.sockets.push(socket);
    }

    /// The socket that serves this local address.
    pub fn socket_for(&self, local: std::net::SocketAddr) -> Option<&Socket> {
        self.sockets.iter().find(|socket| socket.serves(local))
    }

    /// Sends a batch, or keeps it when the socket would block.
    pub fn send(&mut self, transmit: Transmit) -> Sent {
        if !self.backlog.is_empty() {
            return self.keep(transmit);
        }
        match self.try_send(&transmit) {
            Attempt::Done => Sent::Done,
            Attempt::Blocked => self.keep(transmit),
            Attempt::NoSocket => self.lose(&transmit),
        }
    }

    /// Sends what was kept. `true` when nothing is left.
    pub fn flush(&mut self) -> bool {
        while let Some(transmit) = self.backlog.pop_front() {
            if self.try_send(&transmit) == Attempt::Blocked {
                self.backlog.push_front(transmit);
                return false;
            }
            self.backlog_bytes -= transmit.contents.len();
        }
        true
    }

    /// The socket to wait for, when something is kept.
    pub fn blocked_on(&self) -> Option<Socket> {
        let first = self.backlog.front()?;
        self.socket_for(first.path.local).cloned()
    }

    /// Whether something is kept.
    pub fn is_blocked(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Datagram batches lost here.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn try_send(&self, transmit: &Transmit) -> Attempt {
        let Some(socket) = self.socket_for(transmit.path.local) else {
            return Attempt::NoSocket;
        };
        match socket.try_send(transmit) {
            Ok(()) => Attempt::Done,
            Err(Blocked) => Attempt::Blocked,
        }
    }

    fn keep(&mut self, transmit: Transmit) -> Sent {
        if self.backlog_bytes + transmit.contents.len() > MAX_BACKLOG_BYTES {
            return self.lose(&transmit);
        }
        self.backlog_bytes += transmit.contents.len();
        self.backlog.push_back(transmit);
        Sent::Kept
    }

    fn lose(&mut self, transmit: &Transmit) -> Sent {
        self.lost += 1;
        tracing::trace!(
            bytes = transmit.contents.len(),
            "datagrams lost before the socket"
        );
        Sent::Lost
    }
}

#[derive(PartialEq, Eq)]
enum Attempt {
    Done,
    Blocked,
    NoSocket,
}
