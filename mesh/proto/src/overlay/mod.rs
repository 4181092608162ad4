//! Whom to be connected with when nobody can know everybody.
//!
//! HyParView (Leitão, Pereira, Rodrigues: DSN 2007), with what measurements
//! asked for on top. Every peer keeps a few *links* (the active view), some
//! *contacts* to fall back on (the passive view), and a *reserve* of peers once
//! met that it never forgets:
//!
//! * **Parallel refill**: a peer that is short of links dials three at a time.
//!   Whoever has no room names others, so that a crowd that knows one contact
//!   spreads by itself.
//! * **Mixing**: a random link is replaced every minute, every five seconds
//!   right after joining. Without it a graph keeps the shape it was born with:
//!   deep after a flash crowd, hanging by a thread after a split.
//! * **Reserve**: one remembered peer is dialled every 15 s. If it had been out
//!   of reach, it becomes a link at once: that is how two halves find back
//!   after an hour, when both have filled all their links among themselves.
//! * **Latency bias**: links give way to nearer ones, but for some that were
//!   chosen by chance: they keep the graph's diameter and its cuts.
//! * **Detection**: a silent link is pinged; timeouts grow with the measured
//!   spread of round trips, and with this node's own lateness (Lifeguard:
//!   Dadgar, Phillips, Currey, arXiv 1707.00788). A browser is given up only
//!   after neighbours were asked about it.
//! * **Against Sybils**: half of the links are dialled by the node itself,
//!   others cannot take them; few links to one subnet; nobody fills more than
//!   a fifth of the passive view; the reserve cannot be flooded at all.
//!
//! Not defended against: many identities that *dial* relentlessly fill the
//! inbound half. It takes an invitation, not a heuristic, to keep them out.
//!
//! # Contract
//!
//! [`Overlay`] is an engine: feed it [`Input`]s with the time and a generator,
//! carry out the [`Output`]s appended to `out` in order, and call
//! [`Overlay::handle_timeout`] at [`Overlay::deadline`]. Outputs go to a buffer
//! of the caller's, unlike in other engines here, because a simulator owns a
//! hundred thousand of these and needs one buffer. No table grows beyond its
//! bound in [`Degrees`], whatever arrives.

mod admission;
mod config;
mod contact;
mod coordinate;
mod detect;
mod dialling;
mod io;
mod links;
mod message;
mod passive;
mod peer;
mod reserve;
mod upkeep;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

pub use admission::MAX_GUESTS;
pub use config::{Class, Config, Degrees};
pub use contact::{Contact, subnet};
pub use coordinate::Coordinate;
pub use io::{ConnId, DialId, Input, Output, Stats, Timer};
pub use message::{Contacts, MAX_CONTACTS, Message, Named, Need};
pub use peer::{Peer, Subnet};

use admission::Guest;
use detect::Vouching;
use dialling::Attempt;
use links::{Cold, Hot};
use passive::Passive;
use reserve::Reserve;
use upkeep::Schedule;

use crate::id::PeerId;
use crate::time::Deadline;

/// Contacts given by configuration and disk that are kept, at most.
pub const MAX_BOOTSTRAP: usize = 32;
/// Anchors worth writing to disk.
pub const MAX_ANCHORS: usize = 16;

/// One call's surroundings.
struct Turn<'a, R, C: Peer> {
    /// Milliseconds since the overlay was made.
    now: u64,
    rng: &'a mut R,
    out: &'a mut Vec<Output<C>>,
}

/// The overlay of one peer; see the module's documentation.
#[derive(Debug)]
pub struct Overlay<C: Peer = Contact> {
    /// When something is due, or earlier.
    wake: u64,
    hot: Vec<Hot>,
    cold: Vec<Cold<C>>,
    born: Instant,
    config: Config,
    me: C,
    passive: Passive<C>,
    reserve: Reserve<C>,
    bootstrap: Box<[C]>,
    attempts: Vec<Attempt<C>>,
    guests: Vec<Guest<C::Id>>,
    vouching: Vec<Vouching<C::Id>>,
    schedule: Schedule,
    next_dial: u32,
    /// How late this node's own timers are: 0 (never) to 7.
    lateness: u8,
    /// Links lost lately, and when many were at once.
    losses: u8,
    lost_at: u64,
    shock_at: Option<u64>,
    stats: Stats,
}

