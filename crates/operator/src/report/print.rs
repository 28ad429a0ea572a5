//! A report for people, for spreadsheets and for programs.

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::rows::{Row, Sums};
use super::{By, Format, Report};
use crate::OperatorError;
use crate::keys::pretty;
use crate::table::{NONE, counted, number, printed, table, text};

/// What tells the clients apart.
const OWNER: [&str; 3] = ["client", "organisation_id", "organisation"];

/// The numbers of a row, as in [`Sums`].
const SUMS: [&str; 7] = [
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "cost_usd",
    "charge_usd",
    "profit_usd",
    "not_yet_known",
];

/// What is left out: a client that could not be read.
#[derive(Debug, Serialize)]
pub(super) struct Unread {
    pub(super) client: String,
    pub(super) error: String,
}

pub(super) fn print(report: &Report, format: Format) -> Result<String, OperatorError> {
    match format {
        Format::Table => Ok(for_people(report)),
        Format::Csv => for_spreadsheets(report),
        Format::Json => Ok(for_programs(report)),
    }
}

fn for_people(report: &Report) -> String {
    let keys = match report.by {
        By::Client => ["CLIENT", "ORGANISATION"],
        By::User => ["CLIENT", "USER"],
        By::Model => ["CLIENT", "MODEL"],
        By::Month => ["CLIENT", "MONTH"],
        By::Day => ["CLIENT", "DAY"],
    };
    let [client, key] = keys;
    let mut table = table([client, key, "REQUESTS", "TOKENS", "COST", "CHARGE", "PROFIT", "NOT YET KNOWN"]);
    for row in &report.rows {
        table.add_row(
            [text(&row.client), text(&shown_key(report.by, row))].into_iter().chain(cells(&row.sums)),
        );
    }
    table.add_row([text("TOTAL"), text("")].into_iter().chain(cells(&report.total)));
    let mut said =
        vec![printed(&table), format!("{} to {}, amounts in USD", report.period.from, report.period.to)];
    if report.total.not_yet_known > 0 {
        said.push(not_yet_known(report));
    }
    said.join("\n")
}

/// In words.
pub(super) fn not_yet_known(report: &Report) -> String {
    let calls = counted(report.total.not_yet_known, "call");
    format!("not yet known: {calls}, whose cost is in none of the sums")
}

fn cells(sums: &Sums) -> [comfy_table::Cell; 6] {
    [
        number(sums.requests),
        number(sums.tokens()),
        number(sums.cost_usd),
        number(sums.charge_usd),
        number(sums.profit_usd),
        number(sums.not_yet_known),
    ]
}

/// A user by the best that is known of him.
fn shown_key(by: By, row: &Row) -> String {
    let key = |place: usize| row.keys.get(place).cloned().flatten();
    match by {
        By::Client => row.organisation.clone(),
        By::User => match (key(1), key(2)) {
            (Some(name), Some(email)) => format!("{name} <{email}>"),
            (Some(known), None) | (None, Some(known)) => known,
            (None, None) => key(0).unwrap_or_default(),
        },
        By::Model | By::Month | By::Day => key(0).unwrap_or_else(|| NONE.to_owned()),
    }
}

/// The rows alone: a column can be added up.
fn for_spreadsheets(report: &Report) -> Result<String, OperatorError> {
    let unwritable = |error: std::io::Error| OperatorError::Output(error);
    let line = |cells: Vec<String>| spreadsheet::line(cells).map_err(|error| unwritable(error.into()));
    let header = OWNER.iter().chain(report.by.keys()).chain(&SUMS);
    let mut lines = line(header.map(|name| (*name).to_owned()).collect())?;
    for row in &report.rows {
        let owner = [Some(&row.client), Some(&row.organisation_id), Some(&row.organisation)];
        let texts = owner.into_iter().chain(row.keys.iter().map(Option::as_ref));
        let texts =
            texts.map(|from_outside| spreadsheet::text(from_outside.map_or("", String::as_str)).into_owned());
        lines.extend(line(texts.chain(numbers(&row.sums)).collect())?);
    }
    String::from_utf8(lines).map_err(|error| unwritable(std::io::Error::other(error)))
}

/// In the order of [`SUMS`].
fn numbers(sums: &Sums) -> [String; SUMS.len()] {
    [
        sums.requests.to_string(),
        sums.prompt_tokens.to_string(),
        sums.completion_tokens.to_string(),
        sums.cost_usd.to_string(),
        sums.charge_usd.to_string(),
        sums.profit_usd.to_string(),
        sums.not_yet_known.to_string(),
    ]
}

fn for_programs(report: &Report) -> String {
    let rows: Vec<Value> = report.rows.iter().map(|row| object(report.by, row)).collect();
    pretty(&json!({
        "by": report.by.name(),
        "from": report.period.from,
        "to": report.period.to,
        "rows": rows,
        "total": report.total,
        "unread": report.unread,
    }))
}

fn object(by: By, row: &Row) -> Value {
    let owner = [&row.client, &row.organisation_id, &row.organisation].map(|text| json!(text));
    let keys = row.keys.iter().map(|key| json!(key));
    let names = OWNER.iter().chain(by.keys());
    let mut members: Map<String, Value> =
        names.map(|name| (*name).to_owned()).zip(owner.into_iter().chain(keys)).collect();
    if let Ok(Value::Object(sums)) = serde_json::to_value(row.sums) {
        members.extend(sums);
    }
    Value::Object(members)
}
