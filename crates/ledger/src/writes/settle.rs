//! W3: a call becomes an entry and part of a daily row.

use jiff::Timestamp;
use metering::{
    BillingZone, CostSource, Markup, PicoUsd, Report, Settlement, Tokens, booked_model, instant_of_generation,
};
use sqlx::SqliteConnection;

use crate::CallId;
use crate::error::WriteError;
use crate::seal::seal_call;
use crate::writer::Write;
use crate::writes::booking::{EntryKind, NewEntry};

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
    /// This generation id is booked already, for another call or as unattributed; this call is void and says so.
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

impl Write for Settle {
    type Answer = Settled;

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<Settled, WriteError> {
        let call = read_call(self.call_id, connection).await?;
        match call.state.as_str() {
            "settled" => return Ok(Settled::Already),
            "void" => return Err(WriteError::refused(format!("call {} is void", self.call_id))),
            _ => {}
        }
        if let Some(note) = booked_elsewhere(&call, connection).await? {
            void_clash(self, note, connection).await?;
            return Ok(Settled::Clash);
        }
        let known = self.settlement.clone().merge(told_before(&call));
        let charge = self.book(&call, &known, connection).await?;
        let model = booked_model(&call.model_asked, known.model());
        mark_settled(self, model, connection).await?;
        Ok(Settled::Booked { charge })
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

/// Whether the call's generation has its settling entry already, in words.
async fn booked_elsewhere(
    call: &Call,
    connection: &mut SqliteConnection,
) -> Result<Option<&'static str>, WriteError> {
    let Some(generation_id) = &call.generation_id else { return Ok(None) };
    let booked = sqlx::query!(
        "SELECT
             (SELECT kind FROM entries WHERE generation_id = ?1 AND kind <> 'adjustment') AS 'kind?: String',
             EXISTS (SELECT 1 FROM statement_matches WHERE generation_id = ?1) AS 'is_matched!: bool'",
        generation_id,
    )
    .fetch_one(connection)
    .await?;
    Ok(match booked.kind.as_deref() {
        Some("call") => Some("another call has already booked this generation id"),
        Some(_) => Some("a statement of OpenRouter has already booked this generation id as unattributed"),
        None => booked.is_matched.then_some("an entry without an id stands for this generation already"),
    })
}

async fn void_clash(
    settle: &Settle,
    note: &str,
    connection: &mut SqliteConnection,
) -> Result<(), WriteError> {
    let (id, booked_at_ms) = (settle.call_id.to_string(), settle.booked_at.as_millisecond());
    sqlx::query!(
        "UPDATE calls
         SET state = 'void', outcome = 'clash', closed_at_ms = coalesce(closed_at_ms, ?2), next_ask_at_ms = NULL,
             note = ?3
         WHERE id = ?1",
        id,
        booked_at_ms,
        note,
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

impl Settle {
    /// The entry and its part of the daily row; answers the charge.
    async fn book(
        &self,
        call: &Call,
        known: &Settlement,
        connection: &mut SqliteConnection,
    ) -> Result<PicoUsd, WriteError> {
        let Some((source, cost)) = known.cost() else {
            return Err(WriteError::refused("a call without a known cost cannot be settled"));
        };
        let charge = Markup::parse(&call.markup)
            .and_then(|markup| markup.charge(cost.amount))
            .map_err(WriteError::refused)?;
        let instant = instant_of(self, call)?;
        let entry = NewEntry {
            kind: EntryKind::Call,
            call_id: Some(&self.call_id.to_string()),
            generation_id: call.generation_id.as_deref(),
            org_id: &call.org_id,
            user_id: &call.user_id,
            model: booked_model(&call.model_asked, known.model()),
            model_asked: Some(&call.model_asked),
            provider: known.provider(),
            day: &self.zone.day_of(instant).to_string(),
            occurred_at_ms: instant.as_millisecond(),
            booked_at: self.booked_at,
            requests: 1,
            tokens: known.tokens(),
            source,
            cost,
            markup: &call.markup,
            charge,
        };
        entry.book(connection).await?;
        Ok(charge)
    }
}

/// The biller's clock where the generation id carries it, else what the answer told, else ours at admission.
fn instant_of(settle: &Settle, call: &Call) -> Result<Timestamp, WriteError> {
    let by_generation = call.generation_id.as_deref().and_then(instant_of_generation);
    match by_generation.or(settle.created_at) {
        Some(instant) => Ok(instant),
        None => Timestamp::from_millisecond(call.admitted_at_ms).map_err(WriteError::refused),
    }
}

async fn mark_settled(
    settle: &Settle,
    model: &str,
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
        model,
    )
    .execute(&mut *connection)
    .await?;
    Ok(seal_call(&id, connection).await?)
}
