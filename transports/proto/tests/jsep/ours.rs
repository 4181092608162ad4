//! Offers of ours, and what browsers and aiortc answered to them.

use peerloom_transports_proto::jsep::{
    BundlePolicy, Effect, Encoding, SdpType, Session, SessionDescription, SignalingState,
    TransceiverInit,
};
use peerloom_transports_proto::sdp::{Direction, MediaKind, Sdp};

use crate::captured;
use crate::util::{effects, host, with_media};

/// The offers, by the name that the fixtures have.
fn offerers() -> Vec<(&'static str, Session)> {
    let all = [
        ("balanced", BundlePolicy::Balanced),
        ("max-compat", BundlePolicy::MaxCompat),
        ("max-bundle", BundlePolicy::MaxBundle),
    ];
    let mut offerers: Vec<_> = all
        .into_iter()
        .map(|(name, policy)| (name, audio_video_data(policy)))
        .collect();
    offerers.push(("simulcast", simulcast()));
    offerers
}

fn audio_video_data(policy: BundlePolicy) -> Session {
    let mut session = with_media(1, policy);
    for kind in [MediaKind::Audio, MediaKind::Video, MediaKind::Video] {
        session.add_track(kind, vec!["stream".to_owned()]).unwrap();
    }
    session.request_data().unwrap();
    session
}

fn simulcast() -> Session {
    let mut session = with_media(1, BundlePolicy::Balanced);
    let init = TransceiverInit {
        send_encodings: ["h", "m", "l"].map(Encoding::named).to_vec(),
        ..TransceiverInit::default()
    };
    session.add_transceiver(MediaKind::Video, init).unwrap();
    session
}

/// The offer, set and with a candidate.
fn offer(session: &mut Session) -> String {
    session.set_local(None).unwrap();
    for effect in effects(session) {
        if let Effect::Gather(gather) = effect {
            let ufrag = gather.credentials.ufrag;
            session.add_local_candidate(&ufrag, host(5000)).unwrap();
        }
    }
    session.local_description().unwrap().sdp
}

#[test]
#[ignore = "writes our offers for tests/fixtures/capture"]
fn write_offers() {
    let folder = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join("offers");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, mut session) in offerers() {
        let path = folder.join(format!("to-ours-{name}-answer.sdp"));
        std::fs::write(path, offer(&mut session)).unwrap();
    }
}

#[test]
fn others_accept_all_that_we_offer() {
    let mut taken = 0;
    for who in ["chromium-156", "firefox-153", "aiortc-1.16.0"] {
        for (name, mut session) in offerers() {
            let name = format!("{who}-to-ours-{name}-answer");
            let Some(answer) = captured::all().into_iter().find(|f| f.name == name) else {
                continue;
            };
            offer(&mut session);
            session
                .set_remote(SessionDescription::answer(answer.text))
                .unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!(session.signaling_state(), SignalingState::Stable);
            for t in session.transceivers() {
                assert_eq!(t.current_direction(), Some(Direction::SendRecv), "{name}");
                let codecs = &t.negotiated().unwrap().send;
                assert!(codecs.iter().any(|c| c.is("opus") || c.is("VP8")), "{name}");
            }
            taken += 1;
        }
    }
    assert_eq!(taken, 12, "answers are missing");
}

/// An offer with the sections of `answer`, if such a one can be made at once.
fn offerer_for(answer: &Sdp) -> Option<Session> {
    let mut session = with_media(1, BundlePolicy::MaxCompat);
    for (index, section) in answer.media.iter().enumerate() {
        let last = index + 1 == answer.media.len();
        match section.media_kind() {
            Some(kind) => {
                let made = session.add_transceiver(kind, TransceiverInit::default());
                made.unwrap();
            }
            None if last => session.request_data().unwrap(),
            None => return None,
        }
        if section.mid() != Some(index.to_string().as_str()) {
            return None;
        }
    }
    Some(session)
}

#[test]
fn the_answers_that_others_gave_each_other_fit_our_offers_too() {
    let mut taken = 0;
    for fixture in captured::all().iter().filter(|f| f.kind == SdpType::Answer) {
        let (name, answer) = (&fixture.name, fixture.sdp());
        let Some(mut session) = offerer_for(&answer) else {
            continue;
        };
        offer(&mut session);
        session
            .set_remote(SessionDescription::answer(fixture.text.clone()))
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let accepted = answer.media.iter().filter(|m| answer.is_active(m));
        let media = accepted.filter(|m| m.media_kind().is_some()).count();
        assert_eq!(session.transceivers().count(), media, "{name}");
        for t in session.transceivers() {
            let index = t.mline_index().unwrap();
            let said = answer.direction(&answer.media[index]).reversed();
            assert_eq!(t.current_direction(), Some(said), "{name}");
        }
        taken += 1;
    }
    assert!(taken >= 30, "only {taken} could be tried");
}
