//! Tests of the roster: each rule alone, then every order of delivery.
#![expect(
    clippy::disallowed_methods,
    reason = "tests need some instant to start from"
)]

use super::*;
use crate::id::Identity;
use crate::presence::Leave;
use crate::presence::tests::presence;
use crate::wire::{self, WireError};
use proptest::prelude::*;

const UNIX: u64 = 1_000_000;

fn identity(n: u8) -> Identity {
    Identity::from_seed([n; 32])
}

fn room() -> RoomId {
    RoomId::new("m", "r")
}

fn here(n: u8, seq: u64) -> SignedBytes {
    Record::Presence(presence(seq, &[room()]))
        .sign(&identity(n))
        .unwrap()
}

fn gone(n: u8, seq: u64) -> SignedBytes {
    let leave = Leave {
        mesh: MeshTag::new("m"),
        seq: Seq(seq),
        issued_ms: UNIX,
    };
    Record::Leave(leave).sign(&identity(n)).unwrap()
}

fn dead(accuser: u8, n: u8, seq: u64) -> SignedBytes {
    let obituary = Obituary {
        mesh: MeshTag::new("m"),
        issued_ms: UNIX,
        last: here(n, seq),
    };
    Record::Obituary(obituary).sign(&identity(accuser)).unwrap()
}

fn roster() -> (Roster, Time) {
    let mut roster = Roster::new(identity(0).peer_id(), MeshTag::new("m"));
    let time = Time {
        now: Instant::now(),
        unix_ms: UNIX,
    };
    for accuser in [1, 2, 3] {
        roster.apply(&here(accuser, 1), time).unwrap();
    }
    events(&mut roster);
    (roster, time)
}

fn events(roster: &mut Roster) -> Vec<RosterEvent> {
    std::iter::from_fn(|| roster.poll_event()).collect()
}

#[test]
fn the_newest_presence_counts() {
    let (mut roster, time) = roster();
    let peer = identity(9).peer_id();
    let first = Applied::News {
        subject: peer,
        first: true,
    };
    assert_eq!(roster.apply(&here(9, 5), time).unwrap(), first);
    assert_eq!(roster.apply(&here(9, 5), time).unwrap(), Applied::Old);
    assert_eq!(roster.apply(&here(9, 4), time).unwrap(), Applied::Old);
    assert_eq!(events(&mut roster), [RosterEvent::Joined(peer)]);
    let renewed = Applied::News {
        subject: peer,
        first: false,
    };
    assert_eq!(roster.apply(&here(9, 6), time).unwrap(), renewed);
    assert_eq!(events(&mut roster), [], "a renewal is no change");
}

#[test]
fn a_suspect_that_objects_lives() {
    let (mut roster, time) = roster();
    let peer = identity(9).peer_id();
    roster.apply(&here(9, 5), time).unwrap();
    roster.apply(&dead(1, 9, 5), time).unwrap();
    assert!(roster.get(&peer).unwrap().is_suspected());
    roster.apply(&here(9, 6), time).unwrap();
    roster.handle_timeout(time.now + grace(1));
    let expected = [
        RosterEvent::Joined(peer),
        RosterEvent::Suspected(peer),
        RosterEvent::Refuted(peer),
    ];
    assert_eq!(events(&mut roster), expected);
    assert!(!roster.get(&peer).unwrap().is_suspected());
}

#[test]
fn a_suspect_that_does_not_object_dies_and_stays_dead() {
    let (mut roster, time) = roster();
    let peer = identity(9).peer_id();
    roster.apply(&here(9, 5), time).unwrap();
    roster.apply(&dead(1, 9, 5), time).unwrap();
    roster.handle_timeout(time.now + grace(1) - Duration::from_millis(1));
    assert!(roster.get(&peer).is_some());
    roster.handle_timeout(roster.poll_timeout().unwrap());
    assert!(roster.get(&peer).is_none());
    assert_eq!(
        events(&mut roster).last(),
        Some(&RosterEvent::Died {
            peer,
            was: vec![room()]
        })
    );
    assert_eq!(
        roster.apply(&here(9, 5), time).unwrap(),
        Applied::Buried(dead(1, 9, 5))
    );
    assert!(matches!(
        roster.apply(&here(9, 6), time).unwrap(),
        Applied::News { first: true, .. }
    ));
}

