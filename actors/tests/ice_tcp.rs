//! Connections over TCP (RFC 6544): the peers' UDP candidates are kept from each other.

mod common;

use std::net::SocketAddr;

use bytes::BytesMut;
use common::{Pair, channel, incoming, runtime, soon};
use futures::StreamExt as _;
use peerloom_actors::{
    Configuration, DataChannel, Endpoint, EndpointConfig, Event, IceConnectionState,
    IceGatheringState, Message, OfferOptions, PathCause, PathMark, PeerConnection, Protocol,
    Runtime, SessionDescription,
};
use peerloom_transports::proto::framing::write_frame;
use peerloom_transports::proto::stun::message::{
    Builder, Class, Message as StunMessage, attribute, method,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A way through a TCP port of its own to somewhere else, that can be cut.
struct Way {
    at: SocketAddr,
    cut: watch::Sender<u32>,
    task: tokio::task::JoinHandle<()>,
}

impl Way {
    async fn to(listener: SocketAddr) -> Self {
        let here = SocketAddr::new(listener.ip(), 0);
        let entry = TcpListener::bind(here).await.expect("a port");
        let at = entry.local_addr().expect("bound");
        let (cut, cuts) = watch::channel(0);
        let task = tokio::spawn(async move {
            while let Ok((mut near, _)) = entry.accept().await {
                let mut cuts = cuts.clone();
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(listener).await.expect("listening");
                    tokio::select! {
                        ended = copy_bidirectional(&mut near, &mut far) => drop(ended),
                        changed = cuts.changed() => drop(changed),
                    }
                });
            }
        });
        Self { at, cut, task }
    }

    /// Breaks every connection; new ones are let through.
    fn cut(&self) {
        self.cut.send_modify(|count| *count += 1);
    }

    /// Lets nothing through any more.
    fn close(&self) {
        self.task.abort();
        self.cut();
    }
}

impl Drop for Way {
    fn drop(&mut self) {
        self.close();
    }
}

async fn endpoint(runtime: &Runtime, ip: &str) -> Endpoint {
    let bind = vec![SocketAddr::new(ip.parse().expect("an address"), 0)];
    let bound = Endpoint::bind(runtime, EndpointConfig { bind }).await;
    bound.expect("loopback can be bound")
}

fn impatient() -> Configuration {
    let mut config = Configuration::default();
    config.ice.tcp_patience = std::time::Duration::ZERO;
    config
}

/// The description once it has all candidates: those over UDP left out, the listening ones
/// moved to `at`.
async fn over_tcp(pc: &PeerConnection, at: Option<SocketAddr>) -> SessionDescription {
    pc.set_local_description(None).await.expect("a description");
    told_over_tcp(pc, at).await
}

async fn told_over_tcp(pc: &PeerConnection, at: Option<SocketAddr>) -> SessionDescription {
    while pc.ice_gathering_state() != IceGatheringState::Complete {
        tokio::task::yield_now().await;
    }
    let mut description = pc.local_description().expect("just set");
    let altered = |line: &str| {
        if !line.starts_with("a=candidate:") {
            return Some(line.to_owned());
        }
        let mut words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        if words[2].eq_ignore_ascii_case("udp") {
            return None;
        }
        if let Some(at) = at.filter(|_| line.contains("tcptype passive")) {
            (words[4], words[5]) = (at.ip().to_string(), at.port().to_string());
        }
        Some(words.join(" "))
    };
    let lines: Vec<String> = description.sdp.split("\r\n").filter_map(altered).collect();
    description.sdp = lines.join("\r\n");
    description
}

/// Offer and answer without UDP candidates; `b` is told to listen at `at`.
async fn negotiate(a: &PeerConnection, b: &PeerConnection, at: Option<SocketAddr>) {
    let offer = over_tcp(a, at).await;
    b.set_remote_description(offer).await.expect("an offer");
    let answer = over_tcp(b, at).await;
    a.set_remote_description(answer).await.expect("an answer");
}

async fn connect(
    a: &Endpoint,
    b: &Endpoint,
    config: Configuration,
    at: Option<SocketAddr>,
) -> Pair {
    let a = PeerConnection::new(a, config.clone())
        .await
        .expect("a connection");
    let b = PeerConnection::new(b, config).await.expect("a connection");
    let mut events = b.events();
    let channel_a = channel(&a, "first").await;
    negotiate(&a, &b, at).await;
    let channel_b = soon("the channel at the other end", incoming(&mut events)).await;
    soon("the channel to open", channel_a.opened())
        .await
        .expect("an open channel");
    Pair {
        a,
        b,
        channel_a,
        channel_b,
    }
}

