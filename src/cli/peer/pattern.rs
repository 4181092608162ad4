//! The patterned messages of the peer protocol: how they are made and how they
//! are checked.
//!
//! Bytes 0 to 3 of a message are a big-endian sequence number `q`; every later
//! byte is `(q*31 + i*7) & 255`. Both terms are taken modulo 256, so the body
//! of any message is a slice of one table of `i*7`, shifted: making a message
//! is one copy, checking it is one comparison.

use bytes::{BufMut, Bytes, BytesMut};

/// Messages longer than this are checked by sequence number and last byte
/// only, so that checking does not become the bottleneck.
pub(crate) const FULL_CHECK_LIMIT: usize = 4 * 1024;

/// Length of the sequence number in front of every patterned message.
pub(crate) const HEADER: usize = 4;

/// How much memory the generator takes at once and then cuts messages from.
const SLAB: usize = 1024 * 1024;

/// The inverse of 7 modulo 256: `7 * 183 = 1281 = 5 * 256 + 1`.
const INVERSE_OF_7: u32 = 183;

/// Byte `i` (counted from the start of the message) of message `q`.
fn byte_at(q: u32, i: usize) -> u8 {
    let i = u32::try_from(i & 0xff).unwrap_or(0);
    (q.wrapping_mul(31).wrapping_add(i * 7) & 0xff) as u8
}

/// Where in the table of `i*7` the body of message `q` begins: the offset `o`
/// for which `o*7 = q*31 + HEADER*7` modulo 256.
fn table_offset(q: u32) -> usize {
    let start = q.wrapping_mul(31).wrapping_add(HEADER as u32 * 7) & 0xff;
    ((start * INVERSE_OF_7) & 0xff) as usize
}

/// `length` bytes of the table, long enough to cut any body of `length - 255`.
fn table(length: usize) -> Vec<u8> {
    (0..length).map(|i| byte_at(0, i)).collect()
}

/// Makes patterned messages of one size.
pub(crate) struct Generator {
    size: usize,
    next: u32,
    table: Vec<u8>,
    slab: BytesMut,
}

impl Generator {
    /// A generator of messages of `size` bytes, numbered from 0. A message is
    /// never shorter than its sequence number.
    pub(crate) fn new(size: usize) -> Self {
        let size = size.max(HEADER);
        Self {
            size,
            next: 0,
            table: table(size - HEADER + 256),
            slab: BytesMut::new(),
        }
    }

    /// The next message.
    pub(crate) fn next_message(&mut self) -> Bytes {
        let q = self.next;
        self.next = self.next.wrapping_add(1);
        if self.slab.capacity() < self.size {
            self.slab = BytesMut::with_capacity(self.size.max(SLAB));
        }
        self.slab.put_u32(q);
        let offset = table_offset(q);
        self.slab
            .extend_from_slice(&self.table[offset..offset + self.size - HEADER]);
        self.slab.split().freeze()
    }
}

/// Checks patterned messages of any size.
pub(crate) struct Checker {
    table: Vec<u8>,
}

impl Checker {
    /// A checker.
    pub(crate) fn new() -> Self {
        Self {
            table: table(FULL_CHECK_LIMIT + 256),
        }
    }

    /// The sequence number of a message, or `None` when it is corrupt.
    pub(crate) fn check(&self, message: &[u8]) -> Option<u32> {
        let (header, body) = message.split_first_chunk::<HEADER>()?;
        let q = u32::from_be_bytes(*header);
        let intact = if message.len() > FULL_CHECK_LIMIT {
            body.last() == Some(&byte_at(q, message.len() - 1))
        } else {
            let offset = table_offset(q);
            body == &self.table[offset..offset + body.len()]
        };
        intact.then_some(q)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, written out.
    fn naive(q: u32, size: usize) -> Vec<u8> {
        let mut message = q.to_be_bytes().to_vec();
        for i in HEADER..size {
            message.push(((u64::from(q) * 31 + i as u64 * 7) & 255) as u8);
        }
        message
    }

    #[test]
    fn generated_messages_follow_the_definition() {
        for size in [4, 5, 100, 1_000, 4_096, 16_384] {
            let mut generator = Generator::new(size);
            for q in 0..600 {
                assert_eq!(
                    generator.next_message(),
                    naive(q, size),
                    "q {q} size {size}"
                );
            }
        }
    }

    #[test]
    fn large_sequence_numbers_follow_the_definition_too() {
        let checker = Checker::new();
        for q in [255, 256, 65_537, u32::MAX - 1, u32::MAX] {
            assert_eq!(checker.check(&naive(q, 300)), Some(q));
        }
    }

    #[test]
    fn every_flipped_byte_of_a_small_message_is_noticed() {
        let checker = Checker::new();
        let good = naive(77, 64);
        for at in HEADER..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            assert_eq!(checker.check(&bad), None, "byte {at}");
        }
    }

    #[test]
    fn large_messages_are_checked_by_number_and_last_byte() {
        let checker = Checker::new();
        let mut message = naive(9, FULL_CHECK_LIMIT + 1);
        assert_eq!(checker.check(&message), Some(9));
        message[100] ^= 1;
        assert_eq!(checker.check(&message), Some(9));
        message[FULL_CHECK_LIMIT] ^= 1;
        assert_eq!(checker.check(&message), None);
    }

    #[test]
    fn messages_without_a_number_are_corrupt() {
        let checker = Checker::new();
        assert_eq!(checker.check(&[]), None);
        assert_eq!(checker.check(&[0, 0, 0]), None);
        assert_eq!(checker.check(&[0, 0, 0, 5]), Some(5));
    }

    #[test]
    fn a_generator_never_makes_less_than_a_number() {
        assert_eq!(Generator::new(0).next_message().len(), HEADER);
    }
}
