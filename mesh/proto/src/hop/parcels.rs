//! This node's own envelopes: one strategy after the other, until one of them
//! ends well or the time is over.

use rand::Rng;

use super::config::{
    FIRST_RTT_MS, GREEDY_BUDGET, MAX_FLOOD, MAX_PATIENCE_MS, MAX_ROUNDS, MIN_PATIENCE_MS, PAUSE_MS,
};
use super::crumbs::{Crumb, Fate, Key, Origin};
use super::frame::{Route, Strategy};
use super::{End, Hop, Output, Parcel, Turn, duration};
use crate::envelope::{Proof, Refusal};
use crate::id::{MessageId, PeerId};
use crate::wire::BoundedVec;

/// The attempt that stands for a flood, which has no number on the way.
pub(super) const FLOOD: u8 = u8::MAX;
/// Copies that wait at others.
const COPIES: u8 = 3;
/// The strategies of one round.
const ROUND: [Strategy; 6] = [
    Strategy::Direct,
    Strategy::Trail,
    Strategy::Greedy,
    Strategy::Relay,
    Strategy::Mailbox,
    Strategy::Flood,
];

/// An own envelope under way.
#[derive(Debug)]
pub(super) struct Underway {
    parcel: Parcel,
    /// The strategies of all attempts so far.
    attempts: Vec<Strategy>,
    /// The first attempt of the present strategy, and how many of them are
    /// not refused yet.
    first: usize,
    open: u8,
    /// The next strategy of this round.
    next: usize,
    round: u8,
    /// Whether something of this round went unanswered or waits somewhere.
    hope: bool,
    /// Over whom it came back as unreadable first.
    unreadable: Option<PeerId>,
    begun: u64,
    sent: u64,
    due: u64,
    end: u64,
}

impl Underway {
    pub(super) fn new(parcel: Parcel, now: u64, end: u64) -> Self {
        Underway {
            parcel,
            attempts: Vec::new(),
            first: 0,
            open: 0,
            next: 0,
            round: 0,
            hope: false,
            unreadable: None,
            begun: now,
            sent: now,
            due: now,
            end,
        }
    }

    pub(super) fn parcel(&self) -> &Parcel {
        &self.parcel
    }

    /// When something is to be done about it.
    pub(super) fn due(&self) -> u64 {
        self.due.min(self.end)
    }

    fn is_current(&self, attempt: u8) -> bool {
        usize::from(attempt) >= self.first && usize::from(attempt) < self.attempts.len()
    }
}

/// How long acknowledgements take.
#[derive(Debug)]
pub(super) struct RoundTrip(u64);

impl RoundTrip {
    pub(super) fn new() -> Self {
        RoundTrip(FIRST_RTT_MS)
    }

    fn measured(&mut self, took: u64) {
        self.0 = (self.0 * 7 + took.min(MAX_PATIENCE_MS)) / 8;
    }

    /// How long to wait for one.
    fn patience(&self) -> u64 {
        (3 * self.0).clamp(MIN_PATIENCE_MS, MAX_PATIENCE_MS)
    }
}

impl Hop {
    /// Begins the next strategy of an own envelope, or ends the round.
    pub(super) fn try_next<R: Rng>(&mut self, name: MessageId, turn: &mut Turn<'_, R>) {
        let Some(underway) = self.parcels.get_mut(&name) else {
            return;
        };
        let Some(strategy) = ROUND.get(underway.next).copied() else {
            self.end_round(name, turn);
            return;
        };
        underway.next += 1;
        underway.first = underway.attempts.len();
        underway.open = 0;
        if underway.first > usize::from(FLOOD) - 8 || !self.applies(&name, strategy, turn) {
            self.try_next(name, turn);
            return;
        }
        if strategy == Strategy::Flood {
            self.flood(name, turn);
        } else {
            self.launch(name, strategy, turn);
        }
    }

    fn applies<R>(&mut self, name: &MessageId, strategy: Strategy, turn: &Turn<'_, R>) -> bool {
        let Some(underway) = self.parcels.get(name) else {
            return false;
        };
        let parcel = &underway.parcel;
        match strategy {
            Strategy::Direct => self.links.get(&parcel.to).is_some(),
            Strategy::Trail | Strategy::Greedy => self.links.len() > 0,
            Strategy::Relay => !parcel.relays.is_empty(),
            Strategy::Mailbox => self.config.mailbox,
            Strategy::Flood => {
                let small = parcel.envelope.sealed.len() + 128 <= MAX_FLOOD;
                small && self.config.flood && self.next_flood <= turn.now
            }
        }
    }

    /// Starts all attempts of one strategy.
    fn launch<R: Rng>(&mut self, name: MessageId, strategy: Strategy, turn: &mut Turn<'_, R>) {
        let copies = if strategy == Strategy::Mailbox {
            COPIES
        } else {
            1
        };
        let patience = self.round_trip.patience() * u64::from(copies.min(2));
        let mut keys = Vec::new();
        if let Some(underway) = self.parcels.get_mut(&name) {
            for _ in 0..copies {
                let attempt = u8::try_from(underway.attempts.len()).unwrap_or(FLOOD);
                underway.attempts.push(strategy);
                keys.push((name, attempt));
            }
            underway.open = copies;
            underway.sent = turn.now;
            underway.due = turn.now + patience;
        }
        *self.stats.attempts(strategy) += 1;
        for key in keys {
            self.attempt(key, strategy, turn);
        }
    }

