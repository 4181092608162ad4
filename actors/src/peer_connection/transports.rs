//! `RTCSctpTransport`, `RTCDtlsTransport` and `RTCIceTransport` (W3C webrtc-pc sections 6.1.1,
//! 5.5 and 5.6): what a connection publishes about its transports, and handles to read it.
//!
//! All data of a connection goes over one transport of each kind. Handles are views: they
//! keep nothing alive, and still tell the last state when the connection is gone.

mod state;

use bytes::Bytes;
use futures::Stream;
use peerloom_transports::proto::candidate::Credentials;
use peerloom_transports::proto::id::IceRole;
use tokio::sync::watch;

use super::events::{IceConnectionState, IceGatheringState, Snapshot, w3c_names};
use super::{Public, stream_of};
use crate::cause::Cause;
use crate::feed::WeakFeed;
use crate::ice_candidate::{IceCandidate, IceCandidatePair, IceComponent, IceParameters};
pub(crate) use state::Transports;
use state::{Quic, Sctp};

/// Events of a transport that a slow listener may be behind. Filled by the connection's
/// actor: a few state changes.
pub(crate) const TRANSPORT_BACKLOG: usize = 64;

/// `RTCSctpTransportState` (webrtc-pc section 6.1.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SctpTransportState {
    /// The association is being made.
    Connecting,
    /// Channels can be used.
    Connected,
    /// Over.
    Closed,
}

/// `RTCDtlsTransportState` (webrtc-pc section 5.5).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DtlsTransportState {
    /// Nothing was negotiated.
    #[default]
    New,
    /// The handshake is under way.
    Connecting,
    /// The peer has the certificate that its description promised.
    Connected,
    /// Closed, by either end.
    Closed,
    /// An error, or another certificate.
    Failed,
}

w3c_names!(SctpTransportState {
    Connecting => "connecting",
    Connected => "connected",
    Closed => "closed",
});
w3c_names!(DtlsTransportState {
    New => "new",
    Connecting => "connecting",
    Connected => "connected",
    Closed => "closed",
    Failed => "failed",
});

/// The state of a [`QuicTransport`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuicTransportState {
    /// The handshake is to come, or under way.
    Connecting,
    /// The peer has the certificate that its description promised.
    Connected,
    /// Closed, by either end.
    Closed,
    /// An error, or another certificate.
    Failed,
}

w3c_names!(QuicTransportState {
    Connecting => "connecting",
    Connected => "connected",
    Closed => "closed",
    Failed => "failed",
});

/// What happens to any of the transports.
#[derive(Debug, Clone)]
pub(crate) enum TransportEvent {
    Sctp(SctpTransportEvent),
    Dtls(DtlsTransportEvent),
    Ice(IceTransportEvent),
    Quic(QuicTransportEvent),
}

/// What happens to a [`QuicTransport`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum QuicTransportEvent {
    /// Its state is another one.
    StateChange(QuicTransportState),
    /// This listener was too slow and missed so many events of the transports.
    Missed(u64),
}

/// What happens to an [`SctpTransport`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum SctpTransportEvent {
    /// `statechange`.
    StateChange(SctpTransportState),
    /// This listener was too slow and missed so many events of the transports.
    Missed(u64),
}

/// What happens to a [`DtlsTransport`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum DtlsTransportEvent {
    /// `statechange`.
    StateChange(DtlsTransportState),
    /// `error`: [`Cause::error_detail`] has the `RTCErrorDetailType`.
    Error(Cause),
    /// This listener was too slow and missed so many events of the transports.
    Missed(u64),
}

/// What happens to an [`IceTransport`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum IceTransportEvent {
    /// `statechange`.
    StateChange(IceConnectionState),
    /// `gatheringstatechange`.
    GatheringStateChange(IceGatheringState),
    /// `selectedcandidatepairchange`.
    SelectedCandidatePairChange,
    /// This listener was too slow and missed so many events of the transports.
    Missed(u64),
}

/// The view that all handles share.
#[derive(Debug, Clone)]
struct View {
    snapshot: watch::Receiver<Snapshot>,
    events: WeakFeed<TransportEvent>,
}

impl View {
    fn read<T>(&self, read: impl FnOnce(&Transports) -> T) -> T {
        read(&self.snapshot.borrow().transports)
    }
}

