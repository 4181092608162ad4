//! The whole mesh logic of one node.
//!
//! [`Node`] composes roster, link plans, signaling, broadcasts, forwarding
//! and probes. It owns no socket, clock or task. Its shell
//!
//! 1. calls a command or feeds one input, with the time,
//! 2. takes [`Node::poll`] until it is empty and carries out every output,
//!    in order, before the next input,
//! 3. asks [`Node::poll_timeout`] and calls [`Node::handle_timeout`] then.
//!
//! The queue of outputs is not bounded by itself: it never holds more than
//! one input's outputs when step 2 is kept to.
//!
//! Three planes, as the shell sees them: gossip topics
//! ([`Output::Publish`], [`Node::handle_gossip`]), the hop protocol between
//! libp2p neighbours ([`Output::Hop`], [`Input::Hop`]), and links, that is
//! peer connections with one data channel ([`Output::Dial`],
//! [`Output::Accept`], [`Output::Send`]). A link belongs to one room: two
//! peers that share two rooms have two.

pub mod io;

mod config;
mod event;
mod links;
mod post;
mod records;
mod room;
mod signaling;
mod strangers;
mod timers;
mod trickle;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use rand_chacha::ChaCha20Rng;

use crate::envelope::{Gossip, HopFrame, Inbox};
use crate::forward::Surroundings;
use crate::frame::{ChannelName, Frame};
use crate::id::{Identity, Incarnation, MeshTag, MessageId, PeerId, RoomId, Seq};
use crate::limit::{Limiter, Rate, TokenBucket};
use crate::liveness::Health;
use crate::presence::{Capabilities, MAX_ADDRESSES, MAX_NICK, MAX_ROOMS};
use crate::roster::Roster;
use crate::seal::Prekeys;
use crate::time::Time;
use crate::wire::{BoundedString, BoundedVec, SignedBytes};

pub use config::{Config, LinkInfo, Stats};
use io::{HopId, Input, Lane, LinkId, Output, SendError, Topic, Verdict};
use links::Link;
use post::Post;
use room::Room;
use strangers::Strangers;

/// Room floods of envelopes that one sender may cause: a gossip message's
/// author, or the neighbour that an envelope on a link came over.
const FLOOD_RATE: Rate = Rate {
    per_second: 4.0,
    burst: 4.0,
};
/// Envelopes of one libp2p neighbour, or one end of a link, that this node
/// tries to open: in a burst an offer with 150 candidates in eight rooms, and
/// then repetitions.
const OPEN_RATE: Rate = Rate {
    per_second: 32.0,
    burst: 96.0,
};
/// Offers one peer may make: some at once for restarts and broken links, then
/// slowly. One that is not answered is repeated seconds later, so that an
/// honest peer has to stay below this.
const OFFER_RATE: Rate = Rate {
    per_second: 1.0,
    burst: 12.0,
};
/// Offers this node looks at altogether; a flash crowd is spread over
/// seconds.
const OFFERS_RATE: Rate = Rate {
    per_second: 30.0,
    burst: 90.0,
};
/// Obituaries one accuser may spread: as many at once as it may have links.
const OBITUARY_RATE: Rate = Rate {
    per_second: 2.0,
    burst: 32.0,
};
/// Presences and leaves that one author may spread: as many at once as it can
/// join rooms, and then more often than any node changes for long.
const PRESENCE_RATE: Rate = Rate {
    per_second: 1.0,
    burst: 16.0,
};
/// How often one peer is told the whole roster: with each connection while it
/// starts or moves, and then slowly.
const INTRODUCTION_RATE: Rate = Rate {
    per_second: 0.5,
    burst: 8.0,
};
/// Senders a limiter tracks.
const LIMITED: usize = 4096;

