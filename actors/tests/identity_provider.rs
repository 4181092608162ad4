//! webrtc-identity: setting a provider, asking it, targets, errors and events. The provider
//! here signs for its users with a key that both ends know.

mod common;

use std::sync::{Arc, Mutex};

use common::{channel, endpoint, negotiate, runtime, soon};
use futures::future::{BoxFuture, FutureExt as _};
use futures::{Stream, StreamExt as _};
use peerloom_actors::{
    AssertionRequest, Cause, Certificate, Configuration, Endpoint, Event, IdentityError,
    IdentityProvider, IdentityProviderDetails, IdentityProviderOptions, KeygenAlgorithm,
    PeerConnection, ValidatedIdentity, ValidationRequest,
};
use peerloom_transports_proto::certificate::verify;

/// Vouches for whoever `username_hint` names, with the authority's signature.
struct Signing {
    authority: Certificate,
    /// What it was asked for last.
    asked: Mutex<Option<IdentityProviderOptions>>,
    /// Refuses to assert, with this.
    fails: Option<IdentityError>,
}

impl IdentityProvider for Signing {
    fn domain(&self) -> &str {
        "idp.example"
    }

    fn generate_assertion(
        &self,
        request: AssertionRequest,
    ) -> BoxFuture<'_, Result<String, IdentityError>> {
        *self.asked.lock().expect("no panic") = Some(request.options.clone());
        async move {
            if let Some(error) = &self.fails {
                return Err(error.clone());
            }
            let name = request.options.username_hint.unwrap_or_default();
            let said = format!("{name}\n{}", request.contents);
            let signature = self.authority.sign(said.as_bytes()).expect("it can sign");
            Ok(serde_json::to_string(&(said, signature)).expect("JSON"))
        }
        .boxed()
    }

    fn validate_assertion(
        &self,
        request: ValidationRequest,
    ) -> BoxFuture<'_, Result<ValidatedIdentity, IdentityError>> {
        async move {
            let parsed = serde_json::from_str(&request.assertion);
            let (said, signature): (String, Vec<u8>) =
                parsed.map_err(|_| IdentityError::Malformed)?;
            verify(self.authority.der(), said.as_bytes(), &signature)
                .map_err(|_| IdentityError::Refused("not our signature".into()))?;
            let (name, contents) = said.split_once('\n').ok_or(IdentityError::Malformed)?;
            Ok(ValidatedIdentity {
                identity: name.into(),
                contents: contents.into(),
            })
        }
        .boxed()
    }
}

fn authority() -> Certificate {
    PeerConnection::generate_certificate(KeygenAlgorithm::default(), None).expect("a key")
}

fn signing(authority: &Certificate) -> Arc<Signing> {
    Arc::new(Signing {
        authority: authority.clone(),
        asked: Mutex::default(),
        fails: None,
    })
}

fn failing(error: IdentityError) -> Arc<Signing> {
    Arc::new(Signing {
        authority: authority(),
        asked: Mutex::default(),
        fails: Some(error),
    })
}

fn named(name: &str) -> IdentityProviderOptions {
    IdentityProviderOptions {
        username_hint: Some(name.into()),
        ..IdentityProviderOptions::default()
    }
}

async fn new(endpoint: &Endpoint, target: Option<&str>) -> PeerConnection {
    let config = Configuration {
        peer_identity: target.map(str::to_owned),
        ..Configuration::default()
    };
    PeerConnection::new(endpoint, config)
        .await
        .expect("a connection")
}

/// How many of the events up to the end of the connection are such.
async fn more(
    pc: &PeerConnection,
    events: impl Stream<Item = Event>,
    is: impl Fn(&Event) -> bool,
) -> usize {
    pc.close().await;
    let rest: Vec<Event> = soon("the end of the events", events.collect()).await;
    rest.iter().filter(|event| is(event)).count()
}

