//! The simulated network: where nodes are, how long things take, what is lost,
//! and which ways are cut.

use rand::RngExt as _;
use serde::{Deserialize, Serialize};

use super::dice::{Dice, Stream, mix};

/// How long a packet takes one way.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Latency {
    /// Nodes are spread over a plane, with an access line each: round trips
    /// of 105 ms on average, of a few to 250.
    Wide,
    /// The same between all, or anything in a range, fixed for each pair.
    Between {
        /// Milliseconds.
        least: u32,
        /// Milliseconds.
        most: u32,
    },
}

/// What becomes of messages on a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    /// As over QUIC or TCP: in order, and a lost packet only costs time.
    Stream,
    /// As over bare datagrams: lost, doubled and reordered messages are seen.
    Datagram,
}

/// The state of the network at large.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Weather {
    /// Base latency.
    pub latency: Latency,
    /// Up to so many milliseconds more, each time anew.
    pub jitter: u32,
    /// Part of all packets that is lost.
    pub loss: f64,
    /// Part that arrives twice (datagrams only).
    pub duplicate: f64,
    /// Part that takes three times as long (datagrams only).
    pub reorder: f64,
    /// What links are made of.
    pub transport: Transport,
}

/// Tries of a stream to get a packet through at once; then it is there.
const TRIES: u32 = 6;
/// Least pause before a stream sends again, in milliseconds.
const RESEND: u32 = 50;

/// Where a node is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    x: f32,
    y: f32,
    access: f32,
}

impl Place {
    pub(crate) fn of(seed: u64, node: u32) -> Self {
        let mut dice = Dice::new(seed, node, 0, Stream::Place);
        Place {
            x: dice.random_range(0.0..80.0),
            y: dice.random_range(0.0..80.0),
            access: dice.random_range(1.0..10.0),
        }
    }
}

/// What one packet meets.
pub(crate) struct Fate {
    /// Milliseconds until it arrives; `None` if it never does.
    pub(crate) delay: Option<u32>,
    /// Milliseconds until it arrives once more.
    pub(crate) again: Option<u32>,
}

impl Weather {
    /// One-way latency without chance, in milliseconds.
    pub(crate) fn base(&self, from: (u32, Place), to: (u32, Place)) -> u32 {
        match self.latency {
            Latency::Wide => {
                let (x, y) = (from.1.x - to.1.x, from.1.y - to.1.y);
                let way = (x * x + y * y).sqrt() + from.1.access + to.1.access;
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "at most 134 and never negative"
                )]
                let way = way as u32;
                way.max(1)
            }
            Latency::Between { least, most } => {
                let pair = u64::from(from.0.min(to.0)) << 32 | u64::from(from.0.max(to.0));
                let spread = u64::from(most.saturating_sub(least)) + 1;
                let extra = u32::try_from(mix(pair) % spread).unwrap_or(0);
                (least + extra).max(1)
            }
        }
    }

    /// What happens to one message of a link.
    pub(crate) fn fate(&self, base: u32, dice: &mut Dice) -> Fate {
        let jitter = |dice: &mut Dice| match self.jitter {
            0 => 0,
            most => dice.random_range(0..=most),
        };
        let mut delay = base + jitter(dice);
        match self.transport {
            Transport::Stream => {
                let mut pause = (base * 3).max(RESEND);
                for _ in 0..TRIES {
                    if !dice.chance(self.loss) {
                        break;
                    }
                    delay += pause;
                    pause *= 2;
                }
                Fate {
                    delay: Some(delay),
                    again: None,
                }
            }
            Transport::Datagram => {
                if dice.chance(self.reorder) {
                    delay *= 3;
                }
                let lost = dice.chance(self.loss);
                let twice = dice.chance(self.duplicate);
                Fate {
                    delay: (!lost).then_some(delay),
                    again: twice.then(|| delay + jitter(dice) + 1),
                }
            }
        }
    }

    /// What happens to a dial or its answer: these are sent again whatever
    /// links are made of.
    pub(crate) fn handshake(&self, base: u32, dice: &mut Dice) -> u32 {
        let stream = Weather {
            transport: Transport::Stream,
            ..*self
        };
        stream.fate(base, dice).delay.unwrap_or(base)
    }
}

/// A partition: every node is on a side, and some sides do not reach others.
#[derive(Debug, Clone)]
pub(crate) struct Cut {
    sides: Vec<u8>,
    blocked: [[bool; MAX_SIDES]; MAX_SIDES],
}

