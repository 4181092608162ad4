//! TURN: a client, and a server that answers whatever the script says.
//!
//! | byte & 7 | then | what |
//! | --- | --- | --- |
//! | 0 | answer | a request is answered ([`Requests::answer`]) |
//! | 1 | | the oldest request is lost |
//! | 2 | n | n + 1 tenths of a second pass; with the flag, n + 1 times ten seconds |
//! | 3 | len, bytes | these bytes arrive |
//! | 4 | n | the client sends to the peer n; with the flag, to every peer up to it |
//! | 5 | n, attributes | data of a peer arrives: an indication, or with the flag on the channel n |
//! | 6 | | the client waits until its deadline |
//! | 7 | | the client gives the allocation back |
//!
//! Bit 4 is the flag. A client over a stream gets every packet cut as the stream would be.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use peerloom_transports_proto::stun::message::{attribute, method};
use peerloom_transports_proto::stun::{Builder, Class, Message};
use peerloom_transports_proto::turn::{
    Client, Config, Event, Framer, MAX_PEERS, MAX_REQUESTS, MAX_WAITING, Received,
};
use rtc_crypto::HashAlgorithm;

use super::script::Reader;
use super::server::{Requests, attributes, good, masked, plain, refusal};

/// Steps of one script; the rest is not read.
const MAX_STEPS: usize = 200;
/// Packets that can be on their way at once: all requests, all that waited, a keepalive.
const MAX_PACKETS: usize = MAX_REQUESTS + MAX_PEERS * MAX_WAITING + 1;

struct World {
    client: Client,
    requests: Requests,
    /// What is read of a stream, if it is one.
    stream: Option<Framer>,
    now: Instant,
    allocated: bool,
}

/// The key of long-term credentials for the realm that a request names (RFC 8489 section 9.2.2).
fn key(request: &Message<'_>) -> Vec<u8> {
    let realm = request.attribute(attribute::REALM).unwrap_or_default();
    let text = [&b"ada:"[..], realm, &b":secret"[..]].concat();
    let provider = rtc_crypto::default_provider().expect("a provider");
    let key = provider.crypto().hash(HashAlgorithm::Md5, &text);
    key.expect("MD5")
}

fn peer(n: u8) -> SocketAddr {
    SocketAddr::from(([192, 0, 2, n / 2], 5000 + u16::from(n % 2)))
}

impl World {
    /// Bit 0 of `setup`: over a stream.
    fn new(setup: u8) -> Self {
        let now = Instant::now();
        let reliable = setup & 1 == 1;
        let config = Config {
            username: "ada".into(),
            password: zeroize::Zeroizing::new("secret".into()),
            server: SocketAddr::from(([192, 0, 2, 255], 3478)),
            reliable,
            seed: [3; 32],
        };
        Self {
            client: Client::new(config, now),
            requests: Requests::default(),
            stream: reliable.then(Framer::default),
            now,
            allocated: false,
        }
    }

    fn drain(&mut self) {
        let mut count = 0;
        while let Some(packet) = self.client.poll_packet() {
            self.requests.note(&packet);
            count += 1;
        }
        assert!(count <= MAX_PACKETS, "{count} packets");
        let mut ended = 0;
        while let Some(event) = self.client.poll_event() {
            match event {
                Event::Allocated { .. } => self.allocated = true,
                Event::Failed(_) | Event::Redirected(_) => ended += 1,
            }
        }
        assert!(ended == 0 || self.client.is_over() && ended == 1);
    }

    /// A packet, or a piece of a stream.
    fn arrives(&mut self, bytes: &[u8]) {
        let Some(stream) = &mut self.stream else {
            return self.feed(bytes);
        };
        stream.buffer().extend_from_slice(bytes);
        loop {
            let Some(stream) = &mut self.stream else {
                return;
            };
            match stream.next_packet() {
                Ok(Some(packet)) => self.feed(&packet),
                Ok(None) => return,
                Err(_) => self.stream = Some(Framer::default()),
            }
        }
    }

    fn feed(&mut self, packet: &[u8]) {
        match self.client.handle_packet(packet, self.now) {
            Received::Data { peer, range } => {
                assert!(range.end <= packet.len() && range.start <= range.end);
                assert!(!peer.ip().is_ipv6(), "nothing was sent to IPv6");
            }
            Received::Answer | Received::Ignored => {}
        }
    }

    fn send(&mut self, n: u8) {
        let mut out = BytesMut::new();
        let sent = self.client.wrap(peer(n), b"data", &mut out, self.now);
        assert_eq!(sent, !out.is_empty());
        assert!(!sent || self.allocated && !self.client.is_over());
    }

