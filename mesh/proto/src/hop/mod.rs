//! Signaling that goes from neighbour to neighbour to one peer, instead of to
//! everybody.
//!
//! A sealed [`Envelope`] names its addressee by a tag that says nothing to those
//! on the way. Over the overlay's links it is brought there by the first of
//! these [`Strategy`]s that works:
//!
//! 1. **Direct**: the link that both ends have.
//! 2. **Trail**: the reverse of the way that news of the addressee took. News
//!    are presence records ([`Hop::learn`]), acknowledgements, the way of an
//!    earlier envelope of the session ([`Parcel::along`]), and the *digests*
//!    that neighbours swap: who is within three links of them, as
//!    fingerprints. Where nobody knows the addressee or its relays, the
//!    envelope takes a step at random: a few lead to somebody who does.
//! 3. **Greedy**: nearer and nearer in the space of tags, digests or not.
//! 4. **Relay**: to a peer that the addressee named, and on from there.
//! 5. **Mailbox**: to wait, at up to three places, until there is a way.
//! 6. **Flood**: to everybody in the room, one small envelope in ten seconds.
//!
//! Whoever has no way for an envelope gives it back, and its last holder tries
//! another neighbour; what an attempt costs is bounded by a budget that it
//! carries both ways. The addressee acknowledges with a [`Proof`] that only
//! who could open the envelope has. An attempt without answer is followed by
//! the next strategy, and avoids the neighbours of the one before. The sender
//! hears exactly once what became of its envelope: [`End`].
//!
//! # Contract
//!
//! [`Hop`] is an engine as [`Overlay`](crate::overlay::Overlay) is: inputs with
//! the time and a generator, [`Output`]s into a buffer of the caller's, a
//! [`deadline`](Hop::deadline). It neither seals nor opens: envelopes for this
//! node come out as [`Output::Deliver`], and the caller says
//! [`acknowledge`](Hop::acknowledge) or [`refuse`](Hop::refuse).
//!
//! # Against neighbours that lie
//!
//! They cannot read, alter or acknowledge. They can drop what they attract:
//! the next attempt goes another way, and silence is remembered. They can
//! replay and flood: each link has its credit, each attempt passes once. They
//! cannot fill this node's memory: every table has a bound.

mod config;
mod crumbs;
mod digest;
mod frame;
mod links;
mod mailbox;
mod pace;
mod parcels;
mod relay;
mod tags;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::Rng;

pub use config::{
    Config, FLOOD_MEMBERS, MAX_CRUMBS, MAX_FLOOD, MAX_HELD, MAX_LINKS, MAX_MAIL,
    MAX_MAIL_BYTES_EACH, MAX_MAIL_EACH, MAX_PARCELS, MAX_RELAYS, MAX_TRAILS,
};
pub use digest::Digest;
pub use frame::{Frame, Route, Strategy};
pub use pace::{FULL_ROSTER, PRESENCE_BUDGET, presence_pause};

use crumbs::{Crumbs, Origin, Trails};
use links::Links;
use mailbox::Mailbox;
use parcels::{FLOOD, RoundTrip, Underway};
use tags::Tags;

use crate::envelope::{Envelope, Proof, Refusal, RouteTag};
use crate::id::{MessageId, PeerId, RoomId};
use crate::time::{Deadline, Time};

/// An own envelope to be delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    /// Whom it is for.
    pub to: PeerId,
    /// The envelope.
    pub envelope: Envelope,
    /// What only its addressee can answer.
    pub proof: Proof,
    /// Tags of peers that the addressee has links with, by its own word; the
    /// first [`MAX_RELAYS`] count.
    pub relays: Vec<RouteTag>,
    /// The name of an earlier envelope between the two: the same way is tried
    /// first.
    pub along: Option<MessageId>,
}

/// What became of an own envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The addressee has opened it.
    Delivered {
        /// From handing it over to the acknowledgement.
        after: Duration,
        /// What it took.
        strategy: Strategy,
    },
    /// Nobody takes it: all strategies failed several times and none went
    /// without an answer, or the addressee cannot open it.
    Nacked(Refusal),
    /// Its time is over. It may have been opened for all that.
    Expired,
}

