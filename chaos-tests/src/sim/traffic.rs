//! Carrying out what nodes want: sending, dialling, closing.

use peerloom_mesh_proto::broadcast;
use peerloom_mesh_proto::hop;
use peerloom_mesh_proto::overlay::{self, DialId};

use super::invariants;
use super::lies;
use super::net::Transport;
use super::node::Packet;
use super::person::Person;
use super::schedule::Act;
use super::tally::{FRAMING, UNANSWERED};
use super::world::{Event, What, World};

/// How late a slow node's words are, in milliseconds.
const SLOWNESS: u64 = 500;

impl Packet {
    /// Its kind as a number, for the trace.
    pub(crate) fn code(&self) -> u64 {
        match self {
            Packet::Overlay(message) => match message {
                overlay::Message::Ask { .. } => 10,
                overlay::Message::Admit { .. } => 11,
                overlay::Message::Refuse { .. } => 12,
                overlay::Message::Leave => 13,
                overlay::Message::Ping { n } => 14 | u64::from(*n) << 48,
                overlay::Message::Pong { n, degree } => {
                    15 | u64::from(*n) << 48 | u64::from(*degree) << 40
                }
                overlay::Message::Shuffle(_) => 16,
                overlay::Message::Shuffled(_) => 17,
                overlay::Message::Vouch { .. } => 18,
                overlay::Message::Alive { .. } => 19,
            },
            Packet::Tree(message) => match &**message {
                broadcast::Message::Push { hops, .. } => 20 | u64::from(*hops) << 48,
                broadcast::Message::Announce(_) => 21,
                broadcast::Message::Graft { .. } => 22,
                broadcast::Message::Prune => 23,
            },
            Packet::Hop(frame) => match &**frame {
                hop::Frame::Route(route) => 30 | u64::from(route.envelope.hops) << 48,
                hop::Frame::Ack { .. } => 31,
                hop::Frame::Nack { left, .. } => 32 | u64::from(*left) << 48,
                hop::Frame::Kept { .. } => 33,
                hop::Frame::Digest(_) => 34,
            },
        }
    }

    /// Its bytes on the wire; a test compares with the real encoding.
    pub(crate) fn bytes(&self) -> u64 {
        const CONTACT: u64 = 61;
        let contacts = |n: usize| 4 + CONTACT * n as u64;
        match self {
            Packet::Overlay(message) => match message {
                overlay::Message::Ask { .. } => 15 + CONTACT,
                overlay::Message::Admit { .. } => 9 + CONTACT,
                overlay::Message::Refuse { others } => 9 + contacts(others.len()),
                overlay::Message::Leave => 7,
                overlay::Message::Ping { .. } => 10,
                overlay::Message::Pong { .. } => 11,
                overlay::Message::Shuffle(named) | overlay::Message::Shuffled(named) => {
                    9 + CONTACT + contacts(named.contacts.len())
                }
                overlay::Message::Vouch { .. } | overlay::Message::Alive { .. } => 43,
            },
            Packet::Tree(message) => match &**message {
                broadcast::Message::Push { payload, .. } => 11 + payload.len() as u64,
                broadcast::Message::Announce(announced) => 12 + 20 * announced.len() as u64,
                broadcast::Message::Graft { id } => 9 + if id.is_some() { 18 } else { 1 },
                broadcast::Message::Prune => 7,
            },
            Packet::Hop(frame) => frame.encode().map_or(0, |bytes| bytes.len() as u64),
        }
    }
}

impl World {
    pub(super) fn carry_out(&mut self, index: u32, out: &mut Vec<overlay::Output<Person>>) {
        for output in out.drain(..) {
            match output {
                overlay::Output::Send { conn, message } => {
                    if let Some(message) = self.twist(index, message) {
                        self.send(index, conn.0, Packet::Overlay(message));
                    }
                }
                overlay::Output::Dial { dial, contact } => self.dial(index, dial, contact.number),
                overlay::Output::CancelDial { dial } => {
                    self.counters.handshakes += UNANSWERED;
                    if let Some(node) = self.node(index) {
                        let waiting = node
                            .conns
                            .iter_mut()
                            .find(|c| c.id != 0 && c.dial == Some(dial));
                        if let Some(conn) = waiting {
                            conn.id = 0;
                        }
                    }
                }
                overlay::Output::Close { conn } => self.close(index, conn.0),
                overlay::Output::LinkUp { conn, peer } => {
                    let now = self.now();
                    if let Some(node) = self.node(index) {
                        node.tree.link_up(conn);
                        if let Some(violation) = invariants::new_link(index, now, node) {
                            self.violation.get_or_insert(violation);
                        }
                    }
                    self.hop_link(index, peer, true);
                }
                overlay::Output::LinkDown { conn, peer } => {
                    if let Some(node) = self.node(index) {
                        node.tree.link_down(conn);
                    }
                    self.hop_link(index, peer, false);
                }
            }
        }
    }

    pub(super) fn carry_out_tree(&mut self, index: u32, out: &mut Vec<broadcast::Output>) {
        for output in out.drain(..) {
            match output {
                broadcast::Output::Send { conn, message } => {
                    if !self.withholds(index, &message) {
                        self.send(index, conn.0, Packet::Tree(Box::new(message)));
                    }
                }
                broadcast::Output::Deliver { payload, hops, .. } => {
                    self.delivered(index, &payload, hops);
                }
            }
        }
    }

