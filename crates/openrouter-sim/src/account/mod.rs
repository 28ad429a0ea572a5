//! The endpoints that read and change the account, and cost nothing.

mod activity;
mod analytics;
pub(crate) mod external_users;
mod facts;
mod generation;
mod key;
mod keys;
mod members;
mod models;

use std::sync::Arc;

use axum::Router;

use crate::world::World;

/// The default workspace, where all keys live.
pub(crate) const WORKSPACE_ID: &str = "00000000-0000-4000-8000-000000000001";

/// The account's owner.
const CREATOR_USER_ID: &str = "user_example";

/// The one endpoint that serves each model.
const ENDPOINT_ID: &str = "00000000-0000-4000-8000-0000000000aa";

pub(crate) fn routes() -> Router<Arc<World>> {
    Router::new()
        .merge(activity::routes())
        .merge(analytics::routes())
        .merge(external_users::routes())
        .merge(generation::routes())
        .merge(key::routes())
        .merge(keys::routes())
        .merge(models::routes())
}
