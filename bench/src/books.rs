//! Whether a target's books equal the bill.

use std::collections::HashMap;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use jiff::ToSpan as _;
use openrouter_sim::{Charge, Knobs, Simulator, UsageKnob};
use serde::Serialize;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::client::Road;
use crate::document::today;
use crate::load::body;
use crate::target::Target;

/// How long books may take to learn a cost that the answer did not tell.
const SETTLING: Duration = Duration::from_mins(1);

const PAUSE: Duration = Duration::from_millis(250);

/// Where a target keeps what its calls cost.
#[derive(Debug)]
pub(crate) enum Books {
    /// Nowhere.
    None,
    /// In mai-usage's ledger.
    UsageApi(UsageApi),
}

/// The usage API of a sidecar, for the operator.
#[derive(Debug)]
pub(crate) struct UsageApi {
    pub(crate) api: Road,
    pub(crate) organisation: &'static str,
}

/// How the calls end by which books are judged.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    WholeCalls,
    WholeStreams,
    LeftByTheCaller,
    CutUpstream,
    UsageWithoutCost,
    NoUsage,
}

/// So many calls and what they cost together.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Serialize)]
pub(crate) struct Sum {
    pub(crate) calls: usize,
    pub(crate) cost_pico_usd: i64,
}

/// The bill beside the books.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Judgement {
    /// `None`: all calls of the run.
    pub(crate) kind: Option<Kind>,
    pub(crate) billed: Sum,
    /// `None` where there are no books.
    pub(crate) booked: Option<Sum>,
    /// Calls that are booked with another cost than the bill's, or not at all.
    pub(crate) wrong_calls: Option<usize>,
}

impl Judgement {
    pub(crate) fn is_equal(&self) -> Option<bool> {
        Some(self.booked? == self.billed && self.wrong_calls.unwrap_or(0) == 0)
    }
}

impl Kind {
    pub(crate) const ALL: [Self; 6] = [
        Self::WholeCalls,
        Self::WholeStreams,
        Self::LeftByTheCaller,
        Self::CutUpstream,
        Self::UsageWithoutCost,
        Self::NoUsage,
    ];

    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::WholeCalls => "whole calls",
            Self::WholeStreams => "whole streams",
            Self::LeftByTheCaller => "streams left by the caller",
            Self::CutUpstream => "streams cut upstream",
            Self::UsageWithoutCost => "usage without cost",
            Self::NoUsage => "no usage",
        }
    }

    fn knobs(self) -> Knobs {
        /// In the middle of the content of 50 chunks.
        const CUT_AFTER_BYTES: usize = 4_000;
        const CHUNKS: usize = 50;
        let stream = Knobs {
            chunks: Some(CHUNKS),
            chunk_delay_ms: Some(2),
            send_times: Some(true),
            ..Knobs::default()
        };
        match self {
            Self::WholeCalls => Knobs::default(),
            Self::WholeStreams | Self::LeftByTheCaller => stream,
            Self::CutUpstream => Knobs { cut_after_bytes: Some(CUT_AFTER_BYTES), ..stream },
            Self::UsageWithoutCost => Knobs { cost: Some("missing".to_owned()), ..stream },
            Self::NoUsage => Knobs { usage: Some(UsageKnob::None), ..stream },
        }
    }

    async fn call(self, road: &Road) {
        const LEFT_AFTER_CHUNKS: usize = 5;
        let most_chunks = if self == Self::LeftByTheCaller { LEFT_AFTER_CHUNKS } else { usize::MAX };
        // Most of these calls are meant to fail; whether they are booked is asked of the books.
        match self {
            Self::WholeCalls => drop(road.call(&body(false)).await),
            _ => drop(road.stream(&body(true), Instant::now(), most_chunks).await),
        }
    }
}

/// What the bill says of calls of every kind that were made to judge the books by.
#[derive(Debug)]
pub(crate) struct Evidence(Vec<(Kind, Vec<Charge>)>);

/// Makes `calls` calls of every kind.
pub(crate) async fn make_evidence(
    simulator: &Simulator,
    target: &Target,
    calls: usize,
) -> anyhow::Result<Evidence> {
    let mut charges = Vec::new();
    for kind in Kind::ALL {
        let before = simulator.truth().len();
        simulator.set_knobs(kind.knobs());
        for _ in 0..calls {
            kind.call(&target.road).await;
        }
        charges.push((kind, billed_since(simulator, before, calls).await?));
    }
    simulator.set_knobs(Knobs::default());
    Ok(Evidence(charges))
}

/// Compares the books with the bill, call by call, once they have learned every cost.
pub(crate) async fn judge(target: &Target, evidence: &Evidence) -> anyhow::Result<Vec<Judgement>> {
    let judge_by = |booked: Option<&HashMap<String, i64>>| -> Vec<Judgement> {
        evidence.0.iter().map(|(kind, charges)| compare(Some(*kind), charges, booked)).collect()
    };
    let Books::UsageApi(books) = &target.books else { return Ok(judge_by(None)) };
    let deadline = Instant::now() + SETTLING;
    loop {
        let judgements = judge_by(Some(&books.calls().await?));
        let equal = judgements.iter().all(|judgement| judgement.is_equal() == Some(true));
        if equal || Instant::now() > deadline {
            return Ok(judgements);
        }
        sleep(PAUSE).await;
    }
}

