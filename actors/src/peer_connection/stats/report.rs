//! Makes the report of W3C webrtc-stats out of what the connection and its transports know.

use std::net::SocketAddr;
use std::time::Instant;

use data_encoding::BASE64;
use peerloom_transports::proto::candidate::{Candidate, CandidateKind, Protocol, TcpType};
use peerloom_transports::proto::certificate::{Fingerprint, HashFunction};
use peerloom_transports::proto::dtls::Version;
use peerloom_transports::proto::ice::{Pair, PairState};
use peerloom_transports::proto::ice_server::ServerTransport;
use peerloom_transports::proto::id::{DtlsRole, IceRole, Path};

use super::{Answers, DataChannelStats};
use crate::dtls_transport::Carried;
use crate::peer_connection::events::Snapshot;
use crate::stats::{
    CandidateEntry, CandidatePairEntry, CertificateEntry, DataChannelEntry, Entry,
    PeerConnectionEntry, StatsReport, TransportEntry,
};

const CONNECTION: &str = "P";
const TRANSPORT: &str = "T1";

/// Everything there is to report.
pub(super) struct Input<'a> {
    pub(super) timestamp: f64,
    /// The same moment on the clock of the transports.
    pub(super) now: Instant,
    pub(super) snapshot: &'a Snapshot,
    pub(super) answers: &'a Answers,
    /// Our certificate in DER.
    pub(super) certificate: &'a [u8],
    /// With what tells them apart.
    pub(super) channels: Vec<(String, DataChannelStats)>,
}

