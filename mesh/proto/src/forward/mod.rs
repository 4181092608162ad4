//! Direct messages: to one member, exactly once, wherever it is.
//!
//! To a neighbour a message goes open over their link. To anyone else it goes
//! sealed (HPKE to the addressee's prekey, Ed25519 inside) over other
//! members' links: to the neighbour from which news of the addressee last
//! came first, and from there on the same way; whoever knows no such
//! neighbour sends it to all of his. Each frame is passed on once.
//!
//! The addressee answers every message with a receipt that carries a token
//! only a reader of the message knows. Without one the author tries again,
//! now flooding, until [`GIVE_UP`]. The addressee recognises repetitions by
//! the author's numbering, so the application sees each message once.

mod body;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use body::Direct;
use bytes::Bytes;
use rand::CryptoRng;

use crate::frame::{AckFrame, ChannelName, DirectBody, DirectFrame, Frame, MAX_PAYLOAD, TTL};
use crate::id::{Identity, Incarnation, MessageId, PeerId, RoomId};
use crate::node::io::{SendError, Undelivered};
use crate::replay::{SeenCache, Streams};
use crate::seal::{Prekeys, PublicPrekey};
use crate::wire::WireError;

/// When the first attempt is repeated; doubled each time.
pub const RETRY: Duration = Duration::from_secs(1);
/// When a message without receipt is given up.
pub const GIVE_UP: Duration = Duration::from_secs(15);
/// Messages awaiting their receipts. Filled by the application; beyond it
/// [`SendError::Busy`].
pub const MAX_PENDING: usize = 1024;
/// The same for one addressee: well below the width of its window.
pub const MAX_PENDING_EACH: usize = 256;
/// Bytes awaiting their receipts.
pub const MAX_PENDING_BYTES: usize = 16 * 1024 * 1024;
/// Authors remembered.
const AUTHORS: usize = 8192;
/// Addressees to whom a way is known: a full roster.
const ROUTES: usize = 4096;
/// Frames remembered, with where they came from, in each of two generations.
/// Filled by neighbours; overflow forgets the way back of the oldest.
const CRUMBS: usize = 8192;
const CRUMB_LIFE: Duration = Duration::from_secs(30);

#[derive(Debug)]
struct Pending {
    to: PeerId,
    direct: Bytes,
    token: [u8; 16],
    attempt: u8,
    via: Option<PeerId>,
    sent: Instant,
    due: Instant,
    end: Instant,
}

/// What forwarding needs to know about its surroundings.
#[derive(Debug)]
pub struct Surroundings<'a> {
    /// This node's key pair.
    pub identity: &'a Identity,
    /// This node's prekeys.
    pub prekeys: &'a Prekeys,
    /// Peers with a link in this room.
    pub neighbours: &'a BTreeSet<PeerId>,
}

/// What forwarding wants done.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Send a frame to this neighbour.
    Send(PeerId, Frame),
    /// A message for this node's application.
    Deliver {
        /// Its author.
        from: PeerId,
        /// The application's channel.
        channel: String,
        /// The application's bytes.
        payload: Bytes,
        /// Links it travelled over.
        hops: u8,
    },
    /// A message of this node was received.
    Acked {
        /// Which.
        id: MessageId,
        /// From the last attempt to the receipt.
        rtt: Duration,
    },
    /// A message of this node was given up.
    Failed {
        /// Which.
        id: MessageId,
        /// Why.
        why: Undelivered,
    },
}

/// The direct messages of one room.
#[derive(Debug)]
pub struct Forward {
    me: PeerId,
    room: RoomId,
    incarnation: Incarnation,
    numbers: BTreeMap<PeerId, u64>,
    pending: BTreeMap<MessageId, Pending>,
    received: Streams,
    routes: BTreeMap<PeerId, PeerId>,
    crumbs: SeenCache<(MessageId, u8), PeerId>,
    outcomes: VecDeque<Outcome>,
}

impl Forward {
    /// The direct messages of `me` in `room`.
    pub fn new(me: PeerId, room: RoomId, incarnation: Incarnation, now: Instant) -> Self {
        Forward {
            me,
            room,
            incarnation,
            numbers: BTreeMap::new(),
            pending: BTreeMap::new(),
            received: Streams::new(AUTHORS),
            routes: BTreeMap::new(),
            crumbs: SeenCache::new(CRUMB_LIFE, CRUMBS, now),
            outcomes: VecDeque::new(),
        }
    }

    /// Goes on in a later life of this node.
    pub fn set_incarnation(&mut self, incarnation: Incarnation) {
        if self.incarnation < incarnation {
            self.incarnation = incarnation;
            self.numbers.clear();
        }
    }

