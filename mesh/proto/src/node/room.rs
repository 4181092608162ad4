//! One room of a node: whom it links with, and what flows there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::io::{CloseCause, Event, Lane, LinkId, Message, Output};
use super::strangers::Said;
use super::{Config, Node};
use crate::flood::Flood;
use crate::forward::{Forward, Outcome, Surroundings};
use crate::frame::Frame;
use crate::id::{Incarnation, PeerId, RoomId};
use crate::links::{Ended, LinkPlan, PlanAction};
use crate::time::Time;

#[derive(Debug)]
pub(super) struct Room {
    pub(super) name: String,
    pub(super) plan: LinkPlan,
    pub(super) flood: Flood,
    pub(super) forward: Forward,
    /// The newest link or attempt with each peer.
    pub(super) by_peer: BTreeMap<PeerId, LinkId>,
    /// Peers with a link that carries frames.
    pub(super) neighbours: BTreeSet<PeerId>,
}

impl Room {
    pub(super) fn new(
        id: RoomId,
        name: &str,
        me: PeerId,
        incarnation: Incarnation,
        config: &Config,
        now: Instant,
    ) -> Self {
        Room {
            name: name.to_owned(),
            plan: LinkPlan::new(config.plan.clone(), me, id),
            flood: Flood::new(id, incarnation),
            forward: Forward::new(me, id, incarnation, now),
            by_peer: BTreeMap::new(),
            neighbours: BTreeSet::new(),
        }
    }

    pub(super) fn degree(&self) -> u8 {
        u8::try_from(self.neighbours.len()).unwrap_or(u8::MAX)
    }
}

impl Node {
    /// A member is in the room from now on.
    pub(super) fn member_joined(&mut self, id: RoomId, peer: PeerId, now: Instant) {
        if let Some(room) = self.rooms.get_mut(&id) {
            room.plan.joined(peer, now);
            self.event(Event::Joined { room: id, peer });
            self.hear(id, peer, now);
        }
    }

    /// Takes what a new member said before this node knew of it.
    fn hear(&mut self, id: RoomId, peer: PeerId, now: Instant) {
        for said in self.strangers.joined(id, peer) {
            match said {
                Said::Broadcast(message) => {
                    self.stats.delivered += 1;
                    self.event(Event::Message(message));
                }
                Said::Direct(frame, via) => {
                    if !self.forward_frame(id, via, Frame::Direct(frame), now) {
                        self.stats.refused += 1;
                    }
                }
            }
        }
    }

    /// Whether the application gets what `author` says in a room.
    fn is_heard(&self, id: RoomId, author: &PeerId) -> bool {
        *author == self.me || self.roster.is_in(author, id) || self.strangers.was_member(id, author)
    }

    /// Gives a broadcast to the application, or holds a stranger's.
    pub(super) fn deliver(&mut self, message: Message, now: Instant) {
        let (room, from) = (message.room, message.from);
        if self.is_heard(room, &from) {
            self.stats.delivered += 1;
            self.event(Event::Message(message));
        } else if !self
            .strangers
            .hold(room, from, Said::Broadcast(message), now)
        {
            self.stats.strangers_dropped += 1;
        }
    }

    /// A member is no longer in the room.
    pub(super) fn member_gone(&mut self, id: RoomId, peer: PeerId, event: Event, time: Time) {
        if !self.rooms.contains_key(&id) {
            return;
        }
        let links: Vec<LinkId> = self
            .links
            .values()
            .filter(|l| l.room == id && l.peer == peer)
            .map(|l| l.id)
            .collect();
        for link in links {
            self.close_link(link, CloseCause::Gone, Some(Ended::Released), time);
        }
        self.strangers.departed(id, peer, time.now);
        if let Some(room) = self.rooms.get_mut(&id) {
            room.plan.left(peer, time.now);
            room.forward.gone(&peer, super::io::Undelivered::Gone);
        }
        self.event(event);
    }

