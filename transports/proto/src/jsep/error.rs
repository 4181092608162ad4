//! What an offer/answer call answers when it refuses.

use crate::sdp;

/// Why a [`Session`](super::Session) call failed: the W3C name, the cause in plain
/// words and what to do about it. A call that fails changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The call does not fit the signaling state, or the session is closed.
    #[error("InvalidStateError: {cause} ({hint})")]
    InvalidState {
        /// What is wrong.
        cause: String,
        /// What to do.
        hint: &'static str,
    },
    /// The description was edited after it was created, or is out of date.
    #[error("InvalidModificationError: {cause} ({hint})")]
    InvalidModification {
        /// What is wrong.
        cause: String,
        /// What to do.
        hint: &'static str,
    },
    /// The operation was understood and cannot be carried out.
    #[error("OperationError: {cause} ({hint})")]
    Operation {
        /// What is wrong.
        cause: String,
        /// What to do.
        hint: &'static str,
    },
    /// The content of the description is not acceptable.
    #[error("InvalidAccessError: {cause} ({hint})")]
    InvalidAccess {
        /// What is wrong.
        cause: String,
        /// What to do.
        hint: &'static str,
    },
    /// A configuration value or argument has the wrong syntax.
    #[error("SyntaxError: {cause} ({hint})")]
    Syntax {
        /// What is wrong.
        cause: String,
        /// What to do.
        hint: &'static str,
    },
    /// A required argument is missing.
    #[error("TypeError: {cause} ({hint})")]
    Type {
        /// What is wrong.
        cause: String,
        /// What to do.
        hint: &'static str,
    },
    /// The text is not SDP: an `RTCError` with detail `sdp-syntax-error` and the line.
    #[error("RTCError (sdp-syntax-error): {source} (the text must reach this side unaltered)")]
    Sdp {
        /// Where and why the parser stopped.
        #[from]
        source: sdp::Error,
    },
}

impl Error {
    /// The name of the `DOMException` (or error class) that the W3C interface throws.
    pub fn name(&self) -> &'static str {
        match self {
            Self::InvalidState { .. } => "InvalidStateError",
            Self::InvalidModification { .. } => "InvalidModificationError",
            Self::Operation { .. } => "OperationError",
            Self::InvalidAccess { .. } => "InvalidAccessError",
            Self::Syntax { .. } => "SyntaxError",
            Self::Type { .. } => "TypeError",
            Self::Sdp { .. } => "RTCError",
        }
    }

    /// `RTCError.errorDetail`, for the variant that has one.
    pub fn detail(&self) -> Option<&'static str> {
        matches!(self, Self::Sdp { .. }).then_some("sdp-syntax-error")
    }

    /// `RTCError.sdpLineNumber`: the first line is 1.
    pub fn line(&self) -> Option<usize> {
        match self {
            Self::Sdp { source } => Some(source.line),
            Self::InvalidState { .. }
            | Self::InvalidModification { .. }
            | Self::Operation { .. }
            | Self::InvalidAccess { .. }
            | Self::Syntax { .. }
            | Self::Type { .. } => None,
        }
    }

    /// What is wrong, without the name.
    pub fn cause(&self) -> String {
        match self {
            Self::InvalidState { cause, .. }
            | Self::InvalidModification { cause, .. }
            | Self::Operation { cause, .. }
            | Self::InvalidAccess { cause, .. }
            | Self::Syntax { cause, .. }
            | Self::Type { cause, .. } => cause.clone(),
            Self::Sdp { source } => source.to_string(),
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::InvalidState { hint, .. }
            | Self::InvalidModification { hint, .. }
            | Self::Operation { hint, .. }
            | Self::InvalidAccess { hint, .. }
            | Self::Syntax { hint, .. }
            | Self::Type { hint, .. } => hint,
            Self::Sdp { .. } => "the text must reach this side unaltered",
        }
    }
}

pub(super) fn invalid_state(cause: impl Into<String>, hint: &'static str) -> Error {
    Error::InvalidState {
        cause: cause.into(),
        hint,
    }
}

pub(super) fn invalid_modification(cause: impl Into<String>, hint: &'static str) -> Error {
    Error::InvalidModification {
        cause: cause.into(),
        hint,
    }
}

pub(super) fn operation(cause: impl Into<String>, hint: &'static str) -> Error {
    Error::Operation {
        cause: cause.into(),
        hint,
    }
}

pub(super) fn invalid_access(cause: impl Into<String>, hint: &'static str) -> Error {
    Error::InvalidAccess {
        cause: cause.into(),
        hint,
    }
}

pub(super) fn type_error(cause: impl Into<String>, hint: &'static str) -> Error {
    Error::Type {
        cause: cause.into(),
        hint,
    }
}
