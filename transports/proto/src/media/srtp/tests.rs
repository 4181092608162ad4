mod vectors;

use proptest::prelude::*;

use super::*;

const PROFILES: [SrtpProfile; 3] = [
    SrtpProfile::Aes128CmSha1_80,
    SrtpProfile::AeadAes128Gcm,
    SrtpProfile::AeadAes256Gcm,
];

fn master(profile: SrtpProfile, fill: u8) -> SrtpMaster {
    let bytes: Vec<u8> = (fill..fill + 32).collect();
    SrtpMaster::new(&bytes[..profile.key_len()], &bytes[..profile.salt_len()])
}

fn pair(profile: SrtpProfile) -> (Session, Session) {
    let keys = SrtpKeys {
        profile,
        local: master(profile, 1),
        remote: master(profile, 101),
    };
    let theirs = SrtpKeys {
        profile,
        local: keys.remote.clone(),
        remote: keys.local.clone(),
    };
    let session = |keys| Session::new(keys).expect("session");
    (session(&keys), session(&theirs))
}

fn rtp(ssrc: u32, number: u16, payload: &[u8]) -> Vec<u8> {
    let number = number.to_be_bytes();
    let mut packet = vec![0x80, 111, number[0], number[1], 0, 0, 0, 7];
    packet.extend(ssrc.to_be_bytes());
    packet.extend(payload);
    packet
}

/// An empty receiver report (RFC 3550 §6.4.2).
fn rtcp(ssrc: u32) -> Vec<u8> {
    let mut packet = vec![0x80, 201, 0, 1];
    packet.extend(ssrc.to_be_bytes());
    packet
}

fn seal(session: &mut Session, packet: &[u8]) -> Bytes {
    let sealed = if is_rtcp(packet) {
        session.protect_rtcp(packet)
    } else {
        session.protect_rtp(packet)
    };
    sealed.expect("protected")
}

#[test]
fn both_directions_pass_in_every_profile() {
    for profile in PROFILES {
        let (mut a, mut b) = pair(profile);
        let plain = rtp(5, 1000, b"payload");
        let sealed = seal(&mut a, &plain);
        assert_ne!(sealed[12..19], plain[12..], "{profile}");
        assert_eq!(b.unprotect(&sealed), Ok(Packet::Rtp(plain.clone().into())));
        assert_eq!(
            a.unprotect(&sealed),
            Err(Error::Forged),
            "its own: other keys"
        );
        let back = seal(&mut b, &rtcp(9));
        assert_eq!(a.unprotect(&back), Ok(Packet::Rtcp(rtcp(9).into())));
        assert_eq!(a.counters().protected, 1);
        assert_eq!((a.counters().unprotected, a.counters().forged), (1, 1));
    }
}

#[test]
fn headers_of_every_length_pass() {
    for profile in PROFILES {
        let (mut a, mut b) = pair(profile);
        // An element of the reserved identifier 15 in front of others; two sources that contribute.
        let mut packet = rtp(5, 1, &[]);
        packet[0] |= 0x12;
        packet.extend([1, 1, 1, 1, 2, 2, 2, 2]);
        packet.extend([0xBE, 0xDE, 0, 2, 0xF0, 1, 0x10, 2, 0x20, 3, 0, 0]);
        let header = packet.len();
        packet.extend(b"secret");
        let sealed = seal(&mut a, &packet);
        assert_eq!(
            sealed[..header],
            packet[..header],
            "{profile}: in the clear"
        );
        assert_ne!(sealed[header..header + 6], packet[header..], "{profile}");
        assert_eq!(b.unprotect(&sealed), Ok(Packet::Rtp(packet.into())));
    }
}

#[test]
fn a_packet_is_taken_once_and_in_the_window_only() {
    for profile in PROFILES {
        let (mut a, mut b) = pair(profile);
        let all: Vec<Bytes> = (0..1100).map(|n| seal(&mut a, &rtp(5, n, b"x"))).collect();
        assert!(b.unprotect(&all[0]).is_ok());
        assert_eq!(b.unprotect(&all[0]), Err(Error::Replayed));
        assert!(b.unprotect(&all[1099]).is_ok());
        assert!(b.unprotect(&all[76]).is_ok(), "the oldest in the window");
        assert_eq!(b.unprotect(&all[75]), Err(Error::Replayed), "too old");
        let report = seal(&mut a, &rtcp(5));
        assert!(b.unprotect(&report).is_ok());
        assert_eq!(b.unprotect(&report), Err(Error::Replayed));
        assert_eq!((b.counters().replayed, b.counters().forged), (3, 0));
    }
}

