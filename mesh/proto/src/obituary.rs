//! Obituaries: a neighbour says that a peer no longer answers.
//!
//! As in SWIM (Das, Gupta, Motivala, DSN 2002, section 4.2) the accused is
//! only *suspected* at first and clears itself with a newer presence. As in
//! Lifeguard (Dadgar, Phillips, Currey, DSN-W 2018, section IV-B) the time it
//! is given shrinks with the number of independent accusers: what one lost
//! link looks like to one neighbour, a death looks like to all of them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::id::{MeshTag, PeerId, Seq};

/// Accusers whose obituaries of one peer are kept and passed on. More would
/// change nothing: the grace is at its shortest.
pub const MAX_ACCUSERS: usize = 3;

/// A statement of its signer that a peer is dead. Refuted by any presence
/// with a higher number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Obituary {
    /// The mesh.
    pub mesh: MeshTag,
    /// Who is said to be dead.
    pub peer: PeerId,
    /// The newest number of that peer the accuser has seen.
    pub seq: Seq,
    /// When it was signed, by the accuser's wall clock.
    pub issued_ms: u64,
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