/// Sends messages one way, and checks them at the other end: in order, none missing.
async fn exchange(from: &DataChannel, to: &DataChannel, numbers: std::ops::Range<usize>) {
    let sending = async {
        for number in numbers.clone() {
            let text = format!("{number}:{}", "x".repeat(2_000));
            from.send(text).await.expect("open");
        }
    };
    let receiving = async {
        for number in numbers.clone() {
            let Some(Message::Text(text)) = to.recv().await else {
                panic!("the channel closed");
            };
            assert!(text.starts_with(&format!("{number}:")), "{number}");
        }
    };
    soon("all messages", async { tokio::join!(sending, receiving) }).await;
}

async fn state(pc: &PeerConnection, wanted: IceConnectionState) {
    let mut events = pc.events();
    let reached = async {
        while pc.ice_connection_state() != wanted {
            events.next().await.expect("alive");
        }
    };
    soon(&format!("{wanted:?}"), reached).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_works_over_tcp_whoever_offers_and_listens() {
    for (ip, offerer_listens) in [("127.0.0.1", false), ("127.0.0.1", true), ("::1", false)] {
        let runtime = runtime(2);
        let (a, b) = (endpoint(&runtime, ip).await, endpoint(&runtime, ip).await);
        let here = SocketAddr::new(ip.parse().expect("an address"), 0);
        let listening = if offerer_listens { &a } else { &b };
        let listener = listening.listen_tcp(here).await.expect("a port");
        let pair = connect(&a, &b, Configuration::default(), None).await;
        exchange(&pair.channel_a, &pair.channel_b, 0..500).await;
        exchange(&pair.channel_b, &pair.channel_a, 0..500).await;
        let (caller, callee) = if offerer_listens {
            (&pair.b, &pair.a)
        } else {
            (&pair.a, &pair.b)
        };
        assert_eq!(
            local_candidate(caller).await,
            ("tcp".into(), "active".into(), 9)
        );
        let passive = ("tcp".into(), "passive".into(), listener.port().into());
        assert_eq!(local_candidate(callee).await, passive);
    }
}

/// Protocol, TCP type and port of our end of the selected pair.
async fn local_candidate(pc: &PeerConnection) -> (String, String, u64) {
    let stats = soon("the statistics", pc.get_stats()).await.expect("open");
    let all = serde_json::to_value(&stats.report).expect("JSON");
    let of_type = |wanted: &str| {
        let mut entries = all.as_object().expect("an object").values();
        let found = entries.find(|entry| entry["type"] == wanted);
        found.unwrap_or_else(|| panic!("no {wanted}")).clone()
    };
    let follow = |id: &Value| all[id.as_str().expect("an id")].clone();
    let pair = follow(&of_type("transport")["selectedCandidatePairId"]);
    let local = follow(&pair["localCandidateId"]);
    let remote = follow(&pair["remoteCandidateId"]);
    assert_eq!(remote["protocol"], local["protocol"]);
    // The other way round the port was never told: it is found out by a check.
    if local["tcpType"] == "active" {
        assert_eq!(remote["tcpType"], "passive");
    }
    let text = |name: &str| local[name].as_str().unwrap_or_default().to_owned();
    let port = local["port"].as_u64().expect("a port");
    (text("protocol"), text("tcpType"), port)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_breaks_is_opened_anew_and_no_message_is_lost() {
    let runtime = runtime(2);
    let (a, b) = (
        endpoint(&runtime, "127.0.0.1").await,
        endpoint(&runtime, "127.0.0.1").await,
    );
    let listener = b.listen_tcp(common::LOOPBACK).await.expect("a port");
    let way = Way::to(listener).await;
    let pair = connect(&a, &b, impatient(), Some(way.at)).await;
    let mut told = [pair.a.events(), pair.b.events()];
    exchange(&pair.channel_a, &pair.channel_b, 0..200).await;
    way.cut();
    exchange(&pair.channel_a, &pair.channel_b, 200..1_000).await;
    exchange(&pair.channel_b, &pair.channel_a, 0..200).await;
    for events in &mut told {
        for wanted in [
            IceConnectionState::Disconnected,
            IceConnectionState::Connected,
        ] {
            let seen = async {
                while let Some(event) = events.next().await {
                    if matches!(event, Event::IceConnectionStateChange(state) if state == wanted) {
                        return;
                    }
                }
                panic!("the connection is gone");
            };
            soon(&format!("{wanted:?}"), seen).await;
        }
    }
    for pc in [&pair.a, &pair.b] {
        let paths = pc.get_stats().await.expect("open").paths;
        let lost = |mark: &PathMark| *mark == PathMark::Failed(PathCause::ConnectionLost);
        let marked = paths.iter().any(|path| {
            path.path.protocol == Protocol::Tcp && path.timeline.iter().any(|(_, mark)| lost(mark))
        });
        assert!(marked, "{paths:?}");
    }
}

/// Waits until something was sent into a connection that is gone.
async fn discarded(pc: &PeerConnection) {
    let counted = async {
        loop {
            let report = pc.get_stats().await.expect("open").report;
            let all = serde_json::to_value(&report).expect("JSON");
            let mut pairs = all.as_object().expect("an object").values();
            let numbers = pairs.find_map(|pair| {
                let of = |name: &str| pair[name].as_u64().filter(|it| *it != 0);
                of("packetsDiscardedOnSend").zip(of("bytesDiscardedOnSend"))
            });
            if let Some((packets, bytes)) = numbers {
                return assert!(bytes > packets, "{packets} datagrams, {bytes} bytes");
            }
            tokio::task::yield_now().await;
        }
    };
    soon("something to be lost", counted).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_ice_restart_finds_another_way_when_the_connection_stays_away() {
    let runtime = runtime(2);
    let (a, b) = (
        endpoint(&runtime, "127.0.0.1").await,
        endpoint(&runtime, "127.0.0.1").await,
    );
    let listener = b.listen_tcp(common::LOOPBACK).await.expect("a port");
    let first = Way::to(listener).await;
    let pair = connect(&a, &b, impatient(), Some(first.at)).await;
    exchange(&pair.channel_a, &pair.channel_b, 0..100).await;
    first.close();
    for pc in [&pair.a, &pair.b] {
        state(pc, IceConnectionState::Disconnected).await;
    }
    // What goes out into the void is counted as such.
    let _channel = channel(&pair.a, "unheard").await;
    discarded(&pair.a).await;
    let second = Way::to(listener).await;
    let restart = OfferOptions { ice_restart: true };
    let offer = pair.a.create_offer(restart).await.expect("an offer");
    pair.a
        .set_local_description(Some(offer))
        .await
        .expect("an offer");
    let offer = told_over_tcp(&pair.a, None).await;
    pair.b
        .set_remote_description(offer)
        .await
        .expect("an offer");
    let answer = over_tcp(&pair.b, Some(second.at)).await;
    pair.a
        .set_remote_description(answer)
        .await
        .expect("an answer");
    exchange(&pair.channel_a, &pair.channel_b, 100..300).await;
    exchange(&pair.channel_b, &pair.channel_a, 0..100).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_who_knows_the_password_may_keep_a_connection() {
    let runtime = runtime(2);
    let (a, b) = (
        endpoint(&runtime, "127.0.0.1").await,
        endpoint(&runtime, "127.0.0.1").await,
    );
    let listener = b.listen_tcp(common::LOOPBACK).await.expect("a port");
    let a = PeerConnection::new(&a, Configuration::default()).await;
    let b = PeerConnection::new(&b, Configuration::default()).await;
    let (a, b) = (a.expect("a connection"), b.expect("a connection"));
    let _channel = channel(&a, "first").await;
    let offer = over_tcp(&a, None).await;
    let theirs = attribute_of(&offer, "a=ice-ufrag:");
    b.set_remote_description(offer).await.expect("an offer");
    let answer = over_tcp(&b, None).await;
    let username = format!("{}:{theirs}", attribute_of(&answer, "a=ice-ufrag:"));
    let password = attribute_of(&answer, "a=ice-pwd:");

    let check = |password: &str| {
        let check = Builder::new(Class::Request, method::BINDING, [5; 12])
            .attribute(attribute::USERNAME, username.as_bytes())
            .finish_with_integrity(password.as_bytes());
        let mut framed = BytesMut::new();
        write_frame(&check, &mut framed);
        framed
    };
    let mut stranger = TcpStream::connect(listener).await.expect("listening");
    let forged = check("some other password that is long enough");
    stranger.write_all(&forged).await.expect("accepted");
    let closed = soon("the end", stranger.read(&mut [0; 16])).await;
    assert!(matches!(closed, Ok(0) | Err(_)), "{closed:?}");

    let mut peer = TcpStream::connect(listener).await.expect("listening");
    peer.write_all(&check(&password)).await.expect("accepted");
    let own = peer.local_addr().expect("connected");
    // Checks of the other side may come before the answer.
    loop {
        let len = soon("a frame", peer.read_u16()).await.expect("a length");
        let mut packet = vec![0; usize::from(len)];
        soon("its bytes", peer.read_exact(&mut packet))
            .await
            .expect("a packet");
        let message = StunMessage::parse(&packet).expect("STUN");
        if message.class == Class::Success {
            assert_eq!(message.transaction, [5; 12]);
            let mapped = message.xor_address(attribute::XOR_MAPPED_ADDRESS);
            assert_eq!(mapped, Some(own));
            return;
        }
    }
}

/// The value of the first such line.
fn attribute_of(description: &SessionDescription, prefix: &str) -> String {
    let mut lines = description.sdp.lines();
    let value = lines.find_map(|line| line.strip_prefix(prefix));
    value.expect("such a line").to_owned()
}
