//! Throwing a scenario's dice: who, when, which side.

use rand::RngExt as _;
use rand::seq::SliceRandom as _;

use super::{Churn, Disk, Fault, Net, Part, Phase, Range, Scenario};
use crate::sim::dice::{Dice, Stream};
use crate::sim::net::{Latency, Weather};
use crate::sim::schedule::{Action, SCHEMA, Schedule, Timed};
use crate::sim::trace::seconds;
use peerloom_mesh_proto::overlay::Class;

/// Nodes speak once they have lived this long.
const SPEAKING_AGE: u64 = 3_000;

impl Net {
    /// The network at the start.
    pub(crate) fn weather(&self) -> Weather {
        let millis = |span: super::Span| u32::try_from(span.0).unwrap_or(u32::MAX / 8);
        Weather {
            latency: self
                .latency
                .map_or(Latency::Wide, |Range(least, most)| Latency::Between {
                    least: millis(least),
                    most: millis(most),
                }),
            jitter: millis(self.jitter),
            loss: self.loss.0,
            duplicate: self.duplicate.0,
            reorder: self.reorder.0,
            transport: self.transport,
        }
    }
}

impl Scenario {
    /// Makes everything definite.
    pub fn schedule(&self, seed: u64) -> Schedule {
        let mut draft = Draft {
            scenario: self,
            seed,
            dice: Dice::new(seed, u32::MAX, 0, Stream::Schedule),
            actions: Vec::new(),
        };
        draft.join();
        let mut ends = Vec::new();
        let mut at = 0;
        for phase in &self.phases {
            draft.phase(phase, at);
            at += phase.lasts.0;
            ends.push(at);
        }
        draft.actions.retain(|timed| timed.at < at);
        draft.actions.sort_by_key(|timed| timed.at);
        draft.speak(at);
        draft.call(at);
        Schedule {
            schema: SCHEMA,
            seed,
            scenario: self.clone(),
            ends,
            actions: draft.actions,
        }
    }

    /// What each node is, by the same lot for every seed.
    pub(crate) fn classes(&self) -> Vec<Class> {
        let (browsers, supers) = (self.nodes.browsers.0, self.nodes.supers.0);
        let class = |node| {
            let lot = Dice::new(0, node, 0, Stream::Place).unit();
            if lot < browsers {
                Class::Browser
            } else if lot < browsers + supers {
                Class::Super
            } else {
                Class::Native
            }
        };
        (0..self.nodes.count).map(class).collect()
    }
}

struct Draft<'a> {
    scenario: &'a Scenario,
    seed: u64,
    dice: Dice,
    actions: Vec<Timed>,
}

