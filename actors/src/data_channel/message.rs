//! What a data channel carries and how it behaves.

pub use peerloom_transports::proto::channel::{Message, Priority};

/// How a channel behaves (`RTCDataChannelInit`, W3C webrtc-pc section 6.2).
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
