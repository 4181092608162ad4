//! Audio and video between two sessions: sections, directions, codecs, bundling, rollback.

use peerloom_transports_proto::jsep::{
    BundlePolicy, Effect, MediaCapabilities, NegotiatedMedia, OfferOptions, Session, SessionConfig,
    SessionDescription, TransceiverId, TransceiverInit, extension,
};
use peerloom_transports_proto::sdp::{Direction, MediaKind, Sdp};

use crate::util::{config, connect, effects, local_sdp, media_pair, name, session, with_media};

fn media(effects: &[Effect]) -> Vec<NegotiatedMedia> {
    let found = effects.iter().filter_map(|e| match e {
        Effect::MediaNegotiated(negotiated) => Some((**negotiated).clone()),
        _ => None,
    });
    found.collect()
}

fn added(effects: &[Effect]) -> Vec<TransceiverId> {
    let found = effects.iter().filter_map(|e| match e {
        Effect::TransceiverAdded { transceiver, .. } => Some(*transceiver),
        _ => None,
    });
    found.collect()
}

fn streams(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// Kind and port of each section.
fn ports(sdp: &Sdp) -> Vec<(&str, u16)> {
    let media = sdp.media.iter();
    media.map(|m| (m.kind.as_str(), m.port)).collect()
}

fn directions(session: &Session) -> Vec<Option<Direction>> {
    session
        .transceivers()
        .map(|t| t.current_direction())
        .collect()
}

#[test]
fn two_sessions_agree_on_audio_video_and_data() {
    let (mut alice, mut bob) = media_pair();
    let audio = alice.add_track(MediaKind::Audio, streams(&["s"])).unwrap();
    alice.add_track(MediaKind::Video, streams(&["s"])).unwrap();
    alice.request_data().unwrap();
    bob.add_track(MediaKind::Audio, Vec::new()).unwrap();
    effects(&mut bob);
    connect(&mut alice, &mut bob, OfferOptions::default());

    let offer = local_sdp(&alice);
    assert_eq!(
        ports(&offer),
        [("audio", 9), ("video", 9), ("application", 9)]
    );
    assert_eq!(offer.bundles().next().unwrap(), ["0", "1", "2"]);
    assert_eq!(local_sdp(&bob).bundles().next().unwrap(), ["0", "1", "2"]);

    let got = effects(&mut bob);
    assert_eq!(added(&got).len(), 1, "the track of bob waits for the audio");
    let negotiated = media(&got);
    assert_eq!(negotiated.len(), 2);
    assert_eq!(negotiated[0].direction, Direction::SendRecv);
    assert_eq!(negotiated[1].direction, Direction::RecvOnly);
    let first = &negotiated[0].send[0];
    assert_eq!((first.name.as_str(), first.payload_type), ("opus", 111));
    assert!(
        negotiated[1]
            .extensions
            .iter()
            .any(|e| e.uri == extension::MID)
    );
    let heard = got.iter().filter_map(|e| match e {
        Effect::RemoteTrack { streams, .. } => Some(streams[0].stream.clone()),
        _ => None,
    });
    assert_eq!(heard.collect::<Vec<_>>(), ["s", "s"]);
    let starts = got
        .iter()
        .filter(|e| matches!(e, Effect::StartDtls(_) | Effect::StartSctp(_)));
    assert_eq!(starts.count(), 2, "one transport for all");

    let (up, both) = (Some(Direction::SendOnly), Some(Direction::SendRecv));
    assert_eq!(directions(&alice), [both, up]);
    assert_eq!(alice.transceiver(audio).unwrap().mid(), Some("0"));
    assert!(!alice.negotiation_needed() && !bob.negotiation_needed());
}

#[test]
fn media_needs_no_data() {
    let (mut alice, mut bob) = media_pair();
    alice.add_track(MediaKind::Audio, Vec::new()).unwrap();
    connect(&mut alice, &mut bob, OfferOptions::default());
    let got = effects(&mut alice);
    assert!(got.iter().any(|e| matches!(e, Effect::StartDtls(_))));
    assert!(!got.iter().any(|e| matches!(e, Effect::StartSctp(_))));
    assert_eq!(alice.negotiated().unwrap().sctp, None);
    bob.request_data().unwrap();
    assert!(bob.negotiation_needed());
    connect(&mut bob, &mut alice, OfferOptions::default());
    let got = effects(&mut alice);
    assert!(got.iter().any(|e| matches!(e, Effect::StartSctp(_))));
    assert!(!got.iter().any(|e| matches!(e, Effect::StartDtls(_))));
    assert_eq!(
        ports(&local_sdp(&alice)),
        [("audio", 9), ("application", 9)]
    );
}

#[test]
fn without_capabilities_there_is_no_media() {
    let mut deaf = session(1);
    let error = deaf.add_transceiver(MediaKind::Audio, TransceiverInit::default());
    assert_eq!(name(&error.unwrap_err()), "OperationError");
    let (mut alice, _) = media_pair();
    let audio = alice.add_track(MediaKind::Audio, Vec::new()).unwrap();
    alice.request_data().unwrap();
    connect(&mut alice, &mut deaf, OfferOptions::default());
    assert_eq!(added(&effects(&mut deaf)), []);
    assert_eq!(ports(&local_sdp(&deaf)), [("audio", 0), ("application", 9)]);
    assert!(alice.transceiver(audio).is_none(), "it was refused");
    let got = effects(&mut alice);
    assert!(got.contains(&Effect::TransceiverStopped { transceiver: audio }));
    assert!(!alice.negotiation_needed());
}

#[test]
fn an_answer_keeps_the_offerers_numbers_and_later_offers_too() {
    let mut alices = MediaCapabilities::standard();
    for (number, one) in (100..).step_by(2).zip(&mut alices.video.codecs) {
        one.codec.payload_type = number;
        one.rtx = one.rtx.map(|_| number + 1);
    }
    alices.video.extensions.reverse();
    let mut alice = Session::new(SessionConfig {
        media: alices,
        ..config(1)
    });
    let mut bob = with_media(2, BundlePolicy::Balanced);
    alice.add_track(MediaKind::Video, Vec::new()).unwrap();
    connect(&mut alice, &mut bob, OfferOptions::default());
    let numbers = |sdp: &Sdp| -> Vec<_> {
        let codecs = sdp.media[0].codecs().into_iter();
        let mut all: Vec<_> = codecs
            .map(|c| (c.payload_type, c.name, c.parameters))
            .collect();
        all.sort();
        all
    };
    let (offer, answer) = (local_sdp(&alice), local_sdp(&bob));
    assert_eq!(numbers(&offer), numbers(&answer));
    connect(&mut bob, &mut alice, OfferOptions::default());
    assert_eq!(
        numbers(&local_sdp(&bob)),
        numbers(&offer),
        "bob's own offer"
    );
    let ids = |sdp: &Sdp| -> std::collections::BTreeMap<_, _> {
        let maps = sdp.media[0].extensions();
        maps.map(|e| (e.uri.clone(), e.id)).collect()
    };
    assert_eq!(ids(&local_sdp(&bob)), ids(&offer));
}

#[test]
fn a_section_without_a_common_codec_is_refused() {
    let (mut alice, _) = media_pair();
    let mut media = MediaCapabilities::standard();
    media
        .video
        .codecs
        .retain(|one| !one.codec.is("VP8") && !one.codec.is("VP9"));
    let mut bob = Session::new(SessionConfig { media, ..config(2) });
    alice.add_track(MediaKind::Video, Vec::new()).unwrap();
    alice.set_local(None).unwrap();
    let offer = alice.local_description().unwrap().sdp;
    let only_vp8 = offer.replace("H264/", "H999/").replace("AV1/", "AV9/");
    bob.set_remote(SessionDescription::offer(only_vp8)).unwrap();
    bob.set_local(None).unwrap();
    assert_eq!(ports(&local_sdp(&bob)), [("video", 0)]);
    let answer = bob.local_description().unwrap().sdp;
    assert!(answer.contains("a=rtpmap:"), "str0m asks for them");
    assert_eq!(bob.transceivers().count(), 0);
    alice.set_remote(bob.local_description().unwrap()).unwrap();
    assert_eq!(alice.transceivers().count(), 0);
    assert_eq!(alice.negotiated(), None);
}

#[test]
fn directions_are_negotiated_and_renegotiated() {
    let (mut alice, mut bob) = media_pair();
    let init = TransceiverInit {
        direction: Direction::SendOnly,
        ..TransceiverInit::default()
    };
    let id = alice.add_transceiver(MediaKind::Audio, init).unwrap();
    connect(&mut alice, &mut bob, OfferOptions::default());
    assert_eq!(directions(&alice), [Some(Direction::SendOnly)]);
    assert_eq!(directions(&bob), [Some(Direction::RecvOnly)]);
    effects(&mut bob);
    alice.set_direction(id, Direction::RecvOnly).unwrap();
    assert!(alice.negotiation_needed());
    connect(&mut alice, &mut bob, OfferOptions::default());
    assert_eq!(directions(&alice), [Some(Direction::Inactive)]);
    let got = effects(&mut bob);
    assert!(
        got.iter()
            .any(|e| matches!(e, Effect::RemoteTrackEnded { .. }))
    );
    let theirs = bob.add_track(MediaKind::Audio, streams(&["late"])).unwrap();
    assert_eq!(bob.transceivers().count(), 1, "the idle sender is used");
    assert!(bob.negotiation_needed());
    connect(&mut bob, &mut alice, OfferOptions::default());
    assert_eq!(directions(&alice), [Some(Direction::RecvOnly)]);
    bob.remove_track(theirs).unwrap();
    assert!(bob.negotiation_needed());
    bob.set_direction(theirs, Direction::SendOnly).unwrap();
    assert!(!bob.negotiation_needed(), "as negotiated, after all");
    bob.set_streams(theirs, streams(&["other"])).unwrap();
    assert!(bob.negotiation_needed());
    bob.add_track(MediaKind::Audio, Vec::new()).unwrap();
    assert_eq!(bob.transceivers().count(), 2, "that one has sent");
}

#[test]
fn each_policy_says_which_sections_stand_alone() {
    let alone = |policy| {
        let mut alice = with_media(1, policy);
        for kind in [MediaKind::Audio, MediaKind::Video, MediaKind::Video] {
            alice.add_track(kind, Vec::new()).unwrap();
        }
        alice.request_data().unwrap();
        alice.set_local(None).unwrap();
        let mut bob = with_media(2, BundlePolicy::default());
        bob.set_remote(alice.local_description().unwrap()).unwrap();
        bob.set_local(None).unwrap();
        let offer = local_sdp(&alice);
        alice.set_remote(bob.local_description().unwrap()).unwrap();
        for (ours, theirs) in local_sdp(&alice).media.iter().zip(&local_sdp(&bob).media) {
            assert_eq!((theirs.port, ours.mid()), (9, theirs.mid()));
        }
        let again = Sdp::parse(&alice.create_offer(OfferOptions::default()).unwrap().sdp).unwrap();
        assert!(
            again.media.iter().all(|m| m.port == 9 && !m.bundle_only()),
            "what is bundled stays so"
        );
        let media = offer.media.iter();
        media
            .map(|m| {
                assert_eq!(m.port == 0, m.bundle_only());
                !m.bundle_only()
            })
            .collect::<Vec<_>>()
    };
    assert_eq!(alone(BundlePolicy::Balanced), [true, true, false, true]);
    assert_eq!(alone(BundlePolicy::MaxCompat), [true; 4]);
    assert_eq!(alone(BundlePolicy::MaxBundle), [true, false, false, false]);
}

#[test]
fn what_is_not_bundled_is_refused() {
    let (mut alice, mut bob) = media_pair();
    alice.add_track(MediaKind::Audio, Vec::new()).unwrap();
    alice.request_data().unwrap();
    alice.set_local(None).unwrap();
    let offer = alice.local_description().unwrap().sdp;
    let apart = offer.replace("a=group:BUNDLE 0 1", "a=group:BUNDLE 0");
    bob.set_remote(SessionDescription::offer(apart)).unwrap();
    bob.set_local(None).unwrap();
    assert_eq!(ports(&local_sdp(&bob)), [("audio", 0), ("application", 9)]);
    let (_, mut carol) = media_pair();
    carol
        .set_remote(alice.local_description().unwrap())
        .unwrap();
    carol.set_local(None).unwrap();
    let answer = carol.local_description().unwrap().sdp;
    for (from, to) in [
        ("a=group:BUNDLE 0 1", "a=group:BUNDLE 0"),
        ("a=rtcp-mux\r\n", ""),
        ("opus/48000", "spou/48000"),
    ] {
        let only_opus = answer.replace("PCMU/", "XXXX/").replace("PCMA/", "YYYY/");
        let bad = only_opus.replace(from, to);
        assert_ne!(bad, only_opus);
        let error = alice.set_remote(SessionDescription::answer(bad));
        assert_eq!(name(&error.unwrap_err()), "InvalidAccessError", "{from}");
    }
    alice
        .set_remote(SessionDescription::answer(answer))
        .unwrap();
}

#[test]
fn a_rollback_takes_back_what_the_peers_offer_made() {
    let (mut alice, mut bob) = media_pair();
    alice.add_track(MediaKind::Audio, streams(&["s"])).unwrap();
    alice.add_track(MediaKind::Video, Vec::new()).unwrap();
    alice.set_local(None).unwrap();
    let offer = alice.local_description().unwrap();
    let own = bob.add_transceiver(MediaKind::Audio, TransceiverInit::default());
    let own = own.unwrap();
    effects(&mut bob);
    bob.set_remote(offer.clone()).unwrap();
    let made = added(&effects(&mut bob));
    assert_eq!(
        made.len(),
        2,
        "what add_transceiver made takes no offered section"
    );
    bob.add_track(MediaKind::Audio, Vec::new()).unwrap();
    bob.set_direction(made[0], Direction::Inactive).unwrap();
    bob.set_remote(SessionDescription::rollback()).unwrap();
    let got = effects(&mut bob);
    let gone = |id| Effect::TransceiverRemoved { transceiver: id };
    let ended = |id| Effect::RemoteTrackEnded { transceiver: id };
    assert!(
        got.contains(&gone(made[0])) && got.contains(&ended(made[0])),
        "{got:?}"
    );
    assert!(
        got.contains(&gone(made[1])) && got.contains(&ended(made[1])),
        "{got:?}"
    );
    let left: Vec<_> = bob.transceivers().map(|t| (t.id(), t.mid())).collect();
    assert_eq!(left, [(own, None)]);

    bob.stop(own).unwrap();
    bob.set_remote(offer).unwrap();
    let made = added(&effects(&mut bob));
    assert_eq!(bob.add_track(MediaKind::Video, Vec::new()), Ok(made[1]));
    bob.set_remote(SessionDescription::rollback()).unwrap();
    let left: Vec<_> = bob.transceivers().map(|t| (t.id(), t.mid())).collect();
    assert_eq!(left, [(made[1], None)], "the application has taken it");
    assert!(bob.negotiation_needed());
}

#[test]
fn crossing_offers_end_in_agreement() {
    let (mut polite, mut impolite) = media_pair();
    polite.add_track(MediaKind::Video, Vec::new()).unwrap();
    impolite.add_track(MediaKind::Audio, Vec::new()).unwrap();
    polite.set_local(None).unwrap();
    impolite.set_local(None).unwrap();
    assert_eq!(polite.transceivers().next().unwrap().mid(), Some("0"));
    polite
        .set_remote(impolite.local_description().unwrap())
        .unwrap();
    assert_eq!(polite.transceivers().next().unwrap().mid(), None);
    polite.set_local(None).unwrap();
    impolite
        .set_remote(polite.local_description().unwrap())
        .unwrap();
    assert!(polite.negotiation_needed());
    connect(&mut polite, &mut impolite, OfferOptions::default());
    let kinds = |session: &Session| -> Vec<_> {
        let sdp = local_sdp(session);
        sdp.media.iter().map(|m| m.kind.clone()).collect()
    };
    assert_eq!(kinds(&polite), ["audio", "video"]);
    assert_eq!(kinds(&impolite), ["audio", "video"]);
    assert!(!polite.negotiation_needed() && !impolite.negotiation_needed());
}

#[test]
fn a_replaced_offer_leaves_nothing_behind() {
    let (mut alice, mut bob) = media_pair();
    alice.request_data().unwrap();
    alice.set_local(None).unwrap();
    let small = alice.local_description().unwrap();
    alice.add_track(MediaKind::Audio, Vec::new()).unwrap();
    alice.set_local(None).unwrap();
    bob.set_remote(alice.local_description().unwrap()).unwrap();
    assert_eq!(bob.transceivers().count(), 1);
    bob.set_remote(small).unwrap();
    assert_eq!(bob.transceivers().count(), 0);
}

#[test]
fn a_restart_gives_every_section_the_new_credentials() {
    let (mut alice, mut bob) = media_pair();
    alice.add_track(MediaKind::Audio, Vec::new()).unwrap();
    alice.request_data().unwrap();
    connect(&mut alice, &mut bob, OfferOptions::default());
    effects(&mut bob);
    let before = alice.negotiated().unwrap().ice.local.ufrag.clone();
    alice.restart_ice();
    connect(&mut alice, &mut bob, OfferOptions::default());
    let text = alice.local_description().unwrap().sdp;
    assert!(!text.contains(&before));
    let ufrag = &alice.negotiated().unwrap().ice.local.ufrag;
    assert_eq!(text.matches(ufrag.as_str()).count(), 2);
    let got = effects(&mut bob);
    assert!(got.iter().any(|e| matches!(e, Effect::RestartIce(_))));
    assert_eq!(media(&got), [], "nothing changed there");
}
