//! What the SCTP transport is told and asked.

use std::time::Duration;

use actix::{Message, Recipient};
use bytes::Bytes;
use peerloom_transports::proto::id::DtlsRole;
use peerloom_transports::proto::jsep::StartSctp;

use crate::data_channel::{ChannelInput, DataChannelInit, Message as ChannelMessage};
use crate::outlet::Absorb;

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

/// A channel that the peer has opened.
#[derive(Debug)]
pub(crate) struct Incoming {
    pub(crate) key: ChannelKey,
    pub(crate) label: String,
    pub(crate) init: DataChannelInit,
    pub(crate) max_message_size: usize,
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
    /// Send these. One batch at a time; [`ChannelInput::Progress`] answers.
    Write(Vec<ChannelMessage>),
    /// So many bytes were read: as many more may be delivered.
    Credit(usize),
    /// Close after everything written.
    Close,
}

impl Absorb for ChannelRequest {
    fn absorb(&mut self, later: ChannelRequest) -> Option<ChannelRequest> {
        match (&mut self.output, later.output) {
            (ChannelOutput::Credit(read), ChannelOutput::Credit(more)) if self.key == later.key => {
                *read += more;
                None
            }
            (_, output) => Some(ChannelRequest { output, ..later }),
        }
    }
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

/// The peer has closed DTLS, after all packets handed over before.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct PeerClosed;

/// What `getStats` asks of the transport.
#[derive(Debug, Message)]
#[rtype(result = "SctpStats")]
pub(crate) struct GetSctpStats;

/// Its answer.
#[derive(Debug, Clone, Default, actix::MessageResponse)]
pub(crate) struct SctpStats {
    pub(crate) round_trip: Option<Duration>,
    pub(crate) batches_dropped: u64,
    pub(crate) chunks_retransmitted: u64,
}
