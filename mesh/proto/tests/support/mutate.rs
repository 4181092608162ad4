//! Seeded mutations for every parser of the mesh. What is signed or sealed is
//! mutated before that as well, so that the parsers inside are reached.

#![allow(clippy::unwrap_used, reason = "what is mutated here was well-formed")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use peerloom_mesh_proto::assertion;
use peerloom_mesh_proto::broadcast;
use peerloom_mesh_proto::envelope::{Envelope, Gossip, HopFrame, Inbox};
use peerloom_mesh_proto::flood::Flood;
use peerloom_mesh_proto::frame::{ChannelName, Frame};
use peerloom_mesh_proto::hop::{self, Hop, Parcel};
use peerloom_mesh_proto::obituary::Obituary;
use peerloom_mesh_proto::overlay::{self, Class, Contact, Contacts, Named};
use peerloom_mesh_proto::presence::{Record, Records};
use peerloom_mesh_proto::roster::Roster;
use peerloom_mesh_proto::seal::Prekeys;
use peerloom_mesh_proto::wire::{self, SignedBytes};
use peerloom_mesh_proto::{
    Config, Identity, Incarnation, Input, MeshTag, Node, PeerId, SessionId, Ticket, Time,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;

use forge::{UNIX, room};

#[path = "forge.rs"]
mod forge;

/// A node is replaced by a new one after so many mutations.
const LIFE: usize = 512;

/// How often each parser refused and took a mutation.
pub(crate) type Report = BTreeMap<&'static str, [u64; 2]>;

struct World {
    rng: ChaCha20Rng,
    ada: Identity,
    bob: Identity,
    prekeys: Prekeys,
    time: Time,
    node: Node,
    roster: Roster,
    inbox: Inbox,
    hop: Hop,
    certificate: forge::Certificate,
}

fn node(bob: &Identity, rng: &mut ChaCha20Rng, time: Time) -> Node {
    let config = Config::new("m", Incarnation(1));
    let rng = ChaCha20Rng::from_rng(rng);
    let mut node = Node::new(config, Arc::new(bob.clone()), rng, time);
    node.join("r", time);
    node
}

/// The router of a node with two neighbours.
fn hop(bob: &Identity, time: Time) -> Hop {
    let (mut rng, mut out) = (ChaCha20Rng::seed_from_u64(1), Vec::new());
    let mut hop = Hop::new(hop::Config::default(), bob.peer_id(), time.now);
    hop.set_rooms([room()], time.now);
    for neighbour in [1, 3] {
        let peer = Identity::from_seed([neighbour; 32]).peer_id();
        hop.link_up(peer, time, &mut rng, &mut out);
    }
    hop
}

/// One to three changes: bits, bytes, lengths, MessagePack markers.
fn mutate(rng: &mut ChaCha20Rng, bytes: &[u8]) -> Vec<u8> {
    const MARKERS: [u8; 12] = [
        0x90, 0x9f, 0xc0, 0xc4, 0xc6, 0xca, 0xcf, 0xd9, 0xdb, 0xdd, 0xdf, 0xff,
    ];
    let mut out = bytes.to_vec();
    for _ in 0..rng.random_range(1..4) {
        if out.is_empty() {
            return out;
        }
        let at = rng.random_range(0..out.len());
        match rng.random_range(0..6) {
            0 => out[at] ^= 1 << rng.random_range(0..8),
            1 => out[at] = rng.random(),
            2 => out[at] = MARKERS[rng.random_range(0..MARKERS.len())],
            3 => out.truncate(at),
            4 => out.insert(at, rng.random()),
            _ => {
                let end = (at + rng.random_range(1..32)).min(out.len());
                let part = out[at..end].to_vec();
                out.splice(at..at, part);
            }
        }
    }
    out
}

impl World {
    fn new(seed: u64) -> World {
        let mut rng = ChaCha20Rng::seed_from_u64(seed);
        let (ada, bob) = (Identity::from_seed([1; 32]), Identity::from_seed([2; 32]));
        let time = Time {
            now: start(),
            unix_ms: UNIX,
        };
        World {
            prekeys: Prekeys::new(&mut rng),
            node: node(&bob, &mut rng, time),
            roster: Roster::new(bob.peer_id(), MeshTag::new("m")),
            inbox: Inbox::new(bob.peer_id(), time.now),
            hop: hop(&bob, time),
            certificate: forge::Certificate::new(),
            rng,
            ada,
            bob,
            time,
        }
    }

    fn presence(&mut self) -> Record {
        forge::presence(self.rng.random(), self.prekeys.public())
    }

    /// A letter of which the contents, or the signed whole, is mutated before
    /// it is sealed.
    fn resealed(&mut self, inside: bool) -> Envelope {
        let letter = forge::letter(&self.ada, &self.bob, SessionId::random(&mut self.rng));
        let mut payload = forge::letter_bytes(&letter);
        if inside {
            payload = mutate(&mut self.rng, &payload);
        }
        let mut changes = ChaCha20Rng::from_rng(&mut self.rng);
        let finish = |text: Vec<u8>| {
            if inside {
                text
            } else {
                mutate(&mut changes, &text)
            }
        };
        let prekey = self.prekeys.public();
        forge::envelope(&letter, &payload, &self.ada, &prekey, &mut self.rng, finish)
    }

    /// A record mutated before it is signed; in an obituary, the last words
    /// or the obituary itself.
    fn record(&mut self, kind: u8) -> SignedBytes {
        let presence = self.presence();
        let raw = wire::encode(1, 4096, &presence).unwrap();
        if kind == 0 {
            let raw = mutate(&mut self.rng, &raw);
            return forge::record(&self.ada, raw);
        }
        let other = Identity::from_seed([3; 32]);
        let last = if kind == 1 {
            forge::record(&other, mutate(&mut self.rng, &raw))
        } else {
            presence.sign(&other).unwrap()
        };
        let obituary = Record::Obituary(Obituary {
            mesh: MeshTag::new("m"),
            issued_ms: UNIX,
            last,
        });
        let mut raw = wire::encode(1, 1 << 16, &obituary).unwrap().to_vec();
        if kind == 2 {
            raw = mutate(&mut self.rng, &raw);
        }
        forge::record(&self.ada, raw)
    }

    /// Whether a record is taken, by the roster and by a whole node.
    fn take_record(&mut self, record: SignedBytes) -> bool {
        let taken = self.roster.apply(&record, self.time).is_ok();
        while self.roster.poll_event().is_some() {}
        if let Ok(bytes) = Gossip::Records(Records::truncated([record])).encode() {
            self.node
                .handle_gossip(self.ada.peer_id(), &bytes, self.time);
        }
        taken
    }

    fn broadcast(&mut self, inside: bool) -> bool {
        let mut flood = Flood::new(room(), Incarnation(1));
        let channel = ChannelName::new("chat").unwrap();
        let said = flood.send(&self.ada, channel, Bytes::from_static(b"hello"), |_| true);
        let mut frame = said.unwrap();
        if inside {
            let raw = mutate(&mut self.rng, frame.body.payload());
            frame.body = forge::broadcast(&self.ada, raw);
            let mut fresh = Flood::new(room(), Incarnation(1));
            return fresh.receive(&frame, |_| true).is_ok();
        }
        let frames = [
            Frame::Broadcast(frame),
            Frame::Hello {
                incarnation: Incarnation(1),
                degree: 3,
            },
            Frame::Envelope(self.resealed(true)),
            Frame::Records(Records::truncated([self.record(0)])),
        ];
        let at = self.rng.random_range(0..frames.len());
        let raw = frames[at].encode().unwrap();
        Frame::decode(&mutate(&mut self.rng, &raw)).is_ok()
    }

    fn hop(&mut self) -> bool {
        let envelope = self.resealed(true);
        let raw = HopFrame::Forward(envelope).encode().unwrap();
        let bytes: Bytes = mutate(&mut self.rng, &raw).into();
        let taken = HopFrame::decode(&bytes).is_ok();
        let from = self.ada.peer_id();
        self.node.handle_gossip(from, &bytes, self.time);
        self.node.handle(Input::Hop { from, bytes }, self.time);
        taken
    }

    /// A frame of the router: an envelope on its way or what is around, from
    /// one router to another.
    fn routed(&mut self) -> bool {
        let ada = self.ada.peer_id();
        let mut frames = Vec::new();
        let mut other = hop(&self.bob, self.time);
        let letter = forge::letter(&self.bob, &self.ada, SessionId::random(&mut self.rng));
        let prekey = self.prekeys.public();
        let sealed = Envelope::seal_proved(&letter, &self.bob, &prekey, &mut self.rng);
        let (envelope, proof) = sealed.unwrap();
        let parcel = Parcel {
            to: Identity::from_seed([9; 32]).peer_id(),
            relays: vec![envelope.to],
            along: None,
            envelope,
            proof,
        };
        let sent = other.send(parcel, self.time, &mut self.rng, &mut frames);
        sent.unwrap();
        other.link_up(self.bob.peer_id(), self.time, &mut self.rng, &mut frames);
        let frames = frames.into_iter().filter_map(|output| match output {
            hop::Output::Send { frame, .. } => Some(frame),
            hop::Output::Deliver { .. } | hop::Output::Flood { .. } | hop::Output::Ended { .. } => {
                None
            }
        });
        let frames: Vec<hop::Frame> = frames.collect();
        let raw = frames[self.rng.random_range(0..frames.len())]
            .encode()
            .unwrap();
        let Ok(HopFrame::Hop(frame)) = HopFrame::decode(&mutate(&mut self.rng, &raw)) else {
            return false;
        };
        // Its credit comes back.
        self.time = self.time.after(Duration::from_millis(10));
        let mut out = Vec::new();
        self.hop
            .handle_frame(ada, frame, self.time, &mut self.rng, &mut out);
        self.hop.handle_timeout(self.time, &mut self.rng, &mut out);
        assert!(self.hop.sizes().are_bounded());
        true
    }

    fn ticket(&mut self, inside: bool) -> bool {
        let addresses = vec!["/ip4/192.0.2.7/udp/4001/quic-v1".to_owned()];
        let ticket = Ticket::new(self.ada.peer_id(), addresses, "m", Some(vec![7; 8]));
        let text = ticket.unwrap().to_string();
        if !inside {
            let raw = mutate(&mut self.rng, text.as_bytes());
            return String::from_utf8_lossy(&raw).parse::<Ticket>().is_ok();
        }
        let raw = mutate(&mut self.rng, &forge::ticket_bytes(&text));
        let text = forge::ticket(&raw);
        text.parse::<Ticket>().is_ok()
    }

    /// An assertion mutated as text, in its claims or in its statement.
    fn assertion(&mut self, kind: u8) -> bool {
        let mut claims = Vec::new();
        let certificate = &self.certificate;
        let text = assertion::assert(
            &self.ada,
            Incarnation(1),
            forge::scope(&self.bob),
            &certificate.der,
            |message| {
                claims = message[1 + forge::POSSESSION.len()..].to_vec();
                Ok::<_, std::convert::Infallible>(certificate.sign(message))
            },
            &mut self.rng,
            UNIX,
        )
        .unwrap();
        if kind == 0 {
            let raw = mutate(&mut self.rng, text.as_bytes());
            return assertion::inspect(&String::from_utf8_lossy(&raw)).is_ok();
        }
        if kind == 1 {
            claims = mutate(&mut self.rng, &claims);
        }
        let mut statement = certificate.statement(&claims);
        if kind == 2 {
            statement = mutate(&mut self.rng, &statement);
        }
        assertion::inspect(&forge::assertion(&self.ada, statement)).is_ok()
    }

    fn overlay(&mut self) -> bool {
        let contact = |n| {
            let address = ([192, 0, 2, n], 4_001).into();
            Contact::new(PeerId::from_bytes([n; 32]), address, Class::Native)
        };
        let me = contact(1);
        let contacts = Contacts::truncated((2..9).map(contact));
        let named = Box::new(Named { me, contacts });
        let raw = overlay::Message::Shuffle(named).encode().unwrap();
        overlay::Message::decode(&mutate(&mut self.rng, &raw)).is_ok()
    }

    fn tree(&mut self) -> bool {
        let payload = Bytes::from_static(b"hello");
        let message = if self.rng.random() {
            broadcast::Message::Push { payload, hops: 3 }
        } else {
            let id = Some(broadcast::message_id(&payload));
            broadcast::Message::Graft { id }
        };
        let raw = message.encode().unwrap();
        broadcast::Message::decode(&mutate(&mut self.rng, &raw)).is_ok()
    }

    fn once(&mut self, kind: usize) -> (&'static str, bool) {
        match kind % 15 {
            0 => ("hop frame and gossip", self.hop()),
            at @ (1 | 2) => {
                let envelope = self.resealed(at == 1);
                let taken = self
                    .inbox
                    .open(&envelope, &self.prekeys, [room()], self.time)
                    .is_ok();
                let names = ["letter, before signing", "letter, before sealing"];
                (names[at - 1], taken)
            }
            3 => ("frame", self.broadcast(false)),
            4 => ("broadcast, before signing", self.broadcast(true)),
            at @ 5..=7 => {
                let record = self.record((at - 5) as u8);
                let names = ["presence", "last words", "obituary"];
                (names[at - 5], self.take_record(record))
            }
            8 => ("ticket text", self.ticket(false)),
            9 => ("ticket, before its checksum", self.ticket(true)),
            10 => ("assertion text", self.assertion(0)),
            11 => ("overlay message", self.overlay()),
            12 => ("tree message", self.tree()),
            13 => ("router's frame", self.routed()),
            _ if self.rng.random() => ("claims, before signing", self.assertion(1)),
            _ => ("statement, before signing", self.assertion(2)),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the virtual clock needs some instant to start from"
)]
fn start() -> Instant {
    Instant::now()
}

/// Feeds `count` mutations to all parsers in turn.
pub(crate) fn run(seed: u64, count: usize) -> Report {
    let (mut world, mut report) = (World::new(seed), Report::new());
    for at in 0..count {
        if at % LIFE == LIFE - 1 {
            world.node = node(&world.bob, &mut world.rng, world.time);
            world.roster = Roster::new(world.bob.peer_id(), MeshTag::new("m"));
        }
        let (name, taken) = world.once(at);
        report.entry(name).or_default()[usize::from(taken)] += 1;
        while world.node.poll().is_some() {}
    }
    report
}
