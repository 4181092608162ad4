#![allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::SeedableRng;

use super::stun::ROLE_CONFLICT;
use super::*;
use crate::candidate::Credentials;
use crate::config::IceConfig;
use crate::engine::Transmit;
use crate::id::{IceRole, Path};
use crate::stun::message::{Builder, Class, Message, attribute};

/// Whether a packet is lost: whether `a` sends it, and what it is.
pub(super) type Lose = Box<dyn FnMut(bool, &Transmit) -> bool>;

pub(super) struct Pair {
    pub(super) a: Agent,
    pub(super) b: Agent,
    pub(super) now: Instant,
    pub(super) wire: Vec<(bool, Instant, Transmit)>,
    pub(super) cut: bool,
    pub(super) lose: Lose,
    /// When who has sent a check.
    pub(super) checked: Vec<(bool, Instant)>,
    /// Nominations of `a` that `b` will answer without noticing what they are.
    unnoticed: usize,
    pub(super) events: [Vec<Event>; 2],
}

pub(super) fn addr(text: &str) -> SocketAddr {
    text.parse().expect("address")
}

pub(super) fn credentials(seed: u64) -> Credentials {
    Credentials::generate(&mut rand_chacha::ChaCha20Rng::seed_from_u64(seed))
}

fn nominates(packet: &[u8]) -> bool {
    let message = Message::parse(packet);
    message.is_some_and(|message| message.attribute(attribute::USE_CANDIDATE).is_some())
}

/// The same check as an ordinary one.
fn without_nomination(packet: &[u8], password: &str) -> Bytes {
    let message = Message::parse(packet).expect("STUN");
    let mut builder = Builder::new(message.class, message.method, message.transaction);
    for kind in [
        attribute::USERNAME,
        attribute::ICE_CONTROLLING,
        attribute::PRIORITY,
    ] {
        builder = builder.attribute(kind, message.attribute(kind).expect("attribute"));
    }
    builder.finish_with_integrity(password.as_bytes())
}

pub(super) const LATENCY: Duration = Duration::from_micros(300);

impl Pair {
    pub(super) fn new(role_a: IceRole, role_b: IceRole) -> Self {
        let now = Instant::now();
        let new = |seed, role| {
            Agent::new(IceConfig::default(), credentials(seed), role, now).expect("agent")
        };
        let (mut a, mut b) = (new(1, role_a), new(2, role_b));
        a.add_host(addr("10.0.0.1:1000"), now).expect("host");
        a.add_host(addr("[2001:db8::1]:1000"), now).expect("host");
        b.add_host(addr("10.0.0.2:2000"), now).expect("host");
        b.add_host(addr("[2001:db8::2]:2000"), now).expect("host");
        Self {
            a,
            b,
            now,
            wire: Vec::new(),
            cut: false,
            lose: Box::new(|_, _| false),
            checked: Vec::new(),
            unnoticed: 0,
            events: Default::default(),
        }
    }

    pub(super) fn start(&mut self, role_a: IceRole, role_b: IceRole) {
        let (a, b) = (
            self.a.local_credentials().clone(),
            self.b.local_credentials().clone(),
        );
        self.a.start(b, role_a, self.now).expect("start");
        self.b.start(a, role_b, self.now).expect("start");
    }

    pub(super) fn trickle(&mut self) {
        self.drain();
        for (from, event) in self.take_events() {
            let Event::LocalCandidate(candidate) = event else {
                continue;
            };
            let to = if from == 0 { &mut self.b } else { &mut self.a };
            to.add_remote_candidate(&candidate, self.now)
                .expect("candidate");
        }
    }

    pub(super) fn take_events(&mut self) -> Vec<(usize, Event)> {
        let mut all = Vec::new();
        for (index, events) in self.events.iter_mut().enumerate() {
            all.extend(events.drain(..).map(|event| (index, event)));
        }
        all
    }

    pub(super) fn drain(&mut self) {
        for (index, agent) in [&mut self.a, &mut self.b].into_iter().enumerate() {
            while let Some(event) = agent.poll_event() {
                self.events[index].push(event);
            }
            while let Some(mut transmit) = agent.poll_transmit() {
                if index == 0 && self.unnoticed > 0 && nominates(&transmit.contents) {
                    self.unnoticed -= 1;
                    let password = &agent.remote_credentials().expect("started").pwd;
                    transmit.contents = without_nomination(&transmit.contents, password);
                }
                let check = Message::parse(&transmit.contents);
                if check.is_some_and(|it| it.class == Class::Request) {
                    self.checked.push((index == 0, self.now));
                }
                if !self.cut && !(self.lose)(index == 0, &transmit) {
                    self.wire.push((index == 0, self.now + LATENCY, transmit));
                }
            }
        }
    }

