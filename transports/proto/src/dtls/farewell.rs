//! What a refused peer was told last. No timer repeats an alert (RFC 9147 §5.11), so that it is said
//! again when the peer goes on as if it had not heard: then it was lost.

use std::time::{Duration, Instant};

/// Packets remembered: the rest of a handshake flight with its certificate, and the goodbye. Filled
/// by the engine after the refusal; further ones are not repeated.
const MAX_PACKETS: usize = 32;
/// Times it is repeated. Guess: enough for a path that loses half of all packets.
const MAX_REPEATS: u32 = 8;
/// The shortest time between two: what arrives in one burst gets one answer.
const PAUSE: Duration = Duration::from_millis(50);

/// The last packets, and how often they were repeated.
#[derive(Debug, Default)]
pub(super) struct Farewell {
    packets: Vec<Vec<u8>>,
    repeats: u32,
    /// When the peer was last heard, or answered.
    last: Option<Instant>,
}

impl Farewell {
    /// A packet was sent.
    pub(super) fn note(&mut self, packet: &[u8]) {
        if self.packets.len() < MAX_PACKETS {
            self.packets.push(packet.to_vec());
        }
    }

    /// The peer has said something: what to send again. What it says at first was under way when
    /// it was refused.
    pub(super) fn again(&mut self, now: Instant) -> Option<&[Vec<u8>]> {
        let last = *self.last.get_or_insert(now);
        if self.repeats >= MAX_REPEATS || now.saturating_duration_since(last) < PAUSE {
            return None;
        }
        self.repeats += 1;
        self.last = Some(now);
        Some(&self.packets)
    }
}
