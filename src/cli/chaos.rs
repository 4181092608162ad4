//! `peerloom chaos`: scenarios against a mesh.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::{Subcommand, ValueEnum};
use peerloom_chaos_tests::Scenario;
use peerloom_chaos_tests::sim::{self, Report, Schedule};
use serde_json::json;

use super::failure::{self, Failure};
use super::output::{self, Format, Progress};

/// Seeds of one command: a night's worth.
const MOST_SEEDS: u64 = 100_000;

/// What a mesh bears: scenarios of crashes, splits, churn and lies.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
    /// Print JSON, one object for each run.
    #[arg(long, global = true)]
    json: bool,
    /// Run everything twice and compare the courses.
    #[arg(long, global = true)]
    check: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a scenario; exit code 1 if the mesh does not do what it has to.
    Run {
        /// The scenario, a TOML file.
        file: PathBuf,
        /// What runs it. The simulator has thousands of nodes on virtual time.
        #[arg(long, value_enum, default_value_t = Driver::Sim)]
        driver: Driver,
        /// Seed, instead of the scenario's own.
        #[arg(long, value_name = "N", conflicts_with = "seeds")]
        seed: Option<u64>,
        /// Seeds to try, without the last; the first that fails ends it.
        #[arg(long, value_name = "A..B", value_parser = seeds)]
        seeds: Option<Range<u64>>,
        /// Number of nodes, instead of the scenario's own.
        #[arg(long, value_name = "N")]
        nodes: Option<u32>,
        /// Write the schedule, all dice thrown, to this file; of several seeds,
        /// the last one's.
        #[arg(long, value_name = "PATH")]
        schedule: Option<PathBuf>,
    },
    /// Run a schedule that was written before: the same again, to the bit.
    Replay {
        /// The schedule.
        schedule: PathBuf,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Driver {
    /// The simulator.
    Sim,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (from, to) = text.split_once("..").ok_or("write A..B, as in 1..100")?;
    let number = |text: &str| {
        text.trim()
            .parse::<u64>()
            .map_err(|error| error.to_string())
    };
    let range = number(from)?..number(to)?;
    let many = range.end.saturating_sub(range.start);
    if many == 0 || many > MOST_SEEDS {
        return Err(format!("1 to {MOST_SEEDS} seeds can be tried"));
    }
    Ok(range)
}

/// Runs or replays, and reports.
pub(crate) fn run(args: Args) -> Result<(), Failure> {
    let judge = Judge {
        format: Format::new(args.json),
        check: args.check,
    };
    match args.command {
        Command::Run {
            file,
            driver: Driver::Sim,
            seed,
            seeds,
            nodes,
            schedule: path,
        } => {
            let scenario = scenario(&file, nodes)?;
            let only = seed.unwrap_or(scenario.meta.seed);
            for seed in seeds.unwrap_or(only..only.saturating_add(1)) {
                let schedule = scenario.schedule(seed);
                if let Some(path) = &path {
                    write(path, &schedule)?;
                }
                judge.run(&schedule)?;
            }
            Ok(())
        }
        Command::Replay { schedule } => judge.run(&read(&schedule)?),
    }
}

fn scenario(file: &Path, nodes: Option<u32>) -> Result<Scenario, Failure> {
    let bad = || Failure::usage(format!("cannot use {}", file.display()));
    let text = fs::read_to_string(file).map_err(|error| bad().because(&error))?;
    let scenario = Scenario::from_toml(&text).and_then(|scenario| match nodes {
        Some(nodes) => scenario.with_nodes(nodes),
        None => Ok(scenario),
    });
    scenario.map_err(|error| {
        // The parser's own words have several lines and end with what is wrong.
        let said = failure::chain(&error);
        let said: Vec<&str> = said.split_whitespace().collect();
        bad()
            .because_of(said.join(" "))
            .hint("docs/chaos.md describes the format")
    })
}

fn write(path: &Path, schedule: &Schedule) -> Result<(), Failure> {
    let failed = || Failure::new(format!("cannot write {}", path.display()));
    let text = serde_json::to_string(schedule).map_err(|error| failed().because(&error))?;
    fs::write(path, text).map_err(|error| failed().because(&error))
}

fn read(path: &Path) -> Result<Schedule, Failure> {
    let bad = || Failure::usage(format!("cannot use {}", path.display()));
    let text = fs::read_to_string(path).map_err(|error| bad().because(&error))?;
    Schedule::from_json(&text).map_err(|error| {
        bad()
            .because(&error)
            .hint("peerloom chaos run FILE --schedule PATH writes one")
    })
}

/// Runs schedules and says what came of them.
struct Judge {
    format: Format,
    check: bool,
}

impl Judge {
    fn run(&self, schedule: &Schedule) -> Result<(), Failure> {
        let begun = Instant::now();
        let mut progress = Progress::begin(begun);
        let mut tell = |at: f64| {
            let end = schedule.seconds();
            progress.update(&format!("second {at:.0} of {end:.0}"), Instant::now());
        };
        let report = if self.check {
            sim::check(schedule, &mut tell).map_err(|diverged| {
                Failure::new("the simulator does not repeat itself").because(&diverged)
            })?
        } else {
            sim::run(schedule, &mut tell)
        };
        progress.done();
        let value = serde_json::to_value(&report).unwrap_or_else(|_| json!({}));
        output::told(self.format, report.to_string().trim_end(), &value)?;
        verdict(&report)
    }
}

fn verdict(report: &Report) -> Result<(), Failure> {
    if report.is_good() {
        return Ok(());
    }
    let name = &report.scenario;
    Err(Failure::new(format!("the mesh did not stand {name}"))
        .because_of(report.complaint())
        .hint(format!(
            "--seed {} repeats it, with --schedule PATH for replay",
            report.seed
        )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_a_range_of_sensible_size() {
        assert_eq!(seeds("1..100"), Ok(1..100));
        for text in ["", "5", "7..7", "9..2", "a..b", "0..99999999"] {
            assert!(seeds(text).is_err(), "{text}");
        }
    }
}
