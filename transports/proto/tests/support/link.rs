//! A link that loses, delays, reorders and duplicates, as a seed says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// What a link does to packets. Chances are per mille.
#[derive(Clone, Copy, Debug)]
pub struct Conditions {
    pub latency: Duration,
    /// Up to so much more, which reorders.
    pub jitter: Duration,
    pub loss: u32,
    pub duplicate: u32,
}

impl Conditions {
    pub const CLEAN: Self = Self {
        latency: Duration::from_millis(1),
        jitter: Duration::ZERO,
        loss: 0,
        duplicate: 0,
    };
    pub const ROUGH: Self = Self {
        latency: Duration::from_millis(20),
        jitter: Duration::from_millis(8),
        loss: 50,
        duplicate: 30,
    };
}

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Lost,
    Delivered(Duration),
    Twice(Duration, Duration),
}

/// One direction. The fate of its n-th packet follows from the seed alone.
pub struct Link<T> {
    rng: ChaCha8Rng,
    pub conditions: Conditions,
    queue: BTreeMap<(Instant, u64), T>,
    sent: u64,
    pub fates: Vec<Fate>,
    pub cut: bool,
    /// Packets of which this is not true vanish.
    pub passes: fn(&T) -> bool,
}

impl<T: Clone> Link<T> {
    pub fn new(seed: u64, conditions: Conditions) -> Self {
        Self {
            rng: ChaCha8Rng::seed_from_u64(seed),
            conditions,
            queue: BTreeMap::new(),
            sent: 0,
            fates: Vec::new(),
            cut: false,
            passes: |_| true,
        }
    }

    pub fn send(&mut self, packet: T, now: Instant) {
        let fate = self.draw();
        self.fates.push(fate);
        if self.cut || !(self.passes)(&packet) {
            return;
        }
        match fate {
            Fate::Lost => {}
            Fate::Delivered(delay) => self.put(packet, now + delay),
            Fate::Twice(first, second) => {
                self.put(packet.clone(), now + first);
                self.put(packet, now + second);
            }
        }
    }

    fn draw(&mut self) -> Fate {
        // Always the same number of draws, so that fates do not depend on each other.
        let [chance, again] = [(); 2].map(|()| self.rng.random_range(0..1000_u32));
        let [first, second] = [(); 2].map(|()| {
            let jitter = u64::try_from(self.conditions.jitter.as_nanos()).expect("short");
            let extra = self.rng.random_range(0..=1_000_000_u64) * jitter / 1_000_000;
            self.conditions.latency + Duration::from_nanos(extra)
        });
        if chance < self.conditions.loss {
            Fate::Lost
        } else if again < self.conditions.duplicate {
            Fate::Twice(first, second)
        } else {
            Fate::Delivered(first)
        }
    }

    fn put(&mut self, packet: T, at: Instant) {
        self.sent += 1;
        self.queue.insert((at, self.sent), packet);
    }

    pub fn next_at(&self) -> Option<Instant> {
        self.queue.keys().next().map(|(at, _)| *at)
    }

    pub fn receive(&mut self, now: Instant) -> Option<T> {
        let entry = self
            .queue
            .first_entry()
            .filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }
}
