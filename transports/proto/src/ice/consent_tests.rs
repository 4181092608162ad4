//! Consent, silence and recovery, over a wire that loses.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;

use super::tests::{Lose, Pair, credentials};
use super::*;
use crate::stun::message::{Class, Message};

use IceRole::{Controlled, Controlling};

const MINUTES: Duration = Duration::from_secs(600);

fn connected() -> Pair {
    let mut pair = Pair::new(Controlling, Controlled);
    pair.start(Controlling, Controlled);
    pair.trickle();
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
    // The nomination has been said again as often as it is.
    assert!(!pair.run(Duration::from_secs(90), |pair| !pair.connected()));
    pair.take_events();
    pair.checked.clear();
    pair
}

#[test]
fn who_has_closed_hears_nothing_of_consent() {
    let mut pair = connected();
    pair.a.close();
    pair.now += MINUTES;
    pair.a.handle_timeout(pair.now);
    pair.drain();
    let of_a = pair.take_events().into_iter().filter(|(of, _)| *of == 0);
    let told: Vec<_> = of_a.map(|(_, event)| event).collect();
    assert!(
        matches!(told[..], [Event::StateChange(State::Closed)]),
        "{told:?}"
    );
    assert_eq!(pair.a.poll_timeout(), None);
}

fn is_check(transmit: &crate::engine::Transmit) -> bool {
    Message::parse(&transmit.contents).is_some_and(|it| it.class == Class::Request)
}

fn gaps(pair: &Pair, of_a: bool) -> Vec<Duration> {
    let times = pair.checked.iter().filter(|(from_a, _)| *from_a == of_a);
    let times: Vec<Instant> = times.map(|(_, at)| *at).collect();
    times.windows(2).map(|two| two[1] - two[0]).collect()
}

#[test]
fn checks_at_rest_leave_each_four_to_six_seconds() {
    let mut pair = connected();
    assert!(!pair.run(MINUTES, |pair| !pair.connected()));
    assert_eq!(pair.take_events(), []);
    let ours = gaps(&pair, true);
    let allowed = Duration::from_secs(4)..=Duration::from_secs(6);
    assert!(ours.iter().all(|gap| allowed.contains(gap)), "{ours:?}");
    let different: BTreeSet<u128> = ours.iter().map(Duration::as_millis).collect();
    assert!(different.len() > 50, "not drawn: {different:?}");
    // The controlled end checks as well whenever it is checked, and then not on its own.
    let theirs = gaps(&pair, false);
    assert!(theirs.iter().all(|gap| gap <= allowed.end()), "{theirs:?}");
    assert!(theirs.len() <= 2 * ours.len(), "{} checks", theirs.len());
}

/// Both ends lose two checks of three, in a row.
#[test]
fn two_checks_that_are_lost_in_a_row_tell_nothing() {
    let mut pair = connected();
    let mut sent = [0_u32; 2];
    pair.lose = Box::new(move |from_a, transmit| {
        let count = &mut sent[usize::from(from_a)];
        *count += u32::from(is_check(transmit));
        is_check(transmit) && *count % 3 != 0
    });
    assert!(!pair.run(MINUTES, |pair| !pair.connected()));
    assert_eq!(pair.take_events(), []);
}

#[test]
fn silence_is_told_after_some_five_seconds_whenever_it_begins() {
    for phase in 0..24 {
        let mut pair = connected();
        assert!(!pair.run(phase * Duration::from_millis(250), |_| false));
        let (cut_at, begun) = (pair.now, pair.a.stats());
        pair.cut = true;
        pair.checked.clear();
        let disconnected = |pair: &Pair| pair.a.state() == State::Disconnected;
        assert!(pair.run(Duration::from_secs(20), disconnected));
        let silence = pair.now - cut_at;
        let range = Duration::from_secs(1)..=Duration::from_millis(7500);
        assert!(range.contains(&silence), "{phase}: {silence:?}");
        assert_eq!(pair.a.stats().responses_received, begun.responses_received);
        let failed = |pair: &Pair| pair.a.state() == State::Failed;
        assert!(pair.run(Duration::from_secs(60), failed));
        let whole = pair.now - cut_at;
        let range = Duration::from_secs(24)..=Duration::from_secs(30);
        assert!(range.contains(&whole), "{phase}: {whole:?}");
        let ours = pair.checked.iter().filter(|(from_a, _)| *from_a).count();
        assert!(ours <= 2 * 30, "{ours} checks");
    }
}

#[test]
fn a_peer_that_is_heard_again_is_connected_at_once() {
    let mut pair = connected();
    for _ in 0..3 {
        pair.cut = true;
        let both = |pair: &Pair| {
            [&pair.a, &pair.b].map(Agent::state) == [State::Disconnected, State::Disconnected]
        };
        assert!(pair.run(Duration::from_secs(20), both));
        pair.cut = false;
        assert!(pair.run(Duration::from_millis(600), Pair::connected));
        // And not because of each packet that comes.
        pair.take_events();
        assert!(!pair.run(Duration::from_secs(60), |pair| !pair.connected()));
        assert_eq!(pair.take_events(), []);
    }
}

