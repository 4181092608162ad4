//! What a mesh has to reach in a scenario.

use serde::{Deserialize, Serialize};

use super::{Part, Span};

/// What has to be reached, with numbers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Goal {
    /// Broadcasts of the phase reach the living.
    Delivery {
        /// The phase.
        phase: String,
        /// From so long after its beginning on.
        #[serde(default)]
        from: Span,
        /// Part of those that had lived for five seconds and still do.
        min: Part,
        /// So long after it was said.
        within: Span,
    },
    /// After this time all broadcasts reach the living again.
    Recovery {
        /// The phase that begins with the fault.
        phase: String,
        /// Part of the living.
        min: Part,
        /// A broadcast has this long.
        within: Span,
        /// The time.
        max: Span,
    },
    /// Links the farthest broadcast travels over.
    Hops {
        /// The phase.
        phase: String,
        /// From so long after its beginning on.
        #[serde(default)]
        from: Span,
        /// At most.
        max: f64,
    },
    /// Superfluous copies for each delivery.
    Redundancy {
        /// The phase.
        phase: String,
        /// From so long after its beginning on.
        #[serde(default)]
        from: Span,
        /// At most.
        max: f64,
    },
    /// The graph of links is one component.
    OneComponent {
        /// The phase.
        phase: String,
        /// So soon after its beginning.
        max: Span,
    },
    /// So many links would have to fail to split it.
    MinCut {
        /// The phase.
        phase: String,
        /// So many.
        min: u32,
        /// So soon after its beginning.
        max: Span,
    },
    /// Bytes that a node sends in a second, framing included and handshakes
    /// aside.
    Upkeep {
        /// The phase.
        phase: String,
        /// From so long after its beginning on.
        #[serde(default)]
        from: Span,
        /// At most.
        max: f64,
    },
    /// Sessions of the phase come to their end: every letter is opened.
    SignalDelivery {
        /// The phase.
        phase: String,
        /// From so long after its beginning on.
        #[serde(default)]
        from: Span,
        /// Part of those between honest nodes that had lived for five seconds,
        /// still do, and were not on two sides of a partition.
        min: Part,
        /// So long after the offer was sent.
        within: Span,
    },
    /// How long 99 of 100 offers take that arrive.
    SignalLatency {
        /// The phase.
        phase: String,
        /// From so long after its beginning on.
        #[serde(default)]
        from: Span,
        /// At most.
        max: Span,
    },
    /// Bytes of one session in the whole network, framing included, what nodes
    /// tell each other all the time aside.
    SignalBytes {
        /// The phase.
        phase: String,
        /// From so long after its beginning on.
        #[serde(default)]
        from: Span,
        /// At most.
        max: f64,
    },
    /// Bytes a second that a node sends to tell neighbours who is around.
    DigestUpkeep {
        /// The phase.
        phase: String,
        /// From so long after its beginning on.
        #[serde(default)]
        from: Span,
        /// At most.
        max: f64,
    },
    /// Median part of honest nodes' links that lead to Sybils, at the end.
    SybilShare {
        /// The phase.
        phase: String,
        /// At most.
        max: f64,
    },
    /// Honest nodes all of whose links lead to Sybils, at the end.
    Eclipsed {
        /// The phase.
        phase: String,
        /// At most.
        max: f64,
    },
}

/// Something that has to happen at least once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sometimes {
    /// A broadcast was asked for.
    Graft,
    /// A parent was replaced for being too far from the author.
    Shortened,
    /// A remembered peer became a link.
    Bridge,
    /// A link was given to somebody in need.
    Eviction,
    /// Nobody was left to ask.
    Exhausted,
    /// A link was replaced at random.
    Mix,
    /// A link was replaced by a nearer one.
    Bias,
    /// Neighbours vouched for a silent browser.
    Vouched,
    /// A node's timers were late.
    Late,
    /// An envelope took a step that no table led to.
    Wander,
    /// An envelope came back to where it had been.
    Circle,
    /// An envelope went a second way, because the first brought no answer.
    SecondTry,
    /// An envelope waited for its addressee.
    Mail,
    /// An envelope was flooded.
    Flood,
}

impl Goal {
    /// What it is called in a file.
    pub fn name(&self) -> &'static str {
        match self {
            Goal::Delivery { .. } => "delivery",
            Goal::Recovery { .. } => "recovery",
            Goal::Hops { .. } => "hops",
            Goal::Redundancy { .. } => "redundancy",
            Goal::OneComponent { .. } => "one-component",
            Goal::MinCut { .. } => "min-cut",
            Goal::Upkeep { .. } => "upkeep",
            Goal::SignalDelivery { .. } => "signal-delivery",
            Goal::SignalLatency { .. } => "signal-latency",
            Goal::SignalBytes { .. } => "signal-bytes",
            Goal::DigestUpkeep { .. } => "digest-upkeep",
            Goal::SybilShare { .. } => "sybil-share",
            Goal::Eclipsed { .. } => "eclipsed",
        }
    }

    /// The phase it is about.
    pub fn phase(&self) -> &str {
        match self {
            Goal::Delivery { phase, .. }
            | Goal::Recovery { phase, .. }
            | Goal::Hops { phase, .. }
            | Goal::Redundancy { phase, .. }
            | Goal::OneComponent { phase, .. }
            | Goal::MinCut { phase, .. }
            | Goal::Upkeep { phase, .. }
            | Goal::SignalDelivery { phase, .. }
            | Goal::SignalLatency { phase, .. }
            | Goal::SignalBytes { phase, .. }
            | Goal::DigestUpkeep { phase, .. }
            | Goal::SybilShare { phase, .. }
            | Goal::Eclipsed { phase, .. } => phase,
        }
    }
}
