//! What the node publishes for handles to read at any time.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use peerloom_actors::DataTransportChoice;
use peerloom_mesh_proto::{PeerId, RoomId};
use tokio::sync::{broadcast, watch};

use crate::event::Event;
use crate::gossip::Counters;

/// Events kept for a slow reader; it then gets [`Event::Missed`].
const EVENTS: usize = 1024;
/// What the start brought to light, kept for the first reader of events.
/// Filled by the store while it opens; the rest is only logged.
const EARLY: usize = 64;

/// A member of a room, as this node sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Member {
    /// Who.
    pub peer: PeerId,
    /// What people call it.
    pub nick: Option<String>,
    /// How sure we are of it.
    pub state: MemberState,
    /// Where its gossip swarm listens.
    pub addresses: Vec<String>,
    /// Whether this node has an authenticated link to it.
    pub linked: bool,
    /// Whether it is this node.
    pub me: bool,
}

/// How sure we are of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MemberState {
    /// Its presence holds.
    Alive,
    /// Somebody said it is dead; it may still object.
    Suspected,
}

/// A link of this node.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkInfo {
    /// The other side.
    pub peer: PeerId,
    /// The room it belongs to.
    pub room: String,
    /// How far it is.
    pub state: LinkState,
    /// Whether the other side's identity assertion was checked.
    pub authenticated: bool,
    /// What carries it and why, once it is up.
    pub transport: Option<DataTransportChoice>,
    /// When it came into this state.
    pub since: Instant,
}

/// How far a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LinkState {
    /// Being set up.
    Connecting,
    /// Carries messages.
    Up,
}

/// Totals since the node started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct MeshStats {
    /// Presence and envelopes, sent and received.
    pub bytes_gossip: u64,
    /// Frames on data channels, sent and received.
    pub bytes_channels: u64,
    /// Links that are up now.
    pub links: u64,
    /// Identity assertions validated.
    pub identities_verified: u64,
    /// Identity assertions refused.
    pub identities_refused: u64,
    /// Broadcasts this node's application sent.
    pub broadcasts_sent: u64,
    /// Direct messages this node's application sent.
    pub directs_sent: u64,
    /// Messages handed to this node's application.
    pub delivered: u64,
    /// Messages dropped because the application did not read them.
    pub dropped: u64,
    /// Offers to link that crossed one of this node's own.
    pub glares: u64,
    /// Offers and answers that found no direct way and were flooded.
    pub envelopes_flooded: u64,
    /// Messages of peers that were not heard of in time, dropped.
    pub strangers_dropped: u64,
    /// Links that failed and were rebuilt or replaced.
    pub links_lost: u64,
}

/// The counters behind [`MeshStats`]; statistics only, no decision reads them.
#[derive(Debug, Default)]
pub(crate) struct Totals {
    pub(crate) bytes_channels: AtomicU64,
    pub(crate) links: AtomicU64,
    pub(crate) identities_verified: AtomicU64,
    pub(crate) identities_refused: AtomicU64,
    pub(crate) broadcasts_sent: AtomicU64,
    pub(crate) directs_sent: AtomicU64,
    pub(crate) delivered: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) glares: AtomicU64,
    pub(crate) envelopes_flooded: AtomicU64,
    pub(crate) strangers_dropped: AtomicU64,
    pub(crate) links_lost: AtomicU64,
}

/// Adds to a statistic.
pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}

/// Sets a statistic to what was counted elsewhere.
pub(crate) fn set(counter: &AtomicU64, to: u64) {
    counter.store(to, Ordering::Relaxed);
}

/// A room's members, replaced as a whole at each change.
pub(crate) type Roster = Arc<Vec<Member>>;

/// Everything handles may read; the node writes.
pub(crate) struct Shared {
    pub(crate) me: PeerId,
    pub(crate) mesh: String,
    /// Where the peer connections' sockets are bound.
    pub(crate) sockets: Vec<SocketAddr>,
    pub(crate) events: broadcast::Sender<Event>,
    pub(crate) links: watch::Sender<Arc<Vec<LinkInfo>>>,
    pub(crate) totals: Totals,
    pub(crate) gossip: Arc<Counters>,
    early: Mutex<Vec<Event>>,
}

impl Shared {
    pub(crate) fn new(
        me: PeerId,
        mesh: String,
        sockets: Vec<SocketAddr>,
        gossip: Arc<Counters>,
    ) -> Self {
        Self {
            me,
            mesh,
            sockets,
            events: broadcast::Sender::new(EVENTS),
            links: watch::Sender::new(Arc::default()),
            totals: Totals::default(),
            gossip,
            early: Mutex::default(),
        }
    }

    /// Keeps events from before anybody could listen.
    pub(crate) fn keep_early(&self, events: impl Iterator<Item = Event>) {
        self.early().extend(events.take(EARLY));
    }

    /// Hands those events out, once.
    pub(crate) fn take_early(&self) -> Vec<Event> {
        std::mem::take(&mut *self.early())
    }

    fn early(&self) -> MutexGuard<'_, Vec<Event>> {
        // A list is whole whenever the lock is free.
        self.early.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells whoever listens.
    pub(crate) fn emit(&self, event: Event) {
        tracing::debug!(?event, "mesh event");
        // An error means that nobody listens.
        drop(self.events.send(event));
    }

    pub(crate) fn stats(&self) -> MeshStats {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let totals = &self.totals;
        MeshStats {
            bytes_gossip: self.gossip.total(),
            bytes_channels: read(&totals.bytes_channels),
            links: read(&totals.links),
            identities_verified: read(&totals.identities_verified),
            identities_refused: read(&totals.identities_refused),
            broadcasts_sent: read(&totals.broadcasts_sent),
            directs_sent: read(&totals.directs_sent),
            delivered: read(&totals.delivered),
            dropped: read(&totals.dropped),
            glares: read(&totals.glares),
            envelopes_flooded: read(&totals.envelopes_flooded),
            strangers_dropped: read(&totals.strangers_dropped),
            links_lost: read(&totals.links_lost),
        }
    }
}

/// A room's name on both levels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoomName {
    pub(crate) id: RoomId,
    pub(crate) name: Arc<str>,
}
