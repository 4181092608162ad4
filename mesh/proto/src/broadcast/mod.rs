//! To everybody at the price of a tree: Plumtree over the overlay's links.
//!
//! Plumtree (Leitão, Pereira, Rodrigues: SRDS 2007). A message is *pushed*
//! over eager links and *announced* over lazy ones. The first copy of a
//! message makes its link part of the tree; a second copy's link turns lazy.
//! Who hears an announcement and no message asks for it, and the link it came
//! over turns eager: that is how the tree mends itself.
//!
//! The tree follows time: whoever brought a message first is the parent, so
//! low-latency links win. Left alone that makes deep trees of many short
//! hops, so there is a guard: a copy, or an announcement, that came over
//! [`Config::guard`] fewer hops takes the parent's place.
//!
//! A message's id is the hash of its bytes: nobody can put other bytes under
//! it. Who is the author, and whether it may speak, is the caller's matter,
//! and so is telling apart equal messages (number them).
//!
//! # Contract
//!
//! As for [`Overlay`](crate::overlay::Overlay): inputs with the time, outputs
//! into a buffer of the caller's, a deadline. Everything is bounded: messages
//! kept, ids remembered, announcements waiting, messages missed.

mod cache;
mod lazy;
mod message;

#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use bytes::Bytes;

pub use message::{Announced, MAX_ANNOUNCED, MAX_PAYLOAD, Message, message_id};

use cache::{Cache, Seen};
use lazy::{MAX_MISSING, Missing};

use crate::id::MessageId;
use crate::overlay::ConnId;
use crate::time::Deadline;

/// Further than this nothing travels.
const MAX_HOPS: u8 = 64;

/// Settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Config {
    /// Announcements wait this long for company.
    pub announce: Duration,
    /// A message announced and not arrived is asked for after this. About the
    /// spread of arrival times; too short costs second copies.
    pub graft: Duration,
    /// Pause before the next who announced it is asked.
    pub graft_again: Duration,
    /// How many fewer hops make up for coming later.
    pub guard: u8,
    /// Messages kept for those who ask, and for how long.
    pub kept: usize,
    /// Ids remembered against second deliveries. More than `kept`.
    pub remembered: usize,
    /// For how long both are.
    pub memory: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            announce: Duration::from_millis(50),
            graft: Duration::from_millis(400),
            graft_again: Duration::from_millis(200),
            guard: 1,
            kept: 256,
            remembered: 4_096,
            memory: Duration::from_secs(60),
        }
    }
}

/// What the shell is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send.
    Send {
        /// Over this link.
        conn: ConnId,
        /// What.
        message: Message,
    },
    /// A message, for the first time.
    Deliver {
        /// Its id.
        id: MessageId,
        /// Its bytes.
        payload: Bytes,
        /// Links it travelled over.
        hops: u8,
    },
}

/// What the next deadline is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// Announcements go out, or a missing message is asked for.
    Lazy,
}

/// Counters since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Messages delivered, own ones aside.
    pub delivered: u64,
    /// Copies that arrived again.
    pub duplicates: u64,
    /// Messages asked for because only their announcement came.
    pub grafts: u64,
    /// Parents replaced by the guard.
    pub shortened: u64,
}

#[derive(Clone, Copy, Debug)]
struct Link {
    conn: ConnId,
    eager: bool,
}

/// The broadcasts of one peer; see the module's documentation.
#[derive(Debug)]
pub struct Broadcast {
    wake: u64,
    born: Instant,
    config: Config,
    links: Vec<Link>,
    cache: Cache,
    missing: Vec<Missing>,
    /// What is to be announced, to all lazy links but the one it came from.
    pending: Vec<(Announced, Option<ConnId>)>,
    announce_at: u64,
    stats: Stats,
}

impl Broadcast {
    /// Nothing sent and no links.
    pub fn new(config: Config, now: Instant) -> Self {
        Broadcast {
            wake: u64::MAX,
            born: now,
            links: Vec::new(),
            cache: Cache::new(config.kept, config.remembered, config.memory),
            config,
            missing: Vec::new(),
            pending: Vec::new(),
            announce_at: u64::MAX,
            stats: Stats::default(),
        }
    }

    /// A link of the overlay is up. It is eager until it proves superfluous.
    pub fn link_up(&mut self, conn: ConnId) {
        self.links.push(Link { conn, eager: true });
    }

    /// A link is down.
    pub fn link_down(&mut self, conn: ConnId) {
        self.links.retain(|link| link.conn != conn);
        for missing in &mut self.missing {
            missing.sources.retain(|(source, _)| *source != conn);
        }
    }

