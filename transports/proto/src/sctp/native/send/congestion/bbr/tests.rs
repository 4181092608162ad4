use super::super::Sample;
use super::*;

#[allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]
fn begin() -> Instant {
    Instant::now()
}

/// A path of 10 MB/s and 40 ms, in rounds of its own.
struct Path {
    bbr: Bbr,
    now: Instant,
    begun: Instant,
    total: u64,
    rate: u64,
}

const RTT: Duration = Duration::from_millis(40);
const BDP: usize = 400_000;

impl Path {
    fn new() -> Self {
        let now = begin();
        Self {
            bbr: Bbr::new(7, now),
            now,
            begun: now,
            total: 0,
            rate: 10_000_000,
        }
    }

    /// One round: a window leaves and arrives, as far as the path carries it.
    fn round(&mut self, lost: usize) {
        let flight = self.bbr.window().min(2 * BDP);
        let pace = self.bbr.rate().unwrap_or(u64::MAX);
        let sent = flight.min(portion(pace, RTT, 100));
        let rate = self
            .rate
            .min(portion(pace, Duration::from_secs(1), 100) as u64);
        let delivered = (sent - lost) as u64;
        let rate = rate.min(delivered * 25);
        let prior = self.total;
        self.now += RTT;
        self.total += delivered;
        if lost > 0 {
            let lost = Lost {
                size: lost,
                in_flight: sent,
                lost: lost as u64,
                limited: false,
            };
            self.bbr.on_lost(&lost, self.now);
        }
        let ack = Ack {
            bytes: sent - lost,
            before: flight,
            flight: (sent / 2).min(BDP),
            rtt: Some(RTT),
            smoothed: RTT,
            round_over: true,
            in_recovery: lost > 0,
            sample: Sample {
                rate,
                interval: RTT,
                delivered,
                prior_delivered: prior,
                total: self.total,
                in_flight: sent,
                lost: lost as u64,
                limited: false,
            },
        };
        self.bbr.on_ack(&ack, self.now);
    }

    fn until(&mut self, state: State, most: usize) {
        for _ in 0..most {
            if self.bbr.state == state {
                return;
            }
            self.round(0);
        }
        panic!("no {state:?} within {most} rounds: {:?}", self.bbr);
    }
}

#[test]
fn it_starts_fast_drains_and_then_probes_now_and_then() {
    let mut path = Path::new();
    while !path.bbr.rounds.full {
        assert_eq!(path.bbr.state, State::Startup);
        path.round(0);
    }
    assert!(path.now - path.begun < Duration::from_millis(600));
    let bandwidth = path.bbr.rounds.bandwidth();
    assert!((9_000_000..=10_000_000).contains(&bandwidth), "{bandwidth}");
    path.until(State::Cruise, 5);
    assert!(path.bbr.rate().is_some_and(|rate| rate < 10_000_000));
    let begun = path.now;
    path.until(State::Up, 80);
    let waited = path.now - begun;
    assert!(waited <= Duration::from_secs(4), "{waited:?}");
    path.until(State::Down, 6);
    path.until(State::ProbeRtt, 150);
    assert!(path.bbr.window() <= BDP / 2);
    path.until(State::Cruise, 10);
}

#[test]
fn a_rate_that_falls_is_followed_after_two_probes_and_one_that_rises_by_probing() {
    let mut path = Path::new();
    path.until(State::Cruise, 30);
    path.rate = 2_000_000;
    (0..300).for_each(|_| path.round(0));
    assert!(path.bbr.rounds.bandwidth() < 2_100_000, "{:?}", path.bbr);
    path.rate = 6_000_000;
    (0..600).for_each(|_| path.round(0));
    assert!(path.bbr.rounds.bandwidth() > 5_000_000, "{:?}", path.bbr);
}

#[test]
fn losses_beyond_two_in_a_hundred_bound_what_is_on_its_way() {
    let mut path = Path::new();
    path.until(State::Up, 100);
    path.round(4000);
    assert_eq!(path.bbr.probe.upper(), usize::MAX, "one in a hundred");
    path.until(State::Up, 100);
    let before = path.bbr.window();
    path.bbr.on_event();
    path.round(before / 10);
    assert!(path.bbr.probe.upper() < before);
    assert_eq!(path.bbr.state, State::Down);
    path.bbr.undo();
    assert_eq!(path.bbr.probe.upper(), usize::MAX, "they were none");
}

#[test]
fn a_timeout_leaves_one_packet_and_the_model() {
    let mut path = Path::new();
    path.until(State::Cruise, 30);
    path.bbr.on_timeout();
    assert_eq!(path.bbr.window(), SEGMENT);
    (0..8).for_each(|_| path.round(0));
    assert!(path.bbr.window() > BDP / 2, "{}", path.bbr.window());
}

#[test]
fn what_losses_allow_is_what_was_on_its_way_before_them() {
    let lost = |lost| Lost {
        size: 1000,
        in_flight: 100_000,
        lost,
        limited: false,
    };
    assert!(!is_too_much(2000, 100_000) && is_too_much(2001, 100_000));
    assert_eq!(tolerable(&lost(1000)), 99_000 + 1980 * 50 / 49);
    assert_eq!(tolerable(&lost(50_000)), 99_000);
}

#[test]
fn bursts_follow_the_rate_within_bounds() {
    assert_eq!(burst(0), 2320);
    assert_eq!(burst(10_000_000), 20_000);
    assert_eq!(burst(u64::MAX), BURST_MAX);
}
