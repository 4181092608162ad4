//! What people say whom this node has not heard of yet.
//!
//! News of a member that has just joined may arrive after what it says, so its
//! messages are held for a moment; once its presence is known they go to the
//! application, in order. Nothing of a stranger that stays one ever does, and
//! a direct message is not acknowledged before it is handed over.
//!
//! The other way round, what a member said just before it left may arrive
//! after its farewell: whoever was a member a moment ago is no stranger.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use super::io::Message;
use crate::frame::{DirectBody, DirectFrame};
use crate::id::{PeerId, RoomId};

/// How long a message waits for its author's presence. Presence goes to every
/// neighbour at once and is repeated with the next record: seconds are ample.
pub(super) const HOLD: Duration = Duration::from_secs(5);
/// Messages held. Filled by whoever has a link and passes on strangers'
/// messages; beyond it the newest is dropped and counted.
pub(super) const MAX_HELD: usize = 256;
/// The same for one author, so that one stranger leaves room for others.
pub(super) const MAX_HELD_EACH: usize = 32;
/// Payload held, in bytes; overflow as above.
pub(super) const MAX_HELD_BYTES: usize = 2 * 1024 * 1024;
/// How long somebody that left or died is remembered as a member.
const LATE: Duration = Duration::from_secs(10);
/// Departed members remembered; beyond it nobody new is.
const MAX_DEPARTED: usize = 4096;

/// What is held.
#[derive(Debug)]
pub(super) enum Said {
    /// A broadcast, verified and passed on.
    Broadcast(Message),
    /// A direct message and the neighbour it came from.
    Direct(DirectFrame, PeerId),
}

impl Said {
    fn len(&self) -> usize {
        match self {
            Said::Broadcast(message) => message.payload.len(),
            Said::Direct(frame, _) => match &frame.body {
                DirectBody::Open(bytes) | DirectBody::Sealed { sealed: bytes, .. } => bytes.len(),
            },
        }
    }

    /// Another attempt of the same direct message.
    fn repeats(&self, other: &Said) -> bool {
        matches!((self, other), (Said::Direct(a, _), Said::Direct(b, _)) if a.id == b.id)
    }
}

#[derive(Debug)]
struct Held {
    room: RoomId,
    author: PeerId,
    until: Instant,
    said: Said,
}

/// The messages held, oldest first, and who left lately.
#[derive(Debug, Default)]
pub(super) struct Strangers {
    held: VecDeque<Held>,
    bytes: usize,
    departed: BTreeMap<(RoomId, PeerId), Instant>,
}

impl Strangers {
    /// Holds what a stranger said; `false` when there is no space for it.
    pub(super) fn hold(&mut self, room: RoomId, author: PeerId, said: Said, now: Instant) -> bool {
        let own = self.held.iter().filter(|held| held.author == author);
        if own.clone().any(|held| held.said.repeats(&said)) {
            return true;
        }
        let fits = own.count() < MAX_HELD_EACH
            && self.held.len() < MAX_HELD
            && self.bytes + said.len() <= MAX_HELD_BYTES;
        if fits {
            self.bytes += said.len();
            self.held.push_back(Held {
                room,
                author,
                until: now + HOLD,
                said,
            });
        }
        fits
    }

    /// Hands out what somebody said who is a member of `room` from now on.
    pub(super) fn joined(&mut self, room: RoomId, author: PeerId) -> Vec<Said> {
        self.departed.remove(&(room, author));
        self.remove(|held| held.room == room && held.author == author)
    }

    /// Notes that a member of `room` is one no longer.
    pub(super) fn departed(&mut self, room: RoomId, peer: PeerId, now: Instant) {
        if self.departed.len() < MAX_DEPARTED {
            self.departed.insert((room, peer), now + LATE);
        }
    }

    /// Whether somebody was a member of `room` a moment ago.
    pub(super) fn was_member(&self, room: RoomId, peer: &PeerId) -> bool {
        self.departed.contains_key(&(room, *peer))
    }

