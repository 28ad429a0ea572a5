//! `mai-usage db import`: the original's daily rows become entries, once.

mod judge;
mod parts;
mod plan;
mod report;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use jiff::civil::Date;
use ledger::{
    Adjust, Adjustment, Asker, LedgerReader, OrganisationFacts, Original, OriginalAccount, OriginalFigures,
    OriginalRows, OriginalTable,
};
use metering::{BillingZone, Clock, Cost, ExternalUser, Markup, OrgId, Tokens, UserId};

use super::{DbError, DbPlaceArgs, copy_before, open_to_read, refuse_missing};
use crate::recording::{OpenLedger, id_in};
use crate::{Console, OperatorError, private_file};
use plan::{Facts, PlannedDay, SAMPLE, State, Wanted};
use report::Report;

pub use judge::Doubled;

/// Entries that are booked together, a whole day at least.
const TOGETHER: usize = 500;

/// Open WebUI's accounts by their ids.
type Accounts<'a> = BTreeMap<&'a str, &'a OriginalAccount>;

/// What `mai-usage db import` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct ImportArgs {
    /// The original's `webui.db`; it is only read.
    #[arg(long, value_name = "FILE")]
    pub from: PathBuf,
    /// Whose it becomes.
    #[command(flatten)]
    pub place: DbPlaceArgs,
    /// The organisation in the file whose usage is taken; may be given again for older ids of the same client. That of `.env` without it.
    #[arg(long = "organization-id", value_name = "ID")]
    pub organizations: Vec<String>,
    /// The first day that is not imported; the day of the first call through the sidecar without it.
    #[arg(long, value_name = "DAY")]
    pub until: Option<Date>,
    /// What becomes of days of which rows may be the same calls twice, and nothing tells.
    #[arg(long, value_name = "HOW", default_value = "refuse")]
    pub doubled: Doubled,
    /// Print the report, and book nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Agree to what would be asked.
    #[arg(long, short)]
    pub yes: bool,
}

pub(super) async fn run(
    args: &ImportArgs,
    json: bool,
    console: &mut Console,
    clock: &Clock,
) -> Result<(), OperatorError> {
    let (_, settings, database) = args.place.find()?;
    let org_id = id_in(&settings)?;
    refuse_missing(&database)?;
    let source = Original::open(&args.from).await?.read(&args.from).await?;
    let organisations = organisations(args, &org_id, &source)?;
    let wanted = Wanted { organisations, until: args.until, doubled: args.doubled };
    if args.dry_run {
        let reader = open_to_read(&database).await?;
        let facts = facts(&reader, org_id, source).await?;
        reader.close().await;
        let days = plan::plan(&wanted, &facts);
        let report = Report::of(args, (&wanted, &facts), &days);
        report.print(json, console)?;
        return left_out(&days);
    }
    let _lock = private_file::lock(&args.place.folder)?;
    let open = OpenLedger::open(
        &database,
        OrganisationFacts { id: Some(org_id.clone()), ..OrganisationFacts::none(clock.now()) },
    )
    .await?;
    let done = import(&open, args, (wanted, source), (json, console), clock).await;
    open.close().await;
    done
}

/// The report first, then the question, then the entries.
async fn import(
    open: &OpenLedger,
    args: &ImportArgs,
    (wanted, source): (Wanted, OriginalRows),
    (json, console): (bool, &mut Console),
    clock: &Clock,
) -> Result<(), OperatorError> {
    let reader = open.ledger.reader();
    let facts = facts(reader, open.ledger.organisation().id.clone(), source).await?;
    let days = plan::plan(&wanted, &facts);
    let mut report = Report::of(args, (&wanted, &facts), &days);
    if !json {
        report.print(false, console)?;
    }
    let new: Vec<&PlannedDay> = days.iter().filter(|day| day.state == State::New).collect();
    let total = OriginalFigures::sum(new.iter().map(|day| day.total));
    let total = total.filter(|total| fits(total, &facts)).ok_or(DbError::OutOfRange)?;
    let question = format!("Book {} days, charge {} USD? Entries are for ever.", new.len(), total.charge);
    if !new.is_empty() && console.agrees(&question, args.yes)? {
        copy_before("import", &args.place.folder, (reader, clock.now()), console).await?;
        report.booked_entries = book(open, &new, &facts, (console, clock)).await?;
    }
    if json {
        report.print(true, console)?;
    }
    left_out(&days)
}

async fn facts(reader: &LedgerReader, org_id: OrgId, source: OriginalRows) -> Result<Facts, OperatorError> {
    let recorded = reader.organisations().await?;
    let own = recorded.iter().find(|recorded| recorded.id == org_id);
    let Some(own) = own else {
        let recorded = recorded.first().map_or_else(|| "nobody".to_owned(), |other| other.id.to_string());
        return Err(DbError::OtherOrganisation { recorded, given: org_id.to_string() }.into());
    };
    let zone = BillingZone::named(&own.zone)
        .map_err(|_| OperatorError::Value { flag: "BILLING_TIMEZONE", rule: "must be an IANA time zone" })?;
    let named = reader.users().await?.into_iter().filter(|user| user.name.is_some()).map(|user| user.user_id);
    let (imported, first_call_at) = (reader.imported().await?, reader.first_call_at().await?);
    Ok(Facts { source, org_id, zone, imported, first_call_at, named: named.collect() })
}

