//! What goes through a data channel.

use bytes::Bytes;

/// One message: text or bytes (RFC 8831 section 6.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// UTF-8 text, a `string` in JavaScript.
    Text(String),
    /// Bytes, an `ArrayBuffer` in JavaScript.
    Binary(Bytes),
}

impl Message {
    /// Its length in bytes.
    pub fn len(&self) -> usize {
        match self {
            Message::Text(text) => text.len(),
            Message::Binary(bytes) => bytes.len(),
        }
    }

    /// Whether it has no bytes; such messages are delivered too.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bytes, of text too.
    pub fn into_bytes(self) -> Bytes {
        match self {
            Message::Text(text) => text.into(),
            Message::Binary(bytes) => bytes,
        }
    }
}

impl From<String> for Message {
    fn from(text: String) -> Self {
        Message::Text(text)
    }
}

impl From<&str> for Message {
    fn from(text: &str) -> Self {
        Message::Text(text.to_owned())
    }
}

impl From<Bytes> for Message {
    fn from(bytes: Bytes) -> Self {
        Message::Binary(bytes)
    }
}

impl From<Vec<u8>> for Message {
    fn from(bytes: Vec<u8>) -> Self {
        Message::Binary(bytes.into())
    }
}

impl From<&'static [u8]> for Message {
    fn from(bytes: &'static [u8]) -> Self {
        Message::Binary(Bytes::from_static(bytes))
    }
}

/// How a channel behaves (`RTCDataChannelInit`, W3C webrtc-pc section 6.1.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DataChannelInit {
    /// Messages arrive in the order in which they were sent.
    pub ordered: bool,
    /// How often a message is sent again before it is given up; `None` for ever.
    pub max_retransmits: Option<u16>,
    /// For how many milliseconds a message is sent again; `None` for ever.
    pub max_packet_life_time: Option<u16>,
    /// The application's subprotocol.
    pub protocol: String,
    /// Both ends create the channel with the same id; nothing is announced.
    pub negotiated: bool,
    /// The stream id, for negotiated channels.
    pub id: Option<u16>,
    /// Share of the connection relative to other channels.
    pub priority: Priority,
}

impl Default for DataChannelInit {
    fn default() -> Self {
        DataChannelInit {
            ordered: true,
            max_retransmits: None,
            max_packet_life_time: None,
            protocol: String::new(),
            negotiated: false,
            id: None,
            priority: Priority::default(),
        }
    }
}

/// The priority of a channel (`RTCPriorityType`, RFC 8831 section 6.4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// 128.
    VeryLow,
    /// 256, the default.
    #[default]
    Low,
    /// 512.
    Medium,
    /// 1024.
    High,
}

/// The state of a channel (`RTCDataChannelState`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReadyState {
    /// Not usable yet.
    Connecting,
    /// Messages flow.
    Open,
    /// What was sent still leaves; nothing new may be sent.
    Closing,
    /// Over.
    Closed,
}

impl ReadyState {
    /// The W3C name.
    pub fn name(self) -> &'static str {
        match self {
            ReadyState::Connecting => "connecting",
            ReadyState::Open => "open",
            ReadyState::Closing => "closing",
            ReadyState::Closed => "closed",
        }
    }
}

impl std::fmt::Display for ReadyState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}
