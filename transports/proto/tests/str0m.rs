//! A second opinion: our stack against str0m in one process, in every pairing of roles, over a
//! clean and over a rough link.

#![allow(
    clippy::disallowed_methods,
    reason = "a test has to begin at some instant"
)]

mod support;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use peerloom_transports_proto::candidate::Credentials;
use peerloom_transports_proto::certificate::{Fingerprint, HashFunction};
use peerloom_transports_proto::channel::{self, ChannelInit, Message, Priority, Reliability};
use peerloom_transports_proto::id::{ChannelId, DtlsRole, IceRole, Path, StreamId};
use peerloom_transports_proto::stack::{Event, Remote, Stack, StackConfig};
use peerloom_transports_proto::{dtls, ice};
use str0m::channel::{ChannelConfig, ChannelData, Reliability as TheirReliability};
use str0m::config::DtlsVersion;
use str0m::net::{Protocol, Receive};
use str0m::{Candidate, IceCreds, Input, Output, Rtc, RtcConfig};

use support::link::{Conditions, Link};
use support::pair::{certificate, credentials};

struct Duel {
    ours: Stack,
    theirs: Rtc,
    up: Link<Vec<u8>>,
    down: Link<Vec<u8>>,
    now: Instant,
    their_timeout: Instant,
    our_events: Vec<Event>,
    their_events: Vec<str0m::Event>,
    /// What str0m sends back, as its buffer takes it.
    echoes: VecDeque<ChannelData>,
    /// What str0m got: binary or not, and how long.
    received: Vec<(bool, usize)>,
}

fn our_addr() -> SocketAddr {
    "10.0.0.1:1000".parse().expect("address")
}

fn their_addr() -> SocketAddr {
    "10.0.0.2:2000".parse().expect("address")
}

impl Duel {
    fn new(ice_role: IceRole, dtls_role: DtlsRole, conditions: Conditions) -> Self {
        Self::with_version(DtlsVersion::Dtls13, ice_role, dtls_role, conditions)
    }

    fn with_version(
        version: DtlsVersion,
        ice_role: IceRole,
        dtls_role: DtlsRole,
        conditions: Conditions,
    ) -> Self {
        let now = Instant::now();
        let hosts = [our_addr()];
        let mut ours = Stack::new(
            StackConfig::default(),
            certificate(),
            credentials(1),
            &hosts,
            now,
        )
        .expect("stack");
        let crypto = str0m::crypto::from_feature_flags();
        let config = RtcConfig::new()
            .set_crypto_provider(crypto.into())
            .set_dtls_version(version);
        let mut theirs = config
            .set_sctp_max_message_size(262_144)
            .set_sctp_max_buffered_amount(1 << 20)
            .build(now);
        let candidate = |addr| Candidate::host(addr, "udp").expect("candidate");
        theirs
            .add_local_candidate(candidate(their_addr()))
            .expect("candidate");
        theirs.add_remote_candidate(candidate(our_addr()));
        tell_them(&mut theirs, &ours, ice_role, dtls_role);
        ours.start(remote_of(&mut theirs, ice_role, dtls_role), now)
            .expect("start");
        let line = peerloom_transports_proto::candidate::Candidate::host(their_addr(), 65535);
        ours.add_remote_candidate(&line, now).expect("candidate");
        Self {
            ours,
            theirs,
            up: Link::new(3, conditions),
            down: Link::new(4, conditions),
            now,
            their_timeout: now,
            our_events: Vec::new(),
            their_events: Vec::new(),
            echoes: VecDeque::new(),
            received: Vec::new(),
        }
    }

    fn echo(&mut self) {
        while let Some(data) = self.echoes.front() {
            let mut channel = self.theirs.channel(data.id).expect("channel");
            if !channel.write(data.binary, &data.data).expect("write") {
                return;
            }
            self.echoes.pop_front();
        }
    }

    fn drain(&mut self) {
        self.echo();
        while let Some(event) = self.ours.poll_event() {
            if let Event::Channel(channel::Event::Messages { channel, messages }) = &event {
                let cost = messages.iter().map(Message::cost).sum();
                self.ours.grant(*channel, cost, self.now);
            }
            self.our_events.push(event);
        }
        while let Some(transmit) = self.ours.poll_transmit(self.now) {
            for datagram in transmit.datagrams() {
                self.up.send(datagram.to_vec(), self.now);
            }
        }
        loop {
            match self.theirs.poll_output().expect("str0m") {
                Output::Timeout(at) => {
                    self.their_timeout = at;
                    return;
                }
                Output::Transmit(transmit) => {
                    self.down.send(transmit.contents.to_vec(), self.now);
                }
                Output::Event(event) => self.their_event(event),
            }
        }
    }

