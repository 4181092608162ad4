//! The cipher suite, read off the ServerHello as it passes: the engine does not tell it.

use std::fmt;

const HANDSHAKE: u8 = 22;
const RECORD_HEADER: usize = 13;
const HANDSHAKE_HEADER: usize = 12;
const SERVER_HELLO: u8 = 2;
/// `legacy_version` and `random`, in front of the session id.
const BEFORE_SESSION: usize = 2 + 32;

/// A cipher suite, by its number in the registry of TLS cipher suites (RFC 8446 §B.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CipherSuite(pub u16);

impl CipherSuite {
    /// The name in the registry, of those that we offer or take.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            0x1301 => "TLS_AES_128_GCM_SHA256",
            0x1302 => "TLS_AES_256_GCM_SHA384",
            0x1303 => "TLS_CHACHA20_POLY1305_SHA256",
            0xC02B => "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
            0xC02C => "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
            0xCCA9 => "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
            _ => return None,
        })
    }

    /// What the ServerHello at the start of `packet` chooses (RFC 5246 §7.4.1.3,
    /// RFC 8446 §4.1.3). `None` if none is there, or not the whole of its head.
    pub(super) fn of_server_hello(packet: &[u8]) -> Option<Self> {
        let header = packet.get(..RECORD_HEADER + HANDSHAKE_HEADER)?;
        let from_start = header[RECORD_HEADER + 6..RECORD_HEADER + 9] == [0; 3];
        if header[0] != HANDSHAKE || header[RECORD_HEADER] != SERVER_HELLO || !from_start {
            return None;
        }
        let body = &packet[RECORD_HEADER + HANDSHAKE_HEADER..];
        let session = usize::from(*body.get(BEFORE_SESSION)?);
        let at = BEFORE_SESSION + 1 + session;
        let suite = body.get(at..at + 2)?;
        Some(Self(u16::from_be_bytes([suite[0], suite[1]])))
    }
}

impl fmt::Display for CipherSuite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#06x}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record with the head of a ServerHello that has a session id of `session` bytes.
    fn server_hello(session: u8, suite: u16) -> Vec<u8> {
        let mut packet = vec![0; RECORD_HEADER + HANDSHAKE_HEADER + BEFORE_SESSION];
        packet[0] = HANDSHAKE;
        packet[RECORD_HEADER] = SERVER_HELLO;
        packet.push(session);
        packet.extend(vec![9; usize::from(session)]);
        packet.extend(suite.to_be_bytes());
        packet
    }

    #[test]
    fn it_stands_behind_the_session_id() {
        for session in [0, 32] {
            let read = CipherSuite::of_server_hello(&server_hello(session, 0x1301));
            assert_eq!(read, Some(CipherSuite(0x1301)));
        }
        assert_eq!(CipherSuite(0xC02B).name().map(|it| it.len()), Some(39));
        assert_eq!(CipherSuite(0xFAFA).to_string(), "0xfafa");
    }

    #[test]
    fn what_is_cut_short_or_something_else_says_nothing() {
        let whole = server_hello(32, 0x1301);
        for len in 0..whole.len() {
            assert_eq!(CipherSuite::of_server_hello(&whole[..len]), None, "{len}");
        }
        for (at, value) in [(0, 23), (RECORD_HEADER, 1), (RECORD_HEADER + 8, 1)] {
            let mut other = whole.clone();
            other[at] = value;
            assert_eq!(CipherSuite::of_server_hello(&other), None, "{at}");
        }
    }
}
