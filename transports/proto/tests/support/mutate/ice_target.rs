//! Two ICE agents; mutated checks and answers, half of them with their integrity made right again,
//! as an authenticated peer could send them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use peerloom_transports_proto::config::IceConfig;
use peerloom_transports_proto::ice::{
    Agent, Error, Event, MAX_QUEUED_PACKETS, State, is_stun, username,
};
use peerloom_transports_proto::id::{IceRole, Path};
use rand::RngExt;

use super::forge::sign;
use super::{Recent, Rng, Target, mutate};
use crate::support::pair::credentials;

pub(super) struct Ice {
    ends: [Agent; 2],
    now: Instant,
    wire: Vec<(usize, Path, Vec<u8>)>,
    recent: Recent<(usize, Path, Vec<u8>)>,
    faults: usize,
    age: usize,
}

fn agents(rng: &mut Rng, now: Instant) -> [Agent; 2] {
    let mut ends = [IceRole::Controlling, IceRole::Controlled].map(|role| {
        Agent::new(IceConfig::default(), credentials(rng.random()), role, now).expect("agent")
    });
    for (index, end) in ends.iter_mut().enumerate() {
        let addr: SocketAddr = format!("10.0.0.{}:1000", index + 1)
            .parse()
            .expect("address");
        end.add_host(addr, now).expect("host");
    }
    let creds = [0, 1].map(|index: usize| ends[index].local_credentials().clone());
    for (index, end) in ends.iter_mut().enumerate() {
        // Sometimes both claim the same role.
        let controlling = index == 0 || rng.random_bool(0.1);
        let role = if controlling {
            IceRole::Controlling
        } else {
            IceRole::Controlled
        };
        end.start(creds[1 - index].clone(), role, now)
            .expect("start");
        let other = format!("candidate:1 1 udp 9 10.0.0.{} 1000 typ host", 2 - index);
        let candidate = other.parse().expect("candidate");
        end.add_remote_candidate(&candidate, now)
            .expect("candidate");
    }
    ends
}

impl Ice {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let now = Instant::now();
        Self {
            ends: agents(rng, now),
            now,
            wire: Vec::new(),
            recent: Recent::default(),
            faults: 0,
            age: 0,
        }
    }

    fn feed(&mut self, to: usize, path: Path, packet: &[u8]) {
        if let Err(Error::Fault(_)) = self.ends[to].handle_packet(path, packet, self.now) {
            self.faults += 1;
        }
    }

    fn drain(&mut self) {
        for (index, end) in self.ends.iter_mut().enumerate() {
            while let Some(event) = end.poll_event() {
                let selected = matches!(event, Event::SelectedPath(_));
                assert!(!selected || end.selected_path().is_some());
            }
            let mut count = 0;
            while let Some(transmit) = end.poll_transmit() {
                count += 1;
                let packet = transmit.contents.to_vec();
                let path = transmit.path.reversed();
                self.recent.push((1 - index, path, packet.clone()));
                self.wire.push((1 - index, path, packet));
            }
            assert!(count <= MAX_QUEUED_PACKETS);
        }
    }
}

impl Target for Ice {
    fn step(&mut self, rng: &mut Rng) {
        self.age += 1;
        self.now += Duration::from_millis(rng.random_range(1..40_u64));
        for end in &mut self.ends {
            end.handle_timeout(self.now);
        }
        self.drain();
        for (to, path, packet) in std::mem::take(&mut self.wire) {
            if rng.random_bool(0.8) {
                self.feed(to, path, &packet);
            }
        }
        if let Some((to, mut path, mut packet)) = self.recent.pick(rng) {
            let other = self
                .recent
                .pick(rng)
                .map(|(.., other)| other)
                .unwrap_or_default();
            mutate(&mut packet, &other, rng);
            if rng.random_bool(0.5) {
                let answer = packet.first().is_some_and(|byte| byte & 1 != 0);
                let signer = if answer { 1 - to } else { to };
                let password = self.ends[signer].local_credentials().pwd.clone();
                sign(&mut packet, &password);
            }
            if rng.random_bool(0.05) {
                path.remote.set_port(rng.random());
            }
            assert!(is_stun(&packet) || username(&packet).is_none());
            self.feed(to, path, &packet);
        }
        self.drain();
        let over = |end: &Agent| matches!(end.state(), State::Failed | State::Closed);
        if self.ends.iter().any(over) || self.age > 2000 {
            let faults = self.faults;
            *self = Self::new(rng);
            self.faults = faults;
        }
    }

    fn faults(&self) -> usize {
        self.faults
    }
}
