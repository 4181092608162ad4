//! `getStats`, in the words of W3C webrtc-stats.

mod report;

use std::future::Future;
use std::time::{Duration, SystemTime};

use actix::fut::{ActorFutureExt as _, wrap_future};
use actix::{Addr, Context, Handler, MailboxError, ResponseActFuture};
use peerloom_transports::proto::certificate::{Fingerprint, HashFunction};
use peerloom_transports::proto::dtls;
use peerloom_transports::proto::id::{DtlsRole, IceRole, Path};

use super::actor::PeerConnectionActor;
use super::data::DataTransportChoice;
use super::events::{ConnectionState, IceConnectionState, Snapshot};
use super::messages::GetStats;
use super::parting::Parting;
use crate::data_channel::ReadyState;
use crate::dtls_transport::{DtlsStats, DtlsTransportActor, GetDtlsStats, Traffic};
use crate::error::Error;
use crate::ice_agent::{GetIceStats, IceAgentActor, IceStats};
use crate::quic_transport::{GetQuicStats, QuicStats, QuicTransportActor};
use crate::sctp_transport::{ChannelKey, GetSctpStats, SctpStats, SctpTransportActor};
use crate::stats::StatsReport;
use peerloom_transports::clock;
use peerloom_transports::proto::ice;

/// How long a transport may take for its answer: longer than it takes to notice that it is wedged,
/// which ends this with its mailbox.
const PATIENCE: Duration = Duration::from_secs(5);

/// A snapshot of a connection's numbers (`RTCStatsReport`).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Stats {
    /// When it was taken.
    pub timestamp: SystemTime,
    /// The state of the connection.
    pub connection_state: ConnectionState,
    /// `transport`: DTLS over ICE.
    pub transport: TransportStats,
    /// Every pair of addresses of this ICE generation, the best first: what became of it, when,
    /// and why it failed. Explains which path was taken, or why there is none.
    pub paths: Vec<ice::Pair>,
    /// Those of the last generation before this one that had any, as the restart that ended it found them.
    pub former_paths: Vec<ice::Pair>,
    /// `candidate-pair`: the selected one.
    pub candidate_pair: Option<CandidatePairStats>,
    /// `certificate`: ours and, once connected, the peer's.
    pub certificates: Vec<CertificateStats>,
    /// `data-channel`: those that are not closed first, then up to 1,024 that are.
    pub data_channels: Vec<DataChannelStats>,
    /// `sctp-transport`: smoothed round trip.
    pub sctp_round_trip: Option<Duration>,
    /// The same and more as the entries of W3C webrtc-stats.
    pub report: StatsReport,
}

/// `RTCTransportStats`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct TransportStats {
    /// `iceState`.
    pub ice_state: IceConnectionState,
    /// `iceRole`.
    pub ice_role: Option<IceRole>,
    /// `dtlsState`; `None` before the handshake began.
    pub dtls_state: Option<dtls::State>,
    /// `dtlsRole`.
    pub dtls_role: Option<DtlsRole>,
    /// `tlsVersion`.
    pub dtls_version: Option<dtls::Version>,
    /// `packetsSent`.
    pub packets_sent: u64,
    /// `bytesSent`.
    pub bytes_sent: u64,
    /// `packetsReceived`.
    pub packets_received: u64,
    /// `bytesReceived`.
    pub bytes_received: u64,
    /// Batches dropped inside, because a mailbox or the socket was full.
    pub batches_dropped: u64,
    /// Datagrams dropped before the ICE agent, because its mailbox was full.
    pub datagrams_dropped: u64,
    /// DATA chunks that SCTP has sent again.
    pub chunks_retransmitted: u64,
    /// What carries data channels, and why; `None` before that is settled.
    pub data_transport: Option<DataTransportChoice>,
    /// Smoothed round trip of QUIC, where it carries them.
    pub quic_round_trip: Option<Duration>,
    /// Packets that QUIC has lost.
    pub quic_packets_lost: Option<u64>,
    /// Largest packet of QUIC's that the path carries.
    pub quic_mtu: Option<u16>,
}

