//! Peerloom: meshes of peers without a central server.

/// Peer connections by themselves, with the interface of W3C webrtc-pc.
pub mod webrtc {
    pub use peerloom_actors::*;
}
