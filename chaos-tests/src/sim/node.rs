//! One simulated node: the engines, its end of every connection, its clock.

use std::time::{Duration, Instant};

use peerloom_mesh_proto::broadcast::{self, Broadcast};
use peerloom_mesh_proto::hop;
use peerloom_mesh_proto::overlay::{self, Class, ConnId, DialId, Overlay};

use super::clock::Clock;
use super::dice::{Dice, Stream};
use super::net::Place;
use super::person::Person;
use super::schedule::Act;
use super::signal::{Signal, SignalLife};

/// Connections of one node, links and all that may become one: more are
/// refused, as a host without ports would.
const MAX_CONNS: usize = 128;
/// A connection's number within its node, in the low bits of its id.
const SLOT_BITS: u32 = 8;

/// What travels between two nodes.
#[derive(Debug, Clone)]
pub(crate) enum Packet {
    Overlay(overlay::Message<Person>),
    Tree(Box<broadcast::Message>),
    Hop(Box<hop::Frame>),
}

/// One end of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Conn {
    /// 0: nothing here.
    pub(crate) id: u32,
    pub(crate) peer: u32,
    /// The other end's id, once it is known.
    pub(crate) theirs: u32,
    /// The dial that this end waits for.
    pub(crate) dial: Option<DialId>,
    /// One way, in milliseconds.
    pub(crate) base: u32,
    /// When the last thing sent arrives: a stream keeps order.
    pub(crate) last: u64,
}

/// A living node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) overlay: Overlay<Person>,
    pub(crate) tree: Broadcast,
    /// If the scenario has sessions.
    pub(crate) signal: Option<Box<Signal>>,
    pub(crate) dice: Dice,
    pub(crate) net: Dice,
    pub(crate) conns: Vec<Conn>,
    /// The earliest wake that is on the wheel.
    pub(crate) wake: u64,
    pub(crate) clock: Clock,
    pub(crate) started: u64,
}

/// A node's place in the world, alive or not.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) node: Option<Node>,
    pub(crate) place: Place,
    pub(crate) class: Class,
    pub(crate) act: Act,
    /// For what it makes up.
    pub(crate) lies: Dice,
    pub(crate) life: u32,
    /// Connections it ever had: ids are never used twice.
    next_conn: u32,
    /// What it has on disk.
    pub(crate) disk: Vec<Person>,
}

impl Slot {
    pub(crate) fn new(seed: u64, node: u32, class: Class) -> Self {
        Slot {
            node: None,
            place: Place::of(seed, node),
            class,
            act: Act::default(),
            lies: Dice::new(seed, node, 0, Stream::Lies),
            life: 0,
            next_conn: 0,
            disk: Vec::new(),
        }
    }

    /// Begins a life.
    pub(crate) fn start(&mut self, life: Life, bootstrap: Vec<Person>) {
        let Life {
            seed,
            index,
            now,
            base,
            signaling,
        } = life;
        let class = self.class;
        let mut dice = Dice::new(seed, index, self.life, Stream::Engine);
        let clock = Clock::new(now);
        let at = base + Duration::from_millis(clock.local(now));
        let me = Person::new(index, class);
        let config = overlay::Config::new(class);
        let signal = signaling.map(|floods| {
            let number = self.life;
            Box::new(Signal::new(SignalLife {
                seed,
                index,
                number,
                at,
                floods,
            }))
        });
        self.node = Some(Node {
            overlay: Overlay::new(config, me, bootstrap, at, &mut dice),
            tree: Broadcast::new(broadcast::Config::default(), at),
            signal,
            net: Dice::new(seed, index, self.life, Stream::Network),
            dice,
            conns: Vec::new(),
            wake: u64::MAX,
            clock,
            started: now,
        });
        self.life += 1;
    }

    /// A new end of a connection; `None` if there are too many.
    pub(crate) fn open(&mut self, peer: u32, base: u32, dial: Option<DialId>) -> Option<ConnId> {
        let node = self.node.as_mut()?;
        let free = node.conns.iter().position(|conn| conn.id == 0);
        let slot = free.unwrap_or(node.conns.len());
        if slot >= MAX_CONNS {
            return None;
        }
        self.next_conn += 1;
        let id = (self.next_conn << SLOT_BITS) | u32::try_from(slot).ok()?;
        let conn = Conn {
            id,
            peer,
            theirs: 0,
            dial,
            base,
            last: 0,
        };
        match node.conns.get_mut(slot) {
            Some(place) => *place = conn,
            None => node.conns.push(conn),
        }
        Some(ConnId(id))
    }
}

/// What a life begins with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Life {
    pub(crate) seed: u64,
    pub(crate) index: u32,
    pub(crate) now: u64,
    pub(crate) base: Instant,
    /// Whether nodes signal, and may flood.
    pub(crate) signaling: Option<bool>,
}

impl Node {
    pub(crate) fn conn(&mut self, id: u32) -> Option<&mut Conn> {
        let slot = usize::try_from(id & ((1 << SLOT_BITS) - 1)).ok()?;
        self.conns.get_mut(slot).filter(|conn| conn.id == id)
    }

    /// Frees an end and says what it was.
    pub(crate) fn free(&mut self, id: u32) -> Option<Conn> {
        let conn = self.conn(id)?;
        let was = *conn;
        conn.id = 0;
        Some(was)
    }

    /// When the engines want to be called, in the world's time.
    pub(crate) fn deadline(&self, base: Instant) -> u64 {
        let tree = self.tree.deadline().map(|deadline| deadline.at);
        let overlay = self.overlay.deadline().at;
        let at = tree.map_or(overlay, |tree| tree.min(overlay));
        let hop = self.signal.as_ref().map(|signal| signal.hop.deadline().at);
        let at = hop.map_or(at, |hop| hop.min(at));
        let local = at.saturating_duration_since(base);
        let local = local.as_secs() * 1_000 + u64::from(local.subsec_millis());
        self.clock.world(local)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_connections_are_not_used_twice() {
        let mut slot = Slot::new(1, 1, Class::Native);
        let life = Life {
            seed: 1,
            index: 1,
            now: 0,
            base: Instant::now(),
            signaling: None,
        };
        slot.start(life, Vec::new());
        let first = slot.open(2, 10, None).unwrap();
        assert!(slot.node.as_mut().unwrap().free(first.0).is_some());
        let second = slot.open(2, 10, None).unwrap();
        assert_ne!(first, second);
        assert!(slot.node.as_mut().unwrap().conn(first.0).is_none());
        while slot.open(3, 10, None).is_some() {}
        assert_eq!(slot.node.unwrap().conns.len(), MAX_CONNS);
    }
}
