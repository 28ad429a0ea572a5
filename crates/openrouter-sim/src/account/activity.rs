//! `GET /activity`: finished UTC days, by model and endpoint.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::HeaderMap;
use serde::Deserialize;

use super::{ENDPOINT_ID, WORKSPACE_ID};
use crate::access::management_key;
use crate::clock::{self, day_text};
use crate::json::Object;
use crate::money::PicoUsd;
use crate::refusal::{Refusal, ok};
use crate::truth::Generation;
use crate::world::World;

/// How far back the readings go.
const KEPT_DAYS: i64 = 30;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Wanted {
    date: Option<String>,
    api_key_hash: Option<String>,
    group_by: Option<String>,
}

/// A day of a model.
#[derive(Debug, Default)]
struct Row {
    dated_slug: String,
    provider: String,
    usage: PicoUsd,
    byok: PicoUsd,
    requests: i64,
    prompt_tokens: i64,
    completion_tokens: i64,
    reasoning_tokens: i64,
    cached_tokens: i64,
}

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new().route("/activity", get(list))
}

async fn list(State(world): State<Arc<World>>, headers: HeaderMap, Query(wanted): Query<Wanted>) -> Response {
    let today_ms = clock::start_of_day(world.clock.now_ms());
    let first_ms = today_ms - clock::days(KEPT_DAYS);
    let checked = management_key(&world, &headers).and_then(|_| check_date(&wanted, first_ms, today_ms));
    if let Err(refusal) = checked {
        return refusal.into_response();
    }
    let mut rows: BTreeMap<(String, String), Row> = BTreeMap::new();
    for generation in world.bill().generations() {
        let charge = &generation.charge;
        let day = day_text(charge.created_ms);
        let finished = (first_ms..today_ms).contains(&charge.created_ms);
        let on_day = wanted.date.as_ref().is_none_or(|date| *date == day);
        let by_key = wanted.api_key_hash.as_ref().is_none_or(|hash| *hash == charge.key_hash);
        if finished && on_day && by_key {
            let model = crate::catalogue::find(&charge.model).map_or(charge.model.as_str(), |model| model.id);
            rows.entry((day, model.to_owned())).or_default().add(generation);
        }
    }
    let with_workspace = wanted.group_by.as_deref() == Some("workspace");
    // Newest first, as the vendor lists them.
    let rows = rows.iter().rev().map(|((day, model), row)| {
        let row = row.described(day, model);
        if with_workspace { row.text("workspace_id", WORKSPACE_ID).end() } else { row.end() }
    });
    ok(Object::new().array("data", rows))
}

fn check_date(wanted: &Wanted, first_ms: i64, today_ms: i64) -> Result<(), Refusal> {
    let Some(date) = &wanted.date else { return Ok(()) };
    let problem = || Refusal::bad_request("Date must be within the last 30 (completed) UTC days");
    let day_ms = clock::parse_instant(&format!("{date}T00:00:00Z")).ok_or_else(problem)?;
    if (first_ms..today_ms).contains(&day_ms) { Ok(()) } else { Err(problem()) }
}

impl Row {
    fn add(&mut self, generation: &Generation) {
        let charge = &generation.charge;
        self.dated_slug.clone_from(&generation.dated_slug);
        self.provider.clone_from(&generation.provider);
        self.usage = self.usage.plus(generation.cost());
        self.byok = self.byok.plus(generation.byok_pico_usd.unwrap_or_default());
        self.requests += 1;
        self.prompt_tokens += charge.prompt_tokens;
        self.completion_tokens += charge.completion_tokens;
        self.reasoning_tokens += charge.reasoning_tokens;
        self.cached_tokens += charge.cached_tokens;
    }

    fn described(&self, day: &str, model: &str) -> Object {
        Object::new()
            .text("date", day)
            .text("model", model)
            .text("model_permaslug", &self.dated_slug)
            .text("endpoint_id", ENDPOINT_ID)
            .text("provider_name", &self.provider)
            .usd("usage", self.usage)
            .usd("byok_usage_inference", self.byok)
            .number("requests", self.requests)
            .number("prompt_tokens", self.prompt_tokens)
            .number("completion_tokens", self.completion_tokens)
            .number("reasoning_tokens", self.reasoning_tokens)
            .number("cached_tokens", self.cached_tokens)
    }
}
