//! The sums of daily rows: of a period, by day, user and model.

use std::collections::HashSet;

use jiff::civil::Date;
use metering::OrgId;
use sqlx::SqliteConnection;

use crate::LedgerReader;
use crate::error::ReadError;
use crate::reads::kept::DailyRows;

/// What is summed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Scope {
    /// The organisation.
    pub org_id: OrgId,
    /// Only this user.
    pub user_id: Option<String>,
    /// The first billing day.
    pub from: Date,
    /// The last billing day, inclusive.
    pub to: Date,
}

/// What there is one sum for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum UsageBy {
    /// The whole scope: one sum, of zeros where nothing was used.
    Nothing,
    /// Each day, the oldest first.
    Day,
    /// Each user, the highest charge first.
    User,
    /// Each model, the highest charge first.
    Model,
    /// Each user with each model, the highest charge first.
    UserAndModel,
    /// Each day with each model, the oldest first.
    DayAndModel,
}

/// One sum.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// `YYYY-MM-DD`, where it is of one day.
    pub day: Option<String>,
    /// Where it is of one user.
    pub user_id: Option<String>,
    /// The model as booked, where it is of one model.
    pub model: Option<String>,
    /// Calls.
    pub requests: i64,
    /// Tokens that were sent.
    pub prompt_tokens: i64,
    /// Tokens that came back.
    pub completion_tokens: i64,
    /// What `OpenRouter` bills, pico-dollars.
    pub cost_pico_usd: i64,
    /// What the organisation pays, pico-dollars.
    pub charge_pico_usd: i64,
    /// Different days with an entry.
    pub days: i64,
    /// Different users with an entry, where it is of days or of one user; `None` where that is not counted.
    pub users: Option<i64>,
    /// The first call's instant, Unix milliseconds.
    pub first_activity_at_ms: Option<i64>,
    /// The last call's instant, Unix milliseconds.
    pub last_activity_at_ms: Option<i64>,
}

impl Usage {
    /// The sum of nothing.
    pub const ZERO: Self = Self {
        day: None,
        user_id: None,
        model: None,
        requests: 0,
        prompt_tokens: 0,
        completion_tokens: 0,
        cost_pico_usd: 0,
        charge_pico_usd: 0,
        days: 0,
        users: None,
        first_activity_at_ms: None,
        last_activity_at_ms: None,
    };
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

/// How much of an organisation was used in a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// The sum of the period.
    pub usage: Usage,
    /// Different users with an entry.
    pub users: i64,
    /// Different models with an entry.
    pub models: i64,
}

/// Every question is the same but for what it counts, its keys and the order; the macro keeps them checked at compile
/// time. What nobody reads is not counted: a `count(DISTINCT …)` costs as much as five sums.
macro_rules! sums {
    ($connection:expr, $scope:expr, $keys_and_counts:tt, $group_and_order:tt) => {{
        let (org, user_id) = ($scope.org_id.as_str(), $scope.user_id.as_deref());
        let (from, to) = ($scope.from.to_string(), $scope.to.to_string());
        sqlx::query_as!(
            Usage,
            "SELECT
                 coalesce(sum(requests), 0) AS 'requests!: i64',
                 coalesce(sum(prompt_tokens), 0) AS 'prompt_tokens!: i64',
                 coalesce(sum(completion_tokens), 0) AS 'completion_tokens!: i64',
                 coalesce(sum(cost_pico_usd), 0) AS 'cost_pico_usd!: i64',
                 coalesce(sum(charge_pico_usd), 0) AS 'charge_pico_usd!: i64',
                 min(first_activity_at_ms) AS 'first_activity_at_ms?: i64',
                 max(last_activity_at_ms) AS 'last_activity_at_ms?: i64', "
                + $keys_and_counts
                + " FROM daily_usage
             WHERE org_id = ?1 AND day BETWEEN ?2 AND ?3 AND (?4 IS NULL OR user_id = ?4) "
                + $group_and_order,
            org,
            from,
            to,
            user_id,
        )
        .fetch_all($connection)
        .await?
    }};
}

