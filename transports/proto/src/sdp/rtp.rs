//! The attributes of audio and video sections, each as its RFC has it.
//!
//! A value is taken for what it says only if printing it again gives the same text: anything
//! else stays text ([`Attribute::Other`](super::Attribute::Other)), and has no effect, as
//! RFC 8866 5.13 wants of attributes that are not understood.

use std::fmt;

use super::attribute::number;
use super::simulcast::{Rid, Simulcast};

/// The direction of a section or extension, as the writer of the description sees it
/// (RFC 8866 6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Sends and receives.
    SendRecv,
    /// Only sends.
    SendOnly,
    /// Only receives.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// The word on the wire and in the W3C interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::SendRecv => "sendrecv",
            Self::SendOnly => "sendonly",
            Self::RecvOnly => "recvonly",
            Self::Inactive => "inactive",
        }
    }

    /// The direction with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        let all = [
            Self::SendRecv,
            Self::SendOnly,
            Self::RecvOnly,
            Self::Inactive,
        ];
        all.into_iter().find(|direction| direction.name() == name)
    }

    /// The direction that sends and receives as said.
    pub fn of(sends: bool, receives: bool) -> Self {
        match (sends, receives) {
            (true, true) => Self::SendRecv,
            (true, false) => Self::SendOnly,
            (false, true) => Self::RecvOnly,
            (false, false) => Self::Inactive,
        }
    }

    /// Whether the writer sends.
    pub fn sends(self) -> bool {
        matches!(self, Self::SendRecv | Self::SendOnly)
    }

    /// Whether the writer receives.
    pub fn receives(self) -> bool {
        matches!(self, Self::SendRecv | Self::RecvOnly)
    }

    /// The same, as the other end sees it.
    #[must_use]
    pub fn reversed(self) -> Self {
        Self::of(self.receives(), self.sends())
    }

    /// What both allow.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self::of(
            self.sends() && other.sends(),
            self.receives() && other.receives(),
        )
    }
}

impl fmt::Display for Direction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// `a=rtpmap` (RFC 8866 6.6).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtpMap {
    /// The number in RTP packets, 0 to 127.
    pub payload_type: u8,
    /// The codec's name; case does not matter.
    pub encoding: String,
    /// In Hz.
    pub clock_rate: u32,
    /// Channels, of audio codecs; one when absent.
    pub channels: Option<u8>,
}

impl RtpMap {
    fn parse(value: &str) -> Option<Self> {
        let (payload_type, rest) = value.split_once(' ')?;
        let mut parts = rest.split('/');
        let encoding = parts.next().filter(|name| is_token(name))?.to_owned();
        let clock_rate = number(parts.next()?)?;
        let channels = match parts.next() {
            Some(channels) => Some(number(channels)?),
            None => None,
        };
        Some(Self {
            payload_type: payload(payload_type)?,
            encoding,
            clock_rate,
            channels,
        })
    }
}

impl fmt::Display for RtpMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            payload_type,
            encoding,
            clock_rate,
            channels,
        } = self;
        write!(f, "{payload_type} {encoding}/{clock_rate}")?;
        channels
            .iter()
            .try_for_each(|channels| write!(f, "/{channels}"))
    }
}

/// `a=fmtp` (RFC 8866 6.15).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fmtp {
    /// Which codec.
    pub payload_type: u8,
    /// Its parameters, as its own specification has them.
    pub parameters: String,
}

impl Fmtp {
    fn parse(value: &str) -> Option<Self> {
        let (payload_type, parameters) = value.split_once(' ')?;
        Some(Self {
            payload_type: payload(payload_type)?,
            parameters: parameters.to_owned(),
        })
    }
}

impl fmt::Display for Fmtp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.payload_type, self.parameters)
    }
}

/// `a=rtcp-fb` (RFC 4585 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RtcpFb {
    /// Which codec; `None` (`*`) means every one in the section.
    pub payload_type: Option<u8>,
    /// `nack`, `nack pli`, `ccm fir`, `transport-cc`, ...
    pub value: String,
}

impl RtcpFb {
    fn parse(value: &str) -> Option<Self> {
        let (payload_type, value) = value.split_once(' ')?;
        let payload_type = match payload_type {
            "*" => None,
            number => Some(payload(number)?),
        };
        Some(Self {
            payload_type,
            value: value.to_owned(),
        })
    }
}

impl fmt::Display for RtcpFb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.payload_type {
            Some(payload_type) => write!(f, "{payload_type} {}", self.value),
            None => write!(f, "* {}", self.value),
        }
    }
}

/// `a=extmap` (RFC 8285 8): an RTP header extension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExtMap {
    /// The number in RTP packets: 1 to 14, or to 255 in the two-byte form.
    pub id: u16,
    /// Who sends it, when not as the section.
    pub direction: Option<Direction>,
    /// What it is.
    pub uri: String,
    /// Further attributes; none is in use.
    pub parameters: Option<String>,
}

