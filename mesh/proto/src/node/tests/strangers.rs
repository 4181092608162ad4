//! What a node does with the words of those it has not heard of.

use bytes::Bytes;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::{MESH, SECOND, Sim, form, room};
use crate::envelope::HopFrame;
use crate::flood::Flood;
use crate::frame::{ChannelName, Frame};
use crate::id::{Identity, Incarnation, MeshTag, Seq};
use crate::node::io::{Event, Input};
use crate::presence::{Capabilities, Presence, Record, Records};
use crate::roster::Roster;
use crate::seal::Prekeys;
use crate::time::Time;
use crate::wire::{BoundedString, BoundedVec, SignedBytes};

/// A presence of a node of its own, in the room of the tests: the first that
/// it signs, or a later one.
pub(super) fn presence_of(identity: &Identity, later: u64, time: Time) -> SignedBytes {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let presence = Presence {
        mesh: MeshTag::new(MESH),
        seq: Seq(Seq::first(Incarnation(1)).next().0 + later),
        issued_ms: time.unix_ms,
        ttl_s: 90,
        rooms: BoundedVec::truncated([room()]),
        prekey: Prekeys::new(&mut rng).public(),
        addresses: BoundedVec::default(),
        nick: BoundedString::default(),
        capabilities: Capabilities::default(),
        load: 0,
    };
    Record::Presence(presence).sign(identity).unwrap()
}

/// A stranger's `count` broadcasts reach node 1 over one of its links.
fn stranger_says(sim: &mut Sim, stranger: &Identity, count: u64) {
    let mut flood = Flood::new(room(), Incarnation(1));
    let link = sim.peers[1].node.links()[0].link;
    for number in 0..count {
        let channel = ChannelName::new("chat").unwrap();
        let payload = Bytes::from(number.to_string());
        let frame = flood.send(stranger, channel, payload, |_| true).unwrap();
        let bytes = Frame::Broadcast(frame).encode().unwrap();
        let time = sim.time();
        sim.peers[1].node.handle(Input::Frame { link, bytes }, time);
        sim.drain(1);
    }
}

#[test]
fn what_a_stranger_says_waits_until_it_is_known() {
    let (mut sim, _) = form(4, 13);
    let stranger = Identity::from_seed([9; 32]);
    sim.peers[1].messages.clear();
    stranger_says(&mut sim, &stranger, 3);
    sim.run_for(SECOND);
    assert!(sim.peers[1].messages.is_empty(), "nobody knows who that is");
    let (time, from) = (sim.time(), sim.peers[0].node.peer_id());
    let records = Records::truncated([presence_of(&stranger, 0, time)]);
    let bytes = HopFrame::Records(records).encode().unwrap();
    sim.peers[1].node.handle(Input::Hop { from, bytes }, time);
    sim.drain(1);
    let said: Vec<_> = sim.peers[1].messages.iter().map(|m| &*m.payload).collect();
    assert_eq!(said, [b"0", b"1", b"2"]);
    assert_eq!(sim.peers[1].node.stats().strangers_dropped, 0);
}

#[test]
fn what_a_stranger_says_that_stays_one_is_dropped_and_counted() {
    let (mut sim, _) = form(4, 14);
    sim.peers[1].messages.clear();
    stranger_says(&mut sim, &Identity::from_seed([9; 32]), 40);
    sim.run_for(SECOND * 6);
    assert!(sim.peers[1].messages.is_empty());
    assert_eq!(sim.peers[1].node.stats().strangers_dropped, 40);
    // Passed on all the same: others may know the author.
    assert!(sim.peers.iter().all(|peer| peer.node.stats().refused == 0));
}

#[test]
fn a_direct_message_of_a_stranger_is_neither_delivered_nor_acknowledged() {
    let (mut sim, _) = form(3, 15);
    sim.run_for(SECOND * 3);
    // Node 1 forgets node 0, as if it had never heard of it.
    let (ada, bob) = (sim.peers[0].node.peer_id(), sim.peers[1].node.peer_id());
    let known = sim.peers[1].node.roster().get(&ada).unwrap().signed.clone();
    let mesh = sim.peers[1].node.mesh;
    sim.peers[1].node.roster = Roster::new(bob, mesh);
    sim.peers[1].messages.clear();
    let time = sim.time();
    let id = sim.peers[0]
        .node
        .send(room(), bob, "chat", Bytes::from_static(b"hi"), time)
        .unwrap();
    sim.drain(0);
    sim.run_for(SECOND / 10);
    let acked = |sim: &Sim| {
        let mut events = sim.peers[0].events.iter();
        events.any(|event| matches!(event, Event::Delivered { id: of, .. } if *of == id))
    };
    assert!(sim.peers[1].messages.is_empty() && !acked(&sim));
    let time = sim.time();
    let records = Records::truncated([known]);
    let bytes = HopFrame::Records(records).encode().unwrap();
    sim.peers[1]
        .node
        .handle(Input::Hop { from: ada, bytes }, time);
    sim.drain(1);
    sim.run_for(SECOND);
    assert_eq!(sim.peers[1].messages.len(), 1);
    assert!(acked(&sim));
}
