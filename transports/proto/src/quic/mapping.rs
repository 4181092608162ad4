//! All lanes of a connection.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use super::inbound::Inbound;
use super::lane::{Lane, Waiting};
use super::{MESSAGE_STREAMS, Notice, Transport, Uni, deadline, wire};
use crate::channel::{MESSAGE_OVERHEAD, Streams};
use crate::config::QuicConfig;
use crate::engine::Deadline;
use crate::id::StreamId;
use crate::sctp::{CloseReason, Error, Event, Message, Ppid, Reliability};

/// First byte of DATA_CHANNEL_OPEN (RFC 8832 §5.1).
const OPEN: u8 = 3;

/// Counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages written.
    pub messages_sent: u64,
    /// Messages read.
    pub messages_received: u64,
    /// Messages in datagrams that were sent.
    pub datagrams_sent: u64,
    /// Messages in datagrams that arrived and were dropped: late, for nobody, or too many.
    pub datagrams_dropped: u64,
    /// Messages that were given up at their deadline.
    pub given_up: u64,
    /// Streams and datagrams that were not understood.
    pub malformed: u64,
}

/// Why [`Mapping::poll_timeout`] wants a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// A message is to be given up.
    GiveUp,
}

/// The streams of messages on one QUIC connection.
#[derive(Debug)]
pub struct Mapping<T> {
    pub(super) transport: T,
    pub(super) config: QuicConfig,
    connected: bool,
    pub(super) lanes: BTreeMap<StreamId, Lane>,
    /// Epochs of ids that were used before. At most as many as there are ids.
    epochs: BTreeMap<StreamId, u16>,
    /// Streams that the peer has opened. Filled as far as [`Transport::allow`] goes.
    pub(super) inbound: BTreeMap<Uni, Inbound>,
    /// Our streams of messages.
    pub(super) flying: BTreeMap<Uni, StreamId>,
    pub(super) deadlines: BTreeSet<(Instant, StreamId, Uni)>,
    /// Lanes with something to write.
    pub(super) pending: BTreeSet<StreamId>,
    /// What the peer may have open.
    pub(super) allowed: u32,
    pub(super) mains: u32,
    pub(super) events: VecDeque<Event>,
    /// Bytes of messages written and not released.
    pub(super) buffered: usize,
    /// Of them what waits, with an overhead for each message.
    pub(super) unsent: usize,
    /// Bytes of messages that have arrived in part.
    pub(super) partial: usize,
    pub(super) datagram_bytes: usize,
    /// Runs of numbers that were given up, over all lanes.
    pub(super) given_up_runs: usize,
    /// Something was written that the transport was not offered.
    unflushed: bool,
    pub(super) stats: Stats,
}

impl<T: Transport> Mapping<T> {
    /// Over a transport whose handshake is perhaps still to come. It allows the peer
    /// [`MESSAGE_STREAMS`] streams at first.
    pub fn new(transport: T, config: QuicConfig) -> Self {
        Self {
            transport,
            config,
            connected: false,
            lanes: BTreeMap::new(),
            epochs: BTreeMap::new(),
            inbound: BTreeMap::new(),
            flying: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            pending: BTreeSet::new(),
            allowed: MESSAGE_STREAMS,
            mains: 0,
            events: VecDeque::new(),
            buffered: 0,
            unsent: 0,
            partial: 0,
            datagram_bytes: 0,
            given_up_runs: 0,
            unflushed: false,
            stats: Stats::default(),
        }
    }

    /// The handshake is done and the peer is who it has to be: data may flow.
    pub fn start(&mut self) {
        if !self.connected {
            self.connected = true;
            self.events.push_back(Event::Connected);
        }
    }

    /// The connection has ended. What has arrived can still be read.
    pub fn end(&mut self, reason: CloseReason) {
        if self.connected {
            self.take_notices();
            self.connected = false;
            self.events.push_back(Event::Closed(reason));
        }
    }

    /// What is below.
    pub fn transport(&self) -> &T {
        &self.transport
    }

    /// What is below, to be fed and drained.
    pub fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Gives up what is overdue.
    pub fn handle_timeout(&mut self, now: Instant) {
        while let Some((at, id, stream)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.pop_first();
            self.give_up(id, stream);
        }
        let waiting: Vec<StreamId> = self.pending.iter().copied().collect();
        for id in waiting {
            self.drop_overdue(id, now);
        }
    }

