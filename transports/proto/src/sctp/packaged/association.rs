//! The association: the gate, window updates, pacing and accounts around the packaged engine.

mod flow;
mod intake;
mod opening;
mod outcome;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;

use self::opening::Opening;
use super::clock::Clock;
use super::engine::{Engine, engine_reliability};
use super::gate::Gate;
use super::pacer::Pacer;
use super::{
    CloseReason, Error, Event, MAX_QUEUED_PACKETS, MAX_UNREAD_CHUNKS, Message, Reliability, Stats,
    Timer,
};
use crate::config::SctpConfig;
use crate::engine::Deadline;
use crate::id::{DtlsRole, StreamId};

/// Packets taken before what the engine answers to them is moved into our queue.
const PACKETS_PER_FLUSH: u32 = 1024;

/// While something is missing, an acknowledgement leaves after so many packets.
const PACKETS_PER_ACK: u32 = 4;

/// A stream reset without an answer is sent again after this long: the engine's shortest timeout
/// at the default clock rate.
const RESET_RETRY: Duration = Duration::from_millis(250);

/// Timers of the engine that may run out before its retransmission timer does.
const TIMERS_TO_SKIP: usize = 3;

/// One SCTP association over one DTLS connection.
pub(in super::super) struct Association {
    config: SctpConfig,
    engine: Option<Engine>,
    clock: Clock,
    gate: Gate,
    connected: bool,
    closed: Option<CloseReason>,
    events: VecDeque<Event>,
    /// Streams reported readable and not yet read empty.
    readable: BTreeSet<StreamId>,
    /// Read out of the engine before the end of the association, which makes it forget. Filled once
    /// at most, so that it holds no more than the engine could.
    left: BTreeMap<StreamId, VecDeque<Message>>,
    /// Bytes written and neither acknowledged nor given up, per stream.
    buffered: BTreeMap<StreamId, usize>,
    buffered_total: usize,
    /// Bytes written that the engine has not sent for the first time; an upper bound.
    unsent: usize,
    unread_chunks: usize,
    read_since_sack: usize,
    since_ack: u32,
    /// Packets taken since the engine was last asked for its own.
    since_flush: u32,
    outgoing: VecDeque<Bytes>,
    opening: Opening,
    reset_retry: Option<Instant>,
    pacer: Pacer,
    stats: Stats,
}

impl Association {
    /// An association over a DTLS connection that is up. The DTLS client sends the INIT; the
    /// server waits for it (RFC 8831 §6.2 leaves it open, and both would be answered).
    pub(in super::super) fn new(
        config: SctpConfig,
        role: DtlsRole,
        now: Instant,
    ) -> Result<Self, Error> {
        let clock = Clock::new(now, config.clock_rate);
        let engine = Engine::new(&config, role, clock.to_engine(now))?;
        let opening = Opening::new(role, config.init_patience, now);
        Ok(Self {
            gate: Gate::new(config.streams),
            pacer: Pacer::new(config.pace, now),
            engine: Some(engine),
            clock,
            config,
            connected: false,
            closed: None,
            events: VecDeque::new(),
            readable: BTreeSet::new(),
            left: BTreeMap::new(),
            buffered: BTreeMap::new(),
            buffered_total: 0,
            unsent: 0,
            unread_chunks: 0,
            read_since_sack: 0,
            since_ack: 0,
            since_flush: 0,
            outgoing: VecDeque::new(),
            opening,
            reset_retry: None,
            stats: Stats::default(),
        })
    }

    /// Runs what is due.
    pub(in super::super) fn handle_timeout(&mut self, now: Instant) {
        self.open(now);
        if self.reset_retry.is_some_and(|at| at <= now) {
            self.outgoing.extend(self.gate.unanswered_resets());
            self.reset_retry = self.gate.resets_open().then(|| now + RESET_RETRY);
        }
        let Some(engine) = self.engine.as_mut() else {
            return;
        };
        let result = engine.handle_timeout(self.clock.to_engine(now));
        self.after_call(result);
    }

