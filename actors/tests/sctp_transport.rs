//! `RTCSctpTransport`: when it is there, its limits, its states.

mod common;

use common::bare::Bare;
use common::{Pair, channel, endpoint, runtime, soon};
use futures::StreamExt as _;
use peerloom_actors::{
    Cause, Configuration, DataChannelEvent, DataChannelInit, DtlsTransportEvent,
    DtlsTransportState, ErrorDetail, PeerConnection, SctpTransportEvent, SctpTransportState,
};

async fn unconnected(runtime: &peerloom_actors::Runtime) -> (PeerConnection, PeerConnection) {
    let endpoint = endpoint(runtime).await;
    let new = || PeerConnection::new(&endpoint, Configuration::default());
    let (a, b) = (new().await, new().await);
    (a.expect("a connection"), b.expect("a connection"))
}

/// Offer and answer without candidates: nothing connects.
async fn agree(a: &PeerConnection, b: &PeerConnection, limit: Option<&str>) {
    channel(a, "x").await;
    let offer = a.create_offer(Default::default()).await.expect("an offer");
    a.set_local_description(Some(offer.clone()))
        .await
        .expect("ours");
    b.set_remote_description(offer).await.expect("an offer");
    assert!(b.sctp().is_none(), "an offer alone makes no association");
    let mut answer = b.create_answer().await.expect("an answer");
    b.set_local_description(Some(answer.clone()))
        .await
        .expect("ours");
    let kept = |line: &&str| {
        let other = line.starts_with("a=max-message-size") || line.starts_with("a=x-peerloom");
        limit.is_none() || !other
    };
    let lines: Vec<&str> = answer.sdp.split_terminator("\r\n").filter(kept).collect();
    let line = limit.map(|limit| format!("a=max-message-size:{limit}"));
    let lines = lines.into_iter().chain(line.as_deref());
    answer.sdp = lines.map(|line| format!("{line}\r\n")).collect();
    a.set_remote_description(answer).await.expect("an answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_there_from_the_answer_on() {
    let runtime = runtime(1);
    let (a, b) = unconnected(&runtime).await;
    assert!(a.sctp().is_none());
    agree(&a, &b, None).await;
    for pc in [&a, &b] {
        let sctp = pc.sctp().expect("negotiated");
        assert_eq!(sctp.state(), SctpTransportState::Connecting);
        assert_eq!(sctp.max_channels(), None, "not before it is connected");
        assert_ne!(sctp.transport().state(), DtlsTransportState::Connected);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn its_transport_is_the_dtls_transport_of_the_connection() {
    let pair = Pair::new(&runtime(2)).await;
    let transports = [&pair.a, &pair.b].map(|pc| pc.sctp().expect("connected").transport());
    for (transport, peer) in transports.iter().zip([&pair.b, &pair.a]) {
        assert_eq!(transport.state(), DtlsTransportState::Connected);
        let [shown] = &transport.get_remote_certificates()[..] else {
            panic!("one certificate");
        };
        assert!(peer.certificate().fingerprint().matches(shown));
    }
    let mut events = transports[0].events();
    pair.b.close().await;
    let closed = DtlsTransportEvent::StateChange(DtlsTransportState::Closed);
    assert_eq!(soon("an event", events.next()).await, Some(closed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_fewer_channels_of_both_ends_are_agreed_on() {
    let endpoint = endpoint(&runtime(2)).await;
    let fewer = || {
        let mut configuration = Configuration::default();
        configuration.sctp.streams = 16;
        configuration
    };
    for (for_a, for_b) in [
        (fewer(), Configuration::default()),
        (Configuration::default(), fewer()),
    ] {
        let pair = Pair::with(&endpoint, &endpoint, for_a, for_b).await;
        for pc in [&pair.a, &pair.b] {
            assert_eq!(pc.sctp().expect("connected").max_channels(), Some(16));
            let create = async |id| {
                let init = DataChannelInit {
                    negotiated: true,
                    id: Some(id),
                    ..DataChannelInit::default()
                };
                let made = pc.create_data_channel("x", init).await;
                made.err().map(|error| error.name())
            };
            assert_eq!(create(16).await, Some("OperationError"));
            assert_eq!(create(15).await, None);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_message_is_what_the_peer_says() {
    let runtime = runtime(1);
    for (limit, expected) in [("5000", Some(5000)), ("262144", Some(262_144))] {
        let (a, b) = unconnected(&runtime).await;
        agree(&a, &b, Some(limit)).await;
        let max = a.sctp().expect("negotiated").max_message_size();
        assert_eq!(max, expected, "{limit}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connected_and_closed_with_events() {
    let runtime = runtime(2);
    let (a, b) = unconnected(&runtime).await;
    agree(&a, &b, None).await;
    let sctp = a.sctp().expect("negotiated");
    let mut events = sctp.events();
    soon("candidates", common::gathered([&a, &b])).await;
    common::tell_candidates(&a, &b).await;
    common::tell_candidates(&b, &a).await;
    let connected = SctpTransportEvent::StateChange(SctpTransportState::Connected);
    assert_eq!(soon("an event", events.next()).await, Some(connected));
    assert_eq!(sctp.state(), SctpTransportState::Connected);
    assert_eq!(sctp.max_channels(), Some(1024));
    b.close().await;
    let closed = SctpTransportEvent::StateChange(SctpTransportState::Closed);
    assert_eq!(soon("an event", events.next()).await, Some(closed));
    assert_eq!(sctp.state(), SctpTransportState::Closed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn close_ends_it_without_events() {
    let pair = Pair::new(&runtime(2)).await;
    let sctp = pair.a.sctp().expect("connected");
    let mut events = sctp.events();
    pair.a.close().await;
    assert_eq!(sctp.state(), SctpTransportState::Closed);
    assert_eq!(soon("the end of the events", events.next()).await, None);
    assert!(pair.a.sctp().is_some(), "it can still be read");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cause_of_an_abort_is_an_error_of_the_channels() {
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    let a = PeerConnection::new(&endpoint, Configuration::default()).await;
    let a = a.expect("a connection");
    let ours = channel(&a, "x").await;
    let mut events = ours.events();
    a.set_local_description(None).await.expect("an offer");
    common::gathered([&a, &a]).await;
    let bare = Bare::answering(a.local_description().expect("just set"));
    a.set_remote_description(bare.answer.clone())
        .await
        .expect("an answer");
    soon("the channel to open", ours.opened())
        .await
        .expect("open");
    bare.leave();
    let error = Cause::SctpAbort(Some(12));
    for expected in [
        DataChannelEvent::Open,
        DataChannelEvent::Error(error.clone()),
        DataChannelEvent::Close,
    ] {
        assert_eq!(soon("an event", events.next()).await, Some(expected));
    }
    assert_eq!(error.sctp_cause_code(), Some(12));
    assert_eq!(error.error_detail(), Some(ErrorDetail::SctpFailure));
    assert_eq!(error.code(), "closed_by_peer", "browsers close so");
    assert!(error.to_string().contains("user-initiated"), "{error}");
    soon("the connection to end", async {
        while a.cause().is_none() {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(a.cause(), Some(error));
    let sctp = a.sctp().expect("negotiated");
    assert_eq!(sctp.state(), SctpTransportState::Closed);
}
