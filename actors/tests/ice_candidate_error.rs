//! `icecandidateerror`: what a server said, or that it said nothing; what it is told of us, and what
//! is told of the relay that it gives.

mod common;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use common::{channel, endpoint, runtime, soon};
use futures::StreamExt as _;
use peerloom_actors::{
    CandidateKind, Configuration, Event, IceGatheringState, IceServer, IceTransportPolicy,
    PeerConnection, ServerTransport,
};
use peerloom_transports::proto::stun::message::{attribute, method};
use peerloom_transports::proto::stun::{Builder, Class, Message};
use serde_json::json;
use tokio::net::UdpSocket;

/// MD5 of `ada:example.org:secret`: the key of RFC 8489 section 9.2.2.
const KEY: [u8; 16] = [
    0xdc, 0xb6, 0x56, 0x6d, 0x05, 0xf0, 0x3e, 0xf3, 0x7a, 0x4f, 0xad, 0xb9, 0xee, 0xf3, 0x5c, 0x17,
];

fn config(urls: Vec<String>) -> Configuration {
    let mut config = Configuration {
        ice_servers: vec![IceServer {
            urls,
            username: Some("ada".into()),
            credential: Some("secret".into()),
        }],
        ..Configuration::default()
    };
    config.ice.gather_patience = Duration::from_millis(700);
    config
}

/// The members of the event, the address and port as one.
type Told = (Option<SocketAddr>, String, u16, String);

/// The errors until gathering is over.
async fn errors(peer: &PeerConnection) -> Vec<Told> {
    let mut events = peer.events();
    let _channel = channel(peer, "first").await;
    peer.set_local_description(None).await.expect("an offer");
    let mut errors = Vec::new();
    while let Some(event) = soon("an event", events.next()).await {
        if let Event::IceCandidateError {
            address,
            port,
            url,
            error_code,
            error_text,
        } = event
        {
            let local = address.zip(port).map(SocketAddr::from);
            assert_eq!(address.is_some(), port.is_some());
            errors.push((local, url, error_code, error_text));
        } else if let Event::IceGatheringStateChange(IceGatheringState::Complete) = event {
            return errors;
        }
    }
    panic!("the connection ended")
}

