//! Where the command writes: results on stdout, progress on stderr.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::failure::Failure;

/// An operation is worth a progress line once it has taken this long (guess).
const PROGRESS_AFTER: Duration = Duration::from_secs(2);

/// Results for a person, or one JSON object per line for a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Text.
    Human,
    /// JSON lines.
    Json,
}

impl Format {
    /// The format that `--json` asks for.
    pub(crate) fn new(json: bool) -> Self {
        if json { Self::Json } else { Self::Human }
    }

    /// Whether results go out as JSON.
    pub(crate) fn is_json(self) -> bool {
        self == Self::Json
    }

    /// Prints one result in the format asked for.
    pub(crate) fn print(self, text: &str, json: &Value) -> io::Result<()> {
        match self {
            Self::Human => line(text),
            Self::Json => line(&json.to_string()),
        }
    }
}

/// Prints a result, or says that stdout does not take it.
pub(crate) fn told(format: Format, text: &str, json: &Value) -> Result<(), Failure> {
    format.print(text, json).map_err(Failure::unwritable)
}

/// Prints one line on stdout at once.
pub(crate) fn line(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}

/// Prints one line on stderr; nobody is left to tell when that fails.
pub(crate) fn complain(text: &str) {
    drop(writeln!(io::stderr().lock(), "{text}"));
}

/// Whether a stream is a terminal that understands cursor movement.
pub(crate) fn is_terminal(stream: &impl IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Whether colours are welcome on a stream (no-color.org).
pub(crate) fn is_coloured(stream: &impl IsTerminal) -> bool {
    is_terminal(stream) && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// The columns and lines of the terminal behind stdout, where that is known.
#[cfg(unix)]
pub(crate) fn terminal_size() -> Option<(usize, usize)> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    let known = size.ws_col > 0 && size.ws_row > 0;
    known.then_some((size.ws_col.into(), size.ws_row.into()))
}

/// The columns and lines of the terminal behind stdout, where that is known.
#[cfg(not(unix))]
pub(crate) fn terminal_size() -> Option<(usize, usize)> {
    None
}

/// One line on stderr that says what a long operation is doing; only on a
/// terminal, and only after two seconds.
pub(crate) struct Progress {
    since: Instant,
    enabled: bool,
    shown: bool,
}

impl Progress {
    /// Progress of an operation that begins now.
    pub(crate) fn begin(now: Instant) -> Self {
        Self {
            since: now,
            enabled: is_terminal(&io::stderr()),
            shown: false,
        }
    }

    /// Says where the operation stands.
    pub(crate) fn update(&mut self, text: &str, now: Instant) {
        let elapsed = now.duration_since(self.since);
        if self.enabled && elapsed >= PROGRESS_AFTER {
            self.shown = true;
            let mut err = io::stderr().lock();
            drop(write!(err, "\r\x1b[2K{text} ({} s)", elapsed.as_secs()));
            drop(err.flush());
        }
    }

    /// Takes the line away again.
    pub(crate) fn done(&mut self) {
        if self.shown {
            self.shown = false;
            drop(write!(io::stderr().lock(), "\r\x1b[2K"));
        }
    }
}

/// Waits for something, saying so while it takes long.
pub(crate) async fn with_progress<T>(text: &str, waited_for: impl Future<Output = T>) -> T {
    let mut progress = Progress::begin(Instant::now());
    let mut second = tokio::time::interval(Duration::from_secs(1));
    tokio::pin!(waited_for);
    loop {
        tokio::select! {
            done = &mut waited_for => return done,
            _ = second.tick() => progress.update(text, Instant::now()),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.done();
    }
}
