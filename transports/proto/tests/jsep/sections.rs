//! Sections that are refused, ended and offered again, and what a connection cannot change.

use peerloom_transports_proto::certificate::{Fingerprint, HashFunction};
use peerloom_transports_proto::jsep::{DataStop, Effect, Error, OfferOptions, SessionDescription};
use peerloom_transports_proto::sdp::Sdp;

use crate::util::{connect, connected, effects, name, session};

#[test]
fn an_offer_without_data_is_answered_and_data_follows() {
    let (mut alice, mut bob) = (session(1), session(2));
    connect(&mut alice, &mut bob, OfferOptions::default());
    assert_eq!(alice.negotiated(), None);
    effects(&mut alice);
    bob.request_data().unwrap();
    connect(&mut bob, &mut alice, OfferOptions::default());
    assert!(
        effects(&mut alice)
            .iter()
            .any(|e| matches!(e, Effect::StartSctp(_)))
    );
    let role = alice.negotiated().unwrap().ice.role;
    assert_ne!(role, bob.negotiated().unwrap().ice.role);
}

#[test]
fn a_refused_data_section_ends_the_matter_but_may_be_offered_again() {
    let mut alice = session(1);
    alice.request_data().unwrap();
    alice.set_local(None).unwrap();
    effects(&mut alice);
    let refusal = SessionDescription::answer(
        "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\ns=-\r\nt=0 0\r\n\
         m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 0.0.0.0\r\na=mid:0\r\n",
    );
    alice.set_remote(refusal).unwrap();
    let got = effects(&mut alice);
    assert!(
        got.contains(&Effect::StopData(DataStop::Refused)),
        "{got:?}"
    );
    assert!(
        !alice.negotiation_needed(),
        "asking again and again helps nobody"
    );
    alice.request_data().unwrap();
    let offer = Sdp::parse(&alice.create_offer(OfferOptions::default()).unwrap().sdp).unwrap();
    assert_eq!(offer.media.len(), 1, "the free place is used again");
    assert_eq!(offer.media[0].mid(), Some("1"), "under a new mid");
}

#[test]
fn an_ended_data_section_stops_the_transport_for_good() {
    let (mut alice, mut bob) = connected();
    let offer = bob.create_offer(OfferOptions::default()).unwrap();
    let ended = SessionDescription::offer(offer.sdp.replace("m=application 9", "m=application 0"));
    alice.set_remote(ended.clone()).unwrap();
    alice.set_local(None).unwrap();
    assert!(effects(&mut alice).contains(&Effect::StopData(DataStop::Ended)));
    assert!(
        alice
            .local_description()
            .unwrap()
            .sdp
            .contains("m=application 0 ")
    );
    assert_eq!(
        name(&alice.request_data().unwrap_err()),
        "InvalidStateError"
    );
    alice.set_remote(offer).unwrap();
    alice.set_local(None).unwrap();
    assert!(
        !effects(&mut alice)
            .iter()
            .any(|e| matches!(e, Effect::StartIce(_)))
    );
}

#[test]
fn another_certificate_or_role_needs_another_connection() {
    let (mut alice, mut bob) = connected();
    let offer = bob.create_offer(OfferOptions::default()).unwrap();
    let other = Fingerprint::of(HashFunction::Sha256, &[9]).to_string();
    let own = Fingerprint::of(HashFunction::Sha256, &[2]).to_string();
    for (from, to) in [
        (own.as_str(), other.as_str()),
        ("setup:actpass", "setup:passive"),
        ("sctp-port:5000", "sctp-port:5001"),
    ] {
        let changed = SessionDescription::offer(offer.sdp.replace(from, to));
        assert_ne!(changed, offer);
        let error = alice.set_remote(changed).unwrap_err();
        assert_eq!(name(&error), "InvalidAccessError", "{from} to {to}");
    }
    alice
        .set_remote(SessionDescription::offer(
            offer.sdp.replace("setup:actpass", "setup:active"),
        ))
        .unwrap();
    let larger = offer
        .sdp
        .replace("max-message-size:262144", "max-message-size:0");
    alice.set_remote(SessionDescription::offer(larger)).unwrap();
    alice.set_local(None).unwrap();
    let got = effects(&mut alice);
    let update = got.iter().find_map(|e| match e {
        Effect::UpdateSctp(sctp) => Some(sctp.remote_max_message_size),
        _ => None,
    });
    assert_eq!(update, Some(None), "zero means any size: {got:?}");
}

