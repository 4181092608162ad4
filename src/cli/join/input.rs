//! What can be typed, or piped, into a session.

use std::io;

use serde::Deserialize;
use tokio::sync::mpsc;

use crate::cli::output::Format;

/// Requests read from stdin and not yet carried out; a full queue stops the
/// reading.
const REQUESTS: usize = 16;

/// What a line of stdin asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Request {
    /// Say something, to everybody or to one member.
    Say {
        /// What.
        text: String,
        /// To whom: an id, the end of one, or a nick.
        to: Option<String>,
    },
    /// List the members.
    Who,
    /// Leave.
    Quit,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Object {
    say: Option<String>,
    to: Option<String>,
    #[serde(default)]
    who: bool,
    #[serde(default)]
    quit: bool,
}

/// Reads stdin on a thread of its own: a read cannot be cancelled, and a
/// thread does not hold up the end of the process.
pub(super) fn read(format: Format) -> mpsc::Receiver<Result<Request, String>> {
    let (requests, received) = mpsc::channel(REQUESTS);
    std::thread::spawn(move || {
        for line in io::stdin().lines() {
            let Ok(line) = line else { return };
            let request = match format {
                Format::Human => Ok(typed(&line)),
                Format::Json => object(&line),
            };
            let empty = matches!(&request, Ok(Request::Say { text, .. }) if text.is_empty());
            if !empty && requests.blocking_send(request).is_err() {
                return;
            }
        }
    });
    received
}

/// A line that a person typed.
fn typed(line: &str) -> Request {
    let line = line.trim_end();
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "/who" => Request::Who,
        "/quit" => Request::Quit,
        "/msg" => {
            let (to, text) = rest.split_once(' ').unwrap_or((rest, ""));
            Request::Say {
                text: text.to_owned(),
                to: Some(to.to_owned()),
            }
        }
        _ => Request::Say {
            text: line.to_owned(),
            to: None,
        },
    }
}

/// A line that a program wrote.
fn object(line: &str) -> Result<Request, String> {
    let object: Object = serde_json::from_str(line)
        .map_err(|error| format!("not a request: {error}; write {{\"say\":\"…\"}}"))?;
    match object {
        Object { quit: true, .. } => Ok(Request::Quit),
        Object { who: true, .. } => Ok(Request::Who),
        Object {
            say: Some(text),
            to,
            ..
        } => Ok(Request::Say { text, to }),
        Object { say: None, .. } => Err("not a request: neither say, who nor quit".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn say(text: &str, to: Option<&str>) -> Request {
        Request::Say {
            text: text.into(),
            to: to.map(str::to_owned),
        }
    }

    #[test]
    fn typed_lines() {
        assert_eq!(typed("hello there"), say("hello there", None));
        assert_eq!(typed("/who"), Request::Who);
        assert_eq!(typed("/quit now"), Request::Quit);
        assert_eq!(typed("/msg ada good day"), say("good day", Some("ada")));
        assert_eq!(typed("/whoever"), say("/whoever", None));
    }

    #[test]
    fn piped_objects() {
        assert_eq!(object(r#"{"say":"hi"}"#), Ok(say("hi", None)));
        assert_eq!(object(r#"{"say":"hi","to":"x"}"#), Ok(say("hi", Some("x"))));
        assert_eq!(object(r#"{"who":true}"#), Ok(Request::Who));
        assert_eq!(object(r#"{"quit":true}"#), Ok(Request::Quit));
        assert!(object("hi").is_err());
        assert!(object("{}").is_err());
        assert!(object(r#"{"shout":"hi"}"#).is_err());
    }
}
