//! Real sockets on loopback: batches, routes, backlog, silence.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use peerloom_transports::proto::{engine::Transmit, id::Path};
use peerloom_transports::udp::{
    Claim, Datagrams, Discarded, Endpoint, Inlet, Registration, Sender, Sent, Socket, receive,
};
use tokio::sync::mpsc;

const LOOPBACK: [SocketAddr; 1] = [SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST),
    0,
)];

/// Batches an inlet holds in these tests.
const INLET_BATCHES: usize = 64;

#[tokio::test]
async fn a_gso_batch_arrives_whole_and_in_order() {
    let (a, b) = (Node::bind(&LOOPBACK), Node::bind(&LOOPBACK));
    let mut connection = b.connection();
    assert_eq!(
        connection.registration.claim(b.path_from(&a)),
        Claim::Granted
    );
    let datagrams: Vec<Vec<u8>> = (0..50u8)
        .map(|n| [vec![22, n], vec![n; 1000]].concat())
        .collect();
    send(&a, a.path_to(&b), &datagrams, 1002);

    let mut got = Vec::new();
    while got.len() < datagrams.len() {
        let batch = connection.records.recv().await.expect("the loop runs");
        got.extend(contents(&batch));
    }
    assert_eq!(got, datagrams);
    assert_eq!(a.sender().lost(), 0);
}

#[tokio::test]
async fn stun_goes_by_ufrag_and_the_rest_by_path() {
    let (a, b) = (Node::bind(&LOOPBACK), Node::bind(&LOOPBACK));
    let (mut first, mut second) = (b.connection(), b.connection());
    assert!(first.registration.add_ufrag("first"));
    assert!(second.registration.add_ufrag("second"));
    assert_eq!(first.registration.claim(b.path_from(&a)), Claim::Granted);
    assert_eq!(second.registration.claim(b.path_from(&a)), Claim::Taken);

    let response = stun(None);
    let dtls = vec![22u8; 40];
    let noise = vec![200u8; 40];
    for datagram in [
        stun(Some("second:x")),
        noise,
        response.clone(),
        dtls.clone(),
    ] {
        send(
            &a,
            a.path_to(&b),
            std::slice::from_ref(&datagram),
            datagram.len(),
        );
    }
    let records = first.records.recv().await.expect("the loop runs");
    assert_eq!(contents(&records), vec![dtls]);
    assert_eq!(
        contents(&first.stun.recv().await.expect("a response")),
        vec![response]
    );
    let request = second.stun.recv().await.expect("a request");
    assert_eq!(contents(&request), vec![stun(Some("second:x"))]);
    assert!(second.records.try_recv().is_err());
    assert_eq!(first.registration.stats().unclaimed, 1);
}

#[tokio::test]
async fn a_wildcard_socket_reports_and_keeps_the_local_address() {
    let wildcard: SocketAddr = "0.0.0.0:0".parse().expect("an address");
    let (a, b) = (Node::bind(&LOOPBACK), Node::bind(&[wildcard]));
    let local: SocketAddr = ([127, 0, 0, 5], b.addr().port()).into();
    let path = Path::new(local, a.addr());
    let mut there = b.connection();
    assert_eq!(there.registration.claim(path), Claim::Granted);
    let mut back = a.connection();
    assert_eq!(back.registration.claim(path.reversed()), Claim::Granted);

    send(&a, path.reversed(), &[vec![22; 10]], 10);
    let got = there.records.recv().await.expect("the loop runs");
    assert_eq!(got.runs().next().expect("a run").path(), path);
    send(&b, path, &[vec![23; 10]], 10);
    let got = back.records.recv().await.expect("the loop runs");
    assert_eq!(
        got.runs().next().expect("a run").path(),
        path.reversed(),
        "answered from the address asked"
    );
}

/// Nobody has asked the kernel for the right to send to everybody.
#[tokio::test]
async fn what_a_socket_refuses_is_told_with_its_size() {
    let a = Node::bind(&["0.0.0.0:0".parse().expect("an address")]);
    let everybody: SocketAddr = ([255, 255, 255, 255], 9).into();
    let batch = |path| Transmit {
        path,
        contents: Bytes::from(vec![22; 250]),
        segment_size: 100,
    };
    let lost = Sent::Lost(Discarded {
        packets: 3,
        bytes: 250,
    });
    let mut sender = a.sender();
    let local = SocketAddr::from(([127, 0, 0, 1], a.addr().port()));
    assert_eq!(sender.send(batch(Path::new(local, everybody))), lost);
    let elsewhere = SocketAddr::from(([127, 0, 0, 1], 1));
    let path = Path::new(elsewhere, a.addr());
    assert_eq!(sender.send(batch(path)), lost, "no socket is there");
    assert_eq!(sender.lost(), 2);
}

