//! Faults and attacks against the program as a process of its own: `cargo xtask faults`, and `--full` for the depth at which
//! the figures of `docs/reliability.md` are measured.
//!
//! Every row prints one line of counts and its seed. A row that the machine does not allow says "skipped" and why. What
//! clients saw, what the simulated `OpenRouter` billed and what the database holds are compared by `checker`, which shares no
//! code with the program.

#![expect(clippy::unwrap_used, reason = "a test whose ground cannot be laid should panic")]
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what is not there, or not so, ends the row"
)]
#![expect(clippy::format_collect, clippy::format_push_string, reason = "speed is nothing here")]
#![expect(clippy::print_stdout, reason = "a line a row is what it makes")]

mod callers;
mod checker;
mod clocks;
mod corruption;
mod decimals;
mod dice;
mod disk;
mod everything;
mod framing;
mod host;
mod identity;
mod ids;
mod killed;
mod late;
mod leaving;
mod lifecycle;
mod limits;
mod locked;
mod malformed;
mod paths;
mod power_cut;
mod raw;
mod raw_upstream;
mod replayed;
mod secrets;
mod sidecar;
mod supply_chain;
mod trial;
mod upgrades;
mod upstream;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;
use futures_util::FutureExt as _;
use futures_util::future::LocalBoxFuture;

use trial::{Missing, Outcome, Trial};

/// One fault of the table in issue and manual: `docs/reliability.md` has a line for each.
struct Row {
    number: u32,
    name: &'static str,
    run: fn(Trial) -> LocalBoxFuture<'static, Outcome>,
}

macro_rules! rows {
    ($($number:literal $name:literal $run:path,)*) => {
        &[$(Row { number: $number, name: $name, run: |trial| $run(trial).boxed_local() }),*]
    };
}

const ROWS: &[Row] = rows![
    1 "killed at random" killed::at_random,
    2 "killed at the n-th disk call" killed::at_disk_calls,
    3 "power cut" power_cut::at_any_moment,
    4 "client leaves" leaving::at_every_phase,
    5 "upstream cut, silent, slow, endless" upstream::cut_silent_endless,
    6 "malformed streams and costs" malformed::answers_and_costs,
    7 "duplicate, foreign, missing ids" ids::clashing_and_missing,
    8 "late /generation" late::generation,
    9 "disk full, read-only, failing, slow" disk::full_failing_slow,
    10 "database locked, backups under load" locked::by_another_program,
    11 "corruption of a copy" corruption::of_a_copy,
    12 "SIGTERM during streams" lifecycle::terminated,
    13 "two daemons, upgrades" upgrades::two_and_upgrades,
    14 "clocks and days" clocks::jumps_and_days,
    15 "limits" limits::of_everything,
    16 "path escapes" paths::escapes,
    17 "identity" identity::forgeries_of_all_kinds,
    18 "secrets" secrets::in_logs_and_files,
    19 "framing" framing::requests,
    20 "upstream errors" upstream::errors,
    21 "supply chain" supply_chain::cargo_deny,
    22 "everything at once" everything::at_once,
];

/// Faults and attacks, a line each.
#[derive(Debug, Parser)]
struct Arguments {
    /// The depth at which the figures are proved; hours instead of minutes.
    #[arg(long)]
    full: bool,
    /// Only these rows.
    #[arg(long = "row", value_name = "NUMBER")]
    rows: Vec<u32>,
    /// Repeats a run; otherwise chance decides.
    #[arg(long)]
    seed: Option<u64>,
}

fn main() -> ExitCode {
    daemon::choose_tls_provider();
    let arguments = Arguments::parse();
    let seed = arguments.seed.unwrap_or_else(dice::chance);
    let wanted = |row: &&Row| arguments.rows.is_empty() || arguments.rows.contains(&row.number);
    let (mut passed, mut failed, mut skipped) = (0, 0, 0);
    for row in ROWS.iter().filter(wanted) {
        let started = Instant::now();
        let told = match run(row, arguments.full, seed) {
            Ok(Outcome::Counts(counts)) => {
                passed += 1;
                counts
            }
            Ok(Outcome::Skipped(reason)) => {
                skipped += 1;
                format!("skipped: {reason}")
            }
            Err(what) => {
                failed += 1;
                format!("FAILED: {what}")
            }
        };
        let Row { number, name, .. } = row;
        println!("row {number:>2}  {name}: {told}; seed {seed}, {:.0} s", started.elapsed().as_secs_f64());
    }
    println!("faults: {passed} passed, {failed} failed, {skipped} skipped");
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs one row on a runtime of its own, then looks for secrets in everything that its sidecars said.
fn run(row: &Row, full: bool, seed: u64) -> Result<Outcome, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let trial = Trial::new(full, seed);
    let folder = trial.folder.clone();
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on((row.run)(trial))));
    let outcome = outcome.or_else(|panic| match panic.downcast() {
        Ok(missing) => {
            let Missing(reason) = *missing;
            Ok(Outcome::Skipped(reason))
        }
        Err(panic) => Err(trial::words_of(panic)),
    });
    runtime.shutdown_background();
    let found = secrets::told_in(folder.path());
    match outcome {
        Ok(_) if !found.is_empty() => Err(format!("secrets were told: {found:?}")),
        outcome => outcome,
    }
}
