//! What is kept on disk: the identity, the peers, the names.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and prints what it measured"
)]

mod common;

use common::{Node, close, formed, runtime, within};
use futures::StreamExt as _;
use peerloom_mesh::{Config, Data, Error, Event, KnownPeers, Mesh, StoreError};

fn on_disk(mesh: &str, dir: &tempfile::TempDir) -> Config {
    Config::local(mesh).with_data(Data::Dir(dir.path().to_owned()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_rejoins_from_disk_alone() {
    let (runtime, dir) = (runtime(), tempfile::tempdir().unwrap());
    let first = Node::start(Config::local("rejoin").with_runtime(runtime.clone())).await;
    let ticket = within(first.mesh.ticket()).await.unwrap();
    let config = on_disk("rejoin", &dir).with_runtime(runtime.clone());
    let second = Node::start(config.clone().with_ticket(ticket)).await;
    let me = second.peer();
    let mut nodes = vec![first, second];
    formed(&nodes).await;
    let second = nodes.pop().unwrap();
    within(second.mesh.close()).await;
    drop(second);

    let again = Node::start(config).await;
    assert_eq!(again.peer(), me, "the identity is kept");
    nodes.push(again);
    formed(&nodes).await;
    close(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_on_one_directory_gets_a_clear_error() {
    let dir = tempfile::tempdir().unwrap();
    let first = Mesh::open(on_disk("lock", &dir)).await.unwrap();
    let error = Mesh::open(on_disk("lock", &dir)).await.unwrap_err();
    assert!(
        matches!(error, Error::Store(StoreError::InUse { .. })),
        "{error}"
    );
    first.close().await;
    Mesh::open(on_disk("lock", &dir))
        .await
        .unwrap()
        .close()
        .await;
}

/// Meets "alice", forgets nothing, then meets another key that calls itself
/// alice; returns whether they linked.
async fn meets_two_alices(known_peers: KnownPeers) -> bool {
    let (runtime, dir) = (runtime(), tempfile::tempdir().unwrap());
    let mut config = on_disk("names", &dir).with_runtime(runtime.clone());
    config.known_peers = known_peers;
    let alice = || {
        Config::local("names")
            .with_nick("alice")
            .with_runtime(runtime.clone())
    };

    let bob = Node::start(config.clone()).await;
    let ticket = within(bob.mesh.ticket()).await.unwrap();
    let first = Node::start(alice().with_ticket(ticket)).await;
    let nodes = vec![bob, first];
    formed(&nodes).await;
    let known = nodes[0].mesh.identities().await.unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!(
        (known[0].name.as_str(), known[0].peer),
        ("alice@names", *nodes[1].peer().as_bytes())
    );
    close(nodes).await;

    let bob = Node::start(config).await;
    let mut events = bob.mesh.events();
    let ticket = within(bob.mesh.ticket()).await.unwrap();
    let second = Node::start(alice().with_ticket(ticket)).await;
    let offered = second.peer();
    let accepted = within(async {
        loop {
            if let Some(Event::IdentityChanged {
                known,
                offered: found,
                accepted,
            }) = events.next().await
            {
                assert_eq!((known.name.as_str(), found), ("alice@names", offered));
                return accepted;
            }
        }
    })
    .await;
    let nodes = vec![bob, second];
    if accepted {
        formed(&nodes).await;
    } else {
        let member = nodes[0]
            .room
            .roster()
            .into_iter()
            .find(|member| member.peer == offered);
        assert_eq!(
            member.and_then(|member| member.nick),
            None,
            "the nick is not shown"
        );
    }
    let linked = !nodes[0].links().is_empty();
    close(nodes).await;
    linked
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_is_refused_with_an_event() {
    assert!(!meets_two_alices(KnownPeers::RefuseChanged).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_is_accepted_where_asked_for_and_still_reported() {
    assert!(meets_two_alices(KnownPeers::AcceptChanged).await);
}
