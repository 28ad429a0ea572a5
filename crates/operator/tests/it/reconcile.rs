//! `mai-usage reconcile`: real calls through a real sidecar, past it and lost on the way; the simulated `OpenRouter`'s own bill is
//! the judge.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use clap::Parser;
use daemon::{Daemon, Ended};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp};
use ledger::{Ledger, LedgerOptions, LedgerReader, OpenError, OrganisationFacts, Scope, UsageBy};
use metering::{Clock, OrgId};
use openrouter_sim::{DEFAULT_KEY, DEFAULT_MANAGEMENT_KEY, Knobs, Options, Simulator};
use operator::{OperatorError, ReconcileArgs, ReconcileError};
use serde_json::{Value, json};
use settings::Settings;
use tempfile::TempDir;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use crate::Said;
use crate::person::Person;

const PROXY_TOKEN: &str = "proxy-token-of-the-tests";
const ADMIN_TOKEN: &str = "admin-token-of-the-tests";
const NEXT_KEY: &str = "sk-or-v1-7777777777777777777777777777777777777777777777777777777777777777";
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: ReconcileArgs,
}

/// A simulator, a client's folder, and the client's sidecar.
struct House {
    sim: Simulator,
    folder: TempDir,
    ahead_ms: Arc<AtomicI64>,
    running: Option<Running>,
    http: reqwest::Client,
}

struct Running {
    proxy: SocketAddr,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Ended>,
}

