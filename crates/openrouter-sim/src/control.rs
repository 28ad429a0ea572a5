//! `/sim/*`: the levers of a test that runs in another process.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;

use crate::Knobs;
use crate::json::{Object, encoded};
use crate::refusal::{Refusal, json_response, ok};
use crate::world::World;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Advance {
    advance_ms: u64,
}

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/health", get(health))
        .route("/knobs", get(knobs).put(set_knobs).delete(reset_knobs))
        .route("/clock", post(advance).get(clock))
        .route("/truth", get(truth))
        .route("/requests", get(requests))
}

async fn health() -> Response {
    ok(Object::new().text("status", "ok"))
}

async fn knobs(State(world): State<Arc<World>>) -> Response {
    json_response(StatusCode::OK, encoded(&*world.knobs()))
}

async fn set_knobs(State(world): State<Arc<World>>, body: Bytes) -> Response {
    match serde_json::from_slice::<Knobs>(&body) {
        Ok(knobs) => {
            world.set_knobs(knobs);
            json_response(StatusCode::OK, encoded(&*world.knobs()))
        }
        Err(error) => Refusal::bad_request(format!("unknown knobs: {error}")).into_response(),
    }
}

async fn reset_knobs(State(world): State<Arc<World>>) -> Response {
    world.set_knobs(Knobs::default());
    StatusCode::NO_CONTENT.into_response()
}

async fn advance(State(world): State<Arc<World>>, body: Bytes) -> Response {
    match serde_json::from_slice::<Advance>(&body) {
        Ok(Advance { advance_ms }) => {
            world.clock.advance(Duration::from_millis(advance_ms));
            clock(State(world)).await
        }
        Err(error) => Refusal::bad_request(format!("expected advance_ms: {error}")).into_response(),
    }
}

async fn clock(State(world): State<Arc<World>>) -> Response {
    ok(Object::new().number("now_ms", world.clock.now_ms()))
}

async fn truth(State(world): State<Arc<World>>) -> Response {
    let charges = world.bill().charges();
    json_response(StatusCode::OK, encoded(&charges))
}

async fn requests(State(world): State<Arc<World>>) -> Response {
    let requests = world.log().all();
    json_response(StatusCode::OK, encoded(&requests))
}
