//! A program as a child process: JSON lines in and out.

use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Lines of a program's stderr that are kept for the report of a failure.
const STDERR_LINES: usize = 40;
/// How long a program may take to end after it was told to.
const EXIT_LIMIT: Duration = Duration::from_secs(5);
const EXIT_POLL: Duration = Duration::from_millis(10);

/// What came from a program.
pub(crate) enum Input {
    Line(Value),
    /// Something on stdout that is not JSON.
    Noise(String),
    /// It closed its stdout.
    End,
}

pub(crate) struct Process {
    child: Child,
    stdin: Option<ChildStdin>,
    stderr: Arc<Mutex<VecDeque<String>>>,
    /// Done when its stderr is closed.
    reader: Option<JoinHandle<()>>,
}

impl Process {
    /// Starts a program. What it says goes to `deliver`, on a thread, until that returns `false`:
    /// the program waits as long as it does.
    pub(crate) fn start(
        mut command: Command,
        deliver: impl FnMut(Input) -> bool + Send + 'static,
    ) -> std::io::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        if let Some(stdout) = child.stdout.take() {
            thread::spawn(move || read_lines(stdout, deliver));
        }
        let stderr = Arc::new(Mutex::new(VecDeque::new()));
        let reader = child.stderr.take().map(|pipe| {
            let kept = Arc::clone(&stderr);
            thread::spawn(move || keep_last(pipe, &kept))
        });
        let stdin = child.stdin.take();
        Ok(Self {
            child,
            stdin,
            stderr,
            reader,
        })
    }

    /// Writes one line. A program that has gone shows in its output's end.
    pub(crate) fn send(&mut self, line: &Value) -> std::io::Result<()> {
        match &mut self.stdin {
            Some(stdin) => writeln!(stdin, "{line}").and_then(|()| stdin.flush()),
            None => Ok(()),
        }
    }

    /// The last lines of its stderr.
    pub(crate) fn stderr(&self) -> Vec<String> {
        self.stderr
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .cloned()
            .collect()
    }

    /// Ends the program at once (SIGKILL), as a crash does.
    #[allow(dead_code, reason = "not every test that has this file kills")]
    pub(crate) fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// What a program that has ended said it died of: the line that names an error, or its last one.
    #[allow(dead_code, reason = "not every test that has this file asks")]
    pub(crate) fn last_words(&mut self) -> String {
        // It has nothing to add; a panic of the reader would have lost some lines.
        drop(self.reader.take().map(JoinHandle::join));
        let lines = self.stderr();
        let error = lines.iter().find(|line| line.contains("Error: "));
        error.or(lines.last()).cloned().unwrap_or_default()
    }
}

impl Drop for Process {
    /// Asks the program to end by closing its stdin; one that does not is killed.
    fn drop(&mut self) {
        drop(self.stdin.take());
        let end = Instant::now() + EXIT_LIMIT;
        while Instant::now() < end {
            match self.child.try_wait() {
                Ok(None) => thread::sleep(EXIT_POLL),
                Ok(Some(_)) | Err(_) => return,
            }
        }
        if self.child.kill().is_ok() {
            drop(self.child.wait());
        }
    }
}

fn read_lines(stdout: impl Read, mut deliver: impl FnMut(Input) -> bool) {
    for line in BufReader::new(stdout).lines() {
        let Ok(text) = line else { break };
        let input = match serde_json::from_str(&text) {
            Ok(value) => Input::Line(value),
            Err(_) => Input::Noise(text),
        };
        if !deliver(input) {
            return;
        }
    }
    // Nobody may be left to be told.
    deliver(Input::End);
}

fn keep_last(pipe: impl Read, kept: &Mutex<VecDeque<String>>) {
    for line in BufReader::new(pipe).lines().map_while(Result::ok) {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == STDERR_LINES {
            kept.pop_front();
        }
        kept.push_back(line);
    }
}
