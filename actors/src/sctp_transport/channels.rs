//! The data channel engine and the channels' actors behind it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Instant;

use peerloom_transports::proto::channel::{
    ChannelInit, Channels, CloseCause, Event, Reliability, SendError, Streams,
};
use peerloom_transports::proto::config::ChannelConfig;
use peerloom_transports::proto::id::{ChannelId, DtlsRole, StreamId};
use peerloom_transports::proto::jsep::StartSctp;
use peerloom_transports::proto::sctp::CloseReason;
use peerloom_transports::proto::sdp::Capabilities;

use super::{ChannelKey, ChannelOutput, ChannelRequest, Incoming, OpenChannel};
use crate::cause::Cause;
use crate::data_channel::{ChannelInput, DataChannelInit, Message};
use crate::outlet::{Absorb as _, Outlet};

/// What the connection has to know.
#[derive(Debug)]
pub(crate) enum Report {
    /// The peer has opened a channel.
    Incoming(Incoming),
    /// The association is over.
    Ended(CloseReason),
}

/// The channel engine and the links to the channels' actors.
pub(crate) struct Links {
    engine: Channels,
    started: bool,
    ids: BTreeMap<ChannelKey, ChannelId>,
    links: BTreeMap<ChannelId, Link>,
    /// Links whose buffered amount may have changed.
    busy: BTreeSet<ChannelId>,
    /// Drained by the actor in every turn.
    reports: VecDeque<Report>,
    /// What a channel's failure is to those who hold it.
    cause: fn(String) -> Cause,
}

/// One channel's actor.
struct Link {
    key: ChannelKey,
    /// `None` until the actor of a channel that the peer has opened is there.
    outlet: Option<Outlet<ChannelInput>>,
    /// Kept for it: bounded by the channel's initial credit, in few batches.
    early: Vec<ChannelInput>,
    /// The rest of the batch under way.
    pending: VecDeque<Message>,
    /// The bytes of that batch, until its end is told.
    batch: Option<usize>,
    /// The buffered amount told last.
    buffered: usize,
}

impl Link {
    fn new(key: ChannelKey, outlet: Option<Outlet<ChannelInput>>) -> Link {
        Link {
            key,
            outlet,
            early: Vec::new(),
            pending: VecDeque::new(),
            batch: None,
            buffered: 0,
        }
    }

    fn tell(&mut self, input: ChannelInput) {
        if let Some(outlet) = &mut self.outlet {
            // A dead actor is reported by its death.
            return outlet.post_merged(input);
        }
        let left = match self.early.last_mut() {
            Some(last) => last.absorb(input),
            None => Some(input),
        };
        self.early.extend(left);
    }
}

fn set_remote(engine: &mut Channels, start: &StartSctp) {
    let max = start
        .remote_max_message_size
        .map(|max| u32::try_from(max).unwrap_or(u32::MAX));
    let chunks = start
        .peerloom
        .as_ref()
        .is_some_and(|peer| peer.has(Capabilities::CHUNK));
    engine.set_remote(max, chunks);
}

/// The longest message that channels with these settings send to such a peer ("update the data
/// max message size" of webrtc-pc section 6.1.1.2); `None` for any.
pub(crate) fn max_message_size(config: &ChannelConfig, start: &StartSctp) -> Option<u64> {
    let mut engine = Channels::new(config.clone());
    set_remote(&mut engine, start);
    let max = engine.max_message_size();
    u64::try_from(max).ok().filter(|_| max != usize::MAX)
}

impl Links {
    pub(crate) fn new(config: ChannelConfig, cause: fn(String) -> Cause) -> Links {
        Links {
            engine: Channels::new(config),
            started: false,
            ids: BTreeMap::new(),
            links: BTreeMap::new(),
            busy: BTreeSet::new(),
            reports: VecDeque::new(),
            cause,
        }
    }

    pub(crate) fn set_remote(&mut self, start: &StartSctp) {
        set_remote(&mut self.engine, start);
    }

    pub(crate) fn start(&mut self, role: DtlsRole) {
        self.started = true;
        self.engine.start(role);
    }

    /// Whether data may flow.
    pub(crate) fn is_started(&self) -> bool {
        self.started
    }

    pub(crate) fn open(&mut self, open: OpenChannel) {
        let mut outlet = Outlet::keeping(open.channel);
        match open.key {
            ChannelKey::Local(_) => match self.engine.open(to_engine(open.label, &open.init)) {
                Ok(id) => {
                    self.ids.insert(open.key, id);
                    self.links.insert(id, Link::new(open.key, Some(outlet)));
                }
                Err(error) => outlet.post(ChannelInput::Closed((self.cause)(error.to_string()))),
            },
            ChannelKey::Remote(_) => self.attach(open.key, outlet),
        }
    }

