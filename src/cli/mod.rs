//! The command: arguments, dispatch, exit codes.
//!
//! Exit codes: 0 done, 1 the operation failed, 2 bad usage. A failure is one
//! line on stderr saying what failed, why, and what to do; only a reader of
//! stdout that went away is no news to anybody.

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

use clap::error::ErrorKind;
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
    let outcome = match Cli::try_parse() {
        Ok(cli) => {
            start_log();
            run(cli.command)
        }
        // Help and version are such errors too; they go to stdout.
        Err(error) if error.use_stderr() => Err(misread(&error)),
        Err(error) => error.print().map_err(Failure::unwritable),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if !failure.is_silent() {
                output::complain(&format!("peerloom: {failure}"));
            }
            failure.exit_code()
        }
    }
}

/// What is wrong with the arguments, on one line.
fn misread(error: &clap::Error) -> Failure {
    let help = "peerloom --help and peerloom COMMAND --help list what can be asked for";
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::usage("no command given").hint(help);
    }
    let text = error.render().to_string();
    // The usage and a pointer to --help follow in paragraphs of their own.
    let what: Vec<&str> = text
        .split("Usage:")
        .next()
        .unwrap_or_default()
        .split("For more information")
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let what = what.join(" ");
    let what = what.strip_prefix("error: ").unwrap_or(&what).to_owned();
    Failure::usage(what).hint(help)
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
