//! `GET /key` (a key about itself) and `GET /credits`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::header::CACHE_CONTROL;
use http::{HeaderMap, HeaderValue};

use super::{CREATOR_USER_ID, WORKSPACE_ID};
use crate::access::any_key;
use crate::clock::{self, second_text};
use crate::json::Object;
use crate::keyring::{ApiKey, KeyKind, LimitReset};
use crate::money::PicoUsd;
use crate::refusal::ok;
use crate::truth::Generation;
use crate::world::{Spent, World};

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new().route("/key", get(show)).route("/credits", get(credits))
}

/// What a key spent: in all, and since the starts of the UTC day, week (Monday) and month.
pub(super) struct Counters {
    total: Spent,
    daily: Spent,
    weekly: Spent,
    monthly: Spent,
}

impl Counters {
    pub(super) fn read(world: &World, key: &ApiKey) -> Self {
        let now_ms = world.clock.now_ms();
        Self {
            total: world.spent(key, i64::MIN),
            daily: world.spent(key, clock::start_of_day(now_ms)),
            weekly: world.spent(key, clock::start_of_week(now_ms)),
            monthly: world.spent(key, clock::start_of_month(now_ms)),
        }
    }

    pub(super) fn add_to(&self, object: Object) -> Object {
        object
            .usd("usage", self.total.credits)
            .usd("usage_daily", self.daily.credits)
            .usd("usage_weekly", self.weekly.credits)
            .usd("usage_monthly", self.monthly.credits)
            .usd("byok_usage", self.total.byok)
            .usd("byok_usage_daily", self.daily.byok)
            .usd("byok_usage_weekly", self.weekly.byok)
            .usd("byok_usage_monthly", self.monthly.byok)
    }

    fn against_limit(&self, key: &ApiKey) -> PicoUsd {
        let spent = match key.limit_reset {
            None => self.total,
            Some(LimitReset::Daily) => self.daily,
            Some(LimitReset::Weekly) => self.weekly,
            Some(LimitReset::Monthly) => self.monthly,
        };
        spent.against_limit(key)
    }

    pub(super) fn remaining(&self, key: &ApiKey) -> Option<PicoUsd> {
        key.limit.map(|limit| limit.minus(self.against_limit(key)))
    }
}

async fn show(State(world): State<Arc<World>>, headers: HeaderMap) -> Response {
    let key = match any_key(&world, &headers) {
        Ok(key) => key,
        Err(refusal) => return refusal.into_response(),
    };
    let mut response = ok(Object::new().object("data", about(&world, &key)));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    response
}

fn about(world: &World, key: &ApiKey) -> Object {
    const FREE_REQUESTS_A_DAY: i64 = 1000;
    let counters = Counters::read(world, key);
    let is_management = key.kind == KeyKind::Management;
    let free_used = free_requests_today(world, key);
    let free = Object::new()
        .number("used", free_used)
        .number("limit", FREE_REQUESTS_A_DAY)
        .number("remaining", (FREE_REQUESTS_A_DAY - free_used).max(0));
    let rate = Object::new()
        .number("requests", -1)
        .text("interval", "10s")
        .text("note", "This field is deprecated and safe to ignore.");
    let budget = budget(world, key, &counters);
    let about = Object::new()
        .text("label", &key.label)
        .flag("is_management_key", is_management)
        .flag("is_provisioning_key", is_management)
        .maybe_usd("limit", key.limit)
        .maybe_text("limit_reset", key.limit_reset.map(LimitReset::text))
        .maybe_usd("limit_remaining", counters.remaining(key))
        .flag("include_byok_in_limit", key.include_byok_in_limit);
    let about = counters
        .add_to(about)
        .flag("is_free_tier", false)
        .maybe_text("expires_at", key.expires_ms.map(second_text).as_deref())
        .text("creator_user_id", CREATOR_USER_ID)
        .null("organization_id")
        .text("workspace_id", WORKSPACE_ID)
        .texts("allowed_data_regions", &["global"])
        .object("free_model_daily_requests", free)
        .array("budgets", budget.clone().map(Object::end));
    let about = match budget {
        Some(budget) => about.object("effective_budget", budget),
        None => about.null("effective_budget"),
    };
    about.object("rate_limit", rate)
}

/// The key's own limit, the only budget that is simulated.
fn budget(world: &World, key: &ApiKey, counters: &Counters) -> Option<Object> {
    let limit = key.limit?;
    let now_ms = world.clock.now_ms();
    let resets_ms = key.limit_reset.map(|reset| match reset {
        LimitReset::Daily => clock::start_of_day(now_ms) + clock::days(1),
        LimitReset::Weekly => clock::start_of_week(now_ms) + clock::days(7),
        LimitReset::Monthly => clock::start_of_next_month(now_ms),
    });
    let spent = counters.against_limit(key);
    let budget = Object::new()
        .text("scope", "key_limit")
        .null("budget_id")
        .null("guardrail_id")
        .flag("include_byok", key.include_byok_in_limit)
        .usd("limit_usd", limit)
        .usd("spend_usd", spent)
        .usd("remaining_usd", limit.minus(spent))
        .maybe_text("reset_interval", key.limit_reset.map(LimitReset::text))
        .maybe_text("resets_at", resets_ms.map(second_text).as_deref());
    Some(budget)
}

fn free_requests_today(world: &World, key: &ApiKey) -> i64 {
    let from_ms = clock::start_of_day(world.clock.now_ms());
    let bill = world.bill();
    let free = bill.generations().iter().filter(|generation| {
        let charge = &generation.charge;
        charge.key_hash == key.hash && charge.created_ms >= from_ms && charge.model.ends_with(":free")
    });
    i64::try_from(free.count()).unwrap_or(i64::MAX)
}

/// Account-wide; an ordinary key was seen to read it, too.
async fn credits(State(world): State<Arc<World>>, headers: HeaderMap) -> Response {
    if let Err(refusal) = any_key(&world, &headers) {
        return refusal.into_response();
    }
    let used: PicoUsd =
        world.bill().generations().iter().map(|generation: &Arc<Generation>| generation.cost()).sum();
    let data = Object::new().usd("total_credits", world.total_credits).usd("total_usage", used);
    ok(Object::new().object("data", data))
}
