//! Connectivity checks and their answers (RFC 8445 §7) as STUN messages: what they say, enough to route
//! them and to check who sent them before the engine sees them. [`Message`] reads them: it
//! allocates nothing.

use std::net::SocketAddr;

use aws_lc_rs::hmac;
use bytes::Bytes;

use crate::candidate::Credentials;
use crate::id::IceRole;
use crate::stun::message::{Builder, HEADER_LEN, MAGIC_COOKIE, Message, attribute, method};
pub(super) use crate::stun::message::{Class, TransactionId};

/// The error that tells of a conflict of roles (RFC 8445 §7.2.5.1).
pub(super) const ROLE_CONFLICT: u16 = 487;

/// Longest STUN packet we read: checks have about 120 bytes, and none may exceed a path MTU.
const MAX_LEN: usize = 1500;

/// A Binding message, looked at but not copied.
#[derive(Clone, Copy, Debug)]
pub(super) struct Binding<'a> {
    message: Message<'a>,
    pub(super) class: Class,
    pub(super) transaction: TransactionId,
    /// `receiver's ufrag:sender's ufrag`, in requests.
    pub(super) username: Option<&'a str>,
    /// `USE-CANDIDATE`, in requests: the peer nominates this pair.
    pub(super) nominates: bool,
    /// What the sender takes itself for, in requests.
    pub(super) role: Option<IceRole>,
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
        let message = Message::parse(packet).filter(|it| it.method == method::BINDING)?;
        let username = message.attribute(attribute::USERNAME);
        let says = |kind| message.attribute(kind).is_some();
        Some(Self {
            message,
            class: message.class,
            transaction: message.transaction,
            username: username.map(std::str::from_utf8).transpose().ok()?,
            nominates: says(attribute::USE_CANDIDATE),
            role: match says(attribute::ICE_CONTROLLING) {
                true => Some(IceRole::Controlling),
                false => says(attribute::ICE_CONTROLLED).then_some(IceRole::Controlled),
            },
        })
    }

    /// Whether it is an error that tells of a conflict of roles (RFC 8445 §7.2.5.1).
    pub(super) fn is_role_conflict(&self) -> bool {
        let error = self.message.error();
        error.is_some_and(|(code, _)| code == ROLE_CONFLICT)
    }

    /// Whether the message was made by someone who knows `password` (RFC 8489 §14.5).
    pub(super) fn verify(&self, password: &str) -> bool {
        self.message.verify(password.as_bytes())
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
            .attribute(attribute::USERNAME, username.as_bytes())
            .number(attribute::PRIORITY, self.priority);
        let check = match self.role {
            IceRole::Controlling => check
                .attribute(attribute::USE_CANDIDATE, &[])
                .attribute(attribute::ICE_CONTROLLING, tie_breaker),
            IceRole::Controlled => check.attribute(attribute::ICE_CONTROLLED, tie_breaker),
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

/// Refuses a check for the role of whoever sent it (RFC 8445 §7.3.1.1), made by who knows `password`.
pub(super) fn refusal(transaction: TransactionId, password: &str) -> Bytes {
    Builder::new(Class::Error, method::BINDING, transaction)
        .error(ROLE_CONFLICT, "Role Conflict")
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
