//! The client: credentials, requests, and the life of an allocation.

mod answers;
mod requests;

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};

use super::peers::{Ask, CHANNEL_RENEWAL, Grant, PERMISSION_RENEWAL, Peers};
use super::{Config, Event, Failure, MAX_WAITING};
use crate::stun::message::{attribute, method};
use crate::stun::{Builder, Class, Transaction, TransactionId, TransactionIds};

/// Requests under way at most. Filled by peers, two for each; further ones wait for their renewal.
pub const MAX_REQUESTS: usize = 512;

/// Times a request is sent anew with other credentials (401, 438).
const MAX_ATTEMPTS: u8 = 3;

/// `REQUESTED-TRANSPORT`: UDP, in the first of four bytes (RFC 8656 §18.8).
const UDP: u32 = 17 << 24;

/// IPv6, in the first of four bytes (RFC 8656 §18.6): as `ADDITIONAL-ADDRESS-FAMILY` beside IPv4,
/// which a server that does not know it passes over, and as `REQUESTED-ADDRESS-FAMILY` alone.
const IPV6: u32 = 2 << 24;

/// Lifetime when the server tells none (RFC 8656 §3.2), and the shortest we go by.
const DEFAULT_LIFETIME: u32 = 600;
const MIN_LIFETIME: u32 = 30;

/// How long a refused permission or channel is left alone.
const REFUSED_PAUSE: Duration = Duration::from_secs(30);

/// How often a packet goes to the server at least, so that address translators in between keep
/// their mapping (RFC 8445 §11: 15 s).
const KEEPALIVE: Duration = Duration::from_secs(15);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Request {
    /// IPv4, and IPv6 where the server has it.
    Allocate,
    /// After it said that it has no IPv4.
    AllocateIpv6,
    Refresh,
    Release,
    Permission(IpAddr),
    Channel(SocketAddr, u16),
}

struct Pending {
    request: Request,
    attempts: u8,
    transaction: Transaction,
    /// What somebody said who did not prove to be the server: told if nobody else answers.
    hearsay: Option<Failure>,
}

/// Long-term credentials for the server's realm (RFC 8489 §9.2).
struct Auth {
    realm: Vec<u8>,
    nonce: Vec<u8>,
    key: Vec<u8>,
    /// The server has signed with the key.
    proved: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Allocating,
    Allocated { refresh_at: Instant },
    Releasing,
    Over,
}

/// One allocation on one server.
pub struct Client {
    config: Config,
    ids: TransactionIds,
    state: State,
    auth: Option<Auth>,
    requests: BTreeMap<TransactionId, Pending>,
    peers: Peers,
    keepalive_at: Option<Instant>,
    packets: VecDeque<Bytes>,
    events: VecDeque<Event>,
}

impl Client {
    /// A client that asks for an allocation at `now`.
    pub fn new(config: Config, now: Instant) -> Self {
        let mut client = Self {
            ids: TransactionIds::new(config.seed),
            config,
            state: State::Allocating,
            auth: None,
            requests: BTreeMap::new(),
            peers: Peers::default(),
            keepalive_at: None,
            packets: VecDeque::new(),
            events: VecDeque::new(),
        };
        client.request(Request::Allocate, 0, now);
        client
    }

    /// Appends to `out` the frame that takes `datagram` to `peer`, and says whether it did: what
    /// is sent to a peer first waits until the server lets it pass, and leaves by
    /// [`Client::poll_packet`]. Nothing is sent before the allocation.
    pub fn wrap(
        &mut self,
        peer: SocketAddr,
        datagram: &[u8],
        out: &mut BytesMut,
        now: Instant,
    ) -> bool {
        if !matches!(self.state, State::Allocated { .. }) {
            return false;
        }
        let permitted = self.peers.may_send(peer.ip());
        let (found, asks) = self.peers.reach(peer, now);
        let wrapped = match found {
            None => false,
            Some(known) if known.bound.is_given() => {
                frame(known.channel, datagram, self.config.reliable, out)
            }
            Some(_) if permitted => {
                let id = self.ids.next_id();
                out.extend_from_slice(&send_indication(id, peer, datagram));
                true
            }
            Some(known) => {
                if known.waiting.len() < MAX_WAITING {
                    known.waiting.push_back(Bytes::copy_from_slice(datagram));
                }
                false
            }
        };
        self.ask(asks, now);
        wrapped
    }

