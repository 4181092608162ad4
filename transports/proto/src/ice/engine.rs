//! The packaged agent (`rtc-ice`) behind calls that cannot unwind, and translations to and from
//! its types.

mod aliases;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rtc_shared::{TransportContext, TransportMessage, TransportProtocol};
use sansio::Protocol as _;
use webrtc_ice::candidate::candidate_host::CandidateHostConfig;
use webrtc_ice::candidate::candidate_relay::CandidateRelayConfig;
use webrtc_ice::candidate::candidate_server_reflexive::CandidateServerReflexiveConfig;
use webrtc_ice::candidate::{Candidate as EngineCandidate, CandidateConfig};
use webrtc_ice::mdns::MulticastDnsMode;
use webrtc_ice::state::ConnectionState;
use webrtc_ice::tcp_type::TcpType as EngineTcpType;
use webrtc_ice::{AgentConfig, Event as EngineEvent};

use aliases::Aliases;

use super::{Error, State};
use crate::candidate::{Candidate, CandidateKind, Credentials, Protocol, TcpType};
use crate::config::IceConfig;
use crate::error::{Layer, guard};
use crate::id::{IceRole, Path};

/// The engine paces its rounds by this; ours come from `Agent::handle_timeout`.
const ENGINE_TICK: Duration = Duration::from_micros(1);

/// Unanswered checks before a pair is given up. The time limit is `IceConfig::failed_after`, not a
/// count, since with trickle the other end may start answering late.
const MAX_CHECKS: u16 = u16::MAX;

/// What the engine reports.
pub(super) enum Output {
    State(State),
    Selected(Path),
    Role(IceRole),
}

pub(super) struct Engine {
    agent: webrtc_ice::Agent,
    /// The engine finds a peer's candidate by its address alone, whatever its transport.
    aliases: Aliases,
}

impl Engine {
    pub(super) fn new(
        config: &IceConfig,
        local: &Credentials,
        role: IceRole,
        now: Instant,
    ) -> Result<Self, Error> {
        let crypto = rtc_crypto::default_provider().map_err(|_| Error::Crypto)?;
        let engine_config = AgentConfig {
            local_ufrag: local.ufrag.clone(),
            local_pwd: local.pwd.clone(),
            multicast_dns_mode: MulticastDnsMode::Disabled,
            // What silence means, when consent is asked for and when to fail is `Agent`'s matter: each
            // round is a check of the selected pair, and the engine would count the time that the
            // generation before has checked as well.
            disconnected_timeout: Some(Duration::ZERO),
            failed_timeout: Some(Duration::ZERO),
            keepalive_interval: Some(ENGINE_TICK),
            check_interval: ENGINE_TICK,
            max_binding_requests: Some(MAX_CHECKS),
            is_controlling: role == IceRole::Controlling,
            host_acceptance_min_wait: Some(Duration::ZERO),
            srflx_acceptance_min_wait: Some(config.reflexive_patience),
            prflx_acceptance_min_wait: Some(config.reflexive_patience),
            relay_acceptance_min_wait: Some(config.relay_patience),
            ..AgentConfig::default()
        };
        let agent = guard(Layer::Ice, || {
            webrtc_ice::Agent::new(now, Arc::new(engine_config), crypto)
        })?
        .map_err(engine_error)?;
        Ok(Self {
            agent,
            aliases: Aliases::default(),
        })
    }

    pub(super) fn add_local(&mut self, candidate: &Candidate) -> Result<(), Error> {
        let addr = candidate.socket_addr().ok_or(Error::Unresolved)?;
        let candidate = translate(candidate, addr)?;
        guard(Layer::Ice, || self.agent.add_local_candidate(candidate))?
            .map(drop)
            .map_err(engine_error)
    }

    pub(super) fn add_remote(&mut self, candidate: &Candidate) -> Result<(), Error> {
        let addr = candidate.socket_addr().ok_or(Error::Unresolved)?;
        let known_as = self.aliases.of(candidate.protocol, addr);
        let candidate = translate(candidate, known_as)?;
        guard(Layer::Ice, || self.agent.add_remote_candidate(candidate))?
            .map(drop)
            .map_err(engine_error)
    }

    pub(super) fn start(
        &mut self,
        remote: &Credentials,
        role: IceRole,
        now: Instant,
    ) -> Result<(), Error> {
        let controlling = role == IceRole::Controlling;
        let (ufrag, pwd) = (remote.ufrag.clone(), remote.pwd.clone());
        guard(Layer::Ice, || {
            self.agent
                .start_connectivity_checks(now, controlling, ufrag, pwd)
        })?
        .map_err(engine_error)
    }

    /// A new generation, without candidates of either end.
    pub(super) fn restart(&mut self, local: &Credentials, now: Instant) -> Result<(), Error> {
        let (ufrag, pwd) = (local.ufrag.clone(), local.pwd.clone());
        self.aliases = Aliases::default();
        guard(Layer::Ice, || self.agent.restart(now, ufrag, pwd, false))?.map_err(engine_error)
    }

