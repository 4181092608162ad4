//! The table: medians, and how many times better Peerloom is.

use serde_json::Value;

use crate::cells::{Better, Cell, Figure};
use crate::compare::Results;
use crate::outcome::{Outcome, times_better};
use crate::stacks::Family;

/// All of it, in Markdown: the table, who is ahead of whom, and what is missing.
pub(crate) fn markdown(results: &Results) -> String {
    let mut text = String::from("| |");
    let mut rule = String::from("\n| --- |");
    for cell in done(results) {
        let units: Vec<_> = cell.figures.iter().map(|figure| figure.unit).collect();
        text += &format!(" {}: {} |", cell.title, units.join("; "));
        rule += " --- |";
    }
    text += &rule;
    for (at, stack) in results.stacks.iter().enumerate() {
        text += &format!("\n| {} |", stack.name);
        for (cell, outcomes) in done(results).zip(&results.outcomes) {
            text += &format!(" {} |", entry(cell, &outcomes[at], outcomes.first()));
        }
    }
    text += "\n\nIn brackets: how many times better the first row is. Medians of the runs.\n";
    text += &summary(results);
    text += &notes(results);
    text
}

fn done(results: &Results) -> impl Iterator<Item = &Cell> {
    results.cells.iter().take(results.outcomes.len())
}

/// The figures of one cell by one stack.
fn entry(cell: &Cell, outcome: &Outcome, first: Option<&Outcome>) -> String {
    if outcome.runs.is_empty() {
        return outcome
            .miss
            .as_ref()
            .map_or_else(String::new, |miss| miss.short());
    }
    let one = |figure: &Figure| {
        let Some(value) = outcome.median(figure) else {
            return "–".to_owned();
        };
        let ours = first.and_then(|first| first.median(figure));
        let ratio = ours.and_then(|ours| times_better(ours, value, figure.better));
        match ratio {
            Some(ratio) if figure.compared => format!("{} ({}×)", short(value), short(ratio)),
            _ => short(value),
        }
    };
    let figures: Vec<_> = cell.figures.iter().map(one).collect();
    let missed = outcome.miss.is_some();
    figures.join("; ") + if missed { " *" } else { "" }
}

/// For each figure that is compared: every Peerloom beside the best of each family.
fn summary(results: &Results) -> String {
    let mut text = String::from("\n| figure | | best WebRTC rival | best QUIC rival | limit |");
    text += "\n| --- | --- | --- | --- | --- |";
    for (cell, outcomes) in done(results).zip(&results.outcomes) {
        for figure in cell.figures.iter().filter(|figure| figure.compared) {
            for (stack, outcome) in results.stacks.iter().zip(outcomes) {
                let ours = outcome.median(figure);
                if let Some(ours) = ours.filter(|_| stack.family == Family::Peerloom) {
                    let (name, value) = (stack.name, short(ours));
                    text += &format!("\n| {}: {} | {name} {value}", cell.title, figure.unit);
                    text += &beside(results, outcomes, figure, ours);
                }
            }
        }
    }
    text + "\n"
}

/// The best of each family, and how many times better ours is.
fn beside(results: &Results, outcomes: &[Outcome], figure: &Figure, ours: f64) -> String {
    let mut text = String::new();
    for family in [Family::WebRtc, Family::Quic, Family::Limit] {
        let best = best(results, outcomes, figure, family);
        text += &best.map_or(" | –".to_owned(), |(name, value)| {
            let ratio = times_better(ours, value, figure.better).unwrap_or(f64::NAN);
            format!(" | {name} {} ({}×)", short(value), short(ratio))
        });
    }
    text + " |"
}

fn best<'a>(
    results: &'a Results,
    outcomes: &[Outcome],
    figure: &Figure,
    family: Family,
) -> Option<(&'a str, f64)> {
    let all = results.stacks.iter().zip(outcomes);
    let theirs = all
        .filter(|(stack, _)| stack.family == family)
        .filter_map(|(stack, outcome)| Some((stack.name, outcome.median(figure)?)));
    match figure.better {
        Better::More => theirs.max_by(|a, b| a.1.total_cmp(&b.1)),
        Better::Less => theirs.min_by(|a, b| a.1.total_cmp(&b.1)),
    }
}

