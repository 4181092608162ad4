//! Offer and answer between two sessions, state by state.

use peerloom_transports_proto::certificate::{Fingerprint, HashFunction};
use peerloom_transports_proto::id::{DtlsRole, IceRole};
use peerloom_transports_proto::jsep::{
    Effect, IceCandidateInit, OfferOptions, SdpType, SessionDescription, SignalingState, StartDtls,
    StartIce, StartSctp,
};
use peerloom_transports_proto::sdp::{Attribute, Capabilities, Sdp, Setup};

use crate::util::{connect, connected, effects, host, name, session};

#[test]
fn two_sessions_agree() {
    let (mut alice, mut bob) = (session(1), session(2));
    alice.request_data().unwrap();
    assert_eq!(effects(&mut alice), [Effect::NegotiationNeeded]);
    let offer = alice.create_offer(OfferOptions::default()).unwrap();
    alice.set_local(Some(offer.clone())).unwrap();
    assert_eq!(alice.local_description(), Some(offer.clone()));
    let got = effects(&mut alice);
    let [
        Effect::Gather(gather),
        Effect::SignalingStateChange(SignalingState::HaveLocalOffer),
    ] = got.as_slice()
    else {
        panic!("{got:?}")
    };
    assert_eq!((gather.mid.as_deref(), gather.restart), (Some("0"), false));

    bob.set_remote(offer).unwrap();
    assert_eq!(
        effects(&mut bob),
        [Effect::SignalingStateChange(
            SignalingState::HaveRemoteOffer
        )]
    );
    bob.set_local(None).unwrap();
    let got = effects(&mut bob);
    let [
        Effect::Gather(bobs),
        Effect::SignalingStateChange(SignalingState::Stable),
        Effect::StartIce(StartIce {
            role: IceRole::Controlled,
            local,
            remote,
            ..
        }),
        Effect::StartDtls(StartDtls {
            role: DtlsRole::Client,
            fingerprints,
        }),
        Effect::StartSctp(StartSctp {
            remote_max_message_size,
            peerloom,
            ..
        }),
    ] = got.as_slice()
    else {
        panic!("{got:?}")
    };
    assert_eq!(local, &bobs.credentials);
    assert_eq!(remote, &gather.credentials);
    assert_eq!(fingerprints, &[Fingerprint::of(HashFunction::Sha256, &[1])]);
    assert_eq!(remote_max_message_size, &Some(262_144));
    assert!(peerloom.as_ref().unwrap().has(Capabilities::CHUNK));

    alice.set_remote(bob.local_description().unwrap()).unwrap();
    let got = effects(&mut alice);
    let [
        Effect::SignalingStateChange(SignalingState::Stable),
        Effect::StartIce(StartIce {
            role: IceRole::Controlling,
            remote,
            remote_trickle: true,
            ..
        }),
        Effect::StartDtls(StartDtls {
            role: DtlsRole::Server,
            ..
        }),
        Effect::StartSctp(_),
    ] = got.as_slice()
    else {
        panic!("{got:?}")
    };
    assert_eq!(remote, &bobs.credentials);
    assert!(!alice.negotiation_needed());
}

#[test]
fn a_second_negotiation_changes_nothing() {
    let (mut alice, mut bob) = connected();
    connect(&mut bob, &mut alice, OfferOptions::default());
    let states = |all: Vec<Effect>| {
        all.into_iter()
            .filter(|e| !matches!(e, Effect::SignalingStateChange(_)))
            .count()
    };
    assert_eq!(
        (states(effects(&mut alice)), states(effects(&mut bob))),
        (0, 0)
    );
    assert_eq!(alice.negotiated().unwrap().ice.role, IceRole::Controlling);
    assert_eq!(bob.negotiated().unwrap().dtls.role, DtlsRole::Client);
    let offer = Sdp::parse(&bob.current_local_description().unwrap().sdp).unwrap();
    assert!(
        offer.media[0]
            .attributes
            .contains(&Attribute::Setup(Setup::ActPass))
    );
    let answer = Sdp::parse(&alice.current_local_description().unwrap().sdp).unwrap();
    assert!(
        answer.media[0]
            .attributes
            .contains(&Attribute::Setup(Setup::Passive)),
        "the DTLS server stays the server when it answers"
    );
    assert!(offer.origin.version > 1);
}

