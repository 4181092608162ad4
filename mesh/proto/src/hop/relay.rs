//! Passing envelopes on: where to, what if not, and how the answer finds back.

use rand::Rng;

use super::config::MAX_TRIES;
use super::crumbs::{Crumb, Fate, Key, Origin, weight};
use super::frame::{Frame, Route, Strategy};
use super::links::Aim;
use super::mailbox::Kept;
use super::parcels::FLOOD;
use super::{Hop, Output, Turn};
use crate::envelope::{Envelope, Proof, Refusal, RouteTag};
use crate::id::{MessageId, PeerId};

/// The name of an envelope on the way: see [`Frame`].
pub(super) fn name_of(envelope: &Envelope) -> MessageId {
    MessageId::from_bytes(envelope.digest())
}

impl Hop {
    /// A neighbour wants an envelope brought on.
    pub(super) fn on_route<R: Rng>(
        &mut self,
        from: PeerId,
        mut route: Box<Route>,
        turn: &mut Turn<'_, R>,
    ) {
        let budget = self.config.budget;
        route.envelope.ttl = route.envelope.ttl.min(budget);
        let (key, left) = (
            (name_of(&route.envelope), route.attempt),
            route.envelope.ttl,
        );
        let len = weight(&route);
        let link = self.links.get_mut(&from);
        if !link.is_some_and(|link| link.receives.take(len, turn.now)) {
            self.stats.busy += 1;
            return self.nack(from, key, Refusal::Busy, left, turn);
        }
        let (envelope, unix) = (&route.envelope, turn.unix_ms);
        if envelope.is_expired(unix) || envelope.lasts_too_long(unix) {
            return self.nack(from, key, Refusal::Expired, left, turn);
        }
        if self.is_known(from, key, left, turn) {
            return;
        }
        if self.is_mine(&route.envelope.to) {
            return self.arrive(Origin::Link(from), key, route.envelope, turn);
        }
        let behind = route.envelope.hops;
        let crumb = Crumb::new(Origin::Link(from), Fate::Pending, behind);
        if self.crumbs.insert(key, crumb, Some(route), turn.now) {
            self.advance(key, turn);
        } else {
            self.stats.busy += 1;
            self.nack(from, key, Refusal::Busy, left, turn);
        }
    }

    /// Whether this attempt has been here before; answers it then.
    fn is_known<R>(&mut self, from: PeerId, key: Key, left: u8, turn: &mut Turn<'_, R>) -> bool {
        let Some(crumb) = self.crumbs.get(&key) else {
            return false;
        };
        match crumb.fate {
            Fate::Acked(proof) => {
                let ahead = crumb.ahead;
                turn.send(from, ack(key, proof, ahead));
            }
            // The same frame twice.
            _ if crumb.from == Origin::Link(from) => {}
            // It went in a circle, or comes over a second way.
            Fate::Pending | Fate::Here | Fate::Kept | Fate::Failed => {
                self.stats.loops += 1;
                self.nack(from, key, Refusal::NoRoute, left.saturating_sub(1), turn);
            }
        }
        true
    }

    /// An envelope for this node.
    pub(super) fn arrive<R>(
        &mut self,
        from: Origin,
        key: Key,
        envelope: Envelope,
        turn: &mut Turn<'_, R>,
    ) {
        let known = self.crumbs.attempts(&key.0).find_map(|(_, crumb)| {
            matches!(crumb.fate, Fate::Here | Fate::Acked(_)).then_some(crumb.fate)
        });
        let fate = known.unwrap_or(Fate::Here);
        self.crumbs
            .insert(key, Crumb::new(from, fate, envelope.hops), None, turn.now);
        match (known, from) {
            (None, _) => {
                self.stats.arrived += 1;
                let (name, hops) = (key.0, envelope.hops);
                turn.out.push(Output::Deliver {
                    name,
                    envelope,
                    hops,
                });
            }
            (Some(Fate::Acked(proof)), Origin::Link(peer)) => turn.send(peer, ack(key, proof, 0)),
            (Some(_), _) => {}
        }
    }

