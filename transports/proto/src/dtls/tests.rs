#![allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]

mod records;
mod srtp;

use std::time::{Duration, Instant, SystemTime};

use super::*;
use crate::certificate::{Certificate, Fingerprint};
use crate::config::{DtlsConfig, DtlsVersions};
use crate::id::{DtlsRole, Path};

fn certificate() -> Certificate {
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
    Certificate::generate(now).expect("certificate")
}

fn path() -> Path {
    Path::new(
        "10.0.0.1:1".parse().expect("address"),
        "10.0.0.2:2".parse().expect("address"),
    )
}

/// Who expects another certificate than the one that comes.
#[derive(Clone, Copy, Debug, Default)]
struct Wrong {
    at_client: bool,
    at_server: bool,
}

struct Pair {
    client: Transport,
    server: Transport,
    now: Instant,
    certificates: [Certificate; 2],
}

fn pair_with(client: &DtlsConfig, server: &DtlsConfig, wrong: Wrong) -> Pair {
    let now = Instant::now();
    let (a, b) = (certificate(), certificate());
    let of = |c: &Certificate, wrong: bool| {
        let other = certificate();
        vec![if wrong { &other } else { c }.fingerprint().clone()]
    };
    let seen_by_client = of(&b, wrong.at_client);
    let client = Transport::new(client, &a, DtlsRole::Client, seen_by_client, now).expect("client");
    let seen_by_server = of(&a, wrong.at_server);
    let server = Transport::new(server, &b, DtlsRole::Server, seen_by_server, now).expect("server");
    Pair {
        client,
        server,
        now,
        certificates: [a, b],
    }
}

fn packets(from: &mut Transport) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(transmit) = from.poll_transmit(path()) {
        all.extend(transmit.datagrams().map(<[u8]>::to_vec));
    }
    all
}

fn events(from: &mut Transport) -> Vec<Event> {
    std::iter::from_fn(|| from.poll_event()).collect()
}

impl Pair {
    /// Carries packets until nobody has any, as `mangle` lets them through.
    fn exchange(&mut self, mangle: impl Fn(Vec<Vec<u8>>) -> Vec<Vec<u8>>) {
        loop {
            let (up, down) = (packets(&mut self.client), packets(&mut self.server));
            if up.is_empty() && down.is_empty() {
                return;
            }
            for packet in mangle(up) {
                self.server.handle_packet(&packet, self.now);
            }
            for packet in mangle(down) {
                self.client.handle_packet(&packet, self.now);
            }
        }
    }

    fn tick(&mut self) {
        let at = [&self.client, &self.server].map(|t| t.poll_timeout().map(|d| d.at));
        let at = at.into_iter().flatten().min().expect("a timer");
        self.now = self.now.max(at);
        self.client.handle_timeout(self.now);
        self.server.handle_timeout(self.now);
    }
}

fn version(events: &[Event]) -> Option<Version> {
    events.iter().find_map(|event| match event {
        Event::Connected { version, .. } => Some(*version),
        Event::Data(_) | Event::Closed | Event::Failed(_) => None,
    })
}

fn only(versions: DtlsVersions) -> DtlsConfig {
    DtlsConfig {
        versions,
        ..DtlsConfig::default()
    }
}

#[test]
fn negotiates_every_combination_of_versions() {
    use DtlsVersions::{Auto, Only12, Only13};
    let cases = [
        (Auto, Auto, Version::Dtls13),
        (Auto, Only12, Version::Dtls12),
        (Only12, Auto, Version::Dtls12),
        (Auto, Only13, Version::Dtls13),
        (Only13, Auto, Version::Dtls13),
        (Only12, Only12, Version::Dtls12),
    ];
    for (client, server, expected) in cases {
        let mut pair = pair_with(&only(client), &only(server), Wrong::default());
        pair.exchange(|packets| packets);
        let (client_events, server_events) = (events(&mut pair.client), events(&mut pair.server));
        assert_eq!(
            version(&client_events),
            Some(expected),
            "{client:?} {server:?}"
        );
        assert_eq!(
            version(&server_events),
            Some(expected),
            "{client:?} {server:?}"
        );
        assert_eq!(
            pair.client.peer_certificate(),
            Some(pair.certificates[1].der())
        );
        assert_eq!(
            pair.server.peer_certificate(),
            Some(pair.certificates[0].der())
        );
        let suite = pair.client.cipher_suite().and_then(CipherSuite::name);
        assert_eq!(
            suite.map(|name| name.contains("ECDHE")),
            Some(expected == Version::Dtls12)
        );
        assert_eq!(pair.server.cipher_suite(), pair.client.cipher_suite());
    }
}