    /// Sends `payload` to everybody; `false` if it is too long or was sent
    /// before.
    pub fn publish(&mut self, payload: Bytes, now: Instant, out: &mut Vec<Output>) -> bool {
        let now = self.millis(now);
        let id = message_id(&payload);
        if payload.len() > MAX_PAYLOAD || self.cache.get(&id).is_some() {
            return false;
        }
        self.spread(id, payload, 0, None, now, out);
        true
    }

    /// A neighbour's message. What comes over an unknown link is dropped.
    pub fn handle_message(
        &mut self,
        conn: ConnId,
        message: Message,
        now: Instant,
        out: &mut Vec<Output>,
    ) {
        if !self.links.iter().any(|link| link.conn == conn) {
            return;
        }
        let now = self.millis(now);
        match message {
            Message::Push { payload, hops } => self.on_push(conn, payload, hops, now, out),
            Message::Announce(announced) => {
                for announced in announced.iter() {
                    self.on_announced(conn, *announced, now, out);
                }
            }
            Message::Graft { id } => self.on_graft(conn, id, out),
            Message::Prune => self.set_eager(conn, false),
        }
    }

    /// Does what is due; call it at the [`deadline`](Self::deadline).
    pub fn handle_timeout(&mut self, now: Instant, out: &mut Vec<Output>) {
        let now = self.millis(now);
        if now < self.wake {
            return;
        }
        if now >= self.announce_at {
            self.announce(out);
        }
        self.ask_for_missing(now, out);
        let asks = self.missing.iter().map(|missing| missing.ask_at).min();
        self.wake = self.announce_at.min(asks.unwrap_or(u64::MAX));
    }

    /// When to call [`Broadcast::handle_timeout`], if ever.
    pub fn deadline(&self) -> Option<Deadline<Timer>> {
        (self.wake < u64::MAX).then(|| Deadline {
            at: self.born + Duration::from_millis(self.wake),
            reason: Timer::Lazy,
        })
    }

    /// Counters since the start.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Whether every table is within its bound.
    pub fn is_bounded(&self) -> bool {
        self.missing.len() <= MAX_MISSING
            && self.pending.len() <= MAX_ANNOUNCED
            && self.cache.is_bounded()
    }

    fn millis(&self, now: Instant) -> u64 {
        let age = now.saturating_duration_since(self.born);
        age.as_secs() * 1_000 + u64::from(age.subsec_millis())
    }

    fn on_push(&mut self, conn: ConnId, payload: Bytes, hops: u8, now: u64, out: &mut Vec<Output>) {
        if payload.len() > MAX_PAYLOAD {
            return;
        }
        let id = message_id(&payload);
        if let Some(seen) = self.cache.get(&id).copied() {
            self.stats.duplicates += 1;
            self.on_copy(conn, id, hops, seen, out);
            return;
        }
        self.missing.retain(|missing| missing.id != id);
        self.set_eager(conn, true);
        self.stats.delivered += 1;
        out.push(Output::Deliver {
            id,
            payload: payload.clone(),
            hops,
        });
        self.spread(id, payload, hops, Some(conn), now, out);
    }

    /// A second copy: one of the two links is superfluous.
    fn on_copy(
        &mut self,
        conn: ConnId,
        id: MessageId,
        hops: u8,
        seen: Seen,
        out: &mut Vec<Output>,
    ) {
        let shorter = hops.saturating_add(self.config.guard) <= seen.hops;
        match seen.parent {
            Some(parent) if parent == conn => {}
            Some(parent) if shorter => {
                self.stats.shortened += 1;
                self.cache.adopt(&id, conn, hops);
                self.set_eager(conn, true);
                self.prune(parent, out);
            }
            Some(_) | None => self.prune(conn, out),
        }
    }

    fn prune(&mut self, conn: ConnId, out: &mut Vec<Output>) {
        self.set_eager(conn, false);
        out.push(Output::Send {
            conn,
            message: Message::Prune,
        });
    }

    /// Pushes to the eager, announces to the lazy, remembers.
    fn spread(
        &mut self,
        id: MessageId,
        payload: Bytes,
        hops: u8,
        from: Option<ConnId>,
        now: u64,
        out: &mut Vec<Output>,
    ) {
        if hops < MAX_HOPS {
            let onward = self.links.iter().filter(|link| Some(link.conn) != from);
            for link in onward.filter(|link| link.eager) {
                let message = Message::Push {
                    payload: payload.clone(),
                    hops: hops + 1,
                };
                out.push(Output::Send {
                    conn: link.conn,
                    message,
                });
            }
            let onward = hops + 1;
            self.announce_later(Announced { id, hops: onward }, from, now, out);
        }
        self.cache.insert(id, payload, hops, from, now);
    }

    fn set_eager(&mut self, conn: ConnId, eager: bool) {
        if let Some(link) = self.links.iter_mut().find(|link| link.conn == conn) {
            link.eager = eager;
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
