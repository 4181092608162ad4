//! What comes before anything can be done about it: checks before the description, candidates without pairs.

#![allow(
    clippy::disallowed_methods,
    clippy::cast_possible_truncation,
    reason = "a test has to begin at some instant; its numbers are small"
)]

use std::time::{Duration, Instant};

use super::tests::{LATENCY, Pair, addr, credentials};
use super::*;
use crate::config::IceConfig;
use crate::stun::TransactionId;
use crate::stun::message::{Builder, Class, Message, attribute, method};

use IceRole::{Controlled, Controlling};

/// A check of `b`'s that reaches `a` from this port.
fn check(pair: &mut Pair, port: u16, id: TransactionId) {
    let (a, b) = (pair.a.local_credentials(), pair.b.local_credentials());
    let packet = Builder::new(Class::Request, method::BINDING, id)
        .attribute(
            attribute::USERNAME,
            format!("{}:{}", a.ufrag, b.ufrag).as_bytes(),
        )
        .number(attribute::PRIORITY, 1)
        .attribute(attribute::ICE_CONTROLLING, &[1; 8])
        .finish_with_integrity(a.pwd.as_bytes());
    let from = std::net::SocketAddr::new(addr("10.0.0.2:0").ip(), port);
    let path = Path::new(addr("10.0.0.1:1000"), from);
    pair.a
        .handle_packet(path, &packet, pair.now)
        .expect("kept or answered");
}

/// Which checks `a` answers, from which ports.
fn answers(pair: &mut Pair) -> Vec<(u16, TransactionId)> {
    let mut answers = Vec::new();
    while let Some(transmit) = pair.a.poll_transmit() {
        let message = Message::parse(&transmit.contents).expect("STUN");
        if message.class == Class::Success {
            answers.push((transmit.path.remote.port(), message.transaction));
        }
    }
    answers.sort_unstable();
    answers
}

fn start(pair: &mut Pair) {
    let b = pair.b.local_credentials().clone();
    pair.a.start(b, Controlled, pair.now).expect("start");
    pair.now = pair.a.poll_timeout().map_or(pair.now, |due| due.at);
    pair.now += Duration::from_millis(1);
    pair.a.handle_timeout(pair.now);
}

#[test]
fn of_early_checks_those_of_the_latest_paths_are_answered() {
    let mut pair = Pair::new(Controlled, Controlling);
    let ports = 1..=MAX_EARLY_CHECKS as u16 + 5;
    for port in ports.clone() {
        check(&mut pair, port, [port as u8; 12]);
    }
    start(&mut pair);
    let kept = ports.skip(5).map(|port| (port, [port as u8; 12]));
    assert_eq!(answers(&mut pair), kept.collect::<Vec<_>>());
    assert_eq!(pair.a.stats().dropped, 5);
}

#[test]
fn of_early_checks_of_one_path_the_latest_is_answered() {
    let mut pair = Pair::new(Controlled, Controlling);
    check(&mut pair, 7, [7; 12]);
    for id in 100..200 {
        check(&mut pair, 9, [id; 12]);
    }
    start(&mut pair);
    assert_eq!(answers(&mut pair), [(7, [7; 12]), (9, [199; 12])]);
}

#[test]
fn candidates_without_pairs_hasten_no_rounds() {
    let now = Instant::now();
    let mut agent =
        Agent::new(IceConfig::default(), credentials(1), Controlling, now).expect("an agent");
    agent.add_host(addr("10.0.0.1:1000"), now).expect("host");
    agent
        .start(credentials(2), Controlling, now)
        .expect("start");
    agent.handle_timeout(now);
    for port in 1..=20 {
        let mut other = addr("[2001:db8::1]:1");
        other.set_port(port);
        let candidate = crate::candidate::Candidate::host(other, 1);
        agent.add_remote_candidate(&candidate, now).expect("taken");
        let round = agent.poll_timeout().expect("a round");
        assert!(round.at > now, "at once, for {port} candidates");
    }
    // One that has a pair does not wait.
    let candidate = crate::candidate::Candidate::host(addr("10.0.0.2:2000"), 1);
    agent.add_remote_candidate(&candidate, now).expect("taken");
    assert_eq!(agent.poll_timeout().map(|due| due.at), Some(now));
}

