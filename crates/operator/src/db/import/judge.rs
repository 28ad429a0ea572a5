//! How much one organisation used on one day, where the original's tables do not say it with one voice.
//!
//! The day's row is what the original charged. Where there are several, or a live counter beside it, the rows of the users tell which
//! of them are the same calls twice: every call that the original recorded went into those too.

use std::collections::{BTreeMap, BTreeSet};

use ledger::{OriginalFigures, OriginalRow, OriginalTable, UnreadableRow};

/// What the tables say of one day of one organisation.
#[derive(Debug, Default)]
pub(super) struct DayRows<'a> {
    pub(super) days: Vec<&'a OriginalRow>,
    pub(super) users: Vec<&'a OriginalRow>,
    pub(super) models: Vec<&'a OriginalRow>,
    pub(super) counters: Vec<&'a OriginalRow>,
    pub(super) both: Vec<&'a OriginalRow>,
    pub(super) unreadable: Vec<&'a UnreadableRow>,
}

/// What becomes of a day of which rows may be the same calls twice, and nothing tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Doubled {
    /// It is not booked.
    Refuse,
    /// All of it is booked, which is what the original showed.
    Sum,
    /// The row with the highest charge is booked.
    Largest,
}

/// How much it was, and how that is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) total: OriginalFigures,
    /// The table or the tables it comes from.
    pub(super) basis: &'static str,
    pub(super) notes: Vec<String>,
}

const OUT_OF_RANGE: &str = "the sum of its rows is out of range";

impl Judged {
    const fn of(total: OriginalFigures, basis: &'static str) -> Self {
        Self { total, basis, notes: Vec::new() }
    }

    fn noted(total: OriginalFigures, basis: &'static str, note: String) -> Self {
        Self { total, basis, notes: vec![note] }
    }
}

impl<'a> DayRows<'a> {
    pub(super) fn add(&mut self, row: &'a OriginalRow) {
        match row.table {
            OriginalTable::Day => self.days.push(row),
            OriginalTable::User => self.users.push(row),
            OriginalTable::Model => self.models.push(row),
            OriginalTable::Counter => self.counters.push(row),
            OriginalTable::UserAndModel => self.both.push(row),
        }
    }

    /// How much it was; why that cannot be told.
    pub(super) fn judge(&self, doubled: Doubled, has_day_table: bool) -> Result<Judged, String> {
        self.refuse_unreadable()?;
        if !self.both.is_empty() {
            return Ok(Judged::of(sum(&self.both)?, OriginalTable::UserAndModel.name()));
        }
        let day = self.of_day_rows(doubled)?;
        let counter = sum(&self.counters)?;
        let counter = (counter != OriginalFigures::default()).then_some(counter);
        match (day, counter) {
            (Some(day), None) => Ok(day),
            (Some(day), Some(counter)) => self.beside_counter(&day, counter, doubled),
            // Without a table of days the counter is another generation's, which does not say when it begins anew.
            (None, Some(counter)) if has_day_table || self.users.is_empty() => {
                Ok(Judged::of(counter, OriginalTable::Counter.name()))
            }
            (None, _) => self.without_day_row(has_day_table),
        }
    }

    /// A row whose amount is unknown makes the day's unknown. Users and models only divide it.
    fn refuse_unreadable(&self) -> Result<(), String> {
        let divides = |table| matches!(table, OriginalTable::User | OriginalTable::Model);
        let is_needed =
            |row: &&&UnreadableRow| !divides(row.table) || self.days.is_empty() && self.counters.is_empty();
        match self.unreadable.iter().find(is_needed) {
            None => Ok(()),
            Some(row) => Err(format!("row {} of {} cannot be read: {}", row.id, row.table.name(), row.why)),
        }
    }

    fn of_day_rows(&self, doubled: Doubled) -> Result<Option<Judged>, String> {
        let table = OriginalTable::Day.name();
        let (first, all) = match self.days.as_slice() {
            [] => return Ok(None),
            [only] => return Ok(Some(Judged::of(only.figures, table))),
            [first, ..] => (first.figures, sum(&self.days)?),
        };
        let ids: Vec<&str> = self.days.iter().map(|row| row.id.as_str()).collect();
        let rows = format!("{} rows for the day ({})", ids.len(), ids.join(", "));
        let evidence = self.evidence()?;
        let is = |figures: &OriginalFigures| evidence.is_some_and(|evidence| evidence.same_calls(figures));
        let one = self.days.iter().find(|row| is(&row.figures));
        let (total, words) = match one {
            _ if is(&all) => {
                (all, "added, the rows of the users are as many calls as all of them".to_owned())
            }
            Some(one) => {
                (one.figures, format!("{} alone, the rows of the users are as many calls as it", one.id))
            }
            None if self.days.iter().all(|row| row.figures == first) => {
                (first, "taken once, they are the same".to_owned())
            }
            None => {
                let figures = self.days.iter().map(|row| row.figures);
                let largest = figures.max_by_key(|figures| figures.charge).unwrap_or(first);
                return decided(doubled, (all, largest), table, &rows).map(Some);
            }
        };
        Ok(Some(Judged::noted(total, table, format!("{rows}: {words}"))))
    }

