//! ProbeBW: now and then a little faster, to see whether there is more (draft-ietf-ccwg-bbr §5.3.3).

use std::time::{Duration, Instant};

use super::super::{Ack, SEGMENT};
use super::{
    BETA, Bbr, DOWN_PACING, MIN_WINDOW, STEADY, State, UP_PACING, UP_WINDOW, WINDOW, is_too_much,
};

/// Between two probes: so long at least, and up to a second more (§5.3.3.5.2).
const WAIT: Duration = Duration::from_secs(2);
/// Rounds between two probes at most: those in which Reno would grow by as much (§5.3.3.5.1).
const MOST_ROUNDS: usize = 63;
/// What is left to others: one part in so many, 15 % (§2.4).
const HEADROOM: (usize, usize) = (15, 100);

/// What the acknowledgements that come in belong to (§5.5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Quiet,
    Refilling,
    Starting,
    Feedback,
    Stopping,
}

#[derive(Debug)]
pub(super) struct Probe {
    since: Instant,
    wait: Duration,
    rounds: usize,
    phase: Phase,
    /// Losses of what this probe has sent have not been looked at yet.
    watching: bool,
    /// What may be on its way without too many losses; `usize::MAX` for not known (§2.8).
    upper: usize,
    /// How fast `upper` grows in Up (§5.3.3.5.4): by a segment for so many bytes acknowledged.
    up_rounds: u32,
    up_acked: usize,
    up_step: usize,
    /// `upper` before the last losses.
    before: Option<usize>,
    chance: u64,
}

impl Probe {
    pub(super) fn new(seed: u32, now: Instant) -> Self {
        Self {
            since: now,
            wait: WAIT,
            rounds: 0,
            phase: Phase::Quiet,
            watching: false,
            upper: usize::MAX,
            up_rounds: 0,
            up_acked: 0,
            up_step: usize::MAX,
            before: None,
            chance: u64::from(seed),
        }
    }

    pub(super) fn is_watching(&self) -> bool {
        self.watching
    }

    pub(super) fn upper(&self) -> usize {
        self.upper
    }

    pub(super) fn set_upper(&mut self, bytes: usize) {
        self.upper = bytes.max(MIN_WINDOW);
    }

    /// What leaves room for others (§5.5.8).
    pub(super) fn with_headroom(&self) -> usize {
        if self.upper == usize::MAX {
            return usize::MAX;
        }
        let room = (self.upper / HEADROOM.1 * HEADROOM.0).max(SEGMENT);
        (self.upper - room.min(self.upper)).max(MIN_WINDOW)
    }

    /// Losses may lower the bound.
    pub(super) fn remember(&mut self) {
        self.before = Some(self.upper);
    }

    /// They were none.
    pub(super) fn recall(&mut self) {
        if let Some(before) = self.before.take() {
            self.upper = self.upper.max(before);
        }
    }

