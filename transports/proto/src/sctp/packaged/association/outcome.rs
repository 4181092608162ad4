//! What the engine reports: accounts kept, events told, the end.

use super::super::engine::{Engine, Output};
use super::super::gate::SINK;
use super::super::{CloseReason, Event};
use super::Association;
use crate::error::EngineFault;
use crate::id::StreamId;

impl Association {
    pub(super) fn after_call(&mut self, result: Result<(), EngineFault>) {
        match result {
            Ok(()) => self.collect(),
            Err(fault) => self.close(CloseReason::Fault(fault)),
        }
    }

    pub(super) fn collect(&mut self) {
        while let Some(output) = self.engine.as_mut().and_then(Engine::poll_output) {
            match output {
                Output::Connected => {
                    self.connected = true;
                    self.events.push_back(Event::Connected);
                }
                Output::Chunk => self.unread_chunks += 1,
                Output::Readable(stream) => self.became_readable(stream),
                Output::Released(stream, bytes) => self.released(stream, bytes),
                Output::StreamGone(stream) => self.stream_gone(stream),
                Output::HandshakeFailed => return self.close(CloseReason::Handshake),
            }
        }
        let ended = self.engine.as_ref().filter(|engine| engine.is_closed());
        match ended.map(Engine::close_reason) {
            Some(CloseReason::Peer) => self.close(self.gate.closed_by_peer()),
            Some(reason) => self.close(reason),
            None => {}
        }
    }

    pub(super) fn became_readable(&mut self, stream: StreamId) {
        if stream == SINK {
            self.readable.insert(stream);
            while self.read(stream).is_some() {}
            return;
        }
        if self.readable.insert(stream) {
            self.events.push_back(Event::Readable(stream));
        }
    }

    pub(super) fn released(&mut self, stream: StreamId, bytes: usize) {
        if let Some(buffered) = self.buffered.get_mut(&stream) {
            let bytes = bytes.min(*buffered);
            *buffered -= bytes;
            self.account(bytes);
        }
        match self.events.back_mut() {
            Some(Event::Released {
                stream: last,
                bytes: sum,
            }) if *last == stream => *sum += bytes,
            _ => self.events.push_back(Event::Released { stream, bytes }),
        }
    }

    /// When nothing is readable the count starts anew, since chunks of unfinished messages go
    /// uncounted with their stream.
    pub(super) fn no_longer_readable(&mut self, stream: StreamId) {
        self.readable.remove(&stream);
        if self.readable.is_empty() {
            self.unread_chunks = 0;
        }
    }

    pub(super) fn stream_gone(&mut self, stream: StreamId) {
        self.no_longer_readable(stream);
        self.gate.undivert(stream.0);
        let left = self.buffered.remove(&stream).unwrap_or_default();
        self.account(left);
        self.events.push_back(Event::Reset(stream));
    }

    pub(super) fn account(&mut self, bytes: usize) {
        self.buffered_total = self.buffered_total.saturating_sub(bytes);
        self.unsent = self.unsent.min(self.buffered_total);
    }

    pub(super) fn close(&mut self, reason: CloseReason) {
        self.engine = None;
        self.connected = false;
        self.reset_retry = None;
        self.readable.clear();
        self.buffered.clear();
        self.buffered_total = 0;
        self.unsent = 0;
        if self.closed.is_none() {
            self.closed = Some(reason);
            // The streams go with it; one event says so.
            self.events
                .retain(|event| !matches!(event, Event::Reset(_)));
            self.events.push_back(Event::Closed(reason));
        }
    }
}
