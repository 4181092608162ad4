//! Long messages in parts, between Peerloom peers.
//!
//! A message longer than the peer's `a=max-message-size` is sent as DCEP messages (PPID 50) of a
//! type RFC 8832 leaves free, on the channel's own stream:
//!
//! ```text
//! byte 0     0x50
//! byte 1     1 = first part, 2 = last part, 4 = text
//! byte 2..6  length of the whole message, big endian
//! byte 6..   bytes of the message
//! ```
//!
//! DCEP messages are ordered and reliable whatever the channel is, so a long message on an
//! unreliable channel is sent reliably. Parts of different messages never mix on one channel. Both
//! ends announce in SDP that they are Peerloom; others never see a part.

use bytes::{BufMut, Bytes, BytesMut};

use super::Message;

/// First byte of a part.
pub(super) const TYPE: u8 = 0x50;
const FIRST: u8 = 1;
const LAST: u8 = 2;
const TEXT: u8 = 4;
const HEADER: usize = 6;

/// Bytes of a message in one part: small enough that other channels get their turn.
const PART_LEN: usize = 48 * 1024;

/// One part as it arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Begins a message.
    pub first: bool,
    /// Ends it.
    pub last: bool,
    /// The message is text.
    pub text: bool,
    /// Length of the whole message.
    pub total: usize,
    /// What this part has of it.
    pub data: Bytes,
}

/// Why parts did not make a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PartsError {
    /// Too short, or unknown flags.
    #[error("malformed part of a long message")]
    Malformed,
    /// A part without a beginning, or a second beginning, or one that says something else.
    #[error("part of a long message out of order")]
    Order,
    /// Longer than we accept.
    #[error("long message beyond the limit")]
    TooLong,
}

impl Part {
    /// Whether a DCEP message is a part.
    pub fn is_part(bytes: &[u8]) -> bool {
        bytes.first() == Some(&TYPE)
    }

    /// Reads a part.
    pub fn parse(bytes: &Bytes) -> Result<Self, PartsError> {
        let header: &[u8; HEADER] = bytes
            .get(..HEADER)
            .and_then(|h| h.try_into().ok())
            .ok_or(PartsError::Malformed)?;
        let flags = header[1];
        if header[0] != TYPE || flags & !(FIRST | LAST | TEXT) != 0 {
            return Err(PartsError::Malformed);
        }
        let total = u32::from_be_bytes([header[2], header[3], header[4], header[5]]);
        Ok(Self {
            first: flags & FIRST != 0,
            last: flags & LAST != 0,
            text: flags & TEXT != 0,
            total: usize::try_from(total).map_err(|_| PartsError::TooLong)?,
            data: bytes.slice(HEADER..),
        })
    }

    /// Writes a part.
    pub fn to_bytes(&self) -> Bytes {
        let flag = |on: bool, flag: u8| if on { flag } else { 0 };
        let mut bytes = BytesMut::with_capacity(HEADER + self.data.len());
        bytes.put_u8(TYPE);
        bytes.put_u8(flag(self.first, FIRST) | flag(self.last, LAST) | flag(self.text, TEXT));
        bytes.put_u32(u32::try_from(self.total).unwrap_or(u32::MAX));
        bytes.put(self.data.clone());
        bytes.freeze()
    }

    /// Cuts a message into parts of at most `limit` bytes each, headers included.
    pub fn cut(message: &Message, limit: usize) -> Vec<Self> {
        let (text, data) = match message {
            Message::Text(text) => (true, Bytes::copy_from_slice(text.as_bytes())),
            Message::Binary(data) => (false, data.clone()),
        };
        let step = limit.saturating_sub(HEADER).clamp(1, PART_LEN);
        let total = data.len();
        let starts = (0..total.max(1)).step_by(step);
        starts
            .map(|start| {
                let end = (start + step).min(total);
                let data = data.slice(start..end);
                Self {
                    first: start == 0,
                    last: end == total,
                    text,
                    total,
                    data,
                }
            })
            .collect()
    }
}

/// Puts the parts of one channel together.
#[derive(Debug, Default)]
pub struct Reassembly {
    current: Option<(bool, usize, BytesMut)>,
}

impl Reassembly {
    /// Adds a part; returns the message it completes. `limit` bounds the message's length.
    pub fn push(&mut self, part: Part, limit: usize) -> Result<Option<Message>, PartsError> {
        if part.total > limit {
            return Err(PartsError::TooLong);
        }
        if part.first == self.current.is_some() {
            return Err(PartsError::Order);
        }
        // Grows as parts arrive: nothing is set aside for what was only announced.
        let (text, total, mut data) =
            self.current
                .take()
                .unwrap_or((part.text, part.total, BytesMut::new()));
        let len = data.len() + part.data.len();
        if (text, total) != (part.text, part.total) || len > total || part.last != (len == total) {
            return Err(PartsError::Order);
        }
        data.extend_from_slice(&part.data);
        if !part.last {
            self.current = Some((text, total, data));
            return Ok(None);
        }
        let data = data.freeze();
        Ok(Some(if text {
            Message::Text(String::from_utf8_lossy(&data).into_owned())
        } else {
            Message::Binary(data)
        }))
    }

    /// Bytes held.
    pub fn held(&self) -> usize {
        self.current.as_ref().map_or(0, |(.., data)| data.len())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn parts_make_the_message_again(
            data in prop::collection::vec(any::<u8>(), 0..5000),
            text in ".{0,400}",
            limit in 7_usize..600,
        ) {
            for message in [Message::Binary(data.into()), Message::Text(text)] {
                let parts = Part::cut(&message, limit);
                let mut reassembly = Reassembly::default();
                let mut got = None;
                for part in parts {
                    prop_assert!(got.is_none());
                    let bytes = part.to_bytes();
                    prop_assert!(bytes.len() <= limit);
                    let part = Part::parse(&bytes).expect("own part");
                    got = reassembly.push(part, 10_000).expect("own parts");
                    prop_assert!(reassembly.held() <= message.len());
                }
                prop_assert_eq!(got, Some(message));
            }
        }

        #[test]
        fn strange_parts_are_refused_and_bounded(
            all in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..40),
        ) {
            let mut reassembly = Reassembly::default();
            for mut bytes in all {
                if let Some(first) = bytes.first_mut() {
                    *first = TYPE;
                }
                if let Ok(part) = Part::parse(&bytes.into()) {
                    drop(reassembly.push(part, 100));
                }
                prop_assert!(reassembly.held() <= 100);
            }
        }
    }

    #[test]
    fn lies_about_the_length_are_refused() {
        let part = |first, last, total, len| Part {
            first,
            last,
            text: false,
            total,
            data: vec![0; len].into(),
        };
        let push = |parts: &[Part]| {
            let mut reassembly = Reassembly::default();
            let mut last = Ok(None);
            for part in parts {
                last = reassembly.push(part.clone(), 100);
            }
            last
        };
        assert_eq!(push(&[part(true, true, 101, 5)]), Err(PartsError::TooLong));
        assert_eq!(push(&[part(true, true, 10, 5)]), Err(PartsError::Order));
        assert_eq!(push(&[part(true, false, 10, 10)]), Err(PartsError::Order));
        assert_eq!(push(&[part(false, false, 10, 5)]), Err(PartsError::Order));
        let twice = [part(true, false, 10, 5), part(true, false, 10, 5)];
        assert_eq!(push(&twice), Err(PartsError::Order));
        let grows = [part(true, false, 10, 5), part(false, false, 99, 50)];
        assert_eq!(push(&grows), Err(PartsError::Order));
    }
}