#[test]
fn candidates_travel_in_descriptions_and_by_trickle() {
    let (mut alice, mut bob) = (session(1), session(2));
    alice.request_data().unwrap();
    alice.set_local(None).unwrap();
    let ufrag = ufrag_of(&effects(&mut alice));
    let early = alice.add_local_candidate(&ufrag, host(1)).unwrap();
    assert_eq!(
        alice.add_local_candidate(&ufrag, host(1)),
        None,
        "known already"
    );
    assert_eq!(
        alice.add_local_candidate("other", host(2)),
        None,
        "of no generation"
    );
    let offer = alice.local_description().unwrap();
    assert!(
        offer.sdp.contains("m=application 1 "),
        "the default candidate's port"
    );
    assert!(offer.sdp.contains("c=IN IP4 192.0.2.1\r\n"));
    assert_eq!(early.sdp_mid.as_deref(), Some("0"));
    assert_eq!(early.username_fragment.as_deref(), Some(ufrag.as_str()));

    let before = bob.add_ice_candidate(Some(early.clone())).unwrap_err();
    assert_eq!(name(&before), "InvalidStateError");
    bob.set_remote(offer).unwrap();
    let late = alice.add_local_candidate(&ufrag, host(2)).unwrap();
    let end = alice.complete_local_candidates(&ufrag).unwrap();
    assert_eq!(
        (
            end.candidate.as_str(),
            alice.complete_local_candidates(&ufrag)
        ),
        ("", None)
    );
    bob.add_ice_candidate(Some(early)).unwrap();
    bob.add_ice_candidate(Some(late.clone())).unwrap();
    assert!(
        !effects(&mut bob)
            .iter()
            .any(|e| matches!(e, Effect::AddRemoteCandidate { .. }))
    );
    bob.set_local(None).unwrap();
    let after_start = |all: &[Effect]| {
        let start = all
            .iter()
            .position(|e| matches!(e, Effect::StartIce(_)))
            .unwrap();
        let adds = all
            .iter()
            .enumerate()
            .filter(|(_, e)| matches!(e, Effect::AddRemoteCandidate { .. }));
        adds.map(|(at, _)| assert!(at > start)).count()
    };
    assert_eq!(
        after_start(&effects(&mut bob)),
        2,
        "one embedded, one trickled, none twice"
    );
    bob.add_ice_candidate(Some(end.clone())).unwrap();
    assert_eq!(effects(&mut bob), [Effect::RemoteCandidatesComplete]);
    bob.add_ice_candidate(None).unwrap();
    assert_eq!(effects(&mut bob), [], "once");
    assert!(
        bob.remote_description()
            .unwrap()
            .sdp
            .ends_with("a=end-of-candidates\r\n")
    );
    assert!(
        alice
            .local_description()
            .unwrap()
            .sdp
            .ends_with("a=end-of-candidates\r\n")
    );
    assert!(bob.negotiated().unwrap().remote_candidates_complete);
}

