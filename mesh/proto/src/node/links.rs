//! The life of a link: attempt, up, closing, gone; and the frames on it.

use std::time::{Duration, Instant};

use super::io::{CloseCause, DownCause, Event, Lane, LinkEnd, LinkId, Message, Output};
use super::signaling::Call;
use super::{LinkInfo, Node};
use crate::envelope::{Body, RejectReason};
use crate::flood::FloodError;
use crate::frame::{BroadcastFrame, Frame};
use crate::id::{Incarnation, PeerId, RoomId, SessionId};
use crate::links::Ended;
use crate::liveness::{Probe, Pulse};
use crate::time::Time;

/// How long a closing link waits for the other side's goodbye: SCTP repeats a
/// lost packet after one second, and after two more.
const FAREWELL: Duration = Duration::from_secs(4);

#[derive(Debug)]
pub(super) enum State {
    /// Being built.
    Attempt(Call),
    /// Carries frames.
    Up(Up),
    /// Said goodbye; still takes frames, until the other side says it too.
    Closing(Instant),
}

#[derive(Debug)]
pub(super) struct Up {
    pub(super) since: Instant,
    pub(super) probe: Probe,
    /// The other side's life, as it said on this link.
    pub(super) incarnation: Option<Incarnation>,
}

#[derive(Debug)]
pub(super) struct Link {
    pub(super) id: LinkId,
    pub(super) room: RoomId,
    pub(super) peer: PeerId,
    pub(super) session: SessionId,
    pub(super) state: State,
    pub(super) started: Instant,
    /// Number of this node's next letter in the session.
    pub(super) next_letter: u32,
    /// When the other side wrote its newest letter, by its clock.
    pub(super) heard_ms: u64,
}

impl Link {
    pub(super) fn is_attempt(&self) -> bool {
        matches!(self.state, State::Attempt(_))
    }

    pub(super) fn info(&self) -> LinkInfo {
        let up = if let State::Up(up) = &self.state {
            Some(up)
        } else {
            None
        };
        LinkInfo {
            link: self.id,
            room: self.room,
            peer: self.peer,
            session: self.session,
            up_since: up.map(|up| up.since),
            rtt: up.and_then(|up| up.probe.rtt()),
        }
    }

    /// When something about this link is due.
    pub(super) fn due(&self, attempt_timeout: Duration) -> Instant {
        match &self.state {
            State::Attempt(call) => call.resend_at().unwrap_or(self.started + attempt_timeout),
            State::Up(up) => up.probe.due(),
            State::Closing(until) => *until,
        }
    }
}

impl Node {
    /// Makes a link in state attempt the one with this peer in this room.
    pub(super) fn new_link(
        &mut self,
        room: RoomId,
        peer: PeerId,
        session: SessionId,
        heard_ms: u64,
        call: Call,
        time: Time,
    ) -> LinkId {
        let id = LinkId(self.next_link);
        self.next_link += 1;
        let state = State::Attempt(call);
        let started = time.now;
        self.links.insert(
            id,
            Link {
                id,
                room,
                peer,
                session,
                state,
                started,
                next_letter: 0,
                heard_ms,
            },
        );
        if let Some(entry) = self.rooms.get_mut(&room) {
            entry.by_peer.insert(peer, id);
        }
        id
    }

    /// The shell says that a link carries frames now.
    pub(super) fn link_up(&mut self, id: LinkId, peer: PeerId, time: Time) {
        let Some(link) = self.links.get_mut(&id).filter(|link| link.is_attempt()) else {
            return;
        };
        if link.peer != peer {
            return self.close_link(id, CloseCause::Protocol, Some(Ended::Failed), time);
        }
        let room = link.room;
        link.state = State::Up(Up {
            since: time.now,
            probe: Probe::new(time.now),
            incarnation: None,
        });
        let Some(entry) = self.rooms.get_mut(&room) else {
            return;
        };
        entry.plan.up(peer, time.now);
        entry.neighbours.insert(peer);
        let hello = Frame::Hello {
            incarnation: self.seq.incarnation(),
            degree: entry.degree(),
        };
        self.event(Event::LinkUp {
            link: id,
            room,
            peer,
        });
        self.send_frame(id, &hello, Lane::Control);
        self.introduce_link(peer, id, time);
    }

