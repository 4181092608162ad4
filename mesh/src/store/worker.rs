//! The store thread: loads, answers, commits, acknowledges, in that order.

use tokio::sync::{mpsc, oneshot};

use super::backend::{Backend, Memory, Write};
use super::disk::Disk;
use super::key::{self, Seed};
use super::lock::Directory;
use super::tables::{KnownIdentity, RememberedPeer, Tables, Verdict};
use super::{Data, Notice, StoreError};
use crate::clock::unix_now;

/// Commands served by one flush.
const BATCH: usize = 32;

type Reply<T> = oneshot::Sender<T>;

/// What the handle asks for.
pub(super) enum Command {
    Remember(RememberedPeer, Reply<Result<(), StoreError>>),
    Peers(String, Reply<Vec<RememberedPeer>>),
    Check {
        identity: KnownIdentity,
        accept_change: bool,
        reply: Reply<Result<Verdict, StoreError>>,
    },
    Identities(Reply<Vec<KnownIdentity>>),
    Forget(String, Reply<Result<bool, StoreError>>),
    #[cfg(any(test, feature = "chaos"))]
    LoseDatabase(Reply<()>),
    #[cfg(test)]
    RefuseCommits(usize, Reply<()>),
    Close(Reply<()>),
}

/// What a successful start hands back.
pub(super) struct Start {
    pub(super) seed: Seed,
    pub(super) boot: u64,
    pub(super) notices: Vec<Notice>,
}

/// Body of the store thread.
pub(super) fn run(
    data: Data,
    fresh: impl FnOnce() -> Seed,
    mut queue: mpsc::Receiver<Command>,
    notices: mpsc::Sender<Notice>,
    done: Reply<Result<Start, StoreError>>,
) {
    let (mut worker, start) = match Worker::start(&data, fresh, notices) {
        Ok(started) => started,
        Err(error) => return answer(done, Err(error)),
    };
    answer(done, Ok(start));
    let mut batch = Vec::with_capacity(BATCH);
    while let Some(command) = queue.blocking_recv() {
        batch.push(command);
        while batch.len() < BATCH
            && let Ok(command) = queue.try_recv()
        {
            batch.push(command);
        }
        if let Some(closed) = worker.serve(batch.drain(..)) {
            queue.close();
            // The lock goes before the answer: who hears it may reopen.
            drop(worker);
            return answer(closed, ());
        }
    }
}

/// Whoever asked may have gone; that is their affair.
fn answer<T>(reply: Reply<T>, value: T) {
    drop(reply.send(value));
}

/// An answer that waits for the flush.
type Acknowledge = Box<dyn FnOnce(Result<(), StoreError>)>;

enum Medium {
    Disk(Disk),
    Memory(Memory),
}

impl Medium {
    fn backend(&mut self) -> &mut dyn Backend {
        match self {
            Self::Disk(disk) => disk,
            Self::Memory(memory) => memory,
        }
    }
}

struct Worker {
    tables: Tables,
    medium: Medium,
    /// A commit failed: the medium lags behind the tables by more than the
    /// pending writes, until everything has been written anew.
    behind: bool,
    notices: mpsc::Sender<Notice>,
    /// Declared last: released after the database is closed.
    _directory: Option<Directory>,
}

impl Worker {
    fn start(
        data: &Data,
        fresh: impl FnOnce() -> Seed,
        later: mpsc::Sender<Notice>,
    ) -> Result<(Self, Start), StoreError> {
        let directory = Directory::take(data)?;
        let mut notices = Vec::new();
        let (seed, medium, records) = match &directory {
            None => {
                let mut memory = Memory::default();
                let records = memory.load()?;
                (fresh(), Medium::Memory(memory), records)
            }
            Some(directory) => {
                let (seed, created) = key::load_or_create(&directory.path, fresh)?;
                if created {
                    notices.push(Notice::KeyCreated);
                }
                let (disk, records, rebuilt) = Disk::open(&directory.path)?;
                notices.extend(rebuilt.map(|rebuilt| Notice::Rebuilt {
                    moved_to: rebuilt.moved_to,
                    cause: rebuilt.cause,
                }));
                (seed, Medium::Disk(disk), records)
            }
        };
        let tables = Tables::load(records, &mut notices);
        let mut worker = Self {
            tables,
            medium,
            behind: false,
            notices: later,
            _directory: directory,
        };
        let boot = worker.tables.count_boot(unix_now())?;
        worker.commit()?;
        for notice in &notices {
            log(notice);
        }
        Ok((
            worker,
            Start {
                seed,
                boot,
                notices,
            },
        ))
    }

