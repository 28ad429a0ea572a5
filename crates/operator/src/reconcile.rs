//! `mai-usage reconcile`: `OpenRouter`'s own statement beside the ledger of each client, call by call. The statement is fetched
//! here, with the management key; the ledger compares and books, in the sidecar where one runs.

mod books;
mod days;
mod fetch;
mod table;

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use jiff::civil::Date;
use ledger::{ReadError, StatementDay, StatementFacts, WriteError};
use metering::{Clock, PicoUsd, Statement};
use openrouter::{KeyRecord, hash_of_key};
use serde::Serialize;

use crate::account::AccountArgs;
use crate::clients::{ChosenClients, Client};
use crate::keys::pretty;
use crate::setup::key_name;
use crate::{Console, OperatorError};
use books::Books;
use fetch::Account;

/// What `mai-usage reconcile` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct ReconcileArgs {
    /// Whose ledger.
    #[command(flatten)]
    pub clients: ChosenClients,
    /// The first UTC day; every day of the last 30 that is not final without it.
    #[arg(long, value_name = "DAY")]
    pub from: Option<Date>,
    /// The last UTC day; today, which is only shown, without it.
    #[arg(long, value_name = "DAY")]
    pub to: Option<Date>,
    /// Whose account.
    #[command(flatten)]
    pub account: AccountArgs,
    /// Print JSON, for machines.
    #[arg(long)]
    pub json: bool,
    /// Compare, and book nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Why a ledger could not be compared, or does not agree.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// No sidecar runs and there is no file.
    #[error(
        "no sidecar answers and there is no database {path}; hint: start the client, or name its database in .env",
        path = .path.display()
    )]
    NoDatabase {
        /// Where it should be.
        path: PathBuf,
    },
    /// Somebody else's sidecar listens there.
    #[error("the sidecar belongs to {found}, and .env says {wanted}; hint: look at USAGE_PORT")]
    OtherOrganisation {
        /// Whose it is.
        found: String,
        /// Whose it should be.
        wanted: String,
    },
    /// Nothing to ask about.
    #[error("no key of this client is known; hint: has it ever been started? `mai-usage setup` makes one")]
    NoKey,
    /// More in one second than an answer holds.
    #[error("OpenRouter does not tell the whole statement of {second}; nothing was booked of it")]
    TooMuch {
        /// The second.
        second: Timestamp,
    },
    /// Two questions about the same time do not fit together.
    #[error("OpenRouter's statement changed while it was read; hint: run it again")]
    Changed,
    /// A row of the statement that is on no day.
    #[error("OpenRouter's statement has something that is on no day; nothing was booked")]
    NoDay,
    /// The ledger did not take it.
    #[error("the statement was not taken: {0}")]
    Write(#[from] WriteError),
    /// The ledger could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// All was done, and some days do not agree.
    #[error(
        "{days} days that ended more than 48 hours ago differ from OpenRouter's bill; hint: docs/operations.md, \
         \"Does it agree with OpenRouter\""
    )]
    Differs {
        /// How many.
        days: usize,
    },
    /// Some clients could not be compared.
    #[error("{failed} of {all} clients could not be compared")]
    Clients {
        /// How many.
        failed: usize,
        /// Of how many.
        all: usize,
    },
}

/// A day of a client, beside what `/activity` says of it.
#[derive(Debug, Serialize)]
struct Day {
    #[serde(flatten)]
    compared: StatementDay,
    /// `OpenRouter`'s own sum of the day; null where it does not tell one (yet).
    activity: Option<PicoUsd>,
    /// Whether the day was over when its statement was fetched.
    is_over: bool,
    /// Nothing was booked: the day is not over, or it was only to be shown.
    is_preview: bool,
}

/// A client's days.
#[derive(Debug, Serialize)]
struct Report {
    client: String,
    organisation_id: Option<String>,
    organisation: Option<String>,
    days: Vec<Day>,
    total: Total,
    error: Option<String>,
}

/// The sums of the days that are over.
#[derive(Debug, Default, Serialize)]
struct Total {
    bill: PicoUsd,
    ledger: PicoUsd,
    unattributed: PicoUsd,
    corrected: PicoUsd,
    difference: PicoUsd,
}

/// What every client is compared with.
struct Session<'a> {
    args: &'a ReconcileArgs,
    account: Account,
    keys: Vec<KeyRecord>,
    clock: &'a Clock,
}

/// Compares the ledgers of the clients that `args` name with `OpenRouter`'s statement.
///
/// # Errors
/// [`OperatorError`]; a client that cannot be compared does not keep the others from it.
pub async fn run(args: ReconcileArgs, console: &mut Console, clock: &Clock) -> Result<(), OperatorError> {
    days::check(&args, clock.now())?;
    let clients = args.clients.find()?;
    let mut account = Account::new(args.account.management(console)?);
    account.read_terms(console).await?;
    let keys = account.keys(console).await?;
    let mut session = Session { args: &args, account, keys, clock };
    let (mut reports, mut failures) = (Vec::new(), Vec::new());
    let all = clients.len();
    for client in clients {
        let name = client.as_ref().map_or_else(|_| String::new(), |client| client.name.clone());
        let outcome = match client {
            Ok(client) => session.compare(&client, console).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(report) => reports.push(report),
            Err(error) => {
                console.note(&format!("{name}: {error}"));
                reports.push(Report::failed(name, &error));
                failures.push(error);
            }
        }
    }
    print(&args, &reports, console)?;
    if let Some(error) = failures.pop() {
        let failed = failures.len() + 1;
        return Err(if all == 1 { error } else { ReconcileError::Clients { failed, all }.into() });
    }
    let days = reports.iter().flat_map(|report| &report.days).filter(|day| day.differs()).count();
    if days > 0 { Err(ReconcileError::Differs { days }.into()) } else { Ok(()) }
}

