//! Audio and video on the path that ICE has found.
//!
//! So far this is what lies below RTP: [`srtp`] protects packets with keys from the DTLS handshake.
//! What is inside of packets nobody here looks at yet; `docs/media.md` says what is to come.
//!
//! Packets share the path with STUN and DTLS and are told apart by their first byte (RFC 7983 §7):
//! [`is_media`]. RTP and RTCP share it, too (RFC 5761), and are told apart by their second:
//! [`is_rtcp`].

pub mod srtp;

/// Whether a datagram is RTP or RTCP by its first byte (RFC 7983 §7).
pub fn is_media(packet: &[u8]) -> bool {
    matches!(packet.first(), Some(128..=191))
}

/// Whether a packet that [`is_media`] is RTCP: its type is one of 192 to 223 (RFC 5761 §4), which
/// no payload type with a marker may be.
pub fn is_rtcp(packet: &[u8]) -> bool {
    matches!(packet.get(1), Some(192..=223))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_and_second_byte_tell_what_a_packet_is() {
        for (byte, expected) in [(127, false), (128, true), (191, true), (192, false)] {
            assert_eq!(is_media(&[byte]), expected, "{byte}");
        }
        for (byte, expected) in [(191, false), (192, true), (223, true), (224, false)] {
            assert_eq!(is_rtcp(&[128, byte]), expected, "{byte}");
        }
        assert!(!is_media(&[]) && !is_rtcp(&[128]));
    }
}
