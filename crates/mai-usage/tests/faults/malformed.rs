//! Row 6: streams, costs and settings that are not what they should be.

use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use openrouter_sim::{Options, Simulator};
use serde_json::{Value, json};
use sqlx::FromRow;
use tokio::task::JoinSet;

use crate::callers::{chat, question};
use crate::checker::{calls_in, check_roll_up, connect, verify};
use crate::dice::Dice;
use crate::raw_upstream::{Heard, LATE_COST, Pieces, RawUpstream};
use crate::sidecar::{Setup, client};
use crate::trial::{Outcome, Trial};
use crate::{decimals, replayed};

/// [`LATE_COST`] in pico-dollars.
const LATE_PICO: i64 = 62_500_000_000;

/// The cost that the first of two usages tells.
const FIRST_PICO: i64 = 500_000_000_000;

/// Longer than the longest line that is read.
const LONG_LINE: usize = 10 * 1024 * 1024;

/// Longer than the longest body that is read.
const LONG_BODY: usize = 17 * 1024 * 1024;

/// How a cost is written, and what it is in pico-dollars; `None` is unknown.
struct CostText {
    text: Option<&'static str>,
    pico: Option<i64>,
    /// False where nothing of the JSON around it can be read.
    is_json: bool,
}

const fn cost(text: &'static str, pico: Option<i64>) -> CostText {
    CostText { text: Some(text), pico, is_json: true }
}

const COSTS: [CostText; 24] = [
    cost("0.000125", Some(125_000_000)),
    CostText { text: None, pico: None, is_json: true },
    cost("null", None),
    cost("\"\"", None),
    cost("\"0.5\"", None),
    cost("-0.5", None),
    cost("-1e-13", None),
    cost("1e400", None),
    cost("1e-13", Some(0)),
    cost("1e-999999999999", Some(0)),
    cost("0.12345678901234567", Some(123_456_789_012)),
    cost("0.0000000000025", Some(2)),
    cost("0.0000000000035", Some(4)),
    cost("0", Some(0)),
    cost("-0.0", Some(0)),
    cost("8e-8", Some(80_000)),
    cost("1E+2", Some(100_000_000_000_000)),
    cost("9300000", None),
    cost("0.00000000000000000000000000000000000000000000000000000000000000000001", None),
    cost("true", None),
    cost("{\"cost\":0.5}", None),
    cost("[0.5]", None),
    CostText { text: Some("NaN"), pico: None, is_json: false },
    CostText { text: Some("01"), pico: None, is_json: false },
];

/// The shape of an answer.
struct Shape {
    name: &'static str,
    stream: bool,
    /// Lines of the head: content type and what else.
    head: &'static str,
    /// The body from the generation id and the member `usage`.
    body: fn(&str, &str) -> Vec<u8>,
    told: Told,
}

/// What of a shape can be read.
#[derive(Clone, Copy, PartialEq)]
enum Told {
    /// The id, and the cost if it is one.
    All,
    /// The same, and where the last cost is none, [`FIRST_PICO`].
    AllTwice,
    /// The id alone.
    Id,
    Nothing,
}

const EVENTS: &str = "content-type: text/event-stream\r\n";
const JSON: &str = "content-type: application/json\r\n";

/// A stream of events: the first with the id, one with text, `last`, `[DONE]`.
fn events(id: &str, last: &str) -> String {
    format!("{}{last}data: [DONE]\n\n", opening(id))
}

fn opening(id: &str) -> String {
    format!(
        ": OPENROUTER PROCESSING\n\ndata: {{\"id\":\"{id}\",\"created\":1790000000,\"choices\":[]}}\n\n{}",
        delta("ż\\n\\\"usage\\\"")
    )
}

fn delta(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{text}\"}}}}]}}\n\n")
}

fn last(id: &str, usage: &str) -> String {
    format!("data: {{\"id\":\"{id}\",\"choices\":[{{\"delta\":{{}}}}]{usage}}}\n\n")
}

fn with_bytes(before: &str, bytes: &[u8], behind: &str) -> Vec<u8> {
    [before.as_bytes(), bytes, behind.as_bytes()].concat()
}

const fn stream(name: &'static str, told: Told, body: fn(&str, &str) -> Vec<u8>) -> Shape {
    Shape { name, stream: true, head: EVENTS, body, told }
}

const fn plain(name: &'static str, told: Told, body: fn(&str, &str) -> Vec<u8>) -> Shape {
    Shape { name, stream: false, head: JSON, body, told }
}

