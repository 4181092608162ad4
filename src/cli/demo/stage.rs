//! The stage of a demo: who is on it, what is known of them, and the order of
//! the acts.

mod acts;
mod choices;
mod finale;
mod pump;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use peerloom::PeerId;
use peerloom::webrtc::{Runtime, RuntimeConfig};
use serde_json::Value;
use tempfile::TempDir;
use tokio::sync::mpsc;

use self::choices::Choices;
use super::Plan;
use super::cast::{Node, Note};
use super::report::Report;
use super::show::Show;
use crate::cli::failure::Failure;
use crate::cli::interrupt::Interrupt;
use crate::cli::output;
use peerloom_chaos_tests::ledger::{Ledger, Phase};
use peerloom_chaos_tests::shape::{NodeView, Shape};

/// Notes from the nodes' tasks not yet read; a full queue makes them wait.
const NOTES: usize = 4096;

/// How long the nodes may take to close, all together (guess: what 200 of them
/// need on a slow machine).
const CLOSE_LIMIT: Duration = Duration::from_secs(30);

/// A demo under way.
pub(crate) struct Stage {
    plan: Plan,
    name: String,
    dir: TempDir,
    runtime: Runtime,
    choices: Choices,
    began: Instant,
    nodes: Vec<Option<Node>>,
    who: BTreeMap<PeerId, usize>,
    views: Vec<NodeView>,
    living: BTreeSet<usize>,
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

/// Why a demo did not come to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stop {
    /// Somebody asked it to end.
    #[error("interrupted")]
    Interrupted,
    /// Nobody reads what it prints.
    #[error("nobody reads")]
    Unread(std::io::Error),
    /// Something took too long or went wrong.
    #[error("{0}")]
    Failed(String),
}

impl Stage {
    /// An empty stage. Whoever makes one listens for interrupts already: from
    /// here on there is a directory to remove.
    pub(crate) fn new(plan: Plan, interrupted: Interrupt) -> Result<Self, Failure> {
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
            choices: Choices::new(plan.seed, plan.peers),
            began: Instant::now(),
            nodes: (0..plan.peers).map(|_| None).collect(),
            who: BTreeMap::new(),
            views: vec![NodeView::default(); plan.peers],
            living: (0..plan.peers).collect(),
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
            interrupted,
            plan,
        })
    }

    /// Plays all acts; the report is complete also when one fails.
    pub(crate) async fn play(mut self) -> (Report, Result<(), Stop>) {
        self.began = Instant::now();
        let mut outcome = match self.acts().await {
            Ok(()) => self.verdict(),
            Err(why) => {
                self.ledger.complain(why.to_string());
                Err(why)
            }
        };
        self.act = "closing";
        self.fill_report();
        self.draw();
        self.close().await;
        let summary = self.summary(&outcome);
        self.show.finish(&summary);
        if outcome.is_ok() {
            outcome = self.show.is_read().map_err(Stop::Unread);
        }
        self.sweep();
        (self.report, outcome)
    }

    async fn acts(&mut self) -> Result<(), Stop> {
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

    /// Everything expected arrived exactly once, or what went wrong.
    fn verdict(&self) -> Result<(), Stop> {
        if self.ledger.is_clean() {
            return Ok(());
        }
        let first = self.ledger.complaints().first();
        Err(Stop::Failed(format!(
            "{} duplicates, {} errors{}",
            self.ledger.duplicates,
            self.ledger.errors,
            first
                .map(|why| format!(", the first: {why}"))
                .unwrap_or_default()
        )))
    }

    /// Closes all nodes, so that nothing writes into the directory any more.
    /// Being interrupted again is a reason not to wait.
    async fn close(&mut self) {
        let limit = tokio::time::sleep(CLOSE_LIMIT);
        tokio::pin!(limit);
        // A node that is about to be up has files too: it is let in first.
        while self.starting > 0 {
            tokio::select! {
                () = &mut limit => return,
                () = self.interrupted.asked() => return,
                note = self.notes.recv() => match note {
                    Some(note) => self.handle(note),
                    None => break,
                },
            }
        }
        let closing = self.nodes.iter_mut().flatten().map(|node| {
            node.hush();
            node.mesh.close()
        });
        tokio::select! {
            _ = futures::future::join_all(closing) => {}
            () = limit => tracing::warn!("some nodes did not close in time"),
            () = self.interrupted.asked() => {}
        }
    }

    /// Removes the directory.
    fn sweep(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(self.dir.path()) {
            let dir = self.dir.path().display();
            output::complain(&format!(
                "peerloom: cannot remove {dir}: {error}; please do"
            ));
        }
    }

    fn tell(&mut self, event: &str, text: &str, detail: Value) {
        let at = self.began.elapsed();
        self.show.tell(at, event, text, detail);
    }
}