/// A link, as pages and checks see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkView<I = PeerId> {
    /// The connection.
    pub conn: ConnId,
    /// With whom.
    pub peer: I,
    /// Whether this node dialled it.
    pub outbound: bool,
    /// Smoothed round trip; `None` until one was measured.
    pub rtt: Option<Duration>,
}

/// Sizes of the tables, for checks of their bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Links.
    pub links: usize,
    /// Of these, dialled by others.
    pub inbound: usize,
    /// Contacts to fall back on.
    pub passive: usize,
    /// Dials in flight.
    pub attempts: usize,
    /// Connections of others that have not asked yet.
    pub guests: usize,
}

impl<C: Peer> Overlay<C> {
    /// A peer without links that knows `bootstrap`: contacts from a ticket or
    /// the configuration, and the [`anchors`](Self::anchors) of its last life.
    pub fn new(
        config: Config,
        me: C,
        bootstrap: impl IntoIterator<Item = C>,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Self {
        let degrees = config.degrees;
        let others = bootstrap.into_iter().filter(|c| c.id() != me.id());
        Overlay {
            wake: 0,
            hot: Vec::new(),
            cold: Vec::new(),
            born: now,
            me,
            passive: Passive::new(degrees.passive),
            reserve: Reserve::new(degrees.reserve, rng),
            bootstrap: others.take(MAX_BOOTSTRAP).collect(),
            attempts: Vec::new(),
            guests: Vec::new(),
            vouching: Vec::new(),
            schedule: Schedule::new(&config, rng),
            next_dial: rng.random(),
            lateness: 0,
            losses: 0,
            lost_at: 0,
            shock_at: None,
            stats: Stats::default(),
            config,
        }
    }

    /// Takes note of what happened.
    pub fn handle_input(
        &mut self,
        input: Input<C>,
        now: Instant,
        rng: &mut impl Rng,
        out: &mut Vec<Output<C>>,
    ) {
        let now = self.millis(now);
        let turn = &mut Turn { now, rng, out };
        match input {
            Input::Message { conn, message } => self.on_message(conn, message, turn),
            Input::Dialled { dial, conn } => self.on_dialled(dial, conn, turn),
            Input::DialFailed { dial } => self.on_dial_failed(dial, turn),
            Input::Accepted { conn, peer, ip } => self.on_accepted(conn, peer, subnet(ip), turn),
            Input::Closed { conn } => self.on_closed(conn, turn),
        }
    }

    /// Does what is due; call it at the [`deadline`](Self::deadline).
    pub fn handle_timeout(&mut self, now: Instant, rng: &mut impl Rng, out: &mut Vec<Output<C>>) {
        let now = self.millis(now);
        if now < self.wake {
            return;
        }
        let turn = &mut Turn { now, rng, out };
        self.note_lateness(turn.now);
        self.check_links(turn);
        self.expire(turn);
        self.upkeep(turn);
        self.refill(turn);
        self.wake = self.next_due(turn.now);
    }

    /// When to call [`Overlay::handle_timeout`]. It may have nothing to do
    /// then: the deadline is not put off by every message that arrives.
    pub fn deadline(&self) -> Deadline<Timer> {
        Deadline {
            at: self.born + Duration::from_millis(self.wake),
            reason: Timer::Upkeep,
        }
    }

    /// Something of another protocol arrived from a link: its peer lives, and
    /// needs no ping.
    pub fn heard(&mut self, conn: ConnId, now: Instant) {
        let now = self.millis(now);
        if let Some(link) = self.hot.iter_mut().find(|link| link.conn == conn) {
            link.hear(now);
        }
    }

    /// The links.
    pub fn links(&self) -> impl Iterator<Item = LinkView<C::Id>> {
        self.hot.iter().zip(&self.cold).map(|(hot, cold)| LinkView {
            conn: hot.conn,
            peer: cold.contact.id(),
            outbound: hot.outbound,
            rtt: (hot.rtt > 0).then(|| Duration::from_millis(hot.rtt.into())),
        })
    }

    /// Contacts to fall back on.
    pub fn passive(&self) -> impl Iterator<Item = &C> {
        self.passive.iter()
    }

    /// Peers worth remembering on disk, best first: give them to
    /// [`Overlay::new`] after a restart. Longest links that this node chose
    /// itself, then peers met lately.
    pub fn anchors(&self) -> Vec<C> {
        let mut links: Vec<&Cold<C>> = self.cold.iter().collect();
        links.sort_by_key(|cold| (!cold.outbound, cold.since));
        let mut met: Vec<_> = self.reserve.iter().collect();
        met.sort_by_key(|slot| std::cmp::Reverse(slot.met));
        let links = links.into_iter().map(|cold| cold.contact);
        let mut anchors: Vec<C> = Vec::new();
        for contact in links.chain(met.into_iter().map(|slot| slot.contact)) {
            let known = anchors.iter().any(|other| other.id() == contact.id());
            if contact.is_dialable() && !known && anchors.len() < MAX_ANCHORS {
                anchors.push(contact);
            }
        }
        anchors
    }

    /// This peer, with its present coordinate.
    pub fn me(&self) -> &C {
        &self.me
    }

    /// The settings.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Counters since the start.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Sizes of the tables.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            links: self.hot.len(),
            inbound: self.inbound(),
            passive: self.passive.len(),
            attempts: self.attempts.len(),
            guests: self.guests.len(),
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        let age = now.saturating_duration_since(self.born);
        age.as_secs() * 1_000 + u64::from(age.subsec_millis())
    }

