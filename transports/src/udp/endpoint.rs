//! The sockets of one node.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::demux::Routes;
use super::faults::Faults;
use super::host;
use super::socket::Socket;
use crate::mdns::Resolver;
use tokio::sync::watch;

/// An address could not be bound.
#[derive(Debug, thiserror::Error)]
#[error("cannot bind {transport} {addr}: {source}")]
pub struct BindError {
    transport: &'static str,
    /// The address asked for.
    pub addr: SocketAddr,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl BindError {
    fn udp(addr: SocketAddr, source: io::Error) -> Self {
        let transport = "UDP";
        Self {
            transport,
            addr,
            source,
        }
    }

    pub(crate) fn tcp(addr: SocketAddr, source: io::Error) -> Self {
        Self {
            transport: "TCP",
            ..Self::udp(addr, source)
        }
    }
}

/// A node's UDP sockets and the routes of the connections on them.
#[derive(Debug, Clone)]
pub struct Endpoint {
    sockets: Arc<[Socket]>,
    routes: Routes,
    faults: Arc<Faults>,
    changes: Arc<watch::Sender<u64>>,
    resolver: Resolver,
    /// Where TCP connections are accepted. Filled by [`Endpoint::accepts_at`].
    listening: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Endpoint {
    /// Binds every address, within the current tokio runtime, whose driver then
    /// serves the sockets. Run [`receive`](super::receive) for each afterwards.
    pub fn bind(addrs: &[SocketAddr]) -> Result<Endpoint, BindError> {
        let faults = Arc::new(Faults::default());
        let bind = |addr: &SocketAddr| {
            Socket::bind(*addr, faults.clone()).map_err(|source| BindError::udp(*addr, source))
        };
        let sockets = addrs.iter().map(bind).collect::<Result<Vec<_>, _>>()?;
        Ok(Endpoint {
            sockets: sockets.into(),
            routes: Routes::default(),
            faults,
            changes: Arc::new(watch::Sender::new(0)),
            resolver: Resolver::default(),
            listening: Arc::default(),
        })
    }

    /// An ephemeral socket beside the shared one bound to `beside`, for a connection
    /// whose 5-tuple on the shared one is taken. Bound within the current runtime.
    pub fn bind_extra(&self, beside: SocketAddr) -> Result<Socket, BindError> {
        let addr = SocketAddr::new(beside.ip(), 0);
        Socket::bind(addr, self.faults.clone()).map_err(|source| BindError::udp(addr, source))
    }

    /// The shared socket's address that is of the family of `remote`, or its wildcard: what a port
    /// for talking to `remote` is bound beside.
    pub fn beside(&self, remote: SocketAddr) -> SocketAddr {
        let of_family = |addr: &SocketAddr| addr.is_ipv4() == remote.is_ipv4();
        let any = if remote.is_ipv4() {
            SocketAddr::from((std::net::Ipv4Addr::UNSPECIFIED, 0))
        } else {
            SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0))
        };
        let sockets = self.sockets.iter().map(Socket::local_addr);
        sockets.into_iter().find(of_family).unwrap_or(any)
    }

    /// Our own address towards `remote`: that of the shared socket, or where that is bound to the
    /// wildcard, the one the system's routes begin with.
    pub(crate) fn source(&self, remote: SocketAddr) -> io::Result<IpAddr> {
        let beside = self.beside(remote);
        if !beside.ip().is_unspecified() {
            return Ok(beside.ip());
        }
        if let Some(pretended) = self.faults.addresses() {
            let of_family = |ip: &IpAddr| ip.is_ipv4() == remote.is_ipv4();
            let found = pretended.into_iter().find(of_family);
            return found.ok_or(io::ErrorKind::AddrNotAvailable.into());
        }
        let socket = std::net::UdpSocket::bind(SocketAddr::new(beside.ip(), 0))?;
        socket.connect(remote)?; // sends nothing
        Ok(socket.local_addr()?.ip())
    }

    /// The addresses at which a socket bound to `bound` can be reached: [`host_addresses`](super::host_addresses).
    pub fn host_addresses(&self, bound: SocketAddr) -> Vec<IpAddr> {
        let pretended = self
            .faults
            .addresses()
            .filter(|_| bound.ip().is_unspecified());
        match pretended {
            Some(mut addresses) => {
                addresses.retain(|ip| ip.is_ipv4() == bound.is_ipv4());
                addresses
            }
            None => host::host_addresses(bound),
        }
    }

    /// Says that TCP connections are accepted at `addr`, perhaps a wildcard: connections that gather
    /// from now on tell their peers.
    pub fn accepts_at(&self, addr: SocketAddr) {
        self.listening().push(addr);
    }

    /// Where TCP connections are accepted.
    pub fn accepting(&self) -> Vec<SocketAddr> {
        self.listening().clone()
    }

    fn listening(&self) -> MutexGuard<'_, Vec<SocketAddr>> {
        // A list that is only added to is always whole.
        self.listening
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether nothing may leave from or arrive at this address, by fault injection.
    pub(crate) fn is_cut(&self, ip: IpAddr) -> bool {
        self.faults.silent() || self.faults.hides(ip)
    }

    /// Whether fault injection loses the next datagram.
    pub(crate) fn loses_next(&self) -> bool {
        self.faults.impaired() && self.faults.loses_next()
    }

    /// Finds the addresses behind names on the local network.
    pub fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// Says that the machine's addresses may have changed.
    pub fn announce_change(&self) {
        self.changes.send_modify(|count| *count += 1);
    }

    /// Changes whenever the machine's addresses may have changed.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// From now on wildcard sockets have these addresses only: others neither send nor receive,
    /// as if the machine had moved to another network.
    #[cfg(feature = "chaos")]
    pub fn pretend_addresses(&self, addresses: Vec<IpAddr>) {
        self.faults.pretend_addresses(addresses);
        self.announce_change();
    }

    /// The shared sockets.
    pub fn sockets(&self) -> &[Socket] {
        &self.sockets
    }

    /// The routes of the connections here.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }

    /// From this instant drops everything in and out, or stops doing so.
    #[cfg(feature = "chaos")]
    pub fn silence(&self, silent: bool) {
        self.faults.set_silent(silent);
    }

    /// Drops all QUIC packets on their way out from now on, or stops doing so: a network that knows no QUIC.
    #[cfg(feature = "chaos")]
    pub fn block_quic(&self, block: bool) {
        self.faults.block_quic(block);
    }

    /// Loses a share of what is sent from now on.
    #[cfg(feature = "chaos")]
    pub fn impair(&self, impairment: super::Impairment) {
        self.faults.impair(impairment);
    }
}
