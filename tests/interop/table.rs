//! What is printed: a line per check as it ends, a table at the end.

use std::collections::BTreeMap;

use crate::cases::Case;
use crate::session::Outcome;

/// How often a check passed and how often it ran.
#[derive(Clone, Copy, Default)]
struct Tally {
    passed: u32,
    ran: u32,
}

pub(crate) struct Table {
    verbose: bool,
    /// Rows in the order of their first appearance.
    rows: Vec<(String, BTreeMap<String, Tally>)>,
    /// Columns likewise.
    columns: Vec<String>,
    skips: BTreeMap<String, Vec<String>>,
    /// What failed, and the first line of why.
    failures: Vec<(String, String)>,
}

impl Table {
    pub(crate) fn new(verbose: bool) -> Self {
        Self {
            verbose,
            rows: Vec::new(),
            columns: Vec::new(),
            skips: BTreeMap::new(),
            failures: Vec::new(),
        }
    }

    pub(crate) fn skip(&mut self, case: &Case, reason: &str) {
        let cases = self.skips.entry(reason.to_owned()).or_default();
        let name = case.to_string();
        if !cases.contains(&name) {
            cases.push(name);
        }
    }

    pub(crate) fn add(&mut self, case: &Case, outcomes: Vec<Outcome>) {
        let name = case.to_string();
        for outcome in outcomes {
            let Outcome {
                check,
                took,
                result,
            } = outcome;
            let verdict = if result.is_ok() { "ok" } else { "FAILED" };
            println!("{name}  {check}  {verdict}  {:.2} s", took.as_secs_f64());
            if self.verbose
                && let Ok(detail) = &result
            {
                println!("    {detail}");
            }
            let tally = self.tally(&name, &check);
            tally.ran += 1;
            tally.passed += u32::from(result.is_ok());
            if let Err(problem) = result {
                // At once and in full: a long run may be cut short.
                println!("{problem}");
                let first = problem.lines().next().unwrap_or_default();
                self.failures
                    .push((format!("{name} {check}"), first.to_owned()));
            }
        }
    }

    fn tally(&mut self, name: &str, check: &str) -> &mut Tally {
        if !self.columns.iter().any(|column| column == check) {
            self.columns.push(check.to_owned());
        }
        let row = match self.rows.iter().position(|(row, _)| row == name) {
            Some(row) => row,
            None => {
                self.rows.push((name.to_owned(), BTreeMap::new()));
                self.rows.len() - 1
            }
        };
        self.rows[row].1.entry(check.to_owned()).or_default()
    }

    pub(crate) fn failed(&self) -> bool {
        !self.failures.is_empty()
    }

    pub(crate) fn skipped(&self) -> bool {
        !self.skips.is_empty()
    }

    pub(crate) fn print(&self) {
        for (what, problem) in &self.failures {
            println!("FAILED {what}: {problem}");
        }
        self.print_rows();
        for (reason, cases) in &self.skips {
            println!("SKIPPED: {reason}");
            for case in cases {
                println!("    {case}");
            }
        }
    }

    fn print_rows(&self) {
        let width = self
            .rows
            .iter()
            .map(|(name, _)| name.len())
            .max()
            .unwrap_or(0);
        let head: Vec<String> = self
            .columns
            .iter()
            .map(|column| format!("{column:>8}"))
            .collect();
        println!("\n{:width$}  {}", "driver>responder", head.join("  "));
        for (name, tallies) in &self.rows {
            let cells = self.columns.iter().map(|column| {
                let text = match tallies.get(column) {
                    None => "-".to_owned(),
                    Some(tally) if tally.ran == 1 && tally.passed == 1 => "ok".to_owned(),
                    Some(tally) if tally.ran == 1 => "FAILED".to_owned(),
                    Some(tally) => format!("{}/{}", tally.passed, tally.ran),
                };
                format!("{text:>0$}", column.len().max(8))
            });
            println!("{name:width$}  {}", cells.collect::<Vec<_>>().join("  "));
        }
    }
}
