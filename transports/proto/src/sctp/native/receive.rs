//! The receiving side: what has arrived, what is whole, what waits to be read, and what to tell the
//! peer of it.

mod fragments;
mod streams;
mod tracker;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::forward::Skip;
use super::serial::unwrap32;
use super::wire::{self, flag};
use fragments::Whole;
use streams::{Arrived, Gone, Incoming, Stream, Use};
use tracker::{Arrival, Tracker};

/// How long an acknowledgement waits for another packet. RFC 9260 §6.2 says 200 ms and at most
/// 500 ms; a sender with a short timeout would send again by then.
const ACK_DELAY: Duration = Duration::from_millis(20);

/// Packets with data that one acknowledgement answers at least (RFC 9260 §6.2).
const PACKETS_PER_ACK: u32 = 2;

/// What a chunk takes of the receive window beside its bytes, since each pins a part of a datagram.
/// With the default window of 4 MiB at most 16,384 chunks lie here.
pub(super) const CHUNK_OVERHEAD: usize = 256;

/// Pieces shorter than this are copied: where they lie, they keep a few records alive, whose memory
/// nobody counts.
const COPIED: usize = 512;

/// Gap blocks in one acknowledgement: what fits into a packet.
const MAX_BLOCKS: usize = 256;

/// What is wrong with a chunk of data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Violation {
    Malformed,
    /// It has no user data (RFC 9260 §3.3.10.9).
    Empty,
}

/// A piece of DATA that is not the last of its message.
#[derive(Clone, Copy, Debug)]
struct Unfinished {
    tsn: u64,
    stream: u16,
    unordered: bool,
}

#[derive(Debug)]
pub(super) struct Receiver {
    tracker: Tracker,
    /// The TSN that others are near, unwrapped.
    near: u64,
    streams: BTreeMap<u16, Stream>,
    /// The last chunk, if its message goes on. The next TSN has to be of the same message: some
    /// peers break off a message when its stream is reset.
    unfinished: Option<Unfinished>,
    stream_limit: u16,
    message_limit: usize,
    window: usize,
    used: usize,
    /// Pieces and messages that are held.
    held: usize,
    /// Streams that have become readable and were not reported.
    readable: Vec<u16>,
    packets_since_ack: u32,
    ack_now: bool,
    ack_at: Option<Instant>,
    advertised: usize,
}

impl Receiver {
    pub(super) fn new(window: u32, streams: u16, message_limit: usize) -> Self {
        let window = usize::try_from(window).unwrap_or(usize::MAX);
        Self {
            tracker: Tracker::new(0),
            near: 0,
            streams: BTreeMap::new(),
            unfinished: None,
            stream_limit: streams,
            message_limit,
            window,
            used: 0,
            held: 0,
            readable: Vec::new(),
            packets_since_ack: 0,
            ack_now: false,
            ack_at: None,
            advertised: window,
        }
    }

    /// The peer is known.
    pub(super) fn start(&mut self, first_tsn: u32, streams: u16) {
        self.tracker = Tracker::new(first_tsn);
        self.near = u64::from(first_tsn) + (1 << 32);
        self.stream_limit = streams;
    }

    pub(super) fn cumulative(&self) -> u32 {
        self.tracker.cumulative()
    }

    /// Pieces and messages of the peer's that lie here.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Takes the value of a DATA or I-DATA chunk, which lies in `packet`.
    pub(super) fn take(
        &mut self,
        packet: &Bytes,
        chunk: &wire::Chunk,
        interleaving: bool,
    ) -> Result<(), Violation> {
        let (tsn, stream, arrived) =
            parse(packet, chunk, interleaving).ok_or(Violation::Malformed)?;
        if arrived.data.is_empty() {
            return Err(Violation::Empty);
        }
        match self.tracker.judge(tsn) {
            Arrival::New => {}
            Arrival::Duplicate => {
                self.ack_now = true;
                return Ok(());
            }
            Arrival::TooFar => return Ok(()),
        }
        if !self.has_room(tsn) {
            self.ack_now = true;
            return Ok(());
        }
        let gap = self.tracker.has_gap();
        self.tracker.insert(tsn);
        self.near = unwrap32(self.near, tsn);
        self.ack_now |= gap || self.tracker.has_gap() || chunk.flags & flag::IMMEDIATE != 0;
        if stream < self.stream_limit {
            let arrived = Arrived {
                tsn: self.near,
                ..arrived
            };
            if !interleaving {
                self.follow(stream, &arrived);
            }
            self.store(stream, arrived);
        }
        Ok(())
    }

