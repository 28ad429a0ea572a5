//! Rows of `calls`: read, changed in memory, and written back whole with a digest of what is written. Many of them go in one
//! statement, as JSON.

use serde::Serialize;
use sqlx::SqliteConnection;

use crate::CallId;
use crate::error::WriteError;
use crate::seal::Sealed;
use crate::writes::batch::Batch;

/// Where a call stands; ARCHITECTURE.md tells which may follow which.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::Type)]
#[sqlx(rename_all = "lowercase")]
pub(crate) enum CallState {
    Intent,
    Open,
    Orphan,
    Settled,
    Void,
}

/// A row of `calls`.
#[derive(Debug)]
pub(crate) struct CallRow {
    pub(crate) id: String,
    pub(crate) org_id: String,
    pub(crate) user_id: String,
    pub(crate) endpoint: String,
    pub(crate) model_asked: String,
    /// Decimal text.
    pub(crate) markup: String,
    pub(crate) state: CallState,
    pub(crate) admitted_at_ms: i64,
    pub(crate) generation_id: Option<String>,
    pub(crate) http_status: Option<i64>,
    pub(crate) outcome: Option<String>,
    pub(crate) note: Option<String>,
    pub(crate) closed_at_ms: Option<i64>,
    pub(crate) model_served: Option<String>,
    pub(crate) provider: Option<String>,
    pub(crate) prompt_tokens: Option<i64>,
    pub(crate) completion_tokens: Option<i64>,
    pub(crate) reasoning_tokens: Option<i64>,
    pub(crate) cached_tokens: Option<i64>,
    pub(crate) asks: i64,
    pub(crate) next_ask_at_ms: Option<i64>,
}

impl CallState {
    /// The word in the database.
    const fn as_str(self) -> &'static str {
        match self {
            Self::Intent => "intent",
            Self::Open => "open",
            Self::Orphan => "orphan",
            Self::Settled => "settled",
            Self::Void => "void",
        }
    }
}

impl CallRow {
    /// In the order of `sealed_calls`.
    pub(crate) fn sealed(&self) -> Sealed<'_, 21> {
        Sealed([
            (&self.id).into(),
            (&self.org_id).into(),
            (&self.user_id).into(),
            (&self.endpoint).into(),
            (&self.model_asked).into(),
            (&self.markup).into(),
            self.state.as_str().into(),
            self.admitted_at_ms.into(),
            (&self.generation_id).into(),
            self.http_status.into(),
            (&self.outcome).into(),
            (&self.note).into(),
            self.closed_at_ms.into(),
            (&self.model_served).into(),
            (&self.provider).into(),
            self.prompt_tokens.into(),
            self.completion_tokens.into(),
            self.reasoning_tokens.into(),
            self.cached_tokens.into(),
            self.asks.into(),
            self.next_ask_at_ms.into(),
        ])
    }

    /// What it is not may not happen to it.
    pub(crate) fn refuse(&self) -> WriteError {
        WriteError::refused(format!("call {} is {} and cannot become that", self.id, self.state.as_str()))
    }
}

/// The call of this id.
pub(crate) async fn read_one(
    call_id: CallId,
    connection: &mut SqliteConnection,
) -> Result<CallRow, WriteError> {
    let row = read(&[call_id.to_string()], connection).await?.pop();
    row.ok_or_else(|| WriteError::refused(format!("not recorded: call {call_id}")))
}

/// The calls of these ids, in their order.
pub(crate) async fn read(
    ids: &[String],
    connection: &mut SqliteConnection,
) -> Result<Vec<CallRow>, WriteError> {
    let wanted = as_json(ids.iter())?;
    let rows = sqlx::query_as!(
        CallRow,
        "SELECT
             calls.id AS 'id!', org_id AS 'org_id!', user_id AS 'user_id!', endpoint AS 'endpoint!',
             model_asked AS 'model_asked!', markup AS 'markup!', state AS 'state!: CallState',
             admitted_at_ms AS 'admitted_at_ms!', generation_id, http_status, outcome, note, closed_at_ms,
             model_served, provider, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens,
             asks AS 'asks!', next_ask_at_ms
         FROM json_each(?1) AS wanted
         CROSS JOIN calls ON calls.id = wanted.value
         ORDER BY wanted.key",
        wanted,
    )
    .fetch_all(connection)
    .await?;
    if rows.len() == ids.len() {
        return Ok(rows);
    }
    let missing: Vec<&str> =
        ids.iter().map(String::as_str).filter(|id| !rows.iter().any(|row| row.id == *id)).collect();
    Err(WriteError::refused(format!("not recorded: call {}", missing.join(", "))))
}

/// Writes calls back, each of which must be there and named once.
pub(crate) async fn save(rows: &[CallRow], connection: &mut SqliteConnection) -> Result<(), WriteError> {
    let mut batch = Batch::default();
    save_in(&mut batch, rows)?;
    batch.run(connection).await.map(drop)
}

/// The same as a part of a batch. The numbers are places in [`CallRow::sealed`].
pub(crate) fn save_in(batch: &mut Batch, rows: &[CallRow]) -> Result<(), WriteError> {
    if rows.is_empty() {
        return Ok(());
    }
    batch.push(
        "UPDATE calls
         SET state = value ->> 6, generation_id = value ->> 8, http_status = value ->> 9, outcome = value ->> 10,
             note = value ->> 11, closed_at_ms = value ->> 12, model_served = value ->> 13,
             provider = value ->> 14, prompt_tokens = value ->> 15, completion_tokens = value ->> 16,
             reasoning_tokens = value ->> 17, cached_tokens = value ->> 18, asks = value ->> 19,
             next_ask_at_ms = value ->> 20, digest = unhex(value ->> 21)
         FROM jsonb_each(?) AS changed
         WHERE calls.id = value ->> 0",
        [as_json(rows.iter().map(CallRow::sealed))?],
    );
    batch.expect_rows(rows.len());
    Ok(())
}

/// For `json_each`.
pub(crate) fn as_json<T: Serialize>(rows: impl Iterator<Item = T>) -> Result<String, WriteError> {
    let rows: Vec<T> = rows.collect();
    serde_json::to_string(&rows).map_err(WriteError::refused)
}
