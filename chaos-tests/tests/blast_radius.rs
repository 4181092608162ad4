//! Killing any one actor of a mesh of eight disturbs its own link only, and
//! that link is back soon.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and prints what it measured"
)]

mod common;

use std::time::{Duration, Instant};

use common::{
    Node, PATIENCE, broadcast_exactly_once, close, events, formed, nodes, nodes_over, within,
};
use futures::StreamExt as _;
use peerloom_actors::{ActorKind, Fault};
use peerloom_mesh::{DataTransport, Event};

const COUNT: usize = 8;

/// The first link of the first node: the numbers of its two ends.
fn first_link(nodes: &[Node]) -> (usize, usize) {
    let peer = nodes[0].links()[0];
    (
        0,
        nodes.iter().position(|node| node.peer() == peer).unwrap(),
    )
}

/// Hits one actor of one link and waits until both ends have lost it and that
/// very link, between the same two, is authenticated and up again at both;
/// every other link must stay. Returns how long that took.
async fn kill_and_watch(nodes: &[Node], kind: ActorKind, fault: Fault) -> Duration {
    let (a, b) = first_link(nodes);
    let pair = [nodes[a].peer(), nodes[b].peer()];
    let mut events = events(nodes);
    let started = Instant::now();
    assert!(
        within(nodes[a].mesh.inject(pair[1], kind.clone(), fault)).await,
        "no such actor"
    );
    let (mut down, mut back, mut seen) = ([false; 2], [false; 2], Vec::new());
    let watching = async {
        while back != [true; 2] {
            let (number, event) = events.next().await.unwrap();
            let side = usize::from(number == b);
            let of_pair = |peer| number == [a, b][side] && pair[1 - side] == peer;
            match &event {
                Event::LinkDown { peer, cause, .. } => {
                    assert!(
                        of_pair(*peer),
                        "{kind} {fault:?}: node {number} lost its link to {peer}: {cause}"
                    );
                    (down[side], back[side]) = (true, false);
                }
                Event::LinkUp { peer, .. } if of_pair(*peer) => back[side] = down[side],
                _ => {}
            }
            seen.push((started.elapsed(), number, event));
        }
    };
    if tokio::time::timeout(PATIENCE, watching).await.is_err() {
        panic!("{kind} {fault:?} between nodes {a} and {b}: not back: {seen:#?}");
    }
    let took = started.elapsed();
    println!("{kind} {fault:?}: the link was back in {took:?}");
    for (at, number, event) in seen {
        println!("    {at:?} node {number}: {event:?}");
    }
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn any_actor_may_die_in_any_way() {
    let kinds = [
        ActorKind::PeerConnection,
        ActorKind::IceAgent,
        ActorKind::DtlsTransport,
        ActorKind::SctpTransport,
        ActorKind::DataChannel("peerloom".to_owned()),
    ];
    die_in_any_way(nodes("blast", COUNT).await, kinds).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_carries_a_link_over_quic_may_die_in_any_way() {
    let nodes = nodes_over("blast-quic", COUNT, DataTransport::Quic).await;
    die_in_any_way(nodes, [ActorKind::QuicTransport]).await;
}

async fn die_in_any_way(mut nodes: Vec<Node>, kinds: impl IntoIterator<Item = ActorKind>) {
    formed(&nodes).await;
    let (mut number, mut took) = (0, Vec::new());
    for kind in kinds {
        for fault in [Fault::Stop, Fault::Panic, Fault::Wedge] {
            took.push(kill_and_watch(&nodes, kind.clone(), fault).await);
            formed(&nodes).await;
            broadcast_exactly_once(&mut nodes, number, 1).await;
            number += 1;
        }
    }
    took.sort();
    println!(
        "back in {:?} at best, {:?} at worst",
        took[0],
        took[number as usize - 1]
    );
    close(nodes).await;
}
