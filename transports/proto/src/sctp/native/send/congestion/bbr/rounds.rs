//! Round trips counted in packets, and what each has shown: the rate, losses, and
//! acknowledgements that come in bunches (draft-ietf-ccwg-bbr §5.5).

use std::collections::VecDeque;
use std::time::Instant;

use super::super::{MAXIMUM, SEGMENT, Sample};
use super::{BETA, is_too_much, portion};

/// Rounds without growth after which the pipe is full (§5.3.1.2).
const FULL_ROUNDS: u32 = 3;
/// What counts as growth, in percent.
const GROWTH: u64 = 125;
/// Losses in a round that end Startup, beside being more than two in a hundred (§5.3.1.3).
const START_LOSSES: usize = 6 * SEGMENT;
/// Rounds for which a bunch of acknowledgements counts (§2.11).
const BUNCH_ROUNDS: u64 = 10;

#[derive(Debug)]
pub(super) struct Rounds {
    count: u64,
    /// Bytes delivered by now.
    total: u64,
    /// What has to be delivered for the round to be over.
    until: u64,
    started: bool,
    /// The best rate of this cycle of probing, and of the one before (§5.5.5).
    best: [u64; 2],
    /// The same for losses: a round from the first loss on.
    loss_until: u64,
    loss_round_over: bool,
    lost: usize,
    latest_rate: u64,
    latest_in_flight: u64,
    /// Bounds that losses have lowered, until the next probe (§2.9).
    lower: Option<(u64, usize)>,
    /// The pipe has been full once.
    pub(super) full: bool,
    plateau: Plateau,
    bunch: Bunch,
}

/// Whether the rate still grows.
#[derive(Debug, Default)]
struct Plateau {
    now: bool,
    best: u64,
    rounds: u32,
}

/// How much more is acknowledged at once than the rate explains (§5.5.9).
#[derive(Debug)]
struct Bunch {
    since: Instant,
    delivered: usize,
    /// The largest, and those after it that may follow it, with their rounds.
    largest: VecDeque<(u64, usize)>,
}

