//! What a mesh carries: gossip, envelopes, records, frames, broadcasts, tickets.

use std::sync::{Arc, LazyLock};
use std::time::Instant;

use bytes::Bytes;
use peerloom_mesh_proto::envelope::{Envelope, Gossip, HopFrame, Inbox, Letter};
use peerloom_mesh_proto::flood::Flood;
use peerloom_mesh_proto::frame::{BroadcastFrame, ChannelName, Frame};
use peerloom_mesh_proto::obituary::Obituary;
use peerloom_mesh_proto::presence::{Record, Records};
use peerloom_mesh_proto::roster::Roster;
use peerloom_mesh_proto::seal::Prekeys;
use peerloom_mesh_proto::wire::SignedBytes;
use peerloom_mesh_proto::{
    Config, Identity, Incarnation, Input, MeshTag, Node, SessionId, Ticket, Time,
};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::mesh_forge::{self as forge, UNIX, room};
use super::script::Reader;

/// How many kinds of input there are.
pub(crate) const KINDS: u8 = 10;

pub(crate) struct World {
    pub(crate) ada: Identity,
    bob: Identity,
    other: Identity,
    prekeys: Prekeys,
    time: Time,
    rng: ChaCha20Rng,
}

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    World {
        ada: Identity::from_seed([1; 32]),
        bob: Identity::from_seed([2; 32]),
        other: Identity::from_seed([3; 32]),
        prekeys: Prekeys::new(&mut rng),
        time: Time {
            now: Instant::now(),
            unix_ms: UNIX,
        },
        rng,
    }
});

/// The first byte says what the rest is and what is made right around it. Gets anywhere if it is
/// taken.
pub fn envelope(data: &[u8]) -> bool {
    let mut reader = Reader(data);
    let kind = reader.byte().unwrap_or_default() % KINDS;
    let (raw, world) = (reader.0, &*WORLD);
    match kind {
        0 => world.hop(raw),
        1 => world.gossip(raw),
        2 => frame(raw),
        3 => ticket(&String::from_utf8_lossy(raw)),
        4 => ticket(&forge::ticket(raw)),
        5 | 6 => world.letter(kind == 5, raw),
        7 => world.record(&[], forge::record(&world.ada, raw.to_vec())),
        8 => world.last_words(raw),
        _ => world.broadcast(raw),
    }
}

fn frame(raw: &[u8]) -> bool {
    let Ok(frame) = Frame::decode(raw) else {
        return false;
    };
    let encoded = frame.encode().expect("what was read can be written");
    let again = Frame::decode(&encoded).expect("what was written can be read");
    assert_eq!(again.encode().ok(), Some(encoded));
    true
}

fn ticket(text: &str) -> bool {
    let Ok(ticket) = text.parse::<Ticket>() else {
        return false;
    };
    let again = ticket.to_string().parse::<Ticket>();
    assert_eq!(
        again.ok().map(|again| again.to_string()),
        Some(ticket.to_string())
    );
    true
}

impl World {
    fn node(&self) -> Node {
        let config = Config::new("m", Incarnation(1));
        let mut node = Node::new(
            config,
            Arc::new(self.bob.clone()),
            self.rng.clone(),
            self.time,
        );
        node.join("r", self.time);
        node
    }

    fn hop(&self, raw: &[u8]) -> bool {
        let (from, bytes) = (self.ada.peer_id(), Bytes::copy_from_slice(raw));
        let taken = HopFrame::decode(raw).is_ok();
        let mut node = self.node();
        node.handle(Input::Hop { from, bytes }, self.time);
        while node.poll().is_some() {}
        taken
    }

    fn gossip(&self, raw: &[u8]) -> bool {
        let mut node = self.node();
        node.handle_gossip(self.ada.peer_id(), raw, self.time);
        while node.poll().is_some() {}
        Gossip::decode(raw).is_ok()
    }

    /// The contents of a letter, or the letter with a signature.
    fn letter(&self, contents: bool, raw: &[u8]) -> bool {
        let mut rng = self.rng.clone();
        let letter = forge::letter(&self.ada, &self.bob, SessionId::from_bytes([1; 8]));
        let prekey = self.prekeys.public();
        let payload = if contents { raw } else { &[] };
        let finish = |whole| if contents { whole } else { raw.to_vec() };
        let envelope = forge::envelope(&letter, payload, &self.ada, &prekey, &mut rng, finish);
        let mut inbox = Inbox::new(self.bob.peer_id(), self.time.now);
        inbox
            .open(&envelope, &self.prekeys, [room()], self.time)
            .is_ok()
    }