    /// Sends an attempt to the next neighbour on its way, or ends it here.
    pub(super) fn advance<R: Rng>(&mut self, key: Key, turn: &mut Turn<'_, R>) {
        loop {
            let Some((peer, known)) = self.next_hop(&key, turn) else {
                return self.dead_end(key, turn);
            };
            let Some(crumb) = self.crumbs.get_mut(&key) else {
                return;
            };
            crumb.tried.push(peer);
            crumb.next = Some(peer);
            let Some(route) = crumb.route() else { return };
            let len = weight(route);
            let credit = self.links.get_mut(&peer);
            if !credit.is_some_and(|link| link.sends.take(len, turn.now)) {
                self.stats.starved += 1;
                continue;
            }
            let mut onward = Box::new(route.clone());
            onward.envelope.hops = onward.envelope.hops.saturating_add(1);
            onward.envelope.ttl = onward.envelope.ttl.saturating_sub(1);
            onward.sure = known;
            self.stats.steps += 1;
            self.stats.blind += u64::from(!known);
            turn.send(peer, Frame::Route(onward));
            return;
        }
    }

    fn next_hop<R: Rng>(&mut self, key: &Key, turn: &mut Turn<'_, R>) -> Option<(PeerId, bool)> {
        let crumb = self.crumbs.get(key)?;
        let route = crumb.route()?;
        if crumb.tried.len() >= MAX_TRIES || route.envelope.ttl == 0 {
            return None;
        }
        let mine = |tag: &RouteTag| self.tags.mine(tag);
        if route.strategy == Strategy::Direct {
            let to = self.parcels.get(&key.0)?.parcel().to;
            let fresh = crumb.tried.is_empty() && self.links.get(&to).is_some();
            return fresh.then_some((to, true));
        }
        // Mail for somebody whose relay this node is waits here.
        let waits = route.strategy == Strategy::Mailbox && route.relays.iter().any(mine);
        let direct = self
            .links
            .iter()
            .any(|link| link.digest.distance(&route.envelope.to) == Some(0));
        if waits && !direct {
            return None;
        }
        let mut never = crumb.tried.clone();
        if let Origin::Link(from) = crumb.from {
            never.push(from);
        }
        let others = self.crumbs.attempts(&key.0);
        let others = others.filter(|(attempt, _)| *attempt != key.1);
        let rather_not: Vec<PeerId> = others.filter_map(|(_, crumb)| crumb.next).collect();
        let along = route.along.as_ref();
        let aim = Aim {
            route,
            along: along.and_then(|name| self.crumbs.along(name, crumb.from)),
            trail: self.trails.get(&route.envelope.to, turn.now),
            never: &never,
            rather_not: &rather_not,
        };
        let next = self.links.choose(&aim, turn.rng);
        // Who was thought to know and does not gives it back: others may.
        next.filter(|(_, known)| *known || !route.sure)
    }

    /// No neighbour is left to try.
    fn dead_end<R: Rng>(&mut self, key: Key, turn: &mut Turn<'_, R>) {
        let Some(crumb) = self.crumbs.get_mut(&key) else {
            return;
        };
        let from = crumb.from;
        let left = crumb.route().map_or(0, |route| route.envelope.ttl);
        let mail = crumb
            .route()
            .filter(|route| route.strategy == Strategy::Mailbox && from != Origin::Own);
        let kept = mail.map_or(Kept::Full, |route| {
            let until = u64::from(route.envelope.expires_s) * 1_000;
            let until = turn.now + until.saturating_sub(turn.unix_ms);
            self.mail.keep(key, route, until, turn.now)
        });
        if kept != Kept::Full {
            crumb.next = None;
            crumb.fate = Fate::Kept;
            if let (Origin::Link(peer), Kept::New) = (from, kept) {
                self.stats.kept += 1;
                let (name, attempt) = key;
                turn.send(peer, Frame::Kept { name, attempt });
            }
            return;
        }
        crumb.fate = Fate::Failed;
        self.crumbs.drop_route(&key);
        match from {
            Origin::Own => self.failed(key, Refusal::NoRoute, turn),
            Origin::Link(peer) => self.nack(peer, key, Refusal::NoRoute, left, turn),
            Origin::Flood => {}
        }
    }

