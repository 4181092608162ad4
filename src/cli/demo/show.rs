//! What the audience sees: a live view on a terminal, lines elsewhere, JSON
//! lines when asked.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::view::{Screen, Snapshot, render};
use crate::cli::output::{self, Format};

/// How the demo shows itself.
pub(crate) enum Show {
    /// Redrawn in place.
    Live {
        /// What happened so far.
        history: Vec<String>,
        /// The terminal.
        screen: Screen,
    },
    /// A line for everything that happens.
    Lines,
    /// The same as JSON.
    Json,
}

impl Show {
    /// The way that fits the format and what stdout is.
    pub(crate) fn new(format: Format) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::Human if output::stdout_is_terminal() => Self::Live {
                history: Vec::new(),
                screen: Screen::default(),
            },
            Format::Human => Self::Lines,
        }
    }

    /// Whether it wants to be redrawn.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self, Self::Live { .. })
    }

    /// Something happened. A reader that went away is no reason to stop.
    pub(crate) fn tell(&mut self, at: Duration, event: &str, text: &str, detail: Value) {
        let text = format!("{:>6.2} s  {text}", at.as_secs_f64());
        match self {
            Self::Live { history, .. } => history.push(text),
            Self::Lines => drop(output::line(&text)),
            Self::Json => {
                let mut line = json!({"event": event, "at_ms": at.as_millis() as u64});
                if let (Some(line), Value::Object(detail)) = (line.as_object_mut(), detail) {
                    line.extend(detail);
                }
                drop(output::line(&line.to_string()));
            }
        }
    }

    /// Redraws the live view.
    pub(crate) fn draw(&mut self, mut snapshot: Snapshot) {
        if let Self::Live { history, screen } = self {
            snapshot.history.clone_from(history);
            drop(screen.draw(&render(&snapshot), &mut io::stdout().lock()));
        }
    }

    /// Ends the show with a summary for people.
    pub(crate) fn finish(&mut self, summary: &[String]) {
        match self {
            Self::Json => return,
            Self::Lines => {}
            Self::Live { screen, .. } => drop(screen.leave(&mut io::stdout().lock())),
        }
        for line in summary {
            drop(output::line(line));
        }
    }
}
