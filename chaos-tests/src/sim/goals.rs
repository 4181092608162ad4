//! Measuring what a scenario's goals ask for.

use std::collections::VecDeque;
use std::fmt;

use serde::Serialize;

use super::schedule::Schedule;
use super::tally::Counters;
use super::trace::seconds;
use super::world::World;
use crate::scenario::{Goal, Span};

/// A node owes and is owed broadcasts once it has lived this long.
pub(super) const AGE: u64 = 5_000;
/// How often the graph is looked at, in milliseconds; its cuts, which take
/// longer to find, less often.
const LOOK: u64 = 500;
const LOOK_AT_CUT: u64 = 5_000;

/// A goal and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    /// The goal.
    pub goal: Goal,
    /// What was measured; nothing, if there was nothing to measure.
    pub measured: Option<f64>,
    /// What it had to be: at most or at least, as the goal says.
    pub wanted: f64,
    /// How far the measurement is on the right side, as a part of what was
    /// wanted; negative on the wrong side.
    pub margin: f64,
    /// Whether it was reached.
    pub reached: bool,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, at_least) = wanted(&self.goal);
        let name = self.goal.name();
        let phase = self.goal.phase();
        let bound = if at_least { "at least" } else { "at most" };
        write!(f, "{name} in {phase}: ")?;
        match self.measured {
            Some(measured) => write!(f, "{measured:.4}")?,
            None => write!(f, "never")?,
        }
        write!(f, ", {bound} {}", self.wanted)
    }
}

/// A goal on its way.
#[derive(Debug)]
pub(super) struct Watch {
    goal: Goal,
    from: u64,
    to: u64,
    begin: u64,
    before: Option<Counters>,
    measured: Option<f64>,
    /// Broadcasts to be judged, and the next one to queue.
    due: VecDeque<usize>,
    next: usize,
    looked: u64,
}

impl Watch {
    pub(super) fn all(schedule: &Schedule) -> Vec<Watch> {
        let scenario = &schedule.scenario;
        let watch = |goal: &Goal| {
            let index = scenario
                .phases
                .iter()
                .position(|p| p.name == goal.phase())?;
            let to = *schedule.ends.get(index)?;
            let begin = to - scenario.phases.get(index)?.lasts.0;
            Some(Watch {
                goal: goal.clone(),
                from: begin + from(goal).0,
                to,
                begin,
                before: None,
                measured: None,
                due: VecDeque::new(),
                next: 0,
                looked: 0,
            })
        };
        scenario.goals.iter().filter_map(watch).collect()
    }

    /// Takes a look; called every [`STEP`](super::run) while the world runs.
    pub(super) fn look(&mut self, world: &World) {
        let now = world.now();
        self.queue(world);
        if self.before.is_none() && now >= self.from {
            self.before = Some(world.counters());
        }
        match self.goal.clone() {
            Goal::Delivery { within, .. } => self.judge(world, within, |watch, part, _| {
                watch.lower(part);
            }),
            Goal::Recovery { min, within, .. } => {
                self.judge(world, within, |watch, part, at| {
                    // The last one that failed tells when it was over.
                    let over = seconds(at - watch.begin);
                    let failed = part < min.0;
                    let known = watch.measured.unwrap_or(0.0);
                    watch.measured = Some(if failed { over } else { known });
                });
            }
            Goal::Hops { .. } => self.judge(world, Span(3_000), |_, _, _| {}),
            Goal::OneComponent { .. } => {
                self.look_at_graph(world, LOOK, |world| world.graph().0.part_sizes().len() <= 1)
            }
            Goal::MinCut { min, .. } => {
                let min = usize::try_from(min).unwrap_or(usize::MAX);
                self.look_at_graph(world, LOOK_AT_CUT, |world| {
                    world.graph().0.min_cut(min) >= min
                });
            }
            Goal::Redundancy { .. }
            | Goal::Upkeep { .. }
            | Goal::SignalDelivery { .. }
            | Goal::SignalLatency { .. }
            | Goal::SignalBytes { .. }
            | Goal::DigestUpkeep { .. }
            | Goal::SybilShare { .. }
            | Goal::Eclipsed { .. } => {}
        }
        if now == self.to {
            self.end(world);
        }
    }

    /// Measures what is measured at the end of the phase.
    fn end(&mut self, world: &World) {
        let counters = self.before.map(|before| world.counters().since(&before));
        match self.goal {
            Goal::Redundancy { .. } => {
                self.measured = counters
                    .filter(|c| c.delivered > 0)
                    .map(|c| ratio(c.pushes, c.delivered) - 1.0);
            }
            Goal::Upkeep { .. } => {
                self.measured = counters
                    .filter(|c| c.lived > 0)
                    .map(|c| ratio(c.bytes, c.lived) * 1_000.0);
            }
            Goal::DigestUpkeep { .. } => {
                self.measured = counters
                    .filter(|c| c.lived > 0)
                    .map(|c| ratio(c.digests, c.lived) * 1_000.0);
            }
            Goal::SignalDelivery { within, .. } => {
                let due = self.from..self.to.saturating_sub(within.0);
                self.measured = world.sessions_done(due, within.0);
            }
            Goal::SignalLatency { .. } => {
                let times = world.offer_times(self.from..self.to);
                let p99 = times.get(times.len() * 99 / 100).copied();
                self.measured = p99.map(seconds);
            }
            Goal::SignalBytes { .. } => {
                let begun = world.sessions_begun(self.from..self.to);
                self.measured = counters
                    .filter(|_| begun > 0)
                    .map(|c| ratio(c.signal, begun));
            }
            Goal::SybilShare { .. } => {
                let shares = world.sybil_shares();
                self.measured = shares.get(shares.len() / 2).copied();
            }
            Goal::Eclipsed { .. } => {
                let shares = world.sybil_shares();
                let eclipsed = shares.iter().filter(|share| **share >= 1.0).count();
                self.measured = Some(ratio(eclipsed as u64, 1));
            }
            Goal::Delivery { .. }
            | Goal::Recovery { .. }
            | Goal::Hops { .. }
            | Goal::OneComponent { .. }
            | Goal::MinCut { .. } => {}
        }
    }

