//! OpenID Connect: assertions, ID tokens, and what a provider publishes about itself.
//!
//! Reads with the files of the provider itself; what is left out of them needs sockets.

use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use data_encoding::BASE64URL_NOPAD;
use futures::executor::block_on;
use openidconnect::core::{CoreJsonWebKeySet, CoreProviderMetadata};
use openidconnect::http::header::CONTENT_TYPE;
use openidconnect::{ClientId, HttpRequest, HttpResponse, IssuerUrl};
use peerloom_actors::AssertionRequest;
use peerloom_actors::identity::contents;

use super::script::Reader;
use super::sdp::CERTIFICATE;

#[path = "../../../mesh/src/identity/oidc/name.rs"]
mod name;
#[path = "../../../mesh/src/identity/oidc/statement.rs"]
mod statement;
#[path = "../../../mesh/src/identity/oidc/token.rs"]
mod token;

use name::NameClaim;
use token::Trust;

const ISSUER: &str = "https://accounts.example.com";
const SESSION: u64 = 7;
/// Seconds since 1970, when tokens are read; and when they expire, far behind the clock.
const NOW: i64 = 1_800_000_000;
const EXPIRES: i64 = 4_000_000_000;
/// The head of tokens that are signed here.
const HEAD: &str = r#"{"alg":"EdDSA","typ":"JWT","kid":"1"}"#;

static KEY: LazyLock<Ed25519KeyPair> =
    LazyLock::new(|| Ed25519KeyPair::from_seed_unchecked(&[1; 32]).expect("32 bytes"));

static TRUST: LazyLock<[Trust; 2]> = LazyLock::new(|| {
    let email = NameClaim::Email {
        domains: vec!["example.org".into()],
    };
    [NameClaim::Subject, email].map(|name| Trust {
        issuer: IssuerUrl::new(ISSUER.into()).expect("an address"),
        clients: vec![ClientId::new("us".into()), ClientId::new("page".into())],
        domain: "accounts.example.com".into(),
        name,
        max_age: Duration::from_secs(3600),
    })
});

/// The first byte says what the rest is: 0 an assertion; 1 claims, that are signed then; 2 the head
/// and, after a zero byte, the claims of a token that is signed then; 3 a token; 4 a key set; 5 what a
/// provider publishes, and after a zero byte its key set. Gets anywhere if the assertion proves
/// possession, the token is believed, the keys verify one, or the provider is one.
pub fn oidc(data: &[u8]) -> bool {
    let mut reader = Reader(data);
    let kind = reader.byte().unwrap_or_default();
    let (raw, text) = (reader.0, String::from_utf8_lossy(reader.0));
    let (first, second) = text.split_once('\0').unwrap_or((&text, ""));
    match kind % 6 {
        0 => assertion(&text),
        1 => believed(&token(HEAD.as_bytes(), raw), keys()),
        2 => believed(&token(first.as_bytes(), second.as_bytes()), keys()),
        3 => believed(&text, keys()),
        4 => serde_json::from_slice(raw)
            .is_ok_and(|keys| believed(&token(HEAD.as_bytes(), claims().as_bytes()), keys)),
        _ => provider(first, second),
    }
}

/// What is read and written again is the same assertion.
fn assertion(text: &str) -> bool {
    let Ok(read) = statement::read(text) else {
        return false;
    };
    let again = serde_json::to_string(&read).expect("text");
    let again = statement::read(&again).expect("what was written");
    assert_eq!(read.digest(SESSION), again.digest(SESSION));
    let ours = [CERTIFICATE.fingerprint().clone()];
    let proven = |session| {
        let proof = read.proof.as_ref();
        proof.is_some_and(|proof| read.check_possession(proof, session, &ours).is_ok())
    };
    assert!(!proven(SESSION + 1), "proof for another session");
    // Whoever has the proof can put other contents beside it: the token vouches for those.
    proven(SESSION) && read.contents.len() <= text.len()
}

