//! What came of the runs of one cell by one stack.

use serde_json::{Value, json};

use crate::cells::{Better, Figure};

/// A run that gave no figures.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Miss {
    /// The stack has no such thing.
    Unsupported(String),
    /// The program is not there.
    Skipped(String),
    /// It failed, with its own words.
    Failed(String),
    /// It was still running after so many seconds.
    Killed(u64),
}

impl Miss {
    /// For the table.
    pub(crate) fn short(&self) -> String {
        match self {
            Self::Unsupported(_) => "–".to_owned(),
            Self::Skipped(_) => "SKIPPED".to_owned(),
            Self::Failed(_) => "failed".to_owned(),
            Self::Killed(seconds) => format!("killed after {seconds} s"),
        }
    }

    /// For the notes below it.
    pub(crate) fn long(&self) -> String {
        match self {
            Self::Unsupported(why) => format!("not offered ({why})"),
            Self::Skipped(why) => format!("SKIPPED: {why}"),
            Self::Failed(why) => format!("failed: {why}"),
            Self::Killed(seconds) => format!("killed: it had not ended after {seconds} s"),
        }
    }
}

/// All runs of one cell by one stack.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) runs: Vec<Value>,
    /// The last that gave no figures.
    pub(crate) miss: Option<Miss>,
}

impl Outcome {
    /// The median over its runs.
    pub(crate) fn median(&self, figure: &Figure) -> Option<f64> {
        median(self.runs.iter().filter_map(figure.of).collect())
    }

    /// For the report.
    pub(crate) fn json(&self, figures: &[Figure]) -> Value {
        let medians: serde_json::Map<_, _> = figures
            .iter()
            .filter_map(|figure| Some((figure.unit.to_owned(), json!(self.median(figure)?))))
            .collect();
        json!({
            "runs": self.runs,
            "medians": medians,
            "miss": self.miss.as_ref().map(Miss::long),
        })
    }
}

/// The middle value, or the mean of both.
pub(crate) fn median(mut values: Vec<f64>) -> Option<f64> {
    values.retain(|value| value.is_finite());
    values.sort_by(f64::total_cmp);
    let (upper, lower) = (values.len() / 2, values.len().checked_sub(1)? / 2);
    Some((values[lower] + values[upper]) / 2.0)
}

/// How many times better `ours` is than `theirs`.
pub(crate) fn times_better(ours: f64, theirs: f64, better: Better) -> Option<f64> {
    let ratio = match better {
        Better::More => ours / theirs,
        Better::Less => theirs / ours,
    };
    ratio.is_finite().then_some(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one() {
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(vec![7.0]), Some(7.0));
        assert_eq!(median(vec![f64::NAN, 7.0]), Some(7.0));
        assert_eq!(median(Vec::new()), None);
    }

    #[test]
    fn ratios_tell_how_many_times_better_the_first_is() {
        assert_eq!(times_better(900.0, 45.0, Better::More), Some(20.0));
        assert_eq!(times_better(2.0, 34.0, Better::Less), Some(17.0));
        assert_eq!(times_better(2.0, 0.0, Better::More), None);
    }
}