    /// When to call [`Mapping::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Deadline<Timer>> {
        let front = |id| self.lanes.get(id)?.out.waiting.front()?.deadline;
        let waiting = self.pending.iter().filter_map(front).min();
        let flying = self.deadlines.first().map(|(at, ..)| *at);
        let at = [waiting, flying].into_iter().flatten().min()?;
        Some(Deadline::new(at, Timer::GiveUp))
    }

    /// Counters.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// Bytes of messages that have arrived in part, and of datagrams that wait to be read.
    pub fn held(&self) -> usize {
        self.partial + self.datagram_bytes
    }

    /// The lane of an id, made when it is not there.
    pub(super) fn lane(&mut self, id: StreamId) -> Option<&mut Lane> {
        if id.0 >= self.config.streams {
            return None;
        }
        let epoch = self.epoch(id);
        let lane = self.lanes.entry(id).or_insert_with(|| Lane {
            epoch,
            ..Lane::default()
        });
        Some(lane)
    }

    /// Which use of an id the present or next one is.
    pub(super) fn epoch(&self, id: StreamId) -> u16 {
        self.epochs.get(&id).copied().unwrap_or_default()
    }

    /// Bytes of messages left, or will not.
    pub(super) fn release(&mut self, stream: StreamId, bytes: usize) {
        if bytes > 0 {
            self.buffered = self.buffered.saturating_sub(bytes);
            self.events.push_back(Event::Released { stream, bytes });
        }
    }

    pub(super) fn take_notices(&mut self) {
        let mut room = false;
        while let Some(notice) = self.transport.poll_notice() {
            match notice {
                Notice::Opened => self.accept(),
                Notice::Readable(stream) => self.readable(stream),
                Notice::Finished(stream) => self.finished(stream),
                Notice::Stopped(stream) => self.stopped(stream),
                Notice::Datagrams => self.take_datagrams(),
                Notice::Room => room = true,
            }
        }
        if room {
            self.flush_all();
        }
    }

    /// Both sides have ended and all is read: the id is free for its next use.
    pub(super) fn close_lane(&mut self, id: StreamId) {
        let Some(lane) = self.lanes.remove(&id) else {
            return;
        };
        self.epochs.insert(id, lane.epoch.wrapping_add(1));
        self.partial = self.partial.saturating_sub(lane.main.buffer.len());
        self.given_up_runs -= lane.messages.given_up.runs();
        let datagrams: usize = lane
            .datagrams
            .iter()
            .map(|it| it.data.len() + MESSAGE_OVERHEAD)
            .sum();
        self.datagram_bytes = self.datagram_bytes.saturating_sub(datagrams);
        self.pending.remove(&id);
        self.forget_inbound(id);
        self.events.push_back(Event::Reset(id));
        self.unpark(id);
    }
}

impl<T: Transport> Streams for Mapping<T> {
    fn poll_event(&mut self) -> Option<Event> {
        if self.connected {
            self.take_notices();
        }
        self.events.pop_front()
    }

    fn read(&mut self, stream: StreamId) -> Option<Message> {
        let message = self.read_next(stream);
        if message.is_some() {
            self.stats.messages_received += 1;
        }
        message
    }

    fn write(
        &mut self,
        stream: StreamId,
        ordered: bool,
        reliability: Reliability,
        message: &Message,
        now: Instant,
    ) -> Result<(), Error> {
        let len = message.data.len();
        if !self.connected {
            return Err(Error::NotConnected);
        }
        if len == 0 || len > usize::try_from(self.config.max_message_size).unwrap_or(usize::MAX) {
            return Err(Error::Length(len));
        }
        let most = self.transport.max_datagram();
        let patience = deadline(reliability, self.transport.round_trip());
        let lane = self.lane(stream).ok_or(Error::Stream(stream))?;
        if lane.ending || lane.ended {
            return Err(Error::Closing(stream));
        }
        if message.ppid == Ppid::Dcep && message.data.first() == Some(&OPEN) {
            lane.unacknowledged = true;
        }
        let reliable = reliability == Reliability::Reliable;
        let main = lane.unacknowledged || message.ppid == Ppid::Dcep || (ordered && reliable);
        if main {
            let before = lane.out.unwritten();
            lane.out.append(message.ppid, &message.data, !reliable);
            let added = lane.out.unwritten() - before;
            self.unsent += added;
        } else {
            let fits = wire::Datagram::HEAD + len <= most;
            let datagram = reliability == Reliability::MaxRetransmits(0)
                && fits
                && !(ordered && lane.out.has_streams());
            lane.out.waiting.push_back(Waiting {
                ppid: message.ppid,
                data: message.data.clone(),
                ordered,
                datagram,
                deadline: patience.filter(|_| !datagram).map(|after| now + after),
            });
            self.unsent += len + MESSAGE_OVERHEAD;
        }
        self.buffered += len;
        self.stats.messages_sent += 1;
        self.pending.insert(stream);
        self.unflushed = true;
        Ok(())
    }

    fn prepare(&mut self, stream: StreamId, _: bool) -> Result<(), Error> {
        if !self.connected {
            return Err(Error::NotConnected);
        }
        self.lane(stream).map(|_| ()).ok_or(Error::Stream(stream))
    }

    fn set_weight(&mut self, _: StreamId, _: u16) {
        // What the channels hand over is weighted; the transport serves its streams in turn.
    }

    fn reset(&mut self, stream: StreamId, _: Instant) -> Result<(), Error> {
        if !self.connected {
            return Err(Error::NotConnected);
        }
        let lane = self.lane(stream).ok_or(Error::Stream(stream))?;
        lane.ending = true;
        self.pending.insert(stream);
        self.flush(stream);
        Ok(())
    }

    fn advance(&mut self, _: Instant) {
        if self.connected {
            self.take_notices();
            if std::mem::take(&mut self.unflushed) {
                self.flush_all();
            }
        }
    }

    fn is_connected(&self) -> bool {
        self.connected
    }

    fn resets_open(&self) -> bool {
        self.lanes.values().any(|lane| lane.ending || lane.ended)
    }

    fn streams(&self) -> u16 {
        self.config.streams
    }

    fn unsent(&self) -> usize {
        self.unsent
    }

    fn buffered_total(&self) -> usize {
        self.buffered
    }

    fn send_buffer(&self) -> usize {
        self.config.send_buffer
    }

    fn messages_sent(&self) -> u64 {
        self.stats.messages_sent
    }
}
