//! A copy of the file as it was at one instant, made beside a running writer, and without the key.
//!
//! `VACUUM INTO` reads in one transaction of its own, so that the copy is one commit's state however many follow meanwhile; a
//! reader of a write-ahead log never stands in the writer's way, and the copy never begins anew. `SQLite`'s backup functions do
//! begin anew at every commit of another process, and cannot be reached without `unsafe`. The log grows while it lasts.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use metering::{OrgId, PicoUsd};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use crate::error::{OpenError, ReadError};
use crate::reads::organisation::recorded_id;
use crate::{LedgerReader, Verification};

/// What a file holds, by which two of them can be told apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// Whose it is; `None` in a file that was never opened by a sidecar.
    pub organisation: Option<OrgId>,
    /// Commits so far, those included that it lacks.
    pub commits: i64,
    /// The id of its last entry, 0 without one. Ids only grow, and entries stay for ever.
    pub last_entry: i64,
    /// When something was written into it last: a call, an entry, a poll, a health check.
    pub written_at: Option<Timestamp>,
    /// When the last call that it knows came.
    pub last_call_at: Option<Timestamp>,
}

/// Why there is no copy. What was written of it is the caller's to remove.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// The copy's file exists already, or cannot be made.
    #[error("cannot make {path}", path = .path.display())]
    File {
        /// The copy.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The copy could not be written: the disk is full, or fails.
    #[error("cannot write {path}: {source}", path = .path.display())]
    Write {
        /// The copy.
        path: PathBuf,
        /// What `SQLite` said.
        source: sqlx::Error,
    },
    /// The copy could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// One of the two could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What was copied is damaged, and so was what it was copied from.
    #[error("the copy of the ledger is not sound: {first}{more}; hint: `mai-usage verify` of the ledger itself", more = and_more(*.findings))]
    Damaged {
        /// What was found first.
        first: String,
        /// How much was found.
        findings: usize,
    },
    /// The copy lacks something.
    #[error("the copy is not what was copied: {0}")]
    Differs(String),
}

/// `SQLITE_CORRUPT` and `SQLITE_NOTADB`: what was to be copied cannot be read.
fn is_damage(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|database| database.code()?.parse().ok());
    code.is_some_and(|code: i32| [11, 26].contains(&(code & 0xff)))
}

fn and_more(findings: usize) -> String {
    match findings {
        0 | 1 => String::new(),
        more => format!(" (and {} more findings)", more - 1),
    }
}

impl LedgerReader {
    /// Copies the file to `path`, which must not exist: mode 0600, one file, the key column empty, nowhere the bytes of a key.
    /// The copy is then read by itself, verified, and compared with this file. It lacks nothing that was committed before.
    ///
    /// # Errors
    /// [`CopyError`]; there may be a part of a copy.
    pub async fn copy_to(&self, path: &Path) -> Result<(Contents, Verification), CopyError> {
        let before = sqlx::query!("SELECT count, missing FROM commits").fetch_one(&self.pool).await;
        let before = before.map_err(ReadError::from)?.count;
        let file = |source| CopyError::File { path: path.to_owned(), source };
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(file)?;
        self.write_copy(path).await.map_err(|source| {
            if is_damage(&source) {
                return CopyError::Read(source.into());
            }
            CopyError::Write { path: path.to_owned(), source }
        })?;
        let copy = Self::open(path).await?;
        let judged = self.judge(&copy, before).await;
        copy.close().await;
        judged
    }

    /// What the file holds.
    ///
    /// # Errors
    /// [`ReadError`] where it cannot be read, as where it is no ledger.
    pub async fn contents(&self) -> Result<Contents, ReadError> {
        let mut transaction = self.pool.begin().await?;
        let organisation = recorded_id(&mut transaction).await?;
        let row = sqlx::query!(
            "SELECT (SELECT count FROM commits) AS 'commits!: i64',
                    (SELECT coalesce(max(id), 0) FROM entries) AS 'last_entry!: i64',
                    (SELECT max(booked_at_ms) FROM entries) AS 'booked_at_ms: i64',
                    (SELECT max(admitted_at_ms) FROM calls) AS 'admitted_at_ms: i64',
                    (SELECT polled_at_ms FROM reconciliations ORDER BY id DESC LIMIT 1) AS 'polled_at_ms: i64',
                    (SELECT written_at_ms FROM probe WHERE written_at_ms > 0) AS 'probed_at_ms: i64'"
        )
        .fetch_one(&mut *transaction)
        .await?;
        transaction.rollback().await?;
        let written = [row.booked_at_ms, row.admitted_at_ms, row.polled_at_ms, row.probed_at_ms];
        let instant = |ms: i64| Timestamp::from_millisecond(ms).ok();
        Ok(Contents {
            organisation,
            commits: row.commits,
            last_entry: row.last_entry,
            written_at: written.into_iter().flatten().max().and_then(instant),
            last_call_at: row.admitted_at_ms.and_then(instant),
        })
    }

    async fn write_copy(&self, path: &Path) -> Result<(), sqlx::Error> {
        let name = path.to_str().ok_or_else(|| sqlx::Error::Configuration("its name is not UTF-8".into()))?;
        sqlx::query("VACUUM INTO ?1").bind(name).execute(&self.pool).await?;
        // Content that is overwritten is zeroed, in the table and in the index; nothing of it goes into a journal.
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Memory)
            .synchronous(SqliteSynchronous::Full)
            .pragma("secure_delete", "ON")
            .disable_statement_logging();
        let mut connection = connect.connect().await?;
        let blanked = sqlx::query!("UPDATE client_organizations SET openrouter_api_key = NULL")
            .execute(&mut connection)
            .await;
        connection.close().await?;
        blanked.map(drop)
    }

    async fn judge(&self, copy: &Self, before: i64) -> Result<(Contents, Verification), CopyError> {
        let verification = copy.verify().await?;
        let findings = verification.damage().count();
        if let Some(first) = verification.damage().next() {
            return Err(CopyError::Damaged { first: first.to_string(), findings });
        }
        let contents = copy.contents().await?;
        let copied = contents.commits;
        if copied < before {
            return Err(CopyError::Differs(format!("it has {copied} commits, there were {before}")));
        }
        let (entries, cost) = self.entries_until(contents.last_entry).await?;
        if (entries, cost) != (verification.entries, verification.cost) {
            return Err(CopyError::Differs(format!(
                "{} entries of {} USD, there were {entries} of {cost} USD",
                verification.entries, verification.cost
            )));
        }
        Ok((contents, verification))
    }

    /// How many entries there are up to the one with the id `last`, and what they cost: what a snapshot held that ended there.
    async fn entries_until(&self, last: i64) -> Result<(u64, PicoUsd), ReadError> {
        let row = sqlx::query!(
            "SELECT count(*) AS 'entries!: i64', coalesce(sum(cost_pico_usd), 0) AS 'cost!: i64'
             FROM entries
             WHERE id <= ?1",
            last,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok((row.entries.unsigned_abs(), PicoUsd::new(row.cost)))
    }
}
