//! When something sent counts as lost: RACK and the tail loss probe (RFC 8985), and the
//! retransmission timeout (RFC 9260 §6.3), which follows the round trip.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::flight::Flight;
use super::slot::Acked;

/// Shortest retransmission timeout. RFC 9260 §16 says one second, which makes each lost burst a
/// stall; the estimate has the peer's acknowledgement delay in it, and a tail loss probe tries first.
const RTO_MIN: Duration = Duration::from_millis(50);
/// Longest retransmission timeout. RFC 9260 §16 says a minute; a path that comes back should not
/// wait so long.
pub(in super::super) const RTO_MAX: Duration = Duration::from_secs(8);
/// Before a round trip was measured. RFC 9260 §16 says one second; DTLS has just been there and back.
const RTO_INITIAL: Duration = Duration::from_millis(500);
/// Finest step of the variance: timers of the drivers have a millisecond.
const GRANULARITY: Duration = Duration::from_millis(10);
/// Shortest wait before a tail loss probe.
const PROBE_MIN: Duration = Duration::from_millis(5);
/// Bounds of what is taken for the peer's acknowledgement delay: ours, and that of RFC 9260 §6.2.
const ACK_DELAY_MIN: Duration = Duration::from_millis(25);
const ACK_DELAY_MAX: Duration = Duration::from_millis(200);
/// Chunks acknowledged beyond a gap that make it a loss while no reordering was seen (RFC 8985
/// §6.2).
const DUP_THRESHOLD: usize = 3;
/// How far the reordering window can grow, in quarters of the least round trip.
const MAX_REORDERING: u32 = 16;
/// How long the least round trip counts.
const MIN_RTT_WINDOW: Duration = Duration::from_secs(10);
/// Doublings of the timeout.
const MAX_BACKOFF: u32 = 10;
/// Chunks sent again of which it is remembered.
const MAX_REPAIRS: usize = 256;

/// The round trip and what follows from it (RFC 9260 §6.3.1).
#[derive(Debug)]
pub(in super::super) struct RoundTrip {
    smoothed: Option<Duration>,
    variance: Duration,
    least: Option<(Duration, Instant)>,
    /// What is taken for the peer's acknowledgement delay; grows when a probe was in vain.
    ack_delay: Duration,
}

impl RoundTrip {
    pub(super) fn new() -> Self {
        Self {
            smoothed: None,
            variance: Duration::ZERO,
            least: None,
            ack_delay: ACK_DELAY_MIN,
        }
    }

    pub(super) fn sample(&mut self, rtt: Duration, now: Instant) {
        match self.smoothed {
            None => {
                self.smoothed = Some(rtt);
                self.variance = rtt / 2;
            }
            Some(smoothed) => {
                self.variance = (self.variance * 3 + smoothed.abs_diff(rtt)) / 4;
                self.smoothed = Some((smoothed * 7 + rtt) / 8);
            }
        }
        let stale = |at: Instant| now.saturating_duration_since(at) > MIN_RTT_WINDOW;
        if self
            .least
            .is_none_or(|(least, at)| rtt <= least || stale(at))
        {
            self.least = Some((rtt, now));
        }
    }

    pub(super) fn smoothed(&self) -> Option<Duration> {
        self.smoothed
    }

    pub(super) fn least(&self) -> Duration {
        self.least.map_or(Duration::ZERO, |(least, _)| least)
    }

    /// The retransmission timeout without backoff.
    pub(super) fn timeout(&self) -> Duration {
        let Some(smoothed) = self.smoothed else {
            return RTO_INITIAL;
        };
        let rto = smoothed + (self.variance * 4).max(GRANULARITY) + self.ack_delay;
        rto.clamp(RTO_MIN, RTO_MAX)
    }

    /// When a probe follows the last packet (RFC 8985 §7.2).
    fn probe_after(&self, alone: bool) -> Option<Duration> {
        let delay = if alone {
            self.ack_delay
        } else {
            Duration::ZERO
        };
        Some((self.smoothed? * 2).max(PROBE_MIN) + delay)
    }

    fn probe_was_in_vain(&mut self) {
        self.ack_delay = (self.ack_delay * 2).min(ACK_DELAY_MAX);
    }
}

/// Which of the timers of the sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// Something that may have been overtaken is lost if it has not arrived by then.
    Reordering,
    /// A tail loss probe.
    Probe,
    /// The retransmission timeout.
    Timeout,
}

