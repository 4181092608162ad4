//! The router of envelopes: three neighbours that say anything, an application that sends and
//! reads, and time.

use std::collections::BTreeSet;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use peerloom_mesh_proto::envelope::{Envelope, HopFrame, Proof, Refusal};
use peerloom_mesh_proto::hop::{self, Frame, Hop, Output, Parcel, Strategy};
use peerloom_mesh_proto::seal::Prekeys;
use peerloom_mesh_proto::wire::BoundedVec;
use peerloom_mesh_proto::{Identity, MessageId, PeerId, SessionId, Time};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::mesh_forge::{self as forge, UNIX, room};
use super::script::Reader;

/// Steps of one input; the rest is not read.
const MAX_STEPS: usize = 200;

/// Real envelopes: two for this node, two for others.
static ENVELOPES: LazyLock<[(Envelope, Proof); 4]> = LazyLock::new(|| {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let prekey = Prekeys::new(&mut rng).public();
    [1, 1, 4, 5].map(|to| {
        let session = SessionId::from_bytes([to; 8]);
        let letter = forge::letter(&peer(2), &peer(to), session);
        let sealed = Envelope::seal_proved(&letter, &peer(2), &prekey, &mut rng);
        sealed.expect("a small letter")
    })
});

fn peer(n: u8) -> Identity {
    Identity::from_seed([n; 32])
}

struct World {
    hop: Hop,
    neighbours: [PeerId; 3],
    time: Time,
    rng: ChaCha20Rng,
    /// Names seen in what came out, to be answered.
    names: Vec<(MessageId, u8)>,
    sent: BTreeSet<MessageId>,
    ended: BTreeSet<MessageId>,
    /// Whether an envelope went anywhere.
    went: bool,
}

/// What befalls a router, one step after the other: see [`World::step`]. Gets anywhere if an
/// envelope of somebody was passed on, delivered or ended.
pub fn hop(data: &[u8]) -> bool {
    let time = Time {
        now: Instant::now(),
        unix_ms: UNIX,
    };
    let mut world = World {
        hop: Hop::new(hop::Config::default(), peer(1).peer_id(), time.now),
        neighbours: [2, 3, 4].map(|n| peer(n).peer_id()),
        time,
        rng: ChaCha20Rng::seed_from_u64(7),
        names: Vec::new(),
        sent: BTreeSet::new(),
        ended: BTreeSet::new(),
        went: false,
    };
    world.hop.set_rooms([room()], time.now);
    let mut reader = Reader(data);
    for _ in 0..MAX_STEPS {
        if world.step(&mut reader).is_none() {
            break;
        }
        assert!(world.hop.sizes().are_bounded(), "{:?}", world.hop.sizes());
    }
    world.over();
    world.went
}

impl World {
    /// | byte & 7 | then | what |
    /// | --- | --- | --- |
    /// | 0 | len, bytes | a neighbour says these bytes |
    /// | 1 | which, attempt, strategy, ttl | it hands over a real envelope |
    /// | 2 | which, attempt, kind | it answers for an envelope that was seen |
    /// | 3 | n | n tenths of a second pass |
    /// | 4 | | a link begins or ends |
    /// | 5 | which | the application sends an envelope |
    /// | 6 | which, kind | it acknowledges or refuses one |
    /// | 7 | which | an envelope is flooded |
    ///
    /// Bits 3 and 4 say which neighbour.
    fn step(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let op = reader.byte()?;
        let from = self.neighbours[usize::from(op >> 3 & 3) % 3];
        let mut out = Vec::new();
        let (time, rng) = (self.time, &mut self.rng);
        match op & 7 {
            0 => {
                let len = reader.word()?;
                let Ok(HopFrame::Hop(frame)) = HopFrame::decode(reader.bytes(len)) else {
                    return Some(());
                };
                let again = frame.encode().expect("what was read can be written");
                assert!(HopFrame::decode(&again).is_ok());
                self.hop.handle_frame(from, frame, time, rng, &mut out);
            }
            1 => {
                let route = route(reader)?;
                self.hop.handle_frame(from, route, time, rng, &mut out);
            }
            2 => {
                let (name, attempt) = self.name(reader)?;
                let frame = answer(name, attempt, reader.byte()?);
                let rng = &mut self.rng;
                self.hop.handle_frame(from, frame, time, rng, &mut out);
            }
            3 => {
                let by = Duration::from_millis(100 * (1 + u64::from(reader.byte()?)));
                self.time = time.after(by);
                self.wake(&mut out);
            }
            4 if self.hop.sizes().links > 0 && op & 32 != 0 => {
                self.hop.link_down(&from, time, rng, &mut out);
            }
            4 => self.hop.link_up(from, time, rng, &mut out),
            5 => self.send(reader.byte()?, &mut out),
            6 => self.settle(reader, &mut out)?,
            _ => {
                let (envelope, _) = &ENVELOPES[usize::from(reader.byte()? % 4)];
                self.hop.handle_flood(envelope.clone(), time, rng, &mut out);
            }
        }
        self.take(out);
        Some(())
    }

