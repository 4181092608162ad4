//! What goes into a [`Node`](crate::Node) and what comes out: closed enums,
//! one for each direction, so that a shell is one `match`.

use bytes::Bytes;

pub use super::event::{Event, LinkEnd, Message, SendError, Undelivered};
use crate::id::{PeerId, RoomId, SessionId};

/// A connection attempt or connection of this node to one peer in one room.
/// Chosen by the node, never used twice; the shell maps it to its peer
/// connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// One frame handed to the hop protocol; a failure names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HopId(pub u64);

/// A gossip topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Topic {
    /// Presence of the whole mesh.
    Mesh(crate::id::MeshTag),
    /// Envelopes of one room that found no other way.
    Room(RoomId),
}

impl Topic {
    /// The topic's name in gossipsub.
    pub fn name(&self) -> String {
        match self {
            Topic::Mesh(tag) => format!("/peerloom/mesh/{tag}/1"),
            Topic::Room(room) => format!("/peerloom/room/{room}/1"),
        }
    }
}

/// What the shell did or received.
#[derive(Clone, Debug)]
pub enum Input {
    /// A libp2p connection to a peer that speaks the hop protocol is up.
    NeighbourUp {
        /// Who.
        peer: PeerId,
    },
    /// The last libp2p connection to that peer is gone.
    NeighbourDown {
        /// Who.
        peer: PeerId,
    },
    /// A frame of the hop protocol (see [`HopFrame`](crate::envelope::HopFrame)).
    Hop {
        /// The neighbour at the other end, authenticated by libp2p.
        from: PeerId,
        /// The frame.
        bytes: Bytes,
    },
    /// A [`Output::Hop`] could not be delivered: no address worked, or the
    /// stream failed. Reported at once, the node then floods the room.
    HopFailed {
        /// Which.
        id: HopId,
    },
    /// The peer connection of `link` has something for the other side.
    LocalSignal {
        /// Which link.
        link: LinkId,
        /// The description or candidates.
        signal: PcSignal,
    },
    /// The link's data channel is open and the other side's identity
    /// assertion has been verified to be `peer`'s.
    LinkUp {
        /// Which link.
        link: LinkId,
        /// Whose assertion was verified.
        peer: PeerId,
    },
    /// The link's peer connection ended or failed. The shell has dropped it.
    LinkDown {
        /// Which link.
        link: LinkId,
        /// Why.
        cause: DownCause,
    },
    /// A message arrived on the link's data channel.
    Frame {
        /// Which link.
        link: LinkId,
        /// The message.
        bytes: Bytes,
    },
}

/// Offer, answer and candidates between the node and its peer connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PcSignal {
    /// A session description of type `offer`.
    Offer {
        /// The SDP.
        sdp: String,
    },
    /// A session description of type `answer`.
    Answer {
        /// The SDP.
        sdp: String,
    },
    /// Candidates that were not in the description yet (trickle ICE,
    /// RFC 8838).
    Candidates {
        /// `candidate:…` lines.
        candidates: Vec<String>,
        /// No more will follow.
        end: bool,
    },
}

/// Why a peer connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DownCause {
    /// ICE, DTLS or SCTP failed.
    Failed,
    /// One of the actors of this side's peer connection died.
    Died,
    /// The other side's identity assertion was refused.
    Identity,
    /// The other side closed.
    Closed,
    /// The shell's send queue for this link overflowed.
    Overflow,
}

/// Which of a link's channels a frame belongs on. A shell with a single
/// channel per link may ignore it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Small frames that must not wait behind application data.
    Control,
    /// Application data, in order.
    Data,
}

/// What the node asks of its shell. Outputs come in the order in which they
/// must be carried out.
#[derive(Clone, Debug)]
pub enum Output {
    /// Subscribe to a gossip topic.
    Subscribe(Topic),
    /// Unsubscribe from a gossip topic.
    Unsubscribe(Topic),
    /// Publish on a gossip topic; the shell waits until it has a subscriber.
    Publish {
        /// Where.
        topic: Topic,
        /// What.
        bytes: Bytes,
    },
    /// Send a hop frame to one peer over libp2p, dialling it if needed.
    Hop {
        /// Named in [`Input::HopFailed`].
        id: HopId,
        /// To whom.
        to: PeerId,
        /// Where that peer says it listens (multiaddresses); may be empty
        /// when a connection exists.
        addresses: Vec<String>,
        /// The frame.
        bytes: Bytes,
    },
    /// Build a peer connection that offers; answer with
    /// [`Input::LocalSignal`].
    Dial {
        /// The new link.
        link: LinkId,
        /// The room it belongs to.
        room: RoomId,
        /// Whom to expect in the identity assertion.
        peer: PeerId,
        /// The session, for the identity assertion.
        session: SessionId,
    },
    /// Build a peer connection that answers `sdp`; answer with
    /// [`Input::LocalSignal`].
    Accept {
        /// The new link.
        link: LinkId,
        /// The room it belongs to.
        room: RoomId,
        /// Whom to expect in the identity assertion.
        peer: PeerId,
        /// The session, for the identity assertion.
        session: SessionId,
        /// The offer.
        sdp: String,
    },
    /// Hand a description or candidates from the other side to the link's
    /// peer connection.
    Signal {
        /// Which link.
        link: LinkId,
        /// What.
        signal: PcSignal,
    },
    /// Send a message on the link's data channel.
    Send {
        /// Which link.
        link: LinkId,
        /// On which channel.
        lane: Lane,
        /// The message, at most [`MAX_FRAME`](crate::frame::MAX_FRAME) bytes.
        bytes: Bytes,
    },
    /// Close the link's peer connection after what has been sent on it; no
    /// [`Input::LinkDown`] is expected.
    Close {
        /// Which link.
        link: LinkId,
        /// Why.
        cause: CloseCause,
    },
    /// Something for the application.
    Event(Event),
}

/// Why the node closed a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseCause {
    /// The other side's attempt stands (glare).
    Glare,
    /// The other side refused.
    Rejected,
    /// Nothing came of the attempt in time.
    Timeout,
    /// The other side's newer session takes its place.
    Replaced,
    /// The other side stopped answering probes.
    Silent,
    /// The peer is dead or has left.
    Gone,
    /// More links than needed.
    Surplus,
    /// The other side said goodbye.
    Bye,
    /// The room is being left.
    Leaving,
    /// The other side broke the protocol.
    Protocol,
}

/// What to tell gossipsub about a message, in its own terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Valid and new: pass it on.
    Accept,
    /// Valid, but old or beyond a rate limit: do not pass it on.
    Ignore,
    /// Invalid: do not pass it on, and hold it against the sender.
    Reject,
}

/// The timers of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Timer {
    /// Publish presence again.
    Presence,
    /// A suspicion or a roster entry runs out.
    Roster,
    /// Pass on collected records.
    Flush,
    /// Dial or trim links.
    Plan,
    /// A connection attempt runs out, or an envelope was not acknowledged.
    Attempt,
    /// Probe a link.
    Probe,
    /// Send a direct message again, or give it up.
    Direct,
    /// Drop what strangers said.
    Stranger,
}
