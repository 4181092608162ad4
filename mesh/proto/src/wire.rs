//! How every record of the mesh is written: one explicit version byte, then
//! MessagePack (rmp-serde, structs as arrays).
//!
//! The rules that keep hostile bytes harmless live here and nowhere else:
//!
//! * a size limit is checked *before* decoding starts;
//! * bytes after the value are an error, so that one value has one encoding
//!   on the wire as far as framing goes;
//! * collections are [`BoundedVec`]s, which never reserve memory for elements
//!   that did not arrive and refuse element `MAX + 1`;
//! * signatures cover the exact bytes received. [`SignedBytes`] keeps them
//!   and forwards them unchanged; nothing is ever re-encoded to be verified.

use std::fmt;
use std::ops::Deref;

use bytes::Bytes;
use serde::de::{self, DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::id::{Identity, PeerId, SIGNATURE_LEN};

/// Nesting allowed in a decoded value. Our deepest type nests seven levels;
/// the bound keeps a crafted value from using up the stack.
const MAX_DEPTH: usize = 24;

/// Why bytes from the network were not taken as a value.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Longer than this kind of value may ever be.
    #[error("{len} bytes, at most {max} are allowed")]
    TooLarge {
        /// Bytes that arrived.
        len: usize,
        /// The limit of this kind of value.
        max: usize,
    },
    /// No bytes at all.
    #[error("empty input")]
    Empty,
    /// A version this program does not speak.
    #[error("version {found} is not supported, expected {expected}")]
    Version {
        /// The version byte found.
        found: u8,
        /// The version byte this program speaks.
        expected: u8,
    },
    /// Well-formed value followed by something else.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
    /// Not MessagePack, or not this type.
    #[error("malformed value")]
    Malformed(#[source] rmp_serde::decode::Error),
    /// A value of this program's own that cannot be encoded within its limit.
    #[error("value cannot be encoded")]
    Encode(#[source] rmp_serde::encode::Error),
    /// The signature does not match the signer and the bytes.
    #[error("bad signature")]
    BadSignature,
}

/// Encodes `value` behind its version byte.
pub fn encode<T: Serialize>(version: u8, max: usize, value: &T) -> Result<Bytes, WireError> {
    let mut out = vec![version];
    rmp_serde::encode::write(&mut out, value).map_err(WireError::Encode)?;
    if out.len() > max {
        return Err(WireError::TooLarge {
            len: out.len(),
            max,
        });
    }
    Ok(out.into())
}

/// Decodes a value of at most `max` bytes that starts with `version`.
pub fn decode<T: DeserializeOwned>(version: u8, max: usize, bytes: &[u8]) -> Result<T, WireError> {
    if bytes.len() > max {
        return Err(WireError::TooLarge {
            len: bytes.len(),
            max,
        });
    }
    let (&found, body) = bytes.split_first().ok_or(WireError::Empty)?;
    if found != version {
        return Err(WireError::Version {
            found,
            expected: version,
        });
    }
    let mut de = rmp_serde::Deserializer::new(body);
    de.set_max_depth(MAX_DEPTH);
    let value = T::deserialize(&mut de).map_err(WireError::Malformed)?;
    match de.into_inner().len() {
        0 => Ok(value),
        rest => Err(WireError::Trailing(rest)),
    }
}

/// A list of at most `MAX` elements, checked while it is decoded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BoundedVec<T, const MAX: usize>(Vec<T>);

impl<T, const MAX: usize> BoundedVec<T, MAX> {
    /// Keeps the first `MAX` elements of `items`.
    pub fn truncated(items: impl IntoIterator<Item = T>) -> Self {
        BoundedVec(items.into_iter().take(MAX).collect())
    }

    /// The elements as a plain vector.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T, const MAX: usize> Default for BoundedVec<T, MAX> {
    fn default() -> Self {
        BoundedVec(Vec::new())
    }
}

impl<T, const MAX: usize> Deref for BoundedVec<T, MAX> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Serialize, const MAX: usize> Serialize for BoundedVec<T, MAX> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de, T: Deserialize<'de>, const MAX: usize> Deserialize<'de> for BoundedVec<T, MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded<T, const MAX: usize>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for Bounded<T, MAX> {
            type Value = BoundedVec<T, MAX>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a list of at most {MAX} elements")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    if items.len() == MAX {
                        return Err(de::Error::invalid_length(MAX + 1, &self));
                    }
                    items.push(item);
                }
                Ok(BoundedVec(items))
            }
        }
        deserializer.deserialize_seq(Bounded(std::marker::PhantomData))
    }
}

/// A text of at most `MAX` bytes, checked while it is decoded.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(transparent)]
pub struct BoundedString<const MAX: usize>(String);

impl<const MAX: usize> BoundedString<MAX> {
    /// `None` when `text` is longer than `MAX` bytes.
    pub fn new(text: impl Into<String>) -> Option<Self> {
        let text = text.into();
        (text.len() <= MAX).then_some(BoundedString(text))
    }

    /// The text as a plain string.
    pub fn into_string(self) -> String {
        self.0
    }
}

