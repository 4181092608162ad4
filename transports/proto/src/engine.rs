//! The contract between engines and whoever drives them.
//!
//! An engine is a struct without socket, clock, task or lock. Its driver does, in this order:
//!
//! 1. give it **one** input: a `handle_*(input, now)`, a command, or `handle_timeout(now)`;
//! 2. drain it: `poll_event()` until `None`, then `poll_transmit()` until `None`. Events come
//!    first because reading what has arrived opens the receive window that the packets
//!    drained next will advertise;
//! 3. arm one timer with `poll_timeout()`, which tells the instant *and the reason*.
//!
//! `now` never goes backwards. Getters take `&self` and may be called at any time.
//! An engine never panics on what a remote peer sent, and bounds all that it keeps: each queue
//! has a named constant that says who fills it and what happens on overflow.
//!
//! Inputs, outputs, timers and errors are closed enums of the layer (`ice::Event`,
//! `dtls::Timer`, …); there is no type for two roles.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use crate::id::Path;

/// Most datagrams in one [`Transmit`]: `UDP_MAX_SEGMENTS` of Linux, and what quinn-udp uses.
pub const MAX_SEGMENTS: usize = 64;

/// Most bytes in one [`Transmit`]: a GSO send is one IP payload to the kernel (65,535 bytes
/// less headers), with room to spare for IPv6 and extension headers.
pub const MAX_BATCH: usize = 60 * 1024;

/// Datagrams for one path: `contents` is N datagrams of `segment_size` bytes each, of which
/// only the last may be shorter. Made for UDP generic segmentation offload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transmit {
    /// From where to where.
    pub path: Path,
    /// The datagrams, one behind the other.
    pub contents: Bytes,
    /// Length of each datagram but the last.
    pub segment_size: usize,
}

impl Transmit {
    /// A batch of one datagram.
    pub fn single(path: Path, contents: Bytes) -> Self {
        let segment_size = contents.len().max(1);
        Self {
            path,
            contents,
            segment_size,
        }
    }

    /// The datagrams one by one.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.contents.chunks(self.segment_size.max(1))
    }

    /// How many datagrams there are.
    pub fn datagram_count(&self) -> usize {
        self.contents.len().div_ceil(self.segment_size.max(1))
    }
}

/// When an engine wants `handle_timeout` called, and why. `T` is the layer's closed `Timer`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline<T> {
    /// Not before this instant.
    pub at: Instant,
    /// Which timer of the layer it is.
    pub reason: T,
}

impl<T> Deadline<T> {
    /// A deadline at `at` because of `reason`.
    pub fn new(at: Instant, reason: T) -> Self {
        Self { at, reason }
    }

    /// The same instant, its reason put into the words of the layer above.
    pub fn map<U>(self, f: impl FnOnce(T) -> U) -> Deadline<U> {
        Deadline {
            at: self.at,
            reason: f(self.reason),
        }
    }

    /// The earlier of two optional deadlines.
    pub fn earlier(a: Option<Self>, b: Option<Self>) -> Option<Self> {
        match (a, b) {
            (Some(a), Some(b)) => Some(if b.at < a.at { b } else { a }),
            (a, b) => a.or(b),
        }
    }
}

/// Packs equal-sized datagrams into one buffer, so that a whole window leaves in one system
/// call and without an allocation per packet.
///
/// A datagram longer than the first one, or any datagram after a shorter one, does not fit:
/// [`Batch::push`] says so, and the caller starts the next batch with it.
#[derive(Debug, Default)]
pub struct Batch {
    buffer: BytesMut,
    segment_size: usize,
    count: usize,
    closed: bool,
}

impl Batch {
    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether a datagram of `len` bytes can still be added.
    pub fn fits(&self, len: usize) -> bool {
        if self.count == 0 {
            return true;
        }
        !self.closed
            && len <= self.segment_size
            && self.count < MAX_SEGMENTS
            && self.buffer.len() + len <= MAX_BATCH
    }

    /// Adds a datagram, or returns `false` when it must start the next batch.
    #[must_use]
    pub fn push(&mut self, datagram: &[u8]) -> bool {
        let fits = self.fits(datagram.len());
        if fits {
            self.count_in(datagram.len());
            self.buffer.extend_from_slice(datagram);
        }
        fits
    }

    /// Adds a datagram of `len` zeros, to be written in place; `None` when it must start the next
    /// batch.
    pub fn push_zeroed(&mut self, len: usize) -> Option<&mut [u8]> {
        if !self.fits(len) {
            return None;
        }
        self.count_in(len);
        let start = self.buffer.len();
        self.buffer.resize(start + len, 0);
        self.buffer.get_mut(start..)
    }

    fn count_in(&mut self, len: usize) {
        match self.count {
            0 => self.segment_size = len,
            1 => self.buffer.reserve(MAX_BATCH), // more than one: likely many
            _ => {}
        }
        self.closed = len < self.segment_size;
        self.count += 1;
    }

    /// Takes what was packed; the batch is empty afterwards.
    pub fn take(&mut self) -> Option<(Bytes, usize)> {
        if self.count == 0 {
            return None;
        }
        let contents = self.buffer.split().freeze();
        if self.count == 1 {
            // Little is going on: nothing is held for more.
            self.buffer = BytesMut::new();
        }
        let segment_size = self.segment_size;
        self.count = 0;
        self.closed = false;
        self.segment_size = 0;
        Some((contents, segment_size))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batch_closes_after_a_short_datagram() {
        let mut batch = Batch::default();
        assert!(batch.push(&[1; 100]));
        assert!(batch.push(&[2; 100]));
        assert!(batch.push(&[3; 40]));
        assert!(!batch.push(&[4; 40]));
        let (contents, size) = batch.take().expect("three datagrams");
        assert_eq!((contents.len(), size), (240, 100));
        assert!(batch.take().is_none());
    }

    #[test]
    fn batch_refuses_a_longer_datagram_and_too_many() {
        let mut batch = Batch::default();
        assert!(batch.push(&[1; 100]));
        assert!(!batch.push(&[1; 101]));
        for _ in 1..MAX_SEGMENTS {
            assert!(batch.push(&[1; 100]));
        }
        assert!(!batch.push(&[1; 100]));
    }

    #[test]
    fn batch_stays_below_the_gso_limit() {
        let mut batch = Batch::default();
        while batch.push(&[0; 1200]) {}
        let (contents, _) = batch.take().expect("datagrams");
        assert!(contents.len() <= MAX_BATCH);
        assert!(contents.len() > MAX_BATCH - 1200);
    }
}
