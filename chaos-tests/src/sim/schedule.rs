//! What is done to whom and when: a scenario with all its dice thrown.
//!
//! A schedule is what is replayed. It names every node that dies, every side
//! of a partition and every author of a broadcast, so a run needs nothing but
//! it and the seed for the network's and the nodes' own chances.

use serde::{Deserialize, Serialize};

use super::net::{Shape, Weather};
use super::trace::seconds;
use crate::scenario::{Scenario, ScenarioError};

/// The form of schedule files that this program writes and reads.
pub const SCHEMA: u32 = 1;

/// A scenario, made definite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// [`SCHEMA`].
    pub schema: u32,
    /// For all the dice that remain.
    pub seed: u64,
    /// What it was made from: network, goals and phases are taken from here.
    pub scenario: Scenario,
    /// When each phase ends, in milliseconds.
    pub ends: Vec<u64>,
    /// In order of time.
    pub actions: Vec<Timed>,
}

/// Why a file is no schedule.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScheduleError {
    /// Not JSON, or not a schedule.
    #[error("not a schedule")]
    Json(#[from] serde_json::Error),
    /// Written for another version.
    #[error("schema {found}, this program reads {SCHEMA}")]
    Schema {
        /// The file's.
        found: u32,
    },
    /// Its scenario makes no sense.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
}

impl Schedule {
    /// Reads a schedule.
    pub fn from_json(text: &str) -> Result<Self, ScheduleError> {
        let schedule: Schedule = serde_json::from_str(text)?;
        if schedule.schema != SCHEMA {
            return Err(ScheduleError::Schema {
                found: schedule.schema,
            });
        }
        schedule.scenario.check()?;
        Ok(schedule)
    }

    /// How long it is, in seconds.
    pub fn seconds(&self) -> f64 {
        seconds(self.ends.last().copied().unwrap_or(0))
    }
}

/// One action and its time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Timed {
    /// Milliseconds after the start.
    pub at: u64,
    /// What is done.
    #[serde(rename = "do")]
    pub action: Action,
}

/// How a node behaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// As it should.
    #[default]
    Honest,
    /// Half a second behind in everything.
    Slow,
    /// Names peers that do not exist.
    LieShuffle,
    /// Sends nobody's broadcasts but its own.
    DropForwards,
    /// Names only others of its kind, all the time.
    Sybil,
}

/// Something that is done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Action {
    /// Nodes start, knowing these contacts; `disk` gives them their anchors.
    Start {
        /// Who.
        nodes: Vec<u32>,
        /// Whom they know.
        contacts: Vec<u32>,
        /// Whether what they had on disk is still there.
        disk: bool,
    },
    /// Nodes die without a word.
    Kill {
        /// Who.
        nodes: Vec<u32>,
    },
    /// A partition begins.
    Cut {
        /// Its kind.
        shape: Shape,
        /// Its sides.
        groups: Vec<Vec<u32>>,
    },
    /// All partitions end, the weather is the scenario's again, and everybody
    /// behaves.
    Heal,
    /// The network changes for all.
    Weather(Weather),
    /// Clocks jump ahead and run fast or slow from now on.
    Clock {
        /// Whose.
        nodes: Vec<u32>,
        /// Milliseconds ahead.
        jump: u32,
        /// Parts in a million fast.
        drift: i32,
    },
    /// Nodes behave in another way.
    Act {
        /// Who.
        nodes: Vec<u32>,
        /// How.
        act: Act,
    },
    /// A node broadcasts.
    Say {
        /// Who.
        node: u32,
    },
    /// A node begins a session with another.
    Call {
        /// Who.
        from: u32,
        /// With whom.
        to: u32,
    },
}
