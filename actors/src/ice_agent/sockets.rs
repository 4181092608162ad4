//! The sockets a connection may use, and the 5-tuples it owns on them.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use peerloom_transports::carrier::{Carrier, Tunnel};
use peerloom_transports::proto::candidate::Protocol;
use peerloom_transports::proto::engine::Transmit;
use peerloom_transports::proto::ice;
use peerloom_transports::proto::id::Path;
use peerloom_transports::tcp::StreamInlet;
use peerloom_transports::udp::{self, Claim, Ingress, Registration, Sender, Sent, Socket};
use tokio::task::JoinSet;

use crate::endpoint::receive_always;

/// Ephemeral sockets a connection may add, one per address family.
const MAX_EXTRA_SOCKETS: usize = 2;

/// The shared sockets of the endpoint, and extra ones of this connection.
pub(super) struct Sockets {
    udp: udp::Endpoint,
    registration: Registration,
    sender: Sender,
    extra: Vec<Socket>,
    /// Addresses at which servers relay for us.
    relayed: BTreeSet<SocketAddr>,
    /// Of the extra sockets; aborted when dropped.
    receive_loops: JoinSet<()>,
}

impl Sockets {
    pub(super) fn new(udp: udp::Endpoint, registration: Registration) -> Sockets {
        Sockets {
            sender: Sender::new(udp.sockets().to_vec()),
            udp,
            registration,
            extra: Vec::new(),
            relayed: BTreeSet::new(),
            receive_loops: JoinSet::new(),
        }
    }

    /// The endpoint's sockets.
    pub(super) fn shared(&self) -> &[Socket] {
        self.udp.sockets()
    }

    /// Every address at which the peer may reach the shared sockets.
    pub(super) fn hosts(&self) -> Vec<SocketAddr> {
        self.shared()
            .iter()
            .flat_map(|socket| self.hosts_of(socket))
            .collect()
    }

    /// Those of one socket.
    pub(super) fn hosts_of(&self, socket: &Socket) -> Vec<SocketAddr> {
        let bound = socket.local_addr();
        let ips = self.udp.host_addresses(bound);
        ips.into_iter()
            .map(|ip| SocketAddr::new(ip, bound.port()))
            .collect()
    }

    /// Those of the extra sockets.
    pub(super) fn extra_hosts(&self) -> Vec<SocketAddr> {
        self.extra
            .iter()
            .flat_map(|socket| self.hosts_of(socket))
            .collect()
    }

    /// Answers to one more username fragment.
    pub(super) fn add_ufrag(&mut self, ufrag: &str) -> bool {
        self.registration.add_ufrag(ufrag)
    }

    /// Takes a 5-tuple for this connection, if no other has it. What a tunnel of this connection
    /// carries is its own anyway.
    pub(super) fn claim(&mut self, path: Path) -> Claim {
        if path.protocol == Protocol::Tcp || self.relayed.contains(&path.local) {
            return Claim::Granted;
        }
        self.registration.claim(path)
    }

    /// Takes the answers to questions whose transaction ids begin with this.
    pub(super) fn set_token(&mut self, token: [u8; 8]) {
        self.registration.set_token(token);
    }

    /// Where a tunnel's datagrams go.
    pub(super) fn ingress(&self) -> Ingress {
        self.registration.ingress()
    }

    /// The endpoint.
    pub(super) fn endpoint(&self) -> udp::Endpoint {
        self.udp.clone()
    }

    /// A server relays for us at this address.
    pub(super) fn add_relayed(&mut self, relayed: SocketAddr, tunnel: Tunnel) {
        self.relayed.insert(relayed);
        self.sender.add(Carrier::Tunnel(tunnel));
    }

    /// It does not any more.
    pub(super) fn remove_relayed(&mut self, relayed: SocketAddr) {
        self.relayed.remove(&relayed);
        self.sender.remove(Path::new(relayed, relayed));
    }

    /// Every address at which the peer may open TCP connections to the endpoint.
    pub(super) fn tcp_hosts(&self) -> Vec<SocketAddr> {
        let mut hosts = Vec::new();
        for bound in self.udp.accepting() {
            let ips = self.udp.host_addresses(bound);
            hosts.extend(ips.into_iter().map(|ip| SocketAddr::new(ip, bound.port())));
        }
        hosts
    }

    /// Takes the TCP connections that are for this connection.
    pub(super) fn take_streams(&self, inlet: StreamInlet) {
        self.registration.take_streams(inlet);
    }

    /// A TCP connection carries this path.
    pub(super) fn add_tcp(&mut self, path: Path, tunnel: Tunnel) {
        self.sender.remove(path);
        self.sender.add(Carrier::Tunnel(tunnel));
    }

    /// It does not any more.
    pub(super) fn remove_tcp(&mut self, path: Path) {
        self.sender.remove(path);
    }

    /// Whether this connection has taken the 5-tuple. Over TCP only its own packets arrive.
    pub(super) fn owns(&self, path: Path) -> bool {
        path.protocol == Protocol::Tcp || self.registration.owns(path)
    }

    /// Gives up all 5-tuples but this one, and says what carries it.
    pub(super) fn settle_on(&mut self, path: Path) -> Option<Carrier> {
        self.registration.release_all_but(path);
        self.sender.carrier_for(path).cloned()
    }

    /// Binds an ephemeral socket beside the shared one that another connection uses; `None`
    /// when there is one already or it cannot be had.
    pub(super) fn open_extra(&mut self, shared: SocketAddr) -> Option<Socket> {
        let served = |socket: &Socket| socket.local_addr().is_ipv4() == shared.is_ipv4();
        if self.extra.len() >= MAX_EXTRA_SOCKETS || self.extra.iter().any(served) {
            return None;
        }
        let beside = self
            .udp
            .sockets()
            .iter()
            .find(|socket| socket.serves(shared))?
            .local_addr();
        let socket = match self.udp.bind_extra(beside) {
            Ok(socket) => socket,
            Err(error) => {
                tracing::warn!(%error, "no extra socket for a second connection to the same peer");
                return None;
            }
        };
        self.receive_loops
            .spawn_local(receive_always(socket.clone(), self.udp.clone()));
        self.sender.add(Carrier::Udp(socket.clone()));
        self.extra.push(socket.clone());
        Some(socket)
    }

    /// Sends a packet. One that waits or is lost is sent again by the engine's timers.
    pub(super) fn send(&mut self, transmit: Transmit) {
        match self.sender.send(transmit) {
            Sent::Done => {}
            Sent::Kept | Sent::Lost(_) => tracing::trace!("a STUN packet waits or is lost"),
        }
    }

    /// Sends what had to wait.
    pub(super) fn flush(&mut self) {
        self.sender.flush(|_, _| {});
    }

    /// Datagrams dropped because a mailbox was full.
    pub(super) fn overflowed(&self) -> u64 {
        self.registration.stats().overflowed
    }
}

/// Refusals are no news to the connection: the engine goes on without.
pub(super) fn log_refusal(what: &str, result: Option<Result<(), ice::Error>>) {
    if let Some(Err(error)) = result {
        tracing::debug!(%error, "ICE refused: {what}");
    }
}
