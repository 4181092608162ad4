//! Signaling in the simulation: every node has the engine that routes
//! envelopes, real keys, and an inbox; sessions are offers, answers and
//! candidates between pairs.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::{Duration, Instant};

use peerloom_mesh_proto::envelope::{
    Body, Candidates, Envelope, Gossip, Inbox, Letter, Refusal, RouteTag, Sdp,
};
use peerloom_mesh_proto::hop::{self, End, Frame, Hop, MAX_RELAYS, Output, Parcel, Strategy};
use peerloom_mesh_proto::overlay::ConnId;
use peerloom_mesh_proto::seal::Prekeys;
use peerloom_mesh_proto::wire::BoundedString;
use peerloom_mesh_proto::{Identity, MessageId, PeerId, RoomId, SessionId, Time};
use rand::{TryCryptoRng, TryRng};

use super::dice::{Dice, Stream, mix};
use super::invariants::Violation;
use super::node::Packet;
use super::person::{number_of, peer_id};
use super::schedule::Act;
use super::tally::FRAMING;
use super::world::World;
use crate::scenario::Sessions;

/// What wall clocks show at the beginning: half past an hour.
const UNIX: u64 = 1_800_000_000_000 + 1_800_000;
/// How often a peer tells others whom it has links with, at most.
const PRESENCE: u64 = 30_000;
/// Length of a candidate's line.
const CANDIDATE: usize = 70;
/// Broadcasts that begin so are envelopes.
const FLOODED: [u8; 8] = [0xff; 8];
/// Longer than an envelope lives, skew included.
const OVER: u64 = 130_000;

fn room() -> RoomId {
    RoomId::new("sim", "everybody")
}

/// A node's keys are its own in every life.
fn identity(seed: u64, index: u32) -> Identity {
    let mut bytes = [0; 32];
    for (n, chunk) in (0_u64..).zip(bytes.chunks_mut(8)) {
        chunk.copy_from_slice(&mix(seed ^ mix(u64::from(index) << 8 | n)).to_le_bytes());
    }
    Identity::from_seed(bytes)
}

/// Dice that keys are drawn from: a simulation has no secrets.
#[derive(Debug)]
struct KeyDice(Dice);

impl TryRng for KeyDice {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        self.0.try_next_u32()
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        self.0.try_next_u64()
    }

    fn try_fill_bytes(&mut self, out: &mut [u8]) -> Result<(), Infallible> {
        self.0.try_fill_bytes(out)
    }
}

impl TryCryptoRng for KeyDice {}

/// What a life with signaling begins with.
#[derive(Debug, Clone, Copy)]
pub(super) struct SignalLife {
    pub(super) seed: u64,
    pub(super) index: u32,
    pub(super) number: u32,
    pub(super) at: Instant,
    /// Whether the room is small enough for floods.
    pub(super) floods: bool,
}

/// What a node needs for signaling.
#[derive(Debug)]
pub(crate) struct Signal {
    pub(crate) hop: Hop,
    id: PeerId,
    identity: Identity,
    prekeys: Prekeys,
    inbox: Inbox,
    dice: KeyDice,
    /// Whom its last presence named as relays, and when that was.
    relays: Vec<u32>,
    told: Option<u64>,
}

impl Signal {
    pub(super) fn new(life: SignalLife) -> Self {
        let SignalLife {
            seed, index, at, ..
        } = life;
        let identity = identity(seed, index);
        let id = identity.peer_id();
        let mut dice = KeyDice(Dice::new(seed, index, life.number, Stream::Signal));
        let config = hop::Config {
            flood: life.floods,
            ..hop::Config::default()
        };
        let mut hop = Hop::new(config, id, at);
        hop.set_rooms([room()], at);
        Signal {
            hop,
            id,
            identity,
            prekeys: Prekeys::new(&mut dice),
            inbox: Inbox::new(id, at),
            dice,
            relays: Vec::new(),
            told: None,
        }
    }
}

