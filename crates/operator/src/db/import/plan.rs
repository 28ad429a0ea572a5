//! What is to be booked of each day, as data.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::civil::Date;
use ledger::{IMPORT, Imported, OriginalFigures, OriginalRows, OriginalTable};
use metering::{BillingZone, OrgId};

use super::judge::{DayRows, Doubled};
use super::parts::{Parts, People, divide};

/// The organisation of the original's sample data.
pub(super) const SAMPLE: &str = "default_org_2024";

/// Longest reference of an adjustment.
const LONGEST_REFERENCE: usize = 512;

/// What there is.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) source: OriginalRows,
    /// The ledger's organisation.
    pub(super) org_id: OrgId,
    pub(super) zone: BillingZone,
    /// What was imported before.
    pub(super) imported: Vec<Imported>,
    /// When the first call came through the sidecar.
    pub(super) first_call_at: Option<Timestamp>,
    /// Users whose names the ledger knows.
    pub(super) named: BTreeSet<String>,
}

/// What the person wants.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The organisations of the file whose usage is taken.
    pub(super) organisations: Vec<String>,
    /// The first day that is not.
    pub(super) until: Option<Date>,
    pub(super) doubled: Doubled,
}

/// A day of one organisation of the file.
#[derive(Debug)]
pub(super) struct PlannedDay {
    pub(super) organisation: String,
    pub(super) day: Date,
    pub(super) state: State,
    pub(super) told: Told,
    /// What the day comes to; zero where that cannot be told.
    pub(super) total: OriginalFigures,
    /// The table that says so.
    pub(super) basis: &'static str,
    pub(super) parts: Parts,
    /// When it was last written, where that is on the day.
    pub(super) occurred_at: Timestamp,
    pub(super) notes: Vec<String>,
}

/// What each table says.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub(super) days: Vec<OriginalFigures>,
    pub(super) users: Option<OriginalFigures>,
    pub(super) models: Option<OriginalFigures>,
    pub(super) counter: Option<OriginalFigures>,
    pub(super) users_and_models: Option<OriginalFigures>,
}

/// What becomes of a day.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    /// It is to be booked.
    New,
    /// It was booked before, as it is.
    Already,
    /// It was booked before, and the file tells something else now.
    Changed {
        /// What was booked.
        booked: OriginalFigures,
    },
    /// Nothing was used.
    Nothing,
    /// It is on or after the day from which the sidecar counts.
    Metered,
    /// What it comes to cannot be told.
    Unclear(String),
}

/// The first day that is not imported, unless the person names another: that of the first call through the sidecar.
pub(super) fn until(wanted: &Wanted, facts: &Facts) -> Option<Date> {
    wanted.until.or_else(|| facts.first_call_at.map(|first| facts.zone.day_of(first)))
}

/// Plans every day of the organisations wanted, by day.
pub(super) fn plan(wanted: &Wanted, facts: &Facts) -> Vec<PlannedDay> {
    let mut units: BTreeMap<(Date, &str), DayRows<'_>> = BTreeMap::new();
    let chosen: BTreeSet<&str> = wanted.organisations.iter().map(String::as_str).collect();
    for row in facts.source.rows.iter().filter(|row| chosen.contains(row.org_id.as_str())) {
        units.entry((row.day, &row.org_id)).or_default().add(row);
    }
    for row in &facts.source.unreadable {
        let place = row.day.zip(row.org_id.as_deref().filter(|org_id| chosen.contains(org_id)));
        if let Some(place) = place {
            units.entry(place).or_default().unreadable.push(row);
        }
    }
    let organisations: Vec<OrgId> =
        wanted.organisations.iter().map(OrgId::new).chain([facts.org_id.clone()]).collect();
    let planner = Planner {
        people: People::of(&facts.source.accounts, &organisations),
        booked: facts.imported.iter().map(|entry| (entry.reference.as_str(), figures_of(entry))).collect(),
        has_day_table: facts.source.tables.contains(&OriginalTable::Day),
        until: until(wanted, facts),
        doubled: wanted.doubled,
        zone: &facts.zone,
    };
    units.into_iter().map(|((day, organisation), rows)| planner.day(organisation, day, &rows)).collect()
}

struct Planner<'a> {
    people: People<'a>,
    booked: BTreeMap<&'a str, OriginalFigures>,
    has_day_table: bool,
    until: Option<Date>,
    doubled: Doubled,
    zone: &'a BillingZone,
}

