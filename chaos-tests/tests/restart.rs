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
async fn a_node_rejoins_from_disk_when_every_bootstrap_is_dead() {
    let (runtime, dir) = (runtime(), tempfile::tempdir().unwrap());
    let node = || Config::local("orphaned").with_runtime(runtime.clone());
    let bootstrap = Node::start(node()).await;
    let ticket = within(bootstrap.mesh.ticket()).await.unwrap();
    let mut nodes = vec![bootstrap];
    for _ in 0..3 {
        nodes.push(Node::start(node().with_ticket(ticket.clone())).await);
    }
    let config = on_disk("orphaned", &dir).with_runtime(runtime.clone());
    nodes.push(Node::start(config.clone().with_ticket(ticket)).await);
    formed(&nodes).await;
    let last = nodes.pop().unwrap();
    within(last.mesh.close()).await;
    drop(last);
    let bootstrap = nodes.remove(0);
    within(bootstrap.mesh.close()).await;
    drop(bootstrap);

    nodes.push(Node::start(config).await);
    formed(&nodes).await;
    close(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_lost_at_run_time_is_reported_and_rebuilt() {
    let (runtime, dir) = (runtime(), tempfile::tempdir().unwrap());
    let config = on_disk("rebuilt", &dir).with_runtime(runtime.clone());
    let first = Node::start(config.clone()).await;
    let mut events = first.mesh.events();
    within(first.mesh.lose_database()).await.unwrap();
    let ticket = within(first.mesh.ticket()).await.unwrap();
    let second = Config::local("rebuilt").with_runtime(runtime.clone());
    let second = Node::start(second.with_ticket(ticket)).await;
    let other = second.peer();
    // Remembering who was met is the write that finds out.
    within(async { while !matches!(events.next().await.unwrap(), Event::StoreRebuilt { .. }) {} })
        .await;
    let nodes = vec![first, second];
    formed(&nodes).await;
    close(nodes).await;

    let again = Mesh::open(config).await.unwrap();
    let known = again.identities().await.unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!(known[0].peer, *other.as_bytes());
    again.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_start_finds_out_is_told_to_the_first_who_listens() {
    let dir = tempfile::tempdir().unwrap();
    let first = Mesh::open(on_disk("early", &dir)).await.unwrap();
    assert_eq!(within(first.events().next()).await, Some(Event::KeyCreated));
    first.close().await;
    // A file in the place of the newest database.
    std::fs::write(dir.path().join("db-9"), b"not a database").unwrap();
    let second = Mesh::open(on_disk("early", &dir)).await.unwrap();
    let told = within(second.events().next()).await;
    assert!(matches!(told, Some(Event::StoreRebuilt { .. })), "{told:?}");
    second.close().await;
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

/// Bob knows alice; mallory, linked under a name of her own or about to be,
/// takes alice's.
async fn mallory_takes_alices_name(linked_first: bool) {
    let (runtime, dir) = (runtime(), tempfile::tempdir().unwrap());
    let config = on_disk("taken", &dir).with_runtime(runtime.clone());
    let named = |nick: &str| {
        Config::local("taken")
            .with_nick(nick)
            .with_runtime(runtime.clone())
    };
    let bob = Node::start(config).await;
    let ticket = within(bob.mesh.ticket()).await.unwrap();
    let alice = Node::start(named("alice").with_ticket(ticket.clone())).await;
    let key = *alice.peer().as_bytes();
    let mut nodes = vec![bob, alice];
    formed(&nodes).await;
    within(nodes.pop().unwrap().mesh.close()).await;

    let mut events = nodes[0].mesh.events();
    let mallory = Node::start(named("mallory").with_ticket(ticket)).await;
    let peer = mallory.peer();
    nodes.push(mallory);
    if linked_first {
        formed(&nodes).await;
    }
    let alices = Some("alice".to_owned());
    within(nodes[1].mesh.set_nick(alices)).await.unwrap();
    let (mut changed, mut refused) = (false, false);
    within(async {
        while !(changed && refused) {
            match events.next().await.unwrap() {
                Event::IdentityChanged {
                    known,
                    offered,
                    accepted,
                } => {
                    assert_eq!((known.peer, offered), (key, peer));
                    assert!(!accepted);
                    changed = true;
                }
                Event::IdentityRefused { peer: who, .. } => {
                    assert_eq!(who, peer);
                    refused = true;
                }
                _ => {}
            }
        }
    })
    .await;
    common::until(&nodes, "no link to mallory", |nodes| {
        !nodes[0].links().contains(&peer)
    })
    .await;
    let member = nodes[0].room.roster();
    let member = member.iter().find(|member| member.peer == peer);
    assert_eq!(member.and_then(|member| member.nick.clone()), None);
    let known = nodes[0].mesh.identities().await.unwrap();
    let pinned = known.iter().find(|known| known.name == "alice@taken");
    assert_eq!(pinned.map(|known| known.peer), Some(key));
    close(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_taken_by_a_linked_peer_costs_it_the_link() {
    mallory_takes_alices_name(true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_taken_while_the_link_is_built_costs_it_the_link() {
    mallory_takes_alices_name(false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_free_name_may_be_taken_and_is_remembered() {
    let (runtime, dir) = (runtime(), tempfile::tempdir().unwrap());
    let bob = Node::start(on_disk("free", &dir).with_runtime(runtime.clone())).await;
    let ticket = within(bob.mesh.ticket()).await.unwrap();
    let config = Config::local("free").with_runtime(runtime).with_nick("ada");
    let nodes = vec![bob, Node::start(config.with_ticket(ticket)).await];
    formed(&nodes).await;
    let mut events = nodes[0].mesh.events();
    let nick = Some("lovelace".to_owned());
    within(nodes[1].mesh.set_nick(nick.clone())).await.unwrap();
    within(async {
        loop {
            if let Some(Event::IdentityVerified {
                name, first_use, ..
            }) = events.next().await
            {
                assert_eq!((name.as_str(), first_use), ("lovelace@free", true));
                return;
            }
        }
    })
    .await;
    let peer = nodes[1].peer();
    assert_eq!(nodes[0].links(), [peer]);
    let roster = nodes[0].room.roster();
    let member = roster.iter().find(|member| member.peer == peer);
    assert_eq!(member.and_then(|member| member.nick.clone()), nick);
    assert_eq!(nodes[0].mesh.identities().await.unwrap().len(), 2);
    close(nodes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_is_refused_with_an_event() {
    assert!(!meets_two_alices(KnownPeers::RefuseChanged).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_key_is_accepted_where_asked_for_and_still_reported() {
    assert!(meets_two_alices(KnownPeers::AcceptChanged).await);
}