    /// A record, after others.
    fn record(&self, before: &[SignedBytes], record: SignedBytes) -> bool {
        let mut roster = Roster::new(self.bob.peer_id(), MeshTag::new("m"));
        for known in before {
            assert!(roster.apply(known, self.time).is_ok());
        }
        let taken = roster.apply(&record, self.time).is_ok();
        while roster.poll_event().is_some() {}
        if let Ok(bytes) = Gossip::Records(Records::truncated([record])).encode() {
            self.gossip(&bytes);
        }
        taken
    }

    /// An obituary whose last words are these bytes; who writes it and who died are known.
    fn last_words(&self, raw: &[u8]) -> bool {
        let presence = forge::presence(1, self.prekeys.public());
        let known = [&self.ada, &self.other].map(|by| presence.sign(by).expect("small"));
        let obituary = Record::Obituary(Obituary {
            mesh: MeshTag::new("m"),
            issued_ms: UNIX,
            last: forge::record(&self.other, raw.to_vec()),
        });
        let record = obituary.sign(&self.ada);
        record.is_ok_and(|record| self.record(&known, record))
    }

    fn said(&self) -> BroadcastFrame {
        let mut flood = Flood::new(room(), Incarnation(1));
        let channel = ChannelName::new("chat").expect("a short name");
        let said = flood.send(&self.ada, channel, Bytes::from_static(b"hello"), |_| true);
        said.expect("a short message")
    }

    fn broadcast(&self, raw: &[u8]) -> bool {
        let mut frame = self.said();
        frame.body = forge::broadcast(&self.ada, raw.to_vec());
        let mut flood = Flood::new(room(), Incarnation(1));
        flood.receive(&frame, |_| true).is_ok()
    }
}

/// One real input of each kind and more: kind, then bytes.
pub(crate) fn real() -> Vec<(u8, Vec<u8>)> {
    let world = &*WORLD;
    let mut rng = world.rng.clone();
    let letter = forge::letter(&world.ada, &world.bob, SessionId::from_bytes([1; 8]));
    let sealed = Envelope::seal(&letter, &world.ada, &world.prekeys.public(), &mut rng);
    let sealed = sealed.expect("a small letter");
    let presence = forge::presence(1, world.prekeys.public());
    let signed = |record: &Record| record.sign(&world.ada).expect("a small record");
    let record = signed(&presence);
    let addresses = vec!["/ip4/192.0.2.7/udp/4001/quic-v1".to_owned()];
    let ticket = Ticket::new(world.ada.peer_id(), addresses, "m", Some(vec![7; 8]));
    let ticket = ticket.expect("a small ticket").to_string();
    let hello = Frame::Hello {
        incarnation: Incarnation(1),
        degree: 3,
    };
    let frames = [
        hello,
        Frame::Broadcast(world.said()),
        Frame::Envelope(sealed.clone()),
        Frame::Records(Records::truncated([record.clone()])),
    ];
    let gossip = Gossip::Records(Records::truncated([record.clone()]));
    let hop = HopFrame::Forward(sealed);
    let mut real = vec![
        (0, hop.encode().expect("small").to_vec()),
        (1, gossip.encode().expect("small").to_vec()),
        (3, ticket.clone().into_bytes()),
        (4, forge::ticket_bytes(&ticket)),
        (5, forge::letter_bytes(&letter)),
        (7, record.payload().to_vec()),
        (8, record.payload().to_vec()),
        (9, world.said().body.payload().to_vec()),
    ];
    real.extend(frames.map(|frame| (2, frame.encode().expect("small").to_vec())));
    real.push((6, plaintext(&letter, world)));
    real
}

/// A letter with its signature, as it is sealed.
fn plaintext(letter: &Letter, world: &World) -> Vec<u8> {
    let (mut rng, mut whole) = (world.rng.clone(), Vec::new());
    let (raw, prekey) = (forge::letter_bytes(letter), world.prekeys.public());
    forge::envelope(letter, &raw, &world.ada, &prekey, &mut rng, |text| {
        whole.clone_from(&text);
        text
    });
    whole
}
