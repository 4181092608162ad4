//! What carries channels: one of the SCTP engines, or QUIC.

use std::time::Instant;

use bytes::Bytes;

use super::super::*;
use crate::config::{SctpConfig, SctpEngine};
use crate::id::DtlsRole;
use crate::quic::tests::Fake;
use crate::quic::{self, Mapping};
use crate::sctp::{self, Association};

/// What carries channels in a test.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Below {
    Packaged,
    Native,
    Quic,
}

/// It, in the form in which the tests drive all of them.
pub(super) enum Carrier {
    Sctp(Box<Association>),
    Quic(Box<Mapping<Fake>>),
}

macro_rules! carrier {
    ($carrier:expr, $it:ident => $call:expr) => {
        match $carrier {
            Carrier::Sctp($it) => $call,
            Carrier::Quic($it) => $call,
        }
    };
}

impl Carrier {
    pub(super) fn new(below: Below, role: DtlsRole, now: Instant) -> Carrier {
        let engine = match below {
            Below::Packaged => SctpEngine::Packaged,
            Below::Native => SctpEngine::Native,
            Below::Quic => return Carrier::Quic(Box::new(quic::tests::mapping())),
        };
        let sctp = SctpConfig {
            engine,
            ..SctpConfig::default()
        };
        Carrier::Sctp(Box::new(Association::new(sctp, role, now).expect("sctp")))
    }

    pub(super) fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        match self {
            Carrier::Sctp(association) => association.poll_transmit(now),
            Carrier::Quic(mapping) => mapping.transport_mut().poll_transmit(),
        }
    }

    pub(super) fn handle_packet(&mut self, packet: Bytes, now: Instant) {
        match self {
            Carrier::Sctp(association) => association.handle_packet(packet, now),
            Carrier::Quic(mapping) => quic::tests::handle_packet(mapping, &packet),
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) {
        carrier!(self, it => it.handle_timeout(now));
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        carrier!(self, it => it.poll_timeout().map(|d| d.at))
    }

    pub(super) fn abort(&mut self, now: Instant) {
        match self {
            Carrier::Sctp(association) => association.abort(now),
            Carrier::Quic(mapping) => {
                mapping.transport_mut().close();
                mapping.end(sctp::CloseReason::Local);
            }
        }
    }

    /// Nothing of closed channels lies about.
    pub(super) fn is_clean(&self) -> bool {
        match self {
            Carrier::Sctp(association) => association.unread_chunks() == 0,
            Carrier::Quic(mapping) => mapping.held() == 0,
        }
    }
}

impl Streams for Carrier {
    fn poll_event(&mut self) -> Option<sctp::Event> {
        carrier!(self, it => Streams::poll_event(&mut **it))
    }

    fn read(&mut self, stream: StreamId) -> Option<sctp::Message> {
        carrier!(self, it => Streams::read(&mut **it, stream))
    }

    fn write(
        &mut self,
        stream: StreamId,
        ordered: bool,
        reliability: Reliability,
        message: &sctp::Message,
        now: Instant,
    ) -> Result<(), sctp::Error> {
        carrier!(self, it => Streams::write(&mut **it, stream, ordered, reliability, message, now))
    }

    fn prepare(&mut self, stream: StreamId, ordered: bool) -> Result<(), sctp::Error> {
        carrier!(self, it => Streams::prepare(&mut **it, stream, ordered))
    }

    fn set_weight(&mut self, stream: StreamId, weight: u16) {
        carrier!(self, it => Streams::set_weight(&mut **it, stream, weight));
    }

    fn reset(&mut self, stream: StreamId, now: Instant) -> Result<(), sctp::Error> {
        carrier!(self, it => Streams::reset(&mut **it, stream, now))
    }

    fn advance(&mut self, now: Instant) {
        carrier!(self, it => Streams::advance(&mut **it, now));
    }

    fn is_connected(&self) -> bool {
        carrier!(self, it => Streams::is_connected(&**it))
    }

    fn resets_open(&self) -> bool {
        carrier!(self, it => Streams::resets_open(&**it))
    }

    fn streams(&self) -> u16 {
        carrier!(self, it => Streams::streams(&**it))
    }

    fn unsent(&self) -> usize {
        carrier!(self, it => Streams::unsent(&**it))
    }

    fn buffered_total(&self) -> usize {
        carrier!(self, it => Streams::buffered_total(&**it))
    }

    fn send_buffer(&self) -> usize {
        carrier!(self, it => Streams::send_buffer(&**it))
    }

    fn messages_sent(&self) -> u64 {
        carrier!(self, it => Streams::messages_sent(&**it))
    }
}
