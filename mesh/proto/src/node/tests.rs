//! Whole meshes on a virtual clock.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use super::io::Event;
use super::sim::{MESH, ROOM, Sim};
use crate::id::{PeerId, RoomId};

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
    let lives: Vec<_> = (0..12).map(|seed| life(12, seed, true)).collect();
    check_times(&lives);
}

#[test]
fn fifty_nodes_form_talk_lose_sixteen_and_heal() {
    let lives: Vec<_> = (0..2).map(|seed| life(50, seed, seed == 0)).collect();
    check_times(&lives);
}

#[test]
fn meshes_of_every_small_size_form() {
    for n in 2..9 {
        form(n, n as u64);
    }
}
