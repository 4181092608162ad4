//! Settings of each layer. Every default names its origin.

use std::time::Duration;

/// Settings of [`crate::ice::Agent`].
#[derive(Clone, Debug)]
pub struct IceConfig {
    /// First pause between two rounds of connectivity checks. 10 ms: a local network answers in
    /// less, so that both ends connect within one or two rounds. Each pause is 1.5 times the one
    /// before, up to `check_interval_max`, which keeps the average below RFC 8445 §14.2's
    /// 50 ms per check for all but the first handful.
    pub check_interval_min: Duration,
    /// Longest pause between two rounds of checks. 200 ms: the engine's own default.
    pub check_interval_max: Duration,
    /// Pause between two consent checks on the selected pair, drawn each time from 0.8 to 1.16 times this.
    /// 5 s: RFC 7675 §5.1, whose 1.2 is kept if checks wait for others for a 32nd of it. Checks that are
    /// not answered are followed by others sooner.
    pub consent_interval: Duration,
    /// Silence after which the state becomes `Disconnected`, once three checks in a row were not answered
    /// in it: with the defaults some 5.5 to 7.5 s after the last sign of life. 5 s: what browsers do.
    pub disconnected_after: Duration,
    /// Silence after which consent has expired, or time without any success after which checking is
    /// given up: the state becomes `Failed`. 30 s: RFC 7675 §5.1.
    pub failed_after: Duration,
    /// How long a server- or peer-reflexive pair waits for a better one before it is nominated. Guess:
    /// one round trip on a continent; the engine's 500–1000 ms make every such setup that slow.
    pub reflexive_patience: Duration,
    /// How long a relayed pair waits for a better one. 500 ms: long enough for two peers behind
    /// address translators to learn each other's candidates and to open the way, short enough that
    /// a connection that needs the relay does not seem slow. There is no renomination.
    pub relay_patience: Duration,
    /// How long TCP connections (RFC 6544) are put off, for a path over UDP to be found. 500 ms, as
    /// for relays: nobody whose UDP works opens a connection.
    pub tcp_patience: Duration,
    /// Whether connections are opened to the peer's passive TCP candidates (`tcptype active`). On,
    /// as in browsers: it costs no socket until one is opened.
    pub tcp_active: bool,
    /// How long servers may take to give us candidates. 10 s: as browsers.
    pub gather_patience: Duration,
    /// Whether a connection asks for an ICE restart by itself (`negotiationneeded`) when the
    /// address its path begins at is gone, or a new one comes while there is no path. Browsers
    /// leave that to the application (`restartIce`).
    pub restart_on_network_change: bool,
}

impl Default for IceConfig {
    fn default() -> Self {
        Self {
            check_interval_min: Duration::from_millis(10),
            check_interval_max: Duration::from_millis(200),
            consent_interval: Duration::from_secs(5),
            disconnected_after: Duration::from_secs(5),
            failed_after: Duration::from_secs(30),
            reflexive_patience: Duration::from_millis(50),
            relay_patience: Duration::from_millis(500),
            tcp_patience: Duration::from_millis(500),
            tcp_active: true,
            gather_patience: Duration::from_secs(10),
            restart_on_network_change: true,
        }
    }
}

/// Which DTLS versions may be negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DtlsVersions {
    /// Offer 1.3 (RFC 9147) and fall back to 1.2 (RFC 6347).
    #[default]
    Auto,
    /// Only 1.2.
    Only12,
    /// Only 1.3.
    Only13,
}

/// Settings of [`crate::dtls::Transport`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DtlsConfig {
    /// Versions to negotiate.
    pub versions: DtlsVersions,
    /// Who protects records after the handshake, in version 1.3. We do: the engine spends most of
    /// its time on moving them about (docs/decisions/record-layer.md).
    pub records: DtlsRecords,
    /// Largest DTLS datagram of a handshake flight. 1200: fits every path WebRTC runs on
    /// (1280-byte IPv6 minimum less headers).
    pub mtu: usize,
    /// First retransmission of a handshake flight. 100 ms: RFC 9147 §5.8.2 recommends 1 s and allows
    /// less where a shorter round trip is known, as ICE has measured it.
    pub flight_rto: Duration,
    /// Records encrypted with one key before DTLS 1.3 changes it (RFC 9147 §8). 2^23: the engine's,
    /// far below the limit of AES-GCM in RFC 9147 §4.5.3.
    pub records_per_key: u64,
    /// How long the whole handshake may take. 30 s: as ICE.
    pub handshake_timeout: Duration,
}

