//! The acts: assemble, form, talk, kill, heal, talk again.

use std::time::{Duration, Instant};

use peerloom::Ticket;
use serde_json::json;

use super::super::cast::{self, Line, Part, Word};
use super::finale::{counted, links};
use super::{Stage, Stop};
use peerloom_chaos_tests::ledger::{Kind, Phase};

/// Nodes started at the same time (guess: what two cores do side by side).
pub(super) const WAVE: usize = 8;

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

impl Stage {
    /// Starts the nodes in waves; each is told of the first and of one other.
    pub(super) async fn assemble(&mut self) -> Result<(), Stop> {
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
                return Err(Stop::Failed(why.clone()));
            }
        }
        Ok(())
    }

    fn start(&mut self, index: usize) -> Result<(), Stop> {
        let dir = self.dir.path().join(format!("node-{index}"));
        let known = self.choices.introductions(index);
        let known = known.iter().filter_map(|known| self.nodes[*known].as_ref());
        let tickets: Vec<Ticket> = known.map(|node| node.ticket.clone()).collect();
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

    pub(super) async fn form(&mut self) -> Result<(), Stop> {
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
            "formed in {:.2} s: {}, every roster complete",
            took.as_secs_f64(),
            links(
                self.shape.links,
                self.shape.degree_min,
                self.shape.degree_max
            )
        );
        self.tell("formed", &text, detail);
        Ok(())
    }

    /// Rounds of talk; every round all living nodes say something to everybody
    /// and something to each one.
    pub(super) async fn talk(&mut self, phase: Phase, time: Duration) -> Result<(), Stop> {
        self.act = match phase {
            Phase::Formed => "talking",
            Phase::Healed => "talking again",
        };
        let until = Instant::now() + time;
        let mut round = match phase {
            Phase::Formed => 0,
            // Not where the first talk ended, which is a matter of time.
            Phase::Healed => usize::MAX / 2,
        };
        loop {
            let next = Instant::now() + ROUND;
            self.round(phase, round);
            round += 1;
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

    fn round(&mut self, phase: Phase, round: usize) {
        let living: Vec<usize> = self.living.iter().copied().collect();
        for from in &living {
            let mut script = vec![self.line(Kind::Broadcast, phase, *from, None)];
            let mut others: Vec<usize> = living.iter().copied().filter(|n| n != from).collect();
            self.choices.partners(*from, round, &mut others);
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

    /// Silences some nodes at one instant.
    pub(super) async fn kill(&mut self) {
        self.act = "wounded";
        let victims = self.choices.victims(self.plan.kill);
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
        let names: Vec<String> = victims.iter().map(usize::to_string).collect();
        let text = format!(
            "killed {} {} (the others came with node 0's ticket)",
            if names.len() == 1 { "node" } else { "nodes" },
            names.join(", ")
        );
        self.tell("killed", &text, json!({"nodes": victims}));
    }

    pub(super) async fn heal(&mut self, killed: Instant) -> Result<(), Stop> {
        self.act = "healing";
        self.pump("the mesh did not heal", HEAL_LIMIT, |stage| {
            stage.shape.is_formed()
        })
        .await?;
        let took = killed.elapsed();
        self.report.healed_ms = Some(millis(took));
        let detail = json!({"healed_ms": millis(took), "links": self.shape.links});
        let text = format!(
            "healed in {:.2} s: {} among {} survivors, no dead peer in a roster",
            took.as_secs_f64(),
            counted(self.shape.links, "link"),
            self.living.len()
        );
        self.tell("healed", &text, detail);
        Ok(())
    }

    /// Watches for second copies of what has arrived.
    pub(super) async fn linger(&mut self) -> Result<(), Stop> {
        self.watch_until(Instant::now() + LINGER).await
    }

    async fn watch_until(&mut self, time: Instant) -> Result<(), Stop> {
        self.pump("", DELIVER_LIMIT, |_| Instant::now() >= time)
            .await
    }

    fn note_owed(&mut self) {
        for owed in self.ledger.owed(5) {
            self.tell("undelivered", &owed.clone(), json!({"what": owed}));
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
