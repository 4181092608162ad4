//! Descriptions in the form in which other stacks write them. Those called "captured" were made by
//! Chromium 156 and aiortc 1.16.0; the answers among them answer offers of ours.

use peerloom_transports_proto::candidate::{Address, Protocol};
use peerloom_transports_proto::certificate::HashFunction;
use peerloom_transports_proto::id::{DtlsRole, IceRole};
use peerloom_transports_proto::jsep::{
    Effect, MAX_REMOTE_CANDIDATES, Negotiated, SessionDescription, SignalingState,
};
use peerloom_transports_proto::sdp::{Attribute, Sdp, Setup};

use crate::util::{effects, name, session};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!("../fixtures/sdp/", $name, ".sdp"))
    };
}

/// Every fixture with its name.
pub(crate) const ALL: &[(&str, &str)] = &[
    ("chromium-data-offer", fixture!("chromium-data-offer")),
    ("chromium-data-answer", fixture!("chromium-data-answer")),
    ("chromium-media-offer", fixture!("chromium-media-offer")),
    (
        "chromium-max-bundle-offer",
        fixture!("chromium-max-bundle-offer"),
    ),
    ("firefox-data-offer", fixture!("firefox-data-offer")),
    ("firefox-data-answer", fixture!("firefox-data-answer")),
    ("old-aiortc-data-offer", fixture!("old-aiortc-data-offer")),
    ("aiortc-data-answer", fixture!("aiortc-data-answer")),
    ("webrtc-rs-data-offer", fixture!("webrtc-rs-data-offer")),
    ("str0m-data-offer", fixture!("str0m-data-offer")),
    (
        "captured-chromium-data-offer",
        fixture!("captured-chromium-data-offer"),
    ),
    (
        "captured-chromium-data-answer",
        fixture!("captured-chromium-data-answer"),
    ),
    (
        "captured-chromium-media-offer",
        fixture!("captured-chromium-media-offer"),
    ),
    (
        "captured-chromium-media-again-offer",
        fixture!("captured-chromium-media-again-offer"),
    ),
    (
        "captured-chromium-max-bundle-offer",
        fixture!("captured-chromium-max-bundle-offer"),
    ),
    (
        "captured-chromium-max-compat-offer",
        fixture!("captured-chromium-max-compat-offer"),
    ),
    (
        "captured-chromium-restart-offer",
        fixture!("captured-chromium-restart-offer"),
    ),
    (
        "captured-chromium-restart-answer",
        fixture!("captured-chromium-restart-answer"),
    ),
    (
        "captured-aiortc-data-offer",
        fixture!("captured-aiortc-data-offer"),
    ),
    (
        "captured-aiortc-data-answer",
        fixture!("captured-aiortc-data-answer"),
    ),
];

/// As it travels: lines end with CRLF.
pub(crate) fn text(name: &str) -> String {
    let (_, text) = ALL.iter().find(|(n, _)| *n == name).unwrap();
    text.replace('\n', "\r\n")
}

struct Answered {
    answer: Sdp,
    negotiated: Negotiated,
    effects: Vec<Effect>,
}

fn answer(name: &str) -> Answered {
    let mut bob = session(2);
    bob.set_remote(SessionDescription::offer(text(name)))
        .unwrap();
    bob.set_local(None).unwrap();
    assert_eq!(bob.signaling_state(), SignalingState::Stable);
    let answer = Sdp::parse(&bob.local_description().unwrap().sdp).unwrap();
    let negotiated = bob.negotiated().unwrap().clone();
    Answered {
        answer,
        negotiated,
        effects: effects(&mut bob),
    }
}

fn accept(name: &str) -> (Negotiated, Vec<Effect>) {
    let mut alice = session(1);
    alice.request_data().unwrap();
    alice.set_local(None).unwrap();
    alice
        .set_remote(SessionDescription::answer(text(name)))
        .unwrap();
    (alice.negotiated().unwrap().clone(), effects(&mut alice))
}

fn candidates(effects: &[Effect]) -> Vec<(Protocol, Address)> {
    let found = effects.iter().filter_map(|e| match e {
        Effect::AddRemoteCandidate { candidate } => {
            Some((candidate.protocol, candidate.address.clone()))
        }
        _ => None,
    });
    found.collect()
}

