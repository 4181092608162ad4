//! The sending side: what waits, what is on its way, and when it is taken for lost.

mod congestion;
mod flight;
mod pacer;
mod queue;
mod recovery;

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use super::forward::MAX_STREAMS;
use super::serial::{ahead, is_after};
use super::wire::{self, PacketWriter, flag, kind};
use congestion::{Ack, Congestion};
use flight::{Acked, Chunk, Flight};
use pacer::Pacer;
use queue::Queue;
use recovery::Recovery;

pub(super) use flight::{Limit, State};
pub(super) use queue::Outgoing;
pub(super) use recovery::RTO_MAX;

/// Chunks between the peer's cumulative acknowledgement and the last one sent. Filled by messages
/// as the windows allow; at the limit new ones wait. Receivers look no further ahead than 65,536.
const MAX_CHUNKS: usize = 32 * 1024;

/// A full packet, for the pacer.
const FULL_PACKET: usize = super::super::MAX_PACKET;

/// Length of the heads of DATA and I-DATA, without the chunk header.
const DATA_HEAD: usize = 12;
const I_DATA_HEAD: usize = 16;

/// An acknowledgement of the peer's.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sack<'a> {
    pub(super) cumulative: u32,
    pub(super) window: u32,
    blocks: &'a [u8],
    duplicates: &'a [u8],
}

impl<'a> Sack<'a> {
    /// Reads the value of a SACK chunk (RFC 9260 §3.3.4).
    pub(super) fn parse(value: &'a [u8]) -> Option<Self> {
        let blocks = usize::from(wire::be16(value, 8)?) * 4;
        let duplicates = usize::from(wire::be16(value, 10)?) * 4;
        Some(Self {
            cumulative: wire::be32(value, 0)?,
            window: wire::be32(value, 4)?,
            blocks: value.get(12..12 + blocks)?,
            duplicates: value.get(12 + blocks..12 + blocks + duplicates)?,
        })
    }

    fn blocks(&self) -> impl Iterator<Item = (u16, u16)> + 'a {
        let pair = |at: &[u8]| {
            let start = u16::from_be_bytes([at[0], at[1]]);
            (start, u16::from_be_bytes([at[2], at[3]]))
        };
        self.blocks.chunks_exact(4).map(pair)
    }

    fn duplicates(&self) -> impl Iterator<Item = u32> + 'a {
        let all = self.duplicates.chunks_exact(4);
        all.filter_map(|at| wire::be32(at, 0))
    }
}

/// Whether a packet with data may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Readiness {
    /// There is nothing, or a window is closed.
    Nothing,
    Now,
    /// The pacer says when.
    At(Instant),
}

pub(super) struct Sender {
    queue: Queue,
    flight: Flight,
    recovery: Recovery,
    congestion: Congestion,
    pacer: Pacer,
    /// The window the peer advertised last.
    peer_window: usize,
    /// A probe is due: one packet may leave whatever the windows say.
    probing: bool,
    interleaving: bool,
    /// Whether the peer lets us give up messages (RFC 3758).
    pub(super) partial: bool,
    /// First TSN of the round of RFC 9406 §4.3 that comes next.
    round_end: u32,
    retransmitted: u64,
}

impl Sender {
    pub(super) fn new(first_tsn: u32, pace: u64, now: Instant) -> Self {
        Self {
            queue: Queue::new(),
            flight: Flight::new(first_tsn),
            recovery: Recovery::new(),
            congestion: Congestion::new(),
            pacer: Pacer::new(pace, now),
            peer_window: 0,
            probing: false,
            interleaving: false,
            partial: false,
            round_end: first_tsn,
            retransmitted: 0,
        }
    }

    /// The association is up.
    pub(super) fn start(&mut self, peer_window: u32, partial: bool, interleaving: bool) {
        self.peer_window = usize::try_from(peer_window).unwrap_or(usize::MAX);
        self.partial = partial;
        self.interleaving = interleaving;
        self.queue.set_interleaving(interleaving);
    }

    /// Queues a message.
    pub(super) fn push(&mut self, mut message: Outgoing) {
        if !self.partial {
            message.limit = Limit::RELIABLE;
        }
        self.queue.push(message);
    }

    /// Bytes that were never sent.
    pub(super) fn unsent(&self) -> usize {
        self.queue.bytes()
    }

    pub(super) fn is_drained(&self, stream: u16) -> bool {
        self.queue.is_drained(stream)
    }

    pub(super) fn set_weight(&mut self, stream: u16, weight: u16) {
        self.queue.set_weight(stream, weight);
    }

    /// All up to here was acknowledged.
    pub(super) fn cumulative(&self) -> u32 {
        self.flight.cumulative()
    }

