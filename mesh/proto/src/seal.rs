//! Sealing bytes to one recipient: HPKE base mode (RFC 9180) with
//! DHKEM(X25519, HKDF-SHA256), HKDF-SHA256 and ChaCha20-Poly1305.
//!
//! The recipient's key is a *prekey*: an X25519 key of its own, published and
//! signed in its presence, rotated daily, never the identity key converted.
//! Who sealed is not authenticated here; callers put an Ed25519 signature
//! that names the recipient and the encapsulated key inside.

use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand::CryptoRng;
use serde::{Deserialize, Serialize};

type PrivateKey = <X25519HkdfSha256 as Kem>::PrivateKey;
type PublicKey = <X25519HkdfSha256 as Kem>::PublicKey;
type EncappedKey = <X25519HkdfSha256 as Kem>::EncappedKey;

/// Bytes by which sealing makes a text longer (the Poly1305 tag).
pub const SEAL_OVERHEAD: usize = 16;

/// The public half of a prekey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublicPrekey {
    /// Which of its prekeys the recipient shall use to open.
    pub id: u16,
    /// X25519 public key.
    #[serde(with = "serde_bytes")]
    pub key: [u8; 32],
}

/// An encapsulated key: what the recipient needs besides its prekey.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Encapsulated(#[serde(with = "serde_bytes")] pub [u8; 32]);

/// Why sealing or opening failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// The recipient's published prekey is not a usable X25519 key.
    #[error("the recipient's prekey is unusable")]
    BadPrekey,
    /// Sealed to a prekey this node no longer, or never, had.
    #[error("unknown prekey")]
    UnknownPrekey,
    /// Not sealed to this node, or changed on the way.
    #[error("cannot be opened")]
    Open,
}

/// This node's prekeys: the current one and the one before. The secrets are
/// wiped when they are dropped (x25519-dalek does it).
pub struct Prekeys {
    current: Prekey,
    previous: Option<Prekey>,
}

struct Prekey {
    public: PublicPrekey,
    secret: PrivateKey,
}

impl Prekey {
    fn generate(id: u16, rng: &mut impl CryptoRng) -> Self {
        let (secret, public) = X25519HkdfSha256::gen_keypair_with_rng(rng);
        Prekey {
            public: PublicPrekey {
                id,
                key: public.to_bytes().into(),
            },
            secret,
        }
    }
}

impl Prekeys {
    /// A first prekey. Its number is random, so that an envelope sealed to an
    /// earlier life is recognised as such instead of failing to open.
    pub fn new(rng: &mut impl CryptoRng) -> Self {
        let id = (rng.next_u32() >> 16) as u16;
        Prekeys {
            current: Prekey::generate(id, rng),
            previous: None,
        }
    }

    /// Replaces the current prekey and keeps it as the previous one.
    pub fn rotate(&mut self, rng: &mut impl CryptoRng) {
        let id = self.current.public.id.wrapping_add(1);
        let old = std::mem::replace(&mut self.current, Prekey::generate(id, rng));
        self.previous = Some(old);
    }

    /// What to publish.
    pub fn public(&self) -> PublicPrekey {
        self.current.public
    }

    /// Opens what was sealed to one of these keys under the same `info` and
    /// `aad`.
    pub fn open(
        &self,
        key_id: u16,
        info: &[u8],
        aad: &[u8],
        enc: &Encapsulated,
        sealed: &[u8],
    ) -> Result<Vec<u8>, SealError> {
        let keys = std::iter::once(&self.current).chain(&self.previous);
        let key = keys
            .into_iter()
            .find(|key| key.public.id == key_id)
            .ok_or(SealError::UnknownPrekey)?;
        let enc = EncappedKey::from_bytes(&enc.0).map_err(|_| SealError::Open)?;
        hpke::setup_receiver::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
            &OpModeR::Base,
            &key.secret,
            &enc,
            info,
        )
        .and_then(|mut context| context.open(sealed, aad))
        .map_err(|_| SealError::Open)
    }
}

impl std::fmt::Debug for Prekeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Prekeys(current {})", self.current.public.id)
    }
}

/// Seals the text that `plaintext` makes of the encapsulated key, so that a
/// signature inside can cover that key.
pub fn seal_with(
    to: &PublicPrekey,
    info: &[u8],
    aad: &[u8],
    rng: &mut impl CryptoRng,
    plaintext: impl FnOnce(&Encapsulated) -> Vec<u8>,
) -> Result<(Encapsulated, Vec<u8>), SealError> {
    let key = PublicKey::from_bytes(&to.key).map_err(|_| SealError::BadPrekey)?;
    let (enc, mut context) = hpke::setup_sender_with_rng::<
        ChaCha20Poly1305,
        HkdfSha256,
        X25519HkdfSha256,
    >(&OpModeS::Base, &key, info, rng)
    .map_err(|_| SealError::BadPrekey)?;
    let enc = Encapsulated(enc.to_bytes().into());
    let sealed = context
        .seal(&plaintext(&enc), aad)
        .map_err(|_| SealError::BadPrekey)?;
    Ok((enc, sealed))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha20Rng;

    fn sealed(keys: &Prekeys, rng: &mut ChaCha20Rng) -> (u16, Encapsulated, Vec<u8>) {
        let to = keys.public();
        let (enc, ct) = seal_with(&to, b"i", b"a", rng, |_| b"text".to_vec()).unwrap();
        (to.id, enc, ct)
    }

    #[test]
    fn only_the_recipient_opens() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        let (mine, mut others) = (Prekeys::new(&mut rng), Prekeys::new(&mut rng));
        let (id, enc, ct) = sealed(&mine, &mut rng);
        assert_eq!(ct.len(), 4 + SEAL_OVERHEAD);
        assert_eq!(mine.open(id, b"i", b"a", &enc, &ct).unwrap(), b"text");
        assert_eq!(mine.open(id, b"i", b"b", &enc, &ct), Err(SealError::Open));
        assert_eq!(mine.open(id, b"j", b"a", &enc, &ct), Err(SealError::Open));
        assert_eq!(
            mine.open(id.wrapping_add(1), b"i", b"a", &enc, &ct),
            Err(SealError::UnknownPrekey)
        );
        others.current.public.id = id;
        assert_eq!(others.open(id, b"i", b"a", &enc, &ct), Err(SealError::Open));
    }

    #[test]
    fn the_previous_prekey_still_opens_once_rotated() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        let mut keys = Prekeys::new(&mut rng);
        let (id, enc, ct) = sealed(&keys, &mut rng);
        keys.rotate(&mut rng);
        assert!(keys.open(id, b"i", b"a", &enc, &ct).is_ok());
        keys.rotate(&mut rng);
        assert_eq!(
            keys.open(id, b"i", b"a", &enc, &ct),
            Err(SealError::UnknownPrekey)
        );
    }

    #[test]
    fn a_low_order_prekey_is_refused() {
        let mut rng = ChaCha20Rng::seed_from_u64(3);
        let bad = PublicPrekey {
            id: 0,
            key: [0; 32],
        };
        assert_eq!(
            seal_with(&bad, b"i", b"a", &mut rng, |_| vec![]).unwrap_err(),
            SealError::BadPrekey
        );
    }
}
