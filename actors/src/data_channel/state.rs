//! What a channel publishes: events, state, counters.

use std::sync::atomic::{AtomicU64, Ordering};

use super::message::{Message, ReadyState};
use crate::cause::Cause;

/// What happens to a channel.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Event {
    /// Messages can be sent.
    Open,
    /// `buffered_amount` fell to the threshold or below it.
    BufferedAmountLow,
    /// The channel ends with an error; [`Event::Close`] follows.
    Error(Cause),
    /// The peer, or this side, has begun to close.
    Closing,
    /// The channel is over.
    Close,
    /// This listener was too slow and missed so many events.
    Missed(u64),
}

/// The published state of a channel.
#[derive(Debug, Clone)]
pub(crate) struct State {
    pub(crate) ready: ReadyState,
    pub(crate) cause: Option<Cause>,
}

/// Why a message was not taken.
#[derive(Debug)]
pub(crate) enum NotSent {
    /// Not open yet.
    Connecting(Message),
    Full(Message),
    Closed,
    TooLong {
        len: usize,
        max: usize,
    },
}

/// What the channel has moved so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counters {
    pub(crate) messages_sent: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) messages_received: u64,
    pub(crate) bytes_received: u64,
}

/// How many channels of one connection have become open, and have been.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    opened: AtomicU64,
    closed: AtomicU64,
}

impl Lives {
    pub(super) fn begin(&self) {
        self.opened.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn end(&self) {
        self.closed.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    pub(crate) fn closed(&self) -> u64 {
        self.closed.load(Ordering::Relaxed)
    }
}
