//! Moves bytes through two stacks in one thread, without sockets, and tells how fast:
//! `cargo run --release -p peerloom-transports-proto --example throughput -- [MEGABYTES] [WORD…]`, where
//! a word is `dtls12`, `records` (our own record layer) or `sctp` (our own engine).
//! Both ends are counted, so that the number is what one core does for a whole connection.

#![allow(clippy::print_stdout, reason = "a program that reports")]
#![allow(clippy::disallowed_methods, reason = "it measures time")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::{Duration, Instant};

use peerloom_transports_proto::channel::{self, ChannelInit, Message};
use peerloom_transports_proto::config::{DtlsRecords, DtlsVersions, SctpEngine};
use peerloom_transports_proto::engine::Transmit;
use peerloom_transports_proto::stack::{Event, Stack, StackConfig};

use support::link::Conditions;
use support::pair::Pair;

const MESSAGE: usize = 16 * 1024;

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

fn main() {
    let megabytes = std::env::args()
        .nth(1)
        .and_then(|text| text.parse().ok())
        .unwrap_or(200);
    let total = megabytes * 1_000_000;
    let mut config = StackConfig::default();
    for word in std::env::args().skip(2) {
        match word.as_str() {
            "dtls12" => config.dtls.versions = DtlsVersions::Only12,
            "records" => config.dtls.records = DtlsRecords::Native,
            "sctp" => config.sctp.engine = SctpEngine::Native,
            other => panic!("no such word: {other}"),
        }
    }
    let mut pair = Pair::new(&config, 1, Conditions::CLEAN);
    pair.start(0);
    pair.connect();
    let (ours, _) = pair.open(0, ChannelInit::default());
    let message = Message::Binary(vec![7; MESSAGE].into());
    let begun = Instant::now();
    let offset = pair.now;
    let [a, b] = &mut pair.stacks;
    let (mut got, mut rounds, mut batches) = (0, 0_u64, 0);
    while got < total {
        let now = offset + begun.elapsed();
        while a.send(ours, message.clone(), now).is_ok() {}
        batches += carry(a, b, now);
        got += take(b, now);
        carry(b, a, now);
        take(a, now);
        a.handle_timeout(now);
        b.handle_timeout(now);
        rounds += 1;
        assert!(
            begun.elapsed() < Duration::from_secs(300),
            "stalled at {got} bytes"
        );
    }
    let took = begun.elapsed();
    println!(
        "{:.0} MB/s ({got} bytes in {took:?}, {rounds} rounds, {batches} batches)",
        got as f64 / took.as_secs_f64() / 1e6
    );
}
