//! CUBIC (RFC 9438), leaving slow start by delay (HyStart++, RFC 9406).

use std::time::{Duration, Instant};

use super::{Ack, INITIAL, MAXIMUM, SEGMENT};

/// The least window.
const MINIMUM: usize = 4 * SEGMENT;
/// Multiplicative decrease of CUBIC, in tenths (RFC 9438 §4.6).
const BETA: usize = 7;
/// CUBIC's aggressiveness (RFC 9438 §5.1).
const C: f64 = 0.4;
/// Growth of the Reno-friendly estimate: 3 × (1 - β) / (1 + β) (RFC 9438 §4.3).
const FRIENDLY: f64 = 0.53;
/// Bounds of the increase of delay that ends slow start (RFC 9406 §4.3).
const MIN_DELAY_STEP: Duration = Duration::from_millis(4);
const MAX_DELAY_STEP: Duration = Duration::from_millis(16);
/// Samples in a round before its least round trip counts (RFC 9406 §4.3).
const ROUND_SAMPLES: u32 = 8;
/// Rounds of conservative slow start, and how much slower it grows (RFC 9406 §4.3).
const CONSERVATIVE_ROUNDS: u32 = 5;
const CONSERVATIVE_DIVISOR: usize = 4;

/// The window of one association.
#[derive(Debug)]
pub(in super::super) struct Cubic {
    window: usize,
    threshold: usize,
    slow_start: SlowStart,
    growth: Growth,
    /// As it was before the last reduction.
    before: Option<(usize, usize, Growth)>,
}

/// Where on its curve the window is.
#[derive(Clone, Copy, Debug, Default)]
struct Growth {
    /// The window before the last reduction.
    most: f64,
    /// Window of the Reno-friendly region.
    friendly: f64,
    epoch: Option<Instant>,
    /// Seconds from the beginning of the epoch until the window is at `most` again.
    k: f64,
}

#[derive(Debug, Default)]
struct SlowStart {
    last_round: Option<Duration>,
    this_round: Option<Duration>,
    samples: u32,
    /// The least round trip when conservative slow start began, and its rounds so far.
    conservative: Option<(Duration, u32)>,
}

impl Cubic {
    pub(super) fn new() -> Self {
        Self {
            window: INITIAL,
            threshold: MAXIMUM,
            slow_start: SlowStart::default(),
            growth: Growth::default(),
            before: None,
        }
    }

    /// Bytes that may be on their way.
    pub(super) fn window(&self) -> usize {
        self.window
    }

    /// Bytes per second: above what window and round trip yield, by a quarter, in slow start twice
    /// as much; acknowledgements still set the pace.
    pub(super) fn rate(&self, smoothed: Duration) -> u64 {
        let factor = if self.in_slow_start() { 8 } else { 5 };
        let window = u128::try_from(self.window).unwrap_or(u128::MAX);
        let second = Duration::from_secs(1).as_nanos();
        let rate = window * factor * second / 4 / smoothed.as_nanos().max(1);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    fn in_slow_start(&self) -> bool {
        self.window < self.threshold
    }

    /// New data was acknowledged outside of recovery.
    pub(super) fn on_ack(&mut self, ack: &Ack, now: Instant) {
        let limited = ack.before + ack.bytes / 2 >= self.window / 2;
        if self.in_slow_start() {
            self.follow_delay(ack);
            if limited {
                let divisor = match self.slow_start.conservative {
                    Some(_) => CONSERVATIVE_DIVISOR,
                    None => 1,
                };
                self.grow_to(self.window + ack.bytes / divisor);
            }
        } else if limited {
            self.avoid(ack, now);
        } else {
            self.growth.epoch = None; // idle time is not time to grow in (RFC 9438 §5.8)
        }
    }

    fn grow_to(&mut self, window: usize) {
        self.window = window.min(MAXIMUM);
    }

    /// HyStart++: slow start ends when the delay rises, not when a queue overflows.
    fn follow_delay(&mut self, ack: &Ack) {
        let state = &mut self.slow_start;
        if let Some(rtt) = ack.rtt {
            state.samples += 1;
            state.this_round = Some(state.this_round.map_or(rtt, |least| least.min(rtt)));
        }
        if let (Some(last), Some(this)) = (state.last_round, state.this_round)
            && state.samples >= ROUND_SAMPLES
        {
            let step = (last / 8).clamp(MIN_DELAY_STEP, MAX_DELAY_STEP);
            match state.conservative {
                None if this >= last + step => state.conservative = Some((this, 0)),
                Some((baseline, _)) if this < baseline => state.conservative = None,
                Some(_) | None => {}
            }
        }
        if ack.round_over {
            state.last_round = state.this_round.take().or(state.last_round);
            state.samples = 0;
            if let Some((_, rounds)) = &mut state.conservative {
                *rounds += 1;
                if *rounds >= CONSERVATIVE_ROUNDS {
                    self.threshold = self.window;
                }
            }
        }
    }

    /// Congestion avoidance (RFC 9438 §4.2 to §4.5).
    fn avoid(&mut self, ack: &Ack, now: Instant) {
        let window = segments(self.window);
        let growth = &mut self.growth;
        let epoch = *growth.epoch.get_or_insert_with(|| {
            growth.friendly = window;
            growth.k = ((growth.most - window).max(0.0) / C).cbrt();
            growth.most = growth.most.max(window);
            now
        });
        let elapsed = now.saturating_duration_since(epoch) + ack.smoothed;
        let t = elapsed.as_secs_f64() - growth.k;
        let target = (C * t * t * t + growth.most).clamp(window, window * 1.5);
        let acked = segments(ack.bytes);
        growth.friendly += FRIENDLY * acked / window;
        let cubic = window + (target - window) * acked / window;
        let grown = bytes(cubic.max(growth.friendly));
        self.grow_to(grown);
    }

    /// Something was lost: once per event (RFC 9438 §4.6).
    pub(super) fn on_loss(&mut self) {
        self.before = Some((self.window, self.threshold, self.growth));
        let window = segments(self.window);
        // Fast convergence (RFC 9438 §4.7).
        self.growth.most = if window < self.growth.most {
            window * 0.85
        } else {
            window
        };
        self.window = (self.window * BETA / 10).max(MINIMUM);
        self.threshold = self.window;
        self.growth.epoch = None;
    }

    /// The retransmission timeout ran out (RFC 9260 §6.3.3 E1), `again` with nothing acknowledged
    /// since the last time: the threshold stays then (RFC 5681 §3.1).
    pub(super) fn on_timeout(&mut self, again: bool) {
        if !again {
            self.on_loss();
        }
        self.window = SEGMENT;
    }

    /// The last reduction was not called for (RFC 9438 §4.9).
    pub(super) fn undo(&mut self) {
        if let Some((window, threshold, growth)) = self.before.take() {
            self.window = self.window.max(window);
            self.threshold = self.threshold.max(threshold);
            self.growth = growth;
        }
    }
}

/// The window is far below 2^52.
fn segments(bytes: usize) -> f64 {
    let bytes = u32::try_from(bytes.min(MAXIMUM)).unwrap_or(u32::MAX);
    f64::from(bytes) / SEGMENT as f64
}

fn bytes(segments: f64) -> usize {
    (segments * SEGMENT as f64).clamp(0.0, MAXIMUM as f64) as usize
}

#[cfg(test)]
mod tests {
    use super::super::Sample;
    use super::*;

