//! Presence, leaves and obituaries: taking them in, passing them on, and
//! speaking for oneself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rand::RngExt;

use super::Node;
use super::io::{CloseCause, Event, Lane, LinkId, Output, Topic, Verdict};
use super::links::State;
use crate::envelope::{Gossip, HopFrame};
use crate::frame::Frame;
use crate::id::{PeerId, RoomId, Seq};
use crate::limit::Limiter;
use crate::links::Ended;
use crate::obituary::Obituary;
use crate::presence::{Leave, MAX_RECORDS, Record, Records};
use crate::roster::{Applied, Claim, Gate, RosterEvent};
use crate::time::Time;
use crate::wire::{BoundedVec, SignedBytes};

/// Prekeys are replaced this often; the one before stays valid as long.
const PREKEY_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Records collected for passing on. Filled by neighbours; at this number they
/// are passed on at once.
const MAX_NEWS: usize = 1024;

/// Whose records the node takes in, and whom it keeps in a full roster.
struct Admission<'a> {
    presences: &'a mut Limiter<PeerId>,
    obituaries: &'a mut Limiter<PeerId>,
    rooms: &'a BTreeMap<RoomId, super::Room>,
    now: Instant,
}

impl Gate for Admission<'_> {
    fn admit(&mut self, author: PeerId, claim: Claim) -> bool {
        match claim {
            Claim::Own => self.presences.take(author, self.now),
            Claim::Dead => self.obituaries.take(author, self.now),
        }
    }

    fn keeps(&self, peer: &PeerId) -> bool {
        let mut rooms = self.rooms.values();
        rooms.any(|room| room.by_peer.contains_key(peer))
    }
}

/// How to reach somebody with records.
#[derive(Clone, Copy, Debug)]
enum Way {
    Link(LinkId),
    Hop,
}

impl Node {
    /// Has a new presence go out soon.
    pub(super) fn announce(&mut self, now: Instant) {
        self.own = None;
        self.unsaid = true;
        self.flush_by(now + self.config.coalesce);
    }

    fn flush_by(&mut self, at: Instant) {
        self.flush_at = Some(self.flush_at.map_or(at, |old| old.min(at)));
    }

    /// When something waits to be passed on, or presence to be renewed.
    pub(super) fn records_timeout(&self) -> (Option<Instant>, Instant) {
        (self.flush_at, self.renew_at)
    }

    /// Renews presence and passes on what was collected, if due.
    pub(super) fn records_due(&mut self, time: Time) {
        if self.renew_at <= time.now && !self.closed {
            if time.now.saturating_duration_since(self.prekeys_since) >= PREKEY_LIFE {
                self.prekeys.rotate(&mut self.rng);
                self.prekeys_since = time.now;
            }
            self.own = None;
            self.unsaid = true;
            self.flush_at = Some(time.now);
        }
        if self.flush_at.is_some_and(|at| at <= time.now) {
            self.flush(time);
        }
    }

    fn flush(&mut self, time: Time) {
        self.flush_at = None;
        if std::mem::take(&mut self.unsaid)
            && !self.closed
            && let Some(own) = self.own(time)
        {
            self.publish(own.clone());
            self.news.push((own, None));
        }
        let news = std::mem::take(&mut self.news);
        for (peer, way) in self.ways() {
            let records = news.iter().filter(|(_, source)| *source != Some(peer));
            self.send_records(
                peer,
                way,
                records.map(|(record, _)| record.clone()).collect(),
            );
        }
    }

    /// This node's presence as signed last, or signed now if it has changed.
    pub(super) fn own(&mut self, time: Time) -> Option<SignedBytes> {
        if self.own.is_none() {
            self.seq = self.seq.next();
            self.roster.set_my_seq(self.seq);
            self.own = Record::Presence(self.presence(time.unix_ms))
                .sign(&self.identity)
                .ok();
            self.renew_at =
                time.now + (self.config.presence_ttl / 3).mul_f64(self.rng.random_range(0.8..1.0));
        }
        self.own.clone()
    }

    fn publish(&mut self, record: SignedBytes) {
        if let Ok(bytes) = Gossip::Records(BoundedVec::truncated([record])).encode() {
            self.outputs.push_back(Output::Publish {
                topic: Topic::Mesh(self.mesh),
                bytes,
            });
        }
    }

    /// Everyone this node can talk to directly, over a link if there is one.
    fn ways(&self) -> BTreeMap<PeerId, Way> {
        let hops = self.neighbours.iter().map(|peer| (*peer, Way::Hop));
        let up = self
            .links
            .values()
            .filter(|link| matches!(link.state, State::Up(_)));
        hops.chain(up.map(|link| (link.peer, Way::Link(link.id))))
            .collect()
    }

