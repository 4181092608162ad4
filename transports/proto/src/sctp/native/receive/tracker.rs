//! Which TSNs have arrived (RFC 9260 §6.2): the last one without a gap, and a ring of bits, indexed
//! by TSN, for those beyond it.

use std::collections::VecDeque;

use super::super::serial::{ahead, is_after};

/// How far beyond the cumulative TSN one may lie. Filled by the peer; what lies further ahead is
/// dropped and sent again. 65,535 is also the farthest that a gap block can name.
pub(in super::super) const MAX_AHEAD: u32 = 65_535;

/// Duplicates remembered for the next acknowledgement; more go unreported.
const MAX_DUPLICATES: usize = 16;

const WORD: u32 = 64;

/// What a TSN is to us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Arrival {
    New,
    Duplicate,
    TooFar,
}

#[derive(Debug)]
pub(in super::super) struct Tracker {
    cumulative: u32,
    highest: u32,
    /// Bit n of word m says whether `cumulative + 1 + shift + ...` has arrived: the first bit, at
    /// `offset` in the first word, is that of the TSN after the cumulative one.
    words: VecDeque<u64>,
    offset: u32,
    duplicates: Vec<u32>,
}

impl Tracker {
    pub(super) fn new(first: u32) -> Self {
        Self {
            cumulative: first.wrapping_sub(1),
            highest: first.wrapping_sub(1),
            words: VecDeque::new(),
            offset: 0,
            duplicates: Vec::new(),
        }
    }

    pub(in super::super) fn cumulative(&self) -> u32 {
        self.cumulative
    }

    /// Whether something beyond the cumulative TSN has arrived.
    pub(in super::super) fn has_gap(&self) -> bool {
        self.highest != self.cumulative
    }

    /// Whether the TSN lies before the highest that has arrived.
    pub(super) fn fills_gap(&self, tsn: u32) -> bool {
        is_after(self.highest, tsn)
    }

    /// What the TSN would be.
    pub(super) fn judge(&mut self, tsn: u32) -> Arrival {
        let Some(distance) = ahead(self.cumulative, tsn).filter(|n| *n > 0) else {
            self.duplicate(tsn);
            return Arrival::Duplicate;
        };
        if distance > MAX_AHEAD {
            return Arrival::TooFar;
        }
        if self.has_gap() && self.bit(distance - 1) {
            self.duplicate(tsn);
            return Arrival::Duplicate;
        }
        Arrival::New
    }

    fn duplicate(&mut self, tsn: u32) {
        if self.duplicates.len() < MAX_DUPLICATES {
            self.duplicates.push(tsn);
        }
    }

    /// A new TSN has arrived.
    pub(super) fn insert(&mut self, tsn: u32) {
        let distance = tsn.wrapping_sub(self.cumulative);
        if distance == 1 && !self.has_gap() {
            self.cumulative = tsn;
            self.highest = tsn;
            return;
        }
        self.set_bit(distance - 1);
        if is_after(tsn, self.highest) {
            self.highest = tsn;
        }
        self.advance();
    }

    /// All up to `to` counts as arrived (RFC 3758 §3.6). It is not too far ahead.
    pub(super) fn skip_to(&mut self, to: u32) {
        while is_after(to, self.cumulative) && self.has_gap() {
            self.step();
        }
        if is_after(to, self.cumulative) {
            self.cumulative = to;
            self.highest = to;
        }
        self.advance();
    }

    fn advance(&mut self) {
        while self.has_gap() && self.bit(0) {
            self.step();
        }
        if !self.has_gap() {
            self.words.clear();
            self.offset = 0;
        }
    }

    /// Moves the cumulative TSN on by one.
    fn step(&mut self) {
        self.cumulative = self.cumulative.wrapping_add(1);
        self.offset += 1;
        if self.offset == WORD {
            self.offset = 0;
            self.words.pop_front();
        }
    }

    fn place(&self, n: u32) -> (usize, u32) {
        let at = self.offset + n;
        (usize::try_from(at / WORD).unwrap_or(usize::MAX), at % WORD)
    }

    fn bit(&self, n: u32) -> bool {
        let (word, bit) = self.place(n);
        self.words
            .get(word)
            .is_some_and(|word| word >> bit & 1 == 1)
    }