/// The first event that `pick` wants.
async fn event<T>(
    events: &mut (impl Stream<Item = Event> + Unpin),
    pick: impl Fn(Event) -> Option<T>,
) -> T {
    let wanted = async {
        while let Some(event) = events.next().await {
            if let Some(found) = pick(event) {
                return found;
            }
        }
        panic!("the events ended");
    };
    soon("the event", wanted).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_options_reach_the_provider_and_the_description() {
    let runtime = runtime(1);
    let provider = signing(&authority());
    let pc = new(&endpoint(&runtime).await, Some("bob@example.org")).await;
    let options = IdentityProviderOptions {
        protocol: "v2".into(),
        ..named("alice@example.org")
    };
    pc.set_identity_provider(provider.clone(), options)
        .await
        .expect("open");
    let mut events = pc.events();
    let value = pc.get_identity_assertion().await.expect("an assertion");
    let asked = provider.asked.lock().expect("no panic").clone();
    let asked = asked.expect("it was asked");
    assert_eq!(asked.protocol, "v2");
    assert_eq!(asked.username_hint.as_deref(), Some("alice@example.org"));
    // The target of the configuration, since the options name none.
    assert_eq!(asked.peer_identity.as_deref(), Some("bob@example.org"));
    let told = event(&mut events, |event| {
        if let Event::IdentityResult(value) = event {
            Some(value)
        } else {
            None
        }
    });
    assert_eq!(told.await, value);
    let json = data_encoding::BASE64.decode(value.as_bytes());
    let json: serde_json::Value = serde_json::from_slice(&json.expect("base64")).expect("JSON");
    assert_eq!(json["idp"]["domain"], "idp.example");
    assert_eq!(json["idp"]["protocol"], "v2");
    channel(&pc, "x").await;
    let offer = pc.create_offer(Default::default()).await.expect("an offer");
    assert!(offer.sdp.contains("\r\na=identity:"), "{}", offer.sdp);
    assert!(
        !offer.sdp.contains(&value),
        "each description has an assertion of its own"
    );
    let results = |event: &Event| matches!(event, Event::IdentityResult(_));
    assert_eq!(more(&pc, events, results).await, 1, "that of the offer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn impossible_calls_are_refused_by_name() {
    let runtime = runtime(1);
    let pc = new(&endpoint(&runtime).await, None).await;
    for protocol in ["a/b", "a\\b"] {
        let options = IdentityProviderOptions {
            protocol: protocol.into(),
            ..IdentityProviderOptions::default()
        };
        let set = pc.set_identity_provider(signing(&authority()), options);
        assert_eq!(set.await.err().map(|e| e.name()), Some("SyntaxError"));
    }
    let asked = pc.get_identity_assertion().await;
    assert_eq!(asked.err().map(|e| e.name()), Some("OperationError"));
    pc.close().await;
    let set = pc.set_identity_provider(signing(&authority()), named("x"));
    assert_eq!(set.await.err().map(|e| e.name()), Some("InvalidStateError"));
    let asked = pc.get_identity_assertion().await;
    assert_eq!(asked.err().map(|e| e.name()), Some("InvalidStateError"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_that_wants_a_login_says_where() {
    let runtime = runtime(1);
    let pc = new(&endpoint(&runtime).await, None).await;
    let url = "https://idp.example/login";
    let provider = failing(IdentityError::LoginRequired { url: url.into() });
    pc.set_identity_provider(provider, named("alice"))
        .await
        .expect("open");
    assert_eq!(pc.idp_login_url(), None);
    let mut events = pc.events();
    channel(&pc, "x").await;
    let offer = pc.create_offer(Default::default()).await;
    assert_eq!(offer.err().map(|e| e.name()), Some("OperationError"));
    assert_eq!(pc.idp_login_url().as_deref(), Some(url));
    let (idp, login_url) = event(&mut events, |event| {
        if let Event::IdpAssertionError { idp, login_url, .. } = event {
            Some((idp, login_url))
        } else {
            None
        }
    })
    .await;
    assert_eq!(login_url.as_deref(), Some(url));
    let expected = IdentityProviderDetails {
        domain: "idp.example".into(),
        protocol: "default".into(),
    };
    assert_eq!(idp, expected);

    let broken = failing(IdentityError::NotMade("database down".into()));
    pc.set_identity_provider(broken, named("alice"))
        .await
        .expect("open");
    pc.get_identity_assertion().await.expect_err("it fails");
    assert_eq!(pc.idp_error_info().as_deref(), Some("database down"));
    assert_eq!(pc.idp_login_url(), None, "that was the error before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_failure_of_a_provider_has_its_name_at_both_ends() {
    let unreachable = |status| IdentityError::NotLoaded {
        reason: "why".into(),
        status,
    };
    let login = IdentityError::LoginRequired { url: "u".into() };
    let runtime = runtime(1);
    let endpoint = endpoint(&runtime).await;
    for (error, detail, info) in [
        (
            IdentityError::Refused("why".into()),
            "idp-execution-failure",
            Some("why"),
        ),
        (
            IdentityError::NotMade("why".into()),
            "idp-execution-failure",
            Some("why"),
        ),
        (
            IdentityError::Unchecked("why".into()),
            "idp-execution-failure",
            None,
        ),
        (unreachable(None), "idp-load-failure", Some("why")),
        (unreachable(Some(503)), "idp-load-failure", Some("why")),
        (login, "idp-need-login", None),
        (
            IdentityError::NotTrusted("why".into()),
            "idp-tls-failure",
            Some("why"),
        ),
        (
            IdentityError::TokenExpired("why".into()),
            "idp-token-expired",
            Some("why"),
        ),
        (
            IdentityError::TokenInvalid("why".into()),
            "idp-token-invalid",
            Some("why"),
        ),
    ] {
        let pc = new(&endpoint, None).await;
        let provider = failing(error.clone());
        pc.set_identity_provider(provider, named("alice"))
            .await
            .expect("open");
        let mut events = pc.events();
        let told = pc.get_identity_assertion().await.expect_err("it fails");
        assert_eq!(told.name(), "OperationError");
        assert_eq!(told.error_detail().map(|it| it.name()), Some(detail));
        let status = error.http_request_status_code();
        assert_eq!(status.is_some(), error == unreachable(Some(503)));
        assert_eq!(told.http_request_status_code(), status);
        assert_eq!(pc.idp_error_info().as_deref(), info, "{error}");
        let told = event(&mut events, |event| {
            if let Event::IdpAssertionError { error, .. } = event {
                Some(error)
            } else {
                None
            }
        });
        assert_eq!(told.await, error);
    }
    // What the connection itself finds wrong is no failure of the provider's.
    for error in [
        IdentityError::Missing,
        IdentityError::Malformed,
        IdentityError::OtherCertificate,
        IdentityError::Aborted,
    ] {
        assert_eq!(error.error_detail(), None, "{error}");
    }
}

/// Never answers.
struct Silent;

impl IdentityProvider for Silent {
    fn generate_assertion(
        &self,
        _: AssertionRequest,
    ) -> BoxFuture<'_, Result<String, IdentityError>> {
        std::future::pending().boxed()
    }

    fn validate_assertion(
        &self,
        _: ValidationRequest,
    ) -> BoxFuture<'_, Result<ValidatedIdentity, IdentityError>> {
        std::future::pending().boxed()
    }
}

/// On a clock of its own, which jumps ahead while nobody works.
#[tokio::test]
async fn a_silent_provider_is_given_up_after_fifteen_seconds() {
    let runtime = runtime(1);
    let pc = new(&endpoint(&runtime).await, None).await;
    pc.set_identity_provider(Arc::new(Silent), named("alice"))
        .await
        .expect("open");
    tokio::time::pause();
    let begun = tokio::time::Instant::now();
    let error = pc.get_identity_assertion().await.expect_err("no answer");
    let detail = error.error_detail().map(|it| it.name());
    assert_eq!(detail, Some("idp-timeout"));
    assert_eq!(begun.elapsed().as_secs(), 15, "webrtc-identity section 8");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_target_of_the_options_is_told_the_provider_and_its_protocol_the_application() {
    let runtime = runtime(1);
    let pc = new(&endpoint(&runtime).await, Some("bob@example.org")).await;
    let provider = failing(IdentityError::NotMade("database down".into()));
    let options = IdentityProviderOptions {
        protocol: "v3".into(),
        peer_identity: Some("carol@example.org".into()),
        ..named("alice")
    };
    pc.set_identity_provider(provider.clone(), options.clone())
        .await
        .expect("open");
    let mut events = pc.events();
    let asked = pc.get_identity_assertion().await;
    assert_eq!(asked.err().map(|e| e.name()), Some("OperationError"));
    let asked = provider.asked.lock().expect("no panic").clone();
    assert_eq!(asked, Some(options));
    let told = event(&mut events, |event| {
        if let Event::IdpAssertionError { idp, error, .. } = event {
            Some((idp.domain, idp.protocol, error))
        } else {
            None
        }
    });
    let error = IdentityError::NotMade("database down".into());
    let expected = ("idp.example".into(), "v3".into(), error);
    assert_eq!(told.await, expected);
    let errors = |event: &Event| matches!(event, Event::IdpAssertionError { .. });
    assert_eq!(more(&pc, events, errors).await, 0, "told once");
}

async fn two(
    runtime: &peerloom_actors::Runtime,
    target: Option<&str>,
    providers: [(Arc<Signing>, &str); 2],
) -> (PeerConnection, PeerConnection) {
    let (ea, eb) = (endpoint(runtime).await, endpoint(runtime).await);
    let (a, b) = (new(&ea, target).await, new(&eb, None).await);
    for (pc, (provider, name)) in [&a, &b].into_iter().zip(providers) {
        pc.set_identity_provider(provider, named(name))
            .await
            .expect("open");
    }
    channel(&a, "x").await;
    (a, b)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_target_identity_is_accepted_and_told() {
    let runtime = runtime(2);
    let key = authority();
    let providers = [(signing(&key), "alice"), (signing(&key), "bob")];
    let (a, b) = two(&runtime, Some("bob"), providers).await;
    let mut events = a.events();
    negotiate(&a, &b).await.expect("the right one");
    soon("a to connect", a.connected())
        .await
        .expect("connected");
    let proved = a.peer_identity().await.expect("bob");
    assert_eq!(proved.identity, "bob");
    let told = event(&mut events, |event| {
        if let Event::PeerIdentity(identity) = event {
            Some(identity)
        } else {
            None
        }
    });
    assert_eq!(told.await, proved);
    let identities = |event: &Event| matches!(event, Event::PeerIdentity(_));
    assert_eq!(more(&a, events, identities).await, 0, "told once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn anyone_but_the_target_is_refused() {
    let runtime = runtime(2);
    let key = authority();
    // Another user, and a forger who calls himself by the right name.
    for (theirs, name) in [(signing(&key), "mallory"), (signing(&authority()), "bob")] {
        let (a, b) = two(
            &runtime,
            Some("bob"),
            [(signing(&key), "alice"), (theirs, name)],
        )
        .await;
        let mut events = a.events();
        let refused = negotiate(&a, &b).await.expect_err("not bob");
        assert_eq!(refused.name(), "OperationError");
        let cause = soon("a to fail", a.connected()).await.expect_err("refused");
        assert!(matches!(cause, Cause::Identity(_)), "{cause}");
        a.peer_identity().await.expect_err("not bob");
        let idp = event(&mut events, |event| {
            if let Event::IdpValidationError { idp, .. } = event {
                Some(idp)
            } else {
                None
            }
        });
        assert_eq!(
            idp.await.map(|idp| idp.domain).as_deref(),
            Some("idp.example")
        );
        let errors = |event: &Event| matches!(event, Event::IdpValidationError { .. });
        assert_eq!(more(&a, events, errors).await, 0, "told once");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_target_a_bad_assertion_leaves_the_peer_unknown() {
    let runtime = runtime(2);
    let providers = [
        (signing(&authority()), "alice"),
        (signing(&authority()), "bob"),
    ];
    let (a, b) = two(&runtime, None, providers).await;
    let mut events = a.events();
    negotiate(&a, &b).await.expect("nobody demands an identity");
    soon("a to connect", a.connected())
        .await
        .expect("connected");
    let error = a.peer_identity().await.expect_err("nobody was proved");
    let refused = IdentityError::Refused("not our signature".into());
    assert_eq!(error, refused);
    assert_eq!(a.idp_error_info().as_deref(), Some("not our signature"));
    let told = event(&mut events, |event| {
        if let Event::IdpValidationError { error, .. } = event {
            Some(error)
        } else {
            None
        }
    });
    assert_eq!(told.await, refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_without_a_provider_refuses_everybody() {
    let runtime = runtime(2);
    let (ea, eb) = (endpoint(&runtime).await, endpoint(&runtime).await);
    let (a, b) = (new(&ea, Some("bob")).await, new(&eb, None).await);
    channel(&a, "x").await;
    let refused = negotiate(&a, &b).await.expect_err("nobody can check it");
    assert_eq!(refused.name(), "OperationError");
    assert_eq!(a.peer_identity().await, Err(IdentityError::Missing));
}
