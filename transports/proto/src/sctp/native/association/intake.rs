//! What the peer sends.

use std::time::Instant;

use bytes::Bytes;

use super::super::super::ErrorCause;
use super::super::forward;
use super::super::receive::Violation;
use super::super::send::Sack;
use super::super::wire::{self, Chunk, cause, kind};
use super::{Association, CloseReason, Control, MAX_EARLY_ACKS, PACKETS_PER_EARLY_ACK, State};

/// Bit of a chunk's type: skip it and go on with the packet (RFC 9260 §3.2).
const GO_ON: u8 = 0x80;
/// Bit of a chunk's type: report it.
const REPORT: u8 = 0x40;
/// The T bit of ABORT and SHUTDOWN COMPLETE: the tag is the sender's own (RFC 9260 §8.5.1).
const REFLECTED: u8 = 0x01;
/// Bytes of an unknown chunk that are reported back.
const MAX_REPORT: usize = 64;
/// The error cause "stale cookie" (RFC 9260 §3.3.10.3).
const STALE_COOKIE: u16 = 3;

impl Association {
    /// Takes a packet that DTLS has decrypted.
    pub(in super::super::super) fn handle_packet(&mut self, packet: &Bytes, now: Instant) {
        self.stats.packets_received += 1;
        if matches!(self.state, State::Ended(_)) {
            return;
        }
        if !self.is_acceptable(packet) {
            self.stats.packets_dropped += 1;
            return;
        }
        let before = self.receiver.cumulative();
        let mut data = false;
        for chunk in wire::chunks(packet).flatten() {
            data |= matches!(chunk.kind, kind::DATA | kind::I_DATA);
            if !self.take_chunk(packet, &chunk, now) {
                break;
            }
        }
        if data && self.is_up() {
            self.receiver.packet_taken(now);
            self.acknowledge_early();
        }
        self.after_packet(before, now);
    }

    /// Whether every chunk is well-formed, and tag and checksum are right (RFC 9260 §8.5, §6.8).
    fn is_acceptable(&self, packet: &[u8]) -> bool {
        if wire::chunks(packet).any(|chunk| chunk.is_none()) {
            return false;
        }
        let Some(first) = wire::chunks(packet).next().flatten() else {
            return false;
        };
        let reflected = first.flags & REFLECTED != 0;
        let expected = match first.kind {
            kind::INIT => 0,
            kind::ABORT | kind::SHUTDOWN_COMPLETE if reflected => self.address.tag,
            _ => self.local.tag,
        };
        let tag = wire::be32(packet, 4);
        let opening = matches!(first.kind, kind::INIT | kind::COOKIE_ECHO);
        let zero = self.local.features.zero_checksum && !opening;
        tag == Some(expected) && wire::checksum_holds(packet, zero)
    }

    /// Takes one chunk; says whether to go on with the packet.
    fn take_chunk(&mut self, packet: &Bytes, chunk: &Chunk, now: Instant) -> bool {
        let value = packet.get(chunk.value.clone()).unwrap_or_default();
        match chunk.kind {
            kind::INIT => {
                self.take_init(value, now);
                return false; // nothing else may be beside it
            }
            kind::INIT_ACK => {
                self.take_init_ack(value, now);
                return false;
            }
            kind::COOKIE_ECHO => self.take_cookie(value, now),
            kind::COOKIE_ACK => self.take_cookie_ack(),
            kind::ABORT => {
                self.report_readable(); // what came with it
                let cause = ErrorCause::first_of(value);
                self.end(CloseReason::Aborted(cause), None);
                return false;
            }
            kind::ERROR => self.take_error(value, now),
            kind::SHUTDOWN_COMPLETE => {
                if matches!(self.state, State::ShutdownAckSent(_)) {
                    self.end(CloseReason::Peer, None);
                }
                return false;
            }
            _ if self.is_up() => return self.take_chunk_of_association(packet, chunk, now),
            _ => return false, // before its time
        }
        true
    }

    fn is_up(&self) -> bool {
        matches!(
            self.state,
            State::Established | State::ShutdownReceived | State::ShutdownAckSent(_)
        )
    }

