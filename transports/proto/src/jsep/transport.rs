//! What a description says about its transport, and which sections share one.

use std::collections::BTreeSet;

use crate::candidate::{Candidate, Credentials};
use crate::certificate::Fingerprint;
use crate::sdp::{self, Attribute, Media, Sdp, Setup};

use super::create::SCTP_PORT;
use super::error::invalid_access;
use super::{Error, MAX_REMOTE_CANDIDATES};

/// What a peer that does not say takes at most (RFC 8841 6.1).
const DEFAULT_MAX_MESSAGE_SIZE: u64 = 64 * 1024;

/// Candidate lines looked at: four times as many as are taken, since some may be repeated or
/// of no use.
const MAX_CANDIDATE_LINES: usize = 4 * MAX_REMOTE_CANDIDATES;

/// The transport of a section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Params {
    pub(super) credentials: Credentials,
    pub(super) fingerprints: Vec<Fingerprint>,
    pub(super) setup: Option<Setup>,
    pub(super) lite: bool,
    pub(super) trickle: bool,
}

/// The first data section that is part of the session.
pub(super) fn active_data(sdp: &Sdp) -> Option<usize> {
    sdp.media
        .iter()
        .position(|media| media.is_data() && sdp.is_active(media))
}

/// Reads the transport of the section at `index`. What the section does not say holds from
/// the session level (RFC 8866 5.13) or from the section that is tagged for its bundle
/// (RFC 9143 7.1.3).
pub(super) fn params(sdp: &Sdp, index: usize) -> Result<Params, Error> {
    const HINT: &str = "the peer's description has to carry it for this section or its bundle";
    let section = &sdp.media[index];
    let missing = |what: &str| {
        let kind = &section.kind;
        invalid_access(
            format!("the {kind} section (m-line {index}) has no {what}"),
            HINT,
        )
    };
    let ufrag = lookup(sdp, section, sdp::ice_ufrag).ok_or_else(|| missing("a=ice-ufrag"))?;
    let pwd = lookup(sdp, section, sdp::ice_pwd).ok_or_else(|| missing("a=ice-pwd"))?;
    let credentials = Credentials::parse(ufrag, pwd)
        .map_err(|error| invalid_access(format!("m-line {index}: {error}"), HINT))?;
    let fingerprints = lookup(sdp, section, |attributes| {
        Some(sdp::fingerprints(attributes)).filter(|found| !found.is_empty())
    });
    Ok(Params {
        credentials,
        fingerprints: fingerprints
            .ok_or_else(|| missing("a=fingerprint with a hash function known here"))?,
        setup: lookup(sdp, section, sdp::setup),
        lite: sdp.ice_lite(),
        trickle: sdp.has_ice_option("trickle", section),
    })
}

/// The longest message that the peer takes in the data section at `index`; `None` for any.
pub(super) fn max_message_size(sdp: &Sdp, index: usize) -> Result<Option<u64>, Error> {
    let section = &sdp.media[index];
    let port = section.sctp_port().or_else(|| section.legacy_port());
    if let Some(port) = port.filter(|port| *port != SCTP_PORT) {
        let cause = format!("a=sctp-port is {port}");
        return Err(invalid_access(cause, "the SCTP port has to be 5000"));
    }
    let size = section.max_message_size();
    let size = size.unwrap_or(DEFAULT_MAX_MESSAGE_SIZE);
    Ok((size != 0).then_some(size))
}

/// Of the sections in `among`, the one whose transport attributes count for all: the first in the
/// order of the bundle (RFC 9143 7.1.3), else the first.
pub(super) fn carrier(sdp: &Sdp, among: &BTreeSet<usize>) -> Option<usize> {
    let index_of = |mid: &String| sdp.media.iter().position(|m| m.mid() == Some(mid.as_str()));
    let mut bundled = sdp.bundles().flatten().filter_map(index_of);
    let first = bundled.find(|index| among.contains(index));
    first.or_else(|| among.first().copied())
}

/// The sections that are part of the session.
pub(super) fn active(sdp: &Sdp) -> BTreeSet<usize> {
    let sections = sdp.media.iter().enumerate();
    let active = sections.filter(|(_, section)| sdp.is_active(section));
    active.map(|(index, _)| index).collect()
}

/// Of the sections in `fitting`, those that share a transport: with the section `anchor` when it
/// is one of them, else with the first.
pub(super) fn on_one_transport(
    sdp: &Sdp,
    fitting: BTreeSet<usize>,
    anchor: Option<usize>,
) -> BTreeSet<usize> {
    let anchor = anchor.filter(|index| fitting.contains(index));
    let Some(anchor) = anchor.or_else(|| fitting.first().copied()) else {
        return fitting;
    };
    let bundle = |index: usize| {
        let mid = sdp.media[index].mid()?;
        sdp.bundles().position(|mids| mids.iter().any(|m| m == mid))
    };
    let shared = bundle(anchor);
    let together = |index: &usize| *index == anchor || shared.is_some() && bundle(*index) == shared;
    fitting.into_iter().filter(together).collect()
}

/// The value that holds for the section: its own, the session's, the bundle's.
fn lookup<'a, T>(
    sdp: &'a Sdp,
    section: &'a Media,
    read: impl Fn(&'a [Attribute]) -> Option<T>,
) -> Option<T> {
    read(&section.attributes)
        .or_else(|| read(&sdp.attributes))
        .or_else(|| read(&tagged(sdp, section)?.attributes))
}

/// The first section of the bundle that `section` is in.
fn tagged<'a>(sdp: &'a Sdp, section: &Media) -> Option<&'a Media> {
    let mid = section.mid()?;
    let bundle = sdp.bundles().find(|mids| mids.iter().any(|m| m == mid))?;
    let first = bundle.first()?;
    sdp.media
        .iter()
        .find(|media| media.mid() == Some(first.as_str()))
}

/// The username fragment that holds for the section.
pub(super) fn ufrag<'a>(sdp: &'a Sdp, section: &'a Media) -> Option<&'a str> {
    lookup(sdp, section, sdp::ice_ufrag)
}

/// The candidates of the generation `ufrag`: those of the data section, and of sections that
/// share its transport. Lines that are not understood are left out (RFC 8839 5.1), and so is the
/// RTCP component.
pub(super) fn candidates(sdp: &Sdp, generation: &str) -> Vec<Candidate> {
    let sharing = sdp
        .media
        .iter()
        .filter(|media| ufrag(sdp, media) == Some(generation));
    let lines = sharing
        .flat_map(Media::candidates)
        .take(MAX_CANDIDATE_LINES);
    let parsed = lines.filter_map(|line| line.parse::<Candidate>().ok());
    let fits =
        |c: &Candidate| c.component == 1 && c.extension("ufrag").is_none_or(|of| of == generation);
    parsed.filter(fits).collect()
}

/// Whether the generation `ufrag` has no more candidates.
pub(super) fn is_complete(sdp: &Sdp, generation: &str) -> bool {
    let ends = |all: &[Attribute]| all.iter().any(|a| matches!(a, Attribute::EndOfCandidates));
    let mut sharing = sdp
        .media
        .iter()
        .filter(|media| ufrag(sdp, media) == Some(generation));
    ends(&sdp.attributes) || sharing.any(|media| ends(&media.attributes))
}
