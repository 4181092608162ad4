//! A relayed address as a task: one allocation on one TURN server, over UDP, TCP or TLS.
//!
//! Each allocation has a port of its own, since it *is* the 5-tuple between us and the server
//! (RFC 8656 §3.2): on a shared port, only one connection of a node could have one.
//!
//! Batches go in through a [`Tunnel`] and come out at the connection's
//! [`Ingress`]; nothing is done per packet but framing. The allocation is given back once the
//! last tunnel is dropped and nobody listens to [`RelayEvent`]s any more.

mod datagrams;
mod line;
mod stream;
mod task;
mod tls;

use std::net::SocketAddr;

use bytes::Bytes;
use peerloom_transports_proto::ice_server::IceServer;

use crate::carrier::Tunnel;
use crate::udp::{Endpoint, Ingress};

pub use task::relay;

/// What a relay needs to begin.
#[derive(Debug, Clone)]
pub struct RelayConfig {
    /// The server and our credentials there.
    pub server: IceServer,
    /// Certificates (DER) that are trusted besides the platform's, for `turns:`.
    pub tls_roots: Vec<Bytes>,
    /// Whose addresses the ports of our own are beside.
    pub udp: Endpoint,
    /// Where a peer's datagrams go.
    pub ingress: Ingress,
}

/// What becomes of a relay.
#[derive(Debug, Clone)]
pub enum RelayEvent {
    /// It works; told for each address, one of a family at most.
    Allocated {
        /// The address where the server receives for us.
        relayed: SocketAddr,
        /// What our own address looks like to the server.
        mapped: SocketAddr,
        /// The way to it.
        tunnel: Tunnel,
    },
    /// It does not, or does not any more.
    Failed {
        /// A code of STUN or TURN, or 701 (webrtc-pc §4.8.3).
        code: u16,
        /// What happened.
        reason: String,
        /// Our own address towards the server, when there was one.
        local: Option<SocketAddr>,
    },
}
