//! Candidates gathered before a description needs them (`iceCandidatePoolSize`, RFC 9429 section 3.5.4).
//!
//! All that a connection carries goes over one component, so one is gathered, whatever the size.
//! It has addresses and allocations and no credentials: the description that takes it draws its own,
//! and no check is answered before.

use std::time::Instant;

use peerloom_transports::proto::candidate::{Address, Candidate, CandidateKind, Credentials};
use peerloom_transports::proto::ice::Agent;

use super::sockets::log_refusal;
use super::{IceAgentActor, Sources};

/// Who has asked for candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Nobody yet.
    Idle,
    /// The configuration: they are kept here.
    Pool,
    /// A description: they are told.
    Described,
}

impl IceAgentActor {
    /// Gathers ahead, if it is asked for.
    pub(super) fn fill_pool(&mut self, now: Instant) {
        if self.stage == Stage::Described || !self.gathering.ahead() {
            return;
        }
        self.stage = Stage::Pool;
        let nobody = Credentials::generate(&mut rand::rng());
        if let Err(error) = self.open_agent(nobody, now) {
            tracing::error!(%error, "nothing is gathered ahead");
        }
        self.drain_events();
        self.ask_servers(None, now);
    }

    /// Asks again whoever has to be: an address is another one.
    pub(super) fn refill_pool(&mut self, now: Instant) {
        if self.stage == Stage::Pool {
            self.ask_servers(None, now);
        }
    }

    /// Other servers, or another policy. The pool follows at once, whatever else waits for the next
    /// description.
    pub(super) fn configure(&mut self, sources: Sources, now: Instant) {
        if self.stage == Stage::Pool && !sources.ahead() {
            self.empty_pool();
        }
        self.gathering.reconfigure(sources);
        self.fill_pool(now);
    }

    /// Nobody will need what was gathered.
    fn empty_pool(&mut self) {
        self.stage = Stage::Idle;
        self.agent = None;
        for relayed in self.gathering.drop_all() {
            self.sockets.remove_relayed(relayed);
        }
    }

    /// What servers gave so far and may still be used. Relays of others are given back.
    pub(super) fn gathered(&mut self) -> Vec<Candidate> {
        for relayed in self.gathering.drop_unused() {
            self.sockets.remove_relayed(relayed);
            if let Some(agent) = &mut self.agent {
                agent.retire(relayed);
            }
        }
        let known = self.agent.iter().flat_map(Agent::local_candidates);
        known
            .filter(|candidate| self.gathering.vouches_for(candidate))
            .cloned()
            .collect()
    }

    /// Gives candidates of servers to an agent that is new.
    pub(super) fn take_over(&mut self, gathered: Vec<Candidate>, now: Instant) {
        let Some(agent) = &mut self.agent else { return };
        for candidate in gathered {
            let Some((address, server)) = candidate.socket_addr().zip(candidate.url.as_deref())
            else {
                continue;
            };
            let added = match (candidate.kind, candidate.base, &candidate.related) {
                (CandidateKind::ServerReflexive, Some(base), _) => {
                    agent.add_reflexive(address, base, server, now)
                }
                (CandidateKind::Relayed, _, Some((Address::Ip(mapped), port))) => {
                    agent.add_relayed(address, (*mapped, *port).into(), server, now)
                }
                _ => continue,
            };
            log_refusal("a candidate gathered before", Some(added));
        }
    }
}
