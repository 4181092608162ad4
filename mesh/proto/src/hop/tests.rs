mod net;

use super::{Strategy, *};
use net::{LIES, Lie, Net, room};
use proptest::prelude::*;

/// Digests have spread by then.
const SETTLED: u64 = 100_000;
/// Longer than an envelope lives.
const OVER: u64 = 40_000;

#[test]
fn neighbours_need_one_link() {
    let mut net = Net::line(2, Config::default());
    net.pass(100);
    let name = net.send(0, 1, 1);
    net.pass(1_000);
    assert_eq!(net.strategy(&name), Strategy::Direct);
    net.check();
}

#[test]
fn everybody_is_reached_in_a_mesh_of_300() {
    let mut net = Net::random(300, 8, Config::default(), 3);
    net.pass(SETTLED);
    let names: Vec<MessageId> = (0..60)
        .map(|n| net.send(n, (7 * n + 151) % 300, n as u32))
        .collect();
    net.pass(OVER);
    net.check();
    assert!(
        names
            .iter()
            .all(|name| net.strategy(name) <= Strategy::Trail)
    );
    // The diameter is four or five: digests know the way.
    assert!(net.longest <= 6, "{}", net.longest);
    let each = net.bytes / 60;
    assert!(each < 2_800, "{each} bytes");
}

#[test]
fn nobody_is_reached_where_nobody_is() {
    let mut net = Net::new(9, Config::default(), 1);
    for index in 1..8 {
        net.link(index - 1, index);
    }
    net.pass(SETTLED);
    let name = net.send(0, 8, 1);
    net.pass(OVER);
    net.check();
    // It waited with others, in vain.
    assert_eq!(net.end_of(&name), Some(End::Expired));
    let config = Config {
        mailbox: false,
        flood: false,
        ..Config::default()
    };
    let mut net = Net::new(9, config, 1);
    net.link(0, 1);
    net.pass(SETTLED);
    let name = net.send(0, 8, 1);
    net.pass(OVER);
    net.check();
    assert_eq!(net.end_of(&name), Some(End::Nacked(Refusal::NoRoute)));
}

#[test]
fn presence_leads_where_digests_do_not() {
    let count = 20;
    let mut net = Net::line(count, Config::default());
    net.pass(SETTLED);
    // News of the last one went all the way.
    for index in 0..count - 1 {
        let (tag, via, now) = (net.tag(count - 1), net.peers[index + 1].id, net.time().now);
        net.peers[index].hop.learn(tag, via, now);
    }
    let name = net.send(0, count - 1, 1);
    net.pass(5_000);
    assert_eq!(net.strategy(&name), Strategy::Trail);
    let blind: u64 = net.peers.iter().map(|peer| peer.hop.stats().blind).sum();
    assert_eq!(blind, 0);
    net.check();
}

#[test]
fn answers_take_the_way_of_what_they_answer() {
    let count = 20;
    let mut net = Net::line(count, Config::default());
    net.pass(SETTLED);
    let name = net.send(0, count - 1, 1);
    net.pass(5_000);
    assert_eq!(net.strategy(&name), Strategy::Trail);
    let blind = |net: &Net| -> u64 { net.peers.iter().map(|p| p.hop.stats().blind).sum() };
    let before = blind(&net);
    assert!(before > 0, "nobody knew the way there");
    let mut parcel = net.parcel(count - 1, 0, 2, 100);
    parcel.along = Some(name);
    let answer = net.post(count - 1, 0, 2, parcel);
    net.pass(5_000);
    let mut parcel = net.parcel(0, count - 1, 3, 100);
    parcel.along = Some(name);
    let more = net.post(0, count - 1, 3, parcel);
    net.pass(5_000);
    assert_eq!(blind(&net), before);
    assert_eq!(net.strategy(&answer), Strategy::Trail);
    assert_eq!(net.strategy(&more), Strategy::Trail);
    net.check();
}

#[test]
fn a_relay_brings_it_on() {
    // 0 knows the way to 4, whose neighbour 9 is five links further.
    let mut net = Net::line(10, Config::default());
    net.pass(SETTLED);
    net.link(4, 9);
    let mut parcel = net.parcel(0, 9, 1, 100);
    parcel.relays = vec![net.tag(4)];
    let name = net.post(0, 9, 1, parcel);
    net.pass(2_000);
    assert_eq!(net.strategy(&name), Strategy::Trail);
    assert_eq!(net.longest, 5);
    net.check();
}