const SOUND_STREAM: Shape =
    stream("a stream", Told::All, |id, usage| events(id, &last(id, usage)).into_bytes());
const SOUND_BODY: Shape =
    plain("a body", Told::All, |id, usage| format!("{{\"id\":\"{id}\",\"choices\":[]{usage}}}").into_bytes());

#[rustfmt::skip]
const SHAPES: [Shape; 57] = [
    SOUND_STREAM,
    stream("CR LF", Told::All, |id, usage| events(id, &last(id, usage)).replace('\n', "\r\n").into_bytes()),
    // Allowed by the standard of such streams, and written by nobody: what is not read is asked for.
    stream("CR alone", Told::Nothing, |id, usage| events(id, &last(id, usage)).replace('\n', "\r").into_bytes()),
    stream("invalid UTF-8 in the text", Told::All, |id, usage| {
        with_bytes(&opening(id), b"data: {\"choices\":[{\"delta\":{\"content\":\"\xff\xc0\xaf\xed\xa0\x80\"}}]}\n\n", &last(id, usage))
    }),
    stream("invalid UTF-8 beside the usage", Told::Id, |id, usage| {
        with_bytes(&opening(id), b"data: {\"choices\":[\"\xff\"]", &format!("{usage}}}\n\ndata: [DONE]\n\n"))
    }),
    stream("half a character at the end", Told::All, |id, usage| with_bytes(&events(id, &last(id, usage)), b"data: \xc5", "")),
    stream("usage without choices", Told::All, |id, usage| events(id, &format!("data: {{\"choices\":[]{usage}}}\n\n")).into_bytes()),
    stream("two usages, the last one counts", Told::AllTwice, |id, usage| {
        events(id, &format!("data: {{\"usage\":{{\"cost\":0.5}}}}\n\n{}", last(id, usage))).into_bytes()
    }),
    stream("two usages, the last one empty", Told::All, |id, usage| {
        events(id, &format!("{}data: {{\"usage\":null}}\n\n", last(id, usage))).into_bytes()
    }),
    stream("usage before the text", Told::All, |id, usage| events(id, &format!("{}{}", last(id, usage), delta("x"))).into_bytes()),
    stream("a line of 10 MiB", Told::All, |id, usage| events(id, &(delta(&"x".repeat(LONG_LINE)) + &last(id, usage))).into_bytes()),
    stream("usage in a line of 10 MiB", Told::Id, |id, usage| {
        events(id, &format!("data: {{\"x\":\"{}\"{usage}}}\n\n", "x".repeat(LONG_LINE))).into_bytes()
    }),
    stream("only an error", Told::Id, |id, _| {
        format!("data: {{\"id\":\"{id}\",\"error\":{{\"code\":502,\"message\":\"x\"}}}}\n\n").into_bytes()
    }),
    stream("an error, then usage", Told::All, |id, usage| {
        events(id, &format!("data: {{\"error\":{{\"code\":502}}}}\n\n{}", last(id, usage))).into_bytes()
    }),
    stream("no [DONE]", Told::All, |id, usage| (opening(id) + &last(id, usage)).into_bytes()),
    stream("no end of the last line", Told::All, |id, usage| (opening(id) + last(id, usage).trim_end()).into_bytes()),
    stream("usage behind [DONE]", Told::All, |id, usage| events(id, "data: [DONE]\n\n").into_bytes().into_iter().chain(last(id, usage).into_bytes()).collect()),
    stream("no blank behind data:", Told::All, |id, usage| events(id, &last(id, usage)).replace("data: ", "data:").into_bytes()),
    stream("event names, ids, comments", Told::All, |id, usage| {
        events(id, &last(id, usage)).replace("data: {", ": x\nevent: chunk\nid: 7\nretry: 1\ndata: {").into_bytes()
    }),
    stream("a byte order mark", Told::All, |id, usage| format!("\u{feff}{}", events(id, &last(id, usage))).into_bytes()),
    stream("usage in two lines", Told::Id, |id, usage| events(id, &format!("data: {{\"choices\":[]\ndata: {usage}}}\n\n")).into_bytes()),
    stream("usage cut off", Told::Id, |id, usage| (opening(id) + last(id, usage).trim_end().trim_end_matches('}')).into_bytes()),
    stream("garbage between", Told::All, |id, usage| {
        events(id, &format!("data: {{\"usage\"\n\n}}\n\ndata: \"error\"\n\ndata\n\n{}", last(id, usage))).into_bytes()
    }),
    stream("zero bytes", Told::All, |id, usage| events(id, &format!("\0\0\ndata: \0\n\n{}", last(id, usage))).into_bytes()),
    stream("usage as a list", Told::Id, |id, usage| {
        events(id, &last(id, &format!(",\"usage\":[{{\"x\":1{usage}}}]"))).into_bytes()
    }),
    stream("usage as text", Told::Id, |id, _| events(id, &last(id, ",\"usage\":\"cost 0.5\"")).into_bytes()),
    stream("usage twice in one object", Told::All, |id, usage| events(id, &last(id, &format!(",\"usage\":{{\"cost\":9}}{usage}"))).into_bytes()),
    stream("usage under an escaped name", Told::Id, |id, usage| events(id, &last(id, &usage.replace("usage", "us\\u0061ge"))).into_bytes()),
    stream("usage only in the text", Told::Id, |id, usage| events(id, &delta(&usage.replace('"', "\\\""))).into_bytes()),
    stream("usage beside deep nesting", Told::All, |id, usage| {
        events(id, &last(id, &format!(",\"x\":{}1{}{usage}", "[".repeat(500), "]".repeat(500)))).into_bytes()
    }),
    stream("nothing at all", Told::Nothing, |_, _| Vec::new()),
    stream("only [DONE]", Told::Nothing, |_, _| b"data: [DONE]\n\n".to_vec()),
    stream("a page of HTML as a stream", Told::Nothing, |_, usage| format!("<html>data: {usage}</html>\n").into_bytes()),
    Shape { name: "gzip instead of a stream", head: "content-type: text/event-stream\r\ncontent-encoding: gzip\r\n", ..stream("", Told::Nothing, gzip) },
    Shape { name: "a stream under no name", head: "", ..stream("", Told::Nothing, |id, usage| events(id, &last(id, usage)).into_bytes()) },
    Shape { name: "a stream as JSON", head: JSON, ..stream("", Told::Nothing, |id, usage| events(id, &last(id, usage)).into_bytes()) },
    SOUND_BODY,
    plain("lines and blanks", Told::All, |id, usage| format!("\r\n {{\r\n\t\"id\" : \"{id}\"\r\n{usage} }}\r\n\r\n").into_bytes()),
    plain("invalid UTF-8 in a body", Told::Nothing, |id, usage| with_bytes(&format!("{{\"id\":\"{id}\",\"x\":\""), b"\xff\xfe", &format!("\"{usage}}}"))),
    Shape { name: "gzip instead of a body", head: "content-type: application/json\r\ncontent-encoding: gzip\r\n", ..plain("", Told::Nothing, gzip) },
    Shape { name: "a page of HTML with 200", head: "content-type: text/html\r\n", ..plain("", Told::Nothing, page) },
    plain("a page of HTML as JSON", Told::Nothing, page),
    plain("only an error in a body", Told::Id, |id, _| format!("{{\"id\":\"{id}\",\"error\":{{\"code\":502,\"message\":\"x\"}}}}").into_bytes()),
    plain("an error beside usage", Told::All, |id, usage| format!("{{\"id\":\"{id}\",\"error\":{{\"code\":502}}{usage}}}").into_bytes()),
    plain("a body of 10 MiB", Told::All, |id, usage| format!("{{\"x\":\"{}\",\"id\":\"{id}\"{usage}}}", "x".repeat(LONG_LINE)).into_bytes()),
    plain("a body of 17 MiB", Told::Nothing, |id, usage| format!("{{\"id\":\"{id}\"{usage},\"x\":\"{}\"}}", "x".repeat(LONG_BODY)).into_bytes()),
    plain("a body cut off", Told::Nothing, |id, usage| format!("{{\"id\":\"{id}\"{usage}").into_bytes()),
    plain("something behind the body", Told::Nothing, |id, usage| format!("{{\"id\":\"{id}\"{usage}}}{{}}").into_bytes()),
    plain("an empty body", Told::Nothing, |_, _| Vec::new()),
    plain("a byte order mark before a body", Told::Nothing, |id, usage| format!("\u{feff}{{\"id\":\"{id}\"{usage}}}").into_bytes()),
    plain("two usages in a body", Told::All, |id, usage| format!("{{\"usage\":{{\"cost\":0.5}},\"id\":\"{id}\"{usage}}}").into_bytes()),
    plain("a list", Told::Nothing, |id, usage| format!("[{{\"id\":\"{id}\"{usage}}}]").into_bytes()),
    plain("a body in a body", Told::All, |id, usage| format!("{{\"type\":\"x\",\"response\":{{\"id\":\"{id}\"{usage}}}}}").into_bytes()),
    plain("deep nesting in a body", Told::All, |id, usage| {
        format!("{{\"id\":\"{id}\",\"x\":{}1{}{usage}}}", "[".repeat(500), "]".repeat(500)).into_bytes()
    }),
    Shape { name: "a body under no name", head: "", ..plain("", Told::Nothing, SOUND_BODY.body) },
    Shape { name: "a body as a stream", head: EVENTS, ..plain("", Told::Nothing, SOUND_BODY.body) },
    Shape { name: "problem details", head: "content-type: application/problem+json; charset=UTF-8\r\n", ..plain("", Told::All, SOUND_BODY.body) },
];