    /// Makes sure that the deadline is not after `at`.
    fn wake_by(&mut self, at: u64) {
        self.wake = self.wake.min(at);
    }

    fn next_due(&self, now: u64) -> u64 {
        let links = self.hot.iter().map(|link| self.link_due(link));
        let attempts = self.attempts.iter().map(|attempt| attempt.until);
        let guests = self.guests.iter().map(|guest| guest.until);
        let due = links.chain(attempts).chain(guests).min();
        let due = due.map_or(self.schedule.next(), |due| due.min(self.schedule.next()));
        due.max(now + 1)
    }

    fn on_message<R: Rng>(&mut self, conn: ConnId, message: Message<C>, turn: &mut Turn<'_, R, C>) {
        let index = self.hot.iter().position(|link| link.conn == conn);
        if let Some(link) = index.and_then(|index| self.hot.get_mut(index)) {
            link.hear(turn.now);
        }
        match (index, message) {
            (Some(_), Message::Ping { n }) => self.on_ping(conn, n, turn),
            (Some(index), Message::Pong { n, degree }) => self.on_pong(index, n, degree, turn),
            (Some(index), Message::Leave) => self.on_leave(index, turn),
            (Some(index), Message::Shuffle(named)) => self.on_shuffle(index, &named, turn),
            (Some(index), Message::Shuffled(named)) => self.on_shuffled(index, &named, turn),
            (Some(_), Message::Vouch { peer }) => self.on_vouch(conn, &peer, turn),
            (Some(_), Message::Alive { peer }) => self.on_alive(&peer, turn.now),
            (None, Message::Ask { me, need }) => self.on_ask(conn, &me, need, turn),
            (None, Message::Admit { me }) => self.on_admit(conn, &me, turn),
            (None, Message::Refuse { others }) => self.on_refuse(conn, &others, turn),
            // Words that crossed the end of a link, or of a rude peer.
            (Some(_), Message::Ask { .. } | Message::Admit { .. } | Message::Refuse { .. })
            | (
                None,
                Message::Ping { .. }
                | Message::Pong { .. }
                | Message::Leave
                | Message::Shuffle(_)
                | Message::Shuffled(_)
                | Message::Vouch { .. }
                | Message::Alive { .. },
            ) => {}
        }
    }
}
