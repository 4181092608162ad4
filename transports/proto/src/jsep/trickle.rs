//! Candidates: ours into our descriptions, the peer's into its own and on to ICE.

use crate::candidate::{Candidate, CandidateError};
use crate::sdp::Attribute;

use super::effect::Effect;
use super::error::{invalid_state, operation, type_error};
use super::session::{Description, Generation, Session};
use super::{Error, IceCandidateInit, transport};

/// Most candidates kept of one local generation; a guess above what any host has addresses.
/// Later ones are not announced.
const MAX_LOCAL_CANDIDATES: usize = 64;
/// Most candidates taken from the peer in one generation, in descriptions and trickled: each
/// pairs with every local one, and a hostile peer could name the addresses of strangers
/// (RFC 8445 19.5.1). Later ones are refused.
pub const MAX_REMOTE_CANDIDATES: usize = 64;

impl Session {
    /// A candidate was gathered for the generation `ufrag`: puts it into our description and
    /// returns the form in which to trickle it. `None` when that generation is gone, the
    /// candidate is known already or there are too many.
    pub fn add_local_candidate(
        &mut self,
        ufrag: &str,
        candidate: Candidate,
    ) -> Option<IceCandidateInit> {
        let generation = self.generation_mut(ufrag)?;
        let fits = generation.candidates.len() < MAX_LOCAL_CANDIDATES;
        if !fits || generation.complete || generation.candidates.contains(&candidate) {
            return None;
        }
        generation.candidates.push(candidate.clone());
        Some(self.trickled(ufrag, candidate.with_ufrag(ufrag).to_string()))
    }

    /// Gathering for the generation `ufrag` has ended: marks our description and returns the
    /// end-of-candidates indication to trickle (webrtc-pc 5.6). `None` when that generation
    /// is gone or had ended before.
    pub fn complete_local_candidates(&mut self, ufrag: &str) -> Option<IceCandidateInit> {
        let generation = self.generation_mut(ufrag)?;
        if std::mem::replace(&mut generation.complete, true) {
            return None;
        }
        Some(self.trickled(ufrag, String::new()))
    }

    /// Whether the generation `ufrag` is there and has not ended.
    pub fn is_gathering(&self, ufrag: &str) -> bool {
        let generations = [&self.pending_generation, &self.current_generation];
        let mut generations = generations.into_iter().flatten();
        generations.any(|g| g.credentials.ufrag == ufrag && !g.complete)
    }

    /// Whether a generation of local candidates that can still come into use is not complete.
    pub fn gathers(&self) -> bool {
        let generations = [&self.pending_generation, &self.current_generation];
        generations.into_iter().flatten().any(|g| !g.complete)
    }

    fn generation_mut(&mut self, ufrag: &str) -> Option<&mut Generation> {
        let generations = [&mut self.pending_generation, &mut self.current_generation];
        generations
            .into_iter()
            .flatten()
            .find(|g| g.credentials.ufrag == ufrag)
    }

    fn trickled(&self, ufrag: &str, candidate: String) -> IceCandidateInit {
        let section = self.local_sdp().and_then(|sdp| {
            let index = transport::carrier(sdp, &transport::active(sdp))?;
            Some((index, sdp.media.get(index)?.mid().map(str::to_owned)))
        });
        let (index, mid) = section.map_or((None, None), |(index, mid)| (Some(index), mid));
        IceCandidateInit {
            candidate,
            sdp_mid: mid,
            sdp_mline_index: index.and_then(|index| u16::try_from(index).ok()),
            username_fragment: Some(ufrag.to_owned()),
        }
    }

    /// W3C `addIceCandidate` (webrtc-pc 4.4.2). `None`, or an empty candidate, ends the
    /// peer's candidates. A candidate that is well-formed and of a kind unknown here is
    /// ignored.
    pub fn add_ice_candidate(&mut self, init: Option<IceCandidateInit>) -> Result<(), Error> {
        self.check_open()?;
        let init = init.unwrap_or_default();
        let ends = init.candidate.trim().is_empty();
        if !ends && init.sdp_mid.is_none() && init.sdp_mline_index.is_none() {
            let hint = "pass sdpMid on as the peer sent it";
            return Err(type_error(
                "a candidate with neither sdpMid nor sdpMLineIndex",
                hint,
            ));
        }
        if self.remote_sdp().is_none() {
            let hint = "keep candidates until the peer's description is set";
            return Err(invalid_state("there is no remote description yet", hint));
        }
        let parsed = match init.candidate.parse::<Candidate>() {
            _ if ends => None,
            Ok(candidate) => Some(candidate),
            Err(CandidateError::Protocol | CandidateError::Kind) => return Ok(()),
            Err(error) => {
                return Err(operation(error.to_string(), "pass candidates on unaltered"));
            }
        };
        let told = init
            .username_fragment
            .as_deref()
            .filter(|ufrag| !ufrag.is_empty());
        let ufrag = told.or_else(|| parsed.as_ref().and_then(|c| c.extension("ufrag")));
        let attribute = match &parsed {
            Some(candidate) => {
                // In a description the generation is told by the section.
                let line = without_ufrag(candidate.clone()).to_string();
                Attribute::Candidate(line.strip_prefix("candidate:").unwrap_or(&line).to_owned())
            }
            None => Attribute::EndOfCandidates,
        };
        self.insert(&init, ufrag, &attribute)?;
        self.pass_on_candidates();
        Ok(())
    }

