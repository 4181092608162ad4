//! Neighbours: what they told of their surroundings, what they may send, and
//! which of them an envelope goes to next.

use std::collections::BTreeSet;

use rand::{Rng, RngExt};

use super::config::MAX_LINKS;
use super::digest::Digest;
use super::frame::{Route, Strategy};
use crate::envelope::RouteTag;
use crate::id::PeerId;

/// Bytes a second that a neighbour may have brought on.
const BYTES_PER_SECOND: u64 = 16 * 1024;
/// Envelopes a second.
const ENVELOPES_PER_SECOND: u64 = 20;
/// How many seconds' worth may come at once.
const BURST: u64 = 4;
/// How much more the receiving end lets through, so that a sender that keeps
/// to its credit is never refused: frames bunch up on the way.
const LENIENCE: u64 = 2;
/// Most that a neighbour is blamed.
const MAX_BLAME: u8 = 8;

/// What may still be sent over a link in one direction. Both ends count, so no
/// message about it can be lost; credit comes back with time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Credit {
    /// Thousandths of a byte and of an envelope that were used up.
    bytes: u64,
    envelopes: u64,
    at: u64,
    times: u64,
}

impl Credit {
    fn new(times: u64, now: u64) -> Self {
        Credit {
            bytes: 0,
            envelopes: 0,
            at: now,
            times,
        }
    }

    /// Uses up credit for an envelope of `len` bytes, if there is enough.
    pub(super) fn take(&mut self, len: usize, now: u64) -> bool {
        let passed = now.saturating_sub(self.at);
        self.at = self.at.max(now);
        let back = |used: u64, rate: u64| used.saturating_sub(passed.saturating_mul(rate));
        self.bytes = back(self.bytes, BYTES_PER_SECOND * self.times);
        self.envelopes = back(self.envelopes, ENVELOPES_PER_SECOND * self.times);
        let bytes = self.bytes + 1_000 * len as u64;
        let envelopes = self.envelopes + 1_000;
        let most = 1_000 * BURST * self.times;
        if bytes > most * BYTES_PER_SECOND || envelopes > most * ENVELOPES_PER_SECOND {
            return false;
        }
        (self.bytes, self.envelopes) = (bytes, envelopes);
        true
    }
}

/// One neighbour.
#[derive(Debug)]
pub(super) struct Link {
    pub(super) peer: PeerId,
    pub(super) digest: Digest,
    /// What this node may send to it, and it to this node.
    pub(super) sends: Credit,
    pub(super) receives: Credit,
    /// How often of late what was given to it was lost or refused.
    pub(super) blame: u8,
}

/// Where an envelope is to go.
#[derive(Debug)]
pub(super) struct Aim<'a> {
    pub(super) route: &'a Route,
    /// The neighbour that the way of an earlier envelope leads to, and the
    /// links that it has.
    pub(super) along: Option<(PeerId, u8)>,
    /// The neighbour that news of the addressee came from.
    pub(super) trail: Option<PeerId>,
    /// Not to these.
    pub(super) never: &'a [PeerId],
    /// To these if nothing else is left: other attempts went there.
    pub(super) rather_not: &'a [PeerId],
}

/// All neighbours.
#[derive(Debug, Default)]
pub(super) struct Links(Vec<Link>);

/// A way that some table knows has a lower cost than this.
const UNKNOWN: u64 = 64;

impl Links {
    pub(super) fn add(&mut self, peer: PeerId, now: u64) -> bool {
        if self.0.len() >= MAX_LINKS || self.get(&peer).is_some() {
            return false;
        }
        self.0.push(Link {
            peer,
            digest: Digest::default(),
            sends: Credit::new(1, now),
            receives: Credit::new(LENIENCE, now),
            blame: 0,
        });
        true
    }

    pub(super) fn remove(&mut self, peer: &PeerId) -> bool {
        let before = self.0.len();
        self.0.retain(|link| link.peer != *peer);
        self.0.len() < before
    }

    pub(super) fn get(&self, peer: &PeerId) -> Option<&Link> {
        self.0.iter().find(|link| link.peer == *peer)
    }

