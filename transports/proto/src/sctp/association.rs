//! The association, whichever engine it runs on.

use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use bytes::{Bytes, BytesMut};

use super::{Error, Event, Message, Reliability, Timer, native, packaged};
use crate::config::{SctpConfig, SctpEngine};
use crate::engine::Deadline;
use crate::id::{DtlsRole, StreamId};
use crate::sctp::CloseReason;

/// Chunks that may lie unread in the engine, beside the window in bytes. Filled by the peer; what
/// would come on top is dropped before it is acknowledged, and sent again by the peer.
pub const MAX_UNREAD_CHUNKS: usize = 16 * 1024;

/// Packets of ours that wait for DTLS in the packaged engine. Filled by what we send, which the
/// window bounds far below it, and by answers to the peer; when it is full, what the peer sends is
/// dropped, and the peer sends it again.
pub const MAX_QUEUED_PACKETS: usize = 16 * 1024;

/// Counters of an association.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets handed to DTLS.
    pub packets_sent: u64,
    /// Packets taken from DTLS.
    pub packets_received: u64,
    /// Packets of the peer's that were refused.
    pub packets_dropped: u64,
    /// DATA chunks sent again.
    pub chunks_retransmitted: u64,
    /// Messages read.
    pub messages_received: u64,
    /// Messages written.
    pub messages_sent: u64,
    /// Bytes of messages read.
    pub bytes_received: u64,
    /// Bytes of messages written.
    pub bytes_sent: u64,
}

/// One SCTP association over one DTLS connection.
#[derive(Debug)]
pub struct Association(Engine);

#[derive(Debug)]
enum Engine {
    Packaged(Box<packaged::Association>),
    Native(Box<native::Association>),
}

/// The same call to whichever engine it is.
macro_rules! engine {
    ($association:expr, $engine:ident => $call:expr) => {
        match $association {
            Engine::Packaged($engine) => $call,
            Engine::Native($engine) => $call,
        }
    };
}

impl Association {
    /// An association over a DTLS connection that is up. The DTLS client sends the INIT; the
    /// server waits for it (RFC 8831 §6.2 leaves it open, and both would be answered).
    pub fn new(config: SctpConfig, role: DtlsRole, now: Instant) -> Result<Self, Error> {
        let engine = match config.engine {
            SctpEngine::Packaged => {
                Engine::Packaged(Box::new(packaged::Association::new(config, role, now)?))
            }
            SctpEngine::Native => {
                let random = native::Random::draw(&rand::SystemRandom::new())?;
                Engine::Native(Box::new(native::Association::new(
                    config, role, random, now,
                )))
            }
        };
        Ok(Self(engine))
    }

    /// Takes an SCTP packet that DTLS has decrypted.
    pub fn handle_packet(&mut self, packet: Bytes, now: Instant) {
        match &mut self.0 {
            Engine::Packaged(engine) => engine.handle_packet(packet, now),
            Engine::Native(engine) => engine.handle_packet(&packet, now),
        }
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        engine!(&mut self.0, engine => engine.handle_timeout(now));
    }

    /// Writes a message. It is taken whole; keep [`Association::buffered_total`] below
    /// `SctpConfig::send_buffer` by asking first.
    ///
    /// # Errors
    ///
    /// [`Error`], and nothing is written.
    pub fn write(
        &mut self,
        stream: StreamId,
        ordered: bool,
        reliability: Reliability,
        message: &Message,
        now: Instant,
    ) -> Result<(), Error> {
        engine!(&mut self.0, engine => engine.write(stream, ordered, reliability, message, now))
    }

    /// Readies a stream whose other end may write first. `ordered` as the channel was negotiated:
    /// it decides how gaps are skipped (RFC 3758 §3.6).
    ///
    /// # Errors
    ///
    /// [`Error`] if nothing could be written to the stream.
    pub fn prepare(&mut self, stream: StreamId, ordered: bool) -> Result<(), Error> {
        match &mut self.0 {
            Engine::Packaged(engine) => engine.prepare(stream, ordered),
            Engine::Native(engine) => engine.prepare(stream),
        }
    }

    /// The stream's share of the association while several have something to send: a weight as in
    /// RFC 8831 §6.4. Until it is reset. The packaged engine knows no shares.
    pub fn set_weight(&mut self, stream: StreamId, weight: u16) {
        match &mut self.0 {
            Engine::Packaged(_) => {}
            Engine::Native(engine) => engine.set_weight(stream, weight),
        }
    }

