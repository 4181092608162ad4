//! Engines with real keys on a network that loses, doubles, delays, cuts and
//! lies, on virtual time.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use rand::{Rng as _, RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::super::*;
use crate::envelope::{Body, HopFrame, Inbox, Letter};
use crate::id::{Identity, SessionId};
use crate::seal::Prekeys;

/// What the wall clocks show at the beginning: half past an hour.
pub(super) const UNIX: u64 = 1_800_000_000_000 + 1_800_000;

/// How a neighbour lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lie {
    /// Takes envelopes and brings them to nobody.
    Drops,
    /// The same, and says that they have arrived.
    Acknowledges,
    /// Says that their addressees cannot read them.
    Refuses,
    /// Changes them.
    Alters,
    /// Sends everything many times.
    Repeats,
    /// Claims to be whoever is looked for, and drops.
    Poses,
}

pub(super) const LIES: [Lie; 6] = [
    Lie::Drops,
    Lie::Acknowledges,
    Lie::Refuses,
    Lie::Alters,
    Lie::Repeats,
    Lie::Poses,
];

pub(super) struct Peer {
    pub(super) hop: Hop,
    pub(super) id: PeerId,
    identity: Identity,
    prekeys: Prekeys,
    inbox: Inbox,
    pub(super) links: BTreeSet<usize>,
    pub(super) lie: Option<Lie>,
    /// Sequence numbers of the letters it has opened.
    pub(super) opened: Vec<u32>,
    pub(super) ended: Vec<(MessageId, End)>,
}

enum Event {
    Frame { from: usize, bytes: bytes::Bytes },
    Flood(Envelope),
    Wake,
}

/// The network.
pub(super) struct Net {
    pub(super) peers: Vec<Peer>,
    pub(super) now: u64,
    pub(super) loss: f64,
    pub(super) twice: f64,
    pub(super) delay: std::ops::Range<u64>,
    /// Nothing passes between peers on different sides.
    pub(super) sides: Vec<u8>,
    pub(super) sent: BTreeMap<MessageId, (usize, usize, u32)>,
    /// Bytes of everything but digests.
    pub(super) bytes: usize,
    pub(super) longest: u8,
    events: BTreeMap<(u64, u64), (usize, Event)>,
    count: u64,
    rng: ChaCha20Rng,
    base: Instant,
}

pub(super) fn room() -> RoomId {
    RoomId::new("m", "r")
}

impl Net {
    #[expect(clippy::disallowed_methods, reason = "tests need some instant")]
    pub(super) fn new(count: usize, config: Config, seed: u64) -> Self {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let base = Instant::now();
        let peers = (0..count).map(|_| {
            let identity = Identity::generate(&mut rng);
            let id = identity.peer_id();
            let mut hop = Hop::new(config, id, base);
            hop.set_rooms([room()], base);
            Peer {
                hop,
                id,
                identity,
                prekeys: Prekeys::new(&mut rng),
                inbox: Inbox::new(id, base),
                links: BTreeSet::new(),
                lie: None,
                opened: Vec::new(),
                ended: Vec::new(),
            }
        });
        let peers: Vec<Peer> = peers.collect();
        let mut net = Net {
            sides: vec![0; count],
            peers,
            now: 0,
            loss: 0.0,
            twice: 0.0,
            delay: 10..50,
            sent: BTreeMap::new(),
            bytes: 0,
            longest: 0,
            events: BTreeMap::new(),
            count: 0,
            rng,
            base,
        };
        for index in 0..count {
            net.rearm(index);
        }
        net
    }

    /// A chain of peers.
    pub(super) fn line(count: usize, config: Config) -> Self {
        let mut net = Net::new(count, config, 1);
        for index in 1..count {
            net.link(index - 1, index);
        }
        net
    }

    /// A ring with links across at random, about `degree` each.
    pub(super) fn random(count: usize, degree: usize, config: Config, seed: u64) -> Self {
        let mut net = Net::new(count, config, seed);
        for index in 0..count {
            net.link(index, (index + 1) % count);
        }
        for _ in 0..count * (degree - 2) / 2 {
            let (a, b) = (
                net.rng.random_range(0..count),
                net.rng.random_range(0..count),
            );
            if a != b {
                net.link(a, b);
            }
        }
        net
    }

    pub(super) fn time(&self) -> Time {
        Time {
            now: self.base + Duration::from_millis(self.now),
            unix_ms: UNIX + self.now,
        }
    }

    pub(super) fn tag(&self, index: usize) -> RouteTag {
        RouteTag::new(&self.peers[index].id, &room(), UNIX + self.now)
    }

    /// Calls an engine and carries out what it wants.
    pub(super) fn with<T>(
        &mut self,
        index: usize,
        call: impl FnOnce(&mut Hop, Time, &mut ChaCha20Rng, &mut Vec<Output>) -> T,
    ) -> T {
        let time = self.time();
        let mut out = Vec::new();
        let result = call(&mut self.peers[index].hop, time, &mut self.rng, &mut out);
        for output in out {
            self.carry_out(index, output);
        }
        let sizes = self.peers[index].hop.sizes();
        assert!(sizes.are_bounded(), "{sizes:?}");
        self.rearm(index);
        result
    }

