//! Scripts of SCTP to begin with, for both engines: honest ones and changes of them, and packets
//! such as only a peer could write that knows the association.

use super::sctp::{CHECKSUMS, FEW_STREAMS, NATIVE, NO_INTERLEAVING, SMALL, packets};
use super::seeds::{ACT, FLAG, INJECT, LOSE, PASS, Seed, TO_SECOND, WAIT, changes, length};

const BOTH_NATIVE: u8 = NATIVE * 3;
/// DATA as well as I-DATA, with checksums and without, in windows of any size.
const SETUPS: [u8; 9] = [
    0,
    NATIVE,
    NATIVE << 1,
    BOTH_NATIVE,
    BOTH_NATIVE | NO_INTERLEAVING,
    BOTH_NATIVE | CHECKSUMS,
    BOTH_NATIVE | NO_INTERLEAVING | CHECKSUMS << 1,
    BOTH_NATIVE | SMALL,
    BOTH_NATIVE | FEW_STREAMS | NO_INTERLEAVING,
];

const CONNECT: [u8; 4] = [PASS; 4];
const OPEN: [u8; 6] = [ACT, 0, ACT | TO_SECOND, 1, PASS, PASS];
const TALK: [u8; 11] = [
    ACT,
    6,
    ACT | TO_SECOND,
    5,
    PASS,
    PASS,
    LOSE,
    WAIT | FLAG,
    9,
    PASS,
    PASS,
];
const CLOSE: [u8; 5] = [ACT, 3, PASS, PASS, PASS];
/// Unreliable channels, whose messages are lost and given up.
const GIVE_UP: [u8; 24] = [
    ACT, 8, ACT, 2, PASS, PASS, PASS, ACT, 0x04, ACT, 0x16, ACT, 0x0c, LOSE, WAIT, 60, LOSE, WAIT,
    200, PASS, ACT, 0x26, PASS, PASS,
];

/// All of them.
pub(super) fn scripts(seeds: &mut Vec<Seed>) {
    for setup in SETUPS {
        let begin = [&[setup][..], &CONNECT].concat();
        let whole = [&begin[..], &OPEN, &TALK, &CLOSE].concat();
        // The engines alone and each with the other.
        if matches!(setup, 0 | BOTH_NATIVE) {
            changes(seeds, "sctp", &whole, packets);
        }
        let mut add = |bytes: Vec<u8>, real: bool| {
            seeds.push(Seed {
                target: "sctp",
                bytes,
                real,
            });
        };
        add(whole, true);
        add([&begin[..], &OPEN, &GIVE_UP, &CLOSE].concat(), true);
        for told in told() {
            for end in [0, TO_SECOND] {
                let inject = inject(end, &told);
                let told = [&begin[..], &OPEN, &inject, &[PASS, PASS], &TALK];
                add(told.concat(), false);
            }
        }
    }
}

/// A packet of these chunks arrives, made right.
fn inject(end: u8, chunks: &[Vec<u8>]) -> Vec<u8> {
    let packet = [&[0; 12][..], &chunks.concat()].concat();
    [&[INJECT | FLAG | end][..], &length(packet.len()), &packet].concat()
}

fn chunk(kind: u8, flags: u8, value: &[&[u8]]) -> Vec<u8> {
    let value = value.concat();
    let mut chunk = [&[kind, flags][..], &length(value.len() + 4), &value].concat();
    chunk.resize(chunk.len().next_multiple_of(4), 0);
    chunk
}

/// DATA: TSN from where the sender is, stream, SSN, binary.
fn data(flags: u8, tsn: u8, ssn: u16) -> Vec<u8> {
    let ssn = ssn.to_be_bytes();
    chunk(
        0,
        flags,
        &[&[0, 0, 0, tsn, 0, 1], &ssn, &[0, 0, 0, 53, 1, 2, 3]],
    )
}

/// I-DATA: the same with MID and FSN.
fn i_data(flags: u8, tsn: u8, mid: u32, fsn: u8) -> Vec<u8> {
    let mid = mid.to_be_bytes();
    chunk(
        64,
        flags,
        &[&[0, 0, 0, tsn, 0, 1, 0, 0], &mid, &[0, 0, 0, fsn, 1, 2, 3]],
    )
}

