//! `/keys`: making, listing, changing and deleting API keys.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::CREATOR_USER_ID;
use super::key::Counters;
use super::members::{Member, Members};
use crate::access::key_management_key;
use crate::clock::{offset_text, parse_instant, second_text};
use crate::json::Object;
use crate::keyring::{ApiKey, KeyKind, LimitReset};
use crate::refusal::{Refusal, json_response, ok};
use crate::world::World;

/// There is no limit parameter and no total: a short page is the last.
const PAGE_KEYS: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Page {
    offset: usize,
    include_disabled: bool,
    include_expired: bool,
    workspace_id: Option<String>,
}

/// The part of a new key's body that ties it to a user, or brings the secret along.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct External {
    user: Option<String>,
    api_key: Option<String>,
}

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/keys", get(list).post(create))
        .route("/keys/", get(list).post(create))
        .route("/keys/{hash}", get(show).patch(update).delete(remove))
}

/// The management key, unless a knob makes all of this fail.
fn admitted(world: &World, headers: &HeaderMap) -> Result<ApiKey, Refusal> {
    let key = key_management_key(world, headers)?;
    match world.knobs().keys_error.as_deref().and_then(|case| Refusal::of_case(case, "none")) {
        Some(refusal) => Err(refusal),
        None => Ok(key),
    }
}

async fn list(State(world): State<Arc<World>>, headers: HeaderMap, Query(page): Query<Page>) -> Response {
    if let Err(refusal) = admitted(&world, &headers) {
        return refusal.into_response();
    }
    let now_ms = world.clock.now_ms();
    let wanted = |key: &&ApiKey| {
        (page.include_disabled || !key.disabled)
            && (page.include_expired || !key.expired(now_ms))
            && page.workspace_id.as_ref().is_none_or(|workspace_id| *workspace_id == key.workspace_id)
    };
    let keys: Vec<ApiKey> =
        world.keyring().newest_first().filter(wanted).skip(page.offset).take(PAGE_KEYS).cloned().collect();
    ok(Object::new().array("data", keys.iter().map(|key| described(&world, key).end())))
}

async fn create(State(world): State<Arc<World>>, headers: HeaderMap, body: Bytes) -> Response {
    let made = admitted(&world, &headers)
        .and_then(|_| Members::read(&body))
        .and_then(|members| make(&world, &members));
    match made {
        Ok(_) if world.knobs().keys_answer_lost == Some(true) => {
            Refusal::html(StatusCode::GATEWAY_TIMEOUT).into_response()
        }
        Ok((key, secret)) => {
            let body = Object::new().object("data", described(&world, &key)).text("key", &secret);
            json_response(StatusCode::CREATED, body.end())
        }
        Err(refusal) => refusal.into_response(),
    }
}

async fn show(State(world): State<Arc<World>>, headers: HeaderMap, Path(hash): Path<String>) -> Response {
    let found = admitted(&world, &headers).and_then(|_| find(&world, &hash));
    match found {
        Ok(key) => ok(Object::new().object("data", described(&world, &key))),
        Err(refusal) => refusal.into_response(),
    }
}

async fn update(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    Path(hash): Path<String>,
    body: Bytes,
) -> Response {
    let changed = admitted(&world, &headers).and_then(|_| find(&world, &hash)).and_then(|mut key| {
        apply(&mut key, &Members::read(&body)?)?;
        key.updated_ms = Some(world.clock.now_ms());
        world.keyring().insert(key.clone());
        Ok(key)
    });
    match changed {
        Ok(key) => ok(Object::new().object("data", described(&world, &key))),
        Err(refusal) => refusal.into_response(),
    }
}

async fn remove(State(world): State<Arc<World>>, headers: HeaderMap, Path(hash): Path<String>) -> Response {
    let removed = admitted(&world, &headers).and_then(|_| find(&world, &hash));
    match removed {
        Ok(key) => {
            world.keyring().remove(&key.hash);
            ok(Object::new().flag("deleted", true))
        }
        Err(refusal) => refusal.into_response(),
    }
}

fn find(world: &World, hash: &str) -> Result<ApiKey, Refusal> {
    let keyring = world.keyring();
    let key = keyring.find(hash).filter(|key| key.kind == KeyKind::Inference);
    key.cloned().ok_or_else(|| Refusal::not_found("API key not found"))
}

fn make(world: &World, members: &Members) -> Result<(ApiKey, String), Refusal> {
    const SHORTEST_OWN_SECRET: usize = 32;
    let name: Option<String> = members.value("name")?.some();
    let name = name.filter(|name| !name.is_empty()).ok_or_else(|| Refusal::validation("name", "Required"))?;
    let external: External = members.value("external")?.some().unwrap_or_default();
    if external.api_key.as_ref().is_some_and(|secret| secret.len() < SHORTEST_OWN_SECRET) {
        return Err(Refusal::validation("external", "api_key is too short"));
    }
    let fresh = || format!("sk-or-v1-{}{}", uuid::Uuid::new_v4().simple(), uuid::Uuid::new_v4().simple());
    let secret = external.api_key.unwrap_or_else(fresh);
    let mut key = ApiKey::new(&secret, KeyKind::Inference, &name, world.clock.now_ms());
    key.external_user = external.user;
    if let Some(text) = members.value::<String>("expires_at")?.some() {
        let instant =
            parse_instant(&text).ok_or_else(|| Refusal::validation("expires_at", "Invalid datetime"))?;
        key.expires_ms = Some(instant);
    }
    apply(&mut key, members)?;
    let mut keyring = world.keyring();
    if keyring.find(&key.hash).is_some() {
        return Err(Refusal::new(StatusCode::CONFLICT, "API key already exists"));
    }
    keyring.insert(key.clone());
    Ok((key, secret))
}

/// The members that both making and changing understand.
fn apply(key: &mut ApiKey, members: &Members) -> Result<(), Refusal> {
    match members.value::<String>("name")? {
        Member::Absent => {}
        Member::Value(name) if !name.is_empty() => key.name = name,
        Member::Null | Member::Value(_) => return Err(Refusal::validation("name", "Required")),
    }
    if let Some(disabled) = members.value("disabled")?.some() {
        key.disabled = disabled;
    }
    if let Some(include_byok) = members.value("include_byok_in_limit")?.some() {
        key.include_byok_in_limit = include_byok;
    }
    members.usd("limit")?.replace(&mut key.limit);
    members.reset("limit_reset")?.replace(&mut key.limit_reset);
    if let Some(workspace_id) = members.value("workspace_id")?.some() {
        key.workspace_id = workspace_id;
    }
    Ok(())
}

fn described(world: &World, key: &ApiKey) -> Object {
    let counters = Counters::read(world, key);
    let described = Object::new()
        .text("hash", &key.hash)
        .text("name", &key.name)
        .text("label", &key.label)
        .flag("disabled", key.disabled)
        .maybe_usd("limit", key.limit)
        .maybe_usd("limit_remaining", counters.remaining(key))
        .maybe_text("limit_reset", key.limit_reset.map(LimitReset::text))
        .flag("include_byok_in_limit", key.include_byok_in_limit);
    counters
        .add_to(described)
        .text("created_at", &offset_text(key.created_ms))
        .maybe_text("updated_at", key.updated_ms.map(offset_text).as_deref())
        .maybe_text("expires_at", key.expires_ms.map(second_text).as_deref())
        .text("creator_user_id", CREATOR_USER_ID)
        .text("workspace_id", &key.workspace_id)
        .maybe_text("external_user", key.external_user.as_deref())
        .maybe_text("last_used_at", key.last_used_ms.map(second_text).as_deref())
}
