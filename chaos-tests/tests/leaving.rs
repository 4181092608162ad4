//! Leaving in order: members learn it, links close, the rest goes on.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and prints what it measured"
)]

mod common;

use common::{Node, close, events, formed, nodes, until, within};
use futures::StreamExt as _;
use peerloom_actors::Impairment;
use peerloom_mesh::{Config, Event, JoinError, SendError};

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_node_is_gone_from_every_roster() {
    let mut nodes = nodes("leave", 4).await;
    formed(&nodes).await;
    let left = nodes.pop().unwrap();
    let gone = left.peer();
    within(left.mesh.close()).await;
    until(&nodes, "the leaver is gone", |nodes| {
        nodes
            .iter()
            .all(|node| !node.roster().contains(&gone) && !node.links().contains(&gone))
    })
    .await;
    formed(&nodes).await;
    let error = nodes[0]
        .notes
        .send(gone, &common::Note { from: 0, number: 0 })
        .await
        .unwrap_err();
    assert!(
        matches!(error, SendError::UnknownPeer(peer) if peer == gone),
        "{error}"
    );
    close(nodes).await;
}

/// The first packets of a goodbye are lost, and there is no gossip to carry it.
#[tokio::test(flavor = "multi_thread")]
async fn a_goodbye_whose_packets_are_lost_is_heard_all_the_same() {
    let mut nodes = nodes("lost", 3).await;
    formed(&nodes).await;
    let left = nodes.pop().unwrap();
    let gone = left.peer();
    within(left.mesh.cut_gossip(true)).await;
    let mut others = events(&nodes);
    let mut own = left.mesh.events();
    let lossy = |loss| Impairment { loss, seed: 1 };
    within(left.mesh.impair(lossy(1.0))).await;
    let closing = left.mesh.close();
    let goodbye = async {
        // The goodbye has been sent, into the void.
        while !matches!(own.next().await.unwrap(), Event::LinkDown { .. }) {}
        left.mesh.impair(lossy(0.0)).await;
    };
    within(futures::future::join(closing, goodbye)).await;
    let mut heard = [false; 2];
    within(async {
        while heard != [true; 2] {
            match others.next().await.unwrap() {
                (number, Event::MemberLeft { peer, .. }) if peer == gone => heard[number] = true,
                (number, Event::MemberDied { peer, .. }) if peer == gone => {
                    panic!("node {number} thinks it is dead")
                }
                _ => {}
            }
        }
    })
    .await;
    close(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_every_handle_leaves_too() {
    let mut nodes = nodes("drop", 3).await;
    formed(&nodes).await;
    let mut events = nodes[0].mesh.events();
    let gone = nodes.pop().unwrap();
    let peer = gone.peer();
    drop(gone);
    within(async {
        while !matches!(events.next().await, Some(Event::MemberLeft { peer: left, .. }) if left == peer) {}
    })
    .await;
    close(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_is_left_with_its_last_handle_and_others_stay() {
    let nodes = nodes("rooms", 2).await;
    formed(&nodes).await;
    let side = nodes[0].mesh.join("side").await.unwrap();
    let other = nodes[1].mesh.join("side").await.unwrap();
    until(&nodes, "both in the side room", |_| {
        side.roster().len() == 2 && other.roster().len() == 2
    })
    .await;
    drop(other);
    until(&nodes, "one left the side room", |_| {
        side.roster().len() == 1
    })
    .await;
    assert_eq!(nodes[0].roster().len(), 2);
    close(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_and_channels_have_limits() {
    let node = Node::start(Config::local("limits")).await;
    assert_eq!(node.mesh.join("").await.unwrap_err(), JoinError::Name);
    assert_eq!(
        node.mesh.join(&"x".repeat(65)).await.unwrap_err(),
        JoinError::Name
    );
    let huge = vec![0u8; 1024 * 1024];
    let channel = node.room.channel::<Vec<u8>>("bytes").await.unwrap();
    let error = channel.broadcast(&huge).await.unwrap_err();
    assert!(matches!(error, SendError::TooLarge { .. }), "{error}");
    node.mesh.close().await;
    assert_eq!(
        node.mesh.join("later").await.unwrap_err(),
        JoinError::Closed
    );
}
