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

/// What a roster asks the node whose it is.
pub trait Gate {
    /// Whether `author` may tell this about itself, or say of somebody that
    /// it is dead, now. Asked last, about records whose signature was
    /// verified and that are news, so that nobody can use up the allowance of
    /// others.
    fn admit(&mut self, author: PeerId, claim: Claim) -> bool;

    /// Whether a member stays even if the roster is full.
    fn keeps(&self, peer: &PeerId) -> bool;
}

/// What the author of a record claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claim {
    /// Itself to be here, or to leave.
    Own,
    /// Somebody to be dead.
    Dead,
}

/// Lets everything in and keeps nobody.
impl Gate for () {
    fn admit(&mut self, _: PeerId, _: Claim) -> bool {
        true
    }

    fn keeps(&self, _: &PeerId) -> bool {
        false
    }
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
    /// Its author spreads more presences or obituaries than one may.
    #[error("too many records by one author")]
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
    /// A member is dead, has not been heard of for its time to live, or made
    /// room in a full roster.
    Died {
        /// Who.
        peer: PeerId,
        /// Its rooms until now.
        was: Vec<RoomId>,
    },
}
