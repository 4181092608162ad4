//! Two associations of our own, packet by packet.

#![allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]

mod acks;
mod hostile;

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::super::{CloseReason, ErrorCause, Event, MAX_PACKET, Message, Ppid, Reliability};
use super::wire::{Address, Checksum, PacketWriter, cause, chunks, flag, kind};
use super::{Association, Random};
use crate::config::SctpConfig;
use crate::id::{DtlsRole, StreamId};

const S: StreamId = StreamId(3);
const DELAY: Duration = Duration::from_millis(10);

fn end(role: DtlsRole, config: &SctpConfig, now: Instant) -> Association {
    let seed = match role {
        DtlsRole::Client => 1,
        DtlsRole::Server => 2,
    };
    let random = Random {
        tag: seed * 1000,
        first_tsn: u32::MAX - 5 * seed,
        cookie_key: [9; 32],
    };
    Association::new(config.clone(), role, random, now)
}

/// Whether to lose a packet of this end.
type Loss = Box<dyn FnMut(usize, &Bytes) -> bool>;

struct Pair {
    ends: [Association; 2],
    now: Instant,
    wire: Vec<(Instant, usize, Bytes)>,
    lose: Loss,
    events: [Vec<Event>; 2],
}

impl Pair {
    fn new(config: &SctpConfig) -> Self {
        let now = Instant::now();
        Self {
            ends: [
                end(DtlsRole::Client, config, now),
                end(DtlsRole::Server, config, now),
            ],
            now,
            wire: Vec::new(),
            lose: Box::new(|_, _| false),
            events: Default::default(),
        }
    }

    fn connected(config: &SctpConfig) -> Self {
        let mut pair = Self::new(config);
        pair.run(Duration::from_millis(100));
        assert!(pair.ends.iter().all(Association::is_connected));
        pair
    }

    fn drain(&mut self) {
        for index in 0..2 {
            while let Some(event) = self.ends[index].poll_event() {
                self.events[index].push(event);
            }
            while let Some(packet) = self.ends[index].poll_transmit(self.now) {
                if !(self.lose)(index, &packet) {
                    self.wire.push((self.now + DELAY, 1 - index, packet));
                }
            }
        }
    }

    fn run(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.drain();
            let timers = self.ends.iter().filter_map(|e| e.poll_timeout());
            let wire = self.wire.iter().map(|(at, ..)| *at);
            let next = timers.map(|d| d.at).chain(wire).min();
            let Some(at) = next.filter(|at| *at <= end) else {
                self.now = end;
                return;
            };
            self.now = self.now.max(at);
            let now = self.now;
            let (due, later) = std::mem::take(&mut self.wire)
                .into_iter()
                .partition(|w| w.0 <= now);
            self.wire = later;
            for (_, to, packet) in due {
                self.ends[to].handle_packet(&packet, now);
            }
            for end in &mut self.ends {
                end.handle_timeout(now);
            }
        }
    }

    fn write(&mut self, end: usize, reliability: Reliability, data: impl Into<Bytes>) {
        let message = Message {
            ppid: Ppid::Binary,
            data: data.into(),
        };
        let now = self.now;
        self.ends[end]
            .write(S, true, reliability, &message, now)
            .expect("written");
    }

    fn read_all(&mut self, end: usize) -> Vec<Bytes> {
        std::iter::from_fn(|| self.ends[end].read(S))
            .map(|message| message.data)
            .collect()
    }
}

fn kinds(packet: &Bytes) -> Vec<u8> {
    chunks(packet).flatten().map(|chunk| chunk.kind).collect()
}

#[test]
fn both_may_begin_at_once() {
    let config = SctpConfig::default();
    let mut pair = Pair::new(&config);
    pair.ends[1] = end(
        DtlsRole::Server,
        &SctpConfig {
            init_patience: Some(Duration::ZERO),
            ..config
        },
        pair.now,
    );
    let now = pair.now;
    pair.ends[1].handle_timeout(now);
    pair.run(Duration::from_secs(1));
    assert!(pair.ends.iter().all(Association::is_connected));
    for end in 0..2 {
        pair.write(end, Reliability::Reliable, "hello");
    }
    pair.run(Duration::from_secs(1));
    for end in 0..2 {
        assert_eq!(pair.read_all(end), ["hello"]);
        let connected = pair.events[end].iter().filter(|e| **e == Event::Connected);
        assert_eq!(connected.count(), 1);
    }
}

