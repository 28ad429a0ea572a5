//! Sums: of a period, by day, user and model; and the overview of the current months.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use jiff::civil::Date;
use jiff::{Timestamp, ToSpan as _};
use ledger::{Scope, Usage, UsageBy, UserRecord};
use metering::PicoUsd;
use serde::Serialize;
use utoipa::ToSchema;

use crate::UsageApi;
use crate::caller::View;
use crate::calls::Awaiting;
use crate::error::ApiError;
use crate::money::Money;
use crate::question::Period;

/// What was used, and what it comes to.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Sums {
    requests: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    /// What the organisation pays.
    charge: Money,
    /// What `OpenRouter` bills; only where the caller may see it.
    #[serde(skip_serializing_if = "Option::is_none")]
    cost: Option<Money>,
}

/// The sums of a period.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Summary {
    period: Period,
    #[serde(flatten)]
    sums: Sums,
    /// Users with an entry.
    users: i64,
    /// Models with an entry.
    models: i64,
    /// Days with an entry.
    days: i64,
    #[schema(value_type = Option<String>, format = DateTime)]
    first_activity_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_activity_at: Option<Timestamp>,
}

/// The days with an entry, the oldest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ByDay {
    period: Period,
    pub(crate) days: Vec<DayUsage>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DayUsage {
    #[schema(format = Date)]
    day: String,
    #[serde(flatten)]
    sums: Sums,
    /// Users with an entry.
    users: i64,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_activity_at: Option<Timestamp>,
}

/// Every known user, the highest charge first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ByUser {
    period: Period,
    pub(crate) users: Vec<UserUsage>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UserUsage {
    #[serde(flatten)]
    user: Person,
    /// What `OpenRouter` is told instead of who it is.
    external_user: String,
    #[serde(flatten)]
    sums: Sums,
    /// Days with an entry.
    days: i64,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_activity_at: Option<Timestamp>,
}

/// An account of the organisation's Open `WebUI`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Person {
    pub(crate) user_id: String,
    /// As last seen; null where never told.
    pub(crate) name: Option<String>,
    /// As last seen; null where never told.
    pub(crate) email: Option<String>,
}

/// Every model with an entry, the highest charge first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ByModel {
    period: Period,
    pub(crate) models: Vec<ModelUsage>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModelUsage {
    model: String,
    /// Who made it.
    provider: String,
    #[serde(flatten)]
    sums: Sums,
    /// Days with an entry.
    days: i64,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_activity_at: Option<Timestamp>,
}

/// Every user with every model he used, the highest charge first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ByUserAndModel {
    period: Period,
    pub(crate) rows: Vec<UserModelUsage>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct UserModelUsage {
    #[serde(flatten)]
    user: Person,
    model: String,
    #[serde(flatten)]
    sums: Sums,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_activity_at: Option<Timestamp>,
}

/// Today and the months.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Overview {
    today: PeriodSums,
    this_month: PeriodSums,
    last_month: PeriodSums,
    /// Last month until the same day as today.
    last_month_so_far: PeriodSums,
    /// The charge of the whole month at the pace so far; null before anything was used.
    projected_charge: Option<Money>,
    /// Null where there is none, and for an employee.
    limit: Option<Limit>,
    awaiting: Awaiting,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PeriodSums {
    #[serde(flatten)]
    period: Period,
    #[serde(flatten)]
    sums: Sums,
}

/// What the organisation may spend a month.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Limit {
    /// The charge at which it is reached.
    charge: Money,
    /// How many thousandths of it are used.
    used_permille: i64,
}

impl View {
    /// What this view sees of `period`.
    pub(crate) fn scope(&self, api: &UsageApi, period: Period) -> Scope {
        let org_id = api.options.ledger.organisation().id.clone();
        Scope { org_id, user_id: self.own.clone(), from: period.from, to: period.to }
    }

    /// The cost where it is shown.
    pub(crate) fn cost(&self, pico_usd: i64) -> Option<Money> {
        self.shows_cost.then(|| Money::of_pico(pico_usd))
    }

