//! How the command fails: one line saying what failed, why, and what to do.

use std::fmt;
use std::io;
use std::process::ExitCode;

/// The operation could not be done (exit code 1) or was asked for in a way
/// that makes no sense (exit code 2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    what: String,
    why: Option<String>,
    hint: Option<String>,
    usage: bool,
    silent: bool,
}

impl Failure {
    /// An operation that failed.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            why: None,
            hint: None,
            usage: false,
            silent: false,
        }
    }

    /// Arguments that make no sense.
    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Self {
            usage: true,
            ..Self::new(what)
        }
    }

    /// Results that stdout did not take. Nothing is said about a reader that
    /// went away (`| head`): it has what it wanted.
    pub(crate) fn unwritable(error: io::Error) -> Self {
        Self {
            silent: error.kind() == io::ErrorKind::BrokenPipe,
            ..Self::new("cannot write to stdout").because(&error)
        }
    }

    /// The reason: an error with its whole chain of sources, on one line.
    pub(crate) fn because(mut self, why: &(dyn std::error::Error + 'static)) -> Self {
        self.why = Some(chain(why));
        self
    }

    /// The reason, in words.
    pub(crate) fn because_of(mut self, why: impl Into<String>) -> Self {
        self.why = Some(why.into());
        self
    }

    /// What the user can do about it.
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Whether there is nothing to tell anybody.
    pub(crate) fn is_silent(&self) -> bool {
        self.silent
    }

    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> ExitCode {
        ExitCode::from(if self.usage { 2 } else { 1 })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut line = self.what.clone();
        if let Some(why) = &self.why {
            line.push_str(": ");
            line.push_str(why);
        }
        if let Some(hint) = &self.hint {
            line.push_str("; ");
            line.push_str(hint);
        }
        f.write_str(&line.replace(['\n', '\r'], " "))
    }
}

/// An error and its sources, each said once.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let said = inner.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        source = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the door is shut")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_failure_is_one_line_with_its_reason_and_a_hint() {
        let error = Outer(std::io::Error::other("lock\nbroken"));
        let failure = Failure::new("cannot open the mesh")
            .because(&error)
            .hint("try --data DIR");
        assert_eq!(
            failure.to_string(),
            "cannot open the mesh: the door is shut: lock broken; try --data DIR"
        );
    }

    #[test]
    fn only_a_reader_that_went_away_is_met_with_silence() {
        let failure = |kind| Failure::unwritable(io::Error::from(kind));
        assert!(failure(io::ErrorKind::BrokenPipe).is_silent());
        assert!(!failure(io::ErrorKind::StorageFull).is_silent());
    }

    #[test]
    fn sources_are_not_repeated() {
        let inner = std::io::Error::other("the door is shut");
        assert_eq!(chain(&Outer(inner)), "the door is shut");
    }
}
