//! What a connection's handle reads without asking the actor.

use peerloom_transports::proto::jsep::{SessionDescription, SignalingState};

use super::{ConnectionState, IceConnectionState, IceGatheringState, PeerConnection};
use crate::cause::Cause;

impl PeerConnection {
    /// Resolves when data can flow, or with the reason why it never will.
    pub async fn connected(&self) -> Result<(), Cause> {
        let mut snapshot = self.handle.public.snapshot.clone();
        let over = |state| matches!(state, ConnectionState::Failed | ConnectionState::Closed);
        let settled = snapshot
            .wait_for(|s| s.connection == ConnectionState::Connected || over(s.connection))
            .await;
        match settled.as_deref() {
            Ok(s) if s.connection == ConnectionState::Connected => Ok(()),
            Ok(s) => Err(s.cause.clone().unwrap_or(Cause::ClosedLocally)),
            Err(_) => Err(Cause::EndpointGone),
        }
    }

    /// `connectionState`.
    pub fn connection_state(&self) -> ConnectionState {
        self.read(|s| s.connection)
    }

    /// Why the connection has failed or closed.
    pub fn cause(&self) -> Option<Cause> {
        self.read(|s| s.cause.clone())
    }

    /// `iceConnectionState`.
    pub fn ice_connection_state(&self) -> IceConnectionState {
        self.read(|s| s.ice)
    }

    /// `iceGatheringState`.
    pub fn ice_gathering_state(&self) -> IceGatheringState {
        self.read(|s| s.gathering)
    }

    /// `signalingState`.
    pub fn signaling_state(&self) -> SignalingState {
        self.read(|s| s.signaling)
    }

    /// `localDescription`: the pending one, else the current one.
    pub fn local_description(&self) -> Option<SessionDescription> {
        self.read(|s| s.pending_local.clone().or_else(|| s.current_local.clone()))
    }

    /// `currentLocalDescription`.
    pub fn current_local_description(&self) -> Option<SessionDescription> {
        self.read(|s| s.current_local.clone())
    }

    /// `pendingLocalDescription`.
    pub fn pending_local_description(&self) -> Option<SessionDescription> {
        self.read(|s| s.pending_local.clone())
    }

    /// `remoteDescription`: the pending one, else the current one.
    pub fn remote_description(&self) -> Option<SessionDescription> {
        self.read(|s| {
            s.pending_remote
                .clone()
                .or_else(|| s.current_remote.clone())
        })
    }

    /// `currentRemoteDescription`.
    pub fn current_remote_description(&self) -> Option<SessionDescription> {
        self.read(|s| s.current_remote.clone())
    }

    /// `pendingRemoteDescription`.
    pub fn pending_remote_description(&self) -> Option<SessionDescription> {
        self.read(|s| s.pending_remote.clone())
    }

    /// `canTrickleIceCandidates`.
    pub fn can_trickle_ice_candidates(&self) -> Option<bool> {
        self.read(|s| s.can_trickle)
    }
}
