//! The states of a connection, as they follow from those of its transports (W3C webrtc-pc
//! sections 4.3.3 and 4.3.4).

use peerloom_transports::proto::jsep::{StartDtls, StartSctp};
use peerloom_transports::proto::{dtls, ice, id::DtlsRole};

use super::events::{ConnectionState, IceConnectionState};
use crate::cause::Cause;

/// How far the transports are.
#[derive(Debug, Default)]
pub(super) struct Progress {
    pub(super) ice: Option<ice::State>,
    /// Of DTLS, or of QUIC in its place.
    pub(super) dtls: Option<dtls::State>,
    pub(super) dtls_role: Option<DtlsRole>,
    /// DTLS as agreed on, while it waits for what comes of QUIC.
    pub(super) dtls_start: Option<StartDtls>,
    /// The peer has begun DTLS.
    pub(super) knocked: bool,
    /// Negotiated, and given to the data transport once that is up and the identity accepted.
    pub(super) sctp: Option<StartSctp>,
    pub(super) data_started: bool,
}

impl Progress {
    pub(super) fn ice_failure(&self) -> Cause {
        Cause::Ice(match self.dtls {
            None => "no pair of addresses worked".into(),
            Some(_) => "the peer has not answered for too long".into(),
        })
    }

    pub(super) fn ice_connection_state(&self) -> IceConnectionState {
        match self.ice {
            None | Some(ice::State::New) => IceConnectionState::New,
            Some(ice::State::Checking) => IceConnectionState::Checking,
            Some(ice::State::Connected) => IceConnectionState::Connected,
            Some(ice::State::Completed) => IceConnectionState::Completed,
            Some(ice::State::Disconnected) => IceConnectionState::Disconnected,
            Some(ice::State::Failed) => IceConnectionState::Failed,
            Some(ice::State::Closed) => IceConnectionState::Closed,
        }
    }

    pub(super) fn connection_state(&self, may_flow: bool) -> ConnectionState {
        match (self.ice_connection_state(), self.dtls) {
            (IceConnectionState::Failed, _) | (_, Some(dtls::State::Failed)) => {
                ConnectionState::Failed
            }
            (IceConnectionState::Disconnected, _) => ConnectionState::Disconnected,
            (IceConnectionState::New, None) => ConnectionState::New,
            (
                IceConnectionState::Connected | IceConnectionState::Completed,
                Some(dtls::State::Connected),
            ) if may_flow => ConnectionState::Connected,
            _ => ConnectionState::Connecting,
        }
    }
}
