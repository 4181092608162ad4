//! What one server has to say, and whether a relay carries.

use std::net::SocketAddr;
use std::time::Duration;

use futures::StreamExt as _;
use peerloom::webrtc::{
    Candidate, CandidateKind, Configuration, DataChannelInit, Endpoint, Error, Event, IceServer,
    IceTransportPolicy, PathHistory, PeerConnection,
};

use super::super::failure::Failure;

/// How long a path through a relay may take to come up. Guess: as long as gathering.
const PATIENCE: Duration = Duration::from_secs(10);

/// What was gathered.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Own addresses.
    pub(super) hosts: Vec<SocketAddr>,
    /// Base and what it looks like from outside.
    pub(super) mapped: Vec<(SocketAddr, SocketAddr)>,
    /// Where the server relays.
    pub(super) relayed: Vec<SocketAddr>,
    /// Code and reason of the last error.
    pub(super) error: Option<(u16, String)>,
}

fn config(server: Option<IceServer>) -> Configuration {
    let mut config = Configuration {
        ice_servers: server.into_iter().collect(),
        ..Configuration::default()
    };
    config.ice.tcp_active = false; // tells nothing about this machine
    config
}

fn failed(error: Error) -> Failure {
    Failure::new("cannot make a peer connection").because(&error)
}

/// Gathers candidates with one server, or without any.
pub(super) async fn gather(
    endpoint: &Endpoint,
    server: Option<IceServer>,
) -> Result<Found, Failure> {
    let peer = PeerConnection::new(endpoint, config(server))
        .await
        .map_err(failed)?;
    let mut events = peer.events();
    let init = DataChannelInit::default();
    let _channel = peer
        .create_data_channel("doctor", init)
        .await
        .map_err(failed)?;
    peer.set_local_description(None).await.map_err(failed)?;
    let mut found = Found::default();
    while let Some(event) = events.next().await {
        if let Event::IceCandidateError {
            error_code,
            error_text,
            ..
        } = event
        {
            found.error = Some((error_code, error_text));
        } else if let Event::IceCandidate(candidate) = event {
            let Some(candidate) = candidate else { break };
            found.add(candidate.candidate());
        }
    }
    peer.close().await;
    Ok(found)
}

impl Found {
    fn add(&mut self, line: &str) {
        let Some(candidate) = line.parse::<Candidate>().ok() else {
            return;
        };
        let Some(addr) = candidate.socket_addr() else {
            return;
        };
        match candidate.kind {
            CandidateKind::Host => self.hosts.push(addr),
            CandidateKind::ServerReflexive => {
                let base = candidate
                    .related
                    .map(|(base, port)| format!("{base}:{port}"));
                let base = base.and_then(|text| text.parse().ok()).unwrap_or(addr);
                self.mapped.push((base, addr));
            }
            CandidateKind::Relayed => self.relayed.push(addr),
            CandidateKind::PeerReflexive => {}
        }
    }
}

/// What became of two peers of our own that may only use this relay.
#[derive(Debug)]
pub(super) struct Carried {
    /// They reached each other.
    pub(super) works: bool,
    /// Their paths, with what happened to each.
    pub(super) paths: Vec<PathHistory>,
}

/// Sends a channel through the relay and back.
pub(super) async fn through(endpoint: &Endpoint, server: IceServer) -> Result<Carried, Failure> {
    let config = Configuration {
        ice_transport_policy: IceTransportPolicy::Relay,
        ..config(Some(server))
    };
    let a = PeerConnection::new(endpoint, config.clone())
        .await
        .map_err(failed)?;
    let b = PeerConnection::new(endpoint, config)
        .await
        .map_err(failed)?;
    let init = DataChannelInit::default();
    let channel = a
        .create_data_channel("doctor", init)
        .await
        .map_err(failed)?;
    let connecting = async {
        offer(&a, &b).await?;
        offer(&b, &a).await?;
        // Why it did not open is told by the paths.
        Ok::<bool, Error>(channel.opened().await.is_ok())
    };
    let works = match tokio::time::timeout(PATIENCE, connecting).await {
        Ok(outcome) => outcome.map_err(failed)?,
        Err(_) => false,
    };
    let paths = a
        .get_stats()
        .await
        .map(|stats| stats.paths)
        .unwrap_or_default();
    a.close().await;
    b.close().await;
    Ok(Carried { works, paths })
}

/// One description with all its candidates.
async fn offer(from: &PeerConnection, to: &PeerConnection) -> Result<(), Error> {
    let mut events = from.events();
    from.set_local_description(None).await?;
    while let Some(event) = events.next().await {
        if matches!(event, Event::IceCandidate(None)) {
            break;
        }
    }
    match from.local_description() {
        Some(description) => to.set_remote_description(description).await,
        None => Ok(()),
    }
}