    pub(super) fn link(&mut self, a: usize, b: usize) {
        if self.peers[a].links.insert(b) {
            self.peers[b].links.insert(a);
            let (first, second) = (self.peers[a].id, self.peers[b].id);
            self.with(a, |hop, time, rng, out| hop.link_up(second, time, rng, out));
            self.with(b, |hop, time, rng, out| hop.link_up(first, time, rng, out));
        }
    }

    pub(super) fn unlink(&mut self, a: usize, b: usize) {
        if self.peers[a].links.remove(&b) {
            self.peers[b].links.remove(&a);
            let (first, second) = (self.peers[a].id, self.peers[b].id);
            self.with(a, |hop, time, rng, out| {
                hop.link_down(&second, time, rng, out)
            });
            self.with(b, |hop, time, rng, out| {
                hop.link_down(&first, time, rng, out)
            });
        }
    }

    /// A letter of `size` bytes or so, numbered.
    pub(super) fn parcel(&mut self, from: usize, to: usize, seq: u32, size: usize) -> Parcel {
        let target = &self.peers[to];
        let letter = Letter {
            from: self.peers[from].id,
            to: target.id,
            room: room(),
            session: SessionId::from_bytes([7; 8]),
            seq,
            sent_ms: UNIX + self.now,
            body: Body::Answer {
                generation: 1,
                sdp: crate::envelope::Sdp::Full(
                    crate::wire::BoundedString::new("s".repeat(size)).unwrap(),
                ),
            },
        };
        let prekey = target.prekeys.public();
        let identity = &self.peers[from].identity;
        let (envelope, proof) =
            Envelope::seal_proved(&letter, identity, &prekey, &mut self.rng).unwrap();
        Parcel {
            to: self.peers[to].id,
            envelope,
            proof,
            relays: Vec::new(),
            along: None,
        }
    }

    pub(super) fn post(&mut self, from: usize, to: usize, seq: u32, parcel: Parcel) -> MessageId {
        let sent = self.with(from, |hop, time, rng, out| hop.send(parcel, time, rng, out));
        let name = sent.unwrap();
        self.sent.insert(name, (from, to, seq));
        name
    }

    pub(super) fn send(&mut self, from: usize, to: usize, seq: u32) -> MessageId {
        let parcel = self.parcel(from, to, seq, 100);
        self.post(from, to, seq, parcel)
    }

    pub(super) fn end_of(&self, name: &MessageId) -> Option<End> {
        let (from, ..) = self.sent[name];
        let ended = &self.peers[from].ended;
        ended.iter().find(|(n, _)| n == name).map(|(_, end)| *end)
    }

    /// What it took, once it has been delivered.
    pub(super) fn strategy(&self, name: &MessageId) -> Strategy {
        match self.end_of(name) {
            Some(End::Delivered { strategy, .. }) => strategy,
            other => panic!("not delivered: {other:?}"),
        }
    }

    /// Lets time pass.
    pub(super) fn pass(&mut self, millis: u64) {
        let until = self.now + millis;
        while let Some(((at, _), _)) = self.events.first_key_value()
            && *at <= until
        {
            let ((at, _), (index, event)) = self.events.pop_first().unwrap();
            self.now = self.now.max(at);
            self.happen(index, event);
        }
        self.now = until;
    }

    /// Every envelope has ended, once; who has opened one is its addressee,
    /// and has opened it once; what counts as delivered was opened.
    pub(super) fn check(&self) {
        let ended: usize = self.peers.iter().map(|peer| peer.ended.len()).sum();
        assert_eq!(ended, self.sent.len(), "each ends exactly once");
        for (name, (_, to, seq)) in &self.sent {
            let end = self.end_of(name).expect("an end");
            let times = self.peers[*to].opened.iter().filter(|n| *n == seq).count();
            assert!(times <= 1, "opened {times} times");
            if matches!(end, End::Delivered { .. }) {
                assert_eq!(times, 1, "delivered and not opened");
            }
            for (index, peer) in self.peers.iter().enumerate() {
                assert!(
                    index == *to || !peer.opened.contains(seq),
                    "a stranger opened it"
                );
            }
        }
    }

    pub(super) fn delivered(&self) -> usize {
        let ends = self.sent.keys().filter_map(|name| self.end_of(name));
        ends.filter(|end| matches!(end, End::Delivered { .. }))
            .count()
    }

    fn push(&mut self, after: u64, index: usize, event: Event) {
        self.count += 1;
        self.events
            .insert((self.now + after, self.count), (index, event));
    }

    fn rearm(&mut self, index: usize) {
        let at = self.peers[index]
            .hop
            .deadline()
            .at
            .duration_since(self.base);
        let at = millis(at).max(self.now + 1);
        self.push(at - self.now, index, Event::Wake);
    }

