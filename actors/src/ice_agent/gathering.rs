//! Candidates that servers give: who is asked, what they answer, when it is over.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use peerloom_transports::dns;
use peerloom_transports::proto::candidate::{Address, Candidate};
use peerloom_transports::proto::ice_server::{IceServer, ServerKind, ServerTransport};
use peerloom_transports::proto::id::Path;
use peerloom_transports::proto::stun::{Reflexive, ServerId, UNREACHABLE, reflexive};
use peerloom_transports::turn::{RelayConfig, RelayEvent, relay};
use peerloom_transports::udp::{Endpoint, Run};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use super::IceAgentActor;
use super::sockets::log_refusal;
use crate::config::{Configuration, IceTransportPolicy};
use crate::peer_connection::messages::IceReport;

/// News of tasks at most on their way to the agent. Filled by them, who wait when it is full.
const NOTICES: usize = 64;

/// Events of one relay on their way; it has two to tell.
const RELAY_EVENTS: usize = 4;

/// Servers of one connection over its whole life, those of former configurations included. Filled
/// by `set_configuration`; further ones are not asked.
const MAX_SERVERS: usize = 256;

/// Where candidates come from.
#[derive(Debug)]
pub(crate) struct Sources {
    /// Own addresses may be used, and STUN servers asked.
    hosts: bool,
    servers: Vec<IceServer>,
    tls_roots: Vec<Bytes>,
}

impl Sources {
    /// What a configuration asks for. URLs have been checked before.
    pub(crate) fn of(config: &Configuration) -> Self {
        let mut servers = Vec::new();
        for server in &config.ice_servers {
            for text in &server.urls {
                match text.parse() {
                    Ok(url) => servers.push(IceServer {
                        url,
                        text: text.clone(),
                        username: server.username.clone().unwrap_or_default(),
                        password: server.credential.clone().unwrap_or_default().into(),
                    }),
                    Err(error) => tracing::warn!(%error, url = text, "an ICE server is left out"),
                }
            }
        }
        Self {
            hosts: config.ice_transport_policy == IceTransportPolicy::All,
            servers,
            tls_roots: config.ice_tls_roots.clone(),
        }
    }
}

/// News of a task.
pub(super) enum Notice {
    /// A server's addresses, or why there are none.
    Resolved(ServerId, Result<Vec<SocketAddr>, String>),
    /// What became of a relay.
    Relay(ServerId, RelayEvent),
    /// The machine's addresses may have changed.
    Network,
    /// A candidate of the peer whose name was found.
    Named(Candidate),
}

/// How far a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Idle,
    Asking,
    /// It gave what it has.
    Done,
    /// Relays for us at this address.
    Relaying(SocketAddr),
    Failed,
}

/// The servers of one connection.
pub(super) struct Gathering {
    sources: Sources,
    progress: BTreeMap<ServerId, Progress>,
    reflexive: Reflexive,
    /// Generations that are not told yet that gathering is over.
    untold: Vec<String>,
    give_up_at: Option<Instant>,
    sender: mpsc::Sender<Notice>,
    receiver: Option<mpsc::Receiver<Notice>>,
    /// Aborted when dropped, which ends the relays as well.
    tasks: JoinSet<()>,
}

impl Gathering {
    pub(super) fn new(sources: Sources) -> Self {
        let (sender, receiver) = mpsc::channel(NOTICES);
        let ids = (0..sources.servers.len()).filter_map(|index| u16::try_from(index).ok());
        Self {
            progress: ids.map(|id| (ServerId(id), Progress::Idle)).collect(),
            sources,
            reflexive: Reflexive::new(rand::random()),
            untold: Vec::new(),
            give_up_at: None,
            sender,
            receiver: Some(receiver),
            tasks: JoinSet::new(),
        }
    }

    /// What holds from the next gathering on. Servers known already are not asked again.
    pub(super) fn reconfigure(&mut self, sources: Sources) {
        let mut known = std::mem::take(&mut self.sources.servers);
        let again = |progress: &Progress| matches!(progress, Progress::Idle | Progress::Failed);
        // Those no longer named are not asked any more.
        self.progress.retain(|_, progress| !again(progress));
        for server in sources.servers {
            let index = known.iter().position(|old| *old == server);
            let index = index.unwrap_or(known.len());
            if index == known.len() && index < MAX_SERVERS {
                known.push(server);
            }
            if let Some(id) = u16::try_from(index).ok().filter(|_| index < known.len()) {
                self.progress.entry(ServerId(id)).or_insert(Progress::Idle);
            }
        }
        self.sources = Sources {
            servers: known,
            ..sources
        };
    }

