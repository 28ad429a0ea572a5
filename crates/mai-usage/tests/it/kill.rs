//! `kill -9` in the middle of streams: no call with a generation id is lost, none is doubled, and every other
//! charge matches a visible orphan. What clients saw, the simulator's bill and the database are compared.

use std::collections::{HashMap, HashSet};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metering::{ExternalUser, OrgId, UserId};
use openrouter_sim::{Charge, DEFAULT_KEY, Options, Simulator};
use sqlx::{Connection as _, Row as _, SqliteConnection};
use tokio::task::JoinSet;
use tokio::time::Instant;

const STREAMS: usize = 32;
const PLAIN: usize = 8;
const TOKEN: &str = "proxy-token-of-the-tests";

/// Between a start and its kill, milliseconds.
const SHORTEST_LIFE_MS: u64 = 30;
const LONGEST_LIFE_MS: u64 = 500;

/// How long a start may take, and the settling at the end.
const PATIENCE: Duration = Duration::from_mins(1);

/// A sidecar as a process of its own.
struct Sidecar {
    process: Child,
    proxy: SocketAddr,
    usage: SocketAddr,
}

impl Sidecar {
    fn start(simulator: &Simulator, database: &PathBuf) -> Self {
        let (proxy, usage) = (free_address(), free_address());
        let process = Command::new(env!("CARGO_BIN_EXE_mai-usage"))
            .arg("daemon")
            .env_clear()
            .env("OPENROUTER_HOST", simulator.base_url())
            .env("OPENROUTER_API_KEY", DEFAULT_KEY)
            .env("ORGANIZATION_NAME", "Company_A")
            .env("USAGE_PROXY_TOKEN", TOKEN)
            .env("DATABASE_PATH", database)
            .env("PROXY_LISTEN", proxy.to_string())
            .env("USAGE_LISTEN", usage.to_string())
            .env("LOG_LEVEL", "error")
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        Self { process, proxy, usage }
    }

