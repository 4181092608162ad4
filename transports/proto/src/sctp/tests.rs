#![allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::packaged::packet;
use super::*;
use crate::config::{SctpConfig, SctpEngine};
use crate::id::DtlsRole;

struct Pair {
    ends: [Association; 2],
    now: Instant,
    wire: Vec<(Instant, usize, Bytes)>,
    latency: Duration,
    /// About one in so many packets is lost; 0 for none.
    lose: usize,
    count: usize,
    /// How many packets with data of one burst find room in the mailbox behind the wire.
    room: Option<usize>,
    /// The end that takes no INIT, like werift 0.25 where it controls ICE.
    deaf: Option<usize>,
    /// Whether each end reads what arrives.
    reads: [bool; 2],
    got: [Vec<(StreamId, Message)>; 2],
    /// What each end said of resets: those of [`S`], and answers.
    resets: [Vec<Said>; 2],
    events: [Vec<Event>; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Said {
    Reset,
    Answer,
}

/// What a packet says of resets (RFC 6525 §3.1, §4.1 and §4.4).
fn said(packet: &[u8]) -> Vec<Said> {
    let number = |bytes: &[u8]| usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    let mut said = Vec::new();
    let mut chunk = &packet[12..];
    while let [kind, _, rest @ ..] = chunk
        && !rest.is_empty()
    {
        let mut part = match kind {
            130 => &chunk[4..number(rest)],
            _ => &[],
        };
        while !part.is_empty() {
            let len = number(&part[2..]);
            match number(part) {
                13 if part[16..len].chunks(2).any(|id| number(id) == 0) => said.push(Said::Reset),
                16 => said.push(Said::Answer),
                _ => {}
            }
            part = part.get(len.next_multiple_of(4)..).unwrap_or_default();
        }
        let len = number(rest).next_multiple_of(4);
        chunk = chunk.get(len..).unwrap_or_default();
    }
    said
}

const S: StreamId = StreamId(0);
const BY_USER: CloseReason = CloseReason::Aborted(Some(ErrorCause::USER_INITIATED_ABORT));

fn binary(data: impl Into<Bytes>) -> Message {
    Message {
        ppid: Ppid::Binary,
        data: data.into(),
    }
}

fn config(engine: SctpEngine) -> SctpConfig {
    SctpConfig {
        engine,
        ..SctpConfig::default()
    }
}

impl Pair {
    fn new(engines: [SctpEngine; 2]) -> Self {
        Self::with_streams(engines, [SctpConfig::default().streams; 2])
    }

    fn with_streams(engines: [SctpEngine; 2], streams: [u16; 2]) -> Self {
        let now = Instant::now();
        let new = |role, end: usize| {
            let config = SctpConfig {
                streams: streams[end],
                ..config(engines[end])
            };
            Association::new(config, role, now).expect("association")
        };
        Self {
            ends: [new(DtlsRole::Client, 0), new(DtlsRole::Server, 1)],
            now,
            wire: Vec::new(),
            latency: Duration::from_millis(5),
            lose: 0,
            count: 0,
            room: None,
            deaf: None,
            reads: [true; 2],
            got: Default::default(),
            resets: Default::default(),
            events: Default::default(),
        }
    }

    fn connected(engines: [SctpEngine; 2]) -> Self {
        Self::new(engines).connect()
    }

    fn connect(self) -> Self {
        let mut pair = self;
        let up = |pair: &Self| pair.ends.iter().all(Association::is_connected);
        assert!(pair.run(Duration::from_secs(5), up));
        pair
    }

    fn drain(&mut self) {
        for (index, end) in self.ends.iter_mut().enumerate() {
            while let Some(event) = end.poll_event() {
                self.events[index].push(event);
            }
            if self.reads[index] {
                let all: Vec<StreamId> = (0..1024).map(StreamId).collect();
                for stream in all {
                    while let Some(message) = end.read(stream) {
                        self.got[index].push((stream, message));
                    }
                }
            }
            let mut room = self.room.unwrap_or(usize::MAX);
            while let Some(packet) = end.poll_transmit(self.now) {
                assert!(packet.len() <= LONGEST_PACKET);
                self.count += 1;
                self.resets[index].extend(said(&packet));
                // No fixed rhythm, or the same packet of an exchange would be lost each time.
                let lost = self.lose != 0 && (self.count * 7919 / 13).is_multiple_of(self.lose);
                let unheard = self.deaf == Some(1 - index) && packet::is_init(&packet);
                let large = packet.len() > MAX_PACKET / 2;
                let full = large && room == 0;
                room -= usize::from(large && !full);
                if !lost && !unheard && !full {
                    self.wire.push((self.now + self.latency, 1 - index, packet));
                }
            }
        }
    }

    fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            let timers = self
                .ends
                .iter()
                .filter_map(|e| e.poll_timeout().map(|d| d.at));
            let wire = self.wire.iter().map(|(at, ..)| *at);
            let Some(at) = timers.chain(wire).min() else {
                return false;
            };
            if at > end {
                self.now = end;
                return false;
            }
            self.now = self.now.max(at);
            let now = self.now;
            let (due, later) = std::mem::take(&mut self.wire)
                .into_iter()
                .partition(|w| w.0 <= now);
            self.wire = later;
            for (_, to, packet) in due {
                self.ends[to].handle_packet(packet, now);
            }
            for end in &mut self.ends {
                if end.poll_timeout().is_some_and(|d| d.at <= now) {
                    end.handle_timeout(now);
                }
            }
        }
    }

