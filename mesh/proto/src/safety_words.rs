//! Safety words: two people compare eight short words, over the phone or face
//! to face, and know that each talks to the peer the other one is.
//!
//! Four words stand for each peer id, in the order of the ids, so both sides
//! read the same eight. The words are *proquints* (Wilkerson,
//! arXiv:0901.4016): five letters, consonants and vowels in turn, sixteen
//! bits each. They can be read out in any language and need no word list.
//!
//! Each half depends on one peer id alone. A common hash of both ids would be
//! open to a birthday search by somebody in the middle, who chooses one key
//! towards each side; this way it has to hit 64 given bits, with
//! [`ROUNDS`] hashes for each try.

use std::fmt;

use crate::id::{PeerId, tagged_hash};

/// Hashes for each peer id: a millisecond for us, twelve more bits of work
/// for somebody who searches a key with the same words.
pub const ROUNDS: u32 = 4096;

const CONSONANTS: [char; 16] = [
    'b', 'd', 'f', 'g', 'h', 'j', 'k', 'l', 'm', 'n', 'p', 'r', 's', 't', 'v', 'z',
];
const VOWELS: [char; 4] = ['a', 'i', 'o', 'u'];

/// The words of a pair of peers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafetyWords(Vec<String>);

impl SafetyWords {
    /// The words of `a` and `b`, the same in either order.
    pub fn new(a: &PeerId, b: &PeerId) -> Self {
        let (first, second) = if a <= b { (a, b) } else { (b, a) };
        SafetyWords([words_of(first), words_of(second)].concat())
    }

    /// The eight words.
    pub fn words(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for SafetyWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(" "))
    }
}

fn words_of(peer: &PeerId) -> Vec<String> {
    let mut digest: [u8; 32] = tagged_hash("peerloom/safety/1", &[peer.as_bytes()]);
    for _ in 1..ROUNDS {
        digest = tagged_hash("peerloom/safety/1", &[&digest, peer.as_bytes()]);
    }
    let pairs = digest.chunks_exact(2).take(4);
    pairs
        .map(|pair| {
            proquint(
                pair.iter()
                    .fold(0, |word, byte| word << 8 | u16::from(*byte)),
            )
        })
        .collect()
}

/// Four bits, two bits, four, two, four: consonant, vowel, …
fn proquint(word: u16) -> String {
    let letter = |at: u32| {
        let bits = usize::from(word >> at);
        CONSONANTS.get(bits & 15).copied().unwrap_or('-')
    };
    let vowel = |at: u32| {
        VOWELS
            .get(usize::from(word >> at) & 3)
            .copied()
            .unwrap_or('-')
    };
    [letter(12), vowel(10), letter(6), vowel(4), letter(0)]
        .iter()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn proquints_are_those_of_the_paper() {
        // 127.0.0.1 is lusab-babad, 63.84.220.193 is gutih-tugad.
        let words = [0x7f00, 0x0001, 0x3f54, 0xdcc1].map(proquint);
        assert_eq!(words, ["lusab", "babad", "gutih", "tugad"]);
    }

    #[test]
    fn both_sides_read_the_same_words() {
        let (a, b) = (PeerId::from_bytes([1; 32]), PeerId::from_bytes([2; 32]));
        let words = SafetyWords::new(&a, &b);
        assert_eq!(words, SafetyWords::new(&b, &a));
        assert_eq!(words.words().len(), 8);
        assert_eq!(words.to_string().len(), 8 * 5 + 7);
    }

    #[test]
    fn all_numbers_have_words_of_their_own() {
        let words: BTreeSet<String> = (0..=u16::MAX).map(proquint).collect();
        assert_eq!(words.len(), 1 << 16);
    }

    #[test]
    fn another_peer_has_other_words() {
        let me = PeerId::from_bytes([1; 32]);
        let words: BTreeSet<String> = (2..6)
            .map(|n| SafetyWords::new(&me, &PeerId::from_bytes([n; 32])).to_string())
            .collect();
        assert_eq!(words.len(), 4);
    }
}