/// What peers say that know the association, each in a packet.
fn told() -> Vec<Vec<Vec<u8>>> {
    let mut told = of_data();
    told.extend(of_resets());
    told.extend([
        // Gaps and duplicates acknowledged.
        vec![chunk(
            3,
            0,
            &[&[0, 0, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 2, 0, 3, 0, 0, 0, 1]],
        )],
        vec![chunk(
            3,
            0,
            &[&[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]],
        )],
        vec![chunk(4, 0, &[&[0, 1, 0, 8, 1, 2, 3, 4]]), chunk(5, 0, &[])],
        vec![chunk(4, 0, &[&[7; 3000]])],
        vec![chunk(6, 0, &[&[0, 12, 0, 4]])],
        vec![chunk(7, 0, &[&[0xff, 0xff, 0xff, 0xff]])],
        vec![chunk(8, 0, &[])],
        vec![chunk(9, 0, &[&[0, 3, 0, 8, 0, 0, 0, 1]]), chunk(14, 0, &[])],
        vec![chunk(0x7f, 0, &[&[1; 9]]), chunk(0xff, 0, &[&[2; 200]])],
        vec![chunk(
            1,
            0,
            &[&[0, 0, 0, 9, 0, 1, 0, 0, 0, 5, 0, 5, 0, 0, 0, 1]],
        )],
    ]);
    told
}

/// Pieces out of order, and skipped.
fn of_data() -> Vec<Vec<Vec<u8>>> {
    let skip = |kind: u8, rest: &[u8]| chunk(kind, 0, &[&[0, 0, 0, 3], rest]);
    vec![
        vec![data(3, 0, 0), data(3, 1, 1), data(7, 4, 0)],
        vec![data(2, 0, 0), data(1, 2, 0), data(0, 1, 0), data(1, 5, 7)],
        vec![data(2, 0, 0), data(3, 1, 1), data(0, 2, 0)],
        vec![data(3, 2, 9), skip(192, &[0, 1, 0, 8]), data(3, 4, 10)],
        vec![skip(192, &[0, 1, 0xff, 0xff]), data(3, 4, 0)],
        vec![
            i_data(3, 0, 0, 53),
            i_data(7, 1, 0, 53),
            i_data(2, 2, 1, 53),
        ],
        vec![i_data(1, 0, 2, 1), i_data(0, 1, 2, 1), i_data(2, 2, 2, 53)],
        vec![i_data(0, 0, u32::MAX, 0), i_data(1, 1, u32::MAX, u8::MAX)],
        vec![i_data(3, 2, 9, 53), skip(194, &[0, 1, 0, 0, 0, 0, 0, 8])],
        vec![skip(194, &[0, 1, 0, 1, 0xff, 0xff, 0xff, 0xff])],
        vec![skip(194, &[0, 1, 0, 0, 0xff, 0xff, 0xff, 0xff])],
        vec![
            data(3, 0, 0),
            chunk(0, 3, &[&[0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 53]]),
        ],
    ]
}

/// Requests and answers of RFC 6525.
fn of_resets() -> Vec<Vec<Vec<u8>>> {
    let one = |value: &[u8]| vec![chunk(130, 0, &[value])];
    let outgoing = [
        0, 13, 0, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 1,
    ];
    let later = [0, 13, 0, 18, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 1];
    vec![
        one(&outgoing),
        one(&later),
        one(&[0, 13, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        one(&[0, 14, 0, 10, 0, 0, 0, 0, 0, 1]),
        one(&[
            0, 15, 0, 8, 0, 0, 0, 0, 0, 18, 0, 12, 0, 0, 0, 1, 0, 9, 0, 0,
        ]),
        one(&[0, 17, 0, 12, 0, 0, 0, 0, 0, 9, 0, 0]),
        one(&[0, 16, 0, 12, 0, 0, 0, 0, 0, 0, 0, 1]),
        one(&[0, 16, 0, 12, 0, 0, 0, 0, 0, 0, 0, 6]),
    ]
}
