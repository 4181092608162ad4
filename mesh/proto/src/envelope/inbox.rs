//! Opening envelopes: only once, only fresh ones, only those for this node.

use std::time::{Duration, Instant};

use super::{Envelope, INFO, Letter, Proof, letter};
use crate::id::{MessageId, PeerId, RoomId, SessionId};
use crate::presence::MAX_CLOCK_SKEW_MS;
use crate::replay::SeenCache;
use crate::seal::{Prekeys, SealError};
use crate::time::Time;
use crate::wire::WireError;

/// Ids remembered in each of two generations. Filled by whoever sends
/// envelopes; overflow forgets the oldest, and letters are then still refused
/// by their own numbers.
const IDS: usize = 32 * 1024;
/// Letters remembered in each of two generations. Filled by authors with
/// valid signatures, at the rate the node lets them through.
const LETTERS: usize = 16 * 1024;
/// Longer than a letter can be fresh, by both sides' clocks.
const MEMORY: Duration = Duration::from_millis(2 * MAX_CLOCK_SKEW_MS + 20_000);

/// Remembers what was opened.
#[derive(Debug)]
pub struct Inbox {
    me: PeerId,
    ids: SeenCache<MessageId>,
    letters: SeenCache<(PeerId, SessionId, u32)>,
}

/// Why an envelope was not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another copy of it was handled already.
    #[error("seen before")]
    Duplicate,
    /// For somebody else.
    #[error("for somebody else")]
    NotForMe,
    /// Void by now.
    #[error("expired")]
    Expired,
    /// Claims to hold for longer than an envelope may.
    #[error("expires too late")]
    LastsTooLong,
    /// Cannot be opened with this node's prekeys.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The letter inside is malformed or not signed by its author for this
    /// node and envelope.
    #[error("bad letter")]
    Letter(#[source] WireError),
    /// Signed too long ago, or in the future: one of the clocks is wrong.
    #[error("signed {0} ms away from this node's clock")]
    Skew(u64),
    /// The same letter came in another envelope.
    #[error("replayed")]
    Replayed,
}

impl Inbox {
    /// The inbox of `me`.
    pub fn new(me: PeerId, now: Instant) -> Self {
        Inbox {
            me,
            ids: SeenCache::new(MEMORY, IDS, now),
            letters: SeenCache::new(MEMORY, LETTERS, now),
        }
    }

    /// Which of `rooms` the envelope addresses this node in, if any.
    pub fn addressed(
        &self,
        envelope: &Envelope,
        rooms: impl IntoIterator<Item = RoomId>,
        unix_ms: u64,
    ) -> Option<RoomId> {
        rooms
            .into_iter()
            .find(|room| envelope.to.is(&self.me, room, unix_ms))
    }

    /// Opens an envelope and checks everything there is to check about it.
    pub fn open(
        &mut self,
        envelope: &Envelope,
        prekeys: &Prekeys,
        rooms: impl IntoIterator<Item = RoomId>,
        time: Time,
    ) -> Result<Letter, OpenError> {
        self.open_proved(envelope, prekeys, rooms, time)
            .map(|(letter, _)| letter)
    }