impl<const MAX: usize> Deref for BoundedString<MAX> {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl<'de, const MAX: usize> Deserialize<'de> for BoundedString<MAX> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let len = text.len();
        Self::new(text).ok_or_else(|| de::Error::invalid_length(len, &"a shorter text"))
    }
}

/// `Bytes` as a MessagePack `bin`, for `#[serde(with = "wire::bin")]`.
pub(crate) mod bin {
    use bytes::Bytes;
    use serde::{Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(bytes: &Bytes, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(bytes)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Bytes, D::Error> {
        serde_bytes::deserialize::<Vec<u8>, D>(d).map(Bytes::from)
    }
}

/// A payload, who signed it and the signature, exactly as they arrived.
///
/// The signature is Ed25519 (RFC 8032, verified strictly: no small-order
/// keys, no malleable signatures) over `context ‖ payload`, where the context
/// names the kind of record, so that a signature for one kind never counts
/// for another.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SignedBytes {
    #[serde(with = "bin")]
    payload: Bytes,
    signer: PeerId,
    #[serde(with = "serde_bytes")]
    sig: [u8; SIGNATURE_LEN],
}

impl SignedBytes {
    /// Signs `payload` under `context`.
    pub fn sign(identity: &Identity, context: &str, payload: Bytes) -> Self {
        let sig = identity.sign(context, &[&payload]);
        SignedBytes {
            payload,
            signer: identity.peer_id(),
            sig,
        }
    }

    /// Checks the signature over the bytes as they are.
    pub fn verify(&self, context: &str) -> Result<(), WireError> {
        if self.signer.verify(context, &[&self.payload], &self.sig) {
            return Ok(());
        }
        Err(WireError::BadSignature)
    }

    /// The signed bytes. Not verified unless [`SignedBytes::verify`] said so.
    pub fn payload(&self) -> &Bytes {
        &self.payload
    }

    /// Who claims to have signed.
    pub fn signer(&self) -> PeerId {
        self.signer
    }

    /// Bytes this record takes on the wire, give or take a few of framing.
    pub fn wire_len(&self) -> usize {
        self.payload.len() + SIGNED_OVERHEAD
    }
}

impl fmt::Debug for SignedBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "SignedBytes({} B by {})",
            self.payload.len(),
            self.signer
        )
    }
}

/// Framing, signer and signature of a [`SignedBytes`] beyond its payload.
pub const SIGNED_OVERHEAD: usize = 5 + 34 + 66 + 1;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Sample {
        list: BoundedVec<u16, 4>,
        text: BoundedString<8>,
    }

    fn sample(len: u16) -> Sample {
        Sample {
            list: BoundedVec::truncated(0..len),
            text: BoundedString::new("eight888").unwrap(),
        }
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let bytes = encode(3, 64, &sample(4)).unwrap();
        assert_eq!(decode::<Sample>(3, 64, &bytes).unwrap(), sample(4));
    }

    #[test]
    fn limits_are_checked_before_decoding() {
        let bytes = encode(3, 64, &sample(4)).unwrap();
        assert!(matches!(
            decode::<Sample>(3, 8, &bytes),
            Err(WireError::TooLarge { .. })
        ));
        assert!(matches!(
            decode::<Sample>(4, 64, &bytes),
            Err(WireError::Version {
                found: 3,
                expected: 4
            })
        ));
        assert!(matches!(
            decode::<Sample>(3, 64, &[]),
            Err(WireError::Empty)
        ));
        let mut longer = bytes.to_vec();
        longer.push(0);
        assert!(matches!(
            decode::<Sample>(3, 64, &longer),
            Err(WireError::Trailing(1))
        ));
    }

    #[test]
    fn a_list_longer_than_its_bound_is_refused() {
        let five = encode(1, 64, &vec![1u16, 2, 3, 4, 5]).unwrap();
        assert!(decode::<BoundedVec<u16, 4>>(1, 64, &five).is_err());
        // array32 that claims four thousand million elements and has none
        assert!(decode::<BoundedVec<u16, 4>>(1, 64, &[1, 0xdd, 0xff, 0xff, 0xff, 0xff]).is_err());
        // bin32 that claims as many bytes
        assert!(decode::<serde_bytes::ByteBuf>(1, 64, &[1, 0xc6, 0xff, 0xff, 0xff, 0xff]).is_err());
    }

    #[test]
    fn a_signature_counts_for_its_bytes_and_context_only() {
        let identity = Identity::from_seed([7; 32]);
        let signed = SignedBytes::sign(&identity, "test/a", Bytes::from_static(b"payload"));
        assert!(signed.verify("test/a").is_ok());
        assert!(signed.verify("test/b").is_err());
        let mut other = signed.clone();
        other.payload = Bytes::from_static(b"Payload");
        assert!(other.verify("test/a").is_err());
        let mut forged = signed;
        forged.signer = Identity::from_seed([8; 32]).peer_id();
        assert!(forged.verify("test/a").is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(decode::<Sample>(3, 128, &bytes));
            drop(decode::<SignedBytes>(3, 128, &bytes));
        }
    }
}
