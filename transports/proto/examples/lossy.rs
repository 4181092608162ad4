//! One channel kept full for some seconds of virtual time, over a link with a delay of 20 ms in each
//! direction and a chance of loss, with each SCTP engine:
//! `cargo run --release -p peerloom-transports-proto --example lossy -- [SECONDS] [SEED]`.
//! The link has no limit of its own, and the processor does not count: the figures are those of the
//! protocol alone, and the same every time.

#![allow(clippy::print_stdout, reason = "a program that reports")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use peerloom_transports_proto::channel::{self, ChannelInit, Message};
use peerloom_transports_proto::config::SctpEngine;
use peerloom_transports_proto::stack::{Event, StackConfig};

use support::link::Conditions;
use support::pair::Pair;

const DELAY: Duration = Duration::from_millis(20);
const MESSAGE: usize = 16 * 1024;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let mut number = |default| match arguments.next() {
        Some(Ok(number)) => number,
        Some(Err(_)) | None => default,
    };
    let seconds = number(20);
    let seed = number(1);
    for loss in [0, 1, 10] {
        let [packaged, native] = [SctpEngine::Packaged, SctpEngine::Native]
            .map(|engine| moved(engine, loss, seconds, seed) / seconds as f64 / 1e6);
        println!(
            "loss {:.1} %: packaged {packaged:.2} MB/s, native {native:.2} MB/s, ratio {:.1}",
            f64::from(loss) / 10.0,
            native / packaged
        );
    }
}

/// Bytes that arrived.
fn moved(engine: SctpEngine, loss: u32, seconds: u64, seed: u64) -> f64 {
    let mut config = StackConfig::default();
    config.sctp.engine = engine;
    let conditions = Conditions {
        latency: DELAY,
        loss,
        ..Conditions::CLEAN
    };
    let mut pair = Pair::new(&config, seed, conditions);
    pair.start(0);
    pair.connect();
    let (ours, _) = pair.open(0, ChannelInit::default());
    let message = Message::Binary(vec![7; MESSAGE].into());
    let end = pair.now + Duration::from_secs(seconds);
    let mut bytes = 0;
    while pair.now < end {
        while pair.stacks[0].send(ours, message.clone(), pair.now).is_ok() {}
        pair.run(Duration::from_millis(1), |_| false);
        for event in pair.events.iter_mut().flat_map(|events| events.drain(..)) {
            if let Event::Channel(channel::Event::Messages { messages, .. }) = event {
                bytes += messages.iter().map(Message::len).sum::<usize>();
            }
        }
        pair.links.iter_mut().for_each(|link| link.fates.clear());
    }
    bytes as f64
}
