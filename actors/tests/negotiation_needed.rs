//! `negotiationneeded`: when it fires, and that it fires once.

mod common;

use std::sync::Arc;

use common::{channel, endpoint, negotiate, runtime, soon};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use peerloom_actors::{
    AssertionRequest, Configuration, Event, IdentityError, IdentityProvider, OfferOptions,
    PeerConnection, SignalingState, ValidatedIdentity, ValidationRequest,
};
use tokio::sync::Notify;

async fn two(runtime: &peerloom_actors::Runtime) -> (PeerConnection, PeerConnection) {
    let endpoint = endpoint(runtime).await;
    let new = || PeerConnection::new(&endpoint, Configuration::default());
    let (a, b) = (new().await, new().await);
    (a.expect("a connection"), b.expect("a connection"))
}

/// How often it has fired among the events that are there already.
fn fired(events: &mut (impl futures::Stream<Item = Event> + Unpin)) -> usize {
    let there = std::iter::from_fn(|| events.next().now_or_never().flatten());
    there
        .filter(|event| matches!(event, Event::NegotiationNeeded))
        .count()
}

/// Makes assertions when it is let.
struct Slow(Arc<Notify>);

impl IdentityProvider for Slow {
    fn generate_assertion(
        &self,
        request: AssertionRequest,
    ) -> BoxFuture<'_, Result<String, IdentityError>> {
        async move {
            self.0.notified().await;
            Ok(request.contents)
        }
        .boxed()
    }

    fn validate_assertion(
        &self,
        _: ValidationRequest,
    ) -> BoxFuture<'_, Result<ValidatedIdentity, IdentityError>> {
        async { Err(IdentityError::Missing) }.boxed()
    }
}

/// Everything the actor was told before has had its effect.
async fn settle(pc: &PeerConnection) {
    pc.get_stats().await.expect("open");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_first_channel_needs_a_negotiation_and_further_ones_do_not() {
    let runtime = runtime(1);
    let (a, b) = two(&runtime).await;
    let mut events = a.events();
    settle(&a).await;
    assert_eq!(fired(&mut events), 0, "nothing to negotiate");
    channel(&a, "one").await;
    channel(&a, "two").await;
    assert_eq!(fired(&mut events), 1);
    negotiate(&a, &b).await.expect("a negotiation");
    channel(&a, "three").await;
    settle(&a).await;
    assert_eq!(fired(&mut events), 0, "the association is there");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restart_ice_needs_one_until_an_offer_was_made() {
    let runtime = runtime(1);
    let (a, b) = two(&runtime).await;
    let mut events = a.events();
    a.restart_ice().await.expect("open");
    settle(&a).await;
    assert_eq!(fired(&mut events), 0, "there is no ICE to restart");
    channel(&a, "x").await;
    negotiate(&a, &b).await.expect("a negotiation");
    assert_eq!(fired(&mut events), 1, "for the channel");
    a.restart_ice().await.expect("open");
    a.restart_ice().await.expect("open");
    // Candidates of the peer may still be in the chain.
    let mut count = 0;
    soon("it to fire", async {
        while count == 0 {
            count += fired(&mut events);
            tokio::task::yield_now().await;
        }
    })
    .await;
    settle(&a).await;
    assert_eq!(count + fired(&mut events), 1, "once for both calls");
    negotiate(&a, &b).await.expect("the restart");
    settle(&a).await;
    assert_eq!(fired(&mut events), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_waits_for_the_state_to_be_stable() {
    let runtime = runtime(1);
    let (a, b) = two(&runtime).await;
    channel(&a, "x").await;
    negotiate(&a, &b).await.expect("a negotiation");
    let offer = a.create_offer(OfferOptions::default()).await;
    let offer = offer.expect("an offer");
    a.set_local_description(Some(offer.clone()))
        .await
        .expect("ours");
    let mut events = a.events();
    // Needed now, but an offer is out already.
    a.restart_ice().await.expect("open");
    settle(&a).await;
    assert_eq!(a.signaling_state(), SignalingState::HaveLocalOffer);
    assert_eq!(fired(&mut events), 0);
    b.set_remote_description(offer).await.expect("an offer");
    b.set_local_description(None).await.expect("an answer");
    a.set_remote_description(b.local_description().expect("set"))
        .await
        .expect("an answer");
    soon("it to fire", async {
        while let Some(event) = events.next().await {
            if matches!(event, Event::NegotiationNeeded) {
                assert_eq!(a.signaling_state(), SignalingState::Stable);
                return;
            }
        }
        panic!("closed");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_waits_for_the_operations_chain_to_be_empty() {
    let runtime = runtime(1);
    let hold = Arc::new(Notify::new());
    let config = Configuration {
        identity_provider: Some(Arc::new(Slow(hold.clone()))),
        ..Configuration::default()
    };
    let a = PeerConnection::new(&endpoint(&runtime).await, config).await;
    let a = a.expect("a connection");
    let mut events = a.events();
    // A call that has joined the chain and waits for its assertion.
    let mut blocker = Box::pin(a.create_offer(OfferOptions::default()));
    assert!((&mut blocker).now_or_never().is_none(), "nobody let it go");
    channel(&a, "x").await;
    settle(&a).await;
    assert_eq!(fired(&mut events), 0, "a call is under way");
    hold.notify_one();
    blocker.await.expect("an offer");
    // The provider's assertion is told too.
    soon("it to fire", async {
        while let Some(event) = events.next().await {
            if matches!(event, Event::NegotiationNeeded) {
                return;
            }
        }
        panic!("closed");
    })
    .await;
    settle(&a).await;
    assert_eq!(fired(&mut events), 0, "once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_in_the_chain_that_brings_it_makes_it_unneeded() {
    let runtime = runtime(1);
    let (a, b) = two(&runtime).await;
    channel(&b, "theirs").await;
    let offer = b.create_offer(OfferOptions::default()).await;
    let offer = offer.expect("an offer");
    let mut events = a.events();
    a.set_remote_description(offer).await.expect("an offer");
    channel(&a, "ours").await;
    a.set_local_description(None).await.expect("an answer");
    settle(&a).await;
    assert_eq!(fired(&mut events), 0, "the answer has a data section");
}
