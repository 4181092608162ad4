//! The association: its state, and the parts tied together.

mod intake;
mod opening;
mod output;
mod state;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::time::{Duration, Instant};

use aws_lc_rs::rand::SecureRandom;
use bytes::Bytes;

use super::super::{CloseReason, Error, Event, Message, Ppid, Reliability, Stats, Timer};
use super::cookie::Jar;
use super::forward::Forward;
use super::handshake::{Endpoint, Features};
use super::pmtu::PathMtu;
use super::receive::Receiver;
use super::reconfig::{Effect, Reconfig};
use super::send::{Limit, Outgoing, RTO_MAX, Sender};
use super::wire::{Address, cause, kind};
use crate::config::SctpConfig;
use crate::engine::Deadline;
use crate::id::{DtlsRole, StreamId};
use crate::sctp::LONGEST_PACKET;

/// Chunks beside data that wait to be sent. Filled by answers to the peer (heartbeats, errors,
/// handshake); beyond it answers are dropped, as if lost.
pub(super) const MAX_CONTROLS: usize = 64;

/// Acknowledgements made while a batch of packets is being taken. Filled as long as something is
/// missing; at the limit one more leaves after the batch.
const MAX_EARLY_ACKS: usize = 4;

/// While something is missing, an acknowledgement leaves after so many packets.
const PACKETS_PER_EARLY_ACK: u32 = 4;

/// The port of data channels (RFC 8841 §5), in both fields.
const PORTS: [u8; 4] = [0x13, 0x88, 0x13, 0x88];

/// The state (RFC 9260 §4), with the chunk that is repeated until the peer answers.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// The peer is expected to begin; if it has not by then, we do.
    Closed(Option<Instant>),
    /// INIT was sent.
    CookieWait(Repeat),
    /// COOKIE ECHO was sent.
    CookieEchoed(Repeat),
    Established,
    /// The peer wants to end it; what is left is sent first.
    ShutdownReceived,
    /// SHUTDOWN ACK was sent.
    ShutdownAckSent(Repeat),
    Ended(CloseReason),
}

/// A chunk that is repeated until it is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Repeat {
    control: Control,
    sent_at: Instant,
    due: Instant,
    attempts: u32,
}

/// A chunk beside data that waits to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Control {
    kind: u8,
    flags: u8,
    value: Bytes,
    /// Verification tag, if it is not the peer's.
    tag: Option<u32>,
}

impl Control {
    fn new(kind: u8, value: impl Into<Bytes>) -> Self {
        Self {
            kind,
            flags: 0,
            value: value.into(),
            tag: None,
        }
    }

    /// Whether it has a packet for itself (RFC 9260 §6.10), or as good as.
    fn is_alone(&self) -> bool {
        matches!(
            self.kind,
            kind::INIT | kind::INIT_ACK | kind::COOKIE_ECHO | kind::SHUTDOWN_COMPLETE
        )
    }
}

/// What an association needs by chance.
#[derive(Clone, Copy)]
pub(in super::super) struct Random {
    /// Verification tag; not zero.
    pub(in super::super) tag: u32,
    pub(in super::super) first_tsn: u32,
    pub(in super::super) cookie_key: [u8; 32],
}

impl Random {
    /// From a source of randomness.
    pub(in super::super) fn draw(source: &dyn SecureRandom) -> Result<Self, Error> {
        let mut words = [0; 8];
        let mut cookie_key = [0; 32];
        let drawn = source
            .fill(&mut words)
            .and_then(|()| source.fill(&mut cookie_key));
        drawn.map_err(|_| Error::NotConnected)?;
        let [a, b, c, d, rest @ ..] = words;
        Ok(Self {
            tag: u32::from_be_bytes([a, b, c, d]),
            first_tsn: u32::from_be_bytes(rest),
            cookie_key,
        })
    }
}

