//! Packets and chunks as bytes (RFC 9260 §3), read by range and written in place.

use std::ops::Range;

use bytes::{BufMut, BytesMut};

/// Length of the common header.
pub(super) const HEADER: usize = 12;
/// Length of a chunk's or parameter's header.
pub(super) const CHUNK_HEADER: usize = 4;

/// Chunk types (RFC 9260 §3.2, RFC 8260 §2, RFC 6525 §3, RFC 3758 §3.2).
pub(super) mod kind {
    pub(in super::super) const DATA: u8 = 0;
    pub(in super::super) const INIT: u8 = 1;
    pub(in super::super) const INIT_ACK: u8 = 2;
    pub(in super::super) const SACK: u8 = 3;
    pub(in super::super) const HEARTBEAT: u8 = 4;
    pub(in super::super) const HEARTBEAT_ACK: u8 = 5;
    pub(in super::super) const ABORT: u8 = 6;
    pub(in super::super) const SHUTDOWN: u8 = 7;
    pub(in super::super) const SHUTDOWN_ACK: u8 = 8;
    pub(in super::super) const ERROR: u8 = 9;
    pub(in super::super) const COOKIE_ECHO: u8 = 10;
    pub(in super::super) const COOKIE_ACK: u8 = 11;
    pub(in super::super) const SHUTDOWN_COMPLETE: u8 = 14;
    pub(in super::super) const I_DATA: u8 = 64;
    pub(in super::super) const RE_CONFIG: u8 = 130;
    /// RFC 4820.
    pub(in super::super) const PAD: u8 = 132;
    pub(in super::super) const FORWARD_TSN: u8 = 192;
    pub(in super::super) const I_FORWARD_TSN: u8 = 194;
}

/// Flags of DATA and I-DATA (RFC 9260 §3.3.1).
pub(super) mod flag {
    /// The last piece of a message.
    pub(in super::super) const END: u8 = 0x01;
    /// The first piece of a message.
    pub(in super::super) const BEGIN: u8 = 0x02;
    /// Outside the order of its stream.
    pub(in super::super) const UNORDERED: u8 = 0x04;
    /// To be acknowledged at once (RFC 7053).
    pub(in super::super) const IMMEDIATE: u8 = 0x08;
}

/// Error causes (RFC 9260 §3.3.10).
pub(super) mod cause {
    pub(in super::super) const UNRECOGNIZED_CHUNK: u16 = 6;
    pub(in super::super) const NO_USER_DATA: u16 = 9;
    pub(in super::super) const USER_INITIATED: u16 = 12;
    pub(in super::super) const PROTOCOL_VIOLATION: u16 = 13;
}

/// One chunk of a packet: where its value lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chunk {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) value: Range<usize>,
}

/// The chunks of a packet, or `None` for one that is malformed in any place.
pub(super) fn chunks(packet: &[u8]) -> impl Iterator<Item = Option<Chunk>> + '_ {
    let mut at = HEADER;
    let mut broken = packet.len() <= HEADER;
    std::iter::from_fn(move || {
        if std::mem::take(&mut broken) {
            at = packet.len();
            return Some(None);
        }
        if at >= packet.len() {
            return None;
        }
        let chunk = chunk_at(packet, at);
        match &chunk {
            Some(chunk) => at = chunk.value.end.next_multiple_of(4),
            None => at = packet.len(),
        }
        Some(chunk)
    })
}

fn chunk_at(packet: &[u8], at: usize) -> Option<Chunk> {
    let head = packet.get(at..at + CHUNK_HEADER)?;
    let end = at + usize::from(u16::from_be_bytes([head[2], head[3]]));
    if end < at + CHUNK_HEADER || end > packet.len() {
        return None;
    }
    Some(Chunk {
        kind: head[0],
        flags: head[1],
        value: at + CHUNK_HEADER..end,
    })
}

/// Parameters and error causes, which look the same: type and value (RFC 9260 §3.2.1). Ends
/// early where malformed.
pub(super) fn parameters(mut rest: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let kind = be16(rest, 0)?;
        let len = usize::from(be16(rest, 2)?);
        let value = rest.get(CHUNK_HEADER..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, value))
    })
}

pub(super) fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(super) fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// Appends a parameter with its padding.
pub(super) fn put_parameter(out: &mut Vec<u8>, kind: u16, value: &[u8]) {
    out.extend(kind.to_be_bytes());
    out.extend(length(value.len()).to_be_bytes());
    out.extend(value);
    out.resize(out.len().next_multiple_of(4), 0);
}

/// The length field of a chunk or parameter with a value so long.
fn length(value: usize) -> u16 {
    u16::try_from(value + CHUNK_HEADER).unwrap_or(u16::MAX)
}

/// What is in the checksum field (RFC 9260 §6.8, RFC 9653).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checksum {
    /// CRC32c.
    Crc32c,
    /// Zero: the peer relies on DTLS to detect errors.
    Zero,
}

