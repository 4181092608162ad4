//! Tokens of a real provider: taken where they are right, refused where one thing is not.

use std::time::SystemTime;

use peerloom::oidc::{NameClaim, OidcConfig, OidcError, OidcProvider, Possession};
use peerloom::webrtc::identity::contents;
use peerloom::webrtc::{
    AssertionRequest, Certificate, IdentityError, IdentityProvider as _, ValidatedIdentity,
    ValidationRequest,
};
use serde_json::Value;

use super::provider::Provider;

struct Ours {
    provider: OidcProvider,
    certificate: Certificate,
}

fn certificate() -> Certificate {
    Certificate::generate(SystemTime::now()).expect("a certificate")
}

fn ours(idp: &Provider, client: &str) -> Ours {
    Ours {
        provider: OidcProvider::new(OidcConfig::new(&idp.issuer, client)).expect("an issuer"),
        certificate: certificate(),
    }
}

impl Ours {
    fn request(&self, session_id: u64) -> AssertionRequest {
        AssertionRequest {
            contents: contents(&[self.certificate.fingerprint().clone()]),
            session_id,
            certificate: self.certificate.clone(),
            options: Default::default(),
        }
    }

    async fn login(&self, idp: &mut Provider, account: &str) -> Result<(), OidcError> {
        let asked = self.provider.generate_assertion(self.request(7)).await;
        let Err(IdentityError::LoginRequired { url }) = asked else {
            panic!("no login was asked for: {asked:?}");
        };
        let again = self.provider.generate_assertion(self.request(7)).await;
        assert_eq!(
            again,
            Err(IdentityError::LoginRequired { url: url.clone() })
        );
        let page = idp.visit(&url, account).await;
        assert!(page.contains("You are logged in"), "{page}");
        self.provider.logged_in().await
    }

    async fn assertion(&self, session_id: u64) -> String {
        let made = self
            .provider
            .generate_assertion(self.request(session_id))
            .await;
        made.expect("logged in")
    }

    /// What somebody with this provider makes of an assertion in a description with our
    /// certificate.
    async fn judged_by(
        &self,
        judge: &OidcProvider,
        assertion: &str,
        session_id: u64,
    ) -> Result<ValidatedIdentity, IdentityError> {
        let request = ValidationRequest {
            assertion: assertion.to_owned(),
            domain: "127.0.0.1".into(),
            session_id,
            fingerprints: vec![self.certificate.fingerprint().clone()],
        };
        judge.validate_assertion(request).await
    }
}

fn judge(idp: &Provider) -> OidcProvider {
    OidcProvider::new(OidcConfig::new(&idp.issuer, "us")).expect("an issuer")
}

/// The assertion with one of its members changed.
fn altered(assertion: &str, change: impl FnOnce(&mut Value)) -> String {
    let mut value: Value = serde_json::from_str(assertion).expect("JSON");
    change(&mut value);
    value.to_string()
}

fn is_refused(outcome: Result<ValidatedIdentity, IdentityError>, why: &str) {
    match outcome {
        Err(
            error @ (IdentityError::Refused(_)
            | IdentityError::TokenInvalid(_)
            | IdentityError::TokenExpired(_)),
        ) => assert!(error.to_string().contains(why), "{error}"),
        other => panic!("{why}: {other:?}"),
    }
}

#[tokio::test]
async fn whoever_logged_in_is_known_by_name() {
    let Some(mut idp) = Provider::start().await else {
        return;
    };
    let alice = ours(&idp, "us");
    assert_eq!(alice.provider.logged_in().await, Err(OidcError::NoLogin));
    alice.login(&mut idp, "alice").await.expect("a login");
    let (assertion, judge) = (alice.assertion(7).await, judge(&idp));
    let validated = alice.judged_by(&judge, &assertion, 7).await.expect("valid");
    assert_eq!(validated.identity, "alice@127.0.0.1");
    assert_eq!(validated.contents, alice.request(7).contents);
    // In a later description of the same session it is valid still; the next session's is another.
    assert!(alice.judged_by(&judge, &assertion, 7).await.is_ok());
    let next = alice.assertion(8).await;
    assert!(alice.judged_by(&judge, &next, 8).await.is_ok());
}

#[tokio::test]
async fn what_is_forged_or_meant_for_others_is_refused() {
    let Some(mut idp) = Provider::start().await else {
        return;
    };
    let (alice, eve, judge) = (ours(&idp, "us"), ours(&idp, "us"), judge(&idp));
    alice.login(&mut idp, "alice").await.expect("a login");
    eve.login(&mut idp, "eve").await.expect("a login");
    let honest = alice.assertion(7).await;

    let possession = "prove possession";
    is_refused(alice.judged_by(&judge, &honest, 8).await, possession);
    let stolen = eve.judged_by(&judge, &honest, 7).await;
    assert_eq!(stolen, Err(IdentityError::OtherCertificate));
    // Somebody else's token, for our certificate.
    let token: Value = serde_json::from_str(&eve.assertion(7).await).expect("JSON");
    let swapped = altered(&honest, |it| it["token"] = token["token"].clone());
    is_refused(alice.judged_by(&judge, &swapped, 7).await, possession);
    let unproven = altered(&honest, |it| {
        it.as_object_mut().expect("an object").remove("possession");
    });
    is_refused(alice.judged_by(&judge, &unproven, 7).await, possession);
}

