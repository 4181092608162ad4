//! What leaves: main streams, streams of messages, datagrams.

use std::time::Instant;

use bytes::BytesMut;

use super::lane::{Flying, Lane, Waiting};
use super::mapping::Mapping;
use super::wire::{Datagram, Head, given_up};
use super::{Transport, Uni};
use crate::channel::MESSAGE_OVERHEAD;
use crate::id::StreamId;

impl<T: Transport> Mapping<T> {
    pub(super) fn flush_all(&mut self) {
        let pending: Vec<StreamId> = self.pending.iter().copied().collect();
        for id in pending {
            self.flush(id);
        }
    }

    /// Hands the transport what it takes of a lane.
    pub(super) fn flush(&mut self, id: StreamId) {
        self.flush_main(id);
        self.flush_flying(id);
        while self.send_waiting(id) {}
        self.end_if_through(id);
        let Some(lane) = self.lanes.get(&id) else {
            return;
        };
        let unwritten = lane.out.flying.values().any(|it| !it.rest.is_empty());
        let waits = lane.out.unwritten() > 0 || !lane.out.waiting.is_empty() || unwritten;
        let to_end = lane.ending && !lane.ended;
        if !waits && !to_end {
            self.pending.remove(&id);
        }
    }

    fn flush_main(&mut self, id: StreamId) {
        let wants = |lane: &Lane| lane.out.unwritten() > 0 && !lane.ended;
        if !self.lanes.get(&id).is_some_and(wants) || !self.open_main(id) {
            return;
        }
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        let before = lane.out.unwritten();
        let released = match lane.out.write(&mut self.transport) {
            Some(released) => released,
            None => lane.out.clear_main(),
        };
        self.unsent = self.unsent.saturating_sub(before - lane.out.unwritten());
        self.release(id, released);
    }

