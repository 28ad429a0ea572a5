//! The original's endpoints under `/api/v1/usage-tracking/my-organization`, in their final shape: what the mAI
//! front end reads, for the current month of the organisation's zone. Until there is an exchange rate every field
//! in PLN is `null` and `pln_conversion_available` says so.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use jiff::Timestamp;
use jiff::civil::Date;
use ledger::{DayUsage, ModelUsage, Organisation, UsageOfUser};
use metering::{ExternalUser, PicoUsd, UserId};
use serde::Serialize;

use crate::UsageApi;
use crate::error::ApiError;
use crate::reader::Admin;
use crate::usd::Usd;

/// Models named in the summary.
const TOP_MODELS: usize = 3;

/// The user of the example in `user_mapping_info`.
const EXAMPLE_USER: &str = "123e4567-e89b-12d3-a456-426614174000";

pub(crate) fn router() -> Router<Arc<UsageApi>> {
    Router::new()
        .route("/usage-summary", get(usage_summary))
        .route("/usage-by-user", get(usage_by_user))
        .route("/usage-by-model", get(usage_by_model))
}

/// The month so far: its first day, today, and both as text.
struct Month {
    today: Date,
    from: String,
    to: String,
}

/// A field in PLN, which is not known yet.
type NotYetKnown = Option<()>;

#[derive(Debug, Serialize)]
struct Summary {
    success: bool,
    client_id: String,
    stats: Stats,
}

#[derive(Debug, Serialize)]
struct Stats {
    current_month: CurrentMonth,
    daily_breakdown: Vec<BreakdownRow>,
    monthly_summary: MonthlySummary,
    client_org_name: String,
    pln_conversion_available: bool,
}

#[derive(Debug, Serialize)]
struct CurrentMonth {
    month: String,
    total_tokens: i64,
    total_cost: Usd,
    total_cost_pln: NotYetKnown,
    total_requests: i64,
    days_with_usage: usize,
    /// Days elapsed so far, today included: what the original means by it.
    days_in_month: i8,
    usage_percentage: serde_json::Number,
    exchange_rate_info: NotYetKnown,
}

#[derive(Debug, Serialize)]
struct BreakdownRow {
    date: String,
    day_name: String,
    day_number: i8,
    tokens: i64,
    cost: Usd,
    cost_pln: NotYetKnown,
    requests: i64,
    primary_model: String,
    unique_users: i64,
    /// `HH:MM` in the organisation's zone.
    last_activity: String,
    exchange_rate_used: NotYetKnown,
}

#[derive(Debug, Serialize)]
struct MonthlySummary {
    total_unique_users: usize,
    top_models: Vec<TopModel>,
}

#[derive(Debug, Serialize)]
struct TopModel {
    model_name: String,
    total_tokens: i64,
}

#[derive(Debug, Serialize)]
struct ByUser {
    success: bool,
    user_usage: Vec<UserUsageRow>,
    organization_name: String,
    total_users: usize,
    user_mapping_info: UserMapping,
}

#[derive(Debug, Serialize)]
struct UserUsageRow {
    user_id: String,
    user_name: String,
    user_email: Option<String>,
    external_user_id: String,
    total_tokens: i64,
    total_requests: i64,
    markup_cost: Usd,
    cost_pln: NotYetKnown,
    days_active: i64,
    last_activity: Option<Timestamp>,
    user_mapping_enabled: bool,
}

#[derive(Debug, Serialize)]
struct UserMapping {
    client_prefix: String,
    organization_name: String,
    format_pattern: String,
    example_id: String,
}

#[derive(Debug, Serialize)]
struct ByModel {
    success: bool,
    model_usage: Vec<ModelUsageRow>,
}

#[derive(Debug, Serialize)]
struct ModelUsageRow {
    model_name: String,
    provider: String,
    total_tokens: i64,
    total_requests: i64,
    markup_cost: Usd,
    cost_pln: NotYetKnown,
    days_used: i64,
}

async fn usage_summary(_: Admin, State(api): State<Arc<UsageApi>>) -> Result<Json<Summary>, ApiError> {
    let (organisation, reader) = (api.options.ledger.organisation(), api.options.ledger.reader());
    let month = Month::of(&organisation, api.options.clock.now());
    let days = reader.usage_by_day(&organisation.id, &month.from, &month.to).await?;
    let users = reader.usage_by_user(&organisation.id, &month.from, &month.to).await?;
    let models = reader.usage_by_model(&organisation.id, &month.from, &month.to).await?;
    let stats = Stats {
        current_month: month.totals(&days),
        daily_breakdown: days.iter().map(|day| BreakdownRow::of(day, &organisation)).collect(),
        monthly_summary: MonthlySummary {
            total_unique_users: users.iter().filter(|user| user.requests > 0).count(),
            top_models: top_models(models),
        },
        client_org_name: organisation.name.clone(),
        pln_conversion_available: false,
    };
    Ok(Json(Summary { success: true, client_id: organisation.id.to_string(), stats }))
}

