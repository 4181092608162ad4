//! The world: everything that lives, and what happens to it next.

use std::time::{Duration, Instant};

use bytes::Bytes;
use peerloom_mesh_proto::broadcast;
use peerloom_mesh_proto::hop::FLOOD_MEMBERS;
use peerloom_mesh_proto::overlay::{self, Class, ConnId, Input};

use super::invariants::{self, Violation};
use super::lies;
use super::net::{Cut, Place, Weather};
use super::node::{Conn, Life, Node, Packet, Slot};
use super::person::{self, Person};
use super::schedule::{Act, Action};
use super::signal::Signaling;
use super::tally::{Counters, HANDSHAKE, Said};
use super::trace::Trace;
use super::wheel::Wheel;
use crate::scenario::Sessions;

/// How late a slow node is in everything, in milliseconds.
const SLOWNESS: u64 = 500;

/// Something that happens to a node.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) node: u32,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    /// A message arrives at the end `conn`, from the end `theirs` of `from`.
    Packet {
        conn: u32,
        from: u32,
        theirs: u32,
        packet: Packet,
    },
    /// The engines want to be called.
    Wake,
    /// Somebody dials.
    Knock { from: u32, theirs: u32 },
    /// The dial of `conn` was answered by the end `theirs`.
    Answer { conn: u32, theirs: u32 },
    /// The other end is gone.
    Closed { conn: u32 },
}

/// A whole world; [`run`](fn@super::run) drives it.
#[derive(Debug)]
pub struct World {
    pub(super) seed: u64,
    pub(super) base: Instant,
    pub(super) wheel: Wheel<Event>,
    pub(super) slots: Vec<Slot>,
    pub(super) weather: Weather,
    pub(super) fair: Weather,
    pub(super) cuts: Vec<Cut>,
    pub(super) sybils: Vec<u32>,
    pub(super) counters: Counters,
    pub(super) said: Vec<Said>,
    pub(super) living: u32,
    pub(super) payload: usize,
    pub(super) signaling: Option<Signaling>,
    /// The course of the run.
    pub trace: Trace,
    /// What went wrong first.
    pub violation: Option<Violation>,
    overlay_out: Vec<overlay::Output<Person>>,
    tree_out: Vec<broadcast::Output>,
}

/// What a world is made of.
#[derive(Debug, Clone)]
pub struct Genesis {
    /// For all dice.
    pub seed: u64,
    /// One a node.
    pub classes: Vec<Class>,
    /// The network in good times.
    pub weather: Weather,
    /// Bytes of a broadcast.
    pub payload: usize,
    /// Sessions that are signaled, if any.
    pub sessions: Option<Sessions>,
}

impl World {
    /// A world in which nobody lives yet.
    pub fn new(genesis: Genesis, trace: Trace) -> Self {
        let seed = genesis.seed;
        let nodes = (0_u32..).zip(&genesis.classes);
        World {
            seed,
            base: Instant::now(),
            wheel: Wheel::new(),
            slots: nodes.map(|(n, class)| Slot::new(seed, n, *class)).collect(),
            weather: genesis.weather,
            fair: genesis.weather,
            cuts: Vec::new(),
            sybils: Vec::new(),
            counters: Counters::default(),
            said: Vec::new(),
            living: 0,
            payload: genesis.payload.max(8),
            signaling: genesis.sessions.map(Signaling::new),
            trace,
            violation: None,
            overlay_out: Vec::new(),
            tree_out: Vec::new(),
        }
    }

    /// Milliseconds since the beginning.
    pub fn now(&self) -> u64 {
        self.wheel.now()
    }

    /// Counters up to now.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Nodes that live.
    pub fn living(&self) -> u32 {
        self.living
    }

    /// Broadcasts so far.
    pub fn said(&self) -> &[Said] {
        &self.said
    }

    /// Lets time pass up to `until`, or to the first violation.
    pub fn run_until(&mut self, until: u64) {
        while self.violation.is_none() {
            let before = self.now();
            let due = self.wheel.advance(until);
            let now = self.now();
            self.counters.lived += (now - before) * u64::from(self.living);
            for _ in before / 1_000..now / 1_000 {
                self.trace.second();
            }
            let Some(mut due) = due else { return };
            for event in due.drain(..) {
                self.counters.events += 1;
                self.happen(event);
            }
            self.wheel.recycle(due);
        }
    }

