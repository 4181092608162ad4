//! Meshes of 2, 5 and 12 nodes form on loopback and deliver exactly once.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and prints what it measured"
)]

mod common;

use common::{Node, broadcast_exactly_once, close, direct_exactly_once, formed, nodes, within};
use peerloom_mesh::{Config, Error, Mesh};

async fn forms_and_delivers(name: &str, count: usize) {
    let mut nodes = nodes(name, count).await;
    formed(&nodes).await;
    for node in &nodes {
        let stats = node.mesh.stats();
        assert!(stats.identities_verified >= node.links().len() as u64);
        assert_eq!(stats.identities_refused, 0);
    }
    broadcast_exactly_once(&mut nodes, 0, 3).await;
    direct_exactly_once(&mut nodes, 100).await;
    close(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_form_and_deliver() {
    forms_and_delivers("two", 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_nodes_form_and_deliver() {
    forms_and_delivers("five", 5).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn twelve_nodes_form_and_deliver() {
    forms_and_delivers("twelve", 12).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_given_later_joins_too() {
    let first = Node::start(Config::local("late")).await;
    let second = Node::start(Config::local("late")).await;
    let ticket = within(first.mesh.ticket()).await.unwrap();
    assert_eq!(
        ticket.to_string().parse::<peerloom_mesh::Ticket>().unwrap(),
        ticket
    );
    second.mesh.add_ticket(ticket).await.unwrap();
    let nodes = vec![first, second];
    formed(&nodes).await;
    close(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_of_another_mesh_is_refused() {
    let first = Mesh::open(Config::local("one")).await.unwrap();
    let ticket = within(first.ticket()).await.unwrap();
    let second = Mesh::open(Config::local("other")).await.unwrap();
    let error = second.add_ticket(ticket).await.unwrap_err();
    assert!(matches!(error, Error::OtherMesh { .. }), "{error}");
}
