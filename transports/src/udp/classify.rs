//! Which protocol a datagram belongs to: RFC 7983 as updated by RFC 9443.

/// The protocol families that share one UDP port (RFC 7983 section 7, RFC 9443
/// section 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum PacketClass {
    /// First byte 0–3.
    Stun,
    /// First byte 16–19.
    Zrtp,
    /// First byte 20–63.
    Dtls,
    /// First byte 64–79: a TURN channel from a TURN server's address, else QUIC.
    TurnChannelOrQuic,
    /// First byte 80–127 or 192–255.
    Quic,
    /// First byte 128–191: RTP or RTCP.
    Media,
    /// Anything else, and empty datagrams.
    Unknown,
}

impl PacketClass {
    /// Classifies a datagram by its first byte.
    pub fn of(datagram: &[u8]) -> PacketClass {
        match datagram.first() {
            Some(0..=3) => PacketClass::Stun,
            Some(16..=19) => PacketClass::Zrtp,
            Some(20..=63) => PacketClass::Dtls,
            Some(64..=79) => PacketClass::TurnChannelOrQuic,
            Some(80..=127 | 192..=255) => PacketClass::Quic,
            Some(128..=191) => PacketClass::Media,
            Some(4..=15) | None => PacketClass::Unknown,
        }
    }
}

const STUN_HEADER: usize = 20;
const STUN_MAGIC: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const ATTR_USERNAME: u16 = 0x0006;
/// RFC 8489 section 14.3: a username is under 509 bytes.
const MAX_USERNAME: usize = 508;

/// The receiver's username fragment in a STUN packet: what stands before the
/// colon of its USERNAME attribute (RFC 8445 section 7.2.2). `None` for packets
/// without one (responses, indications) and for anything malformed.
pub fn stun_local_ufrag(datagram: &[u8]) -> Option<&str> {
    if datagram.get(4..8)? != STUN_MAGIC {
        return None;
    }
    let mut rest = datagram.get(STUN_HEADER..)?;
    loop {
        let (kind, len) = match rest {
            [k0, k1, l0, l1, ..] => (
                u16::from_be_bytes([*k0, *k1]),
                usize::from(u16::from_be_bytes([*l0, *l1])),
            ),
            _ => return None,
        };
        let value = rest.get(4..4 + len)?;
        if kind == ATTR_USERNAME {
            return local_part(value);
        }
        rest = rest.get(4 + len.next_multiple_of(4)..)?;
    }
}

/// What the transaction id of a STUN answer begins with: tells which of several users of
/// one socket has asked. `None` for requests and indications.
pub(crate) fn stun_answer_token(datagram: &[u8]) -> Option<[u8; 8]> {
    let answer = datagram.first()? & 1 == 1; // class bit C1 (RFC 8489 section 5)
    if !answer || datagram.get(4..8)? != STUN_MAGIC {
        return None;
    }
    datagram.get(8..16)?.try_into().ok()
}

fn local_part(username: &[u8]) -> Option<&str> {
    if username.len() > MAX_USERNAME {
        return None;
    }
    let (local, _) = std::str::from_utf8(username).ok()?.split_once(':')?;
    (!local.is_empty()).then_some(local)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_follow_rfc_9443() {
        let class = |b: u8| PacketClass::of(&[b, 0, 0]);
        assert_eq!(class(0), PacketClass::Stun);
        assert_eq!(class(3), PacketClass::Stun);
        assert_eq!(class(4), PacketClass::Unknown);
        assert_eq!(class(16), PacketClass::Zrtp);
        assert_eq!(class(22), PacketClass::Dtls);
        assert_eq!(class(63), PacketClass::Dtls);
        assert_eq!(class(64), PacketClass::TurnChannelOrQuic);
        assert_eq!(class(80), PacketClass::Quic);
        assert_eq!(class(144), PacketClass::Media);
        assert_eq!(class(255), PacketClass::Quic);
        assert_eq!(PacketClass::of(&[]), PacketClass::Unknown);
    }

    #[test]
    fn username_is_found_behind_other_attributes() {
        let packet = stun(&[(0x8022, b"abc"), (0x0006, b"local:remote")]);
        assert_eq!(stun_local_ufrag(&packet), Some("local"));
    }

    #[test]
    fn malformed_packets_have_no_username() {
        assert_eq!(stun_local_ufrag(&[]), None);
        assert_eq!(stun_local_ufrag(&stun(&[])), None);
        assert_eq!(stun_local_ufrag(&stun(&[(6, b"nocolon")])), None);
        assert_eq!(stun_local_ufrag(&stun(&[(6, b":x")])), None);
        assert_eq!(stun_local_ufrag(&stun(&[(6, b"\xff\xfe:x")])), None);
        let full = stun(&[(6, b"local:remote")]);
        for cut in 0..full.len() - 1 {
            assert_eq!(stun_local_ufrag(&full[..cut]), None, "cut at {cut}");
        }
    }

    fn stun(attributes: &[(u16, &[u8])]) -> Vec<u8> {
        let mut packet = vec![0, 1, 0, 0];
        packet.extend_from_slice(&STUN_MAGIC);
        packet.extend_from_slice(&[7; 12]);
        for (kind, value) in attributes {
            packet.extend_from_slice(&kind.to_be_bytes());
            packet.extend_from_slice(&(value.len() as u16).to_be_bytes());
            packet.extend_from_slice(value);
            packet.resize(packet.len().next_multiple_of(4), 0);
        }
        packet
    }
}
