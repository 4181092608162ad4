//! Many nodes on a virtual clock, in one thread, from one seed.
//!
//! Modelled: libp2p connections (dialled in two one-way trips), gossip (along
//! those connections), peer connections (offer, answer, three trips to come
//! up, frames in order) and sudden death. Not modelled: loss, bandwidth.
#![expect(
    clippy::disallowed_methods,
    reason = "the virtual clock needs some instant to start from"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use super::io::{CloseCause, DownCause, Event, Input, LinkId, Message, Output, PcSignal, Topic};
use super::{Config, Node};
use crate::id::{Identity, Incarnation, PeerId, RoomId};
use crate::time::Time;

/// One way, before up to 20 % of jitter.
pub(super) const TRIP: Duration = Duration::from_millis(10);
/// Until a dial to a silent machine fails.
const DIAL_FAILS: Duration = Duration::from_secs(3);
const UNIX: u64 = 1_800_000_000_000;
pub(super) const MESH: &str = "sim";
pub(super) const ROOM: &str = "room";

#[derive(Debug)]
enum Happening {
    Start(usize),
    Neighbours(usize, usize),
    Input(usize, Input),
    Gossip(usize, PeerId, Bytes),
    Connected(usize, LinkId, usize, LinkId),
    Timeout(usize),
}

#[derive(Debug, Default)]
struct Pc {
    remote: Option<(usize, LinkId)>,
    up: bool,
    /// Candidates of the other side, in its offer and after it.
    candidates: usize,
    last_arrival: Option<Instant>,
}

pub(super) struct Peer {
    pub(super) node: Node,
    pub(super) alive: bool,
    pcs: BTreeMap<LinkId, Pc>,
    neighbours: BTreeSet<usize>,
    topics: BTreeSet<Topic>,
    pub(super) messages: Vec<Message>,
    pub(super) events: Vec<Event>,
    /// Why it closed links and attempts.
    pub(super) closes: Vec<CloseCause>,
    wake: Option<Instant>,
}

pub(super) struct Sim {
    pub(super) rng: ChaCha20Rng,
    start: Instant,
    pub(super) now: Instant,
    queue: BTreeMap<(Instant, u64), Happening>,
    count: u64,
    pub(super) peers: Vec<Peer>,
    index: BTreeMap<PeerId, usize>,
    /// Whether libp2p works: hops and gossip.
    pub(super) gossip: bool,
    /// Part of the hop frames that get lost without a word.
    pub(super) hop_loss: f64,
    /// Who cannot reach whom by hops.
    pub(super) cut: BTreeSet<(usize, usize)>,
    /// Candidates in each offer.
    pub(super) candidates: usize,
    /// Part of the peer connections that fail.
    pub(super) pc_loss: f64,
    pub(super) frames: u64,
    pub(super) frame_bytes: u64,
}

impl Sim {
    /// `n` nodes that all start within `spread` and know the first one.
    pub(super) fn new(n: usize, spread: Duration, seed: u64) -> Sim {
        let start = Instant::now();
        let mut sim = Sim {
            rng: ChaCha20Rng::seed_from_u64(seed),
            start,
            now: start,
            queue: BTreeMap::new(),
            count: 0,
            peers: Vec::new(),
            index: BTreeMap::new(),
            gossip: true,
            hop_loss: 0.0,
            cut: BTreeSet::new(),
            candidates: 0,
            pc_loss: 0.0,
            frames: 0,
            frame_bytes: 0,
        };
        for at in 0..n {
            sim.add(at);
            let after = spread.mul_f64(sim.rng.random_range(0.0..1.0));
            let begin = if at == 0 { start } else { start + after };
            sim.at(begin, Happening::Start(at));
        }
        sim
    }

