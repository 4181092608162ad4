//! Receive buffers that are reused, and the batches made of them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use peerloom_transports_proto::id::Path;

/// Bytes of one receive buffer: a whole GRO batch (64 datagrams, at most 64 KiB).
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;

/// Buffers a receive loop keeps for reuse: 2 MiB at most. Filled by the loop;
/// when consumers hold them all, the oldest is replaced by a fresh one.
pub(crate) const POOL_BUFFERS: usize = 32;

pub(crate) type Buffer = Arc<[u8]>;

/// Datagrams of one connection from one wake-up of its socket.
#[derive(Debug, Default)]
pub struct Datagrams {
    runs: Vec<Run>,
}

impl Datagrams {
    pub(crate) fn push(&mut self, run: Run) {
        self.runs.push(run);
    }

    /// The runs, each from one 5-tuple, in order of arrival.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Number of datagrams.
    pub fn len(&self) -> usize {
        self.runs.iter().map(Run::len).sum()
    }

    /// Whether there is no datagram.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }
}

/// Datagrams that arrived together on one 5-tuple: a pooled buffer and how it is
/// cut. All are `stride` bytes long but the last, which may be shorter.
#[derive(Debug)]
pub struct Run {
    path: Path,
    buffer: Buffer,
    range: Range<usize>,
    stride: usize,
}

impl Run {
    pub(crate) fn new(path: Path, buffer: Buffer, range: Range<usize>, stride: usize) -> Run {
        Run {
            path,
            buffer,
            range,
            stride: stride.max(1),
        }
    }

    /// The 5-tuple, seen from here.
    pub fn path(&self) -> Path {
        self.path
    }

    /// Number of datagrams.
    pub fn len(&self) -> usize {
        self.range.len().div_ceil(self.stride)
    }

    /// Whether there is no datagram.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The datagrams one by one.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.buffer[self.range.clone()].chunks(self.stride)
    }
}

/// The buffers of one receive loop.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    buffers: VecDeque<Buffer>,
}

impl Pool {
    /// A buffer nobody else holds.
    pub(crate) fn take(&mut self) -> Buffer {
        for _ in 0..self.buffers.len() {
            let Some(mut buffer) = self.buffers.pop_front() else {
                break;
            };
            if Arc::get_mut(&mut buffer).is_some() {
                return buffer;
            }
            self.buffers.push_back(buffer);
        }
        fresh()
    }

    /// Keeps a buffer (perhaps still held by consumers) for later reuse.
    pub(crate) fn give(&mut self, buffer: Buffer) {
        if self.buffers.len() >= POOL_BUFFERS {
            self.buffers.pop_front();
        }
        self.buffers.push_back(buffer);
    }
}

fn fresh() -> Buffer {
    Arc::from(vec![0; BUFFER_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_held_buffer_is_not_handed_out_again() {
        let mut pool = Pool::default();
        let first = pool.take();
        let held = first.clone();
        pool.give(first);
        let second = pool.take();
        assert!(!Arc::ptr_eq(&held, &second));
        pool.give(second);
        drop(held);
        for _ in 0..3 * POOL_BUFFERS {
            let buffer = pool.take();
            pool.give(buffer);
        }
        assert!(pool.buffers.len() <= POOL_BUFFERS);
    }

    #[test]
    fn the_pool_stays_bounded_while_everything_is_held() {
        let mut pool = Pool::default();
        let mut held = Vec::new();
        for _ in 0..2 * POOL_BUFFERS {
            let buffer = pool.take();
            held.push(buffer.clone());
            pool.give(buffer);
        }
        assert_eq!(pool.buffers.len(), POOL_BUFFERS);
    }

    #[test]
    fn runs_are_cut_at_the_stride() {
        let addr = "127.0.0.1:1".parse().expect("an address");
        let path = Path {
            local: addr,
            remote: addr,
        };
        let run = Run::new(path, Arc::from(vec![1u8; 10]), 0..10, 4);
        let lens: Vec<usize> = run.datagrams().map(<[u8]>::len).collect();
        assert_eq!((run.len(), lens), (3, vec![4, 4, 2]));
    }
}