/// The organisations whose usage is taken. The first generation had one and did not name it, so that its rows are this client's where no
/// other is there.
fn organisations(args: &ImportArgs, own: &OrgId, source: &OriginalRows) -> Result<Vec<String>, DbError> {
    let with_usage: BTreeSet<&str> = source.rows.iter().map(|row| row.org_id.as_str()).collect();
    let real: BTreeSet<&str> = with_usage.iter().copied().filter(|id| *id != SAMPLE).collect();
    let unnamed = OriginalTable::ONLY_ORGANISATION;
    if args.organizations.iter().any(|id| id == SAMPLE) {
        return Err(DbError::SampleData);
    }
    let wanted: Vec<String> = if args.organizations.is_empty() {
        let alone = real.iter().all(|id| *id == own.as_str() || *id == unnamed);
        let unnamed = (alone && real.contains(unnamed)).then_some(unnamed);
        real.contains(own.as_str())
            .then_some(own.as_str())
            .into_iter()
            .chain(unnamed)
            .map(str::to_owned)
            .collect()
    } else {
        args.organizations.iter().cloned().collect::<BTreeSet<_>>().into_iter().collect()
    };
    let missing = wanted.iter().find(|id| !real.contains(id.as_str())).cloned();
    if let Some(wanted) = missing.or_else(|| wanted.is_empty().then(|| own.as_str().to_owned())) {
        let known = real.iter().map(|id| format!("{id:?}")).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "none".to_owned() } else { known };
        return Err(DbError::NoSuchOrganisation { wanted, known });
    }
    Ok(wanted)
}

/// Whether the ledger can add it all up, beside what was imported before.
fn fits(total: &OriginalFigures, facts: &Facts) -> bool {
    let sum = |amount: fn(&ledger::Imported) -> i64, new: i64| {
        facts.imported.iter().map(amount).try_fold(new, i64::checked_add).is_some()
    };
    sum(|entry| entry.cost_pico_usd, total.cost.pico())
        && sum(|entry| entry.charge_pico_usd, total.charge.pico())
}

/// Books whole days, many in one commit, and looks whether they are there; answers how many entries they are.
async fn book(
    open: &OpenLedger,
    days: &[&PlannedDay],
    facts: &Facts,
    (console, clock): (&mut Console, &Clock),
) -> Result<u64, OperatorError> {
    let booked_at = clock.now();
    let (mut entries, mut waiting) = (0, Vec::new());
    let accounts = facts.source.accounts.iter().map(|account| (account.user_id.as_str(), account)).collect();
    for (place, day) in days.iter().enumerate() {
        waiting.extend(adjustments(day, facts, &accounts));
        if waiting.len() >= TOGETHER || place + 1 == days.len() {
            let adjustments = std::mem::take(&mut waiting);
            entries += open.ledger.adjust(Adjust { adjustments, booked_at }).await?.booked;
            console.note(&format!("booked: {} of {} days", place + 1, days.len()));
        }
    }
    let imported = open.ledger.reader().imported().await?;
    let held: BTreeMap<&str, (i64, i64)> = imported
        .iter()
        .map(|entry| (entry.reference.as_str(), (entry.cost_pico_usd, entry.charge_pico_usd)))
        .collect();
    let mut wanted = days.iter().flat_map(|day| day.references());
    let is_held = |(reference, figures): (String, OriginalFigures)| {
        held.get(reference.as_str()) == Some(&(figures.cost.pico(), figures.charge.pico()))
    };
    if wanted.all(is_held) { Ok(entries) } else { Err(DbError::NotAsBooked.into()) }
}

fn adjustments<'a>(
    day: &'a PlannedDay,
    facts: &'a Facts,
    accounts: &'a Accounts<'a>,
) -> impl Iterator<Item = Adjustment> + 'a {
    let known = facts.source.organisations.iter().find(|known| known.id == day.organisation);
    // The first generation charged what it cost.
    let unmarked = day.told.users_and_models.is_some().then(|| Markup::parse("1").ok()).flatten();
    let markup = unmarked.or(known.and_then(|known| known.markup)).unwrap_or(Markup::DEFAULT);
    let note = format!("imported from {} of {}, day {}", day.basis, day.organisation, day.day);
    day.references().zip(day.parts.keys()).map(move |((reference, figures), (user, model))| Adjustment {
        reference,
        note: note.clone(),
        unattributed: false,
        generation_id: None,
        user: asker(user, facts, accounts),
        model: model.clone(),
        provider: None,
        day: day.day,
        occurred_at: day.occurred_at,
        requests: figures.requests,
        tokens: tokens(&figures),
        cost: Cost { amount: figures.cost, text: figures.cost.to_string(), exact: true },
        markup,
        charge: figures.charge,
    })
}

/// From its second generation on the original kept the sum of tokens alone: it stands as those that were sent, and nothing as those that
/// came back.
fn tokens(figures: &OriginalFigures) -> Tokens {
    let completion = u64::try_from(figures.completion_tokens).ok().filter(|tokens| *tokens > 0);
    Tokens { prompt: u64::try_from(figures.prompt_tokens).ok(), completion, ..Tokens::default() }
}

fn asker(user: &str, facts: &Facts, accounts: &Accounts<'_>) -> Asker {
    let user_id = UserId::new(user);
    // What the ledger knows is newer than the file.
    let account = accounts.get(user).filter(|_| !facts.named.contains(user));
    Asker {
        external_user: ExternalUser::of(&facts.org_id, &user_id),
        user_id,
        name: account.and_then(|account| account.name.clone()),
        email: account.and_then(|account| account.email.clone()),
        role: account.and_then(|account| account.role.clone()),
    }
}

fn left_out(days: &[PlannedDay]) -> Result<(), OperatorError> {
    let is_left = |day: &&PlannedDay| matches!(day.state, State::Unclear(_) | State::Changed { .. });
    match days.iter().filter(is_left).count() {
        0 => Ok(()),
        days => Err(DbError::LeftOut { days }.into()),
    }
}
