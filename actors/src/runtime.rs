//! The arbiter pool: where all actors run, whatever runtime the caller uses.
//!
//! Actix actors need a thread with an actix system; `start()` panics inside a
//! multi-threaded tokio runtime. So one thread of our own runs `System::new()` and
//! a pool of arbiters, one per core; handles reach their actors by message. All
//! actors of one peer connection live on one arbiter.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use actix::{Actor as _, Addr, Arbiter, ArbiterHandle, System};
use tokio::sync::oneshot;

use crate::config::IceServer;
use crate::peer_connection::{Plan, Started as StartedConnection};
use crate::warden::{StartConnection, Warden};

/// Arbiters at most, whatever the machine says: more than this many threads never
/// helped a pool of actors. Guess.
const MAX_ARBITERS: usize = 64;

/// Settings of a [`Runtime`].
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct RuntimeConfig {
    /// Number of arbiters; one per core when `None`.
    pub arbiters: Option<usize>,
    /// STUN and TURN servers that this machine or its operator suggests; see
    /// [`PeerConnection::default_ice_servers`](crate::PeerConnection::default_ice_servers).
    pub default_ice_servers: Vec<IceServer>,
}

impl RuntimeConfig {
    /// The same settings with this many arbiters.
    pub fn with_arbiters(mut self, arbiters: usize) -> Self {
        self.arbiters = Some(arbiters);
        self
    }

    /// The same settings with these servers as a suggestion to applications.
    pub fn with_default_ice_servers(mut self, servers: Vec<IceServer>) -> Self {
        self.default_ice_servers = servers;
        self
    }
}

/// The runtime could not be started, or is gone.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RuntimeError {
    /// No thread or no event queue.
    #[error("cannot start the actor runtime: {0} (is a limit on threads or files reached?)")]
    Start(#[source] std::io::Error),
    /// The system ended while it was being started or used.
    #[error("the actor runtime has stopped (start a new one)")]
    Stopped,
}

/// A pool of arbiters on its own threads. Cloning is cheap; when the last clone is
/// dropped the system stops and its threads end.
#[derive(Debug, Clone)]
pub struct Runtime {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    system: System,
    arbiters: Vec<Lane>,
    next: AtomicUsize,
    default_ice_servers: Vec<IceServer>,
}

/// An arbiter and the parent of its peer connections.
#[derive(Debug, Clone)]
struct Lane {
    arbiter: ArbiterHandle,
    warden: Addr<Warden>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Stops every arbiter; each drops its actors and ends its thread.
        self.system.stop();
    }
}

impl Runtime {
    /// Starts the threads. Blocks only for as long as that takes (under a
    /// millisecond).
    pub fn start(config: RuntimeConfig) -> Result<Runtime, RuntimeError> {
        let cores = || thread::available_parallelism().map_or(1, usize::from);
        let count = config.arbiters.unwrap_or_else(cores).clamp(1, MAX_ARBITERS);
        let (ready, started) = std::sync::mpsc::sync_channel(1);
        thread::Builder::new()
            .name("peerloom-system".into())
            .spawn(move || run_system(count, &ready))
            .map_err(RuntimeError::Start)?;
        let (system, arbiters) = match started.recv() {
            Ok(result) => result.map_err(RuntimeError::Start)?,
            Err(_) => return Err(RuntimeError::Stopped),
        };
        let next = AtomicUsize::new(0);
        Ok(Runtime {
            inner: Arc::new(Inner {
                system,
                arbiters,
                next,
                default_ice_servers: config.default_ice_servers,
            }),
        })
    }

    /// How many arbiters there are.
    pub fn arbiters(&self) -> usize {
        self.inner.arbiters.len()
    }

    pub(crate) fn default_ice_servers(&self) -> &[IceServer] {
        &self.inner.default_ice_servers
    }