    fn name(&self, reader: &mut Reader<'_>) -> Option<(MessageId, u8)> {
        let which = usize::from(reader.byte()?) % self.names.len().max(1);
        let (name, attempt) = self.names.get(which).copied()?;
        // Mostly the right attempt.
        let other = reader.byte()?;
        Some((name, if other < 128 { attempt } else { other }))
    }

    fn send(&mut self, which: u8, out: &mut Vec<Output>) {
        let (envelope, proof) = ENVELOPES[usize::from(which % 4)].clone();
        let parcel = Parcel {
            to: peer(4 + which % 2).peer_id(),
            relays: vec![envelope.to],
            along: self.names.first().map(|(name, _)| *name),
            envelope,
            proof,
        };
        if let Ok(name) = self.hop.send(parcel, self.time, &mut self.rng, out) {
            self.sent.insert(name);
        }
    }

    fn settle(&mut self, reader: &mut Reader<'_>, out: &mut Vec<Output>) -> Option<()> {
        let (name, _) = self.name(reader)?;
        let (time, rng) = (self.time, &mut self.rng);
        if reader.byte()?.is_multiple_of(2) {
            let (proof, author) = (Proof::from_bytes([1; 8]), ENVELOPES[2].0.to);
            self.hop.acknowledge(name, proof, author, time, rng, out);
        } else {
            self.hop.refuse(name, Refusal::Unreadable, time, rng, out);
        }
        Some(())
    }

    fn wake(&mut self, out: &mut Vec<Output>) {
        if self.hop.deadline().at <= self.time.now {
            self.hop.handle_timeout(self.time, &mut self.rng, out);
            assert!(self.hop.deadline().at > self.time.now, "due again at once");
        }
    }

    fn take(&mut self, out: Vec<Output>) {
        for output in out {
            let name = match output {
                Output::Send { to, frame } => {
                    assert!(self.neighbours.contains(&to));
                    let bytes = frame.encode().expect("what is sent can be written");
                    assert!(HopFrame::decode(&bytes).is_ok());
                    match frame {
                        Frame::Route(route) => {
                            assert!(route.envelope.hops > 0);
                            self.went = true;
                            let name = route.envelope.digest();
                            (MessageId::from_bytes(name), route.attempt)
                        }
                        Frame::Ack { .. }
                        | Frame::Nack { .. }
                        | Frame::Kept { .. }
                        | Frame::Digest(_) => continue,
                    }
                }
                Output::Deliver { name, .. } => {
                    self.went = true;
                    (name, 0)
                }
                Output::Flood { .. } => continue,
                Output::Ended { name, .. } => {
                    assert!(
                        self.sent.contains(&name) && self.ended.insert(name),
                        "ends once"
                    );
                    self.went = true;
                    (name, 0)
                }
            };
            if self.names.len() < 64 && !self.names.contains(&name) {
                self.names.push(name);
            }
        }
    }

