//! A first look at STUN packets (RFC 8489): enough to route them and to check who sent them,
//! before the engine sees them. It allocates nothing and cannot fail half way.

use aws_lc_rs::hmac;

use std::net::SocketAddr;

use bytes::Bytes;

use crate::candidate::Credentials;
use crate::id::IceRole;
use crate::stun::message::{Builder, attribute, method, split_type};
pub(super) use crate::stun::message::{Class, TransactionId};

const HEADER_LEN: usize = 20;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING: u16 = 0x0001;
const USERNAME: u16 = 0x0006;
const MESSAGE_INTEGRITY: u16 = 0x0008;
const PRIORITY: u16 = 0x0024;
const USE_CANDIDATE: u16 = 0x0025;
const ICE_CONTROLLED: u16 = 0x8029;
const ICE_CONTROLLING: u16 = 0x802a;
const INTEGRITY_LEN: usize = 20;

/// Longest STUN packet we read: checks have about 120 bytes, and none may exceed a path MTU.
const MAX_LEN: usize = 1500;

/// A Binding message, looked at but not copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Binding<'a> {
    packet: &'a [u8],
    pub(super) class: Class,
    pub(super) transaction: TransactionId,
    /// `receiver's ufrag:sender's ufrag`, in requests.
    pub(super) username: Option<&'a str>,
    /// `USE-CANDIDATE`, in requests: the peer nominates this pair.
    pub(super) nominates: bool,
    integrity_at: Option<usize>,
}

/// Whether a packet is STUN by its first bytes (RFC 7983 §7, RFC 8489 §5).
pub fn is_stun(packet: &[u8]) -> bool {
    packet.len() >= HEADER_LEN && packet[0] < 4 && packet[4..8] == MAGIC_COOKIE
}

/// The `USERNAME` of a Binding request, `receiver's ufrag:sender's ufrag`: tells which of several
/// agents behind one socket a check is for. Nothing about it has been verified.
pub fn username(packet: &[u8]) -> Option<&str> {
    Binding::parse(packet).and_then(|binding| binding.username)
}

impl<'a> Binding<'a> {
    /// `None` for anything that is not a well-formed Binding message.
    pub(super) fn parse(packet: &'a [u8]) -> Option<Self> {
        if !is_stun(packet) || packet.len() > MAX_LEN {
            return None;
        }
        let (class, method) = split_type(u16::from_be_bytes([packet[0], packet[1]]));
        let length = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        if method != BINDING || length % 4 != 0 || packet.len() != HEADER_LEN + length {
            return None;
        }
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&packet[8..HEADER_LEN]);
        let mut binding = Self {
            packet,
            class,
            transaction,
            username: None,
            nominates: false,
            integrity_at: None,
        };
        binding.attributes()?;
        Some(binding)
    }

    fn attributes(&mut self) -> Option<()> {
        let mut at = HEADER_LEN;
        while at < self.packet.len() {
            let head = self.packet.get(at..at + 4)?;
            let kind = u16::from_be_bytes([head[0], head[1]]);
            let len = usize::from(u16::from_be_bytes([head[2], head[3]]));
            let value = self.packet.get(at + 4..at + 4 + len)?;
            match kind {
                // What follows the integrity is not covered by it (RFC 8489 §14.5).
                USERNAME if self.integrity_at.is_none() && self.username.is_none() => {
                    self.username = Some(std::str::from_utf8(value).ok()?);
                }
                USE_CANDIDATE if self.integrity_at.is_none() => self.nominates = true,
                MESSAGE_INTEGRITY if len == INTEGRITY_LEN && self.integrity_at.is_none() => {
                    self.integrity_at = Some(at);
                }
                MESSAGE_INTEGRITY => return None,
                _ => {}
            }
            at += 4 + len.next_multiple_of(4);
        }
        (at == self.packet.len()).then_some(())
    }

    /// Whether the message was made by someone who knows `password` (RFC 8489 §14.5).
    pub(super) fn verify(&self, password: &str) -> bool {
        let Some(at) = self.integrity_at else {
            return false;
        };
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
        let mut context = hmac::Context::with_key(&key);
        let covered = at + 4 + INTEGRITY_LEN - HEADER_LEN;
        let Ok(covered) = u16::try_from(covered) else {
            return false;
        };
        context.update(&self.packet[..2]);
        context.update(&covered.to_be_bytes());
        context.update(&self.packet[4..at]);
        let tag = context.sign();
        let sent = &self.packet[at + 4..at + 4 + INTEGRITY_LEN];
        aws_lc_rs::constant_time::verify_slices_are_equal(tag.as_ref(), sent).is_ok()
    }
}

