//! `status`, `doctor` and `report` beside a sidecar that runs, and after it has stopped.

use std::collections::BTreeMap;

use daemon::Daemon;
use metering::{Clock, PicoUsd};
use serde_json::{Value, json};
use settings::Settings;
use tokio::sync::oneshot;
use tokio_util::task::TaskTracker;

use crate::operator::{Ended, Ground};

/// A client as `setup` made it, and its sidecar.
pub(crate) struct Running {
    env: BTreeMap<String, String>,
    proxy: String,
    stop: oneshot::Sender<()>,
    tasks: TaskTracker,
}

impl Running {
    pub(crate) async fn start(ground: &Ground) -> Self {
        let done = ground.setup().await;
        assert_eq!(done.code, Some(0), "{}", done.err);
        let text = std::fs::read_to_string(ground.path("client/.env")).unwrap();
        let pairs =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
        let env: BTreeMap<String, String> =
            pairs.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect();
        let database = ground.path("client/data/mai-usage.db").display().to_string();
        let here = [
            ("DATABASE_PATH", database.as_str()),
            ("PROXY_LISTEN", "127.0.0.1:0"),
            ("USAGE_LISTEN", "127.0.0.1:0"),
        ];
        let variables = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).chain(here);
        let settings = Settings::from_variables(variables).unwrap();
        let daemon = Daemon::start(settings, system_clock()).await.unwrap();
        let port = daemon.usage_address().port();
        std::fs::write(ground.path("client/.env"), format!("{text}USAGE_PORT={port}\n")).unwrap();
        let (stop, told_to_stop) = oneshot::channel::<()>();
        let (proxy, tasks) = (format!("http://{}/api/v1", daemon.proxy_address()), TaskTracker::new());
        tasks.spawn(daemon.run_until(async {
            let _ = told_to_stop.await;
        }));
        tasks.close();
        Self { env, proxy, stop, tasks }
    }

    fn value(&self, name: &str) -> &str {
        self.env.get(name).unwrap()
    }

    /// Chats of these users, the last one booked after its answer has gone.
    pub(crate) async fn chats(&self, ground: &Ground, users: &[&str]) -> Value {
        for user in users {
            self.chat(user).await;
        }
        loop {
            let (ended, told) = ask(ground, "status", &[]).await;
            assert_eq!(ended.code, Some(0), "{}{}", ended.out, ended.err);
            if told.pointer("/clients/0/books/calls_today") == Some(&json!(users.len())) {
                return told;
            }
        }
    }

    async fn chat(&self, user: &str) {
        let body =
            json!({ "model": "openai/gpt-5-mini", "messages": [{ "role": "user", "content": "hello" }] });
        let request = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = request.post(format!("{}/chat/completions", self.proxy)).json(&body);
        let request = request.bearer_auth(self.value("USAGE_PROXY_TOKEN"));
        let request = if user.is_empty() { request } else { request.header("X-OpenWebUI-User-Id", user) };
        let response = request.send().await.unwrap();
        assert!(response.status().is_success(), "{}", response.text().await.unwrap());
        response.bytes().await.unwrap();
    }

    pub(crate) async fn stop(self) {
        self.stop.send(()).unwrap();
        self.tasks.wait().await;
    }
}

#[expect(clippy::disallowed_methods, reason = "the program beside it has the machine's clock as well")]
fn system_clock() -> Clock {
    Clock::new(jiff::Timestamp::now)
}

async fn ask(ground: &Ground, command: &str, flags: &[&str]) -> (Ended, Value) {
    let folder = ground.path("client").display().to_string();
    let ended = Ground::run_alone(&[&[command, "--folder", &folder, "--json"], flags].concat()).await;
    let told = serde_json::from_str(&ended.out).unwrap_or_default();
    (ended, told)
}

/// The checks that are not ok, by level and name.
fn wrong(told: &Value) -> Vec<(String, String)> {
    let checks =
        told["clients"].as_array().unwrap().iter().flat_map(|client| client["checks"].as_array().unwrap());
    let wrong = checks.filter(|check| check["level"] != "ok");
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    wrong.map(|check| (text(&check["level"]), text(&check["check"]))).collect()
}

#[tokio::test]
async fn a_client_is_watched_while_it_runs_and_when_it_is_down() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let ground = Ground::new().await;
    let running = Running::start(&ground).await;
    let told = running.chats(&ground, &["anna", "bob", "anna"]).await;
    assert_eq!(told["clients"][0]["state"], "ok");
    assert_eq!(told["clients"][0]["version"], env!("CARGO_PKG_VERSION"));
    assert!(told["clients"][0]["books"]["last_poll"]["at"].is_string(), "{told}");
    let (healthy, told) = ask(&ground, "doctor", &["--deep"]).await;
    assert_eq!(wrong(&told), [("warn".to_owned(), "backup".to_owned())], "{}", healthy.out);
    assert_eq!(healthy.code, Some(0), "{}", healthy.err);

    // Nobody was named, and the key is stopped.
    running.chat("").await;
    let stopped = ground.run(&["keys", "disable", "mAI Client: ABC Company Sp. z o.o."]).await;
    assert_eq!(stopped.code, Some(0), "{}", stopped.err);
    let (ill, told) = loop {
        let (ill, told) = ask(&ground, "doctor", &[]).await;
        if wrong(&told).len() == 3 {
            break (ill, told);
        }
    };
    let named = |level: &str, check: &str| (level.to_owned(), check.to_owned());
    assert_eq!(wrong(&told), [named("fail", "key"), named("warn", "users"), named("warn", "backup")]);
    assert!(ill.code == Some(1) && ill.err.contains("1 check failed"), "{}", ill.err);
    let secrets = ["OPENROUTER_API_KEY", "USAGE_PROXY_TOKEN", "USAGE_ADMIN_TOKEN", "WEBUI_SECRET_KEY"];
    for secret in secrets.map(|name| running.value(name)) {
        assert!(!ill.out.contains(secret) && !ill.err.contains(secret));
    }

    running.stop().await;
    let (down, told) = ask(&ground, "status", &[]).await;
    assert_eq!((down.code, &told["clients"][0]["state"]), (Some(1), &"down".into()), "{}", down.err);
    let (_, told) = ask(&ground, "doctor", &[]).await;
    assert!(wrong(&told).contains(&named("fail", "sidecar")), "{told}");
    let (reported, told) = ask(&ground, "report", &["--by", "user"]).await;
    assert_eq!(reported.code, Some(0), "{}", reported.err);
    let billed: i64 = ground.sim.truth().iter().map(|charge| charge.cost_pico_usd).sum();
    let cost = PicoUsd::parse(told["total"]["cost_usd"].as_str().unwrap()).unwrap().amount;
    assert_eq!((cost.pico(), told["rows"].as_array().unwrap().len()), (billed, 3));
    ground.sim.stop().await;
}
