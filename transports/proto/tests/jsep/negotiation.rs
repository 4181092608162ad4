//! Two sessions under random sequences of calls: legal and illegal, with glare, rollback,
//! provisional answers and restarts, over a signaling channel that keeps the order.

use std::collections::VecDeque;

use peerloom_transports_proto::candidate::{Candidate, Credentials};
use peerloom_transports_proto::id::{DtlsRole, IceRole};
use peerloom_transports_proto::jsep::{
    Effect, IceCandidateInit, OfferOptions, SdpType, Session, SessionDescription, SignalingState,
    StartIce,
};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::util::{host, name, session};

#[derive(Debug, Clone)]
enum Call {
    RequestData,
    RestartIce,
    CreateOffer { restart: bool },
    CreateAnswer,
    SetLocal(Option<SdpType>),
    SetLocalEdited,
    SetRemoteNonsense,
    Rollback { remote: bool },
    Candidate { elsewhere: bool },
    EndOfCandidates,
    Deliver,
}

fn call() -> impl Strategy<Value = Call> {
    let kind = || {
        prop_oneof![
            Just(SdpType::Offer),
            Just(SdpType::PrAnswer),
            Just(SdpType::Answer)
        ]
    };
    prop_oneof![
        2 => Just(Call::RequestData),
        1 => Just(Call::RestartIce),
        2 => any::<bool>().prop_map(|restart| Call::CreateOffer { restart }),
        2 => Just(Call::CreateAnswer),
        4 => proptest::option::of(kind()).prop_map(Call::SetLocal),
        1 => Just(Call::SetLocalEdited),
        1 => Just(Call::SetRemoteNonsense),
        1 => any::<bool>().prop_map(|remote| Call::Rollback { remote }),
        1 => any::<bool>().prop_map(|elsewhere| Call::Candidate { elsewhere }),
        1 => Just(Call::EndOfCandidates),
        6 => Just(Call::Deliver),
    ]
}

/// What travels, as an application would send it: each offer has a number, and what refers to
/// an offer names it.
#[derive(Debug, Clone)]
enum Signal {
    Offer(u32, SessionDescription),
    Answer(u32, SessionDescription),
    Candidate(IceCandidateInit),
}

/// What the transports of one side were told, and whether that made sense.
#[derive(Debug, Default)]
struct Transports {
    ice: Option<StartIce>,
    dtls: Option<DtlsRole>,
    sctp: bool,
    gathering: Vec<Credentials>,
    remote: Vec<Candidate>,
}

impl Transports {
    fn obey(&mut self, effect: &Effect) {
        match effect {
            Effect::Gather(gather) => self.gathering.push(gather.credentials.clone()),
            Effect::DiscardGeneration { ufrag } => {
                let before = self.gathering.len();
                self.gathering.retain(|c| &c.ufrag != ufrag);
                assert_eq!(
                    self.gathering.len() + 1,
                    before,
                    "only what was gathered is discarded"
                );
            }
            Effect::StartIce(start) => {
                assert!(self.ice.is_none(), "ICE starts once");
                assert!(
                    self.gathering.contains(&start.local),
                    "under announced credentials"
                );
                self.ice = Some(start.clone());
            }
            Effect::RestartIce(start) => {
                let before = self
                    .ice
                    .replace(start.clone())
                    .expect("a restart needs a start");
                assert_eq!(before.role, start.role, "a restart keeps the role");
                assert!(self.gathering.contains(&start.local));
                self.remote.clear();
            }
            Effect::AddRemoteCandidate { candidate } => {
                assert!(self.ice.is_some(), "candidates come after the start");
                assert!(!self.remote.contains(candidate), "and once");
                self.remote.push(candidate.clone());
            }
            Effect::RemoteCandidatesComplete => assert!(self.ice.is_some()),
            Effect::StartDtls(start) => {
                assert!(self.ice.is_some() && self.dtls.is_none());
                self.dtls = Some(start.role);
            }
            Effect::StartSctp(_) => {
                assert!(self.dtls.is_some() && !self.sctp);
                self.sctp = true;
            }
            Effect::UpdateSctp(_)
            | Effect::StopData(_)
            | Effect::StopTransport
            | Effect::TransceiverAdded { .. }
            | Effect::TransceiverRemoved { .. }
            | Effect::TransceiverStopped { .. }
            | Effect::RemoteTrack { .. }
            | Effect::RemoteTrackEnded { .. }
            | Effect::MediaNegotiated(_) => panic!("nobody asked for {effect:?}"),
            Effect::SignalingStateChange(_)
            | Effect::NegotiationNeeded
            | Effect::RemoteIdentity(_) => {}
        }
    }
}