/// The SCTP association of a connection (`RTCSctpTransport`, webrtc-pc section 6.1.1).
#[derive(Debug, Clone)]
pub struct SctpTransport {
    view: View,
}

impl SctpTransport {
    /// `None` before a description has negotiated data.
    pub(super) fn of(public: &Public) -> Option<SctpTransport> {
        let view = View {
            snapshot: public.snapshot.clone(),
            events: public.transport_events.clone(),
        };
        let exists = view.read(|transports| transports.sctp.is_some());
        exists.then_some(SctpTransport { view })
    }

    /// `transport`: what carries it.
    pub fn transport(&self) -> DtlsTransport {
        DtlsTransport {
            view: self.view.clone(),
        }
    }

    /// `state`.
    pub fn state(&self) -> SctpTransportState {
        let state = |sctp: &Sctp| sctp.state;
        self.read(state).unwrap_or(SctpTransportState::Connecting)
    }

    /// `maxMessageSize`, in bytes: the longest message that [`DataChannel::send`](
    /// crate::DataChannel::send) takes; `None` when the peer sets no limit and neither do we.
    pub fn max_message_size(&self) -> Option<u64> {
        self.read(|sctp| sctp.max_message_size).flatten()
    }

    /// `maxChannels`: how many channels may be open at once, once the association is up.
    pub fn max_channels(&self) -> Option<u16> {
        self.read(|sctp| sctp.max_channels).flatten()
    }

    /// Everything that happens to it from now on.
    pub fn events(&self) -> impl Stream<Item = SctpTransportEvent> + Send + Unpin + use<> {
        stream_of(
            &self.view.events,
            SctpTransportEvent::Missed,
            |event| match event {
                TransportEvent::Sctp(event) => Some(event),
                TransportEvent::Dtls(_) | TransportEvent::Ice(_) | TransportEvent::Quic(_) => None,
            },
        )
    }

    fn read<T>(&self, read: impl FnOnce(&Sctp) -> T) -> Option<T> {
        self.view
            .read(|transports| transports.sctp.as_ref().map(read))
    }
}

/// The QUIC connection that carries the data channels of two Peerloom peers, in place of
/// [`SctpTransport`] and [`DtlsTransport`]. Not of the W3C interface.
#[derive(Debug, Clone)]
pub struct QuicTransport {
    view: View,
}

impl QuicTransport {
    /// `None` where QUIC is not agreed on, or was given up.
    pub(super) fn of(public: &Public) -> Option<QuicTransport> {
        let view = View {
            snapshot: public.snapshot.clone(),
            events: public.transport_events.clone(),
        };
        let exists = view.read(|transports| transports.quic.is_some());
        exists.then_some(QuicTransport { view })
    }

    /// What carries it.
    pub fn ice_transport(&self) -> IceTransport {
        IceTransport {
            view: self.view.clone(),
        }
    }

    /// Its state; closed also when QUIC was given up for SCTP.
    pub fn state(&self) -> QuicTransportState {
        let state = |quic: &Quic| quic.state;
        self.read(state).unwrap_or(QuicTransportState::Closed)
    }

    /// The peer's certificate chain in DER; empty before the handshake is done.
    pub fn get_remote_certificates(&self) -> Vec<Bytes> {
        self.read(|quic| quic.remote_certificates.clone())
            .unwrap_or_default()
    }

    /// As [`SctpTransport::max_message_size`].
    pub fn max_message_size(&self) -> Option<u64> {
        self.read(|quic| quic.max_message_size).flatten()
    }

    /// As [`SctpTransport::max_channels`].
    pub fn max_channels(&self) -> Option<u16> {
        self.read(|quic| quic.max_channels).flatten()
    }

    /// Everything that happens to it from now on.
    pub fn events(&self) -> impl Stream<Item = QuicTransportEvent> + Send + Unpin + use<> {
        stream_of(
            &self.view.events,
            QuicTransportEvent::Missed,
            |event| match event {
                TransportEvent::Quic(event) => Some(event),
                TransportEvent::Sctp(_) | TransportEvent::Dtls(_) | TransportEvent::Ice(_) => None,
            },
        )
    }

