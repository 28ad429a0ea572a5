//! Load for the sidecar and other proxies side by side, against the simulated `OpenRouter`: `bench/run.sh`.
//!
//! This process is the callers and the simulator, in one thread on one core; each proxy is a process of its own, all of them on
//! the other core, of which only one has something to do at a time.

mod books;
mod client;
mod document;
mod events;
mod figures;
mod growth;
mod hour;
mod load;
mod plan;
mod plots;
mod process;
mod run;
mod tables;
mod target;

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use openrouter_sim::{Options, Simulator};
use serde::Serialize;

use growth::Soil;
use plan::{Depth, Plan};
use process::Core;
use target::sidecar::{self, Sidecar};
use target::{Ground, Target, direct, litellm, nginx, portkey};

/// Measures proxies in front of a simulated `OpenRouter`, in turns, and prints tables.
#[derive(Debug, Parser)]
struct Arguments {
    /// The sidecar's program.
    #[arg(long, value_name = "FILE")]
    sidecar: PathBuf,
    /// How much is measured.
    #[arg(long, value_enum, default_value = "usual")]
    depth: Depth,
    /// Turns of all targets, instead of the depth's.
    #[arg(long)]
    turns: Option<u32>,
    /// Seconds of a turn of calls, instead of the depth's.
    #[arg(long)]
    seconds: Option<u64>,
    /// Measure nothing but the direct way and the sidecar.
    #[arg(long)]
    alone: bool,
    /// The core of the proxies; without it the system chooses.
    #[arg(long)]
    core: Option<usize>,
    /// Also measure `LiteLLM`: its command.
    #[arg(long, value_name = "FILE")]
    litellm: Option<PathBuf>,
    /// Also measure the Portkey gateway: its `start-server.js`.
    #[arg(long, value_name = "FILE")]
    portkey: Option<PathBuf>,
    /// Instead of all that: how the cost grows with callers, streams and the size of the ledger.
    #[arg(long)]
    growth: bool,
    /// Instead of all that: whether the sidecar's memory grows under so many seconds of load, an hour unless told.
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "3600")]
    hour: Option<u64>,
    /// Entries of the ledgers with which growth is measured.
    #[arg(long, value_delimiter = ',', default_values_t = [10_000, 100_000, 1_000_000])]
    sizes: Vec<u64>,
    /// Where sample ledgers are, or are made where they are missing.
    #[arg(long, value_name = "FOLDER", default_value = "target/tmp/sample-ledgers")]
    samples: PathBuf,
    /// Where the ledger and the logs are.
    #[arg(long, value_name = "FOLDER", default_value = "target/bench")]
    folder: PathBuf,
    /// Also write the figures as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the tables into `docs/benchmarks.md`, and the charts beside it.
    #[arg(long)]
    write: bool,
}

/// A file system in memory, where a flush costs nothing.
const MEMORY: &str = "/dev/shm";

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let simulator = Simulator::start(Options::default()).await?;
    fs::create_dir_all(&arguments.folder)?;
    let folder = tempfile::tempdir_in(fs::canonicalize(&arguments.folder)?)?;
    let in_memory = tempfile::tempdir_in(MEMORY).context("no file system in memory")?;
    let ground = Ground { simulator: &simulator, folder: folder.path(), core: Core(arguments.core) };
    let machine = document::machine(&arguments.folder)?;
    let targets = start(&ground, &arguments, in_memory.path()).await?;
    if arguments.growth {
        return grow(&ground, &arguments, machine, &targets).await;
    }
    if let Some(seconds) = arguments.hour {
        let target = targets.iter().find(|target| target.process.is_some()).context("nothing to load")?;
        let hour = hour::measure(&simulator, target, Duration::from_secs(seconds)).await?;
        let text = hour.tables();
        return tell(&arguments, &Told { section: "hour", machine, text, figures: &hour });
    }
    let run = run::run(&simulator, targets, &arguments.plan()).await?;
    let text = tables::tables(&run);
    tell(&arguments, &Told { section: "road", machine, text, figures: &run })
}

async fn grow(
    ground: &Ground<'_>,
    arguments: &Arguments,
    machine: String,
    targets: &[Target],
) -> anyhow::Result<()> {
    let (program, samples, sizes) = (&arguments.sidecar, &arguments.samples, &arguments.sizes);
    let growth = growth::measure(&Soil { ground, program, samples, sizes }, targets).await?;
    let plots = if arguments.write { growth.draw()? } else { String::new() };
    let text = format!("{plots}{}", growth.tables());
    tell(arguments, &Told { section: "growth", machine, text, figures: &growth })
}

/// What a run tells.
#[derive(Serialize)]
struct Told<'a, T> {
    /// Its place in the document.
    #[serde(skip)]
    section: &'static str,
    machine: String,
    #[serde(skip)]
    text: String,
    #[serde(flatten)]
    figures: &'a T,
}

/// Prints the text, and puts it and the figures where the arguments want them.
#[expect(clippy::print_stdout, reason = "the tables are what it makes")]
fn tell(arguments: &Arguments, told: &Told<'_, impl Serialize>) -> anyhow::Result<()> {
    let text = format!("{}\n{}", told.machine, told.text);
    println!("{text}");
    if let Some(path) = &arguments.json {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        serde_json::to_writer_pretty(file, told)?;
    }
    if arguments.write {
        document::write(told.section, &text)?;
    }
    Ok(())
}

impl Arguments {
    fn plan(&self) -> Plan {
        let plan = self.depth.plan();
        Plan {
            turns: self.turns.unwrap_or(plan.turns),
            turn: self.seconds.map_or(plan.turn, Duration::from_secs),
            ..plan
        }
    }
}

/// Starts what is to be measured and waits until it answers.
async fn start(ground: &Ground<'_>, arguments: &Arguments, in_memory: &Path) -> anyhow::Result<Vec<Target>> {
    let alone = arguments.alone || arguments.hour.is_some();
    let mut targets = vec![direct::start(ground)?];
    if !alone {
        targets.push(nginx::start(ground)?);
    }
    let program = &arguments.sidecar;
    let database = &ground.folder.join("ledger.db");
    targets.push(sidecar::start(
        ground,
        Sidecar { name: "mai-usage", program, database, organisation: "bench_disk" },
    )?);
    if !alone {
        let (name, organisation) = ("mai-usage, no flush", "bench_memory");
        let database = &in_memory.join("ledger.db");
        targets.push(sidecar::start(ground, Sidecar { name, program, database, organisation })?);
    }
    if let Some(program) = &arguments.portkey {
        targets.push(portkey::start(ground, program)?);
    }
    if let Some(program) = &arguments.litellm {
        targets.push(litellm::start(ground, program)?);
    }
    for target in &mut targets {
        target.wait_until_it_answers().await?;
    }
    Ok(targets)
}
