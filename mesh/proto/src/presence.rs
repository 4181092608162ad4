//! Presence: who is there, where, and how to write to them in secret.
//!
//! A presence is a small signed statement of a peer about itself. It goes
//! from neighbour to neighbour as the very bytes its author signed. The
//! newest one counts: they are ordered by [`Seq`], whose upper half is the
//! peer's [`Incarnation`](crate::Incarnation).
//!
//! Left out on purpose: the previous prekey. Only its owner needs to remember
//! it, to open what was sealed before a rotation.

use serde::{Deserialize, Serialize};

use crate::id::{Identity, MeshTag, PeerId, RoomId, Seq};
use crate::obituary::Obituary;
use crate::seal::PublicPrekey;
use crate::ticket::{MAX_ADDRESS_LEN, MAX_TICKET_ADDRESSES};
use crate::wire::{self, BoundedString, BoundedVec, SignedBytes, WireError};

/// Largest record, encoded: an obituary of a peer with 16 rooms and 8 long
/// addresses.
pub const MAX_RECORD: usize = 2048;
/// Rooms a peer may be in at once.
pub const MAX_ROOMS: usize = 16;
/// Addresses in a presence.
pub const MAX_ADDRESSES: usize = MAX_TICKET_ADDRESSES;
/// Longest nick, in bytes.
pub const MAX_NICK: usize = 32;
/// Records in one batch on a link or a hop.
pub const MAX_RECORDS: usize = 64;
/// How far another machine's wall clock may be off.
pub const MAX_CLOCK_SKEW_MS: u64 = 90_000;

const VERSION: u8 = 1;
const CONTEXT: &str = "peerloom/record/1";

/// Several records, passed on together.
pub type Records = BoundedVec<SignedBytes, MAX_RECORDS>;

/// A peer's statement about itself; its author is the record's signer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The mesh it is meant for.
    pub mesh: MeshTag,
    /// Newer statements have higher numbers.
    pub seq: Seq,
    /// When it was signed, by the author's wall clock.
    pub issued_ms: u64,
    /// How long it holds.
    pub ttl_s: u16,
    /// The rooms the peer is in.
    pub rooms: BoundedVec<RoomId, MAX_ROOMS>,
    /// The key to seal messages to.
    pub prekey: PublicPrekey,
    /// Where its libp2p swarm listens (multiaddresses as text).
    pub addresses: BoundedVec<BoundedString<MAX_ADDRESS_LEN>, MAX_ADDRESSES>,
    /// What people call it.
    pub nick: BoundedString<MAX_NICK>,
    /// What it can do; unknown bits are ignored.
    pub capabilities: Capabilities,
    /// How busy it is, 0 to 255. A hint only.
    pub load: u8,
}

/// What a peer can do, as bits; unknown ones are kept and ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Capabilities(pub u16);

impl Capabilities {
    /// Forwards direct messages between others.
    pub const FORWARD: Capabilities = Capabilities(1);

    /// Whether all bits of `other` are set.
    pub const fn contains(self, other: Capabilities) -> bool {
        self.0 & other.0 == other.0
    }
}

/// A peer's statement that it is leaving the mesh.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leave {
    /// The mesh it leaves.
    pub mesh: MeshTag,
    /// Higher than that of any of its presences in this life.
    pub seq: Seq,
    /// When it was signed, by the author's wall clock.
    pub issued_ms: u64,
}

/// The three statements that make up a roster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Record {
    /// I am here.
    #[serde(rename = "p")]
    Presence(Presence),
    /// I am leaving.
    #[serde(rename = "l")]
    Leave(Leave),
    /// That peer is dead.
    #[serde(rename = "o")]
    Obituary(Obituary),
}

impl Record {
    /// Encodes and signs this record.
    pub fn sign(&self, identity: &Identity) -> Result<SignedBytes, WireError> {
        let payload = wire::encode(VERSION, MAX_RECORD, self)?;
        Ok(SignedBytes::sign(identity, CONTEXT, payload))
    }

    /// Decodes without verifying, to see whether verifying is worth it.
    pub fn peek(signed: &SignedBytes) -> Result<Record, WireError> {
        wire::decode(VERSION, MAX_RECORD, signed.payload())
    }

    /// Verifies the signature over the exact bytes of `signed`.
    pub fn verify(signed: &SignedBytes) -> Result<(), WireError> {
        signed.verify(CONTEXT)
    }

    /// Decodes and verifies.
    pub fn open(signed: &SignedBytes) -> Result<Record, WireError> {
        let record = Record::peek(signed)?;
        Record::verify(signed)?;
        Ok(record)
    }