    /// Runs until `done` or until `limit` has passed; returns whether it was done.
    pub(super) fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            let timers = [&self.a, &self.b].map(|agent| agent.poll_timeout().map(|d| d.at));
            let wire = self.wire.iter().map(|(_, at, _)| *at).min();
            let Some(at) = timers.into_iter().flatten().chain(wire).min() else {
                return false;
            };
            if at > end {
                self.now = end;
                return false;
            }
            self.now = self.now.max(at);
            self.deliver();
            self.a.handle_timeout(self.now);
            self.b.handle_timeout(self.now);
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.wire)
            .into_iter()
            .partition(|w| w.1 <= now);
        self.wire = later;
        for (from_a, _, transmit) in due {
            let to = if from_a { &mut self.b } else { &mut self.a };
            let path: Path = transmit.path.reversed();
            // Dropping is the agent's right; the tests look at the outcome.
            drop(to.handle_packet(path, &transmit.contents, now));
        }
    }

    pub(super) fn connected(&self) -> bool {
        [&self.a, &self.b]
            .iter()
            .all(|agent| agent.state() == State::Connected)
    }
}

use IceRole::{Controlled, Controlling};

#[test]
fn a_nomination_is_said_again_to_a_peer_that_has_missed_it() {
    for unnoticed in [1, 3, 5] {
        let mut pair = Pair::new(IceRole::Controlling, IceRole::Controlled);
        pair.unnoticed = unnoticed;
        pair.start(IceRole::Controlling, IceRole::Controlled);
        pair.trickle();
        let selected = |agent: &Agent| agent.selected_path().is_some();
        let both = |pair: &Pair| selected(&pair.a) && selected(&pair.b);
        assert!(pair.run(Duration::from_secs(2), both), "{unnoticed} missed");
    }
}

#[test]
fn connects_within_a_few_milliseconds_and_agrees_on_the_path() {
    let mut pair = Pair::new(Controlling, Controlled);
    pair.start(Controlling, Controlled);
    pair.trickle();
    let begun = pair.now;
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
    assert!(
        pair.now - begun < Duration::from_millis(20),
        "took {:?}",
        pair.now - begun
    );
    let path = pair.a.selected_path().expect("selected");
    assert_eq!(pair.b.selected_path(), Some(path.reversed()));
    assert!(pair.a.accepts(path));
    pair.a.end_of_local_candidates();
    pair.a.end_of_remote_candidates();
    assert_eq!(pair.a.state(), State::Completed);
}

#[test]
fn candidates_may_come_before_and_after_the_start() {
    let mut pair = Pair::new(Controlling, Controlled);
    pair.trickle();
    pair.start(Controlling, Controlled);
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
}

#[test]
fn a_role_conflict_is_repaired() {
    for role in [Controlling, Controlled] {
        let mut pair = Pair::new(role, role);
        pair.start(role, role);
        pair.trickle();
        assert!(
            pair.run(Duration::from_secs(5), Pair::connected),
            "{role:?}"
        );
        assert_ne!(pair.a.role(), pair.b.role());
    }
}

/// The peer keeps its role and says so, and never checks us: the error is all there is to go by.
#[test]
fn a_refused_role_is_given_up_once() {
    for role in [Controlling, Controlled] {
        let mut pair = Pair::new(role, role.other());
        pair.start(role, role.other());
        pair.trickle();
        let mut refused = 0;
        for wave in 0..3 {
            pair.now = pair.a.poll_timeout().map_or(pair.now, |due| due.at);
            pair.a.handle_timeout(pair.now);
            pair.drain();
            let password = pair.b.local_credentials().pwd.clone();
            // Everything of this wave was sent in the old role.
            for (from_a, _, transmit) in std::mem::take(&mut pair.wire) {
                let check = Message::parse(&transmit.contents).filter(|_| from_a);
                let Some(check) = check.filter(|check| check.class == Class::Request) else {
                    continue;
                };
                let wrong = Builder::new(Class::Error, check.method, check.transaction)
                    .error(ROLE_CONFLICT, "Role Conflict");
                let forged = wrong.finish_with_integrity(b"not the password of b");
                let error = Builder::new(Class::Error, check.method, check.transaction)
                    .error(ROLE_CONFLICT, "Role Conflict")
                    .finish_with_integrity(password.as_bytes());
                let before = pair.a.role();
                let path = transmit.path;
                assert!(pair.a.handle_packet(path, &forged, pair.now).is_err());
                assert_eq!(pair.a.role(), before);
                if wave == 0 {
                    pair.a.handle_packet(path, &error, pair.now).expect("error");
                    assert_eq!(pair.a.role(), role.other());
                    refused += 1;
                }
            }
        }
        assert!(refused > 1, "several checks were under way");
        let told = |event: &Event| matches!(event, Event::RoleChange(_));
        assert_eq!(pair.events[0].iter().filter(|it| told(it)).count(), 1);
    }
}