fn ip(text: &str) -> Address {
    Address::Ip(text.parse().unwrap())
}

#[test]
fn all_round_trip_to_the_letter() {
    for (name, _) in ALL {
        let text = text(name);
        let sdp = Sdp::parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(sdp.to_string(), text, "{name}");
        assert_eq!(
            Sdp::parse(&text.replace("\r\n", "\n")),
            Ok(sdp),
            "{name} with bare LF"
        );
    }
}

#[test]
fn chromium_offer_is_answered() {
    let Answered {
        answer,
        negotiated,
        effects,
    } = answer("chromium-data-offer");
    assert_eq!(negotiated.ice.role, IceRole::Controlled);
    assert_eq!(negotiated.ice.remote.ufrag, "Hx4Q");
    assert!(negotiated.ice.remote_trickle && !negotiated.ice.remote_lite);
    assert_eq!(negotiated.dtls.role, DtlsRole::Client);
    assert_eq!(
        negotiated.sctp.as_ref().unwrap().remote_max_message_size,
        Some(262_144)
    );
    assert_eq!(
        (
            negotiated.mline_index,
            negotiated.sctp.as_ref().unwrap().peerloom.clone()
        ),
        (0, None)
    );
    let [name, udp, tcp] = candidates(&effects).try_into().unwrap();
    assert!(matches!(name, (Protocol::Udp, Address::Name(n)) if n.ends_with(".local")));
    assert_eq!(udp, (Protocol::Udp, ip("192.168.0.196")));
    assert_eq!(tcp.0, Protocol::Tcp);
    assert!(!effects.contains(&Effect::RemoteCandidatesComplete));
    assert_eq!(answer.bundles().next().unwrap(), ["0"]);
    let section = &answer.media[0];
    assert_eq!((section.port, section.mid()), (9, Some("0")));
    assert!(
        section
            .attributes
            .contains(&Attribute::Setup(Setup::Active))
    );
    assert_eq!(section.formats, ["webrtc-datachannel"]);
}

#[test]
fn chromium_and_firefox_answers_make_us_the_dtls_server() {
    for (name, size) in [
        ("chromium-data-answer", 262_144),
        ("firefox-data-answer", 1_073_741_823),
    ] {
        let (negotiated, effects) = accept(name);
        assert_eq!(negotiated.dtls.role, DtlsRole::Server, "{name}");
        assert_eq!(negotiated.ice.role, IceRole::Controlling, "{name}");
        assert_eq!(
            negotiated.sctp.as_ref().unwrap().remote_max_message_size,
            Some(size),
            "{name}"
        );
        let identified = effects
            .iter()
            .any(|e| matches!(e, Effect::RemoteIdentity(_)));
        assert_eq!(identified, name.starts_with("firefox"), "{name}");
    }
}

#[test]
fn audio_and_video_are_refused_in_their_places() {
    let Answered {
        answer,
        negotiated,
        effects,
    } = answer("chromium-media-offer");
    let ports: Vec<_> = answer
        .media
        .iter()
        .map(|m| (m.kind.as_str(), m.port))
        .collect();
    assert_eq!(ports, [("audio", 0), ("video", 0), ("application", 9)]);
    let mids: Vec<_> = answer.media.iter().map(|m| m.mid()).collect();
    assert_eq!(mids, [Some("0"), Some("1"), Some("2")]);
    assert_eq!(
        answer.bundles().next().unwrap(),
        ["2"],
        "refused sections are not bundled"
    );
    assert_eq!(
        (negotiated.mid.as_deref(), negotiated.mline_index),
        (Some("2"), 2)
    );
    assert_eq!(
        candidates(&effects),
        [(Protocol::Udp, ip("192.168.0.196"))],
        "those of the bundle"
    );
}

