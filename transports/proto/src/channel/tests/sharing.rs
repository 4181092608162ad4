//! Channels beside each other: whose turn it is, and who has to wait.

use std::time::Duration;

use super::super::*;
use super::carrier::Below;
use super::pair::*;

with_all_engines!(
    a_slow_consumer_loses_nothing_and_stops_nobody_else,
    the_low_event_fires_once_per_crossing,
    priorities_share_the_window_by_weight,
);

fn a_slow_consumer_loses_nothing_and_stops_nobody_else(engines: [Below; 2]) {
    let mut pair = Pair::new(engines);
    let (slow, slow_there) = pair.open(0, labelled("slow"));
    let (fast, fast_there) = pair.open(0, labelled("fast"));
    pair.ends[1].takes = false;
    let mut sent = 0;
    for _ in 0..30 {
        while pair.ends[0]
            .channels
            .send(slow, Message::Binary(vec![0; 50_000].into()))
            .is_ok()
        {
            sent += 1;
            assert!(sent < 200, "the buffer is bounded");
        }
        pair.run(Duration::from_millis(50), |_| false);
    }
    let delivered = pair.messages(1, slow_there).len();
    assert!(
        delivered * 50_000 <= INITIAL_CREDIT + 50_000,
        "{delivered} delivered"
    );
    pair.ends[1].takes = true;
    let owed = pair.messages(1, slow_there).iter().map(Message::cost).sum();
    pair.ends[1].channels.grant(slow_there, owed);
    pair.send(0, fast, text("through"));
    assert!(
        pair.run(Duration::from_secs(60), |p| p.messages(1, slow_there).len()
            == sent)
    );
    assert_eq!(pair.messages(1, fast_there), [text("through")]);
    pair.settle();
    assert!(pair.ends[0].events.contains(&Event::Writable(slow)));
    assert_eq!(pair.ends[0].channels.buffered_amount(slow), 0);
}

fn the_low_event_fires_once_per_crossing(engines: [Below; 2]) {
    let mut pair = Pair::new(engines);
    let (ours, _) = pair.open(0, labelled("low"));
    pair.ends[0]
        .channels
        .set_buffered_amount_low_threshold(ours, 1000);
    let low = Event::BufferedAmountLow(ours);
    for crossings in 1..4 {
        for size in [600, 300, 600, 200_000] {
            pair.send(0, ours, Message::Binary(vec![0; size].into()));
        }
        assert_eq!(pair.ends[0].channels.buffered_amount(ours), 201_500);
        pair.settle();
        assert_eq!(pair.ends[0].channels.buffered_amount(ours), 0);
        assert_eq!(
            pair.ends[0].events.iter().filter(|e| **e == low).count(),
            crossings
        );
    }
    pair.send(0, ours, Message::Binary(vec![0; 1000].into()));
    pair.settle();
    assert_eq!(pair.ends[0].events.iter().filter(|e| **e == low).count(), 3);
}

fn priorities_share_the_window_by_weight(engines: [Below; 2]) {
    let mut pair = Pair::new(engines);
    let priorities = [
        Priority::VeryLow,
        Priority::Low,
        Priority::Medium,
        Priority::High,
    ];
    let channels: Vec<_> = priorities
        .iter()
        .map(|priority| {
            pair.open(
                0,
                ChannelInit {
                    priority: *priority,
                    ..labelled("p")
                },
            )
        })
        .collect();
    // All are always full, until the strongest has got a few megabytes through.
    let enough = 400;
    let mut rounds = 0;
    while pair.messages(1, channels[3].1).len() < enough {
        for (ours, _) in &channels {
            let message = || Message::Binary(vec![0; 8000].into());
            while pair.ends[0].channels.send(*ours, message()).is_ok() {}
        }
        pair.run(Duration::from_millis(3), |_| false);
        rounds += 1;
        assert!(rounds < 10_000);
    }
    let got: Vec<usize> = channels
        .iter()
        .map(|(_, theirs)| pair.messages(1, *theirs).len())
        .collect();
    for pair in got.windows(2) {
        let ratio = pair[1] as f64 / pair[0] as f64;
        assert!((1.4..=2.8).contains(&ratio), "{got:?}");
    }
}

/// Two long messages that the engine has both: packets are shared by weight there as well, at the
/// end that opened the channels and at the other.
#[test]
fn priorities_count_inside_the_native_engine() {
    for end in [0, 1] {
        let mut pair = Pair::new([Below::Native; 2]);
        let [weak, strong] = [Priority::VeryLow, Priority::High].map(|priority| {
            pair.open(
                0,
                ChannelInit {
                    priority,
                    ..labelled("p")
                },
            )
        });
        let at = |ids: (ChannelId, ChannelId), end: usize| [ids.0, ids.1][end];
        for ids in [weak, strong] {
            let message = Message::Binary(vec![0; 90_000].into());
            pair.send(end, at(ids, end), message);
        }
        let there = |pair: &Pair| !pair.messages(1 - end, at(strong, 1 - end)).is_empty();
        assert!(pair.run(Duration::from_secs(5), there));
        let left = pair.ends[end].channels.buffered_amount(at(weak, end));
        assert!(left > 60_000, "{left} bytes of the weak one are left");
    }
}
