//! Whose usage a day's was, and of which model, as far as the original's tables tell it truthfully.

use std::collections::{BTreeMap, HashMap};

use ledger::{OriginalAccount, OriginalFigures, OriginalRow};
use metering::{ExternalUser, OrgId, PicoUsd, UNATTRIBUTED};

use super::judge::{DayRows, once_each};

/// The model of usage whose model the original did not keep.
pub(super) const IMPORTED: &str = "imported";

/// Users in the original's table who are nobody: its sync, its web hook, the button for tests, its last batch.
const NOBODY: [&str; 4] = ["background_sync", "manual_webhook", "manual_admin", "unknown"];

/// Figures by user and model.
pub(super) type Parts = BTreeMap<(String, String), OriginalFigures>;

/// Who the original's users are.
#[derive(Debug, Default)]
pub(super) struct People<'a> {
    by_external_user: HashMap<String, &'a str>,
}

impl<'a> People<'a> {
    /// `organisations` are those whose external users may stand in the table instead of the accounts' ids.
    pub(super) fn of(accounts: &'a [OriginalAccount], organisations: &[OrgId]) -> Self {
        let named = organisations.iter().flat_map(|org| {
            accounts.iter().map(move |account| {
                let user_id = metering::UserId::new(account.user_id.as_str());
                (ExternalUser::of(org, &user_id).as_str().to_owned(), account.user_id.as_str())
            })
        });
        Self { by_external_user: named.collect() }
    }

    /// The id under which the user of a row is booked. An account that is gone keeps its id.
    fn user(&self, told: &str) -> String {
        if NOBODY.contains(&told) {
            return UNATTRIBUTED.to_owned();
        }
        self.by_external_user.get(told).copied().unwrap_or(told).to_owned()
    }
}

/// Divides `total` so that its parts add up to it exactly; tells what did not. `None` where a sum is out of range.
pub(super) fn divide(
    rows: &DayRows<'_>,
    total: OriginalFigures,
    people: &People<'_>,
) -> Result<(Parts, Vec<String>), String> {
    const OUT_OF_RANGE: &str = "the sum of its parts is out of range";
    if !rows.both.is_empty() {
        return Ok((user_and_model(&rows.both, people).ok_or(OUT_OF_RANGE)?, Vec::new()));
    }
    let users = once_each(&rows.users, &total)?;
    let models = once_each(&rows.models, &total)?;
    let mut notes = [users.notes, models.notes].concat();
    let nobodies = users.by_key.iter().filter(|(user, _)| NOBODY.contains(user));
    notes.extend(nobodies.map(|(user, figures)| {
        format!("to {UNATTRIBUTED}: charge {} USD of {user}, which is nobody", figures.charge)
    }));
    let (mut parts, whole) = match (users.by_key.as_slice(), models.by_key.as_slice()) {
        // All calls were of one model: so were everybody's.
        (users, [(model, figures)]) if figures.same_calls(&total) => {
            (by_user(users, model, people).ok_or(OUT_OF_RANGE)?, *model)
        }
        // All calls were one person's, or nobody's: so are all models.
        ([], of) if !of.is_empty() && within(&models.sum, &total) => {
            (by_model(UNATTRIBUTED, total, of).ok_or(OUT_OF_RANGE)?, IMPORTED)
        }
        ([(user, figures)], of)
            if !of.is_empty() && figures.same_calls(&total) && within(&models.sum, figures) =>
        {
            (by_model(&people.user(user), *figures, of).ok_or(OUT_OF_RANGE)?, IMPORTED)
        }
        (users, _) => (by_user(users, IMPORTED, people).ok_or(OUT_OF_RANGE)?, IMPORTED),
    };
    let booked = OriginalFigures::sum(parts.values().copied()).ok_or(OUT_OF_RANGE)?;
    let rest = total.minus(booked).ok_or(OUT_OF_RANGE)?;
    let rows = rows.users.len() + rows.models.len() + 1;
    notes.extend(settle_rest(&mut parts, rest, (UNATTRIBUTED, whole), rows).ok_or(OUT_OF_RANGE)?);
    parts.retain(|_, figures| *figures != OriginalFigures::default());
    Ok((parts, notes))
}

fn user_and_model(rows: &[&OriginalRow], people: &People<'_>) -> Option<Parts> {
    let mut parts = Parts::new();
    for row in rows {
        let (user, model) =
            (row.user_id.as_deref().unwrap_or(UNATTRIBUTED), row.model.as_deref().unwrap_or(IMPORTED));
        add(&mut parts, (&people.user(user), model), row.figures)?;
    }
    parts.retain(|_, figures| *figures != OriginalFigures::default());
    Some(parts)
}

fn by_user(users: &[(&str, OriginalFigures)], model: &str, people: &People<'_>) -> Option<Parts> {
    let mut parts = Parts::new();
    for (user, figures) in users {
        add(&mut parts, (&people.user(user), model), *figures)?;
    }
    Some(parts)
}

