//! Running a schedule from its beginning to its end, and saying what came of it.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::goals::{Outcome, Watch, ratio};
use super::invariants::Violation;
use super::schedule::{Action, Schedule};
use super::signal_report::SignalReport;
use super::tally::Counters;
use super::trace::{Trace, seconds};
use super::world::{Genesis, World};
use crate::scenario::Sometimes;

/// Goals are looked at this often, in milliseconds.
const STEP: u64 = 250;
/// A link that only one side has for so long is a defect.
const PATIENCE: u64 = 5_000;

/// What came of a run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed.
    pub seed: u64,
    /// Nodes of the scenario.
    pub nodes: usize,
    /// Virtual seconds.
    pub seconds: f64,
    /// The course of the run: equal for equal schedules.
    pub trace: String,
    /// Goals and measurements.
    pub goals: Vec<Outcome>,
    /// What should have happened at least once, and did not.
    pub never: Vec<Sometimes>,
    /// What went wrong first.
    pub violation: Option<Violation>,
    /// What the nodes involved did last, if something went wrong.
    pub last_events: Vec<String>,
    /// Everything that was counted.
    pub counters: Totals,
    /// What came of sessions, if there were any.
    pub signaling: Option<SignalReport>,
}

/// What was counted.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Totals {
    /// Events.
    pub events: u64,
    /// Messages sent.
    pub messages: u64,
    /// Connections made.
    pub connections: u64,
    /// Bytes a node sends in a second, handshakes aside.
    pub bytes_per_node_second: f64,
    /// Handshakes and dials in vain, as bytes a node and second.
    pub handshake_bytes_per_node_second: f64,
    /// Broadcasts.
    pub said: usize,
    /// Their deliveries.
    pub delivered: u64,
    /// Superfluous copies for each delivery.
    pub redundancy: f64,
}

impl Report {
    /// Whether everything was as it should be.
    pub fn is_good(&self) -> bool {
        self.violation.is_none()
            && self.never.is_empty()
            && self.goals.iter().all(|outcome| outcome.reached)
    }
}

