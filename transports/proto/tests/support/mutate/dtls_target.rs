//! Two DTLS transports somewhere in their handshake or after it; mutated datagrams.

use std::time::{Duration, Instant};

use peerloom_transports_proto::certificate::Certificate;
use peerloom_transports_proto::config::{DtlsConfig, DtlsVersions};
use peerloom_transports_proto::dtls::{Error, Event, State, Transport};
use peerloom_transports_proto::id::{DtlsRole, Path};
use rand::RngExt;

use super::{Recent, Rng, Target, mutate};
use crate::support::pair::certificate;

pub(super) struct Dtls {
    certificates: [Certificate; 2],
    ends: Option<[Transport; 2]>,
    now: Instant,
    wire: Vec<(usize, Vec<u8>)>,
    recent: Recent<(usize, Vec<u8>)>,
    faults: usize,
    age: usize,
}

impl Dtls {
    pub(super) fn new() -> Self {
        Self {
            certificates: [certificate(), certificate()],
            ends: None,
            now: Instant::now(),
            wire: Vec::new(),
            recent: Recent::default(),
            faults: 0,
            age: 0,
        }
    }

    fn renew(&mut self, rng: &mut Rng) -> [Transport; 2] {
        let all = [
            DtlsVersions::Auto,
            DtlsVersions::Only12,
            DtlsVersions::Only13,
        ];
        self.wire.clear();
        self.recent.clear();
        self.age = 0;
        [(DtlsRole::Client, 0), (DtlsRole::Server, 1)].map(|(role, index)| {
            let versions = all[rng.random_range(0..all.len())];
            let config = DtlsConfig {
                versions,
                ..DtlsConfig::default()
            };
            let expected = vec![self.certificates[1 - index].fingerprint().clone()];
            let own = &self.certificates[index];
            Transport::new(&config, own, role, expected, self.now).expect("transport")
        })
    }

    fn drain(&mut self, ends: &mut [Transport; 2]) {
        let any = "10.0.0.1:1".parse().expect("address");
        for (index, end) in ends.iter_mut().enumerate() {
            while let Some(event) = end.poll_event() {
                if let Event::Failed(Error::Fault(_)) = event {
                    self.faults += 1;
                }
            }
            while let Some(transmit) = end.poll_transmit(Path::new(any, any)) {
                for datagram in transmit.datagrams() {
                    self.recent.push((1 - index, datagram.to_vec()));
                    self.wire.push((1 - index, datagram.to_vec()));
                }
            }
            assert_eq!(end.queued(), 0);
        }
    }
}

impl Target for Dtls {
    fn step(&mut self, rng: &mut Rng) {
        let mut ends = match self.ends.take() {
            Some(ends) => ends,
            None => self.renew(rng),
        };
        self.age += 1;
        self.now += Duration::from_micros(500);
        self.drain(&mut ends);
        if rng.random_bool(0.25) {
            for (to, packet) in std::mem::take(&mut self.wire) {
                ends[to].handle_packet(&packet, self.now);
            }
        }
        if let Some((to, mut packet)) = self.recent.pick(rng) {
            let other = self
                .recent
                .pick(rng)
                .map(|(_, other)| other)
                .unwrap_or_default();
            mutate(&mut packet, &other, rng);
            // Also to whom it was not meant for.
            let to = if rng.random_bool(0.05) { 1 - to } else { to };
            ends[to].handle_packet(&packet, self.now);
        }
        for end in &mut ends {
            if end.state() == State::Connected {
                drop(end.send(b"application data", self.now));
            }
            end.handle_timeout(self.now);
        }
        self.drain(&mut ends);
        let failed = ends
            .iter()
            .any(|end| matches!(end.state(), State::Failed | State::Closed));
        if !failed && self.age < 400 {
            self.ends = Some(ends);
        }
    }

    fn faults(&self) -> usize {
        self.faults
    }
}
