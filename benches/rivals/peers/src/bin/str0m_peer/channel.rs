//! One data channel: what waits to be sent on it, and what arrives.

use std::collections::VecDeque;

use serde_json::{Value, json};
use str0m::Rtc;
use str0m::channel::{ChannelConfig, ChannelId, Reliability};

use crate::lines::log;
use crate::pattern::{Counters, pattern};

/// Echoes and answers that wait for room in str0m's buffer. Filled by the other
/// side; what would be one more is dropped with a word about it.
const MAX_WAITING: usize = 4096;

/// What a channel is for.
pub(crate) enum Role {
    /// Answers requests.
    Control,
    /// Sends back what arrives.
    Echo,
    /// Counts what arrives.
    Sink(Box<Counters>),
    /// Neither.
    Ignore,
}

impl Role {
    pub(crate) fn of(label: &str) -> Self {
        match label.split_once(':') {
            None if label == "ctl" => Self::Control,
            Some(("echo", _)) => Self::Echo,
            Some(("sink", _)) => Self::Sink(Box::new(Counters::new())),
            _ => Self::Ignore,
        }
    }
}

/// Numbered messages still to be made.
pub(crate) struct Source {
    pub(crate) next: u32,
    pub(crate) count: u32,
    pub(crate) size: usize,
}

pub(crate) struct Channel {
    pub(crate) id: ChannelId,
    pub(crate) config: ChannelConfig,
    /// As long as the crate knows it by one.
    pub(crate) stream: Option<u16>,
    pub(crate) role: Role,
    pub(crate) state: &'static str,
    waiting: VecDeque<(bool, Vec<u8>)>,
    pub(crate) source: Option<Source>,
}

impl Channel {
    pub(crate) fn new(id: ChannelId, config: ChannelConfig, role: Role) -> Self {
        Self {
            id,
            stream: config.negotiated,
            config,
            role,
            state: "connecting",
            waiting: VecDeque::new(),
            source: None,
        }
    }

    pub(crate) fn send(&mut self, binary: bool, data: Vec<u8>) {
        if self.waiting.len() < MAX_WAITING {
            self.waiting.push_back((binary, data));
        } else {
            log("a message is dropped: too many wait");
        }
    }

    /// Writes what there is room for.
    pub(crate) fn flush(&mut self, rtc: &mut Rtc) {
        let Some(mut channel) = rtc.channel(self.id) else {
            return;
        };
        let mut write = |binary, data: &[u8]| match channel.write(binary, data) {
            Ok(taken) => taken,
            Err(error) => {
                log(format!("write: {error}"));
                true
            }
        };
        while let Some((binary, data)) = self.waiting.front() {
            if !write(*binary, data) {
                return;
            }
            self.waiting.pop_front();
        }
        while let Some(source) = self
            .source
            .as_mut()
            .filter(|source| source.next < source.count)
        {
            if !write(true, &pattern(source.next, source.size)) {
                return;
            }
            source.next += 1;
        }
    }

    pub(crate) fn describe(&self) -> Value {
        let (retransmits, lifetime) = match self.config.reliability {
            Reliability::Reliable => (None, None),
            Reliability::MaxRetransmits { retransmits } => (Some(retransmits), None),
            Reliability::MaxPacketLifetime { lifetime } => (None, Some(lifetime)),
        };
        json!({
            "label": self.config.label,
            "protocol": self.config.protocol,
            "ordered": self.config.ordered,
            "maxRetransmits": retransmits,
            "maxPacketLifeTime": lifetime,
            "negotiated": self.config.negotiated.is_some(),
            "id": self.stream,
            "state": self.state,
        })
    }
}
