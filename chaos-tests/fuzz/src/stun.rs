//! STUN with servers: messages, and asking for reflexive addresses.
//!
//! The first byte says what the rest is: 0 a message; 1 attributes, of which a message is made; 2
//! a script of questions and answers:
//!
//! | byte & 7 | then | what |
//! | --- | --- | --- |
//! | 0 | answer | a question is answered ([`Requests::answer`]) |
//! | 1 | | the oldest question is lost |
//! | 2 | n | n + 1 tenths of a second pass |
//! | 3 | len, bytes | these bytes arrive |
//! | 4 | n | the server n & 15 is asked from the address n >> 4 |
//! | 5 | n | the address n is gone |
//! | 6 | | time passes until something is due |
//! | 7 | | with the flag (bit 4) everything stops, otherwise gathering ends |

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use peerloom_transports_proto::id::Path;
use peerloom_transports_proto::stun::message::{attribute, method};
use peerloom_transports_proto::stun::reflexive::{Event, MAX_PROBES};
use peerloom_transports_proto::stun::{Builder, Class, Message, Reflexive, ServerId};

use super::script::Reader;
use super::server::{Requests, attributes, good, masked, plain, refusal};

/// Steps of one script; the rest is not read.
const MAX_STEPS: usize = 200;

struct World {
    reflexive: Reflexive,
    requests: Requests,
    now: Instant,
    mapped: usize,
}

fn path(n: u8) -> Path {
    let ours = SocketAddr::from(([10, 0, 0, n >> 4], 1000));
    let theirs = match n & 15 {
        15 => SocketAddr::from(([0x20; 16], 3478)),
        14 => SocketAddr::from(([127, 0, 0, 1], 3478)),
        n => SocketAddr::from(([192, 0, 2, n], 3478)),
    };
    Path::new(ours, theirs)
}

impl World {
    fn drain(&mut self) {
        let mut count = 0;
        while let Some(transmit) = self.reflexive.poll_transmit() {
            self.requests.note(&transmit.contents);
            count += 1;
        }
        assert!(count <= MAX_PROBES);
        while let Some(event) = self.reflexive.poll_event() {
            match event {
                Event::Mapped { mapped, .. } => {
                    assert!(mapped.port() != 0 && !mapped.ip().is_unspecified());
                    self.mapped += 1;
                }
                Event::Done { .. } => {}
            }
        }
    }

    fn arrives(&mut self, packet: &[u8]) {
        for n in 0..4 {
            let taken = self.reflexive.handle_packet(path(n), packet, self.now);
            assert!(!taken || Message::parse(packet).is_some());
        }
    }

    fn wait_until(&mut self, at: Instant) {
        self.now = self.now.max(at);
        self.reflexive.handle_timeout(self.now);
        let next = self.reflexive.poll_timeout();
        assert!(next.is_none_or(|next| next > self.now), "due again at once");
    }

    fn step(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let op = reader.byte()?;
        match op & 7 {
            0 => {
                let answer = self.requests.answer(reader, |_| b"key".to_vec());
                self.arrives(&answer.unwrap_or_default());
            }
            1 => self.requests.lose(),
            2 => {
                let count = u64::from(reader.byte()?) + 1;
                self.wait_until(self.now + Duration::from_millis(count * 100));
            }
            3 => {
                let len = reader.word()?;
                self.arrives(reader.bytes(len));
            }
            4 => {
                let n = reader.byte()?;
                let server = ServerId(u64::from(n & 15));
                self.reflexive.ask(server, path(n), self.now);
            }
            5 => self.reflexive.forget(path(reader.byte()?).local),
            6 => {
                if let Some(at) = self.reflexive.poll_timeout() {
                    self.wait_until(at);
                }
            }
            _ if op >> 4 & 1 == 1 => {
                self.reflexive.stop();
                assert!(!self.reflexive.is_asking() && self.reflexive.poll_timeout().is_none());
            }
            _ => {
                self.reflexive.give_up();
                assert!(!self.reflexive.is_asking());
            }
        }
        Some(())
    }
}

/// Gets anywhere if the message is well-formed, or an address is learnt.
pub fn stun(data: &[u8]) -> bool {
    let mut reader = Reader(data);
    match reader.byte().unwrap_or_default() % 3 {
        0 => message(reader.0),
        1 => written(&mut reader),
        _ => questions(&mut reader),
    }
}

fn message(packet: &[u8]) -> bool {
    let Some(message) = Message::parse(packet) else {
        return false;
    };
    message.error();
    assert!(!message.verify(b"a key that nobody has"));
    for kind in (0..0x40).chain(0x8020..0x8030) {
        let value = message.attribute(kind);
        assert!(value.is_none_or(|value| value.len() <= packet.len()));
        message.xor_address(kind);
        message.address(kind);
        message.number(kind);
    }
    true
}

/// What is written is read again, and by its own key only.
fn written(reader: &mut Reader<'_>) -> bool {
    let (first, second) = (reader.word().unwrap_or(0), reader.byte().unwrap_or(0));
    let class = [
        Class::Request,
        Class::Indication,
        Class::Success,
        Class::Error,
    ][first % 4];
    let method = u16::try_from(first >> 4).unwrap_or_default();
    let builder = attributes(Builder::new(class, method, [second; 12]), reader);
    let packet = builder.finish_with_integrity(&[second]);
    let Some(read) = Message::parse(&packet) else {
        // An attribute that the script calls an integrity, and that has not its length.
        return false;
    };
    assert_eq!((read.class, read.method), (class, method));
    assert!(!read.verify(&[second, 1]));
    message(&packet)
}

fn questions(reader: &mut Reader<'_>) -> bool {
    let mut world = World {
        reflexive: Reflexive::new([5; 32]),
        requests: Requests::default(),
        now: Instant::now(),
        mapped: 0,
    };
    for _ in 0..MAX_STEPS {
        if world.step(reader).is_none() {
            break;
        }
        world.drain();
    }
    world.mapped > 0
}

/// A message, attributes, and scripts of two servers; and the same in pieces.
pub(crate) fn real() -> Vec<(Vec<u8>, bool)> {
    let mapped = masked(attribute::XOR_MAPPED_ADDRESS, [203, 0, 113, 1], 6000);
    let plain_mapped = plain(attribute::MAPPED_ADDRESS, &[0, 1, 4, 0, 203, 0, 113, 1]);
    let builder = Builder::new(Class::Success, method::BINDING, [9; 12]);
    let message = attributes(builder, &mut Reader(&[&[1][..], &mapped].concat()));
    let message = message.finish_with_integrity(b"key");
    let raw = [&[0][..], &message].concat();
    let cut = raw[..raw.len() - 3].to_vec();
    let attributes = [&[1, 0, 0x12, 7, 2][..], &mapped, &plain_mapped].concat();
    let busy = plain(attribute::ERROR_CODE, &[0, 0, 5, 0, b'n', b'o']);
    let script = [
        &[2, 4, 0, 4, 1, 2, 0][..],
        &[&[0][..], &good(&[mapped])].concat(),
        &[&[0][..], &good(&[plain_mapped])].concat(),
        &[6, 4, 2, 2, 9],
        &[&[0][..], &refusal(std::slice::from_ref(&busy))].concat(),
        &[5, 0, 6, 6, 7, 0x17],
    ]
    .concat();
    let refused = [&[2, 4, 0, 2, 0, 0][..], &refusal(&[busy])].concat();
    vec![
        (raw, true),
        (cut, false),
        (attributes, true),
        (script, true),
        (refused, false),
    ]
}
