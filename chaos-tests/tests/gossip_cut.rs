//! A mesh that has formed keeps delivering when all gossip is gone.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and prints what it measured"
)]

mod common;

use common::{broadcast_exactly_once, close, direct_exactly_once, formed, nodes, within};
use futures::future::join_all;

#[tokio::test(flavor = "multi_thread")]
async fn deliveries_continue_without_any_gossip() {
    let mut nodes = nodes("cut", 6).await;
    formed(&nodes).await;
    within(join_all(
        nodes.iter().map(|node| node.mesh.cut_gossip(true)),
    ))
    .await;
    broadcast_exactly_once(&mut nodes, 0, 20).await;
    direct_exactly_once(&mut nodes, 100).await;
    close(nodes).await;
}
