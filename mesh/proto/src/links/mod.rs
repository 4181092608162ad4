//! Whom to link with in a room.
//!
//! Two kinds of links, so that the graph is both connected and hard to cut:
//!
//! * **Ring links**: members are arranged in a circle by a hash of room and
//!   peer id, and everyone links with its successor and predecessor (as Chord
//!   does: Stoica et al., SIGCOMM 2001, section 4). Members that agree on the
//!   roster agree on the ring, so the graph is connected once it stands.
//! * **Random links** up to `target`. They give the graph its small diameter
//!   and keep it in one piece while the ring is being repaired.
//!
//! Bounds: never more than `max` links, attempts included. Slots for missing
//! ring partners are kept free, and a ring partner that finds none left gets
//! the place of a random link. Links above `2 * target` are given up slowly,
//! and only where the other side can spare them, so nothing flaps.
//!
//! Both sides of a pair want the same link at the same moment. Which of them
//! dials is decided by a hash of the pair; the other waits a little in case
//! the first does not know it yet. What glare remains is settled by
//! [`glare`](crate::glare).

mod config;
mod lost;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::{Rng, RngExt};

pub use config::{Admission, Ended, PlanAction, PlanConfig};

use crate::id::{PeerId, RoomId, tagged_hash};

type RingKey = [u8; 16];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Dialing,
    Accepting,
    Up(Instant),
}

#[derive(Debug)]
struct Peer {
    key: RingKey,
    /// Whether this node is the one of the pair that dials.
    dialled: bool,
    suspected: bool,
    state: State,
    /// Links the other side has, by its last word.
    degree: usize,
    failures: u32,
    /// Its link broke and is to be built again before others.
    lost: bool,
    /// How often its link broke soon after it was built.
    breaks: u32,
    not_before: Option<Instant>,
    /// Since when it is wanted and idle, for ring partners.
    wanted_since: Option<Instant>,
}

/// Decides whom to dial, whom to accept and whom to let go.
#[derive(Debug)]
pub struct LinkPlan {
    config: PlanConfig,
    me: PeerId,
    room: RoomId,
    key: RingKey,
    ring: BTreeMap<RingKey, PeerId>,
    peers: BTreeMap<PeerId, Peer>,
    /// First and last roster change not settled yet.
    changed: Option<(Instant, Instant)>,
    short_since: Option<Instant>,
    next_trim: Option<Instant>,
    wake: Option<Instant>,
    /// By how much dialling is slowed down.
    brake: usize,
}

/// A link this young is not given up.
const MIN_AGE: Duration = Duration::from_secs(10);

impl LinkPlan {
    /// The plan of `me` for `room`.
    pub fn new(config: PlanConfig, me: PeerId, room: RoomId) -> Self {
        LinkPlan {
            config: config.checked(),
            me,
            room,
            key: ring_key(&room, &me),
            ring: BTreeMap::new(),
            peers: BTreeMap::new(),
            changed: None,
            short_since: None,
            next_trim: None,
            wake: None,
            brake: 1,
        }
    }

    /// A member joined, or is no longer suspected.
    pub fn joined(&mut self, peer: PeerId, now: Instant) {
        if peer == self.me {
            return;
        }
        let me = self.me;
        let entry = self.peers.entry(peer).or_insert_with(|| Peer {
            key: ring_key(&self.room, &peer),
            dialled: dials(&me, &peer),
            suspected: false,
            state: State::Idle,
            degree: 0,
            failures: 0,
            lost: false,
            breaks: 0,
            not_before: None,
            wanted_since: None,
        });
        let known = self.ring.insert(entry.key, peer).is_some();
        if !known || entry.suspected {
            entry.suspected = false;
            self.touch(now);
        }
    }

