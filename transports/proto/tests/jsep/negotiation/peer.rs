//! One side: a session, what it drives, and the signals on their way.

use std::collections::VecDeque;

use peerloom_transports_proto::jsep::{
    Encoding, Error, IceCandidateInit, OfferOptions, SdpType, Session, SessionDescription,
    SignalingState, TransceiverId, TransceiverInit,
};
use peerloom_transports_proto::sdp::{Direction, MediaKind};

use super::call::Call;
use super::obedient::Obedient;
use crate::util::{host, name};

/// What travels, as an application would send it: each offer has a number, and what refers to
/// an offer names it.
#[derive(Debug, Clone)]
pub(super) enum Signal {
    Offer(u32, SessionDescription),
    Answer(u32, SessionDescription),
    Candidate(IceCandidateInit),
}

/// The errors that webrtc-pc names for these calls.
const KNOWN_ERRORS: [&str; 6] = [
    "InvalidStateError",
    "InvalidModificationError",
    "OperationError",
    "InvalidAccessError",
    "TypeError",
    "RTCError",
];

pub(super) struct Peer {
    pub(super) session: Session,
    pub(super) transports: Obedient,
    /// The state as told by effects.
    pub(super) told: SignalingState,
    created: Option<SessionDescription>,
    pub(super) inbox: VecDeque<Signal>,
    pub(super) out: VecDeque<Signal>,
    /// Gives way when offers cross.
    pub(super) polite: bool,
    pub(super) offers: u32,
    /// The peer's offer that is set, or was last.
    pub(super) theirs: u32,
    ports: u16,
    /// Every transceiver there ever was.
    seen: Vec<TransceiverId>,
}

impl Peer {
    pub(super) fn new(session: Session, polite: bool) -> Self {
        Self {
            session,
            transports: Obedient::default(),
            told: SignalingState::Stable,
            created: None,
            inbox: VecDeque::new(),
            out: VecDeque::new(),
            polite,
            offers: 0,
            theirs: 0,
            ports: 0,
            seen: Vec::new(),
        }
    }

    /// Drains the session and gathers one candidate per generation.
    pub(super) fn drain(&mut self) {
        use peerloom_transports_proto::jsep::Effect;
        while let Some(effect) = self.session.poll_effect() {
            if let Effect::SignalingStateChange(state) = &effect {
                assert_ne!(self.told, *state, "each change is told once");
                self.told = *state;
            }
            if let Effect::TransceiverAdded { transceiver, .. } = &effect {
                self.seen.push(*transceiver);
            }
            self.transports.obey(&effect);
            if let Effect::Gather(gather) = effect {
                self.ports += 1;
                let candidate = host(self.ports);
                let ufrag = &gather.credentials.ufrag;
                let trickled = self.session.add_local_candidate(ufrag, candidate);
                self.out.extend(trickled.map(Signal::Candidate));
            }
        }
        assert_eq!(self.told, self.session.signaling_state());
        self.check_transceivers();
    }

    /// What holds at any time.
    fn check_transceivers(&self) {
        let live: Vec<_> = self
            .session
            .transceivers()
            .filter(|t| !t.is_stopped())
            .collect();
        let ids: Vec<_> = live.iter().map(|t| t.id()).collect();
        let told: Vec<_> = self.transports.receiving.keys().copied().collect();
        assert_eq!(ids, told, "effects tell of every one");
        for (at, t) in live.iter().enumerate() {
            let place = t.mline_index();
            let shared = live[..at]
                .iter()
                .any(|o| place.is_some() && o.mline_index() == place);
            assert!(!shared, "two transceivers in one section");
            let receiving = self.transports.receiving[&t.id()];
            assert_eq!(receiving, t.remote_streams().is_some());
            assert!(!t.encodings().is_empty());
        }
    }

    fn send_local(&mut self) {
        let description = self.session.local_description().unwrap();
        self.out.push_back(match description.kind {
            SdpType::Offer => {
                self.offers += 1;
                Signal::Offer(self.offers, description)
            }
            _ => Signal::Answer(self.theirs, description),
        });
    }

    /// All that a failed call must leave alone.
    fn picture(&self) -> String {
        let session = &self.session;
        let transceivers = session.transceivers();
        let transceivers: Vec<_> = transceivers.map(|t| format!("{t:?}")).collect();
        format!(
            "{} {:?} {:?} {transceivers:?}",
            session.signaling_state(),
            session.local_description(),
            session.remote_description(),
        )
    }

    pub(super) fn perform(&mut self, call: Call) {
        let before = self.picture();
        let implies_rollback = matches!(call, Call::SetRemoteNonsense);
        let Err(error) = self.attempt(call) else {
            return;
        };
        assert!(KNOWN_ERRORS.contains(&name(&error)), "{error}");
        if !implies_rollback {
            assert_eq!(before, self.picture(), "a failed call changed something");
        }
    }

