//! An identity provider that speaks OpenID Connect (feature `oidc`).
//!
//! The account somebody has elsewhere vouches for their peer connections: an ID token whose `nonce`
//! is the hash of the certificate fingerprints travels in `a=identity`, with a proof that its sender
//! holds the certificate's key (RFC 8844), and the other side checks it with the keys that the
//! provider publishes. Nobody but the provider has to be trusted, and it sees hashes only.
//!
//! ```no_run
//! use std::sync::Arc;
//! use peerloom_mesh::{OidcConfig, OidcProvider};
//!
//! # fn main() -> Result<(), peerloom_mesh::OidcError> {
//! let config = OidcConfig::new("https://accounts.example.com", "my-client");
//! let provider = Arc::new(OidcProvider::new(config)?);
//! // Configuration { identity_provider: Some(provider.clone()), .. }
//! # Ok(())
//! # }
//! ```
//!
//! # Logging in
//!
//! A token for a certificate that none was issued for yet needs its owner: making an assertion fails
//! with [`IdentityError::LoginRequired`] (`idpLoginUrl`), which names a page to open in a browser.
//! Meanwhile a port on this machine waits for the browser to come back (RFC 8252), with PKCE
//! (RFC 7636); `usernameHint` becomes its `login_hint`. [`OidcProvider::logged_in`] waits for that;
//! then ask again. Later assertions for the
//! same certificate use the token again, or a refresh token where one was granted (scope
//! `offline_access`): keep the certificate (`Configuration::certificates`) to log in once.

mod core;
mod discovery;
mod http;
mod login;
mod name;
mod reach;
mod statement;
#[cfg(test)]
mod tests;
mod token;

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use openidconnect::{ClientId, IssuerUrl};
use peerloom_actors::{
    AssertionRequest, IdentityError, IdentityProvider, ValidatedIdentity, ValidationRequest,
};

use self::core::Core;
use self::http::Http;
pub use self::name::NameClaim;
use self::token::Trust;

/// How old an ID token may be, as a default. Guess: providers issue them for an hour.
pub const DEFAULT_TOKEN_AGE: Duration = Duration::from_secs(3600);

/// Settings of an [`OidcProvider`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct OidcConfig {
    /// The issuer (OpenID Connect Discovery 1.0 section 2): `https`, or `http` on this machine.
    pub issuer: String,
    /// This application's id at the provider; tokens for another one do not count.
    pub client_id: String,
    /// Ids that peers may have tokens for as well, such as that of the same application as a page.
    pub audiences: Vec<String>,
    /// Its secret, for the few providers that want one of native applications. Sent to the
    /// provider's token endpoint only.
    pub client_secret: Option<String>,
    /// Scopes beside `openid`; `offline_access` asks for a refresh token.
    pub scopes: Vec<String>,
    /// What a peer is called.
    pub name: NameClaim,
    /// Whether peers must prove that they hold their certificate's key (RFC 8844 section 3). A
    /// browser's provider proxy cannot; everybody else can.
    pub possession: Possession,
    /// How old a token may be.
    pub max_token_age: Duration,
    /// The port on this machine that logins come back to; 0 for any.
    pub redirect_port: u16,
    /// Certificate authorities (DER) to trust beside the system's, for the provider's HTTPS.
    pub authorities: Vec<Vec<u8>>,
}

/// Whether an assertion must prove possession of the certificate's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Possession {
    /// Without a proof it is refused.
    Required,
    /// A proof is checked where there is one: for browsers.
    WhereGiven,
}

impl OidcConfig {
    /// Tokens of this issuer for this client, peers named by subject, possession required.
    #[must_use]
    pub fn new(issuer: impl Into<String>, client_id: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            client_id: client_id.into(),
            audiences: Vec::new(),
            client_secret: None,
            scopes: Vec::new(),
            name: NameClaim::Subject,
            possession: Possession::Required,
            max_token_age: DEFAULT_TOKEN_AGE,
            redirect_port: 0,
            authorities: Vec::new(),
        }
    }
}

/// Why an [`OidcProvider`] cannot be used, or nobody logged in.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OidcError {
    /// The issuer is no `https` address, nor one of this machine.
    #[error("{0:?} cannot be an issuer: it is neither https nor on this machine")]
    Issuer(String),
    /// TLS cannot be set up, for instance because of an authority that is no certificate.
    #[error("TLS cannot be set up: {0}")]
    Tls(String),
    /// No login was begun: make an assertion first.
    #[error("no login is under way")]
    NoLogin,
    /// The login failed, with the reason.
    #[error("the login failed: {0}")]
    Login(String),
}

/// An [`IdentityProvider`] on top of an OpenID Connect provider; one serves any number of
/// connections. Its futures need a tokio runtime with sockets and timers.
pub struct OidcProvider {
    core: Arc<Core>,
}

impl std::fmt::Debug for OidcProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OidcProvider({})", self.domain())
    }
}

impl OidcProvider {
    /// A provider; nothing is fetched before it is needed.
    ///
    /// # Errors
    /// [`OidcError::Issuer`] and [`OidcError::Tls`].
    pub fn new(config: OidcConfig) -> Result<Self, OidcError> {
        let bad = || OidcError::Issuer(config.issuer.clone());
        let issuer = IssuerUrl::new(config.issuer.clone()).map_err(|_| bad())?;
        let host = issuer.url().host_str().ok_or_else(bad)?;
        let local = http::is_local(host.trim_matches(['[', ']']));
        if issuer.url().scheme() != "https" && !(local && issuer.url().scheme() == "http") {
            return Err(bad());
        }
        let http = Http::new(&config.authorities, issuer.url())
            .map_err(|e| OidcError::Tls(e.to_string()))?;
        let clients = std::iter::once(&config.client_id).chain(&config.audiences);
        let trust = Trust {
            clients: clients.cloned().map(ClientId::new).collect(),
            domain: host.to_owned(),
            issuer,
            name: config.name.clone(),
            max_age: config.max_token_age,
        };
        let core = Arc::new(Core::new(config, trust, http));
        Ok(Self { core })
    }

    /// Waits until the login that was begun last has ended.
    ///
    /// # Errors
    /// [`OidcError::NoLogin`] if none was begun, [`OidcError::Login`] if it failed.
    pub async fn logged_in(&self) -> Result<(), OidcError> {
        self.core.logged_in().await
    }
}

impl IdentityProvider for OidcProvider {
    /// The issuer's host.
    fn domain(&self) -> &str {
        self.core.domain()
    }

    fn generate_assertion(
        &self,
        request: AssertionRequest,
    ) -> BoxFuture<'_, Result<String, IdentityError>> {
        async move {
            let hint = request.options.username_hint.as_deref();
            let token = self.core.token(&request.contents, hint).await?;
            statement::assert(&request, token)
        }
        .boxed()
    }

    fn validate_assertion(
        &self,
        request: ValidationRequest,
    ) -> BoxFuture<'_, Result<ValidatedIdentity, IdentityError>> {
        self.core.validate(request).boxed()
    }
}
