//! One run: the targets take turns under each load.

use anyhow::Context as _;
use openrouter_sim::{Knobs, Simulator};
use serde::Serialize;
use tokio::time::{Duration, sleep};

use crate::books::{self, Judgement};
use crate::figures::{AtRate, Memory, Saturation, Streaming};
use crate::load::{self, Calls, Streamed};
use crate::plan::Plan;
use crate::target::Target;

/// Before idle memory is looked at, and after the last stream.
pub(crate) const REST: Duration = Duration::from_secs(1);

/// All figures of a run.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    pub(crate) targets: Vec<Figures>,
}

/// All figures of a target.
#[derive(Debug, Serialize)]
pub(crate) struct Figures {
    pub(crate) name: &'static str,
    pub(crate) saturation: Saturation,
    pub(crate) rates: Vec<AtRate>,
    pub(crate) streams: Vec<Streaming>,
    /// `None` where the target has no process.
    pub(crate) memory: Option<Memory>,
    pub(crate) books: Vec<Judgement>,
}

/// A target with what has been measured of it so far.
struct Measured {
    target: Target,
    memory: Memory,
    books: Vec<Judgement>,
    saturation: Calls,
    rates: Vec<Calls>,
    streams: Vec<Streamed>,
}

impl Measured {
    async fn new(target: Target, plan: &Plan) -> Self {
        sleep(REST).await;
        Self {
            memory: Memory { idle_kib: target.resident_kib(), afterwards_kib: 0 },
            target,
            books: Vec::new(),
            saturation: Calls::default(),
            rates: vec![Calls::default(); plan.rates.len()],
            streams: vec![Streamed::default(); plan.streams.len()],
        }
    }

    fn into_figures(self, plan: &Plan) -> Figures {
        let rates = plan.rates.iter().zip(self.rates);
        let streams = plan.streams.iter().zip(self.streams);
        Figures {
            name: self.target.name,
            saturation: self.saturation.into_saturation(),
            rates: rates
                .map(|(rate, calls)| AtRate {
                    calls_per_second: *rate,
                    latency: calls.latency.percentiles(),
                    errors: calls.errors,
                })
                .collect(),
            streams: streams
                .map(|(load, streamed)| Streaming {
                    streams: load.count,
                    first_chunk: streamed.first_chunk.percentiles(),
                    chunk_delay: streamed.chunk_delay.percentiles(),
                    cpu_us: streamed.cpu_us / u64::from(plan.turns),
                    resident_kib: streamed.resident_kib,
                    without_usage: streamed.without_usage,
                    errors: streamed.errors,
                })
                .collect(),
            memory: self.target.process.is_some().then_some(self.memory),
            books: self.books,
        }
    }
}

/// Measures all targets; each has answered already.
pub(crate) async fn run(simulator: &Simulator, targets: Vec<Target>, plan: &Plan) -> anyhow::Result<Run> {
    let mut measured = Vec::new();
    for target in targets {
        measured.push(Measured::new(target, plan).await);
    }
    let mut evidence = Vec::new();
    for one in &measured {
        say(&format!("calls for the books of {}", one.target.name));
        let made = books::make_evidence(simulator, &one.target, plan.judged_calls).await;
        evidence.push(made.with_context(|| format!("calls for the books of {}", one.target.name))?);
    }
    for (one, evidence) in measured.iter_mut().zip(&evidence) {
        one.books = books::judge(&one.target, evidence).await?;
    }
    take_turns(simulator, &mut measured, plan).await;
    sleep(REST).await;
    for one in &mut measured {
        one.memory.afterwards_kib = one.target.resident_kib();
        one.books.extend(books::judge_all(simulator, &one.target).await?);
    }
    Ok(Run { targets: measured.into_iter().map(|one| one.into_figures(plan)).collect() })
}

async fn take_turns(simulator: &Simulator, measured: &mut [Measured], plan: &Plan) {
    for one in &mut *measured {
        load::saturate(&one.target, plan.callers, plan.warm_up, &mut Calls::default()).await;
    }
    for turn in 1..=plan.turns {
        say(&format!("turn {turn} of {}: {} callers", plan.turns, plan.callers));
        for one in &mut *measured {
            load::saturate(&one.target, plan.callers, plan.turn, &mut one.saturation).await;
        }
        for (number, rate) in plan.rates.iter().enumerate() {
            say(&format!("turn {turn} of {}: {rate} calls a second", plan.turns));
            for one in &mut *measured {
                let Some(calls) = one.rates.get_mut(number) else { continue };
                load::at_rate(&one.target, *rate, plan.turn, calls).await;
            }
        }
        for (number, streams) in plan.streams.iter().enumerate() {
            say(&format!("turn {turn} of {}: {} streams", plan.turns, streams.count));
            simulator.set_knobs(streams.knobs());
            for one in &mut *measured {
                let Some(streamed) = one.streams.get_mut(number) else { continue };
                load::stream(&one.target, *streams, streamed).await;
            }
            simulator.set_knobs(Knobs::default());
        }
    }
}

/// What is going on, for whoever waits.
pub(crate) fn say(what: &str) {
    eprintln!("{what}");
}
