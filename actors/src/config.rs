//! Settings of a peer connection (`RTCConfiguration`, W3C webrtc-pc section 4.2.1).

mod ice_server;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use peerloom_transports::proto::certificate::Certificate;
use peerloom_transports::proto::config::{
    ChannelConfig, DtlsConfig, IceConfig, QuicConfig, SctpConfig,
};
use peerloom_transports::proto::jsep::BundlePolicy;

use crate::error::Error;
use crate::identity::IdentityProvider;

pub use ice_server::IceServer;

/// ICE servers of one connection at most (webrtc-pc lets an implementation choose).
const MAX_ICE_SERVERS: usize = 16;

/// Certificates of one connection at most.
const MAX_CERTIFICATES: usize = 4;

/// Which candidates may be used (`RTCIceTransportPolicy`, webrtc-pc section 4.2.3).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IceTransportPolicy {
    /// All kinds.
    #[default]
    All,
    /// Relayed ones only: host candidates are neither gathered nor checked.
    Relay,
}

/// Whether RTP and RTCP share a port (`RTCRtcpMuxPolicy`, webrtc-pc section 4.2.5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum RtcpMuxPolicy {
    /// They must; the specification knows no other value any more.
    #[default]
    Require,
}

/// What carries data channels. Not of the W3C interface.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataTransport {
    /// SCTP over DTLS. Nothing is said of QUIC in descriptions.
    #[default]
    Sctp,
    /// QUIC when the peer's description says that it speaks QUIC, too; SCTP over DTLS otherwise, and
    /// when QUIC cannot be set up in `QuicConfig::patience`.
    Auto,
    /// QUIC, or no connection.
    Quic,
}

/// Settings of a [`PeerConnection`](crate::PeerConnection).
#[derive(Clone, Default)]
pub struct Configuration {
    /// STUN and TURN servers.
    pub ice_servers: Vec<IceServer>,
    /// Certificates (DER) that `turns:` servers may be signed by, besides the platform's.
    pub ice_tls_roots: Vec<bytes::Bytes>,
    /// Which candidates may be used, from the next gathering on.
    pub ice_transport_policy: IceTransportPolicy,
    /// Tell the peer random `.local` names in place of our own addresses, and answer for them on the
    /// local network (draft-ietf-mmusic-mdns-ice-candidates), as browsers do on pages that may not use
    /// the camera. Off by default: a peer that cannot ask multicast DNS then has nothing but
    /// what servers gave. Addresses are in neither descriptions, candidates nor the statistics
    /// report, but still in [`Stats::paths`](crate::Stats::paths). From the next candidate on.
    pub obfuscate_host_addresses: bool,
    /// How media share transports. Fixed for the life of the connection.
    pub bundle_policy: BundlePolicy,
    /// Whether RTP and RTCP share a port. Fixed for the life of the connection.
    pub rtcp_mux_policy: RtcpMuxPolicy,
    /// Our certificate, the first of these; a fresh one when there is none. Fixed for the life
    /// of the connection.
    pub certificates: Vec<Certificate>,
    /// Unless 0: candidates are gathered from the start and told when the first local description is
    /// set, of which most are there at once (RFC 9429 section 3.5.4). More than 1 gathers no more:
    /// all that a connection carries goes over one component. Relays that are not used end with the
    /// first negotiation or with the connection.
    pub ice_candidate_pool_size: u8,
    /// Vouches for us and checks who the peer is.
    pub identity_provider: Option<Arc<dyn IdentityProvider>>,
    /// The only identity the peer may have (webrtc-identity, "target peer identity"). Fixed
    /// for the life of the connection.
    pub peer_identity: Option<String>,
    /// Refuse peers that do not prove an identity.
    pub require_identity: bool,
    /// What carries data channels: SCTP unless told otherwise, whose speed is known
    /// (docs/decisions/quic.md). Fixed for the life of the connection.
    pub data_transport: DataTransport,
    /// Settings of the ICE agent.
    pub ice: IceConfig,
    /// Settings of the DTLS transport.
    pub dtls: DtlsConfig,
    /// Settings of the SCTP association.
    pub sctp: SctpConfig,
    /// Settings of the QUIC transport.
    pub quic: QuicConfig,
    /// Settings of the data channels.
    pub channels: ChannelConfig,
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configuration")
            .field("ice_servers", &self.ice_servers.len())
            .field("ice_transport_policy", &self.ice_transport_policy)
            .field("obfuscate_host_addresses", &self.obfuscate_host_addresses)
            .field("bundle_policy", &self.bundle_policy)
            .field("certificates", &self.certificates)
            .field("ice_candidate_pool_size", &self.ice_candidate_pool_size)
            .field("identity_provider", &self.identity_provider.is_some())
            .field("peer_identity", &self.peer_identity)
            .field("require_identity", &self.require_identity)
            .field("data_transport", &self.data_transport)
            .finish_non_exhaustive()
    }
}

