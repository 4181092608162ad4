//! Peerloom's actors: peer connections and what they are made of.
//!
//! Thin shells around the engines of `peerloom-transports-proto`: an actor feeds its
//! engine, carries out what the engine asks, and decides nothing. Applications hold
//! handles ([`PeerConnection`], [`DataChannel`]) that are `Clone + Send + Sync`, work
//! in any tokio runtime and need no knowledge of actix.
//!
//! ```
//! use peerloom_actors::{Configuration, DataChannelInit, Endpoint, EndpointConfig};
//! use peerloom_actors::{PeerConnection, Runtime, RuntimeConfig};
//!
//! # #[tokio::main] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let runtime = Runtime::start(RuntimeConfig::default())?;
//! let bind = vec!["127.0.0.1:0".parse()?];
//! let endpoint = Endpoint::bind(&runtime, EndpointConfig { bind }).await?;
//! let alice = PeerConnection::new(&endpoint, Configuration::default()).await?;
//! let bob = PeerConnection::new(&endpoint, Configuration::default()).await?;
//! let channel = alice.create_data_channel("chat", DataChannelInit::default()).await?;
//! alice.set_local_description(None).await?;
//! bob.set_remote_description(alice.local_description().ok_or("no offer")?).await?;
//! bob.set_local_description(None).await?;
//! alice.set_remote_description(bob.local_description().ok_or("no answer")?).await?;
//! // ... pass Event::IceCandidate of each to the other's add_ice_candidate ...
//! # drop(channel);
//! # Ok(()) }
//! ```
//!
//! # Who lives where
//!
//! A [`Runtime`] is one thread with an actix system and a pool of arbiters, one per
//! core. All actors of one peer connection live on one arbiter; connections take
//! turns. An [`Endpoint`]'s sockets have their receive loops on arbiters too.
//!
//! ```text
//! Runtime
//!  └ Warden                 one per arbiter: parent of its connections
//!     └ PeerConnection      offer/answer state machine, states, events
//!        ├ IceAgent         ICE engine, routes, extra socket
//!        ├ DtlsTransport    DTLS engine, way to the socket
//!        ├ SctpTransport    SCTP and data channel engines
//!        ├ QuicTransport    QUIC and data channel engines, in place of the two above
//!        └ DataChannel *    one per channel: credit, state
//! ```
//!
//! # How messages flow
//!
//! ```text
//!            STUN: Checks                        PathSelected
//!  socket ────────────────▶ IceAgent ───────────────────────────┐
//!    │ │                       │ sends on the socket itself     ▼
//!    │ └── Records ────────────┼───────────────────────▶ DtlsTransport ──▶ socket
//!    │                         │ IceReport               │ ▲   │ ▲
//!  receive loop                ▼               DtlsReport│ │   │ │ Outgoing
//!  (one per socket)      PeerConnection ◀────────────────┘ │   ▼ │
//!                          │  ▲   │     DtlsCommand ───────┘  Packets, PacketsSent, PeerClosed
//!   handle ── Create, … ───┘  │   │ SctpCommand               │ │
//!   handle ◀─ events ─────────┘   └────────────────────▶ SctpTransport
//!                                                          │  ▲
//!                             ChannelInput (Delivered, …)  ▼  │ ChannelRequest
//!   handle ◀── inbox ─────────────────────────────────── DataChannel
//!   handle ─── outbox ──────────────────────────────────────┘
//! ```
//!
//! # Mailbox rules
//!
//! * A message carries a batch; there is never one mailbox message per packet or per
//!   application message. Handles and channel actors share a bounded inbox and outbox
//!   and wake each other at most once per burst.
//! * Every send goes through an `Outlet` held as a field, or an `Inlet` of the sockets:
//!   one long-lived recipient, `try_send` only, a written overflow policy. Commands of
//!   handles wait in their callers.
//! * What may be lost (datagrams, packets) is dropped and counted when a mailbox is
//!   full. What must arrive is flow-controlled (one write batch per channel, two packet
//!   batches towards DTLS, credit towards channels) and kept by its sender otherwise.
//! * An actor answers a message in one turn: deadline first, then the input, then what
//!   the engine asks, within a budget. After a few turns it yields to the other actors
//!   of its arbiter.
//! * No actor awaits anything that a peer or an application controls. Identity
//!   providers run on the caller's runtime.
//! * An actor that dies is reported with its cause. ICE, DTLS, SCTP and QUIC take keys and
//!   sequence numbers with them: their connection fails. A channel's actor takes only
//!   its channel with it. An actor that waits is pinged by its parent, and given up when wedged.