#[test]
fn mail_waits_for_a_peer_that_is_away() {
    let mut net = Net::random(40, 5, Config::default(), 2);
    net.pass(SETTLED);
    let links = net.peers[7].links.clone();
    let relays: Vec<RouteTag> = links.iter().map(|n| net.tag(*n)).collect();
    for other in links {
        net.unlink(7, other);
    }
    net.pass(SETTLED);
    let mut parcel = net.parcel(0, 7, 1, 100);
    parcel.relays = relays;
    let name = net.post(0, 7, 1, parcel);
    net.pass(12_000);
    assert_eq!(net.end_of(&name), None);
    let mail: usize = net.peers.iter().map(|peer| peer.hop.sizes().mail).sum();
    assert!(mail > 0, "it waits somewhere");
    // The sender goes before the addressee comes back.
    for other in net.peers[0].links.clone() {
        net.unlink(0, other);
    }
    net.link(7, 20);
    net.pass(OVER);
    assert_eq!(net.peers[7].opened, [1]);
    let mail: usize = net.peers.iter().map(|peer| peer.hop.sizes().mail).sum();
    assert_eq!(mail, 0, "nothing stays behind");
    net.check();
}

#[test]
fn a_flood_reaches_behind_those_who_drop_everything() {
    let mut net = Net::line(3, Config::default());
    net.peers[1].lie = Some(Lie::Drops);
    net.pass(SETTLED);
    let name = net.send(0, 2, 1);
    net.pass(OVER);
    net.check();
    assert_eq!(net.strategy(&name), Strategy::Flood);
    // One in ten seconds, and only small ones.
    let large = net.parcel(0, 2, 2, 1_500);
    let large = net.post(0, 2, 2, large);
    let names: Vec<MessageId> = (3..9).map(|seq| net.send(0, 2, seq)).collect();
    net.pass(OVER);
    net.check();
    assert_eq!(net.end_of(&large), Some(End::Expired));
    let delivered = names
        .iter()
        .filter(|n| matches!(net.end_of(n), Some(End::Delivered { .. })));
    assert!((1..=4).contains(&delivered.count()));
}

#[test]
fn a_link_that_breaks_is_gone_around() {
    let mut net = Net::line(4, Config::default());
    net.link(0, 3);
    net.pass(SETTLED);
    net.delay = 100..101;
    let name = net.send(0, 2, 1);
    net.pass(150);
    // The envelope is at 1 or 3 by now; what it took from there breaks.
    net.unlink(1, 2);
    net.pass(3_000);
    assert!(
        matches!(net.end_of(&name), Some(End::Delivered { after, .. }) if after < Duration::from_secs(2))
    );
    net.check();
}

#[test]
fn whoever_asks_too_much_is_refused() {
    let config = Config::default();
    let mut net = Net::line(4, config);
    net.pass(SETTLED);
    let from = net.peers[0].id;
    let before = net.peers[1].hop.stats().busy;
    for seq in 0..400 {
        let envelope = net.parcel(0, 3, seq, 100).envelope;
        let route = Frame::Route(Box::new(Route {
            attempt: 0,
            strategy: Strategy::Trail,
            sure: false,
            along: None,
            relays: Default::default(),
            envelope,
        }));
        net.with(1, |hop, time, rng, out| {
            hop.handle_frame(from, route, time, rng, out)
        });
    }
    let busy = net.peers[1].hop.stats().busy - before;
    assert_eq!(busy, 400 - 160);
    assert_eq!(
        net.peers[1].hop.stats().steps,
        80,
        "and what it passes on keeps to its credit"
    );
}

fn handed_over(envelope: Envelope, attempt: u8) -> Frame {
    Frame::Route(Box::new(Route {
        attempt,
        strategy: Strategy::Trail,
        sure: false,
        along: None,
        relays: Default::default(),
        envelope,
    }))
}

