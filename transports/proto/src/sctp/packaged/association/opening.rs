//! Who begins the association, and what becomes of it when both do.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::engine::Engine;
use super::super::gate::Gate;
use super::Association;
use crate::id::DtlsRole;

/// How long a client that let the peer begin waits for it to go on, before it begins anew. Ten times
/// a long round trip: it only happens when two INITs crossed and both sides gave way.
const COMEBACK: Duration = Duration::from_secs(3);

/// How the association comes about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Opening {
    /// We send the INIT.
    Begins,
    /// So did the peer. By then it should have answered ours.
    Crossed(Bytes, Instant),
    /// It did not, so we have answered its INIT, and begin again at this time.
    GaveWay(Instant),
    /// The peer sends it.
    Answers,
    /// It should by then.
    Waits(Instant),
    /// It did not.
    BeganInstead,
}

impl Opening {
    pub(super) fn new(role: DtlsRole, patience: Option<Duration>, now: Instant) -> Self {
        match (role, patience) {
            (DtlsRole::Client, _) => Opening::Begins,
            (DtlsRole::Server, Some(patience)) => Opening::Waits(now + patience),
            (DtlsRole::Server, None) => Opening::Answers,
        }
    }

    /// When [`Association::open`] has something to do.
    pub(super) fn due(&self) -> Option<Instant> {
        match self {
            Opening::Crossed(_, until) | Opening::GaveWay(until) | Opening::Waits(until) => {
                Some(*until)
            }
            Opening::Begins | Opening::Answers | Opening::BeganInstead => None,
        }
    }
}

impl Association {
    /// The peer's INIT, when it may be one that crossed ours (RFC 9260 §5.2.1). There both would be
    /// answered; here one of the two gives way. The server does at once, the client only when
    /// its own gets no answer: there are peers that send an INIT and answer none (werift 0.25,
    /// where it controls ICE).
    pub(super) fn take_init(&mut self, packet: Bytes, now: Instant) {
        if self.connected {
            return;
        }
        match &self.opening {
            Opening::Begins if !self.gate.knows_peer() => {
                if let Some(patience) = self.config.init_patience {
                    self.opening = Opening::Crossed(packet, now + patience);
                }
            }
            Opening::Crossed(_, until) => self.opening = Opening::Crossed(packet, *until),
            Opening::BeganInstead if !self.gate.knows_peer() => self.answer(packet, now),
            Opening::Waits(_) | Opening::Answers => {
                self.opening = Opening::Answers;
                self.take_packet(packet, now);
            }
            Opening::GaveWay(_) => self.take_packet(packet, now),
            // Our own INIT was answered already.
            Opening::Begins | Opening::BeganInstead => {}
        }
    }

    /// Gives way to the peer's INIT.
    fn answer(&mut self, init: Bytes, now: Instant) {
        self.begin_anew(DtlsRole::Server, now);
        self.opening = Opening::Answers;
        self.take_packet(init, now);
    }

    /// Runs what is due while nobody has come to an end.
    pub(super) fn open(&mut self, now: Instant) {
        if self.opening.due().is_none_or(|at| at > now) {
            return;
        }
        let answered = self.connected || self.gate.knows_peer();
        match std::mem::replace(&mut self.opening, Opening::Begins) {
            Opening::Waits(_) => {
                self.opening = Opening::BeganInstead;
                self.begin_anew(DtlsRole::Client, now);
            }
            Opening::Crossed(init, _) if !answered => {
                self.answer(init, now);
                self.opening = Opening::GaveWay(now + COMEBACK);
            }
            Opening::GaveWay(_) if !self.connected => self.begin_anew(DtlsRole::Client, now),
            Opening::GaveWay(_) => self.opening = Opening::Answers,
            other @ (Opening::Answers | Opening::BeganInstead) => self.opening = other,
            Opening::Crossed(..) | Opening::Begins => {}
        }
    }

    fn begin_anew(&mut self, role: DtlsRole, now: Instant) {
        self.outgoing.clear();
        self.gate = Gate::new(self.config.streams);
        match Engine::new(&self.config, role, self.clock.to_engine(now)) {
            Ok(engine) => self.engine = Some(engine),
            Err(error) => tracing::debug!(%error, "SCTP engine"),
        }
    }
}
