//! What the QUIC transport is told and asked.

use std::time::Duration;

use actix::Message;
use bytes::Bytes;
use peerloom_transports::proto::jsep::StartSctp;
use peerloom_transports::quic;
use peerloom_transports::udp::Datagrams;

use crate::dtls_transport::Traffic;
use crate::sctp_transport::{ChannelKey, Incoming, OpenChannel};

/// From the connection to its QUIC transport.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum QuicCommand {
    /// The peer is who it has to be: data may flow.
    Start(StartSctp),
    /// The peer's limits changed.
    Update(StartSctp),
    /// A channel's actor is there.
    Open(OpenChannel),
    /// A channel's actor is dead: reset its stream.
    Abandon(ChannelKey),
    /// Say goodbye and stop.
    Close,
}

/// QUIC packets for this connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct QuicPackets(pub(crate) Datagrams);

/// From the QUIC transport.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum QuicReport {
    /// The handshake is done, with this certificate of the peer's.
    Connected { certificate: Bytes },
    /// The handshake or the connection failed.
    Failed(Failure),
    /// Channels can be used, so many of them.
    Up { max_channels: u16 },
    /// The peer has closed, and all that came before has reached the channels.
    PeerClosed,
    /// The peer has opened a channel; its actor is to be made.
    Incoming(Incoming),
}

/// Why there is no QUIC connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Failure {
    /// The peer said nothing, or not enough.
    #[error("the handshake was not answered in time")]
    Unanswered,
    /// The peer answered, and then never confirmed.
    #[error("the peer did not confirm the handshake")]
    Unconfirmed,
    #[error(transparent)]
    Engine(quic::Error),
}

/// What `getStats` asks of the transport.
#[derive(Debug, Message)]
#[rtype(result = "QuicStats")]
pub(crate) struct GetQuicStats;

/// Its answer.
#[derive(Debug, Clone, Default, actix::MessageResponse)]
pub(crate) struct QuicStats {
    pub(crate) round_trip: Option<Duration>,
    pub(crate) traffic: Traffic,
    pub(crate) peer_certificate: Option<Bytes>,
    pub(crate) packets_lost: u64,
    pub(crate) mtu: u16,
    pub(crate) batches_dropped: u64,
}
