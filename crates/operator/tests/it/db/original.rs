//! `webui.db` files of every generation of the original, as its own code would have left them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqliteConnection};

use super::ORG;

/// A generation's way to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Schema {
    /// One table of users and models, no organisations, no markup.
    G0,
    /// Alembic's tables, ids with `_`, the last day in the live counter.
    G1,
    /// `apply_usage_migration.py`: no table of days.
    Migration,
    /// `usage_tracking_init.py` v1 and v2: INTEGER ids, ISO text.
    InitV1,
    /// v3: ids with `:`, processed generations.
    V3,
    /// v4: random ids.
    V4,
    /// As v3, with times in milliseconds.
    V3Milliseconds,
}

impl Schema {
    pub(crate) const ALL: [Self; 7] =
        [Self::G0, Self::G1, Self::Migration, Self::InitV1, Self::V3, Self::V4, Self::V3Milliseconds];

    fn ddl(self) -> &'static str {
        const ORM: &str = "
            CREATE TABLE client_organizations (id VARCHAR NOT NULL PRIMARY KEY, name VARCHAR NOT NULL,
                openrouter_api_key TEXT NOT NULL UNIQUE, openrouter_key_hash VARCHAR, markup_rate FLOAT, monthly_limit FLOAT,
                billing_email VARCHAR, timezone VARCHAR, is_active INTEGER, created_at BIGINT, updated_at BIGINT);
            CREATE TABLE client_daily_usage (id VARCHAR NOT NULL PRIMARY KEY, client_org_id VARCHAR NOT NULL,
                usage_date DATE NOT NULL, total_tokens BIGINT, total_requests INTEGER, raw_cost FLOAT, markup_cost FLOAT,
                primary_model VARCHAR, unique_users INTEGER, created_at BIGINT, updated_at BIGINT);
            CREATE TABLE client_user_daily_usage (id VARCHAR NOT NULL PRIMARY KEY, client_org_id VARCHAR NOT NULL,
                user_id VARCHAR NOT NULL, openrouter_user_id VARCHAR NOT NULL, usage_date DATE NOT NULL, total_tokens BIGINT,
                total_requests INTEGER, raw_cost FLOAT, markup_cost FLOAT, created_at BIGINT, updated_at BIGINT);
            CREATE TABLE client_model_daily_usage (id VARCHAR NOT NULL PRIMARY KEY, client_org_id VARCHAR NOT NULL,
                model_name VARCHAR NOT NULL, usage_date DATE NOT NULL, total_tokens BIGINT, total_requests INTEGER,
                raw_cost FLOAT, markup_cost FLOAT, provider VARCHAR, created_at BIGINT, updated_at BIGINT);
            CREATE INDEX idx_client_date ON client_daily_usage (client_org_id, usage_date);
            CREATE TABLE client_live_counters (client_org_id VARCHAR NOT NULL PRIMARY KEY, \"current_date\" DATE NOT NULL,
                today_tokens BIGINT, today_requests INTEGER, today_raw_cost FLOAT, today_markup_cost FLOAT,
                last_updated BIGINT NOT NULL);";
        match self {
            Self::G0 => {
                "CREATE TABLE organization_settings (id VARCHAR PRIMARY KEY, openrouter_org_id VARCHAR);
                 CREATE TABLE organization_usage (id VARCHAR PRIMARY KEY, user_id VARCHAR, openrouter_user_id VARCHAR,
                     model_name VARCHAR, usage_date DATE, input_tokens BIGINT, output_tokens BIGINT, total_tokens BIGINT,
                     total_cost FLOAT, request_count INTEGER, provider VARCHAR, generation_time FLOAT, created_at BIGINT,
                     updated_at BIGINT);"
            }
            Self::G1 => ORM,
            Self::Migration => {
                "CREATE TABLE client_organizations (id TEXT PRIMARY KEY, name TEXT NOT NULL, openrouter_api_key TEXT UNIQUE,
                     markup_rate REAL DEFAULT 1.3);
                 CREATE TABLE client_live_counters (id TEXT PRIMARY KEY, client_org_id TEXT, total_tokens INTEGER,
                     total_requests INTEGER, raw_cost REAL, markup_cost REAL, last_reset_date DATE, updated_at INTEGER);
                 CREATE TABLE client_user_daily_usage (id TEXT PRIMARY KEY, client_org_id TEXT, user_id TEXT, usage_date DATE,
                     total_tokens INTEGER, total_requests INTEGER, raw_cost REAL, markup_cost REAL, created_at INTEGER,
                     updated_at INTEGER, UNIQUE (client_org_id, user_id, usage_date));
                 CREATE TABLE client_model_daily_usage (id TEXT PRIMARY KEY, client_org_id TEXT, model_name TEXT,
                     usage_date DATE, total_tokens INTEGER, total_requests INTEGER, raw_cost REAL, markup_cost REAL,
                     created_at INTEGER, updated_at INTEGER, UNIQUE (client_org_id, model_name, usage_date));"
            }
            Self::InitV1 => {
                "CREATE TABLE client_organizations (id TEXT PRIMARY KEY, name TEXT NOT NULL, openrouter_api_key TEXT,
                     markup_rate REAL, is_active INTEGER, created_at TEXT, updated_at TEXT);
                 CREATE TABLE client_user_daily_usage (id INTEGER PRIMARY KEY AUTOINCREMENT, client_org_id TEXT, user_id TEXT,
                     openrouter_user_id TEXT, usage_date DATE, total_tokens INTEGER, total_requests INTEGER, raw_cost REAL,
                     markup_cost REAL, created_at TEXT, updated_at TEXT);
                 CREATE TABLE client_model_daily_usage (id INTEGER PRIMARY KEY AUTOINCREMENT, client_org_id TEXT,
                     model_name TEXT, usage_date DATE, total_tokens INTEGER, total_requests INTEGER, raw_cost REAL,
                     markup_cost REAL, provider TEXT NOT NULL, created_at TEXT, updated_at TEXT);"
            }
            Self::V3 | Self::V4 | Self::V3Milliseconds => {
                "CREATE TABLE client_organizations (id TEXT PRIMARY KEY, name TEXT NOT NULL, openrouter_api_key TEXT NOT NULL
                     UNIQUE, openrouter_key_hash TEXT, markup_rate REAL DEFAULT 1.3, monthly_limit REAL, billing_email TEXT,
                     timezone TEXT DEFAULT 'Europe/Warsaw', is_active INTEGER DEFAULT 1, created_at INTEGER, updated_at INTEGER);
                 CREATE TABLE client_daily_usage (id TEXT PRIMARY KEY, client_org_id TEXT NOT NULL, usage_date DATE NOT NULL,
                     total_tokens INTEGER DEFAULT 0, total_requests INTEGER DEFAULT 0, raw_cost REAL DEFAULT 0.0,
                     markup_cost REAL DEFAULT 0.0, primary_model TEXT, unique_users INTEGER DEFAULT 1, created_at INTEGER,
                     updated_at INTEGER, FOREIGN KEY (client_org_id) REFERENCES client_organizations (id));
                 CREATE TABLE client_user_daily_usage (id TEXT PRIMARY KEY, client_org_id TEXT NOT NULL, user_id TEXT NOT NULL,
                     openrouter_user_id TEXT NOT NULL, usage_date DATE NOT NULL, total_tokens INTEGER DEFAULT 0,
                     total_requests INTEGER DEFAULT 0, raw_cost REAL DEFAULT 0.0, markup_cost REAL DEFAULT 0.0,
                     created_at INTEGER, updated_at INTEGER);
                 CREATE TABLE client_model_daily_usage (id TEXT PRIMARY KEY, client_org_id TEXT NOT NULL, model_name TEXT NOT
                     NULL, usage_date DATE NOT NULL, total_tokens INTEGER DEFAULT 0, total_requests INTEGER DEFAULT 0,
                     raw_cost REAL DEFAULT 0.0, markup_cost REAL DEFAULT 0.0, provider TEXT, created_at INTEGER,
                     updated_at INTEGER);
                 CREATE TABLE processed_generations (id TEXT PRIMARY KEY, client_org_id TEXT NOT NULL, generation_date DATE,
                     processed_at INTEGER, total_cost REAL, total_tokens INTEGER);"
            }
        }
    }

    fn id(self, number: usize, parts: &[&str]) -> String {
        match self {
            Self::InitV1 => number.to_string(),
            Self::V4 => format!("'{}'", uuid_of(number)),
            Self::G0 | Self::G1 => format!("'{}'", parts.join("_")),
            Self::Migration | Self::V3 | Self::V3Milliseconds => format!("'{}'", parts.join(":")),
        }
    }

    /// The evening of `day`, as this generation writes an instant.
    fn instant(self, day: &str) -> String {
        let at: jiff::Timestamp = format!("{day}T18:30:00Z").parse().unwrap();
        match self {
            Self::InitV1 => format!("'{day}T18:30:00'"),
            Self::V3Milliseconds => at.as_millisecond().to_string(),
            _ => at.as_second().to_string(),
        }
    }
}

