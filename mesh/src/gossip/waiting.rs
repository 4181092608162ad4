//! Publications that wait for their topic's first subscriber.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

/// Publications kept per topic; the oldest goes first, since a newer presence
/// replaces it anyway.
const PER_TOPIC: usize = 8;
/// Topics with waiting publications; further ones are not kept.
const TOPICS: usize = 64;

/// The waiting publications.
#[derive(Default)]
pub(super) struct Waiting {
    topics: BTreeMap<String, VecDeque<Bytes>>,
}

impl Waiting {
    /// Keeps a publication that found no subscriber.
    pub(super) fn keep(&mut self, topic: String, data: Bytes) {
        if self.topics.len() >= TOPICS && !self.topics.contains_key(&topic) {
            return;
        }
        let queue = self.topics.entry(topic).or_default();
        if queue.len() == PER_TOPIC {
            queue.pop_front();
        }
        queue.push_back(data);
    }

    /// Hands out what waited for `topic`, in order.
    pub(super) fn take(&mut self, topic: &str) -> VecDeque<Bytes> {
        self.topics.remove(topic).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_are_kept_in_order() {
        let mut waiting = Waiting::default();
        for number in 0..20u8 {
            waiting.keep("t".to_owned(), Bytes::from(vec![number]));
        }
        let taken: Vec<u8> = waiting.take("t").iter().map(|data| data[0]).collect();
        assert_eq!(taken, (12..20).collect::<Vec<_>>());
        assert!(waiting.take("t").is_empty());
    }

    #[test]
    fn topics_are_bounded() {
        let mut waiting = Waiting::default();
        for number in 0..=TOPICS {
            waiting.keep(number.to_string(), Bytes::new());
        }
        assert_eq!(waiting.topics.len(), TOPICS);
    }
}