    fn set_bit(&mut self, n: u32) {
        let (word, bit) = self.place(n);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << bit;
    }

    /// Gap blocks as distances from the cumulative TSN, first and last, at most so many.
    pub(super) fn blocks(&self, limit: usize) -> Vec<(u16, u16)> {
        let mut blocks = Vec::new();
        let end = self.highest.wrapping_sub(self.cumulative);
        let mut at = 0;
        while at < end && blocks.len() < limit {
            let Some(start) = self.next_with(true, at, end) else {
                break;
            };
            let stop = self.next_with(false, start, end).unwrap_or(end);
            let block = u16::try_from(start + 1).ok().zip(u16::try_from(stop).ok());
            blocks.extend(block);
            at = stop;
        }
        blocks
    }

    /// The first bit from `from` on, before `end`, that is set or not set.
    fn next_with(&self, set: bool, from: u32, end: u32) -> Option<u32> {
        let mut at = from;
        while at < end {
            let (word, bit) = self.place(at);
            let bits = self.words.get(word).copied().unwrap_or_default();
            let bits = if set { bits } else { !bits };
            let found = (bits >> bit).trailing_zeros();
            if found < WORD - bit {
                return (at + found < end).then_some(at + found);
            }
            at += WORD - bit;
        }
        None
    }

    pub(super) fn take_duplicates(&mut self, limit: usize) -> Vec<u32> {
        let mut all = std::mem::take(&mut self.duplicates);
        all.truncate(limit);
        all
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blocks_tell_what_is_missing() {
        let mut tracker = Tracker::new(u32::MAX);
        for tsn in [u32::MAX, 1, 2, 4, 200] {
            assert_eq!(tracker.judge(tsn), Arrival::New);
            tracker.insert(tsn);
        }
        assert_eq!(tracker.cumulative(), u32::MAX);
        assert_eq!(tracker.blocks(9), [(2, 3), (5, 5), (201, 201)]);
        assert_eq!(tracker.blocks(1), [(2, 3)]);
        assert_eq!(tracker.judge(4), Arrival::Duplicate);
        assert_eq!(tracker.judge(u32::MAX - 7), Arrival::Duplicate);
        assert_eq!(tracker.take_duplicates(9), [4, u32::MAX - 7]);
        assert_eq!(tracker.judge(70_000), Arrival::TooFar);
        tracker.insert(0);
        assert_eq!((tracker.cumulative(), tracker.blocks(9).len()), (2, 2));
        tracker.skip_to(3);
        assert_eq!(tracker.cumulative(), 4);
        tracker.skip_to(1000);
        assert_eq!(tracker.cumulative(), 1000);
        assert!(!tracker.has_gap());
    }

    proptest! {
        #[test]
        fn like_a_set(
            first in any::<u32>(),
            moves in prop::collection::vec((1_u32..700, 0_u8..20), 1..400),
        ) {
            let mut tracker = Tracker::new(first);
            let mut cumulative = 0_u64;
            let mut beyond: BTreeSet<u64> = BTreeSet::new();
            let tsn = |n: u64| first.wrapping_sub(1).wrapping_add(super::super::super::serial::lower(n));
            for (distance, what) in moves {
                let n = cumulative + u64::from(distance);
                if what == 0 {
                    tracker.skip_to(tsn(n));
                    cumulative = n;
                } else {
                    let new = tracker.judge(tsn(n)) == Arrival::New;
                    prop_assert_eq!(new, !beyond.contains(&n));
                    if new {
                        tracker.insert(tsn(n));
                        beyond.insert(n);
                    }
                }
                beyond.retain(|n| *n > cumulative);
                while beyond.remove(&(cumulative + 1)) {
                    cumulative += 1;
                }
                prop_assert_eq!(tracker.cumulative(), tsn(cumulative));
                let named: BTreeSet<u64> = tracker
                    .blocks(usize::MAX)
                    .into_iter()
                    .flat_map(|(a, b)| u64::from(a)..=u64::from(b))
                    .map(|n| cumulative + n)
                    .collect();
                prop_assert_eq!(&named, &beyond);
            }
        }
    }
}
