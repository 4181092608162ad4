//! One incoming stream: order, and messages that wait to be read.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::super::serial::{unwrap16, unwrap32};
use super::CHUNK_OVERHEAD;
use super::fragments::{Fragments, Key, Piece, Whole};

/// A message to be read.
#[derive(Clone, Debug)]
pub(in super::super) struct Incoming {
    pub(in super::super) ppid: u32,
    /// Empty if the message was longer than allowed.
    pub(in super::super) data: Bytes,
    /// What it takes of the receive window.
    pub(super) charge: usize,
}

/// What becomes of whole messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Use {
    /// They are read.
    #[default]
    Read,
    /// Nobody wants them: we have reset the stream, and the peer has not.
    Discard,
    /// They belong to the next use of the stream, which begins when our side is reset, too.
    Hold,
}

/// Number of the first message of a stream, unwrapped: what lies before it has a smaller one.
const FIRST: u64 = 1 << 32;

#[derive(Debug)]
pub(super) struct Stream {
    ordered: Fragments,
    unordered: Fragments,
    /// SSN or MID of the next message in order, unwrapped.
    next: u64,
    /// Unwrapped MID that unordered messages are near.
    next_unordered: u64,
    /// Whole messages that have to wait for others before them.
    waiting: BTreeMap<u64, Incoming>,
    ready: VecDeque<Incoming>,
    held: VecDeque<Incoming>,
    pub(super) usage: Use,
    /// The application was told that there is something to read.
    pub(super) reported: bool,
}

impl Default for Stream {
    fn default() -> Self {
        Self {
            ordered: Fragments::default(),
            unordered: Fragments::default(),
            next: FIRST,
            next_unordered: FIRST,
            waiting: BTreeMap::new(),
            ready: VecDeque::new(),
            held: VecDeque::new(),
            usage: Use::default(),
            reported: false,
        }
    }
}

/// What is gone: pieces and messages, and the receive window they took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Gone {
    pub(super) held: usize,
    pub(super) window: usize,
}

impl Gone {
    /// These pieces, so many bytes together.
    fn pieces((pieces, bytes): (usize, usize)) -> Self {
        Self {
            held: pieces,
            window: bytes + pieces * CHUNK_OVERHEAD,
        }
    }

    /// One more message.
    pub(super) fn note(&mut self, message: &Incoming) {
        self.held += 1;
        self.window += message.charge;
    }

    fn and(self, other: Self) -> Self {
        Self {
            held: self.held + other.held,
            window: self.window + other.window,
        }
    }
}

/// A chunk of data, as the stream has to know it.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) tsn: u64,
    pub(super) begin: bool,
    pub(super) end: bool,
    pub(super) unordered: bool,
    /// SSN or MID.
    pub(super) number: u32,
    /// `None` for DATA.
    pub(super) fsn: Option<u32>,
    pub(super) ppid: u32,
    pub(super) data: Bytes,
}

impl Stream {
    /// Whether the chunk belongs to a message that can never be whole, since all up to TSN `floor`
    /// has arrived and what comes before it is not here: the message was skipped, or the stream
    /// was reset in the middle of it, as some peers do. So it is with a piece of I-DATA that is here
    /// already. Tells what else is gone with it.
    pub(super) fn orphaned(&mut self, arrived: &Arrived, floor: u64) -> Option<Gone> {
        let key = self.key(arrived);
        let pieces = if arrived.unordered {
            &mut self.unordered
        } else {
            &mut self.ordered
        };
        if arrived.fsn.is_some() {
            let old = key.row < self.next && !arrived.unordered;
            return (old || pieces.has(key)).then(Gone::default);
        }
        let at = |place| Key { row: 0, place };
        let before = arrived.tsn.wrapping_sub(1);
        if arrived.begin || before > floor || pieces.has(at(before)) {
            return None;
        }
        Some(Gone::pieces(pieces.discard_run(at(arrived.tsn + 1))))
    }

    /// The message with this piece of DATA was broken off.
    pub(super) fn break_off(&mut self, tsn: u64, unordered: bool) -> Gone {
        let key = Key { row: 0, place: tsn };
        Gone::pieces(if unordered {
            self.unordered.discard_message(key)
        } else {
            self.ordered.discard_message(key)
        })
    }

    fn key(&self, arrived: &Arrived) -> Key {
        let near = if arrived.unordered {
            self.next_unordered
        } else {
            self.next
        };
        match arrived.fsn {
            None => Key {
                row: 0,
                place: arrived.tsn,
            },
            Some(fsn) => Key {
                row: unwrap32(near, arrived.number),
                place: u64::from(fsn),
            },
        }
    }

