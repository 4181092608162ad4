//! When packets leave: acknowledgements, window updates, retransmission after a closed window,
//! pacing.

use std::time::Instant;

use bytes::Bytes;

use super::super::packet::{self, Reconfig};
use super::{Association, PACKETS_PER_ACK, PACKETS_PER_FLUSH, RESET_RETRY, TIMERS_TO_SKIP};

impl Association {
    /// The peer's window was closed and has opened: what was sent to probe it is lost, and the
    /// timer that would send it again has backed off. Makes it run out.
    pub(super) fn retransmit_now(&mut self, now: Instant) {
        for _ in 0..TIMERS_TO_SKIP {
            let Some(engine) = self.engine.as_mut() else {
                return;
            };
            let Some(at) = engine.poll_timeout() else {
                return;
            };
            self.clock.skip_to(at, now);
            let result = engine.handle_timeout(self.clock.to_engine(now));
            self.after_call(result);
            let before = self.outgoing.len();
            self.flush(now);
            if self.outgoing.len() > before {
                return;
            }
        }
    }

    /// While something is missing the peer needs to hear of every few packets that arrive
    /// (RFC 9260 §7.2.4); the engine would make one report for the whole batch.
    pub(super) fn acknowledge_gaps(&mut self, now: Instant) {
        self.since_ack += 1;
        self.since_flush += 1;
        let gaps = self.gate.last_sack().is_some_and(|sack| sack.gaps > 0);
        let overdue = self.since_flush >= PACKETS_PER_FLUSH;
        if overdue || gaps && self.since_ack >= PACKETS_PER_ACK {
            self.flush(now);
        }
    }

    /// Moves what the engine lets go into our queue.
    pub(super) fn flush(&mut self, now: Instant) {
        self.since_flush = 0;
        let engine_now = self.clock.to_engine(now);
        let Some(engine) = self.engine.as_mut() else {
            return;
        };
        match engine.poll_packets(engine_now) {
            Ok(packets) => {
                for packet in packets {
                    let (packet, sent) = self.gate.outgoing(packet);
                    self.unsent = self.unsent.saturating_sub(sent.new_bytes);
                    self.stats.chunks_retransmitted += sent.repeated;
                    if sent.sack {
                        self.since_ack = 0;
                        self.read_since_sack = 0;
                    }
                    self.queue(packet);
                }
                self.gate.answered_resets();
                if self.reset_retry.is_none() && self.gate.resets_open() {
                    self.reset_retry = Some(now + RESET_RETRY);
                }
                self.collect();
            }
            Err(fault) => self.after_call(Err(fault)),
        }
    }

    /// The answer to a reset goes before the reset that it leads to: a peer that was not told yet that
    /// its side is reset would reset it again when it sees ours (werift does).
    fn queue(&mut self, packet: Bytes) {
        let last = self.outgoing.back().map(|last| packet::lone_reconfig(last));
        let after = match (packet::lone_reconfig(&packet), last.flatten()) {
            (Some(Reconfig::Response { request, .. }), Some(Reconfig::Reset { answers, .. })) => {
                request == answers
            }
            (_, _) => false,
        };
        let place = self.outgoing.len() - usize::from(after);
        self.outgoing.insert(place, packet);
    }

    /// Tells the peer of a window that reading has opened again.
    pub(super) fn update_window(&mut self, now: Instant) {
        let window = self.config.receive_window;
        let closing = self
            .gate
            .last_sack()
            .is_some_and(|sack| sack.window < window / 2);
        let read = u32::try_from(self.read_since_sack).unwrap_or(u32::MAX);
        if !closing || read < window / 8 {
            return;
        }
        self.read_since_sack = 0;
        if let Some(packet) = self.gate.provocation()
            && let Some(engine) = self.engine.as_mut()
        {
            let result = engine.handle_packet(packet, self.clock.to_engine(now));
            self.after_call(result);
        }
    }

    /// Lets the engine send what it can. [`Association::unsent`] is exact afterwards.
    pub(in super::super::super) fn advance(&mut self, now: Instant) {
        self.update_window(now);
        self.flush(now);
    }

    /// The next packet for DTLS, at most [`crate::sctp::MAX_PACKET`] bytes. `None` also when the pacer
    /// holds packets back; [`Association::poll_timeout`] then says [`crate::sctp::Timer::Pace`].
    pub(in super::super::super) fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        if self.outgoing.is_empty() {
            self.advance(now);
        }
        let len = self.outgoing.front()?.len();
        if !self.pacer.allow(len, now) {
            return None;
        }
        self.stats.packets_sent += 1;
        self.outgoing.pop_front()
    }
}
