//! How a running demo looks: a pure function from a snapshot to lines, and the
//! screen that redraws them in place.

use std::io::{self, Write};
use std::time::Duration;

/// Columns the view takes at most.
const WIDTH: usize = 78;

/// Lines of history shown.
const HISTORY: usize = 8;

/// More nodes than this are shown as totals only, so that the view fits a
/// terminal of 24 lines.
const NODES_SHOWN: usize = 60;

/// What one node looks like.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct NodeCell {
    /// Whether it was killed.
    pub(crate) dead: bool,
    /// Whether it has the links it wants.
    pub(crate) well_linked: bool,
    /// Its authenticated links.
    pub(crate) links: usize,
    /// Members in its roster, itself included.
    pub(crate) roster: usize,
    /// Messages delivered to it.
    pub(crate) received: u64,
}

/// Everything the view shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// What the demo is doing.
    pub(crate) phase: &'static str,
    /// For how long it has been running.
    pub(crate) elapsed: Duration,
    /// Its nodes.
    pub(crate) nodes: Vec<NodeCell>,
    /// Links of the whole mesh.
    pub(crate) links: usize,
    /// What the mesh still misses to be formed.
    pub(crate) missing: String,
    /// Deliveries owed so far.
    pub(crate) expected: u64,
    /// Deliveries made so far.
    pub(crate) delivered: u64,
    /// What happened, oldest first.
    pub(crate) history: Vec<String>,
}

/// The view as lines, coloured with ANSI escapes.
pub(crate) fn render(snapshot: &Snapshot) -> Vec<String> {
    let mut lines = vec![header(snapshot), String::new()];
    if snapshot.nodes.len() <= NODES_SHOWN {
        lines.extend(grid(&snapshot.nodes));
        lines.push(String::new());
    }
    lines.push(totals(snapshot));
    lines.push(String::new());
    let skip = snapshot.history.len().saturating_sub(HISTORY);
    lines.extend(snapshot.history[skip..].iter().map(|line| clip(line)));
    lines
}

fn header(snapshot: &Snapshot) -> String {
    format!(
        "\x1b[1mpeerloom demo\x1b[0m  {} peers  \x1b[1m{}\x1b[0m  {:.1} s",
        snapshot.nodes.len(),
        snapshot.phase,
        snapshot.elapsed.as_secs_f64()
    )
}

/// Nodes side by side.
fn grid(nodes: &[NodeCell]) -> Vec<String> {
    if nodes.len() <= 24 {
        let heading = format!(
            "\x1b[2m  nr  {:<11}{:>6}{:>9}\x1b[0m",
            "links", "known", "got"
        );
        let columns = nodes.len().min(2);
        let mut lines = vec![vec![heading; columns].join("    ")];
        lines.extend(table(nodes, columns, "    ", detailed));
        lines
    } else {
        table(nodes, 5, "  ", terse)
    }
}

/// Cells in columns, filled from the top.
fn table(
    nodes: &[NodeCell],
    columns: usize,
    between: &str,
    cell: fn(usize, &NodeCell) -> String,
) -> Vec<String> {
    let rows = nodes.len().div_ceil(columns.max(1));
    (0..rows)
        .map(|row| {
            (0..columns)
                .map(|column| column * rows + row)
                .filter_map(|index| nodes.get(index).map(|node| cell(index, node)))
                .collect::<Vec<_>>()
                .join(between)
        })
        .collect()
}

fn mark(node: &NodeCell) -> &'static str {
    match (node.dead, node.well_linked) {
        (true, _) => "\x1b[31m✖\x1b[0m",
        (false, true) => "\x1b[32m●\x1b[0m",
        (false, false) => "\x1b[33m○\x1b[0m",
    }
}

/// Mark, number, links, roster, messages received.
fn detailed(index: usize, node: &NodeCell) -> String {
    if node.dead {
        return format!("{} {index:>2}  \x1b[2m{:<26}\x1b[0m", mark(node), "silent");
    }
    format!(
        "{} {index:>2}  {:<8} {:>2} {:>5} {:>8}",
        mark(node),
        "━".repeat(node.links.min(8)),
        node.links,
        node.roster,
        node.received
    )
}

/// Mark, number, links.
fn terse(index: usize, node: &NodeCell) -> String {
    if node.dead {
        return format!("{} {index:>2} \x1b[2m{:<9}\x1b[0m", mark(node), "silent");
    }
    format!("{} {index:>2} {:>2} links ", mark(node), node.links)
}

