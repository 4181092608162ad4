//! Seeded mutations for every parser of the mesh. What is signed or sealed is
//! mutated before that as well, so that the parsers inside are reached.

#![allow(clippy::unwrap_used, reason = "what is mutated here was well-formed")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use bytes::Bytes;
use data_encoding::{BASE32_NOPAD, BASE64};
use peerloom_mesh_proto::assertion::{self, Scope};
use peerloom_mesh_proto::envelope::{Body, Envelope, Gossip, HopFrame, Inbox, Letter};
use peerloom_mesh_proto::flood::Flood;
use peerloom_mesh_proto::frame::{ChannelName, Frame};
use peerloom_mesh_proto::obituary::Obituary;
use peerloom_mesh_proto::presence::{Capabilities, Presence, Record, Records};
use peerloom_mesh_proto::roster::Roster;
use peerloom_mesh_proto::seal::{Prekeys, seal_with};
use peerloom_mesh_proto::wire::{self, BoundedString, BoundedVec, SignedBytes};
use peerloom_mesh_proto::{
    Config, Identity, Incarnation, Input, MeshTag, Node, RoomId, Seq, SessionId, Ticket, Time,
};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha20Rng;
use serde::Serialize;
use sha2::{Digest, Sha256};

const UNIX: u64 = 1_800_000_000_000;
/// A node is replaced by a new one after so many mutations.
const LIFE: usize = 512;

/// How often each parser refused and took a mutation.
pub(crate) type Report = BTreeMap<&'static str, [u64; 2]>;

#[derive(Serialize)]
struct Plaintext<'a>(
    #[serde(with = "serde_bytes")] &'a [u8],
    #[serde(with = "serde_bytes")] &'a [u8],
);

#[derive(Serialize)]
struct Statement<'a>(
    #[serde(with = "serde_bytes")] &'a [u8],
    #[serde(with = "serde_bytes")] &'a [u8],
    #[serde(with = "serde_bytes")] &'a [u8],
);

struct World {
    rng: ChaCha20Rng,
    ada: Identity,
    bob: Identity,
    prekeys: Prekeys,
    time: Time,
    node: Node,
    roster: Roster,
    inbox: Inbox,
    certificate: Vec<u8>,
    key: EcdsaKeyPair,
}

fn room() -> RoomId {
    RoomId::new("m", "r")
}

