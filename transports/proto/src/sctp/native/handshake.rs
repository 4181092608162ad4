//! INIT and INIT ACK (RFC 9260 §3.3.2, §3.3.3), and what the ends agree on.

use super::wire::{self, be16, be32};

/// Parameter types.
mod parameter {
    pub(super) const STATE_COOKIE: u16 = 7;
    pub(super) const UNRECOGNIZED: u16 = 8;
    /// RFC 9653 §4.
    pub(super) const ZERO_CHECKSUM: u16 = 0x8001;
    /// RFC 5061 §4.2.7.
    pub(super) const SUPPORTED_EXTENSIONS: u16 = 0x8008;
    /// RFC 3758 §3.1.
    pub(super) const FORWARD_TSN: u16 = 0xc000;
}

/// "DTLS detects errors" (RFC 9653 §5).
const ERRORS_DETECTED_BY_DTLS: u32 = 1;

/// Longest cookie of the peer's that is echoed: what fits into a packet beside it.
const MAX_COOKIE: usize = 1024;

/// Bytes of unrecognized parameters reported back; more go unreported.
const MAX_REPORT: usize = 256;

/// What an end can do beyond RFC 9260.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Features {
    /// FORWARD TSN (RFC 3758).
    pub(super) forward_tsn: bool,
    /// I-DATA and I-FORWARD-TSN (RFC 8260).
    pub(super) interleaving: bool,
    /// Takes packets without a checksum (RFC 9653).
    pub(super) zero_checksum: bool,
    /// PAD (RFC 4820).
    pub(super) padding: bool,
}

impl Features {
    /// As one byte, for the cookie.
    pub(super) fn to_bits(self) -> u8 {
        u8::from(self.forward_tsn)
            | u8::from(self.interleaving) << 1
            | u8::from(self.zero_checksum) << 2
            | u8::from(self.padding) << 3
    }

    /// From that byte.
    pub(super) fn from_bits(bits: u8) -> Self {
        Self {
            forward_tsn: bits & 1 != 0,
            interleaving: bits & 2 != 0,
            zero_checksum: bits & 4 != 0,
            padding: bits & 8 != 0,
        }
    }
}

/// What an end says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Endpoint {
    /// The tag that the other end writes into its packets.
    pub(super) tag: u32,
    /// Its receive window.
    pub(super) window: u32,
    /// Streams it wants to send on.
    pub(super) outbound: u16,
    /// Streams it takes at most.
    pub(super) inbound: u16,
    /// Its first TSN.
    pub(super) first_tsn: u32,
    pub(super) features: Features,
}

/// The value of an INIT.
pub(super) fn init(local: &Endpoint) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    out.extend(local.tag.to_be_bytes());
    out.extend(local.window.to_be_bytes());
    out.extend(local.outbound.to_be_bytes());
    out.extend(local.inbound.to_be_bytes());
    out.extend(local.first_tsn.to_be_bytes());
    let mut extensions = vec![wire::kind::RE_CONFIG];
    if local.features.forward_tsn {
        wire::put_parameter(&mut out, parameter::FORWARD_TSN, &[]);
        extensions.push(wire::kind::FORWARD_TSN);
    }
    if local.features.interleaving {
        extensions.extend([wire::kind::I_DATA, wire::kind::I_FORWARD_TSN]);
    }
    if local.features.padding {
        extensions.push(wire::kind::PAD);
    }
    wire::put_parameter(&mut out, parameter::SUPPORTED_EXTENSIONS, &extensions);
    if local.features.zero_checksum {
        let method = ERRORS_DETECTED_BY_DTLS.to_be_bytes();
        wire::put_parameter(&mut out, parameter::ZERO_CHECKSUM, &method);
    }
    out
}

/// The value of an INIT ACK: our own INIT, the cookie, and what we did not understand.
pub(super) fn init_ack(local: &Endpoint, cookie: &[u8], unrecognized: &[u8]) -> Vec<u8> {
    let mut out = init(local);
    wire::put_parameter(&mut out, parameter::STATE_COOKIE, cookie);
    out.extend(unrecognized);
    out
}

/// What the peer's INIT or INIT ACK says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Parsed {
    pub(super) peer: Endpoint,
    pub(super) cookie: Option<Vec<u8>>,
    /// Parameters to report as unrecognized, ready for the INIT ACK.
    pub(super) unrecognized: Vec<u8>,
}

