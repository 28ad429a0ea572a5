//! Rows 5 and 20: an `OpenRouter` that breaks off, falls silent, never ends, or refuses.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use openrouter_sim::{DEFAULT_KEY, Options, Simulator};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::callers::{History, Seen, ask, chat, question, read_until};
use crate::checker::{calls_in, check, external_user, outcomes, wait_closed, wait_settled};
use crate::secrets::TOKEN;
use crate::sidecar::{Setup, client};
use crate::trial::{Outcome, Trial};

const CALLERS: usize = 16;

/// A stream is cut after every number of bytes up to this.
const CUT_BYTES: usize = 4096;

/// The first event of a stream, which tells the id, is shorter.
const FIRST_EVENT_BYTES: usize = 512;

/// Callers that wait for a silence to end.
const WAITING: usize = 100;

/// What the sidecar promises, in seconds of its clock.
const HEAD_SECONDS: f64 = 600.0;
const SILENCE_SECONDS: f64 = 300.0;
const CALL_SECONDS: f64 = 3_600.0;
const UNREAD_SECONDS: f64 = 60.0;

/// By then no task is alive that had to end.
const GRACE_SECONDS: f64 = 10.0;

/// How long the buffers between a flood and a client that does not read take to fill, with room to spare.
const FILLING_SECONDS: f64 = 60.0;

/// More than anything takes that must end; no figure, only an end to the waiting.
const PATIENCE: Duration = Duration::from_mins(10);

/// How fast the sidecar's clock runs where its limits are measured: ten of its seconds are one here.
const SLOW_RATE: u32 = 10;

/// How a client takes what comes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Reads {
    AsItComes,
    /// A piece, then a pause: the sidecar always has more for it.
    Slowly,
    Never,
}

/// A strange answer and what is to become of it.
#[derive(Clone, Debug)]
struct Strange {
    name: &'static str,
    stream: bool,
    knobs: Value,
    reads: Reads,
    /// Seconds of the sidecar's clock until it gives up; `None` where the answer comes to its end.
    ends_after: Option<f64>,
}

/// Callers on the road to a sidecar whose clock runs `rate` times as fast.
#[derive(Clone, Debug)]
struct Fast {
    http: reqwest::Client,
    proxy: SocketAddr,
    rate: f64,
    /// Whether the grace is measured: not on a machine that does other things meanwhile.
    strict: bool,
    history: History,
}

/// Row 5.
pub(crate) async fn cut_silent_endless(trial: Trial) -> Outcome {
    let rate: u32 = trial.depth(240, SLOW_RATE);
    let simulator = Arc::new(Simulator::start(Options::default()).await.unwrap());
    // The sidecar's clock will run ahead; a charge is never older than its call.
    simulator.advance(Duration::from_hours(48));
    let setup = Setup::new(&trial, &simulator).with("LOG_LEVEL", trial.depth("trace", "info"));
    let history = History::default();
    let mut sidecar = setup.start().await;
    let cuts = cut_everywhere(&trial, sidecar.proxy, &history).await;
    wait_closed(&setup.database).await;
    sidecar.terminate();
    assert!(sidecar.ended().await.success());

    let clock = format!("+0 x{rate}");
    let mut sidecar = setup.clone().on_clock(&clock).start().await;
    let fast = Fast {
        http: client(),
        proxy: sidecar.proxy,
        rate: f64::from(rate),
        strict: trial.full,
        history: history.clone(),
    };
    let mut callers = JoinSet::new();
    let silences: Vec<usize> = (0..CUT_BYTES).step_by(trial.depth(170, 5)).collect();
    for share in silences.chunks(silences.len().div_ceil(WAITING)).map(<[usize]>::to_vec) {
        callers.spawn(silences_of(fast.clone(), share));
    }
    let plans = strange_answers(rate);
    for (index, strange) in plans.iter().cloned().enumerate() {
        callers.spawn(fast.clone().endure(simulator.clone(), strange, format!("strange {index}")));
    }
    callers.join_all().await;

    wait_closed(&setup.database).await;
    wait_settled(&setup.database).await;
    let ending = Instant::now();
    sidecar.terminate();
    assert!(sidecar.ended().await.success());
    fast.ended("the program", (ending, ending), 0.0, GRACE_SECONDS);

    let history = history.lock().unwrap().clone();
    let truth = simulator.truth();
    let counts = check(&setup.database, &truth, &history).await;
    let outcomes = outcomes(&setup.database).await;
    let named = |name: &str| plans.iter().filter(|strange| strange.name == name).count();
    assert_eq!(outcomes["no-head"], named("no head"));
    assert_eq!(outcomes["silent"], silences.len());
    assert_eq!(outcomes["too-long"], named("endless") + named("flood") + named("byte a second"));
    assert_eq!(outcomes["upstream-cut"], cuts.calls);
    assert_eq!(counts.with_orphans, counts.orphans);
    assert!((named("no head") + 1..=named("no head") + cuts.without_id).contains(&counts.orphans));
    assert_eq!(counts.booked + counts.orphans, counts.charges);
    let asked_again = outcomes.get("not-recorded").copied().unwrap_or_default();
    assert_eq!(counts.charges, cuts.calls + silences.len() + plans.len() + asked_again);
    Outcome::Counts(format!("{} cuts, {} silences, {outcomes:?}; {counts}", cuts.calls, silences.len()))
}