    /// Whether own addresses are candidates.
    pub(super) fn hosts(&self) -> bool {
        self.sources.hosts
    }

    /// What the ids of our questions begin with.
    pub(super) fn token(&self) -> [u8; 8] {
        self.reflexive.token()
    }

    /// The tasks' news, for whoever asks first.
    pub(super) fn notices(&mut self) -> Option<ReceiverStream<Notice>> {
        self.receiver.take().map(ReceiverStream::new)
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let asking = self.reflexive.poll_timeout();
        asking.into_iter().chain(self.give_up_at).min()
    }

    fn server(&self, id: ServerId) -> Option<&IceServer> {
        self.sources.servers.get(usize::from(id.0))
    }

    fn is_over(&self) -> bool {
        !self.progress.values().any(|p| *p == Progress::Asking)
    }

    /// The servers to ask: all at first, later those that failed.
    fn begin(&mut self) -> Vec<(ServerId, IceServer)> {
        let again = |progress: &Progress| matches!(progress, Progress::Idle | Progress::Failed);
        let idle: Vec<ServerId> = self
            .progress
            .iter()
            .filter(|(_, progress)| again(progress))
            .map(|(id, _)| *id)
            .collect();
        let mut begun = Vec::new();
        for id in idle {
            if let Some(server) = self.server(id).cloned() {
                self.progress.insert(id, Progress::Asking);
                begun.push((id, server));
            }
        }
        begun
    }

    /// The machine's addresses changed: what STUN servers said about those in `gone` is void, and
    /// the next gathering asks again.
    pub(super) fn readdress(&mut self, gone: &[SocketAddr]) {
        for base in gone {
            self.reflexive.forget(*base);
        }
        let stun = |id: &ServerId| {
            let server = self.sources.servers.get(usize::from(id.0));
            server.is_some_and(|server| server.url.kind == ServerKind::Stun)
        };
        for (_, progress) in self.progress.iter_mut().filter(|(id, _)| stun(id)) {
            *progress = Progress::Idle;
        }
    }

    /// Passes on that something changed; several changes in a row may become one.
    pub(super) fn listen(&mut self, mut changes: watch::Receiver<u64>) {
        let sender = self.sender.clone();
        self.tasks.spawn_local(async move {
            while changes.changed().await.is_ok() {
                drop(sender.send(Notice::Network).await);
            }
        });
    }

    /// Finds out the address behind a candidate's name; without one the candidate is dropped.
    fn look_up(&mut self, name: String, candidate: Candidate, udp: Endpoint) {
        while self.tasks.try_join_next().is_some() {}
        let sender = self.sender.clone();
        self.tasks.spawn_local(async move {
            match udp.resolver().resolve(&name).await {
                Some(ip) => {
                    let address = Address::Ip(ip);
                    let named = Candidate {
                        address,
                        ..candidate
                    };
                    drop(sender.send(Notice::Named(named)).await);
                }
                None => tracing::debug!(name, "nobody answers for a candidate's name"),
            }
        });
    }

    fn resolve(&mut self, id: ServerId, server: IceServer) {
        let sender = self.sender.clone();
        self.tasks.spawn_local(async move {
            let found = dns::resolve(&server.url.host, server.url.port).await;
            let found = found.map_err(|error| format!("{}: {error}", server.url.host));
            drop(sender.send(Notice::Resolved(id, found)).await);
        });
    }

    fn relay(&mut self, id: ServerId, config: RelayConfig) {
        let (events, mut relayed) = mpsc::channel(RELAY_EVENTS);
        // Not among the tasks that are aborted: it gives the allocation back first.
        drop(tokio::task::spawn_local(relay(config, events)));
        let sender = self.sender.clone();
        self.tasks.spawn_local(async move {
            while let Some(event) = relayed.recv().await {
                drop(sender.send(Notice::Relay(id, event)).await);
            }
        });
    }
}