    fn write(&mut self, end: usize, stream: StreamId, data: impl Into<Bytes>) {
        let now = self.now;
        let message = binary(data);
        let written = self.ends[end].write(stream, true, Reliability::Reliable, &message, now);
        written.expect("write");
    }
}

/// Each test, with every pair of engines: those of the DTLS client and of the server.
macro_rules! with_all_engines {
    ($($name:ident),* $(,)?) => {
        with_all_engines!(@ both_packaged [Packaged, Packaged] $($name)*);
        with_all_engines!(@ both_native [Native, Native] $($name)*);
        with_all_engines!(@ native_client [Native, Packaged] $($name)*);
        with_all_engines!(@ native_server [Packaged, Native] $($name)*);
    };
    (@ $module:ident [$a:ident, $b:ident] $($name:ident)*) => {
        mod $module {
            use crate::config::SctpEngine;

            $(
                #[test]
                fn $name() {
                    super::$name([SctpEngine::$a, SctpEngine::$b]);
                }
            )*
        }
    };
}

with_all_engines!(
    connects_even_when_every_third_packet_is_lost,
    a_server_begins_when_the_client_does_not,
    a_client_gives_way_to_a_server_that_begins_and_answers_no_init,
    ends_that_both_begin_agree_however_long_the_round_trip,
    a_late_init_of_the_client_is_answered,
    a_repeated_init_is_answered_alike,
    messages_arrive_in_order_through_loss_within_the_scaled_timeout,
    a_slow_reader_closes_the_window_and_opens_it_without_waiting_for_a_timer,
    unread_chunks_are_bounded_and_nothing_is_lost,
    answers_that_nobody_takes_are_bounded,
    a_reset_comes_after_the_data_and_frees_the_stream_on_both_sides,
    a_stream_is_reset_once_by_each_end_whoever_begins,
    a_message_with_a_lifetime_is_given_up,
    a_window_leaves_in_bursts,
    abort_is_seen_by_the_peer,
    the_first_cause_of_an_abort_is_told,
    what_arrives_beside_the_end_is_read,
    the_fewer_streams_are_agreed_on,
    what_cannot_be_written_is_refused,
);

fn connects_even_when_every_third_packet_is_lost(engines: [SctpEngine; 2]) {
    let mut pair = Pair::new(engines);
    pair.lose = 3;
    let up = |pair: &Pair| pair.ends.iter().all(Association::is_connected);
    assert!(pair.run(Duration::from_secs(30), up));
}

