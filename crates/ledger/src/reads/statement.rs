//! What the ledger holds that a statement of one UTC day may concern, and what earlier statements came to.

use std::collections::HashSet;

use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use metering::{
    BookedGeneration, DayBooks, OpenGeneration, Orphan, PicoUsd, Statement, Unnamed, instant_of_generation,
};
use serde::{Deserialize, Serialize};
use sqlx::SqliteConnection;

use crate::LedgerReader;
use crate::error::{ReadError, WriteError};
use crate::statement_day::StatementDay;

/// Billing days around a UTC day: no zone is further away than a day, and neither is what was recognised.
const DAYS_AROUND: i64 = 2;

/// How long before and after its day a statement's generations may have been admitted here, milliseconds; more than enough.
const AROUND_MS: i64 = 3_600_000;

/// Days that are told: those that a statement can still be had of.
const RECORDED_DAYS: i64 = 32;

/// What somebody who fetches a statement has to know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatementFacts {
    /// The organisation's id.
    pub organisation_id: String,
    /// The organisation's name.
    pub organisation: String,
    /// When the ledger began to watch; `None`: it has not begun.
    pub began_at: Option<Timestamp>,
    /// Every key that was ever used here, by its hash.
    pub key_hashes: Vec<String>,
    /// The days that were compared, the newest first.
    pub days: Vec<RecordedDay>,
}

/// What the last statement of a day came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordedDay {
    /// The UTC day.
    pub day: Date,
    /// What `OpenRouter` billed.
    pub bill: PicoUsd,
    /// The day's entries then, unattributed ones apart.
    pub ledger: PicoUsd,
    /// The day's unattributed entries then.
    pub unattributed: PicoUsd,
    /// The bill less both.
    pub difference: PicoUsd,
    /// Over for 48 hours, and no difference.
    pub is_final: bool,
    /// When the statement was fetched.
    pub fetched_at: Timestamp,
}

/// A UTC day in the database's words.
struct Window {
    first_day: String,
    last_day: String,
    from_ms: i64,
    to_ms: i64,
}

impl LedgerReader {
    /// What whoever fetches a statement has to know.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn statement_facts(&self) -> Result<StatementFacts, ReadError> {
        let mut snapshot = self.pool.begin().await?;
        let mut days = recorded_days(RECORDED_DAYS, &mut snapshot).await?;
        for day in days.iter_mut().filter(|day| day.is_final) {
            // What came later, such as a cost that was told after a month, opens the day again.
            let Ok(window) = Window::of(day.day) else { continue };
            day.is_final = sums(&window, &mut snapshot).await? == (day.ledger, day.unattributed);
        }
        let organisation = sqlx::query!(
            "SELECT id, name
             FROM client_organizations
             ORDER BY is_active DESC, created_at, id
             LIMIT 1"
        )
        .fetch_one(&mut *snapshot)
        .await?;
        let facts = StatementFacts {
            organisation_id: organisation.id,
            organisation: organisation.name,
            began_at: began_at(&mut snapshot).await?,
            key_hashes: key_hashes(&mut snapshot).await?,
            days,
        };
        snapshot.rollback().await?;
        Ok(facts)
    }

    /// The last day that is final.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn last_final_day(&self) -> Result<Option<RecordedDay>, ReadError> {
        let mut connection = self.pool.acquire().await?;
        let days = recorded_days(RECORDED_DAYS, &mut connection).await?;
        Ok(days.into_iter().find(|day| day.is_final))
    }

    /// What [`take_statement`](crate::Ledger::take_statement) would come to. Nothing is written; the day may be one that is not
    /// over.
    ///
    /// # Errors
    /// As there.
    pub async fn compare_statement(&self, statement: &Statement) -> Result<StatementDay, WriteError> {
        let mut snapshot = self.pool.begin().await?;
        refuse_other_keys(statement, &mut snapshot).await?;
        let books = day_books(statement, &mut snapshot).await?;
        let plan = metering::plan_statement(statement, &books).map_err(WriteError::refused)?;
        snapshot.rollback().await?;
        Ok(StatementDay::of_plan(statement, &plan))
    }
}

