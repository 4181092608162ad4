//! Glare: both sides of a pair offer at the same time.
//!
//! Of two outstanding offers between the same pair the one from the *larger*
//! peer id stands; the other side drops its attempt and answers. Both sides
//! come to the same result from what they know, whatever arrives first. It is
//! perfect negotiation's "polite" side (W3C webrtc-pc, section 10.7, example
//! 16) without the rollback: the smaller id is polite.

/// What to do with an offer that crosses this node's own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Glare {
    /// Drop the own attempt and answer.
    Yield,
    /// Ignore the offer: the other side will answer this node's.
    Stand,
}

/// Settles glare between `me` and `other`, peer ids wherever it is about peers.
pub fn settle<I: Ord>(me: &I, other: &I) -> Glare {
    if me > other {
        Glare::Stand
    } else {
        Glare::Yield
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::PeerId;

    #[test]
    fn exactly_one_offer_stands() {
        let (a, b) = (PeerId::from_bytes([1; 32]), PeerId::from_bytes([2; 32]));
        assert_eq!(settle(&a, &b), Glare::Yield);
        assert_eq!(settle(&b, &a), Glare::Stand);
    }
}
