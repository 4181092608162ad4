//! The course of a run as one number, and its last events in words.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::dice::mix;

/// Events kept in words for each node that is looked at.
const KEPT: usize = 60;

fn mix_in(hash: u64, value: u64) -> u64 {
    (hash ^ value)
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .rotate_left(29)
}

/// A rolling hash over every event, with its value at every second: two runs
/// that differ are told apart, and when they parted.
#[derive(Debug, Clone, Default)]
pub struct Trace {
    hash: u64,
    seconds: Vec<u64>,
    watched: BTreeSet<u32>,
    told: BTreeMap<u32, VecDeque<String>>,
}

impl Trace {
    pub(crate) fn watching(nodes: BTreeSet<u32>) -> Self {
        Trace {
            watched: nodes,
            ..Trace::default()
        }
    }

    pub(crate) fn note(&mut self, now: u64, node: u32, what: u64) {
        let who = u64::from(node) << 32 | (now & 0xffff_ffff);
        self.hash = mix_in(mix_in(self.hash, who), what);
    }

    pub(crate) fn second(&mut self) {
        self.seconds.push(self.hash);
    }

    /// The hash of everything.
    pub fn hash(&self) -> u64 {
        mix(self.hash)
    }

    /// The first second in which two runs differ.
    pub fn parts_from(&self, other: &Trace) -> Option<usize> {
        if self.hash == other.hash {
            return None;
        }
        let pairs = self.seconds.iter().zip(&other.seconds);
        let same = pairs.take_while(|(a, b)| a == b).count();
        Some(same)
    }

    pub(crate) fn is_watched(&self, node: u32) -> bool {
        // Empty in all but the runs that tell what happened.
        !self.watched.is_empty() && self.watched.contains(&node)
    }

    pub(crate) fn tell(&mut self, now: u64, node: u32, what: impl FnOnce() -> String) {
        if !self.is_watched(node) {
            return;
        }
        let told = self.told.entry(node).or_default();
        if told.len() == KEPT {
            told.pop_front();
        }
        told.push_back(format!("{:>9.3} s  node {node}: {}", seconds(now), what()));
    }

    /// What the watched nodes did last.
    pub fn told(&self) -> Vec<String> {
        self.told.values().flatten().cloned().collect()
    }
}

/// Milliseconds as seconds.
#[allow(clippy::cast_precision_loss, reason = "for people")]
pub(crate) fn seconds(millis: u64) -> f64 {
    millis as f64 / 1_000.0
}
