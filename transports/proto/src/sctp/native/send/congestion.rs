//! How much may be on its way, and how fast it may leave: CUBIC, which goes by losses, or BBR, which
//! goes by a model of the path (`SctpConfig::congestion`).

mod bbr;
mod cubic;
mod delivery;

use std::time::{Duration, Instant};

use crate::config::CongestionControl;
use bbr::Bbr;
use cubic::Cubic;

pub(super) use bbr::burst;
pub(super) use delivery::{Delivery, Lost, Sample, Snapshot};

/// Bytes a full packet carries; what the RFCs call SMSS.
const SEGMENT: usize = 1160;
/// The window at first: ten segments (RFC 6928).
pub(super) const INITIAL: usize = 10 * SEGMENT;
/// The largest window: far beyond any receive window.
const MAXIMUM: usize = 256 * 1024 * 1024;

/// What an acknowledgement means to the window.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ack {
    pub(super) bytes: usize,
    /// Bytes that were on their way before it.
    pub(super) before: usize,
    /// Bytes that still are.
    pub(super) flight: usize,
    pub(super) rtt: Option<Duration>,
    pub(super) smoothed: Duration,
    /// All sent before this round began has arrived: a round is over.
    pub(super) round_over: bool,
    /// Losses of an event that was answered are being repaired.
    pub(super) in_recovery: bool,
    pub(super) sample: Sample,
}

/// The control of one association.
#[derive(Debug)]
pub(super) enum Congestion {
    Cubic(Cubic),
    Bbr(Box<Bbr>),
}

impl Congestion {
    /// `seed` decides when BBR probes.
    pub(super) fn new(control: CongestionControl, seed: u32, now: Instant) -> Self {
        match control {
            CongestionControl::Cubic => Self::Cubic(Cubic::new()),
            CongestionControl::Bbr => Self::Bbr(Box::new(Bbr::new(seed, now))),
        }
    }

    /// Bytes that may be on their way.
    pub(super) fn window(&self) -> usize {
        match self {
            Self::Cubic(cubic) => cubic.window(),
            Self::Bbr(bbr) => bbr.window(),
        }
    }

    /// Bytes per second at which they may leave; `None` while nothing is known.
    pub(super) fn rate(&self, smoothed: Duration) -> Option<u64> {
        match self {
            Self::Cubic(cubic) => Some(cubic.rate(smoothed)),
            Self::Bbr(bbr) => bbr.rate(),
        }
    }

    /// Whether packets leave as evenly as timers allow; else whole bursts may.
    pub(super) fn is_smooth(&self) -> bool {
        matches!(self, Self::Bbr(_))
    }

    /// A round trip was measured by other means than data.
    pub(super) fn on_round_trip(&mut self, rtt: Duration, now: Instant) {
        match self {
            Self::Cubic(_) => {}
            Self::Bbr(bbr) => bbr.on_round_trip(rtt, now),
        }
    }

    /// Data leaves when nothing was on its way.
    pub(super) fn on_restart(&mut self, limited: bool, now: Instant) {
        match self {
            Self::Cubic(_) => {} // it looks at how much of the window is used
            Self::Bbr(bbr) => bbr.on_restart(limited, now),
        }
    }

    /// New data was acknowledged.
    pub(super) fn on_ack(&mut self, ack: &Ack, now: Instant) {
        match self {
            Self::Cubic(cubic) => {
                if !ack.in_recovery {
                    cubic.on_ack(ack, now);
                }
            }
            Self::Bbr(bbr) => bbr.on_ack(ack, now),
        }
    }

    /// Chunks are taken for lost; `begins` if they are of an event that was not answered.
    pub(super) fn on_lost(&mut self, lost: &[Lost], begins: bool, now: Instant) {
        match self {
            Self::Cubic(cubic) => {
                if begins {
                    cubic.on_loss();
                }
            }
            Self::Bbr(bbr) => {
                if begins {
                    bbr.on_event();
                }
                lost.iter().for_each(|lost| bbr.on_lost(lost, now));
            }
        }
    }

    /// The retransmission timeout ran out, `again` if nothing was acknowledged since the last time.
    pub(super) fn on_timeout(&mut self, again: bool) {
        match self {
            Self::Cubic(cubic) => cubic.on_timeout(again),
            Self::Bbr(bbr) => bbr.on_timeout(),
        }
    }

    /// Everything that was taken for lost in the last event has arrived after all.
    pub(super) fn undo(&mut self) {
        match self {
            Self::Cubic(cubic) => cubic.undo(),
            Self::Bbr(bbr) => bbr.undo(),
        }
    }
}