    async fn wait_ready(&self, http: &reqwest::Client) {
        let deadline = Instant::now() + PATIENCE;
        let url = format!("http://{}/health", self.usage);
        while !http.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
            assert!(Instant::now() < deadline, "the sidecar does not start");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// SIGKILL: no handler, no drop, no last write.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
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

/// Calls until the sidecar is gone; every generation id in a 2xx head that the client saw goes into `seen`.
async fn call_until_killed(
    http: reqwest::Client,
    proxy: SocketAddr,
    caller: usize,
    seen: Arc<Mutex<Vec<String>>>,
) {
    let stream = caller < STREAMS;
    let knobs = serde_json::json!({ "chunks": 12, "chunk_delay_ms": 4, "head_delay_ms": caller % 4 * 5 });
    let body = serde_json::json!({
        "model": "deepseek/deepseek-chat-v3.1", "stream": stream, "sim": knobs,
        "messages": [{ "role": "user", "content": "What is Rust?" }],
    });
    loop {
        let request = http
            .post(format!("http://{proxy}/v1/chat/completions"))
            .bearer_auth(TOKEN)
            .header("x-openwebui-user-id", format!("user {}", caller % 5))
            .json(&body);
        let Ok(mut answer) = request.send().await else { return };
        if answer.status().is_success() {
            let id = answer.headers()["x-generation-id"].to_str().unwrap().to_owned();
            seen.lock().unwrap().push(id);
        }
        while let Ok(Some(_)) = answer.chunk().await {}
    }
}

/// A small generator of its own, so that a run can be repeated from its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_call_with_an_id_is_lost_or_doubled() {
    let cycles: u32 = std::env::var("KILL_CYCLES").map_or(20, |cycles| cycles.parse().unwrap());
    let seed: u64 = std::env::var("KILL_SEED")
        .map_or_else(|_| u64::from(std::process::id()), |seed| seed.parse().unwrap());
    daemon::choose_tls_provider();
    let mut dice = Dice(seed);
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("usage.db");
    let heads = Arc::new(Mutex::new(Vec::new()));
    let mut slowest_start = Duration::ZERO;
    for _ in 0..cycles {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let started = Instant::now();
        let mut sidecar = Sidecar::start(&simulator, &database);
        sidecar.wait_ready(&http).await;
        slowest_start = slowest_start.max(started.elapsed());
        let mut callers = JoinSet::new();
        for caller in 0..STREAMS + PLAIN {
            callers.spawn(call_until_killed(http.clone(), sidecar.proxy, caller, heads.clone()));
        }
        let life_ms = SHORTEST_LIFE_MS + dice.roll(LONGEST_LIFE_MS - SHORTEST_LIFE_MS);
        tokio::time::sleep(Duration::from_millis(life_ms)).await;
        sidecar.kill();
        callers.join_all().await;
    }
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let sidecar = Sidecar::start(&simulator, &database);
    sidecar.wait_ready(&http).await;
    let mut books = SqliteConnection::connect(&format!("sqlite:{}", database.display())).await.unwrap();
    wait_settled(&mut books).await;
    let told = heads.lock().unwrap().clone();
    let counts = compare(&simulator.truth(), &told, &mut books).await;
    drop(sidecar);
    let verification = ledger::LedgerReader::open(&database).await.unwrap().verify().await.unwrap();
    assert_eq!(verification.findings, []);
    println!("kill -9: seed {seed}, {cycles} cycles, {counts}, slowest start {slowest_start:?}");
}

/// Waits until every call is settled, an orphan or void. Four questions a second are asked.
async fn wait_settled(books: &mut SqliteConnection) {
    let mut last = (i64::MAX, Instant::now());
    loop {
        let open: i64 = sqlx::query_scalar("SELECT count(*) FROM calls WHERE state IN ('intent', 'open')")
            .fetch_one(&mut *books)
            .await
            .unwrap();
        if open == 0 {
            return;
        }
        if open < last.0 {
            last = (open, Instant::now());
        }
        assert!(last.1.elapsed() < PATIENCE, "{open} calls stay open");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn compare(truth: &[Charge], seen: &[String], books: &mut SqliteConnection) -> String {
    let rows =
        sqlx::query("SELECT generation_id, cost_pico_usd FROM entries").fetch_all(&mut *books).await.unwrap();
    let booked: HashMap<String, i64> =
        rows.iter().map(|row| (row.get("generation_id"), row.get("cost_pico_usd"))).collect();
    assert_eq!(booked.len(), rows.len(), "a generation is booked twice");
    let known: HashSet<String> =
        sqlx::query_scalar("SELECT generation_id FROM calls WHERE generation_id IS NOT NULL")
            .fetch_all(&mut *books)
            .await
            .unwrap()
            .into_iter()
            .collect();
    let lost: Vec<_> = seen.iter().filter(|id| !known.contains(*id)).collect();
    assert!(lost.is_empty(), "clients saw heads of calls that are not on record: {lost:?}");

    let (mut unbooked, mut booked_pico) = (Vec::new(), 0);
    for charge in truth {
        match booked.get(&charge.generation_id) {
            Some(cost_pico_usd) => {
                assert_eq!(*cost_pico_usd, charge.cost_pico_usd, "{}", charge.generation_id);
                booked_pico += cost_pico_usd;
            }
            None => unbooked.push(charge),
        }
    }
    let unbooked_pico: i64 = unbooked.iter().map(|charge| charge.cost_pico_usd).sum();
    let bill_pico: i64 = truth.iter().map(|charge| charge.cost_pico_usd).sum();
    assert_eq!(booked.values().sum::<i64>(), booked_pico, "something is booked that is not on the bill");
    assert_eq!(booked_pico + unbooked_pico, bill_pico);
    assert!(seen.len() > 100 && unbooked.len() < truth.len(), "the kills found nothing to break");
    let orphans = match_with_orphans(&unbooked, books).await;
    format!(
        "{} charges, {} heads seen, {} booked, {} charges matched with {orphans} orphans, 0 lost, 0 doubled",
        truth.len(),
        seen.len(),
        booked.len(),
        unbooked.len(),
    )
}

/// Every charge that is not booked needs an orphan of its own, of the same user and no younger than it.
async fn match_with_orphans(unbooked: &[&Charge], books: &mut SqliteConnection) -> usize {
    let rows = sqlx::query(
        "SELECT user_id, admitted_at_ms FROM calls WHERE state = 'orphan' ORDER BY admitted_at_ms",
    )
    .fetch_all(books)
    .await
    .unwrap();
    let mut orphans: HashMap<String, Vec<i64>> = HashMap::new();
    for row in &rows {
        let user =
            ExternalUser::of(&OrgId::of_name("Company_A"), &UserId::new(row.get::<String, _>("user_id")));
        orphans.entry(user.to_string()).or_default().push(row.get("admitted_at_ms"));
    }
    let mut charges = unbooked.to_vec();
    charges.sort_by_key(|charge| charge.created_ms);
    for charge in charges {
        let of_user = orphans.get_mut(charge.external_user.as_ref().unwrap()).unwrap();
        let oldest = of_user.iter().position(|admitted_at_ms| *admitted_at_ms <= charge.created_ms);
        assert!(oldest.is_some(), "no orphan for {charge:?}");
        of_user.remove(oldest.unwrap());
    }
    rows.len()
}