/// Sides a partition may have.
pub const MAX_SIDES: usize = 16;

/// What kind of partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Shape {
    /// No side reaches another.
    Both,
    /// The first side does not reach the others; they reach it.
    Oneway,
    /// The last side reaches all, the others only themselves and it.
    Bridge,
    /// Each side reaches the one before and the one after it.
    Ring,
}

impl Cut {
    /// Nodes by side; those on none reach everybody.
    pub(crate) fn new(shape: Shape, groups: &[Vec<u32>], nodes: usize) -> Self {
        let none = u8::try_from(MAX_SIDES).unwrap_or(u8::MAX);
        let mut sides = vec![none; nodes];
        for (side, group) in (0_u8..).zip(groups) {
            for node in group {
                if let Some(of) = usize::try_from(*node).ok().and_then(|n| sides.get_mut(n)) {
                    *of = side;
                }
            }
        }
        let count = groups.len();
        let mut blocked = [[false; MAX_SIDES]; MAX_SIDES];
        for (from, row) in blocked.iter_mut().enumerate() {
            for (to, cell) in row.iter_mut().enumerate() {
                *cell = from != to && from < count && to < count && blocks(shape, from, to, count);
            }
        }
        Cut { sides, blocked }
    }

    pub(crate) fn blocks(&self, from: u32, to: u32) -> bool {
        let side = |node: u32| {
            let node = usize::try_from(node).unwrap_or(usize::MAX);
            self.sides.get(node).copied().map_or(MAX_SIDES, usize::from)
        };
        let row = self.blocked.get(side(from));
        row.and_then(|row| row.get(side(to)))
            .is_some_and(|cut| *cut)
    }
}

fn blocks(shape: Shape, from: usize, to: usize, count: usize) -> bool {
    match shape {
        Shape::Both => true,
        Shape::Oneway => from == 0,
        Shape::Bridge => from + 1 != count && to + 1 != count,
        Shape::Ring => {
            let apart = from.abs_diff(to);
            apart != 1 && apart != count - 1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(shape: Shape, sides: u32) -> Cut {
        let groups: Vec<Vec<u32>> = (0..sides).map(|n| vec![n]).collect();
        Cut::new(shape, &groups, 10)
    }

    #[test]
    fn partitions_have_their_shapes() {
        let both = cut(Shape::Both, 2);
        assert!(both.blocks(0, 1) && both.blocks(1, 0) && !both.blocks(0, 0));
        assert!(!both.blocks(0, 5) && !both.blocks(5, 1));
        let oneway = cut(Shape::Oneway, 2);
        assert!(oneway.blocks(0, 1) && !oneway.blocks(1, 0));
        let bridge = cut(Shape::Bridge, 3);
        assert!(bridge.blocks(0, 1) && bridge.blocks(1, 0));
        assert!(!bridge.blocks(0, 2) && !bridge.blocks(2, 1));
        let ring = cut(Shape::Ring, 5);
        assert!(!ring.blocks(0, 1) && !ring.blocks(4, 0) && ring.blocks(0, 2));
    }

    #[test]
    fn streams_are_late_where_datagrams_are_lost() {
        let mut weather = Weather {
            latency: Latency::Between {
                least: 10,
                most: 20,
            },
            jitter: 0,
            loss: 0.3,
            duplicate: 0.1,
            reorder: 0.0,
            transport: Transport::Stream,
        };
        let mut dice = Dice::new(1, 1, 0, Stream::Network);
        let mut fates = |weather: &Weather| -> Vec<Fate> {
            (0..10_000).map(|_| weather.fate(10, &mut dice)).collect()
        };
        let streams = fates(&weather);
        assert!(streams.iter().all(|fate| fate.delay.is_some()));
        let late = streams.iter().filter(|fate| fate.delay > Some(10)).count();
        assert!((2_800..3_200).contains(&late), "{late}");
        weather.transport = Transport::Datagram;
        let datagrams = fates(&weather);
        let lost = datagrams.iter().filter(|fate| fate.delay.is_none()).count();
        assert!((2_800..3_200).contains(&lost), "{lost}");
        let twice = datagrams.iter().filter(|fate| fate.again.is_some()).count();
        assert!((850..1_150).contains(&twice), "{twice}");
    }
}
