//! What happened: from gossip, from links, from the core.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use actix::Context;
use peerloom_mesh_proto::presence::Presence;
use peerloom_mesh_proto::{
    CloseCause, DownCause, Event as CoreEvent, Input, LinkEnd, LinkId, Message, PeerId, RoomId,
    Undelivered,
};

use super::actor::{NodeActor, Phase};
use super::bootstrap::Contact;
use super::rooms::Handed;
use crate::channel::Incoming;
use crate::clock::{time, unix_now};
use crate::error::SendError;
use crate::event::{Event, LinkCause};
use crate::gossip::{Command, Event as GossipEvent};
use crate::identity::name_of;
use crate::link::Report;
use crate::shared::{LinkInfo, LinkState, Member, MemberState, count, set};
use crate::store::RememberedPeer;

impl NodeActor {
    /// Told at the end of the turn, when rosters and links are published: who
    /// looks at them on an event sees what it speaks of.
    pub(super) fn emit(&mut self, event: Event) {
        self.told.push(event);
    }

    /// From the swarm.
    pub(super) fn gossip_event(&mut self, event: GossipEvent) {
        if self.phase != Phase::Running {
            return;
        }
        let core = &mut self.parts.core;
        match event {
            GossipEvent::Listening(address) => {
                let now = Instant::now();
                self.parts.addresses.add(address.clone(), now);
                self.addresses_changed();
                self.emit(Event::Listening { address });
            }
            GossipEvent::NotListening(address) => {
                let now = Instant::now();
                self.parts.addresses.remove(&address, now);
                self.addresses_changed();
            }
            GossipEvent::Up { peer, address } => {
                tracing::debug!(%peer, address, "neighbour up");
                self.parts.bootstrap.up(Instant::now());
                core.handle(Input::NeighbourUp { peer }, time());
                self.emit(Event::NeighbourUp { peer });
            }
            GossipEvent::Down { peer, cause } => {
                self.parts.bootstrap.down(Instant::now());
                core.handle(Input::NeighbourDown { peer }, time());
                self.emit(Event::NeighbourDown { peer, cause });
            }
            GossipEvent::DialFailed { peer, cause } => self.emit(Event::DialFailed { peer, cause }),
            GossipEvent::Message {
                author,
                data,
                token,
            } => {
                let verdict = core.handle_gossip(author, &data, time());
                self.gossip(Command::Judge { token, verdict });
            }
            GossipEvent::Hop { from, data } => {
                core.handle(Input::Hop { from, bytes: data }, time())
            }
            GossipEvent::HopFailed(id) => core.handle(Input::HopFailed { id }, time()),
            GossipEvent::Discovered { peer, address } => {
                let contact = Contact {
                    peer,
                    addresses: vec![address.clone()],
                };
                self.parts.bootstrap.add(contact, Instant::now());
                self.emit(Event::Discovered { peer, address });
            }
        }
    }

    /// From a link's task.
    pub(super) fn report(&mut self, link: LinkId, report: Report) {
        let Some(entry) = self.links.get_mut(&link) else {
            return;
        };
        if !self.phase.is_live() {
            return;
        }
        let peer = entry.peer;
        let core = &mut self.parts.core;
        match report {
            Report::Signal(signal) => core.handle(Input::LocalSignal { link, signal }, time()),
            Report::Up { peer, transport } => {
                entry.transport = transport;
                (entry.state, entry.since) = (LinkState::Up, Instant::now());
                self.links_dirty = true;
                core.handle(Input::LinkUp { link, peer }, time());
            }
            Report::Frame(bytes) => {
                count(&self.parts.shared.totals.bytes_channels, bytes.len() as u64);
                core.handle(Input::Frame { link, bytes }, time());
            }
            Report::ActorDied(what) => self.emit(Event::ActorDied { peer, what }),
            // The turn that follows takes messages again.
            Report::Writable => {}
            Report::Down { cause, text } => {
                if cause == DownCause::Identity {
                    count(&self.parts.shared.totals.identities_refused, 1);
                    self.told.push(Event::IdentityRefused { peer, cause: text });
                } else if entry.state == LinkState::Connecting {
                    self.told.push(Event::LinkFailed { peer, cause: text });
                }
                self.lose_link(link, cause);
            }
        }
    }

