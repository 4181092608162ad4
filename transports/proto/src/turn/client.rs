//! The client: credentials, requests, and the life of an allocation.

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use rtc_crypto::HashAlgorithm;

use super::peers::{Ask, CHANNEL_RENEWAL, Grant, PERMISSION_RENEWAL, Peers};
use super::{Config, Event, Failure, MAX_WAITING, Received};
use crate::stun::message::{attribute, method};
use crate::stun::transaction::Step;
use crate::stun::{
    Builder, Class, Message, Transaction, TransactionId, TransactionIds, UNREACHABLE,
};

/// Requests under way at most. Filled by peers, two for each; further ones wait for their renewal.
pub const MAX_REQUESTS: usize = 512;

/// Times a request is sent anew with other credentials (401, 438).
const MAX_ATTEMPTS: u8 = 3;

/// `REQUESTED-TRANSPORT`: UDP, in the first of four bytes (RFC 8656 §18.7).
const UDP: u32 = 17 << 24;

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
    Allocate,
    Refresh,
    Release,
    Permission(IpAddr),
    Channel(SocketAddr, u16),
}

struct Pending {
    request: Request,
    attempts: u8,
    transaction: Transaction,
}

/// Long-term credentials for the server's realm (RFC 8489 §9.2).
struct Auth {
    realm: Vec<u8>,
    nonce: Vec<u8>,
    key: Vec<u8>,
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

    /// Takes a packet from the server. Never fails: what makes no sense is ignored.
    pub fn handle_packet(&mut self, packet: &[u8], now: Instant) -> Received {
        match packet.first() {
            Some(0x40..=0x4f) => self.channel_data(packet),
            Some(0..=3) => self.stun(packet, now),
            Some(_) | None => Received::Ignored,
        }
    }

    fn channel_data(&self, packet: &[u8]) -> Received {
        let [c0, c1, l0, l1, data @ ..] = packet else {
            return Received::Ignored;
        };
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let peer = self.peers.by_channel(u16::from_be_bytes([*c0, *c1]));
        match peer {
            Some(peer) if length <= data.len() => Received::Data {
                peer,
                range: 4..4 + length,
            },
            Some(_) | None => Received::Ignored,
        }
    }

    fn stun(&mut self, packet: &[u8], now: Instant) -> Received {
        let Some(message) = Message::parse(packet) else {
            return Received::Ignored;
        };
        match message.class {
            Class::Indication if message.method == method::DATA => self.data(packet, &message),
            Class::Success | Class::Error => self.answer(&message, now),
            Class::Indication | Class::Request => Received::Ignored,
        }
    }

    fn data(&self, packet: &[u8], message: &Message<'_>) -> Received {
        let peer = message.xor_address(attribute::XOR_PEER_ADDRESS);
        let data = message.attribute(attribute::DATA);
        match (peer, data) {
            (Some(peer), Some(data)) if self.peers.may_send(peer.ip()) => {
                let start = data.as_ptr() as usize - packet.as_ptr() as usize;
                let range = start..start + data.len();
                Received::Data { peer, range }
            }
            _ => Received::Ignored,
        }
    }

    fn answer(&mut self, message: &Message<'_>, now: Instant) -> Received {
        let Some(pending) = self.requests.get(&message.transaction) else {
            return Received::Ignored;
        };
        let signed = self
            .auth
            .as_ref()
            .is_some_and(|auth| message.verify(&auth.key));
        // Errors may come unsigned (RFC 8489 §9.2.5); a success without our key is forged.
        if message.class == Class::Success && !signed {
            return Received::Ignored;
        }
        let (request, attempts) = (pending.request, pending.attempts);
        self.requests.remove(&message.transaction);
        if message.class == Class::Success {
            self.granted(request, message, now);
        } else {
            self.refused(request, attempts, message, now);
        }
        Received::Answer
    }

    fn granted(&mut self, request: Request, message: &Message<'_>, now: Instant) {
        let lifetime = message
            .number(attribute::LIFETIME)
            .unwrap_or(DEFAULT_LIFETIME);
        let lifetime = Duration::from_secs(u64::from(lifetime.max(MIN_LIFETIME)));
        let refresh_at = now + lifetime / 2;
        match request {
            Request::Allocate => {
                let relayed = message.xor_address(attribute::XOR_RELAYED_ADDRESS);
                let mapped = message.xor_address(attribute::XOR_MAPPED_ADDRESS);
                let (Some(relayed), Some(mapped)) = (relayed, mapped) else {
                    return self.fail(400, "the server's answer has no address".into());
                };
                self.state = State::Allocated { refresh_at };
                self.keepalive_at = (!self.config.reliable).then_some(now + KEEPALIVE);
                self.events.push_back(Event::Allocated { relayed, mapped });
            }
            Request::Refresh => {
                if matches!(self.state, State::Allocated { .. }) {
                    self.state = State::Allocated { refresh_at };
                }
            }
            Request::Release => self.end(),
            Request::Permission(ip) => {
                let grant = Grant::Given(now + PERMISSION_RENEWAL);
                self.peers.permission_settled(ip, grant);
                self.release_waiting();
            }
            Request::Channel(peer, _) => {
                let grant = Grant::Given(now + CHANNEL_RENEWAL);
                self.peers.channel_settled(peer, grant);
                self.release_waiting();
            }
        }
    }