/// The beginning of a compressed answer; what is in it does not matter, as nobody asked for it.
fn gzip(id: &str, usage: &str) -> Vec<u8> {
    with_bytes("", b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xcb\0\n\r\n", &format!("{id}{usage}"))
}

fn page(_: &str, usage: &str) -> Vec<u8> {
    format!("<!doctype html>\r\n<html><body>502 {usage}</body></html>").into_bytes()
}

/// How a body is framed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Framing {
    Length,
    /// In chunks as long as this, with extensions and a trailer.
    Chunks(usize),
    /// It ends where the connection ends.
    Close,
}

const FRAMINGS: [Framing; 5] =
    [Framing::Length, Framing::Chunks(usize::MAX), Framing::Chunks(37), Framing::Chunks(1), Framing::Close];

/// One answer.
struct Case {
    number: usize,
    shape: &'static Shape,
    cost: &'static CostText,
    framing: Framing,
    id_in_head: bool,
    /// What of the bytes is written at once.
    cuts: u64,
}

impl Case {
    fn id(&self) -> String {
        format!("gen-1790000000-case{}", self.number)
    }

    fn user_id(&self) -> String {
        format!("case {}", self.number)
    }

    fn body(&self) -> Vec<u8> {
        let cost = self.cost.text.map(|text| format!(",\"cost\":{text}")).unwrap_or_default();
        let usage = format!(",\"usage\":{{\"prompt_tokens\":20,\"completion_tokens\":2{cost}}}");
        (self.shape.body)(&self.id(), &usage)
    }

