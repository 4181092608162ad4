//! Session descriptions as text (RFC 8866) with what WebRTC needs: ICE (RFC 8839),
//! DTLS (RFC 8842, 8122), SCTP (RFC 8841), bundling (RFC 9143, first RFC 8843), grouping
//! (RFC 5888), identity (RFC 8827 5), codecs, header extensions (RFC 8285), streams
//! (RFC 8830), simulcast (RFC 8853, 8851) and our own [`Capabilities`].
//!
//! [`Sdp::parse`] reads any description, media sections included, within the bounds named
//! below; it never panics and says at which line it stopped. Attributes it does not know are
//! kept as they are, so that printing a parsed description loses nothing. What a description
//! *means* is decided in [`jsep`](crate::jsep).

mod attribute;
mod capabilities;
pub mod compact;
mod parse;
mod rtp;
mod simulcast;

use std::fmt;

use crate::certificate::Fingerprint;
use crate::id::DtlsRole;

pub use attribute::{Attribute, Setup};
pub use capabilities::Capabilities;
pub use parse::{Error, ErrorKind};
pub use rtp::{Direction, ExtMap, Fmtp, Msid, RtcpFb, RtpMap};
pub use section::{Codec, MediaKind};
pub use simulcast::{Rid, RidDirection, Simulcast, SimulcastStream};

/// What all attributes of one kind hold.
macro_rules! each {
    ($attributes:expr, $pattern:pat $(if $condition:expr)? => $value:expr) => {
        $attributes.iter().filter_map(|a| match a {
            $pattern $(if $condition)? => Some($value),
            #[allow(clippy::wildcard_enum_match_arm, reason = "one kind of many is looked for")]
            _ => None,
        })
    };
}

/// What the first attribute of one kind holds: a repetition is not an error, and has no effect.
macro_rules! first {
    ($attributes:expr, $pattern:pat $(if $condition:expr)? => $value:expr) => {
        each!($attributes, $pattern $(if $condition)? => $value).next()
    };
}

mod section;

/// Longest description read. Chromium with 20 video sections writes about 100 KiB.
pub const MAX_SDP_LEN: usize = 256 * 1024;
/// Longest line read: an identity assertion with a chain of tokens is the longest there is.
pub const MAX_LINE_LEN: usize = 16 * 1024;
/// Most lines read. Chromium writes about 170 for a video section.
pub const MAX_LINES: usize = 8192;
/// Most media sections read. A guess well above what a browser survives.
pub const MAX_MEDIA: usize = 128;

/// The `fmt` of a data section (RFC 8841 4.3).
pub const DATA_CHANNEL_FORMAT: &str = "webrtc-datachannel";

/// A session description.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sdp {
    /// `o=`
    pub origin: Origin,
    /// `s=`
    pub name: String,
    /// The lines between `s=` and the attributes (`i u e p c b t r z k`), in order.
    pub lines: Vec<Line>,
    /// Session-level attributes, in order.
    pub attributes: Vec<Attribute>,
    /// Media sections, in order.
    pub media: Vec<Media>,
}

/// Who made the description (RFC 8866 5.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// `-` in WebRTC.
    pub username: String,
    /// Stays the same for the life of the session.
    pub session_id: u64,
    /// Goes up with each description that differs from the one before.
    pub version: u64,
    /// Network type, address type and address, unused in WebRTC: `IN IP4 0.0.0.0`.
    pub address: String,
}

/// A line that is carried but not interpreted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// The letter before `=`.
    pub kind: char,
    /// What follows `=`.
    pub value: String,
}

impl Line {
    /// A line of that kind.
    pub fn new(kind: char, value: impl Into<String>) -> Self {
        Self {
            kind,
            value: value.into(),
        }
    }
}

/// A media section (RFC 8866 5.14).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Media {
    /// `audio`, `video`, `application`, ...
    pub kind: String,
    /// 0 refuses or ends the section, unless it is `a=bundle-only`.
    pub port: u16,
    /// `/n` after the port; never used in WebRTC.
    pub port_count: Option<u16>,
    /// `UDP/DTLS/SCTP`, `UDP/TLS/RTP/SAVPF`, ...
    pub protocol: String,
    /// Payload types, or `webrtc-datachannel`.
    pub formats: Vec<String>,
    /// The lines before the attributes (`i c b k`), in order.
    pub lines: Vec<Line>,
    /// Attributes, in order.
    pub attributes: Vec<Attribute>,
}

impl Sdp {
    /// Every fingerprint in the description, session level first, without repetition.
    pub fn fingerprints(&self) -> Vec<Fingerprint> {
        let mut all = fingerprints(&self.attributes);
        for media in &self.media {
            for fingerprint in fingerprints(&media.attributes) {
                if !all.contains(&fingerprint) {
                    all.push(fingerprint);
                }
            }
        }
        all
    }

    /// How many `a=fingerprint` lines there are, repetitions included.
    pub(crate) fn fingerprint_lines(&self) -> usize {
        let sections = self.media.iter().map(|media| &media.attributes);
        let all = sections.chain([&self.attributes]).flatten();
        all.filter(|a| matches!(a, Attribute::Fingerprint(_)))
            .count()
    }

    /// The identity assertion (RFC 8827 5), a session-level attribute.
    pub fn identity(&self) -> Option<&str> {
        first!(&self.attributes, Attribute::Identity(value) => value.as_str())
    }

    /// What the peer can do beyond WebRTC; `None` when it is not Peerloom.
    pub fn peerloom(&self) -> Option<&Capabilities> {
        first!(&self.attributes, Attribute::Peerloom(capabilities) => capabilities)
    }

