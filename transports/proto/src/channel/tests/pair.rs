//! Two ends over a wire that takes its time.

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::*;
use super::carrier::{Below, Carrier};
use crate::config::ChannelConfig;
use crate::id::DtlsRole;

pub(super) struct End {
    pub(super) association: Carrier,
    pub(super) channels: Channels,
    pub(super) events: Vec<Event>,
    /// Whether the consumer takes messages.
    pub(super) takes: bool,
}

pub(super) struct Pair {
    pub(super) ends: [End; 2],
    pub(super) now: Instant,
    pub(super) wire: Vec<(Instant, usize, Bytes)>,
}

pub(super) const LATENCY: Duration = Duration::from_millis(2);

pub(super) fn text(text: &str) -> Message {
    Message::Text(text.to_owned())
}

pub(super) fn labelled(label: &str) -> ChannelInit {
    ChannelInit {
        label: label.into(),
        ..ChannelInit::default()
    }
}

impl Pair {
    pub(super) fn with(config: &ChannelConfig, engines: [Below; 2]) -> Self {
        let now = Instant::now();
        let end = |role, engine| {
            let association = Carrier::new(engine, role, now);
            let mut channels = Channels::new(config.clone());
            channels.start(role);
            End {
                association,
                channels,
                events: Vec::new(),
                takes: true,
            }
        };
        let ends = [
            end(DtlsRole::Client, engines[0]),
            end(DtlsRole::Server, engines[1]),
        ];
        Self {
            ends,
            now,
            wire: Vec::new(),
        }
    }

    pub(super) fn new(engines: [Below; 2]) -> Self {
        let config = ChannelConfig {
            remote_max_message_size: Some(256 * 1024),
            ..ChannelConfig::default()
        };
        Self::with(&config, engines)
    }

    pub(super) fn drain(&mut self) {
        let now = self.now;
        for (index, end) in self.ends.iter_mut().enumerate() {
            end.channels.pump(&mut end.association, now);
            while let Some(event) = end.channels.poll_event() {
                if let Event::Messages { channel, messages } = &event
                    && end.takes
                {
                    end.channels
                        .grant(*channel, messages.iter().map(Message::cost).sum());
                }
                end.events.push(event);
            }
            while let Some(packet) = end.association.poll_transmit(now) {
                self.wire.push((now + LATENCY, 1 - index, packet));
            }
        }
    }

    pub(super) fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            let timers = self.ends.iter().flat_map(|end| {
                let sctp = end.association.poll_timeout();
                [sctp, end.channels.poll_timeout().map(|d| d.at)]
            });
            let wire = self.wire.iter().map(|(at, ..)| *at);
            let Some(at) = timers.flatten().chain(wire).min().filter(|at| *at <= end) else {
                self.now = end;
                return false;
            };
            self.now = self.now.max(at);
            let now = self.now;
            let (due, later) = std::mem::take(&mut self.wire)
                .into_iter()
                .partition(|w| w.0 <= now);
            self.wire = later;
            for (_, to, packet) in due {
                self.ends[to].association.handle_packet(packet, now);
            }
            for end in &mut self.ends {
                end.association.handle_timeout(now);
            }
        }
    }

    pub(super) fn settle(&mut self) {
        self.run(Duration::from_secs(3), |_| false);
    }

    pub(super) fn open(&mut self, end: usize, init: ChannelInit) -> (ChannelId, ChannelId) {
        let stream = init.negotiated;
        let id = self.ends[end].channels.open(init).expect("open");
        let opened = Event::Opened(id);
        assert!(self.run(Duration::from_secs(5), |pair| {
            pair.ends[end].events.contains(&opened)
                && (stream.is_some() || pair.accepted(1 - end).is_some())
        }));
        let other = self.accepted(1 - end).unwrap_or(ChannelId(u64::MAX));
        self.ends[1 - end]
            .events
            .retain(|event| !matches!(event, Event::Accepted(_)));
        (id, other)
    }

    pub(super) fn accepted(&self, end: usize) -> Option<ChannelId> {
        self.ends[end].events.iter().find_map(|event| {
            let Event::Accepted(id) = event else {
                return None;
            };
            Some(*id)
        })
    }

    pub(super) fn send(&mut self, end: usize, id: ChannelId, message: Message) {
        self.ends[end].channels.send(id, message).expect("send");
    }

    pub(super) fn messages(&self, end: usize, id: ChannelId) -> Vec<Message> {
        let of = |event: &Event| {
            let Event::Messages { channel, messages } = event else {
                return Vec::new();
            };
            if *channel == id {
                messages.clone()
            } else {
                Vec::new()
            }
        };
        self.ends[end].events.iter().flat_map(of).collect()
    }

    pub(super) fn closed(&self, end: usize, id: ChannelId) -> bool {
        self.ends[end]
            .events
            .iter()
            .any(|e| matches!(e, Event::Closed { channel, .. } if *channel == id))
    }
}
