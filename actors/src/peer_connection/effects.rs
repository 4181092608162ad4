//! Commands of handles, what the offer/answer state machine makes of them, and the
//! reports of the transports.

use actix::{Context, Handler};
use peerloom_transports::proto::dtls;
use peerloom_transports::proto::jsep::{
    Effect, RemoteIdentity, SessionDescription, SignalingState, StartSctp,
};

use super::actor::PeerConnectionActor;
use super::events::{Event, IceGatheringState};
use super::messages::{AddCandidate, Close, Create, DtlsReport, IceReport, RestartIce, SetLocal};
use super::transports::DtlsTransportState;
use crate::cause::Cause;
use crate::dtls_transport::DtlsCommand;
use crate::error::Error;
use crate::ice_agent::IceCommand;
use crate::ice_candidate::IceCandidate;
use crate::sctp_transport::max_message_size;

impl PeerConnectionActor {
    /// Carries out what the last call asks for, in order; an assertion to check comes back.
    pub(super) fn carry_out(&mut self) -> Option<RemoteIdentity> {
        let mut identity = None;
        let mut later = Vec::new();
        let mut settled = false;
        while let Some(effect) = self.session.poll_effect() {
            if let Effect::RemoteIdentity(found) = effect {
                identity = Some(found);
            } else if let Effect::SignalingStateChange(state) = effect {
                settled = state == SignalingState::Stable;
                // Fires before anything that the new state sets in motion.
                self.carry_out_one(effect);
            } else {
                later.push(effect);
            }
        }
        self.publish_descriptions();
        for effect in later {
            self.carry_out_one(effect);
        }
        if settled {
            self.end_pool();
        }
        identity
    }

    fn carry_out_one(&mut self, effect: Effect) {
        match effect {
            Effect::SignalingStateChange(state) => {
                self.publish_descriptions();
                self.emit(Event::SignalingStateChange(state));
            }
            Effect::NegotiationNeeded => self.negotiation_is_needed(),
            Effect::Gather(gather) => {
                self.set_gathering(IceGatheringState::Gathering);
                self.update_transports(|transports| transports.gather(&gather));
                let (credentials, restart) = (gather.credentials, gather.restart);
                self.command_ice(IceCommand::Gather {
                    credentials,
                    restart,
                });
            }
            Effect::StartIce(start) => {
                self.update_transports(|transports| transports.ice.start(&start));
                self.command_ice(IceCommand::Start(start));
            }
            Effect::RestartIce(start) => {
                self.update_transports(|transports| transports.ice.start(&start));
                self.command_ice(IceCommand::Restart(start));
            }
            Effect::AddRemoteCandidate { candidate } => {
                self.update_transports(|transports| {
                    transports.ice.remote_candidates.push(candidate.clone());
                });
                self.command_ice(IceCommand::AddRemote(candidate))
            }
            Effect::RemoteCandidatesComplete => self.command_ice(IceCommand::RemoteComplete),
            Effect::StartDtls(start) => {
                self.session.set_heard(false);
                self.progress.dtls_role = Some(start.role);
                if self.holds_dtls_back() {
                    self.progress.dtls_start = Some(start);
                } else {
                    self.command_dtls(DtlsCommand::Start(start));
                }
            }
            Effect::StartSctp(start) => {
                self.progress.sctp = Some(start.clone());
                self.choose_transport(&start);
                self.advance();
            }
            Effect::UpdateSctp(start) => self.update_data(start),
            Effect::StopData(_) => self.fail(Cause::NoData),
            Effect::DiscardGeneration { ufrag } => self.generation_discarded(&ufrag),
            // Assertions are taken out above; what is left without data has failed already.
            Effect::RemoteIdentity(_) | Effect::StopTransport => {}
            // Connections are made without media capabilities: media sections are refused.
            Effect::TransceiverAdded { .. }
            | Effect::TransceiverRemoved { .. }
            | Effect::TransceiverStopped { .. }
            | Effect::RemoteTrack { .. }
            | Effect::RemoteTrackEnded { .. }
            | Effect::MediaNegotiated(_) => {}
        }
    }