/// What was cut.
struct Cuts {
    calls: usize,
    /// Calls whose head told no id.
    without_id: usize,
}

/// Cuts a stream after every byte, or after some of them; the beginning also where only the body tells the id.
async fn cut_everywhere(trial: &Trial, proxy: SocketAddr, history: &History) -> Cuts {
    let step = trial.depth(41, 1);
    let mut dice = trial.dice();
    let mut first = || usize::try_from(dice.roll(u64::try_from(step).unwrap())).unwrap();
    let with_id = (first()..=CUT_BYTES).step_by(step).map(|bytes| (bytes, true));
    let without = (first()..FIRST_EVENT_BYTES).step_by(step).map(|bytes| (bytes, false));
    let cuts: Vec<(usize, bool)> = with_id.chain(without).collect();
    let mut callers = JoinSet::new();
    for (caller, share) in cuts.chunks(cuts.len().div_ceil(CALLERS)).map(<[_]>::to_vec).enumerate() {
        let history = history.clone();
        callers.spawn(async move {
            let (http, user_id) = (client(), format!("cut {caller}"));
            for (bytes, with_id) in share {
                let cut = json!({ "chunks": 20, "cut_after_bytes": bytes, "generation_header": with_id });
                let seen = ask(question(&http, proxy, &user_id, &chat(true, &cut)), &user_id).await.unwrap();
                // What told no id before it broke off was not passed on at all.
                let passed = seen.status == 200;
                assert!(passed || (!with_id && seen.status == 502), "{seen:?}");
                assert!(
                    !passed || (seen.body.len() == bytes && !seen.whole),
                    "{} bytes instead of {bytes}",
                    seen.body.len()
                );
                history.lock().unwrap().push(seen);
            }
        });
    }
    callers.join_all().await;
    Cuts { calls: cuts.len(), without_id: cuts.iter().filter(|(_, with_id)| !with_id).count() }
}

/// Answers that fall silent after so many bytes.
async fn silences_of(fast: Fast, share: Vec<usize>) {
    for bytes in share {
        let user_id = format!("silence {bytes}");
        let silent = json!({ "chunks": 20, "silent_after_bytes": bytes });
        let asked = Instant::now();
        let (user_id, answer) = fast.head(&user_id, &chat(true, &silent)).await;
        let heard = Instant::now();
        let seen = read_until(answer, &user_id, |_| false).await;
        assert!(seen.status == 200 && !seen.whole, "{bytes}");
        assert_eq!(seen.body.len(), bytes);
        fast.history.lock().unwrap().push(seen);
        fast.ended("a silence", (asked, heard), SILENCE_SECONDS, GRACE_SECONDS);
    }
}

/// Everything but cuts and silences. A second of the sidecar's clock is `1000 / rate` milliseconds here.
fn strange_answers(rate: u32) -> Vec<Strange> {
    const AN_HOUR_MS: u64 = 3_600_000;
    let second_ms = u64::from(1_000 / rate);
    let strange = |name, stream, knobs, ends_after| Strange {
        name,
        stream,
        knobs,
        reads: Reads::AsItComes,
        ends_after,
    };
    let read = |reads, strange| Strange { reads, ..strange };
    let slow = json!({ "chunks": 20, "frame_bytes": 1, "frame_delay_ms": second_ms });
    let flood = json!({ "chunks": 1, "content": "word ".repeat(2_000), "endless": true });
    let long = json!({ "content": "word ".repeat(3_000_000), "frame_bytes": 65_536 });
    let endless = |delay_ms: u64| json!({ "chunks": 1, "endless": true, "chunk_delay_ms": delay_ms });
    let mut answers = vec![
        strange("no head", true, json!({ "head_delay_ms": AN_HOUR_MS }), Some(HEAD_SECONDS)),
        strange("no head", false, json!({ "head_delay_ms": AN_HOUR_MS }), Some(HEAD_SECONDS)),
        strange("byte a second", true, slow.clone(), Some(CALL_SECONDS)),
        strange("byte a second to its end", false, slow, None),
        strange("endless", true, endless(20), Some(CALL_SECONDS)),
        strange("endless", true, endless(1), Some(CALL_SECONDS)),
        read(Reads::Never, strange("unread flood", true, flood.clone(), Some(UNREAD_SECONDS))),
        read(Reads::Never, strange("unread answer", false, long, None)),
    ];
    // On the fastest clock what fills the buffers is never read within a minute.
    if rate <= SLOW_RATE {
        answers.push(read(Reads::Slowly, strange("flood", true, flood, Some(CALL_SECONDS))));
    }
    answers
}

impl Fast {
    /// Seconds of the sidecar's clock since `started`.
    fn seconds(&self, started: Instant) -> f64 {
        started.elapsed().as_secs_f64() * self.rate
    }