fn believed(token: &str, keys: CoreJsonWebKeySet) -> bool {
    let nonce = statement::nonce("c");
    let check = |trust: &Trust, nonce: &str| trust.check(token, keys.clone(), nonce, NOW);
    let mut believed = false;
    for trust in TRUST.iter() {
        if let Ok(checked) = check(trust, &nonce) {
            let (name, domain) = checked.identity.split_once('@').expect("name@domain");
            assert!(!domain.contains('@') && !name.contains(char::is_control));
            assert!(checked.expires > NOW);
            believed = true;
        }
        assert!(
            check(trust, &statement::nonce("d")).is_err(),
            "other contents"
        );
    }
    believed
}

/// The provider is asked as it would be; these are its answers.
fn provider(document: &str, keys: &str) -> bool {
    let http = async |request: HttpRequest| -> Result<HttpResponse, Infallible> {
        let discovery = request.uri().path() == "/.well-known/openid-configuration";
        let body = if discovery { document } else { keys };
        let mut answer = HttpResponse::new(body.as_bytes().to_vec());
        let kind = "application/json".parse().expect("a header");
        answer.headers_mut().insert(CONTENT_TYPE, kind);
        Ok(answer)
    };
    let issuer = TRUST[0].issuer.clone();
    let found = block_on(CoreProviderMetadata::discover_async(issuer, &http));
    found.is_ok_and(|found| {
        assert_eq!(found.issuer(), &TRUST[0].issuer);
        let honest = token(HEAD.as_bytes(), claims().as_bytes());
        believed(&honest, found.jwks().clone())
    })
}

fn keys() -> CoreJsonWebKeySet {
    serde_json::from_str(&key_set()).expect("a key set")
}

fn key_set() -> String {
    let x = BASE64URL_NOPAD.encode(KEY.public_key().as_ref());
    format!(r#"{{"keys":[{{"kty":"OKP","crv":"Ed25519","use":"sig","kid":"1","x":"{x}"}}]}}"#)
}

fn claims() -> String {
    format!(
        r#"{{"iss":"{ISSUER}","aud":"us","sub":"al@ice","nonce":"{}","iat":{},"exp":{EXPIRES},"email":"a@example.org","email_verified":true}}"#,
        statement::nonce("c"),
        NOW - 10
    )
}

fn document() -> String {
    format!(
        r#"{{"issuer":"{ISSUER}","authorization_endpoint":"{ISSUER}/a","token_endpoint":"{ISSUER}/t","jwks_uri":"{ISSUER}/k","response_types_supported":["code"],"subject_types_supported":["public"],"id_token_signing_alg_values_supported":["EdDSA"]}}"#
    )
}

/// A token of this head and these claims, signed.
fn token(head: &[u8], claims: &[u8]) -> String {
    let encode = |bytes: &[u8]| BASE64URL_NOPAD.encode(bytes);
    let text = format!("{}.{}", encode(head), encode(claims));
    let signature = KEY.sign(text.as_bytes());
    format!("{text}.{}", encode(signature.as_ref()))
}

/// What honest ends say. The certificate is another one in every run, so that assertions in a
/// corpus prove nothing any more.
pub(crate) fn real() -> [Vec<u8>; 6] {
    let request = AssertionRequest {
        contents: contents(&[CERTIFICATE.fingerprint().clone()]),
        session_id: SESSION,
        certificate: CERTIFICATE.clone(),
        options: Default::default(),
    };
    let honest = token(HEAD.as_bytes(), claims().as_bytes());
    let assertion = statement::assert(&request, honest.clone()).expect("an assertion");
    let with = |kind: u8, text: &str| [&[kind], text.as_bytes()].concat();
    [
        with(0, &assertion),
        with(1, &claims()),
        with(2, &format!("{HEAD}\0{}", claims())),
        with(3, &honest),
        with(4, &key_set()),
        with(5, &format!("{}\0{}", document(), key_set())),
    ]
}
