//! What media a session can negotiate: codecs, header extensions, simulcast.

use crate::sdp::{Codec, MediaKind};

/// URIs of RTP header extensions (RFC 8285).
pub mod extension {
    /// The section a packet belongs to (RFC 9143 15).
    pub const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
    /// The encoding a packet belongs to (RFC 8852 3.1).
    pub const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
    /// The encoding that a retransmission repairs (RFC 8852 3.2).
    pub const REPAIRED_RID: &str = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id";
    /// When a packet was sent (draft-alvestrand-rmcat-remb).
    pub const ABS_SEND_TIME: &str = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time";
    /// Sequence numbers across the transport (draft-holmer-rmcat-transport-wide-cc-extensions).
    pub const TRANSPORT_CC: &str =
        "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
    /// How loud the packet's audio is (RFC 6464).
    pub const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";
}

/// A codec that can be negotiated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodecCapability {
    /// The codec as we would offer it. Its payload type is used unless it is taken; payload
    /// types in the parameters of `red` mean those of other capabilities.
    pub codec: Codec,
    /// The payload type for retransmissions (RFC 4588), when there are any.
    pub rtx: Option<u8>,
}

/// What can be negotiated for one kind of media.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KindCapabilities {
    /// In order of preference. Empty: sections of the kind are refused.
    pub codecs: Vec<CodecCapability>,
    /// URIs of header extensions, see [`extension`].
    pub extensions: Vec<String>,
}

/// What media a session can negotiate. Nothing by default: every audio and video section is
/// refused with port 0, and no transceiver is ever made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MediaCapabilities {
    /// Audio sections.
    pub audio: KindCapabilities,
    /// Video sections.
    pub video: KindCapabilities,
    /// Accept several encodings of one source (RFC 8853). Browsers do not, forwarders do.
    pub receive_simulcast: bool,
}

impl MediaCapabilities {
    /// No media.
    pub fn none() -> Self {
        Self::default()
    }

    /// The codecs that every WebRTC endpoint has to know (RFC 7874 3, RFC 7742 5) and those in
    /// common use. Payload types are those of Chromium, which spares others renumbering.
    pub fn standard() -> Self {
        let common = [extension::MID, extension::TRANSPORT_CC];
        let video = [
            extension::ABS_SEND_TIME,
            extension::RID,
            extension::REPAIRED_RID,
        ];
        let extensions = |all: &[&str]| all.iter().map(|uri| (*uri).to_owned()).collect();
        Self {
            audio: KindCapabilities {
                codecs: standard_audio(),
                extensions: extensions(&[&common[..], &[extension::AUDIO_LEVEL]].concat()),
            },
            video: KindCapabilities {
                codecs: standard_video(),
                extensions: extensions(&[&common[..], &video].concat()),
            },
            receive_simulcast: true,
        }
    }

    /// What can be negotiated for that kind.
    pub fn of(&self, kind: MediaKind) -> &KindCapabilities {
        match kind {
            MediaKind::Audio => &self.audio,
            MediaKind::Video => &self.video,
        }
    }

    /// Whether sections of that kind can be accepted at all.
    pub fn has(&self, kind: MediaKind) -> bool {
        !self.of(kind).codecs.is_empty()
    }
}

fn standard_audio() -> Vec<CodecCapability> {
    let audio = |payload_type, name, clock_rate, channels, parameters| {
        plain(payload_type, name, clock_rate, channels, parameters, &[])
    };
    let opus = ("minptime=10;useinbandfec=1", &["transport-cc"]);
    vec![
        plain(111, "opus", 48_000, Some(2), Some(opus.0), opus.1),
        audio(63, "red", 48_000, Some(2), Some("111/111")),
        audio(0, "PCMU", 8000, None, None),
        audio(8, "PCMA", 8000, None, None),
        audio(110, "telephone-event", 48_000, None, Some("0-15")),
        audio(126, "telephone-event", 8000, None, Some("0-15")),
    ]
}

fn standard_video() -> Vec<CodecCapability> {
    const FEEDBACK: [&str; 5] = ["goog-remb", "transport-cc", "ccm fir", "nack", "nack pli"];
    let video = |payload_type, name, parameters, rtx| CodecCapability {
        rtx: Some(rtx),
        ..plain(payload_type, name, 90_000, None, parameters, &FEEDBACK)
    };
    let h264 = |mode, profile| {
        format!("level-asymmetry-allowed=1;packetization-mode={mode};profile-level-id={profile}")
    };
    let (full, single) = (h264(1, "42e01f"), h264(0, "42e01f"));
    vec![
        video(96, "VP8", None, 97),
        video(98, "VP9", Some("profile-id=0"), 99),
        video(108, "H264", Some(&full), 109),
        video(114, "H264", Some(&single), 115),
        video(45, "AV1", Some("level-idx=5;profile=0;tier=0"), 46),
        CodecCapability {
            rtx: Some(119),
            ..plain(118, "red", 90_000, None, None, &[])
        },
        plain(120, "ulpfec", 90_000, None, None, &[]),
    ]
}

fn plain(
    payload_type: u8,
    name: &str,
    clock_rate: u32,
    channels: Option<u8>,
    parameters: Option<&str>,
    feedback: &[&str],
) -> CodecCapability {
    CodecCapability {
        codec: Codec {
            payload_type,
            name: name.to_owned(),
            clock_rate,
            channels,
            parameters: parameters.map(str::to_owned),
            feedback: feedback.iter().map(|value| (*value).to_owned()).collect(),
        },
        rtx: None,
    }
}

/// Which sections of an offer insist on being bundled (W3C `RTCBundlePolicy`, RFC 9429 4.1.1).
/// All of them run on one transport here: what the peer does not bundle is not negotiated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum BundlePolicy {
    /// The first section of each kind may stand alone, the others not.
    #[default]
    Balanced,
    /// Each section may stand alone.
    MaxCompat,
    /// Only the first section may stand alone.
    MaxBundle,
}

impl BundlePolicy {
    /// The W3C name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Balanced => "balanced",
            Self::MaxCompat => "max-compat",
            Self::MaxBundle => "max-bundle",
        }
    }
}