    /// The mids of the `BUNDLE` groups (RFC 9143 7), one list per group.
    pub fn bundles(&self) -> impl Iterator<Item = &[String]> {
        let groups =
            each!(&self.attributes, Attribute::Group { semantics, mids } => (semantics, mids));
        groups
            .filter(|(semantics, _)| *semantics == "BUNDLE")
            .map(|(_, mids)| mids.as_slice())
    }

    /// Whether the peer only answers connectivity checks.
    pub fn ice_lite(&self) -> bool {
        self.attributes
            .iter()
            .any(|a| matches!(a, Attribute::IceLite))
    }

    /// Whether an ICE option such as `trickle` (RFC 8840 4.1) is announced, at session level
    /// or in the section.
    pub fn has_ice_option(&self, option: &str, section: &Media) -> bool {
        let says = |a: &Attribute| matches!(a, Attribute::IceOptions(all) if all.iter().any(|o| o == option));
        self.attributes.iter().any(says) || section.attributes.iter().any(says)
    }

    /// Whether the section is part of the session: its port is not zero, or it is zero only
    /// because the section lives on another one's transport (RFC 9143 6).
    pub fn is_active(&self, section: &Media) -> bool {
        section.port != 0
            || section.bundle_only()
                && section
                    .mid()
                    .is_some_and(|mid| self.bundles().any(|b| b.iter().any(|m| m == mid)))
    }
}

impl Media {
    /// Whether this is a section for data channels, in today's form or in the one older
    /// stacks write (`DTLS/SCTP 5000` with `a=sctpmap`).
    pub fn is_data(&self) -> bool {
        if self.kind != "application" {
            return false;
        }
        match self.protocol.as_str() {
            "UDP/DTLS/SCTP" | "TCP/DTLS/SCTP" => {
                self.formats.iter().any(|f| f == DATA_CHANNEL_FORMAT)
            }
            "DTLS/SCTP" => self.legacy_port().is_some(),
            _ => false,
        }
    }

    /// The SCTP port of the old form, in the place of a format.
    pub fn legacy_port(&self) -> Option<u16> {
        if self.protocol != "DTLS/SCTP" {
            return None;
        }
        let port = self.formats.first()?.parse().ok()?;
        let mapped = self.attributes.iter().any(|a| {
            matches!(a, Attribute::SctpMap { port: p, app, .. } if *p == port && app == DATA_CHANNEL_FORMAT)
        });
        mapped.then_some(port)
    }

    /// `a=mid` (RFC 5888 4).
    pub fn mid(&self) -> Option<&str> {
        first!(&self.attributes, Attribute::Mid(mid) => mid.as_str())
    }

    /// `a=bundle-only` (RFC 9143 6).
    pub fn bundle_only(&self) -> bool {
        self.attributes
            .iter()
            .any(|a| matches!(a, Attribute::BundleOnly))
    }

    /// `a=sctp-port` (RFC 8841 5).
    pub fn sctp_port(&self) -> Option<u16> {
        first!(&self.attributes, Attribute::SctpPort(port) => *port)
    }

    /// `a=max-message-size` (RFC 8841 6), as it stands: zero means any size.
    pub fn max_message_size(&self) -> Option<u64> {
        first!(&self.attributes, Attribute::MaxMessageSize(size) => *size)
    }

    /// The values of the `a=candidate` lines, unparsed, in order.
    pub fn candidates(&self) -> impl Iterator<Item = &str> {
        each!(&self.attributes, Attribute::Candidate(line) => line.as_str())
    }
}

/// `a=ice-ufrag` among attributes.
pub(crate) fn ice_ufrag(attributes: &[Attribute]) -> Option<&str> {
    first!(attributes, Attribute::IceUfrag(ufrag) => ufrag.as_str())
}

/// `a=ice-pwd` among attributes.
pub(crate) fn ice_pwd(attributes: &[Attribute]) -> Option<&str> {
    first!(attributes, Attribute::IcePwd(pwd) => pwd.as_str())
}

/// `a=setup` among attributes.
pub(crate) fn setup(attributes: &[Attribute]) -> Option<Setup> {
    first!(attributes, Attribute::Setup(setup) => *setup)
}

/// `a=fingerprint` among attributes.
pub(crate) fn fingerprints(attributes: &[Attribute]) -> Vec<Fingerprint> {
    each!(attributes, Attribute::Fingerprint(fingerprint) => fingerprint.clone()).collect()
}

impl Setup {
    /// What announces this DTLS role in an answer.
    pub fn for_role(role: DtlsRole) -> Self {
        match role {
            DtlsRole::Client => Self::Active,
            DtlsRole::Server => Self::Passive,
        }
    }
}

impl fmt::Display for Sdp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Origin {
            username,
            session_id,
            version,
            address,
        } = &self.origin;
        write!(
            f,
            "v=0\r\no={username} {session_id} {version} {address}\r\ns={}\r\n",
            self.name
        )?;
        write_lines(f, &self.lines, &self.attributes)?;
        self.media.iter().try_for_each(|media| media.fmt(f))
    }
}

impl fmt::Display for Media {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m={} {}", self.kind, self.port)?;
        if let Some(count) = self.port_count {
            write!(f, "/{count}")?;
        }
        write!(f, " {}", self.protocol)?;
        self.formats
            .iter()
            .try_for_each(|format| write!(f, " {format}"))?;
        f.write_str("\r\n")?;
        write_lines(f, &self.lines, &self.attributes)
    }
}

fn write_lines(
    f: &mut fmt::Formatter<'_>,
    lines: &[Line],
    attributes: &[Attribute],
) -> fmt::Result {
    for Line { kind, value } in lines {
        write!(f, "{kind}={value}\r\n")?;
    }
    attributes
        .iter()
        .try_for_each(|attribute| write!(f, "a={attribute}\r\n"))
}
