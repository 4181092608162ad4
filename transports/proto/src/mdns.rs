//! Multicast DNS (RFC 6762) as far as candidates need it
//! (draft-ietf-mmusic-mdns-ice-candidates): asking for a name, and answering for our own.
//!
//! Why not the packaged `rtc-mdns`: one instance answers for one address only, forgets IPv6, and
//! logs an error for every malformed packet on the network.
//!
//! Order of calls: [`Mdns::register`] and [`Mdns::resolve`] at any time; after each input drain
//! [`Mdns::poll_event`] and [`Mdns::poll_packet`], whose packets go to [`GROUP`], then arm
//! [`Mdns::poll_timeout`].

use std::collections::{BTreeMap, VecDeque};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{Rng, SeedableRng as _};
use rand_chacha::ChaCha20Rng;

/// Where questions and answers go (RFC 6762 §3).
pub const GROUP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(224, 0, 0, 251)), 5353);

/// Names we answer for. Filled by the connections of a node, one for each of their addresses;
/// further ones are refused.
pub const MAX_NAMES: usize = 1024;

/// Names being asked for. Filled by remote candidates; further ones are refused.
pub const MAX_QUERIES: usize = 256;

/// How long after each time a question is asked again (RFC 6762 §5.2: one second at least, then
/// twice as long), however late we are called.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(2)];

/// How long after the last time a question is given up. Guess: with the pauses, as long as a
/// connection can wait for a candidate.
const PATIENCE: Duration = Duration::from_secs(4);

/// An answer is not repeated sooner (RFC 6762 §6).
const QUIET: Duration = Duration::from_secs(1);

/// Longest packet that is read (RFC 6762 §17) and most records of it.
const MAX_PACKET: usize = 9000;
const MAX_RECORDS: usize = 64;

const A: u16 = 1;
const AAAA: u16 = 28;
const ANY: u16 = 255;
const IN: u16 = 1;
/// Cache-flush bit of answers, unicast-response bit of questions (RFC 6762 §10.2, §5.4).
const TOP_BIT: u16 = 0x8000;
const TTL: u32 = 120;

/// What became of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The name, in lower case.
    pub name: String,
    /// Its address; `None` when nobody answered.
    pub address: Option<IpAddr>,
}

#[derive(Debug)]
struct Query {
    /// When it was asked last, and how often after the first time.
    asked_at: Instant,
    again: usize,
}

#[derive(Debug)]
struct Own {
    address: IpAddr,
    answered: Option<Instant>,
}

/// Asks and answers.
#[derive(Debug)]
pub struct Mdns {
    rng: ChaCha20Rng,
    names: BTreeMap<String, Own>,
    queries: BTreeMap<String, Query>,
    packets: VecDeque<Bytes>,
    events: VecDeque<Event>,
}

/// Whether a candidate's name is for multicast DNS: one label and `.local` (draft §3.2.1: a name
/// with more dots is not asked for), that fit into a packet.
pub fn is_mdns_name(name: &str) -> bool {
    let parts = name.split_once('.');
    parts.is_some_and(|(label, domain)| {
        (1..=63).contains(&label.len()) && domain.eq_ignore_ascii_case("local")
    })
}

