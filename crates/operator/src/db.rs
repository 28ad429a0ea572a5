//! `mai-usage db`: a client's database.

mod cleanup;
mod import;
mod init;
mod validate;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use ledger::{LedgerReader, Schema};
use metering::Clock;
use settings::Settings;

use crate::backup::BackupError;
use crate::clients::{ChosenClients, Client};
use crate::{Console, OperatorError, private_file};

pub use import::{Doubled, ImportArgs};

/// Where copies go, in the client's folder.
const BACKUPS: &str = "backups";

/// What `mai-usage db` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct DbArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: DbAction,
    /// Print JSON, for machines.
    #[arg(long, global = true)]
    pub json: bool,
}

/// What to do with a client's database.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum DbAction {
    /// Make the database of a client whose `.env` is there, and record the organisation in it. Run again it changes nothing.
    Init {
        /// Whose.
        #[command(flatten)]
        place: DbPlaceArgs,
        /// Print what would be done, and do nothing.
        #[arg(long)]
        dry_run: bool,
    },
    /// Check a client's database: the ledger, its files, the organisation beside `.env`. Only reads; the sidecar may run.
    Validate {
        /// Whose.
        #[command(flatten)]
        clients: ChosenClients,
        /// The database file; `DATABASE_PATH` of .env, or `data/mai-usage.db` in the folder, without it.
        #[arg(long, value_name = "FILE", conflicts_with = "all")]
        database: Option<PathBuf>,
    },
    /// Take out organisations and users to which nothing belongs, after a backup. Calls and entries are never touched.
    Cleanup {
        /// Whose.
        #[command(flatten)]
        place: DbPlaceArgs,
        /// Print what would be taken out, and do nothing.
        #[arg(long)]
        dry_run: bool,
        /// Agree to what would be asked.
        #[arg(long, short)]
        yes: bool,
    },
    /// Book the daily rows of the original's `webui.db`, once. Run again it changes nothing.
    Import(ImportArgs),
}

/// One client's database.
#[derive(Debug, Clone, clap::Args)]
pub struct DbPlaceArgs {
    /// The client's folder.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub folder: PathBuf,
    /// The database file; `DATABASE_PATH` of .env, or `data/mai-usage.db` in the folder, without it.
    #[arg(long, value_name = "FILE")]
    pub database: Option<PathBuf>,
}

/// What a command of `db` cannot go on with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DbError {
    /// There is none yet.
    #[error("there is no database {path}; hint: `mai-usage db init` makes it", path = .path.display())]
    NoDatabase {
        /// Where it should be.
        path: PathBuf,
    },
    /// It must be brought up to date before it can be read.
    #[error(
        "{path} has the schema {version} of an older mai-usage, and {newest} is the newest; hint: start the sidecar, or run \
         `mai-usage db init`",
        path = .path.display()
    )]
    Older {
        /// The file.
        path: PathBuf,
        /// Its schema.
        version: i64,
        /// This program's.
        newest: i64,
    },
    /// It is another client's.
    #[error(
        "the database belongs to {recorded}, and .env says {given}; hint: name the right --folder or --database"
    )]
    OtherOrganisation {
        /// Whose it is.
        recorded: String,
        /// Who was meant.
        given: String,
    },
    /// Something is wrong; it was told on standard output.
    #[error("{findings} things are wrong, see above")]
    Unsound {
        /// How many.
        findings: usize,
    },
    /// The original's file has no usage of the organisation.
    #[error("the file has no usage of {wanted}; hint: --organization-id takes one of those it has: {known}")]
    NoSuchOrganisation {
        /// Who was asked for.
        wanted: String,
        /// Who is there.
        known: String,
    },
    /// The original's sample data was asked for.
    #[error(
        "default_org_2024 is sample data that the original's create_tables.py made up; it is never imported"
    )]
    SampleData,
    /// Days that were not booked, and should be looked at.
    #[error(
        "{days} days were not booked, because what they come to cannot be told, or is not what was booked before; they are told above; \
         hint: see \"Moving from the original\" in docs/operations.md"
    )]
    LeftOut {
        /// How many.
        days: usize,
    },
    /// More money than a ledger holds.
    #[error(
        "the sum of the import is out of the range of a ledger (9.2 million US dollars); nothing was booked"
    )]
    OutOfRange,
    /// The ledger does not hold what was booked.
    #[error(
        "the ledger does not hold what was booked; hint: `mai-usage db validate`, and restore the last backup"
    )]
    NotAsBooked,
}

/// Does what `args` say.
///
/// # Errors
/// [`OperatorError`]; what was changed before is told.
pub async fn run(args: DbArgs, console: &mut Console, clock: &Clock) -> Result<(), OperatorError> {
    let DbArgs { action, json } = args;
    match action {
        DbAction::Init { place, dry_run } => init::run(&place, (json, dry_run), console, clock).await,
        DbAction::Validate { clients, database } => {
            validate::run(&clients, database.as_deref(), json, console).await
        }
        DbAction::Cleanup { place, dry_run, yes } => {
            cleanup::run(&place, cleanup::How { json, dry_run, yes }, console, clock).await
        }
        DbAction::Import(args) => import::run(&args, json, console, clock).await,
    }
}

impl DbPlaceArgs {
    /// The client, what the sidecar makes of its `.env`, and its database.
    fn find(&self) -> Result<(Client, Settings, PathBuf), OperatorError> {
        let client = Client::read(&self.folder)?;
        let settings = client.settings()?;
        let database = self.database.clone().unwrap_or_else(|| client.database());
        Ok((client, settings, database))
    }
}

/// Opens a database that is there and up to date, for reading only.
async fn open_to_read(database: &Path) -> Result<LedgerReader, OperatorError> {
    refuse_missing(database)?;
    let path = database.to_owned();
    if let Schema::Older { version, newest } = Schema::of(database).await? {
        return Err(DbError::Older { path, version, newest }.into());
    }
    Ok(LedgerReader::open(database).await?)
}

/// Copies the database into the client's folder, as it is before something is done to it, and tells where.
async fn copy_before(
    what: &str,
    folder: &Path,
    (reader, now): (&LedgerReader, Timestamp),
    console: &mut Console,
) -> Result<PathBuf, OperatorError> {
    let backups = folder.join(BACKUPS);
    private_file::make_folder(&backups)?;
    let name = format!("before-{what}-{}", now.strftime("%Y%m%dT%H%M%SZ"));
    // There may be more than one in a second.
    let mut copy = backups.join(format!("{name}.db"));
    for number in 2_u32.. {
        if !copy.exists() {
            break;
        }
        copy = backups.join(format!("{name}-{number}.db"));
    }
    reader.copy_to(&copy).await.map_err(BackupError::from)?;
    console.note(&format!("a copy of the database as it was: {}", copy.display()));
    Ok(copy)
}

fn refuse_missing(database: &Path) -> Result<(), DbError> {
    if database.exists() { Ok(()) } else { Err(DbError::NoDatabase { path: database.to_owned() }) }
}
