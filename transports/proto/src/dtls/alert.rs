//! Alerts outside the engine: the one it does not look at, and the one it cannot send.
//!
//! A plaintext alert is unauthenticated (RFC 6347 §4.1.2.7, RFC 9147 §4.5.2 leave it to the
//! receiver what to make of it). It is believed, as the engine believes it later in the
//! handshake: packets get here only from the 5-tuple that ICE has checked, so whoever forges
//! one can also keep the handshake from ever ending, and an honest refusal is known at once
//! instead of after the time limit. Once records are encrypted the engine drops it.

use std::fmt;

use super::Version;

const ALERT: u8 = 21;
const FATAL: u8 = 2;
const RECORD_HEADER: usize = 13;
const BAD_CERTIFICATE: u8 = 42;

/// `close_notify`, as a warning (RFC 8446 §6.1).
pub(super) const CLOSE_NOTIFY: [u8; 2] = [1, 0];

/// The record number of our alert: later than any a handshake has used, so that no replay window
/// drops it.
const LAST_OF_HANDSHAKE: u32 = u32::MAX;

/// The description of a fatal alert (RFC 8446 §6.2, RFC 5246 §7.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Alert(pub u8);

impl Alert {
    /// What the engine sends to a client that shows no certificate.
    pub(super) fn for_no_certificate(version: Version) -> Self {
        match version {
            Version::Dtls12 => Alert(40),
            Version::Dtls13 => Alert(116),
        }
    }

    /// The name in the specification, of those that end a handshake.
    pub fn name(self) -> Option<&'static str> {
        Some(match self.0 {
            10 => "unexpected_message",
            20 => "bad_record_mac",
            22 => "record_overflow",
            40 => "handshake_failure",
            BAD_CERTIFICATE => "bad_certificate",
            43 => "unsupported_certificate",
            44 => "certificate_revoked",
            45 => "certificate_expired",
            46 => "certificate_unknown",
            47 => "illegal_parameter",
            48 => "unknown_ca",
            49 => "access_denied",
            50 => "decode_error",
            51 => "decrypt_error",
            70 => "protocol_version",
            71 => "insufficient_security",
            80 => "internal_error",
            109 => "missing_extension",
            110 => "unsupported_extension",
            116 => "certificate_required",
            120 => "no_application_protocol",
            _ => return None,
        })
    }
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "alert {}", self.0),
        }
    }
}

/// The alert at the start of a packet, if it is a fatal one in plaintext.
pub(super) fn fatal(packet: &[u8]) -> Option<Alert> {
    let (header, body) = packet.split_at_checked(RECORD_HEADER)?;
    let plain = header[0] == ALERT && header[1] == 0xfe && header[3..5] == [0, 0];
    let whole = header[11..13] == [0, 2];
    match body {
        [FATAL, description, ..] if plain && whole => Some(Alert(*description)),
        _ => None,
    }
}

/// A plaintext `bad_certificate`, which RFC 8122 §6.2 asks for when a fingerprint does not match.
pub(super) fn bad_certificate() -> Vec<u8> {
    let mut record = vec![ALERT, 0xfe, 0xfd, 0, 0, 0, 0];
    record.extend(LAST_OF_HANDSHAKE.to_be_bytes());
    record.extend([0, 2, FATAL, BAD_CERTIFICATE]);
    record
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_fatal_alerts_in_plaintext_are_seen() {
        let ours = bad_certificate();
        assert_eq!(fatal(&ours), Some(Alert(BAD_CERTIFICATE)));
        assert_eq!(Alert(BAD_CERTIFICATE).to_string(), "bad_certificate");
        assert_eq!(Alert(200).to_string(), "alert 200");
        for len in 0..ours.len() {
            assert_eq!(fatal(&ours[..len]), None);
        }
        let altered = |index: usize, value: u8| {
            let mut record = bad_certificate();
            record[index] = value;
            fatal(&record)
        };
        assert_eq!(altered(0, 22), None, "a handshake message");
        assert_eq!(altered(4, 1), None, "encrypted");
        assert_eq!(altered(12, 18), None, "longer than it says");
        assert_eq!(altered(13, 1), None, "a warning");
    }
}
