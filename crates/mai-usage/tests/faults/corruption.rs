//! Row 11: a copy that was damaged. Every change of a value of the ledger is found by `verify`, and named.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use openrouter_sim::{Options, Simulator};
use serde_json::json;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, Row as _, SqliteConnection};
use tokio::task::JoinSet;

use crate::callers::{ask, chat, question};
use crate::checker::{connect, verify};
use crate::dice::Dice;
use crate::host::{beside, write_private};
use crate::sidecar::{PROGRAM, Setup, client};
use crate::trial::{Outcome, Trial};

const PAGE: usize = 4_096;

/// The daemon is started on one copy in so many.
const DAEMON_EVERY: usize = 7;

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

const DAMAGES: [Damage; 6] = [
    Damage::Flips,
    Damage::ZeroedPage,
    Damage::SwappedPages,
    Damage::Truncated,
    Damage::FlippedLog,
    Damage::TruncatedLog,
];

/// What became of the copies.
#[derive(Debug, Default)]
struct Tally {
    /// By kind: copies, of these with changed values, of these found.
    kinds: BTreeMap<Damage, [usize; 3]>,
    /// The end of the write-ahead log is gone and with it the last commits; the file by itself is sound.
    lost_tails: usize,
    /// Copies on which the daemon was started: it refused, it ran.
    daemons: [usize; 2],
}

/// A database with its write-ahead log, as it was before the damage.
struct Original {
    database: Vec<u8>,
    log: Vec<u8>,
    /// The lock file, which knows how many commits there were.
    lock: Vec<u8>,
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
    let mut tally = Tally::default();
    for number in 0..copies {
        let damage = DAMAGES[number % DAMAGES.len()];
        let original = if damage.is_of_the_log() { &killed } else { &stopped };
        let copy = trial.path("copy.db");
        original.write(&copy);
        damage.strike(&copy, &mut dice);
        tally.judge(damage, original, &copy).await;
        if number % DAEMON_EVERY == 0 {
            tally.start_daemon(&setup, &copy).await;
        }
    }
    for (damage, [copies, changed, _]) in &tally.kinds {
        assert!(*changed > 0, "{copies} times {damage:?} changed nothing");
    }
    assert!(tally.lost_tails > 0 && tally.daemons.iter().sum::<usize>() > 0);
    Outcome::Counts(format!("{columns} columns changed one by one, each found and named; {tally}"))
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
                    0 => json!({ "error": "402-credits", "generation_header": false }),
                    1 => json!({ "cost": "missing", "settle_after_ms": 3_600_000 }),
                    2 => json!({ "error": "500", "generation_header": false }),
                    3 => json!({ "error": "502" }),
                    _ => known,
                };
                ask(question(&http, proxy, &user_id, &chat(number.is_multiple_of(2), &knobs)), &user_id)
                    .await;
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
    let (database, log, lock) = (read(""), read("-wal"), read(".lock"));
    let values = dump(&setup.database).await.unwrap();
    assert!(values.len() > 10_000, "only {} values", values.len());
    Original { database, log, lock, values }
}

/// Changes each column of each table in one row, with indexes and all, and expects that the row is named. Answers how
/// many.
async fn change_every_column(trial: &Trial, original: &Original) -> usize {
    let columns: BTreeSet<(&str, &str)> =
        original.values.keys().map(|(table, _, column)| (*table, column.as_str())).collect();
    for (table, column) in &columns {
        let copy = trial.path("column.db");
        original.write(&copy);
        let row = change_one_value(&copy, table, column).await;
        let (found, told) = verdict(&copy);
        assert!(found, "a changed {table}.{column} is not found");
        assert!(*column == "id" || told.contains(&row), "{table}.{column} of {row} is not named: {told}");
    }
    columns.len()
}

/// Changes `column` in the first row that has it, against every rule of the schema; answers the row's name.
async fn change_one_value(copy: &Path, table: &str, column: &str) -> String {
    let (_, key) = TABLES.iter().find(|(name, _)| *name == table).unwrap();
    let options = SqliteConnectOptions::new().filename(copy).foreign_keys(false);
    let mut connection = options.pragma("ignore_check_constraints", "1").connect().await.unwrap();
    let triggers: Vec<(String, String)> =
        sqlx::query_as("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    for (name, _) in &triggers {
        run(&mut connection, format!("DROP TRIGGER {name}")).await;
    }
    let first =
        format!("SELECT CAST({key} AS TEXT) FROM {table} WHERE {column} IS NOT NULL ORDER BY 1 LIMIT 1");
    let row: String = sqlx::query_scalar(AssertSqlSafe(first))
        .fetch_one(&mut connection)
        .await
        .unwrap_or_else(|_| panic!("no {table}.{column}"));
    let change = format!(
        "UPDATE {table} SET {column} = CASE typeof({column})
            WHEN 'integer' THEN {column} + 100000
            WHEN 'text' THEN char(unicode({column}) + 1) || substr({column}, 2)
            ELSE zeroblob(32) END
         WHERE CAST({key} AS TEXT) = '{row}'"
    );
    assert_eq!(run(&mut connection, change).await, 1);
    for (_, sql) in triggers {
        run(&mut connection, sql).await;
    }
    connection.close().await.unwrap();
    row
}

