//! What a period cost, and what of it is not known yet, of one moment.

use crate::error::ReadError;
use crate::reads::usage::sums_of_days;
use crate::{LedgerReader, Scope, Usage, UsageBy};

/// The sums of a period beside the calls whose cost is unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bill {
    /// The sums; days, users and models without an entry have none.
    pub usage: Vec<Usage>,
    /// Every call that is not settled, of any period, by admission.
    pub unknown: Vec<UnknownCost>,
}

/// A call that is under way, open or an orphan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownCost {
    /// Who asked.
    pub user_id: String,
    /// The model the caller asked for.
    pub model_asked: String,
    /// `intent`, `open` or `orphan`.
    pub state: String,
    /// Admission, Unix milliseconds.
    pub admitted_at_ms: i64,
}

impl LedgerReader {
    /// The sums of `scope` by `by` and, of the same moment, every call of the scope's users that is not settled: a call that is
    /// settled meanwhile is in one of them and not in both.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn bill(&self, scope: &Scope, by: UsageBy) -> Result<Bill, ReadError> {
        let mut snapshot = self.pool.begin().await?;
        let usage = sums_of_days(scope, by, &mut snapshot).await?;
        let user_id = scope.user_id.as_deref();
        // One branch a state, as each has an index of its own.
        let unknown = sqlx::query_as!(
            UnknownCost,
            "SELECT
                 user_id AS 'user_id!', model_asked AS 'model_asked!', state AS 'state!',
                 admitted_at_ms AS 'admitted_at_ms!'
             FROM (
                 SELECT * FROM calls WHERE state = 'intent'
                 UNION ALL
                 SELECT * FROM calls WHERE state = 'open'
                 UNION ALL
                 SELECT * FROM calls WHERE state = 'orphan'
             )
             WHERE ?1 IS NULL OR user_id = ?1
             ORDER BY admitted_at_ms",
            user_id,
        )
        .fetch_all(&mut *snapshot)
        .await?;
        snapshot.rollback().await?;
        Ok(Bill { usage, unknown })
    }
}