fn a_server_begins_when_the_client_does_not(engines: [SctpEngine; 2]) {
    for lose in [0, 3] {
        let mut pair = Pair::new(engines);
        pair.lose = lose;
        let waits = SctpConfig {
            init_patience: None,
            ..config(engines[0])
        };
        pair.ends[0] = Association::new(waits, DtlsRole::Server, pair.now).expect("sctp");
        let up = |pair: &Pair| pair.ends.iter().all(Association::is_connected);
        assert!(pair.run(Duration::from_secs(30), up), "lose {lose}");
        pair.write(1, S, "hello");
        assert!(pair.run(Duration::from_secs(9), |pair| !pair.got[0].is_empty()));
    }
}

fn a_client_gives_way_to_a_server_that_begins_and_answers_no_init(engines: [SctpEngine; 2]) {
    for lose in [0, 3] {
        let mut pair = Pair::new(engines);
        (pair.lose, pair.deaf) = (lose, Some(1));
        let begins = SctpConfig {
            init_patience: Some(Duration::ZERO),
            ..config(engines[1])
        };
        pair.ends[1] = Association::new(begins, DtlsRole::Server, pair.now).expect("sctp");
        let up = |pair: &Pair| pair.ends.iter().all(Association::is_connected);
        assert!(pair.run(Duration::from_secs(30), up), "lose {lose}");
        pair.write(0, S, "hello");
        assert!(pair.run(Duration::from_secs(9), |pair| !pair.got[1].is_empty()));
    }
}

fn ends_that_both_begin_agree_however_long_the_round_trip(engines: [SctpEngine; 2]) {
    for millis in [0, 1, 100, 299, 301, 599, 700, 2000] {
        let mut pair = Pair::new(engines);
        pair.latency = Duration::from_millis(millis);
        let up = |pair: &Pair| pair.ends.iter().all(Association::is_connected);
        assert!(pair.run(Duration::from_secs(60), up), "{millis} ms");
        pair.write(0, S, "hello");
        let arrived = |pair: &Pair| !pair.got[1].is_empty();
        assert!(pair.run(Duration::from_secs(60), arrived), "{millis} ms");
    }
}

fn a_late_init_of_the_client_is_answered(engines: [SctpEngine; 2]) {
    let mut pair = Pair::new(engines);
    pair.lose = 1;
    pair.run(Duration::from_millis(700), |_| false);
    pair.lose = 0;
    let up = |pair: &Pair| pair.ends.iter().all(Association::is_connected);
    assert!(pair.run(Duration::from_secs(30), up));
}

fn a_repeated_init_is_answered_alike(engines: [SctpEngine; 2]) {
    let mut pair = Pair::new(engines);
    let now = pair.now;
    let init = pair.ends[0].poll_transmit(now).expect("INIT");
    let answers: Vec<Bytes> = (0..3)
        .filter_map(|_| {
            pair.ends[1].handle_packet(init.clone(), now);
            pair.ends[1].poll_transmit(now)
        })
        .collect();
    assert_eq!(answers.len(), 3);
    assert!(answers.iter().all(|answer| *answer == answers[0]));
    pair.ends[0].handle_packet(answers[2].clone(), now);
    let up = |pair: &Pair| pair.ends.iter().all(Association::is_connected);
    assert!(pair.run(Duration::from_secs(5), up));
}

fn messages_arrive_in_order_through_loss_within_the_scaled_timeout(engines: [SctpEngine; 2]) {
    let mut pair = Pair::connected(engines);
    pair.lose = 20;
    let begun = pair.now;
    for i in 0..300_u32 {
        let mut data = vec![0; 3000];
        data[..4].copy_from_slice(&i.to_be_bytes());
        pair.write(0, S, data);
    }
    assert!(pair.run(Duration::from_secs(60), |pair| pair.got[1].len() == 300));
    for (i, (_, message)) in pair.got[1].iter().enumerate() {
        assert_eq!(
            message.data[..4],
            u32::try_from(i).expect("few").to_be_bytes()
        );
        assert_eq!(message.data.len(), 3000);
    }
    assert!(
        pair.now - begun < Duration::from_secs(20),
        "took {:?}",
        pair.now - begun
    );
    assert!(
        pair.run(Duration::from_secs(5), |pair| pair.ends[0].buffered_total()
            == 0)
    );
    assert_eq!(pair.ends[0].unsent(), 0);
}

