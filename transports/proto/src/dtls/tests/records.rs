//! Our own record layer and the packaged one, against each other and themselves.

use proptest::prelude::*;

use super::*;
use crate::config::DtlsRecords::{self, Native, Packaged};

/// Who has which record layer: the client, and the server.
const ENDS: [[DtlsRecords; 2]; 4] = [
    [Native, Native],
    [Native, Packaged],
    [Packaged, Native],
    [Packaged, Packaged],
];

fn config(records: DtlsRecords, records_per_key: u64) -> DtlsConfig {
    DtlsConfig {
        records,
        records_per_key,
        ..DtlsConfig::default()
    }
}

/// Two ends that are connected, and have told of it.
fn connected(ends: [DtlsRecords; 2], records_per_key: u64) -> Pair {
    let [client, server] = ends.map(|records| config(records, records_per_key));
    let mut pair = pair_with(&client, &server, Wrong::default());
    pair.exchange(|packets| packets);
    assert_eq!(version(&events(&mut pair.client)), Some(Version::Dtls13));
    assert_eq!(version(&events(&mut pair.server)), Some(Version::Dtls13));
    pair
}

fn data(events: Vec<Event>) -> Vec<Bytes> {
    let data = events.into_iter().map(|event| match event {
        Event::Data(data) => data,
        Event::Connected { .. } | Event::Closed | Event::Failed(_) => panic!("{event:?}"),
    });
    data.collect()
}

fn numbered(n: u32) -> Bytes {
    let len = usize::try_from(n % 1000).expect("small");
    let mut message = n.to_be_bytes().to_vec();
    message.extend(vec![n.to_le_bytes()[0]; len]);
    message.into()
}

#[test]
fn data_goes_both_ways_whatever_the_record_layers() {
    for ends in ENDS {
        let mut pair = connected(ends, 1 << 23);
        let all: Vec<Bytes> = (0..300).map(numbered).collect();
        for message in &all {
            pair.client.send(message, pair.now).expect("sent");
            pair.server.send(message, pair.now).expect("sent");
        }
        pair.exchange(|packets| packets);
        assert_eq!(data(events(&mut pair.server)), all, "{ends:?}");
        assert_eq!(data(events(&mut pair.client)), all, "{ends:?}");
        pair.client.close(pair.now);
        assert_eq!(pair.client.send(b"x", pair.now), Err(Error::NotConnected));
        pair.exchange(|packets| packets);
        assert_eq!(events(&mut pair.server), [Event::Closed], "{ends:?}");
    }
}

#[test]
fn version_1_2_stays_with_the_engine() {
    let native = DtlsConfig {
        versions: DtlsVersions::Only12,
        ..config(Native, 1 << 23)
    };
    let mut pair = pair_with(&native, &config(Native, 1 << 23), Wrong::default());
    pair.exchange(|packets| packets);
    assert_eq!(version(&events(&mut pair.client)), Some(Version::Dtls12));
    events(&mut pair.server);
    pair.client.send(b"x", pair.now).expect("sent");
    pair.exchange(|packets| packets);
    assert_eq!(data(events(&mut pair.server)), [Bytes::from_static(b"x")]);
}

#[test]
fn keys_change_again_and_again_and_nothing_is_lost() {
    // Not between two packaged ones: they lose each other after some ten epochs.
    for ends in ENDS.into_iter().filter(|ends| ends.contains(&Native)) {
        // More than four epochs, so that their two bits come round.
        let mut pair = connected(ends, 8);
        for n in 0..200 {
            let message = numbered(n);
            pair.client.send(&message, pair.now).expect("sent");
            pair.server.send(&message, pair.now).expect("sent");
            pair.exchange(|packets| packets);
            assert_eq!(
                data(events(&mut pair.server)),
                std::slice::from_ref(&message),
                "{ends:?} {n}"
            );
            assert_eq!(data(events(&mut pair.client)), [message], "{ends:?} {n}");
        }
        let epochs = [&pair.client, &pair.server].map(Transport::send_epoch);
        for (records, epoch) in ends.iter().zip(epochs) {
            assert!(
                *records == Packaged || epoch > Some(9),
                "{ends:?}: {epochs:?}"
            );
        }
    }
}

