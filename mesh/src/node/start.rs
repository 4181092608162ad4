//! Starting a node: checks, store, identity, swarm, sockets, actor.

use std::sync::Arc;
use std::time::Instant;

use peerloom_actors::{Endpoint, EndpointConfig, Runtime, RuntimeConfig};
use peerloom_mesh_proto::node::{self, Node};
use peerloom_mesh_proto::presence::{MAX_NICK, MAX_ROOMS};
use peerloom_mesh_proto::ticket::MAX_NAME_LEN;
use peerloom_mesh_proto::{Identity, Incarnation, PeerId, Ticket};
use rand::Rng as _;
use rand::rngs::StdRng;
use tokio::sync::mpsc;

use super::actor::{NodeActor, Parts, Queues};
use super::addresses::Addresses;
use super::bootstrap::{Bootstrap, Contact};
use super::{MESSAGES, REPORTS, REQUESTS, Requests};
use crate::clock::time;
use crate::config::Config;
use crate::error::Error;
use crate::event::Event;
use crate::gossip::{self, Gossip};
use crate::identity::{Assertions, KnownNames};
use crate::shared::Shared;
use crate::store::{Notice, RememberedPeer, Seed, Store};

/// Links per room and rooms per node the limits may ask for.
const LINKS_CEILING: usize = 64;

/// Starts a node and hands back the handles' ends.
pub(crate) async fn start(config: Config) -> Result<(Requests, Arc<Shared>), Error> {
    check(&config)?;
    let runtime = match &config.runtime {
        Some(runtime) => runtime.clone(),
        None => Runtime::start(RuntimeConfig::default())?,
    };
    let opened = Store::open(config.data.clone(), fresh_seed).await?;
    let identity = Arc::new(Identity::from_seed(*opened.seed));
    let remembered = opened.store.peers(&config.mesh).await?;
    let known = KnownNames::load(&opened.store).await?;
    let (gossip, gossip_events) = Gossip::start(gossip::Config {
        seed: opened.seed,
        listen: config.listen.clone(),
        mdns: config.mdns,
        connections_max: config.limits.gossip_max,
    })
    .await?;
    let endpoint = bind(&runtime, &config).await?;
    let shared = Arc::new(Shared::new(
        identity.peer_id(),
        config.mesh.clone(),
        endpoint.local_addrs(),
        gossip.counters(),
    ));
    shared.keep_early(opened.notices.into_iter().map(notice_event));
    let contacts = contacts(&config.tickets, remembered);
    let bootstrap = Bootstrap::new(identity.peer_id(), contacts, Instant::now());
    let core = core(&config, &identity, opened.boot);
    let (queue, request_queue) = mpsc::channel(REQUESTS);
    let (messages, message_queue) = mpsc::channel(MESSAGES);
    let (reports, report_queue) = mpsc::channel(REPORTS);
    let queues = Queues {
        requests: request_queue,
        gossip: gossip_events,
        reports: report_queue,
        notices: opened.later,
    };
    let parts = Parts {
        core,
        identity,
        gossip,
        endpoint,
        store: opened.store,
        shared: Arc::clone(&shared),
        bootstrap,
        addresses: Addresses::new(&config.listen),
        known,
        assertions: Assertions::new(),
        known_peers: config.known_peers,
        transport: config.transport,
        reports,
        messages: message_queue,
        nick: config.nick.clone(),
        _runtime: runtime.clone(),
    };
    runtime.spawn(async move { NodeActor::launch(parts, queues) });
    Ok((Requests { queue, messages }, shared))
}

fn check(config: &Config) -> Result<(), Error> {
    let wrong = |text: &str| Err(Error::Config(text.to_owned()));
    if config.mesh.is_empty() || config.mesh.len() > MAX_NAME_LEN {
        return wrong("a mesh name has 1 to 64 bytes");
    }
    check_nick(config.nick.as_deref())?;
    let limits = &config.limits;
    if limits.links_target < 2 {
        return wrong("links_target is at least 2: a ring needs two neighbours");
    }
    if limits.links_max < limits.links_target + 2 || limits.links_max > LINKS_CEILING {
        return wrong("links_max lies between links_target + 2 and 64");
    }
    match config
        .tickets
        .iter()
        .find(|ticket| ticket.mesh() != config.mesh)
    {
        Some(ticket) => Err(Error::OtherMesh {
            ticket: ticket.mesh().to_owned(),
            mesh: config.mesh.clone(),
        }),
        None => Ok(()),
    }
}

pub(super) fn check_nick(nick: Option<&str>) -> Result<(), Error> {
    if nick.is_some_and(|nick| nick.is_empty() || nick.len() > MAX_NICK) {
        return Err(Error::Config("a nick has 1 to 32 bytes".to_owned()));
    }
    Ok(())
}

/// Rooms a node may be in.
pub(super) const ROOMS: usize = MAX_ROOMS;

fn fresh_seed() -> Seed {
    let mut seed = Seed::new([0; 32]);
    rand::make_rng::<StdRng>().fill_bytes(seed.as_mut());
    seed
}

async fn bind(runtime: &Runtime, config: &Config) -> Result<Endpoint, Error> {
    let settings = EndpointConfig {
        bind: config.udp_bind.clone(),
    };
    Endpoint::bind(runtime, settings)
        .await
        .map_err(|error| Error::Sockets(error.to_string()))
}

/// The boot count as an incarnation (seconds since 1970 at least; enough
/// until the year 2106).
fn incarnation(boot: u64) -> Incarnation {
    Incarnation(u32::try_from(boot).unwrap_or(u32::MAX))
}

fn contacts(tickets: &[Ticket], remembered: Vec<RememberedPeer>) -> Vec<Contact> {
    let tickets = tickets.iter().map(|ticket| Contact {
        peer: ticket.peer(),
        addresses: ticket.addresses().to_vec(),
    });
    let remembered = remembered.into_iter().map(|peer| Contact {
        peer: PeerId::from_bytes(peer.peer),
        addresses: peer.addresses,
    });
    tickets.chain(remembered).collect()
}

pub(super) fn notice_event(notice: Notice) -> Event {
    match notice {
        Notice::KeyCreated => Event::KeyCreated,
        Notice::Rebuilt { moved_to, cause } => Event::StoreRebuilt { moved_to, cause },
        Notice::RecordDropped { cause } => Event::RecordDropped { cause },
    }
}

fn core(config: &Config, identity: &Arc<Identity>, boot: u64) -> Node {
    let mut settings = node::Config::new(&config.mesh, incarnation(boot));
    settings.nick = config.nick.clone().unwrap_or_default();
    settings.plan.target = config.limits.links_target;
    settings.plan.max = config.limits.links_max;
    Node::new(settings, Arc::clone(identity), rand::make_rng(), time())
}
