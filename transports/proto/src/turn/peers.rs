//! Peers of an allocation: permissions, channels, and what waits for them.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::{Duration, Instant};

use bytes::Bytes;

/// Peers of one allocation at most. Filled by what is sent: ICE has up to 64 remote candidates in
/// each generation. One that nothing was sent to for long makes room; otherwise what is sent to
/// a further peer is dropped.
pub const MAX_PEERS: usize = 128;

/// Datagrams kept for a peer until the server lets them pass. Filled by checks; more are dropped,
/// since checks are repeated.
pub const MAX_WAITING: usize = 4;

/// RFC 8656 §12: channel numbers.
const CHANNELS: RangeInclusive<u16> = 0x4000..=0x4fff;

/// A permission lasts five minutes (RFC 8656 §9): it is renewed a minute before.
pub(super) const PERMISSION_RENEWAL: Duration = Duration::from_secs(240);

/// A channel lasts ten minutes (RFC 8656 §12): it is renewed a minute before.
pub(super) const CHANNEL_RENEWAL: Duration = Duration::from_secs(540);

/// A peer that nothing was sent to for this long is not renewed any more.
const IDLE: Duration = Duration::from_secs(300);

/// A right that the server gives and takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// Asked for, not answered.
    Asked,
    /// Given; to be renewed then.
    Given(Instant),
    /// Given, and being renewed.
    Renewing,
    /// Refused; asked for again then.
    Refused(Instant),
}

impl Grant {
    pub(super) fn is_given(self) -> bool {
        matches!(self, Grant::Given(_) | Grant::Renewing)
    }

    fn due(self) -> Option<Instant> {
        match self {
            Grant::Given(at) | Grant::Refused(at) => Some(at),
            Grant::Asked | Grant::Renewing => None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Peer {
    pub(super) channel: u16,
    pub(super) bound: Grant,
    pub(super) waiting: VecDeque<Bytes>,
    last_sent: Instant,
}

/// What has to be asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    Permission(IpAddr),
    Channel(SocketAddr, u16),
}

#[derive(Debug, Default)]
pub(super) struct Peers {
    peers: BTreeMap<SocketAddr, Peer>,
    by_channel: BTreeMap<u16, SocketAddr>,
    permissions: BTreeMap<IpAddr, Grant>,
    /// Channels are used in turn, so that one is not given to another peer too soon.
    next_channel: u16,
}

impl Peers {
    /// The peer, made when there is room, and what to ask for it.
    pub(super) fn reach(
        &mut self,
        addr: SocketAddr,
        now: Instant,
    ) -> (Option<&mut Peer>, Vec<Ask>) {
        let mut asks = Vec::new();
        if !self.peers.contains_key(&addr) {
            if self.peers.len() >= MAX_PEERS {
                self.forget_idle(now);
            }
            if self.peers.len() >= MAX_PEERS {
                return (None, asks);
            }
            let channel = self.free_channel();
            let peer = Peer {
                channel,
                bound: Grant::Asked,
                waiting: VecDeque::new(),
                last_sent: now,
            };
            self.peers.insert(addr, peer);
            self.by_channel.insert(channel, addr);
            self.permissions.entry(addr.ip()).or_insert_with(|| {
                asks.push(Ask::Permission(addr.ip()));
                Grant::Asked
            });
            asks.push(Ask::Channel(addr, channel));
        }
        let mut peer = self.peers.get_mut(&addr);
        if let Some(peer) = &mut peer {
            peer.last_sent = now;
        }
        (peer, asks)
    }

    fn free_channel(&mut self) -> u16 {
        loop {
            let offset = self.next_channel % (CHANNELS.end() - CHANNELS.start() + 1);
            self.next_channel = offset + 1;
            let channel = CHANNELS.start() + offset;
            if !self.by_channel.contains_key(&channel) {
                return channel; // there are far more channels than peers
            }
        }
    }

    fn forget_idle(&mut self, now: Instant) {
        let idle = |peer: &Peer| now.saturating_duration_since(peer.last_sent) >= IDLE;
        self.peers.retain(|_, peer| !idle(peer));
        let peers = &self.peers;
        self.by_channel.retain(|_, addr| peers.contains_key(addr));
        self.permissions
            .retain(|ip, _| peers.keys().any(|addr| addr.ip() == *ip));
    }

    pub(super) fn by_channel(&self, channel: u16) -> Option<SocketAddr> {
        self.by_channel.get(&channel).copied()
    }

    pub(super) fn knows(&self, addr: SocketAddr) -> bool {
        self.peers.contains_key(&addr)
    }

    pub(super) fn may_send(&self, ip: IpAddr) -> bool {
        self.permissions
            .get(&ip)
            .is_some_and(|grant| grant.is_given())
    }

    pub(super) fn channel_settled(&mut self, addr: SocketAddr, grant: Grant) {
        if let Some(peer) = self.peers.get_mut(&addr) {
            peer.bound = grant;
        }
        if let Grant::Given(at) = grant {
            // A channel is a permission as well (RFC 8656 §12).
            let soon = at - CHANNEL_RENEWAL + PERMISSION_RENEWAL;
            let grant = self.permissions.entry(addr.ip()).or_insert(Grant::Asked);
            if *grant == Grant::Asked {
                *grant = Grant::Given(soon);
            }
        }
    }

    pub(super) fn permission_settled(&mut self, ip: IpAddr, grant: Grant) {
        if let Some(known) = self.permissions.get_mut(&ip) {
            *known = grant;
        }
    }

    /// Datagrams that may leave now, with their peers.
    pub(super) fn released(&mut self) -> Vec<(SocketAddr, Bytes)> {
        let permissions = &self.permissions;
        let given = |ip| {
            permissions
                .get(&ip)
                .is_some_and(|grant: &Grant| grant.is_given())
        };
        let mut released = Vec::new();
        for (addr, peer) in &mut self.peers {
            if peer.bound.is_given() || given(addr.ip()) {
                released.extend(peer.waiting.drain(..).map(|datagram| (*addr, datagram)));
            }
        }
        released
    }

    /// What has to be renewed or asked again. Peers not in use are forgotten instead.
    pub(super) fn renew(&mut self, now: Instant) -> Vec<Ask> {
        if self.due().is_none_or(|at| at > now) {
            return Vec::new();
        }
        self.forget_idle(now);
        let due = |grant: &Grant| grant.due().is_some_and(|at| at <= now);
        let again = |grant: &mut Grant| {
            *grant = match grant.is_given() {
                true => Grant::Renewing,
                false => Grant::Asked,
            }
        };
        let mut asks = Vec::new();
        for (ip, grant) in self.permissions.iter_mut().filter(|(_, grant)| due(grant)) {
            again(grant);
            asks.push(Ask::Permission(*ip));
        }
        for (addr, peer) in self.peers.iter_mut().filter(|(_, peer)| due(&peer.bound)) {
            again(&mut peer.bound);
            asks.push(Ask::Channel(*addr, peer.channel));
        }
        asks
    }

    pub(super) fn due(&self) -> Option<Instant> {
        let channels = self.peers.values().filter_map(|peer| peer.bound.due());
        let permissions = self.permissions.values().filter_map(|grant| grant.due());
        channels.chain(permissions).min()
    }
}
