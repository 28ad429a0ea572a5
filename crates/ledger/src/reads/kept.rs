//! The daily rows, kept in memory: the Usage tab adds up to three years of them with every question, and between two questions
//! those of one day have changed.
//!
//! This is no second roll-up. Daily rows change only together with a new entry, so the entries since tell which days must be
//! read again.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, PoisonError, RwLock};

use futures_util::TryStreamExt as _;
use jiff::civil::Date;
use metering::OrgId;
use sqlx::{SqliteConnection, SqlitePool};
use tokio::sync::Mutex;

use crate::error::ReadError;
use crate::reads::usage::Usage;

/// Rows that are kept, of 72 bytes each: five years of twenty people who use a dozen models every day. Of a ledger with more
/// none is kept, and `SQLite` adds up.
const MOST_ROWS: usize = 500_000;

/// New entries that are looked at for the days they are of; to read everything again is cheaper than to look at more.
const MOST_NEW_ENTRIES: i64 = 4_096;

/// What comes before and after every day.
const EARLIEST: &str = "";
const LATEST: &str = "~";

/// The daily rows as last read, for all who ask.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    last: Arc<RwLock<Last>>,
    /// One reads for all.
    reading: Arc<Mutex<()>>,
    most_rows: usize,
}

#[derive(Debug, Clone, Default)]
enum Last {
    #[default]
    Unread,
    Rows(Arc<DailyRows>),
    /// Rows are never removed, so that it stays so.
    TooMany,
}

/// The daily rows of one organisation at one moment.
#[derive(Debug, Clone)]
pub(crate) struct DailyRows {
    org_id: OrgId,
    /// The last entry there was.
    as_of_entry: i64,
    pub(super) names: Arc<Names>,
    pub(super) days: BTreeMap<Date, Arc<Day>>,
}

/// A day's rows.
#[derive(Debug)]
pub(super) struct Day {
    pub(super) rows: Box<[Row]>,
    /// The sum of them all; `None` where it is too large.
    pub(super) whole: Option<Usage>,
}

/// Users and models, whose places stand in the rows.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) users: Places,
    pub(super) models: Places,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Places {
    names: Vec<String>,
    places: HashMap<String, usize>,
}

/// A daily row, but for its day. Those of a day stand in the order of their users and models.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row {
    pub(super) user: usize,
    pub(super) model: usize,
    pub(super) requests: i64,
    pub(super) prompt_tokens: i64,
    pub(super) completion_tokens: i64,
    pub(super) cost_pico_usd: i64,
    pub(super) charge_pico_usd: i64,
    pub(super) first_activity_at_ms: i64,
    pub(super) last_activity_at_ms: i64,
}

/// A daily row as the file has it.
struct Stored {
    day: String,
    user_id: String,
    model: String,
    requests: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    cost_pico_usd: i64,
    charge_pico_usd: i64,
    first_activity_at_ms: i64,
    last_activity_at_ms: i64,
}

impl Last {
    fn rows(self) -> Option<Arc<DailyRows>> {
        match self {
            Self::Rows(rows) => Some(rows),
            Self::Unread | Self::TooMany => None,
        }
    }
}

impl Default for Kept {
    fn default() -> Self {
        Self { last: Arc::default(), reading: Arc::default(), most_rows: MOST_ROWS }
    }
}

impl Kept {
    /// The daily rows of `org_id` at this moment or a later one; `None` where there are too many.
    pub(crate) async fn rows(
        &self,
        org_id: &OrgId,
        pool: &SqlitePool,
    ) -> Result<Option<Arc<DailyRows>>, ReadError> {
        let newest = newest_entry(&mut *pool.acquire().await?).await?;
        if let Some(known) = self.known(org_id, newest) {
            return Ok(known.rows());
        }
        let _one = self.reading.lock().await;
        if let Some(known) = self.known(org_id, newest) {
            return Ok(known.rows());
        }
        let mut snapshot = pool.begin().await?;
        let rows = self.read(org_id, &mut snapshot).await?.map(Arc::new);
        snapshot.rollback().await?;
        let last = rows.clone().map_or(Last::TooMany, Last::Rows);
        *self.last.write().unwrap_or_else(PoisonError::into_inner) = last;
        Ok(rows)
    }

    /// What is kept, where it is as new as that: rows, or that there are too many.
    fn known(&self, org_id: &OrgId, newest_entry: i64) -> Option<Last> {
        let last = self.last();
        let is_known = match &last {
            Last::Unread => false,
            Last::Rows(rows) => rows.org_id == *org_id && rows.as_of_entry >= newest_entry,
            Last::TooMany => true,
        };
        is_known.then_some(last)
    }

