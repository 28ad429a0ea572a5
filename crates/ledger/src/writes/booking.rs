//! Entries come into the ledger together with their parts of daily rows, whoever books them.

use jiff::Timestamp;
use metering::{Cost, CostSource, PicoUsd, Tokens};
use sqlx::SqliteConnection;

use crate::error::WriteError;
use crate::seal::Sealed;
use crate::writes::batch::Batch;
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

impl NewEntry<'_> {
    /// In the order of `sealed_entries`.
    fn sealed(&self, id: i64) -> Sealed<'_, 23> {
        let Tokens { prompt, completion, reasoning, cached } = self.tokens;
        Sealed([
            id.into(),
            self.kind.as_str().into(),
            self.call_id.into(),
            self.generation_id.into(),
            self.org_id.into(),
            self.user_id.into(),
            self.model.into(),
            self.model_asked.into(),
            self.provider.into(),
            self.day.into(),
            self.occurred_at_ms.into(),
            self.booked_at.as_millisecond().into(),
            self.requests.into(),
            as_integer(prompt).into(),
            as_integer(completion).into(),
            as_integer(reasoning).into(),
            as_integer(cached).into(),
            (&self.cost.text).into(),
            self.cost.exact.into(),
            self.cost.amount.pico().into(),
            self.source.as_str().into(),
            self.markup.into(),
            self.charge.pico().into(),
        ])
    }
}

/// Books an entry; answers its id.
pub(crate) async fn book(entry: NewEntry<'_>, connection: &mut SqliteConnection) -> Result<i64, WriteError> {
    let id = next_id(connection).await?;
    let mut batch = Batch::default();
    book_in(&mut batch, id, &[entry])?;
    batch.run(connection).await?;
    Ok(id)
}

/// The id of the next entry.
pub(crate) async fn next_id(connection: &mut SqliteConnection) -> Result<i64, WriteError> {
    let id = sqlx::query_scalar!("SELECT coalesce(max(id), 0) + 1 AS 'id!: i64' FROM entries")
        .fetch_one(connection)
        .await?;
    Ok(id)
}

/// Books entries as a part of a batch: the first under this id, the others under those that follow. The numbers are places in
/// [`NewEntry::sealed`], the last that of the digest.
pub(crate) fn book_in(batch: &mut Batch, first_id: i64, entries: &[NewEntry<'_>]) -> Result<(), WriteError> {
    let rows = as_json((first_id..).zip(entries).map(|(id, entry)| entry.sealed(id)))?;
    // An upsert of a SELECT needs its WHERE, or ON would be read as a join's.
    batch.push(
        "INSERT INTO entries (
             id, kind, call_id, generation_id, org_id, user_id, model, model_asked, provider, day,
             occurred_at_ms, booked_at_ms, requests, prompt_tokens, completion_tokens, reasoning_tokens,
             cached_tokens, cost_text, cost_exact, cost_pico_usd, cost_source, markup, charge_pico_usd, digest
         )
         SELECT
             value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7,
             value ->> 8, value ->> 9, value ->> 10, value ->> 11, value ->> 12, value ->> 13, value ->> 14,
             value ->> 15, value ->> 16, value ->> 17, value ->> 18, value ->> 19, value ->> 20, value ->> 21,
             value ->> 22, unhex(value ->> 23)
         FROM jsonb_each(?);

         INSERT INTO daily_usage (
             org_id, day, user_id, model, requests, prompt_tokens, completion_tokens, cost_pico_usd,
             charge_pico_usd, first_activity_at_ms, last_activity_at_ms
         )
         SELECT
             value ->> 4, value ->> 9, value ->> 5, value ->> 6, value ->> 12, coalesce(value ->> 13, 0),
             coalesce(value ->> 14, 0), value ->> 19, value ->> 22, value ->> 10, value ->> 10
         FROM jsonb_each(?)
         WHERE true
         ON CONFLICT (org_id, day, user_id, model) DO UPDATE
         SET requests = requests + excluded.requests,
             prompt_tokens = prompt_tokens + excluded.prompt_tokens,
             completion_tokens = completion_tokens + excluded.completion_tokens,
             cost_pico_usd = cost_pico_usd + excluded.cost_pico_usd,
             charge_pico_usd = charge_pico_usd + excluded.charge_pico_usd,
             first_activity_at_ms = min(first_activity_at_ms, excluded.first_activity_at_ms),
             last_activity_at_ms = max(last_activity_at_ms, excluded.last_activity_at_ms)",
        [rows.clone(), rows],
    );
    Ok(())
}
