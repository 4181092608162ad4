//! The records of DTLS 1.3 once the handshake is over (RFC 9147 §4): epochs from 3 on, which are
//! application data, alerts, acknowledgements and changes of keys.
//!
//! The packaged engine makes connections well and carries data slowly: most of its time goes into
//! moving records between its structures. So it keeps the handshake (epochs 0 to 2), and this
//! keeps the rest: a record is encrypted from where it lies straight into the batch that leaves,
//! and decrypted straight into the buffer that goes up.
//!
//! [`Records::parse`] finds out whose a record is; [`Records::open`] and [`Records::seal`] are the
//! two directions; `epochs` changes keys (§8).

mod epochs;
mod keys;
mod late;
mod window;

use std::fmt;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::tape::Tape;
use crate::engine::Batch;
use crate::id::DtlsRole;
use epochs::{Receiving, Sending};
use keys::{Suite, TAG};
use late::Late;

pub(super) use keys::Secret;

/// The first epoch of application data (RFC 9147 §6.1).
const FIRST_EPOCH: u64 = 3;

/// Header of the records that leave: flags, a number of 16 bits, and the length.
const HEADER: usize = 5;

/// Bytes that a record has beside its content: header, content type and tag.
pub(super) const OVERHEAD: usize = HEADER + 1 + TAG;

/// Plaintext goes into buffers of this size, which a few records share: whoever keeps one of them
/// keeps the others, so that more would let a peer pin much memory with little data. The first is
/// small, for connections that hardly say anything; each is twice as large as the one before.
const POOL: usize = 4 * 1024;
const FIRST_POOL: usize = 256;

/// Forged records after which the keys must not be used any more (RFC 9147 §4.5.3).
const MAX_FORGED: u64 = 1 << 36;

/// Types of content (RFC 9147 §4).
pub(super) mod content {
    pub(in super::super) const ALERT: u8 = 21;
    pub(in super::super) const HANDSHAKE: u8 = 22;
    pub(in super::super) const DATA: u8 = 23;
    pub(in super::super) const ACK: u8 = 26;

    /// Type and content of a DTLSInnerPlaintext, without padding (RFC 9147 §4).
    pub(in super::super) fn split(inner: &[u8]) -> Option<(u8, &[u8])> {
        let at = inner.iter().rposition(|byte| *byte != 0)?;
        Some((inner[at], &inner[..at]))
    }
}

/// A record in a datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Found {
    /// Where it ends.
    pub(super) end: usize,
    /// The two bits of its epoch, if it is protected.
    pub(super) epoch_bits: Option<u8>,
}

impl Found {
    /// Whether it is in the clear, or of the epoch in which handshakes are encrypted.
    pub(super) fn is_of_handshake(self) -> bool {
        matches!(self.epoch_bits, None | Some(2))
    }
}

/// What was in a record of the peer's.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Opened {
    Data(Bytes),
    /// The description of an alert.
    Alert(u8),
    /// An acknowledgement of records of the handshake, which the engine waits for.
    HandshakeAck,
    /// It was for this layer, or it is forged, or old.
    Nothing,
    /// More records were forged than a key may see.
    TooManyForged,
}

/// The record layer after the handshake.
pub(super) struct Records {
    suite: Suite,
    sending: Sending,
    receiving: Receiving,
    /// What the peer may still say of the handshake.
    late: Option<Late>,
    pool: BytesMut,
    /// Bytes of the next one.
    pool_size: usize,
    forged: u64,
}

