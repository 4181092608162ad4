//! Whole meshes on a virtual clock.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

mod budgets;
mod floods;
mod strangers;

use super::io::{Event, Input, LinkId, SendError, Undelivered};
use super::sim::{MESH, ROOM, Sim};
use crate::id::{Identity, PeerId, RoomId};

const SECOND: Duration = Duration::from_secs(1);

fn room() -> RoomId {
    RoomId::new(MESH, ROOM)
}

fn form(n: usize, seed: u64) -> (Sim, Duration) {
    let mut sim = Sim::new(n, Duration::from_millis(100), seed);
    let took = sim.run_until(SECOND * 20, Sim::formed);
    let took = took.unwrap_or_else(|| panic!("seed {seed}, {n} nodes: {:?}", sim.unformed()));
    (sim, took)
}

/// Everyone broadcasts once; everyone gets each exactly once.
fn broadcast_round(sim: &mut Sim, seed: u64) -> u8 {
    let alive = sim.alive();
    for at in &alive {
        let time = sim.time();
        sim.peers[*at].messages.clear();
        sim.peers[*at]
            .node
            .broadcast(room(), "chat", Bytes::from(format!("from {at}")), time)
            .unwrap();
        sim.drain(*at);
    }
    sim.run_for(SECOND * 2);
    let mut hops = 0;
    for at in &alive {
        let peer = &sim.peers[*at];
        let mut from: BTreeMap<PeerId, usize> = BTreeMap::new();
        for message in peer.messages.iter().filter(|message| !message.direct) {
            *from.entry(message.from).or_default() += 1;
            hops = hops.max(message.hops);
        }
        assert_eq!(
            from.len(),
            alive.len() - 1,
            "seed {seed}: node {at} missed some"
        );
        assert!(
            from.values().all(|count| *count == 1),
            "seed {seed}: node {at} got some twice"
        );
    }
    hops
}

/// Everyone writes to everyone; each message is delivered and acknowledged
/// exactly once.
fn direct_round(sim: &mut Sim, seed: u64) {
    let alive = sim.alive();
    for at in &alive {
        sim.peers[*at].messages.clear();
        sim.peers[*at].events.clear();
    }
    for at in &alive {
        for other in alive.iter().filter(|other| *other != at) {
            let (time, to) = (sim.time(), sim.peers[*other].node.peer_id());
            sim.peers[*at]
                .node
                .send(room(), to, "chat", Bytes::from_static(b"to you"), time)
                .unwrap();
            sim.drain(*at);
        }
    }
    sim.run_for(SECOND * 5);
    for at in &alive {
        let peer = &sim.peers[*at];
        let mut from: Vec<PeerId> = peer
            .messages
            .iter()
            .filter(|m| m.direct)
            .map(|m| m.from)
            .collect();
        from.sort();
        let count = from.len();
        from.dedup();
        assert_eq!(
            (count, from.len()),
            (alive.len() - 1, alive.len() - 1),
            "seed {seed}: node {at}"
        );
        let acked = peer
            .events
            .iter()
            .filter(|event| matches!(event, Event::Delivered { .. }))
            .count();
        assert_eq!(acked, alive.len() - 1, "seed {seed}: node {at}");
    }
}

/// Forms, talks, loses a third, heals, talks.
fn life(n: usize, seed: u64, directs: bool) -> (Duration, Duration, u8) {
    let (mut sim, formed) = form(n, seed);
    let hops = broadcast_round(&mut sim, seed);
    if directs {
        direct_round(&mut sim, seed);
    }
    let victims = sim.pick(n / 3);
    sim.kill(&victims);
    let healed = sim.run_until(SECOND * 20, Sim::formed);
    let healed = healed.unwrap_or_else(|| panic!("seed {seed}, {n} nodes: {:?}", sim.unformed()));
    let after = broadcast_round(&mut sim, seed);
    if directs {
        direct_round(&mut sim, seed);
    }
    let (min, max) = sim.degrees();
    assert!(
        min >= 4.min(sim.alive().len() - 1) && max <= 12,
        "seed {seed}: degrees {min} to {max}"
    );
    (formed, healed, hops.max(after))
}

/// The longest it took, on the virtual clock with links of 10 to 12 ms.
fn check_times(lives: &[(Duration, Duration, u8)]) {
    let formed = lives.iter().map(|life| life.0).max();
    let healed = lives.iter().map(|life| life.1).max();
    assert!(formed < Some(SECOND), "formed within {formed:?}");
    assert!(healed < Some(SECOND * 3), "healed within {healed:?}");
}

#[test]
fn twelve_nodes_form_talk_lose_four_and_heal() {
    let lives: Vec<_> = (0..6).map(|seed| life(12, seed, true)).collect();
    check_times(&lives);
}

#[test]
fn fifty_nodes_form_talk_lose_sixteen_and_heal() {
    check_times(&[life(50, 0, true)]);
}

#[test]
#[ignore = "takes minutes; run after changes to links, rosters or signaling"]
fn many_seeds() {
    let twelve: Vec<_> = (100..200).map(|seed| life(12, seed, true)).collect();
    check_times(&twelve);
    for seed in 100..110 {
        life(50, seed, true);
    }
}

