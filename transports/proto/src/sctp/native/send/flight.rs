//! Chunks that were sent and not yet acknowledged cumulatively: a ring indexed by TSN.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::super::serial::{ahead, is_after};
use super::super::wire::flag;
use super::congestion::{Delivery, Lost, Sample};
use super::slot::{Acked, Chunk, Slot, State};

#[derive(Debug)]
pub(in super::super) struct Flight {
    slots: VecDeque<Slot>,
    /// TSN of the first slot, or of the next chunk to be sent.
    first: u32,
    in_flight: usize,
    gap_acked: usize,
    /// Highest TSN that was acknowledged in any way.
    highest_acked: u32,
    /// All transmissions in their order, for RACK; outdated ones are passed over.
    log: VecDeque<(u32, u64)>,
    lost: VecDeque<u32>,
    next_order: u64,
    /// Gap blocks of the last acknowledgement, as first and last TSN: what they cover need not be
    /// looked at again.
    blocks: Vec<(u32, u32)>,
    released: Vec<(u16, usize)>,
    delivery: Delivery,
    /// Taken for lost since the congestion control was told.
    newly_lost: Vec<Lost>,
    /// Chunks that made their packets longer than the base: arrived and lost since the last call.
    beyond_base: (u32, u32),
}

impl Flight {
    pub(super) fn new(first: u32, now: Instant) -> Self {
        Self {
            slots: VecDeque::new(),
            first,
            in_flight: 0,
            gap_acked: 0,
            highest_acked: first.wrapping_sub(1),
            log: VecDeque::new(),
            lost: VecDeque::new(),
            next_order: 0,
            blocks: Vec::new(),
            released: Vec::new(),
            delivery: Delivery::new(now),
            newly_lost: Vec::new(),
            beyond_base: (0, 0),
        }
    }

    /// Bytes on their way.
    pub(super) fn bytes(&self) -> usize {
        self.in_flight
    }

    /// Chunks between the cumulative acknowledgement and the last one sent.
    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    pub(super) fn gap_acked(&self) -> usize {
        self.gap_acked
    }

    /// The last TSN acknowledged cumulatively.
    pub(super) fn cumulative(&self) -> u32 {
        self.first.wrapping_sub(1)
    }

    /// TSN of the next new chunk.
    pub(super) fn next_tsn(&self) -> u32 {
        let len = u32::try_from(self.slots.len()).unwrap_or_default();
        self.first.wrapping_add(len)
    }

    fn index(&self, tsn: u32) -> Option<usize> {
        let index = usize::try_from(ahead(self.first, tsn)?).ok()?;
        (index < self.slots.len()).then_some(index)
    }

    pub(super) fn get(&self, tsn: u32) -> Option<&Slot> {
        self.slots.get(self.index(tsn)?)
    }

