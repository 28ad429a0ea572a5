//! A statement of `OpenRouter` is taken: what it asks to be booked is booked, and the day is marked.

use std::sync::Arc;

use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use metering::{
    Cost, CostSource, ExternalUser, Markup, PicoUsd, Report, Settlement, StatedGeneration, Statement,
    StatementPlan, StatementStep, Told, UserId, plan_statement,
};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

use crate::error::WriteError;
use crate::reads::statement::{day_books, refuse_other_keys};
use crate::writer::Write;
use crate::writes::adjust::Adjustment;
use crate::writes::settle::{Settle, Settled};
use crate::writes::unsettled::{End, EndedAs, Ending, one_call};
use crate::{Asker, CallId, Organisation};

/// Bookings in one transaction: calls that are admitted meanwhile wait for it, a tenth of a second or so.
const MOST_STEPS: usize = 500;

/// How far the clock of whoever fetched a statement may be ahead.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(5);

/// What a generation without a model is booked under.
const NO_MODEL: &str = "unknown";

/// A statement to be taken.
pub(crate) struct TakeStatement {
    pub(crate) statement: Statement,
    pub(crate) organisation: Arc<Organisation>,
    pub(crate) now: Timestamp,
}

/// What a statement came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementDay {
    /// The UTC day.
    pub day: Date,
    /// What `OpenRouter` billed since the ledger began.
    pub bill: PicoUsd,
    /// The day's entries, unattributed ones apart.
    pub ledger: PicoUsd,
    /// The day's unattributed entries.
    pub unattributed: PicoUsd,
    /// What is corrected by this statement.
    pub corrected: PicoUsd,
    /// The bill less ledger and unattributed.
    pub difference: PicoUsd,
    /// Over for 48 hours, and no difference.
    pub is_final: bool,
    /// Whether it was over for 48 hours when the statement was fetched.
    pub is_late_enough: bool,
    /// Generations in the statement.
    pub generations: u64,
    /// What was done, or would be.
    pub done: StatementCounts,
    /// What waits for the next time.
    pub left: u64,
    /// What is left to be told.
    pub told: Told,
}

/// How often each thing was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct StatementCounts {
    /// Open calls that were settled.
    pub settled: u64,
    /// Orphans that were settled.
    pub orphans_settled: u64,
    /// Entries without an id that were recognised.
    pub recognised: u64,
    /// Generations that were booked as unattributed.
    pub unattributed: u64,
    /// Generations whose cost was corrected.
    pub corrected: u64,
    /// Orphans that were proved unbilled.
    pub voided: u64,
}

/// The settling entry of a generation.
struct Base {
    user_id: String,
    model: String,
    provider: Option<String>,
    markup: String,
    day: String,
    occurred_at_ms: i64,
    corrections: i64,
}

impl StatementCounts {
    fn of(steps: &[StatementStep]) -> Self {
        let mut counts = Self::default();
        for step in steps {
            *match step {
                StatementStep::Settle { .. } => &mut counts.settled,
                StatementStep::SettleOrphan { .. } => &mut counts.orphans_settled,
                StatementStep::Recognise { .. } => &mut counts.recognised,
                StatementStep::BookUnattributed { .. } => &mut counts.unattributed,
                StatementStep::Correct { .. } => &mut counts.corrected,
                StatementStep::Void { .. } => &mut counts.voided,
            } += 1;
        }
        counts
    }

    /// Both together.
    #[must_use]
    pub const fn and(self, more: Self) -> Self {
        Self {
            settled: self.settled + more.settled,
            orphans_settled: self.orphans_settled + more.orphans_settled,
            recognised: self.recognised + more.recognised,
            unattributed: self.unattributed + more.unattributed,
            corrected: self.corrected + more.corrected,
            voided: self.voided + more.voided,
        }
    }

    /// Nothing at all.
    #[must_use]
    pub fn are_none(&self) -> bool {
        *self == Self::default()
    }
}