#[tokio::test]
async fn without_proof_the_token_still_has_to_hold() {
    let Some(mut idp) = Provider::start().await else {
        return;
    };
    let (alice, eve) = (ours(&idp, "us"), ours(&idp, "us"));
    alice.login(&mut idp, "alice").await.expect("a login");
    eve.login(&mut idp, "eve").await.expect("a login");
    let mut config = OidcConfig::new(&idp.issuer, "us");
    config.possession = Possession::WhereGiven;
    let judge = OidcProvider::new(config).expect("an issuer");
    let bare = |assertion: &str| {
        altered(assertion, |it| {
            let members = it.as_object_mut().expect("an object");
            members.remove("certificate");
            members.remove("possession");
        })
    };
    let honest = bare(&alice.assertion(7).await);
    assert!(alice.judged_by(&judge, &honest, 7).await.is_ok());
    is_refused(alice.judged_by(&judge, &honest, 8).await, "used before");
    // Another's token vouches for another's certificate: the nonce is wrong.
    let token: Value = serde_json::from_str(&eve.assertion(7).await).expect("JSON");
    let other = altered(&honest, |it| it["token"] = token["token"].clone());
    is_refused(alice.judged_by(&judge, &other, 7).await, "nonce");
    let forged = altered(&honest, |it| {
        let token = it["token"].as_str().expect("a token").to_owned();
        let middle = token.len() - 40;
        let other = if token.as_bytes()[middle] == b'A' {
            "B"
        } else {
            "A"
        };
        it["token"] = format!("{}{other}{}", &token[..middle], &token[middle + 1..]).into();
    });
    is_refused(alice.judged_by(&judge, &forged, 7).await, "does not hold");
}

#[tokio::test]
async fn tokens_for_another_client_are_refused() {
    let Some(mut idp) = Provider::start().await else {
        return;
    };
    let alice = ours(&idp, "them");
    alice.login(&mut idp, "alice").await.expect("a login");
    let assertion = alice.assertion(7).await;
    is_refused(
        alice.judged_by(&judge(&idp), &assertion, 7).await,
        "audience",
    );
    let judge = OidcProvider::new(OidcConfig::new("http://localhost:1", "us")).expect("an issuer");
    let elsewhere = alice.judged_by(&judge, &assertion, 7).await;
    is_refused(elsewhere, "another identity provider");
}

#[tokio::test]
async fn an_expired_token_is_of_no_use() {
    let Some(mut idp) = Provider::start().await else {
        return;
    };
    idp.fall_behind(7200);
    let outcome = ours(&idp, "us").login(&mut idp, "alice").await;
    let Err(OidcError::Login(why)) = outcome else {
        panic!("{outcome:?}");
    };
    assert!(why.contains("expired"), "{why}");
}

#[tokio::test]
async fn a_token_that_is_about_to_expire_is_refreshed() {
    let Some(mut idp) = Provider::start().await else {
        return;
    };
    let alice = ours(&idp, "brief");
    alice.login(&mut idp, "alice").await.expect("a login");
    let assertion = alice.assertion(7).await;
    let mut granted = idp.granted().await;
    while granted["type"] == "authorization_code" {
        granted = idp.granted().await;
    }
    assert_eq!(granted["type"], "refresh_token", "{granted}");
    let config = OidcConfig::new(&idp.issuer, "brief");
    let judge = OidcProvider::new(config).expect("an issuer");
    assert!(alice.judged_by(&judge, &assertion, 7).await.is_ok());
}

#[tokio::test]
async fn a_refused_login_says_so() {
    let Some(mut idp) = Provider::start().await else {
        return;
    };
    let alice = ours(&idp, "us");
    let asked = alice.provider.generate_assertion(alice.request(7)).await;
    let Err(IdentityError::LoginRequired { url }) = asked else {
        panic!("no login was asked for: {asked:?}");
    };
    // Without its challenge (RFC 7636) the provider refuses, and sends the browser back.
    let page = idp
        .visit(&url.replace("code_challenge", "x"), "alice")
        .await;
    assert!(page.contains("The login failed"), "{page}");
    let outcome = alice.provider.logged_in().await;
    assert!(matches!(outcome, Err(OidcError::Login(_))), "{outcome:?}");
}

#[tokio::test]
async fn verified_e_mail_addresses_are_names() {
    let Some(mut idp) = Provider::start().await else {
        return;
    };
    let issuer = idp.issuer.clone();
    let config = || {
        let mut config = OidcConfig::new(&issuer, "us");
        config.scopes = vec!["email".into()];
        config.name = NameClaim::Email {
            domains: vec!["example.org".into()],
        };
        OidcProvider::new(config).expect("an issuer")
    };
    let person = || Ours {
        provider: config(),
        certificate: certificate(),
    };
    let (alice, eve, judge) = (person(), person(), config());
    alice.login(&mut idp, "alice").await.expect("a login");
    let assertion = alice.assertion(7).await;
    let validated = alice.judged_by(&judge, &assertion, 7).await.expect("valid");
    assert_eq!(validated.identity, "alice@example.org");
    // Eve's address was never verified.
    let outcome = eve.login(&mut idp, "eve").await;
    assert!(matches!(outcome, Err(OidcError::Login(_))), "{outcome:?}");
}
