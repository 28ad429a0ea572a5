//! Roll-up: the daily rows as a pure fold over the entries of the ledger.
//!
//! The database keeps its daily rows up to date with every entry; this fold says what they must be, and
//! `verify` compares the two.

use std::collections::BTreeMap;

use crate::money::PicoUsd;

/// What a daily row is kept for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DailyKey {
    /// The organisation.
    pub org_id: String,
    /// The billing day, `YYYY-MM-DD`.
    pub day: String,
    /// The user.
    pub user_id: String,
    /// The model as booked.
    pub model: String,
}

/// The part of an entry that the daily rows are made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryFacts {
    /// The row it belongs to.
    pub key: DailyKey,
    /// Calls it stands for: 1 for a settled call, 0 for a correction of an amount.
    pub requests: i64,
    /// Prompt tokens; what was never told counts as none here.
    pub prompt_tokens: i64,
    /// Completion tokens, likewise.
    pub completion_tokens: i64,
    /// What `OpenRouter` bills.
    pub cost: PicoUsd,
    /// What the organisation pays.
    pub charge: PicoUsd,
    /// The instant of the call, Unix milliseconds.
    pub occurred_at_ms: i64,
}

/// The sums of a daily row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DailySum {
    /// Calls.
    pub requests: i64,
    /// Prompt tokens.
    pub prompt_tokens: i64,
    /// Completion tokens.
    pub completion_tokens: i64,
    /// What `OpenRouter` bills.
    pub cost: PicoUsd,
    /// What the organisation pays.
    pub charge: PicoUsd,
    /// The first call's instant, Unix milliseconds.
    pub first_activity_at_ms: i64,
    /// The last call's instant, Unix milliseconds.
    pub last_activity_at_ms: i64,
}

/// A sum that left the range of 64 bits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the sum for {} of user {} and model {} is out of range", .0.day, .0.user_id, .0.model)]
pub struct Overflow(pub DailyKey);

impl DailySum {
    fn of(entry: &EntryFacts) -> Self {
        Self {
            requests: entry.requests,
            prompt_tokens: entry.prompt_tokens,
            completion_tokens: entry.completion_tokens,
            cost: entry.cost,
            charge: entry.charge,
            first_activity_at_ms: entry.occurred_at_ms,
            last_activity_at_ms: entry.occurred_at_ms,
        }
    }

    fn checked_add(&self, other: &Self) -> Option<Self> {
        Some(Self {
            requests: self.requests.checked_add(other.requests)?,
            prompt_tokens: self.prompt_tokens.checked_add(other.prompt_tokens)?,
            completion_tokens: self.completion_tokens.checked_add(other.completion_tokens)?,
            cost: self.cost.checked_add(other.cost).ok()?,
            charge: self.charge.checked_add(other.charge).ok()?,
            first_activity_at_ms: self.first_activity_at_ms.min(other.first_activity_at_ms),
            last_activity_at_ms: self.last_activity_at_ms.max(other.last_activity_at_ms),
        })
    }
}

/// The daily rows that entries add up to, one entry after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RollUp {
    rows: BTreeMap<DailyKey, DailySum>,
}

impl RollUp {
    /// Adds an entry to its row.
    ///
    /// # Errors
    /// [`Overflow`] where a sum does not fit 64 bits; the row is as it was.
    pub fn add(&mut self, entry: EntryFacts) -> Result<(), Overflow> {
        let sum = DailySum::of(&entry);
        match self.rows.get_mut(&entry.key) {
            None => {
                self.rows.insert(entry.key, sum);
            }
            Some(row) => *row = row.checked_add(&sum).ok_or(Overflow(entry.key))?,
        }
        Ok(())
    }

    /// The rows so far.
    #[must_use]
    pub fn rows(&self) -> &BTreeMap<DailyKey, DailySum> {
        &self.rows
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn roll_up(entries: impl IntoIterator<Item = EntryFacts>) -> Result<RollUp, Overflow> {
        let mut rolled = RollUp::default();
        entries.into_iter().try_for_each(|entry| rolled.add(entry))?;
        Ok(rolled)
    }

    fn entry(user: u8, model: u8, cost: i64, at: i64) -> EntryFacts {
        let key = DailyKey {
            org_id: "org".into(),
            day: "2026-11-22".into(),
            user_id: format!("user {user}"),
            model: format!("model {model}"),
        };
        EntryFacts {
            key,
            requests: 1,
            prompt_tokens: 3,
            completion_tokens: 2,
            cost: PicoUsd::new(cost),
            charge: PicoUsd::new(cost * 2),
            occurred_at_ms: at,
        }
    }

    #[test]
    fn a_sum_out_of_range_names_its_row() {
        let overflow =
            roll_up([entry(1, 1, i64::MAX / 2, 0), entry(1, 1, i64::MAX / 2, 0), entry(1, 1, 2, 0)]);
        assert_eq!(overflow.unwrap_err().0.user_id, "user 1");
    }

    proptest! {
        #[test]
        fn sums_over_users_and_models_are_the_sum_of_all(
            entries in proptest::collection::vec((0_u8..4, 0_u8..4, 0_i64..1_000_000, 0_i64..1_000), 0..60)
        ) {
            let facts: Vec<_> = entries.iter().map(|(user, model, cost, at)| entry(*user, *model, *cost, *at)).collect();
            let forwards = roll_up(facts.clone()).unwrap();
            let backwards = roll_up(facts.into_iter().rev()).unwrap();
            prop_assert_eq!(&forwards, &backwards);
            let total: i64 = forwards.rows().values().map(|row| row.cost.pico()).sum();
            prop_assert_eq!(total, entries.iter().map(|(_, _, cost, _)| *cost).sum::<i64>());
            let requests: i64 = forwards.rows().values().map(|row| row.requests).sum();
            prop_assert_eq!(usize::try_from(requests).unwrap(), entries.len());
        }
    }
}
