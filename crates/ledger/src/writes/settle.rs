//! W3: a call becomes an entry and part of a daily row.

use jiff::Timestamp;
use metering::{
    BillingZone, Cost, CostSource, Markup, PicoUsd, Report, Settlement, Tokens, booked_model,
    instant_of_generation,
};
use sqlx::SqliteConnection;

use crate::CallId;
use crate::error::WriteError;
use crate::seal::{seal_call, seal_entry};
use crate::writer::Write;
use crate::writes::unsettled::as_integer;

/// A call whose cost is known.
#[derive(Debug, Clone)]
pub struct Settle {
    /// The call.
    pub call_id: CallId,
    /// All that is known of it; its cost must be.
    pub settlement: Settlement,
    /// How the answer ended, in a word; `None` leaves what is recorded.
    pub outcome: Option<&'static str>,
    /// The answer's HTTP status, where it is not recorded yet.
    pub http_status: Option<u16>,
    /// Where the answer itself tells when it was made (`created`), for a call without a generation id.
    pub created_at: Option<Timestamp>,
    /// The zone whose day it is booked on.
    pub zone: BillingZone,
    /// When it is booked.
    pub booked_at: Timestamp,
}

/// What settling came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Settled {
    /// The entry is booked.
    Booked {
        /// What the organisation pays.
        charge: PicoUsd,
    },
    /// The call was settled before; nothing was added.
    Already,
    /// Another call has booked this generation id; this one is void and says so.
    Clash,
}

/// The call as recorded.
struct Call {
    org_id: String,
    user_id: String,
    model_asked: String,
    markup: String,
    state: String,
    generation_id: Option<String>,
    admitted_at_ms: i64,
    model_served: Option<String>,
    provider: Option<String>,
    prompt_tokens: Option<i64>,
    completion_tokens: Option<i64>,
    reasoning_tokens: Option<i64>,
    cached_tokens: Option<i64>,
}

/// The line that goes into the ledger.
struct Entry<'a> {
    call: &'a Call,
    model: &'a str,
    provider: Option<&'a str>,
    day: String,
    occurred_at_ms: i64,
    tokens: Tokens,
    source: CostSource,
    cost: &'a Cost,
    charge: PicoUsd,
}

impl Write for Settle {
    type Answer = Settled;

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Settled, WriteError> {
        let call = read_call(self.call_id, connection).await?;
        match call.state.as_str() {
            "settled" => return Ok(Settled::Already),
            "void" => return Err(WriteError::refused(format!("call {} is void", self.call_id))),
            _ => {}
        }
        if booked_elsewhere(&call, connection).await? {
            void_clash(self, connection).await?;
            return Ok(Settled::Clash);
        }
        let known = self.settlement.clone().merge(told_before(&call));
        let entry = entry_of(self, &call, &known)?;
        insert_entry(self, &entry, connection).await?;
        add_to_daily_row(&entry, connection).await?;
        mark_settled(self, &entry, connection).await?;
        Ok(Settled::Booked { charge: entry.charge })
    }
}

async fn read_call(call_id: CallId, connection: &mut SqliteConnection) -> Result<Call, WriteError> {
    let id = call_id.to_string();
    let call = sqlx::query_as!(
        Call,
        "SELECT org_id, user_id, model_asked, markup, state, generation_id, admitted_at_ms, model_served,
                provider, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens
         FROM calls
         WHERE id = ?1",
        id,
    )
    .fetch_optional(connection)
    .await?;
    call.ok_or_else(|| WriteError::refused(format!("call {call_id} is not recorded")))
}

async fn booked_elsewhere(call: &Call, connection: &mut SqliteConnection) -> Result<bool, WriteError> {
    let Some(generation_id) = &call.generation_id else { return Ok(false) };
    let booked = sqlx::query_scalar!(
        "SELECT count(*)
         FROM entries
         WHERE generation_id = ?1 AND kind = 'call'",
        generation_id,
    )
    .fetch_one(connection)
    .await?;
    Ok(booked > 0)
}

async fn void_clash(settle: &Settle, connection: &mut SqliteConnection) -> Result<(), WriteError> {
    let (id, booked_at_ms) = (settle.call_id.to_string(), settle.booked_at.as_millisecond());
    sqlx::query!(
        "UPDATE calls
         SET state = 'void', outcome = 'clash', closed_at_ms = coalesce(closed_at_ms, ?2), next_ask_at_ms = NULL,
             note = 'another call has already booked this generation id'
         WHERE id = ?1",
        id,
        booked_at_ms,
    )
    .execute(&mut *connection)
    .await?;
    Ok(seal_call(&id, connection).await?)
}

/// What the answer told before it broke off, as recorded with the call. Its counts are those of the moment it
/// broke off, so anybody else's are better.
fn told_before(call: &Call) -> Settlement {
    let count = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok());
    let names = Report {
        model: call.model_served.clone(),
        provider: call.provider.clone(),
        ..Report::empty(CostSource::Response)
    };
    let counts = Report {
        tokens: Tokens {
            prompt: count(call.prompt_tokens),
            completion: count(call.completion_tokens),
            reasoning: count(call.reasoning_tokens),
            cached: count(call.cached_tokens),
        },
        ..Report::empty(CostSource::Statement)
    };
    Settlement::of(names).merge(Settlement::of(counts))
}

