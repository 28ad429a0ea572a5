//! Polls against a simulated `OpenRouter`, on a clock that the test moves.

#![expect(clippy::unwrap_used, reason = "a test whose ground cannot be laid should panic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use ledger::{
    Asker, CallId, GenerationKnown, LeaveOpen, Ledger, LedgerOptions, NewCall, OrganisationFacts, Unsettled,
};
use metering::{Clock, ExternalUser, Markup, Settlement, UserId};
use openrouter::AnswerBody;
use openrouter_sim::{DEFAULT_KEY, Knobs, Options, Simulator};
use secrecy::SecretString;
use tempfile::TempDir;
use tokio_util::task::TaskTracker;
use upkeep::Upkeep;

/// A ledger, a simulator, upkeep between them, and the time.
struct Office {
    ledger: Ledger,
    simulator: Simulator,
    upkeep: Upkeep,
    now_ms: Arc<AtomicI64>,
    _folder: TempDir,
}

const POLL: SignedDuration = SignedDuration::from_mins(10);

impl Office {
    async fn new() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let simulator = Simulator::start(Options::default()).await.unwrap();
        let now_ms = Arc::new(AtomicI64::new(simulator.now_ms()));
        let read = now_ms.clone();
        let clock = Clock::new(move || Timestamp::from_millisecond(read.load(Ordering::SeqCst)).unwrap());
        let organisation = OrganisationFacts {
            name: Some("Company_A".into()),
            api_key: Some(SecretString::from(DEFAULT_KEY)),
            ..OrganisationFacts::none(clock.now())
        };
        let path = folder.path().join("usage.db");
        let options = LedgerOptions { path, organisation, tasks: TaskTracker::new() };
        let (ledger, _stopped) = Ledger::open(&options).await.unwrap();
        let upstream = client(simulator.base_url());
        let upkeep = Upkeep::new(ledger.clone(), upstream, clock);
        Self { ledger, simulator, upkeep, now_ms, _folder: folder }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms.load(Ordering::SeqCst)).unwrap()
    }

    /// Moves both clocks.
    fn advance(&self, by: SignedDuration) {
        self.now_ms.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::SeqCst);
        self.simulator.advance(by.try_into().unwrap());
    }

    /// A call that the simulator has charged and whose answer told no cost.
    async fn left_open(&self, knobs: Knobs) -> CallId {
        self.simulator.set_knobs(knobs);
        let generation_id = charged_by_the_simulator(&self.simulator.base_url()).await;
        self.simulator.set_knobs(Knobs::default());
        self.open_call(&generation_id, 200).await
    }

    async fn open_call(&self, generation_id: &str, http_status: u16) -> CallId {
        let organisation = self.ledger.organisation();
        let user_id = UserId::new("anna");
        let external_user = ExternalUser::of(&organisation.id, &user_id);
        let asker = Asker { user_id, external_user, name: None, email: None, role: None };
        let call_id = CallId::new_v4();
        let call = NewCall {
            id: call_id,
            org_id: organisation.id.clone(),
            markup: Markup::DEFAULT,
            asker,
            endpoint: "chat/completions",
            model: "example/small-model".into(),
            admitted_at: self.now(),
        };
        self.ledger.admit(call).await.unwrap();
        let generation_id = generation_id.to_owned();
        let known = GenerationKnown { call_id, generation_id, http_status, next_ask_at: self.now() };
        self.ledger.know_generation(known).await.unwrap();
        let left = LeaveOpen {
            call_id,
            outcome: "client-left",
            known: Settlement::default(),
            closed_at: self.now(),
            next_ask_at: self.now(),
        };
        self.ledger.leave_open(left).await.unwrap();
        call_id
    }

    async fn unsettled(&self) -> Unsettled {
        self.ledger.reader().unsettled(None).await.unwrap()
    }
}

fn client(base_url: String) -> openrouter::Client {
    let app_url = http::HeaderValue::from_static("https://example.com/");
    let app_title = http::HeaderValue::from_static("Test");
    openrouter::Client::new(openrouter::ClientOptions { base_url, app_url, app_title }).unwrap()
}

