//! When a node has to be called again, and what it does then.

use std::time::Instant;

use super::Node;
use super::io::Timer;
use super::links::State;
use crate::forward::Surroundings;
use crate::time::{Deadline, Time};

impl Node {
    /// When to call [`Node::handle_timeout`], and what is due then. Up to
    /// date once [`Node::poll`] is empty.
    pub fn poll_timeout(&self) -> Option<Deadline<Timer>> {
        let (flush, renew) = self.records_timeout();
        let links = self.links.values().map(|link| {
            let timer = if matches!(link.state, State::Up(_)) {
                Timer::Probe
            } else {
                Timer::Attempt
            };
            (link.due(self.config.attempt_timeout), timer)
        });
        let rooms = self.rooms.values().flat_map(|room| {
            let plan = room.plan.poll_timeout().map(|at| (at, Timer::Plan));
            plan.into_iter()
                .chain(room.forward.poll_timeout().map(|at| (at, Timer::Direct)))
        });
        let own = [
            flush.map(|at| (at, Timer::Flush)),
            Some((renew, Timer::Presence)).filter(|_| !self.closed),
            self.roster.poll_timeout().map(|at| (at, Timer::Roster)),
            self.posts_timeout().map(|at| (at, Timer::Attempt)),
            self.strangers
                .poll_timeout()
                .map(|at| (at, Timer::Stranger)),
        ];
        let first = own.into_iter().flatten().chain(links).chain(rooms).min();
        first.map(|(at, reason)| Deadline { at, reason })
    }

    /// Does everything that is due.
    pub fn handle_timeout(&mut self, time: Time) {
        if let Some(deadline) = self.poll_timeout() {
            self.health
                .fired(deadline.at, time.now, self.config.probe.interval);
            self.go_easy();
        }
        self.roster.handle_timeout(time.now);
        self.drain_roster(time);
        self.records_due(time);
        self.links_due(time);
        self.posts_due(time.now);
        self.stats.strangers_dropped += self.strangers.expire(time.now);
        self.directs_due(time.now);
        self.settle(time);
    }

    /// An overloaded node waits longer for suspects and dials fewer peers at
    /// a time.
    fn go_easy(&mut self) {
        let multiplier = self.health.multiplier();
        self.roster.set_patience(multiplier);
        for room in self.rooms.values_mut() {
            room.plan.set_brake(multiplier);
        }
    }

    fn directs_due(&mut self, now: Instant) {
        for (id, room) in &mut self.rooms {
            if room.forward.poll_timeout().is_none_or(|at| at > now) {
                continue;
            }
            let around = Surroundings {
                identity: &self.identity,
                prekeys: &self.prekeys,
                neighbours: &room.neighbours,
            };
            let roster = &self.roster;
            let prekey_of = |peer: &_| {
                let member = roster
                    .get(peer)
                    .filter(|member| member.presence.rooms.contains(id));
                member.map(|member| member.presence.prekey)
            };
            room.forward
                .handle_timeout(prekey_of, &around, &mut self.rng, now);
        }
    }
}