    /// Writes a message. It is taken whole; keep [`Association::buffered_total`] below
    /// `SctpConfig::send_buffer` by asking first.
    pub(in super::super) fn write(
        &mut self,
        stream: StreamId,
        ordered: bool,
        reliability: Reliability,
        message: &Message,
        now: Instant,
    ) -> Result<(), Error> {
        let len = message.data.len();
        if len == 0 || len > self.max_message_size() {
            return Err(Error::Length(len));
        }
        self.check_stream(stream)?;
        let reliability = engine_reliability(reliability, |ms| self.clock.millis_to_engine(ms));
        let now = self.clock.to_engine(now);
        let engine = self.engine.as_mut().ok_or(Error::NotConnected)?;
        let result = engine.write(stream, ordered, reliability, message, now);
        self.after_write(result)?;
        *self.buffered.entry(stream).or_default() += len;
        self.buffered_total += len;
        self.unsent += len;
        self.stats.messages_sent += 1;
        self.stats.bytes_sent += u64::try_from(len).unwrap_or_default();
        Ok(())
    }

    /// Readies a stream whose other end may write first. `ordered` as the channel was negotiated:
    /// it decides how gaps are skipped (RFC 3758 §3.6).
    pub(in super::super) fn prepare(
        &mut self,
        stream: StreamId,
        ordered: bool,
    ) -> Result<(), Error> {
        self.check_stream(stream)?;
        let engine = self.engine.as_mut().ok_or(Error::NotConnected)?;
        let result = engine.prepare(stream, ordered);
        self.after_write(result)
    }

    /// Resets our side of a stream after what was written to it; the peer answers by resetting its
    /// side (RFC 8831 §6.7), which [`Event::Reset`] reports. What the peer has sent on the stream
    /// and what still arrives is thrown away.
    pub(in super::super) fn reset(&mut self, stream: StreamId, now: Instant) -> Result<(), Error> {
        self.check_stream(stream)?;
        while self.read(stream).is_some() {}
        let now = self.clock.to_engine(now);
        let engine = self.engine.as_mut().ok_or(Error::NotConnected)?;
        let result = engine.reset(stream, now);
        if result.is_ok() {
            self.gate.divert(stream.0);
        }
        self.after_write(result)
    }

    fn check_stream(&self, stream: StreamId) -> Result<(), Error> {
        match (self.connected, stream.0 < self.streams()) {
            (true, true) => Ok(()),
            (true, false) => Err(Error::Stream(stream)),
            (false, _) => Err(Error::NotConnected),
        }
    }

    fn after_write(&mut self, result: Result<(), Error>) -> Result<(), Error> {
        if let Err(Error::Fault(fault)) = result {
            self.after_call(Err(fault));
        }
        result
    }

    /// The next message of a stream that was reported readable, or `None` when it is read empty.
    /// What arrived before the end of the association can be read after it.
    pub(in super::super) fn read(&mut self, stream: StreamId) -> Option<Message> {
        if let Some(messages) = self.left.get_mut(&stream) {
            let message = messages.pop_front();
            if message.is_some() {
                return message;
            }
            self.left.remove(&stream);
        }
        if !self.readable.contains(&stream) {
            return None;
        }
        let max = self.max_message_size();
        match self.engine.as_mut()?.read(stream, max) {
            Ok(Some((message, chunks))) => {
                self.unread_chunks = self.unread_chunks.saturating_sub(chunks);
                self.read_since_sack += message.data.len();
                self.stats.messages_received += 1;
                self.stats.bytes_received += u64::try_from(message.data.len()).unwrap_or_default();
                // Reading may have let a reset go on that waited for it.
                self.collect();
                Some(message)
            }
            Ok(None) => {
                self.no_longer_readable(stream);
                None
            }
            Err(fault) => {
                self.after_call(Err(fault));
                None
            }
        }
    }

    /// Ends the association with an ABORT (RFC 9260 §9.1), which is still to be sent.
    pub(in super::super) fn abort(&mut self, now: Instant) {
        if let Some(engine) = self.engine.as_mut()
            && engine.abort().is_ok()
        {
            self.outgoing.clear();
            self.flush(now);
        }
        self.events.clear();
        self.left.clear();
        self.closed = None; // whatever the engine called it
        self.close(CloseReason::Local);
    }

