//! How many calls the writer settles: `cargo bench -p ledger`.
//!
//! 128 callers at once, each with one call after the other: W1, W2, W3, all on stable storage. `CALLS` of them (20,000), on a
//! fresh file under `target/`; then again without the indices that only the Usage tab reads, to see what they cost.

#![expect(clippy::unwrap_used, reason = "a benchmark whose ground cannot be laid should panic")]
#![expect(clippy::indexing_slicing, reason = "every place is within its list")]
#![expect(clippy::print_stdout, reason = "the table is what it makes")]
#![expect(clippy::disallowed_methods, reason = "a benchmark has no tracker, and the time is the machine's")]

use std::path::Path;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use ledger::{Asker, CallId, GenerationKnown, Ledger, LedgerOptions, NewCall, OrganisationFacts, Settle};
use metering::{Cost, CostSource, ExternalUser, Markup, Report, Settlement, Tokens, UserId};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::task::JoinSet;
use tokio_util::task::TaskTracker;

const CALLERS: usize = 128;

/// Fresh files; the figures are of all of them together.
const TURNS: usize = 3;

/// What only the Usage tab reads.
const READING: &str = "DROP INDEX entries_by_day; DROP INDEX entries_by_user; DROP INDEX entries_by_model;
                       DROP INDEX entries_by_user_and_model;";

const MODELS: [&str; 4] =
    ["openai/gpt-4o-mini", "google/gemini-2.5-pro", "openai/gpt-5", "anthropic/claude-sonnet-4.5"];

#[tokio::main]
async fn main() {
    // `cargo test --benches` only wants to know that it compiles.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let calls: usize = std::env::var("CALLS").ok().and_then(|calls| calls.parse().ok()).unwrap_or(20_000);
    println!(
        "| file | settled calls/s | calls per CPU-s | settling p50 / p99 / max ms | whole call p50 / p99 ms |"
    );
    println!("|---|---|---|---|---|");
    let files = [("as it is", ""), ("without the indices of the Usage tab", READING)];
    let mut figures = files.map(|_| Figures::default());
    for _ in 0..TURNS {
        for ((_, without), figures) in files.iter().zip(&mut figures) {
            measure(calls, without, figures).await;
        }
    }
    for ((name, _), figures) in files.iter().zip(figures) {
        figures.print(name);
    }
}

#[derive(Default)]
struct Figures {
    settling: Vec<Duration>,
    whole: Vec<Duration>,
    wall: Duration,
    cpu: Duration,
}

async fn measure(calls: usize, without: &'static str, figures: &mut Figures) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let ledger = open(&folder.path().join("bench.db"), without).await;
    let (mut callers, started, cpu_before) = (JoinSet::new(), Instant::now(), cpu());
    for caller in 0..CALLERS {
        let ledger = ledger.clone();
        callers.spawn(async move {
            let mut times = Vec::new();
            for number in 0..calls / CALLERS {
                times.push(call(&ledger, caller, number).await);
            }
            times
        });
    }
    for (settling, whole) in callers.join_all().await.into_iter().flatten() {
        figures.settling.push(settling);
        figures.whole.push(whole);
    }
    figures.wall += started.elapsed();
    figures.cpu += cpu().saturating_sub(cpu_before);
}

async fn open(path: &Path, without: &'static str) -> Ledger {
    let organisation = OrganisationFacts::none(Timestamp::now());
    let options = |tasks| LedgerOptions { path: path.to_owned(), organisation: organisation.clone(), tasks };
    let (made, stopped) = Ledger::open(&options(TaskTracker::new())).await.unwrap();
    drop(made);
    stopped.await.unwrap();
    let mut connection = SqliteConnectOptions::new().filename(path).connect().await.unwrap();
    sqlx::raw_sql(without).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    Ledger::open(&options(TaskTracker::new())).await.unwrap().0
}

/// Processor time used so far, user and system, of all threads: the callers' too.
fn cpu() -> Duration {
    const TICKS_A_SECOND: u64 = 100;
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let ticks: u64 = after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 1_000 / TICKS_A_SECOND)
}

/// How long W3 took, and how long all three.
async fn call(ledger: &Ledger, caller: usize, number: usize) -> (Duration, Duration) {
    let (now, organisation, started) = (Timestamp::now(), ledger.organisation(), Instant::now());
    let call_id = CallId::now_v7();
    let user_id = UserId::new(format!("8b21c0de-0000-4000-8000-{:012}", caller % 20));
    let asker = Asker {
        external_user: ExternalUser::of(&organisation.id, &user_id),
        user_id,
        name: Some("Anna Żółć".into()),
        email: Some("anna.zolc@example.com".into()),
        role: Some("user".into()),
    };
    let call = NewCall {
        id: call_id,
        org_id: organisation.id.clone(),
        markup: Markup::DEFAULT,
        asker,
        endpoint: "chat/completions",
        model: MODELS[number % MODELS.len()].into(),
        admitted_at: now,
    };
    ledger.admit(call).await.unwrap();
    let generation_id = format!("gen-{}-{}", now.as_second(), call_id.simple());
    let next_ask_at = now + SignedDuration::from_hours(1);
    ledger
        .know_generation(GenerationKnown { call_id, generation_id, http_status: 200, next_ask_at })
        .await
        .unwrap();
    let settled = Instant::now();
    let report = Report {
        source: CostSource::Response,
        cost: Cost::read("0.00154"),
        tokens: Tokens { prompt: Some(200), completion: Some(20), ..Tokens::default() },
        model: None,
        provider: None,
    };
    let settle = Settle {
        call_id,
        generation_id: None,
        settlement: Settlement::of(report),
        outcome: Some("complete"),
        http_status: Some(200),
        created_at: None,
        zone: organisation.zone.clone(),
        booked_at: now,
    };
    ledger.settle(settle).await.unwrap();
    (settled.elapsed(), started.elapsed())
}

impl Figures {
    fn print(mut self, name: &str) {
        self.settling.sort_unstable();
        self.whole.sort_unstable();
        let at = |sorted: &[Duration], percent: usize| {
            let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
            sorted[place].as_secs_f64() * 1_000.0
        };
        let calls = u32::try_from(self.whole.len()).unwrap();
        println!(
            "| {name} | {:.0} | {:.0} | {:.1} / {:.1} / {:.1} | {:.1} / {:.1} |",
            f64::from(calls) / self.wall.as_secs_f64(),
            f64::from(calls) / self.cpu.as_secs_f64(),
            at(&self.settling, 50),
            at(&self.settling, 99),
            at(&self.settling, 100),
            at(&self.whole, 50),
            at(&self.whole, 99),
        );
    }
}
