//! DCEP messages (RFC 8832 §5).

use super::{ChannelInit, Priority, Reliability};

const DATA_CHANNEL_ACK: u8 = 0x02;
const DATA_CHANNEL_OPEN: u8 = 0x03;
const HEADER: usize = 12;
const UNORDERED: u8 = 0x80;

/// A DCEP message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DcepMessage {
    /// DATA_CHANNEL_OPEN (§5.1).
    Open(Open),
    /// DATA_CHANNEL_ACK (§5.2).
    Ack,
}

/// DATA_CHANNEL_OPEN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// What the channel is called.
    pub label: String,
    /// Its subprotocol.
    pub protocol: String,
    /// Whether messages are ordered.
    pub ordered: bool,
    /// How hard to try. The wire has 32 bits; ours saturates, as `RTCDataChannelInit` does.
    pub reliability: Reliability,
    /// The weight as sent.
    pub priority: u16,
}

/// Why a DCEP message was not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DcepError {
    /// Shorter or longer than its fields say.
    #[error("a DCEP message has the wrong length")]
    Length,
    /// Neither OPEN nor ACK.
    #[error("a DCEP message has the unknown type {0}")]
    Type(u8),
    /// A channel type that RFC 8832 §5.1 does not define.
    #[error("a DCEP message has the unknown channel type {0}")]
    ChannelType(u8),
    /// Label or protocol is not UTF-8.
    #[error("a label or protocol is not UTF-8")]
    Text,
}

impl DcepMessage {
    /// Reads a message.
    pub fn parse(bytes: &[u8]) -> Result<Self, DcepError> {
        match bytes.first() {
            // §5.2 has one byte; more is ignored, as others do.
            Some(&DATA_CHANNEL_ACK) => Ok(DcepMessage::Ack),
            Some(&DATA_CHANNEL_OPEN) => parse_open(bytes).map(DcepMessage::Open),
            Some(&other) => Err(DcepError::Type(other)),
            None => Err(DcepError::Length),
        }
    }

    /// Writes it. Label and protocol must have at most 65,535 bytes; more is cut.
    pub fn to_bytes(&self) -> Vec<u8> {
        match self {
            DcepMessage::Ack => vec![DATA_CHANNEL_ACK],
            DcepMessage::Open(open) => write_open(open),
        }
    }
}

impl Open {
    /// What the other end sees of a channel of ours.
    pub fn from_init(init: &ChannelInit) -> Self {
        Self {
            label: init.label.clone(),
            protocol: init.protocol.clone(),
            ordered: init.ordered,
            reliability: init.reliability,
            priority: init.priority.weight(),
        }
    }

    /// The channel the peer has described.
    pub fn into_init(self) -> ChannelInit {
        ChannelInit {
            label: self.label,
            protocol: self.protocol,
            ordered: self.ordered,
            reliability: self.reliability,
            priority: Priority::from_weight(self.priority),
            negotiated: None,
        }
    }
}

fn parse_open(bytes: &[u8]) -> Result<Open, DcepError> {
    let header: &[u8; HEADER] = bytes
        .get(..HEADER)
        .and_then(|h| h.try_into().ok())
        .ok_or(DcepError::Length)?;
    let label_len = usize::from(u16::from_be_bytes([header[8], header[9]]));
    let protocol_len = usize::from(u16::from_be_bytes([header[10], header[11]]));
    if bytes.len() != HEADER + label_len + protocol_len {
        return Err(DcepError::Length);
    }
    let parameter = u32::from_be_bytes([header[4], header[5], header[6], header[7]]);
    let parameter = u16::try_from(parameter).unwrap_or(u16::MAX);
    let reliability = match header[1] & !UNORDERED {
        0 => Reliability::Reliable,
        1 => Reliability::MaxRetransmits(parameter),
        2 => Reliability::MaxLifetime(parameter),
        _ => return Err(DcepError::ChannelType(header[1])),
    };
    let text = |part: &[u8]| String::from_utf8(part.to_vec()).map_err(|_| DcepError::Text);
    let (label, protocol) = bytes[HEADER..].split_at(label_len);
    Ok(Open {
        label: text(label)?,
        protocol: text(protocol)?,
        ordered: header[1] & UNORDERED == 0,
        reliability,
        priority: u16::from_be_bytes([header[2], header[3]]),
    })
}

fn write_open(open: &Open) -> Vec<u8> {
    let (kind, parameter) = match open.reliability {
        Reliability::Reliable => (0, 0),
        Reliability::MaxRetransmits(n) => (1, n),
        Reliability::MaxLifetime(n) => (2, n),
    };
    let kind = if open.ordered { kind } else { kind | UNORDERED };
    let label = cut(&open.label);
    let protocol = cut(&open.protocol);
    let mut bytes = Vec::with_capacity(HEADER + label.len() + protocol.len());
    bytes.extend([DATA_CHANNEL_OPEN, kind]);
    bytes.extend(open.priority.to_be_bytes());
    bytes.extend(u32::from(parameter).to_be_bytes());
    for part in [label, protocol] {
        bytes.extend(u16::try_from(part.len()).unwrap_or(u16::MAX).to_be_bytes());
    }
    bytes.extend(label.as_bytes());
    bytes.extend(protocol.as_bytes());
    bytes
}

fn cut(text: &str) -> &str {
    let end = text.floor_char_boundary(usize::from(u16::MAX));
    &text[..end]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reliability() -> impl Strategy<Value = Reliability> {
        prop_oneof![
            Just(Reliability::Reliable),
            any::<u16>().prop_map(Reliability::MaxRetransmits),
            any::<u16>().prop_map(Reliability::MaxLifetime),
        ]
    }

    proptest! {
        #[test]
        fn open_survives_the_wire(
            label in ".{0,300}",
            protocol in ".{0,300}",
            ordered: bool,
            reliability in reliability(),
            priority: u16,
        ) {
            let open = Open { label, protocol, ordered, reliability, priority };
            let message = DcepMessage::Open(open);
            prop_assert_eq!(DcepMessage::parse(&message.to_bytes()), Ok(message));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(message) = DcepMessage::parse(&bytes) {
                let again = DcepMessage::parse(&message.to_bytes());
                prop_assert_eq!(again, Ok(message));
            }
        }

        #[test]
        fn damaged_opens_never_panic(
            label in "[a-z]{0,20}", at in 0_usize..32, bit in 0_u8..8, cut in 0_usize..40,
        ) {
            let init = ChannelInit { label, ..ChannelInit::default() };
            let mut bytes = DcepMessage::Open(Open::from_init(&init)).to_bytes();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1 << bit;
            }
            bytes.truncate(cut.max(1));
            drop(DcepMessage::parse(&bytes));
        }
    }

    #[test]
    fn the_bytes_are_those_of_the_rfc() {
        let init = ChannelInit {
            label: "ab".into(),
            protocol: "c".into(),
            ordered: false,
            reliability: Reliability::MaxRetransmits(3),
            ..ChannelInit::default()
        };
        let bytes = DcepMessage::Open(Open::from_init(&init)).to_bytes();
        assert_eq!(
            bytes,
            [3, 0x81, 1, 0, 0, 0, 0, 3, 0, 2, 0, 1, b'a', b'b', b'c']
        );
        assert_eq!(DcepMessage::Ack.to_bytes(), [2]);
    }
}
