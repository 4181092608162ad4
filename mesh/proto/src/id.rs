//! Names: who a peer is, which mesh and room are meant, which life of a peer
//! and which session.
//!
//! A peer's name is its Ed25519 public key (RFC 8032), printed as libp2p
//! prints peer ids of such keys (`12D3KooW…`), so that the same string works
//! in multiaddresses. Rooms and meshes are named on the wire by short
//! domain-separated hashes: they keep records small and say nothing to those
//! who do not know the name.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use rand::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

/// Bytes of an Ed25519 signature.
pub const SIGNATURE_LEN: usize = 64;

/// What precedes the 32 key bytes in a libp2p peer id: identity multihash of
/// 36 bytes, protobuf field 1 (key type) = 1 (Ed25519), field 2, 32 bytes
/// (libp2p specification `peer-ids`).
const LIBP2P_PREFIX: [u8; 6] = [0x00, 0x24, 0x08, 0x01, 0x12, 0x20];

/// A peer: its Ed25519 public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeerId([u8; 32]);

impl PeerId {
    /// The peer with this public key. The bytes are not checked to be a curve
    /// point: a key that is none verifies no signature.
    pub const fn from_bytes(key: [u8; 32]) -> Self {
        PeerId(key)
    }

    /// The public key.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The bytes of the libp2p peer id (an identity multihash).
    pub fn to_libp2p_bytes(self) -> Vec<u8> {
        [&LIBP2P_PREFIX[..], &self.0].concat()
    }

    /// The peer named by the bytes of a libp2p peer id with an Ed25519 key.
    pub fn from_libp2p_bytes(bytes: &[u8]) -> Result<Self, ParsePeerIdError> {
        let key = bytes
            .strip_prefix(&LIBP2P_PREFIX)
            .ok_or(ParsePeerIdError::NotEd25519)?;
        key.try_into()
            .map(PeerId)
            .map_err(|_| ParsePeerIdError::NotEd25519)
    }

    /// Whether `sig` is this peer's signature over `context` and `parts`.
    ///
    /// Strict verification: small-order keys and non-canonical signatures are
    /// refused, so a signature names exactly one key and one message.
    pub fn verify(&self, context: &str, parts: &[&[u8]], sig: &[u8; SIGNATURE_LEN]) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.0) else {
            return false;
        };
        key.verify_strict(&signed_message(context, parts), &Signature::from_bytes(sig))
            .is_ok()
    }

    /// The last six characters of the printed form, for people.
    pub fn short(&self) -> String {
        let text = self.to_string();
        text.get(text.len().saturating_sub(6)..)
            .unwrap_or_default()
            .to_owned()
    }
}

impl fmt::Display for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&bs58::encode(self.to_libp2p_bytes()).into_string())
    }
}

impl fmt::Debug for PeerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PeerId(…{})", self.short())
    }
}

/// Why a text is no peer id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ParsePeerIdError {
    /// Longer than any peer id.
    #[error("a peer id has 52 characters")]
    TooLong,
    /// Not base58.
    #[error("not base58 text")]
    NotBase58,
    /// A libp2p peer id of another key type, or a damaged one.
    #[error("not the peer id of an Ed25519 key (those start with 12D3KooW)")]
    NotEd25519,
}

impl FromStr for PeerId {
    type Err = ParsePeerIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > 64 {
            return Err(ParsePeerIdError::TooLong);
        }
        let bytes = bs58::decode(text)
            .into_vec()
            .map_err(|_| ParsePeerIdError::NotBase58)?;
        PeerId::from_libp2p_bytes(&bytes)
    }
}

impl Serialize for PeerId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(&self.0)
        }
    }
}

impl<'de> Deserialize<'de> for PeerId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            text.parse().map_err(de::Error::custom)
        } else {
            serde_bytes::deserialize(deserializer).map(PeerId)
        }
    }
}

/// A peer's key pair. The secret is wiped from memory when it is dropped and
/// never printed.
#[derive(Clone)]
pub struct Identity(SigningKey);

impl Identity {
    /// A new key pair from the caller's randomness.
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0u8; 32]);
        rng.fill_bytes(seed.as_mut());
        Identity(SigningKey::from_bytes(&seed))
    }

    /// The key pair of a 32-byte seed (RFC 8032, section 5.1.5).
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let seed = Zeroizing::new(seed);
        Identity(SigningKey::from_bytes(&seed))
    }

    /// The seed, for the key file.
    pub fn to_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    pub fn peer_id(&self) -> PeerId {
        PeerId(self.0.verifying_key().to_bytes())
    }

    /// Signs `parts`, in order, under `context`.
    pub fn sign(&self, context: &str, parts: &[&[u8]]) -> [u8; SIGNATURE_LEN] {
        self.0.sign(&signed_message(context, parts)).to_bytes()
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({:?})", self.peer_id())
    }
}

/// `len(context) ‖ context ‖ parts…`: a context is never a prefix of another.
fn signed_message(context: &str, parts: &[&[u8]]) -> Vec<u8> {
    let len = u8::try_from(context.len()).unwrap_or(u8::MAX);
    let mut message = vec![len];
    message.extend_from_slice(context.as_bytes());
    for part in parts {
        message.extend_from_slice(part);
    }
    message
}