    /// Head and body as they go over the wire, cut into pieces: some of the cuts are within the usage.
    fn pieces(&self) -> Pieces {
        const CUTS: usize = 6;
        let body = self.body();
        let mut head = format!("HTTP/1.1 200 OK\r\n{}connection: close\r\n", self.shape.head);
        if self.id_in_head {
            let _ = write!(head, "X-Generation-Id: {}\r\n", self.id());
        }
        let framed = match self.framing {
            Framing::Length => {
                let _ = write!(head, "content-length: {}\r\n", body.len());
                body
            }
            Framing::Close => body,
            Framing::Chunks(size) => {
                head.push_str("transfer-encoding: chunked\r\n");
                in_chunks(&body, size)
            }
        };
        let bytes = [head.as_bytes(), b"\r\n", &framed].concat();
        let (mut dice, mut cuts) = (Dice::new(self.cuts), vec![0, bytes.len()]);
        let usage = memchr::memmem::rfind(&bytes, b"usage").unwrap_or(0);
        for turn in 0..CUTS {
            let (from, length) = if turn % 2 == 0 { (usage, 60) } else { (0, bytes.len()) };
            let step = dice.roll(u64::try_from(length).unwrap());
            cuts.push((from + usize::try_from(step).unwrap()).min(bytes.len()));
        }
        cuts.sort_unstable();
        cuts.windows(2).map(|pair| bytes[pair[0]..pair[1]].to_vec()).collect()
    }

    /// The state of its call, and the cost where it is known.
    fn expected(&self) -> (&'static str, Option<i64>) {
        let Self { shape, cost, .. } = self;
        let pico = match shape.told {
            Told::All => cost.pico,
            Told::AllTwice => cost.pico.or(Some(FIRST_PICO)),
            Told::Id | Told::Nothing => None,
        };
        // A body of which a part is no JSON is none at all; of a stream only that line.
        let id_told = shape.told != Told::Nothing && (shape.stream || cost.is_json || shape.told == Told::Id);
        match pico {
            Some(_) => ("settled", pico),
            None if id_told || self.id_in_head => ("open", None),
            None => ("orphan", None),
        }
    }
}

