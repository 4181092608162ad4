#![allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]

//! Two agents over TCP: connections are pretended, everything else is real.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::SeedableRng;

use super::*;
use crate::candidate::{ACTIVE_PORT, Candidate, Credentials, Protocol, TcpType};
use crate::config::IceConfig;
use crate::engine::Transmit;
use crate::framing::{first_check, write_frame};
use crate::stun::message::{Class, Message, attribute};
use IceRole::{Controlled, Controlling};

const LATENCY: Duration = Duration::from_millis(1);
const LISTENER: &str = "10.0.0.2:2000";

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("address")
}

fn credentials(seed: u64) -> Credentials {
    Credentials::generate(&mut rand_chacha::ChaCha20Rng::seed_from_u64(seed))
}

/// A connection between the two: seen from the one who opened it, and from the other.
#[derive(Clone, Copy)]
struct Wire {
    here: Path,
    there: Path,
    begun: bool,
}

struct Pair {
    /// Opens connections; the other one accepts.
    agents: [Agent; 2],
    now: Instant,
    wires: Vec<Wire>,
    next_port: u16,
    refuse: bool,
    udp: bool,
    in_flight: Vec<(usize, Instant, Transmit)>,
    events: [Vec<Event>; 2],
}

impl Pair {
    /// `udp`: both have an address on UDP as well, the accepting one with its listener's port.
    fn new(role: IceRole, udp: bool) -> Self {
        let now = Instant::now();
        let roles = [role, other(role)];
        let mut agents = [0, 1].map(|end: usize| {
            let own = credentials(end as u64);
            Agent::new(IceConfig::default(), own, roles[end], now).expect("agent")
        });
        agents[0]
            .add_host(addr("10.0.0.1:1000"), now)
            .expect("host");
        agents[1].add_host(addr(LISTENER), now).expect("host");
        let active = addr("10.0.0.1:0").ip();
        agents[0].add_tcp_active(active, now).expect("active");
        agents[1]
            .add_tcp_passive(addr(LISTENER), now)
            .expect("passive");
        let mut pair = Self {
            agents,
            now,
            wires: Vec::new(),
            next_port: 40_000,
            refuse: false,
            udp,
            in_flight: Vec::new(),
            events: Default::default(),
        };
        pair.drain();
        let told: [Vec<Candidate>; 2] = pair.events.each_ref().map(|events| candidates(events));
        pair.start(roles);
        for (end, told) in told.iter().enumerate() {
            for candidate in told {
                let to = &mut pair.agents[1 - end];
                to.add_remote_candidate(candidate, now).expect("candidate");
            }
        }
        pair
    }

    fn start(&mut self, roles: [IceRole; 2]) {
        let all = [0, 1].map(|end: usize| self.agents[end].local_credentials().clone());
        for end in [0, 1] {
            let remote = all[1 - end].clone();
            self.agents[end]
                .start(remote, roles[end], self.now)
                .expect("start");
        }
    }

    fn drain(&mut self) {
        for end in [0, 1] {
            while let Some(event) = self.agents[end].poll_event() {
                if let Event::Connect(path) = event {
                    self.connect(end, path);
                } else if let Event::Disconnect(path) = event {
                    self.lose(|wire| [wire.here, wire.there][end] == path);
                } else {
                    self.events[end].push(event);
                }
            }
            while let Some(transmit) = self.agents[end].poll_transmit() {
                self.in_flight.push((end, self.now + LATENCY, transmit));
            }
        }
    }

    fn connect(&mut self, end: usize, path: Path) {
        assert_eq!((end, path.remote), (0, addr(LISTENER)));
        assert_eq!(path.local.port(), ACTIVE_PORT);
        if self.refuse {
            return self.agents[0].connection_lost(path, self.now);
        }
        self.next_port += 1;
        let from = SocketAddr::new(path.local.ip(), self.next_port);
        let there = Path::tcp(path.remote, from);
        assert!(self.agents[0].connection_opened(path, self.now));
        self.wires.push(Wire {
            here: path,
            there,
            begun: false,
        });
    }

    /// Connections break; both ends notice.
    fn lose(&mut self, which: impl Fn(&Wire) -> bool) {
        let (lost, kept) = self.wires.iter().partition(|wire| which(wire));
        self.wires = kept;
        let lost: Vec<Wire> = lost;
        for wire in lost {
            self.agents[0].connection_lost(wire.here, self.now);
            self.agents[1].connection_lost(wire.there, self.now);
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.in_flight)
            .into_iter()
            .partition(|(_, at, _)| *at <= now);
        self.in_flight = later;
        for (from, _, transmit) in due {
            let path = match transmit.path.protocol {
                Protocol::Udp if self.udp => Some(transmit.path.reversed()),
                Protocol::Udp => None,
                Protocol::Tcp => self.across(from, &transmit),
            };
            if let Some(path) = path {
                // Dropping is the agent's right; the tests look at the outcome.
                drop(self.agents[1 - from].handle_packet(path, &transmit.contents, now));
            }
        }
    }

