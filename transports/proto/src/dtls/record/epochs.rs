//! Epochs of application data: their keys, their numbers, and how they follow each other
//! (RFC 9147 §8): new keys are used once the peer has acknowledged the announcement of them, and the
//! old ones are kept until the peer's first record under the new ones.

use std::collections::VecDeque;
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::keys::{Keys, Secret, Suite, TAG};
use super::window::Window;
use super::{FIRST_EPOCH, HEADER, Limits, OVERHEAD, content};
use crate::engine::Batch;

/// Most records under one AES-GCM key, 2^24.5 (RFC 9147 §4.5.3).
const MAX_RECORDS: u64 = 23_726_566;

/// Of these so many are for what is not data: to change keys, to acknowledge, to say goodbye.
const RESERVE: u64 = 1 << 16;

/// Records after which keys are changed at the latest: the peer has time to acknowledge.
const LATEST_CHANGE: u64 = MAX_RECORDS / 4 * 3;

/// The least wait for an acknowledgement.
const MIN_PATIENCE: Duration = Duration::from_millis(10);

/// The longest wait for the acknowledgement of a change of keys (RFC 9147 §5.8.1).
const MAX_PATIENCE: Duration = Duration::from_secs(60);

/// Records that wait to be acknowledged. Filled by the peer's handshake messages; beyond it they
/// are not, and the peer sends them again.
const MAX_ACKS: usize = 32;

/// Transmissions of a change of keys that are known again by their acknowledgement. Filled by the
/// timer; beyond it the first ones are forgotten.
const MAX_TRANSMISSIONS: usize = 16;

/// Handshake messages after the handshake (RFC 8446 §4).
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;
/// `request_update` of a KeyUpdate.
const UPDATE_NOT_REQUESTED: u8 = 0;
const UPDATE_REQUESTED: u8 = 1;

const MESSAGE_HEADER: usize = 12;

/// The records in an acknowledgement, as epoch and number (RFC 9147 §7).
pub(super) fn acknowledged(ack: &[u8]) -> impl Iterator<Item = (u64, u64)> + '_ {
    let len = ack.get(..2).map(|len| u16::from_be_bytes([len[0], len[1]]));
    let list = ack
        .get(2..)
        .filter(|list| Some(list.len()) == len.map(usize::from));
    let word = |at: &[u8]| at.try_into().map_or(0, u64::from_be_bytes);
    let list = list.unwrap_or_default().chunks_exact(16);
    list.map(move |at| (word(&at[..8]), word(&at[8..])))
}

/// The direction to the peer.
pub(super) struct Sending {
    keys: Keys,
    secret: Secret,
    pub(super) epoch: u64,
    /// Number of the next record.
    next: u64,
    /// `message_seq` of the next handshake message.
    message: u16,
    limits: Limits,
    update: Option<Update>,
}

/// A change of keys that was announced, or is about to be.
#[derive(Debug)]
struct Update {
    message: Vec<u8>,
    due: Instant,
    patience: Duration,
    /// The next record carries it.
    leaving: bool,
    /// Numbers of the records that have carried it.
    sent: VecDeque<u64>,
}

impl Sending {
    pub(super) fn new(
        suite: Suite,
        secret: Secret,
        next: u64,
        message: u16,
        mut limits: Limits,
    ) -> Option<Self> {
        limits.records_per_key = limits.records_per_key.clamp(1, LATEST_CHANGE);
        limits.patience = limits.patience.max(MIN_PATIENCE);
        Some(Self {
            keys: Keys::new(suite, &secret)?,
            secret,
            epoch: FIRST_EPOCH,
            next,
            message,
            limits,
            update: None,
        })
    }