fn totals(snapshot: &Snapshot) -> String {
    let state = if snapshot.missing.is_empty() {
        "\x1b[32mwhole\x1b[0m".to_owned()
    } else {
        format!("\x1b[33m{}\x1b[0m", snapshot.missing)
    };
    format!(
        "{} links, {state}; {} of {} deliveries",
        snapshot.links, snapshot.delivered, snapshot.expected
    )
}

/// Cuts a line to the width of the view.
fn clip(line: &str) -> String {
    if line.chars().count() <= WIDTH {
        return line.to_owned();
    }
    line.chars().take(WIDTH - 1).chain(['…']).collect()
}

/// Draws lines over the ones drawn before.
#[derive(Debug, Default)]
pub(crate) struct Screen {
    drawn: usize,
}

impl Screen {
    /// Redraws.
    pub(crate) fn draw(&mut self, lines: &[String], out: &mut impl Write) -> io::Result<()> {
        let mut frame = String::new();
        if self.drawn > 0 {
            frame.push_str(&format!("\x1b[{}A\r", self.drawn));
        }
        frame.push_str("\x1b[?25l");
        for line in lines {
            frame.push_str("\x1b[2K");
            frame.push_str(line);
            frame.push('\n');
        }
        frame.push_str("\x1b[J");
        self.drawn = lines.len();
        out.write_all(frame.as_bytes())?;
        out.flush()
    }

    /// Gives the cursor back.
    pub(crate) fn leave(&mut self, out: &mut impl Write) -> io::Result<()> {
        if self.drawn > 0 {
            self.drawn = 0;
            out.write_all(b"\x1b[?25h\n")?;
        }
        out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(nodes: usize) -> Snapshot {
        Snapshot {
            phase: "talking",
            nodes: vec![
                NodeCell {
                    well_linked: true,
                    links: 5,
                    roster: nodes,
                    ..NodeCell::default()
                };
                nodes
            ],
            history: (0..20).map(|n| format!("thing {n}")).collect(),
            ..Snapshot::default()
        }
    }

    /// A line without its escapes.
    fn plain(line: &str) -> String {
        let mut text = String::new();
        let mut escape = false;
        for c in line.chars() {
            match (escape, c) {
                (false, '\x1b') => escape = true,
                (false, c) => text.push(c),
                (true, c) => escape = !c.is_ascii_alphabetic(),
            }
        }
        text
    }

    #[test]
    fn the_view_fits_a_terminal() {
        for nodes in [1, 2, 12, 24, 25, 50, 60, 61, 500] {
            let lines = render(&snapshot(nodes));
            assert!(lines.len() <= 24 + 2, "{nodes}: {}", lines.len());
            for line in lines {
                let width = plain(&line).chars().count();
                assert!(width <= WIDTH + 2, "{nodes}: {width}: {line}");
            }
        }
    }

    #[test]
    fn every_node_is_shown_once() {
        let text = render(&snapshot(50)).join("\n");
        assert_eq!(text.matches('●').count(), 50);
    }

    #[test]
    fn the_dead_are_marked() {
        let mut snapshot = snapshot(12);
        snapshot.nodes[3].dead = true;
        let text = render(&snapshot).join("\n");
        assert_eq!(text.matches('✖').count(), 1);
        assert_eq!(text.matches("silent").count(), 1);
    }

    #[test]
    fn only_the_latest_history_is_shown() {
        let text = render(&snapshot(2)).join("\n");
        assert!(text.contains("thing 19"));
        assert!(!text.contains("thing 11"));
    }

    #[test]
    fn a_second_drawing_goes_over_the_first() {
        let mut screen = Screen::default();
        let mut out = Vec::new();
        screen
            .draw(&["a".into(), "b".into()], &mut out)
            .expect("draws");
        assert!(!String::from_utf8_lossy(&out).contains("\x1b[2A"));
        out.clear();
        screen.draw(&["c".into()], &mut out).expect("draws");
        assert!(String::from_utf8_lossy(&out).starts_with("\x1b[2A\r"));
        out.clear();
        screen.leave(&mut out).expect("leaves");
        assert!(String::from_utf8_lossy(&out).contains("\x1b[?25h"));
    }
}