    pub(super) fn slot(&mut self, index: u32) -> Option<&mut Slot> {
        let index = usize::try_from(index).ok()?;
        self.slots.get_mut(index)
    }

    pub(super) fn node(&mut self, index: u32) -> Option<&mut Node> {
        self.slot(index)?.node.as_mut()
    }

    pub(super) fn place(&self, index: u32) -> (u32, Option<Place>) {
        let slot = usize::try_from(index).ok().and_then(|n| self.slots.get(n));
        (index, slot.map(|slot| slot.place))
    }

    pub(super) fn blocks(&self, from: u32, to: u32) -> bool {
        self.cuts.iter().any(|cut| cut.blocks(from, to))
    }

    /// The local time of a node, as its engines read it.
    fn instant(base: Instant, node: &Node, now: u64) -> Instant {
        base + Duration::from_millis(node.clock.local(now))
    }

    fn happen(&mut self, event: Event) {
        let (now, index) = (self.now(), event.node);
        let code = match &event.what {
            What::Packet { conn, packet, .. } => u64::from(*conn) << 8 | packet.code(),
            What::Wake => 1,
            What::Knock { theirs, .. } => u64::from(*theirs) << 8 | 2,
            What::Answer { theirs, .. } => u64::from(*theirs) << 8 | 3,
            What::Closed { conn } => u64::from(*conn) << 8 | 4,
        };
        self.trace.note(now, index, code);
        if self.trace.is_watched(index) {
            let what = format!("{:?}", event.what);
            self.trace.tell(now, index, || what);
        }
        match event.what {
            What::Packet {
                conn,
                from,
                theirs,
                packet,
            } => self.arrive(index, conn, (from, theirs), packet),
            What::Wake => self.wake(index),
            What::Knock { from, theirs } => self.knock(index, from, theirs),
            What::Answer { conn, theirs } => self.answer(index, conn, theirs),
            What::Closed { conn } => {
                let ended = self.node(index).and_then(|node| node.free(conn));
                if ended.is_some() {
                    let conn = ConnId(conn);
                    self.feed(index, Input::Closed { conn });
                }
            }
        }
    }

    fn arrive(&mut self, index: u32, conn: u32, sender: (u32, u32), packet: Packet) {
        let now = self.now();
        let base = self.base;
        let Some(node) = self.slot(index).and_then(|slot| slot.node.as_mut()) else {
            return;
        };
        let Some(end) = node.conn(conn) else {
            // The host lives and knows nothing of it.
            let (from, theirs) = sender;
            self.reset(index, from, theirs);
            return;
        };
        if end.dial.is_some() {
            // It has overtaken the answer to the dial, or is as fast.
            self.answer(index, conn, sender.1);
        }
        match packet {
            Packet::Overlay(message) => {
                let conn = ConnId(conn);
                self.feed(index, Input::Message { conn, message });
            }
            Packet::Tree(message) => {
                let Some(node) = self.node(index) else { return };
                let at = Self::instant(base, node, now);
                let is_push = matches!(*message, broadcast::Message::Push { .. });
                node.overlay.heard(ConnId(conn), at);
                let mut out = std::mem::take(&mut self.tree_out);
                if let Some(node) = self.node(index) {
                    node.tree
                        .handle_message(ConnId(conn), *message, at, &mut out);
                }
                self.counters.pushes += u64::from(is_push);
                self.note_news(index, conn, &out);
                self.carry_out_tree(index, &mut out);
                self.tree_out = out;
                self.rearm(index);
            }
            Packet::Hop(frame) => {
                if let Some(node) = self.node(index) {
                    let at = Self::instant(base, node, now);
                    node.overlay.heard(ConnId(conn), at);
                }
                self.hop_frame(index, conn, *frame);
            }
        }
    }

