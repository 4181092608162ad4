//! ICE: two agents and what arrives at them, over UDP and on TCP connections (RFC 6544). A packet
//! that begins as a candidate line does is one that the peer tells.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use peerloom_transports_proto::candidate::{Candidate, Credentials};
use peerloom_transports_proto::config::IceConfig;
use peerloom_transports_proto::ice::{
    Agent, Event, MAX_CONNECTIONS, MAX_PAIRS, MAX_QUEUED_PACKETS, MAX_REMOTE_CANDIDATES, is_stun,
    username,
};
use peerloom_transports_proto::id::{IceRole, Path};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::packet_forge::sign;
use super::script::{Ends, Reader, play};

/// Bits of the setup: both claim the same role; candidates come later; TCP; UDP leads nowhere; nobody
/// accepts connections.
const SAME_ROLE: u8 = 1;
const LATE: u8 = 2;
pub(crate) const TCP: u8 = 4;
pub(crate) const NO_UDP: u8 = 8;
const REFUSED: u8 = 16;

struct Agents {
    agents: [Agent; 2],
    setup: u8,
    /// TCP connections as both ends see them.
    wires: Vec<[Path; 2]>,
    next_port: u16,
    now: Instant,
}

fn address(end: usize) -> SocketAddr {
    let host = u8::try_from(end).unwrap_or_default();
    SocketAddr::from(([10, 0, 0, host + 1], 1000))
}

impl Agents {
    fn new(setup: u8) -> Self {
        let now = Instant::now();
        let second = if setup & SAME_ROLE == 0 {
            IceRole::Controlled
        } else {
            IceRole::Controlling
        };
        let roles = [IceRole::Controlling, second];
        let mut agents = [0, 1].map(|end| {
            let seed = u64::try_from(end).unwrap_or_default();
            let own = Credentials::generate(&mut ChaCha20Rng::seed_from_u64(seed));
            let mut agent = Agent::new(IceConfig::default(), own, roles[end], now).expect("agent");
            agent.add_host(address(end), now).expect("host");
            if setup & TCP != 0 {
                let ip = address(end).ip();
                agent.add_tcp_active(ip, now).expect("active");
                agent.add_tcp_passive(address(end), now).expect("passive");
            }
            agent
        });
        let credentials = [0, 1].map(|end: usize| agents[end].local_credentials().clone());
        for (end, agent) in agents.iter_mut().enumerate() {
            let remote = credentials[1 - end].clone();
            agent.start(remote, roles[end], now).expect("start");
            if setup & LATE == 0 {
                tell_candidate(agent, end, now);
                if setup & TCP != 0 {
                    tell_passive(agent, end, now);
                }
            }
        }
        Self {
            agents,
            setup,
            wires: Vec::new(),
            next_port: 40_000,
            now,
        }
    }

    /// A connection is opened, and accepted or not.
    fn connect(&mut self, end: usize, path: Path) {
        if self.setup & REFUSED != 0 || path.remote != address(1 - end) {
            return self.agents[end].connection_lost(path, self.now);
        }
        self.next_port = self.next_port.wrapping_add(1);
        let from = SocketAddr::new(path.local.ip(), self.next_port);
        let there = Path::tcp(path.remote, from);
        let opened = self.agents[end].connection_opened(path, self.now);
        if opened && self.agents[1 - end].connection_opened(there, self.now) {
            let wire = [path, there];
            self.wires.push([wire[end], wire[1 - end]]);
        } else {
            self.agents[end].connection_lost(path, self.now);
        }
        assert!(self.wires.len() <= 2 * MAX_CONNECTIONS);
    }

    /// Connections break, and both ends notice.
    fn lose(&mut self, which: impl Fn(&[Path; 2]) -> bool) {
        let wires = std::mem::take(&mut self.wires);
        let (lost, kept): (Vec<_>, Vec<_>) = wires.into_iter().partition(which);
        self.wires = kept;
        for wire in lost {
            for (agent, path) in self.agents.iter_mut().zip(wire) {
                agent.connection_lost(path, self.now);
            }
        }
    }

    fn note(&mut self, end: usize, event: &Event) {
        match event {
            Event::Connect(path) => self.connect(end, *path),
            Event::Disconnect(path) => self.lose(|wire| wire[end] == *path),
            Event::StateChange(_)
            | Event::SelectedPath(_)
            | Event::LocalCandidate(_)
            | Event::RoleChange(_)
            | Event::PathAnswered { .. } => {}
        }
    }