impl IceAgentActor {
    /// A candidate of the peer. One with a name is added once the name is resolved; the state
    /// machine bounds how many there are.
    pub(super) fn add_remote(&mut self, candidate: Candidate, now: Instant) {
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

    /// Asks every server that has not answered yet, for the generation `ufrag`.
    pub(super) fn ask_servers(&mut self, ufrag: String, now: Instant) {
        self.gathering.untold.push(ufrag);
        while self.gathering.tasks.try_join_next().is_some() {}
        for (id, server) in self.gathering.begin() {
            match (server.url.kind, server.url.transport) {
                (ServerKind::Stun, _) if !self.gathering.hosts() => {
                    self.gathering.progress.insert(id, Progress::Done);
                }
                (ServerKind::Stun, ServerTransport::Udp) => self.gathering.resolve(id, server),
                (ServerKind::Stun, _) => {
                    let reason = "STUN over TLS tells nothing about our UDP addresses";
                    self.server_failed(id, UNREACHABLE, reason.into(), None);
                }
                (ServerKind::Turn, _) => {
                    let config = RelayConfig {
                        server,
                        tls_roots: self.gathering.sources.tls_roots.clone(),
                        udp: self.sockets.endpoint(),
                        ingress: self.sockets.ingress(),
                    };
                    self.gathering.relay(id, config);
                }
            }
        }
        self.gathering.give_up_at = Some(now + self.config.gather_patience);
        self.conclude_gathering();
    }

    /// Acts on the news of a task.
    pub(super) fn notice(&mut self, notice: Notice, now: Instant) {
        match notice {
            Notice::Network => self.network_changed(now),
            Notice::Named(candidate) => self.add_remote(candidate, now),
            Notice::Resolved(id, Ok(addrs)) => self.ask_reflexive(id, &addrs, now),
            Notice::Resolved(id, Err(reason)) => self.server_failed(id, UNREACHABLE, reason, None),
            Notice::Relay(
                id,
                RelayEvent::Allocated {
                    relayed,
                    mapped,
                    tunnel,
                },
            ) => {
                self.gathering
                    .progress
                    .insert(id, Progress::Relaying(relayed));
                self.sockets.add_relayed(relayed, tunnel);
                let text = self.gathering.server(id).map(|server| server.text.clone());
                let added = self.agent.as_mut().map(|agent| {
                    agent.add_relayed(relayed, mapped, &text.unwrap_or_default(), now)
                });
                log_refusal("relayed candidate", added);
                self.drain_events();
            }
            Notice::Relay(
                id,
                RelayEvent::Failed {
                    code,
                    reason,
                    local,
                },
            ) => {
                let progress = self.gathering.progress.get(&id).copied();
                self.server_failed(id, code, reason, local);
                if let Some(Progress::Relaying(relayed)) = progress {
                    self.relay_lost(relayed);
                }
            }
        }
        self.conclude_gathering();
    }

    /// A server does not relay for us any more. Without the path in use only a restart helps.
    fn relay_lost(&mut self, relayed: SocketAddr) {
        self.sockets.remove_relayed(relayed);
        let lost_path = self
            .agent
            .as_mut()
            .is_some_and(|agent| agent.retire(relayed));
        if lost_path {
            self.report(IceReport::NetworkChange { restart: true });
        }
    }

    fn ask_reflexive(&mut self, id: ServerId, addrs: &[SocketAddr], now: Instant) {
        let bases = self
            .agent
            .as_ref()
            .map(|agent| agent.bases())
            .unwrap_or_default();
        let mut asked = false;
        for base in bases {
            // One address of each family will do.
            let server = addrs.iter().find(|addr| addr.is_ipv4() == base.is_ipv4());
            if let Some(server) = server {
                asked |= self
                    .gathering
                    .reflexive
                    .ask(id, Path::new(base, *server), now);
            }
        }
        if self.gathering.reflexive.is_known(id) && !asked {
            self.gathering.progress.insert(id, Progress::Done);
        } else if !asked {
            let reason = "no address of ours can reach the server".into();
            self.server_failed(id, UNREACHABLE, reason, None);
        }
    }

    fn server_failed(
        &mut self,
        id: ServerId,
        error_code: u16,
        error_text: String,
        local: Option<SocketAddr>,
    ) {
        self.gathering.progress.insert(id, Progress::Failed);
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
    pub(super) fn take_answers(&mut self, run: &Run<'_>, now: Instant) -> bool {
        let reflexive = &mut self.gathering.reflexive;
        run.datagrams()
            .filter(|datagram| reflexive.handle_packet(run.path(), datagram, now))
            .count()
            > 0
    }

    pub(super) fn expire_gathering(&mut self, now: Instant) {
        self.gathering.reflexive.handle_timeout(now);
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
    pub(super) fn drain_gathering(&mut self, now: Instant) {
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
                    self.gathering.progress.insert(server, Progress::Done);
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
    pub(super) fn announce(&mut self, ufrag: String, candidate: Candidate) {
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
