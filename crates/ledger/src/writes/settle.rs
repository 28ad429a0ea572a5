//! W3: a call becomes an entry and part of a daily row.

use std::collections::HashMap;

use jiff::Timestamp;
use metering::{
    BillingZone, Cost, CostSource, Markup, PicoUsd, Report, Settlement, Tokens, booked_model,
    instant_of_generation,
};
use sqlx::SqliteConnection;

use crate::CallId;
use crate::error::WriteError;
use crate::writer::WriteTogether;
use crate::writes::batch::Batch;
use crate::writes::booking::{EntryKind, NewEntry, book_in, next_id};
use crate::writes::calls::{CallRow, CallState, as_json, save_in};
use crate::writes::memory::Memory;

/// A call whose cost is known.
#[derive(Debug, Clone)]
pub struct Settle {
    /// The call.
    pub call_id: CallId,
    /// `OpenRouter`'s id of what it bills, where W2 may not have recorded it.
    pub generation_id: Option<String>,
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

/// A call with its cost, about to be booked.
struct Booking<'a> {
    settle: &'a Settle,
    call: CallRow,
    known: Settlement,
    cost: Cost,
    source: CostSource,
    charge: PicoUsd,
    instant: Timestamp,
    /// `YYYY-MM-DD` in the organisation's zone.
    day: String,
}

impl WriteTogether for Settle {
    type Answer = Settled;

    async fn add_to(
        batch: &mut Batch,
        settles: &[&Self],
        memory: &mut Memory,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<Settled>, WriteError> {
        let mut calls = memory.take(settles.iter().map(|settle| settle.call_id), connection).await?;
        for (settle, call) in settles.iter().zip(&mut calls) {
            call.generation_id = call.generation_id.take().or_else(|| settle.generation_id.clone());
        }
        let generations = generations_to_book(&calls)?;
        // Clashes are rare. Where the next id is known, the batch is to stop at one, and then each is settled alone, with nothing
        // known, which asks first.
        let (first_id, elsewhere) = match memory.next_entry_id {
            Some(id) => {
                stop_at_clash(batch, generations);
                (id, HashMap::new())
            }
            None => (next_id(connection).await?, booked_elsewhere(generations, connection).await?),
        };
        let mut answers = Vec::with_capacity(settles.len());
        let (mut bookings, mut ended) = (Vec::with_capacity(settles.len()), Vec::new());
        for (settle, call) in settles.iter().zip(calls) {
            let clash = call.generation_id.as_ref().and_then(|generation_id| elsewhere.get(generation_id));
            match (call.state, clash) {
                (CallState::Settled, _) => answers.push(Settled::Already),
                (CallState::Void, _) => return Err(call.refuse()),
                (_, Some(note)) => {
                    answers.push(Settled::Clash);
                    ended.push(settle.void_clash(call, note));
                }
                (_, None) => {
                    let booking = Booking::of(settle, call)?;
                    answers.push(Settled::Booked { charge: booking.charge });
                    bookings.push(booking);
                }
            }
        }
        if !bookings.is_empty() {
            let entries: Vec<_> = bookings.iter().map(Booking::entry).collect();
            book_in(batch, first_id, &entries)?;
        }
        memory.next_entry_id = i64::try_from(bookings.len()).ok().map(|booked| first_id + booked);
        ended.extend(bookings.into_iter().map(Booking::settled));
        save_in(batch, &ended)?;
        Ok(answers)
    }
}

impl Settle {
    /// Inside a write that does more.
    pub(crate) async fn apply(&self, connection: &mut SqliteConnection) -> Result<Settled, WriteError> {
        let mut batch = Batch::default();
        let answer = Self::add_to(&mut batch, &[self], &mut Memory::default(), connection).await?.pop();
        batch.run(connection).await?;
        answer.ok_or_else(|| WriteError::refused(format!("call {} was not settled", self.call_id)))
    }

    fn void_clash(&self, mut call: CallRow, note: &str) -> CallRow {
        call.state = CallState::Void;
        call.outcome = Some("clash".to_owned());
        call.closed_at_ms = call.closed_at_ms.or(Some(self.booked_at.as_millisecond()));
        call.next_ask_at_ms = None;
        call.note = Some(note.to_owned());
        call
    }

