//! A connection's dealings with its identity provider (W3C webrtc-identity), on the caller's
//! runtime.

use std::future::Future;

use super::messages::{ToValidate, Verdict};
use super::{Handle, Identity, PeerConnection};
use crate::error::Error;
use crate::identity::{
    self, AssertionRequest, IdentityError, PROVIDER_TIMEOUT, ValidatedIdentity, ValidationRequest,
};

impl PeerConnection {
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
            Ok(Identity::Refused(error)) => Err(error.clone()),
            Ok(Identity::Absent) => Err(IdentityError::Missing),
            Ok(Identity::Unknown | Identity::Pending) | Err(_) => Err(IdentityError::Aborted),
        }
    }
}

impl Handle {
    /// The value of our `a=identity`, when there is a provider.
    pub(super) async fn assertion(&self) -> Result<Option<String>, Error> {
        let Some(provider) = self.config.identity_provider.clone() else {
            return Ok(None);
        };
        let request = AssertionRequest {
            contents: identity::contents(std::slice::from_ref(self.certificate.fingerprint())),
            session_id: self.session_id,
            certificate: self.certificate.clone(),
        };
        let assertion = in_time(provider.generate_assertion(request)).await?;
        Ok(Some(identity::encode_attribute(
            provider.domain(),
            assertion,
        )?))
    }

    /// Has the peer's assertion checked and tells the actor.
    pub(super) async fn validate(&self, to_validate: ToValidate) -> Result<(), Error> {
        let round = to_validate.round;
        let outcome = self.judge(to_validate).await;
        self.ask(Verdict { round, outcome }).await
    }

    async fn judge(&self, to_validate: ToValidate) -> Result<ValidatedIdentity, IdentityError> {
        let provider = self.config.identity_provider.clone();
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