fn node(bob: &Identity, rng: &mut ChaCha20Rng, time: Time) -> Node {
    let config = Config::new("m", Incarnation(1));
    let rng = ChaCha20Rng::from_rng(rng);
    let mut node = Node::new(config, Arc::new(bob.clone()), rng, time);
    node.join("r", time);
    node
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
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&key);
        World {
            prekeys: Prekeys::new(&mut rng),
            node: node(&bob, &mut rng, time),
            roster: Roster::new(bob.peer_id(), MeshTag::new("m")),
            inbox: Inbox::new(bob.peer_id(), time.now),
            certificate: certificate.unwrap().der().to_vec(),
            key: EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key.serialize_der())
                .unwrap(),
            rng,
            ada,
            bob,
            time,
        }
    }

    fn presence(&mut self) -> Record {
        Record::Presence(Presence {
            mesh: MeshTag::new("m"),
            seq: Seq(self.rng.random()),
            issued_ms: UNIX,
            ttl_s: 90,
            rooms: BoundedVec::truncated([room()]),
            prekey: self.prekeys.public(),
            addresses: BoundedVec::truncated(BoundedString::new("/ip4/192.0.2.7/udp/1")),
            nick: BoundedString::new("ada").unwrap(),
            capabilities: Capabilities::FORWARD,
            load: 0,
        })
    }

    fn letter(&mut self) -> Letter {
        Letter {
            from: self.ada.peer_id(),
            to: self.bob.peer_id(),
            room: room(),
            session: SessionId::random(&mut self.rng),
            seq: 1,
            sent_ms: UNIX,
            body: Body::Ice {
                generation: 1,
                candidates: BoundedVec::truncated(BoundedString::new("candidate:1 1 udp")),
                end: true,
            },
        }
    }

    /// A letter of which the contents, or the signed whole, is mutated before
    /// it is sealed.
    fn resealed(&mut self, inside: bool) -> Envelope {
        let letter = self.letter();
        let prekey = self.prekeys.public();
        let mut envelope = Envelope::seal(&letter, &self.ada, &prekey, &mut self.rng).unwrap();
        let tag = rmp_serde::to_vec(&envelope.to).unwrap();
        let expires = envelope.expires_s.to_be_bytes();
        let (id, number) = (envelope.id, envelope.prekey.to_be_bytes());
        let aad = [&[1], &tag[2..], id.as_bytes(), &expires, &[0], &number].concat();
        let mut payload = wire::encode(1, 4096, &letter).unwrap().to_vec();
        if inside {
            payload = mutate(&mut self.rng, &payload);
        }
        let (ada, to) = (&self.ada, self.bob.peer_id());
        let mut changes = ChaCha20Rng::from_rng(&mut self.rng);
        let text = |enc: &peerloom_mesh_proto::seal::Encapsulated| {
            let parts: [&[u8]; 5] = [to.as_bytes(), &enc.0, id.as_bytes(), &expires, &payload];
            let sig = ada.sign("peerloom/letter/1", &parts);
            let text = wire::encode(1, 1 << 16, &Plaintext(&payload, &sig)).unwrap();
            if inside {
                text.to_vec()
            } else {
                mutate(&mut changes, &text)
            }
        };
        let (enc, sealed) =
            seal_with(&prekey, b"peerloom/envelope/1", &aad, &mut self.rng, text).unwrap();
        (envelope.enc, envelope.sealed) = (enc, sealed.into());
        envelope
    }

    /// A record mutated before it is signed; in an obituary, the last words
    /// or the obituary itself.
    fn record(&mut self, kind: u8) -> SignedBytes {
        let presence = self.presence();
        let raw = wire::encode(1, 4096, &presence).unwrap();
        let resign = |by: &Identity, raw: Vec<u8>| {
            SignedBytes::sign(by, "peerloom/record/1", Bytes::from(raw))
        };
        if kind == 0 {
            let raw = mutate(&mut self.rng, &raw);
            return resign(&self.ada, raw);
        }
        let other = Identity::from_seed([3; 32]);
        let last = if kind == 1 {
            resign(&other, mutate(&mut self.rng, &raw))
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
        resign(&self.ada, raw)
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
            frame.body = SignedBytes::sign(&self.ada, "peerloom/broadcast/1", raw.into());
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

    fn ticket(&mut self, inside: bool) -> bool {
        let addresses = vec!["/ip4/192.0.2.7/udp/4001/quic-v1".to_owned()];
        let ticket = Ticket::new(self.ada.peer_id(), addresses, "m", Some(vec![7; 8]));
        let text = ticket.unwrap().to_string();
        if !inside {
            let raw = mutate(&mut self.rng, text.as_bytes());
            return String::from_utf8_lossy(&raw).parse::<Ticket>().is_ok();
        }
        let upper = text["peerloom1".len()..].to_ascii_uppercase();
        let raw = BASE32_NOPAD.decode(upper.as_bytes()).unwrap();
        let mut raw = mutate(&mut self.rng, &raw[..raw.len() - 4]);
        let mut hash = Sha256::new();
        for part in [b"peerloom/ticket/1", &raw[..]] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        raw.extend(&hash.finalize()[..4]);
        let text = format!("peerloom1{}", BASE32_NOPAD.encode(&raw));
        text.parse::<Ticket>().is_ok()
    }

    /// An assertion mutated as text, in its claims or in its statement.
    fn assertion(&mut self, kind: u8) -> bool {
        let scope = Scope {
            mesh: MeshTag::new("m"),
            room: room(),
            session: SessionId::from_bytes([1; 8]),
            sdp_session: 77,
            addressee: self.bob.peer_id(),
        };
        let (mut claims, random) = (Vec::new(), SystemRandom::new());
        let key = &self.key;
        let sign = |message: &[u8]| key.sign(&random, message).map(|sig| sig.as_ref().to_vec());
        let context = b"peerloom/possession/1";
        let text = assertion::assert(
            &self.ada,
            Incarnation(1),
            scope,
            &self.certificate,
            |message| {
                claims = message[1 + context.len()..].to_vec();
                sign(message)
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
        let message = [&[context.len() as u8], &context[..], &claims].concat();
        let statement = Statement(&claims, &self.certificate, &sign(&message).unwrap());
        let mut raw = wire::encode(1, 1 << 16, &statement).unwrap().to_vec();
        if kind == 2 {
            raw = mutate(&mut self.rng, &raw);
        }
        let signed = SignedBytes::sign(&self.ada, "peerloom/assertion/1", raw.into());
        let raw = wire::encode(1, 1 << 16, &signed).unwrap();
        assertion::inspect(&BASE64.encode(&raw)).is_ok()
    }

    fn once(&mut self, kind: usize) -> (&'static str, bool) {
        match kind % 12 {
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
