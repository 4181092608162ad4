//! TCP connections (RFC 6544): which are wanted, which are there, and what follows when one is lost.
//!
//! The path of a connection that we open begins at our active candidate, which is address and port
//! 9, not at the connection's own port: so it is the same path when the connection is opened anew.
//! One that the peer opens has the port that it comes from.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::super::pairs::Cause;
use super::super::stun::{Check, TransactionId, answer};
use super::super::{Event, State};
use super::Agent;
use crate::candidate::{Protocol, TcpType};
use crate::id::{IceRole, Path};

/// TCP connections of one agent, those under way included. Filled by pairs of ours that open one, and
/// by the peer; no more are opened or taken, the best pairs come first.
pub const MAX_CONNECTIONS: usize = 16;

/// Attempts to open a connection, the first included. With the pauses between them, 25 s in all,
/// they last nearly as long as consent does.
const MAX_ATTEMPTS: u32 = 8;

/// Pause before a lost connection is opened anew; doubles with each attempt. Guess: a server that
/// starts again is back in a second or two.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Connection {
    /// Asked for.
    Opening { attempt: u32 },
    /// It carries packets.
    Open,
    /// Lost, and opened anew then.
    Paused { attempt: u32, until: Instant },
    /// Never came to be, or given up.
    Over,
}

/// The connections of an agent, and when to look after them.
#[derive(Debug, Default)]
pub(super) struct Connections {
    all: BTreeMap<Path, Connection>,
    /// No connection is opened before.
    pub(super) due_at: Option<Instant>,
    /// Checks that did not come from the packaged engine.
    checks: u64,
    /// The peer's nomination of a pair that we have not checked yet.
    nomination: Option<(Path, Bytes)>,
}

impl Connections {
    /// Whether a packet for this path can leave.
    pub(super) fn carry(&self, path: Path) -> bool {
        path.protocol == Protocol::Udp || self.all.get(&path) == Some(&Connection::Open)
    }

    pub(super) fn wakes_at(&self) -> Option<Instant> {
        let pauses = self.all.values().filter_map(|connection| match connection {
            Connection::Paused { until, .. } => Some(*until),
            Connection::Opening { .. } | Connection::Open | Connection::Over => None,
        });
        pauses.chain(self.due_at).min()
    }

    /// Whether it is one of those that count.
    fn live(&self) -> usize {
        let live = |connection: &&Connection| **connection != Connection::Over;
        self.all.values().filter(live).count()
    }
}

impl Agent {
    /// The TCP connection of `path` is there. `false` when it is not wanted: close it.
    pub fn connection_opened(&mut self, path: Path, now: Instant) -> bool {
        let wanted = match self.connections.all.get(&path) {
            Some(Connection::Opening { .. }) => true,
            Some(Connection::Open | Connection::Paused { .. } | Connection::Over) => false,
            None => self.accepts_at(path) && self.connections.live() < MAX_CONNECTIONS,
        };
        if !wanted || self.engine.is_none() {
            return false;
        }
        self.connections.all.insert(path, Connection::Open);
        self.pairs.connected(path, now);
        if self.selected_path() == Some(path) {
            // What carries it is another one, and has to begin with a check.
            self.check_now(path, now);
            self.events.push_back(Event::SelectedPath(path));
        }
        self.hasten(now);
        true
    }

    /// The TCP connection of `path` could not be opened, or is gone. One that we have opened and
    /// still need is asked for again; without it the path in use is `Disconnected`.
    pub fn connection_lost(&mut self, path: Path, now: Instant) {
        let attempt = match self.connections.all.get(&path) {
            Some(Connection::Opening { attempt }) => *attempt + 1,
            Some(Connection::Open) => 2,
            Some(Connection::Paused { .. } | Connection::Over) | None => return,
        };
        // A first attempt that fails will fail again: the peer told of no such port, or a firewall
        // is in between.
        let (cause, again) = match attempt {
            1 => (Cause::NotConnected, false),
            _ => (Cause::ConnectionLost, attempt <= MAX_ATTEMPTS),
        };
        self.pairs.disconnected(path, cause, now);
        let in_use = self.selected.is_none() || self.selected == Some(path);
        let next = if again && in_use && self.opens_from(path) {
            let until = now + FIRST_PAUSE * (1 << (attempt - 2));
            Connection::Paused { attempt, until }
        } else {
            Connection::Over
        };
        self.connections.all.insert(path, next);
        if self.selected == Some(path) {
            tracing::debug!(%path, "the TCP connection in use is lost");
            self.set_state(State::Disconnected);
        }
    }

    /// Asks for the connections that are due.
    pub(super) fn open_connections(&mut self, now: Instant) {
        let due = self.connections.due_at.is_some_and(|at| at <= now);
        if due {
            self.connections.due_at = None;
        }
        let over: Vec<(Path, u32)> = self
            .connections
            .all
            .iter()
            .filter_map(|(path, connection)| match connection {
                Connection::Paused { attempt, until } if *until <= now => Some((*path, *attempt)),
                Connection::Paused { .. }
                | Connection::Opening { .. }
                | Connection::Open
                | Connection::Over => None,
            })
            .collect();
        for (path, attempt) in over {
            self.connect(path, attempt);
        }
        if due {
            self.connect_new();
        }
    }