#[test]
fn candidates_that_belong_elsewhere_are_refused() {
    let (_, mut bob) = connected();
    let good = |mid: Option<&str>, index: Option<u16>, ufrag: Option<&str>| IceCandidateInit {
        candidate: host(9).to_string(),
        sdp_mid: mid.map(str::to_owned),
        sdp_mline_index: index,
        username_fragment: ufrag.map(str::to_owned),
    };
    let mut refused = |init| bob.add_ice_candidate(Some(init)).unwrap_err();
    assert_eq!(name(&refused(good(None, None, None))), "TypeError");
    assert_eq!(
        name(&refused(good(Some("1"), Some(0), None))),
        "OperationError"
    );
    assert_eq!(name(&refused(good(None, Some(1), None))), "OperationError");
    assert_eq!(
        name(&refused(good(Some("0"), None, Some("nope")))),
        "OperationError"
    );
    let mut malformed = good(Some("0"), None, None);
    malformed.candidate = "candidate:1 1 udp x 192.0.2.1 9 typ host".to_owned();
    assert_eq!(name(&refused(malformed.clone())), "OperationError");
    malformed.candidate = "candidate:1 1 sctp 1 192.0.2.1 9 typ host".to_owned();
    bob.add_ice_candidate(Some(malformed)).unwrap();
    assert_eq!(effects(&mut bob), [], "an unknown transport is ignored");
    bob.add_ice_candidate(Some(good(None, Some(0), None)))
        .unwrap();
    assert_eq!(
        effects(&mut bob),
        [Effect::AddRemoteCandidate { candidate: host(9) }]
    );
}

#[test]
fn the_peers_candidates_are_bounded() {
    let (_, mut bob) = connected();
    let add = |port: u16| IceCandidateInit {
        candidate: host(port).to_string(),
        sdp_mid: Some("0".to_owned()),
        ..IceCandidateInit::default()
    };
    let taken = (1..=1000)
        .filter(|n| bob.add_ice_candidate(Some(add(*n))).is_ok())
        .count();
    assert_eq!(
        taken,
        peerloom_transports_proto::jsep::MAX_REMOTE_CANDIDATES
    );
    assert_eq!(effects(&mut bob).len(), taken);
}

#[test]
fn rollback_takes_either_offer_back() {
    let (mut alice, mut bob) = (session(1), session(2));
    assert_eq!(
        name(
            &alice
                .set_local(Some(SessionDescription::rollback()))
                .unwrap_err()
        ),
        "InvalidStateError"
    );
    alice.request_data().unwrap();
    alice.set_local(None).unwrap();
    let ufrag = ufrag_of(&effects(&mut alice));
    let offer = alice.local_description().unwrap();
    alice
        .set_local(Some(SessionDescription::rollback()))
        .unwrap();
    assert_eq!(
        effects(&mut alice),
        [
            Effect::DiscardGeneration {
                ufrag: ufrag.clone()
            },
            Effect::SignalingStateChange(SignalingState::Stable),
            Effect::NegotiationNeeded,
        ]
    );
    assert_eq!(alice.local_description(), None);
    bob.set_remote(offer.clone()).unwrap();
    bob.set_remote(SessionDescription::rollback()).unwrap();
    assert_eq!(
        (bob.signaling_state(), bob.remote_description()),
        (SignalingState::Stable, None)
    );
    alice.set_local(Some(offer)).unwrap();
    assert_eq!(
        ufrag_of(&effects(&mut alice)),
        ufrag,
        "the offer created last may be set again"
    );
}

#[test]
fn glare_rolls_the_polite_side_back() {
    let (mut polite, mut impolite) = (session(1), session(2));
    polite.request_data().unwrap();
    impolite.request_data().unwrap();
    polite.set_local(None).unwrap();
    impolite.set_local(None).unwrap();
    effects(&mut polite);
    polite
        .set_remote(impolite.local_description().unwrap())
        .unwrap();
    let got = effects(&mut polite);
    assert!(
        matches!(
            got.as_slice(),
            [
                Effect::DiscardGeneration { .. },
                Effect::SignalingStateChange(SignalingState::Stable),
                Effect::SignalingStateChange(SignalingState::HaveRemoteOffer),
            ]
        ),
        "{got:?}"
    );
    polite.set_local(None).unwrap();
    impolite
        .set_remote(polite.local_description().unwrap())
        .unwrap();
    assert!(!polite.negotiation_needed() && !impolite.negotiation_needed());
    assert_eq!(polite.negotiated().unwrap().ice.role, IceRole::Controlled);
    assert_eq!(
        impolite.negotiated().unwrap().ice.role,
        IceRole::Controlling
    );
}

