//! What channels need of the transport below them.

use std::time::Instant;

use crate::id::StreamId;
use crate::sctp::{Association, Error, Event, Message, Reliability};

/// Numbered streams of messages in both directions, as SCTP has them and QUIC is made to
/// ([`crate::quic::Mapping`]). What each call means is written at [`Association`].
pub trait Streams {
    /// [`Association::poll_event`].
    fn poll_event(&mut self) -> Option<Event>;

    /// [`Association::read`].
    fn read(&mut self, stream: StreamId) -> Option<Message>;

    /// [`Association::write`].
    ///
    /// # Errors
    ///
    /// [`Error`], and nothing is written.
    fn write(
        &mut self,
        stream: StreamId,
        ordered: bool,
        reliability: Reliability,
        message: &Message,
        now: Instant,
    ) -> Result<(), Error>;

    /// [`Association::prepare`].
    ///
    /// # Errors
    ///
    /// [`Error`] if nothing could be written to the stream.
    fn prepare(&mut self, stream: StreamId, ordered: bool) -> Result<(), Error>;

    /// [`Association::set_weight`].
    fn set_weight(&mut self, stream: StreamId, weight: u16);

    /// [`Association::reset`].
    ///
    /// # Errors
    ///
    /// [`Error`] if there is no such stream.
    fn reset(&mut self, stream: StreamId, now: Instant) -> Result<(), Error>;

    /// [`Association::advance`].
    fn advance(&mut self, now: Instant);

    /// [`Association::is_connected`].
    fn is_connected(&self) -> bool;

    /// [`Association::resets_open`].
    fn resets_open(&self) -> bool;

    /// [`Association::streams`].
    fn streams(&self) -> u16;

    /// [`Association::unsent`].
    fn unsent(&self) -> usize;

    /// [`Association::buffered_total`].
    fn buffered_total(&self) -> usize;

    /// [`Association::send_buffer`].
    fn send_buffer(&self) -> usize;

    /// Messages written so far.
    fn messages_sent(&self) -> u64;
}

impl Streams for Association {
    fn poll_event(&mut self) -> Option<Event> {
        self.poll_event()
    }

    fn read(&mut self, stream: StreamId) -> Option<Message> {
        self.read(stream)
    }

    fn write(
        &mut self,
        stream: StreamId,
        ordered: bool,
        reliability: Reliability,
        message: &Message,
        now: Instant,
    ) -> Result<(), Error> {
        self.write(stream, ordered, reliability, message, now)
    }

    fn prepare(&mut self, stream: StreamId, ordered: bool) -> Result<(), Error> {
        self.prepare(stream, ordered)
    }

    fn set_weight(&mut self, stream: StreamId, weight: u16) {
        self.set_weight(stream, weight);
    }

    fn reset(&mut self, stream: StreamId, now: Instant) -> Result<(), Error> {
        self.reset(stream, now)
    }

    fn advance(&mut self, now: Instant) {
        self.advance(now);
    }

    fn is_connected(&self) -> bool {
        self.is_connected()
    }

    fn resets_open(&self) -> bool {
        self.resets_open()
    }

    fn streams(&self) -> u16 {
        self.streams()
    }

    fn unsent(&self) -> usize {
        self.unsent()
    }

    fn buffered_total(&self) -> usize {
        self.buffered_total()
    }

    fn send_buffer(&self) -> usize {
        self.send_buffer()
    }

    fn messages_sent(&self) -> u64 {
        self.stats().messages_sent
    }
}
