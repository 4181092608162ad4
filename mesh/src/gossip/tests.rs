//! Real swarms in one process: memory, QUIC, TCP, multicast.

#![allow(
    clippy::wildcard_enum_match_arm,
    reason = "a test waits for one event and passes over the others"
)]

use std::time::Duration;

use peerloom_mesh_proto::Identity;

use super::*;

/// Fails a test that would hang; never waited out in a passing run.
const PATIENCE: Duration = Duration::from_secs(30);

struct Node {
    gossip: Gossip,
    events: mpsc::Receiver<Event>,
    peer: PeerId,
    address: String,
}

impl Node {
    async fn start(seed: u8, listen: &str) -> Self {
        Self::start_with(seed, listen, false).await
    }

    async fn start_with(seed: u8, listen: &str, mdns: bool) -> Self {
        let config = Config {
            seed: Seed::new([seed; 32]),
            listen: vec![listen.to_owned()],
            mdns,
            connections_max: 8,
        };
        let (gossip, events) = Gossip::start(config).await.unwrap();
        let peer = Identity::from_seed([seed; 32]).peer_id();
        let mut node = Self {
            gossip,
            events,
            peer,
            address: String::new(),
        };
        node.address = node
            .until(|event| match event {
                Event::Listening(address) => Some(address),
                _ => None,
            })
            .await;
        node
    }

    /// Waits for the event that `pick` takes, passing others by.
    async fn until<T>(&mut self, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        tokio::time::timeout(PATIENCE, async {
            loop {
                if let Some(found) = pick(self.events.recv().await.expect("the swarm ended")) {
                    return found;
                }
            }
        })
        .await
        .expect("the event did not come")
    }

    async fn until_up(&mut self) -> PeerId {
        self.until(|event| match event {
            Event::Up { peer, .. } => Some(peer),
            _ => None,
        })
        .await
    }

    fn hop(&self, id: u64, to: &Node, data: &'static [u8]) {
        let addresses = vec![to.address.clone()];
        let data = Bytes::from_static(data);
        assert!(self.gossip.command(Command::Hop {
            id: HopId(id),
            to: to.peer,
            addresses,
            data
        }));
    }

    async fn until_hop(&mut self) -> (PeerId, Bytes) {
        self.until(|event| match event {
            Event::Hop { from, data } => Some((from, data)),
            _ => None,
        })
        .await
    }

    async fn until_hop_failed(&mut self) -> HopId {
        self.until(|event| match event {
            Event::HopFailed(id) => Some(id),
            _ => None,
        })
        .await
    }
}

async fn hop_works_over(listen: &str) {
    let mut a = Node::start(1, listen).await;
    let mut b = Node::start(2, listen).await;
    a.hop(1, &b, b"hello");
    assert_eq!(b.until_hop().await, (a.peer, Bytes::from_static(b"hello")));
    assert_eq!(a.until_up().await, b.peer);
    b.hop(2, &a, b"back");
    assert_eq!(a.until_hop().await.1, "back");
    assert_eq!(a.gossip.counters().total(), 9);
    a.gossip.close().await;
    b.until(|event| matches!(event, Event::Down { .. }).then_some(()))
        .await;
}

#[tokio::test]
async fn hop_frames_pass_over_memory() {
    hop_works_over("/memory/0").await;
}

#[tokio::test]
async fn hop_frames_pass_over_quic() {
    hop_works_over("/ip4/127.0.0.1/udp/0/quic-v1").await;
}

#[tokio::test]
async fn hop_frames_pass_over_tcp() {
    hop_works_over("/ip4/127.0.0.1/tcp/0").await;
}

