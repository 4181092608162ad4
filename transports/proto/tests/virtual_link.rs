//! The whole stack against itself on a virtual clock, over a seeded link that loses, reorders and
//! duplicates.

mod support;

use std::time::Duration;

use peerloom_transports_proto::certificate::Certificate;
use peerloom_transports_proto::channel::{ChannelInit, Message, Reliability};
use peerloom_transports_proto::config::{DtlsConfig, DtlsVersions};
use peerloom_transports_proto::id::{DtlsRole, IceRole, StreamId};
use peerloom_transports_proto::stack::{Event, StackConfig};
use peerloom_transports_proto::{dtls, ice, sctp};

use support::link::{Conditions, Fate};
use support::pair::{Pair, certificate, credentials, remote_of};

fn labelled(label: &str) -> ChannelInit {
    ChannelInit {
        label: label.into(),
        ..ChannelInit::default()
    }
}

fn numbered(count: u32, size: usize) -> Vec<Message> {
    let message = |i: u32| {
        let mut data = vec![0; size];
        data[..4].copy_from_slice(&i.to_be_bytes());
        Message::Binary(data.into())
    };
    (0..count).map(message).collect()
}

/// What must come out the same with the same seed.
#[derive(Debug, PartialEq)]
struct Outcome {
    ordered: Vec<Message>,
    unordered: usize,
    closed: bool,
    fates: [Vec<Fate>; 2],
}

fn config(versions: DtlsVersions) -> StackConfig {
    let dtls = DtlsConfig {
        versions,
        ..DtlsConfig::default()
    };
    StackConfig {
        dtls,
        ..StackConfig::default()
    }
}

fn scenario(seed: u64, versions: DtlsVersions) -> Outcome {
    let client = usize::from(seed.is_multiple_of(2));
    let mut pair = Pair::new(&config(versions), seed, Conditions::ROUGH);
    pair.start(client);
    pair.connect();
    let (ordered, ordered_there) = pair.open(0, labelled("ordered"));
    let unordered = ChannelInit {
        ordered: false,
        ..labelled("unordered")
    };
    let (unordered, unordered_there) = pair.open(1, unordered);
    for message in numbered(300, 2000) {
        pair.stacks[0]
            .send(ordered, message.clone(), pair.now)
            .expect("send");
        pair.stacks[1]
            .send(unordered, message, pair.now)
            .expect("send");
        pair.run(Duration::from_millis(2), |_| false);
    }
    let all = |pair: &Pair| {
        pair.messages(1, ordered_there).len() == 300
            && pair.messages(0, unordered_there).len() == 300
    };
    assert!(pair.run(Duration::from_secs(120), all), "seed {seed}");
    pair.stacks[0].close_channel(ordered, pair.now);
    let gone = |pair: &Pair| pair.closed(0, ordered) && pair.closed(1, ordered_there);
    let closed = pair.run(Duration::from_secs(60), gone);
    Outcome {
        ordered: pair.messages(1, ordered_there),
        unordered: pair.messages(0, unordered_there).len(),
        closed,
        fates: pair.links.map(|link| link.fates),
    }
}

#[test]
fn the_same_seed_gives_the_same_link_and_the_same_outcome() {
    // Each version with the client on either end.
    for (seed, versions) in [
        (1, DtlsVersions::Auto),
        (2, DtlsVersions::Auto),
        (3, DtlsVersions::Only12),
        (4, DtlsVersions::Only12),
    ] {
        let (first, second) = (scenario(seed, versions), scenario(seed, versions));
        assert_eq!(
            first.ordered,
            numbered(300, 2000),
            "seed {seed}: in order, once, unchanged"
        );
        assert!(first.closed, "seed {seed}");
        assert_eq!(first.ordered, second.ordered, "seed {seed}");
        assert_eq!(
            (first.unordered, first.closed),
            (second.unordered, second.closed)
        );
        for (a, b) in first.fates.iter().zip(&second.fates) {
            // The engines draw from the operating system, so that the number of packets differs;
            // what becomes of the n-th does not.
            let common = a.len().min(b.len());
            assert!(common > 300 && a[..common] == b[..common], "seed {seed}");
        }
    }
}