    fn attempt<R: Rng>(&mut self, key: Key, strategy: Strategy, turn: &mut Turn<'_, R>) {
        let Some(underway) = self.parcels.get(&key.0) else {
            return;
        };
        let parcel = &underway.parcel;
        let mut envelope = parcel.envelope.clone();
        let budget = self.config.budget;
        (envelope.hops, envelope.ttl) = match strategy {
            Strategy::Greedy => (0, budget.min(GREEDY_BUDGET)),
            Strategy::Direct
            | Strategy::Trail
            | Strategy::Relay
            | Strategy::Mailbox
            | Strategy::Flood => (0, budget),
        };
        let route = Box::new(Route {
            attempt: key.1,
            strategy,
            sure: false,
            along: parcel.along,
            relays: BoundedVec::truncated(parcel.relays.iter().copied()),
            envelope,
        });
        let crumb = Crumb::new(Origin::Own, Fate::Pending, 0);
        if self.crumbs.insert(key, crumb, Some(route), turn.now) {
            self.advance(key, turn);
        } else {
            self.failed(key, Refusal::Busy, turn);
        }
    }

    fn flood<R>(&mut self, name: MessageId, turn: &mut Turn<'_, R>) {
        let patience = 2 * self.round_trip.patience();
        self.next_flood = turn.now + super::millis(self.config.flood_pause);
        *self.stats.attempts(Strategy::Flood) += 1;
        if let Some(underway) = self.parcels.get_mut(&name) {
            underway.hope = true;
            underway.sent = turn.now;
            underway.due = turn.now + patience;
            let envelope = underway.parcel.envelope.clone();
            turn.out.push(Output::Flood { envelope });
        }
    }

    fn end_round<R>(&mut self, name: MessageId, turn: &mut Turn<'_, R>) {
        let Some(underway) = self.parcels.get_mut(&name) else {
            return;
        };
        underway.round += 1;
        if underway.round >= MAX_ROUNDS && !underway.hope {
            self.finish(name, End::Nacked(Refusal::NoRoute), turn);
            return;
        }
        underway.due = turn.now + (PAUSE_MS << (underway.round - 1).min(4));
        underway.next = 0;
        underway.open = 0;
    }

    /// An attempt of this node was refused.
    pub(super) fn failed<R: Rng>(&mut self, key: Key, why: Refusal, turn: &mut Turn<'_, R>) {
        let Some(underway) = self.parcels.get_mut(&key.0) else {
            return;
        };
        if why == Refusal::Unreadable {
            // One neighbour's word may be a lie.
            let crumb = self.crumbs.get(&key);
            let over = crumb.and_then(|crumb| crumb.tried.last()).copied();
            if underway.unreadable.is_some_and(|first| Some(first) != over) {
                self.finish(key.0, End::Nacked(why), turn);
                return;
            }
            underway.unreadable = over;
        }
        if !underway.is_current(key.1) {
            return;
        }
        underway.open = underway.open.saturating_sub(1);
        if underway.open == 0 {
            self.try_next(key.0, turn);
        }
    }

    /// An attempt of this node waits somewhere.
    pub(super) fn waits(&mut self, name: &MessageId) {
        if let Some(underway) = self.parcels.get_mut(name) {
            underway.hope = true;
            // It is not refused any more: time decides.
            underway.open = u8::MAX;
        }
    }

    /// An acknowledgement of an own envelope; whether it is a true one.
    pub(super) fn acked<R>(&mut self, key: Key, proof: Proof, turn: &mut Turn<'_, R>) -> bool {
        let Some(underway) = self.parcels.get(&key.0) else {
            return false;
        };
        if underway.parcel.proof != proof {
            return false;
        }
        let strategy = underway.attempts.get(usize::from(key.1)).copied();
        if underway.is_current(key.1) {
            self.round_trip.measured(turn.now - underway.sent);
        }
        let after = duration(turn.now - underway.begun);
        let strategy = strategy.unwrap_or(Strategy::Flood);
        self.finish(key.0, End::Delivered { after, strategy }, turn);
        true
    }

    pub(super) fn finish<R>(&mut self, name: MessageId, end: End, turn: &mut Turn<'_, R>) {
        let Some(underway) = self.parcels.remove(&name) else {
            return;
        };
        for attempt in 0..underway.attempts.len() {
            let attempt = u8::try_from(attempt).unwrap_or(FLOOD);
            self.crumbs.drop_route(&(name, attempt));
        }
        turn.out.push(Output::Ended { name, end });
    }

    /// Gives up what is over, goes on with what was not answered.
    pub(super) fn check_parcels<R: Rng>(&mut self, turn: &mut Turn<'_, R>) {
        let due = self.parcels.iter().filter(|(_, u)| u.due() <= turn.now);
        let due: Vec<(MessageId, bool)> = due.map(|(n, u)| (*n, u.end <= turn.now)).collect();
        for (name, over) in due {
            if over {
                self.finish(name, End::Expired, turn);
                continue;
            }
            self.blame_silence(&name);
            self.try_next(name, turn);
        }
    }

    /// Whoever took the present attempts over and nothing came back may be to
    /// blame.
    fn blame_silence(&mut self, name: &MessageId) {
        let Some(underway) = self.parcels.get_mut(name) else {
            return;
        };
        if underway.open == 0 {
            return;
        }
        underway.hope = true;
        let to = underway.parcel.envelope.to;
        for attempt in underway.first..underway.attempts.len() {
            let key = (*name, u8::try_from(attempt).unwrap_or(FLOOD));
            let next = self.crumbs.get(&key).filter(|c| c.fate == Fate::Pending);
            if let Some(next) = next.and_then(|crumb| crumb.next) {
                self.links.judge(&next, false);
                self.trails.forget(&to, &next);
            }
        }
    }
}
