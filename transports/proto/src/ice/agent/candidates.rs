//! Candidates of both ends, and which of them are paired.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use super::super::{Error, Event, State};
use super::{Agent, MAX_HOSTS_PER_FAMILY, MAX_LOCAL_CANDIDATES, MAX_PAIRS, MAX_REMOTE_CANDIDATES};
use crate::candidate::{ACTIVE_PORT, Candidate, CandidateKind, Protocol, TcpType};
use crate::ice::pairs::Cause;
use crate::id::Path;

/// A candidate of ours.
pub(super) struct Local {
    pub(super) candidate: Candidate,
    /// Where its packets leave from (RFC 8445 §5.1.1): for a relayed one the relayed address.
    pub(super) base: SocketAddr,
    /// It is paired and checked. A reflexive one is not: its base is (RFC 8445 §6.1.2.4).
    pub(super) checked: bool,
    /// The address is gone: forgotten by the next restart.
    pub(super) gone: bool,
}

impl Agent {
    /// Adds a socket of ours. Addresses added first are preferred (RFC 8445 §5.1.2.1).
    pub fn add_host(&mut self, addr: SocketAddr, now: Instant) -> Result<(), Error> {
        let candidate = Candidate::host(addr, self.next_preference());
        self.add_own(candidate, addr, now)
    }

    /// Adds an address at which we accept TCP connections. Call [`Agent::connection_opened`] for each.
    pub fn add_tcp_passive(&mut self, addr: SocketAddr, now: Instant) -> Result<(), Error> {
        let candidate = Candidate::tcp_passive(addr, self.next_rank());
        self.add_own(candidate, addr, now)
    }

    /// Adds an address from which we can open TCP connections: those to the peer's passive
    /// candidates are asked for by [`Event::Connect`], unless there is a path before
    /// `IceConfig::tcp_patience` has passed.
    pub fn add_tcp_active(&mut self, ip: IpAddr, now: Instant) -> Result<(), Error> {
        let candidate = Candidate::tcp_active(ip, self.next_rank());
        self.add_own(candidate, SocketAddr::new(ip, ACTIVE_PORT), now)
    }

    /// Adds what `base`, a host address of ours, looks like to `server`: told to the peer, but not
    /// checked from, since its packets leave from the base. One that repeats a candidate is no
    /// news (RFC 8445 §5.1.3).
    pub fn add_reflexive(
        &mut self,
        mapped: SocketAddr,
        base: SocketAddr,
        server: &str,
        now: Instant,
    ) -> Result<(), Error> {
        let host = self
            .locals
            .iter()
            .find(|local| local.base == base && local.checked)
            .ok_or(Error::UnknownLocal)?;
        let preference = u16::try_from((host.candidate.priority >> 8) & 0xffff).unwrap_or(0);
        let candidate = Candidate::server_reflexive(mapped, base, preference, server);
        self.add_own(candidate, base, now)
    }

    /// Adds an address at which `server` relays for us; `mapped` is how the server sees us.
    /// Packets on paths that begin at `relayed` have to be sent through that server.
    pub fn add_relayed(
        &mut self,
        relayed: SocketAddr,
        mapped: SocketAddr,
        server: &str,
        now: Instant,
    ) -> Result<(), Error> {
        let candidate = Candidate::relayed(relayed, mapped, self.next_preference(), server);
        self.add_own(candidate, relayed, now)
    }

    /// Whether the selected path begins at an address that is not ours any more.
    pub fn path_is_gone(&self) -> bool {
        let mut left = self.locals.iter().filter(|local| !local.gone);
        self.selected_path()
            .is_some_and(|path| !left.any(|local| is_there(path.protocol, path.local, local.base)))
    }

    /// The address is not ours any more: the next generation is without it, without TCP there, and
    /// without what servers said about it. Returns whether the selected path begins there.
    pub fn retire(&mut self, base: SocketAddr) -> bool {
        for local in &mut self.locals {
            local.gone |= is_there(local.candidate.protocol, local.base, base);
        }
        self.selected_path()
            .is_some_and(|path| is_there(path.protocol, path.local, base))
    }

    fn next_preference(&self) -> u16 {
        u16::MAX - self.next_rank()
    }

