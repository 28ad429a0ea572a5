//! A client whose sidecar runs, with employees who never rest.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use daemon::{Daemon, Ended};
use jiff::Timestamp;
use ledger::{LedgerReader, Verification};
use metering::Clock;
use openrouter_sim::{DEFAULT_KEY, Options, Simulator};
use serde_json::json;
use settings::Settings;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::task::TaskTracker;

const TOKEN: &str = "proxy-token-of-these-tests";

/// Longest wait for anything that must come by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// An account, and a server with clients in `srv`.
pub(crate) struct House {
    pub(crate) sim: Simulator,
    pub(crate) server: TempDir,
}

/// A sidecar that serves.
pub(crate) struct Sidecar {
    proxy: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Ended>,
}

/// Employees who ask until they are told to stop.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    callers: JoinSet<()>,
}

/// The system's clock: the sidecar's ids and the simulator's bill are made with it.
#[expect(clippy::disallowed_methods, reason = "these tests run on the system's clock")]
pub(crate) fn system_clock() -> Clock {
    Clock::new(Timestamp::now)
}

impl House {
    pub(crate) async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sim = Simulator::start(Options::default()).await.unwrap();
        Self { sim, server: tempfile::tempdir().unwrap() }
    }

    /// The folder of a client with an `.env`, made where it is missing.
    pub(crate) fn client(&self, name: &str) -> PathBuf {
        let folder = self.server.path().join("srv").join(name);
        if !folder.exists() {
            std::fs::create_dir_all(folder.join("data")).unwrap();
            let env = folder.join(".env");
            std::fs::write(&env, format!("OPENROUTER_API_KEY={DEFAULT_KEY}\nORGANIZATION_NAME={name}\n"))
                .unwrap();
            crate::set_mode(&env, 0o600);
        }
        folder
    }

    /// The sidecar of the client in `folder`.
    pub(crate) async fn start(&self, folder: &Path) -> Sidecar {
        let (host, name) = (self.sim.base_url(), folder.file_name().unwrap().to_str().unwrap());
        let settings = Settings::from_variables([
            ("OPENROUTER_HOST", host.as_str()),
            ("OPENROUTER_API_KEY", DEFAULT_KEY),
            ("ORGANIZATION_NAME", name),
            ("USAGE_PROXY_TOKEN", TOKEN),
            ("DATABASE_PATH", database(folder).to_str().unwrap()),
            ("PROXY_LISTEN", "127.0.0.1:0"),
            ("USAGE_LISTEN", "127.0.0.1:0"),
        ]);
        let daemon = Daemon::start(settings.unwrap(), system_clock()).await.unwrap();
        let (stop, told_to_stop) = oneshot::channel();
        let proxy = daemon.proxy_address();
        let ended = TaskTracker::new().spawn(daemon.run_until(async {
            let _ = told_to_stop.await;
        }));
        Sidecar { proxy, stop, ended }
    }

    /// What `OpenRouter` bills, pico-dollars.
    pub(crate) fn bill(&self) -> i64 {
        self.sim.truth().iter().map(|charge| charge.cost_pico_usd).sum()
    }
}

impl Sidecar {
    /// `callers` employees, each with one chat after the other.
    pub(crate) fn under_load(&self, callers: usize) -> Load {
        let (stop, answered, mut tasks) = (Arc::default(), Arc::default(), JoinSet::new());
        for caller in 0..callers {
            tasks.spawn(keep_asking(self.proxy, caller, Arc::clone(&stop), Arc::clone(&answered)));
        }
        Load { stop, answered, callers: tasks }
    }

    pub(crate) async fn ask(&self, user: &str) {
        ask(&http(), self.proxy, user).await;
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        assert_eq!(self.ended.await.unwrap(), Ended::Stopped);
    }
}

impl Load {
    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    pub(crate) async fn reaches(&self, answered: u64) {
        eventually("enough calls", async || self.answered() >= answered).await;
    }

    pub(crate) async fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.callers.join_all().await;
    }
}

fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().unwrap()
}

async fn keep_asking(proxy: SocketAddr, caller: usize, stop: Arc<AtomicBool>, answered: Arc<AtomicU64>) {
    let (http, user) = (http(), format!("user {}", caller % 5));
    while !stop.load(Ordering::Relaxed) {
        ask(&http, proxy, &user).await;
        answered.fetch_add(1, Ordering::Relaxed);
    }
}

async fn ask(http: &reqwest::Client, proxy: SocketAddr, user: &str) {
    let body = json!({
        "model": "example/small-model", "stream": true, "sim": { "chunks": 2 },
        "messages": [{ "role": "user", "content": "What is Rust?" }],
    });
    let request = http.post(format!("http://{proxy}/api/v1/chat/completions")).bearer_auth(TOKEN);
    let request = request.header("x-openwebui-user-id", user).json(&body);
    let mut answer = request.send().await.unwrap().error_for_status().unwrap();
    while answer.chunk().await.unwrap().is_some() {}
}

pub(crate) fn database(folder: &Path) -> PathBuf {
    folder.join("data/mai-usage.db")
}

pub(crate) async fn verified(database: &Path) -> Verification {
    let reader = LedgerReader::open(database).await.unwrap();
    let verification = reader.verify().await.unwrap();
    reader.close().await;
    verification
}

/// Waits until nothing is under way or open.
pub(crate) async fn all_settled(database: &Path) {
    let reader = LedgerReader::open(database).await.unwrap();
    eventually("every call is settled", async || {
        let unsettled = reader.unsettled(None).await.unwrap();
        (unsettled.intent, unsettled.open) == (0, 0)
    })
    .await;
    reader.close().await;
}

async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + PATIENCE;
    while !condition().await {
        assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
