//! The agent: pace, authentication, consent and bounds around the packaged engine.

mod candidates;
mod connections;
mod consent;
mod early;
mod nomination;
mod pace;
mod packets;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;

use candidates::Local;
use connections::Connections;
pub use connections::MAX_CONNECTIONS;
use consent::Consent;
use early::EarlyChecks;
pub use early::MAX_EARLY_CHECKS;
use nomination::Nomination;

use super::checks::Checks;
use super::engine::{Engine, Output};
use super::pairs::{Pair, Pairs};
use super::stun::{Binding, Class, answer};
use super::{Error, Event, State, Stats, Timer};
use crate::candidate::{Candidate, Credentials, Protocol};
use crate::config::IceConfig;
use crate::engine::{Deadline, Transmit};
use crate::id::{IceRole, Path};

/// Remote candidates of one generation, told or learnt from checks. More are refused.
pub const MAX_REMOTE_CANDIDATES: usize = 64;

/// Local candidates of one agent, of all kinds. More are refused.
pub const MAX_LOCAL_CANDIDATES: usize = 32;

/// Own addresses of one family and transport that take part in checks, the best ones; more are
/// refused. So two hosts with dozens of addresses each form no more than [`MAX_PAIRS`] pairs, and
/// the same ones at both ends.
pub const MAX_HOSTS_PER_FAMILY: usize = 10;

/// Pairs that are checked (RFC 8445 §6.1.2.5). Filled by candidates, the best remote ones first;
/// those that would make more are not paired. A peer that checks us from elsewhere may make
/// half as many again.
pub const MAX_PAIRS: usize = 100;

/// Packets the agent wants to send. Filled by rounds of checks; the oldest is dropped when full,
/// as the network might do: checks are repeated.
pub const MAX_QUEUED_PACKETS: usize = 1024;

/// Changes of our role in one generation, whoever asks for them. An honest peer asks for one, or for one more
/// if its refusal and ours cross; one that knows the password and contradicts itself would make us change
/// without end. After these the role stays, refusals are ignored and checks that contradict it refused.
pub const MAX_ROLE_CHANGES: u8 = 3;

/// An ICE agent for one component, which is all that data channels and `rtcp-mux` need.
pub struct Agent {
    config: IceConfig,
    engine: Option<Engine>,
    state: State,
    role: IceRole,
    /// How often it changed in this generation.
    role_changes: u8,
    local: Credentials,
    remote: Option<Credentials>,
    locals: Vec<Local>,
    remotes: Vec<Candidate>,
    /// Addresses told, or learnt from checks.
    known_remotes: Vec<(Protocol, SocketAddr)>,
    pairs: Pairs,
    /// See [`Agent::former_pairs`].
    former_pairs: Vec<Pair>,
    local_done: bool,
    remote_done: bool,
    selected: Option<Path>,
    /// The path of the generation before, during a restart.
    previous: Option<Path>,
    consent: Consent,
    checks: Checks,
    /// Over TCP.
    connections: Connections,
    nomination: Nomination,
    early: EarlyChecks,
    /// When this generation began to check, in the engine's time.
    checking_since: Option<Instant>,
    next_round: Option<Instant>,
    last_round: Option<Instant>,
    /// How many pairs there were in the last round, if it had nothing to check.
    idle_round: Option<usize>,
    /// When answered pairs that nobody nominates are checked again.
    again: Option<Instant>,
    /// When we were called last, and how long we were not there in all.
    called: Instant,
    stalled: Duration,
    pause: Duration,
    packets: VecDeque<(Path, Bytes)>,
    events: VecDeque<Event>,
    stats: Stats,
}

impl Agent {
    /// An agent that has not started. `role` may be corrected by [`Agent::start`].
    pub fn new(
        config: IceConfig,
        local: Credentials,
        role: IceRole,
        now: Instant,
    ) -> Result<Self, Error> {
        let engine = Engine::new(&config, &local, role, now)?;
        let pause = config.check_interval_min;
        Ok(Self {
            config,
            engine: Some(engine),
            state: State::New,
            role,
            role_changes: 0,
            local,
            remote: None,
            locals: Vec::new(),
            remotes: Vec::new(),
            known_remotes: Vec::new(),
            pairs: Pairs::default(),
            former_pairs: Vec::new(),
            local_done: false,
            remote_done: false,
            selected: None,
            previous: None,
            consent: Consent::default(),
            checks: Checks::default(),
            connections: Connections::default(),
            nomination: Nomination::default(),
            early: EarlyChecks::default(),
            checking_since: None,
            next_round: None,
            last_round: None,
            idle_round: None,
            again: None,
            called: now,
            stalled: Duration::ZERO,
            pause,
            packets: VecDeque::new(),
            events: VecDeque::new(),
            stats: Stats::default(),
        })
    }

