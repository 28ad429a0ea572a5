//! `mai-usage keys`: the account's keys.

mod apply;
mod find;
mod plan;
mod table;

use std::path::PathBuf;

use metering::Clock;
use openrouter::{KeyRecord, LimitReset, Management};
use serde::Serialize;

use crate::account::AccountArgs;
use crate::console::Wanted;
use crate::limit::Limit;
use crate::{Console, OperatorError};
use apply::Destination;
use find::find;
use plan::{Rest, Step};

pub(crate) use plan::{Named, amount_of, limit_in_words};
pub(crate) use table::{printed, table, text};

pub use find::FindError;
pub use plan::PlanError;

/// Longest name of a key.
const LONGEST_NAME: usize = 200;

/// What `mai-usage keys` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct KeysArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: KeysAction,
    /// Whose keys.
    #[command(flatten)]
    pub account: AccountArgs,
    /// Print JSON, for machines.
    #[arg(long, global = true)]
    pub json: bool,
    /// Print what would be done, and do nothing.
    #[arg(long, global = true)]
    pub dry_run: bool,
    /// Agree to what would be asked.
    #[arg(long, short, global = true)]
    pub yes: bool,
}

/// What to do with keys. KEY is a name, a hash, or the beginning of a hash.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum KeysAction {
    /// Make a key; its secret is told once.
    Create {
        /// What to call it; no other key may have that name.
        #[arg(long)]
        name: Option<String>,
        /// What it may spend until its limit is reset: US dollars, or `unlimited`.
        #[arg(long, value_name = "USD")]
        limit: Option<String>,
        /// When its spending starts again from zero, UTC.
        #[arg(long, value_name = "WHEN", default_value = "monthly")]
        reset: Reset,
        /// Where the secret goes.
        #[command(flatten)]
        secret: SecretArgs,
    },
    /// List all keys, disabled and expired ones too.
    List,
    /// Show all that is known of a key.
    Show {
        /// Which.
        key: Option<String>,
    },
    /// Change what a key may spend.
    SetLimit {
        /// Which.
        key: Option<String>,
        /// US dollars, or `unlimited`.
        #[arg(long, value_name = "USD")]
        limit: Option<String>,
        /// When its spending starts again from zero, UTC.
        #[arg(long, value_name = "WHEN", default_value = "monthly")]
        reset: Reset,
    },
    /// Stop a key until it is enabled again.
    Disable {
        /// Which.
        key: Option<String>,
    },
    /// Let a disabled key work again.
    Enable {
        /// Which.
        key: Option<String>,
    },
    /// Make another key of the same name and limit, hand it over, then delete the old one: there is always one that works.
    Rotate {
        /// Which.
        key: Option<String>,
        /// Keep the old one, disabled and renamed, instead of deleting it.
        #[arg(long)]
        keep_old: bool,
        /// Where the secret goes.
        #[command(flatten)]
        secret: SecretArgs,
    },
    /// Delete a key for ever.
    Delete {
        /// Which.
        key: Option<String>,
    },
    /// What keys have spent, today, this week, this month and in all (UTC).
    Usage {
        /// Which; all without it.
        key: Option<String>,
    },
}

/// Where a new key's secret goes; to standard output without any of these.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct SecretArgs {
    /// Write the secret to a new file of mode 0600.
    #[arg(long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// When the spending that counts starts again from zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Reset {
    /// Every day.
    Daily,
    /// Every Monday.
    Weekly,
    /// Every first of the month.
    Monthly,
    /// Never: the limit is for the key's whole life.
    Never,
}

/// A plan for machines.
#[derive(Serialize)]
struct DryRun<'a> {
    dry_run: bool,
    plan: &'a [Step],
}

/// What a command of `keys` works with.
struct Session<'a> {
    management: Management,
    console: &'a mut Console,
    json: bool,
    dry_run: bool,
    yes: bool,
}

