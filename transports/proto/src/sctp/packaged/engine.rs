//! The packaged engine (`rtc-sctp`) behind calls that cannot unwind, and translations to and from
//! its types.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use webrtc_sctp::{
    Association as Sctp, AssociationError, AssociationHandle, ClientConfig, DatagramEvent,
    Endpoint, EndpointConfig, EndpointEvent, Event as SctpEvent, Payload,
    PayloadProtocolIdentifier, ReliabilityType, ServerConfig, StreamEvent, TimerConfig,
    TransportConfig,
};

use super::{CloseReason, Error, Message, Ppid, Reliability};
use crate::config::SctpConfig;
use crate::error::{EngineFault, Layer, guard};
use crate::id::{DtlsRole, StreamId};

/// The engine wants addresses; below it is DTLS, which has none.
const PEER: SocketAddr = SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5000));

/// Whether the peer lives is for ICE consent to say, so these timers never give up first.
const RETRANSMISSIONS: usize = 64;

/// What the engine reports.
#[derive(Debug)]
pub(super) enum Output {
    Connected,
    /// A chunk was taken.
    Chunk,
    Readable(StreamId),
    Released(StreamId, usize),
    StreamGone(StreamId),
    HandshakeFailed,
}

pub(super) struct Engine {
    endpoint: Endpoint,
    association: Option<(AssociationHandle, Sctp)>,
    reason: CloseReason,
}

impl Engine {
    pub(super) fn new(config: &SctpConfig, role: DtlsRole, now: Instant) -> Result<Self, Error> {
        guard(Layer::Sctp, || {
            let transport = transport_config(config);
            let server = match role {
                DtlsRole::Client => None,
                DtlsRole::Server => Some(Arc::new(ServerConfig::new(transport.clone()))),
            };
            let endpoint_config = Arc::new(EndpointConfig::new());
            let mut endpoint = Endpoint::new(PEER, Default::default(), endpoint_config, server);
            let association = match role {
                DtlsRole::Server => None,
                DtlsRole::Client => {
                    let client = ClientConfig {
                        transport: Arc::new(transport),
                    };
                    Some(
                        endpoint
                            .connect(now, client, PEER)
                            .map_err(|_| Error::NotConnected)?,
                    )
                }
            };
            Ok(Self {
                endpoint,
                association,
                reason: CloseReason::Peer,
            })
        })?
    }

    pub(super) fn handle_packet(&mut self, packet: Bytes, now: Instant) -> Result<(), EngineFault> {
        guard(Layer::Sctp, || {
            match self.endpoint.handle(now, PEER, None, packet) {
                Some((handle, DatagramEvent::AssociationEvent(event))) => {
                    if let Some((known, association)) = &mut self.association
                        && *known == handle
                    {
                        association.handle_event(event);
                    }
                }
                Some((handle, DatagramEvent::NewAssociation(association))) => {
                    // The gate lets a second INIT through only before the association is up.
                    if let Some((old, _)) = self.association.replace((handle, association)) {
                        self.endpoint.handle_event(old, EndpointEvent::drained());
                    }
                }
                Some(_) | None => {}
            }
        })
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), EngineFault> {
        guard(Layer::Sctp, || {
            if let Some((_, association)) = &mut self.association {
                association.handle_timeout(now);
            }
        })
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.association.as_ref()?.1.poll_timeout()
    }

    /// All packets that the window lets go now.
    pub(super) fn poll_packets(&mut self, now: Instant) -> Result<Vec<Bytes>, EngineFault> {
        guard(Layer::Sctp, || {
            let transmit = self.association.as_mut()?.1.poll_transmit(now)?;
            match transmit.message {
                Payload::RawEncode(packets) => Some(packets),
                Payload::PartialDecode(_) | _ => None,
            }
        })
        .map(Option::unwrap_or_default)
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        let association = &mut self.association.as_mut()?.1;
        loop {
            let output = match association.poll()? {
                SctpEvent::Connected => Output::Connected,
                SctpEvent::DatagramReceived => Output::Chunk,
                SctpEvent::HandshakeFailed { .. } => Output::HandshakeFailed,
                // Reported for each stream, whatever its name says.
                SctpEvent::AssociationLost { id, reason } => {
                    self.reason = translate_reason(&reason);
                    Output::StreamGone(StreamId(id))
                }
                SctpEvent::Stream(StreamEvent::Readable { id }) => Output::Readable(StreamId(id)),
                SctpEvent::Stream(StreamEvent::BufferedAmountReleased { id, n_bytes }) => {
                    Output::Released(StreamId(id), n_bytes)
                }
                SctpEvent::Stream(_) | _ => continue,
            };
            return Some(output);
        }
    }

    /// A server that waits for the cookie is "closed" as well, to the engine.
    pub(super) fn is_closed(&self) -> bool {
        self.association.as_ref().is_some_and(|(_, association)| {
            let waiting = association.side().is_server() && association.is_handshaking();
            association.is_closed() && !waiting
        })
    }

    /// Why it is closed; the engine says so only with a stream.
    pub(super) fn close_reason(&self) -> CloseReason {
        self.reason
    }

    /// The fewer of the streams that both ends offered, incoming and outgoing, once the handshake
    /// is over (RFC 9260 §5.1.1).
    pub(super) fn streams(&self) -> Option<u16> {
        self.association.as_ref()?.1.negotiated_max_streams()
    }

    pub(super) fn round_trip(&self) -> Duration {
        self.association
            .as_ref()
            .map_or(Duration::ZERO, |(_, association)| association.rtt())
    }