    /// The next event.
    pub(in super::super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// When to call [`Association::handle_timeout`], and why.
    pub(in super::super) fn poll_timeout(&self) -> Option<Deadline<Timer>> {
        let pace = self
            .outgoing
            .front()
            .map(|packet| Deadline::new(self.pacer.ready_at(packet.len()), Timer::Pace));
        Deadline::earlier(pace, self.poll_protocol_timeout())
    }

    /// The same without [`Timer::Pace`], for when packets could not be taken anyway.
    pub(in super::super) fn poll_protocol_timeout(&self) -> Option<Deadline<Timer>> {
        let engine = self.engine.as_ref().and_then(Engine::poll_timeout);
        let protocol = engine.map(|at| Deadline::new(self.clock.to_ours(at), Timer::Protocol));
        let opening = self.opening.due().filter(|_| self.engine.is_some());
        let opening = opening.map(|at| Deadline::new(at, Timer::Protocol));
        let protocol = Deadline::earlier(opening, protocol);
        let reset = self
            .reset_retry
            .map(|at| Deadline::new(at, Timer::Protocol));
        Deadline::earlier(reset, protocol)
    }

    /// Whether streams can be used.
    pub(in super::super) fn is_connected(&self) -> bool {
        self.connected
    }

    /// Why it ended, if it did.
    pub(in super::super) fn close_reason(&self) -> Option<CloseReason> {
        self.closed
    }

    /// Bytes written to a stream that were neither acknowledged nor given up.
    pub(in super::super) fn buffered(&self, stream: StreamId) -> usize {
        self.buffered.get(&stream).copied().unwrap_or_default()
    }

    /// The same over all streams.
    pub(in super::super) fn buffered_total(&self) -> usize {
        self.buffered_total
    }

    /// Bytes written that wait for the window, at most.
    pub(in super::super) fn unsent(&self) -> usize {
        self.unsent
    }

    /// Whether a stream reset of ours still waits for the peer's answer.
    pub(in super::super) fn resets_open(&self) -> bool {
        self.gate.resets_open()
    }

    /// Longest message that can be written or read in one piece.
    pub(in super::super) fn max_message_size(&self) -> usize {
        usize::try_from(self.config.max_message_size).unwrap_or(usize::MAX)
    }

    /// The number of streams that can be used in both directions: what we offer, and once
    /// connected the least of what both ends offered (RFC 9260 §5.1.1).
    pub(in super::super) fn streams(&self) -> u16 {
        let agreed = self.engine.as_ref().and_then(Engine::streams);
        agreed.map_or(self.config.streams, |agreed| {
            agreed.min(self.config.streams)
        })
    }

    /// Bytes that may be written and unacknowledged at once.
    pub(in super::super) fn send_buffer(&self) -> usize {
        self.config.send_buffer
    }

    /// Packets of ours waiting for the pacer.
    pub(in super::super) fn queued_packets(&self) -> usize {
        self.outgoing.len()
    }

    /// Chunks of the peer's lying unread.
    pub(in super::super) fn unread_chunks(&self) -> usize {
        self.unread_chunks
    }

    /// Smoothed round trip.
    pub(in super::super) fn round_trip(&self) -> Duration {
        let measured = self
            .engine
            .as_ref()
            .map_or(Duration::ZERO, Engine::round_trip);
        self.clock.span_to_ours(measured)
    }

    /// Counters.
    pub(in super::super) fn stats(&self) -> Stats {
        self.stats
    }
}

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Association")
            .field("connected", &self.connected)
            .field("closed", &self.closed)
            .field("buffered", &self.buffered_total)
            .field("outgoing", &self.outgoing.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::disallowed_methods,
        reason = "a test has to begin at some instant"
    )]

    use super::*;
    use crate::error::{EngineFault, Layer};

    #[test]
    fn a_panic_of_the_engine_ends_the_association_with_its_reason() {
        let now = Instant::now();
        let config = SctpConfig::default();
        let mut association = Association::new(config, DtlsRole::Client, now).expect("sctp");
        let fault = EngineFault { layer: Layer::Sctp };
        association.after_call(Err(fault));
        let reason = CloseReason::Fault(fault);
        assert_eq!(association.poll_event(), Some(Event::Closed(reason)));
        assert_eq!(association.close_reason(), Some(reason));
        association.handle_packet(Bytes::from_static(&[0; 40]), now);
        association.handle_timeout(now);
        assert_eq!(association.poll_event(), None);
        assert_eq!(association.poll_timeout(), None);
    }
}
