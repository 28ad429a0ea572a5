//! Sums of days that are over, kept in memory: the Usage tab asks the same again after every call, and only the last days of
//! three years have changed by then.
//!
//! This is no second roll-up: everything in it was once answered by the daily rows, and is dropped where an entry has come for
//! one of its days since. Daily rows change only together with a new entry, so the entries tell.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::ToSpan as _;
use jiff::civil::Date;
use sqlx::SqliteConnection;

use crate::error::ReadError;
use crate::reads::usage::{Scope, Usage, UsageBy, sums_of_days};

/// The last days with an entry, which are read every time: calls of yesterday are still being settled.
const RECENT_DAYS: i64 = 2;

/// Sums that are kept, of all questions together: two megabytes.
const LARGEST_SUMS: usize = 8_192;

/// New entries that are looked at to find out whether something is still true; asking the daily rows again is
/// cheaper than looking at more.
const MOST_NEW_ENTRIES: i64 = 4_096;

/// What was asked of days that are over.
type Question = (Scope, UsageBy);

/// Answers about days that are over.
#[derive(Debug, Clone, Default)]
pub(crate) struct Kept(Arc<Mutex<Answers>>);

#[derive(Debug, Default)]
struct Answers {
    answers: HashMap<Question, Answer>,
    /// Grows with every question, so that the answer nobody asked for longest is found.
    asked: u64,
}

#[derive(Debug, Clone)]
struct Answer {
    sums: Arc<[Usage]>,
    /// The last entry there was when it was true.
    as_of_entry: i64,
    asked: u64,
}

/// How far the ledger has come.
struct Newest {
    entry: i64,
    day: Option<String>,
}

impl Kept {
    /// The sums of `scope` by `by` in the snapshot that `connection` reads.
    pub(crate) async fn usage(
        &self,
        scope: &Scope,
        by: UsageBy,
        connection: &mut SqliteConnection,
    ) -> Result<Vec<Usage>, ReadError> {
        let newest = newest(scope, connection).await?;
        let Some((past, recent)) = newest.divide(scope) else {
            return sums_of_days(scope, by, connection).await;
        };
        let past = self.past((past, by), newest.entry, connection).await?;
        let Some(recent) = recent else { return Ok(past.to_vec()) };
        let recent = sums_of_days(&recent, by, connection).await?;
        match together(&past, recent, by) {
            Some(sums) => Ok(sums),
            // Who adds it up himself may say what is too large.
            None => sums_of_days(scope, by, connection).await,
        }
    }

    async fn past(
        &self,
        question: Question,
        newest_entry: i64,
        connection: &mut SqliteConnection,
    ) -> Result<Arc<[Usage]>, ReadError> {
        let known = self.answers().answers.get(&question).cloned();
        if let Some(Answer { sums, as_of_entry, .. }) = known
            && is_still_true(as_of_entry, newest_entry, question.0.to, connection).await?
        {
            self.answers().keep(question, sums.clone(), newest_entry);
            return Ok(sums);
        }
        let (scope, by) = &question;
        let sums: Arc<[Usage]> = sums_of_days(scope, *by, connection).await?.into();
        self.answers().keep(question, sums.clone(), newest_entry);
        Ok(sums)
    }

    fn answers(&self) -> MutexGuard<'_, Answers> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Answers {
    fn keep(&mut self, question: Question, sums: Arc<[Usage]>, as_of_entry: i64) {
        self.asked += 1;
        self.answers.insert(question, Answer { sums, as_of_entry, asked: self.asked });
        // An empty answer is not for nothing.
        while self.answers.values().map(|answer| answer.sums.len() + 1).sum::<usize>() > LARGEST_SUMS {
            let longest_ago = self.answers.iter().min_by_key(|(_, answer)| answer.asked);
            let Some(question) = longest_ago.map(|(question, _)| question.clone()) else { return };
            self.answers.remove(&question);
        }
    }
}