#[test]
fn a_lost_change_of_keys_is_said_again() {
    for (lose_change, ends) in [true, false].into_iter().flat_map(|lose| {
        let natives = ENDS[..3].iter();
        natives.map(move |ends| (lose, *ends))
    }) {
        let mut pair = connected(ends, 8);
        for n in 0..20 {
            pair.client.send(&numbered(n), pair.now).expect("sent");
            let up = packets(&mut pair.client);
            // Either the announcement of new keys is lost, or the answer to it.
            for packet in up.iter().take(if lose_change { 1 } else { usize::MAX }) {
                pair.server.handle_packet(packet, pair.now);
            }
            if lose_change {
                packets(&mut pair.server);
            }
            assert_eq!(data(events(&mut pair.server)), [numbered(n)], "{ends:?}");
            packets(&mut pair.server);
        }
        assert!(
            pair.client.poll_timeout().is_some(),
            "it waits for an answer"
        );
        for n in 20..60 {
            pair.tick();
            pair.client.send(&numbered(n), pair.now).expect("sent");
            pair.exchange(|packets| packets);
            assert_eq!(
                data(events(&mut pair.server)),
                [numbered(n)],
                "{ends:?} {n}"
            );
            if pair.client.poll_timeout().is_none() && pair.client.send_epoch() > Some(3) {
                break;
            }
        }
        assert!(
            ends[0] == Packaged || pair.client.send_epoch() > Some(3),
            "{ends:?}"
        );
    }
}

#[test]
fn numbers_outgrow_their_sixteen_bits() {
    for ends in [[Native, Packaged], [Packaged, Native], [Native, Native]] {
        let mut pair = connected(ends, 1 << 23);
        for n in 0..70_000_u32 {
            pair.client.send(&n.to_be_bytes(), pair.now).expect("sent");
            // A third of them gets lost.
            for packet in packets(&mut pair.client) {
                if n % 3 != 0 {
                    pair.server.handle_packet(&packet, pair.now);
                }
            }
            let expected = (n % 3 != 0).then(|| Bytes::copy_from_slice(&n.to_be_bytes()));
            assert_eq!(
                data(events(&mut pair.server)),
                Vec::from_iter(expected),
                "{ends:?}"
            );
        }
        pair.client.close(pair.now);
        pair.exchange(|packets| packets);
        assert_eq!(events(&mut pair.server), [Event::Closed], "{ends:?}");
    }
}

#[test]
fn nothing_is_taken_twice_or_changed() {
    let mut pair = connected([Native, Native], 1 << 23);
    let all: Vec<Bytes> = (0..100).map(numbered).collect();
    let mut sent = Vec::new();
    for message in &all {
        pair.client.send(message, pair.now).expect("sent");
        sent.extend(packets(&mut pair.client));
    }
    for (n, packet) in sent.iter().enumerate() {
        let mut forged = packet.clone();
        let at = (n * 7919) % forged.len();
        forged[at] ^= 1 << (n % 8);
        pair.server.handle_packet(&forged, pair.now);
        pair.server
            .handle_packet(&packet[..packet.len() - 1], pair.now);
    }
    assert_eq!(events(&mut pair.server), []);
    for packet in sent.iter().rev() {
        pair.server.handle_packet(packet, pair.now);
        pair.server.handle_packet(packet, pair.now);
    }
    let mut got = data(events(&mut pair.server));
    got.reverse();
    assert_eq!(got, all);
}

#[test]
fn what_came_before_the_end_of_the_handshake_is_not_taken_again() {
    let mut pair = pair_with(
        &config(Native, 1 << 23),
        &config(Native, 1 << 23),
        Wrong::default(),
    );
    let hello = packets(&mut pair.client);
    hello
        .iter()
        .for_each(|packet| pair.server.handle_packet(packet, pair.now));
    let flight = packets(&mut pair.server);
    flight
        .iter()
        .for_each(|packet| pair.client.handle_packet(packet, pair.now));
    let finished = packets(&mut pair.client);
    assert!(version(&events(&mut pair.client)).is_some());
    pair.client.send(b"early", pair.now).expect("sent");
    let early = packets(&mut pair.client);
    // The data overtakes the end of the handshake.
    for packet in early.iter().chain(&finished).chain(&early) {
        pair.server.handle_packet(packet, pair.now);
    }
    let seen = events(&mut pair.server);
    assert!(version(&seen).is_some());
    let early = Event::Data(Bytes::from_static(b"early"));
    assert_eq!(
        seen.iter().filter(|event| **event == early).count(),
        1,
        "{seen:?}"
    );
}