#[test]
fn refused_sections_stay_in_later_offers() {
    let mut bob = session(2);
    bob.set_remote(SessionDescription::offer(text("chromium-media-offer")))
        .unwrap();
    bob.set_local(None).unwrap();
    let offer = Sdp::parse(&bob.create_offer(Default::default()).unwrap().sdp).unwrap();
    let ports: Vec<_> = offer
        .media
        .iter()
        .map(|m| (m.kind.as_str(), m.port))
        .collect();
    assert_eq!(ports, [("audio", 0), ("video", 0), ("application", 9)]);
    assert_eq!(offer.bundles().next().unwrap(), ["2"]);
}

#[test]
fn a_bundle_only_section_takes_its_transport_from_the_bundle() {
    let Answered {
        answer, negotiated, ..
    } = answer("chromium-max-bundle-offer");
    assert_eq!(negotiated.ice.remote.ufrag, "k9Fe");
    assert_eq!(negotiated.dtls.fingerprints.len(), 1);
    assert_eq!(answer.media[1].port, 9);
    assert_eq!(answer.bundles().next().unwrap(), ["data"]);
}

#[test]
fn firefox_offer_is_answered() {
    let Answered {
        negotiated,
        effects,
        ..
    } = answer("firefox-data-offer");
    assert_eq!(
        negotiated.dtls.fingerprints.len(),
        1,
        "from the session level"
    );
    assert!(negotiated.ice.remote_trickle, "from the session level");
    assert_eq!(
        negotiated.sctp.as_ref().unwrap().remote_max_message_size,
        Some(1_073_741_823)
    );
    assert_eq!(candidates(&effects).len(), 2);
    assert!(effects.contains(&Effect::RemoteCandidatesComplete));
}

#[test]
fn the_old_form_is_answered_in_the_old_form() {
    let Answered {
        answer,
        negotiated,
        effects,
    } = answer("old-aiortc-data-offer");
    assert_eq!(
        negotiated.sctp.as_ref().unwrap().remote_max_message_size,
        Some(65_536)
    );
    assert!(!negotiated.ice.remote_trickle);
    assert_eq!(candidates(&effects).len(), 2);
    let section = &answer.media[0];
    assert_eq!(
        (section.protocol.as_str(), section.legacy_port()),
        ("DTLS/SCTP", Some(5000))
    );
}

#[test]
fn aiortc_answer_is_taken() {
    let (negotiated, effects) = accept("aiortc-data-answer");
    let hashes: Vec<_> = negotiated
        .dtls
        .fingerprints
        .iter()
        .map(|f| f.hash)
        .collect();
    assert_eq!(hashes, [HashFunction::Sha256, HashFunction::Sha384]);
    assert_eq!(candidates(&effects).len(), 2);
    assert!(effects.contains(&Effect::RemoteCandidatesComplete));
}

#[test]
fn webrtc_rs_and_str0m_offers_are_answered() {
    let Answered {
        negotiated,
        effects,
        ..
    } = answer("webrtc-rs-data-offer");
    assert_eq!(
        candidates(&effects).len(),
        1,
        "the RTCP component has no use"
    );
    assert_eq!(
        negotiated.sctp.as_ref().unwrap().remote_max_message_size,
        Some(65_536),
        "when nothing is said"
    );
    let Answered {
        answer, negotiated, ..
    } = answer("str0m-data-offer");
    assert_eq!(
        negotiated.ice.remote.ufrag, "2Rfn",
        "from the session level"
    );
    assert_eq!(answer.media[0].mid(), Some("Fk3"));
}

