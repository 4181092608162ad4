//! Relays: asked for, used, and asked for again by themselves when they are lost.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use peerloom_transports::proto::stun::ServerId;
use peerloom_transports::turn::{RelayConfig, RelayEvent, relay};
use tokio::sync::mpsc;

use super::{Gathering, Notice, Progress};
use crate::ice_agent::IceAgentActor;
use crate::ice_agent::sockets::log_refusal;
use crate::peer_connection::messages::IceReport;

/// Events of one relay on their way; it has three to tell.
const RELAY_EVENTS: usize = 4;

/// How long we wait before a relay that could not be had again is asked for once more; twice as
/// long each time. The first time there is no wait: most relays are lost with our own address,
/// and a new one is there at once. Guess: a new address is there before its routes are.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest wait. One that worked for as long begins anew. Guess: servers restart in less.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A relay that worked once.
#[derive(Debug, Default)]
struct Attempts {
    failed: u32,
    /// When it is asked for again; `None` while it works or is being asked for.
    next: Option<Instant>,
    works_since: Option<Instant>,
    /// Where it relays for us: one of each family at most.
    addresses: Vec<SocketAddr>,
}

impl Attempts {
    fn fail(&mut self, now: Instant) {
        let worked = self.works_since.take();
        if worked.is_some_and(|at| now.saturating_duration_since(at) >= LONGEST_PAUSE) {
            self.failed = 0;
        }
        let pause = match self.failed.checked_sub(1) {
            None => Duration::ZERO,
            Some(doublings) => FIRST_PAUSE.saturating_mul(2u32.saturating_pow(doublings)),
        };
        self.next = Some(now + pause.min(LONGEST_PAUSE));
        self.failed = self.failed.saturating_add(1);
    }
}

/// Relays that worked once. Bounded by the servers of a connection.
#[derive(Debug, Default)]
pub(super) struct Relays(BTreeMap<ServerId, Attempts>);

impl Relays {
    /// When the next one is asked for again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.0.values().filter_map(|attempts| attempts.next).min()
    }

    fn works(&mut self, id: ServerId, relayed: SocketAddr, now: Instant) {
        let attempts = self.0.entry(id).or_default();
        attempts.next = None;
        attempts.works_since = Some(now);
        attempts.addresses.push(relayed);
    }

    /// Where it relayed for us.
    fn lost(&mut self, id: ServerId) -> Vec<SocketAddr> {
        let attempts = self.0.get_mut(&id);
        attempts
            .map(|it| std::mem::take(&mut it.addresses))
            .unwrap_or_default()
    }

    /// It does not work any more, or could not be had again. Others are left to the next gathering.
    fn failed(&mut self, id: ServerId, now: Instant) {
        if let Some(attempts) = self.0.get_mut(&id) {
            attempts.fail(now);
        }
    }

    /// It is not used any more. Returns where it relayed for us.
    pub(super) fn dropped(&mut self, id: ServerId) -> Vec<SocketAddr> {
        let attempts = self.0.remove(&id);
        attempts.map(|it| it.addresses).unwrap_or_default()
    }

    /// Somebody asks for it.
    pub(super) fn asked(&mut self, id: ServerId) {
        if let Some(attempts) = self.0.get_mut(&id) {
            attempts.next = None;
        }
    }

    /// The network is another one: what failed before may work now.
    fn hasten(&mut self, now: Instant) {
        for attempts in self.0.values_mut().filter(|a| a.next.is_some()) {
            attempts.next = Some(now);
            attempts.failed = 1;
        }
    }

    fn due(&mut self, now: Instant) -> Vec<ServerId> {
        let due = |attempts: &Attempts| attempts.next.is_some_and(|at| at <= now);
        let due = self.0.iter_mut().filter(|(_, attempts)| due(attempts));
        due.map(|(id, attempts)| {
            attempts.next = None;
            *id
        })
        .collect()
    }
}

impl Gathering {
    fn relay(&mut self, id: ServerId, config: RelayConfig) {
        let (events, mut relayed) = mpsc::channel(RELAY_EVENTS);
        // Not among the tasks that are aborted: it gives the allocation back first.
        drop(tokio::task::spawn_local(relay(config, events)));
        let sender = self.sender.clone();
        self.tasks.spawn_local(async move {
            while let Some(event) = relayed.recv().await {
                drop(sender.send(Box::new(Notice::Relay(id, event))).await);
            }
        });
    }
}

impl IceAgentActor {
    /// Asks a TURN server for a relayed address.
    pub(super) fn ask_relay(&mut self, id: ServerId) {
        let Some(server) = self.gathering.server(id).cloned() else {
            return;
        };
        let config = RelayConfig {
            server,
            tls_roots: self.gathering.sources.tls_roots.clone(),
            udp: self.sockets.endpoint(),
            ingress: self.sockets.ingress(),
        };
        self.gathering.relays.asked(id);
        self.gathering.advance(id, Progress::Asking);
        self.gathering.relay(id, config);
    }

