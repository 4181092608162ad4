//! All channels of one association.

mod lifecycle;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::state::{Channel, Outgoing};
use super::{
    ChannelInit, CloseCause, DcepMessage, Event, Message, OpenError, SendError, State, Streams,
    Timer,
};
use crate::config::ChannelConfig;
use crate::engine::Deadline;
use crate::id::{ChannelId, DtlsRole, StreamId};
use crate::sctp::{self, CloseReason, Ppid};

/// How long a peer that has taken note of a reset may leave its own side open. Guess; an honest
/// peer answers within a round trip, and one that never knew the channel never does.
const RESET_PATIENCE: Duration = Duration::from_secs(5);

/// The channels of one association.
#[derive(Debug)]
pub struct Channels {
    pub(super) config: ChannelConfig,
    pub(super) role: Option<DtlsRole>,
    connected: bool,
    ended: Option<CloseReason>,
    next_id: u64,
    next_stream: u16,
    pub(super) channels: BTreeMap<ChannelId, Channel>,
    /// What channels were whose [`Event::Closed`] waits to be polled: events before it may be about
    /// them. Filled with `events`; each is taken out with that event.
    pub(super) gone: BTreeMap<ChannelId, (ChannelInit, Option<StreamId>)>,
    pub(super) by_stream: BTreeMap<StreamId, ChannelId>,
    /// Channels the peer has opened, whose names are accounted.
    pub(super) remote: BTreeSet<ChannelId>,
    pub(super) remote_names: usize,
    /// Why a channel that is closing was closed by us.
    pub(super) causes: BTreeMap<ChannelId, CloseCause>,
    /// Channels on which a send was refused since their buffer was full.
    starved: BTreeSet<ChannelId>,
    /// Channels in turn to write.
    pub(super) active: VecDeque<ChannelId>,
    /// Streams with messages that may still be unread.
    pub(super) readable: BTreeSet<StreamId>,
    pub(super) early: BTreeMap<StreamId, sctp::Message>,
    /// Streams to reset that have no channel.
    pub(super) refused: BTreeSet<StreamId>,
    /// Streams whose reset is not settled on both sides: not to be used yet.
    cooling: BTreeSet<StreamId>,
    /// Channels to look at in the next `pump`: opening or closing.
    changing: BTreeSet<ChannelId>,
    pub(super) reassembly_held: usize,
    pub(super) events: VecDeque<Event>,
}

impl Channels {
    /// Without channels, before the association is known.
    pub fn new(config: ChannelConfig) -> Self {
        Self {
            config,
            role: None,
            connected: false,
            ended: None,
            next_id: 0,
            next_stream: 0,
            channels: BTreeMap::new(),
            gone: BTreeMap::new(),
            by_stream: BTreeMap::new(),
            remote: BTreeSet::new(),
            remote_names: 0,
            causes: BTreeMap::new(),
            starved: BTreeSet::new(),
            active: VecDeque::new(),
            readable: BTreeSet::new(),
            early: BTreeMap::new(),
            refused: BTreeSet::new(),
            cooling: BTreeSet::new(),
            changing: BTreeSet::new(),
            reassembly_held: 0,
            events: VecDeque::new(),
        }
    }

    /// What the remote description says: `a=max-message-size` (`None` for "any"), and whether
    /// the peer is a Peerloom peer.
    pub fn set_remote(&mut self, max_message_size: Option<u32>, peerloom_peer: bool) {
        self.config.remote_max_message_size = max_message_size;
        self.config.peerloom_peer = peerloom_peer;
    }

    /// The DTLS role is known: stream ids can be given.
    pub fn start(&mut self, role: DtlsRole) {
        self.role = Some(role);
        self.next_stream = match role {
            DtlsRole::Client => 0,
            DtlsRole::Server => 1,
        };
    }

    /// Makes a channel. It opens when the association is up.
    pub fn open(&mut self, init: ChannelInit) -> Result<ChannelId, OpenError> {
        let longest = usize::from(u16::MAX);
        if init.label.len() > longest || init.protocol.len() > longest {
            return Err(OpenError::NameTooLong);
        }
        if self.ended.is_some() {
            return Err(OpenError::Closed);
        }
        if self.channels.len() >= self.config.max_channels {
            return Err(OpenError::TooMany);
        }
        if let Some(stream) = init.negotiated {
            if stream.0 == u16::MAX {
                return Err(OpenError::BadId(stream));
            }
            if self.by_stream.contains_key(&stream) {
                return Err(OpenError::IdInUse(stream));
            }
        }
        let id = self.insert(init);
        self.changing.insert(id);
        Ok(id)
    }

    pub(super) fn insert(&mut self, init: ChannelInit) -> ChannelId {
        let id = ChannelId(self.next_id);
        self.next_id += 1;
        if let Some(stream) = init.negotiated {
            self.by_stream.insert(stream, id);
        }
        self.channels.insert(id, Channel::new(id, init));
        id
    }

    /// Queues a message.
    pub fn send(&mut self, id: ChannelId, message: Message) -> Result<(), SendError> {
        let limit = self.single_message_limit();
        let max = self.max_message_size();
        let Some(channel) = self
            .channels
            .get_mut(&id)
            .filter(|c| c.state == State::Open)
        else {
            return Err(SendError::NotOpen);
        };
        let len = message.len();
        if len > max {
            return Err(SendError::TooLarge { len, max });
        }
        let cost = channel.queued + channel.queue.len() * super::MESSAGE_OVERHEAD;
        if cost >= self.config.send_buffer {
            self.starved.insert(id);
            return Err(SendError::Full(message));
        }
        channel.push(message, limit);
        self.schedule(id);
        Ok(())
    }

