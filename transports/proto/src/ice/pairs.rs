//! What became of every candidate pair: for statistics, and to explain why a path was taken or
//! none was found.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::candidate::{Candidate, CandidateKind};
use crate::id::{IceRole, Path};

/// Entries of one pair's timeline. Filled by what happens to it; when full, the oldest but the
/// first eight is forgotten, so that beginning and end stay.
pub const MAX_MARKS: usize = 16;

const FIRST_MARKS: usize = 8;

/// How far a pair is (RFC 8445 §6.1.2.6, `RTCStatsIceCandidatePairState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PairState {
    /// Not checked yet.
    Waiting,
    /// Checked, and not answered yet.
    InProgress,
    /// A check was answered.
    Succeeded,
    /// See [`Pair::cause`].
    Failed,
}

/// Why a pair failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub enum Cause {
    /// No check was ever sent: time ran out before.
    #[error("it was never checked")]
    NeverChecked,
    /// We sent checks, nobody answered, and none came from there: packets are lost in at least
    /// one direction, or nobody is there.
    #[error("checks were sent, none was answered, and none came from there")]
    NoAnswer,
    /// The peer's checks arrived, answers to ours did not: packets pass in one direction only.
    #[error("the peer's checks arrived, but no answer to ours")]
    OneWay,
    /// It worked, but another pair was selected or the connection ended.
    #[error("it worked, but was not selected")]
    NotSelected,
    /// It was selected, and then nobody answered any more (RFC 7675 §5.1).
    #[error("it was in use, and then nobody answered for too long")]
    ConsentExpired,
    /// The TCP connection could not be opened (RFC 6544 §7.1).
    #[error("the TCP connection was refused or timed out")]
    NotConnected,
    /// The TCP connection was there, and broke or was closed by the peer.
    #[error("the TCP connection was lost")]
    ConnectionLost,
}

impl Cause {
    /// Nobody was heard: an answer may come yet.
    fn is_silence(self) -> bool {
        match self {
            Self::NeverChecked | Self::NoAnswer | Self::OneWay => true,
            Self::NotSelected | Self::ConsentExpired => false,
            Self::NotConnected | Self::ConnectionLost => false,
        }
    }
}

/// What happened to a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mark {
    /// It was formed.
    Created,
    /// Its TCP connection was opened.
    Connected,
    /// Our first check left.
    FirstCheck,
    /// The peer's first check arrived.
    PeerCheck,
    /// The first answer to a check of ours arrived.
    Answered,
    /// It was nominated and is used.
    Selected,
    /// Nothing was heard any more.
    Silent,
    /// It was heard again.
    Heard,
    /// It was given up.
    Failed(Cause),
}

/// A pair and its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// From where to where: from the base of our candidate.
    pub path: Path,
    /// Kind of our candidate.
    pub local: CandidateKind,
    /// Kind of the peer's.
    pub remote: CandidateKind,
    /// RFC 8445 §6.1.2.3.
    pub priority: u64,
    /// How far it is.
    pub state: PairState,
    /// Why it failed.
    pub cause: Option<Cause>,
    /// Whether it was nominated.
    pub nominated: bool,
    /// Checks sent, repetitions and consent checks included.
    pub requests_sent: u64,
    /// Those of them that left once it was selected: they keep consent (RFC 7675 §5.1).
    pub consent_requests_sent: u64,
    /// Checks of the peer received.
    pub requests_received: u64,
    /// Good answers to them sent.
    pub responses_sent: u64,
    /// Answers received.
    pub responses_received: u64,
    /// Latest round trip.
    pub round_trip: Option<Duration>,
    /// Sum of all round trips.
    pub total_round_trip: Duration,
    /// What happened and when, in order, [`MAX_MARKS`] at most.
    pub timeline: Vec<(Instant, Mark)>,
    priorities: (u32, u32),
}

impl Pair {
    fn mark(&mut self, mark: Mark, now: Instant) {
        if self.timeline.len() >= MAX_MARKS {
            self.timeline.remove(FIRST_MARKS);
        }
        self.timeline.push((now, mark));
    }

    fn fail(&mut self, cause: Cause, now: Instant) {
        self.state = PairState::Failed;
        self.cause = Some(cause);
        self.mark(Mark::Failed(cause), now);
    }

    fn rank(&mut self, role: IceRole) {
        let (local, remote) = self.priorities;
        let (g, d) = match role {
            IceRole::Controlling => (local, remote),
            IceRole::Controlled => (remote, local),
        };
        let (g, d) = (u64::from(g), u64::from(d));
        self.priority = (g.min(d) << 32) + 2 * g.max(d) + u64::from(g > d);
    }
}

/// All pairs of one generation. Bounded by what the agent pairs, see `MAX_PAIRS`.
#[derive(Debug)]
pub(super) struct Pairs {
    pairs: BTreeMap<Path, Pair>,
    role: IceRole,
}

impl Default for Pairs {
    fn default() -> Self {
        Self {
            pairs: BTreeMap::new(),
            role: IceRole::Controlling,
        }
    }
}

impl Pairs {
    pub(super) fn len(&self) -> usize {
        self.pairs.len()
    }

    /// What has become of them; then there are none.
    pub(super) fn take(&mut self) -> Vec<Pair> {
        let report = self.report();
        self.pairs.clear();
        report
    }

    pub(super) fn set_role(&mut self, role: IceRole) {
        self.role = role;
        for pair in self.pairs.values_mut() {
            pair.rank(role);
        }
    }

