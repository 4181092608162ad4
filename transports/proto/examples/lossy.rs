//! In virtual time, so that the processor does not count and the figures are those of the protocols
//! alone, the same every time but for what the engines draw by chance:
//! `cargo run --release -p peerloom-transports-proto --example lossy -- [SECONDS] [SEED]`.
//!
//! First one channel kept full over a link with a delay of 20 ms in each direction and a chance of
//! loss, with each SCTP engine and congestion control; the link has no limit of its own. Then one
//! or two associations over a bottleneck of 100 Mbit/s and 40 ms, with buffers of one and four
//! times what the path holds (0.5 MB).

#![allow(clippy::print_stdout, reason = "a program that reports")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::time::Duration;

use peerloom_transports_proto::channel::{self, ChannelInit, Message};
use peerloom_transports_proto::config::{CongestionControl, SctpConfig, SctpEngine};
use peerloom_transports_proto::stack::{Event, StackConfig};

use support::bottleneck::{Bottleneck, Got, Path};
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
    println!("MB/s at 40 ms and no bottleneck");
    println!(
        "{:>6} {:>9} {:>7} {:>7}",
        "loss", "packaged", "CUBIC", "BBR"
    );
    for loss in [0, 1, 10, 20, 50] {
        let [packaged, cubic, bbr] = [PACKAGED, CUBIC, BBR]
            .map(|which| moved(which, loss, seconds, seed) / seconds as f64 / 1e6);
        let loss = f64::from(loss) / 10.0;
        println!("{loss:>4} % {packaged:>9.2} {cubic:>7.2} {bbr:>7.2}");
    }
    bottlenecks(seconds, seed);
}

type Which = (&'static str, SctpEngine, CongestionControl);
const PACKAGED: Which = ("packaged", SctpEngine::Packaged, CongestionControl::Cubic);
const CUBIC: Which = ("CUBIC", SctpEngine::Native, CongestionControl::Cubic);
const BBR: Which = ("BBR", SctpEngine::Native, CongestionControl::Bbr);

fn config(which: Which) -> SctpConfig {
    SctpConfig {
        engine: which.1,
        congestion: which.2,
        ..SctpConfig::default()
    }
}

/// Flows that share a bottleneck, the second ten seconds after the first. What they get is counted
/// from twenty seconds on.
fn bottlenecks(seconds: u64, seed: u64) {
    println!("\nMbit/s of 100 and time in the queue (mean, longest), {seconds} s from 20 s on");
    for buffer in [1.0, 4.0] {
        for flows in [
            vec![CUBIC],
            vec![BBR],
            vec![CUBIC, CUBIC],
            vec![BBR, BBR],
            vec![CUBIC, BBR],
            vec![BBR, CUBIC],
            vec![PACKAGED, BBR],
            vec![PACKAGED, CUBIC],
        ] {
            let path = Path::new(100.0, 2 * DELAY, buffer);
            let configs: Vec<_> = flows
                .iter()
                .zip([0, 10])
                .map(|(which, after)| (config(*which), Duration::from_secs(after)))
                .collect();
            let mut bottleneck = Bottleneck::new(path, seed, &configs);
            bottleneck.run(Duration::from_secs(20));
            let got = bottleneck.run(Duration::from_secs(seconds));
            print!("buffer {buffer}:");
            for (which, got) in flows.iter().zip(&got) {
                print!("  {}", told(which.0, got, seconds));
            }
            println!();
        }
    }
}

fn told(name: &str, got: &Got, seconds: u64) -> String {
    format!(
        "{name:>8} {:5.1} ({:3.0}, {:3.0} ms, {:.2} % dropped)",
        got.bytes as f64 * 8.0 / seconds as f64 / 1e6,
        got.mean_wait().as_secs_f64() * 1e3,
        got.waited.1.as_secs_f64() * 1e3,
        got.dropped as f64 * 100.0 / f64::from(got.waited.2.max(1)),
    )
}

/// Bytes that arrived.
fn moved(which: Which, loss: u32, seconds: u64, seed: u64) -> f64 {
    let stack = StackConfig {
        sctp: config(which),
        ..StackConfig::default()
    };
    let conditions = Conditions {
        latency: DELAY,
        loss,
        ..Conditions::CLEAN
    };
    let mut pair = Pair::new(&stack, seed, conditions);
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