    /// Puts the line into the remote descriptions that have the generation; without one, the
    /// latest description is meant.
    fn insert(
        &mut self,
        init: &IceCandidateInit,
        ufrag: Option<&str>,
        attribute: &Attribute,
    ) -> Result<(), Error> {
        let holders = [&mut self.pending_remote, &mut self.current_remote];
        let reach = if ufrag.is_some() { holders.len() } else { 1 };
        let mut holders: Vec<_> = holders.into_iter().flatten().take(reach).collect();
        let mut places = Vec::new();
        for (at, holder) in holders.iter().enumerate() {
            match sections(holder, init) {
                Ok(named) => places.extend(named.into_iter().map(|index| (at, index))),
                Err(error) if at == 0 => return Err(error),
                Err(_) => {} // the section is new in the latest description
            }
        }
        places.retain(|(at, index)| {
            let sdp = &holders[*at].sdp;
            ufrag.is_none_or(|ufrag| transport::ufrag(sdp, &sdp.media[*index]) == Some(ufrag))
        });
        if places.is_empty() && ufrag.is_some() {
            let cause = "its usernameFragment is of no generation that is described";
            let hint = "it is late or early: drop it, or keep it for the next description";
            return Err(operation(cause, hint));
        }
        let is_full = |(at, index): &(usize, usize)| {
            holders[*at].sdp.media[*index].candidates().count() >= MAX_REMOTE_CANDIDATES
        };
        if places.iter().any(is_full) {
            let cause = format!("more than {MAX_REMOTE_CANDIDATES} candidates");
            return Err(operation(
                cause,
                "the peer has to choose among its addresses",
            ));
        }
        for (at, index) in places {
            let section = &mut holders[at].sdp.media[index];
            if !section.attributes.contains(attribute) {
                section.attributes.push(attribute.clone());
            }
        }
        Ok(())
    }

    /// Hands on what has not been handed on, once ICE runs with the peer's generation.
    pub(super) fn pass_on_candidates(&mut self) {
        let Some(running) = &self.running else { return };
        let ufrag = running.ice.remote.ufrag.clone();
        let was_complete = running.remote_candidates_complete;
        let holders = [&self.pending_remote, &self.current_remote]
            .into_iter()
            .flatten();
        let holding = holders.map(|d| &d.sdp).filter(|sdp| {
            let mut sections = sdp.media.iter().filter(|media| sdp.is_active(media));
            sections.any(|section| transport::ufrag(sdp, section) == Some(ufrag.as_str()))
        });
        let (mut candidates, mut complete) = (Vec::new(), false);
        for sdp in holding {
            candidates.extend(transport::candidates(sdp, &ufrag));
            complete |= transport::is_complete(sdp, &ufrag);
        }
        for candidate in candidates.into_iter().map(without_ufrag) {
            let fits = self.delivered.len() < MAX_REMOTE_CANDIDATES;
            if fits && self.delivered.insert(candidate.to_string()) {
                self.emit(Effect::AddRemoteCandidate { candidate });
            }
        }
        if complete && !was_complete {
            self.emit(Effect::RemoteCandidatesComplete);
        }
        if let Some(running) = &mut self.running {
            running.remote_candidates_complete = complete;
        }
    }
}

fn without_ufrag(mut candidate: Candidate) -> Candidate {
    candidate.extensions.retain(|(name, _)| name != "ufrag");
    candidate
}

/// The sections that the candidate names: one, or all at the end of candidates.
fn sections(description: &Description, init: &IceCandidateInit) -> Result<Vec<usize>, Error> {
    const HINT: &str = "it belongs to another peer connection, or to an offer that was rolled back";
    let media = &description.sdp.media;
    if let Some(mid) = &init.sdp_mid {
        let index = media
            .iter()
            .position(|section| section.mid() == Some(mid.as_str()));
        let unknown = || operation(format!("no section has the mid {mid:?}"), HINT);
        return index.map(|index| vec![index]).ok_or_else(unknown);
    }
    match init.sdp_mline_index.map(usize::from) {
        Some(index) if index < media.len() => Ok(vec![index]),
        Some(index) => Err(operation(format!("there is no m-line {index}"), HINT)),
        None => Ok((0..media.len()).collect()),
    }
}