/// A mailbox that was full, at a relay for instance. The packaged engine repairs a packet each round
/// trip, for which it is not asked here.
#[test]
fn a_flight_that_is_lost_is_repaired_in_a_few_round_trips() {
    let mut pair = Pair::connected([SctpEngine::Native; 2]);
    pair.latency = Duration::from_millis(40);
    for number in 0..1_500_u16 {
        pair.write(0, S, [&number.to_be_bytes()[..], &[0; 1_000]].concat());
    }
    let begun = |pair: &Pair| pair.got[1].len() >= 300;
    assert!(pair.run(Duration::from_secs(60), begun));
    pair.room = Some(2);
    pair.run(Duration::from_millis(100), |_| false);
    pair.room = None;
    let all = |pair: &Pair| pair.got[1].len() == 1_500;
    assert!(
        pair.run(Duration::from_secs(10), all),
        "{}",
        pair.got[1].len()
    );
}

fn a_slow_reader_closes_the_window_and_opens_it_without_waiting_for_a_timer(
    engines: [SctpEngine; 2],
) {
    let mut pair = Pair::connected(engines);
    pair.reads[1] = false;
    for _ in 0..40 {
        pair.write(0, S, vec![7; 200_000]);
    }
    assert!(!pair.run(Duration::from_secs(20), |_| false));
    let unsent = pair.ends[0].unsent();
    assert!(
        unsent > 3_000_000,
        "the window of 4 MiB is closed, {unsent} wait"
    );
    pair.reads[1] = true;
    let begun = pair.now;
    assert!(pair.run(Duration::from_secs(60), |pair| pair.got[1].len() == 40));
    assert!(
        pair.now - begun < Duration::from_millis(1500),
        "took {:?}",
        pair.now - begun
    );
}

fn unread_chunks_are_bounded_and_nothing_is_lost(engines: [SctpEngine; 2]) {
    let mut pair = Pair::connected(engines);
    pair.reads[1] = false;
    for i in 0..40_000_u32 {
        pair.write(0, S, i.to_be_bytes().to_vec());
    }
    assert!(!pair.run(Duration::from_secs(5), |_| false));
    let unread = pair.ends[1].unread_chunks();
    assert!(unread <= MAX_UNREAD_CHUNKS + 400, "{unread} unread");
    pair.reads[1] = true;
    assert!(pair.run(Duration::from_secs(120), |pair| pair.got[1].len() == 40_000));
    let in_order = pair.got[1]
        .iter()
        .zip(0_u32..)
        .all(|((_, m), i)| m.data[..] == i.to_be_bytes());
    assert!(in_order);
}

fn answers_that_nobody_takes_are_bounded(engines: [SctpEngine; 2]) {
    let mut pair = Pair::connected(engines);
    pair.write(0, S, vec![1]);
    let packet = pair.ends[0].poll_transmit(pair.now).expect("the message");
    let ports = packet[..4].try_into().expect("four bytes");
    let tag = packet::verification_tag(&packet).expect("a header");
    const HEARTBEAT: u8 = 4;
    let heartbeat = packet::build(ports, tag, HEARTBEAT, 0, &[0, 1, 0, 8, 1, 2, 3, 4]);
    for _ in 0..2 * MAX_QUEUED_PACKETS {
        pair.ends[1].handle_packet(heartbeat.clone(), pair.now);
    }
    let queued = pair.ends[1].queued_packets();
    match engines[1] {
        SctpEngine::Packaged => {
            let most = MAX_QUEUED_PACKETS + 2048;
            assert!((MAX_QUEUED_PACKETS..most).contains(&queued), "{queued}");
        }
        SctpEngine::Native => assert!((32..256).contains(&queued), "{queued}"),
    }
    pair.ends[1].handle_packet(packet, pair.now);
    pair.drain();
    if engines[1] == SctpEngine::Packaged {
        assert!(pair.got[1].is_empty(), "taken although nothing leaves");
    }
    pair.write(0, S, vec![2]);
    assert!(pair.run(Duration::from_secs(10), |pair| pair.got[1].len() == 2));
}