    /// News of `about` came first from the neighbour `via`.
    pub fn learn(&mut self, about: PeerId, via: PeerId) {
        if self.routes.len() < ROUTES || self.routes.contains_key(&about) {
            self.routes.insert(about, via);
        }
    }

    /// Sends a message to `to`, whose prekey is `prekey`.
    pub fn send(
        &mut self,
        to: (PeerId, PublicPrekey),
        channel: ChannelName,
        payload: Bytes,
        around: &Surroundings<'_>,
        rng: &mut impl CryptoRng,
        now: Instant,
    ) -> Result<MessageId, SendError> {
        self.check_limits(&to.0, payload.len())?;
        let (id, mut token) = (MessageId::random(rng), [0; 16]);
        rng.fill_bytes(&mut token);
        let (from, room, incarnation) = (self.me, self.room, self.incarnation);
        let n = self.numbers.get(&to.0).copied().unwrap_or(0);
        let direct = Direct {
            from,
            room,
            incarnation,
            n,
            token,
            channel,
            payload,
        };
        let direct = direct.encode().map_err(|_| SendError::TooLarge)?;
        self.numbers.insert(to.0, n + 1);
        let end = now + GIVE_UP;
        let pending = Pending {
            to: to.0,
            direct,
            token,
            attempt: 0,
            via: None,
            sent: now,
            due: now,
            end,
        };
        self.pending.insert(id, pending);
        self.attempt(id, &to.1, around, rng, now);
        Ok(id)
    }

    /// Takes in a direct message from the neighbour `from`. `is_member` tells
    /// who is heard: a stranger's message is neither delivered nor
    /// acknowledged, but handed back with its author.
    pub fn direct(
        &mut self,
        frame: DirectFrame,
        from: PeerId,
        around: &Surroundings<'_>,
        is_member: impl Fn(&PeerId) -> bool,
        now: Instant,
    ) -> Result<Option<(PeerId, DirectFrame)>, WireError> {
        let first = self.crumbs.insert((frame.id, frame.attempt), from, now);
        if frame.to == self.me {
            let stranger = self.deliver(&frame, from, around, is_member)?;
            return Ok(stranger.map(|author| (author, frame)));
        }
        let open = matches!(frame.body, DirectBody::Open(_));
        if first
            && !open
            && let Some(ttl) = frame.ttl.checked_sub(1)
        {
            self.pass_on(
                DirectFrame {
                    hops: frame.hops.saturating_add(1),
                    ttl,
                    ..frame
                },
                from,
                around,
            );
        }
        Ok(None)
    }

    /// Takes in a receipt from a neighbour.
    pub fn ack(&mut self, ack: AckFrame, around: &Surroundings<'_>, now: Instant) {
        if let Some(pending) = self.pending.get(&ack.id) {
            if pending.token == ack.token {
                let rtt = now.saturating_duration_since(pending.sent);
                self.pending.remove(&ack.id);
                self.outcomes.push_back(Outcome::Acked { id: ack.id, rtt });
            }
            return;
        }
        if let Some(back) = self
            .crumbs
            .get(&(ack.id, ack.attempt))
            .filter(|back| around.neighbours.contains(back))
        {
            self.outcomes
                .push_back(Outcome::Send(*back, Frame::Ack(ack)));
        }
    }

    /// A link is gone: ways over it are forgotten, messages sent over it are
    /// due at once.
    pub fn link_down(&mut self, peer: &PeerId, now: Instant) {
        self.routes.retain(|_, via| via != peer);
        for pending in self
            .pending
            .values_mut()
            .filter(|pending| pending.via == Some(*peer))
        {
            pending.due = now;
        }
    }

    /// A member died or left: messages to it are given up.
    pub fn gone(&mut self, peer: &PeerId, why: Undelivered) {
        self.routes.remove(peer);
        self.give_up(why, |pending| pending.to == *peer);
    }

    /// The room is left: everything is given up.
    pub fn leave(&mut self) {
        self.give_up(Undelivered::Leaving, |_| true);
    }

    /// Repeats or gives up what is due. `prekey_of` finds an addressee's
    /// prekey.
    pub fn handle_timeout(
        &mut self,
        prekey_of: impl Fn(&PeerId) -> Option<PublicPrekey>,
        around: &Surroundings<'_>,
        rng: &mut impl CryptoRng,
        now: Instant,
    ) {
        self.give_up(Undelivered::Timeout, |pending| pending.end <= now);
        let due = self
            .pending
            .iter()
            .filter(|(_, pending)| pending.due <= now);
        let due: Vec<(MessageId, PeerId)> = due.map(|(id, pending)| (*id, pending.to)).collect();
        for (id, to) in due {
            match prekey_of(&to) {
                Some(prekey) => self.attempt(id, &prekey, around, rng, now),
                None => self.give_up(Undelivered::Gone, |pending| pending.to == to),
            }
        }
    }

