//! Which records of an epoch have arrived (RFC 9147 §4.5.1), and what a short number means (§4.2.2).

/// Records behind the newest that are still told apart.
const WIDTH: u64 = 256;
const WORDS: usize = 4;

/// The anti-replay window of one epoch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Window {
    /// One more than the highest number that has arrived; 0 before any has.
    next: u64,
    /// Bit `n % WIDTH` for the numbers within the window.
    seen: [u64; WORDS],
}

impl Window {
    /// The number nearest to the next expected one whose low `bits` bits are `short`.
    pub(super) fn resolve(&self, short: u64, bits: u32) -> u64 {
        let size = 1_u64 << bits;
        let candidate = (self.next & !(size - 1)) | short;
        if candidate > self.next + size / 2 && candidate >= size {
            candidate - size
        } else if candidate + size / 2 < self.next {
            candidate + size
        } else {
            candidate
        }
    }

    /// Whether a record of this number may still be new.
    pub(super) fn is_new(&self, number: u64) -> bool {
        if number >= self.next {
            return true;
        }
        self.next - number <= WIDTH && !self.bit(number)
    }

    /// A record of this number has arrived and is genuine.
    pub(super) fn insert(&mut self, number: u64) {
        if number >= self.next {
            let steps = number - self.next;
            if steps >= WIDTH {
                self.seen = [0; WORDS];
            } else {
                (self.next..number).for_each(|skipped| self.set(skipped, false));
            }
            self.next = number + 1;
        }
        self.set(number, true);
    }

    fn place(number: u64) -> (usize, u64) {
        let at = number % WIDTH;
        (usize::try_from(at / 64).unwrap_or_default(), 1 << (at % 64))
    }

    fn bit(&self, number: u64) -> bool {
        let (word, bit) = Self::place(number);
        self.seen[word] & bit != 0
    }

    fn set(&mut self, number: u64, to: bool) {
        let (word, bit) = Self::place(number);
        if to {
            self.seen[word] |= bit;
        } else {
            self.seen[word] &= !bit;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_short_number_is_the_nearest_one() {
        let mut window = Window::default();
        assert_eq!(window.resolve(5, 8), 5);
        assert_eq!(window.resolve(255, 8), 255, "there is none before 0");
        window.insert(300);
        assert_eq!(window.resolve(44, 8), 300);
        assert_eq!(window.resolve(200, 8), 200);
        assert_eq!(window.resolve(20, 8), 276);
        window.insert(0x1_fff0);
        assert_eq!(window.resolve(3, 16), 0x2_0003);
        assert_eq!(window.resolve(0xfff1, 16), 0x1_fff1);
    }

    proptest! {
        #[test]
        fn like_a_set(steps in prop::collection::vec((0_u64..600, any::<bool>()), 1..400)) {
            let (mut window, mut seen, mut highest) = (Window::default(), BTreeSet::new(), 0_u64);
            for (step, forward) in steps {
                let number = if forward { highest + step } else { highest.saturating_sub(step) };
                let behind = !seen.is_empty() && number + WIDTH <= highest;
                prop_assert_eq!(window.is_new(number), !seen.contains(&number) && !behind);
                if window.is_new(number) {
                    window.insert(number);
                    seen.insert(number);
                    highest = highest.max(number);
                }
                // Never guessed wrong within half of what the short form tells apart.
                let at = number & 0xffff;
                prop_assert_eq!(window.resolve(at, 16), number);
            }
        }
    }
}
