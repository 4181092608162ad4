//! Scenarios: what befalls a mesh, and what it has to bear. As TOML, one file
//! each; `docs/chaos.md` describes the format for its users.

mod expand;
mod goal;
mod units;

use peerloom_mesh_proto::envelope::{MAX_CANDIDATES, MAX_SDP};
use serde::{Deserialize, Serialize};

pub use goal::{Goal, Sometimes};
pub use units::{Part, Range, Span};

use crate::sim::net::{Shape, Transport};
use crate::sim::schedule::Act;

/// The form of scenario files that this program reads.
pub const SCHEMA: u32 = 1;
/// Most nodes of a scenario.
pub const MAX_NODES: u32 = 200_000;

/// A scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// What it is.
    pub meta: Meta,
    /// Who takes part.
    pub nodes: Nodes,
    /// The network in good times.
    #[serde(default)]
    pub net: Net,
    /// What is said.
    #[serde(default)]
    pub workload: Workload,
    /// One after the other.
    #[serde(rename = "phase", default)]
    pub phases: Vec<Phase>,
    /// What has to be reached.
    #[serde(rename = "goal", default)]
    pub goals: Vec<Goal>,
    /// Things that have to happen at least once, or the scenario tests less
    /// than it should.
    #[serde(default)]
    pub sometimes: Vec<Sometimes>,
}

/// Name and defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    /// A short name.
    pub name: String,
    /// [`SCHEMA`].
    pub schema: u32,
    /// The seed, unless another is asked for.
    #[serde(default = "one")]
    pub seed: u64,
    /// What it shows.
    #[serde(default)]
    pub about: String,
}

fn one() -> u64 {
    1
}

/// Who takes part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Nodes {
    /// How many.
    pub count: u32,
    /// The first so many are what everybody knows at first.
    #[serde(default = "one_contact")]
    pub contacts: u32,
    /// All start within this time.
    #[serde(default = "ten_seconds")]
    pub join: Span,
    /// Part that are browsers.
    #[serde(default)]
    pub browsers: Part,
    /// Part that are super-peers.
    #[serde(default)]
    pub supers: Part,
}

fn one_contact() -> u32 {
    1
}

fn ten_seconds() -> Span {
    Span(10_000)
}

/// The network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Net {
    /// One way; without it nodes are spread over a plane.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency: Option<Range>,
    /// Up to so much more, each time anew.
    #[serde(default)]
    pub jitter: Span,
    /// Packets lost.
    #[serde(default)]
    pub loss: Part,
    /// Messages that come twice (datagrams).
    #[serde(default)]
    pub duplicate: Part,
    /// Messages that take three times as long (datagrams).
    #[serde(default)]
    pub reorder: Part,
    /// What links are made of.
    #[serde(default = "stream")]
    pub transport: Transport,
}

fn stream() -> Transport {
    Transport::Stream
}

impl Default for Net {
    fn default() -> Self {
        Net {
            latency: None,
            jitter: Span(0),
            loss: Part(0.0),
            duplicate: Part(0.0),
            reorder: Part(0.0),
            transport: Transport::Stream,
        }
    }
}

/// What is said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Workload {
    /// Pause between two broadcasts, whoever makes them.
    #[serde(default = "second")]
    pub every: Span,
    /// Bytes of each.
    #[serde(default = "bytes")]
    pub size: u32,
    /// All broadcasts by one node, rather than each by another.
    #[serde(default)]
    pub single: bool,
    /// Sessions between random pairs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sessions: Option<Sessions>,
}

/// Sessions: an offer, an answer, and candidates from both sides, as envelopes
/// that are routed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sessions {
    /// Pause between two sessions, whoever begins them.
    pub every: Span,
    /// Bytes of a description, which an offer and an answer hold.
    #[serde(default = "bytes")]
    pub description: u32,
    /// Part of all frames with envelopes and acknowledgements that is lost,
    /// whatever links are made of.
    #[serde(default)]
    pub lost: Part,
    /// Letters of candidates from each side.
    #[serde(default = "one_letter")]
    pub letters: u32,
    /// Candidates in each.
    #[serde(default = "two_candidates")]
    pub candidates: u32,
}

fn one_letter() -> u32 {
    1
}

fn two_candidates() -> u32 {
    2
}

fn second() -> Span {
    Span(1_000)
}

fn bytes() -> u32 {
    200
}

impl Default for Workload {
    fn default() -> Self {
        Workload {
            every: second(),
            size: bytes(),
            single: false,
            sessions: None,
        }
    }
}

/// A stretch of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Goals name it.
    pub name: String,
    /// How long.
    #[serde(rename = "for")]
    pub lasts: Span,
    /// What befalls the mesh when it begins.
    #[serde(rename = "fault", default)]
    pub faults: Vec<Fault>,
    /// Whether partitions, weather and misbehaviour end when it begins.
    #[serde(default)]
    pub heal: bool,
    /// Nodes come and go as long as it lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub churn: Option<Churn>,
}

/// Coming and going.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Churn {
    /// Median length of a session.
    pub median: Span,
    /// Shape of the Weibull distribution of session lengths: below 1, many
    /// short ones and a few long.
    #[serde(default = "weibull")]
    pub shape: f64,
    /// For how long a node is away.
    #[serde(default = "away")]
    pub downtime: Range,
    /// Part of the nodes that come back with what they had on disk; the
    /// others know the first contacts only.
    #[serde(default = "most")]
    pub remember: Part,
}

fn weibull() -> f64 {
    0.6
}