    /// Carries out what the room's link plan wants now.
    pub(super) fn drain_plan(&mut self, id: RoomId, time: Time) {
        while !self.closed {
            let Some(room) = self.rooms.get_mut(&id) else {
                return;
            };
            if room.plan.poll_timeout().is_none_or(|at| at > time.now) {
                return;
            }
            match room.plan.poll(time.now, &mut self.rng) {
                Some(PlanAction::Dial(peer)) => self.dial(id, peer, time),
                Some(PlanAction::Close(peer)) => {
                    if let Some(link) = room.by_peer.get(&peer).copied() {
                        self.close_link(link, CloseCause::Surplus, Some(Ended::Released), time);
                    }
                }
                None => return,
            }
        }
    }

    /// Carries out what forwarding in a room wants now. The room is passed
    /// apart from the node, which has lent it out.
    pub(super) fn drain_forward(&mut self, id: RoomId, room: &mut Room) {
        while let Some(outcome) = room.forward.poll() {
            match outcome {
                Outcome::Send(peer, frame) => {
                    let lane = if matches!(frame, Frame::Ack(_)) {
                        Lane::Control
                    } else {
                        Lane::Data
                    };
                    if let Some(link) = room
                        .by_peer
                        .get(&peer)
                        .filter(|_| room.neighbours.contains(&peer))
                    {
                        self.send_frame(*link, &frame, lane);
                    }
                }
                Outcome::Deliver {
                    from,
                    channel,
                    payload,
                    hops,
                } => {
                    self.stats.delivered += 1;
                    self.event(Event::Message(Message {
                        room: id,
                        from,
                        channel,
                        payload,
                        hops,
                        direct: true,
                    }));
                }
                Outcome::Acked { id, rtt } => {
                    let rtt_us = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
                    self.event(Event::Delivered { id, rtt_us });
                }
                Outcome::Failed { id, why } => self.event(Event::Undelivered { id, why }),
            }
        }
    }

    /// Sends a frame to all neighbours in a room but one, encoded once.
    pub(super) fn send_to_room(
        &mut self,
        id: RoomId,
        frame: &Frame,
        lane: Lane,
        except: Option<PeerId>,
    ) {
        let Some(room) = self.rooms.get(&id) else {
            return;
        };
        let Ok(bytes) = frame.encode() else { return };
        let neighbours = room.neighbours.iter().filter(|peer| Some(**peer) != except);
        for link in neighbours.filter_map(|peer| room.by_peer.get(peer)) {
            self.outputs.push_back(Output::Send {
                link: *link,
                lane,
                bytes: bytes.clone(),
            });
        }
    }

    /// Feeds a frame of the direct-message protocol to its room.
    pub(super) fn forward_frame(
        &mut self,
        id: RoomId,
        from: PeerId,
        frame: Frame,
        now: Instant,
    ) -> bool {
        let Some(room) = self.rooms.get_mut(&id) else {
            return true;
        };
        let around = Surroundings {
            identity: &self.identity,
            prekeys: &self.prekeys,
            neighbours: &room.neighbours,
        };
        let (me, roster, strangers) = (self.me, &self.roster, &self.strangers);
        let is_heard = |author: &PeerId| {
            *author == me || roster.is_in(author, id) || strangers.was_member(id, author)
        };
        match frame {
            Frame::Direct(direct) => {
                match room.forward.direct(direct, from, &around, is_heard, now) {
                    Ok(None) => true,
                    Ok(Some((author, direct))) => {
                        let said = Said::Direct(direct, from);
                        if !self.strangers.hold(id, author, said, now) {
                            self.stats.strangers_dropped += 1;
                        }
                        true
                    }
                    Err(_) => false,
                }
            }
            Frame::Ack(ack) => {
                room.forward.ack(ack, &around, now);
                true
            }
            Frame::Hello { .. }
            | Frame::Ping { .. }
            | Frame::Pong { .. }
            | Frame::Broadcast(_)
            | Frame::Records(_)
            | Frame::Envelope(_)
            | Frame::Bye => true,
        }
    }
}
