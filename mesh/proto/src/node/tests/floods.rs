//! Envelopes that find no direct way, and those who would flood everyone.

use std::collections::BTreeSet;

use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::{SECOND, Sim, form, room};
use crate::envelope::{Body, Envelope, Gossip, HopFrame, Letter, Refusal};
use crate::frame::Frame;
use crate::id::{Identity, MessageId, PeerId, SessionId};
use crate::links::PlanAction;
use crate::node::io::{CloseCause, Input, Output, Verdict};
use crate::seal::{Prekeys, PublicPrekey};

/// A letter of a node of its own to `to`, sealed now.
fn envelope(sim: &mut Sim, to: PeerId, prekey: PublicPrekey) -> Envelope {
    let author = Identity::from_seed([8; 32]);
    let letter = Letter {
        from: author.peer_id(),
        to,
        room: room(),
        session: SessionId::random(&mut sim.rng),
        seq: 0,
        sent_ms: sim.time().unix_ms,
        body: Body::Bye,
    };
    Envelope::seal(&letter, &author, &prekey, &mut sim.rng).unwrap()
}

/// The same to somebody who is in none of the nodes' rosters.
fn for_another(sim: &mut Sim) -> Envelope {
    let prekey = Prekeys::new(&mut ChaCha20Rng::seed_from_u64(1)).public();
    envelope(sim, PeerId::from_bytes([7; 32]), prekey)
}

/// What node 1 passes on over its links of an envelope that arrives over the
/// link at this place in its list.
fn passed_on(sim: &mut Sim, over: usize, envelope: &Envelope) -> Vec<Envelope> {
    let (time, node) = (sim.time(), &mut sim.peers[1].node);
    let link = node.links()[over].link;
    let bytes = Frame::Envelope(envelope.clone()).encode().unwrap();
    node.handle(Input::Frame { link, bytes }, time);
    let mut sent = Vec::new();
    while let Some(output) = node.poll() {
        if let Output::Send { bytes, .. } = output
            && let Ok(Frame::Envelope(envelope)) = Frame::decode(&bytes)
        {
            sent.push(envelope);
        }
    }
    sent
}

/// Four nodes, each linked with all others.
fn four(seed: u64) -> Sim {
    let (mut sim, _) = form(4, seed);
    sim.run_for(SECOND * 3);
    assert_eq!(sim.peers[1].node.links().len(), 3);
    sim
}

#[test]
fn an_altered_copy_does_not_keep_the_true_envelope_back() {
    let mut sim = four(20);
    let good = for_another(&mut sim);
    let mut altered = good.clone();
    altered.sealed = altered.sealed.iter().map(|byte| byte ^ 1).collect();
    let mut used_up = good.clone();
    used_up.ttl = 0;
    assert_eq!(passed_on(&mut sim, 0, &used_up), []);
    assert_eq!(passed_on(&mut sim, 0, &altered).len(), 2);
    let sent = passed_on(&mut sim, 1, &good);
    assert_eq!(sent.len(), 2);
    assert!(sent.iter().all(|sent| sent.sealed == good.sealed));
    assert_eq!(passed_on(&mut sim, 2, &good), [], "once is enough");
}

#[test]
fn envelopes_that_hold_for_too_long_are_not_passed_on() {
    let mut sim = four(21);
    let mut lasting = for_another(&mut sim);
    lasting.expires_s += 3600;
    assert_eq!(passed_on(&mut sim, 0, &lasting), []);
    let (time, author) = (sim.time(), PeerId::from_bytes([9; 32]));
    let bytes = Gossip::Flood(lasting).encode().unwrap();
    let verdict = sim.peers[1].node.handle_gossip(author, &bytes, time);
    assert_eq!(verdict, Verdict::Ignore);
}

#[test]
fn four_floods_of_one_sender_are_passed_on_each_second() {
    let mut sim = four(22);
    let gossiped = |sim: &mut Sim, author: PeerId| {
        let accepted = (0..20).filter(|_| {
            let bytes = Gossip::Flood(for_another(sim)).encode().unwrap();
            let time = sim.time();
            sim.peers[1].node.handle_gossip(author, &bytes, time) == Verdict::Accept
        });
        accepted.count()
    };
    let linked = |sim: &mut Sim, over: usize| {
        let ids = (0..20).flat_map(|_| {
            let envelope = for_another(sim);
            passed_on(sim, over, &envelope)
        });
        ids.map(|sent| sent.id)
            .collect::<BTreeSet<MessageId>>()
            .len()
    };
    let (ada, bob) = (PeerId::from_bytes([5; 32]), PeerId::from_bytes([6; 32]));
    for _ in 0..3 {
        assert_eq!(gossiped(&mut sim, ada), 4);
        assert_eq!(gossiped(&mut sim, ada), 0);
        assert_eq!(gossiped(&mut sim, bob), 4, "another's share");
        assert_eq!(linked(&mut sim, 0), 4);
        assert_eq!(linked(&mut sim, 0), 0);
        assert_eq!(linked(&mut sim, 1), 4, "another's share");
        sim.run_for(SECOND);
    }
}

