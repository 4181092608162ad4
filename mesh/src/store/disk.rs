//! The database on disk: the only file that knows sled.
//!
//! sled 0.34 answers some damage with an error and some with a panic; a good
//! part it does not notice at all: it opens as it was some writes ago, or takes
//! new writes on damaged ground and loses them at the next start (150 seeded
//! damages: 60 refused, 80 silently cut, 1 losing what was written later). So:
//!
//! - Every start writes a new generation (`db-1`, `db-2`, …) from what the last
//!   one held; the live database never stands on old ground. The previous
//!   generation is kept as a backup until the start after.
//! - The [`Tidemark`] tells a generation that was cut.
//! - sled is opened on a thread of its own under a time limit, and every call
//!   is fenced against unwinding.
//! - A damaged generation is moved aside, not deleted, and reported.

use std::fs;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use super::StoreError;
use super::backend::{Backend, Write};
use super::record::VALUE_MAX;
use super::tidemark::{self, Tidemark};

/// Name of a generation's folder, before its number.
const FOLDER: &str = "db-";
/// Ending of a generation that was moved aside.
const DAMAGED: &str = ".damaged";
/// Name of the file that says how far the database had got.
const MARK: &str = "db.mark";
/// Key of the number of the last commit, see [`tidemark`].
const COMMIT_KEY: &[u8] = b"c";
/// sled's page cache. It takes 1 GiB by default; the whole store is far
/// smaller than this, and fifty nodes may share one process.
const CACHE: u64 = 4 * 1024 * 1024;
/// A database that is not open after this long is treated as damaged (a good
/// one takes milliseconds; a guess with three orders of margin).
const OPEN_LIMIT: Duration = Duration::from_secs(20);
/// Records read at the start; more than the limits above us allow is damage.
const RECORDS_MAX: usize = 16 * 1024;
/// Damaged generations kept for inspection, oldest removed first.
const KEPT_ASIDE: usize = 4;

/// What opening found, besides the database.
pub(super) struct Rebuilt {
    /// Where the damaged database was moved.
    pub(super) moved_to: PathBuf,
    /// What was wrong with it.
    pub(super) cause: String,
}

/// Stored keys and values.
type Records = Vec<(Vec<u8>, Vec<u8>)>;

/// The live generation.
pub(super) struct Disk {
    dir: PathBuf,
    generation: u64,
    db: Option<sled::Db>,
    mark: Tidemark,
    /// Number of the last commit in the database.
    commits: u64,
    /// Commits that are still to fail.
    #[cfg(test)]
    refused: usize,
}

impl Disk {
    /// Loads the last good generation in `dir` and starts a new one from it.
    /// Of damaged ones the one that got furthest is used, and reported.
    pub(super) fn open(dir: &Path) -> Result<(Self, Records, Option<Rebuilt>), StoreError> {
        let path = dir.join(MARK);
        let mark = Tidemark::open(&path).map_err(|source| StoreError::Io { path, source })?;
        let generations = generations(dir)?;
        let found = Found::search(dir, &generations, mark.last)?;
        let mut disk = Self {
            dir: dir.to_owned(),
            generation: generations.first().copied().unwrap_or(0),
            db: None,
            commits: found.commits.max(mark.last),
            mark,
            #[cfg(test)]
            refused: 0,
        };
        let records = found.records;
        disk.start_generation(&writes(&records))?;
        let mut rebuilt = None;
        for (generation, cause) in found.damaged {
            let moved_to = move_aside(dir, generation)?;
            rebuilt.get_or_insert(Rebuilt { moved_to, cause });
        }
        for old in generations
            .into_iter()
            .filter(|number| Some(*number) != found.used)
        {
            remove_if_there(&dir.join(folder(old)))?;
        }
        Ok((disk, records, rebuilt))
    }

    /// Moves the live generation aside and starts a new one that holds
    /// `writes`; says where the old one went.
    pub(super) fn start_over(&mut self, writes: &[Write]) -> Result<PathBuf, StoreError> {
        let damaged = self.generation;
        // First the new one: without room for it the old one is all there is.
        self.start_generation(writes)?;
        move_aside(&self.dir, damaged)
    }

