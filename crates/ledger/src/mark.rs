//! The lock file beside the database, and the mark in it: how many commits there were.
//!
//! A database that lost the end of its write-ahead log is sound and merely older; only what stands outside of it can tell.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

use crate::error::OpenError;

/// The lock on a database, held as long as this lives. It is a file of its own: a lock on the database itself would be lost
/// as soon as any descriptor of it is closed in this process, and backups and readers open many.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the lock of the database at `path`, a name without links: under another name it would be another lock.
    pub(crate) fn take(path: &Path) -> Result<Self, OpenError> {
        let lock_path = beside(path, ".lock");
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|source| OpenError::File { path: lock_path.clone(), source })?;
        belongs_to_owner_of(path, &lock_path);
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(OpenError::Busy { path: path.to_owned() }),
            Err(TryLockError::Error(source)) => Err(OpenError::File { path: lock_path, source }),
        }
    }

    /// Notes that `commits` have reached the disk. The note itself does not wait for the disk, so after a power cut it may be
    /// older, never newer.
    pub(crate) fn mark(&self, commits: i64) {
        if let Err(error) = self.0.write_all_at(format!("{commits:019}\n").as_bytes(), 0) {
            tracing::debug!(%error, "the number of commits could not be noted");
        }
    }
}

/// How many commits the database at `path` has had; `None` where nothing is noted, as beside a backup.
pub(crate) fn marked_commits(path: &Path) -> Option<i64> {
    std::fs::read_to_string(beside(path, ".lock")).ok()?.trim().parse().ok()
}

/// How many of the commits that are noted the database lacks, in words; beside those that it knows to lack.
pub(crate) fn missing_commits(
    commits: i64,
    known_missing: i64,
    marked: Option<i64>,
) -> Option<(i64, String)> {
    let missing = known_missing + marked.map_or(0, |marked| (marked - commits).max(0));
    let words = format!(
        "commits: {missing} are missing beside {}; the end of the write-ahead log was lost, or an older copy was put back",
        commits - known_missing
    );
    (missing > 0).then_some((missing, words))
}

/// Where root made the file at `made`, the owner of `model` must be able to use it: the sidecar is not root. Others cannot give files away.
pub(crate) fn belongs_to_owner_of(model: &Path, made: &Path) {
    let Ok(model) = std::fs::metadata(if model.as_os_str().is_empty() { Path::new(".") } else { model })
    else {
        return;
    };
    let is_his =
        std::fs::metadata(made).is_ok_and(|made| (made.uid(), made.gid()) == (model.uid(), model.gid()));
    if !is_his && let Err(error) = chown(made, Some(model.uid()), Some(model.gid())) {
        tracing::debug!(%error, path = %made.display(), "the file stays with who made it");
    }
}

/// The name of a file that belongs to the database.
pub(crate) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
