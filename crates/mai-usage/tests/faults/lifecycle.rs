//! Row 12: SIGTERM.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use openrouter_sim::{Options, Simulator};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::callers::{History, Seen, ask, chat, question};
use crate::checker::{check, connect, wait_settled};
use crate::dice::Dice;
use crate::sidecar::{Setup, client};
use crate::trial::{Outcome, Trial};

const STREAMS: usize = 12;
const PLAIN: usize = 4;
const WITHOUT_HEAD: usize = 4;
/// Half of them leave a stream, half a plain call.
const LEAVERS: usize = 4;
const UNDER_WAY: usize = STREAMS + PLAIN + WITHOUT_HEAD + LEAVERS;
/// Ask again and again until they are refused; half of them on a connection that they keep.
const RACERS: usize = 6;

/// How long answers take, milliseconds.
const SHORTEST_ANSWER_MS: u64 = 300;
const LONGEST_ANSWER_MS: u64 = 1_300;

/// The sidecar's grace on a clock that runs [`HASTE`] times as fast.
const GRACE: Duration = Duration::from_secs(2);
const HASTE: &str = "+0 x60";

/// How much longer than the slowest answer, or than the grace, the end may take.
const LAST_WORDS: Duration = Duration::from_secs(3);

const PATIENCE: Duration = Duration::from_secs(20);
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// The end of a stream that was not cut.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// What the ends came to.
#[derive(Debug, Default)]
struct Ends {
    whole: usize,
    left: usize,
    refused: usize,
    slowest: Duration,
}

/// The employees of one round, and what they saw.
struct Callers {
    proxy: SocketAddr,
    history: History,
    tasks: JoinSet<()>,
}

impl Callers {
    /// Asks, and expects the whole answer.
    fn ask_for_whole(&mut self, stream: bool, knobs: serde_json::Value) {
        let (proxy, history) = (self.proxy, self.history.clone());
        self.tasks.spawn(async move {
            let seen = ask(question(&client(), proxy, "patient", &chat(stream, &knobs)), "patient").await;
            let seen = seen.expect("a call that was under way got no head");
            assert_eq!(seen.status, 200, "{}", String::from_utf8_lossy(&seen.body));
            assert!(seen.whole, "an answer shorter than the grace was broken off");
            assert!(!stream || seen.body.ends_with(DONE), "a stream lost its end");
            history.lock().unwrap().push(seen);
        });
    }

    /// Asks for an answer longer than the grace, and expects it to be visibly broken off.
    fn ask_for_part(&mut self, stream: bool, knobs: serde_json::Value) {
        let (proxy, history) = (self.proxy, self.history.clone());
        self.tasks.spawn(async move {
            let seen = ask(question(&client(), proxy, "patient", &chat(stream, &knobs)), "patient").await;
            let seen = seen.expect("a call that was under way got no head");
            assert_eq!(seen.status, 200, "{}", String::from_utf8_lossy(&seen.body));
            assert!(!seen.whole, "an answer that was cut looks whole");
            history.lock().unwrap().push(seen);
        });
    }

    /// Asks somebody who does not begin to answer within the grace.
    fn ask_in_vain(&mut self, knobs: serde_json::Value) {
        let proxy = self.proxy;
        self.tasks.spawn(async move {
            let seen = ask(question(&client(), proxy, "patient", &chat(false, &knobs)), "patient").await;
            assert_eq!(seen.expect("a refusal in words").status, 503);
        });
    }

    /// Asks, and leaves in the middle once `gone` says so.
    fn leave(&mut self, stream: bool, knobs: serde_json::Value, mut gone: watch::Receiver<bool>) {
        let (proxy, history) = (self.proxy, self.history.clone());
        self.tasks.spawn(async move {
            let asked = question(&client(), proxy, "hasty", &chat(stream, &knobs)).send();
            let answer = tokio::select! {
                answer = asked => answer.unwrap(),
                _ = gone.wait_for(|gone| *gone) => return,
            };
            let id = answer.headers().get("x-generation-id").unwrap().to_str().unwrap().to_owned();
            let seen = Seen {
                user_id: "hasty".to_owned(),
                status: answer.status().as_u16(),
                generation_id: Some(id),
                body: Vec::new(),
                whole: false,
            };
            history.lock().unwrap().push(seen);
            gone.wait_for(|gone| *gone).await.unwrap();
        });
    }

