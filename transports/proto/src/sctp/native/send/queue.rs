//! Messages that wait to be sent: a queue per stream, and whose turn it is.
//!
//! Streams take turns by deficit round robin with their priority as weight (RFC 8831 §6.4,
//! RFC 8260 §3.6). Without interleaving a message that was begun is finished first.

use std::collections::{BTreeMap, VecDeque};
use std::time::Instant;

use bytes::Bytes;

use super::super::wire::flag;
use super::slot::{Chunk, Limit};

/// Weight of a stream that nobody gave one: "normal" of RFC 8831 §6.4.
const NORMAL_WEIGHT: u16 = 256;

/// Bytes of one turn per unit of weight: about two packets for a normal stream.
const TURN_PER_WEIGHT: isize = 8;

/// Pieces smaller than this are not cut off a message to fill up a packet.
const MIN_FRAGMENT: usize = 128;

/// A message to be queued.
#[derive(Clone, Debug)]
pub(in super::super) struct Outgoing {
    pub(in super::super) stream: u16,
    pub(in super::super) data: Bytes,
    pub(in super::super) ppid: u32,
    pub(in super::super) ordered: bool,
    pub(in super::super) limit: Limit,
}

#[derive(Debug)]
struct Queued {
    message: Outgoing,
    id: u64,
    /// SSN or MID, given with the first piece.
    number: u32,
    offset: usize,
    fsn: u32,
}

#[derive(Debug)]
struct Stream {
    messages: VecDeque<Queued>,
    next_ordered: u32,
    next_unordered: u32,
    weight: u16,
    deficit: isize,
    scheduled: bool,
}

impl Stream {
    fn new() -> Self {
        Self {
            messages: VecDeque::new(),
            next_ordered: 0,
            next_unordered: 0,
            weight: NORMAL_WEIGHT,
            deficit: 0,
            scheduled: false,
        }
    }

    fn turn(&self) -> isize {
        isize::try_from(self.weight).unwrap_or(1).max(1) * TURN_PER_WEIGHT
    }
}