    /// A member is suspected: it is no ring partner and not dialled.
    pub fn suspected(&mut self, peer: PeerId, now: Instant) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.suspected = true;
            self.ring.remove(&entry.key);
            self.wake = Some(now);
        }
    }

    /// A member left or died. The caller closes its link.
    pub fn left(&mut self, peer: PeerId, now: Instant) {
        if let Some(entry) = self.peers.remove(&peer) {
            self.ring.remove(&entry.key);
            self.wake = Some(now);
        }
    }

    /// A peer asks for a link. On [`Admission::Accept`] it counts as being
    /// accepted until [`LinkPlan::up`] or [`LinkPlan::ended`].
    pub fn admit(&mut self, peer: PeerId, now: Instant, rng: &mut impl Rng) -> Admission {
        let Some(state) = self.peers.get(&peer).map(|entry| entry.state) else {
            return Admission::Unknown;
        };
        let mut evict = None;
        if state == State::Idle {
            let ring = self.is_partner(&peer);
            let room = self.config.max.saturating_sub(self.occupied());
            let reserved = if ring {
                0
            } else {
                self.partners_missing(false)
            };
            if room <= reserved {
                evict = if ring {
                    self.surplus(now, rng, false)
                } else {
                    None
                };
                if evict.is_none() {
                    return Admission::Full;
                }
            }
        }
        if let Some(evicted) = evict {
            self.set_state(evicted, State::Idle);
        }
        self.set_state(peer, State::Accepting);
        Admission::Accept { evict }
    }

    /// The link to `peer` stands.
    pub fn up(&mut self, peer: PeerId, now: Instant) {
        self.set_state(peer, State::Up(now));
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.lost = false;
        }
        self.wake = Some(now);
    }

    /// The attempt or link to `peer` is over.
    pub fn ended(&mut self, peer: PeerId, how: Ended, now: Instant, rng: &mut impl Rng) {
        let (first, max) = (self.config.backoff, self.config.backoff_max);
        self.wake = Some(now);
        let Some(entry) = self.peers.get_mut(&peer) else {
            return;
        };
        if matches!(entry.state, State::Up(since) if now.saturating_duration_since(since) > MIN_AGE)
        {
            entry.failures = 0;
        }
        if let Ended::Broken { here } = how {
            let pause = entry.broke(now);
            entry.state = State::Idle;
            entry.wanted_since = None;
            let at = self.rebuild_at(pause, here, now, rng);
            if let Some(entry) = self.peers.get_mut(&peer) {
                entry.not_before = Some(at);
            }
            return;
        }
        entry.state = State::Idle;
        entry.wanted_since = None;
        entry.lost &= how == Ended::Failed && entry.failures + 1 < lost::TRIES;
        let pause = match how {
            // Above.
            Ended::Broken { .. } => Duration::ZERO,
            Ended::Released => {
                entry.failures = 0;
                first
            }
            Ended::Refused(retry) => retry.clamp(first, max),
            Ended::Failed => {
                entry.failures = entry.failures.saturating_add(1);
                first
                    .saturating_mul(1 << (entry.failures - 1).min(16))
                    .min(max)
            }
        };
        entry.not_before = Some(now + pause.mul_f64(rng.random_range(0.5..1.5)));
    }

    /// What the other side of a link says about its number of links.
    pub fn note_degree(&mut self, peer: PeerId, degree: usize) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.degree = degree;
        }
    }

    /// Dials fewer peers at a time, for a node that is too busy to finish what
    /// it has begun.
    pub fn set_brake(&mut self, multiplier: u32) {
        self.brake = usize::try_from(multiplier).unwrap_or(1).max(1);
    }

    /// Links that stand.
    pub fn degree(&self) -> usize {
        self.peers
            .values()
            .filter(|entry| matches!(entry.state, State::Up(_)))
            .count()
    }

    /// Successor and predecessor on the ring, if there are others.
    pub fn partners(&self) -> [Option<PeerId>; 2] {
        let after = self
            .ring
            .range(self.key..)
            .find(|(_, peer)| **peer != self.me);
        let after = after.or_else(|| self.ring.iter().next());
        let before = self
            .ring
            .range(..self.key)
            .next_back()
            .or_else(|| self.ring.iter().next_back());
        let (after, before) = (after.map(|(_, peer)| *peer), before.map(|(_, peer)| *peer));
        [after, before.filter(|peer| Some(*peer) != after)]
    }

    /// The next thing to do now, or `None`, after which
    /// [`LinkPlan::poll_timeout`] is up to date.
    pub fn poll(&mut self, now: Instant, rng: &mut impl Rng) -> Option<PlanAction> {
        self.wake = None;
        if let Some(until) = self.unsettled(now) {
            self.wake_at(until);
            return None;
        }
        self.changed = None;
        self.dial_lost(now)
            .or_else(|| self.dial_partner(now, rng))
            .or_else(|| self.dial_random(now, rng))
            .or_else(|| self.trim(now, rng))
    }

    /// When [`LinkPlan::poll`] may have something to do without any input.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.wake
    }

    fn dial_partner(&mut self, now: Instant, rng: &mut impl Rng) -> Option<PlanAction> {
        for peer in self.partners().into_iter().flatten() {
            if self.dialing() >= self.in_flight() {
                return None;
            }
            let Some(wait) = self.wait_for(peer, now) else {
                continue;
            };
            if wait > now {
                self.wake_at(wait);
            } else if self.occupied() < self.config.max {
                return Some(self.dial(peer));
            } else if let Some(evicted) = self.surplus(now, rng, false) {
                self.set_state(evicted, State::Idle);
                self.wake_at(now);
                return Some(PlanAction::Close(evicted));
            }
        }
        None
    }

    /// When the idle ring partner `peer` may be dialled.
    fn wait_for(&mut self, peer: PeerId, now: Instant) -> Option<Instant> {
        let entry = self
            .peers
            .get_mut(&peer)
            .filter(|entry| entry.state == State::Idle)?;
        let patience = if entry.dialled {
            Duration::ZERO
        } else {
            self.config.patience
        };
        let since = *entry.wanted_since.get_or_insert(now);
        Some((since + patience).max(entry.not_before.unwrap_or(now)))
    }

    fn dial_random(&mut self, now: Instant, rng: &mut impl Rng) -> Option<PlanAction> {
        // Links to suspects will hardly last: they are replaced at once.
        let suspects = self
            .peers
            .values()
            .filter(|p| p.suspected && p.state != State::Idle)
            .count();
        if self.occupied() >= self.config.max {
            return None;
        }
        let expected = self.occupied() + self.partners_missing(true) + self.lost();
        if expected >= self.config.target + suspects {
            self.short_since = None;
            return None;
        }
        if self.dialing() >= self.in_flight() {
            return None;
        }
        let impatient = *self.short_since.get_or_insert(now) + self.config.patience;
        let partners = self.partners();
        let idle = self.peers.iter().filter(|(peer, entry)| {
            entry.state == State::Idle && !entry.suspected && !partners.contains(&Some(**peer))
        });
        let (mut mine, mut any, mut wake) = (Vec::new(), Vec::new(), None);
        for (peer, entry) in idle {
            match entry.not_before.filter(|at| *at > now) {
                Some(at) => wake = earlier(wake, at),
                None if entry.dialled => mine.push(*peer),
                None => any.push(*peer),
            }
        }
        if mine.is_empty() && !any.is_empty() {
            if impatient <= now {
                mine = any;
            } else {
                wake = earlier(wake, impatient);
            }
        }
        if let Some(at) = wake {
            self.wake_at(at);
        }
        let chosen = mine.get(rng.random_range(0..mine.len().max(1)))?;
        Some(self.dial(*chosen))
    }

    fn trim(&mut self, now: Instant, rng: &mut impl Rng) -> Option<PlanAction> {
        if self.degree() <= 2 * self.config.target {
            self.next_trim = None;
            return None;
        }
        let pause = self.config.trim.mul_f64(rng.random_range(0.5..1.5));
        let due = *self.next_trim.get_or_insert(now + pause);
        if due > now {
            self.wake_at(due);
            return None;
        }
        self.next_trim = Some(now + pause);
        self.wake_at(now + pause);
        let peer = self.surplus(now, rng, true)?;
        self.set_state(peer, State::Idle);
        Some(PlanAction::Close(peer))
    }

    /// A random link that is not on the ring; `spared` only one that is not
    /// young and that the other side can spare.
    fn surplus(&self, now: Instant, rng: &mut impl Rng, spared: bool) -> Option<PeerId> {
        let partners = self.partners();
        let links = self
            .peers
            .iter()
            .filter(|(peer, _)| !partners.contains(&Some(**peer)));
        let up = links.filter_map(|(peer, entry)| match entry.state {
            State::Up(since) => {
                let old = now.saturating_duration_since(since) >= MIN_AGE;
                Some((*peer, entry.degree > self.config.target, old))
            }
            State::Idle | State::Dialing | State::Accepting => None,
        });
        let up: Vec<_> = up.collect();
        let best: Vec<_> = up
            .iter()
            .filter(|(_, can_spare, old)| *can_spare && (*old || !spared))
            .collect();
        let rest: Vec<_> = up.iter().filter(|_| !spared).collect();
        let from = if best.is_empty() { rest } else { best };
        from.get(rng.random_range(0..from.len().max(1)))
            .map(|(peer, ..)| *peer)
    }

    fn dial(&mut self, peer: PeerId) -> PlanAction {
        self.set_state(peer, State::Dialing);
        PlanAction::Dial(peer)
    }

    fn set_state(&mut self, peer: PeerId, state: State) {
        if let Some(entry) = self.peers.get_mut(&peer) {
            entry.state = state;
            if state != State::Idle {
                entry.wanted_since = None;
                entry.not_before = None;
            }
        }
    }

    fn occupied(&self) -> usize {
        self.peers
            .values()
            .filter(|entry| entry.state != State::Idle)
            .count()
    }

    fn in_flight(&self) -> usize {
        (self.config.in_flight / self.brake).max(1)
    }

    fn dialing(&self) -> usize {
        self.peers
            .values()
            .filter(|entry| entry.state == State::Dialing)
            .count()
    }

    fn is_partner(&self, peer: &PeerId) -> bool {
        self.partners().contains(&Some(*peer))
    }

    /// Ring partners without a link; `hopeful` leaves out those that failed.
    fn partners_missing(&self, hopeful: bool) -> usize {
        let partners = self.partners();
        let missing = partners
            .iter()
            .flatten()
            .filter_map(|peer| self.peers.get(peer));
        missing
            .filter(|entry| entry.state == State::Idle && !(hopeful && entry.failures > 0))
            .count()
    }

    fn touch(&mut self, now: Instant) {
        let first = self.changed.map_or(now, |(first, _)| first);
        self.changed = Some((first, now));
        self.wake = Some(now);
    }

    fn unsettled(&self, now: Instant) -> Option<Instant> {
        let (first, last) = self.changed?;
        let until = (last + self.config.settle).min(first + self.config.settle * 4);
        (until > now).then_some(until)
    }

    fn wake_at(&mut self, at: Instant) {
        self.wake = earlier(self.wake, at);
    }
}

fn earlier(a: Option<Instant>, b: Instant) -> Option<Instant> {
    Some(a.map_or(b, |a| a.min(b)))
}

/// Whether `me` is the one of the pair that dials.
fn dials(me: &PeerId, peer: &PeerId) -> bool {
    let (low, high) = if me < peer { (me, peer) } else { (peer, me) };
    let [coin] = tagged_hash("peerloom/dialler/1", &[low.as_bytes(), high.as_bytes()]);
    (coin & 1 == 0) == (low == me)
}

fn ring_key(room: &RoomId, peer: &PeerId) -> RingKey {
    tagged_hash("peerloom/ring/1", &[room.as_bytes(), peer.as_bytes()])
}

#[cfg(test)]
mod tests;
