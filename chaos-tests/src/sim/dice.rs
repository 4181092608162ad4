//! Counter-based randomness: every draw is a function of the seed, the node,
//! the purpose and how many draws came before it.
//!
//! Nobody shares a stream, so taking one fault or one node out of a scenario
//! changes nobody else's dice.

use std::convert::Infallible;

use rand::TryRng;

/// What a stream of draws is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Stream {
    /// Where a node is.
    Place = 1,
    /// The node's own decisions.
    Engine = 2,
    /// What the network does to what the node sends.
    Network = 3,
    /// What a node that lies makes up.
    Lies = 4,
    /// Which faults befall whom.
    Schedule = 5,
    /// When a node comes and goes.
    Churn = 6,
    /// Keys and seals.
    Signal = 7,
    /// Who calls whom.
    Calls = 8,
}

/// One stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dice {
    key: u64,
    counter: u64,
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of splitmix64.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

impl Dice {
    /// The stream of `node` for `stream`; `life` counts its starts.
    pub fn new(seed: u64, node: u32, life: u32, stream: Stream) -> Self {
        let who = (u64::from(life) << 32) | u64::from(node);
        let key = mix(mix(mix(seed.wrapping_add(GOLDEN)) ^ who).wrapping_add(stream as u64));
        Dice { key, counter: 0 }
    }

    fn draw(&mut self) -> u64 {
        self.counter += 1;
        mix(mix(self
            .key
            .wrapping_add(self.counter.wrapping_mul(GOLDEN))))
    }

    /// Whether something of this probability happens. Draws nothing where the
    /// answer is known.
    pub fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && (probability >= 1.0 || self.unit() < probability)
    }

    /// A number from 0 up to and without 1.
    pub fn unit(&mut self) -> f64 {
        // 53 bits, as many as a double has.
        #[allow(clippy::cast_precision_loss, reason = "53 bits fit exactly")]
        let high = (self.draw() >> 11) as f64;
        high / 9_007_199_254_740_992.0
    }
}

impl TryRng for Dice {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        #[allow(clippy::cast_possible_truncation, reason = "the upper half")]
        let high = (self.draw() >> 32) as u32;
        Ok(high)
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.draw())
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        for chunk in out.chunks_mut(8) {
            for (to, from) in chunk.iter_mut().zip(self.draw().to_le_bytes()) {
                *to = from;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng as _;

    #[test]
    fn streams_differ_and_repeat() {
        let draw = |seed, node, life, stream| Dice::new(seed, node, life, stream).next_u64();
        let all = [
            draw(1, 1, 0, Stream::Engine),
            draw(2, 1, 0, Stream::Engine),
            draw(1, 2, 0, Stream::Engine),
            draw(1, 1, 1, Stream::Engine),
            draw(1, 1, 0, Stream::Network),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(!all[..index].contains(one));
        }
        assert_eq!(draw(1, 1, 0, Stream::Engine), all[0]);
    }

    #[test]
    fn chances_come_true_as_often_as_they_should() {
        let mut dice = Dice::new(7, 0, 0, Stream::Network);
        let hits = (0..100_000).filter(|_| dice.chance(0.3)).count();
        assert!((29_000..31_000).contains(&hits), "{hits}");
        let before = dice;
        assert!(!dice.chance(0.0) && dice.chance(1.0));
        assert_eq!(dice, before);
    }
}
