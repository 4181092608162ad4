//! Reading and writing STUN messages (RFC 8489 §5, §14). Reading allocates nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use aws_lc_rs::hmac;
use bytes::Bytes;

/// Length of the header.
pub const HEADER_LEN: usize = 20;
/// Bytes 4 to 7 of every message.
pub const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const INTEGRITY_LEN: usize = 20;
const FINGERPRINT_XOR: u32 = 0x5354_554e;

/// Longest reason phrase of an error that is kept (RFC 8489 §14.8 allows 763 bytes).
const MAX_REASON: usize = 128;

/// Methods (RFC 8489 §18.2, RFC 8656 §17).
pub mod method {
    /// Asks for our reflexive address.
    pub const BINDING: u16 = 0x001;
    /// Asks for a relayed address.
    pub const ALLOCATE: u16 = 0x003;
    /// Keeps or ends an allocation.
    pub const REFRESH: u16 = 0x004;
    /// Data towards a peer.
    pub const SEND: u16 = 0x006;
    /// Data from a peer.
    pub const DATA: u16 = 0x007;
    /// Lets a peer's address send to us.
    pub const CREATE_PERMISSION: u16 = 0x008;
    /// Gives a peer a channel number.
    pub const CHANNEL_BIND: u16 = 0x009;
}

/// Attributes (RFC 8489 §18.3, RFC 8656 §18).
pub mod attribute {
    /// Our address, as old servers write it.
    pub const MAPPED_ADDRESS: u16 = 0x0001;
    /// The user.
    pub const USERNAME: u16 = 0x0006;
    /// HMAC-SHA1 over what stands before.
    pub const MESSAGE_INTEGRITY: u16 = 0x0008;
    /// Code and reason of an error.
    pub const ERROR_CODE: u16 = 0x0009;
    /// Channel of a binding.
    pub const CHANNEL_NUMBER: u16 = 0x000c;
    /// Seconds.
    pub const LIFETIME: u16 = 0x000d;
    /// Address of a peer.
    pub const XOR_PEER_ADDRESS: u16 = 0x0012;
    /// What a peer sent or shall get.
    pub const DATA: u16 = 0x0013;
    /// Realm of the long-term credentials.
    pub const REALM: u16 = 0x0014;
    /// Nonce of the server.
    pub const NONCE: u16 = 0x0015;
    /// The relayed address.
    pub const XOR_RELAYED_ADDRESS: u16 = 0x0016;
    /// Family of the relayed address.
    pub const REQUESTED_ADDRESS_FAMILY: u16 = 0x0017;
    /// Protocol of the relayed address.
    pub const REQUESTED_TRANSPORT: u16 = 0x0019;
    /// What the candidate would be worth if it were peer-reflexive (RFC 8445 §16.1).
    pub const PRIORITY: u16 = 0x0024;
    /// Nominates the pair.
    pub const USE_CANDIDATE: u16 = 0x0025;
    /// The sender is controlled, with its tie-breaker.
    pub const ICE_CONTROLLED: u16 = 0x8029;
    /// The sender controls, with its tie-breaker.
    pub const ICE_CONTROLLING: u16 = 0x802a;
    /// Our address.
    pub const XOR_MAPPED_ADDRESS: u16 = 0x0020;
    /// Family of a further relayed address.
    pub const ADDITIONAL_ADDRESS_FAMILY: u16 = 0x8000;
    /// Another server to try.
    pub const ALTERNATE_SERVER: u16 = 0x8023;
    /// CRC over what stands before.
    pub const FINGERPRINT: u16 = 0x8028;
}

/// Message classes (RFC 8489 §5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Wants an answer.
    Request,
    /// Wants none.
    Indication,
    /// A good answer.
    Success,
    /// A bad one.
    Error,
}

/// Identifies a request and its answer.
pub type TransactionId = [u8; 12];

/// A message, looked at but not copied.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    packet: &'a [u8],
    /// Request, indication, success or error.
    pub class: Class,
    /// What it is about: [`method`].
    pub method: u16,
    /// Which request it is or answers.
    pub transaction: TransactionId,
    integrity_at: Option<usize>,
}