#[test]
fn the_end_of_the_handshake_is_acknowledged_again() {
    for ends in ENDS {
        let mut pair = connected_but_for_the_last_answer(ends);
        assert!(pair.client.poll_timeout().is_some(), "{ends:?}");
        pair.now = pair.client.poll_timeout().expect("a timer").at;
        pair.client.handle_timeout(pair.now);
        pair.exchange(|packets| packets);
        // Whatever the engine still waits for, it sends nothing any more.
        for _ in 0..20 {
            pair.now += Duration::from_secs(10);
            pair.client.handle_timeout(pair.now);
            pair.server.handle_timeout(pair.now);
            let said = [packets(&mut pair.client), packets(&mut pair.server)];
            assert_eq!(said, [Vec::<Vec<u8>>::new(), Vec::new()], "{ends:?}");
        }
        assert_eq!(pair.client.state(), State::Connected);
        pair.server.send(b"x", pair.now).expect("sent");
        pair.client.send(b"y", pair.now).expect("sent");
        pair.exchange(|packets| packets);
        assert_eq!(data(events(&mut pair.client)), [Bytes::from_static(b"x")]);
        assert_eq!(data(events(&mut pair.server)), [Bytes::from_static(b"y")]);
    }
}

#[test]
fn the_engine_is_let_go_when_the_handshake_is_settled() {
    for ends in ENDS {
        let mut pair = connected(ends, 8);
        assert_eq!(pair.server.has_engine(), ends[1] == Packaged, "{ends:?}");
        assert!(
            pair.client.has_engine(),
            "{ends:?}: it may have to say all again"
        );
        pair.server.send(b"x", pair.now).expect("sent");
        pair.exchange(|packets| packets);
        assert_eq!(data(events(&mut pair.client)).len(), 1);
        assert_eq!(pair.client.has_engine(), ends[0] == Packaged, "{ends:?}");
        for end in [&pair.client, &pair.server] {
            assert_eq!(end.version(), Some(Version::Dtls13), "{ends:?}");
            assert!(end.peer_certificate().is_some() && end.cipher_suite().is_some());
        }
        let native = |records: DtlsRecords, end: &Transport| {
            records == Packaged || end.poll_timeout().is_none()
        };
        assert!(native(ends[0], &pair.client) && native(ends[1], &pair.server));
        assert_eq!(
            (pair.client.state(), pair.server.state()),
            (State::Connected, State::Connected)
        );
    }
}

#[test]
fn a_record_of_the_handshake_that_somebody_repeats_is_answered_once() {
    let mut pair = pair_with(
        &config(Packaged, 1 << 23),
        &config(Native, 1 << 23),
        Wrong::default(),
    );
    let mut last = Vec::new();
    while pair.server.state() != State::Connected {
        last = packets(&mut pair.client);
        last.iter()
            .for_each(|packet| pair.server.handle_packet(packet, pair.now));
        for packet in packets(&mut pair.server) {
            pair.client.handle_packet(&packet, pair.now);
        }
    }
    assert!(!pair.server.has_engine());
    let mut answers = 0;
    for _ in 0..1_000 {
        for packet in &last {
            pair.server.handle_packet(packet, pair.now);
        }
        answers += packets(&mut pair.server).len();
    }
    assert!((1..=last.len()).contains(&answers), "{answers}");
    // What only looks like it gets none.
    let mut pair = connected([Packaged, Native], 1 << 23);
    for packet in &mut last {
        let at = packet.len() - 1;
        packet[at] ^= 1;
        pair.server.handle_packet(packet, pair.now);
    }
    assert_eq!(packets(&mut pair.server), Vec::<Vec<u8>>::new());
}

/// The server is connected, and what it said of it got lost.
fn connected_but_for_the_last_answer(ends: [DtlsRecords; 2]) -> Pair {
    let [client, server] = ends.map(|records| config(records, 1 << 23));
    let mut pair = pair_with(&client, &server, Wrong::default());
    while pair.server.state() != State::Connected {
        let up = packets(&mut pair.client);
        up.iter()
            .for_each(|packet| pair.server.handle_packet(packet, pair.now));
        let down = packets(&mut pair.server);
        if pair.server.state() != State::Connected {
            down.iter()
                .for_each(|packet| pair.client.handle_packet(packet, pair.now));
        }
    }
    events(&mut pair.client);
    events(&mut pair.server);
    pair
}

#[test]
fn data_is_as_good_as_the_lost_answer() {
    let mut pair = connected_but_for_the_last_answer([Native, Packaged]);
    assert!(pair.client.poll_timeout().is_some());
    pair.server.send(b"x", pair.now).expect("sent");
    pair.exchange(|packets| packets);
    assert_eq!(data(events(&mut pair.client)), [Bytes::from_static(b"x")]);
    assert_eq!(pair.client.poll_timeout(), None);
}

