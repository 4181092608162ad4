//! `RTCDtlsTransport`: states, the peer's certificate, errors.

mod common;

use common::{Pair, channel, endpoint, negotiate_altered, runtime, soon};
use futures::StreamExt as _;
use peerloom_actors::{
    Cause, Configuration, DtlsTransportEvent, DtlsTransportState, ErrorDetail, OfferOptions,
    PeerConnection, SctpTransportState,
};
use peerloom_transports_proto::config::DtlsVersions;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_peers_certificate_is_shown_once_connected() {
    let pair = Pair::new(&runtime(2)).await;
    let dtls = pair.a.sctp().expect("connected").transport();
    assert_eq!(dtls.state(), DtlsTransportState::Connected);
    let certificates = dtls.get_remote_certificates();
    assert_eq!(certificates, [pair.b.certificate().der()]);
    pair.a.close().await;
    assert_eq!(dtls.state(), DtlsTransportState::Closed);
}

async fn two(runtime: &peerloom_actors::Runtime) -> (PeerConnection, PeerConnection) {
    let (ea, eb) = (endpoint(runtime).await, endpoint(runtime).await);
    let a = PeerConnection::new(&ea, Configuration::default()).await;
    let b = PeerConnection::new(&eb, Configuration::default()).await;
    (a.expect("a connection"), b.expect("a connection"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn states_change_in_order() {
    let runtime = runtime(2);
    let (a, b) = two(&runtime).await;
    let ours = channel(&a, "x").await;
    // Only the answer makes the transport: its handle is there before packets are.
    a.set_local_description(None).await.expect("an offer");
    let offer = a.local_description().expect("set");
    b.set_remote_description(offer).await.expect("an offer");
    b.set_local_description(None).await.expect("an answer");
    let dtls = b.sctp().expect("negotiated").transport();
    assert_eq!(dtls.state(), DtlsTransportState::New);
    assert!(dtls.get_remote_certificates().is_empty());
    let mut events = dtls.events();
    common::negotiate_through_answer(&a, &b).await;
    soon("the channel to open", ours.opened())
        .await
        .expect("open");
    a.close().await;
    for state in [
        DtlsTransportState::Connecting,
        DtlsTransportState::Connected,
        DtlsTransportState::Closed,
    ] {
        let expected = DtlsTransportEvent::StateChange(state);
        assert_eq!(soon("an event", events.next()).await, Some(expected));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_certificate_is_an_error() {
    let runtime = runtime(2);
    let (a, b) = two(&runtime).await;
    let (other, _) = two(&runtime).await;
    channel(&a, "x").await;
    let digest = |pc: &PeerConnection| pc.certificate().fingerprint().to_string();
    let (right, wrong) = (digest(&b), digest(&other));
    let alter = |answer: &mut peerloom_actors::SessionDescription| {
        answer.sdp = answer.sdp.replace(&right, &wrong);
    };
    negotiate_altered(&a, &b, OfferOptions::default(), alter)
        .await
        .expect("well-formed");
    let sctp = a.sctp().expect("negotiated");
    let dtls = sctp.transport();
    let mut events = dtls.events();
    let cause = soon("the refusal", a.connected()).await.expect_err("wrong");
    assert_eq!(cause.error_detail(), Some(ErrorDetail::FingerprintFailure));
    assert_eq!(
        cause.error_detail().map(ErrorDetail::name),
        Some("fingerprint-failure")
    );
    let mut error = None;
    loop {
        match soon("an event", events.next()).await {
            Some(DtlsTransportEvent::Error(cause)) => {
                assert_eq!(error.replace(cause), None, "once");
            }
            Some(DtlsTransportEvent::StateChange(DtlsTransportState::Failed)) => break,
            Some(_) => {}
            None => panic!("the events ended"),
        }
    }
    let expected = Cause::Fingerprint { sent_alert: None }; // 1.3 has no alert for it
    assert_eq!(error, Some(expected), "the error comes first");
    assert_eq!(sctp.state(), SctpTransportState::Closed);
    assert!(dtls.get_remote_certificates().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_alert_of_a_peer_that_refuses_is_told_at_both_ends() {
    let runtime = runtime(2);
    let mut only_12 = Configuration::default();
    only_12.dtls.versions = DtlsVersions::Only12; // 1.3 has no alert for it: docs/deviations.md
    let new = async || {
        let endpoint = endpoint(&runtime).await;
        let made = PeerConnection::new(&endpoint, only_12.clone()).await;
        made.expect("a connection")
    };
    let (a, b, other) = (new().await, new().await, new().await);
    channel(&a, "x").await;
    let digest = |pc: &PeerConnection| pc.certificate().fingerprint().to_string();
    let alter = |answer: &mut peerloom_actors::SessionDescription| {
        answer.sdp = answer.sdp.replace(&digest(&b), &digest(&other));
    };
    negotiate_altered(&a, &b, OfferOptions::default(), alter)
        .await
        .expect("well-formed");
    let told = soon("the alert", b.connected()).await.expect_err("refused");
    assert_eq!(told, Cause::DtlsAlert(42), "bad_certificate");
    assert_eq!((told.received_alert(), told.sent_alert()), (Some(42), None));
    assert_eq!(told.error_detail(), Some(ErrorDetail::DtlsFailure));
    assert!(told.to_string().contains("bad_certificate"), "{told}");
    let ours = soon("the refusal", a.connected()).await.expect_err("wrong");
    assert_eq!((ours.received_alert(), ours.sent_alert()), (None, Some(42)));
    assert_eq!(ours.error_detail(), Some(ErrorDetail::FingerprintFailure));
}
