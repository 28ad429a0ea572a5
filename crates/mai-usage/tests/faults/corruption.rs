//! Row 11: a copy that was damaged. Every change of a value of the ledger is found by `verify`, and named.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use openrouter_sim::{Options, Simulator};
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection};
use tokio::task::JoinSet;

use crate::callers::{ask, chat, question};
use crate::checker::{connect, verify};
use crate::dice::Dice;
use crate::sidecar::{PROGRAM, Setup, client};
use crate::trial::{Outcome, Trial};

const PAGE: usize = 4_096;

/// Calls before the copies are made: enough for a checkpoint in the middle.
const CALLERS: usize = 20;
const CALLS_A_CALLER: usize = 20;

/// A table of the ledger, and what names one of its rows.
const TABLES: [(&str, &str); 3] =
    [("entries", "id"), ("calls", "id"), ("daily_usage", "day || ' ' || user_id || ' ' || model")];

/// Values as SQL tells them, by table, row and column.
type Values = BTreeMap<(&'static str, String, String), String>;

/// What can happen to bytes.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Damage {
    Flips,
    ZeroedPage,
    SwappedPages,
    Truncated,
    FlippedLog,
    TruncatedLog,
}

/// What became of the copies.
#[derive(Debug, Default)]
struct Tally {
    /// By kind: copies, of these with changed values, of these found.
    kinds: BTreeMap<Damage, [usize; 3]>,
    /// The end of the write-ahead log is gone and with it the last commits; the rest is whole.
    lost_tails: usize,
    /// Copies on which the daemon was started: it refused, it ran.
    daemons: [usize; 2],
}

/// A database with its write-ahead log, as it was before the damage.
struct Original {
    database: Vec<u8>,
    log: Vec<u8>,
    values: Values,
}

/// Row 11.
pub(crate) async fn of_a_copy(trial: Trial) -> Outcome {
    let copies = trial.depth(60, 2_000);
    let mut dice = trial.dice();
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let setup = Setup::new(&trial, &simulator).with("LOG_LEVEL", trial.depth("trace", "info"));
    let stopped = populate(&trial, &setup, "stopped", true).await;
    let killed = populate(&trial, &setup, "killed", false).await;
    assert!(stopped.log.is_empty() && killed.log.len() > PAGE, "the kill left no log");
    let columns = change_every_column(&trial, &stopped).await;
    panic!("{columns}");
}

/// Calls of every kind, then an end.
async fn populate(trial: &Trial, setup: &Setup, name: &str, in_peace: bool) -> Original {
    let mut setup = setup.clone();
    setup.database = trial.path(&format!("{name}.db"));
    let mut sidecar = setup.start().await;
    let (http, mut callers) = (client(), JoinSet::new());
    for caller in 0..CALLERS {
        let (http, proxy) = (http.clone(), sidecar.proxy);
        callers.spawn(async move {
            let user_id = format!("user {}", caller % 5);
            for call in 0..CALLS_A_CALLER {
                let number = caller * CALLS_A_CALLER + call;
                let tokens = 10 + number;
                let known = json!({ "completion_tokens": tokens, "cached_tokens": 3, "reasoning_tokens": 2 });
                let knobs = match number % 40 {
                    0 => json!({ "error": "402-credits" }),
                    1 => json!({ "cost": "missing", "settle_after_ms": 3_600_000 }),
                    2 => json!({ "error": "500" }),
                    _ => known,
                };
                ask(question(&http, proxy, &user_id, &chat(number % 2 == 0, &knobs)), &user_id).await;
            }
        });
    }
    callers.join_all().await;
    if in_peace {
        sidecar.terminate();
        assert!(sidecar.ended().await.success());
    } else {
        sidecar.kill();
    }
    verify(&setup.database);
    let read = |suffix: &str| std::fs::read(beside(&setup.database, suffix)).unwrap_or_default();
    let (database, log) = (read(""), read("-wal"));
    let values = dump(&setup.database).await.unwrap();
    assert!(values.len() > 10_000, "only {} values", values.len());
    Original { database, log, values }
}

