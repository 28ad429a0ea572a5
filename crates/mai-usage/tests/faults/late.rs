//! Row 8: `/generation` that knows late, refuses, or talks HTML.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use openrouter_sim::{Knobs, Options, SeenRequest, Simulator};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::callers::{History, ask, chat, question};
use crate::checker::{check, wait_settled};
use crate::sidecar::{Setup, client};
use crate::trial::{Outcome, Trial};

const CALLERS: usize = 8;

/// The latest that `/generation` knows a call.
const LATEST_MINUTES: u64 = 60;

/// When `/generation` answers with something else, in minutes after the calls, and with what.
const OUTAGES: [(Range<u64>, &str); 3] = [(15..25, "429"), (30..40, "500"), (45..55, "html")];

/// Polls after which a cost that can be asked for is booked.
const POLLS: usize = 2;

/// Questions to `/generation` a second.
const ASKS_A_SECOND: usize = 4;

/// A call, and when `/generation` begins to tell its cost.
#[derive(Clone, Debug)]
struct Late {
    generation_id: String,
    after_ms: u64,
    /// Asks that are answered 404 even then.
    misses: usize,
}

/// Row 8.
pub(crate) async fn generation(trial: Trial) -> Outcome {
    let pace = JoinSet::from_iter([pace(trial.clone())]);
    let late = settled_in_time(&trial).await;
    let pace = pace.join_all().await.concat();
    Outcome::Counts(format!("{late}; {pace}"))
}

/// Calls whose costs come late, on a sidecar whose clock runs fast.
async fn settled_in_time(trial: &Trial) -> String {
    let (calls, rate) = trial.depth((60, 360), (1_000, 60));
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let setup = Setup::new(trial, &simulator).with("LOG_LEVEL", trial.depth("trace", "info"));
    let clock = format!("+0 x{rate}");
    let sidecar = setup.clone().on_clock(&clock).start().await;
    let history = History::default();
    // Lateness is told on the simulator's clock, which is the machine's.
    let minute_ms = 60_000 / rate;
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (proxy, history) = (sidecar.proxy, history.clone());
        callers.spawn(async move {
            let indices = (caller..calls).step_by(CALLERS);
            let mut late = Vec::new();
            for index in indices {
                let latest_ms = LATEST_MINUTES * minute_ms;
                let after_ms = latest_ms * u64::try_from(index).unwrap() / u64::try_from(calls).unwrap();
                late.push(ask_late(proxy, index, after_ms, &history).await);
            }
            late
        });
    }
    let late = callers.join_all().await.concat();
    let outages = break_down(&simulator, minute_ms).await;
    wait_settled(&setup.database).await;

    let (truth, requests) = (simulator.truth(), simulator.requests());
    let created: HashMap<&str, i64> =
        truth.iter().map(|charge| (charge.generation_id.as_str(), charge.created_ms)).collect();
    let polls: Vec<i64> = arrivals(&requests, "/api/v1/key");
    let polls: Vec<i64> =
        polls.into_iter().filter(|poll| !outages.iter().any(|outage| outage.contains(poll))).collect();
    let mut most = 0;
    for call in &late {
        let asks = arrivals(&requests, &format!("/api/v1/generation?id={}", call.generation_id));
        let (settled, in_vain) = asks.split_last().unwrap();
        let known = created[call.generation_id.as_str()] + i64::try_from(call.after_ms).unwrap();
        assert!(*settled >= known && in_vain.len() >= call.misses, "{call:?} {asks:?}");
        // What was told 404 for the last time is known from then on.
        let known = if call.misses > 0 { *in_vain.last().unwrap() } else { known };
        let waited = polls.iter().filter(|poll| (known..*settled).contains(poll)).count();
        assert!(waited <= POLLS, "{call:?} was settled {waited} polls after it was known");
        most = most.max(waited);
    }
    let history = history.lock().unwrap().clone();
    let counts = check(&setup.database, &truth, &history).await;
    assert!(counts.booked == counts.charges && counts.charges >= calls);
    assert!(polls.len() > 2 && outages.len() == OUTAGES.len());
    format!(
        "{counts}, settled at most {most} polls after they were known, late by up to {LATEST_MINUTES} minutes"
    )
}

