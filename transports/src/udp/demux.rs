//! Who gets a datagram: STUN by username fragment, everything else by 5-tuple.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use peerloom_transports_proto::id::Path;

use peerloom_transports_proto::stun::transaction::Token;

use super::buffer::Datagrams;
use super::ingress::Ingress;
use crate::tcp::StreamInlet;

/// 5-tuples one connection may own at a time: as many as an ICE agent has pairs
/// (`ice::MAX_PAIRS`, and half as many again). Filled by its connectivity checks; further
/// claims are refused.
pub const MAX_PATHS_PER_ROUTE: usize = 150;

/// Connections one endpoint carries. Filled by [`Routes::register`]; further
/// registrations are refused.
pub const MAX_ROUTES: usize = 16 * 1024;

/// Username fragments a connection answers to: the current one, and those of ICE
/// restarts still under way.
const MAX_UFRAGS_PER_ROUTE: usize = 4;

/// Where a connection takes its datagrams. Returns whether the batch was taken; a
/// refused batch is dropped and counted, as a full socket buffer would drop it.
pub type Inlet = Arc<dyn Fn(Datagrams) -> bool + Send + Sync>;

/// Where a connection takes QUIC packets, once it speaks QUIC; before that they are dropped, and the
/// peer sends them again.
#[derive(Clone, Default)]
pub struct QuicEntry {
    inlet: Arc<OnceLock<Inlet>>,
}

impl fmt::Debug for QuicEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let open = self.inlet.get().is_some();
        f.debug_struct("QuicEntry").field("open", &open).finish()
    }
}

impl QuicEntry {
    /// From now on packets go there. Only the first inlet counts.
    pub fn open(&self, inlet: Inlet) {
        if self.inlet.set(inlet).is_err() {
            tracing::debug!("a connection takes QUIC packets already");
        }
    }

    /// Whether the batch was taken.
    pub(crate) fn take(&self, batch: Datagrams) -> bool {
        self.inlet.get().is_some_and(|inlet| inlet(batch))
    }

    pub(crate) fn is_open(&self) -> bool {
        self.inlet.get().is_some()
    }
}

/// The outcome of [`Registration::claim`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The 5-tuple now belongs, or already belonged, to this connection.
    Granted,
    /// It belongs to another live connection: use another local port.
    Taken,
    /// This connection owns [`MAX_PATHS_PER_ROUTE`] already.
    TooMany,
}

/// What was not delivered to one connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RouteStats {
    /// Datagrams refused by a full inlet.
    pub overflowed: u64,
    /// Datagrams of a protocol nobody here speaks.
    pub unclaimed: u64,
}

/// One connection as the receive loops see it.
pub(crate) struct Route {
    id: u64,
    pub(crate) stun: Inlet,
    pub(crate) records: Inlet,
    pub(crate) quic: QuicEntry,
    /// Where TCP connections go, once it takes any.
    streams: OnceLock<StreamInlet>,
    pub(crate) overflowed: AtomicU64,
    pub(crate) unclaimed: AtomicU64,
}

impl Route {
    pub(crate) fn id(&self) -> u64 {
        self.id
    }
}

#[derive(Default, Clone)]
pub(crate) struct Table {
    ufrags: HashMap<Arc<str>, Arc<Route>>,
    paths: HashMap<Path, Arc<Route>>,
    tokens: HashMap<Token, Arc<Route>>,
}

impl Table {
    pub(crate) fn by_token(&self, token: &Token) -> Option<&Arc<Route>> {
        self.tokens.get(token)
    }

    pub(crate) fn by_ufrag(&self, ufrag: &str) -> Option<&Arc<Route>> {
        self.ufrags.get(ufrag)
    }

    pub(crate) fn by_path(&self, path: &Path) -> Option<&Arc<Route>> {
        self.paths.get(path)
    }
}

/// The routes of one endpoint, shared by its sockets.
///
/// Changes take a lock; the receive loops keep a copy of the table and renew it
/// only when the version has moved, so that no packet ever waits for a lock.
#[derive(Clone, Default)]
pub struct Routes {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    version: AtomicU64,
    next_id: AtomicU64,
    table: Mutex<Master>,
}

#[derive(Default)]
struct Master {
    live: BTreeSet<u64>,
    table: Arc<Table>,
}

