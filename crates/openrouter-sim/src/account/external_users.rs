//! `/external-users`: a register of the `user` values. It blocks nobody.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::members::Members;
use crate::access::management_key;
use crate::clock::second_text;
use crate::json::Object;
use crate::refusal::{Refusal, json_response, ok};
use crate::world::World;

/// The registered users, in the order of their registration.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    users: Vec<ExternalUser>,
}

#[derive(Clone, Debug)]
struct ExternalUser {
    user: String,
    is_active: bool,
    created_ms: i64,
    updated_ms: i64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Page {
    offset: usize,
    limit: Option<usize>,
    user: Option<String>,
    include_inactive: bool,
}

pub(super) fn routes() -> Router<Arc<World>> {
    Router::new()
        .route("/external-users", get(list).post(create))
        .route("/external-users/", get(list).post(create))
        .route("/external-users/{user}", get(show).patch(update).delete(remove))
}

async fn list(State(world): State<Arc<World>>, headers: HeaderMap, Query(page): Query<Page>) -> Response {
    const DEFAULT_LIMIT: usize = 50;
    const LARGEST_LIMIT: usize = 100;
    if let Err(refusal) = management_key(&world, &headers) {
        return refusal.into_response();
    }
    let registry = world.registry();
    let wanted = registry.users.iter().filter(|known| {
        (page.include_inactive || known.is_active)
            && page.user.as_ref().is_none_or(|user| *user == known.user)
    });
    let wanted: Vec<&ExternalUser> = wanted.collect();
    let limit = page.limit.unwrap_or(DEFAULT_LIMIT).min(LARGEST_LIMIT);
    let shown = wanted.iter().skip(page.offset).take(limit).map(|known| known.described().end());
    let total = i64::try_from(wanted.len()).unwrap_or(i64::MAX);
    ok(Object::new().array("data", shown).number("total_count", total))
}

async fn create(State(world): State<Arc<World>>, headers: HeaderMap, body: Bytes) -> Response {
    let made = management_key(&world, &headers).and_then(|_| {
        let user = Members::read(&body)?.value::<String>("user")?.some();
        world.registry().register(user.unwrap_or_default(), world.clock.now_ms())
    });
    match made {
        Ok(made) => json_response(StatusCode::CREATED, Object::new().object("data", made.described()).end()),
        Err(refusal) => refusal.into_response(),
    }
}

async fn show(State(world): State<Arc<World>>, headers: HeaderMap, Path(user): Path<String>) -> Response {
    let found = management_key(&world, &headers).and_then(|_| Ok(world.registry().find(&user)?.clone()));
    answer(found)
}

async fn update(
    State(world): State<Arc<World>>,
    headers: HeaderMap,
    Path(user): Path<String>,
    body: Bytes,
) -> Response {
    let changed = management_key(&world, &headers).and_then(|_| {
        let is_active = Members::read(&body)?.value::<bool>("is_active")?.some();
        let mut registry = world.registry();
        let known = registry.find(&user)?;
        known.is_active = is_active.ok_or_else(|| Refusal::validation("is_active", "Required"))?;
        known.updated_ms = world.clock.now_ms();
        Ok(known.clone())
    });
    answer(changed)
}

async fn remove(State(world): State<Arc<World>>, headers: HeaderMap, Path(user): Path<String>) -> Response {
    let removed = management_key(&world, &headers).and_then(|_| {
        let mut registry = world.registry();
        registry.find(&user)?;
        registry.users.retain(|known| known.user != user);
        Ok(())
    });
    match removed {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

fn answer(result: Result<ExternalUser, Refusal>) -> Response {
    match result {
        Ok(known) => ok(Object::new().object("data", known.described())),
        Err(refusal) => refusal.into_response(),
    }
}

impl Registry {
    fn register(&mut self, user: String, now_ms: i64) -> Result<ExternalUser, Refusal> {
        const LONGEST_CHARS: usize = 512;
        let length = user.chars().count();
        if length == 0 || length > LONGEST_CHARS || user.trim() != user || user.contains('\0') {
            return Err(Refusal::validation("user", "Invalid input"));
        }
        if self.users.iter().any(|known| known.user == user) {
            return Err(Refusal::new(StatusCode::CONFLICT, "External user already exists"));
        }
        let known = ExternalUser { user, is_active: true, created_ms: now_ms, updated_ms: now_ms };
        self.users.push(known.clone());
        Ok(known)
    }

    fn find(&mut self, user: &str) -> Result<&mut ExternalUser, Refusal> {
        let found = self.users.iter_mut().find(|known| known.user == user);
        found.ok_or_else(|| Refusal::not_found("External user not found"))
    }
}

impl ExternalUser {
    fn described(&self) -> Object {
        Object::new()
            .text("user", &self.user)
            .flag("is_active", self.is_active)
            .text("created_at", &second_text(self.created_ms))
            .text("updated_at", &second_text(self.updated_ms))
    }
}