/// Why an envelope was not taken for delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// [`MAX_PARCELS`] are under way.
    #[error("too many envelopes under way")]
    Busy,
    /// It is under way already.
    #[error("sent before")]
    Duplicate,
    /// Its time is over.
    #[error("expired")]
    Expired,
    /// It is for this node.
    #[error("for this node itself")]
    Oneself,
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send.
    Send {
        /// To this neighbour.
        to: PeerId,
        /// What.
        frame: Frame,
    },
    /// An envelope for this node: open it, and say
    /// [`acknowledge`](Hop::acknowledge) or [`refuse`](Hop::refuse).
    Deliver {
        /// Its name.
        name: MessageId,
        /// The envelope.
        envelope: Envelope,
        /// Links it travelled over.
        hops: u8,
    },
    /// Publish to the room, for [`handle_flood`](Hop::handle_flood) there.
    Flood {
        /// The envelope.
        envelope: Envelope,
    },
    /// What became of an own envelope; said once of each.
    Ended {
        /// Its name, as [`Hop::send`] gave it.
        name: MessageId,
        /// What became of it.
        end: End,
    },
}

/// What the next deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// An own envelope goes another way, or expires.
    Parcel,
    /// Neighbours are told what is around.
    Digest,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Own attempts by strategy, in its order.
    pub attempts: [u32; 6],
    /// Envelopes passed on, own ones included.
    pub steps: u64,
    /// Of these, steps that no table led to.
    pub blind: u64,
    /// Envelopes that came in a circle or over a second way.
    pub loops: u64,
    /// Envelopes that arrived for this node.
    pub arrived: u64,
    /// Envelopes of others that were kept.
    pub kept: u64,
    /// Envelopes refused for want of credit or memory.
    pub busy: u64,
    /// Neighbours passed over for want of credit.
    pub starved: u64,
    /// Acknowledgements of own envelopes that proved nothing.
    pub forged: u64,
    /// Digests sent.
    pub digests: u64,
}

impl Stats {
    fn attempts(&mut self, strategy: Strategy) -> &mut u32 {
        let [direct, trail, greedy, relay, mailbox, flood] = &mut self.attempts;
        match strategy {
            Strategy::Direct => direct,
            Strategy::Trail => trail,
            Strategy::Greedy => greedy,
            Strategy::Relay => relay,
            Strategy::Mailbox => mailbox,
            Strategy::Flood => flood,
        }
    }
}

/// Sizes of the tables, for checks of their bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Neighbours.
    pub links: usize,
    /// Own envelopes under way.
    pub parcels: usize,
    /// Ways remembered.
    pub crumbs: usize,
    /// Bytes of envelopes held.
    pub held: usize,
    /// Exact ways to peers.
    pub trails: usize,
    /// Envelopes that wait for their addressees.
    pub mail: usize,
}

impl Sizes {
    /// Whether all of them are within their bounds.
    pub fn are_bounded(&self) -> bool {
        self.links <= MAX_LINKS
            && self.parcels <= MAX_PARCELS
            && self.crumbs <= MAX_CRUMBS
            && self.held <= MAX_HELD
            && self.trails <= MAX_TRAILS + 1
            && self.mail <= MAX_MAIL
    }
}

/// One call's surroundings.
struct Turn<'a, R> {
    /// Milliseconds since the engine was made.
    now: u64,
    unix_ms: u64,
    rng: &'a mut R,
    out: &'a mut Vec<Output>,
}

impl<R> Turn<'_, R> {
    fn send(&mut self, to: PeerId, frame: Frame) {
        self.out.push(Output::Send { to, frame });
    }
}

/// The signaling of one peer; see the module's documentation.
#[derive(Debug)]
pub struct Hop {
    config: Config,
    born: Instant,
    me: PeerId,
    tags: Tags,
    links: Links,
    crumbs: Crumbs,
    trails: Trails,
    mail: Mailbox,
    parcels: BTreeMap<MessageId, Underway>,
    round_trip: RoundTrip,
    next_flood: u64,
    /// When neighbours are told everything, or the links, next; and not
    /// before.
    next_digest: u64,
    next_brief: u64,
    least_digest: u64,
    told: Option<Digest>,
    stats: Stats,
}

impl Hop {
    /// The signaling of `me`, which is in no room and has no neighbours yet.
    pub fn new(config: Config, me: PeerId, now: Instant) -> Self {
        Hop {
            config,
            born: now,
            me,
            tags: Tags::default(),
            links: Links::default(),
            crumbs: Crumbs::default(),
            trails: Trails::default(),
            mail: Mailbox::default(),
            parcels: BTreeMap::new(),
            round_trip: RoundTrip::new(),
            next_flood: 0,
            next_digest: millis(config.digest),
            next_brief: u64::MAX,
            least_digest: 0,
            told: None,
            stats: Stats::default(),
        }
    }

