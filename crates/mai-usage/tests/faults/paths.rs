//! Row 16: every spelling of a path that is not offered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use openrouter_sim::{Options, SeenRequest, Simulator};
use serde_json::json;
use tokio::task::JoinSet;

use crate::callers::chat;
use crate::dice::Dice;
use crate::raw::{exchange, status};
use crate::secrets::TOKEN;
use crate::sidecar::Setup;
use crate::trial::{Outcome, Trial};

const BASES: [&str; 2] = ["/api/v1", "/v1"];

/// What `OpenRouter` offers beside the listed routes, as its `OpenAPI` document of 2026-08-22 has it.
#[rustfmt::skip]
const UNLISTED: [(&str, &str); 87] = [
    ("GET", "activity"),
    ("GET", "analytics/meta"),
    ("POST", "analytics/query"),
    ("POST", "auth/keys"),
    ("POST", "auth/keys/code"),
    ("GET", "benchmarks"),
    ("GET", "byok"),
    ("POST", "byok"),
    ("DELETE", "byok/1"),
    ("GET", "byok/1"),
    ("PATCH", "byok/1"),
    ("GET", "classifications/task"),
    ("GET", "credits"),
    ("POST", "credits/coinbase"),
    ("GET", "datasets/app-rankings"),
    ("GET", "datasets/rankings-daily"),
    ("GET", "datasets/session-cost"),
    ("GET", "embeddings/models"),
    ("GET", "endpoints/zdr"),
    ("GET", "files"),
    ("POST", "files"),
    ("DELETE", "files/file-1"),
    ("GET", "files/file-1"),
    ("GET", "files/file-1/content"),
    ("GET", "generation"),
    ("GET", "generation/content"),
    ("POST", "generation/feedback"),
    ("GET", "guardrails"),
    ("POST", "guardrails"),
    ("DELETE", "guardrails/1"),
    ("GET", "guardrails/1"),
    ("PATCH", "guardrails/1"),
    ("GET", "guardrails/1/assignments/keys"),
    ("POST", "guardrails/1/assignments/keys"),
    ("POST", "guardrails/1/assignments/keys/remove"),
    ("GET", "guardrails/1/assignments/members"),
    ("POST", "guardrails/1/assignments/members"),
    ("POST", "guardrails/1/assignments/members/remove"),
    ("GET", "guardrails/assignments/keys"),
    ("GET", "guardrails/assignments/members"),
    ("GET", "images/models"),
    ("GET", "images/models/a/b/endpoints"),
    ("GET", "key"),
    ("GET", "keys"),
    ("POST", "keys"),
    ("DELETE", "keys/c0ffee"),
    ("GET", "keys/c0ffee"),
    ("PATCH", "keys/c0ffee"),
    ("GET", "model/a/b"),
    ("GET", "models/count"),
    ("GET", "models/user"),
    ("GET", "observability/destinations"),
    ("POST", "observability/destinations"),
    ("DELETE", "observability/destinations/1"),
    ("GET", "observability/destinations/1"),
    ("PATCH", "observability/destinations/1"),
    ("GET", "organization/members"),
    ("GET", "presets"),
    ("GET", "presets/b"),
    ("POST", "presets/b/chat/completions"),
    ("POST", "presets/b/messages"),
    ("POST", "presets/b/responses"),
    ("GET", "presets/b/versions"),
    ("GET", "presets/b/versions/2"),
    ("GET", "providers"),
    ("GET", "scim/group-mappings"),
    ("POST", "scim/group-mappings"),
    ("DELETE", "scim/group-mappings/1"),
    ("GET", "scim/group-mappings/1"),
    ("PATCH", "scim/group-mappings/1"),
    ("GET", "scim/groups"),
    ("POST", "videos"),
    ("GET", "videos/job-1"),
    ("GET", "videos/job-1/content"),
    ("GET", "videos/models"),
    ("GET", "workspaces"),
    ("POST", "workspaces"),
    ("DELETE", "workspaces/1"),
    ("GET", "workspaces/1"),
    ("PATCH", "workspaces/1"),
    ("GET", "workspaces/1/budgets"),
    ("DELETE", "workspaces/1/budgets/monthly"),
    ("GET", "workspaces/1/budgets/monthly"),
    ("PUT", "workspaces/1/budgets/monthly"),
    ("GET", "workspaces/1/members"),
    ("POST", "workspaces/1/members/add"),
    ("POST", "workspaces/1/members/remove"),
];