impl fmt::Debug for Routes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let master = self.lock();
        f.debug_struct("Routes")
            .field("connections", &master.live.len())
            .field("paths", &master.table.paths.len())
            .finish()
    }
}

impl Routes {
    /// Adds a connection. `stun` gets STUN packets, `records` DTLS records. `None`
    /// when the endpoint already carries [`MAX_ROUTES`].
    pub fn register(&self, stun: Inlet, records: Inlet) -> Option<Registration> {
        let mut master = self.lock();
        if master.live.len() >= MAX_ROUTES {
            return None;
        }
        let id = self.shared.next_id.fetch_add(1, Ordering::Relaxed);
        master.live.insert(id);
        drop(master);
        let route = Route {
            id,
            stun,
            records,
            quic: QuicEntry::default(),
            streams: OnceLock::new(),
            overflowed: AtomicU64::new(0),
            unclaimed: AtomicU64::new(0),
        };
        Some(Registration {
            routes: self.clone(),
            route: Arc::new(route),
            ufrags: Vec::new(),
            paths: BTreeMap::new(),
            token: None,
        })
    }

    /// The version of the table; grows with every change.
    pub(crate) fn version(&self) -> u64 {
        self.shared.version.load(Ordering::Acquire)
    }

    /// The table and its version.
    pub(crate) fn snapshot(&self) -> (u64, Arc<Table>) {
        let master = self.lock();
        (self.version(), master.table.clone())
    }

    /// Where TCP connections go that begin with a check for this username fragment.
    pub(crate) fn stream_inlet(&self, ufrag: &str) -> Option<StreamInlet> {
        let table = self.lock().table.clone();
        table.by_ufrag(ufrag)?.streams.get().cloned()
    }

    fn change<R>(&self, change: impl FnOnce(&mut Table) -> R) -> R {
        let mut master = self.lock();
        let result = change(Arc::make_mut(&mut master.table));
        self.shared.version.fetch_add(1, Ordering::Release);
        result
    }

    fn lock(&self) -> MutexGuard<'_, Master> {
        // A table is changed by single map operations: a poisoned one is whole.
        self.shared
            .table
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection's entry in the routes; dropping it removes everything it owns.
pub struct Registration {
    routes: Routes,
    route: Arc<Route>,
    ufrags: Vec<Arc<str>>,
    paths: BTreeMap<Path, ()>,
    token: Option<Token>,
}

impl fmt::Debug for Registration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registration")
            .field("id", &self.route.id)
            .field("paths", &self.paths.len())
            .finish_non_exhaustive()
    }
}

impl Registration {
    /// Answers to one more username fragment. The oldest is forgotten when there
    /// are too many. `false` when another connection answers to it.
    pub fn add_ufrag(&mut self, ufrag: &str) -> bool {
        if self.ufrags.iter().any(|known| &**known == ufrag) {
            return true;
        }
        let ufrag: Arc<str> = Arc::from(ufrag);
        let forget = (self.ufrags.len() >= MAX_UFRAGS_PER_ROUTE).then(|| self.ufrags.remove(0));
        let route = self.route.clone();
        let added = self.routes.change(|table| {
            if let Some(old) = forget {
                table.ufrags.remove(&old);
            }
            if table.ufrags.contains_key(&ufrag) {
                return false;
            }
            table.ufrags.insert(ufrag.clone(), route);
            true
        });
        if added {
            self.ufrags.push(ufrag);
        }
        added
    }

    /// Takes the answers to STUN requests whose transaction ids begin with `token`, which
    /// has to be random. One token for each connection: a second one replaces it.
    pub fn set_token(&mut self, token: Token) {
        let (old, route) = (self.token.replace(token), self.route.clone());
        self.routes.change(|table| {
            if let Some(old) = old {
                table.tokens.remove(&old);
            }
            table.tokens.insert(token, route);
        });
    }

    /// Takes the TCP connections that begin with a check for a username fragment of ours. Only the
    /// first inlet counts.
    pub fn take_streams(&self, inlet: StreamInlet) {
        if self.route.streams.set(inlet).is_err() {
            tracing::debug!("a connection takes TCP connections already");
        }
    }

    /// The connection's entry for what arrives by other ways than the sockets.
    pub fn ingress(&self) -> Ingress {
        Ingress {
            stun: self.route.stun.clone(),
            records: self.route.records.clone(),
            quic: self.route.quic.clone(),
        }
    }