#[test]
fn an_answer_of_the_other_role_does_not_change_roles() {
    let (mut alice, mut bob) = connected(); // bob answered: he is the DTLS client
    let offer = bob
        .create_offer(OfferOptions { ice_restart: true })
        .unwrap();
    bob.set_local(Some(offer)).unwrap();
    alice.set_remote(bob.local_description().unwrap()).unwrap();
    alice.set_local(None).unwrap();
    let answer = alice.local_description().unwrap().sdp;
    let contrary = answer.replace("a=setup:passive", "a=setup:active");
    assert_ne!(contrary, answer);
    bob.set_remote(SessionDescription::answer(contrary))
        .unwrap();
    let got = effects(&mut bob);
    let started = |e: &Effect| matches!(e, Effect::StartDtls(_));
    assert!(!got.iter().any(started), "the association goes on: {got:?}");
    connect(&mut alice, &mut bob, OfferOptions::default());
    let answer = bob.local_description().unwrap().sdp;
    assert!(answer.contains("a=setup:active"), "{answer}");
}

#[test]
fn identity_is_reported_before_anything_starts() {
    let (mut alice, mut bob) = (session(1), session(2));
    alice.request_data().unwrap();
    assert!(matches!(
        bob.set_identity(Some("two words".to_owned())),
        Err(Error::Syntax { .. })
    ));
    bob.set_identity(Some("YXNzZXJ0aW9u".to_owned())).unwrap();
    connect(&mut alice, &mut bob, OfferOptions::default());
    let got = effects(&mut alice);
    let at = |wanted: fn(&Effect) -> bool| got.iter().position(wanted);
    let identity = at(|e| matches!(e, Effect::RemoteIdentity(_))).unwrap();
    assert!(
        Some(identity) < at(|e| matches!(e, Effect::StartIce(_))),
        "{got:?}"
    );
    let Effect::RemoteIdentity(identity) = &got[identity] else {
        unreachable!()
    };
    assert_eq!(identity.assertion, "YXNzZXJ0aW9u");
    assert_eq!(
        identity.fingerprints,
        [Fingerprint::of(HashFunction::Sha256, &[2])]
    );
    assert_eq!(identity.session_id, bob.session_id());
    assert_eq!(
        alice.negotiated().unwrap().identity.as_deref(),
        Some("YXNzZXJ0aW9u")
    );
}

#[test]
fn a_refused_place_may_be_used_for_something_else() {
    let mut bob = session(2);
    let media = crate::fixtures::text("chromium-media-offer");
    bob.set_remote(SessionDescription::offer(media.clone()))
        .unwrap();
    bob.set_local(None).unwrap();
    let recycled = media
        .replace("m=video 9", "m=audio 9")
        .replace("a=mid:1\r", "a=mid:5\r");
    let recycled = recycled.replace("BUNDLE 0 1 2", "BUNDLE 0 5 2");
    bob.set_remote(SessionDescription::offer(recycled)).unwrap();
    let moved = media
        .replace("a=mid:2\r", "a=mid:6\r")
        .replace("BUNDLE 0 1 2", "BUNDLE 0 1 6");
    let error = bob
        .set_remote(SessionDescription::offer(moved))
        .unwrap_err();
    assert_eq!(
        name(&error),
        "InvalidAccessError",
        "the data section is in use"
    );
    let fewer = crate::fixtures::text("chromium-data-offer");
    let error = bob
        .set_remote(SessionDescription::offer(fewer))
        .unwrap_err();
    assert_eq!(name(&error), "InvalidAccessError");
}
