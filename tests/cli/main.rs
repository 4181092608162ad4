//! The command from outside: exit codes, JSON output, and two `peerloom peer`
//! processes driven against each other.

mod chaos;
mod demo;
mod doctor;
mod id;
mod join;
mod peer;
mod usage;

use std::process::{Command, Output};

use serde_json::Value;

/// The command under test.
fn peerloom() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_peerloom"));
    command.env_remove("PEERLOOM_LOG");
    command
}

/// Runs it to its end.
fn run(args: &[&str]) -> Output {
    peerloom().args(args).output().expect("the command starts")
}

/// The exit code and what was said on stderr.
fn refusal(output: &Output) -> (Option<i32>, String) {
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Every line of stdout as JSON.
fn json_lines(output: &Output) -> Vec<Value> {
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}
