//! Putting the swarm together: transports, protocols, limits.

use std::time::Duration;

use libp2p::core::muxing::StreamMuxerBox;
use libp2p::core::transport::{Boxed, MemoryTransport, OrTransport};
use libp2p::core::upgrade::Version;
use libp2p::identity::Keypair;
use libp2p::swarm::NetworkBehaviour;
use libp2p::swarm::behaviour::toggle::Toggle;
use libp2p::{
    Swarm, Transport, connection_limits, gossipsub, identify, mdns, noise, ping, quic,
    request_response, tcp, yamux,
};

use super::hop::{self, HopCodec};
use super::{Config, GossipError, HOP_TIMEOUT, MESSAGE_MAX};

/// Longest handshake of a transport; silent addresses must fail fast, since
/// the fallback (a room flood) waits for it.
const HANDSHAKE: Duration = Duration::from_secs(2);
/// QUIC gives a connection up after this long without a packet, in
/// milliseconds (libp2p's default).
const QUIC_IDLE_MS: u32 = 10_000;
/// Receive window of a QUIC stream and connection: hop frames are 64 KiB at
/// most; libp2p's 10 MB and 15 MB would be an invitation.
const QUIC_STREAM_WINDOW: u32 = 256 * 1024;
const QUIC_WINDOW: u32 = 1024 * 1024;
/// Gossipsub housekeeping (libp2p's default of 1 s; grafting on subscription
/// does not wait for it).
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Peers a message is passed on to (gossipsub's default is 6). Records reach
/// everybody by the hop protocol and the links as well, and each copy costs a
/// signature check.
const DEGREE: usize = 4;
/// What gossipsub adds to a payload: author, signature, topic, number.
const FRAMING: usize = 1024;
/// Connections per peer: two when both dial at once, and one to spare.
const PER_PEER: u32 = 3;
/// Handshakes going on at once, in each direction.
const PENDING: u32 = 32;
/// Hop streams per connection at once.
const HOP_STREAMS: usize = 32;
/// Ping interval (libp2p's default): a slow backstop, links are probed above.
const PING: Duration = Duration::from_secs(15);
/// Connections are closed by the node, not by idleness.
const IDLE: Duration = Duration::from_secs(24 * 3600);
/// Multicast queries on the local network; libp2p's five minutes would make a
/// lost first packet cost five minutes.
const MDNS_QUERY: Duration = Duration::from_secs(20);

/// The protocols spoken.
#[derive(NetworkBehaviour)]
pub(super) struct Behaviour {
    limits: connection_limits::Behaviour,
    pub(super) gossipsub: gossipsub::Behaviour,
    pub(super) hop: request_response::Behaviour<HopCodec>,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    mdns: Toggle<mdns::tokio::Behaviour>,
}

/// Builds the swarm; called inside the runtime it will run on.
pub(super) fn build(config: &Config) -> Result<Swarm<Behaviour>, GossipError> {
    let keys =
        Keypair::ed25519_from_bytes(*config.seed).map_err(|error| setup("the key", error))?;
    let transport = transport(&keys)?;
    let behaviour = behaviour(&keys, config)?;
    let peer = keys.public().to_peer_id();
    let swarm = libp2p::swarm::Config::with_tokio_executor().with_idle_connection_timeout(IDLE);
    Ok(Swarm::new(transport, behaviour, peer, swarm))
}

fn setup(part: &'static str, cause: impl std::fmt::Display) -> GossipError {
    GossipError::Setup {
        part,
        cause: cause.to_string(),
    }
}

/// QUIC, TCP with noise and yamux, and memory with the same (tests).
fn transport(keys: &Keypair) -> Result<Boxed<(libp2p::PeerId, StreamMuxerBox)>, GossipError> {
    let noise = noise::Config::new(keys).map_err(|error| setup("noise", error))?;
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true))
        .upgrade(Version::V1Lazy)
        .authenticate(noise.clone())
        .multiplex(yamux::Config::default())
        .timeout(HANDSHAKE)
        .boxed();
    let memory = MemoryTransport::default()
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux::Config::default())
        .timeout(HANDSHAKE)
        .boxed();
    let mut config = quic::Config::new(keys);
    config.handshake_timeout = HANDSHAKE;
    config.max_idle_timeout = QUIC_IDLE_MS;
    config.max_stream_data = QUIC_STREAM_WINDOW;
    config.max_connection_data = QUIC_WINDOW;
    let quic = quic::tokio::Transport::new(config)
        .map(|(peer, connection), _| (peer, StreamMuxerBox::new(connection)))
        .boxed();
    let streams = OrTransport::new(tcp, memory)
        .map(|either, _| either.into_inner())
        .boxed();
    Ok(OrTransport::new(quic, streams)
        .map(|either, _| either.into_inner())
        .boxed())
}

fn behaviour(keys: &Keypair, config: &Config) -> Result<Behaviour, GossipError> {
    let hop = request_response::Behaviour::with_codec(
        HopCodec,
        [(hop::PROTOCOL, request_response::ProtocolSupport::Full)],
        request_response::Config::default()
            .with_request_timeout(HOP_TIMEOUT)
            .with_max_concurrent_streams(HOP_STREAMS),
    );
    let identify = identify::Behaviour::new(
        identify::Config::new("/peerloom/1".to_owned(), keys.public())
            .with_agent_version(concat!("peerloom/", env!("CARGO_PKG_VERSION")).to_owned()),
    );
    let mdns = if config.mdns {
        Some(mdns_behaviour(keys)?)
    } else {
        None
    };
    Ok(Behaviour {
        limits: connection_limits::Behaviour::new(limits(config.connections_max)),
        gossipsub: gossipsub(keys)?,
        hop,
        identify,
        ping: ping::Behaviour::new(ping::Config::new().with_interval(PING)),
        mdns: mdns.into(),
    })
}

fn limits(established: u32) -> connection_limits::ConnectionLimits {
    connection_limits::ConnectionLimits::default()
        .with_max_pending_incoming(Some(PENDING))
        .with_max_pending_outgoing(Some(PENDING))
        .with_max_established(Some(established))
        .with_max_established_per_peer(Some(PER_PEER))
}

/// Signed messages, each judged by us before it is passed on.
fn gossipsub(keys: &Keypair) -> Result<gossipsub::Behaviour, GossipError> {
    let config = gossipsub::ConfigBuilder::default()
        .heartbeat_interval(HEARTBEAT)
        .mesh_n(DEGREE)
        .mesh_n_low(DEGREE - 1)
        .mesh_n_high(2 * DEGREE)
        .heartbeat_initial_delay(HEARTBEAT)
        .validation_mode(gossipsub::ValidationMode::Strict)
        .validate_messages()
        .max_transmit_size(MESSAGE_MAX + FRAMING)
        .build()
        .map_err(|error| setup("gossipsub", error))?;
    gossipsub::Behaviour::new(gossipsub::MessageAuthenticity::Signed(keys.clone()), config)
        .map_err(|error| setup("gossipsub", error))
}

fn mdns_behaviour(keys: &Keypair) -> Result<mdns::tokio::Behaviour, GossipError> {
    let config = mdns::Config {
        query_interval: MDNS_QUERY,
        ..mdns::Config::default()
    };
    mdns::tokio::Behaviour::new(config, keys.public().to_peer_id())
        .map_err(|error| setup("multicast DNS", error))
}