    fn their_event(&mut self, event: str0m::Event) {
        if let str0m::Event::ChannelData(data) = event {
            self.received.push((data.binary, data.data.len()));
            // It would send an empty message as a DATA chunk without data, which RFC 9260 §3.3.1
            // forbids, and without SDP it takes 64 KiB for our limit.
            if (1..=65_536).contains(&data.data.len()) {
                self.echoes.push_back(data);
            }
            return;
        }
        self.their_events.push(event);
    }

    fn run(&mut self, limit: Duration, done: impl Fn(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            self.drain();
            if done(self) {
                return true;
            }
            let ours = self.ours.poll_timeout().map(|d| d.at);
            let links = [self.up.next_at(), self.down.next_at()];
            let at = links
                .into_iter()
                .flatten()
                .chain(ours)
                .chain([self.their_timeout])
                .min();
            let Some(at) = at.filter(|at| *at <= end) else {
                self.now = end;
                return false;
            };
            self.now = self.now.max(at);
            self.deliver();
            self.ours.handle_timeout(self.now);
            if self.their_timeout <= self.now {
                self.theirs
                    .handle_input(Input::Timeout(self.now))
                    .expect("str0m");
            }
        }
    }

    fn deliver(&mut self) {
        while let Some(packet) = self.down.receive(self.now) {
            self.ours
                .handle_packet(Path::new(our_addr(), their_addr()), &packet, self.now);
        }
        while let Some(packet) = self.up.receive(self.now) {
            let receive = Receive::new(Protocol::Udp, our_addr(), their_addr(), &packet);
            let Ok(receive) = receive else { continue };
            self.theirs
                .handle_input(Input::Receive(self.now, receive))
                .expect("str0m");
            while let Output::Event(event) = self.peek_theirs() {
                self.their_event(event);
            }
        }
    }

    /// str0m wants to be drained after each input.
    fn peek_theirs(&mut self) -> Output {
        loop {
            match self.theirs.poll_output().expect("str0m") {
                Output::Transmit(transmit) => self.down.send(transmit.contents.to_vec(), self.now),
                Output::Timeout(at) => {
                    self.their_timeout = at;
                    return Output::Timeout(at);
                }
                Output::Event(event) => return Output::Event(event),
            }
        }
    }

    fn connect(&mut self) {
        let connected = |duel: &Self| duel.ours.channels().is_connected();
        assert!(
            self.run(Duration::from_secs(60), connected),
            "not connected"
        );
    }

    fn open(&mut self, init: ChannelInit) -> ChannelId {
        let before = self.their_opened();
        let id = self.ours.open(init, self.now).expect("open");
        assert!(self.run(Duration::from_secs(30), |duel| duel.their_opened() > before));
        id
    }

    fn their_opened(&self) -> usize {
        let opened = |event: &&str0m::Event| matches!(event, str0m::Event::ChannelOpen(..));
        self.their_events.iter().filter(opened).count()
    }

    fn their_channel(&self, label: &str) -> str0m::channel::ChannelId {
        let found = self.their_events.iter().find_map(|event| {
            let str0m::Event::ChannelOpen(id, l) = event else {
                return None;
            };
            (l == label).then_some(*id)
        });
        found.expect("opened")
    }

    fn accepted(&self) -> Option<ChannelId> {
        self.our_events.iter().find_map(|event| {
            let Event::Channel(channel::Event::Accepted(id)) = event else {
                return None;
            };
            Some(*id)
        })
    }

    fn messages(&self, id: ChannelId) -> Vec<Message> {
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
        self.our_events.iter().flat_map(of).collect()
    }

    fn our_closed(&self, id: ChannelId) -> bool {
        self.our_events.iter().any(|event| {
            matches!(event, Event::Channel(channel::Event::Closed { channel, .. }) if *channel == id)
        })
    }
}

fn tell_them(theirs: &mut Rtc, ours: &Stack, ice_role: IceRole, dtls_role: DtlsRole) {
    let credentials = ours.ice().local_credentials();
    let mut api = theirs.direct_api();
    api.set_remote_ice_credentials(IceCreds {
        ufrag: credentials.ufrag.clone(),
        pass: credentials.pwd.clone(),
    });
    api.set_remote_fingerprint(str0m::crypto::Fingerprint {
        hash_func: "sha-256".into(),
        bytes: ours.fingerprint().value.clone(),
    });
    api.set_ice_controlling(ice_role == IceRole::Controlled);
    api.start_dtls(dtls_role == DtlsRole::Server).expect("dtls");
    api.start_sctp(dtls_role == DtlsRole::Server);
}