    /// What was asked and heard then has just been ended: after `seconds`, and no more than the grace later.
    fn ended(&self, what: &str, (asked, heard): (Instant, Instant), seconds: f64, grace: f64) {
        // Two clocks are read, a little apart.
        const NEARLY: f64 = 0.98;
        let (most, least) = (self.seconds(asked), self.seconds(heard));
        assert!(most > seconds * NEARLY, "{what} was ended after {most:.0} s, before {seconds} s");
        let in_time = !self.strict || least < seconds + grace;
        assert!(in_time, "{what} was ended after {least:.1} s, not {seconds} s");
    }

    /// Asks and waits for the head. On a clock that runs fast a question or a commit may come too late for the sidecar;
    /// then it refuses, and somebody else asks. Answers who it was.
    async fn head(&self, user_id: &str, body: &Value) -> (String, reqwest::Response) {
        for attempt in 0.. {
            let user_id = format!("{user_id} {attempt}");
            match question(&self.http, self.proxy, &user_id, body).send().await {
                Ok(answer) if ![502, 503].contains(&answer.status().as_u16()) => return (user_id, answer),
                _ => {}
            }
        }
        unreachable!()
    }

    /// The same on a connection whose buffer holds little, so that the sidecar soon feels what is not read.
    async fn narrow_head(&self, user_id: &str, body: &Value) -> (String, TcpStream) {
        const BUFFER_BYTES: u32 = 64 * 1024;
        let body = body.to_string();
        for attempt in 0.. {
            let user_id = format!("{user_id} {attempt}");
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_recv_buffer_size(BUFFER_BYTES).unwrap();
            let mut connection = socket.connect(self.proxy).await.unwrap();
            let head = format!(
                "POST /v1/chat/completions HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {TOKEN}\r\n\
                 X-OpenWebUI-User-Id: {user_id}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                self.proxy,
                body.len()
            );
            connection.write_all(head.as_bytes()).await.unwrap();
            connection.write_all(body.as_bytes()).await.unwrap();
            let mut status = [0; "HTTP/1.1 200".len()];
            connection.read_exact(&mut status).await.unwrap();
            match &status {
                b"HTTP/1.1 200" => return (user_id, connection),
                refused => assert!([b"HTTP/1.1 502", b"HTTP/1.1 503"].contains(&refused), "{refused:?}"),
            }
        }
        unreachable!()
    }

    /// Waits for what becomes of a strange answer, at the client and upstream.
    async fn endure(self, simulator: Arc<Simulator>, strange: Strange, user_id: String) {
        let Strange { name, stream, knobs, reads, ends_after } = strange;
        let (body, asked) = (chat(stream, &knobs), Instant::now());
        let mut heard = asked;
        let mut unread = None;
        let user_id = match reads {
            Reads::AsItComes => {
                let (user_id, answer) = self.head(&user_id, &body).await;
                let expected = if name == "no head" { 504 } else { 200 };
                assert_eq!(answer.status(), expected, "{name}");
                if expected == 200 {
                    heard = Instant::now();
                }
                let whole = read_away(answer).await;
                assert_eq!(whole, ends_after.is_none() || name == "no head", "{name}");
                user_id
            }
            Reads::Slowly => {
                let (user_id, mut connection) = self.narrow_head(&user_id, &body).await;
                let reading = async {
                    let mut piece = vec![0; 64 * 1024];
                    while connection.read(&mut piece).await.is_ok_and(|bytes| bytes > 0) {
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                };
                // It reads on for a while from what lies in between.
                let closing = async {
                    self.closed_upstream(&simulator, &user_id, asked).await;
                    self.ended(name, (asked, asked), ends_after.unwrap(), GRACE_SECONDS);
                };
                tokio::join!(reading, closing);
                return;
            }
            Reads::Never => {
                let (user_id, connection) = self.narrow_head(&user_id, &body).await;
                unread = Some(connection);
                user_id
            }
        };
        if let Some(seconds) = ends_after.filter(|_| unread.is_none()) {
            self.ended(name, (asked, heard), seconds, GRACE_SECONDS);
        }
        self.closed_upstream(&simulator, &user_id, asked).await;
        if let Some(seconds) = ends_after {
            let grace = if unread.is_some() { FILLING_SECONDS } else { GRACE_SECONDS };
            self.ended(name, (asked, heard), seconds, grace);
        }
    }

    /// Waits until the bill has what the user asked at that time: when its connection is closed, and not before.
    async fn closed_upstream(&self, simulator: &Simulator, user_id: &str, asked: Instant) {
        let user = Some(external_user(user_id));
        while !simulator.truth().iter().any(|charge| charge.external_user == user) {
            assert!(asked.elapsed() < PATIENCE, "{user_id} goes on upstream");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Reads to the end, keeping nothing; answers whether it was a proper one.
async fn read_away(mut answer: reqwest::Response) -> bool {
    loop {
        match answer.chunk().await {
            Ok(Some(_)) => {}
            end => return end.is_ok(),
        }
    }
}

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
const NEXT_DAY: &str = "+25h x120";

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
    let _sidecar = setup.clone().on_clock(NEXT_DAY).start().await;
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
