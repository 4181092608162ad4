//! Token buckets: how often somebody may ask something of this node.

use std::collections::BTreeMap;
use std::time::Instant;

/// A rate and how far it may be exceeded in a burst.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// Tokens that come back each second.
    pub per_second: f64,
    /// Tokens a bucket holds, and starts with.
    pub burst: f64,
}

/// One bucket.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    rate: Rate,
    tokens: f64,
    filled: Instant,
}

impl TokenBucket {
    /// A full bucket.
    pub fn new(rate: Rate, now: Instant) -> Self {
        TokenBucket {
            rate,
            tokens: rate.burst,
            filled: now,
        }
    }

    /// Takes one token, if there is one.
    pub fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + passed * self.rate.per_second).min(self.rate.burst);
        self.filled = now;
        if self.tokens < 1.0 {
            return false;
        }
        self.tokens -= 1.0;
        true
    }

    fn is_full(&self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens + passed * self.rate.per_second >= self.rate.burst
    }
}

/// One bucket for each of many senders. When the table is full, buckets that
/// have filled up again are forgotten (they behave like new ones); if there
/// are none, a newcomer is refused.
#[derive(Debug)]
pub struct Limiter<K> {
    rate: Rate,
    capacity: usize,
    buckets: BTreeMap<K, TokenBucket>,
}

impl<K: Ord + Copy> Limiter<K> {
    /// A limiter that tracks at most `capacity` senders.
    pub fn new(rate: Rate, capacity: usize) -> Self {
        Limiter {
            rate,
            capacity,
            buckets: BTreeMap::new(),
        }
    }

    /// Takes one token of `who`.
    pub fn take(&mut self, who: K, now: Instant) -> bool {
        if let Some(bucket) = self.buckets.get_mut(&who) {
            return bucket.take(now);
        }
        if self.buckets.len() >= self.capacity {
            self.buckets.retain(|_, bucket| !bucket.is_full(now));
            if self.buckets.len() >= self.capacity {
                return false;
            }
        }
        let mut bucket = TokenBucket::new(self.rate, now);
        let taken = bucket.take(now);
        self.buckets.insert(who, bucket);
        taken
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "tests need some instant to start from"
)]
mod tests {
    use super::*;
    use std::time::Duration;

    const RATE: Rate = Rate {
        per_second: 4.0,
        burst: 4.0,
    };

    #[test]
    fn a_burst_passes_and_then_the_rate() {
        let start = Instant::now();
        let mut limiter = Limiter::new(RATE, 8);
        let taken = (0..10).filter(|_| limiter.take(1, start)).count();
        assert_eq!(taken, 4);
        assert!(limiter.take(2, start));
        assert!(!limiter.take(1, start + Duration::from_millis(200)));
        assert!(limiter.take(1, start + Duration::from_millis(300)));
    }

    #[test]
    fn the_table_is_bounded_and_recovers() {
        let start = Instant::now();
        let mut limiter = Limiter::new(RATE, 8);
        assert_eq!((0..100).filter(|who| limiter.take(*who, start)).count(), 8);
        assert!(limiter.take(1000, start + Duration::from_secs(1)));
    }
}