    /// Whether nothing waits and nothing is on its way.
    pub(super) fn is_idle(&self) -> bool {
        self.queue.bytes() == 0 && self.flight.is_empty()
    }

    /// The last TSN that was given to a chunk.
    pub(super) fn last_tsn(&self) -> u32 {
        self.flight.next_tsn().wrapping_sub(1)
    }

    pub(super) fn retransmitted(&self) -> u64 {
        self.retransmitted
    }

    pub(super) fn round_trip(&self) -> Duration {
        self.recovery.round_trip.smoothed().unwrap_or_default()
    }

    /// The retransmission timeout without backoff.
    pub(super) fn timeout(&self) -> Duration {
        self.recovery.round_trip.timeout()
    }

    /// A round trip measured by other means than data.
    pub(super) fn sample(&mut self, rtt: Duration, now: Instant) {
        self.recovery.round_trip.sample(rtt, now);
    }

    /// The stream was reset in both directions.
    pub(super) fn renew(&mut self, stream: u16) {
        self.flight.forget_stream(stream);
        self.queue.renew(stream);
    }

    /// Bytes acknowledged or given up since the last call, by stream.
    pub(super) fn take_released(&mut self) -> impl Iterator<Item = (u16, usize)> + '_ {
        self.queue.take_dropped().chain(self.flight.take_released())
    }

    /// Takes an acknowledgement; old ones and those of what was never sent are ignored.
    pub(super) fn handle_sack(&mut self, sack: &Sack<'_>, now: Instant) {
        let sent = ahead(self.flight.cumulative(), sack.cumulative)
            .and_then(|n| usize::try_from(n).ok())
            .is_some_and(|n| n <= self.flight.len());
        if !sent {
            return;
        }
        let before = self.flight.bytes();
        let mut acked = Acked::default();
        let moved = self.flight.cumulative() != sack.cumulative;
        self.flight.acknowledge_to(sack.cumulative, &mut acked);
        self.flight.acknowledge_blocks(sack.blocks(), &mut acked);
        for tsn in sack.duplicates() {
            self.recovery.on_duplicate(tsn);
        }
        self.note_window(sack.window, moved);
        self.recovery.on_cumulative(sack.cumulative);
        if acked.newest.is_some() {
            self.take_acked(&acked, before, now);
        }
        self.detect(now);
    }

    /// All up to here has arrived, and no more is said (SHUTDOWN, RFC 9260 §3.3.8).
    pub(super) fn handle_cumulative(&mut self, cumulative: u32, now: Instant) {
        let sack = Sack {
            cumulative,
            window: u32::try_from(self.peer_window).unwrap_or(u32::MAX),
            blocks: &[],
            duplicates: &[],
        };
        self.handle_sack(&sack, now);
    }

    /// What was sent into a window that was closed is gone when it opens: it is sent again at
    /// once, and not for congestion.
    fn note_window(&mut self, window: u32, moved: bool) {
        let window = usize::try_from(window).unwrap_or(usize::MAX);
        let opened = self.peer_window < FULL_PACKET && window >= FULL_PACKET && !moved;
        self.peer_window = window;
        if opened {
            self.flight.mark_all_lost();
        }
    }

    fn take_acked(&mut self, acked: &Acked, flight: usize, now: Instant) {
        let rtt = self.recovery.on_acked(acked, now);
        let round_over = !is_after(self.round_end, self.flight.cumulative());
        if round_over {
            self.round_end = self.flight.next_tsn();
        }
        let smoothed = self.round_trip();
        if !self.recovery.in_recovery() {
            let ack = Ack {
                bytes: acked.bytes,
                flight,
                rtt,
                smoothed,
                round_over,
            };
            self.congestion.on_ack(ack, now);
        }
        self.follow_pace();
    }

    fn follow_pace(&mut self) {
        if let Some(rtt) = self.recovery.round_trip.smoothed() {
            let slow_start = self.congestion.in_slow_start();
            self.pacer.follow(self.congestion.window(), rtt, slow_start);
        }
    }

    /// Looks for losses.
    fn detect(&mut self, now: Instant) {
        if !self.recovery.detect(&mut self.flight, now) {
            return;
        }
        if self.recovery.begins_event(self.flight.next_tsn()) {
            self.congestion.on_loss();
            self.follow_pace();
        }
        self.give_up_lost(now);
    }

    /// Gives up lost messages whose limit is reached (RFC 3758 §3.5).
    fn give_up_lost(&mut self, now: Instant) {
        while let Some((tsn, slot)) = self.flight.next_lost() {
            if !Flight::is_over(slot, now) {
                return;
            }
            self.abandon(tsn);
        }
    }

    fn abandon(&mut self, tsn: u32) {
        if let Some((stream, message)) = self.flight.abandon(tsn) {
            let left = self.queue.abandon(stream, message);
            self.flight.release(stream, left);
        }
    }

    /// When [`Sender::handle_timeout`] is due.
    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        if self.flight.is_empty() || self.probing {
            return None; // a probe waits to be taken
        }
        self.recovery.timer(self.flight.len()).map(|(at, _)| at)
    }

    /// Runs what is due. Says whether the retransmission timeout ran out.
    pub(super) fn handle_timeout(&mut self, now: Instant) -> bool {
        if self.flight.is_empty() || self.probing {
            return false;
        }
        match self.recovery.timer(self.flight.len()) {
            Some((at, recovery::Timer::Reordering)) if at <= now => self.detect(now),
            Some((at, recovery::Timer::Probe)) if at <= now => self.probing = true,
            Some((at, recovery::Timer::Timeout)) if at <= now => {
                self.run_out(now);
                return true;
            }
            Some(_) | None => {}
        }
        false
    }

    fn run_out(&mut self, now: Instant) {
        let closed = self.peer_window < FULL_PACKET;
        self.recovery.on_timeout(self.flight.next_tsn(), now);
        if self.flight.bytes() > 0 && !closed {
            self.congestion.on_timeout();
            self.follow_pace();
        }
        self.flight.mark_all_lost();
        self.give_up_lost(now);
    }

    /// Whether something may leave now.
    pub(super) fn readiness(&mut self, now: Instant) -> Readiness {
        self.give_up_lost(now);
        let any = self.may_repeat() || self.may_send_new(now) || self.probing;
        if !any {
            return Readiness::Nothing;
        }
        if self.probing || self.pacer.allows(FULL_PACKET, now) {
            return Readiness::Now;
        }
        Readiness::At(self.pacer.ready_at(FULL_PACKET))
    }

    fn window_is_open(&self) -> bool {
        self.flight.bytes() < self.congestion.window()
    }

    fn fits_peer(&self, len: usize) -> bool {
        self.flight.bytes() == 0 || self.flight.bytes() + len <= self.peer_window
    }

    fn may_repeat(&mut self) -> bool {
        let open = self.window_is_open();
        let first = self.flight.cumulative().wrapping_add(1);
        let next = self.flight.next_lost();
        let Some((tsn, len)) = next.map(|(tsn, slot)| (tsn, slot.chunk.data.len())) else {
            return false;
        };
        open && (tsn == first || self.fits_peer(len))
    }

    fn may_send_new(&mut self, now: Instant) -> bool {
        let whole = self.whole();
        let Some(len) = self.queue.next_len(whole, whole, true, now) else {
            return false;
        };
        self.flight.len() < MAX_CHUNKS && self.window_is_open() && self.fits_peer(len)
    }

    fn head(&self) -> usize {
        let head = if self.interleaving {
            I_DATA_HEAD
        } else {
            DATA_HEAD
        };
        head + wire::CHUNK_HEADER
    }

    /// Bytes of data in a packet with nothing else.
    fn whole(&self) -> usize {
        ((super::super::MAX_PACKET - wire::HEADER) & !3) - self.head()
    }

    /// Writes as many chunks as the packet and the windows take.
    pub(super) fn fill(&mut self, writer: &mut PacketWriter<'_>, now: Instant) {
        let was_idle = self.flight.bytes() == 0;
        let probing = std::mem::take(&mut self.probing);
        let mut any = probing && self.write_probe(writer, now);
        if probing && !any {
            // Nothing may be sent again: the timeout is next.
            self.recovery.on_probe(self.flight.cumulative(), now);
        }
        while !any || !probing {
            if self.write_lost(writer, now) || self.write_new(writer, now) {
                any = true;
            } else {
                break;
            }
        }
        if any {
            self.recovery.on_sent(was_idle, now);
        }
    }

    /// What the pacer has to count.
    pub(super) fn on_packet(&mut self, len: usize) {
        self.pacer.spend(len);
    }

    /// A probe is new data if there is any, else the last chunk once more (RFC 8985 §7.3).
    fn write_probe(&mut self, writer: &mut PacketWriter<'_>, now: Instant) -> bool {
        let (room, whole) = (writer.room().saturating_sub(self.head()), self.whole());
        let fresh = writer.is_empty();
        if let Some(len) = self.queue.next_len(room, whole, fresh, now)
            && self.flight.bytes() + len <= self.peer_window
            && self.flight.len() < MAX_CHUNKS
        {
            self.recovery.on_probe(self.flight.next_tsn(), now);
            return self.write_piece(writer, len, flag::IMMEDIATE, now);
        }
        let Some(tsn) = self.flight.last_in_flight() else {
            return false;
        };
        let Some(slot) = self.flight.get(tsn) else {
            return false;
        };
        if Flight::is_over(slot, now) || slot.chunk.data.len() + self.head() > writer.room() {
            return false;
        }
        write_chunk(writer, tsn, &slot.chunk, self.interleaving, flag::IMMEDIATE);
        self.flight.sent_again(tsn, now);
        self.recovery.on_probe(tsn, now);
        self.retransmitted += 1;
        true
    }

    fn write_lost(&mut self, writer: &mut PacketWriter<'_>, now: Instant) -> bool {
        self.give_up_lost(now);
        if !self.may_repeat() {
            return false;
        }
        let (head, room, interleaving) = (self.head(), writer.room(), self.interleaving);
        let Some((tsn, slot)) = self.flight.next_lost() else {
            return false;
        };
        if slot.chunk.data.len() + head > room {
            return false;
        }
        write_chunk(writer, tsn, &slot.chunk, interleaving, 0);
        self.flight.sent_again(tsn, now);
        self.retransmitted += 1;
        true
    }

    fn write_new(&mut self, writer: &mut PacketWriter<'_>, now: Instant) -> bool {
        let lost = self.flight.next_lost().is_some();
        if lost || self.flight.len() >= MAX_CHUNKS || !self.window_is_open() {
            return false; // what is lost goes first
        }
        let (room, whole) = (writer.room().saturating_sub(self.head()), self.whole());
        let fresh = writer.is_empty();
        match self.queue.next_len(room, whole, fresh, now) {
            Some(len) if self.fits_peer(len) => self.write_piece(writer, len, 0, now),
            Some(_) | None => false,
        }
    }

    fn write_piece(
        &mut self,
        writer: &mut PacketWriter<'_>,
        len: usize,
        flags: u8,
        now: Instant,
    ) -> bool {
        let Some(chunk) = self.queue.take(len) else {
            return false;
        };
        let tsn = self.flight.next_tsn();
        write_chunk(writer, tsn, &chunk, self.interleaving, flags);
        self.flight.push(chunk, now);
        true
    }

    /// The chunks that were given up and not acknowledged, from the first on, up to the last TSN
    /// that the peer can be told to skip (RFC 3758 §3.5 C2), which is the first value.
    pub(super) fn skipped(&self) -> Option<(u32, Vec<Skipped>)> {
        let mut to = None;
        let mut skipped = Vec::new();
        let mut names = BTreeSet::new();
        for (tsn, slot) in self.flight.iter() {
            match slot.state {
                State::Abandoned => {
                    let unordered = Flight::is_unordered(slot);
                    names.insert((slot.chunk.stream, unordered));
                    if names.len() > MAX_STREAMS {
                        break; // the rest when the peer has taken note of these
                    }
                    skipped.push(Skipped {
                        stream: slot.chunk.stream,
                        number: slot.chunk.number,
                        unordered,
                    });
                    to = Some(tsn);
                }
                State::Acked => {}
                State::InFlight | State::Lost => break,
            }
        }
        to.map(|to| (to, skipped))
    }
}