#[test]
fn several_accusers_shorten_the_grace() {
    let (mut roster, time) = roster();
    roster.apply(&here(9, 5), time).unwrap();
    for accuser in [1, 2, 3] {
        assert!(matches!(
            roster.apply(&dead(accuser, 9, 5), time).unwrap(),
            Applied::News { .. }
        ));
    }
    assert_eq!(roster.apply(&dead(1, 9, 5), time).unwrap(), Applied::Old);
    roster.handle_timeout(time.now + grace(MAX_ACCUSERS));
    assert!(roster.get(&identity(9).peer_id()).is_none());
}

#[test]
fn strangers_accuse_nobody() {
    let (mut roster, time) = roster();
    roster.apply(&here(9, 5), time).unwrap();
    assert!(matches!(
        roster.apply(&dead(8, 9, 5), time),
        Err(RecordError::Stranger)
    ));
    assert!(matches!(
        roster.apply(&dead(8, 0, 5), time),
        Err(RecordError::Stranger)
    ));
}

#[test]
fn nobody_is_buried_under_a_number_of_the_accusers_choice() {
    let (mut roster, time) = roster();
    let peer = identity(9).peer_id();
    roster.apply(&here(9, 5), time).unwrap();
    for target in [9, 8] {
        // A presence that claims to be the target's, signed by the accuser.
        let made_up = Record::Presence(presence(u64::MAX, &[room()]));
        let mut last = made_up.sign(&identity(1)).unwrap();
        last = wire::decode(1, 4096, &forge_signer(&last, identity(target).peer_id())).unwrap();
        let obituary = Obituary {
            mesh: MeshTag::new("m"),
            issued_ms: UNIX,
            last,
        };
        let obituary = Record::Obituary(obituary).sign(&identity(1)).unwrap();
        let result = roster.apply(&obituary, time);
        assert!(matches!(
            result,
            Err(RecordError::Wire(WireError::BadSignature))
        ));
    }
    assert!(!roster.get(&peer).unwrap().is_suspected());
    assert!(matches!(
        roster.apply(&here(8, 1), time),
        Ok(Applied::News { first: true, .. })
    ));
}

/// The same bytes with another signer named.
fn forge_signer(signed: &SignedBytes, signer: PeerId) -> Vec<u8> {
    let bytes = wire::encode(1, 4096, signed).unwrap().to_vec();
    let at = bytes
        .windows(32)
        .position(|part| part == signed.signer().as_bytes())
        .unwrap();
    [&bytes[..at], signer.as_bytes(), &bytes[at + 32..]].concat()
}

#[test]
fn an_obituary_brings_the_last_words_along() {
    let (mut roster, time) = roster();
    roster.apply(&here(9, 5), time).unwrap();
    roster.apply(&dead(1, 9, 7), time).unwrap();
    let member = roster.get(&identity(9).peer_id()).unwrap();
    assert_eq!((member.presence.seq, member.is_suspected()), (Seq(7), true));
}

#[test]
fn an_obituary_of_this_node_asks_for_a_newer_presence() {
    let (mut roster, time) = roster();
    roster.set_my_seq(Seq(7));
    assert_eq!(
        roster.apply(&dead(1, 0, 7), time).unwrap(),
        Applied::AboutMe(Seq(7))
    );
    assert_eq!(
        roster.apply(&dead(1, 0, 6), time).unwrap(),
        Applied::Refuted
    );
    assert_eq!(roster.apply(&here(0, 7), time).unwrap(), Applied::Old);
    assert_eq!(
        roster.apply(&here(0, 8), time).unwrap(),
        Applied::AboutMe(Seq(8))
    );
}