impl Default for DtlsConfig {
    fn default() -> Self {
        Self {
            versions: DtlsVersions::Auto,
            records: DtlsRecords::default(),
            mtu: 1200,
            flight_rto: Duration::from_millis(100),
            records_per_key: 1 << 23,
            handshake_timeout: Duration::from_secs(30),
        }
    }
}

/// Who protects the records of a DTLS 1.3 connection after its handshake. Both do it alike.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DtlsRecords {
    /// The packaged engine, which makes the handshake.
    Packaged,
    /// Our own record layer, which takes over from it. Version 1.2 stays with the engine.
    #[default]
    Native,
}

/// Which SCTP engine an association runs on. Both speak the same protocol to any peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SctpEngine {
    /// The `rtc-sctp` crate, and what it needs around it.
    Packaged,
    /// Our own engine.
    #[default]
    Native,
}

/// How [`SctpEngine::Native`] decides how much may be on its way, and how fast it leaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CongestionControl {
    /// By losses (CUBIC, RFC 9438), as most of TCP and QUIC: fills the buffers of the path, and is
    /// slow where packets are lost by chance.
    Cubic,
    /// By a model of the path (BBR, draft-ietf-ccwg-bbr): keeps queues short, and passes over up
    /// to two losses in a hundred.
    #[default]
    Bbr,
}

/// Settings of [`crate::sctp::Association`].
#[derive(Clone, Debug)]
pub struct SctpConfig {
    /// The engine. Our own: with our own records more than twice as fast
    /// (docs/performance.md).
    pub engine: SctpEngine,
    /// Bytes the peer may have in flight or unread here. 4 MiB: below that the packaged engine
    /// stalls, since it sends no window update when the application reads. Costs this much memory
    /// per connection whose consumer has stopped.
    pub receive_window: u32,
    /// Bytes accepted from all channels but not yet acknowledged. 4 MiB: as the window.
    pub send_buffer: usize,
    /// Longest message in either direction inside the engine. Longer ones are chunked above it.
    pub max_message_size: u32,
    /// Streams in each direction. 1024: costs nothing until used; Chromium offers as many.
    pub streams: u16,
    /// How much faster than ours the engine's clock runs. 4: makes its shortest retransmission
    /// timeout 250 ms and its acknowledgement delay 50 ms. Shorter than a peer's acknowledgement
    /// delay (200 ms by RFC 9260 §6.2) would send again what has arrived. Of the packaged engine.
    pub clock_rate: u32,
    /// How long the DTLS server waits for the client's INIT before it sends one itself; `None`
    /// waits for ever. 600 ms: longer than a round trip, so that it only happens with a client that
    /// never begins. As long a client whose INIT met the peer's waits for an answer, before it
    /// answers the peer's instead.
    pub init_patience: Option<Duration>,
    /// Longest packet that path MTU discovery (RFC 8899) looks for, when there is much to send;
    /// [`LONGEST_PACKET`](crate::sctp::LONGEST_PACKET) at most, and none is looked for up to
    /// [`MAX_PACKET`](crate::sctp::MAX_PACKET). Of [`SctpEngine::Native`].
    pub max_packet: usize,
    /// The congestion control. BBR: docs/performance.md has both. Of [`SctpEngine::Native`].
    pub congestion: CongestionControl,
    /// Bytes per second at which a window leaves that is open wider than a burst of 512 KiB.
    /// 1 GB/s: a little above what is reached between two cores. To [`SctpEngine::Native`], which paces
    /// by itself, the most it may reach.
    pub pace: u64,
    /// Offer messages of several channels in turn, piece by piece (I-DATA, RFC 8260); used when the
    /// peer offers it, too. Of [`SctpEngine::Native`].
    pub interleaving: bool,
    /// Offer to leave out the checksum, since DTLS protects each packet (RFC 9653); used when the
    /// peer offers it, too. Of [`SctpEngine::Native`].
    pub zero_checksum: bool,
}

