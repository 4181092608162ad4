//! What the peer sends, on its way through the gate into the engine.

use std::time::Instant;

use bytes::Bytes;

use super::super::engine::Engine;
use super::super::gate::{Gate, Verdict};
use super::super::packet;
use super::{Association, MAX_QUEUED_PACKETS, MAX_UNREAD_CHUNKS, Opening};
use crate::id::DtlsRole;

impl Association {
    /// Takes an SCTP packet that DTLS has decrypted.
    pub fn handle_packet(&mut self, packet: Bytes, now: Instant) {
        self.stats.packets_received += 1;
        if packet::is_init(&packet) && self.opening != Opening::Begins {
            return self.answer_init(packet, now);
        }
        self.take_packet(packet, now);
    }

    /// An INIT while we wait for one: if we have begun ourselves meanwhile, we let the peer.
    fn answer_init(&mut self, packet: Bytes, now: Instant) {
        if self.connected || self.gate.knows_peer() && self.opening == Opening::BeganInstead {
            return; // our own INIT was answered already
        }
        if self.opening == Opening::BeganInstead {
            self.begin_anew(DtlsRole::Server, now);
        }
        self.opening = Opening::Answers;
        self.take_packet(packet, now);
    }

    pub(super) fn begin_anew(&mut self, role: DtlsRole, now: Instant) {
        self.outgoing.clear();
        self.gate = Gate::new(self.config.streams);
        match Engine::new(&self.config, role, self.clock.to_engine(now)) {
            Ok(engine) => self.engine = Some(engine),
            Err(error) => tracing::debug!(%error, "SCTP engine"),
        }
    }

    pub(super) fn take_packet(&mut self, mut packet: Bytes, now: Instant) {
        let Some(engine) = self.engine.as_mut() else {
            return;
        };
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
        let result = engine.handle_packet(packet, self.clock.to_engine(now));
        self.after_call(result);
        if self.gate.take_window_opened() {
            self.retransmit_now(now);
        }
        self.acknowledge_gaps(now);
    }
}
