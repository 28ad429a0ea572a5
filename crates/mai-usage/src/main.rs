//! `mai-usage`: the sidecar that knows who asked, what it cost, and writes it down.

mod commands {
    pub(crate) mod daemon;
    pub(crate) mod demo;
    pub(crate) mod health;
    pub(crate) mod verify;
}
mod exit;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use metering::Clock;
use operator::{
    BackupArgs, ClientArgs, Console, DbArgs, DoctorArgs, KeysArgs, OperatorError, ReconcileArgs, ReportArgs,
    RestoreArgs, SetupArgs, StatusArgs,
};
use tokio::runtime::Builder;

/// Meters and bills the OpenRouter calls of one Open WebUI.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar; settings come from the environment.
    Daemon,
    /// Ask the running sidecar whether it is healthy; exit 0 if it is.
    Health,
    /// Check the ledger: roll-up = ledger, nothing twice, nothing damaged.
    Verify {
        /// The database file; `DATABASE_PATH` by default.
        #[arg(long, value_name = "FILE")]
        database: Option<PathBuf>,
    },
    /// Make a client's folder ready to be started: its key, its `.env`, its database. Run again it does what is left.
    Setup(SetupArgs),
    /// The account's keys at OpenRouter: make, list, limit, stop, replace, delete.
    Keys(KeysArgs),
    /// Compare the ledger with OpenRouter's own statement, call by call, and book what is missing.
    Reconcile(ReconcileArgs),
    /// Copy ledgers beside their running sidecars: verified, with a checksum, without the key.
    Backup(BackupArgs),
    /// Put a backup in the place of a ledger that is lost.
    Restore(RestoreArgs),
    /// A client's database: make, check, clean, take over the original's.
    Db(DbArgs),
    /// Who owes what: cost, charge and profit by client, user, model, month or day.
    Report(ReportArgs),
    /// How the clients are, a line each: health, use, limit, polls, backups.
    Status(StatusArgs),
    /// What is wrong, and what to do about it.
    Doctor(DoctorArgs),
    /// The clients of this server: make one, list, change, upgrade, remove.
    Client(ClientArgs),
    /// Show it all on made-up chats against a simulated OpenRouter.
    Demo {
        /// End after the summary instead of staying up.
        #[arg(long)]
        once: bool,
    },
}

fn main() -> ExitCode {
    let outcome = if is_health_check() {
        run(Builder::new_current_thread(), commands::health::run())
    } else {
        daemon::choose_tls_provider();
        run(Builder::new_multi_thread(), obey(CommandLine::parse().command))
    };
    outcome.unwrap_or_else(|error| exit::report(&error))
}

/// Docker asks every ten seconds beside every sidecar: neither the tree of all commands nor a thread for each core is made for that.
fn is_health_check() -> bool {
    std::env::args_os().skip(1).eq(["health"])
}

fn run(
    mut runtime: Builder,
    command: impl Future<Output = anyhow::Result<ExitCode>>,
) -> anyhow::Result<ExitCode> {
    runtime.enable_all().build().context("cannot start the runtime")?.block_on(command)
}

async fn obey(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Daemon => commands::daemon::run(system_clock()).await,
        Command::Health => commands::health::run().await,
        Command::Verify { database } => commands::verify::run(database).await,
        Command::Setup(arguments) => {
            done(operator::setup(arguments, &mut Console::of_process(), &system_clock()).await)
        }
        Command::Keys(arguments) => {
            done(operator::keys(arguments, &mut Console::of_process(), &system_clock()).await)
        }
        Command::Reconcile(arguments) => {
            done(operator::reconcile(arguments, &mut Console::of_process(), &system_clock()).await)
        }
        Command::Backup(arguments) => {
            done(operator::backup(arguments, &mut Console::of_process(), &system_clock()).await)
        }
        Command::Restore(arguments) => {
            done(operator::restore(arguments, &mut Console::of_process(), &system_clock()).await)
        }
        Command::Db(arguments) => {
            done(operator::db(arguments, &mut Console::of_process(), &system_clock()).await)
        }
        Command::Report(arguments) => {
            done(operator::report(arguments, &mut Console::of_process(), &system_clock()).await)
        }
        Command::Status(arguments) => {
            done(operator::status(arguments, &mut Console::of_process(), &system_clock()).await)
        }
        Command::Doctor(arguments) => {
            done(operator::doctor(arguments, &mut Console::of_process(), &system_clock()).await)
        }
        Command::Client(arguments) => {
            done(operator::client(arguments, &mut Console::of_process(), &system_clock()).await)
        }
        Command::Demo { once } => commands::demo::run(system_clock(), once).await,
    }
}

/// The operator's commands have told what they did.
fn done(outcome: Result<(), OperatorError>) -> anyhow::Result<ExitCode> {
    Ok(outcome.map(|()| ExitCode::SUCCESS)?)
}

/// The one place where the program looks at the system's clock.
#[expect(clippy::disallowed_methods, reason = "everything else is given this clock")]
fn system_clock() -> Clock {
    Clock::new(jiff::Timestamp::now)
}