#[test]
fn a_bad_offer_does_not_undo_the_rollback_it_implied() {
    let mut alice = session(1);
    alice.request_data().unwrap();
    alice.set_local(None).unwrap();
    effects(&mut alice);
    let error = alice
        .set_remote(SessionDescription::offer("v=0\r\nnonsense"))
        .unwrap_err();
    assert_eq!(
        (name(&error), error.detail(), error.line()),
        ("RTCError", Some("sdp-syntax-error"), Some(2))
    );
    assert_eq!(alice.signaling_state(), SignalingState::Stable);
    assert_eq!(effects(&mut alice).last(), Some(&Effect::NegotiationNeeded));
}

#[test]
fn provisional_answers_start_the_transport() {
    let (mut alice, mut bob) = (session(1), session(2));
    alice.request_data().unwrap();
    alice.set_local(None).unwrap();
    bob.set_remote(alice.local_description().unwrap()).unwrap();
    let answer = bob.create_answer().unwrap();
    bob.set_local(Some(SessionDescription::pranswer(answer.sdp)))
        .unwrap();
    assert_eq!(bob.signaling_state(), SignalingState::HaveLocalPranswer);
    assert!(
        effects(&mut bob)
            .iter()
            .any(|e| matches!(e, Effect::StartIce(_)))
    );
    let provisional = bob.local_description().unwrap();
    assert_eq!(provisional.kind, SdpType::PrAnswer);
    alice.set_remote(provisional).unwrap();
    assert_eq!(alice.signaling_state(), SignalingState::HaveRemotePranswer);
    assert!(
        effects(&mut alice)
            .iter()
            .any(|e| matches!(e, Effect::StartDtls(_)))
    );
    for session in [&mut alice, &mut bob] {
        let error = session
            .set_local(Some(SessionDescription::rollback()))
            .unwrap_err();
        assert_eq!(name(&error), "InvalidStateError");
    }
    bob.set_local(None).unwrap();
    alice.set_remote(bob.local_description().unwrap()).unwrap();
    let stable = Effect::SignalingStateChange(SignalingState::Stable);
    assert_eq!(
        effects(&mut alice),
        std::slice::from_ref(&stable),
        "nothing starts twice"
    );
    assert_eq!(effects(&mut bob), [stable]);
    assert_eq!(alice.local_description().unwrap().kind, SdpType::Offer);
    assert_eq!(bob.local_description().unwrap().kind, SdpType::Answer);
}

#[test]
fn restart_gives_both_sides_new_credentials_and_keeps_dtls() {
    let (mut alice, mut bob) = connected();
    let before = alice.negotiated().unwrap().clone();
    bob.restart_ice();
    assert_eq!(effects(&mut bob), [Effect::NegotiationNeeded]);
    connect(&mut bob, &mut alice, OfferOptions::default());
    for (session, other) in [(&mut alice, 1), (&mut bob, 2)] {
        let got = effects(session);
        let restart = got.iter().find_map(|e| match e {
            Effect::RestartIce(restart) => Some(restart.clone()),
            _ => None,
        });
        let restart = restart.unwrap_or_else(|| panic!("{other}: {got:?}"));
        assert!(got.iter().any(
            |e| matches!(e, Effect::Gather(g) if g.restart && g.credentials == restart.local)
        ));
        assert!(
            !got.iter()
                .any(|e| matches!(e, Effect::StartDtls(_) | Effect::StartSctp(_)))
        );
        assert!(!session.negotiation_needed());
    }
    let after = alice.negotiated().unwrap();
    assert_ne!(
        (&before.ice.local, &before.ice.remote),
        (&after.ice.local, &after.ice.remote)
    );
    assert_ne!(before.ice.local.ufrag, after.ice.local.ufrag);
    assert_ne!(before.ice.remote.ufrag, after.ice.remote.ufrag);
    assert_eq!(
        (before.dtls, before.ice.role),
        (after.dtls.clone(), after.ice.role)
    );
    connect(&mut alice, &mut bob, OfferOptions { ice_restart: true });
    assert!(
        effects(&mut bob)
            .iter()
            .any(|e| matches!(e, Effect::RestartIce(_)))
    );
}

