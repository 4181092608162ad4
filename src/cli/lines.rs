//! Requests that come to a running node as lines of its stdin.

use std::io::{self, BufRead};

use tokio::sync::mpsc;

/// Requests read from stdin and not yet carried out; a full queue stops the
/// reading.
const REQUESTS: usize = 16;

/// Reads stdin on a thread of its own, a request in each line: a read cannot be
/// cancelled, and a thread does not hold up the end of the process. What is no
/// request comes as the reason.
pub(crate) fn read<R: Send + 'static>(
    parse: fn(&str) -> Result<R, String>,
) -> mpsc::Receiver<Result<R, String>> {
    let (requests, received) = mpsc::channel(REQUESTS);
    std::thread::spawn(move || {
        for line in io::stdin().lock().split(b'\n') {
            let (request, end) = match line {
                Ok(line) => (asked(parse, line), false),
                Err(error) => (Some(Err(format!("cannot read stdin: {error}"))), true),
            };
            if let Some(request) = request
                && requests.blocking_send(request).is_err()
            {
                return;
            }
            if end {
                return;
            }
        }
    });
    received
}

/// What a line asks for, if it is not empty.
fn asked<R>(parse: fn(&str) -> Result<R, String>, line: Vec<u8>) -> Option<Result<R, String>> {
    let Ok(line) = String::from_utf8(line) else {
        return Some(Err("a line is not UTF-8 and was passed over".into()));
    };
    (!line.trim().is_empty()).then(|| parse(&line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(line: &str) -> Result<String, String> {
        Ok(line.trim_end().to_owned())
    }

    #[test]
    fn lines_that_say_nothing_or_are_no_text() {
        assert_eq!(asked(whole, b" \r".to_vec()), None);
        assert!(matches!(asked(whole, b"caf\xe9".to_vec()), Some(Err(_))));
        let hello = Some(Ok("hello".to_owned()));
        assert_eq!(asked(whole, b"hello\r".to_vec()), hello);
    }
}