/// One attempt of two peers to connect.
#[derive(Debug, Clone)]
pub(super) struct Session {
    pub(super) at: u64,
    pub(super) parties: [(u32, u32); 2],
    /// Whether a partition was between them.
    pub(super) cut: bool,
    /// What each party opened first: its letters take that way.
    ways: [Option<MessageId>; 2],
    /// Letters opened.
    opened: u32,
    /// When the offer was opened, and when everything was.
    pub(super) offered: Option<u64>,
    pub(super) done: Option<u64>,
}

/// An envelope and whose it is.
#[derive(Debug, Clone, Copy)]
struct Sent {
    session: usize,
    from: u32,
    life: u32,
    at: u64,
    ended: bool,
}

/// All signaling of a run.
#[derive(Debug)]
pub(super) struct Signaling {
    config: Sessions,
    pub(super) sessions: Vec<Session>,
    sent: BTreeMap<MessageId, Sent>,
    /// Envelopes by what became of them, delivered ones by strategy.
    pub(super) by_strategy: [u64; 6],
    pub(super) nacked: u64,
    pub(super) expired: u64,
    /// Links of all envelopes that arrived.
    pub(super) hops: u64,
    pub(super) arrived: u64,
}

impl Signaling {
    pub(super) fn new(config: Sessions) -> Self {
        Signaling {
            config,
            sessions: Vec::new(),
            sent: BTreeMap::new(),
            by_strategy: [0; 6],
            nacked: 0,
            expired: 0,
            hops: 0,
            arrived: 0,
        }
    }

    /// Letters of one session.
    fn letters(&self) -> u32 {
        2 + 2 * self.config.letters
    }
}

impl World {
    /// Calls a node's engine and carries out what it wants.
    fn with_hop(
        &mut self,
        index: u32,
        call: impl FnOnce(&mut Hop, Time, &mut Dice, &mut Vec<Output>),
    ) {
        let (now, base) = (self.now(), self.base);
        let Some(node) = self.node(index) else { return };
        let time = time(base, node.clock.local(now));
        let Some(signal) = node.signal.as_mut() else {
            return;
        };
        let mut out = Vec::new();
        call(&mut signal.hop, time, &mut node.dice, &mut out);
        let sizes = signal.hop.sizes();
        if !sizes.are_bounded() {
            self.accuse("tables within bounds", vec![index], format!("{sizes:?}"));
        }
        for output in out {
            self.carry_out_hop(index, output);
        }
        self.rearm(index);
    }

    fn carry_out_hop(&mut self, index: u32, output: Output) {
        match output {
            Output::Send { to, frame } => self.send_frame(index, &to, frame),
            Output::Deliver {
                name,
                envelope,
                hops,
            } => self.open(index, name, &envelope, hops),
            Output::Flood { envelope } => {
                if let Ok(bytes) = Gossip::Flood(envelope).encode() {
                    self.counters.signal += bytes.len() as u64;
                    self.publish(index, [&FLOODED, &bytes[..]].concat());
                }
            }
            Output::Ended { name, end } => self.ended(index, name, end),
        }
    }

    fn send_frame(&mut self, index: u32, to: &PeerId, frame: Frame) {
        let lost = self.signaling.as_ref().map_or(0.0, |s| s.config.lost.0);
        let is_digest = matches!(frame, Frame::Digest(_));
        let dropping = self
            .slot(index)
            .is_some_and(|slot| slot.act == Act::DropForwards);
        if dropping && matches!(&frame, Frame::Route(route) if route.envelope.hops > 1) {
            return;
        }
        let Some(node) = self.node(index) else { return };
        let Some(link) = node.overlay.links().find(|link| link.peer == number_of(to)) else {
            return;
        };
        let packet = Packet::Hop(Box::new(frame));
        let bytes = packet.bytes() + FRAMING;
        if is_digest {
            self.counters.digests += bytes;
        } else {
            self.counters.signal += bytes;
        }
        let signal = self.node(index).and_then(|node| node.signal.as_mut());
        if !is_digest && signal.is_some_and(|signal| signal.dice.0.chance(lost)) {
            return;
        }
        self.send(index, link.conn.0, packet);
    }

