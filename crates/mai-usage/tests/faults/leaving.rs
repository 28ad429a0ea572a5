//! Row 4: clients that leave at every phase.

use std::net::SocketAddr;
use std::time::Duration;

use openrouter_sim::{Options, Simulator};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::callers::{History, Seen, ask, ask_until, chat, question};
use crate::checker::{calls_in, check, outcomes, wait_closed};
use crate::dice::Dice;
use crate::secrets::TOKEN;
use crate::sidecar::{Setup, Sidecar, client};
use crate::trial::{Outcome, Trial};

const CALLERS: usize = 32;

/// The longest wait for a head, and for the client that does not wait so long.
const HEAD_DELAY_MS: u64 = 40;

/// What a stream costs that was left, by the provider's habit.
const HABITS: [&str; 3] = ["sent_tokens", "full", "nothing"];

/// When a client leaves.
#[derive(Clone, Debug)]
enum Leaving {
    /// So many bytes of its request have been sent.
    Asking { bytes: usize },
    /// So long after it has asked; the head comes after 40 ms.
    BeforeHead { stream: bool, after_ms: u64 },
    /// Exactly so many bytes of a stream have come, and no more will.
    Stream { bytes: usize, habit: &'static str },
    /// So many bytes of a plain answer have come, which goes on.
    Plain { bytes: usize },
    /// It has seen `[DONE]` and does not wait for the end of the body.
    Done,
}

/// The lengths of the whole answers.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    stream: usize,
    plain: usize,
}

/// Row 4.
pub(crate) async fn at_every_phase(trial: Trial) -> Outcome {
    let calls = trial.depth(200, 10_000);
    let simulator = Simulator::start(Options::default()).await.unwrap();
    let setup = Setup::new(&trial, &simulator).with("LOG_LEVEL", trial.depth("trace", "info"));
    let mut sidecar = setup.start().await;
    let lengths = lengths(&sidecar).await;
    let plans = plans(calls, lengths, &mut trial.dice());
    let (history, mut callers) = (History::default(), JoinSet::new());
    let shares = plans.chunks(calls.div_ceil(CALLERS)).map(<[Leaving]>::to_vec).enumerate();
    for (caller, plans) in shares {
        callers.spawn(leave_all(sidecar.proxy, format!("user {caller}"), plans, history.clone()));
    }
    callers.join_all().await;
    // What their leaving began goes on without them, and comes to its end by itself.
    wait_closed(&setup.database).await;
    sidecar.terminate();
    assert!(sidecar.ended().await.success());
    let _sidecar = setup.heal().await;

    let history = history.lock().unwrap().clone();
    let counts = check(&setup.database, &simulator.truth(), &history).await;
    let outcomes = outcomes(&setup.database).await;
    let of = |leaving: fn(&Leaving) -> bool| plans.iter().filter(|plan| leaving(plan)).count();
    let left_streams = of(|plan| matches!(plan, Leaving::Stream { .. }));
    assert_eq!(counts.orphans, 0, "a client's leaving must not make an orphan");
    assert_eq!(counts.booked, counts.charges);
    let never_asked = of(|plan| matches!(plan, Leaving::Asking { .. }));
    // Who leaves before the head may leave before the question is there.
    let before_head = of(|plan| matches!(plan, Leaving::BeforeHead { .. }));
    let void = calls_in(&setup.database, &["void"]).await;
    let admitted = counts.booked + usize::try_from(void).unwrap();
    // Two whole calls told the lengths.
    let most = calls - never_asked + 2;
    assert!((most - before_head / 2..=most).contains(&admitted), "{admitted} of {most} calls are recorded");
    assert!(outcomes["client-left"] >= left_streams, "{left_streams} streams were left: {outcomes:?}");
    assert!(counts.heads_seen >= left_streams);
    let cancelled = simulator.truth().iter().filter(|charge| charge.cancelled).count();
    assert!(cancelled >= left_streams / 2, "only {cancelled} streams were stopped");
    Outcome::Counts(format!(
        "{calls} calls left, {counts}; {cancelled} streams stopped, {never_asked} never asked, {void} left before \
         they were sent"
    ))
}