/// What the bill says of the calls since `before`; a left or broken stream is billed a moment after it.
async fn billed_since(simulator: &Simulator, before: usize, calls: usize) -> anyhow::Result<Vec<Charge>> {
    let deadline = Instant::now() + SETTLING;
    loop {
        let mut charges = simulator.truth();
        if charges.len() >= before + calls || Instant::now() > deadline {
            ensure!(charges.len() == before + calls, "{} charges, not {calls}", charges.len() - before);
            return Ok(charges.split_off(before));
        }
        sleep(PAUSE).await;
    }
}

fn compare(kind: Option<Kind>, charges: &[Charge], booked: Option<&HashMap<String, i64>>) -> Judgement {
    let cost_of = |charge: &Charge| booked?.get(&charge.generation_id).copied();
    let found: Vec<i64> = charges.iter().filter_map(cost_of).collect();
    let right = charges.iter().filter(|charge| cost_of(charge) == Some(charge.cost_pico_usd)).count();
    let billed =
        Sum { calls: charges.len(), cost_pico_usd: charges.iter().map(|charge| charge.cost_pico_usd).sum() };
    Judgement {
        kind,
        billed,
        booked: booked.map(|_| Sum { calls: found.len(), cost_pico_usd: found.iter().sum() }),
        wrong_calls: booked.map(|_| charges.len() - right),
    }
}

/// All calls that the target made in the whole run, in one sum; `None` where there are no books.
pub(crate) async fn judge_all(simulator: &Simulator, target: &Target) -> anyhow::Result<Option<Judgement>> {
    let Books::UsageApi(books) = &target.books else { return Ok(None) };
    let prefix = format!("{}_user_", books.organisation);
    let is_own =
        |charge: &Charge| charge.external_user.as_ref().is_some_and(|user| user.starts_with(&prefix));
    let charges = simulator.truth().into_iter().filter(is_own);
    let billed = charges.fold(Sum::default(), |sum, charge| Sum {
        calls: sum.calls + 1,
        cost_pico_usd: sum.cost_pico_usd + charge.cost_pico_usd,
    });
    let deadline = Instant::now() + SETTLING;
    loop {
        let booked = books.sum().await?;
        if booked == billed || Instant::now() > deadline {
            return Ok(Some(Judgement { kind: None, billed, booked: Some(booked), wrong_calls: None }));
        }
        sleep(PAUSE).await;
    }
}

impl UsageApi {
    /// The last calls with their cost, by their generation.
    async fn calls(&self) -> anyhow::Result<HashMap<String, i64>> {
        let (mut calls, mut after) = (HashMap::new(), String::new());
        loop {
            let page = self.ask(&format!("calls?{}&limit=500{after}", period())).await?;
            let rows = page.get("calls").and_then(Value::as_array).context("no calls in the answer")?;
            for row in rows {
                if let Some(generation_id) = row.get("generation_id").and_then(Value::as_str) {
                    calls.insert(generation_id.to_owned(), cost_of(row)?);
                }
            }
            let Some(next) = page.get("next").and_then(Value::as_str) else { return Ok(calls) };
            after = format!("&after={next}");
        }
    }

    async fn sum(&self) -> anyhow::Result<Sum> {
        let answer = self.ask(&format!("summary?{}", period())).await?;
        let calls = answer.get("requests").and_then(Value::as_u64).context("no requests in the answer")?;
        Ok(Sum { calls: usize::try_from(calls)?, cost_pico_usd: cost_of(&answer)? })
    }

    async fn ask(&self, question: &str) -> anyhow::Result<Value> {
        let (status, body): (_, Bytes) = self.api.get(&format!("/api/v1/usage/{question}")).await?;
        ensure!(status.is_success(), "the usage API answers {status} to {question}");
        Ok(serde_json::from_slice(&body)?)
    }
}

/// Days that hold today, wherever the organisation is.
fn period() -> String {
    let today = today();
    format!("from={}&to={}", today.saturating_sub(2.days()), today.saturating_add(1.day()))
}

fn cost_of(row: &Value) -> anyhow::Result<i64> {
    let text = row.get("cost").and_then(Value::as_str).context("a row without cost")?;
    pico_usd(text).with_context(|| format!("the cost {text}"))
}

/// Plain decimal text of dollars in pico-dollars, without a calculation that could round.
fn pico_usd(text: &str) -> Option<i64> {
    const PLACES: usize = 12;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > PLACES {
        return None;
    }
    format!("{whole}{fraction:0<PLACES$}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::pico_usd;

    #[test]
    fn dollars_become_pico_dollars() {
        assert_eq!(pico_usd("0.000154"), Some(154_000_000));
        assert_eq!(pico_usd("12"), Some(12_000_000_000_000));
        assert_eq!(pico_usd("0.000000000001"), Some(1));
        assert_eq!(pico_usd("0.0000000000001"), None);
        assert_eq!(pico_usd("1e-3"), None);
    }
}
