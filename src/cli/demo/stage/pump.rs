//! What the nodes say, put into the books, and the judgement of the mesh.

use std::time::Duration;

use peerloom::{LinkState, PeerId};
use tokio::time::MissedTickBehavior;

use super::super::cast::{Node, Note, Word};
use super::{NOTES, Stage, Stop};
use peerloom_chaos_tests::shape::{NodeView, Shape};

/// Between two drawings of the live view: 20 a second.
const TICK: Duration = Duration::from_millis(50);

impl Stage {
    /// Handles notes until something is the case, redrawing the view. It is
    /// looked at after every batch of notes, and with every tick.
    pub(super) async fn pump(
        &mut self,
        failing: &str,
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
            self.show.is_read().map_err(Stop::Unread)?;
            if done(self) {
                self.draw();
                return Ok(());
            }
            tokio::select! {
                biased;
                () = self.interrupted.asked() => return Err(Stop::Interrupted),
                () = &mut late => return Err(self.too_late(failing, limit)),
                _ = tick.tick() => self.draw(),
                _ = self.notes.recv_many(&mut batch, NOTES) => {
                    for note in batch.drain(..) {
                        self.handle(note);
                    }
                }
            }
        }
    }

    fn too_late(&self, failing: &str, limit: Duration) -> Stop {
        let missing = match self.shape.missing() {
            none if none.is_empty() => none,
            missing => format!(" ({missing})"),
        };
        let limit = limit.as_secs();
        Stop::Failed(format!("{failing} within {limit} s{missing}"))
    }

    pub(super) fn handle(&mut self, note: Note) {
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
}
