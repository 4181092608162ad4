//! A node's own clock.

/// Maps the world's milliseconds to a node's, which may run fast or have
/// jumped ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Clock {
    /// World and local time at the last change.
    world: u64,
    local: u64,
    drift: i32,
}

const MILLION: i64 = 1_000_000;

impl Clock {
    pub(crate) fn new(now: u64) -> Self {
        Clock {
            world: now,
            local: now,
            drift: 0,
        }
    }

    fn rate(&self) -> u64 {
        // A clock that stands still is none.
        u64::try_from(MILLION + i64::from(self.drift))
            .unwrap_or(1)
            .max(1)
    }

    /// Local time at world time `now`.
    pub(crate) fn local(&self, now: u64) -> u64 {
        let passed = now.saturating_sub(self.world);
        if self.drift == 0 {
            return self.local + passed;
        }
        self.local + passed * self.rate() / MILLION.unsigned_abs()
    }

    /// The first world time at which the clock shows `local`.
    pub(crate) fn world(&self, local: u64) -> u64 {
        let ahead = local.saturating_sub(self.local);
        if self.drift == 0 {
            return self.world.saturating_add(ahead);
        }
        let scaled = ahead.saturating_mul(MILLION.unsigned_abs());
        self.world.saturating_add(scaled.div_ceil(self.rate()))
    }

    pub(crate) fn change(&mut self, now: u64, jump: u32, drift: i32) {
        *self = Clock {
            world: now,
            local: self.local(now) + u64::from(jump),
            drift,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deadlines_come_when_the_clock_shows_them() {
        for (jump, drift) in [
            (0, 0),
            (5_000, 0),
            (0, 200),
            (120_000, -100_000),
            (1, 900_000),
        ] {
            let mut clock = Clock::new(10);
            clock.change(1_000, jump, drift);
            assert_eq!(clock.local(1_000), 1_000 + u64::from(jump));
            for ahead in [1, 7, 1_000, 3_600_000] {
                let local = clock.local(1_000) + ahead;
                let world = clock.world(local);
                assert!(clock.local(world) >= local);
                assert!(clock.local(world - 1) < local);
            }
        }
    }
}