    /// The other end of a connection. The first packet on one has to be a check for the right agent.
    fn across(&mut self, from: usize, transmit: &Transmit) -> Option<Path> {
        let wire = self
            .wires
            .iter_mut()
            .find(|wire| [wire.here, wire.there][from] == transmit.path)?;
        if !wire.begun {
            wire.begun = true;
            let mut stream = bytes::BytesMut::new();
            write_frame(&transmit.contents, &mut stream);
            let ufrag = self.agents[1].local_credentials().ufrag.clone();
            assert_eq!(
                first_check(&stream),
                Ok(Some(&*ufrag)),
                "begins with a check"
            );
            assert!(self.agents[1].connection_opened(wire.there, self.now));
        }
        Some([wire.there, wire.here][from])
    }

    /// Runs until `done` or until `limit` has passed; returns whether it was done.
    fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            let timers = self
                .agents
                .each_ref()
                .map(|agent| agent.poll_timeout().map(|d| d.at));
            let arrivals = self.in_flight.iter().map(|(_, at, _)| *at).min();
            let Some(at) = timers.into_iter().flatten().chain(arrivals).min() else {
                return false;
            };
            if at > end {
                self.now = end;
                return false;
            }
            self.now = self.now.max(at);
            self.deliver();
            for agent in &mut self.agents {
                agent.handle_timeout(self.now);
            }
        }
    }

    fn connected(&self) -> bool {
        self.agents
            .iter()
            .all(|agent| agent.state() == State::Connected)
    }

    fn protocols(&self) -> [Option<Protocol>; 2] {
        self.agents
            .each_ref()
            .map(|agent| agent.selected_path().map(|path| path.protocol))
    }
}

fn other(role: IceRole) -> IceRole {
    match role {
        Controlling => Controlled,
        Controlled => Controlling,
    }
}

fn candidates(events: &[Event]) -> Vec<Candidate> {
    let mut told = Vec::new();
    for event in events {
        if let Event::LocalCandidate(candidate) = event {
            told.push(candidate.clone());
        }
    }
    told
}

const TCP: [Option<Protocol>; 2] = [Some(Protocol::Tcp); 2];

#[test]
fn connects_over_tcp_when_udp_is_dead_in_both_roles() {
    for role in [Controlling, Controlled] {
        let mut pair = Pair::new(role, false);
        assert!(
            pair.run(Duration::from_secs(5), Pair::connected),
            "{role:?}"
        );
        assert_eq!(pair.protocols(), TCP);
        let told = candidates(&pair.events[0]);
        assert!(
            told.iter()
                .any(|it| it.tcp_type == Some(TcpType::Active) && it.port == 9)
        );
        assert_eq!(pair.wires.len(), 1);
        assert!(
            !pair.run(Duration::from_secs(60), |pair| !pair.connected()),
            "consent is kept"
        );
    }
}

#[test]
fn no_connection_is_opened_when_udp_works() {
    let mut pair = Pair::new(Controlling, true);
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
    assert!(!pair.run(Duration::from_secs(5), |pair| !pair.wires.is_empty()));
    assert_ne!(pair.protocols(), TCP);
}

#[test]
fn a_lost_connection_disconnects_with_a_cause_and_is_opened_anew() {
    for role in [Controlling, Controlled] {
        let mut pair = Pair::new(role, false);
        assert!(pair.run(Duration::from_secs(5), Pair::connected));
        let before = pair
            .agents
            .each_ref()
            .map(|agent| agent.selected_path().expect("a path"));
        for events in &mut pair.events {
            events.clear();
        }
        pair.lose(|_| true);
        pair.drain();
        for (end, agent) in pair.agents.iter().enumerate() {
            assert_eq!(agent.state(), State::Disconnected);
            let lost = agent.pairs().into_iter().find(|it| it.path == before[end]);
            assert_eq!(lost.and_then(|it| it.cause), Some(Cause::ConnectionLost));
        }
        assert!(
            pair.run(Duration::from_secs(2), Pair::connected),
            "{role:?}"
        );
        let after = pair
            .agents
            .each_ref()
            .map(|agent| agent.selected_path().expect("a path"));
        assert_eq!(after[0], before[0], "the same to the one who opens");
        assert_ne!(
            after[1], before[1],
            "from another port to the one who accepts"
        );
        for end in [0, 1] {
            assert!(pair.events[end].contains(&Event::SelectedPath(after[end])));
        }
        assert!(
            !pair.run(Duration::from_secs(90), |pair| !pair.connected()),
            "consent goes on"
        );
    }
}

