//! Tokens and assertions, made by hand and then spoilt one way each. Against a real provider:
//! `tests/identity/oidc.rs` of the root package.

use std::time::{Duration, SystemTime};

use data_encoding::BASE64URL_NOPAD;
use ed25519_dalek::{Signer as _, SigningKey};
use openidconnect::core::CoreJsonWebKeySet;
use openidconnect::{ClientId, IssuerUrl};
use peerloom_actors::identity::contents;
use peerloom_actors::{AssertionRequest, Certificate, IdentityError};
use serde_json::{Value, json};

use super::statement::{self, nonce};
use super::token::{Checked, TokenError, Trust};
use super::{NameClaim, OidcConfig, OidcError, OidcProvider};

mod reaching;

const ISSUER: &str = "https://accounts.example.com";

fn now() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(now.unwrap().as_secs()).unwrap()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn keys(seed: u8) -> CoreJsonWebKeySet {
    let x = BASE64URL_NOPAD.encode(key(seed).verifying_key().as_bytes());
    let key =
        json!({"kty": "OKP", "crv": "Ed25519", "use": "sig", "kid": seed.to_string(), "x": x});
    serde_json::from_value(json!({ "keys": [key] })).unwrap()
}

fn trust(name: NameClaim) -> Trust {
    Trust {
        issuer: IssuerUrl::new(ISSUER.into()).unwrap(),
        clients: vec![ClientId::new("us".into()), ClientId::new("page".into())],
        domain: "accounts.example.com".into(),
        name,
        max_age: Duration::from_secs(3600),
    }
}

fn claims() -> Value {
    json!({
        "iss": ISSUER, "aud": "us", "sub": "al@ice %", "nonce": nonce("c"),
        "iat": now() - 10, "exp": now() + 600,
        "email": "alice@example.org", "email_verified": true,
    })
}

/// A token of these claims, signed with the key of this number.
fn token(claims: &Value, seed: u8) -> String {
    let encode = |json: &Value| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
    let head = json!({"alg": "EdDSA", "typ": "JWT", "kid": seed.to_string()});
    let text = format!("{}.{}", encode(&head), encode(claims));
    let signature = key(seed).sign(text.as_bytes()).to_bytes();
    format!("{text}.{}", BASE64URL_NOPAD.encode(&signature))
}

fn check(claims: &Value) -> Result<Checked, TokenError> {
    trust(NameClaim::Subject).check(&token(claims, 1), keys(1), &nonce("c"), now())
}

#[test]
fn an_honest_token_names_its_subject() {
    let checked = check(&claims()).unwrap();
    assert_eq!(checked.identity, "al%40ice%20%25@accounts.example.com");
    assert!(checked.expires > now());
    let mut of_the_page = claims();
    of_the_page["aud"] = json!("page");
    assert_eq!(
        check(&of_the_page).map(|it| it.identity),
        Ok(checked.identity)
    );
}

#[test]
fn each_claim_is_checked() {
    for (claim, value) in [
        ("iss", json!("https://other.example.com")),
        ("aud", json!("them")),
        ("aud", json!(["us", "them"])),
        ("nonce", json!(nonce("other contents"))),
        ("nonce", Value::Null),
    ] {
        let mut spoilt = claims();
        spoilt[claim] = value.clone();
        let outcome = check(&spoilt);
        assert!(
            matches!(outcome, Err(TokenError::Refused(_))),
            "{claim} {value}: {outcome:?}"
        );
    }
    for (claim, value, error) in [
        ("iat", now() - 3700, TokenError::Expired),
        ("exp", now() - 1, TokenError::Expired),
        ("iat", now() + 200, TokenError::Early),
    ] {
        let mut spoilt = claims();
        spoilt[claim] = json!(value);
        assert_eq!(check(&spoilt), Err(error), "{claim} {value}");
    }
}

/// What the interface calls each of them (webrtc-identity section 8).
#[test]
fn what_is_wrong_with_a_token_has_its_name() {
    for (error, detail) in [
        (TokenError::Expired, "idp-token-expired"),
        (TokenError::Early, "idp-token-invalid"),
        (TokenError::UnknownKey, "idp-token-invalid"),
        (TokenError::Malformed, "idp-token-invalid"),
        (TokenError::Refused("why".into()), "idp-token-invalid"),
        (TokenError::NoName("x".into()), "idp-token-invalid"),
    ] {
        let told = IdentityError::from(error.clone()).error_detail();
        assert_eq!(told.map(|it| it.name()), Some(detail), "{error}");
    }
}