    fn next_rank(&self) -> u16 {
        u16::try_from(self.locals.len()).unwrap_or(u16::MAX)
    }

    pub(super) fn add_own(
        &mut self,
        mut candidate: Candidate,
        base: SocketAddr,
        now: Instant,
    ) -> Result<(), Error> {
        candidate.base = Some(base);
        let engine = self.engine.as_mut().ok_or(Error::Closed)?;
        let repeats = |local: &Local| {
            local.base == base
                && local.candidate.protocol == candidate.protocol
                && local.candidate.tcp_type == candidate.tcp_type
                && local.candidate.socket_addr() == candidate.socket_addr()
        };
        if let Some(known) = self.locals.iter_mut().find(|local| repeats(local)) {
            known.gone = false;
            return Ok(());
        }
        let alike = |local: &&Local| {
            local.candidate.kind == candidate.kind
                && local.candidate.protocol == candidate.protocol
                && local.candidate.tcp_type == candidate.tcp_type
                && local.base.is_ipv4() == base.is_ipv4()
        };
        let hosts = self
            .locals
            .iter()
            .filter(alike)
            .filter(|local| !local.gone)
            .count();
        if self.locals.len() >= MAX_LOCAL_CANDIDATES || hosts >= MAX_HOSTS_PER_FAMILY {
            return Err(Error::TooMany("local candidates"));
        }
        let checked = candidate.kind != CandidateKind::ServerReflexive;
        if checked {
            engine.add_local(&candidate)?;
        }
        let told = candidate.clone().with_ufrag(&self.local.ufrag);
        self.events.push_back(Event::LocalCandidate(told));
        let local = Local {
            candidate,
            base,
            checked,
            gone: false,
        };
        if checked && self.remote.is_some() {
            for remote in &self.remotes {
                if let Some(path) = pair(&local, remote) {
                    self.pairs.form(path, &local.candidate, remote, now);
                }
            }
        }
        self.locals.push(local);
        if checked {
            self.connect_new();
            self.hasten(now);
        }
        Ok(())
    }

    /// Adds a candidate the peer told us about, before or after [`Agent::start`]. One that pairs
    /// with none of ours is kept, for addresses of ours that are yet to come.
    pub fn add_remote_candidate(
        &mut self,
        candidate: &Candidate,
        now: Instant,
    ) -> Result<(), Error> {
        if self.engine.is_none() {
            return Err(Error::Closed);
        }
        let addr = candidate.socket_addr().ok_or(Error::Unresolved)?;
        // Who opens connections itself is not connected to: its port means nothing.
        let active = candidate.tcp_type == Some(TcpType::Active);
        let unusable = addr.port() == 0 || addr.ip().is_unspecified();
        let untyped = candidate.protocol == Protocol::Tcp && candidate.tcp_type.is_none();
        if active || unusable || untyped {
            return Ok(());
        }
        if self.known_remotes.contains(&(candidate.protocol, addr)) {
            return Ok(()); // told twice, or learnt from a check before
        }
        if self.known_remotes.len() >= MAX_REMOTE_CANDIDATES {
            return Err(Error::TooMany("remote candidates"));
        }
        self.known_remotes.push((candidate.protocol, addr));
        self.remotes.push(candidate.clone());
        if self.remote.is_none() {
            return Ok(());
        }
        self.pair_remote(candidate)?;
        self.connect_new();
        self.early.told(Some((candidate.protocol, addr)), now);
        self.hasten(now);
        Ok(())
    }

    /// Gives the engine a remote candidate, unless that would make too many pairs.
    pub(super) fn pair_remote(&mut self, remote: &Candidate) -> Result<(), Error> {
        let now = self.called;
        let engine = self.engine.as_mut().ok_or(Error::Closed)?;
        let locals = self.locals.iter().filter(|local| local.checked);
        let pairs: Vec<_> = locals
            .filter_map(|local| Some((pair(local, remote)?, &local.candidate)))
            .collect();
        if self.pairs.len() + pairs.len() > MAX_PAIRS {
            tracing::debug!("a remote candidate is not paired: there are enough pairs");
            return Ok(());
        }
        engine.add_remote(remote)?;
        for (path, local) in pairs {
            self.pairs.form(path, local, remote, now);
        }
        Ok(())
    }

