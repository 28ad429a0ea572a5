//! `cargo xtask guard`: what a call costs, counted and not timed. `docs/benchmarks.md` says how the figures read.

mod exchange;
mod figures;
mod profile;
mod sidecar;
mod upstream;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context as _, anyhow, ensure};

use self::exchange::Kind;
use self::figures::{Figure, Figures};
use self::profile::Counted;
use self::sidecar::run;

/// The only machine for which figures are kept: another one has other instructions.
const ARCHITECTURE: &str = "x86_64";

/// The profile whose figures are kept: that of the other tests, whose build is there already. An optimised one takes minutes.
pub(crate) const KEPT_PROFILE: &str = "dev";

/// Builds the program, counts, and compares with the figures that are kept; with `write` they are kept instead. Those of another
/// profile than [`KEPT_PROFILE`] are only shown.
#[expect(clippy::print_stdout, reason = "the figures are what it makes")]
pub(crate) fn guard(profile: &str, write: bool) -> anyhow::Result<()> {
    if std::env::consts::ARCH != ARCHITECTURE {
        println!("skipped: the figures are those of {ARCHITECTURE}");
        return Ok(());
    }
    let found = count_all(&build(profile)?)?;
    if profile != KEPT_PROFILE {
        print!("{found}");
        return Ok(());
    }
    let path = xtask::root().join("crates/xtask/guard.txt");
    if write {
        std::fs::write(&path, found.to_string())?;
        print!("{found}");
        return Ok(());
    }
    let kept = std::fs::read_to_string(&path).context("hint: cargo xtask guard --write")?.parse()?;
    let verdict = found.beside(&kept);
    print!("{verdict}");
    ensure!(
        !verdict.is_worse(),
        "a call costs more than it did; hint: if it must, cargo xtask guard --write"
    );
    Ok(())
}

/// Answers where the program is.
fn build(profile: &str) -> anyhow::Result<PathBuf> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--locked", "--profile", profile, "--package", "mai-usage"]);
    ensure!(cargo.current_dir(xtask::root()).status()?.success(), "the program cannot be built");
    let folder = if profile == "dev" { "debug" } else { profile };
    Ok(xtask::root().join("target").join(folder).join("mai-usage"))
}

/// One run makes the first calls of each kind only, and one for each kind some more of it: the difference is theirs, without
/// the start and the end. The runs do not know of each other, so they go side by side.
fn count_all(program: &Path) -> anyhow::Result<Figures> {
    let more = Kind::ALL.map(Some);
    let (base, runs) = thread::scope(|scope| {
        let start = |more: Option<Kind>| {
            scope.spawn(move || {
                let calls =
                    |kind: Kind| kind.warm_up_calls() + if more == Some(kind) { kind.calls() } else { 0 };
                run(program, calls)
            })
        };
        let (base, runs) = (start(None), more.map(start));
        let end = |run: thread::ScopedJoinHandle<'_, anyhow::Result<Counted>>| {
            run.join().map_err(|_| anyhow!("a run broke off"))?
        };
        (end(base), runs.map(end))
    });
    let base = base?;
    let mut figures = Vec::new();
    for (kind, run) in Kind::ALL.into_iter().zip(runs) {
        figures.extend(figures_of(kind, run?.less(base).of_each(kind.calls())));
    }
    Ok(Figures(figures))
}

fn figures_of(kind: Kind, each: Counted) -> Vec<Figure> {
    let figure = |what: &str, count| Figure { what: format!("{} {what}", kind.name()), count };
    let instructions = figure("instructions", each.instructions);
    match kind {
        // Each piece of a large body that is read is an allocation, and how large the pieces are is chance.
        Kind::Picture => vec![instructions],
        Kind::Plain | Kind::Stream => vec![instructions, figure("allocations", each.allocations)],
    }
}