/// Reads the value of an INIT or INIT ACK; `None` if it has to be ignored.
pub(super) fn parse(value: &[u8]) -> Option<Parsed> {
    let mut peer = Endpoint {
        tag: be32(value, 0)?,
        window: be32(value, 4)?,
        outbound: be16(value, 8)?,
        inbound: be16(value, 10)?,
        first_tsn: be32(value, 12)?,
        features: Features::default(),
    };
    if peer.tag == 0 || peer.outbound == 0 || peer.inbound == 0 {
        return None;
    }
    let mut cookie = None;
    let mut unrecognized = Vec::new();
    for (kind, value) in wire::parameters(value.get(16..)?) {
        match kind {
            parameter::STATE_COOKIE if value.len() <= MAX_COOKIE => cookie = Some(value.to_vec()),
            parameter::FORWARD_TSN => peer.features.forward_tsn = true,
            parameter::SUPPORTED_EXTENSIONS => note_extensions(value, &mut peer.features),
            parameter::ZERO_CHECKSUM => {
                peer.features.zero_checksum = be32(value, 0) == Some(ERRORS_DETECTED_BY_DTLS);
            }
            _ => {
                report(kind, value, &mut unrecognized);
                if kind & 0x8000 == 0 {
                    break; // RFC 9260 §3.2.1: stop here
                }
            }
        }
    }
    Some(Parsed {
        peer,
        cookie,
        unrecognized,
    })
}

fn note_extensions(list: &[u8], features: &mut Features) {
    let has = |kind| list.contains(&kind);
    features.forward_tsn |= has(wire::kind::FORWARD_TSN);
    features.interleaving = has(wire::kind::I_DATA) && has(wire::kind::I_FORWARD_TSN);
    features.padding = has(wire::kind::PAD);
}

/// Notes a parameter that asks to be reported.
fn report(kind: u16, value: &[u8], unrecognized: &mut Vec<u8>) {
    let known = (1..=12).contains(&kind) || kind == 0x8000;
    if kind & 0x4000 == 0 || known || unrecognized.len() + value.len() + 8 > MAX_REPORT {
        return;
    }
    let mut inner = Vec::with_capacity(value.len() + 4);
    wire::put_parameter(&mut inner, kind, value);
    wire::put_parameter(unrecognized, parameter::UNRECOGNIZED, &inner);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(bits: u8) -> Endpoint {
        Endpoint {
            tag: 9,
            window: 100_000,
            outbound: 5,
            inbound: 6,
            first_tsn: u32::MAX,
            features: Features::from_bits(bits),
        }
    }

    #[test]
    fn what_is_said_is_understood() {
        for bits in 0..16 {
            let local = endpoint(bits);
            assert_eq!(local.features.to_bits(), bits);
            let parsed = parse(&init(&local)).expect("valid");
            assert_eq!((parsed.peer, parsed.cookie), (local, None));
            let parsed = parse(&init_ack(&local, &[1, 2, 3], &[])).expect("valid");
            assert_eq!((parsed.peer, parsed.cookie), (local, Some(vec![1, 2, 3])));
        }
    }

    #[test]
    fn unknown_parameters_are_reported_or_skipped_or_end_it() {
        let mut value = init(&endpoint(0));
        wire::put_parameter(&mut value, 0xc123, &[1, 2, 3, 4]);
        wire::put_parameter(&mut value, 0x8123, &[5]);
        wire::put_parameter(&mut value, 0x0123, &[6]);
        wire::put_parameter(&mut value, parameter::FORWARD_TSN, &[]);
        let parsed = parse(&value).expect("valid");
        assert!(!parsed.peer.features.forward_tsn, "it comes too late");
        let reported: Vec<_> = wire::parameters(&parsed.unrecognized).collect();
        assert_eq!(
            reported,
            [(8, &[0xc1, 0x23, 0, 8, 1, 2, 3, 4][..])],
            "only the first asks for it"
        );
    }

    #[test]
    fn no_streams_no_tag_or_too_short_is_refused() {
        let good = init(&endpoint(7));
        for (at, len) in [(0, 4), (8, 2), (10, 2)] {
            let mut bad = good.clone();
            bad[at..at + len].fill(0);
            assert_eq!(parse(&bad), None);
        }
        for cut in 0..16 {
            assert_eq!(parse(&good[..cut]), None);
        }
    }
}