    fn send_records(&mut self, to: PeerId, way: Way, records: Vec<SignedBytes>) {
        for batch in records.chunks(MAX_RECORDS) {
            let batch = Records::truncated(batch.iter().cloned());
            match way {
                Way::Link(link) => self.send_frame(link, &Frame::Records(batch), Lane::Control),
                Way::Hop => drop(self.output_hop(to, Vec::new(), &HopFrame::Records(batch))),
            }
        }
    }

    /// Tells a new libp2p neighbour everything at once.
    pub(super) fn neighbour_up(&mut self, peer: PeerId, time: Time) {
        self.neighbours.insert(peer);
        self.introduce(peer, Way::Hop, time);
    }

    /// Tells the other end of a new link everything at once.
    pub(super) fn introduce_link(&mut self, peer: PeerId, link: LinkId, time: Time) {
        self.introduce(peer, Way::Link(link), time);
    }

    fn introduce(&mut self, peer: PeerId, way: Way, time: Time) {
        let mut records: Vec<SignedBytes> = self.own(time).into_iter().collect();
        // Who comes back again and again is told no more than what changes,
        // like everyone else.
        if self.introductions.take(peer, time.now) {
            records.extend(self.roster.snapshot());
        }
        self.send_records(peer, way, records);
    }

    /// Records from the hop protocol. What follows a bad one is not read.
    pub(super) fn hop_records(&mut self, from: PeerId, records: &Records, time: Time) {
        let mut answers = Vec::new();
        for record in records.iter() {
            if self.take_in(record, Some(from), None, &mut answers, time) == Verdict::Reject {
                break;
            }
        }
        self.send_records(from, Way::Hop, answers);
    }

    /// Records from a link. A neighbour passes on only what it verified: one
    /// that sends a bad record broke the protocol.
    pub(super) fn link_records(
        &mut self,
        link: LinkId,
        from: PeerId,
        room: RoomId,
        records: &Records,
        time: Time,
    ) {
        let mut answers = Vec::new();
        for record in records.iter() {
            let verdict = self.take_in(record, Some(from), Some(room), &mut answers, time);
            if verdict == Verdict::Reject {
                return self.close_link(link, CloseCause::Protocol, Some(Ended::Failed), time);
            }
        }
        self.send_records(from, Way::Link(link), answers);
    }

    /// Records from the mesh's gossip topic.
    pub(super) fn gossip_records(&mut self, records: &Records, time: Time) -> Verdict {
        let mut verdict = Verdict::Ignore;
        for record in records.iter() {
            match self.take_in(record, None, None, &mut Vec::new(), time) {
                Verdict::Reject => return Verdict::Reject,
                Verdict::Accept => verdict = Verdict::Accept,
                Verdict::Ignore => {}
            }
        }
        verdict
    }

    /// A presence that came inside an offer.
    pub(super) fn offered_presence(&mut self, record: &SignedBytes, time: Time) {
        self.take_in(record, None, None, &mut Vec::new(), time);
        self.drain_roster(time);
    }

    /// Applies one record. `room` is that of the link it came over, if any;
    /// `answers` collects what its sender should know.
    fn take_in(
        &mut self,
        record: &SignedBytes,
        from: Option<PeerId>,
        room: Option<RoomId>,
        answers: &mut Vec<SignedBytes>,
        time: Time,
    ) -> Verdict {
        let mut gate = Admission {
            presences: &mut self.presences,
            obituaries: &mut self.obituaries,
            rooms: &self.rooms,
            now: time.now,
        };
        match self.roster.apply_if(record, time, &mut gate) {
            Ok(Applied::News { subject, .. }) => {
                self.learn_way(subject, from, room);
                self.news.push((record.clone(), from));
                if self.news.len() >= MAX_NEWS {
                    self.flush(time);
                } else if subject != record.signer() {
                    self.flush_by(time.now);
                } else {
                    self.flush_by(time.now + self.config.coalesce);
                }
                Verdict::Accept
            }
            Ok(Applied::Old) => Verdict::Ignore,
            Ok(Applied::Buried(record)) => {
                answers.push(record);
                Verdict::Ignore
            }
            Ok(Applied::Refuted) => {
                answers.extend(self.own(time));
                Verdict::Ignore
            }
            Ok(Applied::AboutMe(seq)) => {
                self.refute(seq, time.now);
                Verdict::Accept
            }
            Err(crate::roster::RecordError::Wire(_)) => {
                self.stats.refused += 1;
                Verdict::Reject
            }
            Err(_) => Verdict::Ignore,
        }
    }

