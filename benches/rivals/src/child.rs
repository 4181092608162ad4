//! One run of one program, killed when it hangs.

use std::io::Read;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::Value;

use crate::outcome::Miss;

/// Between looks at whether it has ended.
const LOOK: Duration = Duration::from_millis(20);
/// For a program that is told to end, until it is made to.
const GRACE: Duration = Duration::from_secs(3);
/// Of the program's own words in a note.
const MAX_WORDS: usize = 200;

/// Runs it to its end and returns its line.
pub(crate) fn run(mut command: Command, limit: Duration) -> Result<Value, Miss> {
    let failed = |why: std::io::Error| Miss::Failed(why.to_string());
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // Its children, a browser's for example, end with it.
        .process_group(0)
        .spawn()
        .map_err(failed)?;
    let output = read(child.stdout.take());
    let words = read(child.stderr.take());
    let until = Instant::now() + limit;
    let ended = loop {
        match child.try_wait().map_err(failed)? {
            Some(status) => break Some(status),
            None if Instant::now() >= until => break None,
            None => thread::sleep(LOOK),
        }
    };
    let Some(status) = ended else {
        end(&mut child);
        return Err(Miss::Killed(limit.as_secs()));
    };
    // What it has left behind would run beside the next one.
    signal(&child, Signal::KILL);
    let output = output.join().unwrap_or_default();
    let line = output.lines().rev().find(|line| line.starts_with('{'));
    match line.map(serde_json::from_str::<Value>) {
        Some(Ok(line)) => understood(line),
        _ => {
            let words = words.join().unwrap_or_default();
            let last = words.lines().rev().find(|line| !line.trim().is_empty());
            Err(Miss::Failed(said(status, last.unwrap_or("without a word"))))
        }
    }
}

fn said(status: std::process::ExitStatus, words: &str) -> String {
    let words: String = words.chars().take(MAX_WORDS).collect();
    format!("{status}: {words}")
}

fn understood(line: Value) -> Result<Value, Miss> {
    let text = |key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned);
    match (text("unsupported"), text("error")) {
        (Some(why), _) => Err(Miss::Unsupported(why)),
        (None, Some(why)) => Err(Miss::Failed(why)),
        (None, None) => Ok(line),
    }
}

fn read(from: Option<impl Read + Send + 'static>) -> JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut from) = from {
            // Half a line is no line, which is noticed later.
            let _ = from.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn end(child: &mut Child) {
    signal(child, Signal::TERM);
    let until = Instant::now() + GRACE;
    while matches!(child.try_wait(), Ok(None)) && Instant::now() < until {
        thread::sleep(LOOK);
    }
    signal(child, Signal::KILL);
    // It is dead or about to be; nothing else is to be learnt.
    let _ = child.wait();
}

fn signal(child: &Child, signal: Signal) {
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // A group that has ended already is what is wanted.
        let _ = kill_process_group(group, signal);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn the_last_line_of_json_counts() {
        let line = run(shell("echo noise; echo '{\"bytes\": 5}'"), LIMIT).expect("it runs");
        assert_eq!(line["bytes"], 5);
    }

    #[test]
    fn what_gives_no_figures_says_why() {
        let unsupported = run(shell("echo '{\"unsupported\": \"no datagrams\"}'"), LIMIT);
        assert_eq!(unsupported, Err(Miss::Unsupported("no datagrams".into())));
        let error = run(shell("echo '{\"error\": \"gone\"}'; exit 1"), LIMIT);
        assert_eq!(error, Err(Miss::Failed("gone".into())));
        let silent = run(shell("echo broken >&2; exit 3"), LIMIT);
        assert!(matches!(silent, Err(Miss::Failed(why)) if why.contains("broken")));
    }

    #[test]
    fn what_hangs_is_killed() {
        let from = Instant::now();
        let hangs = run(shell("sleep 100 & wait"), Duration::from_millis(100));
        assert_eq!(hangs, Err(Miss::Killed(0)));
        assert!(from.elapsed() < LIMIT);
    }
}
