//! Meshes of real nodes in one process, on loopback, waited for by events.

#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test binary uses its own part of this"
)]

use std::collections::BTreeMap;
use std::panic::Location;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::{SelectAll, select_all};
use peerloom_actors::{Runtime, RuntimeConfig};
use peerloom_mesh::{Channel, Config, DataTransport, Event, LinkState, Mesh, PeerId, Room};
use serde::{Deserialize, Serialize};

/// Fails a test that would hang; never waited out in a passing run.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Name of the room the tests meet in.
pub const ROOM: &str = "lobby";

/// A message of the tests.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Note {
    pub from: u32,
    pub number: u32,
}

/// A node with its room and channel.
pub struct Node {
    pub mesh: Mesh,
    pub room: Room,
    pub notes: Channel<Note>,
}

impl Node {
    pub async fn start(config: Config) -> Self {
        let mesh = Mesh::open(config).await.unwrap();
        let room = mesh.join(ROOM).await.unwrap();
        let notes = room.channel("notes").await.unwrap();
        Self { mesh, room, notes }
    }

    pub fn peer(&self) -> PeerId {
        self.mesh.peer_id()
    }

    /// Authenticated links that are up.
    pub fn links(&self) -> Vec<PeerId> {
        let links = self.mesh.links().into_iter();
        links
            .filter(|link| link.state == LinkState::Up && link.authenticated)
            .map(|link| link.peer)
            .collect()
    }

    /// Peers in the roster, sorted.
    pub fn roster(&self) -> Vec<PeerId> {
        let mut peers: Vec<_> = self
            .room
            .roster()
            .iter()
            .map(|member| member.peer)
            .collect();
        peers.sort();
        peers
    }

    /// The next note, with patience.
    pub async fn note(&mut self) -> (PeerId, Note) {
        within(self.notes.next())
            .await
            .expect("the mesh was closed")
    }
}

/// Waits, with patience.
#[track_caller]
pub fn within<T>(work: impl Future<Output = T>) -> impl Future<Output = T> {
    let caller = Location::caller();
    async move {
        let done = tokio::time::timeout(PATIENCE, work).await;
        done.unwrap_or_else(|_| panic!("{caller}: it did not happen in time"))
    }
}

/// A pool of arbiters for all nodes of a test.
pub fn runtime() -> Runtime {
    Runtime::start(RuntimeConfig::default()).unwrap()
}

/// `count` nodes; each but the first has the ticket of one before it.
pub async fn nodes(mesh: &str, count: usize) -> Vec<Node> {
    nodes_over(mesh, count, DataTransport::default()).await
}

/// The same, with links carried like this.
pub async fn nodes_over(mesh: &str, count: usize, transport: DataTransport) -> Vec<Node> {
    let runtime = runtime();
    let mut nodes: Vec<Node> = Vec::new();
    for number in 0..count {
        let config = Config::local(mesh).with_runtime(runtime.clone());
        let mut config = config.with_transport(transport);
        if number > 0 {
            config = config.with_ticket(nodes[number / 2].mesh.ticket().await.unwrap());
        }
        nodes.push(Node::start(config).await);
    }
    nodes
}

/// Events of many nodes, each with its number.
pub fn events(
    nodes: &[Node],
) -> SelectAll<impl futures::Stream<Item = (usize, Event)> + Unpin + use<>> {
    select_all(
        nodes
            .iter()
            .enumerate()
            .map(|(number, node)| node.mesh.events().map(move |event| (number, event))),
    )
}

/// Waits until `holds`, looking again after each event.
pub async fn until(nodes: &[Node], what: &str, mut holds: impl FnMut(&[Node]) -> bool) {
    let mut events = events(nodes);
    let mut seen = Vec::new();
    let waiting = async {
        while !holds(nodes) {
            seen.push(events.next().await.expect("all nodes are gone"));
        }
    };
    if tokio::time::timeout(PATIENCE, waiting).await.is_err() {
        for (number, event) in seen {
            println!("node {number}: {event:?}");
        }
        for node in nodes {
            println!(
                "{} links {:?} roster {:?}",
                node.peer(),
                node.mesh.links(),
                node.roster()
            );
        }
        panic!("not in time: {what}");
    }
}