    fn learn_way(&mut self, subject: PeerId, from: Option<PeerId>, room: Option<RoomId>) {
        if let (Some(via), Some(room)) = (from, room.and_then(|room| self.rooms.get_mut(&room))) {
            room.forward.learn(subject, via);
        }
    }

    /// Answers a claim about this node with a presence of a higher number.
    fn refute(&mut self, seq: Seq, now: Instant) {
        if seq.incarnation() > self.seq.incarnation() {
            let life = crate::id::Incarnation(seq.incarnation().0.saturating_add(1));
            self.seq = Seq::first(life);
            for room in self.rooms.values_mut() {
                room.flood.set_incarnation(life);
                room.forward.set_incarnation(life);
            }
        } else {
            self.seq = self.seq.max(seq);
        }
        self.own = None;
        self.unsaid = true;
        self.flush_at = Some(now);
    }

    /// Declares a peer dead that no longer answers on any link.
    pub(super) fn accuse(&mut self, peer: PeerId, time: Time) {
        let Some(member) = self.roster.get(&peer) else {
            return;
        };
        let last = member.signed.clone();
        let obituary = Obituary {
            mesh: self.mesh,
            issued_ms: time.unix_ms,
            last,
        };
        let Ok(signed) = Record::Obituary(obituary).sign(&self.identity) else {
            return;
        };
        if matches!(self.roster.apply(&signed, time), Ok(Applied::News { .. })) {
            self.stats.obituaries += 1;
            self.publish(signed.clone());
            self.news.push((signed, None));
            self.flush(time);
        }
    }

    /// Tells everyone that this node leaves.
    pub(super) fn say_farewell(&mut self, time: Time) {
        self.seq = self.seq.next();
        self.roster.set_my_seq(self.seq);
        let leave = Leave {
            mesh: self.mesh,
            seq: self.seq,
            issued_ms: time.unix_ms,
        };
        if let Ok(signed) = Record::Leave(leave).sign(&self.identity) {
            self.publish(signed.clone());
            self.news.push((signed, None));
            self.flush(time);
        }
    }

    /// Carries out what changes of the roster mean for the rooms.
    pub(super) fn drain_roster(&mut self, time: Time) {
        while let Some(event) = self.roster.poll_event() {
            match event {
                RosterEvent::Joined(peer) => {
                    for room in self.rooms_of(&peer) {
                        self.member_joined(room, peer, time.now);
                    }
                }
                RosterEvent::Updated { peer, was } => self.member_updated(peer, &was, time),
                RosterEvent::Suspected(peer) => self.member_suspected(peer, time),
                RosterEvent::Refuted(peer) => {
                    for room in self.rooms_of(&peer) {
                        if let Some(entry) = self.rooms.get_mut(&room) {
                            entry.plan.joined(peer, time.now);
                        }
                        self.event(Event::Refuted { room, peer });
                    }
                }
                RosterEvent::Left { peer, was } => {
                    for room in was {
                        self.member_gone(room, peer, Event::Left { room, peer }, time);
                    }
                }
                RosterEvent::Died { peer, was } => {
                    for room in was {
                        self.member_gone(room, peer, Event::Died { room, peer }, time);
                    }
                }
            }
        }
    }

    /// The rooms this node shares with a member.
    fn rooms_of(&self, peer: &PeerId) -> Vec<RoomId> {
        let Some(member) = self.roster.get(peer) else {
            return Vec::new();
        };
        self.rooms
            .keys()
            .copied()
            .filter(|room| member.presence.rooms.contains(room))
            .collect()
    }

    fn member_updated(&mut self, peer: PeerId, was: &[RoomId], time: Time) {
        let now_in = self.rooms_of(&peer);
        for room in was.iter().copied().filter(|room| !now_in.contains(room)) {
            self.member_gone(room, peer, Event::Left { room, peer }, time);
        }
        for room in now_in {
            if was.contains(&room) {
                self.event(Event::Updated { room, peer });
            } else {
                self.member_joined(room, peer, time.now);
            }
        }
    }

    /// Attempts to reach a suspect are given up; links to it are kept, since
    /// a link that works is the best proof of life.
    fn member_suspected(&mut self, peer: PeerId, time: Time) {
        for room in self.rooms_of(&peer) {
            if let Some(entry) = self.rooms.get_mut(&room) {
                entry.plan.suspected(peer, time.now);
            }
            let link = self
                .rooms
                .get(&room)
                .and_then(|entry| entry.by_peer.get(&peer))
                .copied();
            let attempt = link.filter(|link| {
                self.links
                    .get(link)
                    .is_some_and(super::links::Link::is_attempt)
            });
            if let Some(link) = attempt {
                self.close_link(link, CloseCause::Gone, Some(Ended::Released), time);
            }
            self.event(Event::Suspected { room, peer });
        }
    }
}