/// The body in chunks. Many small ones only at its end, where the usage is: a long body would take for ever.
fn in_chunks(body: &[u8], size: usize) -> Vec<u8> {
    const CHUNKS: usize = 1_000;
    let (first, rest) = body.split_at(body.len().saturating_sub(size.saturating_mul(CHUNKS)));
    let mut framed = Vec::with_capacity(body.len() + 16 * CHUNKS);
    for chunk in [first].into_iter().chain(rest.chunks(size)).filter(|chunk| !chunk.is_empty()) {
        framed.extend_from_slice(format!("{:X};name=\"value\"\r\n", chunk.len()).as_bytes());
        framed.extend_from_slice(chunk);
        framed.extend_from_slice(b"\r\n");
    }
    framed.extend_from_slice(b"0\r\nx-trailer: 1\r\n\r\n");
    framed
}

/// Every shape once, every cost in a sound stream and a sound body, and as many more as are wanted.
fn cases(more: usize, dice: &mut Dice) -> Vec<Case> {
    const SOUND: [Shape; 2] = [SOUND_STREAM, SOUND_BODY];
    static ALL: [Shape; 57] = SHAPES;
    static BOTH: [Shape; 2] = SOUND;
    static EVERY: [CostText; 24] = COSTS;
    let each = ALL.iter().enumerate().map(|(place, shape)| (shape, &EVERY[place % EVERY.len()]));
    let costs = BOTH.iter().flat_map(|shape| EVERY.iter().map(move |cost| (shape, cost)));
    let mut pairs: Vec<_> = each.chain(costs).collect();
    for _ in 0..more {
        pairs.push((dice.pick(&ALL), dice.pick(&EVERY)));
    }
    let with_number = |(number, (shape, cost))| Case {
        number,
        shape,
        cost,
        framing: FRAMINGS[(number + number / FRAMINGS.len()) % FRAMINGS.len()],
        id_in_head: dice.roll(2) == 0,
        cuts: dice.roll(u64::MAX),
    };
    pairs.into_iter().enumerate().map(with_number).collect()
}

/// The answer to the case that a request names.
fn answer(cases: &[Case], request: &Heard) -> Pieces {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let number = usize::try_from(body["case"].as_u64().unwrap()).unwrap();
    let identity = request.head.to_ascii_lowercase().contains("accept-encoding: identity");
    assert!(identity, "encodings were asked for: {}", request.head);
    cases[number].pieces()
}

/// Asks for a case and compares what came with what was sent.
async fn ask(http: reqwest::Client, setup: (std::net::SocketAddr, Arc<Vec<Case>>), number: usize) {
    let (proxy, cases) = setup;
    let case = &cases[number];
    let mut body = chat(case.shape.stream, &json!({}));
    body["case"] = number.into();
    let answer = question(&http, proxy, &case.user_id(), &body).send().await.unwrap();
    let what = format!("{} with a cost of {:?}, {:?}", case.shape.name, case.cost.text, case.framing);
    assert_eq!(answer.status().as_u16(), 200, "{what}");
    for line in case.shape.head.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        assert_eq!(answer.headers()[name], value, "{what}");
    }
    let id = answer.headers().get("x-generation-id").map(|id| id.to_str().unwrap().to_owned());
    assert_eq!(id, case.id_in_head.then(|| case.id()), "{what}");
    let received = answer.bytes().await.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(received == case.body(), "the bytes differ: {what}");
}

/// A call as it is found.
#[derive(Debug, FromRow, PartialEq)]
struct Booked {
    user_id: String,
    state: String,
    generation_id: Option<String>,
    cost_text: Option<String>,
    cost_exact: Option<bool>,
    cost_pico_usd: Option<i64>,
}

async fn booked(database: &Path) -> Vec<Booked> {
    const CALLS: &str =
        "SELECT calls.user_id, state, calls.generation_id, cost_text, cost_exact, cost_pico_usd
        FROM calls LEFT JOIN entries ON entries.call_id = calls.id";
    let mut connection = connect(database).await;
    sqlx::query_as(CALLS).fetch_all(&mut connection).await.unwrap()
}