    /// Opens an envelope, and says how to prove that to its author.
    pub fn open_proved(
        &mut self,
        envelope: &Envelope,
        prekeys: &Prekeys,
        rooms: impl IntoIterator<Item = RoomId>,
        time: Time,
    ) -> Result<(Letter, Proof), OpenError> {
        if self.ids.contains(&envelope.id) {
            return Err(OpenError::Duplicate);
        }
        let room = self
            .addressed(envelope, rooms, time.unix_ms)
            .ok_or(OpenError::NotForMe)?;
        if envelope.is_expired(time.unix_ms) {
            return Err(OpenError::Expired);
        }
        if envelope.lasts_too_long(time.unix_ms) {
            return Err(OpenError::LastsTooLong);
        }
        let plaintext = prekeys.open(
            envelope.prekey,
            INFO,
            &envelope.aad(),
            &envelope.enc,
            &envelope.sealed,
        )?;
        let letter = letter::open(
            &plaintext,
            &self.me,
            &envelope.enc,
            &envelope.id,
            envelope.expires_s,
        )
        .map_err(OpenError::Letter)?;
        let skew = letter.sent_ms.abs_diff(time.unix_ms);
        if skew > MAX_CLOCK_SKEW_MS {
            return Err(OpenError::Skew(skew));
        }
        if letter.room != room {
            return Err(OpenError::NotForMe);
        }
        self.ids.insert(envelope.id, (), time.now);
        if !self
            .letters
            .insert((letter.from, letter.session, letter.seq), (), time.now)
        {
            return Err(OpenError::Replayed);
        }
        Ok((letter, Proof::of(&plaintext)))
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "tests need some instant to start from"
)]
mod tests {
    use super::*;
    use crate::envelope::Body;
    use crate::id::Identity;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    struct Post {
        rng: ChaCha20Rng,
        ada: Identity,
        bob: Identity,
        prekeys: Prekeys,
        inbox: Inbox,
        time: Time,
    }

    const START: u64 = 1_700_000_000_000;

    fn post() -> Post {
        let mut rng = ChaCha20Rng::seed_from_u64(9);
        let bob = Identity::from_seed([2; 32]);
        let now = Instant::now();
        Post {
            ada: Identity::from_seed([1; 32]),
            prekeys: Prekeys::new(&mut rng),
            inbox: Inbox::new(bob.peer_id(), now),
            bob,
            rng,
            time: Time {
                now,
                unix_ms: START,
            },
        }
    }

    fn room() -> RoomId {
        RoomId::new("m", "r")
    }

    impl Post {
        fn letter(&self, seq: u32) -> Letter {
            Letter {
                from: self.ada.peer_id(),
                to: self.bob.peer_id(),
                room: room(),
                session: SessionId::from_bytes([1; 8]),
                seq,
                sent_ms: self.time.unix_ms,
                body: Body::Probe { nonce: 7 },
            }
        }

        fn seal(&mut self, letter: &Letter) -> Envelope {
            Envelope::seal(letter, &self.ada, &self.prekeys.public(), &mut self.rng).unwrap()
        }

        fn open(&mut self, envelope: &Envelope) -> Result<Letter, OpenError> {
            self.inbox
                .open(envelope, &self.prekeys, [room()], self.time)
        }
    }

    #[test]
    fn a_letter_arrives_once() {
        let mut post = post();
        let letter = post.letter(1);
        let envelope = post.seal(&letter);
        assert_eq!(post.open(&envelope).unwrap(), letter);
        assert!(matches!(post.open(&envelope), Err(OpenError::Duplicate)));
        let again = post.seal(&letter);
        assert!(matches!(post.open(&again), Err(OpenError::Replayed)));
        let letter = post.letter(2);
        let next = post.seal(&letter);
        assert!(post.open(&next).is_ok());
    }

    #[test]
    fn every_authenticated_field_is_authenticated() {
        let mut post = post();
        let letter = post.letter(1);
        let good = post.seal(&letter);
        let mut bad = good.clone();
        bad.expires_s += 1;
        assert!(matches!(
            post.open(&bad),
            Err(OpenError::Seal(SealError::Open))
        ));
        let mut bad = good.clone();
        bad.id = MessageId::from_bytes([0; 16]);
        assert!(matches!(
            post.open(&bad),
            Err(OpenError::Seal(SealError::Open))
        ));
        let mut bad = good.clone();
        bad.flags = 1;
        assert!(matches!(
            post.open(&bad),
            Err(OpenError::Seal(SealError::Open))
        ));
        let mut moved = good;
        moved.hops = 3;
        moved.ttl = 1;
        assert!(post.open(&moved).is_ok());
    }

