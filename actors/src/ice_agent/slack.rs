//! Consent checks of many connections at the same time: a thread that carries thousands wakes up
//! some times a second then, and sends and reads batches, instead of once for each packet.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How many groups the connections of a process are put into by their next check. 32: with a check
/// each 5 s none is later than 157 ms, which `IceConfig::consent_interval` leaves room for, and a
/// thousand connections send 32 packets at a time.
const GROUPS: u32 = 32;

/// The instant from `at` on at which others check as well, whose `interval` is the same.
pub(super) fn together(at: Instant, interval: Duration) -> Instant {
    static BEGIN: OnceLock<Instant> = OnceLock::new();
    let begin = *BEGIN.get_or_init(|| at);
    let slot = (interval / GROUPS).as_nanos();
    let since = at.saturating_duration_since(begin).as_nanos();
    let past = since.checked_rem(slot).unwrap_or(0);
    if past == 0 {
        return at;
    }
    at + Duration::from_nanos(u64::try_from(slot - past).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn checks_fall_into_few_groups_and_none_comes_early_or_late() {
        let (now, interval) = (peerloom_transports::clock::now(), Duration::from_secs(5));
        let mut groups = BTreeSet::new();
        for n in 0..5000 {
            let at = now + n * Duration::from_millis(1);
            let together = together(at, interval);
            assert!(together >= at && together < at + interval / GROUPS);
            groups.insert(together);
        }
        assert!(groups.len() <= GROUPS as usize + 1, "{}", groups.len());
    }

    #[test]
    fn without_an_interval_nothing_waits() {
        let now = peerloom_transports::clock::now();
        assert_eq!(together(now, Duration::ZERO), now);
    }
}