/// What is listed in `docs/endpoints.md`: what may be seen upstream, with the one method of each.
const LISTED: [(&str, &str); 11] = [
    ("POST", "chat/completions"),
    ("POST", "completions"),
    ("POST", "responses"),
    ("POST", "messages"),
    ("POST", "embeddings"),
    ("POST", "rerank"),
    ("POST", "images"),
    ("POST", "audio/speech"),
    ("POST", "audio/transcriptions"),
    ("GET", "models"),
    ("GET", "models/a/b/endpoints"),
];

/// Methods and what is none.
const METHODS: [&str; 16] = [
    "GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "QUERY",
    "get", "post", "Get", "GETX", "G/T",
];

/// Headers by which some servers and proxies let a request be another one.
const OVERRIDES: [&str; 8] = [
    "x-http-method-override",
    "x-http-method",
    "x-method-override",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
    "x-forwarded-path",
    "x-forwarded-prefix",
];

/// A way to write base and path as a request's target.
type Spelling = fn(&str, &str) -> String;

/// None of these may be answered with 2xx.
#[rustfmt::skip]
const SPELLINGS: [Spelling; 120] = [
    // As they are, and with more or fewer slashes.
    |base, path| format!("{base}/{path}"),
    |base, path| format!("{base}//{path}"),
    |base, path| format!("{base}///{path}"),
    |base, path| format!("/{base}/{path}"),
    |base, path| format!("{base}/{path}/"),
    |base, path| format!("{base}/{path}//"),
    |base, path| format!("{base}/{}", path.replace('/', "//")),
    |base, path| format!("{}/{path}", base.trim_start_matches('/')),
    |base, path| format!("{base}{path}"),
    // Up and down.
    |base, path| format!("{base}/./{path}"),
    |base, path| format!("{base}/{path}/."),
    |base, path| format!("{base}/{path}/x/.."),
    |base, path| format!("{base}/../v1/{path}"),
    |base, path| format!("/x/..{base}/{path}"),
    |base, path| format!("{base}/models/../{path}"),
    |base, path| format!("{base}//models/../{path}"),
    |base, path| format!("{base}/models/..;/{path}"),
    |base, path| format!("{base}/models/..;x=y/{path}"),
    |base, path| format!("{base}/models/.../{path}"),
    |base, path| format!("{base}/models/....//{path}"),
    |base, path| format!("{base}/models/../../v1/{path}"),
    |base, path| format!("{base}/chat/completions/../../{path}"),
    |base, path| format!("{base}/models/a/b/endpoints/../../../../{path}"),
    |base, path| format!("{base}/models/../{path}/endpoints"),
    |base, path| format!("{base}/models/a/../../{path}/endpoints"),
    // The same, encoded once, twice, and wrongly.
    |base, path| format!("{base}/models/%2e%2e/{path}"),
    |base, path| format!("{base}/models/%2E%2E/{path}"),
    |base, path| format!("{base}/models/.%2e/{path}"),
    |base, path| format!("{base}/models/%2e./{path}"),
    |base, path| format!("{base}/models/%252e%252e/{path}"),
    |base, path| format!("{base}/models/..%2f{path}"),
    |base, path| format!("{base}/models/..%2F{path}"),
    |base, path| format!("{base}/models%2f..%2f{path}"),
    |base, path| format!("{base}/models/..%252f{path}"),
    |base, path| format!("{base}/models/%2e%2e%2f{path}"),
    |base, path| format!("{base}/models/%2e%2e/{path}/endpoints"),
    |base, path| format!("{base}/models/a/..%2f..%2f..%2f{path}/endpoints"),
    |base, path| format!("{base}/models/a/%2e%2e%3A/{path}/endpoints"),
    |base, path| format!("{base}/models/%c0%ae%c0%ae/{path}"),
    |base, path| format!("{base}/models/..%c0%af{path}"),
    |base, path| format!("{base}/models/%u002e%u002e/{path}"),
    |base, path| format!("{base}/models/%%32%65%%32%65/{path}"),
    |base, path| format!("{base}%2f{path}"),
    |base, path| format!("{base}%2F%2F{path}"),
    |base, path| format!("{base}/{}", path.replace('/', "%2f")),
    |base, path| format!("{base}/{}", encoded(&path[..1]) + &path[1..]),
    |base, path| format!("{base}/{}", encoded(path)),
    |base, path| format!("{base}/{}", encoded(&encoded(path))),
    |base, path| format!("/{}/{path}", encoded(&base[1..])),
    |base, path| encoded(&format!("{base}/{path}")),
    |base, path| format!("{base}/%2e/{path}"),
    |base, path| format!("{base}/{path}%"),
    |base, path| format!("{base}/{path}%2"),
    // Backslashes.
    |base, path| format!("{base}\\{path}"),
    |base, path| format!("{base}/models\\..\\{path}"),
    |base, path| format!("{base}/models/..\\{path}"),
    |base, path| format!("{base}/models/..%5c{path}"),
    |base, path| format!("{base}/models%5c..%5c{path}"),
    |base, path| format!("\\{}\\{path}", &base[1..]),
    // What ends a path, or does not.
    |base, path| format!("{base}/{path};"),
    |base, path| format!("{base}/{path};x=y"),
    |base, path| format!("{base};x=y/{path}"),
    |base, path| format!("{base}/;/{path}"),
    |base, path| format!("{base}/{path}?"),
    |base, path| format!("{base}/{path}?limit=1"),
    |base, path| format!("{base}/{path}?x=/api/v1/models"),
    |base, path| format!("{base}/{path}#/models"),
    |base, path| format!("{base}/{path}%23"),
    |base, path| format!("{base}/{path}%3flimit=1"),
    |base, path| format!("{base}/{path}&x=y"),
    |base, path| format!("{base}/{path}.json"),
    |base, path| format!("{base}/{path}~"),
    |base, path| format!("{base}/{path}%00"),
    |base, path| format!("{base}/{path}\0"),
    |base, path| format!("{base}/models%00/../{path}"),
    |base, path| format!("{base}/models\0{path}"),
    |base, path| format!("{base}/{path}%20"),
    |base, path| format!("{base}/{path}%09"),
    |base, path| format!("{base}/%20{path}"),
    |base, path| format!("{base}/\t{path}"),
    |base, path| format!("{base}/ {path}"),
    |base, path| format!("{base}/models%0d%0aX-Evil:%20y%0d%0a%0d%0aGET%20{base}/{path}"),
    |base, path| format!("{base}/models\nGET {base}/{path}"),
    // Other cases and other letters.
    |base, path| format!("{base}/{}", path.to_ascii_uppercase()),
    |base, path| format!("{}/{path}", base.to_ascii_uppercase()),
    |base, path| format!("{base}/{}", path.replace('s', "ſ").replace('k', "\u{212a}")),
    |base, path| format!("{base}/{}", wide(path)),
    |base, path| format!("{base}\u{ff0f}{path}"),
    |base, path| format!("{base}%ef%bc%8f{path}"),
    |base, path| format!("{base}/models/\u{ff0e}\u{ff0e}/{path}"),
    |base, path| format!("{base}/models/\u{2025}/{path}"),
    |base, path| format!("{base}/\u{200b}{path}"),
    |base, path| format!("{base}/{path}\u{301}"),
    // Other bases.
    |_, path| format!("/{path}"),
    |_, path| format!("/api/{path}"),
    |_, path| format!("/api/v2/{path}"),
    |_, path| format!("/api/v1.0/{path}"),
    |_, path| format!("/api/v1/v1/{path}"),
    |_, path| format!("/api/v1/api/v1/{path}"),
    |_, path| format!("/v1/api/v1/{path}"),
    |_, path| format!("/v1/v1/{path}"),
    |_, path| format!("/openrouter.ai/api/v1/{path}"),
    |base, path| format!("/health/..{base}/{path}"),
    // Absolute and authority form.
    |base, path| format!("http://127.0.0.1{base}/{path}"),
    |base, path| format!("HTTP://127.0.0.1:8787{base}/{path}"),
    |base, path| format!("https://openrouter.ai{base}/{path}"),
    |base, path| format!("http://openrouter.ai:80{base}//{path}"),
    |base, path| format!("http://a:b@openrouter.ai{base}/{path}"),
    |base, path| format!("http://openrouter.ai{base}/models/../{path}"),
    |base, path| format!("http://openrouter.ai/models?{base}/{path}"),
    |base, path| format!("ws://openrouter.ai{base}/{path}"),
    |base, path| format!("file://{base}/{path}"),
    |base, path| format!("http:{base}/{path}"),
    |base, path| format!("http:/{base}/{path}"),
    |base, path| format!("http:///{base}/{path}"),
    |base, path| format!("//openrouter.ai{base}/{path}"),
    |_, path| format!("openrouter.ai:443/{path}"),
    |_, _| "openrouter.ai:443".to_owned(),
    |_, _| "*".to_owned(),
    |_, _| String::new(),
];