#[test]
fn setup_takes_a_few_round_trips() {
    for versions in [DtlsVersions::Auto, DtlsVersions::Only12] {
        for client in [0, 1] {
            let mut pair = Pair::new(&config(versions), 1, Conditions::CLEAN);
            pair.start(client);
            let ours = pair.stacks[0]
                .open(labelled("first"), pair.now)
                .expect("open");
            let opened = |pair: &Pair| !pair.accepted(1).is_empty();
            assert!(pair.run(Duration::from_secs(5), opened));
            let took = pair.now - pair.begun;
            assert!(
                took < Duration::from_millis(40),
                "{versions:?} {client}: {took:?} at 2 ms"
            );
            assert!(pair.stacks[0].channels().init(ours).is_some());
        }
    }
}

#[test]
fn every_kind_of_channel_survives_a_rough_link() {
    every_kind_survives(DtlsVersions::Auto);
}

#[test]
fn every_kind_of_channel_survives_a_rough_link_under_dtls_1_2() {
    every_kind_survives(DtlsVersions::Only12);
}

fn every_kind_survives(versions: DtlsVersions) {
    let mut pair = Pair::new(&config(versions), 77, Conditions::ROUGH);
    pair.start(0);
    pair.connect();
    let kinds = [
        (true, Reliability::MaxRetransmits(3)),
        (false, Reliability::MaxRetransmits(0)),
        (true, Reliability::MaxLifetime(200)),
        (false, Reliability::MaxLifetime(50)),
    ];
    for (ordered, reliability) in kinds {
        let init = ChannelInit {
            ordered,
            reliability,
            ..labelled("partial")
        };
        let (ours, theirs) = pair.open(0, init);
        for message in numbered(200, 500) {
            pair.stacks[0].send(ours, message, pair.now).expect("send");
            pair.run(Duration::from_millis(5), |_| false);
        }
        let idle = |pair: &Pair| pair.stacks[0].channels().buffered_amount(ours) == 0;
        assert!(
            pair.run(Duration::from_secs(60), idle),
            "{ordered} {reliability:?}"
        );
        pair.run(Duration::from_secs(2), |_| false);
        let got = pair.messages(1, theirs);
        let mut numbers: Vec<u32> = got
            .iter()
            .map(|message| {
                let Message::Binary(data) = message else {
                    panic!("text from nowhere")
                };
                u32::from_be_bytes(data[..4].try_into().expect("four bytes"))
            })
            .collect();
        assert!(
            got.len() > 120,
            "{ordered} {reliability:?}: {} of 200",
            got.len()
        );
        assert!(
            !ordered || numbers.is_sorted(),
            "{reliability:?} out of order"
        );
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(
            numbers.len(),
            got.len(),
            "{ordered} {reliability:?}: doubled"
        );
    }
}

#[test]
fn a_wrong_fingerprint_lets_ice_connect_and_nothing_else() {
    for client in [0, 1] {
        let mut pair = Pair::new(&StackConfig::default(), 5, Conditions::CLEAN);
        let role = |index| {
            if index == client {
                DtlsRole::Client
            } else {
                DtlsRole::Server
            }
        };
        let mut a = remote_of(&pair.stacks[1], IceRole::Controlling, role(0));
        let b = remote_of(&pair.stacks[0], IceRole::Controlled, role(1));
        let other: Certificate = certificate();
        a.fingerprints = vec![other.fingerprint().clone()];
        pair.start_with(a, b);
        pair.stacks[1]
            .open(labelled("never"), pair.now)
            .expect("open");
        pair.run(Duration::from_secs(10), |_| false);
        assert!(matches!(
            pair.stacks[0].ice().state(),
            ice::State::Connected | ice::State::Completed
        ));
        let failed = Event::Dtls(dtls::Event::Failed(dtls::Error::FingerprintMismatch));
        assert!(pair.events[0].contains(&failed), "client {client}");
        assert!(pair.stacks[0].sctp().is_none() && pair.accepted(0).is_empty());
    }
}