fn a_reset_comes_after_the_data_and_frees_the_stream_on_both_sides(engines: [SctpEngine; 2]) {
    for lose in [0, 4] {
        let mut pair = Pair::connected(engines);
        pair.lose = lose;
        for round in 0..3_u8 {
            pair.write(0, S, vec![round; 5000]);
            let now = pair.now;
            pair.ends[0].reset(S, now).expect("reset");
            assert!(
                pair.ends[0]
                    .write(S, true, Reliability::Reliable, &binary("x"), now)
                    .is_err()
            );
            let reset = |pair: &Pair| {
                pair.events
                    .iter()
                    .all(|events| events.contains(&Event::Reset(S)))
            };
            assert!(
                pair.run(Duration::from_secs(60), reset),
                "lose {lose} round {round}"
            );
            let expected = (S, binary(vec![round; 5000]));
            assert_eq!(
                pair.got[1].pop(),
                Some(expected),
                "lose {lose} round {round}"
            );
            assert!(pair.run(Duration::from_secs(60), |pair| !pair.ends[0].resets_open()));
            pair.events = Default::default();
        }
    }
}

fn a_stream_is_reset_once_by_each_end_whoever_begins(engines: [SctpEngine; 2]) {
    let mut pair = Pair::connected(engines);
    for closers in [[0].as_slice(), &[1], &[0], &[0, 1], &[1], &[0]] {
        pair.write(0, S, vec![1]);
        pair.write(1, S, vec![1]);
        pair.resets = Default::default();
        pair.events = Default::default();
        let arrived = |pair: &Pair| pair.got.iter().all(|got| !got.is_empty());
        assert!(pair.run(Duration::from_secs(10), arrived));
        pair.got = Default::default();
        let now = pair.now;
        for closer in closers {
            pair.ends[*closer].reset(S, now).expect("reset");
        }
        let done = |pair: &Pair| {
            let told = |events: &Vec<Event>| events.contains(&Event::Reset(S));
            let settled = pair.ends.iter().all(|end| !end.resets_open());
            settled && pair.events.iter().all(told)
        };
        assert!(pair.run(Duration::from_secs(60), done), "{closers:?}");
        for (end, said) in pair.resets.iter().enumerate() {
            let resets = said.iter().filter(|said| **said == Said::Reset).count();
            assert_eq!(resets, 1, "end {end} of {closers:?}: {said:?}");
        }
        if let [closer] = closers {
            let said = &pair.resets[1 - closer];
            assert_eq!(said.first(), Some(&Said::Answer), "{closers:?}: {said:?}");
        }
    }
}

fn a_message_with_a_lifetime_is_given_up(engines: [SctpEngine; 2]) {
    let mut pair = Pair::connected(engines);
    let now = pair.now;
    pair.lose = 1;
    let timed = Reliability::MaxLifetime(100);
    pair.ends[0]
        .write(S, false, timed, &binary("late"), now)
        .expect("write");
    assert!(!pair.run(Duration::from_secs(2), |_| false));
    pair.lose = 0;
    pair.write(0, StreamId(1), "next");
    assert!(pair.run(Duration::from_secs(10), |pair| !pair.got[1].is_empty()));
    assert_eq!(pair.got[1], [(StreamId(1), binary("next"))]);
    assert!(
        pair.run(Duration::from_secs(5), |pair| pair.ends[0].buffered_total()
            == 0)
    );
}

fn a_window_leaves_in_bursts(engines: [SctpEngine; 2]) {
    let mut pair = Pair::connected(engines);
    for _ in 0..100 {
        pair.write(0, S, vec![1; 60_000]);
    }
    assert!(pair.run(Duration::from_secs(60), |pair| pair.got[1].len() == 100));
    assert!(
        pair.run(Duration::from_secs(1), |pair| pair.ends[0].buffered_total()
            == 0)
    );
    // The window is wide open now; another load must not leave at once.
    for _ in 0..60 {
        pair.write(0, S, vec![1; 60_000]);
    }
    let now = pair.now;
    let burst: usize = std::iter::from_fn(|| pair.ends[0].poll_transmit(now))
        .map(|packet| packet.len())
        .sum();
    assert!(burst <= 600_000, "{burst} bytes at once");
    assert_eq!(
        pair.ends[0].poll_timeout().map(|d| d.reason),
        Some(Timer::Pace)
    );
}