    fn flush_flying(&mut self, id: StreamId) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        let mut refused = Vec::new();
        for (stream, flying) in &mut lane.out.flying {
            if flying.rest.is_empty() {
                continue;
            }
            let before = flying.rest.len();
            let wanted = self.transport.write(*stream, &mut flying.rest);
            self.unsent = self.unsent.saturating_sub(before - flying.rest.len());
            if !wanted {
                refused.push(*stream);
            } else if flying.rest.is_empty() {
                self.transport.finish(*stream);
            }
        }
        for stream in refused {
            self.give_up(id, stream);
        }
    }

    /// Sends the message that has waited longest; whether there may be another one to send.
    fn send_waiting(&mut self, id: StreamId) -> bool {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return false;
        };
        let Some(waiting) = lane.out.waiting.pop_front() else {
            return false;
        };
        let len = waiting.data.len();
        let left = if waiting.datagram {
            self.send_datagram(id, waiting)
        } else {
            self.send_stream(id, waiting)
        };
        match (left, self.lanes.get_mut(&id)) {
            (Some(left), Some(lane)) => {
                lane.out.waiting.push_front(left);
                false
            }
            _ => {
                self.unsent = self.unsent.saturating_sub(len + MESSAGE_OVERHEAD);
                true
            }
        }
    }

    /// Gives back what has to wait.
    fn send_datagram(&mut self, id: StreamId, waiting: Waiting) -> Option<Waiting> {
        let lane = self.lanes.get_mut(&id)?;
        let order = waiting
            .ordered
            .then(|| (lane.out.order(), lane.out.datagrams));
        let datagram = Datagram {
            id,
            epoch: lane.epoch,
            ppid: waiting.ppid,
            order,
            data: waiting.data.clone(),
        };
        if !self.transport.send_datagram(datagram.to_bytes()) {
            return Some(waiting);
        }
        if waiting.ordered {
            lane.out.datagrams = lane.out.datagrams.wrapping_add(1);
        }
        self.stats.datagrams_sent += 1;
        self.release(id, waiting.data.len());
        None
    }

    /// Gives back what has to wait.
    fn send_stream(&mut self, id: StreamId, waiting: Waiting) -> Option<Waiting> {
        let Some(stream) = self.transport.open() else {
            return Some(waiting);
        };
        let lane = self.lanes.get_mut(&id)?;
        let head = Head::Message {
            id,
            epoch: lane.epoch,
            ppid: waiting.ppid,
            order: waiting.ordered.then(|| lane.out.order()),
        };
        let mut rest = BytesMut::with_capacity(super::MAX_HEAD + waiting.data.len());
        head.write(&mut rest);
        rest.extend_from_slice(&waiting.data);
        let number = lane.out.streams;
        lane.out.streams = number.wrapping_add(1);
        let flying = Flying {
            rest: rest.freeze(),
            len: waiting.data.len(),
            deadline: waiting.deadline,
            number,
        };
        if let Some(at) = flying.deadline {
            self.deadlines.insert((at, id, stream));
        }
        self.unsent += flying.rest.len();
        lane.out.flying.insert(stream, flying);
        self.flying.insert(stream, id);
        self.flush_flying(id);
        None
    }

    /// The peer has all of a stream of ours.
    pub(super) fn finished(&mut self, stream: Uni) {
        let Some(id) = self.flying.remove(&stream) else {
            return;
        };
        let Some(flying) = self
            .lanes
            .get_mut(&id)
            .and_then(|lane| lane.out.flying.remove(&stream))
        else {
            return;
        };
        if let Some(at) = flying.deadline {
            self.deadlines.remove(&(at, id, stream));
        }
        self.release(id, flying.len);
        self.flush(id);
    }

    /// The peer wants no more of a stream of ours.
    pub(super) fn stopped(&mut self, stream: Uni) {
        if let Some(id) = self.flying.get(&stream).copied() {
            self.give_up(id, stream);
            self.flush(id);
        }
    }

    /// A message is not to arrive any more.
    pub(super) fn give_up(&mut self, id: StreamId, stream: Uni) {
        self.flying.remove(&stream);
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        let Some(flying) = lane.out.flying.remove(&stream) else {
            return;
        };
        let code = given_up(id, lane.epoch, flying.number);
        self.transport.reset(stream, code);
        if let Some(at) = flying.deadline {
            self.deadlines.remove(&(at, id, stream));
        }
        self.unsent = self.unsent.saturating_sub(flying.rest.len());
        self.stats.given_up += 1;
        self.release(id, flying.len);
        self.pending.insert(id);
    }

    /// Drops what has waited beyond its deadline, and tries again.
    pub(super) fn drop_overdue(&mut self, id: StreamId, now: Instant) {
        let mut dropped = 0;
        while let Some(lane) = self.lanes.get_mut(&id)
            && let Some(front) = lane.out.waiting.front()
            && front.deadline.is_some_and(|at| at <= now)
        {
            dropped += front.data.len();
            self.unsent = self
                .unsent
                .saturating_sub(front.data.len() + MESSAGE_OVERHEAD);
            self.stats.given_up += 1;
            lane.out.waiting.pop_front();
        }
        self.release(id, dropped);
        self.flush(id);
    }

    /// Ends our side when the channel is closed and all is through.
    fn end_if_through(&mut self, id: StreamId) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        if !lane.ending || lane.ended || !lane.out.is_through() {
            return;
        }
        self.end_main(id);
        self.close_if_done(id);
    }

    /// The peer has ended: so do we, without what was not sent.
    pub(super) fn end_at_once(&mut self, id: StreamId) {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return;
        };
        let waiting = std::mem::take(&mut lane.out.waiting);
        let flying: Vec<Uni> = lane.out.flying.keys().copied().collect();
        let before = lane.out.unwritten();
        let mut dropped = lane.out.clear_main();
        self.unsent = self.unsent.saturating_sub(before);
        for waiting in waiting {
            dropped += waiting.data.len();
            self.unsent = self
                .unsent
                .saturating_sub(waiting.data.len() + MESSAGE_OVERHEAD);
        }
        for stream in flying {
            self.give_up(id, stream);
        }
        self.release(id, dropped);
        if let Some(lane) = self.lanes.get_mut(&id) {
            lane.ending = true;
        }
        self.end_main(id);
        if self.lanes.get(&id).is_some_and(|lane| !lane.ended) {
            self.pending.insert(id);
        }
    }

    /// Ends the main stream, which is opened for that if it was not; has to wait when none can be.
    fn end_main(&mut self, id: StreamId) {
        if !self.open_main(id) {
            return;
        }
        let Some(lane) = self.lanes.get_mut(&id).filter(|lane| !lane.ended) else {
            return;
        };
        // At most the head is left.
        let before = lane.out.unwritten();
        let wanted = lane.out.write(&mut self.transport).is_some();
        self.unsent = self.unsent.saturating_sub(before);
        self.unsent += lane.out.unwritten();
        if wanted && lane.out.unwritten() > 0 {
            return;
        }
        if let Some(stream) = lane.out.stream {
            self.transport.finish(stream);
        }
        lane.ended = true;
    }

    /// Whether the lane has a main stream now.
    fn open_main(&mut self, id: StreamId) -> bool {
        let Some(lane) = self.lanes.get_mut(&id) else {
            return false;
        };
        if lane.out.stream.is_some() {
            return true;
        }
        let Some(stream) = self.transport.open() else {
            return false;
        };
        let mut head = BytesMut::with_capacity(super::MAX_HEAD);
        let epoch = lane.epoch;
        Head::Main { id, epoch }.write(&mut head);
        self.unsent += head.len();
        lane.out.begin(stream, head.freeze());
        true
    }
}
