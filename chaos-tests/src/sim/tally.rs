//! What is counted while a world runs.

/// Bytes that a message costs on the way besides its own: IPv4, UDP, QUIC's
/// short header, its tag, a stream frame.
pub const FRAMING: u64 = 60;
/// Bytes that a connection costs both ends together before anything is said: a
/// QUIC handshake with certificates, padded flights included.
pub const HANDSHAKE: u64 = 6_000;
/// Bytes of a dial that nobody answers: a padded first flight and one repeat.
pub const UNANSWERED: u64 = 2_400;

/// Counters of the whole world; phases take differences.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Events, of any kind.
    pub events: u64,
    /// Messages sent.
    pub messages: u64,
    /// Bytes of these, framing included.
    pub bytes: u64,
    /// Bytes of connections made and dials in vain.
    pub handshakes: u64,
    /// Connections made.
    pub connections: u64,
    /// Broadcasts pushed, copies included.
    pub pushes: u64,
    /// Broadcasts delivered.
    pub delivered: u64,
    /// Milliseconds lived by all nodes together.
    pub lived: u64,
    /// Bytes of routed envelopes and their acknowledgements, framing included.
    pub signal: u64,
    /// Bytes of what nodes tell each other for routing, framing included.
    pub digests: u64,
}

impl Counters {
    /// What was added since `before`.
    pub fn since(&self, before: &Counters) -> Counters {
        Counters {
            events: self.events - before.events,
            messages: self.messages - before.messages,
            bytes: self.bytes - before.bytes,
            handshakes: self.handshakes - before.handshakes,
            connections: self.connections - before.connections,
            pushes: self.pushes - before.pushes,
            delivered: self.delivered - before.delivered,
            lived: self.lived - before.lived,
            signal: self.signal - before.signal,
            digests: self.digests - before.digests,
        }
    }
}

/// One broadcast and whom it has reached.
#[derive(Debug, Clone)]
pub struct Said {
    /// When.
    pub at: u64,
    /// By whom.
    pub by: u32,
    /// One bit a node.
    reached: Vec<u64>,
    /// The longest way.
    pub hops: u8,
    /// When the last node got it.
    pub last: u64,
}

impl Said {
    pub(crate) fn new(at: u64, by: u32, nodes: usize) -> Self {
        Said {
            at,
            by,
            reached: vec![0; nodes.div_ceil(64)],
            hops: 0,
            last: at,
        }
    }

    pub(crate) fn reach(&mut self, node: u32, hops: u8, now: u64) -> bool {
        let word = usize::try_from(node / 64).unwrap_or(usize::MAX);
        let Some(word) = self.reached.get_mut(word) else {
            return false;
        };
        let bit = 1 << (node % 64);
        let fresh = *word & bit == 0;
        *word |= bit;
        self.hops = self.hops.max(hops);
        self.last = now;
        fresh
    }

    /// Whether it reached `node`.
    pub fn has_reached(&self, node: u32) -> bool {
        let word = usize::try_from(node / 64).unwrap_or(usize::MAX);
        self.reached
            .get(word)
            .is_some_and(|word| word >> (node % 64) & 1 == 1)
    }
}
