//! Moves messages through two stacks in one thread, without sockets, and tells how fast:
//! `cargo run --release -p peerloom-transports-proto --example throughput -- [MEGABYTES] [WORD…]`, where
//! a word is `dtls12`, `packaged-records`, `packaged-sctp`, `cubic`, `bbr`, the size of a message in
//! bytes (16384 otherwise), `unreliable` (neither ordered nor sent again), `unpaced`, `base` (no longer packets) or `bare` (the
//! SCTP engines alone).
//! Both ends are counted, so that the number is what one core does for a whole connection.

#![allow(clippy::print_stdout, reason = "a program that reports")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use peerloom_transports_proto::channel::{self, ChannelInit, Message, Reliability};
use peerloom_transports_proto::config::{CongestionControl, DtlsRecords, DtlsVersions, SctpEngine};
use peerloom_transports_proto::engine::Transmit;
use peerloom_transports_proto::id::{DtlsRole, StreamId};
use peerloom_transports_proto::sctp::{self, Association};
use peerloom_transports_proto::stack::{Event, Stack, StackConfig};

use support::link::Conditions;
use support::pair::Pair;

fn take(stack: &mut Stack, now: Instant) -> usize {
    let mut bytes = 0;
    while let Some(event) = stack.poll_event() {
        if let Event::Channel(channel::Event::Messages { channel, messages }) = event {
            bytes += messages.iter().map(Message::len).sum::<usize>();
            stack.grant(channel, messages.iter().map(Message::cost).sum(), now);
        }
    }
    bytes
}

fn carry(from: &mut Stack, to: &mut Stack, now: Instant) -> usize {
    let batches: Vec<Transmit> = std::iter::from_fn(|| from.poll_transmit(now)).collect();
    for batch in &batches {
        to.handle_batch(batch.path.reversed(), batch.datagrams(), now);
    }
    batches.len()
}

/// What to measure.
struct Task {
    stack: StackConfig,
    bytes: usize,
    size: usize,
    init: ChannelInit,
    bare: bool,
}

fn task() -> Task {
    let megabytes = std::env::args().nth(1).and_then(|text| text.parse().ok());
    let mut task = Task {
        stack: StackConfig::default(),
        bytes: megabytes.unwrap_or(200) * 1_000_000,
        size: 16 * 1024,
        init: ChannelInit::default(),
        bare: false,
    };
    for word in std::env::args().skip(2) {
        match word.as_str() {
            "dtls12" => task.stack.dtls.versions = DtlsVersions::Only12,
            "packaged-records" => task.stack.dtls.records = DtlsRecords::Packaged,
            "packaged-sctp" => task.stack.sctp.engine = SctpEngine::Packaged,
            "cubic" => task.stack.sctp.congestion = CongestionControl::Cubic,
            "bbr" => task.stack.sctp.congestion = CongestionControl::Bbr,
            "unreliable" => {
                task.init.ordered = false;
                task.init.reliability = Reliability::MaxRetransmits(0);
            }
            "base" => task.stack.sctp.max_packet = sctp::MAX_PACKET,
            "unpaced" => task.stack.sctp.pace = u64::MAX,
            "bare" => task.bare = true,
            other => match other.parse() {
                Ok(size) => task.size = size,
                Err(_) => panic!("no such word: {other}"),
            },
        }
    }
    task
}

fn main() {
    let task = task();
    let begun = Instant::now();
    let (took, counts) = if task.bare { bare(&task) } else { whole(&task) };
    let seconds = took.as_secs_f64();
    println!(
        "{:.0} MB/s, {:.2} M messages/s ({took:?} of {:?}; {counts})",
        task.bytes as f64 / seconds / 1e6,
        task.bytes as f64 / task.size as f64 / seconds / 1e6,
        begun.elapsed(),
    );
}

/// Through two stacks, from ICE to channels.
fn whole(task: &Task) -> (Duration, String) {
    let mut pair = Pair::new(&task.stack, 1, Conditions::CLEAN);
    pair.start(0);
    pair.connect();
    let (ours, _) = pair.open(0, task.init.clone());
    let message = Message::Binary(vec![7; task.size].into());
    let begun = Instant::now();
    let offset = pair.now;
    let [a, b] = &mut pair.stacks;
    let (mut got, mut rounds, mut batches) = (0, 0_u64, 0);
    while got < task.bytes {
        let now = offset + begun.elapsed();
        while a.send(ours, message.clone(), now).is_ok() {}
        batches += carry(a, b, now);
        got += take(b, now);
        carry(b, a, now);
        take(a, now);
        a.handle_timeout(now);
        b.handle_timeout(now);
        rounds += 1;
        assert!(begun.elapsed() < LIMIT, "stalled at {got} bytes");
    }
    (
        begun.elapsed(),
        format!("{rounds} rounds, {batches} batches"),
    )
}

const LIMIT: Duration = Duration::from_secs(300);

/// Through two SCTP engines.
fn bare(task: &Task) -> (Duration, String) {
    let begun = Instant::now();
    let mut ends = [DtlsRole::Client, DtlsRole::Server]
        .map(|role| Association::new(task.stack.sctp.clone(), role, begun).expect("association"));
    let stream = StreamId(0);
    let message = sctp::Message {
        ppid: sctp::Ppid::Binary,
        data: vec![7; task.size].into(),
    };
    let Task { init, .. } = task;
    let (mut got, mut rounds, mut packets) = (0, 0_u64, 0_u64);
    while got < task.bytes {
        let now = Instant::now();
        let [a, _] = &mut ends;
        while a.is_connected() && a.buffered_total() + task.size <= a.send_buffer() {
            a.write(stream, init.ordered, init.reliability, &message, now)
                .expect("written");
        }
        for _ in 0..2 {
            let [from, to] = &mut ends;
            while let Some(packet) = from.poll_transmit(now) {
                to.handle_packet(packet, now);
                packets += 1;
            }
            while let Some(event) = to.poll_event() {
                if let sctp::Event::Readable(stream) = event {
                    got += std::iter::from_fn(|| to.read(stream))
                        .map(|message| message.data.len())
                        .sum::<usize>();
                }
            }
            from.handle_timeout(now);
            ends.swap(0, 1);
        }
        rounds += 1;
        assert!(begun.elapsed() < LIMIT, "stalled at {got} bytes");
    }
    (
        begun.elapsed(),
        format!("{rounds} rounds, {packets} packets"),
    )
}
