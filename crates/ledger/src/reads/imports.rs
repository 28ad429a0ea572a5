//! What was imported, and since when the sidecar has been counting itself.

use jiff::Timestamp;

use crate::LedgerReader;
use crate::error::ReadError;

/// What the reference of every imported entry begins with.
pub const IMPORT: &str = "import:";

/// An imported entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The reference it was booked under; begins with [`IMPORT`].
    pub reference: String,
    /// Calls.
    pub requests: i64,
    /// Tokens that were sent, where told.
    pub prompt_tokens: Option<i64>,
    /// Tokens that came back, where told.
    pub completion_tokens: Option<i64>,
    /// Pico-dollars.
    pub cost_pico_usd: i64,
    /// Pico-dollars.
    pub charge_pico_usd: i64,
}

impl LedgerReader {
    /// Every imported entry, by its reference.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn imported(&self) -> Result<Vec<Imported>, ReadError> {
        // `;` follows `:`, so that these are all texts that begin with the one.
        let imported = sqlx::query_as!(
            Imported,
            "SELECT
                 adjustments.reference AS 'reference!', entries.requests AS 'requests!',
                 entries.prompt_tokens AS 'prompt_tokens?', entries.completion_tokens AS 'completion_tokens?',
                 entries.cost_pico_usd AS 'cost_pico_usd!', entries.charge_pico_usd AS 'charge_pico_usd!'
             FROM adjustments
             JOIN entries ON entries.id = adjustments.entry_id
             WHERE adjustments.reference >= 'import:' AND adjustments.reference < 'import;'
             ORDER BY adjustments.reference"
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(imported)
    }

    /// When the first call came through the sidecar; `None` before it.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn first_call_at(&self) -> Result<Option<Timestamp>, ReadError> {
        let first = sqlx::query_scalar!("SELECT min(admitted_at_ms) AS 'first?: i64' FROM calls")
            .fetch_one(&self.pool)
            .await?;
        Ok(first.and_then(|ms| Timestamp::from_millisecond(ms).ok()))
    }
}