/// Changes each column of each table in one row, and everything that stands beside it correctly.
async fn change_every_column(trial: &Trial, original: &Original) -> String {
    let names: BTreeSet<(&str, &str)> =
        original.values.keys().map(|(table, _, column)| (*table, column.as_str())).collect();
    let mut missed = Vec::new();
    for (table, column) in &names {
        let copy = trial.path("column.db");
        original.write(&copy);
        let (_, key) = TABLES.iter().find(|(name, _)| name == table).unwrap();
        let mut connection =
            SqliteConnectOptions::new().filename(&copy).foreign_keys(false).connect().await.unwrap();
        let triggers: Vec<(String, String)> =
            sqlx::query_as("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
                .fetch_all(&mut connection)
                .await
                .unwrap();
        for (name, _) in &triggers {
            run(&mut connection, format!("DROP TRIGGER {name}")).await.unwrap();
        }
        let row: String = sqlx::query_scalar(AssertSqlSafe(format!(
            "SELECT CAST({key} AS TEXT) FROM {table} WHERE {column} IS NOT NULL ORDER BY 1 LIMIT 1 OFFSET 3"
        )))
        .fetch_optional(&mut connection)
        .await
        .unwrap()
        .unwrap_or_default();
        let mut changed = false;
        for value in [
            format!("{column} + 1"),
            format!("{column} - 1"),
            format!("{column} || 'x'"),
            format!("substr({column}, 2) || 'x'"),
            "'void'".to_owned(),
            "'statement'".to_owned(),
            "'2027-01-01'".to_owned(),
            "'adjustment'".to_owned(),
        ] {
            let done = run(
                &mut connection,
                format!("UPDATE OR FAIL {table} SET {column} = {value} WHERE {key} = '{row}'"),
            )
            .await;
            if done.is_ok_and(|rows| rows == 1) {
                changed = true;
                break;
            }
        }
        for (_, sql) in triggers {
            run(&mut connection, sql).await.unwrap();
        }
        connection.close().await.unwrap();
        let verdict = Command::new(PROGRAM).args(["verify", "--database"]).arg(&copy).output().unwrap();
        missed.push(format!(
            "{table}.{column}: changed {changed} row {row} found {}",
            !verdict.status.success()
        ));
    }
    missed.join("\n")
}

async fn run(connection: &mut SqliteConnection, statement: String) -> Result<u64, sqlx::Error> {
    Ok(sqlx::query(AssertSqlSafe(statement)).execute(connection).await?.rows_affected())
}

impl Original {
    fn write(&self, copy: &Path) {
        for suffix in ["", "-wal", "-shm", ".lock"] {
            let _ = std::fs::remove_file(beside(copy, suffix));
        }
        std::fs::write(copy, &self.database).unwrap();
        if !self.log.is_empty() {
            std::fs::write(beside(copy, "-wal"), &self.log).unwrap();
        }
        std::fs::set_permissions(copy, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    }
}

/// All values of the three tables.
async fn dump(database: &Path) -> Result<Values, sqlx::Error> {
    let mut connection = connect(database).await;
    let mut values = Values::new();
    for (table, key) in TABLES {
        let columns: Vec<String> = sqlx::query_scalar("SELECT name FROM pragma_table_info(?1)")
            .bind(table)
            .fetch_all(&mut connection)
            .await?;
        let quoted: Vec<String> = columns.iter().map(|column| format!("quote({column})")).collect();
        let select = format!("SELECT CAST({key} AS TEXT), {} FROM {table}", quoted.join(", "));
        for row in sqlx::query(AssertSqlSafe(select)).fetch_all(&mut connection).await? {
            let key: String = row.try_get(0)?;
            for (index, column) in columns.iter().enumerate() {
                values.insert((table, key.clone(), column.clone()), row.try_get(index + 1)?);
            }
        }
    }
    Ok(values)
}

fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
