//! `RTCCertificate` and `generateCertificate`.

use std::time::{Duration, SystemTime};

use peerloom_actors::{HashFunction, KeygenAlgorithm, NamedCurve, PeerConnection};

const DAY: Duration = Duration::from_secs(24 * 3600);

fn valid_for(expires: Option<Duration>) -> Duration {
    let before = SystemTime::now();
    let made = PeerConnection::generate_certificate(KeygenAlgorithm::default(), expires);
    let expires = made.expect("a certificate").expires();
    expires.duration_since(before).expect("in the future")
}

#[test]
fn generated_certificates_expire_as_asked() {
    for (asked, days) in [(None, 30), (Some(DAY), 1), (Some(1000 * DAY), 365)] {
        let valid = valid_for(asked);
        let expected = days * DAY;
        assert!(
            valid >= expected && valid < expected + DAY / 24,
            "{valid:?}"
        );
    }
}

#[test]
fn other_algorithms_are_not_supported() {
    for algorithm in [
        KeygenAlgorithm::RsassaPkcs1V15 {
            modulus_length: 2048,
        },
        KeygenAlgorithm::Ecdsa {
            named_curve: NamedCurve::P384,
        },
        KeygenAlgorithm::Ecdsa {
            named_curve: NamedCurve::P521,
        },
    ] {
        let made = PeerConnection::generate_certificate(algorithm, None);
        assert_eq!(made.err().map(|e| e.name()), Some("NotSupportedError"));
    }
}

#[test]
fn fingerprints_are_those_of_the_certificate() {
    let make = || PeerConnection::generate_certificate(KeygenAlgorithm::default(), None);
    let (one, other) = (make().expect("made"), make().expect("made"));
    let [fingerprint] = one.get_fingerprints().try_into().expect("SHA-256 only");
    assert_eq!(fingerprint.hash, HashFunction::Sha256);
    assert_eq!(fingerprint.hash.name(), "sha-256");
    assert_eq!(fingerprint.hex().len(), 32 * 3 - 1);
    assert_eq!(fingerprint.hex(), fingerprint.hex().to_lowercase());
    assert!(fingerprint.matches(one.der()));
    assert!(!fingerprint.matches(other.der()));
}