impl Draft<'_> {
    fn push(&mut self, at: u64, action: Action) {
        self.actions.push(Timed { at, action });
    }

    fn contacts(&self) -> Vec<u32> {
        (0..self.scenario.nodes.contacts).collect()
    }

    /// Contacts start first, everybody else at a random moment.
    fn join(&mut self) {
        let (contacts, join) = (self.contacts(), self.scenario.nodes.join.0);
        for node in 0..self.scenario.nodes.count {
            let first = node < self.scenario.nodes.contacts;
            let at = if first {
                0
            } else {
                self.dice.random_range(0..=join)
            };
            let start = Action::Start {
                nodes: vec![node],
                contacts: contacts.clone(),
                disk: false,
            };
            self.push(at, start);
        }
    }

    /// Who lives at `at`, by the actions so far.
    fn living(&self, at: u64) -> Vec<u32> {
        let mut order: Vec<&Timed> = self.actions.iter().filter(|timed| timed.at <= at).collect();
        order.sort_by_key(|timed| timed.at);
        let mut alive = Population::new(self.scenario.nodes.count);
        for timed in order {
            alive.apply(timed);
        }
        alive
            .since
            .iter()
            .zip(0..)
            .filter_map(|(since, node)| since.map(|_| node))
            .collect()
    }

    fn pick(&mut self, part: Part, at: u64) -> Vec<u32> {
        let mut living = self.living(at);
        living.shuffle(&mut self.dice);
        living.truncate(share(living.len(), part));
        living.sort_unstable();
        living
    }

    fn phase(&mut self, phase: &Phase, at: u64) {
        if phase.heal {
            self.push(at, Action::Heal);
        }
        for fault in &phase.faults {
            self.fault(fault, at);
        }
        if let Some(churn) = &phase.churn {
            self.churn(churn, at, at + phase.lasts.0);
        }
    }

    fn fault(&mut self, fault: &Fault, at: u64) {
        match fault {
            Fault::Kill {
                pick,
                restart,
                disk,
            } => self.kill(*pick, *restart, *disk, at),
            Fault::Partition { groups, shape } => {
                let groups = self.groups(groups);
                self.push(
                    at,
                    Action::Cut {
                        shape: *shape,
                        groups,
                    },
                );
            }
            Fault::Weather {
                loss,
                jitter,
                duplicate,
                reorder,
            } => {
                let net = Net {
                    loss: *loss,
                    jitter: *jitter,
                    duplicate: *duplicate,
                    reorder: *reorder,
                    ..self.scenario.net.clone()
                };
                self.push(at, Action::Weather(net.weather()));
            }
            Fault::Clock { pick, jump, drift } => {
                for node in self.pick(*pick, at) {
                    let most = u32::try_from(jump.0).unwrap_or(u32::MAX);
                    let jump = self.dice.random_range(0..=most);
                    let clock = Action::Clock {
                        nodes: vec![node],
                        jump,
                        drift: *drift,
                    };
                    self.push(at, clock);
                }
            }
            Fault::Peer { pick, act } => {
                let nodes = self.pick(*pick, at);
                self.push(at, Action::Act { nodes, act: *act });
            }
        }
    }

    fn kill(&mut self, pick: Part, restart: Option<Range>, disk: Disk, at: u64) {
        let nodes = self.pick(pick, at);
        let contacts = match disk {
            Disk::Only => Vec::new(),
            Disk::Lost => self.contacts(),
        };
        self.push(
            at,
            Action::Kill {
                nodes: nodes.clone(),
            },
        );
        let Some(restart) = restart else { return };
        for node in nodes {
            let after = between(restart, &mut self.dice).max(1);
            let start = Action::Start {
                nodes: vec![node],
                contacts: contacts.clone(),
                disk: disk == Disk::Only,
            };
            self.push(at + after, start);
        }
    }

    fn groups(&mut self, parts: &[Part]) -> Vec<Vec<u32>> {
        let count = self.scenario.nodes.count;
        let mut nodes: Vec<u32> = (0..count).collect();
        nodes.shuffle(&mut self.dice);
        let total = nodes.len();
        let mut groups = Vec::new();
        for part in parts {
            let size = share(total, *part).min(nodes.len());
            let mut group = nodes.split_off(nodes.len() - size);
            group.sort_unstable();
            groups.push(group);
        }
        nodes.sort_unstable();
        groups.push(nodes);
        groups.retain(|group| !group.is_empty());
        groups
    }

    /// Sessions and pauses of everybody who lives, up to the end of the phase.
    /// The first session is one that is under way already.
    fn churn(&mut self, churn: &Churn, from: u64, to: u64) {
        let contacts = self.contacts();
        for node in self.living(from) {
            let mut dice = Dice::new(self.seed, node, 0, Stream::Churn);
            let under_way = dice.unit();
            let mut at = from + scale(session(churn, &mut dice), under_way);
            while at < to {
                self.push(at, Action::Kill { nodes: vec![node] });
                at += between(churn.downtime, &mut dice).max(1);
                let start = Action::Start {
                    nodes: vec![node],
                    contacts: contacts.clone(),
                    disk: dice.chance(churn.remember.0),
                };
                self.push(at, start);
                at += session(churn, &mut dice).max(1);
            }
        }
    }

    /// Broadcasts by those who live then.
    fn speak(&mut self, end: u64) {
        let every = self.scenario.workload.every.0;
        let mut alive = Population::new(self.scenario.nodes.count);
        let mut said = Vec::new();
        let mut rest = self.actions.iter().peekable();
        let mut at = every;
        while at < end {
            while let Some(timed) = rest.next_if(|timed| timed.at <= at) {
                alive.apply(timed);
            }
            let single = self.scenario.workload.single;
            if let Some(node) = alive.speaker(at, single, &mut self.dice) {
                said.push(Timed {
                    at,
                    action: Action::Say { node },
                });
            }
            at += every;
        }
        self.actions.extend(said);
        // Stable: what befalls the mesh in the same millisecond comes first.
        self.actions.sort_by_key(|timed| timed.at);
    }
}