#[test]
fn keys_run_out_without_a_peer_that_takes_new_ones() {
    let mut pair = connected([Native, Native], 1 << 23);
    pair.client.exhaust_keys();
    let exhausted = Error::KeysExhausted;
    assert_eq!(pair.client.send(b"x", pair.now), Err(exhausted.clone()));
    assert_eq!(events(&mut pair.client), [Event::Failed(exhausted)]);
    pair.exchange(|packets| packets);
    assert_eq!(events(&mut pair.server), []);
}

#[test]
fn a_goodbye_leaves_also_under_keys_that_are_used_up() {
    let mut pair = connected([Native, Native], 1 << 23);
    pair.client.exhaust_keys();
    pair.client.close(pair.now);
    // Numbers are short on the wire: what is so far ahead cannot be told. It left, though.
    assert_eq!(packets(&mut pair.client).len(), 1);
}

#[test]
fn an_epoch_that_is_over_stays_over() {
    for ends in [[Native, Native], [Native, Packaged], [Packaged, Native]] {
        let mut pair = connected(ends, 8);
        let (mut up, mut down, mut seen) = (Vec::new(), Vec::new(), 0);
        for n in 0..40 {
            pair.client.send(&numbered(n), pair.now).expect("sent");
            pair.server.send(&numbered(n), pair.now).expect("sent");
            // Everything is delivered, and recorded.
            loop {
                let (new_up, new_down) = (packets(&mut pair.client), packets(&mut pair.server));
                if new_up.is_empty() && new_down.is_empty() {
                    break;
                }
                for packet in &new_up {
                    pair.server.handle_packet(packet, pair.now);
                }
                for packet in &new_down {
                    pair.client.handle_packet(packet, pair.now);
                }
                up.extend(new_up);
                down.extend(new_down);
            }
            seen += data(events(&mut pair.server)).len() + data(events(&mut pair.client)).len();
        }
        assert_eq!(seen, 80, "{ends:?}");
        for (end, records, packets) in [
            (&mut pair.server, ends[1], &up),
            (&mut pair.client, ends[0], &down),
        ] {
            for packet in packets {
                end.handle_packet(packet, pair.now);
            }
            assert!(records == Packaged || events(end).is_empty(), "{ends:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn whatever_a_genuine_peer_says_is_survived(
        messages in prop::collection::vec(
            (
                prop::sample::select(vec![20_u8, 22, 22, 22, 26, 26, 255]),
                prop::sample::select(vec![0_u8, 4, 24, 24, 13]),
                0_u16..12,
                prop::collection::vec(any::<u8>(), 0..40),
                any::<bool>(),
            ),
            1..60,
        ),
    ) {
        let mut pair = connected([Native, Native], 1 << 23);
        for (kind, message, sequence, rest, whole) in messages {
            // Half of them have the form of a handshake message.
            let content = if whole {
                let [_, high, low] = u32::try_from(rest.len()).expect("short").to_be_bytes()[1..] else {
                    unreachable!("three bytes");
                };
                let [first, second] = sequence.to_be_bytes();
                let mut content = vec![message, 0, high, low, first, second, 0, 0, 0, 0, high, low];
                content.extend(rest);
                content
            } else {
                rest
            };
            pair.client.say(kind, &content);
            pair.exchange(|packets| packets);
            prop_assert_eq!(pair.server.state(), State::Connected);
        }
        prop_assert_eq!(events(&mut pair.server), []);
        pair.server.send(b"still there", pair.now).expect("sent");
        pair.exchange(|packets| packets);
        prop_assert_eq!(data(events(&mut pair.client)).len(), 1);
    }

    #[test]
    fn any_bytes_are_dropped(
        packets in prop::collection::vec(
            (0x20_u8..0x40, prop::collection::vec(any::<u8>(), 0..60)),
            1..40,
        ),
    ) {
        let mut pair = connected([Native, Native], 1 << 23);
        for (first, mut rest) in packets {
            rest.insert(0, first);
            pair.server.handle_packet(&rest, pair.now);
        }
        prop_assert_eq!(events(&mut pair.server), []);
        pair.client.send(b"still there", pair.now).expect("sent");
        pair.exchange(|packets| packets);
        prop_assert_eq!(data(events(&mut pair.server)).len(), 1);
    }
}