    fn take_chunk_of_association(&mut self, packet: &Bytes, chunk: &Chunk, now: Instant) -> bool {
        let value = packet.get(chunk.value.clone()).unwrap_or_default();
        match chunk.kind {
            kind::DATA | kind::I_DATA => return self.take_data(packet, chunk),
            kind::SACK => {
                if let Some(sack) = Sack::parse(value) {
                    self.sender.handle_sack(&sack, now);
                    self.settle_acknowledged(now);
                }
            }
            kind::HEARTBEAT => {
                let info = packet.slice(chunk.value.clone());
                if info.len() <= super::output::CONTROL_ROOM {
                    self.answer(Control::new(kind::HEARTBEAT_ACK, info));
                }
            }
            kind::FORWARD_TSN | kind::I_FORWARD_TSN => {
                let interleaved = chunk.kind == kind::I_FORWARD_TSN;
                if interleaved == self.interleaving
                    && let Some(skip) = forward::parse(value, interleaved)
                {
                    self.receiver.skip(&skip, interleaved);
                }
            }
            kind::RE_CONFIG => {
                let effects = self.reconfig.handle(value, self.receiver.cumulative(), now);
                self.apply(effects);
            }
            kind::SHUTDOWN => {
                if let Some(cumulative) = wire::be32(value, 0) {
                    self.sender.handle_cumulative(cumulative, now);
                    self.settle_acknowledged(now);
                }
                self.take_shutdown(now);
            }
            kind::HEARTBEAT_ACK => self.mtu.on_answer(value, now),
            kind::SHUTDOWN_ACK => {} // nobody asked
            unknown => {
                if unknown & REPORT != 0 {
                    self.report_unknown(packet, chunk);
                }
                return unknown & GO_ON != 0;
            }
        }
        true
    }

    /// Data of the kind that was not agreed on, without bytes or malformed ends the association.
    fn take_data(&mut self, packet: &Bytes, chunk: &Chunk) -> bool {
        let interleaved = chunk.kind == kind::I_DATA;
        if interleaved != self.interleaving {
            self.violated(cause::PROTOCOL_VIOLATION); // RFC 8260 §2.2.2
            return false;
        }
        match self.receiver.take(packet, chunk, interleaved) {
            Ok(()) => true,
            Err(Violation::Malformed) => {
                self.violated(cause::PROTOCOL_VIOLATION);
                false
            }
            Err(Violation::Empty) => {
                self.violated(cause::NO_USER_DATA);
                false
            }
        }
    }

    fn take_error(&mut self, value: &[u8], now: Instant) {
        let stale = wire::parameters(value).any(|(cause, _)| cause == STALE_COOKIE);
        if stale && matches!(self.state, State::CookieEchoed(_)) {
            self.begin(now); // RFC 9260 §5.2.6
        }
    }

    fn report_unknown(&mut self, packet: &Bytes, chunk: &Chunk) {
        let start = chunk.value.start - wire::CHUNK_HEADER;
        let end = chunk.value.end.min(start + MAX_REPORT);
        let mut value = Vec::with_capacity(MAX_REPORT + wire::CHUNK_HEADER);
        let whole = packet.get(start..end).unwrap_or_default();
        wire::put_parameter(&mut value, cause::UNRECOGNIZED_CHUNK, whole);
        self.answer(Control::new(kind::ERROR, value));
    }

    fn settle_acknowledged(&mut self, now: Instant) {
        self.look_for_skips = true;
        self.watch_for_black_hole(now);
        self.forward.settled(self.sender.cumulative());
        self.release_all();
        self.shut_down_if_idle(now);
    }

    /// While something is missing, senders that count reports need one every few packets; a
    /// batch of packets would get one in all.
    fn acknowledge_early(&mut self) {
        let room = self.early_acks.len() < MAX_EARLY_ACKS;
        if room && self.receiver.ack_is_urgent(PACKETS_PER_EARLY_ACK) {
            let sack = self.receiver.sack(super::output::CONTROL_ROOM);
            self.early_acks.push_back(sack.into());
        }
    }

    fn after_packet(&mut self, before: u32, now: Instant) {
        if !self.is_up() {
            return;
        }
        let cumulative = self.receiver.cumulative();
        if cumulative != before && self.reconfig.waits_for_data() {
            let mut effects = Vec::new();
            self.report_readable(); // what came before the reset
            self.reconfig.arrived(cumulative, now, &mut effects);
            self.apply(effects);
        }
        self.report_readable();
        self.shut_down_if_idle(now);
    }
}
