//! Peerloom's mesh: nodes that find each other, hold authenticated peer
//! connections to a bounded number of partners, and carry an application's
//! messages over them.
//!
//! ```text
//!  Mesh · Room · Channel<T>        handles: Clone + Send + Sync, any tokio runtime
//!        │ bounded requests                      ▲ events, inboxes, snapshots
//!      node/      root actor on an arbiter: drives `mesh/proto::Node`, the pure core
//!        │   ├── link/      one task per peer connection: offer, answer, channel, frames
//!        │   ├── gossip/    libp2p on its own thread: presence and sealed envelopes
//!        │   └── identity/  assertions made and checked, known peers
//!        └────── store/     sled or memory on its own thread
//! ```
//!
//! Two planes: presence and signaling travel over gossip, everything an
//! application sends travels over the data channels of the links. A mesh that
//! has formed keeps delivering when all gossip is gone.
//!
//! Invariants: the core decides, the node carries out; one libp2p key, one
//! Ed25519 identity and one peer id are the same thing; no link carries a frame
//! before the other side's identity assertion was checked; every queue is
//! bounded and says what overflow does.

mod channel;
mod clock;
mod config;
mod error;
mod event;
mod gossip;
mod identity;
mod link;
mod mesh;
mod node;
mod room;
mod shared;
mod store;

mod keyring;

pub use channel::{Channel, Received, Sender as ChannelSender};
pub use config::{Config, KnownPeers, Limits};
pub use error::{ChannelError, Error, JoinError, SendError};
pub use event::{Event, LinkCause};
pub use gossip::GossipError;
#[cfg(feature = "oidc")]
pub use identity::oidc::{
    DEFAULT_TOKEN_AGE, NameClaim, OidcConfig, OidcError, OidcProvider, Possession,
};
pub use keyring::{Keyring, KeyringError, Occasion};
pub use mesh::Mesh;
pub use peerloom_actors::{
    DataTransport, DataTransportChoice, DataTransportKind, DataTransportReason,
};
pub use peerloom_mesh_proto::ticket::TicketError;
pub use peerloom_mesh_proto::{PeerId, Ticket};
pub use room::Room;
pub use shared::{LinkInfo, LinkState, Member, MemberState, MeshStats};
pub use store::{Data, KnownIdentity, RememberedPeer, StoreError};
