//! Identity providers, in the shape of W3C webrtc-identity and RFC 8827.
//!
//! A provider vouches for this side's certificate fingerprints with an *assertion*
//! that travels in `a=identity`, and checks the peer's. It runs on the caller's
//! tokio runtime, never on an arbiter; no data flows before its verdict.

use std::sync::Arc;
use std::time::Duration;

use data_encoding::BASE64;
use futures::future::BoxFuture;
use peerloom_transports::proto::certificate::{Certificate, Fingerprint};
use serde::{Deserialize, Serialize};

use crate::cause::ErrorDetail;

/// For providers that prove possession of the certificate's key (RFC 8844 section 3).
pub use peerloom_transports::proto::certificate::verify as verify_signature;

/// How long a provider may take (W3C webrtc-identity section 8).
pub const PROVIDER_TIMEOUT: Duration = Duration::from_secs(15);

/// Longest assertion put into a description: what is left of a line of SDP after
/// base64 and the wrapping object.
pub const MAX_ASSERTION_LEN: usize = 8 * 1024;

/// Makes and checks identity assertions.
pub trait IdentityProvider: Send + Sync {
    /// The `idp.domain` that goes beside the assertion (RFC 8827 section 7.4.1).
    fn domain(&self) -> &str {
        "peerloom"
    }

    /// Asserts this side's identity over `request.contents`. The result is opaque to
    /// the connection and at most [`MAX_ASSERTION_LEN`] bytes long.
    fn generate_assertion(
        &self,
        request: AssertionRequest,
    ) -> BoxFuture<'_, Result<String, IdentityError>>;

    /// Checks the peer's assertion. Refusing fails the connection before any data flows.
    fn validate_assertion(
        &self,
        request: ValidationRequest,
    ) -> BoxFuture<'_, Result<ValidatedIdentity, IdentityError>>;
}

/// How a provider is to be used (`RTCIdentityProviderOptions`, W3C webrtc-identity section 9).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityProviderOptions {
    /// `protocol`: which of the provider's protocols; without `/` and `\`.
    pub protocol: String,
    /// `usernameHint`: for whom to make assertions.
    pub username_hint: Option<String>,
    /// `peerIdentity`: who will check them. The target of the configuration when `None`.
    pub peer_identity: Option<String>,
}

impl Default for IdentityProviderOptions {
    fn default() -> Self {
        IdentityProviderOptions {
            protocol: "default".to_owned(),
            username_hint: None,
            peer_identity: None,
        }
    }
}

/// The provider of a connection and how it is used.
#[derive(Clone, Default)]
pub(crate) struct Current {
    pub(crate) provider: Option<Arc<dyn IdentityProvider>>,
    pub(crate) options: IdentityProviderOptions,
}

impl std::fmt::Debug for Current {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Current")
            .field("provider", &self.provider.is_some())
            .field("options", &self.options)
            .finish()
    }
}

/// Who makes or has made an assertion (`RTCIdentityProviderDetails`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityProviderDetails {
    /// `domain`.
    pub domain: String,
    /// `protocol`.
    pub protocol: String,
}

/// Whether the name of a protocol may stand in the path of a URL.
pub(crate) fn is_protocol(name: &str) -> bool {
    !name.contains(['/', '\\'])
}

/// What an assertion has to vouch for.
#[derive(Debug, Clone)]
pub struct AssertionRequest {
    /// The contents of RFC 8827 section 7.4: a JSON object with our fingerprints,
    /// `{"fingerprint":[{"algorithm":"sha-256","digest":"AB:CD:…"}]}`.
    pub contents: String,
    /// Our session id, as in the `o=` line of our descriptions.
    pub session_id: u64,
    /// Our certificate, so that its key can prove possession.
    pub certificate: Certificate,
    /// What the application has asked for.
    pub options: IdentityProviderOptions,
}

/// An assertion to check.
#[derive(Debug, Clone)]
pub struct ValidationRequest {
    /// What the peer's provider made.
    pub assertion: String,
    /// The peer's `idp.domain`.
    pub domain: String,
    /// The peer's session id, as in the `o=` line of its description.
    pub session_id: u64,
    /// The fingerprints in the peer's description: the assertion must vouch for all.
    pub fingerprints: Vec<Fingerprint>,
}

/// The outcome of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ValidatedIdentity {
    /// Who the peer is.
    pub identity: String,
    /// The contents that the assertion vouches for, the JSON object of
    /// [`AssertionRequest::contents`]: anything that does not name every fingerprint of the
    /// peer's description is refused. A provider that has compared them itself says so with
    /// [`contents`].
    pub contents: String,
}