/// Splits a record with one whole handshake message into records with parts of it, as a
/// client does whose hello does not fit the path (RFC 9147 §5.5).
fn fragments(record: &[u8], size: usize) -> Vec<Vec<u8>> {
    let (message, body) = (&record[13..25], &record[25..]);
    let parts = body.chunks(size).enumerate().map(|(index, part)| {
        let u24 = |n: usize| u32::try_from(n).expect("short").to_be_bytes()[1..].to_vec();
        let len = u16::try_from(part.len() + 12).expect("short");
        let mut fragment = record[..11].to_vec();
        fragment[10] = u8::try_from(index).expect("few");
        fragment.extend(len.to_be_bytes());
        fragment.extend(&message[..6]);
        fragment.extend(u24(index * size));
        fragment.extend(u24(part.len()));
        fragment.extend(part);
        fragment
    });
    parts.collect()
}

#[test]
fn a_client_hello_in_several_fragments_is_put_together() {
    for versions in [
        DtlsVersions::Auto,
        DtlsVersions::Only12,
        DtlsVersions::Only13,
    ] {
        for reversed in [false, true] {
            let mut pair = pair_with(&only(versions), &only(DtlsVersions::Auto), Wrong::default());
            let hello = packets(&mut pair.client);
            let mut parts = fragments(&hello[0], 90);
            assert!(parts.len() > 1);
            if reversed {
                parts.reverse();
            }
            for packet in &parts {
                pair.server.handle_packet(packet, pair.now);
            }
            pair.exchange(|packets| packets);
            let seen = [events(&mut pair.client), events(&mut pair.server)];
            let connected = seen.iter().all(|events| version(events).is_some());
            assert!(connected, "{versions:?} reversed {reversed}: {seen:?}");
        }
    }
}

#[test]
fn a_wrong_fingerprint_never_connects_and_the_other_end_is_told() {
    use DtlsVersions::{Auto, Only12, Only13};
    for versions in [Auto, Only12, Only13] {
        // Small enough that the certificate comes long before the end of its flight.
        for mtu in [1200, 160] {
            for (at_client, at_server) in [(true, false), (false, true), (true, true)] {
                let wrong = Wrong {
                    at_client,
                    at_server,
                };
                refusal(
                    &DtlsConfig {
                        mtu,
                        ..only(versions)
                    },
                    wrong,
                );
            }
        }
    }
}

fn refusal(config: &DtlsConfig, wrong: Wrong) {
    let mut pair = pair_with(config, config, wrong);
    pair.exchange(|packets| packets);
    drop(pair.client.send(b"secret", pair.now));
    drop(pair.server.send(b"secret", pair.now));
    pair.exchange(|packets| packets);
    let was_12 = config.versions == DtlsVersions::Only12;
    let mismatch = Event::Failed(Error::FingerprintMismatch);
    let now = pair.now;
    for (end, refuses, other_refuses) in [
        (&mut pair.client, wrong.at_client, wrong.at_server),
        (&mut pair.server, wrong.at_server, wrong.at_client),
    ] {
        let seen = events(end);
        let told = Event::Failed(Error::Alert(Alert(42)));
        match seen.as_slice() {
            [only] if refuses && *only == mismatch => {}
            [only] if was_12 && other_refuses && *only == told => {}
            [Event::Connected { .. }, Event::Closed] if !was_12 && !refuses => {}
            _ => panic!("{config:?} {wrong:?} {end:?}: {seen:?}"),
        }
        let sent = (seen[0] == mismatch && was_12).then_some(Alert(42));
        assert_eq!(end.sent_alert(), sent);
        assert_ne!(end.state(), State::Connected);
        assert_eq!(end.send(b"x", now), Err(Error::NotConnected));
        if refuses {
            assert_eq!(end.poll_timeout(), None, "nothing is left to do");
        }
    }
}