    fn add(&mut self, at: usize) {
        let identity = Arc::new(Identity::generate(&mut self.rng));
        let mut config = Config::new(MESH, Incarnation(1));
        config.addresses = vec![format!("/memory/{at}")];
        let rng = ChaCha20Rng::from_rng(&mut self.rng);
        self.index.insert(identity.peer_id(), at);
        let node = Node::new(config, identity, rng, self.time());
        self.peers.push(Peer {
            node,
            alive: true,
            pcs: BTreeMap::new(),
            neighbours: BTreeSet::new(),
            topics: BTreeSet::new(),
            messages: Vec::new(),
            events: Vec::new(),
            closes: Vec::new(),
            wake: None,
        });
    }

    pub(super) fn time(&self) -> Time {
        let elapsed = self.now.saturating_duration_since(self.start);
        Time {
            now: self.now,
            unix_ms: UNIX + elapsed.as_millis() as u64,
        }
    }

    fn at(&mut self, at: Instant, what: Happening) {
        self.count += 1;
        self.queue.insert((at.max(self.now), self.count), what);
    }

    fn trip(&mut self) -> Duration {
        TRIP.mul_f64(self.rng.random_range(1.0..1.2))
    }

    fn after(&mut self, trips: u32, what: Happening) {
        let delay = self.trip() * trips;
        self.at(self.now + delay, what);
    }

    /// Runs until `done` or until `limit` has passed; returns the time taken.
    pub(super) fn run_until(
        &mut self,
        limit: Duration,
        done: impl Fn(&Sim) -> bool,
    ) -> Option<Duration> {
        let begin = self.now;
        let mut check = begin;
        loop {
            if self.now >= check {
                if done(self) {
                    return Some(self.now - begin);
                }
                check = self.now + Duration::from_millis(5);
            }
            let next = self.queue.first_key_value().map(|(key, _)| key.0)?;
            if next > begin + limit {
                self.now = begin + limit;
                return done(self).then_some(limit);
            }
            self.step();
        }
    }

    pub(super) fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    fn step(&mut self) {
        let Some(((at, _), what)) = self.queue.pop_first() else {
            return;
        };
        self.now = self.now.max(at);
        let time = self.time();
        match what {
            Happening::Start(me) => {
                self.peers[me].node.join(ROOM, time);
                if me != 0 {
                    self.after(2, Happening::Neighbours(me, 0));
                }
                self.drain(me);
            }
            Happening::Neighbours(a, b) => self.connect(a, b),
            Happening::Input(me, input) => self.feed(me, input),
            Happening::Gossip(me, from, bytes) if self.peers[me].alive => {
                self.peers[me].node.handle_gossip(from, &bytes, time);
                self.drain(me);
            }
            Happening::Connected(a, link_a, b, link_b) => {
                self.pc_connected((a, link_a), (b, link_b))
            }
            Happening::Timeout(me)
                if self.peers[me].alive && self.peers[me].wake.is_some_and(|w| w <= self.now) =>
            {
                self.peers[me].wake = None;
                self.peers[me].node.handle_timeout(time);
                self.drain(me);
            }
            Happening::Gossip(..) | Happening::Timeout(_) => {}
        }
    }

    fn feed(&mut self, me: usize, input: Input) {
        let time = self.time();
        if !self.peers[me].alive {
            return;
        }
        if let Input::Frame { link, .. } = &input
            && !self.peers[me].pcs.get(link).is_some_and(|pc| pc.up)
        {
            return;
        }
        if let Input::LinkDown { link, .. } = &input
            && self.peers[me].pcs.remove(link).is_none()
        {
            return;
        }
        self.peers[me].node.handle(input, time);
        self.drain(me);
    }

    fn connect(&mut self, a: usize, b: usize) {
        if !self.peers[a].alive || !self.peers[b].alive || !self.peers[a].neighbours.insert(b) {
            return;
        }
        self.peers[b].neighbours.insert(a);
        for (me, other) in [(a, b), (b, a)] {
            let peer = self.peers[other].node.peer_id();
            self.feed(me, Input::NeighbourUp { peer });
        }
    }

