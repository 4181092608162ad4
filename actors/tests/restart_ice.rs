//! `restartIce` (webrtc-pc 4.4.2 and 4.7.3): what it asks for, for how long, and what goes on
//! meanwhile.

mod common;

use common::{Pair, gathered, negotiate, negotiate_through_answer, negotiate_with, runtime, soon};
use futures::{FutureExt as _, Stream, StreamExt as _};
use peerloom_actors::{
    Configuration, ConnectionState, DataChannel, Event, IceCandidate, IceGatheringState, IceServer,
    Message, OfferOptions, PeerConnection, SessionDescription,
};

/// The value of an attribute that is in a description once.
fn attribute<'a>(description: &'a SessionDescription, name: &str) -> &'a str {
    let mut values = description.sdp.lines().filter_map(|l| l.strip_prefix(name));
    values.next().expect("a data section")
}

fn credentials(description: &SessionDescription) -> [String; 2] {
    ["a=ice-ufrag:", "a=ice-pwd:"].map(|name| attribute(description, name).to_owned())
}

/// What the ICE transport runs with, here and at the other end.
fn running(pc: &PeerConnection) -> [[String; 2]; 2] {
    let sctp = pc.sctp().expect("negotiated");
    let ice = sctp.transport().ice_transport();
    [ice.get_local_parameters(), ice.get_remote_parameters()].map(|parameters| {
        let parameters = parameters.expect("negotiated");
        [parameters.username_fragment, parameters.password]
    })
}

fn local_candidates(pc: &PeerConnection) -> Vec<IceCandidate> {
    let sctp = pc.sctp().expect("negotiated");
    sctp.transport().ice_transport().get_local_candidates()
}

async fn offer(pc: &PeerConnection, options: OfferOptions) -> SessionDescription {
    pc.create_offer(options).await.expect("an offer")
}

async fn delivered(from: &DataChannel, to: &DataChannel, text: &str) {
    from.send(text).await.expect("open");
    let got = soon("the message", to.recv()).await;
    assert_eq!(got, Some(Message::Text(text.to_owned())));
}

