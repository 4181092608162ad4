//! Envelopes: signaling addressed to one peer, opaque to everyone else.
//!
//! Outside, an [`Envelope`] shows a routing tag that only those who know the
//! recipient, the room and the hour can compute, an id, an expiry and hop
//! counters. Inside, sealed by HPKE (RFC 9180) to the recipient's prekey, is a
//! [`Letter`] with an Ed25519 signature that covers the recipient, the
//! encapsulated key, the id and the expiry: a letter cannot be sealed again
//! to somebody else, nor sent again in another envelope.
//!
//! [`HopFrame`] is what neighbours of the gossip overlay say to each other.
//! Envelopes that are routed travel in [`hop::Frame`]s inside of it. A
//! [`Node`](crate::Node) does not speak these yet: it sends envelopes to their
//! addressees only, and answers [`Refusal::NoRoute`] for other people's.

mod inbox;
mod letter;

use bytes::Bytes;
use rand::CryptoRng;
use serde::{Deserialize, Serialize};

pub use inbox::{Inbox, OpenError};
pub use letter::{
    Body, CANDIDATE_LEN, Candidates, Letter, MAX_CANDIDATES, MAX_SDP, RejectReason, Sdp, SealFailed,
};

use crate::hop;
use crate::id::{Identity, MessageId, PeerId, RoomId, tagged_hash};
use crate::presence::{MAX_CLOCK_SKEW_MS, Records};
use crate::seal::{self, Encapsulated, PublicPrekey};
use crate::wire::{self, WireError};

/// Largest envelope, encoded. Signaling of a data-channel session with its
/// identity assertion takes about half of it.
pub const MAX_ENVELOPE: usize = 4096;
/// Largest hop frame or gossip message: a full batch of records.
pub const MAX_HOP: usize = 160 * 1024;
/// How long an envelope is worth delivering.
pub const ENVELOPE_LIFE_S: u32 = 30;
/// Hops a routed or flooded envelope may take.
pub const ENVELOPE_TTL: u8 = 10;

pub(crate) const VERSION: u8 = 1;
const INFO: &[u8] = b"peerloom/envelope/1";
const HOUR_MS: u64 = 3_600_000;

/// Sixteen bytes that name the recipient to those who could have guessed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RouteTag(#[serde(with = "serde_bytes")] [u8; 16]);

impl RouteTag {
    /// The tag of `to` in `room` during the hour that `unix_ms` falls in.
    pub fn new(to: &PeerId, room: &RoomId, unix_ms: u64) -> Self {
        Self::of_hour(to, room, unix_ms / HOUR_MS)
    }

    /// The bytes of the tag.
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    fn of_hour(to: &PeerId, room: &RoomId, hour: u64) -> Self {
        let parts: [&[u8]; 3] = [to.as_bytes(), room.as_bytes(), &hour.to_be_bytes()];
        RouteTag(tagged_hash("peerloom/route/1", &parts))
    }

    /// Whether this is the tag of `to` in `room` in this hour or one beside
    /// it (clocks differ, and hours end).
    pub fn is(&self, to: &PeerId, room: &RoomId, unix_ms: u64) -> bool {
        let hour = unix_ms / HOUR_MS;
        (hour.saturating_sub(1)..=hour + 1).any(|hour| Self::of_hour(to, room, hour) == *self)
    }
}

/// Proof of having opened an envelope: a hash of what is sealed in it, the
/// author's signature included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Proof(#[serde(with = "serde_bytes")] [u8; 8]);

impl Proof {
    /// The proof with these bytes.
    pub const fn from_bytes(bytes: [u8; 8]) -> Self {
        Proof(bytes)
    }

    fn of(plaintext: &[u8]) -> Self {
        Proof(tagged_hash("peerloom/opened/1", &[plaintext]))
    }
}

/// A sealed letter on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Whom it is for.
    pub to: RouteTag,
    /// Tells copies of one envelope from other envelopes.
    pub id: MessageId,
    /// Seconds since 1970 after which it is void.
    pub expires_s: u32,
    /// Hops taken so far; not authenticated.
    pub hops: u8,
    /// Hops it may still take; not authenticated.
    pub ttl: u8,
    /// Reserved for routing, authenticated; zero today, unknown bits ignored.
    pub flags: u8,
    /// Which of the recipient's prekeys opens it.
    pub prekey: u16,
    /// The encapsulated key.
    pub enc: Encapsulated,
    /// The sealed letter.
    #[serde(with = "wire::bin")]
    pub sealed: Bytes,
}

impl Envelope {
    /// Seals `letter` to `prekey`, which must be its addressee's.
    pub fn seal(
        letter: &Letter,
        identity: &Identity,
        prekey: &PublicPrekey,
        rng: &mut impl CryptoRng,
    ) -> Result<Envelope, SealFailed> {
        Envelope::seal_proved(letter, identity, prekey, rng).map(|(envelope, _)| envelope)
    }