async fn usage_by_user(_: Admin, State(api): State<Arc<UsageApi>>) -> Result<Json<ByUser>, ApiError> {
    let organisation = api.options.ledger.organisation();
    let month = Month::of(&organisation, api.options.clock.now());
    let users = api.options.ledger.reader().usage_by_user(&organisation.id, &month.from, &month.to).await?;
    Ok(Json(ByUser {
        success: true,
        total_users: users.len(),
        user_usage: users.into_iter().map(UserUsageRow::of).collect(),
        organization_name: organisation.name.clone(),
        user_mapping_info: UserMapping {
            client_prefix: organisation.id.to_string(),
            organization_name: organisation.name.clone(),
            format_pattern: format!(
                "{}_user_{{first 8 hex digits of SHA-256 of the user id}}",
                organisation.id
            ),
            example_id: ExternalUser::of(&organisation.id, &UserId::new(EXAMPLE_USER)).to_string(),
        },
    }))
}

async fn usage_by_model(_: Admin, State(api): State<Arc<UsageApi>>) -> Result<Json<ByModel>, ApiError> {
    let organisation = api.options.ledger.organisation();
    let month = Month::of(&organisation, api.options.clock.now());
    let models = api.options.ledger.reader().usage_by_model(&organisation.id, &month.from, &month.to).await?;
    Ok(Json(ByModel { success: true, model_usage: models.into_iter().map(ModelUsageRow::of).collect() }))
}

impl Month {
    fn of(organisation: &Organisation, now: Timestamp) -> Self {
        let today = organisation.zone.day_of(now);
        Self { today, from: today.first_of_month().to_string(), to: today.to_string() }
    }

    fn totals(&self, days: &[DayUsage]) -> CurrentMonth {
        let elapsed = self.today.day();
        let share = share_in_percent(days.len(), elapsed);
        CurrentMonth {
            month: self.today.strftime("%B %Y").to_string(),
            total_tokens: days.iter().map(|day| day.tokens).sum(),
            total_cost: Usd(PicoUsd::new(days.iter().map(|day| day.charge_pico_usd).sum())),
            total_cost_pln: None,
            total_requests: days.iter().map(|day| day.requests).sum(),
            days_with_usage: days.len(),
            days_in_month: elapsed,
            usage_percentage: share,
            exchange_rate_info: None,
        }
    }
}

/// Days with usage of the days elapsed, in percent with one decimal place.
fn share_in_percent(days: usize, elapsed: i8) -> serde_json::Number {
    let tenths = usize::try_from(elapsed).ok().and_then(|elapsed| (days * 1_000).checked_div(elapsed));
    let tenths = tenths.unwrap_or(0);
    let text = format!("{}.{}", tenths / 10, tenths % 10);
    text.parse().unwrap_or_else(|_| serde_json::Number::from(0))
}

fn top_models(mut models: Vec<ModelUsage>) -> Vec<TopModel> {
    models.sort_by_key(|model| std::cmp::Reverse(model.tokens));
    let named = |model: ModelUsage| TopModel { model_name: model.model, total_tokens: model.tokens };
    models.into_iter().take(TOP_MODELS).map(named).collect()
}

impl BreakdownRow {
    fn of(day: &DayUsage, organisation: &Organisation) -> Self {
        let date: Option<Date> = day.day.parse().ok();
        let last = Timestamp::from_millisecond(day.last_activity_at_ms).unwrap_or_default();
        Self {
            date: day.day.clone(),
            day_name: date.map(|date| date.strftime("%A").to_string()).unwrap_or_default(),
            day_number: date.map_or(0, Date::day),
            tokens: day.tokens,
            cost: Usd::of_pico(day.charge_pico_usd),
            cost_pln: None,
            requests: day.requests,
            primary_model: day.primary_model.clone(),
            unique_users: day.unique_users,
            last_activity: organisation.zone.civil(last).strftime("%H:%M").to_string(),
            exchange_rate_used: None,
        }
    }
}

impl UserUsageRow {
    fn of(usage: UsageOfUser) -> Self {
        let user = usage.user;
        Self {
            user_name: user.name.unwrap_or_else(|| user.user_id.clone()),
            user_id: user.user_id,
            user_email: user.email,
            external_user_id: user.external_user,
            total_tokens: usage.tokens,
            total_requests: usage.requests,
            markup_cost: Usd::of_pico(usage.charge_pico_usd),
            cost_pln: None,
            days_active: usage.days_active,
            last_activity: usage.last_activity_at_ms.and_then(|last| Timestamp::from_millisecond(last).ok()),
            user_mapping_enabled: true,
        }
    }
}

impl ModelUsageRow {
    fn of(usage: ModelUsage) -> Self {
        let provider = usage.model.split_once('/').map_or("openrouter", |(author, _)| author).to_owned();
        Self {
            model_name: usage.model,
            provider,
            total_tokens: usage.tokens,
            total_requests: usage.requests,
            markup_cost: Usd::of_pico(usage.charge_pico_usd),
            cost_pln: None,
            days_used: usage.days_used,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_has_one_decimal_place() {
        for (days, elapsed, text) in [(3, 22, "13.6"), (22, 22, "100.0"), (0, 1, "0.0"), (1, 31, "3.2")] {
            assert_eq!(share_in_percent(days, elapsed).to_string(), text);
        }
    }
}
