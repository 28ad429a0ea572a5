//! Which tables hold usage, and under which names their columns have been.

use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteRow;
use sqlx::{AssertSqlSafe, Error, Row as _, SqliteConnection};

use super::cells::{Cell, WIDTH, question};
use super::{OriginalAccount, OriginalFigures, OriginalOrganisation, OriginalRow, UnreadableRow};

/// Most rows of a table that are read: 20 people every day for forty years.
pub(super) const MOST_ROWS: usize = 300_000;

/// A table with usage.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum OriginalTable {
    /// One row a day: `client_daily_usage`.
    Day,
    /// One row a day and user: `client_user_daily_usage`.
    User,
    /// One row a day and model: `client_model_daily_usage`.
    Model,
    /// The day that is not over: `client_live_counters`.
    Counter,
    /// One row a day, user and model, of the first generation: `organization_usage`.
    UserAndModel,
}

/// The names that a table's columns may have; the first that is there counts.
struct Columns {
    org_id: &'static [&'static str],
    day: &'static [&'static str],
    user_id: &'static [&'static str],
    model: &'static [&'static str],
    requests: &'static [&'static str],
    cost: &'static [&'static str],
    charge: &'static [&'static str],
}

/// Cells of a row, in the order in which they are asked for.
const ID: usize = 0;
const ORG: usize = 1;
const DAY: usize = 2;
const USER: usize = 3;
const MODEL: usize = 4;
const TOKENS: usize = 5;
const INPUT: usize = 6;
const OUTPUT: usize = 7;
const REQUESTS: usize = 8;
const COST: usize = 9;
const CHARGE: usize = 10;
const UPDATED: usize = 11;
const CELLS: usize = 12;

impl OriginalTable {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Day, Self::User, Self::Model, Self::Counter, Self::UserAndModel];

    /// Whose usage it is where a table has no organisations: the id of the only row of `organization_settings`.
    pub const ONLY_ORGANISATION: &'static str = "default";

    /// Its name in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Day => "client_daily_usage",
            Self::User => "client_user_daily_usage",
            Self::Model => "client_model_daily_usage",
            Self::Counter => "client_live_counters",
            Self::UserAndModel => "organization_usage",
        }
    }

    const fn columns(self) -> Columns {
        let plain = Columns {
            org_id: &["client_org_id"],
            day: &["usage_date"],
            user_id: &[],
            model: &[],
            requests: &["total_requests"],
            cost: &["raw_cost"],
            charge: &["markup_cost"],
        };
        match self {
            Self::Day => plain,
            Self::User => Columns { user_id: &["user_id"], ..plain },
            Self::Model => Columns { model: &["model_name"], ..plain },
            Self::Counter => Columns {
                day: &["current_date", "last_reset_date"],
                requests: &["today_requests", "total_requests"],
                cost: &["today_raw_cost", "raw_cost"],
                charge: &["today_markup_cost", "markup_cost"],
                ..plain
            },
            Self::UserAndModel => Columns {
                org_id: &[],
                user_id: &["user_id"],
                model: &["model_name"],
                requests: &["request_count"],
                cost: &["total_cost"],
                charge: &["total_cost"],
                ..plain
            },
        }
    }

    /// What is asked for; `None` where a column is missing without which its rows tell nothing.
    fn questions(self, present: &[String]) -> Option<[Option<String>; CELLS]> {
        let columns = self.columns();
        let find = |names: &[&str]| {
            names
                .iter()
                .find_map(|name| present.iter().find(|column| column.eq_ignore_ascii_case(name)))
                .cloned()
        };
        let asked = [
            find(&["id", "client_org_id"]),
            find(columns.org_id),
            find(columns.day),
            find(columns.user_id),
            find(columns.model),
            find(&["total_tokens", "today_tokens"]),
            find(&["input_tokens"]),
            find(&["output_tokens"]),
            find(columns.requests),
            find(columns.cost),
            find(columns.charge),
            find(&["updated_at", "last_updated", "created_at"]),
        ];
        let needed = [
            (ORG, columns.org_id.is_empty()),
            (DAY, false),
            (USER, columns.user_id.is_empty()),
            (MODEL, columns.model.is_empty()),
            (TOKENS, false),
            (REQUESTS, false),
            (COST, false),
            (CHARGE, false),
        ];
        let there =
            |(cell, dispensable): (usize, bool)| dispensable || asked.get(cell).is_some_and(Option::is_some);
        needed.into_iter().all(there).then_some(asked)
    }
}

/// The columns of a table, in its order; none where there is no such table. A view is none: it says what its author likes.
async fn columns_of(table: &str, connection: &mut SqliteConnection) -> Result<Vec<String>, Error> {
    sqlx::query_scalar(
        "SELECT columns.name
         FROM sqlite_schema AS tables
         JOIN pragma_table_info(tables.name) AS columns
         WHERE tables.type = 'table' AND tables.name = ?1 COLLATE NOCASE
         ORDER BY columns.cid",
    )
    .bind(table)
    .fetch_all(connection)
    .await
}

/// What there is in `table`; `None` where there is no such table, or another one of that name.
pub(super) async fn read_usage(
    table: OriginalTable,
    connection: &mut SqliteConnection,
) -> Result<Option<Vec<Result<OriginalRow, UnreadableRow>>>, Error> {
    let present = columns_of(table.name(), connection).await?;
    let Some(asked) = table.questions(&present) else { return Ok(None) };
    Ok(Some(read_each(table.name(), &asked, |cells| read_row(table, cells), connection).await?))
}

