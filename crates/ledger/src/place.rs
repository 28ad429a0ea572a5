//! A place where a database is put back.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::error::OpenError;
use crate::mark::{Lock, beside, marked_commits};

/// A name without a database, held as long as this lives: no sidecar can make or use one there meanwhile.
#[derive(Debug)]
pub struct EmptyPlace {
    path: PathBuf,
    _lock: Lock,
}

/// Why nothing can be put there.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// There is a database.
    #[error("{path} exists and is not overwritten; hint: stop the sidecar and move the file away, with its -wal and -shm", path = .path.display())]
    Taken {
        /// The database.
        path: PathBuf,
    },
    /// The database is gone, its write-ahead log is not: `SQLite` would take it for that of the new one and spoil it.
    #[error("{path} is of the database that was there; hint: move it away, and keep it: it may hold the last calls", path = .path.display())]
    Log {
        /// The log.
        path: PathBuf,
    },
    /// The lock.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The system refused.
    #[error("cannot write {path}", path = .path.display())]
    File {
        /// The database.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
}

impl EmptyPlace {
    /// Whether `path` has room for a database; looks and touches nothing.
    ///
    /// # Errors
    /// [`PlaceError::Taken`], [`PlaceError::Log`].
    pub fn look(path: &Path) -> Result<(), PlaceError> {
        if path.symlink_metadata().is_ok() {
            return Err(PlaceError::Taken { path: path.to_owned() });
        }
        for log in ["-wal", "-journal"].map(|suffix| beside(path, suffix)) {
            // An empty one is what a reader has left, and holds nothing.
            if log.metadata().is_ok_and(|found| found.len() > 0) {
                return Err(PlaceError::Log { path: log });
            }
        }
        Ok(())
    }

    /// Takes the place, whose folder exists.
    ///
    /// # Errors
    /// [`PlaceError`], [`OpenError::Busy`] among them where a sidecar still has a database there that was deleted under it.
    pub fn take(path: &Path) -> Result<Self, PlaceError> {
        let file = |source| PlaceError::File { path: path.to_owned(), source };
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new(".")).canonicalize().map_err(file)?;
        // Under a link's name the lock would be another one.
        let path = folder.join(path.file_name().unwrap_or_default());
        let lock = Lock::take(&path)?;
        Self::look(&path)?;
        Ok(Self { path, _lock: lock })
    }

    /// The lock's own file.
    #[must_use]
    pub fn lock_file(&self) -> PathBuf {
        beside(&self.path, ".lock")
    }

    /// How many commits the database had that was there; `None` where nothing of it is left.
    #[must_use]
    pub fn marked_commits(&self) -> Option<i64> {
        marked_commits(&self.path)
    }

    /// Gives `database`, a file in the same folder and on stable storage, this place's name.
    ///
    /// # Errors
    /// [`PlaceError`]; nothing was overwritten.
    pub fn fill(self, database: &Path) -> Result<(), PlaceError> {
        let file = |source| PlaceError::File { path: self.path.clone(), source };
        // What readers of the old one left: an empty log and its index.
        for rest in ["-wal", "-shm"].map(|suffix| beside(&self.path, suffix)) {
            match std::fs::remove_file(rest) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(file(error)),
                _ => {}
            }
        }
        // A link, unlike a new name, overwrites nothing.
        std::fs::hard_link(database, &self.path).map_err(|source| match source.kind() {
            std::io::ErrorKind::AlreadyExists => PlaceError::Taken { path: self.path.clone() },
            _ => file(source),
        })?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::remove_file(database).and_then(|()| File::open(folder)?.sync_all()).map_err(file)
    }
}