    /// Short calls, one after the other, until one is refused. Each is either refused or whole.
    fn race(&mut self, keeps_connection: bool) {
        let (proxy, history) = (self.proxy, self.history.clone());
        let http =
            if keeps_connection { reqwest::Client::builder().no_proxy().build().unwrap() } else { client() };
        self.tasks.spawn(async move {
            loop {
                let body = chat(true, &json!({ "chunks": 3, "chunk_delay_ms": 2 }));
                let Some(seen) = ask(question(&http, proxy, "racer", &body), "racer").await else { return };
                if seen.status == 503 {
                    return;
                }
                assert_eq!(seen.status, 200, "{}", String::from_utf8_lossy(&seen.body));
                assert!(seen.whole && seen.body.ends_with(DONE), "a call taken in at the end was broken off");
                history.lock().unwrap().push(seen);
            }
        });
    }
}

/// Row 12.
pub(crate) async fn terminated(trial: Trial) -> Outcome {
    let rounds = trial.depth(5, 100);
    let overruns = trial.depth(1, 10);
    let mut dice = trial.dice();
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let setup = Setup::new(&trial, &simulator).with("LOG_LEVEL", trial.depth("trace", "info"));
    let (history, mut ends) = (History::default(), Ends::default());
    for round in 0..rounds {
        drain(&setup, round, &mut dice, &history, &mut ends).await;
    }
    assert_eq!(ends.whole, rounds * (STREAMS + PLAIN + WITHOUT_HEAD));
    let mut sidecar = setup.start().await;
    wait_settled(&setup.database).await;
    sidecar.kill();
    let history = history.lock().unwrap().clone();
    let counts = check(&setup.database, &simulator.truth(), &history).await;
    assert_eq!(counts.orphans, 0, "an end in peace makes no orphans");
    let Ends { whole, left, refused, slowest } = ends;
    let cut = overrun(&trial, overruns).await;
    Outcome::Counts(format!(
        "{rounds} ends, {whole} answers under way all whole, {left} clients left meanwhile, {refused} refused, \
         {counts}, slowest end {slowest:.1?}; {cut}"
    ))
}

