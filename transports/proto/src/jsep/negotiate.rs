//! Setting descriptions, rolling back, and what follows for the transports.

use std::collections::BTreeSet;

use crate::id::{DtlsRole, IceRole};
use crate::sdp::{Media, Sdp, Setup};

use super::effect::{
    DataStop, Effect, GatherIce, Negotiated, RemoteIdentity, StartDtls, StartIce, StartSctp,
};
use super::error::{invalid_modification, invalid_state};
use super::session::{DataState, Description, Generation, Prepared, Session, SignalingState};
use super::transport::{self, Params};
use super::{Error, OfferOptions, SdpType, SessionDescription, validate};

impl Session {
    /// W3C `setLocalDescription` (RFC 9429 5.9); without argument it creates what the state
    /// calls for and sets that.
    pub fn set_local(&mut self, description: Option<SessionDescription>) -> Result<(), Error> {
        self.check_open()?;
        let implicit = SessionDescription::new(self.implicit_type(), "");
        let SessionDescription { kind, sdp } = description.unwrap_or(implicit);
        let state = self.state;
        match kind {
            SdpType::Rollback => return self.rollback(),
            SdpType::Offer => {
                self.check_state(state.takes_local_offer(), "a local offer")?;
            }
            SdpType::PrAnswer | SdpType::Answer => {
                self.check_state(state.takes_local_answer(), "a local answer")?;
            }
        }
        let prepared = self.created(kind, &sdp)?;
        self.apply_local(kind, prepared);
        Ok(())
    }

    /// W3C `setRemoteDescription` (RFC 9429 5.10, 5.11). An offer that meets our own rolls
    /// ours back, which is one half of perfect negotiation; the impolite peer must not call it.
    pub fn set_remote(&mut self, description: SessionDescription) -> Result<(), Error> {
        self.check_open()?;
        let SessionDescription { kind, sdp } = description;
        match kind {
            SdpType::Rollback => self.rollback(),
            SdpType::Offer => {
                let state = self.state;
                self.check_state(state.takes_remote_offer(), "a remote offer")?;
                let implied = state == SignalingState::HaveLocalOffer;
                if implied {
                    self.discard_offers();
                }
                let result = self.set_remote_offer(&sdp);
                if implied && result.is_err() {
                    self.settle();
                }
                result
            }
            SdpType::PrAnswer | SdpType::Answer => {
                self.check_state(self.state.takes_remote_answer(), "a remote answer")?;
                self.set_remote_answer(kind, &sdp)
            }
        }
    }

    fn check_state(&self, fits: bool, what: &str) -> Result<(), Error> {
        if fits {
            return Ok(());
        }
        let cause = format!("cannot set {what} in {}", self.state);
        Err(invalid_state(
            cause,
            "finish the negotiation that is under way, or roll it back",
        ))
    }

    /// RFC 9429 5.7 and webrtc-pc 4.4.1.5, which leaves out provisional answers.
    fn rollback(&mut self) -> Result<(), Error> {
        let pending = matches!(
            self.state,
            SignalingState::HaveLocalOffer | SignalingState::HaveRemoteOffer
        );
        if !pending {
            let cause = format!("cannot roll back in {}", self.state);
            return Err(invalid_state(
                cause,
                "only an offer without answer can be taken back",
            ));
        }
        self.discard_offers();
        self.settle();
        Ok(())
    }

    fn discard_offers(&mut self) {
        self.pending_local = None;
        self.pending_remote = None;
        self.discard_generation();
        self.last_answer = None;
        self.mark_stale();
        self.change_state(SignalingState::Stable);
        self.roll_transceivers_back();
    }

    fn discard_generation(&mut self) {
        if let Some(generation) = self.pending_generation.take() {
            self.emit(Effect::DiscardGeneration {
                ufrag: generation.credentials.ufrag,
            });
        }
    }

    /// The end of a negotiation: webrtc-pc clears the flag and looks again.
    fn settle(&mut self) {
        self.negotiation_needed = false;
        self.update_negotiation_needed();
    }