impl Mdns {
    /// Knows no names. Those it makes are drawn from `seed`.
    pub fn new(seed: [u8; 32]) -> Self {
        Self {
            rng: ChaCha20Rng::from_seed(seed),
            names: BTreeMap::new(),
            queries: BTreeMap::new(),
            packets: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    /// A new name for an address of ours: a version 4 UUID (draft §3.1.1). `None` when there are
    /// too many.
    pub fn register(&mut self, address: IpAddr) -> Option<String> {
        let mut bytes = [0; 16];
        self.rng.fill_bytes(&mut bytes);
        let name = uuid_name(bytes);
        self.answer_for(&name, address).then_some(name)
    }

    /// Answers for a name of ours, made by [`uuid_name`]. `false` when there are too many.
    pub fn answer_for(&mut self, name: &str, address: IpAddr) -> bool {
        if self.names.len() >= MAX_NAMES {
            return false;
        }
        let answered = None;
        self.names
            .insert(name.to_owned(), Own { address, answered });
        true
    }

    /// Answers no more for a name.
    pub fn unregister(&mut self, name: &str) {
        self.names.remove(name);
    }

    /// Asks for a name. `false` when it is no such name, or there are too many questions.
    pub fn resolve(&mut self, name: &str, now: Instant) -> bool {
        let name = name.to_ascii_lowercase();
        if !is_mdns_name(&name) {
            return false;
        }
        if let Some(own) = self.names.get(&name) {
            let address = Some(own.address); // our own: nobody else would answer
            self.events.push_back(Event { name, address });
            return true;
        }
        if self.queries.contains_key(&name) {
            return true;
        }
        if self.queries.len() >= MAX_QUERIES {
            return false;
        }
        self.packets.push_back(question(&name));
        let query = Query {
            asked_at: now,
            again: 0,
        };
        self.queries.insert(name, query);
        true
    }

    /// Takes a packet from the group. What is malformed is ignored.
    pub fn handle_packet(&mut self, packet: &[u8], now: Instant) {
        if packet.len() > MAX_PACKET {
            return;
        }
        let mut reader = Reader { packet, at: 0 };
        // Records before a malformed one count.
        self.read(&mut reader, now).unwrap_or_default();
    }

    fn read(&mut self, reader: &mut Reader<'_>, now: Instant) -> Option<()> {
        reader.skip(2)?;
        let flags = reader.number()?;
        let (questions, answers) = (reader.number()?, reader.number()?);
        let others = reader.number()?.saturating_add(reader.number()?);
        let is_answer = flags & 0x8000 != 0;
        for _ in 0..usize::from(questions).min(MAX_RECORDS) {
            let name = reader.name()?;
            let kind = reader.number()?;
            reader.skip(2)?;
            if !is_answer {
                self.asked(&name, kind, now);
            }
        }
        let records = usize::from(answers.saturating_add(others));
        for _ in 0..records.min(MAX_RECORDS) {
            let (name, address) = reader.record()?;
            if let Some(address) = address.filter(|_| is_answer) {
                self.told(name, address);
            }
        }
        Some(())
    }

    fn asked(&mut self, name: &str, kind: u16, now: Instant) {
        let Some(own) = self.names.get_mut(name) else {
            return;
        };
        let wanted = match own.address {
            IpAddr::V4(_) => kind == A || kind == ANY,
            IpAddr::V6(_) => kind == AAAA || kind == ANY,
        };
        let recently = |at: Instant| now.saturating_duration_since(at) < QUIET;
        if wanted && !own.answered.is_some_and(recently) {
            own.answered = Some(now);
            self.packets.push_back(answer(name, own.address));
        }
    }

    fn told(&mut self, name: String, address: IpAddr) {
        if address.is_unspecified() || address.is_multicast() {
            return;
        }
        if self.queries.remove(&name).is_some() {
            let address = Some(address);
            self.events.push_back(Event { name, address });
        }
    }

    /// Repeats and gives up what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let mut late = Vec::new();
        for (name, query) in &mut self.queries {
            if query.due() > now {
                continue;
            }
            if query.again < PAUSES.len() {
                query.asked_at = now;
                query.again += 1;
                self.packets.push_back(question(name));
            } else {
                late.push(name.clone());
            }
        }
        for name in late {
            self.queries.remove(&name);
            let address = None;
            self.events.push_back(Event { name, address });
        }
    }

    /// When to call [`Mdns::handle_timeout`].
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.queries.values().map(Query::due).min()
    }

    /// The next packet for [`GROUP`].
    pub fn poll_packet(&mut self) -> Option<Bytes> {
        self.packets.pop_front()
    }

    /// What became of a question.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }
}

impl Query {
    fn due(&self) -> Instant {
        self.asked_at + PAUSES.get(self.again).copied().unwrap_or(PATIENCE)
    }
}

/// RFC 9562 §5.4.
/// A name for an address of ours: a version 4 UUID of these random bytes (draft §3.1.1).
pub fn uuid_name(mut bytes: [u8; 16]) -> String {
    bytes[6] = bytes[6] & 0x0f | 0x40;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let mut name = String::with_capacity(42);
    for (index, byte) in bytes.iter().enumerate() {
        if matches!(index, 4 | 6 | 8 | 10) {
            name.push('-');
        }
        name.push_str(&format!("{byte:02x}"));
    }
    name.push_str(".local");
    name
}

