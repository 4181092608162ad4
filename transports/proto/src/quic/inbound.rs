//! What arrives.

use bytes::{Bytes, BytesMut};

use super::lane::Lane;
use super::mapping::Mapping;
use super::wire::{Datagram, Frame, HEAD, Head, Order, is_before, read_given_up};
use super::{MAX_DATAGRAM_BYTES, MAX_PARTIAL_BYTES, MESSAGE_STREAMS, Read, Transport, Uni};
use crate::channel::MESSAGE_OVERHEAD;
use crate::id::StreamId;
use crate::sctp::{Event, Message, Ppid};

/// Bytes of a main stream that are read ahead of the message that is being read: saves a call to the
/// transport for each short message, at the cost of so much memory per channel.
const READ_AHEAD: usize = 4 * 1024;

/// Longest message that is copied out of the buffer it arrived in, so that it does not keep the rest
/// of it.
const COPIED: usize = 1024;

/// DATA_CHANNEL_ACK (RFC 8832 §5.2).
const ACK: u8 = 2;

/// A stream of the peer's.
#[derive(Debug)]
pub(super) enum Inbound {
    /// Its head is not complete.
    New(BytesMut),
    /// Of the next use of an id: waits for the present one to end.
    Parked(Head),
    Main(StreamId),
    Message {
        id: StreamId,
        ppid: Ppid,
        order: Option<Order>,
        data: BytesMut,
    },
}

impl<T: Transport> Mapping<T> {
    pub(super) fn accept(&mut self) {
        while let Some(stream) = self.transport.accept() {
            self.inbound.insert(stream, Inbound::New(BytesMut::new()));
            self.readable(stream);
        }
    }

    pub(super) fn readable(&mut self, stream: Uni) {
        match self.inbound.get_mut(&stream) {
            Some(Inbound::New(_)) => self.read_head(stream),
            Some(Inbound::Main(id)) => {
                let id = *id;
                self.tell(id);
            }
            Some(Inbound::Message { id, order, .. }) => {
                let (id, ordered) = (*id, order.is_some());
                if let Some(lane) = self.lanes.get_mut(&id).filter(|_| !ordered) {
                    lane.messages.active.insert(stream);
                }
                self.tell(id);
            }
            Some(Inbound::Parked(_)) | None => {}
        }
    }

    /// Says that there is something to read, once.
    fn tell(&mut self, id: StreamId) {
        if let Some(lane) = self.lanes.get_mut(&id)
            && !std::mem::replace(&mut lane.told, true)
        {
            self.events.push_back(Event::Readable(id));
        }
    }

    fn read_head(&mut self, stream: Uni) {
        let Some(Inbound::New(head)) = self.inbound.get_mut(&stream) else {
            return;
        };
        loop {
            let len = Head::len(head).unwrap_or(HEAD);
            let missing = len.saturating_sub(head.len());
            if missing == 0 {
                break;
            }
            match self.transport.read(stream, missing, head) {
                Read::Full => {}
                Read::Blocked => return,
                Read::End => {
                    self.inbound.remove(&stream);
                    self.stats.malformed += 1;
                    return;
                }
                Read::Reset(code) => {
                    self.inbound.remove(&stream);
                    return self.was_given_up(code);
                }
            }
        }
        match Head::parse(head) {
            Ok(head) => self.take_head(stream, head),
            Err(error) => {
                tracing::debug!(%error, "stream refused");
                self.refuse(stream);
            }
        }
    }

    fn refuse(&mut self, stream: Uni) {
        self.inbound.remove(&stream);
        self.transport.stop(stream);
        self.stats.malformed += 1;
    }

    fn take_head(&mut self, stream: Uni, head: Head) {
        let (Head::Main { id, epoch } | Head::Message { id, epoch, .. }) = head;
        if id.0 >= self.config.streams {
            return self.refuse(stream);
        }
        let current = self.epoch(id);
        if epoch == current.wrapping_add(1) && self.lanes.contains_key(&id) {
            self.inbound.insert(stream, Inbound::Parked(head));
            return;
        }
        if epoch != current {
            // A straggler of a channel that is gone.
            self.inbound.remove(&stream);
            return self.transport.stop(stream);
        }
        match head {
            Head::Main { .. } => self.take_main(stream, id),
            Head::Message { ppid, order, .. } => self.take_message(stream, id, ppid, order),
        }
    }

