//! The original's endpoints under `/api/v1/usage-tracking/`, in their final shape: what the mAI front end reads, for the
//! current month of the organisation's zone. Money is a JSON number here. Fields in PLN are told where that is the currency
//! of the settings, and `null` otherwise.

use std::sync::Arc;

use axum::extract::State;
use axum::{Extension, Json};
use jiff::Timestamp;
use jiff::civil::Date;
use ledger::{ModelPrice, Organisation, Usage, UsageBy, UserRecord};
use metering::{ExternalUser, Markup, PicoUsd, UserId};
use serde::Serialize;
use utoipa::ToSchema;

use crate::books::charged;
use crate::caller::View;
use crate::error::ApiError;
use crate::money::UsdNumber;
use crate::question::Period;
use crate::usage::{instant, provider_of};
use crate::{Currency, UsageApi};

/// Models named in the summary.
const TOP_MODELS: usize = 3;

/// The user of the example in `user_mapping_info`.
const EXAMPLE_USER: &str = "123e4567-e89b-12d3-a456-426614174000";

/// The currency in which the original shows amounts beside US dollars.
const ZLOTY: &str = "PLN";

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrackingSummary {
    success: bool,
    client_id: String,
    stats: Stats,
}

#[derive(Debug, Serialize, ToSchema)]
struct Stats {
    current_month: CurrentMonth,
    daily_breakdown: Vec<BreakdownRow>,
    monthly_summary: MonthlySummary,
    client_org_name: String,
    pln_conversion_available: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct CurrentMonth {
    month: String,
    total_tokens: i64,
    #[schema(value_type = f64)]
    total_cost: UsdNumber,
    #[schema(value_type = Option<f64>)]
    total_cost_pln: Option<UsdNumber>,
    total_requests: i64,
    days_with_usage: usize,
    /// Days elapsed so far, today included: what the original means by it.
    days_in_month: i8,
    #[schema(value_type = f64)]
    usage_percentage: serde_json::Number,
    exchange_rate_info: Option<ExchangeRate>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ExchangeRate {
    #[schema(value_type = f64)]
    usd_pln: serde_json::Number,
    #[schema(format = Date)]
    effective_date: Option<String>,
    rate_source: &'static str,
    table_no: Option<String>,
    is_fallback: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct BreakdownRow {
    #[schema(format = Date)]
    date: String,
    day_name: String,
    day_number: i8,
    tokens: i64,
    #[schema(value_type = f64)]
    cost: UsdNumber,
    #[schema(value_type = Option<f64>)]
    cost_pln: Option<UsdNumber>,
    requests: i64,
    primary_model: String,
    unique_users: i64,
    /// `HH:MM` in the organisation's zone.
    last_activity: String,
    #[schema(value_type = Option<f64>)]
    exchange_rate_used: Option<serde_json::Number>,
}

#[derive(Debug, Serialize, ToSchema)]
struct MonthlySummary {
    total_unique_users: usize,
    top_models: Vec<TopModel>,
}

#[derive(Debug, Serialize, ToSchema)]
struct TopModel {
    model_name: String,
    total_tokens: i64,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrackingByUser {
    success: bool,
    user_usage: Vec<UserUsageRow>,
    organization_name: String,
    total_users: usize,
    user_mapping_info: UserMapping,
}

#[derive(Debug, Serialize, ToSchema)]
struct UserUsageRow {
    user_id: String,
    user_name: String,
    user_email: Option<String>,
    external_user_id: String,
    total_tokens: i64,
    total_requests: i64,
    #[schema(value_type = f64)]
    markup_cost: UsdNumber,
    #[schema(value_type = Option<f64>)]
    cost_pln: Option<UsdNumber>,
    days_active: i64,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_activity: Option<Timestamp>,
    user_mapping_enabled: bool,
}

#[derive(Debug, Serialize, ToSchema)]
struct UserMapping {
    client_prefix: String,
    organization_name: String,
    format_pattern: String,
    example_id: String,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrackingByModel {
    success: bool,
    model_usage: Vec<ModelUsageRow>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ModelUsageRow {
    model_name: String,
    provider: String,
    total_tokens: i64,
    total_requests: i64,
    #[schema(value_type = f64)]
    markup_cost: UsdNumber,
    #[schema(value_type = Option<f64>)]
    cost_pln: Option<UsdNumber>,
    days_used: i64,
}

/// Seats are not billed yet.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrackingSubscription {
    success: bool,
    error: &'static str,
    #[schema(value_type = Option<Object>)]
    subscription_data: Option<()>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TrackingPricing {
    success: bool,
    models: Vec<PriceRow>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_updated: Option<Timestamp>,
    source: &'static str,
}

#[derive(Debug, Serialize, ToSchema)]
struct PriceRow {
    id: String,
    name: String,
    provider: String,
    /// Null where it is not fixed.
    #[schema(value_type = Option<f64>)]
    price_per_million_input: Option<UsdNumber>,
    /// Null where it is not fixed.
    #[schema(value_type = Option<f64>)]
    price_per_million_output: Option<UsdNumber>,
    context_length: Option<i64>,
    /// By the mean of the two prices; null where one of them is.
    category: Option<&'static str>,
}

/// Złoty for US dollars, where the settings tell the rate.
struct Zloty(Option<(Markup, serde_json::Number)>);

type Answer<T> = Result<Json<T>, ApiError>;

pub(crate) async fn usage_summary(
    State(api): State<Arc<UsageApi>>,
    Extension(view): Extension<View>,
) -> Answer<TrackingSummary> {
    let (organisation, reader, month) =
        (api.options.ledger.organisation(), api.options.ledger.reader(), month(&api));
    let scope = view.scope(&api, month);
    let days = reader.usage(&scope, UsageBy::Day).await?;
    let by_day_and_model = reader.usage(&scope, UsageBy::DayAndModel).await?;
    let users = reader.usage(&scope, UsageBy::User).await?;
    let models = reader.usage(&scope, UsageBy::Model).await?;
    let zloty = Zloty::of(&api.options.currency);
    let rows = days.iter().map(|day| {
        let model = most_tokens(by_day_and_model.iter().filter(|of_model| of_model.day == day.day));
        BreakdownRow::of(day, model, &organisation, &zloty)
    });
    let stats = Stats {
        current_month: totals(month, &days, &zloty),
        daily_breakdown: rows.collect(),
        monthly_summary: MonthlySummary {
            total_unique_users: users.iter().filter(|user| user.requests > 0).count(),
            top_models: top_models(models),
        },
        client_org_name: organisation.name.clone(),
        pln_conversion_available: zloty.0.is_some(),
    };
    Ok(Json(TrackingSummary { success: true, client_id: organisation.id.to_string(), stats }))
}

pub(crate) async fn usage_by_user(
    State(api): State<Arc<UsageApi>>,
    Extension(view): Extension<View>,
) -> Answer<TrackingByUser> {
    let organisation = api.options.ledger.organisation();
    let usage = api.options.ledger.reader().usage(&view.scope(&api, month(&api)), UsageBy::User).await?;
    let users = api.options.ledger.reader().users().await?;
    let zloty = Zloty::of(&api.options.currency);
    let of = |user: UserRecord| {
        let usage = usage.iter().find(|usage| usage.user_id.as_ref() == Some(&user.user_id));
        UserUsageRow::of(user, usage, &zloty)
    };
    let mut rows: Vec<UserUsageRow> = users.into_iter().map(of).collect();
    rows.sort_by_key(|row| std::cmp::Reverse(row.markup_cost));
    Ok(Json(TrackingByUser {
        success: true,
        total_users: rows.len(),
        user_usage: rows,
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

pub(crate) async fn usage_by_model(
    State(api): State<Arc<UsageApi>>,
    Extension(view): Extension<View>,
) -> Answer<TrackingByModel> {
    let models = api.options.ledger.reader().usage(&view.scope(&api, month(&api)), UsageBy::Model).await?;
    let zloty = Zloty::of(&api.options.currency);
    let model_usage = models.iter().map(|usage| ModelUsageRow::of(usage, &zloty)).collect();
    Ok(Json(TrackingByModel { success: true, model_usage }))
}

pub(crate) async fn subscription_billing() -> Json<TrackingSubscription> {
    Json(TrackingSubscription { success: false, error: "not configured", subscription_data: None })
}

pub(crate) async fn model_pricing(State(api): State<Arc<UsageApi>>) -> Answer<TrackingPricing> {
    let list = api.options.ledger.reader().price_list().await?.ok_or(ApiError::NoPrices)?;
    let markup = api.options.ledger.organisation().markup;
    Ok(Json(TrackingPricing {
        success: true,
        models: list.prices.into_iter().map(|price| PriceRow::of(price, markup)).collect(),
        last_updated: instant(list.fetched_at_ms),
        source: "openrouter_api",
    }))
}

/// The month so far.
fn month(api: &UsageApi) -> Period {
    let today = api.today();
    Period { from: today.first_of_month(), to: today }
}

fn totals(month: Period, days: &[Usage], zloty: &Zloty) -> CurrentMonth {
    let elapsed = month.to.day();
    let charge = PicoUsd::new(days.iter().map(|day| day.charge_pico_usd).sum());
    CurrentMonth {
        month: month.to.strftime("%B %Y").to_string(),
        total_tokens: days.iter().map(tokens).sum(),
        total_cost: UsdNumber(charge),
        total_cost_pln: zloty.of_usd(charge),
        total_requests: days.iter().map(|day| day.requests).sum(),
        days_with_usage: days.len(),
        days_in_month: elapsed,
        usage_percentage: share_in_percent(days.len(), elapsed),
        exchange_rate_info: zloty.rate().map(|usd_pln| ExchangeRate {
            usd_pln,
            effective_date: None,
            rate_source: "settings",
            table_no: None,
            is_fallback: false,
        }),
    }
}

/// Days with usage of the days elapsed, in percent with one decimal place.
fn share_in_percent(days: usize, elapsed: i8) -> serde_json::Number {
    let tenths = usize::try_from(elapsed).ok().and_then(|elapsed| (days * 1_000).checked_div(elapsed));
    let tenths = tenths.unwrap_or(0);
    let text = format!("{}.{}", tenths / 10, tenths % 10);
    text.parse().unwrap_or_else(|_| serde_json::Number::from(0))
}

const fn tokens(usage: &Usage) -> i64 {
    usage.prompt_tokens.saturating_add(usage.completion_tokens)
}

/// The model with the most tokens, the first of them by name.
fn most_tokens<'a>(models: impl Iterator<Item = &'a Usage>) -> Option<String> {
    let most = models.min_by_key(|usage| (std::cmp::Reverse(tokens(usage)), usage.model.clone()));
    most.and_then(|usage| usage.model.clone())
}

fn top_models(mut models: Vec<Usage>) -> Vec<TopModel> {
    models.sort_by_key(|usage| std::cmp::Reverse(tokens(usage)));
    let named =
        |usage: Usage| TopModel { total_tokens: tokens(&usage), model_name: usage.model.unwrap_or_default() };
    models.into_iter().take(TOP_MODELS).map(named).collect()
}

impl Zloty {
    fn of(currency: &Currency) -> Self {
        let is_zloty = currency.code == ZLOTY;
        let rate = || Some((Markup::parse(&currency.per_usd).ok()?, currency.per_usd.parse().ok()?));
        Self(is_zloty.then(rate).flatten())
    }

    fn rate(&self) -> Option<serde_json::Number> {
        self.0.as_ref().map(|(_, number)| number.clone())
    }

    /// To the grosz.
    fn of_usd(&self, amount: PicoUsd) -> Option<UsdNumber> {
        let (rate, _) = self.0.as_ref()?;
        rate.charge(amount).ok().map(|amount| UsdNumber(amount.rounded_to_cents()))
    }
}

impl BreakdownRow {
    fn of(usage: &Usage, model: Option<String>, organisation: &Organisation, zloty: &Zloty) -> Self {
        let date: Option<Date> = usage.day.as_deref().and_then(|day| day.parse().ok());
        let last = usage.last_activity_at_ms.and_then(instant).unwrap_or_default();
        Self {
            date: usage.day.clone().unwrap_or_default(),
            day_name: date.map(|date| date.strftime("%A").to_string()).unwrap_or_default(),
            day_number: date.map_or(0, Date::day),
            tokens: tokens(usage),
            cost: UsdNumber::of_pico(usage.charge_pico_usd),
            cost_pln: zloty.of_usd(PicoUsd::new(usage.charge_pico_usd)),
            requests: usage.requests,
            primary_model: model.unwrap_or_default(),
            unique_users: usage.users.unwrap_or_default(),
            last_activity: organisation.zone.civil(last).strftime("%H:%M").to_string(),
            exchange_rate_used: zloty.rate(),
        }
    }
}

impl UserUsageRow {
    fn of(user: UserRecord, usage: Option<&Usage>, zloty: &Zloty) -> Self {
        let charge = PicoUsd::new(usage.map_or(0, |usage| usage.charge_pico_usd));
        Self {
            user_name: user.name.unwrap_or_else(|| user.user_id.clone()),
            user_id: user.user_id,
            user_email: user.email,
            external_user_id: user.external_user,
            total_tokens: usage.map_or(0, tokens),
            total_requests: usage.map_or(0, |usage| usage.requests),
            markup_cost: UsdNumber(charge),
            cost_pln: zloty.of_usd(charge),
            days_active: usage.map_or(0, |usage| usage.days),
            last_activity: usage.and_then(|usage| usage.last_activity_at_ms).and_then(instant),
            user_mapping_enabled: true,
        }
    }
}

impl ModelUsageRow {
    fn of(usage: &Usage, zloty: &Zloty) -> Self {
        let model = usage.model.clone().unwrap_or_default();
        Self {
            provider: provider_of(&model).to_owned(),
            model_name: model,
            total_tokens: tokens(usage),
            total_requests: usage.requests,
            markup_cost: UsdNumber::of_pico(usage.charge_pico_usd),
            cost_pln: zloty.of_usd(PicoUsd::new(usage.charge_pico_usd)),
            days_used: usage.days,
        }
    }
}

impl PriceRow {
    fn of(price: ModelPrice, markup: Markup) -> Self {
        let per_million =
            |usd: Option<String>| charged(PicoUsd::parse_per_million(usd.as_deref()?).ok()?, markup);
        let (input, output) = (per_million(price.prompt_usd), per_million(price.completion_usd));
        Self {
            provider: provider_of(&price.model).to_owned(),
            id: price.model,
            name: price.name,
            price_per_million_input: input.map(UsdNumber),
            price_per_million_output: output.map(UsdNumber),
            context_length: price.context_length,
            category: input.zip(output).map(|(input, output)| category(input, output)),
        }
    }
}

/// The original's word for what a model costs: by the mean of the prices of a million tokens, in US dollars.
fn category(input: PicoUsd, output: PicoUsd) -> &'static str {
    const PICO: i128 = 1_000_000_000_000;
    let twice_the_mean = i128::from(input.pico()) + i128::from(output.pico());
    let below = |dollars: i128| twice_the_mean < 2 * dollars * PICO;
    match () {
        () if below(1) => "Budget",
        () if below(5) => "Standard",
        () if below(10) => "Fast",
        () if below(50) => "Premium",
        () => "Reasoning",
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

    #[test]
    fn a_category_is_that_of_the_mean() {
        let usd = |text: &str| PicoUsd::parse(text).unwrap().amount;
        for (input, output, word) in [
            ("0.195", "0.78", "Budget"),
            ("1", "1", "Standard"),
            ("0.5", "1.499999", "Budget"),
            ("3.9", "15.6", "Fast"),
            ("10.4", "31.2", "Premium"),
            ("78", "312", "Reasoning"),
        ] {
            assert_eq!(category(usd(input), usd(output)), word, "{input} {output}");
        }
    }

    #[test]
    fn zloty_are_told_to_the_grosz_where_there_is_a_rate() {
        let currency =
            |code: &str, per_usd: &str| Currency { code: code.to_owned(), per_usd: per_usd.to_owned() };
        let zloty = Zloty::of(&currency("PLN", "4.05"));
        let told = zloty.of_usd(PicoUsd::new(1_500_000_000_000)).unwrap();
        assert_eq!(serde_json::to_string(&told).unwrap(), "6.08");
        assert!(Zloty::of(&currency("EUR", "0.9")).of_usd(PicoUsd::ZERO).is_none());
    }
}