    /// The connection's entry for QUIC packets.
    pub fn quic(&self) -> QuicEntry {
        self.route.quic.clone()
    }

    /// Takes a 5-tuple, if no other live connection owns it. Cheap when it is owned
    /// already.
    pub fn claim(&mut self, path: Path) -> Claim {
        if self.paths.contains_key(&path) {
            return Claim::Granted;
        }
        if self.paths.len() >= MAX_PATHS_PER_ROUTE {
            return Claim::TooMany;
        }
        if self.routes.lock().table.paths.contains_key(&path) {
            return Claim::Taken;
        }
        let route = self.route.clone();
        let granted = self.routes.change(|table| {
            // Asked again under the lock: another connection may have been faster.
            table.paths.entry(path).or_insert_with(|| route.clone()).id == route.id
        });
        if !granted {
            return Claim::Taken;
        }
        self.paths.insert(path, ());
        Claim::Granted
    }

    /// Whether this connection has taken the 5-tuple.
    pub fn owns(&self, path: Path) -> bool {
        self.paths.contains_key(&path)
    }

    /// Gives up every 5-tuple but `keep`: once a pair is selected, the others are
    /// free for other connections.
    pub fn release_all_but(&mut self, keep: Path) {
        let gone: Vec<Path> = self
            .paths
            .keys()
            .copied()
            .filter(|path| *path != keep)
            .collect();
        for path in &gone {
            self.paths.remove(path);
        }
        if !gone.is_empty() {
            self.routes.change(|table| {
                for path in &gone {
                    table.paths.remove(path);
                }
            });
        }
    }

    /// What could not be delivered so far.
    pub fn stats(&self) -> RouteStats {
        RouteStats {
            overflowed: self.route.overflowed.load(Ordering::Relaxed),
            unclaimed: self.route.unclaimed.load(Ordering::Relaxed),
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.routes.change(|table| {
            for ufrag in &self.ufrags {
                table.ufrags.remove(ufrag);
            }
            if let Some(token) = &self.token {
                table.tokens.remove(token);
            }
            for path in self.paths.keys() {
                table.paths.remove(path);
            }
        });
        self.routes.lock().live.remove(&self.route.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_a_live_connection_is_refused_to_another() {
        let routes = Routes::default();
        let mut first = register(&routes);
        let mut second = register(&routes);
        assert_eq!(first.claim(path(1)), Claim::Granted);
        assert_eq!(first.claim(path(1)), Claim::Granted);
        assert_eq!(second.claim(path(1)), Claim::Taken);
        assert_eq!(second.claim(path(2)), Claim::Granted);
        drop(first);
        assert_eq!(second.claim(path(1)), Claim::Granted);
    }

    #[test]
    fn paths_per_connection_are_bounded_and_released() {
        let routes = Routes::default();
        let mut registration = register(&routes);
        for port in 0..MAX_PATHS_PER_ROUTE {
            assert_eq!(registration.claim(path(port as u16 + 1)), Claim::Granted);
        }
        assert_eq!(registration.claim(path(9999)), Claim::TooMany);
        registration.release_all_but(path(1));
        assert_eq!(registration.claim(path(9999)), Claim::Granted);
        assert!(routes.snapshot().1.by_path(&path(2)).is_none());
    }

    #[test]
    fn ufrags_route_until_the_connection_is_gone() {
        let routes = Routes::default();
        let mut first = register(&routes);
        let mut second = register(&routes);
        assert!(first.add_ufrag("abcd"));
        assert!(!second.add_ufrag("abcd"));
        assert!(routes.snapshot().1.by_ufrag("abcd").is_some());
        let before = routes.version();
        drop(first);
        assert!(routes.version() > before);
        assert!(routes.snapshot().1.by_ufrag("abcd").is_none());
    }

    fn register(routes: &Routes) -> Registration {
        let nowhere: Inlet = Arc::new(|_| true);
        routes
            .register(nowhere.clone(), nowhere)
            .expect("room for a connection")
    }

    fn path(port: u16) -> Path {
        Path::new(
            "127.0.0.1:1".parse().expect("an address"),
            ([127, 0, 0, 1], port).into(),
        )
    }
}