#[test]
fn a_client_of_1_2_without_a_certificate_is_told_so() {
    let config = only(DtlsVersions::Only12);
    let mut pair = pair_with(&config, &config, Wrong::default());
    for hello in packets(&mut pair.client) {
        pair.server.handle_packet(&hello, pair.now);
    }
    packets(&mut pair.server);
    // An empty list of certificates, second message of the client's.
    let mut empty = vec![22, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 9, 0, 15];
    empty.extend([11, 0, 0, 3, 0, 1, 0, 0, 0, 0, 0, 3, 0, 0, 0]);
    pair.server.handle_packet(&empty, pair.now);
    let refused = [Event::Failed(Error::NoCertificate)];
    assert_eq!(events(&mut pair.server), refused);
    assert_eq!(pair.server.sent_alert(), Some(Alert(40)));
    for packet in packets(&mut pair.server) {
        pair.client.handle_packet(&packet, pair.now);
    }
    let told = [Event::Failed(Error::Alert(Alert(40)))];
    assert_eq!(events(&mut pair.client), told);
    assert_eq!(pair.client.sent_alert(), None);
}

#[test]
fn a_client_of_1_3_without_a_certificate_is_told_so() {
    let now = Instant::now();
    let none = dimpl::DtlsCertificate {
        certificate: Vec::new(),
        private_key: certificate().private_key_der().to_vec(),
    };
    let mut client = dimpl::Dtls::new_13(Default::default(), none, now);
    client.set_active(true);
    client.handle_timeout(now).expect("begins");
    let config = only(DtlsVersions::Only13);
    let expected = vec![certificate().fingerprint().clone()];
    let mut server =
        Transport::new(&config, &certificate(), DtlsRole::Server, expected, now).expect("server");
    let mut told = None;
    for _ in 0..4 {
        for packet in output_of(&mut client) {
            server.handle_packet(&packet, now);
        }
        for packet in packets(&mut server) {
            told = told.or(client.handle_packet(&packet).err());
        }
    }
    let refused = [Event::Failed(Error::NoCertificate)];
    assert_eq!(events(&mut server), refused);
    assert_eq!(server.sent_alert(), Some(Alert(116)));
    let told = told.as_ref().map(engine::told_by);
    assert_eq!(told, Some(Error::Alert(Alert(116))));
}

/// Packets of a bare engine.
fn output_of(engine: &mut dimpl::Dtls) -> Vec<Vec<u8>> {
    let mut buffer = vec![0; 2 * MAX_RECORD];
    let mut all = Vec::new();
    loop {
        let output = engine.poll_output(&mut buffer);
        if let dimpl::Output::Packet(packet) = output {
            all.push(packet.to_vec());
        } else if let dimpl::Output::Timeout(_) = output {
            return all;
        }
    }
}