#[test]
fn signatures_are_checked() {
    let trust = trust(NameClaim::Subject);
    let check = |token: &str| trust.check(token, keys(1), &nonce("c"), now());
    let honest = token(&claims(), 1);
    assert!(check(&honest).is_ok());
    assert_eq!(check(&token(&claims(), 2)), Err(TokenError::UnknownKey));
    let (head, rest) = honest.split_once('.').unwrap();
    let (_, signature) = rest.split_once('.').unwrap();
    let mut forged = claims();
    forged["sub"] = json!("bob");
    let forged = BASE64URL_NOPAD.encode(forged.to_string().as_bytes());
    assert!(matches!(
        check(&format!("{head}.{forged}.{signature}")),
        Err(TokenError::Refused(_))
    ));
    let none = BASE64URL_NOPAD.encode(br#"{"alg":"none"}"#);
    assert!(check(&format!("{none}.{forged}.")).is_err());
    for nonsense in ["", "a.b.c", "..", "\0"] {
        assert_eq!(check(nonsense), Err(TokenError::Malformed));
    }
}

#[test]
fn e_mail_addresses_count_if_verified_and_vouched_for() {
    let check = |claims: &Value, domains: &[&str]| {
        let domains = domains.iter().map(|&domain| domain.to_owned()).collect();
        let trust = trust(NameClaim::Email { domains });
        let checked = trust.check(&token(claims, 1), keys(1), &nonce("c"), now());
        checked.map(|checked| checked.identity)
    };
    assert_eq!(
        check(&claims(), &["Example.org"]),
        Ok("alice@example.org".into())
    );
    let no_name = Err(TokenError::NoName("accounts.example.com".into()));
    assert_eq!(check(&claims(), &["example.com"]), no_name);
    for (odd, name) in [
        ("al@ice%@Example.ORG", Ok("al%40ice%25@example.org".into())),
        (
            "a\u{202e}b c@example.org",
            Ok("a%E2%80%AEb%20c@example.org".into()),
        ),
        ("@example.org", no_name.clone()),
        ("example.org", no_name.clone()),
    ] {
        let mut claims = claims();
        claims["email"] = json!(odd);
        assert_eq!(check(&claims, &["example.org"]), name, "{odd:?}");
    }
    let mut unverified = claims();
    unverified["email_verified"] = json!(false);
    assert_eq!(check(&unverified, &["example.org"]), no_name);
}

fn certificate() -> Certificate {
    Certificate::generate(SystemTime::now()).unwrap()
}

fn request(certificate: &Certificate) -> AssertionRequest {
    AssertionRequest {
        contents: contents(&[certificate.fingerprint().clone()]),
        session_id: 7,
        certificate: certificate.clone(),
        options: Default::default(),
    }
}

#[test]
fn possession_is_of_this_certificate_in_this_session() {
    let (ours, theirs) = (certificate(), certificate());
    let text = statement::assert(&request(&ours), "token".into()).unwrap();
    let statement = statement::read(&text).unwrap();
    let check = |session, of: &[&Certificate]| {
        let fingerprints: Vec<_> = of.iter().map(|of| of.fingerprint().clone()).collect();
        let proof = statement.proof.as_ref().unwrap();
        statement.check_possession(proof, session, &fingerprints)
    };
    assert_eq!(check(7, &[&ours]), Ok(()));
    assert!(matches!(check(8, &[&ours]), Err(IdentityError::Refused(_))));
    for other in [&[&theirs][..], &[&ours, &theirs], &[]] {
        assert_eq!(check(7, other), Err(IdentityError::OtherCertificate));
    }
    // With their certificate in place of ours, the signature is not by its key.
    let stolen = statement::assert(&request(&theirs), "token".into()).unwrap();
    let mut stolen: Value = serde_json::from_str(&stolen).unwrap();
    let honest: Value = serde_json::from_str(&text).unwrap();
    stolen["possession"] = honest["possession"].clone();
    let stolen = statement::read(&stolen.to_string()).unwrap();
    let proof = stolen.proof.as_ref().unwrap();
    let outcome = stolen.check_possession(proof, 7, &[theirs.fingerprint().clone()]);
    assert!(
        matches!(outcome, Err(IdentityError::Refused(_))),
        "{outcome:?}"
    );
}

#[test]
fn a_browsers_assertion_has_no_proof() {
    let statement = statement::read(r#"{"token":"t","contents":"c"}"#).unwrap();
    assert!(statement.proof.is_none());
    for nonsense in ["", "{}", "[]", "\"x\"", r#"{"token":1,"contents":"c"}"#] {
        assert!(statement::read(nonsense).is_err(), "{nonsense}");
    }
}

#[test]
fn issuers_are_https_or_on_this_machine() {
    for good in [
        ISSUER,
        "http://localhost:1/",
        "http://127.0.0.1/",
        "http://[::1]:9",
    ] {
        assert!(
            OidcProvider::new(OidcConfig::new(good, "us")).is_ok(),
            "{good}"
        );
    }
    for bad in [
        "http://accounts.example.com",
        "ftp://localhost",
        "x",
        "http://10.0.0.1/",
    ] {
        let outcome = OidcProvider::new(OidcConfig::new(bad, "us"));
        assert_eq!(outcome.err(), Some(OidcError::Issuer(bad.into())));
    }
}
