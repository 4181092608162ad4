//! The sending side: what waits, what is on its way, and when it is taken for lost.

mod congestion;
mod flight;
mod output;
mod pacer;
mod queue;
mod recovery;
mod sack;
mod slot;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;
use std::time::{Duration, Instant};

use super::forward::MAX_STREAMS;
use super::serial::{ahead, is_after};
use crate::config::CongestionControl;
use congestion::{Ack, Congestion, burst};
use flight::Flight;
use pacer::Pacer;
use queue::Queue;
use recovery::Recovery;
use slot::Acked;

pub(super) use output::Readiness;
pub(super) use queue::Outgoing;
pub(super) use recovery::RTO_MAX;
pub(super) use sack::Sack;
pub(super) use slot::{Limit, State};

/// Chunks between the peer's cumulative acknowledgement and the last one sent. Filled by messages
/// as the windows allow; at the limit new ones wait. Receivers look no further ahead than 65,536.
const MAX_CHUNKS: usize = 32 * 1024;

/// A full packet, for the pacer.
const FULL_PACKET: usize = super::super::MAX_PACKET;

pub(super) struct Sender {
    queue: Queue,
    flight: Flight,
    recovery: Recovery,
    congestion: Congestion,
    pacer: Pacer,
    /// The window the peer advertised last.
    peer_window: usize,
    /// The widest it was.
    widest_peer_window: usize,
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
    pub(super) fn new(first_tsn: u32, control: CongestionControl, pace: u64, now: Instant) -> Self {
        Self {
            queue: Queue::new(),
            flight: Flight::new(first_tsn, now),
            recovery: Recovery::new(),
            congestion: Congestion::new(control, first_tsn, now),
            pacer: Pacer::new(pace, now),
            peer_window: 0,
            widest_peer_window: 0,
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
        self.widest_peer_window = self.peer_window;
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

    /// Bytes on their way.
    pub(super) fn in_flight(&self) -> usize {
        self.flight.bytes()
    }

    /// Packets longer than the base that arrived and that were lost since the last call.
    pub(super) fn take_beyond_base(&mut self) -> (u32, u32) {
        self.flight.take_beyond_base()
    }

    /// A round trip measured by other means than data.
    pub(super) fn sample(&mut self, rtt: Duration, now: Instant) {
        self.recovery.round_trip.sample(rtt, now);
        self.congestion.on_round_trip(rtt, now);
        self.follow_pace();
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
        if self.flight.next_lost().is_none() && self.recovery.was_needless() {
            self.congestion.undo();
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
        self.handle_sack(&Sack::cumulative(cumulative, self.peer_window), now);
    }

    /// What was sent into a window that was closed is gone when it opens: it is sent again at
    /// once, and not for congestion.
    fn note_window(&mut self, window: u32, moved: bool) {
        let window = usize::try_from(window).unwrap_or(usize::MAX);
        let opened = self.peer_window < FULL_PACKET && window >= FULL_PACKET && !moved;
        self.peer_window = window;
        self.widest_peer_window = self.widest_peer_window.max(window);
        if opened {
            self.flight.mark_all_lost();
        }
    }

    fn take_acked(&mut self, acked: &Acked, before: usize, now: Instant) {
        let rtt = self.recovery.on_acked(acked, now);
        let round_over = !is_after(self.round_end, self.flight.cumulative());
        if round_over {
            self.round_end = self.flight.next_tsn();
        }
        let ack = Ack {
            bytes: acked.bytes,
            before,
            flight: self.flight.bytes(),
            rtt,
            smoothed: self.round_trip(),
            round_over,
            in_recovery: self.recovery.in_recovery(),
            sample: self.flight.sample(acked, now),
        };
        self.congestion.on_ack(&ack, now);
        self.follow_pace();
    }

    fn follow_pace(&mut self) {
        if let Some(smoothed) = self.recovery.round_trip.smoothed()
            && let Some(rate) = self.congestion.rate(smoothed)
        {
            let smooth = self.congestion.is_smooth();
            self.pacer.follow(rate, smooth.then(|| burst(rate)));
        }
    }

    /// Looks for losses.
    fn detect(&mut self, now: Instant) {
        if !self.recovery.detect(&mut self.flight, now) {
            return;
        }
        let begins = self.recovery.begins_event(self.flight.next_tsn());
        let lost = self.flight.take_lost();
        self.congestion.on_lost(&lost, begins, now);
        self.follow_pace();
        self.give_up_lost(now);
    }

    /// Gives up lost messages whose limit is reached (RFC 3758 §3.5).
    fn give_up_lost(&mut self, now: Instant) {
        while let Some((tsn, slot)) = self.flight.next_lost() {
            if !slot.is_over(now) {
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
        let again = self.recovery.has_backed_off();
        self.recovery.on_timeout(self.flight.next_tsn(), now);
        if self.flight.bytes() > 0 && !closed {
            self.congestion.on_timeout(again);
            self.follow_pace();
        }
        self.flight.mark_all_lost();
        self.give_up_lost(now);
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
                    let unordered = slot.is_unordered();
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