    fn happen(&mut self, index: usize, event: Event) {
        match event {
            Event::Wake => {
                let due = self.peers[index].hop.deadline().at <= self.time().now;
                if due {
                    self.with(index, |hop, time, rng, out| {
                        hop.handle_timeout(time, rng, out)
                    });
                }
            }
            Event::Flood(envelope) => self.with(index, |hop, time, rng, out| {
                hop.handle_flood(envelope, time, rng, out);
            }),
            Event::Frame { from, bytes } => {
                let Ok(HopFrame::Hop(frame)) = HopFrame::decode(&bytes) else {
                    panic!("honest frames are read");
                };
                if self.peers[index].links.contains(&from) {
                    self.hear(index, from, frame);
                }
            }
        }
    }

    /// A frame arrives, at somebody who may be a liar.
    fn hear(&mut self, index: usize, from: usize, frame: Frame) {
        let sender = self.peers[from].id;
        let lie = self.peers[index].lie;
        if let (Some(lie), Frame::Route(route)) = (lie, &frame)
            && !self.peers[index].hop.is_mine(&route.envelope.to)
        {
            let (name, attempt) = (super::super::relay::name_of(&route.envelope), route.attempt);
            let answer = match lie {
                Lie::Drops | Lie::Poses => return,
                Lie::Acknowledges => Frame::Ack {
                    name,
                    attempt,
                    proof: Proof::from_bytes([1; 8]),
                    to: None,
                    links: 0,
                },
                Lie::Refuses => Frame::Nack {
                    name,
                    attempt,
                    why: Refusal::Unreadable,
                    left: u8::MAX,
                },
                Lie::Alters | Lie::Repeats => return self.handle(index, sender, frame),
            };
            return self.transmit(index, from, &answer);
        }
        self.handle(index, sender, frame);
    }

    fn handle(&mut self, index: usize, from: PeerId, frame: Frame) {
        self.with(index, |hop, time, rng, out| {
            hop.handle_frame(from, frame, time, rng, out);
        });
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        match output {
            Output::Send { to, frame } => {
                let to = self.peers.iter().position(|peer| peer.id == to).unwrap();
                self.lie_and_send(index, to, frame);
            }
            Output::Deliver {
                name,
                envelope,
                hops,
            } => self.open(index, name, &envelope, hops),
            Output::Flood { envelope } => {
                for other in 0..self.peers.len() {
                    if self.sides[other] == self.sides[index] {
                        self.push(80, other, Event::Flood(envelope.clone()));
                    }
                }
            }
            Output::Ended { name, end } => self.peers[index].ended.push((name, end)),
        }
    }

    fn lie_and_send(&mut self, index: usize, to: usize, mut frame: Frame) {
        match (self.peers[index].lie, &mut frame) {
            (Some(Lie::Alters), Frame::Route(route)) => {
                let mut sealed = route.envelope.sealed.to_vec();
                sealed[0] ^= 1;
                route.envelope.sealed = sealed.into();
            }
            (Some(Lie::Poses), Frame::Digest(digest)) => {
                // Claims the tags of all others.
                let tags: Vec<RouteTag> = (0..self.peers.len()).map(|n| self.tag(n)).collect();
                **digest = Digest::new(&tags, std::iter::empty());
            }
            (Some(Lie::Repeats), _) => {
                for _ in 0..3 {
                    self.transmit(index, to, &frame);
                }
            }
            (Some(_) | None, _) => {}
        }
        self.transmit(index, to, &frame);
    }

    fn transmit(&mut self, from: usize, to: usize, frame: &Frame) {
        let bytes = frame.encode().unwrap();
        if !matches!(frame, Frame::Digest(_)) {
            self.bytes += bytes.len();
        }
        let chance = |rng: &mut ChaCha20Rng, p: f64| {
            p > 0.0 && f64::from(rng.next_u32()) < p * 4.294_967_296e9
        };
        for (n, p) in [(0, self.loss), (1, 1.0 - self.twice)] {
            let gone = self.sides[from] != self.sides[to] || chance(&mut self.rng, p);
            if !gone && (n == 0 || self.twice > 0.0) {
                let delay = self.rng.random_range(self.delay.clone());
                let bytes = bytes.clone();
                self.push(delay, to, Event::Frame { from, bytes });
            }
        }
    }

    fn open(&mut self, index: usize, name: MessageId, envelope: &Envelope, hops: u8) {
        let time = self.time();
        let peer = &mut self.peers[index];
        self.longest = self.longest.max(hops);
        let opened = peer
            .inbox
            .open_proved(envelope, &peer.prekeys, [room()], time);
        match opened {
            Ok((letter, proof)) => {
                peer.opened.push(letter.seq);
                let author = RouteTag::new(&letter.from, &room(), time.unix_ms);
                self.with(index, |hop, time, rng, out| {
                    hop.acknowledge(name, proof, author, time, rng, out);
                });
            }
            Err(_) => self.with(index, |hop, time, rng, out| {
                hop.refuse(name, Refusal::Unreadable, time, rng, out);
            }),
        }
    }
}