#[test]
fn meshes_of_every_small_size_form() {
    for n in 2..9 {
        form(n, n as u64);
    }
}

#[test]
fn everything_goes_on_without_gossip_and_the_mesh_still_heals() {
    for seed in 0..3 {
        let (mut sim, _) = form(12, seed);
        sim.gossip = false;
        broadcast_round(&mut sim, seed);
        direct_round(&mut sim, seed);
        let victims = sim.pick(4);
        sim.kill(&victims);
        let healed = sim.run_until(SECOND * 20, Sim::formed);
        assert!(healed.is_some(), "seed {seed}: {:?}", sim.unformed());
        broadcast_round(&mut sim, seed);
    }
}

#[test]
fn lost_envelopes_and_failed_connections_delay_but_do_not_prevent() {
    for seed in 0..4 {
        let mut sim = Sim::new(12, Duration::from_millis(100), seed);
        sim.hop_loss = 0.3;
        sim.pc_loss = 0.2;
        let formed = sim.run_until(SECOND * 30, Sim::formed);
        assert!(formed.is_some(), "seed {seed}: {:?}", sim.unformed());
        broadcast_round(&mut sim, seed);
        let victims = sim.pick(4);
        sim.kill(&victims);
        let healed = sim.run_until(SECOND * 30, Sim::formed);
        assert!(healed.is_some(), "seed {seed}: {:?}", sim.unformed());
        broadcast_round(&mut sim, seed);
    }
}

#[test]
fn offers_with_very_many_addresses_arrive_whole() {
    for seed in 0..3 {
        let mut sim = Sim::new(5, Duration::from_millis(100), seed);
        sim.candidates = 150;
        let formed = sim.run_until(SECOND * 5, Sim::formed);
        assert!(formed.is_some(), "seed {seed}: {:?}", sim.unformed());
        sim.run_for(SECOND);
        let got = sim.candidates_got();
        assert!(
            got.len() >= 10 && got.iter().all(|got| *got == 150),
            "{got:?}"
        );
    }
}

/// The link between two nodes whose actor dies at one end: gone there at once,
/// while the other end does not know.
#[test]
fn a_link_whose_actor_died_is_built_again_at_once() {
    use super::io::DownCause;
    let mut slowest = Duration::ZERO;
    for seed in 0..4 {
        let (mut sim, _) = form(8, seed);
        sim.run_for(SECOND * 12);
        for _ in 0..12 {
            let info = sim.peers[0].node.links()[0].clone();
            let (link, peer) = (info.link, info.peer);
            sim.lose(0, link, DownCause::Died);
            let linked = |sim: &Sim| {
                let links = sim.peers[0].node.links();
                let mut again = links.iter().filter(|new| new.peer == peer);
                again.any(|new| new.up_since.is_some()) && sim.formed()
            };
            let took = sim.run_until(SECOND * 20, linked);
            slowest = slowest.max(took.unwrap_or_else(|| panic!("seed {seed}: not again")));
            sim.run_for(SECOND / 2);
        }
    }
    // On the virtual clock, with the pauses of a link that keeps breaking.
    assert!(slowest < SECOND * 3 / 2, "{slowest:?}");
}

#[test]
fn a_quiet_mesh_stays_as_it_is() {
    let (mut sim, _) = form(12, 5);
    sim.run_for(SECOND * 20);
    for peer in &mut sim.peers {
        peer.events.clear();
    }
    let before = sim.frames;
    sim.run_for(SECOND * 300);
    assert!(sim.formed(), "{:?}", sim.unformed());
    for peer in &sim.peers {
        assert_eq!(peer.events, [], "nothing happened, so nothing is told");
    }
    let per_node_and_second = (sim.frames - before) / 12 / 300;
    assert!(per_node_and_second < 60, "{per_node_and_second} frames");
    broadcast_round(&mut sim, 5);
}

#[test]
fn who_leaves_is_gone_at_once_and_is_not_mourned() {
    let (mut sim, _) = form(8, 6);
    let (time, leaver) = (sim.time(), 3);
    sim.peers[leaver].node.close(time);
    sim.drain(leaver);
    sim.run_for(SECOND / 4);
    sim.kill(&[leaver]);
    let gone = sim.peers[leaver].node.peer_id();
    for at in sim.alive() {
        let events = &sim.peers[at].events;
        assert!(
            events.contains(&Event::Left {
                room: room(),
                peer: gone
            }),
            "node {at}"
        );
        assert!(
            !events
                .iter()
                .any(|event| matches!(event, Event::Suspected { .. })),
            "node {at}"
        );
    }
    assert!(
        sim.run_until(SECOND * 10, Sim::formed).is_some(),
        "{:?}",
        sim.unformed()
    );
}

