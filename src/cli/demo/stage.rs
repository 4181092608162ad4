//! The course of a demo: assemble, form, talk, kill, heal, talk again.

mod finale;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use peerloom::webrtc::{Runtime, RuntimeConfig};
use peerloom::{LinkState, PeerId, Ticket};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;

use super::Plan;
use super::cast::{self, Line, Node, Note, Part, Word};
use super::report::Report;
use super::show::Show;
use crate::cli::failure::Failure;
use crate::cli::interrupt::Interrupt;
use peerloom_chaos_tests::ledger::{Kind, Ledger, Phase};
use peerloom_chaos_tests::shape::{NodeView, Shape};

/// Notes from the nodes' tasks not yet read; a full queue makes them wait.
const NOTES: usize = 4096;

/// Nodes started at the same time (guess: what two cores do side by side).
const WAVE: usize = 8;

/// Between two drawings of the live view: 20 a second.
const TICK: Duration = Duration::from_millis(50);

/// Between the beginnings of two rounds of talk, so that a person can follow.
const ROUND: Duration = Duration::from_millis(500);

/// How long the nodes may take to start and to form a mesh.
const FORM_LIMIT: Duration = Duration::from_secs(60);

/// How long everything said may take to arrive.
const DELIVER_LIMIT: Duration = Duration::from_secs(30);

/// How long the mesh may take to heal.
const HEAL_LIMIT: Duration = Duration::from_secs(60);

/// How long second copies are watched for after everything has arrived.
const LINGER: Duration = Duration::from_millis(300);

/// How long a node may take to close.
const CLOSE_LIMIT: Duration = Duration::from_secs(5);

/// A demo under way.
pub(crate) struct Stage {
    plan: Plan,
    name: String,
    dir: TempDir,
    runtime: Runtime,
    random: StdRng,
    began: Instant,
    nodes: Vec<Option<Node>>,
    tickets: Vec<Ticket>,
    who: BTreeMap<PeerId, usize>,
    views: Vec<NodeView>,
    living: BTreeSet<usize>,
    verified: BTreeSet<(usize, usize)>,
    received: Vec<u64>,
    shape: Shape,
    changed: BTreeSet<usize>,
    starting: usize,
    ledger: Ledger,
    /// Messages not yet handed to the links, or not yet acknowledged.
    unsaid: usize,
    rtts: Vec<Duration>,
    act: &'static str,
    report: Report,
    show: Show,
    notes: mpsc::Receiver<Note>,
    tell: mpsc::Sender<Note>,
    interrupted: Interrupt,
}

/// Why an act did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Stop {
    /// It took too long.
    Late(Duration),
    /// Ctrl-C.
    Interrupted,
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(limit) => write!(f, "not done after {} s", limit.as_secs()),
            Self::Interrupted => f.write_str("interrupted"),
        }
    }
}

