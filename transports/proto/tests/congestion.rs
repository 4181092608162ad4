//! Congestion control over a bottleneck in virtual time: how full it is, how long its queue, how it is
//! shared, and what changes of the path do.

#[path = "support/bottleneck.rs"]
#[allow(dead_code, reason = "a part of it is used")]
#[allow(unreachable_pub, reason = "included by several tests")]
#[allow(
    clippy::disallowed_methods,
    reason = "a simulation has to begin at some instant"
)]
mod bottleneck;

use std::time::Duration;

use peerloom_transports_proto::config::{CongestionControl, SctpConfig};
use proptest::prelude::*;

use bottleneck::{Bottleneck, Got, Path};

const ROUND_TRIP: Duration = Duration::from_millis(40);
const CONTROLS: [CongestionControl; 2] = [CongestionControl::Cubic, CongestionControl::Bbr];

fn config(congestion: CongestionControl) -> SctpConfig {
    SctpConfig {
        congestion,
        ..SctpConfig::default()
    }
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn alone(path: Path, congestion: CongestionControl) -> Bottleneck {
    Bottleneck::new(path, 1, &[(config(congestion), Duration::ZERO)])
}

/// Of the capacity that the flow had for so many seconds.
fn share(got: &Got, path: Path, seconds: u64) -> f64 {
    got.bytes as f64 / (path.rate * seconds as f64)
}

#[test]
fn bbr_fills_the_path_and_not_the_buffer() {
    for megabits in [5.0, 50.0] {
        let path = Path::new(megabits, ROUND_TRIP, 8.0);
        let mut flow = alone(path, CongestionControl::Bbr);
        flow.run(secs(5));
        let got = flow.run(secs(6)).remove(0);
        let share = share(&got, path, 6);
        assert!(share > 0.85, "{megabits} Mbit/s: {share}");
        assert!(got.mean_wait() < ROUND_TRIP / 3, "{megabits}: {got:?}");
        assert_eq!(got.dropped, 0);
        let mut flow = alone(path, CongestionControl::Cubic);
        flow.run(secs(5));
        let cubic = flow.run(secs(6)).remove(0);
        assert!(cubic.mean_wait() > got.mean_wait() * 4, "{cubic:?}");
    }
}

#[test]
fn losses_by_chance_do_not_slow_bbr_down() {
    for (loss, least) in [(1, 0.75), (10, 0.5)] {
        let path = Path {
            loss,
            ..Path::new(50.0, ROUND_TRIP, 1.0)
        };
        let mut flow = alone(path, CongestionControl::Bbr);
        flow.run(secs(5));
        let bbr = share(&flow.run(secs(8))[0], path, 8);
        assert!(bbr > least, "{loss} ‰: {bbr}");
    }
}

#[test]
fn bbr_follows_a_capacity_that_changes() {
    let mut path = Path::new(20.0, ROUND_TRIP, 4.0);
    let mut flow = alone(path, CongestionControl::Bbr);
    flow.run(secs(4));
    for (megabits, patience) in [(60.0, 16), (10.0, 16), (20.0, 12)] {
        path.rate = megabits * 1e6 / 8.0;
        flow.path = path;
        flow.run(secs(patience));
        let got = flow.run(secs(6)).remove(0);
        let share = share(&got, path, 6);
        assert!(share > 0.8, "{megabits} Mbit/s: {share}");
        assert!(got.mean_wait() < ROUND_TRIP, "{megabits}: {got:?}");
    }
}

#[test]
fn both_recover_from_an_outage() {
    for control in CONTROLS {
        let path = Path::new(20.0, ROUND_TRIP, 2.0);
        let mut flow = alone(path, control);
        flow.run(secs(4));
        flow.cut = true;
        flow.run(secs(7));
        flow.cut = false;
        flow.run(secs(9)); // the longest timeout
        let share = share(&flow.run(secs(4))[0], path, 4);
        assert!(share > 0.7, "{control:?}: {share}");
    }
}

/// Neither starves the other: each gets a tenth of the path at least, whoever came first.
#[test]
fn bbr_and_cubic_share_a_bottleneck() {
    for buffer in [1.0, 4.0] {
        for first in CONTROLS {
            let second = CONTROLS.into_iter().find(|other| *other != first);
            let flows = [
                (config(first), Duration::ZERO),
                (config(second.expect("two")), secs(3)),
            ];
            let path = Path::new(40.0, ROUND_TRIP, buffer);
            let mut both = Bottleneck::new(path, 1, &flows);
            both.run(secs(15));
            let got = both.run(secs(20));
            let shares = [0, 1].map(|n: usize| share(&got[n], path, 20));
            let what = format!("{first:?} first, {buffer} BDP: {shares:?}");
            assert!(shares.iter().all(|share| *share > 0.1), "{what}");
            assert!(shares.iter().sum::<f64>() > 0.85, "{what}");
        }
    }
}

#[test]
fn two_of_the_same_kind_come_to_share() {
    for control in CONTROLS {
        let flows = [
            (config(control), Duration::ZERO),
            (config(control), secs(3)),
        ];
        let path = Path::new(40.0, ROUND_TRIP, 2.0);
        let mut both = Bottleneck::new(path, 2, &flows);
        both.run(secs(20));
        let got = both.run(secs(20));
        let shares = [0, 1].map(|n: usize| share(&got[n], path, 20));
        assert!(
            shares.iter().all(|share| *share > 0.25),
            "{control:?}: {shares:?}"
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the path is and does for a while, data flows again when it is well.
    #[test]
    fn nothing_stalls_for_good(
        seed in any::<u64>(),
        bbr in any::<bool>(),
        megabits in 1_u32..40,
        millis in 1_u64..150,
        buffer in 0.05_f64..6.0,
        phases in prop::collection::vec((0_u32..900, 1_u32..40, any::<bool>(), 50_u64..1500), 1..8),
    ) {
        let path = Path::new(f64::from(megabits), Duration::from_millis(millis), buffer);
        let mut flow = Bottleneck::new(path, seed, &[(config(CONTROLS[usize::from(bbr)]), Duration::ZERO)]);
        flow.run(secs(1));
        for (loss, megabits, cut, span) in phases {
            flow.path.loss = loss;
            flow.path.rate = f64::from(megabits) * 1e6 / 8.0;
            flow.cut = cut;
            flow.run(Duration::from_millis(span));
        }
        flow.path = path;
        flow.cut = false;
        flow.run(secs(10)); // the longest timeout
        let got = flow.run(secs(5)).remove(0);
        let share = share(&got, path, 5);
        // CUBIC without a buffer gets little; it must be something.
        prop_assert!(share > 0.002, "{share}: {got:?} {:?}", flow.flows[0][0]);
    }
}
