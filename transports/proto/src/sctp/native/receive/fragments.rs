//! Messages put together from their pieces (RFC 9260 §6.9, RFC 8260 §2.2).

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Where a piece belongs: DATA has one row of TSNs for all messages, I-DATA a row of FSNs for each
/// MID. The next piece of a message has the same `row` and the next `place`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) row: u64,
    pub(super) place: u64,
}

/// A piece of a message.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) key: Key,
    pub(super) begin: bool,
    pub(super) end: bool,
    /// SSN of DATA; 0 with I-DATA, where the row tells.
    pub(super) ssn: u16,
    /// As in the first piece.
    pub(super) ppid: u32,
    pub(super) data: Bytes,
}

/// A whole message.
#[derive(Clone, Debug)]
pub(super) struct Whole {
    pub(super) row: u64,
    pub(super) ssn: u16,
    pub(super) ppid: u32,
    /// Empty if the message was longer than the limit.
    pub(super) data: Bytes,
    /// Pieces and bytes it was made of.
    pub(super) pieces: usize,
    pub(super) bytes: usize,
}

/// The pieces of one stream that wait for others, in order. Filled by the peer; the receive window
/// bounds them.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    pieces: VecDeque<Piece>,
}

impl Fragments {
    #[cfg(test)]
    fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Adds a piece that is not there yet; returns the message it completes. One longer than
    /// `limit` bytes comes out empty.
    pub(super) fn insert(&mut self, piece: Piece, limit: usize) -> Option<Whole> {
        let last = self.pieces.back().is_none_or(|last| last.key < piece.key);
        let at = if last {
            self.pieces.len()
        } else {
            let at = self.pieces.partition_point(|known| known.key < piece.key);
            if self
                .pieces
                .get(at)
                .is_some_and(|known| known.key == piece.key)
            {
                return None;
            }
            at
        };
        let completes = !last || piece.end;
        self.pieces.insert(at, piece);
        if !completes {
            return None;
        }
        let (from, to) = self.bounds(at)?;
        Some(self.join(from, to, limit))
    }

    /// Whether there is a piece with this key.
    pub(super) fn has(&self, key: Key) -> bool {
        self.pieces
            .binary_search_by_key(&key, |piece| piece.key)
            .is_ok()
    }

    /// Drops the pieces that follow each other from this key on and belong to the message before.
    pub(super) fn discard_run(&mut self, mut key: Key) -> (usize, usize) {
        let from = self.pieces.partition_point(|piece| piece.key < key);
        let mut to = from;
        let mut bytes = 0;
        while let Some(piece) = self.pieces.get(to).filter(|p| p.key == key && !p.begin) {
            bytes += piece.data.len();
            key.place += 1;
            to += 1;
        }
        self.pieces.drain(from..to);
        (to - from, bytes)
    }

    /// Drops the piece with this key and those of its message before it.
    pub(super) fn discard_message(&mut self, key: Key) -> (usize, usize) {
        let Ok(at) = self.pieces.binary_search_by_key(&key, |piece| piece.key) else {
            return (0, 0);
        };
        let mut from = at;
        while from > 0 && !self.pieces[from].begin {
            let (before, piece) = (self.pieces[from - 1].key, self.pieces[from].key);
            if before.row != piece.row || before.place + 1 != piece.place {
                break;
            }
            from -= 1;
        }
        let bytes = self
            .pieces
            .drain(from..=at)
            .map(|piece| piece.data.len())
            .sum();
        (at + 1 - from, bytes)
    }

    /// The first and last piece of the whole message around `at`.
    fn bounds(&self, at: usize) -> Option<(usize, usize)> {
        let follows = |n: usize| {
            let (before, after) = (&self.pieces[n], &self.pieces[n + 1]);
            before.key.row == after.key.row && before.key.place + 1 == after.key.place
        };
        let mut to = at;
        while !self.pieces[to].end {
            if to + 1 >= self.pieces.len() || !follows(to) || self.pieces[to + 1].begin {
                return None;
            }
            to += 1;
        }
        let mut from = at;
        while !self.pieces[from].begin {
            if from == 0 || !follows(from - 1) || self.pieces[from - 1].end {
                return None;
            }
            from -= 1;
        }
        Some((from, to))
    }