    /// Encrypts one record to the end of the batch; a batch that it does not fit into goes to
    /// `full`. Returns the length of the record.
    pub(super) fn seal(
        &mut self,
        content_type: u8,
        bytes: &[u8],
        batch: &mut Batch,
        mut full: impl FnMut((Bytes, usize)),
    ) -> Option<usize> {
        let limit = match content_type {
            content::DATA => MAX_RECORDS - RESERVE,
            _ => MAX_RECORDS,
        };
        if self.next >= limit {
            return None;
        }
        let len = bytes.len() + OVERHEAD;
        if !batch.fits(len)
            && let Some(batch) = batch.take()
        {
            full(batch);
        }
        let out = batch.push_zeroed(len)?;
        let (head, body) = out.split_at_mut(HEADER);
        head[0] = 0x2c | u8::try_from(self.epoch & 3).unwrap_or_default();
        let [.., high, low] = self.next.to_be_bytes();
        let sealed = u16::try_from(bytes.len() + 1 + TAG).ok()?.to_be_bytes();
        head[1..].copy_from_slice(&[high, low, sealed[0], sealed[1]]);
        self.keys.seal(self.next, head, bytes, content_type, body)?;
        for (byte, mask) in head[1..3].iter_mut().zip(self.keys.mask(body)?) {
            *byte ^= mask;
        }
        if let Some(update) = self.update.as_mut().filter(|it| it.leaving) {
            update.leaving = false;
            update.sent.truncate(MAX_TRANSMISSIONS - 1);
            update.sent.push_front(self.next);
        }
        self.next += 1;
        Some(len)
    }

    /// Announces new keys, unless that is under way.
    pub(super) fn begin_update(&mut self, now: Instant) {
        if self.update.is_some() {
            return;
        }
        let [high, low] = self.message.to_be_bytes();
        let Some(after) = self.message.checked_add(1) else {
            return; // 65,535 changes: the old keys serve until they are used up
        };
        self.message = after;
        let (whole, from) = ([0, 0, 1], [0, 0, 0]);
        let mut message = vec![KEY_UPDATE];
        message.extend(whole);
        message.extend([high, low]);
        message.extend(from);
        message.extend(whole);
        message.push(UPDATE_NOT_REQUESTED);
        self.update = Some(Update {
            message,
            due: now,
            patience: self.limits.patience,
            leaving: false,
            sent: VecDeque::new(),
        });
    }

    /// The announcement of new keys, if it is to leave now: seal it next.
    pub(super) fn poll_update(&mut self, now: Instant) -> Option<Vec<u8>> {
        if self.next >= self.limits.records_per_key {
            self.begin_update(now);
        }
        let update = self.update.as_mut().filter(|update| update.due <= now)?;
        update.due = now + update.patience;
        update.patience = (update.patience * 2).min(MAX_PATIENCE);
        update.leaving = true;
        Some(update.message.clone())
    }

    #[cfg(test)]
    pub(super) fn exhaust(&mut self) {
        self.next = MAX_RECORDS - RESERVE;
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.update.as_ref().map(|update| update.due)
    }

    /// The peer has a record of ours.
    pub(super) fn acknowledged(&mut self, epoch: u64, number: u64, suite: Suite) {
        let heard = |update: &Update| update.sent.contains(&number);
        if epoch != self.epoch || !self.update.as_ref().is_some_and(heard) {
            return;
        }
        self.update = None;
        let next = self.secret.next(suite);
        let Some((secret, keys)) = next.and_then(|it| Keys::new(suite, &it).map(|keys| (it, keys)))
        else {
            return;
        };
        self.secret = secret;
        self.keys = keys;
        self.epoch += 1;
        self.next = 0;
    }
}

impl fmt::Debug for Sending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sending")
            .field("epoch", &self.epoch)
            .field("next", &self.next)
            .field("update", &self.update)
            .finish_non_exhaustive()
    }
}

/// One epoch of the peer's.
pub(super) struct Epoch {
    pub(super) number: u64,
    pub(super) keys: Keys,
    pub(super) window: Window,
}

impl Epoch {
    pub(super) fn new(number: u64, suite: Suite, secret: &Secret) -> Option<Self> {
        Some(Self {
            number,
            keys: Keys::new(suite, secret)?,
            window: Window::default(),
        })
    }
}

/// The direction from the peer.
pub(super) struct Receiving {
    /// The newest, and the one before it until the peer has used the newest.
    epochs: [Option<Epoch>; 2],
    secret: Secret,
    /// `message_seq` of the peer's next handshake message.
    expected: u16,
    acks: Vec<(u64, u64)>,
}

impl Receiving {
    pub(super) fn new(
        suite: Suite,
        secret: Secret,
        opened: &[[u8; 12]],
        expected: u16,
    ) -> Option<Self> {
        let mut first = Epoch::new(FIRST_EPOCH, suite, &secret)?;
        for nonce in opened {
            first.window.insert(first.keys.number_of(nonce));
        }
        Some(Self {
            epochs: [Some(first), None],
            secret,
            expected,
            acks: Vec::new(),
        })
    }

