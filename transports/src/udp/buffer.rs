//! Receive buffers that are reused, and the batches made of them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use peerloom_transports_proto::id::Path;

/// Bytes of one receive buffer: a whole GRO batch (64 datagrams, at most 64 KiB).
pub(crate) const BUFFER_BYTES: usize = 64 * 1024;

/// Buffers a thread keeps for reuse: 2 MiB at most. Filled by its receive loops;
/// when consumers hold them all, the oldest is replaced by a fresh one.
pub(crate) const POOL_BUFFERS: usize = 32;

/// Longest run that is copied out of its receive buffer: it would keep 16 times its length
/// from being reused. Copying as much costs less than a cache miss or two.
pub(crate) const COPIED_RUN: usize = BUFFER_BYTES / 16;

pub(crate) type Buffer = Arc<[u8]>;

/// Datagrams of one connection from one wake-up of its socket.
#[derive(Debug, Default)]
pub struct Datagrams {
    cuts: Vec<Cut>,
    /// What was copied, one run after the other.
    copied: Vec<u8>,
}

/// Where the bytes of a run are.
#[derive(Debug)]
struct Cut {
    path: Path,
    /// `None` for what was copied.
    buffer: Option<Buffer>,
    range: Range<usize>,
    stride: usize,
}

impl Datagrams {
    /// Adds a part of a receive buffer: datagrams of `stride` bytes, the last perhaps shorter.
    pub(crate) fn push(&mut self, path: Path, from: &Buffer, range: Range<usize>, stride: usize) {
        let stride = stride.max(1);
        let (buffer, range) = if range.len() <= COPIED_RUN {
            let start = self.copied.len();
            self.copied.extend_from_slice(&from[range]);
            (None, start..self.copied.len())
        } else {
            (Some(from.clone()), range)
        };
        self.cuts.push(Cut {
            path,
            buffer,
            range,
            stride,
        });
    }

    /// Adds a copy of one datagram; equal ones in a row become one run.
    pub(crate) fn push_copy(&mut self, path: Path, datagram: &[u8]) {
        let start = self.copied.len();
        self.copied.extend_from_slice(datagram);
        let end = self.copied.len();
        if let Some(last) = self.cuts.last_mut() {
            let joins = last.buffer.is_none() && last.path == path && last.range.end == start;
            let whole = last.range.len() % last.stride == 0;
            if joins && whole && datagram.len() <= last.stride && !datagram.is_empty() {
                last.range.end = end;
                return;
            }
        }
        self.cuts.push(Cut {
            path,
            buffer: None,
            range: start..end,
            stride: datagram.len().max(1),
        });
    }

    /// The runs, each from one 5-tuple, in order of arrival.
    pub fn runs(&self) -> impl Iterator<Item = Run<'_>> {
        self.cuts.iter().map(|cut| Run {
            path: cut.path,
            bytes: &cut.buffer.as_deref().unwrap_or(&self.copied)[cut.range.clone()],
            stride: cut.stride,
        })
    }

    /// Number of datagrams.
    pub fn len(&self) -> usize {
        self.runs().map(|run| run.len()).sum()
    }

    /// Bytes of memory that are held as long as this batch is, at most.
    pub fn memory(&self) -> usize {
        let held = self.cuts.iter().filter(|cut| cut.buffer.is_some());
        self.copied.capacity() + held.count() * BUFFER_BYTES
    }

    /// Whether there is no datagram.
    pub fn is_empty(&self) -> bool {
        self.cuts.is_empty()
    }
}

/// Datagrams that arrived together on one 5-tuple. All are `stride` bytes long but the last,
/// which may be shorter.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    path: Path,
    bytes: &'a [u8],
    stride: usize,
}

impl<'a> Run<'a> {
    /// The 5-tuple, seen from here.
    pub fn path(&self) -> Path {
        self.path
    }

    /// Number of datagrams.
    pub fn len(&self) -> usize {
        self.bytes.len().div_ceil(self.stride)
    }

    /// Whether there is no datagram.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The datagrams one by one.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.bytes.chunks(self.stride)
    }
}

/// The buffers of one thread's receive loops.
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
        let mut batch = Datagrams::default();
        batch.push(path(), &Arc::from(vec![1u8; 10]), 0..10, 4);
        let lens: Vec<usize> = batch
            .runs()
            .flat_map(|run| run.datagrams())
            .map(<[u8]>::len)
            .collect();
        assert_eq!((batch.len(), lens), (3, vec![4, 4, 2]));
    }

    #[test]
    fn small_runs_hold_no_receive_buffer() {
        let buffer: Buffer = (0..BUFFER_BYTES).map(|n| n as u8).collect();
        let mut batch = Datagrams::default();
        let mut expected = Vec::new();
        for start in 0..100 {
            batch.push(path(), &buffer, start..start + 60, 60);
            expected.push(buffer[start..start + 60].to_vec());
        }
        assert_eq!(Arc::strong_count(&buffer), 1);
        assert!(batch.memory() < 2 * 100 * 60, "{}", batch.memory());
        batch.push(path(), &buffer, 0..COPIED_RUN + 1, 1200);
        expected.extend(buffer[..=COPIED_RUN].chunks(1200).map(<[u8]>::to_vec));
        assert_eq!(Arc::strong_count(&buffer), 2);
        assert!(batch.memory() >= BUFFER_BYTES);
        let seen = batch.runs().flat_map(|run| run.datagrams());
        assert!(seen.eq(expected.iter().map(Vec::as_slice)));
    }

    fn path() -> Path {
        let addr = "127.0.0.1:1".parse().expect("an address");
        Path::new(addr, addr)
    }
}