    /// Spawns a future on one of the arbiters, where it may start actors of its own. It is
    /// dropped with the runtime, which lives as long as its last handle.
    pub fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        self.spawn_on(self.pick(), future);
    }

    /// The arbiter for the next peer connection: they take turns.
    pub(crate) fn pick(&self) -> ArbiterId {
        ArbiterId(self.inner.next.fetch_add(1, Ordering::Relaxed) % self.inner.arbiters.len())
    }

    /// Runs `build` on an arbiter, where it may start actors and bind sockets, and
    /// returns what it returns.
    pub(crate) async fn run_on<T, F>(&self, arbiter: ArbiterId, build: F) -> Result<T, RuntimeError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        let (done, result) = oneshot::channel();
        self.spawn_on(arbiter, async move {
            // The caller may have stopped waiting; then nobody needs the result.
            drop(done.send(build()));
        });
        result.await.map_err(|_| RuntimeError::Stopped)
    }

    /// Spawns a future on an arbiter. Nothing happens when the system has stopped.
    pub(crate) fn spawn_on(
        &self,
        arbiter: ArbiterId,
        future: impl Future<Output = ()> + Send + 'static,
    ) {
        if !self.inner.arbiters[arbiter.0].arbiter.spawn(future) {
            tracing::debug!("arbiter has stopped");
        }
    }

    /// Starts a peer connection on the next arbiter.
    pub(crate) async fn start_connection(
        &self,
        plan: Plan,
    ) -> Result<StartedConnection, RuntimeError> {
        let warden = &self.inner.arbiters[self.pick().0].warden;
        warden
            .send(StartConnection(plan))
            .await
            .map_err(|_| RuntimeError::Stopped)
    }
}

/// One arbiter of a [`Runtime`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ArbiterId(usize);

type Started = Result<(System, Vec<Lane>), std::io::Error>;

fn run_system(count: usize, ready: &std::sync::mpsc::SyncSender<Started>) {
    let system = System::new();
    let pool = system.block_on(async {
        (0..count)
            .map(|_| open_lane())
            .collect::<Result<Vec<_>, _>>()
    });
    let (pool, lanes): (Vec<_>, Vec<_>) = match pool {
        Ok(pool) => pool.into_iter().unzip(),
        Err(error) => {
            drop(ready.send(Err(error)));
            return;
        }
    };
    if ready.send(Ok((System::current(), lanes))).is_err() {
        return;
    }
    if let Err(error) = system.run() {
        tracing::error!(%error, "the actor system ended with an error");
    }
    for arbiter in pool {
        // `System::stop` has told every arbiter already.
        if arbiter.join().is_err() {
            tracing::error!("an arbiter thread panicked");
        }
    }
}

fn open_lane() -> Result<(Arbiter, Lane), std::io::Error> {
    let arbiter = Arbiter::try_new()?;
    let (started, warden) = std::sync::mpsc::sync_channel(1);
    arbiter.spawn_fn(move || {
        // The other end waits for it below.
        drop(started.send(Warden::default().start()));
    });
    let warden = warden
        .recv()
        .map_err(|_| std::io::Error::other("an arbiter ended at once"))?;
    let lane = Lane {
        arbiter: arbiter.handle(),
        warden,
    };
    Ok((arbiter, lane))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread")]
    async fn work_runs_on_arbiters_from_a_multi_thread_runtime() {
        let runtime = Runtime::start(RuntimeConfig::default().with_arbiters(2)).expect("threads");
        let here = thread::current().id();
        let mut seen = std::collections::HashSet::new();
        for _ in 0..4 {
            let id = runtime
                .run_on(runtime.pick(), || thread::current().id())
                .await
                .expect("runs");
            assert_ne!(id, here);
            seen.insert(id);
        }
        assert_eq!(seen.len(), 2);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn the_threads_end_with_the_last_handle() {
        struct Told(std::sync::mpsc::Sender<()>);
        impl Drop for Told {
            fn drop(&mut self) {
                assert!(self.0.send(()).is_ok());
            }
        }
        let runtime = Runtime::start(RuntimeConfig::default().with_arbiters(1)).expect("threads");
        let (gone, ended) = std::sync::mpsc::channel();
        let told = Told(gone);
        runtime.spawn_on(runtime.pick(), async move {
            let _told = told;
            std::future::pending::<()>().await;
        });
        runtime.run_on(runtime.pick(), || ()).await.expect("runs");
        drop(runtime);
        let end = tokio::task::spawn_blocking(move || ended.recv());
        assert_eq!(end.await.expect("no panic"), Ok(()));
    }
}
