//! All runs: for each cell and round one stack after the other, so that what the
//! machine does meanwhile hits all of them alike.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde_json::{Value, json};

use crate::cells::{self, CELLS, Cell};
use crate::outcome::{Miss, Outcome};
use crate::relay::Running;
use crate::stacks::{self, Places, Ready, STACKS, Stack};
use crate::{Failure, Options, child, plot, table};

/// Both ends share so many cores.
const CORES: usize = 2;

/// More than any stack sends at once.
const LONGEST_PACKET: f64 = 1500.0;

/// All outcomes so far.
pub(crate) struct Results {
    pub(crate) stacks: Vec<Stack>,
    pub(crate) cells: Vec<Cell>,
    /// By cell, then by stack.
    pub(crate) outcomes: Vec<Vec<Outcome>>,
}

pub(crate) fn run(options: &Options) -> Result<(), Failure> {
    if options.list {
        list();
        return Ok(());
    }
    let results = Results {
        stacks: stacks::chosen(&options.stacks)?,
        cells: cells::chosen(&options.only)?,
        outcomes: Vec::new(),
    };
    let places = Places::find()?;
    let ready = prepare(&results.stacks, &places, !options.no_build);
    let cores = Cores::choose(&options.cores)?;
    pin(&cores.pinned)?;
    let mut comparison = Comparison {
        options,
        cores,
        ready,
        out: options.out.clone().unwrap_or_else(|| places.report()),
        began: Instant::now(),
        load: load(),
        results,
    };
    comparison.all()?;
    print!("{}", table::markdown(&comparison.results));
    eprintln!("{}", comparison.out.display());
    Ok(())
}

fn list() {
    for stack in STACKS {
        println!("{:20} {}", stack.key, stack.name);
    }
    println!();
    for cell in &CELLS {
        println!("{:20} {}", cell.id, cell.title);
    }
}

/// Builds everything before anything is measured.
fn prepare(stacks: &[Stack], places: &Places, build: bool) -> Vec<Result<Ready, String>> {
    let one = |stack: &Stack| {
        if build {
            eprintln!("building {}", stack.name);
        }
        let ready = stacks::prepare(stack, places, build);
        if let Err(why) = &ready {
            eprintln!("SKIPPED: {}: {why}", stack.name);
        }
        ready
    };
    stacks.iter().map(one).collect()
}

/// Which cores are whose.
struct Cores {
    pinned: Vec<usize>,
    /// For the relay: the others, or the same where there are none.
    spare: Vec<usize>,
}

impl Cores {
    fn choose(wanted: &[usize]) -> Result<Self, Failure> {
        let allowed = sched_getaffinity(None)?;
        let allowed: Vec<_> = (0..CpuSet::MAX_CPU)
            .filter(|core| allowed.is_set(*core))
            .collect();
        let pinned = match wanted {
            [] => allowed.iter().take(CORES).copied().collect(),
            wanted => wanted.to_vec(),
        };
        let others: Vec<_> = allowed
            .into_iter()
            .filter(|core| !pinned.contains(core))
            .collect();
        let spare = if others.is_empty() {
            pinned.clone()
        } else {
            others
        };
        Ok(Self { pinned, spare })
    }
}

/// This thread and all that it starts run on these cores only.
pub(crate) fn pin(cores: &[usize]) -> Result<(), Failure> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core);
    }
    Ok(sched_setaffinity(None, &set)?)
}

fn load() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    load.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

struct Comparison<'a> {
    options: &'a Options,
    cores: Cores,
    ready: Vec<Result<Ready, String>>,
    out: PathBuf,
    began: Instant,
    /// When it began.
    load: String,
    results: Results,
}