impl Input<'_> {
    pub(super) fn report(&self) -> StatsReport {
        let mut report = StatsReport::default();
        report.insert(Entry::PeerConnection(PeerConnectionEntry {
            id: CONNECTION.into(),
            timestamp: self.timestamp,
            data_channels_opened: self.snapshot.channels.opened(),
            data_channels_closed: self.snapshot.channels.closed(),
        }));
        for (key, stats) in &self.channels {
            report.insert(self.channel(key, stats));
        }
        report.insert(self.certificate(self.certificate));
        // Before anything was negotiated there is no transport.
        if self.snapshot.transports.ice.local.is_none() {
            return report;
        }
        if let Some(theirs) = self.answers.peer_certificate() {
            report.insert(self.certificate(theirs));
        }
        for candidate in &self.answers.ice.local {
            report.insert(Entry::LocalCandidate(Box::new(self.local(candidate))));
        }
        for candidate in &self.answers.ice.remote {
            report.insert(Entry::RemoteCandidate(Box::new(self.remote(candidate))));
        }
        let mut selected = None;
        for pair in &self.answers.ice.pairs {
            let id = self.pair(pair, &mut report);
            if self.answers.ice.path == Some(pair.path) {
                selected = Some(id);
            }
        }
        report.insert(Entry::Transport(Box::new(self.transport(selected))));
        report
    }

    fn channel(&self, key: &str, stats: &DataChannelStats) -> Entry {
        Entry::DataChannel(DataChannelEntry {
            id: format!("D{key}"),
            timestamp: self.timestamp,
            label: stats.label.clone(),
            protocol: stats.protocol.clone(),
            data_channel_identifier: stats.id,
            state: stats.state.name(),
            messages_sent: stats.messages_sent,
            bytes_sent: stats.bytes_sent,
            messages_received: stats.messages_received,
            bytes_received: stats.bytes_received,
        })
    }

    fn certificate(&self, der: &[u8]) -> Entry {
        let fingerprint = Fingerprint::of(HashFunction::Sha256, der);
        Entry::Certificate(CertificateEntry {
            id: certificate_id(der),
            timestamp: self.timestamp,
            fingerprint: fingerprint.hex(),
            fingerprint_algorithm: fingerprint.hash.name(),
            base64_certificate: BASE64.encode(der),
        })
    }

    fn transport(&self, selected: Option<String>) -> TransportEntry {
        let (transports, dtls) = (&self.snapshot.transports, &self.answers.dtls);
        let carried = &self.answers.traffic().total;
        TransportEntry {
            id: TRANSPORT.into(),
            timestamp: self.timestamp,
            packets_sent: carried.packets_sent,
            packets_received: carried.packets_received,
            bytes_sent: carried.bytes_sent,
            bytes_received: carried.bytes_received,
            ice_role: match transports.ice.role {
                None => "unknown",
                Some(IceRole::Controlling) => "controlling",
                Some(IceRole::Controlled) => "controlled",
            },
            ice_local_username_fragment: transports.ice.local.as_ref().map(|it| it.ufrag.clone()),
            dtls_state: transports.dtls.state.name(),
            ice_state: transports.ice.state.name(),
            selected_candidate_pair_id: selected,
            local_certificate_id: certificate_id(self.certificate),
            remote_certificate_id: self.answers.peer_certificate().map(certificate_id),
            tls_version: dtls.version.map(|version| match version {
                Version::Dtls12 => "FEFD",
                Version::Dtls13 => "FEFC",
            }),
            dtls_cipher: dtls.suite.map(|suite| suite.to_string()),
            dtls_role: match dtls.role {
                None => "unknown",
                Some(DtlsRole::Client) => "client",
                Some(DtlsRole::Server) => "server",
            },
            selected_candidate_pair_changes: transports.ice.path_changes,
        }
    }

    /// Adds the pair, and those ends of it that were never signaled; its id.
    fn pair(&self, pair: &Pair, report: &mut StatsReport) -> String {
        let local = self.local_end(pair);
        let remote = self.remote_end(pair);
        let id = format!("CP{}{}", local.id, remote.id);
        let state = match pair.state {
            PairState::Waiting => "waiting",
            PairState::InProgress => "in-progress",
            PairState::Succeeded => "succeeded",
            PairState::Failed => "failed",
        };
        let carried = self.carried(pair.path);
        report.insert(Entry::CandidatePair(Box::new(CandidatePairEntry {
            id: id.clone(),
            timestamp: self.timestamp,
            transport_id: TRANSPORT.into(),
            local_candidate_id: local.id.clone(),
            remote_candidate_id: remote.id.clone(),
            state,
            nominated: pair.nominated,
            packets_sent: carried.packets_sent,
            packets_received: carried.packets_received,
            bytes_sent: carried.bytes_sent,
            bytes_received: carried.bytes_received,
            last_packet_sent_timestamp: self.moment(carried.last_sent),
            last_packet_received_timestamp: self.moment(carried.last_received),
            total_round_trip_time: pair.total_round_trip.as_secs_f64(),
            current_round_trip_time: pair.round_trip.map(|it| it.as_secs_f64()),
            requests_received: pair.requests_received,
            requests_sent: pair.requests_sent - pair.consent_requests_sent,
            responses_received: pair.responses_received,
            responses_sent: pair.responses_sent,
            consent_requests_sent: pair.consent_requests_sent,
            packets_discarded_on_send: carried.discarded.packets,
            bytes_discarded_on_send: carried.discarded.bytes,
        })));
        report.insert(Entry::LocalCandidate(Box::new(local)));
        report.insert(Entry::RemoteCandidate(Box::new(remote)));
        id
    }

    fn carried(&self, path: Path) -> Carried {
        let paths = &self.answers.traffic().paths;
        let found = paths.iter().find(|it| it.0 == path);
        found.map_or(Carried::default(), |it| it.1)
    }

    /// Milliseconds since the Unix epoch.
    fn moment(&self, at: Option<Instant>) -> Option<f64> {
        let ago = self.now.saturating_duration_since(at?);
        Some(self.timestamp - ago.as_secs_f64() * 1000.0)
    }

    /// Our candidate whose base is the local end of the path.
    fn local_end(&self, pair: &Pair) -> CandidateEntry {
        let at = |it: &&Candidate| {
            let alike = it.kind == pair.local && it.protocol == pair.path.protocol;
            alike && it.base == Some(pair.path.local)
        };
        let known = self.answers.ice.local.iter().find(at);
        match known {
            Some(candidate) => self.local(candidate),
            None => unsignaled(self.local(&reflexive(pair, pair.path.local))),
        }
    }

    fn remote_end(&self, pair: &Pair) -> CandidateEntry {
        let told = &self.answers.ice.remote;
        let at = |it: &&Candidate| {
            it.protocol == pair.path.protocol && it.socket_addr() == Some(pair.path.remote)
        };
        match told.iter().find(at) {
            Some(candidate) => self.remote(candidate),
            None => unsignaled(self.remote(&reflexive(pair, pair.path.remote))),
        }
    }

    fn local(&self, candidate: &Candidate) -> CandidateEntry {
        let ufrag = self.snapshot.transports.ice.local.as_ref();
        self.candidate('L', candidate, ufrag.map(|it| it.ufrag.clone()))
    }

    fn remote(&self, candidate: &Candidate) -> CandidateEntry {
        let ufrag = self.snapshot.transports.ice.remote.as_ref();
        self.candidate('R', candidate, ufrag.map(|it| it.ufrag.clone()))
    }

    fn candidate(&self, side: char, it: &Candidate, ufrag: Option<String>) -> CandidateEntry {
        let protocol = match it.protocol {
            Protocol::Udp => "udp",
            Protocol::Tcp => "tcp",
        };
        let kind = it.kind.name();
        CandidateEntry {
            id: format!("I{side}{kind}/{protocol}/{}/{}", it.address, it.port),
            timestamp: self.timestamp,
            transport_id: TRANSPORT.into(),
            address: it.address.to_string(),
            port: it.port,
            protocol,
            candidate_type: kind,
            priority: Some(it.priority),
            foundation: Some(it.foundation.clone()),
            related_address: it.related.as_ref().map(|(address, _)| address.to_string()),
            related_port: it.related.as_ref().map(|(_, port)| *port),
            username_fragment: ufrag,
            url: it.url.clone(),
            relay_protocol: it.relay_protocol().map(ServerTransport::name),
            tcp_type: it.tcp_type.map(|tcp_type| match tcp_type {
                TcpType::Active => "active",
                TcpType::Passive => "passive",
                TcpType::SimultaneousOpen => "so",
            }),
        }
    }
}

fn reflexive(pair: &Pair, addr: SocketAddr) -> Candidate {
    Candidate::peer_reflexive(pair.path.protocol, addr, 0)
}

/// A candidate of which only the address is known.
fn unsignaled(candidate: CandidateEntry) -> CandidateEntry {
    CandidateEntry {
        candidate_type: CandidateKind::PeerReflexive.name(),
        priority: None,
        foundation: None,
        ..candidate
    }
}

fn certificate_id(der: &[u8]) -> String {
    format!("CF{}", Fingerprint::of(HashFunction::Sha256, der).hex())
}