/// The mesh logic of one node. See the module documentation for the order of
/// calls.
#[derive(Debug)]
pub struct Node {
    config: Config,
    identity: Arc<Identity>,
    me: PeerId,
    mesh: MeshTag,
    rng: ChaCha20Rng,
    prekeys: Prekeys,
    prekeys_since: Instant,
    seq: Seq,
    /// This node's presence as signed last; `None` when it has changed.
    own: Option<SignedBytes>,
    /// Whether the newest presence still has to be told to everyone.
    unsaid: bool,
    roster: Roster,
    inbox: Inbox,
    early: trickle::Early,
    rooms: BTreeMap<RoomId, Room>,
    links: BTreeMap<LinkId, Link>,
    neighbours: BTreeSet<PeerId>,
    posts: BTreeMap<MessageId, Post>,
    strangers: Strangers,
    passed_on: crate::replay::SeenCache<[u8; 16]>,
    news: Vec<(SignedBytes, Option<PeerId>)>,
    flush_at: Option<Instant>,
    renew_at: Instant,
    health: Health,
    my_floods: TokenBucket,
    floods: Limiter<PeerId>,
    link_floods: Limiter<PeerId>,
    opened: Limiter<PeerId>,
    offers: Limiter<PeerId>,
    all_offers: TokenBucket,
    obituaries: Limiter<PeerId>,
    presences: Limiter<PeerId>,
    introductions: Limiter<PeerId>,
    next_link: u64,
    next_hop: u64,
    outputs: VecDeque<Output>,
    stats: Stats,
    closed: bool,
}

impl Node {
    /// A node that knows nobody yet. Its first outputs subscribe it to the
    /// mesh's gossip topic.
    pub fn new(config: Config, identity: Arc<Identity>, mut rng: ChaCha20Rng, time: Time) -> Self {
        let (me, mesh, now) = (identity.peer_id(), MeshTag::new(&config.mesh), time.now);
        let mut node = Node {
            me,
            mesh,
            prekeys: Prekeys::new(&mut rng),
            prekeys_since: now,
            seq: Seq::first(config.incarnation),
            own: None,
            unsaid: true,
            roster: Roster::new(me, mesh),
            inbox: Inbox::new(me, now),
            early: trickle::Early::default(),
            rooms: BTreeMap::new(),
            links: BTreeMap::new(),
            neighbours: BTreeSet::new(),
            posts: BTreeMap::new(),
            strangers: Strangers::default(),
            passed_on: post::passed_on(now),
            news: Vec::new(),
            flush_at: None,
            renew_at: now,
            health: Health::default(),
            my_floods: TokenBucket::new(FLOOD_RATE, now),
            floods: Limiter::new(FLOOD_RATE, LIMITED),
            link_floods: Limiter::new(FLOOD_RATE, LIMITED),
            opened: Limiter::new(OPEN_RATE, LIMITED),
            offers: Limiter::new(OFFER_RATE, LIMITED),
            all_offers: TokenBucket::new(OFFERS_RATE, now),
            obituaries: Limiter::new(OBITUARY_RATE, LIMITED),
            presences: Limiter::new(PRESENCE_RATE, LIMITED),
            introductions: Limiter::new(INTRODUCTION_RATE, LIMITED),
            next_link: 1,
            next_hop: 1,
            outputs: VecDeque::from([Output::Subscribe(Topic::Mesh(mesh))]),
            stats: Stats::default(),
            closed: false,
            config,
            identity,
            rng,
        };
        node.announce(now);
        node
    }

    /// Joins a room, or does nothing when it is joined or [`MAX_ROOMS`] are.
    pub fn join(&mut self, name: &str, time: Time) -> RoomId {
        let id = RoomId::new(&self.config.mesh, name);
        if self.rooms.contains_key(&id) || self.rooms.len() >= MAX_ROOMS || self.closed {
            return id;
        }
        let room = Room::new(
            id,
            name,
            self.me,
            self.seq.incarnation(),
            &self.config,
            time.now,
        );
        self.rooms.insert(id, room);
        self.outputs.push_back(Output::Subscribe(Topic::Room(id)));
        let members: Vec<PeerId> = self.roster.in_room(id).map(|(peer, _)| *peer).collect();
        for peer in members {
            self.member_joined(id, peer, time.now);
        }
        self.announce(time.now);
        self.settle(time);
        id
    }