fn away() -> Range {
    Range(Span(1_000), Span(30_000))
}

fn most() -> Part {
    Part(0.8)
}

/// Something that befalls the mesh.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Fault {
    /// Nodes die at once, without a word.
    Kill {
        /// Part of the living.
        pick: Part,
        /// They start again after this; never, without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        restart: Option<Range>,
        /// Whether they have nothing but their disk then, or nothing but the
        /// first contacts.
        #[serde(default)]
        disk: Disk,
    },
    /// Groups cannot reach each other.
    Partition {
        /// Parts of all nodes; what is left over is one more group, unless
        /// nothing is.
        groups: Vec<Part>,
        /// How the groups are cut off.
        shape: Shape,
    },
    /// The network changes.
    Weather {
        /// Packets lost.
        #[serde(default)]
        loss: Part,
        /// Up to so much later.
        #[serde(default)]
        jitter: Span,
        /// Messages that come twice (datagrams).
        #[serde(default)]
        duplicate: Part,
        /// Messages that overtake each other (datagrams).
        #[serde(default)]
        reorder: Part,
    },
    /// Clocks go wrong.
    Clock {
        /// Part of the living.
        pick: Part,
        /// They jump ahead by up to this.
        #[serde(default)]
        jump: Span,
        /// And run fast by this many parts in a million; slow, if negative.
        #[serde(default)]
        drift: i32,
    },
    /// Nodes misbehave.
    Peer {
        /// Part of the living.
        pick: Part,
        /// How.
        act: Act,
    },
}

/// What is left of a node's disk.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Disk {
    /// It is as it was, and it is all the node knows: the first contacts are
    /// gone.
    #[default]
    Only,
    /// It is empty.
    Lost,
}

/// Why a scenario cannot be run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScenarioError {
    /// Not TOML, or not a scenario.
    #[error("not a scenario")]
    Toml(#[from] toml::de::Error),
    /// Written for another version.
    #[error("schema {found}, this program reads {expected}")]
    Schema {
        /// The file's.
        found: u32,
        /// This program's.
        expected: u32,
    },
    /// It makes no sense.
    #[error("{0}")]
    Senseless(String),
}

impl Scenario {
    /// Reads a scenario; unknown keys are errors.
    pub fn from_toml(text: &str) -> Result<Self, ScenarioError> {
        let scenario: Scenario = toml::from_str(text)?;
        if scenario.meta.schema != SCHEMA {
            return Err(ScenarioError::Schema {
                found: scenario.meta.schema,
                expected: SCHEMA,
            });
        }
        scenario.check()?;
        Ok(scenario)
    }

    /// The same with another number of nodes.
    pub fn with_nodes(mut self, count: u32) -> Result<Self, ScenarioError> {
        self.nodes.count = count;
        self.check()?;
        Ok(self)
    }

    /// Whether it makes sense.
    pub(crate) fn check(&self) -> Result<(), ScenarioError> {
        let senseless = |text: String| Err(ScenarioError::Senseless(text));
        let count = self.nodes.count;
        if !(2..=MAX_NODES).contains(&count) {
            return senseless(format!("{count} nodes: 2 to {MAX_NODES} can be"));
        }
        if self.nodes.contacts == 0 || self.nodes.contacts > count {
            return senseless("contacts have to be nodes, one at least".into());
        }
        if self.phases.is_empty() {
            return senseless("no [[phase]]: nothing would happen".into());
        }
        if self.workload.every.0 == 0 {
            return senseless("broadcasts every 0 ms".into());
        }
        if let Some(sessions) = &self.workload.sessions {
            let fits = sessions.every.0 > 0
                && sessions.description as usize <= MAX_SDP - 100
                && sessions.letters <= 8
                && sessions.candidates as usize <= MAX_CANDIDATES;
            if !fits {
                return senseless("sessions that do not fit into envelopes".into());
            }
        }
        if self.nodes.browsers.0 + self.nodes.supers.0 > 1.0 {
            return senseless("more browsers and super-peers than nodes".into());
        }
        for phase in &self.phases {
            phase.check()?;
        }
        let known = |goal: &Goal| self.phases.iter().any(|phase| phase.name == goal.phase());
        if let Some(goal) = self.goals.iter().find(|goal| !known(goal)) {
            return senseless(format!(
                "a goal names the phase {:?}, and none is called so",
                goal.phase()
            ));
        }
        Ok(())
    }
}

impl Phase {
    fn check(&self) -> Result<(), ScenarioError> {
        let senseless = |text: String| Err(ScenarioError::Senseless(text));
        if let Some(churn) = &self.churn
            && !(churn.shape > 0.0 && churn.shape <= 10.0 && churn.median.0 > 0)
        {
            return senseless(format!("churn of {:?} has no session lengths", self.name));
        }
        for fault in &self.faults {
            match fault {
                Fault::Partition { groups, .. } => {
                    let sum: f64 = groups.iter().map(|part| part.0).sum();
                    let most = crate::sim::net::MAX_SIDES - 1;
                    if groups.is_empty() || groups.len() > most || sum > 1.000_001 {
                        return senseless(format!("groups of {:?} are no partition", self.name));
                    }
                }
                Fault::Clock { drift, .. } if !(-900_000..=900_000).contains(drift) => {
                    return senseless(format!("no clock drifts by {drift} ppm"));
                }
                Fault::Kill { .. }
                | Fault::Weather { .. }
                | Fault::Clock { .. }
                | Fault::Peer { .. } => {}
            }
        }
        Ok(())
    }
}
