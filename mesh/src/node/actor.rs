//! The root actor: streams in, one turn each, one driver for time.
//!
//! A turn feeds the core one input, carries out everything it asks, takes the
//! application's messages while the links have room, and publishes what
//! changed. The [`Driver`] is the only thing that waits: for the core's
//! deadline, for the bootstrap list, for messages.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{self, Poll, Waker};
use std::time::Instant;

use actix::fut::ActorFuture;
use actix::{Actor, AsyncContext, Context, StreamHandler};
use peerloom_actors::{DataTransport, DataTransportChoice, Endpoint, Runtime};
use peerloom_mesh_proto::limit::Limiter;
use peerloom_mesh_proto::node::Node;
use peerloom_mesh_proto::{Identity, LinkId, MessageId, PeerId, RoomId, Ticket};
use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep_until};
use tokio_stream::wrappers::ReceiverStream;

use super::addresses::Addresses;
use super::bootstrap::Bootstrap;
use super::names;
use super::rooms::Rooms;
use super::start::notice_event;
use super::{Outgoing, Reply, Request};
use crate::clock::time;
use crate::config::KnownPeers;
use crate::error::{Error, SendError};
use crate::event::Event;
use crate::gossip::{Command, Event as GossipEvent, Gossip};
use crate::identity::{Assertions, KnownNames};
use crate::link::{Link, Report};
use crate::shared::{LinkState, Shared};
use crate::store::{Notice, Store};

/// Application messages taken per turn, so that others have theirs.
const MESSAGES_PER_TURN: usize = 32;

/// What a node is made of.
pub(super) struct Parts {
    pub(super) core: Node,
    pub(super) identity: Arc<Identity>,
    pub(super) gossip: Gossip,
    pub(super) endpoint: Endpoint,
    pub(super) store: Store,
    pub(super) shared: Arc<Shared>,
    pub(super) bootstrap: Bootstrap,
    pub(super) addresses: Addresses,
    pub(super) known: KnownNames,
    pub(super) assertions: Assertions,
    pub(super) known_peers: KnownPeers,
    pub(super) transport: DataTransport,
    pub(super) reports: mpsc::Sender<(LinkId, Report)>,
    pub(super) messages: mpsc::Receiver<Outgoing>,
    pub(super) nick: Option<String>,
    /// Held, not used: a pool of the node's own ends with the node.
    pub(super) _runtime: Runtime,
}

/// What the node listens to.
pub(super) struct Queues {
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) gossip: mpsc::Receiver<GossipEvent>,
    pub(super) reports: mpsc::Receiver<(LinkId, Report)>,
    pub(super) notices: mpsc::Receiver<Notice>,
}

/// A link as the node knows it.
pub(super) struct LinkEntry {
    pub(super) link: Link,
    pub(super) room: RoomId,
    pub(super) peer: PeerId,
    /// The name its identity was checked under.
    pub(super) name: String,
    pub(super) state: LinkState,
    /// What carries it, once it is up.
    pub(super) transport: Option<DataTransportChoice>,
    pub(super) since: Instant,
}

/// A direct message that waits for its acknowledgement.
pub(super) struct Pending {
    pub(super) to: PeerId,
    pub(super) reply: Reply<Result<(), SendError>>,
}

/// What a node is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Its work.
    Running,
    /// Nothing, visibly: silenced by fault injection.
    #[cfg(feature = "chaos")]
    Silent,
    /// Saying goodbye, until everybody has heard it.
    Leaving,
    /// Letting go of links, gossip, sockets and store.
    Closing,
}

impl Phase {
    /// Whether the core takes part.
    pub(super) fn is_live(self) -> bool {
        matches!(self, Phase::Running | Phase::Leaving)
    }
}

/// Resolves when a link is closed.
pub(super) type Parting = Pin<Box<dyn Future<Output = ()>>>;

/// The root actor of a node.
pub(super) struct NodeActor {
    pub(super) parts: Parts,
    pub(super) links: BTreeMap<LinkId, LinkEntry>,
    pub(super) rooms: Rooms,
    pub(super) unacknowledged: BTreeMap<MessageId, Pending>,
    /// Tickets asked for before the addresses had settled.
    pub(super) tickets: Vec<Reply<Result<Ticket, Error>>>,
    pub(super) phase: Phase,
    /// Who asked the node to close.
    pub(super) closer: Option<Reply<()>>,
    /// Links let go of while leaving, until they are closed.
    pub(super) parting: Vec<Parting>,
    /// How often peers may change their names.
    pub(super) renames: Limiter<PeerId>,
    /// Rooms whose roster is to be published at the end of the turn.
    pub(super) dirty: BTreeSet<RoomId>,
    pub(super) links_dirty: bool,
    /// Events of this turn, told when it ends.
    pub(super) told: Vec<Event>,
    driver: Option<Waker>,
    queues: Option<Queues>,
}

impl NodeActor {
    /// Starts the actor on the current arbiter.
    pub(super) fn launch(parts: Parts, queues: Queues) {
        let actor = Self {
            parts,
            links: BTreeMap::new(),
            rooms: Rooms::default(),
            unacknowledged: BTreeMap::new(),
            tickets: Vec::new(),
            phase: Phase::Running,
            closer: None,
            parting: Vec::new(),
            renames: names::limiter(),
            dirty: BTreeSet::new(),
            links_dirty: false,
            told: Vec::new(),
            driver: None,
            queues: Some(queues),
        };
        // Nobody sends it actix messages: it lives as long as its streams.
        drop(actor.start());
    }

