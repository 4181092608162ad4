//! Candidates whose addresses are names: the peer's, and ours where they are hidden.

use std::collections::btree_map::Entry;
use std::time::Instant;

use peerloom_transports::proto::candidate::{Address, Candidate};
use peerloom_transports::udp::Endpoint;

use super::{Gathering, Notice};
use crate::ice_agent::IceAgentActor;
use crate::ice_agent::sockets::log_refusal;

impl Gathering {
    /// Finds out the address behind a candidate's name; without one the candidate is dropped.
    fn look_up(&mut self, name: String, candidate: Candidate, udp: Endpoint) {
        while self.tasks.try_join_next().is_some() {}
        let (sender, generation) = (self.sender.clone(), self.remote_generation);
        self.tasks.spawn_local(async move {
            match udp.resolver().resolve(&name).await {
                Some(ip) => {
                    let address = Address::Ip(ip);
                    let named = Candidate {
                        address,
                        ..candidate
                    };
                    drop(
                        sender
                            .send(Box::new(Notice::Named(generation, named)))
                            .await,
                    );
                }
                None => tracing::debug!(name, "nobody answers for a candidate's name"),
            }
        });
    }
}

impl Gathering {
    /// A candidate of ours as others may know it; `None` when it cannot be hidden and must be.
    fn veiled(&mut self, candidate: Candidate, udp: &Endpoint) -> Option<Candidate> {
        if !self.sources.hidden {
            return Some(candidate);
        }
        let base = candidate.base?.ip();
        let name = match self.own_names.entry(base) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert(udp.resolver().name(base)?),
        };
        Some(candidate.hidden(name.as_str()))
    }
}

impl IceAgentActor {
    /// A candidate of ours as others may know it.
    pub(in crate::ice_agent) fn veiled(&mut self, candidate: Candidate) -> Option<Candidate> {
        let veiled = self.gathering.veiled(candidate, &self.sockets.endpoint());
        if veiled.is_none() {
            tracing::warn!("a candidate is not told: there is no name for its address");
        }
        veiled
    }

    /// The peer's candidates begin anew: those being looked for belong to the past.
    pub(in crate::ice_agent) fn forget_names(&mut self) {
        self.gathering.remote_generation += 1;
    }

    /// A name was found.
    pub(super) fn add_named(&mut self, generation: u64, candidate: Candidate, now: Instant) {
        if generation == self.gathering.remote_generation {
            self.add_remote(candidate, now);
        } else {
            tracing::debug!("a name of a former generation was found too late");
        }
    }

    /// A candidate of the peer. One with a name is added once the name is resolved; the state
    /// machine bounds how many there are.
    pub(in crate::ice_agent) fn add_remote(&mut self, candidate: Candidate, now: Instant) {
        if let Address::Name(name) = &candidate.address {
            let (name, udp) = (name.clone(), self.sockets.endpoint());
            return self.gathering.look_up(name, candidate, udp);
        }
        let added = self
            .agent
            .as_mut()
            .map(|agent| agent.add_remote_candidate(&candidate, now));
        log_refusal("remote candidate", added);
    }
}
