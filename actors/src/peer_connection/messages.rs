//! What a peer connection's actor is told: commands from handles, reports from its
//! children.

use std::net::IpAddr;

use actix::Message;
use bytes::Bytes;
use peerloom_transports::proto::id::{IceRole, Path};
use peerloom_transports::proto::jsep::{
    IceCandidateInit, OfferOptions, RemoteIdentity, SessionDescription,
};
use peerloom_transports::proto::{dtls, ice};

use super::stats::{Answers, Stats};
use crate::cause::Cause;
use crate::config::Configuration;
use crate::data_channel::{DataChannel, DataChannelInit};
use crate::error::Error;
use crate::identity::{Current, IdentityError, IdentityProviderDetails, ValidatedIdentity};
use crate::sctp_transport::Incoming;

/// `createOffer` or `createAnswer`, with the assertion to put into it.
#[derive(Message)]
#[rtype(result = "Result<SessionDescription, Error>")]
pub(crate) enum Create {
    Offer {
        options: OfferOptions,
        identity: Option<String>,
    },
    Answer {
        identity: Option<String>,
    },
}

/// `setLocalDescription`; `identity` is for the implicit form.
#[derive(Message)]
#[rtype(result = "Result<(), Error>")]
pub(crate) struct SetLocal {
    pub(crate) description: Option<SessionDescription>,
    pub(crate) identity: Option<String>,
}

/// `setRemoteDescription`. When the answer holds an assertion, [`Verdict`] must follow;
/// no data flows before.
#[derive(Message)]
#[rtype(result = "Result<Option<ToValidate>, Error>")]
pub(crate) struct SetRemote(pub(crate) SessionDescription);

/// An assertion to check, and which remote description it came with.
#[derive(Debug)]
pub(crate) struct ToValidate {
    pub(crate) round: u64,
    pub(crate) identity: RemoteIdentity,
}

/// What the identity provider said.
#[derive(Message)]
#[rtype(result = "Result<(), Error>")]
pub(crate) struct Verdict {
    pub(crate) round: u64,
    /// Who has made the assertion.
    pub(crate) idp: Option<IdentityProviderDetails>,
    pub(crate) outcome: Result<ValidatedIdentity, IdentityError>,
}

/// `setIdentityProvider`.
#[derive(Message)]
#[rtype(result = "Result<(), Error>")]
pub(crate) struct SetIdentityProvider(pub(crate) Current);

/// What came of an assertion that our provider was asked for.
#[derive(Message)]
#[rtype(result = "Result<(), Error>")]
pub(crate) struct Asserted {
    pub(crate) idp: IdentityProviderDetails,
    pub(crate) outcome: Result<String, IdentityError>,
}

/// `addIceCandidate`.
#[derive(Message)]
#[rtype(result = "Result<(), Error>")]
pub(crate) struct AddCandidate(pub(crate) Option<IceCandidateInit>);

/// `createDataChannel`.
#[derive(Message)]
#[rtype(result = "Result<DataChannel, Error>")]
pub(crate) struct CreateChannel {
    pub(crate) label: String,
    pub(crate) init: DataChannelInit,
}

/// `setConfiguration`.
#[derive(Message)]
#[rtype(result = "Result<(), Error>")]
pub(crate) struct SetConfiguration(pub(crate) Box<Configuration>);

/// `restartIce`.
#[derive(Message)]
#[rtype(result = "Result<(), Error>")]
pub(crate) struct RestartIce;

/// `close`.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Close;

/// `getStats`.
#[derive(Message)]
#[rtype(result = "Result<Stats, Error>")]
pub(crate) struct GetStats;

/// The transports have told their last numbers: they may go.
#[derive(Message)]
#[rtype(result = "()")]
pub(crate) struct Parted(pub(crate) Answers);

/// Puts a fault into the connection's actor or one of its children. `false` when there
/// is no such child.
#[cfg(feature = "chaos")]
#[derive(Message)]
#[rtype(result = "bool")]
pub(crate) struct InjectInto {
    pub(crate) kind: crate::cause::ActorKind,
    pub(crate) fault: crate::supervisor::Fault,
}

/// From the ICE agent.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum IceReport {
    State(ice::State),
    /// A role conflict was resolved against us.
    Role(IceRole),
    Selected(Path),
    Candidate {
        ufrag: String,
        candidate: peerloom_transports::proto::candidate::Candidate,
    },
    /// A server gave no candidate; the fields are those of `Event::IceCandidateError`.
    CandidateError {
        address: Option<IpAddr>,
        port: Option<u16>,
        url: String,
        error_code: u16,
        error_text: String,
    },
    GatheringComplete {
        ufrag: String,
    },
    /// The machine's addresses changed; `restart` when only a restart finds a path again.
    NetworkChange {
        restart: bool,
    },
}

/// From the DTLS transport.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum DtlsReport {
    /// The peer sends records, and the handshake is not to begin yet.
    Knocked,
    /// The handshake has begun.
    Connecting,
    Connected {
        version: dtls::Version,
        certificate: Bytes,
    },
    /// The handshake or the transport failed; the alert is the one that we have sent.
    Failed {
        error: dtls::Error,
        sent_alert: Option<dtls::Alert>,
    },
}

/// From the SCTP transport.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum SctpReport {
    /// The association is up, with so many streams each way.
    Connected { max_channels: u16 },
    /// The association is over.
    Lost(Cause),
    /// The peer has closed DTLS, and all that came before has reached the channels.
    PeerClosed,
    /// The peer has opened a channel; its actor is to be made.
    Incoming(Incoming),
}