    /// A frame arrives over a link.
    pub(super) fn hop_frame(&mut self, index: u32, conn: u32, frame: Frame) {
        let Some(node) = self.node(index) else { return };
        let link = node.overlay.links().find(|link| link.conn == ConnId(conn));
        let Some(number) = link.map(|link| link.peer) else {
            return;
        };
        let peer = peer_id(self.seed, number);
        self.with_hop(index, |hop, time, dice, out| {
            hop.handle_frame(peer, frame, time, dice, out);
        });
    }

    /// The overlay has made or lost a link.
    pub(super) fn hop_link(&mut self, index: u32, number: u32, up: bool) {
        let now = self.now();
        let peer = peer_id(self.seed, number);
        self.with_hop(index, |hop, time, dice, out| {
            if up {
                hop.link_up(peer, time, dice, out);
            } else {
                hop.link_down(&peer, time, dice, out);
            }
        });
        let Some(node) = self.node(index) else { return };
        let links = node.overlay.links().map(|link| link.peer);
        let links: Vec<u32> = links.take(MAX_RELAYS).collect();
        if let Some(signal) = node.signal.as_mut() {
            let early = signal.told.is_some_and(|told| told + PRESENCE > now);
            if !early || signal.relays.is_empty() {
                signal.relays = links;
                signal.told = Some(now);
            }
        }
    }

    /// News of `about` came over a link first.
    pub(super) fn hop_learn(&mut self, index: u32, conn: u32, about: u32) {
        let (now, base, seed) = (self.now(), self.base, self.seed);
        let Some(tag) = self.tag(about) else { return };
        let Some(node) = self.node(index) else { return };
        let link = node.overlay.links().find(|link| link.conn == ConnId(conn));
        let at = time(base, node.clock.local(now)).now;
        if let (Some(link), Some(signal)) = (link, node.signal.as_mut()) {
            signal.hop.learn(tag, peer_id(seed, link.peer), at);
        }
    }

    pub(super) fn hop_wake(&mut self, index: u32) {
        let (now, base) = (self.now(), self.base);
        let Some(node) = self.node(index) else { return };
        let at = time(base, node.clock.local(now)).now;
        let due = node.signal.as_ref();
        if due.is_some_and(|signal| signal.hop.deadline().at <= at) {
            self.with_hop(index, |hop, time, dice, out| {
                hop.handle_timeout(time, dice, out);
            });
        }
    }

    /// A broadcast that is an envelope; whether it is one.
    pub(super) fn hop_flood(&mut self, index: u32, payload: &[u8]) -> bool {
        let Some(bytes) = payload.strip_prefix(&FLOODED) else {
            return false;
        };
        if let Ok(Gossip::Flood(envelope)) = Gossip::decode(bytes) {
            self.counters.signal += payload.len() as u64 + FRAMING;
            self.with_hop(index, |hop, time, dice, out| {
                hop.handle_flood(envelope, time, dice, out);
            });
        }
        true
    }

    /// The present tag of a living node.
    fn tag(&mut self, index: u32) -> Option<RouteTag> {
        let now = self.now();
        let id = self.node(index)?.signal.as_ref()?.id;
        Some(RouteTag::new(&id, &room(), UNIX + now))
    }

    /// Two peers begin to connect.
    pub(super) fn call(&mut self, from: u32, to: u32) {
        let life = |world: &mut World, index| {
            let slot = world.slot(index).filter(|slot| slot.node.is_some());
            slot.map(|slot| (index, slot.life))
        };
        let (caller, callee) = (life(self, from), life(self, to));
        let cut = self.blocks(from, to) || self.blocks(to, from);
        let at = self.now();
        let (Some(caller), Some(callee), Some(signaling)) =
            (caller, callee, self.signaling.as_mut())
        else {
            return;
        };
        let number = signaling.sessions.len();
        signaling.sessions.push(Session {
            at,
            parties: [caller, callee],
            cut,
            ways: [None; 2],
            opened: 0,
            offered: None,
            done: None,
        });
        self.write(number, 0);
    }

