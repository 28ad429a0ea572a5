//! What the sidecar adds to a call: `cargo bench -p mai-usage`.
//!
//! The load and the simulated `OpenRouter` share the first core, the sidecar has the second to itself. Direct calls and
//! calls through the sidecar take turns within one run, so that a busy machine slows both alike; compare the ratios,
//! not the figures of two runs. Every call through the sidecar is recorded with `synchronous=FULL`.

#![expect(clippy::unwrap_used, reason = "a benchmark whose ground cannot be laid should panic")]
#![expect(clippy::cast_precision_loss, reason = "counts of calls are small")]
#![expect(clippy::print_stdout, reason = "the table is what it makes")]

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command};
use std::time::Duration;

use openrouter_sim::{DEFAULT_KEY, Options, Simulator};
use tokio::task::JoinSet;
use tokio::time::Instant;

const TOKEN: &str = "proxy-token-of-the-bench";

/// Turns of direct and through; the figures are of all turns together.
const TURNS: usize = 5;

/// Callers that keep the sidecar busy.
const MANY: usize = 32;

/// One kind of load.
#[derive(Clone, Copy)]
struct Load {
    name: &'static str,
    callers: usize,
    calls_of_each: usize,
    /// Content chunks of a stream; `None` is a plain call.
    chunks: Option<usize>,
}

const LOADS: [Load; 4] = [
    Load { name: "plain, 1 caller", callers: 1, calls_of_each: 400, chunks: None },
    Load { name: "plain, 32 callers", callers: MANY, calls_of_each: 60, chunks: None },
    Load { name: "stream of 50 chunks, 1 caller", callers: 1, calls_of_each: 200, chunks: Some(50) },
    Load { name: "stream of 50 chunks, 32 callers", callers: MANY, calls_of_each: 20, chunks: Some(50) },
];

/// A way to the simulator.
#[derive(Clone, Copy)]
struct Road<'a> {
    url: &'a str,
    key: &'static str,
    /// Whose processor time is counted; nobody's on the direct road.
    sidecar: Option<&'a Sidecar>,
}

impl Road<'_> {
    fn cpu(&self) -> Duration {
        self.sidecar.map_or(Duration::ZERO, Sidecar::cpu)
    }
}

/// What a road did under one load.
#[derive(Default)]
struct Figures {
    first_byte: Vec<Duration>,
    whole: Vec<Duration>,
    wall: Duration,
    cpu: Duration,
}

/// The sidecar on the second core.
struct Sidecar {
    process: Child,
    proxy: SocketAddr,
}

impl Sidecar {
    fn start(simulator: &Simulator, database: &std::path::Path) -> Self {
        let proxy = free_address();
        let process = Command::new("taskset")
            .args(["--cpu-list", "1", env!("CARGO_BIN_EXE_mai-usage"), "daemon"])
            .env("OPENROUTER_HOST", simulator.base_url())
            .env("OPENROUTER_API_KEY", DEFAULT_KEY)
            .env("ORGANIZATION_NAME", "Bench")
            .env("USAGE_PROXY_TOKEN", TOKEN)
            .env("DATABASE_PATH", database)
            .env("PROXY_LISTEN", proxy.to_string())
            .env("USAGE_LISTEN", free_address().to_string())
            .env("LOG_LEVEL", "error")
            .spawn()
            .unwrap();
        Self { process, proxy }
    }