    /// From the core.
    pub(super) fn happen(&mut self, ctx: &mut Context<Self>, event: CoreEvent) {
        match event {
            CoreEvent::Joined { room, peer } => {
                self.member(room, |room| Event::MemberJoined { room, peer });
            }
            CoreEvent::Updated { room, peer } => {
                self.member(room, |room| Event::MemberUpdated { room, peer });
                self.recheck_name(ctx, peer);
            }
            CoreEvent::Left { room, peer } => {
                self.member(room, |room| Event::MemberLeft { room, peer });
            }
            CoreEvent::Suspected { room, peer } => {
                self.member(room, |room| Event::MemberSuspected { room, peer });
            }
            CoreEvent::Refuted { room, peer } => {
                self.member(room, |room| Event::MemberRefuted { room, peer });
            }
            CoreEvent::Died { room, peer } => {
                self.gossip(Command::Hangup(peer));
                self.member(room, |room| Event::MemberDied { room, peer });
            }
            CoreEvent::LinkUp { link, room, peer } => {
                self.name_proven(link, &peer);
                self.remember(peer);
                let entry = self.links.get(&link);
                let transport = entry.and_then(|entry| entry.transport.clone());
                self.member(room, |room| Event::LinkUp {
                    room,
                    peer,
                    transport,
                });
                // It may have changed since it was checked.
                self.recheck_name(ctx, peer);
            }
            CoreEvent::LinkDown {
                room, peer, why, ..
            } => {
                count(&self.parts.shared.totals.links_lost, 1);
                let cause = link_cause(why);
                self.member(room, |room| Event::LinkDown { room, peer, cause });
            }
            CoreEvent::Message(message) => self.deliver(message),
            CoreEvent::Delivered { id, .. } => {
                if let Some(pending) = self.unacknowledged.remove(&id) {
                    drop(pending.reply.send(Ok(())));
                }
            }
            CoreEvent::Undelivered { id, why } => {
                if let Some(pending) = self.unacknowledged.remove(&id) {
                    drop(pending.reply.send(Err(undelivered(why, pending.to))));
                }
            }
            other => tracing::debug!(?other, "event of the core without a counterpart"),
        }
    }

    /// The members of a room for its handles: this node and those it knows.
    fn members(&self, room: &RoomId) -> Vec<Member> {
        let linked: BTreeSet<_> = self
            .links
            .values()
            .filter(|entry| entry.room == *room && entry.state == LinkState::Up)
            .map(|entry| entry.peer)
            .collect();
        let others = self
            .parts
            .core
            .roster()
            .in_room(*room)
            .map(|(peer, member)| Member {
                peer: *peer,
                nick: self.shown_nick(peer),
                state: match member.is_suspected() {
                    true => MemberState::Suspected,
                    false => MemberState::Alive,
                },
                addresses: addresses(&member.presence),
                linked: linked.contains(peer),
                me: false,
            });
        let mut members: Vec<_> = others.chain([self.myself()]).collect();
        members.sort_by_key(|member| member.peer);
        members
    }

    fn myself(&self) -> Member {
        Member {
            peer: self.parts.shared.me,
            nick: self.parts.nick.clone(),
            state: MemberState::Alive,
            addresses: self.parts.addresses.told(),
            linked: false,
            me: true,
        }
    }

    fn nick(&self, peer: &PeerId) -> Option<&str> {
        let nick = &*self.parts.core.roster().get(peer)?.presence.nick;
        (!nick.is_empty()).then_some(nick)
    }

    /// A peer's nick, unless somebody else has proven it.
    fn shown_nick(&self, peer: &PeerId) -> Option<String> {
        let name = self.claimed_name(peer);
        let conflict = self.parts.known.conflict(&name, peer).is_some();
        self.nick(peer).filter(|_| !conflict).map(str::to_owned)
    }

    /// What a peer calls itself, proven or not.
    pub(super) fn claimed_name(&self, peer: &PeerId) -> String {
        name_of(self.nick(peer), &self.parts.shared.mesh, peer)
    }

    fn addresses_of(&self, peer: &PeerId) -> Vec<String> {
        let member = self.parts.core.roster().get(peer);
        member
            .map(|member| addresses(&member.presence))
            .unwrap_or_default()
    }

    /// Emits an event about a room and has its roster published.
    fn member(&mut self, room: RoomId, event: impl FnOnce(String) -> Event) {
        self.dirty.insert(room);
        let event = event(self.rooms.name(&room));
        self.emit(event);
    }

