//! Pacing: a token bucket that follows the congestion window, so that a window does not leave as
//! one burst into a socket buffer.

use std::time::{Duration, Instant};

/// Least bytes that may leave at once.
const BURST_MIN: u64 = 32 * 1024;
/// Most bytes that may leave at once: below the receive buffer of a socket as a driver sets it.
const BURST_MAX: u64 = 512 * 1024;
/// A burst is at least what the rate yields in this time, since timers are no finer.
const BURST_SPAN: Duration = Duration::from_millis(2);
const NANOS: u128 = 1_000_000_000;

#[derive(Debug)]
pub(super) struct Pacer {
    /// Bytes per second at most.
    limit: u64,
    rate: u64,
    burst: u64,
    tokens: u64,
    at: Instant,
}

impl Pacer {
    pub(super) fn new(limit: u64, now: Instant) -> Self {
        Self {
            limit: limit.max(1),
            rate: limit.max(1),
            burst: BURST_MIN,
            tokens: BURST_MIN,
            at: now,
        }
    }

    /// The window and the round trip have changed. The rate is above what they yield, by a
    /// quarter, in slow start twice as much: acknowledgements still set the pace.
    pub(super) fn follow(&mut self, window: usize, rtt: Duration, slow_start: bool) {
        let window = u128::try_from(window).unwrap_or(u128::MAX);
        let factor = if slow_start { 8 } else { 5 };
        let rate = window * factor * NANOS / 4 / rtt.as_nanos().max(1);
        self.rate = u64::try_from(rate).unwrap_or(u64::MAX).clamp(1, self.limit);
        let span = u128::from(self.rate) * BURST_SPAN.as_nanos() / NANOS;
        self.burst = u64::try_from(span)
            .unwrap_or(u64::MAX)
            .clamp(BURST_MIN, BURST_MAX);
    }

    /// Whether a packet may leave.
    pub(super) fn allows(&mut self, len: usize, now: Instant) -> bool {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        if self.tokens < len {
            let nanos = now.saturating_duration_since(self.at).as_nanos();
            let earned = nanos.saturating_mul(u128::from(self.rate)) / NANOS;
            let earned = u64::try_from(earned).unwrap_or(u64::MAX);
            self.tokens = self.tokens.saturating_add(earned).min(self.burst);
            self.at = now;
        }
        self.tokens >= len
    }

    /// A packet has left.
    pub(super) fn spend(&mut self, len: usize) {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        self.tokens = self.tokens.saturating_sub(len);
    }

    /// When a packet may leave that may not now.
    pub(super) fn ready_at(&self, len: usize) -> Instant {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        let nanos = u128::from(len.saturating_sub(self.tokens)) * NANOS / u128::from(self.rate);
        self.at + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_keeps_to_the_rate() {
        #[allow(
            clippy::disallowed_methods,
            reason = "a test has to begin at some instant"
        )]
        let begun = Instant::now();
        let mut now = begun;
        let mut pacer = Pacer::new(u64::MAX, now);
        pacer.follow(1_000_000, Duration::from_millis(100), false);
        let mut sent = 0;
        while now - begun < Duration::from_secs(1) {
            if pacer.allows(1200, now) {
                pacer.spend(1200);
                sent += 1200;
            } else {
                let ready = pacer.ready_at(1200);
                assert!(ready > now);
                now = ready;
            }
        }
        assert!((12_400_000..12_700_000).contains(&sent), "{sent}");
    }
}
