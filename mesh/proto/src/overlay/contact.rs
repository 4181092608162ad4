//! Who a peer is and where it can be dialled: what views keep and shuffles carry.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::config::Class;
use super::coordinate::Coordinate;
use super::peer::{Peer, Subnet};
use super::reserve::siphash;
use crate::id::PeerId;

/// Bytes of a contact on the wire.
const LEN: usize = 32 + 16 + 2 + 1 + 8;

/// A peer as others hear of it. Its shell knows more (all its addresses, how
/// it is reached through relays); the overlay keeps many and needs little.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    /// Its identity.
    pub peer: PeerId,
    ip: [u8; 16],
    port: u16,
    /// How many links it bears.
    pub class: Class,
    /// Where it is in the space of round trips, by its own word.
    pub coordinate: Coordinate,
}

impl Contact {
    /// A peer at an address. Port 0 says that nobody can dial it.
    pub fn new(peer: PeerId, address: SocketAddr, class: Class) -> Self {
        let ip = match address.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped().octets(),
            IpAddr::V6(ip) => ip.octets(),
        };
        Contact {
            peer,
            ip,
            port: address.port(),
            class,
            coordinate: Coordinate::default(),
        }
    }

    /// Where it can be dialled.
    pub fn address(&self) -> SocketAddr {
        let ip = Ipv6Addr::from(self.ip);
        let ip = ip.to_ipv4_mapped().map_or(IpAddr::V6(ip), IpAddr::V4);
        SocketAddr::new(ip, self.port)
    }

    /// Whether there is an address to dial.
    pub fn is_dialable(&self) -> bool {
        self.port != 0
    }

    fn to_bytes(self) -> [u8; LEN] {
        let port = self.port.to_be_bytes();
        let coordinate = self.coordinate.to_bytes();
        let parts: [&[u8]; 5] = [
            self.peer.as_bytes(),
            &self.ip,
            &port,
            &[self.class.to_byte()],
            &coordinate,
        ];
        let mut bytes = [0; LEN];
        for (to, from) in bytes.iter_mut().zip(parts.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (peer, rest) = bytes.split_first_chunk::<32>()?;
        let (ip, rest) = rest.split_first_chunk::<16>()?;
        let (port, rest) = rest.split_first_chunk::<2>()?;
        let (class, rest) = rest.split_first()?;
        Some(Contact {
            peer: PeerId::from_bytes(*peer),
            ip: *ip,
            port: u16::from_be_bytes(*port),
            class: Class::from_byte(*class)?,
            coordinate: Coordinate::from_bytes(rest.try_into().ok()?),
        })
    }
}

/// The network an address is in, /24 or /48: addresses that one operator gets
/// many of. `None` for loopback, private and link-local ones, where everybody
/// is in one network rightly.
pub fn subnet(ip: IpAddr) -> Option<Subnet> {
    match ip {
        IpAddr::V4(ip) if is_local_v4(ip) => None,
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            Some([4, 0, 0, a, b, c])
        }
        IpAddr::V6(ip) if is_local_v6(ip) => None,
        IpAddr::V6(ip) => {
            let [a, b, c, d, e, f, ..] = ip.octets();
            Some([a, b, c, d, e, f])
        }
    }
}

fn is_local_v4(ip: Ipv4Addr) -> bool {
    ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified()
}

fn is_local_v6(ip: Ipv6Addr) -> bool {
    ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local() || ip.is_unspecified()
}

impl Peer for Contact {
    type Id = PeerId;

    fn id(&self) -> PeerId {
        self.peer
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
        self.port != 0
    }

    fn subnet(&self) -> Option<Subnet> {
        subnet(self.address().ip())
    }

    fn digest(id: &PeerId, key: [u64; 2]) -> u64 {
        siphash(key, id.as_bytes())
    }

    fn short(id: &PeerId) -> u32 {
        let [a, b, c, d, ..] = *id.as_bytes();
        u32::from_le_bytes([a, b, c, d])
    }
}

impl fmt::Debug for Contact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Contact({:?}, {:?})", self.peer, self.class)
    }
}

impl Serialize for Contact {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.to_bytes())
    }
}

impl<'de> Deserialize<'de> for Contact {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Contact;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{LEN} bytes of a contact")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Contact, E> {
                Contact::from_bytes(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &self))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(address: &str) -> Contact {
        let address = address.parse().unwrap();
        Contact::new(PeerId::from_bytes([7; 32]), address, Class::Browser)
    }

    #[test]
    fn a_contact_survives_the_wire() {
        for address in ["192.0.2.7:4001", "[2001:db8::1]:9", "127.0.0.1:0"] {
            let contact = at(address);
            assert_eq!(contact.address().to_string(), address);
            let bytes = rmp_serde::to_vec(&contact).unwrap();
            assert_eq!(bytes.len(), LEN + 2);
            assert_eq!(rmp_serde::from_slice::<Contact>(&bytes).unwrap(), contact);
        }
        assert!(!at("127.0.0.1:0").is_dialable());
    }

    #[test]
    fn only_public_addresses_have_a_subnet() {
        assert_eq!(at("203.0.113.1:1").subnet(), at("203.0.113.250:2").subnet());
        assert_ne!(at("203.0.113.1:1").subnet(), at("203.0.114.1:1").subnet());
        assert_eq!(
            at("[2001:db8:1:2::]:1").subnet(),
            at("[2001:db8:1:3::]:1").subnet()
        );
        for local in [
            "127.0.0.1:1",
            "10.1.2.3:1",
            "[::1]:1",
            "[fe80::1]:1",
            "[fd00::1]:1",
        ] {
            assert_eq!(at(local).subnet(), None, "{local}");
        }
    }
}
