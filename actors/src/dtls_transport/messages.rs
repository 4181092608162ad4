//! What the DTLS transport is told and asked.

use actix::Message;
use bytes::Bytes;
use peerloom_transports::carrier::Carrier;
use peerloom_transports::proto::dtls;
use peerloom_transports::proto::id::{DtlsRole, Path};
use peerloom_transports::proto::jsep::StartDtls;
use peerloom_transports::udp::Datagrams;

use super::Traffic;

/// From the connection to its DTLS transport.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) enum DtlsCommand {
    /// Role and fingerprints are known.
    Start(StartDtls),
    /// Say goodbye and stop.
    Close,
}

/// From the ICE agent: data goes this way from now on.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct PathSelected {
    pub(crate) path: Path,
    pub(crate) carrier: Carrier,
}

/// DTLS records for this connection.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Records(pub(crate) Datagrams);

/// SCTP packets to encrypt and send. Answered by [`PacketsSent`].
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub(crate) struct Outgoing(pub(crate) Vec<Bytes>);

/// What `getStats` asks of the transport.
#[derive(Debug, Message)]
#[rtype(result = "DtlsStats")]
pub(crate) struct GetDtlsStats;

/// Its answer.
#[derive(Debug, Clone, Default, actix::MessageResponse)]
pub(crate) struct DtlsStats {
    pub(crate) role: Option<DtlsRole>,
    pub(crate) version: Option<dtls::Version>,
    pub(crate) suite: Option<dtls::CipherSuite>,
    pub(crate) state: Option<dtls::State>,
    pub(crate) peer_certificate: Option<Bytes>,
    pub(crate) traffic: Traffic,
    pub(crate) batches_dropped: u64,
}