    fn pc_connected(&mut self, a: (usize, LinkId), b: (usize, LinkId)) {
        let matched = |me: (usize, LinkId), other| {
            let peer = &self.peers[me.0];
            peer.alive
                && peer
                    .pcs
                    .get(&me.1)
                    .is_some_and(|pc| !pc.up && pc.remote == Some(other))
        };
        if !matched(a, b) || !matched(b, a) {
            return;
        }
        if self.pc_loss > 0.0 && self.rng.random_bool(self.pc_loss) {
            let cause = DownCause::Failed;
            self.at(
                self.now,
                Happening::Input(a.0, Input::LinkDown { link: a.1, cause }),
            );
            return;
        }
        for (me, other) in [(a, b), (b, a)] {
            self.peers[me.0].pcs.get_mut(&me.1).unwrap().up = true;
            let peer = self.peers[other.0].node.peer_id();
            self.at(
                self.now,
                Happening::Input(me.0, Input::LinkUp { link: me.1, peer }),
            );
        }
    }

    /// Carries out everything a node asks for.
    pub(super) fn drain(&mut self, me: usize) {
        while let Some(output) = self.peers[me].node.poll() {
            self.carry_out(me, output);
        }
        let due = self.peers[me]
            .node
            .poll_timeout()
            .map(|deadline| deadline.at);
        if let Some(at) = due.filter(|at| self.peers[me].wake.is_none_or(|wake| *at < wake)) {
            self.peers[me].wake = Some(at.max(self.now));
            self.at(at, Happening::Timeout(me));
        }
    }

    fn carry_out(&mut self, me: usize, output: Output) {
        match output {
            Output::Subscribe(topic) => drop(self.peers[me].topics.insert(topic)),
            Output::Unsubscribe(topic) => drop(self.peers[me].topics.remove(&topic)),
            Output::Publish { topic, bytes } => self.publish(me, topic, &bytes),
            Output::Hop { id, to, bytes, .. } => {
                let other = self.index[&to];
                let from = self.peers[me].node.peer_id();
                let near = self.peers[me].neighbours.contains(&other);
                if !self.gossip || (!near && !self.peers[other].alive) {
                    return self.at(
                        self.now + DIAL_FAILS,
                        Happening::Input(me, Input::HopFailed { id }),
                    );
                }
                if self.cut.contains(&(me, other)) {
                    return self.at(self.now, Happening::Input(me, Input::HopFailed { id }));
                }
                if self.hop_loss > 0.0 && self.rng.random_bool(self.hop_loss) {
                    return;
                }
                if !near {
                    self.after(2, Happening::Neighbours(me, other));
                }
                self.after(
                    if near { 1 } else { 4 },
                    Happening::Input(other, Input::Hop { from, bytes }),
                );
            }
            Output::Dial { link, .. } => {
                self.peers[me].pcs.insert(link, Pc::default());
                let mut sdp = format!("{me}:{}\r\n", link.0);
                for number in 0..self.candidates {
                    sdp +=
                        &format!("a=candidate:{number} 1 udp 2130706431 10.0.0.9 9 typ host\r\n");
                }
                let signal = PcSignal::Offer { sdp };
                self.local(me, link, signal);
            }
            Output::Accept { link, sdp, .. } => {
                self.peers[me].pcs.insert(
                    link,
                    Pc {
                        remote: Some(parse(&sdp)),
                        candidates: sdp.matches("a=candidate:").count(),
                        ..Pc::default()
                    },
                );
                let signal = PcSignal::Answer {
                    sdp: format!("{me}:{}", link.0),
                };
                self.local(me, link, signal);
            }
            Output::Signal { link, signal } => {
                let sdp = match signal {
                    PcSignal::Answer { sdp } => sdp,
                    PcSignal::Offer { .. } => return,
                    PcSignal::Candidates { candidates, .. } => {
                        if let Some(pc) = self.peers[me].pcs.get_mut(&link) {
                            pc.candidates += candidates.len();
                        }
                        return;
                    }
                };
                let other = parse(&sdp);
                let Some(pc) = self.peers[me].pcs.get_mut(&link) else {
                    return;
                };
                pc.remote = Some(other);
                self.after(3, Happening::Connected(me, link, other.0, other.1));
            }
            Output::Send { link, bytes, .. } => self.send(me, link, bytes),
            Output::Close { link, cause } => {
                self.peers[me].closes.push(cause);
                self.close(me, link);
            }
            Output::Event(Event::Message(message)) => self.peers[me].messages.push(message),
            Output::Event(event) => self.peers[me].events.push(event),
        }
    }