#[test]
fn a_lost_last_packet_is_sent_again_after_about_two_round_trips() {
    let mut pair = Pair::connected(&SctpConfig::default());
    let mut first = true;
    pair.lose = Box::new(move |end, packet| {
        let data = end == 0 && kinds(packet).contains(&kind::I_DATA);
        data && std::mem::take(&mut first)
    });
    pair.write(0, Reliability::Reliable, "x");
    pair.run(DELAY * 2 * 2 + Duration::from_millis(40));
    assert_eq!(pair.read_all(1), ["x"], "a tail loss probe");
    assert_eq!(pair.ends[0].stats().chunks_retransmitted, 1);
}

#[test]
fn one_lost_packet_is_sent_again_once_and_within_a_round_trip() {
    let mut pair = Pair::connected(&SctpConfig::default());
    let mut count = 0;
    pair.lose = Box::new(move |end, packet| {
        count += usize::from(end == 0 && packet.len() > 1000);
        count == 3 && end == 0 && packet.len() > 1000
    });
    pair.write(0, Reliability::Reliable, vec![5; 9000]);
    pair.run(DELAY * 4 + Duration::from_millis(1));
    assert_eq!(pair.read_all(1), [vec![5; 9000]]);
    assert_eq!(pair.ends[0].stats().chunks_retransmitted, 1);
}

#[test]
fn without_loss_nothing_is_sent_twice_and_acknowledgements_are_few() {
    let mut pair = Pair::connected(&SctpConfig::default());
    for _ in 0..40 {
        pair.write(0, Reliability::Reliable, vec![1; 50_000]);
    }
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.read_all(1).len(), 40);
    let [sent, acks] = [0, 1].map(|end: usize| pair.ends[end].stats().packets_sent);
    assert_eq!(pair.ends[0].stats().chunks_retransmitted, 0);
    assert!(acks * 2 <= sent + 20, "{acks} for {sent}");
    assert_eq!(pair.ends[0].buffered_total(), 0);
}

#[test]
fn the_checksum_is_left_out_only_if_both_agree_and_never_in_the_handshake() {
    let zero = |packet: &Bytes| packet[8..12] == [0; 4];
    for (ours, theirs) in [(true, true), (true, false), (false, true)] {
        let config = |zero_checksum| SctpConfig {
            zero_checksum,
            ..SctpConfig::default()
        };
        let mut pair = Pair::new(&config(ours));
        pair.ends[1] = end(DtlsRole::Server, &config(theirs), pair.now);
        let agreed = ours && theirs;
        pair.lose = Box::new(move |_, packet| {
            let opening = [kind::INIT, kind::INIT_ACK, kind::COOKIE_ECHO];
            let handshake = kinds(packet).iter().any(|kind| opening.contains(kind));
            assert_eq!(zero(packet), agreed && !handshake);
            false
        });
        pair.run(Duration::from_millis(100));
        pair.write(0, Reliability::Reliable, "x");
        pair.run(Duration::from_millis(100));
        assert_eq!(pair.read_all(1), ["x"]);
    }
}

#[test]
fn short_messages_are_not_held_up_by_long_ones_when_both_interleave() {
    for interleaving in [true, false] {
        let config = SctpConfig {
            interleaving,
            ..SctpConfig::default()
        };
        let mut pair = Pair::connected(&config);
        let message = |data: Vec<u8>| Message {
            ppid: Ppid::Binary,
            data: data.into(),
        };
        let now = pair.now;
        let (long, short) = (message(vec![1; 200_000]), message(vec![2; 100]));
        let reliable = Reliability::Reliable;
        pair.ends[0]
            .write(S, true, reliable, &long, now)
            .expect("written");
        let other = StreamId(4);
        pair.ends[0]
            .write(other, true, reliable, &short, now)
            .expect("written");
        pair.run(DELAY * 2);
        assert_eq!(pair.ends[1].read(other).is_some(), interleaving);
        pair.run(Duration::from_secs(2));
        assert_eq!(pair.read_all(1).len(), 1);
    }
}

#[test]
fn a_heartbeat_is_answered_and_unknown_chunks_are_reported_as_they_ask() {
    let mut pair = Pair::connected(&SctpConfig::default());
    let address = Address {
        ports: [0x13, 0x88, 0x13, 0x88],
        tag: 2000,
    };
    let mut out = BytesMut::new();
    let mut writer = PacketWriter::new(&mut out, address, 1000);
    writer.chunk(0xbf, 0, &[], &[1]); // skipped
    writer.chunk(0xff, 0, &[], &[2]); // reported
    writer.chunk(kind::HEARTBEAT, 0, &[], &[0, 1, 0, 8, 1, 2, 3, 4]);
    writer.chunk(0x3f, 0, &[], &[3]); // ends the packet
    writer.chunk(kind::HEARTBEAT, 0, &[], &[0, 1, 0, 4]);
    writer.finish(Checksum::Crc32c);
    let now = pair.now;
    pair.ends[1].handle_packet(&out.freeze(), now);
    let answer = pair.ends[1].poll_transmit(now).expect("an answer");
    assert_eq!(kinds(&answer), [kind::ERROR, kind::HEARTBEAT_ACK]);
    assert!(answer.ends_with(&[0, 1, 0, 8, 1, 2, 3, 4]));
    assert!(pair.ends[1].is_connected());
}

