//! Two associations with channels and traffic between them; mutated SCTP packets, checksum made
//! right again, as an authenticated peer could send them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use peerloom_transports_proto::channel::{ChannelInit, Channels, Event, Message, Reliability};
use peerloom_transports_proto::config::{ChannelConfig, SctpConfig, SctpEngine};
use peerloom_transports_proto::id::{ChannelId, DtlsRole};
use peerloom_transports_proto::sctp::{Association, CloseReason, MAX_UNREAD_CHUNKS};
use rand::RngExt;

use super::forge::seal;
use super::{Recent, Rng, Target, mutate};

struct End {
    association: Association,
    channels: Channels,
    ids: Vec<ChannelId>,
}

pub(super) struct Sctp {
    ends: [End; 2],
    now: Instant,
    /// Packets on their way, and to whom.
    wire: Vec<(usize, Bytes)>,
    recent: Recent<(usize, Bytes)>,
    faults: usize,
    age: usize,
}

fn end(role: DtlsRole, engine: SctpEngine, now: Instant) -> End {
    let config = ChannelConfig {
        peerloom_peer: true,
        ..ChannelConfig::default()
    };
    let mut channels = Channels::new(config);
    channels.start(role);
    let config = SctpConfig {
        engine,
        ..SctpConfig::default()
    };
    let association = Association::new(config, role, now).expect("association");
    End {
        association,
        channels,
        ids: Vec::new(),
    }
}

impl Sctp {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let now = Instant::now();
        let mut engine = || {
            if rng.random_bool(0.5) {
                SctpEngine::Native
            } else {
                SctpEngine::Packaged
            }
        };
        let ends = [
            end(DtlsRole::Client, engine(), now),
            end(DtlsRole::Server, engine(), now),
        ];
        let mut target = Self {
            ends,
            now,
            wire: Vec::new(),
            recent: Recent::default(),
            faults: 0,
            age: 0,
        };
        target.drain(rng);
        target
    }

    fn renew(&mut self, rng: &mut Rng) {
        let faults = self.faults;
        let fault =
            |end: &End| matches!(end.association.close_reason(), Some(CloseReason::Fault(_)));
        let new = self.ends.iter().filter(|end| fault(end)).count();
        *self = Self::new(rng);
        self.faults = faults + new;
    }

    fn drain(&mut self, rng: &mut Rng) {
        let now = self.now;
        for (index, end) in self.ends.iter_mut().enumerate() {
            end.channels.pump(&mut end.association, now);
            while let Some(event) = end.channels.poll_event() {
                match event {
                    Event::Opened(id) | Event::Accepted(id) => end.ids.push(id),
                    Event::Closed { channel, .. } => end.ids.retain(|id| *id != channel),
                    Event::Messages { channel, messages } if rng.random_bool(0.9) => {
                        let cost = messages.iter().map(Message::cost).sum();
                        end.channels.grant(channel, cost);
                    }
                    Event::Messages { .. }
                    | Event::BufferedAmountLow(_)
                    | Event::Writable(_)
                    | Event::Closing(_)
                    | Event::AssociationClosed(_) => {}
                }
            }
            while let Some(packet) = end.association.poll_transmit(now) {
                self.recent.push((1 - index, packet.clone()));
                self.wire.push((1 - index, packet));
            }
            assert!(end.association.unread_chunks() <= 2 * MAX_UNREAD_CHUNKS + 70_000);
            assert!(end.channels.ids().count() <= 1024);
        }
    }

    fn traffic(&mut self, rng: &mut Rng) {
        let end = &mut self.ends[rng.random_range(0..2_usize)];
        let pick = end
            .ids
            .get(rng.random_range(0..end.ids.len().max(1)))
            .copied();
        match (rng.random_range(0..20_u8), pick) {
            (0, _) | (_, None) if end.ids.len() < 20 => {
                let reliability = match rng.random_range(0..3_u8) {
                    0 => Reliability::Reliable,
                    1 => Reliability::MaxRetransmits(1),
                    _ => Reliability::MaxLifetime(20),
                };
                let ordered = rng.random();
                let init = ChannelInit {
                    ordered,
                    reliability,
                    ..ChannelInit::default()
                };
                let opened = end.channels.open(init);
                assert!(opened.is_ok() || end.association.close_reason().is_some());
            }
            (1, Some(id)) => end.channels.close(id),
            (2, Some(id)) => drop(end.channels.send(id, Message::Text(String::new()))),
            (3, Some(id)) => {
                drop(
                    end.channels
                        .send(id, Message::Binary(vec![1; 70_000].into())),
                );
            }
            (_, Some(id)) => drop(end.channels.send(id, Message::Binary(vec![2; 300].into()))),
            (_, None) => {}
        }
    }
}

impl Target for Sctp {
    fn step(&mut self, rng: &mut Rng) {
        self.age += 1;
        self.now += Duration::from_micros(rng.random_range(1..2000_u64));
        // Some of the real packets get through, some are lost.
        for (to, packet) in std::mem::take(&mut self.wire) {
            if rng.random_bool(0.9) {
                self.ends[to].association.handle_packet(packet, self.now);
            }
        }
        if rng.random_bool(0.3) {
            self.traffic(rng);
        }
        if let Some((to, packet)) = self.recent.pick(rng) {
            let other = self
                .recent
                .pick(rng)
                .map(|(_, other)| other)
                .unwrap_or_default();
            let mut bytes = packet.to_vec();
            // Mostly behind the header, which has to be right to get anywhere.
            let header = if rng.random_bool(0.95) { 12 } else { 0 };
            let mut rest = bytes.split_off(header.min(bytes.len()));
            mutate(&mut rest, &other, rng);
            bytes.extend(rest);
            if rng.random_bool(0.97) && bytes.len() >= 12 {
                seal(&mut bytes);
            }
            self.ends[to]
                .association
                .handle_packet(bytes.into(), self.now);
        }
        for end in &mut self.ends {
            end.association.handle_timeout(self.now);
        }
        self.drain(rng);
        let dead = |end: &End| end.association.close_reason().is_some();
        if self.ends.iter().any(dead) || self.age > 3000 {
            self.renew(rng);
        }
    }

    fn faults(&self) -> usize {
        self.faults
    }
}