    fn publish_descriptions(&self) {
        let session = &self.session;
        self.snapshot.send_modify(|snapshot| {
            snapshot.signaling = session.signaling_state();
            snapshot.current_local = session.current_local_description();
            snapshot.pending_local = session.pending_local_description();
            snapshot.current_remote = session.current_remote_description();
            snapshot.pending_remote = session.pending_remote_description();
            snapshot.can_trickle = session.can_trickle();
        });
    }

    /// webrtc-pc section 4.4.1.5: an association is to be made, or its limit has changed.
    pub(super) fn negotiate_sctp(&self, start: &StartSctp) {
        let max = max_message_size(&self.config.channels, start);
        self.update_transports(|transports| transports.negotiate_sctp(max));
    }

    /// webrtc-pc section 4.3.3, update the ICE gathering state: what is complete is told as no candidate too.
    fn set_gathering(&self, state: IceGatheringState) {
        self.update_transports(|transports| transports.ice.gathering = state);
        let changed = self.snapshot.send_if_modified(|snapshot| {
            std::mem::replace(&mut snapshot.gathering, state) != state
        });
        if changed {
            self.emit(Event::IceGatheringStateChange(state));
        }
        if changed && state == IceGatheringState::Complete {
            self.emit(Event::IceCandidate(None));
        }
    }

    /// What the transport had before holds again, unless another generation has taken the place of this one
    /// and is gathered for. Candidates that still come for what is gone are refused by the state machine.
    fn generation_discarded(&self, ufrag: &str) {
        let mut latest = false;
        self.update_transports(|transports| latest = transports.ice.discard(ufrag));
        if !latest {
            return;
        }
        let gathered = self.snapshot.borrow().transports.ice.local.is_some();
        self.set_gathering(match (self.session.gathers(), gathered) {
            (true, _) => IceGatheringState::Gathering,
            (false, true) => IceGatheringState::Complete,
            (false, false) => IceGatheringState::New,
        });
    }

    fn network_changed(&mut self, restart: bool) {
        self.emit(Event::NetworkChange { lost_path: restart });
        if restart && self.config.ice.restart_on_network_change {
            self.session.restart_ice();
            self.carry_out();
        }
    }

    fn ice_report(&mut self, report: IceReport) {
        match report {
            IceReport::State(state) => {
                self.progress.ice = Some(state);
                self.advance();
            }
            IceReport::Role(role) => {
                self.update_transports(|transports| transports.ice.role = Some(role));
            }
            IceReport::Selected(path) => {
                self.session.set_heard(true);
                self.update_transports(|transports| transports.ice.select(path));
            }
            IceReport::Candidate { ufrag, candidate } => {
                self.update_transports(|transports| {
                    transports.ice.gathered(&ufrag, &candidate);
                });
                let trickled = self.session.add_local_candidate(&ufrag, candidate.clone());
                self.trickle(trickled.map(|init| IceCandidate::known(init, candidate)));
            }
            IceReport::CandidateError {
                address,
                port,
                url,
                error_code,
                error_text,
            } => self.emit(Event::IceCandidateError {
                address,
                port,
                url,
                error_code,
                error_text,
            }),
            IceReport::NetworkChange { restart } => self.network_changed(restart),
            IceReport::GatheringComplete { ufrag } => self.gathering_ended(&ufrag),
        }
    }

    /// webrtc-pc section 5.6: a generation's end is told as an empty candidate, and that of all
    /// gathering when no later one is under way.
    fn gathering_ended(&mut self, ufrag: &str) {
        let end = self.session.complete_local_candidates(ufrag);
        let Some(end) = end else { return };
        self.trickle(Some(IceCandidate::end(end)));
        let latest = self.snapshot.borrow().transports.ice.local.clone();
        if latest.is_some_and(|latest| self.session.is_gathering(&latest.ufrag)) {
            return;
        }
        self.set_gathering(IceGatheringState::Complete);
    }

    fn trickle(&self, candidate: Option<IceCandidate>) {
        if let Some(candidate) = candidate {
            self.publish_descriptions();
            self.emit(Event::IceCandidate(Some(candidate)));
        }
    }