/// A statement of some of the keys would make all calls of the others look unbilled.
pub(crate) async fn refuse_other_keys(
    statement: &Statement,
    connection: &mut SqliteConnection,
) -> Result<(), WriteError> {
    let used = key_hashes(connection).await?;
    match used.iter().find(|hash| !statement.key_hashes.contains(hash)) {
        Some(hash) => Err(WriteError::refused(format!("the statement is not of the key {hash} too"))),
        None => Ok(()),
    }
}

/// The present key's hash, and those of all keys that a poll ever asked about.
async fn key_hashes(connection: &mut SqliteConnection) -> Result<Vec<String>, sqlx::Error> {
    // Each step of the recursion finds the next hash by the index; a DISTINCT would read every poll there ever was.
    let hashes = sqlx::query_scalar!(
        "WITH RECURSIVE polled (hash) AS (
             SELECT min(key_hash) FROM reconciliations WHERE key_hash IS NOT NULL
             UNION ALL
             SELECT (SELECT min(key_hash) FROM reconciliations WHERE key_hash > polled.hash)
             FROM polled
             WHERE polled.hash IS NOT NULL
         )
         SELECT hash AS 'hash!: String' FROM polled WHERE hash IS NOT NULL
         UNION
         SELECT openrouter_key_hash FROM client_organizations WHERE openrouter_key_hash IS NOT NULL
         ORDER BY 1"
    )
    .fetch_all(connection)
    .await?;
    Ok(hashes)
}

/// The first poll or the first call, whichever was earlier.
async fn began_at(connection: &mut SqliteConnection) -> Result<Option<Timestamp>, sqlx::Error> {
    let first = sqlx::query!(
        "SELECT
             (SELECT polled_at_ms FROM reconciliations WHERE id >= 0 ORDER BY id LIMIT 1) AS 'poll?: i64',
             (SELECT admitted_at_ms FROM calls WHERE id >= '' ORDER BY id LIMIT 1) AS 'call?: i64'"
    )
    .fetch_one(connection)
    .await?;
    let first_ms = first.poll.into_iter().chain(first.call).min();
    Ok(first_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok()))
}

async fn recorded_days(
    limit: i64,
    connection: &mut SqliteConnection,
) -> Result<Vec<RecordedDay>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT day, bill_pico_usd, ledger_pico_usd, unattributed_pico_usd, difference_pico_usd,
                final AS 'is_final!: bool', fetched_at_ms
         FROM statement_days
         ORDER BY day DESC
         LIMIT ?1",
        limit,
    )
    .fetch_all(connection)
    .await?;
    let decoded = |error: jiff::Error| sqlx::Error::Decode(error.into());
    let days = rows.into_iter().map(|row| {
        Ok(RecordedDay {
            day: row.day.parse().map_err(decoded)?,
            bill: PicoUsd::new(row.bill_pico_usd),
            ledger: PicoUsd::new(row.ledger_pico_usd),
            unattributed: PicoUsd::new(row.unattributed_pico_usd),
            difference: PicoUsd::new(row.difference_pico_usd),
            is_final: row.is_final,
            fetched_at: Timestamp::from_millisecond(row.fetched_at_ms).map_err(decoded)?,
        })
    });
    days.collect()
}

impl Window {
    fn of(day: Date) -> Result<Self, WriteError> {
        let (start, end) = Statement::bounds_of(day).map_err(WriteError::refused)?;
        let first = day.checked_sub(DAYS_AROUND.days()).map_err(WriteError::refused)?;
        let last = day.checked_add(DAYS_AROUND.days()).map_err(WriteError::refused)?;
        Ok(Self {
            first_day: first.to_string(),
            last_day: last.to_string(),
            from_ms: start.as_millisecond(),
            to_ms: end.as_millisecond(),
        })
    }
}

