//! Packets as they leave: what waits, bundled (RFC 9260 §6.10), written in place.

use std::time::Instant;

use bytes::{Bytes, BytesMut};

use super::super::forward;
use super::super::send::Readiness;
use super::super::wire::{self, Address, Checksum, PacketWriter, kind};
use super::{Association, Control, State};
use crate::sctp::{LONGEST_PACKET, MAX_PACKET};

/// Room for the value of a chunk in a packet of its own, padding included.
pub(super) const CONTROL_ROOM: usize = ((MAX_PACKET - wire::HEADER) & !3) - wire::CHUNK_HEADER;

/// With so much on its way, longer packets help.
const WORTH_PROBING: usize = 16 * MAX_PACKET;

/// Bytes of the buffer that packets are cut from: the first of a burst, and at most. Each is twice
/// as large as the one before; between bursts none is held.
const POOL: usize = 2 * LONGEST_PACKET;
const MAX_POOL: usize = 64 * 1024;

impl Association {
    /// The next packet in a buffer of its own.
    pub(in super::super::super) fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        let mut pool = std::mem::take(&mut self.pool);
        if pool.capacity() < LONGEST_PACKET {
            pool = BytesMut::with_capacity(self.pool_size.max(POOL));
            self.pool_size = (2 * pool.capacity()).min(MAX_POOL);
        }
        let len = self.write_packet(&mut pool, now);
        if len == 0 {
            self.pool_size = 0;
            return None;
        }
        let packet = pool.split_to(len).freeze();
        self.pool = pool;
        Some(packet)
    }

    /// Writes the next packet at the end of `out`; returns its length, 0 if there is none.
    pub(in super::super::super) fn write_packet(
        &mut self,
        out: &mut BytesMut,
        now: Instant,
    ) -> usize {
        out.reserve(LONGEST_PACKET);
        self.paced_until = None;
        let len = self.write_any(out, now);
        if len > 0 {
            self.stats.packets_sent += 1;
        }
        len
    }

    fn write_any(&mut self, out: &mut BytesMut, now: Instant) -> usize {
        if self.controls.front().is_some_and(Control::is_alone) {
            return self.write_alone(out);
        }
        let checksum = if self.zero_checksum {
            Checksum::Zero
        } else {
            Checksum::Crc32c
        };
        if let Some(len) = self.write_probe(out, checksum, now) {
            return len;
        }
        let mut writer = PacketWriter::new(out, self.address, self.mtu.size());
        if let Some(sack) = self.early_acks.pop_front() {
            writer.chunk(kind::SACK, 0, &[], &sack);
            return writer.finish(checksum);
        }
        while let Some(control) = self.controls.front() {
            let fits =
                control.value.len().next_multiple_of(4) + wire::CHUNK_HEADER <= writer.room();
            if control.is_alone() || !(fits || writer.is_empty()) {
                break;
            }
            writer.chunk(control.kind, control.flags, &[], &control.value);
            self.controls.pop_front();
        }
        if !matches!(self.state, State::Established | State::ShutdownReceived) {
            return writer.finish(checksum);
        }
        self.write_resets(&mut writer, now);
        self.write_skip(&mut writer, now);
        let ready = self.sender.readiness(self.mtu.size(), now);
        self.write_sack(&mut writer, ready);
        match ready {
            Readiness::Now => self.sender.fill(&mut writer, now),
            Readiness::At(at) => self.paced_until = Some(at),
            Readiness::Nothing => {}
        }
        let len = writer.finish(checksum);
        if self.sender.in_flight() > WORTH_PROBING {
            self.mtu.begin(now);
        }
        self.release_all();
        len
    }

    /// A probe of the path MTU, in a packet of its own.
    fn write_probe(
        &mut self,
        out: &mut BytesMut,
        checksum: Checksum,
        now: Instant,
    ) -> Option<usize> {
        if self.state != State::Established {
            return None;
        }
        let (value, padding) = self.mtu.poll_probe(self.sender.timeout(), now)?;
        let mut writer = PacketWriter::new(out, self.address, LONGEST_PACKET);
        writer.chunk(kind::HEARTBEAT, 0, &[], &value);
        let zeros = [0; LONGEST_PACKET];
        writer.chunk(kind::PAD, 0, &[], zeros.get(..padding)?);
        Some(writer.finish(checksum))
    }

    fn write_alone(&mut self, out: &mut BytesMut) -> usize {
        let Some(control) = self.controls.pop_front() else {
            return 0;
        };
        let tag = control.tag.unwrap_or(self.address.tag);
        let address = Address {
            tag,
            ..self.address
        };
        let mut writer = PacketWriter::new(out, address, MAX_PACKET);
        writer.chunk(control.kind, control.flags, &[], &control.value);
        writer.finish(Checksum::Crc32c)
    }

    fn write_resets(&mut self, writer: &mut PacketWriter<'_>, now: Instant) {
        // A request can fill a packet.
        if !writer.is_empty() {
            return;
        }
        let (sender, last_tsn) = (&self.sender, self.sender.last_tsn());
        let ready = |stream| sender.is_drained(stream);
        if let Some(value) = self.reconfig.poll_transmit(ready, last_tsn, now) {
            writer.chunk(kind::RE_CONFIG, 0, &[], &value);
        }
    }

    fn write_skip(&mut self, writer: &mut PacketWriter<'_>, now: Instant) {
        if !writer.is_empty() || !std::mem::take(&mut self.look_for_skips) {
            return;
        }
        let Some((to, skipped)) = self.sender.skipped() else {
            return;
        };
        let patience = self.sender.timeout();
        if !self.forward.is_due(to, patience, now) {
            return;
        }
        let (kind, value) = if self.interleaving {
            (kind::I_FORWARD_TSN, forward::i_forward_tsn(to, &skipped))
        } else {
            (kind::FORWARD_TSN, forward::forward_tsn(to, &skipped))
        };
        writer.chunk(kind, 0, &[], &value);
        self.forward.was_told(to, now);
    }

    /// An acknowledgement that is due, or that can travel with data.
    fn write_sack(&mut self, writer: &mut PacketWriter<'_>, ready: Readiness) {
        let travels = ready == Readiness::Now && self.receiver.ack_is_welcome();
        let room = writer.room().saturating_sub(wire::CHUNK_HEADER);
        if room >= 12 && (self.receiver.ack_is_due() || travels) {
            let sack = self.receiver.sack(room);
            writer.chunk(kind::SACK, 0, &[], &sack);
        }
    }
}