/// `RTCIceCandidatePairStats` of the selected pair.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CandidatePairStats {
    /// Its addresses.
    pub path: Path,
    /// `currentRoundTripTime`.
    pub current_round_trip_time: Option<Duration>,
    /// `requestsSent` and `consentRequestsSent` together.
    pub requests_sent: u64,
    /// `requestsReceived`.
    pub requests_received: u64,
    /// `responsesReceived`.
    pub responses_received: u64,
}

/// `RTCCertificateStats`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct CertificateStats {
    /// Whether it is the peer's.
    pub remote: bool,
    /// `fingerprint` and `fingerprintAlgorithm`.
    pub fingerprint: Fingerprint,
}

/// `RTCDataChannelStats`.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DataChannelStats {
    /// `label`.
    pub label: String,
    /// `protocol`.
    pub protocol: String,
    /// `dataChannelIdentifier`.
    pub id: Option<u16>,
    /// `state`.
    pub state: ReadyState,
    /// `messagesSent`.
    pub messages_sent: u64,
    /// `bytesSent`.
    pub bytes_sent: u64,
    /// `messagesReceived`.
    pub messages_received: u64,
    /// `bytesReceived`.
    pub bytes_received: u64,
}

/// What the transports answer. One that is dead has nothing to say.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    ice: IceStats,
    dtls: DtlsStats,
    sctp: SctpStats,
    quic: Option<QuicStats>,
}

impl Answers {
    /// What carried the records or packets of data.
    fn traffic(&self) -> &Traffic {
        match &self.quic {
            Some(quic) => &quic.traffic,
            None => &self.dtls.traffic,
        }
    }

    /// The peer's certificate in DER, however it was shown.
    fn peer_certificate(&self) -> Option<&[u8]> {
        let quic = self
            .quic
            .as_ref()
            .and_then(|it| it.peer_certificate.as_ref());
        quic.or(self.dtls.peer_certificate.as_ref()).map(|it| &**it)
    }
}

/// The transports.
pub(super) struct Addrs {
    pub(super) ice: Addr<IceAgentActor>,
    pub(super) dtls: Addr<DtlsTransportActor>,
    pub(super) sctp: Addr<SctpTransportActor>,
    pub(super) quic: Option<Addr<QuicTransportActor>>,
}

/// Asks each of them, waiting so long at most.
pub(super) async fn ask(addrs: Addrs, limit: Duration) -> Answers {
    async fn known<T: Default>(
        limit: Duration,
        answer: impl Future<Output = Result<T, MailboxError>>,
    ) -> T {
        let answer = tokio::time::timeout(limit, answer).await;
        answer.ok().and_then(Result::ok).unwrap_or_default()
    }
    let quic = async {
        match addrs.quic {
            Some(quic) => Some(known(limit, quic.send(GetQuicStats)).await),
            None => None,
        }
    };
    let (ice, dtls, sctp, quic) = futures::join!(
        known(limit, addrs.ice.send(GetIceStats)),
        known(limit, addrs.dtls.send(GetDtlsStats)),
        known(limit, addrs.sctp.send(GetSctpStats)),
        quic,
    );
    Answers {
        ice,
        dtls,
        sctp,
        quic,
    }
}

impl PeerConnectionActor {
    pub(super) fn stats(&self, answers: &Answers) -> Stats {
        let snapshot = self.snapshot.borrow().clone();
        let timestamp = clock::wall_clock();
        Stats {
            report: self.report(timestamp, &snapshot, answers),
            timestamp,
            connection_state: snapshot.connection,
            paths: answers.ice.pairs.clone(),
            former_paths: answers.ice.former_pairs.clone(),
            candidate_pair: pair(&answers.ice),
            certificates: self.certificates(answers.peer_certificate()),
            data_channels: self.channel_stats().map(|(_, stats)| stats).collect(),
            sctp_round_trip: answers.sctp.round_trip,
            transport: transport(&snapshot, answers),
        }
    }

    /// The live ones first.
    fn channel_stats(&self) -> impl Iterator<Item = (ChannelKey, DataChannelStats)> {
        let live = self.channels.iter();
        let live = live.map(|(key, channel)| (*key, channel.stats()));
        live.chain(self.past.iter().cloned())
    }

