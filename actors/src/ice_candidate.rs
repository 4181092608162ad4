//! `RTCIceCandidate` (W3C webrtc-pc section 4.8.1).

use peerloom_transports::proto::candidate::{
    Address, Candidate, CandidateError, CandidateKind, Protocol, TcpType,
};
use peerloom_transports::proto::ice_server::ServerTransport;
use peerloom_transports::proto::jsep::IceCandidateInit;

use crate::config::argument;
use crate::error::Error;

/// What a transport carries (`RTCIceComponent`, webrtc-pc section 5.6.6). RTCP has no
/// component of its own, since `rtcp-mux` is required; others' candidates may name one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IceComponent {
    /// 1: RTP, and everything else.
    Rtp,
    /// 2: RTCP.
    Rtcp,
}

/// A candidate as it is signaled, with everything that its line says. The members of a line
/// that cannot be read are `None` (webrtc-pc section 4.8.1).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceCandidate {
    init: IceCandidateInit,
    line: Option<Box<Candidate>>,
}

impl IceCandidate {
    /// The constructor. `TypeError` when it says neither `sdp_mid` nor `sdp_mline_index`.
    pub fn new(init: IceCandidateInit) -> Result<IceCandidate, Error> {
        if init.sdp_mid.is_none() && init.sdp_mline_index.is_none() {
            let hint = "set one of them, as the peer sent it";
            let cause = "a candidate with neither sdpMid nor sdpMLineIndex";
            return Err(argument("TypeError", cause, hint));
        }
        let line: Result<Candidate, CandidateError> = init.candidate.parse();
        Ok(IceCandidate {
            line: line.ok().map(Box::new),
            init,
        })
    }

    /// A candidate of which more is known than its line says.
    pub(crate) fn known(init: IceCandidateInit, candidate: Candidate) -> IceCandidate {
        let line = Some(Box::new(candidate));
        IceCandidate { init, line }
    }

    /// The end of a generation's candidates.
    pub(crate) fn end(init: IceCandidateInit) -> IceCandidate {
        IceCandidate { init, line: None }
    }

    /// `candidate`: the line, `candidate:…`; empty at the end of candidates.
    pub fn candidate(&self) -> &str {
        &self.init.candidate
    }

    /// Whether it is no candidate but says that its generation has no more: its `candidate` is
    /// empty (webrtc-pc section 4.8.2).
    pub fn is_end_of_candidates(&self) -> bool {
        self.init.candidate.is_empty()
    }

    /// `sdpMid`.
    pub fn sdp_mid(&self) -> Option<&str> {
        self.init.sdp_mid.as_deref()
    }

    /// `sdpMLineIndex`.
    pub fn sdp_mline_index(&self) -> Option<u16> {
        self.init.sdp_mline_index
    }

    /// `usernameFragment`.
    pub fn username_fragment(&self) -> Option<&str> {
        self.init.username_fragment.as_deref()
    }

    /// `foundation`: the same for candidates of one kind, base and server.
    pub fn foundation(&self) -> Option<&str> {
        self.line.as_ref().map(|line| line.foundation.as_str())
    }

    /// `component`.
    pub fn component(&self) -> Option<IceComponent> {
        match self.line.as_ref()?.component {
            1 => Some(IceComponent::Rtp),
            2 => Some(IceComponent::Rtcp),
            _ => None,
        }
    }

    /// `priority` (RFC 8445 section 5.1.2).
    pub fn priority(&self) -> Option<u32> {
        self.line.as_ref().map(|line| line.priority)
    }

    /// `address`: an IP address or a name.
    pub fn address(&self) -> Option<String> {
        self.line.as_ref().map(|line| line.address.to_string())
    }

    /// `protocol`.
    pub fn protocol(&self) -> Option<Protocol> {
        self.line.as_ref().map(|line| line.protocol)
    }

    /// `port`.
    pub fn port(&self) -> Option<u16> {
        self.line.as_ref().map(|line| line.port)
    }

    /// `type`.
    pub fn kind(&self) -> Option<CandidateKind> {
        self.line.as_ref().map(|line| line.kind)
    }

    /// `tcpType`, of TCP candidates.
    pub fn tcp_type(&self) -> Option<TcpType> {
        self.line.as_ref()?.tcp_type
    }

    /// `relatedAddress`, of candidates that are derived from another.
    pub fn related_address(&self) -> Option<String> {
        let related = self.line.as_ref()?.related.as_ref();
        related.map(|(address, _): &(Address, u16)| address.to_string())
    }

    /// `relatedPort`.
    pub fn related_port(&self) -> Option<u16> {
        let related = self.line.as_ref()?.related.as_ref();
        related.map(|(_, port)| *port)
    }

    /// `url`: of the server that gave us this candidate; `None` for the peer's.
    pub fn url(&self) -> Option<&str> {
        self.line.as_ref()?.url.as_deref()
    }

    /// `relayProtocol`: how we reach the server that relays. `None` for candidates that are not
    /// relayed, and for the peer's.
    pub fn relay_protocol(&self) -> Option<ServerTransport> {
        self.line.as_ref()?.relay_protocol()
    }

    /// `toJSON`: what to send to the peer.
    pub fn to_init(&self) -> IceCandidateInit {
        self.init.clone()
    }
}

impl From<IceCandidate> for IceCandidateInit {
    fn from(candidate: IceCandidate) -> IceCandidateInit {
        candidate.init
    }
}

impl TryFrom<IceCandidateInit> for IceCandidate {
    type Error = Error;

    fn try_from(init: IceCandidateInit) -> Result<Self, Error> {
        Self::new(init)
    }
}

/// The two ends of a path (`RTCIceCandidatePair`, webrtc-pc section 5.6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IceCandidatePair {
    /// `local`.
    pub local: IceCandidate,
    /// `remote`; one that was learnt from its checks alone is peer reflexive.
    pub remote: IceCandidate,
}

/// What each end tells the other about its ICE (`RTCIceParameters`, webrtc-pc section 5.6.1).
#[derive(Clone, PartialEq, Eq)]
pub struct IceParameters {
    /// `usernameFragment`.
    pub username_fragment: String,
    /// `password`.
    pub password: String,
}

impl std::fmt::Debug for IceParameters {
    /// Without the password.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("IceParameters")
            .field("username_fragment", &self.username_fragment)
            .finish_non_exhaustive()
    }
}