    /// The rooms this node can be addressed in, the first 16 of them.
    pub fn set_rooms(&mut self, rooms: impl IntoIterator<Item = RoomId>, now: Instant) {
        self.tags.set_rooms(rooms);
        self.tell_soon(self.millis(now));
    }

    /// The overlay has a new link.
    pub fn link_up(&mut self, peer: PeerId, time: Time, rng: &mut impl Rng, out: &mut Vec<Output>) {
        let turn = &mut self.turn(time, rng, out);
        if !self.links.add(peer, turn.now) {
            return;
        }
        let digest = self.digest();
        self.least_digest = self.least_digest.max(turn.now) + self.cost(digest.len());
        self.stats.digests += 1;
        turn.send(peer, Frame::Digest(Box::new(digest)));
        self.tell_soon(turn.now);
    }

    /// A link is gone.
    pub fn link_down(
        &mut self,
        peer: &PeerId,
        time: Time,
        rng: &mut impl Rng,
        out: &mut Vec<Output>,
    ) {
        let turn = &mut self.turn(time, rng, out);
        if self.links.remove(peer) {
            self.reroute(peer, turn);
            self.tell_soon(turn.now);
        }
    }

    /// News of the peer with this tag came first from the neighbour `via`.
    pub fn learn(&mut self, tag: RouteTag, via: PeerId, now: Instant) {
        let now = self.millis(now);
        self.trails.learn(tag, via, now);
    }

    /// Takes a neighbour's frame. What comes from others is dropped.
    pub fn handle_frame(
        &mut self,
        from: PeerId,
        frame: Frame,
        time: Time,
        rng: &mut impl Rng,
        out: &mut Vec<Output>,
    ) {
        if self.links.get(&from).is_none() {
            return;
        }
        let turn = &mut self.turn(time, rng, out);
        match frame {
            Frame::Route(route) => self.on_route(from, route, turn),
            Frame::Ack {
                name,
                attempt,
                proof,
                to,
                links,
            } => self.on_ack(from, (name, attempt), proof, (to, links), turn),
            Frame::Nack {
                name,
                attempt,
                why,
                left,
            } => self.on_nack(from, (name, attempt), why, left, turn),
            Frame::Kept { name, attempt } => self.on_kept(from, (name, attempt), turn),
            Frame::Digest(digest) => {
                if let Some(link) = self.links.get_mut(&from).filter(|_| digest.is_sound()) {
                    let before = std::mem::take(&mut link.digest);
                    link.digest = before.then(digest.modest());
                    self.deliver_mail(&from, turn);
                }
            }
        }
    }

    /// Takes an envelope that somebody flooded.
    pub fn handle_flood(
        &mut self,
        envelope: Envelope,
        time: Time,
        rng: &mut impl Rng,
        out: &mut Vec<Output>,
    ) {
        let turn = &mut self.turn(time, rng, out);
        let unix = turn.unix_ms;
        let mine = self.is_mine(&envelope.to);
        if mine && !envelope.is_expired(unix) && !envelope.lasts_too_long(unix) {
            let key = (relay::name_of(&envelope), FLOOD);
            if self.crumbs.get(&key).is_none() {
                self.arrive(Origin::Flood, key, envelope, turn);
            }
        }
    }

    /// Delivers an envelope of this node; returns its name.
    pub fn send(
        &mut self,
        parcel: Parcel,
        time: Time,
        rng: &mut impl Rng,
        out: &mut Vec<Output>,
    ) -> Result<MessageId, SendError> {
        let turn = &mut self.turn(time, rng, out);
        if parcel.to == self.me {
            return Err(SendError::Oneself);
        }
        let name = relay::name_of(&parcel.envelope);
        let life = u64::from(parcel.envelope.expires_s) * 1_000;
        let life = life.checked_sub(turn.unix_ms).filter(|life| *life > 0);
        let end = turn.now + life.ok_or(SendError::Expired)?;
        if self.parcels.contains_key(&name) || self.crumbs.attempts(&name).next().is_some() {
            return Err(SendError::Duplicate);
        }
        if self.parcels.len() >= MAX_PARCELS {
            return Err(SendError::Busy);
        }
        self.parcels
            .insert(name, Underway::new(parcel, turn.now, end));
        self.try_next(name, turn);
        Ok(name)
    }

