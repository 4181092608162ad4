//! The certificate of a peer connection: a P-256 key, its self-signed certificate and their
//! fingerprints (RFC 8827 §6.5, RFC 8122).
//!
//! The key also signs *statements about itself* ([`Certificate::sign`], [`verify`]): a proof of
//! possession, without which anyone could claim someone else's fingerprint as their own
//! (RFC 8844 §3).

mod fingerprint;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1, EcdsaKeyPair,
    UnparsedPublicKey,
};
use rcgen::{CertificateParams, DistinguishedName, DnType, KeyPair, PKCS_ECDSA_P256_SHA256};
use x509_cert::der::{Decode, Encode};
use zeroize::Zeroizing;

pub use fingerprint::{Fingerprint, FingerprintError, HashFunction};

/// How long a generated certificate is valid: webrtc-pc §4.9's default of 30 days.
pub const VALIDITY: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long one may be valid at most: webrtc-pc §4.9.1 caps `expires` at 365 days.
pub const MAX_VALIDITY: Duration = Duration::from_secs(365 * 24 * 3600);

/// Clocks may differ by this much before a fresh certificate looks too young.
const CLOCK_SKEW: Duration = Duration::from_secs(24 * 3600);

/// Longest certificate we look at. A P-256 one has about 400 bytes, RSA-4096 about 1,300.
pub const MAX_CERTIFICATE_LEN: usize = 16 * 1024;

/// What can go wrong with a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// The key pair or certificate could not be made.
    #[error("could not generate a P-256 certificate")]
    Generate,
    /// The private key is not a P-256 key in PKCS #8.
    #[error("the private key is not a P-256 key in PKCS #8")]
    Key,
    /// The certificate is not DER, too long, or has no usable public key.
    #[error("the certificate is malformed or its key is neither P-256 nor P-384")]
    Malformed,
    /// The private key does not belong to the certificate.
    #[error("the private key does not belong to the certificate")]
    Mismatch,
    /// The signature does not verify.
    #[error("the signature was not made by the certificate's key")]
    Signature,
    /// Signing failed.
    #[error("signing failed")]
    Sign,
}

/// A certificate with its private key. Cloning is cheap; the key is wiped with the last clone.
#[derive(Clone)]
pub struct Certificate {
    inner: Arc<Inner>,
}

struct Inner {
    der: Vec<u8>,
    key_der: Zeroizing<Vec<u8>>,
    key: EcdsaKeyPair,
    fingerprint: Fingerprint,
    expires: SystemTime,
}

impl Certificate {
    /// A fresh P-256 key and self-signed certificate, valid for [`VALIDITY`] from `now` on.
    pub fn generate(now: SystemTime) -> Result<Self, CertificateError> {
        Self::generate_for(now, VALIDITY)
    }

    /// The same, valid for so long from `now` on, [`MAX_VALIDITY`] at most.
    pub fn generate_for(now: SystemTime, validity: Duration) -> Result<Self, CertificateError> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)
            .map_err(|_| CertificateError::Generate)?;
        let mut params =
            CertificateParams::new(Vec::<String>::new()).map_err(|_| CertificateError::Generate)?;
        let mut name = DistinguishedName::new();
        name.push(DnType::CommonName, "WebRTC");
        params.distinguished_name = name;
        let expires = now + validity.min(MAX_VALIDITY);
        params.not_before = now
            .checked_sub(CLOCK_SKEW)
            .unwrap_or(SystemTime::UNIX_EPOCH)
            .into();
        params.not_after = expires.into();
        let certificate = params
            .self_signed(&key)
            .map_err(|_| CertificateError::Generate)?;
        let key_der = Zeroizing::new(key.serialize_der());
        Self::build(certificate.der().to_vec(), key_der, expires)
    }

    /// A certificate and PKCS #8 key made before, for instance by [`Certificate::generate`].
    pub fn from_der(der: Vec<u8>, key_der: Zeroizing<Vec<u8>>) -> Result<Self, CertificateError> {
        let parsed = parse(&der)?;
        let expires =
            SystemTime::UNIX_EPOCH + parsed.tbs_certificate.validity.not_after.to_unix_duration();
        let certificate = Self::build(der, key_der, expires)?;
        let probe = certificate.sign(b"possession")?;
        verify(certificate.der(), b"possession", &probe).map_err(|_| CertificateError::Mismatch)?;
        Ok(certificate)
    }

    fn build(
        der: Vec<u8>,
        key_der: Zeroizing<Vec<u8>>,
        expires: SystemTime,
    ) -> Result<Self, CertificateError> {
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key_der)
            .map_err(|_| CertificateError::Key)?;
        let fingerprint = Fingerprint::of(HashFunction::Sha256, &der);
        Ok(Self {
            inner: Arc::new(Inner {
                der,
                key_der,
                key,
                fingerprint,
                expires,
            }),
        })
    }

    /// The certificate in DER.
    pub fn der(&self) -> &[u8] {
        &self.inner.der
    }

    /// The private key as PKCS #8 DER, for storage only.
    pub fn private_key_der(&self) -> &Zeroizing<Vec<u8>> {
        &self.inner.key_der
    }

    /// Its SHA-256 fingerprint.
    pub fn fingerprint(&self) -> &Fingerprint {
        &self.inner.fingerprint
    }

    /// `RTCCertificate.getFingerprints` (webrtc-pc §4.9.2): one for each hash function that is
    /// used with it.
    pub fn get_fingerprints(&self) -> Vec<Fingerprint> {
        vec![self.inner.fingerprint.clone()]
    }

    /// When it expires (`RTCCertificate.expires`).
    pub fn expires(&self) -> SystemTime {
        self.inner.expires
    }

    /// ECDSA-P256-SHA256 over `message`, ASN.1-encoded; [`verify`] checks it.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, CertificateError> {
        let signature = self
            .inner
            .key
            .sign(&SystemRandom::new(), message)
            .map_err(|_| CertificateError::Sign)?;
        Ok(signature.as_ref().to_vec())
    }
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({})", self.inner.fingerprint)
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.inner.der == other.inner.der
    }
}

