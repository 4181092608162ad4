//! The attributes that are understood, and the rest as text.

use std::fmt;

use crate::certificate::{Fingerprint, FingerprintError};

use super::capabilities::{self, Capabilities};
use super::rtp::{self, Direction, ExtMap, Fmtp, Msid, RtcpFb, RtpMap};
use super::simulcast::{Rid, Simulcast};

/// Longest `a=mid`; longer ones are refused. RFC 5888 names no limit, and RTP cannot carry
/// more than 255 bytes of it.
const MAX_MID_LEN: usize = 255;

/// An `a=` line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// `group` (RFC 5888 5).
    Group {
        /// `BUNDLE`, `LS`, ...
        semantics: String,
        /// The sections in the group; the first is tagged (RFC 9143 7.2).
        mids: Vec<String>,
    },
    /// `mid` (RFC 5888 4).
    Mid(String),
    /// `ice-lite` (RFC 8839 5.3).
    IceLite,
    /// `ice-options` (RFC 8839 5.6).
    IceOptions(Vec<String>),
    /// `ice-ufrag` (RFC 8839 5.4).
    IceUfrag(String),
    /// `ice-pwd` (RFC 8839 5.4).
    IcePwd(String),
    /// `candidate` (RFC 8839 5.1): what follows the colon, unparsed, since lines that are not
    /// understood have to be ignored one by one.
    Candidate(String),
    /// `end-of-candidates` (RFC 8840 8.1).
    EndOfCandidates,
    /// `fingerprint` (RFC 8122 5) with a hash function that is known and strong enough.
    Fingerprint(Fingerprint),
    /// `setup` (RFC 4145 4, RFC 8842 5).
    Setup(Setup),
    /// `sctp-port` (RFC 8841 5).
    SctpPort(u16),
    /// `sctpmap`, the form before RFC 8841.
    SctpMap {
        /// The SCTP port.
        port: u16,
        /// `webrtc-datachannel`.
        app: String,
        /// Number of streams, unused.
        streams: Option<u32>,
    },
    /// `max-message-size` (RFC 8841 6).
    MaxMessageSize(u64),
    /// `identity` (RFC 8827 5): the assertion in base64, with extensions if any.
    Identity(String),
    /// `bundle-only` (RFC 9143 6).
    BundleOnly,
    /// `sendrecv`, `sendonly`, `recvonly`, `inactive` (RFC 8866 6.7).
    Direction(Direction),
    /// `rtcp-mux` (RFC 5761 5.1.1).
    RtcpMux,
    /// `rtpmap` (RFC 8866 6.6).
    RtpMap(RtpMap),
    /// `fmtp` (RFC 8866 6.15).
    Fmtp(Fmtp),
    /// `rtcp-fb` (RFC 4585 4.2).
    RtcpFb(RtcpFb),
    /// `extmap` (RFC 8285 8).
    ExtMap(ExtMap),
    /// `msid` (RFC 8830 2).
    Msid(Msid),
    /// `rid` (RFC 8851 4).
    Rid(Rid),
    /// `simulcast` (RFC 8853 5.1).
    Simulcast(Simulcast),
    /// `x-peerloom`.
    Peerloom(Capabilities),
    /// Everything else.
    Other {
        /// Before the colon.
        name: String,
        /// After the colon, when there is one.
        value: Option<String>,
    },
}

/// `a=setup` (RFC 4145 4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Setup {
    /// Will be the DTLS client.
    Active,
    /// Will be the DTLS server.
    Passive,
    /// Lets the answer decide.
    ActPass,
    /// No connection for now; WebRTC has no use for it.
    HoldConn,
}

impl Setup {
    /// The word on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passive => "passive",
            Self::ActPass => "actpass",
            Self::HoldConn => "holdconn",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        let all = [Self::Active, Self::Passive, Self::ActPass, Self::HoldConn];
        all.into_iter()
            .find(|setup| word.eq_ignore_ascii_case(setup.name()))
    }
}

impl Attribute {
    /// An attribute that is not interpreted, without a value.
    pub(crate) fn flag(name: &str) -> Self {
        Self::Other {
            name: name.to_owned(),
            value: None,
        }
    }

    /// Reads what follows `a=`. The error names the attribute that is malformed.
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (name, value) = match text.split_once(':') {
            Some((name, value)) => (name, Some(value)),
            None => (text, None),
        };
        if name.is_empty() || name.bytes().any(|b| b.is_ascii_whitespace()) {
            return Err("attribute name");
        }
        let known = match value {
            Some(value) => with_value(name, value)?,
            None => without_value(name),
        };
        let other = || Self::Other {
            name: name.to_owned(),
            value: value.map(str::to_owned),
        };
        Ok(known.unwrap_or_else(other))
    }
}

fn without_value(name: &str) -> Option<Attribute> {
    match name {
        "ice-lite" => Some(Attribute::IceLite),
        "end-of-candidates" => Some(Attribute::EndOfCandidates),
        "bundle-only" => Some(Attribute::BundleOnly),
        "rtcp-mux" => Some(Attribute::RtcpMux),
        _ => Direction::from_name(name).map(Attribute::Direction),
    }
}

