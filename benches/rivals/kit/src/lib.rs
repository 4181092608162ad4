//! The workloads of the comparison in `docs/performance.md`, over whatever a
//! stack's program brings.
//!
//! A program per stack implements [`Stack`] and calls [`main`]: both ends of every
//! connection live in its one process, on two tokio workers, so that the CPU
//! seconds of the process are those of both ends. Programs in other languages do
//! the same by themselves: same arguments ([`Options`]), same line of JSON.
//!
//! ```text
//! runner ── --workload W1 --size 16384 --seconds 2 ──▶ program
//!   │                                                   near ──▶ far
//!   ◀────────── {"bytes": …, "seconds": …, "cpu": …} ────┘
//! ```

mod candidate;
pub mod meter;
mod options;
pub mod relay;
mod stack;
mod workloads;

use std::process::ExitCode;

use clap::Parser as _;
use serde_json::{Value, json};

pub use bytes::Bytes;
pub use candidate::{readdress, readdress_sdp};
pub use options::{Options, Via, Workload};
pub use stack::{Failure, Kind, Link, Receive, Send, Stack, Unsupported};

/// Threads of the tokio runtime: one per pinned core.
const WORKERS: usize = 2;

/// Runs the workload that the arguments name and prints what came of it.
pub fn main<S: Stack>() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build();
    let outcome = match runtime {
        // On a worker, as everything else: the thread that blocks would be one
        // more for the scheduler to wake.
        Ok(runtime) => runtime.block_on(async {
            match tokio::spawn(workloads::run::<S>(options)).await {
                Ok(outcome) => outcome,
                Err(panic) => Err(panic.into()),
            }
        }),
        Err(error) => Err(error.into()),
    };
    finish(outcome)
}

/// Prints the outcome and ends the process without tearing anything down: closing
/// thousands of connections in order is not what is measured.
pub fn finish(outcome: Result<Value, Failure>) -> ExitCode {
    let line = match outcome {
        Ok(line) => line,
        Err(error) if error.is::<Unsupported>() => json!({ "unsupported": error.to_string() }),
        Err(error) => json!({ "error": told(&*error) }),
    };
    let failed = line.get("error").is_some();
    println!("{line}");
    std::process::exit(failed.into())
}

/// The error with all its causes.
fn told(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
