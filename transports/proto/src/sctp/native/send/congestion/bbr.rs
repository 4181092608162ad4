//! BBR (draft-ietf-ccwg-bbr, version 3 of the algorithm): how fast the path delivers and how long
//! its round trip is without a queue decide how much is on its way and how fast it leaves. Losses
//! count from two in a hundred on, so that chance does not slow it down, and a full buffer does.
//!
//! `rounds` counts round trips and what each has shown, `probe` looks for more bandwidth now and
//! then, `floor` for the round trip without a queue.
//!
//! Where it differs from the draft: no ECN (DTLS hides it); no packet conservation in recovery,
//! as in the implementations of its authors; data counts without headers, on both sides of every
//! comparison.

mod floor;
mod probe;
mod rounds;

use std::time::{Duration, Instant};

use super::{Ack, INITIAL, Lost, MAXIMUM, SEGMENT};
use floor::Floor;
use probe::Probe;
use rounds::Rounds;

/// The least window.
const MIN_WINDOW: usize = 4 * SEGMENT;
/// Gains in percent (§2.4, §5.6.1).
const STARTUP_PACING: u64 = 277;
const DRAIN_PACING: u64 = 50;
const DOWN_PACING: u64 = 90;
const UP_PACING: u64 = 125;
const STEADY: u64 = 100;
const WINDOW: u64 = 200;
const UP_WINDOW: u64 = 225;
const PROBE_RTT_WINDOW: u64 = 50;
/// Of the estimate that leaves in fact, so that a queue drains in time (§2.4).
const MARGIN: u64 = 99;
/// Losses that a path may have: one part in so many, 2 % (§2.4).
const LOSS_TOLERANCE: u64 = 50;
/// What losses beyond that leave of a bound, in tenths (§2.4).
const BETA: usize = 7;
/// Bursts as long as the pacer's are on their way at once, beside the model: ours and those that
/// acknowledgements wait for.
const BURSTS: u64 = 2;
/// A burst: what the rate yields in this time, and bounds. The pacer's, since timers are no finer.
const BURST_SPAN: Duration = Duration::from_millis(2);
const BURST_MAX: u64 = 512 * 1024;

/// What it is doing (§4.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Doubles each round until the rate no longer grows.
    Startup,
    /// Takes back the queue that has built.
    Drain,
    /// After a probe: drains what it has left.
    Down,
    /// Keeps the rate, with room for others.
    Cruise,
    /// Fills the pipe before a probe.
    Refill,
    /// Probes for more.
    Up,
    /// Empties the queue to see the round trip without it.
    ProbeRtt,
}

/// The control of one association.
#[derive(Debug)]
pub(in super::super) struct Bbr {
    state: State,
    window: usize,
    /// Bytes per second; `None` before the first sample.
    rate: Option<u64>,
    pacing: u64,
    gain: u64,
    rounds: Rounds,
    probe: Probe,
    floor: Floor,
}

impl Bbr {
    pub(super) fn new(seed: u32, now: Instant) -> Self {
        Self {
            state: State::Startup,
            window: INITIAL,
            rate: None,
            pacing: STARTUP_PACING,
            gain: WINDOW,
            rounds: Rounds::new(now),
            probe: Probe::new(seed, now),
            floor: Floor::new(now),
        }
    }

    /// Bytes that may be on their way.
    pub(super) fn window(&self) -> usize {
        self.window
    }

    pub(super) fn rate(&self) -> Option<u64> {
        self.rate
    }

    /// Data leaves when nothing was on its way: at the rate that is known (§5.4.3).
    pub(super) fn on_restart(&mut self, limited: bool, now: Instant) {
        if !limited {
            return;
        }
        self.floor.idle = true;
        self.rounds.restart_aggregation(now);
        if self.is_probing_bandwidth() {
            self.pace(STEADY);
        } else if self.state == State::ProbeRtt {
            self.leave_probe_rtt_in_time(now);
        }
    }