    /// What the peer tells by signalling, whatever it is.
    fn tell(&mut self, to: usize, line: &str) {
        if let Ok(candidate) = line.parse::<Candidate>() {
            assert_eq!(candidate.to_string().parse(), Ok(candidate.clone()));
            let agent = &mut self.agents[to];
            // Refused if there are too many, or it has a name that nobody resolved.
            drop(agent.add_remote_candidate(&candidate, self.now));
            assert!(agent.remote_candidates().len() <= MAX_REMOTE_CANDIDATES);
        }
    }
}

fn tell_passive(agent: &mut Agent, end: usize, now: Instant) {
    let candidate = Candidate::tcp_passive(address(1 - end), 0);
    // An agent that is closed refuses it.
    drop(agent.add_remote_candidate(&candidate, now));
}

fn tell_candidate(agent: &mut Agent, end: usize, now: Instant) {
    let text = format!("candidate:1 1 udp 9 10.0.0.{} 1000 typ host", 2 - end);
    let candidate = text.parse().expect("candidate");
    // An agent that is closed refuses it.
    drop(agent.add_remote_candidate(&candidate, now));
}

impl Ends for Agents {
    fn drain(&mut self, sent: &mut Vec<(usize, Vec<u8>)>) {
        for end in 0..2 {
            while let Some(event) = self.agents[end].poll_event() {
                self.note(end, &event);
            }
            let agent = &mut self.agents[end];
            // Half as many again may be learnt from the peer's checks.
            assert!(agent.pairs().len() <= MAX_PAIRS * 2);
            let mut count = 0;
            while let Some(transmit) = agent.poll_transmit() {
                count += 1;
                sent.push((1 - end, transmit.contents.to_vec()));
            }
            assert!(count <= MAX_QUEUED_PACKETS);
        }
    }

    fn feed(&mut self, to: usize, packet: &[u8]) {
        assert!(is_stun(packet) || username(packet).is_none());
        if packet.starts_with(b"candidate:") {
            return self.tell(to, &String::from_utf8_lossy(packet));
        }
        let udp = Path::new(address(to), address(1 - to));
        let udp = Some(udp).filter(|_| self.setup & NO_UDP == 0);
        let tcp = self.wires.iter().map(|wire| wire[to]);
        let paths: Vec<Path> = tcp.chain(udp).collect();
        for path in paths {
            let agent = &mut self.agents[to];
            let authentic = agent.is_authentic(packet);
            let taken = agent.handle_packet(path, packet, self.now).is_ok();
            assert!(!authentic || is_stun(packet), "taken: {taken}");
        }
    }

    fn seal(&self, to: usize, packet: &mut Vec<u8>) {
        let answer = packet.first().is_some_and(|byte| byte & 1 != 0);
        let signer = if answer { 1 - to } else { to };
        sign(packet, &self.agents[signer].local_credentials().pwd);
    }

    fn wait(&mut self, time: Duration) {
        self.now += time;
        for agent in &mut self.agents {
            agent.handle_timeout(self.now);
            let next = agent.poll_timeout();
            assert!(next.is_none_or(|next| next.at > self.now), "{next:?}");
        }
    }

    fn act(&mut self, end: usize, what: u8) {
        let agent = &mut self.agents[end];
        match what % 8 {
            5 => tell_passive(agent, end, self.now),
            6 => self.lose(|_| true),
            7 => {
                let stranger = SocketAddr::from(([10, 0, 0, 9], u16::from(what)));
                let path = Path::tcp(address(end), stranger);
                // Taken or not: nothing comes on it.
                agent.connection_opened(path, self.now);
            }
            0 => tell_candidate(agent, end, self.now),
            1 => agent.end_of_remote_candidates(),
            2 => {
                let seed = u64::from(what) + 2;
                let own = Credentials::generate(&mut ChaCha20Rng::seed_from_u64(seed));
                // Refused while another restart is under way.
                drop(agent.restart(own, self.now));
            }
            3 => agent.close(),
            _ => agent.end_of_local_candidates(),
        }
    }
}

/// A byte of setup ([`TCP`] and others), then a script. Gets anywhere if a path is selected.
pub fn ice(data: &[u8]) -> bool {
    let mut reader = Reader(data);
    let mut agents = Agents::new(reader.byte().unwrap_or_default());
    play(reader.0, &mut agents);
    let selected = |agent: &Agent| agent.selected_path().is_some();
    agents.agents.iter().any(selected)
}

/// The packets of a script.
pub(crate) fn packets(data: &[u8]) -> Vec<(usize, Vec<u8>)> {
    let mut reader = Reader(data);
    let mut agents = Agents::new(reader.byte().unwrap_or_default());
    play(reader.0, &mut agents)
}