    fn ask(&mut self, asks: Vec<Ask>, now: Instant) {
        for ask in asks {
            let request = match ask {
                Ask::Permission(ip) => Request::Permission(ip),
                Ask::Channel(peer, channel) => Request::Channel(peer, channel),
            };
            self.request(request, 0, now);
        }
    }

    fn release_waiting(&mut self) {
        for (peer, datagram) in self.peers.released() {
            let id = self.ids.next_id();
            self.packets.push_back(send_indication(id, peer, &datagram));
        }
    }

    /// Whether something was sent to exactly this address.
    pub fn knows(&self, peer: SocketAddr) -> bool {
        self.peers.knows(peer)
    }

    /// Gives the allocation back (RFC 8656 §8); [`Client::is_over`] once the server has agreed.
    pub fn close(&mut self, now: Instant) {
        match self.state {
            State::Allocated { .. } => {
                self.requests.clear();
                self.state = State::Releasing;
                self.request(Request::Release, 0, now);
            }
            State::Allocating | State::Over => self.end(),
            State::Releasing => {}
        }
    }

    /// Whether nothing will happen any more.
    pub fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// Repeats, renews and gives up what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.step(now);
        if let State::Allocated { refresh_at } = self.state {
            let asks = self.peers.renew(now);
            self.ask(asks, now);
            let refreshing = |pending: &Pending| pending.request == Request::Refresh;
            if refresh_at <= now && !self.requests.values().any(refreshing) {
                self.request(Request::Refresh, 0, now);
            }
        }
        if self.keepalive_at.is_some_and(|at| at <= now) {
            self.keepalive_at = Some(now + KEEPALIVE);
            let id = self.ids.next_id();
            let packet = Builder::new(Class::Indication, method::BINDING, id).finish();
            self.packets.push_back(packet);
        }
    }

    /// When to call [`Client::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let steps = self
            .requests
            .values()
            .map(|pending| pending.transaction.due());
        let refreshing = self
            .requests
            .values()
            .any(|pending| pending.request == Request::Refresh);
        let (refresh, renewals) = match self.state {
            State::Allocated { refresh_at } => {
                ((!refreshing).then_some(refresh_at), self.peers.due())
            }
            State::Allocating | State::Releasing | State::Over => (None, None),
        };
        let others = [refresh, renewals, self.keepalive_at];
        steps.chain(others.into_iter().flatten()).min()
    }

    /// The next packet for the server. Over a stream it is a whole frame.
    pub fn poll_packet(&mut self) -> Option<Bytes> {
        self.packets.pop_front()
    }

    /// What happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("state", &self.state)
            .field("requests", &self.requests.len())
            .finish_non_exhaustive()
    }
}

/// ChannelData (RFC 8656 §12.4), padded on streams (§12.5).
fn frame(channel: u16, datagram: &[u8], padded: bool, out: &mut BytesMut) -> bool {
    let Ok(length) = u16::try_from(datagram.len()) else {
        return false;
    };
    out.put_u16(channel);
    out.put_u16(length);
    out.extend_from_slice(datagram);
    if padded {
        out.put_bytes(0, datagram.len().next_multiple_of(4) - datagram.len());
    }
    true
}

fn send_indication(id: TransactionId, peer: SocketAddr, datagram: &[u8]) -> Bytes {
    Builder::new(Class::Indication, method::SEND, id)
        .xor_address(attribute::XOR_PEER_ADDRESS, peer)
        .attribute(attribute::DATA, datagram)
        .finish()
}
