//! The two clocks, read nowhere else but here and in the timers of tokio.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use peerloom_mesh_proto::Time;

/// Both clocks, now.
pub(crate) fn time() -> Time {
    let unix = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let unix_ms = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX);
    Time {
        now: Instant::now(),
        unix_ms,
    }
}

/// Seconds since 1970; zero when the clock is before that.
pub(crate) fn unix_now() -> u64 {
    time().unix_ms / 1000
}