    fn report(&self, at: SystemTime, snapshot: &Snapshot, answers: &Answers) -> StatsReport {
        let since = at.duration_since(SystemTime::UNIX_EPOCH);
        let channels = self.channel_stats().map(|(key, stats)| {
            let key = match key {
                ChannelKey::Local(number) => format!("L{number}"),
                ChannelKey::Remote(number) => format!("R{number}"),
            };
            (key, stats)
        });
        let input = report::Input {
            timestamp: since.unwrap_or_default().as_secs_f64() * 1000.0,
            now: clock::now(),
            snapshot,
            answers,
            certificate: self.certificate.der(),
            channels: channels.collect(),
        };
        input.report()
    }

    fn certificates(&self, theirs: Option<&[u8]>) -> Vec<CertificateStats> {
        let ours = CertificateStats {
            remote: false,
            fingerprint: self.certificate.fingerprint().clone(),
        };
        let theirs = theirs.map(|der| CertificateStats {
            remote: true,
            fingerprint: Fingerprint::of(HashFunction::Sha256, der),
        });
        std::iter::once(ours).chain(theirs).collect()
    }
}

impl super::channels::Channel {
    pub(super) fn stats(&self) -> DataChannelStats {
        let counters = self.pipe.counters();
        DataChannelStats {
            label: self.pipe.label.clone(),
            protocol: self.pipe.init.protocol.clone(),
            id: self.pipe.id(),
            state: self.pipe.ready(),
            messages_sent: counters.messages_sent,
            bytes_sent: counters.bytes_sent,
            messages_received: counters.messages_received,
            bytes_received: counters.bytes_received,
        }
    }
}

fn pair(ice: &IceStats) -> Option<CandidatePairStats> {
    Some(CandidatePairStats {
        path: ice.path?,
        current_round_trip_time: ice.engine.round_trip,
        requests_sent: ice.engine.requests_sent,
        requests_received: ice.engine.requests_received,
        responses_received: ice.engine.responses_received,
    })
}

fn transport(snapshot: &Snapshot, answers: &Answers) -> TransportStats {
    let dtls = &answers.dtls;
    let total = &answers.traffic().total;
    let quic = answers.quic.as_ref();
    TransportStats {
        data_transport: snapshot.data_transport.clone(),
        quic_round_trip: quic.and_then(|quic| quic.round_trip),
        quic_packets_lost: quic.map(|quic| quic.packets_lost),
        quic_mtu: quic.map(|quic| quic.mtu),
        ice_state: snapshot.ice,
        ice_role: answers.ice.role,
        dtls_state: dtls.state,
        dtls_role: dtls.role,
        dtls_version: dtls.version,
        packets_sent: total.packets_sent,
        bytes_sent: total.bytes_sent,
        packets_received: total.packets_received,
        bytes_received: total.bytes_received,
        batches_dropped: dtls.batches_dropped
            + answers.sctp.batches_dropped
            + quic.map_or(0, |quic| quic.batches_dropped),
        datagrams_dropped: answers.ice.inlet_overflow,
        chunks_retransmitted: answers.sctp.chunks_retransmitted,
    }
}

impl Handler<GetStats> for PeerConnectionActor {
    type Result = ResponseActFuture<Self, Result<Stats, Error>>;

    fn handle(&mut self, _: GetStats, _: &mut Context<Self>) -> Self::Result {
        let quic = self.quic_addr();
        let addrs = self.wires.as_ref().map(|wires| wires.addrs(quic));
        // Interleaves with other messages; children answer from memory.
        let asked = async move {
            match addrs {
                Some(addrs) => ask(addrs, PATIENCE).await,
                None => Answers::default(),
            }
        };
        Box::pin(wrap_future::<_, Self>(asked).map(|answers, actor, _| {
            // The transports may have been let go meanwhile.
            let last: &Answers = match &actor.parting {
                Parting::Over(last) => last,
                Parting::No | Parting::Asked => &answers,
            };
            Ok(actor.stats(last))
        }))
    }
}