/// All messages that have not been sent whole. Filled by the application, which asks how much
/// lies here first (`SctpConfig::send_buffer`).
#[derive(Debug)]
pub(in super::super) struct Queue {
    streams: BTreeMap<u16, Stream>,
    round: VecDeque<u16>,
    interleaving: bool,
    bytes: usize,
    next_id: u64,
    /// Messages dropped before anything of them was sent: stream and bytes.
    dropped: Vec<(u16, usize)>,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            streams: BTreeMap::new(),
            round: VecDeque::new(),
            interleaving: false,
            bytes: 0,
            next_id: 0,
            dropped: Vec::new(),
        }
    }

    /// Whether messages travel as I-DATA (RFC 8260).
    pub(super) fn set_interleaving(&mut self, interleaving: bool) {
        self.interleaving = interleaving;
    }

    pub(super) fn push(&mut self, message: Outgoing) {
        self.bytes += message.data.len();
        let id = self.next_id;
        self.next_id += 1;
        let name = message.stream;
        let stream = self.streams.entry(name).or_insert_with(Stream::new);
        stream.messages.push_back(Queued {
            message,
            id,
            number: 0,
            offset: 0,
            fsn: 0,
        });
        if !stream.scheduled {
            stream.scheduled = true;
            stream.deficit = stream.turn();
            self.round.push_back(name);
        }
    }

    /// Bytes that were never sent.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether all that was queued on the stream has been sent.
    pub(super) fn is_drained(&self, stream: u16) -> bool {
        self.streams
            .get(&stream)
            .is_none_or(|stream| stream.messages.is_empty())
    }

    /// The stream begins anew with the first SSN (RFC 6525 §5.2.2).
    pub(super) fn renew(&mut self, stream: u16) {
        if self.is_drained(stream) {
            self.streams.remove(&stream);
        }
    }

    pub(super) fn set_weight(&mut self, stream: u16, weight: u16) {
        self.streams
            .entry(stream)
            .or_insert_with(Stream::new)
            .weight = weight;
    }

    /// How many bytes the next piece has if there is room for `room` bytes of data in the packet,
    /// which `fresh` says is empty yet, and `whole` in an empty one. `None`: nothing to send, or it
    /// has to go into the next packet.
    pub(super) fn next_len(
        &mut self,
        room: usize,
        whole: usize,
        fresh: bool,
        now: Instant,
    ) -> Option<usize> {
        self.drop_expired(now);
        let stream = self.streams.get(self.round.front()?)?;
        let next = stream.messages.front()?;
        let left = next.message.data.len() - next.offset;
        if left <= room {
            return Some(left);
        }
        let cut = fresh || (left > whole && room >= MIN_FRAGMENT);
        (cut && room > 0).then_some(room)
    }

    /// Messages whose lifetime is over before anything of them was sent (RFC 3758 §3.5).
    fn drop_expired(&mut self, now: Instant) {
        while let Some(name) = self.round.front().copied() {
            let Some(stream) = self.streams.get_mut(&name) else {
                return;
            };
            let expired = stream
                .messages
                .front()
                .filter(|next| next.offset == 0 && next.message.limit.is_over(now));
            let Some(len) = expired.map(|next| next.message.data.len()) else {
                return;
            };
            stream.messages.pop_front();
            self.bytes -= len;
            self.dropped.push((name, len));
            self.leave_if_empty();
        }
    }

    /// Whoever is in turn leaves the round when it has nothing more.
    fn leave_if_empty(&mut self) {
        if let Some(stream) = self.round.front().and_then(|n| self.streams.get_mut(n))
            && stream.messages.is_empty()
        {
            stream.scheduled = false;
            self.round.pop_front();
        }
    }

    /// What was dropped since the last call.
    pub(super) fn take_dropped(&mut self) -> impl Iterator<Item = (u16, usize)> + '_ {
        self.dropped.drain(..)
    }

    /// Takes the next piece, `len` bytes long as [`Queue::next_len`] said.
    pub(super) fn take(&mut self, len: usize) -> Option<Chunk> {
        let name = *self.round.front()?;
        let stream = self.streams.get_mut(&name)?;
        let next = stream.messages.front_mut()?;
        if next.offset == 0 {
            next.number = number_of(
                &next.message,
                self.interleaving,
                &mut stream.next_ordered,
                &mut stream.next_unordered,
            );
        }
        let end = (next.offset + len).min(next.message.data.len());
        let last = end == next.message.data.len();
        let chunk = Chunk {
            data: next.message.data.slice(next.offset..end),
            stream: name,
            number: next.number,
            fsn: next.fsn,
            flags: flags_of(next, last),
            ppid: next.message.ppid,
            message: next.id,
            limit: next.message.limit,
        };
        let sent = end - next.offset;
        next.offset = end;
        next.fsn = next.fsn.wrapping_add(1);
        self.bytes -= sent;
        stream.deficit -= isize::try_from(sent).unwrap_or(isize::MAX);
        if last {
            stream.messages.pop_front();
        }
        if last || self.interleaving {
            self.pass_turn();
        }
        Some(chunk)
    }

    /// A message or, with interleaving, a piece of one has been taken.
    fn pass_turn(&mut self) {
        let Some(name) = self.round.front().copied() else {
            return;
        };
        let Some(stream) = self.streams.get_mut(&name) else {
            return;
        };
        if stream.messages.is_empty() {
            return self.leave_if_empty();
        }
        if stream.deficit <= 0 {
            stream.deficit += stream.turn();
            self.round.rotate_left(1);
        }
    }

    /// Drops what has not been sent of a message that was given up; says how many bytes.
    pub(super) fn abandon(&mut self, stream: u16, id: u64) -> usize {
        let Some(queue) = self.streams.get_mut(&stream) else {
            return 0;
        };
        if queue.messages.front().is_none_or(|next| next.id != id) {
            return 0;
        }
        let left = queue
            .messages
            .pop_front()
            .map_or(0, |next| next.message.data.len() - next.offset);
        self.bytes -= left;
        if queue.messages.is_empty() {
            queue.scheduled = false;
            self.round.retain(|name| *name != stream);
        }
        left
    }
}

/// The message's SSN (16 bits, ordered only) or MID (32 bits, both kinds).
fn number_of(
    message: &Outgoing,
    interleaving: bool,
    ordered: &mut u32,
    unordered: &mut u32,
) -> u32 {
    let counter = match (message.ordered, interleaving) {
        (true, _) => ordered,
        (false, true) => unordered,
        (false, false) => return 0,
    };
    let number = *counter;
    *counter = number.wrapping_add(1);
    number
}

fn flags_of(next: &Queued, last: bool) -> u8 {
    let begin = if next.offset == 0 { flag::BEGIN } else { 0 };
    let end = if last { flag::END } else { 0 };
    let unordered = if next.message.ordered {
        0
    } else {
        flag::UNORDERED
    };
    begin | end | unordered
}
