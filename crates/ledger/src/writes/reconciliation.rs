//! A poll is recorded: our sum beside `OpenRouter`'s.

use jiff::Timestamp;
use metering::{OrgId, PicoUsd};
use sqlx::SqliteConnection;

use crate::error::WriteError;
use crate::reads::Reconciliation;
use crate::writer::Write;

/// What a poll found.
#[derive(Debug, Clone)]
pub struct NewReconciliation {
    /// The organisation.
    pub org_id: OrgId,
    /// When `OpenRouter` was asked.
    pub polled_at: Timestamp,
    /// The key whose counter was read, by its hash.
    pub key_hash: Option<String>,
    /// The counter of the key (`GET /key`, `usage`): its text and amount.
    pub key_usage: Option<(String, PicoUsd)>,
    /// Calls settled by this poll.
    pub settled_calls: u64,
    /// Why something could not be asked, where so.
    pub error: Option<String>,
}

/// A counter that grew this much more than our sum is no rounding of `OpenRouter`'s any more: 0.001 USD.
const TOLERATED_PICO_USD: i64 = 1_000_000_000;

/// The state of the ledger at the poll.
struct Books {
    cost: i64,
    open_calls: i64,
    under_way: i64,
    orphan_calls: i64,
}

impl Write for NewReconciliation {
    type Answer = Reconciliation;

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Reconciliation, WriteError> {
        let books = read_books(&self.org_id, connection).await?;
        let difference = self.difference(&books, connection).await?;
        // Above ours with nothing of ours outstanding: somebody used the key past the sidecar.
        let nothing_outstanding = books.open_calls + books.under_way + books.orphan_calls == 0;
        let bypass =
            nothing_outstanding && difference.is_some_and(|difference| difference > TOLERATED_PICO_USD);
        let row = Reconciliation {
            polled_at_ms: self.polled_at.as_millisecond(),
            our_cost_pico_usd: books.cost,
            key_usage_pico_usd: self.key_usage.as_ref().map(|(_, usage)| usage.pico()),
            difference_pico_usd: difference,
            settled_calls: i64::try_from(self.settled_calls).unwrap_or(i64::MAX),
            open_calls: books.open_calls,
            orphan_calls: books.orphan_calls,
            warning: bypass.then(|| "bypass".to_owned()),
            error: self.error.clone(),
        };
        self.insert(&row, connection).await?;
        Ok(row)
    }
}

impl NewReconciliation {
    /// What the key's counter has grown since its first reading, less what our sum has grown since then. The
    /// counter's start is unknown: a key may have been used before there was a sidecar.
    async fn difference(
        &self,
        books: &Books,
        connection: &mut SqliteConnection,
    ) -> Result<Option<i64>, WriteError> {
        let Some((_, usage)) = &self.key_usage else { return Ok(None) };
        let org_id = self.org_id.as_str();
        let first = sqlx::query!(
            "SELECT our_cost_pico_usd, key_usage_pico_usd AS 'key_usage_pico_usd!'
             FROM reconciliations
             WHERE key_hash = ?1 AND org_id = ?2 AND key_usage_pico_usd IS NOT NULL
             ORDER BY id
             LIMIT 1",
            self.key_hash,
            org_id,
        )
        .fetch_optional(connection)
        .await?;
        let Some(first) = first else { return Ok(Some(0)) };
        let difference = (|| {
            let theirs = usage.pico().checked_sub(first.key_usage_pico_usd)?;
            theirs.checked_sub(books.cost.checked_sub(first.our_cost_pico_usd)?)
        })();
        difference.map(Some).ok_or_else(|| WriteError::refused("the difference is out of range"))
    }

    async fn insert(
        &self,
        row: &Reconciliation,
        connection: &mut SqliteConnection,
    ) -> Result<(), WriteError> {
        let (org_id, usage_text) = (self.org_id.as_str(), self.key_usage.as_ref().map(|(text, _)| text));
        sqlx::query!(
            "INSERT INTO reconciliations (
                 org_id, polled_at_ms, key_hash, our_cost_pico_usd, key_usage_text, key_usage_pico_usd,
                 difference_pico_usd, settled_calls, open_calls, orphan_calls, warning, error
             )
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            org_id,
            row.polled_at_ms,
            self.key_hash,
            row.our_cost_pico_usd,
            usage_text,
            row.key_usage_pico_usd,
            row.difference_pico_usd,
            row.settled_calls,
            row.open_calls,
            row.orphan_calls,
            row.warning,
            row.error,
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

async fn read_books(org_id: &OrgId, connection: &mut SqliteConnection) -> Result<Books, WriteError> {
    let org_id = org_id.as_str();
    let books = sqlx::query_as!(
        Books,
        "SELECT
             (SELECT coalesce(sum(cost_pico_usd), 0) FROM daily_usage WHERE org_id = ?1) AS 'cost!: i64',
             (SELECT count(*) FROM calls WHERE state = 'open') AS 'open_calls!: i64',
             (SELECT count(*) FROM calls WHERE state = 'intent') AS 'under_way!: i64',
             (SELECT count(*) FROM calls WHERE state = 'orphan') AS 'orphan_calls!: i64'",
        org_id,
    )
    .fetch_one(connection)
    .await?;
    Ok(books)
}