/// What was used, in doubles, as the original adds them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Used {
    pub(crate) tokens: i64,
    pub(crate) output: i64,
    pub(crate) requests: i64,
    pub(crate) raw: f64,
    pub(crate) markup: f64,
}

impl Used {
    pub(crate) fn add(&mut self, other: &Self) {
        self.tokens += other.tokens;
        self.output += other.output;
        self.requests += other.requests;
        self.raw += other.raw;
        self.markup += other.markup;
    }
}

/// What a file holds, by day and by its own keys.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) days: BTreeMap<String, Used>,
    pub(crate) users: BTreeMap<(String, String), Used>,
    pub(crate) models: BTreeMap<(String, String), Used>,
    pub(crate) both: BTreeMap<(String, String, String), Used>,
}

/// Dice that fall the same every time (`SplitMix64`).
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}

pub(crate) const USERS: [&str; 4] = [
    "8b216b38-ee09-4853-8742-6e136d2295b6",
    "f0a1cf1e-93f0-4b3c-9c39-0f2f6a1b7c11",
    "2d2a5c55-7a0e-4a37-8a5a-5f0f0c9a3e22",
    "c47c1a0b-6c1d-4f7e-b6f5-9f1d2f0f5d33",
];

pub(crate) const MODELS: [&str; 3] =
    ["openai/gpt-4o-mini", "anthropic/claude-sonnet-4", "meta-llama/llama-3.3-70b-instruct:free"];

