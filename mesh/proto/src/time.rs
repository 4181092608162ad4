//! Time as an argument.

use std::time::{Duration, Instant};

/// One reading of both clocks, taken by the shell for each call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// The clock that never jumps: every timer and every age.
    pub now: Instant,
    /// Milliseconds since 1970 by the wall clock: only what is compared with
    /// another machine's clock (signed timestamps, expiry).
    pub unix_ms: u64,
}

impl Time {
    /// This reading, `by` later on both clocks.
    pub fn after(self, by: Duration) -> Self {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        Time {
            now: self.now + by,
            unix_ms: self.unix_ms.saturating_add(ms),
        }
    }
}

/// When the shell has to call again, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline<T> {
    /// The moment.
    pub at: Instant,
    /// The timer of the layer that is due then.
    pub reason: T,
}
