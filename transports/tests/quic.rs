//! QUIC connections and data channels on them, over a link on virtual time.

use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use peerloom_transports::proto::certificate::Certificate;
use peerloom_transports::proto::channel::{
    ChannelInit, Channels, Event as ChannelEvent, Message, Reliability,
};
use peerloom_transports::proto::config::{ChannelConfig, QuicConfig};
use peerloom_transports::proto::engine::Transmit;
use peerloom_transports::proto::id::{ChannelId, DtlsRole, Path};
use peerloom_transports::proto::quic::Mapping;
use peerloom_transports::quic::{Connection, Error, Event};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const LATENCY: Duration = Duration::from_millis(5);

struct End {
    mapping: Mapping<Connection>,
    channels: Channels,
    events: Vec<Event>,
    channel_events: Vec<ChannelEvent>,
}

struct Pair {
    ends: [End; 2],
    now: Instant,
    wire: Vec<(Instant, usize, Bytes)>,
    loss: f64,
    chance: StdRng,
}

fn certificate() -> Certificate {
    Certificate::generate(SystemTime::now()).expect("a certificate")
}

impl Pair {
    fn new() -> Pair {
        let certificates = [certificate(), certificate()];
        let expected = [certificates[1].clone(), certificates[0].clone()];
        Pair::with(certificates, expected)
    }

    fn with(certificates: [Certificate; 2], expected: [Certificate; 2]) -> Pair {
        let now = Instant::now();
        let end = |n: usize, role| {
            let config = QuicConfig::default();
            let pins = vec![expected[n].fingerprint().clone()];
            let connection = Connection::new(&config, &certificates[n], role, pins, now);
            let mut channels = Channels::new(ChannelConfig {
                remote_max_message_size: Some(256 * 1024),
                peerloom_peer: true,
                ..ChannelConfig::default()
            });
            channels.start(role);
            End {
                mapping: Mapping::new(connection.expect("settings"), config),
                channels,
                events: Vec::new(),
                channel_events: Vec::new(),
            }
        };
        Pair {
            ends: [end(0, DtlsRole::Client), end(1, DtlsRole::Server)],
            now,
            wire: Vec::new(),
            loss: 0.0,
            chance: StdRng::seed_from_u64(7),
        }
    }

    fn drain(&mut self) {
        let now = self.now;
        let address = "127.0.0.1:1".parse().expect("an address");
        for (n, end) in self.ends.iter_mut().enumerate() {
            while let Some(event) = end.mapping.transport_mut().poll_event() {
                if let Event::Connected { .. } = event {
                    end.mapping.start();
                }
                end.events.push(event);
            }
            end.channels.pump(&mut end.mapping, now);
            while let Some(event) = end.channels.poll_event() {
                if let ChannelEvent::Messages { channel, messages } = &event {
                    let cost = messages.iter().map(Message::cost).sum();
                    end.channels.grant(*channel, cost);
                }
                end.channel_events.push(event);
            }
            let path = Path::new(address, address);
            let transport = end.mapping.transport_mut();
            while let Some(batch) = transport.poll_transmit(path, now) {
                let lost = |chance: &mut StdRng| chance.random::<f64>() < self.loss;
                for datagram in Transmit::datagrams(&batch) {
                    let class = peerloom_transports::udp::PacketClass::of(datagram);
                    use peerloom_transports::udp::PacketClass::{Quic, TurnChannelOrQuic};
                    assert!(matches!(class, Quic | TurnChannelOrQuic), "{class:?}");
                    assert!(datagram.len() <= 1452);
                    if !lost(&mut self.chance) {
                        let datagram = Bytes::copy_from_slice(datagram);
                        self.wire.push((now + LATENCY, 1 - n, datagram));
                    }
                }
            }
        }
    }

    fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            let mut times: Vec<Instant> = self.wire.iter().map(|(at, ..)| *at).collect();
            for end in &mut self.ends {
                times.extend(end.mapping.transport_mut().poll_timeout());
                times.extend(end.mapping.poll_timeout().map(|it| it.at));
                times.extend(end.channels.poll_timeout().map(|it| it.at));
            }
            let Some(at) = times.into_iter().min().filter(|at| *at <= end) else {
                self.now = end;
                return false;
            };
            self.now = self.now.max(at);
            let now = self.now;
            for (_, to, datagram) in self.wire.extract_if(.., |it| it.0 <= now) {
                let transport = self.ends[to].mapping.transport_mut();
                transport.handle_datagram(&datagram, now);
            }
            for end in &mut self.ends {
                let timeout = end.mapping.transport_mut().poll_timeout();
                if timeout.is_some_and(|at| at <= now) {
                    end.mapping.transport_mut().handle_timeout(now);
                }
                end.mapping.handle_timeout(now);
            }
        }
    }

    fn connect(&mut self) {
        let connected = |end: &End| end.mapping.transport().is_connected();
        let both = |pair: &Pair| pair.ends.iter().all(connected);
        assert!(self.run(Duration::from_secs(30), both), "no connection");
    }

    fn open(&mut self, init: ChannelInit) -> (ChannelId, ChannelId) {
        let ours = self.ends[0].channels.open(init).expect("a channel");
        let accepted = |pair: &Pair| {
            let mut events = pair.ends[1].channel_events.iter().rev();
            events.find_map(|event| {
                let ChannelEvent::Accepted(id) = event else {
                    return None;
                };
                Some(*id)
            })
        };
        let before = accepted(self);
        assert!(self.run(Duration::from_secs(30), |pair| accepted(pair) != before));
        (ours, accepted(self).expect("just seen"))
    }

    fn received(&self, end: usize, id: ChannelId) -> Vec<Message> {
        let events = self.ends[end].channel_events.iter();
        let of = |event: &ChannelEvent| {
            if let ChannelEvent::Messages { channel, messages } = event
                && *channel == id
            {
                return messages.clone();
            }
            Vec::new()
        };
        events.flat_map(of).collect()
    }
}

/// Messages that tell their number.
fn numbered(count: u32, len: usize) -> Vec<Message> {
    let message = |n: u32| {
        let mut data = vec![0; len];
        data[..4].copy_from_slice(&n.to_be_bytes());
        Message::Binary(data.into())
    };
    (0..count).map(message).collect()
}

fn number(message: &Message) -> u32 {
    let Message::Binary(data) = message else {
        panic!("only binary ones were sent")
    };
    u32::from_be_bytes(data[..4].try_into().expect("4 bytes"))
}

#[test]
fn the_handshake_takes_both_certificates() {
    let mut pair = Pair::new();
    pair.connect();
    for end in &pair.ends {
        let [Event::Connected { peer_certificate }] = &end.events[..] else {
            panic!("{:?}", end.events)
        };
        assert!(!peer_certificate.is_empty());
    }
}

#[test]
fn another_certificate_than_the_described_one_is_refused_by_either_end() {
    for wrong in [0, 1] {
        let certificates = [certificate(), certificate()];
        let mut expected = [certificates[1].clone(), certificates[0].clone()];
        expected[wrong] = certificate();
        let mut pair = Pair::with(certificates, expected);
        let failed = |pair: &Pair| {
            let events = &pair.ends[wrong].events;
            events.contains(&Event::Failed(Error::Fingerprint))
        };
        assert!(pair.run(Duration::from_secs(30), failed), "end {wrong}");
        let refused = |pair: &Pair| {
            let refused = |event: &Event| matches!(event, Event::Failed(Error::Refused(_)));
            pair.ends[1 - wrong].events.iter().any(refused)
        };
        assert!(pair.run(Duration::from_secs(30), refused), "end {wrong}");
        let connected = |event: &Event| matches!(event, Event::Connected { .. });
        assert!(!pair.ends[wrong].events.iter().any(connected));
    }
}

#[test]
fn reliable_channels_lose_nothing_on_a_lossy_link() {
    for ordered in [true, false] {
        let mut pair = Pair::new();
        pair.loss = 0.05;
        pair.connect();
        let (ours, theirs) = pair.open(ChannelInit {
            ordered,
            ..ChannelInit::default()
        });
        // The peer's ACK is here: unordered messages may overtake each other now.
        pair.run(Duration::from_secs(1), |_| false);
        let messages = numbered(300, 3000);
        for message in &messages {
            let channels = &mut pair.ends[0].channels;
            channels.send(ours, message.clone()).expect("room");
        }
        let all = |pair: &Pair| pair.received(1, theirs).len() == messages.len();
        assert!(pair.run(Duration::from_secs(60), all), "ordered: {ordered}");
        let mut numbers: Vec<u32> = pair.received(1, theirs).iter().map(number).collect();
        if !ordered {
            assert!(!numbers.is_sorted(), "nothing ever overtook anything");
            numbers.sort_unstable();
        }
        assert_eq!(numbers, (0..300).collect::<Vec<u32>>());
        let through = |pair: &Pair| pair.ends[0].channels.buffered_amount(ours) == 0;
        assert!(pair.run(Duration::from_secs(30), through));
    }
}

