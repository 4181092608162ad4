//! Media beside data channels on one path, over links that lose, repeat and reorder.

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use peerloom_transports_proto::dtls::SrtpProfile;
use peerloom_transports_proto::media::srtp::{Error, Packet};
use peerloom_transports_proto::stack::{Event, MAX_QUEUED_MEDIA, SendMediaError, StackConfig};

use support::link::Conditions;
use support::pair::Pair;

fn rtp(number: u16) -> Vec<u8> {
    let [high, low] = number.to_be_bytes();
    let mut packet = vec![0x80, 111, high, low, 0, 0, 0, 0, 0, 0, 0, 7];
    packet.extend([high ^ low; 160]);
    packet
}

const REPORT: [u8; 8] = [0x80, 201, 0, 1, 0, 0, 0, 7];

/// The packets of RTP that `end` was told of.
fn heard(pair: &Pair, end: usize) -> Vec<Vec<u8>> {
    let packet = |event: &Event| match event {
        Event::Media(Packet::Rtp(packet)) => Some(packet.to_vec()),
        Event::Media(Packet::Rtcp(_)) | Event::Ice(_) | Event::Dtls(_) | Event::Channel(_) => None,
    };
    pair.events[end].iter().filter_map(packet).collect()
}

#[test]
fn media_passes_beside_data_whatever_the_link_does() {
    for seed in 0..4 {
        let mut pair = Pair::new(&StackConfig::default(), seed, Conditions::ROUGH);
        pair.start(usize::from(seed.is_multiple_of(2)));
        let early = pair.stacks[0].send_rtp(&rtp(0));
        assert_eq!(early, Err(SendMediaError::NoKeys));
        pair.connect();
        let mut lost = 0;
        for number in 0..500 {
            for stack in &mut pair.stacks {
                stack.send_rtp(&rtp(number)).expect("sent");
            }
            pair.run(Duration::from_millis(5), |_| false);
        }
        pair.stacks[0].send_rtcp(&REPORT).expect("sent");
        pair.run(Duration::from_secs(1), |_| false);
        for end in 0..2 {
            let all = heard(&pair, end);
            let distinct: BTreeSet<&Vec<u8>> = all.iter().collect();
            assert_eq!(distinct.len(), all.len(), "seed {seed}: one came twice");
            assert!(all.iter().all(|packet| {
                let number = u16::from_be_bytes([packet[2], packet[3]]);
                *packet == rtp(number)
            }));
            lost += 500 - all.len();
            let counters = pair.stacks[end].srtp().expect("keys").counters();
            assert_eq!((counters.forged, counters.refused), (0, 0), "seed {seed}");
            assert!(
                counters.replayed > 0,
                "seed {seed}: the link repeats packets"
            );
        }
        // The link loses one in twenty.
        assert!((10..100).contains(&lost), "seed {seed}: {lost} lost");
    }
}

#[test]
fn reports_pass_and_the_profile_is_told() {
    let mut pair = Pair::new(&StackConfig::default(), 1, Conditions::CLEAN);
    pair.start(0);
    pair.connect();
    pair.stacks[1].send_rtcp(&REPORT).expect("sent");
    let told = |pair: &Pair| {
        let report = Event::Media(Packet::Rtcp(REPORT.to_vec().into()));
        pair.events[0].contains(&report)
    };
    assert!(pair.run(Duration::from_secs(1), told));
    let profile = pair.stacks[0].srtp().expect("keys").profile();
    assert_eq!(profile, SrtpProfile::AeadAes256Gcm);
    let wrong = pair.stacks[0].send_rtp(&REPORT);
    assert_eq!(wrong, Err(SendMediaError::Srtp(Error::Malformed)));
}

#[test]
fn what_waits_is_bounded_and_ends_with_the_connection() {
    let mut pair = Pair::new(&StackConfig::default(), 2, Conditions::CLEAN);
    pair.start(0);
    pair.connect();
    let sent = (0..).map_while(|n| pair.stacks[0].send_rtp(&rtp(n)).ok());
    assert_eq!(sent.count(), MAX_QUEUED_MEDIA);
    let more = pair.stacks[0].send_rtp(&rtp(2000));
    assert_eq!(more, Err(SendMediaError::Full));
    let all = |pair: &Pair| heard(pair, 1).len() == MAX_QUEUED_MEDIA;
    assert!(pair.run(Duration::from_secs(1), all));
    pair.stacks[0].close(pair.now);
    let closed = |pair: &Pair| pair.stacks[1].srtp().is_none();
    assert!(pair.run(Duration::from_secs(1), closed));
    let after = [0, 1].map(|end| pair.stacks[end].send_rtp(&rtp(1)));
    assert_eq!(after, [Err(SendMediaError::NoKeys); 2]);
}

#[test]
fn media_from_elsewhere_or_without_keys_is_dropped() {
    let mut pair = Pair::new(&StackConfig::default(), 3, Conditions::CLEAN);
    pair.start(0);
    pair.connect();
    pair.capture = Some(Vec::new());
    pair.stacks[0].send_rtp(&rtp(1)).expect("sent");
    let arrived = |pair: &Pair| heard(pair, 1).len() == 1;
    assert!(pair.run(Duration::from_secs(1), arrived));
    let media = |it: &(usize, _, Vec<u8>)| it.0 == 0 && it.2[0] == 0x80;
    let captured = pair.capture.take().expect("captured");
    let (_, path, sealed) = captured.into_iter().find(media).expect("a packet");
    let before = pair.stacks[1].srtp().expect("keys").counters();
    // From an address that ICE has not checked: not even looked at.
    let mut elsewhere = path.reversed();
    elsewhere.remote = "10.9.9.9:9".parse().expect("address");
    pair.stacks[1].handle_packet(elsewhere, &sealed, pair.now);
    assert_eq!(pair.stacks[1].srtp().expect("keys").counters(), before);
    // Again from where it came: seen, and taken for what it is.
    pair.stacks[1].handle_packet(path.reversed(), &sealed, pair.now);
    let mut forged = sealed.clone();
    forged[20] ^= 1;
    forged[3] += 1;
    pair.stacks[1].handle_packet(path.reversed(), &forged, pair.now);
    let after = pair.stacks[1].srtp().expect("keys").counters();
    assert_eq!(after.replayed, before.replayed + 1);
    assert_eq!(after.forged, before.forged + 1);
    pair.drain();
    assert_eq!(heard(&pair, 1).len(), 1);
}