/// What is known of losses.
#[derive(Debug)]
pub(super) struct Recovery {
    pub(super) round_trip: RoundTrip,
    /// The last transmission known to have arrived: its place, when it left, its round trip.
    newest: Option<(u64, Instant, Duration)>,
    reordering_seen: bool,
    /// Quarters of the least round trip.
    reordering_window: u32,
    reorder_at: Option<Instant>,
    /// When something was last sent or acknowledged, and the timeouts count from.
    pub(super) progress_at: Option<Instant>,
    sent_at: Option<Instant>,
    backoff: u32,
    /// TSN that was sent as a probe and not acknowledged.
    probe: Option<u32>,
    /// Losses before this TSN belong to an event that the congestion window has answered.
    recovery_until: Option<u32>,
    /// The event began with a timeout: the window, at its least, grows by what arrives.
    by_timeout: bool,
    repairs: Repairs,
}

/// What was sent again in an event of losses; if all of it had arrived already, there were none.
#[derive(Debug, Default)]
struct Repairs {
    /// Not yet reported as come twice. Filled by losses; beyond [`MAX_REPAIRS`] the losses are
    /// taken for true.
    open: BTreeSet<u32>,
    needless: usize,
    too_many: bool,
}

impl Recovery {
    pub(super) fn new() -> Self {
        Self {
            round_trip: RoundTrip::new(),
            newest: None,
            reordering_seen: false,
            reordering_window: 1,
            reorder_at: None,
            progress_at: None,
            sent_at: None,
            backoff: 0,
            probe: None,
            recovery_until: None,
            by_timeout: false,
            repairs: Repairs::default(),
        }
    }

    pub(super) fn on_sent(&mut self, was_idle: bool, now: Instant) {
        self.sent_at = Some(now);
        if was_idle {
            self.progress_at = Some(now);
        }
    }

    /// Something new was acknowledged (RFC 8985 §6.2 steps 1 to 3). Returns the round trip if it
    /// can be told (Karn's rule, RFC 9260 §6.3.1 C5).
    pub(super) fn on_acked(&mut self, acked: &Acked, now: Instant) -> Option<Duration> {
        self.backoff = 0;
        self.probe = None;
        self.progress_at = Some(now);
        self.reordering_seen |= acked.reordered;
        let (order, sent, once) = acked.newest.as_ref()?;
        let (order, once, sent_at) = (*order, *once, sent.sent_at);
        let rtt = now.saturating_duration_since(sent_at);
        // What was sent again may have been acknowledged for its first transmission.
        let plausible = once || rtt >= self.round_trip.least();
        if plausible && self.newest.is_none_or(|(known, ..)| order > known) {
            self.newest = Some((order, sent_at, rtt));
        }
        if once {
            self.round_trip.sample(rtt, now);
        }
        once.then_some(rtt)
    }

    /// The peer reported something that came twice (RFC 8985 §6.2 step 4).
    pub(super) fn on_duplicate(&mut self, tsn: u32) {
        if self.probe == Some(tsn) {
            self.round_trip.probe_was_in_vain();
        }
        self.repairs.needless += usize::from(self.repairs.open.remove(&tsn));
        self.reordering_window = (self.reordering_window + 1).min(MAX_REORDERING);
    }

    /// Finds what is lost by now (RFC 8985 §6.2 step 5), and says whether anything is.
    pub(super) fn detect(&mut self, flight: &mut Flight, now: Instant) -> bool {
        self.reorder_at = None;
        let Some((newest, _, rtt)) = self.newest else {
            return false;
        };
        let window = self.window(flight);
        let mut any = false;
        while let Some((tsn, slot)) = flight.oldest_transmission() {
            if slot.order >= newest {
                break;
            }
            let due = slot.sent.sent_at + rtt + window;
            if due > now {
                self.reorder_at = Some(due);
                break;
            }
            flight.mark_lost(tsn);
            any = true;
        }
        any
    }

    fn window(&self, flight: &Flight) -> Duration {
        let certain = self.recovery_until.is_some() || flight.gap_acked() >= DUP_THRESHOLD;
        if !self.reordering_seen && certain {
            return Duration::ZERO;
        }
        let smoothed = self.round_trip.smoothed().unwrap_or_default();
        (self.round_trip.least() * self.reordering_window / 4).min(smoothed)
    }

