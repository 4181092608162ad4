//! DTLS: two transports and the datagrams between them, before the handshake, during and after it.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use peerloom_transports_proto::config::{DtlsConfig, DtlsRecords, DtlsVersions};
use peerloom_transports_proto::dtls::{Event, State, Transport};
use peerloom_transports_proto::id::{DtlsRole, Path};

use super::script::{Ends, Reader, play};
use super::sdp::CERTIFICATE;

/// Setup: both ends take version 1.3 only.
pub(crate) const ONLY_13: u8 = 0b1010;
/// Setup: the first end leaves its records to the packaged engine. The bit after it, the second.
pub(crate) const PACKAGED: u8 = 1 << 4;

struct Transports {
    ends: [Transport; 2],
    now: Instant,
    received: usize,
    /// Whether an end ever was.
    connected: bool,
}

const VERSIONS: [DtlsVersions; 4] = [
    DtlsVersions::Auto,
    DtlsVersions::Only12,
    DtlsVersions::Only13,
    DtlsVersions::Auto,
];

impl Transports {
    /// Two bits of `setup` for the versions of each end, and one for who protects its records.
    fn new(setup: u8) -> Self {
        let now = Instant::now();
        let ends = [
            (DtlsRole::Client, setup & 3, setup >> 4 & 1),
            (DtlsRole::Server, setup >> 2 & 3, setup >> 5 & 1),
        ];
        let ends = ends.map(|(role, versions, packaged)| {
            let config = DtlsConfig {
                versions: VERSIONS[usize::from(versions)],
                records: [DtlsRecords::Native, DtlsRecords::Packaged][usize::from(packaged)],
                // A few messages, and keys change.
                records_per_key: 4,
                ..DtlsConfig::default()
            };
            let expected = vec![CERTIFICATE.fingerprint().clone()];
            Transport::new(&config, &CERTIFICATE, role, expected, now).expect("transport")
        });
        Self {
            ends,
            now,
            received: 0,
            connected: false,
        }
    }
}

impl Ends for Transports {
    fn drain(&mut self, sent: &mut Vec<(usize, Vec<u8>)>) {
        let any = SocketAddr::from(([10, 0, 0, 1], 1));
        for (index, end) in self.ends.iter_mut().enumerate() {
            self.connected |= end.state() == State::Connected;
            while let Some(event) = end.poll_event() {
                self.received += usize::from(matches!(event, Event::Data(_)));
            }
            while let Some(transmit) = end.poll_transmit(Path::new(any, any)) {
                let datagrams = transmit.datagrams();
                sent.extend(datagrams.map(|datagram| (1 - index, datagram.to_vec())));
            }
            assert_eq!(end.queued(), 0);
        }
    }

    fn feed(&mut self, to: usize, packet: &[u8]) {
        self.ends[to].handle_packet(packet, self.now);
    }

    /// Nothing can be made right that is sealed with keys nobody tells.
    fn seal(&self, _: usize, _: &mut Vec<u8>) {}

    fn wait(&mut self, time: Duration) {
        self.now += time;
        for end in &mut self.ends {
            end.handle_timeout(self.now);
            let next = end.poll_timeout();
            assert!(next.is_none_or(|next| next.at > self.now), "{next:?}");
        }
    }

    fn act(&mut self, end: usize, what: u8) {
        let end = &mut self.ends[end];
        if what % 4 == 3 {
            end.close(self.now);
        } else {
            // Refused before the handshake is complete.
            drop(end.send(&vec![what; usize::from(what) * 4], self.now));
        }
    }
}

/// A byte of setup, then a script. Gets anywhere if an end gets connected.
pub fn dtls(data: &[u8]) -> bool {
    let mut reader = Reader(data);
    let mut ends = Transports::new(reader.byte().unwrap_or_default());
    play(reader.0, &mut ends);
    assert!(ends.received == 0 || ends.connected, "data of a stranger");
    ends.connected
}

/// The packets of a script.
pub(crate) fn packets(data: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut reader = Reader(data);
    let mut ends = Transports::new(reader.byte().unwrap_or_default());
    play(reader.0, &mut ends)
}
