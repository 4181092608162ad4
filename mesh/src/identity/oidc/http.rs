//! HTTP towards the provider, and nobody else: one request a connection, no redirects (they would
//! let a provider send us to places in our own network), answers bounded, TLS except on this
//! machine.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use openidconnect::url::Url;
use openidconnect::{AsyncHttpClient, HttpRequest, HttpResponse};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{self, ClientConfig, RootCertStore};

use super::reach::Reach;

/// How long a request may take: less than the connection waits for its provider.
const TIMEOUT: Duration = Duration::from_secs(8);
/// Longest answer. Discovery documents and key sets have a few KiB.
const MAX_ANSWER: usize = 256 * 1024;

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum HttpError {
    #[error("{0} is neither https nor on this machine")]
    Plain(String),
    #[error("an address without a host")]
    NoHost,
    #[error("the provider's metadata names {0}, which is nearer to us than the provider is")]
    Near(String),
    #[error("cannot reach {host}")]
    Connect {
        host: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the certificate of {host} is not trusted")]
    NotTrusted {
        host: String,
        #[source]
        source: std::io::Error,
    },
    #[error("the exchange with the identity provider failed")]
    Exchange(#[from] hyper::Error),
    #[error("the identity provider's answer is too long or broken off")]
    Answer(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
    #[error("the identity provider did not answer in time")]
    TimedOut,
}

/// The client.
pub(super) struct Http {
    tls: TlsConnector,
    /// Whom the application trusts: what its metadata names must not be nearer to us than it is.
    issuer: Url,
}

impl Http {
    /// Trusts the system's certificate authorities, and these.
    pub(super) fn new(authorities: &[Vec<u8>], issuer: &Url) -> Result<Self, HttpError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for authority in authorities {
            roots.add(CertificateDer::from(authority.clone()))?;
        }
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self {
            tls: TlsConnector::from(Arc::new(config)),
            issuer: issuer.clone(),
        })
    }

    async fn exchange(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let uri = request.uri();
        let host = uri.host().ok_or(HttpError::NoHost)?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let secure = uri.scheme_str() == Some("https");
        if !secure && !is_local(&host) {
            return Err(HttpError::Plain(uri.to_string()));
        }
        let port = uri.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let unreachable = |source| HttpError::Connect {
            host: host.clone(),
            source,
        };
        let addresses = self.addresses(&host, port).await?;
        let socket = TcpStream::connect(&addresses[..]).await;
        let socket = socket.map_err(unreachable)?;
        if !secure {
            return send(socket, request).await;
        }
        let name = ServerName::try_from(host.clone()).map_err(|_| HttpError::NoHost)?;
        let socket = self.tls.connect(name, socket).await;
        let socket = socket.map_err(|source| match is_mistrust(&source) {
            true => HttpError::NotTrusted { host, source },
            false => HttpError::Connect { host, source },
        })?;
        send(socket, request).await
    }
}

impl Http {
    /// Where a host is, as far as the issuer may send us there: to itself, and to nothing nearer
    /// than itself. Looked up here, so that what was looked at is what is connected to.
    async fn addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, HttpError> {
        let found = look_up(host, port).await?;
        let issuer = self.issuer.host_str().unwrap_or_default();
        let issuer = issuer.trim_matches(['[', ']']);
        if host.eq_ignore_ascii_case(issuer) {
            return Ok(found);
        }
        let own = look_up(issuer, port).await?;
        let nearest = own.iter().map(|at| Reach::of(at.ip())).min();
        let far = |at: &SocketAddr| nearest.is_some_and(|nearest| Reach::of(at.ip()) >= nearest);
        let allowed: Vec<SocketAddr> = found.into_iter().filter(far).collect();
        if allowed.is_empty() {
            return Err(HttpError::Near(host.to_owned()));
        }
        Ok(allowed)
    }

    /// Whether a page may be shown to the user: `https`, or on this machine where the issuer is.
    pub(super) fn check_page(&self, page: &Url) -> Result<(), String> {
        let local = |url: &Url| {
            let host = url.host_str().unwrap_or_default();
            is_local(host.trim_matches(['[', ']']))
        };
        let plain = page.scheme() == "http" && local(page) && local(&self.issuer);
        let fits = page.scheme() == "https" || plain;
        fits.then_some(())
            .ok_or_else(|| format!("the login page {page} is not https"))
    }
}

/// Whether it was the certificate that ended a TLS handshake.
fn is_mistrust(error: &std::io::Error) -> bool {
    let below = error.get_ref().and_then(|it| it.downcast_ref());
    matches!(below, Some(rustls::Error::InvalidCertificate(_)))
}

async fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, HttpError> {
    let found = tokio::net::lookup_host((host, port)).await;
    let unreachable = |source| HttpError::Connect {
        host: host.to_owned(),
        source,
    };
    Ok(found.map_err(unreachable)?.collect())
}

impl<'c> AsyncHttpClient<'c> for Http {
    type Error = HttpError;
    type Future = BoxFuture<'c, Result<HttpResponse, HttpError>>;

    /// Makes a request and reads the whole answer.
    fn call(&'c self, request: HttpRequest) -> Self::Future {
        async move {
            let answer = tokio::time::timeout(TIMEOUT, self.exchange(request)).await;
            answer.unwrap_or(Err(HttpError::TimedOut))
        }
        .boxed()
    }
}

async fn send<S>(socket: S, request: HttpRequest) -> Result<HttpResponse, HttpError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
    let exchange = async {
        let answer = sender.send_request(in_origin_form(request)).await?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(HttpError::Answer)?.to_bytes().to_vec();
        Ok(HttpResponse::from_parts(head, body))
    };
    // The connection ends with the exchange; its own error shows there too.
    tokio::select! {
        answer = exchange => answer,
        Err(error) = connection => Err(HttpError::Exchange(error)),
    }
}