/// All that the statement may concern, in one snapshot.
pub(crate) async fn day_books(
    statement: &Statement,
    connection: &mut SqliteConnection,
) -> Result<DayBooks, WriteError> {
    let window = Window::of(statement.day)?;
    let began_at = began_at(connection).await?;
    let nothing_before = began_at.is_none_or(|began_at| began_at.as_millisecond() >= window.from_ms);
    let sums = sums(&window, connection).await?;
    let mut booked = booked(&window, connection).await?;
    booked_on_other_days(statement, &mut booked, connection).await?;
    Ok(DayBooks {
        began_at,
        booked,
        open: open(connection).await?,
        unnamed: unnamed(&window, connection).await?,
        orphans: orphans(&window, connection).await?,
        ledger: sums.0,
        unattributed: sums.1,
        previous_is_final: nothing_before || is_final_before(statement.day, connection).await?,
    })
}

async fn is_final_before(day: Date, connection: &mut SqliteConnection) -> Result<bool, WriteError> {
    let previous = day.checked_sub(1.day()).map_err(WriteError::refused)?.to_string();
    let is_final =
        sqlx::query_scalar!("SELECT final AS 'is_final!: bool' FROM statement_days WHERE day = ?1", previous)
            .fetch_optional(connection)
            .await?;
    Ok(is_final == Some(true))
}

/// The sums of the day's entries: all but the unattributed ones, and those.
async fn sums(window: &Window, connection: &mut SqliteConnection) -> Result<(PicoUsd, PicoUsd), sqlx::Error> {
    let sums = sqlx::query!(
        "SELECT
             coalesce(sum(CASE WHEN kind <> 'unattributed' THEN cost_pico_usd END), 0) AS 'ledger!: i64',
             coalesce(sum(CASE WHEN kind = 'unattributed' THEN cost_pico_usd END), 0) AS 'unattributed!: i64'
         FROM entries INDEXED BY entries_by_day
         LEFT JOIN statement_matches AS matches ON matches.entry_id = entries.id
         WHERE entries.day BETWEEN ?1 AND ?2
             AND coalesce(matches.occurred_at_ms, entries.occurred_at_ms) >= ?3
             AND coalesce(matches.occurred_at_ms, entries.occurred_at_ms) < ?4
             AND (kind <> 'adjustment' OR entries.generation_id IS NOT NULL)",
        window.first_day,
        window.last_day,
        window.from_ms,
        window.to_ms,
    )
    .fetch_one(connection)
    .await?;
    Ok((PicoUsd::new(sums.ledger), PicoUsd::new(sums.unattributed)))
}

/// The generations with entries around the day.
async fn booked(
    window: &Window,
    connection: &mut SqliteConnection,
) -> Result<Vec<BookedGeneration>, sqlx::Error> {
    let rows = sqlx::query!(
        "SELECT
             coalesce(entries.generation_id, matches.generation_id) AS 'generation_id!: String',
             sum(cost_pico_usd) AS 'cost!: i64',
             max(coalesce(matches.occurred_at_ms, entries.occurred_at_ms) BETWEEN ?3 AND ?4 - 1)
                 AS 'on_this_day!: bool'
         FROM entries INDEXED BY entries_by_day
         LEFT JOIN statement_matches AS matches ON matches.entry_id = entries.id
         WHERE entries.day BETWEEN ?1 AND ?2
             AND coalesce(entries.generation_id, matches.generation_id) IS NOT NULL
         GROUP BY 1",
        window.first_day,
        window.last_day,
        window.from_ms,
        window.to_ms,
    )
    .fetch_all(connection)
    .await?;
    let booked = rows.into_iter().map(|row| BookedGeneration {
        generation_id: row.generation_id,
        cost: PicoUsd::new(row.cost),
        on_this_day: row.on_this_day,
    });
    Ok(booked.collect())
}

