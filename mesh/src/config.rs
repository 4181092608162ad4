//! What a node can be told at its start.

use std::net::{Ipv4Addr, SocketAddr};

use peerloom_actors::{DataTransport, Runtime};
use peerloom_mesh_proto::Ticket;

use crate::store::Data;

/// Settings of a [`Mesh`](crate::Mesh). `Config::default()` is a node of the
/// mesh "peerloom" with its identity in the platform's data directory, open to
/// the local network; [`Config::local`] is one for tests and demonstrations.
#[derive(Clone)]
pub struct Config {
    /// Name of the mesh; nodes of other meshes are strangers. 1 to 64 bytes.
    pub mesh: String,
    /// Where identity and memory are kept.
    pub data: Data,
    /// Multiaddrs the gossip swarm listens on.
    pub listen: Vec<String>,
    /// Addresses the peer connections' sockets are bound to; empty for the
    /// wildcard addresses of both families.
    pub udp_bind: Vec<SocketAddr>,
    /// Whom to ask first.
    pub tickets: Vec<Ticket>,
    /// What carries the links: SCTP over DTLS, or QUIC if both ends of a link speak it. Members may choose
    /// differently: [`DataTransport::Auto`] and [`DataTransport::Sctp`] link with every other.
    pub transport: DataTransport,
    /// Find peers on the local network by multicast DNS (RFC 6762).
    pub mdns: bool,
    /// What people call this node. At most 32 bytes.
    pub nick: Option<String>,
    /// Degree and rate limits.
    pub limits: Limits,
    /// What to do when a known name shows up with another key.
    pub known_peers: KnownPeers,
    /// Arbiters to run on; several nodes of one process should share them.
    /// `None` starts a pool of its own, one arbiter per core.
    pub runtime: Option<Runtime>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            mesh: "peerloom".to_owned(),
            data: Data::Default,
            listen: [
                "/ip4/0.0.0.0/udp/0/quic-v1",
                "/ip6/::/udp/0/quic-v1",
                "/ip4/0.0.0.0/tcp/0",
                "/ip6/::/tcp/0",
            ]
            .map(str::to_owned)
            .to_vec(),
            udp_bind: Vec::new(),
            tickets: Vec::new(),
            transport: DataTransport::default(),
            mdns: true,
            nick: None,
            limits: Limits::default(),
            known_peers: KnownPeers::default(),
            runtime: None,
        }
    }
}

impl Config {
    /// A node of `mesh` with the other settings at their defaults.
    pub fn new(mesh: impl Into<String>) -> Self {
        Self {
            mesh: mesh.into(),
            ..Self::default()
        }
    }

    /// A node of `mesh` that stays on the loopback interface, keeps nothing on
    /// disk and uses no multicast.
    pub fn local(mesh: impl Into<String>) -> Self {
        Self {
            mesh: mesh.into(),
            data: Data::Memory,
            listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".to_owned()],
            udp_bind: vec![SocketAddr::from((Ipv4Addr::LOCALHOST, 0))],
            mdns: false,
            ..Self::default()
        }
    }

    /// The same settings with this ticket added.
    #[must_use]
    pub fn with_ticket(mut self, ticket: Ticket) -> Self {
        self.tickets.push(ticket);
        self
    }

    /// The same settings with this nick.
    #[must_use]
    pub fn with_nick(mut self, nick: impl Into<String>) -> Self {
        self.nick = Some(nick.into());
        self
    }

    /// The same settings, keeping identity and memory in `data`.
    #[must_use]
    pub fn with_data(mut self, data: Data) -> Self {
        self.data = data;
        self
    }

    /// The same settings, with links carried like this.
    #[must_use]
    pub fn with_transport(mut self, transport: DataTransport) -> Self {
        self.transport = transport;
        self
    }

    /// The same settings on the given arbiters.
    #[must_use]
    pub fn with_runtime(mut self, runtime: Runtime) -> Self {
        self.runtime = Some(runtime);
        self
    }
}

/// Bounds of a node. Raising one costs memory and handshakes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Links per room the node strives for: two ring neighbours and random
    /// others. Four keep a random graph connected through the loss of a third
    /// of its nodes (measured in simulation).
    pub links_target: usize,
    /// Links per room the node accepts.
    pub links_max: usize,
    /// Gossip connections of the node.
    pub gossip_max: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            links_target: 4,
            links_max: 12,
            gossip_max: 64,
        }
    }
}

/// What to do when a name that is known shows up with another key. Either way
/// there is an [`Event::IdentityChanged`](crate::Event::IdentityChanged).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum KnownPeers {
    /// Refuse the link (trust on first use).
    #[default]
    RefuseChanged,
    /// Accept, and remember the new key in place of the old one.
    AcceptChanged,
}