    /// Asks for a connection for each pair that can have one, the best first, once it is time.
    pub(super) fn connect_new(&mut self) {
        let waits = self.connections.due_at.is_some() || self.remote.is_none();
        if waits || self.selected.is_some() {
            return;
        }
        let wanted = |path: &Path| {
            path.protocol == Protocol::Tcp
                && !self.connections.all.contains_key(path)
                && self.opens_from(*path)
        };
        let pairs = self.pairs.report().into_iter().map(|pair| pair.path);
        let wanted: Vec<Path> = pairs.filter(wanted).collect();
        for path in wanted {
            if self.connections.live() >= MAX_CONNECTIONS {
                return;
            }
            self.connect(path, 0);
        }
    }

    fn connect(&mut self, path: Path, attempt: u32) {
        let opening = Connection::Opening { attempt };
        self.connections.all.insert(path, opening);
        self.events.push_back(Event::Connect(path));
    }

    /// Closes all connections but those of the path in use and the one before a restart.
    pub(super) fn close_connections(&mut self) {
        let keep = [self.selected, self.previous];
        self.connections.due_at = None;
        self.connections.nomination = None;
        let mut closed = Vec::new();
        self.connections.all.retain(|path, connection| {
            let kept = keep.contains(&Some(*path)) && *connection != Connection::Over;
            if !kept {
                closed.push((*path, *connection));
            }
            kept
        });
        for (path, connection) in closed {
            match connection {
                Connection::Opening { .. } | Connection::Open => {
                    self.events.push_back(Event::Disconnect(path));
                }
                Connection::Paused { .. } | Connection::Over => {}
            }
        }
    }

    /// A check of the peer arrived on `path`. When it comes over a new connection to where the path
    /// in use has lost its own, the peer has connected anew: the path goes on here.
    pub(super) fn reconnected(&mut self, path: Path, now: Instant) {
        let Some(old) = self.selected.filter(|old| self.is_replaced(*old, path)) else {
            return;
        };
        tracing::debug!(%old, new = %path, "the peer has connected anew");
        if let Some(engine) = &mut self.engine {
            engine.rename(old.remote, path.remote);
        }
        self.connections.all.remove(&old);
        self.known_remotes
            .retain(|known| *known != (old.protocol, old.remote));
        self.selected = Some(path);
        self.pair_checked_by_peer(path, now);
        self.pairs.connected(path, now);
        self.pairs.selected(path, now);
        self.check_now(path, now);
        self.events.push_back(Event::SelectedPath(path));
    }

    /// Sends a check of our own beside those of the packaged engine, which waits for its next round:
    /// a connection has to begin with one (RFC 6544 §7.2), and recovery should not wait.
    pub(super) fn check_now(&mut self, path: Path, now: Instant) {
        let local = self.locals.iter().find(|local| local.base == path.local);
        let (Some(remote), Some(local)) = (&self.remote, local) else {
            return;
        };
        self.connections.checks += 1;
        let check = Check {
            number: self.connections.checks,
            local: &self.local,
            remote,
            role: self.role,
            priority: local.candidate.priority,
        };
        let (transaction, packet) = check.write();
        self.stats.requests_sent += 1;
        self.checks.sent(transaction, path, Some(self.role), now);
        self.pairs.sent(path, now);
        self.consent_checked(path, now);
        self.packets.push_front((path, packet));
    }

    /// The peer nominates a pair before our check of it was answered. The packaged engine then waits
    /// for the next nomination, and answers none. Over TCP there is no next one: requests are
    /// not sent again there (RFC 8489 §6.2.2).
    pub(super) fn nominated_early(&mut self, path: Path, packet: &[u8], id: TransactionId) {
        let early = self.selected.is_none() && !self.checks.works(path);
        if path.protocol == Protocol::Udp || !early || self.role == IceRole::Controlling {
            return;
        }
        let packet = Bytes::copy_from_slice(packet);
        self.connections.nomination = Some((path, packet));
        let answer = answer(id, path.remote, &self.local.pwd);
        self.packets.push_front((path, answer));
    }

    /// Our check was answered: what the peer nominated before holds now (RFC 8445 §7.3.1.5).
    pub(super) fn nominated_before(&mut self, path: Path, now: Instant) {
        let nominated = |(nominated, _): &mut (Path, Bytes)| *nominated == path;
        let Some((_, packet)) = self.connections.nomination.take_if(nominated) else {
            return;
        };
        if let Err(error) = self.give_to_engine(path, &packet, now) {
            tracing::debug!(%error, "a nomination has no effect");
        }
    }

    fn is_replaced(&self, old: Path, new: Path) -> bool {
        old.protocol == Protocol::Tcp
            && new.protocol == Protocol::Tcp
            && old.local == new.local
            && old != new
            && !self.connections.carry(old)
            && self.connections.carry(new)
    }

    /// Whether connections of this path are opened by us.
    fn opens_from(&self, path: Path) -> bool {
        self.is_tcp_local(path, TcpType::Active)
    }

    /// Whether connections of this path are opened by the peer.
    fn accepts_at(&self, path: Path) -> bool {
        self.is_tcp_local(path, TcpType::Passive)
    }

    fn is_tcp_local(&self, path: Path, tcp_type: TcpType) -> bool {
        let tcp = path.protocol == Protocol::Tcp;
        tcp && self.locals.iter().any(|local| {
            local.base == path.local && local.candidate.tcp_type == Some(tcp_type) && local.checked
        })
    }
}