impl Stage {
    /// An empty stage.
    pub(crate) fn new(plan: Plan) -> Result<Self, Failure> {
        let dir = tempfile::Builder::new()
            .prefix("peerloom-demo-")
            .tempdir()
            .map_err(|error| {
                Failure::new("cannot make a temporary directory")
                    .because(&error)
                    .hint("set TMPDIR to a directory that can be written")
            })?;
        let runtime = Runtime::start(RuntimeConfig::default())
            .map_err(|error| Failure::new("cannot start the actor threads").because(&error))?;
        let (tell, notes) = mpsc::channel(NOTES);
        let name: [u8; 8] = rand::random();
        let name: String = name.iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self {
            name: format!("demo-{name}"),
            dir,
            runtime,
            random: StdRng::seed_from_u64(plan.seed),
            began: Instant::now(),
            nodes: (0..plan.peers).map(|_| None).collect(),
            tickets: Vec::new(),
            who: BTreeMap::new(),
            views: vec![NodeView::default(); plan.peers],
            living: (0..plan.peers).collect(),
            verified: BTreeSet::new(),
            received: vec![0; plan.peers],
            shape: Shape::default(),
            changed: BTreeSet::new(),
            starting: 0,
            ledger: Ledger::default(),
            unsaid: 0,
            rtts: Vec::new(),
            act: "starting",
            report: Report {
                peers: plan.peers,
                ..Report::default()
            },
            show: Show::new(plan.format),
            notes,
            tell,
            interrupted: Interrupt::listen(),
            plan,
        })
    }

    /// Plays all acts; the report is complete also when one fails.
    pub(crate) async fn play(mut self) -> (Report, Result<(), String>) {
        self.began = Instant::now();
        let outcome = match self.acts().await {
            Ok(()) => self.verdict(),
            Err(why) => {
                self.ledger.complain(why.clone());
                Err(why)
            }
        };
        self.act = "closing";
        self.fill_report();
        self.draw();
        self.close().await;
        let summary = self.summary(&outcome);
        self.show.finish(&summary);
        (self.report, outcome)
    }

    async fn acts(&mut self) -> Result<(), String> {
        self.assemble().await?;
        self.form().await?;
        self.talk(Phase::Formed, self.plan.talk).await?;
        if self.plan.kill > 0 {
            let killed = Instant::now();
            self.kill().await;
            self.heal(killed).await?;
            self.talk(Phase::Healed, Duration::ZERO).await?;
        }
        self.linger().await
    }

    /// Starts the nodes in waves; each is told of the first and of one other.
    async fn assemble(&mut self) -> Result<(), String> {
        let named = json!({"mesh": self.name, "peers": self.plan.peers, "seed": self.plan.seed});
        let text = format!(
            "starting {} nodes of mesh {} (seed {})",
            self.plan.peers, self.name, self.plan.seed
        );
        self.tell("starting", &text, named);
        let mut started = 0;
        while started < self.plan.peers {
            let wave = started.clamp(1, WAVE).min(self.plan.peers - started);
            for index in started..started + wave {
                self.start(index)?;
            }
            started += wave;
            self.pump("nodes did not start", FORM_LIMIT, |stage| {
                stage.starting == 0
            })
            .await?;
            if let Some(why) = self.ledger.complaints().first() {
                return Err(why.clone());
            }
        }
        Ok(())
    }

    fn start(&mut self, index: usize) -> Result<(), String> {
        let dir = self.dir.path().join(format!("node-{index}"));
        let mut tickets: Vec<Ticket> = self.tickets.first().cloned().into_iter().collect();
        if let Some(later) = self.tickets.get(1..) {
            tickets.extend(later.choose(&mut self.random).cloned());
        }
        let part = Part {
            index,
            mesh: self.name.clone(),
            dir,
            tickets,
            runtime: self.runtime.clone(),
        };
        self.starting += 1;
        tokio::spawn(cast::enter(part, self.tell.clone()));
        Ok(())
    }

    async fn form(&mut self) -> Result<(), String> {
        self.act = "forming";
        self.pump("the mesh did not form", FORM_LIMIT, |stage| {
            stage.shape.is_formed()
        })
        .await?;
        let took = self.began.elapsed();
        self.report.formed_ms = Some(millis(took));
        self.report.links = self.shape.links;
        self.report.degree_min = self.shape.degree_min;
        self.report.degree_max = self.shape.degree_max;
        let detail = json!({
            "formed_ms": millis(took),
            "links": self.shape.links,
            "degree_min": self.shape.degree_min,
            "degree_max": self.shape.degree_max,
        });
        let text = format!(
            "formed in {:.2} s: {} links, {} to {} a node, every roster complete",
            took.as_secs_f64(),
            self.shape.links,
            self.shape.degree_min,
            self.shape.degree_max
        );
        self.tell("formed", &text, detail);
        Ok(())
    }

    /// Rounds of talk; every round all living nodes say something to everybody
    /// and something to each one.
    async fn talk(&mut self, phase: Phase, time: Duration) -> Result<(), String> {
        self.act = match phase {
            Phase::Formed => "talking",
            Phase::Healed => "talking again",
        };
        let until = Instant::now() + time;
        loop {
            let next = Instant::now() + ROUND;
            self.round(phase);
            self.pump("not everything was delivered", DELIVER_LIMIT, |stage| {
                stage.ledger.is_settled() && stage.unsaid == 0
            })
            .await
            .inspect_err(|_| self.note_owed())?;
            if next >= until {
                break;
            }
            self.watch_until(next).await?;
        }
        let tally = self.ledger.tally(phase);
        let detail = json!({"deliveries": tally.delivered, "expected": tally.expected});
        let text = format!(
            "{} of {} deliveries made, {} duplicates",
            tally.delivered, tally.expected, self.ledger.duplicates
        );
        self.tell("delivered", &text, detail);
        Ok(())
    }

    fn round(&mut self, phase: Phase) {
        let living: Vec<usize> = self.living.iter().copied().collect();
        for from in &living {
            let mut script = vec![self.line(Kind::Broadcast, phase, *from, None)];
            let mut others: Vec<usize> = living.iter().copied().filter(|n| n != from).collect();
            others.shuffle(&mut self.random);
            for to in others {
                script.push(self.line(Kind::Direct, phase, *from, Some(to)));
            }
            let tell = self.tell.clone();
            if let Some(node) = &mut self.nodes[*from] {
                node.speak(*from, script, tell);
            }
        }
    }

    fn line(&mut self, kind: Kind, phase: Phase, from: usize, to: Option<usize>) -> Line {
        let living = &self.living;
        let id = match to {
            Some(to) => self.ledger.expect(kind, phase, from, [to]),
            None => self
                .ledger
                .expect(kind, phase, from, living.iter().copied()),
        };
        self.unsaid += 1;
        let text = match to {
            Some(to) => format!("node {from} to node {to}: hello"),
            None => format!("node {from} to everybody: hello"),
        };
        Line {
            to: to
                .and_then(|to| self.nodes[to].as_ref())
                .map(|node| node.peer),
            word: Word { id, from, text },
        }
    }

    /// Silences some nodes at one instant. The first node, whose ticket all
    /// the others came with, is always among them.
    async fn kill(&mut self) {
        self.act = "wounded";
        let mut others: Vec<usize> = (1..self.plan.peers).collect();
        others.shuffle(&mut self.random);
        let mut victims: Vec<usize> = vec![0];
        victims.extend(others.into_iter().take(self.plan.kill - 1));
        self.report.killed = victims.len();
        let silenced = victims
            .iter()
            .filter_map(|victim| self.nodes[*victim].as_ref())
            .map(|node| node.mesh.silence());
        futures::future::join_all(silenced).await;
        for victim in &victims {
            if let Some(node) = &mut self.nodes[*victim] {
                node.hush();
            }
            self.living.remove(victim);
        }
        self.changed.extend(self.living.iter().copied());
        victims.sort_unstable();
        let names: Vec<String> = victims.iter().map(usize::to_string).collect();
        let text = format!(
            "killed {} {} (the others came with node 0's ticket)",
            if names.len() == 1 { "node" } else { "nodes" },
            names.join(", ")
        );
        self.tell("killed", &text, json!({"nodes": victims}));
    }

    async fn heal(&mut self, killed: Instant) -> Result<(), String> {
        self.act = "healing";
        self.pump("the mesh did not heal", HEAL_LIMIT, |stage| {
            stage.shape.is_formed()
        })
        .await?;
        let took = killed.elapsed();
        self.report.healed_ms = Some(millis(took));
        let detail = json!({"healed_ms": millis(took), "links": self.shape.links});
        let text = format!(
            "healed in {:.2} s: {} links among {} survivors, no dead peer in a roster",
            took.as_secs_f64(),
            self.shape.links,
            self.living.len()
        );
        self.tell("healed", &text, detail);
        Ok(())
    }

    /// Watches for second copies of what has arrived.
    async fn linger(&mut self) -> Result<(), String> {
        self.watch_until(Instant::now() + LINGER).await
    }

    async fn watch_until(&mut self, time: Instant) -> Result<(), String> {
        self.pump("", DELIVER_LIMIT, |_| Instant::now() >= time)
            .await
    }

    /// Handles notes until something is the case, redrawing the view. It is
    /// looked at after every batch of notes, and with every tick.
    async fn pump(
        &mut self,
        failing: &str,
        limit: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), String> {
        let stop = self.pump_inner(limit, done).await;
        stop.map_err(|stop| match &stop {
            Stop::Interrupted => stop.to_string(),
            Stop::Late(_) if self.shape.missing().is_empty() => format!("{failing}: {stop}"),
            Stop::Late(_) => format!("{failing}: {stop} ({})", self.shape.missing()),
        })
    }

    async fn pump_inner(
        &mut self,
        limit: Duration,
        done: impl Fn(&Self) -> bool,
    ) -> Result<(), Stop> {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let late = tokio::time::sleep(limit);
        tokio::pin!(late);
        let mut batch = Vec::new();
        loop {
            self.look();
            if done(self) {
                self.draw();
                return Ok(());
            }
            tokio::select! {
                biased;
                _ = &mut self.interrupted => return Err(Stop::Interrupted),
                () = &mut late => return Err(Stop::Late(limit)),
                _ = tick.tick() => self.draw(),
                _ = self.notes.recv_many(&mut batch, NOTES) => {
                    for note in batch.drain(..) {
                        self.handle(note);
                    }
                }
            }
        }
    }

    fn handle(&mut self, note: Note) {
        match note {
            Note::Up(index, node) => self.enter(index, *node),
            Note::Absent(index, why) => {
                self.starting -= 1;
                self.ledger
                    .complain(format!("node {index} did not start: {why}"));
            }
            Note::Changed(index) => {
                self.changed.insert(index);
            }
            Note::Got { to, .. } if !self.living.contains(&to) => {}
            Note::Got {
                to,
                from,
                word,
                direct,
                hops,
            } => self.deliver(to, from, &word, direct, hops),
            Note::Spoken => self.unsaid -= 1,
            Note::Acknowledged(took) => {
                self.unsaid -= 1;
                self.rtts.push(took);
            }
            Note::Failed(index, why) => {
                self.unsaid -= 1;
                self.ledger.complain(format!("node {index}: {why}"));
            }
        }
    }

    fn enter(&mut self, index: usize, node: Node) {
        self.starting -= 1;
        self.who.insert(node.peer, index);
        self.tickets.push(node.ticket.clone());
        self.nodes[index] = Some(node);
        // Others may have met it before it reported here.
        self.changed.extend(0..=index);
    }

    fn deliver(&mut self, to: usize, from: PeerId, word: &Word, direct: bool, hops: u32) {
        if self.who.get(&from) != Some(&word.from) {
            self.ledger
                .complain(format!("node {to} got a word under a wrong name"));
            return;
        }
        self.received[to] += 1;
        self.ledger.deliver(word.id, word.from, to, direct, hops);
    }

    /// Reads again what changed, and judges the mesh.
    fn look(&mut self) {
        if self.changed.is_empty() {
            return;
        }
        for index in std::mem::take(&mut self.changed) {
            if let Some(node) = &self.nodes[index]
                && self.living.contains(&index)
            {
                self.views[index] = self.view_of(node);
                let links = self.views[index].links.iter();
                self.verified.extend(links.map(|other| (index, *other)));
            }
        }
        self.shape = Shape::of(&self.views, &self.living);
    }

    fn view_of(&self, node: &Node) -> NodeView {
        let known = |peer: &PeerId| self.who.get(peer).copied();
        let links = node.mesh.links();
        let links = links
            .iter()
            .filter(|link| link.authenticated && link.state == LinkState::Up);
        let roster = node.room.roster();
        let others = roster.iter().filter(|member| !member.me);
        NodeView {
            links: links.filter_map(|link| known(&link.peer)).collect(),
            roster: others
                .clone()
                .filter_map(|member| known(&member.peer))
                .collect(),
            strangers: others
                .filter(|member| known(&member.peer).is_none())
                .count(),
        }
    }

    /// Everything expected arrived exactly once, or what went wrong.
    fn verdict(&self) -> Result<(), String> {
        if self.ledger.is_clean() {
            return Ok(());
        }
        let first = self.ledger.complaints().first();
        Err(format!(
            "{} duplicates, {} errors{}",
            self.ledger.duplicates,
            self.ledger.errors,
            first
                .map(|why| format!(", the first: {why}"))
                .unwrap_or_default()
        ))
    }

    fn note_owed(&mut self) {
        for owed in self.ledger.owed(5) {
            self.tell("undelivered", &owed.clone(), json!({"what": owed}));
        }
    }

    async fn close(&mut self) {
        let closing = self.nodes.iter_mut().flatten().map(|node| {
            node.hush();
            node.mesh.close()
        });
        let all = futures::future::join_all(closing);
        if tokio::time::timeout(CLOSE_LIMIT, all).await.is_err() {
            tracing::warn!("some nodes did not close in time");
        }
    }

    fn tell(&mut self, event: &str, text: &str, detail: Value) {
        let at = self.began.elapsed();
        self.show.tell(at, event, text, detail);
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
