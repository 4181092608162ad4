//! One QUIC connection as an engine.

use std::collections::{BTreeSet, VecDeque};
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use peerloom_transports_proto::certificate::{Certificate, Fingerprint};
use peerloom_transports_proto::config::QuicConfig;
use peerloom_transports_proto::engine::{MAX_BATCH, MAX_SEGMENTS, Transmit};
use peerloom_transports_proto::id::{DtlsRole, Path};
use peerloom_transports_proto::quic::{MESSAGE_STREAMS, Notice, Read, Transport, Uni};
use quinn_proto::{
    AckFrequencyConfig, ConnectionError, ConnectionHandle, DatagramEvent, Dir, Endpoint,
    EndpointConfig, MtuDiscoveryConfig, RandomConnectionIdGenerator, ReadError, SendDatagramError,
    StreamEvent, StreamId, TransportConfig, VarInt, WriteError,
};
use rustls::pki_types::CertificateDer;

use super::tls::{self, Pinned};
use crate::udp::Run;

/// Either end, as the engine sees it: of the block that only discards (RFC 6666).
const PEER: SocketAddr = SocketAddr::new(
    std::net::IpAddr::V6(Ipv6Addr::new(0x100, 0, 0, 0, 0, 0, 0, 1)),
    443,
);

/// Datagrams that wait to be sent or read, in bytes: of the engine in either direction. Beyond it sending
/// has to wait, and the oldest that arrived is lost.
const DATAGRAM_BUFFER: usize = 1024 * 1024;

/// Milliseconds of silence after which the connection is over: twice what ICE takes.
const IDLE_TIMEOUT: VarInt = VarInt::from_u32(60_000);

/// Pause after which an idle connection says that it lives: three tries within the timeout.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Least that the engine keeps until it is acknowledged.
const LEAST_SEND_WINDOW: u64 = 256 * 1024;

/// Code of a close in good order.
const GOODBYE: VarInt = VarInt::from_u32(0);

/// Packets of the peer's that are answered by one acknowledgement, if it grants that
/// (draft-ietf-quic-ack-frequency). Two is the rule of RFC 9000 §13.2.2; each costs both ends the work of a
/// packet.
const PACKETS_PER_ACK: u32 = 10;

/// What happens to a connection.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The handshake is done; the peer's certificate is as its description promised.
    Connected {
        /// It, in DER.
        peer_certificate: Bytes,
    },
    /// The peer has closed the connection in good order.
    Closed,
    /// It failed.
    Failed(Error),
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The peer's certificate is not the one its description promised.
    #[error("the peer's certificate does not match the fingerprint in its description")]
    Fingerprint,
    /// The peer has ended it.
    #[error("the peer refused the connection: {0}")]
    Refused(String),
    /// The peer broke the protocol, or does not speak it.
    #[error("{0}")]
    Protocol(String),
    /// Our certificate or settings cannot be used.
    #[error("QUIC cannot be set up: {0}")]
    Config(String),
}

/// Numbers of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Packets that the peer has not got.
    pub packets_lost: u64,
    /// Bytes that may be under way.
    pub congestion_window: u64,
    /// Largest packet that the path carries, as far as is known.
    pub mtu: u16,
}

/// A QUIC connection without socket, clock or task.
pub struct Connection {
    endpoint: Endpoint,
    connection: Option<(ConnectionHandle, quinn_proto::Connection)>,
    pinned: Arc<Pinned>,
    role: DtlsRole,
    connected: bool,
    ended: bool,
    send_window: u64,
    /// What the last batch was like: the next one is likely so, too.
    capacity: usize,
    /// Answers of the endpoint's. Filled by the peer, one at most for each datagram; drained with each.
    responses: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
    notices: Notices,
}

/// What the streams have to tell, each thing once: bounded by the streams there are.
#[derive(Debug, Default)]
struct Notices {
    queue: VecDeque<Notice>,
    queued: BTreeSet<Notice>,
}

impl Notices {
    fn push(&mut self, notice: Notice) {
        if self.queued.insert(notice) {
            self.queue.push_back(notice);
        }
    }

