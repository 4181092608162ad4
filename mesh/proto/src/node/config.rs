//! How a node is set up, and what it tells about itself.

use std::time::{Duration, Instant};

use super::io::LinkId;
use crate::id::{Incarnation, PeerId, RoomId, SessionId};
use crate::links::PlanConfig;
use crate::liveness::ProbeConfig;

/// How a node behaves.
#[derive(Clone, Debug)]
pub struct Config {
    /// The mesh's name.
    pub mesh: String,
    /// What people call this node; cut off at [`MAX_NICK`](crate::presence::MAX_NICK) bytes.
    pub nick: String,
    /// Where this node's libp2p swarm listens; more may be set later.
    pub addresses: Vec<String>,
    /// This life of the node: grows from start to start.
    pub incarnation: Incarnation,
    /// How links are chosen.
    pub plan: PlanConfig,
    /// How links are probed.
    pub probe: ProbeConfig,
    /// How long a presence holds; it is renewed three times as often. A
    /// backstop only: obituaries are much faster.
    pub presence_ttl: Duration,
    /// How long a connection attempt may take. Generous, so that a machine
    /// building dozens of connections at once does not give up on all.
    pub attempt_timeout: Duration,
    /// How long records are collected before they are passed on together.
    pub coalesce: Duration,
}

impl Config {
    /// Defaults for a mesh called `mesh`.
    pub fn new(mesh: impl Into<String>, incarnation: Incarnation) -> Self {
        Config {
            mesh: mesh.into(),
            nick: String::new(),
            addresses: Vec::new(),
            incarnation,
            plan: PlanConfig::default(),
            probe: ProbeConfig::default(),
            presence_ttl: Duration::from_secs(90),
            attempt_timeout: Duration::from_secs(20),
            coalesce: Duration::from_millis(10),
        }
    }
}

/// What a node has counted so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Broadcasts written by this node.
    pub broadcasts_sent: u64,
    /// Broadcasts and direct messages handed to the application.
    pub delivered: u64,
    /// Messages of people that were not heard of in time, or too many of
    /// them: dropped.
    pub strangers_dropped: u64,
    /// Copies of broadcasts that had been delivered before.
    pub duplicates: u64,
    /// Direct messages written by this node.
    pub directs_sent: u64,
    /// Envelopes sent to one neighbour.
    pub envelopes_sent: u64,
    /// Envelopes flooded through a room.
    pub envelopes_flooded: u64,
    /// Offers that crossed one of this node's own.
    pub glares: u64,
    /// Letters opened.
    pub letters: u64,
    /// Frames, records and envelopes refused.
    pub refused: u64,
    /// Obituaries written by this node.
    pub obituaries: u64,
}

/// One link, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkInfo {
    /// The link.
    pub link: LinkId,
    /// Its room.
    pub room: RoomId,
    /// The other side.
    pub peer: PeerId,
    /// Its session.
    pub session: SessionId,
    /// Since when it carries frames; `None` while it is being built.
    pub up_since: Option<Instant>,
    /// Smoothed round-trip time of its probes.
    pub rtt: Option<Duration>,
}
