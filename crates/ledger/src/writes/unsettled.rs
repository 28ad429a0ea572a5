//! The ends of a call that do not tell its cost: left open, orphaned, void.

use jiff::Timestamp;
use metering::Settlement;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteQueryResult;

use crate::CallId;
use crate::error::WriteError;
use crate::seal::seal_call;
use crate::writer::Write;

/// A call whose answer has ended without telling its cost. It stays open; `/generation` is asked.
#[derive(Debug, Clone)]
pub struct LeaveOpen {
    /// The call.
    pub call_id: CallId,
    /// How the answer ended, in a word (`client-left`).
    pub outcome: &'static str,
    /// What the answer told all the same: model, provider, tokens.
    pub known: Settlement,
    /// When the answer ended.
    pub closed_at: Timestamp,
    /// When to ask `/generation`.
    pub next_ask_at: Timestamp,
}

/// The end of a call that has no generation id, or needs none any more.
#[derive(Debug, Clone)]
pub struct Ending {
    /// The call.
    pub call_id: CallId,
    /// How it ended, in a word.
    pub outcome: &'static str,
    /// What a person should know: why it may be billed, or the proof that it is not.
    pub note: String,
    /// The HTTP status, where there was an answer.
    pub http_status: Option<u16>,
    /// When that was known.
    pub closed_at: Timestamp,
}

/// What an [`Ending`] makes of its call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum EndedAs {
    /// It may have been billed, and its generation id was never known.
    Orphan,
    /// It is proved unbilled.
    Void,
}

/// An ending to be recorded.
pub(crate) struct End(pub(crate) EndedAs, pub(crate) Ending);

/// Calls that were under way when the last process died.
pub(crate) struct OrphanInterrupted {
    pub(crate) now: Timestamp,
}

impl Write for LeaveOpen {
    type Answer = ();

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<(), WriteError> {
        let (id, closed_at_ms) = (self.call_id.to_string(), self.closed_at.as_millisecond());
        let next_ask_at_ms = self.next_ask_at.as_millisecond();
        let tokens = self.known.tokens();
        let [prompt, completion, reasoning, cached] =
            [tokens.prompt, tokens.completion, tokens.reasoning, tokens.cached].map(as_integer);
        let (model, provider) = (self.known.model(), self.known.provider());
        let done = sqlx::query!(
            "UPDATE calls
             SET outcome = ?2, closed_at_ms = ?3, next_ask_at_ms = ?4, model_served = ?5, provider = ?6,
                 prompt_tokens = ?7, completion_tokens = ?8, reasoning_tokens = ?9, cached_tokens = ?10
             WHERE id = ?1 AND state = 'open'",
            id,
            self.outcome,
            closed_at_ms,
            next_ask_at_ms,
            model,
            provider,
            prompt,
            completion,
            reasoning,
            cached,
        )
        .execute(&mut *connection)
        .await?;
        one_call(&done, self.call_id)?;
        Ok(seal_call(&id, connection).await?)
    }
}

impl Write for End {
    type Answer = ();

    /// An orphan is made of a call without an id alone; the proof that nothing was billed may come later as well.
    async fn apply(&self, connection: &mut SqliteConnection) -> Result<(), WriteError> {
        let Self(ended_as, Ending { call_id, outcome, note, http_status, closed_at }) = self;
        let (id, closed_at_ms) = (call_id.to_string(), closed_at.as_millisecond());
        let state = match ended_as {
            EndedAs::Orphan => "orphan",
            EndedAs::Void => "void",
        };
        let done = sqlx::query!(
            "UPDATE calls
             SET state = ?2, outcome = ?3, note = ?4, http_status = coalesce(?5, http_status), closed_at_ms = ?6,
                 next_ask_at_ms = NULL
             WHERE id = ?1 AND (state = 'intent' OR (?2 = 'void' AND state IN ('open', 'orphan')))",
            id,
            state,
            outcome,
            note,
            http_status,
            closed_at_ms,
        )
        .execute(&mut *connection)
        .await?;
        one_call(&done, *call_id)?;
        Ok(seal_call(&id, connection).await?)
    }
}

impl Write for OrphanInterrupted {
    type Answer = u64;

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<u64, WriteError> {
        let now_ms = self.now.as_millisecond();
        let orphaned = sqlx::query_scalar!(
            "UPDATE calls
             SET state = 'orphan', outcome = 'interrupted', closed_at_ms = ?1,
                 note = 'the program ended before the generation id was known'
             WHERE state = 'intent'
             RETURNING id",
            now_ms,
        )
        .fetch_all(&mut *connection)
        .await?;
        // Nobody ends these any more: ask at once instead of after the longest call.
        let open = sqlx::query_scalar!(
            "UPDATE calls
             SET next_ask_at_ms = ?1, outcome = 'interrupted', closed_at_ms = ?1
             WHERE state = 'open' AND closed_at_ms IS NULL
             RETURNING id",
            now_ms,
        )
        .fetch_all(&mut *connection)
        .await?;
        for id in orphaned.iter().chain(&open) {
            seal_call(id, connection).await?;
        }
        Ok(orphaned.len() as u64)
    }
}

/// A write about one call must have touched exactly one row.
pub(crate) fn one_call(done: &SqliteQueryResult, call_id: CallId) -> Result<(), WriteError> {
    match done.rows_affected() {
        1 => Ok(()),
        rows => Err(WriteError::refused(format!("call {call_id}: {rows} rows in the expected state, not 1"))),
    }
}

/// A count for the database. Counts beyond 2^63 do not exist; they are taken as never told.
pub(crate) fn as_integer(count: Option<u64>) -> Option<i64> {
    count.and_then(|count| i64::try_from(count).ok())
}
