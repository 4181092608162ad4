//! What can be typed, or piped, into a session.

use serde::Deserialize;
use tokio::sync::mpsc;

use crate::cli::lines;
use crate::cli::output::Format;

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

/// Reads what is typed or piped into a session.
pub(super) fn read(format: Format) -> mpsc::Receiver<Result<Request, String>> {
    lines::read(match format {
        Format::Human => typed,
        Format::Json => object,
    })
}

/// A line that a person typed.
fn typed(line: &str) -> Result<Request, String> {
    let line = line.trim_end();
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "/who" => Ok(Request::Who),
        "/quit" => Ok(Request::Quit),
        "/msg" => match rest.trim_start().split_once(' ') {
            Some((to, text)) if !text.trim().is_empty() => Ok(Request::Say {
                text: text.to_owned(),
                to: Some(to.to_owned()),
            }),
            Some(_) | None => Err("nothing to say; write /msg PEER TEXT".into()),
        },
        _ if word.starts_with('/') => Err(format!(
            "no such command: {word:?}; there are /msg PEER TEXT, /who and /quit"
        )),
        _ => Ok(Request::Say {
            text: line.to_owned(),
            to: None,
        }),
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
        } if !text.is_empty() => Ok(Request::Say { text, to }),
        Object { say: Some(_), .. } => Err("nothing to say: say is empty".into()),
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
        assert_eq!(typed("hello there"), Ok(say("hello there", None)));
        assert_eq!(typed("/who"), Ok(Request::Who));
        assert_eq!(typed("/quit now"), Ok(Request::Quit));
        assert_eq!(typed("/msg ada good day"), Ok(say("good day", Some("ada"))));
        for line in ["/whoever", "/", "/msg", "/msg ada", "/msg ada  "] {
            assert!(typed(line).is_err(), "{line}");
        }
    }

    #[test]
    fn piped_objects() {
        assert_eq!(object(r#"{"say":"hi"}"#), Ok(say("hi", None)));
        assert_eq!(object(r#"{"say":"hi","to":"x"}"#), Ok(say("hi", Some("x"))));
        assert_eq!(object(r#"{"who":true}"#), Ok(Request::Who));
        assert_eq!(object(r#"{"quit":true}"#), Ok(Request::Quit));
        assert!(object("hi").is_err());
        assert!(object("{}").is_err());
        assert!(object(r#"{"say":"","to":"x"}"#).is_err());
        assert!(object(r#"{"shout":"hi"}"#).is_err());
    }
}