    /// The mesh this record belongs to.
    pub fn mesh(&self) -> MeshTag {
        match self {
            Record::Presence(presence) => presence.mesh,
            Record::Leave(leave) => leave.mesh,
            Record::Obituary(obituary) => obituary.mesh,
        }
    }

    /// Whom this record is about, given who signed it.
    pub fn subject(&self, signer: PeerId) -> PeerId {
        match self {
            Record::Presence(_) | Record::Leave(_) => signer,
            Record::Obituary(obituary) => obituary.peer(),
        }
    }

    /// The subject's sequence number that this record speaks of.
    pub fn seq(&self) -> Result<Seq, WireError> {
        match self {
            Record::Presence(presence) => Ok(presence.seq),
            Record::Leave(leave) => Ok(leave.seq),
            Record::Obituary(obituary) => obituary.presence().map(|presence| presence.seq),
        }
    }

    /// When it was signed, by its signer's wall clock.
    pub fn issued_ms(&self) -> u64 {
        match self {
            Record::Presence(presence) => presence.issued_ms,
            Record::Leave(leave) => leave.issued_ms,
            Record::Obituary(obituary) => obituary.issued_ms,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::seal::Prekeys;
    use proptest::prelude::*;
    use rand::SeedableRng;

    pub(crate) fn presence(seq: u64, rooms: &[RoomId]) -> Presence {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(5);
        Presence {
            mesh: MeshTag::new("m"),
            seq: Seq(seq),
            issued_ms: 1_000_000,
            ttl_s: 90,
            rooms: BoundedVec::truncated(rooms.iter().copied()),
            prekey: Prekeys::new(&mut rng).public(),
            addresses: BoundedVec::default(),
            nick: BoundedString::new("ada").unwrap(),
            capabilities: Capabilities::FORWARD,
            load: 0,
        }
    }

    #[test]
    fn a_bare_presence_is_small() {
        let record = Record::Presence(presence(1, &[RoomId::new("m", "r")]));
        let signed = record.sign(&Identity::from_seed([1; 32])).unwrap();
        assert!(signed.wire_len() < 260, "{}", signed.wire_len());
    }

    #[test]
    fn the_fullest_presence_fits() {
        let rooms: Vec<RoomId> = (0..MAX_ROOMS)
            .map(|i| RoomId::new("m", &i.to_string()))
            .collect();
        let mut full = presence(u64::MAX, &rooms);
        full.addresses = BoundedVec::truncated(
            (0..MAX_ADDRESSES).filter_map(|_| BoundedString::new("x".repeat(MAX_ADDRESS_LEN))),
        );
        full.nick = BoundedString::new("n".repeat(MAX_NICK)).unwrap();
        let signed = Record::Presence(full.clone())
            .sign(&Identity::from_seed([1; 32]))
            .unwrap();
        assert_eq!(
            Record::open(&signed).unwrap(),
            Record::Presence(full.clone())
        );
        let (mesh, issued_ms) = (full.mesh, u64::MAX);
        let obituary = Record::Obituary(Obituary {
            mesh,
            issued_ms,
            last: signed,
        });
        let signed = obituary.sign(&Identity::from_seed([2; 32])).unwrap();
        assert_eq!(Record::open(&signed).unwrap(), obituary);
    }

    #[test]
    fn a_changed_record_is_refused() {
        let signed = Record::Presence(presence(1, &[]))
            .sign(&Identity::from_seed([1; 32]))
            .unwrap();
        let bytes = wire::encode(1, 4096, &signed).unwrap().to_vec();
        for at in 1..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            if let Ok(bad) = wire::decode::<SignedBytes>(1, 4096, &bad) {
                assert!(Record::open(&bad).is_err(), "byte {at}");
            }
        }
    }

    proptest! {
        #[test]
        fn records_round_trip(seq in any::<u64>(), issued_ms in any::<u64>(), key in any::<[u8; 32]>(), which in 0..3) {
            let mesh = MeshTag::new("m");
            let record = match which {
                0 => Record::Presence(Presence { issued_ms, ..presence(seq, &[]) }),
                1 => Record::Leave(Leave { mesh, seq: Seq(seq), issued_ms }),
                _ => {
                    let last = Record::Presence(presence(seq, &[])).sign(&Identity::from_seed(key)).unwrap();
                    Record::Obituary(Obituary { mesh, issued_ms, last })
                }
            };
            let signed = record.sign(&Identity::from_seed([1; 32])).unwrap();
            prop_assert_eq!(Record::peek(&signed).unwrap(), record);
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 1..300)) {
            bytes[0] = VERSION;
            drop(wire::decode::<Record>(VERSION, MAX_RECORD, &bytes));
        }
    }
}