fn entry_of<'a>(settle: &Settle, call: &'a Call, known: &'a Settlement) -> Result<Entry<'a>, WriteError> {
    let Some((source, cost)) = known.cost() else {
        return Err(WriteError::refused("a call without a known cost cannot be settled"));
    };
    let charge = Markup::parse(&call.markup)
        .and_then(|markup| markup.charge(cost.amount))
        .map_err(WriteError::refused)?;
    let instant = instant_of(settle, call)?;
    Ok(Entry {
        call,
        model: booked_model(&call.model_asked, known.model()),
        provider: known.provider(),
        day: settle.zone.day_of(instant).to_string(),
        occurred_at_ms: instant.as_millisecond(),
        tokens: known.tokens(),
        source,
        cost,
        charge,
    })
}

/// The biller's clock where the generation id carries it, else what the answer told, else ours at admission.
fn instant_of(settle: &Settle, call: &Call) -> Result<Timestamp, WriteError> {
    let by_generation = call.generation_id.as_deref().and_then(instant_of_generation);
    match by_generation.or(settle.created_at) {
        Some(instant) => Ok(instant),
        None => Timestamp::from_millisecond(call.admitted_at_ms).map_err(WriteError::refused),
    }
}

async fn insert_entry(
    settle: &Settle,
    entry: &Entry<'_>,
    connection: &mut SqliteConnection,
) -> Result<(), WriteError> {
    let (call, tokens) = (entry.call, entry.tokens);
    let (call_id, booked_at_ms) = (settle.call_id.to_string(), settle.booked_at.as_millisecond());
    let [prompt, completion, reasoning, cached] =
        [tokens.prompt, tokens.completion, tokens.reasoning, tokens.cached].map(as_integer);
    let (cost_pico, charge_pico) = (entry.cost.amount.pico(), entry.charge.pico());
    let source = entry.source.as_str();
    let inserted = sqlx::query!(
        "INSERT INTO entries (
             kind, call_id, generation_id, org_id, user_id, model, model_asked, provider, day, occurred_at_ms,
             booked_at_ms, requests, prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens,
             cost_text, cost_exact, cost_pico_usd, cost_source, markup, charge_pico_usd
         )
         VALUES ('call', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        call_id,
        call.generation_id,
        call.org_id,
        call.user_id,
        entry.model,
        call.model_asked,
        entry.provider,
        entry.day,
        entry.occurred_at_ms,
        booked_at_ms,
        prompt,
        completion,
        reasoning,
        cached,
        entry.cost.text,
        entry.cost.exact,
        cost_pico,
        source,
        call.markup,
        charge_pico,
    )
    .execute(&mut *connection)
    .await?;
    Ok(seal_entry(inserted.last_insert_rowid(), connection).await?)
}

async fn add_to_daily_row(entry: &Entry<'_>, connection: &mut SqliteConnection) -> Result<(), WriteError> {
    let prompt = as_integer(entry.tokens.prompt).unwrap_or(0);
    let completion = as_integer(entry.tokens.completion).unwrap_or(0);
    let (cost_pico, charge_pico) = (entry.cost.amount.pico(), entry.charge.pico());
    sqlx::query!(
        "INSERT INTO daily_usage (
             org_id, day, user_id, model, requests, prompt_tokens, completion_tokens, cost_pico_usd,
             charge_pico_usd, first_activity_at_ms, last_activity_at_ms
         )
         VALUES (?1, ?2, ?3, ?4, 1, ?5, ?6, ?7, ?8, ?9, ?9)
         ON CONFLICT (org_id, day, user_id, model) DO UPDATE
         SET requests = requests + 1,
             prompt_tokens = prompt_tokens + excluded.prompt_tokens,
             completion_tokens = completion_tokens + excluded.completion_tokens,
             cost_pico_usd = cost_pico_usd + excluded.cost_pico_usd,
             charge_pico_usd = charge_pico_usd + excluded.charge_pico_usd,
             first_activity_at_ms = min(first_activity_at_ms, excluded.first_activity_at_ms),
             last_activity_at_ms = max(last_activity_at_ms, excluded.last_activity_at_ms)",
        entry.call.org_id,
        entry.day,
        entry.call.user_id,
        entry.model,
        prompt,
        completion,
        cost_pico,
        charge_pico,
        entry.occurred_at_ms,
    )
    .execute(connection)
    .await?;
    Ok(())
}

async fn mark_settled(
    settle: &Settle,
    entry: &Entry<'_>,
    connection: &mut SqliteConnection,
) -> Result<(), WriteError> {
    let (id, booked_at_ms) = (settle.call_id.to_string(), settle.booked_at.as_millisecond());
    sqlx::query!(
        "UPDATE calls
         SET state = 'settled', outcome = coalesce(?2, outcome), http_status = coalesce(http_status, ?3),
             closed_at_ms = coalesce(closed_at_ms, ?4), next_ask_at_ms = NULL, model_served = ?5
         WHERE id = ?1",
        id,
        settle.outcome,
        settle.http_status,
        booked_at_ms,
        entry.model,
    )
    .execute(&mut *connection)
    .await?;
    Ok(seal_call(&id, connection).await?)
}