/// Why there is no valid identity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The provider refused, with its reason.
    #[error("refused by the identity provider: {0}")]
    Refused(String),
    /// The provider could not make an assertion.
    #[error("the identity provider made no assertion: {0}")]
    NotMade(String),
    /// The provider could not be asked, or answered with an error (`idp-load-failure`).
    #[error("the identity provider could not be asked: {reason}")]
    NotLoaded {
        /// Why.
        reason: String,
        /// `httpRequestStatusCode`: with which HTTP status it answered, if it did.
        status: Option<u16>,
    },
    /// The provider's TLS certificate is not trusted (`idp-tls-failure`).
    #[error("the identity provider's TLS certificate is not trusted: {0}")]
    NotTrusted(String),
    /// What the provider has granted holds no more (`idp-token-expired`).
    #[error("the identity provider's token has expired: {0}")]
    TokenExpired(String),
    /// What the provider is said to have granted does not hold (`idp-token-invalid`).
    #[error("the identity provider's token does not hold: {0}")]
    TokenInvalid(String),
    /// The user has to log in at the provider first, then ask again (W3C webrtc-identity
    /// section 6.1: `idp-need-login`, whose address becomes `idpLoginUrl`).
    #[error("the identity provider asks for a login at {url}")]
    LoginRequired {
        /// Where to log in, with a browser.
        url: String,
    },
    /// The peer sent none, but one is required.
    #[error("the peer sent no identity assertion")]
    Missing,
    /// `a=identity` is not base64 of the JSON object of RFC 8827 section 5.
    #[error("the identity attribute is malformed")]
    Malformed,
    /// The assertion vouches for other fingerprints than the description's.
    #[error("the assertion vouches for another certificate")]
    OtherCertificate,
    /// Somebody else than expected.
    #[error("the peer is {found:?}, not {expected:?}")]
    OtherIdentity {
        /// Who it is.
        found: String,
        /// Who was expected.
        expected: String,
    },
    /// This side could not check the identity, whoever the peer is: its own store failed, for
    /// instance. The peer has done nothing wrong.
    #[error("this side could not check the peer's identity: {0}")]
    Unchecked(String),
    /// The provider took longer than [`PROVIDER_TIMEOUT`].
    #[error("the identity provider did not answer in time")]
    TimedOut,
    /// The connection ended before the check did.
    #[error("the connection ended before the identity was checked")]
    Aborted,
}

impl IdentityError {
    /// `RTCError.errorDetail`, of errors in the dealings with a provider (W3C webrtc-identity
    /// section 8); `None` where it is the connection that is not content.
    pub fn error_detail(&self) -> Option<ErrorDetail> {
        match self {
            IdentityError::Refused(_) | IdentityError::NotMade(_) | IdentityError::Unchecked(_) => {
                Some(ErrorDetail::IdpExecutionFailure)
            }
            IdentityError::NotLoaded { .. } => Some(ErrorDetail::IdpLoadFailure),
            IdentityError::NotTrusted(_) => Some(ErrorDetail::IdpTlsFailure),
            IdentityError::TokenExpired(_) => Some(ErrorDetail::IdpTokenExpired),
            IdentityError::TokenInvalid(_) => Some(ErrorDetail::IdpTokenInvalid),
            IdentityError::LoginRequired { .. } => Some(ErrorDetail::IdpNeedLogin),
            IdentityError::TimedOut => Some(ErrorDetail::IdpTimeout),
            IdentityError::Missing
            | IdentityError::Malformed
            | IdentityError::OtherCertificate
            | IdentityError::OtherIdentity { .. }
            | IdentityError::Aborted => None,
        }
    }

    /// `RTCError.httpRequestStatusCode` (W3C webrtc-identity section 10), of `idp-load-failure`.
    pub fn http_request_status_code(&self) -> Option<u16> {
        if let IdentityError::NotLoaded { status, .. } = self {
            *status
        } else {
            None
        }
    }

    /// What the provider said, for `idpErrorInfo`.
    pub(crate) fn info(&self) -> Option<&str> {
        match self {
            IdentityError::Refused(info)
            | IdentityError::NotMade(info)
            | IdentityError::NotLoaded { reason: info, .. }
            | IdentityError::NotTrusted(info)
            | IdentityError::TokenExpired(info)
            | IdentityError::TokenInvalid(info) => Some(info),
            IdentityError::LoginRequired { .. }
            | IdentityError::Missing
            | IdentityError::Malformed
            | IdentityError::OtherCertificate
            | IdentityError::OtherIdentity { .. }
            | IdentityError::Unchecked(_)
            | IdentityError::TimedOut
            | IdentityError::Aborted => None,
        }
    }
}

/// The object in `a=identity` (RFC 8827 section 5).
#[derive(Serialize, Deserialize)]
struct Attribute {
    idp: Idp,
    assertion: String,
}

#[derive(Serialize, Deserialize)]
struct Idp {
    domain: String,
    #[serde(default)]
    protocol: String,
}

/// The contents object of RFC 8827 section 7.4.
#[derive(Serialize, Deserialize)]
struct Contents {
    fingerprint: Vec<ContentsFingerprint>,
}

#[derive(Serialize, Deserialize)]
struct ContentsFingerprint {
    algorithm: String,
    digest: String,
}

/// The contents object (RFC 8827 section 7.4) that names `fingerprints`.
#[must_use]
pub fn contents(fingerprints: &[Fingerprint]) -> String {
    let fingerprint = fingerprints.iter().map(contents_fingerprint).collect();
    // A struct of strings always serialises.
    serde_json::to_string(&Contents { fingerprint }).unwrap_or_default()
}

