//! Whether memory grows under load that does not.

use std::time::Duration;

use anyhow::Context as _;
use openrouter_sim::{Knobs, Simulator};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use crate::books::{self, Judgement};
use crate::load::{self, Calls, Streamed};
use crate::plan::Streams;
use crate::run::{REST, say};
use crate::tables::{mib, table};
use crate::target::Target;

/// The load of a round: calls at this rate for so long, then streams that are all there at once.
const RATE: u32 = 100;
const TURN: Duration = Duration::from_secs(10);
const STREAMS: Streams = Streams::of(200, 50, 1_000);

/// The pause before a look, in which the sidecar closes the connections of clients that ask nothing for 30 s, and gives back
/// what was taken for calls.
const REST_BEFORE_LOOK: Duration = Duration::from_secs(40);

/// Into so many parts the time is divided. Memory may still grow in the first: connections, prepared statements, the page cache.
const PARTS: u32 = 12;

/// Resident memory as time goes by.
#[derive(Debug, Serialize)]
pub(crate) struct Hour {
    /// After each part of the time.
    pub(crate) looks: Vec<Look>,
    pub(crate) calls: u64,
    pub(crate) streams: u64,
    pub(crate) without_usage: u64,
    pub(crate) errors: u64,
    /// `None` where there are no books.
    pub(crate) books: Option<Judgement>,
}

/// A look after a round, nothing having been under way for a while.
#[derive(Debug, Serialize)]
pub(crate) struct Look {
    pub(crate) seconds: u64,
    pub(crate) resident_kib: u64,
}

/// Round after round on one target for so long.
pub(crate) async fn measure(
    simulator: &Simulator,
    target: &Target,
    length: Duration,
) -> anyhow::Result<Hour> {
    let (began, mut looks) = (Instant::now(), Vec::new());
    let (mut calls, mut streamed) = (Calls::default(), Streamed::default());
    for part in 1..=PARTS {
        while began.elapsed() < length * part / PARTS {
            load::at_rate(target, RATE, TURN, &mut calls).await;
            simulator.set_knobs(STREAMS.knobs());
            load::stream(target, STREAMS, &mut streamed).await;
            simulator.set_knobs(Knobs::default());
            sleep(REST).await;
        }
        sleep(REST_BEFORE_LOOK).await;
        let process = target.process.as_ref().context("what is measured has no process")?;
        let look = Look { seconds: began.elapsed().as_secs(), resident_kib: process.resident_kib() };
        say(&format!("after {} s: {} MiB", look.seconds, mib(look.resident_kib)));
        looks.push(look);
    }
    Ok(Hour {
        looks,
        calls: calls.done,
        streams: streamed.first_chunk.percentiles().samples,
        without_usage: streamed.without_usage,
        errors: calls.errors.count + streamed.errors.count,
        books: books::judge_all(simulator, target).await?,
    })
}

impl Hour {
    /// Between the end of the first part and the end of the last, in KiB.
    pub(crate) fn growth_kib(&self) -> i64 {
        let at = |look: Option<&Look>| look.map_or(0, |look| look.resident_kib).cast_signed();
        at(self.looks.last()) - at(self.looks.first())
    }

    pub(crate) fn tables(&self) -> String {
        let rows =
            self.looks.iter().map(|look| vec![(look.seconds / 60).to_string(), mib(look.resident_kib)]);
        let is_equal = self.books.as_ref().and_then(Judgement::is_equal);
        let books = if is_equal == Some(true) { "equal the bill" } else { "**differ from the bill**" };
        format!(
            "{}\n{} calls and {} streams, {} without usage, {} errors; the books {books}. Growth after the first look: {} KiB.\n",
            table(&["minutes", "resident MiB"], rows),
            self.calls,
            self.streams,
            self.without_usage,
            self.errors,
            self.growth_kib(),
        )
    }
}