    /// The actor of a channel that the peer has opened is there.
    fn attach(&mut self, key: ChannelKey, mut outlet: Outlet<ChannelInput>) {
        let link = self.ids.get(&key).and_then(|id| self.links.get_mut(id));
        let Some(link) = link else {
            outlet.post(ChannelInput::Closed(Cause::ClosedByPeer));
            return;
        };
        link.outlet = Some(outlet);
        for input in std::mem::take(&mut link.early) {
            link.tell(input);
        }
        self.forget_if_closed(key);
    }

    /// A channel's actor is dead: what it had is lost, the stream is reset.
    pub(crate) fn abandon(&mut self, key: ChannelKey) {
        if let Some(id) = self.ids.remove(&key) {
            self.links.remove(&id);
            self.close(id);
        }
    }

    pub(crate) fn request(&mut self, request: ChannelRequest) {
        let Some(&id) = self.ids.get(&request.key) else {
            return;
        };
        match request.output {
            ChannelOutput::Write(messages) => {
                if let Some(link) = self.links.get_mut(&id) {
                    link.batch = Some(messages.iter().map(Message::len).sum());
                    link.pending.extend(messages);
                    self.write(id);
                }
            }
            ChannelOutput::Credit(bytes) => self.engine.grant(id, bytes),
            ChannelOutput::Close => self.close(id),
        }
    }

    fn close(&mut self, id: ChannelId) {
        self.engine.close(id);
        if !self.started {
            self.take_events();
        }
    }

    /// Whether something was written.
    fn take_events(&mut self) -> bool {
        let mut wrote = false;
        while let Some(event) = self.engine.poll_event() {
            wrote |= self.take_event(event);
        }
        wrote
    }

    /// Moves the engine on and tells the channels what has happened.
    pub(crate) fn pump(&mut self, association: &mut impl Streams, now: Instant) {
        self.engine.pump(association, now);
        if self.take_events() {
            self.engine.pump(association, now);
        }
        self.tell_progress();
    }

    /// Nothing is held back any more from channels that do not read.
    pub(crate) fn grant_all(&mut self) {
        for id in self.links.keys() {
            self.engine.grant(*id, usize::MAX);
        }
    }

    /// Whether each channel's actor is there.
    pub(crate) fn all_attached(&self) -> bool {
        self.links.values().all(|link| link.outlet.is_some())
    }

    /// When to pump even if nothing happens.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.engine.poll_timeout().map(|deadline| deadline.at)
    }

    pub(crate) fn poll_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    /// Whether something was written.
    fn take_event(&mut self, event: Event) -> bool {
        match event {
            Event::Opened(id) => self.opened(id),
            Event::Accepted(id) => self.accepted(id),
            Event::Messages { channel, messages } => self.deliver(channel, messages),
            Event::Writable(id) => return self.write(id),
            Event::Closing(id) => self.tell(id, ChannelInput::Closing),
            Event::Closed { channel, cause } => self.closed(channel, cause),
            Event::AssociationClosed(reason) => self.reports.push_back(Report::Ended(reason)),
            // The channel's own pipe knows its threshold.
            Event::BufferedAmountLow(_) => {}
        }
        false
    }

    fn tell(&mut self, id: ChannelId, input: ChannelInput) {
        if let Some(link) = self.links.get_mut(&id) {
            link.tell(input);
        }
    }

    fn opened(&mut self, id: ChannelId) {
        let Some(stream) = self.engine.stream_id(id) else {
            return;
        };
        let max_message_size = self.engine.max_message_size();
        self.tell(
            id,
            ChannelInput::Opened {
                id: stream.0,
                max_message_size,
            },
        );
    }

    fn accepted(&mut self, id: ChannelId) {
        let Some(init) = self.engine.init(id).cloned() else {
            return;
        };
        let key = ChannelKey::Remote(id.0);
        self.ids.insert(key, id);
        self.links.insert(id, Link::new(key, None));
        self.opened(id);
        let label = init.label.clone();
        let id = self.engine.stream_id(id).map(|stream| stream.0);
        let init = DataChannelInit {
            id,
            ..from_engine(init)
        };
        let max_message_size = self.engine.max_message_size();
        self.reports.push_back(Report::Incoming(Incoming {
            key,
            label,
            init,
            max_message_size,
        }));
    }

    fn deliver(&mut self, id: ChannelId, messages: Vec<Message>) {
        match self.links.get_mut(&id) {
            Some(link) => link.tell(ChannelInput::Delivered(messages)),
            // Nobody reads this channel any more.
            None => self
                .engine
                .grant(id, messages.iter().map(Message::cost).sum()),
        }
    }

    /// Gives the engine what it takes of the batch under way; whether it took something.
    fn write(&mut self, id: ChannelId) -> bool {
        let Some(link) = self.links.get_mut(&id) else {
            return false;
        };
        let mut wrote = false;
        while let Some(message) = link.pending.pop_front() {
            match self.engine.send(id, message) {
                Ok(()) => wrote = true,
                Err(SendError::Full(message)) => {
                    link.pending.push_front(message);
                    break;
                }
                // Its sender is told by the channel's state.
                Err(error) => tracing::debug!(%error, "message not sent"),
            }
        }
        self.busy.insert(id);
        wrote
    }

    fn tell_progress(&mut self) {
        let engine = &self.engine;
        let links = &mut self.links;
        self.busy.retain(|id| {
            let Some(link) = links.get_mut(id) else {
                return false;
            };
            if !link.pending.is_empty() {
                return true;
            }
            let buffered = engine.buffered_amount(*id);
            let finished = link.batch.take();
            if finished.is_some() || buffered != link.buffered {
                link.buffered = buffered;
                let accepted = finished.unwrap_or_default();
                link.tell(ChannelInput::Progress { accepted, buffered });
            }
            buffered > 0
        });
    }

    fn closed(&mut self, id: ChannelId, cause: Option<CloseCause>) {
        let cause = match cause {
            None => Cause::ClosedByPeer,
            Some(CloseCause::Association(reason)) => cause_of(reason),
            Some(cause) => (self.cause)(cause.to_string()),
        };
        self.tell(id, ChannelInput::Closed(cause));
        let key = self.links.get(&id).map(|link| link.key);
        if let Some(key) = key {
            self.forget_if_closed(key);
        }
    }

    /// Forgets a closed channel, unless its actor has still to come for what it missed.
    fn forget_if_closed(&mut self, key: ChannelKey) {
        let Some(&id) = self.ids.get(&key) else {
            return;
        };
        let attached = self
            .links
            .get(&id)
            .is_some_and(|link| link.outlet.is_some());
        let over = !self.started || self.engine.stream_id(id).is_none();
        if attached && over {
            self.ids.remove(&key);
            self.links.remove(&id);
        }
    }
}