#[test]
fn a_neighbour_has_only_so_many_envelopes_opened() {
    let mut sim = four(23);
    let (time, from) = (sim.time(), PeerId::from_bytes([9; 32]));
    let (me, prekey) = (
        sim.peers[1].node.peer_id(),
        sim.peers[1].node.prekeys.public(),
    );
    let mut junk = envelope(&mut sim, me, prekey);
    junk.sealed = junk.sealed.iter().map(|byte| byte ^ 1).collect();
    let bytes = HopFrame::Forward(junk).encode().unwrap();
    let (mut opened, mut busy) = (0, 0);
    for _ in 0..200 {
        let bytes = bytes.clone();
        sim.peers[1].node.handle(Input::Hop { from, bytes }, time);
        while let Some(output) = sim.peers[1].node.poll() {
            let Output::Hop { bytes, .. } = output else {
                continue;
            };
            let HopFrame::Nack { why, .. } = HopFrame::decode(&bytes).unwrap() else {
                panic!("not refused");
            };
            opened += usize::from(why == Refusal::Unreadable);
            busy += usize::from(why == Refusal::Busy);
        }
    }
    assert_eq!((opened, busy), (96, 104));
}

#[test]
fn an_offer_that_finds_no_direct_way_is_flooded_and_arrives() {
    for seed in 0..4 {
        let mut sim = Sim::new(3, SECOND / 10, seed);
        sim.cut = BTreeSet::from([(1, 2), (2, 1)]);
        let formed = sim.run_until(SECOND * 20, Sim::formed);
        assert!(formed.is_some(), "seed {seed}: {:?}", sim.unformed());
        let other = sim.peers[2].node.peer_id();
        let links = sim.peers[1].node.links();
        assert!(
            links
                .iter()
                .any(|info| info.peer == other && info.up_since.is_some())
        );
        let flooded = |at: usize| sim.peers[at].node.stats().envelopes_flooded;
        assert!(flooded(1) > 0 && flooded(2) > 0, "an offer and an answer");
        assert_eq!(flooded(0), 0, "who can reach everyone floods nothing");
    }
}

#[test]
fn of_two_dials_that_cross_one_link_remains() {
    let mut crossed = 0;
    for seed in 0..8 {
        let mut sim = Sim::new(2, SECOND / 10, seed);
        let dialled = |sim: &Sim| sim.peers.iter().any(|peer| !peer.node.links().is_empty());
        sim.run_until(SECOND * 5, dialled).unwrap();
        // The other one has waited too long by its own count, and dials too
        // before the first one's offer arrives.
        let Some(waits) = (0..2).find(|at| sim.peers[*at].node.links().is_empty()) else {
            continue;
        };
        crossed += 1;
        let (time, to) = (sim.time(), sim.peers[1 - waits].node.peer_id());
        let node = &mut sim.peers[waits].node;
        let plan = &mut node.rooms.get_mut(&room()).unwrap().plan;
        let mut later = (0..20).map(|tenths| time.now + SECOND / 10 * tenths);
        let dial = later.find_map(|at| plan.poll(at, &mut node.rng));
        assert_eq!(dial, Some(PlanAction::Dial(to)), "seed {seed}");
        node.dial(room(), to, time);
        sim.drain(waits);
        assert!(sim.run_until(SECOND * 5, Sim::formed).is_some(), "{seed}");
        sim.run_for(SECOND * 5);
        let closes: Vec<CloseCause> = sim.peers.iter().flat_map(|p| p.closes.clone()).collect();
        assert_eq!(closes, [CloseCause::Glare], "seed {seed}");
        let [ours, theirs] = [0, 1].map(|at| sim.peers[at].node.links());
        assert_eq!((ours.len(), theirs.len()), (1, 1), "seed {seed}");
        assert_eq!(ours[0].session, theirs[0].session, "seed {seed}");
        assert!(ours[0].up_since.is_some() && theirs[0].up_since.is_some());
    }
    assert!(crossed >= 4, "{crossed} of 8 seeds");
}
