//! How a link plan is set up and what it says.

use std::time::Duration;

use crate::id::PeerId;

/// How a [`LinkPlan`](super::LinkPlan) behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanConfig {
    /// Links wanted. Four keep random graphs of 10,000 nodes connected
    /// (research on HyParView uses five); each costs its probes.
    pub target: usize,
    /// Links and attempts never exceeded. Each is a peer connection.
    pub max: usize,
    /// Dials at a time. One at a time heals a 90 % loss in 28 s, parallel
    /// dials in 8 s.
    pub in_flight: usize,
    /// Time without roster changes before dialling: the ring of a roster that
    /// is still filling is not worth building.
    pub settle: Duration,
    /// How long the side that need not dial waits for the other.
    pub patience: Duration,
    /// First pause after a failed dial, doubled each time.
    pub backoff: Duration,
    /// Longest pause after failed dials.
    pub backoff_max: Duration,
    /// Pause between two links given up.
    pub trim: Duration,
}

impl Default for PlanConfig {
    fn default() -> Self {
        PlanConfig {
            target: 4,
            max: 12,
            in_flight: 4,
            settle: Duration::from_millis(50),
            patience: Duration::from_millis(200),
            backoff: Duration::from_millis(250),
            backoff_max: Duration::from_secs(30),
            trim: Duration::from_secs(5),
        }
    }
}

impl PlanConfig {
    /// The same with limits that can be met: at least two links wanted (the
    /// ring), and two more allowed than wanted.
    pub fn checked(mut self) -> Self {
        self.target = self.target.max(2);
        self.max = self.max.max(self.target + 2);
        self.in_flight = self.in_flight.max(1);
        self
    }
}

/// What the plan wants done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlanAction {
    /// Start connecting to this peer.
    Dial(PeerId),
    /// Give up the link to this peer.
    Close(PeerId),
}

/// What to do with a peer that dials this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Take it, after closing the link to `evict`.
    Accept {
        /// The link that makes room.
        evict: Option<PeerId>,
    },
    /// No links to spare.
    Full,
    /// Not in the room's roster.
    Unknown,
}

/// How an attempt or a link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It did not work, or broke: try again later, and later each time.
    Failed,
    /// It broke, though the peer is there: an actor died on this side (`here`)
    /// or the other. Build it again at once.
    Broken {
        /// On this side.
        here: bool,
    },
    /// The other side has no links to spare: try again after this time.
    Refused(Duration),
    /// Closed on purpose by either side.
    Released,
}
