//! Two connections of one and the same endpoint: the 5-tuple between its port and itself belongs
//! to one of them only, so that the other binds a port of its own.

mod common;

use common::{channel, endpoint, gathered, negotiate, negotiate_with, runtime, soon};
use peerloom_actors::stats::Entry;
use peerloom_actors::{
    Configuration, Endpoint, IceGatheringState, OfferOptions, PeerConnection, SessionDescription,
};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

async fn new(endpoint: &Endpoint) -> PeerConnection {
    PeerConnection::new(endpoint, Configuration::default())
        .await
        .expect("a connection")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_whose_candidates_were_lost_is_found_by_its_checks() {
    let runtime = runtime(2);
    let endpoint = endpoint(&runtime).await;
    let (a, b) = (new(&endpoint).await, new(&endpoint).await);
    let ours = channel(&a, "x").await;
    let offer = a.create_offer(OfferOptions::default()).await;
    let offer = offer.expect("an offer");
    a.set_local_description(Some(offer.clone()))
        .await
        .expect("our own");
    assert!(!offer.sdp.contains("a=candidate:"), "there are none yet");
    b.set_remote_description(offer).await.expect("an offer");
    b.set_local_description(None).await.expect("an answer");
    while b.ice_gathering_state() != IceGatheringState::Complete {
        tokio::task::yield_now().await;
    }
    let answer = b.local_description().expect("just set");
    a.set_remote_description(answer).await.expect("an answer");
    soon("the channel", ours.opened()).await.expect("open");
}

/// Waits until the peer has bound a socket of its own beside the endpoint's.
async fn binds_a_socket(peer: &PeerConnection) {
    let bound = async {
        loop {
            let report = peer.get_stats().await.expect("open").report;
            let ours = report.of_type("local-candidate");
            let udp = |it: &&Entry| matches!(it, Entry::LocalCandidate(it) if it.protocol == "udp");
            if ours.filter(udp).count() == 2 {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    soon("a second socket", bound).await;
}

/// The socket that the first offer needed is there once, and the next one needs it as well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offer_made_anew_goes_on_with_the_socket_of_the_first() {
    let runtime = runtime(2);
    let endpoint = endpoint(&runtime).await;
    for rolled_back in [true, false] {
        let (a, b) = (new(&endpoint).await, new(&endpoint).await);
        let ours = channel(&a, "x").await;
        a.set_local_description(None).await.expect("an offer");
        gathered([&a]).await;
        let offer = a.local_description().expect("just set");
        b.set_remote_description(offer).await.expect("an offer");
        b.set_local_description(None).await.expect("an answer");
        // The answer is on its way; the answerer checks, and the 5-tuple is its own.
        binds_a_socket(&a).await;
        if rolled_back {
            let rollback = SessionDescription::rollback();
            a.set_local_description(Some(rollback)).await.expect("ours");
        }
        let anew = OfferOptions { ice_restart: true };
        negotiate_with(&a, &b, anew).await.expect("a negotiation");
        soon("the channel", ours.opened()).await.expect("open");
        a.close().await;
        b.close().await;
    }
}

/// Restarts at random moments, most of them before there is a path. Who negotiates this often does
/// not wait for all candidates of the generation before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarts_by_either_end_connect() {
    let runtime = runtime(2);
    let endpoint = endpoint(&runtime).await;
    for seed in 0..20 {
        let mut rng = StdRng::seed_from_u64(seed);
        let (a, b) = (new(&endpoint).await, new(&endpoint).await);
        let ours = channel(&a, "x").await;
        negotiate(&a, &b).await.expect("a negotiation");
        for _ in 0..rng.random_range(0..4) {
            for _ in 0..rng.random_range(0..300) {
                tokio::task::yield_now().await;
            }
            let ends = if rng.random_bool(0.5) {
                [&a, &b]
            } else {
                [&b, &a]
            };
            let restart = OfferOptions { ice_restart: true };
            negotiate_with(ends[0], ends[1], restart)
                .await
                .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        }
        let opened = soon(&format!("seed {seed}"), ours.opened()).await;
        opened.unwrap_or_else(|cause| panic!("seed {seed}: {cause}"));
        a.close().await;
        b.close().await;
    }
}
