//! Identity assertions: checked before any data flows.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use common::{Pair, channel, endpoint, negotiate, runtime, soon};
use futures::future::{BoxFuture, FutureExt as _};
use peerloom_actors::{
    AssertionRequest, Cause, Configuration, ConnectionState, DataTransport, Error, IdentityError,
    IdentityProvider, PeerConnection, ReadyState, ValidatedIdentity, ValidationRequest,
};
use tokio::sync::Notify;

/// Says who it is in the assertion and believes what it reads there.
#[derive(Default)]
struct Gullible {
    name: String,
    /// Validation waits for this.
    hold: Option<Arc<Notify>>,
    refuse: AtomicBool,
    /// Claims somebody else's fingerprint.
    forge: bool,
}

impl IdentityProvider for Gullible {
    fn generate_assertion(
        &self,
        request: AssertionRequest,
    ) -> BoxFuture<'_, Result<String, IdentityError>> {
        let contents = if self.forge {
            let zeros = vec!["00"; 32].join(":");
            format!(r#"{{"fingerprint":[{{"algorithm":"sha-256","digest":"{zeros}"}}]}}"#)
        } else {
            request.contents
        };
        async move { Ok(format!("{}\n{}", self.name, contents)) }.boxed()
    }

    fn validate_assertion(
        &self,
        request: ValidationRequest,
    ) -> BoxFuture<'_, Result<ValidatedIdentity, IdentityError>> {
        async move {
            if let Some(hold) = &self.hold {
                hold.notified().await;
            }
            if self.refuse.load(Ordering::Relaxed) {
                return Err(IdentityError::Refused("not today".into()));
            }
            let (identity, contents) = request
                .assertion
                .split_once('\n')
                .ok_or(IdentityError::Malformed)?;
            Ok(ValidatedIdentity {
                identity: identity.into(),
                contents: contents.into(),
            })
        }
        .boxed()
    }
}

fn named(name: &str) -> Gullible {
    Gullible {
        name: name.into(),
        ..Gullible::default()
    }
}