    fn ack(cubic: &Cubic, rtt: Duration, round_over: bool) -> Ack {
        Ack {
            bytes: 2 * SEGMENT,
            before: cubic.window(),
            flight: cubic.window().saturating_sub(2 * SEGMENT),
            rtt: Some(rtt),
            smoothed: rtt,
            round_over,
            in_recovery: false,
            sample: Sample::default(),
        }
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "a test has to begin at some instant"
    )]
    fn begin() -> Instant {
        Instant::now()
    }

    #[test]
    fn slow_start_ends_when_the_delay_rises() {
        let mut cubic = Cubic::new();
        let now = begin();
        for round in 0..40 {
            let rtt = Duration::from_millis(20 + 8 * (round / 4));
            for n in 0..10 {
                let ack = ack(&cubic, rtt, n == 9);
                cubic.on_ack(&ack, now);
            }
        }
        assert!(!cubic.in_slow_start());
    }

    #[test]
    fn after_a_loss_the_window_returns_to_where_it_was_and_goes_beyond() {
        let mut cubic = Cubic::new();
        let mut now = begin();
        let rtt = Duration::from_millis(20);
        while cubic.window() < 1_000_000 {
            cubic.on_ack(&ack(&cubic, rtt, false), now);
        }
        let before = cubic.window();
        cubic.on_loss();
        assert_eq!(cubic.window(), before * 7 / 10);
        let begun = now;
        while cubic.window() < before {
            let per_round = cubic.window() / (2 * SEGMENT);
            for _ in 0..per_round {
                cubic.on_ack(&ack(&cubic, rtt, false), now);
            }
            now += rtt;
        }
        let took = now - begun;
        assert!((3..10).contains(&took.as_secs()), "{took:?}");
        while now - begun < took * 3 {
            cubic.on_ack(&ack(&cubic, rtt, false), now);
            now += rtt / 100;
        }
        assert!(cubic.window() > before * 12 / 10);
    }

    #[test]
    fn what_the_application_does_not_use_does_not_grow() {
        let mut cubic = Cubic::new();
        let mut ack = ack(&cubic, Duration::from_millis(5), false);
        ack.before = 0;
        ack.bytes = 100;
        for _ in 0..1000 {
            cubic.on_ack(&ack, begin());
        }
        assert_eq!(cubic.window(), INITIAL);
    }

    #[test]
    fn a_reduction_that_was_not_called_for_is_undone() {
        let mut cubic = Cubic::new();
        let (mut now, rtt) = (begin(), Duration::from_millis(20));
        while cubic.window() < 1_000_000 {
            cubic.on_ack(&ack(&cubic, rtt, false), now);
        }
        cubic.on_loss();
        now += rtt;
        cubic.on_ack(&ack(&cubic, rtt, false), now);
        cubic.undo();
        assert!(cubic.window() >= 1_000_000 && cubic.in_slow_start());
        cubic.on_loss();
        let reduced = cubic.window();
        cubic.undo();
        cubic.undo();
        assert!(cubic.window() > reduced, "once is enough");
    }

    #[test]
    fn an_outage_of_many_timeouts_is_one_reduction() {
        let mut cubic = Cubic::new();
        let (now, rtt) = (begin(), Duration::from_millis(20));
        while cubic.window() < 1_000_000 {
            cubic.on_ack(&ack(&cubic, rtt, false), now);
        }
        (0..8).for_each(|n| cubic.on_timeout(n > 0));
        assert_eq!(cubic.window(), SEGMENT);
        while cubic.window() < 700_000 {
            assert!(cubic.in_slow_start(), "{}", cubic.window());
            cubic.on_ack(&ack(&cubic, rtt, false), now);
        }
    }
}
