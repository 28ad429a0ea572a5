//! Ledgers for benchmarks: an organisation of 20 people who have asked 12 models for three years, as many calls as are wanted.
//!
//! The same number of entries makes the same ledger on every machine; it stays in its folder, so that the next benchmark finds
//! it. Schema, users, prices and the calls that await their cost are written by the ledger itself; the settled calls go past
//! its writer, a few thousand in one statement, and are sealed as the ledger seals them: `mai-usage verify` finds nothing wrong.

mod history;
mod rows;

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use jiff::Timestamp;
use jiff::civil::{Date, date};
use ledger::{
    Asker, CallId, Ending, GenerationKnown, Ledger, LedgerOptions, ModelPrice, MonthlyLimit, NewCall,
    OrganisationFacts, PriceList,
};
use metering::{BillingZone, ExternalUser, Markup, OrgId, UserId};
use tokio_util::task::TaskTracker;

/// The first day with an entry.
pub const FIRST_DAY: Date = date(2023, 11, 21);

/// The last day with an entry: a Friday.
pub const LAST_DAY: Date = date(2026, 11, 20);

/// The end of the last entry's hour: 16:00 in Warsaw.
pub const NOW: &str = "2026-11-20T15:00:00Z";

/// The organisation.
pub const ORGANISATION: &str = "mai_client_63a4eb6d";

/// The people.
pub const USERS: usize = 20;

/// Models that are asked, those that are asked most first.
pub const MODELS: [&str; 12] = [
    "openai/gpt-4o-mini",
    "anthropic/claude-sonnet-4.5",
    "google/gemini-2.5-flash",
    "google/gemini-2.5-pro",
    "openai/gpt-5",
    "deepseek/deepseek-chat-v3.1",
    "anthropic/claude-haiku-4.5",
    "mistralai/mistral-medium-3.1",
    "qwen/qwen3-235b-a22b",
    "x-ai/grok-4-fast",
    "meta-llama/llama-3.3-70b-instruct",
    "openai/text-embedding-3-small",
];

/// Models in the price list.
const PRICED_MODELS: usize = 400;

/// Calls that await their cost: of each user so many, and one of them died.
const AWAITING_OF_EACH: usize = 6;

/// The present of every sample.
#[must_use]
pub fn now() -> Timestamp {
    // The constant is an instant.
    NOW.parse().unwrap_or(Timestamp::UNIX_EPOCH)
}

/// The account of the user with this number, below [`USERS`]. The lower the number, the more he asks.
#[must_use]
pub fn user_id(number: usize) -> String {
    format!("8b21c0de-0000-4000-8000-{number:012}")
}

/// The file with `entries` settled calls in `folder`; it is made where it is not there.
///
/// # Errors
/// Where it cannot be made; what was made so far is left beside it and overwritten by the next attempt.
pub async fn ledger_with(entries: u64, folder: &Path) -> anyhow::Result<PathBuf> {
    let (path, part) = (folder.join(format!("{entries}.db")), folder.join(format!("{entries}.part.db")));
    if path.exists() {
        return Ok(path);
    }
    std::fs::create_dir_all(folder)?;
    for suffix in ["", "-wal", "-shm", ".lock", "-journal"] {
        // What is not there need not be removed.
        let _ = std::fs::remove_file(folder.join(format!("{entries}.part.db{suffix}")));
    }
    write_what_is_small(&part).await?;
    rows::fill(&part, entries).await?;
    std::fs::rename(&part, &path).with_context(|| format!("{} cannot be given its name", part.display()))?;
    Ok(path)
}

/// What opening a sample needs.
#[must_use]
pub fn options(path: &Path, tasks: &TaskTracker) -> LedgerOptions {
    let organisation = OrganisationFacts {
        id: Some(OrgId::new(ORGANISATION)),
        name: Some("Company_A".to_owned()),
        monthly_limit: Some(MonthlyLimit::Usd("1000".to_owned())),
        zone: BillingZone::named("Europe/Warsaw").ok(),
        ..OrganisationFacts::none(now())
    };
    LedgerOptions { path: path.to_owned(), organisation, tasks: tasks.clone() }
}

/// W1 of a call of the user with this number.
#[must_use]
pub fn new_call(id: CallId, user: usize, model: &str, admitted_at: Timestamp) -> NewCall {
    let (org_id, user_id) = (OrgId::new(ORGANISATION), UserId::new(user_id(user)));
    let asker = Asker {
        external_user: ExternalUser::of(&org_id, &user_id),
        user_id,
        name: Some(format!("Anna Żółć {user}")),
        email: Some(format!("anna.zolc.{user}@example.com")),
        role: Some(if user == 0 { "admin" } else { "user" }.to_owned()),
    };
    let (markup, endpoint, model) = (Markup::DEFAULT, "chat/completions", model.to_owned());
    NewCall { id, org_id, markup, asker, endpoint, model, admitted_at }
}

async fn write_what_is_small(path: &Path) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let (ledger, stopped) = Ledger::open(&options(path, &tasks)).await?;
    ledger.keep_prices(price_list()).await?;
    for number in 0..USERS * AWAITING_OF_EACH {
        let (user, model) = (number % USERS, number % MODELS.len());
        let model = MODELS.get(model).copied().unwrap_or_default();
        let id = CallId::from_u128(u128::from(u64::MAX) + number as u128);
        ledger.admit(new_call(id, user, model, now())).await?;
        if number < USERS {
            let (note, outcome) = ("it may have been billed".to_owned(), "interrupted");
            let ending = Ending { call_id: id, outcome, note, http_status: None, closed_at: now() };
            ledger.orphan(ending).await?;
        } else {
            let generation_id = format!("gen-{}-awaiting{number:012}", now().as_second());
            let known = GenerationKnown { call_id: id, generation_id, http_status: 200, next_ask_at: now() };
            ledger.know_generation(known).await?;
        }
    }
    drop(ledger);
    stopped.await?;
    Ok(())
}

fn price_list() -> PriceList {
    let others = (MODELS.len()..PRICED_MODELS).map(|number| format!("author-{}/model-{number}", number % 40));
    let models = MODELS.iter().map(|model| (*model).to_owned()).chain(others);
    let prices = models.map(|model| ModelPrice {
        name: format!("Name of {model}"),
        model,
        prompt_usd: Some("0.00000015".to_owned()),
        completion_usd: Some("0.0000006".to_owned()),
        request_usd: Some("0".to_owned()),
        context_length: Some(128_000),
    });
    PriceList { fetched_at_ms: now().as_millisecond(), prices: prices.collect() }
}
