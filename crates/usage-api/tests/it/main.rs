//! The usage API over a real socket, on a real ledger, beside a stand-in for Open `WebUI`'s session check.

#![expect(clippy::unwrap_used, reason = "a test whose ground cannot be laid should panic")]
#![expect(clippy::indexing_slicing, reason = "a JSON value answers null where there is nothing")]

mod answers;
mod callers;
mod examples;
mod export;
mod live;
mod page;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::{HeaderMap, StatusCode, header};
use jiff::Timestamp;
use ledger::{
    Asker, CallId, GenerationKnown, Ledger, LedgerOptions, ModelPrice, MonthlyLimit, NewCall,
    NewReconciliation, OrganisationFacts, PriceList, Settle,
};
use metering::{Clock, Cost, CostSource, ExternalUser, Markup, PicoUsd, Report, Settlement, Tokens, UserId};
use open_webui::Sessions;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use usage_api::{Currency, UsageApiOptions};

const OPERATOR: &str = "operator-token-of-the-tests";
const ADMIN: &str = "session-of-anna";
const EMPLOYEE: &str = "session-of-bob";
const PENDING: &str = "session-of-celina";

/// Open `WebUI`'s accounts by their sessions, and how often it was asked.
#[derive(Clone, Default)]
struct OpenWebUi {
    accounts: Arc<Mutex<BTreeMap<String, Value>>>,
    asked: Arc<AtomicUsize>,
}

/// A sidecar's usage listener with everything around it.
struct House {
    http: reqwest::Client,
    address: SocketAddr,
    ledger: Ledger,
    open_webui: OpenWebUi,
    stopping: CancellationToken,
    _folder: TempDir,
}

/// How a house differs from the usual one.
#[derive(Default)]
struct Differs {
    show_cost: bool,
    currency: Option<Currency>,
    no_sessions: bool,
    no_admin_token: bool,
}

/// A call that is booked.
struct Booked<'a> {
    user: &'a str,
    model: &'a str,
    cost: &'a str,
    at: &'a str,
}

fn at(instant: &str) -> Timestamp {
    instant.parse().unwrap()
}

/// A Sunday afternoon in Warsaw.
fn now() -> Timestamp {
    at("2026-11-22T13:00:00Z")
}

impl OpenWebUi {
    async fn start(tasks: &TaskTracker) -> (Self, String) {
        let accounts = [
            (
                ADMIN,
                json!({ "id": "user-anna", "name": "Anna Żółć", "email": "anna@example.com", "role": "admin" }),
            ),
            (
                EMPLOYEE,
                json!({ "id": "user-bob", "name": "Bob", "email": "bob@example.com", "role": "user" }),
            ),
            (
                PENDING,
                json!({ "id": "user-celina", "name": "Celina", "email": "c@example.com", "role": "pending" }),
            ),
        ];
        let accounts = accounts.map(|(token, account)| (token.to_owned(), account));
        let this = Self { accounts: Arc::new(Mutex::new(BTreeMap::from(accounts))), asked: Arc::default() };
        let router = Router::new().route("/api/v1/auths/", get(whose_session)).with_state(this.clone());
        (this, format!("http://{}", serve(router, tasks).await))
    }
}

async fn whose_session(State(this): State<OpenWebUi>, headers: HeaderMap) -> Response {
    this.asked.fetch_add(1, Ordering::Relaxed);
    let token = headers[header::AUTHORIZATION].to_str().unwrap().trim_start_matches("Bearer ").to_owned();
    match this.accounts.lock().await.get(&token) {
        Some(account) => axum::Json(account.clone()).into_response(),
        None => StatusCode::UNAUTHORIZED.into_response(),
    }
}

async fn serve(router: Router, tasks: &TaskTracker) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
    address
}

impl House {
    async fn new() -> Self {
        Self::with(Differs::default()).await
    }

    async fn with(differs: Differs) -> Self {
        daemon_tls();
        let (tasks, folder) = (TaskTracker::new(), tempfile::tempdir().unwrap());
        let organisation = OrganisationFacts {
            name: Some("Company_A".into()),
            monthly_limit: Some(MonthlyLimit::Usd("100".into())),
            ..OrganisationFacts::none(now())
        };
        let path = folder.path().join("usage.db");
        let options = LedgerOptions { path, organisation, tasks: tasks.clone() };
        let (ledger, _stopped) = Ledger::open(&options).await.unwrap();
        let (open_webui, url) = OpenWebUi::start(&tasks).await;
        let stopping = CancellationToken::new();
        let usd = || Currency { code: "USD".into(), per_usd: "1".into() };
        let router = usage_api::router(UsageApiOptions {
            ledger: ledger.clone(),
            admin_token: (!differs.no_admin_token).then(|| OPERATOR.into()),
            sessions: (!differs.no_sessions).then(|| Sessions::new(&url).unwrap()),
            show_cost: differs.show_cost,
            currency: differs.currency.unwrap_or_else(usd),
            frame_ancestors: "'self' https://chat.example.com".parse().unwrap(),
            clock: Clock::new(now),
            stopping: stopping.clone(),
            poll_interval: Duration::from_mins(10),
        });
        let address = serve(router, &tasks).await;
        let http = reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build();
        Self { http: http.unwrap(), address, ledger, open_webui, stopping, _folder: folder }
    }