/// Does what `args` say.
///
/// # Errors
/// [`OperatorError`]; what was changed before is told.
pub async fn run(args: KeysArgs, console: &mut Console, clock: &Clock) -> Result<(), OperatorError> {
    let KeysArgs { action, account, json, dry_run, yes } = args;
    let management = account.management(console)?;
    let mut session = Session { management, console, json, dry_run, yes };
    let keys = session.management.list().await?;
    match action {
        KeysAction::List => session.print(&keys, table::list),
        KeysAction::Usage { key: None } => session.print(&keys, table::usage),
        KeysAction::Usage { key } => {
            let key = session.chosen(&keys, key)?;
            session.print(std::slice::from_ref(key), table::usage)
        }
        KeysAction::Show { key } => {
            let key = session.chosen(&keys, key)?;
            session.print_one(key)
        }
        KeysAction::Create { name, limit, reset, secret } => {
            let new = session.new_key(name.as_deref(), limit.as_deref(), reset)?;
            let plan = plan::create(&keys, new)?;
            session.make(plan, &keys, Destination::of(secret)).await
        }
        KeysAction::SetLimit { key, limit, reset } => {
            let key = session.chosen(&keys, key)?;
            let limit = session.limit(limit.as_deref())?;
            session.apply_all(plan::set_limit(key, &limit, reset.into())).await
        }
        KeysAction::Disable { key } => {
            let key = session.chosen(&keys, key)?;
            session.apply_all(plan::set_disabled(key, true)).await
        }
        KeysAction::Enable { key } => {
            let key = session.chosen(&keys, key)?;
            session.apply_all(plan::set_disabled(key, false)).await
        }
        KeysAction::Delete { key } => {
            let key = session.chosen(&keys, key)?;
            session.delete(key).await
        }
        KeysAction::Rotate { key, keep_old, secret } => {
            let key = session.chosen(&keys, key)?;
            let rest = if keep_old { Rest::Kept } else { Rest::Deleted };
            let plan = plan::rotate(&keys, key, rest, clock.now())?;
            session.rotate(plan, &keys, Destination::of(secret)).await
        }
    }
}

impl Session<'_> {
    fn print(&mut self, keys: &[KeyRecord], table: fn(&[KeyRecord]) -> String) -> Result<(), OperatorError> {
        let text = if self.json { pretty(keys) } else { table(keys) };
        self.console.say(&text)
    }

    fn print_one(&mut self, key: &KeyRecord) -> Result<(), OperatorError> {
        let text = if self.json { pretty(key) } else { table::show(key) };
        self.console.say(&text)
    }

    /// The key that is meant; a person may choose it from the list.
    fn chosen<'a>(
        &mut self,
        keys: &'a [KeyRecord],
        wanted: Option<String>,
    ) -> Result<&'a KeyRecord, OperatorError> {
        const MISSING: OperatorError = OperatorError::Missing { what: "the key", flag: "KEY" };
        if let Some(wanted) = wanted {
            return Ok(find(keys, &wanted)?);
        }
        if !self.console.asker.can_ask() || keys.is_empty() {
            return Err(MISSING);
        }
        let options = keys.iter().map(|key| format!("{}  {}", key.name, find::short(&key.hash))).collect();
        let place = self.console.asker.choose("Which key?", options)?;
        keys.get(place).ok_or(MISSING)
    }

    fn limit(&mut self, given: Option<&str>) -> Result<Limit, OperatorError> {
        let wanted = Wanted {
            what: "Spending limit in US dollars, or `unlimited`",
            flag: "--limit",
            given,
            default: None,
        };
        self.console.value(&wanted, Limit::read)
    }

    fn new_key(
        &mut self,
        name: Option<&str>,
        limit: Option<&str>,
        reset: Reset,
    ) -> Result<openrouter::NewKey, OperatorError> {
        let wanted = Wanted { what: "Name of the key", flag: "--name", given: name, default: None };
        let name = self.console.value(&wanted, read_name)?;
        let limit = self.limit(limit)?.amount();
        // Without a limit there is nothing to reset.
        let limit_reset = limit.and_then(|_| reset.into());
        Ok(openrouter::NewKey { name, limit, limit_reset, include_byok_in_limit: false })
    }

    async fn delete(&mut self, key: &KeyRecord) -> Result<(), OperatorError> {
        let used = key.last_used_at.as_deref().unwrap_or("never");
        let question = format!("Delete the key {:?} for ever? It was last used: {used}.", key.name);
        if self.dry_run || self.console.agrees(&question, self.yes)? {
            return self.apply_all(plan::delete(key)).await;
        }
        self.console.note("nothing was changed");
        Ok(())
    }
}

impl From<Reset> for Option<LimitReset> {
    fn from(reset: Reset) -> Self {
        match reset {
            Reset::Daily => Some(LimitReset::Daily),
            Reset::Weekly => Some(LimitReset::Weekly),
            Reset::Monthly => Some(LimitReset::Monthly),
            Reset::Never => None,
        }
    }
}

fn read_name(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.chars().count() > LONGEST_NAME || text.chars().any(char::is_control) {
        return Err("must have 1 to 200 printable characters");
    }
    Ok(text.to_owned())
}

/// JSON for machines. The values are texts, flags and lists of them, which always have one.
pub(crate) fn pretty<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default()
}