impl Rounds {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            count: 0,
            total: 0,
            until: 0,
            started: false,
            best: [0; 2],
            loss_until: 0,
            loss_round_over: false,
            lost: 0,
            latest_rate: 0,
            latest_in_flight: 0,
            lower: None,
            full: false,
            plateau: Plateau::default(),
            bunch: Bunch {
                since: now,
                delivered: 0,
                largest: VecDeque::new(),
            },
        }
    }

    /// An acknowledgement begins to be taken.
    pub(super) fn begin(&mut self, sample: &Sample) {
        self.total = sample.total;
        self.started = sample.prior_delivered >= self.until;
        if self.started {
            self.count += 1;
            self.until = sample.total;
        }
        self.latest_rate = self.latest_rate.max(sample.rate);
        self.latest_in_flight = self.latest_in_flight.max(sample.delivered);
        self.loss_round_over = sample.prior_delivered >= self.loss_until;
        if self.loss_round_over {
            self.loss_until = sample.total;
        }
    }

    /// It has been taken.
    pub(super) fn end(&mut self, sample: &Sample) {
        if self.loss_round_over {
            self.latest_rate = sample.rate;
            self.latest_in_flight = sample.delivered;
        }
    }

    /// Whether this acknowledgement began a round.
    pub(super) fn has_started(&self) -> bool {
        self.started
    }

    /// What is delivered from now on is of a new round.
    pub(super) fn start(&mut self) {
        self.until = self.total;
    }

    pub(super) fn is_loss_round_over(&self) -> bool {
        self.loss_round_over
    }

    /// The best rate counts for two cycles of probing; what the application limited counts only if
    /// it was better.
    pub(super) fn take_rate(&mut self, sample: &Sample) {
        if !sample.limited || sample.rate >= self.most() {
            self.best[0] = self.best[0].max(sample.rate);
        }
    }

    /// A probe is over.
    pub(super) fn advance(&mut self) {
        if self.best[0] > 0 {
            self.best = [0, self.best[0]];
        }
    }

    fn most(&self) -> u64 {
        self.best[0].max(self.best[1])
    }

    /// Bytes per second that the path is taken to deliver.
    pub(super) fn bandwidth(&self) -> u64 {
        let lower = self.lower.map_or(u64::MAX, |(rate, _)| rate);
        self.most().min(lower)
    }

    /// Compares the rate with that of the rounds before (§5.3.1.2).
    pub(super) fn look_for_plateau(&mut self, sample: &Sample) {
        let plateau = &mut self.plateau;
        if plateau.now || sample.limited {
            return;
        }
        if u128::from(sample.rate) * 100 >= u128::from(plateau.best) * u128::from(GROWTH) {
            *plateau = Plateau {
                best: sample.rate,
                ..Plateau::default()
            };
        } else if self.started {
            plateau.rounds += 1;
            plateau.now = plateau.rounds >= FULL_ROUNDS;
            self.full |= plateau.now;
        }
    }

    /// Looks for growth anew.
    pub(super) fn restart_plateau(&mut self, sample: &Sample) {
        self.plateau = Plateau {
            best: sample.rate,
            ..Plateau::default()
        };
    }

    pub(super) fn is_on_plateau(&self) -> bool {
        self.plateau.now
    }

    /// Whether a round in Startup lost more than chance would (§5.3.1.3).
    pub(super) fn loses_much_at_start(&self, sample: &Sample, in_recovery: bool) -> bool {
        let much = self.lost >= START_LOSSES && is_too_much(sample.lost, sample.in_flight);
        in_recovery && self.started && much
    }

    pub(super) fn note_loss(&mut self, size: usize) {
        if self.lost == 0 {
            self.loss_until = self.total;
        }
        self.lost += size;
    }

    /// Lowers the bounds to what still arrives if the round had losses (§5.5.10.1).
    pub(super) fn lower(&mut self, window: usize) {
        if self.lost == 0 {
            return;
        }
        let (rate, in_flight) = self.lower.unwrap_or((self.most(), window));
        let latest = usize::try_from(self.latest_in_flight).unwrap_or(usize::MAX);
        self.lower = Some((
            self.latest_rate
                .max(rate / 10 * u64::try_from(BETA).unwrap_or(7)),
            latest.max(in_flight / 10 * BETA),
        ));
    }

    pub(super) fn forget_losses_of_round(&mut self) {
        self.lost = 0;
    }

    /// The bounds are those of the model alone again.
    pub(super) fn forget_losses(&mut self) {
        self.lower = None;
        self.lost = 0;
    }

    pub(super) fn lower_in_flight(&self) -> usize {
        self.lower.map_or(usize::MAX, |(_, bytes)| bytes)
    }

    pub(super) fn latest_in_flight(&self) -> usize {
        usize::try_from(self.latest_in_flight).unwrap_or(usize::MAX)
    }

    pub(super) fn restart_aggregation(&mut self, now: Instant) {
        self.bunch.since = now;
        self.bunch.delivered = 0;
    }

    pub(super) fn note_aggregation(&mut self, bytes: usize, window: usize, now: Instant) {
        let elapsed = now.saturating_duration_since(self.bunch.since);
        let mut expected = portion(self.bandwidth(), elapsed, super::STEADY);
        if self.bunch.delivered <= expected {
            self.restart_aggregation(now);
            expected = 0;
        }
        self.bunch.delivered = (self.bunch.delivered + bytes).min(MAXIMUM);
        let extra = (self.bunch.delivered - expected.min(self.bunch.delivered)).min(window);
        let largest = &mut self.bunch.largest;
        while largest.back().is_some_and(|(_, other)| *other <= extra) {
            largest.pop_back();
        }
        largest.push_back((self.count, extra));
        let rounds = if self.full { BUNCH_ROUNDS } else { 1 };
        while largest
            .front()
            .is_some_and(|(at, _)| at + rounds < self.count)
        {
            largest.pop_front();
        }
    }

    /// The largest bunch of late.
    pub(super) fn aggregation(&self) -> usize {
        self.bunch.largest.front().map_or(0, |(_, extra)| *extra)
    }
}
