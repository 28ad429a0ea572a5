//! Writing rows by the thousand, each as the ledger would have written it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::path::Path;

use jiff::civil::Date;
use metering::{BillingZone, Markup, PicoUsd};
use sha2::{Digest as _, Sha256};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection};
use tokio::sync::mpsc;

use crate::history::{Past, calls_of, days};
use crate::{FIRST_DAY, MODELS, ORGANISATION, USERS, now, user_id};

/// Rows of one statement.
const ROWS: usize = 256;

/// Calls of one transaction.
const CALLS: u64 = 200_000;

/// The columns of `sealed_calls`, in its order.
const CALL_COLUMNS: [&str; 21] = [
    "id",
    "org_id",
    "user_id",
    "endpoint",
    "model_asked",
    "markup",
    "state",
    "admitted_at_ms",
    "generation_id",
    "http_status",
    "outcome",
    "note",
    "closed_at_ms",
    "model_served",
    "provider",
    "prompt_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cached_tokens",
    "asks",
    "next_ask_at_ms",
];

/// The columns of `sealed_entries`, in its order.
const ENTRY_COLUMNS: [&str; 23] = [
    "id",
    "kind",
    "call_id",
    "generation_id",
    "org_id",
    "user_id",
    "model",
    "model_asked",
    "provider",
    "day",
    "occurred_at_ms",
    "booked_at_ms",
    "requests",
    "prompt_tokens",
    "completion_tokens",
    "reasoning_tokens",
    "cached_tokens",
    "cost_text",
    "cost_exact",
    "cost_pico_usd",
    "cost_source",
    "markup",
    "charge_pico_usd",
];

/// A value of a column.
#[derive(Debug, Clone)]
enum Value {
    Null,
    Integer(i64),
    Text(Cow<'static, str>),
}

/// A row with its digest.
struct Sealed {
    values: Vec<Value>,
    digest: Vec<u8>,
}

/// What one day wrote.
#[derive(Default)]
struct Day {
    calls: Vec<Sealed>,
    entries: Vec<Sealed>,
    daily: Vec<Vec<Value>>,
}

/// A daily row while its day is added up.
#[derive(Clone, Copy, Default)]
struct Sum {
    requests: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    cost: i64,
    charge: i64,
    first_ms: i64,
    last_ms: i64,
}

/// Writes `entries` settled calls, their entries and their daily rows.
pub(crate) async fn fill(path: &Path, entries: u64) -> anyhow::Result<()> {
    let mut connection = connect(path).await?;
    // What one thread makes the other one writes.
    let (made, mut days_made) = mpsc::channel(4);
    let maker = tokio::task::spawn_blocking(move || make(entries, &made));
    let (mut since_commit, mut transaction) = (0, connection.begin().await?);
    while let Some(day) = days_made.recv().await {
        let Day { calls, entries, daily } = day;
        since_commit += entries.len() as u64;
        insert("calls", &CALL_COLUMNS, calls, &mut transaction).await?;
        insert("entries", &ENTRY_COLUMNS, entries, &mut transaction).await?;
        insert_daily(daily, &mut transaction).await?;
        if since_commit >= CALLS {
            transaction.commit().await?;
            (since_commit, transaction) = (0, connection.begin().await?);
        }
    }
    transaction.commit().await?;
    maker.await??;
    write_the_rest(&mut connection).await?;
    connection.close().await?;
    Ok(())
}

/// A file that nobody needs if the power is cut: no journal, no waiting for the disk.
async fn connect(path: &Path) -> anyhow::Result<SqliteConnection> {
    let connect = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Off)
        .synchronous(SqliteSynchronous::Off)
        .foreign_keys(false)
        .pragma("cache_size", "-262144")
        .pragma("locking_mode", "EXCLUSIVE")
        .disable_statement_logging();
    Ok(connect.connect().await?)
}

fn make(entries: u64, made: &mpsc::Sender<Day>) -> anyhow::Result<()> {
    let zone = BillingZone::named("Europe/Warsaw")?;
    let mut number = 0;
    for (date, calls) in days(entries) {
        let (mut day, mut sums) = (Day::default(), vec![Sum::default(); USERS * MODELS.len()]);
        for past in calls_of(date, calls, &zone)? {
            number += 1;
            let row = rows_of(number, date, &past, &mut day)?;
            if let Some(sum) = sums.get_mut(past.user * MODELS.len() + past.model) {
                sum.add(&row);
            }
        }
        day.daily = daily_rows(date, &sums);
        // Who receives has failed, and says why.
        if made.blocking_send(day).is_err() {
            break;
        }
    }
    Ok(())
}

