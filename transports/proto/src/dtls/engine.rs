//! The packaged engine with our settings.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use dimpl::{Dtls, DtlsCertificate};

use super::tape;
use super::{Alert, Error};
use crate::certificate::Certificate;
use crate::config::{DtlsConfig, DtlsRecords, DtlsVersions};
use crate::id::DtlsRole;

/// Packets of a handshake flight the engine keeps: a flight of ours has at most five. Also the
/// number of out-of-order packets of the peer's, which may fragment at its will.
const ENGINE_QUEUE: usize = 64;

/// Retransmissions of a flight. The time limit is `DtlsConfig::handshake_timeout`; this only has to
/// last until then even on a network that duplicates, since duplicates are answered too.
const FLIGHT_RETRIES: usize = 32;

/// The settings that were asked for last, ready for the engine. Making them takes 2 ms and more, since
/// the engine tries out all of its cryptography, and a program asks for the same again and again.
static LATEST: Mutex<Option<(DtlsConfig, Arc<dimpl::Config>)>> = Mutex::new(None);

fn settings(config: &DtlsConfig) -> Result<Arc<dimpl::Config>, Error> {
    // Replaced as a whole: a poisoned one is whole.
    let mut latest = LATEST.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, settings)) = latest.as_ref().filter(|(of, _)| of == config) {
        return Ok(settings.clone());
    }
    let settings = Arc::new(new_settings(config)?);
    *latest = Some((config.clone(), settings.clone()));
    Ok(settings)
}

pub(super) fn new_engine(
    config: &DtlsConfig,
    certificate: &Certificate,
    role: DtlsRole,
    now: Instant,
) -> Result<Dtls, Error> {
    let settings = settings(config)?;
    let pair = DtlsCertificate {
        certificate: certificate.der().to_vec(),
        private_key: certificate.private_key_der().to_vec(),
    };
    let mut engine = match config.versions {
        DtlsVersions::Auto => Dtls::new_auto(settings, pair, now),
        DtlsVersions::Only12 => Dtls::new_12(settings, pair, now),
        DtlsVersions::Only13 => Dtls::new_13(settings, pair, now),
    };
    engine.set_active(role == DtlsRole::Client);
    Ok(engine)
}

fn new_settings(config: &DtlsConfig) -> Result<dimpl::Config, Error> {
    let mut settings = dimpl::Config::builder()
        .mtu(config.mtu)
        .use_server_cookie(false)
        .require_client_certificate(true)
        .flight_start_rto(config.flight_rto)
        .flight_retries(FLIGHT_RETRIES)
        .handshake_timeout(config.handshake_timeout)
        .max_queue_rx(ENGINE_QUEUE)
        .max_queue_tx(ENGINE_QUEUE);
    settings = match config.records {
        DtlsRecords::Packaged => settings.aead_encryption_limit(config.records_per_key),
        // It protects a few answers of its own, and never changes keys.
        DtlsRecords::Native => settings
            .aead_encryption_limit(u64::MAX)
            .with_crypto_provider(tape::provider()),
    };
    let settings = settings.build();
    settings.map_err(|error| Error::Config(error.to_string()))
}

/// What an error of the engine says to whoever asks why there is no connection.
pub(super) fn told_by(error: &dimpl::Error) -> Error {
    use dimpl::CertificateError::NoClientCertificateReceived;
    use dimpl::SecurityError::FatalAlert;
    if let dimpl::Error::SecurityError(FatalAlert { description }) = error {
        return Error::Alert(Alert(*description));
    }
    if matches!(
        error,
        dimpl::Error::CertificateError(NoClientCertificateReceived)
    ) {
        return Error::NoCertificate;
    }
    Error::Handshake(error.to_string())
}