impl LedgerReader {
    /// The sums of `scope` by `by`; days, users and models without an entry have none.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn usage(&self, scope: &Scope, by: UsageBy) -> Result<Vec<Usage>, ReadError> {
        let rows = self.kept.rows(&scope.org_id, &self.pool).await?;
        self.added_up(rows.as_deref(), scope, by).await
    }

    /// The sum of each of `scopes`, which are of one organisation, of zeros where nothing was used; all of one moment.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn sums(&self, scopes: &[Scope]) -> Result<Vec<Usage>, ReadError> {
        let Some(first) = scopes.first() else { return Ok(Vec::new()) };
        let rows = self.kept.rows(&first.org_id, &self.pool).await?;
        let mut sums = Vec::with_capacity(scopes.len());
        for scope in scopes {
            sums.extend(self.added_up(rows.as_deref(), scope, UsageBy::Nothing).await?);
        }
        Ok(sums)
    }

    /// The sum of `scope`, and how many users and models it is of.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn summary(&self, scope: &Scope) -> Result<Summary, ReadError> {
        let rows = self.kept.rows(&scope.org_id, &self.pool).await?;
        if let Some(summary) = rows.and_then(|rows| rows.summary(scope)) {
            return Ok(summary);
        }
        let mut snapshot = self.pool.begin().await?;
        let whole = sums_of_days(scope, UsageBy::Nothing, &mut snapshot).await?;
        let pairs = sums_of_days(scope, UsageBy::UserAndModel, &mut snapshot).await?;
        snapshot.rollback().await?;
        let users: HashSet<_> = pairs.iter().filter_map(|pair| pair.user_id.as_ref()).collect();
        let models: HashSet<_> = pairs.iter().filter_map(|pair| pair.model.as_ref()).collect();
        let count = |different: usize| i64::try_from(different).unwrap_or(i64::MAX);
        let (users, models) = (count(users.len()), count(models.len()));
        Ok(Summary { usage: whole.into_iter().next().unwrap_or(Usage::ZERO), users, models })
    }

    /// Reads the daily rows of `org_id` into memory, so that the first question need not wait for that.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn warm(&self, org_id: &OrgId) -> Result<(), ReadError> {
        self.kept.rows(org_id, &self.pool).await.map(|_| ())
    }

    /// By `rows`, or where there are none, or a sum is too large, by `SQLite`, which says so.
    async fn added_up(
        &self,
        rows: Option<&DailyRows>,
        scope: &Scope,
        by: UsageBy,
    ) -> Result<Vec<Usage>, ReadError> {
        match rows.and_then(|rows| rows.sums(scope, by)) {
            Some(sums) => Ok(sums),
            None => sums_of_days(scope, by, &mut *self.pool.acquire().await?).await,
        }
    }

    /// Everybody who ever asked.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn users(&self) -> Result<Vec<UserRecord>, ReadError> {
        let users = sqlx::query_as!(
            UserRecord,
            "SELECT user_id, external_user, name, email
             FROM users
             ORDER BY user_id",
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(users)
    }
}

/// The sums of `scope` by `by`, from the daily rows.
pub(crate) async fn sums_of_days(
    scope: &Scope,
    by: UsageBy,
    connection: &mut SqliteConnection,
) -> Result<Vec<Usage>, ReadError> {
    Ok(match by {
        UsageBy::Nothing => sums!(
            connection,
            scope,
            "NULL AS 'day?: String', NULL AS 'user_id?: String', NULL AS 'model?: String',
             count(DISTINCT day) AS 'days!: i64', NULL AS 'users?: i64'",
            ""
        ),
        UsageBy::Day => sums!(
            connection,
            scope,
            "day AS 'day?: String', NULL AS 'user_id?: String', NULL AS 'model?: String',
             1 AS 'days!: i64', count(DISTINCT user_id) AS 'users?: i64'",
            "GROUP BY day ORDER BY day"
        ),
        UsageBy::User => sums!(
            connection,
            scope,
            "NULL AS 'day?: String', user_id AS 'user_id?: String', NULL AS 'model?: String',
             count(DISTINCT day) AS 'days!: i64', 1 AS 'users?: i64'",
            "GROUP BY user_id ORDER BY 5 DESC, user_id"
        ),
        UsageBy::Model => sums!(
            connection,
            scope,
            "NULL AS 'day?: String', NULL AS 'user_id?: String', model AS 'model?: String',
             count(DISTINCT day) AS 'days!: i64', NULL AS 'users?: i64'",
            "GROUP BY model ORDER BY 5 DESC, model"
        ),
        UsageBy::UserAndModel => sums!(
            connection,
            scope,
            "NULL AS 'day?: String', user_id AS 'user_id?: String', model AS 'model?: String',
             count(*) AS 'days!: i64', 1 AS 'users?: i64'",
            "GROUP BY user_id, model ORDER BY 5 DESC, user_id, model"
        ),
        UsageBy::DayAndModel => sums!(
            connection,
            scope,
            "day AS 'day?: String', NULL AS 'user_id?: String', model AS 'model?: String',
             1 AS 'days!: i64', count(*) AS 'users?: i64'",
            "GROUP BY day, model ORDER BY day, model"
        ),
    })
}