    fn take_main(&mut self, stream: Uni, id: StreamId) {
        let Some(lane) = self
            .lane(id)
            .filter(|lane| lane.main.stream.is_none() && !lane.main.ended)
        else {
            return self.refuse(stream);
        };
        lane.main.stream = Some(stream);
        self.inbound.insert(stream, Inbound::Main(id));
        self.mains += 1;
        if self.mains + MESSAGE_STREAMS / 2 > self.allowed {
            // In few large steps: a transport may put off telling the peer of small ones.
            self.allowed = 2 * (self.mains + MESSAGE_STREAMS);
            self.transport.allow(self.allowed);
        }
        self.tell(id);
    }

    fn take_message(&mut self, stream: Uni, id: StreamId, ppid: Ppid, order: Option<Order>) {
        let Some(lane) = self.lane(id) else { return };
        match order {
            Some(Order { streams, .. }) => {
                let next = lane.messages.next;
                if is_before(streams, next)
                    || lane.messages.ordered.contains_key(&streams)
                    || lane.messages.given_up.contains(streams, next)
                {
                    return self.refuse(stream);
                }
                lane.messages.ordered.insert(streams, stream);
            }
            None => {
                lane.messages.active.insert(stream);
            }
        }
        let data = BytesMut::new();
        let inbound = Inbound::Message {
            id,
            ppid,
            order,
            data,
        };
        self.inbound.insert(stream, inbound);
        self.tell(id);
    }

    /// A stream was reset before its head was here.
    fn was_given_up(&mut self, code: u64) {
        let (id, epoch, number) = read_given_up(code);
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        let messages = &mut lane.messages;
        let known = messages.ordered.contains_key(&number)
            || messages.given_up.contains(number, messages.next);
        if lane.epoch & 0x3fff != epoch || is_before(number, messages.next) || known {
            return;
        }
        let others = self.given_up_runs - messages.given_up.runs();
        // Before each run is a stream of its own that the peer was allowed: who says more is not believed.
        let most = (self.allowed as usize).saturating_sub(others);
        let taken = if number == messages.next {
            messages.pass();
            true
        } else {
            messages.given_up.insert(number, messages.next, most)
        };
        self.given_up_runs = others + messages.given_up.runs();
        if taken {
            self.tell(id);
        } else {
            self.stats.malformed += 1;
        }
    }

    pub(super) fn take_datagrams(&mut self) {
        while let Some(bytes) = self.transport.receive_datagram() {
            match Datagram::parse(&bytes) {
                Ok(datagram) => self.take_datagram(datagram),
                Err(error) => {
                    tracing::debug!(%error, "datagram refused");
                    self.stats.malformed += 1;
                }
            }
        }
    }

    fn take_datagram(&mut self, datagram: Datagram) {
        let (id, cost) = (datagram.id, datagram.data.len() + MESSAGE_OVERHEAD);
        let fits = self.datagram_bytes + cost <= MAX_DATAGRAM_BYTES && !datagram.data.is_empty();
        let current = datagram.epoch == self.epoch(id);
        // What is refused makes no lane.
        let lane = if current && fits {
            self.lane(id).filter(|lane| !lane.main.ended)
        } else {
            None
        };
        match lane {
            Some(lane) => {
                lane.datagrams.push_back(datagram);
                self.datagram_bytes += cost;
                self.tell(id);
            }
            None => self.stats.datagrams_dropped += 1,
        }
    }