/// The peer's checks are no consent (RFC 7675 section 5.1).
#[test]
fn a_peer_that_checks_and_does_not_answer_gives_no_consent() {
    let mut pair = connected();
    let begun = pair.now;
    pair.lose = Box::new(|from_a, transmit| from_a && is_check(transmit));
    let failed = |pair: &Pair| pair.a.state() == State::Failed;
    assert!(pair.run(Duration::from_secs(60), failed));
    let lasted = pair.now - begun;
    let range = Duration::from_secs(24)..=Duration::from_secs(30);
    assert!(range.contains(&lasted), "{lasted:?}");
    let states = pair.events[0].iter();
    let states = states.filter(|it| matches!(it, Event::StateChange(_)));
    let silent_then_lost = [State::Disconnected, State::Failed].map(Event::StateChange);
    assert!(states.eq(&silent_then_lost), "{:?}", pair.events[0]);
    // Who is answered nothing any more finds out as well.
    let failed = |pair: &Pair| pair.b.state() == State::Failed;
    assert!(pair.run(Duration::from_secs(31), failed));
}

/// Also when the generation before has checked for almost as long as it may.
#[test]
fn a_new_generation_has_all_the_time_to_check() {
    let mut pair = Pair::new(Controlling, Controlled);
    pair.start(Controlling, Controlled);
    pair.trickle();
    pair.cut = true;
    assert!(!pair.run(Duration::from_secs(29), |_| false));
    happen(&mut pair, &Happening::Restart(0, true, false), 0);
    assert!(!pair.run(Duration::from_secs(25), |_| false));
    assert_eq!([&pair.a, &pair.b].map(Agent::state), [State::Checking; 2]);
    pair.cut = false;
    assert!(pair.run(Duration::from_secs(1), Pair::connected));
}

/// What happens to two agents.
#[derive(Clone, Debug)]
enum Happening {
    /// Nothing, for so many milliseconds.
    Wait(u64),
    /// Packets are lost with this probability, in percent, from now on.
    Lossy(u8),
    /// Both begin a new generation, the second so much later, in milliseconds, and with these roles.
    Restart(u64, bool, bool),
    /// The machine of one stands still for so many milliseconds.
    Sleep(u64),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0_u64..20_000).prop_map(Happening::Wait),
        (0_u8..=100).prop_map(Happening::Lossy),
        (0_u64..2000, any::<bool>(), any::<bool>())
            .prop_map(|(later, a, b)| Happening::Restart(later, a, b)),
        (0_u64..15_000).prop_map(Happening::Sleep),
    ]
}

fn role(controls: bool) -> IceRole {
    if controls { Controlling } else { Controlled }
}

fn lossy(percent: u8, seed: u64) -> Lose {
    let mut rng = ChaCha20Rng::seed_from_u64(seed);
    Box::new(move |_, _| rng.random_range(0..100) < percent)
}

fn happen(pair: &mut Pair, what: &Happening, number: u64) {
    let wait = |pair: &mut Pair, millis| {
        pair.run(Duration::from_millis(millis), |_| false);
    };
    match *what {
        Happening::Wait(millis) => wait(pair, millis),
        Happening::Lossy(percent) => pair.lose = lossy(percent, number),
        Happening::Sleep(millis) => pair.now += Duration::from_millis(millis),
        Happening::Restart(later, a, b) => {
            pair.drain();
            pair.take_events();
            let local = credentials(100 + 2 * number);
            pair.a.restart(local, pair.now).expect("restart");
            wait(pair, later);
            let local = credentials(101 + 2 * number);
            pair.b.restart(local, pair.now).expect("restart");
            pair.start(role(a), role(b));
            pair.trickle();
        }
    }
}

fn settled(pair: &Pair) -> Option<bool> {
    let states = [&pair.a, &pair.b].map(Agent::state);
    let up = |state: State| matches!(state, State::Connected | State::Completed);
    match states {
        [State::Failed, State::Failed] => Some(false),
        [a, b] if up(a) && up(b) => Some(true),
        _ => None,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Whatever the roles, restarts and losses, once the wire is whole again both ends are connected, each
    /// over a path that the other takes and in two roles, or both have failed.
    #[test]
    fn both_ends_come_to_the_same_end(
        roles in any::<(bool, bool)>(),
        happenings in prop::collection::vec(happening(), 0..10),
    ) {
        let mut pair = Pair::new(role(roles.0), role(roles.1));
        pair.start(role(roles.0), role(roles.1));
        pair.trickle();
        for (number, what) in (0..).zip(&happenings) {
            happen(&mut pair, what, number);
        }
        pair.lose = Box::new(|_, _| false);
        // As long as checking or consent may take, and then for good.
        for _ in 0..2 {
            pair.run(Duration::from_secs(70), |_| false);
            let end = settled(&pair);
            prop_assert!(end.is_some(), "{:?} {:?}", pair.a.state(), pair.b.state());
            if end == Some(true) {
                let path = pair.a.selected_path();
                prop_assert!(path.is_some_and(|path| pair.b.accepts(path.reversed())));
                prop_assert_ne!(pair.a.role(), pair.b.role());
            }
        }
        let changes = pair.events.iter().flatten();
        let changes = changes.filter(|it| matches!(it, Event::RoleChange(_))).count();
        prop_assert!(changes <= 2 * usize::from(MAX_ROLE_CHANGES));
        // A restart brings back what has failed.
        happen(&mut pair, &Happening::Restart(0, roles.0, roles.1), 50);
        let up = |pair: &Pair| settled(pair) == Some(true);
        let again = pair.run(Duration::from_secs(5), up);
        prop_assert!(again, "{:?} {:?}", pair.a.state(), pair.b.state());
    }
}
