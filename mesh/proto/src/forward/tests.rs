//! Tests of forwarding: a handful of nodes with fixed links.
#![expect(
    clippy::disallowed_methods,
    reason = "tests need some instant to start from"
)]

use super::*;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

struct Peer {
    identity: Identity,
    prekeys: Prekeys,
    neighbours: BTreeSet<PeerId>,
    forward: Forward,
    delivered: Vec<(PeerId, Bytes, u8)>,
    ended: Vec<Outcome>,
}

struct Net {
    peers: BTreeMap<PeerId, Peer>,
    ids: Vec<PeerId>,
    rng: ChaCha20Rng,
    now: Instant,
    /// The frame to lose, counted from one.
    lose: usize,
    frames: usize,
}

fn room() -> RoomId {
    RoomId::new("m", "r")
}

impl Net {
    fn new(n: u8, links: &[(usize, usize)]) -> Net {
        let (mut rng, now) = (ChaCha20Rng::seed_from_u64(1), Instant::now());
        let identities: Vec<Identity> = (1..=n)
            .map(|seed| Identity::from_seed([seed; 32]))
            .collect();
        let ids: Vec<PeerId> = identities.iter().map(Identity::peer_id).collect();
        let peer = |identity: Identity| Peer {
            prekeys: Prekeys::new(&mut rng),
            neighbours: BTreeSet::new(),
            forward: Forward::new(identity.peer_id(), room(), Incarnation(1), now),
            identity,
            delivered: Vec::new(),
            ended: Vec::new(),
        };
        let peers = ids
            .iter()
            .copied()
            .zip(identities.into_iter().map(peer))
            .collect();
        let mut net = Net {
            peers,
            ids,
            rng,
            now,
            lose: 0,
            frames: 0,
        };
        for (a, b) in links {
            let (a, b) = (net.ids[*a], net.ids[*b]);
            net.peers.get_mut(&a).unwrap().neighbours.insert(b);
            net.peers.get_mut(&b).unwrap().neighbours.insert(a);
        }
        net
    }

    fn send(&mut self, from: usize, to: usize, payload: &'static [u8]) -> MessageId {
        let to = self.ids[to];
        let prekey = self.peers[&to].prekeys.public();
        let peer = self.peers.get_mut(&self.ids[from]).unwrap();
        let around = Surroundings {
            identity: &peer.identity,
            prekeys: &peer.prekeys,
            neighbours: &peer.neighbours,
        };
        let channel = ChannelName::new("c").unwrap();
        let payload = Bytes::from_static(payload);
        peer.forward
            .send(
                (to, prekey),
                channel,
                payload,
                &around,
                &mut self.rng,
                self.now,
            )
            .unwrap()
    }

    fn settle(&mut self) {
        while self.ids.clone().into_iter().any(|id| self.drain(id)) {}
    }

    fn drain(&mut self, id: PeerId) -> bool {
        let Some(outcome) = self.peers.get_mut(&id).unwrap().forward.poll() else {
            return false;
        };
        match outcome {
            Outcome::Send(to, frame) => {
                self.frames += 1;
                if self.frames != self.lose {
                    self.arrive(id, to, Frame::decode(&frame.encode().unwrap()).unwrap());
                }
            }
            Outcome::Deliver {
                from,
                payload,
                hops,
                ..
            } => {
                self.peers
                    .get_mut(&id)
                    .unwrap()
                    .delivered
                    .push((from, payload, hops));
            }
            Outcome::Acked { .. } | Outcome::Failed { .. } => {
                self.peers.get_mut(&id).unwrap().ended.push(outcome);
            }
        }
        true
    }