impl Sum {
    fn add(&mut self, one: &Self) {
        self.first_ms = if self.requests == 0 { one.first_ms } else { self.first_ms.min(one.first_ms) };
        self.last_ms = self.last_ms.max(one.last_ms);
        self.requests += one.requests;
        self.prompt_tokens += one.prompt_tokens;
        self.completion_tokens += one.completion_tokens;
        self.cost += one.cost;
        self.charge += one.charge;
    }
}

/// The call and the entry of `past`; answers what it adds to its daily row.
fn rows_of(number: i64, date: Date, past: &Past, day: &mut Day) -> anyhow::Result<Sum> {
    let model = MODELS.get(past.model).copied().unwrap_or_default();
    let admitted_ms = past.at.as_millisecond();
    // The instant of an entry is the second inside the generation id.
    let (second, booked_ms) = (past.at.as_second(), admitted_ms + 3_000);
    let call_id = call_id(past)?;
    let generation_id = format!("gen-{second}-{:016x}{:04x}", past.words[0], past.words[1] & 0xffff);
    let provider = model.split_once('/').map_or("openrouter", |(author, _)| author);
    let (cost, markup) = (PicoUsd::new(past.cost_pico_usd), Markup::DEFAULT);
    let charge = markup.charge(cost)?;
    let (user, markup) = (user_id(past.user), markup.to_string());
    day.calls.push(sealed(vec![
        call_id.clone().into(),
        ORGANISATION.into(),
        user.clone().into(),
        "chat/completions".into(),
        model.into(),
        markup.clone().into(),
        "settled".into(),
        admitted_ms.into(),
        generation_id.clone().into(),
        200.into(),
        "complete".into(),
        Value::Null,
        booked_ms.into(),
        model.into(),
        Value::Null,
        Value::Null,
        Value::Null,
        Value::Null,
        Value::Null,
        0.into(),
        Value::Null,
    ]));
    day.entries.push(sealed(vec![
        number.into(),
        "call".into(),
        call_id.into(),
        generation_id.into(),
        ORGANISATION.into(),
        user.into(),
        model.into(),
        model.into(),
        provider.into(),
        date.to_string().into(),
        (second * 1_000).into(),
        booked_ms.into(),
        1.into(),
        past.prompt_tokens.into(),
        past.completion_tokens.into(),
        past.reasoning_tokens.into(),
        past.cached_tokens.into(),
        cost.to_string().into(),
        1.into(),
        cost.pico().into(),
        "response".into(),
        markup.into(),
        charge.pico().into(),
    ]));
    Ok(Sum {
        requests: 1,
        prompt_tokens: past.prompt_tokens,
        completion_tokens: past.completion_tokens,
        cost: cost.pico(),
        charge: charge.pico(),
        first_ms: second * 1_000,
        last_ms: second * 1_000,
    })
}

fn call_id(past: &Past) -> anyhow::Result<String> {
    let mut random = [0; 10];
    for (to, from) in random.iter_mut().zip(past.words.iter().flat_map(|word| word.to_be_bytes())) {
        *to = from;
    }
    let unix_ms = u64::try_from(past.at.as_millisecond())?;
    Ok(uuid::Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid().to_string())
}

fn daily_rows(date: Date, sums: &[Sum]) -> Vec<Vec<Value>> {
    let day = date.to_string();
    let of_the_day = sums.iter().enumerate().filter(|(_, sum)| sum.requests > 0);
    let rows = of_the_day.map(|(place, sum)| {
        let (user, model) = (place / MODELS.len(), place % MODELS.len());
        vec![
            ORGANISATION.into(),
            day.clone().into(),
            user_id(user).into(),
            MODELS.get(model).copied().unwrap_or_default().into(),
            sum.requests.into(),
            sum.prompt_tokens.into(),
            sum.completion_tokens.into(),
            sum.cost.into(),
            sum.charge.into(),
            sum.first_ms.into(),
            sum.last_ms.into(),
        ]
    });
    rows.collect()
}

