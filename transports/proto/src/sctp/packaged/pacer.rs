//! Pacing.

use std::time::{Duration, Instant};

/// Bytes that may leave at once, below the receive buffer of a default socket.
const BURST: u64 = 512 * 1024;

/// A token bucket, so that a window that has opened wide does not leave as one burst into a
/// socket buffer.
#[derive(Debug)]
pub(super) struct Pacer {
    rate: u64,
    tokens: u64,
    at: Instant,
}

impl Pacer {
    pub(super) fn new(rate: u64, now: Instant) -> Self {
        Self {
            rate: rate.max(1),
            tokens: BURST,
            at: now,
        }
    }

    pub(super) fn allow(&mut self, len: usize, now: Instant) -> bool {
        let len = u64::try_from(len).unwrap_or(u64::MAX);
        if self.tokens < len {
            let nanos = now.saturating_duration_since(self.at).as_nanos();
            let earned = nanos.saturating_mul(u128::from(self.rate)) / 1_000_000_000;
            let earned = u64::try_from(earned).unwrap_or(u64::MAX);
            self.tokens = self.tokens.saturating_add(earned).min(BURST);
            self.at = now;
        }
        if self.tokens < len {
            return false;
        }
        self.tokens -= len;
        true
    }

    pub(super) fn ready_at(&self, len: usize) -> Instant {
        let missing = u64::try_from(len)
            .unwrap_or(u64::MAX)
            .saturating_sub(self.tokens);
        let nanos = u128::from(missing) * 1_000_000_000 / u128::from(self.rate);
        self.at + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX) + 1)
    }
}
