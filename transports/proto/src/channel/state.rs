//! One channel.

use std::collections::VecDeque;
use std::time::Instant;

use bytes::Bytes;

use super::{ChannelInit, INITIAL_CREDIT, Message, Part, Reassembly, State};
use crate::id::{ChannelId, StreamId};
use crate::sctp::{self, Ppid};

/// A message in the form SCTP sends it, and what it counts for the application.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) message: sctp::Message,
    pub(super) counts: usize,
}

#[derive(Debug)]
pub(super) struct Channel {
    pub(super) id: ChannelId,
    pub(super) init: ChannelInit,
    pub(super) stream: Option<StreamId>,
    pub(super) state: State,
    /// We wait for the peer's ACK: until then all is sent in order (RFC 8832 §6).
    pub(super) unacknowledged: bool,
    pub(super) queue: VecDeque<Outgoing>,
    /// Bytes of messages in `queue`.
    pub(super) queued: usize,
    /// Bytes of messages that SCTP has not released.
    pub(super) in_sctp: usize,
    /// The same for what is not the application's: DCEP, the byte of an empty message.
    pub(super) overhead_in_sctp: usize,
    pub(super) low_threshold: usize,
    pub(super) deficit: isize,
    pub(super) scheduled: bool,
    pub(super) credit: isize,
    pub(super) reassembly: Reassembly,
    /// Since when our side of the stream is being reset.
    pub(super) reset_at: Option<Instant>,
}

impl Channel {
    pub(super) fn new(id: ChannelId, init: ChannelInit) -> Self {
        Self {
            id,
            stream: init.negotiated,
            init,
            state: State::Connecting,
            unacknowledged: false,
            queue: VecDeque::new(),
            queued: 0,
            in_sctp: 0,
            overhead_in_sctp: 0,
            low_threshold: 0,
            deficit: 0,
            scheduled: false,
            credit: isize::try_from(INITIAL_CREDIT).unwrap_or(isize::MAX),
            reassembly: Reassembly::default(),
            reset_at: None,
        }
    }

    pub(super) fn buffered(&self) -> usize {
        self.queued + self.in_sctp
    }

    /// Queues a message, in parts when it is longer than `limit`.
    pub(super) fn push(&mut self, message: Message, limit: usize) {
        if message.len() > limit {
            for part in Part::cut(&message, limit) {
                let counts = part.data.len();
                let message = sctp::Message {
                    ppid: Ppid::Dcep,
                    data: part.to_bytes(),
                };
                self.push_outgoing(Outgoing { message, counts });
            }
            return;
        }
        let counts = message.len();
        self.push_outgoing(Outgoing {
            message: to_wire(message),
            counts,
        });
    }

    fn push_outgoing(&mut self, outgoing: Outgoing) {
        self.queued += outgoing.counts;
        self.queue.push_back(outgoing);
    }

    /// SCTP has released bytes. DCEP goes out first, so it is released first.
    pub(super) fn release(&mut self, bytes: usize) {
        let overhead = bytes.min(self.overhead_in_sctp);
        self.overhead_in_sctp -= overhead;
        self.in_sctp = self.in_sctp.saturating_sub(bytes - overhead);
    }

    pub(super) fn spend(&mut self, cost: usize) {
        self.credit = self
            .credit
            .saturating_sub(isize::try_from(cost).unwrap_or(isize::MAX));
    }

    pub(super) fn is_ordered_now(&self) -> bool {
        self.init.ordered || self.unacknowledged
    }
}

/// RFC 8831 §6.6: an empty message is one zero byte with its own identifier.
fn to_wire(message: Message) -> sctp::Message {
    let zero = || Bytes::from_static(&[0]);
    match message {
        Message::Text(text) if text.is_empty() => sctp::Message {
            ppid: Ppid::TextEmpty,
            data: zero(),
        },
        Message::Text(text) => sctp::Message {
            ppid: Ppid::Text,
            data: text.into(),
        },
        Message::Binary(data) if data.is_empty() => sctp::Message {
            ppid: Ppid::BinaryEmpty,
            data: zero(),
        },
        Message::Binary(data) => sctp::Message {
            ppid: Ppid::Binary,
            data,
        },
    }
}

/// The other way round; `None` for what is no message of an application.
pub(super) fn from_wire(message: sctp::Message) -> Option<Message> {
    match message.ppid {
        Ppid::Text => Some(Message::Text(into_text(message.data))),
        Ppid::Binary => Some(Message::Binary(message.data)),
        Ppid::TextEmpty => Some(Message::Text(String::new())),
        Ppid::BinaryEmpty => Some(Message::Binary(Bytes::new())),
        Ppid::Dcep | Ppid::Other => None,
    }
}

/// Bytes that are not UTF-8 are replaced, as the Encoding standard's "UTF-8 decode" does.
fn into_text(data: Bytes) -> String {
    String::from_utf8(data.into())
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}
