//! STUN servers: what they say becomes candidates, and what they do not say is told.

mod common;

use std::net::SocketAddr;

use common::{channel, endpoint, runtime, soon};
use futures::{FutureExt as _, StreamExt as _};
use peerloom_actors::stats::Entry;
use peerloom_actors::{
    CandidateKind, Configuration, Event, IceCandidate, IceGatheringState, IceServer,
    IceTransportPolicy, OfferOptions, PeerConnection,
};
use peerloom_transports::proto::stun::message::{attribute, method};
use peerloom_transports::proto::stun::{Builder, Class, Message};
use tokio::net::UdpSocket;

fn config(url: String) -> Configuration {
    Configuration {
        ice_servers: vec![IceServer {
            urls: vec![url],
            ..IceServer::default()
        }],
        ..Configuration::default()
    }
}

/// Answers like a server on the other side of an address translator.
async fn answer_as(socket: UdpSocket, mapped: SocketAddr) {
    loop {
        answer_once(&socket, mapped).await;
    }
}

async fn answer_once(socket: &UdpSocket, mapped: SocketAddr) {
    let mut buffer = [0; 1500];
    let (len, from) = socket.recv_from(&mut buffer).await.expect("a request");
    let request = Message::parse(&buffer[..len]).expect("STUN");
    let answer = Builder::new(Class::Success, method::BINDING, request.transaction)
        .xor_address(attribute::XOR_MAPPED_ADDRESS, mapped)
        .finish();
    socket.send_to(&answer, from).await.expect("an answer");
}

/// A server that answers only when it is told to, and the URL of it.
async fn server() -> (UdpSocket, String) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let port = socket.local_addr().expect("an address").port();
    (socket, format!("stun:127.0.0.1:{port}"))
}

/// The candidates and errors until gathering is over.
async fn gather(peer: &PeerConnection) -> (Vec<IceCandidate>, Vec<(u16, String)>) {
    let mut events = peer.events();
    let _channel = channel(peer, "first").await;
    peer.set_local_description(None).await.expect("an offer");
    let (mut candidates, mut errors) = (Vec::new(), Vec::new());
    loop {
        let event = soon("an event", events.next()).await.expect("alive");
        if let Event::IceCandidateError {
            error_code, url, ..
        } = event
        {
            errors.push((error_code, url));
        } else if let Event::IceCandidate(candidate) = event {
            let Some(candidate) = candidate else {
                return (candidates, errors);
            };
            if !candidate.is_end_of_candidates() {
                candidates.push(candidate);
            }
        }
    }
}

