//! Asking STUN servers what our addresses look like from outside (RFC 8445 §5.1.1.2).
//!
//! Order of calls: [`Reflexive::ask`] for each base and server; then after each input drain
//! [`Reflexive::poll_event`] and [`Reflexive::poll_transmit`], and arm
//! [`Reflexive::poll_timeout`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::message::{attribute, method};
use super::transaction::{Step, Token};
use super::{Builder, Class, Message, Transaction, TransactionId, TransactionIds, UNREACHABLE};
use crate::engine::Transmit;
use crate::id::Path;

/// Questions under way or repeated to keep a mapping: filled by gathering, one for each base and
/// server. More are refused: 16 addresses times 4 servers.
pub const MAX_PROBES: usize = 64;

/// Pause between the first packets of two questions (`Ta` of RFC 8445 §14.2, which allows 5 ms).
const PACE: Duration = Duration::from_millis(5);

/// How often a mapping is renewed while nothing else keeps it (RFC 8445 §11: 15 s).
const KEEPALIVE: Duration = Duration::from_secs(15);

/// Index of a server in the caller's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerId(pub u64);

/// What the servers said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// `base` is seen as `mapped`.
    Mapped {
        /// By whom.
        server: ServerId,
        /// Our own address.
        base: SocketAddr,
        /// What it looks like from there.
        mapped: SocketAddr,
    },
    /// Every question to a server has ended.
    Done {
        /// Which one.
        server: ServerId,
        /// Why it gave us nothing; `None` when it did.
        failure: Option<Failure>,
    },
}

/// Why a server gave no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Our address from which it was asked last.
    pub base: SocketAddr,
    /// A STUN code, or [`UNREACHABLE`].
    pub code: u16,
    /// Its reason.
    pub reason: String,
}

/// What became of [`Reflexive::ask`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// The question is on its way, perhaps since earlier; [`Event::Done`] follows.
    Now,
    /// It was answered before, and the answer is kept up to date.
    Before,
    /// The two addresses cannot reach each other: another family, or one of them is loopback.
    Apart,
    /// There are [`MAX_PROBES`] already.
    TooMany,
}

#[derive(Debug)]
struct Probe {
    server: ServerId,
    path: Path,
    transaction: Transaction,
    /// It only renews what is known.
    renewal: bool,
}

/// Asks, repeats, and keeps mappings alive.
#[derive(Debug)]
pub struct Reflexive {
    ids: TransactionIds,
    probes: BTreeMap<TransactionId, Probe>,
    renewals: BTreeMap<(Path, ServerId), Instant>,
    mapped: BTreeSet<ServerId>,
    next_start: Option<Instant>,
    events: VecDeque<Event>,
    packets: VecDeque<Transmit>,
}