/// Everything that is said between the refusal and the end of the exchange is lost, then twice
/// more what is said again.
#[test]
fn a_refusal_that_is_lost_is_said_again() {
    for versions in [DtlsVersions::Only12, DtlsVersions::Only13] {
        for at_client in [true, false] {
            let wrong = Wrong {
                at_client,
                at_server: !at_client,
            };
            let mut pair = pair_with(&only(versions), &only(versions), wrong);
            lose_what_the_refusing_end_says(&mut pair, at_client);
            let (refusing, other) = ends(&mut pair, at_client);
            assert_eq!(refusing.state(), State::Failed);
            let before = events(other);
            assert!(!before.contains(&Event::Closed), "{before:?}");
            goes_on(&mut pair, at_client);
            assert!(packets(ends(&mut pair, at_client).0).is_empty(), "too soon");
            for _ in 0..2 {
                pair.now += Duration::from_millis(60);
                goes_on(&mut pair, at_client);
                let lost = packets(ends(&mut pair, at_client).0);
                assert!(!lost.is_empty(), "{versions:?} {at_client}");
            }
            pair.now += Duration::from_millis(60);
            goes_on(&mut pair, at_client);
            let now = pair.now;
            pair.exchange(|packets| packets);
            let (refusing, other) = ends(&mut pair, at_client);
            assert!(
                matches!(other.state(), State::Closed | State::Failed),
                "{versions:?} {at_client}: {other:?}"
            );
            // In the same moment nothing more, and not for ever.
            let mut times = 0;
            for n in 0..100 {
                refusing.handle_packet(&[22; 40], now + Duration::from_millis(100 * n));
                times += usize::from(!packets(refusing).is_empty());
            }
            assert!((1..8).contains(&times), "{times}");
        }
    }
}

fn ends(pair: &mut Pair, client_first: bool) -> (&mut Transport, &mut Transport) {
    if client_first {
        (&mut pair.client, &mut pair.server)
    } else {
        (&mut pair.server, &mut pair.client)
    }
}

fn lose_what_the_refusing_end_says(pair: &mut Pair, at_client: bool) {
    loop {
        let now = pair.now;
        let (refusing, other) = ends(pair, at_client);
        let (said, answered) = (packets(refusing), packets(other));
        if said.is_empty() && answered.is_empty() {
            return;
        }
        if refusing.state() != State::Failed {
            said.iter()
                .for_each(|packet| other.handle_packet(packet, now));
        }
        let (refusing, _) = ends(pair, at_client);
        answered
            .iter()
            .for_each(|packet| refusing.handle_packet(packet, now));
    }
}

/// The end that was refused repeats its flight, or sends data.
fn goes_on(pair: &mut Pair, at_client: bool) {
    let now = pair.now;
    let (refusing, other) = ends(pair, at_client);
    other.handle_timeout(now);
    drop(other.send(b"data", now));
    let mut said = packets(other);
    if said.is_empty() {
        said.push(vec![22; 40]); // its timer is not due yet
    }
    said.iter()
        .for_each(|packet| refusing.handle_packet(packet, now));
}

#[test]
fn a_server_that_wants_none_of_our_offer_is_believed_at_once() {
    for versions in [
        DtlsVersions::Auto,
        DtlsVersions::Only12,
        DtlsVersions::Only13,
    ] {
        let mut pair = pair_with(&only(versions), &DtlsConfig::default(), Wrong::default());
        packets(&mut pair.client);
        let no_version = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 2, 70];
        let warning = [21, 0xfe, 0xfd, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2, 1, 90];
        pair.client.handle_packet(&warning, pair.now);
        assert_eq!(events(&mut pair.client), []);
        pair.client.handle_packet(&no_version, pair.now);
        let refused = Event::Failed(Error::Alert(Alert(70)));
        assert_eq!(events(&mut pair.client), [refused], "{versions:?}");
        assert_eq!(pair.client.state(), State::Failed);
    }
}

#[test]
fn one_of_several_fingerprints_is_enough() {
    let now = Instant::now();
    let (a, b) = (certificate(), certificate());
    let many = vec![
        certificate().fingerprint().clone(),
        Fingerprint::of(crate::certificate::HashFunction::Sha512, b.der()),
    ];
    let config = DtlsConfig::default();
    let client = Transport::new(&config, &a, DtlsRole::Client, many, now).expect("client");
    let of_a = vec![a.fingerprint().clone()];
    let server = Transport::new(&config, &b, DtlsRole::Server, of_a, now).expect("server");
    let mut pair = Pair {
        client,
        server,
        now,
        certificates: [a.clone(), b],
    };
    pair.exchange(|packets| packets);
    assert!(version(&events(&mut pair.client)).is_some());
    let none = Transport::new(&config, &a, DtlsRole::Client, Vec::new(), now);
    assert_eq!(none.err(), Some(Error::NoFingerprint));
}

