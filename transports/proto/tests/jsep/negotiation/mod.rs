//! Two sessions under random sequences of calls: legal and illegal, with glare, rollback,
//! provisional answers, restarts, transceivers that come and go, and signals that are delayed or
//! lost. However they got where they are, they can be brought to agreement.
//!
//! The signaling channel keeps the order, as perfect negotiation demands (webrtc-pc 10.7).

mod agreement;
mod call;
mod obedient;
mod peer;

use peerloom_transports_proto::jsep::{
    BundlePolicy, MediaCapabilities, SdpType, Session, SessionConfig, SignalingState,
};
use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;

use crate::util::config;
use call::{Call, Side, calls};
use peer::{Peer, Signal};

/// Rounds of offer and answer that agreement may take after the last call: each side tells what it
/// wants, and hears what that changed at the other.
const MAX_ROUNDS: usize = 6;

struct World {
    peers: [Peer; 2],
}

/// Two sessions with codecs in other orders and under other numbers, and not all the same.
fn sessions(media: bool, policy: BundlePolicy) -> [Session; 2] {
    let session = |seed: u8, media| {
        Session::new(SessionConfig {
            media,
            bundle_policy: policy,
            ..config(seed)
        })
    };
    if !media {
        return [1, 2].map(|seed| session(seed, MediaCapabilities::none()));
    }
    let mut other = MediaCapabilities::standard();
    other.video.codecs.retain(|c| !c.codec.is("VP9"));
    other.receive_simulcast = false;
    other.video.codecs.reverse();
    other.video.extensions.reverse();
    for (number, one) in (100..).step_by(2).zip(&mut other.video.codecs) {
        one.codec.payload_type = number;
        one.rtx = one.rtx.map(|_| number + 1);
    }
    [session(1, MediaCapabilities::standard()), session(2, other)]
}

impl World {
    fn new(media: bool, policy: BundlePolicy) -> Self {
        let [polite, impolite] = sessions(media, policy);
        Self {
            peers: [Peer::new(polite, true), Peer::new(impolite, false)],
        }
    }

    fn at(&mut self, side: Side) -> &mut Peer {
        match side {
            Side::Polite => &mut self.peers[0],
            Side::Impolite => &mut self.peers[1],
        }
    }

    /// One call on one side, then what it sent. An offer is taken back only as long as it has no
    /// answer, and then the other side knows at once: no state machine can mend an application
    /// that answers what was withdrawn.
    fn step(&mut self, side: Side, call: Call) {
        if matches!(call, Call::Negotiate) {
            self.step(side, Call::SetLocal(None));
            return self.settle();
        }
        let withdraws = match &call {
            Call::Rollback { .. } | Call::SetRemoteNonsense => true,
            Call::SetLocal(kind) => kind.is_none_or(|kind| kind == SdpType::Offer),
            _ => false,
        };
        if withdraws && self.at(side).told == SignalingState::HaveLocalOffer {
            self.withdraw(side, call);
        } else {
            self.perform(side, call);
        }
    }

    fn withdraw(&mut self, side: Side, call: Call) {
        let number = self.at(side).offers;
        let other = self.at(side.other());
        let answered = other.theirs == number && other.told != SignalingState::HaveRemoteOffer;
        let gives_way = self.at(side).polite || matches!(call, Call::SetLocal(_));
        if answered || !gives_way {
            return;
        }
        self.perform(side, call);
        let other = self.at(side.other());
        other
            .inbox
            .retain(|signal| !matches!(signal, Signal::Offer(n, _) if *n == number));
        if other.theirs == number && other.told == SignalingState::HaveRemoteOffer {
            self.perform(side.other(), Call::Rollback { remote: true });
        }
    }

    fn perform(&mut self, side: Side, call: Call) {
        let peer = self.at(side);
        peer.perform(call);
        peer.drain();
        let out = std::mem::take(&mut peer.out);
        self.at(side.other()).inbox.extend(out);
    }

    fn deliver_all(&mut self) {
        while self.peers.iter().any(|peer| !peer.inbox.is_empty()) {
            for side in [Side::Polite, Side::Impolite] {
                self.step(side, Call::Deliver);
            }
        }
    }

    /// What an application does to get back on its feet: answer what waits for an answer, send
    /// again what got lost.
    fn settle(&mut self) {
        for _ in 0..4 {
            self.deliver_all();
            for side in [Side::Polite, Side::Impolite] {
                match self.at(side).told {
                    SignalingState::HaveRemoteOffer | SignalingState::HaveLocalPranswer => {
                        self.step(side, Call::SetLocal(None));
                    }
                    SignalingState::HaveLocalOffer => self.repeat_offer(side),
                    SignalingState::Stable
                    | SignalingState::HaveRemotePranswer
                    | SignalingState::Closed => {}
                }
                self.deliver_all();
            }
        }
    }

    fn repeat_offer(&mut self, side: Side) {
        let peer = self.at(side);
        let offer = peer.session.local_description().unwrap();
        let signal = Signal::Offer(peer.offers, offer);
        self.at(side.other()).inbox.push_back(signal);
    }

    /// Negotiates until nobody wants more.
    fn agree(&mut self) {
        self.settle();
        for _ in 0..MAX_ROUNDS {
            for side in [Side::Polite, Side::Impolite] {
                if self.at(side).session.negotiation_needed() {
                    self.step(side, Call::SetLocal(None));
                    self.settle();
                }
            }
        }
    }

    fn run(calls: Vec<(Side, Call)>, media: bool, policy: BundlePolicy) -> Self {
        let mut world = Self::new(media, policy);
        for (side, call) in calls {
            world.step(side, call);
        }
        world.agree();
        world
    }
}

/// Seeds that failed are kept in `regressions.txt` beside this file, and tried first.
fn settings(cases: u32) -> ProptestConfig {
    let file = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/jsep/negotiation/regressions.txt"
    );
    let chosen = ProptestConfig::default().cases; // PROPTEST_CASES, for a longer search
    ProptestConfig {
        cases: cases.max(chosen),
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(file))),
        ..ProptestConfig::default()
    }
}

fn policy() -> impl Strategy<Value = BundlePolicy> {
    prop_oneof![
        Just(BundlePolicy::Balanced),
        Just(BundlePolicy::MaxCompat),
        Just(BundlePolicy::MaxBundle)
    ]
}

proptest! {
    #![proptest_config(settings(256))]

    #[test]
    fn data_can_always_be_brought_to_agreement(calls in calls(false)) {
        let mut world = World::run(calls, false, BundlePolicy::Balanced);
        world.step(Side::Impolite, Call::RequestData);
        world.step(Side::Impolite, Call::SetLocal(None));
        world.agree();
        agreement::check(&world.peers);
        let running = world.peers[0].session.negotiated().unwrap();
        assert!(running.sctp.is_some());
    }
}

proptest! {
    #![proptest_config(settings(256))]

    #[test]
    fn media_can_always_be_brought_to_agreement(calls in calls(true), policy in policy()) {
        let world = World::run(calls, true, policy);
        agreement::check(&world.peers);
    }
}