/// Every case is booked as it was told: a cost that was not told is unknown, not nothing. The states of all.
async fn compare(database: &Path, cases: &[Case], late: bool) -> [usize; 3] {
    let booked = booked(database).await;
    assert_eq!(booked.len(), cases.len());
    let mut counts = [0; 3];
    for case in cases {
        let call = booked.iter().find(|call| call.user_id == case.user_id()).unwrap();
        let (mut state, mut pico) = case.expected();
        let told = pico.is_some();
        if late && state == "open" {
            (state, pico) = ("settled", Some(LATE_PICO));
        }
        let what = format!("{} with a cost of {:?}: {call:?}", case.shape.name, case.cost.text);
        assert_eq!((call.state.as_str(), call.cost_pico_usd), (state, pico), "{what}");
        let known = state == "open" || case.id_in_head;
        assert!(!known || call.generation_id.as_deref() == Some(case.id().as_str()), "{what}");
        if told && case.cost.pico == pico {
            assert_eq!(call.cost_text.as_deref(), case.cost.text, "{what}");
            let shortest = case.cost.text.unwrap();
            let rounded =
                ["1e-13", "1e-999999999999", "0.12345678901234567", "0.0000000000025", "0.0000000000035"];
            assert_eq!(call.cost_exact, Some(!rounded.contains(&shortest)), "{what}");
        } else if late && pico == Some(LATE_PICO) {
            assert_eq!(call.cost_text.as_deref(), Some(LATE_COST), "{what}");
        }
        counts[["settled", "open", "orphan"].iter().position(|known| *known == state).unwrap()] += 1;
    }
    counts
}

/// All cases through one sidecar; then what was left open is asked for.
async fn answers(trial: &Trial) -> String {
    const AT_ONCE: usize = 8;
    let mut dice = trial.dice();
    let cases = Arc::new(cases(trial.depth(0, 200), &mut dice));
    let prepared = cases.clone();
    let upstream = RawUpstream::start(move |request| answer(&prepared, request)).await;
    // The simulator is not asked; it only lends its name to the setup.
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let mut setup = Setup::new(trial, &simulator).with("POLL_INTERVAL", "86400");
    setup.upstream = upstream.base_url();
    let mut sidecar = setup.start().await;
    let (http, mut callers) = (client(), JoinSet::new());
    for number in 0..cases.len() {
        if callers.len() == AT_ONCE {
            callers.join_next().await.unwrap().unwrap();
        }
        callers.spawn(ask(http.clone(), (sidecar.proxy, cases.clone()), number));
    }
    callers.join_all().await;
    while calls_in(&setup.database, &["intent"]).await > 0 || under_way(&http, sidecar.usage).await > 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let [settled, open, orphans] = compare(&setup.database, &cases, false).await;
    let health = health(&http, sidecar.usage).await;
    assert_eq!(health["calls"]["open"], open, "unknown is not shown as unknown: {health}");
    assert_eq!(health["calls"]["orphan"], orphans, "{health}");
    assert!(settled > 20 && open > 20 && orphans > 5, "{settled} {open} {orphans}");
    sidecar.terminate();
    assert!(sidecar.ended().await.success());
    upstream.know_costs();
    let _sidecar = setup.heal().await;
    compare(&setup.database, &cases, true).await;
    check_roll_up(&setup.database).await;
    verify(&setup.database);
    let log = std::fs::read(trial.path("sidecar.log")).unwrap();
    assert!(memchr::memmem::find(&log, b"panicked").is_none(), "something panicked");
    format!(
        "{} answers ({} shapes, {} costs): bytes identical, {settled} settled, {open} unknown and asked for later, {orphans} \
         orphans, 0 at a cost that was not told",
        cases.len(),
        SHAPES.len(),
        COSTS.len()
    )
}

async fn health(http: &reqwest::Client, usage: std::net::SocketAddr) -> Value {
    let answer = http.get(format!("http://{usage}/health")).send().await.unwrap();
    serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap()
}

async fn under_way(http: &reqwest::Client, usage: std::net::SocketAddr) -> i64 {
    health(http, usage).await["calls"]["under_way"].as_i64().unwrap()
}

/// Row 6.
pub(crate) async fn answers_and_costs(trial: Trial) -> Outcome {
    let answers = answers(&trial).await;
    let (count, each) = (trial.depth(50_000, 1_000_000), trial.depth(200, 10_000));
    let Some(decimals) = decimals::beside_python(count, trial.dice(), trial.folder.path()) else {
        return Outcome::Skipped("python3, the second reader of decimals, is not installed".to_owned());
    };
    let replayed = replayed::all(each, trial.dice());
    Outcome::Counts(format!("{answers}; {decimals}; {replayed} inputs of the fuzz targets replayed"))
}