    pub(super) fn handle_packet(
        &mut self,
        path: Path,
        packet: &[u8],
        now: Instant,
    ) -> Result<(), Error> {
        let message = TransportMessage {
            now,
            transport: TransportContext {
                local_addr: path.local,
                peer_addr: self.aliases.of(path.protocol, path.remote),
                transport_protocol: match path.protocol {
                    Protocol::Udp => TransportProtocol::UDP,
                    Protocol::Tcp => TransportProtocol::TCP,
                },
                ecn: None,
            },
            message: BytesMut::from(packet),
        };
        guard(Layer::Ice, || self.agent.handle_read(message))?.map_err(engine_error)
    }

    /// The peer has refused our role.
    pub(super) fn set_role(&mut self, role: IceRole) -> Result<(), Error> {
        let controlling = role == IceRole::Controlling;
        guard(Layer::Ice, || self.agent.set_role(controlling)).map_err(Error::from)
    }

    pub(super) fn handle_timeout(&mut self, now: Instant) -> Result<(), Error> {
        guard(Layer::Ice, || self.agent.handle_timeout(now))?.map_err(engine_error)
    }

    /// The TCP path from `old` goes to `new` from now on: the peer connected anew.
    pub(super) fn rename(&mut self, old: SocketAddr, new: SocketAddr) {
        self.aliases.rename(old, new);
    }

    pub(super) fn poll_packet(&mut self) -> Option<(Path, Bytes)> {
        let message = self.agent.poll_write()?;
        let (local, remote) = (message.transport.local_addr, message.transport.peer_addr);
        let tcp = message.transport.transport_protocol == TransportProtocol::TCP;
        let path = if tcp {
            Path::tcp(local, self.aliases.behind(remote))
        } else {
            Path::new(local, remote)
        };
        Some((path, message.message.freeze()))
    }

    pub(super) fn poll_output(&mut self) -> Option<Output> {
        loop {
            match self.agent.poll_event()?.event {
                EngineEvent::ConnectionStateChange(state) => {
                    if let Some(state) = translate_state(state) {
                        return Some(Output::State(state));
                    }
                }
                EngineEvent::SelectedCandidatePairChange(local, remote) => {
                    let (base, remote) = (local.base_addr(), remote.addr());
                    return Some(Output::Selected(if local.network_type().is_tcp() {
                        Path::tcp(base, self.aliases.behind(remote))
                    } else {
                        Path::new(base, remote)
                    }));
                }
                EngineEvent::RoleChange(controlling) => {
                    let role = if controlling {
                        IceRole::Controlling
                    } else {
                        IceRole::Controlled
                    };
                    return Some(Output::Role(role));
                }
                _ => {}
            }
        }
    }
}

fn translate(candidate: &Candidate, addr: SocketAddr) -> Result<EngineCandidate, Error> {
    let base_config = CandidateConfig {
        network: match candidate.protocol {
            Protocol::Udp => "udp".to_owned(),
            Protocol::Tcp => "tcp".to_owned(),
        },
        address: addr.ip().to_string(),
        port: addr.port(),
        component: candidate.component,
        priority: candidate.priority,
        foundation: candidate.foundation.clone(),
        ..CandidateConfig::default()
    };
    let made = match candidate.kind {
        CandidateKind::Host => CandidateHostConfig {
            base_config,
            tcp_type: match candidate.tcp_type {
                None => EngineTcpType::Unspecified,
                Some(TcpType::Active) => EngineTcpType::Active,
                Some(TcpType::Passive) => EngineTcpType::Passive,
                Some(TcpType::SimultaneousOpen) => EngineTcpType::SimultaneousOpen,
            },
        }
        .new_candidate_host(),
        CandidateKind::ServerReflexive | CandidateKind::PeerReflexive => {
            CandidateServerReflexiveConfig {
                base_config,
                ..Default::default()
            }
            .new_candidate_server_reflexive()
        }
        CandidateKind::Relayed => CandidateRelayConfig {
            base_config,
            ..Default::default()
        }
        .new_candidate_relay(),
    };
    made.map_err(engine_error)
}

fn translate_state(state: ConnectionState) -> Option<State> {
    match state {
        ConnectionState::New => Some(State::New),
        ConnectionState::Checking => Some(State::Checking),
        ConnectionState::Connected => Some(State::Connected),
        ConnectionState::Completed => Some(State::Completed),
        ConnectionState::Disconnected => Some(State::Disconnected),
        ConnectionState::Failed => Some(State::Failed),
        ConnectionState::Closed => Some(State::Closed),
        ConnectionState::Unspecified | _ => None,
    }
}

fn engine_error(error: rtc_shared::error::Error) -> Error {
    Error::Refused(error.to_string())
}