#[tokio::test]
async fn a_publication_waits_for_its_first_subscriber_and_verdicts_pass_it_on() {
    // A line: a – b – c; only b's verdict lets c hear a.
    let a = Node::start(1, "/memory/0").await;
    let mut b = Node::start(2, "/memory/0").await;
    let mut c = Node::start(3, "/memory/0").await;
    let topic = "t".to_owned();
    for node in [&a, &b, &c] {
        assert!(node.gossip.command(Command::Subscribe(topic.clone())));
    }
    let dial_b = |from: &Node, b: &Node| {
        let addresses = vec![b.address.clone()];
        let peer = b.peer;
        assert!(from.gossip.command(Command::Dial { peer, addresses }));
    };
    let message = |event| match event {
        Event::Message {
            author,
            data,
            token,
        } => Some((author, data, token)),
        _ => None,
    };
    let publish = |from: &Node, data: &Bytes| {
        assert!(from.gossip.command(Command::Publish {
            topic: topic.clone(),
            data: data.clone()
        }));
    };
    // What c says reaches b after c's subscription: from then on b knows it.
    let (hello, data) = (
        Bytes::from_static(b"hello"),
        Bytes::from_static(b"presence"),
    );
    publish(&c, &hello);
    dial_b(&c, &b);
    let (author, heard, _) = b.until(message).await;
    assert_eq!((author, &heard), (c.peer, &hello));
    publish(&a, &data);
    dial_b(&a, &b);
    let (author, heard, token) = b.until(message).await;
    assert_eq!((author, &heard), (a.peer, &data));
    assert!(b.gossip.command(Command::Judge {
        token,
        verdict: Verdict::Accept
    }));
    let (author, heard, _) = c.until(message).await;
    assert_eq!((author, heard), (a.peer, data));
}

#[tokio::test]
async fn a_hop_that_cannot_arrive_is_reported() {
    let mut a = Node::start(1, "/memory/0").await;
    let b = Node::start(2, "/memory/0").await;
    let stranger = Identity::from_seed([9; 32]).peer_id();
    let data = Bytes::from_static(b"x");
    // Nobody listens there.
    let addresses = vec!["/memory/77".to_owned()];
    let command = Command::Hop {
        id: HopId(7),
        to: stranger,
        addresses,
        data: data.clone(),
    };
    assert!(a.gossip.command(command));
    assert_eq!(a.until_hop_failed().await, HopId(7));
    // Somebody else listens there.
    let addresses = vec![b.address.clone()];
    assert!(a.gossip.command(Command::Hop {
        id: HopId(8),
        to: stranger,
        addresses,
        data
    }));
    assert_eq!(a.until_hop_failed().await, HopId(8));
}

#[tokio::test]
async fn a_bad_address_is_an_error_with_its_text() {
    let config = Config {
        seed: Seed::new([1; 32]),
        listen: vec!["nonsense".to_owned()],
        mdns: false,
        connections_max: 1,
    };
    let error = Gossip::start(config).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("nonsense"), "{error}");
}

#[cfg(feature = "chaos")]
#[tokio::test]
async fn a_frozen_swarm_is_silent_and_thaws() {
    let mut a = Node::start(1, "/ip4/127.0.0.1/udp/0/quic-v1").await;
    let mut b = Node::start(2, "/ip4/127.0.0.1/udp/0/quic-v1").await;
    a.hop(1, &b, b"before");
    b.until_hop().await;
    b.gossip.freeze().await;
    a.hop(2, &b, b"lost");
    while a.until_hop_failed().await != HopId(2) {}
    b.gossip.thaw();
    // QUIC has backed off by now; a hop may run out of time before it arrives.
    for id in 3.. {
        a.hop(id, &b, b"after");
        tokio::select! {
            (_, data) = b.until_hop() => if data == "after" { break },
            failed = a.until_hop_failed() => assert!(failed <= HopId(id)),
        }
    }
    // Frozen for good, it can still be ended.
    b.gossip.freeze().await;
    b.gossip.close().await;
}

/// Needs an interface that does multicast; where there is none this says so.
#[tokio::test]
async fn peers_on_one_network_find_each_other_by_multicast() {
    let mut a = Node::start_with(1, "/ip4/0.0.0.0/udp/0/quic-v1", true).await;
    let b = Node::start_with(2, "/ip4/0.0.0.0/udp/0/quic-v1", true).await;
    let found = tokio::time::timeout(
        Duration::from_secs(10),
        a.until(|event| match event {
            Event::Discovered { peer, .. } if peer == b.peer => Some(()),
            _ => None,
        }),
    );
    if found.await.is_err() {
        println!("SKIPPED: no multicast between two sockets of this machine");
    }
}
