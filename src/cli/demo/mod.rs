//! `peerloom demo`: a whole mesh on this machine.
//!
//! Every node has its own identity, store, swarm and sockets; they share only
//! the process, its actor threads and the loopback interface. The mesh forms,
//! talks, loses members without a word of farewell, and heals.
//!
//! ```text
//! node tasks ── Note ──▶ Stage ──▶ Shape (is it formed?), Ledger (is
//!   (one watcher, one       │      everything delivered exactly once?)
//!    reader, speakers)      └────▶ View, Report
//! ```

mod cast;
mod report;
mod show;
mod stage;
mod view;

use std::time::Duration;

use super::failure::Failure;
use super::interrupt::Interrupt;
use super::output::{self, Format};
use stage::{Stage, Stop};

/// More nodes than this do not fit a process's file descriptors and the
/// machine's patience (guess).
const PEERS_MAX: usize = 200;

/// Nobody watches a demo for longer than a day; much larger numbers do not
/// fit the clock.
const TALK_MAX: Duration = Duration::from_secs(86_400);

/// A whole mesh on this machine: forms, talks, loses members, heals.
///
/// Everything happens on loopback, under a random mesh name, in a temporary
/// directory that is removed at the end. Exit code 1 unless every message was
/// delivered exactly once.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Nodes to start.
    #[arg(long, value_name = "N", default_value_t = 12)]
    peers: usize,
    /// For how long they talk before the kill; they talk at least once.
    #[arg(
        long,
        value_name = "S",
        default_value_t = 3.0,
        allow_negative_numbers = true
    )]
    seconds: f64,
    /// Nodes to kill: a third by default.
    #[arg(long, value_name = "K")]
    kill: Option<usize>,
    /// Seed of all choices: who is told of whom, who dies.
    #[arg(long, value_name = "X")]
    seed: Option<u64>,
    /// Report in JSON lines; the last one is the summary.
    #[arg(long)]
    json: bool,
}

/// What a demo is going to do.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Plan {
    /// Nodes to start.
    pub(crate) peers: usize,
    /// For how long they talk.
    pub(crate) talk: Duration,
    /// How many are killed.
    pub(crate) kill: usize,
    /// Seed of all choices.
    pub(crate) seed: u64,
    /// How results are printed.
    pub(crate) format: Format,
}

impl Plan {
    fn of(args: &Args) -> Result<Self, Failure> {
        if !(2..=PEERS_MAX).contains(&args.peers) {
            return Err(Failure::usage("cannot run the demo")
                .because_of(format!(
                    "{} peers are not between 2 and {PEERS_MAX}",
                    args.peers
                ))
                .hint("choose another --peers"));
        }
        let most = args.peers - 2;
        let kill = args.kill.unwrap_or((args.peers / 3).min(most));
        if kill > most {
            return Err(Failure::usage("cannot run the demo")
                .because_of(format!(
                    "killing {kill} of {} peers leaves no mesh",
                    args.peers
                ))
                .hint(format!("--kill may be {most} at most")));
        }
        let talk = Duration::try_from_secs_f64(args.seconds).map_err(|_| {
            Failure::usage("cannot run the demo")
                .because_of(format!("{} seconds are no time to talk", args.seconds))
                .hint("--seconds is a number such as 3 or 0.5")
        })?;
        if talk > TALK_MAX {
            return Err(Failure::usage("cannot run the demo")
                .because_of(format!("{} seconds are more than a day", args.seconds))
                .hint(format!("--seconds may be {} at most", TALK_MAX.as_secs())));
        }
        Ok(Self {
            peers: args.peers,
            talk,
            kill,
            seed: args.seed.unwrap_or_else(rand::random),
            format: Format::new(args.json),
        })
    }
}

/// Runs a demo from beginning to end.
pub(crate) async fn run(args: Args) -> Result<(), Failure> {
    let interrupted = Interrupt::listen();
    let plan = Plan::of(&args)?;
    let seed = plan.seed;
    let format = plan.format;
    let (report, outcome) = Stage::new(plan, interrupted)?.play().await;
    if format.is_json() {
        let line = serde_json::to_string(&report)
            .map_err(|error| Failure::new("cannot write the report").because(&error))?;
        output::line(&line).map_err(Failure::unwritable)?;
    }
    outcome.map_err(|stop| match stop {
        Stop::Interrupted => Failure::new("the demo was interrupted"),
        Stop::Unread(error) => Failure::unwritable(error),
        Stop::Failed(why) => Failure::new("the demo failed")
            .because_of(why)
            .hint(format!("--seed {seed} makes the same choices again")),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(peers: usize, kill: Option<usize>) -> Args {
        Args {
            peers,
            seconds: 1.0,
            kill,
            seed: Some(1),
            json: false,
        }
    }

    #[test]
    fn a_third_dies_unless_told_otherwise() {
        for (peers, killed) in [(2, 0), (3, 1), (4, 1), (12, 4), (50, 16)] {
            let plan = Plan::of(&args(peers, None)).expect("a plan");
            assert_eq!(plan.kill, killed, "{peers}");
        }
        assert_eq!(Plan::of(&args(50, Some(15))).expect("a plan").kill, 15);
    }

    #[test]
    fn nobody_plays_alone() {
        for (peers, kill) in [(0, None), (1, None), (201, None), (4, Some(3))] {
            assert!(Plan::of(&args(peers, kill)).is_err(), "{peers} {kill:?}");
        }
    }

    #[test]
    fn time_does_not_run_backwards() {
        for seconds in [-1.0, f64::NAN, f64::INFINITY, 86_401.0, 1e19] {
            let args = Args {
                seconds,
                ..args(4, None)
            };
            assert!(Plan::of(&args).is_err());
        }
    }
}
