//! What can go wrong with the file, by what the caller can do about it.

use std::path::PathBuf;
use std::sync::Arc;

/// Why the database could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{path} is in use by another mai-usage; hint: only one may write it, stop the other first", path = .path.display())]
    Busy {
        /// The database file.
        path: PathBuf,
    },
    /// Others may read or write it.
    #[error("{path} may be read by others (mode {mode:o}); hint: chmod 600 {path}", path = .path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A newer program has migrated it.
    #[error(
        "{path} was written by a newer mai-usage (schema {version}); hint: run that version, or restore a backup"
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The migration this program does not know.
        version: i64,
    },
    /// It belongs to another organisation.
    #[error(
        "{path} belongs to the organisation {recorded}, not to {given}; hint: set OPENROUTER_EXTERNAL_USER to \
         {recorded}, or another DATABASE_PATH",
        path = .path.display()
    )]
    OtherOrganisation {
        /// The database file.
        path: PathBuf,
        /// Whose it is.
        recorded: String,
        /// Who was named.
        given: String,
    },
    /// The file or its folder cannot be used.
    #[error("cannot use {path}", path = .path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The `SQLite` that is linked in is too old.
    #[error("SQLite {version} can corrupt a write-ahead log; at least 3.51.3 is needed")]
    SqliteTooOld {
        /// The linked version.
        version: String,
    },
    /// `SQLite` refused.
    #[error("cannot open {path}", path = .path.display())]
    Database {
        /// The database file.
        path: PathBuf,
        /// What it said.
        source: sqlx::Error,
    },
    /// The organisation could not be recorded.
    #[error("cannot record the organisation in {path}", path = .path.display())]
    Organisation {
        /// The database file.
        path: PathBuf,
        /// Why.
        source: WriteError,
    },
    /// A migration failed; the schema is as it was.
    #[error("cannot migrate {path}", path = .path.display())]
    Migration {
        /// The database file.
        path: PathBuf,
        /// What failed.
        source: sqlx::migrate::MigrateError,
    },
}

/// Why a write was not recorded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum WriteError {
    /// The file cannot be written now: full, read-only, locked. Nothing was recorded; later it may work.
    #[error("the ledger cannot be written: {0}")]
    Unwritable(Arc<sqlx::Error>),
    /// What was to be written contradicts what is recorded. Nothing was recorded.
    #[error("the ledger refused: {0}")]
    Refused(String),
    /// The writer has stopped.
    #[error("the ledger is closed")]
    Closed,
}

/// Why a question could not be answered.
#[derive(Debug, thiserror::Error)]
#[error("the ledger cannot be read: {0}")]
pub struct ReadError(#[from] pub(crate) sqlx::Error);

impl WriteError {
    pub(crate) fn refused(why: impl std::fmt::Display) -> Self {
        Self::Refused(why.to_string())
    }
}

/// `SQLite`'s primary result codes that speak of the file and not of what was to be written: BUSY, LOCKED, NOMEM,
/// READONLY, IOERR, CORRUPT, FULL, CANTOPEN, PROTOCOL, NOTADB.
const TROUBLE_WITH_THE_FILE: [i32; 10] = [5, 6, 7, 8, 10, 11, 13, 14, 15, 26];

/// Trouble with the file concerns every write and may pass; anything else is this write's own and never will.
impl From<sqlx::Error> for WriteError {
    fn from(error: sqlx::Error) -> Self {
        let refused = match &error {
            sqlx::Error::Database(database) => {
                let code: Option<i32> = database.code().and_then(|code| code.parse().ok());
                code.is_some_and(|code| !TROUBLE_WITH_THE_FILE.contains(&(code & 0xff)))
            }
            sqlx::Error::RowNotFound
            | sqlx::Error::Decode(_)
            | sqlx::Error::ColumnDecode { .. }
            | sqlx::Error::Encode(_) => true,
            _ => false,
        };
        if refused { Self::refused(error) } else { Self::Unwritable(Arc::new(error)) }
    }
}

/// Whether `error`, or what caused it, says that data may not have reached the disk although it was asked for
/// (`SQLITE_IOERR_FSYNC`, `SQLITE_IOERR_DIR_FSYNC`): what the kernel has dropped then, no retry brings back.
#[must_use]
pub fn is_failed_fsync(error: &(dyn std::error::Error + 'static)) -> bool {
    const FAILED_FSYNC: [&str; 2] = ["1034", "1290"];
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        let unwritable = match error.downcast_ref() {
            Some(WriteError::Unwritable(cause)) => Some(cause.as_ref()),
            _ => None,
        };
        match error.downcast_ref().or(unwritable) {
            Some(sqlx::Error::Database(database)) => {
                database.code().is_some_and(|code| FAILED_FSYNC.contains(&&*code))
            }
            _ => false,
        }
    })
}