impl Records {
    /// Takes over from the engine: its keys and numbers are on the tape. `None` if they are not, or
    /// the cipher suite is not known here.
    pub(super) fn take_over(tape: &mut Tape, role: DtlsRole, limits: Limits) -> Option<Self> {
        let suite = Suite::of(tape.suite?)?;
        let (ours, theirs) = match role {
            DtlsRole::Client => (tape.client.take()?, tape.server.take()?),
            DtlsRole::Server => (tape.server.take()?, tape.client.take()?),
        };
        let is_handshake =
            |inner: &Vec<u8>| content::split(inner).is_some_and(|it| it.0 == content::HANDSHAKE);
        if tape.sealed.iter().any(is_handshake) {
            return None; // its number would be used again
        }
        let message = tape.message_sent?.checked_add(1)?;
        let sending = Sending::new(suite, ours, tape.records_sealed, message, limits)?;
        let expected = tape.message_received?.checked_add(1)?;
        let receiving = Receiving::new(suite, theirs, &tape.opened, expected)?;
        tape.sealed.clear();
        tape.opened = Vec::new();
        let late = match role {
            DtlsRole::Client => None,
            DtlsRole::Server => tape.client_handshake.take().map(Late::new),
        };
        Some(Self {
            suite,
            sending,
            receiving,
            late,
            pool: BytesMut::new(),
            pool_size: FIRST_POOL,
            forged: 0,
        })
    }

    /// The first record in `datagram`. `None` if it is no record of a kind that we take: none has
    /// a connection ID.
    pub(super) fn parse(datagram: &[u8]) -> Option<Found> {
        let first = *datagram.first()?;
        if first & 0xe0 != 0x20 {
            let len = datagram.get(11..13)?;
            let end = 13 + usize::from(u16::from_be_bytes([len[0], len[1]]));
            return (end <= datagram.len()).then_some(Found {
                end,
                epoch_bits: None,
            });
        }
        let header = Header::of(datagram)?;
        let end = match header.length_at {
            Some(at) => {
                let len = datagram.get(at..at + 2)?;
                header.len + usize::from(u16::from_be_bytes([len[0], len[1]]))
            }
            None => datagram.len(),
        };
        (end <= datagram.len()).then_some(Found {
            end,
            epoch_bits: Some(first & 3),
        })
    }

    /// Whether a protected record with these bits of its epoch is ours.
    pub(super) fn keeps(&self, epoch_bits: u8) -> bool {
        self.receiving.has(epoch_bits)
    }

    /// Decrypts one record of an epoch that [`Records::keeps`].
    pub(super) fn open(&mut self, record: &[u8], now: Instant) -> Opened {
        let Some(plain) = self.decrypt(record) else {
            return if self.forged > MAX_FORGED {
                Opened::TooManyForged
            } else {
                Opened::Nothing
            };
        };
        match plain.content_type {
            content::DATA => Opened::Data(plain.content.freeze()),
            content::ALERT => plain
                .content
                .get(1)
                .copied()
                .map_or(Opened::Nothing, Opened::Alert),
            content::ACK => self.take_ack(&plain.content),
            content::HANDSHAKE => {
                self.take_handshake(&plain, now);
                Opened::Nothing
            }
            _ => Opened::Nothing,
        }
    }

    fn decrypt(&mut self, record: &[u8]) -> Option<Plain> {
        let header = Header::of(record)?;
        let (head, ciphertext) = record.split_at_checked(header.len)?;
        let epoch = self.receiving.epoch_of(record[0] & 3)?;
        let at = ciphertext.len().checked_sub(TAG).filter(|len| *len > 0)?;
        let mask = epoch.keys.mask(ciphertext)?;
        let mut clear = [0; HEADER];
        let clear = &mut clear[..head.len()];
        clear.copy_from_slice(head);
        let (short, bits) = header.reveal(clear, mask);
        let number = epoch.window.resolve(short, bits);
        if !epoch.window.is_new(number) {
            return None;
        }
        if self.pool.len() < at {
            self.pool = BytesMut::zeroed(self.pool_size.max(at));
            self.pool_size = POOL.min(2 * self.pool_size);
        }
        let mut content = self.pool.split_to(at);
        if epoch
            .keys
            .open(number, clear, ciphertext, &mut content)
            .is_none()
        {
            self.forged += 1;
            content.unsplit(std::mem::take(&mut self.pool));
            self.pool = content;
            return None;
        }
        epoch.window.insert(number);
        let number = (epoch.number, number);
        let (content_type, len) = content::split(&content).map(|(kind, it)| (kind, it.len()))?;
        content.truncate(len);
        self.receiving.seen(number.0);
        Some(Plain {
            number,
            content_type,
            content,
        })
    }

