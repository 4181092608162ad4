//! Remembering what was seen, in bounded memory.
//!
//! [`SeenCache`] answers "have I seen this id lately?" with two rotating
//! sets. [`Window`] answers "is this number new?" exactly and for ever, for
//! one numbered stream (RFC 4303, appendix A2).

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::id::{Incarnation, PeerId};

/// Ids seen lately: two generations, of which the older is dropped when the
/// younger is full or old enough. An id is remembered for at least `period`
/// unless more than `capacity` ids arrive meanwhile, and never longer than
/// twice that.
#[derive(Debug)]
pub struct SeenCache<K, V = ()> {
    young: BTreeMap<K, V>,
    old: BTreeMap<K, V>,
    rotated: Instant,
    period: Duration,
    capacity: usize,
}

impl<K: Ord, V> SeenCache<K, V> {
    /// A cache of at most `2 * capacity` ids.
    pub fn new(period: Duration, capacity: usize, now: Instant) -> Self {
        SeenCache {
            young: BTreeMap::new(),
            old: BTreeMap::new(),
            rotated: now,
            period,
            capacity,
        }
    }

    /// Remembers `key`; false when it was known (the first value is kept).
    pub fn insert(&mut self, key: K, value: V, now: Instant) -> bool {
        self.rotate(now);
        if self.get(&key).is_some() {
            return false;
        }
        if self.young.len() >= self.capacity {
            self.turn(now);
        }
        self.young.insert(key, value);
        true
    }

    /// What was remembered with `key`.
    pub fn get(&self, key: &K) -> Option<&V> {
        self.young.get(key).or_else(|| self.old.get(key))
    }

    /// Whether `key` is remembered.
    pub fn contains(&self, key: &K) -> bool {
        self.get(key).is_some()
    }

    /// Ids remembered now.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn rotate(&mut self, now: Instant) {
        if now.saturating_duration_since(self.rotated) >= self.period * 2 {
            self.old.clear();
            self.turn(now);
        } else if now.saturating_duration_since(self.rotated) >= self.period {
            self.turn(now);
        }
    }

    fn turn(&mut self, now: Instant) {
        self.old = std::mem::take(&mut self.young);
        self.rotated = now;
    }
}

/// Width of a [`Window`]: numbers may arrive this far out of order. Wide
/// enough for a burst that takes several paths through a mesh.
pub const WINDOW: u64 = 1024;
const WORDS: usize = (WINDOW / 64) as usize;

/// The numbers of one stream that have been seen: everything at or below
/// `top - WINDOW` counts as seen.
#[derive(Clone, Debug)]
pub struct Window {
    top: Option<u64>,
    bits: [u64; WORDS],
}

impl Default for Window {
    fn default() -> Self {
        Window {
            top: None,
            bits: [0; WORDS],
        }
    }
}

impl Window {
    /// Whether `n` has been seen, or is too old to tell.
    pub fn contains(&self, n: u64) -> bool {
        match self.top {
            None => false,
            Some(top) if n > top => false,
            Some(top) if top - n >= WINDOW => true,
            Some(_) => self.bit(n),
        }
    }

    /// Marks `n` as seen; false when it was, or is too old to tell.
    pub fn insert(&mut self, n: u64) -> bool {
        if self.contains(n) {
            return false;
        }
        self.advance(n);
        let (word, mask) = position(n);
        if let Some(word) = self.bits.get_mut(word) {
            *word |= mask;
        }
        true
    }

    fn bit(&self, n: u64) -> bool {
        let (word, mask) = position(n);
        self.bits.get(word).is_some_and(|word| word & mask != 0)
    }

    /// Makes `n` the top if it is higher, forgetting what falls out.
    fn advance(&mut self, n: u64) {
        let Some(top) = self.top else {
            self.top = Some(n);
            return;
        };
        if n <= top {
            return;
        }
        if n - top >= WINDOW {
            self.bits = [0; WORDS];
        } else {
            for between in top + 1..=n {
                let (word, mask) = position(between);
                if let Some(word) = self.bits.get_mut(word) {
                    *word &= !mask;
                }
            }
        }
        self.top = Some(n);
    }
}

fn position(n: u64) -> (usize, u64) {
    ((n / 64 % WORDS as u64) as usize, 1 << (n % 64))
}

/// One [`Window`] for each author, for its newest life. Numbers of an earlier
/// life count as seen.
#[derive(Debug)]
pub struct Streams {
    capacity: usize,
    authors: BTreeMap<PeerId, (Incarnation, Window)>,
}