#[test]
fn sequence_numbers_wrap_and_old_rounds_are_not_taken_again() {
    for profile in PROFILES {
        let (mut a, mut b) = pair(profile);
        let first = seal(&mut a, &rtp(5, 0, b"x"));
        assert!(b.unprotect(&first).is_ok());
        let mut last = first.clone();
        for step in 1..=200_u32 {
            let number = u16::try_from(step * 1000 % 65_536).expect("16 bits");
            last = seal(&mut a, &rtp(5, number, b"x"));
            let opened = b.unprotect(&last);
            assert_eq!(opened, Ok(Packet::Rtp(rtp(5, number, b"x").into())));
        }
        // The third round of numbers: those of the first are not authentic any more.
        assert!(b.unprotect(&first).is_err());
        // Numbers around a wrap, out of order.
        let sealed: Vec<Bytes> = [65_534, 65_535, 0, 1]
            .map(|n| seal(&mut a, &rtp(6, n, b"x")))
            .to_vec();
        for at in [1, 0, 3, 2] {
            assert!(b.unprotect(&sealed[at]).is_ok(), "{profile} {at}");
            assert_eq!(b.unprotect(&sealed[at]), Err(Error::Replayed));
        }
        assert_eq!(b.unprotect(&last), Err(Error::Replayed));
    }
}

#[test]
fn strangers_leave_nothing_behind() {
    let (mut a, mut b) = pair(SrtpProfile::AeadAes128Gcm);
    for n in 0..5000 {
        let forged = rtp(n, 40_000, &[7; 40]);
        assert_eq!(b.unprotect(&forged), Err(Error::Forged));
    }
    assert!(b.incoming.tried <= 64 && b.incoming.sources[0].is_empty());
    // Nor do they spoil the first packet of a source they have named.
    let sealed = seal(&mut a, &rtp(4999, 1, b"x"));
    assert!(b.unprotect(&sealed).is_ok());
    assert_eq!(b.counters().forged, 5000);
}

/// The packaged engine takes the tag of such a packet off in counter mode, and does not look at it.
#[test]
fn reports_in_the_clear_are_not_taken() {
    for profile in PROFILES {
        let (mut a, mut b) = pair(profile);
        let report = [&rtcp(5)[..], &[0; 40]].concat();
        assert_eq!(b.unprotect(&report), Err(Error::Forged), "{profile}");
        let sealed = seal(&mut a, &rtcp(5));
        assert!(b.unprotect(&sealed).is_ok(), "from a known source");
        assert_eq!(b.unprotect(&report), Err(Error::Forged), "{profile}");
        assert_eq!(b.counters().forged, 2);
    }
}

#[test]
fn sources_are_bounded_in_both_directions() {
    let (mut a, mut b) = pair(SrtpProfile::AeadAes128Gcm);
    for ssrc in 0..1024 {
        let sealed = seal(&mut a, &rtp(ssrc, 1, b"x"));
        assert!(b.unprotect(&sealed).is_ok());
    }
    let more = rtp(1024, 1, b"x");
    assert_eq!(a.protect_rtp(&more), Err(Error::TooManySources));
    let (mut other, _) = pair(SrtpProfile::AeadAes128Gcm);
    let sealed = seal(&mut other, &more);
    assert_eq!(b.unprotect(&sealed), Err(Error::TooManySources));
    assert_eq!(b.counters().refused, 1);
    let known = seal(&mut a, &rtp(0, 2, b"x"));
    assert!(b.unprotect(&known).is_ok());
}

#[test]
fn a_key_ends_before_an_index_comes_again() {
    let (mut a, _) = pair(SrtpProfile::Aes128CmSha1_80);
    a.outgoing.rtcp_packets = MAX_RTCP_PACKETS - 1;
    assert!(a.protect_rtcp(&rtcp(1)).is_ok());
    assert_eq!(a.protect_rtcp(&rtcp(1)), Err(Error::KeysExhausted));
    assert!(a.protect_rtp(&rtp(1, 1, b"x")).is_ok());
}

