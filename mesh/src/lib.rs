//! Peerloom's mesh.

mod gossip;
mod store;

pub use store::{Data, KnownIdentity, RememberedPeer, StoreError};