/// The peer answers the first checks and forgets them, as werift in a restart; later ones move it.
#[test]
fn answered_pairs_are_checked_until_one_is_nominated() {
    let mut pair = Pair::new(Controlled, Controlling);
    pair.start(Controlled, Controlling);
    pair.trickle();
    let password = pair.b.local_credentials().pwd.clone();
    let mut checks = 0;
    let end = pair.now + Duration::from_secs(3);
    while let Some(due) = pair.a.poll_timeout().filter(|due| due.at <= end) {
        pair.now = due.at;
        pair.a.handle_timeout(pair.now);
        pair.drain();
        for (from_a, _, transmit) in std::mem::take(&mut pair.wire) {
            let check = Message::parse(&transmit.contents).filter(|_| from_a);
            let Some(check) = check.filter(|check| check.class == Class::Request) else {
                continue;
            };
            checks += 1;
            let answer = Builder::new(Class::Success, check.method, check.transaction)
                .xor_address(attribute::XOR_MAPPED_ADDRESS, transmit.path.local)
                .finish_with_integrity(password.as_bytes());
            let path = transmit.path;
            pair.a
                .handle_packet(path, &answer, pair.now)
                .expect("answer");
        }
    }
    let pairs = pair.a.pairs().len();
    assert!(checks >= 4 * pairs, "{checks} checks of {pairs} pairs");
    assert!(checks <= 8 * pairs, "{checks} checks of {pairs} pairs");
}

/// Whoever takes the other role must not also send the peer into it.
#[test]
fn a_conflict_is_refused_by_one_side_only() {
    for role in [Controlling, Controlled] {
        let mut pair = Pair::new(role, role);
        pair.start(role, role);
        pair.trickle();
        assert!(pair.run(Duration::from_secs(5), Pair::connected));
        let told = |event: &&Event| matches!(event, Event::RoleChange(_));
        let changes = pair.events.iter().flatten().filter(told).count();
        assert_eq!(changes, 1, "{role:?}");
    }
}

#[test]
fn a_peer_that_only_checks_is_found_as_peer_reflexive() {
    let mut pair = Pair::new(Controlling, Controlled);
    pair.drain();
    let told: Vec<_> = pair.events[0].clone();
    pair.start(Controlling, Controlled);
    for event in told {
        let Event::LocalCandidate(candidate) = event else {
            continue;
        };
        pair.b
            .add_remote_candidate(&candidate, pair.now)
            .expect("candidate");
    }
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
}

#[test]
fn early_checks_are_answered_when_the_description_arrives() {
    let mut pair = Pair::new(Controlling, Controlled);
    pair.trickle();
    let a = pair.a.local_credentials().clone();
    pair.b.start(a, Controlled, pair.now).expect("start");
    assert!(!pair.run(Duration::from_millis(15), Pair::connected));
    let b = pair.b.local_credentials().clone();
    pair.a.start(b, Controlling, pair.now).expect("start");
    let begun = pair.now;
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
    assert!(
        pair.now - begun < Duration::from_millis(20),
        "took {:?}",
        pair.now - begun
    );
}