#[test]
fn an_ice_restart_in_the_middle_of_a_transfer_loses_nothing() {
    let mut pair = Pair::new(&StackConfig::default(), 9, Conditions::ROUGH);
    pair.start(0);
    pair.connect();
    let (ours, theirs) = pair.open(0, labelled("through"));
    for (index, message) in numbered(200, 3000).into_iter().enumerate() {
        pair.stacks[0].send(ours, message, pair.now).expect("send");
        if index == 100 {
            pair.events.iter_mut().for_each(|events| {
                events.retain(|event| !matches!(event, Event::Ice(_)));
            });
            for (n, stack) in pair.stacks.iter_mut().enumerate() {
                let fresh = credentials(1000 + u64::try_from(n).expect("two"));
                stack.restart(fresh, pair.now).expect("restart");
            }
            pair.start(0);
        }
        pair.run(Duration::from_millis(3), |_| false);
    }
    let all = |pair: &Pair| pair.messages(1, theirs).len() == 200;
    assert!(pair.run(Duration::from_secs(60), all));
    assert_eq!(pair.messages(1, theirs), numbered(200, 3000));
}

#[test]
fn an_outage_shorter_than_consent_is_survived() {
    let mut pair = Pair::new(&StackConfig::default(), 11, Conditions::CLEAN);
    pair.start(1);
    pair.connect();
    let (ours, theirs) = pair.open(0, labelled("patient"));
    pair.links.iter_mut().for_each(|link| link.cut = true);
    pair.stacks[0]
        .send(ours, Message::Text("late".into()), pair.now)
        .expect("send");
    pair.run(Duration::from_secs(20), |_| false);
    assert_eq!(pair.stacks[0].ice().state(), ice::State::Disconnected);
    pair.links.iter_mut().for_each(|link| link.cut = false);
    let got = |pair: &Pair| pair.messages(1, theirs) == [Message::Text("late".into())];
    assert!(pair.run(Duration::from_secs(30), got));
    pair.links.iter_mut().for_each(|link| link.cut = true);
    let failed = |pair: &Pair| pair.stacks[0].ice().state() == ice::State::Failed;
    assert!(pair.run(Duration::from_secs(60), failed), "consent expires");
}

#[test]
fn long_messages_and_ids_beyond_and_close() {
    let mut pair = Pair::new(&StackConfig::default(), 13, Conditions::CLEAN);
    pair.start(0);
    pair.connect();
    let (ours, theirs) = pair.open(1, labelled("long"));
    let long = Message::Binary(vec![9; 2_000_000].into());
    pair.stacks[1]
        .send(ours, long.clone(), pair.now)
        .expect("send");
    assert!(pair.run(
        Duration::from_secs(30),
        |pair| pair.messages(0, theirs).len() == 1
    ));
    assert!(pair.messages(0, theirs) == [long]);
    let init = ChannelInit {
        negotiated: Some(StreamId(1001)),
        ..labelled("agreed")
    };
    let a = pair.stacks[0].open(init.clone(), pair.now).expect("open");
    let b = pair.stacks[1].open(init, pair.now).expect("open");
    pair.stacks[0]
        .send(a, Message::Text("hi".into()), pair.now)
        .expect("send");
    assert!(
        pair.run(Duration::from_secs(5), |pair| pair.messages(1, b).len()
            == 1)
    );
    pair.stacks[0].close(pair.now);
    let closed = |pair: &Pair| {
        pair.stacks[1]
            .sctp()
            .and_then(sctp::Association::close_reason)
            .is_some()
    };
    assert!(pair.run(Duration::from_secs(5), closed));
    assert!(pair.closed(1, b) && pair.closed(1, ours));
}

#[test]
fn keys_change_under_load_without_losing_anything() {
    for conditions in [Conditions::CLEAN, Conditions::ROUGH] {
        let dtls = DtlsConfig {
            records_per_key: 100,
            ..DtlsConfig::default()
        };
        let config = StackConfig {
            dtls,
            ..StackConfig::default()
        };
        let mut pair = Pair::new(&config, 21, conditions);
        pair.start(0);
        pair.connect();
        let (ours, theirs) = pair.open(0, labelled("rekeyed"));
        for message in numbered(200, 5000) {
            pair.stacks[0].send(ours, message, pair.now).expect("send");
            pair.run(Duration::from_millis(4), |_| false);
        }
        let all = |pair: &Pair| pair.messages(1, theirs).len() == 200;
        assert!(pair.run(Duration::from_secs(120), all), "{conditions:?}");
        assert_eq!(pair.messages(1, theirs), numbered(200, 5000));
    }
}
