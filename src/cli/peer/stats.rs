//! The connection's statistics, as the peer protocol reports them.

use peerloom::webrtc::{PeerConnection, Stats};
use serde_json::{Value, json};

use crate::cli::failure::chain;

/// Reads and shapes them.
pub(crate) async fn stats(connection: &PeerConnection) -> Result<Value, String> {
    let stats = connection
        .get_stats()
        .await
        .map_err(|error| chain(&error))?;
    Ok(shape(&stats))
}

/// The fingerprint of the certificate that the other side showed, written as
/// in SDP.
pub(crate) async fn seen_fingerprint(connection: &PeerConnection) -> Result<String, String> {
    let stats = connection
        .get_stats()
        .await
        .map_err(|error| chain(&error))?;
    let theirs = stats.certificates.iter().find(|seen| seen.remote);
    theirs
        .map(|seen| seen.fingerprint.to_string())
        .ok_or_else(|| "no certificate of the other side was seen".to_owned())
}

/// Names as in W3C webrtc-stats.
fn shape(stats: &Stats) -> Value {
    let transport = &stats.transport;
    let channels: Vec<Value> = stats.data_channels.iter().map(channel).collect();
    json!({
        "inbound": [],
        "transport": [{
            "iceState": transport.ice_state.to_string(),
            "iceRole": transport.ice_role.map(word),
            "dtlsState": transport.dtls_state.map_or_else(|| "new".to_owned(), word),
            "dtlsRole": transport.dtls_role.map(word),
            "tlsVersion": transport.dtls_version.map(word),
            "packetsSent": transport.packets_sent,
            "bytesSent": transport.bytes_sent,
            "packetsReceived": transport.packets_received,
            "bytesReceived": transport.bytes_received,
            "batchesDropped": transport.batches_dropped,
            "datagramsDropped": transport.datagrams_dropped,
            "chunksRetransmitted": transport.chunks_retransmitted,
            "dataTransport": transport.data_transport.as_ref().map(|it| it.kind.to_string()),
            "dataTransportReason": transport.data_transport.as_ref().map(|it| it.reason.to_string()),
        }],
        "pair": stats.candidate_pair.as_ref().map(|pair| json!({
            "local": pair.path.local.to_string(),
            "remote": pair.path.remote.to_string(),
            "currentRoundTripTime": pair.current_round_trip_time.map(|rtt| rtt.as_secs_f64()),
        })),
        "channels": channels,
    })
}

fn channel(stats: &peerloom::webrtc::DataChannelStats) -> Value {
    json!({
        "label": stats.label,
        "dataChannelIdentifier": stats.id,
        "state": stats.state.to_string(),
        "messagesSent": stats.messages_sent,
        "bytesSent": stats.bytes_sent,
        "messagesReceived": stats.messages_received,
        "bytesReceived": stats.bytes_received,
    })
}

/// The name of a state or role, as W3C writes it.
fn word(state: impl std::fmt::Debug) -> String {
    format!("{state:?}").to_lowercase()
}
