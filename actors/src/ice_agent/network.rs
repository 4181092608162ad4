//! What a change of the machine's addresses means for a connection.

use std::net::SocketAddr;
use std::time::Instant;

use peerloom_transports::proto::ice::State;

use super::IceAgentActor;
use super::sockets::log_refusal;
use crate::peer_connection::messages::IceReport;

impl IceAgentActor {
    /// Listens for changes, for as long as the actor lives.
    pub(super) fn watch_network(&mut self) {
        let changes = self.sockets.endpoint().changes();
        self.gathering.listen(changes);
    }

    /// Addresses may have come or gone.
    pub(super) fn network_changed(&mut self, now: Instant) {
        let present = self.sockets.hosts();
        let extra = self.sockets.extra_hosts();
        let Some(agent) = self.agent.as_mut().filter(|_| self.gathering.hosts()) else {
            return;
        };
        let before = agent.bases();
        let absent = |base: &SocketAddr| !present.contains(base) && !extra.contains(base);
        let gone: Vec<SocketAddr> = before.iter().copied().filter(absent).collect();
        let mut lost_path = false;
        for base in &gone {
            lost_path |= agent.retire(*base);
        }
        let mut new = present.clone();
        new.retain(|addr| !before.contains(addr));
        for addr in &new {
            log_refusal("host candidate", Some(agent.add_host(*addr, now)));
        }
        let again = extra.iter().filter(|addr| !before.contains(addr));
        let mut added = !new.is_empty();
        for addr in again {
            log_refusal("host candidate", Some(agent.add_host(*addr, now)));
            added = true;
        }
        if !added && gone.is_empty() {
            return;
        }
        self.add_tcp_hosts(&new, now);
        self.gathering.readdress(&gone);
        // The generation that is being gathered for gets what servers say about the new address;
        // another one needs a restart for it, unless it has a path.
        let gathers = self.gathering.is_under_way();
        if gathers {
            self.ask_servers(None, now);
        }
        let stranded = added && !gathers && self.is_stranded();
        self.drain_events();
        self.report(IceReport::NetworkChange {
            restart: lost_path || stranded,
        });
    }

    /// There was a path, and there is none now.
    fn is_stranded(&self) -> bool {
        let Some(agent) = &self.agent else {
            return false;
        };
        match agent.state() {
            State::Disconnected | State::Failed => true,
            // A restart is under way, and may have been told of the addresses before.
            State::Checking => agent.selected_path().is_some(),
            // A restart is about to begin: its description tells of no address that came since.
            State::Connected | State::Completed => agent.path_is_gone(),
            State::New | State::Closed => false,
        }
    }
}
