//! Two stacks over two links.

use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use peerloom_transports_proto::candidate::Credentials;
use peerloom_transports_proto::certificate::Certificate;
use peerloom_transports_proto::channel::{self, ChannelInit, Message};
use peerloom_transports_proto::engine::Transmit;
use peerloom_transports_proto::id::{ChannelId, DtlsRole, IceRole, Path};
use peerloom_transports_proto::stack::{Event, Remote, Stack, StackConfig};
use peerloom_transports_proto::{dtls, ice};
use rand::SeedableRng;

use super::link::{Conditions, Link};

pub struct Pair {
    pub stacks: [Stack; 2],
    /// `links[n]` carries what stack n sends.
    pub links: [Link<(Path, Vec<u8>)>; 2],
    pub events: [Vec<Event>; 2],
    pub now: Instant,
    pub begun: Instant,
    /// Whether consumers take what arrives.
    pub takes: [bool; 2],
    /// Every datagram sent, when somebody wants to see them.
    pub capture: Option<Vec<(usize, Path, Vec<u8>)>>,
}

pub fn certificate() -> Certificate {
    Certificate::generate(SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000))
        .expect("certificate")
}

pub fn credentials(seed: u64) -> Credentials {
    Credentials::generate(&mut rand_chacha::ChaCha20Rng::seed_from_u64(seed))
}

pub fn remote_of(stack: &Stack, ice_role: IceRole, dtls_role: DtlsRole) -> Remote {
    Remote {
        credentials: stack.ice().local_credentials().clone(),
        fingerprints: vec![stack.fingerprint().clone()],
        ice_role,
        dtls_role,
        max_message_size: Some(262_144),
        peerloom_peer: true,
    }
}

impl Pair {
    pub fn new(config: &StackConfig, seed: u64, conditions: Conditions) -> Self {
        let now = Instant::now();
        let stack = |index: u8| {
            let hosts: Vec<SocketAddr> = [
                format!("10.0.0.{index}:{index}000"),
                format!("[fd00::{index}]:{index}000"),
            ]
            .iter()
            .map(|text| text.parse().expect("address"))
            .collect();
            let credentials = credentials(seed ^ u64::from(index));
            Stack::new(config.clone(), certificate(), credentials, &hosts, now).expect("stack")
        };
        let link = |n: u64| Link::new(seed.wrapping_mul(2).wrapping_add(n), conditions);
        Self {
            stacks: [stack(1), stack(2)],
            links: [link(0), link(1)],
            events: Default::default(),
            now,
            begun: now,
            takes: [true; 2],
            capture: None,
        }
    }

    /// Starts both, the first as controlling, and carries candidates. `client` is the DTLS client.
    pub fn start(&mut self, client: usize) {
        let role = |index: usize| {
            if index == client {
                DtlsRole::Client
            } else {
                DtlsRole::Server
            }
        };
        let a = remote_of(&self.stacks[1], IceRole::Controlling, role(0));
        let b = remote_of(&self.stacks[0], IceRole::Controlled, role(1));
        self.start_with(a, b);
    }

    pub fn start_with(&mut self, a: Remote, b: Remote) {
        self.stacks[0].start(a, self.now).expect("start");
        self.stacks[1].start(b, self.now).expect("start");
        self.drain();
        for index in 0..2 {
            for event in self.events[index].clone() {
                if let Event::Ice(ice::Event::LocalCandidate(candidate)) = event {
                    let other = &mut self.stacks[1 - index];
                    other
                        .add_remote_candidate(&candidate, self.now)
                        .expect("candidate");
                }
            }
        }
    }

    pub fn drain(&mut self) {
        for index in 0..2 {
            while let Some(event) = self.stacks[index].poll_event() {
                if self.takes[index]
                    && let Event::Channel(channel::Event::Messages { channel, messages }) = &event
                {
                    let cost = messages.iter().map(Message::cost).sum();
                    self.stacks[index].grant(*channel, cost, self.now);
                }
                self.events[index].push(event);
            }
            while let Some(transmit) = self.stacks[index].poll_transmit(self.now) {
                self.put(index, &transmit);
            }
        }
    }

    fn put(&mut self, index: usize, transmit: &Transmit) {
        for datagram in transmit.datagrams() {
            if let Some(capture) = &mut self.capture {
                capture.push((index, transmit.path, datagram.to_vec()));
            }
            self.links[index].send((transmit.path, datagram.to_vec()), self.now);
        }
    }

    /// Runs until `done` or until `limit` has passed; tells whether it was done.
    pub fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        let mut rounds = (self.now, 0);
        loop {
            rounds = if rounds.0 == self.now {
                (self.now, rounds.1 + 1)
            } else {
                (self.now, 0)
            };
            assert!(
                rounds.1 < 1000,
                "a timer asks to be run at once, without end"
            );
            self.drain();
            if done(self) {
                return true;
            }
            let timers = self
                .stacks
                .iter()
                .filter_map(|s| s.poll_timeout().map(|d| d.at));
            let links = self.links.iter().filter_map(Link::next_at);
            let Some(at) = timers.chain(links).min().filter(|at| *at <= end) else {
                self.now = end;
                return false;
            };
            self.now = self.now.max(at);
            for index in 0..2 {
                while let Some((path, packet)) = self.links[index].receive(self.now) {
                    self.stacks[1 - index].handle_packet(path.reversed(), &packet, self.now);
                }
            }
            for stack in &mut self.stacks {
                stack.handle_timeout(self.now);
            }
        }
    }

    pub fn connected(&self) -> bool {
        self.stacks
            .iter()
            .all(|stack| stack.channels().is_connected())
    }

    pub fn connect(&mut self) {
        assert!(
            self.run(Duration::from_secs(30), Self::connected),
            "not connected"
        );
    }

    /// Opens a channel on `end` and waits for the other to see it.
    pub fn open(&mut self, end: usize, init: ChannelInit) -> (ChannelId, ChannelId) {
        let known = self.accepted(1 - end).len();
        let ours = self.stacks[end].open(init, self.now).expect("open");
        assert!(
            self.run(Duration::from_secs(30), |pair| pair.accepted(1 - end).len()
                > known)
        );
        (ours, *self.accepted(1 - end).last().expect("accepted"))
    }

    pub fn accepted(&self, end: usize) -> Vec<ChannelId> {
        let accepted = |event: &Event| {
            let Event::Channel(channel::Event::Accepted(id)) = event else {
                return None;
            };
            Some(*id)
        };
        self.events[end].iter().filter_map(accepted).collect()
    }

    pub fn messages(&self, end: usize, id: ChannelId) -> Vec<Message> {
        let of = |event: &Event| {
            let Event::Channel(channel::Event::Messages { channel, messages }) = event else {
                return Vec::new();
            };
            if *channel == id {
                messages.clone()
            } else {
                Vec::new()
            }
        };
        self.events[end].iter().flat_map(of).collect()
    }

    pub fn closed(&self, end: usize, id: ChannelId) -> bool {
        self.events[end].iter().any(|event| {
            matches!(event, Event::Channel(channel::Event::Closed { channel, .. }) if *channel == id)
        })
    }

    pub fn dtls_version(&self, end: usize) -> Option<dtls::Version> {
        self.stacks[end].dtls().and_then(dtls::Transport::version)
    }
}