    /// The peer's address as learnt from a packet on `path`, within bounds.
    pub(super) fn learn_remote(&mut self, path: Path) -> Result<(), Error> {
        let remote = (path.protocol, path.remote);
        if self.known_remotes.contains(&remote) {
            return Ok(());
        }
        let locals = self.locals.iter().filter(|local| local.checked).count();
        let pairs = self.pairs.len() + locals;
        if self.known_remotes.len() >= MAX_REMOTE_CANDIDATES || pairs > MAX_PAIRS + MAX_PAIRS / 2 {
            return Err(Error::TooMany("remote candidates"));
        }
        self.known_remotes.push(remote);
        Ok(())
    }

    /// An authentic check arrived: a pair that was not known is peer-reflexive (RFC 8445 §7.3.1.3).
    pub(super) fn pair_checked_by_peer(&mut self, path: Path, now: Instant) {
        let local = self
            .locals
            .iter()
            .find(|local| is_at(local, path))
            .map(|local| &local.candidate);
        if let Some(local) = local {
            let remote = Candidate::peer_reflexive(path.protocol, path.remote, local.priority);
            self.pairs.form(path, local, &remote, now);
        }
        self.pairs.requested(path, now);
    }

    /// Whether packets of `path` leave from and arrive at an address of ours.
    pub(super) fn is_local(&self, path: Path) -> bool {
        self.locals.iter().any(|local| is_at(local, path))
    }

    /// Our own candidates, of all kinds.
    pub fn local_candidates(&self) -> impl Iterator<Item = &Candidate> {
        let present = self.locals.iter().filter(|local| !local.gone);
        present.map(|local| &local.candidate)
    }

    /// Our own addresses on UDP: where servers are asked from.
    pub fn bases(&self) -> Vec<SocketAddr> {
        let hosts = self.locals.iter().filter(|local| {
            let candidate = &local.candidate;
            let host = candidate.kind == CandidateKind::Host && candidate.protocol == Protocol::Udp;
            host && !local.gone
        });
        hosts.map(|local| local.base).collect()
    }

    /// The candidates the peer told of this generation.
    pub fn remote_candidates(&self) -> &[Candidate] {
        &self.remotes
    }

    /// Writes into the pairs' timelines what a new state means for them.
    pub(super) fn note_state(&mut self, state: State) {
        let now = self.called;
        match state {
            State::Disconnected => self.pairs.silent(self.selected, now),
            State::Connected | State::Completed => self.pairs.heard(self.selected, now),
            State::Failed => {
                let expired = self.selected.is_some();
                let lost = if expired {
                    Cause::ConsentExpired
                } else {
                    Cause::NoAnswer
                };
                self.pairs.fail(self.selected, lost, now);
            }
            State::New | State::Checking | State::Closed => {}
        }
    }
}

fn is_at(local: &Local, path: Path) -> bool {
    local.checked && local.base == path.local && local.candidate.protocol == path.protocol
}

/// The path between two candidates, when they can be paired (RFC 8445 §6.1.2.2, RFC 6544 §6.2).
fn pair(local: &Local, remote: &Candidate) -> Option<Path> {
    let addr = remote.socket_addr()?;
    let alike =
        local.candidate.protocol == remote.protocol && addr.is_ipv4() == local.base.is_ipv4();
    match (alike, local.candidate.tcp_type, remote.tcp_type) {
        (true, None, None) => Some(Path::new(local.base, addr)),
        (true, Some(TcpType::Active), Some(TcpType::Passive))
        | (true, Some(TcpType::Passive), Some(TcpType::Active))
        | (true, Some(TcpType::SimultaneousOpen), Some(TcpType::SimultaneousOpen)) => {
            Some(Path::tcp(local.base, addr))
        }
        _ => None,
    }
}

/// Whether what begins at `addr` does so at `base`: TCP has a port of its own for each connection.
fn is_there(protocol: Protocol, addr: SocketAddr, base: SocketAddr) -> bool {
    match protocol {
        Protocol::Udp => addr == base,
        Protocol::Tcp => addr.ip() == base.ip(),
    }
}
