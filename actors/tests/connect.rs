//! Connections and their states.

mod common;

use common::{channel, endpoint, negotiate, negotiate_altered, negotiate_with, runtime, soon};
use futures::StreamExt as _;
use peerloom_actors::{
    Cause, Configuration, ConnectionState, Event, IceConnectionState, OfferOptions, PeerConnection,
    SessionDescription, SignalingState,
};
use peerloom_transports_proto::dtls::State as DtlsState;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_peers_connect_with_events_in_order() {
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let a = PeerConnection::new(&ea, Configuration::default())
        .await
        .expect("a connection");
    let b = PeerConnection::new(&eb, Configuration::default())
        .await
        .expect("a connection");
    let (mut events, mut at_b) = (a.events(), b.events());
    assert_eq!(a.ice_gathering_state().name(), "new");
    assert_eq!(a.connection_state(), ConnectionState::New);
    channel(&a, "x").await;
    negotiate(&a, &b).await.expect("a negotiation");
    soon("a to connect", a.connected())
        .await
        .expect("connected");
    soon("b to connect", b.connected())
        .await
        .expect("connected");
    assert_eq!(a.signaling_state(), SignalingState::Stable);
    assert_eq!(a.connection_state(), ConnectionState::Connected);
    assert_eq!(a.ice_gathering_state().name(), "complete");
    a.close().await;
    assert_eq!(a.connection_state(), ConnectionState::Closed);

    let mut seen = Vec::new();
    while let Some(event) = soon("the events to end", events.next()).await {
        seen.push(name(&event));
    }
    let expected = [
        "NegotiationNeeded",
        "have-local-offer",
        "gathering:gathering",
        "candidate", // over UDP
        "candidate", // over TCP
        "end-of-generation",
        "gathering:complete",
        "end-of-candidates",
    ];
    // The answer may arrive in the midst of gathering.
    let ours: Vec<&String> = seen
        .iter()
        .filter(|event| expected.contains(&event.as_str()))
        .collect();
    assert_eq!(ours, expected, "{seen:?}");
    let position = |what: &str| {
        let found = seen.iter().position(|event| event == what);
        found.unwrap_or_else(|| panic!("no {what}: {seen:?}"))
    };
    assert!(position("stable") < position("ice:checking"), "{seen:?}");
    assert!(
        position("ice:checking") < position("connecting"),
        "{seen:?}"
    );
    assert!(position("connecting") < position("connected"), "{seen:?}");
    assert!(
        position("ice:connected") < position("connected"),
        "{seen:?}"
    );
    let ice: Vec<&str> = seen
        .iter()
        .filter_map(|it| it.strip_prefix("ice:"))
        .collect();
    let all = ["checking", "connected", "completed"];
    assert!(ice.len() >= 2 && all.starts_with(&ice), "{seen:?}");
    let once = |states: &[&str]| {
        let told = seen.iter().filter(|it| states.contains(&it.as_str()));
        assert!(told.eq(states), "each once: {states:?} of {seen:?}");
    };
    once(&["connecting", "connected"]);
    once(&["have-local-offer", "stable"]);
    let not = ["new", "disconnected", "failed", "closed"];
    assert!(
        !seen.iter().any(|it| not.contains(&it.as_str())),
        "{seen:?}"
    );
    let failed = async {
        while let Some(event) = at_b.next().await {
            if let Event::ConnectionStateChange {
                state: ConnectionState::Failed,
                cause,
            } = event
            {
                return cause;
            }
        }
        panic!("the events ended")
    };
    let told = soon("b to be told the cause", failed).await;
    assert_eq!(told, Some(Cause::ClosedByPeer));
    soon("b to see the goodbye", async {
        while b.connection_state() != ConnectionState::Failed {
            let mut events = b.events();
            tokio::select! { _ = events.next() => {}, _ = tokio::task::yield_now() => {} }
        }
    })
    .await;
    assert_eq!(b.cause(), Some(Cause::ClosedByPeer));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_of_each_generation_is_an_empty_candidate_that_the_peer_takes() {
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let new = |endpoint| PeerConnection::new(endpoint, Configuration::default());
    let (a, b) = (new(&ea).await.expect("one"), new(&eb).await.expect("two"));
    let mut events = a.events();
    channel(&a, "x").await;
    for restart in [false, true] {
        let options = OfferOptions {
            ice_restart: restart,
        };
        let offer = a.create_offer(options).await.expect("an offer");
        assert!(!offer.sdp.contains("a=end-of-candidates"));
        let ufrag = offer
            .sdp
            .lines()
            .find_map(|line| line.strip_prefix("a=ice-ufrag:"))
            .expect("a username fragment")
            .to_owned();
        a.set_local_description(Some(offer.clone()))
            .await
            .expect("ours");
        let end = loop {
            let event = soon("an event", events.next()).await.expect("alive");
            if let Event::IceCandidate(candidate) = event {
                let candidate = candidate.expect("the end of all comes last");
                if candidate.is_end_of_candidates() {
                    break candidate;
                }
            }
        };
        assert_eq!(end.candidate(), "");
        assert_eq!((end.sdp_mid(), end.sdp_mline_index()), (Some("0"), Some(0)));
        assert_eq!(end.username_fragment(), Some(ufrag.as_str()));
        assert_eq!((end.address(), end.kind()), (None, None));
        b.set_remote_description(offer).await.expect("an offer");
        b.add_ice_candidate(Some(end.to_init()))
            .await
            .expect("it is of this generation");
        let told = b.remote_description().expect("just set").sdp;
        assert!(told.contains("a=end-of-candidates"), "{told}");
        loop {
            let event = soon("an event", events.next()).await.expect("alive");
            if let Event::IceCandidate(candidate) = event {
                assert_eq!(candidate, None, "nothing else is being gathered");
                break;
            }
        }
        b.set_local_description(None).await.expect("an answer");
        common::negotiate_through_answer(&a, &b).await;
    }
}

/// The first offer is taken back, and its answer never seen; then the other side offers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_never_arrived_keeps_nobody_apart() {
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    for ice_restart in [false, true] {
        let a = PeerConnection::new(&ea, Configuration::default()).await;
        let b = PeerConnection::new(&eb, Configuration::default()).await;
        let (a, b) = (a.expect("a connection"), b.expect("a connection"));
        let ours = channel(&a, "ours").await;
        a.set_local_description(None).await.expect("an offer");
        let lost = a.local_description().expect("set");
        b.set_remote_description(lost).await.expect("an offer");
        b.set_local_description(None).await.expect("an answer");
        let rollback = SessionDescription::rollback();
        a.set_local_description(Some(rollback))
            .await
            .expect("an offer to take back");
        let theirs = channel(&b, "theirs").await;
        negotiate_with(&b, &a, OfferOptions { ice_restart })
            .await
            .expect("a negotiation");
        for channel in [&ours, &theirs] {
            soon("the channel to open", channel.opened())
                .await
                .expect("open");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_fingerprint_fails_dtls_and_not_ice() {
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let a = PeerConnection::new(&ea, Configuration::default())
        .await
        .expect("a connection");
    let b = PeerConnection::new(&eb, Configuration::default())
        .await
        .expect("a connection");
    let other = PeerConnection::new(&eb, Configuration::default())
        .await
        .expect("a connection");
    channel(&a, "x").await;
    let digest = |pc: &PeerConnection| pc.certificate().fingerprint().to_string();
    let alter = |answer: &mut SessionDescription| {
        assert!(answer.sdp.contains(&digest(&b)));
        answer.sdp = answer.sdp.replace(&digest(&b), &digest(&other));
    };
    negotiate_altered(&a, &b, OfferOptions::default(), alter)
        .await
        .expect("well-formed");
    let cause = soon("a to refuse", a.connected())
        .await
        .expect_err("another certificate");
    assert_eq!(cause, Cause::Fingerprint { sent_alert: None });
    let stats = soon("its statistics", a.get_stats()).await.expect("open");
    assert_eq!(stats.transport.dtls_state, Some(DtlsState::Failed));
    // Whoever was refused is told, and does not wait for a time limit.
    soon("b to hear of it", async {
        while b.cause().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(b.cause(), Some(Cause::ClosedByPeer));
    assert_eq!(a.connection_state(), ConnectionState::Failed);
    let ice = a.ice_connection_state();
    let up = [IceConnectionState::Connected, IceConnectionState::Completed];
    assert!(up.contains(&ice), "{ice}");
    a.close().await;
    assert_eq!(a.ice_connection_state(), IceConnectionState::Closed);
}

fn name(event: &Event) -> String {
    if let Event::SignalingStateChange(state) = event {
        state.name().to_owned()
    } else if let Event::IceGatheringStateChange(state) = event {
        format!("gathering:{state}")
    } else if let Event::IceConnectionStateChange(state) = event {
        format!("ice:{state}")
    } else if let Event::ConnectionStateChange { state, .. } = event {
        state.name().to_owned()
    } else if let Event::IceCandidate(candidate) = event {
        match candidate {
            Some(it) if it.is_end_of_candidates() => "end-of-generation",
            Some(_) => "candidate",
            None => "end-of-candidates",
        }
        .to_owned()
    } else {
        format!("{event:?}")
    }
}

/// A Binding request that names a username fragment and proves nothing.
fn unsigned_check(ufrag: &str) -> Vec<u8> {
    let name = format!("{ufrag}:nobody");
    let padded = name.len().next_multiple_of(4);
    let mut packet = vec![0, 1, 0, 4 + padded as u8, 0x21, 0x12, 0xa4, 0x42];
    packet.extend([7; 12]);
    packet.extend([0, 6, 0, name.len() as u8]);
    packet.extend(name.as_bytes());
    packet.resize(24 + padded, 0);
    packet
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn checks_that_prove_nothing_take_no_paths() {
    let runtime = common::runtime(2);
    let (at_a, at_b) = (
        common::endpoint(&runtime).await,
        common::endpoint(&runtime).await,
    );
    let new = |endpoint| PeerConnection::new(endpoint, Configuration::default());
    let a = new(&at_a).await.expect("a connection");
    let b = new(&at_b).await.expect("a connection");
    let ours = common::channel(&a, "first").await;
    let offer = a.create_offer(OfferOptions::default()).await;
    let offer = offer.expect("an offer");
    a.set_local_description(Some(offer.clone()))
        .await
        .expect("set");
    let ufrag = offer
        .sdp
        .lines()
        .find_map(|line| line.strip_prefix("a=ice-ufrag:"))
        .expect("a username fragment");
    let check = unsigned_check(ufrag);
    for _ in 0..300 {
        let stranger = std::net::UdpSocket::bind(common::LOOPBACK).expect("a port");
        stranger
            .send_to(&check, at_a.local_addrs()[0])
            .expect("sent");
    }
    common::negotiate(&a, &b).await.expect("a negotiation");
    common::soon("the channel to open", ours.opened())
        .await
        .expect("open");
}
