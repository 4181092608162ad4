//! The data directory and the lock that makes it belong to one process.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use super::{Data, StoreError};

/// A directory that is ours until this is dropped, also after `kill -9`: the
/// operating system releases the lock with the process.
pub(super) struct Directory {
    pub(super) path: PathBuf,
    _lock: File,
}

impl Directory {
    /// Creates and locks the directory of `data`; `None` for memory.
    pub(super) fn take(data: &Data) -> Result<Option<Self>, StoreError> {
        let Some(path) = path_of(data)? else {
            return Ok(None);
        };
        let failed = |source| StoreError::Io {
            path: path.clone(),
            source,
        };
        create_private(&path).map_err(failed)?;
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => Ok(Some(Self { path, _lock: lock })),
            Err(TryLockError::WouldBlock) => Err(StoreError::InUse { path }),
            Err(TryLockError::Error(source)) => Err(StoreError::Io { path, source }),
        }
    }
}

/// Where `data` is; `None` for memory.
pub(super) fn path_of(data: &Data) -> Result<Option<PathBuf>, StoreError> {
    match data {
        Data::Memory => Ok(None),
        Data::Dir(path) => Ok(Some(path.clone())),
        Data::Default => platform_directory().map(Some),
    }
}

fn platform_directory() -> Result<PathBuf, StoreError> {
    directories::ProjectDirs::from("", "", "peerloom")
        .map(|dirs| dirs.data_dir().to_owned())
        .ok_or(StoreError::NoDirectory)
}

/// Creates missing directories, readable by their owner only.
fn create_private(path: &Path) -> std::io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::DirBuilderExt as _;
        builder.mode(0o700);
    }
    builder.create(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_taker_is_told_and_the_third_may_enter_after_release() {
        let dir = tempfile::tempdir().unwrap();
        let data = Data::Dir(dir.path().join("new/nested"));
        let first = Directory::take(&data).unwrap();
        let error = Directory::take(&data).map(drop).unwrap_err();
        assert!(matches!(error, StoreError::InUse { .. }), "{error}");
        drop(first);
        assert!(Directory::take(&data).unwrap().is_some());
    }

    #[test]
    fn memory_needs_no_directory() {
        assert!(Directory::take(&Data::Memory).unwrap().is_none());
    }
}
