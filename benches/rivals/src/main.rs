//! Runs Peerloom and other stacks through the same workloads, in turn, and prints
//! one table of medians and ratios; `docs/performance.md` describes the workloads
//! and has the figures.
//!
//! ```text
//! cargo run --release --manifest-path benches/rivals/Cargo.toml -- --only W1,W3 --stacks peerloom,str0m
//! ```
//!
//! * `stacks.rs`: who takes part, and how each is built
//! * `cells.rs`: what is measured
//! * `child.rs`: one run of one program, killed when it hangs
//! * `compare.rs`: all runs, interleaved
//! * `table.rs`, `plot.rs`: what came of it

mod cells;
mod child;
mod compare;
mod outcome;
mod plot;
mod relay;
mod stacks;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Whatever went wrong; the runner can only give up.
type Failure = Box<dyn std::error::Error>;

#[derive(Parser, Debug)]
#[command(about, version)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// Runs of every stack and workload, of which the median counts (W5: one run).
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Workloads: W1 to W7, or one of their cells (W1-16).
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Stacks, by their keys (see --list).
    #[arg(long, value_delimiter = ',')]
    stacks: Vec<String>,
    /// How long each run measures (W3 and W4: less; W5 and W7: more).
    #[arg(long, default_value_t = 1.5)]
    seconds: f64,
    /// Where report.json, table.md and plot.svg go; by default beside the programs.
    #[arg(long)]
    out: Option<PathBuf>,
    /// The cores that both ends share; by default the first two there are.
    #[arg(long, value_delimiter = ',')]
    cores: Vec<usize>,
    /// Programs as they are: nothing is built.
    #[arg(long)]
    no_build: bool,
    /// Prints stacks and cells, and ends.
    #[arg(long)]
    list: bool,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// The relay of W7, which the runner starts by itself.
    Relay(relay::Arguments),
}

fn main() -> ExitCode {
    let options = Options::parse();
    let outcome = match &options.command {
        Some(Command::Relay(arguments)) => relay::run(arguments),
        None => compare::run(&options),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
