//! A poll is recorded: our sum beside `OpenRouter`'s.

use jiff::{SignedDuration, Timestamp};
use metering::{OrgId, PicoUsd};
use sqlx::SqliteConnection;

use crate::Reconciliation;
use crate::error::WriteError;
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

/// How far back growth is compared: what was found and mended, or missed by a counter that lagged, is over after
/// that.
const WINDOW: SignedDuration = SignedDuration::from_hours(24);

/// An earlier poll of the same key.
struct Earlier {
    polled_at_ms: i64,
    our_cost_pico_usd: i64,
    key_usage_pico_usd: i64,
}

/// The state of the ledger at the poll.
struct Books {
    cost: i64,
    open_calls: i64,
    orphan_calls: i64,
}

impl Write for NewReconciliation {
    type Answer = Reconciliation;

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Reconciliation, WriteError> {
        let books = read_books(&self.org_id, connection).await?;
        let baseline = self.baseline(connection).await?;
        let difference = self.difference(&books, baseline.as_ref())?;
        let warning = self.is_bypassed(difference, baseline.as_ref(), connection).await?;
        let row = Reconciliation {
            polled_at_ms: self.polled_at.as_millisecond(),
            our_cost_pico_usd: books.cost,
            key_usage_pico_usd: self.key_usage.as_ref().map(|(_, usage)| usage.pico()),
            difference_pico_usd: difference,
            settled_calls: i64::try_from(self.settled_calls).unwrap_or(i64::MAX),
            open_calls: books.open_calls,
            orphan_calls: books.orphan_calls,
            warning: warning.then(|| "bypass".to_owned()),
            error: self.error.clone(),
        };
        self.insert(&row, connection).await?;
        Ok(row)
    }
}

impl NewReconciliation {
    /// The poll that growth is measured from: the last one before the window, else the first. The counter's own
    /// start is unknown: a key may have been used before there was a sidecar.
    async fn baseline(&self, connection: &mut SqliteConnection) -> Result<Option<Earlier>, WriteError> {
        let org_id = self.org_id.as_str();
        let window_began = self.polled_at.checked_sub(WINDOW).unwrap_or(Timestamp::MIN).as_millisecond();
        let before = sqlx::query_as!(
            Earlier,
            "SELECT polled_at_ms, our_cost_pico_usd, key_usage_pico_usd AS 'key_usage_pico_usd!'
             FROM reconciliations
             WHERE key_hash = ?1 AND org_id = ?2 AND key_usage_pico_usd IS NOT NULL AND polled_at_ms <= ?3
             ORDER BY id DESC
             LIMIT 1",
            self.key_hash,
            org_id,
            window_began,
        )
        .fetch_optional(&mut *connection)
        .await?;
        if before.is_some() {
            return Ok(before);
        }
        let first = sqlx::query_as!(
            Earlier,
            "SELECT polled_at_ms, our_cost_pico_usd, key_usage_pico_usd AS 'key_usage_pico_usd!'
             FROM reconciliations
             WHERE key_hash = ?1 AND org_id = ?2 AND key_usage_pico_usd IS NOT NULL
             ORDER BY id
             LIMIT 1",
            self.key_hash,
            org_id,
        )
        .fetch_optional(connection)
        .await?;
        Ok(first)
    }

    /// What the key's counter has grown since the baseline, less what our sum has grown.
    fn difference(&self, books: &Books, baseline: Option<&Earlier>) -> Result<Option<i64>, WriteError> {
        let Some((_, usage)) = &self.key_usage else { return Ok(None) };
        let Some(baseline) = baseline else { return Ok(Some(0)) };
        let theirs = usage.pico().checked_sub(baseline.key_usage_pico_usd);
        let ours = books.cost.checked_sub(baseline.our_cost_pico_usd);
        let difference = theirs.zip(ours).and_then(|(theirs, ours)| theirs.checked_sub(ours));
        difference.map(Some).ok_or_else(|| WriteError::refused("the difference is out of range"))
    }

    /// Whether somebody uses the key past the sidecar: the counter is above ours at two polls running, and no
    /// call since the baseline could explain it.
    async fn is_bypassed(
        &self,
        difference: Option<i64>,
        baseline: Option<&Earlier>,
        connection: &mut SqliteConnection,
    ) -> Result<bool, WriteError> {
        let above =
            |difference: Option<i64>| difference.is_some_and(|difference| difference > TOLERATED_PICO_USD);
        let Some(baseline) = baseline.filter(|_| above(difference)) else { return Ok(false) };
        let org_id = self.org_id.as_str();
        let last = sqlx::query_scalar!(
            "SELECT difference_pico_usd
             FROM reconciliations
             WHERE key_hash = ?1 AND org_id = ?2 AND key_usage_pico_usd IS NOT NULL
             ORDER BY id DESC
             LIMIT 1",
            self.key_hash,
            org_id,
        )
        .fetch_optional(&mut *connection)
        .await?;
        let outstanding = sqlx::query_scalar!(
            "SELECT
                 (SELECT count(*) FROM calls WHERE state = 'intent' AND admitted_at_ms >= ?1)
                 + (SELECT count(*) FROM calls WHERE state = 'open' AND admitted_at_ms >= ?1)
                 + (SELECT count(*) FROM calls WHERE state = 'orphan' AND admitted_at_ms >= ?1) AS 'calls!: i64'",
            baseline.polled_at_ms,
        )
        .fetch_one(connection)
        .await?;
        Ok(outstanding == 0 && above(last.flatten()))
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
    // What was imported grows our sum and no counter of a key's.
    let books = sqlx::query_as!(
        Books,
        "SELECT
             (SELECT coalesce(sum(cost_pico_usd), 0) FROM daily_usage WHERE org_id = ?1)
                 - (
                     SELECT coalesce(sum(entries.cost_pico_usd), 0)
                     FROM adjustments
                     JOIN entries ON entries.id = adjustments.entry_id
                     WHERE adjustments.reference >= 'import:' AND adjustments.reference < 'import;'
                         AND entries.org_id = ?1
                 ) AS 'cost!: i64',
             (SELECT count(*) FROM calls WHERE state = 'open') AS 'open_calls!: i64',
             (SELECT count(*) FROM calls WHERE state = 'orphan') AS 'orphan_calls!: i64'",
        org_id,
    )
    .fetch_one(connection)
    .await?;
    Ok(books)
}