/// Of two agents, the controlling one was told nothing, and checks of the other's reach it over IPv4.
fn untold() -> Pair {
    let mut pair = Pair::new(Controlling, Controlled);
    pair.lose = Box::new(|_, transmit| transmit.path.local.is_ipv6());
    pair.start(Controlling, Controlled);
    pair.drain();
    let ours = pair.a.local_candidates().cloned().collect::<Vec<_>>();
    for candidate in ours {
        let taken = pair.b.add_remote_candidate(&candidate, pair.now);
        taken.expect("a candidate");
    }
    pair
}

fn selected(pair: &Pair) -> bool {
    pair.a.selected_path().is_some()
}

/// Whether `a` has answered a check.
fn answered(pair: &Pair) -> bool {
    let from_a = pair.wire.iter().filter(|(from_a, ..)| *from_a);
    let mut messages = from_a.filter_map(|(.., sent)| Message::parse(&sent.contents));
    messages.any(|message| message.class == Class::Success)
}

#[test]
fn a_relay_whose_check_comes_before_its_candidate_is_nominated_as_a_relay() {
    let mut pair = untold();
    let begun = pair.now;
    assert!(!pair.run(Duration::from_millis(30), selected));
    let other = addr("10.0.0.2:2000");
    let relayed = crate::candidate::Candidate::relayed(other, other, 1, "turn:192.0.2.1");
    let told = pair.a.add_remote_candidate(&relayed, pair.now);
    told.expect("a candidate");
    assert!(pair.run(Duration::from_secs(2), selected));
    assert!(pair.now - begun >= IceConfig::default().relay_patience);
}

#[test]
fn a_check_whose_candidate_is_told_waits_no_longer() {
    let mut pair = untold();
    assert!(!pair.run(Duration::from_millis(5), answered));
    let host = crate::candidate::Candidate::host(addr("10.0.0.2:2000"), 1);
    let told = pair.a.add_remote_candidate(&host, pair.now);
    told.expect("a candidate");
    assert!(pair.run(Duration::ZERO, answered));
}

#[test]
fn a_check_whose_candidate_is_never_told_is_taken() {
    let patience = IceConfig::default().reflexive_patience;
    let mut pair = untold();
    assert!(!pair.run(patience, selected));
    assert!(pair.run(patience, selected));

    let mut pair = untold();
    assert!(!pair.run(Duration::from_millis(5), answered));
    pair.a.end_of_remote_candidates();
    assert!(pair.run(Duration::ZERO, answered));
}

#[test]
fn the_first_candidate_is_checked_at_once() {
    let mut pair = Pair::new(Controlling, Controlled);
    pair.start(Controlling, Controlled);
    assert!(!pair.run(Duration::from_millis(1), |_| false));
    pair.trickle();
    let due = pair.a.poll_timeout().expect("a round");
    assert!(due.at <= pair.now);
    assert!(pair.run(5 * LATENCY, Pair::connected));
}

#[test]
fn a_check_that_overtakes_its_candidate_needs_no_patience() {
    let mut pair = Pair::new(Controlling, Controlled);
    pair.start(Controlling, Controlled);
    pair.drain();
    let (near, far): (Vec<_>, Vec<_>) =
        (pair.take_events().into_iter()).partition(|(from, _)| *from == 0);
    let tell = |agent: &mut Agent, told: Vec<(usize, Event)>, now| {
        for (_, event) in told {
            if let Event::LocalCandidate(candidate) = event {
                agent.add_remote_candidate(&candidate, now).expect("one");
            }
        }
    };
    tell(&mut pair.b, near, pair.now);
    assert!(!pair.run(Duration::from_millis(2), |_| false));
    tell(&mut pair.a, far, pair.now);
    assert!(pair.run(Duration::from_millis(5), Pair::connected));
}