    fn sums(&self, usage: &Usage) -> Sums {
        Sums {
            requests: usage.requests,
            prompt_tokens: usage.prompt_tokens,
            completion_tokens: usage.completion_tokens,
            charge: Money::of_pico(usage.charge_pico_usd),
            cost: self.cost(usage.cost_pico_usd),
        }
    }
}

type Api = State<Arc<UsageApi>>;
type Answer<T> = Result<Json<T>, ApiError>;

pub(crate) async fn summary(
    State(api): Api,
    Extension(view): Extension<View>,
    period: Period,
) -> Answer<Summary> {
    let ledger::Summary { usage, users, models } =
        api.options.ledger.reader().summary(&view.scope(&api, period)).await?;
    Ok(Json(Summary {
        period,
        sums: view.sums(&usage),
        users,
        models,
        days: usage.days,
        first_activity_at: usage.first_activity_at_ms.and_then(instant),
        last_activity_at: usage.last_activity_at_ms.and_then(instant),
    }))
}

pub(crate) async fn by_day(
    State(api): Api,
    Extension(view): Extension<View>,
    period: Period,
) -> Answer<ByDay> {
    let usage = api.options.ledger.reader().usage(&view.scope(&api, period), UsageBy::Day).await?;
    let days = usage.into_iter().map(|usage| DayUsage {
        sums: view.sums(&usage),
        users: usage.users.unwrap_or_default(),
        last_activity_at: usage.last_activity_at_ms.and_then(instant),
        day: usage.day.unwrap_or_default(),
    });
    Ok(Json(ByDay { period, days: days.collect() }))
}

pub(crate) async fn by_user(
    State(api): Api,
    Extension(view): Extension<View>,
    period: Period,
) -> Answer<ByUser> {
    let reader = api.options.ledger.reader();
    let usage = reader.usage(&view.scope(&api, period), UsageBy::User).await?;
    let mut known = users(&api).await?;
    let mut rows: Vec<UserUsage> = Vec::with_capacity(known.len());
    for usage in usage {
        let Some(user) = usage.user_id.as_ref().and_then(|id| known.remove(id)) else { continue };
        rows.push(user_usage(&view, user, &usage));
    }
    // Those without usage follow, by their ids.
    let mut others: Vec<UserRecord> = known.into_values().collect();
    others.sort_by(|one, other| one.user_id.cmp(&other.user_id));
    rows.extend(others.into_iter().map(|user| user_usage(&view, user, &Usage::ZERO)));
    Ok(Json(ByUser { period, users: rows }))
}

pub(crate) async fn by_model(
    State(api): Api,
    Extension(view): Extension<View>,
    period: Period,
) -> Answer<ByModel> {
    let usage = api.options.ledger.reader().usage(&view.scope(&api, period), UsageBy::Model).await?;
    let models = usage.into_iter().map(|usage| {
        let sums = view.sums(&usage);
        let model = usage.model.unwrap_or_default();
        ModelUsage {
            provider: provider_of(&model).to_owned(),
            model,
            sums,
            days: usage.days,
            last_activity_at: usage.last_activity_at_ms.and_then(instant),
        }
    });
    Ok(Json(ByModel { period, models: models.collect() }))
}

pub(crate) async fn by_user_and_model(
    State(api): Api,
    Extension(view): Extension<View>,
    period: Period,
) -> Answer<ByUserAndModel> {
    let reader = api.options.ledger.reader();
    let usage = reader.usage(&view.scope(&api, period), UsageBy::UserAndModel).await?;
    let known = users(&api).await?;
    let rows = usage.into_iter().filter_map(|usage| {
        let user = Person::of(known.get(usage.user_id.as_ref()?)?.clone());
        let sums = view.sums(&usage);
        let last_activity_at = usage.last_activity_at_ms.and_then(instant);
        Some(UserModelUsage { user, model: usage.model?, sums, last_activity_at })
    });
    Ok(Json(ByUserAndModel { period, rows: rows.collect() }))
}

