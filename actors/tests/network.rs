//! A machine that moves to another network while its connections live.
#![cfg(feature = "chaos")]

mod common;

use std::net::IpAddr;

use common::{Pair, channel, endpoint, negotiate, runtime, soon};
use futures::{FutureExt as _, StreamExt as _};
use peerloom_actors::{
    Configuration, Endpoint, EndpointConfig, Event, IceGatheringState, IceServer, Message,
    PeerConnection, Runtime,
};
use tokio::net::UdpSocket;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

async fn roaming(runtime: &Runtime, addrs: &[&str]) -> Endpoint {
    let config = EndpointConfig {
        bind: vec!["0.0.0.0:0".parse().expect("an address")],
    };
    let endpoint = Endpoint::bind(runtime, config).await.expect("sockets");
    endpoint.pretend_addresses(addrs.iter().map(|addr| ip(addr)).collect());
    endpoint
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_address_is_survived_without_losing_a_message() {
    const MESSAGES: usize = 2_000;
    let runtime = runtime(2);
    let roaming = roaming(&runtime, &["127.0.0.1"]).await;
    let Pair {
        a,
        b,
        channel_a,
        channel_b,
    } = Pair::between(&roaming, &endpoint(&runtime).await).await;
    let mut events = a.events();
    let (caller, callee) = (a.clone(), b.clone());
    let renegotiating = tokio::spawn(async move {
        let mut moved = false;
        while let Some(event) = events.next().await {
            moved |= matches!(event, Event::NetworkChange { lost_path: true });
            if matches!(event, Event::NegotiationNeeded) {
                negotiate(&caller, &callee).await.expect("a negotiation");
                return moved;
            }
        }
        false
    });
    let sending = async {
        for number in 0..MESSAGES {
            if number == MESSAGES / 4 {
                roaming.pretend_addresses(vec![ip("127.0.0.2")]);
            }
            let text = format!("{number}:{}", "x".repeat(500));
            channel_a.send(text).await.expect("open");
        }
    };
    let receiving = async {
        for number in 0..MESSAGES {
            let Some(Message::Text(text)) = channel_b.recv().await else {
                panic!("the channel closed");
            };
            assert!(text.starts_with(&format!("{number}:")), "{number}");
            if number % 100 == 0 {
                channel_b.send("heard").await.expect("open");
            }
        }
    };
    soon("all messages", async { tokio::join!(sending, receiving) }).await;
    assert!(soon("the restart", renegotiating).await.expect("no panic"));
    let sdp = a.local_description().expect("negotiated").sdp;
    assert!(
        sdp.contains(" 127.0.0.2 ") && !sdp.contains("candidate:127.0.0.1"),
        "{sdp}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_want_restarts_is_only_told() {
    let runtime = runtime(1);
    let roaming = roaming(&runtime, &["127.0.0.1"]).await;
    let mut calm = Configuration::default();
    calm.ice.restart_on_network_change = false;
    let still = endpoint(&runtime).await;
    let pair = Pair::with(&roaming, &still, calm, Configuration::default()).await;
    let mut events = pair.a.events();
    // An address that comes along changes nothing for a path that works.
    roaming.pretend_addresses(vec![ip("127.0.0.1"), ip("127.0.0.2")]);
    roaming.pretend_addresses(vec![ip("127.0.0.2")]);
    let mut told = Vec::new();
    while told.last() != Some(&true) {
        let event = soon("an event", events.next()).await.expect("alive");
        assert!(!matches!(event, Event::NegotiationNeeded));
        if let Event::NetworkChange { lost_path } = event {
            told.push(lost_path);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_taken_away_is_not_asked_from_a_new_address() {
    let runtime = runtime(1);
    let roaming = roaming(&runtime, &["127.0.0.1"]).await;
    let bind = async || UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let servers = [bind().await, bind().await];
    let naming = |server: &UdpSocket| {
        let port = server.local_addr().expect("an address").port();
        Configuration {
            ice_servers: vec![IceServer {
                urls: vec![format!("stun:127.0.0.1:{port}")],
                ..IceServer::default()
            }],
            ..Configuration::default()
        }
    };
    let peer = PeerConnection::new(&roaming, naming(&servers[0])).await;
    let peer = peer.expect("a connection");
    let _channel = channel(&peer, "first").await;
    peer.set_local_description(None).await.expect("an offer");
    let mut buffer = [0; 1500];
    soon("a question", servers[0].recv_from(&mut buffer))
        .await
        .expect("asked");
    peer.set_configuration(naming(&servers[1]))
        .await
        .expect("allowed");
    let mut events = peer.events();
    roaming.pretend_addresses(vec![ip("127.0.0.2")]);
    let changed =
        async { while !matches!(events.next().await, Some(Event::NetworkChange { .. })) {} };
    soon("the change", changed).await;
    peer.restart_ice().await.expect("open");
    peer.set_local_description(None).await.expect("an offer");
    // Questions leave 5 ms apart, in the order of the servers.
    soon("a question", servers[1].recv_from(&mut buffer))
        .await
        .expect("asked");
    while let Ok((_, from)) = servers[0].try_recv_from(&mut buffer) {
        assert_eq!(from.ip(), ip("127.0.0.1"), "asked again");
    }
}

/// A STUN server of which the test reads the questions.
async fn silent_server() -> (UdpSocket, Configuration) {
    let server = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let port = server.local_addr().expect("an address").port();
    let config = Configuration {
        ice_servers: vec![IceServer {
            urls: vec![format!("stun:127.0.0.1:{port}")],
            ..IceServer::default()
        }],
        ..Configuration::default()
    };
    (server, config)
}

async fn asked_from(server: &UdpSocket, addr: IpAddr) {
    let mut buffer = [0; 1500];
    let asked = async {
        loop {
            let (_, from) = server.recv_from(&mut buffer).await.expect("a socket");
            if from.ip() == addr {
                return;
            }
        }
    };
    soon("a question", asked).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_comes_while_gathering_is_asked_about() {
    let runtime = runtime(1);
    let roaming = roaming(&runtime, &["127.0.0.1"]).await;
    let (server, config) = silent_server().await;
    let peer = PeerConnection::new(&roaming, config).await;
    let peer = peer.expect("a connection");
    let _channel = channel(&peer, "first").await;
    peer.set_local_description(None).await.expect("an offer");
    asked_from(&server, ip("127.0.0.1")).await;
    let mut events = peer.events();
    roaming.pretend_addresses(vec![ip("127.0.0.2")]);
    asked_from(&server, ip("127.0.0.2")).await;
    // Its answers are waited for: gathering was not over in between.
    let mut told = Vec::new();
    while !matches!(told.last(), Some(Event::NetworkChange { .. })) {
        told.push(
            soon("a change of addresses", events.next())
                .await
                .expect("alive"),
        );
    }
    told.extend(std::iter::from_fn(|| {
        events.next().now_or_never().flatten()
    }));
    let over = |event: &Event| matches!(event, Event::IceGatheringStateChange(_));
    assert!(!told.iter().any(over), "{told:?}");
}

fn gathered(event: &Event) -> bool {
    matches!(
        event,
        Event::IceGatheringStateChange(IceGatheringState::Complete)
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_comes_after_a_restart_was_offered_restarts_again() {
    let runtime = runtime(2);
    let roaming = roaming(&runtime, &["127.0.0.1"]).await;
    let pair = Pair::between(&roaming, &endpoint(&runtime).await).await;
    let mut events = pair.a.events();
    roaming.pretend_addresses(Vec::new());
    let mut lost = 0;
    while lost < 2 {
        let event = soon("an event", events.next()).await.expect("alive");
        if matches!(event, Event::NetworkChange { lost_path: true }) {
            lost += 1;
        } else if matches!(event, Event::NegotiationNeeded) {
            // The answer is on its way for long.
            let offer = pair.a.set_local_description(None).await;
            offer.expect("an offer");
        } else if gathered(&event) {
            assert_eq!(lost, 1);
            roaming.pretend_addresses(vec![ip("127.0.0.2")]);
        }
    }
    let offer = pair.a.local_description().expect("offered");
    pair.b
        .set_remote_description(offer)
        .await
        .expect("an offer");
    pair.b.set_local_description(None).await.expect("an answer");
    let answer = pair.b.local_description().expect("answered");
    pair.a
        .set_remote_description(answer)
        .await
        .expect("an answer");
    let needed = async { while !matches!(events.next().await, Some(Event::NegotiationNeeded)) {} };
    soon("the second restart", needed).await;
    negotiate(&pair.a, &pair.b).await.expect("a negotiation");
    pair.channel_a.send("here again").await.expect("open");
    let heard = soon("a message", pair.channel_b.recv()).await;
    assert_eq!(heard, Some(Message::Text("here again".into())));
}
