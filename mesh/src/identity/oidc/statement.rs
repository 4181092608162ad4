//! What an assertion over OpenID Connect says, as text. Pure.
//!
//! ```text
//! {"token": ID token, "contents": what it vouches for,
//!  "certificate": DER, "possession": signature by the certificate's key}     (both base64)
//! ```
//!
//! The token's `nonce` is the base64url form of SHA-256 over `contents`. The last two members are
//! the proof of possession of RFC 8844 section 3: without it, somebody who has a token of their own
//! could have it vouch for another's certificate. A browser's identity provider proxy has no access
//! to the certificate's key and leaves them out.

use data_encoding::{BASE64, BASE64URL_NOPAD};
use peerloom_actors::identity::verify_signature;
use peerloom_actors::{AssertionRequest, Fingerprint, IdentityError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// What the certificate's key signs begins with its length and this, so that it is never mistaken
/// for what a TLS or DTLS handshake signs.
const CONTEXT: &str = "peerloom/oidc-possession/1";

/// The assertion.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Statement {
    pub(super) token: String,
    pub(super) contents: String,
    #[serde(flatten)]
    pub(super) proof: Option<Proof>,
}

/// The proof of possession.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Proof {
    certificate: String,
    possession: String,
}

/// The nonce of tokens that vouch for `contents`.
pub(super) fn nonce(contents: &str) -> String {
    BASE64URL_NOPAD.encode(&Sha256::digest(contents.as_bytes()))
}

/// The assertion of this token, signed with the certificate's key.
pub(super) fn assert(request: &AssertionRequest, token: String) -> Result<String, IdentityError> {
    let message = message(&token, request.session_id);
    let possession = request.certificate.sign(&message);
    let possession = possession.map_err(|error| IdentityError::NotMade(error.to_string()))?;
    let statement = Statement {
        token,
        contents: request.contents.clone(),
        proof: Some(Proof {
            certificate: BASE64.encode(request.certificate.der()),
            possession: BASE64.encode(&possession),
        }),
    };
    serde_json::to_string(&statement).map_err(|error| IdentityError::NotMade(error.to_string()))
}

/// Reads an assertion.
pub(super) fn read(assertion: &str) -> Result<Statement, IdentityError> {
    serde_json::from_str(assertion)
        .map_err(|_| IdentityError::Refused("the assertion is malformed".into()))
}

impl Statement {
    /// Whether the key of the certificate that all `fingerprints` are of has signed this, for this
    /// session.
    pub(super) fn check_possession(
        &self,
        proof: &Proof,
        session_id: u64,
        fingerprints: &[Fingerprint],
    ) -> Result<(), IdentityError> {
        let decode = |text: &str| BASE64.decode(text.as_bytes()).map_err(|_| unproven());
        let (der, signature) = (decode(&proof.certificate)?, decode(&proof.possession)?);
        let ours = |fingerprint: &Fingerprint| fingerprint.matches(&der);
        if fingerprints.is_empty() || !fingerprints.iter().all(ours) {
            return Err(IdentityError::OtherCertificate);
        }
        let message = message(&self.token, session_id);
        verify_signature(&der, &message, &signature).map_err(|_| unproven())
    }

    /// The same for the same assertion, however it is written.
    pub(super) fn digest(&self, session_id: u64) -> [u8; 32] {
        let session = self.proof.as_ref().map(|_| session_id.to_be_bytes());
        let mut hash = Sha256::new();
        hash.update(self.token.as_bytes());
        hash.update(session.unwrap_or_default());
        hash.finalize().into()
    }
}

fn unproven() -> IdentityError {
    let why = "the assertion does not prove possession of the certificate's key";
    IdentityError::Refused(why.into())
}

fn message(token: &str, session_id: u64) -> Vec<u8> {
    let length = u8::try_from(CONTEXT.len()).unwrap_or(u8::MAX);
    let token = Sha256::digest(token.as_bytes());
    let session = session_id.to_be_bytes();
    [&[length], CONTEXT.as_bytes(), &token, &session].concat()
}
