//! The simulator: thousands of nodes of the real engines on virtual time.
//!
//! * [`world`]: what lives and what happens to it next. One thread, one wheel
//!   of milliseconds, one trace hash; with one schedule it does the same, ever.
//! * [`net`]: latency, loss, partitions. [`dice`]: chance, one stream for each
//!   node and purpose.
//! * [`schedule`]: what is done to whom and when.
//! * [`graph`], [`invariants`]: what must hold. [`run`](mod@run): goals, and the report.
//!
//! * `signal`: sessions between pairs, signaled by routed envelopes, if a scenario
//!   has them.
//!
//! What is left out: bandwidth, queues in sockets, packets of congestion
//! control, NAT. A cut loses what crosses it; a stream does not send it again.

pub mod dice;
pub mod graph;
pub mod invariants;
pub mod net;
pub mod run;
pub mod schedule;
pub mod tally;
pub mod trace;
pub mod world;

mod clock;
mod goals;
mod lies;
mod node;
mod person;
mod signal;
mod signal_report;
mod traffic;
mod wheel;

pub use invariants::Violation;
pub use run::{Report, check, explain, run};
pub use schedule::Schedule;
pub use signal_report::SignalReport;
