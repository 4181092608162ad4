//! What only a peer sends that does not mean well, or is mistaken.

use super::*;

const FIRST: u32 = u32::MAX - 5;
const WHOLE: u8 = flag::BEGIN | flag::END;

fn without_interleaving() -> SctpConfig {
    SctpConfig {
        interleaving: false,
        ..SctpConfig::default()
    }
}

fn tsn(n: u32) -> [u8; 4] {
    FIRST.wrapping_add(n).to_be_bytes()
}

/// One byte on stream 3.
fn data(n: u32, ssn: u16) -> Vec<u8> {
    let ssn = ssn.to_be_bytes();
    [&tsn(n)[..], &[0, 3], &ssn, &[0, 0, 0, 53, 9]].concat()
}

fn i_data(n: u32, mid: u32, last: u32) -> Vec<u8> {
    let (mid, last) = (mid.to_be_bytes(), last.to_be_bytes());
    [&tsn(n)[..], &[0, 3, 0, 0], &mid, &last, &[9]].concat()
}

#[test]
fn what_lies_before_the_first_message_of_a_stream_is_old() {
    let mut pair = Pair::connected(&without_interleaving());
    let skip = [&tsn(0)[..], &[0, 3, 0xff, 0xff]].concat();
    inject(&mut pair, kind::FORWARD_TSN, 0, &skip);
    inject(&mut pair, kind::DATA, WHOLE, &data(1, u16::MAX));
    assert_eq!(pair.ends[1].unread_chunks(), 0, "waits for nothing");
    inject(&mut pair, kind::DATA, WHOLE, &data(2, 0));
    assert_eq!(pair.read_all(1), [vec![9]]);

    let mut pair = Pair::connected(&SctpConfig::default());
    for unordered in [0, 1] {
        let n = u32::from(unordered);
        let skip = [&tsn(n)[..], &[0, 3, 0, unordered], &[0xff; 4]].concat();
        inject(&mut pair, kind::I_FORWARD_TSN, 0, &skip);
    }
    inject(&mut pair, kind::I_DATA, WHOLE, &i_data(2, u32::MAX, 53));
    assert_eq!(pair.ends[1].unread_chunks(), 0);
    inject(&mut pair, kind::I_DATA, WHOLE, &i_data(3, 0, 53));
    assert_eq!(pair.read_all(1), [vec![9]]);
}

#[test]
fn a_piece_that_comes_twice_counts_once() {
    let mut pair = Pair::connected(&SctpConfig::default());
    for n in 0..5 {
        inject(&mut pair, kind::I_DATA, 0, &i_data(n, 0, 1));
    }
    assert_eq!(pair.ends[1].unread_chunks(), 1);
    inject(&mut pair, kind::I_DATA, flag::BEGIN, &i_data(5, 0, 53));
    inject(&mut pair, kind::I_DATA, flag::END, &i_data(6, 0, 2));
    assert_eq!(pair.read_all(1), [vec![9; 3]]);
    assert_eq!(pair.ends[1].unread_chunks(), 0);
}

#[test]
fn a_heartbeat_that_fits_into_no_packet_of_ours_is_not_answered() {
    let mut pair = Pair::connected(&SctpConfig::default());
    let now = pair.now;
    for (len, answered) in [(1172, true), (1173, false), (1400, false)] {
        inject(&mut pair, kind::HEARTBEAT, 0, &vec![1; len]);
        let answer = pair.ends[1].poll_transmit(now);
        assert!(
            answer
                .as_ref()
                .is_none_or(|packet| packet.len() <= MAX_PACKET)
        );
        assert_eq!(answer.is_some(), answered, "{len}");
    }
    assert!(pair.ends[1].is_connected());
}

#[test]
fn nothing_is_acknowledged_after_the_end() {
    let mut pair = Pair::connected(&without_interleaving());
    for n in 1..4 {
        inject(&mut pair, kind::DATA, WHOLE, &data(n, 0));
    }
    let (gap, none) = (data(4, 0), Vec::new());
    inject_all(
        &mut pair,
        &[(kind::DATA, WHOLE, gap), (kind::ABORT, 0, none)],
    );
    assert_eq!(
        pair.ends[1].close_reason(),
        Some(CloseReason::Aborted(None))
    );
    let now = pair.now;
    assert_eq!(pair.ends[1].poll_transmit(now), None);
}

#[test]
fn unread_messages_of_a_stream_that_both_sides_reset_take_no_window() {
    let mut pair = Pair::connected(&without_interleaving());
    inject(&mut pair, kind::DATA, WHOLE, &data(0, 0));
    assert_eq!(pair.ends[1].unread_chunks(), 1);
    // "Reset yours", "it is reset", "mine is, too": nobody has read until then.
    let ask = [&[0, 14, 0, 10][..], &tsn(0), &[0, 3, 0, 0]].concat();
    inject(&mut pair, kind::RE_CONFIG, 0, &ask);
    let now = pair.now;
    while pair.ends[1].poll_transmit(now).is_some() {}
    let number = u32::MAX - 10;
    let done = [
        &[0, 16, 0, 12][..],
        &number.to_be_bytes(),
        &1_u32.to_be_bytes(),
    ];
    inject(&mut pair, kind::RE_CONFIG, 0, &done.concat());
    let reset = [&[0, 13, 0, 18][..], &tsn(1), &[0; 4], &tsn(0), &[0, 3]];
    inject(&mut pair, kind::RE_CONFIG, 0, &reset.concat());
    let events: Vec<_> = std::iter::from_fn(|| pair.ends[1].poll_event()).collect();
    assert!(events.contains(&Event::Reset(S)), "{events:?}");
    assert_eq!(pair.ends[1].unread_chunks(), 0);
    assert_eq!(pair.read_all(1), Vec::<Bytes>::new());
}
