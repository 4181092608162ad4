//! Consent to send (RFC 7675), and the silence of a peer that is called `Disconnected`.
//!
//! At rest a check leaves each [`IceConfig::consent_interval`], give or take a fifth. One that is not
//! answered in about a round trip is followed by others at [`HURRY`] until one is: so
//! silence is known for what it is soon, and a check or two that are lost by chance tell nothing.
//! RFC 7675 §5.1 wants at least 4 s between two checks; those that come sooner only ask whether
//! the peer is still there, and only while it has not answered.
//!
//! Only answers to our checks on the selected path are consent (RFC 7675 §5.1), and only they end a
//! silence. Checks of the peer and data, authentic as they are, do not say that it takes what we send.
//!
//! [`IceConfig::consent_interval`]: crate::config::IceConfig::consent_interval

use std::time::{Duration, Instant};

use aws_lc_rs::hmac;

use super::super::State;
use super::Agent;
use crate::config::IceConfig;
use crate::id::Path;

/// How long an answer may take before the next check leaves, if the round trip is not known to be longer:
/// the first retransmission of RFC 8489 §6.2.1. Shorter where checks at rest are.
const HURRY: Duration = Duration::from_millis(500);

/// Checks in a row that nobody answered before the peer may be called disconnected. Two are lost by chance
/// each few hours on a path that loses one packet in a hundred.
const LOST_IN_A_ROW: u32 = 3;

/// Randomised pauses are 0.8 to 1.2 times the interval (RFC 7675 §5.1). The longest is less by more than
/// the 32nd part that who runs many agents may let checks wait for others.
const PAUSE: std::ops::RangeInclusive<f64> = 0.8..=1.16;

/// What is known of the selected path. Empty without one.
#[derive(Debug, Default)]
pub(super) struct Consent {
    /// The latest answer to a check of ours.
    given: Option<Instant>,
    /// The same in the engine's time: see [`Agent::engine_time`].
    heard: Option<Instant>,
    /// The latest check, and the regular one after it.
    sent: Option<(Instant, Instant)>,
    /// Checks since then.
    unanswered: u32,
    /// Pauses drawn so far.
    drawn: u64,
}

impl Consent {
    /// There is no path any more. What is drawn next does not begin anew.
    pub(super) fn clear(&mut self) {
        *self = Self {
            drawn: self.drawn,
            ..Self::default()
        };
    }

    fn expires_at(&self, config: &IceConfig) -> Option<Instant> {
        self.given.map(|at| at + config.failed_after)
    }
}

/// How long an answer may take.
fn patience(config: &IceConfig, round_trip: Option<Duration>) -> Duration {
    let least = HURRY.min(config.consent_interval / 4);
    let known = round_trip.unwrap_or_default() * 2;
    known.clamp(least, config.consent_interval.max(least))
}

impl Agent {
    /// A path was selected: its check was answered, or the peer nominated it.
    pub(super) fn consent_begins(&mut self, now: Instant) {
        self.consent.clear();
        self.consent.given = Some(now);
        self.consent.heard = Some(self.engine_time(now));
        self.note_consent_check(now);
        self.consent.unanswered = 0;
        self.next_round = Some(self.next_consent_round(now));
    }

    /// A check leaves.
    pub(super) fn consent_checked(&mut self, path: Path, now: Instant) {
        if self.selected == Some(path) {
            self.note_consent_check(now);
        }
    }

    fn note_consent_check(&mut self, now: Instant) {
        let next = now + self.draw_pause();
        self.consent.sent = Some((now, next));
        self.consent.unanswered = self.consent.unanswered.saturating_add(1);
    }

    /// The peer answered a check of ours.
    pub(super) fn consent_given(&mut self, path: Path, now: Instant) {
        if self.selected != Some(path) {
            return;
        }
        self.consent.given = Some(now);
        self.consent.heard = Some(self.engine_time(now));
        self.consent.unanswered = 0;
        if self.state == State::Disconnected {
            self.set_state(State::Connected);
        }
        if self.is_established() {
            self.next_round = Some(self.next_consent_round(now));
        }
    }

    /// Whether there is a path in use that is to be kept.
    pub(super) fn is_established(&self) -> bool {
        let state = matches!(
            self.state,
            State::Connected | State::Completed | State::Disconnected
        );
        state && self.selected.is_some()
    }

    /// Whether nobody has answered for too long. `engine_now` is the engine's time.
    pub(super) fn is_silent(&self, engine_now: Instant) -> bool {
        let since = |at| engine_now.saturating_duration_since(at);
        let heard = self.consent.heard.map(since);
        self.is_established()
            && self.consent.unanswered >= LOST_IN_A_ROW
            && heard.is_some_and(|silence| silence >= self.config.disconnected_after)
    }

    pub(super) fn consent_expired(&self, now: Instant) -> bool {
        let expires = self.consent.expires_at(&self.config);
        self.state != State::Failed && expires.is_some_and(|at| at <= now)
    }

    /// The next check: the regular one, or sooner while the latest has no answer, or when consent expires.
    pub(super) fn next_consent_round(&self, now: Instant) -> Instant {
        let pause = patience(&self.config, self.stats.round_trip);
        let due = match self.consent.sent {
            None => now + pause,
            Some((_, next)) if self.consent.unanswered == 0 => next,
            Some((sent, next)) => next.min(sent + pause),
        };
        // A check that could not leave is not tried without end.
        let due = if due <= now { now + pause } else { due };
        let expires = self.consent.expires_at(&self.config);
        expires.map_or(due, |at| due.min(at.max(now)))
    }

    /// From our password, which nobody on the way knows.
    fn draw_pause(&mut self) -> Duration {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.local.pwd.as_bytes());
        self.consent.drawn += 1;
        let tag = hmac::sign(&key, format!("consent {}", self.consent.drawn).as_bytes());
        let mut drawn = [0; 4];
        drawn.copy_from_slice(&tag.as_ref()[..4]);
        let share = f64::from(u32::from_be_bytes(drawn)) / f64::from(u32::MAX);
        let factor = PAUSE.start() + share * (PAUSE.end() - PAUSE.start());
        self.config.consent_interval.mul_f64(factor)
    }
}
