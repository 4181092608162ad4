//! Checks ID tokens (OpenID Connect Core 1.0, section 3.1.3.7) and names who they are about.

use std::time::Duration;

use openidconnect::core::{
    CoreIdToken, CoreIdTokenVerifier, CoreJsonWebKeySet, CoreJwsSigningAlgorithm,
};
use openidconnect::{
    ClaimsVerificationError, ClientId, IssuerUrl, Nonce, SignatureVerificationError,
};
use peerloom_actors::IdentityError;

use super::name::{Claims, NameClaim};

/// How far the provider's clock may be ahead of ours, in seconds. As for presence in the mesh.
const MAX_CLOCK_SKEW_S: i64 = 120;

/// Signatures that count. Never one with a shared secret, and never none.
const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];

/// What tokens are held against.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    pub(super) issuer: IssuerUrl,
    /// Ours first; then others whose tokens count.
    pub(super) clients: Vec<ClientId>,
    /// The issuer's host: what follows the `@` in identities.
    pub(super) domain: String,
    pub(super) name: NameClaim,
    pub(super) max_age: Duration,
}

/// A token that holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Checked {
    pub(super) identity: String,
    /// Seconds since 1970.
    pub(super) expires: i64,
}

/// Why a token does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    /// Signed with a key that the provider may have got since.
    #[error("the ID token is signed with an unknown key")]
    UnknownKey,
    #[error("the ID token is malformed")]
    Malformed,
    #[error("the ID token does not hold: {0}")]
    Refused(String),
    #[error("the ID token is from the future")]
    Early,
    /// By its own account, or ours.
    #[error("the ID token is too old")]
    Expired,
    #[error("the ID token names no verified e-mail address of {0}")]
    NoName(String),
}

impl From<TokenError> for IdentityError {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Expired => IdentityError::TokenExpired(error.to_string()),
            TokenError::UnknownKey
            | TokenError::Malformed
            | TokenError::Refused(_)
            | TokenError::Early
            | TokenError::NoName(_) => IdentityError::TokenInvalid(error.to_string()),
        }
    }
}

impl Trust {
    /// Checks signature, issuer, audience, expiry, age and nonce, and names the subject.
    pub(super) fn check(
        &self,
        token: &str,
        keys: CoreJsonWebKeySet,
        nonce: &str,
        unix_s: i64,
    ) -> Result<Checked, TokenError> {
        let token: CoreIdToken = token.parse().map_err(|_| TokenError::Malformed)?;
        let nonce = Nonce::new(nonce.to_owned());
        let mut outcome = Err(TokenError::Malformed);
        for client in &self.clients {
            let (client, issuer) = (client.clone(), self.issuer.clone());
            let verifier = CoreIdTokenVerifier::new_public_client(client, issuer, keys.clone())
                .set_allowed_algs(ALGORITHMS);
            match token.claims(&verifier, &nonce) {
                Ok(claims) => return self.name_of(claims, unix_s),
                Err(error @ ClaimsVerificationError::InvalidAudience(_)) => {
                    outcome = Err(refusal(error));
                }
                Err(error) => return Err(refusal(error)),
            }
        }
        outcome
    }

    fn name_of(&self, claims: &Claims, unix_s: i64) -> Result<Checked, TokenError> {
        let age = unix_s.saturating_sub(claims.issue_time().timestamp());
        let max_age = i64::try_from(self.max_age.as_secs()).unwrap_or(i64::MAX);
        if age < -MAX_CLOCK_SKEW_S {
            return Err(TokenError::Early);
        }
        if age > max_age {
            return Err(TokenError::Expired);
        }
        Ok(Checked {
            identity: self
                .name
                .of(claims, &self.domain)
                .ok_or_else(|| TokenError::NoName(self.domain.clone()))?,
            expires: claims.expiration().timestamp(),
        })
    }
}

fn refusal(error: ClaimsVerificationError) -> TokenError {
    if let ClaimsVerificationError::SignatureVerification(
        SignatureVerificationError::NoMatchingKey,
    ) = error
    {
        return TokenError::UnknownKey;
    }
    if let ClaimsVerificationError::Expired(_) = error {
        return TokenError::Expired;
    }
    TokenError::Refused(error.to_string())
}
