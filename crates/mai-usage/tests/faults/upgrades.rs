//! Row 13: two daemons on one file, a kill in the middle of a migration, and schemas of other versions.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use openrouter_sim::{Options, Simulator};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode};
use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection, SqlitePool};
use tokio::time::Instant;

use crate::checker::{connect, verify};
use crate::dice::Dice;
use crate::host::{beside, write_private};
use crate::sidecar::{Setup, Sidecar};
use crate::trial::{Outcome, Trial};

const MIGRATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../migrations");

const BUSY: i32 = 75;
const CONFIGURATION: i32 = 78;

const FEWEST_CONTENDERS: u64 = 2;
const MOST_CONTENDERS: u64 = 8;

/// A first start takes less.
const LONGEST_MIGRATION_US: u64 = 50_000;

const PATIENCE: Duration = Duration::from_secs(30);
const LOOK_AGAIN: Duration = Duration::from_millis(2);

/// A call of each state, as version 1 wrote them.
const ROWS_OF_VERSION_1: &str = "
    INSERT INTO client_organizations (id, name, created_at, updated_at)
    VALUES ('mai_client_63a4eb6d', 'Company_A', 1790000000000, 1790000000000);
    INSERT INTO users (user_id, external_user, first_seen_at_ms, last_seen_at_ms)
    VALUES ('anna', 'mai_client_63a4eb6d_user_55579b55', 1790000000000, 1790000000000);
    INSERT INTO calls (id, org_id, user_id, endpoint, model_asked, markup, state, admitted_at_ms, generation_id)
    SELECT 'call of ' || value, 'mai_client_63a4eb6d', 'anna', 'chat/completions', 'a/b', '1.3', value, 1790000000000,
        iif(value IN ('settled', 'open'), 'gen-1790000000-' || value, NULL)
    FROM json_each('[\"open\", \"orphan\", \"settled\", \"void\"]');
    INSERT INTO entries (kind, call_id, generation_id, org_id, user_id, model, day, occurred_at_ms, booked_at_ms,
        requests, cost_text, cost_exact, cost_pico_usd, cost_source, markup, charge_pico_usd)
    VALUES ('call', 'call of settled', 'gen-1790000000-settled', 'mai_client_63a4eb6d', 'anna', 'a/b', '2026-09-21',
        1790000000000, 1790000000000, 1, '1e-9', 1, 1000, 'response', '1.3', 1300);
    INSERT INTO daily_usage
    VALUES ('mai_client_63a4eb6d', '2026-09-21', 'anna', 'a/b', 1, 0, 0, 1000, 1300, 1790000000000, 1790000000000);";

/// Row 13.
pub(crate) async fn two_and_upgrades(trial: Trial) -> Outcome {
    if !can_trace() {
        return Outcome::Skipped("strace cannot trace here".to_owned());
    }
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let setup = Setup::new(&trial, &simulator).with("LOG_LEVEL", trial.depth("trace", "info"));
    let mut dice = trial.dice();
    let races = race(&trial, &setup, &mut dice).await;
    let kills = kill_migrations(&trial, &setup, &mut dice).await;
    let refusals = refuse_other_schemas(&trial, &setup).await;
    Outcome::Counts(format!("{races}; {kills}; {refusals}"))
}

fn can_trace() -> bool {
    let traced = Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).status();
    traced.is_ok_and(|status| status.success())
}

/// Many start on one file at the same moment: one serves, the others exit with 75 and have touched nothing.
async fn race(trial: &Trial, setup: &Setup, dice: &mut Dice) -> String {
    const AT_ONCE: Duration = Duration::from_secs(1);
    let rounds = trial.depth(10, 100);
    let (mut losers, mut slowest) = (0, Duration::ZERO);
    for round in 0..rounds {
        let mut setup = setup.clone();
        setup.database = trial.path(&format!("race-{round}.db"));
        // On a file that is not there yet.
        let (mut winner, lost) = one_of_many(&setup, dice).await;
        losers += lost;
        first_writes(&setup.database).await;
        let before = bytes_of(&setup.database);
        let mut late = setup.spawn();
        assert_eq!(late.ended().await.code(), Some(BUSY));
        assert!(before == bytes_of(&setup.database), "a daemon that was refused changed the file");
        winner.kill();
        let started = Instant::now();
        let mut next = setup.start().await;
        slowest = slowest.max(started.elapsed());
        next.kill();
        // On one whose owner was killed.
        let (mut winner, lost) = one_of_many(&setup, dice).await;
        losers += lost + 1;
        winner.kill();
        verify(&setup.database);
        remove(&setup.database);
    }
    assert!(!trial.full || slowest < AT_ONCE, "a start after a kill took {slowest:?}");
    let races = 2 * rounds;
    format!(
        "{races} races with one winner each, {losers} losers exit 75, slowest start after a kill {slowest:.0?}"
    )
}