    /// Drops what concerns a room that this node leaves.
    pub(super) fn leave(&mut self, room: RoomId) {
        self.remove(|held| held.room == room);
        self.departed.retain(|(of, _), _| *of != room);
    }

    /// Drops what has waited long enough; says how many messages.
    pub(super) fn expire(&mut self, now: Instant) -> u64 {
        self.departed.retain(|_, until| *until > now);
        self.remove(|held| held.until <= now).len() as u64
    }

    /// When [`Strangers::expire`] has something to do.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        let departed = self.departed.values().min().copied();
        let held = self.held.front().map(|held| held.until);
        departed.into_iter().chain(held).min()
    }

    fn remove(&mut self, which: impl Fn(&Held) -> bool) -> Vec<Said> {
        let (gone, kept): (VecDeque<Held>, VecDeque<Held>) = std::mem::take(&mut self.held)
            .into_iter()
            .partition(|held| which(held));
        self.held = kept;
        self.bytes = self.held.iter().map(|held| held.said.len()).sum();
        gone.into_iter().map(|held| held.said).collect()
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "tests need some instant to start from"
)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn room() -> RoomId {
        RoomId::new("m", "r")
    }

    fn peer(number: u16) -> PeerId {
        let mut bytes = [0; 32];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        PeerId::from_bytes(bytes)
    }

    fn said(from: PeerId, len: usize) -> Said {
        Said::Broadcast(Message {
            room: room(),
            from,
            channel: "c".to_owned(),
            payload: Bytes::from(vec![0; len]),
            hops: 1,
            direct: false,
        })
    }

    #[test]
    fn what_is_held_is_bounded_by_author_count_and_bytes() {
        let now = Instant::now();
        let mut strangers = Strangers::default();
        let taken = |strangers: &mut Strangers, from: u16, len| {
            strangers.hold(room(), peer(from), said(peer(from), len), now)
        };
        for _ in 0..MAX_HELD_EACH {
            assert!(taken(&mut strangers, 1, 1));
        }
        assert!(!taken(&mut strangers, 1, 1));
        for from in 2..=(MAX_HELD - MAX_HELD_EACH + 1) as u16 {
            assert!(taken(&mut strangers, from, 1));
        }
        assert!(!taken(&mut strangers, 1000, 1));
        assert_eq!(strangers.joined(room(), peer(1)).len(), MAX_HELD_EACH);
        assert!(!taken(&mut strangers, 1000, MAX_HELD_BYTES));
        assert!(taken(&mut strangers, 1000, 1));
    }

    #[test]
    fn it_is_handed_out_once_or_runs_out() {
        let now = Instant::now();
        let mut strangers = Strangers::default();
        assert!(strangers.hold(room(), peer(1), said(peer(1), 1), now));
        assert!(strangers.hold(room(), peer(2), said(peer(2), 1), now));
        assert_eq!(strangers.joined(room(), peer(1)).len(), 1);
        assert!(strangers.joined(room(), peer(1)).is_empty());
        assert_eq!(strangers.poll_timeout(), Some(now + HOLD));
        assert_eq!(strangers.expire(now), 0);
        assert_eq!(strangers.expire(now + HOLD), 1);
        assert!(strangers.joined(room(), peer(2)).is_empty());
        assert_eq!((strangers.bytes, strangers.poll_timeout()), (0, None));
    }

    #[test]
    fn who_left_a_moment_ago_is_no_stranger_until_it_is_forgotten() {
        let now = Instant::now();
        let mut strangers = Strangers::default();
        strangers.departed(room(), peer(1), now);
        assert!(strangers.was_member(room(), &peer(1)));
        assert!(!strangers.was_member(RoomId::new("m", "s"), &peer(1)));
        strangers.expire(now + LATE);
        assert!(!strangers.was_member(room(), &peer(1)));
    }
}
