//! What is to be done for a backup, of what there is.

use std::fmt;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use super::BackupError;
use super::name::{self, Found};
use super::retention::{Keep, superseded};
use crate::OperatorError;
use crate::clients::Client;
use crate::private_file::beside;

pub(super) const MEGABYTE: u64 = 1_000_000;

/// What a backup leaves free on its disk, which may be the one that the ledgers are on.
pub(super) const RESERVE_BYTES: u64 = 256 * MEGABYTE;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The client's name.
    pub(super) client: String,
    pub(super) database: PathBuf,
    /// Where the backups are.
    pub(super) folder: PathBuf,
    /// `None` removes nothing.
    pub(super) keep: Option<Keep>,
    pub(super) reserve_bytes: u64,
}

/// What there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) found: Found,
    /// The database with its write-ahead log: a copy is never larger.
    pub(super) database_bytes: u64,
    pub(super) now: Timestamp,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "step")]
pub(super) enum Step {
    /// Remove what an interrupted run left.
    RemoveLeftover { file: PathBuf },
    /// Copy the ledger, without the key, under a name of its own, and verify the copy.
    Copy { database: PathBuf, to: PathBuf, bytes: u64 },
    /// Write the checksum.
    Checksum { of: PathBuf, file: PathBuf },
    /// Give the copy its name.
    Place { file: PathBuf },
    /// Remove a backup that is not kept any longer.
    RemoveOld { file: PathBuf },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RemoveLeftover { file } => write!(f, "remove what was left unfinished: {}", file.display()),
            Self::Copy { database, bytes, .. } => {
                write!(f, "copy {} ({bytes} bytes) without the key and verify it", database.display())
            }
            Self::Checksum { file, .. } => write!(f, "write the checksum {}", file.display()),
            Self::Place { file } => write!(f, "name it {}", file.display()),
            Self::RemoveOld { file } => write!(f, "remove {}", file.display()),
        }
    }
}

impl Wanted {
    /// A backup where the client's backups are.
    pub(super) fn of(client: &Client) -> Self {
        Self {
            client: client.name.clone(),
            database: client.database(),
            folder: client.folder.join(name::FOLDER),
            keep: None,
            reserve_bytes: RESERVE_BYTES,
        }
    }
}

impl Facts {
    pub(super) fn gather(wanted: &Wanted, now: Timestamp) -> Result<Self, OperatorError> {
        let length = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
        if !wanted.database.exists() {
            return Err(BackupError::NoDatabase { path: wanted.database.clone() }.into());
        }
        Ok(Self {
            found: name::find(&wanted.folder, &wanted.client)?,
            database_bytes: length(&wanted.database) + length(&beside(&wanted.database, "-wal")),
            now,
        })
    }

    /// Now, or the next millisecond whose name is free.
    pub(super) fn instant(&self) -> Timestamp {
        let mut at = self.now;
        while self.found.backups.iter().any(|taken| taken.as_millisecond() == at.as_millisecond()) {
            at = at.saturating_add(SignedDuration::from_millis(1)).unwrap_or(Timestamp::MAX);
        }
        at
    }
}

/// The steps. Old backups go last: the new one is in its place then.
pub(super) fn plan(wanted: &Wanted, facts: &Facts) -> Vec<Step> {
    let in_folder = |at| wanted.folder.join(name::of(&wanted.client, at));
    let at = facts.instant();
    let file = in_folder(at);
    let to = name::unfinished(&file);
    let leftovers = facts.found.leftovers.iter().cloned().map(|file| Step::RemoveLeftover { file });
    let made = [
        Step::Copy { database: wanted.database.clone(), to: to.clone(), bytes: facts.database_bytes },
        Step::Checksum { of: to, file: name::checksum(&file) },
        Step::Place { file },
    ];
    // The one that is made is known to be sound; it counts, so that it may be the first of its month.
    let all: Vec<Timestamp> = facts.found.backups.iter().copied().chain([at]).collect();
    let old = wanted.keep.map(|keep| superseded(&all, keep, facts.now)).unwrap_or_default();
    let old = old.into_iter().filter(|old| *old != at).map(|at| Step::RemoveOld { file: in_folder(at) });
    leftovers.chain(made).chain(old).collect()
}
