//! Data channels over QUIC: who gets it, who falls back, and what shows.

mod common;

use common::{Pair, endpoint, over, runtime, soon};
use peerloom_actors::{
    Cause, ConnectionState, DataTransport, DataTransportKind, DataTransportReason, PeerConnection,
    QuicTransportState,
};

fn choice(pc: &PeerConnection) -> (DataTransportKind, DataTransportReason) {
    let choice = pc.data_transport().expect("chosen");
    (choice.kind, choice.reason)
}

async fn talk(pair: &Pair) {
    for (from, to) in [
        (&pair.channel_a, &pair.channel_b),
        (&pair.channel_b, &pair.channel_a),
    ] {
        soon("to send", from.send("hello")).await.expect("open");
        assert_eq!(soon("a message", to.recv()).await, Some("hello".into()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_peers_that_both_want_quic_get_it() {
    let runtime = runtime(2);
    for (a, b) in [
        (DataTransport::Auto, DataTransport::Auto),
        (DataTransport::Auto, DataTransport::Quic),
        (DataTransport::Quic, DataTransport::Auto),
    ] {
        let ends = (endpoint(&runtime).await, endpoint(&runtime).await);
        let pair = Pair::with(&ends.0, &ends.1, over(a), over(b)).await;
        talk(&pair).await;
        for pc in [&pair.a, &pair.b] {
            let offer = pc.local_description().expect("set").sdp;
            assert!(offer.contains("a=x-peerloom:1 chunk quic\r\n"), "{offer}");
            let agreed = (DataTransportKind::Quic, DataTransportReason::Agreed);
            assert_eq!(choice(pc), agreed);
            assert!(pc.sctp().is_none());
            let quic = pc.quic().expect("chosen");
            assert_eq!(quic.state(), QuicTransportState::Connected);
            assert_eq!(quic.get_remote_certificates().len(), 1);
            assert!(quic.ice_transport().get_selected_candidate_pair().is_some());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_says_nothing_of_quic_gets_sctp() {
    let runtime = runtime(2);
    for (a, b) in [
        (DataTransport::Auto, DataTransport::Sctp),
        (DataTransport::Sctp, DataTransport::Auto),
    ] {
        let ends = (endpoint(&runtime).await, endpoint(&runtime).await);
        let pair = Pair::with(&ends.0, &ends.1, over(a), over(b)).await;
        talk(&pair).await;
        for (pc, wanted) in [(&pair.a, a), (&pair.b, b)] {
            let why = match wanted {
                DataTransport::Auto => DataTransportReason::PeerSpeaksNoQuic,
                DataTransport::Sctp | DataTransport::Quic => DataTransportReason::Configured,
            };
            assert_eq!(choice(pc), (DataTransportKind::Sctp, why));
            assert!(pc.sctp().is_some() && pc.quic().is_none());
        }
    }
    let pair = Pair::new(&runtime).await;
    let offer = pair.a.local_description().expect("set").sdp;
    assert!(offer.contains("a=x-peerloom:1 chunk\r\n"), "{offer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_certificate_than_the_described_one_fails_the_connection() {
    let runtime = runtime(2);
    for transport in [DataTransport::Auto, DataTransport::Quic] {
        let new = |endpoint| PeerConnection::new(endpoint, over(transport));
        let ends = [
            endpoint(&runtime).await,
            endpoint(&runtime).await,
            endpoint(&runtime).await,
        ];
        let a = new(&ends[0]).await.expect("a connection");
        let b = new(&ends[1]).await.expect("a connection");
        let other = new(&ends[2]).await.expect("a connection");
        let channel = common::channel(&a, "x").await;
        let print = |pc: &PeerConnection| pc.certificate().fingerprint().to_string();
        let alter = |answer: &mut peerloom_actors::SessionDescription| {
            answer.sdp = answer.sdp.replace(&print(&b), &print(&other));
        };
        let negotiated = common::negotiate_altered(&a, &b, Default::default(), alter).await;
        negotiated.expect("well-formed");
        soon("the channel to close", channel.closed()).await;
        assert_eq!(
            channel.cause(),
            Some(Cause::Fingerprint { sent_alert: None })
        );
        assert_eq!(a.connection_state(), ConnectionState::Failed);
        let quic = a.quic().expect("it was tried");
        assert_eq!(quic.state(), QuicTransportState::Failed);
    }
}

#[cfg(feature = "chaos")]
fn impatient() -> peerloom_actors::Configuration {
    let mut config = over(DataTransport::Auto);
    config.quic.patience = std::time::Duration::from_millis(300);
    config
}

#[cfg(feature = "chaos")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_whose_quic_does_not_get_through_fall_back_to_sctp() {
    let runtime = runtime(2);
    for blocked in [0, 1] {
        let ends = [endpoint(&runtime).await, endpoint(&runtime).await];
        ends[blocked].block_quic(true);
        let pair = Pair::with(&ends[0], &ends[1], impatient(), impatient()).await;
        talk(&pair).await;
        for pc in [&pair.a, &pair.b] {
            let (kind, reason) = choice(pc);
            assert_eq!(kind, DataTransportKind::Sctp);
            assert!(
                matches!(reason, DataTransportReason::FellBack(_)),
                "{reason:?}"
            );
            assert!(pc.sctp().is_some() && pc.quic().is_none());
            let stats = pc.get_stats().await.expect("stats");
            let told = stats.transport.data_transport.expect("chosen");
            assert_eq!((told.kind, told.reason), (kind, reason));
        }
    }
}