/// Sends one call to the simulator itself.
async fn ask_the_simulator(base_url: &str, stream: bool) -> http::Response<AnswerBody> {
    let mut headers = http::HeaderMap::new();
    headers.insert("content-type", http::HeaderValue::from_static("application/json"));
    let body = format!(
        r#"{{"model":"example/small-model","stream":{stream},"messages":[{{"role":"user","content":"Hi"}}]}}"#
    );
    let key = SecretString::from(DEFAULT_KEY);
    client(base_url.to_owned())
        .post("chat/completions", headers, openrouter::Pieces::new(vec![body.into()]), &key)
        .await
        .unwrap()
}

/// Makes one plain call at the simulator itself and answers its generation id.
async fn charged_by_the_simulator(base_url: &str) -> String {
    let mut answer = ask_the_simulator(base_url, false).await;
    let id = answer.headers()["x-generation-id"].to_str().unwrap().to_owned();
    while let Some(piece) = answer.frame().await {
        piece.unwrap();
    }
    id
}

#[tokio::test]
async fn a_call_unknown_for_two_polls_is_settled_at_the_third() {
    let office = Office::new().await;
    office.left_open(Knobs { generation_misses: Some(2), ..Knobs::default() }).await;
    for (settled, open) in [(0, 1), (0, 1), (1, 0)] {
        let poll = office.upkeep.poll().await.unwrap();
        assert_eq!((poll.settled_calls, poll.open_calls), (settled, open));
        office.advance(POLL);
    }
    let verification = office.ledger.reader().verify().await.unwrap();
    assert_eq!(verification.findings, []);
    assert_eq!(verification.cost.pico(), office.simulator.truth()[0].cost_pico_usd);
}

#[tokio::test]
async fn a_late_record_is_found_by_the_poll_after_it_appears() {
    let office = Office::new().await;
    let after_most_of_an_hour = Knobs { settle_after_ms: Some(3_000_000), ..Knobs::default() };
    office.left_open(after_most_of_an_hour).await;
    let mut polls = 0;
    while office.upkeep.poll().await.unwrap().open_calls > 0 {
        office.advance(POLL);
        polls += 1;
    }
    assert_eq!(polls, 5);
}

#[tokio::test]
async fn answers_that_are_no_records_change_nothing() {
    let office = Office::new().await;
    office.left_open(Knobs::default()).await;
    for fault in ["429", "500", "html"] {
        office.simulator.set_knobs(Knobs { generation_error: Some(fault.into()), ..Knobs::default() });
        let poll = office.upkeep.poll().await.unwrap();
        assert_eq!((poll.settled_calls, poll.open_calls), (0, 1), "{fault}");
        office.advance(POLL);
    }
    office.simulator.set_knobs(Knobs::default());
    assert_eq!(office.upkeep.poll().await.unwrap().settled_calls, 1);
}

#[tokio::test]
async fn an_error_without_a_record_is_void_after_a_day_and_a_call_stays_open() {
    let office = Office::new().await;
    office.open_call("gen-1790000000-NOTTHERE", 402).await;
    office.open_call("gen-1790000001-NOTTHERE", 200).await;
    for _ in 0..8 {
        office.upkeep.poll().await.unwrap();
        office.advance(POLL);
    }
    assert_eq!(office.unsettled().await.open, 2);
    office.advance(SignedDuration::from_hours(24));
    office.upkeep.poll().await.unwrap();
    assert_eq!(office.unsettled().await.open, 1);
}