impl fmt::Debug for Sender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sender")
            .field("unsent", &self.queue.bytes())
            .field("flight", &self.flight.bytes())
            .field("chunks", &self.flight.len())
            .field("window", &self.congestion.window())
            .field("peer_window", &self.peer_window)
            .field("round_trip", &self.recovery.round_trip)
            .finish_non_exhaustive()
    }
}

/// A message that the peer will not get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Skipped {
    pub(super) stream: u16,
    /// SSN or MID.
    pub(super) number: u32,
    pub(super) unordered: bool,
}

/// DATA (RFC 9260 §3.3.1) or I-DATA (RFC 8260 §2.1).
fn write_chunk(
    writer: &mut PacketWriter<'_>,
    tsn: u32,
    chunk: &Chunk,
    interleaving: bool,
    flags: u8,
) {
    let mut head = [0; I_DATA_HEAD];
    head[..4].copy_from_slice(&tsn.to_be_bytes());
    head[4..6].copy_from_slice(&chunk.stream.to_be_bytes());
    let flags = flags | chunk.flags;
    if interleaving {
        head[8..12].copy_from_slice(&chunk.number.to_be_bytes());
        let first = flags & flag::BEGIN != 0;
        let last = if first { chunk.ppid } else { chunk.fsn };
        head[12..].copy_from_slice(&last.to_be_bytes());
        writer.chunk(kind::I_DATA, flags, &head, &chunk.data);
    } else {
        let [.., high, low] = chunk.number.to_be_bytes();
        head[6..8].copy_from_slice(&[high, low]);
        head[8..12].copy_from_slice(&chunk.ppid.to_be_bytes());
        writer.chunk(kind::DATA, flags, &head[..DATA_HEAD], &chunk.data);
    }
}