    fn pop(&mut self) -> Option<Notice> {
        let notice = self.queue.pop_front()?;
        self.queued.remove(&notice);
        Some(notice)
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection")
            .field("role", &self.role)
            .field("connected", &self.connected)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// Answers of the endpoint's that wait for a path.
const MAX_RESPONSES: usize = 8;

impl Connection {
    /// Begins the handshake in `role`. `fingerprints` are those of the remote description.
    pub fn new(
        config: &QuicConfig,
        certificate: &Certificate,
        role: DtlsRole,
        fingerprints: Vec<Fingerprint>,
        now: Instant,
    ) -> Result<Self, Error> {
        let pinned = Pinned::new(fingerprints);
        let transport = Arc::new(transport(config));
        let mut settings = EndpointConfig::default();
        settings.grease_quic_bit(false);
        // One connection has an endpoint to itself: nothing has to be told apart.
        settings.cid_generator(|| Box::new(RandomConnectionIdGenerator::new(0)));
        let mut server = None;
        if role == DtlsRole::Server {
            let mut config = tls::server(certificate, pinned.clone())?;
            config.transport_config(transport.clone());
            config.migration(false);
            config.max_incoming(1);
            server = Some(Arc::new(config));
        }
        let mut endpoint = Endpoint::new(Arc::new(settings), server, true, None);
        let mut connection = None;
        if role == DtlsRole::Client {
            let mut config = tls::client(certificate, pinned.clone())?;
            config.transport_config(transport);
            let begun = endpoint.connect(now, config, PEER, tls::SERVER_NAME);
            connection = Some(begun.map_err(|error| Error::Config(error.to_string()))?);
        }
        Ok(Self {
            endpoint,
            connection,
            pinned,
            role,
            connected: false,
            ended: false,
            send_window: u64::from(config.send_window).max(LEAST_SEND_WINDOW),
            capacity: 0,
            responses: VecDeque::new(),
            events: VecDeque::new(),
            notices: Notices::default(),
        })
    }

    /// Takes datagrams that arrived together.
    pub fn handle_run(&mut self, run: Run<'_>, now: Instant) {
        let len: usize = run.datagrams().map(<[u8]>::len).sum();
        let mut all = BytesMut::with_capacity(len);
        run.datagrams().for_each(|it| all.extend_from_slice(it));
        for datagram in run.datagrams() {
            self.take(all.split_to(datagram.len()), now);
        }
        self.settle();
    }

    /// Takes one datagram.
    pub fn handle_datagram(&mut self, datagram: &[u8], now: Instant) {
        self.take(BytesMut::from(datagram), now);
        self.settle();
    }

    fn take(&mut self, datagram: BytesMut, now: Instant) {
        let mut response = Vec::new();
        let event = self
            .endpoint
            .handle(now, PEER, None, None, datagram, &mut response);
        match event {
            Some(DatagramEvent::ConnectionEvent(handle, event)) => {
                if let Some((own, connection)) = &mut self.connection
                    && *own == handle
                {
                    connection.handle_event(event);
                }
            }
            Some(DatagramEvent::NewConnection(incoming)) => self.accept(incoming, now),
            Some(DatagramEvent::Response(_)) => self.respond(response),
            None => {}
        }
    }

    fn accept(&mut self, incoming: quinn_proto::Incoming, now: Instant) {
        let mut response = Vec::new();
        if self.connection.is_some() || self.ended {
            return self.endpoint.ignore(incoming);
        }
        match self.endpoint.accept(incoming, now, &mut response, None) {
            Ok(accepted) => self.connection = Some(accepted),
            Err(error) => {
                tracing::debug!(error = %error.cause, "QUIC connection refused");
                if error.response.is_some() {
                    self.respond(response);
                }
            }
        }
    }

    fn respond(&mut self, response: Vec<u8>) {
        if self.responses.len() < MAX_RESPONSES {
            self.responses.push_back(response);
        }
    }

    /// Runs what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        if let Some((_, connection)) = &mut self.connection {
            connection.handle_timeout(now);
        }
        self.settle();
    }

