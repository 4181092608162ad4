//! A program that speaks JSON lines, and what it needs to be installed.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use serde_json::Value;
use tokio::sync::mpsc;

use super::process::{Input, Process};

/// A test that waits this long has failed: generous, since machines may be busy.
const PATIENCE: Duration = Duration::from_secs(90);
/// Lines that nobody has looked at yet; a full queue makes the program wait.
const LINES: usize = 256;

pub(crate) struct Program {
    process: Process,
    inputs: mpsc::Receiver<Input>,
}

pub(crate) fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Says that a test is skipped, and why; a failure in CI.
#[allow(clippy::print_stdout, reason = "said to whoever runs the tests")]
pub(crate) fn skip(why: &str) {
    assert!(std::env::var("CI").as_deref() != Ok("true"), "{why}");
    println!("SKIPPED: {why}");
}

/// Where `.ci/foreign` puts packages of npm; says what is missing.
pub(crate) fn modules(place: &str, package: &str) -> Result<PathBuf, String> {
    let folder = root().join(place);
    let installed = folder.join("node_modules").join(package);
    let found = installed.join("package.json").exists();
    found
        .then_some(folder)
        .ok_or_else(|| format!("{package} is not installed; run: bash .ci/foreign"))
}

impl Program {
    /// Starts a script of `foreign/` and waits until it says that it is ready; that line.
    pub(crate) async fn start(script: &str, arguments: &[PathBuf]) -> (Self, Value) {
        let mut command = Command::new(node());
        command
            .arg(root().join("tests/identity/foreign").join(script))
            .args(arguments)
            .env("NODE_TLS_REJECT_UNAUTHORIZED", "0");
        let (sender, inputs) = mpsc::channel(LINES);
        let process = Process::start(command, move |input| sender.blocking_send(input).is_ok());
        let mut program = Self {
            process: process.expect("node runs"),
            inputs,
        };
        let ready = program.next("ready").await;
        (program, ready)
    }

    /// The next line of this kind; those before it are of others.
    pub(crate) async fn next(&mut self, ev: &str) -> Value {
        let line = tokio::time::timeout(PATIENCE, async {
            loop {
                match self.inputs.recv().await {
                    Some(Input::Line(line)) if line["ev"] == ev => return line,
                    Some(Input::Line(_)) => {}
                    Some(Input::Noise(text)) => panic!("no JSON: {text}"),
                    Some(Input::End) | None => {
                        panic!("it ended without {ev}: {:?}", self.process.stderr())
                    }
                }
            }
        });
        let line = line.await;
        line.unwrap_or_else(|_| panic!("waited too long for {ev}"))
    }

    /// Tells it something.
    pub(crate) fn tell(&mut self, line: &Value) {
        self.process.send(line).expect("it still runs");
    }
}

/// What `.ci/foreign` has installed, or else the system's.
fn node() -> PathBuf {
    let installed = root().join("target/interop/venv/bin/node");
    if installed.exists() {
        installed
    } else {
        "node".into()
    }
}
