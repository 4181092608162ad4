//! What a provider keeps: tokens granted, logins under way, assertions seen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use openidconnect::core::{CoreAuthenticationFlow, CoreClient, CoreProviderMetadata};
use openidconnect::{
    ClientId, ClientSecret, CsrfToken, DiscoveryError, LoginHint, Nonce, OAuth2TokenResponse as _,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, Scope, TokenResponse as _,
};
use peerloom_actors::{IdentityError, ValidatedIdentity, ValidationRequest};
use peerloom_mesh_proto::replay::SeenCache;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::discovery::{Discovery, MAX_AGE};
use super::http::{Http, HttpError};
use super::login::Redirect;
use super::statement::{self, nonce};
use super::token::{Checked, TokenError, Trust};
use super::{OidcConfig, OidcError, Possession};
use crate::clock::time;

/// How often keys are fetched again because a token is signed with an unknown one: anybody can send
/// such tokens.
const KEYS_AGAIN: Duration = Duration::from_secs(60);
/// A token that expires sooner than this is not used again, in seconds.
const MARGIN_S: i64 = 60;
/// Tokens kept, one for each certificate. Filled by our own assertions; overflow forgets the one
/// that expires first.
const MAX_GRANTS: usize = 16;
/// Logins under way. Filled by our own assertions; overflow gives up the oldest.
const MAX_LOGINS: usize = 4;
/// Assertions remembered in each of two generations. Filled by peers with valid ones; overflow
/// forgets the oldest.
const REMEMBERED: usize = 4096;

/// How a login went; `None` while it is under way.
type Progress = watch::Receiver<Option<Result<(), OidcError>>>;

struct Grant {
    token: String,
    expires: i64,
    refresh: Option<RefreshToken>,
}

struct Login {
    nonce: String,
    hint: Option<String>,
    url: String,
    progress: Progress,
    task: AbortHandle,
}

struct State {
    grants: BTreeMap<String, Grant>,
    logins: Vec<Login>,
    /// In which session an assertion was seen.
    seen: SeenCache<[u8; 32], u64>,
}

pub(super) struct Core {
    config: OidcConfig,
    trust: Trust,
    http: Http,
    discovery: Discovery,
    /// Held for a look or a change, never while anything is waited for.
    state: Mutex<State>,
}

/// What is needed to make a token of a code.
struct Pending {
    nonce: String,
    state: CsrfToken,
    verifier: PkceCodeVerifier,
    redirect: Redirect,
}

fn not_made(error: impl std::fmt::Display) -> IdentityError {
    IdentityError::NotMade(error.to_string())
}

/// Why the provider could not be asked for its metadata or keys.
fn not_loaded(error: &DiscoveryError<HttpError>) -> IdentityError {
    let reason = with_source(error);
    if let DiscoveryError::Request(HttpError::TimedOut) = error {
        return IdentityError::TimedOut;
    }
    if let DiscoveryError::Request(HttpError::NotTrusted { .. }) = error {
        return IdentityError::NotTrusted(reason);
    }
    let status = if let DiscoveryError::Response(status, ..) = error {
        Some(status.as_u16())
    } else {
        None
    };
    IdentityError::NotLoaded { reason, status }
}

fn unix_s() -> i64 {
    i64::try_from(time().unix_ms / 1000).unwrap_or(i64::MAX)
}

/// The client as the metadata describes it, with our secret if there is one.
macro_rules! client {
    ($self:ident, $metadata:ident) => {
        CoreClient::from_provider_metadata(
            (*$metadata).clone(),
            ClientId::new($self.config.client_id.clone()),
            $self.config.client_secret.clone().map(ClientSecret::new),
        )
    };
}

impl Core {
    pub(super) fn new(config: OidcConfig, trust: Trust, http: Http) -> Self {
        let seen = SeenCache::new(config.max_token_age, REMEMBERED, time().now);
        Self {
            config,
            trust,
            http,
            discovery: Discovery::default(),
            state: Mutex::new(State {
                grants: BTreeMap::new(),
                logins: Vec::new(),
                seen,
            }),
        }
    }

