//! A short form of our own data descriptions, for signaling envelopes.
//!
//! A description that [`jsep`](crate::jsep) writes is a template and a dozen values;
//! [`encode`] takes the values out, [`Compact::expand`] puts them back and yields the same
//! text, byte for byte. [`Compact`] is a plain serde struct: with MessagePack a description
//! with four candidates takes about 250 bytes instead of 900, an identity assertion about
//! three quarters of its length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use crate::candidate::{Address, Candidate, CandidateKind, Credentials, Protocol};
use crate::certificate::{Fingerprint, HashFunction};
use crate::jsep::create::{self, Common};
use crate::jsep::{SdpType, SessionConfig, SessionDescription};

use super::{Attribute, Capabilities, Media, Sdp, Setup};

/// The form written here; others are refused.
const VERSION: u8 = 1;
/// Most candidates in one compact description; further ones are trickled. A guess: few hosts
/// have more addresses worth trying.
pub const MAX_CANDIDATES: usize = 16;
/// Longest identity assertion, as bytes where it is base64.
pub const MAX_IDENTITY_LEN: usize = 1024;
/// A compact description whose parts add up to more is not made and not taken. What a
/// signaling envelope of 4 KiB has room for, twice.
pub const MAX_COMPACT_LEN: usize = 1536;
/// What the fixed parts take in MessagePack, at most.
const FIXED_LEN: usize = 96;
const MAX_MID_LEN: usize = 32;

/// A data description in short. Comes from the network: check with [`Compact::expand`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Compact {
    version: u8,
    kind: SdpType,
    session_id: u64,
    session_version: u64,
    mid: Option<String>,
    bundled: bool,
    ufrag: String,
    pwd: String,
    #[serde(with = "serde_bytes")]
    fingerprint: [u8; 32],
    setup: CompactSetup,
    max_message_size: u64,
    peerloom: Option<(u16, Vec<String>)>,
    identity: Option<CompactIdentity>,
    candidates: Vec<CompactCandidate>,
    complete: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