    /// Time passes; what is due then is done, and not due at once again.
    fn wait_until(&mut self, at: Instant) {
        self.now = self.now.max(at);
        self.client.handle_timeout(self.now);
        let next = self.client.poll_timeout();
        assert!(
            next.is_none_or(|next| next > self.now),
            "due again at once: {:?}",
            self.client
        );
    }

    fn step(&mut self, reader: &mut Reader<'_>) -> Option<()> {
        let op = reader.byte()?;
        let flag = op >> 4 & 1 == 1;
        match op & 7 {
            0 => {
                if let Some(answer) = self.requests.answer(reader, key) {
                    self.arrives(&answer);
                }
            }
            1 => self.requests.lose(),
            2 => {
                let count = u64::from(reader.byte()?) + 1;
                let unit = if flag { 10_000 } else { 100 };
                self.wait_until(self.now + Duration::from_millis(count * unit));
            }
            3 => {
                let len = reader.word()?;
                self.arrives(reader.bytes(len));
            }
            4 => {
                let last = reader.byte()?;
                let first = if flag { 0 } else { last };
                (first..=last).for_each(|n| self.send(n));
            }
            5 => self.peer_data(reader, flag)?,
            6 => {
                if let Some(at) = self.client.poll_timeout() {
                    self.wait_until(at);
                }
            }
            _ => self.client.close(self.now),
        }
        Some(())
    }

    fn peer_data(&mut self, reader: &mut Reader<'_>, on_channel: bool) -> Option<()> {
        let n = reader.byte()?;
        let packet = if on_channel {
            let len = reader.byte()?;
            let data = reader.bytes(usize::from(len));
            [&[0x40, n, 0, len][..], data].concat()
        } else {
            let builder = Builder::new(Class::Indication, method::DATA, [n; 12]);
            attributes(builder, reader).finish().to_vec()
        };
        self.arrives(&packet);
        Some(())
    }
}

/// A byte of setup, then steps. Gets anywhere if an allocation is granted.
pub fn turn(data: &[u8]) -> bool {
    let mut reader = Reader(data);
    let mut world = World::new(reader.byte().unwrap_or_default());
    // What is due at once is sent.
    world.client.handle_timeout(world.now);
    world.drain();
    for _ in 0..MAX_STEPS {
        if world.step(&mut reader).is_none() {
            break;
        }
        world.drain();
    }
    world.allocated
}

/// Scripts of a server that means well: over UDP, over a stream; and of one that has a new nonce,
/// redirects, or refuses.
pub(crate) fn real() -> [(Vec<u8>, bool); 4] {
    let realm = plain(attribute::REALM, b"example.org");
    let nonce = |text: &[u8]| plain(attribute::NONCE, text);
    let code = |class, number| plain(attribute::ERROR_CODE, &[0, 0, class, number]);
    let challenge = [&[0][..], &refusal(&[code(4, 1), realm, nonce(b"n")])].concat();
    let addresses = [
        masked(attribute::XOR_RELAYED_ADDRESS, [198, 51, 100, 1], 50_000),
        masked(attribute::XOR_MAPPED_ADDRESS, [203, 0, 113, 1], 6000),
        plain(attribute::LIFETIME, &600_u32.to_be_bytes()),
    ];
    let grant = [&[0][..], &good(&addresses)].concat();
    let yes = [&[0][..], &good(&[])].concat();
    let stale = [&[0][..], &refusal(&[code(4, 38), nonce(b"m")])].concat();
    // Two peers, their permission and channels, data both ways, renewals, and the end.
    let data = [
        masked(attribute::XOR_PEER_ADDRESS, [192, 0, 2, 0], 5000),
        plain(attribute::DATA, b"hello"),
    ];
    let indication = [&[5, 7, 2][..], &data.concat()].concat();
    let talk = [
        &[0x14, 1][..],
        &yes,
        &yes,
        &yes,
        &[4, 0],
        &indication,
        &[0x15, 0, 2, 1, 2],
        &[0x12, 29, 6],
        &stale,
        &yes,
        &[6, 6, 6, 7],
        &yes,
    ]
    .concat();
    let whole = |setup: u8| [&[setup][..], &challenge, &grant, &talk].concat();
    let other = plain(
        attribute::ALTERNATE_SERVER,
        &[0, 1, 0x0d, 0x96, 192, 0, 2, 9],
    );
    let redirected = [&[0, 0][..], &refusal(&[code(3, 0), other])].concat();
    let refused = [
        &[0][..],
        &challenge,
        &[0],
        &refusal(&[code(4, 86)]),
        &[1, 6],
    ]
    .concat();
    [
        (whole(0), true),
        (whole(1), true),
        (redirected, false),
        (refused, false),
    ]
}