    fn attempt(&mut self, call: Call) -> Result<(), Error> {
        let session = &mut self.session;
        match call {
            Call::RequestData => session.request_data(),
            Call::RestartIce => {
                session.restart_ice();
                Ok(())
            }
            Call::CreateOffer { restart } => {
                let options = OfferOptions {
                    ice_restart: restart,
                };
                self.created = Some(session.create_offer(options)?);
                Ok(())
            }
            Call::CreateAnswer => {
                self.created = Some(session.create_answer()?);
                Ok(())
            }
            Call::SetLocal(kind) => {
                let text = self.created.as_ref().map_or("", |c| c.sdp.as_str());
                let description = kind.map(|kind| SessionDescription::new(kind, text));
                session.set_local(description).map(|()| self.send_local())
            }
            Call::SetLocalEdited => {
                let edited = SessionDescription::new(session.implicit_type(), "v=0\r\n");
                let result = session.set_local(Some(edited));
                assert!(result.is_err());
                result
            }
            Call::SetRemoteNonsense => {
                let result = session.set_remote(SessionDescription::offer("nonsense"));
                assert!(result.is_err());
                result
            }
            Call::Rollback { remote } => {
                let rollback = SessionDescription::rollback();
                if remote {
                    session.set_remote(rollback)
                } else {
                    session.set_local(Some(rollback))
                }
            }
            Call::Candidate { elsewhere } => session.add_ice_candidate(Some(IceCandidateInit {
                candidate: host(60_000).to_string(),
                sdp_mid: Some("0".to_owned()),
                sdp_mline_index: None,
                username_fragment: elsewhere.then(|| "elsewhere".to_owned()),
            })),
            Call::EndOfCandidates => session.add_ice_candidate(None),
            Call::Deliver => {
                self.receive();
                Ok(())
            }
            Call::Lose => {
                if !matches!(self.inbox.front(), Some(Signal::Answer(..)) | None) {
                    self.inbox.pop_front();
                }
                Ok(())
            }
            Call::Negotiate => Ok(()), // made of other calls
            Call::AddTransceiver(..)
            | Call::AddSimulcast
            | Call::AddTrack(_)
            | Call::RemoveTrack(_)
            | Call::SetDirection(..)
            | Call::SetStreams(_)
            | Call::Stop(_) => self.attempt_media(call),
        }
    }

    fn attempt_media(&mut self, call: Call) -> Result<(), Error> {
        let ids = self.seen.clone();
        let pick = |n: usize| ids.get(n % ids.len().max(1)).copied();
        let session = &mut self.session;
        let made = match call {
            Call::AddTransceiver(kind, direction) => session.add_transceiver(
                kind,
                TransceiverInit {
                    direction,
                    ..TransceiverInit::default()
                },
            )?,
            Call::AddSimulcast => session.add_transceiver(
                MediaKind::Video,
                TransceiverInit {
                    direction: Direction::SendOnly,
                    send_encodings: ["h", "l"].map(Encoding::named).to_vec(),
                    ..TransceiverInit::default()
                },
            )?,
            Call::AddTrack(kind) => session.add_track(kind, vec!["stream".to_owned()])?,
            Call::RemoveTrack(n) => return pick(n).map_or(Ok(()), |id| session.remove_track(id)),
            Call::SetDirection(n, to) => {
                return pick(n).map_or(Ok(()), |id| session.set_direction(id, to));
            }
            Call::SetStreams(n) => {
                let streams = vec!["one".to_owned(), "two".to_owned()];
                return pick(n).map_or(Ok(()), |id| session.set_streams(id, streams));
            }
            Call::Stop(n) => return pick(n).map_or(Ok(()), |id| session.stop(id)),
            _ => return Ok(()),
        };
        if !self.seen.contains(&made) {
            self.seen.push(made);
        }
        self.transports.made(made);
        Ok(())
    }

    /// Perfect negotiation (webrtc-pc 10.7), except that the answer may take its time.
    fn receive(&mut self) {
        let state = self.session.signaling_state();
        match self.inbox.pop_front() {
            Some(Signal::Offer(number, offer)) => {
                let free = matches!(
                    state,
                    SignalingState::Stable | SignalingState::HaveRemoteOffer
                );
                let gives_way = self.polite && state == SignalingState::HaveLocalOffer;
                if free || gives_way {
                    self.session.set_remote(offer).unwrap();
                    self.theirs = number;
                }
            }
            Some(Signal::Answer(number, answer)) if number == self.offers => {
                let waiting = matches!(
                    state,
                    SignalingState::HaveLocalOffer | SignalingState::HaveRemotePranswer
                );
                if waiting {
                    self.session.set_remote(answer).unwrap();
                }
            }
            Some(Signal::Candidate(candidate)) => {
                // One of an offer that was ignored or taken back is refused; so be it.
                if let Err(error) = self.session.add_ice_candidate(Some(candidate)) {
                    assert!(matches!(
                        name(&error),
                        "OperationError" | "InvalidStateError"
                    ));
                }
            }
            Some(Signal::Answer(..)) | None => {}
        }
    }
}
