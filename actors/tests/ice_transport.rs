//! `RTCIceTransport`: role, states, candidates, parameters, the selected pair.

mod common;

use common::{Pair, channel, endpoint, negotiate_with, runtime, soon};
use futures::StreamExt as _;
use peerloom_actors::{
    CandidateKind, Configuration, IceComponent, IceConnectionState, IceGatheringState, IceRole,
    IceTransport, IceTransportEvent, OfferOptions, PeerConnection, Protocol, TcpType,
};

fn ice(pc: &PeerConnection) -> IceTransport {
    pc.sctp().expect("negotiated").transport().ice_transport()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_offerer_controls_and_both_know_the_same() {
    let pair = Pair::new(&runtime(2)).await;
    let (a, b) = (ice(&pair.a), ice(&pair.b));
    assert_eq!(a.role(), Some(IceRole::Controlling));
    assert_eq!(b.role(), Some(IceRole::Controlled));
    assert_eq!(a.component(), IceComponent::Rtp);
    assert_eq!(a.gathering_state(), IceGatheringState::Complete);
    assert_eq!(a.state(), pair.a.ice_connection_state());
    assert!(a.get_local_parameters().is_some());
    assert_eq!(a.get_local_parameters(), b.get_remote_parameters());
    assert_eq!(b.get_local_parameters(), a.get_remote_parameters());
    let parameters = a.get_local_parameters().expect("set");
    let line = format!("a=ice-ufrag:{}\r\n", parameters.username_fragment);
    let sdp = pair.a.local_description().expect("set").sdp;
    assert!(sdp.contains(&line), "{sdp}");
    let line = format!("a=ice-pwd:{}\r\n", parameters.password);
    assert!(sdp.contains(&line), "{sdp}");
    assert!(!format!("{parameters:?}").contains(&parameters.password));
    pair.a.close().await;
    assert_eq!(a.state(), IceConnectionState::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn candidates_and_the_selected_pair_are_those_of_the_descriptions() {
    let pair = Pair::new(&runtime(2)).await;
    let (a, b) = (ice(&pair.a), ice(&pair.b));
    let [local, active] = a.get_local_candidates().try_into().expect("one address");
    assert_eq!(active.tcp_type(), Some(TcpType::Active));
    assert_eq!(
        (active.protocol(), active.port()),
        (Some(Protocol::Tcp), Some(9))
    );
    let sdp = pair.a.local_description().expect("set").sdp;
    assert!(sdp.contains(local.candidate().split(" ufrag").next().expect("a line")));
    assert_eq!(local.kind(), Some(CandidateKind::Host));
    assert_eq!(local.protocol(), Some(Protocol::Udp));
    let ufrag = a.get_local_parameters().expect("set").username_fragment;
    assert_eq!(local.username_fragment(), Some(ufrag.as_str()));
    assert!(local.sdp_mid().is_some());

    let selected = a.get_selected_candidate_pair().expect("connected");
    let theirs = b.get_selected_candidate_pair().expect("connected");
    assert_eq!(selected.local.port(), local.port());
    assert_eq!(selected.local.port(), theirs.remote.port());
    assert_eq!(selected.remote.port(), theirs.local.port());
    let known = b.get_remote_candidates();
    assert!(
        known.iter().any(|it| it.port() == local.port()),
        "{known:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_change_is_told_once() {
    let runtime = runtime(2);
    let endpoint = endpoint(&runtime).await;
    let new = || PeerConnection::new(&endpoint, Configuration::default());
    let a = new().await.expect("a connection");
    let b = new().await.expect("a connection");
    channel(&a, "x").await;
    a.set_local_description(None).await.expect("an offer");
    let offer = a.local_description().expect("set");
    b.set_remote_description(offer).await.expect("an offer");
    b.set_local_description(None).await.expect("an answer");
    let mut events = ice(&b).events();
    common::negotiate_through_answer(&a, &b).await;
    soon("a path", b.connected()).await.expect("connected");
    let options = OfferOptions { ice_restart: true };
    negotiate_with(&b, &a, options).await.expect("a restart");
    b.close().await;
    let (mut states, mut gathering, mut pairs) = (Vec::new(), Vec::new(), 0);
    while let Some(event) = soon("the end", events.next()).await {
        if let IceTransportEvent::StateChange(state) = event {
            states.push(state);
        } else if let IceTransportEvent::GatheringStateChange(state) = event {
            gathering.push(state);
        } else {
            pairs += 1;
        }
    }
    assert!(
        states.contains(&IceConnectionState::Connected),
        "{states:?}"
    );
    assert!(states.windows(2).all(|it| it[0] != it[1]), "{states:?}");
    let restart = [IceGatheringState::Gathering, IceGatheringState::Complete];
    assert!(gathering.ends_with(&restart), "{gathering:?}");
    assert!(
        gathering.windows(2).all(|it| it[0] != it[1]),
        "{gathering:?}"
    );
    assert_eq!(pairs, 1, "the restart stays with the pair");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_tell_states_and_pairs() {
    let runtime = runtime(2);
    let endpoint = endpoint(&runtime).await;
    let new = || PeerConnection::new(&endpoint, Configuration::default());
    let a = new().await.expect("a connection");
    let b = new().await.expect("a connection");
    channel(&a, "x").await;
    a.set_local_description(None).await.expect("an offer");
    let offer = a.local_description().expect("set");
    b.set_remote_description(offer).await.expect("an offer");
    b.set_local_description(None).await.expect("an answer");
    let mut first = ice(&b).events();
    common::negotiate_through_answer(&a, &b).await;
    soon("a path", b.connected()).await.expect("connected");
    let mut seen = Vec::new();
    let connected = IceTransportEvent::StateChange(IceConnectionState::Connected);
    while !seen.contains(&connected) {
        seen.push(soon("an event", first.next()).await.expect("open"));
    }
    while !seen.contains(&IceTransportEvent::SelectedCandidatePairChange) {
        seen.push(soon("a pair", first.next()).await.expect("open"));
    }

    let transport = ice(&a);
    soon("a path", a.connected()).await.expect("connected");
    let mut events = transport.events();
    let before = transport.get_local_parameters();
    let options = OfferOptions { ice_restart: true };
    negotiate_with(&a, &b, options).await.expect("a restart");
    let mut seen = Vec::new();
    let complete = IceTransportEvent::GatheringStateChange(IceGatheringState::Complete);
    while !seen.contains(&complete) {
        seen.push(soon("an event", events.next()).await.expect("open"));
    }
    let gathering = IceTransportEvent::GatheringStateChange(IceGatheringState::Gathering);
    assert!(seen.contains(&gathering), "{seen:?}");
    assert_ne!(transport.get_local_parameters(), before, "new credentials");
    a.close().await;
    assert_eq!(transport.state(), IceConnectionState::Closed);
}
