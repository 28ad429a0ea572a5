//! Entries come into the ledger together with their parts of daily rows, whoever books them.

use jiff::Timestamp;
use metering::{Cost, CostSource, PicoUsd, Tokens};
use serde::Serialize;
use sqlx::SqliteConnection;

use crate::error::WriteError;
use crate::seal::seal_of;
use crate::writes::calls::as_json;
use crate::writes::unsettled::as_integer;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryKind {
    /// A call through the sidecar.
    Call,
    /// A correction, or what was billed before there was a sidecar.
    Adjustment,
    /// What `OpenRouter` billed and no call through the sidecar made.
    Unattributed,
}

/// The line that goes into the ledger.
#[derive(Debug)]
pub(crate) struct NewEntry<'a> {
    pub(crate) kind: EntryKind,
    pub(crate) call_id: Option<&'a str>,
    pub(crate) generation_id: Option<&'a str>,
    pub(crate) org_id: &'a str,
    pub(crate) user_id: &'a str,
    pub(crate) model: &'a str,
    pub(crate) model_asked: Option<&'a str>,
    pub(crate) provider: Option<&'a str>,
    /// `YYYY-MM-DD` in the organisation's zone.
    pub(crate) day: &'a str,
    pub(crate) occurred_at_ms: i64,
    pub(crate) booked_at: Timestamp,
    pub(crate) requests: i64,
    pub(crate) tokens: Tokens,
    pub(crate) source: CostSource,
    pub(crate) cost: &'a Cost,
    /// Decimal text.
    pub(crate) markup: &'a str,
    pub(crate) charge: PicoUsd,
}

impl EntryKind {
    /// The word in the database.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Adjustment => "adjustment",
            Self::Unattributed => "unattributed",
        }
    }
}

/// An entry as it is written.
#[derive(Serialize)]
struct EntryRow<'a> {
    id: i64,
    kind: &'static str,
    call_id: Option<&'a str>,
    generation_id: Option<&'a str>,
    org_id: &'a str,
    user_id: &'a str,
    model: &'a str,
    model_asked: Option<&'a str>,
    provider: Option<&'a str>,
    day: &'a str,
    occurred_at_ms: i64,
    booked_at_ms: i64,
    requests: i64,
    prompt_tokens: Option<i64>,
    completion_tokens: Option<i64>,
    reasoning_tokens: Option<i64>,
    cached_tokens: Option<i64>,
    cost_text: &'a str,
    cost_exact: bool,
    cost_pico_usd: i64,
    cost_source: &'static str,
    markup: &'a str,
    charge_pico_usd: i64,
    digest: String,
}

impl<'a> NewEntry<'a> {
    fn row(&self, id: i64) -> EntryRow<'a> {
        let Tokens { prompt, completion, reasoning, cached } = self.tokens;
        let mut row = EntryRow {
            id,
            kind: self.kind.as_str(),
            call_id: self.call_id,
            generation_id: self.generation_id,
            org_id: self.org_id,
            user_id: self.user_id,
            model: self.model,
            model_asked: self.model_asked,
            provider: self.provider,
            day: self.day,
            occurred_at_ms: self.occurred_at_ms,
            booked_at_ms: self.booked_at.as_millisecond(),
            requests: self.requests,
            prompt_tokens: as_integer(prompt),
            completion_tokens: as_integer(completion),
            reasoning_tokens: as_integer(reasoning),
            cached_tokens: as_integer(cached),
            cost_text: &self.cost.text,
            cost_exact: self.cost.exact,
            cost_pico_usd: self.cost.amount.pico(),
            cost_source: self.source.as_str(),
            markup: self.markup,
            charge_pico_usd: self.charge.pico(),
            digest: String::new(),
        };
        row.digest = row.seal();
        row
    }
}

