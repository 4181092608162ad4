//! Peers that want more kept for them than there is room for.

use super::*;
use crate::channel::Streams as _;
use crate::id::StreamId;
use crate::quic::{Frame, Head, MAX_PARTIAL_BYTES, given_up};
use crate::sctp::{Message, Ppid};

/// What the peer does with its stream of this number.
fn says(mapping: &mut Mapping<Fake>, kind: u8, stream: u64, rest: &[u8]) {
    let mut packet = BytesMut::new();
    packet.put_u8(kind);
    packet.put_u64(stream);
    packet.put_slice(rest);
    handle_packet(mapping, &packet.freeze());
    while mapping.poll_event().is_some() {}
}

/// The peer opens the main stream of a channel and sends so much of a message, the end of which is missing.
fn sends_a_part(mapping: &mut Mapping<Fake>, number: u16, len: usize) {
    let id = StreamId(number);
    let mut data = BytesMut::new();
    Head::Main { id, epoch: 0 }.write(&mut data);
    let frame = Frame {
        ppid: Ppid::Binary,
        len: u32::try_from(len + 1).expect("short"),
        streams: 0,
    };
    frame.write(&mut data);
    data.resize(data.len() + len, 7);
    says(mapping, DATA, u64::from(number), &data);
}

#[test]
fn the_channel_with_the_largest_part_is_closed_if_all_together_are_too_large() {
    let part = 200 * 1024;
    let mut mapping = mapping();
    let most = u16::try_from(MAX_PARTIAL_BYTES / part).expect("few");
    let violation = Message {
        ppid: Ppid::Binary,
        data: Bytes::new(),
    };
    for number in 0..most {
        let len = if number == 3 { part + 30_000 } else { part };
        sends_a_part(&mut mapping, number, len);
        assert_eq!(mapping.read(StreamId(number)), None);
    }
    // This one goes beyond it, and is not to blame.
    sends_a_part(&mut mapping, most, part);
    assert_eq!(mapping.read(StreamId(most)), None);
    let mut closed = Vec::new();
    for number in 0..=most {
        while let Some(message) = mapping.read(StreamId(number)) {
            assert_eq!(message, violation);
            closed.push(number);
        }
    }
    assert_eq!(closed, [3]);
    // The others go on.
    for number in [0, 4, most] {
        says(&mut mapping, DATA, u64::from(number), &[7]);
        let message = mapping.read(StreamId(number)).expect("whole");
        assert_eq!(message.data.len(), part + 1);
    }
}

#[test]
fn who_says_that_more_was_given_up_than_it_could_have_begun_is_not_believed() {
    let mut mapping = mapping();
    for number in 0..8 {
        sends_a_part(&mut mapping, number, 10);
    }
    let mut stream = 8;
    for number in 0..1_000 {
        for id in 0..8 {
            let code = given_up(StreamId(id), 0, 2 * number + 1);
            says(&mut mapping, RESET, stream, &code.to_be_bytes());
            stream += 1;
        }
    }
    let allowed = mapping.allowed as usize;
    assert_eq!(mapping.given_up_runs, allowed);
    assert_eq!(mapping.stats().malformed, 8_000 - allowed as u64);
    // A message that was under way is over: what lies behind it is skipped.
    let code = given_up(StreamId(0), 0, 0).to_be_bytes();
    says(&mut mapping, RESET, stream, &code);
    assert_eq!(mapping.given_up_runs, allowed - 1);
    for id in 0..8 {
        mapping.close_lane(StreamId(id));
    }
    assert_eq!(mapping.given_up_runs, 0);
}

#[test]
fn the_first_messages_of_any_number_of_channels_may_be_given_up_unread() {
    let mut mapping = mapping();
    let channels = 1_000;
    for number in 0..channels {
        sends_a_part(&mut mapping, number, 10);
    }
    let mut stream = u64::from(channels);
    for message in [0, 1] {
        for id in 0..channels {
            let code = given_up(StreamId(id), 0, message);
            says(&mut mapping, RESET, stream, &code.to_be_bytes());
            stream += 1;
        }
    }
    assert_eq!((mapping.given_up_runs, mapping.stats().malformed), (0, 0));
    let next = |id| mapping.lanes[&StreamId(id)].messages.next;
    assert!((0..channels).all(|id| next(id) == 2));
}
