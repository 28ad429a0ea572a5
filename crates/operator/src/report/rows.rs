//! A client's ledger becomes rows; rows become a total.

use std::collections::BTreeMap;

use jiff::Timestamp;
use jiff::civil::Date;
use ledger::{Bill, Organisation, UnknownCost, Usage, UsageBy, UserRecord};
use metering::{MoneyError, PicoUsd};
use serde::Serialize;

use super::By;
use super::period::Period;
use crate::usd::Usd;

/// What was used, what of it is known, and what it is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub(super) struct Sums {
    /// Calls and adjustments that are settled.
    pub(super) requests: i64,
    pub(super) prompt_tokens: i64,
    pub(super) completion_tokens: i64,
    /// What `OpenRouter` bills.
    pub(super) cost_usd: Usd,
    /// What the organisation pays.
    pub(super) charge_usd: Usd,
    /// What is between them.
    pub(super) profit_usd: Usd,
    /// Calls whose cost nobody knows yet: they are in none of the sums.
    pub(super) not_yet_known: i64,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    /// The name of the client's folder.
    pub(super) client: String,
    pub(super) organisation_id: String,
    pub(super) organisation: String,
    /// One for each of [`By::keys`].
    pub(super) keys: Vec<Option<String>>,
    pub(super) sums: Sums,
}

/// What was read of one client.
#[derive(Debug)]
pub(super) struct Books {
    pub(super) client: String,
    pub(super) organisation: Organisation,
    pub(super) bill: Bill,
    pub(super) users: Vec<UserRecord>,
}

/// Rows while they are added up, in the order in which they were first seen.
#[derive(Default)]
struct Rows {
    places: BTreeMap<String, usize>,
    rows: Vec<(String, Sums)>,
}

impl By {
    /// Which sums the ledger is asked for. Months are added up of days.
    pub(super) const fn asked(self) -> UsageBy {
        match self {
            Self::Client => UsageBy::Nothing,
            Self::User => UsageBy::User,
            Self::Model => UsageBy::Model,
            Self::Month | Self::Day => UsageBy::Day,
        }
    }

    /// What tells the rows of a client apart.
    pub(super) const fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Client => &["billing_email"],
            Self::User => &["user_id", "name", "email"],
            Self::Model => &["model"],
            Self::Month => &["month"],
            Self::Day => &["day"],
        }
    }

    fn key_of(self, usage: &Usage) -> String {
        let key = match self {
            Self::Client => None,
            Self::User => usage.user_id.clone(),
            Self::Model => usage.model.clone(),
            Self::Day => usage.day.clone(),
            Self::Month => usage.day.as_deref().map(|day| month_of(day).to_owned()),
        };
        key.unwrap_or_default()
    }

    fn key_of_unknown(self, unknown: &UnknownCost, day: Date) -> String {
        match self {
            Self::Client => String::new(),
            Self::User => unknown.user_id.clone(),
            Self::Model => unknown.model_asked.clone(),
            Self::Day => day.to_string(),
            Self::Month => month_of(&day.to_string()).to_owned(),
        }
    }
}

impl Sums {
    fn of(usage: &Usage) -> Result<Self, MoneyError> {
        let (cost, charge) = (PicoUsd::new(usage.cost_pico_usd), PicoUsd::new(usage.charge_pico_usd));
        Ok(Self {
            requests: usage.requests,
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            cost_usd: Usd(cost),
            charge_usd: Usd(charge),
            profit_usd: Usd(charge.checked_sub(cost)?),
            not_yet_known: 0,
        })
    }

    /// Tokens in both directions.
    pub(super) const fn tokens(&self) -> i64 {
        self.prompt_tokens.saturating_add(self.completion_tokens)
    }

    fn add(&mut self, other: &Self) -> Result<(), MoneyError> {
        let count = |one: i64, other: i64| one.checked_add(other).ok_or(MoneyError::Overflow);
        let usd = |one: Usd, other: Usd| one.0.checked_add(other.0).map(Usd);
        *self = Self {
            requests: count(self.requests, other.requests)?,
            prompt_tokens: count(self.prompt_tokens, other.prompt_tokens)?,
            completion_tokens: count(self.completion_tokens, other.completion_tokens)?,
            cost_usd: usd(self.cost_usd, other.cost_usd)?,
            charge_usd: usd(self.charge_usd, other.charge_usd)?,
            profit_usd: usd(self.profit_usd, other.profit_usd)?,
            not_yet_known: count(self.not_yet_known, other.not_yet_known)?,
        };
        Ok(())
    }
}

impl Rows {
    fn add(&mut self, key: String, sums: &Sums) -> Result<(), MoneyError> {
        let place = *self.places.entry(key.clone()).or_insert(self.rows.len());
        if place == self.rows.len() {
            self.rows.push((key, Sums::default()));
        }
        self.rows.get_mut(place).map_or(Ok(()), |(_, sum)| sum.add(sums))
    }
}

impl Books {
    /// The rows of one client: users and models with the highest charge first, days and months in their order.
    pub(super) fn rows(&self, by: By, period: Period) -> Result<Vec<Row>, MoneyError> {
        let mut rows = Rows::default();
        for usage in &self.bill.usage {
            rows.add(by.key_of(usage), &Sums::of(usage)?)?;
        }
        let one = Sums { not_yet_known: 1, ..Sums::default() };
        for (unknown, day) in self.unknown(period) {
            rows.add(by.key_of_unknown(unknown, day), &one)?;
        }
        if matches!(by, By::Day | By::Month) {
            rows.rows.sort_by(|(one, _), (other, _)| one.cmp(other));
        }
        Ok(rows.rows.into_iter().map(|(key, sums)| self.row(by, &key, sums)).collect())
    }

    /// The calls of the period whose cost is not known. The day of one is that of its admission until the biller's clock is known.
    fn unknown(&self, period: Period) -> impl Iterator<Item = (&UnknownCost, Date)> {
        let dated = self.bill.unknown.iter().filter_map(|unknown| {
            let admitted_at = Timestamp::from_millisecond(unknown.admitted_at_ms).ok()?;
            Some((unknown, self.organisation.zone.day_of(admitted_at)))
        });
        dated.filter(move |(_, day)| period.contains(*day))
    }

    fn row(&self, by: By, key: &str, sums: Sums) -> Row {
        let keys = match by {
            By::Client => vec![self.organisation.billing_email.clone()],
            By::User => {
                let user = self.users.iter().find(|user| user.user_id == key);
                let (name, email) = user.map_or((None, None), |user| (user.name.clone(), user.email.clone()));
                vec![Some(key.to_owned()), name, email]
            }
            By::Model | By::Month | By::Day => vec![Some(key.to_owned())],
        };
        Row {
            client: self.client.clone(),
            organisation_id: self.organisation.id.as_str().to_owned(),
            organisation: self.organisation.name.clone(),
            keys,
            sums,
        }
    }
}

/// The sum of all rows, to the pico-dollar.
pub(super) fn total(rows: &[Row]) -> Result<Sums, MoneyError> {
    let mut total = Sums::default();
    rows.iter().try_for_each(|row| total.add(&row.sums))?;
    Ok(total)
}

/// `YYYY-MM` of a day.
fn month_of(day: &str) -> &str {
    day.get(.."YYYY-MM".len()).unwrap_or(day)
}
