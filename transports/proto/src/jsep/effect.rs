//! What the state machine asks of the shell, in the order in which it must happen.

use crate::candidate::{Candidate, Credentials};
use crate::certificate::Fingerprint;
use crate::id::{DtlsRole, IceRole};
use crate::sdp::{Capabilities, Codec, Direction, ExtMap, MediaKind, Msid};

use super::{SignalingState, TransceiverId};

/// One thing for the shell to do. Drain [`Session::poll_effect`](super::Session::poll_effect)
/// after every successful call and carry the effects out in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The signaling state changed: fire `signalingstatechange`.
    SignalingStateChange(SignalingState),
    /// The flag of webrtc-pc 4.7.3 went up. Fire `negotiationneeded` once the operations
    /// chain is empty and [`negotiation_needed`](super::Session::negotiation_needed) still says so.
    NegotiationNeeded,
    /// The remote description carries an identity assertion (`a=identity`, RFC 8827 5).
    /// Always precedes `StartDtls`: whoever requires an identity validates it before carrying
    /// out what follows.
    RemoteIdentity(RemoteIdentity),
    /// Gather candidates under these credentials and hand each to
    /// [`add_local_candidate`](super::Session::add_local_candidate). An established transport
    /// goes on undisturbed until `RestartIce`.
    Gather(GatherIce),
    /// Forget what was gathered for that generation: its offer was rolled back or replaced.
    DiscardGeneration {
        /// The local username fragment.
        ufrag: String,
    },
    /// Both ends' credentials are known: begin the connectivity checks.
    StartIce(StartIce),
    /// As `StartIce`, on a transport that runs already (RFC 8445 9).
    RestartIce(StartIce),
    /// A candidate of the peer, never before the `StartIce` or `RestartIce` it belongs to.
    AddRemoteCandidate {
        /// The candidate. Names (mDNS) and TCP are passed on too.
        candidate: Candidate,
    },
    /// The peer has no more candidates in this generation (RFC 8838 13).
    RemoteCandidatesComplete,
    /// Begin the DTLS handshake as soon as ICE has a path (RFC 8842 5).
    StartDtls(StartDtls),
    /// Begin the SCTP association as soon as DTLS is up; both ends do (RFC 8841).
    StartSctp(StartSctp),
    /// The peer's limits changed in a later negotiation.
    UpdateSctp(StartSctp),
    /// No data section is left: close the channels (RFC 8841 10.5, port 0).
    StopData(DataStop),
    /// No section at all is left: the transport is over. A later negotiation starts another.
    StopTransport,
    /// A remote offer asked for a transceiver that nobody here had made.
    TransceiverAdded {
        /// Its name.
        transceiver: TransceiverId,
        /// Audio or video.
        kind: MediaKind,
    },
    /// The offer that had asked for it was rolled back: as if it had never been.
    TransceiverRemoved {
        /// Its name.
        transceiver: TransceiverId,
    },
    /// It has ended: stop its sender and receiver (webrtc-pc 5.4).
    TransceiverStopped {
        /// Its name.
        transceiver: TransceiverId,
    },
    /// The peer sends, or sends in other streams: fire `track` (webrtc-pc 5.7) when it did not.
    RemoteTrack {
        /// Where it is received.
        transceiver: TransceiverId,
        /// The streams it is in.
        streams: Vec<Msid>,
    },
    /// The peer sends no longer: mute the track and take it out of its streams.
    RemoteTrackEnded {
        /// Where it was received.
        transceiver: TransceiverId,
    },
    /// An answer settled what is sent and received, or changed it.
    MediaNegotiated(Box<NegotiatedMedia>),
}

/// An identity assertion and what it has to vouch for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteIdentity {
    /// The value of `a=identity`, still in base64 (RFC 8827 5).
    pub assertion: String,
    /// The fingerprints in the same description.
    pub fingerprints: Vec<Fingerprint>,
    /// The peer's session id, from its `o=` line.
    pub session_id: u64,
}

/// A local ICE generation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatherIce {
    /// The `a=mid` under which the candidates are trickled.
    pub mid: Option<String>,
    /// The index of that section.
    pub mline_index: u16,
    /// Under which credentials.
    pub credentials: Credentials,
    /// Whether another generation came before it.
    pub restart: bool,
}

/// How to run ICE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartIce {
    /// The initial offerer controls, unless the peer is lite (RFC 8445 6.1.1).
    pub role: IceRole,
    /// Our credentials, as announced by `Gather`.
    pub local: Credentials,
    /// The peer's credentials.
    pub remote: Credentials,
    /// The peer only answers checks (RFC 8445 2.5).
    pub remote_lite: bool,
    /// The peer understands trickled candidates; when not, send it a description only after
    /// gathering has ended.
    pub remote_trickle: bool,
}

/// How to run DTLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartDtls {
    /// Who sends the first flight (`a=setup`).
    pub role: DtlsRole,
    /// The peer's certificate must match one of them (RFC 8122 5).
    pub fingerprints: Vec<Fingerprint>,
}

/// How to run SCTP and data channels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StartSctp {
    /// The longest message the peer takes (RFC 8841 6): 64 KiB when it does not say, `None`
    /// when it takes any size.
    pub remote_max_message_size: Option<u64>,
    /// What the peer can do beyond WebRTC; `None` when it is not Peerloom.
    pub peerloom: Option<Capabilities>,
}

/// Why there is no data section any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DataStop {
    /// The answer to our offer refused it.
    Refused,
    /// The peer's new offer ended it.
    Ended,
}

/// What both ends agreed on for one audio or video section.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NegotiatedMedia {
    /// Whose section it is.
    pub transceiver: TransceiverId,
    /// Audio or video.
    pub kind: MediaKind,
    /// Its `a=mid`, carried in RTP where both know the extension.
    pub mid: Option<String>,
    /// The index of the section.
    pub mline_index: u16,
    /// W3C `currentDirection`.
    pub direction: Direction,
    /// What may be sent, in the peer's order, under its numbers.
    pub send: Vec<Codec>,
    /// What may arrive, in our order, under our numbers.
    pub receive: Vec<Codec>,
    /// Header extensions both know.
    pub extensions: Vec<ExtMap>,
    /// The encodings to send; empty when there is one without a name.
    pub send_rids: Vec<String>,
    /// The encodings that arrive; empty when there is one without a name.
    pub receive_rids: Vec<String>,
}

/// What both ends have agreed on so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Negotiated {
    /// ICE role and credentials of the current generation.
    pub ice: StartIce,
    /// DTLS role and fingerprints.
    pub dtls: StartDtls,
    /// SCTP limits, when there is a data section.
    pub sctp: Option<StartSctp>,
    /// The `a=mid` of the section whose transport it is: of the data section, where there is no
    /// other.
    pub mid: Option<String>,
    /// The index of that section.
    pub mline_index: u16,
    /// The peer said that it has no more candidates.
    pub remote_candidates_complete: bool,
    /// The identity assertion in the latest remote description.
    pub identity: Option<String>,
}
