//! `RTCStatsReport` and the dictionaries in it (W3C webrtc-stats, as far as they apply without
//! media). A member that is not measured is absent, in the structures and in JSON.

use std::collections::BTreeMap;

use serde::Serialize;

/// A snapshot of a connection's numbers: entries by id (W3C webrtc-pc section 8.3). As JSON it
/// is an object of objects, with the names of the specification.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct StatsReport {
    entries: BTreeMap<String, Entry>,
}

impl StatsReport {
    /// The entry with this id.
    pub fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// All entries, by id.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Entry)> {
        self.entries.iter().map(|(id, entry)| (id.as_str(), entry))
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none; a connection has at least one of itself.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries of one type, by its W3C name.
    pub fn of_type(&self, kind: &str) -> impl Iterator<Item = &Entry> {
        self.entries
            .values()
            .filter(move |entry| entry.kind() == kind)
    }

    pub(crate) fn insert(&mut self, entry: Entry) {
        self.entries.insert(entry.id().to_owned(), entry);
    }
}

/// One entry, by `RTCStatsType`.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Entry {
    /// `peer-connection`.
    PeerConnection(PeerConnectionEntry),
    /// `data-channel`.
    DataChannel(DataChannelEntry),
    /// `transport`.
    Transport(Box<TransportEntry>),
    /// `candidate-pair`.
    CandidatePair(Box<CandidatePairEntry>),
    /// `local-candidate`.
    LocalCandidate(Box<CandidateEntry>),
    /// `remote-candidate`.
    RemoteCandidate(Box<CandidateEntry>),
    /// `certificate`.
    Certificate(CertificateEntry),
}

impl Entry {
    /// Its id, the same in every report of one connection.
    pub fn id(&self) -> &str {
        match self {
            Entry::PeerConnection(it) => &it.id,
            Entry::DataChannel(it) => &it.id,
            Entry::Transport(it) => &it.id,
            Entry::CandidatePair(it) => &it.id,
            Entry::LocalCandidate(it) | Entry::RemoteCandidate(it) => &it.id,
            Entry::Certificate(it) => &it.id,
        }
    }

    /// The W3C name of its type.
    pub fn kind(&self) -> &'static str {
        match self {
            Entry::PeerConnection(_) => "peer-connection",
            Entry::DataChannel(_) => "data-channel",
            Entry::Transport(_) => "transport",
            Entry::CandidatePair(_) => "candidate-pair",
            Entry::LocalCandidate(_) => "local-candidate",
            Entry::RemoteCandidate(_) => "remote-candidate",
            Entry::Certificate(_) => "certificate",
        }
    }
}