/// Whether every node has at least min(4, N−1) links, the graph of links is
/// connected and every roster complete.
pub fn is_formed(nodes: &[Node]) -> bool {
    let mut all: Vec<_> = nodes.iter().map(Node::peer).collect();
    all.sort();
    let wanted = 4.min(nodes.len() - 1);
    let degrees = nodes.iter().all(|node| {
        let mut links = node.links();
        links.retain(|peer| all.contains(peer));
        links.len() >= wanted
    });
    degrees && nodes.iter().all(|node| node.roster() == all) && is_connected(nodes)
}

/// Whether the links make one graph of all nodes.
pub fn is_connected(nodes: &[Node]) -> bool {
    let numbers: BTreeMap<_, _> = nodes
        .iter()
        .enumerate()
        .map(|(number, node)| (node.peer(), number))
        .collect();
    let mut seen = vec![false; nodes.len()];
    let mut open = vec![0];
    while let Some(number) = open.pop() {
        if std::mem::replace(&mut seen[number], true) {
            continue;
        }
        open.extend(
            nodes[number]
                .links()
                .iter()
                .filter_map(|peer| numbers.get(peer)),
        );
    }
    seen.into_iter().all(|seen| seen)
}

/// Waits until the nodes have formed a mesh.
pub async fn formed(nodes: &[Node]) {
    until(nodes, "formed", is_formed).await;
}

/// Everybody broadcasts `per_node` notes; everybody else gets each exactly
/// once, and nothing more.
pub async fn broadcast_exactly_once(nodes: &mut [Node], first: u32, per_node: u32) {
    for (number, node) in nodes.iter().enumerate() {
        for note in first..first + per_node {
            let note = Note {
                from: number as u32,
                number: note,
            };
            within(node.notes.broadcast(&note)).await.unwrap();
        }
    }
    let senders: Vec<_> = nodes.iter().map(Node::peer).collect();
    for (number, node) in nodes.iter_mut().enumerate() {
        let mut got = Vec::new();
        for _ in 0..(senders.len() - 1) * per_node as usize {
            let next = tokio::time::timeout(PATIENCE, node.notes.next()).await;
            let Ok(next) = next else {
                let (links, stats) = (node.mesh.links(), node.mesh.stats());
                panic!("node {number} has got {got:?} only; {links:?} {stats:?}");
            };
            let (from, note) = next.expect("the mesh was closed");
            assert_eq!(senders[note.from as usize], from);
            got.push(note);
        }
        got.sort();
        let wanted: Vec<_> = (0..senders.len() as u32)
            .filter(|from| *from != number as u32)
            .flat_map(|from| (first..first + per_node).map(move |number| Note { from, number }))
            .collect();
        assert_eq!(got, wanted);
    }
}

/// Every pair exchanges direct messages, each acknowledged and received once.
pub async fn direct_exactly_once(nodes: &mut [Node], number: u32) {
    let peers: Vec<_> = nodes.iter().map(Node::peer).collect();
    for (from, node) in nodes.iter().enumerate() {
        let others = peers.iter().enumerate().filter(|(to, _)| *to != from);
        let note = Note {
            from: from as u32,
            number,
        };
        let sends = others.map(|(_, peer)| node.notes.send(*peer, &note));
        for sent in within(futures::future::join_all(sends)).await {
            sent.unwrap();
        }
    }
    for (to, node) in nodes.iter_mut().enumerate() {
        let mut got = Vec::new();
        for _ in 0..peers.len() - 1 {
            let received = within(node.notes.recv()).await.unwrap();
            assert!(received.direct && received.from == peers[received.value.from as usize]);
            got.push(received.value);
        }
        got.sort();
        let wanted: Vec<_> = (0..peers.len() as u32)
            .filter(|from| *from != to as u32)
            .map(|from| Note { from, number })
            .collect();
        assert_eq!(got, wanted);
    }
}

/// Closes all nodes.
pub async fn close(nodes: Vec<Node>) {
    within(futures::future::join_all(
        nodes.iter().map(|node| node.mesh.close()),
    ))
    .await;
}