    fn read<T>(&self, read: impl FnOnce(&Quic) -> T) -> Option<T> {
        self.view
            .read(|transports| transports.quic.as_ref().map(read))
    }
}

/// The DTLS transport of a connection (`RTCDtlsTransport`, webrtc-pc section 5.5).
#[derive(Debug, Clone)]
pub struct DtlsTransport {
    view: View,
}

impl DtlsTransport {
    /// `iceTransport`: what carries it.
    pub fn ice_transport(&self) -> IceTransport {
        IceTransport {
            view: self.view.clone(),
        }
    }

    /// `state`.
    pub fn state(&self) -> DtlsTransportState {
        self.view.read(|transports| transports.dtls.state)
    }

    /// `getRemoteCertificates`: the peer's certificate chain in DER; empty before the
    /// handshake is done.
    pub fn get_remote_certificates(&self) -> Vec<Bytes> {
        self.view
            .read(|transports| transports.dtls.remote_certificates.clone())
    }

    /// Everything that happens to it from now on.
    pub fn events(&self) -> impl Stream<Item = DtlsTransportEvent> + Send + Unpin + use<> {
        stream_of(
            &self.view.events,
            DtlsTransportEvent::Missed,
            |event| match event {
                TransportEvent::Dtls(event) => Some(event),
                TransportEvent::Sctp(_) | TransportEvent::Ice(_) | TransportEvent::Quic(_) => None,
            },
        )
    }
}

/// The ICE transport of a connection (`RTCIceTransport`, webrtc-pc section 5.6).
#[derive(Debug, Clone)]
pub struct IceTransport {
    view: View,
}

impl IceTransport {
    /// `role`; `None` is `unknown`.
    pub fn role(&self) -> Option<IceRole> {
        self.view.read(|transports| transports.ice.role)
    }

    /// `component`: always RTP, since `rtcp-mux` is required (webrtc-pc section 5.6).
    pub fn component(&self) -> IceComponent {
        IceComponent::Rtp
    }

    /// `state`.
    pub fn state(&self) -> IceConnectionState {
        self.view.read(|transports| transports.ice.state)
    }

    /// `gatheringState`.
    pub fn gathering_state(&self) -> IceGatheringState {
        self.view.read(|transports| transports.ice.gathering)
    }

    /// `getLocalCandidates`: gathered for the latest generation.
    pub fn get_local_candidates(&self) -> Vec<IceCandidate> {
        self.view.read(|transports| {
            let ice = &transports.ice;
            let read = |it| transports.candidate(it, ice.local.as_ref());
            ice.local_candidates.iter().map(read).collect()
        })
    }

    /// `getRemoteCandidates`: those of the peer's generation in use.
    pub fn get_remote_candidates(&self) -> Vec<IceCandidate> {
        self.view.read(|transports| {
            let ice = &transports.ice;
            let read = |it| transports.candidate(it, ice.remote.as_ref());
            ice.remote_candidates.iter().map(read).collect()
        })
    }

    /// `getSelectedCandidatePair`: which way packets go.
    pub fn get_selected_candidate_pair(&self) -> Option<IceCandidatePair> {
        self.view.read(Transports::selected)
    }

    /// `getLocalParameters`: of the latest generation.
    pub fn get_local_parameters(&self) -> Option<IceParameters> {
        self.view
            .read(|transports| transports.ice.local.as_ref().map(parameters))
    }

    /// `getRemoteParameters`: of the generation in use.
    pub fn get_remote_parameters(&self) -> Option<IceParameters> {
        self.view
            .read(|transports| transports.ice.remote.as_ref().map(parameters))
    }

    /// Everything that happens to it from now on.
    pub fn events(&self) -> impl Stream<Item = IceTransportEvent> + Send + Unpin + use<> {
        stream_of(
            &self.view.events,
            IceTransportEvent::Missed,
            |event| match event {
                TransportEvent::Ice(event) => Some(event),
                TransportEvent::Sctp(_) | TransportEvent::Dtls(_) | TransportEvent::Quic(_) => None,
            },
        )
    }
}

fn parameters(credentials: &Credentials) -> IceParameters {
    IceParameters {
        username_fragment: credentials.ufrag.clone(),
        password: credentials.pwd.clone(),
    }
}