    /// When to call [`Connection::handle_timeout`].
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        self.connection.as_mut()?.1.poll_timeout()
    }

    /// What has happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.settle();
        self.events.pop_front()
    }

    /// The next datagrams to send.
    pub fn poll_transmit(&mut self, path: Path, now: Instant) -> Option<Transmit> {
        if let Some(response) = self.responses.pop_front() {
            return Some(Transmit::single(path, response.into()));
        }
        let (_, connection) = self.connection.as_mut()?;
        let mtu = usize::from(connection.current_mtu()).max(1);
        let most = (MAX_BATCH / mtu).clamp(1, MAX_SEGMENTS);
        let mut contents = Vec::with_capacity(self.capacity.max(mtu));
        let transmit = connection.poll_transmit(now, most, &mut contents);
        let Some(transmit) = transmit else {
            self.capacity = 0;
            self.settle();
            return None;
        };
        let segment_size = transmit.segment_size.unwrap_or(transmit.size).max(1);
        contents.truncate(transmit.size);
        self.capacity = if transmit.size > segment_size {
            most * mtu
        } else {
            0
        };
        self.settle();
        Some(Transmit {
            path,
            contents: contents.into(),
            segment_size,
        })
    }

    /// Ends the connection. The goodbye is still to be sent.
    pub fn close(&mut self, now: Instant) {
        self.ended = true;
        if let Some((_, connection)) = &mut self.connection {
            connection.close(now, GOODBYE, Bytes::new());
        }
        self.settle();
    }

    /// Whether the handshake is done and the connection not over.
    pub fn is_connected(&self) -> bool {
        self.connected && !self.ended
    }

    /// Our role in the handshake.
    pub fn role(&self) -> DtlsRole {
        self.role
    }

    /// Whether the peer has confirmed the handshake (RFC 9001 section 4.1.2). A server has nothing to
    /// wait for once it is connected.
    pub fn is_confirmed(&self) -> bool {
        let stats = self
            .connection
            .as_ref()
            .map(|(_, connection)| connection.stats());
        self.role == DtlsRole::Server || stats.is_some_and(|it| it.frame_rx.handshake_done > 0)
    }

    /// The way to the peer is another one: what was learnt about the old one is forgotten.
    pub fn path_changed(&mut self, now: Instant) {
        if let Some((_, connection)) = &mut self.connection {
            connection.path_changed(now);
        }
    }

    /// Round trip, packets lost and the path's MTU, for statistics.
    pub fn stats(&self) -> Option<Stats> {
        let (_, connection) = self.connection.as_ref()?;
        let stats = connection.stats();
        Some(Stats {
            packets_lost: stats.path.lost_packets,
            congestion_window: stats.path.cwnd,
            mtu: stats.path.current_mtu,
        })
    }

    /// Passes on what the connection and its endpoint have to tell each other, and us.
    fn settle(&mut self) {
        let Some((handle, connection)) = &mut self.connection else {
            return;
        };
        while let Some(event) = connection.poll_endpoint_events() {
            if let Some(event) = self.endpoint.handle_event(*handle, event) {
                connection.handle_event(event);
            }
        }
        while let Some(event) = connection.poll() {
            match event {
                quinn_proto::Event::HandshakeDataReady => {}
                quinn_proto::Event::Connected => {
                    self.connected = true;
                    let peer_certificate = peer_certificate(connection);
                    self.events.push_back(Event::Connected { peer_certificate });
                }
                quinn_proto::Event::ConnectionLost { reason } => {
                    self.ended = true;
                    let event = ended(reason, self.pinned.mismatch());
                    self.events.push_back(event);
                }
                quinn_proto::Event::Stream(event) => self.notices.push(notice(event)),
                quinn_proto::Event::DatagramReceived => self.notices.push(Notice::Datagrams),
                quinn_proto::Event::DatagramsUnblocked => self.notices.push(Notice::Room),
            }
        }
    }

    fn engine(&mut self) -> Option<&mut quinn_proto::Connection> {
        self.connection.as_mut().map(|(_, connection)| connection)
    }
}

impl Transport for Connection {
    fn poll_notice(&mut self) -> Option<Notice> {
        self.notices.pop().or_else(|| {
            self.settle();
            self.notices.pop()
        })
    }

    fn open(&mut self) -> Option<Uni> {
        let id = self.engine()?.streams().open(Dir::Uni)?;
        Some(Uni(VarInt::from(id).into_inner()))
    }

    fn write(&mut self, stream: Uni, data: &mut Bytes) -> bool {
        let (least, most) = (LEAST_SEND_WINDOW, self.send_window);
        let Some((engine, id)) = self.engine().zip(stream_id(stream)) else {
            return false;
        };
        // No more than what is under way and follows at once: the rest counts as buffered.
        let window = 2 * engine.congestion_state().window();
        engine.set_send_window(window.clamp(least, most));
        let mut stream = engine.send_stream(id);
        match stream.write_chunks(std::slice::from_mut(data)) {
            Ok(_) | Err(WriteError::Blocked) => true,
            Err(WriteError::Stopped(_) | WriteError::ClosedStream) => false,
        }
    }

    fn finish(&mut self, stream: Uni) {
        if let Some((engine, id)) = self.engine().zip(stream_id(stream))
            && let Err(error) = engine.send_stream(id).finish()
        {
            tracing::trace!(%error, "a stream that is over was ended");
        }
    }

    fn reset(&mut self, stream: Uni, code: u64) {
        let code = VarInt::from_u64(code).unwrap_or(VarInt::MAX);
        if let Some((engine, id)) = self.engine().zip(stream_id(stream))
            && engine.send_stream(id).reset(code).is_err()
        {
            tracing::trace!("a stream that is over was reset");
        }
    }

    fn accept(&mut self) -> Option<Uni> {
        let id = self.engine()?.streams().accept(Dir::Uni)?;
        Some(Uni(VarInt::from(id).into_inner()))
    }