    /// Longest message that goes to SCTP in one piece.
    fn single_message_limit(&self) -> usize {
        let remote = self.config.remote_max_message_size.unwrap_or(u32::MAX);
        usize::try_from(remote.min(self.config.local_max_message_size)).unwrap_or(usize::MAX)
    }

    /// Longest message [`Channels::send`] takes.
    pub fn max_message_size(&self) -> usize {
        if self.config.peerloom_peer {
            self.config
                .max_chunked_message
                .max(self.single_message_limit())
        } else {
            self.single_message_limit()
        }
    }

    /// Closes a channel after what was sent on it; at once while the role is not known, as there
    /// is no stream to reset then.
    pub fn close(&mut self, id: ChannelId) {
        if self.role.is_none() {
            return self.drop_channel(id, None);
        }
        if let Some(channel) = self.channels.get_mut(&id)
            && matches!(channel.state, State::Connecting | State::Open)
        {
            channel.state = State::Closing;
            self.changing.insert(id);
        }
    }

    /// The consumer has taken messages that cost so much: as many may follow.
    pub fn grant(&mut self, id: ChannelId, bytes: usize) {
        if let Some(channel) = self.channels.get_mut(&id) {
            let bytes = isize::try_from(bytes).unwrap_or(isize::MAX);
            channel.credit = channel.credit.saturating_add(bytes);
        }
    }

    /// Moves everything on: takes the association's events, reads, writes, opens and closes.
    pub fn pump(&mut self, association: &mut impl Streams, now: Instant) {
        self.take_events(association);
        self.settle(association, now);
        self.read_all(association);
        self.take_events(association); // reading may complete a reset
        self.settle(association, now);
        self.write_queued(association, now);
        self.settle(association, now);
        self.take_events(association);
        self.wake_starved();
    }

    fn take_events(&mut self, association: &mut impl Streams) {
        while let Some(event) = association.poll_event() {
            match event {
                sctp::Event::Connected => {
                    self.connected = true;
                    self.changing.extend(self.channels.keys());
                }
                sctp::Event::Readable(stream) => {
                    self.readable.insert(stream);
                }
                sctp::Event::Released { stream, bytes } => self.released(stream, bytes),
                sctp::Event::Reset(stream) => self.reset_by_both(stream),
                sctp::Event::Closed(reason) => {
                    self.read_what_is_left(association);
                    self.end(reason);
                }
            }
        }
    }

    fn released(&mut self, stream: StreamId, bytes: usize) {
        let Some(channel) = self
            .by_stream
            .get(&stream)
            .and_then(|id| self.channels.get_mut(id))
        else {
            return;
        };
        let before = channel.buffered();
        channel.release(bytes);
        if before > channel.low_threshold && channel.buffered() <= channel.low_threshold {
            self.events.push_back(Event::BufferedAmountLow(channel.id));
        }
    }

    /// Queues a DCEP message before all else on the channel.
    pub(super) fn control(&mut self, id: ChannelId, message: &DcepMessage) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let data = message.to_bytes().into();
        let message = sctp::Message {
            ppid: Ppid::Dcep,
            data,
        };
        channel.queue.push_front(Outgoing { message, counts: 0 });
        self.schedule(id);
    }

    fn wake_starved(&mut self) {
        let (channels, events) = (&self.channels, &mut self.events);
        let limit = self.config.send_buffer / 2;
        self.starved.retain(|id| {
            let Some(channel) = channels.get(id) else {
                return false;
            };
            let waits = channel.queued >= limit;
            if !waits {
                events.push_back(Event::Writable(*id));
            }
            waits
        });
    }

    /// The next event.
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.events.pop_front();
        if let Some(Event::Closed { channel, .. }) = &event {
            self.gone.remove(channel);
        }
        event
    }

    /// When to call [`Channels::pump`] even if nothing happens, and why.
    pub fn poll_timeout(&self) -> Option<Deadline<Timer>> {
        let closing = self
            .changing
            .iter()
            .filter_map(|id| self.channels.get(id)?.reset_at);
        closing
            .min()
            .map(|at| Deadline::new(at + RESET_PATIENCE, Timer::Closing))
    }

    /// Sets the threshold of [`Event::BufferedAmountLow`].
    pub fn set_buffered_amount_low_threshold(&mut self, id: ChannelId, threshold: usize) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.low_threshold = threshold;
        }
    }

    /// Bytes of messages sent and neither acknowledged nor given up.
    pub fn buffered_amount(&self, id: ChannelId) -> usize {
        self.channels.get(&id).map_or(0, Channel::buffered)
    }

    /// What the channel is, until [`Event::Closed`] is polled.
    pub fn init(&self, id: ChannelId) -> Option<&ChannelInit> {
        let gone = || self.gone.get(&id).map(|(init, _)| init);
        let open = self.channels.get(&id).map(|channel| &channel.init);
        open.or_else(gone)
    }

    /// Its stream, once it has one, until [`Event::Closed`] is polled.
    pub fn stream_id(&self, id: ChannelId) -> Option<StreamId> {
        match self.channels.get(&id) {
            Some(channel) => channel.stream,
            None => self.gone.get(&id)?.1,
        }
    }

    /// Its state.
    pub fn state(&self, id: ChannelId) -> State {
        self.channels
            .get(&id)
            .map_or(State::Closed, |channel| channel.state)
    }

    /// The channels that are not closed.
    pub fn ids(&self) -> impl Iterator<Item = ChannelId> + '_ {
        self.channels.keys().copied()
    }

    /// Whether the association is up.
    pub fn is_connected(&self) -> bool {
        self.connected
    }
}
