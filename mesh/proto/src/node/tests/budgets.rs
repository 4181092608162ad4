//! How much one key can have a node say about it, or to it.

use super::strangers::presence_of;
use super::{SECOND, Sim, form};
use crate::envelope::{Gossip, HopFrame};
use crate::id::Identity;
use crate::node::io::{Input, Output, Verdict};
use crate::presence::Records;

/// Offers node 1 as many ever newer presences; says how many it passes on.
fn passed_on(sim: &mut Sim, author: &Identity, numbers: std::ops::Range<u64>) -> usize {
    let accepted = numbers.filter(|number| {
        let time = sim.time();
        let records = Records::truncated([presence_of(author, *number, time)]);
        let bytes = Gossip::Records(records).encode().unwrap();
        let from = author.peer_id();
        let verdict = sim.peers[1].node.handle_gossip(from, &bytes, time);
        sim.drain(1);
        verdict == Verdict::Accept
    });
    accepted.count()
}

#[test]
fn presences_of_one_author_are_passed_on_at_a_rate() {
    let (mut sim, _) = form(3, 30);
    let (ada, bob) = (Identity::from_seed([5; 32]), Identity::from_seed([6; 32]));
    assert_eq!(passed_on(&mut sim, &ada, 0..40), 16);
    assert_eq!(passed_on(&mut sim, &ada, 40..80), 0);
    assert_eq!(passed_on(&mut sim, &bob, 0..10), 10, "another's share");
    sim.run_for(SECOND * 3);
    assert_eq!(passed_on(&mut sim, &ada, 80..120), 3);
    assert!(sim.peers.iter().all(|peer| peer.node.stats().refused == 0));
}

#[test]
fn who_connects_again_and_again_is_not_told_everything_each_time() {
    let (mut sim, _) = form(3, 31);
    sim.run_for(SECOND * 20);
    let peer = sim.peers[0].node.peer_id();
    let told = |sim: &mut Sim| {
        let (time, node) = (sim.time(), &mut sim.peers[1].node);
        let (mut everything, mut own) = (0, 0);
        for _ in 0..20 {
            node.handle(Input::NeighbourUp { peer }, time);
            while let Some(output) = node.poll() {
                if let Output::Hop { bytes, .. } = output
                    && let Ok(HopFrame::Records(records)) = HopFrame::decode(&bytes)
                {
                    everything += usize::from(records.len() > 1);
                    own += usize::from(records.len() == 1);
                }
            }
        }
        (everything, own)
    };
    assert_eq!(told(&mut sim), (8, 12));
    sim.run_for(SECOND * 4);
    assert_eq!(told(&mut sim), (2, 18));
}