    /// Whether a loss begins a new congestion event; then it lasts until all sent before
    /// `next_tsn` is acknowledged.
    pub(super) fn begins_event(&mut self, next_tsn: u32) -> bool {
        let begins = self.recovery_until.is_none();
        if begins {
            self.by_timeout = false;
            self.repairs = Repairs::default();
        }
        self.recovery_until.get_or_insert(next_tsn);
        begins
    }

    /// All up to `cumulative` has arrived.
    pub(super) fn on_cumulative(&mut self, cumulative: u32) {
        let over = |until: u32| !super::super::serial::is_after(until.wrapping_sub(1), cumulative);
        if self.recovery_until.is_some_and(over) {
            self.recovery_until = None;
        }
    }

    /// Whether the window stays as it is while losses are repaired.
    pub(super) fn in_recovery(&self) -> bool {
        self.recovery_until.is_some() && !self.by_timeout
    }

    /// The timeout ran out.
    pub(super) fn on_timeout(&mut self, next_tsn: u32, now: Instant) {
        self.backoff = (self.backoff + 1).min(MAX_BACKOFF);
        self.progress_at = Some(now);
        self.probe = None;
        self.reorder_at = None;
        self.recovery_until = Some(next_tsn);
        self.by_timeout = true;
        self.repairs = Repairs::default();
    }

    /// A chunk that was taken for lost leaves again.
    pub(super) fn on_repair(&mut self, tsn: u32) {
        self.repairs.too_many |= self.repairs.open.len() >= MAX_REPAIRS;
        if !self.repairs.too_many {
            self.repairs.open.insert(tsn);
        }
    }

    /// Whether all that was sent again since the last event began has come twice: nothing was lost
    /// (RFC 3708, with the duplicates of RFC 9260 §3.3.4). Says so once.
    pub(super) fn was_needless(&mut self) -> bool {
        let repairs = &self.repairs;
        let needless = repairs.needless > 0 && repairs.open.is_empty() && !repairs.too_many;
        if needless {
            self.repairs = Repairs::default();
            self.recovery_until = None;
        }
        needless
    }

    /// Whether the timeout ran out and nothing was acknowledged since.
    pub(super) fn has_backed_off(&self) -> bool {
        self.backoff > 0
    }

    /// A probe has left: the timeout counts anew (RFC 8985 §7.3).
    pub(super) fn on_probe(&mut self, tsn: u32, now: Instant) {
        self.probe = Some(tsn);
        self.progress_at = Some(now);
    }

    /// The timeout with backoff.
    pub(super) fn timeout(&self) -> Duration {
        (self.round_trip.timeout() * (1 << self.backoff)).min(RTO_MAX)
    }

    /// The next timer while something is on its way: `chunks` of them.
    pub(super) fn timer(&self, chunks: usize) -> Option<(Instant, Timer)> {
        let timeout = (self.progress_at? + self.timeout(), Timer::Timeout);
        if let Some(at) = self.reorder_at {
            return Some((at, Timer::Reordering));
        }
        let may_probe = self.probe.is_none() && self.backoff == 0 && self.recovery_until.is_none();
        let after = self
            .round_trip
            .probe_after(chunks <= 1)
            .filter(|_| may_probe);
        let probe = after
            .zip(self.sent_at.max(self.progress_at))
            .map(|(after, from)| from + after);
        match probe {
            Some(at) if at < timeout.0 => Some((at, Timer::Probe)),
            Some(_) | None => Some(timeout),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timeout_follows_the_round_trip_and_stays_in_its_bounds() {
        #[allow(
            clippy::disallowed_methods,
            reason = "a test has to begin at some instant"
        )]
        let now = Instant::now();
        let mut round_trip = RoundTrip::new();
        assert_eq!(round_trip.timeout(), RTO_INITIAL);
        for _ in 0..100 {
            round_trip.sample(Duration::from_micros(100), now);
        }
        assert_eq!(round_trip.timeout(), RTO_MIN);
        for _ in 0..100 {
            round_trip.sample(Duration::from_millis(200), now);
        }
        let rto = round_trip.timeout();
        assert!((210..300).contains(&rto.as_millis()), "{rto:?}");
        round_trip.sample(Duration::from_secs(100), now);
        assert_eq!(round_trip.timeout(), RTO_MAX);
        assert_eq!(round_trip.least(), Duration::from_micros(100));
        round_trip.sample(Duration::from_millis(3), now + MIN_RTT_WINDOW * 2);
        assert_eq!(round_trip.least(), Duration::from_millis(3));
    }
}
