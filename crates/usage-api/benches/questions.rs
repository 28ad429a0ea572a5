//! What a question of the Usage tab costs with three years of calls in the file: `cargo bench -p usage-api`.
//!
//! The sample ledger is made once, `ENTRIES` calls (ten million), and stays under `target/`. The usage listener is a process of
//! its own on the second core; the questions come from the first, over one kept connection. Everything is asked a few
//! times with periods that nobody asked about before, then many times over, then with the `ETag` of the answer; then again
//! while the same process books `WRITES` calls a second (50). `ONLY` takes the questions whose path contains it.

#![expect(clippy::unwrap_used, reason = "a benchmark whose ground cannot be laid should panic")]
#![expect(clippy::indexing_slicing, reason = "every place is within its list")]
#![expect(clippy::print_stdout, reason = "the tables are what it makes")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use http::{HeaderMap, HeaderValue, header};
use jiff::civil::{Date, date};
use jiff::{SignedDuration, Timestamp, ToSpan as _};
use ledger::{CallId, GenerationKnown, Ledger, Settle};
use metering::{Clock, Cost, CostSource, Report, Settlement, Tokens};
use open_webui::Sessions;
use sample_ledger::{FIRST_DAY, LAST_DAY, MODELS, USERS, new_call, user_id};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use usage_api::{Currency, UsageApiOptions};

/// A question with an answer that is known already is asked so often, unless it takes longer than that.
const TIMES: usize = 400;
const PATIENCE: Duration = Duration::from_secs(4);

/// Different periods that nobody asked about before.
const NEW_PERIODS: i32 = 9;

/// The session of the administrator, who is the user that asks most.
const SESSION: &str = "session-of-the-bench";

/// A question and what is said about it.
struct Question {
    name: String,
    /// What of it changes with the days by which the period begins elsewhere.
    path: Box<dyn Fn(i32) -> String>,
}

/// The usage listener in a process of its own.
struct Sidecar {
    process: Child,
    url: String,
    /// How long the daily rows took to be read into memory, as the daemon does it at its start.
    warm: String,
}

/// A caller with his connection.
struct Reader {
    http: reqwest::Client,
    url: String,
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    // `cargo test --benches` only wants to know that it compiles.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", path, writes] => serve(Path::new(path), writes.parse().unwrap()).await,
        arguments if arguments.contains(&"--bench") => measure().await,
        _ => {}
    }
}

async fn measure() {
    let (entries, writes) = (from_environment("ENTRIES", 10_000_000), from_environment("WRITES", 50));
    let path = sample(entries).await;
    pin(std::process::id(), "0");
    let rounds = if writes == 0 { vec![0] } else { vec![0, writes] };
    for writes in rounds {
        let sidecar = Sidecar::start(&path, writes);
        let reader = Reader::new(&sidecar.url);
        let (warm, resident) = (&sidecar.warm, sidecar.resident());
        println!(
            "\n{entries} entries, {writes} calls booked a second; daily rows read in {warm}; resident {resident}\n"
        );
        println!(
            "| question | answer KB | new period p50 / max ms | p50 / p99 / max ms | known p50 / p99 ms |"
        );
        println!("|---|---|---|---|---|");
        for question in questions(&reader).await {
            reader.print_row(&question).await;
        }
        println!("\nresident afterwards: {}", sidecar.resident());
        if writes == 0 {
            reader.print_export().await;
        }
    }
}

fn from_environment(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(usual)
}

async fn sample(entries: u64) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sample-ledgers");
    let started = Instant::now();
    let path = sample_ledger::ledger_with(entries, &folder).await.unwrap();
    let megabytes = std::fs::metadata(&path).unwrap().len() / 1_000_000;
    println!("{}: {megabytes} MB, after {} s", path.display(), started.elapsed().as_secs());
    path
}

fn pin(process: u32, core: &str) {
    let done = Command::new("taskset").args(["--all-tasks", "-cp", core, &process.to_string()]).output();
    assert!(done.unwrap().status.success());
}

// What is asked.