    fn arrive(&mut self, from: PeerId, to: PeerId, frame: Frame) {
        let peer = self.peers.get_mut(&to).unwrap();
        let around = Surroundings {
            identity: &peer.identity,
            prekeys: &peer.prekeys,
            neighbours: &peer.neighbours,
        };
        match frame {
            Frame::Direct(direct) => {
                let stranger = peer
                    .forward
                    .direct(direct, from, &around, |_| true, self.now)
                    .unwrap();
                assert_eq!(stranger, None);
            }
            Frame::Ack(ack) => peer.forward.ack(ack, &around, self.now),
            Frame::Hello { .. }
            | Frame::Ping { .. }
            | Frame::Pong { .. }
            | Frame::Broadcast(_)
            | Frame::Records(_)
            | Frame::Envelope(_)
            | Frame::Bye => panic!("no frame of forwarding"),
        }
    }

    fn pass(&mut self, by: Duration) {
        self.now += by;
        let prekeys: BTreeMap<PeerId, PublicPrekey> = self
            .peers
            .iter()
            .map(|(id, peer)| (*id, peer.prekeys.public()))
            .collect();
        for peer in self.peers.values_mut() {
            let around = Surroundings {
                identity: &peer.identity,
                prekeys: &peer.prekeys,
                neighbours: &peer.neighbours,
            };
            peer.forward.handle_timeout(
                |id| prekeys.get(id).copied(),
                &around,
                &mut self.rng,
                self.now,
            );
        }
        self.settle();
    }

    fn delivered(&self, at: usize) -> &[(PeerId, Bytes, u8)] {
        &self.peers[&self.ids[at]].delivered
    }

    fn acked(&self, at: usize) -> usize {
        let ended = &self.peers[&self.ids[at]].ended;
        ended
            .iter()
            .filter(|outcome| matches!(outcome, Outcome::Acked { .. }))
            .count()
    }
}

const LINE: [(usize, usize); 4] = [(0, 1), (1, 2), (2, 3), (3, 4)];

#[test]
fn a_neighbour_gets_it_over_the_link() {
    let mut net = Net::new(5, &LINE);
    net.send(0, 1, b"hi");
    net.settle();
    assert_eq!(
        net.delivered(1),
        [(net.ids[0], Bytes::from_static(b"hi"), 1)]
    );
    assert_eq!((net.acked(0), net.frames), (1, 2));
}

#[test]
fn somebody_further_away_gets_it_sealed_over_others() {
    let mut net = Net::new(5, &LINE);
    net.send(0, 4, b"far");
    net.settle();
    assert_eq!(
        net.delivered(4),
        [(net.ids[0], Bytes::from_static(b"far"), 4)]
    );
    assert_eq!(net.acked(0), 1);
    assert!((1..4).all(|at| net.delivered(at).is_empty()));
}

#[test]
fn a_known_way_costs_no_flood() {
    // A star around 0 with an arm 0-5-6.
    let mut net = Net::new(7, &[(0, 1), (0, 2), (0, 3), (0, 4), (0, 5), (5, 6)]);
    let (via, target) = (net.ids[5], net.ids[6]);
    let middle = net.ids[0];
    net.peers
        .get_mut(&middle)
        .unwrap()
        .forward
        .learn(target, via);
    net.send(1, 6, b"x");
    net.settle();
    assert_eq!(net.delivered(6).len(), 1);
    assert_eq!(net.frames, 6, "three there, three back");
}

#[test]
fn lost_frames_are_repeated_and_nothing_is_delivered_twice() {
    for lose in 0..8 {
        let mut net = Net::new(5, &LINE);
        net.lose = lose;
        net.send(0, 4, b"x");
        net.settle();
        (0..14).for_each(|_| net.pass(RETRY));
        assert_eq!(net.delivered(4).len(), 1, "frame {lose} lost");
        assert_eq!(net.acked(0), 1, "frame {lose} lost");
    }
}

#[test]
fn a_circle_does_not_carry_it_round_and_round() {
    let mut net = Net::new(6, &[(0, 1), (1, 2), (2, 3), (3, 4), (4, 5), (5, 0)]);
    net.send(0, 3, b"x");
    net.settle();
    assert_eq!(net.delivered(3).len(), 1);
    assert!(net.frames <= 14, "{}", net.frames);
}

