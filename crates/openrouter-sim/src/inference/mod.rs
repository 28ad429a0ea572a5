//! The endpoints that run models and cost money.

mod admission;
mod answer;
mod body;
mod call;
mod chat;
mod inquiry;
mod meter;
mod script;

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
use tokio::time::sleep;

use crate::catalogue::Product;
use crate::refusal::Refusal;
use crate::world::World;
use admission::{Admission, Admitted};
use answer::Answer;
use body::AnswerBody;
use call::Call;
use chat::Dialect;
use inquiry::Inquiry;
use script::Script;

const GENERATION_ID: HeaderName = HeaderName::from_static("x-generation-id");

/// An endpoint that is billed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Endpoint {
    ChatCompletions,
    Completions,
}

impl Endpoint {
    const ALL: [Self; 2] = [Self::ChatCompletions, Self::Completions];

    /// The path below `/api/v1/`.
    const fn name(self) -> &'static str {
        match self {
            Self::ChatCompletions => "chat/completions",
            Self::Completions => "completions",
        }
    }

    const fn id_prefix(self) -> &'static str {
        match self {
            Self::ChatCompletions | Self::Completions => "gen",
        }
    }

    const fn product(self) -> Product {
        match self {
            Self::ChatCompletions | Self::Completions => Product::Text,
        }
    }

    /// The member without which there is nothing to do, if it is missing.
    fn missing_member(self, inquiry: &Inquiry) -> Option<&'static str> {
        let messages = inquiry.messages.as_ref().is_some_and(|messages| !messages.is_empty());
        let (present, member) = match self {
            Self::ChatCompletions => (messages || inquiry.prompt.is_some(), "messages"),
            Self::Completions => (inquiry.prompt.is_some(), "prompt"),
        };
        (!present).then_some(member)
    }

    /// Whether the endpoint can answer with an event stream.
    const fn streams(self) -> bool {
        match self {
            Self::ChatCompletions | Self::Completions => true,
        }
    }

    /// Lets the model work: counts, and the bytes of the answer.
    fn perform(self, call: &mut Call, inquiry: &Inquiry) -> Script {
        match self {
            Self::ChatCompletions => speak(call, inquiry, |call, answer| match call.facts.streamed {
                true => chat::stream(call, answer, Dialect::Chat),
                false => chat::plain(call, answer, Dialect::Chat),
            }),
            Self::Completions => speak(call, inquiry, |call, answer| match call.facts.streamed {
                true => chat::stream(call, answer, Dialect::Text),
                false => chat::plain(call, answer, Dialect::Text),
            }),
        }
    }
}

/// Answers in words, and gives them the shape of the endpoint.
fn speak(call: &mut Call, inquiry: &Inquiry, shape: fn(&Call, &Answer) -> Script) -> Script {
    let (answer, meter) = Answer::to(inquiry, call.model, &call.knobs);
    call.meter = meter;
    call.finish_reason = answer.finish_reason;
    shape(call, &answer)
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
            named &= refusal.from_api();
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
    let mut response = Response::new(Body::new(AnswerBody::new(script, call)));
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

fn refuse(refusal: Refusal, endpoint: Endpoint, request_id: &str) -> Response {
    let _ = (endpoint, request_id);
    refusal.into_response()
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
