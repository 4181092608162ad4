//! Seeded mutations of captured packets into every parser and engine of this crate: nothing panics,
//! and memory stays below a stated cap.
//!
//! This runs a share of them. A million: `cargo run --release -p peerloom-transports-proto
//! --example mutations`.

#[path = "support/mutate/mod.rs"]
mod mutate;
mod support;

use mutate::{MEMORY_CAP, run};

/// What a debug build does in well under a minute.
const SHARE: usize = 100_000;

#[test]
fn a_share_of_the_mutations() {
    let report = run(1, SHARE);
    assert_eq!(report.mutations, SHARE);
    assert!(report.memory < MEMORY_CAP);
    assert!(report.faults == 0, "packaged engines panicked: {report:#?}");
}
