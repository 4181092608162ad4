//! What the audience sees: a live view on a terminal, lines elsewhere, JSON
//! lines when asked.

use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use super::view::{Canvas, Screen, Snapshot, render};
use crate::cli::output::{self, Format};

/// How the demo shows itself, and whether anybody reads it.
pub(crate) struct Show {
    style: Style,
    /// Why stdout takes no more, once it does not.
    lost: Option<io::Error>,
}

enum Style {
    /// Redrawn in place.
    Live {
        /// What happened so far.
        history: Vec<String>,
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
        let style = match format {
            Format::Json => Style::Json,
            Format::Human if output::is_terminal(&io::stdout()) => Style::Live {
                history: Vec::new(),
                screen: Screen::default(),
            },
            Format::Human => Style::Lines,
        };
        Self { style, lost: None }
    }

    /// Whether it wants to be redrawn.
    pub(crate) fn is_live(&self) -> bool {
        matches!(self.style, Style::Live { .. })
    }

    /// An error once stdout takes no more: the reader went away, for one.
    pub(crate) fn is_read(&self) -> io::Result<()> {
        match &self.lost {
            None => Ok(()),
            Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
        }
    }

    /// Something happened.
    pub(crate) fn tell(&mut self, at: Duration, event: &str, text: &str, detail: Value) {
        let text = format!("{:>6.2} s  {text}", at.as_secs_f64());
        let told = match &mut self.style {
            Style::Live { history, .. } => {
                history.push(text);
                Ok(())
            }
            Style::Lines => output::line(&text),
            Style::Json => {
                let mut line = json!({"event": event, "at_ms": at.as_millis() as u64});
                if let (Some(line), Value::Object(detail)) = (line.as_object_mut(), detail) {
                    line.extend(detail);
                }
                output::line(&line.to_string())
            }
        };
        self.note(told);
    }

    /// Redraws the live view.
    pub(crate) fn draw(&mut self, mut snapshot: Snapshot) {
        if let Style::Live { history, screen } = &mut self.style {
            snapshot.history.clone_from(history);
            let drawn = screen.draw(&render(&snapshot, canvas()), &mut io::stdout().lock());
            self.note(drawn);
        }
    }

    /// Ends the show with a summary for people.
    pub(crate) fn finish(&mut self, summary: &[String]) {
        let left = match &mut self.style {
            Style::Json => return,
            Style::Lines => Ok(()),
            Style::Live { screen, .. } => screen.leave(&mut io::stdout().lock()),
        };
        self.note(left);
        for line in summary {
            self.note(output::line(line));
        }
    }

    /// The first error is the one that tells why.
    fn note(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            self.lost.get_or_insert(error);
        }
    }
}

/// The terminal as it is now; one that does not say is of the usual size.
fn canvas() -> Canvas {
    let (width, height) = output::terminal_size().unwrap_or((80, 24));
    Canvas {
        width,
        height,
        coloured: output::is_coloured(&io::stdout()),
    }
}