    fn local(&mut self, me: usize, link: LinkId, signal: PcSignal) {
        self.at(
            self.now + Duration::from_millis(2),
            Happening::Input(me, Input::LocalSignal { link, signal }),
        );
    }

    fn send(&mut self, me: usize, link: LinkId, bytes: Bytes) {
        let delay = self.trip();
        let Some(pc) = self.peers[me].pcs.get_mut(&link).filter(|pc| pc.up) else {
            return;
        };
        let arrival = (self.now + delay).max(pc.last_arrival.unwrap_or(self.now));
        pc.last_arrival = Some(arrival);
        let Some((other, link)) = pc.remote else {
            return;
        };
        self.frames += 1;
        self.frame_bytes += bytes.len() as u64;
        self.at(
            arrival,
            Happening::Input(other, Input::Frame { link, bytes }),
        );
    }

    fn close(&mut self, me: usize, link: LinkId) {
        let Some(pc) = self.peers[me].pcs.remove(&link) else {
            return;
        };
        if let Some((other, link)) = pc.remote.filter(|_| pc.up) {
            let arrival = pc.last_arrival.unwrap_or(self.now).max(self.now + TRIP);
            let cause = DownCause::Closed;
            self.at(
                arrival,
                Happening::Input(other, Input::LinkDown { link, cause }),
            );
        }
    }

    /// Everyone reachable over libp2p connections, one trip for each.
    fn publish(&mut self, me: usize, topic: Topic, bytes: &Bytes) {
        if !self.gossip {
            return;
        }
        let author = self.peers[me].node.peer_id();
        let (mut seen, mut ring, mut trips) = (BTreeSet::from([me]), vec![me], 0);
        while !ring.is_empty() {
            trips += 1;
            let next: BTreeSet<usize> = ring
                .iter()
                .flat_map(|at| self.peers[*at].neighbours.clone())
                .collect();
            ring = next
                .into_iter()
                .filter(|at| self.peers[*at].alive && seen.insert(*at))
                .collect();
            for at in ring.clone() {
                if self.peers[at].topics.contains(&topic) {
                    self.after(trips, Happening::Gossip(at, author, bytes.clone()));
                }
            }
        }
    }

    /// A link is lost at one end; the other end learns nothing of it.
    pub(super) fn lose(&mut self, me: usize, link: LinkId, cause: DownCause) {
        self.feed(me, Input::LinkDown { link, cause });
    }

    /// From now on these nodes neither send nor answer.
    pub(super) fn kill(&mut self, victims: &[usize]) {
        for victim in victims {
            self.peers[*victim].alive = false;
        }
    }

    /// Its process is killed and started again at once, with the same key.
    pub(super) fn restart(&mut self, me: usize) {
        let identity = self.peers[me].node.identity.clone();
        let mut config = Config::new(MESH, self.peers[me].node.incarnation());
        config.incarnation.0 += 1;
        config.addresses = vec![format!("/memory/{me}")];
        let rng = ChaCha20Rng::from_rng(&mut self.rng);
        let time = self.time();
        self.peers[me].node = Node::new(config, identity, rng, time);
        self.peers[me].wake = None;
        self.peers[me].pcs.clear();
        for at in std::mem::take(&mut self.peers[me].neighbours) {
            self.peers[at].neighbours.remove(&me);
        }
        self.at(self.now, Happening::Start(me));
    }

