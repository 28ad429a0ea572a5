//! Which open calls are to be asked about.

use jiff::Timestamp;

use crate::error::ReadError;
use crate::{CallId, LedgerReader};

/// A call whose cost `/generation` may tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenCall {
    /// The call.
    pub id: CallId,
    /// What to ask for.
    pub generation_id: String,
    /// The model the caller asked for.
    pub model_asked: String,
    /// Whether the answer was an error: by its HTTP status, or a 200 that told nothing else.
    pub was_error: bool,
    /// Admission, Unix milliseconds.
    pub admitted_at_ms: i64,
    /// How often `/generation` was asked in vain.
    pub asks: u32,
}

impl LedgerReader {
    /// Open calls that are due to be asked for at `now`, the longest due first, at most `limit`; with
    /// `fewer_asks_than` only those that were asked for less often. A call that has ended and is due after
    /// `no_later_than` is due as well: the clock was set back since.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn due_calls(
        &self,
        now: Timestamp,
        no_later_than: Timestamp,
        fewer_asks_than: u32,
        limit: u32,
    ) -> Result<Vec<OpenCall>, ReadError> {
        let (now_ms, no_later_than_ms) = (now.as_millisecond(), no_later_than.as_millisecond());
        let rows = sqlx::query!(
            "SELECT
                 id, generation_id AS 'generation_id!', model_asked, admitted_at_ms,
                 coalesce(http_status >= 400, 0) OR coalesce(outcome = 'answer-error', 0) AS 'was_error!: bool',
                 asks AS 'asks: u32'
             FROM calls
             WHERE state = 'open' AND asks < ?2
                 AND (next_ask_at_ms <= ?1 OR (next_ask_at_ms > ?4 AND closed_at_ms IS NOT NULL))
             ORDER BY next_ask_at_ms, id
             LIMIT ?3",
            now_ms,
            fewer_asks_than,
            limit,
            no_later_than_ms,
        )
        .fetch_all(&self.pool)
        .await?;
        // An id that is no UUID was not written by this program and cannot be asked about by it.
        let calls = rows.into_iter().filter_map(|row| {
            Some(OpenCall {
                id: row.id.parse().ok()?,
                generation_id: row.generation_id,
                model_asked: row.model_asked,
                was_error: row.was_error,
                admitted_at_ms: row.admitted_at_ms,
                asks: row.asks,
            })
        });
        Ok(calls.collect())
    }

    /// When the next open call with fewer than `fewer_asks_than` asks is due, Unix milliseconds.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn next_due_at_ms(&self, fewer_asks_than: u32) -> Result<Option<i64>, ReadError> {
        let next = sqlx::query_scalar!(
            "SELECT min(next_ask_at_ms) AS 'next?: i64'
             FROM calls
             WHERE state = 'open' AND asks < ?1",
            fewer_asks_than,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(next)
    }
}