#[test]
fn flights_survive_reordering_duplication_and_loss() {
    for versions in [DtlsVersions::Auto, DtlsVersions::Only12] {
        let mut pair = pair_with(&only(versions), &only(versions), Wrong::default());
        let mut round = 0;
        while pair.client.state() != State::Connected || pair.server.state() != State::Connected {
            round += 1;
            assert!(
                round < 40,
                "{versions:?}: {:?} {:?}",
                pair.client,
                pair.server
            );
            pair.exchange(|mut packets| {
                packets.reverse();
                let twice = packets.clone();
                packets.extend(twice);
                if round % 2 == 1 {
                    packets.truncate(packets.len() / 3);
                }
                packets
            });
            pair.tick();
        }
    }
}

#[test]
fn data_goes_both_ways_in_batches_and_close_is_seen() {
    let mut pair = pair_with(
        &DtlsConfig::default(),
        &DtlsConfig::default(),
        Wrong::default(),
    );
    pair.exchange(|packets| packets);
    events(&mut pair.client);
    events(&mut pair.server);
    for i in 0..200_u8 {
        pair.client.send(&[i; 1100], pair.now).expect("send");
    }
    let mut batches = 0;
    let mut got = Vec::new();
    while let Some(transmit) = pair.client.poll_transmit(path()) {
        batches += 1;
        assert!(transmit.contents.len() <= crate::engine::MAX_BATCH);
        for packet in transmit.datagrams() {
            pair.server.handle_packet(packet, pair.now);
        }
        got.extend(events(&mut pair.server));
    }
    assert_eq!(batches, 200_usize.div_ceil(crate::engine::MAX_BATCH / 1130));
    let expected: Vec<Event> = (0..200_u8)
        .map(|i| Event::Data(vec![i; 1100].into()))
        .collect();
    assert!(got == expected, "{} of 200", got.len());
    pair.server.close(pair.now);
    pair.exchange(|packets| packets);
    assert_eq!(events(&mut pair.client), [Event::Closed]);
}

#[test]
fn a_gap_in_the_flight_is_acknowledged_without_spinning() {
    for (versions, mtu) in [DtlsVersions::Only13, DtlsVersions::Only12]
        .into_iter()
        .flat_map(|versions| (160..640).step_by(80).map(move |mtu| (versions, mtu)))
    {
        let mut missing = 1;
        while lose_one_of_the_flight(versions, mtu, missing) {
            missing += 1;
        }
        assert!(
            missing > 1,
            "{versions:?} at {mtu}: the flight is one datagram"
        );
    }
}

/// Delivers the server's flight but for one datagram and watches the client for a second. `false`
/// if there is no such datagram.
fn lose_one_of_the_flight(versions: DtlsVersions, mtu: usize, missing: usize) -> bool {
    let small = DtlsConfig {
        mtu,
        ..only(versions)
    };
    let mut pair = pair_with(&only(versions), &small, Wrong::default());
    for packet in packets(&mut pair.client) {
        pair.server.handle_packet(&packet, pair.now);
    }
    let flight = packets(&mut pair.server);
    for (index, packet) in flight.iter().enumerate() {
        if index != missing {
            pair.client.handle_packet(packet, pair.now);
        }
    }
    let end = pair.now + Duration::from_secs(1);
    let mut sent = 0;
    let mut calls = 0;
    while let Some(due) = pair.client.poll_timeout().filter(|due| due.at <= end) {
        pair.now = pair.now.max(due.at);
        pair.client.handle_timeout(pair.now);
        sent += packets(&mut pair.client).len();
        calls += 1;
        assert!(
            calls < 200,
            "{versions:?} at {mtu}, without {missing}: spins"
        );
    }
    assert!(
        sent < 200,
        "{versions:?} at {mtu}, without {missing}: {sent} packets in a second"
    );
    missing < flight.len()
}