    /// Leaves a room: its links say goodbye and close.
    pub fn leave(&mut self, room: RoomId, time: Time) {
        let links: Vec<LinkId> = self
            .links
            .values()
            .filter(|l| l.room == room)
            .map(|l| l.id)
            .collect();
        for link in links {
            self.close_link(link, io::CloseCause::Leaving, None, time);
        }
        self.strangers.leave(room);
        if let Some(mut left) = self.rooms.remove(&room) {
            left.forward.leave();
            self.drain_forward(room, &mut left);
            self.outputs
                .push_back(Output::Unsubscribe(Topic::Room(room)));
            self.announce(time.now);
        }
        self.settle(time);
    }

    /// Leaves the mesh: says so to everyone and closes all links. Nothing is
    /// joined or dialled any more.
    pub fn close(&mut self, time: Time) {
        self.closed = true;
        self.say_farewell(time);
        let rooms: Vec<RoomId> = self.rooms.keys().copied().collect();
        for room in rooms {
            self.leave(room, time);
        }
    }

    /// Sends a message to everyone in a room.
    pub fn broadcast(
        &mut self,
        room: RoomId,
        channel: &str,
        payload: Bytes,
        time: Time,
    ) -> Result<(), SendError> {
        let channel = ChannelName::new(channel).ok_or(SendError::TooLarge)?;
        let entry = self.rooms.get_mut(&room).ok_or(SendError::NotJoined)?;
        let frame = entry
            .flood
            .send(&self.identity, channel, payload, |peer| {
                self.roster.is_in(peer, room)
            })
            .map_err(|_| SendError::TooLarge)?;
        self.stats.broadcasts_sent += 1;
        self.send_to_room(room, &Frame::Broadcast(frame), Lane::Data, None);
        self.settle(time);
        Ok(())
    }

    /// Sends a message to one member. [`Event::Delivered`](io::Event) or
    /// [`Event::Undelivered`](io::Event) follows with the same id.
    pub fn send(
        &mut self,
        room: RoomId,
        to: PeerId,
        channel: &str,
        payload: Bytes,
        time: Time,
    ) -> Result<MessageId, SendError> {
        let channel = ChannelName::new(channel).ok_or(SendError::TooLarge)?;
        let entry = self.rooms.get_mut(&room).ok_or(SendError::NotJoined)?;
        let member = self
            .roster
            .get(&to)
            .filter(|member| member.presence.rooms.contains(&room));
        let prekey = member.ok_or(SendError::UnknownPeer)?.presence.prekey;
        let around = Surroundings {
            identity: &self.identity,
            prekeys: &self.prekeys,
            neighbours: &entry.neighbours,
        };
        let id = entry.forward.send(
            (to, prekey),
            channel,
            payload,
            &around,
            &mut self.rng,
            time.now,
        )?;
        self.stats.directs_sent += 1;
        self.settle(time);
        Ok(id)
    }

    /// Sets where this node's swarm listens, and tells everyone.
    pub fn set_addresses(&mut self, addresses: Vec<String>, time: Time) {
        if self.config.addresses != addresses {
            self.config.addresses = addresses;
            self.announce(time.now);
        }
    }

    /// Sets what people call this node, and tells everyone.
    pub fn set_nick(&mut self, nick: &str, time: Time) {
        nick.clone_into(&mut self.config.nick);
        self.announce(time.now);
    }

    /// Takes in one input.
    pub fn handle(&mut self, input: Input, time: Time) {
        match input {
            Input::NeighbourUp { peer } => self.neighbour_up(peer, time),
            Input::NeighbourDown { peer } => {
                self.neighbours.remove(&peer);
            }
            Input::Hop { from, bytes } => self.hop(from, &bytes, time),
            Input::HopFailed { id } => self.hop_failed(id, time),
            Input::LocalSignal { link, signal } => self.local_signal(link, signal, time),
            Input::LinkUp { link, peer } => self.link_up(link, peer, time),
            Input::LinkDown { link, cause } => self.link_down(link, cause, time),
            Input::Frame { link, bytes } => self.frame(link, &bytes, time),
        }
        self.settle(time);
    }

