//! What stands beside the usage: who is asking, the polls, the prices, the subscription.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use jiff::Timestamp;
use jiff::civil::Date;
use ledger::{ModelPrice, Reconciliation};
use metering::{Markup, PicoUsd};
use serde::Serialize;
use utoipa::ToSchema;

use crate::caller::{Caller, View};
use crate::error::ApiError;
use crate::money::Money;
use crate::usage::{instant, provider_of};
use crate::{Currency, UsageApi};

/// Polls that are told.
const POLLS: u32 = 50;

/// Who is asking, and what he is shown.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Me {
    /// `operator`, `admin` or `employee`.
    kind: &'static str,
    /// Null for the operator.
    user: Option<Account>,
    organisation: OrganisationFacts,
    /// The current billing day.
    #[schema(value_type = String, format = Date)]
    today: Date,
    shows_cost: bool,
    currency: Currency,
    version: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Account {
    user_id: String,
    name: Option<String>,
    email: Option<String>,
    role: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct OrganisationFacts {
    id: String,
    name: String,
    /// Whose days are the billing days.
    time_zone: String,
}

/// The last polls of `OpenRouter`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Reconciled {
    last: Option<Poll>,
    /// The newest first.
    polls: Vec<Poll>,
    /// Whether `OpenRouter`'s sum grows as ours does; null where that is not known.
    agrees: Option<bool>,
    /// The last UTC day whose every generation was compared with `OpenRouter`'s statement, and agrees; null before the first.
    final_day: Option<FinalDay>,
}

/// A UTC day that agrees with `OpenRouter`'s statement to the pico-dollar.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FinalDay {
    #[schema(value_type = String, format = Date)]
    day: Date,
    #[schema(value_type = String, format = DateTime)]
    compared_at: Timestamp,
    /// What `OpenRouter` billed; only where cost is shown, as the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    bill: Option<Money>,
    /// The bill less what the ledger holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<Money>,
}

#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Poll {
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// The sum of the ledger; only where cost is shown, as the next two.
    #[serde(skip_serializing_if = "Option::is_none")]
    our_cost: Option<Money>,
    /// `OpenRouter`'s counter of the key.
    #[serde(skip_serializing_if = "Option::is_none")]
    openrouter_usage: Option<Money>,
    /// How much more the counter has grown than our sum within a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    difference: Option<Money>,
    settled_calls: i64,
    open_calls: i64,
    orphan_calls: i64,
    /// `bypass` where the key is used past the sidecar.
    warning: Option<String>,
    error: Option<String>,
}

/// What the organisation pays for each model, markup applied.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Prices {
    /// Null before the first list.
    #[schema(value_type = Option<String>, format = DateTime)]
    fetched_at: Option<Timestamp>,
    models: Vec<Price>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Price {
    model: String,
    name: String,
    provider: String,
    /// For a million tokens that are sent; null where it is not fixed.
    prompt_per_million: Option<Money>,
    /// For a million tokens that come back; null where it is not fixed.
    completion_per_million: Option<Money>,
    /// For a request, beside its tokens; null where it is not told.
    request: Option<Money>,
    context_length: Option<i64>,
}

/// Seats are not billed yet.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Subscription {
    configured: bool,
}

pub(crate) async fn me(State(api): State<Arc<UsageApi>>, Extension(view): Extension<View>) -> Json<Me> {
    let organisation = api.options.ledger.organisation();
    let kind = match view.caller {
        Caller::Operator => "operator",
        Caller::Admin(_) => "admin",
        Caller::Employee(_) => "employee",
    };
    let user = view.caller.identity().cloned().map(|identity| Account {
        user_id: identity.user_id.as_str().to_owned(),
        name: identity.name,
        email: identity.email,
        role: identity.role,
    });
    Json(Me {
        kind,
        user,
        organisation: OrganisationFacts {
            id: organisation.id.to_string(),
            name: organisation.name.clone(),
            time_zone: organisation.zone.name().to_owned(),
        },
        today: api.today(),
        shows_cost: view.shows_cost,
        currency: api.options.currency.clone(),
        version: env!("CARGO_PKG_VERSION"),
    })
}

pub(crate) async fn reconciliation(
    State(api): State<Arc<UsageApi>>,
    Extension(view): Extension<View>,
) -> Result<Json<Reconciled>, ApiError> {
    let polls = api.options.ledger.reader().last_reconciliations(POLLS).await?;
    let agrees = polls.first().filter(|poll| poll.error.is_none()).map(|poll| poll.warning.is_none());
    let polls: Vec<Poll> = polls.into_iter().map(|poll| Poll::of(poll, &view)).collect();
    let final_day = api.options.ledger.reader().last_final_day().await?.map(|day| FinalDay {
        day: day.day,
        compared_at: day.fetched_at,
        bill: view.cost(day.bill.pico()),
        difference: view.cost(day.difference.pico()),
    });
    Ok(Json(Reconciled { last: polls.first().cloned(), polls, agrees, final_day }))
}

pub(crate) async fn prices(State(api): State<Arc<UsageApi>>) -> Result<Json<Prices>, ApiError> {
    let markup = api.options.ledger.organisation().markup;
    let list = api.options.ledger.reader().price_list().await?;
    let (fetched_at, prices) =
        list.map_or_else(Default::default, |list| (instant(list.fetched_at_ms), list.prices));
    Ok(Json(Prices {
        fetched_at,
        models: prices.into_iter().map(|price| Price::of(price, markup)).collect(),
    }))
}

pub(crate) async fn subscription() -> Json<Subscription> {
    Json(Subscription { configured: false })
}

impl Poll {
    fn of(poll: Reconciliation, view: &View) -> Self {
        Self {
            at: instant(poll.polled_at_ms),
            our_cost: view.cost(poll.our_cost_pico_usd),
            openrouter_usage: poll.key_usage_pico_usd.and_then(|usage| view.cost(usage)),
            difference: poll.difference_pico_usd.and_then(|difference| view.cost(difference)),
            settled_calls: poll.settled_calls,
            open_calls: poll.open_calls,
            orphan_calls: poll.orphan_calls,
            warning: poll.warning,
            error: poll.error,
        }
    }
}

impl Price {
    fn of(price: ModelPrice, markup: Markup) -> Self {
        let per_million = |usd: &Option<String>| {
            charged(PicoUsd::parse_per_million(usd.as_deref()?).ok()?, markup).map(Money)
        };
        let request =
            |usd: &Option<String>| charged(PicoUsd::parse(usd.as_deref()?).ok()?.amount, markup).map(Money);
        Self {
            provider: provider_of(&price.model).to_owned(),
            prompt_per_million: per_million(&price.prompt_usd),
            completion_per_million: per_million(&price.completion_usd),
            request: request(&price.request_usd),
            model: price.model,
            name: price.name,
            context_length: price.context_length,
        }
    }
}

/// What the organisation pays for what `OpenRouter` asks. A price below zero stands for one that is not fixed.
pub(crate) fn charged(price: PicoUsd, markup: Markup) -> Option<PicoUsd> {
    if price.is_negative() { None } else { markup.charge(price).ok() }
}
