//! The form of one stored record: version, checksum, payload.
//!
//! `[version: u8][crc32: u32 little endian][rmp-serde payload]`, the checksum
//! taken over key, version and payload, so that a record that ended up under
//! another key is noticed too. A record that does not check is dropped and
//! reported; it never stops the node.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Version written by this build.
const VERSION: u8 = 1;
/// Bytes before the payload.
const HEADER: usize = 5;
/// A stored value is never larger than this; larger ones are damage.
pub(super) const VALUE_MAX: usize = 64 * 1024;

/// Why a stored record cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(super) enum RecordError {
    /// Shorter than the header or longer than any record we write.
    #[error("impossible length {0}")]
    Length(usize),
    /// Written by a newer build.
    #[error("unknown record version {0}")]
    Version(u8),
    /// The bytes changed since they were written.
    #[error("checksum mismatch")]
    Checksum,
    /// The checksum holds, the content does not parse.
    #[error("malformed content: {0}")]
    Content(String),
}

/// Packs `value` for storage under `key`.
pub(super) fn seal<T: Serialize>(key: &[u8], value: &T) -> Result<Vec<u8>, RecordError> {
    let payload =
        rmp_serde::to_vec(value).map_err(|error| RecordError::Content(error.to_string()))?;
    if payload.len() + HEADER > VALUE_MAX {
        return Err(RecordError::Length(payload.len()));
    }
    let mut out = Vec::with_capacity(HEADER + payload.len());
    out.push(VERSION);
    out.extend_from_slice(&checksum(key, VERSION, &payload).to_le_bytes());
    out.extend_from_slice(&payload);
    Ok(out)
}

/// Unpacks what [`seal`] wrote under `key`.
pub(super) fn open<T: DeserializeOwned>(key: &[u8], bytes: &[u8]) -> Result<T, RecordError> {
    if bytes.len() > VALUE_MAX {
        return Err(RecordError::Length(bytes.len()));
    }
    let Some((header, payload)) = bytes.split_first_chunk::<HEADER>() else {
        return Err(RecordError::Length(bytes.len()));
    };
    let [version, a, b, c, d] = *header;
    if version != VERSION {
        return Err(RecordError::Version(version));
    }
    if checksum(key, version, payload) != u32::from_le_bytes([a, b, c, d]) {
        return Err(RecordError::Checksum);
    }
    rmp_serde::from_slice(payload).map_err(|error| RecordError::Content(error.to_string()))
}

fn checksum(key: &[u8], version: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(&[version]);
    hasher.update(payload);
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_survives_the_round_trip() {
        let bytes = seal(b"key", &("name".to_owned(), 7u64)).unwrap();
        assert_eq!(
            open::<(String, u64)>(b"key", &bytes).unwrap(),
            ("name".to_owned(), 7)
        );
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let bytes = seal(b"key", &("name".to_owned(), 7u64)).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(
                open::<(String, u64)>(b"key", &damaged).is_err(),
                "bit {bit}"
            );
        }
    }

    #[test]
    fn a_record_under_another_key_and_every_truncation_are_refused() {
        let bytes = seal(b"key", &1u8).unwrap();
        assert_eq!(open::<u8>(b"yek", &bytes), Err(RecordError::Checksum));
        for length in 0..bytes.len() {
            assert!(open::<u8>(b"key", &bytes[..length]).is_err());
        }
    }
}