/// With `Host`, and the path alone in the request line (RFC 9112 section 3.2.1).
fn in_origin_form(request: HttpRequest) -> hyper::Request<Full<Bytes>> {
    let (mut head, body) = request.into_parts();
    let host = head.uri.authority().map(|authority| authority.as_str());
    let host = host.and_then(|host| hyper::header::HeaderValue::from_str(host).ok());
    if let Some(host) = host {
        head.headers.insert(hyper::header::HOST, host);
    }
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    head.uri = path.parse().unwrap_or_default();
    hyper::Request::from_parts(head, Full::new(body.into()))
}

/// Whether the host is this machine (RFC 8252 section 7.3 speaks of these for redirects).
pub(super) fn is_local(host: &str) -> bool {
    let loopback = host
        .parse()
        .is_ok_and(|address: IpAddr| address.is_loopback());
    loopback || host == "localhost"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(issuer: &str) -> Http {
        Http::new(&[], &issuer.parse().unwrap()).unwrap()
    }

    /// Addresses instead of names, which need no resolver.
    #[tokio::test]
    async fn metadata_leads_to_nothing_nearer_than_the_issuer() {
        for (issuer, host, allowed) in [
            ("https://8.8.8.8", "127.0.0.1", false),
            ("https://8.8.8.8", "::1", false),
            ("https://8.8.8.8", "169.254.169.254", false),
            ("https://8.8.8.8", "::ffff:10.0.0.1", false),
            ("https://8.8.8.8", "9.9.9.9", true),
            ("https://8.8.8.8", "8.8.8.8", true),
            ("https://10.0.0.1", "127.0.0.1", false),
            ("https://10.0.0.1", "192.168.0.1", true),
            ("https://10.0.0.1", "10.0.0.1", true),
            ("http://127.0.0.1:9", "127.0.0.1", true),
            ("http://[::1]:9", "127.0.0.1", true),
            ("http://127.0.0.1:9", "10.0.0.1", true),
        ] {
            let outcome = http(issuer).addresses(host, 443).await;
            let near = matches!(outcome, Err(HttpError::Near(_)));
            assert_eq!(near, !allowed, "{issuer} {host}: {outcome:?}");
        }
    }

    #[test]
    fn login_pages_are_https_unless_all_is_on_this_machine() {
        for (issuer, page, allowed) in [
            ("https://a.example", "https://b.example/login", true),
            ("https://a.example", "http://a.example/login", false),
            ("https://a.example", "http://127.0.0.1/login", false),
            ("https://a.example", "javascript:alert(1)", false),
            ("http://127.0.0.1:9", "http://[::1]:8/login", true),
            ("http://127.0.0.1:9", "http://a.example/login", false),
        ] {
            let page = page.parse().unwrap();
            assert_eq!(
                http(issuer).check_page(&page).is_ok(),
                allowed,
                "{issuer} {page}"
            );
        }
    }
}
