//! Writing offers and answers (RFC 9429 5.2, 5.3).

use crate::candidate::{Address, Candidate, CandidateKind, Credentials, Protocol};
use crate::sdp::{Attribute, DATA_CHANNEL_FORMAT, Direction, Line, Media, Origin, Sdp, Setup};

use super::SessionConfig;

/// The address of a section without candidates (RFC 9429 5.2.1).
pub(super) const NO_ADDRESS: &str = "IN IP4 0.0.0.0";
/// The port of a section without candidates: "discard" (RFC 9429 5.2.1).
pub(super) const NO_PORT: u16 = 9;
/// The SCTP port of both ends, as everybody has it: the engine knows no other.
pub(crate) const SCTP_PORT: u16 = 5000;
/// Streams that the old `sctpmap` announces; nobody reads it.
const LEGACY_STREAMS: u32 = 1024;

/// What all descriptions of a session have in common.
pub(crate) struct Common<'a> {
    pub(crate) config: &'a SessionConfig,
    pub(crate) session_id: u64,
    pub(crate) version: u64,
    pub(crate) identity: Option<&'a str>,
}

impl Common<'_> {
    /// A description with these sections, of which those named live on one transport.
    pub(crate) fn description(&self, media: Vec<Media>, bundled: Vec<String>) -> Sdp {
        let mut attributes = Vec::new();
        if !bundled.is_empty() {
            attributes.push(Attribute::Group {
                semantics: "BUNDLE".to_owned(),
                mids: bundled,
            });
        }
        if media
            .iter()
            .any(|m| m.port != 0 && m.media_kind().is_some())
        {
            // RFC 8285 6: extensions in the form of two bytes may be mixed in.
            attributes.push(Attribute::flag("extmap-allow-mixed"));
        }
        attributes.push(Attribute::IceOptions(vec![
            "trickle".to_owned(),
            "ice2".to_owned(),
        ]));
        if let Some(capabilities) = &self.config.peerloom {
            attributes.push(Attribute::Peerloom(capabilities.clone()));
        }
        if let Some(identity) = self.identity {
            attributes.push(Attribute::Identity(identity.to_owned()));
        }
        Sdp {
            origin: Origin {
                username: "-".to_owned(),
                session_id: self.session_id,
                version: self.version,
                address: NO_ADDRESS.to_owned(),
            },
            name: "-".to_owned(),
            lines: vec![Line::new('t', "0 0")],
            attributes,
            media,
        }
    }

    /// The data section of an offer.
    pub(crate) fn offered_data(&self, mid: &str, credentials: &Credentials) -> Media {
        let mut attributes = vec![Attribute::Mid(mid.to_owned())];
        self.push_transport(&mut attributes, credentials, Setup::ActPass);
        attributes.push(Attribute::SctpPort(SCTP_PORT));
        attributes.push(Attribute::MaxMessageSize(self.config.max_message_size));
        Media {
            kind: "application".to_owned(),
            port: NO_PORT,
            port_count: None,
            protocol: "UDP/DTLS/SCTP".to_owned(),
            formats: vec![DATA_CHANNEL_FORMAT.to_owned()],
            lines: vec![Line::new('c', NO_ADDRESS)],
            attributes,
        }
    }

    /// The data section that answers `offered`, in the form in which it was offered.
    pub(crate) fn answered_data(
        &self,
        offered: &Media,
        credentials: &Credentials,
        setup: Setup,
    ) -> Media {
        let mut attributes = mid_of(offered);
        self.push_transport(&mut attributes, credentials, setup);
        let port = SCTP_PORT;
        let mut formats = offered.formats.clone();
        if offered.legacy_port().is_some() {
            formats = vec![port.to_string()];
            let app = DATA_CHANNEL_FORMAT.to_owned();
            attributes.push(Attribute::SctpMap {
                port,
                app,
                streams: Some(LEGACY_STREAMS),
            });
        } else {
            attributes.push(Attribute::SctpPort(port));
        }
        attributes.push(Attribute::MaxMessageSize(self.config.max_message_size));
        Media {
            kind: offered.kind.clone(),
            port: NO_PORT,
            port_count: None,
            protocol: offered.protocol.clone(),
            formats,
            lines: vec![Line::new('c', NO_ADDRESS)],
            attributes,
        }
    }

    pub(super) fn push_transport(
        &self,
        to: &mut Vec<Attribute>,
        credentials: &Credentials,
        setup: Setup,
    ) {
        to.push(Attribute::IceUfrag(credentials.ufrag.clone()));
        to.push(Attribute::IcePwd(credentials.pwd.clone()));
        to.extend(
            self.config
                .fingerprints
                .iter()
                .cloned()
                .map(Attribute::Fingerprint),
        );
        to.push(Attribute::Setup(setup));
    }
}

