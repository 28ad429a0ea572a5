//! `mai-usage report`: who owes what. It reads the clients' files, beside a running sidecar or without one, and writes nothing there.

mod period;
mod print;
mod rows;

use std::path::{Path, PathBuf};

use ledger::{LedgerReader, Scope};
use metering::Clock;

use crate::clients::{ChosenClients, Client};
use crate::error::in_words;
use crate::{Console, OperatorError, private_file};
use period::Period;
use print::Unread;
use rows::{Books, Row, Sums};

/// What `mai-usage report` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct ReportArgs {
    /// What there is one row for.
    #[arg(long, value_name = "WHAT", default_value = "client")]
    pub by: By,
    /// Which month, as in 2026-11; this month without it.
    #[arg(long, value_name = "YYYY-MM", conflicts_with_all = ["from", "to"])]
    pub month: Option<String>,
    /// The first billing day, as in 2026-11-01.
    #[arg(long, value_name = "DAY", requires = "to")]
    pub from: Option<String>,
    /// The last billing day, inclusive.
    #[arg(long, value_name = "DAY", requires = "from")]
    pub to: Option<String>,
    /// Whose.
    #[command(flatten)]
    pub clients: ChosenClients,
    /// For people, for spreadsheets or for programs.
    #[arg(long, default_value = "table")]
    pub format: Format,
    /// The same as `--format json`.
    #[arg(long, conflicts_with = "format")]
    pub json: bool,
    /// Write it to a new file of mode 0600 instead of standard output.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// What there is one row for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// Each client.
    Client,
    /// Each user of each client.
    User,
    /// Each model of each client.
    Model,
    /// Each month of each client.
    Month,
    /// Each billing day of each client.
    Day,
}

/// For whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// People.
    Table,
    /// Spreadsheets: the rows without a total.
    Csv,
    /// Programs.
    Json,
}

/// What was found.
#[derive(Debug)]
struct Report {
    by: By,
    period: Period,
    rows: Vec<Row>,
    total: Sums,
    unread: Vec<Unread>,
}

impl By {
    const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::User => "user",
            Self::Model => "model",
            Self::Month => "month",
            Self::Day => "day",
        }
    }
}

/// Reports what `args` ask for.
///
/// # Errors
/// [`OperatorError::NotWell`] where a client could not be read: the others are told.
pub async fn run(args: ReportArgs, console: &mut Console, clock: &Clock) -> Result<(), OperatorError> {
    let period = Period::of(&args, clock)?;
    let folders = args.clients.folders()?;
    let report = report(args.by, period, &folders).await?;
    let format = if args.json { Format::Json } else { args.format };
    let text = print::print(&report, format)?;
    match &args.output {
        Some(path) => {
            let end = if text.ends_with('\n') { "" } else { "\n" };
            private_file::create(path, &format!("{text}{end}"))?;
            console.note(&format!("{} rows are in {}", report.rows.len(), path.display()));
        }
        None => console.say(text.trim_end_matches(['\r', '\n']))?,
    }
    note(&report, format, console);
    let unread = report.unread.len();
    if unread > 0 {
        let words =
            format!("{unread} of {} clients could not be read, and the sums lack them", folders.len());
        return Err(OperatorError::NotWell(words));
    }
    Ok(())
}

/// What stands in none of the rows.
fn note(report: &Report, format: Format, console: &mut Console) {
    for Unread { client, error } in &report.unread {
        console.note(&format!("{client}: {error}"));
    }
    if format == Format::Csv {
        let Sums { cost_usd, charge_usd, profit_usd, not_yet_known, .. } = report.total;
        console.note(&format!("total: cost {cost_usd}, charge {charge_usd}, profit {profit_usd} USD"));
        if not_yet_known > 0 {
            console.note(&print::not_yet_known(report));
        }
    }
}

async fn report(by: By, period: Period, folders: &[PathBuf]) -> Result<Report, OperatorError> {
    let (mut rows, mut unread) = (Vec::new(), Vec::new());
    for folder in folders {
        match books(by, period, folder).await {
            Ok(books) => rows.extend(books.rows(by, period)?),
            Err(error) => {
                let client = folder.file_name().unwrap_or(folder.as_os_str()).to_string_lossy().into_owned();
                unread.push(Unread { client, error: in_words(&error) });
            }
        }
    }
    Ok(Report { by, period, total: rows::total(&rows)?, rows, unread })
}

async fn books(by: By, period: Period, folder: &Path) -> Result<Books, OperatorError> {
    let client = Client::read(folder)?;
    let path = client.database();
    let reader = LedgerReader::open(&path).await?;
    let read = read(by, period, &reader, &path).await;
    reader.close().await;
    let (organisation, bill, users) = read?;
    Ok(Books { client: client.name, organisation, bill, users })
}

type Read = (ledger::Organisation, ledger::Bill, Vec<ledger::UserRecord>);

async fn read(by: By, period: Period, reader: &LedgerReader, path: &Path) -> Result<Read, OperatorError> {
    let organisation = reader.organisation().await?;
    let organisation = organisation.ok_or_else(|| OperatorError::NoOrganisation { path: path.to_owned() })?;
    let scope = Scope { org_id: organisation.id.clone(), user_id: None, from: period.from, to: period.to };
    let bill = reader.bill(&scope, by.asked()).await?;
    // Whoever asked is recorded before his call is.
    let users = reader.users().await?;
    Ok((organisation, bill, users))
}

#[cfg(test)]
pub(crate) mod tests {
    use clap::Parser;

    use super::ReportArgs;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        arguments: ReportArgs,
    }

    pub(crate) fn args(flags: &[&str]) -> ReportArgs {
        Line::try_parse_from(["report"].iter().chain(flags)).unwrap().arguments
    }
}
