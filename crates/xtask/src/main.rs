//! House tasks: `cargo xtask docs`, `cargo xtask sqlx`.

use std::process::Command;

use anyhow::{Context as _, ensure};
use clap::Parser;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

/// The house's own tasks.
#[derive(Debug, Parser)]
enum Task {
    /// Make the documents that are generated.
    Docs,
    /// Make `.sqlx`, the checked queries, from `migrations/`. Run it after a change of a query or of the schema.
    Sqlx,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Task::parse() {
        Task::Docs => docs(),
        Task::Sqlx => sqlx().await,
    }
}

fn docs() -> anyhow::Result<()> {
    let path = xtask::root().join("docs/configuration.md");
    std::fs::write(&path, xtask::configuration_document())
        .with_context(|| format!("cannot write {}", path.display()))
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
