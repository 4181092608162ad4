//! Peerloom: meshes of peers without a central server.
//!
//! Programs find each other through gossip, prove who they are, and hold
//! WebRTC peer connections to a bounded number of partners; messages travel
//! over those. There is no signaling server, no broker, no account.
//!
//! ```no_run
//! use peerloom::{Config, Mesh};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let mesh = Mesh::open(Config::new("my-mesh").with_nick("ada")).await?;
//! println!("others join with {}", mesh.ticket().await?);
//! let room = mesh.join("lobby").await?;
//! let mut words = room.channel::<String>("words").await?;
//! words.broadcast(&"hello, everybody".to_owned()).await?;
//! while let Some((from, word)) = words.next().await {
//!     println!("{from}: {word}");
//! }
//! # Ok(())
//! # }
//! ```
//!
//! * The mesh is at the top of this crate: [`Mesh`], [`Room`], [`Channel`],
//!   [`Config`], [`Event`].
//! * [`webrtc`] has the peer connections by themselves, for programs that do
//!   their own signaling, or talk to a browser.
//!
//! Everything here is `Send + Sync`, works in any tokio runtime, and needs no
//! knowledge of the actors inside.
//!
//! # Features
//!
//! `cli` (default) builds the `peerloom` command. `default-features = false`
//! leaves the library alone. `oidc` adds an identity provider for peer
//! connections that speaks OpenID Connect.

pub use peerloom_mesh::{
    Channel, ChannelError, ChannelSender, Config, Data, DataTransport, DataTransportChoice,
    DataTransportKind, DataTransportReason, Error, Event, GossipError, JoinError, Keyring,
    KeyringError, KnownIdentity, KnownPeers, Limits, LinkCause, LinkInfo, LinkState, Member,
    MemberState, Mesh, MeshStats, Occasion, PeerId, Received, RememberedPeer, Room, SendError,
    StoreError, Ticket, TicketError,
};

/// An identity provider that speaks OpenID Connect, for mesh-less peer connections.
#[cfg(feature = "oidc")]
pub mod oidc {
    pub use peerloom_mesh::{
        DEFAULT_TOKEN_AGE, NameClaim, OidcConfig, OidcError, OidcProvider, Possession,
    };
}

/// Peer connections by themselves, with the interface of W3C webrtc-pc.
pub mod webrtc {
    pub use peerloom_actors::*;
}