/// Chats of `days` days from 2025-07-01 on; `places` decimal places of a cost.
pub(crate) fn chats(days: u64, places: i32, dice: &mut Dice) -> Truth {
    let mut truth = Truth::default();
    let first: jiff::civil::Date = "2025-07-01".parse().unwrap();
    for day in 0..days {
        let day =
            first.checked_add(jiff::SignedDuration::from_hours(24 * i64::try_from(day).unwrap())).unwrap();
        for _ in 0..dice.below(30) {
            let user = USERS[usize::try_from(dice.below(4)).unwrap()];
            let model = MODELS[usize::try_from(dice.below(3)).unwrap()];
            let digits: f64 = dice.below(100_000_000).to_string().parse().unwrap();
            let raw = digits / 10_f64.powi(places);
            let (input, output) = (dice.below(4_000), dice.below(900));
            let chat = Used {
                tokens: i64::try_from(input + output).unwrap(),
                output: i64::try_from(output).unwrap(),
                requests: 1,
                raw,
                markup: raw * 1.3,
            };
            let (day, user, model) = (day.to_string(), user.to_owned(), model.to_owned());
            truth.days.entry(day.clone()).or_default().add(&chat);
            truth.users.entry((day.clone(), user.clone())).or_default().add(&chat);
            truth.models.entry((day.clone(), model.clone())).or_default().add(&chat);
            truth.both.entry((day, user, model)).or_default().add(&chat);
        }
    }
    truth
}

