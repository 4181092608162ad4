//! Two connections of one and the same endpoint: the 5-tuple between its port and itself belongs
//! to one of them only, so that the other binds a port of its own.

mod common;

use common::{channel, endpoint, negotiate, negotiate_with, runtime, soon};
use peerloom_actors::{Configuration, Endpoint, IceGatheringState, OfferOptions, PeerConnection};
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