async fn questions(reader: &Reader) -> Vec<Question> {
    let months = LAST_DAY.first_of_month();
    let last_month = months.saturating_sub(1.month());
    let periods = [
        ("this month", months, LAST_DAY),
        ("last month", last_month, last_month.last_of_month()),
        ("last 30 days", LAST_DAY.saturating_sub(29.days()), LAST_DAY),
        ("last 90 days", LAST_DAY.saturating_sub(89.days()), LAST_DAY),
        ("this year", date(LAST_DAY.year(), 1, 1), LAST_DAY),
        ("three years", FIRST_DAY, LAST_DAY),
    ];
    let mut all = Vec::new();
    for path in ["overview", "me/overview", "me", "reconciliation", "awaiting", "me/awaiting", "prices"] {
        all.push(Question::fixed(path, format!("/api/v1/usage/{path}")));
    }
    for path in ["usage-summary", "usage-by-user", "usage-by-model"] {
        let path = format!("my-organization/{path}");
        all.push(Question::fixed(&path, format!("/api/v1/usage-tracking/{path}")));
    }
    for path in [
        "summary",
        "by-day",
        "by-user",
        "by-model",
        "by-user-and-model",
        "me/summary",
        "me/by-day",
        "me/by-model",
    ] {
        for (name, from, to) in periods {
            all.push(Question::about(format!("{path}, {name}"), path, from, to, String::new()));
        }
    }
    all.extend(calls(reader).await);
    let only = std::env::var("ONLY").unwrap_or_default();
    all.retain(|question| question.name.contains(&only));
    all
}

/// Pages of calls: near, far, old, and of somebody with something.
async fn calls(reader: &Reader) -> Vec<Question> {
    let of = |user: usize, model: usize| format!("&user_id={}&model={}", user_id(user), MODELS[model]);
    let hundredth = reader.hundredth_page().await;
    let (first, last) = (FIRST_DAY, LAST_DAY);
    let old = (date(2023, 12, 1), date(2023, 12, 31));
    let (rare, never) = (of(USERS - 1, MODELS.len() - 1), of(0, 6));
    let questions = [
        ("first page", first, last, String::new()),
        ("100th page", first, last, format!("&after={hundredth}")),
        ("an old month", old.0, old.1, String::new()),
        ("of a user", first, last, format!("&user_id={}", user_id(0))),
        ("of a quiet user, an old month", old.0, old.1, format!("&user_id={}", user_id(USERS - 1))),
        ("of a model", first, last, format!("&model={}", MODELS[0])),
        ("of a rare model, an old month", old.0, old.1, format!("&model={}", MODELS[MODELS.len() - 1])),
        ("of a user and a model", first, last, of(0, 0)),
        ("of a user and a rare model", first, last, of(0, MODELS.len() - 1)),
        ("of a quiet user and a rare model", first, last, rare),
        ("of a user and a model he never asked", first, last, never),
        ("500 of them", first, last, "&limit=500".to_owned()),
    ];
    let calls = questions
        .map(|(name, from, to, more)| Question::about(format!("calls, {name}"), "calls", from, to, more));
    let own = Question::about("me/calls, first page".to_owned(), "me/calls", first, last, String::new());
    calls.into_iter().chain([own]).collect()
}

impl Question {
    fn fixed(name: &str, path: String) -> Self {
        Self { name: name.to_owned(), path: Box::new(move |_| path.clone()) }
    }

    fn about(name: String, path: &str, from: Date, to: Date, more: String) -> Self {
        let path = path.to_owned();
        let path = move |later: i32| {
            // The first day of all is the only one with nothing before it.
            let sign = if from == FIRST_DAY { 1 } else { -1 };
            let from = from.saturating_add((sign * later).days());
            format!("/api/v1/usage/{path}?from={from}&to={to}{more}")
        };
        Self { name, path: Box::new(path) }
    }
}

// How it is asked.

impl Reader {
    fn new(url: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        Self { http: reqwest::Client::builder().no_proxy().build().unwrap(), url: url.to_owned() }
    }

    /// Answers how long it took, how long it is, and its `ETag`.
    async fn ask(&self, path: &str, known: Option<&HeaderValue>) -> (Duration, usize, Option<HeaderValue>) {
        let mut request = self.http.get(format!("{}{path}", self.url)).bearer_auth(SESSION);
        if let Some(known) = known {
            request = request.header(header::IF_NONE_MATCH, known);
        }
        let started = Instant::now();
        let answer = request.send().await.unwrap().error_for_status().unwrap();
        let etag = answer.headers().get(header::ETAG).cloned();
        let bytes = answer.bytes().await.unwrap().len();
        (started.elapsed(), bytes, etag)
    }

    async fn ask_often(&self, path: &str, known: Option<&HeaderValue>) -> Vec<Duration> {
        let (mut times, began) = (Vec::with_capacity(TIMES), Instant::now());
        while times.len() < TIMES && began.elapsed() < PATIENCE {
            times.push(self.ask(path, known).await.0);
        }
        times.sort_unstable();
        times
    }

    async fn print_row(&self, question: &Question) {
        let mut new = Vec::new();
        for later in 1..=NEW_PERIODS {
            new.push(self.ask(&(question.path)(later), None).await.0);
        }
        new.sort_unstable();
        let path = (question.path)(0);
        let (_, bytes, etag) = self.ask(&path, None).await;
        let times = self.ask_often(&path, None).await;
        let known = self.ask_often(&path, etag.as_ref()).await;
        println!(
            "| {} | {:.1} | {} / {} | {} / {} / {} | {} / {} |",
            question.name,
            f64::from(u32::try_from(bytes).unwrap()) / 1_000.0,
            at(&new, 50),
            at(&new, 100),
            at(&times, 50),
            at(&times, 99),
            at(&times, 100),
            at(&known, 50),
            at(&known, 99),
        );
    }