/// An empty file of `schema`, with the organisation and Open `WebUI`'s accounts.
pub(crate) async fn create(path: &Path, schema: Schema) -> SqliteConnection {
    let connect = SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = connect.disable_statement_logging().connect().await.unwrap();
    execute(&mut connection, schema.ddl()).await;
    execute(
        &mut connection,
        "CREATE TABLE user (id VARCHAR PRIMARY KEY, name VARCHAR, email VARCHAR, role VARCHAR, created_at BIGINT)",
    )
    .await;
    for (place, user) in USERS.iter().enumerate().skip(1) {
        execute(
            &mut connection,
            &format!("INSERT INTO user VALUES ('{user}', 'Person {place}', 'p{place}@company.example', 'user', 1751328000)"),
        )
        .await;
    }
    if schema != Schema::G0 {
        execute(
            &mut connection,
            &format!(
                "INSERT INTO client_organizations (id, name, openrouter_api_key, markup_rate)
                 VALUES ('{ORG}', 'Company_A', 'sk-or-v1-old', 1.3)"
            ),
        )
        .await;
    }
    connection
}

/// Fills a file of `schema` with `truth`.
pub(crate) async fn fill(connection: &mut SqliteConnection, schema: Schema, truth: &Truth) {
    let mut sql = String::from("BEGIN;");
    let mut number = 0;
    let mut next = || {
        number += 1;
        number
    };
    if schema == Schema::G0 {
        for ((day, user, model), used) in &truth.both {
            let Used { tokens, output, requests, raw, .. } = *used;
            let (id, at) = (schema.id(next(), &[user, model, day]), schema.instant(day));
            writeln!(
                sql,
                "INSERT INTO organization_usage VALUES ({id}, '{user}', 'or_{user}', '{model}', '{day}', {}, {output}, {tokens},
                 {raw:?}, {requests}, NULL, NULL, {at}, {at});",
                tokens - output
            )
            .unwrap();
        }
    }
    let last = truth.days.keys().last().cloned().unwrap_or_default();
    let has_days = !matches!(schema, Schema::G0 | Schema::Migration | Schema::InitV1);
    for (day, used) in truth.days.iter().filter(|_| has_days) {
        let Used { tokens, requests, raw, markup, .. } = *used;
        let at = schema.instant(day);
        // The first generation's last day is still in its counter.
        if schema == Schema::G1 && *day == last {
            writeln!(sql, "INSERT INTO client_live_counters VALUES ('{ORG}', '{day}', {tokens}, {requests}, {raw:?}, {markup:?}, {at});").unwrap();
            continue;
        }
        let id = schema.id(next(), &[ORG, day]);
        writeln!(
            sql,
            "INSERT INTO client_daily_usage VALUES ({id}, '{ORG}', '{day}', {tokens}, {requests}, {raw:?}, {markup:?}, 'x', 1, {at}, {at});"
        )
        .unwrap();
    }
    for ((day, user), used) in truth.users.iter().filter(|_| schema != Schema::G0) {
        let Used { tokens, requests, raw, markup, .. } = *used;
        let (id, at) = (schema.id(next(), &[ORG, user, day]), schema.instant(day));
        let external = if schema == Schema::Migration { "" } else { "'external'," };
        writeln!(
            sql,
            "INSERT INTO client_user_daily_usage VALUES ({id}, '{ORG}', '{user}', {external} '{day}', {tokens}, {requests}, {raw:?}, {markup:?}, {at}, {at});"
        )
        .unwrap();
    }
    for ((day, model), used) in truth.models.iter().filter(|_| schema != Schema::G0) {
        let Used { tokens, requests, raw, markup, .. } = *used;
        let (id, at) = (schema.id(next(), &[ORG, model, day]), schema.instant(day));
        let provider = if schema == Schema::Migration { "" } else { "'x'," };
        writeln!(
            sql,
            "INSERT INTO client_model_daily_usage VALUES ({id}, '{ORG}', '{model}', '{day}', {tokens}, {requests}, {raw:?}, {markup:?}, {provider} {at}, {at});"
        )
        .unwrap();
    }
    sql.push_str("COMMIT;");
    execute(connection, &sql).await;
}

pub(crate) async fn execute(connection: &mut SqliteConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap();
}

pub(crate) async fn finish(connection: SqliteConnection) {
    connection.close().await.unwrap();
}

fn uuid_of(number: usize) -> String {
    format!("00000000-0000-4000-8000-{number:012x}")
}
