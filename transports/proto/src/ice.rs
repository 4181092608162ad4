//! Interactive connectivity establishment (RFC 8445) with full trickle (RFC 8838) and consent
//! freshness (RFC 7675), around the packaged `rtc-ice` agent.
//!
//! What this layer adds to that agent:
//!
//! * the pace: rounds of checks start 10 ms apart and slow down, and a pair that answers is
//!   nominated at once, so that a local connection takes a few milliseconds instead of 200;
//! * a check of user name and integrity *before* the agent looks at a packet, since it acts on a
//!   role conflict before it knows who sent it;
//! * consent by answers to our own requests on the selected path (RFC 7675 §5.1), where the agent
//!   counts any packet;
//! * checks that arrive before the remote description are kept, within a bound, and answered
//!   when it is known;
//! * an old path stays usable during a restart, until a new one is selected (RFC 8445 §9);
//! * TCP connections (RFC 6544): when one is to be opened or closed ([`Event::Connect`],
//!   [`Event::Disconnect`]), what it means that one is lost, and recovery over a new one;
//! * bounds on candidates, pairs and queues;
//! * a timeline of every pair, with the cause of its failure ([`Agent::pairs`]).
//!
//! Order of calls: [`Agent::new`], [`Agent::add_host`] for each local address (and
//! [`Agent::add_reflexive`], [`Agent::add_relayed`] when servers have answered), [`Agent::start`] when
//! both descriptions are known; remote candidates at any time. After each input drain
//! [`Agent::poll_event`], then [`Agent::poll_transmit`], then arm [`Agent::poll_timeout`].

mod agent;
mod checks;
#[cfg(test)]
mod consent_tests;
#[cfg(test)]
mod early_tests;
mod engine;
mod pairs;
#[cfg(test)]
mod pairs_tests;
#[cfg(test)]
mod role_tests;
mod stun;
#[cfg(test)]
mod tcp_tests;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use agent::{
    Agent, MAX_CONNECTIONS, MAX_EARLY_CHECKS, MAX_HOSTS_PER_FAMILY, MAX_LOCAL_CANDIDATES,
    MAX_PAIRS, MAX_QUEUED_PACKETS, MAX_REMOTE_CANDIDATES, MAX_ROLE_CHANGES,
};
pub use pairs::{Cause, MAX_MARKS, Mark, Pair, PairState};
pub use stun::{is_stun, username};

use crate::candidate::Candidate;
use crate::error::EngineFault;
use crate::id::{IceRole, Path};

/// The state of the transport, as in `RTCIceTransportState`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Nothing was started.
    New,
    /// Checks are running, no usable path yet.
    Checking,
    /// A path is selected; others may still be tried.
    Connected,
    /// A path is selected and both sides have no more candidates.
    Completed,
    /// The selected path has been silent for a while.
    Disconnected,
    /// No path was found, or consent has expired. A restart may help.
    Failed,
    /// Closed by us.
    Closed,
}

/// Why [`Agent::poll_timeout`] wants a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// The next round of connectivity checks, or an answer to an early check.
    Check,
    /// The next consent check on the selected path.
    Consent,
    /// Time to open TCP connections, or to open a lost one anew.
    Connect,
}

/// What the agent reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The state changed.
    StateChange(State),
    /// Data goes over this path from now on.
    SelectedPath(Path),
    /// A candidate to tell the other end, marked with the current user name fragment.
    LocalCandidate(Candidate),
    /// A role conflict was resolved against us (RFC 8445 §7.3.1.1).
    RoleChange(IceRole),
    /// A TCP connection is wanted from the address of `path.local` (any port of it) to
    /// `path.remote`. Answer with [`Agent::connection_opened`] or [`Agent::connection_lost`].
    Connect(Path),
    /// The TCP connection of this path is not wanted any more, opened or not. Needs no answer.
    Disconnect(Path),
    /// The first answer on a path, for timelines and statistics.
    PathAnswered {
        /// Which path.
        path: Path,
        /// From request to answer.
        round_trip: Duration,
    },
}

/// Why a call had no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Not a well-formed STUN Binding message.
    #[error("not a STUN Binding message")]
    NotStun,
    /// A check or answer by someone who does not know the password.
    #[error("user name or message integrity is wrong")]
    Unauthenticated,
    /// Too many candidates, or too many checks before the remote description.
    #[error("too many {0}")]
    TooMany(&'static str),
    /// The candidate is a name; resolve it first.
    #[error("the candidate's address is a name and has to be resolved first")]
    Unresolved,
    /// The local address is none of ours.
    #[error("no local candidate has the address the packet arrived at")]
    UnknownLocal,
    /// The agent is closed or has failed for good.
    #[error("the ICE agent is closed")]
    Closed,
    /// No crypto provider was compiled in.
    #[error("no crypto provider")]
    Crypto,
    /// The packaged agent refused.
    #[error("the ICE engine refused: {0}")]
    Refused(String),
    /// The packaged agent panicked.
    #[error(transparent)]
    Fault(#[from] EngineFault),
}

/// Counters of an agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Binding requests sent.
    pub requests_sent: u64,
    /// Authentic requests received.
    pub requests_received: u64,
    /// Authentic answers received.
    pub responses_received: u64,
    /// Packets dropped, for any reason.
    pub dropped: u64,
    /// Latest round trip on the selected path.
    pub round_trip: Option<Duration>,
}
