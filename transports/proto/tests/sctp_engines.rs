//! Both SCTP engines against each other and themselves, in both roles, over the same seeded links
//! that lose, reorder and duplicate: what the applications see must not depend on the engine.

#![allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]

#[path = "support/link.rs"]
#[allow(dead_code, reason = "a part of it is used")]
#[allow(unreachable_pub, reason = "included by several tests")]
mod link;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use peerloom_transports_proto::channel::{ChannelInit, Channels, Event, Message, Reliability};
use peerloom_transports_proto::config::{ChannelConfig, SctpConfig, SctpEngine};
use peerloom_transports_proto::id::{ChannelId, DtlsRole};
use peerloom_transports_proto::sctp::Association;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use link::{Conditions, Link};

const ENGINES: [SctpEngine; 2] = [SctpEngine::Packaged, SctpEngine::Native];

struct End {
    association: Association,
    channels: Channels,
    /// Labels of the channels that are open, and what arrived on them.
    labels: BTreeMap<ChannelId, String>,
    got: BTreeMap<String, Vec<Message>>,
    closed: BTreeSet<String>,
    /// What is still to be sent.
    outbox: Vec<(ChannelId, Message)>,
}

struct Pair {
    ends: [End; 2],
    links: [Link<Bytes>; 2],
    now: Instant,
}

impl Pair {
    fn new(engines: [SctpEngine; 2], seed: u64, conditions: Conditions) -> Self {
        let now = Instant::now();
        let end = |role, engine| {
            let config = ChannelConfig {
                remote_max_message_size: Some(256 * 1024),
                ..ChannelConfig::default()
            };
            let mut channels = Channels::new(config);
            channels.start(role);
            let config = SctpConfig {
                engine,
                ..SctpConfig::default()
            };
            End {
                association: Association::new(config, role, now).expect("association"),
                channels,
                labels: BTreeMap::new(),
                got: BTreeMap::new(),
                closed: BTreeSet::new(),
                outbox: Vec::new(),
            }
        };
        Self {
            ends: [
                end(DtlsRole::Client, engines[0]),
                end(DtlsRole::Server, engines[1]),
            ],
            links: [0, 1].map(|n| Link::new(seed * 2 + n, conditions)),
            now,
        }
    }

    fn drain(&mut self) {
        let now = self.now;
        for (end, link) in self.ends.iter_mut().zip(&mut self.links) {
            for (id, message) in std::mem::take(&mut end.outbox) {
                if end.channels.send(id, message.clone()).is_err() {
                    end.outbox.push((id, message));
                }
            }
            end.channels.pump(&mut end.association, now);
            while let Some(event) = end.channels.poll_event() {
                end.take(event);
            }
            end.channels.pump(&mut end.association, now);
            while let Some(packet) = end.association.poll_transmit(now) {
                assert!(packet.len() <= peerloom_transports_proto::sctp::LONGEST_PACKET);
                link.send(packet, now);
            }
        }
    }

    fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        let mut spinning = (self.now, 0);
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            let sctp = self.ends.iter().filter_map(|end| {
                let channels = end.channels.poll_timeout().map(|d| d.at);
                let sctp = end.association.poll_timeout().map(|d| d.at);
                [channels, sctp].into_iter().flatten().min()
            });
            let links = self.links.iter().filter_map(Link::next_at);
            let Some(at) = sctp.chain(links).min().filter(|at| *at <= end) else {
                self.now = end;
                return false;
            };
            self.now = self.now.max(at);
            spinning = if spinning.0 == self.now {
                (self.now, spinning.1 + 1)
            } else {
                (self.now, 0)
            };
            assert!(
                spinning.1 < 2000,
                "a timer asks to be run at once, without end"
            );
            for index in 0..2 {
                while let Some(packet) = self.links[index].receive(self.now) {
                    self.ends[1 - index]
                        .association
                        .handle_packet(packet, self.now);
                }
            }
            for end in &mut self.ends {
                end.association.handle_timeout(self.now);
            }
        }
    }

    fn open(
        &mut self,
        end: usize,
        label: &str,
        ordered: bool,
        reliability: Reliability,
    ) -> ChannelId {
        let init = ChannelInit {
            label: label.to_owned(),
            ordered,
            reliability,
            ..ChannelInit::default()
        };
        let id = self.ends[end].channels.open(init).expect("opened");
        self.ends[end].labels.insert(id, label.to_owned());
        id
    }

    fn all_sent(&self) -> bool {
        self.ends.iter().all(|end| {
            let channels = end.labels.keys();
            let empty = |id: &ChannelId| end.channels.buffered_amount(*id) == 0;
            end.outbox.is_empty() && channels.into_iter().all(empty)
        })
    }
}

impl End {
    fn take(&mut self, event: Event) {
        match event {
            Event::Accepted(id) => {
                let label = self.channels.init(id).expect("known").label.clone();
                self.labels.insert(id, label);
            }
            Event::Messages { channel, messages } => {
                let cost = messages.iter().map(Message::cost).sum();
                self.channels.grant(channel, cost);
                let label = self.labels[&channel].clone();
                self.got.entry(label).or_default().extend(messages);
            }
            Event::Closed { channel, cause } => {
                assert_eq!(cause, None, "channel closed");
                self.closed.extend(self.labels.remove(&channel));
            }
            Event::AssociationClosed(reason) => panic!("association closed: {reason}"),
            Event::Opened(_)
            | Event::BufferedAmountLow(_)
            | Event::Writable(_)
            | Event::Closing(_) => {}
        }
    }
}