    /// Seals `letter`, and says what its addressee will prove to have opened
    /// it with.
    pub fn seal_proved(
        letter: &Letter,
        identity: &Identity,
        prekey: &PublicPrekey,
        rng: &mut impl CryptoRng,
    ) -> Result<(Envelope, Proof), SealFailed> {
        let payload = letter.encode()?;
        let id = MessageId::random(rng);
        let sent_s = u32::try_from(letter.sent_ms / 1000).unwrap_or(u32::MAX);
        let mut envelope = Envelope {
            to: RouteTag::new(&letter.to, &letter.room, letter.sent_ms),
            id,
            expires_s: sent_s.saturating_add(ENVELOPE_LIFE_S),
            hops: 0,
            ttl: ENVELOPE_TTL,
            flags: 0,
            prekey: prekey.id,
            enc: Encapsulated([0; 32]),
            sealed: Bytes::new(),
        };
        let expires_s = envelope.expires_s;
        let mut proof = Proof([0; 8]);
        let (enc, sealed) = seal::seal_with(prekey, INFO, &envelope.aad(), rng, |enc| {
            let text = letter::sign(identity, &letter.to, enc, &id, expires_s, &payload);
            proof = Proof::of(&text);
            text
        })?;
        envelope.enc = enc;
        envelope.sealed = sealed.into();
        Ok((envelope, proof))
    }

    /// What the seal authenticates besides the letter: version, recipient,
    /// id, expiry, flags and prekey. Hop counters change on the way.
    fn aad(&self) -> Vec<u8> {
        let mut aad = vec![VERSION];
        aad.extend_from_slice(&self.to.0);
        aad.extend_from_slice(self.id.as_bytes());
        aad.extend_from_slice(&self.expires_s.to_be_bytes());
        aad.push(self.flags);
        aad.extend_from_slice(&self.prekey.to_be_bytes());
        aad
    }

    /// A name for these very sealed bytes: copies of one envelope share it,
    /// whatever their hop counters; a copy that was altered has another one.
    pub fn digest(&self) -> [u8; 16] {
        let parts: [&[u8]; 3] = [&self.aad(), &self.enc.0, &self.sealed];
        tagged_hash("peerloom/envelope-seen/1", &parts)
    }

    /// Whether it claims to hold for longer than an envelope may, even if the
    /// author's clock is ahead of this node's by as much as is tolerated.
    pub fn lasts_too_long(&self, unix_ms: u64) -> bool {
        let life_ms = u64::from(ENVELOPE_LIFE_S) * 1000;
        u64::from(self.expires_s) * 1000 > unix_ms.saturating_add(life_ms + MAX_CLOCK_SKEW_MS)
    }

    /// Whether it is void by now, even if this node's clock is ahead of the
    /// author's by as much as is tolerated.
    pub fn is_expired(&self, unix_ms: u64) -> bool {
        u64::from(self.expires_s) * 1000 + MAX_CLOCK_SKEW_MS < unix_ms
    }
}

/// Why a hop did not take an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// Not for this node, and it knows no way.
    NoRoute,
    /// Void, or no hops left.
    Expired,
    /// The sender's credit or rate is used up.
    Busy,
    /// For this node, which cannot open it (an old prekey, a wrong clock).
    Unreadable,
}

/// What neighbours of the gossip overlay say to each other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HopFrame {
    /// An envelope for the receiver, or to be passed on.
    #[serde(rename = "f")]
    Forward(Envelope),
    /// The envelope was taken.
    #[serde(rename = "a")]
    Ack {
        /// Which.
        id: MessageId,
    },
    /// The envelope was not taken.
    #[serde(rename = "n")]
    Nack {
        /// Which.
        id: MessageId,
        /// Why.
        why: Refusal,
    },
    /// The receiver may send this many bytes more. Reserved for routing.
    #[serde(rename = "c")]
    Credit {
        /// Bytes.
        bytes: u32,
    },
    /// Presences, leaves and obituaries.
    #[serde(rename = "r")]
    Records(Records),
    /// Signaling that goes from neighbour to neighbour.
    #[serde(rename = "h")]
    Hop(hop::Frame),
}

impl HopFrame {
    /// Encodes the frame.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        wire::encode(VERSION, MAX_HOP, self)
    }

    /// Decodes a frame, its envelope within its own limit.
    pub fn decode(bytes: &[u8]) -> Result<HopFrame, WireError> {
        let frame: HopFrame = wire::decode(VERSION, MAX_HOP, bytes)?;
        match &frame {
            HopFrame::Forward(_) if bytes.len() > MAX_ENVELOPE => Err(WireError::TooLarge {
                len: bytes.len(),
                max: MAX_ENVELOPE,
            }),
            HopFrame::Hop(hop) => {
                hop.check(bytes.len())?;
                Ok(frame)
            }
            HopFrame::Forward(_)
            | HopFrame::Ack { .. }
            | HopFrame::Nack { .. }
            | HopFrame::Credit { .. }
            | HopFrame::Records(_) => Ok(frame),
        }
    }
}

