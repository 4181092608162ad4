//! The identity key: one small file of its own, apart from the database.
//!
//! Written to a temporary file, synced, renamed over the name, and the
//! directory synced, so that a crash at any moment leaves either the old file
//! or the new one. Mode 0600. The database may be lost and rebuilt; this file
//! is never rewritten once it exists, and a damaged one is an error for the
//! user to see, never a reason to invent a new identity in silence.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::StoreError;

/// Name of the key file inside the data directory.
const FILE: &str = "identity.key";
/// First bytes of the file: what it is, and its version.
const MAGIC: &[u8; 20] = b"peerloom-identity-1\n";
/// Length of an Ed25519 secret seed (RFC 8032, 5.1.5).
pub(crate) const SEED: usize = 32;
/// Magic, seed, crc32 of both.
const LENGTH: usize = MAGIC.len() + SEED + 4;

/// The secret from which the node's Ed25519 identity is made; wiped on drop.
pub(crate) type Seed = Zeroizing<[u8; SEED]>;

/// Loads the key of `dir`, creating it from `fresh` on first start. The flag
/// says whether it was created.
pub(super) fn load_or_create(
    dir: &Path,
    fresh: impl FnOnce() -> Seed,
) -> Result<(Seed, bool), StoreError> {
    let path = dir.join(FILE);
    match read(&path) {
        Ok(Some(seed)) => Ok((seed, false)),
        Ok(None) => {
            let seed = fresh();
            write(dir, &path, &seed).map_err(|source| StoreError::Key { path, source })?;
            Ok((seed, true))
        }
        Err(error) => Err(error),
    }
}

/// The key of `dir`, if there is one. Needs no lock: the file is never
/// rewritten, and renamed into its place as a whole.
pub(super) fn peek(dir: &Path) -> Result<Option<Seed>, StoreError> {
    read(&dir.join(FILE))
}

/// Takes back what others may do with the file, as after a careless copy.
#[cfg(unix)]
fn keep_private(file: &File, path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;
    let tightened = file.metadata().and_then(|found| {
        if found.permissions().mode() & 0o077 == 0 {
            return Ok(());
        }
        tracing::warn!(path = %path.display(), "others could read the identity key");
        file.set_permissions(fs::Permissions::from_mode(0o600))
    });
    if let Err(error) = tightened {
        tracing::warn!(%error, "others may still read the identity key");
    }
}

#[cfg(not(unix))]
fn keep_private(_file: &File, _path: &Path) {}

fn read(path: &Path) -> Result<Option<Seed>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => {
            return Err(StoreError::Key {
                path: path.to_owned(),
                source,
            });
        }
    };
    keep_private(&file, path);
    let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH + 1));
    file.take(LENGTH as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| StoreError::Key {
            path: path.to_owned(),
            source,
        })?;
    parse(&bytes)
        .map(Some)
        .ok_or_else(|| StoreError::KeyDamaged {
            path: path.to_owned(),
        })
}

fn parse(bytes: &[u8]) -> Option<Seed> {
    let (body, crc) = bytes.split_last_chunk::<4>()?;
    let seed = body.strip_prefix(MAGIC)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    Some(Zeroizing::new(seed.try_into().ok()?))
}

fn write(dir: &Path, path: &Path, seed: &Seed) -> io::Result<()> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(LENGTH));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(seed.as_ref());
    let crc = crc32fast::hash(&bytes);
    bytes.extend_from_slice(&crc.to_le_bytes());
    let temporary: PathBuf = dir.join("identity.key.new");
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = private_file(&temporary)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_directory(dir)
}

#[cfg(unix)]
fn private_file(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
}

#[cfg(not(unix))]
fn private_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).open(path)
}

/// Makes a rename in `dir` durable; only unix needs and allows it.
#[cfg(unix)]
fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

#[cfg(not(unix))]
fn sync_directory(_dir: &Path) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(byte: u8) -> Seed {
        Zeroizing::new([byte; SEED])
    }

    #[test]
    fn the_key_is_created_once_and_then_kept() {
        let dir = tempfile::tempdir().unwrap();
        let (first, created) = load_or_create(dir.path(), || seed(7)).unwrap();
        assert!(created && *first == [7; SEED]);
        let (second, created) = load_or_create(dir.path(), || seed(8)).unwrap();
        assert!(!created && *second == [7; SEED]);
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_may_read_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        for found in [0o600, 0o644, 0o660] {
            load_or_create(dir.path(), || seed(1)).unwrap();
            let mode = fs::metadata(&path).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            fs::set_permissions(&path, fs::Permissions::from_mode(found)).unwrap();
        }
    }

    #[test]
    fn a_crash_between_write_and_rename_costs_nothing() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("identity.key.new"), b"torn").unwrap();
        let (key, created) = load_or_create(dir.path(), || seed(3)).unwrap();
        assert!(created && *key == [3; SEED]);
    }

    #[test]
    fn a_damaged_key_is_an_error_and_is_left_in_place() {
        let dir = tempfile::tempdir().unwrap();
        load_or_create(dir.path(), || seed(3)).unwrap();
        let path = dir.path().join(FILE);
        let mut bytes = fs::read(&path).unwrap();
        bytes[30] ^= 4;
        fs::write(&path, &bytes).unwrap();
        let error = load_or_create(dir.path(), || seed(4)).unwrap_err();
        assert!(matches!(error, StoreError::KeyDamaged { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}
