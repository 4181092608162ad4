//! SCTP packets as far as the gate has to know them (RFC 9260 §3, RFC 6525 §3, RFC 3758 §3.2).

use std::collections::BTreeSet;

use bytes::Bytes;

pub(super) const HEADER: usize = 12;
pub(super) const DATA: u8 = 0;
pub(super) const INIT: u8 = 1;
pub(super) const INIT_ACK: u8 = 2;
pub(super) const SACK: u8 = 3;
pub(in crate::sctp) const ABORT: u8 = 6;
const SHUTDOWN_ACK: u8 = 8;
pub(super) const ERROR: u8 = 9;
const SHUTDOWN_COMPLETE: u8 = 14;
pub(super) const RE_CONFIG: u8 = 130;
pub(super) const FORWARD_TSN: u8 = 192;

const OUTGOING_RESET: u16 = 13;
const RECONFIG_RESPONSE: u16 = 16;

/// One chunk, header stripped.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chunk<'a> {
    pub(super) kind: u8,
    pub(super) value: &'a [u8],
}

/// The chunks of a packet; ends early where the packet is malformed.
pub(super) fn chunks(packet: &[u8]) -> impl Iterator<Item = Chunk<'_>> {
    let mut rest = packet.get(HEADER..).unwrap_or_default();
    std::iter::from_fn(move || {
        let head = rest.get(..4)?;
        let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let value = rest.get(4..len)?;
        let kind = head[0];
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(Chunk { kind, value })
    })
}

/// Whether the chunks fill the packet exactly, but for the padding of the last one. The engine
/// believes the length of a COOKIE ECHO before it has compared it with what is there.
pub(super) fn well_formed(packet: &[u8]) -> bool {
    let mut at = HEADER;
    while let Some(len) = be16(packet, at + 2).map(usize::from) {
        if len < 4 || at + len > packet.len() {
            return false;
        }
        at += len.next_multiple_of(4);
    }
    at > HEADER && at >= packet.len()
}

pub(in crate::sctp) fn verification_tag(packet: &[u8]) -> Option<u32> {
    be32(packet, 4)
}

/// Whether the packet begins an association.
pub(in crate::sctp) fn is_init(packet: &[u8]) -> bool {
    chunks(packet)
        .next()
        .is_some_and(|chunk| chunk.kind == INIT)
}

/// Whether the packet may be the last of its association (RFC 9260 §9.1, §9.2).
pub(super) fn ends_association(packet: &[u8]) -> bool {
    let last = [ABORT, SHUTDOWN_ACK, SHUTDOWN_COMPLETE];
    chunks(packet).any(|chunk| last.contains(&chunk.kind))
}

/// A DATA chunk's TSN, stream and length of user data.
pub(super) fn data(chunk: Chunk<'_>) -> Option<(u32, u16, usize)> {
    let tsn = be32(chunk.value, 0)?;
    let stream = be16(chunk.value, 4)?;
    Some((tsn, stream, chunk.value.len().saturating_sub(12)))
}

/// The initiate tag and first TSN of INIT or INIT ACK.
pub(super) fn init(chunk: Chunk<'_>) -> Option<(u32, u32)> {
    Some((be32(chunk.value, 0)?, be32(chunk.value, 12)?))
}

/// What a SACK says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sack {
    pub(super) cumulative: u32,
    pub(super) window: u32,
    pub(super) gaps: u16,
}

pub(super) fn sack(chunk: Chunk<'_>) -> Option<Sack> {
    Some(Sack {
        cumulative: be32(chunk.value, 0)?,
        window: be32(chunk.value, 4)?,
        gaps: be16(chunk.value, 8)?,
    })
}

pub(super) fn forward_tsn(chunk: Chunk<'_>) -> Option<u32> {
    be32(chunk.value, 0)
}

/// The streams of a reset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Streams<'a>(&'a [u8]);

impl Streams<'_> {
    pub(super) fn iter(self) -> impl Iterator<Item = u16> {
        let pairs = self.0.chunks_exact(2);
        pairs.map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
    }
}

/// The parts of a RE-CONFIG chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reconfig<'a> {
    /// The sender resets streams of its own; `answers` is the request of the other end that makes it
    /// do so, or 0.
    Reset {
        request: u32,
        answers: u32,
        streams: Streams<'a>,
    },
    /// The answer to one.
    Response { request: u32, result: u32 },
    /// Something else.
    Other,
}

/// "In progress" of RFC 6525 §4.4: ask again.
pub(super) const IN_PROGRESS: u32 = 6;
/// "Success - Performed".
#[cfg(test)]
pub(super) const PERFORMED: u32 = 1;