    /// Starts the next generation; one that cannot be started leaves the last
    /// one where it was, without a database that is open.
    fn start_generation(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        self.let_go();
        // Never the number of one that failed: its threads may still write.
        self.generation += 1;
        let path = self.folder();
        let started = remove_if_there(&path)
            .and_then(|()| open_in_time(path.clone()))
            .and_then(|db| {
                self.db = Some(db);
                self.commit(writes)
            });
        if started.is_err() {
            self.let_go();
            // What stays is passed over by the next start, and removed.
            drop(remove_if_there(&path));
        }
        started
    }

    /// Closes the database, if one is open.
    fn let_go(&mut self) {
        if let Some(db) = self.db.take() {
            // Dropping writes what it can; of no interest any more.
            drop(fenced(move || drop(db)));
        }
    }

    /// Where the live generation is.
    fn folder(&self) -> PathBuf {
        self.dir.join(folder(self.generation))
    }

    /// Loses the live database, as damage would (fault injection).
    #[cfg(any(test, feature = "chaos"))]
    pub(super) fn lose(&mut self) {
        self.db = None;
    }

    /// The next commits fail as on a full disk (fault injection).
    #[cfg(test)]
    pub(super) fn refuse(&mut self, commits: usize) {
        self.refused = commits;
    }

    fn db(&self) -> Result<&sled::Db, StoreError> {
        self.db.as_ref().ok_or_else(|| StoreError::Database {
            what: "not open".to_owned(),
        })
    }
}

impl Backend for Disk {
    fn load(&mut self) -> Result<Records, StoreError> {
        read_all(self.db()?, &self.folder())
    }

    fn commit(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        #[cfg(test)]
        if self.refused > 0 {
            self.refused -= 1;
            let full = sled::Error::Io(io::ErrorKind::StorageFull.into());
            return Err(failed(&self.folder(), full));
        }
        let db = self.db()?;
        let number = self.commits + 1;
        let folder = self.folder();
        fenced(|| {
            let mut batch = sled::Batch::default();
            batch.insert(COMMIT_KEY, &tidemark::render(number));
            for (key, value) in writes {
                match value {
                    Some(value) => batch.insert(key.as_slice(), value.as_slice()),
                    None => batch.remove(key.as_slice()),
                }
            }
            let failed = |error| failed(&folder, error);
            db.apply_batch(batch).map_err(failed)?;
            db.flush().map(drop).map_err(failed)
        })??;
        self.commits = number;
        let path = || self.dir.join(MARK);
        self.mark.note(number).map_err(|source| StoreError::Io {
            path: path(),
            source,
        })
    }

    /// In a new generation: sled answers every call after one that failed with
    /// the same error.
    fn replace(&mut self, writes: &[Write]) -> Result<(), StoreError> {
        let old = self.folder();
        self.start_generation(writes)?;
        // Its threads may still write there; then the next start removes it.
        drop(remove_if_there(&old));
        Ok(())
    }
}

/// What the generations on disk hold.
#[derive(Default)]
struct Found {
    records: Records,
    commits: u64,
    /// The generation the records are from.
    used: Option<u64>,
    /// Generations that are not what they were, and why.
    damaged: Vec<(u64, String)>,
}

impl Found {
    /// Looks through the generations, newest first, for one that got as far as
    /// `mark`; failing that, for the one that got furthest.
    fn search(dir: &Path, generations: &[u64], mark: u64) -> Result<Self, StoreError> {
        let mut found = Self::default();
        // A crash while a generation is started leaves it without a commit.
        let mut unfinished = None;
        for generation in generations {
            let (commits, records) = match read_generation(&dir.join(folder(*generation))) {
                Ok(read) => read,
                Err(StoreError::Database { what }) => {
                    found.damaged.push((*generation, what));
                    continue;
                }
                Err(error) => return Err(error),
            };
            let whole = commits >= mark;
            if !whole && commits > 0 {
                let cause = format!("the last {} of {mark} commits are gone", mark - commits);
                found.damaged.push((*generation, cause));
            } else if !whole {
                unfinished.get_or_insert(*generation);
            }
            if whole || commits > found.commits {
                found = Self {
                    records,
                    commits,
                    used: Some(*generation),
                    ..found
                };
            }
            if whole {
                return Ok(found);
            }
        }
        if found.damaged.is_empty() {
            found
                .damaged
                .extend(unfinished.map(|number| (number, "it is empty".to_owned())));
        }
        Ok(found)
    }
}

