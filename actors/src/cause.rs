//! Why a connection or a channel is no more.

use peerloom_transports::proto::dtls::Alert;
use peerloom_transports::proto::sctp::{CloseReason, ErrorCause};

use crate::identity::IdentityError;
use crate::supervisor::Death;

/// The kind of an actor of one peer connection.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum ActorKind {
    /// The connection's own actor, parent of the others.
    PeerConnection,
    /// Holds the ICE engine.
    IceAgent,
    /// Holds the DTLS engine.
    DtlsTransport,
    /// Holds the SCTP and data channel engines.
    SctpTransport,
    /// Holds the QUIC and data channel engines, where QUIC carries them.
    QuicTransport,
    /// One data channel, by label.
    DataChannel(String),
}

impl std::fmt::Display for ActorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ActorKind::PeerConnection => f.write_str("peer connection"),
            ActorKind::IceAgent => f.write_str("ICE agent"),
            ActorKind::DtlsTransport => f.write_str("DTLS transport"),
            ActorKind::SctpTransport => f.write_str("SCTP transport"),
            ActorKind::QuicTransport => f.write_str("QUIC transport"),
            ActorKind::DataChannel(label) => write!(f, "data channel {label:?}"),
        }
    }
}

/// Why a connection failed or closed, or a channel with it. [`Cause::code`] is stable,
/// the text says what happened, [`Cause::hint`] what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Cause {
    /// This side closed it.
    #[error("closed here")]
    ClosedLocally,
    /// The peer closed it.
    #[error("closed by the peer")]
    ClosedByPeer,
    /// No pair of addresses worked, or the selected one went silent.
    #[error("ICE failed: {0}")]
    Ice(String),
    /// The peer's certificate is not the one its description promised.
    #[error("the peer's certificate does not match the fingerprint in its description")]
    Fingerprint {
        /// The fatal alert that has told the peer; `None` where DTLS 1.3 was negotiated.
        sent_alert: Option<u8>,
    },
    /// The DTLS handshake or transport failed.
    #[error("DTLS failed: {0}")]
    Dtls(String),
    /// This side ended DTLS with a fatal alert of this number.
    #[error("DTLS failed: {reason}")]
    DtlsRefused {
        /// Why.
        reason: String,
        /// The alert (RFC 8446 section 6).
        sent_alert: u8,
    },
    /// The peer ended DTLS with a fatal alert of this number (RFC 8446 section 6).
    #[error("DTLS failed: the peer refused the connection: {}", Alert(*.0))]
    DtlsAlert(u8),
    /// The SCTP association could not be made or was lost.
    #[error("SCTP failed: {0}")]
    Sctp(String),
    /// The peer has ended the SCTP association with an ABORT, and this was the code of its first
    /// error cause (RFC 9260 section 3.3.10), if it gave one. Browsers close so, with code 12.
    #[error("{}", CloseReason::Aborted(.0.map(ErrorCause)))]
    SctpAbort(Option<u16>),
    /// The QUIC connection could not be made or was lost.
    #[error("QUIC failed: {0}")]
    Quic(String),
    /// The peer did not prove who it is, or this side could not check it.
    #[error("the peer's identity was refused: {0}")]
    Identity(#[source] IdentityError),
    /// The peer offered no data section, or ended it.
    #[error("the peer ended the data section")]
    NoData,
    /// One of the connection's actors died.
    #[error("the {kind} actor {death}")]
    ActorDied {
        /// Which one.
        kind: ActorKind,
        /// How.
        death: Death,
    },
    /// The connection's sockets or threads are gone.
    #[error("the endpoint is gone")]
    EndpointGone,
}

/// What an `RTCError` is about (`RTCErrorDetailType`, W3C webrtc-pc section 11.2, and
/// `RTCErrorDetailTypeIdp`, webrtc-identity section 10); media has others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorDetail {
    /// The data channel has failed.
    DataChannelFailure,
    /// The DTLS negotiation failed, or the connection was ended by a fatal error.
    DtlsFailure,
    /// The peer's certificate has none of the fingerprints of its description.
    FingerprintFailure,
    /// The SCTP negotiation failed, or the association was ended by a fatal error.
    SctpFailure,
    /// A description could not be read.
    SdpSyntaxError,
    /// The identity provider refused or failed.
    IdpExecutionFailure,
    /// The identity provider could not be asked.
    IdpLoadFailure,
    /// The identity provider wants the user to log in.
    IdpNeedLogin,
    /// The identity provider took too long.
    IdpTimeout,
    /// The identity provider's TLS certificate is not trusted.
    IdpTlsFailure,
    /// What the identity provider has granted has expired.
    IdpTokenExpired,
    /// What the identity provider is said to have granted does not hold.
    IdpTokenInvalid,
}

impl ErrorDetail {
    /// The W3C name.
    pub fn name(self) -> &'static str {
        match self {
            ErrorDetail::DataChannelFailure => "data-channel-failure",
            ErrorDetail::DtlsFailure => "dtls-failure",
            ErrorDetail::FingerprintFailure => "fingerprint-failure",
            ErrorDetail::SctpFailure => "sctp-failure",
            ErrorDetail::SdpSyntaxError => "sdp-syntax-error",
            ErrorDetail::IdpExecutionFailure => "idp-execution-failure",
            ErrorDetail::IdpLoadFailure => "idp-load-failure",
            ErrorDetail::IdpNeedLogin => "idp-need-login",
            ErrorDetail::IdpTimeout => "idp-timeout",
            ErrorDetail::IdpTlsFailure => "idp-tls-failure",
            ErrorDetail::IdpTokenExpired => "idp-token-expired",
            ErrorDetail::IdpTokenInvalid => "idp-token-invalid",
        }
    }
}