#[tokio::test]
async fn the_sums_are_compared_and_a_bypass_is_seen() {
    let office = Office::new().await;
    assert_eq!(office.upkeep.poll().await.unwrap().difference_pico_usd, Some(0));
    office.left_open(Knobs::default()).await;
    let poll = office.upkeep.poll().await.unwrap();
    assert_eq!((poll.difference_pico_usd, poll.warning), (Some(0), None));
    // Somebody uses the key without the sidecar, for more than a rounding.
    office.simulator.set_knobs(Knobs { true_cost: Some("0.25".into()), ..Knobs::default() });
    charged_by_the_simulator(&office.simulator.base_url()).await;
    office.advance(POLL);
    let poll = office.upkeep.poll().await.unwrap();
    assert_eq!(poll.difference_pico_usd, Some(office.simulator.truth()[1].cost_pico_usd));
    assert_eq!(poll.warning, None, "once may be a counter that caught up");
    office.advance(POLL);
    assert_eq!(office.upkeep.poll().await.unwrap().warning.as_deref(), Some("bypass"));
    // Mended, it is over after a day.
    office.advance(SignedDuration::from_hours(25));
    office.upkeep.poll().await.unwrap();
    let poll = office.upkeep.poll().await.unwrap();
    assert_eq!((poll.difference_pico_usd, poll.warning), (Some(0), None));
}

#[tokio::test]
async fn a_counter_that_lags_is_no_bypass() {
    let office = Office::new().await;
    office.upkeep.poll().await.unwrap();
    office.left_open(Knobs { true_cost: Some("0.25".into()), ..Knobs::default() }).await;
    let lagging = Knobs { key_counter_lag_ms: Some(900_000), ..Knobs::default() };
    office.simulator.set_knobs(lagging);
    for difference in [Some(-250_000_000_000), Some(-250_000_000_000), Some(0), Some(0)] {
        let poll = office.upkeep.poll().await.unwrap();
        assert_eq!((poll.difference_pico_usd, poll.warning), (difference, None));
        office.advance(POLL);
    }
}

#[tokio::test]
async fn a_stream_whose_client_left_is_settled_by_the_poll() {
    let office = Office::new().await;
    office.simulator.set_knobs(Knobs { chunks: Some(500), chunk_delay_ms: Some(10), ..Knobs::default() });
    let mut answer = ask_the_simulator(&office.simulator.base_url(), true).await;
    let generation_id = answer.headers()["x-generation-id"].to_str().unwrap().to_owned();
    answer.frame().await.unwrap().unwrap();
    drop(answer);
    while office.simulator.truth().is_empty() {
        tokio::task::yield_now().await;
    }
    office.open_call(&generation_id, 200).await;
    assert_eq!(office.upkeep.poll().await.unwrap().settled_calls, 1);
    let truth = office.simulator.truth();
    assert!(truth[0].cancelled);
    let verification = office.ledger.reader().verify().await.unwrap();
    assert_eq!(verification.cost.pico(), truth[0].cost_pico_usd);
}

#[tokio::test]
async fn a_poll_that_reaches_nobody_is_recorded_with_its_reason() {
    let mut office = Office::new().await;
    let now_ms = office.now_ms.clone();
    let clock = Clock::new(move || Timestamp::from_millisecond(now_ms.load(Ordering::SeqCst)).unwrap());
    let upstream = client("http://127.0.0.1:9/api/v1".to_owned());
    office.upkeep = Upkeep::new(office.ledger.clone(), upstream, clock);
    let poll = office.upkeep.poll().await.unwrap();
    assert_eq!(poll.key_usage_pico_usd, None);
    assert!(poll.error.unwrap().contains("cannot reach OpenRouter"));
}

#[tokio::test]
async fn prices_are_asked_for_when_they_are_an_hour_old() {
    let office = Office::new().await;
    let asked =
        || office.simulator.requests().iter().filter(|request| request.path.ends_with("/models")).count();
    for (minutes, questions) in [(0, 1), (0, 1), (59, 1), (2, 2)] {
        office.advance(SignedDuration::from_mins(minutes));
        office.upkeep.refresh_prices().await.unwrap();
        assert_eq!(asked(), questions, "after {minutes} minutes");
    }
    let list = office.ledger.reader().price_list().await.unwrap().unwrap();
    let small = list.prices.iter().find(|price| price.model == "example/small-model").unwrap();
    assert!(small.prompt_usd.is_some() && small.context_length.is_some(), "{small:?}");
}