#[test]
fn a_connection_that_stays_away_fails() {
    let mut pair = Pair::new(Controlling, false);
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
    pair.refuse = true;
    pair.lose(|_| true);
    assert!(pair.run(Duration::from_secs(40), |pair| {
        pair.agents
            .iter()
            .all(|agent| agent.state() == State::Failed)
    }));
    assert!(
        pair.agents
            .iter()
            .all(|agent| agent.selected_path().is_none())
    );
}

#[test]
fn a_refused_connection_fails_its_pair_with_a_cause() {
    let mut pair = Pair::new(Controlling, false);
    pair.refuse = true;
    assert!(!pair.run(Duration::from_secs(10), Pair::connected));
    let pairs = pair.agents[0].pairs();
    let tcp = pairs.iter().find(|it| it.path.protocol == Protocol::Tcp);
    assert_eq!(tcp.and_then(|it| it.cause), Some(Cause::NotConnected));
    assert_eq!(tcp.map(|it| it.requests_sent), Some(0));
}

#[test]
fn a_restart_goes_on_over_the_open_connection() {
    let mut pair = Pair::new(Controlling, false);
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
    let told = pair.events.each_ref().map(|events| candidates(events));
    for end in [0, 1] {
        let own = credentials(10 + end as u64);
        pair.agents[end].restart(own, pair.now).expect("restart");
    }
    pair.start([Controlling, Controlled]);
    for (end, told) in told.iter().enumerate() {
        for candidate in told {
            let to = &mut pair.agents[1 - end];
            to.add_remote_candidate(candidate, pair.now)
                .expect("candidate");
        }
    }
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
    assert_eq!(pair.protocols(), TCP);
    assert_eq!(pair.wires.len(), 1);
}

#[test]
fn connections_are_bounded_and_only_to_listeners() {
    let mut pair = Pair::new(Controlling, false);
    let from = |port| Path::tcp(addr(LISTENER), SocketAddr::from(([10, 0, 0, 3], port)));
    let taken = (1..100).filter(|port| pair.agents[1].connection_opened(from(*port), pair.now));
    assert_eq!(taken.count(), MAX_CONNECTIONS);
    let elsewhere = Path::tcp(addr("10.0.0.2:2001"), addr("10.0.0.3:1"));
    assert!(!pair.agents[1].connection_opened(elsewhere, pair.now));
    assert!(!pair.agents[0].connection_opened(elsewhere, pair.now));
}

#[test]
fn an_answer_names_the_address_it_goes_to() {
    let mut pair = Pair::new(Controlling, false);
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
    let there = pair.wires[0].there;
    let check = super::stun::Check {
        number: 99,
        local: pair.agents[0].local_credentials(),
        remote: pair.agents[1].local_credentials(),
        role: Controlling,
        priority: 1,
    };
    let (transaction, packet) = check.write();
    pair.agents[1]
        .handle_packet(there, &packet, pair.now)
        .expect("authentic");
    let mut seen = BTreeMap::new();
    while let Some(transmit) = pair.agents[1].poll_transmit() {
        let message = Message::parse(&transmit.contents).expect("STUN");
        let mapped = message.xor_address(attribute::XOR_MAPPED_ADDRESS);
        seen.insert(message.transaction, (transmit.path, mapped));
    }
    assert_eq!(seen.get(&transaction), Some(&(there, Some(there.remote))));
}

/// As Firefox does: one request with USE-CANDIDATE, never sent again.
#[test]
fn a_nomination_that_comes_once_and_early_is_answered_and_holds() {
    let mut pair = Pair::new(Controlling, false);
    let there = Path::tcp(addr(LISTENER), addr("10.0.0.7:777"));
    assert!(pair.agents[1].connection_opened(there, pair.now));
    let (theirs, ours) = (credentials(0), credentials(1));
    let check = super::stun::Check {
        number: 1,
        local: &theirs,
        remote: &ours,
        role: Controlling,
        priority: 1,
    };
    let (transaction, packet) = check.write();
    let taken = pair.agents[1].handle_packet(there, &packet, pair.now);
    taken.expect("authentic");
    let mut answered = false;
    while let Some(transmit) = pair.agents[1].poll_transmit() {
        let message = Message::parse(&transmit.contents).expect("STUN");
        if message.class == Class::Success {
            answered |= message.transaction == transaction;
        } else {
            let answer = super::stun::answer(message.transaction, addr(LISTENER), &theirs.pwd);
            let taken = pair.agents[1].handle_packet(there, &answer, pair.now);
            taken.expect("an answer");
        }
    }
    assert!(answered);
    assert_eq!(pair.agents[1].selected_path(), Some(there));
}
