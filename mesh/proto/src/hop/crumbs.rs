//! What passed by: where it came from, where it went, what became of it.

use std::collections::{BTreeMap, VecDeque};

use super::config::{CRUMB_MS, HOLD_MS, MAX_CRUMBS, MAX_HELD, MAX_TRAILS, TRAIL_MS};
use super::frame::Route;
use crate::envelope::{Proof, RouteTag};
use crate::id::{MessageId, PeerId};

/// One attempt to deliver one envelope.
pub(super) type Key = (MessageId, u8);

/// Where it came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// This node sent it.
    Own,
    /// A neighbour.
    Link(PeerId),
    /// It was flooded.
    Flood,
}

/// What became of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is on its way.
    Pending,
    /// It is for this node, which has not opened it yet.
    Here,
    /// It waits for a way.
    Kept,
    /// The addressee has it.
    Acked(Proof),
    /// No way from here.
    Failed,
}

/// The way of one attempt through this node.
#[derive(Debug)]
pub(super) struct Crumb {
    pub(super) from: Origin,
    pub(super) next: Option<PeerId>,
    pub(super) tried: Vec<PeerId>,
    pub(super) fate: Fate,
    /// Links from the sender to here, and from here to the addressee, once
    /// that is known.
    pub(super) behind: u8,
    pub(super) ahead: u8,
    /// The envelope, as long as it may have to go another way.
    route: Option<Box<Route>>,
}

impl Crumb {
    pub(super) fn new(from: Origin, fate: Fate, behind: u8) -> Self {
        Crumb {
            from,
            behind,
            ahead: 0,
            next: None,
            tried: Vec::new(),
            fate,
            route: None,
        }
    }

    pub(super) fn route(&self) -> Option<&Route> {
        self.route.as_deref()
    }
}

/// The ways of envelopes that passed lately.
#[derive(Debug, Default)]
pub(super) struct Crumbs {
    map: BTreeMap<Key, Crumb>,
    order: VecDeque<(u64, Key)>,
    /// Those that were given an envelope to hold, in the same order.
    holding: VecDeque<(u64, Key)>,
    /// Bytes of the envelopes held.
    held: usize,
}

/// What an envelope weighs in a table.
pub(super) fn weight(route: &Route) -> usize {
    route.envelope.sealed.len() + 256
}

impl Crumbs {
    /// Remembers; false when a route cannot be held besides the others.
    pub(super) fn insert(
        &mut self,
        key: Key,
        mut crumb: Crumb,
        route: Option<Box<Route>>,
        now: u64,
    ) -> bool {
        self.expire(now);
        let more = route.as_deref().map_or(0, weight);
        if self.held + more > MAX_HELD {
            return false;
        }
        if self.map.len() >= MAX_CRUMBS {
            self.forget_oldest();
        }
        self.held += more;
        if route.is_some() {
            self.holding.push_back((now, key));
        }
        crumb.route = route;
        self.map.insert(key, crumb);
        self.order.push_back((now, key));
        true
    }

    pub(super) fn expire(&mut self, now: u64) {
        while let Some((at, _)) = self.order.front()
            && now.saturating_sub(*at) >= CRUMB_MS
        {
            self.forget_oldest();
        }
        while let Some((at, key)) = self.holding.front().copied()
            && now.saturating_sub(at) >= HOLD_MS
        {
            self.holding.pop_front();
            // Mail is held until its time is over.
            if self.map.get(&key).is_some_and(|c| c.fate != Fate::Kept) {
                self.drop_route(&key);
            }
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.order.pop_front() {
            self.drop_route(&key);
            self.map.remove(&key);
        }
    }

    pub(super) fn get(&self, key: &Key) -> Option<&Crumb> {
        self.map.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &Key) -> Option<&mut Crumb> {
        self.map.get_mut(key)
    }

    /// Changes what an attempt may still cost.
    pub(super) fn set_budget(&mut self, key: &Key, left: u8) {
        let crumb = self.map.get_mut(key);
        if let Some(route) = crumb.and_then(|crumb| crumb.route.as_mut()) {
            route.envelope.ttl = left.min(route.envelope.ttl.saturating_sub(1));
        }
    }

    /// An attempt that waited begins anew.
    pub(super) fn refill_budget(&mut self, key: &Key, budget: u8) {
        let crumb = self.map.get_mut(key);
        if let Some(route) = crumb.and_then(|crumb| crumb.route.as_mut()) {
            route.envelope.ttl = budget;
        }
    }

    /// The envelope need not go another way.
    pub(super) fn drop_route(&mut self, key: &Key) -> Option<Box<Route>> {
        let route = self.map.get_mut(key)?.route.take()?;
        self.held -= weight(&route);
        Some(route)
    }

    /// All attempts of one envelope, the latest first.
    pub(super) fn attempts(&self, name: &MessageId) -> impl Iterator<Item = (u8, &Crumb)> {
        let all = self.map.range((*name, 0)..=(*name, u8::MAX)).rev();
        all.map(|((_, attempt), crumb)| (*attempt, crumb))
    }

    /// What is on its way over this neighbour.
    pub(super) fn over(&self, peer: &PeerId) -> Vec<Key> {
        let pending = self
            .map
            .iter()
            .filter(|(_, crumb)| crumb.fate == Fate::Pending && crumb.next == Some(*peer));
        pending.map(|(key, _)| *key).collect()
    }

    /// The neighbour to which the way of `name` leads on from `from`, and how
    /// many links the rest of it has.
    pub(super) fn along(&self, name: &MessageId, from: Origin) -> Option<(PeerId, u8)> {
        let (_, crumb) = self
            .attempts(name)
            .find(|(_, crumb)| matches!(crumb.fate, Fate::Here | Fate::Acked(_)))?;
        let back = match crumb.from {
            Origin::Link(peer) => Some(peer),
            Origin::Own | Origin::Flood => None,
        };
        let comes_from = match from {
            Origin::Link(peer) => Some(peer),
            Origin::Own | Origin::Flood => None,
        };
        if comes_from == crumb.next {
            Some((back?, crumb.behind))
        } else if comes_from == back {
            Some((crumb.next?, crumb.ahead))
        } else {
            None
        }
    }

    pub(super) fn len(&self) -> usize {
        self.map.len()
    }

    pub(super) fn held(&self) -> usize {
        self.held
    }
}

/// Over which neighbour a peer was reached last, or news of it came.
#[derive(Debug, Default)]
pub(super) struct Trails {
    map: BTreeMap<RouteTag, (PeerId, u64)>,
    order: VecDeque<(u64, RouteTag)>,
}

impl Trails {
    pub(super) fn learn(&mut self, tag: RouteTag, via: PeerId, now: u64) {
        if self.map.insert(tag, (via, now)).is_none() {
            self.order.push_back((now, tag));
        }
        while self.map.len() > MAX_TRAILS {
            let Some((_, tag)) = self.order.pop_front() else {
                return;
            };
            match self.map.get(&tag) {
                // Learnt anew since: it is not the oldest.
                Some((_, at)) if self.order.front().is_some_and(|(next, _)| next < at) => {
                    self.order.push_back((*at, tag));
                }
                Some(_) | None => drop(self.map.remove(&tag)),
            }
        }
    }