enum CompactSetup {
    ActPass,
    Active,
    Passive,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum CompactIdentity {
    Base64(#[serde(with = "serde_bytes")] Vec<u8>),
    Text(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum CompactCandidate {
    /// Foundation, priority, address, port of a UDP host candidate.
    Host(u32, u32, #[serde(with = "serde_bytes")] Vec<u8>, u16),
    /// Any other, as in SDP.
    Line(String),
}

/// Why a compact description was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Written by a later release.
    #[error("compact description of version {0}, which is not known here")]
    Version(u8),
    /// More than the bounds of this module allow.
    #[error("compact description too large")]
    TooLarge,
    /// The part named here cannot stand in a description.
    #[error("malformed {0} in a compact description")]
    Malformed(&'static str),
}

/// The short form of a description, or `None` when it is not one of our own making (a
/// browser's, one with refused media, one that is too large): send the text then.
pub fn encode(description: &SessionDescription) -> Option<Compact> {
    let sdp = Sdp::parse(&description.sdp).ok()?;
    let compact = read(description.kind, &sdp)?;
    // Whatever the short form has no place for shows here.
    let same = compact
        .expand()
        .is_ok_and(|expanded| expanded == *description);
    same.then_some(compact)
}

impl Compact {
    /// The description in full.
    pub fn expand(&self) -> Result<SessionDescription, Error> {
        if self.version != VERSION {
            return Err(Error::Version(self.version));
        }
        if self.weight() > MAX_COMPACT_LEN || self.candidates.len() > MAX_CANDIDATES {
            return Err(Error::TooLarge);
        }
        if self.kind == SdpType::Rollback {
            return Err(Error::Malformed("type"));
        }
        let sdp = self.sdp()?;
        Ok(SessionDescription::new(self.kind, sdp.to_string()))
    }

    /// Offer, provisional answer or answer.
    pub fn kind(&self) -> SdpType {
        self.kind
    }

    /// About how many bytes it takes in MessagePack.
    fn weight(&self) -> usize {
        let identity = match &self.identity {
            Some(CompactIdentity::Base64(bytes)) => bytes.len() + 5,
            Some(CompactIdentity::Text(text)) => text.len() + 5,
            None => 0,
        };
        let candidates = self.candidates.iter().map(|candidate| match candidate {
            CompactCandidate::Host(_, _, address, _) => address.len() + 18,
            CompactCandidate::Line(line) => line.len() + 5,
        });
        let names = self.peerloom.iter().flat_map(|(_, names)| names);
        FIXED_LEN
            + identity
            + candidates.sum::<usize>()
            + names.map(|name| name.len() + 1).sum::<usize>()
            + self.ufrag.len()
            + self.pwd.len()
            + self.mid.as_ref().map_or(0, String::len)
    }

    fn sdp(&self) -> Result<Sdp, Error> {
        let credentials = Credentials::parse(&self.ufrag, &self.pwd)
            .map_err(|_| Error::Malformed("ICE credentials"))?;
        let is_mid = |mid: &String| {
            !mid.is_empty() && mid.len() <= MAX_MID_LEN && mid.bytes().all(|b| b.is_ascii_graphic())
        };
        if !self.mid.as_ref().is_none_or(is_mid) || self.bundled && self.mid.is_none() {
            return Err(Error::Malformed("mid"));
        }
        let candidates: Result<Vec<_>, _> = self.candidates.iter().map(candidate).collect();
        let identity = self.identity()?;
        let config = SessionConfig {
            seed: [0; 32],
            fingerprints: vec![self.fingerprint()],
            max_message_size: self.max_message_size,
            peerloom: self.capabilities(),
            ..SessionConfig::default()
        };
        let common = Common {
            config: &config,
            session_id: self.session_id,
            version: self.session_version,
            identity: identity.as_deref(),
        };
        let mut section =
            common.offered_data(self.mid.as_deref().unwrap_or_default(), &credentials);
        self.fit(&mut section);
        create::add_candidates(&mut section, &candidates?, self.complete);
        let bundled = self.mid.iter().filter(|_| self.bundled).cloned().collect();
        Ok(common.description(vec![section], bundled))
    }

    /// The template is an offer's: an answer chooses its role and may lack a mid.
    fn fit(&self, section: &mut Media) {
        let setup = match self.setup {
            CompactSetup::ActPass => Setup::ActPass,
            CompactSetup::Active => Setup::Active,
            CompactSetup::Passive => Setup::Passive,
        };
        for attribute in &mut section.attributes {
            if matches!(attribute, Attribute::Setup(_)) {
                *attribute = Attribute::Setup(setup);
            }
        }
        if self.mid.is_none() {
            section
                .attributes
                .retain(|attribute| !matches!(attribute, Attribute::Mid(_)));
        }
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint {
            hash: HashFunction::Sha256,
            value: self.fingerprint.to_vec(),
        }
    }

    fn capabilities(&self) -> Option<Capabilities> {
        let (version, names) = self.peerloom.as_ref()?;
        let none = Capabilities::of_version(*version);
        Some(names.iter().fold(none, |all, name| all.with(name)))
    }

    fn identity(&self) -> Result<Option<String>, Error> {
        match &self.identity {
            Some(CompactIdentity::Base64(bytes)) if bytes.len() <= MAX_IDENTITY_LEN => {
                Ok(Some(BASE64.encode(bytes)))
            }
            Some(CompactIdentity::Text(text)) if text.len() <= MAX_IDENTITY_LEN => {
                let fits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic());
                if fits {
                    Ok(Some(text.clone()))
                } else {
                    Err(Error::Malformed("identity"))
                }
            }
            Some(_) => Err(Error::TooLarge),
            None => Ok(None),
        }
    }
}

fn read(kind: SdpType, sdp: &Sdp) -> Option<Compact> {
    let [section] = sdp.media.as_slice() else {
        return None;
    };
    let [fingerprint] = <[Fingerprint; 1]>::try_from(sdp.fingerprints()).ok()?;
    let setup = match super::setup(&section.attributes)? {
        Setup::ActPass => CompactSetup::ActPass,
        Setup::Active => CompactSetup::Active,
        Setup::Passive => CompactSetup::Passive,
        Setup::HoldConn => return None,
    };
    let names = |c: &Capabilities| (c.version(), c.iter().map(str::to_owned).collect());
    let complete = section
        .attributes
        .iter()
        .any(|a| matches!(a, Attribute::EndOfCandidates));
    let candidates: Option<Vec<_>> = section.candidates().map(short_candidate).collect();
    Some(Compact {
        version: VERSION,
        kind,
        session_id: sdp.origin.session_id,
        session_version: sdp.origin.version,
        mid: section.mid().map(str::to_owned),
        bundled: sdp.bundles().next().is_some(),
        ufrag: super::ice_ufrag(&section.attributes)?.to_owned(),
        pwd: super::ice_pwd(&section.attributes)?.to_owned(),
        fingerprint: fingerprint.value.try_into().ok()?,
        setup,
        max_message_size: section.max_message_size()?,
        peerloom: sdp.peerloom().map(names),
        identity: sdp.identity().map(short_identity),
        candidates: candidates?,
        complete,
    })
}

fn short_identity(text: &str) -> CompactIdentity {
    match BASE64.decode(text.as_bytes()) {
        Ok(bytes) => CompactIdentity::Base64(bytes),
        Err(_) => CompactIdentity::Text(text.to_owned()),
    }
}

fn short_candidate(line: &str) -> Option<CompactCandidate> {
    let candidate: Candidate = line.parse().ok()?;
    let short = shorten(&candidate).filter(|short| self::candidate(short) == Ok(candidate));
    Some(short.unwrap_or_else(|| CompactCandidate::Line(line.to_owned())))
}

fn shorten(candidate: &Candidate) -> Option<CompactCandidate> {
    let Address::Ip(ip) = &candidate.address else {
        return None;
    };
    let ip = match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let foundation = candidate.foundation.parse().ok()?;
    Some(CompactCandidate::Host(
        foundation,
        candidate.priority,
        ip,
        candidate.port,
    ))
}

fn candidate(short: &CompactCandidate) -> Result<Candidate, Error> {
    match short {
        CompactCandidate::Host(foundation, priority, ip, port) => {
            let v4 = || <[u8; 4]>::try_from(ip.as_slice()).map(|ip| Ipv4Addr::from(ip).into());
            let v6 = || <[u8; 16]>::try_from(ip.as_slice()).map(|ip| Ipv6Addr::from(ip).into());
            let ip = v4()
                .or_else(|_| v6())
                .map_err(|_| Error::Malformed("candidate"))?;
            Ok(Candidate {
                foundation: foundation.to_string(),
                component: 1,
                protocol: Protocol::Udp,
                priority: *priority,
                address: Address::Ip(ip),
                port: *port,
                kind: CandidateKind::Host,
                related: None,
                tcp_type: None,
                base: None,
                url: None,
                extensions: Vec::new(),
            })
        }
        CompactCandidate::Line(line) => line.parse().map_err(|_| Error::Malformed("candidate")),
    }
}
