//! A connection's entry for datagrams that arrive by other ways than the shared sockets.

use std::fmt;

use peerloom_transports_proto::id::Path;

use super::buffer::Datagrams;
use super::classify::PacketClass;
use super::demux::{Inlet, QuicEntry};

/// Where a connection takes what a tunnel brings.
#[derive(Clone)]
pub struct Ingress {
    pub(super) stun: Inlet,
    pub(super) records: Inlet,
    pub(super) quic: QuicEntry,
}

impl fmt::Debug for Ingress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ingress")
    }
}

impl Ingress {
    /// Begins to collect batches.
    pub fn delivery(&self) -> Delivery {
        Delivery {
            to: self.clone(),
            stun: Datagrams::default(),
            records: Datagrams::default(),
            quic: Datagrams::default(),
        }
    }
}

/// Datagrams of one wake-up, sorted into batches. Bounded by what one wake-up reads.
#[derive(Debug)]
pub struct Delivery {
    to: Ingress,
    stun: Datagrams,
    records: Datagrams,
    quic: Datagrams,
}

impl Delivery {
    /// Adds a datagram. Other protocols than STUN pass only when the peer is `known`, as on the
    /// shared sockets, where a 5-tuple has to be claimed first.
    pub fn push(&mut self, path: Path, datagram: &[u8], known: bool) {
        match PacketClass::of(datagram) {
            PacketClass::Stun => self.stun.push_copy(path, datagram),
            PacketClass::Dtls if known => self.records.push_copy(path, datagram),
            // What came in a TURN channel was taken out of it.
            PacketClass::TurnChannelOrQuic | PacketClass::Quic if known => {
                self.quic.push_copy(path, datagram);
            }
            PacketClass::Dtls
            | PacketClass::Zrtp
            | PacketClass::TurnChannelOrQuic
            | PacketClass::Quic
            | PacketClass::Media
            | PacketClass::Unknown => {}
        }
    }

    /// Hands the batches over. What a full mailbox refuses is lost, as with a full socket.
    pub fn flush(&mut self) {
        let take = |batch: &mut Datagrams, inlet: &dyn Fn(Datagrams) -> bool| {
            let batch = std::mem::take(batch);
            if !batch.is_empty() && !inlet(batch) {
                tracing::trace!("a tunnel's datagrams were dropped by a full mailbox");
            }
        };
        take(&mut self.stun, &*self.to.stun);
        take(&mut self.records, &*self.to.records);
        take(&mut self.quic, &|batch| self.to.quic.take(batch));
    }
}
