//! The engine's clock, which runs faster than ours.

use std::time::{Duration, Instant};

/// Maps our time to the engine's and back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    base: Instant,
    rate: u32,
    skipped: Duration,
}

impl Clock {
    pub(super) fn new(base: Instant, rate: u32) -> Self {
        Self {
            base,
            rate: rate.max(1),
            skipped: Duration::ZERO,
        }
    }

    pub(super) fn to_engine(self, now: Instant) -> Instant {
        self.base + now.saturating_duration_since(self.base) * self.rate + self.skipped
    }

    /// Puts the engine's clock forward, so that what is due at `at` is due `now`.
    pub(super) fn skip_to(&mut self, at: Instant, now: Instant) {
        self.skipped += at.saturating_duration_since(self.to_engine(now));
    }

    /// Rounds up, so that what is due for us is due for the engine.
    pub(super) fn to_ours(self, at: Instant) -> Instant {
        let elapsed = at.saturating_duration_since(self.base + self.skipped);
        self.base + elapsed / self.rate + Duration::from_nanos(1)
    }

    /// A span the engine measured, in our time.
    pub(super) fn span_to_ours(self, span: Duration) -> Duration {
        span / self.rate
    }

    /// Milliseconds of ours for the engine.
    pub(super) fn millis_to_engine(self, millis: u16) -> u32 {
        u32::from(millis).saturating_mul(self.rate)
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::disallowed_methods,
        reason = "a test has to begin at some instant"
    )]

    use super::*;

    #[test]
    fn a_deadline_of_the_engine_is_due_when_it_is_for_us() {
        let base = Instant::now();
        let mut clock = Clock::new(base, 4);
        for nanos in [0, 1, 3, 7, 1_000_001, 999_999_999] {
            let at = base + Duration::from_nanos(nanos);
            assert!(clock.to_engine(clock.to_ours(at)) >= at);
        }
        assert_eq!(
            clock.to_engine(base + Duration::from_millis(250)),
            base + Duration::from_secs(1)
        );
        clock.skip_to(base + Duration::from_secs(5), base + Duration::from_secs(1));
        assert_eq!(
            clock.to_engine(base + Duration::from_secs(1)),
            base + Duration::from_secs(5)
        );
        let later = base + Duration::from_secs(9);
        assert!(clock.to_engine(clock.to_ours(later)) >= later);
    }
}