fn contents_fingerprint(fingerprint: &Fingerprint) -> ContentsFingerprint {
    let text = fingerprint.to_string();
    let (algorithm, digest) = text.split_once(' ').unwrap_or((&text, ""));
    ContentsFingerprint {
        algorithm: algorithm.into(),
        digest: digest.into(),
    }
}

/// The value of `a=identity`.
pub(crate) fn encode_attribute(
    domain: &str,
    protocol: &str,
    assertion: String,
) -> Result<String, IdentityError> {
    if assertion.is_empty() || assertion.len() > MAX_ASSERTION_LEN {
        return Err(IdentityError::NotMade(format!(
            "{} bytes long",
            assertion.len()
        )));
    }
    let idp = Idp {
        domain: domain.to_owned(),
        protocol: protocol.to_owned(),
    };
    let json = serde_json::to_vec(&Attribute { idp, assertion }).unwrap_or_default();
    Ok(BASE64.encode(&json))
}

/// Assertion and domain in a value of `a=identity` (RFC 8827 section 5).
///
/// # Errors
/// [`IdentityError::Malformed`] unless it is base64 of the JSON object described there.
pub fn decode_attribute(value: &str) -> Result<(String, String), IdentityError> {
    let attribute = read_attribute(value)?;
    Ok((attribute.assertion, attribute.idp.domain))
}

/// Who has made the assertion in a value of `a=identity`; `None` when it is malformed.
pub(crate) fn details(value: &str) -> Option<IdentityProviderDetails> {
    let idp = read_attribute(value).ok()?.idp;
    Some(IdentityProviderDetails {
        domain: idp.domain,
        protocol: idp.protocol,
    })
}

fn read_attribute(value: &str) -> Result<Attribute, IdentityError> {
    let malformed = |_| IdentityError::Malformed;
    // What follows the assertion are extensions, of which none is defined (RFC 8827 section 5).
    let encoded = value.trim().split([' ', ';']).next().unwrap_or_default();
    let json = BASE64.decode(encoded.as_bytes()).map_err(malformed)?;
    let attribute: Attribute =
        serde_json::from_slice(&json).map_err(|_| IdentityError::Malformed)?;
    if is_protocol(&attribute.idp.protocol) {
        Ok(attribute)
    } else {
        Err(IdentityError::Malformed)
    }
}

/// Whether what an assertion vouches for covers every fingerprint of the description (RFC 8827
/// sections 7.4 and 8).
///
/// # Errors
/// [`IdentityError::OtherCertificate`] if it does not, or is no such object.
pub fn check_contents(contents: &str, fingerprints: &[Fingerprint]) -> Result<(), IdentityError> {
    let contents: Contents =
        serde_json::from_str(contents).map_err(|_| IdentityError::OtherCertificate)?;
    let vouched: Vec<Fingerprint> = contents
        .fingerprint
        .iter()
        .filter_map(|f| Fingerprint::parse(&format!("{} {}", f.algorithm, f.digest)).ok())
        .collect();
    let all = fingerprints
        .iter()
        .all(|fingerprint| vouched.contains(fingerprint));
    all.then_some(()).ok_or(IdentityError::OtherCertificate)
}

#[cfg(test)]
mod tests {
    use super::*;
    use peerloom_transports::proto::certificate::HashFunction;

    #[test]
    fn attributes_round_trip_and_reject_nonsense() {
        let value = encode_attribute("idp.example", "default", "opaque \"text\"".into())
            .expect("short enough");
        let decoded = decode_attribute(&value).expect("own value");
        assert_eq!(
            decoded,
            ("opaque \"text\"".to_owned(), "idp.example".to_owned())
        );
        let extended = format!("{value} ext=1 other");
        assert_eq!(decode_attribute(&extended), Ok(decoded));
        let outside = encode_attribute("x", "../y", "z".into()).expect("short enough");
        assert_eq!(decode_attribute(&outside), Err(IdentityError::Malformed));
        for bad in ["", "!!!", "e30=", "bm8="] {
            assert_eq!(
                decode_attribute(bad),
                Err(IdentityError::Malformed),
                "{bad}"
            );
        }
        assert!(encode_attribute("x", "default", "y".repeat(MAX_ASSERTION_LEN + 1)).is_err());
    }

    #[test]
    fn contents_must_cover_every_fingerprint() {
        let (a, b) = (fingerprint(1), fingerprint(2));
        let both = contents(&[a.clone(), b.clone()]);
        assert_eq!(check_contents(&both, std::slice::from_ref(&a)), Ok(()));
        assert_eq!(check_contents(&both, &[a.clone(), b.clone()]), Ok(()));
        assert_eq!(
            check_contents(&contents(&[a]), std::slice::from_ref(&b)),
            Err(IdentityError::OtherCertificate)
        );
        for vague in ["", "{}", "\"yes\"", "{\"fingerprint\":[]}"] {
            assert_eq!(
                check_contents(vague, std::slice::from_ref(&b)),
                Err(IdentityError::OtherCertificate),
                "{vague}"
            );
        }
    }

    fn fingerprint(byte: u8) -> Fingerprint {
        Fingerprint::of(HashFunction::Sha256, &[byte])
    }
}