    /// A number that differs between associations (SplitMix64).
    fn draw(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.chance ^ (self.chance >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn pick_wait(&mut self) {
        let chance = self.draw();
        self.rounds = usize::from(chance & 1 == 1);
        self.wait = WAIT + Duration::from_millis((chance >> 1) % 1000);
    }

    fn raise_slope(&mut self, window: usize) {
        let growth = SEGMENT << self.up_rounds.min(20);
        self.up_rounds += 1;
        self.up_step = (window / (growth / SEGMENT)).max(SEGMENT);
    }
}

impl Bbr {
    /// The next step of the cycle, if it is time (§5.3.3.6).
    pub(super) fn follow_probe(&mut self, ack: &Ack, now: Instant) {
        if !self.rounds.full {
            return;
        }
        if self.rounds.has_started() {
            self.probe.rounds += 1;
        }
        self.adapt_upper(ack, now);
        match self.state {
            State::Down => {
                if !self.probe_in_time(now) && self.has_drained(ack.flight) {
                    self.start_cruise();
                }
            }
            State::Cruise => {
                self.probe_in_time(now);
            }
            State::Refill => {
                if self.rounds.has_started() {
                    self.start_up(ack, now);
                }
            }
            State::Up => {
                if self.has_probed_enough(ack) {
                    self.start_down(now);
                }
            }
            State::Startup | State::Drain | State::ProbeRtt => {}
        }
    }

    fn has_drained(&self, flight: usize) -> bool {
        flight <= self.probe.with_headroom() && flight <= self.in_flight_at(STEADY)
    }

    fn probe_in_time(&mut self, now: Instant) -> bool {
        let target = self.target() / SEGMENT;
        let waited = now.saturating_duration_since(self.probe.since) > self.probe.wait;
        let due = waited || self.probe.rounds >= target.min(MOST_ROUNDS);
        if due {
            self.start_refill();
        }
        due
    }

    fn target(&self) -> usize {
        self.bandwidth_delay(STEADY).min(self.window)
    }

    /// Enough when the bound is not in the way and the rate no longer grows (§5.3.3.5.3).
    fn has_probed_enough(&mut self, ack: &Ack) -> bool {
        if is_limited(ack, self.window) && self.window >= self.probe.upper {
            self.rounds.restart_plateau(&ack.sample);
            return false;
        }
        self.rounds.is_on_plateau()
    }

    /// What was learnt of the bound (§5.5.6).
    fn adapt_upper(&mut self, ack: &Ack, now: Instant) {
        let round = self.rounds.has_started();
        if self.probe.phase == Phase::Starting && round {
            self.probe.phase = Phase::Feedback;
        }
        if self.probe.phase == Phase::Stopping && round {
            self.probe.watching = false;
            self.probe.phase = Phase::Quiet;
            if self.is_probing_bandwidth() && !ack.sample.limited {
                self.rounds.advance();
            }
        }
        let sample = &ack.sample;
        if is_too_much(sample.lost, sample.in_flight) {
            if self.probe.watching {
                self.too_much(sample.in_flight, sample.limited, now);
            }
            return;
        }
        if self.probe.upper == usize::MAX {
            return;
        }
        self.probe.upper = self.probe.upper.max(sample.in_flight);
        if self.state == State::Up {
            self.raise_upper(ack);
        }
    }

    fn raise_upper(&mut self, ack: &Ack) {
        if !is_limited(ack, self.window) || self.window < self.probe.upper {
            return;
        }
        self.probe.up_acked += ack.bytes;
        if self.probe.up_acked >= self.probe.up_step {
            let steps = self.probe.up_acked / self.probe.up_step;
            self.probe.up_acked -= steps * self.probe.up_step;
            self.probe.upper = self.probe.upper.saturating_add(steps * SEGMENT);
        }
        if self.rounds.has_started() {
            self.probe.raise_slope(self.window);
        }
    }

    /// So much on its way loses too much: the bound falls (§5.5.10.2).
    pub(super) fn too_much(&mut self, in_flight: usize, limited: bool, now: Instant) {
        self.probe.watching = false;
        if !limited {
            let least = self.target() / 10 * BETA;
            self.probe.set_upper(in_flight.max(least));
        }
        if self.state == State::Up {
            self.start_down(now);
        }
    }

    /// The acknowledgements that come from now on are no longer of a probe.
    pub(super) fn stop_probing(&mut self) {
        self.probe.phase = Phase::Stopping;
    }

    pub(super) fn start_down(&mut self, now: Instant) {
        self.rounds.forget_losses_of_round();
        self.rounds.start();
        self.probe.up_step = usize::MAX;
        self.probe.pick_wait();
        self.probe.since = now;
        self.probe.phase = Phase::Stopping;
        self.state = State::Down;
        (self.pacing, self.gain) = (DOWN_PACING, WINDOW);
    }

    pub(super) fn start_cruise(&mut self) {
        self.state = State::Cruise;
        (self.pacing, self.gain) = (STEADY, WINDOW);
    }

    fn start_refill(&mut self) {
        self.rounds.forget_losses();
        self.probe.up_rounds = 0;
        self.probe.up_acked = 0;
        self.probe.phase = Phase::Refilling;
        self.rounds.start();
        self.state = State::Refill;
        (self.pacing, self.gain) = (STEADY, WINDOW);
    }

    fn start_up(&mut self, ack: &Ack, now: Instant) {
        self.probe.watching = true;
        self.probe.phase = Phase::Starting;
        self.probe.since = now;
        self.rounds.start();
        self.rounds.restart_plateau(&ack.sample);
        self.probe.raise_slope(self.window);
        self.state = State::Up;
        (self.pacing, self.gain) = (UP_PACING, UP_WINDOW);
    }
}

/// Whether the window was what limited.
fn is_limited(ack: &Ack, window: usize) -> bool {
    ack.before + SEGMENT > window
}