fn remote_of(theirs: &mut Rtc, ice_role: IceRole, dtls_role: DtlsRole) -> Remote {
    let creds = theirs.direct_api().local_ice_credentials();
    let value = theirs.direct_api().local_dtls_fingerprint().bytes.clone();
    Remote {
        credentials: Credentials {
            ufrag: creds.ufrag,
            pwd: creds.pass,
        },
        fingerprints: vec![Fingerprint {
            hash: HashFunction::Sha256,
            value,
        }],
        ice_role,
        dtls_role,
        max_message_size: Some(262_144),
        peerloom_peer: false,
    }
}

const ROLES: [(IceRole, DtlsRole); 4] = [
    (IceRole::Controlling, DtlsRole::Client),
    (IceRole::Controlling, DtlsRole::Server),
    (IceRole::Controlled, DtlsRole::Client),
    (IceRole::Controlled, DtlsRole::Server),
];

fn labelled(label: &str) -> ChannelInit {
    ChannelInit {
        label: label.into(),
        ..ChannelInit::default()
    }
}

#[test]
fn all_pairings_of_roles_connect_and_echo_all_sizes() {
    let versions = [
        (DtlsVersion::Dtls12, dtls::Version::Dtls12),
        (DtlsVersion::Dtls13, dtls::Version::Dtls13),
        (DtlsVersion::Auto, dtls::Version::Dtls13),
    ];
    for ((ice_role, dtls_role), (offered, negotiated)) in ROLES
        .into_iter()
        .flat_map(|roles| versions.map(|version| (roles, version)))
    {
        let mut duel = Duel::with_version(offered, ice_role, dtls_role, Conditions::CLEAN);
        duel.connect();
        let version = duel.ours.dtls().and_then(dtls::Transport::version);
        assert_eq!(version, Some(negotiated));
        let id = duel.open(labelled("echo"));
        let mut expected = Vec::new();
        for size in [0, 1, 1024, 65_536, 200_000] {
            expected.push(Message::Text("x".repeat(size)));
            expected.push(Message::Binary(vec![3; size].into()));
        }
        for (index, message) in expected.iter().enumerate() {
            duel.ours.send(id, message.clone(), duel.now).expect("send");
            let there = |duel: &Duel| duel.received.len() == index + 1;
            assert!(
                duel.run(Duration::from_secs(30), there),
                "{ice_role:?} {dtls_role:?} {index}"
            );
            let binary = matches!(message, Message::Binary(_));
            assert_eq!(duel.received.last(), Some(&(binary, message.len())));
        }
        expected.retain(|message| (1..=65_536).contains(&message.len()));
        let back = |duel: &Duel| duel.messages(id).len() == expected.len();
        assert!(
            duel.run(Duration::from_secs(30), back),
            "{ice_role:?} {dtls_role:?}"
        );
        assert!(duel.messages(id) == expected);
        let long = Message::Binary(vec![0; 262_145].into());
        assert!(duel.ours.send(id, long, duel.now).is_err());
    }
}

#[test]
fn a_rough_link_delays_but_neither_loses_nor_doubles() {
    rough_link(DtlsVersion::Dtls13);
}

#[test]
fn a_rough_link_delays_but_neither_loses_nor_doubles_under_dtls_1_2() {
    rough_link(DtlsVersion::Dtls12);
}

fn rough_link(version: DtlsVersion) {
    for (ice_role, dtls_role) in ROLES {
        let mut duel = Duel::with_version(version, ice_role, dtls_role, Conditions::ROUGH);
        duel.connect();
        let id = duel.open(labelled("echo"));
        let message = |i: u32| Message::Text(format!("{i:08}").repeat(100));
        for i in 0..150 {
            duel.ours.send(id, message(i), duel.now).expect("send");
            duel.run(Duration::from_millis(5), |_| false);
        }
        let all = |duel: &Duel| duel.messages(id).len() == 150;
        assert!(
            duel.run(Duration::from_secs(120), all),
            "{ice_role:?} {dtls_role:?}"
        );
        assert_eq!(duel.messages(id), (0..150).map(message).collect::<Vec<_>>());
    }
}

