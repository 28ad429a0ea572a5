//! Rows 1 and 2: `kill -9` in the middle of everything.

use std::net::SocketAddr;
use std::time::Duration;

use openrouter_sim::{Options, Simulator};
use serde_json::json;
use tokio::task::JoinSet;

use crate::callers::{History, ask, chat, question};
use crate::checker::{check, wait_settled};
use crate::sidecar::{Setup, client};
use crate::trial::{Outcome, Trial};

const STREAMS: usize = 32;
const PLAIN: usize = 8;

/// Between a start and its kill, milliseconds.
const SHORTEST_LIFE_MS: u64 = 30;
const LONGEST_LIFE_MS: u64 = 500;

/// Calls until the sidecar is gone.
async fn call_until_killed(http: reqwest::Client, proxy: SocketAddr, caller: usize, history: History) {
    let user_id = format!("user {}", caller % 5);
    let knobs = json!({ "chunks": 12, "chunk_delay_ms": 4, "head_delay_ms": caller % 4 * 5 });
    let body = chat(caller < STREAMS, &knobs);
    while let Some(seen) = ask(question(&http, proxy, &user_id, &body), &user_id).await {
        history.lock().unwrap().push(seen);
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
        let (http, mut callers) = (client(), JoinSet::new());
        for caller in 0..STREAMS + PLAIN {
            callers.spawn(call_until_killed(http.clone(), sidecar.proxy, caller, history.clone()));
        }
        let life_ms = SHORTEST_LIFE_MS + dice.roll(LONGEST_LIFE_MS - SHORTEST_LIFE_MS);
        tokio::time::sleep(Duration::from_millis(life_ms)).await;
        sidecar.kill();
        callers.join_all().await;
    }
    // What the kills left open is asked for at four a second: on a clock that runs fast, as that takes hours otherwise.
    let _sidecar = setup.clone().wrapped(&["faketime", "-f", "+0 x20"]).start().await;
    wait_settled(&setup.database).await;
    let history = history.lock().unwrap().clone();
    let counts = check(&setup.database, &simulator.truth(), &history).await;
    assert!(counts.booked > 0 && counts.heads_seen > 100, "the kills found nothing to break");
    if trial.full {
        assert!(counts.charges >= 100_000, "only {} calls", counts.charges);
        assert!(slowest_start < LONGEST_START, "a start took {slowest_start:?}");
    }
    Outcome::Counts(format!("{cycles} cycles, {counts}, slowest start {slowest_start:?}"))
}

/// Row 2.
pub(crate) async fn at_disk_calls(_trial: Trial) -> Outcome {
    Outcome::Skipped("not built yet".to_owned())
}
