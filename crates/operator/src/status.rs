//! `mai-usage status`: how the clients are, a line each. A sidecar that is down, or a client that is broken, stops none of the others.

mod gather;
mod print;

use std::path::PathBuf;

use jiff::Timestamp;
use metering::{Clock, MoneyError};
use serde::Serialize;

use crate::clients::ChosenClients;
use crate::keys::pretty;
use crate::usd::Usd;
use crate::{Console, OperatorError};

/// What `mai-usage status` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct StatusArgs {
    /// Whose.
    #[command(flatten)]
    pub clients: ChosenClients,
    /// Print JSON, for machines.
    #[arg(long)]
    pub json: bool,
}

/// How one client is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct ClientStatus {
    /// The name of its folder.
    client: String,
    state: State,
    /// What is not as it should be, in words.
    reasons: Vec<String>,
    /// The running sidecar's.
    version: Option<String>,
    /// `None` where the file cannot be read.
    books: Option<Books>,
    last_backup_at: Option<Timestamp>,
}

/// In one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    /// It works, and something should be seen to.
    Degraded,
    /// It runs and cannot work.
    Unavailable,
    /// Its sidecar does not answer.
    Down,
    /// Its folder or its file cannot be used.
    Broken,
}

/// What its file tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Books {
    organisation_id: String,
    organisation: String,
    /// Settled calls of the current billing day.
    calls_today: i64,
    /// Of the current month of the organisation's zone.
    month: Month,
    /// What it may cost a month; `None` without a limit.
    limit_usd: Option<Usd>,
    /// How many thousandths of the limit are used.
    limit_used_permille: Option<i64>,
    /// Calls whose cost is not known yet.
    open_calls: i64,
    /// Calls that died before their id was known.
    orphans: i64,
    last_poll: Option<Poll>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[expect(clippy::struct_field_names, reason = "the unit stands last in the name of an amount")]
struct Month {
    cost_usd: Usd,
    charge_usd: Usd,
    profit_usd: Usd,
}

/// The last comparison with `OpenRouter`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Poll {
    at: Option<Timestamp>,
    /// How much more the key's counter has grown than our sum; `None` where it could not be read.
    difference_usd: Option<Usd>,
    /// `bypass` where the key is used past the sidecar.
    warning: Option<String>,
    error: Option<String>,
}

/// All clients together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Total {
    clients: usize,
    /// Those that can work.
    working: usize,
    /// Those whose file could not be read: the sums lack them.
    unread: usize,
    calls_today: i64,
    month: Month,
    open_calls: i64,
    orphans: i64,
}

/// The answer for machines.
#[derive(Serialize)]
struct Answer<'a> {
    at: Timestamp,
    clients: &'a [ClientStatus],
    total: &'a Total,
}

/// Tells how the clients are that `args` choose.
///
/// # Errors
/// [`OperatorError::NotWell`] where one cannot work: all of them are told.
pub async fn run(args: StatusArgs, console: &mut Console, clock: &Clock) -> Result<(), OperatorError> {
    let folders = args.clients.folders()?;
    let now = clock.now();
    let clients = all(&folders, now).await;
    let total = Total::of(&clients)?;
    let text = if args.json {
        pretty(&Answer { at: now, clients: &clients, total: &total })
    } else {
        print::table(&clients, &total, now)
    };
    console.say(&text)?;
    let unwell: Vec<&str> =
        clients.iter().filter(|client| !client.state.works()).map(|client| client.client.as_str()).collect();
    if unwell.is_empty() {
        return Ok(());
    }
    let (many, all, names) = (unwell.len(), clients.len(), unwell.join(", "));
    Err(OperatorError::NotWell(format!(
        "{many} of {all} clients cannot work: {names}; hint: mai-usage doctor"
    )))
}

/// At the same time, in the order of the folders.
async fn all(folders: &[PathBuf], now: Timestamp) -> Vec<ClientStatus> {
    futures_util::future::join_all(folders.iter().map(|folder| gather::status(folder, now))).await
}

impl State {
    const fn works(self) -> bool {
        matches!(self, Self::Ok | Self::Degraded)
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Unavailable => "unavailable",
            Self::Down => "down",
            Self::Broken => "broken",
        }
    }
}

impl Total {
    fn of(clients: &[ClientStatus]) -> Result<Self, MoneyError> {
        let books = || clients.iter().filter_map(|client| client.books.as_ref());
        let mut month = Month::default();
        for books in books() {
            month.add(&books.month)?;
        }
        Ok(Self {
            clients: clients.len(),
            working: clients.iter().filter(|client| client.state.works()).count(),
            unread: clients.iter().filter(|client| client.books.is_none()).count(),
            calls_today: books().map(|books| books.calls_today).sum(),
            month,
            open_calls: books().map(|books| books.open_calls).sum(),
            orphans: books().map(|books| books.orphans).sum(),
        })
    }
}

impl Month {
    fn add(&mut self, other: &Self) -> Result<(), MoneyError> {
        let usd = |one: Usd, other: Usd| one.0.checked_add(other.0).map(Usd);
        *self = Self {
            cost_usd: usd(self.cost_usd, other.cost_usd)?,
            charge_usd: usd(self.charge_usd, other.charge_usd)?,
            profit_usd: usd(self.profit_usd, other.profit_usd)?,
        };
        Ok(())
    }
}