impl Cause {
    /// `RTCError.errorDetail` of the error events that this causes at channels and transports;
    /// `None` when somebody closed on purpose, which is no error.
    pub fn error_detail(&self) -> Option<ErrorDetail> {
        match self {
            Cause::ClosedLocally | Cause::ClosedByPeer => None,
            Cause::Fingerprint { .. } => Some(ErrorDetail::FingerprintFailure),
            Cause::Dtls(_) | Cause::DtlsRefused { .. } | Cause::DtlsAlert(_) => {
                Some(ErrorDetail::DtlsFailure)
            }
            Cause::Sctp(_) | Cause::SctpAbort(_) => Some(ErrorDetail::SctpFailure),
            Cause::Ice(_)
            | Cause::Quic(_)
            | Cause::Identity(_)
            | Cause::NoData
            | Cause::ActorDied { .. }
            | Cause::EndpointGone => Some(ErrorDetail::DataChannelFailure),
        }
    }

    /// `RTCError.receivedAlert`: the fatal alert with which the peer ended DTLS.
    pub fn received_alert(&self) -> Option<u8> {
        if let Cause::DtlsAlert(alert) = self {
            Some(*alert)
        } else {
            None
        }
    }

    /// `RTCError.sentAlert`: the fatal alert with which this side ended DTLS. Told also of a
    /// certificate without a promised fingerprint.
    pub fn sent_alert(&self) -> Option<u8> {
        if let Cause::Fingerprint { sent_alert } = self {
            *sent_alert
        } else if let Cause::DtlsRefused { sent_alert, .. } = self {
            Some(*sent_alert)
        } else {
            None
        }
    }

    /// `RTCError.sctpCauseCode`: the first error cause in the peer's ABORT (RFC 9260 section
    /// 3.3.10).
    pub fn sctp_cause_code(&self) -> Option<u16> {
        if let Cause::SctpAbort(code) = self {
            *code
        } else {
            None
        }
    }

    /// Whether the peer has closed on purpose: said so to DTLS or SCTP, or aborted SCTP because its
    /// application wanted that, or without a cause.
    pub fn is_closed_by_peer(&self) -> bool {
        const BY_USER: u16 = ErrorCause::USER_INITIATED_ABORT.0;
        matches!(
            self,
            Cause::ClosedByPeer | Cause::SctpAbort(None | Some(BY_USER))
        )
    }

    /// A stable, machine-readable code.
    pub fn code(&self) -> &'static str {
        match self {
            Cause::ClosedLocally => "closed_locally",
            Cause::ClosedByPeer => "closed_by_peer",
            Cause::SctpAbort(_) if self.is_closed_by_peer() => "closed_by_peer",
            Cause::Ice(_) => "ice_failed",
            Cause::Fingerprint { .. } => "fingerprint_mismatch",
            Cause::Dtls(_) | Cause::DtlsRefused { .. } | Cause::DtlsAlert(_) => "dtls_failed",
            Cause::Sctp(_) | Cause::SctpAbort(_) => "sctp_failed",
            Cause::Quic(_) => "quic_failed",
            Cause::Identity(IdentityError::Unchecked(_)) => "identity_unchecked",
            Cause::Identity(_) => "identity_refused",
            Cause::NoData => "no_data_section",
            Cause::ActorDied { .. } => "actor_died",
            Cause::EndpointGone => "endpoint_gone",
        }
    }

    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Cause::ClosedLocally | Cause::ClosedByPeer => {
                "make a new peer connection to talk again"
            }
            Cause::Ice(_) => {
                "check that both ends exchanged all candidates and that UDP is not blocked"
            }
            Cause::Fingerprint { .. } => {
                "somebody altered the description on its way, or sits in between"
            }
            Cause::DtlsRefused { .. } => "the peer has to show a certificate",
            Cause::DtlsAlert(_) => "the peer says why: it may know another fingerprint of us",
            Cause::Dtls(_) => "check that both ends support DTLS 1.2 or 1.3",
            Cause::Sctp(_) | Cause::SctpAbort(_) => "make a new peer connection",
            Cause::Quic(_) => {
                "make a new peer connection, without data_transport: Quic if this comes again"
            }
            Cause::Identity(IdentityError::Unchecked(_)) => {
                "the fault is on this side: look at its data directory and disk"
            }
            Cause::Identity(IdentityError::NotLoaded { .. } | IdentityError::NotTrusted(_)) => {
                "the identity provider cannot be asked from here: look at the way to it"
            }
            Cause::Identity(_) => "ask the peer for a fresh assertion made for this connection",
            Cause::NoData => "create a data channel before the offer",
            Cause::ActorDied { .. } => {
                "this is a bug or an injected fault; make a new peer connection"
            }
            Cause::EndpointGone => "keep the endpoint and its runtime while connections live",
        }
    }
}
