//! Two whole stacks with traffic; mutated datagrams of the wire, before and after the handshake.

use std::time::Duration;

use peerloom_transports_proto::channel::{self, ChannelInit, Message};
use peerloom_transports_proto::id::Path;
use peerloom_transports_proto::stack::{Event, StackConfig};
use peerloom_transports_proto::{dtls, sctp};
use rand::RngExt;

use super::{Recent, Rng, Target, mutate};
use crate::support::link::Conditions;
use crate::support::pair::Pair;

pub(super) struct Stacks {
    pair: Pair,
    recent: Recent<(usize, Path, Vec<u8>)>,
    faults: usize,
    age: usize,
}

fn pair(rng: &mut Rng) -> Pair {
    let mut pair = Pair::new(&StackConfig::default(), rng.random(), Conditions::CLEAN);
    pair.capture = Some(Vec::new());
    pair.start(rng.random_range(0..2_usize));
    for stack in &mut pair.stacks {
        stack.open(ChannelInit::default(), pair.now).expect("open");
    }
    pair
}

impl Stacks {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Self {
            pair: pair(rng),
            recent: Recent::default(),
            faults: 0,
            age: 0,
        }
    }

    fn fault(event: &Event) -> bool {
        matches!(
            event,
            Event::Dtls(dtls::Event::Failed(dtls::Error::Fault(_)))
                | Event::Channel(channel::Event::AssociationClosed(sctp::CloseReason::Fault(
                    _
                )))
        )
    }

    fn note(&mut self) {
        for (index, path, packet) in self.pair.capture.iter_mut().flat_map(std::mem::take) {
            self.recent.push((1 - index, path.reversed(), packet));
        }
        for events in &mut self.pair.events {
            self.faults += events.iter().filter(|event| Self::fault(event)).count();
            events.clear();
        }
    }

    fn traffic(&mut self) {
        for stack in &mut self.pair.stacks {
            let id = stack.channels().ids().next();
            if let Some(id) = id {
                drop(stack.send(id, Message::Binary(vec![1; 2000].into()), self.pair.now));
            }
        }
    }
}

impl Target for Stacks {
    fn step(&mut self, rng: &mut Rng) {
        self.age += 1;
        self.pair.run(Duration::from_micros(700), |_| false);
        self.note();
        if rng.random_bool(0.3) {
            self.traffic();
        }
        if let Some((to, path, mut packet)) = self.recent.pick(rng) {
            let other = self
                .recent
                .pick(rng)
                .map(|(.., other)| other)
                .unwrap_or_default();
            mutate(&mut packet, &other, rng);
            self.pair.stacks[to].handle_packet(path, &packet, self.pair.now);
        }
        self.pair.drain();
        self.note();
        let failed = self.pair.stacks.iter().any(|stack| {
            stack
                .dtls()
                .is_some_and(|dtls| dtls.state() == dtls::State::Failed)
                || stack
                    .sctp()
                    .is_some_and(|sctp| sctp.close_reason().is_some())
        });
        if failed || self.age > 600 {
            self.pair = pair(rng);
            self.recent.clear();
            self.age = 0;
        }
    }

    fn faults(&self) -> usize {
        self.faults
    }
}
