//! Relayed paths through a real TURN server: coturn on loopback. Skipped where it is not
//! installed, and a failure in CI.

#[path = "../common/mod.rs"]
mod common;
mod server;

use common::{channel, endpoint, incoming, negotiate, runtime, soon};
use futures::StreamExt as _;
use peerloom_actors::stats::Entry;
use peerloom_actors::{
    Configuration, DataChannel, Endpoint, Event, IceServer, IceTransportPolicy, Message,
    PeerConnection, ServerTransport, SessionDescription,
};
use server::Coturn;

fn relay_only(server: &Coturn, url: String) -> Configuration {
    Configuration {
        ice_servers: vec![IceServer {
            urls: vec![url],
            username: Some("ada".into()),
            credential: Some("secret".into()),
        }],
        ice_transport_policy: IceTransportPolicy::Relay,
        ice_tls_roots: vec![server.certificate.clone()],
        ..Configuration::default()
    }
}

/// Two peers that know nothing but their relays, and a channel between them.
struct Relayed {
    a: PeerConnection,
    b: PeerConnection,
    from_a: DataChannel,
    to_b: DataChannel,
}

impl Relayed {
    async fn new(endpoints: [&Endpoint; 2], config: &Configuration) -> Relayed {
        let new = |endpoint| PeerConnection::new(endpoint, config.clone());
        let a = new(endpoints[0]).await.expect("a connection");
        let b = new(endpoints[1]).await.expect("a connection");
        let mut events = b.events();
        let from_a = channel(&a, "relayed").await;
        negotiate(&a, &b).await.expect("a negotiation");
        let to_b = soon("the channel at the other end", incoming(&mut events)).await;
        Relayed { a, b, from_a, to_b }
    }

    /// Many messages arrive in order, and only relays were named.
    async fn carries(&self) {
        const MESSAGES: usize = 2_000;
        let sending = async {
            for number in 0..MESSAGES {
                let text = format!("{number}:{}", "x".repeat(1_000));
                self.from_a.send(text).await.expect("open");
            }
        };
        let receiving = async {
            for number in 0..MESSAGES {
                let Some(Message::Text(text)) = self.to_b.recv().await else {
                    panic!("the channel closed");
                };
                assert!(text.starts_with(&format!("{number}:")), "{number}");
            }
        };
        soon("all messages", async { tokio::join!(sending, receiving) }).await;
        for peer in [&self.a, &self.b] {
            let sdp = peer.local_description().expect("negotiated").sdp;
            let lines: Vec<&str> = sdp
                .lines()
                .filter(|l| l.starts_with("a=candidate"))
                .collect();
            assert!(!lines.is_empty(), "{sdp}");
            assert!(
                lines.iter().all(|line| line.contains(" typ relay ")),
                "{lines:?}"
            );
        }
    }
}

