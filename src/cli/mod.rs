//! The command: arguments, dispatch, exit codes.
//!
//! Exit codes: 0 done, 1 the operation failed, 2 bad usage. A failure is one
//! line on stderr saying what failed, why, and what to do; only a reader of
//! stdout that went away is no news to anybody.

mod chaos;
mod demo;
mod doctor;
mod failure;
mod id;
mod interrupt;
mod join;
mod lines;
mod node;
mod output;
mod peer;
mod tell;
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

/// Each is described where its arguments are.
#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Args),
    Up(up::Args),
    Join(join::Args),
    Id(id::Args),
    Peer(peer::Args),
    Doctor(doctor::Args),
    Chaos(chaos::Args),
}

/// Runs the command and turns its outcome into an exit code.
pub(crate) fn main() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Ok(cli) => start_log().and_then(|()| run(cli.command)),
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
    let text = error.render().to_string();
    let help = format!("{} --help says what can be asked for", asked_for(&text));
    if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand {
        return Failure::usage("no command given").hint(help);
    }
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

/// The command that the usage in an error is about: what stands there before
/// its arguments.
fn asked_for(text: &str) -> String {
    let usage = text.split_once("Usage: ").map_or("", |(_, usage)| usage);
    let is_name = |word: &&str| word.chars().all(|c| c.is_ascii_lowercase());
    let words: Vec<&str> = usage.split_whitespace().take_while(is_name).collect();
    if words.is_empty() {
        return "peerloom".to_owned();
    }
    words.join(" ")
}

fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Demo(args) => on_runtime(demo::run(args)),
        Command::Up(args) => on_runtime(up::run(args)),
        Command::Join(args) => on_runtime(join::run(args)),
        Command::Id(args) => on_runtime(id::run(args)),
        Command::Peer(args) => on_runtime(peer::run(args)),
        Command::Doctor(args) => on_runtime(doctor::run(args)),
        Command::Chaos(args) => chaos::run(args),
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

/// The variable that chooses what is logged.
const LOG: &str = "PEERLOOM_LOG";

/// Logs go to stderr; by default it is what should wake someone.
fn start_log() -> Result<(), Failure> {
    let wanted = std::env::var_os(LOG).unwrap_or_default();
    let wanted = wanted.to_string_lossy();
    let filter = match wanted.trim() {
        "" => EnvFilter::new("error"),
        wanted => EnvFilter::try_new(wanted).map_err(|error| {
            Failure::usage(format!("cannot read {LOG}"))
                .because(&error)
                .hint("write warn, or peerloom_mesh=debug,error")
        })?,
    };
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(output::is_coloured(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .init();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_are_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn bad_usage_names_the_command_whose_help_helps() {
        for (args, helper) in [
            (vec!["peerloom"], "peerloom --help"),
            (vec!["peerloom", "nope"], "peerloom --help"),
            (vec!["peerloom", "id"], "peerloom id --help"),
            (vec!["peerloom", "demo", "--nope"], "peerloom demo --help"),
            (
                vec!["peerloom", "id", "verify"],
                "peerloom id verify --help",
            ),
        ] {
            let error = Cli::try_parse_from(&args).expect_err("bad usage");
            let said = misread(&error).to_string();
            assert!(
                said.contains(&format!("; {helper} says")),
                "{args:?}: {said}"
            );
        }
    }

    #[test]
    fn every_command_says_what_it_is() {
        for command in Cli::command().get_subcommands() {
            assert!(command.get_about().is_some(), "{}", command.get_name());
        }
    }
}
