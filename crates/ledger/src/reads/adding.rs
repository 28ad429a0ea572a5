//! Adding up daily rows in memory, to what `SQLite` would answer.

use jiff::civil::Date;

use crate::reads::kept::{DailyRows, Row};
use crate::reads::usage::{Scope, Summary, Usage, UsageBy};

/// Sums under way: of the whole scope, or of one of its days.
struct Sums<'a> {
    rows: &'a DailyRows,
    by: UsageBy,
    /// One for each user, model or both.
    places: Vec<Option<Sum>>,
}

/// One sum under way.
#[derive(Clone)]
struct Sum {
    usage: Usage,
    /// The day that was counted last.
    day: Date,
    /// The user who was counted last.
    user: usize,
}

impl DailyRows {
    /// The sums of `scope` by `by`; `None` where one is too large.
    pub(crate) fn sums(&self, scope: &Scope, by: UsageBy) -> Option<Vec<Usage>> {
        let by_day = matches!(by, UsageBy::Day | UsageBy::DayAndModel);
        let (mut sums, mut finished, mut last_day) = (Sums::new(self, by), Vec::new(), None);
        for (day, row) in self.of(scope) {
            if by_day && last_day.replace(day) != Some(day) {
                finished.extend(sums.finish());
            }
            sums.add(day, row)?;
        }
        finished.extend(sums.finish());
        if finished.is_empty() && by == UsageBy::Nothing {
            finished.push(Usage::ZERO);
        }
        Some(finished)
    }

    /// The sum of `scope`, and how many users and models it is of; `None` where it is too large.
    pub(crate) fn summary(&self, scope: &Scope) -> Option<Summary> {
        let mut whole = Sums::new(self, UsageBy::Nothing);
        let mut users = vec![0; self.names.users.names().len()];
        let mut models = vec![0; self.names.models.names().len()];
        for (day, row) in self.of(scope) {
            whole.add(day, row)?;
            *users.get_mut(row.user)? = 1;
            *models.get_mut(row.model)? = 1;
        }
        let usage = whole.finish().pop().unwrap_or(Usage::ZERO);
        Some(Summary { usage, users: users.iter().sum(), models: models.iter().sum() })
    }

    /// The rows of `scope`, the oldest day first.
    fn of(&self, scope: &Scope) -> impl Iterator<Item = (Date, &Row)> {
        let user = scope.user_id.as_deref().map(|user| self.names.users.place_of(user));
        let period = scope.from..=scope.to;
        // A range that ends before it begins is no range to a tree.
        let days = (!period.is_empty()).then(|| self.days.range(period)).into_iter().flatten();
        let rows = days.flat_map(|(day, rows)| rows.iter().map(|row| (*day, row)));
        rows.filter(move |(_, row)| user.is_none_or(|user| user == Some(row.user)))
    }
}

impl<'a> Sums<'a> {
    fn new(rows: &'a DailyRows, by: UsageBy) -> Self {
        let (users, models) = (rows.names.users.names().len(), rows.names.models.names().len());
        let places = match by {
            UsageBy::Nothing | UsageBy::Day => 1,
            UsageBy::User => users,
            UsageBy::Model | UsageBy::DayAndModel => models,
            UsageBy::UserAndModel => users * models,
        };
        Self { rows, by, places: vec![None; places] }
    }

    fn add(&mut self, day: Date, row: &Row) -> Option<()> {
        let place = match self.by {
            UsageBy::Nothing | UsageBy::Day => 0,
            UsageBy::User => row.user,
            UsageBy::Model | UsageBy::DayAndModel => row.model,
            UsageBy::UserAndModel => row.user * self.rows.names.models.names().len() + row.model,
        };
        let sum = self.places.get_mut(place)?;
        if let Some(sum) = sum {
            return sum.add(day, row);
        }
        *sum = Some(Sum::of(day, row));
        Some(())
    }

    /// The sums so far, in their order; the next ones begin anew.
    fn finish(&mut self) -> Vec<Usage> {
        let (users, models) = (self.rows.names.users.names(), self.rows.names.models.names());
        let mut finished = Vec::new();
        for (place, sum) in self.places.iter_mut().enumerate() {
            let Some(Sum { mut usage, day, .. }) = sum.take() else { continue };
            let (user, model) = match self.by {
                UsageBy::Nothing | UsageBy::Day => (None, None),
                UsageBy::User => (users.get(place), None),
                UsageBy::Model | UsageBy::DayAndModel => (None, models.get(place)),
                UsageBy::UserAndModel => (users.get(place / models.len()), models.get(place % models.len())),
            };
            let counted = !matches!(self.by, UsageBy::Nothing | UsageBy::Model);
            usage.users = usage.users.filter(|_| counted);
            usage.day = matches!(self.by, UsageBy::Day | UsageBy::DayAndModel).then(|| day.to_string());
            (usage.user_id, usage.model) = (user.cloned(), model.cloned());
            finished.push(usage);
        }
        let highest_first = !matches!(self.by, UsageBy::Day | UsageBy::DayAndModel);
        finished.sort_by(|one, other| {
            let charges = other.charge_pico_usd.cmp(&one.charge_pico_usd);
            let order = if highest_first { charges } else { std::cmp::Ordering::Equal };
            order.then_with(|| one.user_id.cmp(&other.user_id)).then_with(|| one.model.cmp(&other.model))
        });
        finished
    }
}

impl Sum {
    fn of(day: Date, row: &Row) -> Self {
        let usage = Usage {
            requests: row.requests,
            prompt_tokens: row.prompt_tokens,
            completion_tokens: row.completion_tokens,
            cost_pico_usd: row.cost_pico_usd,
            charge_pico_usd: row.charge_pico_usd,
            days: 1,
            users: Some(1),
            first_activity_at_ms: Some(row.first_activity_at_ms),
            last_activity_at_ms: Some(row.last_activity_at_ms),
            ..Usage::ZERO
        };
        Self { usage, day, user: row.user }
    }

    fn add(&mut self, day: Date, row: &Row) -> Option<()> {
        let usage = &mut self.usage;
        usage.requests = usage.requests.checked_add(row.requests)?;
        usage.prompt_tokens = usage.prompt_tokens.checked_add(row.prompt_tokens)?;
        usage.completion_tokens = usage.completion_tokens.checked_add(row.completion_tokens)?;
        usage.cost_pico_usd = usage.cost_pico_usd.checked_add(row.cost_pico_usd)?;
        usage.charge_pico_usd = usage.charge_pico_usd.checked_add(row.charge_pico_usd)?;
        usage.first_activity_at_ms = usage.first_activity_at_ms.min(Some(row.first_activity_at_ms));
        usage.last_activity_at_ms = usage.last_activity_at_ms.max(Some(row.last_activity_at_ms));
        usage.days += i64::from(self.day != day);
        usage.users = usage.users.map(|users| users + i64::from(self.user != row.user));
        (self.day, self.user) = (day, row.user);
        Some(())
    }
}