    /// Seals and sends letter `step` of a session: 0 is the offer, 1 the
    /// answer, even ones are the caller's and odd ones the callee's.
    fn write(&mut self, number: usize, step: u32) {
        let (now, base) = (self.now(), self.base);
        let Some(signaling) = self.signaling.as_ref() else {
            return;
        };
        let Some(session) = signaling.sessions.get(number) else {
            return;
        };
        let [caller, callee] = session.parties;
        let ((from, life), (to, _)) = match step % 2 {
            0 => (caller, callee),
            _ => (callee, caller),
        };
        let [first, second] = session.ways;
        let along = if step.is_multiple_of(2) {
            first
        } else {
            second
        };
        let body = body(&signaling.config, step);
        let target = self.node(to).and_then(|node| node.signal.as_ref());
        let Some(target) = target else { return };
        let (id, prekey, relays) = (target.id, target.prekeys.public(), target.relays.clone());
        let peer = peer_id(self.seed, to);
        // A way that is known needs no hints.
        let relays = relays.iter().filter(|_| along.is_none());
        let relays = relays.filter_map(|relay| self.tag(*relay)).collect();
        let node = self.slot(from).filter(|slot| slot.life == life);
        let Some(node) = node.and_then(|slot| slot.node.as_mut()) else {
            return;
        };
        let time = time(base, node.clock.local(now));
        let Some(signal) = node.signal.as_mut() else {
            return;
        };
        let letter = Letter {
            from: signal.id,
            to: id,
            room: room(),
            session: SessionId::from_bytes((number as u64).to_le_bytes()),
            seq: step,
            sent_ms: time.unix_ms,
            body,
        };
        let dice = &mut signal.dice;
        let sealed = Envelope::seal_proved(&letter, &signal.identity, &prekey, dice);
        let Ok((envelope, proof)) = sealed else {
            self.accuse("letters fit", vec![from], format!("letter {step}"));
            return;
        };
        let parcel = Parcel {
            to: peer,
            envelope,
            proof,
            relays,
            along,
        };
        self.post((from, life), number, parcel);
    }

    fn post(&mut self, (from, life): (u32, u32), number: usize, parcel: Parcel) {
        let name = MessageId::from_bytes(parcel.envelope.digest());
        let at = self.now();
        if let Some(signaling) = self.signaling.as_mut() {
            let sent = Sent {
                session: number,
                from,
                life,
                at,
                ended: false,
            };
            signaling.sent.insert(name, sent);
        }
        let mut refused = false;
        self.with_hop(from, |hop, time, dice, out| {
            refused = hop.send(parcel, time, dice, out).is_err();
        });
        if refused && let Some(signaling) = self.signaling.as_mut() {
            signaling.sent.remove(&name);
            signaling.nacked += 1;
        }
    }

    fn open(&mut self, index: u32, name: MessageId, envelope: &Envelope, hops: u8) {
        let (now, base) = (self.now(), self.base);
        let Some(node) = self.node(index) else { return };
        let time = time(base, node.clock.local(now));
        let Some(signal) = node.signal.as_mut() else {
            return;
        };
        let opened = signal
            .inbox
            .open_proved(envelope, &signal.prekeys, [room()], time);
        match opened {
            Ok((letter, proof)) => {
                let author = RouteTag::new(&letter.from, &room(), time.unix_ms);
                self.with_hop(index, |hop, time, dice, out| {
                    hop.acknowledge(name, proof, author, time, dice, out);
                });
                self.read(index, name, &letter, hops);
            }
            Err(_) => self.with_hop(index, |hop, time, dice, out| {
                hop.refuse(name, Refusal::Unreadable, time, dice, out);
            }),
        }
    }