impl Planner<'_> {
    fn day(&self, organisation: &str, day: Date, rows: &DayRows<'_>) -> PlannedDay {
        let mut planned = PlannedDay {
            organisation: organisation.to_owned(),
            day,
            state: State::Nothing,
            told: told(rows),
            total: OriginalFigures::default(),
            basis: "-",
            parts: Parts::new(),
            occurred_at: self.occurred_at(day, rows),
            notes: Vec::new(),
        };
        planned.state = self.state(&mut planned, rows).unwrap_or_else(State::Unclear);
        let lost = rows.unreadable.iter();
        planned.notes.extend(
            lost.map(|row| format!("row {} of {} cannot be read: {}", row.id, row.table.name(), row.why)),
        );
        planned
    }

    fn state(&self, planned: &mut PlannedDay, rows: &DayRows<'_>) -> Result<State, String> {
        let judged = rows.judge(self.doubled, self.has_day_table)?;
        let (parts, notes) = divide(rows, judged.total, &self.people)?;
        (planned.total, planned.basis, planned.parts) = (judged.total, judged.basis, parts);
        planned.notes = [judged.notes, notes].concat();
        let wanted: BTreeMap<String, OriginalFigures> = planned.references().collect();
        if wanted.keys().any(|reference| reference.len() > LONGEST_REFERENCE) {
            return Err("an id in it is too long".to_owned());
        }
        let prefix = prefix(&planned.organisation, planned.day);
        let booked: BTreeMap<String, OriginalFigures> = self
            .booked
            .range(prefix.as_str()..)
            .take_while(|(reference, _)| reference.starts_with(&prefix))
            .map(|(reference, figures)| ((*reference).to_owned(), *figures))
            .collect();
        if !booked.is_empty() {
            let sum = OriginalFigures::sum(booked.values().copied()).unwrap_or_default();
            return Ok(if booked == wanted { State::Already } else { State::Changed { booked: sum } });
        }
        if wanted.is_empty() {
            return Ok(State::Nothing);
        }
        let is_metered = self.until.is_some_and(|until| planned.day >= until);
        Ok(if is_metered { State::Metered } else { State::New })
    }

    /// When the day was last written, where that is on that day; else its noon.
    fn occurred_at(&self, day: Date, rows: &DayRows<'_>) -> Timestamp {
        let all = [&rows.days, &rows.users, &rows.models, &rows.counters, &rows.both].into_iter().flatten();
        let written = all.filter_map(|row| row.updated_at).filter(|at| self.zone.day_of(*at) == day).max();
        let noon = || self.zone.bounds_of(day).map(|(start, end)| start + end.duration_since(start) / 2);
        written.or_else(|| noon().ok()).unwrap_or(Timestamp::UNIX_EPOCH)
    }
}

impl PlannedDay {
    /// What each part is booked under. The model comes last, so that its colons mean nothing.
    pub(super) fn references(&self) -> impl Iterator<Item = (String, OriginalFigures)> + '_ {
        let prefix = prefix(&self.organisation, self.day);
        let name = move |user: &str, model: &str| format!("{prefix}{}:{model}", without_colons(user));
        self.parts.iter().map(move |((user, model), figures)| (name(user, model), *figures))
    }
}

fn prefix(organisation: &str, day: Date) -> String {
    format!("{IMPORT}{}:{day}:", without_colons(organisation))
}

fn without_colons(text: &str) -> String {
    text.replace('%', "%25").replace(':', "%3A")
}

fn figures_of(entry: &Imported) -> OriginalFigures {
    OriginalFigures {
        prompt_tokens: entry.prompt_tokens.unwrap_or(0),
        completion_tokens: entry.completion_tokens.unwrap_or(0),
        requests: entry.requests,
        cost: metering::PicoUsd::new(entry.cost_pico_usd),
        charge: metering::PicoUsd::new(entry.charge_pico_usd),
    }
}

fn told(rows: &DayRows<'_>) -> Told {
    let sum = |rows: &[&ledger::OriginalRow]| {
        (!rows.is_empty()).then(|| OriginalFigures::sum(rows.iter().map(|row| row.figures))).flatten()
    };
    Told {
        days: rows.days.iter().map(|row| row.figures).collect(),
        users: sum(&rows.users),
        models: sum(&rows.models),
        counter: sum(&rows.counters),
        users_and_models: sum(&rows.both),
    }
}