    /// Processor time used so far, user and system, of all threads.
    fn cpu(&self) -> Duration {
        const TICKS_A_SECOND: u64 = 100;
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id())).unwrap();
        let after_name = stat.rsplit_once(") ").unwrap().1;
        let ticks: u64 =
            after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 1_000 / TICKS_A_SECOND)
    }

    fn resident_kib(&self) -> String {
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

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // `cargo test --benches` only wants to know that it compiles.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    daemon::choose_tls_provider();
    let own = std::process::id().to_string();
    assert!(
        Command::new("taskset").args(["--all-tasks", "-cp", "0", &own]).output().unwrap().status.success()
    );
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let sidecar = Sidecar::start(&simulator, &folder.path().join("bench.db"));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let direct = format!("{}/chat/completions", simulator.base_url());
    let through = format!("http://{}/api/v1/chat/completions", sidecar.proxy);
    wait_for(&http, &through).await;
    let direct = Road { url: &direct, key: DEFAULT_KEY, sidecar: None };
    let through = Road { url: &through, key: TOKEN, sidecar: Some(&sidecar) };

    println!(
        "| load | direct p50 / p99 ms | through p50 / p99 ms | added p50 ms | direct calls/s | through calls/s | calls per CPU-s |"
    );
    println!("|---|---|---|---|---|---|---|");
    for load in LOADS {
        let (mut straight, mut recorded) = (Figures::default(), Figures::default());
        for _ in 0..TURNS {
            run(&http, direct, load, &mut straight).await;
            run(&http, through, load, &mut recorded).await;
        }
        print_row(load, straight, recorded);
    }
    println!("\nresident memory of the sidecar afterwards: {}", sidecar.resident_kib());
}

async fn wait_for(http: &reqwest::Client, url: &str) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while http.get(url).send().await.is_err() {
        assert!(Instant::now() < deadline, "the sidecar does not start");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn run(http: &reqwest::Client, road: Road<'_>, load: Load, figures: &mut Figures) {
    let mut callers = JoinSet::new();
    let (started, cpu_before) = (Instant::now(), road.cpu());
    for _ in 0..load.callers {
        callers.spawn(call(http.clone(), road.url.to_owned(), road.key, load));
    }
    while let Some(times) = callers.join_next().await {
        for (first_byte, whole) in times.unwrap() {
            figures.first_byte.push(first_byte);
            figures.whole.push(whole);
        }
    }
    figures.wall += started.elapsed();
    figures.cpu += road.cpu().saturating_sub(cpu_before);
}

async fn call(http: reqwest::Client, url: String, key: &str, load: Load) -> Vec<(Duration, Duration)> {
    let body = serde_json::json!({
        "model": "example/small-model", "stream": load.chunks.is_some(), "sim": { "chunks": load.chunks },
        "messages": [{ "role": "user", "content": "What is Rust?" }],
    });
    let mut times = Vec::with_capacity(load.calls_of_each);
    for _ in 0..load.calls_of_each {
        let started = Instant::now();
        let request = http.post(&url).bearer_auth(key).header("x-openwebui-user-id", "bench").json(&body);
        let mut answer = request.send().await.unwrap().error_for_status().unwrap();
        let mut first_byte = None;
        while answer.chunk().await.unwrap().is_some() {
            first_byte.get_or_insert_with(|| started.elapsed());
        }
        times.push((first_byte.unwrap_or_default(), started.elapsed()));
    }
    times
}

fn print_row(load: Load, mut straight: Figures, mut recorded: Figures) {
    let of = |figures: &mut Figures| {
        // A stream is judged by its first chunk, a plain call by its end.
        let times = if load.chunks.is_some() { &mut figures.first_byte } else { &mut figures.whole };
        times.sort_unstable();
        let at = |share: usize| times.get((times.len() - 1) * share / 100).copied().unwrap_or_default();
        (at(50), at(99))
    };
    let ((direct_p50, direct_p99), (through_p50, through_p99)) = (of(&mut straight), of(&mut recorded));
    let rate = |figures: &Figures, time: Duration| figures.whole.len() as f64 / time.as_secs_f64();
    let ms = |time: Duration| time.as_secs_f64() * 1_000.0;
    println!(
        "| {} | {:.2} / {:.2} | {:.2} / {:.2} | {:.2} | {:.0} | {:.0} | {:.0} |",
        load.name,
        ms(direct_p50),
        ms(direct_p99),
        ms(through_p50),
        ms(through_p99),
        ms(through_p50) - ms(direct_p50),
        rate(&straight, straight.wall),
        rate(&recorded, recorded.wall),
        rate(&recorded, recorded.cpu),
    );
}
