//! Tests of assertions: one that is accepted, and every way to be refused.
#![expect(
    clippy::disallowed_methods,
    reason = "tests need some instant to start from"
)]

use super::*;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use proptest::prelude::*;
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

const NOW: u64 = 1_800_000_000_000;

struct Certificate {
    der: Vec<u8>,
    key: EcdsaKeyPair,
}

impl Certificate {
    fn new() -> Certificate {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        let pkcs8 = key.serialize_der();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &pkcs8).unwrap();
        Certificate {
            der: certificate.der().to_vec(),
            key,
        }
    }

    fn fingerprint(&self) -> Fingerprint {
        Sha256::digest(&self.der).into()
    }

    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, ()> {
        self.key
            .sign(&SystemRandom::new(), message)
            .map(|sig| sig.as_ref().to_vec())
            .map_err(|_| ())
    }
}

fn ada() -> Identity {
    Identity::from_seed([1; 32])
}

fn scope() -> Scope {
    Scope {
        mesh: MeshTag::new("m"),
        room: RoomId::new("m", "r"),
        session: SessionId::from_bytes([1; 8]),
        sdp_session: 77,
        addressee: Identity::from_seed([2; 32]).peer_id(),
    }
}

fn made(identity: &Identity, scope: Scope, der: &[u8], key: &Certificate) -> String {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    assert(
        identity,
        Incarnation(3),
        scope,
        der,
        |message| key.sign(message),
        &mut rng,
        NOW,
    )
    .unwrap()
}

fn time(unix_ms: u64) -> Time {
    Time {
        now: Instant::now(),
        unix_ms,
    }
}

/// Verifies with everything as expected but what `change` changes.
fn verify_at(
    assertion: &str,
    prints: &[Fingerprint],
    unix_ms: u64,
) -> Result<Asserted, AssertionError> {
    let expected = Expected {
        scope: scope(),
        peer: Some(ada().peer_id()),
        fingerprints: prints,
    };
    Verifier::new(Instant::now()).verify(assertion, &expected, time(unix_ms))
}

#[test]
fn a_good_assertion_is_accepted_once() {
    let certificate = Certificate::new();
    let assertion = made(&ada(), scope(), &certificate.der, &certificate);
    assert!(assertion.len() < 1200, "{} characters", assertion.len());
    let prints = [certificate.fingerprint()];
    let expected = Expected {
        scope: scope(),
        peer: None,
        fingerprints: &prints,
    };
    let mut verifier = Verifier::new(Instant::now());
    let asserted = verifier
        .verify(&assertion, &expected, time(NOW + 5))
        .unwrap();
    assert_eq!(
        (asserted.peer, asserted.incarnation),
        (ada().peer_id(), Incarnation(3))
    );
    assert_eq!(asserted.fingerprint, certificate.fingerprint());
    let again = verifier.verify(&assertion, &expected, time(NOW + 10));
    assert!(matches!(again, Err(AssertionError::Replayed)));
}

#[test]
fn somebody_elses_certificate_is_refused() {
    let (mine, theirs) = (Certificate::new(), Certificate::new());
    // The victim's certificate, signed for with a key of one's own.
    let assertion = made(&ada(), scope(), &theirs.der, &mine);
    let result = verify_at(&assertion, &[theirs.fingerprint()], NOW);
    assert!(matches!(result, Err(AssertionError::NoPossession)));
    // One's own certificate, with the victim's fingerprint in the description.
    let assertion = made(&ada(), scope(), &mine.der, &mine);
    let result = verify_at(&assertion, &[theirs.fingerprint()], NOW);
    assert!(matches!(result, Err(AssertionError::OtherCertificate)));
    let result = verify_at(&assertion, &[mine.fingerprint(), theirs.fingerprint()], NOW);
    assert!(matches!(result, Err(AssertionError::OtherCertificate)));
    assert!(matches!(
        verify_at(&assertion, &[], NOW),
        Err(AssertionError::OtherCertificate)
    ));
}