/// Makes the section live on another one's transport or not at all (RFC 9143 6). Transport
/// attributes stay, although RFC 9143 7.1.3 would have them left out: without them Chromium 156
/// refuses the sections that follow and aiortc 1.16 the description. Firefox writes them too.
pub(super) fn only_bundled(mut section: Media) -> Media {
    section.port = 0;
    section.attributes.push(Attribute::BundleOnly);
    section
}

/// A section that is refused, or has ended (RFC 9429 5.3.1): its place stays taken. Its formats mean
/// nothing (RFC 3264 6), but str0m 0.25 refuses a description where one of them has no `rtpmap`.
pub(crate) fn refused(section: &Media) -> Media {
    let mut attributes = mid_of(section);
    attributes.push(Attribute::Direction(Direction::Inactive));
    let formats = section.attributes.iter();
    attributes.extend(
        formats
            .filter(|it| matches!(it, Attribute::RtpMap(_)))
            .cloned(),
    );
    Media {
        kind: section.kind.clone(),
        port: 0,
        port_count: None,
        protocol: section.protocol.clone(),
        formats: section.formats.clone(),
        lines: vec![Line::new('c', NO_ADDRESS)],
        attributes,
    }
}

fn mid_of(section: &Media) -> Vec<Attribute> {
    section
        .mid()
        .map(|mid| Attribute::Mid(mid.to_owned()))
        .into_iter()
        .collect()
}

/// Puts what was gathered into a section: candidates, their end, and the default address
/// (RFC 9429 5.2.2, RFC 8839 4.2.1.2).
pub(crate) fn add_candidates(section: &mut Media, candidates: &[Candidate], complete: bool) {
    for candidate in candidates {
        let line = candidate.to_string();
        let value = line.strip_prefix("candidate:").unwrap_or(&line);
        section
            .attributes
            .push(Attribute::Candidate(value.to_owned()));
    }
    if complete {
        section.attributes.push(Attribute::EndOfCandidates);
    }
    if let Some((port, address)) = default_candidate(candidates) {
        section.port = port;
        section.lines.retain(|line| line.kind != 'c');
        section.lines.push(Line::new('c', address));
    }
}

/// The candidate most likely to work for a peer that does not know ICE: relayed before
/// server-reflexive before host, IPv4 before IPv6.
fn default_candidate(candidates: &[Candidate]) -> Option<(u16, String)> {
    let rank = |c: &Candidate| match c.kind {
        CandidateKind::Relayed => 0,
        CandidateKind::ServerReflexive => 1,
        CandidateKind::Host => 2,
        CandidateKind::PeerReflexive => 3,
    };
    let usable = candidates
        .iter()
        .filter(|c| c.protocol == Protocol::Udp && c.port != 0);
    let known = usable.filter_map(|c| match &c.address {
        Address::Ip(ip) => Some((rank(c), ip.is_ipv6(), u32::MAX - c.priority, c.port, *ip)),
        Address::Name(_) => None,
    });
    let (_, is_ipv6, _, port, ip) = known.min()?;
    Some((
        port,
        format!("IN {} {ip}", if is_ipv6 { "IP6" } else { "IP4" }),
    ))
}
