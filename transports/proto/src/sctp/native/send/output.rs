//! Chunks as they leave: whether any may, and which.

use std::time::Instant;

use super::super::wire::{self, PacketWriter, flag, kind};
use super::congestion::INITIAL;
use super::slot::Chunk;
use super::{FULL_PACKET, MAX_CHUNKS, Sender};

/// Length of the heads of DATA and I-DATA, without the chunk header.
const DATA_HEAD: usize = 12;
const I_DATA_HEAD: usize = 16;

/// Whether a packet with data may leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Readiness {
    /// There is nothing, or a window is closed.
    Nothing,
    Now,
    /// The pacer says when.
    At(Instant),
}

impl Sender {
    /// Whether something may leave now, in a packet of at most `packet` bytes.
    pub(in super::super) fn readiness(&mut self, packet: usize, now: Instant) -> Readiness {
        self.give_up_lost(now);
        let any = self.may_repeat() || self.may_send_new(now) || self.probing;
        if !any {
            self.note_limits();
            return Readiness::Nothing;
        }
        if self.probing || self.pacer.allows(packet, now) {
            return Readiness::Now;
        }
        Readiness::At(self.pacer.ready_at(packet))
    }

    /// What the path delivers says nothing of it while the application gives too little, or the peer
    /// reads so slowly that its window closes.
    fn note_limits(&mut self) {
        let slow_reader = self.peer_window < self.widest_peer_window / 2;
        if self.window_is_open() && (self.queue.bytes() == 0 || slow_reader) {
            self.flight.note_limited();
        }
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
        ((FULL_PACKET - wire::HEADER) & !3) - self.head()
    }

    /// Writes as many chunks as the packet and the windows take.
    pub(in super::super) fn fill(&mut self, writer: &mut PacketWriter<'_>, now: Instant) {
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
        if !any {
            return;
        }
        self.recovery.on_sent(was_idle, now);
        if was_idle {
            self.congestion.on_restart(self.flight.is_limited(), now);
            self.follow_pace();
            self.pacer.allow_burst(INITIAL);
        }
    }

    /// A probe is new data if there is any, else the last chunk once more (RFC 8985 §7.3).
    fn write_probe(&mut self, writer: &mut PacketWriter<'_>, now: Instant) -> bool {
        let whole = self.whole();
        let room = writer.room().saturating_sub(self.head()).min(whole);
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
        let fits = writer.len() + self.head() + slot.chunk.data.len() <= FULL_PACKET;
        if slot.is_over(now) || !fits {
            return false;
        }
        write_chunk(writer, tsn, &slot.chunk, self.interleaving, flag::IMMEDIATE);
        self.pacer.spend(slot.chunk.data.len());
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
        let (head, interleaving) = (self.head(), self.interleaving);
        let Some((tsn, slot)) = self.flight.next_lost() else {
            return false;
        };
        // Whatever the path carries by now, the base it does.
        if writer.len() + head + slot.chunk.data.len() > FULL_PACKET {
            return false;
        }
        write_chunk(writer, tsn, &slot.chunk, interleaving, 0);
        self.recovery.on_repair(tsn);
        self.pacer.spend(slot.chunk.data.len());
        self.flight.sent_again(tsn, now);
        self.retransmitted += 1;
        true
    }

    fn write_new(&mut self, writer: &mut PacketWriter<'_>, now: Instant) -> bool {
        let lost = self.flight.next_lost().is_some();
        if lost || self.flight.len() >= MAX_CHUNKS || !self.window_is_open() {
            return false; // what is lost goes first
        }
        let whole = self.whole();
        let room = writer.room().saturating_sub(self.head()).min(whole);
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
        self.pacer.spend(len);
        self.flight.push(chunk, writer.len() > FULL_PACKET, now);
        true
    }
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
