//! The short form of descriptions.

use peerloom_transports_proto::jsep::{OfferOptions, Session, SessionConfig, SessionDescription};
use peerloom_transports_proto::sdp::compact::{self, Compact, MAX_COMPACT_LEN};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::fixtures;
use crate::util::{config, connect, effects, host, session};

fn both_ways(description: &SessionDescription) -> usize {
    let compact = compact::encode(description).expect("one of our own");
    let bytes = rmp_serde::to_vec(&compact).unwrap();
    assert!(bytes.len() <= MAX_COMPACT_LEN, "{}", bytes.len());
    let back: Compact = rmp_serde::from_slice(&bytes).unwrap();
    assert_eq!(back.expand().as_ref(), Ok(description));
    assert_eq!(back.kind(), description.kind);
    bytes.len()
}

#[test]
fn our_descriptions_survive() {
    let (mut alice, mut bob) = (session(1), session(2));
    alice.request_data().unwrap();
    bob.set_identity(Some("YXNzZXJ0aW9u".repeat(80))).unwrap();
    connect(&mut alice, &mut bob, OfferOptions::default());
    let ufrag = alice.negotiated().unwrap().ice.local.ufrag.clone();
    for port in 1..5 {
        alice.add_local_candidate(&ufrag, host(port)).unwrap();
    }
    alice.complete_local_candidates(&ufrag).unwrap();
    assert!(both_ways(&alice.local_description().unwrap()) < 300);
    assert!(both_ways(&bob.local_description().unwrap()) < 960);
    connect(&mut bob, &mut alice, OfferOptions { ice_restart: true });
    both_ways(&alice.local_description().unwrap());
    both_ways(&bob.local_description().unwrap());
    effects(&mut alice);
}

#[test]
fn what_does_not_fit_is_left_alone() {
    for (name, _) in fixtures::ALL {
        assert_eq!(
            compact::encode(&SessionDescription::offer(fixtures::text(name))),
            None,
            "{name}"
        );
    }
    assert_eq!(compact::encode(&SessionDescription::rollback()), None);
    let mut alice = session(1);
    alice.request_data().unwrap();
    alice.set_identity(Some("YXNz".repeat(800))).unwrap();
    assert_eq!(
        compact::encode(&alice.create_offer(OfferOptions::default()).unwrap()),
        None
    );
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_configuration_survives(
        seed: [u8; 32], max_message_size: u64, peerloom: bool,
        identity in proptest::option::of("[!-~]{1,200}"), ports in vec(any::<u16>(), 0..8),
    ) {
        let base = config(7);
        let peerloom = base.peerloom.clone().filter(|_| peerloom);
        let mut alice = Session::new(SessionConfig { seed, max_message_size, peerloom, ..base });
        alice.request_data().unwrap();
        alice.set_identity(identity).unwrap();
        alice.set_local(None).unwrap();
        let offer = alice.local_description().unwrap();
        let ufrag = offer.sdp.split("a=ice-ufrag:").nth(1).unwrap().split('\r').next().unwrap().to_owned();
        for port in ports {
            alice.add_local_candidate(&ufrag, host(port));
        }
        both_ways(&alice.local_description().unwrap());
    }

    #[test]
    fn hostile_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        if let Ok(compact) = rmp_serde::from_slice::<Compact>(&bytes) {
            drop(compact.expand());
        }
    }

    #[test]
    fn altered_bytes_never_panic(flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut alice = session(1);
        alice.request_data().unwrap();
        alice.set_local(None).unwrap();
        let compact = compact::encode(&alice.local_description().unwrap()).unwrap();
        let mut bytes = rmp_serde::to_vec(&compact).unwrap();
        for (at, byte) in flips {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Ok(compact) = rmp_serde::from_slice::<Compact>(&bytes)
            && let Ok(description) = compact.expand()
        {
            drop(session(2).set_remote(description));
        }
    }
}