impl Newest {
    /// The part of `scope` that is over, and the part that is not. `None` where nothing of it is over.
    fn divide(&self, scope: &Scope) -> Option<(Scope, Option<Scope>)> {
        let newest: Date = self.day.as_deref()?.parse().ok()?;
        let over = newest.checked_sub(RECENT_DAYS.days()).ok()?;
        if scope.from > over {
            return None;
        }
        if scope.to <= over {
            return Some((scope.clone(), None));
        }
        let recent = Scope { from: over.tomorrow().ok()?, ..scope.clone() };
        Some((Scope { to: over, ..scope.clone() }, Some(recent)))
    }
}

async fn newest(scope: &Scope, connection: &mut SqliteConnection) -> Result<Newest, ReadError> {
    let org = scope.org_id.as_str();
    let newest = sqlx::query_as!(
        Newest,
        "SELECT
             (SELECT coalesce(max(id), 0) FROM entries) AS 'entry!: i64',
             (SELECT max(day) FROM daily_usage WHERE org_id = ?1) AS 'day?: String'",
        org,
    )
    .fetch_one(connection)
    .await?;
    Ok(newest)
}

/// Whether no entry after `as_of_entry` is of a day until `to`. In a snapshot from before that entry nothing is known.
async fn is_still_true(
    as_of_entry: i64,
    newest_entry: i64,
    to: Date,
    connection: &mut SqliteConnection,
) -> Result<bool, ReadError> {
    if as_of_entry == newest_entry {
        return Ok(true);
    }
    if !(as_of_entry..as_of_entry + MOST_NEW_ENTRIES).contains(&newest_entry) {
        return Ok(false);
    }
    let to = to.to_string();
    // The plus keeps the planner from the index by day, which would read every entry there ever was.
    let changed = sqlx::query_scalar!(
        "SELECT EXISTS (SELECT 1 FROM entries WHERE id > ?1 AND +day <= ?2) AS 'changed!: bool'",
        as_of_entry,
        to,
    )
    .fetch_one(connection)
    .await?;
    Ok(!changed)
}

/// Both parts as one answer, as `SQLite` would have given it; `None` where a sum is too large.
fn together(past: &[Usage], recent: Vec<Usage>, by: UsageBy) -> Option<Vec<Usage>> {
    if matches!(by, UsageBy::Day | UsageBy::DayAndModel) {
        return Some(past.iter().cloned().chain(recent).collect());
    }
    let mut sums = past.to_vec();
    let places: HashMap<(Option<String>, Option<String>), usize> =
        past.iter().zip(0..).map(|(sum, place)| ((sum.user_id.clone(), sum.model.clone()), place)).collect();
    for other in recent {
        let known = places.get(&(other.user_id.clone(), other.model.clone()));
        match known.and_then(|place| sums.get_mut(*place)) {
            Some(sum) => sum.add(&other)?,
            None => sums.push(other),
        }
    }
    sums.sort_by(|one, other| {
        let order = other.charge_pico_usd.cmp(&one.charge_pico_usd);
        order.then_with(|| one.user_id.cmp(&other.user_id)).then_with(|| one.model.cmp(&other.model))
    });
    Some(sums)
}

impl Usage {
    /// Adds the sum of other days.
    fn add(&mut self, other: &Self) -> Option<()> {
        self.requests = self.requests.checked_add(other.requests)?;
        self.prompt_tokens = self.prompt_tokens.checked_add(other.prompt_tokens)?;
        self.completion_tokens = self.completion_tokens.checked_add(other.completion_tokens)?;
        self.cost_pico_usd = self.cost_pico_usd.checked_add(other.cost_pico_usd)?;
        self.charge_pico_usd = self.charge_pico_usd.checked_add(other.charge_pico_usd)?;
        self.days = self.days.checked_add(other.days)?;
        let first = [self.first_activity_at_ms, other.first_activity_at_ms];
        self.first_activity_at_ms = first.into_iter().flatten().min();
        self.last_activity_at_ms = self.last_activity_at_ms.max(other.last_activity_at_ms);
        Some(())
    }
}
