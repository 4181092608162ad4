//! What arrives before anybody can take it: kept in order, bounded in number and bytes.

use std::collections::VecDeque;

/// Batches kept until they can be taken. Filled by the peer; beyond a bound the oldest
/// goes, since its protocol sends again.
#[derive(Debug)]
pub(crate) struct Backlog<T> {
    batches: VecDeque<(T, usize)>,
    bytes: usize,
    most: usize,
    most_bytes: usize,
    dropped: u64,
}

impl<T> Backlog<T> {
    /// Of at most so many batches and bytes.
    pub(crate) fn new(most: usize, most_bytes: usize) -> Self {
        Backlog {
            batches: VecDeque::new(),
            bytes: 0,
            most,
            most_bytes,
            dropped: 0,
        }
    }

    /// Keeps a batch that holds so many bytes.
    pub(crate) fn keep(&mut self, batch: T, bytes: usize) {
        self.bytes += bytes;
        self.batches.push_back((batch, bytes));
        while self.batches.len() > self.most || self.bytes > self.most_bytes {
            let Some((_, bytes)) = self.batches.pop_front() else {
                return;
            };
            self.bytes -= bytes;
            self.dropped += 1;
        }
    }

    /// Everything kept, in order.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        self.bytes = 0;
        let batches = std::mem::take(&mut self.batches);
        batches.into_iter().map(|(batch, _)| batch)
    }

    /// Batches lost so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_beyond_either_bound() {
        let mut backlog = Backlog::new(3, 100);
        for batch in 0..5 {
            backlog.keep(batch, 10);
        }
        assert_eq!(backlog.dropped(), 2);
        assert!(backlog.take().eq(2..5));
        for batch in 0..3 {
            backlog.keep(batch, 40);
        }
        assert!(backlog.take().eq(1..3));
        backlog.keep(0, 10);
        backlog.keep(1, 101);
        assert_eq!(backlog.take().count(), 0, "too long by itself");
        backlog.keep(2, 100);
        assert!(backlog.take().eq([2]), "what was taken counts no more");
    }
}