    fn dtls_report(&mut self, report: DtlsReport) {
        match report {
            DtlsReport::Knocked => self.dtls_knocked(),
            DtlsReport::Connecting => self.update_transports(|transports| {
                transports.dtls.state = DtlsTransportState::Connecting;
            }),
            DtlsReport::Connected {
                version,
                certificate,
            } => {
                tracing::debug!(?version, "DTLS connected");
                self.update_transports(|transports| {
                    transports.dtls.state = DtlsTransportState::Connected;
                    transports.dtls.remote_certificates = vec![certificate];
                });
                self.progress.dtls = Some(dtls::State::Connected);
                self.advance();
            }
            DtlsReport::Failed { error, sent_alert } => {
                self.progress.dtls = Some(dtls::State::Failed);
                self.fail_above_ice(dtls_cause(&error, sent_alert.map(|alert| alert.0)));
            }
        }
    }
}

impl Handler<Create> for PeerConnectionActor {
    type Result = Result<SessionDescription, Error>;

    fn handle(&mut self, create: Create, _: &mut Context<Self>) -> Self::Result {
        self.check_open()?;
        match create {
            Create::Offer { options, identity } => {
                self.session.set_identity(identity)?;
                Ok(self.session.create_offer(options)?)
            }
            Create::Answer { identity } => {
                self.session.set_identity(identity)?;
                Ok(self.session.create_answer()?)
            }
        }
    }
}

impl Handler<SetLocal> for PeerConnectionActor {
    type Result = Result<(), Error>;

    fn handle(&mut self, set: SetLocal, _: &mut Context<Self>) -> Self::Result {
        self.check_open()?;
        if set.identity.is_some() {
            self.session.set_identity(set.identity)?;
        }
        let result = self.session.set_local(set.description);
        self.local_was_set |= result.is_ok();
        self.carry_out();
        Ok(result?)
    }
}

impl Handler<AddCandidate> for PeerConnectionActor {
    type Result = Result<(), Error>;

    fn handle(&mut self, add: AddCandidate, _: &mut Context<Self>) -> Self::Result {
        self.check_open()?;
        let result = self.session.add_ice_candidate(add.0);
        self.carry_out();
        Ok(result?)
    }
}

fn dtls_cause(error: &dtls::Error, sent_alert: Option<u8>) -> Cause {
    match (error, sent_alert) {
        (dtls::Error::FingerprintMismatch, sent_alert) => Cause::Fingerprint { sent_alert },
        (dtls::Error::Alert(alert), _) => Cause::DtlsAlert(alert.0),
        (other, Some(sent_alert)) => Cause::DtlsRefused {
            reason: other.to_string(),
            sent_alert,
        },
        (other, None) => Cause::Dtls(other.to_string()),
    }
}

impl Handler<RestartIce> for PeerConnectionActor {
    type Result = Result<(), Error>;

    fn handle(&mut self, _: RestartIce, _: &mut Context<Self>) -> Self::Result {
        self.check_open()?;
        self.session.restart_ice();
        self.carry_out();
        Ok(())
    }
}

impl Handler<Close> for PeerConnectionActor {
    type Result = ();

    fn handle(&mut self, _: Close, ctx: &mut Context<Self>) {
        self.close(ctx);
    }
}

impl Handler<IceReport> for PeerConnectionActor {
    type Result = ();

    fn handle(&mut self, report: IceReport, _: &mut Context<Self>) {
        if !self.is_parting() {
            self.ice_report(report);
        }
    }
}

impl Handler<DtlsReport> for PeerConnectionActor {
    type Result = ();

    fn handle(&mut self, report: DtlsReport, _: &mut Context<Self>) {
        if !self.is_parting() {
            self.dtls_report(report);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_alert_of_whoever_ended_dtls_is_told() {
        let told = |error, sent| {
            let cause = dtls_cause(&error, sent);
            (cause.sent_alert(), cause.received_alert(), cause.code())
        };
        let engine = || dtls::Error::NoCertificate;
        let refused = dtls::Error::Alert(dtls::Alert(40));
        assert_eq!(told(engine(), Some(116)), (Some(116), None, "dtls_failed"));
        assert_eq!(told(engine(), None), (None, None, "dtls_failed"));
        assert_eq!(told(refused, Some(0)), (None, Some(40), "dtls_failed"));
        let other = || dtls::Error::FingerprintMismatch;
        let code = "fingerprint_mismatch";
        assert_eq!(told(other(), Some(42)), (Some(42), None, code));
        assert_eq!(told(other(), None), (None, None, code));
    }
}
