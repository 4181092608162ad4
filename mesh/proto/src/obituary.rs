//! Obituaries: a neighbour says that a peer no longer answers.
//!
//! As in SWIM (Das, Gupta, Motivala, DSN 2002, section 4.2) the accused is
//! only *suspected* at first and clears itself with a newer presence. As in
//! Lifeguard (Dadgar, Phillips, Currey, DSN-W 2018, section IV-B) the time it
//! is given shrinks with the number of independent accusers: what one lost
//! link looks like to one neighbour, a death looks like to all of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{MeshTag, PeerId};
use crate::presence::{Presence, Record};
use crate::wire::{SignedBytes, WireError};

/// Accusers whose obituaries of one peer are kept and passed on. More would
/// change nothing: the grace is at its shortest.
pub const MAX_ACCUSERS: usize = 3;

/// A statement of its signer that a peer is dead. Refuted by any presence
/// with a higher number than the one it carries.
///
/// It carries the newest presence of the accused that the accuser has seen,
/// as signed by the accused. A number alone could be made up: one that the
/// accused never reached could not be refuted, and would keep a peer out that
/// has not even come yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obituary {
    /// The mesh.
    pub mesh: MeshTag,
    /// When it was signed, by the accuser's wall clock.
    pub issued_ms: u64,
    /// The last words of the accused: its newest presence.
    pub last: SignedBytes,
}

impl Obituary {
    /// Who is said to be dead.
    pub fn peer(&self) -> PeerId {
        self.last.signer()
    }

    /// The presence it carries, not verified.
    pub fn presence(&self) -> Result<Presence, WireError> {
        match Record::peek(&self.last)? {
            Record::Presence(presence) if presence.mesh == self.mesh => Ok(presence),
            Record::Presence(_) | Record::Leave(_) | Record::Obituary(_) => {
                Err(WireError::BadSignature)
            }
        }
    }
}

/// How long a suspect has to object. One second covers a round trip through
/// the mesh many times over; a guess to be revisited with measured diameters.
pub fn grace(accusers: usize) -> Duration {
    Duration::from_millis(match accusers {
        0 | 1 => 1000,
        2 => 600,
        _ => 400,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_accusers_give_less_time() {
        assert!(grace(1) > grace(2));
        assert!(grace(2) > grace(MAX_ACCUSERS));
        assert_eq!(grace(MAX_ACCUSERS), grace(100));
    }
}
