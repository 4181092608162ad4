//! A chunk that was sent, and what is known of it.

use std::time::Instant;

use bytes::Bytes;

use super::super::wire::flag;
use super::congestion::Snapshot;

/// How long a message is worth sending (RFC 3758 §3.5, RFC 7496).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Limit {
    /// Given up when lost after so many transmissions; `None` for never.
    pub(in super::super) transmissions: Option<u32>,
    /// Given up after this instant.
    pub(in super::super) expires: Option<Instant>,
}

impl Limit {
    /// Until it arrives.
    pub(in super::super) const RELIABLE: Self = Self {
        transmissions: None,
        expires: None,
    };

    pub(super) fn is_over(self, now: Instant) -> bool {
        self.expires.is_some_and(|at| at < now)
    }
}

/// A piece of a message, or all of it.
#[derive(Clone, Debug)]
pub(in super::super) struct Chunk {
    pub(in super::super) data: Bytes,
    pub(in super::super) stream: u16,
    /// SSN or MID.
    pub(in super::super) number: u32,
    pub(in super::super) fsn: u32,
    pub(in super::super) flags: u8,
    pub(in super::super) ppid: u32,
    /// The message it belongs to, unique in this association.
    pub(super) message: u64,
    pub(super) limit: Limit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum State {
    /// On its way.
    InFlight,
    /// To be sent again.
    Lost,
    /// In a gap block.
    Acked,
    /// Given up (RFC 3758 §3.5).
    Abandoned,
}

#[derive(Debug)]
pub(in super::super) struct Slot {
    pub(in super::super) chunk: Chunk,
    pub(in super::super) state: State,
    /// Its bytes were reported as released.
    pub(super) released: bool,
    /// It made its packet longer than the base.
    pub(super) beyond_base: bool,
    /// How it was when it left.
    pub(super) sent: Snapshot,
    /// Place in the order of all transmissions.
    pub(super) order: u64,
    pub(super) transmissions: u32,
}

/// What an acknowledgement told that was not known.
#[derive(Debug, Default)]
pub(super) struct Acked {
    pub(super) bytes: usize,
    /// The transmission that was the last to leave among those acknowledged: its place, when, and
    /// whether the chunk was sent only once.
    pub(super) newest: Option<(u64, Snapshot, bool)>,
    /// Something sent only once arrived after something that was sent later.
    pub(super) reordered: bool,
}

impl Slot {
    /// Whether the message is over by its limit, now that the chunk is lost.
    pub(super) fn is_over(&self, now: Instant) -> bool {
        let limit = self.chunk.limit;
        limit.is_over(now) || limit.transmissions.is_some_and(|n| self.transmissions >= n)
    }

    /// Whether the chunk is outside the order of its stream.
    pub(super) fn is_unordered(&self) -> bool {
        self.chunk.flags & flag::UNORDERED != 0
    }
}