    /// Slots from the first on, with their TSNs.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u32, &Slot)> {
        let tsns = (0_u32..).map(|n| self.first.wrapping_add(n));
        tsns.zip(&self.slots)
    }

    /// A new chunk leaves; returns its TSN.
    pub(super) fn push(&mut self, chunk: Chunk, beyond_base: bool, now: Instant) -> u32 {
        let tsn = self.next_tsn();
        let alone = self.in_flight == 0;
        self.in_flight += chunk.data.len();
        let order = self.log_transmission(tsn);
        let sent = self.delivery.on_sent(self.in_flight, alone, now);
        self.slots.push_back(Slot {
            chunk,
            state: State::InFlight,
            released: false,
            beyond_base,
            sent,
            order,
            transmissions: 1,
        });
        tsn
    }

    fn log_transmission(&mut self, tsn: u32) -> u64 {
        let order = self.next_order;
        self.next_order += 1;
        self.log.push_back((tsn, order));
        order
    }

    /// A chunk leaves again.
    pub(super) fn sent_again(&mut self, tsn: u32, now: Instant) {
        let order = self.log_transmission(tsn);
        let Some(index) = self.index(tsn) else { return };
        let alone = self.in_flight == 0;
        let slot = &mut self.slots[index];
        slot.beyond_base = false;
        if slot.state == State::Lost {
            self.in_flight += slot.chunk.data.len();
        }
        slot.state = State::InFlight;
        slot.sent = self.delivery.on_sent(self.in_flight, alone, now);
        slot.order = order;
        slot.transmissions = slot.transmissions.saturating_add(1);
    }

    /// The oldest transmission in the log that still matters.
    pub(super) fn oldest_transmission(&mut self) -> Option<(u32, &Slot)> {
        while let Some((tsn, order)) = self.log.front().copied() {
            let current = self
                .get(tsn)
                .is_some_and(|slot| slot.order == order && slot.state == State::InFlight);
            if current {
                return self.get(tsn).map(|slot| (tsn, slot));
            }
            self.log.pop_front();
        }
        None
    }

    /// The last chunk that is on its way.
    pub(super) fn last_in_flight(&self) -> Option<u32> {
        let back = self
            .slots
            .iter()
            .rposition(|slot| slot.state == State::InFlight)?;
        Some(self.first.wrapping_add(u32::try_from(back).ok()?))
    }

    /// Takes a chunk for lost, which the congestion control hears of.
    pub(super) fn mark_lost(&mut self, tsn: u32) {
        let Some(index) = self.index(tsn) else { return };
        self.mark(index, tsn);
        let slot = &self.slots[index];
        let lost = self.delivery.on_lost(slot.chunk.data.len(), &slot.sent);
        self.newly_lost.push(lost);
    }

    fn mark(&mut self, index: usize, tsn: u32) {
        let slot = &mut self.slots[index];
        if slot.state == State::InFlight {
            slot.state = State::Lost;
            self.in_flight -= slot.chunk.data.len();
            self.beyond_base.1 += u32::from(slot.beyond_base);
            self.lost.push_back(tsn);
        }
    }

    /// Takes everything on its way for lost, which says nothing of single chunks.
    pub(super) fn mark_all_lost(&mut self) {
        let lost = self.lost.len();
        for index in 0..self.slots.len() {
            let ahead = u32::try_from(index).unwrap_or_default();
            self.mark(index, self.first.wrapping_add(ahead));
        }
        if lost > 0 {
            let mut all: Vec<u32> = self.lost.drain(..).collect();
            let first = self.first;
            all.sort_unstable_by_key(|tsn| tsn.wrapping_sub(first));
            all.dedup();
            self.lost.extend(all);
        }
        self.log.clear();
    }

    /// The next chunk to be sent again.
    pub(super) fn next_lost(&mut self) -> Option<(u32, &Slot)> {
        while let Some(tsn) = self.lost.front().copied() {
            if self.get(tsn).is_some_and(|slot| slot.state == State::Lost) {
                return self.get(tsn).map(|slot| (tsn, slot));
            }
            self.lost.pop_front();
        }
        None
    }

    /// All up to `cumulative` has arrived. It was sent.
    pub(super) fn acknowledge_to(&mut self, cumulative: u32, acked: &mut Acked) {
        let count = ahead(self.first, cumulative).map_or(0, |n| n + 1);
        for _ in 0..count {
            let tsn = self.first;
            self.settle(0, tsn, acked);
            if self
                .slots
                .pop_front()
                .is_some_and(|slot| slot.state == State::Acked)
            {
                self.gap_acked -= 1;
            }
            self.first = self.first.wrapping_add(1);
        }
    }

    /// The gap blocks of an acknowledgement, as distances from the cumulative TSN. Those out of
    /// order, empty or beyond what was sent end the list (RFC 9260 §3.3.4).
    pub(super) fn acknowledge_blocks(
        &mut self,
        blocks: impl Iterator<Item = (u16, u16)>,
        acked: &mut Acked,
    ) {
        let known = std::mem::take(&mut self.blocks);
        let mut known = known.iter().copied().peekable();
        let mut seen = Vec::new();
        let mut after = 1;
        for (start, end) in blocks {
            let (start, end) = (u32::from(start), u32::from(end));
            let sent = usize::try_from(end).is_ok_and(|end| end <= self.slots.len());
            if start <= after || end < start || !sent {
                break;
            }
            after = end + 1;
            let first = self.cumulative().wrapping_add(start);
            let last = self.cumulative().wrapping_add(end);
            let mut from = first;
            while known.next_if(|(_, k)| is_after(first, *k)).is_some() {}
            if let Some((known_first, known_last)) = known.peek().copied()
                && ahead(known_first, first).is_some()
                && ahead(known_last, last).is_some()
            {
                from = known_last.wrapping_add(1);
            }
            self.acknowledge_range(from, last, acked);
            seen.push((first, last));
        }
        self.blocks = seen;
    }

    fn acknowledge_range(&mut self, from: u32, last: u32, acked: &mut Acked) {
        let mut tsn = from;
        while ahead(tsn, last).is_some() {
            if let Some(index) = self.index(tsn) {
                self.settle(index, tsn, acked);
            }
            tsn = tsn.wrapping_add(1);
        }
    }

    /// A chunk has arrived.
    fn settle(&mut self, index: usize, tsn: u32, acked: &mut Acked) {
        let Some(slot) = self.slots.get_mut(index) else {
            return;
        };
        let len = slot.chunk.data.len();
        match slot.state {
            State::Acked | State::Abandoned => return,
            State::InFlight => self.in_flight -= len,
            State::Lost => {}
        }
        slot.state = State::Acked;
        self.beyond_base.0 += u32::from(slot.beyond_base);
        self.gap_acked += 1;
        acked.bytes += len;
        let once = slot.transmissions == 1;
        if acked.newest.is_none_or(|(order, ..)| slot.order > order) {
            acked.newest = Some((slot.order, slot.sent, once));
        }
        if ahead(self.highest_acked, tsn).is_some() {
            self.highest_acked = tsn;
        } else if once {
            acked.reordered = true;
        }
        if !std::mem::replace(&mut slot.released, true) {
            let stream = slot.chunk.stream;
            self.release(stream, len);
        }
    }

    pub(super) fn release(&mut self, stream: u16, len: usize) {
        match self.released.last_mut() {
            Some((last, sum)) if *last == stream => *sum += len,
            Some(_) | None => self.released.push((stream, len)),
        }
    }

    /// Gives up the message that the chunk belongs to. Tells stream and message, or `None` if the
    /// chunk is not there.
    pub(super) fn abandon(&mut self, tsn: u32) -> Option<(u16, u64)> {
        let found = self.index(tsn)?;
        let chunk = &self.slots[found].chunk;
        let (stream, message) = (chunk.stream, chunk.message);
        let bound = |index: usize, which: u8| {
            let chunk = &self.slots[index].chunk;
            chunk.message == message && chunk.flags & which != 0
        };
        let from = (0..=found).rev().find(|i| bound(*i, flag::BEGIN));
        let to = (found..self.slots.len()).find(|i| bound(*i, flag::END));
        let to = to.unwrap_or(self.slots.len() - 1);
        for index in from.unwrap_or(0)..=to {
            let slot = &mut self.slots[index];
            if slot.chunk.message != message || slot.state == State::Abandoned {
                continue;
            }
            let len = slot.chunk.data.len();
            match slot.state {
                State::InFlight => self.in_flight -= len,
                State::Acked => self.gap_acked -= 1,
                State::Lost | State::Abandoned => {}
            }
            slot.state = State::Abandoned;
            slot.chunk.data = Bytes::new();
            if !std::mem::replace(&mut slot.released, true) {
                self.release(stream, len);
            }
        }
        Some((stream, message))
    }

    /// Bytes released since the last call, by stream.
    pub(super) fn take_released(&mut self) -> impl Iterator<Item = (u16, usize)> + '_ {
        self.released.drain(..)
    }

    /// What was taken for lost since the last call.
    pub(super) fn take_lost(&mut self) -> Vec<Lost> {
        std::mem::take(&mut self.newly_lost)
    }

    /// Packets longer than the base that arrived and that were lost since the last call.
    pub(super) fn take_beyond_base(&mut self) -> (u32, u32) {
        std::mem::take(&mut self.beyond_base)
    }

    /// What an acknowledgement says of the path.
    pub(super) fn sample(&mut self, acked: &Acked, now: Instant) -> Sample {
        match &acked.newest {
            Some((_, sent, _)) => self.delivery.sample(acked.bytes, sent, now),
            None => Sample::default(),
        }
    }

    /// Nothing more could be sent for want of data, or for a reader that is slow.
    pub(super) fn note_limited(&mut self) {
        self.delivery.note_limited(self.in_flight);
    }

    pub(super) fn is_limited(&self) -> bool {
        self.delivery.is_limited()
    }

    /// The stream is gone: nothing of it will be reported as released.
    pub(super) fn forget_stream(&mut self, stream: u16) {
        for slot in &mut self.slots {
            if slot.chunk.stream == stream {
                slot.released = true;
            }
        }
    }
}
