//! TLS for QUIC: certificates pinned by fingerprint, at both ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use peerloom_transports_proto::certificate::{Certificate, Fingerprint, MAX_CERTIFICATE_LEN};
use quinn_proto::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, ServerConfig,
    SignatureScheme,
};

use super::Error;

/// The protocol's name in TLS (RFC 7301). What breaks gets another number.
const ALPN: &[u8] = b"peerloom-data/1";

/// A name that TLS wants and nobody looks at.
pub(super) const SERVER_NAME: &str = "peerloom.invalid";

/// Accepts whoever shows a certificate with one of the fingerprints and signs with its key.
#[derive(Debug)]
pub(super) struct Pinned {
    fingerprints: Vec<Fingerprint>,
    provider: Arc<CryptoProvider>,
    /// Another certificate was shown.
    mismatch: AtomicBool,
}

impl Pinned {
    pub(super) fn new(fingerprints: Vec<Fingerprint>) -> Arc<Self> {
        let mut provider = aws_lc_rs::default_provider();
        // The fastest cipher first; a peer chooses what it has.
        provider.cipher_suites = vec![
            aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
            aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
            aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
        ];
        // As DTLS has them. A hybrid group would take the first flight beyond one packet.
        provider.kx_groups = vec![aws_lc_rs::kx_group::X25519, aws_lc_rs::kx_group::SECP256R1];
        Arc::new(Self {
            fingerprints,
            provider: Arc::new(provider),
            mismatch: AtomicBool::new(false),
        })
    }

    /// Whether the peer has shown a certificate that its description does not name.
    pub(super) fn mismatch(&self) -> bool {
        self.mismatch.load(Ordering::Relaxed)
    }

    fn check(&self, certificate: &CertificateDer<'_>) -> Result<(), rustls::Error> {
        if certificate.len() > MAX_CERTIFICATE_LEN {
            return Err(CertificateError::BadEncoding.into());
        }
        let mut fingerprints = self.fingerprints.iter();
        if fingerprints.any(|fingerprint| fingerprint.matches(certificate)) {
            return Ok(());
        }
        self.mismatch.store(true, Ordering::Relaxed);
        Err(CertificateError::ApplicationVerificationFailure.into())
    }

    fn check_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// Nobody speaks TLS 1.2 inside QUIC (RFC 9001 §4.2).
fn no_tls12() -> rustls::Error {
    rustls::PeerIncompatible::Tls12NotOffered.into()
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        self.check(end_entity)
            .map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

impl ClientCertVerifier for Pinned {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.check(end_entity)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(no_tls12())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.check_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.schemes()
    }
}

fn chain(certificate: &Certificate) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
    let chain = vec![CertificateDer::from(certificate.der().to_vec())];
    let key = PrivatePkcs8KeyDer::from(certificate.private_key_der().to_vec());
    (chain, PrivateKeyDer::Pkcs8(key))
}

fn refused(error: impl std::fmt::Display) -> Error {
    Error::Config(error.to_string())
}

pub(super) fn client(
    certificate: &Certificate,
    pinned: Arc<Pinned>,
) -> Result<quinn_proto::ClientConfig, Error> {
    let (chain, key) = chain(certificate);
    let mut config = ClientConfig::builder_with_provider(pinned.provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(refused)?
        .dangerous() // what is dangerous is written above
        .with_custom_certificate_verifier(pinned)
        .with_client_auth_cert(chain, key)
        .map_err(refused)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_sni = false;
    let config = QuicClientConfig::try_from(config).map_err(refused)?;
    Ok(quinn_proto::ClientConfig::new(Arc::new(config)))
}

pub(super) fn server(
    certificate: &Certificate,
    pinned: Arc<Pinned>,
) -> Result<quinn_proto::ServerConfig, Error> {
    let (chain, key) = chain(certificate);
    let mut config = ServerConfig::builder_with_provider(pinned.provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(refused)?
        .with_client_cert_verifier(pinned)
        .with_single_cert(chain, key)
        .map_err(refused)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    let config = QuicServerConfig::try_from(config).map_err(refused)?;
    Ok(quinn_proto::ServerConfig::with_crypto(Arc::new(config)))
}