/// Why figures are missing.
fn notes(results: &Results) -> String {
    let mut text = String::new();
    for (at, stack) in results.stacks.iter().enumerate() {
        let mut told = Vec::new();
        for (cell, outcomes) in done(results).zip(&results.outcomes) {
            if let Some(miss) = &outcomes[at].miss {
                let why = miss.long();
                if !told.contains(&why) {
                    text += &format!("\n* {}, {}: {why}", stack.name, cell.id);
                    told.push(why);
                }
            }
        }
    }
    if text.is_empty() { text } else { text + "\n" }
}

/// The figures of one run, for whoever watches.
pub(crate) fn plain(run: &Value, figures: &[Figure]) -> String {
    let one = |figure: &Figure| {
        let value = (figure.of)(run).map_or("–".to_owned(), short);
        format!("{value} {}", figure.unit)
    };
    figures.iter().map(one).collect::<Vec<_>>().join(", ")
}

/// Three digits that count, none behind the point from a hundred on.
pub(crate) fn short(value: f64) -> String {
    match value.abs() {
        0.0 => "0".to_owned(),
        size if size < 0.1 => format!("{value:.3}"),
        size if size < 9.995 => format!("{value:.2}"),
        size if size < 99.95 => format!("{value:.1}"),
        _ => thousands(value),
    }
}

fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cells;
    use crate::outcome::Miss;
    use crate::stacks;

    fn ran(rates: &[f64]) -> Outcome {
        let run = |rate: &f64| json!({"bytes": rate * 1e6, "seconds": 1.0, "cpu": 1.0});
        Outcome {
            runs: rates.iter().map(run).collect(),
            miss: None,
        }
    }

    fn results(outcomes: Vec<Outcome>) -> Results {
        let keys = ["peerloom", "str0m", "libp2p-quic", "limit"].map(str::to_owned);
        Results {
            stacks: stacks::chosen(&keys).expect("they exist"),
            cells: cells::chosen(&["W1-16".to_owned()]).expect("it exists"),
            outcomes: vec![outcomes],
        }
    }

    #[test]
    fn rows_have_medians_and_ratios() {
        let outcomes = vec![
            ran(&[900.0, 1000.0, 800.0]),
            ran(&[45.0]),
            ran(&[300.0, 300.0]),
            ran(&[1800.0]),
        ];
        let text = markdown(&results(outcomes));
        assert!(
            text.contains("| Peerloom (SCTP) | 900 (1.00×); 1.11 (1.00×) |"),
            "{text}"
        );
        assert!(
            text.contains("| str0m 0.25 | 45.0 (20.0×); 22.2 (20.0×) |"),
            "{text}"
        );
        let summary = "| W1 16 KiB: MB/s | Peerloom (SCTP) 900 | str0m 0.25 45.0 (20.0×) \
                       | libp2p-quic 0.14 300 (3.00×) | UDP, AES-128-GCM 1,800 (0.50×) |";
        assert!(text.contains(summary), "{text}");
    }

    #[test]
    fn what_is_missing_is_told() {
        let missing = |miss| Outcome {
            runs: Vec::new(),
            miss: Some(miss),
        };
        let partly = Outcome {
            miss: Some(Miss::Failed("a panic".into())),
            ..ran(&[300.0])
        };
        let skipped = missing(Miss::Skipped("build it".into()));
        let text = markdown(&results(vec![
            ran(&[900.0]),
            skipped,
            partly,
            missing(Miss::Killed(17)),
        ]));
        assert!(text.contains("| str0m 0.25 | SKIPPED |"), "{text}");
        assert!(text.contains("300 (3.00×); 3.33 (3.00×) * |"), "{text}");
        assert!(
            text.contains("| UDP, AES-128-GCM | killed after 17 s |"),
            "{text}"
        );
        assert!(
            text.contains("* str0m 0.25, W1-16: SKIPPED: build it"),
            "{text}"
        );
        assert!(
            text.contains("* libp2p-quic 0.14, W1-16: failed: a panic"),
            "{text}"
        );
    }

    #[test]
    fn figures_have_the_digits_that_count() {
        let texts = [1234567.0, 2380.4, 99.96, 34.04, 4.8, 0.74, 0.0123, 0.0].map(short);
        let wanted = [
            "1,234,567",
            "2,380",
            "100",
            "34.0",
            "4.80",
            "0.74",
            "0.012",
            "0",
        ];
        assert_eq!(texts, wanted);
    }
}
