//! Reads time. Engines take `now` as an argument; it comes from here.

use std::time::Instant;

/// The current instant of the surrounding runtime's clock.
///
/// Goes through tokio so that a shell test on a paused clock sees the paused
/// time; outside such a test this is [`Instant::now`].
pub fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The wall clock, for certificates and statistics only: it may jump.
pub fn wall_clock() -> std::time::SystemTime {
    std::time::SystemTime::now()
}
