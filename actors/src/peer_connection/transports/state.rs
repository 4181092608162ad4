//! What a connection knows about its transports, and the events between two such states.

use bytes::Bytes;
use peerloom_transports::proto::candidate::{Candidate, CandidateKind, Credentials};
use peerloom_transports::proto::id::{IceRole, Path};
use peerloom_transports::proto::jsep::{GatherIce, IceCandidateInit, StartIce};

use super::super::events::{IceConnectionState, IceGatheringState};
use super::{
    DtlsTransportEvent, DtlsTransportState, IceTransportEvent, QuicTransportEvent,
    QuicTransportState, SctpTransportEvent, SctpTransportState, TransportEvent,
};
use crate::cause::Cause;
use crate::ice_candidate::{IceCandidate, IceCandidatePair};

/// What is known of the SCTP transport.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sctp {
    pub(crate) state: SctpTransportState,
    pub(crate) max_channels: Option<u16>,
    pub(crate) max_message_size: Option<u64>,
}

/// Of the QUIC transport.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Quic {
    pub(crate) state: QuicTransportState,
    pub(crate) remote_certificates: Vec<Bytes>,
    pub(crate) max_channels: Option<u16>,
    pub(crate) max_message_size: Option<u64>,
}

/// Of the DTLS transport.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Dtls {
    pub(crate) state: DtlsTransportState,
    pub(crate) remote_certificates: Vec<Bytes>,
    pub(crate) error: Option<Cause>,
}

/// Of the ICE transport.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ice {
    pub(crate) state: IceConnectionState,
    pub(crate) gathering: IceGatheringState,
    pub(crate) role: Option<IceRole>,
    pub(crate) local: Option<Credentials>,
    pub(crate) remote: Option<Credentials>,
    pub(crate) local_candidates: Vec<Candidate>,
    pub(crate) remote_candidates: Vec<Candidate>,
    /// Ours of before, as long as the latest ones may be taken back.
    pub(crate) before: Option<(Credentials, Vec<Candidate>)>,
    pub(crate) path: Option<Path>,
    /// How often another path was selected.
    pub(crate) path_changes: u32,
}

/// Of all of them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Transports {
    pub(crate) mid: Option<String>,
    pub(crate) mline_index: u16,
    pub(crate) sctp: Option<Sctp>,
    pub(crate) quic: Option<Quic>,
    pub(crate) dtls: Dtls,
    pub(crate) ice: Ice,
}

impl Default for Transports {
    fn default() -> Self {
        Transports {
            mid: None,
            mline_index: 0,
            sctp: None,
            quic: None,
            dtls: Dtls::default(),
            ice: Ice {
                state: IceConnectionState::New,
                gathering: IceGatheringState::New,
                role: None,
                local: None,
                remote: None,
                local_candidates: Vec::new(),
                remote_candidates: Vec::new(),
                before: None,
                path: None,
                path_changes: 0,
            },
        }
    }
}

impl Ice {
    pub(crate) fn start(&mut self, start: &StartIce) {
        self.role = Some(start.role);
        self.remote = Some(start.remote.clone());
        self.remote_candidates.clear();
        self.before = None;
    }

    /// Our generation `ufrag` is taken back. Whether it was the latest.
    pub(crate) fn discard(&mut self, ufrag: &str) -> bool {
        let latest = self.local.as_ref().is_some_and(|it| it.ufrag == ufrag);
        if latest {
            let (local, candidates) = self.before.take().unzip();
            self.local = local;
            self.local_candidates = candidates.unwrap_or_default();
        }
        latest
    }

    pub(crate) fn select(&mut self, path: Path) {
        if self.path.replace(path) != Some(path) {
            self.path_changes += 1;
        }
    }

    /// Candidates of an older generation are not told any more.
    pub(crate) fn gathered(&mut self, ufrag: &str, candidate: &Candidate) {
        let current = self.local.as_ref().is_some_and(|it| it.ufrag == ufrag);
        if current && !self.local_candidates.contains(candidate) {
            self.local_candidates.push(candidate.clone());
        }
    }
}

impl Transports {
    /// Everything ends (webrtc-pc section 4.4.2, `close`).
    pub(crate) fn close(&mut self) {
        if let Some(sctp) = &mut self.sctp {
            sctp.state = SctpTransportState::Closed;
        }
        self.end_quic();
        self.dtls.state = DtlsTransportState::Closed;
        self.ice.state = IceConnectionState::Closed;
    }

    /// Candidates of another generation are gathered.
    pub(crate) fn gather(&mut self, gather: &GatherIce) {
        self.mid = gather.mid.clone();
        self.mline_index = gather.mline_index;
        let before = self.ice.local.replace(gather.credentials.clone());
        let candidates = std::mem::take(&mut self.ice.local_candidates);
        self.ice.before = before.map(|before| (before, candidates));
    }

