//! What the pairs of addresses tell of themselves.

use std::net::SocketAddr;
use std::time::Duration;

use super::tests::{Pair, addr, credentials};
use super::*;
use crate::candidate::Candidate;
use crate::config::IceConfig;
use crate::id::Path;

use IceRole::{Controlled, Controlling};

#[test]
fn answers_are_counted_where_they_leave() {
    let mut pair = Pair::new(Controlling, Controlled);
    pair.start(Controlling, Controlled);
    pair.trickle();
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
    let sum = |agent: &Agent, of: fn(&super::Pair) -> u64| agent.pairs().iter().map(of).sum();
    for (here, there) in [(&pair.a, &pair.b), (&pair.b, &pair.a)] {
        let sent: u64 = sum(here, |pair| pair.responses_sent);
        let came: u64 = sum(here, |pair| pair.requests_received);
        let arrived: u64 = sum(there, |pair| pair.responses_received);
        assert!(
            arrived > 0 && sent >= arrived,
            "{arrived} of {sent} arrived"
        );
        assert!(sent <= came, "{sent} answers to {came} checks");
    }
}

#[test]
fn a_pair_tells_what_became_of_it() {
    let mut pair = Pair::new(Controlling, Controlled);
    pair.start(Controlling, Controlled);
    pair.trickle();
    let nobody = Candidate::host(addr("10.0.0.77:7"), 1);
    pair.a
        .add_remote_candidate(&nobody, pair.now)
        .expect("a candidate");
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
    let path = pair.a.selected_path().expect("selected");
    let find = |agent: &Agent, path| {
        let found = agent.pairs().into_iter().find(|pair| pair.path == path);
        found.expect("a pair")
    };
    let marks = |pair: &super::Pair| {
        pair.timeline
            .iter()
            .map(|(_, mark)| *mark)
            .collect::<Vec<_>>()
    };
    let selected = find(&pair.a, path);
    assert!(selected.nominated && selected.round_trip.is_some());
    assert_eq!(marks(&selected)[..2], [Mark::Created, Mark::FirstCheck]);
    assert!(
        marks(&selected).ends_with(&[Mark::Selected]),
        "{selected:?}"
    );
    assert_eq!(find(&pair.b, path.reversed()).state, PairState::Succeeded);
    pair.cut = true;
    let failed = |pair: &Pair| pair.a.state() == State::Failed;
    assert!(pair.run(Duration::from_secs(60), failed));
    let lost = find(&pair.a, path);
    assert_eq!(lost.cause, Some(Cause::ConsentExpired));
    assert!(marks(&lost).contains(&Mark::Silent), "{lost:?}");
    let silent = find(&pair.a, Path::new(path.local, addr("10.0.0.77:7")));
    assert_eq!(silent.cause, Some(Cause::NoAnswer));
    assert_eq!(silent.state, PairState::Failed);
    // A restart forgets none of it, nor does another one before it has come to pairs.
    let before = pair.a.pairs();
    for seed in [7, 8] {
        let restarted = pair.a.restart(credentials(seed), pair.now);
        restarted.expect("a restart");
        assert_eq!(pair.a.former_pairs(), before);
        assert!(pair.a.pairs().is_empty());
    }
}

#[test]
fn a_pair_that_never_answers_has_a_cause_though_another_is_in_use() {
    let mut pair = Pair::new(Controlling, Controlled);
    pair.start(Controlling, Controlled);
    pair.trickle();
    let nobody = Candidate::host(addr("10.0.0.77:7"), 1);
    pair.a
        .add_remote_candidate(&nobody, pair.now)
        .expect("a candidate");
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
    let used = pair.a.selected_path().expect("selected");
    let of = |agent: &Agent, remote: SocketAddr| {
        let mut found = agent.pairs().into_iter();
        found
            .find(|pair| pair.path.remote == remote)
            .expect("a pair")
    };
    assert_eq!(of(&pair.a, addr("10.0.0.77:7")).cause, None, "too soon");
    // Looked at with each check.
    let patience = IceConfig::default().failed_after + Duration::from_secs(6);
    assert!(!pair.run(patience, |_| false));
    assert!(pair.connected());
    let silent = of(&pair.a, addr("10.0.0.77:7"));
    assert_eq!(silent.state, PairState::Failed);
    assert_eq!(silent.cause, Some(Cause::NoAnswer));
    assert_eq!(of(&pair.a, used.remote).cause, None);
}