#[test]
fn a_living_node_clears_itself_of_a_false_obituary() {
    let (mut sim, _) = form(8, 7);
    let accused = sim.peers[2].node.peer_id();
    let time = sim.time();
    sim.peers[5].node.accuse(accused, time);
    sim.drain(5);
    sim.run_for(SECOND * 3);
    let died = Event::Died {
        room: room(),
        peer: accused,
    };
    let refuted = Event::Refuted {
        room: room(),
        peer: accused,
    };
    for at in (0..8).filter(|at| *at != 2) {
        assert!(sim.peers[at].events.contains(&refuted), "node {at}");
        assert!(!sim.peers[at].events.contains(&died), "node {at}");
    }
    assert!(sim.formed());
}

#[test]
fn a_node_that_fell_silent_for_a_while_comes_back() {
    let (mut sim, _) = form(8, 8);
    sim.kill(&[4]);
    assert!(
        sim.run_until(SECOND * 10, Sim::formed).is_some(),
        "{:?}",
        sim.unformed()
    );
    sim.revive(4);
    let back = sim.run_until(SECOND * 60, Sim::formed);
    assert!(back.is_some(), "{:?}", sim.unformed());
    broadcast_round(&mut sim, 8);
}

#[test]
fn a_direct_message_to_the_dead_is_reported() {
    let (mut sim, _) = form(8, 9);
    let dead = sim.peers[4].node.peer_id();
    sim.kill(&[4]);
    let time = sim.time();
    let id = sim.peers[1]
        .node
        .send(room(), dead, "chat", Bytes::from_static(b"?"), time)
        .unwrap();
    sim.drain(1);
    sim.run_for(SECOND * 20);
    let why = Undelivered::Gone;
    assert!(
        sim.peers[1]
            .events
            .contains(&Event::Undelivered { id, why })
    );
    let time = sim.time();
    let late = sim.peers[1]
        .node
        .send(room(), dead, "chat", Bytes::from_static(b"?"), time);
    assert_eq!(late, Err(SendError::UnknownPeer));
}

#[test]
fn the_same_seed_gives_the_same_course() {
    let course = |seed| {
        let (mut sim, formed) = form(10, seed);
        sim.run_for(SECOND * 5);
        (formed, sim.frames, sim.frame_bytes)
    };
    assert_eq!(course(3), course(3));
    assert_ne!(course(3), course(4));
}

#[test]
fn hostile_bytes_change_nothing() {
    use rand::RngExt;
    let (mut sim, _) = form(4, 10);
    let (links, stranger) = (sim.peers[1].node.links(), PeerId::from_bytes([9; 32]));
    for round in 0..2000 {
        let len = sim.rng.random_range(0..200);
        let mut bytes: Vec<u8> = (0..len).map(|_| sim.rng.random()).collect();
        if let Some(first) = bytes.first_mut() {
            *first = 1;
        }
        let (time, node) = (sim.time(), &mut sim.peers[1].node);
        node.handle_gossip(stranger, &bytes, time);
        node.handle(
            Input::Hop {
                from: stranger,
                bytes: bytes.clone().into(),
            },
            time,
        );
        node.handle(
            Input::Frame {
                link: LinkId(u64::MAX - round),
                bytes: bytes.into(),
            },
            time,
        );
        sim.drain(1);
    }
    assert_eq!(sim.peers[1].node.links().len(), links.len());
    let time = sim.time();
    sim.peers[1].node.handle(
        Input::Frame {
            link: links[0].link,
            bytes: Bytes::from_static(b"\x01junk"),
        },
        time,
    );
    sim.drain(1);
    assert_eq!(
        sim.peers[1].node.links().len(),
        links.len() - 1,
        "who sends junk loses the link"
    );
    assert!(
        sim.run_until(SECOND * 10, Sim::formed).is_some(),
        "{:?}",
        sim.unformed()
    );
}

#[test]
fn a_restarted_node_is_not_mourned() {
    let (mut sim, _) = form(8, 11);
    let again = sim.peers[3].node.peer_id();
    sim.restart(3);
    let back = sim.run_until(SECOND * 20, Sim::formed);
    assert!(back.is_some(), "{:?}", sim.unformed());
    sim.run_for(SECOND * 10);
    assert!(sim.formed(), "{:?}", sim.unformed());
    for at in (0..8).filter(|at| *at != 3) {
        let died = Event::Died {
            room: room(),
            peer: again,
        };
        assert!(!sim.peers[at].events.contains(&died), "node {at}");
    }
    broadcast_round(&mut sim, 11);
    direct_round(&mut sim, 11);
}

#[test]
fn a_neighbour_that_passes_on_a_bad_record_loses_the_link() {
    use crate::frame::Frame;
    use crate::presence::Records;
    use crate::wire::SignedBytes;
    let (mut sim, _) = form(4, 12);
    let link = sim.peers[1].node.links()[0].link;
    let stranger = Identity::from_seed([9; 32]);
    let junk = SignedBytes::sign(&stranger, "other", Bytes::from_static(b"\x01junk"));
    let bytes = Frame::Records(Records::truncated([junk])).encode().unwrap();
    let time = sim.time();
    sim.peers[1].node.handle(Input::Frame { link, bytes }, time);
    let left = sim.peers[1].node.links();
    assert!(left.iter().all(|info| info.link != link));
}
