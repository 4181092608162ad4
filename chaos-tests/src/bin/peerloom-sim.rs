//! Runs a scenario in the simulator and measures the simulator itself:
//! `peerloom-sim FILE [NODES] [SEED]`. `peerloom chaos run` is the same with
//! options and without a clock; this one builds without the rest of Peerloom.

#![allow(clippy::print_stdout, reason = "a program that reports")]

use std::error::Error;
use std::time::Instant;

use peerloom_chaos_tests::{Scenario, sim};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments
        .next()
        .ok_or("usage: peerloom-sim FILE [NODES] [SEED]")?;
    let mut scenario = Scenario::from_toml(&std::fs::read_to_string(file)?)?;
    if let Some(nodes) = arguments.next() {
        scenario = scenario.with_nodes(nodes.parse()?)?;
    }
    let seed = arguments.next().map(|seed| seed.parse()).transpose()?;
    let schedule = scenario.schedule(seed.unwrap_or(scenario.meta.seed));
    let begun = Instant::now();
    let report = sim::run(&schedule, &mut |_| {});
    let took = begun.elapsed().as_secs_f64();
    print!("{report}");
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let rate = report.counters.events as f64 / took / 1e6;
    let speed = report.seconds / took;
    println!("{took:.2} s, {rate:.2} million events a second, {speed:.1} times real time");
    if let Some(peak) = peak_memory() {
        println!("peak memory {peak}");
    }
    if report.is_good() {
        Ok(())
    } else {
        Err("the mesh did not do what it has to".into())
    }
}

/// The most memory this process has had, where the system tells (Linux).
fn peak_memory() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().to_owned())
}
