//! Opening the file: mode, lock, migrations, the writer and the readers.

use std::fs::OpenOptions;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, RwLock};
use std::time::Duration;

use metering::OrgId;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};
use tokio_util::task::TaskTracker;

use crate::error::OpenError;
use crate::mark::{Lock, belongs_to_owner_of, beside, marked_commits, missing_commits};
use crate::reads::kept::Kept;
use crate::seal::seal_what_came_before;
use crate::{Ledger, LedgerReader, OrganisationFacts, writer};

static MIGRATIONS: Migrator = sqlx::migrate!("../../migrations");

/// Longest wait for another process's lock on the database.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Read-only connections: the Usage tab asks a handful of questions at once.
const READERS: u32 = 4;

/// The oldest `SQLite` without the defect that can corrupt a write-ahead log.
const OLDEST_SQLITE: [u32; 3] = [3, 51, 3];

/// What opening needs to know.
#[derive(Debug, Clone)]
pub struct LedgerOptions {
    /// The database file; made with mode 0600 where it is missing.
    pub path: PathBuf,
    /// What is known of the organisation; it is created or updated before anything else is written.
    pub organisation: OrganisationFacts,
    /// The writer's task belongs to this tracker.
    pub tasks: TaskTracker,
}

/// How the writer came to its end; see [`Ledger::open`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// Every [`Ledger`] was dropped.
    Closed,
    /// Data may not have reached the disk. The process must end; the restart heals.
    FailedFsync,
}

/// How a file's schema stands beside the one this program has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Schema {
    /// The same.
    Current,
    /// It was written by an older program; opening it for writing brings it up to date.
    Older {
        /// The last migration it has; 0 without any.
        version: i64,
        /// The last one there is.
        newest: i64,
    },
}

impl Schema {
    /// That of the file at `path`, which is only read.
    ///
    /// # Errors
    /// [`OpenError`] where it is missing, may be read by others, is no ledger, or was written by a newer program.
    pub async fn of(path: &Path) -> Result<Self, OpenError> {
        refuse_readable_by_others(path)?;
        let path = &own_name(path)?;
        let applied = applied_migrations(path)
            .await
            .map_err(|source| OpenError::Database { path: path.clone(), source })?;
        refuse_other_schema(path).await?;
        let newest = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
        let version = applied.iter().map(|(version, ..)| *version).max().unwrap_or(0);
        Ok(if version == newest { Self::Current } else { Self::Older { version, newest } })
    }
}

impl Ledger {
    /// Opens the file for reading and writing, alone: checks its mode, takes the lock, migrates.
    ///
    /// The second value resolves when the writer has ended.
    ///
    /// # Errors
    /// [`OpenError`]; nothing was recorded, though the schema may have been brought up to date.
    pub async fn open(
        options: &LedgerOptions,
    ) -> Result<(Self, tokio::sync::oneshot::Receiver<Stopped>), OpenError> {
        refuse_old_sqlite().await?;
        create_private(&options.path)?;
        // Under a link's name the lock would be another one.
        let path = &own_name(&options.path)?;
        let lock = Lock::take(path)?;
        refuse_other_schema(path).await?;
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            // The writer does it itself: SQLite's own would swallow a failed fsync.
            .pragma("wal_autocheckpoint", "0")
            // What a large statement keeps for its undoing stays out of files.
            .pragma("temp_store", "MEMORY")
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let database = |source| OpenError::Database { path: path.clone(), source };
        let mut connection = connect.connect().await.map_err(database)?;
        migrate(&mut connection, path).await?;
        seal_what_came_before(&mut connection).await.map_err(database)?;
        let given = options.organisation.id.as_ref();
        refuse_other_organisation(&mut connection, path, given).await?;
        keep_what_is_missing(&mut connection, path).await.map_err(database)?;
        let reader = LedgerReader::connect(path).await?;
        let (writer, stopped) = writer::start(connection, lock, &options.tasks);
        let organisation = writer
            .write(options.organisation.clone())
            .await
            .map_err(|source| OpenError::Organisation { path: path.clone(), source })?;
        let organisation = Arc::new(RwLock::new(Arc::new(organisation)));
        Ok((Self { writer, reader, organisation }, stopped))
    }
}

impl LedgerReader {
    /// Opens a file for reading only, beside a running daemon.
    ///
    /// # Errors
    /// [`OpenError`] where it is missing, others may read it, or its schema is another program's.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        refuse_readable_by_others(path)?;
        refuse_other_schema(path).await?;
        Self::connect(path).await
    }

    /// Opens a file for reading only that this program could go on with: private, of a schema that it knows, and of the
    /// organisation `given`, where one is.
    ///
    /// # Errors
    /// [`OpenError`]; the file is as it was.
    pub async fn open_to_go_on(path: &Path, given: Option<&OrgId>) -> Result<Self, OpenError> {
        let reader = Self::open(path).await?;
        let judged = reader.refuse_other(path, given).await;
        if judged.is_err() {
            reader.pool.close().await;
        }
        judged.map(|()| reader)
    }

    async fn refuse_other(&self, path: &Path, given: Option<&OrgId>) -> Result<(), OpenError> {
        refuse_other_schema(path).await?;
        let acquired = self.pool.acquire().await;
        let mut connection =
            acquired.map_err(|source| OpenError::Database { path: path.to_owned(), source })?;
        refuse_other_organisation(&mut connection, path, given).await
    }

    /// Closes its connections and waits for that; dropped, they close later.
    pub async fn close(self) {
        self.pool.close().await;
    }

    pub(crate) async fn connect(path: &Path) -> Result<Self, OpenError> {
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .read_only(true)
            .busy_timeout(BUSY_TIMEOUT)
            .disable_statement_logging();
        let pool = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(connect)
            .await
            .map_err(|source| OpenError::Database { path: path.to_owned(), source })?;
        Ok(Self { pool, kept: Kept::default(), path: own_name(path)? })
    }
}

