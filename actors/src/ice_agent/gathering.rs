//! Candidates that servers give: who is asked, what they answer, when it is over.

mod asking;
mod names;
mod relays;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use peerloom_transports::dns;
use peerloom_transports::mdns::HostName;
use peerloom_transports::proto::candidate::Candidate;
use peerloom_transports::proto::ice_server::{IceServer, ServerKind};
use peerloom_transports::proto::id::Path;
use peerloom_transports::proto::stun::reflexive::Asked;
use peerloom_transports::proto::stun::{Reflexive, ServerId};
use peerloom_transports::turn::RelayEvent;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;

use crate::config::{Configuration, IceTransportPolicy};
use relays::Relays;

/// News of tasks at most on their way to the agent. Filled by them, who wait when it is full.
const NOTICES: usize = 64;

/// Servers of one connection, those of former configurations included whose candidates are still in
/// use. Filled by `set_configuration`; further ones are not asked.
const MAX_SERVERS: usize = 256;

/// Where candidates come from.
#[derive(Debug)]
pub(crate) struct Sources {
    /// Own addresses may be used, and STUN servers asked.
    hosts: bool,
    /// They are told as names.
    hidden: bool,
    /// They are asked before a description needs them.
    ahead: bool,
    servers: Vec<IceServer>,
    tls_roots: Vec<Bytes>,
}

impl Sources {
    /// Whether to gather before anybody asks.
    pub(super) fn ahead(&self) -> bool {
        self.ahead
    }

    /// What a configuration asks for. URLs have been checked before. `first` says that nothing has
    /// been negotiated yet: the pool is for the first time only (RFC 9429 section 3.5.4).
    pub(crate) fn of(config: &Configuration, first: bool) -> Self {
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
            hidden: config.obfuscate_host_addresses,
            ahead: first && config.ice_candidate_pool_size > 0,
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
    /// A candidate of the peer whose name was found, in the generation in which it was looked for.
    Named(u64, Candidate),
}

/// How far a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Progress {
    Idle,
    Asking,
    /// It gave what it has.
    Done,
    /// Relays for us.
    Relaying,
    Failed,
}

/// The servers of one connection.
pub(super) struct Gathering {
    /// Without the servers, which are here:
    sources: Sources,
    servers: BTreeMap<ServerId, IceServer>,
    /// The number of the latest of them. None is used twice: what a server that is forgotten has to
    /// say comes too late, and is nobody else's word.
    last_id: u64,
    /// Those of the latest configuration. Others give what they gave and are not asked again.
    configured: BTreeSet<ServerId>,
    /// Of each server, as long as it is known.
    progress: BTreeMap<ServerId, Progress>,
    reflexive: Reflexive,
    relays: Relays,
    /// How often the peer's candidates have begun anew.
    remote_generation: u64,
    /// Names that stand for our addresses, while the connection lasts. Filled with as many as the
    /// agent takes candidates.
    own_names: BTreeMap<IpAddr, HostName>,
    /// Generations that are not told yet that gathering is over.
    untold: Vec<String>,
    give_up_at: Option<Instant>,
    /// Boxed, since the channel has room for dozens from the start.
    sender: mpsc::Sender<Box<Notice>>,
    receiver: Option<mpsc::Receiver<Box<Notice>>>,
    /// Aborted when dropped, which ends the relays as well.
    tasks: JoinSet<()>,
}

impl Gathering {
    pub(super) fn new(sources: Sources) -> Self {
        let (sender, receiver) = mpsc::channel(NOTICES);
        let mut gathering = Self {
            sources: Sources {
                hosts: sources.hosts,
                hidden: sources.hidden,
                ahead: sources.ahead,
                servers: Vec::new(),
                tls_roots: Vec::new(),
            },
            servers: BTreeMap::new(),
            last_id: 0,
            configured: BTreeSet::new(),
            progress: BTreeMap::new(),
            reflexive: Reflexive::new(rand::random()),
            relays: Relays::default(),
            remote_generation: 0,
            own_names: BTreeMap::new(),
            untold: Vec::new(),
            give_up_at: None,
            sender,
            receiver: Some(receiver),
            tasks: JoinSet::new(),
        };
        gathering.reconfigure(sources);
        gathering
    }

    /// What holds from the next gathering on. Servers known already are not asked again, unless they
    /// were dropped: then they are others from now on, told apart from what is still on its way.
    pub(super) fn reconfigure(&mut self, mut sources: Sources) {
        let named = std::mem::take(&mut sources.servers);
        self.sources = sources;
        let known = self.servers.iter().filter(|it| named.contains(it.1));
        self.configured = known.map(|(id, _)| *id).collect();
        self.forget_idle();
        for server in named {
            let known = self.servers.values().any(|known| *known == server);
            if !known && self.servers.len() >= MAX_SERVERS {
                self.forget_asked(None);
            }
            if !known && self.servers.len() < MAX_SERVERS {
                self.last_id += 1;
                let id = ServerId(self.last_id);
                self.servers.insert(id, server);
                self.configured.insert(id);
                self.progress.insert(id, Progress::Idle);
            }
        }
    }