/// One SCTP association over one DTLS connection.
pub(in super::super) struct Association {
    config: SctpConfig,
    begun: Instant,
    state: State,
    local: Endpoint,
    address: Address,
    /// The tag in the cookie that made the association.
    peer_tag: u32,
    jar: Jar,
    /// Both ends take packets without a checksum, and I-DATA.
    zero_checksum: bool,
    interleaving: bool,
    /// What both ends agreed on, once they did (RFC 9260 §5.1.1).
    streams: Option<u16>,
    sender: Sender,
    receiver: Receiver,
    reconfig: Reconfig,
    forward: Forward,
    mtu: PathMtu,
    /// Something was given up or acknowledged since the peer was last told what to skip.
    look_for_skips: bool,
    controls: VecDeque<Control>,
    early_acks: VecDeque<Bytes>,
    /// The pacer holds something back until then.
    paced_until: Option<Instant>,
    /// Packets are cut from this, so that not each has an allocation of its own.
    pool: bytes::BytesMut,
    /// Bytes of the next one.
    pool_size: usize,
    buffered: BTreeMap<u16, usize>,
    buffered_total: usize,
    events: VecDeque<Event>,
    stats: Stats,
}

impl Association {
    /// An association over a DTLS connection that is up.
    pub(in super::super) fn new(
        config: SctpConfig,
        role: DtlsRole,
        random: Random,
        now: Instant,
    ) -> Self {
        let local = Endpoint {
            tag: random.tag.max(1),
            window: config.receive_window,
            outbound: config.streams,
            inbound: config.streams,
            first_tsn: random.first_tsn,
            features: Features {
                forward_tsn: true,
                interleaving: config.interleaving,
                zero_checksum: config.zero_checksum,
                padding: true,
            },
        };
        let limit = usize::try_from(config.max_message_size).unwrap_or(usize::MAX);
        let patience = config.init_patience.map(|patience| now + patience);
        let mut association = Self {
            begun: now,
            state: State::Closed(patience),
            address: Address {
                ports: PORTS,
                tag: 0,
            },
            peer_tag: 0,
            jar: Jar::new(random.cookie_key),
            zero_checksum: false,
            interleaving: false,
            streams: None,
            sender: Sender::new(local.first_tsn, config.congestion, config.pace, now),
            receiver: Receiver::new(config.receive_window, config.streams, limit),
            reconfig: Reconfig::new(local.first_tsn, 0, config.streams),
            forward: Forward::default(),
            mtu: PathMtu::new(config.max_packet.min(LONGEST_PACKET)),
            look_for_skips: false,
            controls: VecDeque::new(),
            early_acks: VecDeque::new(),
            paced_until: None,
            pool: bytes::BytesMut::new(),
            pool_size: 0,
            buffered: BTreeMap::new(),
            buffered_total: 0,
            events: VecDeque::new(),
            stats: Stats::default(),
            local,
            config,
        };
        if role == DtlsRole::Client {
            association.begin(now);
        }
        association
    }

    fn is_established(&self) -> bool {
        matches!(self.state, State::Established)
    }