    /// The epoch that these two bits stand for.
    pub(super) fn epoch_of(&mut self, bits: u8) -> Option<&mut Epoch> {
        let mut epochs = self.epochs.iter_mut().flatten();
        epochs.find(|epoch| epoch.number & 3 == u64::from(bits))
    }

    /// Whether these two bits stand for an epoch.
    pub(super) fn has(&self, bits: u8) -> bool {
        let mut epochs = self.epochs.iter().flatten();
        epochs.any(|epoch| epoch.number & 3 == u64::from(bits))
    }

    /// A genuine record of this epoch has arrived: older ones are over if it is the newest.
    pub(super) fn seen(&mut self, number: u64) {
        if self.epochs[0]
            .as_ref()
            .is_some_and(|it| it.number == number)
        {
            self.epochs[1] = None;
        }
    }

    /// Takes the handshake messages in a record. Says whether the peer wants new keys of ours.
    pub(super) fn take_handshake(
        &mut self,
        mut messages: &[u8],
        record: (u64, u64),
        suite: Suite,
    ) -> bool {
        let mut asked = false;
        while let Some(head) = messages.get(..MESSAGE_HEADER) {
            let u24 = |at: usize| {
                usize::from(head[at]) << 16
                    | usize::from(head[at + 1]) << 8
                    | usize::from(head[at + 2])
            };
            let (len, from, part) = (u24(1), u24(6), u24(9));
            let Some(body) = messages.get(MESSAGE_HEADER..MESSAGE_HEADER + part) else {
                break;
            };
            let sequence = u16::from_be_bytes([head[4], head[5]]);
            let known = self.take_message(head[0], sequence, (body, from, len), suite);
            let Some(update) = known else { return asked };
            asked |= update;
            messages = &messages[MESSAGE_HEADER + part..];
        }
        self.acknowledge(record);
        asked
    }

    /// The peer is to hear that this record, an epoch and a number, is here.
    pub(super) fn acknowledge(&mut self, record: (u64, u64)) {
        if self.acks.len() < MAX_ACKS {
            self.acks.push(record);
        }
    }

    /// `None` if the message cannot be taken, and must not be acknowledged.
    fn take_message(
        &mut self,
        kind: u8,
        sequence: u16,
        (body, from, len): (&[u8], usize, usize),
        suite: Suite,
    ) -> Option<bool> {
        if sequence != self.expected {
            let old = sequence < self.expected;
            return old.then_some(false); // its acknowledgement was lost
        }
        match (kind, body) {
            (KEY_UPDATE, [request]) if len == 1 && *request <= UPDATE_REQUESTED => {
                let after = self.expected.checked_add(1)?;
                self.advance(suite)?;
                self.expected = after;
                Some(*request == UPDATE_REQUESTED)
            }
            (NEW_SESSION_TICKET, _) => {
                // Nothing is resumed here. Parts of it may come in any order; the last one counts.
                if from + body.len() >= len {
                    self.expected = self.expected.checked_add(1)?;
                }
                Some(false)
            }
            _ => None,
        }
    }

    fn advance(&mut self, suite: Suite) -> Option<()> {
        let newest = self.epochs[0].as_ref()?.number;
        let secret = self.secret.next(suite)?;
        let next = Epoch::new(newest + 1, suite, &secret)?;
        self.secret = secret;
        self.epochs[1] = self.epochs[0].replace(next);
        Some(())
    }

    /// The next acknowledgement (RFC 9147 §7).
    pub(super) fn poll_ack(&mut self) -> Option<Vec<u8>> {
        if self.acks.is_empty() {
            return None;
        }
        let mut acks = std::mem::take(&mut self.acks);
        acks.sort_unstable();
        let len = u16::try_from(acks.len() * 16).ok()?;
        let mut out = len.to_be_bytes().to_vec();
        for (epoch, number) in acks {
            out.extend(epoch.to_be_bytes());
            out.extend(number.to_be_bytes());
        }
        Some(out)
    }
}

impl fmt::Debug for Receiving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = self.epochs.iter().flatten().map(|epoch| epoch.number);
        f.debug_struct("Receiving")
            .field("epochs", &numbers.collect::<Vec<_>>())
            .field("expected", &self.expected)
            .finish_non_exhaustive()
    }
}
