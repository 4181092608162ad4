//! Small identifiers and roles that several layers share.

use std::fmt;
use std::net::SocketAddr;

use crate::candidate::Protocol;

/// A 5-tuple as seen from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Path {
    /// The address of our socket on which packets of this path leave and arrive.
    pub local: SocketAddr,
    /// The peer's address.
    pub remote: SocketAddr,
    /// UDP, or TCP with the framing of RFC 4571.
    pub protocol: Protocol,
}

impl Path {
    /// The UDP path between `local` and `remote`.
    pub fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            local,
            remote,
            protocol: Protocol::Udp,
        }
    }

    /// The TCP path between `local` and `remote`.
    pub fn tcp(local: SocketAddr, remote: SocketAddr) -> Self {
        Self {
            protocol: Protocol::Tcp,
            ..Self::new(local, remote)
        }
    }

    /// The same path seen from the other end, when no address translation lies between.
    pub fn reversed(self) -> Self {
        Self {
            local: self.remote,
            remote: self.local,
            protocol: self.protocol,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = match self.protocol {
            Protocol::Udp => "",
            Protocol::Tcp => " (TCP)",
        };
        write!(f, "{} -> {}{protocol}", self.local, self.remote)
    }
}

/// An SCTP stream identifier (RFC 9260 §3.3.1), which is also the id of a data channel
/// (RFC 8831 §6.5). 65535 is never used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u16);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// One data channel of one peer connection. Unlike a [`StreamId`] it exists before the
/// stream is assigned and is never used again after the channel has closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub u64);

impl fmt::Display for ChannelId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ch{}", self.0)
    }
}

/// Who nominates (RFC 8445 §6.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IceRole {
    /// Nominates the pair to use.
    Controlling,
    /// Accepts the nomination.
    Controlled,
}

impl IceRole {
    /// The role of the other end.
    pub fn other(self) -> Self {
        match self {
            IceRole::Controlling => IceRole::Controlled,
            IceRole::Controlled => IceRole::Controlling,
        }
    }
}

/// Which side starts the DTLS handshake (RFC 8842 §5.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DtlsRole {
    /// `a=setup:active`: sends the ClientHello. Uses even stream ids (RFC 8832 §6).
    Client,
    /// `a=setup:passive`: waits for the ClientHello. Uses odd stream ids.
    Server,
}

impl DtlsRole {
    /// The role of the other end.
    pub fn other(self) -> Self {
        match self {
            DtlsRole::Client => DtlsRole::Server,
            DtlsRole::Server => DtlsRole::Client,
        }
    }
}
