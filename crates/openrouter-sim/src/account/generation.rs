//! `GET /generation?id=`: the record of one call, once it has settled.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Router};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::{ENDPOINT_ID, WORKSPACE_ID};
use crate::access::any_key;
use crate::clock::instant_text;
use crate::json::Object;
use crate::money::PicoUsd;
use crate::refusal::{Refusal, ok};
use crate::seen::Arrived;
use crate::truth::Generation;
use crate::world::World;

#[derive(Debug, Deserialize)]
struct Wanted {
    id: Option<String>,
}

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new().route("/generation", get(show))
}

/// Any valid key of the account may read any of its generations.
async fn show(
    State(world): State<Arc<World>>,
    Extension(arrived): Extension<Arrived>,
    headers: HeaderMap,
    Query(wanted): Query<Wanted>,
) -> Response {
    match look_up(&world, arrived, &headers, wanted.id.as_deref()) {
        Ok(generation) => ok(Object::new().object("data", record(&generation))),
        Err(refusal) => refusal.into_response(),
    }
}

/// What was known when the question arrived.
fn look_up(
    world: &World,
    Arrived(arrived_ms): Arrived,
    headers: &HeaderMap,
    id: Option<&str>,
) -> Result<Arc<Generation>, Refusal> {
    any_key(world, headers)?;
    let id = id.ok_or_else(|| Refusal::validation("id", "Required"))?;
    let found = world.bill().find(id);
    let own_fault = found.as_ref().and_then(|generation| generation.lookup_error.clone());
    if let Some(fault) = own_fault.or_else(|| world.knobs().generation_error.clone()) {
        return Err(faulty(&fault));
    }
    let settled = |generation: &Arc<Generation>| {
        arrived_ms >= generation.charged_ms.saturating_add(generation.settle_after_ms)
    };
    let missed = |generation: &Arc<Generation>| {
        let one_less = |left: u32| left.checked_sub(1);
        generation.misses_left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok()
    };
    found
        .filter(settled)
        .filter(|generation| !missed(generation))
        .ok_or_else(|| Refusal::not_found(format!("Generation {id} not found")))
}

fn faulty(fault: &str) -> Refusal {
    match fault {
        "html" => Refusal::html(StatusCode::BAD_GATEWAY),
        case => Refusal::of_case(case, "none")
            .unwrap_or_else(|| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error")),
    }
}

/// Every key of the wire, in its order.
fn record(generation: &Generation) -> Object {
    let charge = &generation.charge;
    let upstream_id = format!("chatcmpl-{}", charge.request_id);
    let images = if generation.api_type == "image" { Some(charge.completion_tokens) } else { None };
    let record = Object::new()
        .text("created_at", &instant_text(charge.created_ms))
        .text("model", &generation.dated_slug)
        .null("app_id")
        .maybe_text("external_user", charge.external_user.as_deref())
        .flag("streamed", charge.streamed)
        .flag("cancelled", charge.cancelled)
        .number("latency", generation.first_token_ms)
        .null("moderation_latency")
        .number("generation_time", generation.total_ms)
        .number("tokens_prompt", charge.prompt_tokens)
        .number("tokens_completion", charge.completion_tokens)
        .number("native_tokens_prompt", charge.prompt_tokens)
        .number("native_tokens_completion", charge.completion_tokens);
    let record = match images {
        Some(tokens) => record.number("native_tokens_completion_images", tokens),
        None => record.null("native_tokens_completion_images"),
    };
    let record = record
        .number("native_tokens_reasoning", charge.reasoning_tokens)
        .number("native_tokens_cached", charge.cached_tokens)
        .null("num_media_prompt")
        .null("num_input_audio_prompt")
        .number("num_media_completion", i64::from(images.is_some()))
        .null("num_search_results")
        .null("num_fetches")
        .null("web_search_engine")
        .text("origin", generation.http_referer.as_deref().unwrap_or_default())
        .flag("is_byok", generation.byok_pico_usd.is_some())
        .maybe_text("finish_reason", generation.finish_reason)
        .maybe_text("native_finish_reason", generation.finish_reason)
        .null("service_tier")
        .usd("usage", generation.cost())
        .null("router")
        .maybe_text("user_agent", generation.user_agent.as_deref())
        .maybe_text("http_referer", generation.http_referer.as_deref())
        .text("request_id", &charge.request_id)
        .maybe_text("session_id", generation.session_id.as_deref())
        .null("preset_id")
        .text("api_type", generation.api_type)
        .text("id", &charge.generation_id)
        .text("upstream_id", &upstream_id);
    with_provider(record, generation, &upstream_id)
}

fn with_provider(record: Object, generation: &Generation, upstream_id: &str) -> Object {
    let response = Object::new()
        .text("endpoint_id", ENDPOINT_ID)
        .text("id", upstream_id)
        .flag("is_byok", generation.byok_pico_usd.is_some())
        .number("latency", generation.first_token_ms)
        .text("model_permaslug", &generation.dated_slug)
        .text("provider_name", &generation.provider)
        .number("status", 200);
    record
        .array("provider_responses", [response.end()])
        .usd("total_cost", generation.cost())
        .null("cache_discount")
        .usd("upstream_inference_cost", generation.byok_pico_usd.unwrap_or(PicoUsd::ZERO))
        .text("provider_name", &generation.provider)
        .null("response_cache_source_id")
        .text("data_region", "global")
        .text("workspace_id", WORKSPACE_ID)
}