fn print(args: &ReconcileArgs, reports: &[Report], console: &mut Console) -> Result<(), OperatorError> {
    if args.json {
        return console.say(&pretty(reports));
    }
    for report in reports.iter().filter(|report| report.error.is_none()) {
        console.say(&table::of(report))?;
        for line in table::remarks(report) {
            console.note(&line);
        }
    }
    Ok(())
}

impl Session<'_> {
    async fn compare(&mut self, client: &Client, console: &mut Console) -> Result<Report, OperatorError> {
        let books = Books::of(client, self.args.dry_run, self.clock).await?;
        let outcome = self.compare_with(&books, client, console).await;
        books.close().await;
        outcome
    }

    async fn compare_with(
        &mut self,
        books: &Books,
        client: &Client,
        console: &mut Console,
    ) -> Result<Report, OperatorError> {
        let facts = books.facts().await?;
        refuse_other_organisation(&facts, client)?;
        let key_hashes = self.key_hashes(&facts, client);
        if key_hashes.is_empty() {
            return Err(ReconcileError::NoKey.into());
        }
        let now = self.clock.now();
        let wanted = days::wanted(self.args, &facts, now);
        console.note(&format!("{}: asking OpenRouter about {} days", client.name, wanted.len()));
        let statements = self.account.statements(&wanted, &key_hashes, now, console).await?;
        let activity = self.account.activity(&key_hashes, console).await;
        let mut days = Vec::new();
        for statement in statements {
            days.push(self.take(books, statement, &activity, console).await?);
        }
        Report::of(client, &facts, days)
    }

    /// Books, as often as something waits; a day that is not over is only shown.
    async fn take(
        &self,
        books: &Books,
        statement: Statement,
        activity: &BTreeMap<Date, PicoUsd>,
        console: &mut Console,
    ) -> Result<Day, OperatorError> {
        let day = statement.day;
        let is_over = statement.bounds().is_ok_and(|(_, end)| statement.fetched_at >= end);
        let is_preview = self.args.dry_run || !is_over;
        let mut compared = books.take(&statement, is_preview).await?;
        while compared.left > 0 {
            console.note(&format!("{day}: {} more to book", compared.left));
            let next = books.take(&statement, is_preview).await?;
            let (done, corrected) = (compared.done.and(next.done), compared.corrected);
            let corrected = corrected.checked_add(next.corrected).unwrap_or(corrected);
            compared = StatementDay { done, corrected, ..next };
        }
        let activity = activity.get(&day).copied().filter(|_| is_over);
        Ok(Day { compared, activity, is_over, is_preview })
    }

    /// The keys that the ledger knows, the one in `.env`, and those of the account that are called after the organisation: a key
    /// that was replaced keeps its name with an addition.
    fn key_hashes(&self, facts: &StatementFacts, client: &Client) -> Vec<String> {
        let name = key_name(&facts.organisation);
        let replaced = format!("{name} (replaced ");
        let of_that_name = self.keys.iter().filter(|key| key.name == name || key.name.starts_with(&replaced));
        let in_env = client.env.get("OPENROUTER_API_KEY").filter(|key| !key.is_empty()).map(hash_of_key);
        let mut hashes = facts.key_hashes.clone();
        hashes.extend(of_that_name.map(|key| key.hash.clone()));
        hashes.extend(in_env);
        hashes.sort();
        hashes.dedup();
        hashes
    }
}

fn refuse_other_organisation(facts: &StatementFacts, client: &Client) -> Result<(), ReconcileError> {
    let wanted = client.env.get("OPENROUTER_EXTERNAL_USER").filter(|id| !id.is_empty());
    match wanted {
        Some(wanted) if wanted != facts.organisation_id => Err(ReconcileError::OtherOrganisation {
            found: facts.organisation_id.clone(),
            wanted: wanted.to_owned(),
        }),
        _ => Ok(()),
    }
}

impl Day {
    /// The day should be final and is not.
    fn differs(&self) -> bool {
        self.compared.is_late_enough && self.compared.difference != PicoUsd::ZERO
    }
}

impl Report {
    fn of(client: &Client, facts: &StatementFacts, days: Vec<Day>) -> Result<Self, OperatorError> {
        let mut total = Total::default();
        for day in days.iter().filter(|day| day.is_over) {
            let compared = &day.compared;
            for (sum, more) in [
                (&mut total.bill, compared.bill),
                (&mut total.ledger, compared.ledger),
                (&mut total.unattributed, compared.unattributed),
                (&mut total.corrected, compared.corrected),
                (&mut total.difference, compared.difference),
            ] {
                *sum = sum.checked_add(more).map_err(|error| {
                    ReconcileError::Write(WriteError::Refused(format!("the sum of the days: {error}")))
                })?;
            }
        }
        Ok(Self {
            client: client.name.clone(),
            organisation_id: Some(facts.organisation_id.clone()),
            organisation: Some(facts.organisation.clone()),
            days,
            total,
            error: None,
        })
    }

    fn failed(client: String, error: &OperatorError) -> Self {
        Self {
            client,
            organisation_id: None,
            organisation: None,
            days: Vec::new(),
            total: Total::default(),
            error: Some(error.to_string()),
        }
    }
}