/// Generations of the statement whose entries may be elsewhere, as their ids carry no instant. All others have theirs at it.
async fn booked_on_other_days(
    statement: &Statement,
    booked: &mut Vec<BookedGeneration>,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    let known: HashSet<String> = booked.iter().map(|one| one.generation_id.clone()).collect();
    let without_instant = statement.generations.iter().map(|stated| &stated.generation_id);
    let without_instant = without_instant.filter(|id| instant_of_generation(id).is_none());
    for generation_id in without_instant.filter(|id| !known.contains(*id)) {
        let found = sqlx::query!(
            "SELECT
                 (SELECT cost_pico_usd FROM entries WHERE generation_id = ?1 AND kind <> 'adjustment')
                     AS 'settled?: i64',
                 (SELECT coalesce(sum(cost_pico_usd), 0) FROM entries WHERE generation_id = ?1 AND kind = 'adjustment')
                     AS 'corrected!: i64'",
            generation_id,
        )
        .fetch_one(&mut *connection)
        .await?;
        let Some(settled) = found.settled else { continue };
        booked.push(BookedGeneration {
            generation_id: generation_id.clone(),
            cost: PicoUsd::new(settled.saturating_add(found.corrected)),
            on_this_day: false,
        });
    }
    Ok(())
}

async fn open(connection: &mut SqliteConnection) -> Result<Vec<OpenGeneration>, sqlx::Error> {
    sqlx::query_as!(
        OpenGeneration,
        "SELECT id AS 'call_id!', generation_id AS 'generation_id!'
         FROM calls
         WHERE state = 'open'
         ORDER BY +id DESC"
    )
    .fetch_all(connection)
    .await
}

async fn unnamed(window: &Window, connection: &mut SqliteConnection) -> Result<Vec<Unnamed>, WriteError> {
    let (from_ms, to_ms) = (window.from_ms - AROUND_MS, window.to_ms + AROUND_MS);
    let rows = sqlx::query!(
        "SELECT entries.id AS 'entry_id!', users.external_user, cost_pico_usd, entries.occurred_at_ms
         FROM entries INDEXED BY entries_by_day
         JOIN users ON users.user_id = entries.user_id
         LEFT JOIN statement_matches AS matches ON matches.entry_id = entries.id
         WHERE entries.day BETWEEN ?1 AND ?2 AND kind = 'call' AND entries.generation_id IS NULL
             AND matches.entry_id IS NULL AND entries.occurred_at_ms BETWEEN ?3 AND ?4
         ORDER BY entries.occurred_at_ms, entries.id",
        window.first_day,
        window.last_day,
        from_ms,
        to_ms,
    )
    .fetch_all(connection)
    .await?;
    let unnamed = rows.into_iter().map(|row| {
        Ok(Unnamed {
            entry_id: row.entry_id,
            external_user: row.external_user,
            cost: PicoUsd::new(row.cost_pico_usd),
            at: Timestamp::from_millisecond(row.occurred_at_ms).map_err(WriteError::refused)?,
        })
    });
    unnamed.collect()
}

async fn orphans(window: &Window, connection: &mut SqliteConnection) -> Result<Vec<Orphan>, WriteError> {
    let (from_ms, to_ms) = (window.from_ms - AROUND_MS, window.to_ms + AROUND_MS);
    let rows = sqlx::query!(
        "SELECT calls.id AS 'call_id!', model_asked, admitted_at_ms,
                CASE
                    WHEN (SELECT count(*) FROM users AS same WHERE same.external_user = users.external_user) = 1
                    THEN users.external_user
                END AS 'external_user?: String'
         FROM calls
         JOIN users ON users.user_id = calls.user_id
         WHERE state = 'orphan' AND admitted_at_ms BETWEEN ?1 AND ?2
         ORDER BY admitted_at_ms, calls.id",
        from_ms,
        to_ms,
    )
    .fetch_all(connection)
    .await?;
    let orphans = rows.into_iter().map(|row| {
        Ok(Orphan {
            call_id: row.call_id,
            external_user: row.external_user,
            model_asked: row.model_asked,
            admitted_at: Timestamp::from_millisecond(row.admitted_at_ms).map_err(WriteError::refused)?,
        })
    });
    orphans.collect()
}
