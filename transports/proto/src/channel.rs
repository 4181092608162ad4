//! Data channels (RFC 8831) and their establishment protocol DCEP (RFC 8832) over one SCTP
//! association, which every call that needs it is given.
//!
//! * Outgoing messages wait here, per channel and bounded, and are handed to SCTP as its window
//!   takes them: round robin, weighted by priority (RFC 8831 §6.4).
//! * Incoming messages stay in SCTP until the channel has credit ([`Channels::grant`]): a slow
//!   consumer closes the window and loses nothing.
//! * Between Peerloom peers, messages beyond the peer's `a=max-message-size` travel in parts (see
//!   `parts.rs`); towards others they are refused with [`SendError::TooLarge`].
//!
//! Order: [`Channels::new`]; [`Channels::open`] at any time; [`Channels::start`] when the DTLS
//! role is known. After every input to the association or to the channels call
//! [`Channels::pump`], drain [`Channels::poll_event`], then the association's packets. `pump` takes
//! all events of the association.

mod channels;
mod convert;
mod dcep;
mod parts;
mod receive;
mod schedule;
mod state;
mod streams;
#[cfg(test)]
mod tests;

use bytes::Bytes;

use crate::id::{ChannelId, StreamId};
use crate::sctp::CloseReason;

pub use crate::sctp::Reliability;
pub use channels::Channels;
pub use dcep::{DcepError, DcepMessage, Open};
pub use parts::{Part, PartsError, Reassembly};
pub use receive::{MAX_EARLY_MESSAGES, MAX_REMOTE_NAMES};
pub use streams::Streams;

/// Credit a channel has at first: bytes of messages it may deliver before [`Channels::grant`].
pub const INITIAL_CREDIT: usize = 1024 * 1024;

/// What a message costs beside its bytes, so that a flood of empty ones is bounded too.
pub const MESSAGE_OVERHEAD: usize = 64;

/// A message as applications see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Bytes),
}

impl Message {
    /// Length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it takes of a channel's credit, and what to [`Channels::grant`] when the consumer has
    /// taken it.
    pub fn cost(&self) -> usize {
        self.len() + MESSAGE_OVERHEAD
    }
}

/// Share of the association while several channels have something to send (RFC 8831 §6.4,
/// `RTCPriorityType`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Weight 128: "below normal" of RFC 8831.
    VeryLow,
    /// Weight 256: "normal", the default.
    #[default]
    Low,
    /// Weight 512: "high".
    Medium,
    /// Weight 1024: "extra high".
    High,
}

impl Priority {
    /// Its number in DCEP.
    pub fn weight(self) -> u16 {
        match self {
            Priority::VeryLow => 128,
            Priority::Low => 256,
            Priority::Medium => 512,
            Priority::High => 1024,
        }
    }

    /// From the number in DCEP, rounded up.
    pub fn from_weight(weight: u16) -> Self {
        match weight {
            0..=128 => Priority::VeryLow,
            129..=256 => Priority::Low,
            257..=512 => Priority::Medium,
            513.. => Priority::High,
        }
    }
}

/// What a channel is (`RTCDataChannelInit`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelInit {
    /// Its name, at most 65,535 bytes; need not be unique.
    pub label: String,
    /// Its subprotocol, at most 65,535 bytes.
    pub protocol: String,
    /// Whether messages arrive in the order they were sent.
    pub ordered: bool,
    /// How hard to try.
    pub reliability: Reliability,
    /// Its share.
    pub priority: Priority,
    /// Opened by both applications with this id, without DCEP.
    pub negotiated: Option<StreamId>,
}

impl Default for ChannelInit {
    fn default() -> Self {
        Self {
            label: String::new(),
            protocol: String::new(),
            ordered: true,
            reliability: Reliability::Reliable,
            priority: Priority::default(),
            negotiated: None,
        }
    }
}

/// `RTCDataChannelState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// The association is not up yet.
    Connecting,
    /// Messages can be sent.
    Open,
    /// Being closed; what was sent before still goes out.
    Closing,
    /// Gone.
    Closed,
}

/// Why [`Channels::poll_timeout`] wants a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// A channel is being closed and the peer has not closed its side.
    Closing,
}

/// What the channels report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A channel of ours can be used.
    Opened(ChannelId),
    /// The peer has opened a channel; it is open. See [`Channels::init`].
    Accepted(ChannelId),
    /// Messages, in order of arrival.
    Messages {
        /// On which channel.
        channel: ChannelId,
        /// At least one.
        messages: Vec<Message>,
    },
    /// The buffered amount has fallen to the threshold.
    BufferedAmountLow(ChannelId),
    /// A [`Channels::send`] that was refused as [`SendError::Full`] may succeed now.
    Writable(ChannelId),
    /// The peer is closing the channel.
    Closing(ChannelId),
    /// The channel is gone and its stream id free.
    Closed {
        /// Which channel.
        channel: ChannelId,
        /// Why, unless one of the applications closed it.
        cause: Option<CloseCause>,
    },
    /// The association has ended, and with it all channels.
    AssociationClosed(CloseReason),
}

/// Why a channel ended without being closed by an application.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseCause {
    /// The association ended.
    #[error("the SCTP association ended: {0}")]
    Association(CloseReason),
    /// No stream id was left, or the negotiated one is beyond the association's streams.
    #[error("no stream id is available")]
    NoStream,
    /// The peer broke the protocol on this channel.
    #[error("the peer violated the data channel protocol: {0}")]
    Protocol(&'static str),
}

/// Why a channel was not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The label or protocol has more than 65,535 bytes.
    #[error("label and protocol may have at most 65535 bytes each")]
    NameTooLong,
    /// Another channel has this id.
    #[error("a data channel with id {0} exists")]
    IdInUse(StreamId),
    /// 65535 is not an id: so many streams there are at most (RFC 8831 §6.2).
    #[error("{0} is not a valid data channel id")]
    BadId(StreamId),
    /// `ChannelConfig::max_channels`.
    #[error("too many data channels")]
    TooMany,
    /// The association has ended.
    #[error("the SCTP association is closed")]
    Closed,
}

/// Why a message was not sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The channel is not open.
    #[error("the data channel is not open")]
    NotOpen,
    /// The peer does not take messages this long, and is no Peerloom peer that takes parts.
    #[error("the message has {len} bytes; the peer accepts at most {max}")]
    TooLarge {
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// The channel's buffer is full; [`Event::Writable`] will say when to try again.
    #[error("the data channel's send buffer is full")]
    Full(Message),
}