/// First `N` bytes of SHA-256 over the domain and the length-prefixed parts.
pub(crate) fn tagged_hash<const N: usize>(domain: &str, parts: &[&[u8]]) -> [u8; N] {
    let mut hash = Sha256::new();
    for part in std::iter::once(domain.as_bytes()).chain(parts.iter().copied()) {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let mut out = [0; N];
    for (to, from) in out.iter_mut().zip(digest.iter()) {
        *to = *from;
    }
    out
}

macro_rules! byte_id {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(#[serde(with = "serde_bytes")] [u8; $len]);

        impl $name {
            /// The id with these bytes.
            pub const fn from_bytes(bytes: [u8; $len]) -> Self {
                $name(bytes)
            }

            /// The bytes of the id.
            pub const fn as_bytes(&self) -> &[u8; $len] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self)
            }
        }
    };
}

byte_id!(
    /// A mesh, by the hash of its name.
    MeshTag,
    16
);
byte_id!(
    /// A room, by the hash of its mesh's name and its own.
    RoomId,
    16
);
byte_id!(
    /// One attempt to connect two peers, chosen by the one who dials.
    SessionId,
    8
);
byte_id!(
    /// One envelope or direct message.
    MessageId,
    16
);

impl MeshTag {
    /// The tag of the mesh called `mesh`.
    pub fn new(mesh: &str) -> Self {
        MeshTag(tagged_hash("peerloom/mesh/1", &[mesh.as_bytes()]))
    }
}

impl RoomId {
    /// The id of `room` in the mesh called `mesh`.
    pub fn new(mesh: &str, room: &str) -> Self {
        RoomId(tagged_hash(
            "peerloom/room/1",
            &[mesh.as_bytes(), room.as_bytes()],
        ))
    }
}

impl SessionId {
    /// A fresh id.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = [0; 8];
        rng.fill_bytes(&mut bytes);
        SessionId(bytes)
    }
}

impl MessageId {
    /// A fresh id.
    pub fn random(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        MessageId(bytes)
    }
}

/// One life of a peer: how often it has been started, or any other number
/// that grows from one start to the next (seconds since 1970, where nothing
/// is kept on disk).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Incarnation(pub u32);

/// Orders the presence records of one peer over all its lives: the
/// incarnation in the upper half, a counter in the lower.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl Seq {
    /// The first number of a life.
    pub const fn first(incarnation: Incarnation) -> Self {
        Seq((incarnation.0 as u64) << 32)
    }

    /// The life this number belongs to.
    pub const fn incarnation(self) -> Incarnation {
        Incarnation((self.0 >> 32) as u32)
    }

    /// The number after this one.
    pub const fn next(self) -> Self {
        Seq(self.0.saturating_add(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rand::SeedableRng;

    #[test]
    fn peer_ids_print_as_libp2p_prints_them() {
        // Test vector of the libp2p peer-ids specification (Ed25519 public key).
        let text = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
        let peer: PeerId = text.parse().unwrap();
        assert_eq!(peer.to_string(), text);
        assert_eq!(PeerId::from_libp2p_bytes(&peer.to_libp2p_bytes()), Ok(peer));
    }

    #[test]
    fn bad_peer_ids_say_what_is_wrong() {
        assert_eq!("0OIl".parse::<PeerId>(), Err(ParsePeerIdError::NotBase58));
        assert_eq!(
            "x".repeat(80).parse::<PeerId>(),
            Err(ParsePeerIdError::TooLong)
        );
        assert_eq!(
            "QmYyQSo1c1Ym7orWxLYvCrM2EmxFTANf8wXmmE7DWjhx5N".parse::<PeerId>(),
            Err(ParsePeerIdError::NotEd25519)
        );
    }

    #[test]
    fn an_identity_survives_its_seed() {
        let mut rng = rand_chacha::ChaCha20Rng::seed_from_u64(1);
        let identity = Identity::generate(&mut rng);
        let again = Identity::from_seed(*identity.to_seed());
        assert_eq!(identity.peer_id(), again.peer_id());
        let sig = identity.sign("a", &[b"x", b"y"]);
        assert!(again.peer_id().verify("a", &[b"xy"], &sig));
        assert!(!again.peer_id().verify("a", &[b"xz"], &sig));
    }

    #[test]
    fn small_order_keys_sign_nothing() {
        let mut weak = [0u8; 32];
        weak[0] = 1;
        assert!(!PeerId::from_bytes(weak).verify("a", &[b"x"], &[0; 64]));
        assert!(!PeerId::from_bytes([0xff; 32]).verify("a", &[b"x"], &[0; 64]));
    }

    #[test]
    fn names_with_moved_borders_are_other_rooms() {
        assert_ne!(RoomId::new("ab", "c"), RoomId::new("a", "bc"));
        assert_ne!(
            RoomId::new("a", "b").as_bytes(),
            MeshTag::new("a").as_bytes()
        );
    }

    #[test]
    fn a_sequence_number_knows_its_life() {
        let seq = Seq::first(Incarnation(9)).next();
        assert_eq!(seq.incarnation(), Incarnation(9));
        assert!(seq < Seq::first(Incarnation(10)));
    }

    proptest! {
        #[test]
        fn peer_ids_round_trip(key in any::<[u8; 32]>()) {
            let peer = PeerId::from_bytes(key);
            prop_assert_eq!(peer.to_string().parse::<PeerId>(), Ok(peer));
        }

        #[test]
        fn any_text_parses_or_fails(text in "\\PC{0,70}") {
            let _unused = text.parse::<PeerId>();
        }
    }
}
