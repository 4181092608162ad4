//! Asking the servers, and what is made of their answers.

use std::net::SocketAddr;
use std::time::Instant;

use peerloom_transports::proto::candidate::Candidate;
use peerloom_transports::proto::ice_server::{ServerKind, ServerTransport};
use peerloom_transports::proto::id::Path;
use peerloom_transports::proto::stun::{Asked, ServerId, UNREACHABLE, reflexive};
use peerloom_transports::udp::Run;

use super::{Notice, Progress};
use crate::ice_agent::IceAgentActor;
use crate::ice_agent::sockets::log_refusal;
use crate::peer_connection::messages::IceReport;

impl IceAgentActor {
    /// Asks every server that has not answered yet, for the generation `ufrag` or ahead of need.
    pub(in crate::ice_agent) fn ask_servers(&mut self, ufrag: Option<String>, now: Instant) {
        self.gathering.untold.extend(ufrag);
        while self.gathering.tasks.try_join_next().is_some() {}
        for (id, server) in self.gathering.begin() {
            match (server.url.kind, server.url.transport) {
                (ServerKind::Stun, _) if !self.gathering.hosts() => {
                    self.gathering.advance(id, Progress::Idle);
                }
                (ServerKind::Stun, ServerTransport::Udp) => self.gathering.resolve(id, server),
                (ServerKind::Stun, _) => {
                    let reason = "STUN over TLS tells nothing about our UDP addresses";
                    self.server_failed(id, UNREACHABLE, reason.into(), None);
                }
                (ServerKind::Turn, _) => self.ask_relay(id),
            }
        }
        self.gathering.give_up_at = Some(now + self.config.gather_patience);
        self.conclude_gathering();
    }

    /// Acts on the news of a task.
    pub(in crate::ice_agent) fn notice(&mut self, notice: Notice, now: Instant) {
        match notice {
            Notice::Network => {
                self.network_changed(now);
                self.hasten_relays(now);
                self.refill_pool(now);
            }
            Notice::Resolved(id, _) | Notice::Relay(id, _) if self.gathering.is_dropped(id) => {}
            Notice::Named(generation, candidate) => self.add_named(generation, candidate, now),
            Notice::Resolved(id, Ok(addrs)) => self.ask_reflexive(id, &addrs, now),
            Notice::Resolved(id, Err(reason)) => self.server_failed(id, UNREACHABLE, reason, None),
            Notice::Relay(id, event) => self.relay_told(id, event, now),
        }
        self.conclude_gathering();
    }

    fn ask_reflexive(&mut self, id: ServerId, addrs: &[SocketAddr], now: Instant) {
        let bases = self
            .agent
            .as_ref()
            .map(|agent| agent.bases())
            .unwrap_or_default();
        let mut outcomes = Vec::new();
        for base in bases {
            // One address of each family will do.
            let server = addrs.iter().find(|addr| addr.is_ipv4() == base.is_ipv4());
            if let Some(server) = server {
                let path = Path::new(base, *server);
                outcomes.push(self.gathering.ask(id, path, now));
            }
        }
        if outcomes.contains(&Asked::Now) {
            return;
        }
        if outcomes.contains(&Asked::Before) {
            self.gathering.advance(id, Progress::Done);
        } else if outcomes.contains(&Asked::TooMany) {
            // Nothing is wrong with this server: the next gathering may have room for it.
            tracing::debug!(
                server = id.0,
                "an ICE server is not asked: there are too many"
            );
            self.gathering.advance(id, Progress::Idle);
        } else {
            let reason = "no address of ours can reach the server".into();
            self.server_failed(id, UNREACHABLE, reason, None);
        }
    }

    pub(super) fn server_failed(
        &mut self,
        id: ServerId,
        error_code: u16,
        error_text: String,
        local: Option<SocketAddr>,
    ) {
        self.gathering.advance(id, Progress::Failed);
        let Some(server) = self.gathering.server(id) else {
            return;
        };
        let url = server.text.clone();
        tracing::debug!(
            url,
            error_code,
            error_text,
            "an ICE server gave no candidate"
        );
        self.report(IceReport::CandidateError {
            address: local.map(|addr| addr.ip()),
            port: local.map(|addr| addr.port()),
            url,
            error_code,
            error_text,
        });
    }

    /// Whether this was an answer of a server, which is then taken.
    pub(in crate::ice_agent) fn take_answers(&mut self, run: &Run<'_>, now: Instant) -> bool {
        let reflexive = &mut self.gathering.reflexive;
        run.datagrams()
            .filter(|datagram| reflexive.handle_packet(run.path(), datagram, now))
            .count()
            > 0
    }

    pub(in crate::ice_agent) fn expire_gathering(&mut self, now: Instant) {
        self.gathering.reflexive.handle_timeout(now);
        self.ask_relays_again(now);
        if self.gathering.give_up_at.is_none_or(|at| at > now) {
            return;
        }
        self.gathering.give_up_at = None;
        self.gathering.reflexive.give_up();
        self.drain_gathering(now);
        let asking = |(_, progress): &(&ServerId, &Progress)| **progress == Progress::Asking;
        let late: Vec<ServerId> = self
            .gathering
            .progress
            .iter()
            .filter(asking)
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            let reason = "the server has not answered in time".into();
            self.server_failed(id, UNREACHABLE, reason, None);
        }
        self.conclude_gathering();
    }

    /// Carries out what the questions to STUN servers ask for.
    pub(in crate::ice_agent) fn drain_gathering(&mut self, now: Instant) {
        while let Some(transmit) = self.gathering.reflexive.poll_transmit() {
            self.sockets.send(transmit);
        }
        let mut ended = false;
        while let Some(event) = self.gathering.reflexive.poll_event() {
            match event {
                reflexive::Event::Mapped {
                    server,
                    base,
                    mapped,
                } => {
                    let text = self.gathering.server(server).map(|s| s.text.clone());
                    let added = self.agent.as_mut().map(|agent| {
                        agent.add_reflexive(mapped, base, &text.unwrap_or_default(), now)
                    });
                    log_refusal("reflexive candidate", added);
                }
                reflexive::Event::Done {
                    server,
                    failure: None,
                } => {
                    self.gathering.advance(server, Progress::Done);
                    ended = true;
                }
                reflexive::Event::Done {
                    server,
                    failure: Some(failure),
                } => {
                    self.server_failed(server, failure.code, failure.reason, Some(failure.base));
                    ended = true;
                }
            }
        }
        if ended {
            self.drain_events();
            self.conclude_gathering();
        }
    }

    /// Tells every generation that waits for it that there are no more candidates.
    fn conclude_gathering(&mut self) {
        if !self.gathering.is_over() {
            return;
        }
        self.gathering.give_up_at = None;
        if let Some(agent) = &mut self.agent {
            agent.end_of_local_candidates();
        }
        for ufrag in std::mem::take(&mut self.gathering.untold) {
            self.report(IceReport::GatheringComplete { ufrag });
        }
    }

    /// Tells the peer of a candidate: in its generation, and in one that is about to begin.
    pub(in crate::ice_agent) fn announce(&mut self, ufrag: String, candidate: Candidate) {
        let Some(candidate) = self.veiled(candidate) else {
            return;
        };
        let mut generations = self.gathering.untold.clone();
        if !generations.contains(&ufrag) {
            generations.push(ufrag);
        }
        for ufrag in generations {
            let candidate = candidate.clone().with_ufrag(&ufrag);
            self.report(IceReport::Candidate { ufrag, candidate });
        }
    }
}
