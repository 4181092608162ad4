#![allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use rand::SeedableRng as _;
use rand_chacha::ChaCha20Rng;
use rtc_crypto::HashAlgorithm;
use zeroize::Zeroizing;

use super::*;
use crate::stun::message::{attribute, method};
use crate::stun::{Builder, Class, Message};

const REALM: &str = "example.org";
const LATENCY: Duration = Duration::from_millis(20);

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn config(password: &str) -> Config {
    Config {
        username: "ada".into(),
        password: Zeroizing::new(password.into()),
        server: addr("192.0.2.1:3478"),
        reliable: false,
        seed: [3; 32],
    }
}

/// What a server does (RFC 8656 §7 to §12), as far as a client can tell.
struct Server {
    nonce: u32,
    permissions: BTreeSet<IpAddr>,
    channels: BTreeMap<u16, SocketAddr>,
    allocated: bool,
    refreshed: u32,
    to_peers: Vec<(SocketAddr, Vec<u8>)>,
    refuse: Option<(u16, Option<SocketAddr>)>,
    relayed: Vec<SocketAddr>,
}

impl Server {
    fn new() -> Self {
        Self {
            nonce: 1,
            permissions: BTreeSet::new(),
            channels: BTreeMap::new(),
            allocated: false,
            refreshed: 0,
            to_peers: Vec::new(),
            refuse: None,
            relayed: vec![addr("198.51.100.1:50000")],
        }
    }

    fn key() -> Vec<u8> {
        let provider = rtc_crypto::default_provider().expect("a provider");
        let text = format!("ada:{REALM}:secret");
        let key = provider.crypto().hash(HashAlgorithm::Md5, text.as_bytes());
        key.expect("MD5")
    }

    fn handle(&mut self, packet: &[u8]) -> Option<Bytes> {
        if packet[0] >= 0x40 {
            let channel = u16::from_be_bytes([packet[0], packet[1]]);
            let peer = *self.channels.get(&channel)?;
            self.to_peers.push((peer, packet[4..].to_vec()));
            return None;
        }
        let message = Message::parse(packet).expect("the client writes STUN");
        let peer = message.xor_address(attribute::XOR_PEER_ADDRESS);
        if message.class == Class::Indication {
            let peer = peer.filter(|peer| self.permissions.contains(&peer.ip()))?;
            let data = message.attribute(attribute::DATA)?;
            self.to_peers.push((peer, data.to_vec()));
            return None;
        }
        let answer = |class| Builder::new(class, message.method, message.transaction);
        let challenge = |code| {
            let reply = answer(Class::Error).error(code, "again");
            let reply = reply.attribute(attribute::REALM, REALM.as_bytes());
            Some(
                reply
                    .attribute(attribute::NONCE, self.nonce.to_string().as_bytes())
                    .finish(),
            )
        };
        match message.attribute(attribute::NONCE) {
            None => return challenge(401),
            Some(_) if !message.verify(&Self::key()) => return challenge(401),
            Some(nonce) if nonce != self.nonce.to_string().as_bytes() => return challenge(438),
            Some(_) => {}
        }
        if let Some((code, other)) = self.refuse {
            let mut reply = answer(Class::Error).error(code, "no");
            if let Some(SocketAddr::V4(other)) = other {
                let mut value = vec![0, 1];
                value.extend_from_slice(&other.port().to_be_bytes());
                value.extend_from_slice(&other.ip().octets());
                reply = reply.attribute(attribute::ALTERNATE_SERVER, &value);
            }
            return Some(reply.finish_with_integrity(&Self::key()));
        }
        let mut reply = answer(Class::Success);
        match message.method {
            method::ALLOCATE => {
                self.allocated = true;
                for relayed in &self.relayed {
                    reply = reply.xor_address(attribute::XOR_RELAYED_ADDRESS, *relayed);
                }
                reply = reply
                    .xor_address(attribute::XOR_MAPPED_ADDRESS, addr("203.0.113.1:6000"))
                    .number(attribute::LIFETIME, 600);
            }
            method::REFRESH => {
                let lifetime = message.number(attribute::LIFETIME)?;
                self.allocated = lifetime > 0;
                self.refreshed += 1;
                reply = reply.number(attribute::LIFETIME, lifetime);
            }
            method::CREATE_PERMISSION => {
                self.permissions.insert(peer?.ip());
            }
            method::CHANNEL_BIND => {
                let channel = message.number(attribute::CHANNEL_NUMBER)? >> 16;
                self.channels.insert(u16::try_from(channel).ok()?, peer?);
                self.permissions.insert(peer?.ip());
            }
            other => panic!("method {other}"),
        }
        Some(reply.finish_with_integrity(&Self::key()))
    }
}