/// What is published on gossip topics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Gossip {
    /// On the mesh's topic: presences, leaves and obituaries.
    #[serde(rename = "r")]
    Records(Records),
    /// On a room's topic, as a last resort: an envelope for one member.
    #[serde(rename = "f")]
    Flood(Envelope),
}

/// Largest gossip message: gossipsub refuses more than 64 KiB by default.
pub const MAX_GOSSIP: usize = 16 * 1024;

impl Gossip {
    /// Encodes the message.
    pub fn encode(&self) -> Result<Bytes, WireError> {
        let max = match self {
            Gossip::Records(_) => MAX_GOSSIP,
            Gossip::Flood(_) => MAX_ENVELOPE,
        };
        wire::encode(VERSION, max, self)
    }

    /// Decodes a message, a flooded envelope within its own limit.
    pub fn decode(bytes: &[u8]) -> Result<Gossip, WireError> {
        let gossip: Gossip = wire::decode(VERSION, MAX_GOSSIP, bytes)?;
        match &gossip {
            Gossip::Flood(_) if bytes.len() > MAX_ENVELOPE => Err(WireError::TooLarge {
                len: bytes.len(),
                max: MAX_ENVELOPE,
            }),
            Gossip::Flood(_) | Gossip::Records(_) => Ok(gossip),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::SessionId;
    use crate::seal::Prekeys;
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    fn envelope(body: Body) -> Result<Envelope, SealFailed> {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let identity = Identity::from_seed([1; 32]);
        let letter = Letter {
            from: identity.peer_id(),
            to: PeerId::from_bytes([2; 32]),
            room: RoomId::new("m", "r"),
            session: SessionId::from_bytes([3; 8]),
            seq: 4,
            sent_ms: 5_000_000,
            body,
        };
        Envelope::seal(
            &letter,
            &identity,
            &Prekeys::new(&mut rng).public(),
            &mut rng,
        )
    }

    #[test]
    fn the_largest_description_fits_and_a_larger_one_does_not() {
        let offer = |len: usize| Body::Answer {
            generation: 1,
            sdp: Sdp::Full(crate::wire::BoundedString::new("s".repeat(len)).unwrap()),
        };
        let frame = HopFrame::Forward(envelope(offer(MAX_SDP)).unwrap())
            .encode()
            .unwrap();
        assert!(frame.len() <= MAX_ENVELOPE, "{}", frame.len());
        assert!(HopFrame::decode(&frame).is_ok());
    }

    #[test]
    fn frames_round_trip() {
        let envelope = envelope(Body::Bye).unwrap();
        let id = envelope.id;
        for frame in [
            HopFrame::Forward(envelope.clone()),
            HopFrame::Ack { id },
            HopFrame::Nack {
                id,
                why: Refusal::Busy,
            },
            HopFrame::Credit { bytes: 7 },
            HopFrame::Records(Records::default()),
        ] {
            assert_eq!(HopFrame::decode(&frame.encode().unwrap()).unwrap(), frame);
        }
        for gossip in [Gossip::Flood(envelope), Gossip::Records(Records::default())] {
            assert_eq!(Gossip::decode(&gossip.encode().unwrap()).unwrap(), gossip);
        }
    }

    #[test]
    fn an_oversized_envelope_is_refused_in_either_frame() {
        let mut big = envelope(Body::Bye).unwrap();
        big.sealed = vec![0; MAX_ENVELOPE].into();
        let hop = HopFrame::Forward(big.clone()).encode().unwrap();
        assert!(matches!(
            HopFrame::decode(&hop),
            Err(WireError::TooLarge { .. })
        ));
        assert!(Gossip::Flood(big).encode().is_err());
    }

    #[test]
    fn a_route_tag_holds_for_its_hour_and_the_ones_beside_it() {
        let (peer, room) = (PeerId::from_bytes([2; 32]), RoomId::new("m", "r"));
        let tag = RouteTag::new(&peer, &room, 10 * HOUR_MS);
        assert!(tag.is(&peer, &room, 9 * HOUR_MS));
        assert!(tag.is(&peer, &room, 11 * HOUR_MS + HOUR_MS - 1));
        assert!(!tag.is(&peer, &room, 12 * HOUR_MS));
        assert!(!tag.is(&peer, &RoomId::new("m", "s"), 10 * HOUR_MS));
        assert!(!tag.is(&PeerId::from_bytes([3; 32]), &room, 10 * HOUR_MS));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..400)) {
            bytes[0] = VERSION;
            drop(HopFrame::decode(&bytes));
            drop(Gossip::decode(&bytes));
        }

        #[test]
        fn damaged_frames_never_panic(at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let mut bytes = HopFrame::Forward(envelope(Body::Bye).unwrap()).encode().unwrap().to_vec();
            let at = at.index(bytes.len());
            bytes[at] = with;
            drop(HopFrame::decode(&bytes));
        }
    }
}