#[test]
fn members_expire_and_old_records_do_not_revive_them() {
    let (mut roster, time) = roster();
    roster.apply(&here(9, 5), time).unwrap();
    let later = time.after(Duration::from_secs(90));
    roster.handle_timeout(later.now);
    assert_eq!(roster.members().count(), 0);
    assert_eq!(roster.apply(&here(9, 5), later).unwrap(), Applied::Old);
    let much_later = time.after(Duration::from_secs(181));
    assert!(matches!(
        roster.apply(&here(8, 5), much_later),
        Err(RecordError::Stale(_))
    ));
}

#[test]
fn other_meshes_and_forgeries_are_refused() {
    let (mut roster, time) = roster();
    let mut other = presence(1, &[]);
    other.mesh = MeshTag::new("n");
    let other = Record::Presence(other).sign(&identity(9)).unwrap();
    assert!(matches!(
        roster.apply(&other, time),
        Err(RecordError::OtherMesh)
    ));
    let junk = SignedBytes::sign(
        &identity(9),
        "peerloom/other/1",
        here(9, 1).payload().clone(),
    );
    assert!(matches!(
        roster.apply(&junk, time),
        Err(RecordError::Wire(WireError::BadSignature))
    ));
}

fn any_record() -> impl Strategy<Value = SignedBytes> {
    (0u8..4, 1u8..4, 1u64..5).prop_map(|(kind, accuser, seq)| match kind {
        0 | 1 => here(9, seq),
        2 => gone(9, seq),
        _ => dead(accuser, 9, seq),
    })
}

fn outcome(records: &[SignedBytes]) -> Option<Seq> {
    let (mut roster, time) = roster();
    for record in records {
        roster.apply(record, time).unwrap();
    }
    roster.handle_timeout(time.now + grace(1));
    roster
        .get(&identity(9).peer_id())
        .map(|member| member.presence.seq)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn every_order_of_delivery_converges(
        records in proptest::collection::vec(any_record(), 1..7),
        seed in any::<u64>(),
    ) {
        use rand::SeedableRng;
        use rand::seq::SliceRandom;
        let mut shuffled = [records.clone(), records.clone()].concat();
        shuffled.shuffle(&mut rand_chacha::ChaCha20Rng::seed_from_u64(seed));
        prop_assert_eq!(outcome(&records), outcome(&shuffled));
    }
}

/// A gate that lets in whom its function lets in, and keeps nobody.
struct Only<F>(F);

impl<F: FnMut(PeerId, Claim) -> bool> Gate for Only<F> {
    fn admit(&mut self, author: PeerId, claim: Claim) -> bool {
        (self.0)(author, claim)
    }

    fn keeps(&self, _: &PeerId) -> bool {
        false
    }
}

#[test]
fn presences_over_the_rate_change_nothing_but_clear_a_suspect() {
    let (mut roster, time) = roster();
    roster.apply(&here(5, 4), time).unwrap();
    let accused = identity(5).peer_id();
    let mut nobody = Only(|author: PeerId, claim| {
        assert_eq!((author, claim), (accused, Claim::Own));
        false
    });
    let refused = roster.apply_if(&here(5, 6), time, &mut nobody);
    assert!(matches!(refused, Err(RecordError::OverRate)));
    assert_eq!(roster.get(&accused).unwrap().presence.seq, Seq(4));
    roster.apply(&dead(1, 5, 4), time).unwrap();
    roster.apply_if(&here(5, 6), time, &mut nobody).unwrap();
    let member = roster.get(&accused).unwrap();
    assert!(!member.is_suspected() && member.presence.seq == Seq(6));
}

#[test]
fn every_obituary_of_a_newer_presence_asks_for_a_token() {
    let (mut roster, time) = roster();
    roster.apply(&here(5, 4), time).unwrap();
    let mut asked = 0;
    for seq in 4..10 {
        let mut count = Only(|_, claim| {
            asked += usize::from(claim == Claim::Dead);
            true
        });
        roster.apply_if(&dead(1, 5, seq), time, &mut count).unwrap();
    }
    assert_eq!(asked, 6);
}

