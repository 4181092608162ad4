//! Descriptions exchanged with str0m's own offer/answer, in both directions.

#![allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]

use std::time::Instant;

use peerloom_transports_proto::id::DtlsRole;
use peerloom_transports_proto::jsep::{OfferOptions, SessionDescription};
use str0m::change::{SdpAnswer, SdpOffer};
use str0m::{Candidate, Rtc};

use crate::util::{effects, host, session};

fn rtc() -> Rtc {
    let mut rtc = Rtc::builder().build(Instant::now());
    let addr = ([192, 0, 2, 2], 4000).into();
    rtc.add_local_candidate(Candidate::host(addr, "udp").unwrap());
    rtc
}

#[test]
fn str0m_takes_our_offers() {
    let (mut alice, mut rtc) = (session(1), rtc());
    alice.request_data().unwrap();
    for restart in [false, true] {
        let offer = alice
            .create_offer(OfferOptions {
                ice_restart: restart,
            })
            .unwrap();
        alice.set_local(Some(offer)).unwrap();
        while let Some(effect) = alice.poll_effect() {
            if let peerloom_transports_proto::jsep::Effect::Gather(gather) = effect {
                alice
                    .add_local_candidate(&gather.credentials.ufrag, host(9))
                    .unwrap();
                alice
                    .complete_local_candidates(&gather.credentials.ufrag)
                    .unwrap();
            }
        }
        let text = alice.local_description().unwrap().sdp;
        let offer = SdpOffer::from_sdp_string(&text).unwrap();
        let answer = rtc.sdp_api().accept_offer(offer).unwrap().to_sdp_string();
        alice
            .set_remote(SessionDescription::answer(answer))
            .unwrap();
        let role = alice.negotiated().unwrap().dtls.role;
        assert_eq!(role, DtlsRole::Client, "str0m answers passive");
        assert!(!effects(&mut alice).is_empty());
    }
}

#[test]
fn str0m_takes_our_answers() {
    let (mut bob, mut rtc) = (session(2), rtc());
    let mut changes = rtc.sdp_api();
    changes.add_channel("data".to_owned());
    let (offer, pending) = changes.apply().unwrap();
    bob.set_remote(SessionDescription::offer(offer.to_sdp_string()))
        .unwrap();
    bob.set_local(None).unwrap();
    let text = bob.local_description().unwrap().sdp;
    let answer = SdpAnswer::from_sdp_string(&text).unwrap();
    rtc.sdp_api().accept_answer(pending, answer).unwrap();
    assert_eq!(bob.negotiated().unwrap().dtls.role, DtlsRole::Client);
}
