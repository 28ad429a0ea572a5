//! Start and questions with ledgers of different sizes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use sample_ledger::{FIRST_DAY, LAST_DAY};
use serde::Serialize;
use tokio::time::sleep;

use super::{Soil, lines, ms, table};
use crate::books::Books;
use crate::client::Road;
use crate::figures::{Times, us};
use crate::plots::Plot;
use crate::run::say;
use crate::tables::mib;
use crate::target::sidecar::{self, Sidecar};

/// A sidecar that is not healthy by then never will be.
const START_PATIENCE: Duration = Duration::from_mins(1);

const START_PAUSE: Duration = Duration::from_millis(1);

/// Starts of which the median is told.
const STARTS: usize = 5;

/// Each question is asked so often.
const TIMES: usize = 100;

/// One size of a ledger.
#[derive(Debug, Serialize)]
pub(crate) struct AtSize {
    pub(crate) entries: u64,
    pub(crate) start_to_healthy_us: u64,
    /// After all questions.
    pub(crate) resident_kib: u64,
    pub(crate) questions: Vec<Question>,
}

/// A question of the Usage tab, its median over one kept connection.
#[derive(Debug, Serialize)]
pub(crate) struct Question {
    pub(crate) name: &'static str,
    pub(crate) p50_us: u64,
}

pub(super) async fn measure(soil: &Soil<'_>) -> anyhow::Result<Vec<AtSize>> {
    let mut rows = Vec::new();
    for entries in soil.sizes {
        say(&format!("a ledger of {entries} entries"));
        let sample = sample_ledger::ledger_with(*entries, soil.samples).await?;
        let copy = Copy::of(&sample, &soil.ground.folder.join("sample.db"))?;
        rows.push(at_size(soil, *entries, &copy.path).await?);
    }
    Ok(rows)
}

async fn at_size(soil: &Soil<'_>, entries: u64, database: &Path) -> anyhow::Result<AtSize> {
    let sidecar = Sidecar {
        name: "mai-usage",
        program: soil.program,
        database,
        organisation: sample_ledger::ORGANISATION,
    };
    let mut starts = Vec::new();
    // The first one reads the file into the system's cache.
    for _ in 0..=STARTS {
        let began = Instant::now();
        let target = sidecar::start(soil.ground, sidecar)?;
        wait_until_healthy(api_of(&target.books)?).await?;
        starts.push(began.elapsed());
    }
    let mut starts = starts.split_off(1);
    starts.sort_unstable();
    let target = sidecar::start(soil.ground, sidecar)?;
    let api = api_of(&target.books)?;
    wait_until_healthy(api).await?;
    let questions = ask(api).await?;
    let start_to_healthy_us = starts.get(STARTS / 2).copied().map_or(0, us);
    Ok(AtSize { entries, start_to_healthy_us, resident_kib: target.resident_kib(), questions })
}

fn api_of(books: &Books) -> anyhow::Result<&Road> {
    let Books::UsageApi(books) = books else { bail!("a sidecar without a usage API") };
    Ok(&books.api)
}

async fn wait_until_healthy(api: &Road) -> anyhow::Result<()> {
    let deadline = Instant::now() + START_PATIENCE;
    while !api.get("/health").await.is_ok_and(|(status, _)| status.is_success()) {
        ensure!(Instant::now() < deadline, "the sidecar does not become healthy");
        sleep(START_PAUSE).await;
    }
    Ok(())
}

async fn ask(api: &Road) -> anyhow::Result<Vec<Question>> {
    let period = format!("from={FIRST_DAY}&to={LAST_DAY}");
    let questions = [
        ("overview", "overview".to_owned()),
        ("summary, three years", format!("summary?{period}")),
        ("by-user-and-model, three years", format!("by-user-and-model?{period}")),
        ("calls, first page", format!("calls?{period}")),
    ];
    let mut answers = Vec::new();
    for (name, path) in questions {
        let mut times = Times::default();
        for _ in 0..TIMES {
            let began = Instant::now();
            let (status, _) = api.get(&format!("/api/v1/usage/{path}")).await?;
            ensure!(status.is_success(), "{status} for {path}");
            times.add(began.elapsed());
        }
        answers.push(Question { name, p50_us: times.percentiles().p50_us });
    }
    Ok(answers)
}

pub(super) fn table_of(rows: &[AtSize]) -> String {
    let questions = rows.first().map_or(&[][..], |row| &row.questions);
    let asked: Vec<String> = questions.iter().map(|question| format!("{} ms", question.name)).collect();
    let head = ["entries", "start to healthy ms", "resident MiB"].into_iter();
    let head: Vec<&str> = head.chain(asked.iter().map(String::as_str)).collect();
    table(
        &head,
        rows.iter().map(|row| {
            let first = [row.entries.to_string(), ms(row.start_to_healthy_us), mib(row.resident_kib)];
            first.into_iter().chain(row.questions.iter().map(|question| ms(question.p50_us))).collect()
        }),
    )
}

pub(super) fn plot_of(rows: &[AtSize]) -> Plot {
    let starts = rows.iter().map(|row| ("start to healthy", row.entries, row.start_to_healthy_us));
    let questions = rows
        .iter()
        .flat_map(|row| row.questions.iter().map(|question| (question.name, row.entries, question.p50_us)));
    Plot {
        title: "Start and questions by size of the ledger",
        across: "entries",
        up: "microseconds",
        lines: lines(starts.chain(questions)),
    }
}

/// A copy that is gone afterwards: a sidecar writes to its file.
struct Copy {
    path: PathBuf,
}

impl Copy {
    fn of(sample: &Path, path: &Path) -> anyhow::Result<Self> {
        // Made before, so that half a copy goes as well.
        let copy = Self { path: path.to_owned() };
        fs::copy(sample, path).with_context(|| format!("cannot copy {}", sample.display()))?;
        Ok(copy)
    }
}

impl Drop for Copy {
    fn drop(&mut self) {
        for suffix in ["", "-wal", "-shm", ".lock"] {
            // What is not there need not be removed.
            let _ = fs::remove_file(format!("{}{suffix}", self.path.display()));
        }
    }
}
