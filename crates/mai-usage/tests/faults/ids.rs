//! Row 7: generation ids twice, foreign, or not at all.

use std::net::SocketAddr;

use openrouter_sim::{DEFAULT_KEY, Options, Simulator};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::callers::{History, ask, chat, question};
use crate::checker::{check_ids, external_user, wait_closed};
use crate::sidecar::{Setup, client};
use crate::trial::{Outcome, Trial};

const CALLERS: usize = 16;

/// One call in so many has an id that another one had.
const CLASH_EVERY: usize = 100;

/// Where the ids of a call are told, and whether they are its own.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Ids {
    Both,
    InBodyOnly,
    InHeadOnly,
    /// None is told; the cost is.
    None,
    /// Neither id nor cost is told.
    NoneAndNoCost,
    /// A second call has the same id, at the same time.
    TwiceAtOnce,
    /// The id is that of a call that is settled.
    TwiceLater,
    /// The id is that of a call whose cost is not known yet.
    OfAnOpenCall,
    /// As before, and the second call's cost is not known either.
    OfAnOpenCallBoth,
    /// Another organisation has a charge with that id.
    OfAnotherOrganisation,
}

const CLASHES: [Ids; 4] = [Ids::TwiceAtOnce, Ids::TwiceLater, Ids::OfAnOpenCall, Ids::OfAnOpenCallBoth];

impl Ids {
    fn of(index: usize) -> Self {
        match index % CLASH_EVERY {
            0 => CLASHES[index / CLASH_EVERY % CLASHES.len()],
            1 => Self::OfAnotherOrganisation,
            2..10 => Self::InBodyOnly,
            10..18 => Self::InHeadOnly,
            18..22 => Self::None,
            22..26 => Self::NoneAndNoCost,
            _ => Self::Both,
        }
    }

    fn clashes(self) -> bool {
        CLASHES.contains(&self)
    }
}

/// Who asks, and where.
#[derive(Clone, Debug)]
struct Road {
    http: reqwest::Client,
    proxy: SocketAddr,
    upstream: String,
    history: History,
}

/// Row 7.
pub(crate) async fn clashing_and_missing(trial: Trial) -> Outcome {
    let calls = trial.depth(400, 10_000);
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let setup = Setup::new(&trial, &simulator).with("LOG_LEVEL", trial.depth("trace", "info"));
    let mut sidecar = setup.start().await;
    let history = History::default();
    let upstream = format!("{}/chat/completions", simulator.base_url());
    let road = Road { http: client(), proxy: sidecar.proxy, upstream, history: history.clone() };
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let road = road.clone();
        callers.spawn(async move {
            for index in (caller..calls).step_by(CALLERS) {
                road.call(index).await;
            }
        });
    }
    callers.join_all().await;
    wait_closed(&setup.database).await;
    sidecar.terminate();
    assert!(sidecar.ended().await.success());
    let _sidecar = setup.heal().await;

    let of = |wanted: fn(Ids) -> bool| (0..calls).filter(|index| wanted(Ids::of(*index))).count();
    let mut truth = simulator.truth();
    let all = truth.len();
    truth.retain(|charge| charge.external_user != Some(other_organisation()));
    let foreign = all - truth.len();
    let history = history.lock().unwrap().clone();
    let counts = check_ids(&setup.database, &truth, &history).await;
    assert_eq!(foreign, of(|ids| ids == Ids::OfAnotherOrganisation));
    assert_eq!(counts.charges, calls + of(Ids::clashes));
    assert_eq!(counts.clashes, of(Ids::clashes));
    assert_eq!(counts.booked_without_id, of(|ids| ids == Ids::None));
    assert_eq!(counts.orphans, of(|ids| ids == Ids::NoneAndNoCost));
    assert_eq!(counts.booked, calls - counts.orphans);
    assert!(counts.clashes > 0 && foreign > 0 && counts.orphans > 0);
    Outcome::Counts(format!(
        "{} charges, {} booked, 0 doubled, {} clashes each told, {foreign} ids of another organisation, {} booked \
         without an id, {} orphans with neither id nor cost",
        counts.charges, counts.booked, counts.clashes, counts.booked_without_id, counts.orphans
    ))
}

/// A user of an organisation that is not ours.
fn other_organisation() -> String {
    external_user("somebody").replace("mai_client_", "mai_client_other_")
}

impl Road {
    async fn call(&self, index: usize) {
        let (user_id, other) = (format!("user {index}"), format!("other user {index}"));
        let stream = index.is_multiple_of(2);
        // Each call has a price of its own, so that no charge can stand in for another.
        let tokens = 10 + index;
        let (one, two) = (json!({ "completion_tokens": tokens }), json!({ "completion_tokens": tokens + 1 }));
        let no_cost = |knobs: &Value| with(knobs, &json!({ "usage": "none" }));
        let id =
            |knobs: &Value| with(knobs, &json!({ "generation_id": format!("gen-1790000000-{index:020}") }));
        match Ids::of(index) {
            Ids::Both => self.ask(&user_id, stream, &one).await,
            Ids::InBodyOnly => {
                self.ask(&user_id, stream, &with(&one, &json!({ "generation_header": false }))).await;
            }
            Ids::InHeadOnly => self.ask(&user_id, stream, &with(&one, &json!({ "body_id": false }))).await,
            Ids::None => self.ask(&user_id, stream, &without_ids(&one)).await,
            Ids::NoneAndNoCost => self.ask(&user_id, stream, &no_cost(&without_ids(&one))).await,
            Ids::TwiceAtOnce => {
                let (one, two) = (id(&one), id(&two));
                tokio::join!(self.ask(&user_id, stream, &one), self.ask(&other, stream, &two));
            }
            Ids::TwiceLater => {
                self.ask(&user_id, stream, &id(&one)).await;
                self.ask(&other, stream, &id(&two)).await;
            }
            Ids::OfAnOpenCall => {
                self.ask(&user_id, stream, &no_cost(&id(&one))).await;
                self.ask(&other, stream, &id(&two)).await;
            }
            Ids::OfAnOpenCallBoth => {
                self.ask(&user_id, stream, &no_cost(&id(&one))).await;
                self.ask(&other, stream, &no_cost(&id(&two))).await;
            }
            Ids::OfAnotherOrganisation => {
                let mut body = chat(stream, &id(&two));
                body["user"] = other_organisation().into();
                let asked = self.http.post(&self.upstream).bearer_auth(DEFAULT_KEY).json(&body);
                assert!(asked.send().await.unwrap().bytes().await.is_ok());
                self.ask(&user_id, stream, &id(&one)).await;
            }
        }
    }

    async fn ask(&self, user_id: &str, stream: bool, knobs: &Value) {
        let asked = question(&self.http, self.proxy, user_id, &chat(stream, knobs));
        let seen = ask(asked, user_id).await.unwrap();
        assert!(seen.status == 200 && seen.whole, "{seen:?}");
        self.history.lock().unwrap().push(seen);
    }
}

fn without_ids(knobs: &Value) -> Value {
    with(knobs, &json!({ "generation_header": false, "body_id": false }))
}

/// `knobs` and `more` of them.
fn with(knobs: &Value, more: &Value) -> Value {
    let mut both = knobs.as_object().unwrap().clone();
    both.extend(more.as_object().unwrap().clone());
    both.into()
}