/// A client and a server with a link between them that loses a share of what it carries.
struct World {
    client: Client,
    server: Server,
    now: Instant,
    wire: Vec<(Instant, bool, Bytes)>,
    loss: f64,
    rng: ChaCha20Rng,
    events: Vec<Event>,
    received: Vec<(SocketAddr, Vec<u8>)>,
}

impl World {
    fn new(config: Config, loss: f64, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            client: Client::new(config, now),
            server: Server::new(),
            now,
            wire: Vec::new(),
            loss,
            rng: ChaCha20Rng::seed_from_u64(seed),
            events: Vec::new(),
            received: Vec::new(),
        }
    }

    fn put(&mut self, to_server: bool, packet: Bytes) {
        if !self.rng.random_bool(self.loss) {
            self.wire.push((self.now + LATENCY, to_server, packet));
        }
    }

    fn send(&mut self, peer: SocketAddr, data: &[u8]) {
        let mut out = BytesMut::new();
        if self.client.wrap(peer, data, &mut out, self.now) {
            self.put(true, out.freeze());
        }
    }

    fn drain(&mut self) {
        while let Some(event) = self.client.poll_event() {
            self.events.push(event);
        }
        while let Some(packet) = self.client.poll_packet() {
            self.put(true, packet);
        }
    }

    fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            let wire = self.wire.iter().map(|(at, ..)| *at).min();
            let Some(at) = wire.into_iter().chain(self.client.poll_timeout()).min() else {
                return false;
            };
            if at > end {
                self.now = end;
                return false;
            }
            self.now = self.now.max(at);
            self.deliver();
            self.client.handle_timeout(self.now);
        }
    }

    fn deliver(&mut self) {
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.wire)
            .into_iter()
            .partition(|(at, ..)| *at <= now);
        self.wire = later;
        for (_, to_server, packet) in due {
            if to_server {
                if let Some(reply) = self.server.handle(&packet) {
                    self.put(false, reply);
                }
            } else if let Received::Data { peer, range } = self.client.handle_packet(&packet, now) {
                self.received.push((peer, packet[range].to_vec()));
            }
        }
    }

    fn allocated(&self) -> bool {
        matches!(self.events.first(), Some(Event::Allocated { .. }))
    }
}

const MINUTE: Duration = Duration::from_secs(60);

#[test]
fn an_allocation_relays_both_ways_and_is_given_back() {
    let mut world = World::new(config("secret"), 0.0, 1);
    assert!(world.run(MINUTE, World::allocated));
    let peer = addr("192.0.2.7:7");
    world.send(peer, b"first");
    let arrived = |count: usize| move |world: &World| world.server.to_peers.len() == count;
    assert!(world.run(MINUTE, arrived(1)), "it waits until it may pass");
    let bound = |world: &World| world.server.channels.len() == 1 && world.wire.is_empty();
    assert!(world.run(MINUTE, bound));
    world.send(peer, b"second");
    assert!(
        world
            .wire
            .iter()
            .any(|(_, to_server, p)| *to_server && p[0] == 0x40)
    );
    assert!(world.run(MINUTE, arrived(2)));
    assert_eq!(world.server.to_peers[1], (peer, b"second".to_vec()));
    world.put(false, Bytes::from_static(b"\x40\x00\x00\x05third"));
    let data = Builder::new(Class::Indication, method::DATA, [0; 12])
        .xor_address(attribute::XOR_PEER_ADDRESS, addr("192.0.2.7:8"))
        .attribute(attribute::DATA, b"fourth");
    world.put(false, data.finish());
    assert!(world.run(MINUTE, |world| world.received.len() == 2));
    assert_eq!(world.received[0], (peer, b"third".to_vec()));
    assert_eq!(world.received[1], (addr("192.0.2.7:8"), b"fourth".to_vec()));
    world.client.close(world.now);
    assert!(world.run(MINUTE, |world| world.client.is_over()));
    assert!(!world.server.allocated);
    assert_eq!(world.client.poll_timeout(), None);
}