    /// When [`Forward::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.pending
            .values()
            .map(|pending| pending.due.min(pending.end))
            .min()
    }

    /// The next thing to do.
    pub fn poll(&mut self) -> Option<Outcome> {
        self.outcomes.pop_front()
    }

    fn check_limits(&self, to: &PeerId, len: usize) -> Result<(), SendError> {
        if len > MAX_PAYLOAD {
            return Err(SendError::TooLarge);
        }
        let bytes: usize = self
            .pending
            .values()
            .map(|pending| pending.direct.len())
            .sum();
        let each = self
            .pending
            .values()
            .filter(|pending| pending.to == *to)
            .count();
        let fits = self.pending.len() < MAX_PENDING
            && each < MAX_PENDING_EACH
            && bytes + len <= MAX_PENDING_BYTES;
        if fits { Ok(()) } else { Err(SendError::Busy) }
    }

    /// Sends a pending message once more.
    fn attempt(
        &mut self,
        id: MessageId,
        prekey: &PublicPrekey,
        around: &Surroundings<'_>,
        rng: &mut impl CryptoRng,
        now: Instant,
    ) {
        let Some(pending) = self.pending.get_mut(&id) else {
            return;
        };
        let (to, attempt) = (pending.to, pending.attempt);
        pending.attempt = attempt.saturating_add(1);
        pending.sent = now;
        pending.due = now + RETRY * (1 << attempt.min(4));
        let near = around.neighbours.contains(&to);
        let body = if near {
            DirectBody::Open(pending.direct.clone())
        } else {
            // A prekey that cannot be used is the addressee's fault: without
            // receipt the message is given up in time.
            let Ok(body) = body::seal(around.identity, &to, prekey, &id, &pending.direct, rng)
            else {
                return;
            };
            body
        };
        let flood = !near && attempt > 0;
        let frame = DirectFrame {
            id,
            attempt,
            to,
            hops: 0,
            ttl: TTL,
            flood,
            body,
        };
        self.crumbs.insert((id, attempt), self.me, now);
        let me = self.me;
        let via = self.pass_on(frame, me, around);
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.via = via;
        }
    }

    /// Sends a frame to its addressee, the next on its way, or everybody.
    fn pass_on(
        &mut self,
        frame: DirectFrame,
        from: PeerId,
        around: &Surroundings<'_>,
    ) -> Option<PeerId> {
        let next = if around.neighbours.contains(&frame.to) {
            Some(frame.to)
        } else {
            self.routes
                .get(&frame.to)
                .copied()
                .filter(|via| !frame.flood && *via != from)
        };
        if let Some(via) = next.filter(|via| around.neighbours.contains(via)) {
            self.outcomes
                .push_back(Outcome::Send(via, Frame::Direct(frame)));
            return Some(via);
        }
        for neighbour in around.neighbours.iter().filter(|peer| **peer != from) {
            self.outcomes
                .push_back(Outcome::Send(*neighbour, Frame::Direct(frame.clone())));
        }
        None
    }

    /// Delivers and acknowledges a message, unless its author is a stranger,
    /// who is returned then.
    fn deliver(
        &mut self,
        frame: &DirectFrame,
        from: PeerId,
        around: &Surroundings<'_>,
        is_member: impl Fn(&PeerId) -> bool,
    ) -> Result<Option<PeerId>, WireError> {
        let direct = body::open(&self.me, &self.room, frame, from, around)?;
        if !is_member(&direct.from) {
            return Ok(Some(direct.from));
        }
        let back = Frame::Ack(AckFrame {
            id: frame.id,
            attempt: frame.attempt,
            token: direct.token,
        });
        self.outcomes.push_back(Outcome::Send(from, back));
        if self
            .received
            .insert(direct.from, direct.incarnation, direct.n, is_member)
        {
            let (from, channel, payload) =
                (direct.from, direct.channel.into_string(), direct.payload);
            self.outcomes.push_back(Outcome::Deliver {
                from,
                channel,
                payload,
                hops: frame.hops.saturating_add(1),
            });
        }
        Ok(None)
    }

    fn give_up(&mut self, why: Undelivered, which: impl Fn(&Pending) -> bool) {
        let outcomes = &mut self.outcomes;
        self.pending.retain(|id, pending| {
            let end = which(pending);
            if end {
                outcomes.push_back(Outcome::Failed { id: *id, why });
            }
            !end
        });
    }
}

#[cfg(test)]
mod tests;
