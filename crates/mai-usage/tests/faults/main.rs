//! Faults and attacks against the program as a process of its own: `cargo xtask faults`, and `--full` for the depth at which
//! the figures of `docs/reliability.md` are measured.
//!
//! Every row prints one line of counts and its seed. A row that the machine does not allow says "skipped" and why. What
//! clients saw, what the simulated `OpenRouter` billed and what the database holds are compared by `checker`, which shares no
//! code with the program.

#![expect(clippy::unwrap_used, reason = "a test whose ground cannot be laid should panic")]
#![expect(clippy::indexing_slicing, clippy::panic, reason = "what is not there, or not so, ends the row")]
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

use trial::{Outcome, Trial};

/// One fault of the table in issue and manual: `docs/reliability.md` has a line for each.
struct Row {
    number: u32,
    name: &'static str,
    run: fn(Trial) -> LocalBoxFuture<'static, Outcome>,
}

const ROWS: [Row; 22] = [
    Row { number: 1, name: "killed at random", run: |trial| killed::at_random(trial).boxed_local() },
    Row {
        number: 2,
        name: "killed at the n-th disk call",
        run: |trial| killed::at_disk_calls(trial).boxed_local(),
    },
    Row { number: 3, name: "power cut", run: |trial| power_cut::at_any_moment(trial).boxed_local() },
    Row { number: 4, name: "client leaves", run: |trial| leaving::at_every_phase(trial).boxed_local() },
    Row {
        number: 5,
        name: "upstream cut, silent, slow, endless",
        run: |trial| upstream::cut_silent_endless(trial).boxed_local(),
    },
    Row {
        number: 6,
        name: "malformed streams and costs",
        run: |trial| malformed::answers_and_costs(trial).boxed_local(),
    },
    Row {
        number: 7,
        name: "duplicate, foreign, missing ids",
        run: |trial| ids::clashing_and_missing(trial).boxed_local(),
    },
    Row { number: 8, name: "late /generation", run: |trial| late::generation(trial).boxed_local() },
    Row {
        number: 9,
        name: "disk full, read-only, failing, slow",
        run: |trial| disk::full_failing_slow(trial).boxed_local(),
    },
    Row {
        number: 10,
        name: "database locked, backups under load",
        run: |trial| locked::by_another_program(trial).boxed_local(),
    },
    Row { number: 11, name: "corruption of a copy", run: |trial| corruption::of_a_copy(trial).boxed_local() },
    Row {
        number: 12,
        name: "SIGTERM during streams",
        run: |trial| lifecycle::terminated(trial).boxed_local(),
    },
    Row { number: 11, name: "corruption of a copy", run: |trial| corruption::of_a_copy(trial).boxed_local() },
    Row { number: 12, name: "SIGTERM during streams", run: |trial| lifecycle::terminated(trial).boxed_local() },
    Row { number: 13, name: "two daemons, upgrades", run: |trial| upgrades::two_and_upgrades(trial).boxed_local() },
    Row { number: 14, name: "clocks and days", run: |trial| clocks::jumps_and_days(trial).boxed_local() },
    Row { number: 15, name: "limits", run: |trial| limits::of_everything(trial).boxed_local() },
    Row { number: 16, name: "path escapes", run: |trial| paths::escapes(trial).boxed_local() },
    Row { number: 17, name: "identity", run: |trial| identity::forgeries(trial).boxed_local() },
    Row { number: 18, name: "secrets", run: |trial| secrets::in_logs_and_files(trial).boxed_local() },
    Row { number: 19, name: "framing", run: |trial| framing::requests(trial).boxed_local() },
    Row { number: 20, name: "upstream errors", run: |trial| upstream::errors(trial).boxed_local() },
    Row { number: 21, name: "supply chain", run: |trial| supply_chain::cargo_deny(trial).boxed_local() },
    Row { number: 22, name: "everything at once", run: |trial| everything::at_once(trial).boxed_local() },
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
    let outcome =
        catch_unwind(AssertUnwindSafe(|| runtime.block_on((row.run)(trial)))).map_err(trial::words_of);
    runtime.shutdown_background();
    let found = secrets::told_in(folder.path());
    match outcome {
        Ok(_) if !found.is_empty() => Err(format!("secrets were told: {found:?}")),
        outcome => outcome,
    }
}
