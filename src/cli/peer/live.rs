//! What exists once `create` has been done: the connection, its channels, and
//! how its states are told.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::StreamExt;
use futures::stream::BoxStream;
use peerloom::webrtc::{
    self, Configuration, ConnectionState, DataTransport, Endpoint, EndpointConfig,
    IceCandidateInit, IceConnectionState, IceGatheringState, IceServer, IceTransportPolicy,
    OfferOptions, PeerConnection, Runtime, RuntimeConfig, SdpType, SessionDescription,
    SignalingState,
};
use tokio::sync::{mpsc, watch};

use super::channels::{Channels, log};
use super::checks::Driver;
use super::wire::{self, CreateConfig, Event};
use crate::cli::failure::chain;

/// Candidates kept until the description they belong to arrives; more are
/// dropped with a log line.
const QUEUED_CANDIDATES: usize = 256;

/// The states that checks wait on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct States {
    /// Of the whole connection.
    pub(crate) connection: ConnectionState,
    /// Of ICE.
    pub(crate) ice: IceConnectionState,
    /// Of gathering.
    pub(crate) gathering: IceGatheringState,
    /// Of signaling.
    pub(crate) signaling: SignalingState,
    /// How often signaling came back to `stable`: offers answered, by either
    /// side, and offers rolled back.
    pub(crate) negotiations: u64,
    /// Whether the connection was ever up.
    pub(crate) ever_connected: bool,
    /// How often ICE came up: once, and once more for each restart that is over.
    pub(crate) ice_ups: u64,
    /// Why it failed, if it did.
    pub(crate) cause: Option<String>,
}

/// Whether ICE has a pair that works.
pub(super) fn is_up(ice: IceConnectionState) -> bool {
    matches!(
        ice,
        IceConnectionState::Connected | IceConnectionState::Completed
    )
}

/// What exists once `create` has been done.
pub(super) struct Live {
    _runtime: Runtime,
    pub(super) endpoint: Endpoint,
    pub(super) connection: PeerConnection,
    pub(super) channels: Channels,
    pub(super) driver: Arc<Driver>,
    pub(super) states: watch::Sender<States>,
    queued: VecDeque<Option<IceCandidateInit>>,
    events: BoxStream<'static, webrtc::Event>,
    out: mpsc::Sender<Event>,
}

impl Live {
    /// Binds sockets, for UDP and for TCP, and makes the connection.
    pub(super) async fn create(
        [bind, listen_tcp]: [&[SocketAddr]; 2],
        config: CreateConfig,
        out: &mpsc::Sender<Event>,
    ) -> Result<Self, String> {
        let runtime = Runtime::start(RuntimeConfig::default()).map_err(|error| chain(&error))?;
        let sockets = EndpointConfig {
            bind: bind.to_vec(),
        };
        let endpoint = Endpoint::bind(&runtime, sockets)
            .await
            .map_err(|error| chain(&error))?;
        for addr in listen_tcp {
            let listening = endpoint.listen_tcp(*addr).await;
            listening.map_err(|error| chain(&error))?;
        }
        let connection = PeerConnection::new(&endpoint, configuration(config)?)
            .await
            .map_err(|error| chain(&error))?;
        let events = connection.events().boxed();
        let channels = Channels::new(connection.clone(), out.clone());
        let (states, watched) = watch::channel(States {
            connection: connection.connection_state(),
            ice: connection.ice_connection_state(),
            gathering: connection.ice_gathering_state(),
            signaling: connection.signaling_state(),
            negotiations: 0,
            ever_connected: false,
            ice_ups: 0,
            cause: None,
        });
        let driver = Arc::new(Driver::new(channels.clone(), watched));
        Ok(Self {
            _runtime: runtime,
            endpoint,
            connection,
            channels,
            driver,
            states,
            queued: VecDeque::new(),
            events,
            out: out.clone(),
        })
    }

    /// Sets a remote description; an offer is answered.
    pub(super) async fn describe(
        &mut self,
        description: SessionDescription,
    ) -> Result<Option<SessionDescription>, String> {
        let offered = description.kind == SdpType::Offer;
        self.connection
            .set_remote_description(description)
            .await
            .map_err(|error| chain(&error))?;
        for candidate in std::mem::take(&mut self.queued) {
            // One bad candidate is no reason to leave the offer unanswered.
            if let Err(why) = self.add_candidate(candidate).await {
                log(&self.out, format!("candidate refused: {why}")).await;
            }
        }
        if !offered {
            return Ok(None);
        }
        let answer = self
            .connection
            .create_answer()
            .await
            .map_err(|error| chain(&error))?;
        set_local(&self.connection, answer).await.map(Some)
    }

    /// Adds a candidate, or keeps it until its description is there.
    pub(super) async fn candidate(
        &mut self,
        candidate: Option<IceCandidateInit>,
    ) -> Result<(), String> {
        if self.connection.remote_description().is_some() {
            return self.add_candidate(candidate).await;
        }
        if self.queued.len() >= QUEUED_CANDIDATES {
            return Err(format!("more than {QUEUED_CANDIDATES} early candidates"));
        }
        self.queued.push_back(candidate);
        Ok(())
    }

    async fn add_candidate(&self, candidate: Option<IceCandidateInit>) -> Result<(), String> {
        self.connection
            .add_ice_candidate(candidate)
            .await
            .map_err(|error| chain(&error))
    }
}

/// The connection's next event; never, as long as there is no connection.
pub(super) async fn next_event(live: &mut Option<Live>) -> webrtc::Event {
    if let Some(live) = live
        && let Some(event) = live.events.next().await
    {
        return event;
    }
    std::future::pending().await
}

fn configuration(config: CreateConfig) -> Result<Configuration, String> {
    let policy = match config.ice_transport_policy.as_deref() {
        None | Some("all") => IceTransportPolicy::All,
        Some("relay") => IceTransportPolicy::Relay,
        Some(other) => return Err(format!("iceTransportPolicy is all or relay, not {other:?}")),
    };
    let data_transport = match config.data_transport.as_deref() {
        None | Some("sctp") => DataTransport::Sctp,
        Some("auto") => DataTransport::Auto,
        Some("quic") => DataTransport::Quic,
        Some(other) => {
            return Err(format!(
                "dataTransport is sctp, auto or quic, not {other:?}"
            ));
        }
    };
    let server = |server: wire::IceServer| IceServer {
        urls: server.urls,
        username: server.username,
        credential: server.credential,
    };
    Ok(Configuration {
        ice_servers: config.ice_servers.into_iter().map(server).collect(),
        ice_transport_policy: policy,
        obfuscate_host_addresses: config.obfuscate_host_addresses,
        data_transport,
        ..Configuration::default()
    })
}

/// Makes and sets an offer.
pub(super) async fn make_offer(
    connection: &PeerConnection,
    ice_restart: bool,
) -> Result<SessionDescription, String> {
    let offer = connection
        .create_offer(OfferOptions { ice_restart })
        .await
        .map_err(|error| chain(&error))?;
    set_local(connection, offer).await
}

async fn set_local(
    connection: &PeerConnection,
    description: SessionDescription,
) -> Result<SessionDescription, String> {
    connection
        .set_local_description(Some(description.clone()))
        .await
        .map_err(|error| chain(&error))?;
    Ok(connection.local_description().unwrap_or(description))
}
