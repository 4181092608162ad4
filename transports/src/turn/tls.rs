//! TLS to a TURN server.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use peerloom_transports_proto::ice_server::Host;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// TLS over `stream` to the server that is called `host`.
pub(super) async fn connect(
    stream: TcpStream,
    host: &Host,
    extra_roots: Vec<Bytes>,
) -> io::Result<TlsStream<TcpStream>> {
    // The platform's certificates are files.
    let config = tokio::task::spawn_blocking(move || config(&extra_roots)).await??;
    let name = match host {
        Host::Ip(ip) => ServerName::IpAddress((*ip).into()),
        Host::Name(name) => ServerName::try_from(name.clone())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?,
    };
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

fn config(extra_roots: &[Bytes]) -> io::Result<ClientConfig> {
    let mut roots = RootCertStore::empty();
    let platform = rustls_native_certs::load_native_certs();
    for error in &platform.errors {
        tracing::debug!(%error, "a certificate of the platform cannot be read");
    }
    let (_, unusable) = roots.add_parsable_certificates(platform.certs);
    tracing::debug!(trusted = roots.len(), unusable, "roots of the platform");
    for root in extra_roots {
        let root = CertificateDer::from(root.to_vec());
        roots
            .add(root)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