pub(crate) async fn overview(State(api): Api, Extension(view): Extension<View>) -> Answer<Overview> {
    let now = api.options.clock.now();
    let today = api.today();
    let last_month = today.first_of_month().saturating_sub(1.month());
    // The 31st has no like in February: its last day stands in.
    let same_day = today.saturating_sub(1.month());
    let periods = [
        Period { from: today, to: today },
        Period { from: today.first_of_month(), to: today.last_of_month() },
        Period { from: last_month, to: last_month.last_of_month() },
        Period { from: last_month, to: same_day },
    ];
    let scopes = periods.map(|period| view.scope(&api, period));
    let mut sums = api.options.ledger.reader().sums(&scopes).await?.into_iter();
    let [today_usage, this_month, last_month, so_far] = periods.map(|_| sums.next().unwrap_or(Usage::ZERO));
    let of = |period: Period, usage: &Usage| PeriodSums { period, sums: view.sums(usage) };
    let unsettled = api.options.ledger.reader().unsettled(view.own.as_deref()).await?;
    Ok(Json(Overview {
        projected_charge: projected(&api, today, now, &this_month),
        limit: view.own.is_none().then(|| limit(&api, &this_month)).flatten(),
        today: of(periods[0], &today_usage),
        this_month: of(periods[1], &this_month),
        last_month: of(periods[2], &last_month),
        last_month_so_far: of(periods[3], &so_far),
        awaiting: Awaiting::of(unsettled),
    }))
}

/// This month's charge, spread over the whole month at the pace so far; by the minute, so that an answer stays the same for
/// a while.
fn projected(api: &UsageApi, today: Date, now: Timestamp, this_month: &Usage) -> Option<Money> {
    let zone = &api.options.ledger.organisation().zone;
    let (begins, _) = zone.bounds_of(today.first_of_month()).ok()?;
    let (_, ends) = zone.bounds_of(today.last_of_month()).ok()?;
    let minutes = |until: Timestamp| (until.as_second() - begins.as_second()) / 60;
    let (elapsed, whole) = (minutes(now), minutes(ends));
    let used = PicoUsd::new(this_month.charge_pico_usd);
    let pace = (this_month.requests > 0).then(|| used.at_this_pace(elapsed, whole));
    pace.flatten().map(Money)
}

/// The limit is kept as a cost, because it is `OpenRouter` that enforces it; who pays sees it as a charge.
fn limit(api: &UsageApi, this_month: &Usage) -> Option<Limit> {
    let organisation = api.options.ledger.organisation();
    let limit = PicoUsd::parse(organisation.monthly_limit.as_deref()?).ok()?.amount;
    Some(Limit {
        charge: Money(organisation.markup.charge(limit).ok()?),
        used_permille: PicoUsd::new(this_month.cost_pico_usd).permille_of(limit)?,
    })
}

fn user_usage(view: &View, user: UserRecord, usage: &Usage) -> UserUsage {
    UserUsage {
        external_user: user.external_user.clone(),
        user: Person::of(user),
        sums: view.sums(usage),
        days: usage.days,
        last_activity_at: usage.last_activity_at_ms.and_then(instant),
    }
}

/// Everybody who ever asked, by id.
async fn users(api: &UsageApi) -> Result<HashMap<String, UserRecord>, ApiError> {
    let users = api.options.ledger.reader().users().await?;
    Ok(users.into_iter().map(|user| (user.user_id.clone(), user)).collect())
}

impl Person {
    fn of(user: UserRecord) -> Self {
        Self { user_id: user.user_id, name: user.name, email: user.email }
    }
}

pub(crate) fn provider_of(model: &str) -> &str {
    model.split_once('/').map_or("openrouter", |(author, _)| author)
}

pub(crate) fn instant(unix_ms: i64) -> Option<Timestamp> {
    Timestamp::from_millisecond(unix_ms).ok()
}
