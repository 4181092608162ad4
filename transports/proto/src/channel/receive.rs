//! What arrives: messages as credit allows, DCEP, and data for channels that do not exist yet.

use crate::id::{ChannelId, StreamId};
use crate::sctp::{self, Ppid};

use super::channels::Channels;
use super::state::from_wire;
use super::{CloseCause, DcepMessage, Event, Message, Open, Part, State, Streams};

/// Streams whose first message arrived before a channel with their id was made here (both
/// applications negotiate an id, the peer is faster). One message each is kept, the rest stays
/// in SCTP. Filled by the peer; beyond the bound such messages are dropped.
pub const MAX_EARLY_MESSAGES: usize = 16;

/// Bytes of labels and protocols of the channels the peer has open. Beyond it, its channels are
/// refused.
pub const MAX_REMOTE_NAMES: usize = 1024 * 1024;

impl Channels {
    /// Reads what is readable, as far as credit goes.
    pub(super) fn read_all(&mut self, association: &mut impl Streams) {
        let streams: Vec<StreamId> = self.readable.iter().copied().collect();
        for stream in streams {
            match self.by_stream.get(&stream).copied() {
                Some(id) => self.read_channel(id, stream, association),
                None => self.read_unknown(stream, association),
            }
        }
    }

    /// The association is over: whatever has arrived is delivered, credit or not, since the peer was
    /// told that it did. First what opens channels, then what is on them.
    pub(super) fn read_what_is_left(&mut self, association: &mut impl Streams) {
        for _ in 0..2 {
            for channel in self.channels.values_mut() {
                channel.credit = isize::MAX;
            }
            self.read_all(association);
        }
    }

    fn read_channel(&mut self, id: ChannelId, stream: StreamId, association: &mut impl Streams) {
        let mut batch = Vec::new();
        while let Some(channel) = self.channels.get_mut(&id) {
            let waits = channel.credit <= 0 && channel.state == State::Open;
            if waits || channel.state == State::Connecting {
                break;
            }
            let early = self.early.remove(&stream);
            let Some(message) = early.or_else(|| association.read(stream)) else {
                self.readable.remove(&stream);
                break;
            };
            if channel.state == State::Closing {
                continue; // nobody wants it any more; the reset waits for it to be read
            }
            if let Some(message) = self.take_message(id, message, association) {
                batch.push(message);
            }
        }
        if !batch.is_empty() {
            self.events.push_back(Event::Messages {
                channel: id,
                messages: batch,
            });
        }
    }

    /// A message on a channel's stream. Whatever it cannot mean closes the channel.
    fn take_message(
        &mut self,
        id: ChannelId,
        message: sctp::Message,
        association: &mut impl Streams,
    ) -> Option<Message> {
        if message.ppid == Ppid::Dcep {
            return self.take_control(id, &message, association);
        }
        if message.data.is_empty() {
            self.violation(id, "message longer than announced");
            return None;
        }
        let message = from_wire(message)?;
        self.channels.get_mut(&id)?.spend(message.cost());
        Some(message)
    }

    fn take_control(
        &mut self,
        id: ChannelId,
        message: &sctp::Message,
        association: &mut impl Streams,
    ) -> Option<Message> {
        if Part::is_part(&message.data) && self.config.peerloom_peer {
            return self.take_part(id, message);
        }
        let channel = self.channels.get_mut(&id)?;
        match DcepMessage::parse(&message.data) {
            Ok(DcepMessage::Ack) => {
                channel.unacknowledged = false;
                if let Some(stream) = channel.stream
                    && let Err(error) = association.prepare(stream, channel.init.ordered)
                {
                    tracing::debug!(%error, "after ACK");
                }
            }
            Ok(DcepMessage::Open(_)) => self.violation(id, "opened twice"),
            Err(error) => {
                tracing::debug!(%error, "DCEP");
                self.violation(id, "malformed DCEP message");
            }
        }
        None
    }

    fn take_part(&mut self, id: ChannelId, message: &sctp::Message) -> Option<Message> {
        let held: usize = self.reassembly_held;
        let limit = self.config.max_chunked_message;
        let channel = self.channels.get_mut(&id)?;
        let before = channel.reassembly.held();
        let result = Part::parse(&message.data).and_then(|p| channel.reassembly.push(p, limit));
        let after = channel.reassembly.held();
        self.reassembly_held = held - before + after;
        match result {
            Ok(done) if self.reassembly_held <= self.config.max_reassembly => {
                let done = done?;
                channel.spend(done.cost());
                Some(done)
            }
            Ok(_) => {
                self.violation(id, "too many long messages at once");
                None
            }
            Err(error) => {
                tracing::debug!(%error, "part");
                self.violation(id, "malformed long message");
                None
            }
        }
    }

    fn violation(&mut self, id: ChannelId, what: &'static str) {
        tracing::debug!(channel = %id, what, "protocol violation");
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.queue.clear();
            channel.queued = 0;
        }
        self.causes.insert(id, CloseCause::Protocol(what));
        self.close(id);
    }

    /// Data on a stream without a channel: an OPEN, or a negotiated channel made too late.
    fn read_unknown(&mut self, stream: StreamId, association: &mut impl Streams) {
        loop {
            if self.early.contains_key(&stream) {
                return;
            }
            let Some(message) = association.read(stream) else {
                self.readable.remove(&stream);
                return;
            };
            if message.ppid == Ppid::Dcep {
                match DcepMessage::parse(&message.data) {
                    Ok(DcepMessage::Open(open)) => return self.accept(stream, open, association),
                    Ok(DcepMessage::Ack) | Err(_) => {}
                }
            } else if self.early.len() < MAX_EARLY_MESSAGES {
                self.early.insert(stream, message);
            }
        }
    }

    fn accept(&mut self, stream: StreamId, open: Open, association: &mut impl Streams) {
        let names = open.label.len() + open.protocol.len();
        let refused = if self.role.is_none_or(|role| is_ours(role, stream)) {
            Some("id of the wrong side")
        } else if stream.0 >= association.streams() {
            Some("id beyond the number of streams")
        } else if self.channels.len() >= self.config.max_channels {
            Some("too many channels")
        } else if self.remote_names + names > MAX_REMOTE_NAMES {
            Some("labels too long")
        } else {
            None
        };
        if let Some(why) = refused {
            tracing::debug!(%stream, why, "channel refused");
            self.refused.insert(stream);
            return;
        }
        let init = open.into_init();
        let (ordered, weight) = (init.ordered, init.priority.weight());
        let id = self.insert(init);
        self.remote_names += names;
        self.remote.insert(id);
        if let Some(channel) = self.channels.get_mut(&id) {
            channel.stream = Some(stream);
            channel.state = State::Open;
        }
        self.by_stream.insert(stream, id);
        if let Err(error) = association.prepare(stream, ordered) {
            tracing::debug!(%error, "accept");
        }
        association.set_weight(stream, weight);
        self.control(id, &DcepMessage::Ack);
        self.events.push_back(Event::Accepted(id));
        self.read_channel(id, stream, association);
    }
}

/// RFC 8832 §6: the DTLS client opens channels with even ids.
pub(super) fn is_ours(role: crate::id::DtlsRole, stream: StreamId) -> bool {
    let even = stream.0.is_multiple_of(2);
    match role {
        crate::id::DtlsRole::Client => even,
        crate::id::DtlsRole::Server => !even,
    }
}