/// The one that serves, and how many were refused.
async fn one_of_many(setup: &Setup, dice: &mut Dice) -> (Sidecar, usize) {
    let contenders = FEWEST_CONTENDERS + dice.roll(MOST_CONTENDERS - FEWEST_CONTENDERS + 1);
    let mut running: Vec<Sidecar> = (0..contenders).map(|_| setup.spawn()).collect();
    let deadline = Instant::now() + PATIENCE;
    let mut refused = 0;
    while running.len() > 1 {
        assert!(Instant::now() < deadline, "{} daemons run on one file", running.len());
        let mut left = Vec::new();
        for mut contender in running {
            match contender.exit() {
                Some(status) => {
                    assert_eq!(status.code(), Some(BUSY), "{status}");
                    refused += 1;
                }
                None => left.push(contender),
            }
        }
        assert!(!left.is_empty(), "all were refused");
        running = left;
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let mut winner = running.remove(0);
    winner.ready().await;
    (winner, refused)
}

/// Waits for what a fresh daemon writes by itself, a poll and the prices; after that it is still.
async fn first_writes(database: &Path) {
    let deadline = Instant::now() + PATIENCE;
    let mut connection = connect(database).await;
    loop {
        let is_still: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT 1 FROM reconciliations) AND EXISTS (SELECT 1 FROM model_prices)",
        )
        .fetch_one(&mut connection)
        .await
        .unwrap();
        if is_still {
            return;
        }
        assert!(Instant::now() < deadline, "the first poll is not made");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// A start that is killed while it makes or upgrades the schema leaves one of the versions, and the next start ends it.
async fn kill_migrations(trial: &Trial, setup: &Setup, dice: &mut Dice) -> String {
    /// More disk calls than a first start makes.
    const MOST_DISK_CALLS: u64 = 400;
    const DISK_CALLS: &str = "pwrite64,fsync,fdatasync,unlink";
    let (kills, stride) = trial.depth((30, 5), (500, 1));
    let versions = Versions::make(trial).await;
    let mut found = vec![0_usize; versions.schemas.len()];
    for old in 0..versions.schemas.len() - 1 {
        for kill in 0..kills {
            let setup = on_old_file(trial, setup, &versions, (old, kill));
            let mut sidecar = setup.spawn();
            tokio::time::sleep(Duration::from_micros(dice.roll(LONGEST_MIGRATION_US))).await;
            sidecar.kill();
            found[versions.heal(&setup, old).await] += 1;
        }
        let mut call = 1 + dice.roll(stride);
        while call < MOST_DISK_CALLS {
            let setup = on_old_file(trial, setup, &versions, (old, call));
            let trace = format!("trace={DISK_CALLS}");
            let inject = format!("inject={DISK_CALLS}:signal=KILL:when={call}");
            let tracing = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
            let survived = is_ready_or_dead(&mut setup.clone().wrapped(&tracing).spawn()).await;
            found[versions.heal(&setup, old).await] += 1;
            if survived {
                break;
            }
            call += stride;
        }
        assert!(call > 1 + stride && call < MOST_DISK_CALLS, "{call}: no disk call was hit");
    }
    assert!(found.iter().all(|found| *found > 0), "the kills found only {found:?} of the versions");
    let all: usize = found.iter().sum();
    format!("{all} kills in migrations left the versions {found:?} whole, all ended by the next start")
}

/// True where it came up before it was killed by what it runs under.
async fn is_ready_or_dead(sidecar: &mut Sidecar) -> bool {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if sidecar.exit().is_some() {
            return false;
        }
        if sidecar.health().await == Some(200) {
            sidecar.kill();
            return true;
        }
        assert!(Instant::now() < deadline, "the sidecar neither starts nor dies");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// The setup with a file of its own, as the version `old` left it.
fn on_old_file(trial: &Trial, setup: &Setup, versions: &Versions, (old, kill): (usize, u64)) -> Setup {
    let mut setup = setup.clone();
    setup.database = trial.path(&format!("upgrade-{old}-{kill}.db"));
    if old > 0 {
        write_private(&setup.database, &std::fs::read(&versions.files[old]).unwrap());
    }
    setup
}

/// The schema after each migration; the first is that of an empty file.
struct Versions {
    schemas: Vec<Vec<String>>,
    files: Vec<PathBuf>,
    scratch: PathBuf,
}

impl Versions {
    async fn make(trial: &Trial) -> Self {
        let migrator = Migrator::new(PathBuf::from(MIGRATIONS)).await.unwrap();
        let (mut schemas, mut files) = (vec![Vec::new()], vec![PathBuf::new()]);
        for migration in migrator.iter() {
            let file = trial.path(&format!("version-{}.db", migration.version));
            let pool = SqlitePool::connect_with(making(&file)).await.unwrap();
            migrator.run_to(migration.version, &pool).await.unwrap();
            if files.len() == 1 {
                sqlx::raw_sql(ROWS_OF_VERSION_1).execute(&pool).await.unwrap();
            }
            pool.close().await;
            let mut connection = connect(&file).await;
            schemas.push(schema(&mut connection).await);
            files.push(file);
        }
        let scratch = trial.path("scratch");
        std::fs::create_dir(&scratch).unwrap();
        Self { schemas, files, scratch }
    }

    /// Looks at what a kill left, in a copy; then the next start has to make the newest version of it. Answers the
    /// version that was found.
    async fn heal(&self, setup: &Setup, old: usize) -> usize {
        let found = if setup.database.exists() {
            let copy = self.scratch.join("copy.db");
            for (suffix, bytes) in bytes_of(&setup.database) {
                write_private(&beside(&copy, suffix), &bytes);
            }
            let mut connection = writable(&copy).await;
            let found = schema(&mut connection).await;
            connection.close().await.unwrap();
            remove(&copy);
            found
        } else {
            Vec::new()
        };
        let version = self.schemas.iter().position(|schema| *schema == found);
        let version = version.unwrap_or_else(|| panic!("a schema that is no version: {found:#?}"));
        assert!(version >= old, "an upgrade took {old} back to {version}");
        setup.start().await.kill();
        verify(&setup.database);
        let mut connection = connect(&setup.database).await;
        assert_eq!(&schema(&mut connection).await, self.schemas.last().unwrap());
        connection.close().await.unwrap();
        remove(&setup.database);
        version
    }
}

/// Everything of ours that a file defines.
async fn schema(connection: &mut SqliteConnection) -> Vec<String> {
    const OURS: &str = "SELECT type || ' ' || name || ': ' || ifnull(sql, '') FROM sqlite_master
        WHERE tbl_name NOT LIKE '\\_sqlx%' ESCAPE '\\' ORDER BY 1";
    sqlx::query_scalar(OURS).fetch_all(connection).await.unwrap()
}

/// A file that a newer program migrated, or whose history was changed, is refused and stays as it is.
async fn refuse_other_schemas(trial: &Trial, setup: &Setup) -> String {
    const NEWER: &str =
        "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time)
        VALUES (9999, 'of next year', 1, x'00', 1)";
    const CHANGED: &str = "UPDATE _sqlx_migrations SET checksum = x'00' WHERE version = 1";
    const HALF: &str = "UPDATE _sqlx_migrations SET success = 0 WHERE version = 1";
    let cases = [
        ("newer", NEWER, Some(CONFIGURATION), "was written by a newer mai-usage (schema 9999)"),
        ("changed", CHANGED, None, "migration 1 was previously applied but has been modified"),
        ("half", HALF, None, "migration 1 is partially applied"),
    ];
    for (name, statement, code, words) in cases {
        let mut setup = setup.clone();
        setup.database = trial.path(&format!("{name}.db"));
        let mut sidecar = setup.start().await;
        sidecar.terminate();
        assert!(sidecar.ended().await.success());
        let mut connection = writable(&setup.database).await;
        sqlx::query(statement).execute(&mut connection).await.unwrap();
        // The same with the change still in the write-ahead log, as after a kill.
        let mut logged = setup.clone();
        logged.database = trial.path(&format!("{name}-logged.db"));
        for (suffix, bytes) in bytes_of(&setup.database) {
            write_private(&beside(&logged.database, suffix), &bytes);
        }
        connection.close().await.unwrap();
        for setup in [setup, logged] {
            let (before, said) = (bytes_of(&setup.database), setup.told().len());
            let status = setup.spawn().ended().await;
            assert!(
                !status.success() && code.is_none_or(|code| status.code() == Some(code)),
                "{name}: {status}"
            );
            let told = setup.told().split_off(said);
            assert!(told.contains(words), "{name}: {told}");
            assert!(before == bytes_of(&setup.database), "{name}: a file that was refused was changed");
        }
    }
    format!("{} schemas of other programs refused, unchanged", 2 * cases.len())
}

fn making(database: &Path) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new().filename(database).create_if_missing(true);
    options.journal_mode(SqliteJournalMode::Wal)
}

async fn writable(database: &Path) -> SqliteConnection {
    let mut connection = making(database).connect().await.unwrap();
    sqlx::query("PRAGMA wal_autocheckpoint = 0").execute(&mut connection).await.unwrap();
    connection
}

/// The parts of a database that hold data; an empty one holds none.
fn bytes_of(database: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let parts = ["", "-wal", "-journal"].into_iter();
    let read = parts.filter_map(|suffix| Some((suffix, std::fs::read(beside(database, suffix)).ok()?)));
    read.filter(|(suffix, bytes)| suffix.is_empty() || !bytes.is_empty()).collect()
}

fn remove(database: &Path) {
    for suffix in ["", "-wal", "-shm", "-journal", ".lock"] {
        let _ = std::fs::remove_file(beside(database, suffix));
    }
}
