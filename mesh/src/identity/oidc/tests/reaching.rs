//! Providers that cannot be asked, and what each is called (webrtc-identity section 8).

use std::sync::Arc;

use peerloom_actors::{IdentityError, IdentityProvider as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::{OidcConfig, OidcProvider, certificate, request};

async fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    (listener, port)
}

/// What becomes of an assertion by this provider.
async fn asked(issuer: &str) -> IdentityError {
    let provider = OidcProvider::new(OidcConfig::new(issuer, "us")).unwrap();
    let asked = provider.generate_assertion(request(&certificate())).await;
    asked.unwrap_err()
}

#[tokio::test]
async fn an_answer_that_says_no_is_told_with_its_status() {
    let (listener, port) = listener().await;
    let answers = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut request = [0; 1024];
        assert_ne!(socket.read(&mut request).await.unwrap(), 0);
        let answer = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";
        socket.write_all(answer).await.unwrap();
    });
    let error = asked(&format!("http://127.0.0.1:{port}")).await;
    answers.await.unwrap();
    assert_eq!(error.http_request_status_code(), Some(503), "{error}");
    let detail = error.error_detail().map(|it| it.name());
    assert_eq!(detail, Some("idp-load-failure"));
}

#[tokio::test]
async fn a_provider_that_is_not_there_has_no_status() {
    let (listener, port) = listener().await;
    drop(listener);
    let error = asked(&format!("http://127.0.0.1:{port}")).await;
    assert!(
        matches!(error, IdentityError::NotLoaded { status: None, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn a_certificate_that_nobody_vouches_for_is_not_trusted() {
    let (listener, port) = listener().await;
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![own.cert.der().clone()], key)
        .unwrap();
    let serves = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        TlsAcceptor::from(Arc::new(config)).accept(socket).await
    });
    let error = asked(&format!("https://localhost:{port}")).await;
    assert!(matches!(error, IdentityError::NotTrusted(_)), "{error}");
    assert!(serves.await.unwrap().is_err());
}