/// Whether `verify` found something, and its words.
fn verdict(database: &Path) -> (bool, String) {
    let output = Command::new(PROGRAM).args(["verify", "--database"]).arg(database).output().unwrap();
    let told = [output.stdout, output.stderr].concat();
    let told = String::from_utf8_lossy(&told).into_owned();
    assert!(!told.contains("panicked"), "{told}");
    (!output.status.success(), told)
}

impl Damage {
    const fn is_of_the_log(self) -> bool {
        matches!(self, Self::FlippedLog | Self::TruncatedLog)
    }

    fn strike(self, copy: &Path, dice: &mut Dice) {
        let file = if self.is_of_the_log() { beside(copy, "-wal") } else { copy.to_owned() };
        let mut bytes = std::fs::read(&file).unwrap();
        let mut below = |sides: usize| usize::try_from(dice.roll(u64::try_from(sides).unwrap())).unwrap();
        let pages = bytes.len() / PAGE;
        match self {
            Self::Flips | Self::FlippedLog => {
                for _ in 0..=below(3) {
                    let position = below(bytes.len());
                    bytes[position] ^= 1 << below(8);
                }
            }
            Self::ZeroedPage => {
                let start = below(pages) * PAGE;
                bytes[start..start + PAGE].fill(0);
            }
            Self::SwappedPages => {
                let (one, other) = (below(pages), below(pages));
                for offset in 0..PAGE {
                    bytes.swap(one * PAGE + offset, other * PAGE + offset);
                }
            }
            Self::Truncated | Self::TruncatedLog => bytes.truncate(below(bytes.len())),
        }
        std::fs::write(file, bytes).unwrap();
    }
}

impl Tally {
    /// What `verify` says of the copy, against what SQL reads from it.
    async fn judge(&mut self, damage: Damage, original: &Original, copy: &Path) {
        let (found, told) = verdict(copy);
        assert!(!found || !told.trim().is_empty(), "it is found and nothing is said");
        // What cannot be read at all has changed as well.
        let values = dump(copy).await.ok();
        let changed = values.as_ref() != Some(&original.values);
        let kind = self.kinds.entry(damage).or_default();
        for (count, counts) in kind.iter_mut().zip([true, changed, changed && found]) {
            *count += usize::from(counts);
        }
        assert!(found || !changed, "{damage:?} changed values and is not found");
        self.lost_tails += usize::from(told.contains("commits: "));
    }

    /// On a damaged file the daemon refuses or serves; what is wrong with an entry stays to be found.
    async fn start_daemon(&mut self, setup: &Setup, copy: &Path) {
        let (found, told) = verdict(copy);
        let mut setup = setup.clone();
        copy.clone_into(&mut setup.database);
        let said = setup.told().len();
        let mut sidecar = setup.spawn();
        let served = loop {
            if let Some(status) = sidecar.exit() {
                assert!(status.code().is_some_and(|code| code != 0), "{status}");
                break false;
            }
            if sidecar.health().await.is_some() {
                break true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        sidecar.kill();
        let words = setup.told().split_off(said);
        assert!(!words.contains("panicked"), "{words}");
        assert!(served || words.contains("error: "), "it ended without a word");
        assert!(served || found, "a file without a fault was refused: {words}");
        if served && told.contains("entry ") {
            assert!(verdict(copy).0, "the daemon has hidden what was found: {told}");
        }
        self.daemons[usize::from(served)] += 1;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (damage, [copies, changed, found]) in &self.kinds {
            write!(f, "{damage:?} {copies} copies, {changed} with changed values, {found} found; ")?;
        }
        let [refused, served] = self.daemons;
        write!(f, "{} lost ends of a log found by the number of commits; ", self.lost_tails)?;
        write!(f, "daemon refused {refused}, served {served}")
    }
}

async fn run(connection: &mut SqliteConnection, statement: String) -> u64 {
    sqlx::query(AssertSqlSafe(statement)).execute(connection).await.unwrap().rows_affected()
}

impl Original {
    fn write(&self, copy: &Path) {
        for suffix in ["-wal", "-shm"] {
            let _ = std::fs::remove_file(beside(copy, suffix));
        }
        write_private(copy, &self.database);
        write_private(&beside(copy, ".lock"), &self.lock);
        if !self.log.is_empty() {
            write_private(&beside(copy, "-wal"), &self.log);
        }
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
