//! What a channel publishes: events, state, counters.

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