#[test]
fn silence_disconnects_and_then_consent_expires() {
    let mut pair = Pair::new(Controlling, Controlled);
    pair.start(Controlling, Controlled);
    pair.trickle();
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
    assert!(
        !pair.run(Duration::from_secs(60), |pair| !pair.connected()),
        "consent is kept alive"
    );
    let asked = |pair: &Pair, all: bool| -> u64 {
        let pairs = pair.a.pairs();
        let asked = pairs.iter().filter(|it| all || it.nominated);
        asked.map(|it| it.consent_requests_sent).sum()
    };
    assert_ne!(asked(&pair, true), 0);
    assert_eq!(asked(&pair, true), asked(&pair, false));
    let nominated = pair.a.pairs().into_iter().find(|it| it.nominated);
    let nominated = nominated.expect("a selected pair");
    assert!(nominated.consent_requests_sent < nominated.requests_sent);
    pair.cut = true;
    let cut_at = pair.now;
    let disconnected = |pair: &Pair| pair.a.state() == State::Disconnected;
    assert!(pair.run(Duration::from_secs(20), disconnected));
    assert!(pair.run(Duration::from_secs(60), |pair| pair.a.state()
        == State::Failed));
    assert!(
        pair.now - cut_at <= Duration::from_secs(32),
        "took {:?}",
        pair.now - cut_at
    );
    assert_eq!(pair.a.selected_path(), None);
}

#[test]
fn who_was_not_there_does_not_blame_the_peer() {
    let mut pair = Pair::new(Controlling, Controlled);
    pair.start(Controlling, Controlled);
    pair.trickle();
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
    assert!(!pair.run(Duration::from_secs(10), |pair| !pair.connected()));
    pair.take_events();
    for _ in 0..3 {
        pair.now += Duration::from_secs(12);
        assert!(!pair.run(Duration::from_secs(10), |pair| !pair.connected()));
    }
    assert_eq!(pair.take_events(), []);
    // Real silence is still noticed afterwards.
    pair.cut = true;
    let disconnected = |pair: &Pair| pair.a.state() == State::Disconnected;
    assert!(pair.run(Duration::from_secs(20), disconnected));
    // And consent does not outlive its time.
    pair.now += Duration::from_secs(40);
    pair.a.handle_timeout(pair.now);
    assert_eq!(pair.a.state(), State::Failed);
}

#[test]
fn a_restart_finds_a_path_again_and_keeps_the_old_one_meanwhile() {
    let mut pair = Pair::new(Controlling, Controlled);
    pair.start(Controlling, Controlled);
    pair.trickle();
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
    let old = pair.a.selected_path();
    pair.take_events();
    pair.a.restart(credentials(11), pair.now).expect("restart");
    pair.b.restart(credentials(12), pair.now).expect("restart");
    assert_eq!(pair.a.selected_path(), old);
    pair.start(Controlling, Controlled);
    pair.trickle();
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
}

#[test]
fn a_failed_agent_can_be_restarted() {
    let mut pair = Pair::new(Controlling, Controlled);
    pair.start(Controlling, Controlled);
    pair.trickle();
    pair.cut = true;
    let failed = |pair: &Pair| pair.a.state() == State::Failed && pair.b.state() == State::Failed;
    assert!(pair.run(Duration::from_secs(90), failed));
    pair.cut = false;
    pair.take_events();
    pair.a.restart(credentials(11), pair.now).expect("restart");
    pair.b.restart(credentials(12), pair.now).expect("restart");
    pair.start(Controlling, Controlled);
    pair.trickle();
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
}

#[test]
fn only_the_peers_own_packets_are_authentic() {
    let mut pair = Pair::new(IceRole::Controlling, IceRole::Controlled);
    pair.start(IceRole::Controlling, IceRole::Controlled);
    let remote = addr("10.0.0.2:2000");
    let (ufrag, now) = (pair.b.local_credentials().ufrag.clone(), pair.now);
    let candidate = crate::candidate::Candidate::host(remote, 1);
    pair.a.add_remote_candidate(&candidate, now).expect("added");
    let check = loop {
        if let Some(check) = pair.a.poll_transmit() {
            break check.contents;
        }
        pair.now = pair.a.poll_timeout().expect("checking").at.max(pair.now);
        pair.a.handle_timeout(pair.now);
    };
    assert_eq!(
        stun::username(&check).and_then(|n| n.split(':').next()),
        Some(ufrag.as_str())
    );
    assert!(pair.b.is_authentic(&check));
    assert!(!pair.a.is_authentic(&check));
    let mut damaged = check.to_vec();
    damaged[8] ^= 1;
    assert!(!pair.b.is_authentic(&damaged));
    assert!(!pair.b.is_authentic(&check[..check.len() - 4]));
}