pub(super) fn reconfig(chunk: Chunk<'_>) -> impl Iterator<Item = Reconfig<'_>> + '_ {
    let mut rest = chunk.value;
    std::iter::from_fn(move || {
        let kind = be16(rest, 0)?;
        let len = usize::from(be16(rest, 2)?);
        let value = rest.get(4..len)?;
        rest = rest.get(len.next_multiple_of(4)..).unwrap_or_default();
        Some(match (kind, be32(value, 0), be32(value, 4)) {
            (OUTGOING_RESET, Some(request), Some(answers)) => Reconfig::Reset {
                request,
                answers,
                streams: Streams(value.get(12..).unwrap_or_default()),
            },
            (RECONFIG_RESPONSE, Some(request), Some(result)) => {
                Reconfig::Response { request, result }
            }
            _ => Reconfig::Other,
        })
    })
}

/// A packet of one chunk.
pub(in crate::sctp) fn build(ports: [u8; 4], tag: u32, kind: u8, flags: u8, value: &[u8]) -> Bytes {
    let mut packet = Vec::with_capacity(HEADER + 4 + value.len() + 3);
    packet.extend(ports);
    packet.extend(tag.to_be_bytes());
    packet.extend([0; 4]);
    packet.extend([kind, flags]);
    let len = u16::try_from(value.len() + 4).unwrap_or(u16::MAX);
    packet.extend(len.to_be_bytes());
    packet.extend(value);
    packet.resize(packet.len().next_multiple_of(4), 0);
    seal(&mut packet);
    packet.into()
}

/// A packet that aborts like `packet` does, reduced to whether its user wanted it (RFC 9260
/// §3.3.10.12): the engine believes the lengths of error causes.
pub(super) fn plain_abort(packet: &[u8], abort: Chunk<'_>) -> Option<Bytes> {
    const USER_INITIATED: u16 = 12;
    let value: &[u8] = if be16(abort.value, 0) == Some(USER_INITIATED) {
        &[0, 12, 0, 4]
    } else {
        &[]
    };
    let ports = packet.get(..4)?.try_into().ok()?;
    Some(build(ports, verification_tag(packet)?, ABORT, 0, value))
}

/// The packet without its chunks of one kind, `None` if it has none. What is left may be a header
/// alone.
pub(super) fn without(packet: &[u8], kind: u8) -> Option<Bytes> {
    if !chunks(packet).any(|chunk| chunk.kind == kind) {
        return None;
    }
    let mut left = packet.get(..HEADER)?.to_vec();
    let mut at = HEADER;
    while let Some(len) = be16(packet, at + 2)
        .map(usize::from)
        .filter(|len| *len >= 4)
    {
        let next = at + len.next_multiple_of(4);
        if packet.get(at) != Some(&kind) {
            left.extend(packet.get(at..next.min(packet.len()))?);
        }
        at = next;
    }
    left[8..HEADER].copy_from_slice(&[0; 4]);
    seal(&mut left);
    Some(left.into())
}

/// The value of a RE-CONFIG chunk that answers `request`.
pub(super) fn reset_response(request: u32, result: u32) -> Vec<u8> {
    let mut value = Vec::with_capacity(12);
    value.extend(RECONFIG_RESPONSE.to_be_bytes());
    value.extend(12_u16.to_be_bytes());
    value.extend(request.to_be_bytes());
    value.extend(result.to_be_bytes());
    value
}

/// The only part of a packet that is one RE-CONFIG chunk with one part.
pub(super) fn lone_reconfig(packet: &[u8]) -> Option<Reconfig<'_>> {
    let mut chunks = chunks(packet);
    let chunk = chunks.next().filter(|chunk| chunk.kind == RE_CONFIG)?;
    let mut parts = reconfig(chunk);
    let part = parts.next()?;
    (parts.next().is_none() && chunks.next().is_none()).then_some(part)
}

/// A packet that is one reset, of other streams.
pub(super) fn with_streams(packet: &[u8], streams: &[u16]) -> Option<Bytes> {
    const FIXED: usize = 16;
    let chunk = chunks(packet)
        .next()
        .filter(|chunk| chunk.kind == RE_CONFIG)?;
    let mut value = chunk.value.get(..FIXED)?.to_vec();
    value.extend(streams.iter().flat_map(|stream| stream.to_be_bytes()));
    let len = u16::try_from(value.len()).ok()?;
    value[2..4].copy_from_slice(&len.to_be_bytes());
    let ports = packet.get(..4)?.try_into().ok()?;
    Some(build(
        ports,
        verification_tag(packet)?,
        RE_CONFIG,
        0,
        &value,
    ))
}