    /// Writes a message.
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
        self.prepare(stream)?;
        self.sender.push(Outgoing {
            stream: stream.0,
            data: message.data.clone(),
            ppid: message.ppid.number(),
            ordered,
            limit: limit_of(reliability, now),
        });
        *self.buffered.entry(stream.0).or_default() += len;
        self.buffered_total += len;
        self.stats.messages_sent += 1;
        self.stats.bytes_sent += u64::try_from(len).unwrap_or_default();
        Ok(())
    }

    /// Whether the stream can be written to.
    pub(in super::super) fn prepare(&mut self, stream: StreamId) -> Result<(), Error> {
        self.check_stream(stream)?;
        if self.reconfig.is_closing(stream.0) {
            return Err(Error::Closing(stream));
        }
        Ok(())
    }

    fn check_stream(&self, stream: StreamId) -> Result<(), Error> {
        match (self.is_established(), stream.0 < self.streams()) {
            (true, true) => Ok(()),
            (true, false) => Err(Error::Stream(stream)),
            (false, _) => Err(Error::NotConnected),
        }
    }

    /// The share of the stream.
    pub(in super::super) fn set_weight(&mut self, stream: StreamId, weight: u16) {
        self.sender.set_weight(stream.0, weight);
    }

    /// Resets our side of a stream after what was written to it.
    pub(in super::super) fn reset(&mut self, stream: StreamId) -> Result<(), Error> {
        self.check_stream(stream)?;
        self.receiver.discard(stream.0);
        self.reconfig.reset(stream.0);
        Ok(())
    }

    /// The next message of a stream.
    pub(in super::super) fn read(&mut self, stream: StreamId) -> Option<Message> {
        let message = self.receiver.read(stream.0);
        if self.reconfig.owes_reset(stream.0) && !self.receiver.has_unread(stream.0) {
            self.reconfig.reset(stream.0);
        }
        let message = message?;
        self.stats.messages_received += 1;
        self.stats.bytes_received += u64::try_from(message.data.len()).unwrap_or_default();
        Some(Message {
            ppid: Ppid::from_number(message.ppid),
            data: message.data,
        })
    }

    /// What the peer's request or answer means for the streams.
    fn apply(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Restart(stream) => {
                    self.receiver.restart(stream);
                    if self.reconfig.owes_reset(stream) && !self.receiver.has_unread(stream) {
                        self.reconfig.reset(stream);
                    }
                }
                Effect::Renew(stream) => self.renew(stream),
                Effect::More { number, count } => {
                    let granted = self.receiver.add_streams(count, self.config.streams);
                    self.reconfig.answer_more(number, granted);
                }
            }
        }
    }

    fn renew(&mut self, stream: u16) {
        self.release_all();
        self.sender.renew(stream);
        let left = self.buffered.remove(&stream).unwrap_or_default();
        self.buffered_total -= left;
        self.events.push_back(Event::Reset(StreamId(stream)));
        self.receiver.renew(stream);
        self.report_readable();
    }

    fn report_readable(&mut self) {
        for stream in self.receiver.take_readable() {
            self.events.push_back(Event::Readable(StreamId(stream)));
        }
    }

    /// Tells of bytes that were acknowledged or given up.
    fn release_all(&mut self) {
        let (buffered, total) = (&mut self.buffered, &mut self.buffered_total);
        let events = &mut self.events;
        for (stream, bytes) in self.sender.take_released() {
            if let Some(left) = buffered.get_mut(&stream) {
                let bytes = bytes.min(*left);
                *left -= bytes;
                *total -= bytes;
            }
            let stream = StreamId(stream);
            match events.back_mut() {
                Some(Event::Released {
                    stream: last,
                    bytes: sum,
                }) if *last == stream => {
                    *sum += bytes;
                }
                Some(_) | None => events.push_back(Event::Released { stream, bytes }),
            }
        }
    }

    /// Ends the association with an ABORT (RFC 9260 §9.1), which is still to be sent.
    pub(in super::super) fn abort(&mut self) {
        self.events.clear();
        self.end(CloseReason::Local, Some(cause::USER_INITIATED));
    }

    /// The peer has broken the protocol.
    fn violated(&mut self, why: u16) {
        tracing::debug!(why, "SCTP protocol violation");
        self.end(CloseReason::Protocol, Some(why));
    }

    /// Ends the association, telling the peer the cause if there is one to tell.
    fn end(&mut self, reason: CloseReason, why: Option<u16>) {
        let ended = matches!(self.state, State::Ended(_));
        let known = self.address.tag != 0;
        self.state = State::Ended(reason);
        if ended {
            self.events.push_back(Event::Closed(reason));
            return;
        }
        self.controls.clear();
        if let Some(why) = why.filter(|_| known) {
            let mut value = why.to_be_bytes().to_vec();
            value.extend([0, 4]);
            self.controls.push_back(Control::new(kind::ABORT, value));
        }
        self.early_acks.clear();
        self.paced_until = None;
        self.buffered.clear();
        self.buffered_total = 0;
        let control = self.config.congestion;
        self.sender = Sender::new(self.local.first_tsn, control, self.config.pace, self.begun);
        // What arrived before the peer ended it can still be read.
        if !reason.is_by_peer() {
            self.receiver = Receiver::new(0, 0, 0);
        }
        self.reconfig = Reconfig::new(0, 0, 0);
        self.forward = Forward::default();
        // The streams go with it; one event says so.
        self.events
            .retain(|event| !matches!(event, Event::Reset(_)));
        self.events.push_back(Event::Closed(reason));
    }

    /// The next event.
    pub(in super::super) fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Runs what is due.
    pub(in super::super) fn handle_timeout(&mut self, now: Instant) {
        match &self.state {
            State::Closed(Some(at)) if *at <= now => self.begin(now),
            State::CookieWait(repeat)
            | State::CookieEchoed(repeat)
            | State::ShutdownAckSent(repeat)
                if repeat.due <= now =>
            {
                self.repeat(now);
            }
            State::Closed(_)
            | State::CookieWait(_)
            | State::CookieEchoed(_)
            | State::ShutdownAckSent(_)
            | State::Established
            | State::ShutdownReceived
            | State::Ended(_) => {}
        }
        if matches!(self.state, State::Ended(_)) {
            return;
        }
        self.receiver.handle_timeout(now);
        self.sender.handle_timeout(now);
        self.mtu.handle_timeout(now);
        self.watch_for_black_hole(now);
        let timeout = self.sender.timeout();
        self.reconfig.handle_timeout(timeout, RTO_MAX, now);
        self.forward.handle_timeout(timeout, now);
        self.look_for_skips = true;
        self.release_all();
    }

    /// Packets that got longer may not arrive any more.
    fn watch_for_black_hole(&mut self, now: Instant) {
        let (arrived, lost) = self.sender.take_beyond_base();
        self.mtu.note(arrived, lost, now);
    }

    /// When to call [`Association::handle_timeout`] or to poll for packets, and why.
    pub(in super::super) fn poll_timeout(&self) -> Option<Deadline<Timer>> {
        let pace = self.paced_until.map(|at| Deadline::new(at, Timer::Pace));
        Deadline::earlier(pace, self.poll_protocol_timeout())
    }

    /// The same without [`Timer::Pace`].
    pub(in super::super) fn poll_protocol_timeout(&self) -> Option<Deadline<Timer>> {
        let state = match &self.state {
            State::Closed(at) => *at,
            State::CookieWait(repeat)
            | State::CookieEchoed(repeat)
            | State::ShutdownAckSent(repeat) => Some(repeat.due),
            State::Established | State::ShutdownReceived => None,
            State::Ended(_) => return None,
        };
        let timeout = self.sender.timeout();
        let all = [
            state,
            self.receiver.poll_timeout(),
            self.sender.poll_timeout(),
            self.reconfig.poll_timeout(timeout, RTO_MAX),
            self.forward.poll_timeout(timeout),
            self.mtu.poll_timeout().filter(|_| self.is_established()),
        ];
        let first = all.into_iter().flatten().min();
        first.map(|at| Deadline::new(at, Timer::Protocol))
    }
}

impl fmt::Debug for Association {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Association")
            .field("state", &self.state)
            .field("sender", &self.sender)
            .field("buffered", &self.buffered_total)
            .field("controls", &self.controls.len())
            .finish_non_exhaustive()
    }
}

fn limit_of(reliability: Reliability, now: Instant) -> Limit {
    match reliability {
        Reliability::Reliable => Limit::RELIABLE,
        Reliability::MaxRetransmits(n) => Limit {
            transmissions: Some(u32::from(n) + 1),
            expires: None,
        },
        Reliability::MaxLifetime(millis) => Limit {
            transmissions: None,
            expires: Some(now + Duration::from_millis(u64::from(millis))),
        },
    }
}