    /// The house of most tests: two people, two models, three days, two months.
    async fn with_usage() -> Self {
        let house = Self::new().await;
        house.fill().await;
        house
    }

    async fn fill(&self) {
        for (number, (user, model, cost, at)) in [
            ("anna", "openai/gpt-4o-mini", "0.00154", "2026-10-05T09:00:00Z"),
            ("bob", "google/gemini-2.5-pro", "1", "2026-10-30T09:00:00Z"),
            ("anna", "openai/gpt-4o-mini", "0.00154", "2026-11-02T09:00:00Z"),
            ("anna", "google/gemini-2.5-pro", "2", "2026-11-02T10:00:00Z"),
            ("bob", "google/gemini-2.5-pro", "0.5", "2026-11-21T22:59:59Z"),
            // In Warsaw it is the 22nd already.
            ("bob", "openai/gpt-4o-mini", "0.25", "2026-11-21T23:00:00Z"),
        ]
        .into_iter()
        .enumerate()
        {
            self.book(number, &Booked { user, model, cost, at }).await;
        }
        self.admit(6, "bob", "openai/gpt-4o-mini", now()).await;
        let open = self.admit(7, "anna", "google/gemini-2.5-pro", now()).await;
        self.know(open, "gen-1795352400-open").await;
        let prices = [("openai/gpt-4o-mini", "0.00000015", "0.0000006"), ("openrouter/auto", "-1", "-1")]
            .map(|(model, prompt, completion)| ModelPrice {
                model: model.into(),
                name: format!("Name of {model}"),
                prompt_usd: Some(prompt.into()),
                completion_usd: Some(completion.into()),
                request_usd: None,
                context_length: Some(128_000),
            });
        let prices = PriceList { fetched_at_ms: now().as_millisecond(), prices: prices.into() };
        self.ledger.keep_prices(prices).await.unwrap();
        let poll = NewReconciliation {
            org_id: self.ledger.organisation().id.clone(),
            polled_at: now(),
            key_hash: Some("hash".into()),
            key_usage: Some(("3.75308".into(), PicoUsd::parse("3.75308").unwrap().amount)),
            settled_calls: 1,
            error: None,
        };
        self.ledger.record_reconciliation(poll).await.unwrap();
    }

    /// W1. Ids are made from the number, so that answers can be compared word for word.
    async fn admit(&self, number: usize, user: &str, model: &str, admitted_at: Timestamp) -> CallId {
        let organisation = self.ledger.organisation();
        let user_id = UserId::new(format!("user-{user}"));
        let asker = Asker {
            external_user: ExternalUser::of(&organisation.id, &user_id),
            user_id,
            name: (user != "bob").then(|| "Anna Żółć".into()),
            email: Some(format!("{user}@example.com")),
            role: None,
        };
        let id = CallId::from_u128(u128::try_from(number).unwrap());
        let call = NewCall {
            id,
            org_id: organisation.id.clone(),
            markup: Markup::DEFAULT,
            asker,
            endpoint: "chat/completions",
            model: model.into(),
            admitted_at,
        };
        self.ledger.admit(call).await.unwrap();
        id
    }

    async fn know(&self, call_id: CallId, generation_id: &str) {
        let generation_id = generation_id.to_owned();
        let known = GenerationKnown { call_id, generation_id, http_status: 200, next_ask_at: now() };
        self.ledger.know_generation(known).await.unwrap();
    }

    async fn book(&self, number: usize, booked: &Booked<'_>) {
        let instant = at(booked.at);
        let call_id = self.admit(number, booked.user, booked.model, instant).await;
        self.know(call_id, &format!("gen-{}-{number:08}", instant.as_second())).await;
        let tokens = Tokens { prompt: Some(20), completion: Some(2), ..Tokens::default() };
        let cost = Cost::read(booked.cost);
        let report = Report {
            source: CostSource::Response,
            cost,
            tokens,
            model: None,
            provider: Some("OpenAI".into()),
        };
        let settle = Settle {
            call_id,
            generation_id: None,
            settlement: Settlement::of(report),
            outcome: Some("complete"),
            http_status: Some(200),
            created_at: None,
            zone: self.ledger.organisation().zone.clone(),
            booked_at: instant,
        };
        self.ledger.settle(settle).await.unwrap();
    }

    fn ask(&self, path: &str) -> reqwest::RequestBuilder {
        self.http.get(format!("http://{}{path}", self.address))
    }

    /// The answer to `path` under the API's base.
    async fn answer(&self, token: &str, path: &str) -> Value {
        let response = self.ask(&format!("/api/v1/usage/{path}")).bearer_auth(token).send().await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.unwrap()
    }

    async fn status(&self, token: &str, path: &str) -> u16 {
        self.ask(path).bearer_auth(token).send().await.unwrap().status().as_u16()
    }
}

/// `reqwest` wants to know who does the cryptography, even of plain HTTP.
fn daemon_tls() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}
