//! The sending side alone, acknowledgement by acknowledgement.

use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};

use super::super::wire::{Address, Checksum, PacketWriter};
use super::{Limit, Outgoing, Readiness, Sack, Sender};
use crate::config::CongestionControl;

const RTT: Duration = Duration::from_millis(40);
const ADDRESS: Address = Address {
    ports: [0; 4],
    tag: 1,
};

#[allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]
fn begin() -> Instant {
    Instant::now()
}

fn sender(control: CongestionControl, now: Instant) -> Sender {
    let mut sender = Sender::new(1, control, 1_000_000_000, now);
    sender.start(1 << 20, true, true);
    sender
}

fn push(sender: &mut Sender, count: usize) {
    for _ in 0..count {
        sender.push(Outgoing {
            stream: 0,
            data: Bytes::from(vec![1; 1100]),
            ppid: 53,
            ordered: true,
            limit: Limit::RELIABLE,
        });
    }
}

/// Sends what may leave; returns how many packets that were.
fn send(sender: &mut Sender, now: Instant) -> usize {
    let mut packets = 0;
    let mut out = BytesMut::new();
    while sender.readiness(super::FULL_PACKET, now) == Readiness::Now {
        let mut writer = PacketWriter::new(&mut out, ADDRESS, super::FULL_PACKET);
        sender.fill(&mut writer, now);
        packets += usize::from(writer.finish(Checksum::Zero) > 0);
    }
    packets
}

fn acknowledge(
    sender: &mut Sender,
    cumulative: u32,
    blocks: &[(u16, u16)],
    duplicates: &[u32],
    now: Instant,
) {
    let count = |len: usize| u16::try_from(len).expect("few").to_be_bytes();
    let mut value = cumulative.to_be_bytes().to_vec();
    value.extend((1_u32 << 20).to_be_bytes());
    value.extend(count(blocks.len()));
    value.extend(count(duplicates.len()));
    for (start, end) in blocks {
        value.extend(start.to_be_bytes());
        value.extend(end.to_be_bytes());
    }
    duplicates
        .iter()
        .for_each(|tsn| value.extend(tsn.to_be_bytes()));
    sender.handle_sack(&Sack::parse(&value).expect("valid"), now);
}

#[test]
fn a_loss_that_was_none_costs_no_window() {
    let begun = begin();
    let mut sender = sender(CongestionControl::Cubic, begun);
    push(&mut sender, 10);
    assert_eq!(send(&mut sender, begun), 10);
    // What it is when the acknowledgement has let it grow.
    let before = sender.congestion.window() + 9 * 1100;
    // The first is overtaken by all others, and sent again.
    acknowledge(&mut sender, 0, &[(2, 10)], &[], begun + RTT);
    assert_eq!(send(&mut sender, begun + RTT), 1);
    let reduced = sender.congestion.window();
    assert!(reduced < before, "{reduced}");
    acknowledge(&mut sender, 10, &[], &[], begun + RTT * 2);
    assert!(sender.congestion.window() < before);
    acknowledge(&mut sender, 10, &[], &[1], begun + RTT * 2);
    assert!(sender.congestion.window() >= before);
    // What was not sent again may come twice as it likes.
    acknowledge(&mut sender, 10, &[], &[1, 2, 3], begun + RTT * 2);
}

#[test]
fn a_loss_stays_one_while_a_part_of_it_was_true() {
    let begun = begin();
    let mut sender = sender(CongestionControl::Cubic, begun);
    push(&mut sender, 10);
    send(&mut sender, begun);
    let before = sender.congestion.window() + 8 * 1100;
    acknowledge(&mut sender, 0, &[(3, 10)], &[], begun + RTT);
    assert_eq!(send(&mut sender, begun + RTT), 2);
    acknowledge(&mut sender, 10, &[], &[2], begun + RTT * 2);
    assert!(sender.congestion.window() < before);
}

#[test]
fn bbr_paces_what_cubic_sends_in_bursts() {
    let begun = begin();
    let [cubic, bbr] = [CongestionControl::Cubic, CongestionControl::Bbr].map(|control| {
        let mut sender = sender(control, begun);
        push(&mut sender, 200);
        let mut now = begun;
        for tsn in [10_u32, 30, 70] {
            send(&mut sender, now);
            now += RTT;
            let arrived = tsn.min(sender.last_tsn());
            acknowledge(&mut sender, arrived, &[], &[], now);
        }
        send(&mut sender, now)
    });
    assert!(bbr < cubic && bbr > 0, "{bbr} and {cubic} packets at once");
}