    /// The next message of a lane, in whichever way it came.
    pub(super) fn read_next(&mut self, id: StreamId) -> Option<Message> {
        while self.partial > MAX_PARTIAL_BYTES && self.blame() {}
        let message = self
            .read_violation(id)
            .or_else(|| self.read_main(id))
            .or_else(|| self.read_ordered(id))
            .or_else(|| self.read_unordered(id))
            .or_else(|| self.read_datagram(id));
        self.forget_main(id);
        if message.is_some() {
            return message;
        }
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.told = false;
            if lane.main.ended && !lane.ended {
                self.end_at_once(id);
            }
        }
        self.close_if_done(id);
        None
    }

    fn read_main(&mut self, id: StreamId) -> Option<Message> {
        let lane = self.lanes.get_mut(&id)?;
        let most = usize::try_from(self.config.max_message_size).unwrap_or(usize::MAX);
        loop {
            let Some(frame) = lane.main.head else {
                // Known when there is a first byte.
                let known = Frame::len(&lane.main.buffer);
                let len = known.unwrap_or(1);
                if !fill(&mut self.transport, lane, len, &mut self.partial) {
                    return None;
                }
                if known.is_none() {
                    continue;
                }
                let head = lane.main.buffer.split_to(len);
                self.partial = self.partial.saturating_sub(len);
                match Frame::parse(&head) {
                    Ok(frame) => lane.main.head = Some(frame),
                    Err(error) => {
                        tracing::debug!(%error, "main stream refused");
                        self.violated(id);
                        return self.read_violation(id);
                    }
                }
                continue;
            };
            if is_before(lane.messages.next, frame.streams) {
                return None;
            }
            let len = usize::try_from(frame.len).unwrap_or(usize::MAX);
            if len == 0 || len > most {
                self.violated(id);
                return self.read_violation(id);
            }
            if !fill(&mut self.transport, lane, len, &mut self.partial) {
                return None;
            }
            let data = take(&mut lane.main.buffer, len);
            self.partial = self.partial.saturating_sub(len);
            lane.main.head = None;
            lane.main.frames = lane.main.frames.wrapping_add(1);
            let ppid = frame.ppid;
            if ppid == Ppid::Dcep && data.first() == Some(&ACK) {
                lane.unacknowledged = false;
            }
            return Some(Message { ppid, data });
        }
    }

    /// Whoever holds most of what has arrived in part has gone too far. `false` if nobody holds anything.
    fn blame(&mut self) -> bool {
        let mains = self.lanes.iter();
        let mains = mains.map(|(id, lane)| (lane.main.buffer.len(), *id, None));
        let messages = self
            .inbound
            .iter()
            .filter_map(|(stream, inbound)| match inbound {
                Inbound::Message { id, data, .. } => Some((data.len(), *id, Some(*stream))),
                Inbound::New(_) | Inbound::Parked(_) | Inbound::Main(_) => None,
            });
        let Some((_, id, stream)) = mains.chain(messages).max().filter(|most| most.0 > 0) else {
            return false;
        };
        if let Some(stream) = stream {
            self.transport.stop(stream);
            self.forget(stream);
        }
        self.violated(id);
        self.tell(id);
        true
    }

    /// Says once that the peer has broken the protocol of a channel, by a message that no channel takes.
    fn read_violation(&mut self, id: StreamId) -> Option<Message> {
        let lane = self.lanes.get_mut(&id)?;
        std::mem::take(&mut lane.violated).then_some(Message {
            ppid: Ppid::Binary,
            data: Bytes::new(),
        })
    }

    /// The peer breaks the protocol of a channel.
    fn violated(&mut self, id: StreamId) {
        self.stats.malformed += 1;
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.violated = true;
            self.partial = self.partial.saturating_sub(lane.main.buffer.len());
            lane.main.buffer.clear();
            lane.main.head = None;
            lane.main.ended = true;
            if let Some(stream) = lane.main.stream {
                self.transport.stop(stream);
            }
        }
        self.forget_main(id);
    }

    /// The main stream is over, if it is.
    fn forget_main(&mut self, id: StreamId) {
        if let Some(lane) = self.lanes.get_mut(&id).filter(|lane| lane.main.ended)
            && let Some(stream) = lane.main.stream.take()
        {
            self.inbound.remove(&stream);
            self.mains = self.mains.saturating_sub(1);
        }
    }

    fn read_ordered(&mut self, id: StreamId) -> Option<Message> {
        loop {
            let lane = self.lanes.get_mut(&id)?;
            let next = lane.messages.next;
            let stream = *lane.messages.ordered.get(&next)?;
            let frames = lane.main.frames;
            let waits = matches!(
                self.inbound.get(&stream),
                Some(Inbound::Message { order: Some(order), .. }) if is_before(frames, order.frames)
            );
            if waits {
                return None;
            }
            let message = match self.read_message(stream) {
                Arrived::Whole(message) => Some(message),
                Arrived::Part => return None,
                Arrived::GivenUp => None,
            };
            let lane = self.lanes.get_mut(&id)?;
            lane.messages.ordered.remove(&next);
            let others = self.given_up_runs - lane.messages.given_up.runs();
            lane.messages.pass();
            self.given_up_runs = others + lane.messages.given_up.runs();
            // What stood behind it may be read now.
            if message.is_some() {
                return message;
            }
            if let Some(message) = self.read_main(id) {
                return Some(message);
            }
        }
    }

    fn read_unordered(&mut self, id: StreamId) -> Option<Message> {
        loop {
            let lane = self.lanes.get_mut(&id)?;
            let stream = lane.messages.active.pop_first()?;
            if let Arrived::Whole(message) = self.read_message(stream) {
                return Some(message);
            }
        }
    }

    /// Reads a stream that has one message.
    fn read_message(&mut self, stream: Uni) -> Arrived {
        let most = usize::try_from(self.config.max_message_size).unwrap_or(usize::MAX);
        let Some(Inbound::Message { ppid, data, .. }) = self.inbound.get_mut(&stream) else {
            return Arrived::GivenUp;
        };
        let before = data.len();
        let read = self
            .transport
            .read(stream, (most + 1).saturating_sub(before), data);
        self.partial += data.len() - before;
        let too_long = data.len() > most;
        match read {
            Read::Blocked if !too_long => return Arrived::Part,
            Read::End if !too_long && !data.is_empty() => {}
            Read::Full | Read::Blocked => {
                self.transport.stop(stream);
                self.stats.malformed += 1;
                self.forget(stream);
                return Arrived::GivenUp;
            }
            Read::End | Read::Reset(_) => {
                self.forget(stream);
                return Arrived::GivenUp;
            }
        }
        let message = Message {
            ppid: *ppid,
            data: std::mem::take(data).freeze(),
        };
        self.partial = self.partial.saturating_sub(message.data.len());
        self.inbound.remove(&stream);
        Arrived::Whole(message)
    }

    /// A stream of a message is over.
    fn forget(&mut self, stream: Uni) {
        if let Some(Inbound::Message { data, .. }) = self.inbound.remove(&stream) {
            self.partial = self.partial.saturating_sub(data.len());
        }
    }

    fn read_datagram(&mut self, id: StreamId) -> Option<Message> {
        loop {
            let lane = self.lanes.get_mut(&id)?;
            let front = lane.datagrams.front()?;
            let early = front.order.is_some_and(|(order, _)| is_early(lane, order));
            if early && !lane.main.ended {
                return None;
            }
            let datagram = lane.datagrams.pop_front()?;
            self.datagram_bytes = self
                .datagram_bytes
                .saturating_sub(datagram.data.len() + MESSAGE_OVERHEAD);
            if let Some((order, number)) = datagram.order {
                let overtaken = is_before(order.streams, lane.messages.next)
                    || is_before(order.frames, lane.main.frames)
                    || is_before(number, lane.next_datagram);
                if early || overtaken {
                    self.stats.datagrams_dropped += 1;
                    continue;
                }
                lane.next_datagram = number.wrapping_add(1);
            }
            return Some(Message {
                ppid: datagram.ppid,
                data: datagram.data,
            });
        }
    }

    /// Frees the id when both sides have ended.
    pub(super) fn close_if_done(&mut self, id: StreamId) {
        let done = |lane: &Lane| lane.ended && lane.main.ended && lane.datagrams.is_empty();
        if self.lanes.get(&id).is_some_and(done) {
            self.close_lane(id);
        }
    }

    /// The lane is gone: so is what belongs to it.
    pub(super) fn forget_inbound(&mut self, gone: StreamId) {
        let of_lane = |inbound: &Inbound| match inbound {
            Inbound::Main(id) | Inbound::Message { id, .. } => *id == gone,
            Inbound::New(_) | Inbound::Parked(_) => false,
        };
        let streams: Vec<Uni> = self
            .inbound
            .iter()
            .filter(|(_, inbound)| of_lane(inbound))
            .map(|(stream, _)| *stream)
            .collect();
        for stream in streams {
            self.transport.stop(stream);
            self.forget(stream);
        }
    }

    /// What has waited for the next use of an id.
    pub(super) fn unpark(&mut self, freed: StreamId) {
        let parked: Vec<(Uni, Head)> = self
            .inbound
            .iter()
            .filter_map(|(stream, inbound)| match inbound {
                Inbound::Parked(head) => Some((*stream, *head)),
                Inbound::New(_) | Inbound::Main(_) | Inbound::Message { .. } => None,
            })
            .filter(|(_, Head::Main { id, .. } | Head::Message { id, .. })| *id == freed)
            .collect();
        for (stream, head) in parked {
            self.take_head(stream, head);
        }
    }
}

/// What reading a stream with a message has given.
enum Arrived {
    Whole(Message),
    Part,
    GivenUp,
}

/// Reads until the buffer of the main stream has so many bytes; whether it has. Notes the end.
fn fill<T: Transport>(transport: &mut T, lane: &mut Lane, len: usize, partial: &mut usize) -> bool {
    let main = &mut lane.main;
    let Some(stream) = main.stream.filter(|_| !main.ended) else {
        return main.buffer.len() >= len;
    };
    let before = main.buffer.len();
    if before < len {
        let read = transport.read(stream, len + READ_AHEAD - before, &mut main.buffer);
        *partial += main.buffer.len() - before;
        main.ended = matches!(read, Read::End | Read::Reset(_));
    }
    main.buffer.len() >= len
}

/// So many bytes off the front.
fn take(buffer: &mut BytesMut, len: usize) -> Bytes {
    let taken = buffer.split_to(len);
    if len <= COPIED {
        Bytes::copy_from_slice(&taken)
    } else {
        taken.freeze()
    }
}

/// Whether something comes before it that was not read.
fn is_early(lane: &Lane, order: Order) -> bool {
    is_before(lane.messages.next, order.streams) || is_before(lane.main.frames, order.frames)
}
