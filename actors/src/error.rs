//! What calls on a peer connection answer when they refuse.

use peerloom_transports::proto::jsep;

use crate::cause::{Cause, ErrorDetail};
use crate::identity::IdentityError;
use crate::runtime::RuntimeError;

/// Why a call on a [`PeerConnection`](crate::PeerConnection) failed. [`Error::name`] is
/// the name that the W3C interface uses.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The offer/answer state machine refused.
    #[error(transparent)]
    Negotiation(#[from] jsep::Error),
    /// The connection is closed or failed.
    #[error("InvalidStateError: the connection is over: {cause} ({})", cause.hint())]
    Closed {
        /// Why.
        cause: Cause,
    },
    /// A configuration or argument makes no sense.
    #[error("{name}: {cause} ({hint})")]
    Argument {
        /// The W3C name: `InvalidAccessError`, `SyntaxError`, `TypeError`, `NotSupportedError`.
        name: &'static str,
        /// What is wrong.
        cause: String,
        /// What to do.
        hint: &'static str,
    },
    /// Making or checking an identity assertion failed.
    #[error("OperationError: {0} (see the identity provider)")]
    Identity(#[from] IdentityError),
    /// A limit was reached.
    #[error("OperationError: {cause} ({hint})")]
    Limit {
        /// Which one.
        cause: &'static str,
        /// What to do.
        hint: &'static str,
    },
    /// The actors' threads are gone.
    #[error("InvalidStateError: the actor runtime has stopped (keep it while connections live)")]
    RuntimeStopped,
}

impl Error {
    /// The name of the `DOMException` (or error class) that the W3C interface throws.
    pub fn name(&self) -> &'static str {
        match self {
            Error::Negotiation(error) => error.name(),
            Error::Closed { .. } | Error::RuntimeStopped => "InvalidStateError",
            Error::Argument { name, .. } => name,
            Error::Identity(_) | Error::Limit { .. } => "OperationError",
        }
    }
}

impl Error {
    /// `RTCError.errorDetail`, of errors that are an `RTCError` (W3C webrtc-pc section 11.1).
    pub fn error_detail(&self) -> Option<ErrorDetail> {
        if let Error::Identity(error) = self {
            return error.error_detail();
        }
        self.sdp_line_number().map(|_| ErrorDetail::SdpSyntaxError)
    }

    /// `RTCError.httpRequestStatusCode` (W3C webrtc-identity section 10): how an identity provider
    /// answered that could not be used.
    pub fn http_request_status_code(&self) -> Option<u16> {
        if let Error::Identity(error) = self {
            error.http_request_status_code()
        } else {
            None
        }
    }

    /// `RTCError.sdpLineNumber`: where a description could not be read; the first line is 1.
    pub fn sdp_line_number(&self) -> Option<usize> {
        match self {
            Error::Negotiation(error) => error.line(),
            Error::Closed { .. }
            | Error::Argument { .. }
            | Error::Identity(_)
            | Error::Limit { .. }
            | Error::RuntimeStopped => None,
        }
    }
}

impl From<RuntimeError> for Error {
    fn from(_: RuntimeError) -> Self {
        Error::RuntimeStopped
    }
}