fn inject(pair: &mut Pair, kind: u8, flags: u8, value: &[u8]) {
    inject_all(pair, &[(kind, flags, value.to_vec())]);
}

/// A packet of these chunks arrives at the server.
fn inject_all(pair: &mut Pair, chunks: &[(u8, u8, Vec<u8>)]) {
    let address = Address {
        ports: [0x13, 0x88, 0x13, 0x88],
        tag: 2000,
    };
    let mut out = BytesMut::new();
    let mut writer = PacketWriter::new(&mut out, address, 1500);
    for (kind, flags, value) in chunks {
        writer.chunk(*kind, *flags, &[], value);
    }
    writer.finish(Checksum::Crc32c);
    let now = pair.now;
    pair.ends[1].handle_packet(&out.freeze(), now);
}

#[test]
fn data_without_bytes_and_data_of_the_wrong_kind_end_it() {
    let whole = flag::BEGIN | flag::END;
    let cases = [
        (kind::I_DATA, 16, cause::NO_USER_DATA),
        (kind::DATA, 20, cause::PROTOCOL_VIOLATION),
        (kind::I_DATA, 10, cause::PROTOCOL_VIOLATION),
    ];
    for (kind, len, why) in cases {
        let mut pair = Pair::connected(&SctpConfig::default());
        let mut value = vec![0; len];
        value[..4].copy_from_slice(&(u32::MAX - 5).to_be_bytes());
        inject(&mut pair, kind, whole, &value);
        pair.run(Duration::from_millis(50));
        let closed = |end: usize, why| pair.events[end].contains(&Event::Closed(why));
        assert!(closed(1, CloseReason::Protocol));
        assert!(closed(0, CloseReason::Aborted(Some(ErrorCause(why)))));
    }
}

#[test]
fn what_lies_too_far_ahead_is_not_taken() {
    let mut pair = Pair::connected(&SctpConfig::default());
    let whole = flag::BEGIN | flag::END;
    for ahead in [70_000_u32, 1 << 31, u32::MAX] {
        let mut value = vec![0; 17];
        let tsn = (u32::MAX - 5).wrapping_add(ahead);
        value[..4].copy_from_slice(&tsn.to_be_bytes());
        inject(&mut pair, kind::I_DATA, whole, &value);
    }
    assert_eq!(pair.ends[1].unread_chunks(), 0);
    pair.write(0, Reliability::Reliable, "x");
    pair.run(Duration::from_millis(100));
    assert_eq!(pair.read_all(1), ["x"]);
}

#[test]
fn the_peer_may_shut_down_and_gets_what_is_left() {
    let mut pair = Pair::connected(&SctpConfig::default());
    for _ in 0..30 {
        pair.write(1, Reliability::Reliable, vec![1; 9000]);
    }
    pair.drain();
    inject(&mut pair, kind::SHUTDOWN, 0, &(u32::MAX - 11).to_be_bytes());
    let mut acked = false;
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.read_all(0).len(), 30);
    while let Some(packet) = pair.ends[1].poll_transmit(pair.now) {
        acked |= kinds(&packet).contains(&kind::SHUTDOWN_ACK);
    }
    pair.now += Duration::from_secs(3);
    let now = pair.now;
    pair.ends[1].handle_timeout(now);
    while let Some(packet) = pair.ends[1].poll_transmit(now) {
        acked |= kinds(&packet).contains(&kind::SHUTDOWN_ACK);
    }
    assert!(acked);
    inject(&mut pair, kind::SHUTDOWN_COMPLETE, 0, &[]);
    assert_eq!(pair.ends[1].close_reason(), Some(CloseReason::Peer));
}

#[test]
fn a_message_given_up_does_not_hold_up_those_after_it() {
    for interleaving in [true, false] {
        let config = SctpConfig {
            interleaving,
            ..SctpConfig::default()
        };
        let mut pair = Pair::connected(&config);
        pair.lose = Box::new(|end, packet| end == 0 && packet.len() > 1000);
        pair.write(0, Reliability::MaxRetransmits(0), vec![1; 3000]);
        pair.write(0, Reliability::MaxRetransmits(1), vec![2; 3000]);
        pair.write(0, Reliability::Reliable, "after");
        pair.run(Duration::from_secs(3));
        assert_eq!(pair.read_all(1), ["after"]);
        assert_eq!(pair.ends[0].buffered_total(), 0);
        assert_eq!(pair.ends[1].unread_chunks(), 0);
    }
}
