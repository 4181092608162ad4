//! Programs of the system, and network namespaces made by them.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// Runs a program to its end, with `input` on its stdin; its stderr is the error.
pub(crate) fn run(program: &str, arguments: &[&str], input: &str) -> Result<(), String> {
    let failed = |problem: String| format!("{program} {}: {problem}", arguments.join(" "));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin
            .write_all(input.as_bytes())
            .map_err(|error| failed(error.to_string()))?;
    }
    let output = child
        .wait_with_output()
        .map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(format!("{}\n{input}", said.trim())))
}

/// Whether a program can be started.
pub(crate) fn exists(program: &str, arguments: &[&str]) -> bool {
    Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .is_ok()
}

/// A network namespace, removed when dropped.
#[derive(Debug)]
pub(crate) struct Namespace(String);

impl Namespace {
    pub(crate) fn new(name: &str) -> Result<Self, String> {
        let name = format!("peerloom-{}-{name}", std::process::id());
        run("ip", &["netns", "add", &name], "")?;
        let namespace = Self(name);
        namespace.ip("link set lo up\n")?;
        Ok(namespace)
    }

    pub(crate) fn name(&self) -> &str {
        &self.0
    }

    /// Runs lines of `ip` commands in it.
    pub(crate) fn ip(&self, lines: &str) -> Result<(), String> {
        run("ip", &["-n", &self.0, "-batch", "-"], lines)
    }

    /// Runs a program in it to its end.
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Result<(), String> {
        let mut all = vec!["netns", "exec", self.0.as_str()];
        all.extend(arguments);
        run("ip", &all, input)
    }

    /// A program that will run in it.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, program]);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Err(problem) = run("ip", &["netns", "del", &self.0], "") {
            eprintln!("a network namespace stays: {problem}");
        }
    }
}