    /// Takes a chunk; returns the message that is whole now.
    pub(super) fn take(&mut self, arrived: Arrived, limit: usize) -> Option<Whole> {
        let key = self.key(&arrived);
        let ssn = u16::try_from(arrived.number & 0xffff).unwrap_or_default();
        let piece = Piece {
            key,
            begin: arrived.begin,
            end: arrived.end,
            ssn,
            ppid: arrived.ppid,
            data: arrived.data,
        };
        if arrived.begin && arrived.end && piece.data.len() <= limit {
            return Some(Whole {
                row: key.row,
                ssn,
                ppid: piece.ppid,
                bytes: piece.data.len(),
                data: piece.data,
                pieces: 1,
            });
        }
        if arrived.unordered {
            self.unordered.insert(piece, limit)
        } else {
            self.ordered.insert(piece, limit)
        }
    }

    /// Notes the MID of an unordered message.
    pub(super) fn note_unordered(&mut self, row: u64) {
        self.next_unordered = self.next_unordered.max(row.wrapping_add(1));
    }

    /// A whole message of the order. `settled`: all that was sent before it has arrived, so that
    /// nothing it could wait for will come; it is a remnant from before a reset then, as some
    /// peers leave. Notes in `gone` what nobody wants.
    pub(super) fn deliver(
        &mut self,
        number: u64,
        message: Incoming,
        settled: bool,
        gone: &mut Gone,
    ) {
        if number < self.next || (settled && number > self.next) {
            return gone.note(&message);
        }
        if number > self.next {
            if let Some(twice) = self.waiting.insert(number, message) {
                gone.note(&twice);
            }
            return;
        }
        self.next += 1;
        self.put(message, gone);
        self.deliver_waiting(gone);
    }

    fn deliver_waiting(&mut self, gone: &mut Gone) {
        while let Some(message) = self.waiting.remove(&self.next) {
            self.next += 1;
            self.put(message, gone);
        }
    }

    /// The unwrapped SSN.
    pub(super) fn unwrap(&self, ssn: u16) -> u64 {
        unwrap16(self.next, ssn)
    }

    /// A message whose turn it is, or that is outside of the order.
    pub(super) fn put(&mut self, message: Incoming, gone: &mut Gone) {
        match self.usage {
            Use::Read => self.ready.push_back(message),
            Use::Hold => self.held.push_back(message),
            Use::Discard => gone.note(&message),
        }
    }

    /// Pieces of DATA up to this TSN will never be whole (RFC 3758 §3.6).
    pub(super) fn discard_to(&mut self, tsn: u64) -> Gone {
        let dead = |key: Key| key.row == 0 && key.place <= tsn;
        Gone::pieces(self.ordered.discard(dead)).and(Gone::pieces(self.unordered.discard(dead)))
    }

    /// Messages of the order up to this SSN or MID will not come (RFC 3758 §3.6, RFC 8260 §2.3.1).
    pub(super) fn skip(&mut self, number: u32, interleaving: bool) -> Gone {
        let last = if interleaving {
            unwrap32(self.next, number)
        } else {
            self.unwrap(u16::try_from(number & 0xffff).unwrap_or_default())
        };
        let mut gone = Gone::default();
        if interleaving {
            gone = Gone::pieces(self.ordered.discard(|key| key.row <= last));
        }
        if last < self.next {
            return gone;
        }
        // What was whole before the skipped ones is delivered all the same.
        let later = self.waiting.split_off(&(last + 1));
        for (_, message) in std::mem::replace(&mut self.waiting, later) {
            self.put(message, &mut gone);
        }
        self.next = last + 1;
        self.deliver_waiting(&mut gone);
        gone
    }

    /// Unordered I-DATA messages up to this MID will not come.
    pub(super) fn skip_unordered(&mut self, mid: u32) -> Gone {
        let last = unwrap32(self.next_unordered, mid);
        self.note_unordered(last);
        Gone::pieces(self.unordered.discard(|key| key.row <= last))
    }

    /// The peer has reset the stream: a new order begins.
    pub(super) fn restart(&mut self) -> Gone {
        let ordered = Gone::pieces(self.ordered.discard(|_| true));
        let mut gone = ordered.and(Gone::pieces(self.unordered.discard(|_| true)));
        for message in std::mem::take(&mut self.waiting).values() {
            gone.note(message);
        }
        self.next = FIRST;
        self.next_unordered = FIRST;
        self.usage = Use::Hold;
        gone
    }

    /// We have reset the stream: what is unread goes.
    pub(super) fn drop_unread(&mut self) -> Gone {
        let mut gone = Gone::default();
        for message in self.ready.drain(..) {
            gone.note(&message);
        }
        gone
    }

    /// Both sides are reset: the next use of the stream begins, and what is unread of this one goes.
    pub(super) fn renew(&mut self) -> Gone {
        let gone = self.drop_unread();
        self.usage = Use::Read;
        self.ready = std::mem::take(&mut self.held);
        self.reported = false;
        gone
    }

    pub(super) fn has_unread(&self) -> bool {
        !self.ready.is_empty()
    }

    pub(super) fn read(&mut self) -> Option<Incoming> {
        let message = self.ready.pop_front();
        if message.is_none() {
            self.reported = false;
        }
        message
    }
}
