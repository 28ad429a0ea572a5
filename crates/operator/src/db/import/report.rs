//! What an import comes to, for people and for machines.

use comfy_table::Cell;
use ledger::{OriginalFigures, OriginalTable, UnreadableRow};
use metering::PicoUsd;
use serde::Serialize;

use super::ImportArgs;
use super::plan::{Facts, PlannedDay, SAMPLE, State, Wanted, until};
use crate::keys::pretty;
use crate::table::{printed, table, text};
use crate::{Console, OperatorError};

/// Everything.
#[derive(Serialize)]
pub(super) struct Report {
    dry_run: bool,
    from: String,
    organisations: Vec<String>,
    /// Others that have usage in the file.
    not_taken: Vec<String>,
    tables: Vec<&'static str>,
    until: Option<String>,
    days: Vec<Day>,
    unreadable: Vec<Unreadable>,
    notes: Vec<String>,
    /// All that is to be booked.
    total: Figures,
    /// Entries that were booked.
    pub(super) booked_entries: u64,
}

/// One day.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "they are the names in the JSON")]
struct Day {
    day: String,
    organisation: String,
    state: &'static str,
    why: Option<String>,
    basis: &'static str,
    day_rows: Vec<Figures>,
    users: Option<Figures>,
    models: Option<Figures>,
    counter: Option<Figures>,
    users_and_models: Option<Figures>,
    total: Figures,
    parts: Vec<Part>,
    notes: Vec<String>,
}

/// One entry.
#[derive(Serialize)]
struct Part {
    user_id: String,
    model: String,
    #[serde(flatten)]
    figures: Figures,
}

/// How much; money as decimal text.
#[derive(Serialize)]
struct Figures {
    prompt_tokens: i64,
    completion_tokens: i64,
    requests: i64,
    cost_usd: String,
    charge_usd: String,
}

/// A row that cannot be believed.
#[derive(Serialize)]
struct Unreadable {
    table: &'static str,
    id: String,
    organisation: Option<String>,
    day: Option<String>,
    why: String,
}

impl Report {
    pub(super) fn of(args: &ImportArgs, (wanted, facts): (&Wanted, &Facts), days: &[PlannedDay]) -> Self {
        let new = days.iter().filter(|day| day.state == State::New).map(|day| day.total);
        let mut others: Vec<String> = facts.source.rows.iter().map(|row| row.org_id.clone()).collect();
        others.sort_unstable();
        others.dedup();
        others.retain(|org_id| !wanted.organisations.contains(org_id));
        Self {
            dry_run: args.dry_run,
            from: args.from.display().to_string(),
            organisations: wanted.organisations.clone(),
            notes: notes(facts, wanted, &others),
            not_taken: others,
            tables: facts.source.tables.iter().map(|table| table.name()).collect(),
            until: until(wanted, facts).map(|day| day.to_string()),
            days: days.iter().map(Day::of).collect(),
            unreadable: facts.source.unreadable.iter().map(Unreadable::of).collect(),
            total: Figures::of(&OriginalFigures::sum(new).unwrap_or_default()),
            booked_entries: 0,
        }
    }

    pub(super) fn print(&self, json: bool, console: &mut Console) -> Result<(), OperatorError> {
        if json {
            return console.say(&pretty(self));
        }
        let mut rows = table(["DAY", "DAY ROW", "USERS", "MODELS", "COUNTER", "BOOKED", "STATE"]);
        for day in &self.days {
            let day_row = match day.day_rows.as_slice() {
                [] => day
                    .users_and_models
                    .as_ref()
                    .map_or_else(|| "-".to_owned(), |rows| rows.charge_usd.clone()),
                several => {
                    several.iter().map(|row| row.charge_usd.as_str()).collect::<Vec<_>>().join(" and ")
                }
            };
            let charge =
                |figures: &Option<Figures>| figures.as_ref().map_or("-", |told| &told.charge_usd).to_owned();
            let booked = match day.state {
                "new" | "already booked" => day.total.charge_usd.clone(),
                _ => "-".to_owned(),
            };
            rows.add_row(vec![
                Cell::new(&day.day),
                text(&day_row),
                text(&charge(&day.users)),
                text(&charge(&day.models)),
                text(&charge(&day.counter)),
                text(&booked),
                text(day.state),
            ]);
        }
        console.say(&printed(&rows))?;
        for day in &self.days {
            for note in day.why.iter().chain(&day.notes) {
                console.say(&shown(&format!("{}: {note}", day.day)))?;
            }
        }
        for row in self.unreadable.iter().filter(|row| row.day.is_none()) {
            console.say(&shown(&format!("row {} of {} is not taken: {}", row.id, row.table, row.why)))?;
        }
        for note in &self.notes {
            console.say(&shown(note))?;
        }
        let new = self.days.iter().filter(|day| day.state == "new").count();
        console.say(&format!(
            "{new} of {} days {} booked: cost {} USD, charge {} USD, {} calls; charges above in USD",
            self.days.len(),
            if self.dry_run { "would be" } else { "are to be" },
            self.total.cost_usd,
            self.total.charge_usd,
            self.total.requests,
        ))
    }
}

