//! The choices of a demo. Each is drawn from a generator of its own, made from
//! the seed and what the choice is about: how many were drawn before, and so
//! how fast the machine is, makes no difference.

use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt as _, SeedableRng};

use super::acts::WAVE;

/// What a choice is about; part of its generator's seed.
#[derive(Clone, Copy)]
enum About {
    Introduction = 1,
    Victims = 2,
    Partners = 3,
}

/// The choices of one seed for so many nodes.
#[derive(Debug)]
pub(super) struct Choices {
    seed: u64,
    peers: usize,
}

impl Choices {
    pub(super) fn new(seed: u64, peers: usize) -> Self {
        Self { seed, peers }
    }

    /// Whom a node is told of: the first node, and another one of the waves
    /// before its own.
    pub(super) fn introductions(&self, index: usize) -> Vec<usize> {
        let started = wave_of(index);
        let mut known: Vec<usize> = (0..started.min(1)).collect();
        if started > 1 {
            let mut random = self.random(About::Introduction, index, 0);
            known.push(random.random_range(1..started));
        }
        known
    }

    /// Who is silenced, in ascending order. The first node, whose ticket all
    /// the others came with, is always among them.
    pub(super) fn victims(&self, count: usize) -> Vec<usize> {
        let mut others: Vec<usize> = (1..self.peers).collect();
        others.shuffle(&mut self.random(About::Victims, 0, 0));
        others.insert(0, 0);
        others.truncate(count);
        others.sort_unstable();
        others
    }

    /// The order in which a node speaks to the others in its nth round.
    pub(super) fn partners(&self, from: usize, round: usize, others: &mut [usize]) {
        others.shuffle(&mut self.random(About::Partners, from, round));
    }

    fn random(&self, about: About, index: usize, round: usize) -> StdRng {
        let mut seed = [0; 32];
        let parts = [self.seed, about as u64, index as u64, round as u64];
        for (slot, part) in seed.chunks_exact_mut(8).zip(parts) {
            slot.copy_from_slice(&part.to_le_bytes());
        }
        StdRng::from_seed(seed)
    }
}

/// How many nodes are up when this one is started: the first starts alone, and
/// every wave is as large as all before it, up to [`WAVE`].
fn wave_of(index: usize) -> usize {
    let mut started = 0;
    loop {
        let wave = started.clamp(1, WAVE);
        if index < started + wave {
            return started;
        }
        started += wave;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_choices_in_any_order() {
        let (one, two) = (Choices::new(7, 30), Choices::new(7, 30));
        let partners = |choices: &Choices, round| {
            let mut others: Vec<usize> = (1..30).collect();
            choices.partners(0, round, &mut others);
            others
        };
        let (first, later) = (partners(&one, 0), partners(&one, 1));
        assert_ne!(first, later);
        assert_eq!(partners(&two, 1), later);
        assert_eq!(two.victims(10), one.victims(10));
        assert_ne!(Choices::new(8, 30).victims(10), one.victims(10));
        for index in (0..30).rev() {
            assert_eq!(two.introductions(index), one.introductions(index));
        }
    }

    #[test]
    fn everybody_knows_the_first_and_one_that_is_up() {
        let choices = Choices::new(7, 60);
        assert!(choices.introductions(0).is_empty());
        assert_eq!(choices.introductions(1), [0]);
        for index in 2..60 {
            let known = choices.introductions(index);
            assert_eq!((known.len(), known[0]), (2, 0));
            assert!((1..wave_of(index)).contains(&known[1]), "{index} {known:?}");
        }
    }
}
