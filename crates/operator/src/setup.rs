//! `mai-usage setup`: from an empty folder to a client that can be started. Run again it does what is left to do.

mod apply;
mod gather;
mod journal;
mod plan;

use std::path::PathBuf;

use metering::Clock;
use secrecy::SecretString;
use serde::Serialize;
use settings::{DECLARED, Settings};

use crate::account::AccountArgs;
use crate::clients::DATABASE;
use crate::console::Wanted as Question;
use crate::env_file::{EnvFile, quoted};
use crate::keys::pretty;
use crate::limit::Limit;
use crate::{Console, OperatorError, private_file};
use apply::Work;
use plan::{Facts, Step, Wanted};

pub(crate) use gather::read_env;
pub use plan::SetupError;

pub(crate) use plan::key_name;

/// Longest name of an organisation, as the settings have it.
const LONGEST_NAME: usize = 200;

/// The zone of an organisation that names no other.
const ZONE: &str = "Europe/Warsaw";

/// What `mai-usage setup` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct SetupArgs {
    /// The client's folder.
    #[arg(long, default_value = ".")]
    pub folder: PathBuf,
    /// Make the database too, and record the organisation in it.
    #[arg(long, visible_alias = "production")]
    pub init_database: bool,
    /// The database file; `DATABASE_PATH` of .env, or `data/mai-usage.db` in the folder, without it.
    #[arg(long, value_name = "FILE", requires = "init_database")]
    pub database: Option<PathBuf>,
    /// Who the client is.
    #[command(flatten)]
    pub organisation: OrganisationArgs,
    /// Print JSON, for machines.
    #[arg(long)]
    pub json: bool,
    /// Print what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// Who a client is, and what it may spend.
#[derive(Debug, Clone, clap::Args)]
pub struct OrganisationArgs {
    /// The organisation's name; that in .env without it.
    #[arg(long, value_name = "NAME")]
    pub organization: Option<String>,
    /// What it may spend a month: US dollars, or `unlimited`; that in .env without it.
    #[arg(long, value_name = "USD")]
    pub limit: Option<String>,
    /// The zone whose midnight ends a billing day; that in .env, or Europe/Warsaw, without it.
    #[arg(long, value_name = "ZONE")]
    pub time_zone: Option<String>,
    /// Where invoices go; it is recorded with the organisation.
    #[arg(long, value_name = "ADDRESS")]
    pub billing_email: Option<String>,
    /// Let mAI sign the user of each call; Open WebUI 0.8 and newer can.
    #[arg(long)]
    pub sign_users: bool,
    /// Delete a key of this organisation whose secret is not in .env, and make another.
    #[arg(long)]
    pub replace_key: bool,
    /// Whose account.
    #[command(flatten)]
    pub account: AccountArgs,
}

/// Where new secrets come from: random in the program, known in a test.
type Tokens = fn() -> SecretString;

/// What was done, for machines.
#[derive(Serialize)]
struct Report<'a> {
    dry_run: bool,
    organisation: &'a str,
    organisation_id: String,
    env_file: String,
    database: Option<String>,
    steps: &'a [Step],
}

