//! Rows 5 and 20: an `OpenRouter` that breaks off, falls silent, never ends, or refuses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use openrouter_sim::{DEFAULT_KEY, Options, Simulator};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::callers::{History, Seen, chat, question};
use crate::checker::{calls_in, check, external_user, wait_settled};
use crate::sidecar::{Setup, client};
use crate::trial::{Outcome, Trial};

/// Row 5.
pub(crate) async fn cut_silent_endless(_trial: Trial) -> Outcome {
    Outcome::Skipped("not built yet".to_owned())
}

const CALLERS: usize = 16;

/// Refusals with words of their own, beside the bare statuses.
const CASES: [&str; 13] = [
    "401-no-key",
    "401-unknown-key",
    "400-model",
    "402-credits",
    "402-in-flight",
    "403-key-limit",
    "403-not-management",
    "429-upstream",
    "429-platform",
    "400-validation",
    "html-404",
    "html-502",
    "html-529",
];

/// What a client does something about. The simulator adds others, which mean nothing to it.
const PASSED_ON: [&str; 5] =
    ["content-type", "retry-after", "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset"];

/// A day later, and fast: an HTTP error of which `/generation` knows nothing for a day was not billed.
const NEXT_DAY: [&str; 3] = ["faketime", "-f", "+25h x120"];

/// One refusal that is asked for.
#[derive(Clone, Debug)]
struct Refused {
    user_id: String,
    case: String,
    stream: bool,
    /// Whether its head carries a generation id.
    with_id: bool,
}

impl Refused {
    fn body(&self) -> Value {
        chat(self.stream, &json!({ "error": self.case, "generation_header": self.with_id }))
    }

    /// A page is no answer for a program; it becomes an error in `OpenAI`'s shape.
    fn is_page(&self) -> bool {
        self.case.starts_with("html-")
    }
}

/// Row 20.
pub(crate) async fn errors(trial: Trial) -> Outcome {
    let calls = trial.depth(180, 5_000);
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let setup = Setup::new(&trial, &simulator);
    let mut sidecar = setup.start().await;
    let cases: Vec<String> =
        (400..530).map(|status: u16| status.to_string()).chain(CASES.map(str::to_owned)).collect();
    let first = usize::try_from(trial.dice().roll(u64::try_from(cases.len()).unwrap())).unwrap();
    let asked = (first..first + calls).map(|index| Refused {
        user_id: format!("user {index}"),
        case: cases[index % cases.len()].clone(),
        stream: index % 2 == 0,
        with_id: index % 5 != 0,
    });
    let asked: Vec<Refused> = asked.collect();
    let (history, mut callers) = (History::default(), JoinSet::new());
    let direct = Arc::new(format!("{}/chat/completions", simulator.base_url()));
    for share in asked.chunks(calls.div_ceil(CALLERS)).map(<[Refused]>::to_vec) {
        callers.spawn(compare_all(direct.clone(), sidecar.proxy, share, history.clone()));
    }
    callers.join_all().await;

    assert_sent_once(&simulator, &asked);
    sidecar.terminate();
    assert!(sidecar.ended().await.success());
    let _sidecar = setup.clone().wrapped(&NEXT_DAY).start().await;
    wait_settled(&setup.database).await;
    let history = history.lock().unwrap().clone();
    assert_eq!(history.len(), calls);
    let counts = check(&setup.database, &simulator.truth(), &history).await;
    assert_eq!((counts.charges, counts.booked), (0, 0));
    // A server's error without an id may have been billed for all that can be known.
    let has_id = |refused: &Refused| refused.with_id && !refused.is_page();
    let by_server = |refused: &Refused| refused.case.trim_start_matches("html-").starts_with('5');
    let unknown = asked.iter().filter(|refused| !has_id(refused) && by_server(refused)).count();
    assert_eq!(counts.orphans, unknown);
    let void = calls_in(&setup.database, &["void"]).await;
    assert_eq!(usize::try_from(void).unwrap(), calls - unknown);
    let told_to_wait = asked.iter().filter(|refused| refused.case == "429-upstream").count();
    assert!(told_to_wait > 0);
    Outcome::Counts(format!(
        "{calls} refusals passed on as they came ({told_to_wait} of them 429 with Retry-After), each asked once, 0 \
         booked, {void} void, {unknown} without an id are orphans"
    ))
}

/// Asks the simulator and the sidecar for the same refusal, and compares the answers.
async fn compare_all(direct: Arc<String>, proxy: SocketAddr, asked: Vec<Refused>, history: History) {
    let http = client();
    for refused in asked {
        let body = refused.body();
        let expected = http.post(direct.as_str()).bearer_auth(DEFAULT_KEY).json(&body).send().await.unwrap();
        let told = question(&http, proxy, &refused.user_id, &body).send().await.unwrap();
        assert_eq!(told.status(), expected.status(), "{refused:?}");
        assert!(told.status().as_u16() >= 400, "{refused:?}");
        let (headers, status) = (told.headers().clone(), told.status().as_u16());
        assert_eq!(
            headers.contains_key("x-generation-id"),
            expected.headers().contains_key("x-generation-id"),
            "{refused:?}"
        );
        if !refused.is_page() {
            assert_same_headers(&headers, expected.headers(), &refused);
        }
        let (body, expected) = (told.bytes().await.unwrap(), expected.bytes().await.unwrap());
        if refused.is_page() {
            let error: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(error["error"]["code"], status, "{refused:?}");
        } else {
            assert!(!body.is_empty());
            assert_eq!(body, expected, "{refused:?}");
        }
        let generation_id = headers.get("x-generation-id").map(|id| id.to_str().unwrap().to_owned());
        let user_id = refused.user_id;
        history.lock().unwrap().push(Seen { user_id, status, generation_id, body: body.into(), whole: true });
    }
}

fn assert_same_headers(told: &HeaderMap, expected: &HeaderMap, refused: &Refused) {
    for name in PASSED_ON {
        assert_eq!(told.get(name), expected.get(name), "{name} of {refused:?}");
    }
    if refused.case == "429-upstream" {
        assert_eq!(told["retry-after"], "1");
    }
}

/// One request upstream for each that was asked, whatever came of it.
fn assert_sent_once(simulator: &Simulator, asked: &[Refused]) {
    let counted = |users: &mut dyn Iterator<Item = String>| {
        let mut counts = BTreeMap::<String, usize>::new();
        users.for_each(|user| *counts.entry(user).or_default() += 1);
        counts
    };
    let requests = simulator.requests();
    let posts = requests.iter().filter(|request| request.method == "POST");
    // Those that asked the simulator itself named no user.
    let sent = counted(&mut posts.filter_map(|request| request.user.clone()));
    assert_eq!(sent, counted(&mut asked.iter().map(|refused| external_user(&refused.user_id))));
}
