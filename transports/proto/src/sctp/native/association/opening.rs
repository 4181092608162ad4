//! How the association comes about (RFC 9260 §5), and how the peer ends it (§9.2).

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::handshake::{self, Endpoint};
use super::super::pmtu::PathMtu;
use super::super::reconfig::Reconfig;
use super::super::wire::kind;
use super::{Association, Control, Event, Repeat, State};
use crate::sctp::{CloseReason, MAX_PACKET};

/// The first repetition of INIT, COOKIE ECHO and SHUTDOWN ACK, and the longest wait between two.
/// RFC 9260 §16 says one second and a minute; DTLS has shown that the path works.
const FIRST_REPEAT: Duration = Duration::from_millis(250);
const LAST_REPEAT: Duration = Duration::from_secs(2);

/// Repetitions before the handshake counts as unanswered. RFC 9260 §16 says 8; whether the peer
/// lives is for ICE consent to say.
const MAX_REPEATS: u32 = 64;

impl Association {
    /// Sends the INIT.
    pub(super) fn begin(&mut self, now: Instant) {
        let init = Control {
            tag: Some(0),
            ..Control::new(kind::INIT, handshake::init(&self.local))
        };
        self.state = State::CookieWait(self.first(init, now));
    }

    /// Sends a chunk that will be repeated.
    fn first(&mut self, control: Control, now: Instant) -> Repeat {
        self.controls.push_back(control.clone());
        Repeat {
            control,
            sent_at: now,
            due: now + FIRST_REPEAT,
            attempts: 1,
        }
    }

    pub(super) fn repeat(&mut self, now: Instant) {
        let (State::CookieWait(repeat)
        | State::CookieEchoed(repeat)
        | State::ShutdownAckSent(repeat)) = &mut self.state
        else {
            return;
        };
        let wait = FIRST_REPEAT * (1 << repeat.attempts.min(8));
        repeat.due = now + wait.min(LAST_REPEAT);
        repeat.attempts += 1;
        if repeat.attempts > MAX_REPEATS {
            return self.end(CloseReason::Handshake, None);
        }
        let control = repeat.control.clone();
        let waits = self.controls.iter().any(|known| known.kind == control.kind);
        if !waits {
            self.controls.push_back(control);
        }
    }

    /// An INIT: answered with a cookie, whether we have begun ourselves or not (RFC 9260 §5.1 B,
    /// §5.2.1); ignored once there is an association.
    pub(super) fn take_init(&mut self, value: &[u8], now: Instant) {
        let opening = matches!(
            self.state,
            State::Closed(_) | State::CookieWait(_) | State::CookieEchoed(_)
        );
        let Some(init) = handshake::parse(value).filter(|_| opening) else {
            return;
        };
        let age = now.saturating_duration_since(self.begun);
        let cookie = self.jar.seal(&init.peer, age);
        let value = handshake::init_ack(&self.local, &cookie, &init.unrecognized);
        self.answer(Control {
            tag: Some(init.peer.tag),
            ..Control::new(kind::INIT_ACK, value)
        });
    }

    /// INIT ACK: its cookie goes back (RFC 9260 §5.1 C).
    pub(super) fn take_init_ack(&mut self, value: &[u8], now: Instant) {
        let State::CookieWait(repeat) = &self.state else {
            return;
        };
        let Some((peer, cookie)) =
            handshake::parse(value).and_then(|ack| Some((ack.peer, ack.cookie?)))
        else {
            return;
        };
        if repeat.attempts == 1 {
            let rtt = now.saturating_duration_since(repeat.sent_at);
            self.sender.sample(rtt, now);
        }
        self.meet(&peer);
        let echo = Control::new(kind::COOKIE_ECHO, cookie);
        self.state = State::CookieEchoed(self.first(echo, now));
    }

    /// The cookie comes back (RFC 9260 §5.1 D, §5.2.4).
    pub(super) fn take_cookie(&mut self, cookie: &[u8], now: Instant) {
        let age = now.saturating_duration_since(self.begun);
        let Some(peer) = self.jar.open(cookie, age) else {
            tracing::debug!("SCTP cookie refused");
            return;
        };
        match self.state {
            State::Closed(_) | State::CookieWait(_) | State::CookieEchoed(_) => {
                self.meet(&peer);
                self.establish();
            }
            // Our COOKIE ACK was lost.
            State::Established | State::ShutdownReceived | State::ShutdownAckSent(_)
                if peer.tag == self.peer_tag => {}
            State::Established
            | State::ShutdownReceived
            | State::ShutdownAckSent(_)
            | State::Ended(_) => return,
        }
        self.answer(Control::new(kind::COOKIE_ACK, Bytes::new()));
    }

    pub(super) fn take_cookie_ack(&mut self) {
        if matches!(self.state, State::CookieEchoed(_)) {
            self.establish();
        }
    }

    /// The peer is known.
    fn meet(&mut self, peer: &Endpoint) {
        self.address.tag = peer.tag;
        self.peer_tag = peer.tag;
        let both = |ours, theirs| ours && theirs;
        let (ours, theirs) = (self.local.features, peer.features);
        self.zero_checksum = both(ours.zero_checksum, theirs.zero_checksum);
        self.interleaving = both(ours.interleaving, theirs.interleaving);
        if !theirs.padding {
            self.mtu = PathMtu::new(MAX_PACKET);
        }
        let streams_in = self.local.inbound.min(peer.outbound);
        self.streams = Some(self.local.outbound.min(peer.inbound).min(streams_in));
        let partial = both(ours.forward_tsn, theirs.forward_tsn);
        self.sender.start(peer.window, partial, self.interleaving);
        self.receiver.start(peer.first_tsn, streams_in);
        let streams = self.config.streams;
        self.reconfig = Reconfig::new(self.local.first_tsn, peer.first_tsn, streams);
    }

    fn establish(&mut self) {
        let handshake = [kind::INIT, kind::INIT_ACK, kind::COOKIE_ECHO];
        self.controls
            .retain(|control| !handshake.contains(&control.kind));
        self.state = State::Established;
        self.events.push_back(Event::Connected);
    }

    /// The peer wants to end the association (RFC 9260 §9.2).
    pub(super) fn take_shutdown(&mut self, now: Instant) {
        if self.is_established() {
            self.state = State::ShutdownReceived;
        }
        self.shut_down_if_idle(now);
    }

    pub(super) fn shut_down_if_idle(&mut self, now: Instant) {
        if self.state == State::ShutdownReceived && self.sender.is_idle() {
            let ack = Control::new(kind::SHUTDOWN_ACK, Bytes::new());
            self.state = State::ShutdownAckSent(self.first(ack, now));
        }
    }

    /// Queues an answer, unless there are too many.
    pub(super) fn answer(&mut self, control: Control) {
        if self.controls.len() < super::MAX_CONTROLS {
            self.controls.push_back(control);
        }
    }
}
