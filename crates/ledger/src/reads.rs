//! The questions the Usage tab, the health check and upkeep ask.

use jiff::Timestamp;
use metering::OrgId;

use crate::error::ReadError;
use crate::{CallId, LedgerReader};

/// The sums of one billing day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DayUsage {
    /// `YYYY-MM-DD`.
    pub day: String,
    /// Calls.
    pub requests: i64,
    /// Prompt and completion tokens.
    pub tokens: i64,
    /// What the organisation pays, pico-dollars.
    pub charge_pico_usd: i64,
    /// The model with the most tokens.
    pub primary_model: String,
    /// Users with an entry.
    pub unique_users: i64,
    /// The last call's instant, Unix milliseconds.
    pub last_activity_at_ms: i64,
}

/// The sums of one user over a period; all zero for a known user without usage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageOfUser {
    /// The user.
    pub user: UserRecord,
    /// Calls.
    pub requests: i64,
    /// Prompt and completion tokens.
    pub tokens: i64,
    /// What the organisation pays, pico-dollars.
    pub charge_pico_usd: i64,
    /// Days with an entry.
    pub days_active: i64,
    /// The last call's instant in the period, Unix milliseconds.
    pub last_activity_at_ms: Option<i64>,
}

/// The sums of one model over a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelUsage {
    /// The model as booked.
    pub model: String,
    /// Calls.
    pub requests: i64,
    /// Prompt and completion tokens.
    pub tokens: i64,
    /// What the organisation pays, pico-dollars.
    pub charge_pico_usd: i64,
    /// Days with an entry.
    pub days_used: i64,
}

/// A user as last seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// The account's id.
    pub user_id: String,
    /// What `OpenRouter` is told.
    pub external_user: String,
    /// The account's name, where ever told.
    pub name: Option<String>,
    /// The account's e-mail address, where ever told.
    pub email: Option<String>,
}

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

/// How many calls are not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unsettled {
    /// Under way, no generation id yet.
    pub intent: i64,
    /// Generation id known, cost unknown.
    pub open: i64,
    /// Died before the generation id was known.
    pub orphan: i64,
}

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
    /// The days from `from` to `to` (both `YYYY-MM-DD`, inclusive) with usage, oldest first.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn usage_by_day(&self, org: &OrgId, from: &str, to: &str) -> Result<Vec<DayUsage>, ReadError> {
        let org = org.as_str();
        let days = sqlx::query_as!(
            DayUsage,
            "WITH by_model AS (
                 SELECT day, model, sum(prompt_tokens + completion_tokens) AS tokens
                 FROM daily_usage
                 WHERE org_id = ?1 AND day BETWEEN ?2 AND ?3
                 GROUP BY day, model
             ), ranked AS (
                 SELECT day, model, row_number() OVER (PARTITION BY day ORDER BY tokens DESC, model) AS rank
                 FROM by_model
             )
             SELECT
                 usage.day AS 'day!',
                 sum(usage.requests) AS 'requests!: i64',
                 sum(usage.prompt_tokens + usage.completion_tokens) AS 'tokens!: i64',
                 sum(usage.charge_pico_usd) AS 'charge_pico_usd!: i64',
                 ranked.model AS 'primary_model!: String',
                 count(DISTINCT usage.user_id) AS 'unique_users!: i64',
                 max(usage.last_activity_at_ms) AS 'last_activity_at_ms!: i64'
             FROM daily_usage AS usage
             JOIN ranked ON ranked.day = usage.day AND ranked.rank = 1
             WHERE usage.org_id = ?1 AND usage.day BETWEEN ?2 AND ?3
             GROUP BY usage.day
             ORDER BY usage.day",
            org,
            from,
            to,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(days)
    }

    /// Every known user with the sums from `from` to `to` (inclusive), the highest charge first.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn usage_by_user(
        &self,
        org: &OrgId,
        from: &str,
        to: &str,
    ) -> Result<Vec<UsageOfUser>, ReadError> {
        let org = org.as_str();
        let rows = sqlx::query!(
            "SELECT
                 users.user_id AS 'user_id!', users.external_user AS 'external_user!', users.name, users.email,
                 coalesce(sum(usage.requests), 0) AS 'requests!: i64',
                 coalesce(sum(usage.prompt_tokens + usage.completion_tokens), 0) AS 'tokens!: i64',
                 coalesce(sum(usage.charge_pico_usd), 0) AS 'charge_pico_usd!: i64',
                 count(DISTINCT usage.day) AS 'days_active!: i64',
                 max(usage.last_activity_at_ms) AS 'last_activity_at_ms?: i64'
             FROM users
             LEFT JOIN daily_usage AS usage
                 ON usage.user_id = users.user_id AND usage.org_id = ?1 AND usage.day BETWEEN ?2 AND ?3
             GROUP BY users.user_id
             ORDER BY 7 DESC, users.user_id",
            org,
            from,
            to,
        )
        .fetch_all(&self.pool)
        .await?;
        let users = rows.into_iter().map(|row| UsageOfUser {
            user: UserRecord {
                user_id: row.user_id,
                external_user: row.external_user,
                name: row.name,
                email: row.email,
            },
            requests: row.requests,
            tokens: row.tokens,
            charge_pico_usd: row.charge_pico_usd,
            days_active: row.days_active,
            last_activity_at_ms: row.last_activity_at_ms,
        });
        Ok(users.collect())
    }

    /// Every model with an entry from `from` to `to` (inclusive), the highest charge first.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn usage_by_model(
        &self,
        org: &OrgId,
        from: &str,
        to: &str,
    ) -> Result<Vec<ModelUsage>, ReadError> {
        let org = org.as_str();
        let models = sqlx::query_as!(
            ModelUsage,
            "SELECT
                 model,
                 sum(requests) AS 'requests!: i64',
                 sum(prompt_tokens + completion_tokens) AS 'tokens!: i64',
                 sum(charge_pico_usd) AS 'charge_pico_usd!: i64',
                 count(DISTINCT day) AS 'days_used!: i64'
             FROM daily_usage
             WHERE org_id = ?1 AND day BETWEEN ?2 AND ?3
             GROUP BY model
             ORDER BY 4 DESC, model",
            org,
            from,
            to,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(models)
    }

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

    /// How many calls are not settled.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn unsettled(&self) -> Result<Unsettled, ReadError> {
        let unsettled = sqlx::query_as!(
            Unsettled,
            "SELECT
                 (SELECT count(*) FROM calls WHERE state = 'intent') AS 'intent!: i64',
                 (SELECT count(*) FROM calls WHERE state = 'open') AS 'open!: i64',
                 (SELECT count(*) FROM calls WHERE state = 'orphan') AS 'orphan!: i64'",
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(unsettled)
    }

    /// The last poll.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn last_reconciliation(&self) -> Result<Option<Reconciliation>, ReadError> {
        let last = sqlx::query_as!(
            Reconciliation,
            "SELECT polled_at_ms, our_cost_pico_usd, key_usage_pico_usd, difference_pico_usd, settled_calls,
                    open_calls, orphan_calls, warning, error
             FROM reconciliations
             ORDER BY id DESC
             LIMIT 1",
        )
        .fetch_optional(&self.pool)
        .await?;
        Ok(last)
    }
}
