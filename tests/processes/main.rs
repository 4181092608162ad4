//! A mesh of thirty `peerloom up` processes that is killed, restarted and cut in two.
//!
//! What the nodes say of themselves over their JSON lines is judged by the same
//! [`Shape`](peerloom_chaos_tests::shape::Shape) as the demo and the chaos tests. The
//! cut needs two network namespaces (root, `ip`, `nft`) and belongs to the feature `interop`.
#![allow(clippy::print_stderr, reason = "how long it took is worth being read")]

#[cfg(feature = "interop")]
#[path = "../common/command.rs"]
mod command;
#[path = "../common/process.rs"]
mod process;
mod swarm;
#[cfg(feature = "interop")]
mod wire;

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use swarm::{Loopback, Swarm};

/// Processes; each third is killed, also the one whose ticket all others began with.
const NODES: usize = 30;

/// One mesh at a time: a small machine has enough to do with thirty processes.
fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn thirty_processes_survive_kills_and_restarts() {
    let _turn = turn();
    let everyone: BTreeSet<usize> = (0..NODES).collect();
    let mut swarm = Swarm::form(NODES, &Loopback);

    let (killed, living): (BTreeSet<usize>, _) = everyone.iter().partition(|node| *node % 3 == 0);
    for node in &killed {
        swarm.kill(*node);
    }
    swarm.until_formed("10 of 30 killed", &[&living]);

    // Nobody gives them a ticket, and who theirs was of is dead: what they have is on disk.
    for node in &killed {
        swarm.start(*node, None);
        swarm.until_linked(*node);
    }
    swarm.until_formed("the 10 restarted from disk", &[&everyone]);
}

/// Each half takes the other for dead before they see each other again.
#[cfg(feature = "interop")]
#[test]
fn two_halves_find_each_other_again() {
    let _turn = turn();
    let Some(wire) = wire::Wire::new() else {
        return;
    };
    let everyone: BTreeSet<usize> = (0..NODES).collect();
    let (left, right) = everyone.iter().partition(|node| wire::side(**node) == 0);
    let mut swarm = Swarm::form(NODES, &wire);
    wire.cut();
    swarm.until_formed("cut in two", &[&left, &right]);
    wire.mend();
    swarm.until_formed("the cut mended", &[&everyone]);
}