/// A channel through a server that is reached over this transport, as each relayed candidate
/// tells.
async fn relays_over(transport: ServerTransport, url: impl Fn(&Coturn) -> String) {
    let Some(server) = Coturn::start(&[]).await else {
        return;
    };
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let config = relay_only(&server, url(&server));
    let relayed = Relayed::new([&ea, &eb], &config).await;
    relayed.carries().await;
    for peer in [&relayed.a, &relayed.b] {
        let sctp = peer.sctp().expect("connected");
        let candidates = sctp.transport().ice_transport().get_local_candidates();
        assert!(!candidates.is_empty());
        for candidate in candidates {
            assert_eq!(
                candidate.url(),
                Some(config.ice_servers[0].urls[0].as_str())
            );
            assert_eq!(candidate.relay_protocol(), Some(transport));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_works_through_turn_over_udp() {
    relays_over(ServerTransport::Udp, |server| {
        format!("turn:127.0.0.1:{}", server.port)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_works_through_turn_over_tcp() {
    relays_over(ServerTransport::Tcp, |server| {
        format!("turn:127.0.0.1:{}?transport=tcp", server.port)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_works_through_turn_over_tls() {
    relays_over(ServerTransport::Tls, |server| {
        format!("turns:localhost:{}", server.tls_port)
    })
    .await;
}

/// Two peers of IPv6 alone, and a server that has nothing else (RFC 8656 section 7).
#[allow(clippy::print_stderr, reason = "a skipped test has to say so")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_works_through_a_relay_of_ipv6() {
    if std::net::UdpSocket::bind("[::1]:0").is_err() {
        eprintln!("SKIPPED: there is no IPv6 here");
        return;
    }
    for transport in ["udp", "tcp"] {
        let Some(server) = Coturn::start_at(&["--relay-ip=::1"]) else {
            return;
        };
        let runtime = runtime(2);
        let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
        let url = format!("turn:[::1]:{}?transport={transport}", server.port);
        let relayed = Relayed::new([&ea, &eb], &relay_only(&server, url)).await;
        relayed.carries().await;
        let sdp = relayed.a.local_description().expect("negotiated").sdp;
        assert!(
            sdp.contains(" ::1 ") && !sdp.contains(" 127.0.0.1 "),
            "{sdp}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_of_one_endpoint_have_a_relay_each() {
    let Some(server) = Coturn::start(&[]).await else {
        return;
    };
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let config = relay_only(&server, format!("turn:127.0.0.1:{}", server.port));
    let first = Relayed::new([&ea, &eb], &config).await;
    let second = Relayed::new([&ea, &eb], &config).await;
    tokio::join!(first.carries(), second.carries());
}

/// The code and the URL of the first `icecandidateerror`.
async fn error_of(config: Configuration) -> (u16, String) {
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    let peer = PeerConnection::new(&endpoint, config)
        .await
        .expect("a connection");
    let mut events = peer.events();
    let _channel = channel(&peer, "first").await;
    peer.set_local_description(None).await.expect("an offer");
    let error = async {
        while let Some(event) = events.next().await {
            if let Event::IceCandidateError {
                error_code, url, ..
            } = event
            {
                return (error_code, url);
            }
        }
        panic!("no error was told");
    };
    soon("an error", error).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_an_icecandidateerror_401() {
    let Some(server) = Coturn::start(&[]).await else {
        return;
    };
    for transport in ["udp", "tcp"] {
        let url = format!("turn:127.0.0.1:{}?transport={transport}", server.port);
        let mut config = relay_only(&server, url.clone());
        config.ice_servers[0].credential = Some("guess".into());
        assert_eq!(error_of(config).await, (401, url));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_nobody_vouches_for_is_an_icecandidateerror_701() {
    let Some(server) = Coturn::start(&[]).await else {
        return;
    };
    let url = format!("turns:localhost:{}", server.tls_port);
    let mut config = relay_only(&server, url.clone());
    config.ice_tls_roots.clear();
    assert_eq!(error_of(config).await, (701, url));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_connection_gives_its_relay_back() {
    let Some(server) = Coturn::start(&["--user-quota=1"]).await else {
        return;
    };
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    let config = relay_only(&server, format!("turn:127.0.0.1:{}", server.port));
    let first = PeerConnection::new(&endpoint, config.clone())
        .await
        .expect("a connection");
    let mut events = first.events();
    let _channel = channel(&first, "first").await;
    first.set_local_description(None).await.expect("an offer");
    let relayed = async {
        while let Some(event) = events.next().await {
            if let Event::IceCandidate(Some(candidate)) = event {
                return candidate;
            }
        }
        panic!("the connection ended")
    };
    let relayed = soon("a relay", relayed).await;
    let url = config.ice_servers[0].urls[0].as_str();
    assert_eq!(relayed.url(), Some(url));
    assert_eq!(relayed.relay_protocol(), Some(ServerTransport::Udp));
    assert_eq!(error_of(config.clone()).await.0, 486, "one is all there is");
    first.close().await;
    // How soon the server takes it back is its own affair.
    let again = async {
        loop {
            let peer = PeerConnection::new(&endpoint, config.clone())
                .await
                .expect("a connection");
            let mut events = peer.events();
            let _channel = channel(&peer, "again").await;
            peer.set_local_description(None).await.expect("an offer");
            while let Some(event) = events.next().await {
                if let Event::IceCandidate(Some(candidate)) = &event
                    && !candidate.is_end_of_candidates()
                {
                    return;
                }
                if matches!(event, Event::IceCandidateError { .. }) {
                    break;
                }
            }
        }
    };
    soon("the relay that was given back", again).await;
}

/// Waits until the server has so many allocations.
async fn allocations(server: &Coturn, wanted: usize) {
    let waiting = async {
        while server.allocations() != wanted {
            tokio::task::yield_now().await;
        }
    };
    soon(&format!("{wanted} allocations"), waiting).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_gathered_ahead_is_told_with_the_offer_or_given_back() {
    // More than one would be refused.
    let Some(server) = Coturn::start(&["--user-quota=1"]).await else {
        return;
    };
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    let sized = |ice_candidate_pool_size| Configuration {
        ice_candidate_pool_size,
        ..relay_only(&server, format!("turn:127.0.0.1:{}", server.port))
    };
    let new = || PeerConnection::new(&endpoint, sized(2));
    let unused = new().await.expect("a connection");
    allocations(&server, 1).await;
    let configure = |size| unused.set_configuration(sized(size));
    configure(0).await.expect("no pool");
    allocations(&server, 0).await;
    configure(1).await.expect("a pool");
    allocations(&server, 1).await;
    unused.close().await;
    allocations(&server, 0).await;

    let used = new().await.expect("a connection");
    allocations(&server, 1).await;
    assert!(gathered_relay(&used).await, "nobody else could give it one");
    used.close().await;
    allocations(&server, 0).await;
}

/// Makes an offer, and says whether a relayed candidate comes of it.
async fn gathered_relay(peer: &PeerConnection) -> bool {
    let mut events = peer.events();
    let _channel = channel(peer, "first").await;
    peer.set_local_description(None).await.expect("an offer");
    let told = async {
        while let Some(event) = events.next().await {
            if let Event::IceCandidate(candidate) = event {
                return candidate.is_some_and(|it| it.candidate().contains("typ relay"));
            }
        }
        panic!("the connection ended");
    };
    soon("a candidate, or the end of them", told).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_is_a_candidate_of_the_offer_after_one_that_was_rolled_back() {
    let Some(server) = Coturn::start(&[]).await else {
        return;
    };
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let config = relay_only(&server, format!("turn:127.0.0.1:{}", server.port));
    let new = |endpoint| PeerConnection::new(endpoint, config.clone());
    let a = new(&ea).await.expect("a connection");
    let b = new(&eb).await.expect("a connection");
    let from_a = channel(&a, "relayed").await;
    a.set_local_description(None).await.expect("an offer");
    relay_of(&a, None).await;
    a.set_local_description(Some(SessionDescription::rollback()))
        .await
        .expect("to stable");
    negotiate(&a, &b).await.expect("a negotiation");
    soon("the channel", from_a.opened()).await.expect("open");
}

/// The relayed address in use once there is one other than `but`, and ours as its server sees it.
/// What comes after the end of candidates is not told to the peer (RFC 8838 section 13) but used.
async fn relay_of(peer: &PeerConnection, but: Option<u16>) -> (u16, String) {
    let relay = async {
        loop {
            let report = peer.get_stats().await.expect("open").report;
            for entry in report.of_type("local-candidate") {
                let Entry::LocalCandidate(candidate) = entry else {
                    panic!("{entry:?}");
                };
                let mapped = candidate.related_address.clone();
                if let Some(mapped) = mapped.filter(|_| Some(candidate.port) != but) {
                    return (candidate.port, mapped);
                }
            }
            tokio::task::yield_now().await;
        }
    };
    soon("a relay", relay).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_is_lost_is_asked_for_again_whoever_uses_it() {
    let Some(mut server) = Coturn::start(&[]).await else {
        return;
    };
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    let url = format!("turn:127.0.0.1:{}?transport=tcp", server.port);
    let peer = PeerConnection::new(&endpoint, relay_only(&server, url))
        .await
        .expect("a connection");
    let _channel = channel(&peer, "first").await;
    peer.set_local_description(None).await.expect("an offer");
    let (first, _) = relay_of(&peer, None).await;
    server.restart();
    relay_of(&peer, Some(first)).await;
}

/// The allocation belongs to the address it was made from (RFC 8656 §3.2).
#[cfg(feature = "chaos")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_is_remade_at_once_from_a_new_address() {
    let Some(server) = Coturn::start(&[]).await else {
        return;
    };
    let runtime = runtime(1);
    let any = peerloom_actors::EndpointConfig {
        bind: vec!["0.0.0.0:0".parse().expect("an address")],
    };
    let roaming = Endpoint::bind(&runtime, any).await.expect("sockets");
    let addresses = ["127.0.0.1", "127.0.0.2"].map(|ip| ip.parse().expect("an address"));
    for transport in ["udp", "tcp"] {
        roaming.pretend_addresses(vec![addresses[0]]);
        let url = format!("turn:127.0.0.1:{}?transport={transport}", server.port);
        let peer = PeerConnection::new(&roaming, relay_only(&server, url))
            .await
            .expect("a connection");
        let _channel = channel(&peer, "first").await;
        peer.set_local_description(None).await.expect("an offer");
        let (first, mapped) = relay_of(&peer, None).await;
        assert_eq!(mapped, "127.0.0.1");
        roaming.pretend_addresses(vec![addresses[1]]);
        let (_, mapped) = relay_of(&peer, Some(first)).await;
        assert_eq!(mapped, "127.0.0.2");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_direct_path_is_preferred_to_a_relay() {
    let Some(server) = Coturn::start(&[]).await else {
        return;
    };
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let mut config = relay_only(&server, format!("turn:127.0.0.1:{}", server.port));
    config.ice_transport_policy = IceTransportPolicy::All;
    let pair = common::Pair::with(&ea, &eb, config.clone(), config).await;
    pair.channel_a.send("direct").await.expect("open");
    let message = soon("a message", pair.channel_b.recv()).await;
    assert_eq!(message, Some("direct".into()));
}
