//! How long a sidecar takes from nothing to healthy, by the size of its ledger: `cargo bench -p mai-usage --bench start`.
//!
//! The sample ledgers are made once and stay in `LEDGERS`, or below `target/`; `ENTRIES` names other sizes. The program is started
//! and told to stop again and again; the time is that from its start to the first answer of `/health` that says healthy.
//! The first start of each size is not counted: it takes over what whoever had the file before left in its log.

#![expect(clippy::unwrap_used, reason = "a benchmark whose ground cannot be laid should panic")]
#![expect(clippy::print_stdout, reason = "the table is what it makes")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sample_ledger::ORGANISATION;

/// Sizes of the ledgers unless `ENTRIES` names others.
const ENTRIES: &str = "10000 100000 1000000 10000000";

/// Starts of each size.
const STARTS: usize = 20;

/// Longest wait for one; no figure, only an end to the waiting.
const PATIENCE: Duration = Duration::from_mins(1);

/// Between two questions.
const GLANCE: Duration = Duration::from_micros(500);

#[tokio::main(flavor = "current_thread")]
async fn main() {
    // `cargo test --benches` only wants to know that it compiles.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let folder = std::env::var("LEDGERS").map_or_else(
        |_| PathBuf::from(concat!(env!("CARGO_TARGET_TMPDIR"), "/sample-ledgers")),
        PathBuf::from,
    );
    println!("| entries | to healthy p50 / max ms | processor time until then p50 / max ms |");
    println!("|---|---|---|");
    let sizes = std::env::var("ENTRIES").unwrap_or_else(|_| ENTRIES.to_owned());
    for entries in sizes.split_whitespace() {
        let ledger = sample_ledger::ledger_with(entries.parse().unwrap(), &folder).await.unwrap();
        start(&ledger);
        let (mut clock, mut cpu): (Vec<_>, Vec<_>) = (0..STARTS).map(|_| start(&ledger)).unzip();
        println!("| {entries} | {} | {} |", p50_and_max(&mut clock), p50_and_max(&mut cpu));
    }
}

fn p50_and_max(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let ms = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1_000.0);
    format!("{:.0} / {:.0}", ms(times.get(times.len() / 2)), ms(times.last()))
}

/// Starts the program and stops it; answers the times by the clock and of the processor.
fn start(ledger: &Path) -> (Duration, Duration) {
    let (proxy, usage) = (free_address(), free_address());
    let started = Instant::now();
    let mut process = Command::new(env!("CARGO_BIN_EXE_mai-usage"))
        .arg("daemon")
        .env_clear()
        .env("OPENROUTER_HOST", "http://127.0.0.1:9/api/v1")
        .env("OPENROUTER_EXTERNAL_USER", ORGANISATION)
        .env("DATABASE_PATH", ledger)
        .env("PROXY_LISTEN", proxy.to_string())
        .env("USAGE_LISTEN", usage.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !is_healthy(usage) {
        assert!(process.try_wait().unwrap().is_none(), "it ended; hint: LOG_LEVEL=info mai-usage daemon");
        assert!(started.elapsed() < PATIENCE, "it does not become healthy");
        std::thread::sleep(GLANCE);
    }
    let times = (started.elapsed(), cpu_of(&process));
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    assert!(process.wait().unwrap().success());
    times
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn is_healthy(usage: SocketAddr) -> bool {
    let ask = || {
        let mut connection = TcpStream::connect(usage)?;
        connection.write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut answer = String::new();
        connection.read_to_string(&mut answer)?;
        std::io::Result::Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200 "))
}

/// Processor time of all threads so far.
fn cpu_of(process: &Child) -> Duration {
    let threads = std::fs::read_dir(format!("/proc/{}/task", process.id())).unwrap();
    let of = |thread: std::io::Result<std::fs::DirEntry>| {
        let told = std::fs::read_to_string(thread.unwrap().path().join("schedstat")).unwrap_or_default();
        told.split(' ').next().and_then(|nanoseconds| nanoseconds.parse().ok()).unwrap_or(0)
    };
    Duration::from_nanos(threads.map(of).sum())
}