#[test]
fn keys_of_another_length_and_packets_of_another_kind_are_refused() {
    let keys = SrtpKeys {
        profile: SrtpProfile::AeadAes256Gcm,
        local: master(SrtpProfile::AeadAes128Gcm, 1),
        remote: master(SrtpProfile::AeadAes256Gcm, 1),
    };
    assert_eq!(Session::new(&keys).err(), Some(Error::BadKeys));
    let (mut a, _) = pair(SrtpProfile::AeadAes128Gcm);
    assert_eq!(a.protect_rtp(&rtcp(1)), Err(Error::Malformed));
    assert_eq!(a.protect_rtcp(&rtp(1, 1, b"x")), Err(Error::Malformed));
    let long = rtp(1, 1, &[0; MAX_PACKET]);
    assert_eq!(a.protect_rtp(&long), Err(Error::Malformed));
    let mut cut = rtp(1, 1, &[]);
    cut[0] |= 0x10; // an extension that is not there
    assert_eq!(a.protect_rtp(&cut), Err(Error::Malformed));
}

#[test]
fn after_a_panic_of_the_engine_it_is_not_called_again() {
    let (mut a, _) = pair(SrtpProfile::AeadAes128Gcm);
    let fault = EngineFault { layer: Layer::Srtp };
    let failed: Result<(), Error> = call(&mut a.fault, || panic!("broken invariant"));
    assert_eq!(failed, Err(Error::Fault(fault)));
    assert_eq!(a.unprotect(&rtp(1, 1, b"x")), Err(Error::Fault(fault)));
    assert_eq!(a.protect_rtp(&rtp(1, 1, b"x")), Err(Error::Fault(fault)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// What was changed anywhere is not authentic, and what was not still is.
    #[test]
    fn nothing_changed_gets_through(
        which in 0..3_usize,
        control in any::<bool>(),
        payload in prop::collection::vec(any::<u8>(), 0..64),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let (mut a, mut b) = pair(PROFILES[which]);
        let plain = if control { rtcp(3) } else { rtp(3, 9, &payload) };
        let sealed = seal(&mut a, &plain);
        let mut changed = sealed.to_vec();
        let at = at.index(changed.len());
        changed[at] ^= 1 << bit;
        prop_assert!(b.unprotect(&changed).is_err());
        let expected = if control { Packet::Rtcp(plain.into()) } else { Packet::Rtp(plain.into()) };
        prop_assert_eq!(b.unprotect(&sealed), Ok(expected));
    }

    /// Any bytes, also such that begin as media does.
    #[test]
    fn any_bytes_are_survived(
        which in 0..3_usize,
        mut bytes in prop::collection::vec(any::<u8>(), 0..120),
        media in any::<bool>(),
    ) {
        if media && let Some(first) = bytes.first_mut() {
            *first = 0x80 | *first & 0x3f;
        }
        let (mut a, mut b) = pair(PROFILES[which]);
        prop_assert!(b.unprotect(&bytes).is_err());
        prop_assert_eq!(b.fault, None);
        for sealed in [a.protect_rtp(&bytes), a.protect_rtcp(&bytes)].into_iter().flatten() {
            let opened = b.unprotect(&sealed).expect("what we protect can be read");
            let (Packet::Rtp(opened) | Packet::Rtcp(opened)) = opened;
            prop_assert_eq!(&opened[..], &bytes[..]);
        }
        prop_assert_eq!(a.fault, None);
    }

    /// A link that loses, repeats and reorders within the window: each packet that arrives is taken
    /// exactly once, whatever its round of numbers.
    #[test]
    fn a_bad_link_delivers_each_packet_once(
        which in 0..3_usize,
        start in 0..32_768_u16,
        fates in prop::collection::vec((any::<bool>(), any::<bool>(), 0..400_u32), 300),
    ) {
        let (mut a, mut b) = pair(PROFILES[which]);
        let mut arrivals = Vec::new();
        for (index, (lost, twice, delay)) in (0_u32..).zip(fates) {
            let step = u16::try_from(index * 331 % 65_536).expect("16 bits");
            let number = start.wrapping_add(step);
            let sealed = seal(&mut a, &rtp(3, number, &index.to_be_bytes()));
            // At most two further packets overtake it: 3 × 331 numbers are within the window.
            let at = index * 200 + delay;
            if !lost || index == 0 {
                let at = if index == 0 { 0 } else { at };
                arrivals.push((at, index, sealed.clone()));
                if twice {
                    arrivals.push((at + 1, index, sealed));
                }
            }
        }
        arrivals.sort();
        let mut seen = BTreeSet::new();
        for (_, index, sealed) in arrivals {
            match b.unprotect(&sealed) {
                Ok(_) => prop_assert!(seen.insert(index), "{} came twice", index),
                Err(error) => {
                    prop_assert_eq!(error, Error::Replayed);
                    prop_assert!(seen.contains(&index), "{} is lost", index);
                }
            }
        }
    }
}
