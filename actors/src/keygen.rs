//! `RTCPeerConnection.generateCertificate` (W3C webrtc-pc section 4.9).

use std::time::Duration;

use peerloom_transports::clock;
use peerloom_transports::proto::certificate::{Certificate, VALIDITY};

use crate::config::argument;
use crate::error::Error;

/// A key generation algorithm of the Web Cryptography API, as `generateCertificate` takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeygenAlgorithm {
    /// `{ name: "ECDSA", namedCurve: … }`.
    Ecdsa {
        /// The curve of the key.
        named_curve: NamedCurve,
    },
    /// `{ name: "RSASSA-PKCS1-v1_5", … }`: refused, since the DTLS engine has no RSA.
    RsassaPkcs1V15 {
        /// `modulusLength`, in bits.
        modulus_length: u32,
    },
}

impl Default for KeygenAlgorithm {
    /// ECDSA on P-256, which RFC 8827 section 6.5 requires of everybody.
    fn default() -> Self {
        KeygenAlgorithm::Ecdsa {
            named_curve: NamedCurve::P256,
        }
    }
}

/// `EcKeyGenParams.namedCurve`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NamedCurve {
    /// `P-256`.
    P256,
    /// `P-384`: refused for own certificates; a peer's may have it.
    P384,
    /// `P-521`: refused.
    P521,
}

/// A fresh certificate. `expires` is the member of `RTCCertificateExpiration`: from now on, 30
/// days when `None`, 365 at most.
pub(crate) fn generate(
    algorithm: KeygenAlgorithm,
    expires: Option<Duration>,
) -> Result<Certificate, Error> {
    let what = match algorithm {
        KeygenAlgorithm::Ecdsa {
            named_curve: NamedCurve::P256,
        } => None,
        KeygenAlgorithm::Ecdsa { named_curve } => Some(format!("ECDSA on {named_curve:?}")),
        KeygenAlgorithm::RsassaPkcs1V15 { modulus_length } => {
            Some(format!("RSASSA-PKCS1-v1_5 with {modulus_length} bits"))
        }
    };
    if let Some(what) = what {
        let cause = format!("{what} is not supported");
        return Err(argument("NotSupportedError", cause, "use ECDSA on P-256"));
    }
    Certificate::generate_for(clock::wall_clock(), expires.unwrap_or(VALIDITY))
        .map_err(|error| argument("OperationError", error.to_string(), "is there entropy?"))
}