/// The number of the last commit and the records of one generation.
fn read_generation(path: &Path) -> Result<(u64, Records), StoreError> {
    let db = open_in_time(path.to_owned())?;
    let records = read_all(&db, path);
    // Dropping may write, and panic on damage.
    let dropped = fenced(move || drop(db));
    let mut records = records?;
    dropped?;
    let commits = records
        .iter()
        .position(|(key, _)| key == COMMIT_KEY)
        .and_then(|at| tidemark::parse(&records.swap_remove(at).1));
    Ok((commits.unwrap_or(0), records))
}

fn read_all(db: &sled::Db, path: &Path) -> Result<Records, StoreError> {
    fenced(|| {
        let mut records = Vec::new();
        for entry in db.iter().take(RECORDS_MAX) {
            let (key, value) = entry.map_err(|error| failed(path, error))?;
            if value.len() <= VALUE_MAX {
                records.push((key.to_vec(), value.to_vec()));
            }
        }
        Ok(records)
    })?
}

fn writes(records: &Records) -> Vec<Write> {
    records
        .iter()
        .map(|(key, value)| (key.clone(), Some(value.clone())))
        .collect()
}

/// Opens on a thread of its own: recovery that hangs is damage like any other.
fn open_in_time(path: PathBuf) -> Result<sled::Db, StoreError> {
    let (sender, receiver) = mpsc::sync_channel(1);
    let spawned = std::thread::Builder::new()
        .name("peerloom-store-open".to_owned())
        .spawn({
            let path = path.clone();
            move || {
                let opened = fenced(|| open_sled(&path)).and_then(|result| result);
                // Nobody listens any more when the limit has passed.
                drop(sender.send(opened));
            }
        });
    spawned.map_err(|source| StoreError::Io { path, source })?;
    receiver.recv_timeout(OPEN_LIMIT).unwrap_or_else(|_| {
        Err(StoreError::Database {
            what: format!("did not open within {OPEN_LIMIT:?}"),
        })
    })
}

/// sled's own file in a generation's folder; it holds a lock on it.
const LOCKED_FILE: &str = "db";

/// Waits until nobody holds sled's lock on a generation: the directory is ours,
/// but threads of a database that was dropped a moment ago may still let go of
/// theirs. sled refuses instead of waiting, which looked like damage and cost
/// what the newest generation alone held.
fn wait_for_lock(path: &Path) -> io::Result<()> {
    match fs::File::open(path.join(LOCKED_FILE)) {
        Ok(file) => file.lock(),
        // A new one; and for anything else sled finds the words.
        Err(_) => Ok(()),
    }
}

fn open_sled(path: &Path) -> Result<sled::Db, StoreError> {
    wait_for_lock(path).map_err(io_error(path))?;
    sled::Config::new()
        .path(path)
        .cache_capacity(CACHE)
        .mode(sled::Mode::LowSpace)
        // We flush before we acknowledge; a timer thread per node is waste.
        .flush_every_ms(None)
        .open()
        .map_err(|error| failed(path, error))
}

/// Damage, unless the operating system refuses for a reason a new database
/// would meet as well; `path` is the generation it was about.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "only refusals by the operating system are told apart"
)]
fn failed(path: &Path, error: sled::Error) -> StoreError {
    use io::ErrorKind::{PermissionDenied, QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    match error {
        sled::Error::Io(source)
            if matches!(
                source.kind(),
                PermissionDenied | QuotaExceeded | ReadOnlyFilesystem | StorageFull
            ) =>
        {
            StoreError::Io {
                path: path.to_owned(),
                source,
            }
        }
        error => StoreError::Database {
            what: error.to_string(),
        },
    }
}

/// Runs `work`, turning a panic inside sled into an error.
fn fenced<T>(work: impl FnOnce() -> T) -> Result<T, StoreError> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        let text = panic
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        StoreError::Database {
            what: format!("the database engine panicked: {text}"),
        }
    })
}

fn folder(generation: u64) -> String {
    format!("{FOLDER}{generation}")
}

fn io_error(path: &Path) -> impl FnOnce(io::Error) -> StoreError + use<> {
    let path = path.to_owned();
    move |source| StoreError::Io { path, source }
}