#[test]
fn strangers_are_dropped_and_candidates_bounded() {
    let mut pair = Pair::new(Controlling, Controlled);
    pair.start(Controlling, Controlled);
    pair.trickle();
    pair.a.handle_timeout(pair.now);
    pair.drain();
    let check = pair
        .wire
        .iter()
        .find(|(from_a, ..)| *from_a)
        .expect("a check")
        .2
        .clone();
    let mut forged = check.contents.to_vec();
    forged[30] ^= 1;
    let path = check.path.reversed();
    let error = pair.b.handle_packet(path, &forged, pair.now);
    assert_eq!(error, Err(Error::Unauthenticated));
    assert_eq!(
        pair.b.handle_packet(path, b"not stun", pair.now),
        Err(Error::NotStun)
    );
    // The same authentic check from ever more addresses.
    let mut refused = 0;
    for port in 3000..3200 {
        let from = Path::new(path.local, SocketAddr::new(path.remote.ip(), port));
        let result = pair.b.handle_packet(from, &check.contents, pair.now);
        refused += usize::from(result == Err(Error::TooMany("remote candidates")));
    }
    assert!(refused >= 200 - MAX_REMOTE_CANDIDATES);
}

#[test]
fn names_have_to_be_resolved_first() {
    let mut pair = Pair::new(Controlling, Controlled);
    let mdns = "candidate:1 1 udp 1 x.local 5 typ host"
        .parse()
        .expect("candidate");
    assert_eq!(
        pair.a.add_remote_candidate(&mdns, pair.now),
        Err(Error::Unresolved)
    );
}

#[test]
fn dozens_of_addresses_at_both_ends_still_connect() {
    let now = Instant::now();
    let mut pair = Pair::new(Controlling, Controlled);
    for (agent, net) in [(&mut pair.a, 1), (&mut pair.b, 2)] {
        let mut refused = 0;
        for host in 10..40 {
            let addr = SocketAddr::from(([10, net, 0, host], 1000));
            refused += usize::from(agent.add_host(addr, now).is_err());
        }
        assert_eq!(refused, 30 + 1 - MAX_HOSTS_PER_FAMILY);
    }
    pair.start(Controlling, Controlled);
    pair.trickle();
    assert!(pair.run(Duration::from_secs(2), Pair::connected));
    assert!(pair.a.pairs().len() <= MAX_PAIRS);
}

#[test]
fn a_reflexive_candidate_is_told_and_checked_from_its_base_only() {
    let now = Instant::now();
    let mut pair = Pair::new(Controlling, Controlled);
    pair.drain();
    pair.take_events();
    let (base, mapped) = (addr("10.0.0.1:1000"), addr("203.0.113.1:6000"));
    let add = |pair: &mut Pair, mapped, base| pair.a.add_reflexive(mapped, base, "stun:x", now);
    add(&mut pair, mapped, base).expect("our base");
    add(&mut pair, mapped, base).expect("a repetition is no error");
    add(&mut pair, base, base).expect("no translation on the way");
    let elsewhere = addr("10.9.9.9:1");
    assert_eq!(add(&mut pair, mapped, elsewhere), Err(Error::UnknownLocal));
    pair.drain();
    let told: Vec<String> = pair
        .take_events()
        .into_iter()
        .filter_map(|(_, event)| {
            let Event::LocalCandidate(candidate) = event else {
                return None;
            };
            Some(candidate.to_string())
        })
        .collect();
    let [told] = &told[..] else {
        panic!("{told:?}");
    };
    assert!(
        told.contains("203.0.113.1 6000 typ srflx raddr 10.0.0.1 rport 1000"),
        "{told}"
    );
    pair.start(Controlling, Controlled);
    pair.trickle();
    pair.a.handle_timeout(pair.now);
    pair.drain();
    assert!(
        pair.wire
            .iter()
            .all(|(_, _, check)| check.path.local != mapped)
    );
}

#[test]
fn a_relayed_candidate_is_checked_and_comes_last() {
    let mut pair = Pair::new(Controlling, Controlled);
    let relayed = addr("198.51.100.7:50000");
    let mapped = addr("203.0.113.1:6000");
    pair.a
        .add_relayed(relayed, mapped, "turn:x", pair.now)
        .expect("relayed");
    pair.start(Controlling, Controlled);
    pair.trickle();
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
    let pairs = pair.a.pairs();
    let last = pairs
        .iter()
        .rfind(|pair| pair.path.local.is_ipv4())
        .expect("pairs");
    assert_eq!(last.path.local, relayed);
    assert!(last.requests_sent > 0);
    assert_ne!(pair.a.selected_path().expect("selected").local, relayed);
}
