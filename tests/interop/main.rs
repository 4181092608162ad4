//! Peerloom against programs nobody here wrote: Chromium, aiortc and the
//! `webrtc` 0.17 crate, each in a process of its own, over real sockets.
//!
//! `docs/interop.md` says how to run this and how to add a peer. A missing
//! foreign part is skipped with a word on how to install it; where the
//! environment says `CI=true` it is a failure.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program's results are what it prints"
)]

mod cases;
mod compare;
mod peers;
mod process;
mod session;
mod table;

use std::process::ExitCode;

use cases::Case;
use peers::Missing;
use table::Table;

struct Options {
    repeat: u32,
    filters: Vec<String>,
    list: bool,
    compare: bool,
    verbose: bool,
}

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
        };
        if let Ok(text) = std::env::var("PEERLOOM_INTEROP_REPEAT") {
            options.repeat = parse_repeat(&text)?;
        }
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--list" => options.list = true,
                "--compare" => options.compare = true,
                "--verbose" => options.verbose = true,
                "--repeat" => {
                    let text = arguments.next().ok_or("--repeat needs a number")?;
                    options.repeat = parse_repeat(&text)?;
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

fn parse_repeat(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(repeat) if repeat > 0 => Ok(repeat),
        Ok(_) | Err(_) => Err(format!(
            "how often to repeat is a number from 1 on, not {text:?}"
        )),
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
    if options.compare {
        return compare::run();
    }
    let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
    let mut table = Table::new(options.verbose);
    let cases = present(cases, &mut table);
    for round in 1..=options.repeat {
        if options.repeat > 1 {
            println!("round {round} of {}", options.repeat);
        }
        for case in &cases {
            table.add(case, session::run(case));
        }
    }
    table.print();
    if table.failed() || (in_ci && table.skipped()) {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