    fn delivered(&mut self, index: u32, payload: &[u8], hops: u8) {
        let now = self.now();
        if self.hop_flood(index, payload) {
            return;
        }
        self.counters.delivered += 1;
        let number = payload.first_chunk::<8>().copied().map(u64::from_le_bytes);
        let number = number.and_then(|n| usize::try_from(n).ok());
        let Some(said) = number.and_then(|n| self.said.get_mut(n)) else {
            return;
        };
        if !said.reach(index, hops, now) {
            let life = self.slot(index).map_or(0, |slot| slot.life);
            // Whoever was restarted has forgotten.
            if life <= 1 {
                let violation = invariants::twice(index, now, number.unwrap_or(0));
                self.violation.get_or_insert(violation);
            }
        }
    }

    /// Sends over the end `conn` of `from`.
    pub(super) fn send(&mut self, from: u32, conn: u32, packet: Packet) {
        let now = self.now();
        self.counters.messages += 1;
        self.counters.bytes += packet.bytes() + FRAMING;
        let weather = self.weather;
        let cut = !self.cuts.is_empty();
        let Some(slot) = self.slot(from) else { return };
        let late = if slot.act == Act::Slow { SLOWNESS } else { 0 };
        let Some(node) = slot.node.as_mut() else {
            return;
        };
        let fate = match node.conn(conn) {
            Some(end) => {
                let base = end.base;
                weather.fate(base, &mut node.net)
            }
            None => return,
        };
        let Some(end) = node.conn(conn) else { return };
        let (to, theirs) = (end.peer, end.theirs);
        let mut at = fate.delay.map(|delay| now + u64::from(delay) + late);
        if weather.transport == Transport::Stream {
            at = at.map(|at| at.max(end.last));
            end.last = at.unwrap_or(end.last);
        }
        if cut && self.blocks(from, to) {
            return;
        }
        let event = |packet| Event {
            node: to,
            what: What::Packet {
                conn: theirs,
                from,
                theirs: conn,
                packet,
            },
        };
        if let Some(again) = fate.again {
            let packet = packet.clone();
            self.wheel
                .push(now + u64::from(again) + late, event(packet));
        }
        if let Some(at) = at {
            self.wheel.push(at, event(packet));
        }
    }

    fn dial(&mut self, from: u32, dial: DialId, to: u32) {
        let exists = usize::try_from(to).is_ok_and(|n| n < self.slots.len());
        let base = if exists { self.latency(from, to) } else { 1 };
        let Some(slot) = self.slot(from) else { return };
        let Some(conn) = slot.open(to, base, Some(dial)) else {
            self.feed(from, overlay::Input::DialFailed { dial });
            return;
        };
        // A made-up peer does not answer.
        if exists {
            let what = What::Knock {
                from,
                theirs: conn.0,
            };
            self.handshake(from, to, base, what);
        }
    }

    /// A packet of connecting, which is sent again until it is there, unless
    /// the way is cut.
    pub(super) fn handshake(&mut self, from: u32, to: u32, base: u32, what: What) {
        if self.blocks(from, to) {
            return;
        }
        let (now, weather) = (self.now(), self.weather);
        let Some(slot) = self.slot(from) else { return };
        let late = if slot.act == Act::Slow { SLOWNESS } else { 0 };
        let Some(node) = slot.node.as_mut() else {
            return;
        };
        let delay = weather.handshake(base, &mut node.net);
        let at = now + u64::from(delay) + late;
        self.wheel.push(at, Event { node: to, what });
    }

    fn close(&mut self, from: u32, conn: u32) {
        let now = self.now();
        let Some(end) = self.node(from).and_then(|node| node.free(conn)) else {
            return;
        };
        // What was sent before is delivered before. Datagrams may be late.
        let at = (now + u64::from(end.base)).max(end.last);
        if end.theirs != 0 && !self.blocks(from, end.peer) {
            let what = What::Closed { conn: end.theirs };
            let node = end.peer;
            self.wheel.push(at + 1, Event { node, what });
        }
    }

    /// Tells `to` that its end `theirs` leads nowhere.
    pub(super) fn reset(&mut self, from: u32, to: u32, theirs: u32) {
        if self.blocks(from, to) {
            return;
        }
        let at = self.now() + u64::from(self.latency(from, to));
        let what = What::Closed { conn: theirs };
        self.wheel.push(at, Event { node: to, what });
    }

    /// What a node that lies says instead.
    fn twist(
        &mut self,
        index: u32,
        message: overlay::Message<Person>,
    ) -> Option<overlay::Message<Person>> {
        let act = self.slot(index).map_or(Act::Honest, |slot| slot.act);
        match act {
            Act::Honest | Act::Slow | Act::DropForwards => Some(message),
            Act::LieShuffle | Act::Sybil => Some(lies::twist(self, index, act, message)),
        }
    }

    /// Whether a node keeps a message from the tree to itself.
    fn withholds(&mut self, index: u32, message: &broadcast::Message) -> bool {
        let dropping = self
            .slot(index)
            .is_some_and(|slot| slot.act == Act::DropForwards);
        dropping && matches!(message, broadcast::Message::Push { hops, .. } if *hops > 1)
    }
}
