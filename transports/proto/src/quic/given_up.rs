//! Ordered messages that were given up before their turn.

/// Their numbers, in runs: what lies before each of them is a message that is under way, of which there are only
/// so many. Numbers wrap around; each is less than half of them away from the next one that is to be read.
#[derive(Debug, Default)]
pub(super) struct GivenUp {
    /// First number and length, the nearest first.
    runs: Vec<(u32, u32)>,
}

impl GivenUp {
    /// How many runs there are.
    pub(super) fn runs(&self) -> usize {
        self.runs.len()
    }

    /// Where the runs begin that lie behind `number`, if `next` is the next number.
    fn behind(&self, number: u32, next: u32) -> usize {
        let distance = |number: u32| number.wrapping_sub(next);
        self.runs
            .partition_point(|run| distance(run.0) <= distance(number))
    }

    pub(super) fn contains(&self, number: u32, next: u32) -> bool {
        let at = self.behind(number, next);
        let run = at.checked_sub(1).map(|before| self.runs[before]);
        run.is_some_and(|(first, len)| number.wrapping_sub(first) < len)
    }

    /// Adds a number that is not there. `false` if that took one run more than `most`: it is not added then.
    pub(super) fn insert(&mut self, number: u32, next: u32, most: usize) -> bool {
        let at = self.behind(number, next);
        let full = self.runs.len() >= most;
        let (before, behind) = self.runs.split_at_mut(at);
        let before = before
            .last_mut()
            .filter(|run| run.0.wrapping_add(run.1) == number);
        let behind = behind
            .first_mut()
            .filter(|run| run.0 == number.wrapping_add(1));
        match (before, behind) {
            (Some(before), Some(behind)) => {
                before.1 += 1 + behind.1;
                self.runs.remove(at);
            }
            (Some(before), None) => before.1 += 1,
            (None, Some(behind)) => *behind = (number, behind.1 + 1),
            (None, None) if full => return false,
            (None, None) => self.runs.insert(at, (number, 1)),
        }
        true
    }

    /// Takes the run that begins with `next`. Returns its length.
    pub(super) fn take(&mut self, next: u32) -> u32 {
        let begins = self.runs.first().is_some_and(|run| run.0 == next);
        if begins { self.runs.remove(0).1 } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_set_of_numbers(
            start: u32,
            offsets in prop::collection::vec(0_u32..60, 0..80),
            arrive in prop::collection::vec(any::<bool>(), 60),
        ) {
            let number = |offset: u32| start.wrapping_add(offset);
            let (mut set, mut runs) = (BTreeSet::new(), GivenUp::default());
            for offset in offsets {
                if !runs.contains(number(offset), start) {
                    prop_assert!(runs.insert(number(offset), start, usize::MAX));
                }
                set.insert(offset);
                for offset in 0..61 {
                    let contains = runs.contains(number(offset), start);
                    prop_assert_eq!(contains, set.contains(&offset));
                }
            }
            let begins = |offset: &&u32| **offset == 0 || !set.contains(&(**offset - 1));
            prop_assert_eq!(runs.runs(), set.iter().filter(begins).count());
            // What was not given up arrives, or nothing moves any more.
            let mut next = 0;
            while next < 60 {
                let taken = runs.take(number(next));
                prop_assert!((next..next + taken).all(|offset| set.remove(&offset)));
                next += taken;
                if set.contains(&next) || !arrive[(next % 60) as usize] {
                    break;
                }
                next += 1;
            }
            prop_assert!(!set.contains(&next));
        }
    }

    #[test]
    fn more_runs_than_may_be_are_not_kept() {
        let mut runs = GivenUp::default();
        assert!(runs.insert(10, 0, 2) && runs.insert(20, 0, 2));
        assert!(!runs.insert(15, 0, 2));
        assert!(!runs.contains(15, 0));
        // These make none.
        assert!(runs.insert(11, 0, 2) && runs.insert(19, 0, 2));
        assert_eq!((runs.take(9), runs.take(10), runs.take(12)), (0, 2, 0));
        assert_eq!((runs.take(19), runs.runs()), (2, 0));
    }
}
