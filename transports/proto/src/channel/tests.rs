#![allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;

use super::*;
use crate::config::{ChannelConfig, SctpConfig, SctpEngine};
use crate::id::DtlsRole;
use crate::sctp::{self, Association, Ppid};

struct End {
    association: Association,
    channels: Channels,
    events: Vec<Event>,
    /// Whether the consumer takes messages.
    takes: bool,
}

struct Pair {
    ends: [End; 2],
    now: Instant,
    wire: Vec<(Instant, usize, Bytes)>,
}

const LATENCY: Duration = Duration::from_millis(2);

fn text(text: &str) -> Message {
    Message::Text(text.to_owned())
}

fn labelled(label: &str) -> ChannelInit {
    ChannelInit {
        label: label.into(),
        ..ChannelInit::default()
    }
}

impl Pair {
    fn with(config: &ChannelConfig, engines: [SctpEngine; 2]) -> Self {
        let now = Instant::now();
        let end = |role, engine| {
            let sctp = SctpConfig {
                engine,
                ..SctpConfig::default()
            };
            let association = Association::new(sctp, role, now).expect("sctp");
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

    fn new(engines: [SctpEngine; 2]) -> Self {
        let config = ChannelConfig {
            remote_max_message_size: Some(256 * 1024),
            ..ChannelConfig::default()
        };
        Self::with(&config, engines)
    }

    fn drain(&mut self) {
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

    fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            let timers = self.ends.iter().flat_map(|end| {
                let sctp = end.association.poll_timeout().map(|d| d.at);
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

    fn settle(&mut self) {
        self.run(Duration::from_secs(3), |_| false);
    }

    fn open(&mut self, end: usize, init: ChannelInit) -> (ChannelId, ChannelId) {
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

    fn accepted(&self, end: usize) -> Option<ChannelId> {
        self.ends[end].events.iter().find_map(|event| {
            let Event::Accepted(id) = event else {
                return None;
            };
            Some(*id)
        })
    }

    fn send(&mut self, end: usize, id: ChannelId, message: Message) {
        self.ends[end].channels.send(id, message).expect("send");
    }

    fn messages(&self, end: usize, id: ChannelId) -> Vec<Message> {
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

    fn closed(&self, end: usize, id: ChannelId) -> bool {
        self.ends[end]
            .events
            .iter()
            .any(|e| matches!(e, Event::Closed { channel, .. } if *channel == id))
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
    what_one_end_opens_the_other_sees_alike,
    messages_of_all_kinds_and_sizes_arrive_unchanged,
    messages_may_follow_the_open_at_once,
    negotiated_channels_need_no_open_and_wait_for_the_slower_side,
    close_delivers_what_was_sent_and_frees_the_id,
    both_may_close_at_once_and_ids_given_by_us_are_used_again,
    a_channel_can_be_closed_while_the_peer_is_sending,
    a_channel_the_peer_never_knew_closes_all_the_same,
    a_slow_consumer_loses_nothing_and_stops_nobody_else,
    the_low_event_fires_once_per_crossing,
    priorities_share_the_window_by_weight,
    long_messages_go_in_parts_between_peerloom_peers_only,
    violations_close_one_channel_only,
    what_arrives_beside_the_end_is_delivered_before_it,
    the_end_of_the_association_closes_all_channels,
    each_end_opens_half_of_the_channels_and_both_together_all,
    a_channel_for_which_no_id_is_left_closes_and_says_so,
);

fn what_one_end_opens_the_other_sees_alike(engines: [SctpEngine; 2]) {
    let mut pair = Pair::new(engines);
    let inits = [
        labelled("plain"),
        ChannelInit {
            ordered: false,
            ..labelled("unordered")
        },
        ChannelInit {
            ordered: false,
            reliability: Reliability::MaxRetransmits(0),
            priority: Priority::High,
            protocol: "p".into(),
            ..labelled("lossy ünïcode")
        },
        ChannelInit {
            reliability: Reliability::MaxLifetime(500),
            ..labelled("timed")
        },
        labelled(&"x".repeat(1000)),
    ];
    for end in [0, 1] {
        for init in &inits {
            let (ours, theirs) = pair.open(end, init.clone());
            assert_eq!(pair.ends[1 - end].channels.init(theirs), Some(init));
            let stream = pair.ends[end].channels.stream_id(ours).expect("stream");
            assert_eq!(pair.ends[1 - end].channels.stream_id(theirs), Some(stream));
            assert_eq!(
                usize::from(stream.0 % 2),
                end,
                "even ids are the DTLS client's"
            );
            assert_eq!(pair.ends[end].channels.buffered_amount(ours), 0);
        }
    }
}

fn messages_of_all_kinds_and_sizes_arrive_unchanged(engines: [SctpEngine; 2]) {
    let mut pair = Pair::new(engines);
    let (ours, theirs) = pair.open(0, labelled("echo"));
    let mut expected = Vec::new();
    for size in [0, 1, 1024, 65_536, 262_144] {
        expected.push(Message::Binary(vec![7; size].into()));
        expected.push(Message::Text("t".repeat(size)));
    }
    for message in &expected {
        pair.send(0, ours, message.clone());
        pair.settle();
    }
    assert!(pair.messages(1, theirs) == expected);
    let too_long = Message::Binary(vec![0; 262_145].into());
    let error = pair.ends[0].channels.send(ours, too_long);
    assert_eq!(
        error,
        Err(SendError::TooLarge {
            len: 262_145,
            max: 262_144
        })
    );
    pair.send(0, ours, text("alive"));
    pair.settle();
    assert_eq!(pair.messages(1, theirs).last(), Some(&text("alive")));
}

fn messages_may_follow_the_open_at_once(engines: [SctpEngine; 2]) {
    let mut pair = Pair::new(engines);
    let init = ChannelInit {
        ordered: false,
        ..labelled("eager")
    };
    let ours = pair.ends[0].channels.open(init).expect("open");
    assert_eq!(
        pair.ends[0].channels.send(ours, text("early")),
        Err(SendError::NotOpen)
    );
    assert!(
        pair.run(Duration::from_secs(5), |p| p.ends[0].channels.state(ours)
            == State::Open)
    );
    for i in 0..100 {
        pair.send(0, ours, text(&i.to_string()));
    }
    pair.settle();
    let theirs = pair.accepted(1).expect("accepted");
    assert_eq!(pair.messages(1, theirs).len(), 100);
}

fn negotiated_channels_need_no_open_and_wait_for_the_slower_side(engines: [SctpEngine; 2]) {
    let mut pair = Pair::new(engines);
    let init = ChannelInit {
        negotiated: Some(StreamId(100)),
        ..labelled("agreed")
    };
    let (ours, _) = pair.open(0, init.clone());
    assert_eq!(
        pair.ends[0].channels.open(init.clone()),
        Err(OpenError::IdInUse(StreamId(100)))
    );
    for i in 0..50 {
        pair.send(0, ours, text(&i.to_string()));
    }
    pair.settle();
    assert_eq!(pair.accepted(1), None);
    let (theirs, _) = pair.open(1, init);
    pair.settle();
    let got = pair.messages(1, theirs);
    assert_eq!(got.first(), Some(&text("0")));
    assert_eq!(got.len(), 50);
    let beyond = ChannelInit {
        negotiated: Some(StreamId(2000)),
        ..labelled("beyond")
    };
    let id = pair.ends[0].channels.open(beyond).expect("open");
    pair.settle();
    let closed = Event::Closed {
        channel: id,
        cause: Some(CloseCause::NoStream),
    };
    assert!(pair.ends[0].events.contains(&closed));
}

fn close_delivers_what_was_sent_and_frees_the_id(engines: [SctpEngine; 2]) {
    let mut pair = Pair::new(engines);
    let (keep, _) = pair.open(0, labelled("keep"));
    for round in 0..4 {
        let closer = round % 2;
        let init = ChannelInit {
            negotiated: Some(StreamId(50)),
            ..labelled("again")
        };
        let (a, _) = pair.open(0, init.clone());
        let (b, _) = pair.open(1, init);
        pair.settle();
        let ids = [a, b];
        pair.send(
            closer,
            ids[closer],
            Message::Binary(vec![1; 200_000].into()),
        );
        pair.ends[closer].channels.close(ids[closer]);
        pair.settle();
        assert_eq!(
            pair.messages(1 - closer, ids[1 - closer]).len(),
            1,
            "round {round}"
        );
        assert!(pair.closed(0, a) && pair.closed(1, b), "round {round}");
        let closing = Event::Closing(ids[1 - closer]);
        assert!(pair.ends[1 - closer].events.contains(&closing));
    }
    pair.send(0, keep, text("alive"));
    pair.settle();
    assert_eq!(pair.ends[0].channels.state(keep), State::Open);
}

fn both_may_close_at_once_and_ids_given_by_us_are_used_again(engines: [SctpEngine; 2]) {
    let mut pair = Pair::new(engines);
    for _ in 0..5 {
        let (ours, theirs) = pair.open(0, labelled("both"));
        pair.ends[0].channels.close(ours);
        pair.ends[1].channels.close(theirs);
        pair.settle();
        assert!(
            pair.closed(0, ours) && pair.closed(1, theirs),
            "{:?} {:?}",
            pair.ends[0].channels,
            pair.ends[1].channels
        );
    }
    assert_eq!(pair.ends[0].channels.ids().count(), 0);
    assert_eq!(pair.ends[1].channels.ids().count(), 0);
}

#[test]
fn a_channel_closed_before_the_role_is_known_frees_its_id() {
    let mut channels = Channels::new(ChannelConfig::default());
    let init = ChannelInit {
        negotiated: Some(StreamId(5)),
        ..labelled("agreed")
    };
    let first = channels.open(init.clone()).expect("a free id");
    channels.close(first);
    let event = channels.poll_event();
    assert!(matches!(event, Some(Event::Closed { channel, cause: None }) if channel == first));
    channels.open(init).expect("the id is free again");
}

fn a_channel_can_be_closed_while_the_peer_is_sending(engines: [SctpEngine; 2]) {
    for takes in [true, false] {
        let mut pair = Pair::new(engines);
        let (ours, theirs) = pair.open(0, labelled("busy"));
        pair.ends[0].takes = takes;
        for _ in 0..12 {
            while pair.ends[1]
                .channels
                .send(theirs, Message::Binary(vec![1; 30_000].into()))
                .is_ok()
            {}
            pair.run(Duration::from_millis(1), |_| false);
        }
        pair.ends[0].channels.close(ours);
        assert!(pair.run(Duration::from_secs(60), |p| p.closed(0, ours)
            && p.closed(1, theirs)));
        let (_, again) = pair.open(0, labelled("next"));
        pair.send(1, again, text("alive"));
        pair.settle();
        assert_eq!(pair.ends[0].association.unread_chunks(), 0);
    }
}

fn a_channel_the_peer_never_knew_closes_all_the_same(engines: [SctpEngine; 2]) {
    let mut pair = Pair::new(engines);
    let init = ChannelInit {
        negotiated: Some(StreamId(8)),
        ..labelled("lonely")
    };
    let (ours, _) = pair.open(0, init);
    pair.ends[0].channels.close(ours);
    assert!(pair.run(Duration::from_secs(20), |pair| pair.closed(0, ours)));
}

fn a_slow_consumer_loses_nothing_and_stops_nobody_else(engines: [SctpEngine; 2]) {
    let mut pair = Pair::new(engines);
    let (slow, slow_there) = pair.open(0, labelled("slow"));
    let (fast, fast_there) = pair.open(0, labelled("fast"));
    pair.ends[1].takes = false;
    let mut sent = 0;
    for _ in 0..30 {
        while pair.ends[0]
            .channels
            .send(slow, Message::Binary(vec![0; 50_000].into()))
            .is_ok()
        {
            sent += 1;
            assert!(sent < 200, "the buffer is bounded");
        }
        pair.run(Duration::from_millis(50), |_| false);
    }
    let delivered = pair.messages(1, slow_there).len();
    assert!(
        delivered * 50_000 <= INITIAL_CREDIT + 50_000,
        "{delivered} delivered"
    );
    pair.ends[1].takes = true;
    let owed = pair.messages(1, slow_there).iter().map(Message::cost).sum();
    pair.ends[1].channels.grant(slow_there, owed);
    pair.send(0, fast, text("through"));
    assert!(
        pair.run(Duration::from_secs(60), |p| p.messages(1, slow_there).len()
            == sent)
    );
    assert_eq!(pair.messages(1, fast_there), [text("through")]);
    pair.settle();
    assert!(pair.ends[0].events.contains(&Event::Writable(slow)));
    assert_eq!(pair.ends[0].channels.buffered_amount(slow), 0);
}

fn the_low_event_fires_once_per_crossing(engines: [SctpEngine; 2]) {
    let mut pair = Pair::new(engines);
    let (ours, _) = pair.open(0, labelled("low"));
    pair.ends[0]
        .channels
        .set_buffered_amount_low_threshold(ours, 1000);
    let low = Event::BufferedAmountLow(ours);
    for crossings in 1..4 {
        for size in [600, 300, 600, 200_000] {
            pair.send(0, ours, Message::Binary(vec![0; size].into()));
        }
        assert_eq!(pair.ends[0].channels.buffered_amount(ours), 201_500);
        pair.settle();
        assert_eq!(pair.ends[0].channels.buffered_amount(ours), 0);
        assert_eq!(
            pair.ends[0].events.iter().filter(|e| **e == low).count(),
            crossings
        );
    }
    pair.send(0, ours, Message::Binary(vec![0; 1000].into()));
    pair.settle();
    assert_eq!(pair.ends[0].events.iter().filter(|e| **e == low).count(), 3);
}

fn priorities_share_the_window_by_weight(engines: [SctpEngine; 2]) {
    let mut pair = Pair::new(engines);
    let priorities = [
        Priority::VeryLow,
        Priority::Low,
        Priority::Medium,
        Priority::High,
    ];
    let channels: Vec<_> = priorities
        .iter()
        .map(|priority| {
            pair.open(
                0,
                ChannelInit {
                    priority: *priority,
                    ..labelled("p")
                },
            )
        })
        .collect();
    // All are always full, until the strongest has got a few megabytes through.
    let enough = 400;
    let mut rounds = 0;
    while pair.messages(1, channels[3].1).len() < enough {
        for (ours, _) in &channels {
            let message = || Message::Binary(vec![0; 8000].into());
            while pair.ends[0].channels.send(*ours, message()).is_ok() {}
        }
        pair.run(Duration::from_millis(3), |_| false);
        rounds += 1;
        assert!(rounds < 10_000);
    }
    let got: Vec<usize> = channels
        .iter()
        .map(|(_, theirs)| pair.messages(1, *theirs).len())
        .collect();
    for pair in got.windows(2) {
        let ratio = pair[1] as f64 / pair[0] as f64;
        assert!((1.4..=2.8).contains(&ratio), "{got:?}");
    }
}

/// Two long messages that the engine has both: packets are shared by weight there as well, at the
/// end that opened the channels and at the other.
#[test]
fn priorities_count_inside_the_native_engine() {
    for end in [0, 1] {
        let mut pair = Pair::new([SctpEngine::Native; 2]);
        let [weak, strong] = [Priority::VeryLow, Priority::High].map(|priority| {
            pair.open(
                0,
                ChannelInit {
                    priority,
                    ..labelled("p")
                },
            )
        });
        let at = |ids: (ChannelId, ChannelId), end: usize| [ids.0, ids.1][end];
        for ids in [weak, strong] {
            let message = Message::Binary(vec![0; 90_000].into());
            pair.send(end, at(ids, end), message);
        }
        let there = |pair: &Pair| !pair.messages(1 - end, at(strong, 1 - end)).is_empty();
        assert!(pair.run(Duration::from_secs(5), there));
        let left = pair.ends[end].channels.buffered_amount(at(weak, end));
        assert!(left > 60_000, "{left} bytes of the weak one are left");
    }
}

fn long_messages_go_in_parts_between_peerloom_peers_only(engines: [SctpEngine; 2]) {
    let config = ChannelConfig {
        remote_max_message_size: Some(65_536),
        peerloom_peer: true,
        ..ChannelConfig::default()
    };
    let mut pair = Pair::with(&config, engines);
    let (ours, theirs) = pair.open(
        0,
        ChannelInit {
            ordered: false,
            ..labelled("long")
        },
    );
    let long = Message::Binary(
        (0..3_000_000_u32)
            .map(|i| i as u8)
            .collect::<Vec<_>>()
            .into(),
    );
    let also = Message::Text("ü".repeat(100_000));
    pair.send(0, ours, long.clone());
    pair.settle();
    pair.send(0, ours, also.clone());
    pair.settle();
    assert!(pair.messages(1, theirs) == [long, also]);
    let beyond = Message::Binary(vec![0; 17 * 1024 * 1024].into());
    let error = pair.ends[0].channels.send(ours, beyond);
    assert!(matches!(error, Err(SendError::TooLarge { .. })));
}

fn violations_close_one_channel_only(engines: [SctpEngine; 2]) {
    let mut pair = Pair::new(engines);
    let (keep, keep_there) = pair.open(0, labelled("keep"));
    let (bad, bad_there) = pair.open(0, labelled("bad"));
    let stream = pair.ends[0].channels.stream_id(bad).expect("stream");
    let garbage = sctp::Message {
        ppid: Ppid::Dcep,
        data: Bytes::from_static(b"\x09"),
    };
    let now = pair.now;
    let reliable = Reliability::Reliable;
    pair.ends[0]
        .association
        .write(stream, true, reliable, &garbage, now)
        .expect("write");
    pair.settle();
    let cause = Some(CloseCause::Protocol("malformed DCEP message"));
    assert!(pair.ends[1].events.contains(&Event::Closed {
        channel: bad_there,
        cause
    }));
    assert!(pair.closed(0, bad));
    // An OPEN with an id of the wrong side is answered by a reset.
    let open = DcepMessage::Open(Open::from_init(&labelled("wrong"))).to_bytes();
    let open = sctp::Message {
        ppid: Ppid::Dcep,
        data: open.into(),
    };
    let wrong = StreamId(301);
    pair.ends[0]
        .association
        .write(wrong, true, reliable, &open, now)
        .expect("write");
    pair.settle();
    assert_eq!(pair.accepted(1), None);
    pair.send(0, keep, text("alive"));
    pair.settle();
    assert_eq!(pair.messages(1, keep_there), [text("alive")]);
}

/// Also what nobody has given credit for, and what comes on a channel that is as new.
fn what_arrives_beside_the_end_is_delivered_before_it(engines: [SctpEngine; 2]) {
    let mut pair = Pair::new(engines);
    let (ours, theirs) = pair.open(0, labelled("x"));
    let now = pair.now;
    pair.ends[1].takes = false;
    let end = &mut pair.ends[0];
    end.channels.send(ours, text("last")).expect("room");
    let new = end.channels.open(labelled("new")).expect("room");
    end.channels.pump(&mut end.association, now);
    end.channels.send(new, text("on it")).expect("open");
    end.channels.pump(&mut end.association, now);
    let mut batch: Vec<Bytes> = std::iter::from_fn(|| end.association.poll_transmit(now)).collect();
    end.association.abort(now);
    batch.extend(end.association.poll_transmit(now));
    let end = &mut pair.ends[1];
    for packet in batch {
        end.association.handle_packet(packet, now);
    }
    end.channels.pump(&mut end.association, now);
    let events: Vec<Event> = std::iter::from_fn(|| end.channels.poll_event()).collect();
    let at = |wanted: &dyn Fn(&Event) -> bool| events.iter().position(wanted);
    let said = |what: &str, event: &Event| matches!(event, Event::Messages { messages, .. } if *messages == [text(what)]);
    let last = at(&|event| said("last", event));
    let accepted = at(&|event| matches!(event, Event::Accepted(_)));
    let on_it = at(&|event| said("on it", event));
    let closed = at(&|event| matches!(event, Event::Closed { channel, .. } if *channel == theirs));
    assert!(last.is_some() && last < closed, "{events:?}");
    assert!(accepted.is_some() && accepted < on_it, "{events:?}");
    assert!(on_it < closed, "{events:?}");
}

fn the_end_of_the_association_closes_all_channels(engines: [SctpEngine; 2]) {
    let mut pair = Pair::new(engines);
    let (ours, theirs) = pair.open(0, labelled("x"));
    let now = pair.now;
    pair.ends[0].association.abort(now);
    pair.settle();
    let by_user = Some(sctp::ErrorCause::USER_INITIATED_ABORT);
    let cause = Some(CloseCause::Association(sctp::CloseReason::Aborted(by_user)));
    assert!(pair.ends[1].events.contains(&Event::Closed {
        channel: theirs,
        cause
    }));
    assert_eq!(
        pair.ends[0].channels.send(ours, text("x")),
        Err(SendError::NotOpen)
    );
    assert_eq!(
        pair.ends[1].channels.open(labelled("y")),
        Err(OpenError::Closed)
    );
}

fn each_end_opens_half_of_the_channels_and_both_together_all(engines: [SctpEngine; 2]) {
    let mut pair = Pair::new(engines);
    let all = ChannelConfig::default().max_channels;
    for end in [0, 1] {
        for n in 0..all / 2 {
            let opened = pair.ends[end].channels.open(labelled(&n.to_string()));
            opened.expect("a channel");
        }
    }
    pair.settle();
    for end in &pair.ends {
        let open = |id: &ChannelId| end.channels.state(*id) == State::Open;
        assert_eq!(end.channels.ids().filter(open).count(), all);
    }
    let one_more = pair.ends[0].channels.open(labelled("one more"));
    assert_eq!(one_more, Err(OpenError::TooMany));
}

fn a_channel_for_which_no_id_is_left_closes_and_says_so(engines: [SctpEngine; 2]) {
    let mut pair = Pair::new(engines);
    let half = ChannelConfig::default().max_channels / 2;
    for n in 0..half {
        let opened = pair.ends[0].channels.open(labelled(&n.to_string()));
        opened.expect("a channel");
    }
    pair.settle();
    let id = pair.ends[0].channels.open(labelled("one more"));
    let id = id.expect("the ids are counted later");
    pair.settle();
    let closed = Event::Closed {
        channel: id,
        cause: Some(CloseCause::NoStream),
    };
    assert!(pair.ends[0].events.contains(&closed));
}
