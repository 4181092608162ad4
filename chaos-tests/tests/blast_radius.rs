//! Killing any one actor of a mesh of eight disturbs its own link only, and
//! the mesh is formed again soon.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and prints what it measured"
)]

mod common;

use std::time::Instant;

use common::{
    Node, PATIENCE, broadcast_exactly_once, close, events, formed, is_formed, nodes, within,
};
use futures::StreamExt as _;
use peerloom_actors::{ActorKind, Fault};
use peerloom_mesh::Event;

const COUNT: usize = 8;

/// The first link of the first node: the numbers of its two ends.
fn first_link(nodes: &[Node]) -> (usize, usize) {
    let peer = nodes[0].links()[0];
    (
        0,
        nodes.iter().position(|node| node.peer() == peer).unwrap(),
    )
}

/// Hits one actor of one link and waits until both ends have lost it and the
/// mesh is formed again, by that link or another; every other link must stay.
async fn kill_and_watch(nodes: &[Node], kind: ActorKind, fault: Fault) {
    let (a, b) = first_link(nodes);
    let pair = [nodes[a].peer(), nodes[b].peer()];
    let mut events = events(nodes);
    let started = Instant::now();
    assert!(
        within(nodes[a].mesh.inject(pair[1], kind.clone(), fault)).await,
        "no such actor"
    );
    let (mut down, mut seen) = ([false; 2], Vec::new());
    let watching = async {
        while down != [true; 2] || !is_formed(nodes) {
            let (number, event) = events.next().await.unwrap();
            if let Event::LinkDown { peer, cause, .. } = &event {
                let own = pair.contains(peer) && (number == a || number == b);
                assert!(
                    own,
                    "{kind} {fault:?}: node {number} lost its link to {peer}: {cause}"
                );
                down[usize::from(number == b)] = true;
            }
            seen.push((number, event));
        }
    };
    if tokio::time::timeout(PATIENCE, watching).await.is_err() {
        panic!("{kind} {fault:?} between nodes {a} and {b}: not formed again: {seen:#?}");
    }
    println!("{kind} {fault:?}: formed again in {:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn any_actor_may_die_in_any_way() {
    let mut nodes = nodes("blast", COUNT).await;
    formed(&nodes).await;
    let kinds = [
        ActorKind::PeerConnection,
        ActorKind::IceAgent,
        ActorKind::DtlsTransport,
        ActorKind::SctpTransport,
        ActorKind::DataChannel("peerloom".to_owned()),
    ];
    let mut number = 0;
    for kind in kinds {
        for fault in [Fault::Stop, Fault::Panic, Fault::Wedge] {
            kill_and_watch(&nodes, kind.clone(), fault).await;
            broadcast_exactly_once(&mut nodes, number, 1).await;
            number += 1;
        }
    }
    close(nodes).await;
}
