//! House tasks: `cargo xtask docs`, `cargo xtask faults`, `cargo xtask fuzz`, `cargo xtask clients`, `cargo xtask guard`,
//! `cargo xtask sqlx`.

mod guard;

use std::env::{join_paths, split_paths, var_os};
use std::process::Command;

use anyhow::{Context as _, ensure};
use clap::Parser;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

/// The binaries of `fuzz/`.
const FUZZ_TARGETS: [&str; 3] = ["sse", "decimal", "env"];

/// The house's own tasks.
#[derive(Debug, Parser)]
enum Task {
    /// Make the documents that are generated.
    Docs,
    /// Break things and compare what is left: the table of `docs/reliability.md`. `--full` takes hours; `--help` lists the rest.
    #[command(disable_help_flag = true)]
    Faults {
        /// Passed on.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Feed the fuzz targets with bytes that nobody would send. See `fuzz/README.md`.
    Fuzz {
        /// How long each of them.
        #[arg(long, default_value_t = 600)]
        seconds: u64,
        /// Only these.
        #[arg(default_values_t = FUZZ_TARGETS.map(str::to_owned))]
        targets: Vec<String>,
    },
    /// From an empty folder to the clients of a server, in real Docker: three of them, twenty with `--full`.
    Clients {
        /// Twenty.
        #[arg(long)]
        full: bool,
    },
    /// Count what a call costs, and fail where it is a tenth more than in `crates/xtask/guard.txt`.
    Guard {
        /// Keep what was counted as the figures of that file.
        #[arg(long)]
        write: bool,
        /// The build that is counted; of another one than this the figures are only shown.
        #[arg(long, default_value = guard::KEPT_PROFILE, conflicts_with = "write")]
        profile: String,
    },
    /// Make `.sqlx`, the checked queries, from `migrations/`. Run it after a change of a query or of the schema.
    Sqlx,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Docs => docs(),
        Task::Faults { arguments } => faults(&arguments),
        Task::Fuzz { seconds, targets } => fuzz(seconds, &targets),
        Task::Clients { full } => clients(full),
        Task::Guard { write, profile } => guard::guard(&profile, write),
        Task::Sqlx => sqlx().await,
    }
}

/// The API's document and its examples are written by the test that keeps them true: what needs the ledger cannot be a part
/// of this program, which has to be built where the ledger's queries are not known yet.
fn docs() -> anyhow::Result<()> {
    let path = xtask::root().join("docs/configuration.md");
    std::fs::write(&path, xtask::configuration_document())
        .with_context(|| format!("cannot write {}", path.display()))?;
    // The examples first: the document is built with them.
    for test in ["examples::every_example_is_an_answer", "examples::the_document_is_as_it_is_kept"] {
        let mut cargo = Command::new("cargo");
        cargo.args(["test", "--quiet", "--package", "usage-api", "--test", "it", "--", "--exact", test]);
        let status = cargo.env("UPDATE_EXAMPLES", "1").current_dir(xtask::root()).status()?;
        ensure!(status.success(), "{test} failed");
    }
    Ok(())
}

/// As root, with what `tests/README.md` names.
fn clients(full: bool) -> anyhow::Result<()> {
    let mut cargo = Command::new("cargo");
    cargo.args(["build", "--quiet", "--locked", "--package", "mai-usage", "--package", "openrouter-sim"]);
    ensure!(cargo.current_dir(xtask::root()).status()?.success(), "the programs cannot be built");
    let mut pytest = Command::new("target/tests-venv/bin/pytest");
    pytest.args(["tests/test_clients.py", "--quiet", "--durations=12"]).current_dir(xtask::root());
    let status = pytest.env("CLIENTS", if full { "20" } else { "3" }).status();
    ensure!(status.context("hint: tests/install.sh")?.success(), "tests/test_clients.py failed");
    Ok(())
}

/// The full depth is proved on the program as it is shipped; the smoke depth takes the build that is there.
fn faults(arguments: &[String]) -> anyhow::Result<()> {
    let profile = if arguments.iter().any(|argument| argument == "--full") { "release" } else { "dev" };
    let mut cargo = Command::new("cargo");
    cargo.args([
        "test",
        "--quiet",
        "--locked",
        "--profile",
        profile,
        "--package",
        "mai-usage",
        "--test",
        "faults",
        "--",
    ]);
    let status = cargo.args(arguments).current_dir(xtask::root()).status()?;
    // What broke has been told already.
    std::process::exit(status.code().unwrap_or(1))
}

/// What it finds worth keeping goes to `target/fuzz`; what is checked in is only read.
fn fuzz(seconds: u64, targets: &[String]) -> anyhow::Result<()> {
    let root = xtask::root();
    let tools = root.join("target/tools/bin");
    let path = join_paths(split_paths(&var_os("PATH").unwrap_or_default()).chain([tools]))?;
    for target in targets {
        let (found, seeds) = (root.join("target/fuzz").join(target), root.join("fuzz/corpus").join(target));
        std::fs::create_dir_all(&found)?;
        let mut cargo = Command::new("cargo");
        cargo.args(["+nightly", "fuzz", "run", target]).args([found, seeds]).arg("--");
        cargo.args([
            format!("-max_total_time={seconds}"),
            "-max_len=8192".into(),
            "-print_final_stats=1".into(),
        ]);
        let status = cargo.env("PATH", &path).current_dir(&root).status()?;
        ensure!(status.success(), "{target} broke a promise, or could not be started; see fuzz/README.md");
    }
    Ok(())
}

/// Builds the ledger against a fresh database, which lets `sqlx` write down what it learned about each query.
async fn sqlx() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let database = folder.path().join("schema.db");
    let migrations = sqlx::migrate::Migrator::new(xtask::root().join("migrations")).await?;
    let mut connection =
        SqliteConnectOptions::new().filename(&database).create_if_missing(true).connect().await?;
    migrations.run(&mut connection).await?;
    connection.close().await?;
    let made = folder.path().join("queries");
    std::fs::create_dir(&made)?;
    let cargo = |arguments: &[&str]| {
        let mut command = Command::new("cargo");
        command.args(arguments).current_dir(xtask::root());
        command.env("DATABASE_URL", format!("sqlite:{}", database.display())).env("SQLX_OFFLINE_DIR", &made);
        command.status()
    };
    // What is built already would write nothing.
    ensure!(cargo(&["clean", "--quiet", "--package", "ledger"])?.success(), "cargo clean failed");
    ensure!(
        cargo(&["check", "--quiet", "--package", "ledger"])?.success(),
        "the queries do not fit the schema"
    );
    let kept = xtask::root().join(".sqlx");
    std::fs::remove_dir_all(&kept).context("cannot remove the old queries")?;
    std::fs::create_dir(&kept)?;
    for query in std::fs::read_dir(&made)? {
        let query = query?;
        std::fs::copy(query.path(), kept.join(query.file_name()))?;
    }
    Ok(())
}
