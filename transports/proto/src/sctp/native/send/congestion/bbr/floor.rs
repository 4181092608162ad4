//! The round trip without a queue, and ProbeRTT, which empties the queue to see it
//! (draft-ietf-ccwg-bbr §5.3.4, §5.5.7).

use std::time::{Duration, Instant};

use super::super::Ack;
use super::{Bbr, PROBE_RTT_WINDOW, STEADY, State, WINDOW};

/// How long a least round trip counts (§2.5).
const LEAST_SPAN: Duration = Duration::from_secs(10);
/// How often the queue is emptied to see one, if it was not empty by itself.
const INTERVAL: Duration = Duration::from_secs(5);
/// For how long.
const SPAN: Duration = Duration::from_millis(200);

#[derive(Debug)]
pub(super) struct Floor {
    least: Option<(Duration, Instant)>,
    /// The least since the last probe.
    recent: Option<Duration>,
    recent_at: Instant,
    probing: Probing,
    /// Data leaves again after a silence, in which the queue was empty.
    pub(super) idle: bool,
}

/// Stages of ProbeRTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Probing {
    No,
    /// The queue still drains.
    Draining,
    /// Until then, and a whole round (`true` when it is over).
    Until(Instant, bool),
}

impl Floor {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            least: None,
            recent: None,
            recent_at: now,
            probing: Probing::No,
            idle: false,
        }
    }

    /// The least round trip, if there was any.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.least.map(|(least, _)| least)
    }

    /// Takes a measurement; says whether it is time to look for another.
    pub(super) fn take(&mut self, rtt: Option<Duration>, now: Instant) -> bool {
        let expired = now.saturating_duration_since(self.recent_at) > INTERVAL;
        let Some(rtt) = rtt else { return expired };
        if expired || self.recent.is_none_or(|recent| rtt < recent) {
            self.recent = Some(rtt);
            self.recent_at = now;
        }
        let recent = (self.recent.unwrap_or(rtt), self.recent_at);
        let stale = |at: Instant| now.saturating_duration_since(at) > LEAST_SPAN;
        if self
            .least
            .is_none_or(|(least, at)| recent.0 < least || stale(at))
        {
            self.least = Some(recent);
        }
        expired
    }
}

impl Bbr {
    pub(super) fn follow_floor(&mut self, ack: &Ack, now: Instant) {
        let expired = self.floor.take(ack.rtt, now);
        if expired && self.state != State::ProbeRtt && !self.floor.idle {
            self.state = State::ProbeRtt;
            (self.pacing, self.gain) = (STEADY, PROBE_RTT_WINDOW);
            self.floor.probing = Probing::Draining;
            self.stop_probing();
            self.rounds.start();
        }
        self.floor.idle = false;
        if self.state == State::ProbeRtt {
            self.probe_rtt(ack, now);
        }
    }

    fn probe_rtt(&mut self, ack: &Ack, now: Instant) {
        match self.floor.probing {
            Probing::Draining => {
                if ack.flight <= self.in_flight_at(PROBE_RTT_WINDOW) {
                    self.floor.probing = Probing::Until(now + SPAN, false);
                    self.rounds.start();
                }
            }
            Probing::Until(at, over) => {
                let over = over || self.rounds.has_started();
                self.floor.probing = Probing::Until(at, over);
                if over {
                    self.leave_probe_rtt_in_time(now);
                }
            }
            Probing::No => self.floor.probing = Probing::Draining,
        }
    }

    pub(super) fn leave_probe_rtt_in_time(&mut self, now: Instant) {
        let Probing::Until(at, _) = self.floor.probing else {
            return;
        };
        if now <= at {
            return;
        }
        self.floor.probing = Probing::No;
        self.floor.recent_at = now;
        self.rounds.forget_losses();
        if self.rounds.full {
            self.start_down(now);
            self.start_cruise();
        } else {
            self.state = State::Startup;
            (self.pacing, self.gain) = (super::STARTUP_PACING, WINDOW);
        }
    }
}
