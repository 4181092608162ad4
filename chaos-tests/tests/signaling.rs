//! Offers that do not go the straight way: flooded, and crossing each other.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and prints what it measured"
)]

mod common;

use common::{Node, broadcast_exactly_once, close, events, formed, nodes, runtime, within};
use futures::StreamExt as _;
use futures::future::join_all;
use peerloom_actors::{ActorKind, Fault};
use peerloom_mesh::{Config, Event, LinkState};

/// Two nodes may have one gossip connection each, to a third: neither can dial
/// the other, and their offers travel by the room.
#[tokio::test(flavor = "multi_thread")]
async fn an_offer_that_cannot_be_handed_over_travels_by_the_room() {
    let runtime = runtime();
    let config = || Config::local("flood").with_runtime(runtime.clone());
    let middle = Node::start(config()).await;
    let ticket = within(middle.mesh.ticket()).await.unwrap();
    let mut nodes = vec![middle];
    for _ in 0..2 {
        let mut config = config().with_ticket(ticket.clone());
        config.limits.gossip_max = 1;
        nodes.push(Node::start(config).await);
    }
    let far = [nodes[1].peer(), nodes[2].peer()];
    let mut events = events(&nodes);
    let mut linked = [false; 2];
    within(async {
        while linked != [true; 2] {
            match events.next().await.unwrap() {
                (number @ 1..=2, Event::LinkUp { peer, .. }) if far.contains(&peer) => {
                    linked[number - 1] = true;
                }
                (number, Event::NeighbourUp { peer }) => {
                    let direct = number > 0 && far.contains(&peer);
                    assert!(!direct, "node {number} has a gossip connection to {peer}");
                }
                _ => {}
            }
        }
    })
    .await;
    let flooded: u64 = nodes[1..]
        .iter()
        .map(|node| node.mesh.stats().envelopes_flooded)
        .sum();
    assert!(flooded >= 2, "an offer and an answer: {flooded}");
    formed(&nodes).await;
    broadcast_exactly_once(&mut nodes, 0, 3).await;
    close(nodes).await;
}

/// Both ends of a broken link offer while no envelope travels; then all of
/// them do, and cross.
#[tokio::test(flavor = "multi_thread")]
async fn offers_that_cross_make_one_link() {
    let mut nodes = nodes("glare", 2).await;
    formed(&nodes).await;
    within(join_all(
        nodes.iter().map(|node| node.mesh.cut_gossip(true)),
    ))
    .await;
    let mut events = events(&nodes);
    let channel = ActorKind::DataChannel("peerloom".to_owned());
    let hit = nodes[0].mesh.inject(nodes[1].peer(), channel, Fault::Stop);
    assert!(within(hit).await, "no such actor");
    // Down at both ends, and both have begun anew.
    let mut down = [false; 2];
    within(async {
        while down != [true; 2] {
            if let (number, Event::LinkDown { .. }) = events.next().await.unwrap() {
                down[number] = true;
            }
        }
    })
    .await;
    for node in &nodes {
        let mut links = node.mesh.watch_links();
        within(async {
            while !matches!(&links.next().await.unwrap()[..], [link] if link.state == LinkState::Connecting)
            {
            }
        })
        .await;
    }
    within(join_all(
        nodes.iter().map(|node| node.mesh.cut_gossip(false)),
    ))
    .await;
    formed(&nodes).await;
    let glares: u64 = nodes.iter().map(|node| node.mesh.stats().glares).sum();
    assert!(glares >= 1, "the offers did not cross");
    assert!(nodes.iter().all(|node| node.mesh.links().len() == 1));
    broadcast_exactly_once(&mut nodes, 0, 3).await;
    close(nodes).await;
}