    /// Drops a message that does not go on where it has to (RFC 9260 §6.9: its TSNs follow each
    /// other).
    fn follow(&mut self, name: u16, arrived: &Arrived) {
        if let Some(open) = self.unfinished.take_if(|open| open.tsn + 1 == arrived.tsn) {
            let same = open.stream == name && open.unordered == arrived.unordered;
            if (arrived.begin || !same)
                && let Some(stream) = self.streams.get_mut(&open.stream)
            {
                let gone = stream.break_off(open.tsn, open.unordered);
                self.free(gone);
            }
        }
        if !arrived.end {
            self.unfinished = Some(Unfinished {
                tsn: arrived.tsn,
                stream: name,
                unordered: arrived.unordered,
            });
        }
    }

    /// New data needs window; what fills a gap may go beyond it by half, and what everything else
    /// waits for by as much again.
    fn has_room(&self, tsn: u32) -> bool {
        let next = tsn == self.tracker.cumulative().wrapping_add(1);
        let limit = match (self.tracker.fills_gap(tsn), next) {
            (true, true) => self.window * 2,
            (true, false) => self.window / 2 * 3,
            (false, _) => self.window,
        };
        self.used < limit
    }

    fn store(&mut self, name: u16, arrived: Arrived) {
        let floor = unwrap32(self.near, self.tracker.cumulative());
        let stream = self.streams.entry(name).or_default();
        if let Some(gone) = stream.orphaned(&arrived, floor) {
            return self.free(gone);
        }
        self.used += arrived.data.len() + CHUNK_OVERHEAD;
        self.held += 1;
        let (unordered, interleaved) = (arrived.unordered, arrived.fsn.is_some());
        let settled = !interleaved && arrived.tsn <= floor;
        let limit = self.message_limit;
        let Some(whole) = stream.take(arrived, limit) else {
            return;
        };
        let charge = charge(&whole);
        self.used -= whole.bytes + whole.pieces * CHUNK_OVERHEAD - charge;
        self.held -= whole.pieces - 1;
        let message = Incoming {
            ppid: whole.ppid,
            data: whole.data,
            charge,
        };
        let mut gone = Gone::default();
        if unordered {
            if interleaved {
                stream.note_unordered(whole.row);
            }
            stream.put(message, &mut gone);
        } else {
            let number = if interleaved {
                whole.row
            } else {
                stream.unwrap(whole.ssn)
            };
            stream.deliver(number, message, settled, &mut gone);
        }
        self.free(gone);
        self.report(name);
    }

    fn free(&mut self, gone: Gone) {
        self.used = self.used.saturating_sub(gone.window);
        self.held = self.held.saturating_sub(gone.held);
    }

    fn report(&mut self, name: u16) {
        if let Some(stream) = self.streams.get_mut(&name)
            && stream.has_unread()
            && stream.usage != Use::Discard
            && !std::mem::replace(&mut stream.reported, true)
        {
            self.readable.push(name);
        }
    }

    /// A packet with data was taken whole.
    pub(super) fn packet_taken(&mut self, now: Instant) {
        self.packets_since_ack += 1;
        if self.packets_since_ack >= PACKETS_PER_ACK {
            self.ack_now = true;
        }
        self.ack_at.get_or_insert(now + ACK_DELAY);
    }

    /// The peer gives something up (RFC 3758 §3.6).
    pub(super) fn skip(&mut self, skip: &Skip, interleaving: bool) {
        self.ack_now = true;
        let next = self.tracker.cumulative();
        let new = super::serial::ahead(next, skip.to).filter(|n| *n > 0);
        if new.is_none_or(|n| n > tracker::MAX_AHEAD) {
            return;
        }
        self.tracker.skip_to(skip.to);
        let to = unwrap32(self.near, skip.to);
        self.near = self.near.max(to);
        let mut gone = Vec::new();
        if !interleaving {
            gone.extend(
                self.streams
                    .values_mut()
                    .map(|stream| stream.discard_to(to)),
            );
        }
        for message in &skip.messages {
            if message.stream >= self.stream_limit {
                continue;
            }
            let stream = self.streams.entry(message.stream).or_default();
            gone.push(if message.unordered {
                stream.skip_unordered(message.number)
            } else {
                stream.skip(message.number, interleaving)
            });
            self.report(message.stream);
        }
        for gone in gone {
            self.free(gone);
        }
    }