    async fn print_export(&self) {
        let (from, to) = (date(2026, 10, 1), date(2026, 10, 31));
        for format in ["csv", "json"] {
            let path = format!("/api/v1/usage/export?what=calls&format={format}&from={from}&to={to}");
            let (took, bytes, _) = self.ask(&path, None).await;
            println!(
                "export of a month's calls as {format}: {} MB in {} ms",
                bytes / 1_000_000,
                took.as_millis()
            );
        }
    }

    /// Where the hundredth page of all calls begins.
    async fn hundredth_page(&self) -> String {
        let mut after = String::new();
        for _ in 1..100 {
            let path = format!("/api/v1/usage/calls?from={FIRST_DAY}&to={LAST_DAY}{after}");
            let answer =
                self.http.get(format!("{}{path}", self.url)).bearer_auth(SESSION).send().await.unwrap();
            let Some(next) = answer.json::<Value>().await.unwrap()["next"].as_str().map(str::to_owned) else {
                break;
            };
            after = format!("&after={next}");
        }
        after.trim_start_matches("&after=").to_owned()
    }
}

fn at(sorted: &[Duration], percent: usize) -> String {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    format!("{:.2}", sorted[place].as_secs_f64() * 1_000.0)
}

// Who answers.

impl Sidecar {
    fn start(path: &Path, writes: u64) -> Self {
        let mut process = Command::new("taskset")
            .args(["--cpu-list", "1"])
            .arg(std::env::current_exe().unwrap())
            .arg("serve")
            .arg(path)
            .arg(writes.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let (url, warm) = line.trim().split_once(' ').unwrap();
        Self { url: url.to_owned(), warm: warm.to_owned(), process }
    }

    fn resident(&self) -> String {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.trim_start_matches("VmRSS:").trim().to_owned()
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The usage listener beside a stand-in for Open `WebUI`; and a writer of `writes` calls a second.
async fn serve(path: &Path, writes: u64) {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tasks = TaskTracker::new();
    let (ledger, _stopped) = Ledger::open(&sample_ledger::options(path, &tasks)).await.unwrap();
    let account = json!({ "id": user_id(0), "name": "Anna", "email": "anna@example.com", "role": "admin" });
    let open_webui =
        Router::new().route("/api/v1/auths/", get(async move |_: HeaderMap| axum::Json(account)));
    let open_webui = listen(open_webui, &tasks).await;
    let started = Instant::now();
    let clock = Clock::new(move || sample_ledger::now() + started.elapsed());
    let router = usage_api::router(UsageApiOptions {
        ledger: ledger.clone(),
        admin_token: None,
        sessions: Some(Sessions::new(&open_webui).unwrap()),
        show_cost: false,
        currency: Currency { code: "USD".into(), per_usd: "1".into() },
        frame_ancestors: HeaderValue::from_static("'self'"),
        clock: clock.clone(),
        stopping: CancellationToken::new(),
        poll_interval: Duration::from_mins(10),
    });
    let reading = Instant::now();
    ledger.reader().warm(&ledger.organisation().id).await.unwrap();
    println!("{} {:?}", listen(router, &tasks).await, reading.elapsed());
    if writes > 0 {
        write(&ledger, &clock, writes).await;
    }
    std::future::pending::<()>().await;
}

async fn listen(router: Router, tasks: &TaskTracker) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    url
}

async fn write(ledger: &Ledger, clock: &Clock, writes: u64) {
    let mut turn = tokio::time::interval(Duration::from_secs(1) / u32::try_from(writes).unwrap());
    for number in 0.. {
        turn.tick().await;
        book(ledger, number, clock.now()).await;
    }
}

/// W1, W2 and W3 of a call.
async fn book(ledger: &Ledger, number: usize, now: Timestamp) {
    let unix = uuid::Timestamp::from_unix(uuid::NoContext, u64::try_from(now.as_second()).unwrap(), 0);
    let call_id = CallId::new_v7(unix);
    ledger.admit(new_call(call_id, number % USERS, MODELS[number % MODELS.len()], now)).await.unwrap();
    let generation_id = format!("gen-{}-{}", now.as_second(), call_id.simple());
    let next_ask_at = now + SignedDuration::from_hours(1);
    ledger
        .know_generation(GenerationKnown { call_id, generation_id, http_status: 200, next_ask_at })
        .await
        .unwrap();
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
        zone: ledger.organisation().zone.clone(),
        booked_at: now,
    };
    ledger.settle(settle).await.unwrap();
}
