//! Peerloom through NATs: two `peerloom peer`, each behind a router of its own
//! in Linux network namespaces, with coturn as the STUN and TURN server.
//!
//! `docs/nat-lab.md` says what the routers do, and how to run this. It needs
//! root, `ip`, `nft` and `turnserver`; without them it is skipped with the reason, and
//! where the environment says `CI=true` that is a failure.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "this program's results are what it prints"
)]

mod cases;
mod certificate;
#[path = "../common/command.rs"]
mod command;
mod internet;
mod nat;
#[path = "../common/process.rs"]
mod process;
mod session;
mod site;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

use cases::Case;
use internet::Internet;

/// Cases that run at the same time; most of their time is spent waiting.
const AT_ONCE: usize = 4;

struct Options {
    filters: Vec<String>,
    list: bool,
    repeat: usize,
}

impl Options {
    /// Reads the arguments a test binary is given; those of libtest that mean
    /// nothing here are passed over.
    fn read() -> Self {
        let repeat = std::env::var("PEERLOOM_INTEROP_REPEAT").ok();
        let mut options = Self {
            filters: Vec::new(),
            list: false,
            repeat: repeat.and_then(|text| text.parse().ok()).unwrap_or(1),
        };
        for argument in std::env::args().skip(1) {
            match argument.as_str() {
                "--list" => options.list = true,
                flag if flag.starts_with('-') => {}
                filter => options.filters.push(filter.to_owned()),
            }
        }
        options
    }

    fn wants(&self, case: &Case) -> bool {
        let name = case.to_string();
        self.filters.is_empty() || self.filters.iter().any(|filter| name.contains(filter))
    }
}

fn main() -> ExitCode {
    let options = Options::read();
    let mut cases: Vec<Case> = cases::all();
    cases.retain(|case| options.wants(case));
    if options.list {
        for case in &cases {
            println!("{case}: test");
        }
        return ExitCode::SUCCESS;
    }
    if let Some(reason) = internet::missing() {
        println!("NAT lab: SKIPPED: {reason}");
        let in_ci = std::env::var("CI").is_ok_and(|value| value == "true");
        return if in_ci {
            ExitCode::FAILURE
        } else {
            ExitCode::SUCCESS
        };
    }
    let cases = cases.repeat(options.repeat);
    match Internet::start() {
        Ok(internet) => run(&internet, &cases),
        Err(problem) => {
            eprintln!("NAT lab: cannot be set up: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// Runs all cases, a few at a time.
fn run(internet: &Internet, cases: &[Case]) -> ExitCode {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let printing = Mutex::new(());
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(cases.len()) {
            scope.spawn(|| {
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let from = Instant::now();
                    let outcome = session::run(internet, case);
                    let took = from.elapsed().as_secs_f64();
                    let _turn = printing.lock();
                    match outcome {
                        Ok(how) => println!("{case}  {how}  {took:.1} s"),
                        Err(problem) => {
                            failed.store(true, Ordering::Relaxed);
                            println!("{case}  FAILED  {took:.1} s\n{problem}");
                        }
                    }
                }
            });
        }
    });
    if failed.load(Ordering::Relaxed) {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