    pub(super) fn domain(&self) -> &str {
        &self.trust.domain
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The provider's metadata and keys, not older than `age`.
    async fn discover(&self, age: Duration) -> Result<Arc<CoreProviderMetadata>, IdentityError> {
        let ask = async {
            let issuer = self.trust.issuer.clone();
            let found = CoreProviderMetadata::discover_async(issuer, &self.http).await;
            let found = found.map_err(|error| not_loaded(&error))?;
            let page = self.http.check_page(found.authorization_endpoint().url());
            page.map_err(IdentityError::NotMade)?;
            Ok(found)
        };
        self.discovery.get(age, ask, || time().now).await
    }

    /// A token for these contents: kept, refreshed, or after a login.
    /// `hint` says for whom (`usernameHint`), should a login be needed.
    pub(super) async fn token(
        self: &Arc<Self>,
        contents: &str,
        hint: Option<&str>,
    ) -> Result<String, IdentityError> {
        let nonce = nonce(contents);
        let refresh = match self.state().grants.get(&nonce) {
            Some(grant) if grant.expires - MARGIN_S > unix_s() => return Ok(grant.token.clone()),
            Some(grant) => grant.refresh.clone(),
            None => None,
        };
        if let Some(refresh) = refresh {
            match self.refresh(&nonce, &refresh).await {
                Ok(token) => return Ok(token),
                // Expired or revoked: the owner has to log in again.
                Err(error) => tracing::debug!(%error, "the refresh token was not taken"),
            }
        }
        self.begin_login(nonce, hint).await
    }

    async fn refresh(&self, nonce: &str, refresh: &RefreshToken) -> Result<String, String> {
        let metadata = self.discover(MAX_AGE).await;
        let metadata = metadata.map_err(|error| error.to_string())?;
        let client = client!(self, metadata);
        let request = client.exchange_refresh_token(refresh);
        let request = request.map_err(|error| error.to_string())?;
        let answer = request.request_async(&self.http).await;
        let answer = answer.map_err(|error| with_source(&error))?;
        let token = answer.id_token().ok_or("no ID token was granted")?;
        let next = answer.refresh_token().unwrap_or(refresh).clone();
        self.keep(nonce, token.to_string(), Some(next)).await
    }

    /// Takes a token in whose nonce is the one asked for.
    async fn keep(
        &self,
        nonce: &str,
        token: String,
        refresh: Option<RefreshToken>,
    ) -> Result<String, String> {
        let checked = self.check(&token, nonce).await;
        let checked = checked.map_err(|error| error.to_string())?;
        let mut state = self.state();
        let grant = Grant {
            token: token.clone(),
            expires: checked.expires,
            refresh,
        };
        state.grants.insert(nonce.to_owned(), grant);
        while state.grants.len() > MAX_GRANTS {
            let first = state.grants.iter().min_by_key(|(_, grant)| grant.expires);
            let Some(first) = first.map(|(nonce, _)| nonce.clone()) else {
                break;
            };
            state.grants.remove(&first);
        }
        Ok(token)
    }

    /// Checks a token, with keys fetched again if it is signed with an unknown one.
    async fn check(&self, token: &str, nonce: &str) -> Result<Checked, IdentityError> {
        let metadata = self.discover(MAX_AGE).await?;
        let keys = metadata.jwks().clone();
        match self.trust.check(token, keys, nonce, unix_s()) {
            Err(TokenError::UnknownKey) => {}
            outcome => return Ok(outcome?),
        }
        let metadata = self.discover(KEYS_AGAIN).await?;
        let keys = metadata.jwks().clone();
        Ok(self.trust.check(token, keys, nonce, unix_s())?)
    }

    /// Names the page to log in at, and waits for the browser beside the caller.
    async fn begin_login(
        self: &Arc<Self>,
        nonce: String,
        hint: Option<&str>,
    ) -> Result<String, IdentityError> {
        if let Some(url) = self.state().login_url(&nonce, hint) {
            return Err(IdentityError::LoginRequired { url });
        }
        let metadata = self.discover(MAX_AGE).await?;
        let redirect = Redirect::listen(self.config.redirect_port).await;
        let redirect = redirect.map_err(not_made)?;
        let back = RedirectUrl::new(redirect.address.clone()).map_err(not_made)?;
        let client = client!(self, metadata).set_redirect_uri(back);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let asked = Nonce::new(nonce.clone());
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let mut page = client
            .authorize_url(flow, CsrfToken::new_random, move || asked)
            .add_scopes(self.config.scopes.iter().cloned().map(Scope::new))
            .set_pkce_challenge(challenge);
        if let Some(hint) = hint {
            page = page.set_login_hint(LoginHint::new(hint.to_owned()));
        }
        let (url, state, _) = page.url();
        let pending = Pending {
            nonce: nonce.clone(),
            state,
            verifier,
            redirect,
        };
        let (tell, progress) = watch::channel(None);
        let core = Arc::downgrade(self);
        let task = tokio::spawn(async move {
            let outcome = match pending.redirect_code().await {
                Ok((pending, code)) => match core.upgrade() {
                    Some(core) => core.finish_login(pending, code).await,
                    None => return,
                },
                Err(error) => Err(error),
            };
            tell.send_replace(Some(outcome.map_err(OidcError::Login)));
        });
        let login = Login {
            nonce,
            hint: hint.map(str::to_owned),
            url: url.to_string(),
            progress,
            task: task.abort_handle(),
        };
        self.state().add_login(login);
        Err(IdentityError::LoginRequired {
            url: url.to_string(),
        })
    }

    async fn finish_login(&self, finished: Finished, code: Code) -> Result<(), String> {
        let metadata = self.discover(MAX_AGE).await;
        let metadata = metadata.map_err(|error| error.to_string())?;
        let back = RedirectUrl::new(finished.address).map_err(|error| error.to_string())?;
        let client = client!(self, metadata).set_redirect_uri(back);
        let request = client.exchange_code(code);
        let request = request.map_err(|error| error.to_string())?;
        let request = request.set_pkce_verifier(finished.verifier);
        let answer = request.request_async(&self.http).await;
        let answer = answer.map_err(|error| with_source(&error))?;
        let token = answer.id_token().ok_or("no ID token was granted")?;
        let refresh = answer.refresh_token().cloned();
        self.keep(&finished.nonce, token.to_string(), refresh)
            .await?;
        Ok(())
    }

    pub(super) async fn logged_in(&self) -> Result<(), OidcError> {
        let last = self
            .state()
            .logins
            .last()
            .map(|login| login.progress.clone());
        let mut progress = last.ok_or(OidcError::NoLogin)?;
        let ended = progress.wait_for(Option::is_some).await;
        let given_up = || Err(OidcError::Login("given up".into()));
        ended.map_or_else(
            |_| given_up(),
            |outcome| outcome.clone().unwrap_or_else(given_up),
        )
    }

    /// Domain, token, possession, replay: in this order, so that nothing is remembered that does
    /// not hold.
    pub(super) async fn validate(
        &self,
        request: ValidationRequest,
    ) -> Result<ValidatedIdentity, IdentityError> {
        let refused = |why: &str| Err(IdentityError::Refused(why.to_owned()));
        if !request.domain.eq_ignore_ascii_case(&self.trust.domain) {
            return refused("the assertion is of another identity provider");
        }
        let statement = statement::read(&request.assertion)?;
        match (&statement.proof, self.config.possession) {
            (Some(proof), _) => {
                let prints = &request.fingerprints;
                statement.check_possession(proof, request.session_id, prints)?;
            }
            (None, Possession::WhereGiven) => {}
            (None, Possession::Required) => {
                return refused("the assertion does not prove possession of the certificate's key");
            }
        }
        peerloom_actors::identity::check_contents(&statement.contents, &request.fingerprints)?;
        let checked = self
            .check(&statement.token, &nonce(&statement.contents))
            .await?;
        let digest = statement.digest(request.session_id);
        if self.state().was_seen(digest, request.session_id) {
            return refused("the assertion was used before, in another session");
        }
        Ok(ValidatedIdentity {
            identity: checked.identity,
            contents: statement.contents,
        })
    }
}

type Code = openidconnect::AuthorizationCode;

/// A login whose browser has come back.
struct Finished {
    nonce: String,
    verifier: PkceCodeVerifier,
    address: String,
}

impl Pending {
    async fn redirect_code(self) -> Result<(Finished, Code), String> {
        let address = self.redirect.address.clone();
        let code = self.redirect.code(&self.state).await;
        let code = code.map_err(|refusal| refusal.to_string())?;
        let (nonce, verifier) = (self.nonce, self.verifier);
        let finished = Finished {
            nonce,
            verifier,
            address,
        };
        Ok((finished, code))
    }
}

impl State {
    /// Where to log in, if such a login is under way.
    fn login_url(&self, nonce: &str, hint: Option<&str>) -> Option<String> {
        let same = |login: &Login| login.nonce == nonce && login.hint.as_deref() == hint;
        let waits = |login: &&Login| same(login) && login.progress.borrow().is_none();
        let login = self.logins.iter().find(waits);
        login.map(|login| login.url.clone())
    }

    fn add_login(&mut self, login: Login) {
        // Who waits for one that has ended has a receiver of its own.
        self.logins
            .retain(|login| login.progress.borrow().is_none());
        if self.logins.len() == MAX_LOGINS {
            self.logins.remove(0).task.abort();
        }
        self.logins.push(login);
    }

    /// Whether the assertion was seen in another session than this one; remembers it.
    fn was_seen(&mut self, digest: [u8; 32], session_id: u64) -> bool {
        if let Some(session) = self.seen.get(&digest) {
            return *session != session_id;
        }
        self.seen.insert(digest, session_id, time().now);
        false
    }
}

impl Drop for State {
    /// Nobody can use what comes of them any more.
    fn drop(&mut self) {
        for login in &self.logins {
            login.task.abort();
        }
    }
}

/// An error with what lies below it: the upper ones say little.
fn with_source(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut below = error.source();
    while let Some(error) = below {
        text = format!("{text}: {error}");
        below = error.source();
    }
    text
}