    /// Makes room: whoever is named no more and gave nothing is not asked again.
    fn forget_idle(&mut self) {
        let gave_nothing = |it: &(&ServerId, &Progress)| {
            matches!(it.1, Progress::Idle | Progress::Failed) && !self.configured.contains(it.0)
        };
        let idle = self.progress.iter().filter(gave_nothing);
        for id in idle.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.forget(id);
        }
    }

    /// Makes room where there is none: of those that are named no more and have not answered, the one
    /// that was asked first is waited for no longer, unless it is `who` needs the room. Says whether
    /// there was one.
    fn forget_asked(&mut self, who: Option<ServerId>) -> bool {
        let waits = |it: &(&ServerId, &Progress)| {
            *it.1 == Progress::Asking && !self.configured.contains(it.0) && who != Some(*it.0)
        };
        let first = self.progress.iter().find(waits).map(|(id, _)| *id);
        if let Some(id) = first {
            self.forget(id);
        }
        first.is_some()
    }

    /// Asks about a base, if need be in the place of a server that is named no more.
    fn ask(&mut self, id: ServerId, path: Path, now: Instant) -> Asked {
        loop {
            let asked = self.reflexive.ask(id, path, now);
            if asked != Asked::TooMany || !self.forget_asked(Some(id)) {
                return asked;
            }
        }
    }

    /// Forgets a server. Returns where it relayed for us.
    fn forget(&mut self, id: ServerId) -> Vec<SocketAddr> {
        self.servers.remove(&id);
        self.progress.remove(&id);
        self.configured.remove(&id);
        self.reflexive.forget_server(id);
        self.relays.dropped(id)
    }

    /// How far a server is from now on. Returns how far it was; one that is forgotten stays so.
    fn advance(&mut self, id: ServerId, to: Progress) -> Option<Progress> {
        let progress = self.progress.get_mut(&id)?;
        Some(std::mem::replace(progress, to))
    }

    /// Whether own addresses are candidates.
    pub(super) fn hosts(&self) -> bool {
        self.sources.hosts
    }

    /// Whether to gather before anybody asks.
    pub(super) fn ahead(&self) -> bool {
        self.sources.ahead
    }

    /// What the ids of our questions begin with.
    pub(super) fn token(&self) -> [u8; 8] {
        self.reflexive.token()
    }

    /// The tasks' news, for whoever asks first.
    pub(super) fn notices(&mut self) -> Option<impl Stream<Item = Notice> + use<>> {
        let notices = self.receiver.take().map(ReceiverStream::new);
        notices.map(|notices| notices.map(|notice| *notice))
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let asking = self.reflexive.poll_timeout();
        let others = [self.give_up_at, self.relays.deadline()];
        asking.into_iter().chain(others.into_iter().flatten()).min()
    }

    fn server(&self, id: ServerId) -> Option<&IceServer> {
        self.servers.get(&id)
    }

    /// Whether the latest configuration names it.
    fn is_configured(&self, id: ServerId) -> bool {
        self.configured.contains(&id)
    }

    /// Whether a generation waits for candidates.
    pub(super) fn is_under_way(&self) -> bool {
        !self.untold.is_empty()
    }

    fn is_over(&self) -> bool {
        !self.progress.values().any(|p| *p == Progress::Asking)
    }

    fn is_dropped(&self, id: ServerId) -> bool {
        !self.progress.contains_key(&id)
    }

    /// Whether what this server gave may be used.
    fn is_used(&self, id: ServerId) -> bool {
        let kind = self.server(id).map(|server| server.url.kind);
        self.is_configured(id) && (self.hosts() || kind == Some(ServerKind::Turn))
    }

    /// Gives up what servers gave that the latest configuration does not use. Returns where they relayed
    /// for us.
    pub(super) fn drop_unused(&mut self) -> Vec<SocketAddr> {
        let unused = |id: &ServerId| !self.is_used(*id);
        let unused: Vec<ServerId> = self.progress.keys().copied().filter(unused).collect();
        self.drop_servers(unused)
    }

    /// Gives up what all servers gave.
    pub(super) fn drop_all(&mut self) -> Vec<SocketAddr> {
        let all = self.progress.keys().copied().collect();
        self.drop_servers(all)
    }

    fn drop_servers(&mut self, servers: Vec<ServerId>) -> Vec<SocketAddr> {
        let mut relayed = Vec::new();
        for id in servers {
            // One that was not asked has nothing to give up.
            if self.progress.get(&id) != Some(&Progress::Idle) {
                relayed.extend(self.forget(id));
            }
        }
        relayed
    }

    /// Whether a candidate came from a server whose word still holds.
    pub(super) fn vouches_for(&self, candidate: &Candidate) -> bool {
        let mut urls = self.servers.values().map(|server| &server.text);
        urls.any(|url| candidate.url.as_ref() == Some(url))
    }

    /// The servers to ask: all at first, later those that failed.
    fn begin(&mut self) -> Vec<(ServerId, IceServer)> {
        let again = |progress: &Progress| matches!(progress, Progress::Idle | Progress::Failed);
        let idle: Vec<ServerId> = self
            .progress
            .iter()
            .filter(|(id, progress)| again(progress) && self.is_configured(**id))
            .map(|(id, _)| *id)
            .collect();
        let mut begun = Vec::new();
        for id in idle {
            if let Some(server) = self.server(id).cloned() {
                self.advance(id, Progress::Asking);
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
        for (id, progress) in &mut self.progress {
            let server = self.servers.get(id);
            if server.is_some_and(|server| server.url.kind == ServerKind::Stun) {
                *progress = Progress::Idle;
            }
        }
    }

    /// Passes on that something changed; several changes in a row may become one.
    pub(super) fn listen(&mut self, mut changes: watch::Receiver<u64>) {
        let sender = self.sender.clone();
        self.tasks.spawn_local(async move {
            while changes.changed().await.is_ok() {
                drop(sender.send(Box::new(Notice::Network)).await);
            }
        });
    }

    fn resolve(&mut self, id: ServerId, server: IceServer) {
        let sender = self.sender.clone();
        self.tasks.spawn_local(async move {
            let found = dns::resolve(&server.url.host, server.url.port).await;
            let found = found.map_err(|error| format!("{}: {error}", server.url.host));
            drop(sender.send(Box::new(Notice::Resolved(id, found))).await);
        });
    }
}