impl Comparison<'_> {
    fn all(&mut self) -> Result<(), Failure> {
        std::fs::create_dir_all(&self.out)?;
        for cell in self.results.cells.clone() {
            let mut outcomes = vec![Outcome::default(); self.ready.len()];
            let rounds = if cell.once { 1 } else { self.options.rounds };
            for round in 1..=rounds {
                for (at, outcome) in outcomes.iter_mut().enumerate() {
                    self.one(&cell, round, at, outcome)?;
                }
            }
            self.results.outcomes.push(outcomes);
            // After every cell: whoever is interrupted keeps what there is.
            self.write()?;
        }
        Ok(())
    }

    /// One run, unless an earlier one has shown that there is nothing to be had.
    fn one(
        &self,
        cell: &Cell,
        round: usize,
        at: usize,
        outcome: &mut Outcome,
    ) -> Result<(), Failure> {
        let ready = match (&self.ready[at], &outcome.miss) {
            (Err(why), _) => {
                outcome.miss = Some(Miss::Skipped(why.clone()));
                return Ok(());
            }
            (Ok(_), Some(Miss::Unsupported(_) | Miss::Killed(_))) => return Ok(()),
            (Ok(ready), _) => ready,
        };
        let seconds = self.began.elapsed().as_secs();
        let name = self.results.stacks[at].name;
        eprint!("{seconds:5} s  {:8} round {round}  {name}: ", cell.id);
        match self.measure(cell, round, ready)? {
            Ok(line) => {
                let figures = table::plain(&line, cell.figures);
                eprintln!("{figures}");
                outcome.runs.push(line);
            }
            Err(miss) => {
                eprintln!("{}", miss.long());
                outcome.miss = Some(miss);
            }
        }
        Ok(())
    }

    fn measure(
        &self,
        cell: &Cell,
        round: usize,
        ready: &Ready,
    ) -> Result<Result<Value, Miss>, Failure> {
        let seconds = self.options.seconds * cell.stretch;
        let mut command = ready.command();
        command.args([
            "--workload",
            cell.workload,
            "--seconds",
            &seconds.to_string(),
        ]);
        command.args(cell.arguments);
        let limit = cell.patience + Duration::from_secs_f64(seconds);
        let Some(loss) = cell.loss else {
            return Ok(child::run(command, limit));
        };
        let relay = Running::start(loss, round as u64, &self.cores.spare)?;
        command.args(["--via", &relay.addresses]);
        let line = child::run(command, limit);
        let path = relay.stop()?;
        Ok(line.and_then(|line| through(line, path)))
    }

    fn write(&self) -> Result<(), Failure> {
        let report = self.report();
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(self.out.join("report.json"), text)?;
        let table = table::markdown(&self.results);
        std::fs::write(self.out.join("table.md"), table)?;
        std::fs::write(self.out.join("plot.svg"), plot::svg(&self.results))?;
        Ok(())
    }

    fn report(&self) -> Value {
        let results = &self.results;
        let cells = results.cells.iter().zip(&results.outcomes);
        let cells = cells.map(|(cell, outcomes)| {
            let stacks = results.stacks.iter().zip(outcomes);
            let stacks =
                stacks.map(|(stack, outcome)| (stack.key.to_owned(), outcome.json(cell.figures)));
            let stacks: serde_json::Map<_, _> = stacks.collect();
            json!({ "cell": cell.id, "title": cell.title, "stacks": stacks })
        });
        json!({
            "seconds": self.options.seconds,
            "rounds": self.options.rounds,
            "took": self.began.elapsed().as_secs_f64(),
            "cores": self.cores.pinned,
            "load": { "before": self.load, "after": load() },
            "machine": machine(),
            "cells": cells.collect::<Vec<_>>(),
        })
    }
}

/// The run with what became of its packets, if the relay has carried them.
fn through(mut line: Value, path: Value) -> Result<Value, Miss> {
    let number = |from: &Value, key: &str| from.get(key).and_then(Value::as_f64).unwrap_or(0.0);
    if number(&path, "forwarded") * LONGEST_PACKET < number(&line, "bytes") {
        return Err(Miss::Failed("it has found a way around the relay".into()));
    }
    line["path"] = path;
    Ok(line)
}

/// What figures of different runs may differ by.
fn machine() -> Value {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim().to_owned())
    });
    json!({
        "cpu": model,
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_around_the_relay_does_not_count() {
        let line = json!({ "bytes": 1_200_000 });
        let carried = through(line.clone(), json!({ "forwarded": 1_100 }));
        assert_eq!(
            carried.map(|line| line["path"]["forwarded"].clone()),
            Ok(json!(1_100))
        );
        let around = through(line, json!({ "forwarded": 20 }));
        assert!(matches!(around, Err(Miss::Failed(_))));
    }
}