impl Default for SctpConfig {
    fn default() -> Self {
        Self {
            engine: SctpEngine::default(),
            receive_window: 4 * 1024 * 1024,
            send_buffer: 4 * 1024 * 1024,
            max_message_size: 256 * 1024,
            streams: 1024,
            clock_rate: 4,
            init_patience: Some(Duration::from_millis(600)),
            max_packet: crate::sctp::LONGEST_PACKET,
            congestion: CongestionControl::default(),
            pace: 1_000_000_000,
            interleaving: true,
            zero_checksum: true,
        }
    }
}

/// Settings of a QUIC connection between two Peerloom peers, and of [`crate::quic::Mapping`] on it.
#[derive(Clone, Debug)]
pub struct QuicConfig {
    /// Bytes that may arrive and lie unread, on one stream and on all together. 8 MiB: 100 MB/s over 80 ms.
    /// Costs this much memory per connection whose consumer has stopped.
    pub receive_window: u32,
    /// Bytes that QUIC keeps until they are acknowledged. 8 MiB: as the window.
    pub send_window: u32,
    /// Bytes of messages accepted from all channels that QUIC has not taken, or that are on streams of
    /// their own and not acknowledged. 4 MiB: as `SctpConfig::send_buffer`.
    pub send_buffer: usize,
    /// Longest message in one piece. Longer ones are chunked above. 256 KiB: as `SctpConfig`.
    pub max_message_size: u32,
    /// Ids of data channels. 1024: as `SctpConfig::streams`.
    pub streams: u16,
    /// How long the handshake may take from when there is a path; then the client begins DTLS instead,
    /// if it may. 3 s: three probe timeouts of a fresh connection, as RFC 9002 has them without a
    /// known round trip; and a person still waits for it.
    pub patience: Duration,
    /// Round trip before one was measured; a third of a lost first packet's delay. 50 ms: RFC 9002 §6.2.2
    /// has 333 ms, but ICE has just used this path.
    pub initial_rtt: Duration,
    /// Largest packet before path MTU discovery. 1200: what QUIC demands of every path.
    pub initial_mtu: u16,
    /// Largest packet that discovery tries. 1452: Ethernet less the headers of IPv6 and UDP.
    pub max_mtu: u16,
}

impl Default for QuicConfig {
    fn default() -> Self {
        Self {
            receive_window: 8 * 1024 * 1024,
            send_window: 8 * 1024 * 1024,
            send_buffer: 4 * 1024 * 1024,
            max_message_size: 256 * 1024,
            streams: 1024,
            patience: Duration::from_secs(3),
            initial_rtt: Duration::from_millis(50),
            initial_mtu: 1200,
            max_mtu: 1452,
        }
    }
}

/// Settings of [`crate::channel::Channels`].
#[derive(Clone, Debug)]
pub struct ChannelConfig {
    /// The peer's `a=max-message-size` (RFC 8841 §6); 0 there means "any", given here as `None`.
    pub remote_max_message_size: Option<u32>,
    /// Longest message we take, announced in our own description. 256 KiB: Chromium's.
    pub local_max_message_size: u32,
    /// Both ends are Peerloom: longer messages are sent in chunks.
    pub peerloom_peer: bool,
    /// Longest message that is put together from chunks, in either direction. 16 MiB: guess; the
    /// cost is this much memory per channel that is receiving one.
    pub max_chunked_message: usize,
    /// Memory for half-received chunked messages over all channels of the connection. 32 MiB: two
    /// of the longest.
    pub max_reassembly: usize,
    /// Bytes of messages queued on one channel before it is full; one message may go beyond.
    /// 1 MiB: a few turns of the scheduler.
    pub send_buffer: usize,
    /// Channels of one connection, of both ends together (`maxChannels` of webrtc-pc §6.1.1). 1024:
    /// the streams SCTP asks for. Of their ids each end has half for channels that it opens by
    /// itself (RFC 8832 §6: even or odd), so 512; one more closes with
    /// [`CloseCause::NoStream`](crate::channel::CloseCause::NoStream). Negotiated channels may take any.
    pub max_channels: usize,
}

impl Default for ChannelConfig {
    fn default() -> Self {
        Self {
            remote_max_message_size: Some(64 * 1024),
            local_max_message_size: 256 * 1024,
            peerloom_peer: false,
            max_chunked_message: 16 * 1024 * 1024,
            max_reassembly: 32 * 1024 * 1024,
            send_buffer: 1024 * 1024,
            max_channels: 1024,
        }
    }
}
