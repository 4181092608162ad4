//! What the peer sends, on its way through the gate into the engine.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::super::gate::Verdict;
use super::super::packet;
use super::{Association, MAX_QUEUED_PACKETS, MAX_UNREAD_CHUNKS};

impl Association {
    /// Takes an SCTP packet that DTLS has decrypted.
    pub(in super::super::super) fn handle_packet(&mut self, packet: Bytes, now: Instant) {
        self.stats.packets_received += 1;
        if packet::is_init(&packet) {
            return self.take_init(packet, now);
        }
        self.take_packet(packet, now);
    }

    pub(super) fn take_packet(&mut self, mut packet: Bytes, now: Instant) {
        if self.engine.is_none() {
            return;
        }
        if self.outgoing.len() >= MAX_QUEUED_PACKETS {
            self.stats.packets_dropped += 1;
            return;
        }
        let full = self.unread_chunks >= MAX_UNREAD_CHUNKS && !self.readable.is_empty();
        match self.gate.incoming(&packet, self.connected, full) {
            Verdict::Pass => {}
            Verdict::Replace(changed) => packet = changed,
            Verdict::Reply(answer) => return self.outgoing.push_back(answer),
            Verdict::Drop(why) => {
                tracing::debug!(why, "SCTP packet dropped");
                self.stats.packets_dropped += 1;
                return;
            }
        }
        if packet::ends_association(&packet) {
            self.read_what_is_there();
        }
        let Some(engine) = self.engine.as_mut() else {
            return;
        };
        let result = engine.handle_packet(packet, self.clock.to_engine(now));
        self.after_call(result);
        if self.gate.take_window_opened() {
            self.retransmit_now(now);
        }
        self.acknowledge_gaps(now);
    }

    /// The engine forgets what is unread when the peer ends the association. A packet that turns
    /// out not to end it costs the peer nothing, so that this is done once.
    fn read_what_is_there(&mut self) {
        if !self.left.is_empty() {
            return;
        }
        for stream in self.readable.clone() {
            let messages: VecDeque<_> = std::iter::from_fn(|| self.read(stream)).collect();
            if !messages.is_empty() {
                self.left.insert(stream, messages);
                self.readable.insert(stream); // nobody else has read it empty
            }
        }
    }
}
