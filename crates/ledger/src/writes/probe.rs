//! Whether the ledger can be written.

use jiff::Timestamp;
use sqlx::SqliteConnection;

use crate::error::WriteError;
use crate::writer::Write;

/// Writes the time into a table of one row, so that a commit really has to reach the disk.
pub(crate) struct Probe {
    pub(crate) now: Timestamp,
}

impl Write for Probe {
    type Answer = ();

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<(), WriteError> {
        let now_ms = self.now.as_millisecond();
        sqlx::query!("UPDATE probe SET written_at_ms = ?1", now_ms).execute(connection).await?;
        Ok(())
    }
}
