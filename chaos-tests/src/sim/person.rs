//! A peer in the few bytes that a simulation of many overlays can afford.

use std::net::{IpAddr, Ipv4Addr};

use peerloom_mesh_proto::PeerId;
use peerloom_mesh_proto::overlay::{self, Class, Coordinate, Peer, Subnet};

use super::dice::mix;

/// The node of this number, as others keep it. A
/// [`Contact`](overlay::Contact) takes four times the space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) number: u32,
    class: Class,
    coordinate: Coordinate,
}

impl Person {
    pub(crate) fn new(number: u32, class: Class) -> Self {
        Person {
            number,
            class,
            coordinate: Coordinate::default(),
        }
    }
}

/// The id that a node has for those who sign and route: its number, and what `seed` makes of it.
pub(crate) fn peer_id(seed: u64, number: u32) -> PeerId {
    let mut id = [0; 32];
    let rest = (1..8).flat_map(|n| {
        let word = mix(seed ^ mix(u64::from(number) << 8 | n));
        word.to_le_bytes().into_iter().take(4)
    });
    for (to, from) in id
        .iter_mut()
        .zip(number.to_le_bytes().into_iter().chain(rest))
    {
        *to = from;
    }
    PeerId::from_bytes(id)
}

/// The node that has this id.
pub(crate) fn number_of(peer: &PeerId) -> u32 {
    let [a, b, c, d, ..] = *peer.as_bytes();
    u32::from_le_bytes([a, b, c, d])
}

/// A node's address, in a subnet of its own: public, from 16.0.0.0 on to
/// 79.255.255.255.
pub(crate) fn address(number: u32) -> IpAddr {
    let [a, b, c, d, ..] = mix(u64::from(number) + 1).to_le_bytes();
    Ipv4Addr::new(16 + a % 64, b, c, d).into()
}

impl Peer for Person {
    type Id = u32;

    fn id(&self) -> u32 {
        self.number
    }

    fn class(&self) -> Class {
        self.class
    }

    fn coordinate(&self) -> Coordinate {
        self.coordinate
    }

    fn set_coordinate(&mut self, coordinate: Coordinate) {
        self.coordinate = coordinate;
    }

    fn update(&mut self, said: &Self) {
        self.class = said.class;
        self.coordinate = said.coordinate;
    }

    fn is_dialable(&self) -> bool {
        true
    }

    fn subnet(&self) -> Option<Subnet> {
        overlay::subnet(address(self.number))
    }

    fn digest(id: &u32, [a, b]: [u64; 2]) -> u64 {
        mix(a ^ mix(b ^ u64::from(*id)))
    }

    fn short(id: &u32) -> u32 {
        *id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_name_their_nodes() {
        for number in [0, 1, 77, 99_999] {
            assert_eq!(number_of(&peer_id(5, number)), number);
        }
        assert_ne!(peer_id(5, 1), peer_id(6, 1));
    }

    #[test]
    fn a_person_is_small_and_has_a_subnet() {
        assert!(size_of::<Person>() <= 16);
        let subnets: std::collections::BTreeSet<_> = (0..1_000)
            .map(|number| Person::new(number, Class::Native).subnet())
            .collect();
        assert!(subnets.len() > 990 && !subnets.contains(&None));
    }
}