#[tokio::test]
async fn an_overflowing_inlet_drops_and_counts() {
    let (a, b) = (Node::bind(&LOOPBACK), Node::bind(&LOOPBACK));
    let mut witness = b.connection();
    assert!(witness.registration.add_ufrag("end"));
    let refusing: Inlet = Arc::new(|_| false);
    let mut registration = b
        .endpoint
        .routes()
        .register(refusing.clone(), refusing)
        .expect("room");
    assert_eq!(registration.claim(b.path_from(&a)), Claim::Granted);
    send(&a, a.path_to(&b), &vec![vec![22; 100]; 7], 100);
    let end = stun(Some("end:x"));
    send(&a, a.path_to(&b), std::slice::from_ref(&end), end.len());
    witness.stun.recv().await.expect("the loop runs on");
    assert_eq!(registration.stats().overflowed, 7);
}

#[cfg(feature = "chaos")]
#[tokio::test]
async fn a_silent_endpoint_neither_sends_nor_hears() {
    let (a, b) = (Node::bind(&LOOPBACK), Node::bind(&LOOPBACK));
    let mut connection = b.connection();
    assert_eq!(
        connection.registration.claim(b.path_from(&a)),
        Claim::Granted
    );
    a.endpoint.silence(true);
    send(&a, a.path_to(&b), &[vec![22; 1]], 1);
    a.endpoint.silence(false);
    send(&a, a.path_to(&b), &[vec![22; 2]], 2);
    let got = connection.records.recv().await.expect("the loop runs");
    assert_eq!(contents(&got), vec![vec![22; 2]]);
}

struct Node {
    endpoint: Endpoint,
}

struct Connection {
    registration: Registration,
    stun: mpsc::Receiver<Datagrams>,
    records: mpsc::Receiver<Datagrams>,
}

impl Node {
    fn bind(addrs: &[SocketAddr]) -> Node {
        let endpoint = Endpoint::bind(addrs).expect("loopback can be bound");
        for socket in endpoint.sockets() {
            tokio::spawn(receive(socket.clone(), endpoint.routes().clone()));
        }
        Node { endpoint }
    }

    fn socket(&self) -> &Socket {
        &self.endpoint.sockets()[0]
    }

    fn addr(&self) -> SocketAddr {
        self.socket().local_addr()
    }

    fn path_to(&self, other: &Node) -> Path {
        Path::new(self.addr(), other.addr())
    }

    fn path_from(&self, other: &Node) -> Path {
        self.path_to(other)
    }

    fn sender(&self) -> Sender {
        Sender::new(self.endpoint.sockets().to_vec())
    }

    fn connection(&self) -> Connection {
        let (stun_in, stun) = mpsc::channel(INLET_BATCHES);
        let (records_in, records) = mpsc::channel(INLET_BATCHES);
        let stun_in: Inlet = Arc::new(move |batch| stun_in.try_send(batch).is_ok());
        let records_in: Inlet = Arc::new(move |batch| records_in.try_send(batch).is_ok());
        let registration = self
            .endpoint
            .routes()
            .register(stun_in, records_in)
            .expect("room for one");
        Connection {
            registration,
            stun,
            records,
        }
    }
}

fn send(from: &Node, path: Path, datagrams: &[Vec<u8>], segment_size: usize) {
    let contents = Bytes::from(datagrams.concat());
    let sent = from.sender().send(Transmit {
        path,
        contents,
        segment_size,
    });
    assert_eq!(sent, Sent::Done);
}

fn contents(batch: &Datagrams) -> Vec<Vec<u8>> {
    batch
        .runs()
        .flat_map(|run| run.datagrams().map(<[u8]>::to_vec))
        .collect()
}

/// A STUN header, with a USERNAME if asked for.
fn stun(username: Option<&str>) -> Vec<u8> {
    let mut packet = vec![0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
    packet.extend_from_slice(&[9; 12]);
    if let Some(username) = username {
        packet.extend_from_slice(&[0, 6, 0, username.len() as u8]);
        packet.extend_from_slice(username.as_bytes());
        packet.resize(packet.len().next_multiple_of(4), 0);
    }
    packet
}
