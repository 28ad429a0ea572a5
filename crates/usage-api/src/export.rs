//! The tables as files, for spreadsheets and for programs.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use futures_util::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use http::{HeaderValue, header};
use ledger::{EntryPlace, Scope};
use rust_xlsxwriter::{Format, Workbook, XlsxError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::UsageApi;
use crate::caller::View;
use crate::calls::{Call, Filter};
use crate::error::ApiError;
use crate::question::{Asked, Period};
use crate::usage;

/// Calls that are read at once.
const PAGE: u32 = 1_000;

/// Rows of a sheet. It is made in memory, and twenty sidecars share a server.
const LARGEST_SHEET: usize = 10_000;

/// Columns that hold amounts: numbers in a sheet, which keeps fifteen digits of them. CSV and JSON keep all.
const AMOUNTS: [&str; 2] = ["charge", "cost"];

/// What is wanted.
#[derive(Debug, Deserialize)]
pub(crate) struct Wanted {
    what: What,
    format: FileFormat,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum What {
    ByDay,
    ByUser,
    ByModel,
    ByUserAndModel,
    Calls,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum FileFormat {
    Csv,
    Json,
    Xlsx,
}

/// Rows as the API tells them, a batch at a time.
type Rows = BoxStream<'static, Result<Vec<Value>, ApiError>>;

pub(crate) async fn export(
    State(api): State<Arc<UsageApi>>,
    Extension(view): Extension<View>,
    period: Period,
    Asked(Wanted { what, format }): Asked<Wanted>,
    Asked(filter): Asked<Filter>,
) -> Result<Response, ApiError> {
    if view.own.is_some() && matches!(what, What::ByUser | What::ByUserAndModel) {
        return Err(ApiError::NotAnAdmin);
    }
    let name = file_name(&api, what, format, period);
    let columns = what.columns(view.shows_cost);
    let rows = rows(&api, view, period, what, filter).await?;
    let (content_type, body) = match format {
        FileFormat::Csv => ("text/csv; charset=utf-8", csv(columns, rows)),
        FileFormat::Json => ("application/json", json(rows)),
        FileFormat::Xlsx => {
            let _turn = api.sheets.acquire().await;
            ("application/vnd.openxmlformats-officedocument.spreadsheetml.sheet", sheet(columns, rows).await?)
        }
    };
    let mut response = body.into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    Ok(response)
}

impl What {
    const fn name(self) -> &'static str {
        match self {
            Self::ByDay => "by-day",
            Self::ByUser => "by-user",
            Self::ByModel => "by-model",
            Self::ByUserAndModel => "by-user-and-model",
            Self::Calls => "calls",
        }
    }

    /// The fields of a row, in their order.
    fn columns(self, shows_cost: bool) -> Vec<&'static str> {
        let sums = ["requests", "prompt_tokens", "completion_tokens", "charge", "cost"].as_slice();
        let user = ["user_id", "name", "email"].as_slice();
        let columns: &[&[&'static str]] = match self {
            Self::ByDay => &[&["day"], sums, &["users", "last_activity_at"]],
            Self::ByUser => &[user, &["external_user"], sums, &["days", "last_activity_at"]],
            Self::ByModel => &[&["model", "provider"], sums, &["days", "last_activity_at"]],
            Self::ByUserAndModel => &[user, &["model"], sums, &["last_activity_at"]],
            Self::Calls => &[
                &["id", "kind", "at", "day"],
                user,
                &["model", "model_asked", "provider", "prompt_tokens", "completion_tokens"],
                &["reasoning_tokens", "cached_tokens", "charge", "cost", "cost_source", "generation_id"],
            ],
        };
        columns.concat().into_iter().filter(|column| shows_cost || *column != "cost").collect()
    }
}

async fn rows(
    api: &Arc<UsageApi>,
    view: View,
    period: Period,
    what: What,
    filter: Filter,
) -> Result<Rows, ApiError> {
    let (state, seen_as) = (State(api.clone()), Extension(view.clone()));
    let rows = match what {
        What::ByDay => values(usage::by_day(state, seen_as, period).await?.0.days),
        What::ByUser => values(usage::by_user(state, seen_as, period).await?.0.users),
        What::ByModel => values(usage::by_model(state, seen_as, period).await?.0.models),
        What::ByUserAndModel => values(usage::by_user_and_model(state, seen_as, period).await?.0.rows),
        What::Calls => {
            let scope = filter.scope(api, &view, period)?;
            return Ok(calls(api.clone(), view, scope, filter.model));
        }
    };
    Ok(stream::once(async { rows }).boxed())
}

fn values<T: Serialize>(rows: Vec<T>) -> Result<Vec<Value>, ApiError> {
    let values: Result<Vec<Value>, _> = rows.into_iter().map(serde_json::to_value).collect();
    values.map_err(|error| ApiError::Internal(error.to_string()))
}

/// All pages of calls, one after the other, so that millions of them need no memory.
fn calls(api: Arc<UsageApi>, view: View, scope: Scope, model: Option<String>) -> Rows {
    let first = Some(EntryPlace::end_of(scope.to));
    stream::try_unfold(first, move |before| {
        let (api, view, scope, model) = (api.clone(), view.clone(), scope.clone(), model.clone());
        async move {
            let Some(before) = before else { return Ok(None) };
            let reader = api.options.ledger.reader();
            let entries = reader.entries(&scope, model.as_deref(), Some(before), PAGE).await?;
            let next = entries.last().and_then(|last| EntryPlace::of(last).ok());
            let calls: Vec<Call> = entries.into_iter().map(|entry| Call::of(entry, &view)).collect();
            Ok((!calls.is_empty()).then_some((values(calls)?, next)))
        }
    })
    .boxed()
}

fn csv(columns: Vec<&'static str>, rows: Rows) -> Body {
    let header = line(columns.iter().map(|column| (*column).to_owned()));
    let lines = rows.and_then(move |rows| {
        let lines: Result<Vec<Vec<u8>>, ApiError> =
            rows.iter().map(|row| line(columns.iter().map(|column| csv_cell(row, column)))).collect();
        std::future::ready(lines.map(|lines| lines.concat()))
    });
    Body::from_stream(stream::once(async { header }).chain(lines))
}

fn line(cells: impl Iterator<Item = String>) -> Result<Vec<u8>, ApiError> {
    spreadsheet::line(cells).map_err(|error| ApiError::Internal(error.to_string()))
}

/// The text of a cell.
fn csv_cell(row: &Value, column: &str) -> String {
    match row.get(column) {
        Some(Value::String(text)) if AMOUNTS.contains(&column) => text.clone(),
        Some(Value::String(text)) => spreadsheet::text(text).into_owned(),
        None | Some(Value::Null) => String::new(),
        Some(other) => other.to_string(),
    }
}

/// A list of the rows, one a line.
fn json(rows: Rows) -> Body {
    let mut is_first = true;
    let lines = rows.map_ok(move |rows| {
        rows.into_iter().fold(String::new(), |text, row| {
            let between = if std::mem::take(&mut is_first) { "" } else { ",\n" };
            text + between + &row.to_string()
        })
    });
    let text = |text: &str| stream::once(std::future::ready(Ok::<_, ApiError>(text.to_owned())));
    Body::from_stream(text("[\n").chain(lines).chain(text("\n]\n")))
}

async fn sheet(columns: Vec<&'static str>, mut rows: Rows) -> Result<Body, ApiError> {
    let mut all = Vec::new();
    while let Some(batch) = rows.try_next().await? {
        all.extend(batch);
        if all.len() > LARGEST_SHEET {
            return Err(ApiError::BadQuestion(format!(
                "a sheet holds at most {LARGEST_SHEET} rows; hint: format=csv, or a shorter period"
            )));
        }
    }
    let made = tokio::task::spawn_blocking(move || workbook(&columns, &all)).await;
    match made {
        Ok(Ok(bytes)) => Ok(Body::from(bytes)),
        Ok(Err(error)) => Err(ApiError::Internal(error.to_string())),
        Err(error) => Err(ApiError::Internal(error.to_string())),
    }
}

/// Text is written as text, so that nothing in it is a formula.
fn workbook(columns: &[&str], rows: &[Value]) -> Result<Vec<u8>, XlsxError> {
    let mut workbook = Workbook::new();
    let (bold, amount) = (Format::new().set_bold(), Format::new().set_num_format("0.00####"));
    let sheet = workbook.add_worksheet();
    for (x, column) in (0_u16..).zip(columns) {
        sheet.write_string_with_format(0, x, *column, &bold)?;
        for (y, row) in (1_u32..).zip(rows) {
            match row.get(column) {
                Some(Value::String(text)) if AMOUNTS.contains(column) => match text.parse::<f64>() {
                    Ok(number) => sheet.write_number_with_format(y, x, number, &amount)?,
                    Err(_) => sheet.write_string(y, x, text)?,
                },
                Some(Value::String(text)) => sheet.write_string(y, x, text)?,
                Some(Value::Number(number)) => {
                    sheet.write_number(y, x, number.as_f64().unwrap_or_default())?
                }
                _ => continue,
            };
        }
    }
    sheet.set_freeze_panes(1, 0)?;
    sheet.autofit();
    workbook.save_to_buffer()
}

fn file_name(api: &UsageApi, what: What, format: FileFormat, Period { from, to }: Period) -> HeaderValue {
    let organisation = api.options.ledger.organisation();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_.".contains(letter);
    let owner: String = organisation.id.as_str().chars().filter(|letter| plain(*letter)).collect();
    let extension = match format {
        FileFormat::Csv => "csv",
        FileFormat::Json => "json",
        FileFormat::Xlsx => "xlsx",
    };
    let name = format!("attachment; filename=\"{owner}-{}-{from}-{to}.{extension}\"", what.name());
    HeaderValue::from_str(&name).unwrap_or(HeaderValue::from_static("attachment"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_in_a_table_is_a_formula() {
        let row = json!({ "name": "=1+1", "email": "@x", "model": "a/b", "charge": "-0.5", "requests": 7, "at": null });
        for (column, text) in [
            ("name", "'=1+1"),
            ("email", "'@x"),
            ("model", "a/b"),
            ("charge", "-0.5"),
            ("requests", "7"),
            ("at", ""),
            ("provider", ""),
        ] {
            assert_eq!(csv_cell(&row, column), text, "{column}");
        }
    }
}