    fn lower(&mut self, value: f64) {
        self.measured = Some(self.measured.map_or(value, |known| known.min(value)));
    }

    /// Queues what was said in the time this goal is about.
    fn queue(&mut self, world: &World) {
        let said = world.said();
        while let Some(broadcast) = said.get(self.next) {
            if (self.from..self.to).contains(&broadcast.at) {
                self.due.push_back(self.next);
            }
            self.next += 1;
        }
    }

    /// Judges each broadcast when its time is over: the part of those owed it
    /// that got it.
    fn judge(&mut self, world: &World, within: Span, mut note: impl FnMut(&mut Self, f64, u64)) {
        while let Some(number) = self.due.front().copied() {
            let Some(said) = world.said().get(number) else {
                return;
            };
            // What cannot be judged before the world ends is not judged.
            if said.at + within.0 > world.now() {
                return;
            }
            self.due.pop_front();
            let (owed, reached) = world.owed(number, AGE);
            if let Goal::Hops { .. } = self.goal {
                let hops = f64::from(said.hops);
                self.measured = Some(self.measured.map_or(hops, |known| known.max(hops)));
            }
            if owed > 0 {
                note(self, ratio(reached, owed), said.at);
            }
        }
    }

    fn look_at_graph(&mut self, world: &World, every: u64, good: impl Fn(&World) -> bool) {
        let now = world.now();
        let early = now < self.from || now > self.to || now < self.looked + every;
        if self.measured.is_some() || early {
            return;
        }
        self.looked = now;
        if good(world) {
            self.measured = Some(seconds(now - self.begin));
        }
    }

    pub(super) fn outcome(self) -> Outcome {
        let (wanted, at_least) = wanted(&self.goal);
        let margin = self.measured.map_or(-1.0, |measured| {
            let over = if at_least {
                measured - wanted
            } else {
                wanted - measured
            };
            if wanted == 0.0 { over } else { over / wanted }
        });
        Outcome {
            measured: self.measured,
            wanted,
            margin,
            reached: self.measured.is_some() && margin >= 0.0,
            goal: self.goal,
        }
    }
}

fn from(goal: &Goal) -> Span {
    match goal {
        Goal::Delivery { from, .. }
        | Goal::Hops { from, .. }
        | Goal::Redundancy { from, .. }
        | Goal::Upkeep { from, .. }
        | Goal::SignalDelivery { from, .. }
        | Goal::SignalLatency { from, .. }
        | Goal::SignalBytes { from, .. }
        | Goal::DigestUpkeep { from, .. } => *from,
        Goal::Recovery { .. }
        | Goal::OneComponent { .. }
        | Goal::MinCut { .. }
        | Goal::SybilShare { .. }
        | Goal::Eclipsed { .. } => Span(0),
    }
}

/// The number wanted, and whether more of it is better.
fn wanted(goal: &Goal) -> (f64, bool) {
    match goal {
        Goal::Delivery { min, .. } | Goal::SignalDelivery { min, .. } => (min.0, true),
        Goal::Recovery { max, .. }
        | Goal::OneComponent { max, .. }
        | Goal::MinCut { max, .. }
        | Goal::SignalLatency { max, .. } => (seconds(max.0), false),
        Goal::Hops { max, .. }
        | Goal::Redundancy { max, .. }
        | Goal::Upkeep { max, .. }
        | Goal::SignalBytes { max, .. }
        | Goal::DigestUpkeep { max, .. }
        | Goal::SybilShare { max, .. }
        | Goal::Eclipsed { max, .. } => (*max, false),
    }
}

#[allow(clippy::cast_precision_loss, reason = "for people")]
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

impl World {
    /// To how many a broadcast is owed, and how many of them have it: honest
    /// nodes that had lived for `age` and live still.
    fn owed(&self, number: usize, age: u64) -> (u64, u64) {
        let Some(said) = self.said.get(number) else {
            return (0, 0);
        };
        let (mut owed, mut reached) = (0, 0);
        for (index, slot) in (0_u32..).zip(&self.slots) {
            let Some(node) = &slot.node else { continue };
            if slot.act == super::schedule::Act::Honest && node.started + age <= said.at {
                owed += 1;
                reached += u64::from(said.has_reached(index));
            }
        }
        (owed, reached)
    }
}
