//! What each path has carried, for `getStats`.

use std::time::Instant;

use peerloom_transports::proto::engine::Transmit;
use peerloom_transports::proto::id::Path;
use peerloom_transports::udp::{Datagrams, Discarded};

/// Paths that are counted. Filled by changes of the selected pair; beyond it the one that was
/// quiet for longest is forgotten.
const MAX_PATHS: usize = 16;

/// What was carried: DTLS, without the connectivity checks.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Carried {
    pub(crate) packets_sent: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) packets_received: u64,
    pub(crate) bytes_received: u64,
    /// Given to a socket that did not take it.
    pub(crate) discarded: Discarded,
    pub(crate) last_sent: Option<Instant>,
    pub(crate) last_received: Option<Instant>,
}

impl Carried {
    fn sent(&mut self, packets: u64, bytes: u64, now: Instant) {
        self.packets_sent += packets;
        self.bytes_sent += bytes;
        self.last_sent = Some(now);
    }

    /// What counted as sent was not.
    fn discarded(&mut self, discarded: Discarded) {
        self.packets_sent = self.packets_sent.saturating_sub(discarded.packets);
        self.bytes_sent = self.bytes_sent.saturating_sub(discarded.bytes);
        self.discarded += discarded;
    }

    fn received(&mut self, packets: u64, bytes: u64, now: Instant) {
        self.packets_received += packets;
        self.bytes_received += bytes;
        self.last_received = Some(now);
    }
}

/// The counters of the transport, and of each path by itself, the one in use first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Traffic {
    pub(crate) total: Carried,
    pub(crate) paths: Vec<(Path, Carried)>,
}

impl Traffic {
    /// A batch is on its way.
    pub(crate) fn sent(&mut self, batch: &Transmit, now: Instant) {
        let (packets, bytes) = (batch.datagram_count() as u64, batch.contents.len() as u64);
        self.total.sent(packets, bytes, now);
        self.path(batch.path).sent(packets, bytes, now);
    }

    /// A socket did not take all of a batch that was on its way.
    pub(crate) fn discarded(&mut self, path: Path, discarded: Discarded) {
        self.total.discarded(discarded);
        self.path(path).discarded(discarded);
    }

    /// A batch has arrived.
    pub(crate) fn received(&mut self, batch: &Datagrams, now: Instant) {
        for run in batch.runs() {
            let bytes = run.datagrams().map(|datagram| datagram.len() as u64).sum();
            self.total.received(run.len() as u64, bytes, now);
            self.path(run.path()).received(run.len() as u64, bytes, now);
        }
    }

    fn path(&mut self, path: Path) -> &mut Carried {
        let at = match self.paths.iter().position(|it| it.0 == path) {
            Some(at) => at,
            None => {
                self.paths.truncate(MAX_PATHS - 1);
                self.paths.push((path, Carried::default()));
                self.paths.len() - 1
            }
        };
        // Nearly always the first: a path that is used stays in front.
        self.paths[..=at].rotate_right(1);
        &mut self.paths[0].1
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, SocketAddr};

    use bytes::Bytes;

    use super::*;

    fn batch(port: u16) -> Transmit {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        Transmit::single(Path::new(at(1), at(port)), Bytes::from_static(b"12345"))
    }

    #[test]
    fn the_path_that_was_quiet_for_longest_is_forgotten() {
        let now = peerloom_transports::clock::now();
        let mut traffic = Traffic::default();
        for port in 0..MAX_PATHS as u16 {
            traffic.sent(&batch(port), now);
        }
        traffic.sent(&batch(0), now);
        traffic.sent(&batch(99), now);
        let ports: Vec<u16> = traffic.paths.iter().map(|it| it.0.remote.port()).collect();
        assert_eq!(ports.len(), MAX_PATHS);
        assert_eq!(ports[..2], [99, 0]);
        assert!(!ports.contains(&1));
        let of = traffic.paths[1].1;
        assert_eq!((of.packets_sent, of.bytes_sent), (2, 10));
        assert_eq!(traffic.total.packets_sent, MAX_PATHS as u64 + 2);
    }

    #[test]
    fn what_a_socket_refused_was_not_sent() {
        let now = peerloom_transports::clock::now();
        let mut traffic = Traffic::default();
        for _ in 0..3 {
            traffic.sent(&batch(1), now);
        }
        traffic.sent(&batch(2), now);
        let refused = Discarded {
            packets: 2,
            bytes: 10,
        };
        traffic.discarded(batch(1).path, refused);
        for (carried, sent, discarded) in [
            (traffic.total, (2, 10), refused),
            (traffic.paths[0].1, (1, 5), refused),
            (traffic.paths[1].1, (1, 5), Discarded::default()),
        ] {
            assert_eq!((carried.packets_sent, carried.bytes_sent), sent);
            assert_eq!(carried.discarded, discarded);
        }
    }
}