    /// Streams that have become readable since the last call.
    pub(super) fn take_readable(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.readable)
    }

    /// The next message of a stream.
    pub(super) fn read(&mut self, name: u16) -> Option<Incoming> {
        let stream = self.streams.get_mut(&name)?;
        let message = stream.read()?;
        self.used = self.used.saturating_sub(message.charge);
        self.held = self.held.saturating_sub(1);
        self.update_window();
        Some(message)
    }

    /// Tells the peer of a window that was nearly closed and has opened (RFC 9260 §6.2: an
    /// endpoint that has read should).
    fn update_window(&mut self) {
        let free = self.free_window();
        let small = self.advertised < self.window / 2;
        if small && free >= self.advertised + self.window / 8 {
            self.ack_now = true;
        }
    }

    fn free_window(&self) -> usize {
        self.window.saturating_sub(self.used)
    }

    pub(super) fn has_unread(&self, stream: u16) -> bool {
        self.streams.get(&stream).is_some_and(Stream::has_unread)
    }

    /// From now on nobody reads the stream.
    pub(super) fn discard(&mut self, name: u16) {
        let stream = self.streams.entry(name).or_default();
        if stream.usage == Use::Read {
            stream.usage = Use::Discard;
        }
        let gone = stream.drop_unread();
        self.free(gone);
        self.update_window();
    }

    /// The peer has reset the stream.
    pub(super) fn restart(&mut self, name: u16) {
        let gone = self.streams.entry(name).or_default().restart();
        self.free(gone);
    }

    /// Both sides of the stream are reset.
    pub(super) fn renew(&mut self, name: u16) {
        if let Some(stream) = self.streams.get_mut(&name) {
            let gone = stream.renew();
            self.free(gone);
        }
        self.report(name);
    }

    /// The number of streams has grown (RFC 6525 §4.5).
    pub(super) fn add_streams(&mut self, count: u16, limit: u16) -> bool {
        let more = self.stream_limit.checked_add(count);
        let more = more.filter(|more| *more <= limit);
        self.stream_limit = more.unwrap_or(self.stream_limit);
        more.is_some()
    }

    /// Whether an acknowledgement should leave now.
    pub(super) fn ack_is_due(&self) -> bool {
        self.ack_now
    }

    /// Whether one could leave together with something else.
    pub(super) fn ack_is_welcome(&self) -> bool {
        self.ack_now || self.ack_at.is_some()
    }

    /// Whether one should leave although more packets are being taken: senders that count reports
    /// of missing chunks need several (RFC 9260 §7.2.4).
    pub(super) fn ack_is_urgent(&self, packets: u32) -> bool {
        self.tracker.has_gap() && self.packets_since_ack >= packets
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.ack_at.filter(|_| !self.ack_now)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        self.ack_now |= self.ack_at.is_some_and(|at| at <= now);
    }

    /// The value of a SACK that fits into `room` bytes (RFC 9260 §3.3.4).
    pub(super) fn sack(&mut self, room: usize) -> Vec<u8> {
        let reports = room.saturating_sub(12) / 4;
        let duplicates = self.tracker.take_duplicates(reports / 2);
        let limit = MAX_BLOCKS.min(reports - duplicates.len());
        let blocks = self.tracker.blocks(limit);
        let free = self.free_window();
        self.advertised = free;
        self.packets_since_ack = 0;
        self.ack_now = false;
        self.ack_at = None;
        let mut out = Vec::with_capacity(12 + 4 * (blocks.len() + duplicates.len()));
        out.extend(self.tracker.cumulative().to_be_bytes());
        out.extend(u32::try_from(free).unwrap_or(u32::MAX).to_be_bytes());
        out.extend(
            u16::try_from(blocks.len())
                .unwrap_or_default()
                .to_be_bytes(),
        );
        out.extend(
            u16::try_from(duplicates.len())
                .unwrap_or_default()
                .to_be_bytes(),
        );
        for (start, end) in blocks {
            out.extend(start.to_be_bytes());
            out.extend(end.to_be_bytes());
        }
        for tsn in duplicates {
            out.extend(tsn.to_be_bytes());
        }
        out
    }
}

fn own(packet: &Bytes, range: Range<usize>) -> Bytes {
    match packet.get(range.clone()) {
        Some(piece) if piece.len() < COPIED => Bytes::copy_from_slice(piece),
        Some(_) => packet.slice(range),
        None => Bytes::new(),
    }
}

fn charge(whole: &Whole) -> usize {
    whole.data.len() + CHUNK_OVERHEAD
}

/// Reads DATA (RFC 9260 §3.3.1) or I-DATA (RFC 8260 §2.1).
fn parse(packet: &Bytes, chunk: &wire::Chunk, interleaved: bool) -> Option<(u32, u16, Arrived)> {
    let value = packet.get(chunk.value.clone())?;
    let tsn = wire::be32(value, 0)?;
    let stream = wire::be16(value, 4)?;
    let begin = chunk.flags & flag::BEGIN != 0;
    let (number, fsn, ppid, head) = if interleaved {
        let last = wire::be32(value, 12)?;
        let fsn = if begin { 0 } else { last };
        (wire::be32(value, 8)?, Some(fsn), last, 16)
    } else {
        let ssn = u32::from(wire::be16(value, 6)?);
        (ssn, None, wire::be32(value, 8)?, 12)
    };
    let arrived = Arrived {
        tsn: 0,
        begin,
        end: chunk.flags & flag::END != 0,
        unordered: chunk.flags & flag::UNORDERED != 0,
        number,
        fsn,
        ppid,
        data: own(packet, chunk.value.start + head..chunk.value.end),
    };
    Some((tsn, stream, arrived))
}
