//! Row 10: another program at the database.

use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use openrouter_sim::{Options, Simulator};
use serde_json::json;
use tokio::time::Instant;

use crate::callers::{History, ask, chat, question};
use crate::checker::{calls_in, check, check_roll_up, verify};
use crate::disk::Callers;
use crate::sidecar::{Setup, Sidecar, client};
use crate::trial::{Outcome, Trial, eventually};

/// How long the sidecar waits for somebody else's lock.
const LONGEST_STALL: Duration = Duration::from_secs(5);

/// Room for a busy machine.
const MARGIN: Duration = Duration::from_millis(500);

/// Another program that holds the write lock.
pub(crate) struct Locker(Child);

impl Locker {
    pub(crate) fn lock(database: &Path) -> Self {
        const LOCK: &str = "
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30)
connection.execute('BEGIN IMMEDIATE')
print('locked', flush=True)
sys.stdin.read()
connection.execute('ROLLBACK')
";
        let mut python = Command::new("python3");
        python.args(["-c", LOCK]).arg(database).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = python.spawn().unwrap();
        let mut told = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut told).unwrap();
        assert_eq!(told, "locked\n");
        Self(child)
    }
}

impl Drop for Locker {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        self.0.wait().unwrap();
    }
}

/// Row 10.
pub(crate) async fn by_another_program(trial: Trial) -> Outcome {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let setup = Setup::new(&trial, &simulator).with("LOG_LEVEL", trial.depth("trace", "info"));
    let sidecar = setup.start().await;
    let history = History::default();
    let (rounds, mut dice, mut slowest) = (trial.depth(1, 10), trial.dice(), Duration::ZERO);
    for _ in 0..rounds {
        let held = Duration::from_millis(500 + dice.roll(3_000));
        let took = stall(held, &setup, &sidecar, &history).await;
        assert!(!trial.full || took < LONGEST_STALL, "a lock of {held:?} stalled for {took:?}");
        slowest = slowest.max(took);
        let took = refuse(&setup, &sidecar, &simulator).await;
        assert!(!trial.full || took < LONGEST_STALL + MARGIN, "503 after {took:?}");
    }
    let copies = copy_under_load(&trial, setup, sidecar, &simulator, &history).await;
    Outcome::Counts(format!("{rounds} stalls of at most {slowest:?}, {rounds} refusals; {copies}"))
}

/// A lock that is shorter than the wait only delays.
async fn stall(held: Duration, setup: &Setup, sidecar: &Sidecar, history: &History) -> Duration {
    let locker = Locker::lock(&setup.database);
    let body = chat(true, &json!({}));
    let started = Instant::now();
    let http = client();
    let asked = ask(question(&http, sidecar.proxy, "anna", &body), "anna");
    let release = async {
        tokio::time::sleep(held).await;
        drop(locker);
    };
    let (seen, ()) = tokio::join!(asked, release);
    let (seen, took) = (seen.unwrap(), started.elapsed());
    assert!(seen.status == 200 && seen.whole && took >= held, "{seen:?}");
    history.lock().unwrap().push(seen);
    took
}

/// A lock that is longer is answered with 503 before anything is sent; afterwards all is well by itself.
async fn refuse(setup: &Setup, sidecar: &Sidecar, simulator: &Simulator) -> Duration {
    let sent = simulator.truth().len();
    let locker = Locker::lock(&setup.database);
    let started = Instant::now();
    let seen =
        ask(question(&client(), sidecar.proxy, "anna", &chat(false, &json!({}))), "anna").await.unwrap();
    let took = started.elapsed();
    assert_eq!(seen.status, 503);
    assert_eq!(simulator.truth().len(), sent, "something was sent that could not be recorded");
    drop(locker);
    eventually("ready again", Duration::from_secs(30), async || sidecar.health().await == Some(200)).await;
    took
}

/// Copies by another program while calls come in: each is whole, sound and agrees with itself.
async fn copy_under_load(
    trial: &Trial,
    setup: Setup,
    mut sidecar: Sidecar,
    simulator: &Simulator,
    history: &History,
) -> String {
    let callers = Callers::start(sidecar.proxy, history);
    let copies = trial.depth(20, 500);
    let mut fewest = i64::MAX;
    let mut most = 0;
    for _ in 0..copies {
        let copy = trial.path("copy.db");
        copy_with_python(&setup.database, &copy).await;
        verify(&copy);
        check_roll_up(&copy).await;
        let entries = calls_in(&copy, &["settled"]).await;
        (fewest, most) = (fewest.min(entries), most.max(entries));
        std::fs::remove_file(&copy).unwrap();
    }
    assert!(fewest < most, "nothing was written while the copies were made");
    sidecar.kill();
    callers.end().await;
    let _sidecar = setup.heal().await;
    let history = history.lock().unwrap().clone();
    let counts = check(&setup.database, &simulator.truth(), &history).await;
    format!("{copies} of {copies} copies sound, with {fewest} to {most} settled calls; {counts}")
}

pub(crate) async fn copy_with_python(database: &Path, copy: &Path) {
    const COPY: &str = "
import sqlite3, sys
sqlite3.connect(sys.argv[1], isolation_level=None, timeout=30).execute('VACUUM INTO ?', (sys.argv[2],))
";
    let mut python = tokio::process::Command::new("python3");
    let output = python.args(["-c", COPY]).arg(database).arg(copy).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::set_permissions(copy, std::fs::Permissions::from_mode(0o600)).unwrap();
}
