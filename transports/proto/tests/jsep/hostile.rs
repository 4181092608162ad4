//! Descriptions that were tampered with, line by line: refused with a name or taken, and whatever
//! was taken can be answered and offered again.

use peerloom_transports_proto::jsep::{
    BundlePolicy, OfferOptions, Session, SessionDescription, SignalingState, TransceiverInit,
};
use peerloom_transports_proto::sdp::{MediaKind, Sdp};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::captured::{self, Fixture};
use crate::util::{effects, name, with_media};

#[derive(Debug, Clone)]
enum Tamper {
    Remove(Index),
    Repeat(Index, Index),
    Swap(Index, Index),
    /// A number in the line becomes another one.
    Number(Index, u16),
    /// A word in the line comes from another line.
    Word(Index, Index),
}

fn tamper() -> impl Strategy<Value = Tamper> {
    let index = any::<Index>;
    prop_oneof![
        index().prop_map(Tamper::Remove),
        (index(), index()).prop_map(|(at, to)| Tamper::Repeat(at, to)),
        (index(), index()).prop_map(|(one, other)| Tamper::Swap(one, other)),
        (index(), any::<u16>()).prop_map(|(at, number)| Tamper::Number(at, number)),
        (index(), index()).prop_map(|(at, from)| Tamper::Word(at, from)),
    ]
}

fn apply(lines: &mut Vec<String>, tamper: &Tamper) {
    let len = lines.len();
    match tamper {
        Tamper::Remove(at) => {
            lines.remove(at.index(len));
        }
        Tamper::Repeat(at, to) => {
            let line = lines[at.index(len)].clone();
            lines.insert(to.index(len), line);
        }
        Tamper::Swap(one, other) => lines.swap(one.index(len), other.index(len)),
        Tamper::Number(at, number) => {
            let line = &mut lines[at.index(len)];
            let digits = |c: char| c.is_ascii_digit();
            if let Some(start) = line.rfind(|c: char| !digits(c)).map(|at| at + 1) {
                line.truncate(start);
                line.push_str(&number.to_string());
            }
        }
        Tamper::Word(at, from) => {
            let from = lines[from.index(len)].clone();
            let word = from.rsplit([' ', ':']).next().unwrap_or_default();
            let line = &mut lines[at.index(len)];
            if let Some(start) = line.rfind([' ', ':']) {
                line.truncate(start + 1);
                line.push_str(word);
            }
        }
    }
}

fn tampered(fixture: &Fixture, all: &[Tamper]) -> String {
    let mut lines: Vec<String> = fixture.text.lines().map(str::to_owned).collect();
    for one in all {
        apply(&mut lines, one);
    }
    lines.iter().map(|line| format!("{line}\r\n")).collect()
}

/// After whatever happened, the session can still offer, and what it says is SDP.
fn check_usable(session: &mut Session) {
    effects(session);
    if session.signaling_state() == SignalingState::HaveRemoteOffer {
        session.set_local(None).unwrap();
        let answer = session.local_description().unwrap().sdp;
        assert_eq!(Sdp::parse(&answer).unwrap().to_string(), answer);
    }
    if session.signaling_state() == SignalingState::Stable {
        let offer = session.create_offer(OfferOptions::default()).unwrap().sdp;
        assert_eq!(Sdp::parse(&offer).unwrap().to_string(), offer);
    }
}

fn offerer() -> Session {
    let mut session = with_media(1, BundlePolicy::Balanced);
    for kind in [MediaKind::Audio, MediaKind::Video, MediaKind::Video] {
        let init = TransceiverInit::default();
        session.add_transceiver(kind, init).unwrap();
    }
    session.request_data().unwrap();
    session.set_local(None).unwrap();
    session
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tampered_offers_are_refused_or_answered(which in any::<Index>(), how in vec(tamper(), 1..12)) {
        let fixtures = captured::all();
        let text = tampered(&fixtures[which.index(fixtures.len())], &how);
        let mut bob = with_media(2, BundlePolicy::Balanced);
        bob.add_track(MediaKind::Video, Vec::new()).unwrap();
        match bob.set_remote(SessionDescription::offer(text)) {
            Ok(()) => {}
            Err(error) => prop_assert!(matches!(name(&error), "InvalidAccessError" | "RTCError")),
        }
        check_usable(&mut bob);
    }

    #[test]
    fn tampered_answers_are_refused_or_taken(which in any::<Index>(), how in vec(tamper(), 0..12)) {
        let mut fixtures = captured::all();
        fixtures.retain(|f| f.name.contains("to-ours-") && !f.name.contains("simulcast"));
        let text = tampered(&fixtures[which.index(fixtures.len())], &how);
        let mut alice = offerer();
        match alice.set_remote(SessionDescription::answer(text)) {
            Ok(()) => prop_assert_eq!(alice.signaling_state(), SignalingState::Stable),
            Err(error) => {
                prop_assert!(matches!(name(&error), "InvalidAccessError" | "RTCError"));
                prop_assert_eq!(alice.signaling_state(), SignalingState::HaveLocalOffer);
            }
        }
        check_usable(&mut alice);
    }
}
