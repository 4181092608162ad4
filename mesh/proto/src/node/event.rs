//! What the application learns from a node.

use bytes::Bytes;

use super::io::{CloseCause, DownCause, LinkId};
use crate::id::{MessageId, PeerId, RoomId};

/// What the application learns.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A member of a room appeared, or appeared again.
    Joined {
        /// The room.
        room: RoomId,
        /// The member.
        peer: PeerId,
    },
    /// A member's presence changed (nick, addresses, capabilities).
    Updated {
        /// The room.
        room: RoomId,
        /// The member.
        peer: PeerId,
    },
    /// A member said it leaves.
    Left {
        /// The room.
        room: RoomId,
        /// The member.
        peer: PeerId,
    },
    /// A member is said to be dead and may still object.
    Suspected {
        /// The room.
        room: RoomId,
        /// The member.
        peer: PeerId,
    },
    /// A suspected member objected: it lives.
    Refuted {
        /// The room.
        room: RoomId,
        /// The member.
        peer: PeerId,
    },
    /// A member is dead, has not been heard of for too long, or made room in a
    /// full roster.
    Died {
        /// The room.
        room: RoomId,
        /// The member.
        peer: PeerId,
    },
    /// An authenticated link carries frames.
    LinkUp {
        /// The link.
        link: LinkId,
        /// The room.
        room: RoomId,
        /// The other side.
        peer: PeerId,
    },
    /// A link that was up is gone.
    LinkDown {
        /// The link.
        link: LinkId,
        /// The room.
        room: RoomId,
        /// The other side.
        peer: PeerId,
        /// Why.
        why: LinkEnd,
    },
    /// A broadcast or direct message for the application, exactly once.
    Message(Message),
    /// The addressee's node acknowledged a direct message.
    Delivered {
        /// The message.
        id: MessageId,
        /// Time from sending to the acknowledgement, in microseconds.
        rtt_us: u64,
    },
    /// A direct message was not acknowledged. Whether it was delivered is
    /// unknown, unless the reason says so.
    Undelivered {
        /// The message.
        id: MessageId,
        /// Why.
        why: Undelivered,
    },
}

/// A message for the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// The room.
    pub room: RoomId,
    /// Who wrote it, authenticated.
    pub from: PeerId,
    /// The application's channel.
    pub channel: String,
    /// The application's bytes.
    pub payload: Bytes,
    /// Links it travelled over, at least 1.
    pub hops: u8,
    /// Sent to this node alone.
    pub direct: bool,
}

/// How a link that was up ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkEnd {
    /// The peer connection said so.
    Down(DownCause),
    /// The node closed it.
    Closed(CloseCause),
}

/// Why a direct message was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Undelivered {
    /// The addressee died or left.
    #[error("the addressee is gone")]
    Gone,
    /// No acknowledgement within the time limit.
    #[error("no acknowledgement in time")]
    Timeout,
    /// This node left the room.
    #[error("the room was left")]
    Leaving,
}

/// Why a message was not taken for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// This node is in no such room.
    #[error("not a member of the room")]
    NotJoined,
    /// Larger than [`MAX_PAYLOAD`](crate::frame::MAX_PAYLOAD), or the channel
    /// name is too long.
    #[error("message or channel name too large")]
    TooLarge,
    /// No such member in the room's roster.
    #[error("no such member in the room")]
    UnknownPeer,
    /// Too many direct messages await their acknowledgement.
    #[error("too many unacknowledged messages")]
    Busy,
}
