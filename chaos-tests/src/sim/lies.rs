//! What nodes say that do not play fair.

use peerloom_mesh_proto::overlay::{Class, ConnId, Contacts, MAX_CONTACTS, Message, Named};
use rand::RngExt as _;

use super::node::Packet;
use super::person::Person;
use super::schedule::Act;
use super::world::World;

/// Puts made-up contacts in the place of true ones.
pub(super) fn twist(
    world: &mut World,
    index: u32,
    act: Act,
    message: Message<Person>,
) -> Message<Person> {
    match message {
        Message::Refuse { .. } => Message::Refuse {
            others: Box::new(names(world, index, act)),
        },
        Message::Shuffle(named) => Message::Shuffle(renamed(world, index, act, *named)),
        Message::Shuffled(named) => Message::Shuffled(renamed(world, index, act, *named)),
        Message::Ask { .. }
        | Message::Admit { .. }
        | Message::Leave
        | Message::Ping { .. }
        | Message::Pong { .. }
        | Message::Vouch { .. }
        | Message::Alive { .. } => message,
    }
}

fn renamed(world: &mut World, index: u32, act: Act, named: Named<Person>) -> Box<Named<Person>> {
    let contacts = names(world, index, act);
    Box::new(Named { contacts, ..named })
}

/// A full list of contacts that serve the liar.
fn names(world: &mut World, index: u32, act: Act) -> Contacts<Person> {
    let nodes = u32::try_from(world.slots.len()).unwrap_or(u32::MAX);
    let sybils = world.sybils.len();
    let mut picks = Vec::new();
    let Some(slot) = world.slot(index) else {
        return Contacts::default();
    };
    for _ in 0..MAX_CONTACTS {
        picks.push(match act {
            Act::Sybil if sybils > 0 => slot.lies.random_range(0..sybils),
            Act::Sybil | Act::Honest | Act::Slow | Act::LieShuffle | Act::DropForwards => {
                slot.lies.random_range(0..1_000_000)
            }
        });
    }
    let named = picks.into_iter().map(|pick| match act {
        Act::Sybil => {
            let sybil = world.sybils.get(pick).copied().unwrap_or(index);
            world.person(sybil)
        }
        Act::Honest | Act::Slow | Act::LieShuffle | Act::DropForwards => {
            let nobody = nodes.saturating_add(u32::try_from(pick).unwrap_or(0));
            Person::new(nobody, Class::Native)
        }
    });
    let named: Vec<Person> = named.collect();
    Contacts::truncated(named)
}

/// A Sybil offers its kind to all its neighbours, unasked.
pub(super) fn flood(world: &mut World, index: u32) {
    let me = world.person(index);
    let conns: Vec<ConnId> = match world.node(index) {
        Some(node) => node.overlay.links().map(|link| link.conn).collect(),
        None => return,
    };
    for conn in conns {
        let contacts = names(world, index, Act::Sybil);
        let message = Message::Shuffle(Box::new(Named { me, contacts }));
        world.send(index, conn.0, Packet::Overlay(message));
    }
}