    /// A delivered envelope was opened. `author` is the tag of who wrote it.
    pub fn acknowledge(
        &mut self,
        name: MessageId,
        proof: Proof,
        author: RouteTag,
        time: Time,
        rng: &mut impl Rng,
        out: &mut Vec<Output>,
    ) {
        let turn = &mut self.turn(time, rng, out);
        self.ack_all(name, proof, author, turn);
    }

    /// A delivered envelope could not be opened, or is not wanted.
    pub fn refuse(
        &mut self,
        name: MessageId,
        why: Refusal,
        time: Time,
        rng: &mut impl Rng,
        out: &mut Vec<Output>,
    ) {
        let turn = &mut self.turn(time, rng, out);
        self.nack_all(name, why, turn);
    }

    /// Does what is due; call it at the [`deadline`](Self::deadline).
    pub fn handle_timeout(&mut self, time: Time, rng: &mut impl Rng, out: &mut Vec<Output>) {
        let turn = &mut self.turn(time, rng, out);
        self.check_parcels(turn);
        if turn.now >= self.next_digest {
            self.crumbs.expire(turn.now);
            self.mail.expire(turn.now);
            self.tell(turn);
        } else if turn.now >= self.next_brief {
            self.tell_links(turn);
        }
    }

    /// When to call [`Hop::handle_timeout`].
    pub fn deadline(&self) -> Deadline<Timer> {
        let parcel = self.parcels.values().map(Underway::due).min();
        let digest = self.next_digest.min(self.next_brief);
        let (at, reason) = match parcel {
            Some(at) if at < digest => (at, Timer::Parcel),
            Some(_) | None => (digest, Timer::Digest),
        };
        Deadline {
            at: self.born + duration(at),
            reason,
        }
    }

    /// Counters since the start.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Sizes of the tables.
    pub fn sizes(&self) -> Sizes {
        Sizes {
            links: self.links.len(),
            parcels: self.parcels.len(),
            crumbs: self.crumbs.len(),
            held: self.crumbs.held(),
            trails: self.trails.len(),
            mail: self.mail.len(),
        }
    }

    fn millis(&self, now: Instant) -> u64 {
        millis(now.saturating_duration_since(self.born))
    }

    fn turn<'a, R>(&mut self, time: Time, rng: &'a mut R, out: &'a mut Vec<Output>) -> Turn<'a, R> {
        let now = self.millis(time.now);
        if self.tags.update(&self.me, time.unix_ms) {
            self.tell_soon(now);
        }
        Turn {
            now,
            unix_ms: time.unix_ms,
            rng,
            out,
        }
    }

    fn is_mine(&self, tag: &RouteTag) -> bool {
        self.tags.mine(tag)
    }

    fn digest(&self) -> Digest {
        let told = self.links.iter().map(|link| &link.digest);
        Digest::new(self.tags.told(), told)
    }

    /// Milliseconds for which so many bytes of digests use up their rate.
    fn cost(&self, bytes: usize) -> u64 {
        bytes as u64 * 1_000 / u64::from(self.config.digest_rate.max(1))
    }

    /// Something has changed that neighbours should know.
    fn tell_soon(&mut self, now: u64) {
        let soon = now + millis(self.config.digest_soon);
        self.next_brief = self.next_brief.min(soon.max(self.least_digest));
    }

    /// Tells all neighbours what is around; every other time only if that has
    /// changed.
    fn tell<R>(&mut self, turn: &mut Turn<'_, R>) {
        let digest = self.digest();
        self.next_digest = turn.now + millis(self.config.digest);
        self.next_brief = u64::MAX;
        if self.told.as_ref() == Some(&digest) {
            self.told = None;
            return;
        }
        self.tell_all(&digest, turn);
        self.next_digest = self.next_digest.max(self.least_digest);
        self.told = Some(digest);
    }

    /// Tells all neighbours which links there are.
    fn tell_links<R>(&mut self, turn: &mut Turn<'_, R>) {
        self.next_brief = u64::MAX;
        let digest = self.digest().brief();
        self.tell_all(&digest, turn);
    }

    fn tell_all<R>(&mut self, digest: &Digest, turn: &mut Turn<'_, R>) {
        let bytes = digest.len() * self.links.len();
        self.least_digest = self.least_digest.max(turn.now) + self.cost(bytes);
        self.stats.digests += self.links.len() as u64;
        for link in self.links.iter() {
            turn.send(link.peer, Frame::Digest(Box::new(digest.clone())));
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn duration(millis: u64) -> Duration {
    Duration::from_millis(millis)
}