    /// Serves a batch with one commit; `Some` when the store is to close.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "every other command is executed alike"
    )]
    fn serve(&mut self, batch: impl Iterator<Item = Command>) -> Option<Reply<()>> {
        let mut waiting: Vec<Acknowledge> = Vec::new();
        let mut closing = None;
        for command in batch {
            match command {
                Command::Close(reply) => closing = Some(reply),
                command => waiting.extend(self.execute(command)),
            }
        }
        let committed = self.commit().map_err(|error| error.to_string());
        for acknowledge in waiting {
            acknowledge(
                committed
                    .clone()
                    .map_err(|what| StoreError::Database { what }),
            );
        }
        closing
    }

    fn execute(&mut self, command: Command) -> Option<Acknowledge> {
        match command {
            Command::Remember(peer, reply) => after_flush(self.tables.remember(peer), reply),
            Command::Check {
                identity,
                accept_change,
                reply,
            } => after_flush(self.tables.check(identity, accept_change), reply),
            Command::Forget(name, reply) => after_flush(Ok(self.tables.forget(&name)), reply),
            Command::Peers(mesh, reply) => {
                answer(reply, self.tables.peers(&mesh));
                None
            }
            Command::Identities(reply) => {
                answer(reply, self.tables.identities());
                None
            }
            #[cfg(any(test, feature = "chaos"))]
            Command::LoseDatabase(reply) => {
                if let Medium::Disk(disk) = &mut self.medium {
                    disk.lose();
                }
                answer(reply, ());
                None
            }
            #[cfg(test)]
            Command::RefuseCommits(count, reply) => {
                if let Medium::Disk(disk) = &mut self.medium {
                    disk.refuse(count);
                }
                answer(reply, ());
                None
            }
            // Taken out by the caller, which ends the thread.
            Command::Close(_) => None,
        }
    }

    /// Commits what is pending; a database that fails is rebuilt from memory.
    /// When that fails as well the tables still hold what was not written, so
    /// nothing is acknowledged until all of it is.
    fn commit(&mut self) -> Result<(), StoreError> {
        let writes = self.tables.take_pending();
        let done = if self.behind {
            self.replace()
        } else if writes.is_empty() {
            Ok(())
        } else {
            match self.medium.backend().commit(&writes) {
                Err(StoreError::Database { what }) => self.rebuild(what),
                done => done,
            }
        };
        if let (Err(error), false) = (&done, self.behind) {
            tracing::warn!(%error, "nothing is kept until the store can write again");
        }
        self.behind = done.is_err();
        done
    }

    fn replace(&mut self) -> Result<(), StoreError> {
        let writes = self.tables.all()?;
        self.medium.backend().replace(&writes)
    }

    fn rebuild(&mut self, cause: String) -> Result<(), StoreError> {
        let writes: Vec<Write> = self.tables.all()?;
        let Medium::Disk(disk) = &mut self.medium else {
            return Ok(());
        };
        let moved_to = disk.start_over(&writes)?;
        let notice = Notice::Rebuilt { moved_to, cause };
        log(&notice);
        // Full: nobody reads them, and it is logged.
        drop(self.notices.try_send(notice));
        Ok(())
    }
}

/// Says what the store did on its own where an operator looks.
fn log(notice: &Notice) {
    match notice {
        Notice::KeyCreated => tracing::info!("a new identity was created"),
        Notice::Rebuilt { moved_to, cause } => {
            tracing::warn!(
                cause,
                moved_to = %moved_to.display(),
                "the database was damaged and has been rebuilt"
            );
        }
        Notice::RecordDropped { cause } => {
            tracing::warn!(cause, "a damaged record was dropped");
        }
    }
}

/// Answers errors at once, success only when the flush has succeeded.
fn after_flush<T: 'static>(
    outcome: Result<T, StoreError>,
    reply: Reply<Result<T, StoreError>>,
) -> Option<Acknowledge> {
    match outcome {
        Ok(value) => Some(Box::new(move |flushed| {
            answer(reply, flushed.map(|()| value))
        })),
        Err(error) => {
            answer(reply, Err(error));
            None
        }
    }
}