    /// A pair of these candidates, unless there is one.
    pub(super) fn form(&mut self, path: Path, local: &Candidate, remote: &Candidate, now: Instant) {
        let role = self.role;
        self.pairs.entry(path).or_insert_with(|| {
            let mut pair = Pair {
                path,
                local: local.kind,
                remote: remote.kind,
                priority: 0,
                state: PairState::Waiting,
                cause: None,
                nominated: false,
                requests_sent: 0,
                consent_requests_sent: 0,
                requests_received: 0,
                responses_sent: 0,
                responses_received: 0,
                round_trip: None,
                total_round_trip: Duration::ZERO,
                timeline: vec![(now, Mark::Created)],
                priorities: (local.priority, remote.priority),
            };
            pair.rank(role);
            pair
        });
    }

    pub(super) fn sent(&mut self, path: Path, now: Instant) {
        let Some(pair) = self.pairs.get_mut(&path) else {
            return;
        };
        pair.requests_sent += 1;
        pair.consent_requests_sent += u64::from(pair.nominated);
        if pair.state == PairState::Waiting {
            pair.state = PairState::InProgress;
            pair.mark(Mark::FirstCheck, now);
        }
    }

    /// Its TCP connection is there: checks can leave.
    pub(super) fn connected(&mut self, path: Path, now: Instant) {
        if let Some(pair) = self.pairs.get_mut(&path) {
            if pair.state == PairState::Failed {
                pair.state = match pair.requests_sent {
                    0 => PairState::Waiting,
                    _ => PairState::InProgress,
                };
                pair.cause = None;
            }
            pair.mark(Mark::Connected, now);
        }
    }

    /// Its TCP connection is gone, or never came to be.
    pub(super) fn disconnected(&mut self, path: Path, cause: Cause, now: Instant) {
        if let Some(pair) = self.pairs.get_mut(&path) {
            pair.state = PairState::Failed;
            pair.cause = Some(cause);
            pair.mark(Mark::Failed(cause), now);
        }
    }

    pub(super) fn requested(&mut self, path: Path, now: Instant) {
        if let Some(pair) = self.pairs.get_mut(&path) {
            pair.requests_received += 1;
            if pair.requests_received == 1 {
                pair.mark(Mark::PeerCheck, now);
            }
        }
    }

    pub(super) fn responded(&mut self, path: Path) {
        if let Some(pair) = self.pairs.get_mut(&path) {
            pair.responses_sent += 1;
        }
    }

    pub(super) fn answered(&mut self, path: Path, round_trip: Duration, now: Instant) {
        let Some(pair) = self.pairs.get_mut(&path) else {
            return;
        };
        pair.responses_received += 1;
        pair.round_trip = Some(round_trip);
        pair.total_round_trip += round_trip;
        if pair.responses_received == 1 {
            pair.mark(Mark::Answered, now);
        }
        match pair.state {
            PairState::Waiting | PairState::InProgress => pair.state = PairState::Succeeded,
            // It was given up too soon; a connection that is gone is another matter.
            PairState::Failed if pair.cause.is_some_and(Cause::is_silence) => {
                pair.state = PairState::Succeeded;
                pair.cause = None;
            }
            PairState::Succeeded | PairState::Failed => {}
        }
    }

    pub(super) fn selected(&mut self, path: Path, now: Instant) {
        if let Some(pair) = self.pairs.get_mut(&path) {
            pair.nominated = true;
            pair.state = PairState::Succeeded;
            pair.mark(Mark::Selected, now);
        }
    }

    pub(super) fn silent(&mut self, path: Option<Path>, now: Instant) {
        if let Some(pair) = path.and_then(|path| self.pairs.get_mut(&path)) {
            pair.mark(Mark::Silent, now);
        }
    }

    /// Only after a silence.
    pub(super) fn heard(&mut self, path: Option<Path>, now: Instant) {
        if let Some(pair) = path.and_then(|path| self.pairs.get_mut(&path))
            && pair
                .timeline
                .last()
                .is_some_and(|(_, mark)| *mark == Mark::Silent)
        {
            pair.mark(Mark::Heard, now);
        }
    }

    /// Gives up what has not answered for `patience` since it was formed or
    /// connected. It may answer yet.
    pub(super) fn give_up(&mut self, patience: Duration, now: Instant) {
        for pair in self.pairs.values_mut() {
            let begins =
                |(_, mark): &&(Instant, Mark)| matches!(mark, Mark::Created | Mark::Connected);
            let begun = pair.timeline.iter().rfind(begins);
            let begun = begun.map_or(now, |(at, _)| *at);
            let cause = match pair.state {
                PairState::Waiting => Cause::NeverChecked,
                PairState::InProgress if pair.requests_received > 0 => Cause::OneWay,
                PairState::InProgress => Cause::NoAnswer,
                PairState::Succeeded | PairState::Failed => continue,
            };
            if now.saturating_duration_since(begun) >= patience {
                pair.fail(cause, now);
            }
        }
    }

    /// All is lost: `selected` because of `lost`, the others for what happened to them.
    pub(super) fn fail(&mut self, selected: Option<Path>, lost: Cause, now: Instant) {
        for pair in self.pairs.values_mut() {
            let cause = match pair.state {
                PairState::Failed => continue,
                _ if Some(pair.path) == selected => lost,
                PairState::Waiting => Cause::NeverChecked,
                PairState::InProgress if pair.requests_received > 0 => Cause::OneWay,
                PairState::InProgress => Cause::NoAnswer,
                PairState::Succeeded => Cause::NotSelected,
            };
            pair.fail(cause, now);
        }
    }

    pub(super) fn report(&self) -> Vec<Pair> {
        let mut pairs: Vec<Pair> = self.pairs.values().cloned().collect();
        pairs.sort_by_key(|pair| std::cmp::Reverse(pair.priority));
        pairs
    }
}