/// What truly names a listed route, whatever stands behind it: an answer is right, but only that route may be asked for.
const DECOYS: [Spelling; 4] = [
    |base, path| format!("{base}/models#/../{path}"),
    |base, path| format!("{base}/models?path=..%2f{path}"),
    |base, path| format!("{base}/models?x=..%2f..%2f{}%00", encoded(path)),
    |base, path| format!("{base}/models HTTP/1.1\r\nhost: a\r\n\r\nGET {base}/{path}"),
];

/// One request.
#[derive(Debug)]
struct Attack {
    spelling: usize,
    base: &'static str,
    method: &'static str,
    path: &'static str,
    header: &'static str,
}

impl Attack {
    fn target(&self) -> String {
        let spelling = SPELLINGS.iter().chain(&DECOYS).nth(self.spelling).unwrap();
        spelling(self.base, self.path)
    }

    /// Whether an answer with 2xx would be right.
    const fn is_decoy(&self) -> bool {
        self.spelling >= SPELLINGS.len()
    }

    fn bytes(&self) -> Vec<u8> {
        let Self { base, method, path, header, .. } = self;
        let value = if header.contains("method") { (*method).to_owned() } else { format!("{base}/{path}") };
        let body = chat(false, &json!({})).to_string();
        request(&format!("{method} {}", self.target()), &format!("{header}: {value}\r\n"), &body)
    }
}