mod backlog;
mod cause;
mod config;
mod data_channel;
mod dtls_transport;
mod endpoint;
mod error;
mod feed;
mod ice_agent;
mod ice_candidate;
pub mod identity;
mod keygen;
mod outlet;
mod peer_connection;
mod perfect_negotiation;
mod quic_transport;
mod runtime;
mod sctp_transport;
mod shell;
pub mod stats;
mod supervisor;
mod warden;

pub use cause::{ActorKind, Cause, ErrorDetail};
pub use config::{Configuration, DataTransport, IceServer, IceTransportPolicy, RtcpMuxPolicy};
pub use data_channel::{
    DataChannel, DataChannelInit, Event as DataChannelEvent, Message, Priority,
    RECEIVE_CREDIT_BYTES, ReadyState, SEND_CREDIT_BYTES, SendError, TrySendError,
};
pub use endpoint::{Endpoint, EndpointConfig, EndpointError};
pub use error::Error;
pub use ice_candidate::{IceCandidate, IceCandidatePair, IceComponent, IceParameters};
pub use identity::{
    AssertionRequest, IdentityError, IdentityProvider, IdentityProviderDetails,
    IdentityProviderOptions, ValidatedIdentity, ValidationRequest,
};
pub use keygen::{KeygenAlgorithm, NamedCurve};
pub use peer_connection::{
    CandidatePairStats, CertificateStats, ConnectionState, DataChannelStats, DataTransportChoice,
    DataTransportKind, DataTransportReason, DtlsTransport, DtlsTransportEvent, DtlsTransportState,
    Event, IceConnectionState, IceGatheringState, IceTransport, IceTransportEvent, PeerConnection,
    QuicTransport, QuicTransportEvent, QuicTransportState, SctpTransport, SctpTransportEvent,
    SctpTransportState, Stats, TransportStats,
};
pub use peerloom_transports::proto::candidate::Candidate;
pub use peerloom_transports::proto::candidate::{CandidateKind, Protocol, TcpType};
pub use peerloom_transports::proto::certificate::{Certificate, Fingerprint, HashFunction};
pub use peerloom_transports::proto::config::{
    ChannelConfig, CongestionControl, DtlsConfig, DtlsRecords, DtlsVersions, IceConfig, QuicConfig,
    SctpConfig, SctpEngine,
};
pub use peerloom_transports::proto::ice::{
    Cause as PathCause, Mark as PathMark, Pair as PathHistory, PairState as PathState,
};
pub use peerloom_transports::proto::ice_server::{ServerKind, ServerTransport, ServerUrl};
pub use peerloom_transports::proto::id::{DtlsRole, IceRole};
pub use peerloom_transports::proto::jsep::{
    BundlePolicy, IceCandidateInit, OfferOptions, SdpType, SessionDescription, SignalingState,
};
#[cfg(feature = "chaos")]
pub use peerloom_transports::udp::Impairment;
pub use perfect_negotiation::{PerfectNegotiation, Signal, SignalingLost};
pub use runtime::{Runtime, RuntimeConfig, RuntimeError};
pub use stats::StatsReport;
pub use supervisor::Death;
#[cfg(feature = "chaos")]
pub use supervisor::Fault;
