//! What is opened and sent comes out alike at the other end.

use std::time::Duration;

use bytes::Bytes;

use super::super::*;
use super::carrier::Below;
use super::pair::*;
use crate::config::ChannelConfig;
use crate::sctp::{self, Ppid};

with_all_engines!(
    what_one_end_opens_the_other_sees_alike,
    messages_of_all_kinds_and_sizes_arrive_unchanged,
    messages_may_follow_the_open_at_once,
    negotiated_channels_need_no_open_and_wait_for_the_slower_side,
    long_messages_go_in_parts_between_peerloom_peers_only,
    violations_close_one_channel_only,
    what_arrives_beside_the_end_is_delivered_before_it,
);

fn what_one_end_opens_the_other_sees_alike(engines: [Below; 2]) {
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

fn messages_of_all_kinds_and_sizes_arrive_unchanged(engines: [Below; 2]) {
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

fn messages_may_follow_the_open_at_once(engines: [Below; 2]) {
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

fn negotiated_channels_need_no_open_and_wait_for_the_slower_side(engines: [Below; 2]) {
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

fn long_messages_go_in_parts_between_peerloom_peers_only(engines: [Below; 2]) {
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

fn violations_close_one_channel_only(engines: [Below; 2]) {
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
fn what_arrives_beside_the_end_is_delivered_before_it(engines: [Below; 2]) {
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