    /// The next whole message and the number of chunks it took.
    pub(super) fn read(
        &mut self,
        stream: StreamId,
        max: usize,
    ) -> Result<Option<(Message, usize)>, EngineFault> {
        let Some((_, association)) = &mut self.association else {
            return Ok(None);
        };
        guard(Layer::Sctp, || {
            let Ok(mut stream) = association.stream(stream.0) else {
                return None;
            };
            let chunks = stream.read_sctp().ok().flatten()?;
            let count = chunks.chunks.len();
            // Longer than announced: the layer above sees an empty message, which none is.
            let data = chunks
                .to_payload(max)
                .map(bytes::BytesMut::freeze)
                .unwrap_or_default();
            Some((
                Message {
                    ppid: translate_ppid(chunks.ppi),
                    data,
                },
                count,
            ))
        })
    }

    pub(super) fn write(
        &mut self,
        stream: StreamId,
        ordered: bool,
        (kind, value): (ReliabilityType, u32),
        message: &Message,
        now: Instant,
    ) -> Result<(), Error> {
        let association = &mut self.association.as_mut().ok_or(Error::NotConnected)?.1;
        let ppid = engine_ppid(message.ppid);
        guard(Layer::Sctp, || {
            if association.stream(stream.0).is_err() {
                association.open_stream(stream.0, ppid).map(drop)?;
            }
            let mut stream = association.stream(stream.0)?;
            stream.set_reliability_params(!ordered, kind, value)?;
            stream.write_sctp(now, &message.data, ppid).map(drop)
        })?
        .map_err(|_: rtc_shared::error::Error| Error::Closing(stream))
    }

    /// Sets how data on the stream is understood before anything was written to it.
    pub(super) fn prepare(&mut self, stream: StreamId, ordered: bool) -> Result<(), Error> {
        let association = &mut self.association.as_mut().ok_or(Error::NotConnected)?.1;
        guard(Layer::Sctp, || {
            if association.stream(stream.0).is_err() {
                let ppid = PayloadProtocolIdentifier::Binary;
                association.open_stream(stream.0, ppid).map(drop)?;
            }
            let mut stream = association.stream(stream.0)?;
            stream.set_reliability_params(!ordered, ReliabilityType::Reliable, 0)
        })?
        .map_err(|_: rtc_shared::error::Error| Error::Closing(stream))
    }

    pub(super) fn reset(&mut self, stream: StreamId, now: Instant) -> Result<(), Error> {
        let association = &mut self.association.as_mut().ok_or(Error::NotConnected)?.1;
        guard(Layer::Sctp, || {
            if association.stream(stream.0).is_err() {
                let ppid = PayloadProtocolIdentifier::Binary;
                association.open_stream(stream.0, ppid).map(drop)?;
            }
            association.stream(stream.0)?.close(now)
        })?
        .map_err(|_: rtc_shared::error::Error| Error::Closing(stream))
    }

    pub(super) fn abort(&mut self) -> Result<(), EngineFault> {
        guard(Layer::Sctp, || {
            if let Some((_, association)) = &mut self.association
                && let Err(error) = association.abort()
            {
                tracing::debug!(%error, "abort");
            }
        })
    }
}

fn transport_config(config: &SctpConfig) -> TransportConfig {
    let timers = TimerConfig {
        max_t1_init_retrans: RETRANSMISSIONS,
        max_t1_cookie_retrans: RETRANSMISSIONS,
        max_t3_rtx_retrans: usize::MAX,
        max_reconfig_retrans: usize::MAX,
        ..TimerConfig::default()
    };
    TransportConfig::default()
        .with_max_receive_buffer_size(config.receive_window)
        .with_max_message_size(config.max_message_size)
        .with_max_num_outbound_streams(config.streams)
        .with_max_num_inbound_streams(config.streams)
        .with_timer_config(timers)
}

pub(super) fn engine_reliability(
    reliability: Reliability,
    millis: impl Fn(u16) -> u32,
) -> (ReliabilityType, u32) {
    match reliability {
        Reliability::Reliable => (ReliabilityType::Reliable, 0),
        Reliability::MaxRetransmits(n) => (ReliabilityType::Rexmit, u32::from(n)),
        Reliability::MaxLifetime(n) => (ReliabilityType::Timed, millis(n)),
    }
}

fn engine_ppid(ppid: Ppid) -> PayloadProtocolIdentifier {
    match ppid {
        Ppid::Dcep => PayloadProtocolIdentifier::Dcep,
        Ppid::Text => PayloadProtocolIdentifier::String,
        Ppid::TextEmpty => PayloadProtocolIdentifier::StringEmpty,
        Ppid::BinaryEmpty => PayloadProtocolIdentifier::BinaryEmpty,
        Ppid::Binary | Ppid::Other => PayloadProtocolIdentifier::Binary,
    }
}

fn translate_ppid(ppid: PayloadProtocolIdentifier) -> Ppid {
    match ppid {
        PayloadProtocolIdentifier::Dcep => Ppid::Dcep,
        PayloadProtocolIdentifier::String => Ppid::Text,
        PayloadProtocolIdentifier::Binary => Ppid::Binary,
        PayloadProtocolIdentifier::StringEmpty => Ppid::TextEmpty,
        PayloadProtocolIdentifier::BinaryEmpty => Ppid::BinaryEmpty,
        PayloadProtocolIdentifier::Unknown | _ => Ppid::Other,
    }
}

fn translate_reason(reason: &AssociationError) -> CloseReason {
    match reason {
        AssociationError::HandshakeFailed(_) | AssociationError::TimedOut => CloseReason::Handshake,
        AssociationError::TransportError => CloseReason::Protocol,
        AssociationError::LocallyClosed => CloseReason::Local,
        AssociationError::AssociationClosed
        | AssociationError::ApplicationClosed
        | AssociationError::Reset
        | _ => CloseReason::Peer,
    }
}
