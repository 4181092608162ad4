//! The command: arguments, dispatch, exit codes.
//!
//! Exit codes: 0 done, 1 the operation failed, 2 bad usage. A failure is one
//! line on stderr saying what failed, why, and what to do.

mod demo;
mod failure;
mod id;
mod interrupt;
mod join;
mod node;
mod output;
mod peer;
mod up;

use std::future::Future;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

use failure::Failure;

/// Meshes of peers without a central server.
#[derive(Debug, Parser)]
#[command(name = "peerloom", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A whole mesh on this machine: forms, talks, loses members, heals.
    Demo(demo::Args),
    /// A node of a mesh; prints its ticket and runs until Ctrl-C.
    Up(up::Args),
    /// Join a mesh and talk in a room, on stdin and stdout.
    Join(join::Args),
    /// This machine's identity and the assertions it remembers.
    Id(id::Args),
    /// One peer connection, driven by JSON lines on stdin and stdout.
    Peer(peer::Args),
}

/// Runs the command and turns its outcome into an exit code.
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    start_log();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            output::complain(&format!("peerloom: {failure}"));
            failure.exit_code()
        }
    }
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => on_runtime(demo::run(args)),
        Command::Up(args) => on_runtime(up::run(args)),
        Command::Join(args) => on_runtime(join::run(args)),
        Command::Id(args) => on_runtime(id::run(args)),
        Command::Peer(args) => on_runtime(peer::run(args)),
    }
}

/// Runs a future to its end on a runtime of its own.
fn on_runtime<F>(future: F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::new("cannot start a runtime").because(&error))?;
    let outcome = runtime.block_on(future);
    // A read of stdin may still be under way; nobody waits for it.
    runtime.shutdown_background();
    outcome
}

/// Logs go to stderr; `PEERLOOM_LOG` chooses what, and by default it is what
/// should wake someone.
fn start_log() {
    let filter =
        EnvFilter::try_from_env("PEERLOOM_LOG").unwrap_or_else(|_| EnvFilter::new("error"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .init();
}