    fn change_state(&mut self, state: SignalingState) {
        if self.state != state {
            self.state = state;
            self.emit(Effect::SignalingStateChange(state));
        }
    }

    /// The description that `text` stands for: it must be the one created last, unaltered
    /// (webrtc-pc 4.4.1.5). Empty text stands for it too, or for one made now.
    fn created(&mut self, kind: SdpType, text: &str) -> Result<Prepared, Error> {
        let is_offer = kind == SdpType::Offer;
        if text.is_empty() {
            let last = if is_offer {
                &self.last_offer
            } else {
                &self.last_answer
            };
            if last.as_ref().is_none_or(|last| last.stale) {
                if is_offer {
                    self.create_offer(OfferOptions::default())?;
                } else {
                    self.create_answer()?;
                }
            }
        }
        let last = if is_offer {
            &self.last_offer
        } else {
            &self.last_answer
        };
        match last {
            Some(last) if text.is_empty() || last.text == text => Ok(last.clone()),
            _ => Err(invalid_modification(
                format!("this {kind} is not the one created last"),
                "set descriptions as they were created; configure the peer connection instead",
            )),
        }
    }

    fn apply_local(&mut self, kind: SdpType, prepared: Prepared) {
        let Prepared {
            sdp,
            slots,
            credentials,
            ..
        } = prepared;
        self.adopt_generation(&sdp, credentials);
        self.pending_local = Some(Description { kind, sdp });
        match kind {
            SdpType::Offer => {
                self.occupy(&slots);
                self.change_state(SignalingState::HaveLocalOffer);
            }
            SdpType::PrAnswer => {
                self.change_state(SignalingState::HaveLocalPranswer);
                self.apply_answer(kind);
                self.start_transports(kind, false);
            }
            SdpType::Answer | SdpType::Rollback => self.conclude(kind, false),
        }
    }

    /// Takes over the ICE generation of a local description, and drops the one it replaces.
    fn adopt_generation(&mut self, sdp: &Sdp, credentials: Option<crate::candidate::Credentials>) {
        let is =
            |g: &Option<Generation>| g.as_ref().map(|g| &g.credentials) == credentials.as_ref();
        if is(&self.pending_generation) {
            return;
        }
        let current = is(&self.current_generation);
        self.discard_generation();
        let Some(credentials) = credentials.filter(|_| !current) else {
            return;
        };
        let index = transport::carrier(sdp, &transport::active(sdp)).unwrap_or_default();
        self.emit(Effect::Gather(GatherIce {
            mid: sdp
                .media
                .get(index)
                .and_then(|media| media.mid())
                .map(str::to_owned),
            mline_index: u16::try_from(index).unwrap_or(u16::MAX),
            credentials: credentials.clone(),
            restart: self.current_generation.is_some(),
        }));
        let (candidates, complete) = (Vec::new(), false);
        self.pending_generation = Some(Generation {
            credentials,
            candidates,
            complete,
        });
    }

    fn set_remote_offer(&mut self, text: &str) -> Result<(), Error> {
        let sdp = Sdp::parse(text)?;
        let before = self
            .current_local
            .as_ref()
            .zip(self.current_remote.as_ref());
        let before = before.map(|(local, remote)| (&local.sdp, &remote.sdp));
        validate::check_offer(&sdp, before)?;
        let acceptable = self.acceptable(&sdp);
        validate::check_transport(&sdp, &acceptable, self.running.as_ref())?;
        self.last_answer = None;
        self.report_identity(&sdp);
        self.pending_remote = Some(Description {
            kind: SdpType::Offer,
            sdp,
        });
        self.change_state(SignalingState::HaveRemoteOffer);
        self.associate_remote_offer();
        Ok(())
    }

    fn set_remote_answer(&mut self, kind: SdpType, text: &str) -> Result<(), Error> {
        let sdp = Sdp::parse(text)?;
        if let Some(offer) = self.pending_local.as_ref() {
            let known = (self.offers_restart(), self.heard);
            validate::check_answer(&sdp, &offer.sdp, self.running.as_ref(), known)?;
        }
        self.report_identity(&sdp);
        self.pending_remote = Some(Description { kind, sdp });
        if kind == SdpType::Answer {
            self.conclude(kind, true);
        } else {
            self.change_state(SignalingState::HaveRemotePranswer);
            self.apply_answer(kind);
            self.start_transports(kind, true);
        }
        Ok(())
    }

