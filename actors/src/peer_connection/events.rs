//! What a peer connection tells its owner, and the states it publishes.

use std::net::IpAddr;
use std::sync::Arc;

use peerloom_transports::proto::jsep::{SessionDescription, SignalingState};

use super::data::DataTransportChoice;
use super::stats::Stats;
use super::transports::Transports;
use crate::cause::{ActorKind, Cause};
use crate::config::Configuration;
use crate::data_channel::{DataChannel, Lives};
use crate::ice_candidate::IceCandidate;
use crate::identity::{Current, IdentityError, IdentityProviderDetails, ValidatedIdentity};
use crate::supervisor::Death;

/// Events a slow listener may be behind before it misses the oldest
/// ([`Event::Missed`]). Filled by the connection's actor. Twice the channels a peer may
/// open at once, each of which is an event.
pub(crate) const EVENT_BACKLOG: usize = 1024;

/// The state of the connection (`RTCPeerConnectionState`, W3C webrtc-pc section 4.3.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ConnectionState {
    /// Nothing runs yet.
    New,
    /// ICE or DTLS is under way.
    Connecting,
    /// Data flows.
    Connected,
    /// The path has gone silent; it may come back.
    Disconnected,
    /// It will not come back by itself.
    Failed,
    /// Closed here.
    Closed,
}

/// The state of ICE (`RTCIceConnectionState`, W3C webrtc-pc section 4.3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IceConnectionState {
    /// Nothing runs yet.
    New,
    /// Looking for a pair of addresses.
    Checking,
    /// Found one, others may be better.
    Connected,
    /// Found the best one.
    Completed,
    /// The pair has gone silent.
    Disconnected,
    /// No pair works.
    Failed,
    /// Closed here.
    Closed,
}

/// The state of candidate gathering (`RTCIceGatheringState`, W3C webrtc-pc section 4.3.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum IceGatheringState {
    /// Not begun.
    New,
    /// Under way.
    Gathering,
    /// All candidates are known.
    Complete,
}

/// Gives the variants of an enumeration their W3C names.
macro_rules! w3c_names {
    ($state:ident { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $state {
            /// The W3C name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name),+ }
            }
        }

        impl std::fmt::Display for $state {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.name())
            }
        }
    };
}

pub(super) use w3c_names;

w3c_names!(ConnectionState {
    New => "new",
    Connecting => "connecting",
    Connected => "connected",
    Disconnected => "disconnected",
    Failed => "failed",
    Closed => "closed",
});
w3c_names!(IceConnectionState {
    New => "new",
    Checking => "checking",
    Connected => "connected",
    Completed => "completed",
    Disconnected => "disconnected",
    Failed => "failed",
    Closed => "closed",
});
w3c_names!(IceGatheringState {
    New => "new",
    Gathering => "gathering",
    Complete => "complete",
});