#[test]
fn an_attempt_passes_once() {
    let mut net = Net::line(4, Config::default());
    net.link(0, 2);
    net.pass(SETTLED);
    let envelope = net.parcel(0, 3, 1, 100).envelope;
    let (first, second) = (net.peers[0].id, net.peers[1].id);
    let before = *net.peers[2].hop.stats();
    for from in [first, first, second] {
        let frame = handed_over(envelope.clone(), 0);
        net.with(2, |hop, time, rng, out| {
            hop.handle_frame(from, frame, time, rng, out)
        });
    }
    let after = *net.peers[2].hop.stats();
    assert_eq!(after.steps - before.steps, 1);
    assert_eq!(
        after.loops - before.loops,
        1,
        "over a second way it is refused"
    );
    let frame = handed_over(envelope, 1);
    net.with(2, |hop, time, rng, out| {
        hop.handle_frame(first, frame, time, rng, out)
    });
    assert_eq!(net.peers[2].hop.stats().steps - before.steps, 2);
}

#[test]
fn a_search_in_vain_is_bounded() {
    let mut net = Net::random(120, 8, Config::default(), 4);
    net.pass(SETTLED);
    let mut envelope = net.parcel(0, 1, 1, 100).envelope;
    // Nobody's.
    envelope.to = RouteTag::new(&PeerId::from_bytes([9; 32]), &room(), net::UNIX);
    let steps = |net: &Net| -> u64 { net.peers.iter().map(|p| p.hop.stats().steps).sum() };
    let (before, from) = (steps(&net), *net.peers[0].links.iter().next().unwrap());
    let from = net.peers[from].id;
    envelope.ttl = u8::MAX;
    let frame = handed_over(envelope, 0);
    net.with(0, |hop, time, rng, out| {
        hop.handle_frame(from, frame, time, rng, out)
    });
    net.pass(OVER);
    let took = steps(&net) - before;
    assert!((10..=24).contains(&took), "{took} steps");
}

#[test]
fn what_was_lost_is_not_held_for_long() {
    let mut net = Net::line(3, Config::default());
    net.peers[2].lie = Some(Lie::Drops);
    net.link(0, 2);
    net.unlink(0, 2);
    net.pass(SETTLED);
    let mut envelope = net.parcel(0, 1, 1, 100).envelope;
    envelope.to = net.tag(2);
    let now = net.time().now;
    net.peers[2].hop.set_rooms([], now);
    let (from, frame) = (net.peers[0].id, handed_over(envelope, 0));
    net.with(1, |hop, time, rng, out| {
        hop.handle_frame(from, frame, time, rng, out)
    });
    assert!(net.peers[1].hop.sizes().held > 0);
    net.pass(30_000);
    let sizes = net.peers[1].hop.sizes();
    assert_eq!((sizes.held, sizes.crumbs), (0, 1), "but the way is known");
}

#[test]
fn what_is_sent_twice_arrives_once() {
    let mut net = Net::line(4, Config::default());
    net.twice = 0.5;
    net.pass(SETTLED);
    for seq in 0..30 {
        net.send(0, 3, seq);
        net.pass(300);
    }
    net.pass(OVER);
    net.check();
    assert_eq!(net.delivered(), 30);
    let parcel = net.parcel(0, 3, 77, 100);
    let (again, third) = (parcel.clone(), parcel.clone());
    net.post(0, 3, 77, parcel);
    let sent = net.with(0, |hop, time, rng, out| hop.send(again, time, rng, out));
    assert_eq!(sent, Err(SendError::Duplicate));
    net.pass(OVER + 30_000);
    let sent = net.with(0, |hop, time, rng, out| hop.send(third, time, rng, out));
    assert_eq!(sent, Err(SendError::Expired));
    let own = net.parcel(0, 0, 78, 100);
    let sent = net.with(0, |hop, time, rng, out| hop.send(own, time, rng, out));
    assert_eq!(sent, Err(SendError::Oneself));
}

#[test]
fn one_lie_does_not_end_an_envelope() {
    // Two ways, one of them over a liar.
    for lie in LIES {
        let mut net = Net::new(4, Config::default(), 5);
        for (a, b) in [(0, 1), (1, 2), (0, 3), (3, 2)] {
            net.link(a, b);
        }
        net.peers[1].lie = Some(lie);
        net.pass(SETTLED);
        for seq in 0..8 {
            net.send(0, 2, seq);
            net.pass(5_000);
        }
        net.pass(OVER);
        net.check();
        assert_eq!(net.delivered(), 8, "{lie:?}");
    }
}