    /// Carries out what the core asks; see the module documentation.
    pub(super) fn turn(&mut self, ctx: &mut Context<Self>) {
        if self.phase.is_live() {
            let now = time();
            if self
                .parts
                .core
                .poll_timeout()
                .is_some_and(|deadline| deadline.at <= now.now)
            {
                self.parts.core.handle_timeout(now);
            }
        }
        self.drain(ctx);
        self.publish();
        self.end_when_heard(ctx);
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }

    /// Carries out every output; input that follows at once is fed at once.
    pub(super) fn drain(&mut self, ctx: &mut Context<Self>) {
        while let Some(output) = self.parts.core.poll() {
            self.carry_out(ctx, output);
        }
    }

    /// When the driver has to run next.
    fn due(&self) -> Option<Instant> {
        if !self.phase.is_live() {
            return None;
        }
        let core = self.parts.core.poll_timeout().map(|deadline| deadline.at);
        let running = self.phase == Phase::Running;
        let bootstrap = self.parts.bootstrap.due().filter(|_| running);
        let waiting = running && !self.tickets.is_empty();
        let settled = self.parts.addresses.settle_at().filter(|_| waiting);
        [core, bootstrap, settled].into_iter().flatten().min()
    }

    /// Dials who is next on the bootstrap list.
    fn dial_next(&mut self) {
        if self.phase != Phase::Running {
            return;
        }
        let Parts {
            bootstrap, core, ..
        } = &mut self.parts;
        let present = |peer: &PeerId| core.roster().get(peer).is_some();
        for contact in bootstrap.take(Instant::now(), present) {
            let dial = Command::Dial {
                peer: contact.peer,
                addresses: contact.addresses,
            };
            self.gossip(dial);
        }
    }

    /// Hands a command to gossip. A full queue loses it, as a network might.
    pub(super) fn gossip(&self, command: Command) {
        if !self.parts.gossip.command(command) {
            tracing::debug!("gossip command dropped");
        }
    }
}

impl Actor for NodeActor {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        if let Some(queues) = self.queues.take() {
            ctx.add_stream(ReceiverStream::new(queues.requests));
            ctx.add_stream(ReceiverStream::new(queues.gossip));
            ctx.add_stream(ReceiverStream::new(queues.reports));
            ctx.add_stream(ReceiverStream::new(queues.notices));
        }
        let sleep = Box::pin(sleep_until(tokio::time::Instant::now()));
        ctx.spawn(Driver { sleep, armed: None });
    }
}

impl StreamHandler<Request> for NodeActor {
    fn handle(&mut self, request: Request, ctx: &mut Self::Context) {
        self.request(ctx, request);
        self.turn(ctx);
    }

    /// The last handle is gone.
    fn finished(&mut self, ctx: &mut Self::Context) {
        self.close(ctx, None);
    }
}

impl StreamHandler<GossipEvent> for NodeActor {
    fn handle(&mut self, event: GossipEvent, ctx: &mut Self::Context) {
        self.gossip_event(event);
        self.turn(ctx);
    }

    /// A gossip thread that ended leaves the links as they are.
    fn finished(&mut self, _: &mut Self::Context) {}
}

impl StreamHandler<(LinkId, Report)> for NodeActor {
    fn handle(&mut self, (link, report): (LinkId, Report), ctx: &mut Self::Context) {
        self.report(link, report);
        self.turn(ctx);
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

impl StreamHandler<Notice> for NodeActor {
    fn handle(&mut self, notice: Notice, ctx: &mut Self::Context) {
        self.emit(notice_event(notice));
        self.turn(ctx);
    }

    fn finished(&mut self, _: &mut Self::Context) {}
}

/// Waits for deadlines and for the application's messages.
struct Driver {
    sleep: Pin<Box<Sleep>>,
    armed: Option<Instant>,
}

impl ActorFuture<NodeActor> for Driver {
    type Output = ();

    fn poll(
        mut self: Pin<&mut Self>,
        node: &mut NodeActor,
        ctx: &mut Context<NodeActor>,
        task: &mut task::Context<'_>,
    ) -> Poll<()> {
        if self.rings(node, task) {
            node.dial_next();
            node.answer_tickets();
            node.turn(ctx);
            task.waker().wake_by_ref();
        }
        for _ in 0..MESSAGES_PER_TURN {
            if !node.may_send() {
                break;
            }
            match node.parts.messages.poll_recv(task) {
                Poll::Ready(Some(message)) => {
                    node.send_message(message);
                    node.turn(ctx);
                }
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        node.driver = Some(task.waker().clone());
        Poll::Pending
    }
}

impl Driver {
    /// Arms the sleep for what is due next; whether it is due already.
    fn rings(&mut self, node: &NodeActor, task: &mut task::Context<'_>) -> bool {
        let Some(due) = node.due() else { return false };
        if self.armed.is_none_or(|armed| due < armed) {
            self.armed = Some(due);
            self.sleep
                .as_mut()
                .reset(tokio::time::Instant::from_std(due));
        }
        let rings = std::future::Future::poll(self.sleep.as_mut(), task).is_ready();
        if rings {
            self.armed = None;
        }
        rings
    }
}