struct Peer {
    session: Session,
    transports: Transports,
    /// The state as told by effects.
    told: SignalingState,
    created: Option<SessionDescription>,
    inbox: VecDeque<Signal>,
    out: VecDeque<Signal>,
    /// Gives way when offers cross.
    polite: bool,
    offers: u32,
    /// The peer's offer that is set, or was last.
    theirs: u32,
    ports: u16,
}

impl Peer {
    fn new(seed: u8, polite: bool) -> Self {
        Self {
            session: session(seed),
            transports: Transports::default(),
            told: SignalingState::Stable,
            created: None,
            inbox: VecDeque::new(),
            out: VecDeque::new(),
            polite,
            offers: 0,
            theirs: 0,
            ports: 0,
        }
    }

    /// Drains the session and gathers one candidate per generation.
    fn drain(&mut self) {
        while let Some(effect) = self.session.poll_effect() {
            if let Effect::SignalingStateChange(state) = &effect {
                assert_ne!(self.told, *state, "each change is told once");
                self.told = *state;
            }
            self.transports.obey(&effect);
            if let Effect::Gather(gather) = effect {
                self.ports += 1;
                let candidate = host(self.ports);
                let trickled = self
                    .session
                    .add_local_candidate(&gather.credentials.ufrag, candidate);
                self.out.extend(trickled.map(Signal::Candidate));
            }
        }
        assert_eq!(self.told, self.session.signaling_state());
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

    fn picture(
        &self,
    ) -> (
        SignalingState,
        Option<SessionDescription>,
        Option<SessionDescription>,
    ) {
        let session = &self.session;
        (
            session.signaling_state(),
            session.local_description(),
            session.remote_description(),
        )
    }

    fn perform(&mut self, call: Call) {
        let before = self.picture();
        let implies_rollback = matches!(call, Call::SetRemoteNonsense);
        let result = match call {
            Call::RequestData => self.session.request_data(),
            Call::RestartIce => {
                self.session.restart_ice();
                Ok(())
            }
            Call::CreateOffer { restart } => {
                let offer = self.session.create_offer(OfferOptions {
                    ice_restart: restart,
                });
                offer.map(|offer| self.created = Some(offer))
            }
            Call::CreateAnswer => self.session.create_answer().map(|a| self.created = Some(a)),
            Call::SetLocal(kind) => {
                let text = self.created.as_ref().map_or("", |c| c.sdp.as_str());
                let description = kind.map(|kind| SessionDescription::new(kind, text));
                self.session
                    .set_local(description)
                    .map(|()| self.send_local())
            }
            Call::SetLocalEdited => {
                let edited = SessionDescription::new(self.session.implicit_type(), "v=0\r\n");
                let result = self.session.set_local(Some(edited));
                assert!(result.is_err());
                result
            }
            Call::SetRemoteNonsense => {
                let result = self
                    .session
                    .set_remote(SessionDescription::offer("nonsense"));
                assert!(result.is_err());
                result
            }
            Call::Rollback { remote } => {
                let rollback = SessionDescription::rollback();
                if remote {
                    self.session.set_remote(rollback)
                } else {
                    self.session.set_local(Some(rollback))
                }
            }
            Call::Candidate { elsewhere } => {
                let init = IceCandidateInit {
                    candidate: host(60_000).to_string(),
                    sdp_mid: Some("0".to_owned()),
                    sdp_mline_index: None,
                    username_fragment: elsewhere.then(|| "elsewhere".to_owned()),
                };
                self.session.add_ice_candidate(Some(init))
            }
            Call::EndOfCandidates => self.session.add_ice_candidate(None),
            Call::Deliver => {
                self.receive();
                Ok(())
            }
        };
        let Err(error) = result else { return };
        let known = [
            "InvalidStateError",
            "InvalidModificationError",
            "OperationError",
            "InvalidAccessError",
            "RTCError",
        ];
        assert!(known.contains(&name(&error)), "{error}");
        if !implies_rollback {
            assert_eq!(
                before,
                self.picture(),
                "a failed call changes nothing: {error}"
            );
        }
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

fn other(which: usize) -> usize {
    1 - which
}

/// One call on one side, then what it sent. An offer is taken back only as long as it has no
/// answer, and then the other side knows at once: no state machine can mend an application
/// that answers what was withdrawn.
fn step(peers: &mut [Peer; 2], which: usize, call: Call) {
    let withdraws = match &call {
        Call::Rollback { .. } | Call::SetRemoteNonsense => true,
        Call::SetLocal(kind) => kind.is_none_or(|kind| kind == SdpType::Offer),
        _ => false,
    };
    if withdraws && peers[which].told == SignalingState::HaveLocalOffer {
        let number = peers[which].offers;
        let peer = &peers[other(which)];
        let answered = peer.theirs == number && peer.told != SignalingState::HaveRemoteOffer;
        let gives_way = peers[which].polite || matches!(call, Call::SetLocal(_));
        if answered || !gives_way {
            return;
        }
        perform(peers, which, call);
        let peer = &mut peers[other(which)];
        peer.inbox
            .retain(|signal| !matches!(signal, Signal::Offer(n, _) if *n == number));
        if peer.theirs == number && peer.told == SignalingState::HaveRemoteOffer {
            perform(peers, other(which), Call::Rollback { remote: true });
        }
        return;
    }
    perform(peers, which, call);
}

fn perform(peers: &mut [Peer; 2], which: usize, call: Call) {
    peers[which].perform(call);
    peers[which].drain();
    let out = std::mem::take(&mut peers[which].out);
    peers[other(which)].inbox.extend(out);
}

fn deliver_all(peers: &mut [Peer; 2]) {
    while peers.iter().any(|peer| !peer.inbox.is_empty()) {
        for which in [0, 1] {
            step(peers, which, Call::Deliver);
        }
    }
}

/// What an application does to get back on its feet: answer what waits for an answer, send
/// again what got lost in a collision.
fn settle(peers: &mut [Peer; 2]) {
    for _ in 0..4 {
        deliver_all(peers);
        for which in [0, 1] {
            match peers[which].told {
                SignalingState::HaveRemoteOffer | SignalingState::HaveLocalPranswer => {
                    step(peers, which, Call::SetLocal(None));
                }
                SignalingState::HaveLocalOffer => {
                    let number = peers[which].offers;
                    let offer = peers[which].session.local_description().unwrap();
                    peers[other(which)]
                        .inbox
                        .push_back(Signal::Offer(number, offer));
                }
                SignalingState::Stable
                | SignalingState::HaveRemotePranswer
                | SignalingState::Closed => {}
            }
            deliver_all(peers);
        }
    }
}

fn check_agreement(peers: &[Peer; 2]) {
    let [a, b] = peers;
    for peer in peers {
        assert_eq!(peer.session.signaling_state(), SignalingState::Stable);
        assert!(!peer.session.negotiation_needed());
        let running = peer.session.negotiated().expect("data was negotiated");
        assert_eq!(peer.transports.ice.as_ref(), Some(&running.ice));
    }
    let (a, b) = (
        a.session.negotiated().unwrap(),
        b.session.negotiated().unwrap(),
    );
    assert_eq!((&a.ice.local, &a.ice.remote), (&b.ice.remote, &b.ice.local));
    assert_eq!(a.dtls.role, b.dtls.role.other());
    let controlling = [a, b]
        .iter()
        .filter(|n| n.ice.role == IceRole::Controlling)
        .count();
    assert_eq!(controlling, 1);
    assert_eq!(a.mline_index, b.mline_index);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_calls_can_be_brought_to_agreement(
        calls in vec((0..2_usize, call()), 0..60),
    ) {
        let mut peers = [Peer::new(1, true), Peer::new(2, false)];
        for (which, call) in calls {
            step(&mut peers, which, call);
        }
        settle(&mut peers);
        step(&mut peers, 1, Call::RequestData);
        step(&mut peers, 1, Call::SetLocal(None));
        settle(&mut peers);
        for which in [0, 1, 0, 1] {
            if peers[which].session.negotiation_needed() {
                step(&mut peers, which, Call::SetLocal(None));
                settle(&mut peers);
            }
        }
        check_agreement(&peers);
    }
}
