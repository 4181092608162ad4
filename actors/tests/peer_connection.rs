//! `RTCPeerConnection`: methods, their errors by name, descriptions, states and close.

mod common;

use common::{Pair, channel, endpoint, runtime, soon};
use futures::StreamExt as _;
use peerloom_actors::{
    Configuration, ConnectionState, Error, IceCandidateInit, IceConnectionState, OfferOptions,
    PeerConnection, ReadyState, SdpType, SessionDescription, SignalingState,
};

async fn two(runtime: &peerloom_actors::Runtime) -> (PeerConnection, PeerConnection) {
    let endpoint = endpoint(runtime).await;
    let new = || PeerConnection::new(&endpoint, Configuration::default());
    let (a, b) = (new().await, new().await);
    (a.expect("a connection"), b.expect("a connection"))
}

fn name<T>(result: Result<T, Error>) -> &'static str {
    result.err().map_or("no error", |error| error.name())
}

async fn offer(pc: &PeerConnection) -> SessionDescription {
    pc.create_offer(OfferOptions::default())
        .await
        .expect("an offer")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_connection_has_its_initial_states() {
    let (pc, _) = two(&runtime(1)).await;
    assert_eq!(pc.signaling_state().name(), "stable");
    assert_eq!(pc.connection_state().name(), "new");
    assert_eq!(pc.ice_connection_state().name(), "new");
    assert_eq!(pc.ice_gathering_state().name(), "new");
    assert_eq!(pc.can_trickle_ice_candidates(), None);
    assert_eq!(descriptions(&pc), [""; 6]);
    assert!(pc.sctp().is_none());
}

/// The `o=` lines, which tell session and version, of `localDescription`, the pending and the
/// current one, and the same of the remote ones.
fn descriptions(pc: &PeerConnection) -> [String; 6] {
    [
        pc.local_description(),
        pc.pending_local_description(),
        pc.current_local_description(),
        pc.remote_description(),
        pc.pending_remote_description(),
        pc.current_remote_description(),
    ]
    .map(|description| description.as_ref().map(origin).unwrap_or_default())
}

fn origin(description: &SessionDescription) -> String {
    let line = description.sdp.lines().find(|line| line.starts_with("o="));
    line.expect("SDP").to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pending_descriptions_come_before_current_ones() {
    let (a, b) = two(&runtime(1)).await;
    channel(&a, "x").await;
    let first = offer(&a).await;
    assert_eq!(descriptions(&a), [""; 6], "created is not set");
    a.set_local_description(Some(first.clone()))
        .await
        .expect("ours");
    let offered = &*origin(&first);
    assert_eq!(descriptions(&a), [offered, offered, "", "", "", ""]);
    b.set_remote_description(first).await.expect("an offer");
    assert_eq!(descriptions(&b), ["", "", "", offered, offered, ""]);
    let answer = b.create_answer().await.expect("an answer");
    let answered = &*origin(&answer);
    b.set_local_description(Some(answer.clone()))
        .await
        .expect("ours");
    let at_b = [answered, "", answered, offered, "", offered];
    assert_eq!(descriptions(&b), at_b);
    a.set_remote_description(answer).await.expect("an answer");
    let at_a = [offered, "", offered, answered, "", answered];
    assert_eq!(descriptions(&a), at_a);

    let second = offer(&a).await;
    let again = &*origin(&second);
    a.set_local_description(Some(second.clone()))
        .await
        .expect("ours");
    let at_a = [again, again, offered, answered, "", answered];
    assert_eq!(descriptions(&a), at_a);
    b.set_remote_description(second).await.expect("an offer");
    let at_b = [answered, "", answered, again, again, offered];
    assert_eq!(descriptions(&b), at_b);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn descriptions_are_pending_and_then_current() {
    let (a, b) = two(&runtime(1)).await;
    channel(&a, "x").await;
    let offer = offer(&a).await;
    assert_eq!(offer.kind, SdpType::Offer);
    assert_eq!(a.local_description(), None, "created is not set");
    a.set_local_description(Some(offer.clone()))
        .await
        .expect("ours");
    assert_eq!(a.signaling_state(), SignalingState::HaveLocalOffer);
    let kind = |d: Option<SessionDescription>| d.map(|d| d.kind);
    assert_eq!(kind(a.pending_local_description()), Some(SdpType::Offer));
    assert_eq!(kind(a.current_local_description()), None);

    b.set_remote_description(offer).await.expect("an offer");
    assert_eq!(b.signaling_state(), SignalingState::HaveRemoteOffer);
    assert_eq!(kind(b.pending_remote_description()), Some(SdpType::Offer));
    assert_eq!(b.can_trickle_ice_candidates(), Some(true));
    b.set_local_description(None).await.expect("an answer");
    let answer = b.local_description().expect("the implicit answer");
    assert_eq!(answer.kind, SdpType::Answer);
    a.set_remote_description(answer).await.expect("an answer");
    for pc in [&a, &b] {
        assert_eq!(pc.signaling_state(), SignalingState::Stable);
        assert_eq!(pc.pending_local_description(), None);
        assert_eq!(pc.pending_remote_description(), None);
    }
    assert_eq!(kind(a.current_local_description()), Some(SdpType::Offer));
    assert_eq!(kind(a.current_remote_description()), Some(SdpType::Answer));
    assert_eq!(kind(b.current_local_description()), Some(SdpType::Answer));
    assert_eq!(kind(b.remote_description()), Some(SdpType::Offer));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_cannot_trickle_is_known_by_its_description() {
    let (a, b) = two(&runtime(1)).await;
    channel(&a, "x").await;
    let mut offer = offer(&a).await;
    assert!(offer.sdp.contains("a=ice-options:trickle"), "{}", offer.sdp);
    let kept = |line: &&str| !line.starts_with("a=ice-options:");
    let lines = offer.sdp.split_terminator("\r\n").filter(kept);
    offer.sdp = lines.map(|line| format!("{line}\r\n")).collect();
    assert_eq!(b.can_trickle_ice_candidates(), None);
    b.set_remote_description(offer).await.expect("an offer");
    assert_eq!(b.can_trickle_ice_candidates(), Some(false));
    let rollback = SessionDescription::rollback();
    b.set_remote_description(rollback)
        .await
        .expect("taken back");
    assert_eq!(b.can_trickle_ice_candidates(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_do_not_fit_the_state_are_refused_by_name() {
    let (a, b) = two(&runtime(1)).await;
    assert_eq!(name(a.create_answer().await), "InvalidStateError");
    let foreign = SessionDescription::answer("v=0\r\n");
    let set = a.set_remote_description(foreign).await;
    assert_eq!(name(set), "InvalidStateError");
    let nonsense = a.set_remote_description(SessionDescription::offer("nonsense"));
    let error = nonsense.await.expect_err("no SDP");
    assert_eq!(
        (error.name(), error.sdp_line_number()),
        ("RTCError", Some(1))
    );
    let third = "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\nnonsense\r\n";
    let set = b.set_remote_description(SessionDescription::offer(third));
    let error = set.await.expect_err("no SDP");
    assert_eq!(error.sdp_line_number(), Some(3));
    let detail = error.error_detail().map(|detail| detail.name());
    assert_eq!(detail, Some("sdp-syntax-error"));
    channel(&a, "x").await;
    let mut edited = offer(&a).await;
    edited.sdp.push_str("a=edited\r\n");
    let set = a.set_local_description(Some(edited)).await;
    assert_eq!(name(set), "InvalidModificationError");
    b.set_remote_description(offer(&a).await)
        .await
        .expect("an offer");
    let ours = SessionDescription::offer("");
    let set = b.set_local_description(Some(ours)).await;
    assert_eq!(name(set), "InvalidStateError");
    assert_eq!(b.signaling_state(), SignalingState::HaveRemoteOffer);
    let made = b.create_offer(OfferOptions::default()).await;
    let error = made.expect_err("the peer's comes first");
    assert_eq!(error.name(), "InvalidStateError");
    assert_eq!(
        (error.sdp_line_number(), error.error_detail()),
        (None, None)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_do_not_fit_are_refused_by_name() {
    let (a, b) = two(&runtime(1)).await;
    channel(&a, "x").await;
    let ours = offer(&a).await;
    a.set_local_description(Some(ours.clone()))
        .await
        .expect("ours");
    b.set_remote_description(ours).await.expect("an offer");
    let answer = b.create_answer().await.expect("an answer");
    let altered = |from, to| SessionDescription::answer(answer.sdp.replace(from, to));
    let edited = altered("a=ice-options:trickle", "a=ice-options:other");
    let set = b.set_local_description(Some(edited)).await;
    assert_eq!(name(set), "InvalidModificationError");
    for (from, to, error) in [
        ("a=setup:active", "a=setup:actpass", "InvalidAccessError"),
        ("m=application", "m=audio", "InvalidAccessError"),
        ("v=0", "v=1", "RTCError"),
    ] {
        let set = a.set_remote_description(altered(from, to)).await;
        assert_eq!(name(set), error, "{to}");
        assert_eq!(a.signaling_state(), SignalingState::HaveLocalOffer);
    }
    let provisional = SessionDescription::pranswer(answer.sdp.clone());
    b.set_local_description(Some(provisional))
        .await
        .expect("ours");
    let rollback = SessionDescription::rollback();
    let set = b.set_local_description(Some(rollback)).await;
    assert_eq!(
        name(set),
        "InvalidStateError",
        "an answer is not taken back"
    );
    a.set_remote_description(answer).await.expect("an answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offers_can_be_rolled_back_at_both_ends() {
    let (a, b) = two(&runtime(1)).await;
    let rollback = SessionDescription::rollback;
    assert_eq!(
        name(a.set_local_description(Some(rollback())).await),
        "InvalidStateError"
    );
    channel(&a, "x").await;
    a.set_local_description(None).await.expect("an offer");
    let offer = a.local_description().expect("set");
    a.set_local_description(Some(rollback()))
        .await
        .expect("taken back");
    assert_eq!(a.signaling_state(), SignalingState::Stable);
    assert_eq!(a.local_description(), None);
    assert_eq!(a.ice_gathering_state().name(), "new");
    b.set_remote_description(offer).await.expect("an offer");
    b.set_remote_description(rollback())
        .await
        .expect("taken back");
    assert_eq!(b.signaling_state(), SignalingState::Stable);
    assert_eq!(b.remote_description(), None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provisional_answer_comes_before_the_final_one() {
    let (a, b) = two(&runtime(1)).await;
    channel(&a, "x").await;
    a.set_local_description(None).await.expect("an offer");
    b.set_remote_description(a.local_description().expect("set"))
        .await
        .expect("an offer");
    let answer = b.create_answer().await.expect("an answer");
    let provisional = SessionDescription::pranswer(answer.sdp.clone());
    b.set_local_description(Some(provisional.clone()))
        .await
        .expect("provisional");
    assert_eq!(b.signaling_state(), SignalingState::HaveLocalPranswer);
    a.set_remote_description(provisional)
        .await
        .expect("provisional");
    assert_eq!(a.signaling_state(), SignalingState::HaveRemotePranswer);
    b.set_local_description(Some(answer.clone()))
        .await
        .expect("final");
    a.set_remote_description(answer).await.expect("final");
    assert_eq!(a.signaling_state(), SignalingState::Stable);
    assert_eq!(b.signaling_state(), SignalingState::Stable);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidates_are_checked_in_the_order_of_the_specification() {
    let (a, b) = two(&runtime(1)).await;
    let line = "candidate:1 1 udp 2130706431 192.0.2.1 9 typ host";
    let candidate = |line: &str, mid: Option<&str>, index, ufrag: Option<&str>| {
        Some(IceCandidateInit {
            candidate: line.into(),
            sdp_mid: mid.map(str::to_owned),
            sdp_mline_index: index,
            username_fragment: ufrag.map(str::to_owned),
        })
    };
    // No section is named: a TypeError even without a remote description.
    let add = b.add_ice_candidate(candidate(line, None, None, None)).await;
    assert_eq!(name(add), "TypeError");
    let fits = candidate(line, Some("0"), Some(0), None);
    let add = b.add_ice_candidate(fits.clone()).await;
    assert_eq!(name(add), "InvalidStateError");
    channel(&a, "x").await;
    b.set_remote_description(offer(&a).await)
        .await
        .expect("an offer");
    for wrong in [
        candidate(line, Some("other"), None, None),
        candidate(line, None, Some(7), None),
        candidate(line, Some("0"), None, Some("nobody")),
        candidate("candidate:nonsense", Some("0"), None, None),
    ] {
        let add = b.add_ice_candidate(wrong).await;
        assert_eq!(name(add), "OperationError");
    }
    b.add_ice_candidate(fits).await.expect("it fits");
    let sdp = || b.remote_description().expect("set").sdp;
    assert!(sdp().contains("192.0.2.1 9 typ host"), "{}", sdp());
    let second = candidate(
        "candidate:1 1 udp 1 192.0.2.2 9 typ host",
        None,
        Some(0),
        None,
    );
    b.add_ice_candidate(second).await.expect("it fits");
    assert!(sdp().contains("192.0.2.2 9 typ host"), "{}", sdp());
    assert!(!sdp().contains("a=end-of-candidates"));
    b.add_ice_candidate(None).await.expect("the end");
    assert!(sdp().contains("a=end-of-candidates"), "{}", sdp());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_candidates_section_is_named_by_mid_or_else_by_index() {
    let (a, b) = two(&runtime(1)).await;
    channel(&a, "x").await;
    let offer = offer(&a).await;
    let ufrag = |line: &str| line.strip_prefix("a=ice-ufrag:").map(str::to_owned);
    let ufrag = offer.sdp.lines().find_map(ufrag).expect("a data section");
    b.set_remote_description(offer).await.expect("an offer");
    for (port, mid, index, ufrag) in [
        (1, Some("0"), Some(7), None),
        (2, None, Some(0), None),
        (3, Some("0"), None, Some(ufrag)),
    ] {
        let line = format!("1 1 udp 2130706431 192.0.2.1 {port} typ host");
        let candidate = IceCandidateInit {
            candidate: format!("candidate:{line}"),
            sdp_mid: mid.map(str::to_owned),
            sdp_mline_index: index,
            username_fragment: ufrag,
        };
        let add = b.add_ice_candidate(Some(candidate)).await;
        add.expect("it fits");
        let sdp = b.remote_description().expect("set").sdp;
        assert!(sdp.contains(&format!("a=candidate:{line}\r\n")), "{sdp}");
    }
    let elsewhere = IceCandidateInit {
        sdp_mid: Some("0".into()),
        username_fragment: Some("nobody".into()),
        ..IceCandidateInit::default()
    };
    let add = b.add_ice_candidate(Some(elsewhere)).await;
    assert_eq!(name(add), "OperationError");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_ends_everything_without_events() {
    let pair = Pair::new(&runtime(2)).await;
    let pc = &pair.a;
    let mut events = pc.events();
    pc.close().await;
    assert_eq!(pc.connection_state(), ConnectionState::Closed);
    assert_eq!(pc.ice_connection_state(), IceConnectionState::Closed);
    assert_eq!(pc.signaling_state(), SignalingState::Closed);
    assert_eq!(pair.channel_a.ready_state(), ReadyState::Closed);
    let event = soon("the end of the events", events.next()).await;
    assert!(event.is_none(), "{event:?}");
    assert!(pc.local_description().is_some(), "it can still be read");
    pc.close().await; // twice is no error
    let closed = "InvalidStateError";
    assert_eq!(name(pc.create_offer(OfferOptions::default()).await), closed);
    assert_eq!(name(pc.create_answer().await), closed);
    assert_eq!(name(pc.set_local_description(None).await), closed);
    let rollback = SessionDescription::rollback();
    assert_eq!(name(pc.set_remote_description(rollback).await), closed);
    assert_eq!(name(pc.add_ice_candidate(None).await), closed);
    assert_eq!(name(pc.restart_ice().await), "no error", "and no effect");
    let made = pc.create_data_channel("x", Default::default()).await;
    assert_eq!(name(made), closed);
}