impl ExtMap {
    fn parse(value: &str) -> Option<Self> {
        let (id, rest) = value.split_once(' ')?;
        let (id, direction) = match id.split_once('/') {
            Some((id, direction)) => (id, Some(Direction::from_name(direction)?)),
            None => (id, None),
        };
        let (uri, parameters) = match rest.split_once(' ') {
            Some((uri, parameters)) => (uri, Some(parameters.to_owned())),
            None => (rest, None),
        };
        let fits = !uri.is_empty() && uri.bytes().all(|b| b.is_ascii_graphic());
        Some(Self {
            id: number(id).filter(|id| *id != 0)?,
            direction,
            uri: fits.then(|| uri.to_owned())?,
            parameters,
        })
    }
}

impl fmt::Display for ExtMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.id)?;
        self.direction.iter().try_for_each(|d| write!(f, "/{d}"))?;
        write!(f, " {}", self.uri)?;
        self.parameters.iter().try_for_each(|p| write!(f, " {p}"))
    }
}

/// `a=msid` (RFC 8830 2): the stream that the section's track is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Msid {
    /// The W3C `MediaStream.id`; `-` when the track is in none.
    pub stream: String,
    /// The W3C `MediaStreamTrack.id`, from those who write it.
    pub track: Option<String>,
}

impl Msid {
    /// What stands for "in no stream" (RFC 8830 3).
    pub const NO_STREAM: &'static str = "-";

    fn parse(value: &str) -> Option<Self> {
        let (stream, track) = match value.split_once(' ') {
            Some((stream, track)) => (stream, Some(track)),
            None => (value, None),
        };
        let fits = is_token(stream) && track.is_none_or(is_token);
        fits.then(|| Self {
            stream: stream.to_owned(),
            track: track.map(str::to_owned),
        })
    }
}

impl fmt::Display for Msid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.stream)?;
        self.track.iter().try_for_each(|t| write!(f, " {t}"))
    }
}

/// The attribute called `name`, if it is one of these and says what it says in the usual form.
pub(super) fn parse(name: &str, value: &str) -> Option<super::Attribute> {
    use super::Attribute;
    let parsed = match name {
        "rtpmap" => Attribute::RtpMap(RtpMap::parse(value)?),
        "fmtp" => Attribute::Fmtp(Fmtp::parse(value)?),
        "rtcp-fb" => Attribute::RtcpFb(RtcpFb::parse(value)?),
        "extmap" => Attribute::ExtMap(ExtMap::parse(value)?),
        "msid" => Attribute::Msid(Msid::parse(value)?),
        "rid" => Attribute::Rid(Rid::parse(value)?),
        "simulcast" => Attribute::Simulcast(Simulcast::parse(value)?),
        _ => return None,
    };
    let printed = parsed.to_string();
    let same = printed.strip_prefix(name).and_then(|p| p.strip_prefix(':')) == Some(value);
    same.then_some(parsed)
}

fn payload(word: &str) -> Option<u8> {
    number(word).filter(|payload_type| *payload_type < 128)
}

fn is_token(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::super::Attribute;
    use super::*;

    #[test]
    fn what_is_understood_prints_as_it_was_read() {
        for text in [
            "rtpmap:111 opus/48000/2",
            "fmtp:111 minptime=10;useinbandfec=1",
            "rtcp-fb:96 nack pli",
            "rtcp-fb:* transport-cc",
            "extmap:1/sendonly urn:ietf:params:rtp-hdrext:sdes:mid",
            "msid:- track",
            "rid:hi send pt=96;max-width=1280",
            "simulcast:recv ~a,b;c send d",
            "recvonly",
            "rtcp-mux",
        ] {
            let parsed = Attribute::parse(text).expect("well-formed");
            assert!(!matches!(parsed, Attribute::Other { .. }), "{text}");
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn what_is_not_understood_stays_text() {
        for text in [
            "rtpmap:111  opus/48000",
            "rtpmap:200 opus/48000",
            "rtpmap:0111 opus/48000",
            "extmap:0 urn:x",
            "extmap:1/both urn:x",
            "rid:sp ace send",
            "rid:a sideways",
            "simulcast:send",
            "simulcast:send a send b",
            "simulcast:send a;;b",
            "msid:",
        ] {
            let parsed = Attribute::parse(text).expect("no reason to refuse the description");
            assert!(matches!(parsed, Attribute::Other { .. }), "{text}");
            assert_eq!(parsed.to_string(), text);
        }
    }

    #[test]
    fn directions_mirror_and_meet() {
        let all = ["sendrecv", "sendonly", "recvonly", "inactive"];
        for one in all.map(|name| Direction::from_name(name).expect("a name")) {
            assert_eq!(one.reversed().reversed(), one);
            assert_eq!(one.and(Direction::SendRecv), one);
            assert_eq!(one.and(Direction::Inactive), Direction::Inactive);
        }
        assert_eq!(Direction::SendOnly.reversed(), Direction::RecvOnly);
        let both = Direction::SendOnly.and(Direction::RecvOnly);
        assert_eq!(both, Direction::Inactive);
    }
}
