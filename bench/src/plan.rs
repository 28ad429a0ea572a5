//! How much of everything is done.

use std::time::Duration;

use clap::ValueEnum;
use openrouter_sim::Knobs;

/// How deep a run goes.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Depth {
    /// A few seconds: does the tool still work?
    Smoke,
    /// A few minutes.
    Usual,
    /// The figures of `docs/benchmarks.md`.
    Full,
}

/// The loads of one run.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Turns of all targets under each load; the figures are of all turns together.
    pub(crate) turns: u32,
    /// Before the first turn the callers are busy so long, and nothing is counted.
    pub(crate) warm_up: Duration,
    /// How long a turn of calls is.
    pub(crate) turn: Duration,
    /// Callers that keep a target busy.
    pub(crate) callers: usize,
    /// Calls a second at a fixed rate.
    pub(crate) rates: Vec<u32>,
    pub(crate) streams: Vec<Streams>,
    /// Calls of each kind by which the books are judged.
    pub(crate) judged_calls: usize,
}

/// So many streams at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Streams {
    pub(crate) count: usize,
    /// Chunks of content in each.
    pub(crate) chunks: usize,
    /// What the simulator waits before each chunk but the first.
    pub(crate) chunk_delay: Duration,
    /// They begin spread evenly over this time, which is shorter than a stream, so that there is a moment with all of them.
    pub(crate) begin_within: Duration,
}

impl Streams {
    pub(crate) const fn of(count: usize, chunk_delay_ms: u64, begin_within_ms: u64) -> Self {
        const CHUNKS: usize = 50;
        Self {
            count,
            chunks: CHUNKS,
            chunk_delay: Duration::from_millis(chunk_delay_ms),
            begin_within: Duration::from_millis(begin_within_ms),
        }
    }

    /// What makes the simulator stream like that.
    pub(crate) fn knobs(&self) -> Knobs {
        Knobs {
            chunks: Some(self.chunks),
            chunk_delay_ms: u64::try_from(self.chunk_delay.as_millis()).ok(),
            send_times: Some(true),
            ..Knobs::default()
        }
    }
}

impl Depth {
    pub(crate) fn plan(self) -> Plan {
        let usual = Plan {
            turns: 3,
            warm_up: Duration::from_secs(1),
            turn: Duration::from_secs(4),
            callers: 64,
            rates: vec![10, 100],
            streams: vec![
                Streams::of(20, 50, 1_000),
                Streams::of(200, 50, 1_000),
                Streams::of(1_000, 100, 2_000),
            ],
            judged_calls: 20,
        };
        match self {
            Self::Usual => usual,
            Self::Full => Plan { turns: 5, turn: Duration::from_secs(10), judged_calls: 100, ..usual },
            Self::Smoke => Plan {
                turns: 1,
                warm_up: Duration::from_millis(100),
                turn: Duration::from_millis(500),
                callers: 4,
                rates: vec![20],
                streams: vec![Streams::of(10, 5, 100)],
                judged_calls: 3,
            },
        }
    }
}
