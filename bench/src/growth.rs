//! How the cost grows: with callers, with streams, with the ledger.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use openrouter_sim::{Knobs, Simulator};
use serde::Serialize;

use crate::load::{self, Calls, Streamed};
use crate::plan::Streams;
use crate::plots::{Line, Plot};
use crate::run::say;
use crate::tables::{mib, ms, table};
use crate::target::{Ground, Target};

mod ledgers;

use ledgers::AtSize;

const CALLERS: [usize; 10] = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512];

/// How long a number of callers is looked at.
const TURN: Duration = Duration::from_secs(2);

const STREAMS: [usize; 8] = [1, 10, 50, 200, 500, 1_000, 2_000, 5_000];

/// Streams begin at this rate at most, and are long enough that all are there at once.
const BEGIN_PER_SECOND: u64 = 1_000;
const CHUNKS: usize = 20;

/// Where the charts are, below the folder where a run is started.
const PLOTS: &str = "docs/plots";

/// All that was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Growth {
    pub(crate) callers: Vec<AtCallers>,
    pub(crate) streams: Vec<AtStreams>,
    pub(crate) ledgers: Vec<AtSize>,
}

/// One target with so many callers.
#[derive(Debug, Serialize)]
pub(crate) struct AtCallers {
    pub(crate) target: &'static str,
    pub(crate) callers: usize,
    pub(crate) calls_per_second: u64,
    pub(crate) p50_us: u64,
    pub(crate) errors: u64,
}

/// One target with so many streams.
#[derive(Debug, Serialize)]
pub(crate) struct AtStreams {
    pub(crate) target: &'static str,
    pub(crate) streams: usize,
    pub(crate) resident_kib: u64,
    pub(crate) errors: u64,
}

/// What growth is measured with.
pub(crate) struct Soil<'a> {
    pub(crate) ground: &'a Ground<'a>,
    pub(crate) program: &'a Path,
    /// Sample ledgers by their number of entries; they are made where they are missing.
    pub(crate) samples: &'a Path,
    pub(crate) sizes: &'a [u64],
}

/// Measures everything. The targets have answered already.
pub(crate) async fn measure(soil: &Soil<'_>, targets: &[Target]) -> anyhow::Result<Growth> {
    // First, while the targets have not grown by anything else.
    let mut streams = Vec::new();
    for count in STREAMS {
        say(&format!("{count} streams"));
        for target in targets.iter().filter(|target| target.process.is_some()) {
            streams.push(with_streams(soil.ground.simulator, target, count).await);
        }
    }
    let mut callers = Vec::new();
    for count in CALLERS {
        say(&format!("{count} callers"));
        for target in targets {
            callers.push(with_callers(target, count).await);
        }
    }
    Ok(Growth { callers, streams, ledgers: ledgers::measure(soil).await? })
}

async fn with_callers(target: &Target, callers: usize) -> AtCallers {
    let mut calls = Calls::default();
    load::saturate(target, callers, TURN, &mut calls).await;
    let saturation = calls.into_saturation();
    AtCallers {
        target: target.name,
        callers,
        calls_per_second: saturation.per_second().unwrap_or(0),
        p50_us: saturation.latency.p50_us,
        errors: saturation.errors.count,
    }
}

async fn with_streams(simulator: &Simulator, target: &Target, count: usize) -> AtStreams {
    let begin_within_ms = count as u64 * 1_000 / BEGIN_PER_SECOND;
    let chunk_delay_ms = (2 * begin_within_ms).max(2_000) / CHUNKS as u64;
    let streams = Streams { chunks: CHUNKS, ..Streams::of(count, chunk_delay_ms, begin_within_ms) };
    simulator.set_knobs(streams.knobs());
    let mut streamed = Streamed::default();
    load::stream(target, streams, &mut streamed).await;
    simulator.set_knobs(Knobs::default());
    let (resident_kib, errors) = (streamed.resident_kib, streamed.errors.count);
    AtStreams { target: target.name, streams: count, resident_kib, errors }
}

impl Growth {
    pub(crate) fn tables(&self) -> String {
        let callers = self.callers.iter().map(|row| {
            let p50 = ms(row.p50_us);
            let (callers, calls) = (row.callers.to_string(), row.calls_per_second.to_string());
            vec![row.target.to_owned(), callers, calls, p50, row.errors.to_string()]
        });
        let streams = self.streams.iter().map(|row| {
            let (streams, resident) = (row.streams.to_string(), mib(row.resident_kib));
            vec![row.target.to_owned(), streams, resident, row.errors.to_string()]
        });
        [
            table(&["target", "callers", "calls/s", "p50 ms", "errors"], callers),
            table(&["target", "streams", "resident MiB", "errors"], streams),
            ledgers::table_of(&self.ledgers),
        ]
        .concat()
    }

    /// Draws the charts, and links them.
    pub(crate) fn draw(&self) -> anyhow::Result<String> {
        std::fs::create_dir_all(PLOTS)?;
        let mut links = String::new();
        for (name, plot) in self.plots() {
            let file = format!("{name}.svg");
            plot.draw(&PathBuf::from(PLOTS).join(&file))?;
            // A string takes whatever is written to it.
            let _ = writeln!(links, "\n![{}](plots/{file})", plot.title);
        }
        Ok(links)
    }

    fn plots(&self) -> [(&'static str, Plot); 3] {
        let callers = self.callers.iter().map(|row| (row.target, row.callers as u64, row.calls_per_second));
        // Where calls failed, there were fewer streams than were asked for.
        let whole = self.streams.iter().filter(|row| row.errors == 0);
        let streams = whole.map(|row| (row.target, row.streams as u64, row.resident_kib.div_ceil(1_024)));
        let callers =
            Plot { title: "Calls a second", across: "callers", up: "calls/s", lines: lines(callers) };
        let streams = Plot {
            title: "Resident memory under streams",
            across: "streams at once",
            up: "MiB",
            lines: lines(streams),
        };
        [("callers", callers), ("streams", streams), ("ledgers", ledgers::plot_of(&self.ledgers))]
    }
}

/// Points by the name of their line, in the order of the first of each.
fn lines<'a>(points: impl Iterator<Item = (&'a str, u64, u64)>) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for (name, across, up) in points.filter(|point| point.2 > 0) {
        match lines.iter_mut().find(|line| line.name == name) {
            Some(line) => line.points.push((across, up)),
            None => lines.push(Line { name: name.to_owned(), points: vec![(across, up)] }),
        }
    }
    lines
}