impl Eq for Certificate {}

/// Checks that `signature` over `message` was made by the key of the certificate `der`
/// (P-256 with SHA-256, or P-384 with SHA-384). Says nothing about who owns the certificate.
pub fn verify(der: &[u8], message: &[u8], signature: &[u8]) -> Result<(), CertificateError> {
    let parsed = parse(der)?;
    let spki = &parsed.tbs_certificate.subject_public_key_info;
    let point = spki
        .subject_public_key
        .as_bytes()
        .ok_or(CertificateError::Malformed)?;
    let result = match point.len() {
        65 => UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, signature),
        97 => UnparsedPublicKey::new(&ECDSA_P384_SHA384_ASN1, point).verify(message, signature),
        _ => return Err(CertificateError::Malformed),
    };
    result.map_err(|_| CertificateError::Signature)
}

fn parse(der: &[u8]) -> Result<x509_cert::Certificate, CertificateError> {
    if der.len() > MAX_CERTIFICATE_LEN {
        return Err(CertificateError::Malformed);
    }
    let parsed = x509_cert::Certificate::from_der(der).map_err(|_| CertificateError::Malformed)?;
    // Only certificates that re-encode to themselves: no second reading of the same bytes.
    match parsed.to_der() {
        Ok(again) if again == der => Ok(parsed),
        Ok(_) | Err(_) => Err(CertificateError::Malformed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate() -> Certificate {
        Certificate::generate(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000))
            .expect("generate")
    }

    #[test]
    fn validity_is_as_asked_and_capped() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let hour = Duration::from_secs(3600);
        let expires = |validity| {
            let made = Certificate::generate_for(now, validity).expect("generate");
            let read = Certificate::from_der(made.der().to_vec(), made.private_key_der().clone());
            read.expect("own bytes").expires()
        };
        assert_eq!(expires(hour), now + hour);
        assert_eq!(expires(Duration::MAX), now + MAX_VALIDITY);
        assert_eq!(expires(VALIDITY), certificate().expires());
    }

    #[test]
    fn signs_for_itself_only() {
        let (a, b) = (certificate(), certificate());
        let signature = a.sign(b"peer").expect("sign");
        assert_eq!(verify(a.der(), b"peer", &signature), Ok(()));
        assert_eq!(
            verify(a.der(), b"other", &signature),
            Err(CertificateError::Signature)
        );
        assert_eq!(
            verify(b.der(), b"peer", &signature),
            Err(CertificateError::Signature)
        );
    }

    #[test]
    fn stored_and_read_again() {
        let cert = certificate();
        let again = Certificate::from_der(cert.der().to_vec(), cert.private_key_der().clone())
            .expect("own bytes");
        assert_eq!(again, cert);
        assert_eq!(again.expires(), cert.expires());
        let other = certificate();
        let mixed = Certificate::from_der(cert.der().to_vec(), other.private_key_der().clone());
        assert_eq!(mixed.err(), Some(CertificateError::Mismatch));
    }

    #[test]
    fn malformed_certificates_are_values() {
        let cert = certificate();
        assert_eq!(verify(&[], b"", b""), Err(CertificateError::Malformed));
        for cut in 0..cert.der().len() {
            assert!(verify(&cert.der()[..cut], b"m", b"s").is_err());
        }
        let mut longer = cert.der().to_vec();
        longer.push(0);
        assert_eq!(
            verify(&longer, b"m", b"s"),
            Err(CertificateError::Malformed)
        );
    }
}
