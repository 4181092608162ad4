//! Attacks on assertions, over real peer connections: the answering side has
//! to refuse the offer that carries them.

use std::sync::Arc;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use peerloom_actors::{
    AssertionRequest, Certificate, Configuration, DataChannelInit, Endpoint, EndpointConfig, Error,
    IdentityError, IdentityProvider, OfferOptions, PeerConnection, Runtime, RuntimeConfig,
    ValidatedIdentity, ValidationRequest,
};
use peerloom_mesh_proto::assertion::{self, Scope};
use peerloom_mesh_proto::{Identity, Incarnation, MeshTag, PeerId, RoomId, SessionId};

use super::{Assertions, Occasion, provider};
use crate::clock::time;
use crate::config::KnownPeers;
use crate::gossip::Counters;
use crate::shared::Shared;
use crate::store::{Data, Seed, Store};

const MESH: &str = "m";
const SESSION: SessionId = SessionId::from_bytes([7; 8]);

/// Makes whatever assertion the attacker likes; believes everybody.
struct Forger<F>(F);

impl<F: Fn(&AssertionRequest) -> String + Send + Sync> IdentityProvider for Forger<F> {
    fn generate_assertion(
        &self,
        request: AssertionRequest,
    ) -> BoxFuture<'_, Result<String, IdentityError>> {
        async move { Ok((self.0)(&request)) }.boxed()
    }

    fn validate_assertion(
        &self,
        _: ValidationRequest,
    ) -> BoxFuture<'_, Result<ValidatedIdentity, IdentityError>> {
        async move { Err(IdentityError::Refused("not asked for".to_owned())) }.boxed()
    }
}

fn alice() -> Identity {
    Identity::from_seed([1; 32])
}

fn bob() -> Identity {
    Identity::from_seed([2; 32])
}

/// What an honest assertion of alice's for bob is made for.
fn scope(request: &AssertionRequest) -> Scope {
    Scope {
        mesh: MeshTag::new(MESH),
        room: RoomId::new(MESH, "r"),
        session: SESSION,
        sdp_session: request.session_id,
        addressee: bob().peer_id(),
    }
}

/// An assertion by alice with the given scope, certificate, signer and age.
fn by_alice(scope: Scope, certificate: &Certificate, signer: &Certificate, age_ms: u64) -> String {
    assertion::assert(
        &alice(),
        Incarnation(1),
        scope,
        certificate.der(),
        |message| signer.sign(message),
        &mut rand::make_rng::<rand::rngs::StdRng>(),
        time().unix_ms - age_ms,
    )
    .unwrap()
}

/// Bob's side: an honest provider that expects alice.
async fn honest_bob(assertions: &Assertions) -> Arc<dyn IdentityProvider> {
    let opened = Store::open(Data::Memory, || Seed::new([2; 32]))
        .await
        .unwrap();
    bob_with(opened.store, assertions)
}

fn bob_with(store: Store, assertions: &Assertions) -> Arc<dyn IdentityProvider> {
    let bob = bob();
    let counters = Arc::new(Counters::default());
    let shared = Arc::new(Shared::new(
        bob.peer_id(),
        MESH.to_owned(),
        Vec::new(),
        counters,
    ));
    provider(Occasion {
        identity: Arc::new(bob),
        incarnation: Incarnation(1),
        room: RoomId::new(MESH, "r"),
        session: SESSION,
        peer: alice().peer_id(),
        name: "alice@m".to_owned(),
        assertions: assertions.clone(),
        known_peers: KnownPeers::RefuseChanged,
        store,
        shared,
    })
}

async fn connection(provider: Arc<dyn IdentityProvider>, peer: PeerId) -> PeerConnection {
    let runtime = Runtime::start(RuntimeConfig::default().with_arbiters(1)).unwrap();
    let bind = vec!["127.0.0.1:0".parse().unwrap()];
    let endpoint = Endpoint::bind(&runtime, EndpointConfig { bind })
        .await
        .unwrap();
    let configuration = Configuration {
        identity_provider: Some(provider),
        peer_identity: Some(peer.to_string()),
        require_identity: true,
        ..Configuration::default()
    };
    PeerConnection::new(&endpoint, configuration).await.unwrap()
}

