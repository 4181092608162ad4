//! Peerloom against programs nobody here wrote: browsers and other stacks,
//! each in a process of its own, over real sockets.
//!
//! `docs/interop.md` says how to run this and how to add a peer. A missing
//! foreign part is skipped with a word on how to install it; where the
//! environment says `CI=true` it is a failure.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program's results are what it prints"
)]

mod candidates;
mod cases;
mod claims;
mod compare;
mod faults;
mod judge;
mod matrix;
mod peers;
#[path = "../common/process.rs"]
mod process;
mod relay;
mod session;
mod table;

use std::process::ExitCode;
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, PoisonError};
use std::thread;

use cases::Case;
use peers::{Kind, Missing};
use relay::Relay;
use table::Table;

struct Options {
    repeat: u32,
    filters: Vec<String>,
    list: bool,
    compare: bool,
    verbose: bool,
    /// Sessions at the same time.
    jobs: usize,
    write_table: bool,
    /// Print the matrix that a run without surprises writes, and run nothing.
    expect: bool,
}

/// Sessions at the same time on each core, unless told otherwise: a session
/// waits for its peers' start and its timers most of the time.
const JOBS_PER_CORE: usize = 2;

impl Options {
    /// Reads the arguments a test binary is given; those of libtest that mean
    /// nothing here are passed over.
    fn read() -> Result<Self, String> {
        let mut options = Self {
            repeat: 1,
            filters: Vec::new(),
            list: false,
            compare: false,
            verbose: std::env::var_os("PEERLOOM_INTEROP_VERBOSE").is_some(),
            jobs: thread::available_parallelism().map_or(1, usize::from) * JOBS_PER_CORE,
            write_table: false,
            expect: false,
        };
        if let Ok(text) = std::env::var("PEERLOOM_INTEROP_JOBS") {
            options.jobs = parse_count(&text)? as usize;
        }
        if let Ok(text) = std::env::var("PEERLOOM_INTEROP_REPEAT") {
            options.repeat = parse_count(&text)?;
        }
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--list" => options.list = true,
                "--compare" => options.compare = true,
                "--expect" => options.expect = true,
                "--write-table" => options.write_table = true,
                "--verbose" => options.verbose = true,
                "--repeat" => {
                    let text = arguments.next().ok_or("--repeat needs a number")?;
                    options.repeat = parse_count(&text)?;
                }
                flag if flag.starts_with('-') => {}
                filter => options.filters.push(filter.to_owned()),
            }
        }
        Ok(options)
    }

    fn wants(&self, case: &Case) -> bool {
        let name = case.to_string();
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter))
    }
}

fn parse_count(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(repeat) if repeat > 0 => Ok(repeat),
        Ok(_) | Err(_) => Err(format!("how many is a number from 1 on, not {text:?}")),
    }
}

/// The cases whose two peers are installed; the others are noted as skipped.
fn present(cases: Vec<Case>, table: &mut Table) -> Vec<Case> {
    let mut missing = Missing::default();
    let (present, absent): (Vec<_>, Vec<_>) = cases
        .into_iter()
        .map(|case| (missing.of(&case), case))
        .partition(|(reason, _)| reason.is_none());
    for (reason, case) in absent {
        table.skip(&case, &reason.unwrap_or_default());
    }
    present.into_iter().map(|(_, case)| case).collect()
}

fn main() -> ExitCode {
    let options = match Options::read() {
        Ok(options) => options,
        Err(problem) => {
            eprintln!("interop: {problem}");
            return ExitCode::from(2);
        }
    };
    let cases: Vec<Case> = cases::all()
        .into_iter()
        .filter(|case| options.wants(case))
        .collect();
    if options.list {
        for case in &cases {
            println!("{case}: test");
        }
        return ExitCode::SUCCESS;
    }
    if options.expect {
        println!("{}", matrix::expected(&cases));
        return ExitCode::SUCCESS;
    }
    if options.compare {
        return compare::run();
    }
    conduct(&options, cases)
}

/// Runs the cases and judges what came out.
fn conduct(options: &Options, cases: Vec<Case>) -> ExitCode {
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let mut table = Table::new(&cases, options.verbose);
    let cases = present(cases, &mut table);
    if cases
        .iter()
        .any(|case| case.foreign() == Some(Kind::Werift))
        && let Err(problem) = claims::show()
    {
        println!("FAILED: {problem}");
        return ExitCode::FAILURE;
    }
    let relay = match cases
        .iter()
        .any(|case| case.way.is_relayed())
        .then(Relay::start)
    {
        None => None,
        Some(Ok(relay)) => Some(relay),
        Some(Err(problem)) => {
            println!("FAILED: {problem}");
            return ExitCode::FAILURE;
        }
    };
    run(options, &cases, relay.as_ref(), &mut table);
    let again: Vec<Case> = cases
        .into_iter()
        .filter(|case| table.never_passed(case))
        .collect();
    if !again.is_empty() {
        println!("Once more, since they may fail at times and never passed:");
        run(options, &again, relay.as_ref(), &mut table);
    }
    table.judge_at_times();
    table.print();
    if table.failed() || (in_ci && table.skipped()) {
        return ExitCode::FAILURE;
    }
    let whole = options.filters.is_empty() && !table.skipped();
    let outcome = match (whole, options.write_table) {
        (true, true) => table.matrix.store(),
        (true, false) => table.matrix.compare(),
        (false, true) => Err("a matrix needs a whole run".to_owned()),
        (false, false) => Ok(()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            println!("FAILED: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Runs every case as often as asked, several at a time.
fn run(options: &Options, cases: &[Case], relay: Option<&Relay>, table: &mut Table) {
    let rounds = (0..options.repeat).flat_map(|_| cases);
    let queue = Mutex::new(rounds);
    // Whoever finished one waits until it is printed.
    let (done, outcomes) = sync_channel(0);
    thread::scope(|scope| {
        for _ in 0..options.jobs {
            let (queue, done) = (&queue, done.clone());
            scope.spawn(move || {
                let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
                while let Some(case) = next() {
                    if done.send((case, session::run(case, relay))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(done);
        for (case, outcomes) in outcomes {
            table.add(case, outcomes);
        }
    });
}