macro_rules! entries {
    ($($(#[$doc:meta])* $name:ident { $($(#[$member:meta])* $field:ident: $type:ty,)+ })+) => {
        $($(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Serialize)]
        #[serde(rename_all = "camelCase")]
        #[non_exhaustive]
        pub struct $name {
            /// `id`: the key in the report.
            pub id: String,
            /// `timestamp`: milliseconds since the Unix epoch.
            pub timestamp: f64,
            $($(#[$member])* pub $field: $type,)+
        })+
    };
}

entries! {
    /// `RTCPeerConnectionStats`.
    PeerConnectionEntry {
        /// Channels that have become open.
        data_channels_opened: u64,
        /// Channels that were open and are no more.
        data_channels_closed: u64,
    }
    /// `RTCDataChannelStats`.
    DataChannelEntry {
        /// Its label.
        label: String,
        /// Its subprotocol.
        protocol: String,
        /// Its stream id, once given.
        #[serde(skip_serializing_if = "Option::is_none")]
        data_channel_identifier: Option<u16>,
        /// `RTCDataChannelState`.
        state: &'static str,
        /// Messages handed to the transport.
        messages_sent: u64,
        /// Their bytes.
        bytes_sent: u64,
        /// Messages that have arrived.
        messages_received: u64,
        /// Their bytes.
        bytes_received: u64,
    }
    /// `RTCTransportStats`.
    TransportEntry {
        /// Datagrams that carried DTLS, sent.
        packets_sent: u64,
        /// The same, received.
        packets_received: u64,
        /// Bytes of those sent, without IP and UDP headers.
        bytes_sent: u64,
        /// Bytes of those received.
        bytes_received: u64,
        /// `RTCIceRole`; `unknown` before it is.
        ice_role: &'static str,
        /// Of the latest local description.
        #[serde(skip_serializing_if = "Option::is_none")]
        ice_local_username_fragment: Option<String>,
        /// `RTCDtlsTransportState`.
        dtls_state: &'static str,
        /// `RTCIceTransportState`.
        ice_state: &'static str,
        /// The entry of the pair in use.
        #[serde(skip_serializing_if = "Option::is_none")]
        selected_candidate_pair_id: Option<String>,
        /// The entry of our certificate.
        local_certificate_id: String,
        /// The entry of the peer's, once shown.
        #[serde(skip_serializing_if = "Option::is_none")]
        remote_certificate_id: Option<String>,
        /// `FEFD` is DTLS 1.2, `FEFC` is 1.3.
        #[serde(skip_serializing_if = "Option::is_none")]
        tls_version: Option<&'static str>,
        /// As in the registry of TLS cipher suites, once chosen.
        #[serde(skip_serializing_if = "Option::is_none")]
        dtls_cipher: Option<String>,
        /// `RTCDtlsRole`.
        dtls_role: &'static str,
        /// How often another pair was selected; the first counts.
        selected_candidate_pair_changes: u32,
    }
    /// `RTCIceCandidatePairStats`.
    CandidatePairEntry {
        /// The entry of the transport.
        transport_id: String,
        /// The entry of our candidate.
        local_candidate_id: String,
        /// The entry of the peer's.
        remote_candidate_id: String,
        /// `RTCStatsIceCandidatePairState`.
        state: &'static str,
        /// Whether it was nominated.
        nominated: bool,
        /// Datagrams sent over it, without checks.
        packets_sent: u64,
        /// The same, received.
        packets_received: u64,
        /// Bytes of those sent, without IP and UDP headers.
        bytes_sent: u64,
        /// Bytes of those received.
        bytes_received: u64,
        /// When the latest was sent: milliseconds since the Unix epoch.
        #[serde(skip_serializing_if = "Option::is_none")]
        last_packet_sent_timestamp: Option<f64>,
        /// When the latest arrived.
        #[serde(skip_serializing_if = "Option::is_none")]
        last_packet_received_timestamp: Option<f64>,
        /// Sum of all round trips, in seconds.
        total_round_trip_time: f64,
        /// The latest one, in seconds.
        #[serde(skip_serializing_if = "Option::is_none")]
        current_round_trip_time: Option<f64>,
        /// Connectivity checks received.
        requests_received: u64,
        /// Checks sent, but for those that keep consent.
        requests_sent: u64,
        /// Answers received.
        responses_received: u64,
        /// Answers sent.
        responses_sent: u64,
        /// Checks sent to keep consent, once the pair was selected (RFC 7675).
        consent_requests_sent: u64,
        /// Datagrams that a socket refused, or that were for a relay or TCP connection that is
        /// gone.
        packets_discarded_on_send: u64,
        /// Their bytes.
        bytes_discarded_on_send: u64,
    }
    /// `RTCIceCandidateStats`.
    CandidateEntry {
        /// The entry of the transport.
        transport_id: String,
        /// An IP address or a name.
        address: String,
        /// The port.
        port: u16,
        /// `udp` or `tcp`.
        protocol: &'static str,
        /// `RTCIceCandidateType`.
        candidate_type: &'static str,
        /// RFC 8445 section 5.1.2; of a peer's candidate that was never signaled it is not known.
        #[serde(skip_serializing_if = "Option::is_none")]
        priority: Option<u32>,
        /// RFC 8445 section 5.1.1.3.
        #[serde(skip_serializing_if = "Option::is_none")]
        foundation: Option<String>,
        /// The base, when it is told.
        #[serde(skip_serializing_if = "Option::is_none")]
        related_address: Option<String>,
        /// Its port.
        #[serde(skip_serializing_if = "Option::is_none")]
        related_port: Option<u16>,
        /// The generation it belongs to.
        #[serde(skip_serializing_if = "Option::is_none")]
        username_fragment: Option<String>,
        /// Of the server that gave us the candidate.
        #[serde(skip_serializing_if = "Option::is_none")]
        url: Option<String>,
        /// `RTCIceServerTransportProtocol`, of a relayed candidate of ours.
        #[serde(skip_serializing_if = "Option::is_none")]
        relay_protocol: Option<&'static str>,
        /// `RTCIceTcpCandidateType`.
        #[serde(skip_serializing_if = "Option::is_none")]
        tcp_type: Option<&'static str>,
    }
    /// `RTCCertificateStats`.
    CertificateEntry {
        /// Lowercase, with colons.
        fingerprint: String,
        /// For instance `sha-256`.
        fingerprint_algorithm: &'static str,
        /// The certificate in DER, in base64.
        base64_certificate: String,
    }
}
