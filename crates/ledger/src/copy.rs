//! A whole copy of the file, made while it is in use.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::LedgerReader;
use crate::error::ReadError;

impl LedgerReader {
    /// Copies the database as of one moment into a new file of mode 0600, on stable storage when this returns.
    ///
    /// # Errors
    /// [`ReadError`] where it cannot be read, or `path` exists or cannot be written.
    pub async fn copy_to(&self, path: &Path) -> Result<(), ReadError> {
        // SQLite takes an empty file for a new one, and leaves its mode alone.
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(sqlx::Error::Io)?;
        let name = path.to_string_lossy();
        sqlx::query("VACUUM INTO ?1").bind(&*name).execute(&self.pool).await?;
        File::open(path).and_then(|copy| copy.sync_all()).map_err(sqlx::Error::Io)?;
        Ok(())
    }
}
