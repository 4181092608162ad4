//! Whether what came out of a check is what was expected of it.

use std::collections::BTreeMap;

/// What is expected of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// It passes.
    Works,
    /// It is not run: the other side has no such feature.
    Absent,
    /// It fails, through the other side's fault.
    Fails,
    /// It fails now and then, through the other side's fault. It is run several times.
    AtTimes,
}

impl Verdict {
    /// Whether a check went as expected. `failure` is what it said, if it failed; it is the known fault if
    /// its first line has one of `symptoms`. `all_passed`: no check of its session failed.
    pub(crate) fn expects(
        self,
        failure: Option<&str>,
        symptoms: &[&str],
        all_passed: bool,
    ) -> bool {
        match (failure, self) {
            (None, Self::Works | Self::Absent | Self::AtTimes) => true,
            (Some(_), Self::Works | Self::Absent) => false,
            (None, Self::Fails) => !all_passed,
            (Some(problem), Self::Fails | Self::AtTimes) => {
                let first = problem.lines().next().unwrap_or_default();
                symptoms.iter().any(|symptom| first.contains(symptom))
            }
        }
    }
}

/// How often sessions passed that may fail at times: what fails each time does not.
#[derive(Debug, Default)]
pub(crate) struct Tries(BTreeMap<String, u32>);

impl Tries {
    /// A session came to its end.
    pub(crate) fn add(&mut self, name: String, passed: bool) {
        *self.0.entry(name).or_default() += u32::from(passed);
    }

    /// Whether this one was tried, and failed each time.
    pub(crate) fn never_passed(&self, name: &str) -> bool {
        self.0.get(name) == Some(&0)
    }

    /// All that failed each time.
    pub(crate) fn never(&self) -> impl Iterator<Item = &str> {
        let never = self.0.iter().filter(|(_, passed)| **passed == 0);
        never.map(|(name, _)| name.as_str())
    }
}