#[test]
fn unreliable_channels_lose_some_and_keep_their_order() {
    for (ordered, reliability, len) in [
        (true, Reliability::MaxRetransmits(0), 500),
        (true, Reliability::MaxRetransmits(0), 5000),
        (true, Reliability::MaxLifetime(20), 5000),
        (false, Reliability::MaxRetransmits(0), 500),
        (false, Reliability::MaxLifetime(20), 5000),
    ] {
        let mut pair = Pair::new();
        pair.connect();
        let (ours, theirs) = pair.open(ChannelInit {
            ordered,
            reliability,
            ..ChannelInit::default()
        });
        // The peer's ACK is here: what is sent now is not reliable any more.
        pair.run(Duration::from_secs(1), |_| false);
        pair.loss = 0.1;
        for message in numbered(200, len) {
            pair.ends[0].channels.send(ours, message).expect("room");
            pair.run(Duration::from_millis(15), |_| false);
        }
        pair.loss = 0.0;
        pair.run(Duration::from_secs(20), |_| false);
        let numbers: Vec<u32> = pair.received(1, theirs).iter().map(number).collect();
        let stats = pair.ends[1].mapping.stats();
        let some = !numbers.is_empty() && numbers.len() < 200;
        assert!(
            some,
            "{ordered} {reliability:?} {len}: {}, {stats:?}",
            numbers.len()
        );
        assert!(!ordered || numbers.is_sorted(), "{numbers:?}");
        assert_eq!(pair.ends[0].channels.buffered_amount(ours), 0);
        // And the channel goes on.
        let after = numbered(1, 10).remove(0);
        pair.ends[0].channels.send(ours, after).expect("room");
        let more = |pair: &Pair| pair.received(1, theirs).len() == numbers.len() + 1;
        assert!(pair.run(Duration::from_secs(5), more), "{reliability:?}");
    }
}

#[test]
fn the_end_of_a_connection_comes_behind_what_has_arrived() {
    let mut pair = Pair::new();
    pair.connect();
    let (ours, theirs) = pair.open(ChannelInit::default());
    let channels = &mut pair.ends[0].channels;
    channels.send(ours, Message::from("last")).expect("room");
    pair.drain();
    let now = pair.now;
    pair.ends[0].mapping.transport_mut().close(now);
    let closed = |pair: &Pair| pair.ends[1].events.contains(&Event::Closed);
    assert!(pair.run(Duration::from_secs(5), closed));
    assert_eq!(pair.received(1, theirs), [Message::from("last")]);
}

#[test]
fn hundreds_of_channels_opened_by_both_ends_all_work() {
    const COUNT: usize = 500;
    let mut pair = Pair::new();
    pair.connect();
    for end in &mut pair.ends {
        for n in 0..COUNT {
            let init = ChannelInit {
                label: n.to_string(),
                ..ChannelInit::default()
            };
            end.channels.open(init).expect("a channel");
        }
    }
    let count = |end: &End, wanted: fn(&ChannelEvent) -> bool| {
        end.channel_events.iter().filter(|it| wanted(it)).count()
    };
    let accepted = |end: &End| count(end, |it| matches!(it, ChannelEvent::Accepted(_)));
    let all = |pair: &Pair| pair.ends.iter().all(|end| accepted(end) == COUNT);
    let opened = pair.run(Duration::from_secs(20), all);
    assert!(opened, "{:?}", pair.ends.each_ref().map(accepted));
    for end in &mut pair.ends {
        let ids: Vec<ChannelId> = end.channels.ids().collect();
        assert_eq!(ids.len(), 2 * COUNT);
        for id in ids {
            end.channels.send(id, Message::from("x")).expect("open");
        }
    }
    let received = |end: &End| {
        let messages = |event: &ChannelEvent| {
            if let ChannelEvent::Messages { messages, .. } = event {
                messages.len()
            } else {
                0
            }
        };
        end.channel_events.iter().map(messages).sum::<usize>()
    };
    let all = |pair: &Pair| pair.ends.iter().all(|end| received(end) == 2 * COUNT);
    let arrived = pair.run(Duration::from_secs(20), all);
    assert!(arrived, "{:?}", pair.ends.each_ref().map(received));
}
