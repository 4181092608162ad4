//! Errors, one enum per operation.

use peerloom_mesh_proto::PeerId;

use crate::gossip::GossipError;
use crate::store::StoreError;

/// Why a mesh could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The settings contradict themselves or a limit.
    #[error("the configuration cannot work: {0}")]
    Config(String),
    /// Identity or memory are not accessible.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The gossip swarm did not start.
    #[error(transparent)]
    Gossip(#[from] GossipError),
    /// The arbiters did not start.
    #[error(transparent)]
    Runtime(#[from] peerloom_actors::RuntimeError),
    /// The sockets of the peer connections could not be bound.
    #[error("cannot bind the sockets of the peer connections: {0}")]
    Sockets(String),
    /// A ticket is for another mesh.
    #[error("the ticket is for the mesh `{ticket}`, this node is in `{mesh}`")]
    OtherMesh {
        /// The ticket's mesh.
        ticket: String,
        /// Ours.
        mesh: String,
    },
    /// A ticket could not be made.
    #[error("no ticket can be made: {0}")]
    Ticket(#[from] peerloom_mesh_proto::ticket::TicketError),
    /// The mesh was closed.
    #[error("the mesh is closed")]
    Closed,
}

/// Why a room was not joined.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JoinError {
    /// Too long, or empty.
    #[error("a room name has 1 to 64 bytes")]
    Name,
    /// In too many rooms already.
    #[error("a node can be in at most {max} rooms")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The mesh was closed.
    #[error("the mesh is closed")]
    Closed,
}

/// Why a channel was not opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// Too long, or empty.
    #[error("a channel name has 1 to {max} bytes")]
    Name {
        /// The limit.
        max: usize,
    },
    /// The room has as many channels as it can have.
    #[error("a room has at most {max} channels")]
    TooMany {
        /// The limit.
        max: usize,
    },
    /// The room was left or the mesh closed.
    #[error("the room was left")]
    Closed,
}

/// Why a message was not sent, or not acknowledged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// The value does not serialise.
    #[error("the value cannot be encoded: {0}")]
    Encode(#[from] rmp_serde::encode::Error),
    /// Larger than a message may be.
    #[error("the message has {len} bytes, at most {max} are allowed")]
    TooLarge {
        /// Its encoded size.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// No such member in the room.
    #[error("{0} is not a member of the room")]
    UnknownPeer(PeerId),
    /// Too many direct messages wait for their acknowledgement.
    #[error("too many unacknowledged messages: wait for some of them")]
    Busy,
    /// The addressee died or left before it acknowledged.
    #[error("{0} is gone; whether it received the message is unknown")]
    Gone(PeerId),
    /// No acknowledgement came in time.
    #[error("{0} did not acknowledge in time; whether it received the message is unknown")]
    Timeout(PeerId),
    /// The room was left or the mesh closed.
    #[error("the room was left")]
    Closed,
}
