//! How a running demo looks: a pure function from a snapshot to lines, and the
//! screen that redraws them in place.

use std::cmp::Ordering;
use std::io::{self, Write};
use std::time::Duration;

/// Columns the view takes at most.
const WIDTH: usize = 78;

/// Lines of history shown at most.
const HISTORY: usize = 8;

/// Lines kept for history where nodes are shown, too.
const HISTORY_LEAST: usize = 3;

/// Columns of a node shown in full, and between two of them.
const DETAILED: usize = 32;
const DETAILED_GAP: usize = 4;

/// Columns of a node shown in brief, and between two of them.
const TERSE: usize = 14;
const TERSE_GAP: usize = 2;

/// More nodes than this are shown in brief also where there is room.
const DETAILED_MOST: usize = 24;

/// Where the view is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Canvas {
    /// Columns of the terminal.
    pub(crate) width: usize,
    /// Its lines.
    pub(crate) height: usize,
    /// Whether it shows colours.
    pub(crate) coloured: bool,
}

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

/// The view as lines, none of them wider and all together lower than the
/// canvas: what wraps or scrolls cannot be drawn over.
pub(crate) fn render(snapshot: &Snapshot, canvas: Canvas) -> Vec<String> {
    let width = canvas.width.saturating_sub(1).clamp(1, WIDTH);
    let height = canvas.height.saturating_sub(1).max(1);
    let mut lines = vec![header(snapshot), String::new()];
    let room = height.saturating_sub(lines.len() + 3 + HISTORY_LEAST);
    if let Some(nodes) = grid(&snapshot.nodes, width, room) {
        lines.extend(nodes);
        lines.push(String::new());
    }
    lines.push(totals(snapshot));
    lines.push(String::new());
    let shown = height.saturating_sub(lines.len()).min(HISTORY);
    let skip = snapshot.history.len().saturating_sub(shown);
    lines.extend(snapshot.history[skip..].iter().cloned());
    lines.truncate(height);
    lines
        .iter()
        .map(|line| fit(line, width, canvas.coloured))
        .collect()
}

fn header(snapshot: &Snapshot) -> String {
    format!(
        "\x1b[1mpeerloom demo\x1b[0m  {} peers  \x1b[1m{}\x1b[0m  {:.1} s",
        snapshot.nodes.len(),
        snapshot.phase,
        snapshot.elapsed.as_secs_f64()
    )
}

/// Nodes side by side, in the fullest way that fits; nothing if none does.
fn grid(nodes: &[NodeCell], width: usize, height: usize) -> Option<Vec<String>> {
    let columns = |cell: usize, gap: usize| (width + gap) / (cell + gap);
    let full = columns(DETAILED, DETAILED_GAP).min(nodes.len());
    if full > 0 && nodes.len() <= DETAILED_MOST && nodes.len().div_ceil(full) < height {
        let heading = format!(
            "\x1b[2m  nr  {:<11}{:>6}{:>9}\x1b[0m",
            "links", "known", "got"
        );
        let gap = " ".repeat(DETAILED_GAP);
        let mut lines = vec![vec![heading; full].join(&gap)];
        lines.extend(table(nodes, full, &gap, detailed));
        return Some(lines);
    }
    let brief = columns(TERSE, TERSE_GAP).min(nodes.len());
    let fits = brief > 0 && nodes.len().div_ceil(brief) <= height;
    fits.then(|| table(nodes, brief, &" ".repeat(TERSE_GAP), terse))
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

/// Cuts a line to a width, not counting its escapes; without colours it loses
/// them.
fn fit(line: &str, width: usize, coloured: bool) -> String {
    let mut text = String::new();
    let mut shown = 0;
    let mut escape = false;
    for c in line.chars() {
        if escape || c == '\x1b' {
            escape = !(escape && c.is_ascii_alphabetic());
            if coloured {
                text.push(c);
            }
        } else {
            shown += 1;
            match shown.cmp(&width) {
                Ordering::Less => text.push(c),
                Ordering::Equal => text.push(if visible(line) > width { '…' } else { c }),
                Ordering::Greater => {}
            }
        }
    }
    text
}

/// Characters of a line that are no part of an escape.
fn visible(line: &str) -> usize {
    let mut escape = false;
    line.chars()
        .filter(|c| {
            let hidden = escape || *c == '\x1b';
            escape = hidden && !(escape && c.is_ascii_alphabetic());
            !hidden
        })
        .count()
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

    const USUAL: Canvas = Canvas {
        width: 80,
        height: 24,
        coloured: true,
    };

    #[test]
    fn the_view_fits_any_terminal() {
        for nodes in [1, 2, 12, 24, 25, 50, 60, 61, 200] {
            for (width, height) in [(80, 24), (200, 60), (40, 24), (80, 10), (20, 5), (1, 1)] {
                let canvas = Canvas {
                    width,
                    height,
                    coloured: true,
                };
                let lines = render(&snapshot(nodes), canvas);
                assert!(lines.len() < height.max(2), "{nodes}: {canvas:?}");
                for line in lines {
                    assert!(visible(&line) < width.max(2), "{canvas:?}: {line}");
                }
            }
        }
    }

    #[test]
    fn lines_are_cut_where_they_are_seen() {
        let line = "\x1b[1mabcdef\x1b[0m";
        assert_eq!(fit(line, 6, true), line);
        assert_eq!(fit(line, 5, true), "\x1b[1mabcd…\x1b[0m");
        assert_eq!(fit(line, 5, false), "abcd…");
        assert_eq!(visible(line), 6);
    }

    #[test]
    fn no_colours_means_no_escapes() {
        let canvas = Canvas {
            coloured: false,
            ..USUAL
        };
        assert!(!render(&snapshot(12), canvas).concat().contains('\x1b'));
    }

    #[test]
    fn a_narrow_terminal_shows_the_nodes_in_one_column() {
        let canvas = Canvas { width: 40, ..USUAL };
        let lines = render(&snapshot(4), canvas);
        assert_eq!(lines.iter().filter(|line| line.contains('●')).count(), 4);
    }

    #[test]
    fn every_node_is_shown_once() {
        let text = render(&snapshot(50), USUAL).join("\n");
        assert_eq!(text.matches('●').count(), 50);
    }

    #[test]
    fn the_dead_are_marked() {
        let mut snapshot = snapshot(12);
        snapshot.nodes[3].dead = true;
        let text = render(&snapshot, USUAL).join("\n");
        assert_eq!(text.matches('✖').count(), 1);
        assert_eq!(text.matches("silent").count(), 1);
    }

    #[test]
    fn only_the_latest_history_is_shown() {
        let text = render(&snapshot(2), USUAL).join("\n");
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