#[test]
fn an_allocation_outlives_its_first_lifetime_and_new_nonces() {
    let mut world = World::new(config("secret"), 0.0, 1);
    assert!(world.run(MINUTE, World::allocated));
    world.send(addr("192.0.2.7:7"), b"first");
    assert!(!world.run(MINUTE, |_| false));
    world.server.nonce += 1;
    assert!(!world.run(20 * MINUTE, |_| false));
    assert!(world.server.refreshed >= 3, "{}", world.server.refreshed);
    assert_eq!(world.events.len(), 1, "{:?}", world.events);
}

#[test]
fn wrong_credentials_are_told_once_with_their_code() {
    let mut world = World::new(config("wrong"), 0.0, 1);
    assert!(world.run(MINUTE, |world| !world.events.is_empty()));
    let [Event::Failed(failure)] = &world.events[..] else {
        panic!("{:?}", world.events);
    };
    assert_eq!(failure.code, 401);
    assert!(world.client.is_over());
}

#[test]
fn refusals_and_redirections_end_the_client() {
    let mut world = World::new(config("secret"), 0.0, 1);
    world.server.refuse = Some((486, None));
    assert!(world.run(MINUTE, |world| !world.events.is_empty()));
    let refused = Event::Failed(Failure {
        code: 486,
        reason: "no".into(),
    });
    assert_eq!(world.events, [refused]);
    let mut world = World::new(config("secret"), 0.0, 1);
    world.server.refuse = Some((300, Some(addr("192.0.2.99:3478"))));
    assert!(world.run(MINUTE, |world| !world.events.is_empty()));
    assert_eq!(world.events, [Event::Redirected(addr("192.0.2.99:3478"))]);
}

/// An answer to the request that leaves next, made by someone who sees it and has no key.
fn forged(client: &mut Client, code: u16) -> Bytes {
    let request = client.poll_packet().expect("a request");
    let request = Message::parse(&request).expect("STUN");
    Builder::new(Class::Error, request.method, request.transaction)
        .error(code, "forged")
        .attribute(attribute::REALM, REALM.as_bytes())
        .attribute(attribute::NONCE, b"forged")
        .finish()
}

#[test]
fn who_has_no_key_cannot_end_an_allocation() {
    for code in [300, 400, 401, 403, 437, 441, 486, 500] {
        let mut world = World::new(config("secret"), 0.0, 1);
        assert!(world.run(MINUTE, World::allocated));
        world.now += 6 * MINUTE; // the refresh is due after five
        world.client.handle_timeout(world.now);
        let reply = forged(&mut world.client, code);
        let received = world.client.handle_packet(&reply, world.now);
        assert_eq!(received, Received::Ignored, "{code}");
        assert!(!world.run(2 * MINUTE, |_| false));
        assert_eq!(world.events.len(), 1, "{code}: {:?}", world.events);
        assert_eq!(
            world.server.refreshed, 1,
            "{code}: the next try is answered"
        );
    }
}

#[test]
fn what_nobody_signed_is_told_when_nobody_else_answers() {
    let mut world = World::new(config("secret"), 0.0, 1);
    assert!(world.run(MINUTE, World::allocated));
    world.now += 6 * MINUTE;
    world.client.handle_timeout(world.now);
    let reply = forged(&mut world.client, 437);
    world.client.handle_packet(&reply, world.now);
    world.loss = 1.0;
    assert!(world.run(MINUTE, |world| world.events.len() == 2));
    let failed = Event::Failed(Failure {
        code: 437,
        reason: "forged".into(),
    });
    assert_eq!(world.events[1], failed);
}

#[test]
fn over_a_connection_an_unsigned_error_ends_the_request() {
    let reliable = Config {
        reliable: true,
        ..config("secret")
    };
    let mut world = World::new(reliable, 0.0, 1);
    assert!(world.run(MINUTE, World::allocated));
    world.now += 6 * MINUTE;
    world.client.handle_timeout(world.now);
    let reply = forged(&mut world.client, 437);
    let received = world.client.handle_packet(&reply, world.now);
    assert_eq!(received, Received::Answer);
    assert!(world.client.is_over());
}

