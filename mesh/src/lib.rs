//! Peerloom's mesh.

mod store;

pub use store::{Data, KnownIdentity, RememberedPeer, StoreError};