    pub(super) fn on_nack<R: Rng>(
        &mut self,
        from: PeerId,
        key: Key,
        why: Refusal,
        left: u8,
        turn: &mut Turn<'_, R>,
    ) {
        let Some(crumb) = self.crumbs.get_mut(&key) else {
            return;
        };
        if crumb.next != Some(from) || crumb.fate != Fate::Pending {
            return;
        }
        crumb.next = None;
        let origin = crumb.from;
        match why {
            Refusal::Unreadable => {
                crumb.fate = Fate::Failed;
                self.crumbs.drop_route(&key);
                self.mail.remove(&key);
                match origin {
                    Origin::Own => self.failed(key, why, turn),
                    Origin::Link(peer) => self.nack(peer, key, why, left, turn),
                    Origin::Flood => {}
                }
            }
            Refusal::NoRoute | Refusal::Busy | Refusal::Expired => {
                if let Some(route) = crumb.route() {
                    let to = route.envelope.to;
                    self.trails.forget(&to, &from);
                }
                self.crumbs.set_budget(&key, left);
                self.advance(key, turn);
            }
        }
    }

    /// The envelope waits at somebody behind this neighbour.
    pub(super) fn on_kept<R>(&mut self, from: PeerId, key: Key, turn: &mut Turn<'_, R>) {
        let Some(crumb) = self.crumbs.get_mut(&key) else {
            return;
        };
        if crumb.next != Some(from) || crumb.fate != Fate::Pending {
            return;
        }
        crumb.fate = Fate::Kept;
        let origin = crumb.from;
        self.crumbs.drop_route(&key);
        self.mail.remove(&key);
        match origin {
            Origin::Own => self.waits(&key.0),
            Origin::Link(peer) => {
                let (name, attempt) = key;
                turn.send(peer, Frame::Kept { name, attempt });
            }
            Origin::Flood => {}
        }
    }

    /// The addressee has an envelope.
    pub(super) fn on_ack<R: Rng>(
        &mut self,
        from: PeerId,
        key: Key,
        proof: Proof,
        back: (Option<RouteTag>, u8),
        turn: &mut Turn<'_, R>,
    ) {
        if self.parcels.contains_key(&key.0) {
            return self.on_own_ack(from, key, proof, back.1, turn);
        }
        let crumb = self.crumbs.get_mut(&key);
        let Some(crumb) = crumb.filter(|crumb| crumb.next == Some(from)) else {
            return self.route_ack(from, key, proof, back, turn);
        };
        if matches!(crumb.fate, Fate::Acked(_)) {
            return;
        }
        crumb.fate = Fate::Acked(proof);
        crumb.ahead = back.1.saturating_add(1);
        let (origin, ahead) = (crumb.from, crumb.ahead);
        self.mail.remove(&key);
        if let Some(route) = self.crumbs.drop_route(&key) {
            self.trails.learn(route.envelope.to, from, turn.now);
        }
        self.links.judge(&from, true);
        if let Origin::Link(peer) = origin {
            turn.send(peer, ack(key, proof, ahead));
        }
    }

    fn on_own_ack<R: Rng>(
        &mut self,
        from: PeerId,
        key: Key,
        proof: Proof,
        links: u8,
        turn: &mut Turn<'_, R>,
    ) {
        let to = self.parcels.get(&key.0).map(|u| u.parcel().envelope.to);
        let good = self.acked(key, proof, turn);
        self.links.judge(&from, good);
        if !good {
            self.stats.forged += 1;
        }
        let crumb = self.crumbs.get_mut(&key);
        let Some(crumb) = crumb.filter(|crumb| crumb.next == Some(from)) else {
            return;
        };
        if good {
            crumb.fate = Fate::Acked(proof);
            crumb.ahead = links.saturating_add(1);
            if let Some(to) = to {
                self.trails.learn(to, from, turn.now);
            }
        } else if crumb.fate == Fate::Pending {
            // A lie: whoever is behind that neighbour does not bring it.
            crumb.fate = Fate::Failed;
            self.crumbs.drop_route(&key);
            self.failed(key, Refusal::NoRoute, turn);
        }
    }

