//! What the polls found.

use crate::LedgerReader;
use crate::error::ReadError;

/// One poll as recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reconciliation {
    /// When `OpenRouter` was asked, Unix milliseconds.
    pub polled_at_ms: i64,
    /// The sum of the ledger, pico-dollars.
    pub our_cost_pico_usd: i64,
    /// `OpenRouter`'s counter of the key; `None` where it could not be read.
    pub key_usage_pico_usd: Option<i64>,
    /// How much more the counter has grown than our sum within a day.
    pub difference_pico_usd: Option<i64>,
    /// Calls settled by this poll.
    pub settled_calls: i64,
    /// Calls still open after it.
    pub open_calls: i64,
    /// Orphans after it.
    pub orphan_calls: i64,
    /// `bypass` where the key is used past the sidecar.
    pub warning: Option<String>,
    /// Why something could not be asked.
    pub error: Option<String>,
}

impl LedgerReader {
    /// The last polls, the newest first, at most `limit`.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn last_reconciliations(&self, limit: u32) -> Result<Vec<Reconciliation>, ReadError> {
        let last = sqlx::query_as!(
            Reconciliation,
            "SELECT polled_at_ms, our_cost_pico_usd, key_usage_pico_usd, difference_pico_usd, settled_calls,
                    open_calls, orphan_calls, warning, error
             FROM reconciliations
             ORDER BY id DESC
             LIMIT ?1",
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(last)
    }
}