/// Whether the checksum is right, or zero where the peer may leave it out.
pub(super) fn checksum_holds(packet: &[u8], zero_allowed: bool) -> bool {
    let Some(found) = packet.get(8..HEADER) else {
        return false;
    };
    if found == [0; 4] && zero_allowed {
        return true;
    }
    let sum = crc32c::crc32c(&packet[..8]);
    let sum = crc32c::crc32c_append(sum, &[0; 4]);
    let sum = crc32c::crc32c_append(sum, &packet[HEADER..]);
    found == sum.to_le_bytes()
}

/// Ports and verification tag of what we send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) ports: [u8; 4],
    pub(super) tag: u32,
}

/// Writes one packet at the end of a buffer that others may lie in already.
pub(super) struct PacketWriter<'a> {
    out: &'a mut BytesMut,
    start: usize,
    limit: usize,
}

impl<'a> PacketWriter<'a> {
    /// Begins a packet of at most `limit` bytes.
    pub(super) fn new(out: &'a mut BytesMut, address: Address, limit: usize) -> Self {
        let start = out.len();
        out.put_slice(&address.ports);
        out.put_u32(address.tag);
        out.put_u32(0);
        Self { out, start, limit }
    }

    /// Bytes of padded chunks, with their headers, that still fit.
    pub(super) fn room(&self) -> usize {
        self.limit.saturating_sub(self.len()) & !3
    }

    /// Bytes in it.
    pub(super) fn len(&self) -> usize {
        self.out.len() - self.start
    }

    /// Whether there is no chunk in it yet.
    pub(super) fn is_empty(&self) -> bool {
        self.len() == HEADER
    }

    /// Adds a chunk whose value is `head` followed by `body`.
    pub(super) fn chunk(&mut self, kind: u8, flags: u8, head: &[u8], body: &[u8]) {
        self.out.put_u8(kind);
        self.out.put_u8(flags);
        self.out.put_u16(length(head.len() + body.len()));
        self.out.put_slice(head);
        self.out.put_slice(body);
        let padding = (head.len() + body.len()).next_multiple_of(4) - head.len() - body.len();
        self.out.put_bytes(0, padding);
    }

    /// Fills in the checksum and returns the length, or takes an empty packet back and returns 0.
    pub(super) fn finish(self, checksum: Checksum) -> usize {
        if self.is_empty() {
            self.out.truncate(self.start);
            return 0;
        }
        let packet = &mut self.out[self.start..];
        if checksum == Checksum::Crc32c {
            let sum = crc32c::crc32c(packet);
            packet[8..HEADER].copy_from_slice(&sum.to_le_bytes());
        }
        packet.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Address = Address {
        ports: [0x13, 0x88, 0x13, 0x88],
        tag: 7,
    };

    #[test]
    fn what_is_written_is_read() {
        let mut out = BytesMut::from(&b"before"[..]);
        let mut writer = PacketWriter::new(&mut out, ADDRESS, 100);
        writer.chunk(kind::DATA, 3, &[1; 12], &[2; 5]);
        writer.chunk(kind::COOKIE_ACK, 0, &[], &[]);
        assert_eq!(writer.room(), 100 - 12 - 24 - 4);
        let len = writer.finish(Checksum::Crc32c);
        let packet = out.split_off(6);
        assert_eq!(packet.len(), len);
        assert!(checksum_holds(&packet, false));
        let found: Vec<_> = chunks(&packet).flatten().collect();
        assert_eq!(found.len(), 2);
        assert_eq!((found[0].kind, found[0].flags), (kind::DATA, 3));
        assert_eq!(found[0].value, 16..33);
        let mut changed = packet;
        changed[20] ^= 1;
        assert!(!checksum_holds(&changed, true));
        changed[8..12].fill(0);
        assert!(checksum_holds(&changed, true) && !checksum_holds(&changed, false));
    }

    #[test]
    fn an_empty_packet_is_taken_back() {
        let mut out = BytesMut::new();
        let writer = PacketWriter::new(&mut out, ADDRESS, 100);
        assert_eq!(writer.finish(Checksum::Zero), 0);
        assert!(out.is_empty());
    }

    #[test]
    fn malformed_packets_end_with_nothing() {
        let mut out = BytesMut::new();
        let mut writer = PacketWriter::new(&mut out, ADDRESS, 100);
        writer.chunk(kind::DATA, 3, &[1; 12], &[2; 5]);
        let len = writer.finish(Checksum::Crc32c);
        for cut in 0..len - 3 {
            assert_eq!(chunks(&out[..cut]).last(), Some(None), "{cut}");
        }
        out[HEADER + 3] = 3;
        assert_eq!(chunks(&out).collect::<Vec<_>>(), [None]);
    }

    #[test]
    fn checksum_of_the_standard_vector() {
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
    }
}
