//! SCTP: two associations with data channels on them, and the packets between them. Either end
//! runs on either engine.

use std::time::{Duration, Instant};

use bytes::Bytes;
use peerloom_transports_proto::channel::{ChannelInit, Channels, Event, Message, Reliability};
use peerloom_transports_proto::config::{ChannelConfig, SctpConfig, SctpEngine};
use peerloom_transports_proto::id::{ChannelId, DtlsRole};
use peerloom_transports_proto::sctp::{
    Association, LONGEST_PACKET, MAX_QUEUED_PACKETS, MAX_UNREAD_CHUNKS,
};

use super::packet_forge::seal;
use super::script::{Ends, Reader, play};
use super::sctp_numbers::{Numbers, place};

/// Bits of the setup, with those of the second end beside them.
pub(crate) const NATIVE: u8 = 1;
pub(crate) const NO_INTERLEAVING: u8 = 1 << 2;
pub(crate) const CHECKSUMS: u8 = 1 << 4;
/// Both ends take little, and few streams.
pub(crate) const SMALL: u8 = 1 << 6;
pub(crate) const FEW_STREAMS: u8 = 1 << 7;

/// Calls after which nothing is due any more: each timer may have run out.
const MAX_TIMERS: usize = 8;

/// Every association refuses to hold more unread chunks than this, and those of one packet.
const UNREAD: usize = 2 * MAX_UNREAD_CHUNKS + 70_000;

pub(crate) struct End {
    pub(crate) association: Association,
    channels: Channels,
    ids: Vec<ChannelId>,
    /// The verification tag that its peer puts into packets.
    tag: [u8; 4],
    numbers: Numbers,
    reads: bool,
}

pub(crate) struct Associations {
    pub(crate) ends: [End; 2],
    pub(crate) now: Instant,
    /// Channels that the peer has opened.
    pub(crate) accepted: usize,
}

/// The settings of an end: 0 or 1 of `setup`.
fn settings(setup: u8, end: u8) -> SctpConfig {
    let has = |bit: u8| setup & (bit << end) != 0;
    let both = |bit: u8| setup & bit != 0;
    let usual = SctpConfig::default();
    SctpConfig {
        engine: if has(NATIVE) {
            SctpEngine::Native
        } else {
            SctpEngine::Packaged
        },
        interleaving: !has(NO_INTERLEAVING),
        zero_checksum: !has(CHECKSUMS),
        receive_window: if both(SMALL) {
            16 * 1024
        } else {
            usual.receive_window
        },
        streams: if both(FEW_STREAMS) { 8 } else { usual.streams },
        ..usual
    }
}

fn end(role: DtlsRole, settings: SctpConfig, now: Instant) -> End {
    let config = ChannelConfig {
        peerloom_peer: true,
        ..ChannelConfig::default()
    };
    let mut channels = Channels::new(config);
    channels.start(role);
    let association = Association::new(settings, role, now).expect("association");
    End {
        association,
        channels,
        ids: Vec::new(),
        tag: [0; 4],
        numbers: Numbers::default(),
        reads: true,
    }
}

impl Associations {
    /// With the bits of `setup` above.
    pub(crate) fn new(setup: u8) -> Self {
        let now = Instant::now();
        Self {
            ends: [
                end(DtlsRole::Client, settings(setup, 0), now),
                end(DtlsRole::Server, settings(setup, 1), now),
            ],
            now,
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
                assert!(end.ids.contains(&channel), "a message without a channel");
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
            assert!(end.association.queued_packets() <= MAX_QUEUED_PACKETS);
            while let Some(packet) = end.association.poll_transmit(self.now) {
                assert!(packet.len() <= LONGEST_PACKET, "{} bytes", packet.len());
                tag = packet.get(4..8).and_then(|tag| tag.try_into().ok());
                end.numbers.note(&packet);
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

    /// Ports, verification tag, serial numbers and checksum. An INIT keeps the tag of zero.
    fn seal(&self, to: usize, packet: &mut Vec<u8>) {
        if packet.len() < 12 {
            packet.resize(12, 0);
        }
        packet[..4].copy_from_slice(&[0x13, 0x88, 0x13, 0x88]);
        if packet.get(12) != Some(&1) {
            packet[4..8].copy_from_slice(&self.ends[to].tag);
        }
        place(packet, self.ends[1 - to].numbers, self.ends[to].numbers);
        seal(packet);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        for end in &mut self.ends {
            run_timers(&mut end.association, self.now);
        }
    }

    fn act(&mut self, end: usize, what: u8) {
        let now = self.now;
        let end = &mut self.ends[end];
        let id = end
            .ids
            .get(usize::from(what >> 4) % end.ids.len().max(1))
            .copied();
        // What cannot be done now is refused.
        match (what % 16, id) {
            (0, _) => drop(open(end, true, Reliability::Reliable)),
            (1, _) => drop(open(end, false, Reliability::MaxRetransmits(1))),
            (2, _) => drop(open(end, false, Reliability::MaxLifetime(20))),
            (8, _) => drop(open(end, true, Reliability::MaxRetransmits(0))),
            (9, _) => drop(open(end, false, Reliability::Reliable)),
            (10, _) => drop(open(end, true, Reliability::MaxLifetime(0))),
            (3, Some(id)) => end.channels.close(id),
            (7, _) => end.reads = !end.reads,
            (11, Some(id)) => (0..40).for_each(|_| send(end, id, 1)),
            (12, Some(id)) => (0..4).for_each(|_| send(end, id, 30_000)),
            (13, _) => end.association.abort(now),
            (4, Some(id)) => send(end, id, 0),
            (5, Some(id)) => send(end, id, 70_000),
            (6, Some(id)) => send(end, id, 300),
            (14, Some(id)) => send(end, id, 2_000),
            (_, None) | (_, Some(_)) => {}
        }
    }
}

/// What is due is done, and then nothing is.
fn run_timers(association: &mut Association, now: Instant) {
    for _ in 0..MAX_TIMERS {
        association.handle_timeout(now);
        let next = association.poll_protocol_timeout();
        if next.is_none_or(|next| next.at > now) {
            return;
        }
    }
    panic!("due again and again: {association:?}");
}

fn send(end: &mut End, id: ChannelId, len: usize) {
    // A channel that is full or closing refuses.
    drop(end.channels.send(id, Message::Binary(vec![1; len].into())));
}

fn open(end: &mut End, ordered: bool, reliability: Reliability) -> Option<ChannelId> {
    let init = ChannelInit {
        label: "label".into(),
        protocol: "p".into(),
        ordered,
        reliability,
        ..ChannelInit::default()
    };
    end.channels.open(init).ok()
}

/// A byte of setup, then a script. Gets anywhere if an association is established at an end.
pub fn sctp(data: &[u8]) -> bool {
    let mut reader = Reader(data);
    let mut ends = Associations::new(reader.byte().unwrap_or_default());
    play(reader.0, &mut ends);
    ends.connected()
}

/// The packets of a script.
pub(crate) fn packets(data: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut reader = Reader(data);
    let mut ends = Associations::new(reader.byte().unwrap_or_default());
    play(reader.0, &mut ends)
}