impl Report {
    /// What is wrong first, in words.
    pub fn complaint(&self) -> String {
        if let Some(violation) = &self.violation {
            return violation.to_string();
        }
        if let Some(missed) = self.goals.iter().find(|outcome| !outcome.reached) {
            return missed.to_string();
        }
        match self.never.first() {
            Some(never) => format!("{never:?} never happened"),
            None => "nothing".into(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { nodes, seconds, .. } = self;
        let (name, seed, trace) = (&self.scenario, self.seed, &self.trace);
        writeln!(
            f,
            "{name}: seed {seed}, {nodes} nodes, {seconds} s, trace {trace}"
        )?;
        for outcome in &self.goals {
            let mark = if outcome.reached { "ok  " } else { "MISS" };
            writeln!(f, "  {mark} {outcome}")?;
        }
        for never in &self.never {
            writeln!(f, "  MISS {never:?} never happened")?;
        }
        if let Some(violation) = &self.violation {
            writeln!(f, "  FAIL {violation}")?;
        }
        for event in &self.last_events {
            writeln!(f, "       {event}")?;
        }
        let Totals {
            events,
            bytes_per_node_second,
            handshake_bytes_per_node_second,
            ..
        } = self.counters;
        writeln!(
            f,
            "  {events} events; {bytes_per_node_second:.0} B/s a node, and {handshake_bytes_per_node_second:.0} for connecting"
        )?;
        match &self.signaling {
            Some(signaling) => writeln!(f, "  {signaling}"),
            None => Ok(()),
        }
    }
}

/// Two runs of one schedule that differ, in the second given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("two runs of the same schedule part in second {0}")]
pub struct Diverged(pub usize);

/// Runs a schedule, telling how far it has come in seconds. If an invariant is violated it is run again, to tell what
/// the nodes involved did last.
pub fn run(schedule: &Schedule, tell: &mut dyn FnMut(f64)) -> Report {
    let (world, mut report) = course(schedule, Trace::default(), tell);
    if let Some(violation) = &world.violation {
        report.last_events = explain(schedule, &violation.nodes);
    }
    report
}

/// Runs a schedule twice and compares.
pub fn check(schedule: &Schedule, tell: &mut dyn FnMut(f64)) -> Result<Report, Diverged> {
    let (first, _) = course(schedule, Trace::default(), tell);
    let (second, mut report) = course(schedule, Trace::default(), tell);
    if let Some(second) = first.trace.parts_from(&second.trace) {
        return Err(Diverged(second));
    }
    if let Some(violation) = &second.violation {
        report.last_events = explain(schedule, &violation.nodes);
    }
    Ok(report)
}

/// What these nodes do last in a run of the schedule.
pub fn explain(schedule: &Schedule, nodes: &[u32]) -> Vec<String> {
    let watched: BTreeSet<u32> = nodes.iter().copied().collect();
    let (world, _) = course(schedule, Trace::watching(watched), &mut |_| {});
    world.trace.told()
}

/// Runs a schedule once.
fn course(schedule: &Schedule, trace: Trace, tell: &mut dyn FnMut(f64)) -> (World, Report) {
    let scenario = &schedule.scenario;
    let genesis = Genesis {
        seed: schedule.seed,
        classes: scenario.classes(),
        weather: scenario.net.weather(),
        payload: usize::try_from(scenario.workload.size).unwrap_or(usize::MAX),
        sessions: scenario.workload.sessions.clone(),
    };
    let mut world = World::new(genesis, trace);
    let mut watches = Watch::all(schedule);
    let end = schedule.ends.last().copied().unwrap_or(0);
    let mut seen = Vec::new();
    let mut actions = schedule.actions.iter().peekable();
    while world.now() < end && world.violation.is_none() {
        let step = (world.now() / STEP + 1) * STEP;
        let next = actions.peek().map_or(end, |timed| timed.at);
        world.run_until(step.min(end).min(next.max(world.now())));
        while let Some(timed) = actions.next_if(|timed| timed.at <= world.now()) {
            world.act(&timed.action);
            note_deeds(&timed.action, &world, &mut seen);
        }
        if world.now().is_multiple_of(STEP) {
            tell(seconds(world.now()));
            for watch in &mut watches {
                watch.look(&world);
            }
        }
    }
    note_all(&world, &mut seen);
    let counters = world.counters();
    if world.violation.is_none() && is_quiet(schedule) {
        let before = world.lopsided();
        world.run_until(end + PATIENCE);
        world.violation = world.violation.take().or_else(|| world.unquiet(&before));
        world.violation = world.violation.take().or_else(|| world.lost_envelope());
    }
    let report = report(schedule, &world, watches, &seen, &counters);
    (world, report)
}

/// Whether the last phase is one in which a mesh has to be in order at the end.
fn is_quiet(schedule: &Schedule) -> bool {
    let last = schedule.scenario.phases.last();
    last.is_some_and(|phase| phase.faults.is_empty() && phase.churn.is_none())
}

/// Whoever dies takes its counters with it.
fn note_deeds(action: &Action, world: &World, seen: &mut Vec<Sometimes>) {
    if matches!(action, Action::Heal) {
        note_all(world, seen);
    }
}

fn note_all(world: &World, seen: &mut Vec<Sometimes>) {
    for deed in world.deeds() {
        if !seen.contains(&deed) {
            seen.push(deed);
        }
    }
}

fn report(
    schedule: &Schedule,
    world: &World,
    watches: Vec<Watch>,
    seen: &[Sometimes],
    counters: &Counters,
) -> Report {
    let scenario = &schedule.scenario;
    let never = scenario
        .sometimes
        .iter()
        .filter(|deed| !seen.contains(deed));
    let lived = counters.lived.max(1);
    Report {
        scenario: scenario.meta.name.clone(),
        seed: schedule.seed,
        nodes: world.slots.len(),
        seconds: seconds(world.now()),
        trace: format!("{:016x}", world.trace.hash()),
        goals: watches.into_iter().map(Watch::outcome).collect(),
        never: never.copied().collect(),
        violation: world.violation.clone(),
        last_events: Vec::new(),
        counters: Totals {
            events: counters.events,
            messages: counters.messages,
            connections: counters.connections,
            bytes_per_node_second: ratio(counters.bytes, lived) * 1_000.0,
            handshake_bytes_per_node_second: ratio(counters.handshakes, lived) * 1_000.0,
            said: world.said().len(),
            delivered: counters.delivered,
            redundancy: ratio(counters.pushes, counters.delivered.max(1)) - 1.0,
        },
        signaling: world.signal_report(counters),
    }
}

impl World {
    /// What the living have done at least once.
    fn deeds(&self) -> Vec<Sometimes> {
        let mut deeds = Vec::new();
        let nodes = self.slots.iter().filter_map(|slot| slot.node.as_ref());
        for node in nodes {
            let (overlay, tree) = (node.overlay.stats(), node.tree.stats());
            let all = [
                (tree.grafts > 0, Sometimes::Graft),
                (tree.shortened > 0, Sometimes::Shortened),
                (overlay.bridged > 0, Sometimes::Bridge),
                (overlay.evicted > 0, Sometimes::Eviction),
                (overlay.exhausted > 0, Sometimes::Exhausted),
                (overlay.mixed > 0, Sometimes::Mix),
                (overlay.biased > 0, Sometimes::Bias),
                (overlay.vouched > 0, Sometimes::Vouched),
                (overlay.late > 0, Sometimes::Late),
            ];
            let all = all
                .into_iter()
                .chain(node.signal.iter().flat_map(|s| s.deeds()));
            for (_, deed) in all.filter(|(done, _)| *done) {
                if !deeds.contains(&deed) {
                    deeds.push(deed);
                }
            }
        }
        deeds
    }
}
