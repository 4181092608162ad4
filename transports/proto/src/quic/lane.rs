//! One id, as one channel uses it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::given_up::GivenUp;
use super::wire::{Datagram, Frame, Order};
use super::{Transport, Uni};
use crate::sctp::Ppid;

/// Frames are gathered up to here before the transport gets them: it looks for the bytes of each packet
/// through all pieces it holds.
const PIECE: usize = 64 * 1024;

/// What a lane keeps of both directions.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) epoch: u16,
    /// We wait for the peer's ACK: until then all goes over the main stream (RFC 8832 §6 asks for order).
    pub(super) unacknowledged: bool,
    pub(super) out: Outbound,
    pub(super) main: Main,
    pub(super) messages: Messages,
    pub(super) datagrams: VecDeque<Datagram>,
    /// The next datagram of an ordered channel has this number or a higher one.
    pub(super) next_datagram: u32,
    /// The peer has broken the protocol of the channel, which was not said yet.
    pub(super) violated: bool,
    /// It was told that there is something to read.
    pub(super) told: bool,
    /// Our side is to end once all is through.
    pub(super) ending: bool,
    /// Our side has ended.
    pub(super) ended: bool,
}

/// The main stream of the peer's.
#[derive(Debug, Default)]
pub(super) struct Main {
    pub(super) stream: Option<Uni>,
    pub(super) buffer: BytesMut,
    pub(super) head: Option<Frame>,
    /// Frames read.
    pub(super) frames: u32,
    pub(super) ended: bool,
}

/// Messages on streams of their own, as they arrive.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Unordered ones with something to read.
    pub(super) active: BTreeSet<Uni>,
    /// Ordered ones, by number.
    pub(super) ordered: BTreeMap<u32, Uni>,
    /// Ordered ones that were given up before they were known.
    pub(super) given_up: GivenUp,
    /// The next ordered one.
    pub(super) next: u32,
}

impl Messages {
    /// The next ordered one is over, and those behind it that were given up: no run of these begins with the next.
    pub(super) fn pass(&mut self) {
        self.next = self.next.wrapping_add(1);
        self.next = self.next.wrapping_add(self.given_up.take(self.next));
    }
}

/// A message that waits for a stream or a datagram.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) ppid: Ppid,
    pub(super) data: Bytes,
    pub(super) ordered: bool,
    pub(super) datagram: bool,
    pub(super) deadline: Option<Instant>,
}

/// A message on a stream of its own.
#[derive(Debug)]
pub(super) struct Flying {
    /// What the transport has not taken.
    pub(super) rest: Bytes,
    pub(super) len: usize,
    pub(super) deadline: Option<Instant>,
    pub(super) number: u32,
}

/// What we send.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    pub(super) stream: Option<Uni>,
    pieces: VecDeque<Bytes>,
    tail: BytesMut,
    /// Where each message in the pieces ends, and its length.
    marks: VecDeque<(u64, usize)>,
    appended: u64,
    taken: u64,
    /// Frames appended.
    pub(super) frames: u32,
    pub(super) waiting: VecDeque<Waiting>,
    pub(super) flying: BTreeMap<Uni, Flying>,
    /// Streams of messages opened.
    pub(super) streams: u32,
    /// Datagrams sent on an ordered channel.
    pub(super) datagrams: u32,
}

impl Outbound {
    /// Adds a message to the main stream.
    pub(super) fn append(&mut self, ppid: Ppid, data: &[u8], ordered: bool) {
        let streams = if ordered { self.streams } else { 0 };
        let before = self.tail.len();
        let frame = Frame {
            ppid,
            len: u32::try_from(data.len()).unwrap_or(u32::MAX),
            streams,
        };
        frame.write(&mut self.tail);
        self.tail.extend_from_slice(data);
        self.appended += (self.tail.len() - before) as u64;
        self.marks.push_back((self.appended, data.len()));
        self.frames = self.frames.wrapping_add(1);
        if self.tail.len() >= PIECE {
            self.pieces.push_back(self.tail.split().freeze());
        }
    }

    /// The head, before all else.
    pub(super) fn begin(&mut self, stream: Uni, head: Bytes) {
        self.stream = Some(stream);
        self.appended += head.len() as u64;
        self.marks
            .iter_mut()
            .for_each(|mark| mark.0 += head.len() as u64);
        self.pieces.push_front(head);
    }

    /// Writes what the transport takes; the bytes of messages that it has taken whole. `None` when the
    /// peer wants nothing more.
    pub(super) fn write(&mut self, transport: &mut impl Transport) -> Option<usize> {
        let stream = self.stream?;
        if !self.tail.is_empty() {
            self.pieces.push_back(self.tail.split().freeze());
        }
        while let Some(piece) = self.pieces.front_mut() {
            let before = piece.len();
            let wanted = transport.write(stream, piece);
            self.taken += (before - piece.len()) as u64;
            if !wanted {
                return None;
            }
            if !piece.is_empty() {
                break;
            }
            self.pieces.pop_front();
        }
        let mut released = 0;
        while let Some((end, len)) = self.marks.front()
            && *end <= self.taken
        {
            released += len;
            self.marks.pop_front();
        }
        Some(released)
    }

    /// Bytes for the main stream that the transport has not taken.
    pub(super) fn unwritten(&self) -> usize {
        usize::try_from(self.appended - self.taken).unwrap_or(usize::MAX)
    }

    /// Throws away what the main stream has not taken; the bytes of messages in it.
    pub(super) fn clear_main(&mut self) -> usize {
        self.pieces.clear();
        self.tail.clear();
        self.taken = self.appended;
        self.marks.drain(..).map(|(_, len)| len).sum()
    }

    /// Whether everything sent has arrived, was given up, or is in the main stream.
    pub(super) fn is_through(&self) -> bool {
        self.unwritten() == 0 && self.waiting.is_empty() && self.flying.is_empty()
    }

    /// Whether a stream of a message is under way or will be.
    pub(super) fn has_streams(&self) -> bool {
        !self.flying.is_empty() || self.waiting.iter().any(|it| !it.datagram)
    }

    /// Where an ordered message stands that is sent now.
    pub(super) fn order(&self) -> Order {
        Order {
            streams: self.streams,
            frames: self.frames,
        }
    }
}