/// What happens to a connection, in the order of W3C webrtc-pc.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// An offer should be made (`negotiationneeded`).
    NegotiationNeeded,
    /// A candidate for the peer (`icecandidate`, W3C webrtc-pc section 4.8.2). An empty one
    /// ([`IceCandidate::is_end_of_candidates`]) ends those of its generation, and is for the peer as
    /// well; `None` follows when nothing is being gathered any more, and need not be signaled.
    IceCandidate(Option<IceCandidate>),
    /// A STUN or TURN server gave no candidate (`icecandidateerror`, W3C webrtc-pc section
    /// 4.8.3).
    IceCandidateError {
        /// The local address that asked; `None` when it is not shown, or there is none.
        address: Option<IpAddr>,
        /// Its port.
        port: Option<u16>,
        /// The server's URL, as in the configuration.
        url: String,
        /// The STUN error code (RFC 8489 section 14.8), or 701 when the server was not
        /// reached.
        error_code: u16,
        /// The reason phrase of the server, or what went wrong here.
        error_text: String,
    },
    /// Addresses of this machine came or went. Not of the W3C interface: browsers tell
    /// applications nothing of it.
    NetworkChange {
        /// The path in use is gone: an ICE restart follows, beginning with
        /// [`Event::NegotiationNeeded`], unless `IceConfig::restart_on_network_change` is off.
        lost_path: bool,
    },
    /// `signalingstatechange`.
    SignalingStateChange(SignalingState),
    /// `connectionstatechange`, and why, when it got worse.
    ConnectionStateChange {
        /// The new state.
        state: ConnectionState,
        /// Why it failed.
        cause: Option<Cause>,
    },
    /// `iceconnectionstatechange`.
    IceConnectionStateChange(IceConnectionState),
    /// `icegatheringstatechange`.
    IceGatheringStateChange(IceGatheringState),
    /// QUIC carries the data channels, or was tried and does not. Not of the W3C interface; nothing is
    /// told when SCTP was the choice from the start.
    DataTransport(DataTransportChoice),
    /// The peer has opened a channel (`datachannel`).
    DataChannel(DataChannel),
    /// The peer has proved who it is (`peeridentity`, of the first drafts of webrtc-pc).
    PeerIdentity(ValidatedIdentity),
    /// Our provider has made an assertion: the value of `a=identity` (`identityresult`, of the
    /// first drafts).
    IdentityResult(String),
    /// Our provider has made none (`idpassertionerror`).
    IdpAssertionError {
        /// Who was asked.
        idp: IdentityProviderDetails,
        /// Where to log in first, when that is what is missing.
        login_url: Option<String>,
        /// Why.
        error: IdentityError,
    },
    /// The peer's assertion was refused (`idpvalidationerror`).
    IdpValidationError {
        /// Who has made it, when it says so.
        idp: Option<IdentityProviderDetails>,
        /// Why.
        error: IdentityError,
    },
    /// An actor of the connection has died.
    ActorDied {
        /// Which one.
        kind: ActorKind,
        /// How.
        cause: Death,
    },
    /// This listener was too slow and missed so many events.
    Missed(u64),
}

/// Where the peer's identity stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Identity {
    /// No remote description yet.
    Unknown,
    /// The provider is at work.
    Pending,
    /// The peer needs none and has sent none.
    Absent,
    /// Proved.
    Valid(ValidatedIdentity),
    /// Refused, and with it the connection.
    Refused(IdentityError),
    /// Not proved, and not required.
    Unproved(IdentityError),
}

/// Everything a handle can read without asking the actor.
#[derive(Debug, Clone)]
pub(crate) struct Snapshot {
    pub(crate) config: Arc<Configuration>,
    pub(crate) connection: ConnectionState,
    pub(crate) ice: IceConnectionState,
    pub(crate) gathering: IceGatheringState,
    pub(crate) signaling: SignalingState,
    pub(crate) current_local: Option<SessionDescription>,
    pub(crate) pending_local: Option<SessionDescription>,
    pub(crate) current_remote: Option<SessionDescription>,
    pub(crate) pending_remote: Option<SessionDescription>,
    pub(crate) can_trickle: Option<bool>,
    pub(crate) identity: Identity,
    pub(crate) idp: Current,
    /// `idpLoginUrl`.
    pub(crate) idp_login_url: Option<String>,
    /// `idpErrorInfo`.
    pub(crate) idp_error_info: Option<String>,
    pub(crate) transports: Transports,
    /// What carries data channels, once that is settled.
    pub(crate) data_transport: Option<DataTransportChoice>,
    pub(crate) channels: Arc<Lives>,
    /// Why the connection has failed or closed.
    pub(crate) cause: Option<Cause>,
    /// What `getStats` answers when the actors are gone.
    pub(crate) last_stats: Option<Arc<Stats>>,
}

impl Snapshot {
    /// Of a connection that nothing has happened to.
    pub(crate) fn new(config: Arc<Configuration>) -> Self {
        Snapshot {
            idp: Current {
                provider: config.identity_provider.clone(),
                ..Current::default()
            },
            idp_login_url: None,
            idp_error_info: None,
            config,
            connection: ConnectionState::New,
            ice: IceConnectionState::New,
            gathering: IceGatheringState::New,
            signaling: SignalingState::Stable,
            current_local: None,
            pending_local: None,
            current_remote: None,
            pending_remote: None,
            can_trickle: None,
            identity: Identity::Unknown,
            transports: Transports::default(),
            data_transport: None,
            channels: Arc::default(),
            cause: None,
            last_stats: None,
        }
    }
}