impl Reflexive {
    /// Nobody is asked yet. `seed` has to be random.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            ids: TransactionIds::new(seed),
            probes: BTreeMap::new(),
            renewals: BTreeMap::new(),
            mapped: BTreeSet::new(),
            next_start: None,
            events: VecDeque::new(),
            packets: VecDeque::new(),
        }
    }

    /// What the ids of all our questions begin with.
    pub fn token(&self) -> Token {
        self.ids.token()
    }

    /// Asks the server at `path.remote` about `path.local`. Two servers at one address are asked
    /// each.
    pub fn ask(&mut self, server: ServerId, path: Path, now: Instant) -> Asked {
        let (ours, theirs) = (path.local.ip(), path.remote.ip());
        let apart =
            ours.is_ipv4() != theirs.is_ipv4() || ours.is_loopback() != theirs.is_loopback();
        let asking = |probe: &Probe| probe.path == path && probe.server == server;
        if apart {
            return Asked::Apart;
        }
        if self.renewals.contains_key(&(path, server)) {
            return Asked::Before;
        }
        if self.probes.values().any(asking) {
            return Asked::Now;
        }
        if self.probes.len() + self.renewals.len() >= MAX_PROBES {
            return Asked::TooMany;
        }
        let start = self.next_start.map_or(now, |at| now.max(at));
        self.next_start = Some(start + PACE);
        self.begin(server, path, false, start);
        Asked::Now
    }

    fn begin(&mut self, server: ServerId, path: Path, renewal: bool, start: Instant) {
        let id = self.ids.next_id();
        let packet = Builder::new(Class::Request, method::BINDING, id).finish();
        let probe = Probe {
            server,
            path,
            transaction: Transaction::new(packet, false, start),
            renewal,
        };
        self.probes.insert(id, probe);
    }

    /// Gives up what has not been answered yet: gathering has taken long enough.
    pub fn give_up(&mut self) {
        let waiting: Vec<TransactionId> = self.probes.keys().copied().collect();
        for id in waiting {
            self.fail(
                id,
                UNREACHABLE,
                "the server has not answered in time".into(),
            );
        }
    }

    /// Forgets what was asked from `base`: the address is gone. A server that was asked from
    /// nowhere else is not done before it is asked again.
    pub fn forget(&mut self, base: SocketAddr) {
        self.probes.retain(|_, probe| probe.path.local != base);
        self.renewals.retain(|(path, _), _| path.local != base);
    }

    /// Forgets what this server was asked, and what it said.
    pub fn forget_server(&mut self, server: ServerId) {
        self.probes.retain(|_, probe| probe.server != server);
        self.renewals.retain(|(_, other), _| *other != server);
        self.mapped.remove(&server);
    }

    /// Forgets everything, also what was to be renewed.
    pub fn stop(&mut self) {
        self.probes.clear();
        self.renewals.clear();
        self.packets.clear();
    }

    /// Takes a packet. `false` when it is no answer to a question of ours.
    pub fn handle_packet(&mut self, path: Path, packet: &[u8], now: Instant) -> bool {
        let Some(message) = Message::parse(packet) else {
            return false;
        };
        let asked = self.probes.get(&message.transaction);
        let ours = asked.is_some_and(|probe| probe.path.remote == path.remote);
        if !ours || message.method != method::BINDING {
            return false;
        }
        match message.class {
            Class::Success => self.answered(&message, now),
            Class::Error => {
                let (code, reason) = message.error().unwrap_or((UNREACHABLE, String::new()));
                self.fail(message.transaction, code, reason);
            }
            Class::Request | Class::Indication => return false,
        }
        true
    }

    fn answered(&mut self, message: &Message<'_>, now: Instant) {
        let mapped = message
            .xor_address(attribute::XOR_MAPPED_ADDRESS)
            .or_else(|| message.address(attribute::MAPPED_ADDRESS));
        let Some(mapped) = mapped.filter(|addr| addr.port() != 0 && !addr.ip().is_unspecified())
        else {
            let reason = "the server's answer has no address".into();
            return self.fail(message.transaction, 400, reason);
        };
        let Some(probe) = self.probes.remove(&message.transaction) else {
            return;
        };
        self.mapped.insert(probe.server);
        self.renewals
            .insert((probe.path, probe.server), now + KEEPALIVE);
        self.events.push_back(Event::Mapped {
            server: probe.server,
            base: probe.path.local,
            mapped,
        });
        self.conclude(&probe, None);
    }

    fn fail(&mut self, id: TransactionId, code: u16, reason: String) {
        let Some(probe) = self.probes.remove(&id) else {
            return;
        };
        let failure = Failure {
            base: probe.path.local,
            code,
            reason,
        };
        self.conclude(&probe, Some(failure));
    }

    /// Says so when this was the last question to its server.
    fn conclude(&mut self, probe: &Probe, failure: Option<Failure>) {
        let more = self
            .probes
            .values()
            .any(|other| other.server == probe.server && !other.renewal);
        if probe.renewal || more {
            return;
        }
        let failure = failure.filter(|_| !self.mapped.contains(&probe.server));
        let server = probe.server;
        self.events.push_back(Event::Done { server, failure });
    }

    /// Repeats, renews and gives up what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let renewals = self.renewals.iter().filter(|(_, at)| **at <= now);
        let renewals: Vec<(Path, ServerId)> = renewals.map(|(key, _)| *key).collect();
        for key in renewals {
            self.renewals.insert(key, now + KEEPALIVE);
            let asking = |probe: &Probe| (probe.path, probe.server) == key;
            let under_way = self.probes.values().any(asking);
            if !under_way {
                self.begin(key.1, key.0, true, now);
            }
        }
        let mut late = Vec::new();
        for (id, probe) in &mut self.probes {
            match probe.transaction.step(now) {
                Step::Wait => {}
                Step::Send(packet) => self.packets.push_back(Transmit::single(probe.path, packet)),
                Step::TimedOut => late.push(*id),
            }
        }
        for id in late {
            self.fail(id, UNREACHABLE, "the server does not answer".into());
        }
    }

    /// When to call [`Reflexive::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        let steps = self.probes.values().map(|probe| probe.transaction.due());
        steps.chain(self.renewals.values().copied()).min()
    }

    /// The next packet to send.
    pub fn poll_transmit(&mut self) -> Option<Transmit> {
        self.packets.pop_front()
    }

    /// What was learnt.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether answers are still awaited, renewals aside.
    pub fn is_asking(&self) -> bool {
        self.probes.values().any(|probe| !probe.renewal)
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]
mod tests {
    use super::*;

