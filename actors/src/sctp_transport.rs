//! The SCTP transport's actor: the association and the data channel engine.

use std::time::Duration;

use actix::{Actor, Context, Handler, Message, Recipient};
use bytes::Bytes;
use peerloom_transports::proto::config::{ChannelConfig, SctpConfig};
use peerloom_transports::proto::id::DtlsRole;
use peerloom_transports::proto::jsep::StartSctp;

use crate::data_channel::{ChannelInput, DataChannelInit, Message as ChannelMessage};
use crate::dtls_transport::Outgoing;
use crate::peer_connection::messages::SctpReport;
use crate::supervisor::supervised;

/// Messages in the transport's mailbox: packet batches from DTLS (dropped when full),
/// one write and one credit of each channel, commands.
pub(crate) const MAILBOX: usize = 256;

/// A channel of a connection, as its actors call it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ChannelKey {
    /// Created here.
    Local(u64),
    /// Opened by the peer.
    Remote(u64),
}

/// From the connection to its SCTP transport.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum SctpCommand {
    /// DTLS is up and the peer is who it has to be.
    Start { start: StartSctp, role: DtlsRole },
    /// The peer's limits changed.
    Update(StartSctp),
    /// A channel's actor is there.
    Open(OpenChannel),
    /// A channel's actor is dead: reset its stream.
    Abandon(ChannelKey),
}

/// A channel to open, or, when the peer has opened it, to connect with its actor.
#[derive(Debug)]
pub(crate) struct OpenChannel {
    pub(crate) key: ChannelKey,
    pub(crate) label: String,
    pub(crate) init: DataChannelInit,
    pub(crate) channel: Recipient<ChannelInput>,
}

/// From a channel to the transport.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct ChannelRequest {
    pub(crate) key: ChannelKey,
    pub(crate) output: ChannelOutput,
}

/// What a channel wants.
#[derive(Debug)]
pub(crate) enum ChannelOutput {
    /// Send these. One batch at a time; [`ChannelInput::Accepted`] answers.
    Write(Vec<ChannelMessage>),
    /// So many bytes were read: as many more may be delivered.
    Credit(usize),
    /// Close after everything written.
    Close,
}

/// SCTP packets that DTLS has decrypted.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Packets(pub(crate) Vec<Bytes>);

/// DTLS has sent so many batches of ours.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct PacketsSent {
    pub(crate) batches: usize,
}

/// What `getStats` asks of the transport.
#[derive(Debug, Message)]
#[rtype(result = "SctpStats")]
pub(crate) struct GetSctpStats;

/// Its answer.
#[derive(Debug, Clone, Default, actix::MessageResponse)]
pub(crate) struct SctpStats {
    pub(crate) round_trip: Option<Duration>,
    pub(crate) batches_dropped: u64,
}

/// The shell around the SCTP and data channel engines.
pub(crate) struct SctpTransportActor {
    settings: (SctpConfig, ChannelConfig),
    dtls: crate::outlet::Outlet<Outgoing>,
    connection: crate::outlet::Outlet<SctpReport>,
}

impl SctpTransportActor {
    pub(crate) fn new(
        settings: (SctpConfig, ChannelConfig),
        dtls: Recipient<Outgoing>,
        connection: Recipient<SctpReport>,
    ) -> Self {
        SctpTransportActor {
            settings,
            dtls: crate::outlet::Outlet::keeping(dtls),
            connection: crate::outlet::Outlet::keeping(connection),
        }
    }
}

impl Actor for SctpTransportActor {
    type Context = Context<Self>;
}

impl Handler<SctpCommand> for SctpTransportActor {
    type Result = ();

    fn handle(&mut self, _: SctpCommand, _: &mut Self::Context) {}
}

impl Handler<ChannelRequest> for SctpTransportActor {
    type Result = ();

    fn handle(&mut self, _: ChannelRequest, _: &mut Self::Context) {}
}

impl Handler<Packets> for SctpTransportActor {
    type Result = ();

    fn handle(&mut self, _: Packets, _: &mut Self::Context) {}
}

impl Handler<PacketsSent> for SctpTransportActor {
    type Result = ();

    fn handle(&mut self, _: PacketsSent, _: &mut Self::Context) {}
}

impl Handler<GetSctpStats> for SctpTransportActor {
    type Result = SctpStats;

    fn handle(&mut self, _: GetSctpStats, _: &mut Self::Context) -> SctpStats {
        SctpStats::default()
    }
}

supervised!(SctpTransportActor);