#[test]
fn a_restart_that_is_rolled_back_leaves_the_transport_alone() {
    let (mut alice, mut bob) = connected();
    let before = alice.negotiated().unwrap().clone();
    let text = alice.local_description();
    let offer = alice
        .create_offer(OfferOptions { ice_restart: true })
        .unwrap();
    alice.set_local(Some(offer)).unwrap();
    alice
        .set_local(Some(SessionDescription::rollback()))
        .unwrap();
    assert_eq!(
        (alice.negotiated(), alice.local_description()),
        (Some(&before), text)
    );
    effects(&mut alice);
    connect(&mut bob, &mut alice, OfferOptions::default());
    assert!(
        !effects(&mut alice)
            .iter()
            .any(|e| matches!(e, Effect::RestartIce(_)))
    );
}

#[test]
fn an_answer_must_restart_exactly_when_the_offer_does() {
    let (mut alice, bob) = connected();
    let stale = bob.local_description().unwrap();
    let offer = alice
        .create_offer(OfferOptions { ice_restart: true })
        .unwrap();
    alice.set_local(Some(offer)).unwrap();
    let error = alice.set_remote(stale.clone()).unwrap_err();
    assert_eq!(name(&error), "InvalidAccessError");
    assert!(error.hint().contains("roll"), "{error}");
    assert_eq!(
        alice.signaling_state(),
        SignalingState::HaveLocalOffer,
        "a failed call changes nothing"
    );
    alice
        .set_local(Some(SessionDescription::rollback()))
        .unwrap();
    alice.set_local(None).unwrap();
    let ufrag = &bob.negotiated().unwrap().ice.local.ufrag;
    let changed = SessionDescription::answer(stale.sdp.replace(ufrag, "abcdefgh"));
    assert_eq!(
        name(&alice.set_remote(changed).unwrap_err()),
        "InvalidAccessError"
    );
    alice.set_remote(stale).unwrap();
}

/// The answerer makes the next offer, since its answer got lost and the offer was taken back.
#[test]
fn a_peer_that_never_got_our_answer_is_followed_until_it_is_heard() {
    for (heard, restart) in [(false, false), (false, true), (true, false), (true, true)] {
        let (mut alice, mut bob) = (session(1), session(2));
        alice.request_data().unwrap();
        alice.set_local(None).unwrap();
        bob.set_remote(alice.local_description().unwrap()).unwrap();
        bob.set_local(None).unwrap();
        let rollback = SessionDescription::rollback();
        alice.set_local(Some(rollback)).unwrap();
        bob.set_heard(heard);
        effects(&mut bob);

        let offer = bob.create_offer(OfferOptions {
            ice_restart: restart,
        });
        bob.set_local(Some(offer.unwrap())).unwrap();
        alice.set_remote(bob.local_description().unwrap()).unwrap();
        alice.set_local(None).unwrap();
        let outcome = bob.set_remote(alice.local_description().unwrap());
        if heard && !restart {
            assert_eq!(name(&outcome.unwrap_err()), "InvalidAccessError");
            continue;
        }
        outcome.unwrap();
        let [ours, theirs] = [&bob, &alice].map(|s| s.negotiated().unwrap().clone());
        assert_eq!(ours.ice.remote, theirs.ice.local);
        assert_eq!(theirs.dtls.role, DtlsRole::Client, "it answers as active");
        let got = effects(&mut bob);
        let mut started = got.iter().filter_map(|e| match e {
            Effect::StartDtls(start) => Some(start.role),
            _ => None,
        });
        if heard {
            // Firefox answers restarts so, and goes on as it was.
            assert_eq!((ours.dtls.role, started.next()), (DtlsRole::Client, None));
            continue;
        }
        assert_eq!(started.next(), Some(DtlsRole::Server));
        assert_eq!(ours.dtls.role, DtlsRole::Server);
        assert_eq!(ours.ice.role, IceRole::Controlling);
        assert_eq!(theirs.ice.role, IceRole::Controlled);
        assert!(got.iter().any(|e| matches!(e, Effect::RestartIce(_))));
    }
}

