//! Whether a remote description may follow what was agreed before.

use std::collections::BTreeSet;

use crate::sdp::{Sdp, Setup};

use super::effect::Negotiated;
use super::error::invalid_access;
use super::transport::{self, Params};
use super::{Error, codecs};

const NEW_CONNECTION: &str = "close this peer connection and make a new one";
const MALFORMED: &str = "the peer made a description that no browser would take";

/// Most fingerprints in a description: five hash functions for a hundred sections. Each is
/// compared with the peer's certificate.
const MAX_FINGERPRINTS: usize = 512;

/// Rules for every description.
fn check_any(sdp: &Sdp) -> Result<(), Error> {
    if sdp.fingerprint_lines() > MAX_FINGERPRINTS {
        let cause = format!("more than {MAX_FINGERPRINTS} fingerprints");
        return Err(invalid_access(cause, MALFORMED));
    }
    let mut mids = BTreeSet::new();
    for mid in sdp.media.iter().filter_map(|media| media.mid()) {
        if !mids.insert(mid) {
            return Err(invalid_access(
                format!("a=mid:{mid} names two sections"),
                MALFORMED,
            ));
        }
    }
    for mid in sdp.bundles().flatten() {
        if !mids.contains(mid.as_str()) {
            let cause = format!("a=group:BUNDLE names {mid:?}, which no section has");
            return Err(invalid_access(cause, MALFORMED));
        }
    }
    Ok(())
}

/// A remote offer, after the local and remote description agreed on last (RFC 9429 5.8, 5.10).
pub(super) fn check_offer(offer: &Sdp, before: Option<(&Sdp, &Sdp)>) -> Result<(), Error> {
    check_any(offer)?;
    match before {
        Some((local, remote)) => check_order(offer, local, remote),
        None => Ok(()),
    }
}

/// The transport of those sections of a remote offer that can be accepted.
pub(super) fn check_transport(
    offer: &Sdp,
    acceptable: &BTreeSet<usize>,
    running: Option<&Negotiated>,
) -> Result<(), Error> {
    let Some(index) = transport::carrier(offer, acceptable) else {
        return Ok(());
    };
    check_data(offer, acceptable)?;
    let params = transport::params(offer, index)?;
    if params.setup == Some(Setup::HoldConn) {
        let cause = "a=setup:holdconn has no meaning in WebRTC";
        return Err(invalid_access(cause, MALFORMED));
    }
    match running {
        Some(running) => {
            check_same_keys(&params, running)?;
            check_same_role(&params, running)
        }
        None => Ok(()),
    }
}

fn check_data(sdp: &Sdp, among: &BTreeSet<usize>) -> Result<(), Error> {
    match transport::active_data(sdp).filter(|index| among.contains(index)) {
        Some(index) => transport::max_message_size(sdp, index).map(|_| ()),
        None => Ok(()),
    }
}

/// Sections stay where they are; only one that was refused or has ended may be put to a new
/// use.
fn check_order(offer: &Sdp, local: &Sdp, remote: &Sdp) -> Result<(), Error> {
    if offer.media.len() < remote.media.len() {
        let cause = format!(
            "{} sections after {}",
            offer.media.len(),
            remote.media.len()
        );
        let hint = "sections are ended with port 0, never taken out";
        return Err(invalid_access(cause, hint));
    }
    let old = local.media.iter().zip(&remote.media);
    for (index, (new, (ours, theirs))) in offer.media.iter().zip(old).enumerate() {
        let in_use = local.is_active(ours) && remote.is_active(theirs);
        let same_mid = new.mid() == theirs.mid() || theirs.mid().is_none();
        if in_use && !(new.kind == theirs.kind && same_mid) {
            let cause = format!("m-line {index} changed its kind or mid while in use");
            return Err(invalid_access(cause, MALFORMED));
        }
    }
    Ok(())
}

/// The DTLS and SCTP associations that run go on, since only ICE can be restarted here.
fn check_same_keys(params: &Params, running: &Negotiated) -> Result<(), Error> {
    let same_keys = params.fingerprints.len() == running.dtls.fingerprints.len()
        && params
            .fingerprints
            .iter()
            .all(|f| running.dtls.fingerprints.contains(f));
    if !same_keys {
        return Err(invalid_access(
            "the peer's fingerprints changed",
            NEW_CONNECTION,
        ));
    }
    Ok(())
}

