//! The plot: a panel of bars per figure, on a logarithmic scale.

use crate::cells::{Better, Cell, Figure};
use crate::compare::Results;
use crate::outcome::Outcome;
use crate::stacks::Family;
use crate::table::short;

const COLUMNS: usize = 2;
const PANEL_WIDTH: usize = 520;
const NAMES: usize = 190;
const BARS: usize = 250;
const ROW: usize = 18;
const HEAD: usize = 34;
const GAP: usize = 16;

/// One bar.
struct Bar<'a> {
    name: &'a str,
    family: Family,
    value: Option<f64>,
}

/// A panel for every first figure of a cell, and for the CPU time of W1.
pub(crate) fn svg(results: &Results) -> String {
    let mut panels = Vec::new();
    for (cell, outcomes) in results.cells.iter().zip(&results.outcomes) {
        let figures = if cell.id == "W1-16" { 2 } else { 1 };
        for figure in cell.figures.iter().take(figures) {
            panels.push(panel(results, cell, figure, outcomes));
        }
    }
    let height = HEAD + ROW * results.stacks.len() + GAP;
    let rows = panels.len().div_ceil(COLUMNS);
    let (width, all) = (PANEL_WIDTH * COLUMNS, height * rows);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {all}\" \
         width=\"{width}\" height=\"{all}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"{width}\" height=\"{all}\" fill=\"white\"/>\n"
    );
    for (at, panel) in panels.iter().enumerate() {
        let (x, y) = (at % COLUMNS * PANEL_WIDTH, at / COLUMNS * height);
        text += &format!("<g transform=\"translate({x} {y})\">\n{panel}</g>\n");
    }
    text + "</svg>\n"
}

fn panel(results: &Results, cell: &Cell, figure: &Figure, outcomes: &[Outcome]) -> String {
    let bar = |(stack, outcome): (&'_ crate::stacks::Stack, &Outcome)| Bar {
        name: stack.name,
        family: stack.family,
        value: outcome.median(figure).filter(|value| *value > 0.0),
    };
    let bars: Vec<_> = results.stacks.iter().zip(outcomes).map(bar).collect();
    let better = match figure.better {
        Better::More => "more is better",
        Better::Less => "less is better",
    };
    let title = escape(&format!("{}: {} ({better})", cell.title, figure.unit));
    let mut text = format!("<text x=\"8\" y=\"20\" font-weight=\"bold\">{title}</text>\n");
    let values: Vec<_> = bars.iter().filter_map(|bar| bar.value).collect();
    for (at, bar) in bars.iter().enumerate() {
        let y = HEAD + at * ROW;
        let base = y + 12;
        text += &format!(
            "<text x=\"{}\" y=\"{base}\" text-anchor=\"end\">{}</text>\n",
            NAMES - 6,
            escape(bar.name)
        );
        let (length, label) = match bar.value {
            Some(value) => (length(value, &values), short(value)),
            None => (0.0, "–".to_owned()),
        };
        let colour = colour(bar.family);
        text += &format!(
            "<rect x=\"{NAMES}\" y=\"{}\" width=\"{length:.1}\" height=\"{}\" fill=\"{colour}\"/>\n",
            y + 2,
            ROW - 5
        );
        let x = NAMES as f64 + length + 4.0;
        text += &format!("<text x=\"{x:.1}\" y=\"{base}\">{label}</text>\n");
    }
    text
}

/// Of a bar, from a tenth of the least value to the greatest.
fn length(value: f64, all: &[f64]) -> f64 {
    let least = all.iter().copied().fold(f64::INFINITY, f64::min) / 10.0;
    let most = all.iter().copied().fold(0.0, f64::max);
    BARS as f64 * (value / least).ln() / (most / least).ln()
}

fn colour(family: Family) -> &'static str {
    match family {
        Family::Peerloom => "#c0392b",
        Family::WebRtc => "#7f8fa6",
        Family::Quic => "#40739e",
        Family::Limit => "#bbbbbb",
    }
}

fn escape(text: &str) -> String {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    text.replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_grow_with_the_logarithm() {
        let all = [1.0, 10.0, 100.0];
        assert!((length(100.0, &all) - BARS as f64).abs() < 1e-9);
        assert!((length(1.0, &all) - BARS as f64 / 3.0).abs() < 1e-9);
        // The only one fills the panel.
        assert!((length(5.0, &[5.0]) - BARS as f64).abs() < 1e-9);
    }

    #[test]
    fn names_do_not_break_the_file() {
        assert_eq!(escape("a<b & c>d"), "a&lt;b &amp; c&gt;d");
    }
}
