//! The whole sidecar in one process, between a simulated `OpenRouter` and a client of its own, over real sockets.

#![expect(clippy::unwrap_used, reason = "a test whose ground cannot be laid should panic")]

mod bad_input;
mod faults;
mod limits;
mod lists;
mod road;
mod start_up;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use daemon::{Daemon, Ended};
use jiff::{SignedDuration, Timestamp};
use ledger::{LedgerReader, Verification};
use metering::Clock;
use openrouter_sim::{Charge, DEFAULT_KEY, Options, Simulator};
use serde_json::{Value, json};
use settings::Settings;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

const TOKEN: &str = "proxy-token-of-the-tests";
const ADMIN: &str = "admin-token-of-the-tests";
const MODEL: &str = "example/small-model";

/// Longest wait for anything that must come by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// A simulator, a sidecar before it, and a client.
struct House {
    ahead_ms: Arc<AtomicI64>,
    simulator: Simulator,
    folder: TempDir,
    http: reqwest::Client,
    running: Running,
}

/// A sidecar that serves.
struct Running {
    proxy: SocketAddr,
    usage: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Ended>,
}

/// The system's clock, `ahead_ms` fast.
#[expect(clippy::disallowed_methods, reason = "these tests run on the system's clock")]
fn clock(ahead_ms: &Arc<AtomicI64>) -> Clock {
    let ahead_ms = ahead_ms.clone();
    Clock::new(move || Timestamp::now() + SignedDuration::from_millis(ahead_ms.load(Ordering::SeqCst)))
}

impl House {
    async fn new() -> Self {
        Self::with(&[]).await
    }

    /// A house whose sidecar has `settings` beside the usual ones; an empty value takes one away.
    async fn with(settings: &[(&str, &str)]) -> Self {
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let ahead_ms = Arc::default();
        let running =
            Running::start(&simulator.base_url(), database(&folder), settings, clock(&ahead_ms)).await;
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { ahead_ms, simulator, folder, http, running }
    }

    async fn restart(self, settings: &[(&str, &str)]) -> Self {
        self.running.stop().await;
        let base_url = self.simulator.base_url();
        let running =
            Running::start(&base_url, database(&self.folder), settings, clock(&self.ahead_ms)).await;
        Self { running, ..self }
    }

    /// Moves the sidecar's clock.
    fn advance(&self, by: SignedDuration) {
        self.ahead_ms.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/api/v1/{path}", self.running.proxy)
    }

    fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.http
            .post(self.url(path))
            .bearer_auth(TOKEN)
            .header("x-openwebui-user-id", "anna")
            .header("x-openwebui-user-name", "Anna %C5%BB%C3%B3%C5%82%C4%87")
            .header("content-type", "application/json")
            .body(body.to_string())
    }

    /// A chat with the simulator's knobs in its body.
    fn chat(&self, stream: bool, knobs: &Value) -> reqwest::RequestBuilder {
        self.post("chat/completions", &chat_body(stream, knobs))
    }

    fn usage(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("http://{}{path}", self.running.usage)).bearer_auth(ADMIN)
    }

    async fn health(&self) -> (u16, Value) {
        let answer = self.usage("/health").send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn ledger(&self) -> LedgerReader {
        LedgerReader::open(&database(&self.folder)).await.unwrap()
    }

    /// Waits until nothing is under way or open.
    async fn all_settled(&self) -> Verification {
        let ledger = self.ledger().await;
        eventually("every call is settled", async || {
            let unsettled = ledger.unsettled(None).await.unwrap();
            (unsettled.intent, unsettled.open) == (0, 0)
        })
        .await;
        let verification = ledger.verify().await.unwrap();
        assert_eq!(verification.findings, []);
        verification
    }

    /// Waits until all is settled; then the books are the bill, to the pico-dollar.
    async fn assert_books_are_the_bill(&self) -> Vec<Charge> {
        let verification = self.all_settled().await;
        let truth = self.simulator.truth();
        assert_eq!(verification.cost.pico(), truth.iter().map(|charge| charge.cost_pico_usd).sum::<i64>());
        assert_eq!(verification.entries, truth.len() as u64);
        truth
    }
}

impl Running {
    async fn start(base_url: &str, database: PathBuf, more: &[(&str, &str)], clock: Clock) -> Self {
        let usual = [
            ("OPENROUTER_HOST", base_url),
            ("OPENROUTER_API_KEY", DEFAULT_KEY),
            ("ORGANIZATION_NAME", "Company_A"),
            ("USAGE_PROXY_TOKEN", TOKEN),
            ("USAGE_ADMIN_TOKEN", ADMIN),
            ("DATABASE_PATH", database.to_str().unwrap()),
            ("PROXY_LISTEN", "127.0.0.1:0"),
            ("USAGE_LISTEN", "127.0.0.1:0"),
        ];
        let settings = Settings::from_variables(usual.into_iter().chain(more.iter().copied())).unwrap();
        let daemon = Daemon::start(settings, clock).await.unwrap();
        let (proxy, usage) = (daemon.proxy_address(), daemon.usage_address());
        let (stop, told_to_stop) = oneshot::channel();
        let told_to_stop = async {
            let _ = told_to_stop.await;
        };
        let ended = TaskTracker::new().spawn(daemon.run_until(told_to_stop));
        Self { proxy, usage, stop, ended }
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        assert_eq!(self.ended.await.unwrap(), Ended::Stopped);
    }
}

fn database(folder: &TempDir) -> PathBuf {
    folder.path().join("usage.db")
}

fn chat_body(stream: bool, knobs: &Value) -> Value {
    json!({
        "model": MODEL, "stream": stream, "sim": knobs,
        "messages": [{ "role": "user", "content": "What is Rust?" }],
    })
}

/// Waits until `condition` holds.
async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
