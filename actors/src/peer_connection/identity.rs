//! A connection's dealings with its identity provider (W3C webrtc-identity), on the caller's
//! runtime.

use std::future::Future;
use std::sync::Arc;

use super::messages::{Asserted, SetIdentityProvider, ToValidate, Verdict};
use super::{ConnectionState, Handle, Identity, PeerConnection};
use crate::config::argument;
use crate::error::Error;
use crate::identity::{
    self, AssertionRequest, Current, IdentityError, IdentityProvider, IdentityProviderDetails,
    IdentityProviderOptions, PROVIDER_TIMEOUT, ValidatedIdentity, ValidationRequest,
};

impl PeerConnection {
    /// `setIdentityProvider` (W3C webrtc-identity section 9): who makes our assertions, from
    /// the next description on, and checks the peer's.
    ///
    /// `InvalidStateError` when closed; `SyntaxError` for a protocol with `/` or `\`.
    pub async fn set_identity_provider(
        &self,
        provider: Arc<dyn IdentityProvider>,
        options: IdentityProviderOptions,
    ) -> Result<(), Error> {
        if self.connection_state() == ConnectionState::Closed {
            return Err(self.handle.gone());
        }
        if !identity::is_protocol(&options.protocol) {
            let hint = "it becomes part of a path: leave slashes out";
            return Err(argument("SyntaxError", "a protocol with a slash", hint));
        }
        let provider = Some(provider);
        self.ask(SetIdentityProvider(Current { provider, options }))
            .await
    }

    /// `getIdentityAssertion`: asks the provider now, for instance to see whether the user has
    /// to log in. Resolves to a value of `a=identity`; descriptions get assertions of their own.
    ///
    /// `InvalidStateError` when closed; `OperationError` when there is no provider or it makes
    /// none.
    pub async fn get_identity_assertion(&self) -> Result<String, Error> {
        if self.connection_state() == ConnectionState::Closed {
            return Err(self.handle.gone());
        }
        let none = || IdentityError::NotMade("no identity provider is set".into());
        Ok(self.handle.assertion().await?.ok_or_else(none)?)
    }

    /// `idpLoginUrl`: where to log in, when that was the provider's latest complaint.
    pub fn idp_login_url(&self) -> Option<String> {
        self.read(|snapshot| snapshot.idp_login_url.clone())
    }

    /// `idpErrorInfo`: what the provider said about its latest error.
    pub fn idp_error_info(&self) -> Option<String> {
        self.read(|snapshot| snapshot.idp_error_info.clone())
    }

    /// `peerIdentity`: resolves when the peer has proved who it is, fails when it was
    /// refused, has sent no assertion, or the connection is over.
    pub async fn peer_identity(&self) -> Result<ValidatedIdentity, IdentityError> {
        let mut snapshot = self.handle.public.snapshot.clone();
        let settled = snapshot
            .wait_for(|s| {
                !matches!(s.identity, Identity::Unknown | Identity::Pending) || s.cause.is_some()
            })
            .await;
        match settled.as_deref().map(|s| &s.identity) {
            Ok(Identity::Valid(identity)) => Ok(identity.clone()),
            Ok(Identity::Refused(error) | Identity::Unproved(error)) => Err(error.clone()),
            Ok(Identity::Absent) => Err(IdentityError::Missing),
            Ok(Identity::Unknown | Identity::Pending) | Err(_) => Err(IdentityError::Aborted),
        }
    }
}

impl Handle {
    /// The value of our `a=identity`, when there is a provider.
    pub(super) async fn assertion(&self) -> Result<Option<String>, Error> {
        let Current { provider, options } = self.public.snapshot.borrow().idp.clone();
        let Some(provider) = provider else {
            return Ok(None);
        };
        let idp = IdentityProviderDetails {
            domain: provider.domain().to_owned(),
            protocol: options.protocol.clone(),
        };
        let outcome = self.generate(provider.as_ref(), options).await;
        let told = outcome.clone();
        self.ask(Asserted { idp, outcome: told }).await?;
        Ok(Some(outcome?))
    }

    async fn generate(
        &self,
        provider: &dyn IdentityProvider,
        mut options: IdentityProviderOptions,
    ) -> Result<String, IdentityError> {
        let protocol = options.protocol.clone();
        let target = || self.config.peer_identity.clone();
        options.peer_identity = options.peer_identity.or_else(target);
        let request = AssertionRequest {
            contents: identity::contents(std::slice::from_ref(self.certificate.fingerprint())),
            session_id: self.session_id,
            certificate: self.certificate.clone(),
            options,
        };
        let assertion = in_time(provider.generate_assertion(request)).await?;
        identity::encode_attribute(provider.domain(), &protocol, assertion)
    }

    /// Has the peer's assertion checked and tells the actor.
    pub(super) async fn validate(&self, to_validate: ToValidate) -> Result<(), Error> {
        let round = to_validate.round;
        let idp = identity::details(&to_validate.identity.assertion);
        let outcome = self.judge(to_validate).await;
        self.ask(Verdict {
            round,
            idp,
            outcome,
        })
        .await
    }

    async fn judge(&self, to_validate: ToValidate) -> Result<ValidatedIdentity, IdentityError> {
        let provider = self.public.snapshot.borrow().idp.provider.clone();
        let provider = provider.ok_or_else(|| IdentityError::Refused("no provider".into()))?;
        let peer = to_validate.identity;
        let (assertion, domain) = identity::decode_attribute(&peer.assertion)?;
        let fingerprints = peer.fingerprints;
        let request = ValidationRequest {
            assertion,
            domain,
            session_id: peer.session_id,
            fingerprints: fingerprints.clone(),
        };
        let identity = in_time(provider.validate_assertion(request)).await?;
        identity::check_contents(&identity.contents, &fingerprints)?;
        match &self.config.peer_identity {
            Some(expected) if *expected != identity.identity => Err(IdentityError::OtherIdentity {
                found: identity.identity,
                expected: expected.clone(),
            }),
            Some(_) | None => Ok(identity),
        }
    }
}

async fn in_time<T>(
    work: impl Future<Output = Result<T, IdentityError>>,
) -> Result<T, IdentityError> {
    let outcome = tokio::time::timeout(PROVIDER_TIMEOUT, work).await;
    outcome.unwrap_or(Err(IdentityError::TimedOut))
}