fn request(line: &str, header: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{line} HTTP/1.1\r\nhost: mai-usage:8787\r\nauthorization: Bearer {TOKEN}\r\n{header}content-type: \
         application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Every letter as `%XX`, slashes too.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |encoded, byte| encoded + &format!("%{byte:02x}"))
}

/// The letters of East Asian type that some programs fold to ASCII.
fn wide(text: &str) -> String {
    text.chars().map(|letter| char::from_u32(u32::from(letter) + 0xfee0).unwrap()).collect()
}

/// Every route with its own method: unlisted paths, and listed paths by the other method.
fn routes() -> Vec<(&'static str, &'static str)> {
    let swapped = LISTED.map(|(method, path)| (if method == "GET" { "POST" } else { "GET" }, path));
    UNLISTED.into_iter().chain(swapped).collect()
}

/// Everything with everything, without what is listed after all.
fn all() -> Vec<Attack> {
    let mut paths: Vec<_> = routes().into_iter().map(|(_, path)| path).collect();
    paths.sort_unstable();
    paths.dedup();
    let mut attacks = Vec::new();
    for spelling in 0..SPELLINGS.len() + DECOYS.len() {
        for base in BASES {
            for method in METHODS {
                for path in &paths {
                    if !LISTED.contains(&(method, path)) {
                        let header = OVERRIDES[attacks.len() % OVERRIDES.len()];
                        attacks.push(Attack { spelling, base, method, path, header });
                    }
                }
            }
        }
    }
    attacks
}

/// Some of every spelling.
fn sample(dice: &mut Dice) -> Vec<Attack> {
    const OF_EACH: usize = 16;
    let routes = routes();
    let mut attacks = Vec::new();
    for spelling in 0..SPELLINGS.len() + DECOYS.len() {
        for turn in 0..OF_EACH {
            let (own, path) = *dice.pick(&routes);
            let any = *dice.pick(&METHODS);
            let method = if turn < OF_EACH / 2 || LISTED.contains(&(any, path)) { own } else { any };
            let (base, header) = (BASES[turn % 2], *dice.pick(&OVERRIDES));
            attacks.push(Attack { spelling, base, method, path, header });
        }
    }
    attacks
}