    /// A broadcast tells where its author is: presence does in a mesh.
    fn note_news(&mut self, index: u32, conn: u32, out: &[broadcast::Output]) {
        if self.signaling.is_none() {
            return;
        }
        for output in out {
            let broadcast::Output::Deliver { payload, .. } = output else {
                continue;
            };
            let number = payload.first_chunk::<8>().copied().map(u64::from_le_bytes);
            let number = number.and_then(|n| usize::try_from(n).ok());
            let by = number.and_then(|n| self.said.get(n)).map(|said| said.by);
            if let Some(by) = by {
                self.hop_learn(index, conn, by);
            }
        }
    }

    /// Feeds a node's overlay and carries out what it wants.
    pub(super) fn feed(&mut self, index: u32, input: Input<Person>) {
        let now = self.now();
        let base = self.base;
        let mut out = std::mem::take(&mut self.overlay_out);
        if let Some(node) = self.node(index) {
            let at = Self::instant(base, node, now);
            node.overlay
                .handle_input(input, at, &mut node.dice, &mut out);
        }
        self.carry_out(index, &mut out);
        self.overlay_out = out;
        self.rearm(index);
    }

    fn wake(&mut self, index: u32) {
        let now = self.now();
        let base = self.base;
        let mut out = std::mem::take(&mut self.overlay_out);
        let mut tree_out = std::mem::take(&mut self.tree_out);
        if let Some(node) = self.node(index)
            && node.wake <= now
        {
            node.wake = u64::MAX;
            let at = Self::instant(base, node, now);
            node.overlay.handle_timeout(at, &mut node.dice, &mut out);
            if node
                .tree
                .deadline()
                .is_some_and(|deadline| deadline.at <= at)
            {
                node.tree.handle_timeout(at, &mut tree_out);
            }
            if let Some(violation) = invariants::bounds(index, now, node) {
                self.violation.get_or_insert(violation);
            }
        }
        self.carry_out(index, &mut out);
        self.carry_out_tree(index, &mut tree_out);
        self.hop_wake(index);
        if self.slot(index).is_some_and(|slot| slot.act == Act::Sybil) {
            lies::flood(self, index);
        }
        self.overlay_out = out;
        self.tree_out = tree_out;
        self.rearm(index);
    }

    /// Puts the node's next deadline on the wheel, if it is earlier than what
    /// is there.
    pub(super) fn rearm(&mut self, index: u32) {
        let base = self.base;
        let Some(slot) = self.slot(index) else { return };
        let late = if slot.act == Act::Slow { SLOWNESS } else { 0 };
        let Some(node) = slot.node.as_mut() else {
            return;
        };
        let due = node.deadline(base);
        if due < node.wake {
            node.wake = due;
            let what = What::Wake;
            self.wheel.push(due + late, Event { node: index, what });
        }
    }

    /// Somebody dials `index`.
    fn knock(&mut self, index: u32, from: u32, theirs: u32) {
        let base = self.latency(from, index);
        let Some(slot) = self.slot(index) else { return };
        let Some(conn) = slot.open(from, base, None) else {
            return;
        };
        if let Some(end) = self.node(index).and_then(|node| node.conn(conn.0)) {
            end.theirs = theirs;
        }
        self.counters.handshakes += HANDSHAKE;
        self.counters.connections += 1;
        self.feed(
            index,
            Input::Accepted {
                conn,
                peer: from,
                ip: person::address(from),
            },
        );
        let what = What::Answer {
            conn: theirs,
            theirs: conn.0,
        };
        self.handshake(index, from, base, what);
    }

    /// `index`'s dial was answered.
    fn answer(&mut self, index: u32, conn: u32, theirs: u32) {
        let Some(node) = self.node(index) else { return };
        let waiting = node.conn(conn).and_then(|end| {
            end.theirs = theirs;
            end.dial.take()
        });
        if let Some(dial) = waiting {
            let conn = ConnId(conn);
            self.feed(index, Input::Dialled { dial, conn });
        }
    }

