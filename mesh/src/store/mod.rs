//! What a node keeps between runs: remembered peers, known identities, the
//! boot counter, and, in a file of its own, the identity key.
//!
//! One thread owns the backend behind a bounded command channel. Everything is
//! loaded at the start and answered from memory, so the store is bounded by
//! [`PEERS_MAX`] and [`IDENTITIES_MAX`]; a write is acknowledged only after it
//! was flushed, and writes that wait together are flushed together. A damaged
//! database is moved aside and rebuilt from memory; the key is never touched.
//!
//! Two backends share one small trait: sled on disk, and memory.

mod backend;
mod disk;
mod key;
mod lock;
mod record;
mod tables;
#[cfg(test)]
mod tests;
mod tidemark;
mod worker;

use std::io;
use std::path::PathBuf;

use tokio::sync::{mpsc, oneshot};

pub(crate) use key::Seed;
pub(crate) use tables::Verdict;
pub use tables::{KnownIdentity, RememberedPeer};
use worker::Command;

/// Remembered peers per mesh (design: "the last 32 good peers").
pub(crate) const PEERS_MAX: usize = 32;
/// Known identities, least recently used forgotten first. About 1 MiB.
pub(crate) const IDENTITIES_MAX: usize = 4096;
/// Commands waiting for the store thread. Filled by the node (one per link
/// that comes up, one per validated assertion); senders wait when it is full.
const COMMANDS: usize = 64;
/// Notices waiting to be read. Filled by the store thread, at most one per
/// rebuilt database; later ones are only logged.
const NOTICES: usize = 32;

/// Where a node keeps its identity and memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Data {
    /// The platform's data directory, such as `~/.local/share/peerloom`.
    #[default]
    Default,
    /// This directory, created when missing.
    Dir(PathBuf),
    /// Nothing on disk: a new identity at every start.
    Memory,
}

/// Why the store cannot do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process (or another node of this one) uses the directory.
    #[error(
        "the data directory {path} is in use by another process: stop it, or choose another directory"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// There is no platform data directory for this user.
    #[error("no data directory is known for this user: choose one")]
    NoDirectory,
    /// The operating system refused.
    #[error("cannot use {path}: {source}")]
    Io {
        /// What was accessed.
        path: PathBuf,
        /// The reason given.
        source: io::Error,
    },
    /// The identity key cannot be read or written.
    #[error("cannot access the identity key {path}: {source}")]
    Key {
        /// The key file.
        path: PathBuf,
        /// The reason given.
        source: io::Error,
    },
    /// The identity key file is damaged. It is left as it is.
    #[error(
        "the identity key {path} is damaged: restore it from a backup, or remove it to start with a new identity"
    )]
    KeyDamaged {
        /// The key file.
        path: PathBuf,
    },
    /// The database failed, also after being rebuilt.
    #[error("the database failed: {what}")]
    Database {
        /// What it said.
        what: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// Something the store did on its own that the user should know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The identity was created in this start.
    KeyCreated,
    /// The database was damaged, moved aside and rebuilt.
    Rebuilt { moved_to: PathBuf, cause: String },
    /// One record did not check and was dropped.
    RecordDropped { cause: String },
}

/// A store that is open, and what opening it brought to light.
pub(crate) struct Opened {
    pub(crate) store: Store,
    pub(crate) seed: Seed,
    /// Grows with every start of this identity; the node's incarnation.
    pub(crate) boot: u64,
    pub(crate) notices: Vec<Notice>,
    /// What the store does on its own from now on.
    pub(crate) later: mpsc::Receiver<Notice>,
}

/// Handle to the store thread. The thread ends when the last one is dropped.
#[derive(Clone)]
pub(crate) struct Store {
    commands: mpsc::Sender<Command>,
}

impl Store {
    /// Opens `data`: takes the lock, reads or creates the key, loads (or
    /// rebuilds) the database and counts the boot. `fresh` makes a new seed.
    pub(crate) async fn open(
        data: Data,
        fresh: impl FnOnce() -> Seed + Send + 'static,
    ) -> Result<Opened, StoreError> {
        let (commands, queue) = mpsc::channel(COMMANDS);
        let (done, opened) = oneshot::channel();
        let (notices, later) = mpsc::channel(NOTICES);
        std::thread::Builder::new()
            .name("peerloom-store".to_owned())
            .spawn(move || worker::run(data, fresh, queue, notices, done))
            .map_err(|source| StoreError::Io {
                path: PathBuf::from("thread"),
                source,
            })?;
        let start = opened.await.map_err(|_| StoreError::Closed)??;
        Ok(Opened {
            store: Self { commands },
            seed: start.seed,
            boot: start.boot,
            notices: start.notices,
            later,
        })
    }

    /// The identity key in `data`, if there is one, also while a store has the
    /// directory open.
    pub(crate) fn peek_key(data: &Data) -> Result<Option<Seed>, StoreError> {
        match lock::path_of(data)? {
            Some(path) => key::peek(&path),
            None => Ok(None),
        }
    }

    /// Remembers a peer that was good just now; forgets the oldest above
    /// [`PEERS_MAX`] in its mesh.
    pub(crate) async fn remember(&self, peer: RememberedPeer) -> Result<(), StoreError> {
        self.ask(|reply| Command::Remember(peer, reply)).await?
    }

    /// The remembered peers of a mesh, best first.
    pub(crate) async fn peers(&self, mesh: &str) -> Result<Vec<RememberedPeer>, StoreError> {
        let mesh = mesh.to_owned();
        self.ask(|reply| Command::Peers(mesh, reply)).await
    }

    /// Holds an identity that was just validated against what is known: first
    /// use is remembered before this returns; a change is remembered only when
    /// `accept_change` is set.
    pub(crate) async fn check(
        &self,
        identity: KnownIdentity,
        accept_change: bool,
    ) -> Result<Verdict, StoreError> {
        self.ask(|reply| Command::Check {
            identity,
            accept_change,
            reply,
        })
        .await?
    }

    /// Every known identity, by name.
    pub(crate) async fn identities(&self) -> Result<Vec<KnownIdentity>, StoreError> {
        self.ask(Command::Identities).await
    }

    /// Forgets an identity; says whether it was known.
    pub(crate) async fn forget(&self, name: &str) -> Result<bool, StoreError> {
        let name = name.to_owned();
        self.ask(|reply| Command::Forget(name, reply)).await?
    }

    /// The database is lost from this instant, as by damage; the next write
    /// finds out.
    #[cfg(any(test, feature = "chaos"))]
    pub(crate) async fn lose_database(&self) -> Result<(), StoreError> {
        self.ask(Command::LoseDatabase).await
    }

    /// The next commits fail as on a full disk.
    #[cfg(test)]
    pub(crate) async fn refuse_commits(&self, count: usize) -> Result<(), StoreError> {
        self.ask(|reply| Command::RefuseCommits(count, reply)).await
    }

    /// Waits for what was asked before, then releases the directory.
    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        self.ask(Command::Close).await
    }

    async fn ask<T>(
        &self,
        command: impl FnOnce(oneshot::Sender<T>) -> Command,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(command(reply))
            .await
            .map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)
    }
}
