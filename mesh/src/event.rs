//! What a node tells its application, each with its cause.

use std::path::PathBuf;

use peerloom_actors::DataTransportChoice;
use peerloom_mesh_proto::PeerId;

use crate::store::KnownIdentity;

/// Something happened in the mesh.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// The gossip swarm listens on this multiaddr.
    Listening {
        /// The address.
        address: String,
    },
    /// A gossip connection to a peer is up.
    NeighbourUp {
        /// Who.
        peer: PeerId,
    },
    /// The last gossip connection to a peer is gone.
    NeighbourDown {
        /// Who.
        peer: PeerId,
        /// Why, in libp2p's words.
        cause: String,
    },
    /// A peer could not be reached over gossip.
    DialFailed {
        /// Who, when known.
        peer: Option<PeerId>,
        /// Why, in libp2p's words.
        cause: String,
    },
    /// A peer was found on the local network.
    Discovered {
        /// Who.
        peer: PeerId,
        /// Where.
        address: String,
    },
    /// A member of a room appeared.
    MemberJoined {
        /// The room.
        room: String,
        /// Who.
        peer: PeerId,
    },
    /// A member's nick or addresses changed.
    MemberUpdated {
        /// The room.
        room: String,
        /// Who.
        peer: PeerId,
    },
    /// A member said that it leaves.
    MemberLeft {
        /// The room.
        room: String,
        /// Who.
        peer: PeerId,
    },
    /// A member is said to be dead and may still object.
    MemberSuspected {
        /// The room.
        room: String,
        /// Who.
        peer: PeerId,
    },
    /// A suspected member objected.
    MemberRefuted {
        /// The room.
        room: String,
        /// Who.
        peer: PeerId,
    },
    /// A member is dead.
    MemberDied {
        /// The room.
        room: String,
        /// Who.
        peer: PeerId,
    },
    /// An authenticated link carries messages.
    LinkUp {
        /// The room.
        room: String,
        /// The other side.
        peer: PeerId,
        /// What carries it, and why; `None` if it is over again.
        transport: Option<DataTransportChoice>,
    },
    /// A link that was up is gone; the node sees to a replacement.
    LinkDown {
        /// The room.
        room: String,
        /// The other side.
        peer: PeerId,
        /// Why.
        cause: LinkCause,
    },
    /// An attempt to link came to nothing.
    LinkFailed {
        /// The other side.
        peer: PeerId,
        /// Why.
        cause: String,
    },
    /// An actor of a link's peer connection died; the link is rebuilt.
    ActorDied {
        /// The other side of the link.
        peer: PeerId,
        /// Which actor, and how.
        what: String,
    },
    /// A peer's identity assertion was validated.
    IdentityVerified {
        /// Who.
        peer: PeerId,
        /// What it calls itself.
        name: String,
        /// Never seen before: trusted on first use.
        first_use: bool,
    },
    /// A peer's identity assertion was refused; no data has flowed.
    IdentityRefused {
        /// Whom we expected.
        peer: PeerId,
        /// Why.
        cause: String,
    },
    /// A known name showed up with another key.
    IdentityChanged {
        /// What was remembered.
        known: KnownIdentity,
        /// The peer that now claims the name.
        offered: PeerId,
        /// Whether it was let in.
        accepted: bool,
    },
    /// The identity was created in this start.
    KeyCreated,
    /// The database was damaged, moved aside and rebuilt; the key is intact.
    StoreRebuilt {
        /// Where the damaged one lies.
        moved_to: PathBuf,
        /// What was wrong.
        cause: String,
    },
    /// One stored record was damaged and dropped.
    RecordDropped {
        /// What was wrong.
        cause: String,
    },
    /// The application does not read a channel; messages were dropped.
    InboxOverflow {
        /// The room.
        room: String,
        /// The channel.
        channel: String,
    },
    /// This stream was read too slowly and lost so many events.
    Missed(u64),
}

/// Why a link ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LinkCause {
    /// ICE, DTLS or SCTP failed, or one of their actors died.
    #[error("the peer connection failed")]
    Failed,
    /// The other side's identity assertion was refused.
    #[error("the identity was refused")]
    Identity,
    /// The other side closed it.
    #[error("closed by the other side")]
    Closed,
    /// The other side did not take what was sent.
    #[error("the send queue overflowed")]
    Overflow,
    /// The other side's connection attempt stands instead.
    #[error("the other side's attempt stands")]
    Glare,
    /// The other side refused.
    #[error("refused by the other side")]
    Rejected,
    /// Nothing came of it in time.
    #[error("timed out")]
    Timeout,
    /// A newer session takes its place.
    #[error("replaced by a newer session")]
    Replaced,
    /// The other side no longer answers probes.
    #[error("no answer to probes")]
    Silent,
    /// The peer is dead or has left.
    #[error("the peer is gone")]
    Gone,
    /// More links than needed.
    #[error("not needed any more")]
    Surplus,
    /// This node leaves the room.
    #[error("the room was left")]
    Leaving,
    /// The other side broke the protocol.
    #[error("protocol violation")]
    Protocol,
}
