//! Pacing: a token bucket that follows the congestion control, so that a window does not leave as
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

    /// The control asks for another rate, in bursts of `burst` bytes if it says so.
    pub(super) fn follow(&mut self, rate: u64, burst: Option<u64>) {
        self.rate = rate.clamp(1, self.limit);
        let span = u128::from(self.rate) * BURST_SPAN.as_nanos() / NANOS;
        let span = u64::try_from(span).unwrap_or(u64::MAX);
        self.burst = burst.unwrap_or(span.clamp(BURST_MIN, BURST_MAX));
    }

    /// After a silence the first window may leave at once (RFC 6928), so that a short message does
    /// not wait.
    pub(super) fn allow_burst(&mut self, len: usize) {
        self.tokens = self.tokens.max(u64::try_from(len).unwrap_or_default());
    }

    /// Whether a packet may leave.
    pub(super) fn allows(&mut self, len: usize, now: Instant) -> bool {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        let elapsed = now.saturating_duration_since(self.at);
        // Not for every packet, since divisions take time; but what a silence has earned is
        // counted before a burst, not once more after it.
        if self.tokens < len || elapsed >= BURST_SPAN / 2 {
            let nanos = elapsed.as_nanos();
            let earned = nanos.saturating_mul(u128::from(self.rate)) / NANOS;
            let earned = u64::try_from(earned).unwrap_or(u64::MAX);
            let most = self.burst.max(self.tokens);
            self.tokens = self.tokens.saturating_add(earned).min(most);
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
        pacer.follow(12_500_000, None);
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