/// What the end of the association is to the connection and its channels.
pub(crate) fn cause_of(reason: CloseReason) -> Cause {
    if let CloseReason::Aborted(code) = reason {
        Cause::SctpAbort(code.map(|code| code.0))
    } else if reason.is_by_peer() {
        Cause::ClosedByPeer
    } else {
        Cause::Sctp(reason.to_string())
    }
}

fn to_engine(label: String, init: &DataChannelInit) -> ChannelInit {
    let reliability = match (init.max_retransmits, init.max_packet_life_time) {
        (Some(times), _) => Reliability::MaxRetransmits(times),
        (None, Some(millis)) => Reliability::MaxLifetime(millis),
        (None, None) => Reliability::Reliable,
    };
    ChannelInit {
        label,
        protocol: init.protocol.clone(),
        ordered: init.ordered,
        reliability,
        priority: init.priority,
        negotiated: init.id.filter(|_| init.negotiated).map(StreamId),
    }
}

fn from_engine(init: ChannelInit) -> DataChannelInit {
    let (max_retransmits, max_packet_life_time) = match init.reliability {
        Reliability::Reliable => (None, None),
        Reliability::MaxRetransmits(times) => (Some(times), None),
        Reliability::MaxLifetime(millis) => (None, Some(millis)),
    };
    DataChannelInit {
        ordered: init.ordered,
        max_retransmits,
        max_packet_life_time,
        protocol: init.protocol,
        negotiated: false,
        id: None,
        priority: init.priority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix::{Actor, Handler};

    struct Reader(tokio::sync::mpsc::Sender<usize>);

    impl Actor for Reader {
        type Context = actix::Context<Self>;
    }

    impl Handler<ChannelInput> for Reader {
        type Result = ();
        fn handle(&mut self, input: ChannelInput, _: &mut Self::Context) {
            if let ChannelInput::Delivered(messages) = input {
                self.0.try_send(messages.len()).expect("the test listens");
            }
        }
    }

    #[test]
    fn many_messages_delivered_one_by_one_all_reach_their_channel() {
        actix::System::new().block_on(async {
            let all = 20_000;
            let (seen, mut listen) = tokio::sync::mpsc::channel(all);
            let reader = Reader(seen).start();
            let outlet = Outlet::keeping(reader.recipient());
            let mut link = Link::new(ChannelKey::Remote(1), Some(outlet));
            for _ in 0..all {
                link.tell(ChannelInput::Delivered(vec![Message::from("x")]));
                let (accepted, buffered) = (0, 0);
                link.tell(ChannelInput::Progress { accepted, buffered });
            }
            drop(link); // what is kept goes on its way; then the reader ends
            let mut got = 0;
            while got < all {
                got += listen.recv().await.expect("none is lost");
            }
            assert_eq!(got, all);
        });
    }
}
