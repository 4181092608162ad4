//! SCTP over DTLS (RFC 8261) with stream reset (RFC 6525) and partial reliability (RFC 3758).
//!
//! Two engines are behind the same calls, and [`crate::config::SctpEngine`] chooses: `packaged` is
//! the `rtc-sctp` crate with what it needs around it, `native` is our own. They are tested against
//! each other.
//!
//! Unread messages stay in the engine and close the window; nothing is dropped after it was
//! acknowledged.
//!
//! Order: [`Association::new`] when DTLS is connected. After each input drain
//! [`Association::poll_event`], **read** what is readable, then drain
//! [`Association::poll_transmit`] into DTLS, then arm [`Association::poll_timeout`].

mod association;
mod cause;
mod native;
mod packaged;
#[cfg(test)]
mod tests;

use crate::error::EngineFault;
use crate::id::StreamId;

pub use association::{Association, MAX_QUEUED_PACKETS, MAX_UNREAD_CHUNKS, Stats};
pub use cause::ErrorCause;
pub use packaged::{MAX_OPEN_RESETS, MAX_TSN_JUMP};

/// Largest SCTP packet that every path carries: 1280 bytes of IPv6 less headers of IPv6, UDP, TURN
/// and DTLS, which is also the packaged engine's.
pub const MAX_PACKET: usize = 1191;

/// Largest SCTP packet of all, where path MTU discovery finds that it arrives
/// (`SctpConfig::max_packet`): 1,452 bytes of UDP, as much as 1,500 of IPv6 carry, less the 37 of
/// DTLS 1.2.
pub const LONGEST_PACKET: usize = 1412;

/// Payload protocol identifiers of WebRTC (RFC 8831 §8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ppid {
    /// 50: DCEP.
    Dcep,
    /// 51: text.
    Text,
    /// 53: binary.
    Binary,
    /// 56: empty text, one zero byte on the wire.
    TextEmpty,
    /// 57: empty binary, one zero byte on the wire.
    BinaryEmpty,
    /// Anything else; its number is not known.
    Other,
}

impl Ppid {
    /// Its number; that of binary data for anything else.
    pub(crate) fn number(self) -> u32 {
        match self {
            Ppid::Dcep => 50,
            Ppid::Text => 51,
            Ppid::Binary | Ppid::Other => 53,
            Ppid::TextEmpty => 56,
            Ppid::BinaryEmpty => 57,
        }
    }

    pub(crate) fn from_number(number: u32) -> Self {
        match number {
            50 => Ppid::Dcep,
            51 => Ppid::Text,
            53 => Ppid::Binary,
            56 => Ppid::TextEmpty,
            57 => Ppid::BinaryEmpty,
            _ => Ppid::Other,
        }
    }
}

/// How hard to try (RFC 3758, RFC 7496).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Reliability {
    /// Until it arrives.
    #[default]
    Reliable,
    /// Retransmit at most so often.
    MaxRetransmits(u16),
    /// Give up after so many milliseconds.
    MaxLifetime(u16),
}

/// A message as it leaves or arrives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// What it is.
    pub ppid: Ppid,
    /// Its bytes, never empty on the wire.
    pub data: bytes::Bytes,
}

/// Why [`Association::poll_timeout`] wants a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// A retransmission or a delayed acknowledgement.
    Protocol,
    /// Packets wait for the pacer: poll for transmits again.
    Pace,
}

/// What the association reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The handshake is complete; streams can be used.
    Connected,
    /// The stream has messages to [`Association::read`]; reported once until it is read empty.
    Readable(StreamId),
    /// So many bytes written to the stream were acknowledged or given up.
    Released {
        /// Which stream.
        stream: StreamId,
        /// How many bytes.
        bytes: usize,
    },
    /// The stream was reset in both directions: its id is free.
    Reset(StreamId),
    /// The association has ended.
    Closed(CloseReason),
}

/// Why an association ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer shut down (RFC 9260 §9.2).
    #[error("the peer closed the SCTP association")]
    Peer,
    /// The peer sent an ABORT (RFC 9260 §9.1) with this as its first cause, or without any.
    #[error("the peer aborted the SCTP association: {}", told(*.0))]
    Aborted(Option<ErrorCause>),
    /// The handshake had no answer.
    #[error("the SCTP handshake was not answered")]
    Handshake,
    /// The peer broke the protocol.
    #[error("the peer violated the SCTP protocol")]
    Protocol,
    /// [`Association::abort`].
    #[error("closed")]
    Local,
    /// The packaged engine panicked.
    #[error(transparent)]
    Fault(EngineFault),
}

impl CloseReason {
    /// Whether the peer has ended it, for whatever cause.
    pub fn is_by_peer(self) -> bool {
        matches!(self, Self::Peer | Self::Aborted(_))
    }
}

fn told(cause: Option<ErrorCause>) -> String {
    cause.map_or_else(|| "no cause given".to_owned(), |cause| cause.to_string())
}

/// Why a call had no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not connected, or closed.
    #[error("the SCTP association is not connected")]
    NotConnected,
    /// The stream id is beyond what was negotiated (RFC 8831 §6.2).
    #[error("stream {0} is beyond the number of streams of this association")]
    Stream(StreamId),
    /// The stream is being reset.
    #[error("stream {0} is closing")]
    Closing(StreamId),
    /// Empty, or longer than the engine's limit.
    #[error("a message of {0} bytes cannot be sent in one piece")]
    Length(usize),
    /// The packaged engine panicked.
    #[error(transparent)]
    Fault(#[from] EngineFault),
}
