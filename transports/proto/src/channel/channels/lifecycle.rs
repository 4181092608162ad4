//! From opening to closing.

use std::time::Instant;

use super::super::receive::is_ours;
use super::super::{CloseCause, DcepMessage, Event, Open, State, Streams};
use super::{Channels, RESET_PATIENCE};
use crate::id::{ChannelId, DtlsRole, StreamId};
use crate::sctp::CloseReason;

impl Channels {
    pub(super) fn reset_by_both(&mut self, stream: StreamId) {
        self.readable.remove(&stream);
        self.early.remove(&stream);
        self.refused.remove(&stream);
        self.cooling.insert(stream);
        let Some(id) = self.by_stream.get(&stream).copied() else {
            return;
        };
        // A channel that took the id while the reset was under way has not used the stream.
        let Some(channel) = self
            .channels
            .get(&id)
            .filter(|c| c.state != State::Connecting)
        else {
            return;
        };
        if channel.state == State::Open {
            self.events.push_back(Event::Closing(id));
        }
        let cause = self.causes.get(&id).copied();
        self.drop_channel(id, cause);
    }

    pub(super) fn end(&mut self, reason: CloseReason) {
        self.connected = false;
        self.ended = Some(reason);
        let ids: Vec<ChannelId> = self.channels.keys().copied().collect();
        for id in ids {
            self.drop_channel(id, Some(CloseCause::Association(reason)));
        }
        self.readable.clear();
        self.early.clear();
        self.events.push_back(Event::AssociationClosed(reason));
    }

    pub(in crate::channel) fn drop_channel(&mut self, id: ChannelId, cause: Option<CloseCause>) {
        let Some(channel) = self.channels.remove(&id) else {
            return;
        };
        if let Some(stream) = channel.stream
            && self.by_stream.get(&stream) == Some(&id)
        {
            self.by_stream.remove(&stream);
        }
        if self.remote.remove(&id) {
            self.remote_names -= channel.init.label.len() + channel.init.protocol.len();
        }
        self.reassembly_held -= channel.reassembly.held();
        self.causes.remove(&id);
        self.changing.remove(&id);
        self.gone.insert(id, (channel.init, channel.stream));
        self.events.push_back(Event::Closed { channel: id, cause });
    }

    /// Opens what can be opened and resets what has nothing left to send.
    pub(super) fn settle(&mut self, association: &mut impl Streams, now: Instant) {
        if !self.connected || !association.is_connected() {
            return self.forget_unopened();
        }
        if !self.cooling.is_empty() {
            association.advance(now); // our answer to a reset of the peer's is one of ours
            if !association.resets_open() {
                self.cooling.clear();
            }
        }
        for stream in std::mem::take(&mut self.refused) {
            if let Err(error) = association.reset(stream, now) {
                tracing::debug!(%error, "refuse");
            }
        }
        let ids: Vec<ChannelId> = self.changing.iter().copied().collect();
        for id in ids {
            match self
                .channels
                .get(&id)
                .map(|channel| (channel.state, channel.reset_at))
            {
                Some((State::Connecting, _)) => self.open_now(id, association),
                Some((State::Closing, None)) => self.close_now(id, association, now),
                Some((State::Closing, Some(at))) => {
                    let overdue = now.saturating_duration_since(at) >= RESET_PATIENCE;
                    if overdue && association.resets_open() {
                        self.wait_again(id, now);
                    } else if overdue {
                        self.drop_channel(id, None);
                    }
                }
                Some((State::Open | State::Closed, _)) | None => {
                    self.changing.remove(&id);
                }
            }
        }
    }

    pub(super) fn wait_again(&mut self, id: ChannelId, now: Instant) {
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.reset_at = Some(now);
        }
    }

    /// A channel closed before the association was up has nothing to reset.
    pub(super) fn forget_unopened(&mut self) {
        let ids: Vec<ChannelId> = self.changing.iter().copied().collect();
        for id in ids {
            let closing = self
                .channels
                .get(&id)
                .is_some_and(|c| c.state == State::Closing);
            if closing && !self.connected {
                self.drop_channel(id, None);
            }
        }
    }

    pub(super) fn open_now(&mut self, id: ChannelId, association: &mut impl Streams) {
        let Some(negotiated) = self.channels.get(&id).map(|c| c.init.negotiated) else {
            return;
        };
        let Some(stream) = negotiated.or_else(|| self.free_stream(association.streams())) else {
            // Ids may become free when resets are settled; else there are none.
            if self.cooling.is_empty() {
                self.drop_channel(id, Some(CloseCause::NoStream));
            }
            return;
        };
        if self.cooling.contains(&stream) {
            return;
        }
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        let in_order_first = negotiated.is_none() || channel.init.ordered;
        if association.prepare(stream, in_order_first).is_err() {
            return self.drop_channel(id, Some(CloseCause::NoStream));
        }
        association.set_weight(stream, channel.init.priority.weight());
        channel.stream = Some(stream);
        channel.state = State::Open;
        self.by_stream.insert(stream, id);
        self.changing.remove(&id);
        if negotiated.is_none() {
            channel.unacknowledged = true;
            let open = DcepMessage::Open(Open::from_init(&channel.init));
            self.control(id, &open);
        }
        if self.early.contains_key(&stream) {
            self.readable.insert(stream);
        }
        self.events.push_back(Event::Opened(id));
    }

    pub(super) fn free_stream(&mut self, streams: u16) -> Option<StreamId> {
        let role = self.role?;
        for _ in 0..streams.div_ceil(2) {
            let stream = StreamId(self.next_stream);
            self.next_stream += 2;
            if self.next_stream >= streams {
                self.next_stream = u16::from(role == DtlsRole::Server);
            }
            let free = !self.by_stream.contains_key(&stream) && !self.cooling.contains(&stream);
            if free && is_ours(role, stream) && stream.0 < streams {
                return Some(stream);
            }
        }
        None
    }

    pub(super) fn close_now(
        &mut self,
        id: ChannelId,
        association: &mut impl Streams,
        now: Instant,
    ) {
        let Some(channel) = self.channels.get_mut(&id) else {
            return;
        };
        if !channel.queue.is_empty() {
            return;
        }
        let Some(stream) = channel
            .stream
            .filter(|stream| !self.cooling.contains(stream))
        else {
            return self.drop_channel(id, None);
        };
        match association.reset(stream, now) {
            Ok(()) => {
                channel.reset_at = Some(now);
                self.readable.insert(stream); // what is unread would hold up the peer's reset
            }
            Err(_) => self.drop_channel(id, None),
        }
    }
}