fn check_same_role(params: &Params, running: &Negotiated) -> Result<(), Error> {
    let contrary = Setup::for_role(running.dtls.role);
    if params.setup == Some(contrary) {
        return Err(invalid_access(
            "the peer wants the other DTLS role",
            NEW_CONNECTION,
        ));
    }
    Ok(())
}

/// A remote answer (final or not) to `offer`, which is ours (RFC 9429 5.8, 5.11).
pub(super) fn check_answer(
    answer: &Sdp,
    offer: &Sdp,
    running: Option<&Negotiated>,
    (restarts, heard): (bool, bool),
) -> Result<(), Error> {
    check_any(answer)?;
    check_mirrors(answer, offer)?;
    let accepted = transport::active(answer);
    let Some(index) = transport::carrier(answer, &accepted) else {
        return Ok(());
    };
    check_data(answer, &accepted)?;
    check_media(answer, offer, &accepted, index)?;
    let params = transport::params(answer, index)?;
    if !matches!(params.setup, Some(Setup::Active | Setup::Passive) | None) {
        let cause = "the answer has to choose a=setup:active or passive";
        return Err(invalid_access(cause, MALFORMED));
    }
    let Some(running) = running else {
        return Ok(());
    };
    // Not the role: Firefox (in a restart) and webrtc 0.17 (always) answer `active` again,
    // whoever they were, and go on with the association that runs.
    check_same_keys(&params, running)?;
    let changed = params.credentials != running.ice.remote;
    match (restarts, changed) {
        (true, true) | (false, false) => Ok(()),
        // It has not got what it is held against.
        (false, true) if !heard => Ok(()),
        (true, false) => Err(invalid_access(
            "the answer keeps its ICE credentials although the offer restarts ICE",
            "the peer does not support ICE restart: roll the offer back",
        )),
        (false, true) => Err(invalid_access(
            "the answer changes its ICE credentials although the offer does not restart ICE",
            "restart ICE with an offer",
        )),
    }
}

/// Audio and video in an answer: with something in common, and on the one transport.
fn check_media(
    answer: &Sdp,
    offer: &Sdp,
    accepted: &BTreeSet<usize>,
    carrier: usize,
) -> Result<(), Error> {
    let together = transport::on_one_transport(answer, accepted.clone(), Some(carrier));
    if together != *accepted {
        let cause = "the answer does not bundle what it accepts";
        return Err(invalid_access(cause, "the peer has to support BUNDLE"));
    }
    for index in accepted {
        let (theirs, ours) = (&answer.media[*index], &offer.media[*index]);
        if theirs.media_kind().is_none() {
            continue;
        }
        if !theirs.rtcp_mux() {
            let cause = format!("m-line {index} of the answer has no a=rtcp-mux");
            return Err(invalid_access(cause, "the peer has to support it"));
        }
        let (send, _, _) = codecs::agreed(ours, theirs);
        if !send.iter().any(codecs::carries_media) {
            let cause = format!("m-line {index} of the answer has no codec that was offered");
            return Err(invalid_access(cause, MALFORMED));
        }
    }
    Ok(())
}

/// Section by section what was offered, and nothing that was not.
fn check_mirrors(answer: &Sdp, offer: &Sdp) -> Result<(), Error> {
    const HINT: &str = "an answer has the sections of its offer in the same order";
    if answer.media.len() != offer.media.len() {
        let cause = format!(
            "{} sections in answer to {}",
            answer.media.len(),
            offer.media.len()
        );
        return Err(invalid_access(cause, HINT));
    }
    for (index, (theirs, ours)) in answer.media.iter().zip(&offer.media).enumerate() {
        let same_mid = theirs.mid().is_none() || theirs.mid() == ours.mid();
        if theirs.kind != ours.kind || !same_mid {
            let cause = format!("m-line {index} of the answer does not match the offer");
            return Err(invalid_access(cause, HINT));
        }
        if theirs.port != 0 && !offer.is_active(ours) {
            let cause = format!("m-line {index} was offered with port 0 and accepted");
            return Err(invalid_access(cause, HINT));
        }
    }
    Ok(())
}