    fn deliver(&mut self, message: Message) {
        let Message {
            room,
            from,
            channel,
            payload,
            hops,
            direct,
        } = message;
        let Some(entry) = self.rooms.get_mut(&room) else {
            return;
        };
        let totals = &self.parts.shared.totals;
        match entry.hand(
            &channel,
            Incoming {
                from,
                payload,
                hops,
                direct,
            },
        ) {
            Handed::Taken => count(&totals.delivered, 1),
            Handed::Overflow => {
                count(&totals.dropped, 1);
                let room = self.rooms.name(&room);
                self.emit(Event::InboxOverflow { room, channel });
            }
        }
    }

    /// Keeps a peer to be found again, in this life and after the next start.
    fn remember(&mut self, peer: PeerId) {
        let addresses = self.addresses_of(&peer);
        self.parts.bootstrap.met(Contact {
            peer,
            addresses: addresses.clone(),
        });
        let peer = RememberedPeer {
            mesh: self.parts.shared.mesh.clone(),
            peer: *peer.as_bytes(),
            addresses,
            last_good: unix_now(),
        };
        let store = self.parts.store.clone();
        // Detached: the store's own thread bounds and orders the writes.
        drop(actix::spawn(async move {
            if let Err(error) = store.remember(peer).await {
                tracing::warn!(%error, "a peer could not be remembered");
            }
        }));
    }

    /// Publishes what changed in this turn.
    pub(super) fn publish(&mut self) {
        for room in std::mem::take(&mut self.dirty) {
            let members = self.members(&room);
            if let Some(entry) = self.rooms.get_mut(&room) {
                entry.roster.send_replace(Arc::new(members));
            }
        }
        if std::mem::take(&mut self.links_dirty) {
            let links: Vec<_> = self
                .links
                .values()
                .map(|entry| self.link_info(entry))
                .collect();
            let up = links
                .iter()
                .filter(|link| link.state == LinkState::Up)
                .count();
            set(&self.parts.shared.totals.links, up as u64);
            self.parts.shared.links.send_replace(Arc::new(links));
        }
        let (stats, totals) = (self.parts.core.stats(), &self.parts.shared.totals);
        set(&totals.strangers_dropped, stats.strangers_dropped);
        set(&totals.envelopes_flooded, stats.envelopes_flooded);
        set(&totals.glares, stats.glares);
        self.told
            .drain(..)
            .for_each(|event| self.parts.shared.emit(event));
    }

    fn link_info(&self, entry: &super::actor::LinkEntry) -> LinkInfo {
        LinkInfo {
            peer: entry.peer,
            room: self.rooms.name(&entry.room),
            state: entry.state,
            authenticated: entry.state == LinkState::Up,
            transport: entry.transport.clone(),
            since: entry.since,
        }
    }
}

fn addresses(presence: &Presence) -> Vec<String> {
    presence
        .addresses
        .iter()
        .map(|address| address.to_string())
        .collect()
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "non-exhaustive; every other reason closes the channel"
)]
fn undelivered(why: Undelivered, to: PeerId) -> SendError {
    match why {
        Undelivered::Gone => SendError::Gone(to),
        Undelivered::Timeout => SendError::Timeout(to),
        // The room was left.
        _ => SendError::Closed,
    }
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "non-exhaustive; every other reason is a failure"
)]
fn link_cause(why: LinkEnd) -> LinkCause {
    match why {
        LinkEnd::Down(DownCause::Identity) => LinkCause::Identity,
        LinkEnd::Down(DownCause::Closed) | LinkEnd::Closed(CloseCause::Bye) => LinkCause::Closed,
        LinkEnd::Down(DownCause::Overflow) => LinkCause::Overflow,
        LinkEnd::Closed(CloseCause::Glare) => LinkCause::Glare,
        LinkEnd::Closed(CloseCause::Rejected) => LinkCause::Rejected,
        LinkEnd::Closed(CloseCause::Timeout) => LinkCause::Timeout,
        LinkEnd::Closed(CloseCause::Replaced) => LinkCause::Replaced,
        LinkEnd::Closed(CloseCause::Silent) => LinkCause::Silent,
        LinkEnd::Closed(CloseCause::Gone) => LinkCause::Gone,
        LinkEnd::Closed(CloseCause::Surplus) => LinkCause::Surplus,
        LinkEnd::Closed(CloseCause::Leaving) => LinkCause::Leaving,
        LinkEnd::Closed(CloseCause::Protocol) => LinkCause::Protocol,
        _ => LinkCause::Failed,
    }
}