    fn refused(&mut self, request: Request, attempts: u8, message: &Message<'_>, now: Instant) {
        let (code, reason) = message
            .error()
            .unwrap_or((400, "an error without a code".into()));
        let first = attempts == 0 && self.auth.is_none();
        let challenged = (code == 401 && first || code == 438) && attempts < MAX_ATTEMPTS;
        if challenged && let Some(auth) = self.credentials(message) {
            self.auth = Some(auth);
            return self.request(request, attempts + 1, now);
        }
        let later = Grant::Refused(now + REFUSED_PAUSE);
        match request {
            Request::Allocate if code == 300 => {
                match message.address(attribute::ALTERNATE_SERVER) {
                    Some(other) => {
                        self.end();
                        self.events.push_back(Event::Redirected(other));
                    }
                    None => self.fail(code, reason),
                }
            }
            Request::Allocate | Request::Refresh => self.fail(code, reason),
            Request::Release => self.end(),
            Request::Permission(ip) => self.peers.permission_settled(ip, later),
            Request::Channel(peer, _) => self.peers.channel_settled(peer, later),
        }
    }

    /// Realm and nonce of a challenge, and the key for them (RFC 8489 §9.2.2).
    fn credentials(&self, message: &Message<'_>) -> Option<Auth> {
        let nonce = message.attribute(attribute::NONCE)?.to_vec();
        let realm = match (message.attribute(attribute::REALM), &self.auth) {
            (Some(realm), _) => realm.to_vec(),
            (None, Some(auth)) => auth.realm.clone(),
            (None, None) => return None,
        };
        let mut text = Vec::from(self.config.username.as_bytes());
        text.push(b':');
        text.extend_from_slice(&realm);
        text.push(b':');
        text.extend_from_slice(self.config.password.as_bytes());
        let text = zeroize::Zeroizing::new(text);
        let provider = rtc_crypto::default_provider().ok()?;
        let key = provider.crypto().hash(HashAlgorithm::Md5, &text).ok()?;
        Some(Auth { realm, nonce, key })
    }

    fn request(&mut self, request: Request, attempts: u8, now: Instant) {
        if self.requests.len() >= MAX_REQUESTS {
            return;
        }
        let id = self.ids.next_id();
        let method = match request {
            Request::Allocate => method::ALLOCATE,
            Request::Refresh | Request::Release => method::REFRESH,
            Request::Permission(_) => method::CREATE_PERMISSION,
            Request::Channel(..) => method::CHANNEL_BIND,
        };
        let builder = Builder::new(Class::Request, method, id);
        let builder = match request {
            Request::Allocate => builder.number(attribute::REQUESTED_TRANSPORT, UDP),
            Request::Refresh => builder.number(attribute::LIFETIME, DEFAULT_LIFETIME),
            Request::Release => builder.number(attribute::LIFETIME, 0),
            Request::Permission(ip) => {
                builder.xor_address(attribute::XOR_PEER_ADDRESS, SocketAddr::new(ip, 0))
            }
            Request::Channel(peer, channel) => builder
                .number(attribute::CHANNEL_NUMBER, u32::from(channel) << 16)
                .xor_address(attribute::XOR_PEER_ADDRESS, peer),
        };
        let packet = match &self.auth {
            Some(auth) => builder
                .attribute(attribute::USERNAME, self.config.username.as_bytes())
                .attribute(attribute::REALM, &auth.realm)
                .attribute(attribute::NONCE, &auth.nonce)
                .finish_with_integrity(&auth.key),
            None => builder.finish(),
        };
        let pending = Pending {
            request,
            attempts,
            transaction: Transaction::new(packet, self.config.reliable, now),
        };
        self.requests.insert(id, pending);
        self.step(now);
    }

    /// Sends what is due and gives up what is late.
    fn step(&mut self, now: Instant) {
        let mut late = Vec::new();
        for (id, pending) in &mut self.requests {
            match pending.transaction.step(now) {
                Step::Wait => {}
                Step::Send(packet) => self.packets.push_back(packet),
                Step::TimedOut => late.push(*id),
            }
        }
        for id in late {
            if let Some(pending) = self.requests.remove(&id) {
                self.unanswered(pending.request, now);
            }
        }
    }

    fn unanswered(&mut self, request: Request, now: Instant) {
        let later = Grant::Refused(now + REFUSED_PAUSE);
        match request {
            Request::Allocate | Request::Refresh => {
                self.fail(UNREACHABLE, "the TURN server does not answer".into());
            }
            Request::Release => self.end(),
            Request::Permission(ip) => self.peers.permission_settled(ip, later),
            Request::Channel(peer, _) => self.peers.channel_settled(peer, later),
        }
    }

    fn fail(&mut self, code: u16, reason: String) {
        let releasing = self.state == State::Releasing;
        self.end();
        if !releasing {
            self.events
                .push_back(Event::Failed(Failure { code, reason }));
        }
    }

    fn end(&mut self) {
        self.state = State::Over;
        self.requests.clear();
        self.keepalive_at = None;
        self.peers = Peers::default();
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
