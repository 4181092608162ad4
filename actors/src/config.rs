//! Settings of a peer connection (`RTCConfiguration`, W3C webrtc-pc section 4.2.1).

use std::fmt;
use std::sync::Arc;

use peerloom_transports::proto::certificate::Certificate;
use peerloom_transports::proto::config::{ChannelConfig, DtlsConfig, IceConfig, SctpConfig};

use crate::error::Error;
use crate::identity::IdentityProvider;

/// ICE servers of one connection at most (webrtc-pc lets an implementation choose).
const MAX_ICE_SERVERS: usize = 16;

/// Certificates of one connection at most.
const MAX_CERTIFICATES: usize = 4;

/// A STUN or TURN server (`RTCIceServer`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IceServer {
    /// `stun:host:port`, `turn:host:port?transport=udp`, `turns:…`.
    pub urls: Vec<String>,
    /// The TURN user.
    pub username: Option<String>,
    /// The TURN password.
    pub credential: Option<String>,
}

/// Which candidates may be used (`RTCIceTransportPolicy`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IceTransportPolicy {
    /// All kinds.
    #[default]
    All,
    /// Relayed ones only: host candidates are neither gathered nor checked.
    Relay,
}

/// Settings of a [`PeerConnection`](crate::PeerConnection).
#[derive(Clone, Default)]
pub struct Configuration {
    /// STUN and TURN servers. Checked, but not used yet: host and peer-reflexive
    /// candidates only.
    pub ice_servers: Vec<IceServer>,
    /// Which candidates may be used.
    pub ice_transport_policy: IceTransportPolicy,
    /// Our certificate, the first of these; a fresh one when there is none.
    pub certificates: Vec<Certificate>,
    /// Vouches for us and checks who the peer is.
    pub identity_provider: Option<Arc<dyn IdentityProvider>>,
    /// The only identity the peer may have.
    pub peer_identity: Option<String>,
    /// Refuse peers that do not prove an identity.
    pub require_identity: bool,
    /// Settings of the ICE agent.
    pub ice: IceConfig,
    /// Settings of the DTLS transport.
    pub dtls: DtlsConfig,
    /// Settings of the SCTP association.
    pub sctp: SctpConfig,
    /// Settings of the data channels.
    pub channels: ChannelConfig,
}

impl fmt::Debug for Configuration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Configuration")
            .field("ice_servers", &self.ice_servers.len())
            .field("ice_transport_policy", &self.ice_transport_policy)
            .field("certificates", &self.certificates)
            .field("identity_provider", &self.identity_provider.is_some())
            .field("peer_identity", &self.peer_identity)
            .field("require_identity", &self.require_identity)
            .finish_non_exhaustive()
    }
}

impl Configuration {
    /// Whether the peer must prove who it is.
    pub(crate) fn needs_identity(&self) -> bool {
        self.require_identity || self.peer_identity.is_some()
    }

    /// Refuses combinations that cannot work (webrtc-pc section 4.4.1.1).
    pub(crate) fn check(&self, now: std::time::SystemTime) -> Result<(), Error> {
        if self.needs_identity() && self.identity_provider.is_none() {
            let hint = "set identity_provider as well";
            return Err(argument(
                "InvalidAccessError",
                "an identity is required, but nobody can check it",
                hint,
            ));
        }
        if self
            .certificates
            .iter()
            .any(|certificate| certificate.expires() <= now)
        {
            let hint = "generate a new certificate";
            return Err(argument(
                "InvalidAccessError",
                "a certificate has expired",
                hint,
            ));
        }
        if self.certificates.len() > MAX_CERTIFICATES || self.ice_servers.len() > MAX_ICE_SERVERS {
            let hint = "give at most 4 certificates and 16 ICE servers";
            return Err(argument(
                "OperationError",
                "too many certificates or ICE servers",
                hint,
            ));
        }
        self.ice_servers.iter().try_for_each(IceServer::check)
    }
}

impl IceServer {
    /// webrtc-pc section 4.2.2 with RFC 7064 and RFC 7065.
    fn check(&self) -> Result<(), Error> {
        if self.urls.is_empty() {
            return Err(argument(
                "SyntaxError",
                "an ICE server without a URL",
                "give stun: or turn: URLs",
            ));
        }
        for url in &self.urls {
            let (scheme, rest) = url.split_once(':').unwrap_or(("", ""));
            let turn = matches!(scheme, "turn" | "turns");
            if rest.is_empty()
                || rest.starts_with("//")
                || !(turn || matches!(scheme, "stun" | "stuns"))
            {
                let cause = format!("{url:?} is not a STUN or TURN URL");
                return Err(argument(
                    "SyntaxError",
                    cause,
                    "write stun:host:port or turn:host:port",
                ));
            }
            if turn && (self.username.is_none() || self.credential.is_none()) {
                let cause = format!("{url:?} needs a username and a credential");
                return Err(argument(
                    "InvalidAccessError",
                    cause,
                    "set both, RFC 8489 section 9.2",
                ));
            }
        }
        Ok(())
    }
}

pub(crate) fn argument(name: &'static str, cause: impl Into<String>, hint: &'static str) -> Error {
    Error::Argument {
        name,
        cause: cause.into(),
        hint,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn bad_combinations_are_refused_with_their_w3c_name() {
        let name = |config: Configuration| config.check(SystemTime::now()).err().map(|e| e.name());
        let server = |url: &str| Configuration {
            ice_servers: vec![IceServer {
                urls: vec![url.into()],
                ..IceServer::default()
            }],
            ..Configuration::default()
        };
        assert_eq!(name(Configuration::default()), None);
        assert_eq!(name(server("stun:example.org")), None);
        assert_eq!(name(server("http://example.org")), Some("SyntaxError"));
        assert_eq!(name(server("stun://example.org")), Some("SyntaxError"));
        assert_eq!(name(server("turn:example.org")), Some("InvalidAccessError"));
        let required = Configuration {
            require_identity: true,
            ..Configuration::default()
        };
        assert_eq!(name(required), Some("InvalidAccessError"));
    }
}