    pub(super) fn forget(&mut self, tag: &RouteTag, via: &PeerId) {
        if let Some(trail) = self.map.get_mut(tag).filter(|trail| trail.0 == *via) {
            trail.1 = 0;
        }
    }

    pub(super) fn get(&self, tag: &RouteTag, now: u64) -> Option<PeerId> {
        let (via, at) = self.map.get(tag)?;
        (*at > 0 && now.saturating_sub(*at) < TRAIL_MS).then_some(*via)
    }

    pub(super) fn len(&self) -> usize {
        self.map.len().max(self.order.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::RoomId;

    fn name(n: u32) -> MessageId {
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&n.to_be_bytes());
        MessageId::from_bytes(bytes)
    }

    fn peer(n: u8) -> PeerId {
        PeerId::from_bytes([n; 32])
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_goes_first() {
        let mut crumbs = Crumbs::default();
        for n in 0..3 * MAX_CRUMBS as u32 {
            let crumb = Crumb::new(Origin::Own, Fate::Pending, 0);
            assert!(crumbs.insert((name(n), 0), crumb, None, 1));
        }
        assert_eq!(crumbs.len(), MAX_CRUMBS);
        assert!(crumbs.get(&(name(0), 0)).is_none());
        assert!(crumbs.get(&(name(3 * MAX_CRUMBS as u32 - 1), 0)).is_some());
        crumbs.expire(1 + CRUMB_MS);
        assert_eq!((crumbs.len(), crumbs.order.len()), (0, 0));
    }

    #[test]
    fn a_way_leads_in_both_directions_once_it_has_ended_well() {
        let mut crumbs = Crumbs::default();
        let mut crumb = Crumb::new(Origin::Link(peer(1)), Fate::Pending, 3);
        crumb.next = Some(peer(2));
        crumbs.insert((name(1), 0), crumb, None, 1);
        let along = |crumbs: &Crumbs, n| crumbs.along(&name(1), Origin::Link(peer(n)));
        assert_eq!(along(&crumbs, 1), None);
        let crumb = crumbs.get_mut(&(name(1), 0)).unwrap();
        crumb.fate = Fate::Acked(Proof::from_bytes([0; 8]));
        crumb.ahead = 5;
        assert_eq!(along(&crumbs, 1), Some((peer(2), 5)));
        assert_eq!(along(&crumbs, 2), Some((peer(1), 3)));
        assert_eq!(along(&crumbs, 3), None);
    }

    #[test]
    fn trails_are_few_and_grow_old() {
        let mut trails = Trails::default();
        let tag = |n: u32| {
            let mut key = [0; 32];
            key[..4].copy_from_slice(&n.to_be_bytes());
            RouteTag::new(&PeerId::from_bytes(key), &RoomId::new("m", "r"), 0)
        };
        for n in 0..2 * MAX_TRAILS as u32 {
            trails.learn(tag(n), peer(1), u64::from(n) + 1);
            trails.learn(tag(0), peer(2), u64::from(n) + 1);
            assert!(trails.len() <= MAX_TRAILS + 1);
        }
        let now = 2 * MAX_TRAILS as u64 + 1;
        assert_eq!(trails.get(&tag(0), now), Some(peer(2)), "used all the time");
        assert_eq!(trails.get(&tag(1), now), None);
        assert_eq!(trails.get(&tag(0), now + TRAIL_MS), None);
        trails.forget(&tag(0), &peer(1));
        assert!(trails.get(&tag(0), now).is_some());
        trails.forget(&tag(0), &peer(2));
        assert!(trails.get(&tag(0), now).is_none());
    }
}
