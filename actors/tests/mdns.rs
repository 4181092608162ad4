//! Candidates whose addresses are names on the local network.

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

use common::{Pair, channel, endpoint, incoming, negotiate, runtime, soon};
use futures::StreamExt as _;
use peerloom_actors::stats::Entry;
use peerloom_actors::{
    Configuration, Event, IceCandidateInit, Message, PeerConnection, SessionDescription,
};
use peerloom_transports::mdns::Resolver;
use peerloom_transports::proto::mdns::{GROUP, Mdns};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

/// A socket in the group, on loopback.
fn multicast() -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP)).expect("a socket");
    socket.set_reuse_address(true).expect("shared");
    socket.set_reuse_port(true).expect("shared");
    socket.set_nonblocking(true).expect("for tokio");
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, GROUP.port()));
    socket.bind(&any.into()).expect("the port of mDNS");
    let group = match GROUP.ip() {
        IpAddr::V4(group) => group,
        IpAddr::V6(_) => panic!("the group is IPv4"),
    };
    let lo = Ipv4Addr::LOCALHOST;
    socket.join_multicast_v4(&group, &lo).expect("the group");
    socket.set_multicast_if_v4(&lo).expect("loopback");
    socket.set_multicast_loop_v4(true).expect("to ourselves");
    UdpSocket::from_std(socket.into()).expect("a socket")
}

async fn answer(mut engine: Mdns) {
    let socket = multicast();
    let mut buffer = vec![0; 9000];
    loop {
        let (len, _) = socket.recv_from(&mut buffer).await.expect("a packet");
        engine.handle_packet(&buffer[..len], Instant::now());
        while let Some(packet) = engine.poll_packet() {
            socket.send_to(&packet, GROUP).await.expect("sent");
        }
    }
}

/// The whole description, with the name in place of the address.
async fn described(peer: &PeerConnection, name: &str) -> SessionDescription {
    let mut events = peer.events();
    peer.set_local_description(None)
        .await
        .expect("a description");
    while !matches!(
        soon("gathering", events.next()).await,
        Some(Event::IceCandidate(None))
    ) {}
    let mut description = peer.local_description().expect("just set");
    let hidden = |line: &str| match line.strip_prefix("a=candidate:") {
        Some(_) => line.replace("127.0.0.1", name),
        None => line.to_owned(),
    };
    let lines: Vec<String> = description.sdp.split("\r\n").map(hidden).collect();
    description.sdp = lines.join("\r\n");
    assert!(description.sdp.contains(name), "{}", description.sdp);
    description
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_know_only_each_others_names_connect() {
    let mut names = Mdns::new([9; 32]);
    let localhost = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let of_a = names.register(localhost).expect("a name");
    let of_b = names.register(localhost).expect("a name");
    let answering = tokio::spawn(answer(names));
    let runtime = runtime(2);
    let new = async || {
        let endpoint = endpoint(&runtime).await;
        let made = PeerConnection::new(&endpoint, Configuration::default()).await;
        (made.expect("a connection"), endpoint)
    };
    let ((a, _ea), (b, _eb)) = (new().await, new().await);
    let mut events = b.events();
    let channel = channel(&a, "by name").await;
    b.set_remote_description(described(&a, &of_a).await)
        .await
        .expect("an offer");
    a.set_remote_description(described(&b, &of_b).await)
        .await
        .expect("an answer");
    let incoming = soon("the channel", incoming(&mut events)).await;
    channel.send("found").await.expect("open");
    assert_eq!(
        soon("a message", incoming.recv()).await,
        Some(Message::Text("found".into()))
    );
    answering.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_hide_their_addresses_connect_and_tell_them_nowhere() {
    let runtime = runtime(2);
    let hiding = || Configuration {
        obfuscate_host_addresses: true,
        ..Configuration::default()
    };
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let pair = Pair::with(&ea, &eb, hiding(), hiding()).await;
    let mut names = Vec::new();
    for peer in [&pair.a, &pair.b] {
        let sdp = peer.local_description().expect("set").sdp;
        assert!(!sdp.contains("127.0.0.1"), "{sdp}");
        let sctp = peer.sctp().expect("connected");
        let ice = sctp.transport().ice_transport();
        let selected = ice.get_selected_candidate_pair().expect("connected");
        let name = selected.local.address().expect("readable");
        assert!(name.ends_with(".local"), "{name}");
        assert!(sdp.contains(&name), "{sdp}");
        let report = peer.get_stats().await.expect("open").report;
        let ours = report.of_type("local-candidate").count();
        let hidden = report.of_type("local-candidate").filter(|entry| {
            matches!(entry, Entry::LocalCandidate(it) if it.address == name)
                && !entry.id().contains("127.0.0.1")
        });
        assert_eq!(hidden.count(), ours, "{report:?}");
        names.push(name);
    }
    assert_ne!(names[0], names[1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_is_answered_for_as_long_as_its_connection_lives() {
    let runtime = runtime(2);
    let (ours, theirs) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let hiding = Configuration {
        obfuscate_host_addresses: true,
        ..Configuration::default()
    };
    let pair = Pair::with(&ours, &theirs, hiding, Configuration::default()).await;
    let ice = pair.a.sctp().expect("connected").transport();
    let selected = ice.ice_transport().get_selected_candidate_pair();
    let name = selected
        .expect("connected")
        .local
        .address()
        .expect("a name");
    let asker = Resolver::default();
    let found = soon("an answer", asker.resolve(&name)).await;
    assert_eq!(found, Some(IpAddr::V4(Ipv4Addr::LOCALHOST)));
    pair.a.close().await;
    drop(pair);
    let silence = async { while Resolver::default().resolve(&name).await.is_some() {} };
    soon("silence", silence).await;
}

/// A candidate of the peer that is a name.
fn named(name: &str, port: u16) -> IceCandidateInit {
    IceCandidateInit {
        candidate: format!("candidate:1 1 udp 2130706431 {name} {port} typ host"),
        sdp_mid: Some("0".into()),
        ..IceCandidateInit::default()
    }
}

/// The ports of the peer's candidates.
async fn remote_ports(peer: &PeerConnection) -> Vec<u16> {
    let report = peer.get_stats().await.expect("open").report;
    let port = |entry: &Entry| {
        let Entry::RemoteCandidate(candidate) = entry else {
            return None;
        };
        Some(candidate.port)
    };
    report
        .of_type("remote-candidate")
        .filter_map(port)
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_name_that_is_found_after_a_restart_belongs_to_the_past() {
    let mut names = Mdns::new([8; 32]);
    let name = names.register(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let name = name.expect("a name");
    let pair = Pair::new(&runtime(2)).await;
    let add = async |port| pair.b.add_ice_candidate(Some(named(&name, port))).await;
    add(9).await.expect("a candidate");
    pair.a.restart_ice().await.expect("open");
    negotiate(&pair.a, &pair.b).await.expect("a restart");
    add(10).await.expect("a candidate");
    let answering = tokio::spawn(answer(names));
    let ports = async {
        loop {
            let ports = remote_ports(&pair.b).await;
            if ports.contains(&10) {
                return ports;
            }
            tokio::task::yield_now().await;
        }
    };
    let ports = soon("the candidate of this generation", ports).await;
    assert!(!ports.contains(&9), "{ports:?}");
    answering.abort();
}