/// Message `n` of a channel: its number, and bytes that follow from it.
fn message(n: u32, len: usize) -> Message {
    let mut data: Vec<u8> = (0..len).map(|i| (i % 251) as u8 ^ n as u8).collect();
    data.extend(n.to_be_bytes());
    Message::Binary(data.into())
}

fn number(message: &Message) -> u32 {
    let Message::Binary(data) = message else {
        panic!("text");
    };
    let (rest, number) = data.split_at(data.len() - 4);
    let n = u32::from_be_bytes(number.try_into().expect("four bytes"));
    let expected = self::message(n, rest.len());
    assert_eq!(*message, expected, "message {n} has changed");
    n
}

fn length(rng: &mut ChaCha8Rng) -> usize {
    match rng.random_range(0..20_u8) {
        0 => rng.random_range(60_000..262_000_usize),
        1..=4 => rng.random_range(1100..20_000_usize),
        _ => rng.random_range(0..1200_usize),
    }
}

const KINDS: [(bool, Reliability); 8] = [
    (true, Reliability::Reliable),
    (false, Reliability::Reliable),
    (true, Reliability::MaxRetransmits(0)),
    (false, Reliability::MaxRetransmits(0)),
    (true, Reliability::MaxRetransmits(2)),
    (false, Reliability::MaxRetransmits(2)),
    (true, Reliability::MaxLifetime(150)),
    (false, Reliability::MaxLifetime(150)),
];

const PER_CHANNEL: u32 = 30;

/// All kinds of channels in both directions at once.
fn traffic(engines: [SctpEngine; 2], seed: u64, conditions: Conditions) {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut pair = Pair::new(engines, seed, conditions);
    let mut ids = Vec::new();
    for (n, (ordered, reliability)) in KINDS.into_iter().enumerate() {
        let label = format!("{n}");
        ids.push((n % 2, pair.open(n % 2, &label, ordered, reliability)));
    }
    let up = |pair: &Pair| pair.ends.iter().all(|end| end.labels.len() == KINDS.len());
    assert!(
        pair.run(Duration::from_secs(60), up),
        "{engines:?} {seed}: not open"
    );
    for n in 0..PER_CHANNEL {
        for (end, id) in &ids {
            let next = message(n, length(&mut rng));
            pair.ends[*end].outbox.push((*id, next));
        }
        pair.run(Duration::from_millis(rng.random_range(0..40_u64)), |_| {
            false
        });
    }
    let sent = pair.run(Duration::from_secs(240), Pair::all_sent);
    assert!(sent, "{engines:?} {seed}: stalled");
    pair.run(Duration::from_secs(3), |_| false);
    for (n, (ordered, reliability)) in KINDS.into_iter().enumerate() {
        let got = pair.ends[1 - n % 2].got.get(&format!("{n}"));
        let got: Vec<u32> = got.into_iter().flatten().map(number).collect();
        let what = format!("{engines:?} {seed}: channel {n}: {got:?}");
        let mut sorted = got.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(sorted.len(), got.len(), "{what}: something came twice");
        assert!(!ordered || sorted == got, "{what}: out of order");
        if reliability == Reliability::Reliable {
            let all: Vec<u32> = (0..PER_CHANNEL).collect();
            assert_eq!(sorted, all, "{what}: something is missing");
        } else {
            // The packaged engine is slow enough for most of them to expire.
            assert!(!got.is_empty(), "{what}: nothing arrived");
        }
    }
}

#[test]
fn what_arrives_does_not_depend_on_the_engines() {
    for seed in 1..4 {
        for ours in ENGINES {
            for theirs in ENGINES {
                traffic([ours, theirs], seed, Conditions::ROUGH);
            }
        }
    }
}

#[test]
fn a_clean_link_loses_nothing_even_of_unreliable_channels() {
    for ours in ENGINES {
        for theirs in ENGINES {
            traffic([ours, theirs], 9, Conditions::CLEAN);
        }
    }
}

/// Channels that come and go, by either end, so that ids are used again.
fn churn(engines: [SctpEngine; 2], seed: u64) {
    let conditions = Conditions {
        loss: 30,
        ..Conditions::ROUGH
    };
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut pair = Pair::new(engines, seed, conditions);
    for round in 0..12_u32 {
        let opener = rng.random_range(0..2_usize);
        let closer = rng.random_range(0..2_usize);
        let label = format!("round {round}");
        let id = pair.open(opener, &label, true, Reliability::Reliable);
        let len = length(&mut rng);
        pair.ends[opener].outbox.push((id, message(round, len)));
        let what = format!("{engines:?} {seed} round {round}");
        let there = |pair: &Pair| pair.ends[1 - opener].got.contains_key(&label);
        assert!(
            pair.run(Duration::from_secs(90), there),
            "{what}: nothing came"
        );
        assert_eq!(
            number(&pair.ends[1 - opener].got[&label][0]),
            round,
            "{what}"
        );
        let at = &mut pair.ends[closer];
        let known = at.labels.iter().find(|(_, known)| **known == label);
        let id = *known.expect("open").0;
        at.channels.close(id);
        let gone = |pair: &Pair| pair.ends.iter().all(|end| end.closed.contains(&label));
        assert!(
            pair.run(Duration::from_secs(90), gone),
            "{what}: not closed"
        );
    }
}

#[test]
fn channels_come_and_go_whatever_the_engines() {
    for seed in 1..5 {
        for ours in ENGINES {
            for theirs in ENGINES {
                churn([ours, theirs], seed);
            }
        }
    }
}