/// One end while answers shorter than the grace are under way.
async fn drain(setup: &Setup, round: usize, dice: &mut Dice, history: &History, ends: &mut Ends) {
    let mut sidecar = setup.start().await;
    let mut callers = Callers { proxy: sidecar.proxy, history: history.clone(), tasks: JoinSet::new() };
    let (go, gone) = watch::channel(false);
    for _ in 0..STREAMS {
        let chunks = 5 + dice.roll(25);
        let delay = answer_ms(dice) / chunks;
        callers.ask_for_whole(true, json!({ "chunks": chunks, "chunk_delay_ms": delay }));
    }
    for _ in 0..PLAIN {
        callers.ask_for_whole(false, json!({ "first_chunk_delay_ms": answer_ms(dice) }));
    }
    for caller in 0..WITHOUT_HEAD {
        callers.ask_for_whole(caller % 2 == 0, json!({ "head_delay_ms": answer_ms(dice) }));
    }
    for caller in 0..LEAVERS {
        let stream = caller % 2 == 0;
        let knobs = json!({ "chunks": 20, "chunk_delay_ms": 50, "first_chunk_delay_ms": LONGEST_ANSWER_MS });
        callers.leave(stream, knobs, gone.clone());
    }
    under_way(&setup.database, UNDER_WAY).await;
    for racer in 0..RACERS {
        callers.race(racer % 2 == 0);
    }
    tokio::time::sleep(Duration::from_millis(dice.roll(60))).await;
    let told = Instant::now();
    sidecar.terminate();
    while sidecar.health().await == Some(200) {
        assert!(told.elapsed() < PATIENCE, "it does not say that it stops");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    let late = ask(question(&client(), sidecar.proxy, "late", &chat(true, &json!({}))), "late").await;
    assert!(late.is_none_or(|late| late.status == 503), "a call was taken in after the end began");
    go.send(true).unwrap();
    if round.is_multiple_of(2) {
        sidecar.terminate();
    }
    let status = sidecar.ended().await;
    assert!(status.success(), "{status}");
    ends.slowest = ends.slowest.max(told.elapsed());
    callers.tasks.join_all().await;
    ends.whole += STREAMS + PLAIN + WITHOUT_HEAD;
    ends.left += LEAVERS;
    ends.refused += RACERS + 1;
    // Only a stream that its client left has no cost yet.
    let unknown = "state <> 'settled' AND (state <> 'open' OR outcome <> 'client-left')";
    assert_eq!(calls_where(&setup.database, unknown).await, 0);
}

/// Answers longer than the grace are broken off, priced by the next start, and the end does not wait for them.
async fn overrun(trial: &Trial, rounds: usize) -> String {
    const TOO_LONG_MS: u64 = 60_000;
    const LONG_STREAMS: usize = 6;
    let simulator = Simulator::start(Options::default()).await.unwrap();
    // The fast clock runs ahead; what is billed must not seem older than the call.
    simulator.advance(Duration::from_hours(24));
    let mut setup = Setup::new(trial, &simulator).on_clock(HASTE);
    setup.database = trial.path("overrun.db");
    let (history, mut slowest) = (History::default(), Duration::ZERO);
    for _ in 0..rounds {
        let mut sidecar = setup.start().await;
        let mut callers = Callers { proxy: sidecar.proxy, history: history.clone(), tasks: JoinSet::new() };
        callers.ask_for_whole(true, json!({ "chunks": 10, "chunk_delay_ms": 100 }));
        for _ in 0..LONG_STREAMS {
            callers.ask_for_part(true, json!({ "chunks": 2_000, "chunk_delay_ms": 30 }));
        }
        callers.ask_for_part(false, json!({ "first_chunk_delay_ms": TOO_LONG_MS }));
        callers.ask_in_vain(json!({ "head_delay_ms": TOO_LONG_MS }));
        under_way(&setup.database, LONG_STREAMS + 3).await;
        let told = Instant::now();
        sidecar.terminate();
        let status = sidecar.ended().await;
        let took = told.elapsed();
        assert!(status.success(), "{status}");
        assert!(took > GRACE.mul_f64(0.9), "it did not wait for its calls: {took:?}");
        assert!(!trial.full || took < GRACE + LAST_WORDS, "the end took {took:?}");
        slowest = slowest.max(took);
        callers.tasks.join_all().await;
    }
    let stopped = calls_where(&setup.database, "outcome = 'stopped' AND state = 'open'").await;
    let _sidecar = setup.start().await;
    wait_settled(&setup.database).await;
    let history = history.lock().unwrap().clone();
    let counts = check(&setup.database, &simulator.truth(), &history).await;
    assert_eq!(counts.orphans, rounds, "one call a round had no head when it was broken off");
    assert!(stopped >= LONG_STREAMS, "only {stopped} calls were left to the next start");
    let cut = rounds * (LONG_STREAMS + 1);
    format!(
        "{rounds} ends of a grace 60 times as fast, {cut} answers cut there, {counts}, slowest {slowest:.1?}"
    )
}

/// Waits until so many calls are on their way.
async fn under_way(database: &Path, calls: usize) {
    let deadline = Instant::now() + PATIENCE;
    while calls_where(database, "closed_at_ms IS NULL").await < calls {
        assert!(Instant::now() < deadline, "the calls are not on their way");
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

/// How many calls fulfil `condition`.
async fn calls_where(database: &Path, condition: &str) -> usize {
    let count = format!("SELECT count(*) FROM calls WHERE {condition}");
    let mut connection = connect(database).await;
    let count: i64 = sqlx::query_scalar(sqlx::AssertSqlSafe(count)).fetch_one(&mut connection).await.unwrap();
    usize::try_from(count).unwrap()
}

/// A time for an answer.
fn answer_ms(dice: &mut Dice) -> u64 {
    SHORTEST_ANSWER_MS + dice.roll(LONGEST_ANSWER_MS - SHORTEST_ANSWER_MS)
}