#[test]
fn a_new_nonce_is_taken_unsigned_but_no_other_realm() {
    let mut world = World::new(config("secret"), 0.0, 1);
    assert!(world.run(MINUTE, World::allocated));
    world.now += 6 * MINUTE;
    world.client.handle_timeout(world.now);
    let request = world.client.poll_packet().expect("a request");
    let request = Message::parse(&request).expect("STUN").transaction;
    let stale = |realm: &str| {
        Builder::new(Class::Error, method::REFRESH, request)
            .error(438, "stale")
            .attribute(attribute::REALM, realm.as_bytes())
            .attribute(attribute::NONCE, b"2")
            .finish()
    };
    world.server.nonce = 2;
    let other = world.client.handle_packet(&stale("elsewhere"), world.now);
    assert_eq!(other, Received::Ignored);
    let same = world.client.handle_packet(&stale(REALM), world.now);
    assert_eq!(same, Received::Answer);
    assert!(world.run(MINUTE, |world| world.server.refreshed == 1));
}

#[test]
fn a_server_does_not_send_us_to_what_only_we_can_reach() {
    let mut world = World::new(config("secret"), 0.0, 1);
    world.server.refuse = Some((300, Some(addr("127.0.0.1:3478"))));
    assert!(world.run(MINUTE, |world| !world.events.is_empty()));
    assert!(
        matches!(&world.events[..], [Event::Failed(failure)] if failure.code == 300),
        "{:?}",
        world.events
    );
}

#[test]
fn a_relayed_address_has_to_be_one_that_a_host_can_have() {
    for relayed in ["0.0.0.0:5", "127.0.0.1:5", "224.0.0.1:5", "198.51.100.1:0"] {
        let mut world = World::new(config("secret"), 0.0, 1);
        world.server.relayed = vec![addr(relayed)];
        assert!(world.run(MINUTE, |world| !world.events.is_empty()));
        assert!(
            matches!(&world.events[..], [Event::Failed(failure)] if failure.code == 400),
            "{:?}",
            world.events
        );
    }
}

#[test]
fn a_server_may_relay_at_an_address_of_each_family() {
    let mut client = Client::new(config("secret"), Instant::now());
    let request = client.poll_packet().expect("a request");
    let request = Message::parse(&request).expect("STUN");
    let further = request.attribute(attribute::ADDITIONAL_ADDRESS_FAMILY);
    assert_eq!(further, Some(&[2, 0, 0, 0][..]));
    let cases = [
        (vec!["198.51.100.1:5", "[2001:db8::1]:6"], vec![0, 1]),
        (vec!["[2001:db8::1]:6"], vec![0]),
        (vec!["198.51.100.1:5", "198.51.100.1:6"], vec![0]),
        (vec!["[::1]:6", "198.51.100.1:5"], vec![1]),
    ];
    for (told, used) in cases {
        let told: Vec<SocketAddr> = told.into_iter().map(addr).collect();
        let mut world = World::new(config("secret"), 0.0, 1);
        world.server.relayed = told.clone();
        assert!(world.run(MINUTE, World::allocated), "{told:?}");
        let Some(Event::Allocated { relayed, .. }) = world.events.first() else {
            panic!("{:?}", world.events);
        };
        let expected: Vec<SocketAddr> = used.into_iter().map(|at| told[at]).collect();
        assert_eq!(*relayed, expected);
    }
}

#[test]
fn a_silent_server_is_given_up_with_701() {
    let mut world = World::new(config("secret"), 1.0, 1);
    assert!(world.run(MINUTE, |world| !world.events.is_empty()));
    assert!(matches!(&world.events[..], [Event::Failed(f)] if f.code == 701));
}

