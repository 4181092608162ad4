//! Transceivers that end, and what becomes of their sections.

use peerloom_transports_proto::jsep::{
    Effect, MAX_TRANSCEIVERS, OfferOptions, SessionDescription, TransceiverInit,
};
use peerloom_transports_proto::sdp::{Direction, MediaKind};

use crate::util::{connect, effects, local_sdp, media_pair, name};

#[test]
fn a_stopped_section_is_refused_and_used_again() {
    let (mut alice, mut bob) = media_pair();
    let audio = alice.add_track(MediaKind::Audio, Vec::new()).unwrap();
    alice.add_track(MediaKind::Video, Vec::new()).unwrap();
    connect(&mut alice, &mut bob, OfferOptions::default());
    let theirs = bob.transceivers().next().unwrap().id();
    effects(&mut bob);

    alice.stop(audio).unwrap();
    assert_eq!(alice.transceiver(audio).unwrap().direction(), None);
    assert!(alice.negotiation_needed());
    let error = alice.set_direction(audio, Direction::SendRecv);
    assert_eq!(name(&error.unwrap_err()), "InvalidStateError");
    alice.stop(audio).unwrap();
    connect(&mut alice, &mut bob, OfferOptions::default());
    let offer = local_sdp(&alice);
    assert_eq!((offer.media[0].port, offer.media[1].port), (0, 9));
    assert_eq!(offer.bundles().next().unwrap(), ["1"]);
    assert!(alice.transceiver(audio).is_none() && bob.transceiver(theirs).is_none());
    let got = effects(&mut bob);
    let stopped = Effect::TransceiverStopped {
        transceiver: theirs,
    };
    assert!(got.contains(&stopped), "{got:?}");
    assert!(!alice.negotiation_needed() && !bob.negotiation_needed());

    let new = bob.add_track(MediaKind::Video, Vec::new()).unwrap();
    let second = bob.add_transceiver(MediaKind::Video, TransceiverInit::default());
    connect(&mut bob, &mut alice, OfferOptions::default());
    let offer = local_sdp(&bob);
    let kinds: Vec<_> = offer.media.iter().map(|m| m.kind.as_str()).collect();
    assert_eq!(kinds, ["video", "video"], "of whatever kind");
    let mids: Vec<_> = offer.media.iter().map(|m| m.mid().unwrap()).collect();
    assert_eq!(mids, ["2", "1"], "the place gets a new mid");
    assert_eq!(
        bob.transceiver(new).unwrap().mid(),
        Some("1"),
        "idle before"
    );
    assert_eq!(bob.transceiver(second.unwrap()).unwrap().mid(), Some("2"));
}

#[test]
fn one_that_was_never_described_ends_at_once() {
    let (mut alice, mut bob) = media_pair();
    let audio = alice.add_track(MediaKind::Audio, Vec::new()).unwrap();
    alice.stop(audio).unwrap();
    assert_eq!(alice.transceivers().count(), 0);
    assert!(!alice.negotiation_needed());
    let error = alice.remove_track(audio).unwrap_err();
    assert_eq!(name(&error), "InvalidAccessError");

    let audio = alice.add_track(MediaKind::Audio, Vec::new()).unwrap();
    let offer = alice.create_offer(OfferOptions::default()).unwrap();
    alice.stop(audio).unwrap();
    alice.set_local(Some(offer)).unwrap();
    bob.set_remote(alice.local_description().unwrap()).unwrap();
    bob.set_local(None).unwrap();
    alice.set_remote(bob.local_description().unwrap()).unwrap();
    assert!(alice.negotiation_needed(), "the section belongs to nobody");
    connect(&mut alice, &mut bob, OfferOptions::default());
    assert_eq!(local_sdp(&alice).media[0].port, 0);
    assert_eq!(bob.transceivers().count(), 0);
    assert!(!alice.negotiation_needed());
}

#[test]
fn a_stopping_one_still_answers() {
    let (mut alice, mut bob) = media_pair();
    alice.add_track(MediaKind::Audio, Vec::new()).unwrap();
    connect(&mut alice, &mut bob, OfferOptions::default());
    let theirs = bob.transceivers().next().unwrap().id();
    bob.stop(theirs).unwrap();
    connect(&mut alice, &mut bob, OfferOptions::default());
    let answer = local_sdp(&bob);
    assert_eq!(
        answer.media[0].port, 9,
        "webrtc-pc 5.4: createAnswer is not affected"
    );
    assert_eq!(answer.direction(&answer.media[0]), Direction::Inactive);
    assert!(bob.negotiation_needed());
    connect(&mut bob, &mut alice, OfferOptions::default());
    assert_eq!(
        (alice.transceivers().count(), bob.transceivers().count()),
        (0, 0)
    );
}