    /// New data was acknowledged (§5.2.3).
    pub(super) fn on_ack(&mut self, ack: &Ack, now: Instant) {
        let mut ack = *ack;
        // Faster than any round trip: acknowledgements that came together.
        if ack.sample.interval < self.floor.round_trip().unwrap_or_default() {
            ack.sample.rate = 0;
        }
        self.rounds.begin(&ack.sample);
        let shown = self.rounds.is_loss_round_over();
        self.rounds.take_rate(&ack.sample);
        if shown {
            self.adapt_to_losses();
        }
        self.rounds.note_aggregation(ack.bytes, self.window, now);
        self.look_for_full_pipe(&ack);
        if self.state == State::Drain && ack.flight <= self.in_flight_at(STEADY) {
            self.start_down(now);
        }
        self.follow_probe(&ack, now);
        self.follow_floor(&ack, now);
        self.rounds.end(&ack.sample);
        self.pace(self.pacing);
        self.fit_window(&ack);
    }

    /// The pipe is full when the rate does not grow any more for three rounds, or when too much
    /// is lost (§5.3.1).
    fn look_for_full_pipe(&mut self, ack: &Ack) {
        self.rounds.look_for_plateau(&ack.sample);
        if self.state != State::Startup {
            return;
        }
        if self
            .rounds
            .loses_much_at_start(&ack.sample, ack.in_recovery)
        {
            self.rounds.full = true;
            let least = self
                .bandwidth_delay(STEADY)
                .max(self.rounds.latest_in_flight());
            self.probe.set_upper(least);
        }
        if self.rounds.full {
            self.state = State::Drain;
            (self.pacing, self.gain) = (DRAIN_PACING, WINDOW);
            tracing::trace!(bandwidth = self.rounds.bandwidth(), "the pipe is full");
        }
    }

    /// Losses begin that may prove to be none.
    pub(super) fn on_event(&mut self) {
        self.probe.remember();
    }

    /// A chunk is lost (§5.5.10.2).
    pub(super) fn on_lost(&mut self, lost: &Lost, now: Instant) {
        self.rounds.note_loss(lost.size);
        if self.probe.is_watching() && is_too_much(lost.lost, lost.in_flight) {
            self.too_much(tolerable(lost), lost.limited, now);
        }
    }

    /// The retransmission timeout ran out: begins again with one packet, and returns to what the
    /// model says round by round (§5.6.4.5).
    pub(super) fn on_timeout(&mut self) {
        self.rounds.note_loss(SEGMENT);
        self.window = SEGMENT;
    }

    /// What was taken for lost has arrived (§5.5.10.3).
    pub(super) fn undo(&mut self) {
        self.rounds.forget_losses();
        self.probe.recall();
    }

    /// Losses lower the bounds while nothing is probed (§5.5.10.1).
    fn adapt_to_losses(&mut self) {
        let probing = matches!(self.state, State::Startup | State::Refill | State::Up);
        if !probing {
            self.rounds.lower(self.window);
        }
        self.rounds.forget_losses_of_round();
    }

    fn is_probing_bandwidth(&self) -> bool {
        match self.state {
            State::Down | State::Cruise | State::Refill | State::Up => true,
            State::Startup | State::Drain | State::ProbeRtt => false,
        }
    }

    /// Bytes that fill the path `gain` times, without the bounds of what timers can do.
    fn bandwidth_delay(&self, gain: u64) -> usize {
        let Some(least) = self.floor.round_trip() else {
            return INITIAL;
        };
        portion(self.rounds.bandwidth(), least, gain)
    }

    /// What is on its way at such a gain (§5.6.4.2).
    fn in_flight_at(&self, gain: u64) -> usize {
        self.with_room(self.bandwidth_delay(gain))
    }

    fn with_room(&self, bytes: usize) -> usize {
        let room = usize::try_from(BURSTS * burst(self.rate.unwrap_or_default()));
        let more = if self.state == State::Up {
            2 * SEGMENT
        } else {
            0
        };
        bytes.max(room.unwrap_or(usize::MAX)).max(MIN_WINDOW) + more
    }

