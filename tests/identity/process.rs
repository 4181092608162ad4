//! A program that speaks JSON lines, and what it needs to be installed.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A test that waits this long has failed: generous, since machines may be busy.
const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct Program {
    /// Ends with this.
    _child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
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
        let mut child = Command::new(node())
            .arg(root().join("tests/identity/foreign").join(script))
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .env("NODE_TLS_REJECT_UNAUTHORIZED", "0")
            .kill_on_drop(true)
            .spawn()
            .expect("node runs");
        let stdin = child.stdin.take().expect("piped");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut program = Self {
            _child: child,
            stdin,
            lines,
        };
        let ready = program.next("ready").await;
        (program, ready)
    }

    /// The next line of this kind; those before it are of others.
    pub(crate) async fn next(&mut self, ev: &str) -> Value {
        let line = tokio::time::timeout(PATIENCE, async {
            loop {
                let line = self.lines.next_line().await.expect("readable");
                let line = line.unwrap_or_else(|| panic!("it ended without {ev}"));
                let line: Value = serde_json::from_str(&line).expect("JSON");
                if line["ev"] == ev {
                    return line;
                }
            }
        });
        let line = line.await;
        line.unwrap_or_else(|_| panic!("waited too long for {ev}"))
    }

    /// Tells it something.
    pub(crate) async fn tell(&mut self, line: &Value) {
        let written = self.stdin.write_all(format!("{line}\n").as_bytes()).await;
        written.expect("it still runs");
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
