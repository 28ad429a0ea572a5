//! A statement of `OpenRouter` is taken: what it asks to be booked is booked, and the day is marked.

mod book;

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use metering::{Statement, plan_statement};
use sqlx::SqliteConnection;

use crate::Organisation;
use crate::error::WriteError;
use crate::reads::statement::{day_books, refuse_other_keys};
use crate::statement_day::{StatementCounts, StatementDay};
use crate::writer::Write;

/// Bookings in one transaction: calls that are admitted meanwhile wait for it, a tenth of a second or so.
const MOST_STEPS: usize = 500;

/// How far the clock of whoever fetched a statement may be ahead.
const CLOCKS_DIFFER: SignedDuration = SignedDuration::from_mins(5);

/// A statement to be taken.
pub(crate) struct TakeStatement {
    pub(crate) statement: Statement,
    pub(crate) organisation: Arc<Organisation>,
    pub(crate) now: Timestamp,
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
