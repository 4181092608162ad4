//! `peerloom peer`: one peer connection, driven by JSON lines.
//!
//! stdin carries commands and the other side's signals, stdout answers and
//! signals for the other side. Whoever runs two peers carries the signal lines
//! between them; nothing here knows how.
//!
//! ```text
//! stdin ─ lines ─▶ Session ─▶ PeerConnection ─▶ Channels (echo, sink, ctl)
//!                     │                              ▲
//!                     └─ check ─▶ checks ── ctl ─────┘ (of the other side)
//! stdout ◀─ writer ◀─ events of all of them
//! ```

mod channels;
mod checks;
mod control;
mod live;
mod pattern;
mod session;
mod sink;
mod stats;
mod wire;

use std::io::{self, BufRead, Read};
use std::net::SocketAddr;

use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::failure::Failure;
use session::Session;
use wire::{Event, MAX_LINE};

/// Lines read from stdin and not yet handled; a full queue stops the reading.
const LINES: usize = 64;

/// Events not yet written to stdout; a full queue makes whoever reports wait.
const EVENTS: usize = 1024;

/// One peer connection, driven by JSON lines on stdin and stdout.
///
/// stdin takes objects such as {"cmd":"create","id":1} and
/// {"cmd":"offer","id":2}; what comes out as {"ev":"signal",…} belongs to the
/// other side's stdin, as {"cmd":"signal",…}. docs/peer-protocol.md has all of
/// them.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Local addresses to bind, instead of all interfaces (repeatable).
    #[arg(long = "bind", value_name = "ADDR")]
    bind: Vec<SocketAddr>,

    /// Local addresses at which ICE over TCP is accepted (repeatable); port 0 takes any.
    #[arg(long = "listen-tcp", value_name = "ADDR")]
    listen_tcp: Vec<SocketAddr>,
}

/// Serves stdin until it ends or says `exit`.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let (events, written) = mpsc::channel(EVENTS);
    let writer = tokio::spawn(write(written));
    let outcome = Session::new(args.bind, args.listen_tcp, events)
        .run(read_lines())
        .await;
    if let Ok(Err(error)) = writer.await {
        return Err(Failure::unwritable(error));
    }
    outcome
}

/// Writes events as they come, and flushes whenever there is none waiting.
async fn write(mut events: mpsc::Receiver<Event>) -> io::Result<()> {
    let mut out = tokio::io::stdout();
    while let Some(event) = events.recv().await {
        let mut lines = format!("{}\n", event.to_json());
        while let Ok(event) = events.try_recv() {
            lines.push_str(&format!("{}\n", event.to_json()));
        }
        out.write_all(lines.as_bytes()).await?;
        out.flush().await?;
    }
    Ok(())
}

/// Reads stdin on a thread of its own: a read cannot be cancelled, and a
/// thread does not hold up the end of the process.
fn read_lines() -> mpsc::Receiver<Result<String, String>> {
    let (lines, received) = mpsc::channel(LINES);
    std::thread::spawn(move || {
        let mut input = io::stdin().lock();
        while let Some(line) = next_line(&mut input) {
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    received
}

/// The next line; an error for one that is too long or no text, `None` at the
/// end.
fn next_line(input: &mut impl BufRead) -> Option<Result<String, String>> {
    let mut line = Vec::new();
    let taken = input
        .by_ref()
        .take(MAX_LINE as u64)
        .read_until(b'\n', &mut line)
        .ok()?;
    if taken == 0 {
        return None;
    }
    if taken == MAX_LINE && line.last() != Some(&b'\n') {
        skip_line(input);
        return Some(Err(format!("a line is longer than {MAX_LINE} bytes")));
    }
    Some(String::from_utf8(line).map_err(|_| "a line is not UTF-8".to_owned()))
}

/// Passes over the rest of a line without keeping it.
fn skip_line(input: &mut impl BufRead) {
    while let Ok(buffer) = input.fill_buf() {
        let (skipped, found) = match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => (at + 1, true),
            None => (buffer.len(), false),
        };
        input.consume(skipped);
        if found || skipped == 0 {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_one_by_one() {
        let mut input = io::Cursor::new("one\n\ntwo");
        assert_eq!(next_line(&mut input), Some(Ok("one\n".into())));
        assert_eq!(next_line(&mut input), Some(Ok("\n".into())));
        assert_eq!(next_line(&mut input), Some(Ok("two".into())));
        assert_eq!(next_line(&mut input), None);
    }

    #[test]
    fn a_line_too_long_is_refused_and_the_next_one_read() {
        let mut text = "x".repeat(3 * MAX_LINE);
        text.push_str("\nnext\n");
        let mut input = io::Cursor::new(text);
        assert!(next_line(&mut input).expect("a line").is_err());
        assert_eq!(next_line(&mut input), Some(Ok("next\n".into())));
    }

    #[test]
    fn bytes_that_are_no_text_are_refused() {
        let mut input = io::Cursor::new(b"\xff\xfe\nok\n".to_vec());
        assert!(next_line(&mut input).expect("a line").is_err());
        assert_eq!(next_line(&mut input), Some(Ok("ok\n".into())));
    }
}