    /// The biller's clock where the generation id carries it, else what the answer told, else ours at admission.
    fn instant_of(&self, call: &CallRow) -> Result<Timestamp, WriteError> {
        let by_generation = call.generation_id.as_deref().and_then(instant_of_generation);
        match by_generation.or(self.created_at) {
            Some(instant) => Ok(instant),
            None => Timestamp::from_millisecond(call.admitted_at_ms).map_err(WriteError::refused),
        }
    }
}

impl<'a> Booking<'a> {
    fn of(settle: &'a Settle, call: CallRow) -> Result<Self, WriteError> {
        let known = settle.settlement.clone().merge(told_before(&call));
        let (source, cost) = known
            .cost()
            .map(|(source, cost)| (source, cost.clone()))
            .ok_or_else(|| WriteError::refused(format!("the cost of call {} is unknown", call.id)))?;
        let charge = Markup::parse(&call.markup)
            .and_then(|markup| markup.charge(cost.amount))
            .map_err(WriteError::refused)?;
        let instant = settle.instant_of(&call)?;
        let day = settle.zone.day_of(instant).to_string();
        Ok(Self { settle, call, known, cost, source, charge, instant, day })
    }

    fn model(&self) -> &str {
        booked_model(&self.call.model_asked, self.known.model())
    }

    fn entry(&self) -> NewEntry<'_> {
        let call = &self.call;
        NewEntry {
            kind: EntryKind::Call,
            call_id: Some(&call.id),
            generation_id: call.generation_id.as_deref(),
            org_id: &call.org_id,
            user_id: &call.user_id,
            model: self.model(),
            model_asked: Some(&call.model_asked),
            provider: self.known.provider(),
            day: &self.day,
            occurred_at_ms: self.instant.as_millisecond(),
            booked_at: self.settle.booked_at,
            requests: 1,
            tokens: self.known.tokens(),
            source: self.source,
            cost: &self.cost,
            markup: &call.markup,
            charge: self.charge,
        }
    }

    /// The call once it is booked.
    fn settled(self) -> CallRow {
        let model = self.model().to_owned();
        let Self { settle, mut call, .. } = self;
        call.state = CallState::Settled;
        call.outcome = settle.outcome.map(str::to_owned).or(call.outcome);
        call.http_status = call.http_status.or(settle.http_status.map(i64::from));
        call.closed_at_ms = call.closed_at_ms.or(Some(settle.booked_at.as_millisecond()));
        call.next_ask_at_ms = None;
        call.model_served = Some(model);
        call
    }
}

/// The generation ids under which these calls will be booked, as JSON.
fn generations_to_book(calls: &[CallRow]) -> Result<String, WriteError> {
    let settling = calls.iter().filter(|call| call.state != CallState::Settled);
    as_json(settling.filter_map(|call| call.generation_id.as_deref()))
}

/// Has the batch end here with an error where one of these generations has its settling entry already.
fn stop_at_clash(batch: &mut Batch, generations: String) {
    batch.stop_where(
        "EXISTS (
             SELECT 1
             FROM json_each(?) AS wanted
             WHERE EXISTS (SELECT 1 FROM entries WHERE generation_id = wanted.value AND kind <> 'adjustment')
                 OR EXISTS (SELECT 1 FROM statement_matches WHERE generation_id = wanted.value)
         )",
        generations,
    );
}

/// Those of these generations that have their settling entries already, each with who booked it, in words.
async fn booked_elsewhere(
    generations: String,
    connection: &mut SqliteConnection,
) -> Result<HashMap<String, &'static str>, WriteError> {
    let booked = sqlx::query!(
        "SELECT generation_id AS 'generation_id!: String', booked_by AS 'booked_by!: String'
         FROM (
             SELECT
                 CAST(wanted.value AS TEXT) AS generation_id,
                 coalesce(
                     (SELECT kind FROM entries WHERE generation_id = wanted.value AND kind <> 'adjustment'),
                     (SELECT 'match' FROM statement_matches WHERE generation_id = wanted.value)
                 ) AS booked_by
             FROM json_each(?1) AS wanted
         )
         WHERE booked_by IS NOT NULL",
        generations,
    )
    .fetch_all(connection)
    .await?;
    let booked = booked.into_iter().map(|generation| {
        let note = match generation.booked_by.as_str() {
            "call" => "another call has already booked this generation id",
            "match" => "an entry without an id stands for this generation already",
            _ => "a statement of OpenRouter has already booked this generation id as unattributed",
        };
        (generation.generation_id, note)
    });
    Ok(booked.collect())
}

/// What the answer told before it broke off, as recorded with the call. Its counts are those of the moment it
/// broke off, so anybody else's are better.
fn told_before(call: &CallRow) -> Settlement {
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