    pub(super) fn get_mut(&mut self, peer: &PeerId) -> Option<&mut Link> {
        self.0.iter_mut().find(|link| link.peer == *peer)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Link> + Clone {
        self.0.iter()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Remembers that a neighbour lost something, or made up for it.
    pub(super) fn judge(&mut self, peer: &PeerId, good: bool) {
        if let Some(link) = self.get_mut(peer) {
            link.blame = if good {
                link.blame.saturating_sub(2)
            } else {
                (link.blame + 1).min(MAX_BLAME)
            };
        }
    }

    /// The neighbour to send to next, and whether any table led there.
    pub(super) fn choose(&self, aim: &Aim<'_>, rng: &mut impl Rng) -> Option<(PeerId, bool)> {
        let mut best: Option<(u64, PeerId, bool)> = None;
        for link in self.0.iter().filter(|link| !aim.never.contains(&link.peer)) {
            let Some(cost) = cost(link, aim) else {
                continue;
            };
            let known = cost < UNKNOWN;
            let avoid = u64::from(aim.rather_not.contains(&link.peer));
            let cost = (cost + 2 * u64::from(link.blame) + UNKNOWN * avoid) << 8;
            // Equals are as good: chance spreads the load.
            let cost = cost + rng.random_range(0..256);
            if best.is_none_or(|(least, ..)| cost < least) {
                best = Some((cost, link.peer, known));
            }
        }
        let (_, peer, known) = best?;
        let blind = !known && aim.route.strategy != Strategy::Greedy;
        let peer = if blind {
            self.wander(aim, rng)
        } else {
            Some(peer)
        };
        Some((peer?, known))
    }

    /// A step where no table leads: to the neighbour that knows most peers
    /// that this node and its other neighbours do not.
    fn wander(&self, aim: &Aim<'_>, rng: &mut impl Rng) -> Option<PeerId> {
        let known: BTreeSet<u32> = self.0.iter().flat_map(|l| l.digest.near()).collect();
        let may = self.0.iter().filter(|link| !aim.never.contains(&link.peer));
        let ranked = may.map(|link| {
            let news = link.digest.next().filter(|print| !known.contains(print));
            let avoid = aim.rather_not.contains(&link.peer);
            let rank = news.count() + rng.random_range(0..4);
            let rank = rank.saturating_sub(4 * usize::from(link.blame));
            (!avoid, rank, link.peer)
        });
        ranked.max().map(|(_, _, peer)| peer)
    }

    /// Whether a table leads to `tag` over this neighbour.
    pub(super) fn leads(&self, peer: &PeerId, tag: &RouteTag) -> bool {
        let link = self.get(peer);
        link.is_some_and(|link| link.digest.distance(tag).is_some())
    }
}

/// What it costs to go over a link: about the links that lie ahead, where a
/// table knows. `None` where the strategy forbids it.
fn cost(link: &Link, aim: &Aim<'_>) -> Option<u64> {
    let route = aim.route;
    let to = link.digest.distance(&route.envelope.to).map(u64::from);
    if to == Some(0) {
        return Some(0);
    }
    let relays = route.relays.iter();
    let relays = relays.filter_map(|relay| link.digest.distance(relay));
    // One link more, and hearsay of a while ago.
    let relay = relays.min().map(|distance| u64::from(distance) + 2);
    match route.strategy {
        Strategy::Direct => None,
        Strategy::Trail => {
            let along = aim.along.filter(|(way, _)| *way == link.peer);
            let along = along.map(|(_, links)| u64::from(links.saturating_sub(1)));
            let trail = (aim.trail == Some(link.peer)).then_some(2);
            let known = [along, trail, to, relay];
            Some(known.into_iter().flatten().min().unwrap_or(UNKNOWN))
        }
        Strategy::Greedy | Strategy::Flood => {
            let nearness = link.digest.nearness(&route.envelope.to);
            Some(UNKNOWN + u64::from(nearness >> 8))
        }
        Strategy::Relay => Some(relay.unwrap_or(UNKNOWN)),
        // Mail does not wander: where nobody knows the addressee it stays.
        Strategy::Mailbox => match (to, relay) {
            (None, None) => None,
            (to, relay) => to.into_iter().chain(relay).min(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_comes_back_with_time_and_no_faster() {
        let mut credit = Credit::new(1, 0);
        let burst = BURST * ENVELOPES_PER_SECOND;
        let taken = (0..1_000).filter(|_| credit.take(100, 0)).count() as u64;
        assert_eq!(taken, burst);
        let taken = (0..10_000).filter(|n| credit.take(100, n / 10)).count() as u64;
        assert!(taken.abs_diff(ENVELOPES_PER_SECOND) <= 1, "{taken}");
        let mut credit = Credit::new(1, 0);
        let taken = (0..1_000).filter(|_| credit.take(4_096, 0)).count();
        assert_eq!(taken, 16);
    }

    #[test]
    fn links_are_few_and_one_to_each() {
        let mut links = Links::default();
        let peer = |n: u8| PeerId::from_bytes([n; 32]);
        assert!(links.add(peer(1), 0) && !links.add(peer(1), 0));
        let added = (2..=200).filter(|n| links.add(peer(*n), 0)).count();
        assert_eq!(added, MAX_LINKS - 1);
        assert!(links.remove(&peer(1)) && !links.remove(&peer(1)));
    }

    #[test]
    fn blame_is_bounded_and_forgiven() {
        let mut links = Links::default();
        let peer = PeerId::from_bytes([1; 32]);
        links.add(peer, 0);
        for _ in 0..100 {
            links.judge(&peer, false);
        }
        assert_eq!(links.get(&peer).unwrap().blame, MAX_BLAME);
        for _ in 0..MAX_BLAME {
            links.judge(&peer, true);
        }
        assert_eq!(links.get(&peer).unwrap().blame, 0);
    }
}
