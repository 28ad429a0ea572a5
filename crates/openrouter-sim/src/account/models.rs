//! The catalogue: `GET /models` and its kin. They answer without a key.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use serde::Deserialize;

use crate::catalogue::{self, MODELS, Model, Product};
use crate::json::Object;
use crate::refusal::{Refusal, ok};
use crate::world::World;

/// The release of every invented model: 2026-09-01.
const CREATED_SECONDS: i64 = 1_788_220_800;

const PARAMETERS: &[&str] = &["temperature", "max_tokens", "tools"];

/// `offset` and `limit` opt into pages; without them the list is whole.
#[derive(Debug, Default, Deserialize)]
struct Page {
    offset: Option<usize>,
    limit: Option<usize>,
    output_modalities: Option<String>,
}

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/models", get(list))
        .route("/models/user", get(list))
        .route("/models/count", get(count))
        .route("/models/{author}/{slug}/endpoints", get(endpoints))
        .route("/model/{author}/{slug}", get(show))
        .route("/embeddings/models", get(|page| async move { listed(&page, &[Product::Embedding]) }))
        .route("/images/models", get(|page| async move { listed(&page, &[Product::Image]) }))
}

async fn list(page: Query<Page>) -> Response {
    match page.output_modalities.as_deref() {
        Some("all") => listed(&page, ALL_PRODUCTS),
        _ => listed(&page, &[Product::Text]),
    }
}

const ALL_PRODUCTS: &[Product] = &[
    Product::Text,
    Product::Embedding,
    Product::Rerank,
    Product::Image,
    Product::Speech,
    Product::Transcript,
];

fn listed(page: &Query<Page>, products: &[Product]) -> Response {
    const DEFAULT_LIMIT: usize = 500;
    let models: Vec<&Model> = MODELS.iter().filter(|model| products.contains(&model.product)).collect();
    let total = models.len();
    let (offset, limit) = match (page.offset, page.limit) {
        (None, None) => (0, total),
        (offset, limit) => (offset.unwrap_or(0), limit.unwrap_or(DEFAULT_LIMIT)),
    };
    let shown = models.into_iter().skip(offset).take(limit).map(|model| described(model).end());
    let after = offset.saturating_add(limit);
    let next = (after < total).then(|| format!("/api/v1/models?offset={after}&limit={limit}"));
    let body = Object::new()
        .array("data", shown)
        .number("total_count", i64::try_from(total).unwrap_or(i64::MAX))
        .object("links", Object::new().maybe_text("next", next.as_deref()));
    let mut response = ok(body);
    let caching = HeaderValue::from_static("public, max-age=120, stale-while-revalidate=3600");
    response.headers_mut().insert(CACHE_CONTROL, caching);
    response
}

async fn count() -> Response {
    let count = catalogue::making(Product::Text).count();
    let count = Object::new().number("count", i64::try_from(count).unwrap_or(i64::MAX));
    ok(Object::new().object("data", count))
}

async fn show(Path((author, slug)): Path<(String, String)>) -> Response {
    match find(&author, &slug) {
        Ok(model) => ok(Object::new().object("data", described(model))),
        Err(refusal) => refusal.into_response(),
    }
}

async fn endpoints(Path((author, slug)): Path<(String, String)>) -> Response {
    let model = match find(&author, &slug) {
        Ok(model) => model,
        Err(refusal) => return refusal.into_response(),
    };
    let data = Object::new()
        .text("id", model.id)
        .text("name", model.name)
        .number("created", CREATED_SECONDS)
        .text("description", "A simulated model.")
        .object("architecture", architecture(model.product))
        .array("endpoints", [endpoint(model).end()]);
    ok(Object::new().object("data", data))
}

fn find(author: &str, slug: &str) -> Result<&'static Model, Refusal> {
    let name = format!("{author}/{slug}");
    catalogue::find(&name).ok_or_else(|| Refusal::not_found(format!("Model {name} not found")))
}

fn described(model: &Model) -> Object {
    let top = Object::new()
        .number("context_length", model.context_tokens)
        .number("max_completion_tokens", 16_384)
        .flag("is_moderated", false);
    let defaults = Object::new().null("temperature").null("top_p").null("frequency_penalty");
    let details = format!("/api/v1/models/{}/endpoints", model.dated_slug);
    let described = Object::new()
        .text("id", model.id)
        .text("canonical_slug", model.dated_slug)
        .null("hugging_face_id")
        .text("name", model.name)
        .number("created", CREATED_SECONDS)
        .text("description", "A simulated model.")
        .number("context_length", model.context_tokens)
        .object("architecture", architecture(model.product))
        .object("pricing", pricing(model))
        .object("top_provider", top)
        .null("per_request_limits")
        .texts("supported_parameters", PARAMETERS)
        .object("default_parameters", defaults);
    let described = match model.product {
        Product::Speech => described.texts("supported_voices", &["alloy", "nova"]),
        _ => described.null("supported_voices"),
    };
    described
        .null("knowledge_cutoff")
        .null("expiration_date")
        .object("links", Object::new().text("details", &details))
}

fn architecture(product: Product) -> Object {
    let (input, output) = match product {
        Product::Text => ("text", "text"),
        Product::Embedding => ("text", "embeddings"),
        Product::Rerank => ("text", "rerank"),
        Product::Image => ("text", "image"),
        Product::Speech => ("text", "speech"),
        Product::Transcript => ("audio", "transcription"),
    };
    Object::new()
        .text("modality", &format!("{input}->{output}"))
        .texts("input_modalities", &[input])
        .texts("output_modalities", &[output])
        .text("tokenizer", "Other")
        .null("instruct_type")
}

/// Prices are strings of plain decimals.
fn pricing(model: &Model) -> Object {
    Object::new()
        .text("prompt", &model.price.prompt().to_string())
        .text("completion", &model.price.completion().to_string())
        .text("request", &model.price.per_request().to_string())
        .text("input_cache_read", &model.price.cache_read().to_string())
}

fn endpoint(model: &Model) -> Object {
    let tool_choice =
        Object::new().flag("none", true).flag("auto", true).flag("required", true).flag("function", true);
    Object::new()
        .text("name", &format!("{} | {}", model.provider, model.dated_slug))
        .text("model_id", model.id)
        .text("model_name", model.name)
        .number("context_length", model.context_tokens)
        .object("pricing", pricing(model).number("discount", 0))
        .text("provider_name", model.provider)
        .text("tag", &model.provider.to_lowercase())
        .null("quantization")
        .number("max_completion_tokens", 16_384)
        .null("max_prompt_tokens")
        .texts("supported_parameters", PARAMETERS)
        .number("status", 0)
        .number("uptime_last_5m", 100)
        .number("uptime_last_30m", 100)
        .number("uptime_last_1d", 100)
        .flag("supports_implicit_caching", false)
        .flag("supports_diarization", false)
        .object("supports_tool_choice", tool_choice)
        .object("native_tools", Object::new())
        .null("service_tier")
        .null("latency_last_30m")
        .null("throughput_last_30m")
}
