//! ICE: two agents and what arrives at them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use peerloom_transports_proto::candidate::Credentials;
use peerloom_transports_proto::config::IceConfig;
use peerloom_transports_proto::ice::{Agent, MAX_QUEUED_PACKETS, is_stun, username};
use peerloom_transports_proto::id::{IceRole, Path};
use rand::SeedableRng;
use rand_chacha::ChaCha20Rng;

use super::packet_forge::sign;
use super::script::{Ends, Reader, play};

struct Agents {
    agents: [Agent; 2],
    now: Instant,
}

fn address(end: usize) -> SocketAddr {
    let host = u8::try_from(end).unwrap_or_default();
    SocketAddr::from(([10, 0, 0, host + 1], 1000))
}

impl Agents {
    /// Bit 0 of `setup` makes both claim the same role, bit 1 lets candidates come later.
    fn new(setup: u8) -> Self {
        let now = Instant::now();
        let second = if setup & 1 == 0 {
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
            agent
        });
        let credentials = [0, 1].map(|end: usize| agents[end].local_credentials().clone());
        for (end, agent) in agents.iter_mut().enumerate() {
            let remote = credentials[1 - end].clone();
            agent.start(remote, roles[end], now).expect("start");
            if setup & 2 == 0 {
                tell_candidate(agent, end, now);
            }
        }
        Self { agents, now }
    }
}

fn tell_candidate(agent: &mut Agent, end: usize, now: Instant) {
    let text = format!("candidate:1 1 udp 9 10.0.0.{} 1000 typ host", 2 - end);
    let candidate = text.parse().expect("candidate");
    // An agent that is closed refuses it.
    drop(agent.add_remote_candidate(&candidate, now));
}

impl Ends for Agents {
    fn drain(&mut self, sent: &mut Vec<(usize, Vec<u8>)>) {
        for (end, agent) in self.agents.iter_mut().enumerate() {
            while agent.poll_event().is_some() {}
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
        let path = Path::new(address(to), address(1 - to));
        let agent = &mut self.agents[to];
        let authentic = agent.is_authentic(packet);
        let taken = agent.handle_packet(path, packet, self.now).is_ok();
        assert!(!authentic || is_stun(packet), "taken: {taken}");
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
        }
    }

    fn act(&mut self, end: usize, what: u8) {
        let agent = &mut self.agents[end];
        match what % 5 {
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

/// A byte of setup, then a script. Gets anywhere if a path is selected.
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