#[test]
fn what_cannot_work_is_refused_with_the_reason() {
    let good = text("chromium-data-offer");
    let cases = [
        ("a=ice-ufrag:Hx4Q\r\n", "", "a=ice-ufrag"),
        (
            "a=ice-pwd:ZQ7e7T1YhP0bnzxy8wCkE5aV",
            "a=ice-pwd:short",
            "password",
        ),
        (
            "a=fingerprint:sha-256",
            "a=fingerprint:sha-0",
            "a=fingerprint",
        ),
        ("a=setup:actpass", "a=setup:holdconn", "holdconn"),
        ("a=group:BUNDLE 0", "a=group:BUNDLE 0 7", "BUNDLE"),
        ("a=sctp-port:5000", "a=sctp-port:5001", "sctp-port"),
        (
            "a=max-message-size:262144\r\n",
            "m=audio 9 X 0\r\na=mid:0\r\n",
            "a=mid:0",
        ),
    ];
    for (from, to, says) in cases {
        let mut bob = session(2);
        let offer = good.replace(from, to);
        assert_ne!(offer, good);
        let error = bob
            .set_remote(SessionDescription::offer(offer))
            .unwrap_err();
        assert_eq!(name(&error), "InvalidAccessError", "{error}");
        assert!(error.cause().contains(says), "{error}");
        assert_eq!(effects(&mut bob), []);
    }
    let mut alice = session(1);
    alice.request_data().unwrap();
    alice.set_local(None).unwrap();
    let undecided = text("chromium-data-answer").replace("setup:active", "setup:actpass");
    let error = alice
        .set_remote(SessionDescription::answer(undecided))
        .unwrap_err();
    assert_eq!(name(&error), "InvalidAccessError");
    let other = SessionDescription::answer(text("chromium-media-offer"));
    assert_eq!(
        name(&alice.set_remote(other).unwrap_err()),
        "InvalidAccessError"
    );
}

#[test]
fn fingerprints_and_candidates_are_bounded() {
    let good = text("chromium-data-offer");
    let line = good
        .lines()
        .find(|l| l.starts_with("a=fingerprint"))
        .unwrap();
    let many = good.replace(line, &[line; 1000].join("\r\n"));
    let error = session(2)
        .set_remote(SessionDescription::offer(many))
        .unwrap_err();
    assert_eq!(name(&error), "InvalidAccessError");
    let lines: String = (0..2000)
        .map(|n| {
            format!(
                "a=candidate:1 1 udp {n} 192.0.2.1 {} typ host\r\n",
                1000 + n
            )
        })
        .collect();
    let mut bob = session(2);
    bob.set_remote(SessionDescription::offer(format!("{good}{lines}")))
        .unwrap();
    bob.set_local(None).unwrap();
    assert_eq!(candidates(&effects(&mut bob)).len(), MAX_REMOTE_CANDIDATES);
}

#[test]
fn a_lite_peer_is_controlled() {
    let lite = text("chromium-data-offer").replace("a=extmap-allow-mixed", "a=ice-lite");
    let mut bob = session(2);
    bob.set_remote(SessionDescription::offer(lite)).unwrap();
    bob.set_local(None).unwrap();
    let ice = &bob.negotiated().unwrap().ice;
    assert_eq!((ice.role, ice.remote_lite), (IceRole::Controlling, true));
}

#[test]
fn captured_offers_are_answered_and_captured_answers_taken() {
    let captured = ALL
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| name.starts_with("captured"));
    for name in captured {
        let effects = if name.ends_with("offer") {
            let Answered {
                answer,
                negotiated,
                effects,
            } = answer(name);
            let refused = answer.media.iter().filter(|media| media.port == 0).count();
            assert_eq!(refused, answer.media.len() - 1, "{name}: all but the data");
            assert_eq!(usize::from(negotiated.mline_index), refused, "{name}");
            assert_eq!(negotiated.dtls.role, DtlsRole::Client, "{name}");
            effects
        } else {
            let (negotiated, effects) = accept(name);
            assert_eq!(negotiated.dtls.role, DtlsRole::Server, "{name}");
            effects
        };
        if !name.contains("restart") {
            assert!(candidates(&effects).len() >= 2, "{name}");
        }
    }
}

#[test]
fn a_captured_restart_restarts() {
    let mut bob = session(2);
    let first = text("captured-chromium-restart-offer");
    let first = first.replace("a=ice-ufrag:", "a=ice-ufrag:before");
    bob.set_remote(SessionDescription::offer(first)).unwrap();
    bob.set_local(None).unwrap();
    effects(&mut bob);
    let restart = text("captured-chromium-restart-offer");
    bob.set_remote(SessionDescription::offer(restart)).unwrap();
    bob.set_local(None).unwrap();
    let all = effects(&mut bob);
    assert!(
        all.iter().any(|e| matches!(e, Effect::RestartIce(_))),
        "{all:?}"
    );
}
