//! How many links a peer bears, how much it remembers, how often it acts.

use std::time::Duration;

/// What a peer can bear. Others are told, so that they ask accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A program with a socket of its own.
    Native,
    /// A tab: connections are dear, timers late.
    Browser,
    /// A well-connected machine that volunteers.
    Super,
}

impl Class {
    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Class::Native => 0,
            Class::Browser => 1,
            Class::Super => 2,
        }
    }

    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0 => Some(Class::Native),
            1 => Some(Class::Browser),
            2 => Some(Class::Super),
            _ => None,
        }
    }

    /// The bounds that go with the class.
    pub fn degrees(self) -> Degrees {
        let of = |target, low, high, outbound, random, passive, reserve| Degrees {
            target,
            low,
            high,
            outbound,
            random,
            passive,
            reserve,
        };
        match self {
            Class::Native => of(8, 6, 12, 4, 3, 48, 64),
            Class::Browser => of(5, 4, 8, 3, 2, 32, 48),
            Class::Super => of(24, 12, 48, 6, 8, 128, 128),
        }
    }
}

/// Bounds of one peer's tables.
///
/// HyParView's paper uses 5 active and 30 passive at 10,000 peers; 8 and 48
/// cost a third more pings and keep 99.9 % together at the moment when half of
/// all peers die (measured; see `docs/overlay.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Degrees {
    /// Links to have.
    pub target: u8,
    /// With this or less a peer dials for more, with half of it urgently.
    pub low: u8,
    /// Never more.
    pub high: u8,
    /// Links of these that this peer has dialled itself, at least: nobody
    /// else decides about them.
    pub outbound: u8,
    /// The newest links chosen by chance that latency does not replace.
    pub random: u8,
    /// Contacts to fall back on.
    pub passive: u8,
    /// Peers remembered over partitions.
    pub reserve: u8,
}

impl Degrees {
    /// Links that others may have dialled.
    pub fn inbound(&self) -> u8 {
        self.high - self.high / 2
    }
}

/// Settings of an overlay; everything but the class is for experiments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Bounds of the tables.
    pub degrees: Degrees,
    /// Dials in flight at once. More heal faster and cost a flash crowd's
    /// contact more; 3 is what browsers bear. At 10,000 peers of which nine
    /// in ten die, most dials are in vain: 6 rather than 3 halve that time.
    pub dials: u8,
    /// A dial unanswered for so long is given up. Also the wait for an answer
    /// to a question.
    pub patience: Duration,
    /// A link silent for so long is pinged. With three retries a dead peer is
    /// noticed within 3 s; a shorter pause and longer retries would notice it
    /// as soon and cost twice the pings.
    pub ping: Duration,
    /// Pause between further pings; grows with the round trip and its spread.
    pub retry: Duration,
    /// Pings without an answer after which a link counts as dead.
    pub misses: u8,
    /// How often contacts are swapped with a neighbour.
    pub shuffle: Duration,
    /// How often a random link is replaced, for ever.
    pub mix: Duration,
    /// How often a distant link is weighed against a near candidate.
    pub bias: Duration,
    /// How often a remembered peer is dialled to see whether it is there.
    pub probe: Duration,
    /// So long after its start a peer mixes and shuffles faster.
    pub settling: Duration,
    /// Links to one /24 or /48, at most.
    pub per_subnet: u8,
}

impl Config {
    /// The defaults of a class.
    pub fn new(class: Class) -> Self {
        Config {
            degrees: class.degrees(),
            dials: if class == Class::Browser { 3 } else { 6 },
            patience: Duration::from_millis(600),
            ping: Duration::from_millis(1_800),
            retry: Duration::from_millis(400),
            misses: 3,
            shuffle: Duration::from_secs(15),
            mix: Duration::from_secs(60),
            bias: Duration::from_secs(10),
            probe: Duration::from_secs(15),
            settling: Duration::from_secs(30),
            per_subnet: 2,
        }
    }
}