impl StatementDay {
    pub(crate) fn of_plan(statement: &Statement, plan: &StatementPlan) -> Self {
        Self {
            day: statement.day,
            bill: plan.bill,
            ledger: plan.ledger,
            unattributed: plan.unattributed,
            corrected: plan.corrected,
            difference: plan.difference,
            is_final: plan.is_final,
            is_late_enough: statement.is_late_enough().unwrap_or(false),
            generations: statement.generations.len() as u64,
            done: StatementCounts::of(&plan.steps),
            left: 0,
            told: plan.told,
        }
    }
}

impl Write for TakeStatement {
    type Answer = StatementDay;

    async fn apply(&self, connection: &mut SqliteConnection) -> Result<StatementDay, WriteError> {
        let statement = &self.statement;
        self.refuse_what_came_too_early_or_late(connection).await?;
        refuse_other_keys(statement, connection).await?;
        let books = day_books(statement, connection).await?;
        let plan = plan_statement(statement, &books).map_err(WriteError::refused)?;
        let now = plan.steps.get(..MOST_STEPS).unwrap_or(&plan.steps);
        for step in now {
            self.book(step, connection).await?;
        }
        let left = (plan.steps.len() - now.len()) as u64;
        let mut day = StatementDay::of_plan(statement, &plan);
        day.done = StatementCounts::of(now);
        day.left = left;
        if left > 0 {
            day.is_final = false;
            return Ok(day);
        }
        // What was booked is added up once more: a plan that was carried out wrongly is taken back whole.
        let after = day_books(statement, connection).await?;
        if (after.ledger, after.unattributed) != (plan.ledger, plan.unattributed) {
            return Err(WriteError::refused(format!(
                "the statement of {} did not come to what was planned: {} and {} instead of {} and {}",
                statement.day, after.ledger, after.unattributed, plan.ledger, plan.unattributed
            )));
        }
        self.record(&day, connection).await?;
        Ok(day)
    }
}

