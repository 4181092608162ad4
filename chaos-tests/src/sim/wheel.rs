//! A timing wheel: what happens when, in slots of one millisecond.

use std::collections::BTreeMap;

/// Slots of the wheel; what lies further ahead waits in buckets of as many.
const SLOTS: usize = 8_192;

/// Things to come, in order of time and, within a millisecond, of scheduling.
#[derive(Debug)]
pub(crate) struct Wheel<T> {
    now: u64,
    slots: Vec<Vec<T>>,
    far: BTreeMap<u64, Vec<(u64, T)>>,
    /// Buffers of slots that are over: few are in use at a time, and those
    /// stay in the processor's cache.
    pool: Vec<Vec<T>>,
}

fn bucket(at: u64) -> u64 {
    at / SLOTS as u64
}

fn slot(at: u64) -> usize {
    usize::try_from(at % SLOTS as u64).unwrap_or(0)
}

impl<T> Wheel<T> {
    pub(crate) fn new() -> Self {
        Wheel {
            now: 0,
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            far: BTreeMap::new(),
            pool: Vec::new(),
        }
    }

    pub(crate) fn now(&self) -> u64 {
        self.now
    }

    /// Has `item` happen at `at`, or in the next millisecond if that is past.
    pub(crate) fn push(&mut self, at: u64, item: T) {
        let at = at.max(self.now + 1);
        if bucket(at) == bucket(self.now) {
            self.put(at, item);
        } else {
            self.far.entry(bucket(at)).or_default().push((at, item));
        }
    }

    fn put(&mut self, at: u64, item: T) {
        let Some(slot) = self.slots.get_mut(slot(at)) else {
            return;
        };
        if slot.capacity() == 0
            && let Some(buffer) = self.pool.pop()
        {
            *slot = buffer;
        }
        slot.push(item);
    }

    /// Goes on to the next millisecond, not beyond `until`, in which something
    /// happens, and takes that out.
    pub(crate) fn advance(&mut self, until: u64) -> Option<Vec<T>> {
        while self.now < until {
            self.now += 1;
            if slot(self.now) == 0 {
                self.turn();
            }
            let due = self.slots.get_mut(slot(self.now));
            if let Some(due) = due.filter(|due| !due.is_empty()) {
                return Some(std::mem::take(due));
            }
        }
        None
    }

    /// Takes the buffer of what [`Wheel::advance`] took out back.
    pub(crate) fn recycle(&mut self, mut buffer: Vec<T>) {
        buffer.clear();
        self.pool.push(buffer);
    }

    /// Spreads the bucket that begins now over the slots.
    fn turn(&mut self) {
        for (at, item) in self.far.remove(&bucket(self.now)).unwrap_or_default() {
            self.put(at, item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_happens_in_order_and_at_its_time() {
        let mut wheel = Wheel::new();
        let times = [5, 1, 9_000, 8_191, 8_192, 8_193, 5, 100_000, 16_384];
        for (n, at) in times.into_iter().enumerate() {
            wheel.push(at, (at, n));
        }
        let mut seen = Vec::new();
        while let Some(due) = wheel.advance(1_000_000) {
            for (at, n) in &due {
                assert_eq!(*at, wheel.now());
                seen.push((*at, *n));
            }
            wheel.recycle(due);
        }
        let mut expected: Vec<_> = times
            .into_iter()
            .enumerate()
            .map(|(n, at)| (at, n))
            .collect();
        expected.sort_unstable();
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_past_is_the_next_millisecond() {
        let mut wheel = Wheel::new();
        assert!(wheel.advance(50).is_none());
        wheel.push(7, ());
        assert!(wheel.advance(100).is_some());
        assert_eq!(wheel.now(), 51);
    }
}
