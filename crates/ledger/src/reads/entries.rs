//! The entries themselves, in pages.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;

use crate::error::ReadError;
use crate::{LedgerReader, Scope};

/// An entry with its user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRecord {
    /// Its number; later ones are higher.
    pub id: i64,
    /// `call`, `adjustment` or `unattributed`.
    pub kind: String,
    /// The instant of the call, Unix milliseconds.
    pub occurred_at_ms: i64,
    /// The billing day, `YYYY-MM-DD`.
    pub day: String,
    /// Whose.
    pub user_id: String,
    /// The account's name, where ever told.
    pub name: Option<String>,
    /// The account's e-mail address, where ever told.
    pub email: Option<String>,
    /// The model as booked.
    pub model: String,
    /// The model the caller asked for.
    pub model_asked: Option<String>,
    /// Who served it, where told.
    pub provider: Option<String>,
    /// Tokens that were sent, where told.
    pub prompt_tokens: Option<i64>,
    /// Tokens that came back, where told.
    pub completion_tokens: Option<i64>,
    /// Of those, tokens of thought, where told.
    pub reasoning_tokens: Option<i64>,
    /// Tokens that were not read anew, where told.
    pub cached_tokens: Option<i64>,
    /// What `OpenRouter` bills, pico-dollars.
    pub cost_pico_usd: i64,
    /// What the organisation pays, pico-dollars.
    pub charge_pico_usd: i64,
    /// `response`, `generation` or `statement`.
    pub cost_source: String,
    /// `OpenRouter`'s id.
    pub generation_id: Option<String>,
}

/// A place in the order of the entries: by day, then by instant, then by number. Its text is `day_instant_number`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EntryPlace {
    day: Date,
    occurred_at_ms: i64,
    id: i64,
}

/// The text is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a place in the order of entries")]
pub struct NoPlace;

impl EntryPlace {
    /// Behind everything on `day`.
    #[must_use]
    pub const fn end_of(day: Date) -> Self {
        Self { day, occurred_at_ms: i64::MAX, id: i64::MAX }
    }

    /// Where `entry` is.
    ///
    /// # Errors
    /// [`NoPlace`] where its day is none.
    pub fn of(entry: &EntryRecord) -> Result<Self, NoPlace> {
        let day = entry.day.parse().map_err(|_| NoPlace)?;
        Ok(Self { day, occurred_at_ms: entry.occurred_at_ms, id: entry.id })
    }
}

impl fmt::Display for EntryPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_{}", self.day, self.occurred_at_ms, self.id)
    }
}

impl FromStr for EntryPlace {
    type Err = NoPlace;

    fn from_str(text: &str) -> Result<Self, NoPlace> {
        let mut parts = text.split('_');
        let (Some(day), Some(occurred_at_ms), Some(id), None) =
            (parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(NoPlace);
        };
        Ok(Self {
            day: day.parse().map_err(|_| NoPlace)?,
            occurred_at_ms: occurred_at_ms.parse().map_err(|_| NoPlace)?,
            id: id.parse().map_err(|_| NoPlace)?,
        })
    }
}

/// Every question is the same but for the index and the condition that goes with it. The index is named: the planner knows
/// nothing about the entries, and would look for a pair of user and model among all that the model was asked.
macro_rules! entries {
    ($reader:expr, $index:tt, [$($condition:tt)+], $($argument:expr),+) => {
        sqlx::query_as!(
            EntryRecord,
            "SELECT
                 entries.id AS 'id!', kind AS 'kind!', occurred_at_ms AS 'occurred_at_ms!', day AS 'day!',
                 entries.user_id AS 'user_id!', users.name AS 'name?', users.email AS 'email?', model AS 'model!',
                 model_asked AS 'model_asked?', provider AS 'provider?', prompt_tokens AS 'prompt_tokens?',
                 completion_tokens AS 'completion_tokens?', reasoning_tokens AS 'reasoning_tokens?',
                 cached_tokens AS 'cached_tokens?', cost_pico_usd AS 'cost_pico_usd!',
                 charge_pico_usd AS 'charge_pico_usd!', cost_source AS 'cost_source!', generation_id AS 'generation_id?'
             FROM entries " + $index + "
             JOIN users ON users.user_id = entries.user_id
             WHERE entries.org_id = ?1 AND " + $($condition)+,
            $($argument),+
        )
        .fetch_all(&$reader.pool)
        .await?
    };
}

impl LedgerReader {
    /// The entries of `scope`, of `model` where one is named, the newest first: those before `before`, at most `limit`.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn entries(
        &self,
        scope: &Scope,
        model: Option<&str>,
        before: Option<EntryPlace>,
        limit: u32,
    ) -> Result<Vec<EntryRecord>, ReadError> {
        let org = scope.org_id.as_str();
        let from = scope.from.to_string();
        let EntryPlace { day, occurred_at_ms, id } = match before {
            // A place behind the scope would tell of days that nobody asked for.
            Some(place) if place.day <= scope.to => place,
            _ => EntryPlace::end_of(scope.to),
        };
        let day = day.to_string();
        macro_rules! page {
            ($index:tt, $condition:tt $(, $argument:expr)*) => {
                entries!(
                    self,
                    $index,
                    [$condition + "day >= ?2 AND (day, occurred_at_ms, entries.id) < (?3, ?4, ?5)
                         ORDER BY day DESC, occurred_at_ms DESC, entries.id DESC
                         LIMIT ?6"],
                    org, from, day, occurred_at_ms, id, limit $(, $argument)*
                )
            };
        }
        Ok(match (scope.user_id.as_deref(), model) {
            (Some(user_id), Some(model)) => page!(
                "INDEXED BY entries_by_user_and_model",
                "entries.user_id = ?7 AND model = ?8 AND ",
                user_id,
                model
            ),
            (Some(user_id), None) => {
                page!("INDEXED BY entries_by_user", "entries.user_id = ?7 AND ", user_id)
            }
            (None, Some(model)) => page!("INDEXED BY entries_by_model", "model = ?7 AND ", model),
            (None, None) => page!("INDEXED BY entries_by_day", ""),
        })
    }

    /// The entries after number `id`, of `user_id` or of everybody, in the order in which they were written, at most `limit`.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn entries_after(
        &self,
        org_id: &metering::OrgId,
        user_id: Option<&str>,
        id: i64,
        limit: u32,
    ) -> Result<Vec<EntryRecord>, ReadError> {
        let org = org_id.as_str();
        Ok(entries!(
            self,
            "",
            ["entries.id > ?2 AND (?3 IS NULL OR entries.user_id = ?3)
             ORDER BY entries.id
             LIMIT ?4"],
            org,
            id,
            user_id,
            limit
        ))
    }

    /// The number of the last entry; 0 where there is none.
    ///
    /// # Errors
    /// [`ReadError`] where the file cannot be read.
    pub async fn last_entry_id(&self) -> Result<i64, ReadError> {
        let last = sqlx::query_scalar!("SELECT coalesce(max(id), 0) AS 'last!: i64' FROM entries")
            .fetch_one(&self.pool)
            .await?;
        Ok(last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let text = "2026-11-22_1790000000123_4711";
        assert_eq!(text.parse::<EntryPlace>().unwrap().to_string(), text);
        for nonsense in ["", "1", "2026-11-22_1", "2026-13-22_1_1", "2026-11-22_1_1_1", "2026-11-22_x_1"] {
            assert_eq!(nonsense.parse::<EntryPlace>(), Err(NoPlace), "{nonsense}");
        }
    }
}