#[test]
fn a_success_that_the_server_has_not_signed_is_forged() {
    let now = Instant::now();
    let mut client = Client::new(config("secret"), now);
    let request = client.poll_packet().expect("a request");
    let id = Message::parse(&request).expect("STUN").transaction;
    let forged = Builder::new(Class::Success, method::ALLOCATE, id)
        .xor_address(attribute::XOR_RELAYED_ADDRESS, addr("198.51.100.66:1"))
        .xor_address(attribute::XOR_MAPPED_ADDRESS, addr("203.0.113.1:6000"));
    assert_eq!(
        client.handle_packet(&forged.finish(), now),
        Received::Ignored
    );
    assert_eq!(client.poll_event(), None);
}

#[test]
fn peers_and_what_waits_for_them_are_bounded() {
    let mut world = World::new(config("secret"), 0.0, 1);
    assert!(world.run(MINUTE, World::allocated));
    for port in 0..300 {
        for _ in 0..10 {
            world.send(SocketAddr::from(([192, 0, 2, 7], 1000 + port)), b"check");
        }
    }
    assert!(!world.run(Duration::from_secs(5), |_| false));
    assert_eq!(world.server.channels.len(), MAX_PEERS);
    assert_eq!(world.server.to_peers.len(), MAX_PEERS * MAX_WAITING);
}

#[test]
fn streams_are_cut_wherever_they_break() {
    let stun = Builder::new(Class::Indication, method::DATA, [1; 12]).finish();
    let mut stream = stun.to_vec();
    stream.extend_from_slice(b"\x40\x01\x00\x05hello\0\0\0");
    stream.extend_from_slice(&stun);
    for chunk in 1..stream.len() {
        let mut framer = Framer::default();
        let mut packets = Vec::new();
        for part in stream.chunks(chunk) {
            framer.buffer().extend_from_slice(part);
            while let Some(packet) = framer.next_packet().expect("well-formed") {
                packets.push(packet);
            }
        }
        assert_eq!(packets, [&stun[..], b"\x40\x01\x00\x05hello", &stun[..]]);
    }
    let mut framer = Framer::default();
    framer.buffer().extend_from_slice(b"SSH-2.0");
    assert_eq!(framer.next_packet(), Err(FrameError));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn a_lossy_link_only_delays(seed: u64, loss in 0.0..0.4) {
        let mut world = World::new(config("secret"), loss, seed);
        // Seven requests in a row may get lost, but hardly ever.
        if !world.run(2 * MINUTE, |world| !world.events.is_empty()) || !world.allocated() {
            return Ok(());
        }
        let peer = addr("192.0.2.7:7");
        for _ in 0..200 {
            world.send(peer, b"check");
            if world.run(Duration::from_secs(1), |world| world.server.to_peers.len() > 5) {
                break;
            }
        }
        prop_assert!(world.server.to_peers.len() > 5);
    }

    #[test]
    fn hostile_packets_are_values(
        packets in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..80), 0..20),
        cut in 0usize..200, flip in 0usize..1000,
    ) {
        let mut world = World::new(config("secret"), 0.0, 1);
        world.run(MINUTE, World::allocated);
        world.send(addr("192.0.2.7:7"), b"x");
        let now = world.now;
        for packet in &packets {
            world.client.handle_packet(packet, now);
            let mut stun = packet.clone();
            if stun.len() >= 20 {
                stun[0] &= 3;
                let length = (stun.len() - 20) as u16;
                stun[2..4].copy_from_slice(&length.to_be_bytes());
                stun[4..8].copy_from_slice(&[0x21, 0x12, 0xa4, 0x42]);
                world.client.handle_packet(&stun, now);
            }
        }
        let mut good = Builder::new(Class::Indication, method::DATA, [0; 12])
            .xor_address(attribute::XOR_PEER_ADDRESS, addr("192.0.2.7:8"))
            .attribute(attribute::DATA, b"fourth")
            .finish()
            .to_vec();
        let at = flip / 8 % good.len();
        good[at] ^= 1 << (flip % 8);
        good.truncate(cut);
        if let Received::Data { range, .. } = world.client.handle_packet(&good, now) {
            prop_assert!(range.end <= good.len());
        }
    }

    #[test]
    fn hostile_streams_end_or_wait(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let mut framer = Framer::default();
        framer.buffer().extend_from_slice(&bytes);
        while let Ok(Some(packet)) = framer.next_packet() {
            prop_assert!(packet.len() >= 4);
        }
    }
}