/// A check of our own.
pub(super) struct Check<'a> {
    /// A different one for each check of a generation.
    pub(super) number: u64,
    pub(super) local: &'a Credentials,
    pub(super) remote: &'a Credentials,
    pub(super) role: IceRole,
    pub(super) priority: u32,
}

impl Check<'_> {
    /// The transaction and the packet (RFC 8445 §7.2.2). Both the transaction and the tie-breaker
    /// come from our password, which nobody on the way knows.
    pub(super) fn write(&self) -> (TransactionId, Bytes) {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.local.pwd.as_bytes());
        let tag = hmac::sign(&key, &self.number.to_be_bytes());
        let mut transaction = [0; 12];
        transaction.copy_from_slice(&tag.as_ref()[..12]);
        let tie_breaker = hmac::sign(&key, b"tie-breaker");
        let tie_breaker = &tie_breaker.as_ref()[..8];
        let username = format!("{}:{}", self.remote.ufrag, self.local.ufrag);
        let check = Builder::new(Class::Request, method::BINDING, transaction)
            .attribute(USERNAME, username.as_bytes())
            .number(PRIORITY, self.priority);
        let check = match self.role {
            IceRole::Controlling => check
                .attribute(USE_CANDIDATE, &[])
                .attribute(ICE_CONTROLLING, tie_breaker),
            IceRole::Controlled => check.attribute(ICE_CONTROLLED, tie_breaker),
        };
        let packet = check.finish_with_integrity(self.remote.pwd.as_bytes());
        (transaction, packet)
    }
}

/// The answer to a check from `peer` (RFC 8445 §7.3.1.2), made by who knows `password`.
pub(super) fn answer(transaction: TransactionId, peer: SocketAddr, password: &str) -> Bytes {
    Builder::new(Class::Success, method::BINDING, transaction)
        .xor_address(attribute::XOR_MAPPED_ADDRESS, peer)
        .finish_with_integrity(password.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The sample request of RFC 5769 §2.1.
    const SAMPLE: &str = "000100582112a442b7e7a701bc34d686fa87dfae802200105354554e207465737420\
        636c69656e74002400046e0001ff80290008932ff9b151263b36000600096576746a3a68367659202020\
        000800149aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a280280004e57a3bcf";

    fn sample() -> Vec<u8> {
        let hex: Vec<u8> = SAMPLE.bytes().filter(u8::is_ascii_hexdigit).collect();
        let digit = |b: u8| {
            char::from(b)
                .to_digit(16)
                .and_then(|d| u8::try_from(d).ok())
        };
        hex.chunks(2)
            .map(|pair| digit(pair[0]).zip(digit(pair[1])).map(|(a, b)| a << 4 | b))
            .collect::<Option<Vec<u8>>>()
            .expect("hex")
    }

    #[test]
    fn verifies_the_sample_of_rfc_5769() {
        let packet = sample();
        let binding = Binding::parse(&packet).expect("a Binding request");
        assert_eq!(binding.class, Class::Request);
        assert_eq!(binding.username, Some("evtj:h6vY"));
        assert!(binding.verify("VOkJxbRl1RmTxUk/WvJxBt"));
        assert!(!binding.verify("VOkJxbRl1RmTxUk/WvJxBu"));
    }

    #[test]
    fn damaged_packets_are_not_believed() {
        let packet = sample();
        for at in 0..packet.len() {
            assert!(Binding::parse(&packet[..at]).is_none());
            let mut bad = packet.clone();
            bad[at] ^= 0x40;
            let fingerprint = packet.len() - 8;
            let believed = Binding::parse(&bad).is_some_and(|b| b.verify("VOkJxbRl1RmTxUk/WvJxBt"));
            assert!(!believed || at >= fingerprint, "byte {at}");
        }
    }
}