    /// Asks again for lost relays whose time has come.
    pub(super) fn ask_relays_again(&mut self, now: Instant) {
        for id in self.gathering.relays.due(now) {
            let failed = self.gathering.progress.get(&id) == Some(&Progress::Failed);
            if failed && self.gathering.is_configured(id) {
                self.ask_relay(id);
            }
        }
    }

    /// The network is another one: lost relays are asked for at once.
    pub(super) fn hasten_relays(&mut self, now: Instant) {
        self.gathering.relays.hasten(now);
        self.ask_relays_again(now);
    }

    /// News of a relay.
    pub(super) fn relay_told(&mut self, id: ServerId, event: RelayEvent, now: Instant) {
        match event {
            RelayEvent::Allocated {
                relayed,
                mapped,
                tunnel,
            } => {
                self.gathering.advance(id, Progress::Relaying);
                self.gathering.relays.works(id, relayed, now);
                self.sockets.add_relayed(relayed, tunnel);
                let text = self.gathering.server(id).map(|server| server.text.clone());
                let added = self.agent.as_mut().map(|agent| {
                    agent.add_relayed(relayed, mapped, &text.unwrap_or_default(), now)
                });
                log_refusal("relayed candidate", added);
                self.drain_events();
            }
            RelayEvent::Failed {
                code,
                reason,
                local,
            } => self.relay_failed(id, (code, reason), local, now),
        }
    }

    fn relay_failed(
        &mut self,
        id: ServerId,
        (code, reason): (u16, String),
        local: Option<SocketAddr>,
        now: Instant,
    ) {
        let before = self.gathering.advance(id, Progress::Failed);
        let lost = before == Some(Progress::Relaying);
        if lost || self.gathering.is_under_way() {
            self.server_failed(id, code, reason, local);
        } else {
            tracing::debug!(code, reason, "a lost relay cannot be had again yet");
        }
        self.relay_lost(id);
        self.gathering.relays.failed(id, now);
    }

    /// A server does not relay for us any more. Without the path in use only a restart helps.
    fn relay_lost(&mut self, id: ServerId) {
        let mut lost_path = false;
        for relayed in self.gathering.relays.lost(id) {
            self.sockets.remove_relayed(relayed);
            let agent = self.agent.as_mut();
            lost_path |= agent.is_some_and(|agent| agent.retire(relayed));
        }
        if lost_path {
            self.report(IceReport::NetworkChange { restart: true });
        }
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]
mod tests {
    use super::*;

    const ID: ServerId = ServerId(3);

    fn relayed() -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], 5))
    }

    #[test]
    fn what_never_worked_is_left_to_the_next_gathering() {
        let mut relays = Relays::default();
        relays.failed(ID, Instant::now());
        assert_eq!(relays.deadline(), None);
    }

    #[test]
    fn a_lost_relay_is_asked_for_at_once_and_then_less_and_less() {
        let mut now = Instant::now();
        let mut relays = Relays::default();
        relays.works(ID, relayed(), now);
        let mut pauses = Vec::new();
        for _ in 0..12 {
            relays.failed(ID, now);
            let next = relays.deadline().expect("it is asked for again");
            pauses.push((next - now).as_millis());
            now = next;
            assert_eq!(relays.due(now), [ID]);
            assert_eq!(relays.deadline(), None, "it is being asked for");
        }
        let doubled = (0..10).map(|n| (100 << n).min(60_000));
        let expected: Vec<u128> = [0].into_iter().chain(doubled).chain([60_000]).collect();
        assert_eq!(pauses, expected);
    }

    #[test]
    fn a_relay_that_comes_and_goes_is_not_asked_for_without_pause() {
        let now = Instant::now();
        let mut relays = Relays::default();
        relays.works(ID, relayed(), now);
        relays.failed(ID, now);
        relays.works(ID, relayed(), now);
        relays.failed(ID, now);
        assert_eq!(relays.deadline(), Some(now + FIRST_PAUSE));
        relays.works(ID, relayed(), now);
        relays.failed(ID, now + LONGEST_PAUSE);
        assert_eq!(relays.deadline(), Some(now + LONGEST_PAUSE));
    }

    #[test]
    fn another_network_makes_it_worth_trying_at_once() {
        let now = Instant::now();
        let mut relays = Relays::default();
        relays.works(ID, relayed(), now);
        for _ in 0..9 {
            relays.failed(ID, now);
        }
        relays.hasten(now);
        assert_eq!(relays.due(now), [ID]);
        relays.failed(ID, now);
        assert_eq!(relays.deadline(), Some(now + FIRST_PAUSE));
    }
}