    /// Whether the local offer carries other credentials than the transport runs with.
    fn offers_restart(&self) -> bool {
        match (&self.running, &self.pending_generation) {
            (Some(running), Some(pending)) => running.ice.local != pending.credentials,
            (Some(_) | None, _) => false,
        }
    }

    fn report_identity(&mut self, sdp: &Sdp) {
        if let Some(assertion) = sdp.identity() {
            let assertion = assertion.to_owned();
            let fingerprints = sdp.fingerprints();
            let session_id = sdp.origin.session_id;
            self.emit(Effect::RemoteIdentity(RemoteIdentity {
                assertion,
                fingerprints,
                session_id,
            }));
        }
    }

    /// A final answer: what was pending is current (webrtc-pc 4.4.1.5).
    fn conclude(&mut self, kind: SdpType, offered_here: bool) {
        self.current_local = self.pending_local.take();
        self.current_remote = self.pending_remote.take();
        if self.pending_generation.is_some() {
            self.current_generation = self.pending_generation.take();
        }
        self.last_offer = None;
        self.last_answer = None;
        let in_use = self
            .current_generation
            .as_ref()
            .map(|g| g.credentials.ufrag.as_str());
        if !in_use.is_some_and(|ufrag| self.replace.contains(ufrag)) {
            self.replace.clear();
        }
        self.change_state(SignalingState::Stable);
        self.apply_answer(kind);
        self.start_transports(kind, offered_here);
        self.settle();
    }

    /// Both sides have spoken: start what is agreed, or restart what changed.
    fn start_transports(&mut self, kind: SdpType, offered_here: bool) {
        let agreed = self.agreed(offered_here);
        let has_data = agreed.as_ref().is_some_and(|agreed| agreed.sctp.is_some());
        if has_data && self.data == DataState::Refused {
            self.data = DataState::Wanted;
        }
        if !has_data && kind == SdpType::Answer {
            self.stop_data(offered_here);
        }
        match agreed {
            Some(agreed) => self.start_agreed(agreed),
            None if kind == SdpType::Answer => self.stop_transport(),
            None => {}
        }
    }

    fn start_agreed(&mut self, agreed: Negotiated) {
        let before = self.running.replace(agreed.clone());
        let ice_changed = before.as_ref().map(|b| (&b.ice.local, &b.ice.remote))
            != Some((&agreed.ice.local, &agreed.ice.remote));
        if ice_changed {
            self.delivered.clear();
            self.emit(match before {
                Some(_) => Effect::RestartIce(agreed.ice.clone()),
                None => Effect::StartIce(agreed.ice.clone()),
            });
        }
        let mline = agreed.mline_index;
        tracing::debug!(mline, again = before.is_some(), "transport agreed");
        self.pass_on_candidates();
        let role = before.as_ref().map(|before| before.dtls.role);
        if role != Some(agreed.dtls.role) {
            self.emit(Effect::StartDtls(agreed.dtls));
        }
        let sctp_before = before.and_then(|before| before.sctp);
        match (sctp_before, agreed.sctp) {
            (None, Some(sctp)) => self.emit(Effect::StartSctp(sctp)),
            (Some(before), Some(sctp)) if before != sctp => self.emit(Effect::UpdateSctp(sctp)),
            (_, _) => {}
        }
    }

