//! The three loads: callers without a pause, calls at a fixed rate, streams at once.

use std::time::Duration;

use bytes::Bytes;
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep_until};

use crate::client::{Failure, Road};
use crate::events::Heard;
use crate::figures::{Errors, Saturation, Times, us};
use crate::plan::Streams;
use crate::process::Process;
use crate::target::Target;

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What each call asks.
pub(crate) fn body(streamed: bool) -> Bytes {
    // Without `stream_options` some proxies keep the usage to themselves.
    let options = if streamed { r#","stream_options":{"include_usage":true}"# } else { "" };
    let question = "Explain in three sentences why the sky is blue, and what changes at sunset.";
    let messages = format!(
        r#"[{{"role":"system","content":"You are a helpful assistant."}},{{"role":"user","content":"{question}"}}]"#
    );
    format!(r#"{{"model":"example/small-model","stream":{streamed}{options},"messages":{messages}}}"#).into()
}

/// Calls of one load on one target, from all its turns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Calls {
    pub(crate) done: u64,
    pub(crate) wall_us: u64,
    pub(crate) cpu_us: u64,
    pub(crate) latency: Times,
    pub(crate) errors: Errors,
}

/// Streams of one load on one target, from all its turns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Streamed {
    pub(crate) first_chunk: Times,
    pub(crate) chunk_delay: Times,
    pub(crate) cpu_us: u64,
    pub(crate) resident_kib: u64,
    pub(crate) without_usage: u64,
    pub(crate) errors: Errors,
}

impl Calls {
    fn add(&mut self, outcome: Result<Duration, Failure>) {
        match outcome {
            Ok(time) => {
                self.done += 1;
                self.latency.add(time);
            }
            Err(failure) => self.errors.add(&failure),
        }
    }

    pub(crate) fn into_saturation(self) -> Saturation {
        Saturation {
            calls: self.done,
            wall_us: self.wall_us,
            cpu_us: self.cpu_us,
            latency: self.latency.percentiles(),
            errors: self.errors,
        }
    }
}

/// `callers` ask one call after the other for so long.
pub(crate) async fn saturate(target: &Target, callers: usize, turn: Duration, calls: &mut Calls) {
    let (began, cpu_before) = (Instant::now(), target.cpu());
    let mut at_work = JoinSet::new();
    for _ in 0..callers {
        at_work.spawn(ask_until(target.road.clone(), began + turn));
    }
    while let Some(outcomes) = at_work.join_next().await {
        let outcomes = outcomes.unwrap_or_else(|died| vec![Err(died.into())]);
        for outcome in outcomes {
            calls.add(outcome);
        }
    }
    calls.wall_us += us(began.elapsed());
    calls.cpu_us += us(target.cpu().saturating_sub(cpu_before));
}

async fn ask_until(road: Road, end: Instant) -> Vec<Result<Duration, Failure>> {
    /// A target that refuses at once is not asked as fast as it can refuse.
    const REST: Duration = Duration::from_millis(10);
    let (body, mut outcomes) = (body(false), Vec::new());
    while Instant::now() < end {
        let began = Instant::now();
        let outcome = road.call(&body).await.map(|()| began.elapsed());
        if outcome.is_err() {
            tokio::time::sleep(REST).await;
        }
        outcomes.push(outcome);
    }
    outcomes
}

/// `rate` calls a second for so long, evenly spaced, whether the ones before have ended or not. A call is timed from the
/// moment when it was due: a target (or this load) that falls behind shows in every call that had to wait.
pub(crate) async fn at_rate(target: &Target, rate: u32, turn: Duration, calls: &mut Calls) {
    let began = Instant::now();
    let space = Duration::from_secs(1) / rate;
    let mut under_way = JoinSet::new();
    for number in 0.. {
        let due = began + space * number;
        if due >= began + turn {
            break;
        }
        sleep_until(due).await;
        let (road, body) = (target.road.clone(), body(false));
        under_way.spawn(async move { road.call(&body).await.map(|()| due.elapsed()) });
    }
    while let Some(outcome) = under_way.join_next().await {
        calls.add(outcome.unwrap_or_else(|died| Err(died.into())));
    }
}

/// Streams that begin one after the other and then run at once.
pub(crate) async fn stream(target: &Target, streams: Streams, streamed: &mut Streamed) {
    let cpu_before = target.cpu();
    let mut under_way = begin(target, streams);
    let mut look = interval(LOOK);
    loop {
        tokio::select! {
            biased;
            ended = under_way.join_next() => match ended {
                Some(outcome) => streamed.add(outcome.unwrap_or_else(|died| Err(died.into()))),
                None => break,
            },
            _ = look.tick() => {
                let resident_kib = target.process.as_ref().map_or(0, Process::resident_kib);
                streamed.resident_kib = streamed.resident_kib.max(resident_kib);
            }
        }
    }
    streamed.cpu_us += us(target.cpu().saturating_sub(cpu_before));
}

fn begin(target: &Target, streams: Streams) -> JoinSet<Result<Heard, Failure>> {
    let (began, body) = (Instant::now(), body(true));
    let count = u32::try_from(streams.count).unwrap_or(u32::MAX).max(1);
    let space = streams.begin_within / count;
    let mut under_way = JoinSet::new();
    for number in 0..count {
        let (road, body, due) = (target.road.clone(), body.clone(), began + space * number);
        under_way.spawn(async move {
            sleep_until(due).await;
            road.stream(&body, due, usize::MAX).await
        });
    }
    under_way
}

impl Streamed {
    fn add(&mut self, outcome: Result<Heard, Failure>) {
        let heard = match outcome {
            Ok(heard) => heard,
            Err(failure) => return self.errors.add(&failure),
        };
        heard.first_chunk.into_iter().for_each(|time| self.first_chunk.add(time));
        heard.delays_ns.iter().for_each(|delay_ns| self.chunk_delay.add_ns(*delay_ns));
        self.without_usage += u64::from(!heard.usage);
    }
}

#[cfg(test)]
mod tests;
