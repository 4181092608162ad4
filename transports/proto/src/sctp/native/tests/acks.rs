//! How often the receiving side acknowledges.

use super::*;

/// One byte, unordered, so many after the first TSN of the client.
fn data(n: u32) -> Vec<u8> {
    let tsn = (u32::MAX - 5).wrapping_add(n).to_be_bytes();
    [&tsn[..], &[0, 3, 0, 0, 0, 0, 0, 53, 9]].concat()
}

/// Acknowledgements that leave after a batch of packets, of which the first is missing or not.
fn acknowledgements(missing: bool) -> usize {
    let config = SctpConfig {
        interleaving: false,
        ..SctpConfig::default()
    };
    let mut pair = Pair::connected(&config);
    let whole = flag::BEGIN | flag::END | flag::UNORDERED;
    for n in u32::from(missing)..20 {
        inject(&mut pair, kind::DATA, whole, &data(n));
    }
    let now = pair.now;
    std::iter::from_fn(|| pair.ends[1].poll_transmit(now))
        .filter(|packet| kinds(packet).contains(&kind::SACK))
        .count()
}

#[test]
fn a_batch_is_acknowledged_once_and_several_times_while_something_is_missing() {
    assert_eq!(acknowledgements(false), 1);
    // Peers that count reports of a missing chunk need three (RFC 9260 §7.2.4).
    let several = acknowledgements(true);
    assert!((3..=6).contains(&several), "{several}");
}