/// What comes from a foreign file must not move the cursor.
fn shown(line: &str) -> String {
    line.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect()
}

/// What is to be known of the file as a whole.
fn notes(facts: &Facts, wanted: &Wanted, others: &[String]) -> Vec<String> {
    let taken = |table: OriginalTable| {
        facts
            .source
            .rows
            .iter()
            .filter(move |row| row.table == table && wanted.organisations.contains(&row.org_id))
    };
    let mut notes = Vec::new();
    if taken(OriginalTable::UserAndModel).next().is_some() {
        notes.push(
            "organization_usage: its sync added the same two days on every run, so that its amounts may be too high; it had no markup"
                .to_owned(),
        );
    }
    if taken(OriginalTable::Day).any(|row| uuid::Uuid::try_parse(&row.id).is_ok()) {
        notes.push(
            "rows with a random id come from the last generation, which may have put its markup on twice; they are booked as charged"
                .to_owned(),
        );
    }
    for other in others {
        let why = if other == SAMPLE {
            "sample data that create_tables.py made up"
        } else {
            "another organisation"
        };
        notes.push(format!("not taken: {other}, {why}"));
    }
    notes
}

impl Day {
    fn of(day: &PlannedDay) -> Self {
        let (state, why) = match &day.state {
            State::New => ("new", None),
            State::Already => ("already booked", None),
            State::Nothing => ("nothing used", None),
            State::Metered => {
                ("metered", Some("not booked: the sidecar has counted since then, see --until".to_owned()))
            }
            State::Unclear(why) => ("unclear", Some(format!("not booked: {why}"))),
            State::Changed { booked } => (
                "changed",
                Some(format!(
                    "not booked again: it was booked as cost {}, charge {} USD, {} calls, and the file tells cost {}, charge {} \
                     USD, {} calls now, or divides it otherwise",
                    booked.cost,
                    booked.charge,
                    booked.requests,
                    day.total.cost,
                    day.total.charge,
                    day.total.requests
                )),
            ),
        };
        let parts = day.parts.iter().map(|((user_id, model), figures)| Part {
            user_id: user_id.clone(),
            model: model.clone(),
            figures: Figures::of(figures),
        });
        Self {
            day: day.day.to_string(),
            organisation: day.organisation.clone(),
            state,
            why,
            basis: day.basis,
            day_rows: day.told.days.iter().map(Figures::of).collect(),
            users: day.told.users.as_ref().map(Figures::of),
            models: day.told.models.as_ref().map(Figures::of),
            counter: day.told.counter.as_ref().map(Figures::of),
            users_and_models: day.told.users_and_models.as_ref().map(Figures::of),
            total: Figures::of(&day.total),
            parts: parts.collect(),
            notes: day.notes.clone(),
        }
    }
}

impl Figures {
    fn of(figures: &OriginalFigures) -> Self {
        let usd = |amount: PicoUsd| amount.to_string();
        Self {
            prompt_tokens: figures.prompt_tokens,
            completion_tokens: figures.completion_tokens,
            requests: figures.requests,
            cost_usd: usd(figures.cost),
            charge_usd: usd(figures.charge),
        }
    }
}

impl Unreadable {
    fn of(row: &UnreadableRow) -> Self {
        Self {
            table: row.table.name(),
            id: row.id.clone(),
            organisation: row.org_id.clone(),
            day: row.day.map(|day| day.to_string()),
            why: row.why.clone(),
        }
    }
}
