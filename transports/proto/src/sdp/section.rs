//! What an audio or video section says, put together from its attributes.

use std::collections::BTreeSet;

use super::{Attribute, Direction, ExtMap, Media, Msid, Rid, RtcpFb, RtpMap, Sdp, Simulcast};

/// Most codecs read from one section. Chromium writes about 50 for video.
const MAX_CODECS: usize = 128;
/// Most header extensions read from one section. Chromium writes 14.
const MAX_EXTENSIONS: usize = 64;
/// Most rids read from one section. Browsers send three; a guess above any use.
const MAX_RIDS: usize = 16;
/// Most streams read from one section's `a=msid`; a guess above any use.
const MAX_MSIDS: usize = 16;

/// What a section carries over RTP (W3C `MediaStreamTrack.kind`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum MediaKind {
    /// `audio`
    Audio,
    /// `video`
    Video,
}

impl MediaKind {
    /// The word in the `m=` line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Audio => "audio",
            Self::Video => "video",
        }
    }
}

/// A codec as a section offers it: one payload type with all that is said about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Codec {
    /// The number in RTP packets.
    pub payload_type: u8,
    /// The name in `a=rtpmap`; case does not matter.
    pub name: String,
    /// In Hz.
    pub clock_rate: u32,
    /// Channels, of audio codecs; `None` means one.
    pub channels: Option<u8>,
    /// `a=fmtp`, as it stands.
    pub parameters: Option<String>,
    /// The values of `a=rtcp-fb`, those for all codecs included.
    pub feedback: Vec<String>,
}

impl Codec {
    /// A parameter of the form `name=value`, as most codecs have them, names being compared
    /// without case.
    pub fn parameter(&self, name: &str) -> Option<&str> {
        let pairs = self.parameters.as_deref()?.split(';');
        let mut pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
        pairs
            .find(|(found, _)| found.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    /// Whether it has that name.
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The payload type that retransmissions of this type (`rtx`) are for (RFC 4588 8.6).
    pub fn repairs(&self) -> Option<u8> {
        self.parameter("apt").and_then(super::attribute::number)
    }
}

impl Sdp {
    /// The direction of a section: its own, the session's, or `sendrecv` (RFC 8866 6.7).
    pub fn direction(&self, section: &Media) -> Direction {
        let found = |attributes: &[Attribute]| first!(attributes, Attribute::Direction(d) => *d);
        found(&section.attributes)
            .or_else(|| found(&self.attributes))
            .unwrap_or(Direction::SendRecv)
    }
}

impl Media {
    /// Audio or video over RTP with DTLS keys; `None` for anything else (RFC 8829 5.1.2).
    pub fn media_kind(&self) -> Option<MediaKind> {
        let profiles = ["UDP/TLS/RTP/SAVPF", "UDP/TLS/RTP/SAVP", "RTP/SAVPF"];
        let tcp = ["TCP/DTLS/RTP/SAVPF", "TCP/DTLS/RTP/SAVP", "RTP/SAVP"];
        let known = profiles.iter().chain(&tcp).any(|p| *p == self.protocol);
        let kinds = [MediaKind::Audio, MediaKind::Video];
        let kind = kinds.into_iter().find(|kind| kind.name() == self.kind);
        kind.filter(|_| known)
    }

    /// The codecs in the order of the `m=` line, which is that of preference. Numbers without
    /// `a=rtpmap` are left out, but for the two that RFC 3551 fixes and everybody has.
    pub fn codecs(&self) -> Vec<Codec> {
        let mut seen = BTreeSet::new();
        let numbers = self.formats.iter().filter_map(|f| f.parse::<u8>().ok());
        numbers
            .filter(|number| seen.insert(*number))
            .take(MAX_CODECS)
            .filter_map(|n| self.codec(n))
            .collect()
    }

    fn codec(&self, payload_type: u8) -> Option<Codec> {
        let map = first!(&self.attributes, Attribute::RtpMap(map) if map.payload_type == payload_type => map);
        let map = map.cloned().or_else(|| fixed(payload_type))?;
        let applies = |fb: &&RtcpFb| fb.payload_type.is_none_or(|of| of == payload_type);
        let feedback = each!(&self.attributes, Attribute::RtcpFb(fb) => fb).filter(applies);
        Some(Codec {
            payload_type,
            name: map.encoding,
            clock_rate: map.clock_rate,
            channels: map.channels,
            parameters: first!(&self.attributes, Attribute::Fmtp(f) if f.payload_type == payload_type => f.parameters.clone()),
            feedback: feedback.map(|fb| fb.value.clone()).collect(),
        })
    }

    /// The header extensions (RFC 8285), in order.
    pub fn extensions(&self) -> impl Iterator<Item = &ExtMap> {
        each!(&self.attributes, Attribute::ExtMap(map) => map).take(MAX_EXTENSIONS)
    }

    /// The streams that the section's track is in (RFC 8830), in order.
    pub fn msids(&self) -> impl Iterator<Item = &Msid> {
        each!(&self.attributes, Attribute::Msid(msid) => msid).take(MAX_MSIDS)
    }

    /// The encodings that have names (RFC 8851), in order.
    pub fn rids(&self) -> impl Iterator<Item = &Rid> {
        each!(&self.attributes, Attribute::Rid(rid) => rid).take(MAX_RIDS)
    }

    /// `a=simulcast` (RFC 8853).
    pub fn simulcast(&self) -> Option<&Simulcast> {
        first!(&self.attributes, Attribute::Simulcast(simulcast) => simulcast)
    }

    /// `a=rtcp-mux` (RFC 5761): RTCP on the same transport as RTP.
    pub fn rtcp_mux(&self) -> bool {
        self.attributes
            .iter()
            .any(|a| matches!(a, Attribute::RtcpMux))
    }
}

/// The numbers of RFC 3551 6 that are still in use.
fn fixed(payload_type: u8) -> Option<RtpMap> {
    let encoding = match payload_type {
        0 => "PCMU",
        8 => "PCMA",
        _ => return None,
    };
    Some(RtpMap {
        payload_type,
        encoding: encoding.to_owned(),
        clock_rate: 8000,
        channels: None,
    })
}