/// Numbers of the generations in `dir`, newest first.
fn generations(dir: &Path) -> Result<Vec<u64>, StoreError> {
    let mut numbers = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error(dir))? {
        let name = entry.map_err(io_error(dir))?.file_name();
        numbers.extend(
            name.to_str()
                .and_then(|name| name.strip_prefix(FOLDER)?.parse::<u64>().ok()),
        );
    }
    numbers.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
    Ok(numbers)
}

fn remove_if_there(path: &Path) -> Result<(), StoreError> {
    let removed = if path.is_dir() {
        fs::remove_dir_all(path)
    } else {
        fs::remove_file(path)
    };
    match removed {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(StoreError::Io {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

/// Renames a generation to `db-N.damaged`; keeps the newest few of those.
fn move_aside(dir: &Path, generation: u64) -> Result<PathBuf, StoreError> {
    let from = dir.join(folder(generation));
    let to = dir.join(format!("{}{DAMAGED}", folder(generation)));
    fs::rename(&from, &to).map_err(io_error(&from))?;
    let mut aside = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error(dir))? {
        let name = entry.map_err(io_error(dir))?.file_name();
        let number = name.to_str().and_then(|name| {
            name.strip_prefix(FOLDER)?
                .strip_suffix(DAMAGED)?
                .parse::<u64>()
                .ok()
        });
        aside.extend(number);
    }
    aside.sort_unstable_by_key(|number| std::cmp::Reverse(*number));
    for old in aside.into_iter().skip(KEPT_ASIDE) {
        remove_if_there(&dir.join(format!("{}{DAMAGED}", folder(old))))?;
    }
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn committed_records_are_there_after_reopening() {
        let dir = tempfile::tempdir().unwrap();
        let (mut disk, records, rebuilt) = Disk::open(dir.path()).unwrap();
        assert!(records.is_empty() && rebuilt.is_none());
        disk.commit(&[
            (b"a".to_vec(), Some(b"1".to_vec())),
            (b"b".to_vec(), Some(b"2".to_vec())),
        ])
        .unwrap();
        disk.commit(&[(b"a".to_vec(), None)]).unwrap();
        drop(disk);
        let (_, records, rebuilt) = Disk::open(dir.path()).unwrap();
        assert!(rebuilt.is_none());
        assert_eq!(records, [(b"b".to_vec(), b"2".to_vec())]);
    }

    #[test]
    fn a_generation_that_was_never_finished_is_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let (mut disk, ..) = Disk::open(dir.path()).unwrap();
        disk.commit(&[(b"a".to_vec(), Some(b"1".to_vec()))])
            .unwrap();
        drop(disk);
        drop(open_in_time(dir.path().join("db-2")).unwrap());
        let (_, records, rebuilt) = Disk::open(dir.path()).unwrap();
        assert!(rebuilt.is_none());
        assert_eq!(records, [(b"a".to_vec(), b"1".to_vec())]);
        assert_eq!(generations(dir.path()).unwrap(), [3, 1]);
    }

    #[test]
    fn a_database_that_is_still_being_let_go_of_is_not_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let (mut disk, ..) = Disk::open(dir.path()).unwrap();
        disk.commit(&[(b"a".to_vec(), Some(b"1".to_vec()))])
            .unwrap();
        drop(disk);
        let held = fs::File::open(dir.path().join("db-1").join(LOCKED_FILE)).unwrap();
        held.lock().unwrap();
        let (opened, outcome) = mpsc::channel();
        let path = dir.path().to_owned();
        let opener = std::thread::spawn(move || opened.send(Disk::open(&path)).unwrap());
        let early = outcome.recv_timeout(Duration::from_millis(200));
        assert!(early.is_err(), "opened while the lock was held");
        drop(held);
        let (_, records, rebuilt) = outcome.recv().unwrap().unwrap();
        opener.join().unwrap();
        assert!(rebuilt.is_none());
        assert_eq!(records, [(b"a".to_vec(), b"1".to_vec())]);
    }

    #[test]
    fn a_panic_becomes_an_error() {
        let error = fenced(|| panic!("boom")).map(|(): ()| ()).unwrap_err();
        assert!(error.to_string().contains("boom"));
    }

    #[test]
    fn a_file_in_the_place_of_the_folder_is_moved_aside() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("db-7"), b"not a database").unwrap();
        let (_, _, rebuilt) = Disk::open(dir.path()).unwrap();
        assert!(rebuilt.unwrap().moved_to.exists());
    }
}