    #[test]
    fn a_letter_for_somebody_else_cannot_be_sealed_again() {
        let mut post = post();
        // Ada writes to Carol; Carol seals the very same signed text to Bob.
        let mut letter = post.letter(1);
        letter.to = Identity::from_seed([3; 32]).peer_id();
        let mut resealed = post.seal(&letter);
        resealed.to = super::super::RouteTag::new(&post.bob.peer_id(), &room(), post.time.unix_ms);
        assert!(matches!(post.open(&resealed), Err(OpenError::Seal(_))));
        let aad = resealed.aad();
        let payload = letter.encode().unwrap();
        let (to, id, expires_s) = (letter.to, resealed.id, resealed.expires_s);
        let ada = post.ada.clone();
        let (enc, sealed) =
            crate::seal::seal_with(&post.prekeys.public(), INFO, &aad, &mut post.rng, |enc| {
                letter::sign(&ada, &to, enc, &id, expires_s, &payload)
            })
            .unwrap();
        resealed.enc = enc;
        resealed.sealed = sealed.into();
        assert!(matches!(
            post.open(&resealed),
            Err(OpenError::Letter(WireError::BadSignature))
        ));
    }

    #[test]
    fn an_author_cannot_be_claimed() {
        let mut post = post();
        let mut letter = post.letter(1);
        letter.from = Identity::from_seed([3; 32]).peer_id();
        let forged = post.seal(&letter);
        assert!(matches!(
            post.open(&forged),
            Err(OpenError::Letter(WireError::BadSignature))
        ));
    }

    #[test]
    fn wrong_clocks_and_late_envelopes_are_told_apart() {
        let mut post = post();
        let mut letter = post.letter(1);
        letter.sent_ms = START + MAX_CLOCK_SKEW_MS + 5;
        let early = post.seal(&letter);
        assert!(
            matches!(post.open(&early), Err(OpenError::Skew(ms)) if ms == MAX_CLOCK_SKEW_MS + 5)
        );
        letter.sent_ms = START - MAX_CLOCK_SKEW_MS - 5;
        let slow = post.seal(&letter);
        assert!(matches!(post.open(&slow), Err(OpenError::Skew(_))));
        letter.sent_ms = START - MAX_CLOCK_SKEW_MS - 31_000;
        let late = post.seal(&letter);
        assert!(matches!(post.open(&late), Err(OpenError::Expired)));
    }

    #[test]
    fn an_envelope_that_would_hold_for_longer_than_one_may_is_refused() {
        let mut post = post();
        let letter = post.letter(1);
        let mut lasting = post.seal(&letter);
        let latest = START + u64::from(super::super::ENVELOPE_LIFE_S) * 1000 + MAX_CLOCK_SKEW_MS;
        lasting.expires_s = u32::try_from(latest / 1000).unwrap();
        assert!(!lasting.lasts_too_long(START));
        lasting.expires_s += 1;
        assert!(lasting.lasts_too_long(START));
        // Sealed and signed by its author for that long.
        let (aad, payload) = (lasting.aad(), letter.encode().unwrap());
        let (ada, to, id, expires_s) = (post.ada.clone(), letter.to, lasting.id, lasting.expires_s);
        let (enc, sealed) =
            crate::seal::seal_with(&post.prekeys.public(), INFO, &aad, &mut post.rng, |enc| {
                letter::sign(&ada, &to, enc, &id, expires_s, &payload)
            })
            .unwrap();
        (lasting.enc, lasting.sealed) = (enc, sealed.into());
        assert!(matches!(post.open(&lasting), Err(OpenError::LastsTooLong)));
        // Within the bound a second later, it was good all the time.
        post.time.unix_ms += 1000;
        assert!(post.open(&lasting).is_ok());
    }

    #[test]
    fn another_room_is_not_addressed() {
        let mut post = post();
        let letter = post.letter(1);
        let envelope = post.seal(&letter);
        let elsewhere =
            post.inbox
                .open(&envelope, &post.prekeys, [RoomId::new("m", "s")], post.time);
        assert!(matches!(elsewhere, Err(OpenError::NotForMe)));
    }
}
