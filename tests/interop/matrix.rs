//! The matrix of `docs/interop.md`: a row for each foreign peer, a column for
//! each thing that was tried, made of what the run saw.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::cases::Case;
use crate::faults::{self, Column};
use crate::judge::Verdict;
use crate::peers::Kind;

const BEGIN: &str = "<!-- The run writes this matrix: --write-table -->";
const END: &str = "<!-- The end of the matrix -->";

/// What a cell has seen so far.
#[derive(Default)]
struct Cell {
    /// Checks that went otherwise than expected.
    bad: u32,
    /// Checks that passed.
    passed: u32,
    /// Checks that failed, as known.
    failed: u32,
    /// Whether they are known to fail now and then.
    at_times: bool,
}

#[derive(Default)]
pub(crate) struct Matrix {
    cells: BTreeMap<(Kind, Column), Cell>,
}

impl Matrix {
    /// A check that passed or not, which was expected (`good`) or not.
    pub(crate) fn add(
        &mut self,
        case: &Case,
        check: &str,
        passed: bool,
        good: bool,
        verdict: Verdict,
    ) {
        let (Some(kind), Some(column)) = (case.foreign(), Column::of(case, check)) else {
            return;
        };
        let cell = self.cells.entry((kind, column)).or_default();
        cell.at_times |= verdict == Verdict::AtTimes;
        match (good, passed) {
            (false, _) => cell.bad += 1,
            (true, true) => cell.passed += 1,
            (true, false) => cell.failed += 1,
        }
    }

    /// The matrix and its notes, in Markdown; only the rows that were run.
    fn write(&self) -> String {
        let mut notes = Vec::new();
        let row = |cells: Vec<String>| format!("| {} |\n", cells.join(" | "));
        let headings = Column::ALL.map(|column| column.heading().to_owned());
        let mut text = row([vec![String::new()], headings.to_vec()].concat());
        text += &row(vec!["---".to_owned(); Column::ALL.len() + 1]);
        for kind in Kind::FOREIGN {
            if self.cells.keys().any(|(row, _)| *row == kind) {
                let cells = Column::ALL.map(|column| self.cell(kind, column, &mut notes));
                text += &row([vec![kind.to_string()], cells.to_vec()].concat());
            }
        }
        text.push('\n');
        for (number, note) in notes.iter().enumerate() {
            text += &format!("{}. {note}\n", number + 1);
        }
        text
    }

    /// `ok`, how many of how many passed, `part` or `theirs` (all fails), or a dash, with the numbers of the
    /// notes that say why.
    fn cell(&self, kind: Kind, column: Column, notes: &mut Vec<String>) -> String {
        let mut numbers = BTreeSet::new();
        for why in faults::of(kind, column) {
            let note = format!("{kind}: {why}");
            let known = notes.iter().position(|one| *one == note);
            let number = known.unwrap_or_else(|| {
                notes.push(note);
                notes.len() - 1
            });
            numbers.insert(number + 1);
        }
        let word = match self.cells.get(&(kind, column)) {
            None => "—",
            Some(cell) if cell.bad > 0 => "OURS?",
            Some(cell) if cell.at_times => {
                &format!("{} of {}", cell.passed, cell.passed + cell.failed)
            }
            Some(cell) if cell.failed == 0 => "ok",
            Some(cell) if cell.passed == 0 => "theirs",
            Some(_) => "part",
        };
        let numbers: Vec<String> = numbers.iter().map(usize::to_string).collect();
        match numbers.is_empty() {
            true => word.to_owned(),
            false => format!("{word} <sup>{}</sup>", numbers.join(" ")),
        }
    }

    /// Puts the matrix into the page.
    pub(crate) fn store(&self) -> Result<(), String> {
        let page = page()?;
        let (before, _, after) = parts(&page)?;
        let page = format!("{before}{BEGIN}\n\n{}\n{END}{after}", self.write());
        std::fs::write(path(), page).map_err(|error| error.to_string())
    }

    /// Whether the page has the matrix of this run.
    pub(crate) fn compare(&self) -> Result<(), String> {
        let page = page()?;
        let (_, there, _) = parts(&page)?;
        if uncounted(there) == uncounted(&self.write()) {
            return Ok(());
        }
        Err(format!(
            "docs/interop.md has another matrix; write this one with --write-table:\n{}",
            self.write()
        ))
    }
}

/// The matrix that a run of these cases without surprises writes.
pub(crate) fn expected(cases: &[Case]) -> String {
    let mut matrix = Matrix::default();
    for case in cases {
        for check in &case.checks {
            let passes = case.verdict != Verdict::Fails;
            matrix.add(case, check.name, passes, true, case.verdict);
        }
    }
    matrix.write()
}

/// The matrix without the numbers of what fails at times, which differ from run to run.
fn uncounted(matrix: &str) -> String {
    let counts = |words: &[&str]| {
        let number = |word: &str| word.parse::<u32>().is_ok();
        words.len() == 3 && number(words[0]) && words[1] == "of" && number(words[2])
    };
    let words: Vec<&str> = matrix.split_whitespace().collect();
    let mut text = String::new();
    let mut at = 0;
    while at < words.len() {
        let three = words.get(at..at + 3).is_some_and(counts);
        text += if three { "n of m" } else { words[at] };
        text.push(' ');
        at += if three { 3 } else { 1 };
    }
    text
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/interop.md")
}

fn page() -> Result<String, String> {
    std::fs::read_to_string(path()).map_err(|error| format!("docs/interop.md: {error}"))
}

/// What comes before the matrix, the matrix, and what comes after it.
fn parts(page: &str) -> Result<(&str, &str, &str), String> {
    let gone = || format!("docs/interop.md has no {BEGIN:?} followed by {END:?}");
    let (before, rest) = page.split_once(BEGIN).ok_or_else(gone)?;
    let (matrix, after) = rest.split_once(END).ok_or_else(gone)?;
    Ok((before, matrix, after))
}