impl EntryRow<'_> {
    /// In the order of `sealed_entries`.
    fn seal(&self) -> String {
        seal_of(&[
            self.id.into(),
            self.kind.into(),
            self.call_id.into(),
            self.generation_id.into(),
            self.org_id.into(),
            self.user_id.into(),
            self.model.into(),
            self.model_asked.into(),
            self.provider.into(),
            self.day.into(),
            self.occurred_at_ms.into(),
            self.booked_at_ms.into(),
            self.requests.into(),
            self.prompt_tokens.into(),
            self.completion_tokens.into(),
            self.reasoning_tokens.into(),
            self.cached_tokens.into(),
            self.cost_text.into(),
            self.cost_exact.into(),
            self.cost_pico_usd.into(),
            self.cost_source.into(),
            self.markup.into(),
            self.charge_pico_usd.into(),
        ])
    }
}

/// Books entries; answers the id of the first, which the others' follow.
pub(crate) async fn book(
    entries: &[NewEntry<'_>],
    connection: &mut SqliteConnection,
) -> Result<i64, WriteError> {
    let first_id = sqlx::query_scalar!("SELECT coalesce(max(id), 0) + 1 AS 'id!: i64' FROM entries")
        .fetch_one(&mut *connection)
        .await?;
    let rows = as_json((first_id..).zip(entries).map(|(id, entry)| entry.row(id)))?;
    insert(&rows, connection).await?;
    add_to_daily_rows(&rows, connection).await?;
    Ok(first_id)
}

async fn insert(rows: &str, connection: &mut SqliteConnection) -> Result<(), WriteError> {
    sqlx::query!(
        "INSERT INTO entries (
             id, kind, call_id, generation_id, org_id, user_id, model, model_asked, provider, day,
             occurred_at_ms, booked_at_ms, requests, prompt_tokens, completion_tokens, reasoning_tokens,
             cached_tokens, cost_text, cost_exact, cost_pico_usd, cost_source, markup, charge_pico_usd, digest
         )
         SELECT
             value ->> 'id', value ->> 'kind', value ->> 'call_id', value ->> 'generation_id',
             value ->> 'org_id', value ->> 'user_id', value ->> 'model', value ->> 'model_asked',
             value ->> 'provider', value ->> 'day', value ->> 'occurred_at_ms', value ->> 'booked_at_ms',
             value ->> 'requests', value ->> 'prompt_tokens', value ->> 'completion_tokens',
             value ->> 'reasoning_tokens', value ->> 'cached_tokens', value ->> 'cost_text',
             value ->> 'cost_exact', value ->> 'cost_pico_usd', value ->> 'cost_source', value ->> 'markup',
             value ->> 'charge_pico_usd', unhex(value ->> 'digest')
         FROM jsonb_each(?1)",
        rows,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn add_to_daily_rows(rows: &str, connection: &mut SqliteConnection) -> Result<(), WriteError> {
    // An upsert of a SELECT needs its WHERE, or ON would be read as a join's.
    sqlx::query!(
        "INSERT INTO daily_usage (
             org_id, day, user_id, model, requests, prompt_tokens, completion_tokens, cost_pico_usd,
             charge_pico_usd, first_activity_at_ms, last_activity_at_ms
         )
         SELECT
             value ->> 'org_id', value ->> 'day', value ->> 'user_id', value ->> 'model',
             value ->> 'requests', coalesce(value ->> 'prompt_tokens', 0),
             coalesce(value ->> 'completion_tokens', 0), value ->> 'cost_pico_usd',
             value ->> 'charge_pico_usd', value ->> 'occurred_at_ms', value ->> 'occurred_at_ms'
         FROM jsonb_each(?1)
         WHERE true
         ON CONFLICT (org_id, day, user_id, model) DO UPDATE
         SET requests = requests + excluded.requests,
             prompt_tokens = prompt_tokens + excluded.prompt_tokens,
             completion_tokens = completion_tokens + excluded.completion_tokens,
             cost_pico_usd = cost_pico_usd + excluded.cost_pico_usd,
             charge_pico_usd = charge_pico_usd + excluded.charge_pico_usd,
             first_activity_at_ms = min(first_activity_at_ms, excluded.first_activity_at_ms),
             last_activity_at_ms = max(last_activity_at_ms, excluded.last_activity_at_ms)",
        rows,
    )
    .execute(connection)
    .await?;
    Ok(())
}