    pub(crate) fn negotiate_sctp(&mut self, max_message_size: Option<u64>) {
        let sctp = self.sctp.get_or_insert(Sctp {
            state: SctpTransportState::Connecting,
            max_channels: None,
            max_message_size: None,
        });
        sctp.max_message_size = max_message_size;
    }

    pub(crate) fn negotiate_quic(&mut self, max_message_size: Option<u64>) {
        let quic = self.quic.get_or_insert(Quic {
            state: QuicTransportState::Connecting,
            remote_certificates: Vec::new(),
            max_channels: None,
            max_message_size: None,
        });
        quic.max_message_size = max_message_size;
    }

    /// The connection is over; a failure stays one.
    pub(crate) fn end_quic(&mut self) {
        if let Some(quic) = &mut self.quic
            && quic.state != QuicTransportState::Failed
        {
            quic.state = QuicTransportState::Closed;
        }
    }

    /// Channels that may be open at once, of whichever transport carries them.
    pub(crate) fn max_channels(&self) -> Option<u16> {
        let sctp = self.sctp.as_ref().and_then(|sctp| sctp.max_channels);
        sctp.or_else(|| self.quic.as_ref()?.max_channels)
    }

    pub(crate) fn sctp_is_up(&mut self, max_channels: u16) {
        if let Some(sctp) = &mut self.sctp {
            sctp.state = SctpTransportState::Connected;
            sctp.max_channels = Some(max_channels);
        }
    }

    /// The events that lie between two states, in the order of webrtc-pc section 5.6: what is
    /// below comes first.
    pub(crate) fn changes(&self, after: &Transports) -> Vec<TransportEvent> {
        let mut events = Vec::new();
        if self.ice.gathering != after.ice.gathering {
            let changed = IceTransportEvent::GatheringStateChange(after.ice.gathering);
            events.push(TransportEvent::Ice(changed));
        }
        if self.ice.path != after.ice.path && after.ice.path.is_some() {
            let changed = IceTransportEvent::SelectedCandidatePairChange;
            events.push(TransportEvent::Ice(changed));
        }
        if self.ice.state != after.ice.state {
            let changed = IceTransportEvent::StateChange(after.ice.state);
            events.push(TransportEvent::Ice(changed));
        }
        if let Some(cause) = after
            .dtls
            .error
            .as_ref()
            .filter(|_| self.dtls.error.is_none())
        {
            events.push(TransportEvent::Dtls(DtlsTransportEvent::Error(
                cause.clone(),
            )));
        }
        if self.dtls.state != after.dtls.state {
            let changed = DtlsTransportEvent::StateChange(after.dtls.state);
            events.push(TransportEvent::Dtls(changed));
        }
        let quic = |transports: &Transports| transports.quic.as_ref().map(|quic| quic.state);
        if let (Some(before), Some(state)) = (quic(self), quic(after))
            && before != state
        {
            events.push(TransportEvent::Quic(QuicTransportEvent::StateChange(state)));
        }
        let sctp = |transports: &Transports| transports.sctp.as_ref().map(|sctp| sctp.state);
        if let (Some(before), Some(state)) = (sctp(self), sctp(after))
            && before != state
        {
            events.push(TransportEvent::Sctp(SctpTransportEvent::StateChange(state)));
        }
        events
    }

    pub(super) fn candidate(
        &self,
        candidate: &Candidate,
        credentials: Option<&Credentials>,
    ) -> IceCandidate {
        let init = IceCandidateInit {
            candidate: candidate.to_string(),
            sdp_mid: self.mid.clone(),
            sdp_mline_index: Some(self.mline_index),
            username_fragment: credentials.map(|credentials| credentials.ufrag.clone()),
        };
        IceCandidate::known(init, candidate.clone())
    }

    pub(super) fn selected(&self) -> Option<IceCandidatePair> {
        let path = self.ice.path?;
        let ours = |it: &&Candidate| {
            let checked = it.kind != CandidateKind::ServerReflexive;
            checked && it.protocol == path.protocol && it.base == Some(path.local)
        };
        let theirs =
            |it: &&Candidate| it.protocol == path.protocol && it.socket_addr() == Some(path.remote);
        let local = self.ice.local_candidates.iter().find(ours).cloned();
        let remote = self.ice.remote_candidates.iter().find(theirs).cloned();
        // The priority of one that was never told is what the check said, which is not known here.
        let learnt = |addr| Candidate::peer_reflexive(path.protocol, addr, 0);
        let local = local.unwrap_or_else(|| learnt(path.local));
        let remote = remote.unwrap_or_else(|| learnt(path.remote));
        Some(IceCandidatePair {
            local: self.candidate(&local, self.ice.local.as_ref()),
            remote: self.candidate(&remote, self.ice.remote.as_ref()),
        })
    }
}