/// Waits until a negotiation is asked for.
async fn asked(events: &mut (impl Stream<Item = Event> + Unpin)) {
    let asked = async {
        while let Some(event) = events.next().await {
            if matches!(event, Event::NegotiationNeeded) {
                return;
            }
        }
        panic!("the connection is over");
    };
    soon("negotiationneeded", asked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_complete_again_by_a_rollback_has_no_more_candidates() {
    let (_server, slow) = slow().await;
    let runtime = runtime(2);
    let new = PeerConnection::new(&common::endpoint(&runtime).await, slow.clone()).await;
    let connected = Pair::new(&runtime).await;
    let set = connected.a.set_configuration(slow).await;
    set.expect("another server");
    let cases = [
        (new.expect("a connection"), "new", 0),
        (connected.a, "complete", 1),
    ];
    for (pc, state, ends) in cases {
        let mut events = pc.events();
        let _channel = common::channel(&pc, "x").await;
        let offer = offer(&pc, OfferOptions { ice_restart: true }).await;
        for description in [offer, SessionDescription::rollback()] {
            let set = pc.set_local_description(Some(description)).await;
            set.expect("an offer, and taken back");
        }
        let told = rest(&pc, &mut events).await;
        assert_eq!(gathering(&told), ["gathering", state]);
        let over = |event: &&Event| matches!(event, Event::IceCandidate(None));
        assert_eq!(told.iter().filter(over).count(), ends, "{told:?}");
    }
}

/// The events that are there already, once all that was called has had its effect.
async fn rest(pc: &PeerConnection, events: &mut (impl Stream<Item = Event> + Unpin)) -> Vec<Event> {
    pc.get_stats().await.expect("open");
    std::iter::from_fn(|| events.next().now_or_never().flatten()).collect()
}

/// The states of gathering that were told, in order.
fn gathering(events: &[Event]) -> Vec<&'static str> {
    let states = events.iter().filter_map(|event| {
        if let Event::IceGatheringStateChange(state) = event {
            Some(state.name())
        } else {
            None
        }
    });
    states.collect()
}

fn asks(events: &[Event]) -> usize {
    let asks = |event: &&Event| matches!(event, Event::NegotiationNeeded);
    events.iter().filter(asks).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_changes_everything_and_the_old_path_carries_on_until_then() {
    let pair = Pair::new(&runtime(2)).await;
    let (a, b) = (&pair.a, &pair.b);
    let before = running(a);
    let mut events = a.events();
    a.restart_ice().await.expect("open");
    asked(&mut events).await;
    assert_eq!(running(a), before, "it was only asked for");
    let offer = offer(a, OfferOptions::default()).await;
    let [ufrag, password] = credentials(&offer);
    assert_ne!(ufrag, before[0][0]);
    assert_ne!(password, before[0][1]);
    a.set_local_description(Some(offer.clone()))
        .await
        .expect("ours");
    gathered([a, a]).await;
    let told = rest(a, &mut events).await;
    assert_eq!(gathering(&told), ["gathering", "complete"]);
    let anew = told.iter().filter(|event| {
        matches!(event, Event::IceCandidate(Some(it))
            if it.username_fragment() == Some(&*ufrag) && !it.candidate().is_empty())
    });
    assert_ne!(anew.count(), 0, "{told:?}");
    delivered(&pair.channel_a, &pair.channel_b, "on the old path").await;
    b.set_remote_description(offer).await.expect("an offer");
    b.set_local_description(None).await.expect("an answer");
    delivered(&pair.channel_b, &pair.channel_a, "and back").await;
    let theirs = credentials(&b.local_description().expect("just set"));
    assert_ne!(theirs, before[1]);
    negotiate_through_answer(a, b).await;
    let ours = [ufrag, password];
    assert_eq!(running(a), [ours.clone(), theirs.clone()]);
    assert_eq!(running(b), [theirs, ours]);
    delivered(&pair.channel_a, &pair.channel_b, "on the new path").await;
    let former = a.get_stats().await.expect("open").former_paths;
    assert!(former.iter().any(|path| path.nominated), "{former:?}");
    delivered(&pair.channel_b, &pair.channel_a, "and back again").await;
    let told = rest(a, &mut events).await;
    assert_eq!(asks(&told), 0, "it was done: {told:?}");
    let fallen = told.iter().any(
        |event| matches!(event, Event::ConnectionStateChange { state, .. } if *state == ConnectionState::Failed),
    );
    assert!(!fallen, "{told:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_wish_outlives_rollback_and_offers_of_the_peer_that_restart_nothing() {
    let pair = Pair::new(&runtime(2)).await;
    let (a, b) = (&pair.a, &pair.b);
    let before = running(a);
    let mut events = a.events();
    a.restart_ice().await.expect("open");
    asked(&mut events).await;
    a.set_local_description(None).await.expect("an offer");
    let offered = credentials(&a.local_description().expect("just set"));
    assert_ne!(offered, before[0]);
    a.set_local_description(Some(SessionDescription::rollback()))
        .await
        .expect("an offer to take back");
    asked(&mut events).await;
    assert_eq!(running(a), before);
    assert_eq!(a.ice_gathering_state(), IceGatheringState::Complete);
    let candidates = local_candidates(a);
    let of_before = |it: &IceCandidate| it.username_fragment() == Some(&*before[0][0]);
    assert!(!candidates.is_empty() && candidates.iter().all(of_before));

    negotiate(b, a).await.expect("theirs, without a restart");
    asked(&mut events).await;
    assert_eq!(running(a), before);
    // What the application says of this one offer changes nothing.
    let options = OfferOptions { ice_restart: false };
    assert_ne!(credentials(&offer(a, options).await), before[0]);
    negotiate(a, b).await.expect("the restart");
    let [ours, theirs] = running(a);
    assert_ne!(ours, before[0]);
    assert_ne!(theirs, before[1]);
    assert_eq!(asks(&rest(a, &mut events).await), 0);
    let kept = offer(a, OfferOptions::default()).await;
    assert_eq!(credentials(&kept), ours, "one restart is enough");
    delivered(&pair.channel_a, &pair.channel_b, "still here").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_by_the_peer_is_as_good_as_ones_own() {
    let pair = Pair::new(&runtime(2)).await;
    let (a, b) = (&pair.a, &pair.b);
    let before = running(a);
    let mut events = a.events();
    a.restart_ice().await.expect("open");
    asked(&mut events).await;
    let options = OfferOptions { ice_restart: true };
    negotiate_with(b, a, options).await.expect("their restart");
    let [ours, theirs] = running(a);
    assert_ne!(ours, before[0]);
    assert_ne!(theirs, before[1]);
    assert_eq!(asks(&rest(a, &mut events).await), 0);
    let kept = offer(a, OfferOptions::default()).await;
    assert_eq!(credentials(&kept), ours);
    delivered(&pair.channel_b, &pair.channel_a, "still here").await;
}

/// A server that hears and says nothing, and who is to ask it: gathering goes on until it is given up.
async fn slow() -> (tokio::net::UdpSocket, Configuration) {
    let server = tokio::net::UdpSocket::bind(common::LOOPBACK).await;
    let server = server.expect("a port");
    let url = format!("stun:{}", server.local_addr().expect("bound"));
    let slow = Configuration {
        ice_servers: vec![IceServer {
            urls: vec![url],
            ..IceServer::default()
        }],
        ..Configuration::default()
    };
    (server, slow)
}

/// webrtc-pc 5.6.2: the state goes by the transports that there are, and one of them always gathers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_in_the_place_of_another_gathers_on() {
    let (_server, slow) = slow().await;
    let runtime = runtime(2);
    let new = PeerConnection::new(&common::endpoint(&runtime).await, slow.clone()).await;
    let new = new.expect("a connection");
    let connected = Pair::new(&runtime).await;
    let set = connected.a.set_configuration(slow).await;
    set.expect("another server");
    for pc in [new, connected.a] {
        let mut events = pc.events();
        let _channel = common::channel(&pc, "x").await;
        for _ in 0..3 {
            let offer = offer(&pc, OfferOptions { ice_restart: true }).await;
            let set = pc.set_local_description(Some(offer)).await;
            set.expect("an offer in the place of the one before");
        }
        let told = rest(&pc, &mut events).await;
        assert_eq!(gathering(&told), ["gathering"]);
        assert_eq!(pc.ice_gathering_state(), IceGatheringState::Gathering);
    }
}