    fn last(&self) -> Last {
        self.last.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads what has changed since it was read last, or everything; `None` where it is too much.
    async fn read(
        &self,
        org_id: &OrgId,
        connection: &mut SqliteConnection,
    ) -> Result<Option<DailyRows>, ReadError> {
        let newest = newest_entry(connection).await?;
        let (mut rows, changed) = match self.last() {
            Last::Rows(last) if last.org_id == *org_id && newest - last.as_of_entry <= MOST_NEW_ENTRIES => {
                let changed = days_since(last.as_of_entry, connection).await?;
                (DailyRows { as_of_entry: newest, ..DailyRows::clone(&last) }, changed)
            }
            _ => {
                let (names, days) = Default::default();
                let nothing = DailyRows { org_id: org_id.clone(), as_of_entry: newest, names, days };
                (nothing, vec![(EARLIEST.to_owned(), LATEST.to_owned())])
            }
        };
        for (from, to) in changed {
            rows.read_days(&from, &to, self.most_rows, connection).await?;
        }
        let all: usize = rows.days.values().map(|day| day.rows.len()).sum();
        Ok(Some(rows).filter(|_| all <= self.most_rows))
    }
}

async fn newest_entry(connection: &mut SqliteConnection) -> Result<i64, ReadError> {
    let newest = sqlx::query_scalar!("SELECT coalesce(max(id), 0) AS 'newest!: i64' FROM entries")
        .fetch_one(connection)
        .await?;
    Ok(newest)
}

/// The days that entries after `entry` are of, each as its own first and last.
async fn days_since(
    entry: i64,
    connection: &mut SqliteConnection,
) -> Result<Vec<(String, String)>, ReadError> {
    // The plus keeps the planner from the index by day, which would read every entry there ever was.
    let days: Vec<String> =
        sqlx::query_scalar!("SELECT DISTINCT +day AS 'day!: String' FROM entries WHERE id > ?1", entry)
            .fetch_all(connection)
            .await?;
    Ok(days.into_iter().map(|day| (day.clone(), day)).collect())
}

impl DailyRows {
    /// Reads the days between two, both included, in the place of what is known of them; ends early once there are more rows
    /// than `most_rows`.
    async fn read_days(
        &mut self,
        from: &str,
        to: &str,
        most_rows: usize,
        connection: &mut SqliteConnection,
    ) -> Result<(), ReadError> {
        let org = self.org_id.as_str();
        let mut stored = sqlx::query_as!(
            Stored,
            "SELECT day, user_id, model, requests, prompt_tokens, completion_tokens, cost_pico_usd,
                    charge_pico_usd, first_activity_at_ms, last_activity_at_ms
             FROM daily_usage
             WHERE org_id = ?1 AND day BETWEEN ?2 AND ?3
             ORDER BY day, user_id, model",
            org,
            from,
            to,
        )
        .fetch(connection);
        let names = Arc::make_mut(&mut self.names);
        let (mut read, mut of_day): (usize, Vec<Row>) = (0, Vec::new());
        let mut next = stored.try_next().await?;
        while let Some(row) = next {
            of_day.push(row.under(names));
            next = stored.try_next().await?;
            if next.as_ref().is_some_and(|next| next.day == row.day) {
                continue;
            }
            read += of_day.len();
            let day = row.day.parse().map_err(|error: jiff::Error| sqlx::Error::Decode(error.into()))?;
            self.days.insert(day, Arc::new(Day::of(std::mem::take(&mut of_day))));
            if read > most_rows {
                break;
            }
        }
        Ok(())
    }
}

impl Stored {
    fn under(&self, names: &mut Names) -> Row {
        Row {
            user: names.users.place_for(&self.user_id),
            model: names.models.place_for(&self.model),
            requests: self.requests,
            prompt_tokens: self.prompt_tokens,
            completion_tokens: self.completion_tokens,
            cost_pico_usd: self.cost_pico_usd,
            charge_pico_usd: self.charge_pico_usd,
            first_activity_at_ms: self.first_activity_at_ms,
            last_activity_at_ms: self.last_activity_at_ms,
        }
    }
}

impl Places {
    /// All names, each at its place.
    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn place_of(&self, name: &str) -> Option<usize> {
        self.places.get(name).copied()
    }

    /// The place of `name`, which is given one where it has none.
    fn place_for(&mut self, name: &str) -> usize {
        self.place_of(name).unwrap_or_else(|| {
            let place = self.names.len();
            self.names.push(name.to_owned());
            self.places.insert(name.to_owned(), place);
            place
        })
    }
}

#[cfg(test)]
#[path = "kept_tests.rs"]
mod tests;