    /// Long after, everything has ended, and nothing is left but links and trails.
    fn over(&mut self) {
        for _ in 0..8 {
            self.time = self.time.after(Duration::from_secs(30));
            let mut out = Vec::new();
            self.hop.handle_timeout(self.time, &mut self.rng, &mut out);
            self.take(out);
        }
        assert_eq!(self.ended, self.sent);
        let sizes = self.hop.sizes();
        assert_eq!(
            (sizes.parcels, sizes.crumbs, sizes.held, sizes.mail),
            (0, 0, 0, 0)
        );
    }
}

fn route(reader: &mut Reader<'_>) -> Option<Frame> {
    let which = reader.byte()?;
    let (mut envelope, _) = ENVELOPES[usize::from(which % 4)].clone();
    let relays: Vec<_> = ENVELOPES
        .iter()
        .skip(usize::from(which % 5))
        .map(|(e, _)| e.to)
        .collect();
    let attempt = reader.byte()?;
    let strategy = [
        Strategy::Direct,
        Strategy::Trail,
        Strategy::Greedy,
        Strategy::Relay,
        Strategy::Mailbox,
        Strategy::Flood,
    ];
    let strategy = strategy[usize::from(reader.byte()? % 6)];
    envelope.ttl = reader.byte()?;
    Some(Frame::Route(Box::new(hop::Route {
        attempt,
        strategy,
        sure: attempt & 64 != 0,
        along: None,
        relays: BoundedVec::truncated(relays),
        envelope,
    })))
}

fn answer(name: MessageId, attempt: u8, kind: u8) -> Frame {
    match kind % 4 {
        0 => {
            let right = ENVELOPES
                .iter()
                .find(|(e, _)| e.digest() == *name.as_bytes());
            let right = right.map(|(_, proof)| *proof).filter(|_| kind < 128);
            Frame::Ack {
                name,
                attempt,
                proof: right.unwrap_or(Proof::from_bytes([kind; 8])),
                to: (kind & 64 != 0).then(|| ENVELOPES[3].0.to),
                links: kind,
            }
        }
        1 => Frame::Kept { name, attempt },
        _ => Frame::Nack {
            name,
            attempt,
            why: match kind / 4 % 4 {
                0 => Refusal::NoRoute,
                1 => Refusal::Busy,
                2 => Refusal::Expired,
                _ => Refusal::Unreadable,
            },
            left: kind,
        },
    }
}

/// Real inputs: what befalls a router among honest neighbours, and what two of them say.
pub(crate) fn real() -> Vec<Vec<u8>> {
    let mut digests = Vec::new();
    let mut other = Hop::new(hop::Config::default(), peer(4).peer_id(), Instant::now());
    let time = Time {
        now: Instant::now(),
        unix_ms: UNIX,
    };
    other.set_rooms([room()], time.now);
    let mut rng = ChaCha20Rng::seed_from_u64(3);
    other.link_up(peer(1).peer_id(), time, &mut rng, &mut digests);
    let mut script = vec![4, 4 | 1 << 3, 4 | 2 << 3];
    for output in digests {
        if let Output::Send { frame, .. } = output {
            let bytes = frame.encode().expect("small");
            let len = u16::try_from(bytes.len()).expect("small");
            script.push(2 << 3);
            script.extend(len.to_be_bytes());
            script.extend_from_slice(&bytes);
        }
    }
    let with = |rest: &[u8]| [&script[..], rest].concat();
    vec![
        // Passed on to who is around, and acknowledged.
        with(&[1, 2, 0, 1, 20, 2 | 2 << 3, 0, 0, 0, 3, 20]),
        // For this node, which opens it; the same once more.
        with(&[1, 0, 0, 1, 20, 6, 0, 0, 0, 1, 0, 0, 1, 20]),
        // Sent, refused by two, kept by one; then the way breaks.
        with(&[
            5,
            3,
            2,
            0,
            0,
            2,
            2 | 1 << 3,
            0,
            0,
            3,
            3,
            60,
            2,
            0,
            1,
            1,
            4 | 32 | 2 << 3,
            3,
            250,
        ]),
        // Mail that waits, and goes on when a link comes back.
        with(&[1, 3, 0, 4, 20, 3, 30, 7, 0, 7, 0, 3, 200]),
    ]
}