impl House {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let keys = vec![DEFAULT_KEY.to_owned(), NEXT_KEY.to_owned()];
        let sim = Simulator::start(Options { keys, ..Options::default() }).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("client")).unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let mut house = Self { sim, folder, ahead_ms: Arc::default(), running: None, http };
        house.private_file("management", DEFAULT_MANAGEMENT_KEY);
        house.start(DEFAULT_KEY).await;
        house
    }

    fn private_file(&self, name: &str, text: &str) {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn database(&self) -> PathBuf {
        self.folder.path().join("client/usage.db")
    }

    /// The clock of the sidecar and the operator: the simulator's, which moves with it.
    #[expect(clippy::disallowed_methods, reason = "these tests run on the system's clock")]
    fn clock(&self) -> Clock {
        let ahead_ms = self.ahead_ms.clone();
        Clock::new(move || Timestamp::now() + SignedDuration::from_millis(ahead_ms.load(Ordering::SeqCst)))
    }

    fn advance(&self, by: Duration) {
        self.ahead_ms.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
        self.sim.advance(by);
    }

    async fn start(&mut self, key: &str) {
        let (base_url, database) = (self.sim.base_url(), self.database());
        let settings = Settings::from_variables([
            ("OPENROUTER_HOST", base_url.as_str()),
            ("OPENROUTER_API_KEY", key),
            ("ORGANIZATION_NAME", "Company_A"),
            ("USAGE_PROXY_TOKEN", PROXY_TOKEN),
            ("USAGE_ADMIN_TOKEN", ADMIN_TOKEN),
            ("DATABASE_PATH", database.to_str().unwrap()),
            ("PROXY_LISTEN", "127.0.0.1:0"),
            ("USAGE_LISTEN", "127.0.0.1:0"),
        ]);
        let daemon = Daemon::start(settings.unwrap(), self.clock()).await.unwrap();
        let (proxy, port) = (daemon.proxy_address(), daemon.usage_address().port());
        let (stop, told_to_stop) = oneshot::channel();
        let told_to_stop = async {
            let _ = told_to_stop.await;
        };
        let ended = TaskTracker::new().spawn(daemon.run_until(told_to_stop));
        self.running = Some(Running { proxy, stop, ended });
        self.private_file(
            "client/.env",
            &format!(
                "OPENROUTER_API_KEY={key}\nOPENROUTER_EXTERNAL_USER=mai_client_63a4eb6d\nDATABASE_PATH=usage.db\n\
                 USAGE_PORT={port}\nUSAGE_ADMIN_TOKEN={ADMIN_TOKEN}\n"
            ),
        );
        // The ledger begins to watch with its first poll.
        let reader = self.reader().await;
        self.eventually("the first poll", async || {
            reader.statement_facts().await.unwrap().began_at.is_some()
        })
        .await;
    }

    async fn stop(&mut self) {
        let Running { stop, ended, .. } = self.running.take().unwrap();
        stop.send(()).unwrap();
        assert_eq!(ended.await.unwrap(), Ended::Stopped);
    }

    async fn eventually(&self, what: &str, mut condition: impl AsyncFnMut() -> bool) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !condition().await {
            assert!(tokio::time::Instant::now() < deadline, "not in time: {what}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn reader(&self) -> LedgerReader {
        LedgerReader::open(&self.database()).await.unwrap()
    }

    /// A chat through the sidecar, with faults of the simulator.
    async fn chat(&self, user: &str, knobs: Value) {
        let url = format!("http://{}/api/v1/chat/completions", self.running.as_ref().unwrap().proxy);
        let request = self.http.post(url).bearer_auth(PROXY_TOKEN).header("x-openwebui-user-id", user);
        request.json(&chat(&json!({ "sim": knobs }))).send().await.unwrap().bytes().await.unwrap();
    }

    /// A chat with the key itself.
    async fn past_the_sidecar(&self, more: Value) {
        self.with_key(DEFAULT_KEY, &more).await;
    }

    async fn with_key(&self, key: &str, more: &Value) {
        let url = format!("{}/chat/completions", self.sim.base_url());
        let answer = self.http.post(url).bearer_auth(key).json(&chat(more)).send().await.unwrap();
        answer.error_for_status().unwrap().bytes().await.unwrap();
    }

    /// Every way that a call can be wrong in the ledger.
    async fn a_bad_day(&self) {
        let lost = || json!({ "generation_header": false, "body_id": false, "cost": "missing" });
        for user in ["anna", "bob"] {
            self.chat(user, json!({})).await;
            self.chat(user, lost()).await;
        }
        self.chat("anna", lost()).await;
        self.chat("anna", json!({ "generation_header": false, "body_id": false })).await;
        self.chat("bob", json!({ "cost": "0.5" })).await;
        self.chat("bob", json!({ "cost": "missing", "settle_after_ms": 9_000_000_000_i64 })).await;
        // The anonymous and one whose name the sidecar made; the bill of either is not on any call.
        self.past_the_sidecar(json!({})).await;
        self.past_the_sidecar(json!({ "user": "somebody", "model": "openai/gpt-5-mini" })).await;
        let reader = self.reader().await;
        self.eventually("every call has ended", async || reader.unsettled(None).await.unwrap().intent == 0)
            .await;
        let unsettled = reader.unsettled(None).await.unwrap();
        assert_eq!((unsettled.open, unsettled.orphan), (1, 3));
    }

    async fn reconcile(&self, more: &[&str]) -> Result<Said, (OperatorError, Said)> {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let (folder, management, host) = (path("client"), path("management"), self.sim.base_url());
        let line = ["reconcile", "--folder", &folder, "--management-key-file", &management];
        let line = line.into_iter().chain(["--openrouter-host", &host]).chain(more.iter().copied());
        let (mut console, printed) = Person::absent().console();
        let arguments = Line::try_parse_from(line).unwrap().arguments;
        match operator::reconcile(arguments, &mut console, &self.clock()).await {
            Ok(()) => Ok(printed.said()),
            Err(error) => Err((error, printed.said())),
        }
    }

    fn bill(&self) -> i64 {
        self.sim.truth().iter().map(|charge| charge.cost_pico_usd).sum()
    }

    /// The ledger is sound; answers its cost.
    async fn cost(&self) -> i64 {
        let verification = self.reader().await.verify().await.unwrap();
        assert_eq!(verification.findings, []);
        verification.cost.pico()
    }

    /// What each user is billed, with the charge and the calls.
    async fn by_user(&self) -> BTreeMap<String, (i64, i64, i64)> {
        let org_id = OrgId::of_name("Company_A");
        let scope = Scope { org_id, user_id: None, from: Date::MIN, to: Date::MAX };
        let users = self.reader().await.usage(&scope, UsageBy::User).await.unwrap();
        let sums = users.into_iter();
        sums.map(|it| (it.user_id.unwrap(), (it.cost_pico_usd, it.charge_pico_usd, it.requests))).collect()
    }
}

fn chat(more: &Value) -> Value {
    let mut body =
        json!({ "model": "example/small-model", "messages": [{ "role": "user", "content": "Hi" }] });
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

#[tokio::test]
async fn after_one_run_the_books_are_the_bill_and_a_second_changes_nothing() {
    let mut house = House::new().await;
    house.a_bad_day().await;
    assert_ne!(house.cost().await, house.bill());
    house.advance(Duration::from_hours(72));

    let before = house.by_user().await;
    let shown = house.reconcile(&["--dry-run"]).await.unwrap();
    assert!(shown.out.contains("only shown") && shown.notes.contains("would be"), "{shown:?}");
    assert_eq!(house.by_user().await, before);
    let said = house.reconcile(&[]).await.unwrap();
    assert!(said.notes.contains("orphans settled") && said.notes.contains("1 costs corrected"), "{said:?}");
    assert_eq!(house.cost().await, house.bill());
    let unsettled = house.reader().await.unsettled(None).await.unwrap();
    assert_eq!((unsettled.open, unsettled.orphan), (0, 0));
    let after = house.by_user().await;
    let billed = |of: &dyn Fn(Option<&str>) -> bool| -> (i64, i64) {
        let charges = house.sim.truth().into_iter().filter(|charge| of(charge.external_user.as_deref()));
        charges.fold((0, 0), |(cost, calls), charge| (cost + charge.cost_pico_usd, calls + 1))
    };
    for user in ["anna", "bob"] {
        let user_id = metering::UserId::new(user);
        let external = metering::ExternalUser::of(&OrgId::of_name("Company_A"), &user_id);
        let (cost, calls) = billed(&|of| of == Some(external.as_str()));
        assert_eq!((after[user].0, after[user].2), (cost, calls), "{user}");
    }
    let (cost, calls) = billed(&|of| of.is_none_or(|of| of == "somebody"));
    assert_eq!((after["unattributed"].0, after["unattributed"].2), (cost, calls));

    // The days are final: named once more they are compared once more, to the same.
    let today = house.clock().now().to_zoned(jiff::tz::TimeZone::UTC).date();
    let from = (today - jiff::Span::new().days(5)).to_string();
    let again = house.reconcile(&["--from", &from, "--json"]).await.unwrap();
    let reports: Value = serde_json::from_str(&again.out).unwrap();
    assert_eq!(reports[0]["total"]["difference"], "0", "{reports}");
    let bill = metering::PicoUsd::new(house.bill()).to_string();
    assert_eq!(
        (&reports[0]["total"]["bill"], &reports[0]["organisation"]),
        (&json!(bill), &json!("Company_A"))
    );
    let finals = reports[0]["days"].as_array().unwrap().iter().filter(|day| day["is_final"] == true).count();
    assert!(finals >= 1, "{reports}");
    assert_eq!(house.by_user().await, after);
    house.stop().await;
}

/// Without a sidecar the file is written here, unless somebody else has it.
#[tokio::test]
async fn a_stopped_client_is_compared_by_its_file() {
    let mut house = House::new().await;
    house.a_bad_day().await;
    house.stop().await;
    house.advance(Duration::from_hours(72));
    let options = LedgerOptions {
        path: house.database(),
        organisation: OrganisationFacts::none(house.clock().now()),
        tasks: TaskTracker::new(),
    };
    let (held, stopped) = Ledger::open(&options).await.unwrap();
    let (error, _) = house.reconcile(&[]).await.unwrap_err();
    assert!(matches!(error, OperatorError::Ledger(OpenError::Busy { .. })), "{error}");
    drop(held);
    let _ = stopped.await;

    let before = std::fs::read(house.database()).unwrap();
    let _ = house.reconcile(&["--dry-run"]).await;
    assert!(std::fs::read(house.database()).unwrap() == before, "a comparison wrote into the file");
    house.reconcile(&[]).await.unwrap();
    assert_eq!(house.cost().await, house.bill());
    std::fs::rename(house.database(), house.folder.path().join("elsewhere")).unwrap();
    let (error, _) = house.reconcile(&[]).await.unwrap_err();
    assert!(error.to_string().contains("there is no database") && !house.database().exists(), "{error}");
}

/// Answers that are cut, refused or take too long: narrower windows, and patience; and then the bill.
#[tokio::test]
async fn a_statement_is_read_whole_or_not_at_all() {
    let mut house = House::new().await;
    for _ in 0..9 {
        house.past_the_sidecar(json!({})).await;
        house.advance(Duration::from_hours(7));
    }
    house.advance(Duration::from_hours(72));
    let mut knobs = Knobs { analytics_longest_ms: Some(0), analytics_error: None, ..Knobs::default() };
    house.sim.set_knobs(knobs.clone());
    let (error, _) = house.reconcile(&[]).await.unwrap_err();
    assert!(error.to_string().contains("does not tell the whole statement"), "{error}");
    assert_eq!(house.cost().await, 0);

    let before = house.sim.requests().len();
    knobs.analytics_longest_ms = Some(60 * 3_600_000);
    knobs.analytics_most_rows = Some(5);
    knobs.analytics_error = Some("429".to_owned());
    knobs.analytics_failures = Some(1);
    house.sim.set_knobs(knobs);
    let said = house.reconcile(&[]).await.unwrap();
    assert!(said.notes.contains("asking again in 1 s"), "{said:?}");
    assert_eq!(house.cost().await, house.bill());
    let asked = house.sim.requests().split_off(before);
    let asked = asked.iter().filter(|request| request.path.ends_with("/query")).count();
    assert!(asked > 8, "{asked}");
    house.stop().await;
}

/// The bill of a client is that of every key it had: one that the ledger polled and that is not its key any more, and one that
/// only its name tells.
#[tokio::test]
async fn all_keys_of_a_client_are_its_bill() {
    let mut house = House::new().await;
    house.chat("anna", json!({})).await;
    house.stop().await;
    house.start(NEXT_KEY).await;
    house.chat("anna", json!({})).await;
    house.past_the_sidecar(json!({})).await;
    let url = format!("{}/keys", house.sim.base_url());
    for (name, is_ours) in
        [("mAI Client: Company_A (replaced 2026-11-01)", true), ("mAI Client: Company_B", false)]
    {
        let request =
            house.http.post(&url).bearer_auth(DEFAULT_MANAGEMENT_KEY).json(&json!({ "name": name }));
        let made: Value = request.send().await.unwrap().json().await.unwrap();
        let more = if is_ours { json!({}) } else { json!({ "sim": { "true_cost": "7" } }) };
        house.with_key(made["key"].as_str().unwrap(), &more).await;
    }
    house.advance(Duration::from_hours(72));
    house.reconcile(&[]).await.unwrap();
    assert_eq!(house.cost().await, house.bill() - 7_000_000_000_000);
    let users = house.by_user().await;
    assert_eq!((users["anna"].2, users["unattributed"].2), (2, 2));
    house.stop().await;
}

/// A statement that is corrected later is followed; one that has lost calls is told, and nothing is taken back.
#[tokio::test]
async fn later_statements_are_followed_and_empty_ones_are_not() {
    let mut house = House::new().await;
    for _ in 0..3 {
        house.chat("anna", json!({})).await;
    }
    let reader = house.reader().await;
    house.eventually("all is settled", async || house.cost().await == house.bill()).await;
    reader.close().await;
    house.advance(Duration::from_hours(72));
    house.sim.set_knobs(Knobs { analytics_lag_ms: Some(9_000_000_000), ..Knobs::default() });
    let (error, said) = house.reconcile(&[]).await.unwrap_err();
    assert!(matches!(error, OperatorError::Reconcile(ReconcileError::Differs { .. })), "{error}");
    assert!(said.out.contains("DIFFERS") && said.notes.contains("WARNING"), "{said:?}");
    assert_eq!(house.cost().await, house.bill());

    house.sim.set_knobs(Knobs { stated_cost: Some("0.25".to_owned()), ..Knobs::default() });
    house.reconcile(&[]).await.unwrap();
    assert_eq!(house.cost().await, 750_000_000_000);
    assert_eq!(house.by_user().await["anna"], (750_000_000_000, 975_000_000_000, 3));
    house.stop().await;
}

/// A port that leads to somebody else's sidecar must not bring one client's bill into another's ledger.
#[tokio::test]
async fn another_organisations_sidecar_is_refused() {
    let mut house = House::new().await;
    let env = std::fs::read_to_string(house.folder.path().join("client/.env")).unwrap();
    house.private_file("client/.env", &env.replace("mai_client_63a4eb6d", "mai_client_00000000"));
    let (error, _) = house.reconcile(&[]).await.unwrap_err();
    assert!(error.to_string().contains("belongs to mai_client_63a4eb6d"), "{error}");
    house.private_file("client/.env", &env.replace(ADMIN_TOKEN, "another-token-of-the-tests"));
    let (error, _) = house.reconcile(&[]).await.unwrap_err();
    assert!(error.to_string().contains("401"), "{error}");
    house.stop().await;
}
