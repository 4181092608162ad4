//! Links that broke though nobody wanted it: an actor of theirs died.
//!
//! The peer is alive and so is the way to it, so the very same link is built
//! again, at once, before anybody else is dialled. Whoever lost the actor
//! knows first and dials; the other side waits a moment for that. A link that
//! breaks again and again is built after a [`PAUSE`], so that it costs its
//! neighbours a handshake now and then and no more.

use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

use super::{LinkPlan, MIN_AGE, Peer, PlanAction, State};

/// Attempts to build a lost link before it is one like any other.
pub(super) const TRIES: u32 = 3;
/// Pause before a link is built again that keeps breaking.
const PAUSE: Duration = Duration::from_millis(250);
/// Breaks soon after it was built that a link may have without a pause.
const FREE: u32 = 2;

impl Peer {
    /// Notes that its link broke; says how long to wait before building it
    /// again.
    pub(super) fn broke(&mut self, now: Instant) -> Duration {
        let young = matches!(self.state, State::Up(since) if now.saturating_duration_since(since) < MIN_AGE);
        self.breaks = if young {
            self.breaks.saturating_add(1)
        } else {
            0
        };
        self.lost = true;
        if self.breaks > FREE {
            PAUSE
        } else {
            Duration::ZERO
        }
    }
}

impl LinkPlan {
    /// When the link to a peer that broke may be built again.
    pub(super) fn rebuild_at(
        &self,
        pause: Duration,
        here: bool,
        now: Instant,
        rng: &mut impl Rng,
    ) -> Instant {
        let grace = if here {
            Duration::ZERO
        } else {
            self.config.patience
        };
        now + grace + pause.mul_f64(rng.random_range(0.5..1.5))
    }

    /// Builds a lost link again.
    pub(super) fn dial_lost(&mut self, now: Instant) -> Option<PlanAction> {
        let lost = self.peers.iter().filter(|(_, entry)| entry.is_missed());
        let mut lost: Vec<_> = lost
            .map(|(peer, entry)| (entry.not_before.unwrap_or(now), *peer))
            .collect();
        lost.sort_unstable();
        let (at, peer) = *lost.first()?;
        if at > now {
            self.wake_at(at);
            return None;
        }
        let room = self.occupied() < self.config.max && self.dialing() < self.in_flight();
        room.then(|| self.dial(peer))
    }

    /// Lost links that are still to be built, apart from those to ring
    /// partners, for whom there is a place anyway.
    pub(super) fn lost(&self) -> usize {
        let missed = self.peers.iter().filter(|(_, entry)| entry.is_missed());
        missed.filter(|(peer, _)| !self.is_partner(peer)).count()
    }
}

impl Peer {
    fn is_missed(&self) -> bool {
        self.lost && self.state == State::Idle && !self.suspected
    }
}
