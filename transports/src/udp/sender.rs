//! A connection's way out: straight to the socket, with a bounded backlog for the
//! moments when the socket would block.

use std::collections::VecDeque;

use peerloom_transports_proto::engine::Transmit;
use peerloom_transports_proto::id::Path;

use super::socket::{Blocked, Discarded, Socket};
use crate::carrier::Carrier;

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
    /// The backlog is full, no socket serves the path, or the socket refused: so much is lost.
    Lost(Discarded),
}

/// Sends one connection's datagrams through the sockets and tunnels it may use.
#[derive(Debug, Default)]
pub struct Sender {
    carriers: Vec<Carrier>,
    backlog: VecDeque<Transmit>,
    backlog_bytes: usize,
    lost: u64,
}

impl Sender {
    /// A sender over these sockets.
    pub fn new(sockets: Vec<Socket>) -> Sender {
        Sender {
            carriers: sockets.into_iter().map(Carrier::Udp).collect(),
            ..Sender::default()
        }
    }

    /// Allows one more socket or tunnel.
    pub fn add(&mut self, carrier: Carrier) {
        self.carriers.push(carrier);
    }

    /// Forgets the tunnels that serve this path: they are gone.
    pub fn remove(&mut self, path: Path) {
        self.carriers.retain(|carrier| !carrier.serves(path));
    }

    /// What serves this path.
    pub fn carrier_for(&self, path: Path) -> Option<&Carrier> {
        self.carriers.iter().find(|carrier| carrier.serves(path))
    }

    /// Sends a batch, or keeps it when the socket would block.
    pub fn send(&mut self, transmit: Transmit) -> Sent {
        if !self.backlog.is_empty() {
            return self.keep(transmit);
        }
        match self.try_send(&transmit) {
            Ok(discarded) if discarded == Discarded::default() => Sent::Done,
            Ok(discarded) => self.lose(discarded),
            Err(Blocked) => self.keep(transmit),
        }
    }

    /// Sends what was kept, and tells `lost` of what could not be. `true` when nothing is left.
    pub fn flush(&mut self, mut lost: impl FnMut(Path, Discarded)) -> bool {
        while let Some(transmit) = self.backlog.pop_front() {
            match self.try_send(&transmit) {
                Ok(discarded) => {
                    self.backlog_bytes -= transmit.contents.len();
                    if discarded != Discarded::default() {
                        lost(transmit.path, discarded);
                        self.lost += 1;
                    }
                }
                Err(Blocked) => {
                    self.backlog.push_front(transmit);
                    return false;
                }
            }
        }
        true
    }

    /// What to wait for, when something is kept.
    pub fn blocked_on(&self) -> Option<Carrier> {
        let first = self.backlog.front()?;
        self.carrier_for(first.path).cloned()
    }

    /// Whether something is kept.
    pub fn is_blocked(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Datagram batches lost here, wholly or in part.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    fn try_send(&self, transmit: &Transmit) -> Result<Discarded, Blocked> {
        match self.carrier_for(transmit.path) {
            Some(carrier) => carrier.try_send(transmit),
            None => Ok(Discarded::batch(transmit)),
        }
    }

    fn keep(&mut self, transmit: Transmit) -> Sent {
        if self.backlog_bytes + transmit.contents.len() > MAX_BACKLOG_BYTES {
            return self.lose(Discarded::batch(&transmit));
        }
        self.backlog_bytes += transmit.contents.len();
        self.backlog.push_back(transmit);
        Sent::Kept
    }

    fn lose(&mut self, discarded: Discarded) -> Sent {
        self.lost += 1;
        tracing::trace!(bytes = discarded.bytes, "datagrams lost before the network");
        Sent::Lost(discarded)
    }
}