impl<'a> Message<'a> {
    /// `None` for anything that is not one whole, well-formed message, and for one with two integrities.
    pub fn parse(packet: &'a [u8]) -> Option<Self> {
        let header = packet.get(..HEADER_LEN)?;
        let length = usize::from(u16::from_be_bytes([header[2], header[3]]));
        if header[0] >= 0x40 || header[4..8] != MAGIC_COOKIE {
            return None;
        }
        if length % 4 != 0 || packet.len() != HEADER_LEN + length {
            return None;
        }
        let (class, method) = split_type(u16::from_be_bytes([header[0], header[1]]));
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&header[8..]);
        let mut message = Self {
            packet,
            class,
            method,
            transaction,
            integrity_at: None,
        };
        let mut at = HEADER_LEN;
        while at < packet.len() {
            let (kind, value) = attribute_at(packet, at)?;
            if kind == attribute::MESSAGE_INTEGRITY {
                let only = message.integrity_at.replace(at).is_none();
                (only && value.len() == INTEGRITY_LEN).then_some(())?;
            }
            at += 4 + value.len().next_multiple_of(4);
        }
        (at == packet.len()).then_some(message)
    }

    /// The first attribute of a kind. Those behind the integrity do not count (RFC 8489 §14.5).
    pub fn attribute(&self, wanted: u16) -> Option<&'a [u8]> {
        let end = self.integrity_at.unwrap_or(self.packet.len());
        let mut at = HEADER_LEN;
        while at < end {
            let (kind, value) = attribute_at(self.packet, at)?;
            if kind == wanted {
                return Some(value);
            }
            at += 4 + value.len().next_multiple_of(4);
        }
        None
    }

    /// An attribute of 32 bits.
    pub fn number(&self, kind: u16) -> Option<u32> {
        let value: [u8; 4] = self.attribute(kind)?.try_into().ok()?;
        Some(u32::from_be_bytes(value))
    }

    /// An address in the clear (RFC 8489 §14.1).
    pub fn address(&self, kind: u16) -> Option<SocketAddr> {
        read_address(self.attribute(kind)?, &[0; 16])
    }

    /// All addresses of a kind, each masked (RFC 8489 §14.2): a TURN server names one for each
    /// family (RFC 8656 §7.2). What is no address ends them.
    pub fn xor_addresses(&self, wanted: u16) -> impl Iterator<Item = SocketAddr> {
        let end = self.integrity_at.unwrap_or(self.packet.len());
        let (packet, mask) = (self.packet, mask(&self.transaction));
        let mut at = HEADER_LEN;
        let attributes = std::iter::from_fn(move || {
            let (kind, value) = attribute_at(packet, at).filter(|_| at < end)?;
            at += 4 + value.len().next_multiple_of(4);
            Some((kind, value))
        });
        attributes
            .filter(move |(kind, _)| *kind == wanted)
            .map_while(move |(_, value)| read_address(value, &mask))
    }

    /// An address masked with the cookie and the transaction (RFC 8489 §14.2).
    pub fn xor_address(&self, kind: u16) -> Option<SocketAddr> {
        read_address(self.attribute(kind)?, &mask(&self.transaction))
    }

    /// Code and reason of an error (RFC 8489 §14.8).
    pub fn error(&self) -> Option<(u16, String)> {
        let value = self.attribute(attribute::ERROR_CODE)?;
        let (class, number) = (value.get(2)? & 7, *value.get(3)?);
        let reason = String::from_utf8_lossy(&value[4..]);
        let reason = reason.chars().filter(|c| !c.is_control());
        let reason = reason.take(MAX_REASON).collect();
        Some((u16::from(class) * 100 + u16::from(number), reason))
    }

    /// Whether the message was made by someone who knows `key` (RFC 8489 §14.5).
    pub fn verify(&self, key: &[u8]) -> bool {
        let Some(at) = self.integrity_at else {
            return false;
        };
        let covered = at + 4 + INTEGRITY_LEN - HEADER_LEN;
        let Ok(covered) = u16::try_from(covered) else {
            return false;
        };
        let tag = integrity(key, &self.packet[..at], covered);
        let sent = &self.packet[at + 4..at + 4 + INTEGRITY_LEN];
        aws_lc_rs::constant_time::verify_slices_are_equal(tag.as_ref(), sent).is_ok()
    }
}

fn attribute_at(packet: &[u8], at: usize) -> Option<(u16, &[u8])> {
    let head = packet.get(at..at + 4)?;
    let kind = u16::from_be_bytes([head[0], head[1]]);
    let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
    Some((kind, packet.get(at + 4..at + 4 + len)?))
}

/// HMAC-SHA1 over `covered` with `length` written into the header.
fn integrity(key: &[u8], covered: &[u8], length: u16) -> hmac::Tag {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    let mut context = hmac::Context::with_key(&key);
    context.update(&covered[..2]);
    context.update(&length.to_be_bytes());
    context.update(&covered[4..]);
    context.sign()
}

fn mask(transaction: &TransactionId) -> [u8; 16] {
    let mut mask = [0; 16];
    mask[..4].copy_from_slice(&MAGIC_COOKIE);
    mask[4..].copy_from_slice(transaction);
    mask
}