    /// Takes in a gossip message written by `from` (the author, where the
    /// transport authenticates it, else the neighbour that passed it on), and
    /// says whether to pass it on.
    pub fn handle_gossip(&mut self, from: PeerId, bytes: &[u8], time: Time) -> Verdict {
        let verdict = match Gossip::decode(bytes) {
            Ok(Gossip::Records(records)) => self.gossip_records(&records, time),
            Ok(Gossip::Flood(envelope)) => self.flooded(from, envelope, time),
            Err(_) => Verdict::Reject,
        };
        if verdict == Verdict::Reject {
            self.stats.refused += 1;
        }
        self.settle(time);
        verdict
    }

    /// The next thing the shell has to do.
    pub fn poll(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// This node's id.
    pub fn peer_id(&self) -> PeerId {
        self.me
    }

    /// Everyone in the mesh, as far as this node knows.
    pub fn roster(&self) -> &Roster {
        &self.roster
    }

    /// The rooms this node is in, with their names.
    pub fn rooms(&self) -> impl Iterator<Item = (RoomId, &str)> {
        self.rooms
            .iter()
            .map(|(id, room)| (*id, room.name.as_str()))
    }

    /// All links, built or being built.
    pub fn links(&self) -> Vec<LinkInfo> {
        self.links.values().map(Link::info).collect()
    }

    /// Links that carry frames, in one room.
    pub fn degree(&self, room: RoomId) -> usize {
        self.rooms
            .get(&room)
            .map_or(0, |room| room.neighbours.len())
    }

    /// What has been counted.
    pub fn stats(&self) -> Stats {
        self.stats
    }

    /// The life this node is in: the configured one, or a later one when
    /// others remember a later one.
    pub fn incarnation(&self) -> Incarnation {
        self.seq.incarnation()
    }

    /// Lets the parts react to each other until nothing changes any more.
    fn settle(&mut self, time: Time) {
        self.drain_roster(time);
        let rooms: Vec<RoomId> = self.rooms.keys().copied().collect();
        for id in rooms {
            self.drain_plan(id, time);
            if let Some(mut room) = self.rooms.remove(&id) {
                self.drain_forward(id, &mut room);
                self.rooms.insert(id, room);
            }
        }
    }

    fn nick(&self) -> BoundedString<MAX_NICK> {
        let mut nick = self.config.nick.clone();
        while nick.len() > MAX_NICK {
            nick.pop();
        }
        BoundedString::new(nick).unwrap_or_default()
    }

    fn presence(&self, unix_ms: u64) -> crate::presence::Presence {
        let addresses = self
            .config
            .addresses
            .iter()
            .cloned()
            .filter_map(BoundedString::new);
        crate::presence::Presence {
            mesh: self.mesh,
            seq: self.seq,
            issued_ms: unix_ms,
            ttl_s: u16::try_from(self.config.presence_ttl.as_secs()).unwrap_or(u16::MAX),
            rooms: BoundedVec::truncated(self.rooms.keys().copied()),
            prekey: self.prekeys.public(),
            addresses: BoundedVec::truncated(addresses.take(MAX_ADDRESSES)),
            nick: self.nick(),
            capabilities: Capabilities::FORWARD,
            load: 0,
        }
    }

    fn output_hop(
        &mut self,
        to: PeerId,
        addresses: Vec<String>,
        frame: &HopFrame,
    ) -> Option<HopId> {
        let bytes = frame.encode().ok()?;
        let id = HopId(self.next_hop);
        self.next_hop += 1;
        self.outputs.push_back(Output::Hop {
            id,
            to,
            addresses,
            bytes,
        });
        Some(id)
    }

    fn event(&mut self, event: io::Event) {
        self.outputs.push_back(Output::Event(event));
    }
}

#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;
