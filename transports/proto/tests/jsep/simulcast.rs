//! Several encodings of one source (RFC 8853).

use peerloom_transports_proto::jsep::{
    Encoding, OfferOptions, Session, SessionDescription, TransceiverId, TransceiverInit,
};
use peerloom_transports_proto::sdp::{Direction, MediaKind, RidDirection};

use crate::captured;
use crate::util::{connect, local_sdp, media_pair, name};

fn sender(session: &mut Session, rids: &[&str]) -> TransceiverId {
    let init = TransceiverInit {
        direction: Direction::SendOnly,
        send_encodings: rids.iter().map(|rid| Encoding::named(*rid)).collect(),
        ..TransceiverInit::default()
    };
    session.add_transceiver(MediaKind::Video, init).unwrap()
}

fn rids(session: &Session) -> Vec<&str> {
    let t = session.transceivers().next().unwrap();
    let named = t.encodings().iter().filter_map(|e| e.rid.as_deref());
    named.collect()
}

#[test]
fn three_encodings_are_sent_and_received() {
    let (mut alice, mut bob) = media_pair();
    let id = sender(&mut alice, &["h", "m", "l"]);
    connect(&mut alice, &mut bob, OfferOptions::default());
    let offer = local_sdp(&alice).to_string();
    assert!(offer.contains("a=rid:h send\r\n") && offer.contains("a=simulcast:send h;m;l\r\n"));
    let answer = local_sdp(&bob).to_string();
    assert!(answer.contains("a=rid:l recv\r\n") && answer.contains("a=simulcast:recv h;m;l\r\n"));
    let sent = &alice
        .transceiver(id)
        .unwrap()
        .negotiated()
        .unwrap()
        .send_rids;
    let got = bob.transceivers().next().unwrap().negotiated().unwrap();
    assert_eq!((sent, &got.receive_rids), (&got.receive_rids, sent));
    assert_eq!(sent, &["h", "m", "l"]);
    connect(&mut bob, &mut alice, OfferOptions::default());
    assert_eq!(rids(&alice), ["h", "m", "l"], "whoever offers");
}

#[test]
fn what_the_answer_leaves_out_is_not_sent() {
    for (kept, left) in [("recv h;l", &["h", "l"][..]), ("recv m", &[]), ("", &[])] {
        let (mut alice, mut bob) = media_pair();
        sender(&mut alice, &["h", "m", "l"]);
        alice.set_local(None).unwrap();
        bob.set_remote(alice.local_description().unwrap()).unwrap();
        bob.set_local(None).unwrap();
        let answer = bob.local_description().unwrap().sdp;
        let line = format!("a=simulcast:{kept}\r\n");
        let line = if kept.is_empty() { "" } else { &line };
        let answer = answer.replace("a=simulcast:recv h;m;l\r\n", line);
        alice
            .set_remote(SessionDescription::answer(answer))
            .unwrap();
        assert_eq!(rids(&alice), left, "{kept:?}");
        assert!(!alice.negotiation_needed());
    }
}

#[test]
fn a_peer_may_ask_for_simulcast() {
    let (mut alice, mut bob) = media_pair();
    alice.add_track(MediaKind::Video, Vec::new()).unwrap();
    bob.add_track(MediaKind::Video, Vec::new()).unwrap();
    alice.set_local(None).unwrap();
    let offer = alice.local_description().unwrap().sdp;
    let asking = format!("{offer}a=rid:a recv\r\na=rid:b recv\r\na=simulcast:recv a;~b\r\n");
    bob.set_remote(SessionDescription::offer(asking.clone()))
        .unwrap();
    assert_eq!(rids(&bob), ["a", "b"]);
    bob.set_remote(SessionDescription::rollback()).unwrap();
    assert_eq!(rids(&bob), [""; 0], "as before");
    bob.set_remote(SessionDescription::offer(asking)).unwrap();
    bob.set_local(None).unwrap();
    let answer = local_sdp(&bob);
    assert!(answer.to_string().contains("a=simulcast:send a;~b\r\n"));
}

#[test]
fn names_are_checked() {
    let (mut alice, _) = media_pair();
    let bad = [
        &["a", "a"][..],
        &["a b", "c"],
        &["", "c"],
        &["a-b", "c"],
        &["12345678901234567", "c"],
    ];
    for rids in bad {
        let init = TransceiverInit {
            send_encodings: rids.iter().map(|rid| Encoding::named(*rid)).collect(),
            ..TransceiverInit::default()
        };
        let error = alice.add_transceiver(MediaKind::Video, init).unwrap_err();
        assert_eq!(name(&error), "TypeError", "{rids:?}");
    }
    let init = TransceiverInit {
        streams: vec!["two words".to_owned()],
        ..TransceiverInit::default()
    };
    let error = alice.add_transceiver(MediaKind::Video, init).unwrap_err();
    assert_eq!(name(&error), "TypeError");
    sender(&mut alice, &["one"]);
    assert_eq!(rids(&alice), [""; 0], "a single one needs no name");
}

#[test]
fn browsers_send_simulcast_to_us() {
    for browser in ["chromium-156", "firefox-153"] {
        let (_, mut bob) = media_pair();
        let offer = captured::named(&format!("{browser}-simulcast-offer"));
        bob.set_remote(SessionDescription::offer(offer.text))
            .unwrap();
        bob.set_local(None).unwrap();
        let got = bob.transceivers().next().unwrap().negotiated().unwrap();
        assert_eq!(got.receive_rids, ["h", "m", "l"], "{browser}");
        let answer = local_sdp(&bob);
        let list = answer.media[0]
            .simulcast()
            .unwrap()
            .list(RidDirection::Recv);
        assert_eq!(list.unwrap().len(), 3, "{browser}");
    }
}
