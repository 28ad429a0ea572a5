//! Opening a foreign file so that it and what lies beside it stay as they are, byte for byte.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use super::tables::{MOST_ROWS, is_own, read_accounts, read_organisations, read_usage};
use super::{Original, OriginalError, OriginalRows, OriginalTable};
use crate::mark::beside;

/// What every file of `SQLite`'s begins with.
const MAGIC: &[u8; 16] = b"SQLite format 3\0";

/// Where the header says how the file is written, and the value for a write-ahead log.
const WRITE_VERSION: usize = 18;
const WRITE_AHEAD: u8 = 2;

/// Longest wait for a lock: mAI may be running.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a file is read so that nothing is left behind.
enum Way {
    /// As any other reader does.
    InPlace,
    /// As one that nobody writes: it has a write-ahead log by its header, and none on the disk.
    Immutable,
    /// From a copy: reading its log in place would make an index beside it.
    Copy,
}

impl Original {
    /// Opens the file at `path`.
    ///
    /// # Errors
    /// [`OriginalError`] where it is no database, is one of the house's own, or cannot be read.
    pub async fn open(path: &Path) -> Result<Self, OriginalError> {
        let (place, copy) = match way(path)? {
            Way::Copy => {
                let (place, folder) = copied(path)?;
                (place, Some(folder))
            }
            _ => (path.to_owned(), None),
        };
        let connect = SqliteConnectOptions::new()
            .filename(&place)
            // A copy is made to be written: its log is recovered there.
            .read_only(copy.is_none())
            .immutable(matches!(way(path)?, Way::Immutable))
            .pragma("query_only", "ON")
            .pragma("trusted_schema", "OFF")
            .busy_timeout(PATIENCE)
            .disable_statement_logging();
        let database = |source| OriginalError::Database { path: path.to_owned(), source };
        let mut connection = connect.connect().await.map_err(database)?;
        if is_own(&mut connection).await.map_err(database)? {
            return Err(OriginalError::OwnDatabase { path: path.to_owned() });
        }
        Ok(Self { connection, copy })
    }

    /// Reads all that is of use, as of one moment.
    ///
    /// # Errors
    /// [`OriginalError`] where it has no usage tables, or cannot be read to the end.
    pub async fn read(mut self, path: &Path) -> Result<OriginalRows, OriginalError> {
        let database = |source| OriginalError::Database { path: path.to_owned(), source };
        let mut snapshot = self.connection.begin().await.map_err(database)?;
        let mut read = OriginalRows::default();
        for table in OriginalTable::ALL {
            let Some(rows) = read_usage(table, &mut snapshot).await.map_err(database)? else { continue };
            if rows.len() > MOST_ROWS {
                return Err(OriginalError::TooManyRows { table: table.name(), most: MOST_ROWS });
            }
            read.tables.push(table);
            for row in rows {
                match row {
                    Ok(row) => read.rows.push(row),
                    Err(unreadable) => read.unreadable.push(unreadable),
                }
            }
        }
        if read.tables.is_empty() {
            return Err(OriginalError::NoTables { path: path.to_owned() });
        }
        read.organisations = read_organisations(&mut snapshot).await.map_err(database)?;
        read.accounts = read_accounts(&mut snapshot).await.map_err(database)?;
        snapshot.rollback().await.map_err(database)?;
        self.connection.close().await.map_err(database)?;
        drop(self.copy);
        Ok(read)
    }
}

fn way(path: &Path) -> Result<Way, OriginalError> {
    let file = |source| OriginalError::File { path: path.to_owned(), source };
    let mut header = [0; 100];
    match File::open(path).and_then(|mut file| file.read_exact(&mut header)) {
        Err(error) if error.kind() != std::io::ErrorKind::UnexpectedEof => return Err(file(error)),
        Ok(()) if header.starts_with(MAGIC) => {}
        _ => return Err(OriginalError::NotADatabase { path: path.to_owned() }),
    }
    if header[WRITE_VERSION] != WRITE_AHEAD {
        return Ok(Way::InPlace);
    }
    let length = |suffix: &str| std::fs::metadata(beside(path, suffix)).map_or(0, |file| file.len());
    Ok(match (length("-wal"), length("-shm")) {
        (0, 0) => Way::Immutable,
        (_, 0) => Way::Copy,
        _ => Way::InPlace,
    })
}

/// The file and its log in a folder of their own, which only this user may read and which vanishes.
fn copied(path: &Path) -> Result<(PathBuf, tempfile::TempDir), OriginalError> {
    let system = |source| OriginalError::File { path: path.to_owned(), source };
    let folder = tempfile::tempdir().map_err(system)?;
    let copy = folder.path().join("webui.db");
    std::fs::copy(path, &copy).map_err(system)?;
    std::fs::copy(beside(path, "-wal"), beside(&copy, "-wal")).map_err(system)?;
    Ok((copy, folder))
}
