//! An entry comes into the ledger together with its part of a daily row, whoever books it.

use jiff::Timestamp;
use metering::{Cost, CostSource, PicoUsd, Tokens};
use sqlx::SqliteConnection;

use crate::error::WriteError;
use crate::seal::seal_entry;
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
    /// Books it and answers its id.
    pub(crate) async fn book(&self, connection: &mut SqliteConnection) -> Result<i64, WriteError> {
        let id = self.insert(connection).await?;
        seal_entry(id, connection).await?;
        self.add_to_daily_row(connection).await?;
        Ok(id)
    }

    async fn insert(&self, connection: &mut SqliteConnection) -> Result<i64, WriteError> {
        let booked_at_ms = self.booked_at.as_millisecond();
        let Tokens { prompt, completion, reasoning, cached } = self.tokens;
        let [prompt, completion, reasoning, cached] = [prompt, completion, reasoning, cached].map(as_integer);
        let (kind, source) = (self.kind.as_str(), self.source.as_str());
        let (cost_pico, charge_pico) = (self.cost.amount.pico(), self.charge.pico());
        let inserted = sqlx::query!(
            "INSERT INTO entries (
                 kind, call_id, generation_id, org_id, user_id, model, model_asked, provider, day, occurred_at_ms,
                 booked_at_ms, requests, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens,
                 cost_text, cost_exact, cost_pico_usd, cost_source, markup, charge_pico_usd
             )
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            kind,
            self.call_id,
            self.generation_id,
            self.org_id,
            self.user_id,
            self.model,
            self.model_asked,
            self.provider,
            self.day,
            self.occurred_at_ms,
            booked_at_ms,
            self.requests,
            prompt,
            completion,
            reasoning,
            cached,
            self.cost.text,
            self.cost.exact,
            cost_pico,
            source,
            self.markup,
            charge_pico,
        )
        .execute(connection)
        .await?;
        Ok(inserted.last_insert_rowid())
    }

    async fn add_to_daily_row(&self, connection: &mut SqliteConnection) -> Result<(), WriteError> {
        let prompt = as_integer(self.tokens.prompt).unwrap_or(0);
        let completion = as_integer(self.tokens.completion).unwrap_or(0);
        let (cost_pico, charge_pico) = (self.cost.amount.pico(), self.charge.pico());
        sqlx::query!(
            "INSERT INTO daily_usage (
                 org_id, day, user_id, model, requests, prompt_tokens, completion_tokens, cost_pico_usd,
                 charge_pico_usd, first_activity_at_ms, last_activity_at_ms
             )
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10)
             ON CONFLICT (org_id, day, user_id, model) DO UPDATE
             SET requests = requests + excluded.requests,
                 prompt_tokens = prompt_tokens + excluded.prompt_tokens,
                 completion_tokens = completion_tokens + excluded.completion_tokens,
                 cost_pico_usd = cost_pico_usd + excluded.cost_pico_usd,
                 charge_pico_usd = charge_pico_usd + excluded.charge_pico_usd,
                 first_activity_at_ms = min(first_activity_at_ms, excluded.first_activity_at_ms),
                 last_activity_at_ms = max(last_activity_at_ms, excluded.last_activity_at_ms)",
            self.org_id,
            self.day,
            self.user_id,
            self.model,
            self.requests,
            prompt,
            completion,
            cost_pico,
            charge_pico,
            self.occurred_at_ms,
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}
