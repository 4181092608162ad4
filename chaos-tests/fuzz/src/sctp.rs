//! SCTP: two associations with data channels on them, and the packets between them.

use std::time::{Duration, Instant};

use bytes::Bytes;
use peerloom_transports_proto::channel::{ChannelInit, Channels, Event, Message, Reliability};
use peerloom_transports_proto::config::{ChannelConfig, SctpConfig};
use peerloom_transports_proto::id::{ChannelId, DtlsRole};
use peerloom_transports_proto::sctp::{Association, MAX_UNREAD_CHUNKS};

use super::packet_forge::seal;
use super::script::{Ends, Reader, play};

/// Every association refuses to hold more unread chunks than this, and those of one packet.
const UNREAD: usize = 2 * MAX_UNREAD_CHUNKS + 70_000;

pub(crate) struct End {
    pub(crate) association: Association,
    channels: Channels,
    ids: Vec<ChannelId>,
    /// The verification tag that its peer puts into packets.
    tag: [u8; 4],
    reads: bool,
}

pub(crate) struct Associations {
    pub(crate) ends: [End; 2],
    pub(crate) now: Instant,
    /// Messages and channels that came in.
    pub(crate) received: usize,
    pub(crate) accepted: usize,
}

fn end(role: DtlsRole, now: Instant) -> End {
    let config = ChannelConfig {
        peerloom_peer: true,
        ..ChannelConfig::default()
    };
    let mut channels = Channels::new(config);
    channels.start(role);
    let association = Association::new(SctpConfig::default(), role, now).expect("association");
    End {
        association,
        channels,
        ids: Vec::new(),
        tag: [0; 4],
        reads: true,
    }
}

impl Associations {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            ends: [end(DtlsRole::Client, now), end(DtlsRole::Server, now)],
            now,
            received: 0,
            accepted: 0,
        }
    }

    pub(crate) fn connected(&self) -> bool {
        let connected = |end: &End| end.association.is_connected();
        self.ends.iter().any(connected)
    }

    fn note(&mut self, at: usize, event: Event) {
        let end = &mut self.ends[at];
        match event {
            Event::Opened(id) => end.ids.push(id),
            Event::Accepted(id) => {
                self.accepted += 1;
                end.ids.push(id);
                assert!(end.channels.init(id).is_some());
            }
            Event::Closed { channel, .. } => end.ids.retain(|id| *id != channel),
            Event::Messages { channel, messages } => {
                self.received += messages.len();
                if end.reads {
                    let cost = messages.iter().map(Message::cost).sum();
                    end.channels.grant(channel, cost);
                }
            }
            Event::BufferedAmountLow(_)
            | Event::Writable(_)
            | Event::Closing(_)
            | Event::AssociationClosed(_) => {}
        }
    }
}

impl Ends for Associations {
    fn drain(&mut self, sent: &mut Vec<(usize, Vec<u8>)>) {
        for at in 0..2 {
            let end = &mut self.ends[at];
            end.channels.pump(&mut end.association, self.now);
            while let Some(event) = self.ends[at].channels.poll_event() {
                self.note(at, event);
            }
            let end = &mut self.ends[at];
            let mut tag = None;
            while let Some(packet) = end.association.poll_transmit(self.now) {
                tag = packet.get(4..8).and_then(|tag| tag.try_into().ok());
                sent.push((1 - at, packet.to_vec()));
            }
            assert!(end.association.unread_chunks() <= UNREAD);
            assert!(end.channels.ids().count() <= 1024);
            self.ends[1 - at].tag = tag.unwrap_or(self.ends[1 - at].tag);
        }
    }

    fn feed(&mut self, to: usize, packet: &[u8]) {
        let packet = Bytes::copy_from_slice(packet);
        self.ends[to].association.handle_packet(packet, self.now);
    }

    /// Ports, verification tag and checksum. An INIT keeps the tag of zero.
    fn seal(&self, to: usize, packet: &mut Vec<u8>) {
        if packet.len() < 12 {
            packet.resize(12, 0);
        }
        packet[..4].copy_from_slice(&[0x13, 0x88, 0x13, 0x88]);
        if packet.get(12) != Some(&1) {
            packet[4..8].copy_from_slice(&self.ends[to].tag);
        }
        seal(packet);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        for end in &mut self.ends {
            end.association.handle_timeout(self.now);
        }
    }

    fn act(&mut self, end: usize, what: u8) {
        let end = &mut self.ends[end];
        let id = end
            .ids
            .get(usize::from(what >> 4) % end.ids.len().max(1))
            .copied();
        // What cannot be done now is refused.
        match (what % 8, id) {
            (0, _) => drop(open(end, Reliability::Reliable)),
            (1, _) => drop(open(end, Reliability::MaxRetransmits(1))),
            (2, _) => drop(open(end, Reliability::MaxLifetime(20))),
            (3, Some(id)) => end.channels.close(id),
            (4, Some(id)) => drop(end.channels.send(id, Message::Text(String::new()))),
            (5, Some(id)) => drop(
                end.channels
                    .send(id, Message::Binary(vec![1; 70_000].into())),
            ),
            (6, Some(id)) => drop(end.channels.send(id, Message::Text("x".repeat(300)))),
            (7, _) => end.reads = !end.reads,
            (_, None) | (_, Some(_)) => {}
        }
    }
}

fn open(end: &mut End, reliability: Reliability) -> Option<ChannelId> {
    let init = ChannelInit {
        label: "label".into(),
        protocol: "p".into(),
        ordered: reliability == Reliability::Reliable,
        reliability,
        ..ChannelInit::default()
    };
    end.channels.open(init).ok()
}

/// A script. Gets anywhere if an association is established at an end.
pub fn sctp(data: &[u8]) -> bool {
    let mut reader = Reader(data);
    let mut ends = Associations::new();
    // The first byte is like that of other scripts, and means nothing here.
    let _setup = reader.byte();
    play(reader.0, &mut ends);
    assert!(
        ends.received == 0 || ends.accepted > 0,
        "a message without a channel"
    );
    ends.connected()
}

/// The packets of a script.
pub(crate) fn packets(data: &[u8]) -> Vec<(usize, Vec<u8>)> {
    play(data.get(1..).unwrap_or_default(), &mut Associations::new())
}
