//! What is asked of an association.

use std::time::Duration;

use super::super::super::Stats;
use super::{Association, CloseReason, State};
use crate::id::StreamId;

impl Association {
    pub(in super::super::super) fn is_connected(&self) -> bool {
        self.is_established()
    }

    pub(in super::super::super) fn close_reason(&self) -> Option<CloseReason> {
        match self.state {
            State::Ended(reason) => Some(reason),
            State::Closed(_)
            | State::CookieWait(_)
            | State::CookieEchoed(_)
            | State::Established
            | State::ShutdownReceived
            | State::ShutdownAckSent(_) => None,
        }
    }

    pub(in super::super::super) fn buffered(&self, stream: StreamId) -> usize {
        self.buffered.get(&stream.0).copied().unwrap_or_default()
    }

    pub(in super::super::super) fn buffered_total(&self) -> usize {
        self.buffered_total
    }

    pub(in super::super::super) fn unsent(&self) -> usize {
        self.sender.unsent()
    }

    pub(in super::super::super) fn resets_open(&self) -> bool {
        self.reconfig.is_open()
    }

    pub(in super::super::super) fn max_message_size(&self) -> usize {
        usize::try_from(self.config.max_message_size).unwrap_or(usize::MAX)
    }

    /// The fewer of the streams of both directions; ours before the peer has said what it takes.
    pub(in super::super::super) fn streams(&self) -> u16 {
        self.streams.unwrap_or(self.config.streams)
    }

    pub(in super::super::super) fn send_buffer(&self) -> usize {
        self.config.send_buffer
    }

    pub(in super::super::super) fn queued_packets(&self) -> usize {
        self.controls.len() + self.early_acks.len()
    }

    pub(in super::super::super) fn unread_chunks(&self) -> usize {
        self.receiver.held()
    }

    pub(in super::super::super) fn round_trip(&self) -> Duration {
        self.sender.round_trip()
    }

    pub(in super::super::super) fn stats(&self) -> Stats {
        Stats {
            chunks_retransmitted: self.sender.retransmitted(),
            ..self.stats
        }
    }
}
