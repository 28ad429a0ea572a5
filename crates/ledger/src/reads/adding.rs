//! Adding up daily rows in memory, to what `SQLite` would answer.

use jiff::civil::Date;

use crate::reads::kept::{DailyRows, Day, Row};
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

/// What is added up.
#[derive(Clone, Copy)]
struct Figures {
    counts: [i64; 3],
    money: [i64; 2],
    /// The first and the last.
    activity_at_ms: [Option<i64>; 2],
}

impl DailyRows {
    /// The sums of `scope` by `by`; `None` where one is too large.
    pub(crate) fn sums(&self, scope: &Scope, by: UsageBy) -> Option<Vec<Usage>> {
        match (by, &scope.user_id) {
            (UsageBy::Day, None) => return self.whole_days(scope).collect(),
            (UsageBy::Nothing, None) => return self.whole(scope).map(|whole| vec![whole]),
            _ => {}
        }
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
        let usage = self.sums(scope, UsageBy::Nothing)?.pop()?;
        let mut users = vec![0; self.names.users.names().len()];
        let mut models = vec![0; self.names.models.names().len()];
        for (_, row) in self.of(scope) {
            *users.get_mut(row.user)? = 1;
            *models.get_mut(row.model)? = 1;
        }
        Some(Summary { usage, users: users.iter().sum(), models: models.iter().sum() })
    }

    /// The sum of everybody's rows.
    fn whole(&self, scope: &Scope) -> Option<Usage> {
        let mut whole = Usage::ZERO;
        for day in self.whole_days(scope) {
            Figures::of(&day?).add_to(&mut whole)?;
            whole.days += 1;
        }
        Some(whole)
    }

    /// The sum of each day with a row; `None` where it is too large.
    fn whole_days(&self, scope: &Scope) -> impl Iterator<Item = Option<Usage>> {
        self.days_of(scope)
            .map(|(date, day)| Some(Usage { day: Some(date.to_string()), ..day.whole.clone()? }))
    }

    /// The rows of `scope`, the oldest day first.
    fn of(&self, scope: &Scope) -> impl Iterator<Item = (Date, &Row)> {
        let user = scope.user_id.as_deref().map(|user| self.names.users.place_of(user));
        let rows = self.days_of(scope).flat_map(|(date, day)| day.rows.iter().map(move |row| (date, row)));
        rows.filter(move |(_, row)| user.is_none_or(|user| user == Some(row.user)))
    }

    fn days_of(&self, scope: &Scope) -> impl Iterator<Item = (Date, &Day)> {
        let period = scope.from..=scope.to;
        // A range that ends before it begins is no range to a tree.
        let days = (!period.is_empty()).then(|| self.days.range(period)).into_iter().flatten();
        days.map(|(date, day)| (*date, &**day))
    }
}

impl Day {
    pub(super) fn of(rows: Vec<Row>) -> Self {
        let of_all = rows.first().and_then(|first| {
            let mut sum = Sum::before(Date::ZERO, first);
            rows.iter().try_for_each(|row| sum.add(Date::ZERO, row)).map(|()| sum.usage)
        });
        Self { rows: rows.into(), whole: of_all }
    }
}

impl Figures {
    fn of(usage: &Usage) -> Self {
        Self {
            counts: [usage.requests, usage.prompt_tokens, usage.completion_tokens],
            money: [usage.cost_pico_usd, usage.charge_pico_usd],
            activity_at_ms: [usage.first_activity_at_ms, usage.last_activity_at_ms],
        }
    }

    const fn of_row(row: &Row) -> Self {
        Self {
            counts: [row.requests, row.prompt_tokens, row.completion_tokens],
            money: [row.cost_pico_usd, row.charge_pico_usd],
            activity_at_ms: [Some(row.first_activity_at_ms), Some(row.last_activity_at_ms)],
        }
    }

    fn add_to(self, usage: &mut Usage) -> Option<()> {
        let [requests, prompt, completion] = self.counts;
        let ([cost, charge], [first, last]) = (self.money, self.activity_at_ms);
        usage.requests = usage.requests.checked_add(requests)?;
        usage.prompt_tokens = usage.prompt_tokens.checked_add(prompt)?;
        usage.completion_tokens = usage.completion_tokens.checked_add(completion)?;
        usage.cost_pico_usd = usage.cost_pico_usd.checked_add(cost)?;
        usage.charge_pico_usd = usage.charge_pico_usd.checked_add(charge)?;
        usage.first_activity_at_ms = [usage.first_activity_at_ms, first].into_iter().flatten().min();
        usage.last_activity_at_ms = usage.last_activity_at_ms.max(last);
        Some(())
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
        self.places.get_mut(place)?.get_or_insert_with(|| Sum::before(day, row)).add(day, row)
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
    /// Of nothing yet, to which `row` is added next.
    const fn before(day: Date, row: &Row) -> Self {
        Self { usage: Usage { days: 1, users: Some(1), ..Usage::ZERO }, day, user: row.user }
    }

    fn add(&mut self, day: Date, row: &Row) -> Option<()> {
        Figures::of_row(row).add_to(&mut self.usage)?;
        self.usage.days += i64::from(self.day != day);
        self.usage.users = self.usage.users.map(|users| users + i64::from(self.user != row.user));
        (self.day, self.user) = (day, row.user);
        Some(())
    }
}
