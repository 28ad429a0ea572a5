//! The free lists (`models`, a model's endpoints): cached, because older Open `WebUI` asks before every chat,
//! and served stale while `OpenRouter` cannot be reached, because without them no chat starts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use jiff::{SignedDuration, Timestamp};
use openrouter::UpstreamError;
use tokio::sync::Mutex;

use crate::Road;
use crate::caller;
use crate::refusal::Refusal;

/// How long a list counts as fresh; `OpenRouter`'s own `max-age`.
const FRESH_FOR: SignedDuration = SignedDuration::from_secs(120);

/// How long a stale list is served before `OpenRouter` is tried again.
const STALE_FOR: SignedDuration = SignedDuration::from_secs(30);

/// How long a list may take. Open `WebUI` gives up after ten seconds.
const PATIENCE: Duration = Duration::from_secs(9);

/// How long it may take where an older one can be served instead.
const PATIENCE_WITH_A_STALE_ONE: Duration = Duration::from_secs(3);

/// Lists that are kept. There are as many as spellings of a query.
const KEPT_LISTS: usize = 32;

/// The lists, by path and query. Each has a lock of its own, so that many callers ask `OpenRouter` once.
#[derive(Default)]
pub(crate) struct Lists {
    kept: Mutex<HashMap<String, Arc<Mutex<Option<List>>>>>,
}

#[derive(Clone)]
struct List {
    content_type: Option<HeaderValue>,
    body: Bytes,
    /// Until then it is not asked for again.
    good_until: Timestamp,
}

/// Answers with the list.
pub(crate) async fn answer(
    road: &Road,
    headers: &HeaderMap,
    path_and_query: &str,
) -> Result<Response, Refusal> {
    let key = caller::key_for(road, headers).await?;
    let slot = road.lists.slot(path_and_query).await;
    let mut kept = slot.lock().await;
    let now = road.options.clock.now();
    if let Some(list) = kept.as_ref().filter(|list| now < list.good_until) {
        return Ok(list.response());
    }
    let patience = if kept.is_some() { PATIENCE_WITH_A_STALE_ONE } else { PATIENCE };
    let asked = tokio::time::timeout(patience, road.options.upstream.get(path_and_query, &key)).await;
    let asked = asked.unwrap_or_else(|_| Err(UpstreamError::Broken("it took too long".to_owned())));
    let good_until = now.checked_add(FRESH_FOR).unwrap_or(Timestamp::MAX);
    let refusal = match asked {
        Ok((StatusCode::OK, content_type, body)) if is_json(content_type.as_ref()) => {
            let list = List { content_type, body, good_until };
            return Ok(kept.insert(list).response());
        }
        // What `OpenRouter` refuses is passed on and not kept; but a rate limit or a spent budget is no reason to
        // show no models where some are known.
        Ok((status, content_type, body))
            if status.is_client_error()
                && is_json(content_type.as_ref())
                && (kept.is_none() || is_about_the_request(status)) =>
        {
            return Ok(List { content_type, body, good_until }.response_with(status));
        }
        Ok((status, ..)) => Refusal::NotAnApiAnswer(status),
        Err(error) => Refusal::NoList(error),
    };
    match kept.as_mut() {
        Some(list) => {
            list.good_until = now.checked_add(STALE_FOR).unwrap_or(Timestamp::MAX);
            // Not the query: somebody may have put a key there.
            let path = path_and_query.split('?').next();
            tracing::warn!(path, "OpenRouter's list cannot be had; the last one is served");
            Ok(list.response())
        }
        None => Err(refusal),
    }
}

/// Whether asking again could not help.
fn is_about_the_request(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND)
}

fn is_json(content_type: Option<&HeaderValue>) -> bool {
    content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
}

impl Lists {
    async fn slot(&self, path_and_query: &str) -> Arc<Mutex<Option<List>>> {
        let mut kept = self.kept.lock().await;
        if !kept.contains_key(path_and_query) && kept.len() >= KEPT_LISTS {
            // The list that every chat begins with stays; of the others any may go.
            let other = kept.keys().find(|path| *path != "models").cloned();
            other.and_then(|path| kept.remove(&path));
        }
        kept.entry(path_and_query.to_owned()).or_default().clone()
    }
}

impl List {
    fn response(&self) -> Response {
        self.response_with(StatusCode::OK)
    }

    fn response_with(&self, status: StatusCode) -> Response {
        let mut response = Response::new(Body::from(self.body.clone()));
        *response.status_mut() = status;
        if let Some(content_type) = &self.content_type {
            response.headers_mut().insert(header::CONTENT_TYPE, content_type.clone());
        }
        response
    }
}