#[test]
fn descriptions_are_set_as_they_were_created() {
    let (mut alice, mut bob) = (session(1), session(2));
    alice.request_data().unwrap();
    let offer = alice.create_offer(OfferOptions::default()).unwrap();
    let munged = SessionDescription::offer(offer.sdp.replace("5000", "5001"));
    assert_eq!(
        name(&alice.set_local(Some(munged)).unwrap_err()),
        "InvalidModificationError"
    );
    assert_eq!(effects(&mut alice), [Effect::NegotiationNeeded]);
    let newer = alice.create_offer(OfferOptions::default()).unwrap();
    assert_eq!(
        name(&alice.set_local(Some(offer)).unwrap_err()),
        "InvalidModificationError"
    );
    alice.set_local(Some(newer.clone())).unwrap();
    alice
        .set_local(Some(SessionDescription::offer("")))
        .unwrap();
    assert_eq!(alice.local_description(), Some(newer.clone()));
    bob.set_remote(newer).unwrap();
    let none_created = SessionDescription::answer("v=0");
    assert_eq!(
        name(&bob.set_local(Some(none_created)).unwrap_err()),
        "InvalidModificationError"
    );
}

#[test]
fn the_wrong_state_is_named() {
    let (mut alice, mut bob) = (session(1), session(2));
    assert_eq!(
        name(&alice.create_answer().unwrap_err()),
        "InvalidStateError"
    );
    let answer = SessionDescription::answer("");
    assert_eq!(
        name(&alice.set_local(Some(answer.clone())).unwrap_err()),
        "InvalidStateError"
    );
    assert_eq!(
        name(&alice.set_remote(answer).unwrap_err()),
        "InvalidStateError"
    );
    alice.request_data().unwrap();
    alice.set_local(None).unwrap();
    bob.set_remote(alice.local_description().unwrap()).unwrap();
    assert_eq!(
        name(&bob.create_offer(OfferOptions::default()).unwrap_err()),
        "InvalidStateError"
    );
    let offer = SessionDescription::offer("");
    assert_eq!(
        name(&bob.set_local(Some(offer)).unwrap_err()),
        "InvalidStateError"
    );
    bob.close();
    assert_eq!(bob.signaling_state(), SignalingState::Closed);
    assert_eq!(name(&bob.set_local(None).unwrap_err()), "InvalidStateError");
    assert_eq!(name(&bob.request_data().unwrap_err()), "InvalidStateError");
    assert_eq!(
        name(&bob.add_ice_candidate(None).unwrap_err()),
        "InvalidStateError"
    );
    assert_eq!(effects(&mut bob), []);
}

#[test]
fn secrets_are_not_shown() {
    let (alice, _) = connected();
    let shown = format!("{alice:?} {:?}", crate::util::config(1));
    assert!(!shown.contains(&alice.negotiated().unwrap().ice.local.pwd));
    assert!(!shown.contains("seed"));
}

fn ufrag_of(effects: &[Effect]) -> String {
    let found = effects.iter().find_map(|e| match e {
        Effect::Gather(gather) => Some(gather.credentials.ufrag.clone()),
        _ => None,
    });
    found.unwrap_or_else(|| panic!("no generation in {effects:?}"))
}
