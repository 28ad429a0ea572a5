//! `mai-usage restore`: a backup is put where a ledger was lost, or where it never was.

mod apply;

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use ledger::{EmptyPlace, PlaceError};
use metering::{Clock, OrgId};
use serde::Serialize;

use crate::account::AccountArgs;
use crate::backup::{checksum, name};
use crate::clients::{ChosenClients, Client, DirectoryArgs};
use crate::keys::pretty;
use crate::private_file::{self, FileError, beside};
use crate::{Console, OperatorError, ReconcileArgs};
use apply::{Found, Plan};

/// What `mai-usage restore` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct RestoreArgs {
    /// The backup; chosen from those in `backups` otherwise.
    #[arg(long, value_name = "FILE")]
    pub from: Option<PathBuf>,
    /// The client's folder.
    #[arg(long, default_value = ".", value_name = "DIR")]
    pub folder: PathBuf,
    /// Where it goes; `DATABASE_PATH` of .env, or `data/mai-usage.db` in the folder, without it.
    #[arg(long, value_name = "FILE")]
    pub database: Option<PathBuf>,
    /// With the management key: fetch the calls that are missing.
    #[command(flatten)]
    pub account: AccountArgs,
    /// Print JSON, for machines.
    #[arg(long)]
    pub json: bool,
    /// Verify the backup, print what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Why a backup was not put back. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// It is not what was written once.
    #[error("{from} is damaged: its checksum is not that of {checksum}; hint: take another backup", from = .from.display(), checksum = .checksum.display())]
    Checksum {
        /// The backup.
        from: PathBuf,
        /// The file with its checksum.
        checksum: PathBuf,
    },
    /// The file with the checksum holds none.
    #[error("{path} holds no checksum; hint: without that file the backup is verified by itself", path = .path.display())]
    NoChecksum {
        /// The file.
        path: PathBuf,
    },
    /// The ledger in it is damaged.
    #[error("{from} is damaged: {first}; hint: take another backup", from = .from.display())]
    Damaged {
        /// The backup.
        from: PathBuf,
        /// What was found first.
        first: String,
    },
    /// It is no ledger, or one that cannot be read.
    #[error("{from} is no ledger that can be read; hint: take another backup", from = .from.display())]
    Unreadable {
        /// The backup.
        from: PathBuf,
        /// What `SQLite` said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Commits stand outside of it.
    #[error("{log} lies beside the file: it is a running ledger and no backup; hint: `mai-usage backup` makes one", log = .log.display())]
    InUse {
        /// Its write-ahead log.
        log: PathBuf,
    },
    /// It cannot go where it should.
    #[error(transparent)]
    Place(#[from] PlaceError),
}

/// A backup that was put back, or would be.
#[derive(Debug, Serialize)]
struct Restored {
    dry_run: bool,
    from: PathBuf,
    database: PathBuf,
    organisation: Option<String>,
    entries: u64,
    /// The sum of the costs, US dollars.
    cost_usd: String,
    /// Whether a checksum lay beside it.
    checksum: bool,
    last_call_at: Option<Timestamp>,
    /// Calls from then on are missing, until now.
    missing_from: Option<Timestamp>,
    missing_until: Timestamp,
    /// How many commits the ledger had that was here, and the backup lacks; `null` where nothing of it is left.
    missing_commits: Option<i64>,
    /// What the ledger was known to lack when it was copied.
    lost_before: Option<String>,
}

/// Puts a backup back.
///
/// # Errors
/// [`OperatorError`]; nothing was put anywhere.
pub async fn run(args: RestoreArgs, console: &mut Console, clock: &Clock) -> Result<(), OperatorError> {
    let client = Client::read(&args.folder)?;
    let lock = private_file::lock(&client.folder)?;
    let plan = plan(&args, &client, console)?;
    let (found, marked) =
        if args.dry_run { (plan.dry_run().await?, None) } else { plan.apply(&client, console).await? };
    let restored = Restored::of(&plan, args.dry_run, (&found, marked), clock.now());
    restored.print(args.json, console)?;
    if !args.dry_run {
        drop(lock);
        return fetch_missing(args, console, clock).await;
    }
    Ok(())
}

/// What is missing since the backup stands in `OpenRouter`'s statement, which only the management key may read.
async fn fetch_missing(args: RestoreArgs, console: &mut Console, clock: &Clock) -> Result<(), OperatorError> {
    let RestoreArgs { folder, database, account, json, .. } = args;
    // A ledger elsewhere is not the one that the client's sidecar, or `reconcile`, opens.
    if account.management_key_file.is_none() || database.is_some() {
        console.note("next: `mai-usage reconcile` fetches the missing calls from OpenRouter's statement;");
        console.note("the sidecar, once it is started, settles the calls that were open");
        return Ok(());
    }
    let directory = DirectoryArgs { directory: PathBuf::new() };
    let clients = ChosenClients { folder, all: false, directory };
    let args = ReconcileArgs { clients, from: None, to: None, account, json, dry_run: false };
    crate::reconcile(args, console, clock).await
}

fn plan(args: &RestoreArgs, client: &Client, console: &mut Console) -> Result<Plan, OperatorError> {
    let from = match &args.from {
        Some(from) => from.clone(),
        None => choose(client, console)?,
    };
    let log = beside(&from, "-wal");
    if log.metadata().is_ok_and(|found| found.len() > 0) {
        return Err(RestoreError::InUse { log }.into());
    }
    let database = args.database.clone().unwrap_or_else(|| client.database());
    EmptyPlace::look(&database).map_err(RestoreError::from)?;
    let settings = client.settings()?;
    let of_name = || settings.organization_name.as_deref().map(OrgId::of_name);
    let organisation = settings.openrouter_external_user.map(OrgId::new).or_else(of_name);
    Ok(Plan { checksum: expected(&from)?, from, database, organisation })
}

/// The newest first.
fn choose(client: &Client, console: &mut Console) -> Result<PathBuf, OperatorError> {
    const MISSING: OperatorError = OperatorError::Missing { what: "the backup", flag: "--from" };
    let folder = client.folder.join(name::FOLDER);
    let mut backups = name::find(&folder, &client.name)?.backups;
    backups.reverse();
    if backups.is_empty() || !console.asker.can_ask() {
        return Err(MISSING);
    }
    let names: Vec<String> = backups.iter().map(|at| name::of(&client.name, *at)).collect();
    let place = console.asker.choose("Which backup?", names.clone())?;
    names.get(place).map(|name| folder.join(name)).ok_or(MISSING)
}

/// The checksum that lies beside a backup.
fn expected(from: &Path) -> Result<Option<String>, OperatorError> {
    let path = name::checksum(from);
    match std::fs::read_to_string(&path) {
        Ok(line) => match checksum::read(&line) {
            None => Err(RestoreError::NoChecksum { path }.into()),
            sum => Ok(sum),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(FileError::System { attempted: "read", path, source }.into()),
    }
}

impl Restored {
    fn of(plan: &Plan, dry_run: bool, (found, marked): (&Found, Option<i64>), now: Timestamp) -> Self {
        let Found { contents, verification } = found;
        Self {
            dry_run,
            from: plan.from.clone(),
            database: plan.database.clone(),
            organisation: contents.organisation.as_ref().map(|id| id.as_str().to_owned()),
            entries: verification.entries,
            cost_usd: verification.cost.to_string(),
            checksum: plan.checksum.is_some(),
            last_call_at: contents.last_call_at,
            missing_from: contents.written_at,
            missing_until: now,
            missing_commits: marked.map(|marked| (marked - contents.commits).max(0)),
            lost_before: verification.findings.first().map(ToString::to_string),
        }
    }

    fn print(&self, json: bool, console: &mut Console) -> Result<(), OperatorError> {
        if json {
            return console.say(&pretty(self));
        }
        if !self.checksum {
            console.note("no checksum lies beside the backup; it was verified by itself");
        }
        if let Some(lost) = &self.lost_before {
            console.note(&format!("warning: the ledger had lost something before it was copied: {lost}"));
        }
        let (from, database) = (self.from.display(), self.database.display());
        let done = if self.dry_run {
            format!("would restore {from} as {database}")
        } else {
            format!("restored {from} as {database}")
        };
        console.say(&format!("{done}: {} entries, cost {} USD", self.entries, self.cost_usd))?;
        let Some(missing_from) = self.missing_from else {
            return console.say("it holds no call");
        };
        console.say(&format!("calls from {missing_from:.0} until {:.0} are missing", self.missing_until))?;
        match self.missing_commits {
            Some(missing @ 1..) => console.say(&format!(
                "{missing} commits of the ledger that was here are missing; `mai-usage verify` keeps telling it"
            )),
            _ => Ok(()),
        }
    }
}