/// What `read` makes of the cells of every row. A column that is not there is NULL everywhere.
async fn read_each<const N: usize, T>(
    table: &str,
    asked: &[Option<String>; N],
    read: impl Fn(&[Cell; N]) -> T,
    connection: &mut SqliteConnection,
) -> Result<Vec<T>, Error> {
    let columns: Vec<String> = asked
        .iter()
        .map(|column| column.as_deref().map_or_else(|| "'null', NULL, NULL, NULL".to_owned(), question))
        .collect();
    // One more than is read, to know whether there is more.
    let most = MOST_ROWS + 1;
    let sql = format!("SELECT {} FROM \"{table}\" LIMIT {most}", columns.join(", "));
    let mut rows = sqlx::query(AssertSqlSafe(sql)).fetch(connection);
    let mut all = Vec::new();
    while let Some(row) = rows.try_next().await? {
        all.push(read(&cells_of(&row)?));
    }
    Ok(all)
}

fn cells_of<const N: usize>(row: &SqliteRow) -> Result<[Cell; N], Error> {
    let mut cells = [const { Cell::Null }; N];
    for (place, cell) in cells.iter_mut().enumerate() {
        *cell = Cell::read(row, place * WIDTH)?;
    }
    Ok(cells)
}

fn read_row(table: OriginalTable, cells: &[Cell; CELLS]) -> Result<OriginalRow, UnreadableRow> {
    let columns = table.columns();
    let org_id = match columns.org_id {
        [] => Some(OriginalTable::ONLY_ORGANISATION.to_owned()),
        _ => cells[ORG].name(),
    };
    let day = cells[DAY].day();
    let id = cells[ID].name().unwrap_or_else(|| "-".to_owned());
    let unreadable = |what: &str, cell: &Cell| UnreadableRow {
        table,
        id: id.clone(),
        org_id: org_id.clone(),
        day,
        why: format!("{what} is {}", cell.shown()),
    };
    let count = |what: &str, cell: &Cell| cell.count().ok_or_else(|| unreadable(what, cell));
    let amount = |what: &str, cell: &Cell| cell.amount().ok_or_else(|| unreadable(what, cell));
    let tokens = count("the number of tokens", &cells[TOKENS])?;
    // Input and output are believed where they are the whole.
    let split =
        cells[INPUT].count().zip(cells[OUTPUT].count()).filter(|(input, output)| input + output == tokens);
    let (prompt_tokens, completion_tokens) = split.unwrap_or((tokens, 0));
    let figures = OriginalFigures {
        prompt_tokens,
        completion_tokens,
        requests: count("the number of calls", &cells[REQUESTS])?,
        cost: amount("the cost", &cells[COST])?,
        charge: amount("the charge", &cells[CHARGE])?,
    };
    let Some(day) = day else { return Err(unreadable("the day", &cells[DAY])) };
    let name = |names: &[&str], what: &str, cell: &Cell| match names {
        [] => Ok(None),
        _ => cell.name().map(Some).ok_or_else(|| unreadable(what, cell)),
    };
    Ok(OriginalRow {
        table,
        org_id: org_id.clone().ok_or_else(|| unreadable("the organisation", &cells[ORG]))?,
        day,
        user_id: name(columns.user_id, "the user", &cells[USER])?,
        model: name(columns.model, "the model", &cells[MODEL])?,
        figures,
        updated_at: cells[UPDATED].instant(),
        id: id.clone(),
    })
}

/// The organisations that the file names; none where it has no such table.
pub(super) async fn read_organisations(
    connection: &mut SqliteConnection,
) -> Result<Vec<OriginalOrganisation>, Error> {
    let rows = named_cells("client_organizations", ["id", "name", "markup_rate"], connection).await?;
    let read = rows.iter().filter_map(|[id, name, markup]| {
        let markup = match markup {
            Cell::Real(text) => metering::PicoUsd::parse(text).ok().map(|rate| rate.amount.to_string()),
            other => other.name(),
        };
        let markup = markup.and_then(|text| metering::Markup::parse(&text).ok());
        Some(OriginalOrganisation { id: id.name()?, name: name.name(), markup })
    });
    Ok(read.collect())
}

/// Open `WebUI`'s own accounts; none where it has no such table.
pub(super) async fn read_accounts(connection: &mut SqliteConnection) -> Result<Vec<OriginalAccount>, Error> {
    let rows = named_cells("user", ["id", "name", "email", "role"], connection).await?;
    let read = rows.iter().filter_map(|[id, name, email, role]| {
        Some(OriginalAccount {
            user_id: id.name()?,
            name: name.name(),
            email: email.name(),
            role: role.name(),
        })
    });
    Ok(read.collect())
}

async fn named_cells<const N: usize>(
    table: &str,
    names: [&str; N],
    connection: &mut SqliteConnection,
) -> Result<Vec<[Cell; N]>, Error> {
    let present = columns_of(table, connection).await?;
    if present.is_empty() {
        return Ok(Vec::new());
    }
    let asked = names.map(|name| present.iter().find(|column| column.eq_ignore_ascii_case(name)).cloned());
    read_each(table, &asked, Clone::clone, connection).await
}

/// True where the file is a ledger of the house.
pub(super) async fn is_own(connection: &mut SqliteConnection) -> Result<bool, Error> {
    let row = sqlx::query(
        "SELECT count(*) = 2 FROM sqlite_schema WHERE type = 'table' AND name IN ('entries', 'daily_usage')",
    )
    .fetch_one(connection)
    .await?;
    row.try_get(0)
}