/// Offers with `forge`'s assertion; what bob says to the offer.
async fn offered(
    assertions: &Assertions,
    forge: impl Fn(&AssertionRequest) -> String + Send + Sync + 'static,
) -> Result<(), String> {
    let attacker = connection(Arc::new(Forger(forge)), bob().peer_id()).await;
    let victim = connection(honest_bob(assertions).await, alice().peer_id()).await;
    attacker
        .create_data_channel("peerloom", DataChannelInit::default())
        .await
        .unwrap();
    let offer = attacker
        .create_offer(OfferOptions::default())
        .await
        .unwrap();
    attacker
        .set_local_description(Some(offer.clone()))
        .await
        .unwrap();
    match victim.set_remote_description(offer).await {
        Ok(()) => Ok(()),
        Err(Error::Identity(error)) => Err(error.to_string()),
        Err(error) => panic!("not an identity error: {error}"),
    }
}

async fn refused(what: &str, forge: impl Fn(&AssertionRequest) -> String + Send + Sync + 'static) {
    let said = offered(&Assertions::new(), forge).await.unwrap_err();
    assert!(said.contains(what), "{said}");
}

#[tokio::test]
async fn an_honest_assertion_is_accepted() {
    let honest = |request: &AssertionRequest| {
        by_alice(
            scope(request),
            &request.certificate,
            &request.certificate,
            0,
        )
    };
    offered(&Assertions::new(), honest).await.unwrap();
}

#[tokio::test]
async fn somebody_elses_certificate_is_refused() {
    let other = Certificate::generate(std::time::SystemTime::now()).unwrap();
    let also = other.clone();
    // Named in the assertion, with its key, but not the one in the offer.
    refused("another certificate", move |request| {
        by_alice(scope(request), &also, &also, 0)
    })
    .await;
    // The one in the offer, but without its key.
    refused("possession", move |request| {
        by_alice(scope(request), &request.certificate, &other, 0)
    })
    .await;
}

#[tokio::test]
async fn another_addressee_room_or_session_is_refused() {
    refused("addressed to somebody else", |request| {
        let scope = Scope {
            addressee: alice().peer_id(),
            ..scope(request)
        };
        by_alice(scope, &request.certificate, &request.certificate, 0)
    })
    .await;
    refused("another room", |request| {
        let scope = Scope {
            room: RoomId::new(MESH, "other"),
            ..scope(request)
        };
        by_alice(scope, &request.certificate, &request.certificate, 0)
    })
    .await;
    refused("another session", |request| {
        let scope = Scope {
            session: SessionId::from_bytes([8; 8]),
            ..scope(request)
        };
        by_alice(scope, &request.certificate, &request.certificate, 0)
    })
    .await;
}

#[tokio::test]
async fn an_expired_assertion_is_refused() {
    refused("expired", |request| {
        by_alice(
            scope(request),
            &request.certificate,
            &request.certificate,
            3_600_000,
        )
    })
    .await;
}

/// An honest assertion for bob, as it reaches him.
fn for_bob() -> ValidationRequest {
    let certificate = Certificate::generate(std::time::SystemTime::now()).unwrap();
    let scope = Scope {
        mesh: MeshTag::new(MESH),
        room: RoomId::new(MESH, "r"),
        session: SESSION,
        sdp_session: 5,
        addressee: bob().peer_id(),
    };
    ValidationRequest {
        assertion: by_alice(scope, &certificate, &certificate, 0),
        domain: String::new(),
        session_id: 5,
        fingerprints: vec![certificate.fingerprint().clone()],
    }
}

#[tokio::test]
async fn a_fault_of_our_store_is_no_refusal_of_the_peer() {
    let opened = Store::open(Data::Memory, || Seed::new([2; 32]))
        .await
        .unwrap();
    opened.store.close().await.unwrap();
    let link = bob_with(opened.store, &Assertions::new());
    let error = link.validate_assertion(for_bob()).await.unwrap_err();
    assert!(matches!(error, IdentityError::Unchecked(_)), "{error}");
}

#[tokio::test]
async fn a_replayed_assertion_is_refused() {
    let request = for_bob();
    let assertions = Assertions::new();
    let link = honest_bob(&assertions).await;
    link.validate_assertion(request.clone()).await.unwrap();
    // All links of a node share its memory, and no two nodes do.
    let another_link = honest_bob(&assertions).await;
    for link in [link, another_link] {
        let error = link.validate_assertion(request.clone()).await.unwrap_err();
        assert!(error.to_string().contains("used before"), "{error}");
    }
    let another_node = honest_bob(&Assertions::new()).await;
    another_node.validate_assertion(request).await.unwrap();
}
