//! Feeds seeded mutations of captured packets into every parser and engine of this crate:
//! `cargo run --release -p peerloom-transports-proto --example mutations -- [COUNT] [SEED]`.

#![allow(clippy::print_stdout, reason = "a program that reports")]

#[path = "../tests/support/mutate/mod.rs"]
mod mutate;
#[path = "../tests/support/mod.rs"]
mod support;

fn main() {
    let mut arguments = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let mut number = |default| match arguments.next() {
        Some(Ok(number)) => number,
        Some(Err(_)) | None => default,
    };
    let count = usize::try_from(number(1_000_000)).expect("a count that fits");
    let report = mutate::run(number(1), count);
    println!("{report:#?}");
    println!(
        "{} mutations, no panic of ours, {} in packaged engines caught, {} KiB above the start",
        report.mutations,
        report.faults,
        report.memory / 1024
    );
}