    pub(super) fn latency(&self, from: u32, to: u32) -> u32 {
        match (self.place(from), self.place(to)) {
            ((from, Some(a)), (to, Some(b))) => self.weather.base((from, a), (to, b)),
            ((_, Some(_)), (_, None)) | ((_, None), _) => 1,
        }
    }

    pub(super) fn person(&self, index: u32) -> Person {
        let slot = usize::try_from(index).ok().and_then(|n| self.slots.get(n));
        let class = slot.map_or(Class::Native, |slot| slot.class);
        Person::new(index, class)
    }

    /// Does what the schedule says.
    pub fn act(&mut self, action: &Action) {
        match action {
            Action::Start {
                nodes,
                contacts,
                disk,
            } => {
                for node in nodes {
                    self.start(*node, contacts, *disk);
                }
            }
            Action::Kill { nodes } => {
                for node in nodes {
                    self.kill(*node);
                }
            }
            Action::Cut { shape, groups } => {
                self.cuts.push(Cut::new(*shape, groups, self.slots.len()));
            }
            Action::Heal => {
                self.cuts.clear();
                self.weather = self.fair;
                self.sybils.clear();
                for slot in &mut self.slots {
                    slot.act = Act::Honest;
                }
            }
            Action::Weather(weather) => self.weather = *weather,
            Action::Clock { nodes, jump, drift } => {
                for node in nodes {
                    self.set_clock(*node, *jump, *drift);
                }
            }
            Action::Act { nodes, act } => {
                for node in nodes {
                    if let Some(slot) = self.slot(*node) {
                        slot.act = *act;
                    }
                }
                if *act == Act::Sybil {
                    self.sybils.extend(nodes);
                }
            }
            Action::Say { node } => self.say(*node),
            Action::Call { from, to } => self.call(*from, *to),
        }
    }

    fn start(&mut self, index: u32, contacts: &[u32], disk: bool) {
        let life = Life {
            seed: self.seed,
            index,
            now: self.now(),
            base: self.base,
            signaling: self
                .signaling
                .as_ref()
                .map(|_| self.slots.len() <= FLOOD_MEMBERS),
        };
        let mut bootstrap: Vec<Person> = contacts.iter().map(|n| self.person(*n)).collect();
        let Some(slot) = self.slot(index) else { return };
        if slot.node.is_some() {
            return;
        }
        if disk {
            bootstrap.extend(slot.disk.iter().copied());
        }
        slot.start(life, bootstrap);
        self.living += 1;
        self.rearm(index);
    }

    fn kill(&mut self, index: u32) {
        let Some(slot) = self.slot(index) else { return };
        if let Some(node) = slot.node.take() {
            slot.disk = node.overlay.anchors();
            self.living -= 1;
        }
    }

    fn set_clock(&mut self, index: u32, jump: u32, drift: i32) {
        let now = self.now();
        if let Some(node) = self.node(index) {
            node.clock.change(now, jump, drift);
            node.wake = u64::MAX;
            self.rearm(index);
        }
    }

    fn say(&mut self, index: u32) {
        let (now, number) = (self.now(), self.said.len());
        let mut payload = u64::try_from(number)
            .unwrap_or(u64::MAX)
            .to_le_bytes()
            .to_vec();
        payload.resize(self.payload, 0);
        let mut said = Said::new(now, index, self.slots.len());
        said.reach(index, 0, now);
        self.said.push(said);
        self.publish(index, payload);
    }

    /// Sends to everybody.
    pub(super) fn publish(&mut self, index: u32, payload: Vec<u8>) {
        let (now, base) = (self.now(), self.base);
        let mut out = std::mem::take(&mut self.tree_out);
        if let Some(node) = self.node(index) {
            let at = Self::instant(base, node, now);
            node.tree.publish(Bytes::from(payload), at, &mut out);
        }
        self.carry_out_tree(index, &mut out);
        self.tree_out = out;
        self.rearm(index);
    }

    /// The ends of all connections of a living node.
    pub(super) fn ends(&self, index: u32) -> &[Conn] {
        let slot = usize::try_from(index).ok().and_then(|n| self.slots.get(n));
        slot.and_then(|slot| slot.node.as_ref())
            .map_or(&[], |node| &node.conns)
    }
}