    /// The shell says that a link's peer connection is gone.
    pub(super) fn link_down(&mut self, id: LinkId, cause: DownCause, time: Time) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let (room, peer, attempt) = (link.room, link.peer, link.is_attempt());
        if attempt {
            let retry_ms = 1000;
            let body = Body::Reject {
                why: RejectReason::Failed,
                retry_ms,
                unix_ms: time.unix_ms,
            };
            self.link_letter(id, body, time);
        }
        let was_up = self.forget_link(id, time.now);
        if was_up {
            self.event(Event::LinkDown {
                link: id,
                room,
                peer,
                why: LinkEnd::Down(cause),
            });
        }
        let how = match cause {
            DownCause::Died if was_up => Ended::Broken { here: true },
            // Whoever closes on purpose says goodbye first.
            DownCause::Closed if was_up => Ended::Broken { here: false },
            DownCause::Closed => Ended::Released,
            DownCause::Died | DownCause::Failed | DownCause::Identity | DownCause::Overflow => {
                Ended::Failed
            }
        };
        self.ended(room, peer, how, time.now);
    }

    /// Closes a link for a reason of this node's own. `ended` tells the plan,
    /// unless it knows or another attempt takes the link's place.
    pub(super) fn close_link(
        &mut self,
        id: LinkId,
        cause: CloseCause,
        ended: Option<Ended>,
        time: Time,
    ) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let (room, peer) = (link.room, link.peer);
        let polite = matches!(
            cause,
            CloseCause::Surplus | CloseCause::Leaving | CloseCause::Bye
        );
        match &link.state {
            State::Closing(_) => return,
            State::Up(_) if polite => {
                self.send_frame(id, &Frame::Bye, Lane::Data);
                self.retire_link(id, time.now);
                if let Some(link) = self.links.get_mut(&id) {
                    link.state = State::Closing(time.now + FAREWELL);
                }
                self.event(Event::LinkDown {
                    link: id,
                    room,
                    peer,
                    why: LinkEnd::Closed(cause),
                });
            }
            State::Up(_) => {
                self.forget_link(id, time.now);
                self.outputs.push_back(Output::Close { link: id, cause });
                self.event(Event::LinkDown {
                    link: id,
                    room,
                    peer,
                    why: LinkEnd::Closed(cause),
                });
            }
            State::Attempt(_) => {
                if !matches!(
                    cause,
                    CloseCause::Glare
                        | CloseCause::Rejected
                        | CloseCause::Bye
                        | CloseCause::Replaced
                ) {
                    self.link_letter(id, Body::Bye, time);
                }
                self.forget_link(id, time.now);
                self.outputs.push_back(Output::Close { link: id, cause });
            }
        }
        if let Some(how) = ended {
            self.ended(room, peer, how, time.now);
        }
    }

    /// Tells the plan, unless a newer link with the peer exists.
    fn ended(&mut self, room: RoomId, peer: PeerId, how: Ended, now: Instant) {
        if let Some(entry) = self
            .rooms
            .get_mut(&room)
            .filter(|entry| !entry.by_peer.contains_key(&peer))
        {
            entry.plan.ended(peer, how, now, &mut self.rng);
        }
    }

    /// Nothing is sent on this link any more. Returns whether it was up.
    fn retire_link(&mut self, id: LinkId, now: Instant) -> bool {
        let Some(link) = self.links.get(&id) else {
            return false;
        };
        let up = matches!(link.state, State::Up(_));
        if let Some(entry) = self.rooms.get_mut(&link.room)
            && entry.by_peer.get(&link.peer) == Some(&id)
        {
            entry.by_peer.remove(&link.peer);
            if up {
                entry.neighbours.remove(&link.peer);
                entry.forward.link_down(&link.peer, now);
            }
        }
        up
    }

    fn forget_link(&mut self, id: LinkId, now: Instant) -> bool {
        let up = self.retire_link(id, now);
        self.links.remove(&id);
        up
    }

    pub(super) fn send_frame(&mut self, link: LinkId, frame: &Frame, lane: Lane) {
        if let Ok(bytes) = frame.encode() {
            self.outputs.push_back(Output::Send { link, lane, bytes });
        }
    }

    /// A message arrived on a link's data channel.
    pub(super) fn frame(&mut self, id: LinkId, bytes: &[u8], time: Time) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let (room, peer) = (link.room, link.peer);
        match &mut link.state {
            State::Up(up) => up.probe.heard(time.now),
            State::Closing(_) => {}
            State::Attempt(_) => return,
        }
        let Ok(frame) = Frame::decode(bytes) else {
            return self.protocol_error(id, time);
        };
        match frame {
            Frame::Hello {
                degree,
                incarnation,
            } => {
                self.note_degree(room, peer, degree);
                if let Some(State::Up(up)) = self.links.get_mut(&id).map(|link| &mut link.state) {
                    up.incarnation = Some(incarnation);
                }
            }
            Frame::Ping { nonce, degree } => {
                self.note_degree(room, peer, degree);
                let degree = self.rooms.get(&room).map_or(0, super::Room::degree);
                self.send_frame(id, &Frame::Pong { nonce, degree }, Lane::Control);
            }
            Frame::Pong { nonce, degree } => {
                self.note_degree(room, peer, degree);
                if let Some(State::Up(up)) = self.links.get_mut(&id).map(|link| &mut link.state) {
                    up.probe.pong(nonce, time.now);
                }
            }
            Frame::Broadcast(broadcast) => self.broadcast_frame(id, room, peer, &broadcast, time),
            frame @ (Frame::Direct(_) | Frame::Ack(_)) => {
                if !self.forward_frame(room, peer, frame, time.now) {
                    self.stats.refused += 1;
                }
            }
            Frame::Records(records) => self.link_records(id, peer, room, &records, time),
            Frame::Envelope(envelope) => self.link_envelope(room, peer, envelope, time),
            Frame::Bye => self.goodbye(id, time),
        }
    }

    fn protocol_error(&mut self, id: LinkId, time: Time) {
        self.stats.refused += 1;
        self.close_link(id, CloseCause::Protocol, Some(Ended::Failed), time);
    }

    fn note_degree(&mut self, room: RoomId, peer: PeerId, degree: u8) {
        if let Some(entry) = self.rooms.get_mut(&room) {
            entry.plan.note_degree(peer, degree.into());
        }
    }

    fn broadcast_frame(
        &mut self,
        link: LinkId,
        id: RoomId,
        peer: PeerId,
        frame: &BroadcastFrame,
        time: Time,
    ) {
        let Some(room) = self.rooms.get_mut(&id) else {
            return;
        };
        let (me, roster) = (self.me, &self.roster);
        let is_member = |author: &PeerId| *author == me || roster.is_in(author, id);
        match room.flood.receive(frame, is_member) {
            Ok(received) => {
                room.forward.learn(received.from, peer);
                if let Some(onward) = received.onward {
                    self.send_to_room(id, &Frame::Broadcast(onward), Lane::Data, Some(peer));
                }
                let (from, channel, payload, hops) = (
                    received.from,
                    received.channel,
                    received.payload,
                    received.hops,
                );
                let message = Message {
                    room: id,
                    from,
                    channel,
                    payload,
                    hops,
                    direct: false,
                };
                self.deliver(message, time.now);
            }
            Err(FloodError::Duplicate) => self.stats.duplicates += 1,
            Err(FloodError::OtherRoom | FloodError::Wire(_)) => self.protocol_error(link, time),
        }
    }

    /// The other side sends nothing more. If it said so first, this node says
    /// goodbye in turn and leaves closing to the other side, which thereby
    /// gets everything sent until now.
    fn goodbye(&mut self, id: LinkId, time: Time) {
        let closing = self
            .links
            .get(&id)
            .is_some_and(|link| matches!(link.state, State::Closing(_)));
        if closing {
            self.forget_link(id, time.now);
            self.outputs.push_back(Output::Close {
                link: id,
                cause: CloseCause::Bye,
            });
        } else {
            self.close_link(id, CloseCause::Bye, Some(Ended::Released), time);
        }
    }

    /// Probes, attempts and goodbyes that are due.
    pub(super) fn links_due(&mut self, time: Time) {
        let timeout = self.config.attempt_timeout;
        let due = self
            .links
            .values()
            .filter(|link| link.due(timeout) <= time.now)
            .map(|link| link.id);
        for id in due.collect::<Vec<_>>() {
            let Some(link) = self.links.get(&id) else {
                continue;
            };
            match &link.state {
                State::Attempt(_) => self.attempt_due(id, time),
                State::Up(_) => self.probe_due(id, time),
                State::Closing(_) => {
                    self.forget_link(id, time.now);
                    self.outputs.push_back(Output::Close {
                        link: id,
                        cause: CloseCause::Bye,
                    });
                }
            }
        }
    }

    fn probe_due(&mut self, id: LinkId, time: Time) {
        let (probe_config, now) = (&self.config.probe, time.now);
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        let State::Up(up) = &mut link.state else {
            return;
        };
        let (room, peer, life) = (link.room, link.peer, up.incarnation);
        match up.probe.poll(probe_config, self.health, now) {
            Pulse::Ping(nonce) => {
                let degree = self.rooms.get(&room).map_or(0, super::Room::degree);
                self.send_frame(id, &Frame::Ping { nonce, degree }, Lane::Control);
            }
            Pulse::Quiet => {}
            Pulse::Dead => {
                self.close_link(id, CloseCause::Silent, Some(Ended::Failed), time);
                let other = self
                    .links
                    .values()
                    .any(|l| l.peer == peer && matches!(l.state, State::Up(_)));
                // Somebody that has been started again since is not dead.
                let known = self.roster.get(&peer).map(|m| m.presence.seq.incarnation());
                if !other && life.is_none_or(|life| known == Some(life)) {
                    self.accuse(peer, time);
                }
            }
        }
    }
}
