//! Peers that contradict our role, and themselves.

use std::time::Duration;

use bytes::Bytes;

use super::stun::ROLE_CONFLICT;
use super::tests::Pair;
use super::*;
use crate::engine::Transmit;
use crate::stun::message::{Builder, Class, Message, attribute, method};

use IceRole::{Controlled, Controlling};

fn changes(pair: &Pair) -> usize {
    let told = pair.events[0].iter();
    told.filter(|it| matches!(it, Event::RoleChange(_))).count()
}

/// The refusal of a check of `a`'s; `None` for other packets.
fn refusal(pair: &Pair, transmit: &Transmit) -> Option<Bytes> {
    let check = Message::parse(&transmit.contents).filter(|it| it.class == Class::Request)?;
    let refusal = Builder::new(Class::Error, check.method, check.transaction)
        .error(ROLE_CONFLICT, "Role Conflict");
    Some(refusal.finish_with_integrity(pair.b.local_credentials().pwd.as_bytes()))
}

/// Refuses what `a` sends until it sends nothing more. Returns how many checks those were.
fn refuse_everything(pair: &mut Pair) -> usize {
    let mut refused = 0;
    while let Some(due) = pair.a.poll_timeout() {
        pair.now = pair.now.max(due.at);
        pair.a.handle_timeout(pair.now);
        pair.drain();
        for (_, _, transmit) in std::mem::take(&mut pair.wire) {
            let Some(error) = refusal(pair, &transmit) else {
                continue;
            };
            refused += 1;
            // What is too much is dropped.
            drop(pair.a.handle_packet(transmit.path, &error, pair.now));
        }
        pair.drain();
    }
    refused
}

#[test]
fn a_peer_that_refuses_every_role_does_not_make_us_change_without_end() {
    for role in [Controlling, Controlled] {
        let mut pair = Pair::new(role, role.other());
        pair.start(role, role.other());
        pair.trickle();
        let refused = refuse_everything(&mut pair);
        assert!(refused > 100, "{refused} checks");
        assert_eq!(changes(&pair), usize::from(MAX_ROLE_CHANGES));
        assert_eq!(pair.a.state(), State::Failed);
    }
}

#[test]
fn a_new_generation_may_change_its_role_again() {
    let mut pair = Pair::new(Controlling, Controlled);
    for generation in 1..=3 {
        pair.start(Controlling, Controlled);
        pair.trickle();
        refuse_everything(&mut pair);
        assert_eq!(changes(&pair), usize::from(MAX_ROLE_CHANGES));
        let new = |n: u64| super::tests::credentials(10 * n + generation);
        pair.a.restart(new(1), pair.now).expect("restart");
        pair.b.restart(new(2), pair.now).expect("restart");
    }
}

#[test]
fn a_refusal_of_consent_changes_no_role() {
    let mut pair = Pair::new(Controlling, Controlled);
    pair.start(Controlling, Controlled);
    pair.trickle();
    assert!(pair.run(Duration::from_secs(5), Pair::connected));
    pair.wire.clear();
    let refused = refuse_everything(&mut pair);
    assert!(refused > 10, "{refused} checks");
    assert_eq!(changes(&pair), 0);
    // It is no consent either.
    assert_eq!(pair.a.state(), State::Failed);
}

/// With the greatest tie-breaker it controls, with the least it is controlled: each is right by itself.
#[test]
fn checks_that_contradict_each_other_do_not_make_us_change_without_end() {
    let mut pair = Pair::new(Controlling, Controlled);
    pair.start(Controlling, Controlled);
    pair.trickle();
    let (a, b) = (pair.a.local_credentials(), pair.b.local_credentials());
    let username = format!("{}:{}", a.ufrag, b.ufrag);
    let password = a.pwd.clone();
    let path = Path::new(
        super::tests::addr("10.0.0.1:1000"),
        super::tests::addr("10.0.0.2:2000"),
    );
    let mut refused = 0;
    for number in 0..50_u8 {
        let (kind, tie_breaker) = match pair.a.role() {
            Controlling => (attribute::ICE_CONTROLLING, [0xff; 8]),
            Controlled => (attribute::ICE_CONTROLLED, [0; 8]),
        };
        let check = Builder::new(Class::Request, method::BINDING, [number; 12])
            .attribute(attribute::USERNAME, username.as_bytes())
            .number(attribute::PRIORITY, 1)
            .attribute(kind, &tie_breaker)
            .finish_with_integrity(password.as_bytes());
        let taken = pair.a.handle_packet(path, &check, pair.now);
        taken.expect("an authentic check");
        pair.drain();
        for (_, _, transmit) in std::mem::take(&mut pair.wire) {
            let answer = Message::parse(&transmit.contents).expect("STUN");
            if answer.transaction == [number; 12] && answer.class == Class::Error {
                assert_eq!(answer.error().map(|it| it.0), Some(ROLE_CONFLICT));
                assert!(answer.verify(password.as_bytes()));
                refused += 1;
            }
        }
    }
    assert_eq!(changes(&pair), usize::from(MAX_ROLE_CHANGES));
    assert_eq!(refused, 50 - MAX_ROLE_CHANGES);
}