#[test]
fn who_was_silent_for_longest_makes_room_unless_it_is_kept() {
    struct Keep(Vec<PeerId>);
    impl Gate for Keep {
        fn admit(&mut self, _: PeerId, _: Claim) -> bool {
            true
        }
        fn keeps(&self, peer: &PeerId) -> bool {
            self.0.contains(peer)
        }
    }
    let (mut roster, mut time) = roster();
    let first = *roster.members.keys().next().unwrap();
    let template = roster.members.remove(&first).unwrap();
    let member = |n: usize, heard| {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&n.to_be_bytes());
        let member = Member {
            presence: template.presence.clone(),
            signed: template.signed.clone(),
            heard,
            expires: template.expires,
            suspicion: None,
        };
        (PeerId::from_bytes(bytes), member)
    };
    roster.members = (0..MAX_MEMBERS)
        .map(|n| member(n, time.now + Duration::from_millis(n as u64)))
        .collect();
    while roster.poll_event().is_some() {}
    time.now += Duration::from_secs(8);
    let oldest: Vec<PeerId> = roster.members.keys().take(3).copied().collect();
    let mut keep = Keep(oldest[..2].to_vec());
    roster.apply_if(&here(200, 1), time, &mut keep).unwrap();
    assert_eq!(roster.members.len(), MAX_MEMBERS);
    assert!(roster.get(&oldest[1]).is_some() && roster.get(&oldest[2]).is_none());
    let Some(RosterEvent::Died { peer, .. }) = roster.poll_event() else {
        panic!("nobody went");
    };
    assert_eq!(peer, oldest[2]);
    let mut all = Keep(roster.members.keys().copied().collect());
    let refused = roster.apply_if(&here(201, 1), time, &mut all);
    assert!(matches!(refused, Err(RecordError::Full)));
}

#[test]
fn only_verified_news_by_members_asks_for_a_token() {
    let (mut roster, time) = roster();
    roster.apply(&here(5, 4), time).unwrap();
    let mut never = Only(|_: PeerId, _| panic!("asked for a token"));
    let mut raw = wire::encode(1, 4096, &dead(1, 5, 4)).unwrap().to_vec();
    if let Some(last) = raw.last_mut() {
        *last ^= 1;
    }
    let forged: SignedBytes = wire::decode(1, 4096, &raw).unwrap();
    assert_eq!(forged.signer(), identity(1).peer_id());
    assert!(matches!(
        roster.apply_if(&forged, time, &mut never),
        Err(RecordError::Wire(WireError::BadSignature))
    ));
    assert!(matches!(
        roster.apply_if(&dead(9, 5, 4), time, &mut never),
        Err(RecordError::Stranger)
    ));
    let refuted = roster.apply_if(&dead(1, 5, 3), time, &mut never);
    assert_eq!(refuted.unwrap(), Applied::Old);
    let accuser = identity(1).peer_id();
    assert!(matches!(
        roster.apply_if(
            &dead(1, 5, 4),
            time,
            &mut Only(|asked, claim| asked != accuser || claim != Claim::Dead)
        ),
        Err(RecordError::OverRate)
    ));
    assert!(!roster.get(&identity(5).peer_id()).unwrap().is_suspected());
    roster.apply(&dead(1, 5, 4), time).unwrap();
    assert!(roster.get(&identity(5).peer_id()).unwrap().is_suspected());
}

#[test]
fn the_last_words_in_an_obituary_are_verified_even_if_their_number_is_known() {
    let (mut roster, time) = roster();
    roster.apply(&here(5, 4), time).unwrap();
    let mut raw = wire::encode(1, 4096, &here(5, 4)).unwrap().to_vec();
    if let Some(last) = raw.last_mut() {
        *last ^= 1;
    }
    let obituary = Obituary {
        mesh: MeshTag::new("m"),
        issued_ms: UNIX,
        last: wire::decode(1, 4096, &raw).unwrap(),
    };
    let signed = Record::Obituary(obituary).sign(&identity(1)).unwrap();
    assert!(matches!(
        roster.apply(&signed, time),
        Err(RecordError::Wire(WireError::BadSignature))
    ));
}