fn abort_is_seen_by_the_peer(engines: [SctpEngine; 2]) {
    let mut pair = Pair::connected(engines);
    pair.write(0, S, "hello");
    assert!(pair.run(Duration::from_secs(5), |pair| !pair.got[1].is_empty()));
    let now = pair.now;
    pair.ends[0].abort(now);
    let closed = |pair: &Pair| pair.events[1].contains(&Event::Closed(BY_USER));
    assert!(pair.run(Duration::from_secs(5), closed));
}

fn the_first_cause_of_an_abort_is_told(engines: [SctpEngine; 2]) {
    let two: &[u8] = &[0, 13, 0, 7, b'w', b'h', b'y', 0, 0, 12, 0, 4];
    for (causes, first) in [(two, Some(13)), (&[3, 231, 0, 4], Some(999)), (&[], None)] {
        let mut pair = Pair::connected(engines);
        pair.write(0, S, "x");
        let now = pair.now;
        let sample = pair.ends[0].poll_transmit(now).expect("data");
        let tag = packet::verification_tag(&sample).expect("a tag");
        let ports = sample[..4].try_into().expect("ports");
        let abort = packet::build(ports, tag, packet::ABORT, 0, causes);
        pair.ends[1].handle_packet(abort, now);
        let reason = CloseReason::Aborted(first.map(ErrorCause));
        assert_eq!(pair.ends[1].close_reason(), Some(reason));
        assert!(reason.is_by_peer());
    }
}

fn what_arrives_beside_the_end_is_read(engines: [SctpEngine; 2]) {
    let mut pair = Pair::connected(engines);
    pair.write(0, S, "read before");
    assert!(pair.run(Duration::from_secs(5), |pair| pair.got[1].len() == 1));
    let now = pair.now;
    for message in ["first", "second"] {
        pair.write(0, S, message);
    }
    let mut batch: Vec<Bytes> = std::iter::from_fn(|| pair.ends[0].poll_transmit(now)).collect();
    pair.ends[0].abort(now);
    batch.extend(pair.ends[0].poll_transmit(now));
    for packet in batch {
        pair.ends[1].handle_packet(packet, now);
    }
    assert_eq!(pair.ends[1].close_reason(), Some(BY_USER));
    let end = &mut pair.ends[1];
    let events: Vec<Event> = std::iter::from_fn(|| end.poll_event()).collect();
    let told = [Event::Readable(S), Event::Closed(BY_USER)];
    assert_eq!(events, told, "and in this order");
    let read: Vec<Message> = std::iter::from_fn(|| end.read(S)).collect();
    assert_eq!(read, [binary("first"), binary("second")]);
    assert_eq!(end.read(S), None);
}

fn the_fewer_streams_are_agreed_on(engines: [SctpEngine; 2]) {
    for streams in [[16, 1024], [1024, 16]] {
        let pair = Pair::with_streams(engines, streams);
        let offered = pair.ends.each_ref().map(Association::streams);
        assert_eq!(offered, streams, "nothing is agreed on yet");
        let mut pair = pair.connect();
        let now = pair.now;
        for end in &mut pair.ends {
            assert_eq!(end.streams(), 16);
            let mut write = |stream| {
                let message = binary("x");
                end.write(StreamId(stream), true, Reliability::Reliable, &message, now)
            };
            assert_eq!(write(15), Ok(()));
            assert_eq!(write(16), Err(Error::Stream(StreamId(16))));
        }
    }
}

fn what_cannot_be_written_is_refused(engines: [SctpEngine; 2]) {
    let mut pair = Pair::connected(engines);
    let now = pair.now;
    let reliable = Reliability::Reliable;
    let long = binary(vec![0; 300_000]);
    let end = &mut pair.ends[0];
    assert_eq!(
        end.write(S, true, reliable, &long, now),
        Err(Error::Length(300_000))
    );
    assert_eq!(
        end.write(S, true, reliable, &binary(""), now),
        Err(Error::Length(0))
    );
    let beyond = StreamId(1024);
    assert_eq!(
        end.write(beyond, true, reliable, &binary("x"), now),
        Err(Error::Stream(beyond))
    );
}
