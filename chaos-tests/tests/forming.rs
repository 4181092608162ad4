//! Meshes of 2, 5 and 12 nodes form on loopback and deliver exactly once.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and prints what it measured"
)]

mod common;

use common::{Node, broadcast_exactly_once, close, direct_exactly_once, formed, nodes, within};
use peerloom_mesh::{Config, DataTransport, DataTransportKind, Error, Mesh};

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

/// Which transport the only links of two nodes have that want these.
async fn carried_by(wanted: [DataTransport; 2]) -> [DataTransportKind; 2] {
    let runtime = common::runtime();
    let config = |transport| {
        let config = Config::local("carried").with_transport(transport);
        config.with_runtime(runtime.clone())
    };
    let [first, second] = wanted.map(config);
    let first = Node::start(first).await;
    let ticket = within(first.mesh.ticket()).await.unwrap();
    let second = Node::start(second.with_ticket(ticket)).await;
    let mut nodes = vec![first, second];
    formed(&nodes).await;
    broadcast_exactly_once(&mut nodes, 0, 3).await;
    direct_exactly_once(&mut nodes, 100).await;
    let kinds = [0, 1].map(|node: usize| {
        let links = nodes[node].mesh.links();
        let transport = links.first().and_then(|link| link.transport.clone());
        transport.expect("a link that is up").kind
    });
    close(nodes).await;
    kinds
}

#[tokio::test(flavor = "multi_thread")]
async fn links_run_over_quic_if_both_ends_speak_it() {
    use DataTransport::{Auto, Quic, Sctp};
    assert_eq!(carried_by([Auto, Auto]).await, [DataTransportKind::Quic; 2]);
    assert_eq!(carried_by([Auto, Quic]).await, [DataTransportKind::Quic; 2]);
    // Who offers and who answers is decided by the identities: either way.
    for _ in 0..4 {
        assert_eq!(carried_by([Auto, Sctp]).await, [DataTransportKind::Sctp; 2]);
    }
}

/// Its descriptions do not fit into one envelope: candidates follow on their own.
async fn joins_with_very_many_addresses(mesh: &str, many_first: bool) {
    let runtime = common::runtime();
    let config = |many: bool| {
        let mut config = Config::local(mesh).with_runtime(runtime.clone());
        if many {
            let hosts = 10..40;
            config.udp_bind = hosts.map(|host| ([127, 0, 0, host], 0).into()).collect();
        }
        config
    };
    let first = Node::start(config(many_first)).await;
    let ticket = within(first.mesh.ticket()).await.unwrap();
    let second = Node::start(config(!many_first).with_ticket(ticket)).await;
    let mut nodes = vec![first, second];
    formed(&nodes).await;
    broadcast_exactly_once(&mut nodes, 0, 3).await;
    close(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_very_many_addresses_forms_and_delivers() {
    // Who offers and who answers is decided by the identities: either way.
    for round in 0..4 {
        joins_with_very_many_addresses("many", round % 2 == 0).await;
    }
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
async fn a_ticket_names_every_address_and_where_the_sockets_are_is_known() {
    let mut config = Config::local("listening");
    let hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
    config.listen = hosts
        .iter()
        .map(|host| format!("/ip4/{host}/udp/0/quic-v1"))
        .collect();
    config.udp_bind = vec!["127.0.0.4:0".parse().unwrap()];
    let mesh = Mesh::open(config).await.unwrap();
    let ticket = within(mesh.ticket()).await.unwrap();
    for host in hosts {
        let of_host = |address: &String| address.starts_with(&format!("/ip4/{host}/"));
        assert!(ticket.addresses().iter().any(of_host), "{host}");
    }
    assert_eq!(within(mesh.addresses()).await.unwrap(), ticket.addresses());
    let sockets = mesh.sockets();
    assert_eq!(sockets.len(), 1);
    assert_eq!(sockets[0].ip().to_string(), "127.0.0.4");
    assert_ne!(sockets[0].port(), 0);
    mesh.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ticket_of_another_mesh_is_refused() {
    let first = Mesh::open(Config::local("one")).await.unwrap();
    let ticket = within(first.ticket()).await.unwrap();
    let second = Mesh::open(Config::local("other")).await.unwrap();
    let error = second.add_ticket(ticket).await.unwrap_err();
    assert!(matches!(error, Error::OtherMesh { .. }), "{error}");
}