/// Cuts the gap reports of a packet that is nothing but a SACK so that it fits into `limit`
/// bytes; RFC 9260 §6.2.1 lets the receiver of data report as many as fit.
pub(super) fn shorten_sack(packet: &[u8], limit: usize) -> Option<Bytes> {
    let chunk = chunks(packet).next().filter(|chunk| chunk.kind == SACK)?;
    let sack = sack(chunk)?;
    let room = limit.checked_sub(HEADER + 4 + 12)? / 4;
    let gaps = sack.gaps.min(u16::try_from(room).ok()?);
    let end = 12 + usize::from(gaps) * 4;
    let mut value = chunk.value.get(..end)?.to_vec();
    value[8..10].copy_from_slice(&gaps.to_be_bytes());
    value[10..12].copy_from_slice(&[0; 2]);
    let ports = packet.get(..4)?.try_into().ok()?;
    Some(build(ports, verification_tag(packet)?, SACK, 0, &value))
}

/// Rewrites DATA on some streams into whole unordered messages on another one. `None` if there
/// is none.
pub(super) fn divert(packet: &[u8], from: &BTreeSet<u16>, to: u16) -> Option<Bytes> {
    const UNORDERED_WHOLE: u8 = 0x04 | 0x02 | 0x01;
    if from.is_empty() {
        return None;
    }
    let mut changed = packet.to_vec();
    let mut any = false;
    let mut at = HEADER;
    while let Some(len) = be16(&changed, at + 2)
        .map(usize::from)
        .filter(|len| *len >= 4)
    {
        let data = changed.get(at) == Some(&DATA);
        if data && be16(&changed, at + 8).is_some_and(|stream| from.contains(&stream)) {
            changed[at + 1] |= UNORDERED_WHOLE;
            changed[at + 8..at + 10].copy_from_slice(&to.to_be_bytes());
            any = true;
        }
        at += len.next_multiple_of(4);
    }
    any.then(|| {
        changed[8..HEADER].copy_from_slice(&[0; 4]);
        seal(&mut changed);
        changed.into()
    })
}

fn seal(packet: &mut [u8]) {
    let sum = crc32c(packet);
    packet[8..HEADER].copy_from_slice(&sum.to_le_bytes());
}

/// CRC32c (RFC 9260 appendix A). Only for the rare packets we make ourselves.
pub(super) fn crc32c(data: &[u8]) -> u32 {
    !data.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0x82f6_3b78 & (crc & 1).wrapping_neg())
        })
    })
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checksum_of_the_standard_vector() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn chunks_end_where_the_packet_is_malformed() {
        let packet = build([0; 4], 7, DATA, 3, &[1; 13]);
        let all: Vec<_> = chunks(&packet).map(|chunk| chunk.value.len()).collect();
        assert_eq!(all, [13]);
        assert_eq!(verification_tag(&packet), Some(7));
        assert!(well_formed(&packet));
        for cut in 0..packet.len() {
            assert!(chunks(&packet[..cut]).count() <= 1);
            let padding = HEADER + 4 + 13;
            assert_eq!(well_formed(&packet[..cut]), cut >= padding, "{cut}");
        }
        let mut zero_length = packet.to_vec();
        zero_length[HEADER + 3] = 0;
        assert_eq!(chunks(&zero_length).count(), 0);
    }

    #[test]
    fn chunks_of_one_kind_are_taken_out() {
        let data = build([1; 4], 9, DATA, 3, &[1; 13]);
        assert_eq!(without(&data, ERROR), None);
        let error = build([1; 4], 9, ERROR, 0, &[0, 8, 0, 4]);
        assert_eq!(without(&error, ERROR).map(|left| left.len()), Some(HEADER));
        let mut both = error.to_vec();
        both.extend(&data[HEADER..]);
        assert_eq!(without(&both, ERROR), Some(data));
    }

    #[test]
    fn a_long_sack_is_cut() {
        let mut value = vec![0; 12 + 4000];
        value[8..10].copy_from_slice(&1000_u16.to_be_bytes());
        let long = build([1; 4], 9, SACK, 0, &value);
        let short = shorten_sack(&long, 1191).expect("a SACK");
        assert!(short.len() <= 1191);
        let chunk = chunks(&short).next().expect("a chunk");
        let gaps = sack(chunk).expect("a SACK").gaps;
        assert_eq!(usize::from(gaps) * 4 + 12, chunk.value.len());
    }
}