impl Draft<'_> {
    /// Sessions between those who live then.
    fn call(&mut self, end: u64) {
        let Some(sessions) = &self.scenario.workload.sessions else {
            return;
        };
        let every = sessions.every.0;
        let mut dice = Dice::new(self.seed, u32::MAX, 0, Stream::Calls);
        let mut alive = Population::new(self.scenario.nodes.count);
        let mut calls = Vec::new();
        let mut rest = self.actions.iter().peekable();
        let mut at = every;
        while at < end {
            while let Some(timed) = rest.next_if(|timed| timed.at <= at) {
                alive.apply(timed);
            }
            let from = alive.speaker(at, false, &mut dice);
            let to = alive.speaker(at, false, &mut dice);
            if let (Some(from), Some(to)) = (from, to)
                && from != to
            {
                let action = Action::Call { from, to };
                calls.push(Timed { at, action });
            }
            at += every;
        }
        self.actions.extend(calls);
        self.actions.sort_by_key(|timed| timed.at);
    }
}

/// Who lives, and since when.
struct Population {
    since: Vec<Option<u64>>,
}

impl Population {
    fn new(count: u32) -> Self {
        Population {
            since: (0..count).map(|_| None).collect(),
        }
    }

    fn apply(&mut self, timed: &Timed) {
        let (nodes, since) = match &timed.action {
            Action::Start { nodes, .. } => (nodes, Some(timed.at)),
            Action::Kill { nodes } => (nodes, None),
            Action::Cut { .. }
            | Action::Heal
            | Action::Weather(_)
            | Action::Clock { .. }
            | Action::Act { .. }
            | Action::Say { .. }
            | Action::Call { .. } => return,
        };
        for node in nodes {
            if let Some(place) = usize::try_from(*node)
                .ok()
                .and_then(|n| self.since.get_mut(n))
            {
                *place = since;
            }
        }
    }

    fn speaker(&self, at: u64, single: bool, dice: &mut Dice) -> Option<u32> {
        let may = |since: &Option<u64>| since.is_some_and(|since| since + SPEAKING_AGE <= at);
        let count = u32::try_from(self.since.len()).ok()?;
        let start = if single {
            0
        } else {
            dice.random_range(0..count)
        };
        let nodes = (start..count).chain(0..start);
        let old = |node: &u32| {
            usize::try_from(*node)
                .ok()
                .and_then(|n| self.since.get(n))
                .is_some_and(may)
        };
        nodes.into_iter().find(old)
    }
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of a count is a count"
)]
fn share(count: usize, part: Part) -> usize {
    (count as f64 * part.0).round() as usize
}

#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a part of a time is a time"
)]
fn scale(time: u64, by: f64) -> u64 {
    (time as f64 * by) as u64
}

fn between(range: Range, dice: &mut Dice) -> u64 {
    dice.random_range(range.0.0..=range.1.0)
}

/// A session length of the Weibull distribution with the median asked for.
fn session(churn: &Churn, dice: &mut Dice) -> u64 {
    let median = seconds(churn.median.0);
    let of = |part: f64| (-(1.0 - part).ln()).powf(1.0 / churn.shape);
    let length = median * of(dice.unit()) / of(0.5);
    scale(1_000, length.min(1e7))
}