    /// It answers again, as after a long sleep: its connections are gone.
    pub(super) fn revive(&mut self, me: usize) {
        self.peers[me].alive = true;
        self.peers[me].pcs.clear();
        for at in std::mem::take(&mut self.peers[me].neighbours) {
            self.peers[at].neighbours.remove(&me);
        }
        let time = self.time();
        self.peers[me].node.handle_timeout(time);
        self.drain(me);
        self.after(2, Happening::Neighbours(me, 0));
    }

    pub(super) fn alive(&self) -> Vec<usize> {
        (0..self.peers.len())
            .filter(|at| self.peers[*at].alive)
            .collect()
    }

    /// A third of the nodes, at random.
    pub(super) fn pick(&mut self, count: usize) -> Vec<usize> {
        let mut all = self.alive();
        (0..count)
            .map(|_| all.swap_remove(self.rng.random_range(0..all.len())))
            .collect()
    }

    /// Enough links for everyone, one graph, every roster complete and no
    /// dead in it.
    pub(super) fn formed(&self) -> bool {
        self.unformed().is_none()
    }

    /// What is still missing.
    pub(super) fn unformed(&self) -> Option<String> {
        let (alive, room) = (self.alive(), RoomId::new(MESH, ROOM));
        let ids: BTreeSet<PeerId> = alive
            .iter()
            .map(|at| self.peers[*at].node.peer_id())
            .collect();
        for at in &alive {
            let node = &self.peers[*at].node;
            let known: BTreeSet<PeerId> =
                node.roster().in_room(room).map(|(peer, _)| *peer).collect();
            let others: BTreeSet<PeerId> = ids
                .iter()
                .copied()
                .filter(|id| *id != node.peer_id())
                .collect();
            if known != others {
                return Some(format!(
                    "node {at} knows {} of {}",
                    known.len(),
                    others.len()
                ));
            }
            let degree = self.living_links(*at).len();
            if degree < 4.min(alive.len() - 1) {
                return Some(format!("node {at} has {degree} links"));
            }
        }
        let (mut seen, mut todo) = (BTreeSet::from([alive[0]]), vec![alive[0]]);
        while let Some(at) = todo.pop() {
            todo.extend(
                self.living_links(at)
                    .into_iter()
                    .filter(|other| seen.insert(*other)),
            );
        }
        (seen.len() != alive.len()).then(|| format!("{} of {} connected", seen.len(), alive.len()))
    }

    /// Nodes to which both sides hold the same link to be up.
    fn living_links(&self, at: usize) -> Vec<usize> {
        let up = |me: usize, other: usize| {
            let peer = self.peers[other].node.peer_id();
            self.peers[me]
                .node
                .links()
                .iter()
                .any(|l| l.peer == peer && l.up_since.is_some())
        };
        let links = self.peers[at].node.links();
        let others = links
            .iter()
            .filter(|l| l.up_since.is_some())
            .map(|l| self.index[&l.peer]);
        others
            .filter(|other| self.peers[*other].alive && up(*other, at))
            .collect()
    }

    /// Candidates of the other side that each answered link has got.
    pub(super) fn candidates_got(&self) -> Vec<usize> {
        let pcs = self.peers.iter().flat_map(|peer| peer.pcs.values());
        pcs.map(|pc| pc.candidates).filter(|got| *got > 0).collect()
    }

    pub(super) fn degrees(&self) -> (usize, usize) {
        let degrees = self
            .alive()
            .into_iter()
            .map(|at| self.living_links(at).len());
        degrees.fold((usize::MAX, 0), |(min, max), degree| {
            (min.min(degree), max.max(degree))
        })
    }
}

fn parse(sdp: &str) -> (usize, LinkId) {
    let (node, link) = sdp.lines().next().unwrap().split_once(':').unwrap();
    (node.parse().unwrap(), LinkId(link.parse().unwrap()))
}