    fn read(&mut self, index: u32, name: MessageId, letter: &Letter, hops: u8) {
        let now = self.now();
        let Some(signaling) = self.signaling.as_mut() else {
            return;
        };
        let (all, more) = (signaling.letters(), signaling.config.letters);
        let number = u64::from_le_bytes(*letter.session.as_bytes());
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        let step = letter.seq;
        signaling.hops += u64::from(hops);
        signaling.arrived += 1;
        let Some(session) = signaling.sessions.get_mut(number) else {
            return;
        };
        let [caller, callee] = session.parties;
        let addressee = if step.is_multiple_of(2) {
            callee
        } else {
            caller
        };
        session.opened += 1;
        if session.opened == all {
            session.done = Some(now);
        }
        let [first, second] = &mut session.ways;
        match step {
            0 => {
                session.offered = Some(now);
                *second = Some(name);
            }
            1 => *first = Some(name),
            _ => {}
        }
        if addressee.0 != index || session.opened > all {
            let detail = format!("letter {step} of session {number}");
            self.accuse("only the addressee opens it, once", vec![index], detail);
            return;
        }
        match step {
            0 => (0..=more).for_each(|n| self.write(number, 2 * n + 1)),
            1 => (1..=more).for_each(|n| self.write(number, 2 * n)),
            _ => {}
        }
    }

    fn ended(&mut self, index: u32, name: MessageId, end: End) {
        let Some(signaling) = self.signaling.as_mut() else {
            return;
        };
        match end {
            End::Delivered { strategy, .. } => {
                let strategies = [
                    Strategy::Direct,
                    Strategy::Trail,
                    Strategy::Greedy,
                    Strategy::Relay,
                    Strategy::Mailbox,
                    Strategy::Flood,
                ];
                let at = strategies.iter().position(|other| *other == strategy);
                if let Some(count) = at.and_then(|at| signaling.by_strategy.get_mut(at)) {
                    *count += 1;
                }
            }
            End::Nacked(_) => signaling.nacked += 1,
            End::Expired => signaling.expired += 1,
        }
        let sent = signaling.sent.get_mut(&name);
        let once = sent.is_some_and(|sent| !std::mem::replace(&mut sent.ended, true));
        if !once {
            self.accuse(
                "an envelope ends exactly once",
                vec![index],
                name.to_string(),
            );
        }
    }

    /// Envelopes that should have ended long ago.
    pub(super) fn lost_envelope(&self) -> Option<Violation> {
        let now = self.now();
        let signaling = self.signaling.as_ref()?;
        let lost = signaling.sent.values().find(|sent| {
            let slot = usize::try_from(sent.from)
                .ok()
                .and_then(|n| self.slots.get(n));
            let lives = slot.is_some_and(|s| s.node.is_some() && s.life == sent.life);
            lives && !sent.ended && sent.at + OVER < now
        })?;
        Some(Violation {
            at: now,
            invariant: "an envelope ends exactly once",
            nodes: vec![lost.from],
            detail: format!(
                "session {}, sent at {} ms, has no end",
                lost.session, lost.at
            ),
        })
    }

    fn accuse(&mut self, invariant: &'static str, nodes: Vec<u32>, detail: String) {
        let at = self.now();
        self.violation.get_or_insert(Violation {
            at,
            invariant,
            nodes,
            detail,
        });
    }
}

fn time(base: Instant, local: u64) -> Time {
    Time {
        now: base + Duration::from_millis(local),
        unix_ms: UNIX + local,
    }
}

/// What letter `step` says, with as many bytes as the scenario wants.
fn body(config: &Sessions, step: u32) -> Body {
    let text = |len: usize| BoundedString::new("x".repeat(len)).unwrap_or_default();
    let sdp = || {
        let len = usize::try_from(config.description).unwrap_or(usize::MAX);
        let text = BoundedString::new("x".repeat(len)).unwrap_or_default();
        Sdp::Full(text)
    };
    match step {
        0 => Body::Offer {
            generation: 1,
            sdp: sdp(),
            presence: None,
        },
        1 => Body::Answer {
            generation: 1,
            sdp: sdp(),
        },
        _ => Body::Ice {
            generation: 1,
            candidates: Candidates::truncated((0..config.candidates).map(|_| text(CANDIDATE))),
            end: false,
        },
    }
}