#[test]
fn what_cannot_be_delivered_is_given_up() {
    let mut net = Net::new(3, &[(0, 1)]);
    let id = net.send(0, 2, b"x");
    net.settle();
    (0..20).for_each(|_| net.pass(RETRY));
    assert_eq!(
        net.peers[&net.ids[0]].ended,
        [Outcome::Failed {
            id,
            why: Undelivered::Timeout
        }]
    );
    assert_eq!(net.peers[&net.ids[0]].forward.poll_timeout(), None);
}

#[test]
fn a_broken_way_is_tried_around_at_once() {
    let mut net = Net::new(4, &[(0, 1), (1, 3), (0, 2), (2, 3)]);
    let (me, dead, target) = (net.ids[0], net.ids[1], net.ids[3]);
    net.peers.get_mut(&me).unwrap().forward.learn(target, dead);
    net.lose = 1;
    net.send(0, 3, b"x");
    net.settle();
    assert!(net.delivered(3).is_empty());
    let peer = net.peers.get_mut(&me).unwrap();
    peer.neighbours.remove(&dead);
    peer.forward.link_down(&dead, net.now);
    net.pass(Duration::ZERO);
    assert_eq!(net.delivered(3).len(), 1);
}

#[test]
fn a_message_without_links_left_to_travel_is_not_passed_on() {
    for (ttl, onward) in [(1, Some(0)), (0, None)] {
        let mut net = Net::new(3, &[(0, 1), (1, 2)]);
        net.send(0, 2, b"x");
        let Some(Outcome::Send(to, Frame::Direct(frame))) =
            net.peers.get_mut(&net.ids[0]).unwrap().forward.poll()
        else {
            panic!("nothing sent");
        };
        assert_eq!((to, frame.ttl), (net.ids[1], TTL));
        net.arrive(net.ids[0], to, Frame::Direct(DirectFrame { ttl, ..frame }));
        let sent = net.peers.get_mut(&to).unwrap().forward.poll();
        let left = match sent {
            Some(Outcome::Send(_, Frame::Direct(frame))) => Some(frame.ttl),
            None => None,
            Some(other) => panic!("{other:?}"),
        };
        assert_eq!(left, onward);
    }
}

#[test]
fn a_forwarder_cannot_fake_a_receipt_or_an_author() {
    let mut net = Net::new(3, &[(0, 1), (1, 2)]);
    let id = net.send(0, 2, b"x");
    let Some(Outcome::Send(_, Frame::Direct(frame))) =
        net.peers.get_mut(&net.ids[0]).unwrap().forward.poll()
    else {
        panic!("nothing sent");
    };
    let fake = AckFrame {
        id,
        attempt: 0,
        token: [0; 16],
    };
    net.arrive(net.ids[1], net.ids[0], Frame::Ack(fake));
    assert_eq!(net.acked(0), 0);
    // Open bytes count for the other end of the link only.
    let direct = net.peers[&net.ids[0]].forward.pending[&id].direct.clone();
    let open = DirectFrame {
        body: DirectBody::Open(direct),
        ..frame
    };
    let peer = net.peers.get_mut(&net.ids[2]).unwrap();
    let around = Surroundings {
        identity: &peer.identity,
        prekeys: &peer.prekeys,
        neighbours: &peer.neighbours,
    };
    assert!(
        peer.forward
            .direct(open, net.ids[1], &around, |_| true, net.now)
            .is_err()
    );
}

#[test]
fn the_queue_of_unanswered_messages_is_bounded() {
    let mut net = Net::new(3, &[(0, 1)]);
    for _ in 0..MAX_PENDING_EACH {
        net.send(0, 1, b"x");
    }
    let peer = net.peers.get(&net.ids[0]).unwrap();
    assert_eq!(
        peer.forward.check_limits(&net.ids[1], 1),
        Err(SendError::Busy)
    );
    assert_eq!(peer.forward.check_limits(&net.ids[2], 1), Ok(()));
    assert_eq!(
        peer.forward.check_limits(&net.ids[2], MAX_PAYLOAD + 1),
        Err(SendError::TooLarge)
    );
}