fn header(flags: u16, questions: u16, answers: u16) -> Vec<u8> {
    let mut packet = Vec::with_capacity(128);
    for number in [0, flags, questions, answers, 0, 0] {
        packet.extend_from_slice(&number.to_be_bytes());
    }
    packet
}

/// The name was checked by [`is_mdns_name`], or is one of ours: its labels are short.
fn put_name(packet: &mut Vec<u8>, name: &str) {
    for label in name.split('.') {
        packet.push(u8::try_from(label.len()).unwrap_or(0));
        packet.extend_from_slice(label.as_bytes());
    }
    packet.push(0);
}

fn question(name: &str) -> Bytes {
    let mut packet = header(0, 2, 0);
    for kind in [A, AAAA] {
        put_name(&mut packet, name);
        packet.extend_from_slice(&kind.to_be_bytes());
        packet.extend_from_slice(&IN.to_be_bytes());
    }
    packet.into()
}

fn answer(name: &str, address: IpAddr) -> Bytes {
    let mut packet = header(0x8400, 0, 1);
    put_name(&mut packet, name);
    let (kind, data) = match address {
        IpAddr::V4(ip) => (A, ip.octets().to_vec()),
        IpAddr::V6(ip) => (AAAA, ip.octets().to_vec()),
    };
    packet.extend_from_slice(&kind.to_be_bytes());
    packet.extend_from_slice(&(IN | TOP_BIT).to_be_bytes());
    packet.extend_from_slice(&TTL.to_be_bytes());
    packet.extend_from_slice(&u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
    packet.extend_from_slice(&data);
    packet.into()
}

struct Reader<'a> {
    packet: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.packet.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    fn skip(&mut self, len: usize) -> Option<()> {
        self.take(len).map(|_| ())
    }

    fn number(&mut self) -> Option<u16> {
        let bytes = self.take(2)?;
        Some(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A name, perhaps compressed (RFC 1035 §4.1.4): pointers go backwards only, so that it ends.
    fn name(&mut self) -> Option<String> {
        let mut name = String::new();
        let (mut at, mut end, mut limit) = (self.at, None, self.packet.len());
        loop {
            let len = usize::from(*self.packet.get(at).filter(|_| at < limit)?);
            match len {
                0 => break,
                1..=63 => {
                    let label = self.packet.get(at + 1..at + 1 + len)?;
                    if !name.is_empty() {
                        name.push('.');
                    }
                    name.push_str(std::str::from_utf8(label).ok()?);
                    at += 1 + len;
                }
                192.. => {
                    let low = usize::from(*self.packet.get(at + 1)?);
                    end.get_or_insert(at + 2);
                    let to = (len & 0x3f) << 8 | low;
                    if to >= at.min(limit) {
                        return None;
                    }
                    (limit, at) = (at, to);
                }
                _ => return None,
            }
            if name.len() > 253 {
                return None;
            }
        }
        self.at = end.unwrap_or(at + 1);
        Some(name.to_ascii_lowercase())
    }

    fn record(&mut self) -> Option<(String, Option<IpAddr>)> {
        let name = self.name()?;
        let (kind, class) = (self.number()?, self.number()?);
        self.skip(4)?;
        let len = usize::from(self.number()?);
        let data = self.take(len)?;
        let address = match (kind, class & !TOP_BIT) {
            (A, IN) => <[u8; 4]>::try_from(data)
                .ok()
                .map(|ip| Ipv4Addr::from(ip).into()),
            (AAAA, IN) => <[u8; 16]>::try_from(data)
                .ok()
                .map(|ip| Ipv6Addr::from(ip).into()),
            _ => None,
        };
        Some((name, address))
    }
}

#[cfg(test)]
#[allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn exchange(from: &mut Mdns, to: &mut Mdns, now: Instant) -> usize {
        let packets: Vec<Bytes> = std::iter::from_fn(|| from.poll_packet()).collect();
        packets
            .iter()
            .for_each(|packet| to.handle_packet(packet, now));
        packets.len()
    }

    #[test]
    fn a_name_is_asked_for_and_answered() {
        for ip in ["192.0.2.1", "2001:db8::1"] {
            let now = Instant::now();
            let (mut a, mut b) = (Mdns::new([1; 32]), Mdns::new([2; 32]));
            let ip: IpAddr = ip.parse().expect("an address");
            let name = b.register(ip).expect("room");
            assert!(
                is_mdns_name(&name) && name.len() == 42 && &name[14..15] == "4",
                "{name}"
            );
            assert!(a.resolve(&name.to_ascii_uppercase(), now));
            assert_eq!(exchange(&mut a, &mut b, now), 1);
            assert_eq!(exchange(&mut b, &mut a, now), 1);
            let found = Event {
                name,
                address: Some(ip),
            };
            assert_eq!(a.poll_event(), Some(found));
            assert_eq!(a.poll_timeout(), None);
        }
    }

    #[test]
    fn a_name_that_nobody_has_is_given_up() {
        let start = Instant::now();
        let mut a = Mdns::new([1; 32]);
        assert!(a.resolve("x.local", start));
        let mut packets = 0;
        while let Some(at) = a.poll_timeout() {
            a.handle_timeout(at);
            packets += std::iter::from_fn(|| a.poll_packet()).count();
        }
        assert_eq!(packets, 3);
        let nobody = Event {
            name: "x.local".into(),
            address: None,
        };
        assert_eq!(a.poll_event(), Some(nobody));
        assert!(!a.resolve("example.org", start), "that is for ordinary DNS");
    }

    /// As after a sleep of the machine.
    #[test]
    fn whoever_is_called_late_asks_no_faster() {
        let mut now = Instant::now();
        let mut node = Mdns::new([1; 32]);
        assert!(node.resolve("x.local", now));
        let mut asked = Vec::new();
        while let Some(due) = node.poll_timeout() {
            now = due + Duration::from_secs(20);
            node.handle_timeout(now);
            asked.push(std::iter::from_fn(|| node.poll_packet()).count());
            assert!(node.poll_timeout().is_none_or(|next| next > now));
        }
        assert_eq!(asked, [2, 1, 0]);
        assert!(
            node.poll_event()
                .is_some_and(|event| event.address.is_none())
        );
    }

    #[test]
    fn answers_are_not_repeated_at_once_and_only_while_the_name_is_ours() {
        let now = Instant::now();
        let (mut a, mut b) = (Mdns::new([1; 32]), Mdns::new([2; 32]));
        let name = b
            .register("192.0.2.1".parse().expect("an address"))
            .expect("room");
        for (after, answers) in [(0, 1), (100, 0), (2_000, 1)] {
            b.handle_packet(&question(&name), now + Duration::from_millis(after));
            assert_eq!(exchange(&mut b, &mut a, now), answers);
        }
        b.unregister(&name);
        b.handle_packet(&question(&name), now + Duration::from_secs(9));
        assert_eq!(exchange(&mut b, &mut a, now), 0);
        assert_eq!(a.poll_event(), None, "nobody asked");
    }

    #[test]
    fn compressed_names_are_read_and_loops_end() {
        let mut packet = header(0x8400, 0, 2);
        put_name(&mut packet, "y.local");
        packet.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 7]);
        packet.extend_from_slice(&[1, b'x', 0xc0, 14]); // x + ".local" of the name before
        packet.extend_from_slice(&[0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 192, 0, 2, 8]);
        let now = Instant::now();
        let mut a = Mdns::new([1; 32]);
        a.resolve("x.local", now);
        a.handle_packet(&packet, now);
        let found = a.poll_event().expect("an answer");
        assert_eq!(found.address, "192.0.2.8".parse().ok());
        let mut looping = header(0x8400, 0, 1);
        looping.extend_from_slice(&[0xc0, 12]);
        a.handle_packet(&looping, now);
    }

    proptest! {
        #[test]
        fn hostile_packets_are_values(
            mut packet in proptest::collection::vec(any::<u8>(), 0..200), patch: bool,
        ) {
            if patch && packet.len() > 12 {
                packet[2] |= 0x80;
                packet[4..12].copy_from_slice(&[0, 1, 0, 3, 0, 0, 0, 0]);
            }
            let now = Instant::now();
            let mut a = Mdns::new([1; 32]);
            a.register("192.0.2.1".parse().expect("an address"));
            a.resolve("x.local", now);
            a.handle_packet(&packet, now);
        }
    }
}
