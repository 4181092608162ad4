//! What crosses the signaling channel: descriptions and trickled candidates.

use serde::{Deserialize, Serialize};

/// The type of a session description (W3C webrtc-pc `RTCSdpType`, RFC 9429 4.1.10).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SdpType {
    /// Proposes a session.
    Offer,
    /// Answers provisionally; another answer follows.
    PrAnswer,
    /// Answers finally; the negotiation is over.
    Answer,
    /// Takes the proposal back; carries no SDP.
    Rollback,
}

impl SdpType {
    /// The name used in JSON and by the W3C interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Offer => "offer",
            Self::PrAnswer => "pranswer",
            Self::Answer => "answer",
            Self::Rollback => "rollback",
        }
    }

    /// The type with that W3C name.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "offer" => Some(Self::Offer),
            "pranswer" => Some(Self::PrAnswer),
            "answer" => Some(Self::Answer),
            "rollback" => Some(Self::Rollback),
            _ => None,
        }
    }
}

impl std::fmt::Display for SdpType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// A type and its SDP (W3C webrtc-pc `RTCSessionDescriptionInit`). In JSON:
/// `{"type":"offer","sdp":"v=0..."}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionDescription {
    /// Offer, provisional answer, answer or rollback.
    #[serde(rename = "type")]
    pub kind: SdpType,
    /// The SDP text; empty for a rollback, or to set the last created description.
    #[serde(default)]
    pub sdp: String,
}

impl SessionDescription {
    /// A description of that type with that text.
    pub fn new(kind: SdpType, sdp: impl Into<String>) -> Self {
        Self {
            kind,
            sdp: sdp.into(),
        }
    }

    /// An offer.
    pub fn offer(sdp: impl Into<String>) -> Self {
        Self::new(SdpType::Offer, sdp)
    }

    /// A final answer.
    pub fn answer(sdp: impl Into<String>) -> Self {
        Self::new(SdpType::Answer, sdp)
    }

    /// A provisional answer.
    pub fn pranswer(sdp: impl Into<String>) -> Self {
        Self::new(SdpType::PrAnswer, sdp)
    }

    /// A rollback (RFC 9429 5.7).
    pub fn rollback() -> Self {
        Self::new(SdpType::Rollback, "")
    }
}

/// One trickled candidate (W3C webrtc-pc `RTCIceCandidateInit`). An empty
/// `candidate` says that no more follow for the media section and generation named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct IceCandidateInit {
    /// `candidate:...`, the `a=` value of RFC 8839 5.1; empty at the end of candidates.
    pub candidate: String,
    /// The `a=mid` of the media section.
    pub sdp_mid: Option<String>,
    /// The index of the media section, used when there is no mid.
    #[serde(rename = "sdpMLineIndex")]
    pub sdp_mline_index: Option<u16>,
    /// The ICE generation that the candidate belongs to.
    pub username_fragment: Option<String>,
}