    /// Resets our side of a stream after what was written to it; the peer answers by resetting its
    /// side (RFC 8831 §6.7), which [`Event::Reset`] reports. What the peer has sent on the stream
    /// and what still arrives is thrown away.
    ///
    /// # Errors
    ///
    /// [`Error`] if there is no such stream.
    pub fn reset(&mut self, stream: StreamId, now: Instant) -> Result<(), Error> {
        match &mut self.0 {
            Engine::Packaged(engine) => engine.reset(stream, now),
            Engine::Native(engine) => engine.reset(stream),
        }
    }

    /// The next message of a stream that was reported readable, or `None` when it is read empty.
    /// What arrived before the end of the association can be read after it.
    pub fn read(&mut self, stream: StreamId) -> Option<Message> {
        engine!(&mut self.0, engine => engine.read(stream))
    }

    /// Ends the association with an ABORT (RFC 9260 §9.1), which is still to be sent.
    pub fn abort(&mut self, now: Instant) {
        match &mut self.0 {
            Engine::Packaged(engine) => engine.abort(now),
            Engine::Native(engine) => engine.abort(),
        }
    }

    /// Lets the engine send what it can. [`Association::unsent`] is exact afterwards.
    pub fn advance(&mut self, now: Instant) {
        match &mut self.0 {
            Engine::Packaged(engine) => engine.advance(now),
            Engine::Native(_) => {} // it sends when it is polled
        }
    }

    /// The next packet for DTLS, at most [`crate::sctp::LONGEST_PACKET`] bytes. `None` also when the
    /// pacer holds packets back; [`Association::poll_timeout`] then says
    /// [`crate::sctp::Timer::Pace`].
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Bytes> {
        engine!(&mut self.0, engine => engine.poll_transmit(now))
    }

    /// Writes the next packet at the end of `out`, so that DTLS can protect it there; returns its
    /// length, 0 if [`Association::poll_transmit`] would return `None`.
    pub fn write_packet(&mut self, out: &mut BytesMut, now: Instant) -> usize {
        match &mut self.0 {
            Engine::Packaged(engine) => engine.poll_transmit(now).map_or(0, |packet| {
                out.extend_from_slice(&packet);
                packet.len()
            }),
            Engine::Native(engine) => engine.write_packet(out, now),
        }
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        engine!(&mut self.0, engine => engine.poll_event())
    }

    /// When to call [`Association::handle_timeout`], and why.
    pub fn poll_timeout(&self) -> Option<Deadline<Timer>> {
        engine!(&self.0, engine => engine.poll_timeout())
    }

    /// The same without [`Timer::Pace`], for when packets could not be taken anyway.
    pub fn poll_protocol_timeout(&self) -> Option<Deadline<Timer>> {
        engine!(&self.0, engine => engine.poll_protocol_timeout())
    }

    /// Whether streams can be used.
    pub fn is_connected(&self) -> bool {
        engine!(&self.0, engine => engine.is_connected())
    }

    /// Why it ended, if it did.
    pub fn close_reason(&self) -> Option<CloseReason> {
        engine!(&self.0, engine => engine.close_reason())
    }

    /// Bytes written to a stream that were neither acknowledged nor given up.
    pub fn buffered(&self, stream: StreamId) -> usize {
        engine!(&self.0, engine => engine.buffered(stream))
    }

    /// The same over all streams.
    pub fn buffered_total(&self) -> usize {
        engine!(&self.0, engine => engine.buffered_total())
    }

    /// Bytes written that wait for the window, at most.
    pub fn unsent(&self) -> usize {
        engine!(&self.0, engine => engine.unsent())
    }

    /// Whether a stream reset of ours still waits for the peer's answer.
    pub fn resets_open(&self) -> bool {
        engine!(&self.0, engine => engine.resets_open())
    }

    /// Longest message that can be written or read in one piece.
    pub fn max_message_size(&self) -> usize {
        engine!(&self.0, engine => engine.max_message_size())
    }

    /// The number of streams that can be used in both directions: what we offer, and once
    /// connected the least of what both ends offered (RFC 9260 §5.1.1).
    pub fn streams(&self) -> u16 {
        engine!(&self.0, engine => engine.streams())
    }

    /// Bytes that may be written and unacknowledged at once.
    pub fn send_buffer(&self) -> usize {
        engine!(&self.0, engine => engine.send_buffer())
    }

    /// Packets of ours waiting to be taken, but for data that waits for the window.
    pub fn queued_packets(&self) -> usize {
        engine!(&self.0, engine => engine.queued_packets())
    }

    /// Chunks of the peer's lying unread.
    pub fn unread_chunks(&self) -> usize {
        engine!(&self.0, engine => engine.unread_chunks())
    }

    /// Smoothed round trip.
    pub fn round_trip(&self) -> Duration {
        engine!(&self.0, engine => engine.round_trip())
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        engine!(&self.0, engine => engine.stats())
    }
}
