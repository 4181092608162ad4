//! What a roster makes of a record.

use crate::id::{PeerId, RoomId, Seq};
use crate::wire::{SignedBytes, WireError};

/// What a record meant to a roster.
#[derive(Debug, PartialEq, Eq)]
pub enum Applied {
    /// New: pass it on. `first` when the peer was not known alive before.
    News {
        /// Whom the record is about.
        subject: PeerId,
        /// Whether it made somebody appear.
        first: bool,
    },
    /// Known already, or superseded.
    Old,
    /// The peer it speaks of is known dead or gone: answer with this record.
    Buried(SignedBytes),
    /// It speaks of this node and has to be answered: a leave or presence of
    /// an earlier life, or an obituary. This node's next presence must have a
    /// higher number than this.
    AboutMe(Seq),
    /// An obituary of this node that its newest presence refutes already:
    /// answer with that.
    Refuted,
}

/// Why a record was not applied.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Malformed or badly signed.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Of another mesh.
    #[error("record of another mesh")]
    OtherMesh,
    /// Signed too long ago, or in the future.
    #[error("record is {0} ms old by this node's clock")]
    Stale(i64),
    /// The accuser is not a known member.
    #[error("obituary by a stranger")]
    Stranger,
    /// The accuser is a member that spreads more obituaries than one may.
    #[error("too many obituaries by one accuser")]
    OverRate,
    /// No space for another member.
    #[error("roster is full")]
    Full,
}

/// A change of the roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RosterEvent {
    /// A member appeared. `was` is empty.
    Joined(PeerId),
    /// A member's presence changed; the rooms it was in before.
    Updated {
        /// Who.
        peer: PeerId,
        /// Its rooms before this presence.
        was: Vec<RoomId>,
    },
    /// A member is suspected to be dead.
    Suspected(PeerId),
    /// A suspect objected.
    Refuted(PeerId),
    /// A member left.
    Left {
        /// Who.
        peer: PeerId,
        /// Its rooms until now.
        was: Vec<RoomId>,
    },
    /// A member is dead, or has not been heard of for its time to live.
    Died {
        /// Who.
        peer: PeerId,
        /// Its rooms until now.
        was: Vec<RoomId>,
    },
}