    /// The original's sync added to the day's row and to the counter, and its totals added both.
    fn beside_counter(
        &self,
        day: &Judged,
        counter: OriginalFigures,
        doubled: Doubled,
    ) -> Result<Judged, String> {
        let both = day.total.plus(counter).ok_or(OUT_OF_RANGE)?;
        let rows = "a live counter beside the day's row";
        let evidence = self.evidence()?;
        let is = |figures: &OriginalFigures| evidence.is_some_and(|evidence| evidence.same_calls(figures));
        let noted_also = |total, basis, note: String| {
            let mut notes = day.notes.clone();
            notes.push(note);
            Ok(Judged { total, basis, notes })
        };
        let (table, live) = (OriginalTable::Day.name(), OriginalTable::Counter.name());
        for (figures, basis, words) in [
            (counter, live, "the counter alone"),
            (day.total, table, "the row alone"),
            (both, "client_daily_usage and client_live_counters", "added"),
        ] {
            if is(&figures) {
                return noted_also(
                    figures,
                    basis,
                    format!("{rows}: {words}, the rows of the users are as many calls"),
                );
            }
        }
        if day.total == counter {
            return noted_also(day.total, table, format!("{rows}: taken once, they are the same"));
        }
        if evidence.is_none() && covers(&counter, &day.total) {
            let words = "the counter alone, which the sync wrote too and which is the larger";
            return noted_also(counter, live, format!("{rows}: {words}"));
        }
        let largest = if counter.charge > day.total.charge { counter } else { day.total };
        let decided = decided(doubled, (both, largest), "client_daily_usage and client_live_counters", rows)?;
        noted_also(decided.total, decided.basis, decided.notes.join("; "))
    }

    fn without_day_row(&self, has_day_table: bool) -> Result<Judged, String> {
        let (rows, table) = if self.users.is_empty() {
            (&self.models, OriginalTable::Model)
        } else {
            (&self.users, OriginalTable::User)
        };
        let total = once_each(rows, &OriginalFigures::default())?;
        let mut notes = total.notes;
        if has_day_table {
            notes.push(format!("no row in client_daily_usage: what {} says", table.name()));
        }
        Ok(Judged { total: total.sum, basis: table.name(), notes })
    }

    /// What the users' rows add up to, else the models'; `None` where that cannot tell one day's row from another.
    fn evidence(&self) -> Result<Option<OriginalFigures>, String> {
        for rows in [&self.users, &self.models] {
            if !rows.is_empty() {
                let keys: BTreeSet<&str> = rows.iter().map(|row| key_of(row)).collect();
                let distinct = keys.len() == rows.len();
                return Ok(if distinct { Some(sum(rows)?) } else { None });
            }
        }
        Ok(None)
    }
}

/// Rows by user or model, of which some may stand there twice.
pub(super) struct OnceEach<'a> {
    pub(super) by_key: Vec<(&'a str, OriginalFigures)>,
    pub(super) sum: OriginalFigures,
    pub(super) notes: Vec<String>,
}

/// One sum for each user or model. Where one has several rows, `total` tells whether they are parts or the same calls twice; else whether
/// they are equal does.
pub(super) fn once_each<'a>(
    rows: &[&'a OriginalRow],
    total: &OriginalFigures,
) -> Result<OnceEach<'a>, String> {
    let mut groups: BTreeMap<&str, Vec<OriginalFigures>> = BTreeMap::new();
    for row in rows {
        groups.entry(key_of(row)).or_default().push(row.figures);
    }
    let added = |group: &[OriginalFigures]| OriginalFigures::sum(group.iter().copied()).ok_or(OUT_OF_RANGE);
    let largest =
        |group: &[OriginalFigures]| group.iter().copied().max_by_key(|row| row.charge).unwrap_or_default();
    let all = OriginalFigures::sum(rows.iter().map(|row| row.figures)).ok_or(OUT_OF_RANGE)?;
    let once = OriginalFigures::sum(groups.values().map(|group| largest(group))).ok_or(OUT_OF_RANGE)?;
    let several: Vec<&str> =
        groups.iter().filter(|(_, group)| group.len() > 1).map(|(key, _)| *key).collect();
    let equal = |group: &Vec<OriginalFigures>| group.iter().all(|row| Some(row) == group.first());
    let twice = !all.same_calls(total) && (once.same_calls(total) || groups.values().all(equal));
    let by_key: Result<Vec<_>, &str> = groups
        .iter()
        .map(|(key, group)| Ok((*key, if twice { largest(group) } else { added(group)? })))
        .collect();
    let words = if twice { "taken once" } else { "added" };
    let notes = several.iter().map(|key| format!("several rows of {key}: {words}")).collect();
    Ok(OnceEach { by_key: by_key?, sum: if twice { once } else { all }, notes })
}

fn key_of(row: &OriginalRow) -> &str {
    row.user_id.as_deref().or(row.model.as_deref()).unwrap_or_default()
}

fn sum(rows: &[&OriginalRow]) -> Result<OriginalFigures, String> {
    OriginalFigures::sum(rows.iter().map(|row| row.figures)).ok_or_else(|| OUT_OF_RANGE.to_owned())
}

fn covers(larger: &OriginalFigures, smaller: &OriginalFigures) -> bool {
    larger.tokens() >= smaller.tokens()
        && larger.requests >= smaller.requests
        && larger.cost >= smaller.cost
        && larger.charge >= smaller.charge
}

/// What the person decided, where nothing else tells.
fn decided(
    doubled: Doubled,
    (all, largest): (OriginalFigures, OriginalFigures),
    basis: &'static str,
    rows: &str,
) -> Result<Judged, String> {
    let (total, words) = match doubled {
        Doubled::Refuse => {
            return Err(format!("{rows}, and nothing tells whether they are the same calls twice"));
        }
        Doubled::Sum => (all, "added, because --doubled sum says so"),
        Doubled::Largest => (largest, "the largest alone, because --doubled largest says so"),
    };
    Ok(Judged { total, basis, notes: vec![format!("{rows}: {words}")] })
}