    /// An acknowledgement of a flood, on a way that nobody has gone.
    fn route_ack<R>(
        &mut self,
        from: PeerId,
        key: Key,
        proof: Proof,
        (to, left): (Option<RouteTag>, u8),
        turn: &mut Turn<'_, R>,
    ) {
        let Some(to) = to.filter(|_| left > 0 && key.1 == FLOOD) else {
            return;
        };
        let links = left.min(self.config.budget) - 1;
        let trail = self.trails.get(&to, turn.now);
        let ways = self.links.iter().filter(|link| link.peer != from);
        let ways = ways.map(|link| {
            let known = link.digest.distance(&to).map_or(u8::MAX, |links| links);
            let distance = if trail == Some(link.peer) { 1 } else { known };
            (distance, link.digest.nearness(&to), link.peer)
        });
        if let Some((_, _, peer)) = ways.min() {
            let (name, attempt) = key;
            let to = Some(to);
            turn.send(
                peer,
                Frame::Ack {
                    name,
                    attempt,
                    proof,
                    to,
                    links,
                },
            );
        }
    }

    /// Acknowledges all copies of an envelope that arrived.
    pub(super) fn ack_all<R: Rng>(
        &mut self,
        name: MessageId,
        proof: Proof,
        author: RouteTag,
        turn: &mut Turn<'_, R>,
    ) {
        for (attempt, from) in self.settle(name, Fate::Acked(proof)) {
            let key = (name, attempt);
            match from {
                Origin::Link(peer) => turn.send(peer, ack(key, proof, 0)),
                Origin::Flood => {
                    let back = (Some(author), self.config.budget);
                    self.route_ack(self.me, key, proof, back, turn);
                }
                Origin::Own => {}
            }
        }
    }

    /// Refuses all copies of an envelope that arrived.
    pub(super) fn nack_all<R>(&mut self, name: MessageId, why: Refusal, turn: &mut Turn<'_, R>) {
        for (attempt, from) in self.settle(name, Fate::Failed) {
            if let Origin::Link(peer) = from {
                self.nack(peer, (name, attempt), why, 0, turn);
            }
        }
    }

    fn settle(&mut self, name: MessageId, fate: Fate) -> Vec<(u8, Origin)> {
        let here = self.crumbs.attempts(&name);
        let here = here.filter(|(_, crumb)| crumb.fate == Fate::Here);
        let here: Vec<(u8, Origin)> = here.map(|(n, crumb)| (n, crumb.from)).collect();
        for (attempt, _) in &here {
            if let Some(crumb) = self.crumbs.get_mut(&(name, *attempt)) {
                crumb.fate = fate;
            }
        }
        here
    }

    /// A neighbour is gone: what went over it goes another way.
    pub(super) fn reroute<R: Rng>(&mut self, peer: &PeerId, turn: &mut Turn<'_, R>) {
        for key in self.crumbs.over(peer) {
            if let Some(crumb) = self.crumbs.get_mut(&key) {
                crumb.next = None;
            }
            self.advance(key, turn);
        }
    }

    /// Mail for whoever is behind this neighbour goes on.
    pub(super) fn deliver_mail<R: Rng>(&mut self, peer: &PeerId, turn: &mut Turn<'_, R>) {
        let due = self.mail.due(turn.now);
        let due = due.filter(|(_, to)| self.links.leads(peer, to));
        let due: Vec<Key> = due.map(|(key, _)| key).collect();
        for key in due {
            let budget = self.config.budget;
            if let Some(crumb) = self.crumbs.get_mut(&key) {
                crumb.tried.clear();
                crumb.fate = Fate::Pending;
                self.crumbs.refill_budget(&key, budget);
                self.advance(key, turn);
            } else {
                self.mail.remove(&key);
            }
        }
    }

    fn nack<R>(&mut self, to: PeerId, key: Key, why: Refusal, left: u8, turn: &mut Turn<'_, R>) {
        let (name, attempt) = key;
        turn.send(
            to,
            Frame::Nack {
                name,
                attempt,
                why,
                left,
            },
        );
    }
}

fn ack((name, attempt): Key, proof: Proof, links: u8) -> Frame {
    Frame::Ack {
        name,
        attempt,
        proof,
        to: None,
        links,
    }
}