    /// A round trip was measured by other means than data.
    pub(super) fn on_round_trip(&mut self, rtt: Duration, now: Instant) {
        self.floor.take(Some(rtt), now);
        self.pace(self.pacing);
    }

    /// The rate follows the bandwidth; in Startup it only grows, from what the first window yields
    /// in a round trip on: an application that says little does not show what the path can do
    /// (§5.6.2).
    fn pace(&mut self, gain: u64) {
        let rate = share(self.rounds.bandwidth(), gain * MARGIN / 100);
        if self.rounds.full {
            self.rate = Some(rate.max(1));
            return;
        }
        let first = self.floor.round_trip().map_or(0, |least| {
            let yields = INITIAL as f64 / least.as_secs_f64().max(1e-9);
            share(yields as u64, gain)
        });
        let known = self.rate.unwrap_or_default();
        self.rate = Some(rate.max(first).max(known)).filter(|rate| *rate > 0);
    }

    /// The window follows the model by what was acknowledged (§5.6.4.6).
    fn fit_window(&mut self, ack: &Ack) {
        let extra = self.rounds.aggregation();
        let most = self.with_room(self.bandwidth_delay(self.gain) + extra);
        let initial = u64::try_from(INITIAL).unwrap_or_default();
        if self.rounds.full {
            self.window = (self.window + ack.bytes).min(most);
        } else if self.window < most || ack.sample.total < initial {
            self.window += ack.bytes;
        }
        let cap = match self.state {
            State::Startup | State::Drain => usize::MAX,
            State::Down | State::Refill | State::Up => self.probe.upper(),
            State::Cruise => self.probe.with_headroom(),
            State::ProbeRtt => {
                let little = self.bandwidth_delay(PROBE_RTT_WINDOW);
                self.probe.with_headroom().min(little)
            }
        };
        let cap = cap.min(self.rounds.lower_in_flight()).min(MAXIMUM);
        self.window = self.window.min(cap.max(MIN_WINDOW)).max(MIN_WINDOW);
    }
}

/// Bytes in a burst at such a rate.
pub(in super::super) fn burst(rate: u64) -> u64 {
    let segment = u64::try_from(2 * SEGMENT).unwrap_or_default();
    let span = portion(rate, BURST_SPAN, STEADY);
    u64::try_from(span)
        .unwrap_or(u64::MAX)
        .clamp(segment, BURST_MAX)
}

/// So many percent of a rate.
fn share(rate: u64, percent: u64) -> u64 {
    rate.saturating_mul(percent) / 100
}

/// What a rate yields in a time, times a gain in percent. In floating point: division of wide
/// integers would be the largest cost of an acknowledgement.
fn portion(rate: u64, time: Duration, gain: u64) -> usize {
    let bytes = rate as f64 * time.as_secs_f64() * (gain as f64 / 100.0);
    (bytes as usize).min(MAXIMUM)
}

/// Whether so many bytes lost of so many sent are more than chance (§5.5.10.2).
fn is_too_much(lost: u64, in_flight: usize) -> bool {
    lost.saturating_mul(LOSS_TOLERANCE) > u64::try_from(in_flight).unwrap_or(u64::MAX)
}

/// How much could have been on its way with tolerable losses (§5.5.10.2).
fn tolerable(lost: &Lost) -> usize {
    let size = u64::try_from(lost.size).unwrap_or_default();
    let in_flight = u64::try_from(lost.in_flight).unwrap_or_default();
    let before = in_flight.saturating_sub(size);
    let lost_before = lost.lost.saturating_sub(size);
    let prefix = (before / LOSS_TOLERANCE).saturating_sub(lost_before);
    let prefix = prefix * LOSS_TOLERANCE / (LOSS_TOLERANCE - 1);
    usize::try_from(before + prefix).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests;
