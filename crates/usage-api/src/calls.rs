//! Single calls: settled ones in pages, and those whose cost is not known yet.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use jiff::Timestamp;
use ledger::{AwaitingCall, EntryPlace, EntryRecord, Scope, Unsettled};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::UsageApi;
use crate::caller::View;
use crate::error::ApiError;
use crate::money::Money;
use crate::question::{Asked, Period};
use crate::usage::{Person, instant};

/// Calls on a page, unless it is said.
const USUAL_LIMIT: u32 = 50;

/// Calls on a page, at most.
const LARGEST_LIMIT: u32 = 500;

/// A page of settled calls, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CallsPage {
    period: Period,
    calls: Vec<Call>,
    /// What to send as `after` for the next page; null on the last one.
    next: Option<String>,
}

/// A line of the ledger: a settled call, a correction, or usage that is nobody's.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Call {
    /// Its number; later lines have higher ones.
    id: i64,
    /// `call`, `adjustment` or `unattributed`.
    kind: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    at: Option<Timestamp>,
    /// The billing day.
    #[schema(format = Date)]
    day: String,
    #[serde(flatten)]
    user: Person,
    /// As booked.
    model: String,
    /// As asked for, where told.
    model_asked: Option<String>,
    /// Who served it, where told.
    provider: Option<String>,
    prompt_tokens: Option<i64>,
    completion_tokens: Option<i64>,
    reasoning_tokens: Option<i64>,
    cached_tokens: Option<i64>,
    charge: Money,
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Money>,
    /// Who told the cost: the `response`, the `generation` record or the `statement`.
    cost_source: String,
    generation_id: Option<String>,
}

/// How many calls have no cost yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Awaiting {
    /// `OpenRouter` is asked for it.
    open: i64,
    /// Died before its id was known; only `OpenRouter`'s statement can tell.
    orphan: i64,
    /// Not answered to the end.
    under_way: i64,
}

/// A page of calls whose cost is not known yet, the newest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AwaitingPage {
    #[serde(flatten)]
    counts: Awaiting,
    calls: Vec<AwaitingOne>,
    /// What to send as `after` for the next page; null on the last one.
    next: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AwaitingOne {
    id: String,
    /// `intent` (under way), `open` or `orphan`.
    state: String,
    #[schema(value_type = Option<String>, format = DateTime)]
    admitted_at: Option<Timestamp>,
    #[serde(flatten)]
    user: Person,
    model_asked: String,
    generation_id: Option<String>,
    /// How the answer ended, in a word.
    outcome: Option<String>,
    /// How often `OpenRouter` was asked in vain.
    asks: i64,
    #[schema(value_type = Option<String>, format = DateTime)]
    next_ask_at: Option<Timestamp>,
}

/// Which calls.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Filter {
    user_id: Option<String>,
    pub(crate) model: Option<String>,
}

/// Which page of them.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    limit: Option<u32>,
    after: Option<String>,
}

impl Filter {
    /// What `view` sees of `period`, narrowed to the user that is asked for.
    pub(crate) fn scope(&self, api: &UsageApi, view: &View, period: Period) -> Result<Scope, ApiError> {
        let scope = view.scope(api, period);
        match (&self.user_id, &scope.user_id) {
            (Some(asked), Some(own)) if asked != own => Err(ApiError::NotAnAdmin),
            (Some(asked), None) => Ok(Scope { user_id: Some(asked.clone()), ..scope }),
            _ => Ok(scope),
        }
    }
}

impl Page {
    fn limit(&self) -> Result<u32, ApiError> {
        match self.limit.unwrap_or(USUAL_LIMIT) {
            limit @ 1..=LARGEST_LIMIT => Ok(limit),
            other => Err(ApiError::BadQuestion(format!("`limit` must be 1 to {LARGEST_LIMIT}, not {other}"))),
        }
    }
}

pub(crate) async fn calls(
    State(api): State<Arc<UsageApi>>,
    Extension(view): Extension<View>,
    period: Period,
    Asked(filter): Asked<Filter>,
    Asked(page): Asked<Page>,
) -> Result<Json<CallsPage>, ApiError> {
    let (scope, limit) = (filter.scope(&api, &view, period)?, page.limit()?);
    let before: Option<EntryPlace> = match page.after.as_deref().map(str::parse).transpose() {
        Ok(before) => before,
        Err(_) => {
            return Err(ApiError::BadQuestion("`after` must be the `next` of the page before".to_owned()));
        }
    };
    let reader = api.options.ledger.reader();
    let mut entries = reader.entries(&scope, filter.model.as_deref(), before, limit + 1).await?;
    let last = cut_to(limit, &mut entries).and_then(|last| EntryPlace::of(last).ok());
    let next = last.map(|place| place.to_string());
    let calls = entries.into_iter().map(|entry| Call::of(entry, &view)).collect();
    Ok(Json(CallsPage { period, calls, next }))
}

pub(crate) async fn awaiting(
    State(api): State<Arc<UsageApi>>,
    Extension(view): Extension<View>,
    Asked(page): Asked<Page>,
) -> Result<Json<AwaitingPage>, ApiError> {
    let (reader, own, limit) = (api.options.ledger.reader(), view.own.as_deref(), page.limit()?);
    let counts = Awaiting::of(reader.unsettled(own).await?);
    let mut calls = reader.awaiting(own, page.after.as_deref(), limit + 1).await?;
    let next = cut_to(limit, &mut calls).map(|last| last.id.clone());
    Ok(Json(AwaitingPage { counts, calls: calls.into_iter().map(AwaitingOne::of).collect(), next }))
}

/// Cuts a page that was read with one row too many; the last row on it where there is a next page.
fn cut_to<T>(limit: u32, rows: &mut Vec<T>) -> Option<&T> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let has_more = rows.len() > limit;
    rows.truncate(limit);
    rows.last().filter(|_| has_more)
}

impl Call {
    pub(crate) fn of(entry: EntryRecord, view: &View) -> Self {
        Self {
            id: entry.id,
            kind: entry.kind,
            at: instant(entry.occurred_at_ms),
            day: entry.day,
            user: Person { user_id: entry.user_id, name: entry.name, email: entry.email },
            model: entry.model,
            model_asked: entry.model_asked,
            provider: entry.provider,
            prompt_tokens: entry.prompt_tokens,
            completion_tokens: entry.completion_tokens,
            reasoning_tokens: entry.reasoning_tokens,
            cached_tokens: entry.cached_tokens,
            charge: Money::of_pico(entry.charge_pico_usd),
            cost: view.cost(entry.cost_pico_usd),
            cost_source: entry.cost_source,
            generation_id: entry.generation_id,
        }
    }
}

impl Awaiting {
    pub(crate) const fn of(unsettled: Unsettled) -> Self {
        Self { open: unsettled.open, orphan: unsettled.orphan, under_way: unsettled.intent }
    }
}

impl AwaitingOne {
    fn of(call: AwaitingCall) -> Self {
        Self {
            id: call.id,
            state: call.state,
            admitted_at: instant(call.admitted_at_ms),
            user: Person { user_id: call.user_id, name: call.name, email: call.email },
            model_asked: call.model_asked,
            generation_id: call.generation_id,
            outcome: call.outcome,
            asks: call.asks,
            next_ask_at: call.next_ask_at_ms.and_then(instant),
        }
    }
}