    fn join(&mut self, from: usize, to: usize, limit: usize) -> Whole {
        let count = to + 1 - from;
        let bytes = self.pieces.range(from..=to).map(|p| p.data.len()).sum();
        let first = &self.pieces[from];
        let mut whole = Whole {
            row: first.key.row,
            ssn: first.ssn,
            ppid: first.ppid,
            data: Bytes::new(),
            pieces: count,
            bytes,
        };
        let mut joined = BytesMut::with_capacity(if bytes <= limit { bytes } else { 0 });
        for piece in self.pieces.drain(from..=to) {
            if bytes <= limit {
                joined.extend_from_slice(&piece.data);
            }
        }
        whole.data = joined.freeze();
        whole
    }

    /// Drops what will never be whole: `dead` tells by key. Returns the pieces and bytes of it.
    pub(super) fn discard(&mut self, dead: impl Fn(Key) -> bool) -> (usize, usize) {
        let before = self.pieces.len();
        let mut bytes = 0;
        self.pieces.retain(|piece| {
            let dead = dead(piece.key);
            if dead {
                bytes += piece.data.len();
            }
            !dead
        });
        (before - self.pieces.len(), bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn piece(row: u64, place: u64, (begin, end): (bool, bool), data: &'static [u8]) -> Piece {
        Piece {
            key: Key { row, place },
            begin,
            end,
            ssn: 0,
            ppid: 53,
            data: Bytes::from_static(data),
        }
    }

    #[test]
    fn neighbours_of_another_message_are_left_alone() {
        let mut fragments = Fragments::default();
        assert!(
            fragments
                .insert(piece(0, 3, (false, true), b"c"), 99)
                .is_none()
        );
        assert!(
            fragments
                .insert(piece(0, 4, (true, false), b"x"), 99)
                .is_none()
        );
        assert!(
            fragments
                .insert(piece(0, 1, (true, false), b"a"), 99)
                .is_none()
        );
        let whole = fragments.insert(piece(0, 2, (false, false), b"b"), 99);
        assert_eq!(
            whole.map(|whole| whole.data),
            Some(Bytes::from_static(b"abc"))
        );
        assert!(!fragments.is_empty());
        assert_eq!(fragments.discard(|key| key.place <= 4), (1, 1));
        assert!(fragments.is_empty());
    }

    #[test]
    fn too_long_a_message_comes_out_empty() {
        let mut fragments = Fragments::default();
        fragments.insert(piece(0, 1, (true, false), b"abc"), 5);
        let whole = fragments.insert(piece(0, 2, (false, true), b"def"), 5);
        let whole = whole.expect("complete");
        assert_eq!((whole.data.len(), whole.bytes, whole.pieces), (0, 6, 2));
    }

    proptest! {
        #[test]
        fn in_any_order(order in Just((0_u64..12).collect::<Vec<_>>()).prop_shuffle()) {
            let mut fragments = Fragments::default();
            let mut got = Vec::new();
            for n in order {
                // Three messages of four pieces, the last two in rows of their own.
                let (message, place) = (n / 4, n % 4);
                let (row, place) = if message == 0 { (0, place + 7) } else { (message, place) };
                let ends = (n % 4 == 0, n % 4 == 3);
                let whole = fragments.insert(piece(row, place, ends, b"z"), 99);
                got.extend(whole.map(|whole| (whole.row, whole.data.len())));
            }
            got.sort_unstable();
            prop_assert_eq!(got, [(0, 4), (1, 4), (2, 4)]);
            prop_assert!(fragments.is_empty());
        }
    }
}
