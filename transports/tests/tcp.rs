//! ICE over TCP with real sockets on loopback: whose a connection is, what carries, what is refused.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use peerloom_transports::carrier::{Carrier, Tunnel};
use peerloom_transports::proto::engine::Transmit;
use peerloom_transports::proto::framing::{MAX_FIRST_FRAME_LEN, write_frame};
use peerloom_transports::proto::id::Path;
use peerloom_transports::proto::stun::message::{Builder, Class, attribute, method};
use peerloom_transports::tcp::{Accepted, Listener, MAX_WAITING, open};
use peerloom_transports::udp::{Datagrams, Endpoint, Inlet, Registration, Sender, Sent};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

const LOOPBACK: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

/// Batches and connections an inlet holds in these tests.
const INLET: usize = 64;

#[tokio::test]
async fn a_connection_goes_to_whom_its_first_check_names_and_carries_both_ways() {
    let node = Node::new();
    let (mut first, mut second) = (node.connection("first"), node.connection("second"));
    let here = node.connection("here");
    let path = Path::tcp(LOOPBACK, node.listening);
    let (stream, tunnel) = open(path, &node.endpoint, &here.ingress())
        .await
        .expect("a listener");
    let (mut sender, carrying) = (carry(tunnel), tokio::spawn(stream.run()));
    send(
        &mut sender,
        path,
        &[check("second:here"), vec![22; 1_200], vec![22; 7]],
    );

    let accepted = second.streams.recv().await.expect("the listener runs");
    assert_eq!(accepted.first(), check("second:here"));
    assert_eq!(accepted.path().local, node.listening);
    let there = accepted.path();
    let (stream, tunnel) = accepted
        .into_stream(&node.endpoint, &second.ingress())
        .expect("still there");
    tokio::spawn(stream.run());
    assert_eq!(
        second.stun.recv().await.map(|batch| contents(&batch)),
        Some(vec![check("second:here")])
    );
    let mut records = Vec::new();
    while records.len() < 2 {
        records.extend(contents(&second.records.recv().await.expect("carried")));
    }
    assert_eq!(records, [vec![22; 1_200], vec![22; 7]]);
    assert!(first.streams.try_recv().is_err());

    let mut here = here;
    let mut answering = carry(tunnel);
    send(&mut answering, there, &[vec![23; 100]]);
    // What was given is still sent, then the task at the other end ends, and ours with it.
    drop(answering);
    let back = here.records.recv().await.expect("carried");
    assert_eq!(contents(&back), [vec![23; 100]]);
    assert!(
        carrying.await.expect("no panic").is_err(),
        "closed by the peer"
    );
}

