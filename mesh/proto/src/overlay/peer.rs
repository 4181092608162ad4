//! What an overlay has to know of a peer.

use std::fmt;

use super::config::Class;
use super::coordinate::Coordinate;

/// The network an address is in: addresses that one operator gets many of.
pub type Subnet = [u8; 6];

/// A peer as an overlay keeps it and names it to others.
///
/// In a mesh that is a [`Contact`](super::Contact). A simulator of a hundred
/// thousand overlays, each of which keeps a hundred peers, has a smaller one.
pub trait Peer: Copy + PartialEq + fmt::Debug {
    /// Its identity. Of two that dial each other at once, the dial of the
    /// larger stands.
    type Id: Copy + Ord + fmt::Debug;

    /// Its identity.
    fn id(&self) -> Self::Id;

    /// How many links it bears.
    fn class(&self) -> Class;

    /// Where it is in the space of round trips, by its own word.
    fn coordinate(&self) -> Coordinate;

    /// The peer has moved in the space of round trips.
    fn set_coordinate(&mut self, coordinate: Coordinate);

    /// Takes the peer's word about itself: class and coordinate, and not where
    /// it can be dialled.
    fn update(&mut self, said: &Self);

    /// Whether there is an address to dial.
    fn is_dialable(&self) -> bool;

    /// The network its address is in; `None` where everybody is in one
    /// network rightly.
    fn subnet(&self) -> Option<Subnet>;

    /// A keyed hash of an identity: nobody without the key can choose
    /// identities with small ones.
    fn digest(id: &Self::Id, key: [u64; 2]) -> u64;

    /// A short name for an identity. Peers that share one share a quota.
    fn short(id: &Self::Id) -> u32;
}