fn with_value(name: &str, value: &str) -> Result<Option<Attribute>, &'static str> {
    let attribute = match name {
        "group" => group(value).ok_or("group")?,
        "mid" => Attribute::Mid(token(value, MAX_MID_LEN).ok_or("mid")?),
        "ice-options" => Attribute::IceOptions(words(value)),
        "ice-ufrag" => Attribute::IceUfrag(token(value, 256).ok_or("ice-ufrag")?),
        "ice-pwd" => Attribute::IcePwd(token(value, 256).ok_or("ice-pwd")?),
        "candidate" => Attribute::Candidate(value.to_owned()),
        "fingerprint" => match Fingerprint::parse(value) {
            Ok(fingerprint) => Attribute::Fingerprint(fingerprint),
            Err(FingerprintError::HashFunction) => return Ok(None),
            Err(_) => return Err("fingerprint"),
        },
        "setup" => Attribute::Setup(Setup::parse(value.trim()).ok_or("setup")?),
        "sctp-port" => Attribute::SctpPort(number(value.trim()).ok_or("sctp-port")?),
        "sctpmap" => sctpmap(value).ok_or("sctpmap")?,
        "max-message-size" => {
            Attribute::MaxMessageSize(number(value.trim()).ok_or("max-message-size")?)
        }
        "identity" => Attribute::Identity(value.to_owned()),
        capabilities::NAME => return Ok(Capabilities::parse(value).map(Attribute::Peerloom)),
        _ => return Ok(rtp::parse(name, value)),
    };
    Ok(Some(attribute))
}

fn group(value: &str) -> Option<Attribute> {
    let mut words = words(value).into_iter();
    Some(Attribute::Group {
        semantics: words.next()?,
        mids: words.collect(),
    })
}

fn sctpmap(value: &str) -> Option<Attribute> {
    let mut words = value.split_ascii_whitespace();
    let port = number(words.next()?)?;
    let app = words.next()?.to_owned();
    let streams = match words.next() {
        Some(word) => Some(number(word)?),
        None => None,
    };
    Some(Attribute::SctpMap { port, app, streams })
}

fn words(value: &str) -> Vec<String> {
    value.split_ascii_whitespace().map(str::to_owned).collect()
}

fn token(value: &str, max: usize) -> Option<String> {
    let value = value.trim();
    let fine =
        !value.is_empty() && value.len() <= max && value.bytes().all(|b| b.is_ascii_graphic());
    fine.then(|| value.to_owned())
}

/// Digits only: `str::parse` would take a plus sign too.
pub(super) fn number<T: std::str::FromStr>(word: &str) -> Option<T> {
    if word.is_empty() || !word.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    word.parse().ok()
}

impl fmt::Display for Attribute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Group { semantics, mids } => {
                write!(f, "group:{semantics}")?;
                mids.iter().try_for_each(|mid| write!(f, " {mid}"))
            }
            Self::Mid(mid) => write!(f, "mid:{mid}"),
            Self::IceLite => f.write_str("ice-lite"),
            Self::IceOptions(options) => write!(f, "ice-options:{}", options.join(" ")),
            Self::IceUfrag(ufrag) => write!(f, "ice-ufrag:{ufrag}"),
            Self::IcePwd(pwd) => write!(f, "ice-pwd:{pwd}"),
            Self::Candidate(line) => write!(f, "candidate:{line}"),
            Self::EndOfCandidates => f.write_str("end-of-candidates"),
            Self::Fingerprint(fingerprint) => write!(f, "fingerprint:{fingerprint}"),
            Self::Setup(setup) => write!(f, "setup:{}", setup.name()),
            Self::SctpPort(port) => write!(f, "sctp-port:{port}"),
            Self::SctpMap { port, app, streams } => {
                write!(f, "sctpmap:{port} {app}")?;
                streams
                    .iter()
                    .try_for_each(|streams| write!(f, " {streams}"))
            }
            Self::MaxMessageSize(size) => write!(f, "max-message-size:{size}"),
            Self::Identity(assertion) => write!(f, "identity:{assertion}"),
            Self::BundleOnly => f.write_str("bundle-only"),
            Self::Direction(direction) => f.write_str(direction.name()),
            Self::RtcpMux => f.write_str("rtcp-mux"),
            Self::RtpMap(map) => write!(f, "rtpmap:{map}"),
            Self::Fmtp(fmtp) => write!(f, "fmtp:{fmtp}"),
            Self::RtcpFb(feedback) => write!(f, "rtcp-fb:{feedback}"),
            Self::ExtMap(map) => write!(f, "extmap:{map}"),
            Self::Msid(msid) => write!(f, "msid:{msid}"),
            Self::Rid(rid) => write!(f, "rid:{rid}"),
            Self::Simulcast(simulcast) => write!(f, "simulcast:{simulcast}"),
            Self::Peerloom(capabilities) => write!(f, "{}:{capabilities}", capabilities::NAME),
            Self::Other {
                name,
                value: Some(value),
            } => write!(f, "{name}:{value}"),
            Self::Other { name, value: None } => f.write_str(name),
        }
    }
}