/// Every byte of both answers, as far as `calls` reach; the other phases are one call in five.
fn plans(calls: usize, lengths: Lengths, dice: &mut Dice) -> Vec<Leaving> {
    let below =
        |dice: &mut Dice, sides: usize| usize::try_from(dice.roll(u64::try_from(sides).unwrap())).unwrap();
    // With few calls the bytes lie as many apart as they must, from a start by chance.
    let (mut stream, mut plain) = (below(dice, lengths.stream * HABITS.len()), below(dice, lengths.plain));
    let step = |length: usize, wanted: usize| (length / wanted.max(1)).max(1);
    let (stream_step, plain_step) =
        (step(lengths.stream * HABITS.len(), calls * 7 / 10), step(lengths.plain, calls / 10));
    let planned = |index: usize| match index % 20 {
        0 => Leaving::Asking { bytes: below(dice, 400) },
        1 => Leaving::BeforeHead { stream: true, after_ms: dice.roll(HEAD_DELAY_MS) },
        2 => Leaving::BeforeHead { stream: false, after_ms: dice.roll(HEAD_DELAY_MS) },
        3 => Leaving::Done,
        4 | 5 => {
            plain += plain_step;
            Leaving::Plain { bytes: plain % (lengths.plain + 1) }
        }
        _ => {
            stream += stream_step;
            let habit = HABITS[stream / (lengths.stream + 1) % HABITS.len()];
            Leaving::Stream { bytes: stream % (lengths.stream + 1), habit }
        }
    };
    (0..calls).map(planned).collect()
}

async fn lengths(sidecar: &Sidecar) -> Lengths {
    let whole = async |stream| {
        let asked = question(&client(), sidecar.proxy, "measurer", &chat(stream, &json!({})));
        let seen = ask(asked, "measurer").await.unwrap();
        assert!(seen.whole && seen.status == 200);
        seen.body.len()
    };
    Lengths { stream: whole(true).await, plain: whole(false).await }
}

async fn leave_all(proxy: SocketAddr, user_id: String, plans: Vec<Leaving>, history: History) {
    let http = client();
    for plan in plans {
        let seen = leave(&http, proxy, &user_id, &plan).await;
        history.lock().unwrap().extend(seen);
    }
}

/// Asks, and leaves as planned.
async fn leave(http: &reqwest::Client, proxy: SocketAddr, user_id: &str, plan: &Leaving) -> Option<Seen> {
    let asked = |stream, knobs: &Value| question(http, proxy, user_id, &chat(stream, knobs));
    let (request, bytes) = match *plan {
        Leaving::Asking { bytes } => {
            ask_in_part(proxy, user_id, bytes).await;
            return None;
        }
        Leaving::BeforeHead { stream, after_ms } => {
            let request = asked(stream, &json!({ "head_delay_ms": HEAD_DELAY_MS }));
            let head = tokio::time::timeout(Duration::from_millis(after_ms), request.send()).await;
            drop(head);
            return None;
        }
        Leaving::Stream { bytes, habit } => {
            (asked(true, &json!({ "silent_after_bytes": bytes, "charge_on_abort": habit })), bytes)
        }
        Leaving::Plain { bytes } => {
            (asked(false, &json!({ "frame_bytes": 1, "frame_delay_ms": 1, "head_delay_ms": 1 })), bytes)
        }
        Leaving::Done => return ask_until(asked(true, &json!({})), user_id, ends_with_done).await,
    };
    let seen = ask_until(request, user_id, |body| body.len() >= bytes).await.unwrap();
    assert!(seen.status == 200 && seen.body.len() >= bytes, "{plan:?}: {seen:?}");
    Some(seen)
}

fn ends_with_done(body: &[u8]) -> bool {
    body.ends_with(b"data: [DONE]\n\n")
}

/// Sends the beginning of a question and leaves.
async fn ask_in_part(proxy: SocketAddr, user_id: &str, bytes: usize) {
    let body = chat(true, &json!({})).to_string();
    let whole = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {proxy}\r\nAuthorization: Bearer {TOKEN}\r\n\
         X-OpenWebUI-User-Id: {user_id}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(proxy).await.unwrap();
    stream.write_all(&whole.as_bytes()[..bytes % whole.len()]).await.unwrap();
}