/// What `user` had of each model; the rest of his under no model.
fn by_model(user: &str, whole: OriginalFigures, models: &[(&str, OriginalFigures)]) -> Option<Parts> {
    let mut parts = Parts::new();
    for (model, figures) in models {
        add(&mut parts, (user, model), *figures)?;
    }
    let rest = whole.minus(OriginalFigures::sum(parts.values().copied())?)?;
    settle_rest(&mut parts, rest, (user, IMPORTED), models.len() + 1)?;
    Some(parts)
}

/// Books what is left under `key`. Crumbs of rounding, at most a pico-dollar for each of `rows`, go to the largest part instead. The
/// original's doubles were rounded one by one, and its tables each add up in an order of their own.
fn settle_rest(
    parts: &mut Parts,
    rest: OriginalFigures,
    (user, model): (&str, &str),
    rows: usize,
) -> Option<Vec<String>> {
    if rest == OriginalFigures::default() {
        return Some(Vec::new());
    }
    let crumb =
        |amount: PicoUsd| usize::try_from(amount.pico().unsigned_abs()).is_ok_and(|pico| pico <= rows);
    let only_crumbs = rest.tokens() == 0 && rest.requests == 0 && crumb(rest.cost) && crumb(rest.charge);
    let largest = parts.iter().max_by_key(|(_, figures)| figures.charge).map(|(key, _)| key.clone());
    if let Some((user, model)) = largest.filter(|_| only_crumbs) {
        add(parts, (&user, &model), rest)?;
        return Some(vec![format!("rounding: {} pico-dollars of the charge to {user}", rest.charge.pico())]);
    }
    // A ledger has no tokens below zero.
    let told_more = rest.prompt_tokens < 0;
    add(parts, (user, model), OriginalFigures { prompt_tokens: rest.prompt_tokens.max(0), ..rest })?;
    let mut note = format!(
        "to {user}: {} tokens, {} calls, cost {}, charge {} USD, which no row divides",
        rest.tokens(),
        rest.requests,
        rest.cost,
        rest.charge
    );
    if told_more {
        note.push_str(
            "; the rows of the parts tell of more tokens than the whole, which stay as the parts tell them",
        );
    }
    Some(vec![note])
}

fn add(parts: &mut Parts, (user, model): (&str, &str), figures: OriginalFigures) -> Option<()> {
    let part = parts.entry((user.to_owned(), model.to_owned())).or_default();
    *part = part.plus(figures)?;
    Some(())
}

/// No more calls than the whole.
fn within(part: &OriginalFigures, whole: &OriginalFigures) -> bool {
    part.tokens() <= whole.tokens() && part.requests <= whole.requests
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use ledger::OriginalTable;
    use proptest::prelude::*;

    use super::super::judge::Doubled;
    use super::*;

    fn row(table: OriginalTable, key: u8, figures: OriginalFigures) -> OriginalRow {
        let key = format!("key-{key}");
        OriginalRow {
            table,
            id: key.clone(),
            org_id: "org".to_owned(),
            day: date(2025, 7, 28),
            user_id: matches!(table, OriginalTable::User | OriginalTable::UserAndModel).then(|| key.clone()),
            model: matches!(table, OriginalTable::Model | OriginalTable::UserAndModel).then_some(key),
            figures,
            updated_at: None,
        }
    }

    fn rows() -> impl Strategy<Value = Vec<OriginalRow>> {
        let table = prop::sample::select(&OriginalTable::ALL[..4]);
        let figures =
            (0..4_i64, 0..3_i64, 0..5_i64, 0..5_i64).prop_map(|(tokens, requests, cost, charge)| {
                let (cost, charge) = (PicoUsd::new(cost), PicoUsd::new(charge));
                OriginalFigures { prompt_tokens: tokens, completion_tokens: 0, requests, cost, charge }
            });
        prop::collection::vec(
            (table, 0..3_u8, figures).prop_map(|(table, key, figures)| row(table, key, figures)),
            0..8,
        )
    }

    proptest! {
        /// Whatever the tables say, the parts are the whole.
        #[test]
        fn parts_add_up_to_the_total(rows in rows(), has_day_table: bool) {
            let mut day = DayRows::default();
            for row in &rows {
                day.add(row);
            }
            for doubled in [Doubled::Refuse, Doubled::Sum, Doubled::Largest] {
                let Ok(judged) = day.judge(doubled, has_day_table) else {
                    prop_assert_eq!(doubled, Doubled::Refuse);
                    continue;
                };
                let (parts, _) = divide(&day, judged.total, &People::default()).unwrap();
                let sum = OriginalFigures::sum(parts.values().copied()).unwrap();
                prop_assert_eq!((sum.cost, sum.charge), (judged.total.cost, judged.total.charge));
                prop_assert_eq!(sum.requests, judged.total.requests);
                prop_assert!(sum.tokens() >= judged.total.tokens());
                prop_assert!(parts.values().all(|part| part.prompt_tokens >= 0 && part.completion_tokens >= 0));
                if let [only] = day.days.as_slice() {
                    let beside = day.counters.iter().any(|row| row.figures != OriginalFigures::default());
                    prop_assert!(beside || only.figures == judged.total);
                }
            }
        }
    }
}