#[test]
fn a_false_acknowledgement_counts_for_nothing() {
    let mut net = Net::line(3, Config::default());
    net.peers[1].lie = Some(Lie::Acknowledges);
    net.pass(SETTLED);
    let parcel = net.parcel(0, 2, 1, 1_500);
    let name = net.post(0, 2, 1, parcel);
    net.pass(OVER);
    net.check();
    assert!(!matches!(net.end_of(&name), Some(End::Delivered { .. })));
    assert!(net.peers[0].hop.stats().forged > 0);
}

#[test]
fn tables_keep_their_bounds_and_their_time() {
    let config = Config {
        flood: false,
        ..Config::default()
    };
    let mut net = Net::line(2, config);
    net.pass(100);
    let from = net.peers[0].id;
    // Mail for a peer that is not there, as fast as credit comes back.
    let mut stranger = Net::new(1, config, 99);
    std::mem::swap(&mut stranger.peers[0], &mut net.peers[0]);
    for seq in 0..200 {
        let mut parcel = stranger.parcel(0, 0, seq, 100);
        parcel.envelope.to = RouteTag::new(&PeerId::from_bytes([9; 32]), &room(), net::UNIX);
        parcel.envelope.expires_s = ((net::UNIX + net.now) / 1_000) as u32 + 20;
        let route = Frame::Route(Box::new(Route {
            attempt: 0,
            strategy: Strategy::Mailbox,
            sure: false,
            along: None,
            relays: Default::default(),
            envelope: parcel.envelope,
        }));
        net.with(1, |hop, time, rng, out| {
            hop.handle_frame(from, route, time, rng, &mut Vec::new());
            out.clear();
        });
    }
    assert_eq!(net.peers[1].hop.sizes().mail, MAX_MAIL_EACH);
    net.now += 90_000;
    net.with(1, |hop, time, rng, out| {
        hop.handle_timeout(time, rng, &mut Vec::new());
        out.clear();
    });
    let sizes = net.peers[1].hop.sizes();
    assert_eq!((sizes.mail, sizes.held, sizes.crumbs), (0, 0, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Random meshes, bad networks, liars, a partition, links that come and go.
    #[test]
    fn every_envelope_ends_once_and_only_its_addressee_opens_it(
        seed in any::<u64>(),
        count in 6..40_usize,
        degree in 3..8_usize,
        loss in prop_oneof![Just(0.0), 0.0..0.5],
        twice in prop_oneof![Just(0.0), 0.0..0.5],
        slow in 20..600_u64,
        liars in prop::collection::vec((0..40_usize, 0..LIES.len()), 0..6),
        cut in prop::option::of(1..6_usize),
        steps in prop::collection::vec((0..40_usize, 0..40_usize, any::<bool>(), 0..3_000_u64), 5..30),
    ) {
        let mut net = Net::random(count, degree, Config::default(), seed);
        for (liar, lie) in liars {
            net.peers[liar % count].lie = Some(LIES[lie]);
        }
        net.pass(30_000);
        (net.loss, net.twice, net.delay) = (loss, twice, 1..slow);
        let half = steps.len() / 2;
        for (at, (a, b, churn, wait)) in steps.into_iter().enumerate() {
            let (a, b) = (a % count, b % count);
            if a != b && churn && net.peers[a].links.contains(&b) {
                net.unlink(a, b);
            } else if a != b && churn && net.peers[a].links.len() < 12 {
                net.link(a, b);
            } else if a != b {
                net.send(a, b, at as u32);
            }
            if at == half && let Some(parts) = cut {
                net.sides = (0..count).map(|n| (n % parts) as u8).collect();
            }
            net.pass(wait);
        }
        net.pass(20_000);
        net.sides = vec![0; count];
        net.pass(OVER + 90_000);
        net.check();
        for peer in &net.peers {
            prop_assert_eq!(peer.hop.sizes().parcels, 0);
        }
    }
}