/// A TURN server that wants to know who asks, has an allocation for the first few already, and then
/// gives nothing; who asked.
async fn refuse(socket: UdpSocket, mismatches: usize) -> Vec<SocketAddr> {
    let mut buffer = [0; 1500];
    let mut asked = Vec::new();
    loop {
        let (len, from) = socket.recv_from(&mut buffer).await.expect("a request");
        let request = Message::parse(&buffer[..len]).expect("STUN");
        assert_eq!(request.method, method::ALLOCATE);
        let error = Builder::new(Class::Error, request.method, request.transaction);
        let known = request.attribute(attribute::USERNAME).is_some();
        asked.extend(known.then_some(from));
        let mismatch = asked.len() <= mismatches;
        let answer = if known {
            let username = request.attribute(attribute::USERNAME);
            assert_eq!(username, Some(&b"ada"[..]));
            assert!(request.verify(&KEY), "made with the credential");
            let error = if mismatch {
                error.error(437, "Allocation Mismatch")
            } else {
                error.error(486, "Allocation Quota Reached")
            };
            error.finish_with_integrity(&KEY)
        } else {
            let error = error.error(401, "Unauthorized");
            let error = error.attribute(attribute::REALM, b"example.org");
            error.attribute(attribute::NONCE, b"now").finish()
        };
        socket.send_to(&answer, from).await.expect("an answer");
        if known && !mismatch {
            return asked;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_turn_server_is_given_the_credentials_and_its_refusal_is_told() {
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let url = format!("turn:{}", socket.local_addr().expect("an address"));
    let server = tokio::spawn(refuse(socket, 0));
    let peer = PeerConnection::new(&endpoint, config(vec![url.clone()])).await;
    let errors = errors(&peer.expect("a connection")).await;
    let asked = soon("the request", server).await.expect("as expected");
    let reason = "Allocation Quota Reached".to_owned();
    assert_eq!(errors, [(Some(asked[0]), url, 486, reason)]);
}

/// A TURN server that relays from `relayed` for the first who knows the password, and sees everybody
/// at `mapped`.
async fn grant(socket: UdpSocket, relayed: SocketAddr, mapped: SocketAddr) {
    let mut buffer = [0; 1500];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).await.expect("a request");
        let request = Message::parse(&buffer[..len]).expect("STUN");
        let known = request.attribute(attribute::USERNAME).is_some();
        let answer = if known {
            Builder::new(Class::Success, request.method, request.transaction)
                .xor_address(attribute::XOR_RELAYED_ADDRESS, relayed)
                .xor_address(attribute::XOR_MAPPED_ADDRESS, mapped)
                .attribute(attribute::LIFETIME, &600u32.to_be_bytes())
                .finish_with_integrity(&KEY)
        } else {
            let error = Builder::new(Class::Error, request.method, request.transaction);
            let error = error.error(401, "Unauthorized");
            let error = error.attribute(attribute::REALM, b"example.org");
            error.attribute(attribute::NONCE, b"now").finish()
        };
        socket.send_to(&answer, from).await.expect("an answer");
        if known {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relayed_candidate_tells_its_server_and_what_that_sees() {
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let url = format!("turn:{}", socket.local_addr().expect("an address"));
    let at = |text: &str| text.parse::<SocketAddr>().expect("an address");
    let (relayed, mapped) = (at("203.0.113.7:4000"), at("198.51.100.9:5000"));
    tokio::spawn(grant(socket, relayed, mapped));
    let mut config = config(vec![url.clone()]);
    config.ice_transport_policy = IceTransportPolicy::Relay;
    config.ice.gather_patience = Duration::from_secs(60);
    let peer = PeerConnection::new(&endpoint, config).await;
    let peer = peer.expect("a connection");
    let mut events = peer.events();
    let _channel = channel(&peer, "first").await;
    peer.set_local_description(None).await.expect("an offer");
    let told = loop {
        let event = soon("an event", events.next()).await.expect("alive");
        if let Event::IceCandidate(Some(it)) = event {
            break it;
        }
    };
    assert_eq!(told.kind(), Some(CandidateKind::Relayed));
    assert_eq!(told.url(), Some(&*url));
    assert_eq!(told.relay_protocol(), Some(ServerTransport::Udp));
    assert_eq!(told.address().as_deref(), Some("203.0.113.7"));
    assert_eq!(told.port(), Some(4000));
    assert_eq!(told.related_address().as_deref(), Some("198.51.100.9"));
    assert_eq!(told.related_port(), Some(5000));
    let signaled = told.to_init().candidate;
    assert!(!signaled.contains("turn"), "its own business: {signaled}");
    let report = peer.get_stats().await.expect("open").report;
    let entry = report.of_type("local-candidate").next();
    let entry = serde_json::to_value(entry.expect("the relay")).expect("JSON");
    for (member, expected) in [
        ("candidateType", json!("relay")),
        ("address", json!("203.0.113.7")),
        ("port", json!(4000)),
        ("protocol", json!("udp")),
        ("relatedAddress", json!("198.51.100.9")),
        ("relatedPort", json!(5000)),
        ("url", json!(url)),
        ("relayProtocol", json!("udp")),
        ("usernameFragment", json!(told.username_fragment())),
    ] {
        assert_eq!(entry[member], expected, "{member}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_allocation_of_somebody_else_is_not_met_from_another_port() {
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let url = format!("turn:{}", socket.local_addr().expect("an address"));
    let server = tokio::spawn(refuse(socket, 2));
    let peer = PeerConnection::new(&endpoint, config(vec![url.clone()])).await;
    let errors = errors(&peer.expect("a connection")).await;
    let asked = soon("the requests", server).await.expect("as expected");
    assert_eq!(asked.len(), 3);
    assert!(asked[0] != asked[1] && asked[1] != asked[2], "{asked:?}");
    let reason = "Allocation Quota Reached".to_owned();
    assert_eq!(errors, [(Some(asked[2]), url, 486, reason)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asked_a_silent_server_is_told_and_nobody_asked_one_without_address() {
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let silent = format!("stun:{}", silent.local_addr().expect("an address"));
    let nowhere = "stun:does-not-exist.invalid".to_owned();
    let urls = vec![silent.clone(), nowhere.clone()];
    let peer = PeerConnection::new(&endpoint, config(urls)).await;
    let mut errors = errors(&peer.expect("a connection")).await;
    errors.sort();
    let texts: Vec<String> = errors
        .iter_mut()
        .map(|it| std::mem::take(&mut it.3))
        .collect();
    let here = endpoint.local_addrs()[0];
    assert_eq!(here.ip(), IpAddr::from([127, 0, 0, 1]));
    let expected = [(None, nowhere, 701), (Some(here), silent, 701)];
    let members = errors.into_iter().map(|it| (it.0, it.1, it.2));
    assert!(members.eq(expected), "{texts:?}");
    assert!(texts[0].contains("does-not-exist.invalid"), "{texts:?}");
    assert!(!texts[1].is_empty() && texts[0] != texts[1], "{texts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn gathering_lasts_as_long_as_a_server_is_asked() {
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let url = format!("stun:{}", silent.local_addr().expect("an address"));
    let mut patient = config(vec![url]);
    patient.ice.gather_patience = Duration::from_secs(3600);
    let a = PeerConnection::new(&endpoint, Configuration::default()).await;
    let b = PeerConnection::new(&endpoint, patient).await;
    let (a, b) = (a.expect("a connection"), b.expect("a connection"));
    channel(&a, "x").await;
    let offer = a.create_offer(Default::default()).await.expect("an offer");
    a.set_local_description(Some(offer.clone()))
        .await
        .expect("ours");
    b.set_remote_description(offer).await.expect("an offer");
    assert_eq!(b.ice_gathering_state(), IceGatheringState::New);
    b.set_local_description(None).await.expect("an answer");
    // Its question is there, and nobody has answered it.
    let mut buffer = [0; 1500];
    let question = soon("the question", silent.recv_from(&mut buffer)).await;
    let (len, from) = question.expect("a packet");
    assert_eq!(from, endpoint.local_addrs()[0]);
    let transport = b.sctp().expect("negotiated").transport().ice_transport();
    assert_eq!(transport.gathering_state(), IceGatheringState::Gathering);
    assert_eq!(b.ice_gathering_state(), IceGatheringState::Gathering);
    let sdp = || b.local_description().expect("set").sdp;
    assert!(!sdp().contains("a=end-of-candidates"), "{}", sdp());
    let request = Message::parse(&buffer[..len]).expect("STUN");
    let answer = Builder::new(Class::Success, method::BINDING, request.transaction);
    let answer = answer.xor_address(attribute::XOR_MAPPED_ADDRESS, from);
    let sent = silent.send_to(&answer.finish(), from).await;
    sent.expect("an answer");
    common::gathered([&b, &b]).await;
    assert_eq!(transport.gathering_state(), IceGatheringState::Complete);
    assert!(sdp().contains("a=end-of-candidates"), "{}", sdp());
}