    /// There will be no more local candidates in this generation.
    pub fn end_of_local_candidates(&mut self) {
        self.local_done = true;
        self.complete();
    }

    /// Both descriptions are known: starts checking.
    pub fn start(&mut self, remote: Credentials, role: IceRole, now: Instant) -> Result<(), Error> {
        let engine_now = self.engine_time(now);
        let engine = self.engine.as_mut().ok_or(Error::Closed)?;
        engine.start(&remote, role, engine_now)?;
        self.role = role;
        self.checking_since = Some(engine_now);
        self.remote = Some(remote);
        self.pause = self.config.check_interval_min;
        self.early.described(now);
        self.pairs.set_role(role);
        let mut told = self.remotes.clone();
        told.sort_by_key(|candidate| std::cmp::Reverse(candidate.priority));
        for candidate in &told {
            self.pair_remote(candidate)?;
        }
        self.next_round = Some(now);
        self.connections.due_at = Some(now + self.config.tcp_patience);
        self.collect(now);
        Ok(())
    }

    /// The peer has no more candidates in this generation (RFC 8838 §14).
    pub fn end_of_remote_candidates(&mut self) {
        self.remote_done = true;
        self.early.told(None, self.called);
        self.complete();
    }

    /// Begins a new generation with new credentials (RFC 8445 §9). The selected path stays usable
    /// until the new generation has selected one. [`Agent::start`] must follow.
    pub fn restart(&mut self, local: Credentials, now: Instant) -> Result<(), Error> {
        let engine_now = self.engine_time(now);
        let engine = self.engine.as_mut().ok_or(Error::Closed)?;
        engine.restart(&local, engine_now)?;
        self.locals.retain(|local| !local.gone);
        for local in self.locals.iter().filter(|local| local.checked) {
            engine.add_local(&local.candidate)?;
        }
        let former = self.pairs.take();
        if !former.is_empty() {
            self.former_pairs = former;
        }
        self.local = local;
        self.remote = None;
        self.role_changes = 0;
        self.remotes.clear();
        self.known_remotes.clear();
        self.previous = self.selected.take().or(self.previous);
        self.consent.clear();
        self.checks.clear();
        self.nomination = Nomination::default();
        self.early.clear();
        self.next_round = None;
        self.again = None;
        self.remote_done = false;
        self.close_connections();
        self.pause = self.config.check_interval_min;
        for local in &self.locals {
            let candidate = local.candidate.clone().with_ufrag(&self.local.ufrag);
            self.events.push_back(Event::LocalCandidate(candidate));
        }
        self.collect(now);
        if self.state != State::New {
            self.set_state(State::Checking);
        }
        Ok(())
    }

    fn collect(&mut self, now: Instant) {
        let Some(engine) = self.engine.as_mut() else {
            return;
        };
        let (mut packets, mut outputs) = (Vec::new(), Vec::new());
        while let Some(packet) = engine.poll_packet() {
            packets.push(packet);
        }
        while let Some(output) = engine.poll_output() {
            outputs.push(output);
        }
        // The engine refuses a check for its role even where it takes the other role itself, which
        // the peer must not do as well (RFC 8445 §7.3.1.1).
        let switched = outputs.iter().any(|it| matches!(it, Output::Role(_)));
        for (path, packet) in packets {
            if !(switched && is_refusal(&packet)) {
                self.queue_packet(path, packet, now);
            }
        }
        for output in outputs {
            match output {
                Output::State(state) => self.set_state(state),
                Output::Selected(path) => self.select(path, now),
                Output::Role(role) => self.take_role(role),
            }
        }
    }

    fn take_role(&mut self, role: IceRole) {
        self.role = role;
        self.role_changes = self.role_changes.saturating_add(1);
        self.pairs.set_role(role);
        self.events.push_back(Event::RoleChange(role));
    }