/// The digest as the views define it: of `quote(CAST(… AS BLOB))` of each column, with commas between.
fn sealed(values: Vec<Value>) -> Sealed {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let (mut text, mut digits) = (Vec::with_capacity(1_024), String::new());
    for value in &values {
        let bytes = match value {
            Value::Null => {
                text.extend_from_slice(b"NULL,");
                continue;
            }
            Value::Text(text) => text.as_bytes(),
            Value::Integer(integer) => {
                digits.clear();
                // Writing to a string cannot fail.
                let _ = write!(digits, "{integer}");
                digits.as_bytes()
            }
        };
        text.extend_from_slice(b"X'");
        for byte in bytes {
            text.extend([byte >> 4, byte & 15].iter().filter_map(|digit| HEX.get(usize::from(*digit))));
        }
        text.extend_from_slice(b"',");
    }
    text.pop();
    Sealed { digest: Sha256::digest(&text).to_vec(), values }
}

async fn insert(
    table: &str,
    columns: &[&str],
    rows: Vec<Sealed>,
    connection: &mut SqliteConnection,
) -> Result<(), sqlx::Error> {
    let columns = format!("{}, digest", columns.join(", "));
    let width = columns.split(',').count();
    let mut rows = rows.into_iter().peekable();
    while rows.peek().is_some() {
        let some: Vec<Sealed> = rows.by_ref().take(ROWS).collect();
        let mut query = sqlx::query(AssertSqlSafe(insert_sql(table, &columns, width, some.len())));
        for row in some {
            for value in row.values {
                query = value.bind(query);
            }
            query = query.bind(row.digest);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn insert_daily(rows: Vec<Vec<Value>>, connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let columns = "org_id, day, user_id, model, requests, prompt_tokens, completion_tokens, cost_pico_usd, \
                   charge_pico_usd, first_activity_at_ms, last_activity_at_ms";
    for row in rows {
        let mut query = sqlx::query(AssertSqlSafe(insert_sql("daily_usage", columns, row.len(), 1)));
        for value in row {
            query = value.bind(query);
        }
        query.execute(&mut *connection).await?;
    }
    Ok(())
}

fn insert_sql(table: &str, columns: &str, width: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; width].join(", "));
    format!("INSERT INTO {table} ({columns}) VALUES {}", vec![row; rows].join(", "))
}

/// A poll every ten minutes; and nobody was seen for the first time on the last day. The planner is not told how many rows
/// there are: a real ledger does not run `ANALYZE`.
async fn write_the_rest(connection: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let polls =
        "WITH RECURSIVE polls (at) AS (SELECT ?2 UNION ALL SELECT at + 600000 FROM polls WHERE at < ?3)
                 INSERT INTO reconciliations (
                     org_id, polled_at_ms, key_hash, our_cost_pico_usd, key_usage_text, key_usage_pico_usd,
                     difference_pico_usd, settled_calls, open_calls, orphan_calls
                 )
                 SELECT ?1, at, 'hash', 0, '0', 0, 0, 0, 0, 0 FROM polls";
    let first_ms = calls_begin_ms();
    sqlx::query(polls)
        .bind(ORGANISATION)
        .bind(first_ms)
        .bind(now().as_millisecond())
        .execute(&mut *connection)
        .await?;
    sqlx::query("UPDATE users SET first_seen_at_ms = ?1").bind(first_ms).execute(connection).await?;
    Ok(())
}

fn calls_begin_ms() -> i64 {
    let midnight = FIRST_DAY.to_zoned(jiff::tz::TimeZone::UTC);
    midnight.map_or(0, |midnight| midnight.timestamp().as_millisecond())
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

impl Value {
    fn bind(self, query: Query<'_>) -> Query<'_> {
        match self {
            Self::Null => query.bind(None::<i64>),
            Self::Integer(integer) => query.bind(integer),
            Self::Text(text) => query.bind(text.into_owned()),
        }
    }
}

impl From<i64> for Value {
    fn from(integer: i64) -> Self {
        Self::Integer(integer)
    }
}

impl From<Option<i64>> for Value {
    fn from(integer: Option<i64>) -> Self {
        integer.map_or(Self::Null, Self::Integer)
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}
