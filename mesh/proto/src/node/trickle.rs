//! Candidates that do not travel inside a description (trickle ICE, RFC 8838).
//!
//! A description with very many addresses does not fit into one letter. What
//! does not fit follows in letters of its own, so that a description always
//! fits. And letters may overtake each other: candidates that come before
//! their offer wait for it.

use std::collections::VecDeque;

use super::io::PcSignal;
use crate::envelope::Letter;
use crate::id::{PeerId, RoomId, SessionId};

/// Letters with candidates whose offer has not come. Filled by authors with
/// valid signatures; the oldest goes first, and its candidates are lost (ICE
/// finds them as peer-reflexive ones, RFC 8445 section 7.3.1.3).
const MAX_EARLY: usize = 64;

/// A description for one letter, and what follows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split {
    pub(super) sdp: String,
    /// `candidate:…` lines.
    pub(super) candidates: Vec<String>,
    /// The description said that there are no more.
    pub(super) end: bool,
}

/// Takes as many candidates out of a description as needed to make it at most
/// `max` bytes long, the last ones first.
pub(super) fn split(sdp: String, max: usize) -> Split {
    let mut split = Split {
        sdp,
        candidates: Vec::new(),
        end: false,
    };
    if split.sdp.len() <= max {
        return split;
    }
    let mut excess = split.sdp.len() - max;
    let mut kept = Vec::new();
    for line in split.sdp.split_inclusive('\n').rev() {
        let text = line.trim_end();
        if text == "a=end-of-candidates" {
            // Said with the last of those that follow.
            split.end = true;
        } else if let Some(candidate) = text.strip_prefix("a=").filter(|_| excess > 0)
            && candidate.starts_with("candidate:")
        {
            split.candidates.push(candidate.to_owned());
        } else {
            kept.push(line);
            continue;
        }
        excess = excess.saturating_sub(line.len());
    }
    split.candidates.reverse();
    split.sdp = kept.into_iter().rev().collect();
    split
}

/// A letter with candidates that came before its offer.
#[derive(Debug)]
struct Waiting {
    from: PeerId,
    room: RoomId,
    session: SessionId,
    generation: u16,
    signal: PcSignal,
}

/// Candidates that came before their offers, oldest first.
#[derive(Debug, Default)]
pub(super) struct Early {
    waiting: VecDeque<Waiting>,
}

impl Early {
    /// Keeps the candidates of `letter`.
    pub(super) fn keep(&mut self, letter: &Letter, generation: u16, signal: PcSignal) {
        if self.waiting.len() >= MAX_EARLY {
            self.waiting.pop_front();
        }
        self.waiting.push_back(Waiting {
            from: letter.from,
            room: letter.room,
            session: letter.session,
            generation,
            signal,
        });
    }

    /// Hands out what waited for the offer in `letter`, in order.
    pub(super) fn take(&mut self, letter: &Letter) -> Vec<(u16, PcSignal)> {
        let (taken, waiting): (VecDeque<Waiting>, VecDeque<Waiting>) =
            std::mem::take(&mut self.waiting)
                .into_iter()
                .partition(|waiting| {
                    waiting.from == letter.from
                        && waiting.room == letter.room
                        && waiting.session == letter.session
                });
        self.waiting = waiting;
        let taken = taken.into_iter();
        taken
            .map(|waiting| (waiting.generation, waiting.signal))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn description(candidates: usize) -> String {
        let mut sdp = "v=0\r\na=identity:abc\r\nm=application 9 UDP/DTLS/SCTP x\r\n".to_owned();
        for number in 0..candidates {
            sdp += &format!("a=candidate:{number} 1 udp 1 10.0.0.{number} 9 typ host\r\n");
        }
        sdp + "a=end-of-candidates\r\na=sctp-port:5000\r\n"
    }

    #[test]
    fn what_fits_is_left_alone() {
        let sdp = description(3);
        let whole = split(sdp.clone(), sdp.len());
        assert_eq!((whole.sdp, whole.candidates.len()), (sdp, 0));
        assert!(!whole.end);
    }

    #[test]
    fn the_last_candidates_follow_and_nothing_else_is_lost() {
        let sdp = description(40);
        for max in [sdp.len() - 1, 1000, 200] {
            let parts = split(sdp.clone(), max);
            assert!(parts.sdp.len() <= max && parts.end, "{max}");
            let inside = parts.sdp.matches("a=candidate:").count();
            assert_eq!(inside + parts.candidates.len(), 40);
            for (number, candidate) in (inside..).zip(&parts.candidates) {
                assert!(candidate.starts_with(&format!("candidate:{number} ")));
            }
            assert!(parts.sdp.contains("a=identity:abc\r\n"));
            assert!(parts.sdp.ends_with("a=sctp-port:5000\r\n"));
            assert!(!parts.sdp.contains("end-of-candidates"));
        }
    }

    #[test]
    fn what_is_too_long_without_candidates_stays_too_long() {
        let parts = split(description(2), 10);
        assert_eq!(parts.candidates.len(), 2);
        assert!(parts.sdp.len() > 10);
    }
}