#[test]
fn another_scope_is_refused() {
    let certificate = Certificate::new();
    let verify = |scope: Scope| {
        let assertion = made(&ada(), scope, &certificate.der, &certificate);
        verify_at(&assertion, &[certificate.fingerprint()], NOW).unwrap_err()
    };
    let other = PeerId::from_bytes([9; 32]);
    assert!(matches!(
        verify(Scope {
            mesh: MeshTag::new("n"),
            ..scope()
        }),
        AssertionError::OtherMesh
    ));
    assert!(matches!(
        verify(Scope {
            room: RoomId::new("m", "s"),
            ..scope()
        }),
        AssertionError::OtherRoom
    ));
    assert!(matches!(
        verify(Scope {
            addressee: other,
            ..scope()
        }),
        AssertionError::OtherAddressee
    ));
    assert!(matches!(
        verify(Scope {
            sdp_session: 78,
            ..scope()
        }),
        AssertionError::OtherSession
    ));
    let session = SessionId::from_bytes([2; 8]);
    assert!(matches!(
        verify(Scope { session, ..scope() }),
        AssertionError::OtherSession
    ));
}

#[test]
fn another_peer_is_refused() {
    let certificate = Certificate::new();
    let assertion = made(
        &Identity::from_seed([5; 32]),
        scope(),
        &certificate.der,
        &certificate,
    );
    let result = verify_at(&assertion, &[certificate.fingerprint()], NOW);
    assert!(matches!(result, Err(AssertionError::OtherPeer { .. })));
}

#[test]
fn the_period_counts_give_or_take_the_clocks() {
    let certificate = Certificate::new();
    let assertion = made(&ada(), scope(), &certificate.der, &certificate);
    let at = |unix_ms| verify_at(&assertion, &[certificate.fingerprint()], unix_ms);
    let lifetime = LIFETIME.as_millis() as u64;
    assert!(at(NOW - MAX_CLOCK_SKEW_MS).is_ok());
    assert!(matches!(
        at(NOW - MAX_CLOCK_SKEW_MS - 1),
        Err(AssertionError::NotYetValid(1))
    ));
    assert!(at(NOW + lifetime + MAX_CLOCK_SKEW_MS).is_ok());
    assert!(matches!(
        at(NOW + lifetime + MAX_CLOCK_SKEW_MS + 1),
        Err(AssertionError::Expired(1))
    ));
}

#[test]
fn bad_signatures_and_certificates_are_refused() {
    let certificate = Certificate::new();
    let prints = [certificate.fingerprint()];
    let good = made(&ada(), scope(), &certificate.der, &certificate);
    let mut bytes = BASE64.decode(good.as_bytes()).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    let result = verify_at(&BASE64.encode(&bytes), &prints, NOW);
    assert!(matches!(result, Err(AssertionError::BadSignature)));
    let junk = made(&ada(), scope(), b"no certificate", &certificate);
    assert!(matches!(
        verify_at(&junk, &prints, NOW),
        Err(AssertionError::BadCertificate)
    ));
    assert!(matches!(
        verify_at("!", &prints, NOW),
        Err(AssertionError::NotBase64)
    ));
    assert!(matches!(
        verify_at("AAAA", &prints, NOW),
        Err(AssertionError::Malformed(_))
    ));
    assert!(matches!(
        verify_at(&"A".repeat(5000), &prints, NOW),
        Err(AssertionError::Malformed(_))
    ));
}

#[test]
fn a_certificate_beyond_the_limit_is_not_asserted() {
    let certificate = Certificate::new();
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let big = vec![0; MAX_CERTIFICATE * 2];
    let result = assert(
        &ada(),
        Incarnation(3),
        scope(),
        &big,
        |m| certificate.sign(m),
        &mut rng,
        NOW,
    );
    assert!(matches!(result, Err(AssertError::TooLarge(_))));
    let refused = assert(
        &ada(),
        Incarnation(3),
        scope(),
        &certificate.der,
        |_| Err("no"),
        &mut rng,
        NOW,
    );
    assert!(matches!(refused, Err(AssertError::Sign("no"))));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn damaged_assertions_are_refused_without_panic(at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let certificate = Certificate::new();
        let good = made(&ada(), scope(), &certificate.der, &certificate);
        let mut bytes = BASE64.decode(good.as_bytes()).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(verify_at(&BASE64.encode(&bytes), &[certificate.fingerprint()], NOW).is_err());
    }

    #[test]
    fn arbitrary_text_never_panics(text in "[A-Za-z0-9+/=]{0,400}") {
        prop_assert!(inspect(&text).is_err());
    }
}
