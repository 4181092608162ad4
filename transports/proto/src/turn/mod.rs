//! A TURN client (RFC 8656): one allocation on one server, over UDP, TCP or TLS.
//!
//! Why not the packaged `rtc-turn`: it resolves names by itself, believes unsigned answers,
//! copies and allocates for every packet it relays, and has no framing for streams.
//!
//! Order of calls: [`Client::new`], which asks for the allocation; after each input drain
//! [`Client::poll_event`] and [`Client::poll_packet`], then arm [`Client::poll_timeout`].
//! Once [`Event::Allocated`] was reported, [`Client::wrap`] frames what is to be sent and
//! [`Received::Data`] says where in a packet a peer's datagram is. [`Client::close`] gives the
//! allocation back.
//!
//! Over a stream, [`Framer`] cuts what arrives into the packets that [`Client::handle_packet`]
//! takes.
//!
//! Deliberately absent: TCP relaying (RFC 6062), mobility, reservation of ports, and the
//! SHA-256 credentials of RFC 8489 §9.2, which no server in use
//! demands.

mod address;
mod client;
mod frame;
mod peers;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::ops::Range;

use zeroize::Zeroizing;

pub use client::{Client, MAX_REQUESTS};
pub use frame::{FrameError, Framer};
pub use peers::{MAX_PEERS, MAX_WAITING};

/// What a client is told.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// The user (RFC 8489 §9.2).
    pub username: String,
    /// The password.
    pub password: Zeroizing<String>,
    /// Where the server is: bounds what it may say about other addresses.
    pub server: SocketAddr,
    /// The server is reached over TCP or TLS: nothing is repeated, frames are padded.
    pub reliable: bool,
    /// Chance: transaction ids come from it.
    pub seed: [u8; 32],
}

impl std::fmt::Debug for Config {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Config")
            .field("username", &self.username)
            .field("reliable", &self.reliable)
            .finish_non_exhaustive()
    }
}

/// What a client reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server relays for us.
    Allocated {
        /// The addresses where it does: of IPv4, IPv6, or one of each (RFC 8656 §7).
        relayed: Vec<SocketAddr>,
        /// What our own address looks like to the server.
        mapped: SocketAddr,
    },
    /// There is no allocation: it was refused, never granted, or is lost. The client is over.
    Failed(Failure),
    /// The server asks us to try another one over the same transport (RFC 8489 §10), of the same
    /// family and no nearer to us than itself. The client is over.
    Redirected(SocketAddr),
}

/// Why there is no allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// An error code of STUN or TURN, or [`UNREACHABLE`](crate::stun::UNREACHABLE).
    pub code: u16,
    /// Its reason.
    pub reason: String,
}

/// What a packet from the server was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Received {
    /// A peer's datagram, at `range` of the packet.
    Data {
        /// Who sent it to our relayed address.
        peer: SocketAddr,
        /// Where it is.
        range: Range<usize>,
    },
    /// An answer to a request of ours.
    Answer,
    /// Nothing for this client: malformed, unasked, or from a peer that we know nothing of.
    Ignored,
}