impl Configuration {
    /// Whether the peer must prove who it is.
    pub(crate) fn needs_identity(&self) -> bool {
        self.require_identity || self.peer_identity.is_some()
    }

    /// What the constructor refuses (webrtc-pc sections 4.4.1.1 and 4.4.1.6).
    pub(crate) fn check(&self, now: SystemTime) -> Result<(), Error> {
        if self.certificates.iter().any(|it| it.expires() <= now) {
            let hint = "generate a new certificate";
            return Err(argument(
                "InvalidAccessError",
                "a certificate has expired",
                hint,
            ));
        }
        if self.certificates.len() > MAX_CERTIFICATES {
            let hint = "give at most 4: only the first is used";
            return Err(argument("OperationError", "too many certificates", hint));
        }
        self.check_servers()
    }

    /// `self` in force, what `setConfiguration` makes of `asked` (webrtc-pc section 4.4.1.6):
    /// what cannot change is compared, the rest is taken over. `local_was_set` says that
    /// `setLocalDescription` was called before.
    pub(crate) fn changed_to(
        &self,
        asked: Configuration,
        local_was_set: bool,
    ) -> Result<Configuration, Error> {
        let pool_is_fixed =
            local_was_set && self.ice_candidate_pool_size != asked.ice_candidate_pool_size;
        let refused = [
            (self.certificates != asked.certificates, "certificates"),
            (self.peer_identity != asked.peer_identity, "peer_identity"),
            (self.bundle_policy != asked.bundle_policy, "bundle_policy"),
            (
                self.rtcp_mux_policy != asked.rtcp_mux_policy,
                "rtcp_mux_policy",
            ),
            (
                self.data_transport != asked.data_transport,
                "data_transport",
            ),
            (pool_is_fixed, "ice_candidate_pool_size"),
        ];
        if let Some((_, member)) = refused.into_iter().find(|(differs, _)| *differs) {
            let hint = "pass get_configuration back with only its ICE members changed";
            let cause = format!("{member} can no longer change");
            return Err(argument("InvalidModificationError", cause, hint));
        }
        asked.check_servers()?;
        Ok(Configuration {
            ice_servers: asked.ice_servers,
            ice_tls_roots: asked.ice_tls_roots,
            ice_transport_policy: asked.ice_transport_policy,
            ice_candidate_pool_size: asked.ice_candidate_pool_size,
            ..self.clone()
        })
    }

    fn check_servers(&self) -> Result<(), Error> {
        if self.ice_servers.len() > MAX_ICE_SERVERS {
            let hint = "give at most 16";
            return Err(argument("OperationError", "too many ICE servers", hint));
        }
        self.ice_servers.iter().try_for_each(IceServer::check)
    }
}

pub(crate) fn argument(name: &'static str, cause: impl Into<String>, hint: &'static str) -> Error {
    Error::Argument {
        name,
        cause: cause.into(),
        hint,
    }
}
