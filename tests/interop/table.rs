//! What is printed: a line per check as it ends, a table at the end.

use std::collections::BTreeMap;

use crate::cases::Case;
use crate::judge::{Tries, Verdict};
use crate::matrix::Matrix;
use crate::session::Outcome;

/// How often a check went as expected and how often it ran.
#[derive(Clone, Copy, Default)]
struct Tally {
    good: u32,
    ran: u32,
}

pub(crate) struct Table {
    verbose: bool,
    /// Rows in the order of the cases.
    rows: Vec<(String, BTreeMap<String, Tally>)>,
    /// Columns in the order of their first appearance.
    columns: Vec<String>,
    skips: BTreeMap<String, Vec<String>>,
    /// What went otherwise than expected, and the first line of why.
    failures: Vec<(String, String)>,
    /// How often sessions passed of which each may fail.
    at_times: Tries,
    pub(crate) matrix: Matrix,
}

impl Table {
    /// A table of these cases.
    pub(crate) fn new(cases: &[Case], verbose: bool) -> Self {
        let mut rows: Vec<_> = cases
            .iter()
            .map(|case| (case.to_string(), BTreeMap::new()))
            .collect();
        rows.dedup_by(|one, other| one.0 == other.0);
        Self {
            verbose,
            rows,
            columns: Vec::new(),
            skips: BTreeMap::new(),
            failures: Vec::new(),
            at_times: Tries::default(),
            matrix: Matrix::default(),
        }
    }

    pub(crate) fn skip(&mut self, case: &Case, reason: &str) {
        let name = case.to_string();
        self.rows.retain(|(row, _)| *row != name);
        self.skips.entry(reason.to_owned()).or_default().push(name);
    }

    pub(crate) fn add(&mut self, case: &Case, outcomes: Vec<Outcome>) {
        let ran_all = outcomes.iter().all(|outcome| outcome.result.is_ok());
        if case.verdict == Verdict::AtTimes {
            self.at_times.add(case.to_string(), ran_all);
        }
        for outcome in outcomes {
            // Only the check that the fault speaks of may fail.
            let known = case.checks.iter().any(|check| check.name == outcome.name);
            let verdict = if known { case.verdict } else { Verdict::Works };
            let failure = outcome.result.as_ref().err().map(String::as_str);
            let good = verdict.expects(failure, case.symptoms, ran_all);
            self.note(case, outcome, verdict, good);
        }
    }

    fn note(&mut self, case: &Case, outcome: Outcome, verdict: Verdict, good: bool) {
        let name = case.to_string();
        let Outcome {
            name: check_name,
            check,
            took,
            result,
        } = outcome;
        let word = match (result.is_ok(), good) {
            (true, true) => "ok",
            (true, false) => "PASSED, though known to fail",
            (false, true) => "failed, as known",
            (false, false) => "FAILED",
        };
        println!("{name}  {check}  {word}  {:.2} s", took.as_secs_f64());
        if self.verbose
            && let Ok(detail) = &result
        {
            println!("    {detail}");
        }
        let tally = self.tally(&name, &check);
        tally.ran += 1;
        tally.good += u32::from(good);
        self.matrix
            .add(case, check_name, result.is_ok(), good, verdict);
        let problem = result.err();
        if let Some(problem) = &problem
            && (self.verbose || !good)
        {
            // At once and in full: a long run may be cut short.
            println!("{problem}");
        }
        if !good {
            let why = problem.unwrap_or_else(|| "the known fault is gone".to_owned());
            let first = why.lines().next().unwrap_or_default().to_owned();
            self.failures.push((format!("{name} {check}"), first));
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

    /// Whether this case may fail at times, and has failed each time so far.
    pub(crate) fn never_passed(&self, case: &Case) -> bool {
        self.at_times.never_passed(&case.to_string())
    }

    /// What fails each time does not fail at times.
    pub(crate) fn judge_at_times(&mut self) {
        for name in self.at_times.never() {
            let why = "it never passed, though it is known to fail at times only";
            self.failures.push((name.to_owned(), why.to_owned()));
        }
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
                    Some(tally) if tally.ran == 1 && tally.good == 1 => "ok".to_owned(),
                    Some(tally) if tally.ran == 1 => "FAILED".to_owned(),
                    Some(tally) => format!("{}/{}", tally.good, tally.ran),
                };
                format!("{text:>0$}", column.len().max(8))
            });
            println!("{name:width$}  {}", cells.collect::<Vec<_>>().join("  "));
        }
    }
}