/// The peer's kernel drops what arrives, as a router does that has forgotten the connection.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_connection_that_falls_silent_is_lost() {
    const DROP_ALL: socket2::SockFilter = socket2::SockFilter::new(6, 0, 0, 0); // RET 0
    let node = Node::new();
    let here = node.connection("here");
    let listener = tokio::net::TcpListener::bind(LOOPBACK)
        .await
        .expect("a port");
    let path = Path::tcp(LOOPBACK, listener.local_addr().expect("bound"));
    let (stream, tunnel) = open(path, &node.endpoint, &here.ingress())
        .await
        .expect("a listener");
    let (mut sender, carrying) = (carry(tunnel), tokio::spawn(stream.run()));
    let (mut peer, _) = listener.accept().await.expect("a connection");
    send(&mut sender, path, &[vec![22; 7]]);
    peer.read_exact(&mut [0; 9]).await.expect("it works");
    let filtered = socket2::SockRef::from(&peer).attach_filter(&[DROP_ALL]);
    filtered.expect("a filter");
    send(&mut sender, path, &[vec![22; 7]]);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(60), carrying).await;
    let lost = ended
        .expect("noticed")
        .expect("no panic")
        .expect_err("lost");
    assert_eq!(lost.kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn who_does_not_begin_with_a_check_for_us_is_closed() {
    let node = Node::new();
    let mut connection = node.connection("ours");
    let stranger = framed(&check("nobody:x"));
    let long = u16::try_from(MAX_FIRST_FRAME_LEN + 1)
        .expect("two bytes")
        .to_be_bytes();
    let record = framed(&[22; 100]);
    for beginning in [&stranger[..], &long, &record, b"GET / HTTP/1.1\r\n\r\n"] {
        let mut stream = TcpStream::connect(node.listening).await.expect("listening");
        stream.write_all(beginning).await.expect("accepted");
        assert!(is_closed(&mut stream).await, "{beginning:?}");
    }
    assert!(connection.streams.try_recv().is_err());
}

#[tokio::test]
async fn who_waits_longest_is_closed_when_too_many_do_not_begin() {
    let node = Node::new();
    let mut connection = node.connection("ours");
    let mut silent = Vec::new();
    for _ in 0..=MAX_WAITING {
        silent.push(TcpStream::connect(node.listening).await.expect("listening"));
    }
    assert!(is_closed(&mut silent[0]).await);
    for late in &mut silent[1..] {
        let nothing = late.try_read(&mut [0; 1]).expect_err("still waits");
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
    }
    let mut honest = TcpStream::connect(node.listening).await.expect("listening");
    honest
        .write_all(&framed(&check("ours:x")))
        .await
        .expect("accepted");
    let accepted = connection.streams.recv().await.expect("let in");
    assert_eq!(accepted.path().remote, honest.local_addr().expect("bound"));
}

#[tokio::test]
async fn a_tunnel_whose_peer_reads_nothing_fills_up_and_says_so() {
    let node = Node::new();
    let here = node.connection("here");
    let deaf = tokio::net::TcpListener::bind(LOOPBACK)
        .await
        .expect("a port");
    let path = Path::tcp(LOOPBACK, deaf.local_addr().expect("bound"));
    let (stream, tunnel) = open(path, &node.endpoint, &here.ingress())
        .await
        .expect("a listener");
    let _kept = deaf.accept().await.expect("connected");
    tokio::spawn(stream.run());
    let mut sender = Sender::default();
    sender.add(Carrier::Tunnel(tunnel));
    let batch = Transmit {
        path,
        contents: Bytes::from(vec![22; 48_000]),
        segment_size: 1_200,
    };
    let mut sent = 0;
    while sender.send(batch.clone()) == Sent::Done {
        sent += 1;
        assert!(sent < 10_000, "there is no end");
        tokio::task::yield_now().await;
    }
    assert!(sender.is_blocked());
    let mut outcomes = (0..32).map(|_| sender.send(batch.clone()));
    assert!(
        outcomes.any(|it| matches!(it, Sent::Lost(_))),
        "what is new is dropped"
    );
}

/// An endpoint that accepts.
struct Node {
    endpoint: Endpoint,
    listening: SocketAddr,
}

struct Connection {
    registration: Registration,
    stun: mpsc::Receiver<Datagrams>,
    records: mpsc::Receiver<Datagrams>,
    streams: mpsc::Receiver<Accepted>,
}

impl Node {
    fn new() -> Self {
        let endpoint = Endpoint::bind(&[LOOPBACK]).expect("loopback can be bound");
        let listener = Listener::bind(LOOPBACK).expect("loopback can be bound");
        let listening = listener.local_addr();
        tokio::spawn(listener.accept(endpoint.clone()));
        Self {
            endpoint,
            listening,
        }
    }

    fn connection(&self, ufrag: &str) -> Connection {
        let (stun_in, stun) = mpsc::channel(INLET);
        let (records_in, records) = mpsc::channel(INLET);
        let (streams_in, streams) = mpsc::channel(INLET);
        let stun_in: Inlet = Arc::new(move |batch| stun_in.try_send(batch).is_ok());
        let records_in: Inlet = Arc::new(move |batch| records_in.try_send(batch).is_ok());
        let registration = self.endpoint.routes().register(stun_in, records_in);
        let mut registration = registration.expect("room for one");
        assert!(registration.add_ufrag(ufrag));
        registration.take_streams(Arc::new(move |it| streams_in.try_send(it).is_ok()));
        Connection {
            registration,
            stun,
            records,
            streams,
        }
    }
}

impl Connection {
    fn ingress(&self) -> peerloom_transports::udp::Ingress {
        self.registration.ingress()
    }
}

fn carry(tunnel: Tunnel) -> Sender {
    let mut sender = Sender::default();
    sender.add(Carrier::Tunnel(tunnel));
    sender
}

fn send(sender: &mut Sender, path: Path, datagrams: &[Vec<u8>]) {
    for datagram in datagrams {
        let transmit = Transmit::single(path, Bytes::from(datagram.clone()));
        assert_eq!(sender.send(transmit), Sent::Done);
    }
}

fn contents(batch: &Datagrams) -> Vec<Vec<u8>> {
    let datagrams = batch.runs().flat_map(|run| run.datagrams());
    datagrams.map(<[u8]>::to_vec).collect()
}

fn check(username: &str) -> Vec<u8> {
    Builder::new(Class::Request, method::BINDING, [9; 12])
        .attribute(attribute::USERNAME, username.as_bytes())
        .finish()
        .to_vec()
}

fn framed(datagram: &[u8]) -> BytesMut {
    let mut out = BytesMut::new();
    write_frame(datagram, &mut out);
    out
}

/// Waits until the other end has closed.
async fn is_closed(stream: &mut TcpStream) -> bool {
    let mut nothing = [0; 16];
    matches!(stream.read(&mut nothing).await, Ok(0) | Err(_))
}