impl TakeStatement {
    async fn refuse_what_came_too_early_or_late(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<(), WriteError> {
        let Statement { day, fetched_at, .. } = &self.statement;
        let (_, end) = self.statement.bounds().map_err(WriteError::refused)?;
        if *fetched_at < end {
            return Err(WriteError::refused(format!("{day} was not over when its statement was fetched")));
        }
        if fetched_at.duration_since(self.now) > CLOCKS_DIFFER {
            return Err(WriteError::refused(format!("the statement of {day} was fetched in the future")));
        }
        let text = day.to_string();
        let taken = sqlx::query_scalar!("SELECT fetched_at_ms FROM statement_days WHERE day = ?1", text)
            .fetch_optional(connection)
            .await?;
        if taken.is_some_and(|taken_ms| taken_ms > fetched_at.as_millisecond()) {
            return Err(WriteError::refused(format!("a later statement of {day} has been taken")));
        }
        Ok(())
    }

    fn stated(&self, generation: usize) -> Result<&StatedGeneration, WriteError> {
        let stated = self.statement.generations.get(generation);
        stated.ok_or_else(|| WriteError::refused("the plan names a generation that is not there"))
    }

    async fn book(&self, step: &StatementStep, connection: &mut SqliteConnection) -> Result<(), WriteError> {
        match step {
            StatementStep::Settle { call_id, generation } => {
                self.settle(call_id, self.stated(*generation)?, connection).await
            }
            StatementStep::SettleOrphan { call_id, generation } => {
                let stated = self.stated(*generation)?;
                name_orphan(call_id, &stated.generation_id, connection).await?;
                self.settle(call_id, stated, connection).await
            }
            StatementStep::Recognise { entry_id, generation } => {
                recognise(*entry_id, self.stated(*generation)?, connection).await
            }
            StatementStep::BookUnattributed { generation } => {
                self.book_unattributed(self.stated(*generation)?, connection).await
            }
            StatementStep::Correct { generation, difference } => {
                self.correct(self.stated(*generation)?, *difference, connection).await
            }
            StatementStep::Void { call_id } => self.end_unbilled(call_id, connection).await,
        }
    }

    async fn settle(
        &self,
        call_id: &str,
        stated: &StatedGeneration,
        connection: &mut SqliteConnection,
    ) -> Result<(), WriteError> {
        let report = Report {
            source: CostSource::Statement,
            cost: Some(stated.cost.clone()),
            tokens: stated.tokens,
            model: stated.model.clone(),
            provider: None,
        };
        let settle = Settle {
            call_id: read_id(call_id)?,
            settlement: Settlement::of(report),
            outcome: None,
            http_status: None,
            created_at: Some(stated.at),
            zone: self.organisation.zone.clone(),
            booked_at: self.now,
        };
        match settle.apply(connection).await? {
            Settled::Booked { .. } => Ok(()),
            other => Err(WriteError::refused(format!("call {call_id} cannot be settled: {other:?}"))),
        }
    }

    async fn book_unattributed(
        &self,
        stated: &StatedGeneration,
        connection: &mut SqliteConnection,
    ) -> Result<(), WriteError> {
        let generation_id = &stated.generation_id;
        let adjustment = Adjustment {
            reference: format!("statement:{generation_id}"),
            note: format!(
                "OpenRouter's statement of {} has it; no call through the sidecar made it",
                self.statement.day
            ),
            unattributed: true,
            generation_id: Some(generation_id.clone()),
            user: self.user_of(stated.external_user.as_deref(), connection).await?,
            model: stated.model.clone().filter(|model| !model.is_empty()).unwrap_or(NO_MODEL.to_owned()),
            provider: None,
            day: self.organisation.zone.day_of(stated.at),
            occurred_at: stated.at,
            requests: i64::try_from(stated.requests).map_err(WriteError::refused)?,
            tokens: stated.tokens,
            markup: self.organisation.markup,
            charge: self.organisation.markup.charge(stated.cost.amount).map_err(WriteError::refused)?,
            cost: stated.cost.clone(),
        };
        self.book_once(&adjustment, connection).await
    }

    /// The one user that `OpenRouter` was told this of, else the user for what is nobody's.
    async fn user_of(
        &self,
        external_user: Option<&str>,
        connection: &mut SqliteConnection,
    ) -> Result<Asker, WriteError> {
        let known =
            sqlx::query_scalar!("SELECT user_id FROM users WHERE external_user = ?1 LIMIT 2", external_user)
                .fetch_all(connection)
                .await?;
        let user_id = match &known[..] {
            [user_id] => UserId::new(user_id),
            _ => UserId::unattributed(),
        };
        Ok(Asker {
            external_user: ExternalUser::of(&self.organisation.id, &user_id),
            user_id,
            name: None,
            email: None,
            role: None,
        })
    }

    /// The further difference is booked beside what there is, at the markup of that.
    async fn correct(
        &self,
        stated: &StatedGeneration,
        difference: PicoUsd,
        connection: &mut SqliteConnection,
    ) -> Result<(), WriteError> {
        let generation_id = &stated.generation_id;
        let base = base_of(generation_id, connection).await?;
        let markup = Markup::parse(&base.markup).map_err(WriteError::refused)?;
        let user_id = UserId::new(base.user_id);
        let adjustment = Adjustment {
            reference: format!("statement:{generation_id}:{}:{}", base.corrections + 1, stated.cost.amount),
            note: format!("OpenRouter's statement of {} says {}", self.statement.day, stated.cost.amount),
            unattributed: false,
            generation_id: Some(generation_id.clone()),
            user: Asker {
                external_user: ExternalUser::of(&self.organisation.id, &user_id),
                user_id,
                name: None,
                email: None,
                role: None,
            },
            model: base.model,
            provider: base.provider,
            day: base.day.parse().map_err(WriteError::refused)?,
            occurred_at: Timestamp::from_millisecond(base.occurred_at_ms).map_err(WriteError::refused)?,
            requests: 0,
            tokens: metering::Tokens::default(),
            cost: Cost { amount: difference, text: difference.to_string(), exact: true },
            markup,
            charge: markup.charge(difference).map_err(WriteError::refused)?,
        };
        self.book_once(&adjustment, connection).await
    }

    async fn book_once(
        &self,
        adjustment: &Adjustment,
        connection: &mut SqliteConnection,
    ) -> Result<(), WriteError> {
        if adjustment.book(self.organisation.id.as_str(), self.now, connection).await? {
            return Ok(());
        }
        Err(WriteError::refused(format!("{} is booked already", adjustment.reference)))
    }

    async fn end_unbilled(&self, call_id: &str, connection: &mut SqliteConnection) -> Result<(), WriteError> {
        let note = format!(
            "OpenRouter's final statement of {} has nothing that could be this call",
            self.statement.day
        );
        let ending = Ending {
            call_id: read_id(call_id)?,
            outcome: "unbilled",
            note,
            http_status: None,
            closed_at: self.now,
        };
        End(EndedAs::Void, ending).apply(connection).await
    }

    async fn record(&self, day: &StatementDay, connection: &mut SqliteConnection) -> Result<(), WriteError> {
        let (date, key_hashes) = (day.day.to_string(), self.statement.key_hashes.join(" "));
        let (bill_text, bill) = (day.bill.to_string(), day.bill.pico());
        let (ledger, unattributed) = (day.ledger.pico(), day.unattributed.pico());
        let difference = day.difference.pico();
        let generations = i64::try_from(day.generations).map_err(WriteError::refused)?;
        let (fetched_at_ms, taken_at_ms) =
            (self.statement.fetched_at.as_millisecond(), self.now.as_millisecond());
        sqlx::query!(
            "INSERT INTO statement_days (
                 day, key_hashes, bill_text, bill_pico_usd, ledger_pico_usd, unattributed_pico_usd,
                 difference_pico_usd, generations, final, fetched_at_ms, taken_at_ms
             )
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
             ON CONFLICT (day) DO UPDATE
             SET key_hashes = ?2, bill_text = ?3, bill_pico_usd = ?4, ledger_pico_usd = ?5,
                 unattributed_pico_usd = ?6, difference_pico_usd = ?7, generations = ?8, final = ?9,
                 fetched_at_ms = ?10, taken_at_ms = ?11",
            date,
            key_hashes,
            bill_text,
            bill,
            ledger,
            unattributed,
            difference,
            generations,
            day.is_final,
            fetched_at_ms,
            taken_at_ms,
        )
        .execute(connection)
        .await?;
        Ok(())
    }
}

