//! Peerloom's actors: peer connections and what they are made of.
mod cause;
mod config;
mod data_channel;
mod dtls_transport;
mod endpoint;
mod error;
mod ice_agent;
pub mod identity;
mod outlet;
mod peer_connection;
mod runtime;
mod sctp_transport;
mod shell;
mod supervisor;
mod warden;

pub use cause::{ActorKind, Cause};
pub use config::{Configuration, IceServer, IceTransportPolicy};
pub use data_channel::{
    DataChannel, DataChannelInit, Event as DataChannelEvent, Message, Priority,
    RECEIVE_CREDIT_BYTES, ReadyState, SEND_CREDIT_BYTES, SendError, TrySendError,
};
pub use endpoint::{Endpoint, EndpointConfig, EndpointError};
pub use error::Error;
pub use identity::{
    AssertionRequest, IdentityError, IdentityProvider, ValidatedIdentity, ValidationRequest,
};
pub use peer_connection::{
    CandidatePairStats, CertificateStats, ConnectionState, DataChannelStats, Event,
    IceConnectionState, IceGatheringState, PeerConnection, Stats, TransportStats,
};
pub use peerloom_transports::proto::certificate::{Certificate, Fingerprint};
pub use peerloom_transports::proto::jsep::{
    IceCandidateInit, OfferOptions, SdpType, SessionDescription, SignalingState,
};
#[cfg(feature = "chaos")]
pub use peerloom_transports::udp::Impairment;
pub use runtime::{Runtime, RuntimeConfig, RuntimeError};
pub use supervisor::Death;
#[cfg(feature = "chaos")]
pub use supervisor::Fault;