/// The server that each candidate over UDP in the statistics is from.
async fn urls(peer: &PeerConnection) -> Vec<(&'static str, Option<String>)> {
    let stats = peer.get_stats().await.expect("open");
    let entries = stats.report.of_type("local-candidate");
    let mut urls = Vec::new();
    for entry in entries {
        if let Entry::LocalCandidate(it) = entry
            && it.protocol == "udp"
        {
            assert_eq!(it.relay_protocol, None);
            urls.push((it.candidate_type, it.url.clone()));
        }
    }
    urls.sort();
    urls
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_stun_server_sees_becomes_a_candidate_of_each_connection() {
    let runtime = runtime(2);
    let endpoint = endpoint(&runtime).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let port = socket.local_addr().expect("an address").port();
    let mapped: SocketAddr = "203.0.113.5:40000".parse().expect("an address");
    let server = tokio::spawn(answer_as(socket, mapped));
    let base = endpoint.local_addrs()[0].port();
    // Both ask from the same port: each gets its own answer.
    for _ in 0..2 {
        let url = format!("stun:localhost:{port}");
        let peer = PeerConnection::new(&endpoint, config(url.clone()))
            .await
            .expect("a connection");
        let (candidates, errors) = gather(&peer).await;
        let expected = format!("203.0.113.5 40000 typ srflx raddr 127.0.0.1 rport {base}");
        assert!(
            candidates.iter().any(|c| c.candidate().contains(&expected)),
            "{candidates:?}"
        );
        assert_eq!(kinds(&candidates), ["udp host", "tcp host", "udp srflx"]);
        assert_eq!(errors, []);
        for candidate in &candidates {
            let from_server = candidate.kind() == Some(CandidateKind::ServerReflexive);
            assert_eq!(candidate.url(), from_server.then_some(url.as_str()));
            assert!(!candidate.candidate().contains(&url), "not for the peer");
        }
        assert_eq!(urls(&peer).await, [("host", None), ("srflx", Some(url))]);
    }
    server.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_cannot_be_had_is_told_and_does_not_hold_up_gathering() {
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    let silent = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let port = silent.local_addr().expect("an address").port();
    let mut config = config(format!("stun:127.0.0.1:{port}"));
    config.ice_servers[0]
        .urls
        .push("stun:does-not-exist.invalid".into());
    config.ice_servers[0].urls.push("stun:192.0.2.1".into());
    config.ice.gather_patience = std::time::Duration::from_millis(700);
    let peer = PeerConnection::new(&endpoint, config)
        .await
        .expect("a connection");
    let mut told = peer.events();
    let (candidates, mut errors) = gather(&peer).await;
    assert_eq!(kinds(&candidates), ["udp host", "tcp host"]);
    errors.sort();
    let urls: Vec<&str> = errors.iter().map(|(_, url)| url.as_str()).collect();
    let silent = format!("stun:127.0.0.1:{port}");
    assert_eq!(
        urls,
        [
            silent.as_str(),
            "stun:192.0.2.1",
            "stun:does-not-exist.invalid"
        ]
    );
    assert!(errors.iter().all(|(code, _)| *code == 701), "{errors:?}");
    let here = endpoint.local_addrs()[0];
    while let Some(event) = futures::FutureExt::now_or_never(told.next()) {
        if let Some(Event::IceCandidateError {
            address,
            port,
            url,
            error_text,
            ..
        }) = event
        {
            // The others have no address, and none that loopback reaches.
            let was_asked = url == silent;
            let asked = address.zip(port).map(SocketAddr::from);
            assert_eq!(asked, was_asked.then_some(here), "{url}");
            let unknown = url == "stun:does-not-exist.invalid";
            assert_eq!(error_text.contains("does-not-exist"), unknown);
        }
    }
    // What a server says itself is told as it says it.
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let url = format!("stun:{}", socket.local_addr().expect("an address"));
    let refusal = tokio::spawn(refuse(socket));
    let peer = PeerConnection::new(&endpoint, self::config(url.clone())).await;
    let (_, errors) = gather(&peer.expect("a connection")).await;
    assert_eq!(errors, [(500, url)]);
    refusal.await.expect("as expected");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pool_asks_before_there_is_a_description_and_tells_afterwards() {
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    let (socket, url) = server().await;
    let mut config = config(url);
    config.ice_candidate_pool_size = 3;
    let peer = PeerConnection::new(&endpoint, config)
        .await
        .expect("a connection");
    let mut events = peer.events();
    let mapped = "203.0.113.5:40000".parse().expect("an address");
    // From here on the server is silent: what is told later was gathered now.
    soon("a question", answer_once(&socket, mapped)).await;
    assert_eq!(peer.ice_gathering_state(), IceGatheringState::New);
    assert_eq!(urls(&peer).await, []);
    let offer = peer.create_offer(OfferOptions::default()).await;
    assert!(!offer.expect("an offer").sdp.contains("a=candidate"));
    assert!(events.next().now_or_never().is_none(), "nobody was told");
    let (candidates, errors) = gather(&peer).await;
    assert_eq!(kinds(&candidates), ["udp host", "tcp host", "udp srflx"]);
    assert!(
        candidates[2].candidate().contains("203.0.113.5 40000"),
        "{candidates:?}"
    );
    assert_eq!(errors, []);
    let offer = peer.local_description().expect("set").sdp;
    let ufrag = offer
        .lines()
        .find_map(|line| line.strip_prefix("a=ice-ufrag:"));
    let ufrag = format!("ufrag {}", ufrag.expect("credentials"));
    assert!(
        candidates.iter().all(|it| it.candidate().ends_with(&ufrag)),
        "{ufrag}: {candidates:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_pool_follows_the_configuration_until_the_first_description() {
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    let (all, relay) = (IceTransportPolicy::All, IceTransportPolicy::Relay);
    let with = |url: &str, size, policy| Configuration {
        ice_candidate_pool_size: size,
        ice_transport_policy: policy,
        ..config(url.to_owned())
    };
    let mapped = |host: u8| SocketAddr::from(([203, 0, 113, host], 4000));
    // Another server, another policy before, no pool before: what was there is gone each time.
    let before = [None, Some((1, relay)), Some((0, all))];
    for (before, host) in before.into_iter().zip(10..) {
        let ((first, first_url), (second, second_url)) = (server().await, server().await);
        let peer = PeerConnection::new(&endpoint, with(&first_url, 1, all))
            .await
            .expect("a connection");
        soon("a question", answer_once(&first, mapped(1))).await;
        let before = before.map(|(size, policy)| with(&first_url, size, policy));
        for config in before.into_iter().chain([with(&second_url, 1, all)]) {
            peer.set_configuration(config).await.expect("new servers");
        }
        soon("a question", answer_once(&second, mapped(host))).await;
        let (candidates, errors) = gather(&peer).await;
        assert_eq!(kinds(&candidates), ["udp host", "tcp host", "udp srflx"]);
        let expected = format!("203.0.113.{host} 4000");
        let line = candidates[2].candidate();
        assert!(line.contains(&expected), "{candidates:?}");
        assert_eq!(errors, []);
    }
}

/// More than are kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_that_were_named_before_take_no_room() {
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    let (socket, url) = server().await;
    tokio::spawn(answer_as(socket, ([203, 0, 113, 5], 4000).into()));
    let peer = PeerConnection::new(&endpoint, config("stun:127.0.0.1:9".into())).await;
    let peer = peer.expect("a connection");
    for port in 1..300 {
        let other = config(format!("stun:127.0.0.1:{port}"));
        peer.set_configuration(other).await.expect("a new server");
    }
    let last = config(url);
    peer.set_configuration(last).await.expect("a new server");
    let (candidates, errors) = gather(&peer).await;
    assert_eq!(kinds(&candidates), ["udp host", "tcp host", "udp srflx"]);
    assert_eq!(errors, []);
}

/// Transport and type of each.
fn kinds(candidates: &[IceCandidate]) -> Vec<String> {
    let kind = |it: &IceCandidate| {
        let words: Vec<&str> = it.candidate().split(' ').collect();
        format!("{} {}", words[2], words[7])
    };
    candidates.iter().map(kind).collect()
}

/// Answers one request, that it cannot be answered.
async fn refuse(socket: UdpSocket) {
    let mut buffer = [0; 1500];
    let (len, from) = socket.recv_from(&mut buffer).await.expect("a request");
    let request = Message::parse(&buffer[..len]).expect("STUN");
    let answer = Builder::new(Class::Error, request.method, request.transaction);
    let answer = answer.error(500, "Server Error").finish();
    socket.send_to(&answer, from).await.expect("an answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_urls_of_one_server_are_no_error() {
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a socket");
    let port = socket.local_addr().expect("an address").port();
    let mapped: SocketAddr = "203.0.113.5:40000".parse().expect("an address");
    let server = tokio::spawn(answer_as(socket, mapped));
    let mut config = config(format!("stun:127.0.0.1:{port}"));
    config.ice_servers[0]
        .urls
        .push(format!("stun:localhost:{port}"));
    let peer = PeerConnection::new(&endpoint, config)
        .await
        .expect("a connection");
    let (candidates, errors) = gather(&peer).await;
    let mut kinds = kinds(&candidates);
    kinds.sort();
    assert_eq!(kinds, ["tcp host", "udp host", "udp srflx"]);
    assert_eq!(errors, []);
    server.abort();
}