    fn read(&mut self, stream: Uni, max: usize, into: &mut BytesMut) -> Read {
        let Some((engine, id)) = self.engine().zip(stream_id(stream)) else {
            return Read::End;
        };
        let mut stream = engine.recv_stream(id);
        let Ok(mut chunks) = stream.read(true) else {
            return Read::End;
        };
        let mut left = max;
        let read = loop {
            if left == 0 {
                break Read::Full;
            }
            match chunks.next(left) {
                Ok(Some(chunk)) => {
                    left -= chunk.bytes.len();
                    into.extend_from_slice(&chunk.bytes);
                }
                Ok(None) => break Read::End,
                Err(ReadError::Blocked) => break Read::Blocked,
                Err(ReadError::Reset(code)) => break Read::Reset(code.into_inner()),
            }
        };
        // Whoever reads polls for packets in the same turn.
        chunks.finalize().should_transmit();
        read
    }

    fn stop(&mut self, stream: Uni) {
        if let Some((engine, id)) = self.engine().zip(stream_id(stream))
            && engine.recv_stream(id).stop(GOODBYE).is_err()
        {
            tracing::trace!("a stream that is over was stopped");
        }
    }

    fn allow(&mut self, streams: u32) {
        if let Some(engine) = self.engine() {
            engine.set_max_concurrent_streams(Dir::Uni, VarInt::from_u32(streams));
        }
    }

    fn max_datagram(&mut self) -> usize {
        let most = self
            .engine()
            .and_then(|engine| engine.datagrams().max_size());
        most.unwrap_or_default()
    }

    fn send_datagram(&mut self, datagram: Bytes) -> bool {
        let Some(engine) = self.engine() else {
            return false;
        };
        match engine.datagrams().send(datagram, false) {
            Ok(()) => true,
            Err(SendDatagramError::Blocked(_)) => false,
            // Lost, as the path's MTU has shrunk since it was made.
            Err(error) => {
                tracing::debug!(%error, "datagram lost");
                true
            }
        }
    }

    fn receive_datagram(&mut self) -> Option<Bytes> {
        self.engine()?.datagrams().recv()
    }

    fn round_trip(&self) -> Duration {
        self.connection
            .as_ref()
            .map_or(Duration::ZERO, |(_, connection)| connection.rtt())
    }
}

fn transport(config: &QuicConfig) -> TransportConfig {
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(config.max_mtu);
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(PACKETS_PER_ACK));
    let window = VarInt::from_u32(config.receive_window);
    let mut transport = TransportConfig::default();
    transport
        // ICE says when the peer is gone (RFC 7675); this is for networks that let only ICE through.
        .max_idle_timeout(Some(IDLE_TIMEOUT.into()))
        .keep_alive_interval(Some(KEEP_ALIVE))
        .stream_receive_window(window)
        .receive_window(window)
        .send_window(u64::from(config.send_window))
        .max_concurrent_uni_streams(VarInt::from_u32(MESSAGE_STREAMS))
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(Some(DATAGRAM_BUFFER))
        .datagram_send_buffer_size(DATAGRAM_BUFFER)
        .initial_rtt(config.initial_rtt)
        .initial_mtu(config.initial_mtu)
        .mtu_discovery_config(Some(mtu))
        .ack_frequency_config(Some(acks))
        .allow_spin(false);
    transport
}

fn stream_id(stream: Uni) -> Option<StreamId> {
    VarInt::from_u64(stream.0).ok().map(StreamId::from)
}

fn notice(event: StreamEvent) -> Notice {
    let uni = |id| Uni(VarInt::from(id).into_inner());
    match event {
        StreamEvent::Opened { .. } => Notice::Opened,
        StreamEvent::Readable { id } => Notice::Readable(uni(id)),
        StreamEvent::Writable { .. } | StreamEvent::Available { .. } => Notice::Room,
        StreamEvent::Finished { id } => Notice::Finished(uni(id)),
        StreamEvent::Stopped { id, .. } => Notice::Stopped(uni(id)),
    }
}

fn peer_certificate(connection: &quinn_proto::Connection) -> Bytes {
    let identity = connection.crypto_session().peer_identity();
    let chain = identity.and_then(|it| it.downcast::<Vec<CertificateDer<'static>>>().ok());
    chain
        .and_then(|chain| chain.first().map(|it| Bytes::copy_from_slice(it)))
        .unwrap_or_default()
}

fn ended(reason: ConnectionError, mismatch: bool) -> Event {
    match reason {
        _ if mismatch => Event::Failed(Error::Fingerprint),
        ConnectionError::ApplicationClosed(close) if close.error_code == GOODBYE => Event::Closed,
        ConnectionError::LocallyClosed => Event::Closed,
        ConnectionError::ApplicationClosed(close) => {
            Event::Failed(Error::Refused(close.to_string()))
        }
        ConnectionError::ConnectionClosed(close) => {
            Event::Failed(Error::Refused(close.to_string()))
        }
        other @ (ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::CidsExhausted) => Event::Failed(Error::Protocol(other.to_string())),
    }
}