async fn refuse_old_sqlite() -> Result<(), OpenError> {
    let in_memory = |source| OpenError::Database { path: ":memory:".into(), source };
    let mut connection = SqliteConnection::connect(":memory:").await.map_err(in_memory)?;
    let version: String =
        sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut connection).await.map_err(in_memory)?;
    let parts: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    if parts.as_slice() < OLDEST_SQLITE.as_slice() {
        return Err(OpenError::SqliteTooOld { version });
    }
    Ok(())
}

fn create_private(path: &Path) -> Result<(), OpenError> {
    let created = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    match created {
        Ok(_) => {
            belongs_to_owner_of(path.parent().unwrap_or(Path::new("")), path);
            Ok(())
        }
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => refuse_readable_by_others(path),
        Err(source) => Err(OpenError::File { path: path.to_owned(), source }),
    }
}

/// The write-ahead log holds what the database holds, and one that somebody copied back has the mode of the copy.
fn refuse_readable_by_others(path: &Path) -> Result<(), OpenError> {
    refuse_mode(path)?;
    let log = beside(&own_name(path)?, "-wal");
    if log.exists() { refuse_mode(&log) } else { Ok(()) }
}

fn refuse_mode(path: &Path) -> Result<(), OpenError> {
    let file = |source| OpenError::File { path: path.to_owned(), source };
    let mode = std::fs::metadata(path).map_err(file)?.permissions().mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(OpenError::Mode { path: path.to_owned(), mode });
    }
    Ok(())
}

/// The file's name without links.
fn own_name(path: &Path) -> Result<PathBuf, OpenError> {
    path.canonicalize().map_err(|source| OpenError::File { path: path.to_owned(), source })
}

/// A file is one organisation's. Another id would start its books anew beside the old ones, with half of the calls
/// in each.
async fn refuse_other_organisation(
    connection: &mut SqliteConnection,
    path: &Path,
    given: Option<&OrgId>,
) -> Result<(), OpenError> {
    let Some(given) = given.map(OrgId::as_str) else { return Ok(()) };
    let recorded: Vec<String> =
        sqlx::query_scalar!("SELECT id FROM client_organizations ORDER BY created_at, id")
            .fetch_all(connection)
            .await
            .map_err(|source| OpenError::Database { path: path.to_owned(), source })?;
    match recorded.first() {
        Some(first) if !recorded.iter().any(|id| id == given) => Err(OpenError::OtherOrganisation {
            path: path.to_owned(),
            recorded: first.clone(),
            given: given.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// What is missing is missing, and stays known; the program goes on with what there is.
async fn keep_what_is_missing(connection: &mut SqliteConnection, path: &Path) -> Result<(), sqlx::Error> {
    let commits = sqlx::query!("SELECT count, missing FROM commits").fetch_one(&mut *connection).await?;
    let marked = marked_commits(path);
    let Some((missing, words)) = missing_commits(commits.count, commits.missing, marked) else {
        return Ok(());
    };
    tracing::error!(path = %path.display(), "{words}");
    let count = marked.unwrap_or(0).max(commits.count);
    sqlx::query!("UPDATE commits SET count = ?1, missing = ?2", count, missing).execute(connection).await?;
    Ok(())
}

/// A file that another program migrated stays as it is, to the byte: closing a connection that may write would copy
/// its write-ahead log into it.
async fn refuse_other_schema(path: &Path) -> Result<(), OpenError> {
    // What cannot be looked at, such as a file in the middle of its making, is judged by the migration itself.
    for (version, checksum, success) in applied_migrations(path).await.unwrap_or_default() {
        let Some(known) = MIGRATIONS.iter().find(|known| known.version == version) else {
            return Err(OpenError::Newer { path: path.to_owned(), version });
        };
        let source = match success {
            false => MigrateError::Dirty(version),
            true if *known.checksum != *checksum => MigrateError::VersionMismatch(version),
            true => continue,
        };
        return Err(OpenError::Migration { path: path.to_owned(), source });
    }
    Ok(())
}

async fn applied_migrations(path: &Path) -> Result<Vec<(i64, Vec<u8>, bool)>, sqlx::Error> {
    let connect = SqliteConnectOptions::new().filename(path).read_only(true).disable_statement_logging();
    let mut connection = connect.connect().await?;
    let applied = sqlx::query_as("SELECT version, checksum, success FROM _sqlx_migrations ORDER BY version")
        .fetch_all(&mut connection)
        .await;
    connection.close().await?;
    applied
}

async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    match MIGRATIONS.run(connection).await {
        Ok(()) => Ok(()),
        Err(MigrateError::VersionMissing(version)) => {
            Err(OpenError::Newer { path: path.to_owned(), version })
        }
        Err(source) => Err(OpenError::Migration { path: path.to_owned(), source }),
    }
}
