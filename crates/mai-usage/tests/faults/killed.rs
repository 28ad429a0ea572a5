//! Rows 1 and 2: `kill -9` in the middle of everything.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt as _;
use std::time::Duration;

use openrouter_sim::{Options, Simulator};
use serde_json::json;
use tokio::task::JoinSet;

use crate::callers::{History, ask, chat, question};
use crate::checker::check;
use crate::host::run;
use crate::sidecar::{Setup, client};
use crate::trial::{Outcome, Trial};

const STREAMS: usize = 32;
const PLAIN: usize = 8;

/// Between a start and its kill, milliseconds.
const SHORTEST_LIFE_MS: u64 = 30;
const LONGEST_LIFE_MS: u64 = 500;

/// Employees who keep asking: 32 streams and 8 plain callers.
#[derive(Debug)]
pub(crate) struct Load(JoinSet<()>);

impl Load {
    /// Starts asking `proxy`; every answer goes into `history`.
    pub(crate) fn start(proxy: SocketAddr, history: &History) -> Self {
        let (http, mut callers) = (client(), JoinSet::new());
        for caller in 0..STREAMS + PLAIN {
            callers.spawn(call_until_killed(http.clone(), proxy, caller, history.clone()));
        }
        Self(callers)
    }

    /// Waits until all have noticed that nobody answers.
    pub(crate) async fn ended(self) {
        self.0.join_all().await;
    }
}

/// Calls until the sidecar is gone.
async fn call_until_killed(http: reqwest::Client, proxy: SocketAddr, caller: usize, history: History) {
    let user_id = format!("user {}", caller % 5);
    let knobs = json!({ "chunks": 12, "chunk_delay_ms": 4, "head_delay_ms": caller % 4 * 5 });
    let body = chat(caller < STREAMS, &knobs);
    while let Some(seen) = ask(question(&http, proxy, &user_id, &body), &user_id).await {
        history.lock().unwrap().push(seen.without_body());
    }
}

/// Row 1.
pub(crate) async fn at_random(trial: Trial) -> Outcome {
    const LONGEST_START: Duration = Duration::from_secs(1);
    let cycles = trial.depth(10, 1_000);
    let mut dice = trial.dice();
    let simulator = Simulator::start(Options::default()).await.unwrap();
    // A line for each chunk of a hundred thousand calls would fill the disk with words.
    let setup = Setup::new(&trial, &simulator).with("LOG_LEVEL", trial.depth("trace", "info"));
    let history = History::default();
    let mut slowest_start = Duration::ZERO;
    for _ in 0..cycles {
        let mut sidecar = setup.spawn();
        slowest_start = slowest_start.max(sidecar.ready().await);
        let load = Load::start(sidecar.proxy, &history);
        let life_ms = SHORTEST_LIFE_MS + dice.roll(LONGEST_LIFE_MS - SHORTEST_LIFE_MS);
        tokio::time::sleep(Duration::from_millis(life_ms)).await;
        sidecar.kill();
        load.ended().await;
    }
    let _sidecar = setup.heal().await;
    let history = history.lock().unwrap().clone();
    let counts = check(&setup.database, &simulator.truth(), &history).await;
    assert!(counts.booked > 0 && counts.heads_seen > 100, "the kills found nothing to break");
    if trial.full {
        assert!(counts.charges >= 100_000, "only {} calls", counts.charges);
        assert!(slowest_start < LONGEST_START, "a start took {slowest_start:?}");
    }
    Outcome::Counts(format!("{cycles} cycles, {counts}, slowest start {slowest_start:?}"))
}

/// Row 2: the process dies at its n-th write, its n-th sync or its n-th change of a file's size or name, from the very first
/// start on an empty folder.
pub(crate) async fn at_disk_calls(trial: Trial) -> Outcome {
    if let Err(reason) = run("strace", &["--version"]) {
        return Outcome::Skipped(reason);
    }
    let (last, step) = trial.depth((500, 25), (500, 1));
    let (mut died_at_start, mut heads, mut deaths) = (0, 0, 0);
    for call in (1..=last).step_by(step) {
        let death = die_at_disk_call(&trial, call).await;
        died_at_start += u32::from(death.at_start);
        heads += death.heads;
        deaths += 1;
    }
    assert!(died_at_start > 0 && died_at_start < deaths, "{died_at_start} of {deaths} died at their start");
    assert!(heads > 0, "no client saw anything before a death");
    Outcome::Counts(format!(
        "{deaths} deaths at disk calls 1 to {last}, {died_at_start} of them before it was ready, {heads} heads seen, all \
         recovered, 0 lost, 0 doubled"
    ))
}

struct Death {
    at_start: bool,
    heads: usize,
}

async fn die_at_disk_call(trial: &Trial, call: usize) -> Death {
    // Writes outnumber syncs, so each kind is counted for itself: the n-th write for even numbers, the n-th of the others.
    let calls = if call.is_multiple_of(2) { "pwrite64" } else { "fsync,fdatasync,ftruncate,unlink" };
    let kill = format!("--inject={calls}:signal=KILL:when={}", call.div_ceil(2));
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let mut sound = Setup::new(trial, &simulator);
    sound.database = trial.path(&format!("died-at-{call}.db"));
    let strace = ["strace", "--follow-forks", "--seccomp-bpf", "--quiet=all", "--output=/dev/null", &kill];
    let mut doomed = sound.clone().wrapped(&strace).spawn();
    let at_start = !doomed.becomes_ready().await;
    let history = History::default();
    if !at_start {
        let mut callers = JoinSet::new();
        for caller in [0, 1, STREAMS, STREAMS + 1] {
            callers.spawn(call_until_killed(client(), doomed.proxy, caller, history.clone()));
        }
        callers.join_all().await;
    }
    let status = doomed.ended().await;
    assert_eq!(status.signal(), Some(9), "disk call {call} never came: {status}");
    let _sidecar = sound.heal().await;
    let history = history.lock().unwrap().clone();
    let counts = check(&sound.database, &simulator.truth(), &history).await;
    Death { at_start, heads: counts.heads_seen }
}