    fn addr(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    fn path() -> Path {
        Path::new(addr("192.168.1.2:4000"), addr("198.51.100.1:3478"))
    }

    fn answer(request: &Transmit, mapped: SocketAddr) -> bytes::Bytes {
        let request = Message::parse(&request.contents).expect("a request");
        assert_eq!(
            (request.class, request.method),
            (Class::Request, method::BINDING)
        );
        Builder::new(Class::Success, method::BINDING, request.transaction)
            .xor_address(attribute::XOR_MAPPED_ADDRESS, mapped)
            .finish()
    }

    #[test]
    fn what_was_asked_from_an_address_that_is_gone_is_asked_again() {
        let now = Instant::now();
        let mut engine = Reflexive::new([7; 32]);
        assert_eq!(engine.ask(ServerId(0), path(), now), Asked::Now);
        engine.handle_timeout(now);
        let request = engine.poll_transmit().expect("a request");
        let mapped = answer(&request, addr("203.0.113.9:61000"));
        assert!(engine.handle_packet(path(), &mapped, now));
        engine.forget(addr("192.168.1.3:4000"));
        let known = engine.ask(ServerId(0), path(), now);
        assert_eq!(known, Asked::Before, "another address");
        engine.forget(path().local);
        assert_eq!(engine.poll_timeout(), None, "nothing is renewed");
        assert_eq!(engine.ask(ServerId(0), path(), now), Asked::Now);
    }

    #[test]
    fn an_answer_gives_the_mapping_and_is_renewed() {
        let mut now = Instant::now();
        let mut engine = Reflexive::new([7; 32]);
        assert_eq!(engine.ask(ServerId(0), path(), now), Asked::Now);
        assert_eq!(engine.ask(ServerId(0), path(), now), Asked::Now, "the same");
        engine.handle_timeout(now);
        let request = engine.poll_transmit().expect("a request");
        assert_eq!(engine.poll_transmit(), None, "asked once");
        assert_eq!(request.contents[8..16], engine.token());
        let mapped = addr("203.0.113.9:61000");
        assert!(engine.handle_packet(path(), &answer(&request, mapped), now));
        let (server, base) = (ServerId(0), path().local);
        let event = Event::Mapped {
            server,
            base,
            mapped,
        };
        assert_eq!(engine.poll_event(), Some(event.clone()));
        let done = Event::Done {
            server,
            failure: None,
        };
        assert_eq!(engine.poll_event(), Some(done));
        assert_eq!(engine.ask(ServerId(0), path(), now), Asked::Before);
        // A router that was restarted gives us another port: the renewal tells.
        now += KEEPALIVE;
        assert_eq!(engine.poll_timeout(), Some(now));
        engine.handle_timeout(now);
        let renewal = engine.poll_transmit().expect("a renewal");
        let moved = addr("203.0.113.9:61001");
        assert!(engine.handle_packet(path(), &answer(&renewal, moved), now));
        let event = Event::Mapped {
            server,
            base,
            mapped: moved,
        };
        assert_eq!(engine.poll_event(), Some(event));
        assert_eq!(engine.poll_event(), None);
    }

    #[test]
    fn a_silent_server_is_given_up_with_701() {
        let mut engine = Reflexive::new([7; 32]);
        assert_eq!(engine.ask(ServerId(3), path(), Instant::now()), Asked::Now);
        let mut packets = 0;
        while let Some(at) = engine.poll_timeout() {
            engine.handle_timeout(at);
            packets += std::iter::from_fn(|| engine.poll_transmit()).count();
        }
        assert_eq!(packets, 7);
        let Some(Event::Done {
            server: ServerId(3),
            failure: Some(failure),
        }) = engine.poll_event()
        else {
            panic!("no failure");
        };
        assert_eq!((failure.code, failure.base), (UNREACHABLE, path().local));
    }

    #[test]
    fn strangers_cannot_answer() {
        let now = Instant::now();
        let mut engine = Reflexive::new([7; 32]);
        assert_eq!(engine.ask(ServerId(0), path(), now), Asked::Now);
        engine.handle_timeout(now);
        let request = engine.poll_transmit().expect("a request");
        let reply = answer(&request, addr("203.0.113.9:1"));
        let elsewhere = Path::new(path().local, addr("198.51.100.2:3478"));
        assert!(!engine.handle_packet(elsewhere, &reply, now));
        let mut other_id = reply.to_vec();
        other_id[19] ^= 1;
        assert!(!engine.handle_packet(path(), &other_id, now));
        for cut in 0..reply.len() {
            assert!(!engine.handle_packet(path(), &reply[..cut], now));
        }
        assert!(engine.handle_packet(path(), &reply, now));
    }

    #[test]
    fn families_and_loopback_are_not_mixed_and_questions_are_bounded() {
        let now = Instant::now();
        let mut engine = Reflexive::new([7; 32]);
        let six = Path::new(addr("[2001:db8::1]:1"), path().remote);
        let own = Path::new(addr("127.0.0.1:1"), path().remote);
        assert_eq!(engine.ask(ServerId(0), six, now), Asked::Apart);
        assert_eq!(engine.ask(ServerId(0), own, now), Asked::Apart);
        for port in 0..100 {
            let local = SocketAddr::new(path().local.ip(), 1 + port);
            let asked = engine.ask(ServerId(0), Path::new(local, path().remote), now);
            let room = usize::from(port) < MAX_PROBES;
            assert_eq!(asked, if room { Asked::Now } else { Asked::TooMany });
        }
    }

    #[test]
    fn two_servers_at_one_address_are_both_answered() {
        let now = Instant::now();
        let mut engine = Reflexive::new([7; 32]);
        let mut answered = Vec::new();
        for id in [ServerId(0), ServerId(1)] {
            assert_eq!(engine.ask(id, path(), now), Asked::Now);
        }
        engine.handle_timeout(now + PACE);
        let requests: Vec<_> = std::iter::from_fn(|| engine.poll_transmit()).collect();
        for request in &requests {
            let reply = answer(request, addr("203.0.113.9:61000"));
            assert!(engine.handle_packet(path(), &reply, now + PACE));
        }
        while let Some(event) = engine.poll_event() {
            if let Event::Done { server, failure } = event {
                answered.push((server, failure));
            }
        }
        assert_eq!(answered, [(ServerId(0), None), (ServerId(1), None)]);
    }
}
