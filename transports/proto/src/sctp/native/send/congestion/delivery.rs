//! Samples of the rate at which the path delivers (draft-ietf-ccwg-bbr §4.1).

use std::time::{Duration, Instant};

/// What was known when a chunk left; kept with the chunk until it is acknowledged.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Snapshot {
    pub(in super::super) sent_at: Instant,
    /// Bytes delivered until then, and when the last of them was.
    delivered: u64,
    delivered_at: Since,
    /// When the first chunk of this stretch left.
    first_sent_at: Since,
    /// Bytes lost until then.
    lost: u64,
    /// Bytes on their way, this chunk among them.
    in_flight: u32,
    /// The application or the peer's reader was what limited.
    limited: bool,
}

/// Time since the association began; half as long as an [`Instant`].
type Since = u64;

/// Counts what was delivered and lost.
#[derive(Debug)]
pub(in super::super) struct Delivery {
    begun: Instant,
    delivered: u64,
    delivered_at: Since,
    first_sent_at: Since,
    lost: u64,
    /// What is delivered until then says nothing about the path; 0 for nothing.
    limited_until: u64,
}

/// What an acknowledgement tells of the path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Sample {
    /// Bytes per second.
    pub(super) rate: u64,
    /// The time of the sample.
    pub(super) interval: Duration,
    /// Bytes delivered in the time of the sample.
    pub(super) delivered: u64,
    /// Bytes delivered before the newest chunk acknowledged was sent.
    pub(super) prior_delivered: u64,
    /// Bytes delivered by now.
    pub(super) total: u64,
    /// Bytes on their way when that chunk was sent.
    pub(super) in_flight: usize,
    /// Bytes lost since.
    pub(super) lost: u64,
    pub(super) limited: bool,
}

/// A chunk that was taken for lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Lost {
    pub(super) size: usize,
    /// Bytes on their way when it was sent.
    pub(super) in_flight: usize,
    /// Bytes lost since then, with this chunk.
    pub(super) lost: u64,
    pub(super) limited: bool,
}

impl Delivery {
    pub(in super::super) fn new(now: Instant) -> Self {
        Self {
            begun: now,
            delivered: 0,
            delivered_at: 0,
            first_sent_at: 0,
            lost: 0,
            limited_until: 0,
        }
    }

    fn since(&self, at: Instant) -> Since {
        let nanos = at.saturating_duration_since(self.begun).as_nanos();
        u64::try_from(nanos).unwrap_or(u64::MAX)
    }

    /// A chunk leaves, after which `in_flight` bytes are on their way; `alone` if it is the only
    /// one.
    pub(in super::super) fn on_sent(
        &mut self,
        in_flight: usize,
        alone: bool,
        now: Instant,
    ) -> Snapshot {
        if alone {
            self.first_sent_at = self.since(now);
            self.delivered_at = self.first_sent_at;
        }
        Snapshot {
            sent_at: now,
            delivered: self.delivered,
            delivered_at: self.delivered_at,
            first_sent_at: self.first_sent_at,
            lost: self.lost,
            in_flight: u32::try_from(in_flight).unwrap_or(u32::MAX),
            limited: self.limited_until > 0,
        }
    }

    /// So many bytes have arrived; `newest` left last among them.
    pub(in super::super) fn sample(
        &mut self,
        bytes: usize,
        newest: &Snapshot,
        now: Instant,
    ) -> Sample {
        self.delivered += u64::try_from(bytes).unwrap_or_default();
        self.delivered_at = self.since(now);
        if self.delivered > self.limited_until {
            self.limited_until = 0;
        }
        let sent_at = self.since(newest.sent_at);
        self.first_sent_at = sent_at;
        let sending = sent_at.saturating_sub(newest.first_sent_at);
        let arriving = self.delivered_at.saturating_sub(newest.delivered_at);
        let interval = Duration::from_nanos(sending.max(arriving));
        let delivered = self.delivered - newest.delivered;
        Sample {
            rate: rate(delivered, interval),
            interval,
            delivered,
            prior_delivered: newest.delivered,
            total: self.delivered,
            in_flight: usize::try_from(newest.in_flight).unwrap_or(usize::MAX),
            lost: self.lost - newest.lost,
            limited: newest.limited,
        }
    }

    /// A chunk is lost.
    pub(in super::super) fn on_lost(&mut self, size: usize, snapshot: &Snapshot) -> Lost {
        self.lost += u64::try_from(size).unwrap_or_default();
        Lost {
            size,
            in_flight: usize::try_from(snapshot.in_flight).unwrap_or(usize::MAX),
            lost: self.lost - snapshot.lost,
            limited: snapshot.limited,
        }
    }

    pub(in super::super) fn is_limited(&self) -> bool {
        self.limited_until > 0
    }

    /// There is nothing more to send although the window is open.
    pub(in super::super) fn note_limited(&mut self, in_flight: usize) {
        let until = self.delivered + u64::try_from(in_flight).unwrap_or_default();
        self.limited_until = until.max(1);
    }
}

/// Bytes per second. In floating point: division of wide integers takes longer than all else here.
fn rate(bytes: u64, interval: Duration) -> u64 {
    (bytes as f64 / interval.as_secs_f64().max(1e-9)) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_slower_of_sending_and_arriving() {
        #[allow(
            clippy::disallowed_methods,
            reason = "a test has to begin at some instant"
        )]
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let mut delivery = Delivery::new(begun);
        let first = delivery.on_sent(1000, true, at(0));
        let second = delivery.on_sent(2000, false, at(10));
        delivery.note_limited(2000);
        let third = delivery.on_sent(3000, false, at(20));
        let sample = delivery.sample(1000, &first, at(50));
        assert_eq!(sample.rate, 20_000, "1000 bytes in 50 ms");
        assert!(!sample.limited);
        let lost = delivery.on_lost(1000, &second);
        assert_eq!((lost.in_flight, lost.lost), (2000, 1000));
        let sample = delivery.sample(1000, &third, at(70));
        assert_eq!((sample.delivered, sample.lost), (2000, 1000));
        assert_eq!(sample.rate, 28_571, "2000 bytes in 70 ms");
        assert!(sample.limited);
        // Acknowledgements that come all at once tell nothing faster than what was sent.
        let a = delivery.on_sent(1000, true, at(100));
        let b = delivery.on_sent(2000, false, at(200));
        assert_eq!(delivery.sample(1000, &a, at(230)).rate, 7_692);
        assert_eq!(delivery.sample(1000, &b, at(230)).rate, 15_384);
    }
}