fn read_address(value: &[u8], mask: &[u8; 16]) -> Option<SocketAddr> {
    let family = *value.get(1)?;
    let port = u16::from_be_bytes([value.get(2)? ^ mask[0], value.get(3)? ^ mask[1]]);
    let ip = match (family, value.len()) {
        (1, 8) => {
            let mut octets = [0; 4];
            for (i, octet) in octets.iter_mut().enumerate() {
                *octet = value[4 + i] ^ mask[i];
            }
            IpAddr::V4(Ipv4Addr::from(octets))
        }
        (2, 20) => {
            let mut octets = [0; 16];
            for (i, octet) in octets.iter_mut().enumerate() {
                *octet = value[4 + i] ^ mask[i];
            }
            IpAddr::V6(Ipv6Addr::from(octets))
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// RFC 8489 §5: the class bits C1 C0 lie between the method bits.
fn split_type(value: u16) -> (Class, u16) {
    let class = match (value & 0x0100 != 0, value & 0x0010 != 0) {
        (false, false) => Class::Request,
        (false, true) => Class::Indication,
        (true, false) => Class::Success,
        (true, true) => Class::Error,
    };
    let method = (value & 0x000f) | ((value & 0x00e0) >> 1) | ((value & 0x3e00) >> 2);
    (class, method)
}

fn join_type(class: Class, method: u16) -> u16 {
    let bits = match class {
        Class::Request => 0,
        Class::Indication => 0x0010,
        Class::Success => 0x0100,
        Class::Error => 0x0110,
    };
    bits | (method & 0x000f) | ((method & 0x0070) << 1) | ((method & 0x0f80) << 2)
}

/// Writes a message attribute by attribute.
#[derive(Debug)]
pub struct Builder {
    bytes: Vec<u8>,
    transaction: TransactionId,
}

impl Builder {
    /// Begins a message.
    pub fn new(class: Class, method: u16, transaction: TransactionId) -> Self {
        let mut bytes = Vec::with_capacity(160);
        bytes.extend_from_slice(&join_type(class, method).to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&MAGIC_COOKIE);
        bytes.extend_from_slice(&transaction);
        Self { bytes, transaction }
    }

    /// Adds an attribute. One longer than 65,535 bytes cannot be written and is cut.
    pub fn attribute(mut self, kind: u16, value: &[u8]) -> Self {
        let len = u16::try_from(value.len()).unwrap_or(u16::MAX);
        let value = &value[..usize::from(len)];
        self.bytes.extend_from_slice(&kind.to_be_bytes());
        self.bytes.extend_from_slice(&len.to_be_bytes());
        self.bytes.extend_from_slice(value);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        self
    }

    /// Adds an attribute of 32 bits.
    pub fn number(self, kind: u16, value: u32) -> Self {
        self.attribute(kind, &value.to_be_bytes())
    }

    /// Adds a masked address (RFC 8489 §14.2).
    pub fn xor_address(self, kind: u16, addr: SocketAddr) -> Self {
        let mask = mask(&self.transaction);
        let port = addr.port().to_be_bytes();
        let mut value = vec![0, 1, port[0] ^ mask[0], port[1] ^ mask[1]];
        match addr.ip() {
            IpAddr::V4(ip) => value.extend(ip.octets().iter().zip(mask).map(|(a, b)| a ^ b)),
            IpAddr::V6(ip) => {
                value[1] = 2;
                value.extend(ip.octets().iter().zip(mask).map(|(a, b)| a ^ b));
            }
        }
        self.attribute(kind, &value)
    }

    /// Adds code and reason of an error (RFC 8489 §14.8).
    pub fn error(self, code: u16, reason: &str) -> Self {
        let number = code.to_be_bytes();
        let class = u8::try_from(code / 100).unwrap_or(7) & 7;
        let number = if code < 100 {
            number[1]
        } else {
            u8::try_from(code % 100).unwrap_or(0)
        };
        let mut value = vec![0, 0, class, number];
        value.extend_from_slice(reason.as_bytes());
        self.attribute(attribute::ERROR_CODE, &value)
    }

    /// Adds the integrity under `key`, and ends the message.
    pub fn finish_with_integrity(mut self, key: &[u8]) -> Bytes {
        let tag = integrity(key, &self.bytes, self.length_with(4 + INTEGRITY_LEN));
        self = self.attribute(attribute::MESSAGE_INTEGRITY, tag.as_ref());
        self.finish()
    }

    /// Adds the fingerprint (RFC 8489 §14.7), and ends the message.
    pub fn finish(mut self) -> Bytes {
        let length = self.length_with(8);
        self.bytes[2..4].copy_from_slice(&length.to_be_bytes());
        let crc = crc32fast::hash(&self.bytes) ^ FINGERPRINT_XOR;
        self = self.number(attribute::FINGERPRINT, crc);
        self.bytes.into()
    }

    /// The length field once `more` bytes are added.
    fn length_with(&self, more: usize) -> u16 {
        u16::try_from(self.bytes.len() - HEADER_LEN + more).unwrap_or(u16::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_sample_response_of_rfc_5769_is_read() {
        // RFC 5769 §2.2.
        let hex = "0101003c2112a442b7e7a701bc34d686fa87dfae8022000b7465737420766563746f7220\
            002000080001a147e112a643000800142b91f599fd9e90c38c7489f92af9ba53f06be7d780280004c07d4c96";
        let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
        let nibble = |b: u8| char::from(b).to_digit(16).expect("hex") as u8;
        let packet: Vec<u8> = digits
            .chunks(2)
            .map(|pair| nibble(pair[0]) << 4 | nibble(pair[1]))
            .collect();
        let message = Message::parse(&packet).expect("a message");
        assert_eq!(
            (message.class, message.method),
            (Class::Success, method::BINDING)
        );
        let mapped = message.xor_address(attribute::XOR_MAPPED_ADDRESS);
        assert_eq!(mapped, "192.0.2.1:32853".parse().ok());
        assert!(message.verify(b"VOkJxbRl1RmTxUk/WvJxBt"));
        assert!(!message.verify(b"another"));
    }

    #[test]
    fn a_message_has_one_integrity_and_nothing_behind_it_counts() {
        let id = [7; 12];
        let packet =
            Builder::new(Class::Request, method::BINDING, id).finish_with_integrity(b"key");
        let behind = |kind: u16, value: &[u8]| {
            let mut bytes = packet.to_vec();
            let more = Builder::new(Class::Request, method::BINDING, id).attribute(kind, value);
            bytes.extend_from_slice(&more.bytes[HEADER_LEN..]);
            let length = u16::try_from(bytes.len() - HEADER_LEN).expect("short");
            bytes[2..4].copy_from_slice(&length.to_be_bytes());
            bytes
        };
        let late = behind(attribute::USERNAME, b"evil");
        let message = Message::parse(&late).expect("well-formed");
        assert_eq!(message.attribute(attribute::USERNAME), None);
        assert!(message.verify(b"key"));
        assert!(Message::parse(&behind(attribute::MESSAGE_INTEGRITY, &[0; 20])).is_none());
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(
            id: [u8; 12], v6: [u8; 16], v4: [u8; 4], port: u16, code in 300u16..700,
            data in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let six = SocketAddr::new(v6.into(), port);
            let four = SocketAddr::new(v4.into(), port);
            let packet = Builder::new(Class::Error, method::CHANNEL_BIND, id)
                .xor_address(attribute::XOR_PEER_ADDRESS, six)
                .xor_address(attribute::XOR_RELAYED_ADDRESS, four)
                .attribute(attribute::DATA, &data)
                .number(attribute::LIFETIME, 77)
                .error(code, "no")
                .finish_with_integrity(b"key");
            let message = Message::parse(&packet).expect("well-formed");
            prop_assert_eq!((message.class, message.method), (Class::Error, method::CHANNEL_BIND));
            prop_assert_eq!(message.transaction, id);
            prop_assert_eq!(message.xor_address(attribute::XOR_PEER_ADDRESS), Some(six));
            prop_assert_eq!(message.xor_address(attribute::XOR_RELAYED_ADDRESS), Some(four));
            prop_assert_eq!(message.attribute(attribute::DATA), Some(&data[..]));
            prop_assert_eq!(message.number(attribute::LIFETIME), Some(77));
            prop_assert_eq!(message.error(), Some((code, "no".to_owned())));
            prop_assert!(message.verify(b"key"));
            prop_assert!(!message.verify(b"yek"));
        }

        #[test]
        fn hostile_bytes_are_values(
            mut packet in proptest::collection::vec(any::<u8>(), 0..120), patch: bool,
        ) {
            if patch && packet.len() >= HEADER_LEN {
                let len = (packet.len() - HEADER_LEN) as u16;
                packet[0] &= 0x3f;
                packet[2..4].copy_from_slice(&len.to_be_bytes());
                packet[4..8].copy_from_slice(&MAGIC_COOKIE);
            }
            if let Some(message) = Message::parse(&packet) {
                message.error();
                message.verify(b"key");
                for kind in 0..0x30 {
                    message.xor_address(kind);
                    message.number(kind);
                }
            }
        }
    }
}
