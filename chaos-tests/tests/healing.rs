//! A third of the nodes falls silent at once; the rest notices and heals.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and prints what it measured"
)]

mod common;

use std::time::Instant;

use common::{broadcast_exactly_once, close, direct_exactly_once, formed, nodes, within};
use futures::future::join_all;

async fn heals(name: &str, count: usize, kill: usize) {
    let started = Instant::now();
    let mut nodes = nodes(name, count).await;
    formed(&nodes).await;
    let formed_in = started.elapsed();
    // The first node is everybody's ticket: it dies too.
    let dead: Vec<_> = nodes.drain(..kill).collect();
    let killed = Instant::now();
    within(join_all(dead.iter().map(|node| node.mesh.silence()))).await;
    formed(&nodes).await;
    println!(
        "{count} nodes formed in {formed_in:?}; {kill} killed, healed in {:?}",
        killed.elapsed()
    );
    for node in &nodes {
        let roster = node.roster();
        assert!(dead.iter().all(|dead| !roster.contains(&dead.peer())));
    }
    broadcast_exactly_once(&mut nodes, 0, 5).await;
    direct_exactly_once(&mut nodes, 100).await;
    close(nodes).await;
    close(dead).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn six_nodes_heal_after_two_fell_silent() {
    heals("heal-six", 6, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twelve_nodes_heal_after_four_fell_silent() {
    heals("heal-twelve", 12, 4).await;
}