    /// Whether this layer answers whatever the peer may still say of the handshake.
    pub(super) fn answers_handshake(&self) -> bool {
        self.late.is_some()
    }

    /// Takes a record of the epoch of the handshake that the peer says again, since it has not heard
    /// that we have it: [`Records::poll_message`] tells it.
    pub(super) fn take_late(&mut self, record: &[u8]) {
        let late = self.late.as_mut();
        if let Some(number) = late.and_then(|late| late.open(record, self.suite)) {
            self.receiving.acknowledge(number);
        }
    }

    /// Encrypts `content` into the batch, or the one after it. `None` if the keys have protected as
    /// much as they may: it goes on when the peer has acknowledged new ones.
    pub(super) fn seal(
        &mut self,
        content_type: u8,
        content: &[u8],
        batch: &mut Batch,
        full: impl FnMut((Bytes, usize)),
    ) -> Option<usize> {
        self.sending.seal(content_type, content, batch, full)
    }

    /// The next message of this layer: an acknowledgement, or a change of keys.
    pub(super) fn poll_message(&mut self, now: Instant) -> Option<(u8, Vec<u8>)> {
        if let Some(ack) = self.receiving.poll_ack() {
            return Some((content::ACK, ack));
        }
        let update = self.sending.poll_update(now)?;
        Some((content::HANDSHAKE, update))
    }

    /// When [`Records::poll_message`] has something again without the peer's doing.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.sending.poll_timeout()
    }

    #[cfg(test)]
    pub(super) fn send_epoch(&self) -> u64 {
        self.sending.epoch
    }

    #[cfg(test)]
    pub(super) fn exhaust_keys(&mut self) {
        self.sending.exhaust();
    }

    fn take_ack(&mut self, ack: &[u8]) -> Opened {
        let mut handshake = false;
        for (epoch, number) in epochs::acknowledged(ack) {
            if epoch < FIRST_EPOCH {
                handshake = true;
            } else {
                self.sending.acknowledged(epoch, number, self.suite);
            }
        }
        if handshake {
            Opened::HandshakeAck
        } else {
            Opened::Nothing
        }
    }

    fn take_handshake(&mut self, plain: &Plain, now: Instant) {
        let asked = self
            .receiving
            .take_handshake(&plain.content, plain.number, self.suite);
        if asked {
            self.sending.begin_update(now);
        }
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("sending", &self.sending)
            .field("receiving", &self.receiving)
            .field("forged", &self.forged)
            .finish_non_exhaustive()
    }
}

/// How much a key may protect, and how a change of keys is repeated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Records after which new keys are made.
    pub(super) records_per_key: u64,
    /// First wait for the acknowledgement of a change of keys.
    pub(super) patience: Duration,
}

/// A record that was decrypted.
struct Plain {
    /// Epoch and number.
    number: (u64, u64),
    content_type: u8,
    content: BytesMut,
}

/// Where things are in the head of a protected record (RFC 9147 §4).
struct Header {
    len: usize,
    /// Bytes of the number: one or two.
    number_len: usize,
    length_at: Option<usize>,
}

impl Header {
    fn of(record: &[u8]) -> Option<Self> {
        const CONNECTION_ID: u8 = 0x10;
        const LONG_NUMBER: u8 = 0x08;
        const LENGTH: u8 = 0x04;
        let first = *record.first()?;
        if first & CONNECTION_ID != 0 {
            return None;
        }
        let number_len = if first & LONG_NUMBER == 0 { 1 } else { 2 };
        let length_at = (first & LENGTH != 0).then_some(1 + number_len);
        let len = 1 + number_len + length_at.map_or(0, |_| 2);
        (record.len() >= len).then_some(Self {
            len,
            number_len,
            length_at,
        })
    }

    /// Uncovers the number in a copy of the head; returns it and its length in bits.
    fn reveal(&self, head: &mut [u8], mask: [u8; 2]) -> (u64, u32) {
        let mut short = 0;
        for (byte, mask) in head[1..=self.number_len].iter_mut().zip(mask) {
            *byte ^= mask;
            short = short << 8 | u64::from(*byte);
        }
        (short, if self.number_len == 1 { 8 } else { 16 })
    }
}