    fn queue_packet(&mut self, path: Path, mut packet: Bytes, now: Instant) {
        if !self.connections.carry(path) {
            return; // as lost as on a wire that is not there
        }
        if let Some(binding) = Binding::parse(&packet) {
            match binding.class {
                Class::Request => {
                    self.stats.requests_sent += 1;
                    self.checks
                        .sent(binding.transaction, path, binding.role, now);
                    self.pairs.sent(path, now);
                    self.consent_checked(path, now);
                    self.nomination.sent(path, &packet);
                }
                Class::Success => {
                    self.pairs.responded(path);
                    // The engine has put its own name for the peer's address in.
                    if path.protocol == Protocol::Tcp {
                        packet = answer(binding.transaction, path.remote, &self.local.pwd);
                    }
                }
                Class::Error | Class::Indication => {}
            }
        }
        if self.packets.len() >= MAX_QUEUED_PACKETS {
            self.packets.pop_front();
        }
        self.packets.push_back((path, packet));
    }

    fn select(&mut self, path: Path, now: Instant) {
        if self.selected == Some(path) {
            return;
        }
        self.selected = Some(path);
        self.previous = None;
        self.pairs.selected(path, now);
        self.consent_begins(now);
        self.events.push_back(Event::SelectedPath(path));
        self.close_connections();
        self.complete();
    }

    fn complete(&mut self) {
        if self.state == State::Connected && self.local_done && self.remote_done {
            self.set_state(State::Completed);
        }
    }

    fn set_state(&mut self, state: State) {
        let settled = self.state == State::Completed && state == State::Connected;
        if self.state == state || self.state == State::Closed || settled {
            return;
        }
        self.note_state(state);
        self.state = state;
        self.events.push_back(Event::StateChange(state));
        if state == State::Failed {
            self.selected = None;
            self.previous = None;
            self.consent.clear();
            self.close_connections();
        }
        self.complete();
    }

    fn fail(&mut self) {
        self.engine = None;
        self.next_round = None;
        self.set_state(State::Failed);
    }

    /// Stops everything. What was queued is dropped.
    pub fn close(&mut self) {
        self.set_state(State::Closed);
        (self.selected, self.previous) = (None, None);
        self.consent.clear();
        self.close_connections();
        self.engine = None;
        self.next_round = None;
        self.early.clear();
        self.packets.clear();
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        let (path, packet) = self.packets.pop_front()?;
        Some(Transmit::single(path, packet))
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Agent::handle_timeout`], and why.
    pub fn poll_timeout(&self) -> Option<Deadline<Timer>> {
        let reason = if self.selected.is_some() {
            Timer::Consent
        } else {
            Timer::Check
        };
        let early = self.early.deadline();
        let early = early.map(|at| Deadline::new(at, Timer::Check));
        let round = self.next_round.map(|at| Deadline::new(at, reason));
        let connect = self.connections.wakes_at();
        let connect = connect.map(|at| Deadline::new(at, Timer::Connect));
        Deadline::earlier(Deadline::earlier(early, round), connect)
    }

    /// Whether data arriving on `path` belongs to this agent: a local address of ours and a remote
    /// one that passed a check or was told.
    pub fn accepts(&self, path: Path) -> bool {
        self.selected == Some(path)
            || self.previous == Some(path)
            || self.known_remotes.contains(&(path.protocol, path.remote)) && self.is_local(path)
    }

    /// Where to send data: the selected path, or during a restart the one before.
    pub fn selected_path(&self) -> Option<Path> {
        self.selected.or(self.previous)
    }

    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// The current role.
    pub fn role(&self) -> IceRole {
        self.role
    }

    /// Our credentials of this generation.
    pub fn local_credentials(&self) -> &Credentials {
        &self.local
    }

    /// The peer's, once started.
    pub fn remote_credentials(&self) -> Option<&Credentials> {
        self.remote.as_ref()
    }

    /// Every pair of this generation with its timeline, the best first (RFC 8445 §6.1.2.3).
    pub fn pairs(&self) -> Vec<Pair> {
        self.pairs.report()
    }

    /// The pairs of the last generation before this one that had any, as the restart found them. At most
    /// as many as one generation has.
    pub fn former_pairs(&self) -> &[Pair] {
        &self.former_pairs
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.stats
    }
}

fn is_refusal(packet: &[u8]) -> bool {
    Binding::parse(packet).is_some_and(|binding| binding.class == Class::Error)
}
