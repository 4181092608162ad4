//! Requests: written, repeated, given up.

use std::net::SocketAddr;
use std::time::Instant;

use super::super::{Event, Failure};
use super::{Client, DEFAULT_LIFETIME, Grant, MAX_REQUESTS, Peers, Pending, REFUSED_PAUSE};
use super::{IPV6, Request, State, UDP};
use crate::stun::message::{attribute, method};
use crate::stun::transaction::Step;
use crate::stun::{Builder, Class, Transaction, UNREACHABLE};

impl Client {
    pub(super) fn request(&mut self, request: Request, attempts: u8, now: Instant) {
        if self.requests.len() >= MAX_REQUESTS {
            return;
        }
        let id = self.ids.next_id();
        let method = match request {
            Request::Allocate | Request::AllocateIpv6 => method::ALLOCATE,
            Request::Refresh | Request::Release => method::REFRESH,
            Request::Permission(_) => method::CREATE_PERMISSION,
            Request::Channel(..) => method::CHANNEL_BIND,
        };
        let builder = Builder::new(Class::Request, method, id);
        let builder = match request {
            Request::Allocate => builder
                .number(attribute::REQUESTED_TRANSPORT, UDP)
                .number(attribute::ADDITIONAL_ADDRESS_FAMILY, IPV6),
            Request::AllocateIpv6 => builder
                .number(attribute::REQUESTED_TRANSPORT, UDP)
                .number(attribute::REQUESTED_ADDRESS_FAMILY, IPV6),
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
            hearsay: None,
        };
        self.requests.insert(id, pending);
        self.step(now);
    }

    /// Sends what is due and gives up what is late.
    pub(super) fn step(&mut self, now: Instant) {
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
                self.unanswered(pending.request, pending.hearsay, now);
            }
        }
    }

    /// Nobody answered, or nobody who is known to be the server: `hearsay` is what others said.
    pub(super) fn unanswered(&mut self, request: Request, hearsay: Option<Failure>, now: Instant) {
        let later = Grant::Refused(now + REFUSED_PAUSE);
        match request {
            Request::Allocate | Request::AllocateIpv6 | Request::Refresh => {
                let silence = || Failure {
                    code: UNREACHABLE,
                    reason: "the TURN server does not answer".into(),
                };
                let failure = hearsay.unwrap_or_else(silence);
                self.fail(failure.code, failure.reason);
            }
            Request::Release => self.end(),
            Request::Permission(ip) => self.peers.permission_settled(ip, later),
            Request::Channel(peer, _) => self.peers.channel_settled(peer, later),
        }
    }

    pub(super) fn fail(&mut self, code: u16, reason: String) {
        let releasing = self.state == State::Releasing;
        self.end();
        if !releasing {
            self.events
                .push_back(Event::Failed(Failure { code, reason }));
        }
    }

    pub(super) fn end(&mut self) {
        self.state = State::Over;
        self.requests.clear();
        self.keepalive_at = None;
        self.peers = Peers::default();
    }
}