/// One call whose answer tells no cost.
async fn ask_late(proxy: SocketAddr, index: usize, after_ms: u64, history: &History) -> Late {
    let (http, misses) = (client(), index % 3);
    let knobs = json!({ "usage": "none", "settle_after_ms": after_ms, "generation_misses": misses });
    for attempt in 0.. {
        let user_id = format!("user {index} {attempt}");
        let asked = question(&http, proxy, &user_id, &chat(index.is_multiple_of(2), &knobs));
        // On a fast clock a question or a commit may come too late for the sidecar; then somebody else asks.
        let Some(seen) = ask(asked, &user_id).await else { continue };
        history.lock().unwrap().push(seen.clone());
        if let Some(generation_id) = seen.generation_id {
            assert!(seen.status == 200 && seen.whole);
            return Late { generation_id, after_ms, misses };
        }
    }
    unreachable!()
}

/// Lets `/generation` fail for a while, again and again. Answers when, on the simulator's clock.
async fn break_down(simulator: &Simulator, minute_ms: u64) -> Vec<Range<i64>> {
    let (mut minute, mut outages) = (0, Vec::new());
    for (when, error) in OUTAGES {
        tokio::time::sleep(Duration::from_millis((when.start - minute) * minute_ms)).await;
        simulator.set_knobs(Knobs { generation_error: Some(error.to_owned()), ..Knobs::default() });
        let from_ms = simulator.now_ms();
        tokio::time::sleep(Duration::from_millis((when.end - when.start) * minute_ms)).await;
        simulator.set_knobs(Knobs::default());
        outages.push(from_ms..simulator.now_ms() + 1);
        minute = when.end;
    }
    outages
}

/// When a path was asked for.
fn arrivals(requests: &[SeenRequest], path: &str) -> Vec<i64> {
    requests.iter().filter(|request| request.path == path).map(|request| request.arrived_ms).collect()
}

/// Many calls that can be asked about at once, on the true clock: they are asked about one after the other.
async fn pace(trial: Trial) -> String {
    /// A question may be on its way a little longer than the next.
    const JITTER_MS: i64 = 100;
    let (calls, seconds) = trial.depth((60, 10), (400, 90));
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let mut setup = Setup::new(&trial, &simulator);
    setup.database = trial.path("pace.db");
    let sidecar = setup.start().await;
    let (http, user_id) = (client(), "user");
    let never: Value = json!({ "usage": "none", "settle_after_ms": 3_600_000 });
    for _ in 0..calls {
        let seen = ask(question(&http, sidecar.proxy, user_id, &chat(false, &never)), user_id).await.unwrap();
        assert_eq!(seen.status, 200);
    }
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let requests = simulator.requests();
    let asks: Vec<i64> = requests
        .iter()
        .filter(|request| request.path.starts_with("/api/v1/generation?"))
        .map(|request| request.arrived_ms)
        .collect();
    let took_ms = asks.last().unwrap() - asks[0];
    for window in asks.windows(ASKS_A_SECOND + 1) {
        let span_ms = window[ASKS_A_SECOND] - window[0];
        assert!(span_ms >= 1_000 - JITTER_MS, "{} questions within {span_ms} ms", window.len());
    }
    let allowed = i64::try_from(ASKS_A_SECOND).unwrap() * (took_ms + JITTER_MS) / 1_000 + 1;
    let asked = i64::try_from(asks.len()).unwrap();
    assert!(asked <= allowed, "{asked} questions in {took_ms} ms");
    assert!(asked > i64::try_from(seconds).unwrap(), "only {asked} questions");
    format!("{asked} questions in {:.1} s", Duration::from_millis(took_ms.unsigned_abs()).as_secs_f64())
}
