//! What comes from the server: whether it is believed, and what follows.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rtc_crypto::HashAlgorithm;

use super::super::{Event, Failure, Received, address};
use super::{
    Auth, CHANNEL_RENEWAL, Client, DEFAULT_LIFETIME, Grant, KEEPALIVE, MAX_ATTEMPTS, MIN_LIFETIME,
    PERMISSION_RENEWAL, REFUSED_PAUSE, Request, State,
};
use crate::stun::message::{attribute, method};
use crate::stun::{Class, Message};

/// Error codes that no server can sign for us, since they say how to sign (RFC 8489 §9.2.5).
const UNAUTHENTICATED: u16 = 401;
const STALE_NONCE: u16 = 438;

/// The server has no address of the family (RFC 8656 §19).
const UNSUPPORTED_FAMILY: u16 = 440;

/// Try another server (RFC 8489 §10).
const TRY_ALTERNATE: u16 = 300;

impl Client {
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
        let (request, attempts) = (pending.request, pending.attempts);
        if !self.is_believed(message, attempts) {
            return self.doubt(message, now);
        }
        self.requests.remove(&message.transaction);
        if message.class == Class::Success {
            if let Some(auth) = &mut self.auth {
                auth.proved = true;
            }
            self.granted(request, message, now);
        } else {
            self.refused(request, attempts, message, now);
        }
        Received::Answer
    }

    /// Whether the server itself says so (RFC 8489 §9.2.5). A success without our key is forged.
    /// Errors need no key while we have none, and where they tell how to sign: but once our
    /// credentials have worked, they are not simply refused.
    fn is_believed(&self, message: &Message<'_>, attempts: u8) -> bool {
        let Some(auth) = &self.auth else {
            return message.class == Class::Error;
        };
        if message.verify(&auth.key) {
            return true;
        }
        let code = message.error().map(|(code, _)| code);
        match code.filter(|_| message.class == Class::Error) {
            Some(UNAUTHENTICATED) => !auth.proved,
            Some(STALE_NONCE) => {
                let realm = message.attribute(attribute::REALM);
                let renewed = message.attribute(attribute::NONCE).is_some()
                    && realm.is_none_or(|realm| realm == auth.realm);
                !auth.proved || renewed && attempts < MAX_ATTEMPTS
            }
            Some(_) | None => false,
        }
    }

    /// Somebody who may not be the server answers: over UDP we wait for a better answer, over a
    /// connection there is none (RFC 8489 §9.2.5).
    fn doubt(&mut self, message: &Message<'_>, now: Instant) -> Received {
        let Some((code, reason)) = message.error().filter(|_| message.class == Class::Error) else {
            return Received::Ignored;
        };
        let Some(pending) = self.requests.get_mut(&message.transaction) else {
            return Received::Ignored;
        };
        let hearsay = Failure { code, reason };
        if !self.config.reliable {
            pending.hearsay = Some(hearsay);
            return Received::Ignored;
        }
        let request = pending.request;
        self.requests.remove(&message.transaction);
        self.unanswered(request, Some(hearsay), now);
        Received::Answer
    }

    fn granted(&mut self, request: Request, message: &Message<'_>, now: Instant) {
        let lifetime = message
            .number(attribute::LIFETIME)
            .unwrap_or(DEFAULT_LIFETIME);
        let lifetime = Duration::from_secs(u64::from(lifetime.max(MIN_LIFETIME)));
        let refresh_at = now + lifetime / 2;
        match request {
            Request::Allocate | Request::AllocateIpv6 => {
                let relayed = self.relayed(message);
                let mapped = message.xor_address(attribute::XOR_MAPPED_ADDRESS);
                let Some(mapped) = mapped.filter(|_| !relayed.is_empty()) else {
                    let reason = "the server's answer has no address that can be used";
                    return self.fail(400, reason.into());
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

    /// Where the server relays for us: one address of each family at most.
    fn relayed(&self, message: &Message<'_>) -> Vec<SocketAddr> {
        let mut usable: Vec<SocketAddr> = Vec::new();
        for addr in message.xor_addresses(attribute::XOR_RELAYED_ADDRESS) {
            let further = usable.iter().all(|it| it.is_ipv4() != addr.is_ipv4());
            if further && address::may_relay(self.config.server, addr) {
                usable.push(addr);
            }
        }
        usable
    }

    fn refused(&mut self, request: Request, attempts: u8, message: &Message<'_>, now: Instant) {
        let (code, reason) = message
            .error()
            .unwrap_or((400, "an error without a code".into()));
        let first = attempts == 0 && self.auth.is_none();
        let challenged =
            (code == UNAUTHENTICATED && first || code == STALE_NONCE) && attempts < MAX_ATTEMPTS;
        if challenged && let Some(auth) = self.credentials(message) {
            self.auth = Some(auth);
            return self.request(request, attempts + 1, now);
        }
        let later = Grant::Refused(now + REFUSED_PAUSE);
        match request {
            Request::Allocate if code == UNSUPPORTED_FAMILY => {
                self.request(Request::AllocateIpv6, attempts, now);
            }
            Request::Allocate | Request::AllocateIpv6 if code == TRY_ALTERNATE => {
                self.redirected(message.address(attribute::ALTERNATE_SERVER), reason);
            }
            Request::Allocate | Request::AllocateIpv6 | Request::Refresh => self.fail(code, reason),
            Request::Release => self.end(),
            Request::Permission(ip) => self.peers.permission_settled(ip, later),
            Request::Channel(peer, _) => self.peers.channel_settled(peer, later),
        }
    }

    fn redirected(&mut self, other: Option<SocketAddr>, reason: String) {
        match other.filter(|other| address::may_redirect(self.config.server, *other)) {
            Some(other) => {
                self.end();
                self.events.push_back(Event::Redirected(other));
            }
            None => self.fail(TRY_ALTERNATE, reason),
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
        let proved = self.auth.as_ref().is_some_and(|auth| auth.proved);
        Some(Auth {
            realm,
            nonce,
            key,
            proved,
        })
    }
}