/// What came back for all of them: how many were refused in words, and how many closed without a word.
async fn attack(proxy: SocketAddr, attacks: Vec<Attack>) -> (usize, usize) {
    const AT_ONCE: usize = 16;
    let (attacks, mut senders) = (Arc::new(attacks), JoinSet::new());
    for first in 0..AT_ONCE {
        let attacks = attacks.clone();
        senders.spawn(async move {
            let (mut refused, mut silent) = (0, 0);
            for attack in attacks.iter().skip(first).step_by(AT_ONCE) {
                match status(&exchange(proxy, &attack.bytes()).await) {
                    None => silent += 1,
                    Some(400..500) => refused += 1,
                    Some(200..300) if attack.is_decoy() => {}
                    Some(other) => panic!("{other} for {attack:?}: {:?}", attack.target()),
                }
            }
            (refused, silent)
        });
    }
    let told = senders.join_all().await;
    told.into_iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// Listed calls that carry every override for every route: they arrive as what they are.
async fn listed_with_overrides(proxy: SocketAddr) -> usize {
    let body = chat(false, &json!({ "content": "x" })).to_string();
    for (method, path) in UNLISTED {
        let headers = OVERRIDES.iter().fold(String::new(), |headers, name| {
            let value = if name.contains("method") { method } else { path };
            headers + &format!("{name}: {value}\r\n")
        });
        let answer = exchange(proxy, &request("POST /api/v1/chat/completions", &headers, &body)).await;
        assert_eq!(status(&answer), Some(200), "a listed call with overrides to {method} {path}");
    }
    UNLISTED.len()
}

/// The sidecar's own question, which no caller may ask.
fn is_poll(seen: &SeenRequest) -> bool {
    (seen.method.as_str(), seen.path.as_str()) == ("GET", "/api/v1/key")
}

/// Whether a request that arrived upstream is on the list.
fn is_listed(seen: &SeenRequest) -> bool {
    let Some(path) = seen.path.strip_prefix("/api/v1/") else { return false };
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    LISTED.contains(&(seen.method.as_str(), path)) && !seen.path.contains(['#', '\\', ' '])
}

/// Row 16.
pub(crate) async fn escapes(trial: Trial) -> Outcome {
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let setup = Setup::new(&trial, &simulator)
        .with("POLL_INTERVAL", "86400")
        .with("LOG_LEVEL", trial.depth("trace", "info"));
    let sidecar = setup.start().await;
    // The only question of its own that it has: the poll of the start.
    while !simulator.requests().iter().any(is_poll) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let attacks = if trial.full { all() } else { sample(&mut trial.dice()) };
    let count = attacks.len();
    assert!(count >= 500);
    let (refused, silent) = attack(sidecar.proxy, attacks).await;
    assert!(refused > count * 9 / 10, "only {refused} of {count} were refused in words");
    let listed = listed_with_overrides(sidecar.proxy).await;
    let requests = simulator.requests();
    let calls = requests.iter().filter(|seen| seen.method == "POST").count();
    assert_eq!(calls, listed, "what arrived is not what was listed");
    let polls = requests.iter().filter(|seen| is_poll(seen)).count();
    assert_eq!(polls, 1, "somebody asked for the key");
    for seen in requests.iter().filter(|seen| !is_poll(seen)) {
        assert!(is_listed(seen), "escaped: {seen:?}");
        let overridden = seen.headers.iter().any(|(name, _)| OVERRIDES.contains(&name.as_str()));
        assert!(!overridden, "an override went upstream: {seen:?}");
    }
    let (spellings, routes) = (SPELLINGS.len() + DECOYS.len(), routes().len());
    Outcome::Counts(format!(
        "{count} requests ({spellings} spellings, {routes} routes, {} methods), {refused} refused, {silent} closed \
         without a word, {listed} listed calls with overrides, 0 escapes",
        METHODS.len()
    ))
}
