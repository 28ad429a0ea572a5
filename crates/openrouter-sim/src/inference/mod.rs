//! The endpoints that run models and cost money.

mod admission;
mod answer;
mod body;
mod call;
mod chat;
mod endpoint;
mod form;
mod inquiry;
mod media;
mod messages;
mod meter;
mod responses;
mod script;
mod vectors;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use tokio::time::sleep;

use crate::refusal::Refusal;
use crate::world::World;
use admission::{Admission, Admitted};
use body::AnswerBody;
use endpoint::Endpoint;
use form::Form;

const GENERATION_ID: HeaderName = HeaderName::from_static("x-generation-id");

/// What a body says of its call, for the log.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Named {
    pub(crate) user: Option<String>,
    pub(crate) model: Option<String>,
}

impl Named {
    /// Reads no more than it must: this runs for every request.
    pub(crate) fn read(headers: &HeaderMap, body: &Bytes) -> Self {
        match Form::read(headers, body) {
            Some(form) => Self { user: form.text("user"), model: form.text("model") },
            None => serde_json::from_slice(body).unwrap_or_default(),
        }
    }
}

pub(crate) fn routes() -> Router<Arc<World>> {
    Endpoint::ALL.into_iter().fold(Router::new(), |router, endpoint| {
        let serve = move |State(world): State<Arc<World>>, headers: HeaderMap, body: Bytes| async move {
            serve(&world, endpoint, &headers, &body).await
        };
        router.route(&format!("/{}", endpoint.name()), post(serve))
    })
}

/// Answers one call: admits it, waits where a knob says so, then lets the body play.
async fn serve(world: &Arc<World>, endpoint: Endpoint, headers: &HeaderMap, body: &Bytes) -> Response {
    let Admission { knobs, generation_id, request_id, outcome } =
        Admission::decide(world, endpoint, headers, body);
    let delay_ms = knobs.head_delay_ms.unwrap_or(0);
    if delay_ms > 0 {
        sleep(Duration::from_millis(delay_ms)).await;
    }
    let mut named = knobs.generation_header.unwrap_or(true);
    let mut response = match outcome {
        Ok(admitted) => answer(*admitted),
        Err(refusal) => {
            named &= refusal.is_from_api();
            refuse(refusal, endpoint, &request_id)
        }
    };
    if named && let Ok(generation_id) = HeaderValue::from_str(&generation_id) {
        response.headers_mut().insert(GENERATION_ID, generation_id);
    }
    add_edge_headers(&mut response, world);
    response
}

fn answer(admitted: Admitted) -> Response {
    let Admitted { call, script } = admitted;
    let content_type = HeaderValue::from_static(script.content_type);
    let drawn = call.facts.endpoint == Endpoint::Images.name();
    let provider = drawn.then(|| HeaderValue::from_str(call.provider()).ok()).flatten();
    let mut response = Response::new(Body::new(AnswerBody::new(script, call)));
    if let Some(provider) = provider {
        response.headers_mut().insert("x-provider-name", provider);
    }
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn refuse(refusal: Refusal, endpoint: Endpoint, request_id: &str) -> Response {
    match endpoint {
        Endpoint::Messages => refusal.into_messages_response(request_id),
        _ => refusal.into_response(),
    }
}

/// What the edge in front of the API adds to every answer.
fn add_edge_headers(response: &mut Response, world: &World) {
    const EXPOSED: &str = "X-Generation-Id,X-Provider-Name,request-id,cf-ray";
    let headers = response.headers_mut();
    if let Ok(ray) = HeaderValue::from_str(&world.fresh_ray()) {
        headers.insert("cf-ray", ray);
    }
    headers.insert("access-control-allow-origin", HeaderValue::from_static("*"));
    headers.insert("access-control-expose-headers", HeaderValue::from_static(EXPOSED));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
}
