//! Path MTU discovery in virtual time: longer packets where the path carries them, and back when it
//! does not any more.

mod support;

use std::time::Duration;

use peerloom_transports_proto::channel::{ChannelInit, Message};
use peerloom_transports_proto::config::{DtlsVersions, SctpConfig, SctpEngine};
use peerloom_transports_proto::id;
use peerloom_transports_proto::sctp::{LONGEST_PACKET, MAX_PACKET};
use peerloom_transports_proto::stack::StackConfig;

use support::bottleneck::{Bottleneck, Path};
use support::link::Conditions;
use support::pair::Pair;

/// Whether a datagram gets through.
type Passes = fn(&(id::Path, Vec<u8>)) -> bool;

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn path() -> Path {
    Path::new(20.0, Duration::from_millis(20), 3.0)
}

fn flow(longest: usize, max_packet: usize) -> Bottleneck {
    let config = SctpConfig {
        max_packet,
        ..SctpConfig::default()
    };
    let path = Path { longest, ..path() };
    Bottleneck::new(path, 1, &[(config, Duration::ZERO)])
}

#[test]
fn the_longest_packet_that_gets_through_is_found() {
    for longest in [1191, 1240, 1300, 1411, 1500] {
        let mut flow = flow(longest, LONGEST_PACKET);
        flow.run(secs(12));
        let got = flow.run(secs(1)).remove(0);
        let most = longest.min(LONGEST_PACKET);
        assert!(
            got.longest <= most && got.longest + 40 > most,
            "{longest}: {got:?}"
        );
    }
    let mut off = flow(1500, MAX_PACKET);
    assert!(off.run(secs(4))[0].longest <= MAX_PACKET);
}

#[test]
fn a_path_that_carries_less_from_now_on_does_not_stall() {
    let mut flow = flow(1500, LONGEST_PACKET);
    flow.run(secs(2));
    for longest in [1200, 1350] {
        flow.path.longest = longest;
        flow.run(secs(1));
        let got = flow.run(secs(3)).remove(0);
        let share = got.bytes as f64 / (path().rate * 3.0);
        assert!(share > 0.5, "{longest}: {share}");
        assert!(got.longest <= longest);
    }
}

#[test]
fn a_peer_that_does_not_know_padding_keeps_the_base() {
    let mut flow = flow(1500, LONGEST_PACKET);
    let packaged = SctpConfig {
        engine: SctpEngine::Packaged,
        ..SctpConfig::default()
    };
    let mut theirs = Bottleneck::new(path(), 1, &[(packaged, Duration::ZERO)]);
    std::mem::swap(&mut flow.flows[0][1], &mut theirs.flows[0][1]);
    let begun = flow.run(secs(3)).remove(0);
    assert!(begun.longest <= MAX_PACKET, "a probe would end some peers");
    let got = flow.run(secs(3)).remove(0);
    assert!(got.bytes > 1_000_000, "{got:?}");
    assert!(flow.flows[0][0].is_connected());
}

/// Through DTLS of both versions, with a path that carries 1,500 bytes, and 1,280 from the middle
/// on.
#[test]
fn nothing_is_lost_over_dtls_when_the_path_changes() {
    for versions in [DtlsVersions::Auto, DtlsVersions::Only12] {
        let mut config = StackConfig::default();
        config.dtls.versions = versions;
        let mut pair = Pair::new(&config, 3, Conditions::CLEAN);
        pair.start(0);
        pair.connect();
        let (ours, theirs) = pair.open(0, ChannelInit::default());
        let message = Message::Binary(vec![5; 100_000].into());
        let passes: [Passes; 2] = [
            |(_, datagram)| datagram.len() <= 1452,
            |(_, datagram)| datagram.len() <= 1232,
        ];
        for (step, passes) in passes.into_iter().enumerate() {
            pair.links.iter_mut().for_each(|link| link.passes = passes);
            pair.capture = Some(Vec::new());
            for _ in 0..30 {
                pair.stacks[0]
                    .send(ours, message.clone(), pair.now)
                    .expect("sent");
                pair.run(Duration::from_millis(20), |_| false);
            }
            let all = |pair: &Pair| pair.messages(1, theirs).len() == 30 * (step + 1);
            assert!(pair.run(secs(30), all), "{versions:?} {step}");
            let sent = pair.capture.take().expect("captured");
            let most = sent.iter().map(|(.., datagram)| datagram.len()).max();
            if step == 0 {
                assert!(
                    most.is_some_and(|most| (1430..=1452).contains(&most)),
                    "{most:?}"
                );
            }
        }
        assert!(pair.messages(1, theirs).iter().all(|got| *got == message));
    }
}