/// 256 random bits in hex, of which the id's version takes twelve.
fn random_token() -> SecretString {
    format!("{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple()).into()
}

/// What came of it.
pub(crate) struct Done {
    wanted: Wanted,
    env: EnvFile,
    steps: Vec<Step>,
}

/// Sets up the client in the folder that `args` name.
///
/// # Errors
/// [`OperatorError`]; the next run goes on where this one stopped.
pub async fn run(args: SetupArgs, console: &mut Console, clock: &Clock) -> Result<(), OperatorError> {
    let _lock = private_file::lock(&args.folder)?;
    let done = finish(&args, console, clock).await?;
    report(&args, &done, console)
}

/// Does what is left to do in a folder that nobody else works in, or with `dry_run` only plans it.
pub(crate) async fn finish(
    args: &SetupArgs,
    console: &mut Console,
    clock: &Clock,
) -> Result<Done, OperatorError> {
    let env = gather::read_env(&args.folder)?;
    let mut wanted = wanted(args, &env, console)?;
    let account =
        AccountArgs { openrouter_host: Some(wanted.host.clone()), ..args.organisation.account.clone() };
    let management = account.management(console)?;
    let client = crate::account::client(Some(&wanted.host))?;
    let facts = gather::facts(&args.folder, env, &management, &client).await?;
    let steps = agreed_plan(&mut wanted, &facts, console)?;
    let Facts { env, keys, .. } = facts;
    if args.dry_run {
        return Ok(Done { wanted, env, steps });
    }
    let mut work = Work {
        folder: &args.folder,
        env,
        keys,
        wanted: &wanted,
        management,
        client,
        clock,
        token: random_token,
    };
    for step in &steps {
        work.apply(step).await?;
        console.note(&format!("done: {step}"));
    }
    let env = work.env;
    Settings::from_variables(env.variables())?;
    Ok(Done { wanted, env, steps })
}

/// The plan, once the person has agreed to what cannot be taken back.
fn agreed_plan(
    wanted: &mut Wanted,
    facts: &Facts,
    console: &mut Console,
) -> Result<Vec<Step>, OperatorError> {
    let error = match plan::plan(wanted, facts) {
        Ok(steps) => return Ok(steps),
        Err(error) => error,
    };
    let question = error.question().filter(|_| console.asker.can_ask());
    let Some(question) = question else { return Err(error.into()) };
    if !console.asker.confirm(&question)? {
        return Err(error.into());
    }
    wanted.replace_key = true;
    Ok(plan::plan(wanted, facts)?)
}

/// What the flags say, else `.env`, else the person.
fn wanted(args: &SetupArgs, env: &EnvFile, console: &mut Console) -> Result<Wanted, OperatorError> {
    let organisation = Question {
        what: "Name of the organisation",
        flag: "--organization",
        given: args.organisation.organization.as_deref().or(env.get("ORGANIZATION_NAME")),
        default: None,
    };
    let organisation = console.value(&organisation, read_name)?;
    let limit = Question {
        what: "Spending limit a month in US dollars, or `unlimited`",
        flag: "--limit",
        given: args.organisation.limit.as_deref().or(env.get("SPENDING_LIMIT")),
        default: None,
    };
    let limit = console.value(&limit, Limit::read)?;
    let zone = args.organisation.time_zone.as_deref().or(env.get("BILLING_TIMEZONE")).unwrap_or(ZONE);
    let host = args.organisation.account.openrouter_host.as_deref().or(env.get("OPENROUTER_HOST"));
    let settings = Settings::from_variables(
        host.map(|host| ("OPENROUTER_HOST", host)).into_iter().chain([("BILLING_TIMEZONE", zone)]),
    )?;
    if args.organisation.billing_email.as_deref().is_some_and(|email| !is_email(email)) {
        return Err(OperatorError::Value { flag: "--billing-email", rule: "must be an e-mail address" });
    }
    Ok(Wanted {
        organisation,
        limit,
        zone: zone.to_owned(),
        host: settings.openrouter_host,
        billing_email: args.organisation.billing_email.clone(),
        database: args.init_database.then(|| database(args, env)),
        sign_users: args.organisation.sign_users,
        replace_key: args.organisation.replace_key,
    })
}

fn database(args: &SetupArgs, env: &EnvFile) -> PathBuf {
    let named = env.get("DATABASE_PATH").unwrap_or(DATABASE);
    args.database.clone().unwrap_or_else(|| args.folder.join(named))
}

fn read_name(text: &str) -> Result<String, &'static str> {
    if text.is_empty() || text.chars().count() > LONGEST_NAME || quoted(text).is_none() {
        return Err(
            "must have 1 to 200 printable characters, without `${` and without quotes beside `$` or `\\`",
        );
    }
    Ok(text.to_owned())
}

/// Something before and something with a dot behind one `@`: the rest is the post's business.
fn is_email(text: &str) -> bool {
    let sound = |part: &str| {
        !part.is_empty() && part.chars().all(|letter| !letter.is_control() && !letter.is_whitespace())
    };
    text.split_once('@')
        .is_some_and(|(name, host)| sound(name) && sound(host) && host.contains('.') && !host.contains('@'))
}

/// What was done, or would be, and what is next.
fn report(args: &SetupArgs, done: &Done, console: &mut Console) -> Result<(), OperatorError> {
    let Done { wanted, env, steps } = done;
    let id = plan::org_id(wanted, env);
    let path = gather::env_path(&args.folder).display().to_string();
    if args.json {
        return console.say(&pretty(&Report {
            dry_run: args.dry_run,
            organisation: &wanted.organisation,
            organisation_id: id.as_str().to_owned(),
            env_file: path,
            database: wanted.database.as_ref().map(|database| database.display().to_string()),
            steps,
        }));
    }
    if args.dry_run {
        return steps.iter().try_for_each(|step| console.say(&format!("would {step}")));
    }
    let changed =
        if steps.iter().all(Step::only_asks) { "is complete, nothing was changed" } else { "is complete" };
    console.say(&format!("{path} {changed}: {} ({id})", wanted.organisation))?;
    console.note("next: docker-compose -f docker-compose.customization.yaml up -d");
    console.note("then open mAI and make the first account: it becomes the administrator");
    Ok(())
}

impl Done {
    /// What stands in `.env` now, or stood there before a dry run.
    pub(crate) fn into_env(self) -> EnvFile {
        self.env
    }

    /// What was done, or would be, as orders.
    pub(crate) fn orders(&self) -> Vec<String> {
        self.steps.iter().map(ToString::to_string).collect()
    }
}

/// The names that `.env` may give a value to that this program reads.
fn declared() -> impl Iterator<Item = &'static str> {
    DECLARED.iter().map(|declared| declared.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_long_and_another_each_time() {
        use secrecy::ExposeSecret as _;
        let (one, other) = (random_token(), random_token());
        assert_eq!(one.expose_secret().len(), 64);
        assert_ne!(one.expose_secret(), other.expose_secret());
    }

    #[test]
    fn names_and_addresses_are_checked() {
        for name in ["A", "ABC Company Sp. z o.o.", "Zażółć \"Gęślą\" #1", "O'Neill"] {
            assert_eq!(read_name(name).as_deref(), Ok(name));
        }
        for name in ["", "a\nb", "${HOME}", "it's $5"] {
            assert!(read_name(name).is_err(), "{name}");
        }
        assert!(is_email("billing@company.example"));
        for wrong in ["", "a", "a@b", "@b.c", "a@b@c.d", "a b@c.d"] {
            assert!(!is_email(wrong), "{wrong}");
        }
    }
}