#[test]
fn channels_look_the_same_from_both_sides() {
    let mut duel = Duel::new(IceRole::Controlling, DtlsRole::Client, Conditions::CLEAN);
    duel.connect();
    let kinds = [
        (true, Reliability::Reliable, TheirReliability::Reliable),
        (
            false,
            Reliability::MaxRetransmits(0),
            TheirReliability::MaxRetransmits { retransmits: 0 },
        ),
        (
            true,
            Reliability::MaxRetransmits(3),
            TheirReliability::MaxRetransmits { retransmits: 3 },
        ),
        (
            false,
            Reliability::MaxLifetime(500),
            TheirReliability::MaxPacketLifetime { lifetime: 500 },
        ),
    ];
    for (n, (ordered, reliability, theirs)) in kinds.into_iter().enumerate() {
        let init = ChannelInit {
            label: format!("ünï {n}"),
            protocol: "proto".into(),
            ordered,
            reliability,
            priority: Priority::High,
            negotiated: None,
        };
        let id = duel.open(init.clone());
        let stream = duel.ours.channels().stream_id(id).expect("stream");
        let channel = duel.their_channel(&init.label);
        let api = &mut duel.theirs.direct_api();
        assert_eq!(api.sctp_stream_id_by_channel_id(channel), Some(stream.0));
        let seen = duel
            .theirs
            .channel(channel)
            .expect("channel")
            .config()
            .cloned();
        let seen = seen.expect("config");
        assert_eq!(
            (seen.ordered, seen.reliability, seen.protocol.as_str()),
            (ordered, theirs, "proto")
        );
        duel.ours
            .send(id, Message::Text("ping".into()), duel.now)
            .expect("send");
        assert!(duel.run(Duration::from_secs(5), |duel| !duel.messages(id).is_empty()));
    }
}

#[test]
fn they_open_and_close_and_ids_are_used_again() {
    for dtls_role in [DtlsRole::Client, DtlsRole::Server] {
        let mut duel = Duel::new(IceRole::Controlling, dtls_role, Conditions::CLEAN);
        duel.connect();
        let keep = duel.open(labelled("keep"));
        for round in 0..4 {
            duel.our_events.clear();
            let label = format!("theirs {round}");
            let config = ChannelConfig {
                label: label.clone(),
                ..ChannelConfig::default()
            };
            let channel = duel.theirs.direct_api().create_data_channel(config);
            assert!(duel.run(Duration::from_secs(10), |duel| duel.accepted().is_some()));
            let id = duel.accepted().expect("accepted");
            assert_eq!(
                duel.ours.channels().init(id).map(|init| init.label.clone()),
                Some(label)
            );
            duel.ours
                .send(id, Message::Text("echo".into()), duel.now)
                .expect("send");
            assert!(duel.run(Duration::from_secs(5), |duel| !duel.messages(id).is_empty()));
            if round % 2 == 0 {
                duel.theirs.direct_api().close_data_channel(channel);
            } else {
                duel.ours.close_channel(id, duel.now);
            }
            let gone = |duel: &Duel| {
                let closed = |event: &str0m::Event| *event == str0m::Event::ChannelClose(channel);
                duel.our_closed(id) && duel.their_events.iter().any(closed)
            };
            assert!(
                duel.run(Duration::from_secs(10), gone),
                "{dtls_role:?} round {round}"
            );
        }
        duel.ours
            .send(keep, Message::Text("alive".into()), duel.now)
            .expect("send");
        assert!(duel.run(Duration::from_secs(5), |duel| {
            !duel.messages(keep).is_empty()
        }));
    }
}

#[test]
fn negotiated_channels_agree() {
    let mut duel = Duel::new(IceRole::Controlled, DtlsRole::Server, Conditions::CLEAN);
    duel.connect();
    let config = ChannelConfig {
        negotiated: Some(100),
        ..ChannelConfig::default()
    };
    duel.theirs.direct_api().create_data_channel(config);
    let init = ChannelInit {
        negotiated: Some(StreamId(100)),
        ..ChannelInit::default()
    };
    let id = duel.ours.open(init, duel.now).expect("open");
    duel.run(Duration::from_millis(200), |_| false);
    duel.ours
        .send(id, Message::Text("both".into()), duel.now)
        .expect("send");
    assert!(duel.run(Duration::from_secs(5), |duel| !duel.messages(id).is_empty()));
    assert_eq!(duel.messages(id), [Message::Text("both".into())]);
}

#[test]
fn a_bulk_transfer_to_and_from_str0m_arrives() {
    let mut duel = Duel::new(IceRole::Controlling, DtlsRole::Server, Conditions::CLEAN);
    duel.connect();
    let id = duel.open(labelled("bulk"));
    let mut sent = 0;
    while sent < 300 {
        let message = Message::Binary(vec![5; 16_384].into());
        if duel.ours.send(id, message, duel.now).is_ok() {
            sent += 1;
        } else {
            duel.run(Duration::from_millis(2), |_| false);
        }
        if sent % 8 == 0 {
            duel.run(Duration::from_millis(2), |_| false);
        }
    }
    assert!(
        duel.run(Duration::from_secs(120), |duel| duel.messages(id).len()
            == 300)
    );
    assert!(
        duel.messages(id)
            .iter()
            .all(|message| message.len() == 16_384)
    );
    assert!(matches!(
        duel.ours.ice().state(),
        ice::State::Connected | ice::State::Completed
    ));
}
