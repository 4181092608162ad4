//! When what happens: rounds of checks, consent, and the engine's clock.

use std::time::{Duration, Instant};

use super::super::{Error, State};
use super::Agent;
use crate::candidate::Protocol;
use crate::id::{IceRole, Path};

/// An answer may trigger a round of checks this soon after the last one.
const MIN_ROUND_PAUSE: Duration = Duration::from_millis(2);

/// Lateness of a call from which on it is we who were not there: a suspended machine, a thread that
/// got no time. Guess: far above what timers are late, far below `IceConfig::disconnected_after`.
const STALL: Duration = Duration::from_millis(500);

/// Pause between two repeated checks of a pair that was answered and not nominated. Guess: a connection
/// that needs one is up within half a second, and few are sent to a peer that takes its time.
const AGAIN: Duration = Duration::from_millis(500);

/// Pairs that are checked again, the best ones.
const AGAIN_PAIRS: usize = 8;

impl Agent {
    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.take_early(now);
        self.open_connections(now);
        if self.consent_expired(now) {
            tracing::debug!("consent expired");
            self.set_state(State::Failed);
            self.next_round = None;
            return;
        }
        if self.next_round.is_none_or(|at| at > now) {
            return;
        }
        let engine_now = self.engine_time(now);
        let since = |at| engine_now.saturating_duration_since(at);
        let checked = self.checking_since.map(since).unwrap_or_default();
        if self.state == State::Checking && checked >= self.config.failed_after {
            self.set_state(State::Failed);
            self.next_round = None;
            return;
        }
        if self.is_silent(engine_now) {
            self.set_state(State::Disconnected);
        }
        let sent = self.stats.requests_sent;
        let Some(engine) = self.engine.as_mut() else {
            return;
        };
        match engine.handle_timeout(engine_now) {
            Ok(()) => {}
            Err(Error::Fault(_)) => return self.fail(),
            Err(error) => tracing::debug!(%error, "round of checks"),
        }
        self.collect(now);
        self.last_round = Some(now);
        self.idle_round = (self.stats.requests_sent == sent).then(|| self.pairs.len());
        self.pairs.give_up(self.config.failed_after, now);
        self.check_again(now);
        self.schedule(now);
    }

    /// While the peer has nominated nothing, pairs that were answered are checked on, which the packaged
    /// engine does not: an answer does not tell that the check had any effect. werift 0.25 answers
    /// those that come before our description, and in a restart does not act on them.
    fn check_again(&mut self, now: Instant) {
        let waits = self.state == State::Checking && self.selected.is_none();
        if !waits || self.role == IceRole::Controlling || self.again.is_some_and(|at| at > now) {
            return;
        }
        let pairs = self.pairs.report().into_iter().map(|pair| pair.path);
        let answered = |path: &Path| path.protocol == Protocol::Udp && self.checks.works(*path);
        let paths: Vec<Path> = pairs.filter(answered).take(AGAIN_PAIRS).collect();
        if paths.is_empty() {
            return;
        }
        let first = self.again.replace(now + AGAIN).is_none();
        for path in paths.into_iter().filter(|_| !first) {
            self.check_now(path, now);
        }
    }

    /// The engine's time, which stands still while we are not there: nobody was heard then because
    /// nobody listened. Consent is counted in real time.
    pub(super) fn engine_time(&mut self, now: Instant) -> Instant {
        let due = self.poll_timeout().map_or(now, |deadline| deadline.at);
        let late = now.saturating_duration_since(due.max(self.called));
        if late >= STALL {
            self.stalled += late;
        }
        self.called = self.called.max(now);
        now.checked_sub(self.stalled).unwrap_or(now)
    }

    fn schedule(&mut self, now: Instant) {
        self.next_round = match self.state {
            State::Checking => {
                let pause = self.pause;
                self.pause = (pause * 3 / 2).min(self.config.check_interval_max);
                Some(now + pause)
            }
            State::Connected | State::Completed | State::Disconnected => {
                Some(self.next_consent_round(now))
            }
            State::New | State::Failed | State::Closed => None,
        };
    }

    /// Brings the next round forward, but never closer than [`MIN_ROUND_PAUSE`] to the last one, unless
    /// that had nothing to check and there is a pair since.
    pub(super) fn hasten(&mut self, now: Instant) {
        if self.state != State::Checking {
            return;
        }
        let new_pair = self.idle_round.is_some_and(|had| self.pairs.len() > had);
        let last = self.last_round.filter(|_| !new_pair);
        let soonest = last.map_or(now, |last| now.max(last + MIN_ROUND_PAUSE));
        self.next_round = Some(self.next_round.map_or(soonest, |at| at.min(soonest)));
    }
}
