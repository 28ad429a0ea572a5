//! `mai-usage backup`: copies of the ledgers beside running sidecars, each verified, with a checksum, without the key.

pub(crate) mod checksum;
pub(crate) mod name;
mod plan;
mod retention;
#[cfg(test)]
mod tests;
mod work;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use ledger::CopyError;
use metering::Clock;
use serde::Serialize;

use crate::clients::{ChosenClients, Client};
use crate::error::in_full;
use crate::keys::pretty;
use crate::{Console, OperatorError};
use plan::{Facts, Step, Wanted, plan};
use retention::Keep;
use work::Work;

/// What `mai-usage backup` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct BackupArgs {
    /// Whose ledgers.
    #[command(flatten)]
    pub clients: ChosenClients,
    /// The database file; `DATABASE_PATH` of .env, or `data/mai-usage.db` in the folder, without it.
    #[arg(long, value_name = "FILE", conflicts_with = "all")]
    pub database: Option<PathBuf>,
    /// Where the backups go; `backups` in the client's folder without it.
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,
    /// Remove older backups of the client, but not those of so many days; without it none is removed.
    #[arg(long, value_name = "N")]
    pub keep_days: Option<u16>,
    /// Nor the first of each of so many months.
    #[arg(long, value_name = "N", default_value_t = 0, requires = "keep_days")]
    pub keep_months: u16,
    /// Print JSON, for machines.
    #[arg(long)]
    pub json: bool,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Why a backup was not made. Nothing half is left, and the older ones are as they were.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is nothing to copy.
    #[error("there is no ledger {path}; hint: was the client ever started? `mai-usage restore` brings back one that is lost", path = .path.display())]
    NoDatabase {
        /// Where it should be.
        path: PathBuf,
    },
    /// The disk is too full.
    #[error(
        "{folder} has {free} MB free, and the backup needs {needed}: {} MB stay free for the sidecars; hint: make \
         room, or name another disk with --to",
        plan::RESERVE_BYTES / plan::MEGABYTE,
        folder = .folder.display()
    )]
    Space {
        /// Where the backup was to go.
        folder: PathBuf,
        /// What is free, megabytes.
        free: u64,
        /// What must be free, megabytes.
        needed: u64,
    },
    /// The copy failed, or is not sound.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// Some of several clients.
    #[error("{failed} of {clients} backups failed")]
    Some {
        /// How many failed.
        failed: usize,
        /// Of how many.
        clients: usize,
    },
}

/// A backup that was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Made {
    /// The client's name.
    pub(crate) client: String,
    /// The backup.
    pub(crate) file: PathBuf,
    /// When.
    pub(crate) at: Timestamp,
    pub(crate) bytes: u64,
    pub(crate) sha256: String,
    pub(crate) entries: u64,
    /// The sum of the costs, US dollars.
    pub(crate) cost_usd: String,
    /// What the ledger itself is known to lack; no copy mends that.
    pub(crate) lost: Option<String>,
    /// Older backups that were removed.
    pub(crate) removed: Vec<PathBuf>,
}

/// What became of a client's backup, for machines.
#[derive(Serialize)]
#[serde(untagged)]
enum Told {
    Made(Made),
    Planned { client: String, dry_run: bool, plan: Vec<Step> },
    Failed { client: String, error: String },
}

/// When the client in `folder` was last backed up into its own `backups`.
pub(crate) fn last(folder: &Path) -> Option<Timestamp> {
    let folder = folder.canonicalize().ok()?;
    let client = folder.file_name()?.to_str()?;
    name::find(&folder.join(name::FOLDER), client).ok()?.backups.last().copied()
}

/// Makes a backup of `client` in its own `backups`, and removes none.
pub(crate) async fn make(client: &Client, clock: &Clock) -> Result<Made, OperatorError> {
    Work::new(Wanted::of(client), clock)?.run().await
}

/// Backs up the clients that `args` choose, one after the other; one that fails does not stop the others.
///
/// # Errors
/// [`OperatorError`]; with several clients the others are done.
pub async fn run(args: BackupArgs, console: &mut Console, clock: &Clock) -> Result<(), OperatorError> {
    let clients = args.clients.find()?;
    let (several, mut told) = (args.clients.all, Vec::new());
    for client in clients {
        let name = client.as_ref().map_or_else(|_| String::new(), |client| client.name.clone());
        match one(client, &args, console, clock).await {
            Ok(done) => {
                if !args.json {
                    done.print(several, console)?;
                }
                told.push(done);
            }
            Err(error) if !several => return Err(error),
            Err(error) => {
                let error = in_full(&error);
                console.note(&format!("error: {name}{}{error}", if name.is_empty() { "" } else { ": " }));
                told.push(Told::Failed { client: name, error });
            }
        }
    }
    if args.json {
        console.say(&pretty(&told))?;
    }
    let failed = told.iter().filter(|told| matches!(told, Told::Failed { .. })).count();
    if failed > 0 {
        return Err(BackupError::Some { failed, clients: told.len() }.into());
    }
    if told.is_empty() {
        console.note("there are no clients");
    }
    Ok(())
}

async fn one(
    client: Result<Client, OperatorError>,
    args: &BackupArgs,
    console: &mut Console,
    clock: &Clock,
) -> Result<Told, OperatorError> {
    let client = client?;
    let mut wanted = Wanted::of(&client);
    if let Some(database) = &args.database {
        wanted.database.clone_from(database);
    }
    if let Some(folder) = &args.to {
        wanted.folder.clone_from(folder);
    }
    wanted.keep = args.keep_days.map(|days| Keep { days, months: args.keep_months });
    if args.dry_run {
        let facts = Facts::gather(&wanted, clock.now())?;
        return Ok(Told::Planned { client: client.name, dry_run: true, plan: plan(&wanted, &facts) });
    }
    let work = Work::new(wanted, clock)?;
    if let Some(megabytes) = work.takes_long() {
        console.note(&format!("{}: copying {megabytes} MB and verifying the copy", client.name));
    }
    Ok(Told::Made(work.run().await?))
}

impl Told {
    fn print(&self, several: bool, console: &mut Console) -> Result<(), OperatorError> {
        let before = |client: &str| if several { format!("{client}: ") } else { String::new() };
        match self {
            Self::Made(made) => {
                if let Some(lost) = &made.lost {
                    console.note(&format!("{}warning: the ledger itself lacks {lost}", before(&made.client)));
                }
                for old in &made.removed {
                    console.note(&format!("{}removed {}", before(&made.client), old.display()));
                }
                let (file, entries, cost) = (made.file.display(), made.entries, &made.cost_usd);
                console.say(&format!("{}{file}: {entries} entries, cost {cost} USD", before(&made.client)))
            }
            Self::Planned { client, plan, .. } => {
                plan.iter().try_for_each(|step| console.say(&format!("{}would {step}", before(client))))
            }
            Self::Failed { .. } => Ok(()),
        }
    }
}