fn with(provider: Gullible) -> Configuration {
    Configuration {
        identity_provider: Some(Arc::new(provider)),
        require_identity: true,
        ..Configuration::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_ends_learn_who_the_other_is() {
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let pair = Pair::with(&ea, &eb, with(named("alice")), with(named("bob"))).await;
    let identity =
        |pc: PeerConnection| async move { pc.peer_identity().await.map(|found| found.identity) };
    assert_eq!(
        soon("bob's name", identity(pair.a.clone())).await,
        Ok("bob".into())
    );
    assert_eq!(
        soon("alice's name", identity(pair.b.clone())).await,
        Ok("alice".into())
    );
    let sdp = pair.a.local_description().expect("set").sdp;
    assert!(sdp.contains("\r\na=identity:"), "{sdp}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_flows_before_the_verdict() {
    for transport in [DataTransport::Sctp, DataTransport::Quic] {
        nothing_flows_before_the_verdict_over(transport).await;
    }
}

async fn nothing_flows_before_the_verdict_over(transport: DataTransport) {
    let runtime = runtime(2);
    let with = |provider| Configuration {
        data_transport: transport,
        ..with(provider)
    };
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let hold = Arc::new(Notify::new());
    let slow = Gullible {
        hold: Some(hold.clone()),
        ..named("alice")
    };
    let a = PeerConnection::new(&ea, with(slow))
        .await
        .expect("a connection");
    let b = PeerConnection::new(&eb, with(named("bob")))
        .await
        .expect("a connection");
    let ours = channel(&a, "gated").await;
    let negotiation = tokio::spawn({
        let (a, b) = (a.clone(), b.clone());
        async move { negotiate(&a, &b).await }
    });
    // DTLS or QUIC is up at a (its statistics know the peer's certificate), and yet:
    soon("the handshake", async {
        // A call on the connection's chain would wait for the verdict; statistics do not.
        while a.get_stats().await.expect("alive").certificates.len() < 2 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(ours.ready_state(), ReadyState::Connecting);
    assert_ne!(a.connection_state(), ConnectionState::Connected);
    assert!(ours.try_send("too early").is_err());
    hold.notify_one();
    soon("the negotiation", negotiation)
        .await
        .expect("no panic")
        .expect("accepted");
    soon("to open", ours.opened()).await.expect("open");
    assert_eq!(a.connection_state(), ConnectionState::Connected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_description_is_judged_though_its_caller_has_gone_away() {
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let a = PeerConnection::new(&ea, with(named("alice")))
        .await
        .expect("a connection");
    let b = PeerConnection::new(&eb, with(named("bob")))
        .await
        .expect("a connection");
    channel(&b, "any").await;
    let offer = b.create_offer(Default::default()).await.expect("an offer");
    {
        let call = std::pin::pin!(a.set_remote_description(offer));
        assert!(futures::poll!(call).is_pending());
    }
    let peer = soon("the verdict", a.peer_identity()).await;
    assert_eq!(peer.map(|peer| peer.identity), Ok("bob".into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_fails_the_connection_with_its_cause() {
    let refusing = Gullible {
        refuse: AtomicBool::new(true),
        ..named("alice")
    };
    refused(
        with(refusing),
        with(named("bob")),
        IdentityError::Refused("not today".into()),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_assertion_is_refused_when_one_is_required() {
    refused(
        with(named("alice")),
        Configuration::default(),
        IdentityError::Missing,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assertion_does_not_cover_the_offer_that_replaces_it() {
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let a = PeerConnection::new(&ea, with(named("alice")))
        .await
        .expect("a connection");
    let offers = [with(named("bob")), Configuration::default()].map(|configuration| async {
        let b = PeerConnection::new(&eb, configuration)
            .await
            .expect("a connection");
        channel(&b, "any").await;
        b.create_offer(Default::default()).await.expect("an offer")
    });
    let [proved, unproved] = offers;
    a.set_remote_description(proved.await)
        .await
        .expect("bob's own certificate");
    let replaced = a.set_remote_description(unproved.await).await;
    assert!(
        matches!(replaced, Err(Error::Identity(IdentityError::Missing))),
        "{replaced:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn somebody_else_is_refused() {
    let expects_carol = Configuration {
        peer_identity: Some("carol".into()),
        ..with(named("alice"))
    };
    let error = IdentityError::OtherIdentity {
        found: "bob".into(),
        expected: "carol".into(),
    };
    refused(expects_carol, with(named("bob")), error).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_assertion_for_another_certificate_is_refused() {
    let forger = Gullible {
        forge: true,
        ..named("bob")
    };
    refused(
        with(named("alice")),
        with(forger),
        IdentityError::OtherCertificate,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_requirement_unknown_peers_are_accepted() {
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let tolerant = Configuration {
        require_identity: false,
        ..with(named("alice"))
    };
    let pair = Pair::with(&ea, &eb, tolerant, Configuration::default()).await;
    assert_eq!(pair.a.peer_identity().await, Err(IdentityError::Missing));
}

/// `b` answers; `a` refuses it, and no channel ever opens.
async fn refused(for_a: Configuration, for_b: Configuration, expected: IdentityError) {
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let a = PeerConnection::new(&ea, for_a).await.expect("a connection");
    let b = PeerConnection::new(&eb, for_b).await.expect("a connection");
    let ours = channel(&a, "never").await;
    let result = soon("the negotiation", negotiate(&a, &b)).await;
    assert!(
        matches!(&result, Err(Error::Identity(error)) if *error == expected),
        "{result:?}"
    );
    assert_eq!(a.connection_state(), ConnectionState::Failed);
    assert_eq!(a.cause(), Some(Cause::Identity(expected.clone())));
    assert_eq!(soon("the identity", a.peer_identity()).await, Err(expected));
    soon("the channel to close", ours.closed()).await;
}