impl Streams {
    /// Windows of at most `capacity` authors; beyond that, one that is no
    /// member makes room (it can then be replayed, not more).
    pub fn new(capacity: usize) -> Self {
        Streams {
            capacity,
            authors: BTreeMap::new(),
        }
    }

    /// Whether `n` of `author`'s life has been seen, or is too old to tell.
    pub fn contains(&self, author: &PeerId, life: Incarnation, n: u64) -> bool {
        match self.authors.get(author) {
            None => false,
            Some((known, window)) => life < *known || (life == *known && window.contains(n)),
        }
    }

    /// Marks `n` as seen; false when it was, or is too old to tell. Strangers
    /// never push out a member: keys cost nothing. Once the windows are all
    /// members', a stranger's numbers count as seen.
    pub fn insert(
        &mut self,
        author: PeerId,
        life: Incarnation,
        n: u64,
        is_member: impl Fn(&PeerId) -> bool,
    ) -> bool {
        if self.contains(&author, life, n) {
            return false;
        }
        if self.authors.len() >= self.capacity && !self.authors.contains_key(&author) {
            let stranger = self.authors.keys().find(|known| !is_member(known));
            match stranger.copied() {
                Some(stranger) => drop(self.authors.remove(&stranger)),
                None if is_member(&author) => drop(self.authors.pop_first()),
                None => return false,
            }
        }
        let entry = self
            .authors
            .entry(author)
            .or_insert_with(|| (life, Window::default()));
        if entry.0 < life {
            *entry = (life, Window::default());
        }
        entry.1.insert(n)
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "tests need some instant to start from"
)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn ids_are_remembered_for_a_period_and_then_forgotten() {
        let start = Instant::now();
        let mut seen = SeenCache::new(Duration::from_secs(10), 100, start);
        assert!(seen.insert(1, (), start));
        assert!(!seen.insert(1, (), start + Duration::from_secs(9)));
        assert!(!seen.insert(1, (), start + Duration::from_secs(15)));
        assert!(seen.insert(1, (), start + Duration::from_secs(31)));
    }

    #[test]
    fn memory_is_bounded() {
        let start = Instant::now();
        let mut seen = SeenCache::new(Duration::from_secs(10), 50, start);
        for id in 0..10_000u32 {
            assert!(seen.insert(id, (), start));
            assert!(seen.len() <= 100);
            assert!(!seen.insert(id.saturating_sub(40), (), start));
        }
    }

    proptest! {
        #[test]
        fn a_window_lets_every_number_through_at_most_once(
            numbers in proptest::collection::vec(0u64..3000, 0..2000)
        ) {
            let (mut window, mut seen, mut top) = (Window::default(), BTreeSet::new(), 0);
            for n in numbers {
                let fresh = window.insert(n);
                if fresh {
                    prop_assert!(seen.insert(n), "{} twice", n);
                } else {
                    prop_assert!(seen.contains(&n) || top - n >= WINDOW, "{} lost", n);
                }
                top = top.max(n);
            }
        }
    }

    #[test]
    fn a_new_life_starts_over_and_ends_the_old_one() {
        let mut streams = Streams::new(2);
        let author = PeerId::from_bytes([1; 32]);
        let all = |_: &PeerId| true;
        assert!(streams.insert(author, Incarnation(1), 7, all));
        assert!(!streams.insert(author, Incarnation(1), 7, all));
        assert!(streams.insert(author, Incarnation(2), 7, all));
        assert!(!streams.insert(author, Incarnation(1), 8, all));
        for other in 2..9 {
            streams.insert(PeerId::from_bytes([other; 32]), Incarnation(1), 0, all);
            assert!(streams.authors.len() <= 2);
        }
    }

    #[test]
    fn strangers_push_out_strangers_only() {
        let mut streams = Streams::new(2);
        let peer = |n| PeerId::from_bytes([n; 32]);
        let is_member = |known: &PeerId| *known < peer(3);
        let life = Incarnation(1);
        assert!(streams.insert(peer(1), life, 0, is_member));
        for stranger in 3..9 {
            assert!(streams.insert(peer(stranger), life, 0, is_member));
            assert!(streams.authors.len() <= 2);
        }
        assert!(streams.insert(peer(2), life, 0, is_member));
        assert!(!streams.insert(peer(9), life, 0, is_member));
        for member in [1, 2] {
            assert!(!streams.insert(peer(member), life, 0, is_member));
        }
    }

    #[test]
    fn a_window_takes_the_largest_numbers() {
        let mut window = Window::default();
        assert!(window.insert(0));
        assert!(window.insert(u64::MAX));
        assert!(!window.insert(u64::MAX));
        assert!(!window.insert(0));
        assert!(window.insert(u64::MAX - 1));
    }
}