#[test]
fn a_stop_survives_a_rollback() {
    let (mut alice, mut bob) = media_pair();
    let audio = alice.add_track(MediaKind::Audio, Vec::new()).unwrap();
    alice.set_local(None).unwrap();
    alice.stop(audio).unwrap();
    assert_eq!(alice.transceivers().count(), 1, "the peer may know of it");
    alice
        .set_local(Some(SessionDescription::rollback()))
        .unwrap();
    assert_eq!(alice.transceivers().count(), 0);
    assert!(!alice.negotiation_needed());

    alice.add_track(MediaKind::Audio, Vec::new()).unwrap();
    connect(&mut alice, &mut bob, OfferOptions::default());
    let ended = local_sdp(&alice)
        .to_string()
        .replace("m=audio 9", "m=audio 0");
    let ended = ended.replace("a=group:BUNDLE 0\r\n", "");
    bob.set_remote(SessionDescription::offer(ended)).unwrap();
    bob.set_remote(SessionDescription::rollback()).unwrap();
    assert!(
        bob.negotiation_needed(),
        "stopped here, and alive in the description"
    );
    connect(&mut bob, &mut alice, OfferOptions::default());
    assert_eq!(
        (alice.transceivers().count(), bob.transceivers().count()),
        (0, 0)
    );
}

#[test]
fn the_last_section_takes_the_transport_with_it() {
    let (mut alice, mut bob) = media_pair();
    let audio = alice.add_track(MediaKind::Audio, Vec::new()).unwrap();
    connect(&mut alice, &mut bob, OfferOptions::default());
    let before = alice.negotiated().unwrap().ice.local.clone();
    alice.stop(audio).unwrap();
    connect(&mut alice, &mut bob, OfferOptions::default());
    for session in [&mut alice, &mut bob] {
        assert!(effects(session).contains(&Effect::StopTransport));
        assert_eq!(session.negotiated(), None);
    }
    alice.request_data().unwrap();
    connect(&mut alice, &mut bob, OfferOptions::default());
    assert_eq!(
        local_sdp(&alice).media.len(),
        1,
        "in the place of the audio"
    );
    let got = effects(&mut bob);
    assert!(
        got.iter().any(|e| matches!(e, Effect::StartDtls(_))),
        "{got:?}"
    );
    assert!(
        got.iter().any(|e| matches!(e, Effect::StartSctp(_))),
        "{got:?}"
    );
    assert_ne!(alice.negotiated().unwrap().ice.local, before);
}

#[test]
fn data_ends_without_media() {
    let (mut alice, mut bob) = media_pair();
    alice.add_track(MediaKind::Audio, Vec::new()).unwrap();
    alice.request_data().unwrap();
    connect(&mut alice, &mut bob, OfferOptions::default());
    effects(&mut bob);
    let offer = alice.create_offer(OfferOptions::default()).unwrap().sdp;
    let ended = offer
        .replace("m=application 9", "m=application 0")
        .replace("BUNDLE 0 1", "BUNDLE 0");
    bob.set_remote(SessionDescription::offer(ended)).unwrap();
    bob.set_local(None).unwrap();
    let got = effects(&mut bob);
    assert!(
        got.iter().any(|e| matches!(e, Effect::StopData(_))),
        "{got:?}"
    );
    assert!(!got.contains(&Effect::StopTransport), "{got:?}");
    assert_eq!(bob.negotiated().unwrap().sctp, None);
}

#[test]
fn transceivers_are_bounded() {
    let (mut alice, mut bob) = media_pair();
    for _ in 0..MAX_TRANSCEIVERS {
        alice
            .add_transceiver(MediaKind::Audio, TransceiverInit::default())
            .unwrap();
    }
    let error = alice.add_transceiver(MediaKind::Audio, TransceiverInit::default());
    assert_eq!(name(&error.unwrap_err()), "OperationError");
    connect(&mut alice, &mut bob, OfferOptions::default());
    assert_eq!(bob.transceivers().count(), MAX_TRANSCEIVERS);
}