    /// What both descriptions say about the transport that their sections share.
    fn agreed(&self, offered_here: bool) -> Option<Negotiated> {
        let (local, remote) = (self.local_sdp()?, self.remote_sdp()?);
        let theirs = transport::active(remote);
        let mut shared = transport::active(local);
        shared.retain(|index| theirs.contains(index));
        let index = transport::carrier(remote, &shared)?;
        // Checked when the description was set.
        let params = transport::params(remote, index).ok()?;
        let (pending, current) = (&self.pending_generation, &self.current_generation);
        let generation = pending.as_ref().or(current.as_ref())?;
        let ours = local.media.get(index)?;
        let role = dtls_role(offered_here, ours, params.setup);
        // Who was never heard and takes our own role begins anew (RFC 8842 5.4).
        let holds = |before: &&Negotiated| self.heard || before.dtls.role == role;
        let before = self.running.as_ref().filter(holds);
        let unchanged = before.filter(|before| before.ice.remote == params.credentials);
        Some(Negotiated {
            ice: StartIce {
                role: before.map_or_else(|| ice_role(offered_here, &params), |b| b.ice.role),
                local: generation.credentials.clone(),
                remote: params.credentials,
                remote_lite: params.lite,
                remote_trickle: params.trickle,
            },
            dtls: StartDtls {
                role: before.map_or(role, |before| before.dtls.role),
                fingerprints: params.fingerprints,
            },
            sctp: agreed_sctp(remote, &shared),
            mid: ours.mid().map(str::to_owned),
            mline_index: u16::try_from(index).unwrap_or(u16::MAX),
            remote_candidates_complete: unchanged.is_some_and(|b| b.remote_candidates_complete),
            identity: remote.identity().map(str::to_owned),
        })
    }

    /// A final answer without a data section.
    fn stop_data(&mut self, offered_here: bool) {
        if self.running.as_ref().is_some_and(|r| r.sctp.is_some()) {
            self.data = DataState::Ended;
            self.emit(Effect::StopData(DataStop::Ended));
            return;
        }
        let local = self.current_local.as_ref();
        let offered = local.is_some_and(|d| transport::active_data(&d.sdp).is_some());
        if offered_here && offered && self.data != DataState::Ended {
            self.data = DataState::Refused;
            self.emit(Effect::StopData(DataStop::Refused));
        }
    }

    /// A final answer that leaves no section.
    fn stop_transport(&mut self) {
        if self.running.take().is_some() {
            self.delivered.clear();
            self.emit(Effect::StopTransport);
        }
        if let Some(generation) = self.current_generation.take() {
            self.emit(Effect::DiscardGeneration {
                ufrag: generation.credentials.ufrag,
            });
        }
    }
}

/// The data section among those that both ends take.
fn agreed_sctp(remote: &Sdp, shared: &BTreeSet<usize>) -> Option<StartSctp> {
    let data = transport::active_data(remote).filter(|index| shared.contains(index))?;
    Some(StartSctp {
        // Checked when the description was set.
        remote_max_message_size: transport::max_message_size(remote, data).ok()?,
        peerloom: remote.peerloom().cloned(),
    })
}

/// The first offerer controls, and anybody controls a lite peer (RFC 8445 6.1.1).
fn ice_role(offered_here: bool, theirs: &Params) -> IceRole {
    if offered_here || theirs.lite {
        IceRole::Controlling
    } else {
        IceRole::Controlled
    }
}

/// The answer decides (RFC 8842 5.3); one that does not say is active (RFC 4145 4).
fn dtls_role(offered_here: bool, ours: &Media, theirs: Option<Setup>) -> DtlsRole {
    let answered = if offered_here {
        theirs
    } else {
        crate::sdp::setup(&ours.attributes)
    };
    match (answered == Some(Setup::Passive), offered_here) {
        (true, true) | (false, false) => DtlsRole::Client,
        (true, false) | (false, true) => DtlsRole::Server,
    }
}

impl SignalingState {
    fn takes_local_offer(self) -> bool {
        matches!(self, Self::Stable | Self::HaveLocalOffer)
    }

    fn takes_local_answer(self) -> bool {
        matches!(self, Self::HaveRemoteOffer | Self::HaveLocalPranswer)
    }

    /// A local offer gives way; a provisional answer does not (webrtc-pc 4.4.1.5).
    fn takes_remote_offer(self) -> bool {
        matches!(
            self,
            Self::Stable | Self::HaveLocalOffer | Self::HaveRemoteOffer
        )
    }

    fn takes_remote_answer(self) -> bool {
        matches!(self, Self::HaveLocalOffer | Self::HaveRemotePranswer)
    }
}