fn read_id(call_id: &str) -> Result<CallId, WriteError> {
    call_id.parse().map_err(WriteError::refused)
}

/// The generation of an orphan is known at last. What settles it seals it.
async fn name_orphan(
    call_id: &str,
    generation_id: &str,
    connection: &mut SqliteConnection,
) -> Result<(), WriteError> {
    let done = sqlx::query!(
        "UPDATE calls
         SET generation_id = ?2, note = 'its generation was found in OpenRouter''s statement'
         WHERE id = ?1 AND state = 'orphan' AND generation_id IS NULL",
        call_id,
        generation_id,
    )
    .execute(connection)
    .await?;
    one_call(&done, read_id(call_id)?)
}

async fn recognise(
    entry_id: i64,
    stated: &StatedGeneration,
    connection: &mut SqliteConnection,
) -> Result<(), WriteError> {
    let at_ms = stated.at.as_millisecond();
    sqlx::query!(
        "INSERT INTO statement_matches (entry_id, generation_id, occurred_at_ms)
         VALUES (?1, ?2, ?3)",
        entry_id,
        stated.generation_id,
        at_ms,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// The entry that a correction is about, by its own id or by the one it was recognised by.
async fn base_of(generation_id: &str, connection: &mut SqliteConnection) -> Result<Base, WriteError> {
    let base = sqlx::query_as!(
        Base,
        "SELECT
             entries.user_id AS 'user_id!', model AS 'model!', provider, markup AS 'markup!', day AS 'day!',
             coalesce(matches.occurred_at_ms, entries.occurred_at_ms) AS 'occurred_at_ms!: i64',
             (SELECT count(*) FROM entries WHERE generation_id = ?1 AND kind = 'adjustment') AS 'corrections!: i64'
         FROM entries
         LEFT JOIN statement_matches AS matches ON matches.entry_id = entries.id
         WHERE entries.id = coalesce(
             (SELECT id FROM entries WHERE generation_id = ?1 AND kind <> 'adjustment'),
             (SELECT entry_id FROM statement_matches WHERE generation_id = ?1)
         )",
        generation_id,
    )
    .fetch_optional(connection)
    .await?;
    base.ok_or_else(|| WriteError::refused(format!("{generation_id} is to be corrected and is not booked")))
}
