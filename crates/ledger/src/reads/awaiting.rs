//! The calls that are not settled: under way, open, orphans.

use crate::LedgerReader;
use crate::error::ReadError;

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

/// A call whose cost is not known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AwaitingCall {
    /// The call; ids grow with the instant of admission.
    pub id: String,
    /// `intent`, `open` or `orphan`.
    pub state: String,
    /// Admission, Unix milliseconds.
    pub admitted_at_ms: i64,
    /// Who asked.
    pub user_id: String,
    /// The account's name, where ever told.
    pub name: Option<String>,
    /// The account's e-mail address, where ever told.
    pub email: Option<String>,
    /// The model the caller asked for.
    pub model_asked: String,
    /// What `/generation` is asked for.
    pub generation_id: Option<String>,
    /// How the answer ended, in a word.
    pub outcome: Option<String>,
    /// How often `/generation` was asked in vain.
    pub asks: i64,
    /// When it is asked next, Unix milliseconds.
    pub next_ask_at_ms: Option<i64>,
}

impl LedgerReader {
    /// How many calls are not settled, of `user_id` or of everybody.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn unsettled(&self, user_id: Option<&str>) -> Result<Unsettled, ReadError> {
        let unsettled = sqlx::query_as!(
            Unsettled,
            "SELECT
                 (SELECT count(*) FROM calls WHERE state = 'intent' AND (?1 IS NULL OR user_id = ?1)) AS 'intent!: i64',
                 (SELECT count(*) FROM calls WHERE state = 'open' AND (?1 IS NULL OR user_id = ?1)) AS 'open!: i64',
                 (SELECT count(*) FROM calls WHERE state = 'orphan' AND (?1 IS NULL OR user_id = ?1)) AS 'orphan!: i64'",
            user_id,
        )
        .fetch_one(&self.pool)
        .await?;
        Ok(unsettled)
    }

    /// The calls of `user_id`, or of everybody, that are not settled, the newest first: those before the call `before`,
    /// at most `limit`.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn awaiting(
        &self,
        user_id: Option<&str>,
        before: Option<&str>,
        limit: u32,
    ) -> Result<Vec<AwaitingCall>, ReadError> {
        // One branch a state, as each has an index of its own; together they would read every call there ever was. The plus keeps
        // the planner from merging the branches in the order of the ids, for which it would read them all as well.
        let calls = sqlx::query_as!(
            AwaitingCall,
            "WITH unsettled AS (
                 SELECT * FROM calls WHERE state = 'intent'
                 UNION ALL
                 SELECT * FROM calls WHERE state = 'open'
                 UNION ALL
                 SELECT * FROM calls WHERE state = 'orphan'
             )
             SELECT
                 unsettled.id AS 'id!', state AS 'state!', admitted_at_ms AS 'admitted_at_ms!',
                 unsettled.user_id AS 'user_id!', users.name AS 'name?', users.email AS 'email?',
                 model_asked AS 'model_asked!', generation_id AS 'generation_id?', outcome AS 'outcome?', asks AS 'asks!',
                 next_ask_at_ms AS 'next_ask_at_ms?'
             FROM unsettled
             JOIN users ON users.user_id = unsettled.user_id
             WHERE (?1 IS NULL OR unsettled.user_id = ?1) AND (?2 IS NULL OR unsettled.id < ?2)
             ORDER BY +unsettled.id DESC
             LIMIT ?3",
            user_id,
            before,
            limit,
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(calls)
    }
}
